"""Reports: whole, self-contained, the same twice, safe with hostile text, right in words."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from circuitshift.atlases import remote, seitzman
from circuitshift.pipeline.measure.denoise import load_strategies
from circuitshift.pipeline.measure.voxelwise import SEEDS
from circuitshift.pipeline.records import RetainedData
from circuitshift.pipeline.reports import figures, references, wording
from circuitshift.pipeline.reports.figures import edges as figures_edges
from circuitshift.pipeline.reports.figures import timeseries as figures_person
from circuitshift.pipeline.reports.page import in_time
from circuitshift.pipeline.reports.person import problems
from circuitshift.pipeline.reports.person.content import (
    ParticipantReport,
    Removed,
    RunQuality,
    SessionEdges,
)
from circuitshift.pipeline.reports.person.methods import participant_bibtex, participant_methods
from circuitshift.pipeline.reports.person.page import participant_warnings, write_participant_report
from circuitshift.pipeline.reports.person.problems import Problem
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.page import write_study_report
from circuitshift.pipeline.study.ratings import Rating, read_ratings
from circuitshift.workflows.cli.parsers import app_parser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
NAN = float("nan")
HOSTILE = "<script>alert(\"1\")</script> & $\\frac$ 'q' \x00\x07 — Ünïcödé 脳 🧠 {{ 7*7 }}"


class Page(HTMLParser):
    """Reads a page and keeps what the tests ask about; unbalanced tags fail at once."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = text
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.hidden = 0
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} repeats an attribute"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> inside <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data):
        if not {"style", "script"} & {*self.open}:
            self.words.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag in tags]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def check(page: Page) -> None:
    """What every report must satisfy."""
    assert page.source.startswith("<!DOCTYPE html>")
    assert page.all("html")[0]["lang"] == "en"
    assert page.source.count("<title>") == 1
    ids = Counter(attrs["id"] for _, attrs in page.tags if "id" in attrs)
    assert [name for name, n in ids.items() if n > 1] == []
    for link in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page.source):
        assert (link[0] or link[1]) in ids
    for attrs in page.all("section"):
        assert attrs["aria-labelledby"] in ids
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    plots = [attrs for attrs in page.all("svg") if attrs.get("class") == "plot"]
    assert len(plots) == len(page.all("svg")) == len(page.all("figure"))
    assert len(plots) == page.source.count("<figcaption>")
    for attrs in plots:
        assert set(attrs) == {"class", "role", "aria-label", "viewbox"}
        assert attrs["role"] == "img"
        assert len(attrs["aria-label"] or "") > 20
    assert page.all("img", "link", "iframe", "object") == []
    assert not [attrs for attrs in page.all("script") if "src" in attrs]  # none from elsewhere
    for _, attrs in page.tags:
        for name, value in attrs.items():
            if name in ("href", "src", "xlink:href", "style") and value:
                outside = re.findall(r"(?:https?:)?//[^\s\"')]+", value.partition("base64,")[0])
                assert all(url.startswith("https://doi.org/10.") for url in outside)
            assert not name.startswith("on")
    assert "@import" not in page.source
    for word in ("nan", "None", "n/a", "inf"):
        assert not re.search(rf"(?<![\w-]){word}(?![\w-])", page.text), word


def person(n_regions: int = 20, sessions=("pre", "post"), n_volumes: int = 60) -> ParticipantReport:
    rng = np.random.default_rng(1)
    networks = tuple(f"Network{k % 4}" for k in range(n_regions))
    labels = tuple(f"region{k}" for k in range(n_regions))
    keep = np.ones(n_volumes, bool)
    keep[:3] = keep[30:33] = False
    runs, edges = [], []
    for session in sessions:
        fd = np.abs(rng.normal(0.1, 0.05, n_volumes))
        fd[0], fd[30] = np.nan, 1.2
        series = rng.normal(size=(int(keep.sum()), n_regions))
        series[:, 3] = np.nan
        z = rng.normal(0.2, 0.3, (n_regions, n_regions))
        z = (z + z.T) / 2
        z[3] = z[:, 3] = np.nan
        edges.append(SessionEdges(session, z, networks))
        runs.append(
            RunQuality(
                label=f"sub-01_ses-{session}_task-rest",
                session=session,
                fd_mm=fd,
                keep=keep,
                kept=RetainedData(n_volumes, 3, 3, int(keep.sum()), 1.8, 12, 30.5, 0.11),
                coverage=np.where(np.arange(n_regions) == 3, 0.21, 1.0),
                coverage_labels=labels,
                below_coverage=("region3",),
                min_coverage=0.5,
                excluded=(),
                strategy="24p",
                series=series,
                networks=networks,
                fd_threshold_mm=0.5,
            )
        )
    circuits = {"dmn": {s: 0.3 + k for k, s in enumerate(sessions)}, "tpn": {sessions[0]: NAN}}
    return ParticipantReport(
        "01", tuple(runs), tuple(edges), circuits, (), (), {"code hash": "abc"}
    )


