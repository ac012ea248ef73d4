"""JSON sidecars: meanings of values, and codes of missing values."""

import json
from pathlib import Path

import pytest

from circuitshift.pipeline.bids.participant_tables.rows import Log, Rows
from circuitshift.pipeline.bids.participant_tables.sidecars import (
    levels_of_values,
    read_sidecar,
    unused_levels,
    without_codes,
)


def sidecar_of(tmp_path, about):
    (tmp_path / "t.json").write_text(json.dumps({"x": about}))
    log = Log()
    return read_sidecar(tmp_path / "t.json", ["x", "y"], log), log


@pytest.mark.parametrize(
    ("about", "codes"),
    [
        ({"MissingValues": [-999, "999"]}, ("-999", "999")),
        ({"Missing": "-9"}, ("-9",)),
        ({"NaN": -1}, ("-1",)),
        ({"missing_value_code": {"7": "refused"}}, ("7",)),
        ({"MissingValues": []}, None),
        ({"Levels": {"9": "missing"}}, ("9",)),
        ({"Levels": {"9": "Missing data", "1": "yes"}}, ("9",)),
        ({"Levels": {"8": {"Description": "Not available"}}}, ("8",)),
        ({"levels": {"777": "Refused to answer", "999": "Don't know"}}, ("777", "999")),
        ({"Levels": {"9": "missing / not applicable"}}, ("9",)),
        ({"Levels": {"9": "n/a (not collected)"}}, ("9",)),
        ({"Levels": {"1": "no missing teeth", "2": "refused treatment"}}, None),
        ({"Levels": {"1": "data available", "2": "unknown aetiology"}}, None),
        ({"Levels": ["a", "b"]}, None),
        ({"Levels": "9 is missing"}, None),
        ("text", None),
    ],
)
def test_codes_of_missing_values(tmp_path, about, codes):
    sidecar, log = sidecar_of(tmp_path, about)
    assert sidecar.codes.get("x") == codes
    assert log.notes == []
    assert ("x" in sidecar.states_codes) == (
        isinstance(about, dict) and not any(key.lower() == "levels" for key in about)
    )


def test_codes_are_compared_as_numbers_too(tmp_path):
    sidecar, log = sidecar_of(tmp_path, {"MissingValues": [-999, "none stated"]})
    cells = ["-999", "-999.0", "999", "none stated", "n/a"]
    rows = Rows(Path("t.tsv"), ("x",), tuple((k, {"x": text}) for k, text in enumerate(cells)))
    read = [row["x"] for _, row in without_codes(rows, sidecar, log).rows]
    assert read == ["n/a", "n/a", "999", "n/a", "n/a"]
    assert len(log.notes) == 1


@pytest.mark.parametrize("content", ["", "[1]", "{bad", '{"x": {"Levels": {'])
def test_a_sidecar_that_cannot_be_read_is_noted(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    log = Log()
    assert read_sidecar(tmp_path / "t.json", ["x"], log).levels == {}
    assert "The sidecar was not used." in log.notes[0]
    assert read_sidecar(tmp_path / "absent.json", ["x"], log).levels == {}
    assert len(log.notes) == 1


def test_levels_describe_values_in_any_case_and_form_of_numbers():
    levels = {"M": "male", "1": "yes", "a": "first", "A": "second"}
    assert levels_of_values(levels, ["m", "1.0", "n/a", "z", "A"]) == levels | {
        "m": "male",
        "1.0": "yes",
    }
    assert levels_of_values({"b": "x", "B": "y"}, ["b"]) == {"b": "x", "B": "y"}


def test_columns_that_their_levels_do_not_describe():
    levels = {"g": {"control": "0", "drug": "1"}, "s": {"M": "male"}}
    assert list(unused_levels({"g": ["0", "1", "1"], "s": ["M", "F"]}, levels)) == [
        ("g", ["1", "0"])
    ]
