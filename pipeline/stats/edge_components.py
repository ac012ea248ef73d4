"""Connected components of suprathreshold edges, for many relabellings at once.

The network-based statistic (NBS; Zalesky 2010, doi:10.1016/j.neuroimage.2010.06.041) compares the
size of each component with the null distribution of the largest component. It is computed by
`component_labels`, `component_sizes` and `largest_component`, and controls the family-wise error
in the weak sense: the inference is about a component, not about its single edges. Threshold-free
network-based statistics (TFNBS; Baggio 2018, doi:10.1002/hbm.24007) assign a score to each edge,
which is corrected by the largest score. They are computed by `tfnbs`.

Edges are in the order of ``numpy.triu_indices(n_regions, 1)``, and each row of a statistic is one
relabelling. All components consist of edges *above* a threshold. For a two-sided test, use either
``|t|``, so that a component may contain increases and decreases, or ``t`` and ``-t`` in turn, with
the larger of both results of each relabelling for the null distribution.

A block of relabellings is treated as one graph, in which different relabellings are not connected.
The component of a region at all thresholds follows from the maximum spanning forest, so that
`tfnbs` processes n_regions - 1 edges per relabelling instead of all edges. The forest itself is
usually found among a small number of edges.
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
        Number of regions.

    Returns
    -------
    ndarray of int, shape (n_rows, n_edges)
        Label of the component of each edge: 0, 1, 2 and so on within each row, by decreasing number
        of edges, with ties in the order of their first edge; -1 for edges below the threshold.

    Raises
    ------
    ValueError
        If the number of edges does not match the number of regions.
    """
    above = np.asarray(above, bool)
    _check(above, n_regions)
    n_edges = above.shape[1]
    out = np.full(above.size, -1)
    at = np.flatnonzero(above)
    component = _components_of_edges(at, above.shape, n_regions)
    extent = np.bincount(component)
    first = np.zeros(len(extent), np.intp)
    first[component[::-1]] = at[::-1]  # with repeated indices, the last assignment is kept
    present = np.flatnonzero(extent)  # isolated regions are components without edges
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
        One row of the result of `component_labels`.
    statistic : ndarray, shape (n_edges,)
        Statistic of each edge.
    threshold : float
        Threshold from which `labels` were computed.
    by : {"extent", "intensity"}
        Measure of size: the number of edges, or the sum of ``statistic - threshold`` over them.

    Returns
    -------
    ndarray, shape (n_components,)
        Size of each component, in the order of the labels.
    """
    at = np.flatnonzero(labels >= 0)
    return _sizes(labels[at], statistic[at], threshold, by)


def largest_component(
    statistic: Reals, n_regions: int, *, threshold: float, by: By = "extent"
) -> Floats:
    """Measure the largest component of edges with ``statistic > threshold`` (Zalesky 2010).

    Parameters
    ----------
    statistic : ndarray, shape (n_rows, n_edges)
        Statistic of each edge, one-sided (see the module for two-sided tests). NaN is below all
        thresholds.
    n_regions : int
        Number of regions.
    threshold : float
        Threshold that defines the components.
    by : {"extent", "intensity"}
        Measure of size: the number of edges, or the sum of ``statistic - threshold`` over them.

    Returns
    -------
    ndarray, shape (n_rows,)
        Size of the largest component of each row; 0 where no edge is above the threshold.

    Raises
    ------
    ValueError
        If the number of edges does not match the number of regions.
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
    """Compute threshold-free network-based scores of edges (Baggio 2018).

    Parameters
    ----------
    statistic : ndarray, shape (n_rows, n_edges)
        Statistic of each edge, one-sided (see the module for two-sided tests). NaN and values up to
        `step` score 0. Positive infinity is not allowed.
    n_regions : int
        Number of regions.
    step : float
        Distance between thresholds. Scores are comparable only if the observed and the relabelled
        statistics have the same step. The thresholds extend to the maximum of the block, which does
        not influence the scores. For 50 thresholds, use the observed maximum divided by 50.5, so
        that rounding errors do not decide whether the maximum is above the last threshold.
    extent_power, height_power : float
        Exponents E and H. The defaults are those of ``connectomestats`` of MRtrix3, which were
        chosen by simulation (Vinokur 2015, OHBM abstract 4144). Results depend strongly on them, so
        that they should be reported.

    Returns
    -------
    ndarray, shape (n_rows, n_edges)
        Score of each edge.

    Raises
    ------
    ValueError
        If the number of edges does not match the number of regions, the step is not positive, or
        the step gives too many thresholds.

    Notes
    -----
    Scores are ``score(e) = sum over h of size(e, h)**E * h**H * step``. The thresholds h are
    multiples of the step below ``statistic(e)``, and size(e, h) is the number of edges in the
    component of e among the edges with ``statistic > h``. This is threshold-free cluster
    enhancement (Smith & Nichols 2009, doi:10.1016/j.neuroimage.2008.03.061) on a graph.

    The function needs memory for n_rows * n_regions * n_thresholds numbers.
    """
    _check(statistic, n_regions)
    level, n_levels = _levels(statistic, n_regions, step)
    n_rows, n_edges = statistic.shape
    if not n_levels:
        return np.zeros((n_rows, n_edges))
    source = edge_ends(n_regions)[0]
    # cell of each edge: row, level and first region
    cell = (np.arange(n_rows) * ((n_levels + 1) * n_regions))[:, None] + source
    cell += level * n_regions
    shape = (n_rows, n_levels + 1, n_regions)
    edges_at = np.bincount(cell.ravel(), minlength=n_rows * shape[1] * n_regions).reshape(shape)
    edges_from = np.cumsum(edges_at[:, :0:-1], axis=1)[:, ::-1].ravel()  # levels 1 to n_levels
    # each edge lies in the component of its first region
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
        raise ValueError(
            f"the statistic has shape {values.shape}; {n_regions} regions need rows of {n_edges} "
            "edges"
        )


