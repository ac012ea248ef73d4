"""The error tree of the pipeline."""

import pytest

from circuitshift.pipeline import errors


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name.endswith("Error")])
def test_all_errors_derive_from_the_root(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.CircuitshiftError)


@pytest.mark.parametrize("name", ["ImageError", "TableError", "ConfoundsError"])
def test_problems_of_a_file_are_input_errors(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.InputError)


def test_a_full_disk_is_not_an_input_error() -> None:
    assert not issubclass(errors.OutputError, errors.InputError)
    assert not issubclass(errors.TooLittleDataError, errors.InputError)
