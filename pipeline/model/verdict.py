"""What may be concluded from the tests of one study."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from circuitshift.pipeline.features import FISHER_Z, FeatureKind
from circuitshift.pipeline.model.global_model import Deviation

__all__ = ["Estimate", "Verdict", "VerdictName", "decide"]

VerdictName = Literal["global", "circuit-specific", "both", "neither", "undetermined"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """One row of tests.tsv.

    Parameters
    ----------
    test : str
        What was tested, for people.
    family : str
        Tests corrected together. ``global`` and ``specific`` decide the verdict.
    term : str
        Global term or circuit.
    estimate, unit, ci_low, ci_high, se, df, statistic
        Estimate with its 95 % interval, standard error and Welch t.
    p, p_corrected : float
        Permutation p, alone and family-wise.
    p_low, p_high : float
        95 % bounds of `p` for more permutations.
    bound, equivalence_p : float
        Smallest effect of interest in this unit, and the p of "the effect is smaller than that".
    bf10 : float
        Bayes factor for an effect against none (`circuitshift.pipeline.stats.bayes_factor`);
        two-sided.
    n, n_control, n_reference : int
        People: treated (or all, with one arm), control, reference.
    method, note : str
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

    @classmethod
    def unknown(cls, family: str, term: str, note: str = "", *, unit: str = FISHER_Z) -> "Estimate":
        """Row of something that could not be tested, so that nothing is lost in silence."""
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
    """The answer.

    Parameters
    ----------
    verdict : {"global", "circuit-specific", "both", "neither", "undetermined"}
    sentence : str
        For a reader in a hurry.
    reason : str
        Which tests decided, in one sentence.
    warnings : tuple of str
        What this design cannot show.
    """

    verdict: VerdictName
    sentence: str
    reason: str
    warnings: tuple[str, ...]


_SENTENCES: dict[VerdictName, str] = {
    "global": "The change follows one law that acts on all {features}; no named circuit changed "
    "beyond it.",
    "circuit-specific": "Named circuits changed beyond what any global law predicts; no global "
    "change was found.",
    "both": "There is a global change, and named circuits changed beyond it.",
    "neither": "Neither a global nor a circuit-specific change as large as the smallest effect of "
    "interest: both are ruled out.",
    "undetermined": "The data do not decide between global and circuit-specific change.",
}


def decide(
    estimates: Sequence[Estimate],
    *,
    alpha: float,
    deviation: Deviation,
    controlled: bool,
    global_signal_removed: bool = False,
    kind: FeatureKind = "edge",
) -> Verdict:
    """Apply the decision rule.

    A family speaks when one of its tests has a family-wise corrected p below `alpha`. *Neither*
    needs support, not only silence: every equivalence test of both families below `alpha`.

    Parameters
    ----------
    estimates : sequence of Estimate
    alpha : float
    deviation : Deviation
    controlled : bool
        Whether there is a control arm.
    global_signal_removed : bool
        True refuses every statement on global change.
    kind : {"edge", "region"}
        What the sentence is about: connections or regions.

    Returns
    -------
    Verdict
    """
    of_global = [e for e in estimates if e.family == "global"]
    of_circuits = [e for e in estimates if e.family == "specific"]
    untested = [e for e in [*of_global, *of_circuits] if not np.isfinite(e.p)]
    hits = [e for e in of_global if e.p_corrected < alpha]
    circuit_hits = [e for e in of_circuits if e.p_corrected < alpha]
    nil = all(e.equivalence_p < alpha for e in [*of_global, *of_circuits])
    name: VerdictName
    if hits and circuit_hits:
        name = "both"
    elif hits:
        name = "global"
    elif circuit_hits:
        name = "circuit-specific"
    elif nil and of_global and of_circuits:
        name = "neither"
    else:
        name = "undetermined"
    by_node = {e.term: e for e in estimates if e.family == "specific, node-adjusted"}
    return Verdict(
        name,
        _SENTENCES[name].format(features="connections" if kind == "edge" else "regions"),
        _reason(hits, circuit_hits, [*of_global, *of_circuits], nil=nil, alpha=alpha),
        (
            *_warnings(deviation, controlled=controlled, gsr=global_signal_removed),
            *_regional([by_node[e.term] for e in circuit_hits if e.term in by_node], alpha),
            *(f"Not tested: {e.term} ({e.note})." for e in untested),
        ),
    )


def _reason(
    hits: list[Estimate],
    circuit_hits: list[Estimate],
    tests: list[Estimate],
    *,
    nil: bool,
    alpha: float,
) -> str:
    if not tests:
        return "no test could be made"
    parts = [
        f"{label}: "
        + ", ".join(f"{e.term} {e.estimate:+.3f} (p = {e.p_corrected:.4f})" for e in es)
        for label, es in (("global", hits), ("beyond the global law", circuit_hits))
        if es
    ]
    if parts:
        return "; ".join(parts)
    if nil:
        return f"every effect is smaller than the smallest effect of interest (all p < {alpha:g})"
    if not any(np.isfinite(e.bound) for e in tests):
        return (
            f"no corrected p below {alpha:g}; without a smallest effect of interest no effect can "
            "be ruled out"
        )
    wide = [e.term for e in tests if not e.equivalence_p < alpha]
    return (
        f"no corrected p below {alpha:g}, and an effect as large as the smallest effect of "
        f"interest is not ruled out for {', '.join(wide[:6])}{' and others' * (len(wide) > 6)}"
    )


def _regional(adjusted: Sequence[Estimate], alpha: float) -> list[str]:
    """Name circuits whose change may be one of their regions everywhere."""
    gone = [e for e in adjusted if not e.p_corrected < alpha]
    if not gone:
        return []
    said = ", ".join(
        f"{e.term} {e.estimate:+.2f} [{e.ci_low:.2f}, {e.ci_high:.2f}] (p = {e.p_corrected:.3f})"
        for e in gone
    )
    return [
        f"Not significant once what their regions do everywhere is taken out: {said}. A region "
        "that changed, or lost signal, in all its connections cannot be excluded as the cause."
    ]


def _warnings(deviation: Deviation, *, controlled: bool, gsr: bool) -> tuple[str, ...]:
    out = []
    if not controlled:
        out.append(
            "There is no control arm: change with time cannot be told from change by treatment."
        )
    if gsr:
        out.append(
            "The global signal was regressed out, which sets the mean change near zero by "
            "construction: global terms are not tested, and 'circuit-specific' here does not "
            "exclude a global change."
        )
    if not deviation.identified:
        out.append(f"Normalisation was not tested: {deviation.reason}.")
    return tuple(out)
