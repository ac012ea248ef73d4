"""Selection at baseline: signs of it in the data, and the regression to the mean that it causes.

If participants are selected because a circuit is strong (or weak) at baseline, a part of that
strength is noise, and the circuit is closer to the mean of the population at follow-up without any
treatment. With the reliability rho of the measurement, mean X of the selected participants and mean
mu of the population, the expected change is -(1 - rho) (X - mu) (Galton 1886; Davis 1976,
American Journal of Epidemiology 104:493-498). With two randomised arms it is the same in both arms
and cancels. With one arm it is part of the change, and sign flips do not account for it. Arms that
were not randomised can be selected differently, so that it does not cancel; they are examined one
by one. Selection also restricts the range at baseline, so that participants vary less at baseline
than at follow-up; the variances of the two visits are compared by the test of Pitman (1939,
Biometrika 31:9-12) and Morgan (1939, Biometrika 31:13-19).
"""

from typing import NamedTuple

import numpy as np

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
    SecondaryRow,
    SecondaryTable,
)
from circuitshift.pipeline.stats.missing_values import circuit_means
from circuitshift.pipeline.stats.reliability import reliability

__all__ = ["BASELINE_SELECTION", "VarianceTest", "compare_variances", "selection_at_baseline"]

_NAN = float("nan")


class VarianceTest(NamedTuple):
    """Compare the standard deviations of two visits of the same participants.

    Parameters
    ----------
    ratio : float
        Standard deviation of the first visit divided by that of the second.
    p : float
        Two-sided p value.
    """

    ratio: float
    p: float


def compare_variances(first: Floats, second: Floats) -> VarianceTest:
    """Compare the variances of two visits by the test of Pitman and Morgan.

    Parameters
    ----------
    first, second : ndarray, shape (n_participants,)
        Values of the same participants; participants with a missing value are omitted.

    Returns
    -------
    VarianceTest
        NaN with fewer than four participants, or if a visit has no variance.

    Notes
    -----
    The variances are equal if the sum and the difference of both visits are uncorrelated. The t
    test of this correlation has n - 2 degrees of freedom.
    """
    from scipy.special import stdtr  # noqa: PLC0415 - half a second of import

    available = np.isfinite(first) & np.isfinite(second)
    a, b = first[available], second[available]
    n = len(a)
    if n < 4 or min(a.std(), b.std()) == 0 or np.ptp(a - b) == 0 or np.ptp(a + b) == 0:
        return VarianceTest(_NAN, _NAN)
    r = float(np.corrcoef(a + b, a - b)[0, 1])
    t = abs(r) * np.sqrt((n - 2) / max(1 - r**2, 1e-15))
    return VarianceTest(float(a.std() / b.std()), float(2 * stdtr(n - 2, -t)))


def selection_at_baseline(data: SecondaryData) -> SecondaryResult:
    """Search each circuit for signs of selection at baseline.

    Parameters
    ----------
    data : SecondaryData
        Data of the study.

    Returns
    -------
    SecondaryResult
        Table ``baseline_selection``. There is no finding for randomised arms and for crossovers,
        because selection has the same effect on both arms or conditions.
    """
    visits = data.visits
    comparable = visits.controlled and (visits.treated is None or visits.randomised)
    everyone = np.ones(len(visits.baseline), bool)
    arms = {"all": everyone}
    if visits.treated is not None and not visits.randomised:
        arms = {"treated": visits.treated, "control": ~visits.treated}
    rows = [row for arm, members in arms.items() for row in _rows(data, arm, members)]
    finding = "" if comparable else _finding(rows, data.rules.alpha)
    return SecondaryResult(tables={"baseline_selection": rows}, finding=finding)


def _rows(data: SecondaryData, arm: str, members: Bools) -> list[SecondaryRow]:
    """Return the rows of one arm."""
    visits, circuits = data.visits, data.circuits
    before = circuit_means(visits.baseline[members], circuits)
    after = circuit_means(visits.followup[members], circuits)
    healthy = None
    if visits.reference is not None and len(visits.reference) >= 3:
        healthy = circuit_means(visits.reference, circuits)
    icc, source = _reliabilities(data, members)
    rows: list[SecondaryRow] = []
    for k, name in enumerate(circuits):
        variances = compare_variances(before[:, k], after[:, k])
        change = _mean(after[:, k] - before[:, k])
        reference = _deviation(before[:, k], None if healthy is None else healthy[:, k])
        rho = icc[k]
        expected = -(1 - min(max(rho, 0.0), 1.0)) * reference["deviation"]
        rows.append(
            {
                "circuit": name,
                "arm": arm,
                "n": int((np.isfinite(before[:, k]) & np.isfinite(after[:, k])).sum()),
                "baseline": _mean(before[:, k]),
                "change": change,
                "sd_ratio": variances.ratio,
                "sd_ratio_p": variances.p,
                **reference,
                "reliability": rho,
                "reliability_source": source,
                "expected_regression": expected,
            }
        )
    return rows


