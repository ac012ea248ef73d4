"""Roles that names of groups state, and names of columns."""

import pytest

from circuitshift.pipeline.study.resolution.group_words import (
    is_arm_column,
    is_code,
    is_diagnosis_column,
    word_of,
)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("drug", "treated"),
        ("ACTIVE", "treated"),
        ("active_treatment", "treated"),
        ("Placebo", "control"),
        ("sham-rTMS", "control"),
        ("wait list", "control"),
        ("waitlist", "control"),
        ("depr_no_treatment", "control"),
        ("TAU", "control"),
        ("HC", "reference"),
        ("Healthy Controls", "reference"),
        ("control", "control?"),
        ("Controls", "control?"),
    ],
)
def test_recognised_names(text, word):
    assert word_of(text) == word


@pytest.mark.parametrize(
    "text", ["0", "1", "A", "escitalopram", "MDD", "patient", "cbt", "tautest"]
)
def test_other_names_state_no_role(text):
    assert word_of(text) == ""


def test_names_of_columns():
    assert all(map(is_arm_column, ["arm", "Group", "treatment_group", "randomisationArm", "rx"]))
    assert all(map(is_arm_column, ["treated", "Placebo", "dose_mg", "assignedTo", "assigned_arm"]))
    assert all(map(is_diagnosis_column, ["diagnosis", "DX_group", "patient", "isPatient"]))
    assert not any(map(is_diagnosis_column, ["patience", "age", "site"]))
    assert all(map(is_code, ["0", "1.0", "A", "Yes", "FALSE", "-1"]))
    assert not any(map(is_code, ["MDD", "drug", "n/a", "AB"]))
    assert not any(map(is_arm_column, ["diagnosis", "sex", "site", "farm", "age", "drugs"]))
