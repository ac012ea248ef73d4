"""NaN-aware means over participants and features, in blocks of participants."""

import numpy as np
import pytest

from circuitshift.pipeline.stats import missing_values
from circuitshift.pipeline.stats.missing_values import (
    available_in_all,
    blocks,
    circuit_means,
    column_mean,
    nan_mean,
)


@pytest.fixture
def values():
    """Return values of 130 participants, which need several blocks; a tenth is missing."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(130, 12))
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


@pytest.mark.parametrize("n", [0, 1, 64, 65, 130])
def test_blocks_contain_each_participant_once(n):
    rows = np.arange(n)
    parts = [rows[block] for block in blocks(n)]
    assert [row for part in parts for row in part] == rows.tolist()
    assert all(0 < len(part) <= 64 for part in parts)


def test_a_circuit_needs_more_than_half_of_its_features():
    values = np.arange(1.0, 9.0) * np.ones((5, 1))
    for row, n_missing in enumerate((0, 3, 4, 7, 8)):
        values[row, :n_missing] = np.nan
    means = circuit_means(values, {"c": np.arange(8)})[:, 0]
    np.testing.assert_allclose(means, [4.5, 6.0, np.nan, np.nan, np.nan])


def test_circuits_are_columns_in_their_order():
    values = np.arange(12.0).reshape(2, 6)
    means = circuit_means(values, {"late": np.array([4, 5]), "early": np.array([0])})
    np.testing.assert_array_equal(means, [[4.5, 0.0], [10.5, 6.0]])
    assert circuit_means(values, {}).shape == (2, 0)


def test_means_are_those_of_available_values(values):
    np.testing.assert_allclose(column_mean(values), np.nanmean(values, axis=0))
    np.testing.assert_allclose(nan_mean(values, np.arange(12)), np.nanmean(values, axis=1))
    mask = np.arange(12) < 5
    np.testing.assert_array_equal(nan_mean(values, mask), nan_mean(values, np.flatnonzero(mask)))


def test_column_mean_accepts_blocks_and_replaces_empty_columns(values):
    parts = (values[block] for block in blocks(len(values)))
    np.testing.assert_array_equal(column_mean(parts), column_mean(values))
    empty = np.full((3, 2), np.nan)
    assert np.isnan(column_mean(empty)).all()
    np.testing.assert_array_equal(column_mean(empty, unknown=0.0), [0, 0])


def test_available_in_all_considers_each_group(values):
    complete = np.zeros((70, 12))
    complete[69, 3] = np.nan
    available = available_in_all(np.zeros((2, 12)), complete)
    np.testing.assert_array_equal(available, np.arange(12) != 3)
    assert not available_in_all(values).any()


def test_a_circuit_needs_more_than_half_of_its_edges():
    z = np.arange(1.0, 9.0) * np.ones((5, 1))
    for row, n_lost in enumerate((0, 3, 4, 7, 8)):
        z[row, :n_lost] = np.nan
    found = missing_values.circuit_means(z, {"c": np.arange(8)})[:, 0]
    np.testing.assert_allclose(found, [4.5, 6.0, np.nan, np.nan, np.nan])


def test_means_are_those_of_what_is_available(values):
    np.testing.assert_allclose(missing_values.column_mean(values), np.nanmean(values, axis=0))
    np.testing.assert_allclose(
        missing_values.nan_mean(values, np.arange(12)), np.nanmean(values, axis=1)
    )
    empty = np.full((3, 2), np.nan)
    assert np.isnan(missing_values.column_mean(empty)).all()
    np.testing.assert_array_equal(missing_values.column_mean(empty, unknown=0.0), [0, 0])


def test_available_in_all_is_so_in_every_group(values):
    whole = np.zeros((70, 12))
    whole[69, 3] = np.nan
    found = missing_values.available_in_all(np.zeros((2, 12)), whole)
    np.testing.assert_array_equal(found, np.arange(12) != 3)
    assert not missing_values.available_in_all(values).any()
