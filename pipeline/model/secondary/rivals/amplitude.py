"""Division of a change of correlation into a change of variance and a change of covariance.

The correlation of two regions changes if their covariance changes, and also if only their variances
change. A signal that is added to one region and shared with none, such as noise or local activity,
leaves all covariances as they are and lowers every correlation of that region (Cole et al. 2016,
doi:10.1016/j.jneumeth.2015.11.011; Duff et al. 2018, doi:10.1016/j.neuroimage.2018.01.053). If
region u has the standard deviations s_u and s'_u at the two visits and the covariances do not
change, then r'(u,v) = r(u,v) s_u s_v / (s'_u s'_v), and to first order Fisher z changes by

    -(ln s'_u / s_u + ln s'_v / s_v) sinh(2z)/2,        dz / d ln r = r / (1 - r^2) = sinh(2z)/2.

This change follows from the measured variances, without a free coefficient. The estimators of the
global model are linear, and applied to it they give the part of every global term and of every
circuit that a change of variance alone explains. The rest is a change of covariance.
"""

from dataclasses import replace

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.edges import edge_ends
from circuitshift.pipeline.errors import DesignError
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
from circuitshift.pipeline.stats.missing_values import circuit_means

__all__ = ["AMPLITUDE", "amplitude_and_coupling", "change_from_variance"]

_Z_MAX = 3.0  # r = .995; the derivative grows without bound


def amplitude_and_coupling(data: SecondaryData) -> SecondaryResult:
    """Divide the change of each term and circuit into parts of variance and of covariance.

    Parameters
    ----------
    data : SecondaryData
        Data of the study; `SecondaryData.log_sd` holds the standard deviations.

    Returns
    -------
    SecondaryResult
        Table ``amplitude``; empty if the amplitude of the series is not available.

    Raises
    ------
    DesignError
        If it is available in fewer than four participants.

    Notes
    -----
    The parts are tested by the question of the verdict on change scores, with family-wise control
    over the global terms and over the circuits.
    """
    if data.log_sd is None or data.features.kind != "edge":
        return SecondaryResult()
    log_ratio = _log_ratio(data.log_sd)
    available = np.isfinite(log_ratio).any(axis=1)
    if available.sum() < 4:
        raise DesignError(
            f"the amplitude of the series is known at all visits in {available.sum()} "
            "participants; the division into variance and covariance needs 4"
        )
    response = data.analysis.response
    names = (*response.terms, *response.circuits)
    total = np.hstack([response.coefficients, response.specific])
    predicted = change_from_variance(data.visits.before, log_ratio)
    sample = data.analysis.sample
    found, explained = level_response(
        sample,
        sample.remove(predicted),
        np.arange(len(predicted)),
        with_deviation=data.with_deviation,
    )
    if found != names:
        raise DesignError("the terms of changes and of levels differ")
    tests = {
        "change": _tests(data, names, np.where(np.isfinite(explained), total, np.nan)),
        "explained": _tests(data, names, explained),
        "remaining": _tests(data, names, total - explained),
    }
    circuits = response.circuits
    amplitude = _circuit_tests(data, circuit_means(_of_edges(log_ratio) / 2, data.circuits))
    covariance = _circuit_tests(
        data, circuit_means(_covariance_change(data, log_ratio), data.circuits)
    )
    removed = data.visits.global_signal_removed
    rows: list[SecondaryRow] = []
    for k, name in enumerate(names):
        if name == "distance" or (name not in circuits and removed):
            continue
        at = circuits.index(name) if name in circuits else None
        rows.append(
            {
                "term": name,
                "kind": "global" if at is None else "circuit",
                "unit": term_unit(name, data.features),
            }
            | _parts({part: one[k] for part, one in tests.items()})
            | _two("log_sd", None if at is None else amplitude[at])
            | _two("covariance", None if at is None else covariance[at])
            | {"pattern": _pattern({part: one[k] for part, one in tests.items()}, data.rules.alpha)}
            | {"n": tests["explained"][k].n + tests["explained"][k].n_control}
        )
    return SecondaryResult(tables={"amplitude": rows}, finding=_finding(rows))


def change_from_variance(before: Floats, log_ratio: Floats) -> Floats:
    """Predict the change of each edge if variances change as measured and covariances do not.

    Parameters
    ----------
    before : ndarray, shape (n_participants, n_edges)
        Fisher z at baseline. The mean over the *other* participants is used, so that the noise of a
        participant's own baseline, which is also in the change, does not enter the prediction.
    log_ratio : ndarray, shape (n_participants, n_regions)
        Change of the natural logarithm of the standard deviation of each region.

    Returns
    -------
    ndarray, shape (n_participants, n_edges)
        Change in Fisher z; NaN where a standard deviation is missing.
    """
    available = np.isfinite(before)
    filled = np.where(available, before, 0.0)
    count = available.sum(axis=0) - available
    others = np.full(before.shape, np.nan)
    np.divide(filled.sum(axis=0) - filled, count, out=others, where=count > 0)
    return np.asarray(-_of_edges(log_ratio) * np.sinh(2 * np.clip(others, -_Z_MAX, _Z_MAX)) / 2)


def _log_ratio(log_sd: Floats) -> Floats:
    """Return the change of the log standard deviation, in a crossover minus that of control."""
    change = log_sd[:, 1] - log_sd[:, 0]
    return change if log_sd.shape[1] == 2 else np.asarray(change - (log_sd[:, 3] - log_sd[:, 2]))


