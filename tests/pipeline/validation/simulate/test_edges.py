"""Simulated edges: variances, planted effects, and each property that a scenario can change."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.validation.simulate.edges import (
    TRUTHS,
    EdgeSpec,
    EdgeStudy,
    Truth,
    simulate_edges,
)

NOTHING = Truth()
NOISELESS = EdgeSpec(
    n_regions=30,
    n_circuit=6,
    n_treated=5,
    n_control=4,
    n_reference=3,
    trait_sd=(0.0, 0.0, 0.0, 0.0),
    state_sd=(0.0, 0.0, 0.0, 0.0),
)
FIRST, SECOND = np.triu_indices(30, 1)


def simulate(truth: Truth = NOTHING, spec: EdgeSpec = NOISELESS, **changes: object) -> EdgeStudy:
    return simulate_edges(truth, replace(spec, **changes), np.random.default_rng(0))


def change_of(study: EdgeStudy) -> np.ndarray:
    """Mean change of treated participants."""
    return (study.followup - study.baseline)[study.treated].mean(axis=0)


def test_without_noise_participants_equal_their_group_mean() -> None:
    study = simulate()
    np.testing.assert_allclose(study.reference, np.tile(study.typical, (3, 1)))
    np.testing.assert_allclose(study.baseline, np.tile(study.typical - study.deviation, (9, 1)))
    assert study.treated.tolist() == [True] * 5 + [False] * 4
    np.testing.assert_array_equal(study.circuit, np.flatnonzero(SECOND < 6))
    # patients are hyperconnected in the circuit
    background = np.setdiff1d(np.arange(FIRST.size), study.circuit)
    assert study.deviation[study.circuit].mean() < study.deviation[background].mean() - 0.05
    assert study.typical[study.circuit].mean() > study.typical[background].mean() + 0.1


@pytest.mark.parametrize("name", sorted(TRUTHS))
def test_treated_participants_change_as_planted(name: str) -> None:
    truth, study = TRUTHS[name], simulate(TRUTHS[name])
    before = study.baseline[0]
    expected = truth.gain * before + truth.shift + truth.normalisation * study.deviation
    expected[study.circuit] += truth.specific
    assert change_of(study) == pytest.approx(expected)
    np.testing.assert_allclose(study.followup[~study.treated], study.baseline[~study.treated])


def test_attenuation_multiplies_correlations() -> None:
    study = simulate(Truth(attenuation=0.25))
    after = np.tanh(study.followup[study.treated])
    assert after == pytest.approx(0.75 * np.tanh(study.baseline[study.treated]))


def test_signal_loss_affects_the_edges_of_one_region() -> None:
    study = simulate(Truth(region_loss=0.5))
    after, before = np.tanh(study.followup[0]), np.tanh(study.baseline[0])
    assert after[FIRST == 0] == pytest.approx(0.5 * before[FIRST == 0])
    assert after[FIRST > 0] == pytest.approx(before[FIRST > 0])


def test_the_distance_artefact_is_proportional_to_edge_length() -> None:
    study = simulate(Truth(artefact_z_per_mm=0.002))
    change = change_of(study)
    assert change.mean() == pytest.approx(0)
    # 60 mm is half of the box in which regions lie
    assert 0.02 < change.std() < 0.1
    again = simulate(Truth(artefact_z_per_mm=0.004))
    assert change_of(again) == pytest.approx(2 * change)


def test_motion_changes_edges_by_amount_and_length() -> None:
    study = simulate(motion_mm=(0.05, 0.3, -0.2))
    assert study.motion_mm[study.treated].mean() == pytest.approx(0.3, abs=0.08)
    assert study.motion_mm[~study.treated].mean() == pytest.approx(-0.2, abs=0.08)
    change = study.followup - study.baseline
    per_mm = change / study.motion_mm[:, None]
    assert per_mm.mean() == pytest.approx(0.3)
    np.testing.assert_allclose(per_mm, np.tile(per_mm[0], (9, 1)))
    assert not simulate().motion_mm.any()


def test_variance_is_the_sum_of_its_parts() -> None:
    """Shift, two regional terms, the term of the pair of networks, and edge noise."""
    trait, state = (0.05, 0.03, 0.08, 0.1), (0.04, 0.02, 0.06, 0.09)
    study = simulate(n_treated=3000, n_control=0, n_reference=0, trait_sd=trait, state_sd=state)
    expected_trait, expected_state = (
        sd[0] ** 2 + 2 * sd[1] ** 2 + sd[2] ** 2 + sd[3] ** 2 for sd in (trait, state)
    )
    both = (study.baseline + study.followup) / 2
    difference = study.followup - study.baseline
    assert difference.var(axis=0).mean() == pytest.approx(2 * expected_state, rel=0.03)
    assert both.var(axis=0).mean() == pytest.approx(expected_trait + expected_state / 2, rel=0.03)


def test_a_single_edge_has_the_stated_reliability() -> None:
    study = simulate(
        n_treated=3000, n_control=0, n_reference=0, trait_sd=EdgeSpec().trait_sd,
        state_sd=EdgeSpec().state_sd,
    )  # fmt: skip
    x, y = (z - z.mean(axis=0) for z in (study.baseline, study.followup))
    reliability = (x * y).mean() / np.sqrt((x**2).mean() * (y**2).mean())
    assert reliability == pytest.approx(0.4, abs=0.05)


def test_missing_participants_keep_their_baseline() -> None:
    study = simulate(n_treated=12, n_control=8, missing=0.25)
    assert len(study.baseline) == len(study.followup) == len(study.treated) == 15
    assert len(study.motion_mm) == 15
    assert len(study.baseline_only) == 5


def test_noise_of_the_control_arm_can_be_larger() -> None:
    study = simulate(n_treated=200, n_control=200, state_sd=(0.0, 0.0, 0.0, 0.1), control_noise=0.5)
    sd = [(study.followup - study.baseline)[arm].std() for arm in (study.treated, ~study.treated)]
    assert sd == pytest.approx([0.1 * np.sqrt(2), 0.05 * np.sqrt(2)], rel=0.02)


def test_heavy_tails_are_those_of_students_distribution() -> None:
    study = simulate(n_treated=4000, state_sd=(0.0, 0.0, 0.0, 0.1), tails_df=6.0)
    sd = (study.followup - study.baseline)[study.treated].std(axis=1)
    # the mean of df / chi2(df) is df / (df - 2)
    assert (sd**2).mean() == pytest.approx(2 * 0.01 * 6 / 4, rel=0.1)


def test_hubs_have_four_times_the_regional_noise() -> None:
    study = simulate(n_treated=4000, n_control=0, state_sd=(0.0, 0.1, 0.0, 0.0), hubs=0.1)
    variance = (study.followup - study.baseline).var(axis=0)
    n_hubs = (FIRST >= 27).astype(int) + (SECOND >= 27)
    expected = 2 * 0.01 * np.array([2, 1 + 16, 32])
    found = [variance[n_hubs == k].mean() for k in range(3)]
    assert found == pytest.approx(expected, rel=0.05)


def test_circuits_are_disjoint_or_overlap_by_half() -> None:
    disjoint, overlapping = (simulate(n_circuits=3, overlapping=o).circuits for o in (False, True))
    assert list(disjoint) == ["circuit", "circuit 2", "circuit 3"]
    for circuits, first in ((disjoint, (0, 6, 12)), (overlapping, (0, 3, 6))):
        for edges, start in zip(circuits.values(), first, strict=True):
            assert set(FIRST[edges]) | set(SECOND[edges]) == set(range(start, start + 6))
            assert len(edges) == 15
    (star,) = simulate(star=True).circuits.values()
    assert (FIRST[star] == 0).all()
    assert SECOND[star].tolist() == [1, 2, 3, 4, 5]


def test_the_same_seed_gives_the_same_study() -> None:
    one, two = (simulate(TRUTHS["gain"], EdgeSpec(n_regions=20, n_circuit=5)) for _ in range(2))
    np.testing.assert_array_equal(one.followup, two.followup)
    np.testing.assert_array_equal(one.reference, two.reference)
