"""Signs of selection at baseline, in simulated selected and unselected participants."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from circuitshift.pipeline.model.secondary.rivals.baseline_selection import (
    compare_variances,
    selection_at_baseline,
)


def dmn(data):
    return next(
        r for r in selection_at_baseline(data).tables["baseline_selection"] if r["circuit"] == "dmn"
    )


def with_circuit(data, before, after, healthy=None, again=None):
    """Return the study with given means of the DMN: all its edges have the same value."""
    edges = data.circuits["dmn"]

    def put(z, values):
        z = z.copy()
        z[:, edges] = values[:, None]
        return z

    visits = data.visits
    visits = replace(
        visits,
        baseline=put(visits.baseline, before),
        followup=put(visits.followup, after),
        reference=None if healthy is None else put(visits.reference, healthy),
        reference_again=None if again is None else put(visits.reference, again),
    )
    return replace(data, visits=visits)


def test_variances_are_compared_as_by_the_correlation_of_sum_and_difference():
    rng = np.random.default_rng(1)
    a = rng.normal(0, 1, 30)
    b = 0.5 * a + rng.normal(0, 2, 30)
    found = compare_variances(np.r_[a, np.nan], np.r_[b, 1.0])
    assert found.p == pytest.approx(stats.pearsonr(a + b, a - b).pvalue)
    assert found.ratio == pytest.approx(a.std() / b.std())
    for few in ((a[:3], b[:3]), (np.ones(9), b[:9]), (a, a)):
        assert np.isnan(compare_variances(*few).p)


def test_the_comparison_of_variances_is_nominal():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 400, 15)) + rng.normal(size=(1, 400, 15))
    hits = sum(compare_variances(x, y).p <= 0.05 for x, y in zip(a, b, strict=True))
    assert 9 <= hits <= 33  # 99 % interval of 5 % of 400


def test_selected_participants_are_noticed_and_the_regression_is_expected(study_of):
    """Of 200 candidates with reliability .5, the 40 strongest are treated; nothing else happens."""
    data = study_of(n_control=0, n_treated=40, n_reference=40)
    rng = np.random.default_rng(1)
    trait = rng.normal(0.4, 0.1, 200)
    first, second = trait + rng.normal(0, 0.1, (2, 200))
    chosen = np.argsort(first)[-40:]
    healthy, again = rng.normal(0.4, 0.1, 40) + rng.normal(0, 0.1, (2, 40))
    selected = with_circuit(data, first[chosen], second[chosen], healthy, again)
    row = dmn(selected)
    assert row["change"] < -0.05
    assert row["sd_ratio"] < 0.8
    assert row["sd_ratio_p"] < 0.025
    assert row["reliability"] == pytest.approx(0.5, abs=0.25)
    assert row["expected_regression"] == pytest.approx(row["change"], abs=0.06)
    finding = selection_at_baseline(selected).finding
    assert "vary less at baseline than at follow-up in dmn" in finding
    assert "the change is towards it in dmn (change -0." in finding
    controlled = replace(selected, visits=replace(selected.visits, treated=np.arange(40) < 20))
    assert selection_at_baseline(controlled).finding == ""
    unselected = with_circuit(data, first[:40], second[:40], healthy, again)
    assert selection_at_baseline(unselected).finding == ""


def test_signs_of_selection_are_stated_for_arms_that_were_not_randomised(study_of):
    """Treated participants are the 40 strongest of 200; control participants are not selected."""
    data = study_of(n_control=40, n_treated=40, n_reference=40)
    rng = np.random.default_rng(1)
    trait = rng.normal(0.4, 0.1, 200)
    first, second = trait + rng.normal(0, 0.1, (2, 200))
    chosen = np.argsort(first)[-40:]
    other = rng.normal(0.4, 0.1, 40) + rng.normal(0, 0.1, (2, 40))
    healthy, again = rng.normal(0.4, 0.1, 40) + rng.normal(0, 0.1, (2, 40))
    treated = data.visits.treated
    before, after = np.empty((2, 80))
    before[treated], after[treated] = first[chosen], second[chosen]
    before[~treated], after[~treated] = other
    selected = with_circuit(data, before, after, healthy, again)
    assert selection_at_baseline(selected).finding == ""  # randomised: it cancels
    natural = replace(selected, visits=replace(selected.visits, randomised=False))
    state = natural.rng.bit_generator.state
    found = selection_at_baseline(natural)
    assert natural.rng.bit_generator.state == state  # no other result can change
    assert "vary less at baseline than at follow-up in dmn of the treated" in found.finding
    assert "dmn of the control" not in found.finding
    assert "not assigned to the arms at random" in found.finding
    assert "Without a control arm" not in found.finding
    rows = {r["arm"]: r for r in found.tables["baseline_selection"] if r["circuit"] == "dmn"}
    assert set(rows) == {"treated", "control"}
    assert {r["n"] for r in rows.values()} == {40}
    assert rows["treated"]["change"] == pytest.approx((second - first)[chosen].mean())
    assert rows["control"]["change"] == pytest.approx((other[1] - other[0]).mean())


def test_reliability_comes_from_the_reference_group_or_from_halves(study_of):
    data = study_of()
    row = dmn(data)
    assert row["reliability_source"].startswith("halves of the baseline")
    halves = [z[:, data.circuits["dmn"]].mean(axis=1) for z in data.baseline_halves]
    table = np.column_stack(halves)
    n = len(table)
    between = 2 * table.mean(axis=1).var(ddof=1)
    error = (table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()) ** 2
    error = error.sum() / (n - 1)
    icc = (between - error) / (between + error)
    assert row["reliability"] == pytest.approx(2 * icc / (1 + icc))
    bare = dmn(replace(data, baseline_halves=None))
    assert np.isnan([bare["reliability"], bare["expected_regression"]]).all()


def test_the_deviation_is_tested_by_welch(study_of):
    data = study_of()
    row = dmn(data)
    edges = data.circuits["dmn"]
    a, b = (z[:, edges].mean(axis=1) for z in (data.visits.baseline, data.visits.reference))
    assert row["deviation_p"] == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    assert row["deviation"] == pytest.approx(a.mean() - b.mean())
    alone = replace(data, visits=replace(data.visits, reference=None))
    assert np.isnan(dmn(alone)["deviation_p"])
