"""Test-retest reliability of circuits, and what a single person's change must exceed."""

from dataclasses import dataclass

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError

__all__ = ["Reliability", "reliability", "reliable_change"]


@dataclass(frozen=True, slots=True)
class Reliability:
    """Agreement of two measurements of the same people.

    Parameters
    ----------
    n : int
        People with both.
    icc_agreement, icc_consistency : float
        ICC(A,1) and ICC(C,1): with, and without, the difference between visits counted as error.
    ci_low, ci_high : float
        95 % interval of ICC(C,1).
    sem, mdc : float
        Standard error of measurement and minimal detectable change (95 %) of one person, in the
        units of the values.
    """

    n: int
    icc_agreement: float
    icc_consistency: float
    ci_low: float
    ci_high: float
    sem: float
    mdc: float


def reliability(first: Floats, second: Floats) -> Reliability:
    """Estimate reliability from two visits without treatment, or two runs of a visit.

    Parameters
    ----------
    first, second : ndarray, shape (n,)
        The same people in the same order; NaN drops a person.

    Returns
    -------
    Reliability

    Raises
    ------
    DesignError
        If fewer than four people have both.

    Notes
    -----
    Two-way mean squares MSR (people), MSC (visits), MSE (rest), k = 2 (McGraw & Wong 1996,
    doi:10.1037/1082-989X.1.1.30):

        ICC(C,1) = (MSR - MSE) / (MSR + MSE)
        ICC(A,1) = (MSR - MSE) / (MSR + MSE + 2 (MSC - MSE) / n)

    SEM = sqrt(MSE), MDC = 1.96 sqrt(2) SEM (Weir 2005, doi:10.1519/15184.1). The interval of
    ICC(C,1) follows from F = MSR / MSE.

    Examples
    --------
    >>> found = reliability(np.array([1.0, 2, 3, 4, 5]), np.array([1.5, 2.1, 2.9, 4.2, 5.1]))
    >>> round(found.icc_consistency, 3), round(found.mdc, 2)
    (0.99, 0.43)
    """
    available = np.isfinite(first) & np.isfinite(second)
    n = int(available.sum())
    if n < 4:
        raise DesignError(f"{n} people have both measurements; reliability needs at least four")
    pair = np.array([first[available], second[available]])
    person, visit, mean = pair.mean(axis=0), pair.mean(axis=1), pair.mean()
    ms_participants = 2 * ((person - mean) ** 2).sum() / (n - 1)
    ms_visits = n * ((visit - mean) ** 2).sum()
    left = pair - person - visit[:, None] + mean
    ms_error = (left**2).sum() / (n - 1)
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


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def _interval(ms_participants: float, ms_error: float, n: int) -> tuple[float, float]:
    from scipy.special import fdtri  # noqa: PLC0415 - half a second of import

    if ms_error <= 0:
        return float("nan"), float("nan")
    ratio = ms_participants / ms_error
    low, high = ratio / fdtri(n - 1, n - 1, 0.975), ratio * fdtri(n - 1, n - 1, 0.975)
    return float((low - 1) / (low + 1)), float((high - 1) / (high + 1))


def reliable_change(change: Floats, untreated: Floats) -> Floats:
    """Change of each person in units of what people change without treatment.

    Parameters
    ----------
    change : ndarray, shape (n,)
    untreated : ndarray, shape (n_untreated,)
        Change of the control arm, or of anybody scanned twice.

    Returns
    -------
    ndarray, shape (n,)
        (change - mean of the untreated) / (their standard deviation x sqrt(1 + 1 / n)), as Jacobson
        & Truax 1991 (doi:10.1037/0022-006X.59.1.12) with the practice effect taken out; beyond the
        97.5 % point of t with n - 1 degrees of freedom (1.96 for many) it is a reliable change. NaN
        when fewer than four are untreated.
    """
    available = untreated[np.isfinite(untreated)]
    if len(available) < 4 or available.std() == 0:
        return np.full(len(change), np.nan)
    spread = available.std(ddof=1) * np.sqrt(1 + 1 / len(available))
    return np.asarray((change - available.mean()) / spread)
