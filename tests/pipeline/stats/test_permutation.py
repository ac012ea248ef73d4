"""Permutation tests: against theory, scipy, slow loops and simulated effects."""

import itertools

import numpy as np
import pytest
from scipy import stats

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.stats.permutation import contrast_of, mean_contrast, permutation_test


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_one_group_equals_students_t() -> None:
    y = rng().normal(0.3, 1, (14, 3))
    result = permutation_test(y, mean_contrast(14), rng=rng(1), n_permutations=100)
    expected = stats.ttest_1samp(y, 0)
    np.testing.assert_allclose(result.statistic, expected.statistic, atol=1e-12)
    np.testing.assert_allclose(result.ci_low, expected.confidence_interval().low, atol=1e-12)
    np.testing.assert_allclose(result.df, 13)


def test_two_groups_equal_welchs_t() -> None:
    y = np.r_[rng().normal(0.5, 1, (12, 2)), rng(1).normal(0, 3, (25, 2))]
    treated = np.arange(37) < 12
    result = permutation_test(y, mean_contrast(37, treated=treated), rng=rng(1), n_permutations=100)
    expected = stats.ttest_ind(y[treated], y[~treated], equal_var=False)
    np.testing.assert_allclose(result.statistic, expected.statistic, atol=1e-12)
    np.testing.assert_allclose(result.df, expected.df, atol=1e-9)


def test_sign_flips_of_a_small_sample_are_enumerated_exactly() -> None:
    y = rng(3).normal(0.4, 1, (7, 2))
    result = permutation_test(y, mean_contrast(7), rng=rng(), n_permutations=1000)
    flips = np.array(list(itertools.product([-1, 1], repeat=7)))
    null = np.array([np.abs(stats.ttest_1samp(f[:, None] * y, 0).statistic) for f in flips])
    observed = np.abs(stats.ttest_1samp(y, 0).statistic)
    assert result.exact
    assert result.n_permutations == 128
    np.testing.assert_allclose(result.p, (null >= observed - 1e-9).mean(axis=0))
    np.testing.assert_allclose(
        result.p_corrected, (null.max(axis=1)[:, None] >= observed - 1e-9).mean(axis=0)
    )


def test_freedman_lane_equals_a_slow_loop() -> None:
    n, treated = 20, np.arange(20) < 8
    covariate = rng(4).normal(size=(n, 2))
    y = rng(5).normal(size=(n, 2)) + covariate @ rng(6).normal(size=(2, 2)) + treated[:, None]
    contrast = mean_contrast(n, treated=treated, covariates=covariate)
    result = permutation_test(y, contrast, rng=rng(7), n_permutations=199)
    shuffled = rng(7).permuted(np.tile(np.arange(n), (199, 1)), axis=1)
    x = contrast.design
    reduced = x[:, 1:] @ np.linalg.lstsq(x[:, 1:], y, rcond=None)[0]
    hits = np.ones(2)
    for order in shuffled:
        again = reduced + (y - reduced)[order]
        hits += np.abs(_slow_welch(again, x, contrast.group)) >= np.abs(result.statistic) - 1e-9
    np.testing.assert_allclose(result.p, hits / 200)


