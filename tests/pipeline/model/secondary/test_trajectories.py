"""Trajectories: equality with the difference test, planted time courses, missing visits."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.contrasts import Levels
from circuitshift.pipeline.model.global_model import global_response, level_response
from circuitshift.pipeline.model.secondary.trajectories import trajectories
from circuitshift.pipeline.validation.simulate.edges import EdgeSpec, Truth, simulate_edges

SPEC = EdgeSpec(n_regions=40, n_circuit=8, n_treated=20, n_control=20, n_reference=16)


def sample_of(study):
    return CentredFeatures.from_values(
        change=study.followup - study.baseline,
        baseline=study.baseline,
        circuits=study.circuits,
        reference=study.reference,
        features=study.features,
    )


def levels_of(visits, *, treated=None, **more):
    n, n_visits = len(visits[0]), len(visits)
    participant, visit = np.tile(np.arange(n), n_visits), np.repeat(np.arange(n_visits), n)
    fields = {
        "z": np.vstack(visits),
        "person": participant,
        "owner": participant,
        "visit": visit,
        "names": ("pre", "w2", "w8")[:n_visits],
        "days": (),
        "treated": None if treated is None else treated[participant],
        "motion_mm": None,
        "covariates": np.empty((n * n_visits, 0)),
    }
    return Levels(**(fields | more))


def test_levels_differ_by_the_response_to_change():
    study = simulate_edges(Truth(gain=0.1), SPEC, np.random.default_rng(0))
    sample = sample_of(study)
    response = global_response(sample, with_deviation=True)
    owner = np.arange(40)
    names, before = level_response(
        sample, sample.remove(study.baseline), owner, with_deviation=True
    )
    _, after = level_response(sample, sample.remove(study.followup), owner, with_deviation=True)
    assert names == (*response.terms, *response.circuits)
    expected = np.hstack([response.coefficients, response.specific])
    np.testing.assert_allclose(after - before, expected, atol=1e-9)


@pytest.mark.parametrize("arms", [False, True])
def test_two_balanced_visits_equal_the_difference_test(arms):
    study = simulate_edges(Truth(shift=0.05), SPEC, np.random.default_rng(1))
    sample = sample_of(study)
    treated = study.treated if arms else None
    rows = trajectories(
        levels_of([study.baseline, study.followup], treated=treated), sample, with_deviation=False
    )
    response = global_response(sample, with_deviation=False)
    used = [k for k, name in enumerate(response.terms) if name != "distance"]
    y = np.hstack([response.coefficients[:, used], response.specific])
    if arms:
        expected = stats.ttest_ind(y[study.treated], y[~study.treated])
    else:
        expected = stats.ttest_1samp(y, 0)
    for k, row in enumerate(rows):
        if row.note:
            continue  # without variance between participants, the mixed model pools more
        assert row.statistic == pytest.approx(expected.statistic[k], rel=1e-6)
        assert row.p == pytest.approx(expected.pvalue[k], rel=1e-5)
    assert sum(not row.note for row in rows) >= 2
    terms = ("shift", "gain", "global_signal", "average_change", "proportional_change", "circuit")
    assert [row.term for row in rows] == [f"{t} at ses-w2" for t in terms]


def test_a_covariate_of_change_equals_that_of_the_difference_test():
    """Age, which differs between arms, causes the change; treatment does not."""
    study = simulate_edges(Truth(), SPEC, np.random.default_rng(1))
    age = np.random.default_rng(4).normal(size=len(study.treated)) + 2.0 * study.treated
    study = replace(study, followup=study.followup + 0.1 * age[:, None])
    sample = sample_of(study)
    levels = levels_of(
        [study.baseline, study.followup], treated=study.treated, covariates=np.tile(age, 2)[:, None]
    )
    row = trajectories(levels, sample, with_deviation=False)[0]
    y = global_response(sample, with_deviation=False).coefficients[:, 0]
    design = np.column_stack([study.treated.astype(float), age - age.mean(), np.ones(len(age))])
    fitted, rss = np.linalg.lstsq(design, y, rcond=None)[:2]
    se = np.sqrt(rss[0] / (len(y) - 3) * np.linalg.inv(design.T @ design)[0, 0])
    assert row.term == "shift at ses-w2"
    assert row.statistic == pytest.approx(fitted[0] / se, rel=1e-6)
    assert row.estimate == pytest.approx(fitted[0], rel=1e-6)


def test_a_fading_change_and_a_slope_are_estimated():
    study = simulate_edges(Truth(), replace(SPEC, n_control=0), np.random.default_rng(2))
    surge = study.followup + 0.2
    noise = np.random.default_rng(3).normal(0, 0.1, surge.shape)
    late = study.baseline + noise
    levels = levels_of([study.baseline, surge, late], days=(0.0, 14.0, 56.0))
    rows = {r.term: r for r in trajectories(levels, sample_of(study), with_deviation=False)}
    assert rows["shift at ses-w2"].p_corrected < 0.01
    assert rows["shift at ses-w2"].estimate == pytest.approx(0.2, abs=0.05)
    assert rows["shift at ses-w8"].p > 0.05
    fading = rows["shift ses-w8 minus ses-w2"]
    assert fading.estimate == pytest.approx(
        rows["shift at ses-w8"].estimate - rows["shift at ses-w2"].estimate
    )
    assert fading.p_corrected < 0.01
    assert rows["shift per 30 days"].unit == "Fisher z per 30 days"
    assert rows["shift at ses-w2"].family == "trajectory: global"
    assert rows["circuit at ses-w2"].family == "trajectory: specific"


def test_holm():
    study = simulate_edges(Truth(shift=0.1), SPEC, np.random.default_rng(4))
    rows = trajectories(
        levels_of([study.baseline, study.followup]), sample_of(study), with_deviation=False
    )
    group = sorted((r for r in rows if r.family == "trajectory: global"), key=lambda r: r.p)
    assert group[0].p_corrected == pytest.approx(min(1, len(group) * group[0].p))
    assert len(group) == 5
    second = max((len(group) - 1) * group[1].p, group[0].p_corrected)
    assert group[1].p_corrected == pytest.approx(min(1, second))


def test_missing_visits_do_not_inflate_the_error_rate():
    rng = np.random.default_rng(5)
    hits, n_studies = 0, 120
    for _ in range(n_studies):
        study = simulate_edges(Truth(), replace(SPEC, n_control=0), rng)
        third = study.baseline + rng.normal(0, 0.15, study.baseline.shape)
        levels = levels_of([study.baseline, study.followup, third])
        keep = rng.random(60) > 0.3
        keep[:20] |= ~keep[20:40] & ~keep[40:]
        part = {
            name: getattr(levels, name)[keep]
            for name in ("z", "person", "owner", "visit", "covariates")
        }
        rows = trajectories(replace(levels, **part), sample_of(study), with_deviation=False)
        hits += next(r.p for r in rows if r.term == "shift at ses-w2") <= 0.05
    assert 1 <= hits <= 14  # 99.9 % bounds of a binomial with p = .05


def test_a_visit_without_participants_is_refused():
    study = simulate_edges(Truth(), SPEC, np.random.default_rng(6))
    levels = levels_of([study.baseline, study.followup], names=("pre", "w2", "w8"))
    with pytest.raises(DesignError, match="no participant has a usable visit ses-w8"):
        trajectories(levels, sample_of(study), with_deviation=False)
