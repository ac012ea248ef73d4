"""Averaging of runs, pairing of sessions, roles, covariates, and reported exclusions."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.study.pairing import (
    Measured,
    Member,
    assemble,
    precision_weights,
    session_means,
)
from circuitshift.pipeline.study.study_file import Design

PRE_POST = Design("pre", "post", covariates=("age",))


def measured(person, session, z, weight=10.0, fd=0.1, name="run"):
    return Measured(person, session, np.array(z, float), weight, 5.0, fd, name)


def study():
    participants = {"a": "treated", "b": "treated", "c": "control", "d": "treated", "e": "treated"}
    members = [Member(p, r, r, (30.0 + k,)) for k, (p, r) in enumerate(participants.items())]
    members += [Member("h", "hc", "reference", (40.0,)), Member("x", "other", "none", (1.0,))]
    members += [Member("g", "hc", "reference", (40.0,))]
    visits = [
        measured(p, s, [0.1, 0.2], fd=0.1 + 0.1 * (s == "post") * (p == "a"))
        for p in "abc"
        for s in ("pre", "post")
    ]
    visits += [measured("d", "pre", [0.5, 0.5]), measured("e", "post", [0.5, 0.5])]
    visits += [measured("h", "only", [0.3, 0.3]), measured("x", "pre", [0, 0])]
    return {(m.participant, m.session): m for m in visits}, members


def test_runs_are_weighted_by_residual_degrees_of_freedom():
    found = session_means(
        [
            measured("a", "pre", [1.0, np.nan], weight=30, fd=0.2, name="run-1"),
            measured("a", "pre", [2.0, 4.0], weight=10, fd=0.6, name="run-2"),
        ]
    )["a", "pre"]
    np.testing.assert_allclose(found.z, [1.25, 4.0])
    assert (found.weight, found.minutes) == (40, 10)
    assert found.mean_fd_mm == pytest.approx(0.3)
    assert found.name == "run-1 + run-2"


def test_each_participant_is_analysed_or_listed_as_excluded():
    sessions, members = study()
    cohort = assemble(sessions, members, PRE_POST)
    assert [m.participant for m in cohort.pairs] == ["a", "b", "c"]
    assert [m.participant for m in cohort.lone] == ["d"]
    assert [m.participant for m in cohort.healthy] == ["h"]
    reasons = {e.participant: (e.session, e.code, e.reason) for e in cohort.exclusions}
    assert reasons["d"][0] == "post"
    assert "baseline used to estimate typical edge strength" in reasons["d"][2]
    assert reasons["e"] == ("pre", "missing-visit", "no usable baseline")
    assert reasons["g"] == ("", "missing-visit", "no usable visit")
    assert reasons["x"][1] == "no-role"
    all_participants = {
        m.participant for m in (*cohort.pairs, *cohort.lone, *cohort.healthy)
    } | set(reasons)
    assert all_participants == {m.participant for m in members}


def test_sessions_are_paired_by_the_labels_of_the_design():
    """The order of sessions is neither alphabetical nor that of the table."""
    members = [Member(p, "t", "treated") for p in ("b", "a", "c")]
    z = {"a": 1.0, "b": 2.0, "c": 3.0}
    sessions = {
        (p, s): measured(p, s, [z[p] + 10 * k]) for k, s in enumerate(("z", "m", "a")) for p in z
    }
    cohort = assemble(sessions, members, Design("z", "a"))
    assert [m.participant for m in cohort.pairs] == ["b", "a", "c"]
    np.testing.assert_array_equal(cohort.baseline[:, 0], [2, 1, 3])
    np.testing.assert_array_equal(cohort.followup[:, 0], [22, 21, 23])


def test_arms_and_covariates():
    sessions, members = study()
    cohort = assemble(sessions, members, PRE_POST)
    np.testing.assert_array_equal(cohort.treated, [True, True, False])
    assert cohort.covariate_names == ("age",)
    np.testing.assert_allclose(cohort.covariates, [[30], [31], [32]])
    np.testing.assert_allclose(cohort.motion_mm, [0.1, 0, 0], atol=1e-12)
    one_arm = assemble(sessions, [m for m in members if m.role != "control"], PRE_POST)
    assert one_arm.treated is None


def test_missing_covariates_and_motion_are_noted():
    sessions, members = study()
    members[0] = Member("a", "treated", "treated", (np.nan,))
    sessions = {k: measured(*k, m.z, fd=np.nan) for k, m in sessions.items()}
    cohort = assemble(sessions, members, PRE_POST)
    np.testing.assert_allclose(cohort.covariates[:, 0], [31.5, 31, 32])
    assert cohort.motion_mm is None
    assert "motion is unavailable for at least one visit" in cohort.notes[1]
    assert cohort.notes[0].startswith("age is missing for 1 participant and was replaced")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("no follow-up", "no participant has both ses-pre and ses-post; .* found: only, pre"),
        ("no control", "the control arm contains no participant with both visits"),
        ("no age", "covariate 'age' is missing for all participants"),
    ],
)
def test_studies_that_cannot_be_analysed_raise_an_error(change, sentence):
    sessions, members = study()
    if change == "no follow-up":
        sessions = {k: v for k, v in sessions.items() if k[1] != "post"}
    elif change == "no control":
        sessions.pop(("c", "post"))
    else:
        members = [Member(m.participant, m.group, m.role, (np.nan,)) for m in members]
    with pytest.raises(DesignError, match=sentence):
        assemble(sessions, members, PRE_POST)


def test_a_constant_covariate_is_omitted_and_noted():
    sessions, members = study()
    same = [Member(m.participant, m.group, m.role, (30.0,)) for m in members]
    cohort = assemble(sessions, same, PRE_POST)
    assert cohort.covariate_names == ()
    assert "age is constant and therefore not a covariate." in cohort.notes


def test_a_crossover_needs_four_visits():
    design = Design("preD", "postD", control_baseline="preP", control_followup="postP")
    members = [Member(p, "n/a", "treated", ()) for p in "abc"]
    sessions = {
        (p, s): measured(p, s, [0.1 * k, 0.2], fd=0.1 * k)
        for p in "abc"
        for k, s in enumerate(("preD", "postD", "preP", "postP"))
        if not (p == "c" and s == "postP")
    }
    cohort = assemble(sessions, members, design)
    assert [m.participant for m in cohort.pairs] == ["a", "b"]
    np.testing.assert_allclose(cohort.control_baseline[:, 0], 0.2)
    np.testing.assert_allclose(cohort.control_followup[:, 0], 0.3)
    assert cohort.exclusions[0].session == "postP"
    assert "no usable control follow-up" in cohort.exclusions[0].reason


def test_one_baseline_may_serve_both_conditions_of_a_crossover():
    design = Design("b0", "d2", control_baseline="b0", control_followup="p2", weighted=True)
    first = {"a": True, "c": False, "d": True}
    members = [Member(p, "n/a", "treated", (), treatment_first=first.get(p)) for p in "abcd"]
    sessions = {
        (p, s): measured(p, s, [0.1 * k, 0.2], weight=10.0 + 5 * k * (p == "a"), fd=0.1 * k)
        for p in "abcd"
        for k, s in enumerate(("b0", "d2", "p2"))
        if (p, s) not in {("c", "b0"), ("d", "p2")}
    }
    cohort = assemble(sessions, members, design)
    assert [m.participant for m in cohort.pairs] == ["a", "b"]
    np.testing.assert_array_equal(cohort.control_baseline, cohort.baseline)
    np.testing.assert_array_equal(cohort.treatment_first, [1, np.nan])
    assert assemble(*study(), PRE_POST).treatment_first is None
    dof = np.array([[15.0, 20.0], [10.0, 10.0]])  # of the follow-ups: the baseline cancels
    np.testing.assert_array_equal(cohort.weights, precision_weights(dof))
    reasons = {e.participant: e.reason for e in cohort.exclusions}
    assert reasons["c"] == "no usable baseline"
    assert "no usable control follow-up" in reasons["d"]


def test_moderators_follow_the_order_of_the_pairs():
    sessions, members = study()
    values = {"a": 10.0, "b": np.nan}
    members = [replace(m, moderators=(("dose", values.get(m.participant, 5.0)),)) for m in members]
    cohort = assemble(sessions, members, Design("pre", "post", covariates=("age",)))
    expected = [values.get(m.participant, 5.0) for m in cohort.pairs]
    np.testing.assert_array_equal(cohort.moderators["dose"], expected)
    plain = assemble(*study(), Design("pre", "post", covariates=("age",)))
    assert plain.moderators == {}


def test_factor_symptom_and_site():
    sessions, members = study()
    asked = {
        "a": (True, -10.0, "A"),
        "b": (False, np.nan, "A"),
        "c": (None, -2.0, "B"),
        "d": (True, 1.0, "A"),
    }
    members = [
        Member(
            m.participant,
            m.group,
            m.role,
            m.covariates,
            *asked.get(m.participant, (None, np.nan, "A")),
        )
        for m in members
    ]
    design = Design("pre", "post", covariates=("age",), factor="therapy", factor_levels=("0", "1"))
    cohort = assemble(sessions, [m for m in members if m.participant != "c"], design)
    np.testing.assert_array_equal(cohort.factor, [True, False])
    np.testing.assert_array_equal(cohort.symptom, [-10, np.nan])
    assert cohort.site is None
    reasons = {e.participant: e.reason for e in cohort.exclusions}
    assert reasons["e"] == "therapy is neither 0 nor 1"
    one_site_each = [
        Member(m.participant, m.group, m.role, (), site="B" if m.role == "control" else "A")
        for m in members
    ]
    with pytest.raises(DesignError, match="no site has participants of both arms"):
        assemble(sessions, one_site_each, Design("pre", "post"))
    moved = [Member(p, "t", "treated", (), site="A to B") for p in "ab"]
    with pytest.raises(DesignError, match="all participants moved from site A to B"):
        assemble(sessions, moved, Design("pre", "post"))
    mixed = [Member(p, r, r, (), site=s) for p, r, s in (
        ("a", "treated", "A"), ("b", "treated", "B"), ("c", "control", "A")
    )]  # fmt: skip
    cohort = assemble(sessions, mixed, Design("pre", "post"))
    np.testing.assert_array_equal(cohort.site, [0, 1, 0])
    assert "site: B" in cohort.covariate_names


def test_longer_visits_weigh_more():
    found = precision_weights(np.array([[200.0, 200.0], [200.0, 50.0], [50.0, 50.0]]))
    assert found[0] > found[1] > found[2] > 0
    v = np.array([0.01, 0.025, 0.04])
    np.testing.assert_allclose(found, 1 / (1 + v / v.mean()))
    sessions, members = study()
    cohort = assemble(sessions, members, Design("pre", "post", covariates=("age",), weighted=True))
    np.testing.assert_allclose(cohort.weights, 0.5)


@pytest.mark.parametrize(
    ("visits", "expected"),
    [
        ((), [np.nan, 0.7]),  # the follow-up only
        (("pre", "week2", "post"), [0.5, 0.7]),
    ],
)
def test_second_visits_of_the_reference_are_follow_ups_or_other_stated_visits(visits, expected):
    sessions, members = study()
    for person, session, z in (
        ("h", "pre", 0.4), ("h", "week2", 0.5), ("g", "pre", 0.6), ("g", "post", 0.7),
        ("g", "week2", 0.9),
    ):  # fmt: skip
        sessions[person, session] = measured(person, session, [z, z])
    cohort = assemble(sessions, members, Design("pre", "post", covariates=("age",), visits=visits))
    assert [m.participant for m in cohort.healthy] == ["h", "g"]
    np.testing.assert_allclose(cohort.reference[:, 0], [0.4, 0.6])
    np.testing.assert_allclose(cohort.reference_again[:, 0], expected)
