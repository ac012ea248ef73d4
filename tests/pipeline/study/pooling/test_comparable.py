"""Comparison of studies: what is refused, and what is a warning."""

import pytest

from circuitshift.pipeline.study.pooling.comparable import compare, contrast_of, has_amplitude
from circuitshift.pipeline.study.pooling.finished import read_finished

ROWS = [("global", "shift", 0.02, 0.01), ("specific", "dmn", -0.1, 0.04)]
ONE_ARM = {"treated": 20, "control": 0, "reference": 10}


@pytest.fixture
def compared(finished_study):
    """Compare a study with a second one that differs in the stated keys."""

    def run(rows=ROWS, *, k=2, **verdict):
        folders = [finished_study(f"s{n}", ROWS) for n in range(k - 1)]
        folders.append(finished_study("other", rows, **verdict))
        studies, problems = read_finished([("", folder) for folder in folders])
        assert problems == []
        return compare(studies), folders

    return run


def design(**more):
    base = {"baseline": "pre", "followup": "post", "sesoi_d": 0.3, "background": "all"}
    return base | {"sesoi_gain": 0.15, "sesoi_share": 0.25} | more


def test_equal_studies_have_no_differences(compared):
    comparison, _ = compared(k=5)
    assert comparison.differences == comparison.problems == comparison.warnings == ()


@pytest.mark.parametrize(
    ("setting", "verdict"),
    [
        ("estimator", {"settings": {"estimator": "partial"}}),
        ("global signal", {"global_signal": {"removed": True}}),
        ("control condition", {"n": ONE_ARM}),
    ],
)
def test_other_questions_are_refused_with_folder_and_setting(compared, setting, verdict):
    comparison, folders = compared(**verdict)
    (problem,) = comparison.problems
    assert problem.where == f"{setting} differs"
    for folder in folders:
        assert str(folder) in str(problem)


def test_all_faults_are_reported_at_once(compared):
    unit = {"unit": "mm"}
    rows = [("global", "shift", 0.02, 0.01, unit), ("specific", "dmn", -0.1, 0.04, unit)]
    comparison, _ = compared(rows, n=ONE_ARM, settings={"estimator": "partial"})
    where = [problem.where for problem in comparison.problems]
    assert where == [
        "unit of circuits differs",
        "estimator differs",
        "control condition differs",
        "unit of the global term shift differs",
    ]


def test_circuits_with_one_name_and_two_definitions_are_refused(compared):
    circuit = {"title": "Another network", "predicted": "decrease", "reference": "A 2000"}
    comparison, _ = compared(circuits={"dmn": circuit})
    assert comparison.problems[0].where == "definition of the circuit dmn differs"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"baseline": "Post", "followup": "pre"}, "the order of the visits is reversed"),
        (
            {"labels": [["treated", "placebo"], ["control", "drug"]]},
            "the roles of the arms is reversed",
        ),
    ],
)
def test_reversed_contrasts_are_refused(compared, more, words):
    comparison, _ = compared(design=design(**more))
    assert words in str(comparison.problems[0])


@pytest.mark.parametrize(
    ("setting", "verdict"),
    [
        ("Atlas", {"atlas": "Tian"}),
        ("Denoising strategy", {"strategy": "36p"}),
        ("Contrast", {"design": design(control_baseline="a", control_followup="b")}),
        ("Program", {"code_hash": "def"}),
        ("Reference group", {"n": {"treated": 20, "control": 20}}),
        ("Whether the global signal is known to be kept", {"global_signal": {"removed": None}}),
        ("Background", {"design": design(background="disjoint")}),
    ],
)
def test_differences_in_method_are_warnings(compared, setting, verdict):
    comparison, _ = compared(k=5, **verdict)
    assert comparison.problems == ()
    (warning,) = comparison.warnings
    assert warning.startswith(f"{setting} differs: ")
    assert "other" in warning


def test_change_scores_beside_adjusted_values_are_a_warning(compared):
    plain = {"method": "Welch t"}
    rows = [("global", "shift", 0.02, 0.01, plain), ("specific", "dmn", -0.1, 0.04, plain)]
    comparison, _ = compared(rows, k=5)
    assert "Adjustment for the baseline differs" in comparison.warnings[0]


def test_a_model_without_the_amplitude_is_a_warning(compared):
    rows = [*ROWS, ("global", "global_signal", 0.1, 0.1, {"unit": "log amplitude"})]
    comparison, _ = compared(rows, k=5)
    assert "Amplitude of the global signal differs" in comparison.warnings[0]


def test_few_studies_and_equal_tables_of_participants_are_warnings(compared):
    comparison, _ = compared(k=2)
    assert comparison.warnings[0].startswith("Only 2 studies are pooled.")
    assert "with 1 degree of freedom" in comparison.warnings[0]
    comparison, _ = compared(k=4, made_from={"participants": "table of s0"})
    assert "3 degrees of freedom" in comparison.warnings[0]
    assert "participants of s0 and other are identical" in comparison.warnings[1]
    assert compared(k=5)[0].warnings == ()


def test_settings_that_are_only_listed(compared):
    comparison, _ = compared(k=5, covariates=["age"])
    (difference,) = comparison.differences
    assert (difference.setting, difference.consequence) == ("covariates", "listed")
    assert difference.values == (*["none"] * 4, "age")


def test_contrasts(finished_study):
    folders = [
        finished_study("two", ROWS),
        finished_study("one", ROWS, n=ONE_ARM),
        finished_study("cross", ROWS, n=ONE_ARM, design=design(control_baseline="a")),
    ]
    studies, _ = read_finished([("", folder) for folder in folders])
    assert [contrast_of(study) for study in studies] == [
        "treated minus control",
        "follow-up minus baseline, without a control arm",
        "treatment minus control within participants",
    ]
    assert not has_amplitude(studies[0])
