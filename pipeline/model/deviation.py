"""The deviation of patients from the reference group, and whether it is reliable."""

from dataclasses import dataclass

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.model.centred_features import MIN_OTHERS, CentredFeatures
from circuitshift.pipeline.stats.missing_values import blocks, column_mean

__all__ = ["Deviation", "identify_deviation"]


@dataclass(frozen=True, slots=True)
class Deviation:
    """State whether the deviation of patients from the reference can serve as a regressor.

    Parameters
    ----------
    identified : bool
        Whether the deviation is reliable. When False, normalisation is not estimated.
    reason : str
        Explanation of `identified`; a clause without a full stop.
    split_half_r : float
        Expected correlation, over background features, of the deviations estimated from two halves
        of the participants.
    p : float
        Permutation p value of the difference between patients and reference on the background
        (group labels are permuted).
    strength : float
        Unbiased squared deviation in standard deviations of its null distribution, a measure of
        the strength of the first stage.
    """

    identified: bool
    reason: str
    split_half_r: float = np.nan
    p: float = np.nan
    strength: float = np.nan


def identify_deviation(
    sample: CentredFeatures, rng: np.random.Generator, *, n_permutations: int = 999
) -> Deviation:
    """Test whether patients deviate from the reference on the background.

    The deviation is that beyond a shift, a multiple of m and the effect of distance. Its unbiased
    squared norm, a sum over pairs of different participants, is compared with the distribution
    under permuted group labels.

    Parameters
    ----------
    sample : CentredFeatures
        Baselines and reference of the study.
    rng : numpy.random.Generator
        Source of the permutations.
    n_permutations : int
        Number of random permutations.

    Returns
    -------
    Deviation
        Identified when p is at most .01 and the expected split-half correlation is at least .2.
        Not identified when fewer than four reference participants are available.

    Notes
    -----
    With S the unbiased squared norm and V the noise in the squared norm of the mean deviation, the
    variance of noise doubles in each half of the participants, and the expected correlation of two
    halves is S / (S + 2 V) (the Spearman-Brown relation).
    """
    n_reference, n_pool = len(sample.reference), len(sample.baseline)
    if n_reference < MIN_OTHERS + 1:
        text = (
            "there is no reference group"
            if n_reference == 0
            else f"the reference group has fewer than {MIN_OTHERS + 1} participants"
        )
        return Deviation(False, f"{text}, so that the deviation from it cannot be estimated")
    gram = _residual_gram(sample)
    labels = np.zeros((n_permutations + 1, n_pool + n_reference))
    labels[:, n_pool:] = 1.0
    labels[1:] = rng.permuted(labels[1:], axis=1)
    signal, noise = _squared_deviation(gram, labels)
    p = float((1 + (signal[1:] >= signal[0]).sum()) / (n_permutations + 1))
    spread = float(signal[1:].std())
    strength = float(signal[0] / spread) if spread > 0 else np.inf
    half = float(np.clip(signal[0] / max(signal[0] + 2 * noise[0], 1e-300), 0.0, 1.0))
    if p > 0.01 or half < 0.2:
        failed = (
            f"p = {p:.3f}, above .01"
            if p > 0.01
            else f"expected split-half r = {half:.2f}, below .2"
        )
        reason = (
            f"the deviation from the reference is not reliable ({failed}), so that normalisation "
            "cannot be distinguished from regression to the mean"
        )
        return Deviation(False, reason, half, p, strength)
    reason = f"the deviation from the reference is reliable (expected split-half r = {half:.2f})"
    return Deviation(True, reason, half, p, strength)


def _residual_gram(sample: CentredFeatures) -> Floats:
    """Return inner products between participants, with the mean and fixed columns removed."""
    groups = (sample.baseline, sample.reference)
    n_pool, n = len(groups[0]), sum(map(len, groups))
    centred = np.empty((n, int(sample.background.sum())))
    for start, participants in zip((0, n_pool), groups, strict=True):
        for block in blocks(len(participants)):
            own = slice(start + block.start, min(start + block.stop, start + len(participants)))
            centred[own] = participants[block].residual[:, sample.background]
    mean = column_mean(centred, unknown=0.0)
    length = max(float(mean @ mean), 1e-300)
    for block in blocks(n):
        part = np.where(np.isfinite(centred[block]), centred[block] - mean, 0.0)
        centred[block] = part - np.outer(part @ mean / length, mean)
    return np.asarray(centred @ centred.T)


def _squared_deviation(gram: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Estimate the squared distance of the group means, for each labelling.

    Parameters
    ----------
    gram : ndarray, shape (n, n)
        Inner products between participants.
    labels : ndarray, shape (n_labellings, n)
        1 for the reference, 0 for patients.

    Returns
    -------
    unbiased : ndarray, shape (n_labellings,)
        Squared distance from pairs of different participants, whose expectation has no noise.
    noise : ndarray, shape (n_labellings,)
        Squared distance of the means, minus `unbiased`.
    """
    others = 1.0 - labels
    n1, n0 = labels.sum(axis=1), others.sum(axis=1)
    diagonal = np.diag(gram)
    own1, own0 = labels @ diagonal, others @ diagonal
    all1 = np.einsum("ij,ij->i", labels @ gram, labels)
    all0 = np.einsum("ij,ij->i", others @ gram, others)
    cross = np.einsum("ij,ij->i", labels @ gram, others)
    unbiased = (
        (all1 - own1) / (n1 * (n1 - 1)) + (all0 - own0) / (n0 * (n0 - 1)) - 2 * cross / (n1 * n0)
    )
    plain = all1 / n1**2 + all0 / n0**2 - 2 * cross / (n1 * n0)
    return unbiased, plain - unbiased
