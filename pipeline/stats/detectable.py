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
    """Smallest true effect that a two-sided test with these standard errors would find.

    ``(t(1 - alpha / 2, df) + t(power, df)) * se``, the minimum detectable effect of Bloom 1995,
    doi:10.1177/0193841X9501900504.

    Parameters
    ----------
    se, df : array_like of shape (n_estimates,)
        Standard errors, and degrees of freedom of their t; NaN gives NaN.
    alpha : float or ndarray of shape (n_estimates,)
        Two-sided level of each test.
    power : float
        Share of studies that would find it.

    Returns
    -------
    ndarray of shape (n_estimates,)
        In the unit of `se`.

    Examples
    --------
    >>> detectable([0.05], [24], 0.05).round(4).tolist()
    [0.146]
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - half a second of import

    se, df = np.asarray(se, float), np.asarray(df, float)
    available = np.isfinite(se) & (df > 0)
    of = np.where(available, df, 1.0)
    found = (stdtrit(of, 1 - alpha / 2) + stdtrit(of, power)) * se
    return np.where(available, found, np.nan)