def estimate(term: str, family: str, value: float = 0.02, p: float = 0.4, **more) -> dict:
    row = {
        "test": f"{term} ({family})",
        "family": family,
        "term": term,
        "estimate": value,
        "unit": "Fisher z",
        "ci_low": value - 0.05,
        "ci_high": value + 0.05,
        "se": 0.02,
        "df": 17.3,
        "statistic": value / 0.02,
        "p": p / 2,
        "p_corrected": p,
        "bound": 0.1,
        "equivalence_p": 0.01,
        "n": 12,
        "n_control": 10,
        "n_reference": 9,
        "method": "Welch t, label permutation, 500 (random), max-T",
        "note": "",
    }
    return row | more


def group(circuits=("dmn", "tpn"), *, arms=("treated", "control", "reference"), hit="dmn"):
    rng = np.random.default_rng(2)
    tests = [estimate("shift", "global"), estimate("gain", "global")]
    for name in circuits:
        p, value = (0.004, -0.2) if name == hit else (0.6, 0.01)
        for family in ("specific", "specific, node-adjusted", "circuit change"):
            tests.append(estimate(name, family, value, p))
        tests.append(estimate(name, "sensitivity: 24p+gsr: specific", value, p))
    participants, quality = [], []
    for arm in arms:
        for k in range(4):
            who = {"participant_id": f"sub-{arm[0]}{k}", "arm": arm}
            for session in ("pre", "post") if arm != "reference" else ("n/a",):
                quality.append(
                    who
                    | {"session": session, "mean_fd_mm": "0.12", "minutes": 8, "residual_dof": NAN}
                )
                for name in circuits:
                    more = {"group": arm, "session": session, "circuit": name, "n_edges": 45}
                    participants.append(who | more | {"value_z": rng.normal(0.3, 0.1)})
    participants[-1]["value_z"] = "n/a"
    m = rng.normal(0.2, 0.2, 190)
    names = [circuits[k % len(circuits)] if k % 9 == 0 and circuits else "n/a" for k in range(190)]
    missing = np.full(190, np.nan)
    change = {
        "typical_z": m,
        "change_treated_z": 0.1 + 0.2 * m + rng.normal(0, 0.02, 190),
        "change_control_z": rng.normal(0, 0.02, 190) if "control" in arms else missing,
        "is_circuit": np.array([name != "n/a" for name in names]),
        "circuits": names,
    }
    short = ("estimate", "unit", "ci_low", "ci_high", "p", "p_corrected", "bound", "equivalence_p")
    of = {
        family: {t["term"]: {k: t[k] for k in short} for t in tests if t["family"] == family}
        for family in ("global", "specific")
    }
    for name, row in of["specific"].items():
        row |= {"title": f"Title of {name}", "predicted": "decrease", "why": "Because."}
        row |= {"reference": "Kaiser 2015, doi:10.1001/jamapsychiatry.2015.0071"}
    verdict = {
        "verdict": "circuit-specific" if hit else "neither",
        "sentence": "Named circuits changed beyond what any global law predicts.",
        "reason": "beyond the global law: dmn -0.200 (p = 0.0040)",
        "warnings": ["There is no control arm."] if "control" not in arms else [],
        "global": of["global"],
        "circuits": of["specific"],
        "n": dict.fromkeys(arms, 4),
        "design": {"baseline": "pre", "followup": "post", "alpha": 0.05, "sesoi_z": 0.1},
        "science_hash": "0123456789ab",
        "code_hash": "ba9876543210",
        "seed": 7,
        "versions": {"circuitshift": "0.1.0"},
        "sensitivity": [{"strategy": "24p+gsr", "verdict": None, "reason": "too few people"}],
        "exclusion_by_arm": {"analysed_and_lost": {"treated": [4, 1]}, "p": None},
        "flow": {arm: {"known": 5, "measured": 5, "analysed": 4} for arm in arms},
        "plan": {"frozen": False, "sentence": "No plan was frozen before the data were read."},
        "secondary": {"best_predicting_model": "specific"},
    }
    exclusions = [
        {"participant_id": "sub-x", "session": "n/a", "stage": "pairing", "code": "one-visit",
         "reason": "no follow-up"},
    ]  # fmt: skip
    beside = {"models": [{"model": "nothing", "elpd": "-9.5", "difference": "n/a"}]}
    return StudyReport(
        verdict, tests, participants, exclusions, quality, change, (), "The methods.", beside
    )


