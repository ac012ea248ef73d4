"""What is usually reported, for comparison: none of it can answer the question."""

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.known import blocks, column_mean

__all__ = ["naive_share"]

Floats = npt.NDArray[np.float64]


def naive_share(
    change: Floats, baseline: Floats, reference: Floats, background: npt.NDArray[np.bool_]
) -> Floats:
    """Slope of each person's change on the plain deviation of the group.

    It shares the baseline's noise with the change, so it is positive when nothing happened.

    Parameters
    ----------
    change, baseline : ndarray, shape (n_people, n_edges)
    reference : ndarray, shape (n_reference, n_edges)
    background : ndarray of bool, shape (n_edges,)

    Returns
    -------
    ndarray, shape (n_people,)
    """
    d = column_mean(reference) - column_mean(baseline)
    use = background & np.isfinite(d)
    d = d[use] - d[use].mean()
    out = np.empty(len(change))
    for few in blocks(len(change)):
        part = change[few][:, use]
        known = np.isfinite(part)
        out[few] = (np.where(known, part, 0.0) @ d) / (known @ d**2)
    return out
