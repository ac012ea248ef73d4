"""Compare what an analysis claims with what was planted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from circuitshift.pipeline.model.heterogeneity.summary import Explanation
from circuitshift.pipeline.model.regression.fit import AVERAGE, PROPORTIONAL
from circuitshift.pipeline.model.verdict import Estimate
from circuitshift.pipeline.validation.outside.rows import Row

__all__ = [
    "Claims",
    "Kind",
    "Precision",
    "claims_of",
    "false_claims",
    "found",
    "naive_claims",
    "precision_of",
    "se_ratio",
]

#: Kinds of false claim: a global law, a circuit, heterogeneous change, and the absence of change.
Kind = Literal["law", "circuit", "widespread", "absence"]

_GLOBAL = ("global", "both")
_CIRCUITS = ("circuit-specific", "both", "widespread")
NAIVE = "naive: circuit minus background"


@dataclass(frozen=True, slots=True)
class Claims:
    """What the verdict of one analysis states.

    Parameters
    ----------
    verdict : str
        Verdict of the study.
    laws : frozenset of str
        Global terms that it names.
    circuits : mapping of str to {-1, 1}
        Circuits that it names, with the direction of change.
    """

    verdict: str
    laws: frozenset[str]
    circuits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Precision:
    """Agreement of the estimates of one analysis with the true values.

    Parameters
    ----------
    covered : tuple of bool
        Whether each 95 % interval contains the true value.
    errors : tuple of float
        Estimate minus true value, in the same order.
    """

    covered: tuple[bool, ...] = ()
    errors: tuple[float, ...] = ()


def claims_of(
    verdict: str,
    estimates: Sequence[Estimate],
    alpha: float,
    explanations: Sequence[Explanation] = (),
    *,
    not_claimed: Sequence[str] = (),
) -> Claims:
    """Read the claims of a verdict from its tests.

    Parameters
    ----------
    verdict : str
        Verdict of the study.
    estimates : sequence of Estimate
        All tests of the study.
    alpha : float
        Family-wise error rate.
    explanations : sequence of Explanation
        Rival explanations of circuits. A circuit whose change they explain is not claimed.
    not_claimed : sequence of str
        Significant terms and circuits that the verdict does not claim (`Verdict.not_claimed`).

    Returns
    -------
    Claims
        The terms that the sentence of the verdict names. A gain that does not hold within blocks
        is not among them.
    """
    laws = _significant(estimates, "global", alpha) if verdict in _GLOBAL else {}
    for within in estimates:
        if within.family == "global, within blocks" and np.isfinite(within.p):
            for gain in ("gain", PROPORTIONAL):
                if not (within.p < alpha and within.estimate * laws.get(gain, 0) > 0):
                    laws.pop(gain, None)
    named = {name: sign for name, sign in laws.items() if name not in (AVERAGE, PROPORTIONAL)}
    laws = named or laws  # changes of the model without w are named only if their law is not known
    circuits = _significant(estimates, "specific", alpha) if verdict in _CIRCUITS else {}
    for e in explanations:
        if e.explains:
            circuits.pop(e.circuit, None)
    for term in not_claimed:
        laws.pop(term, None)
        circuits.pop(term, None)
    return Claims(verdict, frozenset(laws), circuits)


def _significant(estimates: Sequence[Estimate], family: str, alpha: float) -> dict[str, int]:
    """Return the terms of a family with a corrected p below alpha, with their signs."""
    return {
        e.term: 1 if e.estimate > 0 else -1
        for e in estimates
        if e.family == family and e.p_corrected < alpha
    }


def naive_claims(estimates: Sequence[Estimate], alpha: float) -> Claims:
    """Return the claims of the usual contrast of circuit minus background.

    Parameters
    ----------
    estimates : sequence of Estimate
        All tests of the study.
    alpha : float
        Family-wise error rate.

    Returns
    -------
    Claims
        Circuits only.
    """
    circuits = _significant(estimates, NAIVE, alpha)
    return Claims("circuit-specific" if circuits else "undetermined", frozenset(), circuits)


def false_claims(claims: Claims, row: Row) -> frozenset[Kind]:
    """Return the kinds of claim that the planted truth contradicts.

    Parameters
    ----------
    claims : Claims
        What the verdict states.
    row : Row
        What was planted.

    Returns
    -------
    frozenset of str
        ``law``: a global term that is not among the true ones; ``circuit``: a circuit that does not
        change beyond the background, or in the other direction; ``widespread``: heterogeneous
        change where there is none; ``absence``: no change where something was planted.
    """
    kinds: dict[Kind, bool] = {
        "law": not claims.laws <= row.laws,
        "circuit": any(row.circuits.get(name) != sign for name, sign in claims.circuits.items()),
        "widespread": claims.verdict == "widespread" and row.widespread == "no",
        "absence": claims.verdict == "neither" and not row.is_null,
    }
    return frozenset(kind for kind, is_false in kinds.items() if is_false)


def found(claims: Claims, row: Row) -> dict[Kind, float]:
    """Return which of the planted effects the verdict names.

    Parameters
    ----------
    claims : Claims
        What the verdict states.
    row : Row
        What was planted.

    Returns
    -------
    dict of str to float
        For each kind of effect that was planted, 1 if it is named and 0 if not; for circuits, the
        share of those planted that are named with the right direction.
    """
    out: dict[Kind, float] = {}
    if row.laws:
        out["law"] = float(bool(claims.laws & row.laws))
    if row.circuits:
        named = [claims.circuits.get(name) == sign for name, sign in row.circuits.items()]
        out["circuit"] = float(np.mean(named))
    if row.widespread == "yes":
        out["widespread"] = float(claims.verdict == "widespread")
    return out


def precision_of(
    estimates: Sequence[Estimate], family: str, true: Mapping[str, float]
) -> Precision:
    """Compare the estimates of a family with their true values.

    Parameters
    ----------
    estimates : sequence of Estimate
        All tests of the study.
    family : str
        Family to compare.
    true : mapping of str to float
        True value of each term that has one.

    Returns
    -------
    Precision
        Of the terms that were tested.
    """
    rows = [
        e for e in estimates if e.family == family and e.term in true and np.isfinite(e.estimate)
    ]
    return Precision(
        tuple(e.ci_low <= true[e.term] <= e.ci_high for e in rows),
        tuple(e.estimate - true[e.term] for e in rows),
    )


def se_ratio(estimates: Sequence[Estimate]) -> float:
    """Compare the standard errors of circuits with and without adjustment for the baseline.

    Parameters
    ----------
    estimates : sequence of Estimate
        All tests of a study with two randomised arms.

    Returns
    -------
    float
        Mean standard error of the analysis of covariance divided by that of change scores, both
        with the variation over blocks; NaN if arms were not adjusted.
    """
    changes = {e.term: e.se for e in estimates if e.family == "change scores: specific"}
    levels = {e.term: e.se for e in estimates if e.family == "specific" and e.term in changes}
    if not levels:
        return float("nan")
    return float(np.mean(list(levels.values())) / np.mean([changes[k] for k in levels]))
