"""Determine role, covariates, factor level, symptom change and site of each participant."""

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
from circuitshift.pipeline.study import pairing
from circuitshift.pipeline.study.protocol.condition_order import treatment_first
from circuitshift.pipeline.study.resolution.observe import acquisition_days
from circuitshift.pipeline.study.study_file import Design

__all__ = [
    "SELECTION_FILE",
    "DataSet",
    "GroupInput",
    "harmonised",
    "recorded_selection",
    "study_members",
]

#: File of a data set in which the participant level records how runs were selected.
SELECTION_FILE = "run_selection.json"


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set at the group level.

    Parameters
    ----------
    outputs : Path
        Folder with the measurements: folders ``sub-X`` with ``sub-X_runs.tsv``.
    participants : Path
        Folder with ``participants.tsv``, which is the input data set.
    name : str
        Name of the data set; empty for the main data set.
    table : Path, optional
        Table of participants that replaces ``participants.tsv``.
    """

    outputs: Path
    participants: Path
    name: str = ""
    table: Path | None = None

    def key(self, label: str) -> str:
        """Return the key of a participant, which is unique across data sets."""
        return f"{self.name}:{label}" if self.name else label


@dataclass(frozen=True, slots=True, eq=False)
class GroupInput:
    """Results of the participant level and tables of participants of all data sets.

    Parameters
    ----------
    rows : tuple of dict
        Rows of each ``sub-X_runs.tsv``, with the additional keys ``person`` (key of the
        participant, see `DataSet.key`) and ``root`` (folder of the outputs).
    participants : mapping of str to ParticipantTable
        Table of participants, by name of the data set.
    labels : mapping of str to tuple of str
        Labels of all participants who are listed in ``participants.tsv`` or were measured, by name
        of the data set.
    notes : tuple of str
        Sentences about the tables of participants and about ratings without effect.
    doubts : tuple of str
        Warnings: sessions rated ``doubt``, and exclusions of participants without measurements.
    """

    rows: tuple[dict[str, str], ...]
    participants: Mapping[str, ParticipantTable]
    labels: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def recorded_selection(data_sets: Sequence[DataSet]) -> list[str]:
    """Return the sentences on the selection of runs that the participant level recorded.

    Parameters
    ----------
    data_sets : sequence of DataSet
        Data sets of the study.

    Returns
    -------
    list of str
        Empty if the participant level was run by another version, or for single participants.
    """
    out: list[str] = []
    for data_set in data_sets:
        path = data_set.outputs / SELECTION_FILE
        if path.exists():
            out += map(str, tables.read_json(path).get("notes", ()))
    return out


def study_members(
    measurements: GroupInput, design: Design
) -> tuple[tuple[pairing.Member, ...], Design, list[str]]:
    """Determine the role and the covariates of each participant.

    Parameters
    ----------
    measurements : GroupInput
        Results of the participant level and tables of participants.
    design : Design
        Design of the study.

    Returns
    -------
    members : tuple of Member
        All participants of all data sets.
    design : Design
        Design whose covariates are the coded columns: categories become indicators.
    notes : list of str
        Sentences that describe the coding.
    """
    main = measurements.participants[""]
    coded, notes = _code_covariates(main, design.covariates)
    members: list[pairing.Member] = []
    of_design = _design_variables(main, design)
    order = _order_of_conditions(measurements, design)
    for name, labels in measurements.labels.items():
        table = measurements.participants[name]
        sites = _column(measurements.participants[name], design.site) if name else {}
        for label in labels:
            row = _cells(table, label)
            key = f"{name}:{label}" if name else label
            values = tuple(column.get(label, np.nan) for column in coded.values())
            role = design.role_of(row, label=f"sub-{label}", data_set=name)
            variables = {"covariates": values} | of_design.get(label, {})
            variables |= {"treatment_first": order.get(label)}
            variables = {"site": sites.get(label, "")} if name else variables
            members.append(pairing.Member(key, design.group_of(row), role, **variables))
    return tuple(members), replace(design, covariates=tuple(coded)), notes


def harmonised(
    sessions: dict[tuple[str, str], pairing.Measured],
    measurements: GroupInput,
    members: Sequence[pairing.Member],
    design: Design,
) -> dict[tuple[str, str], pairing.Measured]:
    """Harmonise the edges of the main data set across sites by ComBat.

    Parameters
    ----------
    sessions : dict of (participant, session) to Measured
        Edges of each session.
    measurements : GroupInput
        Results of the participant level; its table of participants contains the sites.
    members : sequence of Member
        All participants, with their roles.
    design : Design
        Design of the study, which names the column of sites.

    Returns
    -------
    dict of (participant, session) to Measured
        Harmonised sessions. Differences between visits, between arms, their interaction, and the
        difference of the reference group are preserved. Sessions without a site, and those of
        participants without a role, are unchanged.

    See Also
    --------
    circuitshift.pipeline.stats.combat.harmonise_sites
    """
    main = measurements.participants[""]
    by_visit, fixed = main.visits.get(design.site, {}), _column(main, design.site)
    roles = {member.participant: member.role for member in members}
    missing = (tables.NOT_AVAILABLE, "")
    sites = {
        key: site
        for key in sessions
        if (site := by_visit.get(key, fixed.get(key[0], ""))) not in missing
        and roles.get(key[0], "none") != "none"
    }
    keys = sorted(sites)
    if not keys:
        return sessions
    labels = sorted({session for _, session in keys} - {design.baseline})
    visit = np.array([[float(session == label) for label in labels] for _, session in keys])
    arm = np.array([[float(roles[person] == "treated")] for person, _ in keys])
    healthy = np.array([[float(roles[person] == "reference")] for person, _ in keys])
    preserved = np.hstack([visit, arm, visit * arm, healthy])
    preserved = preserved[:, _independent(preserved)]
    edges = np.array([sessions[k].z for k in keys])
    z = harmonise_sites(edges, [sites[k] for k in keys], preserved)
    return sessions | {key: replace(sessions[key], z=row) for key, row in zip(keys, z, strict=True)}


def _independent(columns: npt.NDArray[np.float64]) -> list[int]:
    """Return the columns that are linearly independent of a constant and of earlier columns."""
    independent: list[int] = []
    base = np.ones((len(columns), 1))
    for k in range(columns.shape[1]):
        extended = np.hstack([base, columns[:, [k]]])
        if np.linalg.matrix_rank(extended) == extended.shape[1]:
            base, independent = extended, [*independent, k]
    return independent


def _design_variables(participants: ParticipantTable, design: Design) -> dict[str, dict[str, Any]]:
    """Return level of the factor, change of the symptom score, and site of each participant."""
    factor = _column(participants, design.factor)
    without, with_ = design.factor_levels if design.factor else ("", "")
    scores = participants.scores(design.symptom) if design.symptom else {}
    sites = participants.visits.get(design.site, {})
    fixed = {} if sites else _column(participants, design.site)
    visits = (design.baseline, design.followup)
    moderators = _moderators(participants, design)
    out: dict[str, dict[str, Any]] = {}
    for label in participants.labels:
        site = [sites.get((label, session), fixed.get(label, "")) for session in visits]
        level = factor.get(label, "")
        before, after = (scores.get((label, session), np.nan) for session in visits)
        out[label] = {
            "factor": level == with_ if design.factor and level in (without, with_) else None,
            "symptom": after - before,
            "moderators": tuple((name, values[label]) for name, values in moderators.items()),
            "site": site[0] if site[0] == site[1] else f"{site[0]} to {site[1]}",
        }
    return out


def _order_of_conditions(measurements: GroupInput, design: Design) -> dict[str, bool]:
    """Return whether the treatment came first, for participants of the main data set."""
    if not design.control_baseline:
        return {}
    main = measurements.participants[""]
    columns = {design.order: _column(main, design.order)}
    visits = [design.followup, design.control_followup]
    dates = {} if design.order else acquisition_days(main, dict.fromkeys(main.labels, visits))
    return treatment_first(design, columns, dates, main.labels)


def _moderators(participants: ParticipantTable, design: Design) -> dict[str, dict[str, float]]:
    """Return the moderators of each participant; of a score by session, its change."""
    out: dict[str, dict[str, float]] = {}
    for name in design.moderators:
        if name not in participants.columns and name in participants.visits:
            scores = participants.scores(name)
            out[f"change of {name}"] = {
                label: scores.get((label, design.followup), np.nan)
                - scores.get((label, design.baseline), np.nan)
                for label in participants.labels
            }
        else:
            values = map(float, participants.numbers(name))
            out[name] = dict(zip(participants.labels, values, strict=True))
    return out


def _column(participants: ParticipantTable, name: str) -> dict[str, str]:
    return (
        dict(zip(participants.labels, participants.columns.get(name, ()), strict=False))
        if name
        else {}
    )


def _cells(participants: ParticipantTable, label: str) -> dict[str, str]:
    """Return the cells of one participant by column; empty for participants without a row."""
    if label not in participants.labels:
        return {}
    k = participants.labels.index(label)
    return {name: values[k] for name, values in participants.columns.items()}


def _code_covariates(
    participants: ParticipantTable, names: Sequence[str]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Return numeric covariates as they are, and categories as indicators (treatment coding).

    The first category in alphabetical order is the reference category.
    """
    out: dict[str, dict[str, float]] = {}
    notes = []
    for name in names:
        categories = _column(participants, name)
        try:
            values = participants.numbers(name)
            out[name] = dict(zip(participants.labels, map(float, values), strict=True))
        except InputError:
            levels = sorted(set(categories.values()) - {tables.NOT_AVAILABLE})
            for level in levels[1:]:
                out[f"{name}: {level}"] = {
                    label: np.nan if category == tables.NOT_AVAILABLE else float(category == level)
                    for label, category in categories.items()
                }
            notes.append(
                f"Covariate {name} is coded as indicators with reference category {levels[0]}."
            )
    return out, notes
