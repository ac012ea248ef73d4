"""Sums over participants: comparison with plain loops, and missing values."""

import numpy as np
import pytest

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.regression.sums import (
    Healthy,
    Own,
    Parts,
    PatientSums,
    chunks,
    own_columns,
)

N_EDGES = 66


@pytest.fixture(scope="module")
def sample() -> CentredFeatures:
    rng = np.random.default_rng(0)
    baseline = rng.normal(0.3, 0.2, (40, N_EDGES))
    baseline[3, 20:30] = np.nan
    reference = rng.normal(0.3, 0.2, (6, N_EDGES))
    reference[:4, 50] = np.nan
    return CentredFeatures.from_values(
        change=rng.normal(0, 0.1, (30, N_EDGES)),
        baseline=baseline[:30],
        baseline_only=baseline[30:],
        circuits={"c": np.arange(4)},
        features=FeatureSpace.of_edges(12),
        reference=reference,
    )


def test_sums_over_chunks_equal_sums_over_all_patients(sample: CentredFeatures) -> None:
    sums = PatientSums.of(sample)
    assert sums.names == ("m", "h", "w")
    rows = np.stack([sample.columns()[name][:].residual for name in sums.names], axis=1)
    assert rows.shape == (40, 3, N_EDGES)
    np.testing.assert_array_equal(sums.count, np.isfinite(rows[:, 0]).sum(axis=0))
    np.testing.assert_allclose(sums.totals, np.nansum(rows, axis=0), atol=1e-12)
    products = np.nansum(rows[:, :, None] * rows[:, None], axis=0)
    np.testing.assert_allclose(sums.squares, products, atol=1e-12)
    fixed = sum(sample.columns()["w"].fixed)
    np.testing.assert_allclose(sums.fixed[2], fixed)
    assert sums.n_participants == 40


def test_own_columns_are_0_where_missing(sample: CentredFeatures) -> None:
    own = own_columns(sample, np.array([3, 5]))
    assert not own.available[0, 20:30].any()
    assert (own.columns[0, :, 20:30] == 0).all()
    assert own.available[1].all()
    np.testing.assert_array_equal(own.columns[1, 0], sample.baseline[5:6].residual[0])
    selected: Own = own.of(slice(1, 2))
    np.testing.assert_array_equal(selected.columns, own.columns[1:])


def test_the_square_of_the_reference_is_that_of_pairs(sample: CentredFeatures) -> None:
    healthy = Healthy.of(sample.reference)
    z = sample.reference[:].residual
    pairs = [a * b for j, a in enumerate(z) for k, b in enumerate(z) if j != k]
    np.testing.assert_allclose(healthy.square[:50], np.mean(pairs, axis=0)[:50])
    np.testing.assert_allclose(healthy.mean[:50], z.mean(axis=0)[:50])
    assert np.isnan(healthy.mean[50])  # two participants are too few


def test_parts_can_overlap_and_be_empty() -> None:
    values = np.arange(12.0).reshape(2, 6)
    parts = Parts((np.array([0, 2]), np.array([], int), np.array([2, 3, 5])))
    assert len(parts) == 3
    np.testing.assert_array_equal(parts.sums(values), [[2, 0, 10], [14, 0, 28]])
    assert Parts(()).sums(values).shape == (2, 0)


def test_chunks_contain_each_row_once() -> None:
    for n_rows, n_features in ((100, 10), (7, 10_000_000), (0, 5)):
        found = [k for rows in chunks(n_rows, n_features) for k in range(n_rows)[rows]]
        assert found == list(range(n_rows))
