"""Simulated series: planted effects arrive in the edges, and designs have their difficulties."""

import time
from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.validation.outside import series
from circuitshift.pipeline.validation.outside.effects import (
    Gain,
    Nothing,
    Shift,
    Specific,
    matrices,
)
from circuitshift.pipeline.validation.outside.people import People
from circuitshift.pipeline.validation.outside.series import (
    Design,
    simulate_series,
    typical_change_sd,
)

SMALL = Design(n_treated=6, n_reference=5, volumes=(60, 60))


def study(effect=None, seed=1, **design):
    return simulate_series(
        effect or Nothing(), replace(SMALL, **design), np.random.default_rng(seed)
    )


def test_a_study_has_the_stated_size_and_is_reproducible():
    one, two = (study(n_control=4) for _ in range(2))
    assert one.visits.baseline.shape == one.visits.followup.shape == (10, 110 * 109 // 2)
    assert one.visits.reference.shape[0] == 5
    assert one.visits.treated.sum() == 6
    assert one.visits.motion_mm is None
    np.testing.assert_array_equal(one.visits.followup, two.visits.followup)
    assert study(n_reference=0).visits.reference is None


def test_planted_effects_arrive_in_treated_participants_only():
    """The same seed draws the same loadings and noise with and without an effect."""
    sizes = {"dmn": -0.1}
    before, after = study(n_control=4), study(Specific(sizes), n_control=4)
    np.testing.assert_array_equal(before.visits.baseline, after.visits.baseline)
    difference = after.visits.followup - before.visits.followup
    assert np.abs(difference[6:]).max() < 1e-6
    inside = before.world.circuits["dmn"]
    assert difference[:6, inside].mean() == pytest.approx(-0.1, abs=0.02)
    outside = np.setdiff1d(np.arange(difference.shape[1]), inside)
    assert abs(difference[:6, outside].mean()) < 0.01


@pytest.mark.parametrize("effect", [Shift(0.08), Gain(0.2)])
def test_edges_are_estimates_of_the_planted_ones(effect):
    rng = np.random.default_rng(2)
    world = series.invented_world(rng, {})
    people = People.draw(world, 4, rng)
    true = effect(series.Untreated(people.visit(rng), world, rng))
    estimated = series._measured(true, 3000, rng)
    error = estimated - true
    assert abs(error.mean()) < 0.01
    # a mixture with autocorrelation .45 has (1 - .2) / (1 + .2) of the volumes
    assert error.std() == pytest.approx(np.sqrt(1.2 / 0.8 / 3000), rel=0.25)


def test_impossible_correlations_become_the_nearest_possible_ones():
    r = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    valid = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.1], [0.2, 0.1, 1.0]])
    roots = series._roots(np.array([r, valid]))
    products = roots @ np.swapaxes(roots, 1, 2)
    np.testing.assert_allclose(products[1], valid)
    np.testing.assert_allclose(np.diag(products[0]), 1)
    assert np.linalg.eigvalsh(products[0]).min() > 0


def test_series_are_autocorrelated_and_shorter_runs_are_noisier():
    long, short = study(n_treated=12), study(n_treated=12, volumes=(60, 20))
    assert short.visits.followup.std(axis=0).mean() > 1.2 * long.visits.followup.std(axis=0).mean()


def test_selected_patients_have_a_strong_circuit_that_returns_to_its_mean():
    strength, change = {}, {}
    for selected in (False, True):
        studies = [
            study(seed=k, n_treated=20, volumes=(150, 150), selected=selected) for k in range(3)
        ]
        edges = [s.world.circuits["dmn"] for s in studies]
        pairs = list(zip(studies, edges, strict=True))
        strength[selected] = np.mean([s.visits.baseline[:, k].mean() for s, k in pairs])
        change[selected] = np.mean([s.visits.change[:, k].mean() for s, k in pairs])
    assert strength[True] > strength[False] + 0.05
    assert change[True] < -0.02
    assert abs(change[False]) < 0.02


def test_a_crossover_has_a_day_effect_on_the_control_condition():
    plain, day = (
        study(crossover=True, day=day, volumes=(60, 400)) for day in (Nothing(), Shift(0.1))
    )
    assert plain.visits.is_crossover
    np.testing.assert_array_equal(plain.visits.followup, day.visits.followup)
    np.testing.assert_array_equal(plain.visits.control_baseline, day.visits.control_baseline)
    moved = day.visits.control_followup - plain.visits.control_followup
    assert moved.mean() == pytest.approx(0.1, abs=0.01)


def test_motion_is_measured_with_the_stated_reliability():
    rng = np.random.default_rng(6)
    treated = np.arange(40_000) < 20_000
    true, measured = series._motion(Design(n_control=1, motion_reliability=0.6), treated, rng)
    assert np.corrcoef(true[treated], measured[treated])[0, 1] ** 2 == pytest.approx(0.6, abs=0.02)
    assert true[treated].mean() - true[~treated].mean() == pytest.approx(0.06, abs=0.003)
    one_arm = series._motion(Design(motion_reliability=0.6), treated, rng)[0]
    assert one_arm.mean() == pytest.approx(0, abs=0.003)
    assert study(motion_reliability=0.7).visits.motion_mm.shape == (6,)


def test_the_typical_change_is_that_of_untreated_participants():
    sd = dict(typical_change_sd())
    changes = {name: [] for name in sd}
    for seed in range(3):
        one = study(seed=seed, n_treated=30, volumes=(200, 200))
        for name, positions in one.world.circuits.items():
            changes[name].append(one.visits.change[:, positions].mean(axis=1).var(ddof=1))
    for name, variances in changes.items():
        assert np.sqrt(np.mean(variances)) == pytest.approx(sd[name], rel=0.3)


@pytest.mark.slow
def test_edges_repeat_between_visits_as_measured_edges_do():
    """An intraclass correlation near .3 to .5, with realistic changes of means."""
    one = study(n_treated=40, volumes=(200, 200)).visits
    within = (one.change.var(axis=0, ddof=1) / 2).mean()
    total = np.vstack([one.baseline, one.followup]).var(axis=0, ddof=1).mean()
    assert 0.25 < 1 - within / total < 0.55
    assert 0.03 < one.change.mean(axis=1).std(ddof=1) < 0.09


def test_a_study_is_fast():
    typical_change_sd()
    start = time.process_time()
    simulate_series(Nothing(), Design(), np.random.default_rng(1))
    assert time.process_time() - start < 5  # .4 s on an idle core; far above it is a loop


def test_matrices_of_simulated_edges_are_correlations():
    one = study()
    r = matrices(one.visits.baseline, 110)
    assert np.linalg.eigvalsh(r).min() > -1e-6
