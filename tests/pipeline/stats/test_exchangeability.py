"""Relabellings: enumeration, blocks and invalid designs."""

from itertools import permutations, product

import numpy as np
import pytest

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.stats.exchangeability import Exchange
from circuitshift.pipeline.stats.permutation import mean_contrast, permutation_test


def labels(exchange, rows):
    """Return the kinds in the order of each relabelling."""
    return {tuple(exchange.kinds[np.argsort(row)]) for row in rows}


@pytest.mark.parametrize("kinds", [[0, 0, 1, 1, 1], [0, 1, 2, 2], [3, 1, 3, 1, 3, 1], [0, 0, 0]])
def test_enumeration_contains_each_distinct_labelling_once(kinds):
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


def test_random_signs_are_one_and_minus_one():
    rows, exact = Exchange(np.zeros(60, int), flips=True).draw(200, np.random.default_rng(0))
    assert not exact
    assert set(np.unique(rows)) == {-1, 1}
    assert abs(rows.mean()) < 4 / np.sqrt(rows.size)


def test_whole_blocks_flip_together():
    blocks = np.array([0, 1, 0, 1, 2])
    exchange = Exchange(np.zeros(5, int), flips=True, blocks=blocks, whole_blocks=True)
    rows, exact = exchange.draw(100, np.random.default_rng(0))
    assert exact
    expected = {(a, b, a, b, c) for a, b, c in product([1, -1], repeat=3)}
    assert {tuple(row) for row in rows.tolist()} == expected
    many = Exchange(np.zeros(60, int), True, np.repeat(np.arange(30), 2), whole_blocks=True)
    drawn, exact = many.draw(20, np.random.default_rng(0))
    assert not exact
    assert (drawn[:, ::2] == drawn[:, 1::2]).all()


def test_whole_blocks_of_equal_size_are_exchanged():
    blocks = np.array([0, 0, 1, 1, 2, 2, 3])
    kinds = np.array([0, 0, 1, 1, 1, 1, 0])
    exchange = Exchange(kinds, flips=False, blocks=blocks, whole_blocks=True)
    rows, exact = exchange.draw(100, np.random.default_rng(0))
    assert exact
    assert len(rows) == exchange.count() == 3
    assert (rows[:, 6] == 6).all()
    assert (np.diff(rows[:, [0, 2, 4]].tolist(), axis=1) != 0).all()
    drawn = Exchange(np.arange(40), False, np.repeat(np.arange(20), 2), whole_blocks=True)
    rows, exact = drawn.draw(10, np.random.default_rng(0))
    assert not exact
    assert (rows[:, 1::2] - rows[:, ::2] == 1).all()


def test_invalid_blocks_are_refused():
    with pytest.raises(DesignError, match="no two blocks have the same size"):
        Exchange(np.zeros(3, int), False, np.array([0, 0, 1]), whole_blocks=True)
    with pytest.raises(DesignError, match="2 block labels for 3 participants"):
        Exchange(np.zeros(3, int), False, np.array([0, 1]))
    with pytest.raises(DesignError, match="when blocks are given"):
        Exchange(np.zeros(3, int), True, whole_blocks=True)


def test_false_positive_rate_is_nominal_within_sites_that_differ():
    """When arms and levels differ between sites, unrestricted exchange rejects too often."""
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
