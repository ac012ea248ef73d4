"""Power analysis: noise follows the question, and power follows size and reliability."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.model.contrasts import Rules
from circuitshift.pipeline.stats.detectable import power_beforehand
from circuitshift.pipeline.validation.calibration import CalibrationRow
from circuitshift.pipeline.validation.power import (
    STANDARD_EFFECTS,
    PowerQuestion,
    PowerRow,
    _share_correct,
    _spec,
    circuit_reliability,
    power_table,
    standard_power,
    write_power,
)
from circuitshift.pipeline.validation.simulate.edges import EdgeSpec, Truth, simulate_edges
from circuitshift.pipeline.validation.simulate.scenarios import Scenario


def test_the_reliability_of_a_circuit_is_that_of_simulated_visits():
    spec = EdgeSpec(n_treated=400, n_reference=0)
    study = simulate_edges(Truth(), spec, np.random.default_rng(0))
    first, second = (z[:, study.circuit].mean(axis=1) for z in (study.baseline, study.followup))
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(circuit_reliability(spec), abs=0.09)


def test_power_increases_with_participants_and_reliability(tmp_path):
    rules = Rules(n_permutations=99)
    question = PowerQuestion(specific=0.12, arms=1)
    rows = list(power_table(question, [8, 30], n_studies=24, n_procs=2, rules=rules))
    assert rows[1].specific_found > rows[0].specific_found + 0.2
    assert rows[1].global_found < 0.3
    better = replace(question, reliability=0.8)
    assert (
        next(power_table(better, [8], n_studies=24, n_procs=2, rules=rules)).specific_found
        > rows[0].specific_found
    )
    table, figure = write_power(tmp_path, question, rows)
    assert tables.read_table(table).numbers("n").tolist() == [8, 30]
    assert json.loads(table.with_suffix(".json").read_text())["Question"]["specific"] == 0.12
    assert ET.parse(figure).getroot().tag.endswith("svg")  # noqa: S314 - our own file
    assert "participants per arm" in figure.read_text()
    content = figure.read_bytes()
    write_power(tmp_path, question, rows)
    assert figure.read_bytes() == content


def test_longer_scans_and_reliable_circuits_have_less_noise():
    """Edge noise decreases with the root of the minutes, from a standard of 8 minutes."""
    default = EdgeSpec().state_sd
    for minutes, factor in ((8, 1.0), (32, 0.5), (2, 2.0)):
        spec = _spec(PowerQuestion(minutes=minutes), 20)
        assert spec.state_sd == pytest.approx((*default[:3], default[3] * factor))
    for reliability in (0.5, 0.8):
        spec = _spec(PowerQuestion(reliability=reliability), 20)
        assert circuit_reliability(spec) == pytest.approx(reliability)


def test_sizes_are_those_of_each_group():
    for arms, n_control in ((1, 0), (2, 20)):
        spec = _spec(PowerQuestion(arms=arms), 20)
        assert (spec.n_treated, spec.n_control, spec.n_reference) == (20, n_control, 20)


@pytest.mark.parametrize(
    ("shift", "specific", "share"),
    [(0.1, 0.0, 0.3), (0.0, 0.1, 0.25), (0.1, 0.1, 0.2), (0.0, 0.0, 0.15 + 0.1)],
)
def test_power_counts_the_verdict_of_the_planted_effects(shift, specific, share):
    verdicts = {
        "global": 0.3,
        "circuit-specific": 0.25,
        "both": 0.2,
        "neither": 0.15,
        "undetermined": 0.1,
    }
    scenario = Scenario(
        Truth(shift=shift, specific=specific),
        EdgeSpec(),
        is_global=bool(shift),
        is_specific=bool(specific),
        naive_is_valid=True,
    )
    row = CalibrationRow("x", scenario, 100, {}, {}, {}, 0.0, verdicts)
    assert _share_correct(row) == pytest.approx(share)


def test_impossible_questions_are_refused():
    with pytest.raises(DesignError, match="too few for the model"):
        next(power_table(PowerQuestion(), [3]))
    with pytest.raises(DesignError, match="minutes per visit must be positive"):
        next(power_table(PowerQuestion(minutes=0), [10]))
    with pytest.raises(DesignError, match="reliability must lie between 0 and 1"):
        next(power_table(PowerQuestion(reliability=1.0), [10]))


def test_standard_power_is_that_of_the_formula(tmp_path):
    one, two = (standard_power([20, 60], arms, n_tests=4) for arms in (1, 2))
    assert [row["n"] for row in one] == [20, 60]
    assert one[1]["power_at_d_0.5"] == pytest.approx(power_beforehand(0.5, 60, n_tests=4))
    expected = power_beforehand(0.4, 20, 20, n_tests=4, correlation=0.5)
    assert two[0]["power_at_d_0.4"] == pytest.approx(expected)
    effects = {name: float(name.removeprefix("power_at_d_")) for name in list(one[0])[1:]}
    assert effects == STANDARD_EFFECTS  # the name states the effect
    rows = [PowerRow(n, 10, 0.1, 0.2, 0.3) for n in (20, 60)]
    table, _ = write_power(tmp_path, PowerQuestion(arms=2), rows)
    written = tables.read_table(table).numbers("power_at_d_0.4")
    np.testing.assert_allclose(written, [row["power_at_d_0.4"] for row in two], atol=1e-4)
