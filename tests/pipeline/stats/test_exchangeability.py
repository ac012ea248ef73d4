"""Relabellings: what may change places, enumeration, blocks."""

from itertools import permutations, product

import numpy as np
import pytest

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.stats.exchangeability import Exchange
from circuitshift.pipeline.stats.permutation import contrast_of, mean_contrast, permutation_test


def labels(exchange, rows):
    """What each relabelling makes of the kinds."""
    return {tuple(exchange.kinds[np.argsort(row)]) for row in rows}


@pytest.mark.parametrize("kinds", [[0, 0, 1, 1, 1], [0, 1, 2, 2], [3, 1, 3, 1, 3, 1], [0, 0, 0]])
def test_enumeration_holds_every_different_labelling_once(kinds):
    exchange = Exchange(np.array(kinds), flips=False)
    rows, exact = exchange.draw(1000, np.random.default_rng(0))
    assert exact
    assert len(rows) == exchange.count() == len(set(permutations(kinds)))
    assert labels(exchange, rows) == set(permutations(kinds))
    assert all(sorted(row) == list(range(len(kinds))) for row in rows.tolist())


def test_enumeration_within_blocks():
    kinds, blocks = np.array([0, 1, 1, 0, 1]), np.array([0, 0, 0, 7, 7])
    exchange = Exchange(kinds, flips=False, blocks=blocks)
    rows, exact = exchange.draw(100, np.random.default_rng(0))
    assert exact
    expected = {(*a, *b) for a in set(permutations([0, 1, 1])) for b in set(permutations([0, 1]))}
    assert labels(exchange, rows) == expected
    assert len(rows) == len(expected) == exchange.count()


def test_random_permutations_stay_within_blocks():
    blocks = np.repeat([0, 1, 2], 8)
    exchange = Exchange(np.arange(24), flips=False, blocks=blocks)
    rows, exact = exchange.draw(50, np.random.default_rng(0))
    assert not exact
    assert (blocks[rows] == blocks).all()
    assert len(np.unique(rows, axis=0)) == 50


def test_whole_blocks_flip_together():
    blocks = np.array([0, 1, 0, 1, 2])
    exchange = Exchange(np.zeros(5, int), flips=True, blocks=blocks, whole=True)
    rows, exact = exchange.draw(100, np.random.default_rng(0))
    assert exact
    expected = {(a, b, a, b, c) for a, b, c in product([1, -1], repeat=3)}
    assert {tuple(row) for row in rows.tolist()} == expected
    many = Exchange(np.zeros(60, int), True, np.repeat(np.arange(30), 2), whole=True)
    drawn, exact = many.draw(20, np.random.default_rng(0))
    assert not exact
    assert (drawn[:, ::2] == drawn[:, 1::2]).all()


def test_whole_blocks_of_equal_size_change_places():
    blocks = np.array([0, 0, 1, 1, 2, 2, 3])
    kinds = np.array([0, 0, 1, 1, 1, 1, 0])
    exchange = Exchange(kinds, flips=False, blocks=blocks, whole=True)
    rows, exact = exchange.draw(100, np.random.default_rng(0))
    assert exact
    assert len(rows) == exchange.count() == 3
    assert (rows[:, 6] == 6).all()
    assert (np.diff(rows[:, [0, 2, 4]].tolist(), axis=1) != 0).all()
    drawn = Exchange(np.arange(40), False, np.repeat(np.arange(20), 2), whole=True)
    rows, exact = drawn.draw(10, np.random.default_rng(0))
    assert not exact
    assert (rows[:, 1::2] - rows[:, ::2] == 1).all()


def test_what_cannot_be_exchanged():
    with pytest.raises(DesignError, match="no two blocks have the same size"):
        Exchange(np.zeros(3, int), False, np.array([0, 0, 1]), whole=True)
    with pytest.raises(DesignError, match="2 block labels for 3 people"):
        Exchange(np.zeros(3, int), False, np.array([0, 1]))
    with pytest.raises(DesignError, match="when blocks are given"):
        Exchange(np.zeros(3, int), True, whole=True)


def test_few_labellings_of_two_arms_are_enumerated():
    y = np.random.default_rng(1).normal(size=(8, 2))
    treated = np.arange(8) < 3
    result = permutation_test(y, mean_contrast(8, treated=treated), rng=np.random.default_rng(0))
    assert result.exact
    assert result.n_permutations == 56


def test_sites_as_blocks_hold_their_level_when_sites_differ():
    """Sites with other arms and other levels: free exchange rejects, exchange within does not."""
    rng = np.random.default_rng(4)
    site = np.repeat([0, 1], 20)
    treated = np.r_[np.arange(20) < 16, np.arange(20) < 4]
    hits = np.zeros(2)
    for _ in range(200):
        y = rng.normal(size=(40, 1)) + 2.0 * site[:, None]
        for k, blocks in enumerate((None, site)):
            contrast = mean_contrast(40, treated=treated, blocks=blocks)
            result = permutation_test(y, contrast, rng=rng, n_permutations=99)
            hits[k] += result.p[0] <= 0.05
    assert hits[0] > 150
    assert hits[1] <= 20  # 99.9 % bound of a binomial with p = .05


def test_a_score_is_tested_like_a_correlation():
    rng = np.random.default_rng(2)
    score, y = rng.normal(size=25), rng.normal(size=(25, 3))
    result = permutation_test(y, contrast_of(score), rng=rng, n_permutations=199)
    for k in range(3):
        r = np.corrcoef(score, y[:, k])[0, 1]
        np.testing.assert_allclose(result.statistic[k], r * np.sqrt(23 / (1 - r**2)), rtol=1e-9)


def test_the_monte_carlo_interval_holds_the_exact_p():
    y = np.random.default_rng(3).normal(0.4, 1, size=(11, 40))
    exact = permutation_test(y, mean_contrast(11), rng=np.random.default_rng(0))
    assert exact.exact
    drawn = permutation_test(y, mean_contrast(11), rng=np.random.default_rng(0), n_permutations=500)
    low, high = drawn.p_interval()
    assert not drawn.exact
    inside = (low <= exact.p) & (exact.p <= high)
    assert inside.mean() >= 0.85  # 95 % on average, the 40 variables share their flips
    np.testing.assert_array_equal(exact.p_interval(), [exact.p, exact.p])


def test_families_are_corrected_apart_and_share_relabellings():
    y = np.random.default_rng(5).normal(0.3, 1, size=(20, 6))
    contrast = mean_contrast(20)
    together = permutation_test(
        y, contrast, rng=np.random.default_rng(1), families=[np.arange(4), np.array([4, 5])]
    )
    for columns in (np.arange(4), np.array([4, 5])):
        alone = permutation_test(y[:, columns], contrast, rng=np.random.default_rng(1))
        np.testing.assert_array_equal(together.p_corrected[columns], alone.p_corrected)
        np.testing.assert_array_equal(together.p[columns], alone.p)


def test_single_precision_of_large_problems_changes_no_p():
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
