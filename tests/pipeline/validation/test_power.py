"""Plan first; how many people; how often the tests err on one's own people."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.errors import DesignError, InputError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.model.contrasts import Rules, Visits
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.study.preregistration import compare_plan, freeze_plan, plan_of
from circuitshift.pipeline.study.study_file import StudyFile
from circuitshift.pipeline.validation.calibration_own_data import flipped, halves, null_rows
from circuitshift.pipeline.validation.power import (
    PowerQuestion,
    circuit_reliability,
    power_table,
    write_power,
)
from circuitshift.pipeline.validation.simulate.edges import EdgeSpec, Truth, simulate_edges

STATED = StudyFile(None, (("baseline", "pre"), ("sesoi_z", 0.1), ("days", (("pre", 0),))))


def test_a_frozen_plan_is_followed_or_not(tmp_path):
    plan = plan_of(STATED, AnalysisSettings())
    assert compare_plan(tmp_path, plan)["frozen"] is False
    path = freeze_plan(tmp_path, plan)
    first = path.read_bytes()
    assert freeze_plan(tmp_path, plan).read_bytes() == first
    found = compare_plan(tmp_path, plan)
    assert found["followed"]
    assert "this analysis follows it" in found["sentence"]
    other = StudyFile(None, (("baseline", "pre"), ("sesoi_z", 0.05)))
    departed = compare_plan(tmp_path, plan_of(other, AnalysisSettings(min_minutes=3)))
    assert not departed["followed"]
    assert departed["departures"] == [
        "settings: min_minutes",
        "study file: days",
        "study file: sesoi_z",
    ]
    with pytest.raises(InputError, match="a plan is frozen once"):
        freeze_plan(tmp_path, plan_of(other, AnalysisSettings()))


def test_an_edited_plan_and_a_late_one_are_told(tmp_path):
    plan = plan_of(STATED, AnalysisSettings())
    path = freeze_plan(tmp_path, plan)
    content = json.loads(path.read_text())
    content["plan"]["study file"]["sesoi_z"] = 0.2
    path.write_text(json.dumps(content))
    found = compare_plan(tmp_path, plan_of(StudyFile(None, ()), AnalysisSettings()))
    assert "plan.json was edited since" in found["sentence"]
    path.unlink()
    (tmp_path / "tests.tsv").write_text("test\n")
    freeze_plan(tmp_path, plan)
    late = compare_plan(tmp_path, plan)
    assert not late["followed"]
    assert "after results were there" in late["sentence"]


def test_files_of_circuits_are_part_of_the_plan(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("a = 1\n")
    settings = AnalysisSettings(circuits=(str(path),))
    before = plan_of(STATED, settings)
    path.write_text("a = 2\n")
    assert before != plan_of(STATED, settings)
    assert list(before["files"]) == ["mine.toml"]


def test_reliability_of_a_simulated_circuit():
    spec = EdgeSpec(n_treated=400, n_reference=0)
    study = simulate_edges(Truth(), spec, np.random.default_rng(0))
    first, second = (z[:, study.circuit].mean(axis=1) for z in (study.baseline, study.followup))
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(circuit_reliability(spec), abs=0.09)


def test_power_rises_with_people_and_reliability(tmp_path):
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
    assert "people per arm" in figure.read_text()
    content = figure.read_bytes()
    write_power(tmp_path, question, rows)
    assert figure.read_bytes() == content


def test_minutes_and_nonsense():
    with pytest.raises(DesignError, match="too few for the model"):
        next(power_table(PowerQuestion(), [3]))
    with pytest.raises(DesignError, match="are no measurement"):
        next(power_table(PowerQuestion(minutes=0), [10]))
    with pytest.raises(DesignError, match="not between 0 and 1"):
        next(power_table(PowerQuestion(reliability=1.0), [10]))


SMALL = EdgeSpec(n_regions=40, n_circuit=8, n_treated=12, n_control=12, n_reference=12)


def test_a_flipped_study_keeps_its_noise_and_loses_its_effect():
    study = simulate_edges(Truth(shift=0.5), SMALL, np.random.default_rng(1))
    visits = Visits(
        study.baseline,
        study.followup,
        FeatureSpace.of_edges(40),
        treated=study.treated,
        blocks=np.arange(24) % 2,
        motion_mm=np.arange(24.0),
    )
    found = flipped(visits, np.random.default_rng(2))
    np.testing.assert_allclose(np.abs(found.change), np.abs(visits.change))
    assert found.treated.sum() == 12
    for block in (0, 1):
        own = visits.blocks == block
        assert found.treated[own].sum() == study.treated[own].sum()
    sign = np.sign(found.change[:, 0] / visits.change[:, 0])
    np.testing.assert_array_equal(found.motion_mm, sign * visits.motion_mm)


def test_the_tests_hold_their_level_on_flipped_people():
    study = simulate_edges(
        Truth(shift=0.1, gain=0.2, specific=0.2), SMALL, np.random.default_rng(3)
    )
    visits = Visits(
        study.baseline,
        study.followup,
        FeatureSpace.of_edges(40),
        treated=study.treated,
        reference=study.reference,
    )
    row = null_rows(
        "sign flips",
        visits,
        study.circuits,
        rules=Rules(n_permutations=99),
        n_studies=120,
        seed=1,
        n_procs=2,
    )
    for family in ("global", "specific", "specific, node-adjusted"):
        assert row.rejected[family] <= 0.12, family  # 99.9 % bound


def test_halves_are_visits():
    z = np.zeros((6, 3))
    visits = Visits(z, z + 1, FeatureSpace.of_edges(3), motion_mm=np.ones(6))
    found = halves(visits, z + 2, z + 3)
    assert found.motion_mm is None
    np.testing.assert_array_equal(found.change, np.ones((6, 3)))
