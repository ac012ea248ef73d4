"""Features without their fixed columns: regression, signal-to-noise, backgrounds, memory."""

import tracemalloc

import numpy as np
import pytest

from circuitshift.pipeline.edges import edges
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.global_model import global_response
from circuitshift.pipeline.stats.global_signal import global_signal_effect
from circuitshift.pipeline.validation.simulate.edges import EdgeSpec, Truth, simulate_edges

N_REGIONS = 12
N_EDGES = N_REGIONS * (N_REGIONS - 1) // 2


def features_of(
    length_mm: np.ndarray | None = None, baseline: np.ndarray | None = None
) -> CentredFeatures:
    """Build the features of six participants, of which four edges form a circuit."""
    if baseline is None:
        baseline = np.random.default_rng(0).normal(0.2, 0.4, (6, N_EDGES))
    return CentredFeatures.from_values(
        change=0.1 * baseline,
        baseline=baseline,
        circuits={"c": np.arange(4)},
        features=FeatureSpace.of_edges(N_REGIONS, length_mm=length_mm),
    )


def test_strong_is_the_derivative_of_fisher_z_by_a_factor_of_correlations() -> None:
    """With r' = k r, the derivative of arctanh(k tanh z) at k = 1, from a small step."""
    sample = features_of()
    z = np.linspace(-2.5, 2.5, 41)
    step = 1e-6
    up, down = (np.arctanh(k * np.tanh(z)) for k in (1 + step, 1 - step))
    assert sample.strong.scale is not None
    np.testing.assert_allclose(sample.strong.scale(z), (up - down) / (2 * step), rtol=1e-5)


@pytest.mark.parametrize("n_missing", [0, 3])
def test_fixed_columns_are_regressed_out_of_each_participant(n_missing: int) -> None:
    """Comparison with least squares on the background features that all participants have."""
    length = np.random.default_rng(1).uniform(10, 120, N_EDGES)
    baseline = np.random.default_rng(0).normal(0.2, 0.4, (6, N_EDGES))
    baseline[0, 10 : 10 + n_missing] = np.nan
    sample = features_of(length, baseline)
    assert sample.fixed == ("shift", "distance")
    background = np.arange(N_EDGES) >= 4
    np.testing.assert_array_equal(sample.background, background)
    common = background & np.isfinite(baseline).all(axis=0)
    x = np.column_stack([np.ones(N_EDGES), length - length[background].mean()])
    for row, values in enumerate(baseline):
        beta = np.linalg.lstsq(x[common], values[common], rcond=None)[0]
        part = sample.baseline[row : row + 1]
        assert part.fixed[0] == pytest.approx(beta)
        np.testing.assert_allclose(part.residual[0], values - x @ beta, atol=1e-12)


def test_blocks_contain_all_participants() -> None:
    baseline = np.random.default_rng(2).normal(size=(70, N_EDGES))
    sample = features_of(baseline=baseline)
    assert sample.fixed == ("shift",)
    residual = np.vstack([block.residual for block in sample.baseline.blocks()])
    expected = baseline - baseline[:, 4:].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(residual, expected, atol=1e-12)


def test_each_background_contains_the_features_of_its_definition() -> None:
    spec = EdgeSpec(n_regions=120, n_circuit=24, n_treated=24, n_reference=16)
    study = simulate_edges(Truth(), spec, np.random.default_rng(8))
    arguments = {
        "change": study.followup - study.baseline,
        "baseline": study.baseline,
        "circuits": {"dmn": study.circuit},
        "features": study.features,
    }
    outside, disjoint, matched = (
        CentredFeatures.from_values(**arguments, background=kind).background
        for kind in ("all", "disjoint", "matched")
    )
    i, j = np.triu_indices(120, 1)
    np.testing.assert_array_equal(outside, ~((i < 24) & (j < 24)))
    np.testing.assert_array_equal(disjoint, (i >= 24) & (j >= 24))
    assert (outside | ~matched).all()
    strength = study.baseline.mean(axis=0)
    inside = ~outside
    gap = abs(strength[matched].mean() - strength[inside].mean())
    assert gap < abs(strength[outside].mean() - strength[inside].mean()) / 3
    lengths = study.features.length_mm
    assert abs(lengths[matched].mean() - lengths[inside].mean()) < 6


def test_values_of_all_participants_are_not_copied() -> None:
    """The fit needs copies of a block of participants only."""
    spec = EdgeSpec(n_regions=40, n_circuit=8, n_treated=1500, n_reference=500)
    study = simulate_edges(Truth(shift=0.1), spec, np.random.default_rng(0))
    change = study.followup - study.baseline
    tracemalloc.start()
    sample = CentredFeatures.from_values(
        change=change,
        baseline=study.baseline,
        circuits={"c": study.circuit},
        features=FeatureSpace.of_edges(40),
        reference=study.reference,
    )
    at_construction = tracemalloc.get_traced_memory()[1]
    global_response(sample, with_deviation=True)
    at_fit = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.shares_memory(sample.change.values, change)
    assert at_construction < 0.5 * change.nbytes
    assert at_fit < 0.5 * change.nbytes


