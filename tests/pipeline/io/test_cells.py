"""Numbers in cells: decimal commas, percentages, codes, and what is ambiguous."""

import math

import numpy as np
import pytest

from circuitshift.pipeline.io.cells import numeric_column, parse_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("21", 21),
        (" 21.5 ", 21.5),
        (".5", 0.5),
        ("3.", 3),
        ("+4", 4),
        ("-1e3", -1000),
        ("1.5E-02", 0.015),
        ("\u22124", -4),
        ("45%", 45),
        ("45.5 %", 45.5),
        ("0007", 7),
    ],
)
def test_numbers_are_parsed(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text", ["", " ", "n/a", "N/A", "NA", "na", "NaN", "null", "None", "-", "\u2014", "#N/A", "."]
)
def test_missing_values_are_nan(text):
    assert math.isnan(parse_number(text))


@pytest.mark.parametrize(
    "text",
    [
        "21 y",
        ">60",
        "<18",
        "21,7",
        "1,234",
        "1_000",
        "inf",
        "-Infinity",
        "1e999",
        "0x10",
        "1 2",
        "a",
    ],
)
def test_text_is_not_a_number(text):
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["21,7", "22,5", "23"], [21.7, 22.5, 23]),
        (["21,7", "n/a", "22.5"], [21.7, np.nan, 22.5]),
        (["0,123", "0,456", "0,789"], [0.123, 0.456, 0.789]),
        (["-1,5", "+2,25"], [-1.5, 2.25]),
        (["1234,567", "1,234"], [1234.567, 1.234]),
        (["21,7", "21,125"], [21.7, 21.125]),
        (["1,5e2", "2,5e-1"], [150, 0.25]),
        (["22,5"] * 5 + ["31,5"] * 5, [22.5] * 5 + [31.5] * 5),
    ],
)
def test_decimal_commas_are_converted_and_noted(cells, values):
    column = numeric_column(cells)
    np.testing.assert_array_equal(column.values, values)
    assert (column.is_numeric, column.words, column.doubt) == (True, (), "")
    assert column.notes[0].startswith("has decimal commas")


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        (["1,234", "12,345"], "'1,234', '12,345'"),
        (["1,234", "950", "800"], "'1,234'"),
        (["1,234", "950.5"], "'1,234'"),
        (["1,234,567", "12"], "'1,234,567'"),
        (["1.234,5", "2.345,5"], "'1.234,5', '2.345,5'"),
        (["1,234.5", "2,345.5"], "'1,234.5', '2,345.5'"),
        (["1 234", "2 345", "17"], "'1 234', '2 345'"),
        (["0,5", "1.234"], "points that may separate thousands ('1.234')"),
        (["45%", "0.45", "50%"], "percentages ('45%', '50%') and other numbers ('0.45')"),
    ],
)
def test_numbers_of_unclear_meaning_are_not_converted(cells, named):
    column = numeric_column(cells)
    assert (column.is_numeric, column.is_ambiguous) == (False, True)
    assert named in column.doubt
    assert "; write" in column.doubt
    assert np.isnan(column.values).all()


def test_points_with_three_decimals_are_decimals_without_commas():
    column = numeric_column(["1.234", "12.345", "0.5"])
    np.testing.assert_array_equal(column.values, [1.234, 12.345, 0.5])
    assert (column.notes, column.doubt) == ((), "")


def test_percentages_are_read_without_the_sign():
    column = numeric_column(["45%", "12,5 %", "0", "n/a"])
    np.testing.assert_array_equal(column.values, [45, 12.5, 0, np.nan])
    assert any("percentages" in note for note in column.notes)


def test_text_in_few_rows_is_listed():
    column = numeric_column(["1", "2", "x", "3,5", "n/a"])
    assert column.words == (2,)
    np.testing.assert_array_equal(column.values, [1, 2, np.nan, 3.5, np.nan])


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        (["1", "2", "a", "b"], "2 numbers, such as '1', '2', and 2 texts ('a', 'b')"),
        (["21 y", "22 y", "30 y"], "units or bounds ('21 y', '22 y', '30 y')"),
        ([">60", "<18", "~30", ">60"], "units or bounds ('>60', '<18', '~30')"),
        (["50 mg", "75mg", "100 mg", "n/a"], "units or bounds ('50 mg', '75mg', '100 mg')"),
    ],
)
def test_text_with_numbers_is_named_and_stays_text(cells, named):
    column = numeric_column(cells)
    assert (column.is_numeric, column.is_ambiguous) == (False, False)
    assert named in column.doubt


@pytest.mark.parametrize("cells", [["m", "f", "m"], ["drug", "n/a"], ["3T", "3T"], ["F32.0"]])
def test_words_only_are_not_doubtful(cells):
    column = numeric_column(cells)
    assert (column.is_numeric, column.doubt, column.notes) == (False, "", ())


def test_a_column_without_values_is_numeric():
    column = numeric_column(["n/a", "", "-"])
    assert column.is_numeric
    assert np.isnan(column.values).all()


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        (["31", "42", "25", "-999"], "'-999'"),
        (["31", "42", "25", "999"], "'999'"),
        (["0", "1", "1", "-9"], "'-9'"),
        (["3", "2", "5", "-99.0", "9999"], "'-99.0', '9999'"),
    ],
)
def test_usual_codes_of_missing_values_are_doubtful_unless_codes_are_stated(cells, code):
    column = numeric_column(cells)
    assert column.is_ambiguous
    assert f"contains {code}, which may stand for missing values" in column.doubt
    assert not numeric_column(cells, codes_stated=True).doubt


@pytest.mark.parametrize(
    "cells",
    [
        ["-9", "3", "-4", "5"],  # a change score
        ["999", "950", "1020", "870"],
        ["31", "42", "25", "-9"],
        ["-99", "120"],
    ],
)
def test_values_near_others_are_numbers(cells):
    assert not numeric_column(cells).doubt
