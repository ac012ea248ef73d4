"""Measures of arousal as rival explanations: each result with and without each of them.

Vigilance, breathing and heart rate change the global signal and the connectivity of many regions,
and differ between visits for reasons that have nothing to do with treatment, such as the time of
day. The change of each available measure is added to the question of the verdict as a covariate
with a meaningful zero, one at a time: with one arm, the estimate is then the change at unchanged
arousal. A treatment may act on arousal itself. A result that disappears with such a covariate is
therefore not shown to be an artefact; it is associated with the change of this measure.
"""

from dataclasses import replace

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.model.contrasts import Question
from circuitshift.pipeline.model.families import MIN_PARTICIPANTS, Labels
from circuitshift.pipeline.model.global_model import term_unit
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
    SecondaryRow,
    SecondaryTable,
)
from circuitshift.pipeline.model.verdict import Estimate

__all__ = ["AROUSAL", "arousal_change", "with_and_without_arousal"]


def with_and_without_arousal(data: SecondaryData) -> SecondaryResult:
    """Repeat the question of the verdict with each measure of arousal as a covariate.

    Parameters
    ----------
    data : SecondaryData
        Data of the study; `SecondaryData.arousal` holds the measures at each visit.

    Returns
    -------
    SecondaryResult
        Table ``arousal``; empty if no measure is available. Both estimates of a row are from the
        participants in whom the measure is available at all visits.

    Notes
    -----
    p values are those of the question of the verdict, with adjustment for the baseline where the
    verdict has it, corrected over the global
    terms and over the circuits, without the variance of shared regressors.
    """
    if not data.arousal:
        return SecondaryResult()
    question = data.question
    rows: list[SecondaryRow] = []
    remarks: list[str] = []
    for name, values in data.arousal.items():
        change = arousal_change(values, circular=name.startswith("time of day"))
        available = np.isfinite(change) & question.asked
        if available.sum() < MIN_PARTICIPANTS or np.ptp(change[available]) == 0:
            remarks.append(
                f"Arousal: the change of {name} is known in {int(available.sum())} participants, "
                "or does not vary, so that it is not used as a covariate."
            )
            continue
        rows += _rows(data, name, change)
    return SecondaryResult(
        tables={"arousal": rows}, remarks=remarks, finding=_finding(rows, data.rules.alpha)
    )


def arousal_change(values: Floats, *, circular: bool = False) -> Floats:
    """Return the change of a measure, in a crossover minus that of the control condition.

    Parameters
    ----------
    values : ndarray, shape (n_participants, n_visits)
        Measure at baseline and follow-up and, in a crossover, those of the control condition.
    circular : bool
        Whether the values are hours of a day, of which differences lie between -12 and 12.

    Returns
    -------
    ndarray, shape (n_participants,)
    """

    def difference(after: int, before: int) -> Floats:
        out = values[:, after] - values[:, before]
        return (out + 12) % 24 - 12 if circular else np.asarray(out)

    change = difference(1, 0)
    return change if values.shape[1] == 2 else np.asarray(change - difference(3, 2))


def _rows(data: SecondaryData, name: str, change: Floats) -> list[SecondaryRow]:
    """Return the rows of one measure."""
    base = data.question
    known = np.isfinite(change)
    asked = replace(base, interest=np.where(known, base.interest, np.nan), name="arousal")
    column = np.nan_to_num(change)[:, None]
    with_it = replace(asked, anchored=np.hstack([base.anchored, column]))
    arms = data.visits.treated
    nuisance = base.nuisance if arms is None else np.column_stack([base.nuisance, arms])
    slope = replace(
        base,
        name="arousal",
        what="slope",
        interest=change,
        nuisance=nuisance,
        flips=False,
        blocks=data.visits.blocks,
    )
    response = data.analysis.response
    names = (*response.terms, *response.circuits)
    y = np.hstack([response.coefficients, response.specific])
    moved = _tests(data, asked, ("change",), change[:, None])[0]
    found = zip(
        names,
        _tests(data, asked, names, y, adjusts=True),
        _tests(data, with_it, names, y, adjusts=True),
        _tests(data, slope, names, y),
        strict=True,
    )
    removed = data.visits.global_signal_removed
    return [
        {
            "measure": name,
            "measure_change": moved.estimate,
            "measure_change_p": moved.p,
            "kind": "circuit" if term in response.circuits else "global",
            "term": term,
            "unit": term_unit(term, data.features),
            "estimate_without": without.estimate,
            "se_without": without.se,
            "ci_low_without": without.ci_low,
            "ci_high_without": without.ci_high,
            "p_without": without.p_corrected,
            "estimate_with": adjusted.estimate,
            "se_with": adjusted.se,
            "ci_low_with": adjusted.ci_low,
            "ci_high_with": adjusted.ci_high,
            "p_with": adjusted.p_corrected,
            "slope": slope_of.estimate,
            "slope_p": slope_of.p_corrected,
            "n": without.n + without.n_control,
            "note": adjusted.note,
        }
        for term, without, adjusted, slope_of in found
        if term != "distance" and (term in response.circuits or not removed)
    ]


