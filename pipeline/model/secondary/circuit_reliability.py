"""Test-retest reliability of circuits, and reliable change of each participant."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.contrasts import Question, Visits
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
    SecondaryTable,
)
from circuitshift.pipeline.stats.missing_values import circuit_means
from circuitshift.pipeline.stats.reliability import Reliability, reliability, reliable_change

__all__ = ["CIRCUIT_RELIABILITY", "CircuitReliability", "reliability_of_circuits"]

#: Smallest reliable share of the variance of change for which an effect is disattenuated.
MIN_RELIABLE = 0.2
_NO_RETEST = (
    "Reliability: no participant was scanned twice without treatment (control arm, control "
    "condition, or second visits of the reference group)."
)


@dataclass(frozen=True, slots=True)
class CircuitReliability:
    """Reliability of a circuit's mean edge, and the effect size corrected for it.

    Parameters
    ----------
    circuit : str
        Name of the circuit.
    source : str
        Origin of the two measurements without treatment.
    retest : Reliability
        Reliability of the circuit's mean edge.
    effect_d : float
        Change by treatment divided by its standard deviation between participants.
    reliability_of_change : float
        1 - 2 SEM^2 / variance of the change between participants (4 SEM^2 in a crossover, where
        the change is computed from four measurements).
    effect_d_disattenuated : float
        `effect_d` divided by the square root of `reliability_of_change`: the effect expected from
        a measurement without noise (Spearman 1904). This is an extrapolation. NaN where less
        than .2 of the variance is reliable.
    """

    circuit: str
    source: str
    retest: Reliability
    effect_d: float
    reliability_of_change: float
    effect_d_disattenuated: float

    def row(self) -> dict[str, object]:
        """Return the row of the table."""
        others = {name: getattr(self, name) for name in self.__slots__ if name != "retest"}
        return asdict(self.retest) | others


def reliability_of_circuits(data: SecondaryData) -> SecondaryResult:
    """Estimate the reliability of each circuit from two measurements without treatment.

    Parameters
    ----------
    data : SecondaryData
        Data of the study. The two measurements are visits of the control arm, of the control
        condition or of the reference group, and the halves of the baseline where regional series
        or several runs are available.

    Returns
    -------
    SecondaryResult
        Tables ``reliability`` and ``reliable_change``.
    """
    visits, circuits = data.visits, data.circuits
    source, first, second = _untreated(visits)
    change = circuit_means(visits.change, circuits)
    reliable = np.full(change.shape, np.nan)
    between: list[CircuitReliability] = []
    if first is not None and second is not None:
        one, two = (circuit_means(z, circuits) for z in (first, second))
        for k, name in enumerate(circuits):
            try:
                retest = reliability(one[:, k], two[:, k])
            except DesignError:
                continue
            if not visits.is_crossover:  # a crossover change is already relative to control
                reliable[:, k] = reliable_change(change[:, k], two[:, k] - one[:, k])
            effect = _effect(change[:, k], retest, data)
            between.append(CircuitReliability(name, source, retest, *effect))
    return SecondaryResult(
        tables={
            "reliability": [row.row() for row in (*between, *_within_visit(data))],
            "reliable_change": _reliable_rows(data.participants, tuple(circuits), reliable),
        },
        summary={"icc": {row.circuit: row.retest.icc_consistency for row in between}},
        remarks=() if between else (_NO_RETEST,),
    )


def _effect(change: Floats, retest: Reliability, data: SecondaryData) -> tuple[float, float, float]:
    """Return the standardised effect, the reliability of change, and the disattenuated effect."""
    d, spread = _effect_d(change, data.question)
    # two measurements for each condition; a shared baseline cancels in the difference
    n_measured = 4 if data.visits.is_crossover and not _share_baseline(data.visits) else 2
    share = 1 - n_measured * retest.sem**2 / spread**2 if spread > 0 else np.nan
    return d, share, d / np.sqrt(share) if share >= MIN_RELIABLE else np.nan


def _reliable_rows(
    participants: Sequence[str], circuits: Sequence[str], reliable: Floats
) -> list[dict[str, object]]:
    columns = ("participant_id", *circuits)
    return [
        dict(zip(columns, (participant, *values), strict=True))
        for participant, values in zip(participants, reliable.tolist(), strict=True)
    ]


def _share_baseline(visits: Visits) -> bool:
    """Return whether both conditions share one baseline, which then cancels in the change."""
    other = visits.control_baseline
    return other is not None and np.array_equal(visits.baseline, other, equal_nan=True)


def _untreated(visits: Visits) -> tuple[str, Floats | None, Floats | None]:
    """Return the origin of two measurements without treatment, and their values."""
    if visits.is_crossover:
        return "control condition", visits.control_baseline, visits.control_followup
    if visits.treated is not None:
        control = ~visits.treated
        return "control arm", visits.baseline[control], visits.followup[control]
    return "reference group", visits.reference, visits.reference_again


def _effect_d(y: Floats, question: Question) -> tuple[float, float]:
    """Return the standardised effect, and the residual standard deviation that scales it."""
    participants = question.asked & np.isfinite(y)
    if participants.sum() < 4:
        return float("nan"), float("nan")
    contrast = question.contrast(participants)
    values = y[participants]
    fitted = contrast.design @ (np.linalg.pinv(contrast.design) @ values)
    df = len(values) - contrast.design.shape[1]
    spread = float(np.sqrt(((values - fitted) ** 2).sum() / df))
    effect = float(contrast.weights @ values)
    return effect / spread if spread > 0 else float("nan"), spread


def _within_visit(data: SecondaryData) -> list[CircuitReliability]:
    """Estimate the reliability of the complete baseline from its two halves.

    The reliability of the halves is converted to the complete length (Spearman-Brown). The state
    of a participant changes little within a visit, so this is an upper bound of the agreement
    between two visits.
    """
    if data.baseline_halves is None:
        return []
    first, second = (circuit_means(z, data.circuits) for z in data.baseline_halves)
    out = []
    for k, name in enumerate(data.circuits):
        try:
            half = reliability(first[:, k], second[:, k])
        except DesignError:
            continue
        complete = replace(
            half,
            icc_agreement=_stepped_up(half.icc_agreement),
            icc_consistency=_stepped_up(half.icc_consistency),
            ci_low=_stepped_up(half.ci_low),
            ci_high=_stepped_up(half.ci_high),
            sem=half.sem / np.sqrt(2),
            mdc=half.mdc / np.sqrt(2),
        )
        nan = float("nan")
        out.append(
            CircuitReliability(name, "halves of the baseline, stepped up", complete, nan, nan, nan)
        )
    return out


def _stepped_up(icc: float) -> float:
    """Return the reliability of a measurement of twice the length (Spearman 1910, Brown 1910)."""
    return 2 * icc / (1 + icc) if icc > -1 else float("nan")


CIRCUIT_RELIABILITY = SecondaryAnalysis(
    name="reliability",
    title="Reliability of circuits",
    compute=reliability_of_circuits,
    tables=(
        SecondaryTable(
            name="reliability",
            caption="Test-retest reliability, and the smallest reliable change of one participant",
            columns={
                "circuit": "Circuit",
                "source": "Origin of the two measurements without treatment",
                "n": "Participants with both measurements",
                "icc_agreement": "ICC(A,1) of the circuit's mean edge",
                "icc_consistency": "ICC(C,1)",
                "ci_low": "Lower end of the 95 % interval of ICC(C,1)",
                "ci_high": "Upper end of the 95 % interval of ICC(C,1)",
                "sem": "Standard error of measurement, Fisher z",
                "mdc": "Minimal detectable change of one participant (95 %), Fisher z",
                "effect_d": "Change by treatment divided by its standard deviation between "
                "participants",
                "reliability_of_change": "1 - 2 SEM^2 / variance of the change between "
                "participants",
                "effect_d_disattenuated": "effect_d divided by the square root of "
                "reliability_of_change: an extrapolation to measurement without noise; n/a where "
                "less than .2 of the variance is reliable",
            },
        ),
        SecondaryTable(
            name="reliable_change",
            caption="Change of each participant in units of change without treatment",
            columns={"participant_id": "Participant"},
            circuit_columns="Change in units of change without treatment; values beyond about 2 "
            "are reliable changes",
            shown="file",
        ),
    ),
)
