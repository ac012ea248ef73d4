"""Slopes of the change on moderators equal an independent regression, and find planted effects."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from circuitshift.pipeline.model.secondary.record import SecondaryResult
from circuitshift.pipeline.model.secondary.rivals.moderators import (
    SLOPE,
    SLOPE_DIFFERENCE,
    moderator_questions,
    moderators,
)


def with_values(data, effect, *, removed=False, **named):
    """Return a study whose circuit responses are changed by `effect`, with named moderators."""
    response = data.analysis.response
    changed = replace(response, specific=response.specific + effect)
    visits = replace(data.visits, global_signal_removed=removed)
    analysis = replace(data.analysis, response=changed)
    return replace(data, analysis=analysis, visits=visits, moderators=named)


def rows_of(data, **keys):
    rows = moderators(data).tables["moderators"]
    return [row for row in rows if all(row[key] == value for key, value in keys.items())]


@pytest.mark.parametrize("n_control", [0, 9])
def test_slopes_equal_a_regression_in_statsmodels(study_of, n_control):
    data = study_of(n_control=n_control)
    dose = np.random.default_rng(3).normal(20, 5, len(data.participants))
    motion = np.random.default_rng(4).normal(0, 0.1, len(dose))
    data = with_values(replace(data, visits=replace(data.visits, motion_mm=motion)), 0.0, dose=dose)
    arms = data.visits.treated
    columns = [dose, np.ones(len(dose)), motion] + ([arms.astype(float)] if n_control else [])
    y = data.analysis.response.specific
    for k, name in enumerate(data.circuits):
        (row,) = rows_of(data, term=name, effect=SLOPE)
        design = np.column_stack(columns)
        if n_control:  # randomised arms are adjusted for the baseline
            level = data.analysis.levels[:, len(data.analysis.response.terms) + k]
            design = np.column_stack([design, level])
        expected = sm.OLS(y[:, k], design).fit()
        assert row["estimate"] == pytest.approx(expected.params[0])
        assert row["n"] == len(dose)
        if not n_control:  # one variance group
            excess = row["se"] ** 2 - expected.bse[0] ** 2
            assert -1e-12 < excess < 0.5 * expected.bse[0] ** 2  # variance of the shared regressors
            assert rows_of(data, effect=SLOPE_DIFFERENCE) == []
            continue
        (row,) = rows_of(data, term=name, effect=SLOPE_DIFFERENCE)
        expected = sm.OLS(y[:, k], np.column_stack([arms * dose, design])).fit()
        assert row["estimate"] == pytest.approx(expected.params[0])


def test_a_dose_effect_in_the_treated_arm_is_found_and_named(study_of):
    data = study_of(n_treated=14, n_control=14)
    dose = np.random.default_rng(5).normal(20, 5, 28)
    effect = np.outer(data.visits.treated * (dose - 20) * 0.06, [1, 0])
    found = moderators(with_values(data, effect, dose=dose))
    rows = {(r["term"], r["effect"]): r for r in found.tables["moderators"]}
    difference = rows["dmn", SLOPE_DIFFERENCE]
    assert difference["ci_low"] < 0.06 < difference["ci_high"]
    assert difference["p_corrected"] < 0.05
    assert difference["unit"] == "Fisher z per unit of the moderator"
    assert rows["tpn", SLOPE_DIFFERENCE]["p_corrected"] > 0.05
    assert found.finding.startswith("The change of dmn")
    assert "associated with dose, and differently in the two arms (dmn)." in found.finding
    values = found.tables["moderator_values"]
    assert [r["value"] for r in values] == dose.tolist()
    assert [r["arm"] for r in values] == ["treated"] * 14 + ["control"] * 14


def test_a_moderator_of_the_treated_arm_alone_uses_that_arm_only(study_of):
    data = study_of(randomised=False)
    dose = np.where(data.visits.treated, np.arange(18) * 1.0, np.nan)
    rows = rows_of(with_values(data, 0.0, dose=dose))
    assert {row["effect"] for row in rows} == {SLOPE}
    assert {row["n"] for row in rows} == {9}
    y = data.analysis.response.specific[:9, 0]
    (dmn,) = [row for row in rows if row["term"] == "dmn"]
    assert dmn["estimate"] == pytest.approx(np.polyfit(dose[:9], y, 1)[0])
    # control participants of one dose (placebo, 0 mg) carry no information on the slope
    placebo = np.where(data.visits.treated, dose, 0.0)
    assert {row["effect"] for row in rows_of(with_values(data, 0.0, dose=placebo))} == {SLOPE}


def test_p_is_corrected_over_variables_and_moderators(study_of):
    data = study_of()
    rng = np.random.default_rng(6)
    dose, delay = rng.normal(20, 5, 18), rng.normal(3, 1, 18)
    one = {r["term"]: r for r in rows_of(with_values(data, 0.0, dose=dose), effect=SLOPE)}
    both = rows_of(with_values(data, 0.0, dose=dose, delay=delay), moderator="dose", effect=SLOPE)
    for row in both:
        alone = one[row["term"]]
        assert alone["p"] <= alone["p_corrected"]
        assert row["estimate"] == alone["estimate"]
        # other random permutations are drawn for the second analysis
        assert row["p_corrected"] == pytest.approx(min(1, 2 * alone["p_corrected"]), abs=0.4)
        assert row["p_corrected"] >= min(1, 2 * row["p"])


def test_the_false_positive_rate_over_all_terms_and_moderators_is_nominal(study_of):
    """120 studies with two random moderators: the 99 % interval of .05 per effect is 0 to 12."""
    data = study_of()
    hits = np.zeros(2)
    for seed in range(120):
        rng = np.random.default_rng(seed)
        own = replace(
            with_values(data, 0.0, dose=rng.normal(0, 1, 18), delay=rng.exponential(1, 18)), rng=rng
        )
        rows = rows_of(own, kind="circuit")
        for k, effect in enumerate((SLOPE, SLOPE_DIFFERENCE)):
            hits[k] += min(r["p_corrected"] for r in rows if r["effect"] == effect) <= 0.05
    assert hits.max() <= 12


def test_values_that_allow_no_test_are_explained(study_of):
    data = study_of()
    constant = rows_of(with_values(data, 0.0, dose=np.full(18, 3.0)))
    assert all("all participants have the same value" in row["note"] for row in constant)
    few = rows_of(with_values(data, 0.0, dose=np.r_[1.0, 2.0, np.full(16, np.nan)]))
    assert all("fewer than 4 participants" in row["note"] for row in few)
    assert all(np.isnan(row["p_corrected"]) for row in (*constant, *few))
    assert moderators(replace(data, moderators={})) == SecondaryResult()
    kinds = {row["kind"] for row in rows_of(with_values(data, 0.0, removed=True, dose=np.ones(18)))}
    assert kinds == {"circuit"}  # global terms have no meaning after global signal regression


def test_secondary_circuits_are_a_family_of_their_own(study_of):
    data = study_of()
    data = replace(data, rules=replace(data.rules, primary=("tpn",)))
    dose = np.random.default_rng(7).normal(20, 5, 18)
    rows = rows_of(with_values(data, 0.0, dose=dose), effect=SLOPE)
    kinds = {row["term"]: row["kind"] for row in rows}
    assert (kinds["tpn"], kinds["dmn"]) == ("circuit", "secondary circuit")
    alone = [row for row in rows if row["kind"] != "global"]
    assert all(row["p_corrected"] == row["p"] for row in alone)  # one circuit in each family


def test_permutations_stay_within_sites(study_of):
    data = study_of()
    sites = np.arange(18) % 2
    data = replace(data, visits=replace(data.visits, blocks=sites))
    for question in moderator_questions(data, "dose", np.arange(18.0)):
        assert question.blocks is sites
        assert not question.flips
