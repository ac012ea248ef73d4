"""Columns that a study supports: what is withheld, and why."""

import numpy as np
import pytest

from circuitshift.pipeline.edges import edges
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.regression.columns import Columns
from circuitshift.pipeline.model.regression.fit import Fit

N_REGIONS = 30
FIRST, SECOND = np.triu_indices(N_REGIONS, 1)


def columns_of(
    baseline: np.ndarray,
    circuits: dict[str, np.ndarray] | None = None,
    reference: np.ndarray | None = None,
) -> Columns:
    sample = CentredFeatures.from_values(
        change=np.random.default_rng(9).normal(0, 0.1, baseline.shape),
        baseline=baseline,
        circuits=circuits or {},
        features=FeatureSpace.of_edges(N_REGIONS),
        reference=reference,
    )
    return Fit.of(sample, with_deviation=reference is not None).columns


def series(rng: np.random.Generator, n: int, common: float, networks: float = 0.8) -> np.ndarray:
    """Return Fisher z of series with a global signal and six networks."""
    loading = common * rng.uniform(0.2, 1.8, N_REGIONS)
    out = []
    for _ in range(n):
        local = rng.normal(size=(150, 6))[:, np.arange(N_REGIONS) // 5]
        x = rng.normal(size=(150, N_REGIONS)) + networks * local
        out.append(edges(x + loading * rng.normal(size=(150, 1))))
    return np.array(out)


def test_all_columns_of_data_with_networks_and_a_global_signal() -> None:
    found = columns_of(series(np.random.default_rng(0), 12, common=0.8))
    assert found.for_terms == ("m", "w")
    assert found.for_parts == ("m", "w", "h")
    assert found.withheld == {}


def test_independent_series_have_neither_gain_nor_global_signal() -> None:
    """The README of the first version printed a gain of 73,482,165.997 Fisher z."""
    for seed in range(5):
        found = columns_of(series(np.random.default_rng(seed), 12, common=0.0, networks=0.0))
        assert found.for_terms == found.for_parts == ()
        assert set(found.withheld) == {"gain", "global_signal"}
        assert "no more than noise" in found.withheld["gain"]


@pytest.mark.parametrize("value", [0.0, 0.2])
def test_equal_values_of_all_edges_are_not_a_gain(value: float) -> None:
    found = columns_of(np.full((8, FIRST.size), value))
    assert "gain" in found.withheld
    assert "global_signal" in found.withheld


def test_a_circuit_far_outside_the_background_is_withheld() -> None:
    rng = np.random.default_rng(1)
    baseline = series(rng, 12, common=0.8)
    circuit = np.flatnonzero((FIRST < 4) & (SECOND < 4))
    highest = np.delete(baseline.mean(axis=0), circuit).max()
    for strength, is_withheld in ((highest - 0.1, False), (highest + 0.8, True)):
        moved = baseline.copy()
        moved[:, circuit] += strength - moved[:, circuit].mean()
        found = columns_of(moved, {"c": circuit})
        assert ("c" in found.withheld) == is_withheld
    assert f"({highest + 0.8:.2f} Fisher z) is far outside" in found.withheld["c"]


def test_a_strong_circuit_needs_a_reliable_curvature() -> None:
    """Noise exceeds the difference between edges, so that the square of z is mostly noise."""
    rng = np.random.default_rng(2)
    typical = rng.normal(0.2, 0.05, FIRST.size)
    circuit = np.flatnonzero((FIRST < 4) & (SECOND < 4))
    for is_strong in (False, True):
        if is_strong:
            typical[circuit] = 0.45
        baseline = typical + rng.normal(0, 0.15, (6, FIRST.size))
        found = columns_of(baseline, {"c": circuit})
        assert "h" not in found.for_parts
        assert ("c" in found.withheld) == is_strong
    assert "needs the curvature" in found.withheld["c"]


def test_a_deviation_with_the_pattern_of_the_global_signal_is_not_normalisation() -> None:
    rng = np.random.default_rng(3)
    patients = series(rng, 14, common=0.7)
    rng = np.random.default_rng(3)  # the same loadings
    healthy = series(rng, 14, common=1.1)
    found = columns_of(patients, reference=healthy)
    assert "w" in found.for_terms
    unlike = healthy + 0.2 * np.random.default_rng(4).normal(size=FIRST.size)
    assert columns_of(patients, reference=unlike).for_terms == ("m", "w", "d")
    reason = found.withheld.get("normalisation", "")
    assert reason == "the deviation from the reference has the pattern of a larger global signal"
