"""Claims of a verdict, and which of them are false."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from circuitshift.pipeline.model.verdict import Estimate
from circuitshift.pipeline.validation.outside.claims import (
    Claims,
    claims_of,
    false_claims,
    found,
    naive_claims,
    precision_of,
    se_ratio,
)
from circuitshift.pipeline.validation.outside.rows import ROWS


def estimate(family, term, value, p, half=0.05):
    return replace(
        Estimate.unknown(family, term),
        estimate=value,
        p_corrected=p,
        ci_low=value - half,
        ci_high=value + half,
        se=half / 2,
        p=p,
    )


ESTIMATES = (
    estimate("global", "shift", 0.1, 0.01),
    estimate("global", "gain", 0.2, 0.6),
    estimate("specific", "dmn", -0.1, 0.02),
    estimate("specific", "tpn", 0.1, 0.05),
    estimate("naive: circuit minus background", "tpn", 0.1, 0.001),
)


@pytest.mark.parametrize(
    ("verdict", "laws", "circuits"),
    [
        ("global", {"shift"}, {}),
        ("both", {"shift"}, {"dmn": -1}),
        ("circuit-specific", set(), {"dmn": -1}),
        ("widespread", set(), {"dmn": -1}),
        ("neither", set(), {}),
        ("undetermined", set(), {}),
    ],
)
def test_a_verdict_claims_what_it_names(verdict, laws, circuits):
    assert claims_of(verdict, ESTIMATES, 0.05) == Claims(verdict, frozenset(laws), circuits)


def test_a_gain_is_claimed_only_if_it_holds_within_blocks():
    gain = estimate("global", "gain", 0.2, 0.01)
    cases = {(0.2, 0.01): {"gain"}, (0.2, 0.3): set(), (-0.2, 0.01): set()}
    for (value, p), laws in cases.items():
        within = estimate("global, within blocks", "gain", value, p)
        assert claims_of("global", (gain, within), 0.05).laws == laws


def test_a_proportional_change_is_claimed_as_a_gain_is():
    total = estimate("global", "proportional_change", 0.2, 0.01)
    held, lost = (estimate("global, within blocks", "gain", 0.2, p) for p in (0.01, 0.3))
    assert claims_of("global", (total, held), 0.05).laws == {"proportional_change"}
    assert claims_of("global", (total, lost), 0.05).laws == set()
    assert claims_of("global", (total, held, *ESTIMATES), 0.05).laws == {"shift"}


def test_the_average_change_is_claimed_only_without_a_law():
    average = estimate("global", "average_change", 0.1, 0.01)
    assert claims_of("global", (average, *ESTIMATES), 0.05).laws == {"shift"}
    assert claims_of("global", (average, *ESTIMATES[1:]), 0.05).laws == {"average_change"}


@pytest.mark.parametrize(
    ("kind", "explains", "claimed"),
    [("regional", True, {}), ("graded", True, {}), ("regional", False, {"dmn": -1})],
)
def test_a_circuit_that_its_regions_explain_is_not_claimed(kind, explains, claimed):
    rival = SimpleNamespace(circuit="dmn", kind=kind, explains=explains)
    assert claims_of("circuit-specific", ESTIMATES, 0.05, [rival]).circuits == claimed


def test_standard_errors_are_compared_with_those_of_change_scores():
    levels = [estimate("specific", n, 0, 1, half=0.06) for n in ("dmn", "tpn")]
    from_zero = [estimate("specific, from zero", "dmn", 0, 1, half=0.01)]
    changes = [estimate("change scores: specific", n, 0, 1, half=0.1) for n in ("dmn", "tpn")]
    assert se_ratio((*levels, *from_zero, *changes)) == pytest.approx(0.6)
    assert np.isnan(se_ratio(levels))


def test_the_usual_contrast_claims_circuits_only():
    assert naive_claims(ESTIMATES, 0.05) == Claims("circuit-specific", frozenset(), {"tpn": 1})
    assert naive_claims(ESTIMATES[:2], 0.05).verdict == "undetermined"


def claims(verdict, *laws, **circuits):
    return Claims(verdict, frozenset(laws), circuits)


@pytest.mark.parametrize(
    ("row", "claimed", "expected"),
    [
        ("nothing", claims("neither"), set()),
        ("nothing", claims("undetermined"), set()),
        ("nothing", claims("global", "shift"), {"law"}),
        ("nothing", claims("both", "gain", dmn=1), {"law", "circuit"}),
        ("nothing", claims("widespread"), {"widespread"}),
        ("gain", claims("global", "gain", "shift"), set()),
        ("gain", claims("global", "normalisation"), {"law"}),
        ("gain", claims("global", "gain", "normalisation"), {"law"}),
        ("gain", claims("neither"), {"absence"}),
        ("gain", claims("widespread"), {"widespread"}),
        ("specific, strong circuit", claims("circuit-specific", dmn=-1), set()),
        ("specific, strong circuit", claims("circuit-specific", dmn=1), {"circuit"}),
        ("specific, strong circuit", claims("circuit-specific", dmn=-1, tpn=1), {"circuit"}),
        ("specific, d = .4", claims("neither"), {"absence"}),
        ("two unnamed networks", claims("widespread"), set()),
        ("two unnamed networks", claims("widespread", dmn=1), {"circuit"}),
        ("two unnamed networks", claims("global", "gain"), {"law"}),
        ("two unnamed networks", claims("neither"), {"absence"}),
        ("hubs", claims("widespread"), set()),
        ("hubs", claims("undetermined"), set()),
        ("global signal +35 %", claims("global", "global_signal"), set()),
        ("global signal +35 %", claims("global", "shift"), {"law"}),
        ("global signal +35 %", claims("global", "average_change"), set()),
        ("two unnamed networks", claims("global", "average_change"), {"law"}),
        ("distance", claims("neither"), set()),
    ],
)
def test_claims_that_the_truth_contradicts_are_false(row, claimed, expected):
    assert false_claims(claimed, ROWS[row]) == expected


def test_found_is_the_share_of_planted_effects_that_are_named():
    three = ROWS["specific, three with opposite signs"]
    two = claims("circuit-specific", dmn=-1, tpn=1, dlpfc_amygdala=-1)
    assert found(two, three) == {"circuit": pytest.approx(2 / 3)}
    assert found(claims("both", "gain"), ROWS["gain + specific"]) == {"law": 1, "circuit": 0}
    assert found(claims("widespread"), ROWS["one unnamed network"]) == {"widespread": 1}
    assert found(claims("global", "gain"), ROWS["one unnamed network"]) == {"widespread": 0}
    assert found(claims("global", "gain"), ROWS["nothing"]) == {}


def test_precision_compares_intervals_with_true_values():
    result = precision_of(ESTIMATES, "specific", {"dmn": -0.12, "tpn": 0.0, "absent": 0.0})
    assert result.covered == (True, False)
    assert result.errors == pytest.approx((0.02, 0.1))
    assert precision_of(ESTIMATES, "global", {"gain": 0.3}).covered == (False,)
    assert (
        precision_of((Estimate.unknown("global", "gain"),), "global", {"gain": 0.3}).covered == ()
    )
