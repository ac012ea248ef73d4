"""Blocks of background features: pairs of networks, or of clusters of regions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.heterogeneity.random_effects import MIN_BLOCKS

__all__ = ["MIN_BLOCK_FEATURES", "NetworkBlocks", "cluster_regions", "network_blocks"]

MIN_BLOCK_FEATURES = 10  # background features of a block
N_CLUSTERS = 7  # as many as networks in the atlas of Yeo (2011, doi:10.1152/jn.00338.2011)


@dataclass(frozen=True, slots=True)
class NetworkBlocks:
    """Hold the blocks of a study.

    Parameters
    ----------
    positions : dict of str to ndarray of int
        Positions of the features of each block. Names join two networks by an en dash; within a
        network, the name is that of the network.
    source : str
        Where the blocks come from, or the reason why there are none; a clause without a full stop.
    networks : tuple of str, length n_regions
        Network or cluster of each region; empty without blocks.
    """

    positions: dict[str, npt.NDArray[np.intp]]
    source: str
    networks: tuple[str, ...] = ()


def network_blocks(
    networks: Sequence[str] | None,
    background: Bools,
    features: FeatureSpace,
    typical: Floats,
) -> NetworkBlocks:
    """Divide the background into blocks.

    Parameters
    ----------
    networks : sequence of str or None
        Network of each region; an empty string for a region without a network. None if the atlas
        has no networks.
    background : ndarray of bool, shape (n_features,)
        Features that belong to no hypothesised circuit.
    features : FeatureSpace
        Feature space of the study.
    typical : ndarray, shape (n_features,)
        Mean of all visits, from which clusters are formed if the networks give fewer
        than six blocks; NaN where it is unknown.

    Returns
    -------
    NetworkBlocks
        Pairs of networks with at least ten background features, in alphabetical order of the
        networks. If the features are values of regions, each network is a block. No blocks if
        neither networks nor clusters give at least six.
    """
    found = {} if networks is None else _pairs(networks, background, features)
    if len(found) >= MIN_BLOCKS:
        kind = "pairs of networks" if features.kind == "edge" else "networks"
        return NetworkBlocks(found, f"{kind} of the atlas", tuple(networks or ()))
    if features.kind == "region":
        return NetworkBlocks({}, f"the atlas has fewer than {MIN_BLOCKS} networks of regions")
    clusters = cluster_regions(typical, features)
    found = _pairs(clusters, background, features)
    n = len({name for name in clusters if name})
    if len(found) >= MIN_BLOCKS:
        text = f"pairs of {n} clusters of the mean connectivity of all visits (Ward)"
        return NetworkBlocks(found, f"{text}, because the atlas has too few networks", clusters)
    return NetworkBlocks(
        {},
        f"the background has fewer than {MIN_BLOCKS} pairs of networks with at least "
        f"{MIN_BLOCK_FEATURES} {features.plural}",
    )


def _pairs(
    networks: Sequence[str], background: Bools, features: FeatureSpace
) -> dict[str, npt.NDArray[np.intp]]:
    """Return the background features of each pair of networks, or of each network of regions."""
    names = sorted({name for name in networks if name})
    number = np.array([names.index(name) if name else -1 for name in networks])
    if features.kind == "region":
        first = second = number
    else:
        first, second = (number[ends] for ends in features.ends)
    usable = background & (first >= 0) & (second >= 0)
    low, high = np.minimum(first, second), np.maximum(first, second)
    code = np.where(usable, low * len(names) + high, -1)
    out = {}
    for a, one in enumerate(names):
        for b, other in enumerate(names[a:], a):
            positions = np.flatnonzero(code == a * len(names) + b)
            if len(positions) >= MIN_BLOCK_FEATURES:
                out[one if a == b else f"{one} \N{EN DASH} {other}"] = positions
    return out


def cluster_regions(
    typical: Floats, features: FeatureSpace, *, n_clusters: int = N_CLUSTERS
) -> tuple[str, ...]:
    """Assign regions to clusters with similar connectivity.

    Parameters
    ----------
    typical : ndarray, shape (n_edges,)
        Mean of each edge; NaN where it is unknown. The mean of the baseline alone would collect
        edges that are strong at baseline by chance.
    features : FeatureSpace
        Edges of the study.
    n_clusters : int
        Largest number of clusters; fewer if there are fewer than five regions for each.

    Returns
    -------
    tuple of str
        Name of the cluster of each region, ``cluster 1`` being the largest; empty for regions
        without a known edge.

    Notes
    -----
    The rows of the matrix of mean connectivity, with unknown edges at the mean of their row and
    each row centred and scaled to unit length, are clustered by Ward's method (1963,
    doi:10.1080/01621459.1963.10500845), which groups regions with correlated connectivity profiles.
    It needs no random start, so that the clusters depend on the data alone.
    """
    from sklearn.cluster import AgglomerativeClustering  # noqa: PLC0415 - a second of import

    n = features.n_regions
    matrix = np.full((n, n), np.nan)
    first, second = features.ends
    matrix[first, second] = matrix[second, first] = typical
    known = np.isfinite(matrix)
    usable = known.any(axis=1)
    k = min(n_clusters, int(usable.sum()) // 5)
    if k < 2:
        return ("",) * n
    mean = np.where(known, matrix, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    profile = np.where(known, matrix - mean[:, None], 0.0)[usable]
    profile /= np.maximum(np.linalg.norm(profile, axis=1, keepdims=True), 1e-12)
    if len(np.unique(profile.round(9), axis=0)) < k:  # too few different profiles
        return ("",) * n
    labels = AgglomerativeClustering(k, linkage="ward").fit(profile).labels_
    order = np.argsort(-np.bincount(labels, minlength=k), kind="stable")
    rank = np.empty(k, int)
    rank[order] = np.arange(1, k + 1)
    names = np.full(n, "", object)
    names[usable] = [f"cluster {rank[label]}" for label in labels.tolist()]
    return tuple(names.tolist())
