"""Tests of continuous moderators of the change, such as dose, timing or a biomarker.

For each moderator and each global term or circuit, the slope of the participants' change on the
moderator is tested within arms. With two arms, the difference between the slopes of the arms is
tested as well: it is the interaction of treatment and moderator, and the only one of the two that
concerns an effect of treatment. A slope within arms also contains everything else that the
moderator is associated with, such as severity, of which regression to the mean is a part.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.model.contrasts import Question
from circuitshift.pipeline.model.families import Labels, Shared
from circuitshift.pipeline.model.global_model import term_unit
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
    SecondaryRow,
    SecondaryTable,
)
from circuitshift.pipeline.model.verdict import Estimate

__all__ = ["MODERATORS", "SLOPE", "SLOPE_DIFFERENCE", "moderator_questions", "moderators"]

#: Names of the two effects of a moderator, as in the table.
SLOPE = "slope within arms"
SLOPE_DIFFERENCE = "difference between the slopes of the arms"


@dataclass(frozen=True, slots=True)
class _Variables:
    """The variables of one family, with their place in a response."""

    kind: str  # global, circuit or secondary circuit
    labels: Labels
    values: Floats  # (n_participants, n_variables)
    shared: Shared


def moderators(data: SecondaryData) -> SecondaryResult:
    """Test whether the change of global terms and circuits depends on each moderator.

    Parameters
    ----------
    data : SecondaryData
        Data of the study; `SecondaryData.moderators` holds the moderators.

    Returns
    -------
    SecondaryResult
        Tables ``moderators`` and ``moderator_values``; empty if the study file names no moderator.

    Notes
    -----
    p values are from permutations of the moderator (Freedman & Lane 1983, doi:10.2307/1391660),
    within sites if there are several. If the arms of the verdict are compared by analysis of
    covariance, each variable is adjusted for its baseline here as well. The family-wise error is
    controlled for each effect (slope, difference between slopes) and each kind of variable (global
    terms, primary circuits, secondary circuits): by the maximum statistic over the variables, and
    by Bonferroni's correction over the moderators.
    """
    if not data.moderators:
        return SecondaryResult()
    rows: list[SecondaryRow] = []
    for name, values in data.moderators.items():
        for question in moderator_questions(data, name, values):
            tester = replace(data.tester(), question=question)
            for variables in _variables(data):
                found = tester.family(
                    variables.labels,
                    variables.values,
                    variables.shared,
                    baseline=data.baseline_of(variables.shared.columns),
                )
                spread = _mean_and_sd(values)
                rows += [
                    _row(name, question.what, variables.kind, spread)
                    | _numbers(one, len(data.moderators))
                    for one in found
                ]
    return SecondaryResult(
        tables={"moderators": rows, "moderator_values": list(_values(data))},
        summary={"moderators": list(data.moderators)},
        finding=_finding(rows, data),
    )


def moderator_questions(data: SecondaryData, name: str, values: Floats) -> tuple[Question, ...]:
    """Return the questions that a moderator allows.

    Parameters
    ----------
    data : SecondaryData
        Data of the study.
    name : str
        Name of the moderator.
    values : ndarray, shape (n_participants,)
        Its values; NaN for participants without a value.

    Returns
    -------
    tuple of Question
        The slope within arms. With two arms that both have values, also the difference between the
        slopes, treated minus control. The unit of both is change per unit of the moderator.
    """
    base, arms = data.question, data.visits.treated
    available = np.isfinite(values)
    centred = values - values[available].mean() if available.any() else values
    nuisance = base.nuisance if arms is None else np.column_stack([base.nuisance, arms])
    slope = replace(
        base,
        name=f"moderator {name}",
        what=SLOPE,
        interest=centred,
        nuisance=nuisance,
        flips=False,
        blocks=data.visits.blocks,
    )
    if arms is None or not all(_varies(centred[available & arm]) for arm in (arms, ~arms)):
        return (slope,)
    difference = replace(
        slope,
        what=SLOPE_DIFFERENCE,
        interest=arms * centred,
        # participants without a value are not asked, so that any number can stand for it
        nuisance=np.column_stack([nuisance, np.nan_to_num(centred)]),
    )
    return slope, difference


def _varies(values: Floats) -> bool:
    return len(values) > 1 and bool(np.ptp(values) > 0)


def _variables(data: SecondaryData) -> Iterator[_Variables]:
    """Yield the global terms, unless the global signal was removed, and two sets of circuits."""
    response = data.analysis.response
    removed = data.visits.global_signal_removed
    terms = [] if removed else [name for name in response.terms if name != "distance"]
    at = np.array([response.terms.index(name) for name in terms], np.intp)
    if terms:
        labels = _labels("global", tuple(terms), data)
        values = response.coefficients[:, at]
        yield _Variables("global", labels, values, Shared(response, at))
    primary, secondary = data.rules.split(response.circuits)
    for kind, circuits in (("circuit", primary), ("secondary circuit", secondary)):
        at = np.array([response.circuits.index(name) for name in circuits], np.intp)
        if circuits:
            labels = _labels(kind, circuits, data)
            shared = Shared(response, len(response.terms) + at)
            yield _Variables(kind, labels, response.specific[:, at], shared)


def _labels(kind: str, terms: tuple[str, ...], data: SecondaryData) -> Labels:
    units = tuple(term_unit(name, data.features) for name in terms)
    return Labels(kind, terms, terms, units, (np.nan,) * len(terms), sided=False)


def _row(name: str, effect: str, kind: str, spread: tuple[float, float]) -> dict[str, object]:
    mean, sd = spread
    return {"moderator": name, "effect": effect, "kind": kind, "mean": mean, "sd": sd}


def _mean_and_sd(values: Floats) -> tuple[float, float]:
    available = values[np.isfinite(values)]
    if len(available) < 2:
        return float("nan"), float("nan")
    return float(available.mean()), float(available.std(ddof=1))


def _numbers(one: Estimate, n_moderators: int) -> dict[str, object]:
    """Return the columns of one test, corrected for the number of moderators."""
    names = ("term", "estimate", "ci_low", "ci_high", "se", "df", "statistic", "p")
    return {name: getattr(one, name) for name in names} | {
        "unit": f"{one.unit} per unit of the moderator",
        "p_corrected": min(1.0, one.p_corrected * n_moderators)
        if np.isfinite(one.p_corrected)
        else float("nan"),
        "n": one.n,
        "method": one.method,
        "note": one.note,
    }


def _values(data: SecondaryData) -> Iterator[SecondaryRow]:
    """Yield the value of each moderator of each participant."""
    treated = data.visits.treated
    for name, values in data.moderators.items():
        for k, participant in enumerate(data.participants):
            arm = "treated" if treated is None or treated[k] else "control"
            yield {
                "moderator": name,
                "participant_id": participant,
                "arm": arm,
                "value": float(values[k]),
            }


def _finding(rows: list[SecondaryRow], data: SecondaryData) -> str:
    """State which changes depend on which moderator."""
    alpha = data.rules.alpha
    hits = [row for row in rows if isinstance(p := row["p_corrected"], float) and p <= alpha]
    if not hits:
        names = " or ".join(data.moderators)
        return f"No association of a change with {names} was found."
    parts = []
    for name in dict.fromkeys(str(row["moderator"]) for row in hits):
        own = [row for row in hits if row["moderator"] == name]
        terms = ", ".join(dict.fromkeys(str(row["term"]) for row in own))
        parts.append(f"The change of {terms} is associated with {name}")
        differing = [str(row["term"]) for row in own if row["effect"] == SLOPE_DIFFERENCE]
        if differing:
            parts[-1] += f", and differently in the two arms ({', '.join(differing)})"
    return ". ".join(parts) + "."


MODERATORS = SecondaryAnalysis(
    name="moderators",
    title="Moderators of the change",
    compute=moderators,
    tables=(
        SecondaryTable(
            name="moderators",
            caption="Slope of the change of each global term and circuit on each moderator",
            columns={
                "moderator": "Column of participants.tsv, or change of a score by session",
                "effect": "Slope within arms, or difference between the slopes of the arms, "
                "treated minus control, which is the interaction of treatment and moderator",
                "kind": "global, circuit (primary) or secondary circuit",
                "mean": "Mean of the moderator",
                "sd": "Standard deviation of the moderator between participants",
                "term": "Global term or circuit",
                "estimate": "Change per unit of the moderator",
                "ci_low": "Lower end of the 95 % interval",
                "ci_high": "Upper end of the 95 % interval",
                "se": "Standard error",
                "df": "Degrees of freedom",
                "statistic": "t",
                "p": "Permutation p of this test alone",
                "unit": "Unit of the estimate",
                "p_corrected": "p corrected over the variables of its kind (maximum statistic) and "
                "over the moderators (Bonferroni)",
                "n": "Participants with a value of the moderator",
                "method": "Statistic and permutation scheme",
                "note": "Missing values, or the reason why there is no test",
            },
        ),
        SecondaryTable(
            name="moderator_values",
            caption="Value of each moderator of each participant",
            columns={
                "moderator": "Moderator",
                "participant_id": "Participant",
                "arm": "Role in the study",
                "value": "Value",
            },
            shown="file",
        ),
    ),
)
