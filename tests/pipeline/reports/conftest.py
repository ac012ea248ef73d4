"""Data of reports, and a parser that reads and checks pages."""

import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from circuitshift.atlases.records import Region
from circuitshift.pipeline.records import RetainedData
from circuitshift.pipeline.reports.person.content import (
    ParticipantReport,
    RunQuality,
    SessionEdges,
)
from circuitshift.pipeline.reports.person.page import write_participant_report
from circuitshift.pipeline.reports.pool.page import write_pool_report
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.page import write_study_report
from circuitshift.pipeline.study.pooling.pool import PooledAnalysis

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
NAN = float("nan")
DESIGN = {"baseline": "pre", "followup": "post", "alpha": 0.05, "sesoi_z": 0.1}


class Page(HTMLParser):
    """Parses a page, and fails on unbalanced tags."""

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

    def figures(self, section: str) -> int:
        """Return the number of figures in a section."""
        start = self.source.index(f'<section aria-labelledby="{section}">')
        return self.source[start : self.source.index("</section>", start)].count("<figure>")

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def check(page: Page) -> None:
    """Check the requirements that every page must meet."""
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
    plots = [attrs for attrs in page.all("svg") if (attrs.get("class") or "").startswith("plot")]
    assert len(plots) == len(page.all("svg")) == len(page.all("figure"))
    assert len(plots) == page.source.count("<figcaption>")
    for attrs in plots:
        assert set(attrs) == {"class", "role", "aria-label", "viewbox"}
        assert attrs["role"] == "img"
        assert len(attrs["aria-label"] or "") > 20
    assert page.all("img", "link", "iframe", "object") == []
    assert not [attrs for attrs in page.all("script") if "src" in attrs]  # no external scripts
    for _, attrs in page.tags:
        for name, value in attrs.items():
            if name in ("href", "src", "xlink:href", "style") and value:
                outside = re.findall(r"(?:https?:)?//[^\s\"')]+", value.partition("base64,")[0])
                assert all(url.startswith("https://doi.org/10.") for url in outside)
            assert not name.startswith("on")
    assert "@import" not in page.source
    for word in ("nan", "None", "n/a", "inf"):
        assert not re.search(rf"(?<![\w-]){word}(?![\w-])", page.text), word


def _participant_report(
    n_regions: int = 20, sessions=("pre", "post"), n_volumes: int = 60
) -> ParticipantReport:
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
                retained=RetainedData(n_volumes, 3, 3, int(keep.sum()), 1.8, 12, 30.5, 0.11),
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


def _estimate(term: str, family: str, value: float = 0.02, p: float = 0.4, **more) -> dict:
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
        "detectable": 0.06,
        "detectable_family": 0.12,
        "sd": 0.08,
        "smallest_p": 0.002,
        "power": 0.95,
    }
    return row | more


