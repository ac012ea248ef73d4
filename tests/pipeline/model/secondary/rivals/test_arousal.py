"""Results with and without measures of arousal, against regressions in statsmodels."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from circuitshift.pipeline.model.secondary.record import SecondaryResult
from circuitshift.pipeline.model.secondary.rivals.arousal import (
    arousal_change,
    with_and_without_arousal,
)


def with_arousal(data, *, effect=0.0, **measures):
    """Return the study with measures; the DMN responds by `effect` per unit of the first."""
    response = data.analysis.response
    first = next(iter(measures.values()))
    change = np.nan_to_num(first[:, 1] - first[:, 0])
    specific = response.specific + np.outer(effect * change, [1, 0])
    analysis = replace(data.analysis, response=replace(response, specific=specific))
    return replace(data, analysis=analysis, arousal=measures)


def row_of(data, term="dmn", measure="pulse"):
    rows = with_and_without_arousal(data).tables["arousal"]
    (row,) = [r for r in rows if r["term"] == term and r["measure"] == measure]
    return row


@pytest.mark.parametrize("n_control", [0, 9])
def test_rows_equal_regressions(study_of, n_control):
    data = study_of(n_control=n_control)
    rng = np.random.default_rng(2)
    pulse = rng.normal([70, 74], 8, (len(data.participants), 2))
    data = with_arousal(data, pulse=pulse)
    row = row_of(data)
    change = pulse[:, 1] - pulse[:, 0]
    y = data.analysis.response.specific[:, 0]
    ones = np.ones(len(y))
    arms = [ones] if not n_control else [data.visits.treated.astype(float), ones]
    level = []
    if n_control:  # randomised arms are adjusted for the baseline
        level = [data.analysis.levels[:, len(data.analysis.response.terms)]]
    without = sm.OLS(y, np.column_stack([*arms, *level])).fit()
    adjusted = sm.OLS(y, np.column_stack([*arms, *level, change])).fit()
    assert row["estimate_without"] == pytest.approx(without.params[0])
    assert row["estimate_with"] == pytest.approx(adjusted.params[0])
    slope = sm.OLS(y, np.column_stack([*arms, change])).fit()
    assert row["slope"] == pytest.approx(slope.params[-1])
    expected = change.mean() if not n_control else change[:9].mean() - change[9:].mean()
    assert row["measure_change"] == pytest.approx(expected)
    if not n_control:
        assert row["se_without"] == pytest.approx(without.bse[0])
        assert row["se_with"] == pytest.approx(adjusted.bse[0])
        ends = row["ci_low_with"], row["ci_high_with"]
        assert ends == pytest.approx(adjusted.conf_int()[0])
        ends = row["ci_low_without"], row["ci_high_without"]
        assert ends == pytest.approx(without.conf_int()[0])


def test_a_change_that_follows_arousal_is_named(study_of):
    """The heart rate rises by 10 and the DMN follows it; nothing else happens."""
    data = study_of(n_control=0, n_treated=16, n_reference=0)
    rng = np.random.default_rng(3)
    first = rng.normal(70, 5, 16)
    pulse = np.column_stack([first, first + 10 + rng.normal(0, 6, 16)])
    data = with_arousal(data, effect=0.03, pulse=pulse)
    row = row_of(data)
    assert row["p_without"] < 0.05 < row["p_with"]
    assert row["slope"] == pytest.approx(0.03, abs=0.012)
    assert row["measure_change_p"] < 0.05
    finding = with_and_without_arousal(data).finding
    assert "dmn is associated with that of pulse." in finding
    without, adjusted = (
        f"{row[f'estimate_{w}']:+.3f} (95 % CI {row[f'ci_low_{w}']:.3f} to "
        f"{row[f'ci_high_{w}']:.3f})"
        for w in ("without", "with")
    )
    assert (
        "Changes without and with that of pulse as a covariate: "
        f"dmn {without} and {adjusted} Fisher z." in finding
    )
    assert "significant" not in finding


def test_an_estimate_that_hardly_changes_is_given_with_and_without(study_of):
    """The p value of a result with the covariate does not decide whether it is stated."""
    data = study_of(n_control=0, n_treated=16, n_reference=0)
    pulse = np.random.default_rng(3).normal(70, 5, (16, 2))
    data = with_arousal(data, pulse=pulse)
    specific = data.analysis.response.specific + np.array([0.3, 0])
    response = replace(data.analysis.response, specific=specific)
    data = replace(data, analysis=replace(data.analysis, response=response))
    row = row_of(data)
    assert max(row["p_without"], row["p_with"]) < 0.05
    assert f"dmn {row['estimate_without']:+.3f} (" in with_and_without_arousal(data).finding


def test_the_same_participants_are_compared(study_of):
    data = study_of()
    pulse = np.random.default_rng(4).normal(70, 8, (18, 2))
    pulse[3, 1] = np.nan
    row = row_of(with_arousal(data, pulse=pulse))
    y = data.analysis.response.specific[:, 0]
    kept = np.arange(18) != 3
    level = data.analysis.levels[:, len(data.analysis.response.terms)]
    design = np.column_stack([data.visits.treated.astype(float), np.ones(18), level])
    assert row["n"] == 17
    expected = sm.OLS(y[kept], design[kept]).fit().params[0]
    assert row["estimate_without"] == pytest.approx(expected)


def test_measures_that_cannot_be_used_are_remarked_and_others_are(study_of):
    data = study_of()
    few = np.where(np.arange(18)[:, None] < 3, [[1.0, 2.0]], np.nan)
    good = np.random.default_rng(5).normal(0, 1, (18, 2))
    found = with_and_without_arousal(
        replace(data, arousal={"few": few, "same": np.ones((18, 2)), "good": good})
    )
    assert [text.split(" is known")[0] for text in found.remarks] == [
        "Arousal: the change of few",
        "Arousal: the change of same",
    ]
    assert {row["measure"] for row in found.tables["arousal"]} == {"good"}
    assert with_and_without_arousal(replace(data, arousal={})) == SecondaryResult()
    removed = replace(data, visits=replace(data.visits, global_signal_removed=True))
    rows = with_and_without_arousal(removed).tables["arousal"]
    assert {row["kind"] for row in rows} == {"circuit"}


def test_changes_of_hours_are_circular_and_crossovers_subtract_the_control_condition():
    hours = np.array([[23.0, 1.0], [9.0, 14.0], [2.0, 22.0]])
    np.testing.assert_array_equal(arousal_change(hours, circular=True), [2, 5, -4])
    np.testing.assert_array_equal(arousal_change(hours), [-22, 5, 20])
    four = np.array([[1.0, 4.0, 2.0, 3.0]])
    np.testing.assert_array_equal(arousal_change(four), [2])
