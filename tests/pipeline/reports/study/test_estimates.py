"""Estimates as tables, rows of forest plots, and text."""

import numpy as np
import pytest

from circuitshift.pipeline.reports.study import estimates as section


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (-0.05, 0.15, "\N{MINUS SIGN}0.050 to 0.150"),
        (0.00002, 0.00006, "0.0000200 to 0.0000600"),
        (-4, 12, "\N{MINUS SIGN}4.000 to 12.000"),
        ("n/a", "n/a", "not available"),
    ],
)
def test_an_interval_has_enough_decimals_to_resolve_it(estimate, low, high, text):
    row = estimate("dmn", "specific", ci_low=low, ci_high=high)
    assert section.interval(row).replace("\N{NO-BREAK SPACE}", " ") == text
    assert section.tests_table([row], "C").rows[0][3] == section.interval(row)


def test_the_text_alternative_of_a_figure_lists_twelve_estimates(estimate):
    rows = [estimate(f"c{k:02d}", "specific") for k in range(14)]
    text = section.alt_text("Circuits", rows, "Title of {}".format)
    assert text.startswith("Circuits: Title of c00 +0.02")
    assert "c11" in text
    assert "c12" not in text
    assert "; and 2 more. The table" in text
    assert "more" not in section.alt_text("Circuits", rows[:12], str)


def test_a_row_of_a_forest_plot_has_the_numbers_of_the_table(estimate):
    row = estimate("dmn", "specific", 0.2, 0.004)
    drawn = section.forest_row(row, "DMN", 0.05, hint="increase", second="0.1")
    assert (drawn.name, drawn.hit, drawn.hint, drawn.second) == ("DMN", True, "increase", 0.1)
    assert (drawn.estimate, drawn.low, drawn.high) == (0.2, row["ci_low"], row["ci_high"])
    assert not section.forest_row(row, "DMN", 0.004).hit
    assert np.isnan(section.forest_row(row, "DMN", 0.05).second)


def test_the_cell_of_a_missing_note_is_empty(estimate):
    rows = [estimate("a", "x", note="n/a"), estimate("b", "x", note="missing in 2 participants")]
    assert [row[-1] for row in section.tests_table(rows, "C").rows] == [
        "",
        "missing in 2 participants",
    ]
