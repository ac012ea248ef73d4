"""Sections of a study's report: evidence for the verdict, and the change of the whole brain."""

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

_DRAWN = 150  # edges of the map of the whole brain
_MOST_OF_CIRCUIT = 400  # edges of one circuit; more cannot be told apart


# -- evidence -------------------------------------------------------------------------------------


def evidence_section(report: StudyReport) -> Iterator[Block | None]:
    """Show the change of background and circuits on which the verdict rests.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
    """
    yield strength_figure(report) or Prose("Group means of edges are not available.")
    yield deviation_figure(report)


def strength_figure(report: StudyReport) -> Figure | None:
    """Draw the change of every edge against its typical strength.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None without group means of edges.
    """
    typical = report.edge_column("typical_z")
    if typical is None:
        return None
    return _against(
        report,
        typical,
        key="strength",
        across="typical strength of the edge, Fisher z",
        caption="Each edge of the brain: its typical strength and its change. Under the global "
        "model all edges lie along one line: a raised line is a shift, a tilted line a gain. A "
        "circuit far from the line changed beyond the global model. The line is a plain "
        "least-squares fit to the group means, for illustration; the tests use the model described "
        "under Methods. Circuits with the largest statistics are named where there is room. In a "
        "crossover, change under treatment is shown without subtracting the control condition.",
    )


def deviation_figure(report: StudyReport) -> Figure | None:
    """Draw the change of every edge against the deviation that treatment would have to close.

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
        "closed this deviation throughout the brain, the line would tilt upward. Both axes contain "
        "the noise of the patients' baseline, however, so the line of each arm tilts upward even "
        "without any effect (regression to the mean); in the difference of two arms this cancels "
        "in part. The model does not use this slope.",
    )


def _against(report: StudyReport, x: Floats, *, key: str, across: str, caption: str) -> Figure:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    given = report.change_by_strength or {}
    treated = np.asarray(given["change_treated_z"], float)
    control = given.get("change_control_z")
    panels = [("treated", treated)]
    if control is not None and np.isfinite(np.asarray(control, float)).any():
        other = np.asarray(control, float)
        panels += [("control", other), ("treated minus control", treated - other)]
    members = _members(given, [str(r.get("term")) for r in report.ranked_circuits()])
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


def _members(given: Mapping[str, Any], order: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the edges of each circuit, in the order given; of all together if none is named."""
    names = given.get("circuits")
    if names is None:
        return {"circuits": np.asarray(given["is_circuit"], bool)}
    of: dict[str, list[int]] = {name: [] for name in order}
    for k, text in enumerate(names):
        if text and str(text).lower() not in ("n/a", "none", "nan"):
            for name in str(text).split(","):
                of.setdefault(name, []).append(k)
    out = {}
    for name, positions in of.items():
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
    """
    networks = network_figure(report)
    if networks:
        yield networks
        yield Details("Numbers", (network_table(report),))
    else:
        yield Prose(
            "Change by networks is not available: the atlas names no networks, or there are too "
            "few participants for maps."
        )
    connectome = connectome_figure(report)
    if connectome:
        yield connectome
        data = connectome_data(report)
        yield Widget("connectome.html", data) if data else None
    else:
        yield Prose(
            "Edges cannot be drawn on a brain: the centres of the regions of the atlas are not "
            "available, or there are too few participants for maps."
        )


def network_figure(report: StudyReport) -> Figure | None:
    """Draw the mean change within and between networks.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None without networks.
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    alpha = report.alpha
    rows = report.secondary.get("networks") or ()
    names = sorted({str(row.get(end)) for row in rows for end in ("network_a", "network_b")})
    if not names:
        return None
    place = {name: k for k, name in enumerate(names)}
    change, corrected = np.full((2, len(names), len(names)), np.nan)
    for row in rows:
        i, j = place[str(row.get("network_a"))], place[str(row.get("network_b"))]
        change[i, j] = change[j, i] = wording.number(row.get("estimate_z"))
        corrected[i, j] = corrected[j, i] = wording.number(row.get("p_corrected"))
    below = [r for r in rows if wording.is_below(r, alpha)]
    most = sorted(rows, key=lambda r: -abs(wording.number(r.get("estimate_z")) or 0))[:3]
    numbers = "; ".join(
        f"{r.get('network_a')} with {r.get('network_b')} {wording.show(r.get('estimate_z'))}"
        for r in most
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
        "treated minus control where there is a control arm. Star: corrected p below alpha "
        f"({count}). Exploratory: it does not influence the verdict.",
    )


def network_table(report: StudyReport) -> PageTable:
    """Tabulate the change of all pairs of networks.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    PageTable
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
    """Return the regions of every edge, and its change by treatment; None if none can be drawn."""
    change = report.edge_column("estimate_z")
    first, second = edge_ends(len(report.regions))
    if change is None or len(change) != len(first):
        return None
    centres = _centres(report)
    unplaced = np.isnan(centres[first] + centres[second]).any(axis=1)
    available = np.where(unplaced, np.nan, change)
    return (first, second, available) if np.isfinite(available).any() else None


def _strongest(values: Floats, positions: npt.NDArray[np.intp], most: int) -> list[int]:
    """Return the positions of the largest of the finite values."""
    available = positions[np.isfinite(values[positions])]
    order = np.argsort(-np.abs(values[available]), kind="stable")
    return [int(k) for k in available[order][:most]]


def connectome_figure(report: StudyReport) -> Figure | None:
    """Draw the edges with the largest statistics on a glass brain.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None without centres of regions or tests of edges.
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
            alt=f"The {len(edges)} edges that changed most clearly, on a brain seen from the left, "
            f"the front and above: {up} increased and {len(edges) - up} decreased.",
        ),
        f"The {len(edges)} edges with the largest statistics, irrespective of p; {words} a "
        "corrected p below alpha. Red: connectivity increased; blue: it decreased. Exploratory.",
    )


def _whole_brain(report: StudyReport, change: Floats) -> list[int]:
    statistic = report.edge_column("statistic")
    by = change if statistic is None else np.where(np.isfinite(change), statistic, np.nan)
    return _strongest(by, np.arange(len(change)), _DRAWN)


def connectome_data(report: StudyReport) -> dict[str, Any] | None:
    """Return what the rotating brain draws.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    dict or None
        None without centres of regions or changes of edges.
        ``outline``: points of a brain's surface, mm; ``nodes``: x, y, z (mm) and label of each
        region; ``sets``: title, words, and edges as [region, region, change].
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    ends = _ends(report)
    if ends is None:
        return None
    first, second, change = ends

    def edges(positions: Sequence[int]) -> list[list[float]]:
        return [[int(first[k]), int(second[k]), round(float(change[k]), 4)] for k in positions]

    whole = _whole_brain(report, change)
    sets = [
        {
            "title": "Largest statistics of the whole brain",
            "words": f"The {len(whole)} edges with the largest statistics; exploratory.",
            "edges": edges(whole),
        }
    ]
    members = _members(
        report.change_by_strength or {}, [str(r.get("term")) for r in report.ranked_circuits()]
    )
    for name, mask in members.items():
        of_circuit = np.flatnonzero(mask & np.isfinite(change))
        chosen = _strongest(change, of_circuit, _MOST_OF_CIRCUIT)
        if chosen:
            all_ = len(chosen) == len(of_circuit)
            which = "All" if all_ else f"The {len(chosen)} of {len(of_circuit)} most changed"
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
