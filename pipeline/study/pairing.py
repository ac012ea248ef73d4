"""Runs -> sessions -> within-person change: pairing, order, missing visits, roles."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.study.study_file import Design

__all__ = [
    "Cohort",
    "Exclusion",
    "Measured",
    "Member",
    "Role",
    "assemble",
    "precision_weights",
    "session_means",
    "share_memory",
]

Role = Literal["treated", "control", "reference", "none"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Edges of one run, or of one session after averaging.

    Parameters
    ----------
    participant, session : str
        Unique key of the participant (``dataset:label`` or the label), and session label.
    z : ndarray, shape (n_edges,)
        Fisher z; NaN where a region is lost.
    weight : float
        Residual degrees of freedom (volumes, when denoising was done elsewhere).
    minutes, mean_fd_mm : float
        Retained minutes, and mean framewise displacement; NaN when unknown.
    name : str
        File it came from, for messages.
    """

    participant: str
    session: str
    z: Floats
    weight: float
    minutes: float
    mean_fd_mm: float
    name: str


@dataclass(frozen=True, slots=True, order=True)
class Exclusion:
    """Why somebody, or part of somebody, is not in the analysis: a row of exclusions.tsv."""

    participant: str
    session: str
    stage: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Member:
    """One person of the study and the role that his group has.

    Parameters
    ----------
    participant, group : str
    role : {"treated", "control", "reference", "none"}
    covariates : tuple of float
        In the order of ``Design.covariates``; NaN when missing.
    factor : bool, optional
        Whether he had the second treatment; None when unknown or not asked.
    symptom : float
        Change of the symptom score; NaN when unknown.
    site : str
        Scanner; ``A to B`` when it changed between visits.
    """

    participant: str
    group: str
    role: Role
    covariates: tuple[float, ...] = ()
    factor: bool | None = None
    symptom: float = np.nan
    site: str = ""


@dataclass(frozen=True, slots=True)
class Cohort:
    """Who enters which part of the model.

    Parameters
    ----------
    pairs : tuple of Member
        Treated and control people with both visits: rows of `baseline` and `followup`.
    baseline, followup : ndarray, shape (n_pairs, n_edges)
    lone : tuple of Member
        Treated and control people with a baseline only: rows of `baseline_only`.
    baseline_only : ndarray, shape (n_lone, n_edges)
    healthy : tuple of Member
        Reference people: rows of `reference` (their baseline, or their only visit).
    reference : ndarray, shape (n_healthy, n_edges)
    reference_again : ndarray, shape (n_healthy, n_edges), or None
        Their follow-up; NaN for whoever has none, None when nobody has.
    control_baseline, control_followup : ndarray, shape (n_pairs, n_edges), or None
        Visits of the control condition, in a crossover.
    covariates : ndarray, shape (n_pairs, n_covariates)
    covariate_names : tuple of str
    motion_mm : ndarray, shape (n_pairs,), or None
        Change in mean framewise displacement; None when unknown or constant.
    weights : ndarray, shape (n_pairs,), or None
        Of people, when the design asks for them.
    exclusions : tuple of Exclusion
    notes : tuple of str
        Sentences on what was assumed or filled in.
    """

    pairs: tuple[Member, ...]
    baseline: Floats
    followup: Floats
    lone: tuple[Member, ...]
    baseline_only: Floats
    healthy: tuple[Member, ...]
    reference: Floats
    reference_again: Floats | None
    control_baseline: Floats | None
    control_followup: Floats | None
    covariates: Floats
    covariate_names: tuple[str, ...]
    motion_mm: Floats | None
    weights: Floats | None
    exclusions: tuple[Exclusion, ...]
    notes: tuple[str, ...]

    @property
    def treated(self) -> npt.NDArray[np.bool_] | None:
        """Who is treated among `pairs`; None when there is no control arm."""
        treated = np.array([member.role == "treated" for member in self.pairs], bool)
        return None if treated.all() else treated

    @property
    def factor(self) -> npt.NDArray[np.bool_] | None:
        """Who among `pairs` had the second treatment; None when it is not asked."""
        levels = [member.factor for member in self.pairs]
        return None if None in levels else np.array(levels, bool)

    @property
    def symptom(self) -> Floats | None:
        """Change of the score of each of `pairs`; None when it is not asked."""
        values = np.array([member.symptom for member in self.pairs])
        return values if np.isfinite(values).any() else None

    @property
    def site(self) -> npt.NDArray[np.intp] | None:
        """Number of the site of each of `pairs`; None when there are not two."""
        names, numbers = np.unique([m.site for m in self.pairs], return_inverse=True)
        return numbers.astype(np.intp) if len(names) > 1 else None


