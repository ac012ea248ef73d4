"""Random-effects meta-analysis: the mean of true effects, their variation, and a new effect.

Each study i has an estimate y_i = mu + u_i + e_i, where the true effects vary with variance tau^2
over studies, and e_i has the sampling variance v_i, which is treated as known.
"""

import math
from dataclasses import dataclass, fields

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.stats.pooling.reml import reml_tau

__all__ = ["MeanEffect", "Tau", "pool_effects", "q_profile", "without_each"]

_LARGEST = 1e8  # upper end of the search for a limit of tau^2, relative to its natural scale


@dataclass(frozen=True, slots=True)
class MeanEffect:
    """Hold the result of a random-effects meta-analysis.

    Effects are in the unit of the estimates, and variances in its square.

    Parameters
    ----------
    k : int
        Number of studies.
    estimate, se : float
        Mean of the true effects, and its standard error with the factor of Hartung and Knapp.
    df, statistic, p : float
        Degrees of freedom k - 1, t = `estimate` / `se`, and the two-sided p value.
    ci_low, ci_high : float
        Confidence interval of the mean.
    pi_low, pi_high : float
        Prediction interval of the true effect in a new study.
    scale : float
        Mean weighted square q of the deviations, which multiplies the variance of the mean.
    safeguarded : bool
        Whether `scale` was below 1 and 1 was used instead.
    tau2, se_tau2 : float
        Variance of the true effects (REML), and its standard error.
    tau2_low, tau2_high : float
        Confidence interval of `tau2` (Q profile).
    i2, i2_low, i2_high : float
        Share of the total variance that is due to differences between true effects, 0 to 1.
    h2 : float
        Total variance relative to the typical sampling variance.
    q, q_p : float
        Cochran's Q, and the p value of the test that all true effects are equal.
    """

    k: int
    estimate: float
    se: float
    df: float
    statistic: float
    p: float
    ci_low: float
    ci_high: float
    pi_low: float
    pi_high: float
    scale: float
    safeguarded: bool
    tau2: float
    se_tau2: float
    tau2_low: float
    tau2_high: float
    i2: float
    i2_low: float
    i2_high: float
    h2: float
    q: float
    q_p: float

    @property
    def tau(self) -> float:
        """Standard deviation of the true effects, in the unit of the estimates."""
        return math.sqrt(self.tau2)

    def times(self, factor: float) -> "MeanEffect":
        """Express the result in another unit.

        Parameters
        ----------
        factor : float
            Factor on the estimates, above 0.

        Returns
        -------
        MeanEffect
            The result of a meta-analysis of estimates and standard errors that are multiplied by
            `factor`.
        """
        power = dict.fromkeys(("estimate", "se", "ci_low", "ci_high", "pi_low", "pi_high"), 1)
        power |= dict.fromkeys(("tau2", "se_tau2", "tau2_low", "tau2_high"), 2)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return MeanEffect(**values | {name: values[name] * factor**n for name, n in power.items()})

    def equivalence_p(self, bound: float) -> float:
        """Test whether the mean effect is smaller than a bound, in both directions.

        Parameters
        ----------
        bound : float
            Smallest effect of interest, above 0, in the unit of the estimates.

        Returns
        -------
        float
            The larger p value of two one-sided t tests (Schuirmann 1987,
            doi:10.1007/BF01068419); NaN without a bound.
        """
        from scipy.special import stdtr  # noqa: PLC0415 - half a second of import

        if not bound > 0:
            return math.nan
        return float(stdtr(self.df, (abs(self.estimate) - bound) / self.se))


@dataclass(frozen=True, slots=True)
class Tau:
    """Hold a confidence interval of the variance of true effects.

    Parameters
    ----------
    low, high : float
        Limits of tau^2, at least 0; infinite if the interval has no upper limit.
    """

    low: float
    high: float


