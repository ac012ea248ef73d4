"""Values of one column: decimal commas, and text in a numeric column."""

from pathlib import Path

import pytest

from circuitshift.pipeline.bids.participant_tables.columns import (
    Column,
    clean_column,
    comparable,
)
from circuitshift.pipeline.bids.participant_tables.rows import Log

AGE = Column(Path("t.tsv"), "age")


def test_decimal_commas_become_points_and_text_is_missing():
    log = Log()
    values = clean_column(AGE, "abcde", ["1,5", "2", "x", "n/a", "3.5"], log)
    assert values == ["1.5", "2", "n/a", "n/a", "3.5"]
    (problem,) = log.problems
    assert (problem.participant, log.doubtful) == ("c", {})
    assert "age of sub-c is 'x' in a numeric column" in str(problem)
    assert log.notes == [
        "t.tsv: column age has decimal commas; values such as 1,5 (1 in total) were read as 1.5."
    ]


@pytest.mark.parametrize(
    ("values", "is_problem"), [(["1,234", "2,345"], True), (["1", "2", "a", "b"], False)]
)
def test_doubtful_columns_are_not_changed(values, is_problem):
    log = Log()
    assert clean_column(AGE, "abcd", values, log) == values
    assert list(log.doubtful) == ["age"]
    assert (bool(log.problems), bool(log.notes)) == (is_problem, not is_problem)


def test_doubtful_scores_are_kept_apart_from_columns():
    log = Log()
    clean_column(Column(Path("t.tsv"), "x", by_session=True), "ab", ["1,234", "2,345"], log)
    assert (list(log.doubtful), list(log.doubtful_scores)) == ([], ["x"])


def test_equal_numbers_are_equal_in_any_form():
    assert comparable("14") == comparable("14.0") == comparable("14,0")
    assert comparable("a") != comparable("A")
    assert comparable("n/a") == "n/a"
