"""The study file and the designs that are inferred from it and from the data."""

import pytest

from circuitshift.pipeline.errors import DesignError, InputProblemsError, TableError
from circuitshift.pipeline.study.study_file import (
    Observed,
    StudyFile,
    infer_design,
    read_study_file,
)


def observed(groups, sessions=("pre", "post"), reference_groups=None, **columns):
    participants = [f"{k:02d}" for k in range(1, len(groups) + 1)]
    named = {"group": dict(zip(participants, groups, strict=True))} if any(groups) else {}
    named |= {k: dict.fromkeys(participants, v) for k, v in columns.items()}
    return Observed(dict.fromkeys(participants, sessions), named, reference_groups or {})


def stated(**keys):
    return StudyFile(None, tuple(keys.items()))


def test_inferred_roles_and_sessions_are_reported():
    design = infer_design(StudyFile(), observed(["drug", "placebo", "healthy"]))
    assert (design.baseline, design.followup) == ("pre", "post")
    assert (design.treated, design.control, design.reference) == (
        ("drug",),
        ("placebo",),
        ("healthy",),
    )
    assert design.inferred == (
        "Baseline ses-pre and follow-up ses-post were inferred from session labels.",
        "Roles were inferred from the group names in column group: control: placebo; "
        "reference: healthy; treated: drug.",
    )


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (("01", "02"), ("01", "02")),
        (("2", "10"), ("2", "10")),
        (("predrug", "postdrug"), ("predrug", "postdrug")),
        (("3months", "baseline"), ("baseline", "3months")),
        (("bl", "fu1"), ("bl", "fu1")),
        (("V1", "V2"), ("V1", "V2")),
    ],
)
def test_baseline_and_follow_up_are_inferred_from_session_labels(labels, found):
    design = infer_design(StudyFile(), observed([""], labels))
    assert (design.baseline, design.followup) == found


def test_control_is_unambiguous_if_there_is_a_healthy_group():
    design = infer_design(StudyFile(), observed(["drug", "control", "healthy"]))
    assert (design.treated, design.control) == (("drug",), ("control",))
    other = {"ds2": ("control",)}
    design = infer_design(StudyFile(), observed(["drug", "control"], reference_groups=other))
    assert (design.control, design.reference) == (("control",), ("control",))


def test_no_groups_is_one_arm():
    design = infer_design(StudyFile(), observed(["", ""]))
    assert (design.treated, design.control) == ((), ())
    assert "all participants are analysed as treated" in design.inferred[-1]


def test_one_group_is_one_arm():
    design = infer_design(StudyFile(), observed(["healthy", "healthy"]))
    assert (design.treated, design.reference) == ((), ())
    assert "one group (healthy): all participants are analysed as treated" in design.inferred[-1]


def test_real_groups_of_a_no_treatment_trial():
    names = ["depr_cbt", "depr_nfb", "depr_no_treatment"]
    design = infer_design(StudyFile(), observed(names))
    assert design.treated == ("depr_cbt", "depr_nfb")
    assert design.control == ("depr_no_treatment",)


def test_reference_from_another_data_set():
    other = {"ds002748": ("control", "depr")}
    design = infer_design(StudyFile(), observed(["cbt", "sham"], reference_groups=other))
    assert (design.reference_dataset, design.reference) == ("ds002748", ("control",))
    assert (design.treated, design.control) == (("cbt",), ("sham",))
    design = infer_design(
        stated(reference=("depr",)), observed(["cbt", "sham"], reference_groups=other)
    )
    assert design.reference == ("depr",)
    design = infer_design(StudyFile(), observed(["cbt"], reference_groups={"x": ()}))
    assert (design.reference_dataset, design.reference) == ("x", ())


def test_stated_control_makes_the_others_treated():
    design = infer_design(stated(control=("control",)), observed(["control", "a", "b"]))
    assert design.treated == ("a", "b")
    assert "Groups without another role are analysed as treated: a, b." in design.inferred


@pytest.mark.parametrize(
    ("study", "seen", "sentence"),
    [
        (StudyFile(), observed(["control", "drug"]), "may be healthy participants or untreated"),
        (StudyFile(), observed(["placebo", "hc"]), "none of the groups hc, placebo is a treated"),
        (StudyFile(), observed([""], ("pre",)), "needs two sessions, but the data contain 1"),
        (StudyFile(), observed([""], ("a", "b", "c")), "labels a, b, c which session is before"),
        (
            StudyFile(),
            observed([""], ("pre1", "pre2", "post")),
            "labels post, pre1, pre2 which session is before",
        ),
        (stated(baseline="wk0"), observed(["a"]), "baseline session 'wk0' is not in the data"),
        (stated(treated=("zz",)), observed(["a"]), "treated group 'zz' is not in the data"),
        (stated(covariates=("dose",)), observed(["a"]), "covariate 'dose' is not in the data"),
        (stated(group_column="arm"), observed(["a"]), "no column 'arm'"),
        (stated(reference_dataset="x"), observed(["a"]), "reference_dataset 'x' is not in"),
        (
            StudyFile(),
            observed(["a"], reference_groups={"x": ("p",)}),
            "no group of data set x \\(p\\) is a healthy group by its name",
        ),
        (
            StudyFile(),
            observed(["a"], reference_groups={"x": (), "y": ()}),
            "2 reference data sets",
        ),
        (stated(control=("a",)), observed(["a"]), "all groups are control or reference groups"),
        (stated(treated=("a",), control=("a",)), observed(["a"]), "has two roles"),
        (stated(baseline="pre", followup="pre"), observed(["a"]), "name two sessions"),
        (stated(n_permutations=5), observed(["a"]), "cannot reach p = .05"),
        (stated(site="scanner"), observed(["a"]), "site 'scanner' is not in the data"),
        (stated(symptom="HAMD"), observed(["a"]), "symptom 'HAMD' is not in the data"),
        (stated(factor="cbt"), observed(["a"]), "factor 'cbt' is not in the data"),
        (stated(factor="cbt"), observed(["a"], cbt="yes"), "has the levels yes"),
        (
            stated(control_baseline="x"),
            observed(["a"], ("pre", "post", "x")),
            "one of them is missing",
        ),
        (
            stated(control_baseline="a1", control_followup="a2"),
            observed(["a", "placebo"], ("pre", "post", "a1", "a2")),
            "a crossover has no control group",
        ),
        (
            stated(control_baseline="a1", control_followup="a1"),
            observed(["a"], ("pre", "post", "a1")),
            "must be different",
        ),
        (
            stated(control_baseline="a1", control_followup="a2"),
            observed(["a"], ("pre", "post", "a1")),
            "control_followup session 'a2' is not in the data",
        ),
    ],
)
def test_designs_that_do_not_match_the_data_raise_an_error(study, seen, sentence):
    with pytest.raises((DesignError, InputProblemsError), match=sentence):
        infer_design(study, seen)


