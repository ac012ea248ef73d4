from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.model.heterogeneity.summary import Heterogeneity, explanations_of
from circuitshift.pipeline.model.verdict import Estimate

FOUND = Heterogeneity("pairs", 20, 0.03, 0.02, 0.05, 0.045, 0.03, 0.01, 0.02)


def row(family: str, term: str, estimate: float, half: float) -> Estimate:
    return replace(
        Estimate.unknown(family, term),
        estimate=estimate,
        se=half / 2,
        ci_low=estimate - half,
        ci_high=estimate + half,
    )


def test_heterogeneity_is_of_interest_above_its_bound_or_for_one_large_block():
    assert FOUND.is_of_interest(0.0)
    small = replace(FOUND, tau=0.01)
    assert not small.is_of_interest(0.03)
    assert small.is_of_interest(0.05)
    assert replace(small, smallest=np.nan).is_of_interest(0.0)


def test_one_law_is_rejected_by_p_and_heterogeneity_excluded_by_the_upper_limit():
    assert FOUND.rejects_one_law()
    assert not replace(FOUND, p=0.02).rejects_one_law()
    assert not FOUND.is_excluded()
    assert replace(FOUND, upper=0.019).is_excluded()
    unknown = Heterogeneity.unknown("too few")
    assert not unknown.rejects_one_law()
    assert not unknown.is_excluded()
    assert unknown.reason == "too few"


@pytest.mark.parametrize(
    ("part", "half", "rest", "expected"),
    [
        (-0.08, 0.03, -0.02, True),
        (-0.08, 0.09, -0.02, False),  # the predicted part may be 0
        (-0.04, 0.03, -0.06, False),  # less than half, and the rest differs from 0
        (-0.04, 0.03, -0.03, False),  # less than half
        (0.08, 0.03, -0.02, False),  # opposite direction
    ],
)
def test_an_explanation_must_account_for_the_change(part, half, rest, expected):
    circuit = row("specific", "dmn", -0.1, 0.05)
    rows = [
        row("specific, regional part", "dmn", part, half),
        row("specific, node-adjusted", "dmn", rest, 0.04),
        row("specific, graded part", "tpn", part, half),
        row("specific, graded rest", "tpn", rest, 0.04),
    ]
    (found,) = explanations_of(rows, [circuit])
    assert (found.circuit, found.kind, found.explains) == ("dmn", "regional", expected)
    assert (found.part, found.rest) == (part, rest)
    assert found.part_low == pytest.approx(part - half)


def test_explanations_that_were_not_tested_are_omitted():
    circuit = row("specific", "dmn", -0.1, 0.05)
    rows = [
        Estimate.unknown("specific, quality part", "dmn"),
        Estimate.unknown("specific, quality rest", "dmn"),
        row("specific, graded part", "dmn", -0.1, 0.01),
    ]
    assert explanations_of(rows, [circuit]) == ()
