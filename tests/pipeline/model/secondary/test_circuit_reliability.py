"""Reliability of circuits: its sources, the disattenuated effect, and reliable change."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.model.secondary.circuit_reliability import reliability_of_circuits
from circuitshift.pipeline.stats.missing_values import circuit_means
from circuitshift.pipeline.stats.reliability import reliability, reliable_change


def rows_of(data, source):
    found = reliability_of_circuits(data)
    return found, [row for row in found.tables["reliability"] if row["source"] == source]


def test_the_control_arm_gives_reliability_and_reliable_change(study_of):
    data = study_of()
    visits, control = data.visits, ~data.visits.treated
    found, (row, _) = rows_of(data, "control arm")
    first, second = (
        circuit_means(z[control], data.circuits)[:, 0] for z in (visits.baseline, visits.followup)
    )
    expected = reliability(first, second)
    assert row["icc_consistency"] == expected.icc_consistency
    assert found.summary["icc"]["dmn"] == expected.icc_consistency
    change = circuit_means(visits.change, data.circuits)[:, 0]
    index = [row["dmn"] for row in found.tables["reliable_change"]]
    np.testing.assert_array_equal(index, reliable_change(change, second - first))
    assert [row["participant_id"] for row in found.tables["reliable_change"]] == [
        *data.participants
    ]


def test_an_effect_is_disattenuated_only_where_change_is_reliable(study_of):
    found, rows = rows_of(study_of(), "control arm")
    for row in rows:
        share = row["reliability_of_change"]
        if share >= 0.2:
            assert row["effect_d_disattenuated"] == pytest.approx(row["effect_d"] / share**0.5)
        else:
            assert np.isnan(row["effect_d_disattenuated"])
    assert found.remarks == ()


def test_a_crossover_uses_the_control_condition_and_has_no_reliable_change(study_of):
    plain = study_of(n_control=0)
    rng = np.random.default_rng(3)
    before = plain.visits.baseline + rng.normal(0, 0.05, plain.visits.baseline.shape)
    after = before + rng.normal(0, 0.05, before.shape)
    visits = replace(plain.visits, control_baseline=before, control_followup=after)
    found, rows = rows_of(replace(plain, visits=visits), "control condition")
    assert len(rows) == 2
    assert all(np.isnan(row["dmn"]) for row in found.tables["reliable_change"])
    # a shared baseline cancels in the change, which then has two measurements instead of four
    shared = replace(visits, control_baseline=visits.baseline)
    _, again = rows_of(replace(plain, visits=shared), "control condition")
    change = circuit_means(shared.change, plain.circuits)[:, 0]
    spread = change.std(ddof=1)
    assert again[0]["reliability_of_change"] == pytest.approx(
        1 - 2 * again[0]["sem"] ** 2 / spread**2
    )


def test_without_a_retest_the_reference_group_or_the_halves_are_used(study_of):
    data = study_of(n_control=0)
    found, rows = rows_of(data, "halves of the baseline, stepped up")
    assert len(rows) == len(found.tables["reliability"]) == 2
    assert "no participant was scanned twice" in found.remarks[0]
    first, second = (circuit_means(z, data.circuits)[:, 1] for z in data.baseline_halves)
    half = reliability(first, second)
    icc = half.icc_consistency
    assert rows[1]["icc_consistency"] == pytest.approx(2 * icc / (1 + icc))
    assert rows[1]["sem"] == pytest.approx(half.sem / 2**0.5)
    again = replace(data, visits=replace(data.visits, reference_again=data.visits.reference + 0.01))
    assert len(rows_of(again, "reference group")[1]) == 2
    nothing = reliability_of_circuits(replace(data, baseline_halves=None))
    assert nothing.tables["reliability"] == []
