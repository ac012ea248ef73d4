"""The size of change regardless of direction, and the identifiability of participants.

If a treatment permits plasticity, connectivity may change more in treated participants without a
common direction. Tests of means cannot detect such a change.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.stats.missing_values import available_in_all, blocks

__all__ = ["identifiability", "log_displacement"]


def log_displacement(change: Floats, sets: Mapping[str, npt.NDArray[np.intp]]) -> dict[str, Floats]:
    """Compute the log root-mean-square change of each participant over sets of features.

    The noise of two scans adds to the size of change, which is therefore interpretable only
    relative to participants who were scanned twice without treatment. The logarithm makes
    proportional differences additive.

    Parameters
    ----------
    change : ndarray, shape (n_participants, n_features)
        Follow-up minus baseline; NaN where a feature is missing.
    sets : mapping of str to ndarray of int
        Positions of the features of each set.

    Returns
    -------
    dict of str to ndarray, shape (n_participants,)
        Log of the root-mean-square change over each set; NaN when fewer than half of its features
        are available, or when none of them changed.
    """
    out = {}
    for name, positions in sets.items():
        mean = np.full(len(change), np.nan)
        for block in blocks(len(change)):
            part = change[block][:, positions]
            available = np.isfinite(part)
            count = available.sum(axis=1)
            squares = (np.where(available, part, 0.0) ** 2).sum(axis=1)
            enough = (count * 2 >= max(len(positions), 1)) & (squares > 0)
            np.divide(squares, count, out=mean[block], where=enough)
        out[name] = np.log(mean) / 2
    return out


def identifiability(baseline: Floats, followup: Floats) -> dict[str, float]:
    """Measure how well participants are identified from one visit to the next.

    Parameters
    ----------
    baseline, followup : ndarray, shape (n_participants, n_features)
        Features of the same participants in the same order. Only features that are available in
        all participants at both visits are used.

    Returns
    -------
    dict
        ``self_r`` is the mean correlation between the two visits of a participant, ``others_r`` the
        mean correlation between visits of different participants, ``recognised`` the share of
        participants whose follow-up is most similar to their own baseline (Finn 2015,
        doi:10.1038/nn.4135), and ``idiff`` the difference ``self_r - others_r`` (Amico & Goñi 2018,
        doi:10.1038/s41598-018-25089-1, who multiply it by 100). Empty for fewer than two
        participants or features.
    """
    available = available_in_all(baseline, followup)
    n = len(baseline)
    if n < 2 or available.sum() < 2:
        return {}
    first, second = (_unit(visit[:, available]) for visit in (baseline, followup))
    similarity = first @ second.T
    own = np.diag(similarity)
    others = (similarity.sum() - own.sum()) / (n * (n - 1))
    return {
        "self_r": float(own.mean()),
        "others_r": float(others),
        "recognised": float(np.mean(similarity.argmax(axis=0) == np.arange(n))),
        "idiff": float(own.mean() - others),
    }


def _unit(values: Floats) -> Floats:
    """Centre each row and scale it to unit length."""
    centred = values - values.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(norm, 1e-300), float)