def write(report: ParticipantReport | StudyReport, tmp_path: Path, name: str = "r.html") -> Page:
    path = tmp_path / name
    if isinstance(report, ParticipantReport):
        write_participant_report(path, report)
    else:
        write_study_report(path, report)
    page = Page(path.read_text(encoding="utf-8"))
    check(page)
    return page


# -- one person -----------------------------------------------------------------------------------


def test_a_person_has_every_section_and_figure(tmp_path: Path) -> None:
    page = write(person(), tmp_path)
    headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", page.source)
    assert headings == [
        "Summary", "Rating", "Motion", "Data left", "Coverage and signal", "Carpets",
        "Connectivity", "Circuits", "Methods and provenance",
    ]  # fmt: skip
    # motion of both runs, volumes, coverage, a carpet a run, edges, circuits
    assert len(page.all("figure")) == 1 + 1 + 1 + 2 + 1 + 1
    assert "All data are usable." in page.text
    assert "region3 (21 %)" in page.text
    assert "censored above 0.5 mm" in page.text
    assert "6 of 60 volumes not used" in page.text
    assert "Change can be computed over 2 sessions." in page.text


def test_the_change_of_a_circuit_is_last_minus_first_and_unknown_stays_unknown(
    tmp_path: Path,
) -> None:
    report = replace(person(), circuits={"dmn": {"pre": 0.5, "post": 0.25}, "tpn": {"pre": NAN}})
    page = write(report, tmp_path)
    rows = re.findall(r'<tr><th scope="row">(dmn|tpn)</th>(.*?)</tr>', page.source)
    cells = {name: re.findall("<td>(.*?)</td>", row) for name, row in rows}
    assert cells["dmn"] == ["0.500", "0.250", "\N{MINUS SIGN}0.250"]
    assert cells["tpn"] == ["not available"] * 3


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["post", "pre"], ["pre", "post"]),
        (["10", "9", "1"], ["1", "9", "10"]),
        (["3months", "post", "pre"], ["pre", "post", "3months"]),
        (["2", "baseline"], ["baseline", "2"]),
        (["post", "drug"], ["drug", "post"]),
        (["", "a"], ["", "a"]),
    ],
)
def test_sessions_are_ordered_as_their_names_tell(given: list[str], wanted: list[str]) -> None:
    assert in_time(given) == wanted


def test_change_is_after_minus_before_whatever_the_order_given(tmp_path: Path) -> None:
    given = person(sessions=("post", "pre"))
    page = write(replace(given, circuits={"dmn": {"post": 0.5, "pre": 0.1}}), tmp_path)
    assert "ses-post minus ses-pre" in page.text
    assert "ses-pre minus ses-post" not in page.text
    weak, strong = (np.full((20, 20), z) for z in (0.1, 0.4))
    edges = (replace(given.edges[0], matrix=strong), replace(given.edges[1], matrix=weak))
    assert "ses-post minus ses-pre: mean 0.300" in write(replace(given, edges=edges), tmp_path).text
    assert "<td>0.100</td><td>0.500</td><td>+0.400</td>" in page.source
    assert page.text.index("ses-pre: 1.8 minutes") < page.text.index("ses-post: 1.8 minutes")


