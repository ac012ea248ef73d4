"""Comparison of circuits with the blocks of their own kind, where change is heterogeneous.

Blocks within a network are stronger than blocks between two networks, and often change more. On
heterogeneous ground, a circuit within a network must therefore stand out among blocks within
networks, and a circuit between networks among blocks between networks.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.heterogeneity.variance import BlockErrors, moment_tau

__all__ = ["MIN_PEERS", "is_within_network", "p_among_peers"]

MIN_PEERS = 5  # blocks of one kind; all blocks are used if there are fewer


def is_within_network(
    positions: npt.NDArray[np.intp], networks: Sequence[str], features: FeatureSpace
) -> bool:
    """Return whether most features of a circuit or block join regions of the same network.

    Parameters
    ----------
    positions : ndarray of int
        Features of the circuit.
    networks : sequence of str, length n_regions
        Network of each region; an empty string for a region without a network.
    features : FeatureSpace
        Feature space of the study.

    Returns
    -------
    bool
        True for features that are values of regions.
    """
    if features.kind == "region":
        return True
    names = np.array(networks)
    first, second = (names[ends[positions]] for ends in features.ends)
    return bool(2 * np.sum((first == second) & (first != "")) > len(positions))


def p_among_peers(
    circuits: Mapping[str, tuple[float, float, float]],
    multiple: Mapping[str, float],
    within: Mapping[str, bool],
    *,
    blocks: tuple[Floats, Floats, Bools],
    errors: BlockErrors,
) -> dict[str, float]:
    """Test whether circuits changed more than blocks of their own kind.

    Parameters
    ----------
    circuits : mapping of str to tuple of three float
        Estimate, standard error and degrees of freedom of the residual change of each circuit,
        without variance over blocks.
    multiple : mapping of str to float
        Multiple of the variance over blocks for each circuit.
    within : mapping of str to bool
        Whether each circuit lies within a network (`is_within_network`).
    blocks : tuple of three ndarray, shape (n_blocks,)
        Estimate and sampling variance of each block, and whether it lies within a network.
    errors : BlockErrors
        Sampling errors of the same blocks.

    Returns
    -------
    dict of str to float
        Two-sided p value of each circuit, multiplied by the number of circuits (Bonferroni
        correction). NaN for circuits that were not tested.

    Notes
    -----
    The statistic is s_k / sqrt(se_k^2 + c_k tau^2), with tau^2 estimated from the blocks of the
    circuit's kind alone and with the degrees of freedom of Satterthwaite (1946,
    doi:10.2307/3002019). Few blocks give few degrees of freedom.
    """
    from scipy.special import stdtr  # noqa: PLC0415 - half a second of import

    estimate, variance, is_within = blocks
    out = {}
    for name, (change, se, df) in circuits.items():
        at = np.flatnonzero(is_within == within[name])
        if len(at) < MIN_PEERS:
            at = np.arange(len(estimate))
        of_kind = BlockErrors(
            errors.squared_correlation[np.ix_(at, at)], errors.df, errors.retained[at]
        )
        tau = moment_tau(estimate[at], variance[at], of_kind)
        share = multiple[name] * float(tau.value)
        uncertain = multiple[name] ** 2 * float(tau.variance) if tau.value > 0 else 0.0
        total = max(se**2 + share, 1e-300)
        total_df = total**2 / max(se**4 / df + uncertain / 2, 1e-300)
        p = 2 * float(stdtr(total_df, -abs(change) / np.sqrt(total)))
        out[name] = min(1.0, p * len(circuits)) if np.isfinite(p) else float("nan")
    return out
