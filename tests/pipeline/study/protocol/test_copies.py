"""Data that occur twice in a study are refused."""

import pytest

from circuitshift.pipeline.study.protocol.acquired import AcquiredRun
from circuitshift.pipeline.study.protocol.copies import copied_runs


def run(person, session="pre", *contents, name="run-1"):
    return AcquiredRun(person, session, name, contents=contents)


OTHERS = (run("08", "pre", "input x", "matrix x"), run("09", "pre"), run("10", "pre"))


@pytest.mark.parametrize(
    ("copies", "named"),
    [
        (
            (run("01", "pre", "input a"), run("02", "pre", "input a", "matrix b")),
            "sub-01 ses-pre and sub-02 ses-pre have identical data",
        ),
        (
            (run("01", "pre", "input a", "matrix c"), run("01", "post", "input b", "matrix c")),
            "sub-01 ses-pre and sub-01 ses-post have identical data",
        ),
        (
            (run("01", "pre", "input a"), run("01", "pre", "input a", name="run-2")),
            "sub-01 ses-pre (run-1) and sub-01 ses-pre (run-2) have identical data",
        ),
        (
            (run("01", "", "input a"), run("healthy:01", "", "input a"), run("3", "", "input a")),
            "sub-01, healthy:sub-01 and sub-3 have identical data",
        ),
    ],
)
def test_copies_are_named_once(copies, named):
    (problem,) = copied_runs((*OTHERS, *copies))
    assert named in str(problem)
    assert "run the participant level again, or exclude these sessions by a rating" in problem.fix
    assert copied_runs((*OTHERS, *copies), {run.person for run in copies}) == ()


def test_input_and_matrix_of_the_same_copies_are_one_problem():
    copies = (run("01", "pre", "input a", "matrix b"), run("02", "pre", "input a", "matrix b"))
    assert len(copied_runs(copies)) == 1
    assert copied_runs(OTHERS) == ()
