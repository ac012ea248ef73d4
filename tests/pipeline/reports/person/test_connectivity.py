"""Sections on edges and circuits of a participant: change and missing values."""

import re
from dataclasses import replace

import numpy as np

NAN = float("nan")


def test_the_change_of_a_circuit_is_last_minus_first_and_missing_values_stay_missing(
    participant_report, write
):
    report = replace(
        participant_report(), circuits={"dmn": {"pre": 0.5, "post": 0.25}, "tpn": {"pre": NAN}}
    )
    page = write(report)
    rows = re.findall(r'<tr><th scope="row">(dmn|tpn)</th>(.*?)</tr>', page.source)
    cells = {name: re.findall("<td>(.*?)</td>", row) for name, row in rows}
    assert cells["dmn"] == ["0.500", "0.250", "\N{MINUS SIGN}0.250"]
    assert cells["tpn"] == ["not available"] * 3


def test_a_session_without_edges_and_a_constant_series_are_drawn_without_warnings(
    participant_report, write
):
    report = participant_report()
    constant = np.zeros_like(report.runs[0].series)
    run = replace(report.runs[0], series=constant)
    missing = replace(report.edges[0], matrix=np.full((20, 20), np.nan))
    page = write(replace(report, runs=(run,), edges=(missing, report.edges[1])))
    assert "ses-pre: mean not available" in page.text
