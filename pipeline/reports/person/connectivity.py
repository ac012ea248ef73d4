"""Sections of the participant report: edges of each session, and values of circuits."""

from collections.abc import Iterator, Sequence

import numpy as np

from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import Block, Figure, PageTable, Prose
from circuitshift.pipeline.reports.page import in_time, nan_mean, visit
from circuitshift.pipeline.reports.person.content import ParticipantReport, SessionEdges

__all__ = ["circuits_section", "connectivity_section"]


def connectivity_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show the edges of each session and their change.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
    """
    yield _matrix_figure(report.edges) or Prose(
        "Edges are not available because no session is usable."
    )


def circuits_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show the mean edge of each circuit in each session.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
    """
    if report.circuits:
        yield _circuit_figure(report)
        yield _circuit_table(report)
    else:
        yield Prose("Circuit values are not available.")


def _networks(names: Sequence[str], n_regions: int) -> Sequence[str]:
    return names if len(names) == n_regions else [""] * n_regions


def _matrix_figure(edges: Sequence[SessionEdges]) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    if not edges:
        return None
    first = edges[0]
    panels = [(visit(e.session), e.matrix) for e in edges]
    panels += [
        (f"{visit(e.session)} minus {visit(first.session)}", e.matrix - first.matrix)
        for e in edges[1:]
    ]
    available = ~np.eye(len(first.matrix), dtype=bool)
    means = [
        f"{title}: mean {wording.show(nan_mean(matrix[available]), 3)}" for title, matrix in panels
    ]
    svg = figures.matrices(
        panels,
        _networks(first.networks, len(first.matrix)),
        key="matrices",
        alt=f"Edge matrices in Fisher z. {'; '.join(means)}.",
    )
    caption = (
        f"Edges in Fisher z, with regions sorted by network and a common colour scale. "
        f"{'; '.join(means)}. Grey: not available."
    )
    if len(edges) > 1:
        caption += " The order of sessions was inferred from their names."
    return Figure(svg, caption)


def _sessions_of(report: ParticipantReport) -> list[str]:
    sessions = [e.session for e in report.edges]
    return in_time([*sessions, *(s for values in report.circuits.values() for s in values)])


def _circuit_figure(report: ParticipantReport) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    if not report.circuits:
        return None
    svg = figures.circuit_values(
        report.circuits,
        _sessions_of(report),
        others=report.others.ranges if report.others else None,
        key="circuits",
        alt="Mean Fisher z of each circuit in each session; the table below has the numbers.",
    )
    caption = (
        "Values of one participant, for quality control. They are not diagnostic, because circuit "
        "means of individual participants have low reliability over months."
    )
    if report.others:
        caption += (
            f" Grey: 5th to 95th percentile of {report.others.n_participants} other "
            "participants of the study "
            f"in {visit(report.others.session)}."
        )
    else:
        caption += (
            " To add the range of the other participants, use --reports-only after the group level."
        )
    return Figure(svg, caption)


def _circuit_table(report: ParticipantReport) -> PageTable:
    sessions = _sessions_of(report)
    compared = sessions if len(sessions) > 1 else []
    head = ["Circuit", *map(visit, sessions), *(["Change, first to last"] if compared else [])]
    others = report.others
    if others:
        head += ["Others, 5th percentile", "Others, 95th percentile"]
    rows = []
    for name, values in report.circuits.items():
        row = [name, *(wording.show(values.get(s), 3) for s in sessions)]
        if compared:
            first, last = (wording.number(values.get(s)) for s in (compared[0], compared[-1]))
            row.append(wording.show(last - first, 3, sign=True))
        if others:
            row += [wording.show(v, 3) for v in others.ranges.get(name, (np.nan, np.nan))]
        rows.append(row)
    return PageTable("Mean Fisher z over the edges of each circuit", head, rows)
