"""Bayes factors beside p values: how much more likely the data are with an effect than without."""

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats

__all__ = ["R_MEDIUM", "bayes_factor"]


#: Scale of the Cauchy prior on the standardised effect: the "medium" of Rouder's calculator.
R_MEDIUM = float(np.sqrt(2) / 2)

# Nodes for integrals over log g; the integrand is smooth and vanishes at both ends
_LOG_G = np.linspace(-25.0, 25.0, 2001)
_STEP = _LOG_G[1] - _LOG_G[0]


def bayes_factor(
    t: npt.ArrayLike, df: npt.ArrayLike, n_effective: npt.ArrayLike, *, r: float = R_MEDIUM
) -> Floats:
    """JZS Bayes factor of a t statistic, effect against no effect.

    Parameters
    ----------
    t : array_like
        Statistic.
    df : array_like
        Its degrees of freedom.
    n_effective : array_like
        People in a one-sample test; ``n1 n2 / (n1 + n2)`` for two groups.
    r : float
        Scale of the Cauchy prior on the standardised effect.

    Returns
    -------
    ndarray
        BF10: above 1 the data favour an effect, below 1 none. NaN where an argument is NaN.

    Notes
    -----
    Rouder, Speckman, Sun, Morey & Iverson 2009, doi:10.3758/PBR.16.2.225, equations 1 and 4: with
    g ~ inverse gamma(1/2, r^2 / 2),

        BF10 = integral of (1 + N g)^(-1/2) (1 + t^2 / ((1 + N g) v))^(-(v+1)/2) p(g) dg
               / (1 + t^2 / v)^(-(v+1)/2)

    Examples
    --------
    >>> bayes_factor(2.24, 79, 80).round(2).item()
    1.3
    """
    t, df, n = np.broadcast_arrays(*(np.asarray(x, float)[..., None] for x in (t, df, n_effective)))
    g = np.exp(_LOG_G)
    spread = 1 + n * g
    with np.errstate(invalid="ignore"):
        log_likelihood = -0.5 * np.log(spread) - (df + 1) / 2 * (
            np.log1p(t**2 / (spread * df)) - np.log1p(t**2 / df)
        )
    # p(g) dg = p(g) g d(log g)
    log_prior = np.log(r / np.sqrt(2 * np.pi)) - 0.5 * _LOG_G - r**2 / (2 * g)
    return np.asarray(np.exp(log_likelihood + log_prior).sum(axis=-1) * _STEP, float)