def test_an_excluded_run_says_why_and_its_minutes_do_not_count(tmp_path: Path) -> None:
    report = person()
    bad = replace(report.runs[1], excluded=("0.9 minutes retained, 2 needed",))
    page = write(replace(report, runs=(report.runs[0], bad), edges=report.edges[:1]), tmp_path)
    assert "Part of the data is usable." in page.text
    assert "sub-01_ses-post_task-rest: 0.9 minutes retained, 2 needed" in page.text
    assert "Only one session is usable: change cannot be computed." in page.text
    assert "ses-post: 1.8 minutes" not in page.text


def test_nothing_measured_is_a_page_that_says_so(tmp_path: Path) -> None:
    empty = ParticipantReport(
        "01", (), (), {}, (), (Problem("sub-01_bold.nii.gz", "it is empty; fetch it"),), {}
    )
    page = write(empty, tmp_path)
    assert "Nothing could be measured." in page.text
    assert "it is empty; fetch it" in page.text
    assert page.all("figure") == []


def test_matrices_of_other_software_carry_no_motion_no_coverage_no_networks(tmp_path: Path) -> None:
    report = person(sessions=("",))
    nothing = RetainedData(0, 0, 0, 0, NAN, 0, NAN, NAN)
    run = replace(
        report.runs[0],
        fd_mm=np.empty(0),
        keep=np.empty(0, bool),
        kept=nothing,
        series=None,
        networks=(),
        below_coverage=(),
    )
    edges = replace(report.edges[0], networks=())
    page = write(replace(report, runs=(run,), edges=(edges,)), tmp_path)
    assert "Motion is not available" in page.text
    assert "Regional series are not available" in page.text
    assert "20 regions" in page.text  # the axis, as there are no networks to name


def test_a_region_lost_everywhere_and_a_flat_series_draw_without_warnings(tmp_path: Path) -> None:
    report = person()
    dead = np.zeros_like(report.runs[0].series)
    run = replace(report.runs[0], series=dead)
    missing = replace(report.edges[0], matrix=np.full((20, 20), np.nan))
    page = write(replace(report, runs=(run,), edges=(missing, report.edges[1])), tmp_path)
    assert "ses-pre: mean not available" in page.text


def test_a_large_person_is_a_small_file(tmp_path: Path) -> None:
    small = person(n_regions=300, sessions=("a",), n_volumes=300)
    labels = ("a", "b", "c", "d")
    runs = tuple(replace(small.runs[0], session=s, label=f"run {s}") for s in labels)
    edges = tuple(replace(small.edges[0], session=s) for s in labels[:2])
    write(replace(small, runs=runs, edges=edges), tmp_path)
    assert (tmp_path / "r.html").stat().st_size < 3e6


def test_what_went_wrong_is_said_once_with_a_flag_that_exists(tmp_path: Path) -> None:
    row = {"run": "sub-01_task-rest", "status": "failed", "code": "confounds"}
    rows = [
        row | {"strategy": name, "reason": f"x.tsv: strategy {name} cannot be used"}
        for name in ("24p", "24p+gsr")
    ]
    rows += [row | {"strategy": "24p", "status": "included", "code": "n/a", "reason": "n/a"}]
    rows += [row | {"strategy": "24p", "status": "excluded", "code": "motion; too-short",
                    "reason": "it moved; it is short"}]  # fmt: skip
    crash = tmp_path / "crash-1.txt"
    crash.write_text("one\n" * 40 + "ValueError: the last line")
    rows += [row | {"strategy": "n/a", "code": "crash", "reason": f"see {crash}"}]
    first, second, third = problems.problems_of(rows, tmp_path)
    assert first.text == "x.tsv: strategy 24p cannot be used (the same with 24p+gsr)"
    assert "--denoise" in first.advice
    assert second.log.endswith("ValueError: the last line")
    assert second.log.count("\n") == 14
    assert "--max-mean-fd" in third.advice
    assert "--min-minutes" in third.advice
    flags = set(app_parser()._option_string_actions)
    assert {f for said in problems.ADVICE.values() for f in re.findall("--[a-z-]+", said)} <= flags
    page = write(replace(person(), problems=(first, second), left_out=(third,)), tmp_path)
    assert "Likely to help: --denoise" in page.text
    assert "ValueError: the last line" in page.text


