"""A frozen plan names the code that it was made with, part by part."""

import pytest

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.study.preregistration import (
    compare_plan,
    freeze_plan,
    installed_code,
    plan_of,
)
from circuitshift.pipeline.study.study_file import StudyFile

STATED = StudyFile(None, (("baseline", "pre"),))


def edited(plan, part):
    return plan | {"code": plan["code"] | {part: "other"}}


@pytest.mark.parametrize("part", ["measuring", "group level"])
def test_other_code_is_a_departure_and_says_which(tmp_path, part):
    plan = plan_of(STATED, AnalysisSettings())
    assert plan["code"] == installed_code()
    freeze_plan(tmp_path / "group", plan)
    assert compare_plan(tmp_path / "group", plan)["departures"] == []
    found = compare_plan(tmp_path / "group", edited(plan, part))
    assert found["departures"] == [f"code: {part}"]
    assert not found["followed"]


@pytest.mark.parametrize("folder", ["preproc", "datasets/healthy/preproc"])
def test_the_code_of_preprocessing_counts_where_images_were_preprocessed_here(tmp_path, folder):
    plan = plan_of(STATED, AnalysisSettings())
    freeze_plan(tmp_path / "group", plan)
    other = edited(plan, "preprocessing")
    assert compare_plan(tmp_path / "group", other)["followed"]
    (tmp_path / folder).mkdir(parents=True)
    assert compare_plan(tmp_path / "group", other)["departures"] == ["code: preprocessing"]


def test_a_plan_that_names_one_hash_for_all_code_departs(tmp_path):
    """Plans of version 0.1.0 before hashes of parts."""
    plan = plan_of(STATED, AnalysisSettings())
    path = freeze_plan(tmp_path / "group", plan)
    content = tables.read_json(path)
    content["plan"]["code"] = "0123456789ab"
    tables.write_json(path, content)
    found = compare_plan(tmp_path / "group", plan)["departures"]
    assert found == ["code: measuring", "code: group level", "plan.json itself"]
