"""Connected components of suprathreshold edges, for many relabellings at once.

The network-based statistic (NBS; Zalesky 2010, doi:10.1016/j.neuroimage.2010.06.041) compares the
size of each component with the null distribution of the largest one: `component_labels`,
`component_sizes`, `largest_component`. It controls the family-wise error in the weak sense: it
speaks of a component, not of its edges. Threshold-free network-based statistics (TFNBS; Baggio
2018, doi:10.1002/hbm.24007) give a score to each edge, corrected by the largest score: `tfnbs`.

Edges are in the order of ``numpy.triu_indices(n_regions, 1)``; each row of a statistic is one
relabelling. All components are of edges *above* a threshold: for a two-sided test give ``|t|``,
where increases and decreases may share a component, or ``t`` and ``-t`` one after the other and
take the larger of both results of each relabelling for the null distribution.

A block of relabellings is one graph whose parts are not connected. What a region belongs to at
every threshold follows from the maximum spanning forest alone, so that `tfnbs` sees n_regions - 1
edges per relabelling and not all of them; the forest itself is mostly found among few edges.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats, Ints, Reals
from circuitshift.pipeline.edges import edge_ends

__all__ = ["By", "component_labels", "component_sizes", "largest_component", "tfnbs"]

Levels = npt.NDArray[np.int32]
By = Literal["extent", "intensity"]


def component_labels(above: Bools, n_regions: int) -> Ints:
    """Label the connected component of each suprathreshold edge.

    Parameters
    ----------
    above : ndarray of bool, shape (n_rows, n_edges)
        Edges above the threshold.
    n_regions : int

    Returns
    -------
    ndarray of int, shape (n_rows, n_edges)
        0, 1, ... within each row, by decreasing number of edges, ties by first edge; -1 below.
    """
    above = np.asarray(above, bool)
    _check(above, n_regions)
    n_edges = above.shape[1]
    out = np.full(above.size, -1)
    at = np.flatnonzero(above)
    component = _components_of_edges(at, above.shape, n_regions)
    extent = np.bincount(component)
    first = np.zeros(len(extent), np.intp)
    first[component[::-1]] = at[::-1]  # of equal indices the last assignment stays
    present = np.flatnonzero(extent)  # regions without edges are components too
    row = first[present] // n_edges
    order = np.lexsort((first[present], -extent[present], row))
    start = np.searchsorted(row[order], np.arange(len(above)))
    rank = np.zeros(len(extent), np.intp)
    rank[present[order]] = np.arange(len(order)) - start[row[order]]
    out[at] = rank[component]
    return out.reshape(above.shape)


def component_sizes(
    labels: Ints, statistic: Reals, *, threshold: float, by: By = "extent"
) -> Floats:
    """Measure the components of one row.

    Parameters
    ----------
    labels : ndarray of int, shape (n_edges,)
        A row of `component_labels`.
    statistic : ndarray, shape (n_edges,)
    threshold : float
        The one that `labels` are from.
    by : {"extent", "intensity"}
        See `largest_component`.

    Returns
    -------
    ndarray, shape (n_components,)
        Position k is the size of label k.
    """
    at = np.flatnonzero(labels >= 0)
    return _sizes(labels[at], statistic[at], threshold, by)


def largest_component(
    statistic: Reals, n_regions: int, *, threshold: float, by: By = "extent"
) -> Floats:
    """Size of the largest component of edges with ``statistic > threshold`` (Zalesky 2010).

    Parameters
    ----------
    statistic : ndarray, shape (n_rows, n_edges)
        NaN is below every threshold. One side; see the module for two.
    n_regions : int
    threshold : float
    by : {"extent", "intensity"}
        Number of edges, or the sum of ``statistic - threshold`` over them.

    Returns
    -------
    ndarray, shape (n_rows,)
        0 where no edge is above.
    """
    _check(statistic, n_regions)
    n_edges = statistic.shape[1]
    with np.errstate(invalid="ignore"):
        at = np.flatnonzero(statistic > threshold)
    component = _components_of_edges(at, statistic.shape, n_regions)
    row = at // n_edges
    size = _sizes(component, statistic[row, at - row * n_edges], threshold, by)
    out = np.zeros(len(statistic))
    np.maximum.at(out, row, size[component])
    return out


def tfnbs(
    statistic: Reals,
    n_regions: int,
    *,
    step: float,
    extent_power: float = 0.4,
    height_power: float = 3.0,
) -> Floats:
    """Score each edge by the components that hold it, over all thresholds (Baggio 2018).

    ``score(e) = sum over h of size(e, h)**E * h**H * step`` with h = step, 2 step, ... below
    ``statistic(e)``, where size(e, h) is the number of edges of the component of e among those
    with ``statistic > h``: threshold-free cluster enhancement (Smith & Nichols 2009,
    doi:10.1016/j.neuroimage.2008.03.061) on a graph.

    Parameters
    ----------
    statistic : ndarray, shape (n_rows, n_edges)
        NaN and what is not above `step` score 0; no positive infinity. One side; see the module
        for two.
    n_regions : int
    step : float
        Between thresholds, the same for observed and relabelled statistics, or their scores
        cannot be compared. Thresholds end at the maximum of the block, which does not change a
        score. For 50 thresholds: the observed maximum over 50.5, so that rounding errors do not
        decide whether the maximum is above the last one.
    extent_power, height_power : float
        E and H. The defaults are those of MRtrix3's ``connectomestats``, from simulations
        (Vinokur 2015, OHBM 4144). Results depend on them much: state them.

    Returns
    -------
    ndarray, shape (n_rows, n_edges)

    Notes
    -----
    Works on n_rows * n_regions * n_thresholds numbers at once: choose blocks accordingly.
    """
    _check(statistic, n_regions)
    level, n_levels = _levels(statistic, n_regions, step)
    n_rows, n_edges = statistic.shape
    if not n_levels:
        return np.zeros((n_rows, n_edges))
    source = edge_ends(n_regions)[0]
    # Where an edge is found: by row, level and its first region.
    cell = (np.arange(n_rows) * ((n_levels + 1) * n_regions))[:, None] + source
    cell += level * n_regions
    shape = (n_rows, n_levels + 1, n_regions)
    edges_at = np.bincount(cell.ravel(), minlength=n_rows * shape[1] * n_regions).reshape(shape)
    edges_from = np.cumsum(edges_at[:, :0:-1], axis=1)[:, ::-1].ravel()  # levels 1 to n_levels
    # Every edge lies in the component of its first region.
    component = _components_of_regions(level, edges_at.sum(axis=2), n_regions)
    extent = np.bincount(component, weights=edges_from)
    power = np.arange(n_edges + 1.0) ** extent_power
    gain = power[extent.astype(np.intp)][component].reshape(n_rows, n_levels, n_regions)
    height = step * np.arange(1, n_levels + 1)
    gain *= (height**height_power * step)[:, None]
    score = np.zeros(shape)
    np.cumsum(gain, axis=1, out=score[:, 1:])
    return np.asarray(score.ravel()[cell])


def _check(values: Reals | Bools, n_regions: int) -> None:
    n_edges = n_regions * (n_regions - 1) // 2
    if values.ndim != 2 or values.shape[1] != n_edges:
        raise ValueError(f"{n_regions} regions have rows of {n_edges} edges, not {values.shape}")


def _components(source: Ints, target: Ints, n_nodes: int) -> Ints:
    """Component of each node of an undirected graph; shape (n_nodes,)."""
    from scipy.sparse import csr_array  # noqa: PLC0415 - a fifth of a second of import
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    graph = csr_array((np.ones(len(source)), (source, target)), shape=(n_nodes, n_nodes))
    return np.asarray(connected_components(graph, directed=False)[1])


def _nodes(at: Ints, n_edges: int, n_regions: int) -> tuple[Ints, Ints]:
    """Give nodes of one graph to the ends of edges at positions of a flattened block."""
    row = at // n_edges
    edge = at - row * n_edges
    row *= n_regions
    source, target = edge_ends(n_regions)
    return row + source[edge], row + target[edge]


def _components_of_edges(at: Ints, shape: tuple[int, ...], n_regions: int) -> Ints:
    """Component of each of the edges at positions `at`, which never cross rows."""
    source, target = _nodes(at, shape[1], n_regions)
    return _components(source, target, shape[0] * n_regions)[source]


def _sizes(component: Ints, statistic: Reals, threshold: float, by: By) -> Floats:
    """Size of each component from those of its edges."""
    weights = None if by == "extent" else statistic.astype(np.float64) - threshold
    return np.bincount(component, weights=weights).astype(np.float64)


def _levels(statistic: Reals, n_regions: int, step: float) -> tuple[Levels, int]:
    """Count the thresholds below each statistic, and all of them."""
    if not step > 0:
        raise ValueError(f"the step between thresholds must be above 0, not {step}")
    level = np.fmax(statistic, 0.0, dtype=np.float64)  # NaN is 0
    level = np.maximum(np.ceil(level / step, out=level) - 1, 0.0, out=level)
    top = float(level.max(initial=0.0))
    if not top * n_regions * max(1, len(statistic)) < 2**31:
        raise ValueError(f"a step of {step} gives too many thresholds up to the largest statistic")
    return level.astype(np.int32), int(top)


def _components_of_regions(level: Levels, counts: Ints, n_regions: int) -> Ints:
    """Component of each region at each level from 1 on; flattened (n_rows, n_levels, n_regions).

    ``counts``, shape (n_rows, n_levels + 1), are the edges at each level.
    """
    n_rows, n_levels = len(counts), counts.shape[1] - 1
    source, target, height = _forest(level, counts, n_regions)
    # One copy of the graph per level, with the edges of the forest that reach it.
    copy = np.arange(height.sum()) - np.repeat(np.cumsum(height) - height, height)
    shift = source // n_regions * ((n_levels - 1) * n_regions)
    shift = np.repeat(shift, height) + copy * n_regions
    return _components(
        np.repeat(source, height) + shift,
        np.repeat(target, height) + shift,
        n_rows * n_levels * n_regions,
    )


def _forest(level: Levels, counts: Ints, n_regions: int) -> tuple[Ints, Ints, Levels]:
    """Maximum spanning forest of the edges above level 0: nodes of both ends, level.

    The highest edges, a few per region, mostly connect all regions of a row. Where they do not,
    only edges between their components can be missing.
    """
    n_rows, n_edges = level.shape
    n_levels = counts.shape[1] - 1
    few = n_regions * (1 + int(np.log(n_regions)))
    from_top = np.cumsum(counts[:, :0:-1], axis=1)[:, ::-1]  # edges at level 1, 2, ... or above
    cut = np.maximum((from_top >= few).sum(axis=1), 1)
    at = np.flatnonzero(level >= cut[:, None])
    source, target = _nodes(at, n_edges, n_regions)
    forest = _spanning(source, target, level.ravel()[at], (n_rows * n_regions, n_levels))
    size = np.bincount(forest[0] // n_regions, minlength=n_rows)
    rest = np.flatnonzero((size < n_regions - 1) & (cut > 1))
    if not len(rest):
        return forest
    part = _components(forest[0], forest[1], n_rows * n_regions).reshape(n_rows, n_regions)[rest]
    a, b = edge_ends(n_regions)
    lower = level[rest]
    crossing = (lower > 0) & (part[:, a] != part[:, b])
    where, edge = np.nonzero(crossing)
    source = np.r_[forest[0], rest[where] * n_regions + a[edge]]
    target = np.r_[forest[1], rest[where] * n_regions + b[edge]]
    height = np.r_[forest[2], lower[where, edge]]
    return _spanning(source, target, height, (n_rows * n_regions, n_levels))


def _spanning(
    source: Ints, target: Ints, level: Levels, sizes: tuple[int, int]
) -> tuple[Ints, Ints, Levels]:
    from scipy.sparse import csr_array  # noqa: PLC0415 - a fifth of a second of import
    from scipy.sparse.csgraph import minimum_spanning_tree  # noqa: PLC0415

    n_nodes, n_levels = sizes
    cost = (n_levels + 1.0) - level  # above 0: a zero would be no edge
    # SciPy before 1.16 takes no other index
    ends = source.astype(np.int32), target.astype(np.int32)
    graph = csr_array((cost, ends), shape=(n_nodes, n_nodes))
    tree = minimum_spanning_tree(graph, overwrite=True).tocoo()
    found = tree.row.astype(np.intp), tree.col.astype(np.intp)
    return *found, np.rint(n_levels + 1 - tree.data).astype(np.int32)