def session_means(runs: Iterable[Measured]) -> dict[tuple[str, str], Measured]:
    """Average the runs of each session, weighted by residual degrees of freedom.

    Parameters
    ----------
    runs : iterable of Measured

    Returns
    -------
    dict
        By person and session, sorted. An edge is the mean over the runs that know it.
    """
    grouped: dict[tuple[str, str], list[Measured]] = {}
    for run in sorted(runs, key=lambda r: (r.participant, r.session, r.name)):
        grouped.setdefault((run.participant, run.session), []).append(run)
    return {key: _mean(parts) for key, parts in sorted(grouped.items())}


def _mean(runs: Sequence[Measured]) -> Measured:
    if len(runs) == 1:
        return runs[0]
    z = np.array([run.z for run in runs])
    weight = np.array([max(run.weight, 1e-9) for run in runs])
    available = np.isfinite(z)
    total = available.T @ weight
    mean = np.full(z.shape[1], np.nan)
    np.divide(np.where(available, z, 0.0).T @ weight, total, out=mean, where=total > 0)
    minutes = np.array([run.minutes for run in runs])
    fd = np.array([run.mean_fd_mm for run in runs])
    return Measured(
        participant=runs[0].participant,
        session=runs[0].session,
        z=mean,
        weight=float(weight.sum()),
        minutes=float(minutes.sum()),
        mean_fd_mm=float(fd @ weight / weight.sum()),
        name=" + ".join(run.name for run in runs),
    )


def assemble(
    sessions: Mapping[tuple[str, str], Measured],
    members: Sequence[Member],
    design: Design,
) -> Cohort:
    """Pair the visits of everybody and say who is missing, and why.

    Parameters
    ----------
    sessions : mapping of (person, session) to Measured
    members : sequence of Member
        Everybody in the study, with or without data.
    design : Design

    Returns
    -------
    Cohort
        Change in mean framewise displacement is added as covariate when it is known for everybody
        and not constant.

    Raises
    ------
    DesignError
        If nobody has both visits, or a stated arm has nobody.
    """
    exclusions: list[Exclusion] = []
    pairs: list[Member] = []
    lone: list[Member] = []
    healthy: list[tuple[Member, Measured]] = []
    of_participant: dict[str, dict[str, Measured]] = {}
    for (person, session), measured in sessions.items():
        of_participant.setdefault(person, {})[session] = measured
    for member in members:
        visits = of_participant.get(member.participant, {})
        if member.role == "reference":
            chosen = _only_visit(visits, design)
            if chosen is None:
                exclusions.append(_missing(member, "", "no usable visit"))
            else:
                healthy.append((member, chosen))
        elif member.role == "none":
            exclusions.append(
                Exclusion(member.participant, "", "design", "no-role", _no_role(member))
            )
        elif design.factor and member.factor is None:
            text = f"{design.factor} is neither {' nor '.join(design.factor_levels)}"
            exclusions.append(Exclusion(member.participant, "", "design", "no-factor", text))
        else:
            _place(member, visits, design, into=(pairs, lone, exclusions))
    _check(pairs, members, sessions, design)
    _check_sites(pairs)

    def visit(session: str) -> Floats:
        return np.array([sessions[m.participant, session].z for m in pairs])

    first = visit(design.baseline)
    covariates, names, notes = _covariates(pairs, design)
    motion = _motion(pairs, sessions, design)
    if motion is None:
        notes += ("Motion is not known for every visit: change in motion is no covariate.",)
    n_features = first.shape[1]
    return Cohort(
        pairs=tuple(pairs),
        baseline=first,
        followup=visit(design.followup),
        lone=tuple(lone),
        baseline_only=np.array([sessions[m.participant, design.baseline].z for m in lone]).reshape(
            -1, n_features
        ),
        healthy=tuple(m for m, _ in healthy),
        reference=np.array([v.z for _, v in healthy]).reshape(-1, n_features),
        reference_again=_again([m for m, _ in healthy], sessions, design),
        control_baseline=visit(design.control_baseline) if design.control_baseline else None,
        control_followup=visit(design.control_followup) if design.control_baseline else None,
        covariates=covariates,
        covariate_names=names,
        motion_mm=motion,
        weights=_weights(pairs, sessions, design) if design.weighted else None,
        exclusions=tuple(sorted(exclusions)),
        notes=notes,
    )


