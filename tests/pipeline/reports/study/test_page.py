"""The study report: the verdict first, then all sections."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.page import SECTIONS


def test_the_page_starts_with_the_verdict_and_has_all_sections(full_study, write):
    page = write(full_study())
    absent = ("symptoms", "moderators")  # without a score, and without a moderator
    headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", page.source)
    assert headings == [one.title for one in SECTIONS if one.id not in absent]
    links = re.findall(r'<li><a href="#([a-z-]+)">([^<]+)</a></li>', page.source)
    assert links == [(one.id, one.title) for one in SECTIONS if one.id not in absent]
    first = re.search(r'<div class="answer">\s*<p><strong>([^<]+)</strong></p>', page.source)
    assert first[1] == "The change is circuit-specific"
    figures = {
        "verdict": 1, "participants": 1, "global": 1, "circuits": 2, "evidence": 1,
        "sensitivity": 1, "quality": 1,
    }  # fmt: skip
    assert {name: page.figures(name) for name in figures} == figures
    assert "Prediction of left-out participants by each model" in page.text
    assert "The model 'specific' predicts best." in page.text
    assert "No plan was frozen" in page.text
    wanted = (
        "Title of dmn: correlations decreased by 0.20 Fisher z beyond the global model relative to "
        "the control arm, in the predicted direction (95 % confidence interval -0.25 to -0.15, "
        "corrected p = 0.004)."
    )
    assert wanted in page.text.replace("\N{MINUS SIGN}", "-")
    assert "No global change was found, and one as large as" in page.text
    assert "4 treated participants and 4 control participants with both visits, and 4" in page.text
    assert "sub-x" in page.text
    assert "treated minus control" in page.text
    assert 'href="https://doi.org/10.1001/jamapsychiatry.2015.0071"' in page.source
    assert "could not be analysed" in page.text


def with_terms(study, estimate):
    """Add global terms with names of several words, and their secondary results."""
    names = ("global_signal", "average_change", "proportional_change")
    rows = [estimate(name, "global", -0.1, 0.3) for name in names]
    terms = dict(study.verdict["global"]) | {
        row["term"]: row | {"ruled_out": False} for row in rows
    }
    influence = [
        {"participant_id": "sub-t1", "term": "average_change", "estimate": -0.1, "without": 0.1}
    ]
    return replace(
        study,
        verdict={**study.verdict, "global": terms},
        tests=[*study.tests, *rows],
        secondary={**study.secondary, "influence": influence},
    )


def test_texts_of_the_page_contain_words_and_minus_signs(full_study, estimate, write):
    """Names of the tables occur in tables and as labels of figures only."""
    study = with_terms(full_study(("dmn", "dmn_tpn"), hit="dmn_tpn"), estimate)
    title = "Antagonism of networks"
    study.verdict["circuits"]["dmn_tpn"]["title"] = title
    page = write(study)
    texts = re.findall(r"<(?:p|li|figcaption|dd|strong)\b[^>]*>([^<]+)", page.source)
    texts += re.findall(r'aria-label="([^"]+)"', page.source)
    assert sum("global-signal amplitude" in text for text in texts) > 2
    assert sum(title in text for text in texts) > 2
    for text in texts:
        assert not re.search(r"[a-z]_[a-z]", text), text
    assert "global-signal amplitude, average change, proportional change." in page.text
    assert "without this participant average change changes most" in page.text
    assert not re.findall(r"(?<![\w.)\]-])-\.?\d", page.text)


@pytest.mark.parametrize(
    "arms", [("treated",), ("treated", "reference"), ("treated", "control")], ids="-".join
)
def test_studies_without_control_or_reference(arms, full_study, write):
    page = write(full_study(arms=arms))
    assert ("There is no control arm." in page.text) == ("control" not in arms)
    assert ("relative to the control arm" in page.text) == ("control" in arms)
    assert ("treated minus control" in page.text) == ("control" in arms)
    assert ("reference, mean ± 1 SD" in page.text) == ("reference" in arms)


def test_sixty_circuits_with_long_names_remain_legible_and_complete(tmp_path, full_study, write):
    names = tuple(f"circuit_{k}_{'long' * 20}" for k in range(60))
    page = write(full_study(names, hit=names[0]))
    assert all(
        f"Title of {name}" in page.text for name in names
    )  # tables contain the complete names
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", page.source)
    assert max(map(len, drawn)) <= 60  # figures contain short names
    assert "The 24 clearest circuits of 60 are drawn." in page.text
    assert (tmp_path / "r.html").stat().st_size < 3e6


def test_an_empty_study_has_a_page(write):
    verdict = {
        "verdict": "undetermined",
        "sentence": "The data do not distinguish.",
        "warnings": [],
    }
    page = write(StudyReport(verdict, [], [], [], [], None, (), ""))
    assert "The result is undetermined" in page.text
    for sentence in (
        "Global terms were not tested",
        "No circuit was tested",
        "No participant and no run was excluded",
    ):
        assert sentence in page.text
    assert page.all("figure") == []


def test_the_documentation_describes_every_section_in_its_order():
    path = Path(__file__).resolve().parents[4] / "docs" / "study-report.md"
    table = path.read_text().partition("| section |")[2].partition("\n\n")[0]
    described = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
    assert described == [one.title for one in SECTIONS]


def test_anchors_are_unique():
    assert len({one.id for one in SECTIONS}) == len(SECTIONS)
