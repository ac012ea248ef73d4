"""Share of the deviation closed: by circuit, and throughout the brain by split halves."""

import numpy as np
import pytest

from circuitshift.pipeline.model.secondary.closed_share import shares_of_circuits, split_half_test
from circuitshift.pipeline.stats.missing_values import circuit_means
from circuitshift.pipeline.validation.simulate.edges import Truth


def test_the_share_of_a_circuit_is_change_over_deviation(study_of):
    data = study_of(n_control=0, n_treated=12, n_reference=12, circuit_deviation=0.4)
    visits = data.visits
    rows = shares_of_circuits(data).tables["normalisation"]
    assert [row["circuit"] for row in rows] == ["dmn", "tpn"]
    change, before, healthy = (
        circuit_means(z, data.circuits).mean(axis=0)
        for z in (visits.change, visits.before, visits.reference)
    )
    for k, row in enumerate(rows):
        assert row["change_z"] == pytest.approx(change[k])
        assert row["deviation_z"] == pytest.approx(healthy[k] - before[k])
        if row["identified"]:
            assert row["share"] == pytest.approx(change[k] / (healthy[k] - before[k]))
        else:
            assert np.isnan(row["share"])
            assert row["remark"]


def test_participants_without_follow_up_enter_the_deviation_but_not_the_change(study_of):
    alone = study_of()
    more = study_of(baseline_only=alone.visits.baseline[:4] + 0.3)
    (row, _), (other, _) = (
        shares_of_circuits(data).tables["normalisation"] for data in (alone, more)
    )
    assert other["deviation_z"] != row["deviation_z"]
    assert other["change_z"] == row["change_z"]


def test_without_a_reference_group_there_is_no_share(study_of):
    data = study_of(n_reference=0)
    assert shares_of_circuits(data).tables == {}
    assert shares_of_circuits(data).summary == {}
    assert split_half_test(data).estimates == ()


def test_split_halves_find_a_planted_share(study_of):
    data = study_of(
        Truth(normalisation=0.6), n_treated=16, n_control=0, n_reference=16, deviation_sd=0.3
    )
    (row,) = split_half_test(data).estimates
    assert row.family == "normalisation, split-half instrument"
    assert row.ci_low < 0.6 < row.ci_high
    assert row.p < 0.05
