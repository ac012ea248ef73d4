from dataclasses import replace

from circuitshift.pipeline.model.heterogeneity.sentences import (
    explanation_sentence,
    gain_sentence,
    one_law_sentence,
    widespread_sentence,
)
from circuitshift.pipeline.model.heterogeneity.summary import Explanation, Heterogeneity
from circuitshift.pipeline.model.verdict import Estimate

FOUND = Heterogeneity("pairs", 20, 0.034, 0.021, 0.052, 0.045, 0.03, 0.004, 0.02)


def block(name: str, value: float) -> Estimate:
    return replace(Estimate.unknown("blocks", name), estimate=value, p=0.01, p_corrected=0.01)


def test_a_widespread_change_names_the_largest_blocks():
    blocks = [block(f"b{k}", 0.05 + 0.01 * k) for k in range(6)]
    text = widespread_sentence(blocks, FOUND, "")
    assert text == (
        "Connectivity changed in several networks, but not according to one global law (p = 0.004; "
        "largest deviations: b5 +0.10 Fisher z, b4 +0.09 Fisher z, b3 +0.08 Fisher z, b2 +0.07 "
        "Fisher z and 2 more). Beyond such a law, blocks differ by a standard deviation of 0.034 "
        "Fisher z (95 % CI 0.021 to 0.052). This pattern is neither a uniform brain-wide effect "
        "nor specific to the predefined circuits."
    )


def test_a_single_block_is_no_several_networks():
    text = widespread_sentence([block("Vis", -0.12)], FOUND, "")
    assert text.startswith(
        "Connectivity outside the predefined circuits changed, but not according to one global law "
        "(p = 0.004; deviation: Vis -0.12 Fisher z)."
    )


def test_a_widespread_change_of_regions_is_no_change_of_connectivity():
    blocks = [replace(block(name, 0.2), unit="mm") for name in ("Vis", "Limbic")]
    text = widespread_sentence(blocks, FOUND, "", "region")
    assert text.startswith("Regions of several networks changed, but not according to one global")
    text = widespread_sentence(blocks[:1], FOUND, "", "region")
    assert text.startswith("Regions outside the predefined circuits changed, but not")
    assert "onnect" not in text


def test_a_single_large_block_does_not_contradict_a_small_variation_over_blocks():
    small = replace(FOUND, tau=0.0, ci_low=0.0, ci_high=0.018)
    text = widespread_sentence([block("Vis", -0.12)], small, "")
    assert (
        "Beyond such a law, 1 block differs by more than 0.04 Fisher z, although the standard "
        "deviation over all blocks is 0.000 Fisher z (95 % CI 0.000 to 0.018)."
    ) in text
    text = widespread_sentence(
        [block("Vis", -0.12), block("Som", 0.06), block("a", 0.03)], small, ""
    )
    assert "2 blocks differ by more than 0.04" in text


def test_circuits_that_stand_out_are_named_on_heterogeneous_ground():
    text = widespread_sentence([block("Vis", -0.12)], FOUND, "dmn decreased")
    assert text.endswith("On this heterogeneous ground, dmn decreased more than blocks do.")
    assert "neither" not in text


def test_one_law_is_claimed_only_as_far_as_it_was_tested():
    unknown = Heterogeneity.unknown("too few blocks")
    assert one_law_sentence(unknown, "Fisher z") == ""
    text = one_law_sentence(replace(FOUND, p=0.3), "Fisher z")
    assert text.startswith("One global law is not rejected for the blocks")
    assert "0.034 Fisher z (95 % CI 0.021 to 0.052)" in text
    excluded = one_law_sentence(replace(FOUND, p=0.3, upper=0.018), "Fisher z")
    assert excluded == (
        "Differences between blocks beyond the global model as large as a standard deviation of "
        "0.02 Fisher z can be excluded."
    )
    small = one_law_sentence(replace(FOUND, tau=0.01), "Fisher z")
    assert small.startswith("One global law does not hold exactly (p = 0.004), but")
    assert "estimated to be smaller than those of interest" in small
    assert "(0.02 Fisher z)" in small


def test_a_gain_that_does_not_hold_within_blocks_gives_both_estimates():
    over_all = replace(Estimate.unknown("global", "gain"), estimate=0.2)
    within = replace(over_all, estimate=0.03, ci_low=-0.05, ci_high=0.11, p=0.4)
    assert gain_sentence(over_all, within) == (
        "A gain is not claimed: it is +0.20 over the complete background, and +0.03 (95 % CI -0.05 "
        "to 0.11, p = 0.4) within blocks, where it is not significant. It may therefore reflect "
        "networks that change by different amounts."
    )
    opposite = replace(within, estimate=-0.1, p=0.01)
    assert "where it has the opposite direction" in gain_sentence(over_all, opposite)


def test_a_gain_that_cannot_be_tested_within_blocks_is_not_claimed():
    over_all = replace(Estimate.unknown("global", "gain"), estimate=0.2)
    text = gain_sentence(over_all, Estimate.unknown("global, within blocks", "gain"))
    assert text.startswith("A gain is not claimed: it is +0.20 over all background features, and")
    assert "nan" not in text


def test_an_explanation_gives_the_predicted_part_and_the_rest():
    found = Explanation("dmn", "regional", -0.08, -0.11, -0.05, -0.02, -0.06, 0.02, explains=True)
    assert explanation_sentence(found, "Fisher z") == (
        "The change of dmn can be explained otherwise: its regions changed in all their "
        "connections, as after a loss of signal. This predicts -0.08 Fisher z (95 % CI -0.11 to "
        "-0.05) and leaves -0.02 (95 % CI -0.06 to 0.02)."
    )
