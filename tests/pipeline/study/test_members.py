"""Roles, second treatment, symptoms, sites and covariates of the members of a study."""

import numpy as np
import pytest

from circuitshift.pipeline.bids.participants import ParticipantTable
from circuitshift.pipeline.study.members import GroupInput, study_members
from circuitshift.pipeline.study.study_file import Design


def table(labels, columns=None, visits=None):
    return ParticipantTable(tuple(labels), columns or {}, visits=visits or {})


def members_of(design, *, other=None, **columns):
    labels = ("01", "02", "03", "04")
    scores = {"MADRS": {("01", "pre"): "30", ("01", "post"): "12", ("02", "pre"): "25"}}
    participants = {"": table(labels, columns, scores)}
    if other:
        participants["ds2"] = table(("01", "02"), {"group": other})
        participants["ds3"] = table(("01",), {"group": ("healthy",)})
    named = {name: found.labels for name, found in participants.items()}
    found, *_ = study_members(GroupInput((), participants, named, ()), design)
    return {member.participant: member for member in found}


GROUPS = ("drug", "sham", "healthy", "other")


def test_roles_follow_the_groups():
    design = Design("pre", "post", treated=("drug",), control=("sham",), reference=("healthy",))
    found = members_of(design, group=GROUPS)
    assert [m.role for m in found.values()] == ["treated", "control", "reference", "none"]
    one_arm = members_of(Design("pre", "post"), group=GROUPS)
    assert {m.role for m in one_arm.values()} == {"treated"}


def test_the_reference_group_is_that_of_the_named_data_set():
    design = Design(
        "pre", "post", treated=("drug",), control=("sham",), reference=("healthy",),
        reference_dataset="ds2",
    )  # fmt: skip
    found = members_of(design, other=("healthy", "patients"), group=GROUPS)
    assert {k: m.role for k, m in found.items()} == {
        "01": "treated",
        "02": "control",
        "03": "none",  # a group of this name, but in another data set
        "04": "none",
        "ds2:01": "reference",
        "ds2:02": "none",
        "ds3:01": "none",
    }


def test_symptom_change_is_follow_up_minus_baseline():
    found = members_of(Design("pre", "post", symptom="MADRS"), group=GROUPS)
    assert found["01"].symptom == -18
    assert np.isnan(found["02"].symptom)


def test_the_order_of_a_crossover_follows_from_a_column_or_from_dates():
    visits = {"control_baseline": "pre2", "control_followup": "post2"}
    stated = Design("pre", "post", order="seq", treatment_first=("AB",), **visits)
    found = members_of(stated, group=GROUPS, seq=("AB", "BA", "n/a", "AB"))
    assert [m.treatment_first for m in found.values()] == [True, False, None, True]
    dates = {("01", "post"): "2020-01-02", ("01", "post2"): "2020-03-01",
             ("02", "post"): "2020-03-02", ("02", "post2"): "2020-01-01"}  # fmt: skip
    main = ParticipantTable(("01", "02", "03"), {}, visits={"acq_time": dates})
    measured = GroupInput((), {"": main}, {"": main.labels}, ())
    members, *_ = study_members(measured, Design("pre", "post", **visits))
    assert [m.treatment_first for m in members] == [True, False, None]
    parallel, *_ = study_members(measured, Design("pre", "post"))
    assert {m.treatment_first for m in parallel} == {None}


def test_moderators_are_columns_or_changes_of_scores():
    design = Design("pre", "post", moderators=("dose", "MADRS"))
    found = members_of(design, group=GROUPS, dose=("10", "20", "n/a", "30"))
    assert found["01"].moderators == (("dose", 10.0), ("change of MADRS", -18.0))
    assert found["03"].moderators[0][0] == "dose"
    assert np.isnan([found["03"].moderators[0][1], found["02"].moderators[1][1]]).all()


def test_the_second_level_of_a_factor_is_the_second_treatment():
    design = Design("pre", "post", factor="therapy", factor_levels=("none", "weekly"))
    found = members_of(design, group=GROUPS, therapy=("weekly", "none", "n/a", "daily"))
    assert [m.factor for m in found.values()] == [True, False, None, None]


def test_categories_become_indicators_and_missing_values_remain_missing():
    design = Design("pre", "post", covariates=("sex", "age"))
    found = members_of(
        design, group=GROUPS, sex=("F", "M", "n/a", "F"), age=("30", "n/a", "5", "1")
    )
    expected = [[0, 30], [1, np.nan], [np.nan, 5], [0, 1]]
    np.testing.assert_array_equal([m.covariates for m in found.values()], expected)
    assert found["01"].covariates == pytest.approx((0, 30))
