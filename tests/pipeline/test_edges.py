"""Edges of regional time series, compared with numpy and nilearn."""

import numpy as np
import pytest

from circuitshift.pipeline import edges as c
from circuitshift.pipeline.errors import TooLittleDataError


@pytest.fixture
def series() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(80, 6)) + rng.normal(size=(80, 1))


def test_edges_are_arctanh_of_numpy_correlations(series: np.ndarray) -> None:
    expected = np.arctanh(np.corrcoef(series.T)[np.triu_indices(6, 1)])
    np.testing.assert_allclose(c.edges(series), expected, atol=1e-12)


@pytest.mark.parametrize("r", [-0.999, -0.95, -0.91, 0.0, 0.905, 0.95, 0.99, 0.9999])
def test_strong_correlations_keep_their_fisher_z(r: float) -> None:
    z = np.log((1 + r) / (1 - r)) / 2
    assert c.fisher_z(r) == pytest.approx(z, rel=1e-12)
    # two series with exactly this correlation
    first, second = np.array([1.0, -1, 1, -1]), np.array([1.0, 1, -1, -1])
    pair = np.column_stack([first, r * first + np.sqrt(1 - r**2) * second])
    assert c.edges(pair)[0] == pytest.approx(z, abs=1e-9)


def test_identical_series_have_a_finite_fisher_z() -> None:
    z = c.fisher_z([1.0, -1.0])
    assert np.isfinite(z).all()
    assert (np.abs(z) > 7).all()


def test_a_missing_region_is_nan_and_does_not_change_other_edges(series: np.ndarray) -> None:
    complete = c.to_matrix(c.edges(series), 6)
    series[:, 2] = np.nan
    series[:, 4] = 7.0  # without variance
    missing = c.to_matrix(c.edges(series), 6)
    kept = [0, 1, 3, 5]
    np.testing.assert_allclose(
        missing[np.ix_(kept, kept)], complete[np.ix_(kept, kept)], atol=1e-12
    )
    assert np.isnan(missing[2, kept]).all()
    assert np.isnan(missing[4, kept]).all()


def test_partial_correlation_equals_nilearn(series: np.ndarray) -> None:
    from nilearn.connectome import ConnectivityMeasure

    reference = ConnectivityMeasure(kind="partial correlation", standardize="zscore_sample")
    np.testing.assert_allclose(
        c.correlation(series, "partial"),
        _with_ones(reference.fit_transform([series])[0]),
        atol=0.02,
    )


def _with_ones(matrix: np.ndarray) -> np.ndarray:
    np.fill_diagonal(matrix, 1.0)
    return matrix


def test_tangent_edges_of_a_missing_region_are_nan(series: np.ndarray) -> None:
    from nilearn.connectome import ConnectivityMeasure

    other = np.random.default_rng(1).normal(size=(90, 6))
    other[:, 3] = np.nan
    out = c.tangent_edges([series, other])
    kept = [0, 1, 2, 4, 5]
    measure = ConnectivityMeasure(kind="tangent", standardize="zscore_sample")
    expected = measure.fit_transform([series[:, kept], other[:, kept]])
    for row, matrix in zip(out, expected, strict=True):
        full = c.to_matrix(row, 6)
        assert np.isnan(full[3, kept]).all()
        np.testing.assert_allclose(
            c.from_matrix(full[np.ix_(kept, kept)]), c.from_matrix(matrix), atol=1e-12
        )


def test_matrix_round_trip_and_refusals() -> None:
    z = np.arange(10.0)
    np.testing.assert_array_equal(c.from_matrix(c.to_matrix(z, 5)), z)
    with pytest.raises(ValueError, match="6 regions have 15 edges"):
        c.to_matrix(z, 6)
    with pytest.raises(TooLittleDataError, match="3 volumes"):
        c.correlation(np.ones((3, 4)))


def test_distances_are_nan_where_a_centre_is_unknown() -> None:
    centres = np.array([[0, 0, 0], [3, 4, 0], [np.nan] * 3])
    length = c.distances(centres)
    assert length[0] == 5
    assert np.isnan(length[1:]).all()
