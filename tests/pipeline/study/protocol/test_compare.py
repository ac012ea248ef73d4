"""Differences of the protocol by visit, by arm, and unrelated to both."""

import pytest

from circuitshift.pipeline.study.protocol.acquired import AcquiredRun
from circuitshift.pipeline.study.protocol.compare import compare_protocol

VISITS = ("pre", "post")
PERSONS = tuple(f"{k:02d}" for k in range(14))
ARMS = {person: "treated" if k < 7 else "control" for k, person in enumerate(PERSONS)}
ONE_ARM = dict.fromkeys(PERSONS, "treated")


def study(value, name="repetition time", minutes=5.0, persons=PERSONS, visits=VISITS):
    """Make runs whose fact is a function of the number of the participant and the visit."""
    runs = []
    for k, person in enumerate(persons):
        for visit in visits:
            text = value(k, visit)
            facts = {} if text is None else {name: text}
            length = minutes(k, visit) if callable(minutes) else minutes
            runs.append(AcquiredRun(person, visit, f"{person}_{visit}", facts, length))
    return runs


def by_visit(before, after):
    return lambda _, visit: before if visit == "pre" else after


def same(_k, _visit):
    return "2 s"


# --- differences between visits


def test_a_difference_between_visits_is_a_warning():
    found = compare_protocol(study(by_visit("2.5 s", "0.8 s")), ARMS, VISITS)
    assert found.warnings == (
        "The protocol differs between visits: repetition time 2.5 s at ses-pre (14 participants), "
        "0.8 s at ses-post (14). Its effect is part of every change between the visits.",
    )
    assert found.notes == ()
    assert found.record["facts"]["repetition time"] == {
        "ses-pre": {"2.5 s": 14},
        "ses-post": {"0.8 s": 14},
    }
    assert found.record["differs_with"]["visit"] == ["repetition time"]
    assert "echo time" in found.record["not_stated"]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("scanner model", "Trio", "Prisma"),
        ("preprocessing software", "fMRIPrep 20.2.0", "fMRIPrep 23.1.3"),
        ("phase encoding direction", "j", "j-"),
        ("grid", "64x64x36 voxels of 3 x 3 x 3 mm", "97x115x97 voxels of 2 x 2 x 2 mm"),
        ("task", "rest", "resteyesclosed"),
    ],
)
def test_every_fact_is_compared(name, before, after):
    found = compare_protocol(study(by_visit(before, after), name), ONE_ARM, VISITS)
    assert f"between visits: {name} {before} at ses-pre (14" in found.warnings[0]
    assert f"{after} at ses-post (14)" in found.warnings[0]


def test_an_upgrade_during_the_study_goes_with_the_visit():
    """Three participants were scanned before and after the upgrade, all others on one version."""

    def version(k, visit):
        return "VE11C" if k < 5 or (k < 8 and visit == "pre") else "VE11E"

    (warning,) = compare_protocol(study(version, "scanner software"), ONE_ARM, VISITS).warnings
    assert (
        "scanner software VE11C at ses-pre (8 participants), VE11E at ses-pre (6), "
        "VE11E at ses-post (9), VE11C at ses-post (5)"
    ) in warning


def test_a_change_in_one_arm_only_goes_with_visit_and_arm():
    def model(k, visit):
        return "Prisma" if k < 7 and visit == "post" else "Trio"

    first, second = compare_protocol(study(model, "scanner model"), ARMS, VISITS).warnings
    assert "between visits: scanner model" in first
    assert (
        "between arms: scanner model Prisma in the treated arm (7 participants), Trio in the "
        "control arm (7) at ses-post. Its effect is part of every difference between the arms."
    ) in second


def test_unequal_scan_length_goes_with_the_visit():
    runs = study(same, minutes=lambda _, visit: 5.0 if visit == "pre" else 10.2)
    (warning,) = compare_protocol(runs, ARMS, VISITS).warnings
    assert "scan length 5 min at ses-pre (14 participants), 10.2 min at ses-post (14)" in warning


def test_the_runs_of_a_visit_are_added():
    runs = study(same) + study(same, visits=("post",))
    (warning,) = compare_protocol(runs, ARMS, VISITS).warnings
    assert "scan length 5 min at ses-pre (14 participants), 10 min at ses-post (14)" in warning


