"""Test-retest reliability, and reliable change of single participants."""

from dataclasses import dataclass

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError

__all__ = ["Reliability", "reliability", "reliable_change"]


@dataclass(frozen=True, slots=True)
class Reliability:
    """Hold the agreement of two measurements of the same participants.

    Parameters
    ----------
    n : int
        Number of participants with both measurements.
    icc_agreement : float
        ICC(A,1), in which the difference between visits counts as error.
    icc_consistency : float
        ICC(C,1), in which the difference between visits does not count as error.
    ci_low, ci_high : float
        Limits of the 95 % confidence interval of ICC(C,1).
    sem : float
        Standard error of measurement, in the unit of the values.
    mdc : float
        Minimal detectable change (95 %) of one participant, in the unit of the values.
    """

    n: int
    icc_agreement: float
    icc_consistency: float
    ci_low: float
    ci_high: float
    sem: float
    mdc: float


def reliability(first: Floats, second: Floats) -> Reliability:
    """Estimate reliability from two visits without treatment, or from two runs of a visit.

    Parameters
    ----------
    first, second : ndarray, shape (n_participants,)
        Measurements of the same participants in the same order. Participants with NaN in either
        are excluded.

    Returns
    -------
    Reliability
        Intraclass correlations and measurement errors.

    Raises
    ------
    DesignError
        If fewer than four participants have both measurements.

    Notes
    -----
    With MSR, MSC and MSE the mean squares of participants, visits and residuals in a two-way
    analysis of variance of k = 2 measurements (McGraw & Wong 1996, doi:10.1037/1082-989X.1.1.30),

        ICC(C,1) = (MSR - MSE) / (MSR + MSE),
        ICC(A,1) = (MSR - MSE) / (MSR + MSE + 2 (MSC - MSE) / n).

    The confidence interval of ICC(C,1) follows from F = MSR / MSE (same source). The standard error
    of measurement is SEM = sqrt(MSE), and the minimal detectable change is MDC = 1.96 sqrt(2) SEM
    (Weir 2005, doi:10.1519/15184.1).

    Examples
    --------
    >>> result = reliability(np.array([1.0, 2, 3, 4, 5]), np.array([1.5, 2.1, 2.9, 4.2, 5.1]))
    >>> round(result.icc_consistency, 3), round(result.mdc, 2)
    (0.99, 0.43)
    """
    available = np.isfinite(first) & np.isfinite(second)
    n = int(available.sum())
    if n < 4:
        raise DesignError(
            f"{n} participants have both measurements; reliability needs at least four"
        )
    pair = np.array([first[available], second[available]])
    participant, visit, mean = pair.mean(axis=0), pair.mean(axis=1), pair.mean()
    ms_participants = 2 * ((participant - mean) ** 2).sum() / (n - 1)
    ms_visits = n * ((visit - mean) ** 2).sum()
    residual = pair - participant - visit[:, None] + mean
    ms_error = (residual**2).sum() / (n - 1)
    sem = float(np.sqrt(ms_error))
    low, high = _interval(ms_participants, ms_error, n)
    agreement = ms_participants + ms_error + 2 * (ms_visits - ms_error) / n
    return Reliability(
        n=n,
        icc_agreement=_share(ms_participants - ms_error, agreement),
        icc_consistency=_share(ms_participants - ms_error, ms_participants + ms_error),
        ci_low=low,
        ci_high=high,
        sem=sem,
        mdc=1.959963984540054 * 2**0.5 * sem,
    )


def _share(part: float, total: float) -> float:
    return float(part / total) if total > 0 else float("nan")


def _interval(ms_participants: float, ms_error: float, n: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of ICC(C,1)."""
    from scipy.special import fdtri  # noqa: PLC0415 - half a second of import

    if ms_error <= 0:
        return float("nan"), float("nan")
    ratio = ms_participants / ms_error
    low, high = ratio / fdtri(n - 1, n - 1, 0.975), ratio * fdtri(n - 1, n - 1, 0.975)
    return float((low - 1) / (low + 1)), float((high - 1) / (high + 1))


def reliable_change(change: Floats, untreated: Floats) -> Floats:
    """Compute the reliable change index of each participant.

    Parameters
    ----------
    change : ndarray, shape (n_participants,)
        Change of each participant.
    untreated : ndarray, shape (n_untreated,)
        Change of participants scanned twice without treatment, such as the control arm; NaN is
        ignored.

    Returns
    -------
    ndarray, shape (n_participants,)
        Reliable change index; NaN when fewer than four untreated participants are available, or
        when their changes do not vary.

    Notes
    -----
    The index is (change - mean) / (standard deviation x sqrt(1 + 1 / n)), with the mean, the
    standard deviation and the number n of the untreated changes. It is that of Jacobson & Truax
    (1991, doi:10.1037/0022-006X.59.1.12), adjusted for practice effects and for the size of the
    untreated sample. A change is reliable when the absolute index exceeds the 97.5 % quantile of
    Student's t with n - 1 degrees of freedom (1.96 for large n).
    """
    available = untreated[np.isfinite(untreated)]
    if len(available) < 4 or available.std() == 0:
        return np.full(len(change), np.nan)
    spread = available.std(ddof=1) * np.sqrt(1 + 1 / len(available))
    return np.asarray((change - available.mean()) / spread)
