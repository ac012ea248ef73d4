"""Smallest detectable effects: comparison with noncentral t, limits, missing standard errors."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from circuitshift.pipeline.stats.detectable import detectable, power_beforehand, power_of_t


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


@pytest.mark.parametrize("n", [(12, 12), (30, 30), (20, 45), (25, 0), (300, 300)])
@pytest.mark.parametrize("n_tests", [1, 4])
def test_power_beforehand_equals_statsmodels(n, n_tests):
    d = np.array([0.05, 0.3, 0.4, 0.5, 0.7])
    found = power_beforehand(d, *n, alpha=0.05, n_tests=n_tests)
    if n[1]:
        solver, size = TTestIndPower(), {"nobs1": n[0], "ratio": n[1] / n[0]}
    else:
        solver, size = TTestPower(), {"nobs": n[0]}
    expected = [solver.power(k, alpha=0.05 / n_tests, **size) for k in d]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_power_of_covariance_analysis_equals_a_simulation():
    rng, n, r, hits = np.random.default_rng(0), 25, 0.6, 0
    treated = np.arange(2 * n) < n
    for _ in range(600):
        before = rng.normal(size=2 * n)
        after = r * before + (1 - r**2) ** 0.5 * rng.normal(size=2 * n)
        after += 0.8 * (2 * (1 - r)) ** 0.5 * treated  # d = .8 standard deviations of change
        x = np.column_stack([treated, np.ones(2 * n), before])
        hits += sm.OLS(after, x).fit().pvalues[0] < 0.05
    expected = power_beforehand(0.8, n, n, correlation=r)
    low, high = stats.binom.ppf([0.0005, 0.9995], 600, expected)
    assert low <= hits <= high


def test_power_without_an_arm_or_a_standard_error_is_unknown():
    assert np.isnan(power_beforehand([0.3, 0.5], 1, 5)).all()
    assert np.isnan(power_of_t([0.1, np.nan, 0.1], [np.nan, 0.1, 0.0], 10, 0.05)).all()
    assert power_of_t(5.0, 0.001, 10, 0.05) == pytest.approx(1)
    large = power_of_t(np.linspace(0, 60, 200)[:, None], 1.0, [1.5, 4.0, 37.4, 900.0], 0.01)
    assert (np.diff(large, axis=0) > -1e-9).all()  # increases, and is never NaN
    np.testing.assert_allclose(large[-1], 1, atol=0.01)
    assert power_of_t(0.0, 0.1, 10, 0.05) == pytest.approx(0.05)