def _tests(
    data: SecondaryData,
    question: Question,
    names: tuple[str, ...],
    y: Floats,
    *,
    adjusts: bool = False,
) -> list[Estimate]:
    """Test global terms and circuits as two families, and other variables as one.

    `adjusts` states whether variables are adjusted for their baselines if the verdict is.
    """
    n_terms = len(data.analysis.response.terms)
    parts = (slice(0, n_terms), slice(n_terms, None)) if len(names) > n_terms else (slice(None),)
    out: list[Estimate] = []
    for part in parts:
        chosen = names[part]
        k = len(chosen)
        labels = Labels("arousal", chosen, chosen, ("",) * k, (np.nan,) * k, sided=False)
        levels = data.baseline_of(np.arange(len(names))[part]) if adjusts else None
        tester = replace(data.tester(), question=question)
        out += tester.family(labels, y[:, part], baseline=levels)
    return out


def _finding(rows: list[SecondaryRow], alpha: float) -> str:
    """State the results without and with each measure, with intervals, and the associations.

    A p value that crosses the level does not show that two estimates differ, so that both are given
    for all results that are significant without the covariate.
    """
    parts = []
    for name in dict.fromkeys(str(row["measure"]) for row in rows):
        own = [row for row in rows if row["measure"] == name]
        both = [
            f"{row['term']} {_estimate(row, 'without')} and {_estimate(row, 'with')} {row['unit']}"
            for row in own
            if _number(row, "p_without") <= alpha
        ]
        related = [str(row["term"]) for row in own if _number(row, "slope_p") <= alpha]
        if related:
            parts.append(f"The change of {', '.join(related)} is associated with that of {name}.")
        if both:
            parts.append(
                f"Changes without and with that of {name} as a covariate: {'; '.join(both)}."
            )
    return " ".join(parts)


def _number(row: SecondaryRow, key: str) -> float:
    value = row[key]
    return float(value) if isinstance(value, int | float) else float("nan")


def _estimate(row: SecondaryRow, which: str) -> str:
    """Format one of the two estimates of a row, with its interval."""
    if not np.isfinite(_number(row, f"estimate_{which}")):
        return "not available"
    names = ("estimate", "ci_low", "ci_high")
    value, low, high = (_number(row, f"{name}_{which}") for name in names)
    return f"{value:+.3f} (95 % CI {low:.3f} to {high:.3f})"


AROUSAL = SecondaryAnalysis(
    name="arousal",
    title="Arousal as an explanation of the change",
    compute=with_and_without_arousal,
    tables=(
        SecondaryTable(
            name="arousal",
            caption="Each result with and without each measure of arousal as a covariate",
            columns={
                "measure": "Measure whose change is the covariate",
                "measure_change": "Its change; treated minus control with two arms",
                "measure_change_p": "Permutation p of its change",
                "kind": "global or circuit",
                "term": "Global term or circuit",
                "unit": "Unit of the estimates",
                "estimate_without": "Change without the covariate, in the same participants",
                "se_without": "Its standard error",
                "ci_low_without": "Lower limit of its 95 % confidence interval",
                "ci_high_without": "Upper limit of its 95 % confidence interval",
                "p_without": "Its permutation p, corrected over its kind",
                "estimate_with": "Change with the covariate, at unchanged arousal",
                "se_with": "Its standard error",
                "ci_low_with": "Lower limit of its 95 % confidence interval",
                "ci_high_with": "Upper limit of its 95 % confidence interval",
                "p_with": "Its permutation p, corrected over its kind",
                "slope": "Change of the term per unit of change of the measure, within arms",
                "slope_p": "Its permutation p, corrected over its kind",
                "n": "Participants with the measure at all visits",
                "note": "Reason why there is no estimate",
            },
        ),
    ),
)