def test_warnings_are_in_plain_words(tmp_path: Path) -> None:
    report = person()
    calm = replace(report.runs[0], kept=replace(report.runs[0].kept, minutes=9.0), median_tsnr=50.0)
    moved = replace(calm.kept, mean_fd_mm=0.4, residual_dof=12.0)
    loud = replace(calm, session="post", label="run post", kept=moved, median_tsnr=20.0)
    assert participant_warnings(replace(report, runs=(calm, replace(calm, session="post")))) == []
    said = " ".join(participant_warnings(replace(report, runs=(calm, loud))))
    for words in (
        "run post: denoising left 12 degrees of freedom",
        "Motion differs between visits",
        "0.110 mm in sub-01_ses-pre_task-rest, 0.400 mm in run post",
        "The signal-to-noise ratio differs between visits",
    ):
        assert words in said
    assert "ses-pre has 1.8 minutes" in " ".join(participant_warnings(report))
    rated = replace(report, ratings=(Rating("01", "post", "exclude", "AB", "stripes"),))
    assert "ses-post was rated exclude by AB: stripes." in participant_warnings(rated)
    page = write(rated, tmp_path)
    assert "All data are usable. A rater excluded data nevertheless." in page.text


def test_the_methods_text_names_what_ran_and_its_references(tmp_path: Path) -> None:
    report = replace(
        person(),
        provenance={
            "preprocessing": "fMRIPrep 23.2.1",
            "denoising": "Series were cleaned (doi:10.1016/j.neuroimage.2007.04.042)",
            "atlas": "Mine",
            "atlas reference": "doi:10.9999/nobody.knows",
        },
    )
    page = write(report, tmp_path)
    assert "preprocessed by fMRIPrep 23.2.1 ( doi:10.1038/s41592-018-0235-4 )" in page.text
    assert "20 regions of the atlas Mine" in page.text
    assert "Behzadi, Yashar et al. (2007)." in page.text
    assert "Seed maps" not in page.text  # there are none
    (link,) = [a for a in page.all("a") if "download" in a]
    bib = unquote(link["href"].partition(",")[2])
    assert bib == participant_bibtex(report)
    assert "doi={10.9999/nobody.knows}" in bib
    assert bib.count("@") == len(references.cited([" ".join(participant_methods(report))])) == 8
    assert "References (8)" in page.text


def test_every_work_that_strategies_atlases_and_seeds_name_is_in_the_list() -> None:
    texts = [s.reference for s in load_strategies().values()]
    texts += [seed.source for seed in SEEDS] + [seitzman.REFERENCE, remote.SCHAEFER[0]]
    texts += [remote.TIAN[0], remote.DIFUMO[0], remote.HARVARD_OXFORD[0], remote.AAL[0]]
    dois = references.cited(texts)
    assert len(dois) >= 12
    assert "@misc" not in references.bibtex(dois)
    assert all(line.startswith("doi:") is False for line in references.listed(dois))


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)")
def test_the_form_saves_what_the_group_level_reads(tmp_path: Path) -> None:
    write(replace(person(), data_set="ds2", provenance={"inputs hash": "abc123"}), tmp_path)
    driver = """<script>
    var saved = {};
    URL.createObjectURL = function (blob) { blob.text().then(function (text) {
      document.title = JSON.stringify({ name: saved.name, text: text }); }); return "#rating"; };
    HTMLAnchorElement.prototype.click = function () { saved.name = this.download; };
    document.getElementById("rating-exclude").checked = true;
    document.getElementById("rating-session").value = "post";
    document.getElementById("rating-rater").value = "A. B.";
    document.getElementById("rating-note").value = 'stripes & "more"';
    document.querySelector(".rating button").click();
    </script></body>"""
    page = (tmp_path / "r.html").read_text().replace("</body>", driver)
    (tmp_path / "driven.html").write_text(page)
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000", "--dump-dom",
            (tmp_path / "driven.html").as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    said = json.loads(unescape(re.search("<title>(.*?)</title>", done.stdout, re.DOTALL)[1]))
    assert said["name"] == "ds2_sub-01_ses-post_rater-AB_rating.json"
    assert f"{said['name']} is saved" in done.stdout
    (tmp_path / "ratings").mkdir()
    (tmp_path / "ratings" / said["name"]).write_text(said["text"])
    (rating,) = read_ratings(tmp_path / "ratings")
    assert rating == Rating("ds2:01", "post", "exclude", "A. B.", 'stripes & "more"', rating.rated)
    assert abs(datetime.fromisoformat(rating.rated).timestamp() - time.time()) < 600
    assert json.loads(said["text"])["page"] == "abc123"


