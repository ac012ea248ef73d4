"""How much connectivity moved, whatever the direction, and whether people stay recognisable.

Permissive plasticity predicts more change everywhere in no fixed direction: a treatment may move
everybody far and nobody the same way, which no test of means can see.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.stats.missing_values import available_in_all, blocks

__all__ = ["identifiability", "log_displacement"]


def log_displacement(change: Floats, sets: Mapping[str, npt.NDArray[np.intp]]) -> dict[str, Floats]:
    """Log root-mean-square change of each person over sets of features.

    Noise of two scans moves everybody, so the number means something only against people who were
    scanned twice without treatment. The log makes a proportional difference additive.

    Parameters
    ----------
    change : ndarray of shape (n_people, n_features)
        Follow-up minus baseline; NaN where a feature is missing.
    sets : mapping of str to ndarray of int
        Positions of features.

    Returns
    -------
    dict of str to ndarray of shape (n_people,)
        NaN when fewer than half of the features are available, or nothing moved at all.
    """
    out = {}
    for name, positions in sets.items():
        mean = np.full(len(change), np.nan)
        for few in blocks(len(change)):
            part = change[few][:, positions]
            available = np.isfinite(part)
            count = available.sum(axis=1)
            squares = (np.where(available, part, 0.0) ** 2).sum(axis=1)
            enough = (count * 2 >= max(len(positions), 1)) & (squares > 0)
            np.divide(squares, count, out=mean[few], where=enough)
        out[name] = np.log(mean) / 2
    return out


def identifiability(baseline: Floats, followup: Floats) -> dict[str, float]:
    """How well people are recognised from one visit to the next.

    Parameters
    ----------
    baseline, followup : ndarray of shape (n_people, n_features)
        The same people in the same order; features that one participant lacks are left out.

    Returns
    -------
    dict
        ``self_r``: mean correlation of a person's two visits; ``others_r``: mean correlation of the
        visits of different people; ``recognised``: share of people whose follow-up is most like
        their own baseline (Finn 2015, doi:10.1038/nn.4135); ``idiff``: self minus others (Amico &
        Goñi 2018, doi:10.1038/s41598-018-25089-1, there times 100). Empty for fewer than two
        people.
    """
    whole = available_in_all(baseline, followup)
    n = len(baseline)
    if n < 2 or whole.sum() < 2:
        return {}
    first, second = (_unit(visit[:, whole]) for visit in (baseline, followup))
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
    centred = values - values.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(norm, 1e-300), float)
