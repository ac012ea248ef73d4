"""The decision rule: verdicts, sentences, reasons and warnings."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from circuitshift.pipeline.model.deviation import Deviation
from circuitshift.pipeline.model.heterogeneity.summary import Heterogeneity
from circuitshift.pipeline.model.verdict import Estimate, Verdict, decide

IDENTIFIED = Deviation(identified=True, reason="")


def verdict_of(*rows: Estimate, **more: object) -> Verdict:
    arguments = {"alpha": 0.05, "deviation": IDENTIFIED, "controlled": True}
    return decide(rows, **(arguments | more))


def estimate(family: str, p: float, equivalence: float, **more: object) -> Estimate:
    values = {"estimate": 0.1, "p": p, "p_corrected": p, "equivalence_p": equivalence}
    values |= {"ci_low": -0.1, "ci_high": 0.3, "smallest_p": 0.001, "power": 0.9}
    return replace(Estimate.unknown(family, family), **(values | more))


@pytest.mark.parametrize(
    ("p_global", "p_circuit", "equivalence", "expected"),
    [
        (0.01, 0.5, 0.5, "global"),
        (0.5, 0.01, 0.5, "circuit-specific"),
        (0.01, 0.01, 0.5, "both"),
        (0.5, 0.5, 0.01, "neither"),
        (0.5, 0.5, 0.5, "undetermined"),
        (0.05, 0.05, 0.5, "undetermined"),
    ],
)
def test_the_decision_rule(
    p_global: float, p_circuit: float, equivalence: float, expected: str
) -> None:
    rows = [estimate("global", p_global, equivalence), estimate("specific", p_circuit, equivalence)]
    assert verdict_of(*rows).verdict == expected


def test_the_decision_uses_corrected_p_values() -> None:
    rows = [
        replace(estimate(family, 0.01, 0.5), p_corrected=0.2) for family in ("global", "specific")
    ]
    assert verdict_of(*rows).verdict == "undetermined"


def test_effects_that_were_not_tested_are_not_excluded() -> None:
    rows = [estimate("global", 0.5, 0.01), estimate("specific", 0.5, 0.01)]
    rows.append(Estimate.unknown("specific", "dmn", "missing"))
    result = verdict_of(*rows)
    assert result.verdict == "undetermined"
    assert "Not tested: dmn (missing)." in result.warnings


def test_naive_families_do_not_influence_the_verdict() -> None:
    rows = [estimate("naive: circuit minus background", 0.001, 0.5)]
    verdict = verdict_of(*rows)
    assert verdict.verdict == "undetermined"
    assert verdict.reason == "no test could be performed"


def test_without_a_control_arm_the_verdict_warns() -> None:
    rows = [estimate("global", 0.01, 0.5), estimate("specific", 0.5, 0.5)]
    with_arm, without = (
        verdict_of(*rows, controlled=controlled).warnings for controlled in (True, False)
    )
    assert len(without) == len(with_arm) + 1
    assert any("control arm" in text for text in without)
    assert not any("control arm" in text for text in with_arm)


def test_changes_that_region_wide_changes_may_explain_are_warned_of() -> None:
    row = estimate("specific", 0.01, 0.5)
    for low, warned in ((-0.1, True), (0.01, False)):
        adjusted = replace(estimate("specific, node-adjusted", 0.2, 0.5, ci_low=low), term=row.term)
        result = verdict_of(row, adjusted)
        assert result.verdict == "circuit-specific"
        assert any("adjusting for region-wide changes" in w for w in result.warnings) == warned


@pytest.mark.parametrize(
    ("term", "value", "kind", "expected"),
    [
        ("shift", 0.1, "edge", "The connections outside the predefined circuits changed globally: "
         "an increase at average strength (shift)."),
        ("shift", -0.1, "region", "The regions outside the predefined circuits changed globally: "
         "a decrease at the average value (shift)."),
        ("gain", -0.1, "edge", "a decrease in proportion to their typical strength (gain)."),
        ("gain", 0.1, "region", "an increase in proportion to their typical value (gain)."),
        ("normalisation", 0.4, "edge", "a change toward the reference group in proportion"),
        ("normalisation", -0.4, "edge", "a change away from the reference group in proportion"),
    ],
)  # fmt: skip
def test_the_sentence_names_each_global_term_and_its_direction(
    term: str, value: float, kind: str, expected: str
) -> None:
    row = estimate("global", 0.01, 0.5, term=term, estimate=value)
    result = verdict_of(row, estimate("specific", 0.5, 0.5), kind=kind)
    assert result.verdict == "global"
    assert expected in result.sentence


def test_the_sentence_names_circuits_by_direction() -> None:
    rows = [
        estimate("specific", 0.01, 0.5, term=term, estimate=value)
        for term, value in (("dmn", -0.2), ("tpn", -0.1), ("dlpfc_amygdala", 0.1))
    ]
    other = estimate("specific", 0.5, 0.5, term="other")
    result = verdict_of(*rows, other, estimate("global", 0.5, 0.5))
    assert result.sentence.startswith(
        "Relative to the prediction of the global model, dlpfc_amygdala increased, and dmn and tpn "
        "decreased. There is no evidence of a global change"
    )
    assert "other" not in result.sentence
    both = verdict_of(*rows, estimate("global", 0.01, 0.5, term="shift"))
    assert both.verdict == "both"
    assert "(shift). In addition, dlpfc_amygdala increased" in both.sentence


@pytest.mark.parametrize(
    ("equivalence", "expected"), [(0.01, "can be excluded"), (0.2, "cannot be excluded")]
)
@pytest.mark.parametrize(("significant", "other"), [("global", "specific"), ("specific", "global")])
def test_absence_is_claimed_only_with_an_equivalence_test(
    significant: str, other: str, equivalence: float, expected: str
) -> None:
    result = verdict_of(estimate(significant, 0.01, 0.5), estimate(other, 0.5, equivalence))
    assert "There is no evidence of a" in result.sentence
    assert expected in result.sentence


@pytest.mark.parametrize(
    "change",
    [
        {"ci_low": 0.001},
        {"ci_high": -0.001},
        {"smallest_p": 0.06},
        {"power": 0.79},
        {"power": np.nan},
        {"equivalence_p": np.nan},
    ],
)
def test_nothing_is_ruled_out_that_the_test_could_not_find(change: dict) -> None:
    rows = [estimate("global", 0.5, 0.01), estimate("specific", 0.5, 0.01)]
    assert all(row.rules_out(0.05) for row in rows)
    rows[1] = replace(rows[1], **change)
    assert not rows[1].rules_out(0.05)
    result = verdict_of(*rows)
    assert result.verdict == "undetermined"
    assert "cannot be excluded for specific" in result.reason or "without a" in result.reason


def test_a_family_that_was_not_tested_is_not_reported_as_absent() -> None:
    """After global signal regression, there is no global test."""
    result = verdict_of(estimate("specific", 0.01, 0.5), global_signal_removed=True)
    assert result.verdict == "circuit-specific"
    assert result.sentence.endswith("A global change was not tested.")
    assert "no evidence" not in result.sentence
    assert any("does not exclude a global change" in text for text in result.warnings)
    missing = Estimate.unknown("specific", "dmn", "missing")
    result = verdict_of(estimate("global", 0.01, 0.5), missing)
    assert result.sentence.endswith("A change of a circuit beyond the global model was not tested.")


def test_the_reason_gives_estimates_with_interval_and_corrected_p() -> None:
    shift = estimate("global", 0.0012, 0.5, term="shift", ci_low=0.04, ci_high=0.16)
    dmn = estimate("specific", 0.01, 0.5, term="dmn", estimate=-0.2, ci_low=-0.3, ci_high=-0.1)
    assert verdict_of(shift, dmn, estimate("specific", 0.5, 0.5)).reason == (
        "global: shift +0.100 Fisher z (95 % CI 0.040 to 0.160, corrected p = 0.0012); "
        "beyond the global model: dmn \N{MINUS SIGN}0.200 Fisher z "
        "(95 % CI \N{MINUS SIGN}0.300 to \N{MINUS SIGN}0.100, "
        "corrected p = 0.0100)"
    )


def test_the_reason_of_undetermined_names_the_open_tests() -> None:
    excluded = estimate("global", 0.5, 0.01, term="shift", bound=0.1)
    open_tests = [estimate("specific", 0.5, 0.5, term=f"c{k}", bound=0.1) for k in range(8)]
    reason = verdict_of(excluded, *open_tests).reason
    assert reason.endswith("cannot be excluded for c0, c1, c2, c3, c4, c5 and others")
    assert verdict_of(excluded, open_tests[0]).reason.endswith("cannot be excluded for c0")
    without_bound = verdict_of(estimate("global", 0.5, np.nan), estimate("specific", 0.5, np.nan))
    assert "without a smallest effect of interest" in without_bound.reason


def test_a_deviation_that_is_not_identified_is_explained() -> None:
    deviation = Deviation(identified=False, reason="there is no reference group")
    result = verdict_of(estimate("global", 0.5, 0.5), deviation=deviation)
    assert result.warnings == ("Normalisation was not tested: there is no reference group.",)


HETEROGENEOUS = Heterogeneity(
    "pairs of networks", 20, 0.03, 0.02, 0.05, 0.045, 0.03, 0.01, 0.02, p_among_peers={"dmn": 0.01}
)
UNIFORM = replace(HETEROGENEOUS, tau=0.0, ci_low=0.0, ci_high=0.01, upper=0.009, p=0.4)


@pytest.mark.parametrize("p_global", [0.01, 0.5])
@pytest.mark.parametrize("p_circuit", [0.01, 0.5])
def test_heterogeneity_of_interest_is_widespread_whatever_else_is_significant(
    p_global: float, p_circuit: float
) -> None:
    rows = [
        estimate("global", p_global, 0.5, term="shift"),
        estimate("specific", p_circuit, 0.5, term="dmn", estimate=0.15),
        estimate("blocks", 0.01, 0.5, term="Vis"),
    ]
    result = verdict_of(*rows, heterogeneity=HETEROGENEOUS)
    assert result.verdict == "widespread"
    assert ("shift" in result.not_claimed) == (p_global < 0.05)
    assert any("different amounts: shift +0.10" in w for w in result.warnings) == (p_global < 0.05)
    assert result.reason.startswith("blocks: Vis +0.100")
    assert ("On this heterogeneous ground, dmn increased" in result.sentence) == (p_circuit < 0.05)


def test_heterogeneity_below_the_bound_leaves_one_law() -> None:
    rows = [
        estimate("global", 0.01, 0.5, term="shift"),
        estimate("specific", 0.5, 0.5, term="dmn"),
        estimate("blocks", 0.01, 0.5, term="Vis", estimate=0.015),
    ]
    small = replace(HETEROGENEOUS, tau=0.008)
    result = verdict_of(*rows, heterogeneity=small)
    assert result.verdict == "global"
    assert "One global law does not hold exactly" in result.sentence
    rows[2] = replace(rows[2], estimate=0.05)
    assert verdict_of(*rows, heterogeneity=small).verdict == "widespread"


def test_a_gain_must_hold_within_blocks() -> None:
    gain = estimate("global", 0.01, 0.5, term="gain", estimate=0.2)
    circuit = estimate("specific", 0.5, 0.5, term="dmn")
    nan = float("nan")
    wanted = (0.01, 0.2, True), (0.3, 0.2, False), (0.01, -0.2, False), (nan, nan, False)
    for p, value, claimed in wanted:
        within = estimate("global, within blocks", p, 0.5, term="gain", estimate=value)
        result = verdict_of(gain, circuit, within, heterogeneity=UNIFORM)
        assert result.verdict == ("global" if claimed else "undetermined")
        assert result.not_claimed == (() if claimed else ("gain",))
        exception = "no corrected p below 0.05, except for gain, which the verdict does not claim"
        assert result.reason.startswith(exception) is not claimed
        assert any("A gain is not claimed" in w for w in result.warnings) != claimed


def test_a_circuit_that_its_regions_explain_is_not_specific() -> None:
    circuit = estimate("specific", 0.01, 0.5, term="dmn", estimate=-0.1)
    part, rest = (
        replace(
            estimate(family, 0.01, 0.5, term="dmn", estimate=value),
            se=0.02,
            ci_low=value - 0.04,
            ci_high=value + 0.04,
        )
        for family, value in (
            ("specific, regional part", -0.08),
            ("specific, node-adjusted", -0.02),
        )
    )
    other = estimate("global", 0.5, 0.5, term="shift")
    result = verdict_of(circuit, part, rest, other, heterogeneity=UNIFORM)
    assert result.verdict == "undetermined"
    assert result.not_claimed == ("dmn",)
    assert "A change of dmn is not distinguishable from a change of its regions" in result.sentence
    assert any("The change of dmn can be explained otherwise" in w for w in result.warnings)
    quality = [
        replace(e, family=f"specific, quality {k}") for e, k in ((part, "part"), (rest, "rest"))
    ]
    result = verdict_of(circuit, *quality, other, heterogeneity=UNIFORM)
    assert result.verdict == "undetermined"
    assert "from the measured change of its regions' signal quality" in result.sentence
    assert "all their connections" not in result.sentence
    result = verdict_of(circuit, part, rest, *quality, other, heterogeneity=UNIFORM)
    assert sum("The change of dmn can be explained otherwise" in w for w in result.warnings) == 2
    graded = [
        replace(e, family=f"specific, graded {k}") for e, k in ((part, "part"), (rest, "rest"))
    ]
    result = verdict_of(circuit, *graded, other, heterogeneity=UNIFORM)
    assert result.verdict == "undetermined"
    assert "from a gain that is graded along the cortical hierarchy" in result.sentence


def test_neither_needs_the_exclusion_of_heterogeneity() -> None:
    row = {"ci_low": -0.01, "ci_high": 0.01, "smallest_p": 0.001, "power": 0.9}
    rows = [estimate("global", 0.5, 0.01, **row), estimate("specific", 0.5, 0.01, **row)]
    assert verdict_of(*rows, heterogeneity=UNIFORM).verdict == "neither"
    wide = replace(UNIFORM, upper=0.03)
    assert verdict_of(*rows, heterogeneity=wide).verdict == "undetermined"


def test_heterogeneity_that_was_not_tested_is_a_warning() -> None:
    rows = [estimate("global", 0.5, 0.5), estimate("specific", 0.01, 0.5)]
    result = verdict_of(*rows, heterogeneity=Heterogeneity.unknown("too few networks"))
    assert result.verdict == "circuit-specific"
    assert any("was not tested: too few networks." in w for w in result.warnings)


def test_the_global_signal_is_named_with_its_other_causes() -> None:
    row = estimate("global", 0.01, 0.5, term="global_signal", estimate=0.2, ci_low=0.1, ci_high=0.3)
    sentence = verdict_of(row, estimate("specific", 0.5, 0.5)).sentence
    assert "a larger global signal (amplitude +22%, 95 % CI 11% to 35%; drowsiness" in sentence


def test_an_undetermined_study_states_what_it_could_have_found() -> None:
    shared = {"df": 40.0, "n": 22, "n_control": 20}
    rows = [
        estimate("global", 0.5, 0.5, term="shift", se=0.01, sd=0.03, **shared),
        estimate("specific", 0.5, 0.5, term="dmn", se=0.03, sd=0.09, **shared),
        estimate("specific", 0.5, 0.5, term="tpn", se=0.05, sd=0.10, **shared),
    ]
    expected = (stats.t.isf(0.05 / 4, 40) + stats.t.ppf(0.8, 40)) * 0.03 / 0.09
    result = verdict_of(*rows)
    assert result.sentence == (
        "The data do not distinguish between the hypotheses. With 22 treated and 20 control "
        "participants, the study had 80 % power only for changes of a circuit by "
        f"d = {expected:.2f} or more (standard deviations of change between participants)."
    )
    one_arm = [replace(row, n=19, n_control=0) for row in rows]
    assert "With 19 participants, the study had" in verdict_of(*one_arm).sentence
    found = verdict_of(*rows, estimate("specific", 0.001, 0.5, term="other"))
    assert "80 % power" not in found.sentence
    unknown = verdict_of(rows[0], replace(rows[1], sd=np.nan))
    assert unknown.sentence == "The data do not distinguish between the hypotheses."


def test_on_heterogeneous_ground_a_circuit_must_exceed_the_largest_block() -> None:
    block = estimate("blocks", 0.01, 0.5, term="Vis", estimate=-0.12)
    for value, claimed in ((0.1, False), (-0.14, True)):
        circuit = estimate("specific", 0.01, 0.5, term="dmn", estimate=value)
        result = verdict_of(circuit, block, heterogeneity=HETEROGENEOUS)
        assert result.verdict == "widespread"
        assert ("On this heterogeneous ground" in result.sentence) == claimed
        assert result.not_claimed == (() if claimed else ("dmn",))
        assert any("not larger than the changes of each" in w for w in result.warnings) != claimed


def test_on_heterogeneous_ground_a_circuit_must_stand_out_among_blocks_of_its_kind() -> None:
    block = estimate("blocks", 0.01, 0.5, term="Vis", estimate=-0.05)
    circuit = estimate("specific", 0.01, 0.5, term="dmn", estimate=0.1)
    for p, claimed in ((0.01, True), (0.2, False)):
        among = replace(HETEROGENEOUS, p_among_peers={"dmn": p})
        result = verdict_of(circuit, block, heterogeneity=among)
        assert result.verdict == "widespread"
        assert result.not_claimed == (() if claimed else ("dmn",))
    uniform = replace(UNIFORM, p_among_peers={"dmn": 0.2})
    assert verdict_of(circuit, heterogeneity=uniform).verdict == "circuit-specific"
