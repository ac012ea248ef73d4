"""The order of the conditions of a crossover, from a column or from dates."""

import pytest

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.study.protocol.condition_order import (
    order_sentences,
    treatment_first,
)
from circuitshift.pipeline.study.study_file import Design

VISITS = {"control_baseline": "b1", "control_followup": "b2"}
PEOPLE = ("01", "02", "03")


def crossover(**keys):
    return Design("a1", "a2", **VISITS, **keys)


def test_the_column_comes_before_the_dates():
    dates = {("01", "a2"): 10.0, ("01", "b2"): 40.0, ("02", "a2"): 50.0, ("02", "b2"): 20.0,
             ("03", "a2"): 5.0}  # fmt: skip
    assert treatment_first(crossover(), {}, dates, PEOPLE) == {"01": True, "02": False}
    stated = crossover(order="seq", treatment_first=("BA", "x"))
    column = {"seq": {"01": "AB", "02": "x", "03": "n/a"}}
    assert treatment_first(stated, column, dates, PEOPLE) == {"01": False, "02": True}
    assert treatment_first(Design("a1", "a2"), column, dates, PEOPLE) == {}
    equal = {("01", "a2"): 10.0, ("01", "b2"): 10.0}
    assert treatment_first(crossover(), {}, equal, PEOPLE) == {}


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        ({}, "the conditions of the crossover is unknown"),
        ({"01": True, "02": True}, "The treatment came first in all 2 participants"),
        ({"01": False}, "The treatment came second in all 1 participants"),
    ],
)
def test_an_order_that_cannot_be_separated_is_a_warning(known, sentence):
    warnings, notes = order_sentences(crossover(), known, 3)
    assert sentence in warnings[0]
    assert notes == []


def test_a_varied_order_is_a_note_and_other_designs_have_none():
    warnings, notes = order_sentences(crossover(), {"01": True, "02": False}, 3)
    assert warnings == []
    assert notes == [
        "The treatment came first in 1 and second in 1 of 3 participants of the crossover, "
        "according to the dates of the follow-ups."
    ]
    assert order_sentences(Design("a1", "a2"), {"01": True}, 3) == ([], [])


def test_both_keys_are_needed_and_apply_to_a_crossover():
    for keys in ({"order": "seq"}, {"treatment_first": ("AB",)}):
        with pytest.raises(DesignError, match="needs order, a column"):
            crossover(**keys)
    with pytest.raises(DesignError, match="order applies to a crossover"):
        Design("a1", "a2", order="seq", treatment_first=("AB",))
