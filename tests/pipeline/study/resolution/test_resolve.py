"""The resolution of a complete study."""

import pytest

from circuitshift.pipeline.errors import InputProblem, InputProblemsError
from circuitshift.pipeline.study.resolution.resolve import require, resolve


def test_everything_is_resolved_with_its_grounds(observed, stated):
    seen = observed({"arm": ["drug", "drug", "placebo", "HC"], "age": ["20", "n/a", "30", "40"]})
    resolution = resolve(stated(covariates=("age",)), seen)
    design = require(resolution)
    assert (design.baseline, design.followup, design.group_column) == ("pre", "post", "arm")
    assert dict(resolution.roles) == {
        "01": "treated", "02": "treated", "03": "control", "04": "reference"
    }  # fmt: skip
    assert [(d.question, d.source) for d in resolution.decisions] == [
        ("baseline", "recognised"),
        ("follow-up", "recognised"),
        ("treated", "recognised"),
        ("control", "recognised"),
        ("reference", "recognised"),
        ("covariate", "stated"),
    ]
    assert resolution.decisions[-1].answer == "age (values for 3 of 4 participants)"


def test_all_refusals_are_reported_at_once(observed, stated):
    seen = observed({"arm": ["0", "1", "0", "1"]}, sessions=("A", "B"))
    resolution = resolve(stated(visits=("A", "C")), seen)
    assert [p.where for p in resolution.refusals] == ["study file", "sessions", "participants.tsv"]
    with pytest.raises(InputProblemsError, match="the study cannot be resolved") as caught:
        require(resolution)
    assert len(caught.value.problems) == 3


def test_groups_of_a_table_that_cannot_be_read_are_not_a_further_refusal(observed, stated):
    unreadable = InputProblem("participants.tsv", "it cannot be read", "save it as UTF-8")
    seen = observed({"arm": ["n/a"] * 4}, refusals=(unreadable,))
    resolution = resolve(stated(), seen)
    assert resolution.refusals == (unreadable,)
    assert [d.question for d in resolution.decisions] == ["baseline", "follow-up"]


def test_two_roles_of_one_participant_are_refused(observed, stated):
    criteria = (("treated", "arm", ("1",)), ("reference", "diagnosis", ("HC",)))
    seen = observed({"arm": ["1", "1"], "diagnosis": ["MDD", "HC"]})
    resolution = resolve(stated(criteria=criteria), seen)
    assert resolution.design is None
    assert "sub-02 is both treated and reference" in resolution.refusals[0].what


@pytest.mark.parametrize(("n_without", "warns"), [(0, False), (2, False), (3, True)])
def test_many_participants_without_a_role_are_a_warning(observed, stated, n_without, warns):
    n = 60
    cells = ["n/a"] * n_without + ["drug", "placebo"] * n
    resolution = resolve(stated(), observed({"arm": cells[:n]}))
    assert bool(resolution.warnings) is warns
    if warns:
        assert f"{n_without} of {n} participants with data have no role" in resolution.warnings[0]
        assert "sub-01, sub-02, sub-03; 3 of them have no value" in resolution.warnings[0]


def test_a_share_of_a_small_sample_without_a_role_is_a_warning(observed, stated):
    resolution = resolve(stated(), observed({"arm": ["n/a", "drug", "placebo", "drug"]}))
    assert "1 of 4 participants" in resolution.warnings[0]


def test_the_warning_counts_missing_values_only_in_a_column_of_groups(observed, stated):
    criteria = (("treated", "arm", ("drug",)),)
    seen = observed({"arm": ["drug", "drug", "placebo", "placebo"]})
    resolution = resolve(stated(criteria=criteria), seen)
    assert "(sub-03, sub-04)." in resolution.warnings[0]


def test_columns_that_mark_participants_to_leave_out_are_a_note(observed, stated):
    columns = {"arm": ["drug", "drug", "placebo", "placebo"], "exclude": ["0", "0", "0", "1"]}
    resolution = resolve(stated(), observed(columns))
    assert "Column exclude may mark participants to leave out" in resolution.notes[0]
    assert resolution.notes[0] in resolution.design.inferred
    criteria = (("treated", "arm", ("drug",)), ("treated", "exclude", ("0",)))
    assert not resolve(stated(criteria=criteria), observed(columns)).notes


@pytest.mark.parametrize(
    ("keys", "arms", "is_noted"),
    [
        ({}, ["drug", "placebo"], True),
        ({"randomised": True}, ["drug", "placebo"], False),
        ({"randomised": False}, ["drug", "placebo"], False),
        ({}, ["drug", "drug"], False),
    ],
)
def test_the_assignment_of_arms_is_asked_for(observed, stated, keys, arms, is_noted):
    notes = resolve(stated(**keys), observed({"arm": arms * 2})).notes
    assert any("assigned to the arms at random" in note for note in notes) == is_noted


def test_random_assignment_needs_two_arms(observed, stated):
    one_arm = observed({"group": ["drug"] * 4})
    refused = resolve(stated(randomised=True), one_arm).refusals
    assert "randomised = true, but no participant with data is in a control arm" in refused[0].what
    assert refused[0].fix == "name its group by control under [groups], or remove randomised"
    assert not resolve(stated(randomised=False), one_arm).refusals
    four = observed({"group": ["drug"] * 4}, sessions=("a1", "a2", "b1", "b2"))
    keys = {"baseline": "a1", "followup": "a2", "control_baseline": "b1", "control_followup": "b2"}
    refused = resolve(stated(randomised=True, **keys), four).refusals
    assert "this study is a crossover" in refused[0].what
    assert "order and treatment_first" in refused[0].fix
