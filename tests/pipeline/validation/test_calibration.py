"""Calibration tables: counts of errors, their intervals, and rates of simulated studies."""

from dataclasses import replace

import pytest
from statsmodels.stats.proportion import proportion_confint

from circuitshift.pipeline.model.analyse import Rules
from circuitshift.pipeline.validation.calibration import (
    CalibrationRow,
    Outcome,
    calibration_table,
    markdown_table,
    summary,
    wilson_interval,
)
from circuitshift.pipeline.validation.simulate.edges import TRUTHS, EdgeSpec, Truth
from circuitshift.pipeline.validation.simulate.scenarios import SCENARIOS, Scenario

VERDICTS = {"global": 0.4, "circuit-specific": 0.2, "both": 0.1, "undetermined": 0.3}


def planted(shift: float, specific: float) -> Scenario:
    return Scenario(
        Truth(shift=shift, specific=specific),
        EdgeSpec(),
        is_global=bool(shift),
        is_specific=bool(specific),
        naive_is_valid=True,
    )


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (3, 60), (10, 200), (200, 200)])
def test_intervals_equal_those_of_statsmodels(hits: int, n: int) -> None:
    expected = proportion_confint(hits, n, method="wilson")
    assert wilson_interval(hits / n, n) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("shift", "specific", "wrong", "overclaimed"),
    [
        (0.0, 0.0, 0.0, 0.4 + 0.2 + 0.1),
        (0.1, 0.0, 0.2, 0.2 + 0.1),  # a circuit although only a global change was planted
        (0.0, 0.1, 0.4, 0.4 + 0.1),
        (0.1, 0.1, 0.0, 0.0),
    ],
)
def test_verdicts_on_effects_that_were_not_planted_are_errors(
    shift: float, specific: float, wrong: float, overclaimed: float
) -> None:
    row = CalibrationRow("x", planted(shift, specific), 10, {}, {}, {}, 0.0, VERDICTS)
    assert row.wrong_kind == pytest.approx(wrong)
    assert row.overclaimed == pytest.approx(overclaimed)


def test_rates_are_shares_of_the_studies_in_which_a_family_was_tested() -> None:
    outcomes = [
        Outcome({"global": 0.01, "specific": 0.2}, {"share": 0.4}, "global"),
        Outcome({"global": 0.05}, {}, "undetermined"),
        Outcome({"global": 0.6, "specific": 0.049}, {"share": 0.6}, "circuit-specific"),
        Outcome({"global": 0.7, "specific": 0.9}, {}, "undetermined"),
    ]
    row = summary("x", planted(0.1, 0.0), outcomes, 0.05)
    assert row.rejected == pytest.approx({"global": 1 / 4, "specific": 1 / 3})
    assert row.tested == {"global": 4, "specific": 3}
    assert row.means == pytest.approx({"share": 0.5})
    assert row.withheld == 0.5
    assert row.verdicts == {"circuit-specific": 0.25, "global": 0.25, "undetermined": 0.5}


def test_intervals_are_shown_where_the_rate_should_be_nominal() -> None:
    row = CalibrationRow(
        "a shift",
        planted(0.1, 0.0),
        200,
        {"global": 0.9, "specific": 0.05},
        {"global": 200, "specific": 200},
        {"share": 0.31},
        0.25,
        {"global": 0.88, "both": 0.12},
    )
    cells = [cell.strip() for cell in markdown_table([row]).splitlines()[2].strip("|").split("|")]
    assert cells == [
        "a shift",
        "0.90",
        "0.050 (0.027-0.090)",
        "-",
        "-",
        "- (-)",
        "0.31",
        "0.25",
        "0.00",
        "0.12",
        "global 0.88, both 0.12",
    ]


# ------------------------------------------------------------------------------ simulated studies


def small(truth: Truth, **sizes: int) -> Scenario:
    return replace(
        SCENARIOS["nothing"],
        truth=truth,
        spec=replace(EdgeSpec(n_regions=60, n_circuit=10), **sizes),
        is_global=not truth.specific,
        is_specific=bool(truth.specific),
    )


@pytest.mark.slow
def test_rates_are_nominal_where_naive_tests_are_not() -> None:
    names = ("gain", "normalisation", "specific")
    rows = {
        row.name: row
        for row in calibration_table(
            names,
            n_studies=60,
            scenarios={name: small(TRUTHS[name]) for name in names},
            rules=Rules(n_permutations=199),
            n_procs=2,
        )
    }
    for name in ("gain", "normalisation"):
        low, high = wilson_interval(rows[name].rejected["specific"], 60)
        assert low <= 0.05 <= high
        assert rows[name].rejected["naive: circuit minus background"] > 0.3
        assert rows[name].wrong_kind == 0
        assert rows[name].overclaimed <= 0.15
    assert rows["specific"].rejected["specific"] > 0.5
    assert rows["normalisation"].means["share"] == pytest.approx(0.5, abs=0.04)
    text = markdown_table(list(rows.values()))
    assert text.count("\n|") == 4
    assert f"{rows['gain'].rejected['specific']:.3f}" in text


def test_results_depend_neither_on_processes_nor_on_other_scenarios() -> None:
    sizes = {"n_regions": 30, "n_circuit": 6, "n_treated": 8, "n_reference": 8}
    scenarios = {name: small(TRUTHS[name], **sizes) for name in ("shift", "gain")}
    one, two = (
        list(
            calibration_table(
                names,
                n_studies=6,
                scenarios=scenarios,
                rules=Rules(n_permutations=50),
                n_procs=n_procs,
            )
        )
        for n_procs, names in ((1, ("gain",)), (2, ("shift", "gain")))
    )
    assert repr(one[0]) == repr(two[1])  # means of withheld circuits are NaN