def pool_effects(
    estimate: Floats, se: Floats, *, level: float = 0.95, safeguard: bool = True
) -> MeanEffect:
    """Estimate the mean and the variation of the true effects of several studies.

    Parameters
    ----------
    estimate, se : ndarray, shape (n_studies,)
        Estimates of the studies and their standard errors, above 0, in the same unit.
    level : float
        Coverage of all intervals.
    safeguard : bool
        Whether the factor of Hartung and Knapp is at least 1.

    Returns
    -------
    MeanEffect

    Raises
    ------
    DesignError
        If there are fewer than two studies, or an estimate or standard error is missing or not
        above 0.

    Notes
    -----
    With weights w_i = 1 / (v_i + tau^2) and tau^2 estimated by restricted maximum likelihood, the
    mean is m = sum w_i y_i / sum w_i. Its variance is q / sum w_i with
    q = sum w_i (y_i - m)^2 / (k - 1), and (m - mu) / se has about a t distribution with k - 1
    degrees of freedom (Hartung & Knapp 2001, doi:10.1002/sim.791; Sidik & Jonkman 2002,
    doi:10.1002/sim.1262). The interval can be shorter than that of a common-effect analysis if the
    estimates agree by chance. With the safeguard, q is at least 1 (Knapp & Hartung 2003,
    doi:10.1002/sim.1482; Rover, Knapp & Friede 2015, doi:10.1186/s12874-015-0091-1).

    The prediction interval is m +- t sqrt(se^2 + tau^2), with k - 1 degrees of freedom as for the
    mean (Higgins, Thompson & Spiegelhalter 2009, doi:10.1111/j.1467-985X.2008.00552.x, with k - 2;
    k - 1 is defined for two studies and is the default of metafor, Viechtbauer 2010,
    doi:10.18637/jss.v036.i03). I^2 = tau^2 / (tau^2 + s^2) and H^2 = 1 + tau^2 / s^2, where
    s^2 = (k - 1) sum 1/v_i / [(sum 1/v_i)^2 - sum 1/v_i^2] is the typical sampling variance
    (Higgins & Thompson 2002, doi:10.1002/sim.1186); their limits are those of tau^2.
    """
    from scipy.special import chdtrc, stdtr, stdtrit  # noqa: PLC0415 - half a second of import

    y, v = _checked(estimate, se)
    k, df = len(y), len(y) - 1
    tau2 = reml_tau(y, v, np.ones((k, 1))) ** 2
    weight = 1 / (v + tau2)
    mean = float(weight @ y / weight.sum())
    scale = float(weight @ (y - mean) ** 2 / df)
    error = math.sqrt((max(scale, 1.0) if safeguard else scale) / weight.sum())
    quantile = float(stdtrit(df, (1 + level) / 2))
    future = quantile * math.sqrt(error**2 + tau2)
    statistic = mean / error if error > 0 else math.nan
    limits = q_profile(y, v, level=level)
    typical = _typical_variance(v)
    q = cochran_q(y, v)
    return MeanEffect(
        k=k,
        estimate=mean,
        se=error,
        df=float(df),
        statistic=statistic,
        p=float(2 * stdtr(df, -abs(statistic))),
        ci_low=mean - quantile * error,
        ci_high=mean + quantile * error,
        pi_low=mean - future,
        pi_high=mean + future,
        scale=scale,
        safeguarded=safeguard and scale < 1,
        tau2=tau2,
        se_tau2=_tau2_error(weight),
        tau2_low=limits.low,
        tau2_high=limits.high,
        i2=tau2 / (tau2 + typical),
        i2_low=limits.low / (limits.low + typical),
        i2_high=1 / (1 + typical / limits.high) if limits.high > 0 else 0.0,
        h2=1 + tau2 / typical,
        q=q,
        q_p=float(chdtrc(df, q)),
    )


