"""Wording of reports: numbers, directions, significance, absence of evidence."""

import math

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
def test_numbers_have_one_format(value, digits, text):
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
def test_text_in_cells_is_unchanged(value, text):
    assert wording.cell(value) == text


def row(estimate, p, p_corrected, **more):
    return {
        "estimate": estimate, "p": p, "p_corrected": p_corrected, "ci_low": estimate - 0.1,
        "ci_high": estimate + 0.1, "ruled_out": False, "tested": "two-sided",
    } | more  # fmt: skip


def answer(circuits, terms=None, n_control=0):
    verdict = {"circuits": circuits, "global": terms or {}, "n": {"control": n_control}}
    return " ".join(wording.answer(verdict, alpha=0.05))


def test_a_p_value_is_never_zero():
    assert wording.p_value(0.0002) == "< 0.001"
    assert wording.p_value(0.0012) == "0.001"
    assert wording.p_value(0.0499) == "0.050"
    assert wording.p_value(math.nan) == wording.MISSING


@pytest.mark.parametrize("value", [None, "n/a", math.nan, math.inf, -math.inf, True])
def test_values_that_are_not_finite_numbers_are_not_available(value):
    assert wording.show(value) == wording.MISSING


def test_significance_is_that_of_corrected_p():
    assert wording.is_below(row(0.2, 0.001, 0.04), 0.05)
    assert not wording.is_below(row(0.2, 0.001, 0.051), 0.05)
    assert not wording.is_below(row(0.2, 0.001, None), 0.05)
    assert not wording.is_below(row(0.2, 0.001, 0.05), 0.05)


def test_the_direction_of_a_change_is_stated():
    up, down = (answer({"dmn": row(value, 0.001, 0.01)}) for value in (0.2, -0.2))
    assert "correlations increased by 0.20 Fisher z" in up
    assert "correlations decreased by 0.20 Fisher z" in down


@pytest.mark.parametrize(
    ("value", "predicted", "tested", "words"),
    [
        (-0.2, "decrease", "two-sided", "in the predicted direction"),
        (0.2, "increase", "two-sided", "in the predicted direction"),
        (0.2, "decrease", "two-sided", "against the predicted direction"),
        (
            0.2,
            "decrease",
            "increase",
            "in the predicted direction",
        ),  # the study file takes precedence
        (0.2, "two-sided", "two-sided", ""),
    ],
)
def test_a_prediction_is_met_or_not(value, predicted, tested, words):
    text = answer({"dmn": row(value, 0.001, 0.01, predicted=predicted, tested=tested)})
    assert ("direction" in text) == bool(words)
    assert words in text


def test_no_significant_change_is_no_evidence_of_absence():
    quiet = {"dmn": row(0.0, 0.5, 0.9), "tpn": row(0.0, 0.5, 0.9, ruled_out=True)}
    both = answer({k: v | {"ruled_out": True} for k, v in quiet.items()})
    assert "is ruled out" in both
    assert "not ruled out" not in both
    assert "is not ruled out for dmn" in answer(quiet)
    none = answer({"dmn": {k: v for k, v in quiet["dmn"].items() if k != "ruled_out"}})
    assert "not evidence of absence" in none


@pytest.mark.parametrize(
    ("tested", "low", "high", "is_named"),
    [
        ("decrease", 0.05, 0.3, True),
        ("decrease", -0.05, 0.3, False),
        ("decrease", -0.3, -0.05, False),
        ("increase", -0.3, -0.05, True),
        ("two-sided", 0.05, 0.3, False),
    ],
)
def test_a_change_against_a_one_sided_test_is_named(tested, low, high, is_named):
    text = answer({"dmn": row(0.1, 0.9, 0.99, tested=tested, ci_low=low, ci_high=high)})
    assert ("one-sided test" in text) == is_named


def test_a_circuit_that_was_not_tested_is_named():
    text = answer({"dmn": row(0.2, 0.001, 0.01), "tpn": row(math.nan, math.nan, math.nan)})
    assert "Not tested" in text
    assert text.partition("Not tested")[2].rstrip(".").endswith("tpn")
    assert "Not tested" not in answer({"dmn": row(0.2, 0.001, 0.01)})


def test_global_terms_are_stated_in_their_unit():
    terms = {"gain": row(0.123, 0.001, 0.01), "shift": row(-0.08, 0.001, 0.01)}
    text = answer({}, terms, n_control=9)
    assert "by +12 %" in text
    assert "\N{MINUS SIGN}0.08 Fisher z" in text
    assert text.count("relative to the control arm") == 2


def test_a_widespread_change_names_networks_instead_of_a_law():
    blocks = {f"n{k}": row(0.01 * (k + 4), 0.001, 0.01) for k in range(8)}
    blocks["quiet"] = row(0.3, 0.2, 0.5)
    verdict = {
        "verdict": "widespread",
        "n": {},
        "global": {"shift": row(0.2, 0.001, 0.01)},
        "circuits": {"dmn": row(-0.2, 0.001, 0.01)},
        "blocks": blocks,
    }
    text = " ".join(wording.answer(verdict, alpha=0.05))
    assert text.startswith(
        "n7: connections increased by 0.11 Fisher z beyond the global model (95 %"
    )
    assert "2 more pairs of networks changed" in text
    assert "quiet" not in text
    assert "average connection" not in text
    assert "dmn: correlations decreased by 0.20" in text
    assert wording.headline("widespread").startswith("The change is widespread")


def test_terms_that_are_explained_otherwise_are_no_findings():
    verdict = {
        "verdict": "undetermined",
        "n": {},
        "not_claimed": ["gain", "dmn"],
        "global": {"gain": row(0.2, 0.001, 0.01), "shift": row(0.0, 0.5, 0.9)},
        "circuits": {"dmn": row(-0.2, 0.001, 0.01), "tpn": row(0.0, 0.5, 0.9)},
    }
    text = " ".join(wording.answer(verdict, alpha=0.05))
    assert "proportion to their strength" not in text
    assert "dmn" not in text
    assert "No circuit-specific change was found" in text


def test_the_amplitude_of_the_global_signal_is_a_percentage():
    text = answer({}, {"global_signal": row(math.log(1.25), 0.001, 0.01)})
    assert (
        "another amplitude of the global signal (by +25 %), as after a change of drowsiness" in text
    )


def test_a_change_without_a_known_law_is_stated_only_if_no_law_is_known():
    total = {"average_change": row(0.1, 0.001, 0.01), "proportional_change": row(0.2, 0.001, 0.01)}
    text = answer({}, total)
    assert "+0.10 Fisher z on average, which a shift and the amplitude of the" in text
    assert "by +20 %, which a gain and the amplitude of the global signal may both" in text
    with_law = answer({}, total | {"gain": row(0.2, 0.001, 0.01)})
    assert "may both explain" not in with_law
    assert "Connections changed in proportion to their strength, by +20 %" in with_law
