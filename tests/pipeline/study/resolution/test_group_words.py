"""Roles that names of groups state, and names of columns."""

import pytest

from circuitshift.pipeline.study.resolution.group_words import (
    is_arm_column,
    is_arm_name,
    is_code,
    is_diagnosis_column,
    is_exclusion_column,
    is_order_column,
    may_be_arm_column,
    mentions_role,
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
        ("healthy young adults", "reference"),
        ("placebo (saline)", "control"),
        ("placebo responder", "control"),
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


@pytest.mark.parametrize(
    "text",
    [
        "not healthy",
        "healthy ketamine",
        "healthy placebo",
        "healthy sibling",
        "patients, compared with healthy controls",
        "placebo then drug",
        "placebo?",
        "drug_placebo",
        "MBCT + TAU",
        "drug (sham-controlled)",
        "open label (no placebo)",
    ],
)
def test_names_with_two_roles_or_a_denial_state_none_and_are_noticed(text):
    assert word_of(text) == ""
    assert mentions_role(text)
    assert not mentions_role("volunteer")


def test_columns_of_arms_in_other_spellings():
    assert all(map(is_arm_column, ["studyarm", "treatmentgroup", "grp", "ARMCD", "group1"]))
    assert not any(map(is_arm_column, ["alarm", "armband", "grouping"]))
    assert all(map(may_be_arm_column, ["cohort", "medication", "stim_type"]))
    assert not any(map(may_be_arm_column, ["sex", "site", "handedness"]))
    assert all(map(is_order_column, ["order", "treatment_sequence", "first_drug"]))
    assert not any(map(is_order_column, ["disorder", "arm", "age"]))


def test_names_of_columns():
    assert all(map(is_arm_column, ["arm", "Group", "treatment_group", "randomisationArm", "rx"]))
    assert all(map(is_arm_column, ["treated", "Placebo", "dose_mg", "assignedTo", "assigned_arm"]))
    assert all(map(is_diagnosis_column, ["diagnosis", "DX_group", "patient", "isPatient"]))
    assert not any(map(is_diagnosis_column, ["patience", "age", "site"]))
    assert all(map(is_code, ["0", "1.0", "A", "Yes", "FALSE", "-1"]))
    assert not any(map(is_code, ["MDD", "drug", "n/a", "AB"]))
    assert not any(map(is_arm_column, ["diagnosis", "sex", "site", "farm", "age", "drugs"]))


def test_names_that_are_words_for_arms_only_and_columns_of_exclusions():
    assert all(map(is_arm_name, ["group", "study_arm", "TreatmentGroup", "treatment_code"]))
    assert not any(map(is_arm_name, ["drug_level", "treatment_satisfaction", "id", "BDI"]))
    assert all(map(is_exclusion_column, ["exclude", "Included", "reason_excluded", "dropout"]))
    assert not any(map(is_exclusion_column, ["exclusive", "group"]))