def _components(source: Ints, target: Ints, n_nodes: int) -> Ints:
    """Return the component of each node of an undirected graph, shape (n_nodes,)."""
    from scipy.sparse import csr_array  # noqa: PLC0415 - a fifth of a second of import
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    graph = csr_array((np.ones(len(source)), (source, target)), shape=(n_nodes, n_nodes))
    return np.asarray(connected_components(graph, directed=False)[1])


def _nodes(at: Ints, n_edges: int, n_regions: int) -> tuple[Ints, Ints]:
    """Return the two nodes of each edge, given its position in a flattened block."""
    row = at // n_edges
    edge = at - row * n_edges
    row *= n_regions
    source, target = edge_ends(n_regions)
    return row + source[edge], row + target[edge]


def _components_of_edges(at: Ints, shape: tuple[int, ...], n_regions: int) -> Ints:
    """Return the component of each edge at positions `at`; components do not cross rows."""
    source, target = _nodes(at, shape[1], n_regions)
    return _components(source, target, shape[0] * n_regions)[source]


def _sizes(component: Ints, statistic: Reals, threshold: float, by: By) -> Floats:
    """Return the size of each component."""
    weights = None if by == "extent" else statistic.astype(np.float64) - threshold
    return np.bincount(component, weights=weights).astype(np.float64)


def _levels(statistic: Reals, n_regions: int, step: float) -> tuple[Levels, int]:
    """Return the number of thresholds below each statistic, and their largest number."""
    if not step > 0:
        raise ValueError(f"the step between thresholds must be above 0; it is {step}")
    level = np.fmax(statistic, 0.0, dtype=np.float64)  # NaN becomes 0
    level = np.maximum(np.ceil(level / step, out=level) - 1, 0.0, out=level)
    top = float(level.max(initial=0.0))
    if not top * n_regions * max(1, len(statistic)) < 2**31:
        raise ValueError(
            f"a step of {step} gives too many thresholds up to the largest statistic; use a larger "
            "step"
        )
    return level.astype(np.int32), int(top)


def _components_of_regions(level: Levels, counts: Ints, n_regions: int) -> Ints:
    """Return the component of each region at each level above 0.

    The result is flattened from shape (n_rows, n_levels, n_regions). `counts`, shape
    (n_rows, n_levels + 1), holds the number of edges at each level.
    """
    n_rows, n_levels = len(counts), counts.shape[1] - 1
    source, target, height = _forest(level, counts, n_regions)
    # one copy of the graph per level, with the edges of the forest that reach this level
    copy = np.arange(height.sum()) - np.repeat(np.cumsum(height) - height, height)
    shift = source // n_regions * ((n_levels - 1) * n_regions)
    shift = np.repeat(shift, height) + copy * n_regions
    return _components(
        np.repeat(source, height) + shift,
        np.repeat(target, height) + shift,
        n_rows * n_levels * n_regions,
    )


def _forest(level: Levels, counts: Ints, n_regions: int) -> tuple[Ints, Ints, Levels]:
    """Return the maximum spanning forest of the edges above level 0: both nodes and the level.

    The highest edges, a small number per region, usually connect all regions of a row. Where they
    do not, the forest is completed with edges between their components.
    """
    n_rows, n_edges = level.shape
    n_levels = counts.shape[1] - 1
    n_highest = n_regions * (1 + int(np.log(n_regions)))
    from_top = np.cumsum(counts[:, :0:-1], axis=1)[:, ::-1]  # edges at or above each level
    cut = np.maximum((from_top >= n_highest).sum(axis=1), 1)
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
    """Return the maximum spanning forest of a graph."""
    from scipy.sparse import csr_array  # noqa: PLC0415 - a fifth of a second of import
    from scipy.sparse.csgraph import minimum_spanning_tree  # noqa: PLC0415

    n_nodes, n_levels = sizes
    cost = (n_levels + 1.0) - level  # above 0, because a sparse matrix stores no zero edges
    # SciPy before 1.16 needs indices of 32 bits
    ends = source.astype(np.int32), target.astype(np.int32)
    graph = csr_array((cost, ends), shape=(n_nodes, n_nodes))
    tree = minimum_spanning_tree(graph, overwrite=True).tocoo()
    nodes = tree.row.astype(np.intp), tree.col.astype(np.intp)
    return *nodes, np.rint(n_levels + 1 - tree.data).astype(np.int32)
