"""The smallest effect that a test with a given standard error can detect."""

from collections.abc import Sequence

import numpy as np

from circuitshift.pipeline.arrays import Floats


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
