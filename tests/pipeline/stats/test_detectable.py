"""Smallest detectable effects: they have 80 % power in the t test they are computed for."""

import numpy as np
from scipy import stats

from circuitshift.pipeline.stats.detectable import detectable


def test_the_detectable_effect_has_a_power_of_80_percent():
    se, df = np.array([0.02, 0.05, 0.3]), np.array([9.0, 24.0, 80.0])
    for alpha in (0.05, np.array([0.05, 0.01, 0.005])):
        effect = detectable(se, df, alpha)
        critical = stats.t.ppf(1 - alpha / 2, df)
        power = stats.nct.sf(critical, df, effect / se) + stats.nct.cdf(-critical, df, effect / se)
        np.testing.assert_allclose(power, 0.8, atol=0.02)
    missing = detectable([np.nan, 0.1, 0.1], [10, np.nan, 0], 0.05)
    assert np.isnan(missing).all()
