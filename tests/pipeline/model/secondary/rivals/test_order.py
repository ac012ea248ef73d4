"""Effects of period and carry-over in a crossover, against an independent regression."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.analyse import analyse
from circuitshift.pipeline.model.secondary.record import SecondaryResult
from circuitshift.pipeline.model.secondary.rivals.order import order_of_conditions

FIRST = np.r_[np.ones(9), np.zeros(3)]


def crossover(study_of, *, period=0.0, treatment=0.0, carry_over=0.0, seed=1, motion=None):
    """Return a crossover of 12 participants with effects on the DMN; 9 had the treatment first."""
    data = study_of(n_control=0, n_treated=12, n_reference=0, seed=seed)
    rng = np.random.default_rng(seed)
    before = data.visits.baseline
    dmn = np.zeros(before.shape[1])
    dmn[data.circuits["dmn"]] = 1.0

    def after(extra):
        person = rng.normal(0, 0.03, (12, 1)) * dmn
        return before + person + rng.normal(0, 0.05, before.shape) + extra[:, None] * dmn

    visits = replace(
        data.visits,
        followup=after(treatment + period * (1 - FIRST)),
        control_baseline=before + rng.normal(0, 0.05, before.shape),
        control_followup=after(period * FIRST + carry_over * FIRST),
        motion_mm=motion,
    )
    analysis = analyse(visits, data.circuits, rng=rng, rules=data.rules)
    return replace(data, visits=visits, analysis=analysis, treatment_first=FIRST)


def rows_of(data):
    rows = order_of_conditions(data).tables["order"]
    return {(row["effect"], row["term"]): row for row in rows}


@pytest.mark.parametrize("motion", [None, np.random.default_rng(4).normal(0.02, 0.1, 12)])
def test_effects_equal_regressions_in_statsmodels(study_of, motion):
    data = crossover(study_of, period=0.2, treatment=0.1, motion=motion)
    rows = rows_of(data)
    y = data.analysis.response.specific[:, 0]
    more = [] if motion is None else [motion]
    fitted = sm.OLS(y, np.column_stack([np.ones(12), FIRST - 0.5, *more])).fit()
    treatment = rows["treatment, balanced order", "dmn"]
    assert treatment["estimate"] == pytest.approx(fitted.params[0])
    assert treatment["se"] == pytest.approx(fitted.bse[0])
    period = rows["second period minus first", "dmn"]
    assert period["estimate"] == pytest.approx(-fitted.params[1] / 2)
    assert period["se"] == pytest.approx(fitted.bse[1] / 2)
    assert period["ci_low"] < period["estimate"] < period["ci_high"]
    assert treatment["n"] == 12


def test_a_period_effect_is_removed_from_the_effect_of_treatment(study_of):
    """Nine of twelve had the treatment first, and every second period adds .3: no treatment."""
    data = crossover(study_of, period=0.3)
    assert data.analysis.response.specific[:, 0].mean() < -0.1  # biased: expected -.3 * 6 / 12
    rows = rows_of(data)
    treatment = rows["treatment, balanced order", "dmn"]
    assert treatment["ci_low"] < 0 < treatment["ci_high"]
    assert rows["second period minus first", "dmn"]["estimate"] == pytest.approx(0.3, abs=0.07)
    finding = order_of_conditions(data).finding
    assert "The treatment came first in 9 and second in 3 participants." in finding
    assert "dmn changed between the periods" in finding
    assert rows["carry-over", "dmn"]["p_corrected"] > 0.05


def test_carry_over_is_a_difference_of_sums(study_of):
    data = crossover(study_of, carry_over=0.4)
    row = rows_of(data)["carry-over", "dmn"]
    assert row["estimate"] == pytest.approx(0.4, abs=0.15)
    assert "differs between the orders, as with carry-over" in order_of_conditions(data).finding


def test_participants_of_unknown_order_are_left_out(study_of):
    data = crossover(study_of, period=0.2)
    some = np.where(np.arange(12) < 1, np.nan, FIRST)
    rows = rows_of(replace(data, treatment_first=some))
    assert {row["n"] for row in rows.values()} == {11}
    y = data.analysis.response.specific[1:, 0]
    fitted = sm.OLS(y, np.column_stack([np.ones(11), FIRST[1:] - 0.5])).fit()
    assert rows["treatment, balanced order", "dmn"]["estimate"] == pytest.approx(fitted.params[0])


def test_orders_that_are_unknown_or_the_same_are_explained(study_of):
    data = crossover(study_of)
    for unknown in (None, np.full(12, np.nan)):
        with pytest.raises(DesignError, match="order of the conditions is unknown"):
            order_of_conditions(replace(data, treatment_first=unknown))
    one = np.r_[np.ones(11), 0.0]
    with pytest.raises(DesignError, match="first in 11 and second in 1 participants"):
        order_of_conditions(replace(data, treatment_first=one))
    assert order_of_conditions(study_of()) == SecondaryResult()
    removed = replace(data, visits=replace(data.visits, global_signal_removed=True))
    assert {row["kind"] for row in order_of_conditions(removed).tables["order"]} == {"circuit"}


def test_a_circuit_of_participants_with_one_order_has_no_effect_at_balanced_order(study_of):
    data = crossover(study_of, period=0.2)
    response = data.analysis.response
    specific = response.specific.copy()
    specific[FIRST == 0, response.circuits.index("dmn")] = np.nan
    analysis = replace(data.analysis, response=replace(response, specific=specific))
    row = rows_of(replace(data, analysis=analysis))["treatment, balanced order", "dmn"]
    assert np.isnan(row["estimate"])
    assert "where it is 0 cannot be estimated" in row["note"]