# -- one study ------------------------------------------------------------------------------------


def test_a_study_answers_first_and_has_every_section(tmp_path: Path) -> None:
    page = write(group(), tmp_path)
    headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", page.source)
    assert headings == [
        "The change is circuit-specific", "People", "Global terms", "Circuits",
        "Why: background against circuits", "Whole brain",
        "Regression to the mean: the usual way and corrected", "Sensitivity", "Quality",
        "What this study could have seen", "Beside the verdict", "Methods and provenance",
    ]  # fmt: skip
    # scale, flow, global terms, circuits, people, strength, specifications, quality
    assert len(page.all("figure")) == 8
    assert "Which model predicts people it has not seen" in page.text
    assert "left-out people best is: specific" in page.text
    assert "No plan was frozen" in page.text
    wanted = (
        "Title of dmn: correlations fell by 0.20 Fisher z beyond the global law relative to "
        "the control arm, in the predicted direction (95 % confidence interval -0.25 to -0.15, "
        "corrected p = 0.004)."
    )
    assert wanted in page.text.replace("\N{MINUS SIGN}", "-")
    assert "No global change was found, and one as large as" in page.text
    assert "4 treated people and 4 control people with both visits, and 4 reference" in page.text
    assert "sub-x" in page.text
    assert "treated minus control" in page.text
    assert 'href="https://doi.org/10.1001/jamapsychiatry.2015.0071"' in page.source
    assert "could not be analysed" in page.text


@pytest.mark.parametrize(
    "arms", [("treated",), ("treated", "reference"), ("treated", "control")], ids="-".join
)
def test_studies_without_control_or_reference(arms: tuple[str, ...], tmp_path: Path) -> None:
    page = write(group(arms=arms), tmp_path)
    assert ("There is no control arm." in page.text) == ("control" not in arms)
    assert ("relative to the control arm" in page.text) == ("control" in arms)
    assert ("treated minus control" in page.text) == ("control" in arms)
    assert ("reference, mean ± 1 SD" in page.text) == ("reference" in arms)


def test_no_significant_circuit_is_not_called_absence_unless_equivalence_says_so(
    tmp_path: Path,
) -> None:
    report = group(hit="")
    page = write(report, tmp_path)
    assert "No circuit-specific change was found, and one as large as" in page.text
    report.verdict["circuits"]["tpn"]["equivalence_p"] = 0.3
    page = write(report, tmp_path)
    assert "is not ruled out for Title of tpn." in page.text
    report.verdict["circuits"]["dmn"]["equivalence_p"] = None
    page = write(report, tmp_path)
    assert "this is not evidence of absence" in page.text


def test_a_circuit_that_could_not_be_tested_is_named_and_drawn(tmp_path: Path) -> None:
    report = group()
    missing = ("estimate", "ci_low", "ci_high", "p", "p_corrected", "equivalence_p")
    for row in report.tests:
        if row["term"] == "tpn":
            row.update(dict.fromkeys(missing, "n/a"))
    report.verdict["circuits"]["tpn"] |= dict.fromkeys(("estimate", "p", "p_corrected"))
    page = write(report, tmp_path)
    assert "Not tested, for lack of people or coverage: Title of tpn." in page.text
    assert "not tested" in page.text


