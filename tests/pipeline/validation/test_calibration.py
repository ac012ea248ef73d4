"""The calibration table: what counts as an error, and how certain its rates are."""

import pytest
from statsmodels.stats.proportion import proportion_confint

from circuitshift.pipeline.validation.calibration import (
    CalibrationRow,
    Outcome,
    summary,
    wilson_interval,
)
from circuitshift.pipeline.validation.simulate.edges import EdgeSpec, Truth
from circuitshift.pipeline.validation.simulate.scenarios import Scenario

VERDICTS = {"global": 0.4, "circuit-specific": 0.2, "both": 0.1, "undetermined": 0.3}


def row(shift: float, specific: float) -> CalibrationRow:
    scenario = Scenario(
        Truth(shift=shift, specific=specific), EdgeSpec(), is_global=bool(shift),
        is_specific=bool(specific), naive_is_valid=True,
    )  # fmt: skip
    return CalibrationRow("x", scenario, 10, {}, {}, {}, 0.0, VERDICTS)


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (3, 60), (10, 200), (200, 200)])
def test_intervals_are_wilsons(hits: int, n: int) -> None:
    expected = proportion_confint(hits, n, method="wilson")
    assert wilson_interval(hits / n, n) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("shift", "specific", "wrong", "overclaimed"),
    [
        (0.0, 0.0, 0.0, 0.4 + 0.2 + 0.1),
        (0.1, 0.0, 0.2, 0.2 + 0.1),  # a circuit where only a global change was planted
        (0.0, 0.1, 0.4, 0.4 + 0.1),
        (0.1, 0.1, 0.0, 0.0),
    ],
)
def test_what_was_not_planted_is_an_error(
    shift: float, specific: float, wrong: float, overclaimed: float
) -> None:
    found = row(shift, specific)
    assert found.wrong_kind == pytest.approx(wrong)
    assert found.overclaimed == pytest.approx(overclaimed)


def test_rates_are_of_the_studies_in_which_a_family_was_tested() -> None:
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
