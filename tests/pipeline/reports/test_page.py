"""All reports: self-contained, reproducible, and safe with hostile text."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from circuitshift.pipeline.reports.page import in_time
from circuitshift.pipeline.reports.person.content import Removed
from circuitshift.pipeline.reports.person.problems import Problem
from circuitshift.pipeline.study.ratings import Rating

HOSTILE = "<script>alert(\"1\")</script> & $\\frac$ 'q' \x00\x07 — Ünïcödé 脳 🧠 {{ 7*7 }}"


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        (["post", "pre"], ["pre", "post"]),
        (["10", "9", "1"], ["1", "9", "10"]),
        (["3months", "post", "pre"], ["pre", "post", "3months"]),
        (["2", "baseline"], ["baseline", "2"]),
        (["post", "drug"], ["drug", "post"]),
        (["", "a"], ["", "a"]),
    ],
)
def test_sessions_are_sorted_by_their_names(sessions, expected):
    assert in_time(sessions) == expected


@pytest.mark.parametrize("name", ["participant_report", "full_study"])
def test_identical_data_give_identical_bytes(name, request, write):
    make = request.getfixturevalue(name)
    first = write(make(), "a.html")
    second = write(make(), "b.html")
    assert first.source == second.source


def test_hostile_text_is_shown_but_not_executed(full_study, participant_report, write):
    report = participant_report()
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
            removed=(Removed(HOSTILE, HOSTILE, run.retained, True),),
            data_set=HOSTILE,
            provenance={HOSTILE: HOSTILE, "command": HOSTILE},
        ),
    )
    assert '<script>alert("1")</script> & $\\frac$' in page.text
    assert "{{ 7*7 }}" in page.text
    assert "\x00" not in page.source
    study = full_study((HOSTILE, "tpn"), hit=HOSTILE)
    study.verdict["circuits"][HOSTILE]["title"] = HOSTILE
    study.exclusions[0]["reason"] = HOSTILE
    study.verdict["warnings"].append(f"{HOSTILE} doi:10.1/'onclick='x")
    page = write(replace(study, notes=(HOSTILE,), methods=HOSTILE))
    assert page.text.count("<script>") > 5


def test_links_contain_dois_without_the_brackets_around_them(participant_report, write):
    available = ("10.1016/j.x.2007.04", "10.1016/0006-3223(95)00541-2")
    text = f"As before (doi:{available[0]}), and doi:{available[1]}."
    page = write(replace(participant_report(), notes=(text,)))
    expected = [f"https://doi.org/{doi}" for doi in available]
    links = [a["href"] for a in page.all("a") if a["href"] in expected]
    assert links == [f"https://doi.org/{doi}" for doi in available]
    assert "".join(text.split()) in "".join(page.text.split())


def test_figures_follow_the_colours_of_the_page(full_study, write):
    page = write(full_study())
    style = re.search(r"<style>(.*?)</style>", page.source, re.DOTALL)[1]
    used = set(re.findall(r"var\((--[a-z-]+)\)", page.source))
    for block in (":root {", "prefers-color-scheme: dark", "@media print"):
        start = style.index(block)
        assert used <= set(re.findall(r"(--[a-z-]+):", style[start : style.index("}", start)]))
    assert "#1b1f24" not in page.source.replace(style, "")


def test_reports_import_without_matplotlib():
    code = (
        "import sys, circuitshift.pipeline.reports.study.page, "
        "circuitshift.pipeline.reports.person.page; "
        "print({'matplotlib', 'jinja2'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