def test_sixty_circuits_with_long_names_stay_legible_and_whole(tmp_path: Path) -> None:
    names = tuple(f"circuit_{k}_{'long' * 20}" for k in range(60))
    page = write(group(names, hit=names[0]), tmp_path)
    assert all(f"Title of {name}" in page.text for name in names)  # whole, in the tables
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", page.source)
    assert max(map(len, drawn)) <= 60  # shortened, in the figures
    assert "The 24 clearest circuits of 60 are drawn." in page.text
    assert (tmp_path / "r.html").stat().st_size < 3e6


def test_a_study_of_nothing_still_has_its_page(tmp_path: Path) -> None:
    verdict = {"verdict": "undetermined", "sentence": "The data do not decide.", "warnings": []}
    page = write(StudyReport(verdict, [], [], [], [], None, (), ""), tmp_path)
    assert "Undecided" in page.text
    for said in ("Global terms were not tested", "No circuit was tested", "Nobody and nothing"):
        assert said in page.text
    assert page.all("figure") == []


def test_the_third_picture_is_treated_minus_control(tmp_path: Path, monkeypatch) -> None:
    seen = {}

    def keep(typical, panels, *, members, **more):
        seen.update(panels=dict(panels), members=members)
        return drawn(typical, panels, members=members, **more)

    drawn = figures.change_by_strength
    monkeypatch.setattr(figures, "change_by_strength", keep)
    report = group()
    write(report, tmp_path)
    change = report.change_by_strength
    difference = change["change_treated_z"] - change["change_control_z"]
    np.testing.assert_array_equal(seen["panels"]["treated minus control"], difference)
    inside = seen["members"]["Title of dmn"] | seen["members"]["Title of tpn"]
    np.testing.assert_array_equal(inside, change["is_circuit"])


def test_edges_without_circuit_names_are_one_group(tmp_path: Path) -> None:
    report = group()
    change = {k: v for k, v in report.change_by_strength.items() if k != "circuits"}
    page = write(replace(report, change_by_strength=change), tmp_path)
    assert len(page.all("figure")) == 8


# -- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [person, group], ids=["person", "group"])
def test_the_same_values_give_the_same_bytes(make, tmp_path: Path) -> None:
    first = write(make(), tmp_path, "a.html")
    second = write(make(), tmp_path, "b.html")
    assert first.source == second.source


