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
from circuitshift.pipeline.stats.pooling.holm import holm

__all__ = ["TRAJECTORIES", "trajectories", "trajectory_tests"]


def trajectories(
    levels: Levels, sample: CentredFeatures, *, with_deviation: bool
) -> list[Estimate]:
    """Test the change at every visit, late against early change, and the slope over days.

    The model of the per-visit response (`level_response`) has a random intercept for each
    participant and assumes that visits are missing at random given the others. It tests the change
    from baseline at each visit (treated minus control if there are two arms), the last minus the
    first follow-up, which is negative if an early change fades, and the change per 30 days. Motion
    at the visit is a covariate.

    Parameters
    ----------
    levels : Levels
        All visits of all participants.
    sample : CentredFeatures
        Features of the study, from which the regressors of the global model are estimated.
    with_deviation : bool
        Whether the deviation from the reference group is identified.

    Returns
    -------
    list of Estimate
        Families ``trajectory: global`` and ``trajectory: specific``, with parametric p values
        (Satterthwaite) corrected within each family (Holm 1979). The standard errors do not
        include noise that all participants share through the estimated regressors.

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
    for labels, interest, nuisance in _codings(levels):
        design = np.column_stack([interest, nuisance])
        fitted = fit_mixed(y, design, levels.person)
        rows += [
            (k, _estimate(fitted, (c, k), levels, (names[k], label, units[k])))
            for c, label in enumerate(labels)
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
    """Return, for each coding of time, labels and columns of interest, and nuisance columns."""
    n_visits = len(levels.names)
    dummies = np.array([levels.visit == v for v in range(n_visits)], float).T
    arm = None if levels.treated is None else levels.treated.astype(float)
    nuisance = [np.ones((len(levels.visit), 1))]
    if levels.motion_mm is not None:
        nuisance.append((levels.motion_mm - levels.motion_mm.mean())[:, None])
    varying = np.ptp(levels.covariates, axis=0) > 0 if levels.covariates.size else []
    covariates = (
        levels.covariates[:, varying] if levels.covariates.size else np.empty((len(dummies), 0))
    )
    covariates = covariates - covariates.mean(axis=0) if covariates.size else covariates
    nuisance.append(covariates)
    if arm is not None:
        nuisance.append(arm[:, None])
    common = np.hstack(nuisance)

    def coding(
        labels: list[str], interest: Floats, rest: Floats
    ) -> tuple[list[str], Floats, Floats]:
        time = np.hstack([interest, rest])
        # covariates interact with time because they act on change, as in the test of differences
        interactions = [covariates * column[:, None] for column in time.T]
        if arm is None:
            return labels, interest, np.hstack([rest, common, *interactions])
        by_arm = arm[:, None]
        return labels, interest * by_arm, np.hstack([rest * by_arm, time, common, *interactions])

    none = np.empty((len(levels.visit), 0))
    out = [coding([f"at ses-{name}" for name in levels.names[1:]], dummies[:, 1:], none)]
    if n_visits > 2:
        early = np.delete(dummies, [1, n_visits - 1], axis=1)  # relative to the first follow-up
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
    n_participants = len(np.unique(levels.person))
    n_control = 0
    if levels.treated is not None:
        n_control = len(np.unique(levels.person[~levels.treated]))
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
        n=n_participants - n_control,
        n_control=n_control,
        method="mixed model, random intercept (visits of a participant equally correlated), "
        f"Satterthwaite; {len(levels.visit)} visits",
        note=fitted.trouble[at[1]],
    )


def _holm(family: str, rows: Sequence[Estimate]) -> list[Estimate]:
    """Correct the p values of the rows of a family (Holm 1979)."""
    corrected = holm(np.array([row.p for row in rows]))
    return [
        replace(row, family=family, p_corrected=float(value))
        for row, value in zip(rows, corrected, strict=True)
    ]


def trajectory_tests(data: SecondaryData) -> SecondaryResult:
    """Test the change at every visit if the study file names more than two visits.

    Parameters
    ----------
    data : SecondaryData

    Returns
    -------
    SecondaryResult
        Estimates of `trajectories`; none if the study file names no visits.

    Raises
    ------
    DesignError
        If no participant has one of the visits, or the design cannot be estimated.
    """
    if data.levels is None:
        return SecondaryResult()
    analysis = data.analysis
    with_deviation = analysis.deviation.identified
    estimates = trajectories(data.levels, analysis.sample, with_deviation=with_deviation)
    return SecondaryResult(estimates=estimates)


TRAJECTORIES = SecondaryAnalysis(
    name="trajectories",
    title="Trajectories over all visits",
    compute=trajectory_tests,
    families=("trajectory: global", "trajectory: specific"),
)
