"""A mixed model of all visits, for studies with more than two visits or with missing visits."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.contrasts import Levels
from circuitshift.pipeline.model.global_model import level_response, term_unit
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
)
from circuitshift.pipeline.model.verdict import Estimate
from circuitshift.pipeline.stats.mixed_model import MixedResult, fit_mixed

__all__ = ["TRAJECTORIES", "trajectories", "trajectory_tests"]


def trajectories(
    levels: Levels, sample: CentredFeatures, *, with_deviation: bool
) -> list[Estimate]:
    """Test change at every visit, late against early change, and the slope on days.

    The per-visit response (`level_response`) has a random intercept for each participant; visits
    that are missing are missing at random given the others. Terms: change from baseline at each
    visit (treated minus control, with two arms); last minus first follow-up, which is negative if
    an early change fades; and change per 30 days. Motion of the visit is a covariate.

    Parameters
    ----------
    levels : Levels
    sample : Sample
    with_deviation : bool
        Whether the deviation is identified.

    Returns
    -------
    list of Estimate
        Families ``trajectory: global`` and ``trajectory: specific``; parametric p (Satterthwaite),
        corrected by Holm within each family. Noise that all participants share through
        the estimated regressors is not in these standard errors.

    Raises
    ------
    DesignError
        If no participant has one of the visits, or the design cannot be estimated.
    """
    empty = [name for v, name in enumerate(levels.names) if not (levels.visit == v).any()]
    if empty:
        raise DesignError(f"no participant has a usable visit ses-{', ses-'.join(empty)}")
    names, y = level_response(
        sample, sample.remove(levels.z), levels.owner, with_deviation=with_deviation
    )
    asked = [k for k, name in enumerate(names) if name != "distance"]
    names, y = tuple(names[k] for k in asked), y[:, asked]
    units = [term_unit(name, sample.features) for name in names]
    n_global = len(names) - len(sample.circuits)
    rows: list[tuple[int, Estimate]] = []
    for what, interest, nuisance in _codings(levels):
        design = np.column_stack([interest, nuisance])
        fitted = fit_mixed(y, design, levels.person)
        rows += [
            (k, _estimate(fitted, (c, k), levels, (names[k], label, units[k])))
            for c, label in enumerate(what)
            for k in range(len(names))
        ]
    out: list[Estimate] = []
    for family, chosen in (
        ("trajectory: global", [e for k, e in rows if k < n_global]),
        ("trajectory: specific", [e for k, e in rows if k >= n_global]),
    ):
        out += _holm(family, chosen)
    return out


def _codings(levels: Levels) -> list[tuple[list[str], Floats, Floats]]:
    """Columns of interest with their names, and nuisance, of each way to code time."""
    n_visits = len(levels.names)
    dummies = np.array([levels.visit == v for v in range(n_visits)], float).T
    arm = None if levels.treated is None else levels.treated.astype(float)
    extra = [np.ones((len(levels.visit), 1))]
    if levels.motion_mm is not None:
        extra.append((levels.motion_mm - levels.motion_mm.mean())[:, None])
    varying = np.ptp(levels.covariates, axis=0) > 0 if levels.covariates.size else []
    participants = (
        levels.covariates[:, varying] if levels.covariates.size else np.empty((len(dummies), 0))
    )
    participants = participants - participants.mean(axis=0) if participants.size else participants
    extra.append(participants)
    if arm is not None:
        extra.append(arm[:, None])
    always = np.hstack(extra)

    def coding(what: list[str], own: Floats, rest: Floats) -> tuple[list[str], Floats, Floats]:
        time = np.hstack([own, rest])
        # covariates act on change, as in the test of differences
        moved = [participants * column[:, None] for column in time.T]
        if arm is None:
            return what, own, np.hstack([rest, always, *moved])
        crossed = arm[:, None]
        return what, own * crossed, np.hstack([rest * crossed, time, always, *moved])

    none = np.empty((len(levels.visit), 0))
    out = [coding([f"at ses-{name}" for name in levels.names[1:]], dummies[:, 1:], none)]
    if n_visits > 2:
        early = np.delete(dummies, [1, n_visits - 1], axis=1)  # against the first follow-up
        label = f"ses-{levels.names[-1]} minus ses-{levels.names[1]}"
        out.append(coding([label], dummies[:, [-1]], early))
    if levels.days:
        days = np.array(levels.days)[levels.visit] / 30.0
        out.append(coding(["per 30 days"], days[:, None], none))
    return out


def _estimate(
    fitted: MixedResult, at: tuple[int, int], levels: Levels, words: tuple[str, str, str]
) -> Estimate:
    from scipy.special import stdtrit  # noqa: PLC0415 - half a second of import

    term, when, unit = words
    estimate, se, df = (float(v[at]) for v in (fitted.estimate, fitted.se, fitted.df))
    p = float(fitted.p[at])
    half = float(stdtrit(df, 0.975)) * se
    participants = len(np.unique(levels.person))
    control = 0
    if levels.treated is not None:
        control = len(np.unique(levels.person[~levels.treated]))
    return replace(
        Estimate.unknown("trajectory", term),
        test=f"{term} {when}",
        term=f"{term} {when}",
        estimate=estimate,
        unit=unit + f" {when}" * when.startswith("per"),
        ci_low=estimate - half,
        ci_high=estimate + half,
        se=se,
        df=df,
        statistic=float(fitted.statistic[at]),
        p=p,
        p_low=p,
        p_high=p,
        n=participants - control,
        n_control=control,
        method="mixed model, random intercept (visits of a person equally correlated), "
        f"Satterthwaite; {len(levels.visit)} visits",
        note=fitted.trouble[at[1]],
    )


def _holm(family: str, rows: Sequence[Estimate]) -> list[Estimate]:
    """Correct by Holm 1979 over the rows of a family."""
    p = np.array([row.p for row in rows])
    count = int(np.isfinite(p).sum())
    corrected = np.full(len(p), np.nan)
    top = 0.0
    for rank, k in enumerate(np.argsort(p)[:count].tolist()):  # NaN come last
        top = max(top, min(1.0, float(p[k]) * (count - rank)))
        corrected[k] = top
    return [
        replace(row, family=family, p_corrected=float(value))
        for row, value in zip(rows, corrected, strict=True)
    ]


def trajectory_tests(data: SecondaryData) -> SecondaryResult:
    """Test change at every visit of a study, where the study file names its visits.

    Parameters
    ----------
    data : SecondaryData

    Returns
    -------
    SecondaryResult
        No estimates where the study file names no visits.

    Raises
    ------
    DesignError
        If no participant has one of the visits, or the design cannot be estimated.
    """
    if data.levels is None:
        return SecondaryResult()
    analysis = data.analysis
    found = trajectories(data.levels, analysis.sample, with_deviation=analysis.deviation.identified)
    return SecondaryResult(estimates=found)


TRAJECTORIES = SecondaryAnalysis(
    name="trajectories",
    title="Trajectories over all visits",
    compute=trajectory_tests,
    families=("trajectory: global", "trajectory: specific"),
)