def _full_study(circuits=("dmn", "tpn"), *, arms=("treated", "control", "reference"), hit="dmn"):
    rng = np.random.default_rng(2)
    tests = [_estimate("shift", "global"), _estimate("gain", "global")]
    for name in circuits:
        p, value = (0.004, -0.2) if name == hit else (0.6, 0.01)
        for family in ("specific", "specific, node-adjusted", "circuit change"):
            tests.append(_estimate(name, family, value, p))
        tests.append(_estimate(name, "sensitivity: 24p+gsr: specific", value, p))
    participants, quality = [], []
    for arm in arms:
        for k in range(4):
            about = {"participant_id": f"sub-{arm[0]}{k}", "arm": arm}
            for session in ("pre", "post") if arm != "reference" else ("n/a",):
                quality.append(
                    about
                    | {"session": session, "mean_fd_mm": "0.12", "minutes": 8, "residual_dof": NAN}
                )
                for name in circuits:
                    more = {"group": arm, "session": session, "circuit": name, "n_edges": 45}
                    participants.append(about | more | {"value_z": rng.normal(0.3, 0.1)})
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
    by_family = {
        family: {
            t["term"]: {k: t[k] for k in short} | {"ruled_out": True}
            for t in tests
            if t["family"] == family
        }
        for family in ("global", "specific")
    }
    for name, row in by_family["specific"].items():
        row |= {"title": f"Title of {name}", "predicted": "decrease", "why": "Because."}
        row |= {"reference": "Kaiser 2015, doi:10.1001/jamapsychiatry.2015.0071"}
    verdict = {
        "verdict": "circuit-specific" if hit else "neither",
        "sentence": "The named circuits changed beyond the global model.",
        "reason": "beyond the global model: dmn -0.200 (p = 0.0040)",
        "warnings": ["There is no control arm."] if "control" not in arms else [],
        "global": by_family["global"],
        "circuits": by_family["specific"],
        "n": dict.fromkeys(arms, 4),
        "design": {"baseline": "pre", "followup": "post", "alpha": 0.05, "sesoi_z": 0.1},
        "settings_hash": "0123456789ab",
        "code_hash": "ba9876543210",
        "seed": 7,
        "versions": {"circuitshift": "0.1.0"},
        "sensitivity": [{"strategy": "24p+gsr", "verdict": None, "reason": "too few participants"}],
        "exclusion_by_arm": {"analysed_and_excluded": {"treated": [4, 1]}, "p": None},
        "flow": {arm: {"listed": 5, "measured": 5, "analysed": 4} for arm in arms},
        "plan": {"frozen": False, "sentence": "No plan was frozen before the data were read."},
        "secondary": {"findings": ["The model 'specific' predicts best."]},
    }
    exclusions = [
        {"participant_id": "sub-x", "session": "n/a", "stage": "pairing", "code": "one-visit",
         "reason": "no follow-up"},
    ]  # fmt: skip
    secondary = {"models": [{"model": "nothing", "elpd": "-9.5", "difference": "n/a"}]}
    return StudyReport(
        verdict,
        tests,
        participants,
        exclusions,
        quality,
        change,
        (),
        "The methods.",
        secondary=secondary,
    )


def _small_study(verdict=None, **more):
    """Return the data of an empty study, in which each part can be replaced."""
    parts = {
        "verdict": {"verdict": "undetermined", "design": DESIGN} | (verdict or {}),
        "tests": [],
        "participants": [],
        "exclusions": [],
        "quality": [],
        "change_by_strength": None,
        "notes": (),
        "methods": "",
    }
    return StudyReport(**(parts | more))


def _study_of_edges(n=6, **columns):
    """Return a study with edges, regions and a circuit, in which columns can be replaced."""
    rng = np.random.default_rng(3)
    n_edges = n * (n - 1) // 2
    regions = [
        Region(k, f"</script><b>{k}", xyz_mm=(10.0 * k - 25, 5.0 * k, 7.0)) for k in range(n)
    ]
    edges = {
        "typical_z": rng.normal(0.3, 0.2, n_edges),
        "reference_z": rng.normal(0.3, 0.2, n_edges),
        "change_treated_z": rng.normal(0, 0.1, n_edges),
        "estimate_z": rng.normal(0, 0.1, n_edges),
        "statistic": rng.normal(0, 2, n_edges),
        "p_corrected": np.full(n_edges, 0.5),
        "distance_mm": rng.uniform(10, 100, n_edges),
        "qcfc_r": rng.normal(0, 0.2, n_edges),
        "qcfc_change_r": rng.normal(0, 0.2, n_edges),
        "circuits": ["dmn"] * 3 + ["n/a"] * (n_edges - 3),
        "is_circuit": np.arange(n_edges) < 3,
    }
    tests = [_estimate("dmn", "specific")]
    return _small_study(tests=tests, regions=regions, change_by_strength=edges | columns)


@pytest.fixture(scope="session")
def participant_report():
    """Return a function that makes a participant report: one run in each of two sessions."""
    return _participant_report


@pytest.fixture(scope="session")
def full_study():
    """Return a function that makes a complete study report."""
    return _full_study


@pytest.fixture(scope="session")
def small_study():
    """Return a function that makes a study report with the given parts only."""
    return _small_study


@pytest.fixture(scope="session")
def study_of_edges():
    """Return a function that makes a study report with edges and regions."""
    return _study_of_edges


@pytest.fixture(scope="session")
def estimate():
    """Return a function that makes a row of tests.tsv."""
    return _estimate


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a report, checks its page and returns the page."""

    def write_page(report, name="r.html"):
        path = tmp_path / name
        if isinstance(report, ParticipantReport):
            write_participant_report(path, report)
        elif isinstance(report, PooledAnalysis):
            write_pool_report(path, report)
        else:
            write_study_report(path, report)
        page = Page(path.read_text(encoding="utf-8"))
        check(page)
        return page

    return write_page
