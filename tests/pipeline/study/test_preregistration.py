"""Plans are frozen once, and departures from them are reported."""

import json

import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.study.preregistration import (
    compare_plan,
    freeze_plan,
    installed_code,
    plan_of,
)
from circuitshift.pipeline.study.study_file import StudyFile

STATED = StudyFile(None, (("baseline", "pre"), ("sesoi_z", 0.1), ("days", (("pre", 0),))))


def test_departures_from_a_frozen_plan_are_listed(tmp_path):
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


def test_a_plan_that_was_edited_or_frozen_late_is_reported(tmp_path):
    plan = plan_of(STATED, AnalysisSettings())
    path = freeze_plan(tmp_path, plan)
    content = json.loads(path.read_text())
    content["plan"]["study file"]["sesoi_z"] = 0.2
    path.write_text(json.dumps(content))
    found = compare_plan(tmp_path, plan_of(StudyFile(None, ()), AnalysisSettings()))
    assert "plan.json was edited afterwards" in found["sentence"]
    path.unlink()
    (tmp_path / "tests.tsv").write_text("test\n")
    freeze_plan(tmp_path, plan)
    late = compare_plan(tmp_path, plan)
    assert not late["followed"]
    assert "after results had been written" in late["sentence"]


def test_files_of_circuits_are_part_of_the_plan(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("a = 1\n")
    settings = AnalysisSettings(circuits=(str(path),))
    before = plan_of(STATED, settings)
    path.write_text("a = 2\n")
    assert before != plan_of(STATED, settings)
    assert list(before["files"]) == ["mine.toml"]


PLAIN = StudyFile(None, (("baseline", "pre"),))


def edited(plan, part):
    return plan | {"code": plan["code"] | {part: "other"}}


@pytest.mark.parametrize("part", ["measuring", "group level"])
def test_other_code_is_a_departure_that_names_the_part(tmp_path, part):
    plan = plan_of(PLAIN, AnalysisSettings())
    assert plan["code"] == installed_code()
    freeze_plan(tmp_path / "group", plan)
    assert compare_plan(tmp_path / "group", plan)["departures"] == []
    found = compare_plan(tmp_path / "group", edited(plan, part))
    assert found["departures"] == [f"code: {part}"]
    assert not found["followed"]


@pytest.mark.parametrize("folder", ["preproc", "datasets/healthy/preproc"])
def test_the_code_of_preprocessing_is_compared_if_there_are_preprocessed_images(tmp_path, folder):
    plan = plan_of(PLAIN, AnalysisSettings())
    freeze_plan(tmp_path / "group", plan)
    other = edited(plan, "preprocessing")
    assert compare_plan(tmp_path / "group", other)["followed"]
    (tmp_path / folder).mkdir(parents=True)
    assert compare_plan(tmp_path / "group", other)["departures"] == ["code: preprocessing"]


def test_a_plan_with_one_hash_for_all_code_departs(tmp_path):
    """Early versions recorded one hash instead of a hash of each part."""
    plan = plan_of(PLAIN, AnalysisSettings())
    path = freeze_plan(tmp_path / "group", plan)
    content = tables.read_json(path)
    content["plan"]["code"] = "0123456789ab"
    tables.write_json(path, content)
    found = compare_plan(tmp_path / "group", plan)["departures"]
    assert found == ["code: measuring", "code: group level", "plan.json itself"]
