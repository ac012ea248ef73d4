"""Regional terms against least squares with one column for each region."""

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
    found = RegionalTerms.of(strength, used, FeatureSpace.of_edges(n)).part(values[None])[0]
    np.testing.assert_allclose(found, x @ beta, atol=1e-5)
