"""Bayes factors of t statistics."""

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats

__all__ = ["R_MEDIUM", "bayes_factor"]


#: Scale of the Cauchy prior on the standardised effect: "medium" in the R package BayesFactor.
R_MEDIUM = float(np.sqrt(2) / 2)

# Nodes of the integral over log g, whose integrand is smooth and vanishes at both ends
_LOG_G = np.linspace(-25.0, 25.0, 2001)
_STEP = _LOG_G[1] - _LOG_G[0]


def bayes_factor(
    t: npt.ArrayLike, df: npt.ArrayLike, n_effective: npt.ArrayLike, *, r: float = R_MEDIUM
) -> Floats:
    """Compute the JZS Bayes factor of an effect against no effect from a t statistic.

    Parameters
    ----------
    t : array_like
        t statistics.
    df : array_like
        Degrees of freedom of `t`.
    n_effective : array_like
        Effective sample size: the number of participants in a one-sample test, and
        ``n1 n2 / (n1 + n2)`` in a comparison of two groups.
    r : float
        Scale of the Cauchy prior on the standardised effect.

    Returns
    -------
    ndarray
        BF10, of the shape to which the arguments broadcast. Values above 1 favour an effect, and
        values below 1 favour its absence. NaN where an argument is NaN.

    Notes
    -----
    The Bayes factor is that of Rouder, Speckman, Sun, Morey & Iverson (2009,
    doi:10.3758/PBR.16.2.225, equations 1 and 4). With g ~ inverse gamma(1/2, r^2 / 2), N the
    effective sample size and v the degrees of freedom,

        BF10 = integral of (1 + N g)^(-1/2) (1 + t^2 / ((1 + N g) v))^(-(v+1)/2) p(g) dg
               / (1 + t^2 / v)^(-(v+1)/2).

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
