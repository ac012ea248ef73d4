"""Of a study's page: the whole brain, and why the verdict is what it is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.edges import edge_ends
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.page import Figure, PageTable, Row
from circuitshift.pipeline.reports.study.answer import short_title
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.tables import of_family

__all__ = [
    "connectome_data",
    "connectome_figure",
    "deviation_figure",
    "length_figure",
    "network_figure",
    "network_table",
    "ranked",
    "strength_figure",
]

_DRAWN = 150  # edges of the map of the whole brain
_MOST_OF_CIRCUIT = 400  # edges of one circuit; more are a ball of wool


def ranked(report: StudyReport, alpha: float) -> list[Row]:
    """Circuits, the clearest first."""

    def order(row: Row) -> tuple[bool, float]:
        size = abs(wording.number(row.get("statistic")))
        return (not wording.is_below(row, alpha), -size if np.isfinite(size) else 0.0)

    return sorted(of_family(report.tests, "specific"), key=order)


def _numbers(report: StudyReport, name: str) -> Floats | None:
    """Column of edges.tsv; None when it is not there or nothing in it is known."""
    given = (report.change_by_strength or {}).get(name)
    if given is None:
        return None
    values = np.asarray(given, float)
    return values if np.isfinite(values).any() else None


# -- why ------------------------------------------------------------------------------------------


def strength_figure(report: StudyReport, alpha: float) -> Figure | None:
    """Draw change of every edge against its typical strength."""
    typical = _numbers(report, "typical_z")
    if typical is None:
        return None
    return _against(
        report,
        alpha,
        typical,
        key="strength",
        across="typical strength of the edge, Fisher z",
        caption="Each edge of the brain: how strong it typically is, and how much it changed. A "
        "global law moves all edges along one line: a raised line is a shift, a tilted one a gain. "
        "A circuit far from the line changed beyond the law. The line is a plain least-squares fit "
        "to the group means, to look at; the tests use the model of the methods section. "
        "Circuits with the largest statistics are named where there is room. Of a crossover, "
        "change under treatment is shown, without the control condition taken from it.",
    )


def deviation_figure(report: StudyReport, alpha: float) -> Figure | None:
    """Draw change of every edge against the deviation that treatment would have to close."""
    typical, reference = _numbers(report, "typical_z"), _numbers(report, "reference_z")
    if typical is None or reference is None:
        return None
    return _against(
        report,
        alpha,
        reference - typical,
        key="deviation",
        across="reference minus patients at baseline, Fisher z",
        caption="The same change against the deviation from the reference group. Closing it "
        "everywhere would tilt the line upward. But both axes hold the patients' baseline noise, "
        "so each arm's line tilts upward even when nothing happened (regression to the mean); in "
        "the difference of two arms that cancels in part. The model does not use this slope.",
    )


def _against(
    report: StudyReport, alpha: float, x: Floats, *, key: str, across: str, caption: str
) -> Figure:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    given = report.change_by_strength or {}
    treated = np.asarray(given["change_treated_z"], float)
    control = given.get("change_control_z")
    panels = [("treated", treated)]
    if control is not None and np.isfinite(np.asarray(control, float)).any():
        other = np.asarray(control, float)
        panels += [("control", other), ("treated minus control", treated - other)]
    members = _members(given, [str(r.get("term")) for r in ranked(report, alpha)])
    svg = figures.change_by_strength(
        x,
        panels,
        members={short_title(report.verdict, name, 24): mask for name, mask in members.items()},
        key=key,
        across=across,
        alt=f"Mean change of every edge against {across}, with the line fitted to background "
        "edges and the mean of each circuit; the table of circuits has the numbers.",
    )
    return Figure(svg, caption)


def _members(given: Mapping[str, Any], order: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """Edges of each circuit, in the order given; of all together when they are not named."""
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


# -- networks -------------------------------------------------------------------------------------


def network_figure(report: StudyReport, alpha: float) -> Figure | None:
    """Draw the mean change within and between networks."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    rows = report.beside.get("networks") or ()
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
    said = "; ".join(
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
            alt=f"Change within and between {len(names)} networks. Largest: {said}. {count} with "
            "corrected p below alpha; the table below has all numbers.",
        ),
        "Mean change of the edges between two networks, and on the diagonal within one, Fisher z; "
        f"treated minus control where there is a control arm. A star: corrected p below alpha "
        f"({count}). Exploratory: the verdict does not use it.",
    )


def network_table(report: StudyReport) -> PageTable:
    """All pairs of networks."""
    rows = [
        (
            f"{row.get('network_a')} \N{EN DASH} {row.get('network_b')}",
            wording.show(row.get("estimate_z"), 3, sign=True),
            wording.show(row.get("statistic")),
            wording.p_value(row.get("p")),
            wording.p_value(row.get("p_corrected")),
        )
        for row in report.beside.get("networks") or ()
    ]
    return PageTable(
        "Change within and between networks, Fisher z",
        ("Networks", "Change", "Statistic", "p", "p corrected"),
        rows,
    )


