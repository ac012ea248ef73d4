"""Names in the study file that the data do not contain."""

from dataclasses import replace

import pytest

from circuitshift.pipeline.study.resolution.stated import (
    check_sessions,
    check_variables,
    describe_variables,
)

PAIR = ("pre", "post")


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"baseline": "wk0"}, "baseline session 'wk0' is not in the data; available are post, pre"),
        ({"control_followup": "a2"}, "control_followup session 'a2' is not in the data"),
        ({"visits": ("pre", "late")}, "visit 'late' is not in the data"),
        ({"visits": PAIR, "days": (("pre", 0),)}, "days of post are missing"),
    ],
)
def test_sessions(observed, keys, sentence):
    assert sentence in str(check_sessions(keys, observed())[0])


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"covariates": ("empty",)}, "covariate 'empty' is n/a for every participant with data"),
        ({"covariates": ("dose",)}, "covariate 'dose' is not in the data"),
        ({"covariates": ("iq",)}, "covariate 'iq' cannot be used: it mixes text; write numbers"),
        ({"site": "scanner"}, "site 'scanner' is not in the data"),
        ({"symptom": "HAMD"}, "symptom 'HAMD' is not in the data; available are BDI, MADRS, PHQ"),
        ({"symptom": "PHQ"}, "symptom 'PHQ' cannot be used: it has thousands; write numbers"),
        ({"symptom": "BDI"}, "has values for ses-1, ses-2, and no participant with data"),
        ({"moderators": ("mg",)}, "moderator 'mg' is not in the data; available are BDI, MADRS"),
        ({"moderators": ("empty",)}, "moderator 'empty' is n/a for every participant with data"),
        ({"moderators": ("BDI",)}, "moderator 'BDI' is n/a for every participant with data at"),
        ({"moderators": ("PHQ",)}, "moderator 'PHQ' cannot be used: it has thousands"),
        ({"order": "seq"}, "order 'seq' is not in the data; available are empty, sex"),
        ({"order": "sex", "treatment_first": ("M",)}, "treatment_first = ['M'] is not a value of"),
        ({"factor": "cbt"}, "factor 'cbt' is not in the data"),
        ({"factor": "sex"}, "has the levels F"),
        ({"factor": "sex", "factor_levels": ("F", "F")}, "state which two are compared"),
    ],
)
def test_variables(observed, keys, sentence):
    scores = {
        "BDI": {("01", "1"), ("01", "2")},
        "MADRS": {("01", "pre"), ("01", "post"), ("02", "pre")},
        "PHQ": {("01", "pre"), ("01", "post")},
    }
    columns = {"sex": ["F"] * 4, "empty": ["n/a"] * 4}
    doubts = {
        "doubtful": {"iq": "it mixes text; write numbers", "MADRS": "it varies between visits"},
        "doubtful_scores": {"PHQ": "it has thousands; write numbers"},
    }
    seen = observed(columns, scores=scores, **doubts)
    assert sentence in str(check_variables(keys, seen, PAIR)[0])


def test_moderators_that_are_text_are_refused_before_measuring(observed):
    seen = observed(
        {"dose": ["low", "10", "n/a", "high"], "mg": ["1", "2.5", "", "n/a"], "arm": list("abcd")}
    )
    problems = check_variables({"moderators": ("dose", "mg", "arm")}, seen, PAIR)
    assert [p.what for p in problems] == [
        "moderator 'dose' contains values that are not numbers: 'low' (sub-01), 'high' (sub-04)",
        "moderator 'arm' contains values that are not numbers: 'a' (sub-01), 'b' (sub-02), "
        "'c' (sub-03) and 1 more",
    ]


def test_values_are_counted(observed):
    scores = {"MADRS": {("01", "pre"), ("01", "post"), ("02", "pre")}}
    seen = observed({"age": ["20", "30", "n/a", "40"]}, scores=scores)
    seen = replace(seen, doubtful={"MADRS": "it varies between visits"})
    keys = {"symptom": "MADRS", "covariates": ("age",), "moderators": ("age", "MADRS")}
    assert check_variables(keys, seen, PAIR) == []
    answers = [d.answer for d in describe_variables(keys, seen, PAIR)]
    assert answers == [
        "age (values for 3 of 4 participants)",
        "MADRS (both visits of 1 of 4 participants)",
        "age (values for 3 of 4 participants)",
        "change of MADRS (both visits of 1 of 4 participants)",
    ]


@pytest.mark.parametrize(
    ("days", "ok"), [((0, 14), True), ((14, 0), False), ((3, 3), False), ((-7, 0), True)]
)
@pytest.mark.parametrize("keys", [{"visits": PAIR}, {"baseline": PAIR[0], "followup": PAIR[1]}])
def test_days_follow_the_order_of_the_visits(observed, keys, days, ok):
    problems = check_sessions(
        {**keys, "days": tuple(zip(PAIR, days, strict=True))}, observed(sessions=PAIR)
    )
    assert [("contradict the order of the visits" in p.what) for p in problems] == [True] * (not ok)


def test_columns_of_a_score_that_need_another_name_are_named(observed):
    seen = observed({"HAMD_pre": ["20"] * 4, "HAMD_post": ["10"] * 4})
    problem = check_variables({"symptom": "HAMD"}, seen, PAIR)[0]
    assert "participants.tsv has the columns HAMD_pre, HAMD_post" in problem.what
    assert f"HAMD_ses-{PAIR[0]}" in problem.fix
