"""The order of the visits, from labels and from dates."""

import pytest

from circuitshift.pipeline.study.resolution.records import Observed
from circuitshift.pipeline.study.resolution.visits import resolve_visits


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("01", "02"), ("01", "02")),
        (("10", "2"), ("2", "10")),
        (("predrug", "postdrug"), ("predrug", "postdrug")),
        (("3months", "baseline"), ("baseline", "3months")),
        (("bl", "fu1"), ("bl", "fu1")),
        (("V1", "V2"), ("V1", "V2")),
        (("2YearFollowUpYArm1", "baselineYear1Arm1"), ("baselineYear1Arm1", "2YearFollowUpYArm1")),
        (("week12", "week4"), ("week4", "week12")),
        (("month1", "week2"), ("week2", "month1")),
        (("followup", "screening"), ("screening", "followup")),
        (("post", "mid", "pre"), ("pre", "post")),
        (("baseline", "post", "screening"), ("baseline", "post")),
        (("acute", "post"), ("acute", "post")),
        (("post", "01"), ("01", "post")),
        (("V2W8", "V1W0"), ("V1W0", "V2W8")),
    ],
)
def test_labels_decide(observed, labels, expected):
    visits = resolve_visits({}, observed(sessions=labels))
    assert not visits.refusals
    assert (visits.baseline, visits.followup) == expected
    assert visits.decisions[0].source == "recognised"


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (("A", "B"), "alphabetical order is not used"),
        (("drug", "placebo"), "alphabetical order is not used"),
        (("drug1", "drug2"), "alphabetical order is not used"),
        (("scan1", "visit2"), "alphabetical order is not used"),
        (("pre1", "pre2", "post"), "alphabetical order is not used"),
        (("baseline", "week4", "week8"), "2 other sessions could be the follow-up"),
        (("01", "02", "03"), "2 other sessions could be the follow-up"),
        (("pre", "post", "followup"), "2 other sessions could be the follow-up"),
        (("pre",), "the data have 1"),
        (("baseline", "screening"), "both before treatment by their labels"),
        (("post1", "post2"), "alphabetical order is not used"),
        (("EOT", "FU"), "alphabetical order is not used"),
        (("followup", "week8"), "alphabetical order is not used"),
        (("followup", "treatment"), "alphabetical order is not used"),
        (("followup", "pre", "week8"), "2 other sessions could be the follow-up"),
        (("postdrug", "postplacebo", "predrug", "preplacebo"), "control condition of a crossover"),
        (("placebo", "postdrug", "pre"), "ses-placebo may be the control condition"),
    ],
)
def test_labels_do_not_decide(observed, labels, sentence):
    visits = resolve_visits({}, observed(sessions=labels))
    assert len(visits.refusals) == 1
    assert sentence in visits.refusals[0].what
    assert "[sessions]\nbaseline = " in visits.refusals[0].fix
    assert f"ses-{labels[0]} (4 participants)" in visits.refusals[0].what


@pytest.mark.parametrize(
    ("labels", "advice"),
    [
        (("Pre", "post", "pre"), "rename the folders of ses-Pre and ses-pre, which may be one"),
        (("01", "02", "1", "2"), "ses-01 and ses-1; ses-02 and ses-2, which may be one session"),
        (tuple(f"201901{k}" for k in range(10, 30)), "dates are not labels of visits"),
    ],
)
def test_sessions_that_must_be_renamed_are_named(observed, labels, advice):
    refusal = resolve_visits({}, observed(sessions=labels)).refusals[0]
    assert advice in refusal.fix
    assert ("and others" in refusal.what) is (len(labels) > 12)


def dates(order, n=4):
    return {
        (f"{k:02d}", label): float(10 * k + day)
        for k in range(1, n + 1)
        for day, label in enumerate(order)
    }


def test_dates_decide_where_labels_do_not(observed):
    visits = resolve_visits({}, observed(sessions=("A", "B"), dates=dates("BA")))
    assert (visits.baseline, visits.followup) == ("B", "A")
    assert "first session of all 4 participants" in visits.decisions[0].reason


def test_equal_dates_and_dates_of_a_few_do_not_order_visits(observed):
    equal = dict.fromkeys(dates("AB"), 3.0)
    visits = resolve_visits({}, observed(sessions=("A", "B"), dates=equal))
    assert "alphabetical order is not used" in visits.refusals[0].what
    one = {key: day for key, day in dates("BA").items() if key[0] == "01"}
    visits = resolve_visits({}, observed(sessions=("A", "B"), dates=one))
    assert "only 1 of 4 participants have different dates" in visits.refusals[0].what
    assert not visits.decisions


def test_dates_in_different_orders_are_a_crossover(observed):
    mixed = dates("AB") | {("01", "A"): 50.0}
    visits = resolve_visits({}, observed(sessions=("A", "B"), dates=mixed))
    assert "crossover" in visits.refusals[0].what
    assert "ses-B, ses-A in 1 participants" in visits.refusals[0].what


def test_dates_of_three_sessions_give_an_order_and_no_follow_up(observed):
    visits = resolve_visits({}, observed(sessions=("A", "B", "C"), dates=dates("CAB")))
    assert "in order, ses-C, ses-A, ses-B" in visits.refusals[0].what


def test_dates_that_contradict_labels_are_refused_or_a_warning(observed):
    visits = resolve_visits({}, observed(dates=dates(("post", "pre"))))
    assert "contradicts the labels" in visits.refusals[0].what
    one = dates(("pre", "post")) | {("02", "post"): 0.0}
    visits = resolve_visits({}, observed(dates=one))
    assert not visits.refusals
    assert visits.warnings == [
        "By the dates of acquisition, ses-post precedes ses-pre in 1 of 4 participants (sub-02)."
    ]
    visits = resolve_visits(
        {"baseline": "pre", "followup": "post"}, observed(dates=dates(("post", "pre")))
    )
    assert not visits.refusals
    assert "4 of 4 participants" in visits.warnings[0]


def test_control_sessions_of_a_crossover_are_set_aside(observed):
    keys = {"control_baseline": "preplacebo", "control_followup": "postplacebo"}
    labels = ("predrug", "postdrug", "preplacebo", "postplacebo")
    visits = resolve_visits(keys, observed(sessions=labels))
    assert (visits.baseline, visits.followup) == ("predrug", "postdrug")


def test_one_stated_session_is_completed(observed):
    visits = resolve_visits({"followup": "week8"}, observed(sessions=("pre", "week4", "week8")))
    assert (visits.baseline, visits.followup) == ("pre", "week8")
    assert [d.source for d in visits.decisions] == ["stated", "recognised"]
    assert visits.notes == ["Sessions that are not part of the change: ses-week4 (4 participants)."]


def test_labels_of_single_participants_are_no_visits():
    labels = {"01": ("20190101", "20190201"), "02": ("20200101", "20200201")}
    refusal = resolve_visits({}, Observed(sessions=labels)).refusals[0]
    assert "give the same visit the same session label" in refusal.fix


def test_a_crossover_is_refused_with_all_lines_for_the_study_file(observed):
    visits = resolve_visits({}, observed(sessions=("baseline", "drug", "placebo")))
    assert "ses-placebo may be the control condition" in visits.refusals[0].what
    assert 'control_baseline = "..."\ncontrol_followup = "..."' in visits.refusals[0].fix
    stated = {"baseline": "baseline", "followup": "drug"}
    assert not resolve_visits(stated, observed(sessions=("baseline", "drug", "placebo"))).refusals
