"""The participant report: all sections, with sessions in the order of time."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from circuitshift.pipeline.reports.person.content import ParticipantReport
from circuitshift.pipeline.reports.person.page import SECTIONS
from circuitshift.pipeline.reports.person.problems import Problem


def test_a_participant_has_every_section_and_figure(participant_report, write):
    page = write(participant_report())
    headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", page.source)
    absent = {  # without content
        *("Errors and exclusions", "Preprocessing", "Structure of each session", "Seed maps")
    }
    assert headings == [one.title for one in SECTIONS if one.title not in absent]
    links = re.findall(r'<li><a href="#([a-z-]+)">([^<]+)</a></li>', page.source)
    assert [title for _, title in links] == headings
    # one figure of both runs, and a carpet plot for each of them
    figures = {
        "motion": 1, "retained-data": 1, "coverage": 1, "carpets": 2, "connectivity": 1,
        "circuits": 1,
    }  # fmt: skip
    assert {name: page.figures(name) for name in figures} == figures
    assert "All data are usable." in page.text
    assert "region3 (21 %)" in page.text
    assert "censored above 0.5 mm" in page.text
    assert "6 of 60 volumes not used" in page.text
    assert "Change can be computed over 2 sessions." in page.text


def test_change_is_after_minus_before_for_any_order_of_sessions(participant_report, write):
    report = participant_report(sessions=("post", "pre"))
    page = write(replace(report, circuits={"dmn": {"post": 0.5, "pre": 0.1}}))
    assert "ses-post minus ses-pre" in page.text
    assert "ses-pre minus ses-post" not in page.text
    weak, strong = (np.full((20, 20), z) for z in (0.1, 0.4))
    edges = (replace(report.edges[0], matrix=strong), replace(report.edges[1], matrix=weak))
    assert "ses-post minus ses-pre: mean 0.300" in write(replace(report, edges=edges)).text
    assert "<td>0.100</td><td>0.500</td><td>+0.400</td>" in page.source
    assert page.text.index("ses-pre: 1.8 minutes") < page.text.index("ses-post: 1.8 minutes")


def test_a_page_without_measured_runs_states_this(write):
    empty = ParticipantReport(
        "01", (), (), {}, (), (Problem("sub-01_bold.nii.gz", "it is empty; fetch it"),), {}
    )
    page = write(empty)
    assert "Nothing could be measured." in page.text
    assert "it is empty; fetch it" in page.text
    assert page.all("figure") == []


def test_the_page_of_a_large_participant_is_below_3_mb(tmp_path, participant_report, write):
    small = participant_report(n_regions=300, sessions=("a",), n_volumes=300)
    labels = ("a", "b", "c", "d")
    runs = tuple(replace(small.runs[0], session=s, label=f"run {s}") for s in labels)
    edges = tuple(replace(small.edges[0], session=s) for s in labels[:2])
    write(replace(small, runs=runs, edges=edges))
    assert (tmp_path / "r.html").stat().st_size < 3e6


def test_the_documentation_describes_every_section_in_its_order():
    path = Path(__file__).resolve().parents[4] / "docs" / "person-report.md"
    table = path.read_text().partition("| section |")[2].partition("\n\n")[0]
    described = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
    assert described == [one.title for one in SECTIONS]


def test_anchors_are_unique():
    assert len({one.id for one in SECTIONS}) == len(SECTIONS)