def test_the_effect_of_the_global_signal_is_part_of_the_columns_or_withheld() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(size=(6, 200, 1))
    series = rng.normal(size=(6, 200, N_REGIONS)) + common
    z = np.array([edges(one) for one in series])
    sample = features_of(baseline=z)
    assert list(sample.columns()) == ["m", "h", "w"]
    expected = np.array([global_signal_effect(row) for row in z])
    residual = expected - expected[:, 4:].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(sample.columns()["w"][:].residual, residual, atol=1e-12)
    without = sample.excluding({"global_signal": "of interest is the first version"})
    assert list(without.columns()) == ["m", "h"]
    assert without.withheld == {}
    with pytest.raises(DesignError, match="shift cannot be excluded"):
        sample.excluding({"shift": "no reason"})
    regressed = series - common * ((series * common).sum(1) / (common**2).sum(1))[:, None]
    regressed -= regressed.mean(axis=2, keepdims=True)
    removed = features_of(baseline=np.array([edges(one) for one in regressed]))
    assert removed.signal is None
    assert "after regression of the global signal" in removed.withheld["global_signal"]


def test_edges_of_unknown_length_keep_the_distance_term_of_the_others() -> None:
    length = np.random.default_rng(1).uniform(10, 120, N_EDGES)
    unknown = length.copy()
    unknown[[7, 9]] = np.nan
    sample = features_of(unknown)
    assert sample.fixed == ("shift", "distance")
    np.testing.assert_allclose(sample.basis[1, 7], sample.basis[1, 9])
    np.testing.assert_allclose(np.diff(sample.basis[1, 10:]), np.diff(length[10:]))
    assert features_of(np.full(N_EDGES, 30.0)).fixed == ("shift",)


def test_too_few_participants_or_features_are_refused() -> None:
    spec = EdgeSpec(n_regions=40, n_circuit=8, n_treated=12, n_reference=10)
    study = simulate_edges(Truth(), spec, np.random.default_rng(7))
    with pytest.raises(DesignError, match="3 participants have both visits"):
        CentredFeatures.from_values(
            change=study.baseline[:3],
            baseline=study.baseline[:3],
            circuits={"c": study.circuit},
            features=study.features,
        )
    everything = np.arange(study.features.n_features)
    with pytest.raises(DesignError, match="0 background edges"):
        CentredFeatures.from_values(
            change=study.baseline,
            baseline=study.baseline,
            circuits={"c": everything},
            features=study.features,
        )


def test_blocks_contain_background_features_only() -> None:
    sample = CentredFeatures.from_values(
        change=np.random.default_rng(0).normal(size=(6, N_EDGES)),
        baseline=np.random.default_rng(1).normal(size=(6, N_EDGES)),
        circuits={"c": np.arange(4)},
        features=FeatureSpace.of_edges(N_REGIONS),
        blocks={"a": np.arange(2, 30), "b": np.arange(30, N_EDGES), "in circuit": np.arange(3)},
    )
    assert list(sample.blocks) == ["a", "b"]
    np.testing.assert_array_equal(sample.blocks["a"], np.arange(4, 30))
    within = sample.within_blocks()
    for values, block in zip(within.change[:].residual[:, 4:30].T, range(26), strict=True):
        expected = sample.change.values[:, 4 + block] - sample.change.values[:, 4:30].mean(axis=1)
        np.testing.assert_allclose(values, expected, atol=1e-12)


def test_blocks_of_incomplete_participants_need_no_lengths() -> None:
    """Without edge lengths, nothing but the blocks is removed, also if few edges are complete."""
    change = np.random.default_rng(0).normal(size=(6, N_EDGES))
    change[0, 8:] = np.nan
    sample = CentredFeatures.from_values(
        change=change,
        baseline=np.random.default_rng(1).normal(size=(6, N_EDGES)),
        circuits={"c": np.arange(4)},
        features=FeatureSpace.of_edges(N_REGIONS),
        blocks={"a": np.arange(4, 30), "b": np.arange(30, N_EDGES)},
    )
    residual = sample.within_blocks().change[:].residual
    np.testing.assert_allclose(residual[0, 4:8], change[0, 4:8] - change[0, 4:8].mean())
    expected = change[1:, 4:30] - change[1:, 4:30].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(residual[1:, 4:30], expected)


def test_positions_of_blocks_are_checked_and_needed() -> None:
    with pytest.raises(DesignError, match="positions from 60 to 70"):
        CentredFeatures.from_values(
            change=np.zeros((6, N_EDGES)),
            baseline=np.zeros((6, N_EDGES)),
            circuits={},
            features=FeatureSpace.of_edges(N_REGIONS),
            blocks={"a": np.arange(60, 71)},
        )
    with pytest.raises(DesignError, match="need blocks"):
        features_of().within_blocks()
