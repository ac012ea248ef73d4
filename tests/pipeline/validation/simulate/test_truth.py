"""Planted truth: correlation matrices are valid, and the planted change is realised in them."""

import numpy as np
import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.validation.simulate.bold_run import draw_series
from circuitshift.pipeline.validation.simulate.truth import (
    EXPECTED,
    PlantedTruth,
    Population,
    SimulationSpec,
    draw_variation,
    nearest_correlation,
    participant_correlation,
    plant,
)


def edges_z(series: np.ndarray) -> np.ndarray:
    return np.arctanh(np.corrcoef(series.T)[np.triu_indices(series.shape[1], 1)])


def split(population: Population) -> tuple[np.ndarray, np.ndarray]:
    """Return masks of the edges in a circuit of the truth and of background edges."""
    in_circuit = np.zeros(population.edges[0].size, bool)
    for edges in population.circuits.values():
        in_circuit[edges] = True
    return in_circuit, ~in_circuit


def test_an_unknown_truth_is_refused() -> None:
    with pytest.raises(InputError, match="truth 'strange'; choose one of nothing, shift, gain"):
        PlantedTruth("strange")


def test_all_values_outside_their_range_are_listed() -> None:
    with pytest.raises(InputError, match=r"n_treated = 0 .*n_volumes = 3 .*spikes = 2"):
        SimulationSpec(n_treated=0, n_volumes=3, spikes=2)


def test_patients_deviate_across_the_complete_brain(population: Population) -> None:
    in_circuit, background = split(population)
    deviation, typical = population.deviation_z(), population.typical_z()
    assert deviation[background].std() > 0.05
    assert deviation[population.circuits["dmn"]].mean() > 0.05
    assert typical[population.circuits["dmn"]].mean() > typical[background].mean() + 0.1
    assert typical[population.circuits["dmn_tpn"]].mean() < typical[background].mean()
    # the slopes on deviation and on strength must be distinguishable
    assert abs(np.corrcoef(typical[background], deviation[background])[0, 1]) < 0.6
    assert 0 < in_circuit.mean() < 0.3


def test_the_variance_common_to_regions_is_limited(population: Population) -> None:
    assert (population.loadings**2).sum(axis=1).max() <= 0.8 + 1e-12


def test_a_session_has_a_valid_correlation_matrix(baseline: np.ndarray) -> None:
    assert np.array_equal(np.diag(baseline), np.ones(len(baseline)))
    assert np.allclose(baseline, baseline.T)
    assert np.linalg.eigvalsh(baseline)[0] > 0.15


def test_without_variation_a_session_equals_the_population(population: Population) -> None:
    none = (0.0, np.zeros_like(population.loadings))
    healthy = participant_correlation(population, none, none, patient=False)
    assert np.arctanh(healthy[population.edges]) == pytest.approx(population.typical_z())


def test_variation_has_the_given_standard_deviations(population: Population) -> None:
    rng = np.random.default_rng(0)
    shape = population.loadings.shape
    single = [draw_variation(shape, population, (0.1, 0.0, 0.05), rng) for _ in range(400)]
    assert np.std([strength for strength, _ in single]) == pytest.approx(0.1, rel=0.1)
    assert np.std([change for _, change in single]) == pytest.approx(0.05, rel=0.01)
    _, shared = draw_variation(shape, population, (0.0, 0.2, 0.0), rng)
    network = population.networks[:, 0] > 0
    assert network.sum() > 1
    assert np.ptp(shared[network], axis=0) == pytest.approx(0)  # equal within a network


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_planted_change_is_realised(
    name: str, population: Population, baseline: np.ndarray
) -> None:
    truth = PlantedTruth(name)
    after = plant(baseline, truth, population)
    assert np.linalg.eigvalsh(after)[0] > 0
    change = np.arctanh(after[population.edges]) - np.arctanh(baseline[population.edges])
    in_circuit, background = split(population)
    planted = {
        "nothing": (0, 0),
        "shift": (truth.shift_z, truth.shift_z),
        "specific": (0, truth.specific_z),
        "both": (truth.shift_z, truth.shift_z + truth.specific_z),
    }
    if name in planted:
        outside, inside = planted[name]
        assert change[background].mean() == pytest.approx(outside, abs=0.004)
        assert change[in_circuit].mean() == pytest.approx(inside, abs=0.004)
        assert change[background].std() < 0.01
    elif name == "gain":
        r, before = after[population.edges], baseline[population.edges]
        assert (r @ before) / (before @ before) == pytest.approx(truth.gain, abs=0.01)
    else:
        toward_healthy = -population.deviation_z()
        share = (change @ toward_healthy) / (toward_healthy @ toward_healthy)
        assert share == pytest.approx(truth.normalisation, abs=0.02)
        assert np.corrcoef(change, toward_healthy)[0, 1] > 0.99


def test_the_response_scales_the_planted_change(
    population: Population, baseline: np.ndarray
) -> None:
    after = plant(baseline, PlantedTruth("shift"), population, response=0.5)
    change = np.arctanh(after[population.edges]) - np.arctanh(baseline[population.edges])
    assert change == pytest.approx(0.04)


def test_only_an_invalid_correlation_matrix_is_changed() -> None:
    valid = np.array([[1, 0.5], [0.5, 1]])
    assert nearest_correlation(valid) is valid
    invalid = np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]])
    fixed = nearest_correlation(invalid)
    assert np.linalg.eigvalsh(fixed)[0] > 0
    assert np.allclose(np.diag(fixed), 1)
    assert np.abs(fixed).max() == 1
    assert fixed[0, 1] == pytest.approx(fixed[1, 2])
    assert 0 < fixed[0, 1] < 0.9


def test_a_group_test_detects_planted_effects_only(population: Population) -> None:
    """14 treated and 14 control participants, series of 150 volumes at 2 s."""
    spec, rng = SimulationSpec(), np.random.default_rng(3)
    in_circuit, background = split(population)
    shape = population.loadings.shape
    changes: dict[str, list[tuple[float, float]]] = {"control": [], "nothing": [], "both": []}
    for kind, group in changes.items():
        truth = PlantedTruth("nothing" if kind == "control" else kind)
        for _ in range(14):
            own = draw_variation(shape, population, spec.trait_sd, rng)
            z = []
            for session in range(2):
                state = draw_variation(shape, population, spec.state_sd, rng)
                r = participant_correlation(population, own, state, patient=True)
                if session:
                    r = plant(r, truth, population)
                z.append(edges_z(draw_series(r, spec.n_volumes, spec.t_r_s, rng)))
            d = z[1] - z[0]
            group.append((d[background].mean(), d[in_circuit].mean() - d[background].mean()))

    def t_statistics(kind: str) -> np.ndarray:
        a, b = np.array(changes[kind]), np.array(changes["control"])
        return (a.mean(0) - b.mean(0)) / np.sqrt((a.var(0, ddof=1) + b.var(0, ddof=1)) / 14)

    assert (t_statistics("both") > 4).all()
    assert (np.abs(t_statistics("nothing")) < 3).all()
    assert np.mean(changes["both"], axis=0) == pytest.approx([0.08, 0.15], abs=0.03)
