"""Means where edges are missing, for any number of participants at a time."""

import numpy as np
import pytest

from circuitshift.pipeline.stats import missing_values


@pytest.fixture
def values():
    """Of 130 participants, so that blocks are more than one; a tenth of the edges is missing."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(130, 12))
    z[rng.random(z.shape) < 0.1] = np.nan
    return z


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
