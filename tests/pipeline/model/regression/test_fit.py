"""The fit of many participants: equal masks, chunks, and participants without a baseline."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.regression.fit import AVERAGE, PROPORTIONAL, SLOPES, Fit
from circuitshift.pipeline.validation.simulate.edges import (
    EdgeSpec,
    EdgeStudy,
    Truth,
    simulate_edges,
)


def study_of(n: int, **more: object) -> EdgeStudy:
    spec = EdgeSpec(n_regions=40, n_circuit=8, n_treated=n, n_reference=10)
    return simulate_edges(Truth(shift=0.1), replace(spec, **more), np.random.default_rng(3))


def sample_of(study: EdgeStudy) -> CentredFeatures:
    return CentredFeatures.from_values(
        change=study.followup - study.baseline,
        baseline=study.baseline,
        circuits={"c": study.circuit},
        features=study.features,
        reference=study.reference,
    )


@pytest.mark.parametrize("node_adjusted", [False, True])
def test_participants_fitted_together_equal_participants_fitted_alone(node_adjusted: bool) -> None:
    """Some lack a region at follow-up, one at baseline, so that there are several groups."""
    study = study_of(36)
    i, j = study.features.ends
    for k, region in ((2, 20), (5, 20), (9, 33), (35, 20)):
        study.followup[k, (i == region) | (j == region)] = np.nan
    study.baseline[7, (i == 25) | (j == 25)] = np.nan
    fit = Fit.of(sample_of(study), with_deviation=True, node_adjusted=node_adjusted)
    together = fit.respond(fit.sample.change)
    for k in (0, 2, 5, 7, 9, 31, 35):
        change = replace(
            fit.sample.change,
            values=fit.sample.change.values[k : k + 1],
            fixed=fit.sample.change.fixed[k : k + 1],
        )
        alone = fit.respond(change, np.array([k]))
        np.testing.assert_allclose(alone.terms[0], together.terms[k], atol=1e-10)
        np.testing.assert_allclose(alone.slopes[0], together.slopes[k], atol=1e-10)
        np.testing.assert_allclose(alone.parts[0], together.parts[k], atol=1e-10)


def test_terms_and_slopes_have_names() -> None:
    fit = Fit.of(sample_of(study_of(20)), with_deviation=True)
    names = ("shift", "gain", "normalisation", "global_signal", AVERAGE, PROPORTIONAL, "distance")
    assert fit.terms == names
    assert SLOPES == ("m", "h", "d", "w")
    found = fit.respond(fit.sample.change)
    assert found.terms.shape == (20, len(names))
    first = Fit.of(fit.sample.excluding({"global_signal": "first"}), with_deviation=True)
    of_first = first.respond(fit.sample.change).terms
    for k, term in enumerate((AVERAGE, PROPORTIONAL)):
        np.testing.assert_allclose(found.terms[:, names.index(term)], of_first[:, k], atol=1e-12)
    influence = fit.influence(fit.sample.baseline)
    assert influence.shape == (20, len(names) + 1)
    np.testing.assert_allclose(influence[:, 4:6], first.influence(fit.sample.baseline)[:, :2])
    assert (np.abs(influence[:, names.index("gain")]) > 0).all()
    np.testing.assert_allclose(influence.mean(axis=0), 0, atol=1e-10)
    assert fit.influence(None).shape == (0, len(names) + 1)


def test_a_participant_without_a_baseline_is_fitted_with_the_mean_of_all() -> None:
    study = study_of(12)
    sample = sample_of(study)
    fit = Fit.of(sample, with_deviation=False)
    levels = sample.remove(study.followup[:2])
    found = fit.respond(levels, np.array([-1, -1]))
    columns = fit.group.columns()[[fit.frame.names.index(k) for k in fit.columns.for_parts]]
    residual = levels[:].residual
    used = fit.group.used
    chosen = [fit.frame.names.index(k) for k in fit.columns.for_parts]
    moments = fit.pooled.moments[0][np.ix_(chosen, chosen)]
    slopes = np.linalg.solve(moments, columns[:, used] @ residual[0, used])
    at = [SLOPES.index(k) for k in fit.columns.for_parts]
    np.testing.assert_allclose(found.slopes[0, at], slopes, rtol=1e-6)


def test_participants_with_too_few_features_are_missing() -> None:
    study = study_of(12)
    study.followup[4, 100:] = np.nan
    fit = Fit.of(sample_of(study), with_deviation=False)
    found = fit.respond(fit.sample.change)
    assert np.isnan(found.terms[4]).all()
    assert np.isnan(found.parts[4]).all()
    assert (found.slopes[4] == 0).all()
    assert np.isfinite(np.delete(found.terms, 4, axis=0)).all()


def test_few_participants_do_not_give_extreme_estimates() -> None:
    """With five or six participants, single moments are unstable by chance."""
    largest = []
    for seed in range(40):
        spec = EdgeSpec(n_regions=60, n_treated=4 + seed % 3)
        study = simulate_edges(Truth(), spec, np.random.default_rng(seed))
        fit = Fit.of(sample_of(study), with_deviation=False)
        found = fit.respond(fit.sample.change)
        if "c" not in fit.columns.withheld:
            largest.append(np.abs(found.parts).max())
    assert len(largest) > 25
    assert max(largest) < 1.5


def test_the_reach_of_blocks_is_what_a_change_of_one_block_does_to_the_estimates() -> None:
    study = study_of(40)
    i, j = study.features.ends
    network = np.arange(40) // 8
    blocks = {
        f"{a}-{b}": np.flatnonzero((network[i] == a) & (network[j] == b))
        for a in range(1, 5)
        for b in range(a, 5)
    }
    sample = CentredFeatures.from_values(
        change=study.followup - study.baseline,
        baseline=study.baseline,
        circuits={"c": study.circuit},
        features=study.features,
        reference=study.reference,
        blocks=blocks,
    )
    fit = Fit.of(sample, with_deviation=True)
    reach = fit.of_blocks()
    before = fit.respond(sample.change)
    for row, positions in list(enumerate(blocks.values()))[:3]:
        change = sample.change.values.copy()
        change[:, positions] += 1.0
        after = fit.respond(sample.remove(change))
        moved = np.hstack([after.terms - before.terms, after.parts - before.parts])
        # the columns of a participant lack that participant, those of the reach do not
        np.testing.assert_allclose(moved.mean(axis=0), reach[row], atol=0.02)
