"""Head motion as a rival explanation of a change, and what its covariate costs.

The question of the verdict contains the change in mean framewise displacement (FD) as a covariate
with a meaningful zero: with one arm, the estimate is the change at unchanged motion. If most
participants move more, or less, at follow-up, this is an extrapolation, and the standard error
grows. The slope on FD can be estimated more precisely from all visits of all participants than from
the changes alone; the change is then adjusted with this pooled slope. Whether motion that is left
in the series explains the change is tested by halves of the volumes of each visit, as in SHAMAN
(Kay et al. 2025, doi:10.1038/s41467-025-63661-2): a treatment effect on connectivity is the same in
volumes with much and with little motion, and an effect of motion is not.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

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
    VisitMotion,
)
from circuitshift.pipeline.model.verdict import Estimate
from circuitshift.pipeline.stats.mixed_model import fit_mixed

__all__ = ["MOTION", "MotionSlopes", "motion_of_terms", "motion_slopes"]


@dataclass(frozen=True, slots=True, eq=False)
class MotionSlopes:
    """Slopes of the level of each term and circuit on motion, from all visits.

    Parameters
    ----------
    names : tuple of str
        Global terms, then circuits.
    slope, se, df, p : ndarray, shape (n_variables,)
        Slope per mm of mean framewise displacement, from a mixed model of all visits.
    differs_p : ndarray, shape (n_variables,)
        p value of the difference between the slopes between and within participants.
    n_visits : int
        Number of visits.
    """

    names: tuple[str, ...]
    slope: Floats
    se: Floats
    df: Floats
    p: Floats
    differs_p: Floats
    n_visits: int


def motion_of_terms(data: SecondaryData) -> SecondaryResult:
    """Describe the role of motion in the change of each global term and circuit.

    Parameters
    ----------
    data : SecondaryData
        Data of the study; `SecondaryData.motion` holds motion at each visit.

    Returns
    -------
    SecondaryResult
        Table ``motion``; empty if motion is not available.

    Notes
    -----
    The row of the term ``distance`` is the interaction of motion and edge length: its slope is the
    change in Fisher z per mm of edge length and mm of motion. It has no row if the atlas has no
    coordinates.
    """
    if data.motion is None or not np.isfinite(data.motion.mean_fd_mm).any():
        return SecondaryResult()
    response = data.analysis.response
    names = (*response.terms, *response.circuits)
    y = np.hstack([response.coefficients, response.specific])
    question = data.question
    bare = replace(question, anchored=_without_motion(question, data))
    stated = _tests(data, question, names, y)
    without = _tests(data, bare, names, y)
    slopes = motion_slopes(data, data.motion)
    adjusted = _adjusted(data, bare, (names, y), slopes)
    impact = _impact(data, question, names, data.motion)
    shown = [
        k
        for k, name in enumerate(names)
        if name in response.circuits or name == "distance" or not data.visits.global_signal_removed
    ]
    has_covariate = data.visits.motion_mm is not None
    rows: list[SecondaryRow] = [
        _identity(names[k], data)
        | _effects(stated[k], without[k], has_covariate=has_covariate)
        | _slope(slopes, k, adjusted[k])
        | _impact_columns(impact[k] if impact else None, stated[k])
        for k in shown
    ]
    return SecondaryResult(
        tables={"motion": rows}, finding=_finding(rows, data.rules.alpha, tested=bool(impact))
    )


def motion_slopes(data: SecondaryData, motion: VisitMotion) -> MotionSlopes | None:
    """Estimate the slope of each term and circuit on motion from all available visits.

    Parameters
    ----------
    data : SecondaryData
        Data of the study. All visits of `SecondaryData.levels` are used if the study file names
        visits, otherwise those of the comparison and the baselines of participants without a
        follow-up.
    motion : VisitMotion
        Motion at each visit.

    Returns
    -------
    MotionSlopes or None
        None if motion does not vary, or the model cannot be fitted.

    Notes
    -----
    The model of the level at each visit (`level_response`) has an intercept for each combination of
    visit and arm, motion, and a random intercept of the participant. It pools the slopes within and
    between participants with weights in proportion to their information. The second model adds the
    mean motion of the participant, whose coefficient is the difference between the two slopes
    (Mundlak 1978, doi:10.2307/1913646).
    """
    rows = _visit_rows(data, motion)
    if rows is None:
        return None
    names, y, fd, person, cell = rows
    available = np.isfinite(fd)
    y, fd, person, cell = y[available], fd[available], person[available], cell[available]
    if len(fd) < 4 or np.ptp(fd) == 0:
        return None
    dummies = (cell[:, None] == np.unique(cell)).astype(float)
    centred = fd - fd.mean()
    code = np.unique(person, return_inverse=True)[1]
    own_mean = (np.bincount(code, centred) / np.bincount(code))[code]
    try:
        pooled = fit_mixed(y, np.column_stack([centred, dummies]), person)
        try:
            split = fit_mixed(y, np.column_stack([own_mean, centred, dummies]), person).p[0]
        except DesignError:  # no participant has two visits with different motion
            split = np.full(y.shape[1], np.nan)
    except DesignError:
        return None
    return MotionSlopes(
        names, pooled.estimate[0], pooled.se[0], pooled.df[0], pooled.p[0], split, len(fd)
    )


_Rows = tuple[tuple[str, ...], Floats, Floats, npt.NDArray[np.intp], npt.NDArray[np.intp]]


def _visit_rows(data: SecondaryData, motion: VisitMotion) -> _Rows | None:
    """Return names, levels, motion, participant, and cell (visit and arm) of each visit."""
    sample, levels = data.analysis.sample, data.levels
    identified = data.with_deviation
    if levels is not None and levels.motion_mm is not None:
        names, y = level_response(
            sample, sample.remove(levels.z), levels.owner, with_deviation=identified
        )
        arm = np.zeros(len(y), np.intp) if levels.treated is None else levels.treated.astype(int)
        return names, y, levels.motion_mm, levels.person, 2 * levels.visit + arm
    visits = data.visits
    n = len(visits.baseline)
    treated = np.zeros(n, np.intp) if visits.treated is None else visits.treated.astype(np.intp)
    own = np.arange(n)
    parts = [(z, own) for z in (visits.baseline, visits.followup)]
    if visits.control_baseline is not None and visits.control_followup is not None:
        parts += [(z, own) for z in (visits.control_baseline, visits.control_followup)]
    fd = [motion.mean_fd_mm[:, k] for k in range(len(parts))]
    cell = [2 * k + treated for k in range(len(parts))]
    if visits.baseline_only is not None and len(motion.lone_fd_mm):
        lone = n + np.arange(len(visits.baseline_only))
        parts.append((visits.baseline_only, lone))
        fd.append(motion.lone_fd_mm)
        # their arm is not known here; before treatment the arms have the same expectation
        cell.append(np.full(len(lone), -1))
    found = [
        level_response(sample, sample.remove(z), owner, with_deviation=identified)
        for z, owner in parts
    ]
    person = np.concatenate([owner for _, owner in parts])
    y = np.vstack([values for _, values in found])
    return found[0][0], y, np.concatenate(fd), person, np.concatenate(cell)


def _without_motion(question: Question, data: SecondaryData) -> Floats:
    """Return the anchored nuisance columns of a question except motion, which is the first."""
    first = int(data.visits.motion_mm is not None)
    return question.anchored[:, first:]


def _tests(
    data: SecondaryData,
    question: Question,
    names: tuple[str, ...],
    y: Floats,
    *,
    is_change: bool = True,
) -> list[Estimate]:
    """Test all variables under a question, without the variance of shared regressors.

    `is_change` states whether the variables are changes, which are adjusted for their baselines if
    the verdict is, and for which the directions of the study file hold.
    """
    n_terms = len(names) - len(data.analysis.response.circuits)
    out: list[Estimate] = []
    for kind, part in (("global", slice(0, n_terms)), ("circuit", slice(n_terms, None))):
        chosen = names[part]
        if chosen:
            units = tuple(term_unit(name, data.features) for name in chosen)
            bounds = (np.nan,) * len(chosen)
            labels = Labels(kind, chosen, chosen, units, bounds, sided=is_change)
            levels = data.baseline_of(np.arange(len(names))[part]) if is_change else None
            tester = replace(data.tester(), question=question)
            out += tester.family(labels, y[:, part], baseline=levels)
    return out


def _adjusted(
    data: SecondaryData,
    question: Question,
    variables: tuple[tuple[str, ...], Floats],
    slopes: MotionSlopes | None,
) -> list[tuple[float, float]]:
    """Return estimate and standard error of the change, adjusted with the pooled slope.

    The error of the slope is independent of that of the mean change, because the model of the slope
    has an intercept for each visit and arm.
    """
    names, y = variables
    nothing = [(float("nan"), float("nan"))] * len(names)
    change = _motion_change(data)
    if slopes is None or change is None or slopes.names != names:
        return nothing
    moved = np.isfinite(change)
    corrected = np.where(moved[:, None], y - change[:, None] * slopes.slope, np.nan)
    tested = _tests(data, question, names, corrected)
    participants = moved & question.asked
    try:
        extra = float(question.contrast(participants).weights @ change[participants])
    except DesignError:
        return nothing
    se = np.hypot([one.se for one in tested], extra * slopes.se)
    return [(one.estimate, float(value)) for one, value in zip(tested, se, strict=True)]


def _motion_change(data: SecondaryData) -> Floats | None:
    """Return the change in mean FD, in a crossover minus that of the control condition, mm."""
    if data.motion is None:
        return None
    fd = data.motion.mean_fd_mm
    change = fd[:, 1] - fd[:, 0]
    return change if fd.shape[1] == 2 else np.asarray(change - (fd[:, 3] - fd[:, 2]))


def _impact(
    data: SecondaryData, question: Question, names: tuple[str, ...], motion: VisitMotion
) -> list[Estimate] | None:
    """Test the effect in volumes with much motion minus that in volumes with little motion."""
    if motion.high_change is None or motion.low_change is None:
        return None
    difference = motion.high_change - motion.low_change
    if np.isfinite(difference).any(axis=1).sum() < 4:
        return None
    sample = data.analysis.sample
    # the response is linear in the features, so that this is the difference of two responses
    found, y = level_response(
        sample,
        sample.remove(difference),
        np.arange(len(difference)),
        with_deviation=data.with_deviation,
    )
    return _tests(data, question, names, y, is_change=False) if found == names else None


def _identity(name: str, data: SecondaryData) -> dict[str, object]:
    kind = "circuit" if name in data.analysis.response.circuits else "global"
    return {"term": name, "kind": kind, "unit": term_unit(name, data.features)}


def _effects(stated: Estimate, without: Estimate, *, has_covariate: bool) -> dict[str, object]:
    """Return the effect with and without the covariate, and the cost of the covariate."""
    nan = float("nan")
    ratio = stated.se / without.se if has_covariate and without.se > 0 else nan
    return {
        "estimate": stated.estimate if has_covariate else nan,
        "se": stated.se if has_covariate else nan,
        "p": stated.p if has_covariate else nan,
        "estimate_without": without.estimate,
        "se_without": without.se,
        "p_without": without.p,
        "se_ratio": ratio,
    }


def _slope(slopes: MotionSlopes | None, k: int, adjusted: tuple[float, float]) -> dict[str, object]:
    from scipy.special import stdtrit  # noqa: PLC0415 - half a second of import

    names = ("slope", "slope_se", "slope_p", "slope_differs_p")
    values = [float("nan")] * 4
    half = float("nan")
    if slopes is not None:
        values = [float(v[k]) for v in (slopes.slope, slopes.se, slopes.p, slopes.differs_p)]
        half = float(stdtrit(slopes.df[k], 0.975)) * adjusted[1]
    return {
        **dict(zip(names, values, strict=True)),
        "n_visits": 0 if slopes is None else slopes.n_visits,
        "estimate_pooled": adjusted[0],
        "se_pooled": adjusted[1],
        "ci_low_pooled": adjusted[0] - half,
        "ci_high_pooled": adjusted[0] + half,
    }


def _impact_columns(impact: Estimate | None, stated: Estimate) -> dict[str, object]:
    """Return the motion impact score, and whether it inflates or masks the effect."""
    if impact is None:
        nan = float("nan")
        return {"impact": nan, "impact_se": nan, "impact_p_corrected": nan, "impact_direction": ""}
    direction = ""
    if np.isfinite(impact.estimate * stated.estimate):
        direction = "inflates" if impact.estimate * stated.estimate > 0 else "masks"
    return {
        "impact": impact.estimate,
        "impact_se": impact.se,
        "impact_p_corrected": impact.p_corrected,
        "impact_direction": direction,
    }


def _finding(rows: list[SecondaryRow], alpha: float, *, tested: bool) -> str:
    """State what the covariate costs, and which changes differ between the halves."""
    ratios = [r["se_ratio"] for r in rows if isinstance(r["se_ratio"], float)]
    finite = [ratio for ratio in ratios if np.isfinite(ratio)]
    parts = []
    if finite and (median := float(np.median(finite))) > 1.05:
        parts.append(
            f"The covariate for change in motion multiplies the standard errors by {median:.2f} "
            f"(median), which equals the loss of {100 * (1 - 1 / median**2):.0f} % of the "
            "participants."
        )
    hits = {
        str(row["term"]): str(row["impact_direction"])
        for row in rows
        if isinstance(p := row["impact_p_corrected"], float) and p <= alpha
    }
    if hits:
        listed = ", ".join(f"{term} (motion {how} the change)" for term, how in hits.items())
        parts.append(
            f"The change is not the same in volumes with much and with little motion: {listed}."
        )
    elif tested:
        parts.append(
            "No difference was found between the changes in volumes with much and with little "
            "motion."
        )
    return " ".join(parts)


MOTION = SecondaryAnalysis(
    name="motion",
    title="Motion as an explanation of the change",
    compute=motion_of_terms,
    tables=(
        SecondaryTable(
            name="motion",
            caption="Role of head motion in the change of each global term and circuit",
            columns={
                "term": "Global term or circuit; for distance, the slope is the interaction of "
                "motion and edge length",
                "kind": "global or circuit",
                "unit": "Unit of the estimates",
                "estimate": "Change with the change in motion as a covariate; n/a if the verdict "
                "has no such covariate",
                "se": "Its standard error, without that of the shared regressors",
                "p": "Its permutation p, not corrected",
                "estimate_without": "Change without this covariate",
                "se_without": "Its standard error",
                "p_without": "Its permutation p, not corrected",
                "se_ratio": "Standard error with the covariate divided by that without",
                "slope": "Slope of the level on mean framewise displacement, from all visits, per "
                "mm",
                "slope_se": "Standard error of the slope",
                "slope_p": "p of the slope (mixed model, Satterthwaite)",
                "slope_differs_p": "p of the difference between the slopes between and within "
                "participants; if it is small, the pooled slope is no effect of motion",
                "n_visits": "Visits from which the slope was estimated",
                "estimate_pooled": "Change adjusted with the pooled slope to unchanged motion",
                "se_pooled": "Its standard error, with that of the slope",
                "ci_low_pooled": "Lower end of its 95 % interval",
                "ci_high_pooled": "Upper end of its 95 % interval",
                "impact": "Motion impact score: change in the half of the volumes with more motion "
                "minus change in the half with less motion",
                "impact_se": "Standard error of the motion impact score",
                "impact_p_corrected": "Its permutation p, corrected over the global terms or over "
                "the circuits",
                "impact_direction": "inflates if the score has the sign of the change, otherwise "
                "masks",
            },
        ),
    ),
)