def test_hostile_text_is_shown_and_never_run(tmp_path: Path) -> None:
    report = person()
    run = replace(
        report.runs[0],
        label=HOSTILE,
        excluded=(HOSTILE,),
        below_coverage=(HOSTILE,),
        strategy=HOSTILE,
        networks=(HOSTILE,) * 10 + ("b",) * 10,
    )
    edges = replace(report.edges[0], session=HOSTILE, networks=run.networks)
    page = write(
        replace(
            report,
            participant=HOSTILE,
            runs=(run,),
            edges=(edges,),
            circuits={HOSTILE: {HOSTILE: 0.1}},
            notes=(HOSTILE,),
            problems=(Problem(HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
            left_out=(Problem(HOSTILE, HOSTILE),),
            ratings=(Rating(HOSTILE, HOSTILE, "doubt", HOSTILE, HOSTILE, HOSTILE),),
            removed=(Removed(HOSTILE, HOSTILE, run.kept, True),),
            data_set=HOSTILE,
            provenance={HOSTILE: HOSTILE, "command": HOSTILE},
        ),
        tmp_path,
    )
    assert '<script>alert("1")</script> & $\\frac$' in page.text
    assert "{{ 7*7 }}" in page.text
    assert "\x00" not in page.source
    study = group((HOSTILE, "tpn"), hit=HOSTILE)
    study.verdict["circuits"][HOSTILE]["title"] = HOSTILE
    study.exclusions[0]["reason"] = HOSTILE
    study.verdict["warnings"].append(f"{HOSTILE} doi:10.1/'onclick='x")
    page = write(replace(study, notes=(HOSTILE,), methods=HOSTILE), tmp_path)
    assert page.text.count("<script>") > 5


def test_links_are_dois_without_the_brackets_around_them(tmp_path: Path) -> None:
    available = ("10.1016/j.x.2007.04", "10.1016/0006-3223(95)00541-2")
    text = f"As before (doi:{available[0]}), and doi:{available[1]}."
    page = write(replace(person(), notes=(text,)), tmp_path)
    given = [f"https://doi.org/{doi}" for doi in available]
    links = [a["href"] for a in page.all("a") if a["href"] in given]
    assert links == [f"https://doi.org/{doi}" for doi in available]
    assert "".join(text.split()) in "".join(page.text.split())


def test_quality_is_in_order_of_arms_and_of_time(tmp_path: Path) -> None:
    report = group(arms=("reference", "control", "treated"))
    page = write(replace(report, quality=report.quality[::-1]), tmp_path)
    rows = re.findall(r'<tr><th scope="row">(\w+)</th><td>(pre|post|only)</td>', page.source)
    assert rows == [
        ("treated", "pre"), ("treated", "post"), ("control", "pre"), ("control", "post"),
        ("reference", "only"),
    ]  # fmt: skip


def test_figures_follow_the_colours_of_the_page(tmp_path: Path) -> None:
    page = write(group(), tmp_path)
    style = re.search(r"<style>(.*?)</style>", page.source, re.DOTALL)[1]
    used = set(re.findall(r"var\((--[a-z-]+)\)", page.source))
    for block in (":root {", "prefers-color-scheme: dark", "@media print"):
        start = style.index(block)
        assert used <= set(re.findall(r"(--[a-z-]+):", style[start : style.index("}", start)]))
    assert "#1b1f24" not in page.source.replace(style, "")


def test_reports_import_without_matplotlib() -> None:
    code = (
        "import sys, circuitshift.pipeline.reports.study.page, "
        "circuitshift.pipeline.reports.person.page; "
        "print({'matplotlib', 'jinja2'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.circuit_values({"dmn": {"a": 0.1}}, ["a"], key="k", alt="Values of one circuit.")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.126, 2, "0.13"),
        ("-0.001", 2, "0.00"),
        (-1.5, 1, "\N{MINUS SIGN}1.5"),
        ("n/a", 2, "not available"),
        (None, 2, "not available"),
        (NAN, 0, "not available"),
        (float("inf"), 2, "not available"),
        (True, 2, "not available"),
    ],
)
def test_numbers_are_printed_one_way(value: object, digits: int, text: str) -> None:
    assert wording.show(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0004, "< 0.001"),
        ("0.0312", "0.031"),
        (1, "1.000"),
        (NAN, "not available"),
    ],
)
def test_p_values_are_never_zero(value: object, text: str) -> None:
    assert wording.p_value(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        ("01", "01"),
        ("sub-01", "sub-01"),
        (3, "3"),
        (0.123456, "0.1235"),
        ([], "none"),
        (["a", 1], "a, 1"),
        ({"a": None}, "a: not available"),
        ("NaN", "not available"),
    ],
)
def test_cells_keep_words_as_they_are(value: object, text: str) -> None:
    assert wording.cell(value) == text


def test_labels_that_would_touch_are_moved_apart_within_the_axis() -> None:
    places = figures_person._apart(np.array([1.0, 1.1, 1.2, 9.9]), gap=1.0, top=10.0)
    assert np.diff(places).min() >= 1.0 - 1e-12
    assert places.max() <= 10.0
    low = figures_person._apart(np.array([9.0, 9.5, 10.0]), gap=1.0, top=10.0)
    np.testing.assert_allclose(low, [8.0, 9.0, 10.0])


def test_retained_volumes_return_to_their_place_in_the_carpet() -> None:
    keep = np.array([False, True, True, False])
    whole = figures_person._all_volumes(np.array([[1.0], [2.0]]), keep)
    np.testing.assert_array_equal(whole[:, 0], [np.nan, 1.0, 2.0, np.nan])


def test_the_background_line_is_least_squares() -> None:
    x = np.linspace(-1, 1, 11)
    slope, level = figures_edges._line(x, 0.3 + 0.5 * x)
    assert slope == pytest.approx(0.5)
    assert level == pytest.approx(0.3)
    assert figures_edges._line(np.empty(0), np.empty(0)) == (0.0, 0.0)
