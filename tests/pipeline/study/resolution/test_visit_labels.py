"""The time that a session label states."""

import pytest

from circuitshift.pipeline.study.resolution.visit_labels import read_label


@pytest.mark.parametrize(
    ("label", "phase", "days", "number"),
    [
        ("pre", "before", None, None),
        ("Baseline", "before", None, None),
        ("bl", "before", None, None),
        ("screening", "before", None, None),
        ("predrug", "before", None, None),
        ("posttreatment", "after", None, None),
        ("FollowUp2", "after", None, 2),
        ("fu6m", "after", 6 * 30.4375, None),
        ("week4", "", 28, None),
        ("w12", "", 84, None),
        ("12weeks", "", 84, None),
        ("3mo", "", 3 * 30.4375, None),
        ("year1", "", 365.25, None),
        ("d0", "", 0, None),
        ("V2W8", "", 56, None),
        ("visit2weeks", "", 14, None),
        ("arm1week4", "", 28, None),
        ("01", "", None, 1),
        ("V2", "", None, 2),
        ("tp3", "", None, 3),
        ("session10", "", None, 10),
        ("baselineYear1Arm1", "before", 365.25, None),
        ("2YearFollowUpYArm1", "after", 730.5, None),
    ],
)
def test_labels_that_state_a_time(label, phase, days, number):
    time = read_label(label)
    assert (time.phase, time.days, time.number) == (phase, days, number)


@pytest.mark.parametrize(
    "label",
    ["A", "postpartum", "presentation", "ketamine", "drug1", "arm2", "intact", "prepost", "drug"],
)
def test_labels_that_state_no_time(label):
    assert read_label(label) is None