def test_a_study_file_is_read(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(
        '[sessions]\nbaseline = "pre"\nfollowup = "post"\n'
        '[groups]\ncolumn = "arm"\ntreated = ["x"]\n'
        '[hypotheses]\ndirections = {dmn = "decrease"}\nsesoi_z = 0.05\n'
        "[tests]\nn_permutations = 999\nseed = 3\n"
    )
    design = infer_design(read_study_file(path), observed([""], arm="x"))
    assert design.directions == (("dmn", "decrease"),)
    assert (design.sesoi_z, design.n_permutations, design.seed) == (0.05, 999, 3)
    assert (design.group_column, design.treated) == ("arm", ("x",))


def test_all_problems_of_a_study_file_are_reported_together(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(
        "[session]\nbaseline = 'pre'\n[tests]\nseed = 'x'\npermutations = 3\n"
        "[groups]\ntreated = [1]\ncontrol = 'x'\n[hypotheses]\ndirections = {dmn = 'down'}\n"
    )
    with pytest.raises(InputProblemsError) as caught:
        read_study_file(path)
    text = str(caught.value)
    assert len(caught.value.problems) == 6
    assert "did you mean 'sessions'" in text
    assert "did you mean 'n_permutations'" in text
    assert "specify an integer: seed" in text
    assert "names in quotes" in text
    assert "specify a list: groups with the same visits" in text
    assert "'increase' or 'decrease'" in text


def test_a_study_file_that_is_not_toml_raises_an_error(tmp_path):
    (tmp_path / "s.toml").write_text("[sessions\n")
    with pytest.raises(TableError, match="the file is not TOML"):
        read_study_file(tmp_path / "s.toml")


def test_sessions_of_the_control_condition_are_ignored_in_the_inference():
    seen = observed(["a"], ("predrug", "postdrug", "preplacebo", "postplacebo"))
    stated_ = stated(control_baseline="preplacebo", control_followup="postplacebo")
    with pytest.raises(DesignError, match="labels x, y, z which session is before"):
        infer_design(stated_, observed(["a"], ("x", "y", "z", "preplacebo", "postplacebo")))
    design = infer_design(stated_, seen)
    assert (design.baseline, design.followup) == ("predrug", "postdrug")


def test_groups_absent_from_the_study_file_get_the_role_of_their_name_or_none():
    seen = observed(["drug", "placebo", "healthy", "other"])
    design = infer_design(stated(treated=("drug",)), seen)
    assert (design.control, design.reference) == (("placebo",), ("healthy",))
    assert design.inferred[-3:] == (
        "Role reference of healthy was inferred from group names.",
        "Role control of placebo was inferred from group names.",
        "Groups without a role, which are not analysed: other.",
    )
    design = infer_design(stated(treated=("drug",), control=("other",)), seen)
    assert (design.control, design.reference) == (("other",), ("healthy",))
    assert design.inferred[-1] == "Groups without a role, which are not analysed: placebo."


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"alpha": 2.0}, "alpha = 2 is not a valid error rate"),
        ({"sesoi_z": -0.1}, "effect size of interest must be above 0"),
        ({"visits": ("post", "pre")}, "must start with the baseline 'pre'"),
        ({"visits": ("pre", "post", "late")}, "visit 'late' is not in the data"),
        ({"visits": ("pre", "post"), "days": (("pre", 0),)}, "days of post are missing"),
    ],
)
def test_values_out_of_range_raise_an_error(keys, sentence):
    with pytest.raises((DesignError, InputProblemsError), match=sentence):
        infer_design(stated(**keys), observed(["drug", "placebo"]))


def test_values_of_the_wrong_type_are_reported_together(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(
        '[sessions]\ndays = {pre = "zero"}\n[model]\nbackground = "half"\nfactor = 3\n'
        '[hypotheses]\ndirections = {dmn = "down"}\n'
    )
    with pytest.raises(InputProblemsError) as caught:
        read_study_file(path)
    message = str(caught.value)
    expected = ("numbers of days", "'matched'", "specify text in quotes", "'increase' or")
    for text in expected:
        assert text in message