def test_scan_lengths_within_ten_per_cent_are_equal():
    runs = study(same, minutes=lambda k, visit: 5 + 0.02 * k + 0.1 * (visit == "post"))
    assert compare_protocol(runs, ARMS, VISITS).warnings == ()


def test_one_participant_with_another_protocol_is_a_note():
    runs = study(lambda k, visit: "3 s" if (k, visit) == (0, "post") else "2 s")
    found = compare_protocol(runs, ARMS, VISITS)
    assert found.warnings == ()
    assert found.notes == (
        "The protocol differs between participants, but neither with the visit nor with the arm: "
        "repetition time 2 s (14 participants), 3 s (1). This adds variance, but no systematic "
        "difference.",
    )


# --- differences between groups


def test_a_difference_between_arms_is_a_warning_with_the_names_of_the_arms():
    runs = study(lambda k, _: "2 s" if k < 7 else "3 s")
    labels = {"treated": "escitalopram", "control": "placebo"}
    (warning,) = compare_protocol(runs, ARMS, VISITS, labels).warnings
    assert warning == (
        "The protocol differs between arms: repetition time 2 s in the escitalopram arm (7 "
        "participants), 3 s in the placebo arm (7) at ses-pre. Its effect is part of every "
        "difference between the arms."
    )


def test_an_incomplete_difference_between_arms_is_a_warning():
    runs = study(lambda k, _: "A" if k < 6 or k == 13 else "B", "station")
    assert "between arms: station" in compare_protocol(runs, ARMS, VISITS).warnings[0]


def test_a_difference_from_the_reference_group_is_a_warning():
    """The reference group is of another data set with another session label."""
    others = tuple(f"healthy:{k}" for k in range(6))
    runs = study(same) + study(lambda *_: "3 s", persons=others, visits=("1",))
    found = compare_protocol(runs, ARMS | dict.fromkeys(others, "reference"), VISITS)
    (warning,) = found.warnings
    assert "patients and reference group: repetition time 2 s in the patients (14" in warning
    assert "3 s in the reference group (6) at ses-pre" in warning


@pytest.mark.parametrize(
    "value",
    [
        lambda k, _: f"site {k % 2}",  # two scanners, each participant on one of them
        lambda k, visit: f"site {(k + (visit == 'post')) % 2}",  # exchanged in both directions
        lambda k, _: f"scanner {k}",  # a value for each participant
    ],
)
def test_differences_unrelated_to_visit_and_arm_are_a_note(value):
    found = compare_protocol(study(value, "station"), ARMS, VISITS)
    assert found.warnings == ()
    assert "neither with the visit nor with the arm: station" in found.notes[0]


def test_many_values_are_abbreviated():
    found = compare_protocol(study(lambda k, _: f"scanner {k}", "station"), ARMS, VISITS)
    assert "station scanner 0 (1 participant), scanner 1 (1), " in found.notes[0]
    assert "10 other values." in found.notes[0]


# --- no difference


@pytest.mark.parametrize(
    "value",
    [
        by_visit("2 s", None),  # not stated at follow-up
        lambda k, _: "2 s" if k < 7 else None,  # not stated for controls
        by_visit("Siemens Prisma", "SIEMENS prisma"),  # spellings
        by_visit(None, None),
    ],
)
def test_missing_facts_and_spellings_are_no_difference(value):
    found = compare_protocol(study(value), ARMS, VISITS)
    assert (found.warnings, found.notes) == ((), ())


def test_other_sessions_and_participants_without_role_are_ignored():
    runs = study(same) + study(lambda *_: "9 s", visits=("later",))
    runs += study(by_visit("3 s", "4 s"), persons=("x", "y", "z"))
    found = compare_protocol(runs, ARMS | {"x": "none", "y": "none"}, VISITS)
    assert (found.warnings, found.notes) == ((), ())


def test_unknown_scan_lengths_are_no_difference():
    runs = study(same, minutes=lambda _, visit: 5.0 if visit == "pre" else float("nan"))
    assert compare_protocol(runs, ARMS, VISITS).warnings == ()


def test_small_studies():
    """One participant whose protocol changed is all that there is."""
    runs = study(by_visit("2 s", "3 s"), persons=("00",))
    assert "ses-pre (1 participant), 3 s" in compare_protocol(runs, ARMS, VISITS).warnings[0]
    assert compare_protocol([], ARMS, VISITS).warnings == ()
