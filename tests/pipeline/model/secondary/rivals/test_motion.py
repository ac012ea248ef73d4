"""The cost of the motion covariate, the pooled slope, and the motion impact score."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from circuitshift.pipeline.model.analyse import analyse
from circuitshift.pipeline.model.secondary.record import SecondaryResult, VisitMotion
from circuitshift.pipeline.model.secondary.rivals.motion import motion_of_terms, motion_slopes

NAMES = ("dmn", "tpn")


def moved(data, fd, *, slope=0.0, covariate=True, lone=None):
    """Return the study with given motion, to which every edge of a circuit responds by `slope`."""
    visits = data.visits
    before, after = visits.baseline.copy(), visits.followup.copy()
    dmn = data.circuits["dmn"]
    typical = fd[:, 0].mean()  # so that the circuit stays within the range of the background
    before[:, dmn] += slope * (fd[:, [0]] - typical)
    after[:, dmn] += slope * (fd[:, [1]] - typical)
    visits = replace(
        visits,
        baseline=before,
        followup=after,
        motion_mm=fd[:, 1] - fd[:, 0] if covariate else None,
        baseline_only=lone,
    )
    analysis = analyse(visits, data.circuits, rng=np.random.default_rng(1), rules=data.rules)
    lone_fd = np.full(0 if lone is None else len(lone), 0.2)
    motion = VisitMotion(fd, lone_fd)
    return replace(data, visits=visits, analysis=analysis, motion=motion, levels=None)


def row_of(data, term):
    (row,) = [r for r in motion_of_terms(data).tables["motion"] if r["term"] == term]
    return row


def test_the_cost_of_the_covariate_equals_two_regressions(study_of):
    data = study_of(n_control=0, n_treated=14)
    rng = np.random.default_rng(2)
    fd = np.column_stack([rng.gamma(4, 0.05, 14), rng.gamma(4, 0.05, 14) + 0.1])
    data = moved(data, fd)
    y = data.analysis.response.specific
    change = fd[:, 1] - fd[:, 0]
    for k, name in enumerate(NAMES):
        row = row_of(data, name)
        with_it = sm.OLS(y[:, k], np.column_stack([np.ones(14), change])).fit()
        without = sm.OLS(y[:, k], np.ones(14)).fit()
        assert row["estimate"] == pytest.approx(with_it.params[0])
        assert row["se"] == pytest.approx(with_it.bse[0])
        assert row["estimate_without"] == pytest.approx(without.params[0])
        assert row["se_without"] == pytest.approx(without.bse[0])
        assert row["se_ratio"] == pytest.approx(with_it.bse[0] / without.bse[0])
    assert "multiplies the standard errors by" in motion_of_terms(data).finding
    bare = replace(data, visits=replace(data.visits, motion_mm=None))
    assert np.isnan(row_of(bare, "dmn")["se_ratio"])
    assert row_of(bare, "dmn")["se_without"] == pytest.approx(row_of(data, "dmn")["se_without"])


def test_the_slope_equals_a_mixed_model_in_statsmodels(study_of):
    data = study_of(n_treated=10, n_control=10)
    rng = np.random.default_rng(3)
    fd = rng.gamma(4, 0.05, (20, 2))
    data = moved(data, fd, slope=0.5)
    slopes = motion_slopes(data, data.motion)
    sample = data.analysis.sample
    from circuitshift.pipeline.model.global_model import level_response

    found = [
        level_response(
            sample,
            sample.remove(z),
            np.arange(20),
            with_deviation=data.analysis.deviation.identified,
        )[1]
        for z in (data.visits.baseline, data.visits.followup)
    ]
    arm = np.tile(data.visits.treated, 2).astype(float)
    visit = np.repeat([0.0, 1.0], 20)
    design = np.column_stack([np.r_[fd[:, 0], fd[:, 1]], np.ones(40), arm, visit, arm * visit])
    k = slopes.names.index("dmn")
    y = 10 * np.vstack(found)[:, k]  # larger variances, for the optimiser of statsmodels
    fitted = sm.MixedLM(y, design, groups=np.tile(np.arange(20), 2)).fit()
    assert slopes.slope[k] == pytest.approx(fitted.params[0] / 10, rel=1e-3)
    assert slopes.se[k] == pytest.approx(fitted.bse[0] / 10, rel=0.02)
    assert slopes.n_visits == 40


def test_a_change_that_motion_made_disappears_with_the_pooled_slope(study_of):
    """The truth is no change. All participants move more at follow-up."""
    estimates, covered = [], []
    for seed in range(12):
        data = study_of(n_control=0, n_treated=12, n_reference=0, seed=seed)
        rng = np.random.default_rng(1000 + seed)
        first = rng.gamma(4, 0.05, 12)
        fd = np.column_stack([first, first + 0.2 + rng.normal(0, 0.05, 12)])
        row = row_of(moved(data, fd, slope=0.5), "dmn")
        if np.isnan(row["estimate"]):  # the circuit is outside the range of the background
            continue
        estimates.append([row["estimate_without"], row["estimate_pooled"], row["se_pooled"]])
        covered.append(row["ci_low_pooled"] < 0 < row["ci_high_pooled"])
        assert row["se_pooled"] < row["se"]  # the covariate extrapolates
    without, pooled, se = np.mean(estimates, axis=0)
    assert without == pytest.approx(0.1, abs=0.04)
    assert abs(pooled) < 2.5 * se / np.sqrt(len(covered))
    assert len(covered) >= 10
    assert sum(covered) >= len(covered) - 2


def test_slopes_that_differ_between_and_within_participants_are_marked(study_of):
    data = study_of(n_control=0, n_treated=16, n_reference=0)
    rng = np.random.default_rng(5)
    person, visit = rng.normal(0.3, 0.1, (16, 1)), rng.normal(0, 0.05, (16, 2))
    fd = np.abs(person + visit)
    data = moved(data, fd)
    visits = data.visits
    dmn = data.circuits["dmn"]
    for z in (visits.baseline, visits.followup):  # a trait of participants who move, not motion
        z[:, dmn] += 3 * (person - person.mean())
    analysis = analyse(visits, data.circuits, rng=np.random.default_rng(1), rules=data.rules)
    row = row_of(replace(data, analysis=analysis), "dmn")
    assert row["slope_differs_p"] < 0.01


def test_baselines_without_a_follow_up_and_further_visits_enter_the_slope(study_of):
    data = study_of()
    fd = np.random.default_rng(6).gamma(4, 0.05, (18, 2))
    lone = data.visits.baseline[:5] + np.random.default_rng(7).normal(0, 0.1, (5, 190))
    lone_fd = np.array([0.1, 0.2, 0.3, np.nan, 0.15])
    with_lone = moved(data, fd, lone=lone)
    with_lone = replace(with_lone, motion=VisitMotion(fd, lone_fd))
    assert row_of(with_lone, "dmn")["n_visits"] == 18 * 2 + 4
    levels = replace(data.levels, motion_mm=fd.T.ravel())
    assert row_of(replace(moved(data, fd), levels=levels), "dmn")["n_visits"] == 36


def test_a_change_that_depends_on_motion_has_an_impact_score(study_of):
    data = study_of(n_treated=12, n_control=12)
    fd = np.random.default_rng(8).gamma(4, 0.05, (24, 2))
    data = moved(data, fd)
    rng = np.random.default_rng(9)
    change = data.visits.change
    noise = rng.normal(0, 0.1, change.shape)
    extra = np.zeros_like(change)
    extra[np.ix_(data.visits.treated, data.circuits["dmn"])] = -0.3
    row_of(data, "dmn")
    halves = VisitMotion(fd, np.empty(0), change - noise, change + noise + extra)
    found = motion_of_terms(replace(data, motion=halves))
    rows = {row["term"]: row for row in found.tables["motion"]}
    assert rows["dmn"]["impact"] == pytest.approx(-0.3, abs=0.12)
    assert rows["dmn"]["impact_p_corrected"] < 0.05
    expected = "inflates" if rows["dmn"]["estimate"] < 0 else "masks"
    assert rows["dmn"]["impact_direction"] == expected
    assert rows["tpn"]["impact_p_corrected"] > 0.05
    assert f"dmn (motion {expected} the change)" in found.finding
    # a direction that the study file states for the change is not one of the impact of motion
    upwards = replace(data, motion=halves, rules=replace(data.rules, sides={"dmn": "increase"}))
    assert row_of(upwards, "dmn")["impact_p_corrected"] < 0.05
    nothing = replace(halves, high_change=change + noise)
    assert "No difference was found" in motion_of_terms(replace(data, motion=nothing)).finding
    three = np.where(np.arange(24)[:, None] < 3, change, np.nan)
    few = replace(halves, low_change=three)
    assert np.isnan(row_of(replace(data, motion=few), "dmn")["impact"])


def test_crossovers_subtract_the_control_condition(study_of):
    data = study_of(n_control=0, n_treated=10, n_reference=0)
    rng = np.random.default_rng(10)
    fd = rng.gamma(4, 0.05, (10, 4))
    motion = fd[:, 1] - fd[:, 0] - fd[:, 3] + fd[:, 2]
    noise = rng.normal(0, 0.05, (2, *data.visits.baseline.shape))
    visits = replace(
        data.visits,
        control_baseline=data.visits.baseline + noise[0],
        control_followup=data.visits.baseline + noise[1],
        motion_mm=motion,
    )
    analysis = analyse(visits, data.circuits, rng=rng, rules=data.rules)
    crossover = replace(
        data, visits=visits, analysis=analysis, motion=VisitMotion(fd, np.empty(0)), levels=None
    )
    row = row_of(crossover, "dmn")
    y = analysis.response.specific[:, 0] - motion * row["slope"]
    assert row["estimate_pooled"] == pytest.approx(y.mean())
    of_slope = motion.mean() * row["slope_se"]
    assert row["se_pooled"] == pytest.approx(np.hypot(y.std(ddof=1) / np.sqrt(10), of_slope))
    assert abs(of_slope) > 0.01 * row["se_pooled"]
    assert row["n_visits"] == 40


def test_without_motion_there_is_no_table(study_of):
    data = study_of()
    unknown = VisitMotion(np.full((18, 2), np.nan), np.empty(0))
    assert motion_of_terms(replace(data, motion=None)) == SecondaryResult()
    assert motion_of_terms(replace(data, motion=unknown)) == SecondaryResult()
    constant = VisitMotion(np.full((18, 2), 0.2), np.empty(0))
    row = row_of(replace(data, motion=constant, levels=None), "dmn")
    assert np.isnan(row["slope"])
    assert np.isnan(row["estimate_pooled"])
    removed = replace(data, visits=replace(data.visits, global_signal_removed=True))
    terms = {row["term"] for row in motion_of_terms(removed).tables["motion"]}
    assert terms & {"shift", "gain"} == set()