def _of_edges(values: Floats) -> Floats:
    """Add the values of both regions of each edge, shape (n_participants, n_edges)."""
    i, j = edge_ends(values.shape[1])
    return np.asarray(values[:, i] + values[:, j])


def _covariance_change(data: SecondaryData, log_ratio: Floats) -> Floats:
    """Return the change of each edge's covariance, divided by the baseline standard deviations.

    In a crossover, the change is the sum over both conditions, with the variances of both
    baselines equated: the difference between treatment and control condition.
    """
    visits = data.visits
    if visits.control_baseline is None or visits.control_followup is None:
        scaled = np.tanh(visits.followup) * np.exp(_of_edges(log_ratio))
        return np.asarray(scaled - np.tanh(visits.baseline))
    assert data.log_sd is not None  # noqa: S101 - for the type checker
    sd = data.log_sd
    own = np.tanh(visits.followup) * np.exp(_of_edges(sd[:, 1] - sd[:, 0]))
    control = np.tanh(visits.control_followup) * np.exp(_of_edges(sd[:, 3] - sd[:, 2]))
    baselines = np.tanh(visits.baseline) - np.tanh(visits.control_baseline)
    return np.asarray(own - control - baselines)


def _tests(data: SecondaryData, names: tuple[str, ...], y: Floats) -> list[Estimate]:
    """Test global terms and circuits as two families."""
    n_terms = len(data.analysis.response.terms)
    out: list[Estimate] = []
    for kind, part in (("global", slice(0, n_terms)), ("circuit", slice(n_terms, None))):
        chosen = names[part]
        units = tuple(term_unit(name, data.features) for name in chosen)
        labels = Labels(kind, chosen, chosen, units, (np.nan,) * len(chosen), sided=False)
        out += replace(data.tester()).family(labels, y[:, part])
    return out


def _circuit_tests(data: SecondaryData, y: Floats) -> list[Estimate]:
    names = tuple(data.circuits)
    labels = Labels(
        "circuit", names, names, ("",) * len(names), (np.nan,) * len(names), sided=False
    )
    return data.tester().family(labels, y)


def _parts(tests: dict[str, Estimate]) -> dict[str, object]:
    out: dict[str, object] = {"change": tests["change"].estimate}
    for part in ("explained", "remaining"):
        one = tests[part]
        out |= {
            part: one.estimate,
            f"{part}_ci_low": one.ci_low,
            f"{part}_ci_high": one.ci_high,
            f"{part}_p_corrected": one.p_corrected,
        }
    return out


def _two(name: str, one: Estimate | None) -> dict[str, object]:
    """Return estimate, interval and p of a quantity that circuits have and global terms lack."""
    columns = ("estimate", "ci_low", "ci_high", "p_corrected")
    return {
        name if column == "estimate" else f"{name}_{column}": float("nan")
        if one is None
        else getattr(one, column)
        for column in columns
    }


def _pattern(tests: dict[str, Estimate], alpha: float) -> str:
    """Name what the tests show; an absent effect is never concluded from a large p."""
    change, explained, remaining = (tests[part] for part in ("change", "explained", "remaining"))
    if remaining.p_corrected <= alpha:
        return "coupling changed beyond variance"
    accounts = explained.estimate * change.estimate > 0
    if explained.p_corrected <= alpha and accounts:
        return "variance changed, and accounts for a part"
    return "not determined"


def _finding(rows: list[SecondaryRow]) -> str:
    hits = [str(r["term"]) for r in rows if str(r["pattern"]).startswith("variance")]
    if not hits:
        return ""
    return (
        f"A change of signal variance accounts for a part of the change of {', '.join(hits)}, and "
        "no change of coupling beyond it was found: noise or local activity may explain it."
    )


AMPLITUDE = SecondaryAnalysis(
    name="amplitude",
    title="Amplitude against coupling",
    compute=amplitude_and_coupling,
    tables=(
        SecondaryTable(
            name="amplitude",
            caption="Part of each change that a change of signal variance alone explains",
            columns={
                "term": "Global term or circuit",
                "kind": "global or circuit",
                "unit": "Unit of change, explained and remaining",
                "change": "Change in the participants with known amplitude",
                "explained": "Change expected from the measured variances at constant covariance",
                "explained_ci_low": "Lower end of its 95 % interval",
                "explained_ci_high": "Upper end of its 95 % interval",
                "explained_p_corrected": "Its permutation p, corrected over its kind",
                "remaining": "Change minus the explained change: a change of covariance",
                "remaining_ci_low": "Lower end of its 95 % interval",
                "remaining_ci_high": "Upper end of its 95 % interval",
                "remaining_p_corrected": "Its permutation p, corrected over its kind",
                "log_sd": "Change of the log standard deviation of the circuit's regions, mean "
                "over the ends of its edges",
                "log_sd_ci_low": "Lower end of its 95 % interval",
                "log_sd_ci_high": "Upper end of its 95 % interval",
                "log_sd_p_corrected": "Its permutation p, corrected over the circuits",
                "covariance": "Change of the mean covariance of the circuit's edges, divided by "
                "the standard deviations at baseline",
                "covariance_ci_low": "Lower end of its 95 % interval",
                "covariance_ci_high": "Upper end of its 95 % interval",
                "covariance_p_corrected": "Its permutation p, corrected over the circuits",
                "pattern": "What the tests show",
                "n": "Participants with known amplitude",
            },
        ),
    ),
)
