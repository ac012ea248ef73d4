"""Average runs to sessions and pair the sessions of each participant.

The result is a `Cohort`: edges before and after treatment, participants with a baseline only, the
reference group, covariates, and the exclusions with their reasons.
"""

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
        Fisher z; NaN for edges of missing regions.
    weight : float
        Residual degrees of freedom, or number of volumes if denoising was done elsewhere.
    minutes, mean_fd_mm : float
        Retained minutes, and mean framewise displacement in mm; NaN if unavailable.
    name : str
        Name of the run, or names of the averaged runs.
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
    """Reason why a participant or a session is excluded: one row of ``exclusions.tsv``.

    Parameters
    ----------
    participant : str
        Unique key of the participant.
    session : str
        Session label; empty if all sessions are excluded.
    stage : str
        Step of the exclusion: ``participant`` (a run), ``pairing`` or ``design``.
    code, reason : str
        Reason as a keyword and as a sentence.
    """

    participant: str
    session: str
    stage: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Member:
    """One participant of the study and the role of their group.

    Parameters
    ----------
    participant, group : str
        Unique key of the participant, and value of the group column.
    role : {"treated", "control", "reference", "none"}
        Role of the group in the study.
    covariates : tuple of float
        Values in the order of ``Design.covariates``; NaN if missing.
    factor : bool, optional
        Whether the participant received the second treatment; None if unavailable, or if the design
        has no second treatment.
    symptom : float
        Change of the symptom score; NaN if unavailable.
    site : str
        Site of the scanner; ``A to B`` if it changed between visits.
    moderators : tuple of (str, float)
        Name and value of each moderator of the change; NaN if unavailable.
    treatment_first : bool, optional
        In a crossover, whether the treatment came before the control condition; None if unknown.
    """

    participant: str
    group: str
    role: Role
    covariates: tuple[float, ...] = ()
    factor: bool | None = None
    symptom: float = np.nan
    site: str = ""
    moderators: tuple[tuple[str, float], ...] = ()
    treatment_first: bool | None = None


