"""What the global model is fitted to: the law of signal-to-noise, fixed columns, background."""

import numpy as np
import pytest

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import CentredFeatures

N_REGIONS = 12
N_EDGES = N_REGIONS * (N_REGIONS - 1) // 2


def edges_of(length_mm: np.ndarray | None = None) -> tuple[CentredFeatures, np.ndarray]:
    baseline = np.random.default_rng(0).normal(0.2, 0.4, (6, N_EDGES))
    sample = CentredFeatures.from_values(
        change=0.1 * baseline,
        baseline=baseline,
        circuits={"c": np.arange(4)},
        features=FeatureSpace.of_edges(N_REGIONS, length_mm=length_mm),
    )
    return sample, baseline


def test_strength_is_how_fisher_z_moves_when_correlations_are_multiplied() -> None:
    """r' = k r: the derivative of arctanh(k tanh z) at k = 1, by a small step."""
    sample, _ = edges_of()
    z = np.linspace(-2.5, 2.5, 41)
    step = 1e-6
    up, down = (np.arctanh(k * np.tanh(z)) for k in (1 + step, 1 - step))
    assert sample.strong.scale is not None
    np.testing.assert_allclose(sample.strong.scale(z), (up - down) / (2 * step), rtol=1e-5)


def test_fixed_columns_are_fitted_on_the_background_of_each_participant() -> None:
    length = np.random.default_rng(1).uniform(10, 120, N_EDGES)
    sample, baseline = edges_of(length)
    assert sample.fixed == ("shift", "distance")
    background = np.arange(N_EDGES) >= 4
    np.testing.assert_array_equal(sample.background, background)
    x = np.column_stack([np.ones(N_EDGES), length - length[background].mean()])
    for row, values in enumerate(baseline):
        beta = np.linalg.lstsq(x[background], values[background], rcond=None)[0]
        found = sample.baseline[row : row + 1]
        assert found.fixed[0] == pytest.approx(beta)
        np.testing.assert_allclose(found.residual[0], values - x @ beta, atol=1e-12)
