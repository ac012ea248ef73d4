"""The study file that `circuitshift init` writes leads to the same design."""

import tomllib

import pytest

from circuitshift.pipeline.study.resolution.resolve import resolve
from circuitshift.pipeline.study.resolution.study_toml import study_toml
from circuitshift.pipeline.study.study_file import read_study_file

CRITERIA = (
    ("treated", "arm", ("1",)),
    ("control", "arm", ("0",)),
    ("reference", "diag nosis", ('H"C',)),
)
STUDIES = [
    ({}, {"arm": ["drug", "Drug", "placebo", "HC"]}),
    ({}, {"sex": ["F", "M", "F", "M"]}),
    ({}, {"group": ["MDD"] * 4}),
    ({"criteria": CRITERIA}, {"arm": ["1", "0", "1", "n/a"], "diag nosis": ["x", "x", "x", 'H"C']}),
    (
        {"randomised": False},
        {"arm": ["drug", "placebo", "drug", "placebo"]},
    ),
    (
        {
            "symptom": "MADRS",
            "covariates": ("age",),
            "moderators": ("age", "MADRS"),
            "labels": (("treated", "escitalopram"),),
        },
        {"arm": ["drug", "placebo", "drug", "placebo"], "age": ["1", "2", "3", "4"]},
    ),
]


@pytest.mark.parametrize(("keys", "columns"), STUDIES)
def test_the_same_design(observed, stated, tmp_path, keys, columns):
    scores = {"MADRS": {("01", "pre"), ("01", "post")}}
    seen = observed(columns, scores=scores)
    first = resolve(stated(**keys), seen)
    path = tmp_path / "study.toml"
    path.write_text(study_toml(first, seen))
    again = resolve(read_study_file(path), seen)
    assert again.roles == first.roles
    variables = ("symptom", "covariates", "moderators", "randomised")
    for name in ("baseline", "followup", *variables, "labels", "criteria"):
        assert getattr(again.design, name) == getattr(first.design, name)
    assert {d.source for d in again.decisions if d.question == "baseline"} == {"stated"}


def test_the_order_of_a_crossover_is_kept(observed, stated, tmp_path):
    seen = observed({"seq": ["AB", "BA", "AB", "BA"]}, sessions=("a1", "a2", "b1", "b2"))
    keys = {"baseline": "a1", "followup": "a2", "control_baseline": "b1", "control_followup": "b2"}
    first = resolve(stated(**keys, order="seq", treatment_first=("AB",)), seen)
    path = tmp_path / "study.toml"
    path.write_text(study_toml(first, seen))
    again = resolve(read_study_file(path), seen)
    assert (again.design.order, again.design.treatment_first) == ("seq", ("AB",))
    assert "came first in 2 and second in 2 of 4" in " ".join(again.notes)
    assert not again.warnings
    (warning,) = resolve(stated(**keys), seen).warnings
    assert "order of the conditions of the crossover is unknown" in warning


def test_open_questions_are_comments_with_the_lines_to_paste(observed, stated):
    seen = observed({"arm": ["0", "1", "0", "1"]}, sessions=("A", "B"))
    text = study_toml(resolve(stated(), seen), seen)
    assert tomllib.loads(text) == {"sessions": {}, "groups": {}, "model": {}}
    assert '# baseline = "..."  # OPEN' in text
    assert '# column = "arm"  # OPEN' in text
    assert '"0" (2 participants)' in text


def test_lines_of_a_crossover_are_open(observed, stated):
    seen = observed(sessions=("predrug", "postdrug", "preplacebo", "postplacebo"))
    lines = study_toml(resolve(stated(), seen), seen).splitlines()
    assert 'baseline = "predrug"' in lines
    for key in ("followup", "control_baseline", "control_followup"):
        assert f'# {key} = "..."  # OPEN' in lines
