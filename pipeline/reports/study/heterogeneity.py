"""Part of the study report: whether one global law describes all networks, rival explanations."""

from collections.abc import Iterator, Sequence

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import (
    Block,
    Details,
    Figure,
    Heading,
    PageTable,
    Prose,
)
from circuitshift.pipeline.reports.page import Row
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.estimates import tests_table

__all__ = ["block_figure", "explanation_table", "heterogeneity_blocks", "network_matrices"]

_JOINT = " \N{EN DASH} "
_KINDS = {
    "regional": "its regions changed in all their connections",
    "graded": "gain graded along the cortical hierarchy",
    "quality": "measured change of signal quality",
}


def heterogeneity_blocks(report: StudyReport) -> Iterator[Block | None]:
    """Show how much change differs between networks, and rival explanations of circuits' changes.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
        Nothing if the study has no record of heterogeneity.
    """
    found = report.verdict.get("heterogeneity") or {}
    if not found:
        return
    yield Heading("Does one global law describe all networks?")
    yield Prose(_summary(found))
    yield block_figure(report)
    rows = report.family("blocks")
    yield Details("Numbers", (tests_table(rows, "Residual change of blocks"),)) if rows else None
    yield explanation_table(report)


def _summary(found: Row) -> str:
    """Describe the variation over blocks in words."""
    n = int(wording.number(found.get("n_blocks")) or 0)
    if not n:
        return (
            "The variation of change over networks was not tested "
            f"({found.get('reason') or 'no blocks were defined'}). Circuits were compared with 0."
        )
    law = (
        "The omnibus test rejects one global law"
        if wording.number(found.get("p")) < wording.number(found.get("level"))
        else "The omnibus test does not reject one global law"
    )
    return (
        f"{law} (p {wording.p_value(found.get('p'))}, significance level "
        f"{wording.show(found.get('level'), 2)}; largest statistic over {n} blocks, "
        f"{found.get('source')}). Beyond the global model, the true changes of blocks differ by a "
        f"standard deviation of {wording.show(found.get('tau'), 3)} (95 % confidence interval "
        f"{wording.show(found.get('ci_low'), 3)} to {wording.show(found.get('ci_high'), 3)}; "
        f"smallest heterogeneity of interest {wording.show(found.get('smallest'), 3)}). A circuit "
        "is called specific only if it changed more than blocks do."
    )


def block_figure(report: StudyReport) -> Figure | None:
    """Draw the residual change of each block as a matrix of networks.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None if no block was tested.
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    rows = report.family("blocks")
    ends = [_networks(str(row.get("term"))) for row in rows]
    names, change, corrected = network_matrices(rows, ends, "estimate")
    if not names:
        return None
    below = sum(wording.is_below(row, report.alpha) for row in rows)
    largest = sorted(rows, key=lambda r: -abs(wording.number(r.get("estimate")) or 0))[:3]
    numbers = "; ".join(f"{r.get('term')} {wording.show(r.get('estimate'))}" for r in largest)
    count = wording.count(below, "block")
    return Figure(
        figures.network_matrix(
            names,
            change,
            corrected,
            alpha=report.alpha,
            key="heterogeneity",
            alt=f"Residual change of {len(rows)} blocks of {len(names)} networks. Largest: "
            f"{numbers}. {count} with corrected p below alpha; the table below has all numbers.",
        ),
        "Change of the background edges between two networks and, on the diagonal, within one, "
        f"beyond the global model. Star: corrected p below alpha ({count}). Empty: edges that "
        "belong to a predefined circuit, or too few edges.",
    )


def network_matrices(
    rows: Sequence[Row], ends: Sequence[tuple[str, str]], estimate: str
) -> tuple[list[str], Floats, Floats]:
    """Arrange the tests of pairs of networks as matrices.

    Parameters
    ----------
    rows : sequence of Row
        One test for each pair.
    ends : sequence of tuple of two str
        Both networks of each row; the same network twice for its own edges.
    estimate : str
        Column of the estimate.

    Returns
    -------
    names : list of str
        Networks in alphabetical order.
    change, corrected : ndarray, shape (n_networks, n_networks)
        Estimates and corrected p values; NaN for pairs without a test.
    """
    names = sorted({name for pair in ends for name in pair})
    change, corrected = np.full((2, len(names), len(names)), np.nan)
    for row, (first, second) in zip(rows, ends, strict=True):
        i, j = names.index(first), names.index(second)
        change[i, j] = change[j, i] = wording.number(row.get(estimate))
        corrected[i, j] = corrected[j, i] = wording.number(row.get("p_corrected"))
    return names, change, corrected


def _networks(block: str) -> tuple[str, str]:
    first, _, second = block.partition(_JOINT)
    return first, second or first


def explanation_table(report: StudyReport) -> PageTable | None:
    """Tabulate rival explanations of the circuits that changed, with their own estimates.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    PageTable or None
        None if no circuit changed, or no explanation was tested.
    """
    rows = [
        (
            report.title(str(row.get("circuit"))),
            _KINDS.get(str(row.get("kind")), str(row.get("kind"))),
            _interval(row, "part"),
            _interval(row, "rest"),
            "yes" if row.get("explains") else "no",
        )
        for row in report.verdict.get("explanations") or ()
    ]
    if not rows:
        return None
    head = ("Circuit", "Rival explanation", "Change it predicts", "Change it leaves", "Explains")
    caption = (
        "Rival explanations of changed circuits: estimate [95 % interval]. An explanation accounts "
        "for a change if it predicts at least half of it and what is left may be 0"
    )
    return PageTable(caption, head, rows)


def _interval(row: Row, name: str) -> str:
    low, high = (wording.show(row.get(f"{name}_{end}"), 3) for end in ("low", "high"))
    return f"{wording.show(row.get(name), 3, sign=True)} [{low}, {high}]"
