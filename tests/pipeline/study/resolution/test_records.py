"""Forms in which spellings of one value are equal, and counts of participants."""

import pytest

from circuitshift.pipeline.study.resolution.records import normal_form


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("DRUG ", "drug"),
        ("wait-list", "Wait_List"),
        ("1.0", "01"),
        ("no  treatment", "no treatment"),
    ],
)
def test_spellings_of_one_value(one, other):
    assert normal_form(one) == normal_form(other)


@pytest.mark.parametrize(("one", "other"), [("1", "10"), ("drug", "drugs"), ("a1", "a01")])
def test_different_values(one, other):
    assert normal_form(one) != normal_form(other)


def test_participants_are_counted_once_per_session(observed):
    seen = observed(sessions=("pre", "post", "pre"), n=3)
    assert seen.participants_by_session() == {"post": 3, "pre": 3}