def share_memory(
    sessions: Mapping[tuple[str, str], Measured], cohort: Cohort, design: Design
) -> dict[tuple[str, str], Measured]:
    """Let sessions look into the arrays of a cohort, so that edges are not held twice.

    Parameters
    ----------
    sessions : mapping of (person, session) to Measured
        That the cohort was assembled from.
    cohort : Cohort
    design : Design

    Returns
    -------
    dict
        Equal to `sessions`.
    """
    out = dict(sessions)

    def put(members: Sequence[Member], session: str, rows: Floats | None) -> None:
        if rows is not None:
            for member, row in zip(members, rows, strict=True):
                key = (member.participant, session)
                if key in out:  # a healthy person may have come at another visit only
                    out[key] = replace(out[key], z=row)

    put(cohort.pairs, design.baseline, cohort.baseline)
    put(cohort.pairs, design.followup, cohort.followup)
    put(cohort.lone, design.baseline, cohort.baseline_only)
    if design.control_baseline:
        put(cohort.pairs, design.control_baseline, cohort.control_baseline)
        put(cohort.pairs, design.control_followup, cohort.control_followup)
    put(cohort.healthy, design.baseline, cohort.reference)
    return out


def _again(
    healthy: Sequence[Member], sessions: Mapping[tuple[str, str], Measured], design: Design
) -> Floats | None:
    """Second visits of the reference, for reliability; whose first was the baseline."""
    labels = (design.baseline, design.followup)
    pairs = [[sessions.get((m.participant, label)) for label in labels] for m in healthy]
    again = [second.z if first and second else None for first, second in pairs]
    size = next((z.size for z in again if z is not None), 0)
    if not size:
        return None
    return np.array([np.full(size, np.nan) if z is None else z for z in again])


def _only_visit(visits: Mapping[str, Measured], design: Design) -> Measured | None:
    if design.baseline in visits:
        return visits[design.baseline]
    return visits[min(visits)] if visits else None


def _no_role(member: Member) -> str:
    if member.group == "n/a":
        return "no group is given in participants.tsv"
    return f"group {member.group!r} has no role in the study"


def _missing(member: Member, session: str, reason: str) -> Exclusion:
    return Exclusion(member.participant, session, "pairing", "missing-visit", reason)


def _place(
    member: Member,
    visits: Mapping[str, Measured],
    design: Design,
    *,
    into: tuple[list[Member], list[Member], list[Exclusion]],
) -> None:
    pairs, lone, exclusions = into
    names = {
        design.control_baseline: "control baseline",
        design.control_followup: "control follow-up",
        design.baseline: "baseline",
        design.followup: "follow-up",
    }
    missing = [session for session in names if session and session not in visits]
    if not missing:
        pairs.append(member)
    elif not visits:
        exclusions.append(_missing(member, "", "no usable visit"))
    elif design.baseline in visits:
        lone.append(member)
        for session in missing:
            text = f"no usable {names[session]}: enters the typical strength, not the change"
            exclusions.append(_missing(member, session, text))
    else:
        exclusions += [_missing(member, s, f"no usable {names[s]}") for s in missing]


def _check(
    pairs: Sequence[Member],
    members: Sequence[Member],
    sessions: Mapping[tuple[str, str], Measured],
    design: Design,
) -> None:
    if not pairs:
        seen = sorted({session for _, session in sessions}) or ["none"]
        raise DesignError(
            f"nobody has both ses-{design.baseline} and ses-{design.followup}; sessions found: "
            f"{', '.join(seen)}; name baseline and follow-up under [sessions] of the study file, "
            "or see in the reports of people what quality and ratings left out"
        )
    wanted = {m.role for m in members} & {"treated", "control"}
    empty = sorted(wanted - {m.role for m in pairs})
    if empty:
        raise DesignError(
            f"the {' and '.join(empty)} arm has nobody with both visits; see exclusions.tsv, or "
            "leave the arm out under [groups] of the study file"
        )