def _checked(estimate: Floats, se: Floats) -> tuple[Floats, Floats]:
    """Return estimates and sampling variances, or raise an error if they cannot be pooled."""
    y, v = np.asarray(estimate, float), np.asarray(se, float) ** 2
    if len(y) < 2:
        raise DesignError(
            f"a meta-analysis needs at least two studies, and {len(y)} has an estimate; add studies"
        )
    if not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise DesignError(
            "an estimate or standard error is missing or 0; leave out the study, or correct it"
        )
    return y, v


def _typical_variance(v: Floats) -> float:
    """Return the typical sampling variance s^2 of Higgins & Thompson (2002)."""
    weight = 1 / v
    return float((len(v) - 1) * weight.sum() / (weight.sum() ** 2 - (weight**2).sum()))


def _tau2_error(weight: Floats) -> float:
    """Return the standard error of the REML estimate of tau^2 from its expected information.

    It is sqrt(2 / tr(P P)) with P = W - W 1 1' W / sum w (Viechtbauer 2005,
    doi:10.3102/10769986030003261).
    """
    total, second, third = (float((weight**n).sum()) for n in (1, 2, 3))
    trace = second - 2 * third / total + second**2 / total**2
    return math.sqrt(2 / trace) if trace > 0 else math.nan


def cochran_q(y: Floats, v: Floats, tau2: float = 0.0) -> float:
    """Compute the weighted sum of squared deviations from the weighted mean.

    Parameters
    ----------
    y, v : ndarray, shape (n_studies,)
        Estimates and sampling variances.
    tau2 : float
        Variance of true effects that is added to `v`.

    Returns
    -------
    float
        Cochran's Q if `tau2` is 0 (Cochran 1954, doi:10.2307/3001666).
    """
    weight = 1 / (v + tau2)
    return float(weight @ (y - weight @ y / weight.sum()) ** 2)


def q_profile(y: Floats, v: Floats, *, level: float = 0.95) -> Tau:
    """Compute a confidence interval of the variance of true effects.

    Parameters
    ----------
    y, v : ndarray, shape (n_studies,)
        Estimates and sampling variances.
    level : float
        Coverage of the interval.

    Returns
    -------
    Tau
        Both limits are 0 if the estimates are closer together than sampling errors allow at any
        tau^2.

    Notes
    -----
    The limits are the values of tau^2 at which the generalised Q has the upper and the lower tail
    quantile of a chi-squared distribution with k - 1 degrees of freedom (Q profile method,
    Viechtbauer 2007, doi:10.1002/sim.2514).
    """
    from scipy.optimize import brentq  # noqa: PLC0415 - half a second of import
    from scipy.special import chdtri  # noqa: PLC0415

    unit = float(v.mean())  # squares of small variances would be below the tolerances
    y, v = y / math.sqrt(unit), v / unit
    largest = _LARGEST * (1 + float(np.var(y)))
    tail = (1 - level) / 2
    limits = []
    for upper_tail in (tail, 1 - tail):
        wanted = float(chdtri(len(y) - 1, upper_tail))
        if cochran_q(y, v) <= wanted:
            limits.append(0.0)
        elif cochran_q(y, v, largest) > wanted:
            limits.append(math.inf)
        else:
            root = brentq(lambda t, q=wanted: cochran_q(y, v, t) - q, 0.0, largest, xtol=1e-12)
            limits.append(float(root) * unit)
    return Tau(*limits)


def without_each(estimate: Floats, se: Floats, *, level: float = 0.95) -> list[MeanEffect]:
    """Repeat a meta-analysis without each of its studies in turn.

    Parameters
    ----------
    estimate, se : ndarray, shape (n_studies,)
        Estimates of the studies and their standard errors.
    level : float
        Coverage of all intervals.

    Returns
    -------
    list of MeanEffect
        One result for each study that was left out; empty with fewer than three studies.
    """
    k = len(estimate)
    if k < 3:
        return []
    kept = [np.arange(k) != left_out for left_out in range(k)]
    return [pool_effects(estimate[rows], se[rows], level=level) for rows in kept]