def _slow_welch(y: np.ndarray, x: np.ndarray, group: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ y
    left = y - x @ beta
    leverage = 1 - np.einsum("ij,jk,ik->i", x, inverse, x)
    out = []
    for k in range(y.shape[1]):
        sigma = np.zeros(len(y))
        for g in (0, 1):
            sigma[group == g] = (left[group == g, k] ** 2).sum() / leverage[group == g].sum()
        covariance = inverse @ x.T @ np.diag(sigma) @ x @ inverse
        out.append(beta[0, k] / np.sqrt(covariance[0, 0]))
    return np.array(out)


@pytest.mark.parametrize("mean", [0.02, -0.02, -0.09, 0.4, -0.4])
def test_equivalence_equals_two_one_sided_t_tests(mean: float) -> None:
    y = rng(8).normal(mean, 0.1, (30, 1))
    result = permutation_test(y, mean_contrast(30), rng=rng(), n_permutations=50)
    low = stats.ttest_1samp(y[:, 0], -0.1, alternative="greater").pvalue
    high = stats.ttest_1samp(y[:, 0], 0.1, alternative="less").pvalue
    np.testing.assert_allclose(result.equivalence_p(0.1)[0], max(low, high), rtol=1e-9)


@pytest.mark.parametrize("arms", [None, 10])
@pytest.mark.parametrize("heavy", [False, True])
def test_false_positive_rate_is_nominal(arms: int | None, heavy: bool) -> None:
    generator = rng(9)
    hits, any_hits, n_studies = 0, 0, 400
    for _ in range(n_studies):
        y = generator.standard_t(3, (24, 4)) if heavy else generator.normal(size=(24, 4))
        treated = None if arms is None else np.arange(24) < arms
        contrast = mean_contrast(24, treated=treated, covariates=generator.normal(size=(24, 1)))
        result = permutation_test(y, contrast, rng=generator, n_permutations=99)
        hits += result.p[0] <= 0.05
        any_hits += (result.p_corrected <= 0.05).any()
    low, high = stats.binom.ppf([0.0005, 0.9995], n_studies, 0.05)
    assert low <= hits <= high
    assert low <= any_hits <= high


def test_false_positive_rate_is_nominal_with_unequal_variances_and_arms() -> None:
    generator = rng(10)
    treated, hits = np.arange(42) < 12, 0
    for _ in range(400):
        y = generator.normal(size=(42, 1)) * np.where(treated, 3.0, 1.0)[:, None]
        contrast = mean_contrast(42, treated=treated)
        hits += permutation_test(y, contrast, rng=generator, n_permutations=99).p[0] <= 0.05
    low, high = stats.binom.ppf([0.0005, 0.9995], 400, 0.05)
    assert low <= hits <= high


def test_simulated_effect_is_found_and_p_is_never_zero() -> None:
    y = rng(11).normal(size=(20, 3))
    y[:, 1] += 5
    result = permutation_test(y, mean_contrast(20), rng=rng(), n_permutations=200)
    assert result.p_corrected[1] == pytest.approx(1 / 201)
    assert (result.p_corrected[[0, 2]] > 0.05).all()


def test_sign_of_the_data_reverses_the_estimate_and_one_sided_tests() -> None:
    y = rng(12).normal(0.5, 1, (15, 1))
    up = permutation_test(y, mean_contrast(15), rng=rng(1), sides=["increase"])
    down = permutation_test(-y, mean_contrast(15), rng=rng(1), sides=["decrease"])
    wrong = permutation_test(-y, mean_contrast(15), rng=rng(1), sides=["increase"])
    assert up.estimate[0] == -down.estimate[0]
    assert up.p[0] == pytest.approx(down.p[0])
    assert wrong.p[0] > 0.5


def test_result_depends_on_the_seed_but_not_on_the_order_of_rows() -> None:
    y, treated = rng(13).normal(size=(16, 2)), np.arange(16) < 8
    first = permutation_test(y, mean_contrast(16, treated=treated), rng=rng(5))
    again = permutation_test(y, mean_contrast(16, treated=treated), rng=rng(5))
    np.testing.assert_array_equal(first.p, again.p)
    order = rng(6).permutation(16)
    turned = permutation_test(y[order], mean_contrast(16, treated=treated[order]), rng=rng(5))
    np.testing.assert_allclose(turned.statistic, first.statistic, atol=1e-12)
    np.testing.assert_allclose(turned.p, first.p, atol=0.03)


def test_excess_variance_widens_the_interval() -> None:
    y = rng(14).normal(1, 1, (20, 1))
    plain = permutation_test(y, mean_contrast(20), rng=rng(1))
    wide = permutation_test(y, mean_contrast(20), rng=rng(1), excess_variance=np.array([0.05]))
    assert wide.se[0] ** 2 == pytest.approx(plain.se[0] ** 2 + 0.05)
    assert wide.p[0] > plain.p[0]


def test_invalid_designs_are_refused() -> None:
    treated = np.arange(10) < 1
    with pytest.raises(DesignError, match="1 treated and 9 control"):
        mean_contrast(10, treated=treated)
    arm = np.arange(10) < 5
    with pytest.raises(DesignError, match="collinear"):
        mean_contrast(10, treated=arm, covariates=arm[:, None] * 2.0)
    with pytest.raises(DesignError, match="too few"):
        mean_contrast(5, covariates=rng().normal(size=(5, 3)))


def test_a_constant_covariate_has_no_effect() -> None:
    y = rng(15).normal(size=(12, 1))
    plain = permutation_test(y, mean_contrast(12), rng=rng(1))
    constant = mean_contrast(12, covariates=np.ones((12, 1)))
    np.testing.assert_array_equal(permutation_test(y, constant, rng=rng(1)).p, plain.p)


def test_permutations_of_small_arms_are_enumerated():
    y = np.random.default_rng(1).normal(size=(8, 2))
    treated = np.arange(8) < 3
    result = permutation_test(y, mean_contrast(8, treated=treated), rng=np.random.default_rng(0))
    assert result.exact
    assert result.n_permutations == 56


def test_a_score_is_tested_like_a_correlation():
    rng = np.random.default_rng(2)
    score, y = rng.normal(size=25), rng.normal(size=(25, 3))
    result = permutation_test(y, contrast_of(score), rng=rng, n_permutations=199)
    for k in range(3):
        r = np.corrcoef(score, y[:, k])[0, 1]
        np.testing.assert_allclose(result.statistic[k], r * np.sqrt(23 / (1 - r**2)), rtol=1e-9)


def test_the_monte_carlo_interval_contains_the_exact_p():
    y = np.random.default_rng(3).normal(0.4, 1, size=(11, 40))
    exact = permutation_test(y, mean_contrast(11), rng=np.random.default_rng(0))
    assert exact.exact
    drawn = permutation_test(y, mean_contrast(11), rng=np.random.default_rng(0), n_permutations=500)
    low, high = drawn.p_interval()
    assert not drawn.exact
    inside = (low <= exact.p) & (exact.p <= high)
    assert inside.mean() >= 0.85  # 95 % on average; the 40 variables share their sign flips
    np.testing.assert_array_equal(exact.p_interval(), [exact.p, exact.p])


def test_families_are_corrected_separately_and_share_relabellings():
    y = np.random.default_rng(5).normal(0.3, 1, size=(20, 6))
    contrast = mean_contrast(20)
    together = permutation_test(
        y, contrast, rng=np.random.default_rng(1), families=[np.arange(4), np.array([4, 5])]
    )
    for columns in (np.arange(4), np.array([4, 5])):
        alone = permutation_test(y[:, columns], contrast, rng=np.random.default_rng(1))
        np.testing.assert_array_equal(together.p_corrected[columns], alone.p_corrected)
        np.testing.assert_array_equal(together.p[columns], alone.p)


def test_single_precision_of_large_problems_does_not_change_p():
    y = np.random.default_rng(6).normal(size=(24, 4200))
    contrast = mean_contrast(24, treated=np.arange(24) < 10)
    seen = []
    large = permutation_test(
        y, contrast, rng=np.random.default_rng(1), n_permutations=5000, watch=seen.append
    )
    assert seen[0].dtype == np.float32
    some = permutation_test(y[:, :50], contrast, rng=np.random.default_rng(1), n_permutations=5000)
    np.testing.assert_allclose(large.p[:50], some.p, atol=2 / 5000)
    np.testing.assert_allclose(large.statistic[:50], some.statistic, rtol=1e-12)


# --- a covariate for each variable ---------------------------------------------------------------


def _trial(seed: int, n: int = 18) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return arm, a covariate, baselines and changes of three variables."""
    treated = np.arange(n) < n // 3
    before = rng(seed).normal(size=(n, 3))
    change = -0.5 * before + treated[:, None] * 0.7 + rng(seed + 1).normal(size=(n, 3))
    return treated, rng(seed + 2).normal(size=(n, 1)), before, change


@pytest.mark.parametrize("groups", [1, 2])
def test_own_covariates_equal_a_slow_loop(groups: int) -> None:
    n = 18
    treated, covariate, before, y = _trial(31)
    group = treated.astype(np.intp) if groups == 2 else None
    contrast = contrast_of(treated.astype(float), nuisance=covariate, group=group)
    own = contrast.with_own_columns(before)
    result = permutation_test(y, own, rng=rng(7), n_permutations=149)
    shuffled = rng(7).permuted(np.tile(np.arange(n), (149, 1)), axis=1)
    single, maxima = np.ones(3), np.ones(3)
    null = np.zeros((149, 3))
    observed = np.zeros(3)
    for k in range(3):
        x = np.column_stack([treated, np.ones(n), covariate, before[:, k]])
        z = x[:, 1:]
        fitted = z @ np.linalg.lstsq(z, y[:, k], rcond=None)[0]
        observed[k] = abs(_score(y[:, [k]], x, contrast.group))
        for row, order in enumerate(shuffled):
            again = fitted + (y[:, k] - fitted)[order]
            null[row, k] = abs(_score(again[:, None], x, contrast.group))
    single += (null >= observed - 1e-9).sum(axis=0)
    maxima += (null.max(axis=1)[:, None] >= observed - 1e-9).sum(axis=0)
    np.testing.assert_allclose(result.p, single / 150)
    np.testing.assert_allclose(result.p_corrected, maxima / 150)


def _score(y: np.ndarray, x: np.ndarray, group: np.ndarray) -> float:
    """Return t, or with two groups the normal score of Welch's t, by plain formulas."""
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ y
    left = (y - x @ beta)[:, 0]
    free = 1 - np.einsum("ij,jk,ik->i", x, inverse, x)
    weight = (inverse @ x.T)[0] ** 2
    parts, dfs = [], []
    for g in np.unique(group):
        inside = group == g
        dfs.append(free[inside].sum())
        parts.append(weight[inside].sum() * (left[inside] ** 2).sum() / dfs[-1])
    t = float(beta[0, 0] / np.sqrt(sum(parts)))
    if len(parts) == 1:
        return t
    df = sum(parts) ** 2 / sum(v**2 / f for v, f in zip(parts, dfs, strict=True))
    return float(np.sign(t) * (8 * df + 1) / (8 * df + 3) * np.sqrt(df * np.log1p(t * t / df)))


@pytest.mark.parametrize("arms", [True, False])
def test_the_same_covariate_for_all_variables_equals_a_shared_covariate(arms: bool) -> None:
    treated, covariate, _, y = _trial(41)
    interest = treated.astype(float) if arms else rng(3).normal(size=18)
    group = treated.astype(np.intp)
    shared = contrast_of(interest, nuisance=covariate, group=group)
    own = contrast_of(interest, group=group).with_own_columns(np.repeat(covariate, 3, axis=1))
    first = permutation_test(y, shared, rng=rng(1), n_permutations=300, sides=["increase"] * 3)
    second = permutation_test(y, own, rng=rng(1), n_permutations=300, sides=["increase"] * 3)
    for name in ("estimate", "se", "df", "ci_low", "ci_high", "statistic", "p", "p_corrected"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-9)
    np.testing.assert_allclose(first.maxima[0], second.maxima[0], rtol=1e-9)


def test_sign_flips_with_own_covariates_equal_a_shared_covariate() -> None:
    _, covariate, _, y = _trial(43)
    shared = contrast_of(np.ones(18), nuisance=covariate, flips=True)
    own = contrast_of(np.ones(18), flips=True).with_own_columns(np.repeat(covariate, 3, axis=1))
    first = permutation_test(y, shared, rng=rng(1), n_permutations=300)
    second = permutation_test(y, own, rng=rng(1), n_permutations=300)
    np.testing.assert_allclose(first.p_corrected, second.p_corrected)
    np.testing.assert_allclose(first.statistic, second.statistic)


def test_own_covariates_with_sites_move_participants_within_sites_only() -> None:
    treated, _, before, y = _trial(47)
    sites = np.arange(18) % 2
    shared = contrast_of(treated.astype(float), nuisance=before[:, :1], blocks=sites)
    own = contrast_of(treated.astype(float), blocks=sites).with_own_columns(before[:, [0, 0]])
    first = permutation_test(y[:, :2], shared, rng=rng(1), n_permutations=200)
    second = permutation_test(y[:, :2], own, rng=rng(1), n_permutations=200)
    np.testing.assert_allclose(first.p, second.p)


def test_a_variable_that_its_covariate_explains_completely_has_no_p_below_one() -> None:
    treated, _, before, y = _trial(53)
    y[:, 1] = 2 * before[:, 1]
    own = contrast_of(treated.astype(float)).with_own_columns(before)
    result = permutation_test(y, own, rng=rng(1), n_permutations=99)
    assert np.isfinite(result.p).all()
    assert result.p_corrected[1] > 0.05


@pytest.mark.parametrize("n_arm", [5, 15])
def test_false_positive_rate_with_own_covariates_is_nominal(n_arm: int) -> None:
    generator, hits, any_hits = rng(59), 0, 0
    treated = np.arange(2 * n_arm) < n_arm
    for _ in range(400):
        before = generator.normal(size=(2 * n_arm, 4))
        change = -0.6 * before + generator.normal(size=before.shape) * (1 + treated[:, None])
        own = mean_contrast(2 * n_arm, treated=treated).with_own_columns(before)
        result = permutation_test(change, own, rng=generator, n_permutations=99)
        hits += result.p[0] <= 0.05
        any_hits += (result.p_corrected <= 0.05).any()
    low, high = stats.binom.ppf([0.0005, 0.9995], 400, 0.05)
    assert low <= hits <= high
    assert low <= any_hits <= high


@pytest.mark.parametrize(
    ("contrast", "sides", "expected"),
    [
        (mean_contrast(5), None, 2 / 32),
        (mean_contrast(5), ["increase"], 1 / 32),
        (mean_contrast(6, treated=np.arange(6) < 3), None, 2 / 20),
        (mean_contrast(7, treated=np.arange(7) < 3), None, 1 / 35),
        (
            mean_contrast(8, treated=np.arange(8) % 2 == 0, blocks=np.arange(8) // 4),
            None,
            2 / 36,
        ),
        (mean_contrast(40), None, 1 / 200),
    ],
)
def test_smallest_p_is_that_of_the_largest_effect(contrast, sides, expected: float) -> None:
    n = len(contrast.design)
    large = 10 * (contrast.design[:, [0]] if not contrast.exchange.flips else np.ones((n, 1)))
    y = large + rng(61).normal(size=(n, 1)) * 0.1
    result = permutation_test(y, contrast, rng=rng(1), n_permutations=199, sides=sides)
    assert result.smallest_p[0] == pytest.approx(expected)
    assert result.p[0] == pytest.approx(expected)