def _mean(values: Floats) -> float:
    available = values[np.isfinite(values)]
    return float(available.mean()) if len(available) else _NAN


def _deviation(patients: Floats, healthy: Floats | None) -> dict[str, float]:
    """Compare the baseline of the participants with the reference group by Welch's t test."""
    from scipy.special import stdtr  # noqa: PLC0415 - half a second of import

    unknown = {"deviation": _NAN, "deviation_p": _NAN}
    if healthy is None:
        return unknown
    a, b = patients[np.isfinite(patients)], healthy[np.isfinite(healthy)]
    if min(len(a), len(b)) < 3 or a.var() + b.var() == 0:
        return unknown
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    df = sum(parts) ** 2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    difference = a.mean() - b.mean()
    t = abs(difference) / np.sqrt(sum(parts))
    return {"deviation": float(difference), "deviation_p": float(2 * stdtr(df, -t))}


def _reliabilities(data: SecondaryData, members: Bools) -> tuple[list[float], str]:
    """Return the reliability of each circuit, from the reference group or from halves."""
    visits, circuits = data.visits, data.circuits
    if visits.reference is not None and visits.reference_again is not None:
        pair = visits.reference, visits.reference_again
        source = "two visits of the reference group"
    elif data.baseline_halves is not None:
        first_half, second_half = data.baseline_halves
        pair = first_half[members], second_half[members]
        source = "halves of the baseline, which are an upper limit"
    else:
        return [_NAN] * len(circuits), ""
    first, second = (circuit_means(z, circuits) for z in pair)
    out = []
    for k in range(len(circuits)):
        try:
            icc = reliability(first[:, k], second[:, k]).icc_consistency
        except DesignError:
            icc = _NAN
        # halves have half the length (Spearman-Brown)
        out.append(2 * icc / (1 + icc) if source.startswith("halves") and icc > -1 else icc)
    return out, source


def _finding(rows: list[SecondaryRow], alpha: float) -> str:
    """Warn about signs of selection, corrected over the circuits and arms (Bonferroni)."""
    level = alpha / max(len(rows), 1)
    has_arms = any(r["arm"] != "all" for r in rows)
    parts = []
    restricted = [
        _named(r) for r in rows if _number(r["sd_ratio_p"]) <= level and _number(r["sd_ratio"]) < 1
    ]
    if restricted:
        parts.append(
            f"Participants vary less at baseline than at follow-up in {', '.join(restricted)}, as "
            "after selection on the baseline."
        )
    towards = [
        r
        for r in rows
        if _number(r["deviation_p"]) <= level and _number(r["deviation"]) * _number(r["change"]) < 0
    ]
    if towards:
        listed = ", ".join(
            f"{_named(r)} (change {_number(r['change']):+.3f}"
            + (
                f", {_number(r['expected_regression']):+.3f} expected from regression alone)"
                if np.isfinite(_number(r["expected_regression"]))
                else ")"
            )
            for r in towards
        )
        parts.append(
            f"The baseline deviates from the reference and the change is towards it in {listed}."
        )
    if not parts:
        return ""
    because = (
        "Participants were not assigned to the arms at random. If the arms were selected "
        "differently on these circuits, their regression to the mean differs, which"
        if has_arms
        else "Without a control arm, regression to the mean"
    )
    return " ".join(
        [
            *parts,
            f"{because} cannot be distinguished from an effect of treatment"
            + ("." if has_arms else " if participants were selected on these circuits."),
        ]
    )


def _named(row: SecondaryRow) -> str:
    """Name the circuit of a row, and its arm if arms are examined one by one."""
    of_arm = "" if row["arm"] == "all" else f" of the {row['arm']} participants"
    return f"{row['circuit']}{of_arm}"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else _NAN


BASELINE_SELECTION = SecondaryAnalysis(
    name="baseline_selection",
    title="Selection at baseline",
    compute=selection_at_baseline,
    tables=(
        SecondaryTable(
            name="baseline_selection",
            caption="Signs of selection on each circuit at baseline",
            columns={
                "circuit": "Circuit",
                "arm": "all; treated and control if arms were not randomised",
                "n": "Participants of the arm with both visits",
                "baseline": "Mean edge at baseline, Fisher z",
                "change": "Mean change of these participants, Fisher z",
                "sd_ratio": "Standard deviation between participants at baseline divided by that "
                "at follow-up; below 1 after selection",
                "sd_ratio_p": "Two-sided p of the comparison of both variances (Pitman-Morgan)",
                "deviation": "Baseline minus the mean of the reference group, Fisher z",
                "deviation_p": "Two-sided p of Welch's t test of the deviation",
                "reliability": "Reliability of one measurement (ICC, consistency)",
                "reliability_source": "Origin of the two measurements",
                "expected_regression": "Change by regression to the mean alone if the deviation "
                "came from selection on this circuit: -(1 - reliability) x deviation, Fisher z",
            },
        ),
    ),
)
