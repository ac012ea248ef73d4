"""The variance of true change over blocks of features, beyond the sampling variance.

Each block b has an estimate s_b = delta_b + error, where delta_b is drawn with variance tau^2 and
the error has an estimated sampling variance v_b. Errors of different blocks are correlated, because
they come from the same participants. The global model is fitted to the same features, so that it
absorbs a part of the true differences: the expectation of s_b^2 is v_b + k_b tau^2, where k_b is
the retained share of the variance (`retained_variance`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from circuitshift.pipeline.arrays import Floats

__all__ = [
    "BlockErrors",
    "TauSquared",
    "moment_tau",
    "retained_variance",
    "tau_interval",
]

_LARGEST = 1e6  # upper end of the search for a limit, relative to the mean square of the estimates


@dataclass(frozen=True, slots=True)
class BlockErrors:
    """Describe the sampling errors of block estimates.

    Parameters
    ----------
    squared_correlation : ndarray, shape (n_blocks, n_blocks)
        Squared correlations of the errors, corrected for their number of degrees of freedom
        (`BlockErrors.of`).
    df : float
        Degrees of freedom of the estimated sampling variances.
    retained : ndarray, shape (n_blocks,)
        Share k_b of tau^2 that the global model leaves in each block.
    """

    squared_correlation: Floats
    df: float
    retained: Floats

    @classmethod
    def of(cls, residuals: Floats, df: float, retained: Floats | None = None) -> "BlockErrors":
        """Estimate the correlations of the errors from residuals of participants.

        Parameters
        ----------
        residuals : ndarray, shape (n_participants, n_blocks)
            Residuals of the block values under the linear model of participants.
        df : float
            Residual degrees of freedom.
        retained : ndarray, shape (n_blocks,), optional
            Share of tau^2 that the global model leaves in each block; 1 by default.

        Returns
        -------
        BlockErrors

        Notes
        -----
        The expectation of a squared sample correlation is about rho^2 + (1 - rho^2) / df. The
        correction is that of the adjusted coefficient of determination (Ezekiel 1930,
        Methods of Correlation Analysis).
        """
        length = np.sqrt((residuals**2).sum(axis=0))
        unit = residuals / np.where(length > 0, length, 1.0)
        square = (unit.T @ unit) ** 2
        corrected = 1 - (1 - square) * df / max(df - 1, 1.0)
        np.fill_diagonal(corrected, 1.0)
        n_blocks = residuals.shape[1]
        return cls(corrected, float(df), np.ones(n_blocks) if retained is None else retained)


class TauSquared(NamedTuple):
    """Hold estimates of tau^2 for one or several sets of block estimates.

    Parameters
    ----------
    value : ndarray, shape (...)
        tau^2, at least 0, in squared units of the estimates.
    variance : ndarray, shape (...)
        Sampling variance of `value` without its truncation at 0.
    """

    value: Floats
    variance: Floats


def moment_tau(estimate: Floats, variance: Floats, errors: BlockErrors) -> TauSquared:
    """Estimate tau^2 by the method of moments.

    Parameters
    ----------
    estimate, variance : ndarray, shape (..., n_blocks)
        Estimates of the blocks and their estimated sampling variances, above 0.
    errors : BlockErrors
        Correlations and degrees of freedom of the sampling errors.

    Returns
    -------
    TauSquared
        Estimates of shape (...).

    Notes
    -----
    The estimator is sum w_b (s_b^2 - v_b) / sum w_b k_b, with weights 1 / v_b in a first and
    1 / (v_b + k_b tau^2) in a second step. It is the two-step estimator of DerSimonian & Kacker
    (2007, doi:10.1016/j.cct.2006.04.004), for a known mean of 0 and retained shares k_b. Since the
    expectation of each s_b^2 is v_b + k_b tau^2, correlations between the errors of blocks do not
    bias it. The weights depend on the estimated v_b; the bias that follows from this,
    about 2 w^2 v^2 / (df - 2), is subtracted (exact for tau = 0, where s^2 / v has the mean
    df / (df - 2) of an F distribution).
    """
    # in units of the mean variance, because squares of very small or large variances overflow
    unit = np.mean(variance, axis=-1, keepdims=True)
    s2, v = np.square(estimate) / unit, np.asarray(variance, float) / unit
    k, unit = errors.retained, unit[..., 0]

    def solve(weight: Floats) -> Floats:
        excess = weight * (s2 - v) - _covariance(weight * v, errors)
        return np.asarray(np.maximum(excess.sum(axis=-1) / (weight * k).sum(axis=-1), 0.0))

    first = solve(1 / v)
    value = solve(1 / (v + first[..., None] * k))
    weight = 1 / (v + value[..., None] * k)
    spread = _spread(weight, v, value, errors) / (weight * k).sum(axis=-1) ** 2
    return TauSquared(np.asarray(value * unit), np.asarray(spread * unit**2))


def _spread(weight: Floats, v: Floats, tau2: Floats, errors: BlockErrors) -> Floats:
    """Return the variance of sum w (s^2 - v): 2 tr(W S W S) + 2 tr(W V W V) / (df - 4).

    S = V + tau^2 K is the covariance of the estimates, and V that of their errors. The second term
    is due to the estimated V; 4 is subtracted from df because V enters the weights.
    """
    a = weight * v
    own = (a**2).sum(axis=-1)
    errors_only = np.maximum(((a @ errors.squared_correlation) * a).sum(axis=-1), own)
    k, t = errors.retained, tau2[..., None]
    with_tau = (2 * t * weight**2 * v * k + (t * weight * k) ** 2).sum(axis=-1)
    return np.asarray(2 * (errors_only + with_tau) + 2 * errors_only / max(errors.df - 4, 1.0))


def _covariance(relative: Floats, errors: BlockErrors) -> Floats:
    """Return the bias of w (s^2 - v) for weights that depend on v; `relative` is w v."""
    return np.asarray(2 * relative**2 / max(errors.df - 2, 1.0))


def tau_interval(
    estimate: Floats, variance: Floats, errors: BlockErrors, *, level: float = 0.95
) -> tuple[float, float]:
    """Compute a confidence interval of tau.

    Parameters
    ----------
    estimate, variance : ndarray, shape (n_blocks,)
        Estimates of the blocks and their sampling variances.
    errors : BlockErrors
        Correlations and degrees of freedom of the sampling errors.
    level : float
        Coverage of the interval.

    Returns
    -------
    low, high : float
        Limits of tau, at least 0, in the unit of the estimates.

    Notes
    -----
    The limits are the values of tau for which the weighted sum of squares sum w_b s_b^2, with
    w_b = 1 / (v_b + k_b tau^2), lies at a quantile of its distribution (the Q profile method:
    Viechtbauer 2007, doi:10.1002/sim.2514). Since errors are correlated, the distribution is
    approximated by a multiple of chi-squared with the same mean and variance (Box 1954,
    doi:10.1214/aoms/1177728786).
    """
    from scipy.optimize import brentq  # noqa: PLC0415 - half a second of import
    from scipy.special import chdtr  # noqa: PLC0415

    # in units of the mean variance, because squares of very small or large variances overflow
    unit = float(np.mean(variance))
    s2, v = np.square(estimate) / unit, np.asarray(variance, float) / unit
    k = errors.retained

    def below(tau2: float) -> float:
        """Return the probability of a smaller sum of squares than the observed one."""
        total = v + k * tau2
        weight = 1 / total
        mean = float(len(total) + _covariance(weight * v, errors).sum())
        spread = float(_spread(weight, v, np.asarray(tau2), errors))
        ratio = spread / (2 * mean)
        return float(chdtr(mean / ratio, (s2 * weight).sum() / ratio))

    largest = float(s2.mean()) * _LARGEST
    tail = (1 - level) / 2
    limits = []
    for wanted in (1 - tail, tail):  # the probability decreases with tau
        if below(0.0) <= wanted or largest == 0:
            limits.append(0.0)
        else:
            root = brentq(lambda t, p=wanted: below(t) - p, 0.0, largest, xtol=1e-12, rtol=1e-10)
            limits.append(float(np.sqrt(root * unit)))
    return limits[0], limits[1]


def retained_variance(reach: Floats) -> Floats:
    """Return the variance of residual changes per unit of tau^2.

    Parameters
    ----------
    reach : ndarray, shape (n_blocks, n_variables)
        Residual change of each variable when one block changes by 1 and nothing else changes, after
        the fit of the global model.

    Returns
    -------
    ndarray, shape (n_variables,)
        Sum of squares over blocks: the variance of each variable when the true changes of blocks
        are independent with variance 1.
    """
    return np.asarray((reach**2).sum(axis=0))
