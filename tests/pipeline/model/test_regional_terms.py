"""Regional terms: comparison with least squares with two columns for each region."""

import numpy as np

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.regional_terms import RegionalTerms


def test_equals_least_squares_with_a_level_and_a_gain_of_each_region() -> None:
    rng = np.random.default_rng(0)
    n = 14
    i, j = np.triu_indices(n, 1)
    strength = rng.normal(0.3, 0.3, i.size)
    used = rng.random(i.size) < 0.8
    level, gain = rng.normal(0, 0.1, n), rng.normal(0, 0.3, n)
    values = level[i] + level[j] + (gain[i] + gain[j]) * strength + rng.normal(0, 0.05, i.size)
    ends = np.zeros((i.size, n))
    ends[np.arange(i.size), i] = ends[np.arange(i.size), j] = 1
    x = np.hstack([ends, ends * strength[:, None]])
    beta = np.linalg.lstsq(x[used], values[used], rcond=None)[0]
    terms = RegionalTerms.of(strength, used, FeatureSpace.of_edges(n))
    fitted = terms.on_edges(terms.solve(terms.sums(values[None])))[0]
    np.testing.assert_allclose(fitted, x @ beta, atol=1e-5)


def test_a_region_without_edges_and_missing_strength() -> None:
    """Terms of a region without usable edges are 0; edges of missing strength have no fit."""
    rng = np.random.default_rng(1)
    n = 10
    i, j = np.triu_indices(n, 1)
    strength = rng.normal(0.3, 0.2, i.size)
    strength[0] = np.nan
    of_last = j == n - 1
    used = ~of_last & np.isfinite(strength)
    level = rng.normal(0, 0.1, n)
    level[-1] = 0.0
    values = level[i] + level[j]
    terms = RegionalTerms.of(strength, used, FeatureSpace.of_edges(n))
    fitted = terms.on_edges(terms.solve(terms.sums(values[None])))[0]
    assert np.isnan(fitted[0])
    np.testing.assert_allclose(fitted[1:], values[1:], atol=1e-5)
