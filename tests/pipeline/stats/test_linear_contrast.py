"""Linear models with one coefficient of interest: against statsmodels and plain formulas."""

import numpy as np
import pytest
import statsmodels.api as sm

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.stats.linear_contrast import (
    contrast_of,
    mean_contrast,
    t_statistics,
    variance_of_estimate,
)

N = 26


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def trial(seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return arm, covariates, baselines and follow-ups of three variables."""
    treated = np.arange(N) < 11
    covariates = rng(seed).normal(size=(N, 2))
    before = rng(seed + 1).normal(size=(N, 3))
    after = 0.6 * before + 0.4 * treated[:, None] + rng(seed + 2).normal(size=(N, 3))
    return treated, covariates, before, after


def test_analysis_of_covariance_equals_statsmodels() -> None:
    treated, covariates, before, after = trial()
    contrast = contrast_of(treated.astype(float), nuisance=covariates)
    for k, own in enumerate(contrast.with_own_columns(before)):
        x = np.column_stack([treated, np.ones(N), covariates, before[:, k]])
        expected = sm.OLS(after[:, k], x).fit()
        for y in (after[:, [k]], after[:, [k]] - before[:, [k]]):  # the same for change
            variance, df = variance_of_estimate(y, own)
            np.testing.assert_allclose(own.weights @ y, expected.params[0], atol=1e-12)
            np.testing.assert_allclose(np.sqrt(variance), expected.bse[0], atol=1e-12)
            np.testing.assert_allclose(t_statistics(y, own), expected.tvalues[0], atol=1e-10)
            assert df[0] == pytest.approx(expected.df_resid)


def test_weighted_analysis_of_covariance_equals_statsmodels() -> None:
    treated, _, before, after = trial(7)
    weights = rng(8).uniform(0.5, 2, N)
    contrast = contrast_of(treated.astype(float), weights=weights)
    for k, own in enumerate(contrast.with_own_columns(before)):
        x = np.column_stack([treated, np.ones(N), before[:, k]])
        expected = sm.WLS(after[:, k], x, weights=weights).fit()
        assert t_statistics(after[:, [k]], own)[0] == pytest.approx(expected.tvalues[0])


def test_analysis_of_covariance_with_unequal_variances_equals_the_formula() -> None:
    treated, _, before, after = trial(3)
    own = mean_contrast(N, treated=treated).with_own_columns(before[:, :1])[0]
    x = np.column_stack([treated, np.ones(N), before[:, 0]])
    inverse = np.linalg.inv(x.T @ x)
    residual = after[:, 0] - x @ inverse @ x.T @ after[:, 0]
    free = 1 - np.einsum("ij,jk,ik->i", x, inverse, x)
    sigma = np.where(
        treated,
        (residual[treated] ** 2).sum() / free[treated].sum(),
        (residual[~treated] ** 2).sum() / free[~treated].sum(),
    )
    expected = (inverse @ x.T @ np.diag(sigma) @ x @ inverse)[0, 0]
    variance, df = variance_of_estimate(after[:, :1], own)
    assert variance[0] == pytest.approx(expected)
    weight = (inverse @ x.T)[0] ** 2
    parts = [(weight * sigma)[g].sum() for g in (treated, ~treated)]
    spread = sum(v**2 / free[g].sum() for v, g in zip(parts, (treated, ~treated), strict=True))
    assert df[0] == pytest.approx(sum(parts) ** 2 / spread)


def test_a_constant_column_changes_nothing() -> None:
    treated, _, before, after = trial()
    contrast = mean_contrast(N, treated=treated)
    columns = np.column_stack([np.full(N, 0.3), before[:, 1]])
    same, other = contrast.with_own_columns(columns)
    assert t_statistics(after[:, :1], same)[0] == t_statistics(after[:, :1], contrast)[0]
    assert same.exchange is other.exchange


def test_a_column_that_is_the_arm_is_refused() -> None:
    treated = np.arange(N) < 11
    with pytest.raises(DesignError, match="collinear"):
        mean_contrast(N, treated=treated).with_own_columns(treated[:, None].astype(float))


def test_too_few_degrees_of_freedom_are_refused() -> None:
    """With 3 and 2 participants, two would be left, and permutation p values would be too small."""
    for n in (4, 5):
        contrast = mean_contrast(n, treated=np.arange(n) < n - 2)
        with pytest.raises(DesignError, match="too few"):
            contrast.with_own_columns(rng().normal(size=(n, 1)))
    six = mean_contrast(6, treated=np.arange(6) < 3)
    assert len(six.with_own_columns(rng().normal(size=(6, 1)))) == 1


def test_participants_with_equal_baselines_are_exchanged_without_effect() -> None:
    treated = np.arange(8) < 4
    columns = np.repeat([0.0, 1.0], 4)[[0, 4, 1, 5, 2, 6, 3, 7]][:, None]
    contrast = mean_contrast(8, treated=treated)
    assert contrast.exchange.count() == 70
    assert contrast.with_own_columns(columns)[0].exchange.count() == 2520  # 8! / (2!)^4
