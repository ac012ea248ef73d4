"""Order of the conditions of a crossover: effects of period, and carry-over.

With tau the effect of treatment on the change, and pi the effect of the second period minus the
first, the difference between the conditions is tau - pi if the treatment came first, and tau + pi
if it came second. If as many participants began with each condition, pi cancels in the mean. With
the order coded as +.5 and -.5 and not centred, the intercept is tau for any numbers (Senn 2002,
Cross-over Trials in Clinical Research, 2nd edition, chapter 3). Carry-over is the difference
between the orders in the sum of both changes; its test has little power, and the main analysis must
not depend on its result (Freeman 1989, doi:10.1002/sim.4780081202).
"""

from dataclasses import replace

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.contrasts import Question
from circuitshift.pipeline.model.families import Labels
from circuitshift.pipeline.model.global_model import level_response, term_unit
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
    SecondaryRow,
    SecondaryTable,
)
from circuitshift.pipeline.model.verdict import Estimate

__all__ = ["ORDER", "order_of_conditions"]

_EFFECTS = ("treatment, balanced order", "second period minus first", "carry-over")


def order_of_conditions(data: SecondaryData) -> SecondaryResult:
    """Estimate the effect of treatment at balanced order, the period effect and carry-over.

    Parameters
    ----------
    data : SecondaryData
        Data of a crossover; `SecondaryData.treatment_first` holds the order of the conditions.

    Returns
    -------
    SecondaryResult
        Table ``order``; empty if the study is not a crossover.

    Raises
    ------
    DesignError
        If the order is unknown, or fewer than two participants had one of the orders.

    Notes
    -----
    The effect of treatment is tested by sign flips and the other effects by permutations of the
    order, with the covariates of the verdict, and with family-wise control over the global terms
    and over the circuits.
    """
    if not data.visits.is_crossover:
        return SecondaryResult()
    first = data.treatment_first
    if first is None or not np.isfinite(first).any():
        raise DesignError(
            "the order of the conditions is unknown, so that effects of day, practice and time are "
            "not separated from the effect of treatment. State [sessions] order and treatment_first"
        )
    counts = int(np.nansum(first)), int(np.nansum(1 - first))
    if min(counts) < 2:
        raise DesignError(
            f"the treatment came first in {counts[0]} and second in {counts[1]} participants, so "
            "that the effect of treatment cannot be separated from that of the order"
        )
    response = data.analysis.response
    names = (*response.terms, *response.circuits)
    difference = np.hstack([response.coefficients, response.specific])
    coded = first - 0.5
    questions = _questions(data.question, coded, data)
    both = _sum_of_changes(data, names)
    rows: list[SecondaryRow] = []
    for effect, y, scale in zip(
        _EFFECTS, (difference, difference, both), (1, -0.5, 1), strict=True
    ):
        for name, one in zip(names, _tests(data, questions[effect], names, y), strict=True):
            is_circuit = name in response.circuits
            if name == "distance" or (data.visits.global_signal_removed and not is_circuit):
                continue
            kind = "circuit" if is_circuit else "global"
            rows.append({"effect": effect, "kind": kind} | _row(one, data, scale))
    finding = _finding(rows, data.rules.alpha, counts)
    return SecondaryResult(tables={"order": rows}, finding=finding)


def _questions(base: Question, coded: Floats, data: SecondaryData) -> dict[str, Question]:
    """Return the question of each effect, in the participants whose order is known."""
    known = np.isfinite(coded)
    column = np.nan_to_num(coded)[:, None]
    treatment = replace(
        base,
        name="order",
        interest=np.where(known, base.interest, np.nan),
        anchored=np.hstack([base.anchored, column]),
    )
    of_order = replace(
        base, name="order", what="order", interest=coded, flips=False, blocks=data.visits.blocks
    )
    return {
        _EFFECTS[0]: treatment,
        _EFFECTS[1]: of_order,
        _EFFECTS[2]: replace(of_order, anchored=base.anchored[:, :0]),  # motion of the difference
    }


def _sum_of_changes(data: SecondaryData, names: tuple[str, ...]) -> Floats:
    """Return the response to the sum of the changes under both conditions."""
    visits, sample = data.visits, data.analysis.sample
    assert visits.control_followup is not None  # noqa: S101 - for the type checker
    assert visits.control_baseline is not None  # noqa: S101 - for the type checker
    total = visits.followup - visits.baseline + visits.control_followup - visits.control_baseline
    found, y = level_response(
        sample,
        sample.remove(total),
        np.arange(len(total)),
        with_deviation=data.with_deviation,
    )
    return y if found == names else np.full((len(total), len(names)), np.nan)


def _tests(
    data: SecondaryData, question: Question, names: tuple[str, ...], y: Floats
) -> list[Estimate]:
    n_terms = len(data.analysis.response.terms)
    out: list[Estimate] = []
    for kind, part in (("global", slice(0, n_terms)), ("circuit", slice(n_terms, None))):
        chosen = names[part]
        units = tuple(term_unit(name, data.features) for name in chosen)
        labels = Labels(kind, chosen, chosen, units, (np.nan,) * len(chosen), sided=False)
        out += replace(data.tester(), question=question).family(labels, y[:, part])
    return out


def _row(one: Estimate, data: SecondaryData, scale: float) -> dict[str, object]:
    ends = sorted([scale * one.ci_low, scale * one.ci_high])
    return {
        "term": one.term,
        "estimate": scale * one.estimate,
        "ci_low": ends[0],
        "ci_high": ends[1],
        "se": abs(scale) * one.se,
        "p": one.p,
        "p_corrected": one.p_corrected,
        "unit": term_unit(one.term, data.features),
        "n": one.n + one.n_control,
        "note": one.note,
    }


def _finding(rows: list[SecondaryRow], alpha: float, counts: tuple[int, int]) -> str:
    """State the numbers of both orders, and which terms differ between the periods."""
    parts = [f"The treatment came first in {counts[0]} and second in {counts[1]} participants."]
    for effect, what in ((_EFFECTS[1], "changed between the periods"), (_EFFECTS[2], "")):
        hits = [
            str(row["term"])
            for row in rows
            if row["effect"] == effect and isinstance(p := row["p_corrected"], float) and p <= alpha
        ]
        if hits and what:
            parts.append(f"Regardless of treatment, {', '.join(hits)} {what}.")
        elif hits:
            parts.append(
                f"The sum of both changes of {', '.join(hits)} differs between the orders, as with "
                "carry-over; the effect of treatment on them is not identified."
            )
    return " ".join(parts)


ORDER = SecondaryAnalysis(
    name="order",
    title="Order of the conditions of a crossover",
    compute=order_of_conditions,
    tables=(
        SecondaryTable(
            name="order",
            caption="Effects of treatment, period and carry-over in a crossover",
            columns={
                "effect": "treatment, balanced order: treatment minus control condition if as many "
                "participants had each order; second period minus first; carry-over: sum of both "
                "changes, treatment first minus second",
                "kind": "global or circuit",
                "term": "Global term or circuit",
                "estimate": "Effect",
                "ci_low": "Lower end of the 95 % interval",
                "ci_high": "Upper end of the 95 % interval",
                "se": "Standard error",
                "p": "Permutation p of this test alone",
                "p_corrected": "p corrected over the terms of its kind",
                "unit": "Unit of the estimate",
                "n": "Participants with known order",
                "note": "Missing values, or the reason why there is no test",
            },
        ),
    ),
)
