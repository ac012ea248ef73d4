"""Forest plots of a meta-analysis: marks, missing studies, limits of the axis."""

import re

import numpy as np

from circuitshift.pipeline.reports import figures
from circuitshift.pipeline.reports.figures import pooled

NAN = float("nan")
MEAN = figures.PooledRow("Mean", -0.1, -0.2, 0.0, -0.4, 0.2, "-0.10 [-0.20, 0.00]")


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def row(name, estimate, half=0.1, text="x"):
    return figures.StudyRow(name, estimate, estimate - half, estimate + half, 0.5, text)


def test_studies_and_their_mean_have_names_and_numbers():
    rows = [row("site a", -0.1), row("site b", NAN, text="no estimate")]
    svg = figures.study_forest(rows, MEAN, bound=0.05, unit="Fisher z", key="f", alt="Change")
    shown = texts(svg)
    for text in ("site a", "site b", "no estimate", "Mean", MEAN.text, "Fisher z"):
        assert text in shown
    assert "smallest effect of interest" in shown
    without = figures.study_forest(rows, MEAN, bound=NAN, unit="", key="f", alt="Change")
    assert "smallest effect of interest" not in texts(without)


def test_a_term_that_is_not_pooled_says_so():
    empty = figures.PooledRow("Mean", NAN, NAN, NAN, NAN, NAN, "")
    svg = figures.study_forest([row("a", 0.1)], empty, bound=NAN, unit="", key="f", alt="Change")
    assert "not pooled" in texts(svg)


def test_identical_data_give_identical_bytes():
    both = [figures.pooled_overview([MEAN], key="o", alt="Overview") for _ in range(2)]
    assert both[0] == both[1]


def test_very_wide_intervals_do_not_hide_the_estimates():
    low, high = pooled._reach([-100.0, 100.0, 0.2], [0.1, 0.2])
    assert low < 0
    assert 0.2 < high < 1
    low, high = pooled._reach([-0.1, 0.3], [0.1, 0.2])
    assert (low < -0.1, high > 0.3) == (True, True)
    assert np.isfinite(pooled._reach([NAN], [NAN])).all()
