"""Sections of the study report: evidence for the verdict, and whole-brain change."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.edges import edge_ends
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import (
    Block,
    Details,
    Figure,
    PageTable,
    Prose,
    Widget,
)
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.heterogeneity import heterogeneity_blocks, network_matrices

__all__ = [
    "connectome_data",
    "connectome_figure",
    "deviation_figure",
    "evidence_section",
    "network_figure",
    "network_table",
    "strength_figure",
    "whole_brain_section",
]

_MAX_EDGES = 150  # edges drawn of the whole brain
_MAX_CIRCUIT_EDGES = 400  # edges drawn of one circuit; more could not be distinguished


# -- evidence -------------------------------------------------------------------------------------


def evidence_section(report: StudyReport) -> Iterator[Block | None]:
    """Show the change of background edges and circuits on which the verdict rests.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
        Figures of all edges.
    """
    yield strength_figure(report) or Prose("Group means of edges are not available.")
    yield deviation_figure(report)
    yield from heterogeneity_blocks(report)


def strength_figure(report: StudyReport) -> Figure | None:
    """Draw the change of every edge against its typical strength.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None if the group means of edges are not available.
    """
    typical = report.edge_column("typical_z")
    if typical is None:
        return None
    return _against(
        report,
        typical,
        key="strength",
        across="typical strength of the edge, Fisher z",
        caption="Typical strength and change of each edge of the brain. Under the global model, "
        "all edges lie along one line: a shift raises the line, and a gain tilts it. A circuit far "
        "from the line changed beyond the global model. The line is a least-squares fit to the "
        "group means, for illustration; the tests use the model described under Methods. Circuits "
        "with the largest statistics are named where there is space. In a crossover, the change "
        "under treatment is shown without subtracting the control condition.",
    )


def deviation_figure(report: StudyReport) -> Figure | None:
    """Draw the change of every edge against its deviation from the reference group.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None without a reference group.
    """
    typical, reference = report.edge_column("typical_z"), report.edge_column("reference_z")
    if typical is None or reference is None:
        return None
    return _against(
        report,
        reference - typical,
        key="deviation",
        across="reference minus patients at baseline, Fisher z",
        caption="The same change against the deviation from the reference group. If treatment "
        "closed this deviation throughout the brain, the line would tilt upward. However, both "
        "axes contain the noise of the patients' baseline, so the line of each arm tilts upward "
        "even without any effect (regression to the mean). In the difference between two arms, "
        "this bias cancels in part. The model does not use this slope.",
    )


def _against(report: StudyReport, x: Floats, *, key: str, across: str, caption: str) -> Figure:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    columns = report.change_by_strength or {}
    treated = np.asarray(columns["change_treated_z"], float)
    control = columns.get("change_control_z")
    panels = [("treated", treated)]
    if control is not None and np.isfinite(np.asarray(control, float)).any():
        other = np.asarray(control, float)
        panels += [("control", other), ("treated minus control", treated - other)]
    members = _members(columns, [str(r.get("term")) for r in report.ranked_circuits()])
    svg = figures.change_by_strength(
        x,
        panels,
        members={report.short_title(name, 24): mask for name, mask in members.items()},
        key=key,
        across=across,
        alt=f"Mean change of every edge against {across}, with the line fitted to background "
        "edges and the mean of each circuit; the table of circuits has the numbers.",
    )
    return Figure(svg, caption)


def _members(columns: Mapping[str, Any], order: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the edges of each circuit in the given order, or of all if they are not named."""
    names = columns.get("circuits")
    if names is None:
        return {"circuits": np.asarray(columns["is_circuit"], bool)}
    positions_of: dict[str, list[int]] = {name: [] for name in order}
    for k, text in enumerate(names):
        if text and str(text).lower() not in ("n/a", "none", "nan"):
            for name in str(text).split(","):
                positions_of.setdefault(name, []).append(k)
    out = {}
    for name, positions in positions_of.items():
        if positions:
            out[name] = np.zeros(len(names), bool)
            out[name][positions] = True
    return out


# -- whole brain ----------------------------------------------------------------------------------


def whole_brain_section(report: StudyReport) -> Iterator[Block | None]:
    """Show the change of networks and of edges throughout the brain.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
        Figures and a table, or sentences on what is not available.
    """
    networks = network_figure(report)
    if networks:
        yield networks
        yield Details("Numbers", (network_table(report),))
    else:
        yield Prose(
            "The change of networks is not available because the atlas names no networks or there "
            "are too few participants for maps."
        )
    connectome = connectome_figure(report)
    if connectome:
        yield connectome
        data = connectome_data(report)
        yield Widget("connectome.html", data) if data else None
    else:
        yield Prose(
            "Edges cannot be drawn on a brain because the centres of the regions of the atlas are "
            "not available or there are too few participants for maps."
        )


