from itertools import product

import numpy as np
import pytest
from scipy import stats

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.heterogeneity.random_effects import (
    Background,
    random_effects_test,
)
from circuitshift.pipeline.model.heterogeneity.variance import BlockErrors, moment_tau
from circuitshift.pipeline.stats.linear_contrast import mean_contrast
from circuitshift.pipeline.stats.permutation import permutation_test

B, K = 16, 3


def background(values: np.ndarray) -> Background:
    n_blocks = values.shape[1]
    return Background(values, np.zeros(n_blocks), np.ones(n_blocks))


def draw(seed, *, n=24, tau=0.0, treated=None, effect=0.0, noise=0.2):
    rng = np.random.default_rng(seed)
    y = rng.normal(0, noise, (n, B + K)) + rng.normal(0, noise / 2, (n, 1))
    delta = rng.normal(0, tau, B + K)
    delta[B] += effect
    y[treated if treated is not None else slice(None)] += delta
    return y[:, :B], y[:, B:]


def run(blocks, circuits, contrast, seed=1, **more):
    rng = np.random.default_rng(seed)
    return random_effects_test(circuits, background(blocks), contrast, rng=rng, **more)


def test_the_statistic_is_the_estimate_over_both_variances():
    blocks, circuits = draw(0, tau=0.1)
    n = len(blocks)
    found = run(blocks, circuits, mean_contrast(n), n_permutations=99)
    s, v = blocks.mean(axis=0), blocks.var(axis=0, ddof=1) / n
    errors = BlockErrors.of(blocks - s, n - 1)
    tau = moment_tau(s, v, errors)
    assert found.tau2 == pytest.approx(float(tau.value))
    assert found.tau2 > 0
    se2 = circuits.var(axis=0, ddof=1) / n
    total = se2 + float(tau.value)
    df = total**2 / (se2**2 / (n - 1) + float(tau.variance) / 2)
    assert found.circuits.estimate == pytest.approx(circuits.mean(axis=0))
    assert found.circuits.se == pytest.approx(np.sqrt(total))
    assert found.circuits.df == pytest.approx(df)
    half = stats.t.ppf(0.975, df) * np.sqrt(total)
    assert found.circuits.ci_high == pytest.approx(circuits.mean(axis=0) + half)


def test_a_homogeneous_background_leaves_the_plain_test():
    blocks, circuits = draw(3)
    blocks = blocks - blocks.mean(axis=0)  # no block changes at all: tau^2 is 0
    contrast = mean_contrast(len(blocks))
    found = run(blocks, circuits, contrast, n_permutations=199)
    plain = permutation_test(
        np.hstack([blocks, circuits]),
        contrast,
        rng=np.random.default_rng(1),
        n_permutations=199,
        families=[np.arange(B), B + np.arange(K)],
    )
    assert found.tau2 == 0
    for name in ("estimate", "se", "df", "ci_low", "statistic"):
        expected = getattr(plain, name)[B:]
        assert getattr(found.circuits, name) == pytest.approx(expected), name
    # relabelled statistics are divided by their own tau^2, so that p can only become smaller
    assert (found.circuits.p <= plain.p[B:] + 1e-12).all()


def test_all_sign_flips_match_a_plain_loop():
    blocks, circuits = draw(5, n=7, tau=0.2)
    n = 7
    found = run(blocks, circuits, mean_contrast(n), n_permutations=200)
    assert found.circuits.exact
    y = np.hstack([blocks, circuits])
    correlations = BlockErrors.of(blocks - blocks.mean(axis=0), n - 1)

    def scores(values):
        s, v = values.mean(axis=0), values.var(axis=0, ddof=1) / n
        tau = moment_tau(s[:B], v[:B], correlations)
        total = v[B:] + tau.value
        uncertain = tau.variance if tau.value > 0 else 0.0
        df = total**2 / (v[B:] ** 2 / (n - 1) + uncertain / 2)
        t = s[B:] / np.sqrt(total)
        return np.abs((8 * df + 1) / (8 * df + 3) * np.sqrt(df * np.log1p(t**2 / df)))

    null = np.array([scores(y * np.array(signs)[:, None]) for signs in product((1, -1), repeat=n)])
    observed = scores(y)
    p = (null >= observed - 1e-9).mean(axis=0)
    corrected = (null.max(axis=1)[:, None] >= observed - 1e-9).mean(axis=0)
    assert found.circuits.p == pytest.approx(p)
    assert found.circuits.p_corrected == pytest.approx(corrected)
    assert found.circuits.n_permutations == 2**n