# -- connectome -----------------------------------------------------------------------------------


def _centres(report: StudyReport) -> Floats:
    nan = (np.nan,) * 3
    return np.array([r.xyz_mm or nan for r in report.regions], float).reshape(-1, 3)


def _ends(report: StudyReport) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats] | None:
    """Regions of every edge, and its change by treatment; None where nothing can be drawn."""
    change = _numbers(report, "estimate_z")
    first, second = edge_ends(len(report.regions))
    if change is None or len(change) != len(first):
        return None
    centres = _centres(report)
    unplaced = np.isnan(centres[first] + centres[second]).any(axis=1)
    available = np.where(unplaced, np.nan, change)
    return (first, second, available) if np.isfinite(available).any() else None


def _strongest(values: Floats, positions: npt.NDArray[np.intp], most: int) -> list[int]:
    """Positions of the largest values, of those that are known."""
    available = positions[np.isfinite(values[positions])]
    order = np.argsort(-np.abs(values[available]), kind="stable")
    return [int(k) for k in available[order][:most]]


def connectome_figure(report: StudyReport) -> Figure | None:
    """Draw the edges with the largest statistics on a glass brain."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    ends = _ends(report)
    if ends is None:
        return None
    first, second, change = ends
    chosen = _whole_brain(report, change)
    edges = [(int(first[k]), int(second[k]), float(change[k])) for k in chosen]
    up = sum(value > 0 for *_, value in edges)
    corrected = _numbers(report, "p_corrected")
    alpha = wording.number((report.verdict.get("design") or {}).get("alpha", 0.05))
    sure = 0 if corrected is None else int((corrected < alpha).sum())
    said = wording.count(sure, "edge of the brain has", "edges of the brain have")
    return Figure(
        figures.connectome(
            _centres(report),
            edges,
            key="connectome",
            alt=f"The {len(edges)} edges that changed most clearly, on a brain seen from the left, "
            f"the front and above: {up} rose and {len(edges) - up} fell.",
        ),
        f"The {len(edges)} edges with the largest statistics, whatever their p: {said} a corrected "
        f"p below alpha. Red: connectivity rose; blue: it fell. Exploratory.",
    )


def _whole_brain(report: StudyReport, change: Floats) -> list[int]:
    statistic = _numbers(report, "statistic")
    by = change if statistic is None else np.where(np.isfinite(change), statistic, np.nan)
    return _strongest(by, np.arange(len(change)), _DRAWN)


def connectome_data(report: StudyReport, alpha: float) -> dict[str, Any] | None:
    """Return what the turning brain draws; None where centres or changes are unknown.

    Parameters
    ----------
    report : GroupReport
    alpha : float

    Returns
    -------
    dict or None
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
        report.change_by_strength or {}, [str(r.get("term")) for r in ranked(report, alpha)]
    )
    titles = report.verdict.get("circuits") or {}
    for name, mask in members.items():
        of_circuit = np.flatnonzero(mask & np.isfinite(change))
        chosen = _strongest(change, of_circuit, _MOST_OF_CIRCUIT)
        if chosen:
            all_ = len(chosen) == len(of_circuit)
            which = "All" if all_ else f"The {len(chosen)} of {len(of_circuit)} most changed"
            title = str((titles.get(name) or {}).get("title") or name)
            sets.append(
                {"title": title, "words": f"{which} edges of this circuit.", "edges": edges(chosen)}
            )
    nodes = [
        [*(round(v, 1) for v in region.xyz_mm), region.label] if region.xyz_mm else None
        for region in report.regions
    ]
    return {"outline": figures.outline_mm(), "nodes": nodes, "sets": sets}


# -- motion ---------------------------------------------------------------------------------------


def length_figure(report: StudyReport) -> Figure | None:
    """Draw QC-FC of every edge against its length, for connectivity and for its change."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    length = _numbers(report, "distance_mm")
    quality = report.verdict.get("quality") or {}
    panels = []
    for column, title, found in (
        ("qcfc_r", "connectivity at baseline", quality.get("baseline") or {}),
        ("qcfc_change_r", "change of connectivity", quality),
    ):
        r = _numbers(report, column)
        if length is None or r is None or not np.isfinite(r + length).any():
            continue
        rho = wording.show(found.get("qcfc_distance_rho"))
        median = wording.show(found.get("qcfc_median_abs_r"))
        panels.append((title, r, f"median |r| = {median}, with length rho = {rho}"))
    if not panels or length is None:
        return None
    said = "; ".join(f"{title}: {words}" for title, _, words in panels)
    return Figure(
        figures.motion_by_length(
            length,
            panels,
            key="length",
            alt=f"Correlation of edges with motion against length. {said}.",
        ),
        "Each edge: how its connectivity, or the change of it, correlates over people with mean "
        "framewise displacement, or its change. Motion leaves a downward slope: short edges rise "
        "with it, long ones fall (rho below 0).",
    )
