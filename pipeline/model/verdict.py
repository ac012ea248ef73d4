"""The decision rule: from the tests of one study to its verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from circuitshift.pipeline.features import FISHER_Z, FeatureKind
from circuitshift.pipeline.model.deviation import Deviation
from circuitshift.pipeline.model.heterogeneity.sentences import (
    explanation_sentence,
    gain_sentence,
    one_law_sentence,
    widespread_sentence,
)
from circuitshift.pipeline.model.heterogeneity.summary import (
    Explanation,
    Heterogeneity,
    explanations_of,
)
from circuitshift.pipeline.stats.detectable import detectable
from circuitshift.pipeline.words import in_words, join_names

__all__ = ["Estimate", "Verdict", "VerdictName", "decide"]

VerdictName = Literal["global", "circuit-specific", "both", "widespread", "neither", "undetermined"]

_MAX_BLOCKS = 4  # blocks that the reason names
_REQUIRED_POWER = 0.8  # at the smallest effect of interest, before it can be ruled out
_POWER_TEXT = f"{100 * _REQUIRED_POWER:.0f} %"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Hold one test: a row of tests.tsv.

    Parameters
    ----------
    test : str
        Description of the test for the reader of the table.
    family : str
        Family of tests that are corrected together. Only the families ``global`` and ``specific``
        determine the verdict.
    term : str
        Global term (``shift``, ``gain``, ``normalisation``, ``distance``) or name of a circuit.
    estimate : float
        Effect, in `unit`.
    unit : str
        Unit of the estimate, its interval and `bound`.
    ci_low, ci_high : float
        Limits of the 95 % confidence interval.
    se, df, statistic : float
        Standard error, degrees of freedom, and t (Welch's t when two arms are compared).
    p : float
        Permutation p value of this test alone.
    p_low, p_high : float
        95 % limits of the p value that all possible relabellings would give.
    p_corrected : float
        Permutation p value corrected for the family-wise error.
    bound : float
        Smallest effect of interest; NaN when none is defined.
    equivalence_p : float
        p value of the null hypothesis that the absolute effect is at least `bound`.
    bf10 : float
        Bayes factor of an effect against no effect, two-sided, without the variation over blocks
        (`circuitshift.pipeline.stats.bayes_factor.bayes_factor`).
    n, n_control, n_reference : int
        Numbers of treated participants (all participants when there is one arm), of control
        participants, and of reference participants.
    method : str
        Statistic and permutation scheme.
    note : str
        Remark on missing data, or the reason why the test was not performed.
    sd : float
        Standard deviation of change between participants of one arm.
    smallest_p : float
        Smallest corrected p value that the relabellings allow, however large the effect.
    power : float
        Power of a t test at `bound`, with the standard error of this study and the significance
        level divided by the number of tests of the family.
    """

    test: str
    family: str
    term: str
    estimate: float
    unit: str
    ci_low: float
    ci_high: float
    se: float
    df: float
    statistic: float
    p: float
    p_low: float
    p_high: float
    p_corrected: float
    bound: float
    equivalence_p: float
    bf10: float
    n: int
    n_control: int
    n_reference: int
    method: str
    note: str = ""
    sd: float = np.nan
    smallest_p: float = np.nan
    power: float = np.nan

    def rules_out(self, alpha: float) -> bool:
        """Return whether an effect as large as the smallest effect of interest is ruled out.

        Parameters
        ----------
        alpha : float
            Significance level of the test of equivalence.

        Returns
        -------
        bool
            True if the test of equivalence is significant, the confidence interval contains 0, and
            the test could have found such an effect: relabelling allows a corrected p value of
            `alpha`, and the power at the smallest effect of interest is at least .8.
        """
        return bool(
            self.equivalence_p < alpha
            and self.ci_low <= 0 <= self.ci_high
            and self.smallest_p <= alpha
            and self.power >= _REQUIRED_POWER
        )

    @classmethod
    def unknown(cls, family: str, term: str, note: str = "", *, unit: str = FISHER_Z) -> "Estimate":
        """Return the row of a test that could not be performed.

        The row keeps the test in the table, so that no test is omitted silently.

        Parameters
        ----------
        family : str
            Family of the test.
        term : str
            Global term or circuit.
        note : str
            Reason why the test was not performed.
        unit : str
            Unit that the estimate would have.

        Returns
        -------
        Estimate
            All numbers are NaN, and all numbers of participants are 0.
        """
        nan = float("nan")
        return cls(
            test=f"{term} ({family})",
            family=family,
            term=term,
            estimate=nan,
            unit=unit,
            ci_low=nan,
            ci_high=nan,
            se=nan,
            df=nan,
            statistic=nan,
            p=nan,
            p_low=nan,
            p_high=nan,
            p_corrected=nan,
            bound=nan,
            equivalence_p=nan,
            bf10=nan,
            n=0,
            n_control=0,
            n_reference=0,
            method="not tested",
            note=note,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Hold the answer of a study and its grounds.

    Parameters
    ----------
    verdict : {"global", "circuit-specific", "both", "widespread", "neither", "undetermined"}
        Category of the answer.
    sentence : str
        Summary for the reader. It claims only what was tested.
    reason : str
        The tests that determined the verdict, with estimates; a clause without a full stop.
    warnings : tuple of str
        Limitations of the design and of the data, one or more sentences each.
    heterogeneity : Heterogeneity
        Variation of change over blocks of the background.
    explanations : tuple of Explanation
        Rival explanations of the circuits that changed, with their estimates.
    not_claimed : tuple of str
        Global terms and circuits with a significant test that the verdict does not claim; the
        warnings state why.
    """

    verdict: VerdictName
    sentence: str
    reason: str
    warnings: tuple[str, ...]
    heterogeneity: Heterogeneity
    explanations: tuple[Explanation, ...] = ()
    not_claimed: tuple[str, ...] = ()


def decide(
    estimates: Sequence[Estimate],
    *,
    alpha: float,
    deviation: Deviation,
    controlled: bool,
    global_signal_removed: bool = False,
    kind: FeatureKind = "edge",
    heterogeneity: Heterogeneity | None = None,
) -> Verdict:
    """Apply the decision rule to the tests of a study.

    A family is significant when at least one of its tests has a corrected p value below `alpha`.
    If the omnibus test over blocks rejects one global law, and blocks differ by as much as is of
    interest, the change is ``widespread``. A gain counts only if it also holds within blocks, and a
    circuit only if a change of its regions in all their connections does not explain its change.
    The verdict ``neither`` needs evidence of absence: every test of both families must rule out
    an effect as large as the smallest effect of interest (`Estimate.rules_out`), and heterogeneity
    of interest must be excluded.

    Parameters
    ----------
    estimates : sequence of Estimate
        All tests of the study. The families ``global``, ``global, within blocks``, ``blocks``,
        ``specific`` and the rival explanations of circuits determine the verdict.
    alpha : float
        Significance level of each family.
    deviation : Deviation
        Result of `circuitshift.pipeline.model.deviation.identify_deviation`.
    controlled : bool
        Whether the study has a control arm or a control condition.
    global_signal_removed : bool
        Whether the global signal was regressed out of the data, so that global terms were not
        tested.
    kind : {"edge", "region"}
        Kind of the features: connections or regions.
    heterogeneity : Heterogeneity, optional
        Variation over blocks; None if it was not tested.

    Returns
    -------
    Verdict
        The category, with its sentence, its reason and its warnings.
    """
    variation = heterogeneity or Heterogeneity.unknown("")
    found = _Grounds.of(estimates, alpha, variation)
    name = found.verdict()
    tests = [*found.of_global, *found.of_circuits]
    adjusted = {e.term: e for e in estimates if e.family == "specific, node-adjusted"}
    named = [adjusted[e.term] for e in found.circuits if e.term in adjusted]
    warnings = (
        *_warnings(deviation, controlled=controlled, gsr=global_signal_removed),
        *_regional(named),
        *found.remarks(),
        *(f"Not tested: {e.term} ({e.note})." for e in tests if not np.isfinite(e.p)),
    )
    return Verdict(
        name,
        in_words(_sentence(name, found, kind)),
        in_words(_reason(found, tests)),
        tuple(map(in_words, warnings)),
        variation,
        found.explanations,
        found.not_claimed(),
    )


_GAINS = ("gain", "proportional_change")  # terms that must also hold within blocks


@dataclass(frozen=True, slots=True)
class _Grounds:
    """The tests on which a verdict rests."""

    alpha: float
    of_global: list[Estimate]
    of_circuits: list[Estimate]
    hits: list[Estimate]  # significant global terms that may be claimed
    gain: tuple[Estimate, Estimate] | None  # significant gain that does not hold within blocks
    standing: list[Estimate]  # circuits that stand out and are not explained by their regions
    explained: list[Explanation]  # circuits whose change is explained otherwise
    explanations: tuple[Explanation, ...]
    blocks: list[Estimate]  # significant blocks
    heterogeneity: Heterogeneity

    @classmethod
    def of(
        cls, estimates: Sequence[Estimate], alpha: float, heterogeneity: Heterogeneity
    ) -> "_Grounds":
        of_global = [e for e in estimates if e.family == "global"]
        of_circuits = [e for e in estimates if e.family == "specific"]
        within = [e for e in estimates if e.family == "global, within blocks"]
        hits = [e for e in of_global if e.p_corrected < alpha]
        unconfirmed = [
            e for e in hits if e.term in _GAINS and within and not _confirms(within[0], e, alpha)
        ]
        gain = (unconfirmed[0], within[0]) if unconfirmed else None
        standing = [e for e in of_circuits if e.p_corrected < alpha]
        explanations = explanations_of(estimates, standing)
        explained = [e for e in explanations if e.explains]
        otherwise = {e.circuit for e in explained}
        return cls(
            alpha=alpha,
            of_global=of_global,
            of_circuits=of_circuits,
            hits=[e for e in hits if e not in unconfirmed],
            gain=gain,
            standing=[e for e in standing if e.term not in otherwise],
            explained=explained,
            explanations=explanations,
            blocks=[e for e in estimates if e.family == "blocks" and e.p_corrected < alpha],
            heterogeneity=heterogeneity,
        )

    def verdict(self) -> VerdictName:
        if self.is_widespread:
            return "widespread"
        if self.hits and self.circuits:
            return "both"
        if self.hits:
            return "global"
        if self.circuits:
            return "circuit-specific"
        return "neither" if self.nil and self.of_global and self.of_circuits else "undetermined"

    @property
    def largest_block(self) -> float:
        """Largest absolute residual change of the significant blocks."""
        return max((abs(e.estimate) for e in self.blocks), default=0.0)

    @property
    def is_widespread(self) -> bool:
        """Whether blocks changed by their own amounts, as much as is of interest."""
        rejects = bool(self.blocks) and self.heterogeneity.rejects_one_law()
        return rejects and self.heterogeneity.is_of_interest(self.largest_block)

    @property
    def circuits(self) -> list[Estimate]:
        """Circuits that are claimed.

        On heterogeneous ground, the few blocks that changed may be far from normally distributed,
        and blocks within networks may change more than others. A circuit must then have changed
        more than each significant block, and more than blocks of its own kind do.
        """
        if not self.is_widespread:
            return self.standing
        p = self.heterogeneity.p_among_peers
        return [
            e
            for e in self.standing
            if abs(e.estimate) > self.largest_block and p.get(e.term, 1.0) < self.alpha
        ]

    @property
    def nil(self) -> bool:
        """Whether all effects of interest are excluded."""
        open_gain = self.gain is not None or bool(self.explained)
        uniform = not self.heterogeneity.n_blocks or self.heterogeneity.is_excluded()
        tests = [*self.of_global, *self.of_circuits]
        return uniform and not open_gain and all(e.rules_out(self.alpha) for e in tests)

    def not_claimed(self) -> tuple[str, ...]:
        """Name the significant terms and circuits that the verdict does not claim."""
        claimed = [*self.circuits, *(() if self.is_widespread else self.hits)]
        tests = [*self.of_global, *self.of_circuits]
        return tuple(e.term for e in tests if e.p_corrected < self.alpha and e not in claimed)

    def remarks(self) -> list[str]:
        """Report what limits the claims about global terms and circuits."""
        out = [] if self.gain is None else [gain_sentence(*self.gain)]
        unit = self.of_circuits[0].unit if self.of_circuits else ""
        out += [explanation_sentence(e, unit) for e in self.explained]
        smaller = [e for e in self.standing if e not in self.circuits]
        if smaller:
            rows = ", ".join(f"{e.term} {e.estimate:+.2f} {e.unit}" for e in smaller)
            out.append(
                "Significant, but not larger than the changes of each significant block, or of "
                f"blocks of the same kind: {rows}. On heterogeneous ground, such a change is not "
                "called circuit-specific."
            )
        if self.is_widespread and self.hits:
            rows = ", ".join(f"{e.term} {e.estimate:+.2f} {e.unit}" for e in self.hits)
            out.append(
                "Significant, but not claimed, because blocks changed by different amounts: "
                f"{rows}."
            )
        if self.heterogeneity.reason:
            out.append(
                "Heterogeneity over networks was not tested: "
                f"{self.heterogeneity.reason}. Circuits were compared with 0, not with the "
                "variation of change over networks."
            )
        return out


def _confirms(within: Estimate, over_all: Estimate, alpha: float) -> bool:
    """Return whether the gain within blocks is significant and has the same direction."""
    return within.p < alpha and within.estimate * over_all.estimate > 0


def _sentence(name: VerdictName, found: _Grounds, kind: FeatureKind) -> str:
    """Summarise the verdict; absence is claimed only where an equivalence test supports it."""
    if name == "neither":
        return (
            "No global and no circuit-specific change was found, and changes as large as the "
            "smallest effect of interest can be excluded."
        )
    global_part, circuit_part = _global_change(found.hits, kind), _circuit_changes(found.circuits)
    if name == "widespread":
        return widespread_sentence(found.blocks, found.heterogeneity, circuit_part, kind)
    unit = found.of_circuits[0].unit if found.of_circuits else FISHER_Z
    law = one_law_sentence(found.heterogeneity, unit)
    parts = {
        "undetermined": [
            "The data do not distinguish between the hypotheses.",
            *_open(found, kind),
            _could_find(found),
        ],
        "both": [
            f"{global_part} In addition, {circuit_part} relative to the prediction of the global "
            "model.",
            law,
        ],
        "global": [
            global_part,
            law,
            _not_found(
                "change of a circuit beyond the global model", found.of_circuits, found, kind
            ),
        ],
        "circuit-specific": [
            f"Relative to the prediction of the global model, {circuit_part}.",
            _not_found("global change", found.of_global, found, kind),
        ],
    }
    return " ".join(filter(None, parts[name]))


def _could_find(found: _Grounds) -> str:
    """State the smallest change of a circuit for which the study had sufficient power."""
    tests = [e for e in found.of_circuits if e.se > 0 and e.sd > 0]
    if not tests:
        return ""
    se, df, sd = np.array([(e.se, e.df, e.sd) for e in tests]).T
    smallest = (detectable(se, df, found.alpha / len(tests), _REQUIRED_POWER) / sd).min()
    most = max(tests, key=lambda e: e.n + e.n_control)
    size = f"{most.n} participants"
    if most.n_control:
        size = f"{most.n} treated and {most.n_control} control participants"
    return (
        f"With {size}, the study had {_POWER_TEXT} power only for changes of a circuit by "
        f"d = {smallest:.2f} or more (standard deviations of change between participants)."
    )


_OTHER_CAUSES = {
    "regional": "a change of {} regions in all their connections",
    "graded": "a gain that is graded along the cortical hierarchy",
    "quality": "the measured change of {} regions' signal quality",
}


def _open(found: _Grounds, kind: FeatureKind) -> list[str]:
    """Name changes that were found but fit more than one hypothesis."""
    out = []
    for cause, text in _OTHER_CAUSES.items():
        circuits = [e.circuit for e in found.explained if e.kind == cause]
        if circuits:
            noun, whose = ("A change", "its") if len(circuits) == 1 else ("The change", "their")
            out.append(
                f"{noun} of {join_names(sorted(circuits))} is not distinguishable from "
                f"{text.format(whose)}."
            )
    if found.gain is not None:
        features = "connections" if kind == "edge" else "regions"
        out.append(f"A gain over all {features} is not confirmed within networks.")
    return out


def _global_change(hits: Sequence[Estimate], kind: FeatureKind) -> str:
    """Name the significant global terms and their direction."""
    features = "connections" if kind == "edge" else "regions"
    size = "their typical strength" if kind == "edge" else "their typical value"
    typical = "average strength" if kind == "edge" else "the average value"
    changes = []
    laws = [e for e in hits if e.term not in ("average_change", "proportional_change")]
    for e in laws or hits:  # a change is named only if its law is not known
        upwards = e.estimate > 0
        phrases = {
            "shift": f"{'an increase' if upwards else 'a decrease'} at {typical} (shift)",
            "average_change": f"{'an increase' if upwards else 'a decrease'} on average, which a "
            "shift and the amplitude of the global signal may both explain",
            "proportional_change": f"{'an increase' if upwards else 'a decrease'} in proportion to "
            f"{size}, which a gain and the amplitude of the global signal may both explain",
            "gain": f"{'an increase' if upwards else 'a decrease'} in proportion to {size} (gain)",
            "normalisation": f"a change {'toward' if upwards else 'away from'} the reference group "
            "in proportion to their deviation from it (normalisation)",
            "global_signal": f"a change in the pattern expected from a "
            f"{'larger' if upwards else 'smaller'} global signal (amplitude "
            f"{np.expm1(e.estimate):+.0%}, 95 % CI {np.expm1(e.ci_low):.0%} to "
            f"{np.expm1(e.ci_high):.0%}; drowsiness, breathing, caffeine or sedation also change "
            "it)",
        }
        changes.append(phrases.get(e.term, e.term))
    return (
        f"The {features} outside the predefined circuits changed globally: {join_names(changes)}."
    )


def _circuit_changes(hits: Sequence[Estimate]) -> str:
    """Name the circuits that changed, by direction."""
    groups = {
        "increased": [e.term for e in hits if e.estimate > 0],
        "decreased": [e.term for e in hits if not e.estimate > 0],
    }
    parts = [f"{join_names(terms)} {verb}" for verb, terms in groups.items() if terms]
    return ", and ".join(parts)


def _not_found(what: str, tests: Sequence[Estimate], found: _Grounds, kind: FeatureKind) -> str:
    """Report a family without a claimed change, no more strongly than its tests allow."""
    if not any(np.isfinite(e.p) for e in tests):
        return f"A {what} was not tested."
    if any(e.p_corrected < found.alpha for e in tests):  # found, but explained otherwise
        return " ".join(_open(found, kind))
    text = f"There is no evidence of a {what}"
    if all(e.rules_out(found.alpha) for e in tests):
        return f"{text}; one as large as the smallest effect of interest can be excluded."
    return f"{text}, but one as large as the smallest effect of interest cannot be excluded."


def _reason(found: _Grounds, tests: list[Estimate]) -> str:
    """Name the tests that determined the verdict, with their estimates."""
    if not tests:
        return "no test could be performed"
    alpha = found.alpha
    blocks = sorted(found.blocks, key=lambda e: -abs(e.estimate)) if found.is_widespread else []
    families = (
        ("blocks", blocks[:_MAX_BLOCKS]),
        ("global", found.hits),
        ("beyond the global model", found.circuits),
    )
    parts = [
        f"{label}: " + ", ".join(_evidence(e) for e in rows) for label, rows in families if rows
    ]
    if parts:
        return "; ".join(parts)
    if found.nil:
        return (
            "every effect is smaller than the smallest effect of interest (all equivalence tests "
            f"p < {alpha:g}, with at least {_POWER_TEXT} power to find such an effect)"
        )
    start = f"no corrected p below {alpha:g}"
    if other := found.not_claimed():
        start += (
            f", except for {join_names(other)}, which the verdict does not claim (see the warnings)"
        )
    if not any(np.isfinite(e.bound) for e in tests):
        return f"{start}; effects cannot be excluded without a smallest effect of interest"
    open_terms = [e.term for e in tests if not e.rules_out(alpha)]
    return (
        f"{start}, and an effect as large as the smallest effect of "
        f"interest cannot be excluded for {', '.join(open_terms[:6])}"
        f"{' and others' * (len(open_terms) > 6)}"
    )


def _evidence(e: Estimate) -> str:
    return (
        f"{e.term} {e.estimate:+.3f} {e.unit} (95 % CI {e.ci_low:.3f} to {e.ci_high:.3f}, "
        f"corrected p = {e.p_corrected:.4f})"
    )


def _regional(adjusted: Sequence[Estimate]) -> list[str]:
    """Warn of circuits whose change may be a change of their regions in all connections."""
    possible = [e for e in adjusted if not (e.ci_low > 0 or e.ci_high < 0)]
    if not possible:
        return []
    rows = ", ".join(
        f"{e.term} {e.estimate:+.2f} (95 % CI {e.ci_low:.2f} to {e.ci_high:.2f})" for e in possible
    )
    return [
        f"After adjusting for region-wide changes, these intervals contain 0: {rows}. It cannot be "
        "excluded that regions which changed, or lost signal, in all their connections are the "
        "cause."
    ]


def _warnings(deviation: Deviation, *, controlled: bool, gsr: bool) -> tuple[str, ...]:
    warnings = []
    if not controlled:
        warnings.append(
            "There is no control arm: effects of treatment cannot be distinguished from other "
            "changes over time."
        )
    if gsr:
        warnings.append(
            "The global signal was regressed out, which sets the mean change near zero by "
            "construction. Global terms were therefore not tested, and the verdict "
            "'circuit-specific' does not exclude a global change."
        )
    if not deviation.identified:
        warnings.append(f"Normalisation was not tested: {deviation.reason}.")
    return tuple(warnings)
