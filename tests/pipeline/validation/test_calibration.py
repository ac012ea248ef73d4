"""The calibration table: error rates, their intervals, and independence of processes."""

from dataclasses import replace

import pytest
from statsmodels.stats.proportion import proportion_confint

from circuitshift.pipeline.model.contrasts import Rules
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


def row(shift: float, specific: float) -> CalibrationRow:
    scenario = Scenario(
        Truth(shift=shift, specific=specific), EdgeSpec(), is_global=bool(shift),
        is_specific=bool(specific), naive_is_valid=True,
    )  # fmt: skip
    return CalibrationRow("x", scenario, 10, {}, {}, {}, 0.0, VERDICTS)


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (3, 60), (10, 200), (200, 200)])
def test_intervals_are_those_of_wilson(hits: int, n: int) -> None:
    expected = proportion_confint(hits, n, method="wilson")
    assert wilson_interval(hits / n, n) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("shift", "specific", "wrong", "overclaimed"),
    [
        (0.0, 0.0, 0.0, 0.4 + 0.2 + 0.1),
        (0.1, 0.0, 0.2, 0.2 + 0.1),  # a circuit, although only a global change was simulated
        (0.0, 0.1, 0.4, 0.4 + 0.1),
        (0.1, 0.1, 0.0, 0.0),
    ],
)
def test_verdicts_that_contradict_the_simulated_truth_are_errors(
    shift: float, specific: float, wrong: float, overclaimed: float
) -> None:
    found = row(shift, specific)
    assert found.wrong_kind == pytest.approx(wrong)
    assert found.overclaimed == pytest.approx(overclaimed)


def test_rates_refer_to_studies_in_which_a_family_was_tested() -> None:
    outcomes = [
        Outcome({"global": 0.01, "specific": 0.2}, {"share": 0.4}, "global"),
        Outcome({"global": 0.05}, {}, "undetermined"),
        Outcome({"global": 0.6, "specific": 0.049}, {"share": 0.6}, "circuit-specific"),
        Outcome({"global": 0.7, "specific": 0.9}, {}, "undetermined"),
    ]
    found = summary("x", row(0.1, 0.0).scenario, outcomes, 0.05)
    assert found.rejected == pytest.approx({"global": 1 / 4, "specific": 1 / 3})
    assert found.tested == {"global": 4, "specific": 3}
    assert found.means == pytest.approx({"share": 0.5})
    assert found.withheld == 0.5
    assert found.verdicts == {"circuit-specific": 0.25, "global": 0.25, "undetermined": 0.5}


def small(truth: Truth, **spec: object) -> Scenario:
    base = SCENARIOS["nothing"]
    return replace(
        base,
        truth=truth,
        spec=replace(EdgeSpec(n_regions=60, n_circuit=10), **spec),
        is_global=not truth.specific,
        is_specific=bool(truth.specific),
    )


@pytest.mark.slow
def test_error_rates_of_the_model_are_nominal_where_those_of_naive_tests_are_not() -> None:
    scenarios = {name: small(TRUTHS[name]) for name in ("gain", "normalisation", "specific")}
    rows = {
        row.name: row
        for row in calibration_table(
            tuple(scenarios),
            n_studies=60,
            scenarios=scenarios,
            rules=Rules(n_permutations=199),
            n_procs=2,
        )
    }
    for truth in ("gain", "normalisation"):
        low, high = wilson_interval(rows[truth].rejected["specific"], 60)
        assert low <= 0.05 <= high
        assert rows[truth].rejected["naive: circuit minus background"] > 0.3
        assert rows[truth].wrong_kind == 0
        assert rows[truth].overclaimed <= 0.15
    assert rows["specific"].rejected["specific"] > 0.5
    assert rows["normalisation"].means["share"] == pytest.approx(0.5, abs=0.04)
    text = markdown_table(list(rows.values()))
    assert text.count("\n|") == 4
    assert f"{rows['gain'].rejected['specific']:.3f}" in text


def test_the_table_depends_neither_on_processes_nor_on_other_rows() -> None:
    tiny = {"n_regions": 30, "n_circuit": 6, "n_treated": 8, "n_reference": 8}
    scenarios = {name: small(TRUTHS[name], **tiny) for name in ("shift", "gain")}
    one, two = (
        list(
            calibration_table(
                names,
                n_studies=6,
                scenarios=scenarios,
                rules=Rules(n_permutations=50),
                n_procs=n,
            )
        )
        for n, names in ((1, ("gain",)), (2, ("shift", "gain")))
    )
    assert one[0] == two[1]


def test_every_scenario_can_be_analysed() -> None:
    for name, scenario in SCENARIOS.items():
        spec = replace(
            scenario.spec,
            n_regions=80,
            n_treated=min(scenario.spec.n_treated, 14),
            n_control=min(scenario.spec.n_control, 14),
            n_reference=12,
        )
        row = next(
            calibration_table(
                (name,),
                n_studies=1,
                scenarios={name: replace(scenario, spec=spec)},
                rules=Rules(n_permutations=30),
            )
        )
        assert row.tested["specific"] == 1
        assert sum(row.verdicts.values()) == 1
