"""Conversion of rows of tests.tsv to tables, rows of forest plots, and text."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import PageTable
from circuitshift.pipeline.reports.page import Row

if TYPE_CHECKING:
    from circuitshift.pipeline.reports.figures import ForestRow

__all__ = ["alt_text", "forest_row", "interval", "tests_table"]

_MAX_NAMED = 12  # estimates in the text alternative of a figure; the table has all


def forest_row(
    row: Row, name: str, alpha: float, *, hint: str = "", second: object = None
) -> "ForestRow":
    """Convert a row of tests.tsv to a row of a forest plot.

    Parameters
    ----------
    row : mapping
        Row of tests.tsv.
    name : str
        Name of the row in the figure.
    alpha : float
        Estimates with a smaller corrected p are drawn filled.
    hint : str
        Predicted direction.
    second : object
        Another estimate of the same effect; None if there is none.

    Returns
    -------
    ForestRow
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    return figures.ForestRow(
        name=name,
        estimate=wording.number(row.get("estimate")),
        low=wording.number(row.get("ci_low")),
        high=wording.number(row.get("ci_high")),
        bound=wording.number(row.get("bound")),
        text=wording.estimate_text(row),
        unit=str(row.get("unit") or ""),
        hit=wording.is_below(row, alpha),
        hint=hint,
        second=wording.number(second),
    )


def alt_text(start: str, rows: Sequence[Row], title: Callable[[str], str]) -> str:
    """Return the text alternative of a forest plot.

    Parameters
    ----------
    start : str
        Content of the figure.
    rows : sequence of mapping
        Rows of tests.tsv.
    title : callable
        Function that returns the title of a term or circuit (`StudyReport.title`).

    Returns
    -------
    str
        The first estimates, and a reference to the table below the figure.
    """
    named = [
        f"{title(str(row.get('term')))} {wording.estimate_text(row)}" for row in rows[:_MAX_NAMED]
    ]
    more = f"; and {len(rows) - _MAX_NAMED} more" if len(rows) > _MAX_NAMED else ""
    return f"{start}: {'; '.join(named)}{more}. The table below has all numbers."


def tests_table(rows: Iterable[Row], caption: str) -> PageTable:
    """Tabulate estimates with their intervals, test statistics and p values.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of tests.tsv.
    caption : str
        Caption of the table.

    Returns
    -------
    PageTable
        One row per estimate.
    """
    head = (
        "Test",
        "Family",
        "Estimate",
        "95 % interval",
        "Unit",
        "Statistic (df)",
        "p",
        "p corrected",
        "Smallest effect of interest",
        "p of equivalence",
        "Bayes factor, against 0",
        "n (control, reference)",
        "Method",
        "Note",
    )
    body = [
        (
            wording.cell(row.get("test") or row.get("term")),
            wording.cell(row.get("family")),
            wording.show(row.get("estimate"), _digits(row), sign=True),
            interval(row),
            wording.cell(row.get("unit")),
            f"{wording.show(row.get('statistic'))} ({wording.show(row.get('df'), 1)})",
            wording.p_value(row.get("p")),
            wording.p_value(row.get("p_corrected")),
            wording.show(row.get("bound"), 3),
            wording.p_value(row.get("equivalence_p")),
            wording.bayes_factor(row.get("bf10")),
            f"{row.get('n')} ({row.get('n_control')}, {row.get('n_reference')})",
            wording.cell(row.get("method")),
            "" if wording.cell(row.get("note")) == wording.MISSING else str(row.get("note")),
        )
        for row in rows
    ]
    return PageTable(caption, head, body)


def interval(row: Row) -> str:
    """Format the confidence interval of an estimate.

    Parameters
    ----------
    row : mapping
        Row of tests.tsv.

    Returns
    -------
    str
    """
    digits = _digits(row)
    low, high = (wording.show(row.get(name), digits) for name in ("ci_low", "ci_high"))
    return (
        low
        if low == high == wording.MISSING
        else f"{low}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{high}"
    )


def _digits(row: Row) -> int:
    """Return the number of decimals that resolve an interval, since effects per mm are small."""
    half = (wording.number(row.get("ci_high")) - wording.number(row.get("ci_low"))) / 2
    return int(np.clip(2 - np.floor(np.log10(half)), 3, 8)) if half > 0 else 3