@dataclass(frozen=True, slots=True)
class Cohort:
    """Participants and edges that enter each part of the model.

    Parameters
    ----------
    pairs : tuple of Member
        Treated and control participants with both visits: rows of `baseline` and `followup`.
    baseline, followup : ndarray, shape (n_pairs, n_edges)
        Edges at both visits, Fisher z.
    lone : tuple of Member
        Treated and control participants with a baseline only: rows of `baseline_only`.
    baseline_only : ndarray, shape (n_lone, n_edges)
        Edges at baseline of participants without a follow-up, Fisher z.
    healthy : tuple of Member
        Participants of the reference group: rows of `reference`.
    reference : ndarray, shape (n_healthy, n_edges)
        Edges of the reference group at baseline, or at their first visit in alphabetical order if
        they have no baseline, Fisher z.
    reference_again : ndarray, shape (n_healthy, n_edges), or None
        Edges of the reference group at follow-up; NaN for participants without this visit, None
        if it is missing for all.
    control_baseline, control_followup : ndarray, shape (n_pairs, n_edges), or None
        Edges before and after the control condition; None if the study is not a crossover.
    covariates : ndarray, shape (n_pairs, n_covariates)
        Covariates without missing values.
    covariate_names : tuple of str
        Names of the columns of `covariates`.
    motion_mm : ndarray, shape (n_pairs,), or None
        Change in mean framewise displacement, mm; None if it is unavailable for a visit, or
        constant.
    weights : ndarray, shape (n_pairs,), or None
        Weights of participants; None if the design does not weight them.
    exclusions : tuple of Exclusion
        Excluded participants and sessions, sorted.
    notes : tuple of str
        Sentences on omitted covariates and imputed values.
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
        """Whether each of `pairs` is treated; None if there is no control arm."""
        treated = np.array([member.role == "treated" for member in self.pairs], bool)
        return None if treated.all() else treated

    @property
    def factor(self) -> npt.NDArray[np.bool_] | None:
        """Whether each of `pairs` received the second treatment; None without a second one."""
        levels = [member.factor for member in self.pairs]
        return None if None in levels else np.array(levels, bool)

    @property
    def symptom(self) -> Floats | None:
        """Change of the symptom score of each of `pairs`; None if unavailable for all."""
        values = np.array([member.symptom for member in self.pairs])
        return values if np.isfinite(values).any() else None

    @property
    def moderators(self) -> dict[str, Floats]:
        """Values of each moderator, in the order of `pairs`; NaN if unavailable."""
        values = [dict(member.moderators) for member in self.pairs]
        names = dict.fromkeys(name for own in values for name in own)
        return {name: np.array([own.get(name, np.nan) for own in values]) for name in names}

    @property
    def treatment_first(self) -> Floats | None:
        """Order of the conditions of each of `pairs`, NaN if unknown; None without a crossover."""
        if self.control_baseline is None:
            return None
        order = [member.treatment_first for member in self.pairs]
        return np.array([np.nan if first is None else float(first) for first in order])

    @property
    def site(self) -> npt.NDArray[np.intp] | None:
        """Index of the site of each of `pairs`; None if there are fewer than two sites."""
        names, numbers = np.unique([m.site for m in self.pairs], return_inverse=True)
        return numbers.astype(np.intp) if len(names) > 1 else None


def session_means(runs: Iterable[Measured]) -> dict[tuple[str, str], Measured]:
    """Average the runs of each session, weighted by residual degrees of freedom.

    Parameters
    ----------
    runs : iterable of Measured
        Edges of all runs.

    Returns
    -------
    dict of (participant, session) to Measured
        Averaged runs, sorted by participant and session. Each edge is averaged over the runs in
        which it is available. Minutes and degrees of freedom are summed.
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
    """Pair the visits of each participant and list the exclusions with their reasons.

    Parameters
    ----------
    sessions : mapping of (participant, session) to Measured
        Edges of all sessions, from `session_means`.
    members : sequence of Member
        All participants of the study, with or without data.
    design : Design
        Design of the study.

    Returns
    -------
    Cohort
        Participants, edges, covariates and exclusions. The change in mean framewise displacement is
        included if it is available for all participants and not constant.

    Raises
    ------
    DesignError
        If no participant, or no participant of an arm, has both visits; if site cannot be
        distinguished from visit or arm; or if a covariate is missing for all participants.
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
        notes += (
            "The change in motion is not a covariate, because motion is unavailable for at least "
            "one visit or its change is constant.",
        )
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
    """Replace the edges of sessions by views of the arrays of a cohort, to save memory.

    Parameters
    ----------
    sessions : mapping of (participant, session) to Measured
        Sessions from which the cohort was assembled.
    cohort : Cohort
        Cohort from `assemble`.
    design : Design
        Design of the study.

    Returns
    -------
    dict of (participant, session) to Measured
        Sessions with the same values as `sessions`.
    """
    out = dict(sessions)

    def share(members: Sequence[Member], session: str, rows: Floats | None) -> None:
        if rows is not None:
            for member, row in zip(members, rows, strict=True):
                key = (member.participant, session)
                if key in out:  # reference participants may have another visit only
                    out[key] = replace(out[key], z=row)

    share(cohort.pairs, design.baseline, cohort.baseline)
    share(cohort.pairs, design.followup, cohort.followup)
    share(cohort.lone, design.baseline, cohort.baseline_only)
    if design.control_baseline:
        share(cohort.pairs, design.control_baseline, cohort.control_baseline)
        share(cohort.pairs, design.control_followup, cohort.control_followup)
    share(cohort.healthy, design.baseline, cohort.reference)
    return out


def _again(
    healthy: Sequence[Member], sessions: Mapping[tuple[str, str], Measured], design: Design
) -> Floats | None:
    """Return the second visits of the reference group, for reliability.

    The second visit is the follow-up, or the first of the stated visits at which a participant of
    the reference group was measured again. Participants without a baseline have none.
    """
    later = dict.fromkeys((design.followup, *design.visits))

    def second(participant: str) -> Measured | None:
        if (participant, design.baseline) not in sessions:
            return None
        visits = (sessions.get((participant, v)) for v in later if v != design.baseline)
        return next((visit for visit in visits if visit is not None), None)

    found = [second(member.participant) for member in healthy]
    again = [None if visit is None else visit.z for visit in found]
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
        return "participants.tsv contains no group of this participant"
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
            text = (
                f"no usable {names[session]} scan: baseline used to estimate typical edge "
                "strength, excluded from the change analysis"
            )
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
        labels = sorted({session for _, session in sessions}) or ["none"]
        raise DesignError(
            f"no participant has both ses-{design.baseline} and ses-{design.followup}; sessions "
            f"found: {', '.join(labels)}; name baseline and follow-up under [sessions] of the "
            "study file, or check the participant reports for sessions that were excluded by "
            "quality thresholds or ratings"
        )
    arms = {m.role for m in members} & {"treated", "control"}
    empty = sorted(arms - {m.role for m in pairs})
    if empty:
        raise DesignError(
            f"the {' and '.join(empty)} arm contains no participant with both visits; check the "
            "participant reports for excluded sessions, or remove the arm from [groups] of the "
            "study file"
        )


def precision_weights(dof: Floats) -> Floats:
    """Compute weights of participants whose visits differ in length.

    Parameters
    ----------
    dof : ndarray, shape (n_participants, n_visits)
        Residual degrees of freedom of each visit.

    Returns
    -------
    ndarray, shape (n_participants,)
        Weights, ``1 / (1 + v / mean(v))``.

    Notes
    -----
    v is the sum of 1 / dof over the visits of a participant. It is proportional to the sampling
    variance of a change in Fisher z, because Fisher z of independent samples has a variance of
    approximately 1 / dof. The weights are optimal if the mean sampling variance equals the true
    variance between participants, and tests are valid with any weights.
    """
    v = (1 / np.maximum(dof, 1.0)).sum(axis=1)
    return np.asarray(1 / (1 + v / v.mean()))


def _check_sites(pairs: Sequence[Member]) -> None:
    """Raise an error if site cannot be distinguished from visit or from arm."""
    sites = {m.site for m in pairs}
    arms = {m.role for m in pairs}
    if len(arms) == 1 and len(sites) == 1 and " to " in next(iter(sites)):
        raise DesignError(
            f"all participants moved from site {next(iter(sites))} between the visits: change "
            "cannot be distinguished from the change of scanner, also not after harmonisation; "
            "add a control arm that was scanned at the same sites"
        )
    of_arm = {arm: {m.site for m in pairs if m.role == arm} for arm in sorted(arms)}
    if len(arms) == 2 and len(sites) > 1 and not set.intersection(*of_arm.values()):
        listed = "; ".join(f"{arm}: {', '.join(sorted(own))}" for arm, own in of_arm.items())
        raise DesignError(
            f"no site has participants of both arms ({listed}): treatment cannot be distinguished "
            "from site; add participants of the other arm at one site at least"
        )


def _weights(
    pairs: Sequence[Member], sessions: Mapping[tuple[str, str], Measured], design: Design
) -> Floats:
    labels = [design.baseline, design.followup, design.control_baseline, design.control_followup]
    if design.control_baseline == design.baseline:  # a shared baseline cancels
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
            raise DesignError(
                f"covariate {name!r} is missing for all participants with both visits; add it to "
                "participants.tsv, or remove it from [model] covariates of the study file"
            )
        if not available.all():
            n_missing = int((~available).sum())
            notes.append(
                f"{name} is missing for {n_missing} participant{'s' * (n_missing > 1)} and was "
                "replaced by the mean of the others."
            )
        if np.ptp(values[available]) == 0:
            notes.append(f"{name} is constant and therefore not a covariate.")
            continue
        columns[name] = np.where(available, values, values[available].mean())
    matrix = np.array(list(columns.values())).T if columns else np.empty((len(pairs), 0))
    return matrix, tuple(columns), tuple(notes)