def network_figure(report: StudyReport) -> Figure | None:
    """Draw the mean change within and between networks.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None if no pair of networks was tested.
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    alpha = report.alpha
    rows = report.secondary.get("networks") or ()
    ends = [(str(row.get("network_a")), str(row.get("network_b"))) for row in rows]
    names, change, corrected = network_matrices(rows, ends, "estimate_z")
    if not names:
        return None
    below = [r for r in rows if wording.is_below(r, alpha)]
    largest = sorted(rows, key=lambda r: -abs(wording.number(r.get("estimate_z")) or 0))[:3]
    numbers = "; ".join(
        f"{r.get('network_a')} with {r.get('network_b')} {wording.show(r.get('estimate_z'))}"
        for r in largest
    )
    count = wording.count(len(below), "pair of networks", "pairs of networks")
    return Figure(
        figures.network_matrix(
            names,
            change,
            corrected,
            alpha=alpha,
            key="networks",
            alt=f"Change within and between {len(names)} networks. Largest: {numbers}. {count} "
            "with corrected p below alpha; the table below has all numbers.",
        ),
        "Mean change of the edges between two networks and, on the diagonal, within one, Fisher z; "
        "treated minus control if there is a control arm. Star: corrected p below alpha "
        f"({count}). This map is exploratory and does not influence the verdict.",
    )


def network_table(report: StudyReport) -> PageTable:
    """Tabulate the change of all pairs of networks.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    PageTable
        One row per pair of networks.
    """
    rows = [
        (
            f"{row.get('network_a')} \N{EN DASH} {row.get('network_b')}",
            wording.show(row.get("estimate_z"), 3, sign=True),
            wording.show(row.get("statistic")),
            wording.p_value(row.get("p")),
            wording.p_value(row.get("p_corrected")),
        )
        for row in report.secondary.get("networks") or ()
    ]
    return PageTable(
        "Change within and between networks, Fisher z",
        ("Networks", "Change", "Statistic", "p", "p corrected"),
        rows,
    )


def _centres(report: StudyReport) -> Floats:
    nan = (np.nan,) * 3
    return np.array([r.xyz_mm or nan for r in report.regions], float).reshape(-1, 3)


def _ends(report: StudyReport) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats] | None:
    """Return both regions and the change of every edge, or None if no edge can be drawn."""
    change = report.edge_column("estimate_z")
    first, second = edge_ends(len(report.regions))
    if change is None or len(change) != len(first):
        return None
    centres = _centres(report)
    unplaced = np.isnan(centres[first] + centres[second]).any(axis=1)
    available = np.where(unplaced, np.nan, change)
    return (first, second, available) if np.isfinite(available).any() else None


def _strongest(values: Floats, positions: npt.NDArray[np.intp], max_edges: int) -> list[int]:
    """Return the positions of the finite values with the largest magnitude."""
    available = positions[np.isfinite(values[positions])]
    order = np.argsort(-np.abs(values[available]), kind="stable")
    return [int(k) for k in available[order][:max_edges]]


def connectome_figure(report: StudyReport) -> Figure | None:
    """Draw the edges with the largest statistics on a glass brain.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None if centres of regions or tests of edges are not available.
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    ends = _ends(report)
    if ends is None:
        return None
    first, second, change = ends
    chosen = _whole_brain(report, change)
    edges = [(int(first[k]), int(second[k]), float(change[k])) for k in chosen]
    up = sum(value > 0 for *_, value in edges)
    corrected = report.edge_column("p_corrected")
    below = 0 if corrected is None else int((corrected < report.alpha).sum())
    words = wording.count(below, "edge of the brain has", "edges of the brain have")
    return Figure(
        figures.connectome(
            _centres(report),
            edges,
            key="connectome",
            alt=f"The {len(edges)} edges with the largest statistics, on a brain seen from the "
            f"left, the front and above: {up} increased and {len(edges) - up} decreased.",
        ),
        f"The {len(edges)} edges with the largest statistics, irrespective of p; {words} a "
        "corrected p below alpha. Red: connectivity increased; blue: connectivity decreased. This "
        "map is exploratory.",
    )


def _whole_brain(report: StudyReport, change: Floats) -> list[int]:
    statistic = report.edge_column("statistic")
    by = change if statistic is None else np.where(np.isfinite(change), statistic, np.nan)
    return _strongest(by, np.arange(len(change)), _MAX_EDGES)


def connectome_data(report: StudyReport) -> dict[str, Any] | None:
    """Return the data of the rotating brain.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    dict or None
        None if centres of regions or changes of edges are not available.
        ``outline`` holds points on the surface of a brain (mm), ``nodes`` holds x, y, z (mm) and
        the label of each region, and ``sets`` holds sets of edges with a title, a description
        (``words``), and edges as [region, region, change].
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    ends = _ends(report)
    if ends is None:
        return None
    first, second, change = ends

    def edges(positions: Sequence[int]) -> list[list[float]]:
        return [[int(first[k]), int(second[k]), round(float(change[k]), 4)] for k in positions]

    strongest = _whole_brain(report, change)
    sets = [
        {
            "title": "Largest statistics of the whole brain",
            "words": f"The {len(strongest)} edges with the largest statistics; exploratory.",
            "edges": edges(strongest),
        }
    ]
    members = _members(
        report.change_by_strength or {}, [str(r.get("term")) for r in report.ranked_circuits()]
    )
    for name, mask in members.items():
        positions = np.flatnonzero(mask & np.isfinite(change))
        chosen = _strongest(change, positions, _MAX_CIRCUIT_EDGES)
        if chosen:
            is_complete = len(chosen) == len(positions)
            n_edges = f"The {len(chosen)} of {len(positions)} most changed"
            which = "All" if is_complete else n_edges
            sets.append(
                {
                    "title": report.title(name),
                    "words": f"{which} edges of this circuit.",
                    "edges": edges(chosen),
                }
            )
    nodes = [
        [*(round(v, 1) for v in region.xyz_mm), region.label] if region.xyz_mm else None
        for region in report.regions
    ]
    return {"outline": figures.outline_mm(), "nodes": nodes, "sets": sets}