@pytest.mark.parametrize("arms", [None, (24, 12)])
@pytest.mark.parametrize("tau", [0.0, 0.15])
def test_circuits_that_change_like_blocks_are_rarely_called_different(tau, arms):
    hits, plain_hits = [], []
    for seed in range(60):
        n = 24 if arms is None else sum(arms)
        treated = None if arms is None else np.arange(n) < arms[0]
        blocks, circuits = draw(seed, n=n, tau=tau, treated=treated)
        contrast = mean_contrast(n, treated=treated)
        found = run(blocks, circuits, contrast, n_permutations=199)
        hits.append((found.circuits.p_corrected < 0.05).any())
        rng = np.random.default_rng(1)
        plain = permutation_test(circuits, contrast, rng=rng, n_permutations=199)
        plain_hits.append((plain.p_corrected < 0.05).any())
    assert np.mean(hits) < 0.15
    if tau:
        assert np.mean(plain_hits) > 0.4


def test_a_circuit_that_changes_more_than_blocks_is_found():
    blocks, circuits = draw(1, tau=0.03, effect=0.5)
    found = run(blocks, circuits, mean_contrast(len(blocks)), n_permutations=999)
    assert found.circuits.p_corrected[0] < 0.01
    assert found.circuits.p_corrected[1:].min() > 0.05


def test_sides_and_own_designs():
    n = 20
    treated = np.arange(n) < 10
    blocks, circuits = draw(2, n=n, treated=treated, effect=0.6)
    contrast = mean_contrast(n, treated=treated)
    up = run(blocks, circuits, contrast, sides=["increase"] * K, n_permutations=499)
    down = run(blocks, circuits, contrast, sides=["decrease"] * K, n_permutations=499)
    assert up.circuits.p[0] < 0.01
    assert down.circuits.p[0] > 0.9
    same = run(blocks, circuits, [contrast] * (B + K), n_permutations=499)
    two = run(blocks, circuits, contrast, n_permutations=499)
    assert same.circuits.p_corrected == pytest.approx(two.circuits.p_corrected)
    assert same.tau2 == pytest.approx(two.tau2)


def test_a_test_with_a_side_may_reach_half_the_smallest_p():
    """All signs flipped reverse the direction, which a one-sided test does not count."""
    blocks, circuits = draw(0, n=6)
    sides = ["two-sided", "increase", "decrease"]
    found = run(blocks, circuits, mean_contrast(6), sides=sides, n_permutations=99)
    assert found.circuits.smallest_p == pytest.approx([2 / 64, 1 / 64, 1 / 64])


def test_the_multiple_of_tau_widens_the_standard_error():
    blocks, circuits = draw(0, tau=0.1)
    contrast = mean_contrast(len(blocks))
    one = run(blocks, circuits, contrast, n_permutations=99)
    more = run(blocks, circuits, contrast, n_permutations=99, multiple=np.array([1.0, 1.5, 2.0]))
    difference = more.circuits.se**2 - one.circuits.se**2
    assert difference == pytest.approx(one.tau2 * np.array([0.0, 0.5, 1.0]))


def test_few_blocks_are_refused():
    blocks, circuits = draw(0)
    with pytest.raises(DesignError, match="at least 6 blocks"):
        run(blocks[:, :5], circuits, mean_contrast(len(blocks)))
