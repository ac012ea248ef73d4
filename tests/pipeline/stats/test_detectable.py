"""Smallest detectable effects: comparison with noncentral t, limits, missing standard errors."""

import numpy as np
import pytest
from scipy import stats

from circuitshift.pipeline.stats.detectable import detectable


def test_power_at_the_detectable_effect_is_80_percent():
    se, df = np.array([0.02, 0.05, 0.3]), np.array([9.0, 24.0, 80.0])
    for alpha in (0.05, np.array([0.05, 0.01, 0.005])):
        effect = detectable(se, df, alpha)
        critical = stats.t.ppf(1 - alpha / 2, df)
        power = stats.nct.sf(critical, df, effect / se) + stats.nct.cdf(-critical, df, effect / se)
        np.testing.assert_allclose(power, 0.8, atol=0.02)


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_with_many_degrees_of_freedom_it_is_that_of_a_z_test(power):
    expected = 0.1 * (stats.norm.ppf(0.975) + stats.norm.ppf(power))
    assert detectable([0.1], [1e7], 0.05, power)[0] == pytest.approx(expected, rel=1e-5)


def test_missing_standard_errors_or_degrees_of_freedom_give_nan():
    effect = detectable([np.nan, 0.1, 0.1, 0.1], [10, np.nan, 0, 10], 0.05)
    np.testing.assert_array_equal(np.isnan(effect), [True, True, True, False])


def test_the_detectable_effect_has_a_power_of_80_percent():
    se, df = np.array([0.02, 0.05, 0.3]), np.array([9.0, 24.0, 80.0])
    for alpha in (0.05, np.array([0.05, 0.01, 0.005])):
        effect = detectable(se, df, alpha)
        critical = stats.t.ppf(1 - alpha / 2, df)
        power = stats.nct.sf(critical, df, effect / se) + stats.nct.cdf(-critical, df, effect / se)
        np.testing.assert_allclose(power, 0.8, atol=0.02)
    missing = detectable([np.nan, 0.1, 0.1], [10, np.nan, 0], 0.05)
    assert np.isnan(missing).all()
