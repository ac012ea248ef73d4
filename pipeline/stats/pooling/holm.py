"""Correction of p values for the number of tests."""

import numpy as np

from circuitshift.pipeline.arrays import Floats

__all__ = ["holm"]


def holm(p: Floats) -> Floats:
    """Correct the p values of a family of tests by the method of Holm (1979).

    Parameters
    ----------
    p : ndarray, shape (n_tests,)
        Uncorrected p values; NaN for tests that were not made, which do not count.

    Returns
    -------
    ndarray, shape (n_tests,)
        Corrected p values, at most 1; NaN where `p` is NaN.

    Notes
    -----
    Of m tests, the p value of rank r (from 0) is multiplied by m - r, and no corrected value is
    smaller than that of a smaller p (Holm 1979, Scand J Stat 6:65).

    Examples
    --------
    >>> holm(np.array([0.04, 0.01, np.nan])).tolist()
    [0.04, 0.02, nan]
    """
    count = int(np.isfinite(p).sum())
    corrected = np.full(len(p), np.nan)
    top = 0.0
    for rank, k in enumerate(np.argsort(p)[:count].tolist()):  # NaN are sorted last
        top = max(top, min(1.0, float(p[k]) * (count - rank)))
        corrected[k] = top
    return corrected
