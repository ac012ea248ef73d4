"""Power of t tests, and the smallest effect that a test can detect."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats

__all__ = ["EXPECTED_CORRELATION", "detectable", "power_beforehand", "power_of_t"]

#: Correlation of baseline and follow-up across participants that is assumed without data.
EXPECTED_CORRELATION = 0.5


def detectable(
    se: Sequence[float] | Floats,
    df: Sequence[float] | Floats,
    alpha: float | Floats,
    power: float = 0.8,
) -> Floats:
    """Compute the smallest effect that a two-sided t test detects with a given power.

    Parameters
    ----------
    se : array_like, shape (n_estimates,)
        Standard error of each estimate.
    df : array_like, shape (n_estimates,)
        Degrees of freedom of each t statistic.
    alpha : float or ndarray, shape (n_estimates,)
        Two-sided significance level of each test.
    power : float
        Probability of detecting the effect.

    Returns
    -------
    ndarray, shape (n_estimates,)
        Smallest detectable effects, in the unit of `se`; NaN where the standard error or the
        degrees of freedom are missing.

    Notes
    -----
    The minimum detectable effect is ``(t(1 - alpha / 2, df) + t(power, df)) * se``, where
    ``t(q, df)`` is the q-quantile of Student's t (Bloom 1995, doi:10.1177/0193841X9501900504).

    Examples
    --------
    >>> detectable([0.05], [24], 0.05).round(4).tolist()
    [0.146]
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - half a second of import

    se, df = np.asarray(se, float), np.asarray(df, float)
    available = np.isfinite(se) & (df > 0)
    valid_df = np.where(available, df, 1.0)
    effect = (stdtrit(valid_df, 1 - alpha / 2) + stdtrit(valid_df, power)) * se
    return np.where(available, effect, np.nan)


def power_of_t(
    effect: npt.ArrayLike, se: npt.ArrayLike, df: npt.ArrayLike, alpha: npt.ArrayLike
) -> Floats:
    """Compute the power of two-sided t tests.

    Parameters
    ----------
    effect : array_like
        True effects.
    se : array_like
        Standard errors of the estimates, in the unit of `effect`.
    df : array_like
        Degrees of freedom.
    alpha : array_like
        Two-sided significance levels.

    Returns
    -------
    ndarray
        Probability that each test is significant; the arguments are broadcast. NaN where an
        argument is missing, or where the standard error or the degrees of freedom are not above 0.

    Notes
    -----
    The t statistic has a noncentral t distribution with noncentrality ``effect / se`` (Cohen 1988,
    doi:10.4324/9780203771587).

    Examples
    --------
    >>> power_of_t(0.5, (2 / 64) ** 0.5, 126, 0.05).round(2).item()
    0.8
    """
    from scipy.special import nctdtr, stdtrit  # noqa: PLC0415 - half a second of import

    given = np.broadcast_arrays(*(np.asarray(a, float) for a in (effect, se, df, alpha)))
    effect, se, df, alpha = given
    valid = np.isfinite(effect) & np.isfinite(se) & (se > 0) & (df > 0) & np.isfinite(alpha)
    safe_df = np.where(valid, df, 1.0)
    noncentrality = np.abs(np.where(valid, effect / np.where(valid, se, 1.0), 0.0))
    noncentrality = np.minimum(noncentrality, 1e3)
    limit = stdtrit(safe_df, 1 - np.where(valid, alpha, 0.05) / 2)
    # scipy returns NaN for probabilities that are smaller than its accuracy
    lower = np.nan_to_num(nctdtr(safe_df, noncentrality, -limit))
    missed = np.nan_to_num(nctdtr(safe_df, noncentrality, limit))
    return np.where(valid, 1 - missed + lower, np.nan)


def power_beforehand(
    d: npt.ArrayLike,
    n_treated: int,
    n_control: int = 0,
    *,
    alpha: float = 0.05,
    n_tests: int = 1,
    correlation: float | None = None,
) -> Floats:
    """Compute the power of a study of given size, before its data are known.

    Parameters
    ----------
    d : array_like
        True effects, in standard deviations of change between participants of one arm.
    n_treated, n_control : int
        Participants with both visits; `n_control` is 0 without a control arm.
    alpha : float
        Family-wise error rate.
    n_tests : int
        Number of tests of the family, among which `alpha` is divided (Bonferroni).
    correlation : float, optional
        Correlation of baseline and follow-up across participants of one arm. If it is given and
        there is a control arm, follow-ups are compared after adjustment for the baseline (analysis
        of covariance) rather than changes.

    Returns
    -------
    ndarray
        Power of each effect; NaN if an arm has fewer than two participants.

    Notes
    -----
    With equal variances at both visits and correlation r, the variance of change is 2 (1 - r), and
    that of the follow-up given the baseline 1 - r^2, so that adjustment multiplies the standard
    error by sqrt((1 + r) / 2) (Borm, Fransen & Lemmens 2007, doi:10.1016/j.jclinepi.2007.02.006).

    Examples
    --------
    >>> power_beforehand([0.3, 0.4, 0.5], 30, 30, correlation=0.5).round(2).tolist()
    [0.26, 0.42, 0.59]
    """
    d = np.asarray(d, float)
    smallest = min(n_treated, n_control) if n_control else n_treated
    if smallest < 2:
        return np.full(d.shape, np.nan)
    adjusts = bool(n_control) and correlation is not None
    se = (1 / n_treated + (1 / n_control if n_control else 0.0)) ** 0.5
    if correlation is not None and adjusts:
        se *= ((1 + correlation) / 2) ** 0.5
    df = n_treated + n_control - (2 if n_control else 1) - adjusts
    return power_of_t(d, se, df, alpha / n_tests)
