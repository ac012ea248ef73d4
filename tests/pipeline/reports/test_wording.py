"""Numbers are printed in one way."""

import pytest

from circuitshift.pipeline.reports import wording

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.126, 2, "0.13"),
        ("-0.001", 2, "0.00"),
        (-1.5, 1, "\N{MINUS SIGN}1.5"),
        ("n/a", 2, "not available"),
        (None, 2, "not available"),
        (NAN, 0, "not available"),
        (float("inf"), 2, "not available"),
        (True, 2, "not available"),
    ],
)
def test_numbers_are_printed_one_way(value, digits, text):
    assert wording.show(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0004, "< 0.001"),
        ("0.0312", "0.031"),
        (1, "1.000"),
        (NAN, "not available"),
    ],
)
def test_p_values_are_never_zero(value, text):
    assert wording.p_value(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        ("01", "01"),
        ("sub-01", "sub-01"),
        (3, "3"),
        (0.123456, "0.1235"),
        ([], "none"),
        (["a", 1], "a, 1"),
        ({"a": None}, "a: not available"),
        ("NaN", "not available"),
    ],
)
def test_cells_keep_words_as_they_are(value, text):
    assert wording.cell(value) == text
