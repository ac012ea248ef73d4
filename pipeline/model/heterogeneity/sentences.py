"""Sentences of the verdict about heterogeneity and rival explanations."""

from collections.abc import Sequence

import numpy as np

from circuitshift.pipeline.features import FeatureKind
from circuitshift.pipeline.model.heterogeneity.summary import Explanation, Heterogeneity, Row

__all__ = ["explanation_sentence", "gain_sentence", "one_law_sentence", "widespread_sentence"]

_MAX_NAMED = 4  # blocks that a sentence names


def widespread_sentence(
    blocks: Sequence[Row],
    heterogeneity: Heterogeneity,
    standing: str,
    kind: FeatureKind = "edge",
) -> str:
    """Describe a change that differs between blocks.

    Parameters
    ----------
    blocks : sequence of Row
        Blocks with a significant residual change; at least one.
    heterogeneity : Heterogeneity
        Variation over blocks.
    standing : str
        Clause that names the circuits that changed more than blocks do; empty if none did.
    kind : {"edge", "region"}
        Kind of the features: connections or regions.

    Returns
    -------
    str
    """
    ordered = sorted(blocks, key=lambda e: -abs(e.estimate))
    unit = ordered[0].unit
    named = ", ".join(f"{e.term} {e.estimate:+.2f} {unit}" for e in ordered[:_MAX_NAMED])
    more = f" and {len(ordered) - _MAX_NAMED} more" if len(ordered) > _MAX_NAMED else ""
    several = len(ordered) > 1
    outside = "outside the predefined circuits changed"
    what = {
        ("edge", True): "Connectivity changed in several networks",
        ("edge", False): f"Connectivity {outside}",
        ("region", True): "Regions of several networks changed",
        ("region", False): f"Regions {outside}",
    }[kind, several]
    beyond = _tau(heterogeneity, unit, start="Beyond such a law, blocks")
    if heterogeneity.tau < heterogeneity.smallest:  # single blocks are larger than is of interest
        n = sum(abs(e.estimate) > 2 * heterogeneity.smallest for e in ordered)
        beyond = (
            f"Beyond such a law, {n} block{' differs' if n == 1 else 's differ'} by more than "
            f"{2 * heterogeneity.smallest:g} {unit}, although the standard deviation over all "
            f"blocks is {heterogeneity.tau:.3f} {unit} (95 % CI {heterogeneity.ci_low:.3f} to "
            f"{heterogeneity.ci_high:.3f})."
        )
    deviations = "largest deviations" if several else "deviation"
    sentence = (
        f"{what}, but not according to one global law (p = {heterogeneity.p:.3g}; {deviations}: "
        f"{named}{more}). {beyond}"
    )
    if standing:
        return f"{sentence} On this heterogeneous ground, {standing} more than blocks do."
    return (
        f"{sentence} This pattern is neither a uniform brain-wide effect nor specific to the "
        "predefined circuits."
    )


def one_law_sentence(heterogeneity: Heterogeneity, unit: str) -> str:
    """State how well one global law describes the background.

    Parameters
    ----------
    heterogeneity : Heterogeneity
        Variation over blocks.
    unit : str
        Unit of its standard deviation.

    Returns
    -------
    str
        Empty if heterogeneity was not tested.
    """
    if not heterogeneity.n_blocks:
        return ""
    if heterogeneity.rejects_one_law():
        return (
            f"One global law does not hold exactly (p = {heterogeneity.p:.3g}), but the deviations "
            "are estimated to be smaller than those of interest "
            f"({heterogeneity.smallest:g} {unit}). "
            f"{_tau(heterogeneity, unit)}"
        )
    if heterogeneity.is_excluded():
        return (
            f"Differences between blocks beyond the global model as large as a standard deviation "
            f"of {heterogeneity.smallest:g} {unit} can be excluded."
        )
    return (
        "One global law is not rejected for the blocks of the background "
        f"(p = {heterogeneity.p:.3g}). {_tau(heterogeneity, unit)}"
    )


def _tau(heterogeneity: Heterogeneity, unit: str, *, start: str = "Blocks") -> str:
    return (
        f"{start} differ by a standard deviation of {heterogeneity.tau:.3f} {unit} "
        f"(95 % CI {heterogeneity.ci_low:.3f} to {heterogeneity.ci_high:.3f})."
    )


def gain_sentence(over_all: Row, within: Row) -> str:
    """Explain why a significant gain is not claimed.

    Parameters
    ----------
    over_all : Row
        Gain over all background features.
    within : Row
        Gain from differences within blocks; NaN if it could not be estimated.

    Returns
    -------
    str
    """
    if not np.isfinite(within.p):
        return (
            f"A gain is not claimed: it is {over_all.estimate:+.2f} over all background features, "
            "and could not be tested within blocks, so that it may reflect networks that change by "
            "different amounts."
        )
    is_opposite = over_all.estimate * within.estimate < 0
    return (
        f"A gain is not claimed: it is {over_all.estimate:+.2f} over the complete background, and "
        f"{within.estimate:+.2f} (95 % CI {within.ci_low:.2f} to {within.ci_high:.2f}, "
        f"p = {within.p:.3g}) within blocks, where it "
        f"{'has the opposite direction' if is_opposite else 'is not significant'}. It may "
        "therefore reflect networks that change by different amounts."
    )


_CAUSES = {
    "regional": "its regions changed in all their connections, as after a loss of signal",
    "graded": "a gain that is graded along the cortical hierarchy",
    "quality": "the measured change of its regions' signal quality",
}


def explanation_sentence(explanation: Explanation, unit: str) -> str:
    """Report a rival explanation with its own estimate.

    Parameters
    ----------
    explanation : Explanation
        Explanation that accounts for the change of a circuit.
    unit : str
        Unit of the change.

    Returns
    -------
    str
    """
    e = explanation
    return (
        f"The change of {e.circuit} can be explained otherwise: {_CAUSES[e.kind]}. This predicts "
        f"{e.part:+.2f} {unit} (95 % CI {e.part_low:.2f} to {e.part_high:.2f}) and leaves "
        f"{e.rest:+.2f} (95 % CI {e.rest_low:.2f} to {e.rest_high:.2f})."
    )
