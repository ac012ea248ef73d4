"""Who is in the study: roles, covariates, factor, symptom change and site of everybody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.bids.participants import ParticipantTable
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.stats.combat import harmonise_sites
from circuitshift.pipeline.study import pairing as change
from circuitshift.pipeline.study.study_file import Design

__all__ = ["DataSet", "GroupInput", "harmonised", "study_members"]


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set at the group level.

    Parameters
    ----------
    outputs : Path
        Where its measurements are: folders ``sub-X`` with ``sub-X_runs.tsv``.
    participants : Path
        Folder with participants.tsv: the input data set.
    name : str
        Empty for the main one.
    """

    outputs: Path
    participants: Path
    name: str = ""

    def key(self, label: str) -> str:
        """Return the unique key of a person over data sets."""
        return f"{self.name}:{label}" if self.name else label


@dataclass(frozen=True, slots=True, eq=False)
class GroupInput:
    """Everything that was measured, before anything is chosen.

    Parameters
    ----------
    rows : tuple of dict
        Rows of every ``sub-X_runs.tsv``, with ``person`` and ``root``.
    participants : mapping of str to People
        By data set name.
    labels : mapping of str to tuple of str
        Everybody, by data set name: participants.tsv and measured people together.
    notes : tuple of str
    doubts : tuple of str
        What raters found doubtful, and exclusions of people who are not there: a warning each.
    """

    rows: tuple[dict[str, str], ...]
    participants: Mapping[str, ParticipantTable]
    labels: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def study_members(
    given: GroupInput, design: Design
) -> tuple[tuple[change.Member, ...], Design, list[str]]:
    """Give everybody a role; code words among the covariates as indicators."""
    main = given.participants[""]
    coded, notes = _code_covariates(main, design.covariates)
    members: list[change.Member] = []
    asked = _asked(main, design)
    for name, labels in given.labels.items():
        groups = _column(given.participants[name], design.group_column)
        sites = _column(given.participants[name], design.site) if name else {}
        for label in labels:
            group = groups.get(label, tables.NOT_AVAILABLE)
            key = f"{name}:{label}" if name else label
            values = tuple(column.get(label, np.nan) for column in coded.values())
            role = _role(group, name, design)
            more = {"covariates": values} | asked.get(label, {})
            more = {"site": sites.get(label, "")} if name else more
            members.append(change.Member(key, group, role, **more))
    return tuple(members), replace(design, covariates=tuple(coded)), notes


def harmonised(
    sessions: dict[tuple[str, str], change.Measured],
    given: GroupInput,
    members: Sequence[change.Member],
    design: Design,
) -> dict[tuple[str, str], change.Measured]:
    """Harmonise the sessions of the main data set over sites.

    Parameters
    ----------
    sessions : dict of (person, session) to Measured
    given : GroupInput
    members : sequence of Member
    design : Design

    Returns
    -------
    dict
        Visit, arm, their product and reference are preserved; sessions without a site are left as
        they are.
    """
    main = given.participants[""]
    by_visit, fixed = main.visits.get(design.site, {}), _column(main, design.site)
    roles = {member.participant: member.role for member in members}
    available = (tables.NOT_AVAILABLE, "")
    sites = {
        key: site
        for key in sessions
        if (site := by_visit.get(key, fixed.get(key[0], ""))) not in available
        and roles.get(key[0], "none") != "none"
    }
    keys = sorted(sites)
    if not keys:
        return sessions
    labels = sorted({session for _, session in keys} - {design.baseline})
    visit = np.array([[float(session == label) for label in labels] for _, session in keys])
    arm = np.array([[float(roles[person] == "treated")] for person, _ in keys])
    healthy = np.array([[float(roles[person] == "reference")] for person, _ in keys])
    keep = np.hstack([visit, arm, visit * arm, healthy])
    keep = keep[:, _independent(keep)]
    z = harmonise_sites(np.array([sessions[k].z for k in keys]), [sites[k] for k in keys], keep)
    return sessions | {key: replace(sessions[key], z=row) for key, row in zip(keys, z, strict=True)}


def _independent(columns: npt.NDArray[np.float64]) -> list[int]:
    """Choose columns that are not explained by a constant and the ones before."""
    chosen: list[int] = []
    base = np.ones((len(columns), 1))
    for k in range(columns.shape[1]):
        more = np.hstack([base, columns[:, [k]]])
        if np.linalg.matrix_rank(more) == more.shape[1]:
            base, chosen = more, [*chosen, k]
    return chosen


def _asked(participants: ParticipantTable, design: Design) -> dict[str, dict[str, Any]]:
    """Return level of the factor, change of the score, and site, by person."""
    factor = _column(participants, design.factor)
    without, with_ = design.factor_levels if design.factor else ("", "")
    scores = participants.scores(design.symptom) if design.symptom else {}
    sites = participants.visits.get(design.site, {})
    fixed = {} if sites else _column(participants, design.site)
    visits = (design.baseline, design.followup)
    out: dict[str, dict[str, Any]] = {}
    for label in participants.labels:
        at = [sites.get((label, session), fixed.get(label, "")) for session in visits]
        level = factor.get(label, "")
        before, after = (scores.get((label, session), np.nan) for session in visits)
        out[label] = {
            "factor": level == with_ if design.factor and level in (without, with_) else None,
            "symptom": after - before,
            "site": at[0] if at[0] == at[1] else f"{at[0]} to {at[1]}",
        }
    return out


def _column(participants: ParticipantTable, name: str) -> dict[str, str]:
    return (
        dict(zip(participants.labels, participants.columns.get(name, ()), strict=False))
        if name
        else {}
    )


def _role(group: str, data_set: str, design: Design) -> change.Role:
    if data_set != design.reference_dataset and data_set:
        return "none"
    if data_set:
        return "reference" if not design.reference or group in design.reference else "none"
    if not design.treated:
        return "treated"
    if group in design.treated:
        return "treated"
    if group in design.control:
        return "control"
    own = not design.reference_dataset and group in design.reference
    return "reference" if own else "none"


def _code_covariates(
    participants: ParticipantTable, names: Sequence[str]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Keep numbers; code words as one indicator for each but the first (treatment coding)."""
    out: dict[str, dict[str, float]] = {}
    notes = []
    for name in names:
        words = _column(participants, name)
        try:
            values = participants.numbers(name)
            out[name] = dict(zip(participants.labels, map(float, values), strict=True))
        except InputError:
            levels = sorted(set(words.values()) - {tables.NOT_AVAILABLE})
            for level in levels[1:]:
                out[f"{name}: {level}"] = {
                    label: np.nan if word == tables.NOT_AVAILABLE else float(word == level)
                    for label, word in words.items()
                }
            notes.append(f"Covariate {name} is coded as indicators against {levels[0]}.")
    return out, notes
