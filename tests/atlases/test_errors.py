"""Errors of the root of the tree: texts and order."""

import pytest

from circuitshift.atlases import errors
from circuitshift.atlases.errors import (
    CircuitshiftError,
    InputProblem,
    InputProblemsError,
)


def test_text_of_a_problem() -> None:
    problem = InputProblem("sub-01", "its mask is missing", "fetch it", "01")
    assert str(problem) == "sub-01: its mask is missing; fetch it"
    assert InputProblem("a", "b", "c").participant == ""


def test_problems_sort_by_place_first() -> None:
    late, early = InputProblem("b", "a", "a"), InputProblem("a", "z", "z")
    assert sorted([late, early]) == [early, late]


@pytest.mark.parametrize(
    ("n", "heading"), [(1, "reading (1 problem):"), (2, "reading (2 problems):")]
)
def test_several_problems_in_one_error(n: int, heading: str) -> None:
    problems = [InputProblem(f"file {k}", "empty", "fetch it") for k in range(n)]
    error = InputProblemsError("reading", iter(problems))
    assert error.problems == tuple(problems)
    assert error.heading == "reading"
    assert str(error).splitlines() == [heading, *(f"  - {problem}" for problem in problems)]


def test_all_errors_have_one_root() -> None:
    classes = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert len(classes) == 5
    assert all(issubclass(cls, CircuitshiftError) for cls in classes)