def precision_weights(dof: Floats) -> Floats:
    """Weights of people whose visits differ in length.

    Parameters
    ----------
    dof : ndarray, shape (n_participants, n_visits)
        Residual degrees of freedom of each visit.

    Returns
    -------
    ndarray, shape (n_participants,)
        ``1 / (1 + v / mean v)`` with v the sum of 1 / dof, which is proportional to the sampling
        variance of a change in Fisher z: optimal when sampling is half of the variance between
        people, valid always.
    """
    v = (1 / np.maximum(dof, 1.0)).sum(axis=1)
    return np.asarray(1 / (1 + v / v.mean()))


def _check_sites(pairs: Sequence[Member]) -> None:
    """Refuse what cannot be told apart: site and visit, site and arm."""
    sites = {m.site for m in pairs}
    arms = {m.role for m in pairs}
    if len(arms) == 1 and len(sites) == 1 and " to " in next(iter(sites)):
        raise DesignError(
            f"every scan moved from site {next(iter(sites))} between the visits: change cannot be "
            "told from the change of scanner, and no harmonisation can; a control arm scanned on "
            "the same sites is needed"
        )
    of_arm = {arm: {m.site for m in pairs if m.role == arm} for arm in sorted(arms)}
    if len(arms) == 2 and len(sites) > 1 and not set.intersection(*of_arm.values()):
        said = "; ".join(f"{arm}: {', '.join(sorted(found))}" for arm, found in of_arm.items())
        raise DesignError(
            f"no site has people of both arms ({said}): treatment cannot be told from site"
        )


def _weights(
    pairs: Sequence[Member], sessions: Mapping[tuple[str, str], Measured], design: Design
) -> Floats:
    labels = [design.baseline, design.followup, design.control_baseline, design.control_followup]
    if design.control_baseline == design.baseline:  # of both conditions: it cancels
        labels = [design.followup, design.control_followup]
    return precision_weights(
        np.array([[sessions[m.participant, s].weight for s in labels if s] for m in pairs])
    )


def _motion(
    pairs: Sequence[Member], sessions: Mapping[tuple[str, str], Measured], design: Design
) -> Floats | None:
    motion = np.array([_motion_change(m.participant, sessions, design) for m in pairs])
    return motion if np.isfinite(motion).all() and motion.std() > 0 else None


def _motion_change(
    person: str, sessions: Mapping[tuple[str, str], Measured], design: Design
) -> float:
    change = (
        sessions[person, design.followup].mean_fd_mm - sessions[person, design.baseline].mean_fd_mm
    )
    if not design.control_baseline:
        return change
    before, after = design.control_baseline, design.control_followup
    return change - (sessions[person, after].mean_fd_mm - sessions[person, before].mean_fd_mm)


def _covariates(
    pairs: Sequence[Member], design: Design
) -> tuple[Floats, tuple[str, ...], tuple[str, ...]]:
    columns: dict[str, Floats] = {}
    notes: list[str] = []
    levels = sorted({m.site for m in pairs})
    for level in levels[1:]:
        columns[f"site: {level}"] = np.array([float(m.site == level) for m in pairs])
    for k, name in enumerate(design.covariates):
        values = np.array([m.covariates[k] for m in pairs])
        available = np.isfinite(values)
        if not available.any():
            raise DesignError(f"covariate {name!r} is missing for everybody with both visits")
        if not available.all():
            notes.append(f"{name} is missing for {(~available).sum()} people: their mean was used.")
        if np.ptp(values[available]) == 0:
            notes.append(f"{name} is the same for everybody: it is no covariate.")
            continue
        columns[name] = np.where(available, values, values[available].mean())
    matrix = np.array(list(columns.values())).T if columns else np.empty((len(pairs), 0))
    return matrix, tuple(columns), tuple(notes)
