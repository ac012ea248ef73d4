"""Is a circuit special among sets of edges of its shape? Random circuits, matched."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats, Ints

__all__ = ["SpatialTest", "spatial_null"]


@dataclass(frozen=True, slots=True)
class SpatialTest:
    """One circuit among random ones.

    Parameters
    ----------
    circuit : str
    value : float
        Mean over its edges of the map.
    rank : float
        Share of random circuits whose mean is as far from 0; never 0. No p of the study: noise that
        the regions of a network share moves a circuit, and hardly moves a random set.
    n_random : int
        Random circuits compared with.
    strength, strength_random, length_mm, length_random_mm : float
        Mean strength and length of the circuit, and of the random ones: how well they match.
    """

    circuit: str
    value: float
    rank: float
    n_random: int
    strength: float
    strength_random: float
    length_mm: float
    length_random_mm: float


def spatial_null(
    values: Floats,
    circuits: Mapping[str, Ints],
    *,
    n_regions: int,
    strength: Floats,
    length: Floats | None,
    rng: np.random.Generator,
    n_draws: int = 5000,
    n_kept: int = 500,
) -> list[SpatialTest]:
    """Compare each circuit with random ones of the same shape.

    Regions of the circuit are replaced by random ones, so the random set has the same number of
    edges, joined in the same way; of `n_draws` the `n_kept` nearest in mean strength and length
    (Mahalanobis distance over the draws) are kept.

    Parameters
    ----------
    values : ndarray, shape (n_edges,)
        Group map, e.g. mean change beyond the global law; NaN where unknown.
    circuits : mapping of str to ndarray of int
    n_regions : int
    strength : ndarray, shape (n_edges,)
    length : ndarray, shape (n_edges,), or None
    rng : numpy.random.Generator
    n_draws, n_kept : int

    Returns
    -------
    list of SpatialTest
        Edges of the circuit itself never enter its null.
    """
    first, second = np.triu_indices(n_regions, 1)
    out = []
    for name, positions in circuits.items():
        a, b = first[positions], second[positions]
        regions, place = np.unique(np.r_[a, b], return_inverse=True)
        drawn = np.argsort(rng.random((n_draws, n_regions)), axis=1)[:, : len(regions)]
        u, v = drawn[:, place[: len(a)]], drawn[:, place[len(a) :]]
        low, high = np.minimum(u, v), np.maximum(u, v)
        edges = low * (2 * n_regions - low - 1) // 2 + high - low - 1
        usable = np.isfinite(values)
        usable[positions] = False
        kept = usable[edges]
        enough = kept.sum(axis=1) * 2 > len(positions)
        edges, kept = edges[enough], kept[enough]
        features = [_mean(strength, edges, kept)]
        target = [float(np.nanmean(strength[positions]))]
        if length is not None:
            features.append(_mean(length, edges, kept))
            target.append(float(length[positions].mean()))
        table = np.array(features)
        chosen = np.argsort(_distance(table, np.array(target)), kind="stable")[:n_kept]
        null = _mean(values, edges[chosen], kept[chosen])
        available = positions[np.isfinite(values[positions])]
        value = float(values[available].mean()) if len(available) else float("nan")
        reached = int((np.abs(null) >= abs(value)).sum())
        nan = float("nan")
        out.append(
            SpatialTest(
                circuit=name,
                value=value,
                rank=(1 + reached) / (1 + len(null)) if len(available) and len(null) else nan,
                n_random=len(null),
                strength=target[0],
                strength_random=float(table[0, chosen].mean()) if len(null) else nan,
                length_mm=target[-1] if length is not None else nan,
                length_random_mm=float(table[-1, chosen].mean())
                if length is not None and len(null)
                else nan,
            )
        )
    return out


def _mean(values: Floats, edges: Ints, kept: npt.NDArray[np.bool_]) -> Floats:
    part = np.where(kept, np.nan_to_num(values)[edges], 0.0)
    return np.asarray(part.sum(axis=1) / np.maximum(kept.sum(axis=1), 1))


def _distance(features: Floats, target: Floats) -> Floats:
    gap = features - target[:, None]
    if features.shape[1] < 3:
        return np.asarray((gap**2).sum(axis=0))
    inverse = np.linalg.pinv(np.atleast_2d(np.cov(features)))
    return np.asarray(np.einsum("ik,ij,jk->k", gap, inverse, gap))
