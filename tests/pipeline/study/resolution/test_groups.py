"""Participants by group, and columns that may name the arms."""

import pytest

from circuitshift.pipeline.study.resolution.groups import (
    count_of,
    groups_of,
    groups_table,
    may_name_arms,
)


def test_spellings_are_joined_under_the_most_frequent_one(observed):
    cells = ["Drug", "drug", "drug", "n/a", "placebo"]
    groups = groups_of("arm", observed({"arm": cells}, levels={"arm": {"placebo": "saline"}}))
    assert list(groups) == ["drug", "placebo"]
    assert groups["drug"].spellings == ("drug", "Drug")
    assert groups["drug"].participants == ("01", "02", "03")
    assert str(groups["drug"]) == '"drug" (3 participants)'
    assert str(groups["placebo"]) == '"placebo" (1 participant, saline)'


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        ("arm", ["x", "y", "x", "y"], True),
        ("diagnosis", ["MDD", "HC", "MDD", "HC"], True),
        ("diagnosis", ["MDD", "BD", "MDD", "BD"], False),
        ("smoking", ["active", "former", "never", "never"], False),
        ("sex", ["F", "M", "F", "M"], False),
        ("treated", ["yes", "no", "no", "yes"], True),
        ("dose_mg", ["0", "25", "0", "25"], True),
        ("patient", ["0", "1", "1", "1"], True),
        ("diagnosis", ["1", "2", "1", "2"], True),
        ("age", ["1", "2", "1", "2"], False),
        ("group", ["n/a"] * 4, False),
        ("group_id", [str(k) for k in range(13)], False),
    ],
)
def test_columns_that_may_name_arms(observed, name, cells, expected):
    assert may_name_arms(name, observed({name: cells})) is expected


def test_lines_to_paste():
    table = groups_table("arm", {"treated": ["a", "b"], "control": [], "reference": []})
    assert table == '[groups]\ncolumn = "arm"\ntreated = ["a", "b"]\ncontrol = []\nreference = []'
    assert (count_of(["01"]), count_of([])) == ("1 participant", "0 participants")


@pytest.mark.parametrize(
    ("name", "meaning", "word"),
    [
        ("drug", "placebo", ""),
        ("drug", "healthy controls", ""),
        ("drug", "escitalopram 10 mg", "treated"),
        ("control", "healthy", "reference"),
        ("sham", "controls", "control"),
        ("control", "treatment", ""),
        ("1", "drug", "treated"),
    ],
)
def test_a_name_and_its_meaning_must_agree(observed, name, meaning, word):
    seen = observed({"arm": [name] * 4}, levels={"arm": {name: meaning}})
    assert next(iter(groups_of("arm", seen).values())).word == word
