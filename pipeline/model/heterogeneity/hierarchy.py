"""Position of regions on the cortical hierarchy, from sensory to default-mode regions."""

import re
from collections.abc import Sequence

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.features import FeatureSpace

__all__ = ["cortical_hierarchy", "principal_gradient"]

_KEPT = 0.1  # share of the strongest edges of each region that define the gradient

# Order of networks along the principal gradient (Margulies 2016, figure 2,
# doi:10.1073/pnas.1608282113), in equal steps; names of Schaefer, Yeo, Gordon and Seitzman.
_LEVELS = (
    r"vis.*|som.*|sensorimotor.*|motor.*|aud.*|smhand|smmouth|smn?",
    r"dors.*att.*|dan",
    r"sal.*|van|vent.*att.*|cing.*oper.*|con|sn",
    r"lim.*|cont[abc]?|control.*|front.*par.*|fpc?n?",
    r"def.*|dmn[abc]?",
)
_MIN_KNOWN = 0.5  # share of regions whose network has a known level
_MIN_LEVELS = 3


def cortical_hierarchy(mean: Floats, features: FeatureSpace, networks: Sequence[str]) -> Floats:
    """Place regions on the cortical hierarchy.

    Parameters
    ----------
    mean : ndarray, shape (n_edges,)
        Mean connectivity of each edge; NaN where it is unknown.
    features : FeatureSpace
        Edges of the study.
    networks : sequence of str
        Network of each region; an empty string for a region without a network, and an empty
        sequence without networks.

    Returns
    -------
    ndarray, shape (n_regions,)
        Position with mean 0 and standard deviation 1.

    Notes
    -----
    If the networks of at least half of the regions have a known level, and the levels are at least
    three, the position of a region is the level of its network, and the mean for other regions: in
    few participants or with few regions, the first gradient of connectivity is often that of one
    network. Otherwise the position is that on the first principal gradient (`principal_gradient`).
    """
    level = np.array([_level(name) for name in networks])
    known = np.isfinite(level)
    if len(level) == 0 or known.mean() < _MIN_KNOWN or len(set(level[known])) < _MIN_LEVELS:
        return principal_gradient(mean, features)
    position = np.where(known, level, level[known].mean())
    return np.asarray((position - position.mean()) / position.std())


def _level(network: str) -> float:
    """Return the level of a network, NaN if it is not known."""
    name = re.sub(r"[ _\-]", "", network.lower())
    for level, pattern in enumerate(_LEVELS):
        if re.fullmatch(pattern, name):
            return float(level)
    return float("nan")


def principal_gradient(mean: Floats, features: FeatureSpace) -> Floats:
    """Compute the first principal gradient of connectivity.

    Parameters
    ----------
    mean : ndarray, shape (n_edges,)
        Mean connectivity of each edge; NaN where it is unknown.
    features : FeatureSpace
        Edges of the study.

    Returns
    -------
    ndarray, shape (n_regions,)
        Gradient with mean 0 and standard deviation 1; its sign is arbitrary. 0 for regions without
        a known edge.

    Notes
    -----
    The strongest tenth of the edges of each region is kept, rows are compared by their cosine, and
    the similarities are embedded by diffusion maps with alpha = .5 (Margulies 2016,
    doi:10.1073/pnas.1608282113; Coifman & Lafon 2006, doi:10.1016/j.acha.2006.04.006).
    """
    n = features.n_regions
    matrix = np.zeros((n, n))
    first, second = features.ends
    matrix[first, second] = matrix[second, first] = np.nan_to_num(mean)
    cut = np.quantile(matrix, 1 - _KEPT, axis=1, keepdims=True)
    profile = np.where(matrix >= cut, np.maximum(matrix, 0.0), 0.0)
    length = np.linalg.norm(profile, axis=1)
    usable = length > 0
    out = np.zeros(n)
    if usable.sum() < 3:
        return out
    unit = profile[usable] / length[usable, None]
    similarity = unit @ unit.T
    degree = similarity.sum(axis=1)
    kernel = similarity / np.sqrt(np.outer(degree, degree))
    degree = kernel.sum(axis=1)
    symmetric = kernel / np.sqrt(np.outer(degree, degree))
    vectors = np.linalg.eigh(symmetric)[1]
    gradient = vectors[:, -2] / np.sqrt(degree)
    spread = gradient.std()
    out[usable] = (gradient - gradient.mean()) / (spread if spread > 0 else 1.0)
    return out
