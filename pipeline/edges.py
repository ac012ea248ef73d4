"""Compute edges from regional time series.

The edges of n regions are a vector in the order of ``numpy.triu_indices(n, 1)``. The edges of a
missing region are NaN, so that the number of edges depends on the atlas only.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats, Ints
from circuitshift.pipeline.errors import TooLittleDataError

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "correlation",
    "distances",
    "edge_ends",
    "edges",
    "fisher_z",
    "from_matrix",
    "tangent_edges",
    "to_matrix",
]

Estimator = Literal["pearson", "partial"]
ESTIMATORS: tuple[Estimator, ...] = ("pearson", "partial")

_R_MAX = 0.999999  # keeps arctanh finite for identical series


def fisher_z(r: npt.ArrayLike) -> Floats:
    """Apply Fisher's z-transformation, ``arctanh(r)``, with ``r`` clipped to +-0.999999.

    Parameters
    ----------
    r : array_like
        Correlations; NaN is kept.

    Returns
    -------
    ndarray of float64
        Transformed correlations, of the same shape.

    Examples
    --------
    >>> float(fisher_z(0.5).round(4))
    0.5493
    """
    return np.asarray(np.arctanh(np.clip(np.asarray(r, float), -_R_MAX, _R_MAX)), float)


def correlation(series: Floats, estimator: Estimator = "pearson") -> Floats:
    """Compute the correlation matrix of regional time series.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_regions)
        Regional time series. Regions whose column contains NaN or has no variance are treated as
        missing.
    estimator : {"pearson", "partial"}, default="pearson"
        Full correlation, or partial correlation from the Ledoit-Wolf shrunk covariance
        (Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4; scikit-learn).

    Returns
    -------
    ndarray, shape (n_regions, n_regions)
        Correlations, with ones on the diagonal and NaN in rows and columns of missing regions.

    Raises
    ------
    TooLittleDataError
        If there are fewer than four volumes.
    """
    if series.shape[0] < 4:
        raise TooLittleDataError(
            f"{series.shape[0]} volumes are too few for a correlation; at least 4 are needed"
        )
    with np.errstate(invalid="ignore"):
        centred = series - series.mean(axis=0)
        scale = np.sqrt((centred**2).sum(axis=0))
        kept = scale > 1e-12 * np.abs(series).max(axis=0, initial=0.0)
    out = np.full((series.shape[1], series.shape[1]), np.nan)
    if kept.any():
        unit = centred[:, kept] / scale[kept]
        block = unit.T @ unit if estimator == "pearson" else _partial(unit)
        out[np.ix_(kept, kept)] = np.clip(block, -1.0, 1.0)
        out[kept, kept] = 1.0
    return out


def _partial(unit: Floats) -> Floats:
    """Compute partial correlations of series of unit norm."""
    from sklearn.covariance import LedoitWolf  # noqa: PLC0415 - takes 1 s, and is rarely needed

    precision = LedoitWolf().fit(unit * np.sqrt(len(unit) - 1)).precision_
    scale = np.sqrt(np.diag(precision))
    return np.asarray(-precision / np.outer(scale, scale), float)


def from_matrix(matrix: Floats) -> Floats:
    """Return the upper triangle of a square matrix as an edge vector, shape (n_edges,)."""
    return np.asarray(matrix[edge_ends(matrix.shape[0])], float)


@lru_cache(maxsize=8)
def edge_ends(n_regions: int) -> tuple[Ints, Ints]:
    """Return the regions that each edge connects, the lower position first.

    Parameters
    ----------
    n_regions : int
        Number of regions.

    Returns
    -------
    tuple of two ndarray of int, shape (n_edges,)
        ``numpy.triu_indices(n_regions, 1)``. The arrays are read-only, because they are cached
        and shared by all callers.
    """
    first, second = np.triu_indices(n_regions, 1)
    for end in (first, second):
        end.setflags(write=False)
    return first, second


def to_matrix(vector: Floats, n_regions: int, diagonal: float = 0.0) -> Floats:
    """Arrange an edge vector as a symmetric matrix; this is the inverse of `from_matrix`.

    Parameters
    ----------
    vector : ndarray, shape (n_edges,)
        Edges.
    n_regions : int
        Number of regions.
    diagonal : float, default=0.0
        Value of the diagonal.

    Returns
    -------
    ndarray, shape (n_regions, n_regions)
        Symmetric matrix.

    Raises
    ------
    ValueError
        If the length of the vector is not the number of edges of `n_regions` regions.
    """
    i, j = edge_ends(n_regions)
    if vector.shape != i.shape:
        raise ValueError(f"{n_regions} regions have {i.size} edges, not {vector.shape}")
    out = np.full((n_regions, n_regions), diagonal)
    out[i, j] = out[j, i] = vector
    return out


def edges(series: Floats, estimator: Estimator = "pearson") -> Floats:
    """Compute the edges of regional time series: Fisher-z transformed correlations.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_regions)
        Regional time series.
    estimator : {"pearson", "partial"}, default="pearson"
        Estimator of the correlation; see `correlation`.

    Returns
    -------
    ndarray, shape (n_regions * (n_regions - 1) / 2,)
        Fisher z; NaN where either region is missing.
    """
    return fisher_z(from_matrix(correlation(series, estimator)))


def tangent_edges(series: Sequence[Floats]) -> Floats:
    """Compute tangent-space edges of several runs around their geometric mean, using nilearn.

    Parameters
    ----------
    series : sequence of ndarray, each of shape (n_volumes, n_regions)
        Regional time series of all runs of the group. The reference point depends on all runs,
        so a region that is missing in one run is NaN in the result of each run.

    Returns
    -------
    ndarray, shape (n_runs, n_edges)
        Off-diagonal tangent displacements (Varoquaux 2010, doi:10.1007/978-3-642-15705-9_25).
    """
    from nilearn.connectome import ConnectivityMeasure  # noqa: PLC0415 - takes 3 s

    available = np.all(
        [np.isfinite(run).all(axis=0) & (run.std(axis=0) > 0) for run in series], axis=0
    )
    measure = ConnectivityMeasure(kind="tangent", standardize="zscore_sample")
    matrices = measure.fit_transform([run[:, available] for run in series])
    positions = np.flatnonzero(available)
    full = np.full((len(series), available.size, available.size), np.nan)
    full[np.ix_(np.arange(len(series)), positions, positions)] = matrices
    return np.array([from_matrix(matrix) for matrix in full])


def distances(centres_mm: Floats) -> Floats:
    """Compute the Euclidean length of each edge in mm.

    Parameters
    ----------
    centres_mm : ndarray, shape (n_regions, 3)
        Region centres in mm.

    Returns
    -------
    ndarray, shape (n_edges,)
        Distance between the centres; NaN if a centre is missing.
    """
    i, j = edge_ends(len(centres_mm))
    return np.asarray(np.linalg.norm(centres_mm[i] - centres_mm[j], axis=1), float)
