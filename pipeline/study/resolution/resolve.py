"""Resolve a study: combine study file, tables and data into a design, or refuse."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from circuitshift.pipeline.errors import DesignError, InputProblem, InputProblemsError
from circuitshift.pipeline.io.tables import NOT_AVAILABLE
from circuitshift.pipeline.study.protocol.condition_order import (
    order_sentences,
    treatment_first,
)
from circuitshift.pipeline.study.resolution.group_words import is_exclusion_column
from circuitshift.pipeline.study.resolution.groups import MAX_GROUPS, Roles, groups_of
from circuitshift.pipeline.study.resolution.records import Observed, Resolution
from circuitshift.pipeline.study.resolution.roles import resolve_roles
from circuitshift.pipeline.study.resolution.stated import (
    check_sessions,
    check_variables,
    describe_variables,
)
from circuitshift.pipeline.study.resolution.visits import Visits, resolve_visits
from circuitshift.pipeline.study.study_file import Design, StudyFile

__all__ = ["require", "resolve"]

# Participants with data and without a role are a warning of the verdict beyond these limits.
_MAX_WITHOUT_ROLE = 2
_MAX_SHARE_WITHOUT_ROLE = 0.05


def resolve(study: StudyFile, observed: Observed) -> Resolution:
    """Resolve the design of a study.

    Nothing that decides the answer is guessed: the order of the visits, and which participants are
    treated, controls or reference, are stated by the study file, or follow from names with one
    meaning in the field or from dates of acquisition. Everything else is refused, with the lines
    for the study file.

    Parameters
    ----------
    study : StudyFile
    observed : Observed

    Returns
    -------
    Resolution
        `Resolution.refusals` contains all reasons at once.
    """
    stated = dict(study.stated)
    visits = resolve_visits(stated, observed)
    roles = resolve_roles(stated, observed)
    refusals = [*observed.refusals, *check_sessions(stated, observed)]
    refusals += visits.refusals
    refusals += () if observed.refusals else roles.refusals  # groups of an unreadable table
    pair = (visits.baseline, visits.followup)
    if all(pair):
        refusals += check_variables(stated, observed, pair)
    of_roles = () if observed.refusals else roles.decisions
    decisions = (*visits.decisions, *of_roles, *describe_variables(stated, observed, pair))
    notes = (*visits.notes, *roles.notes, *_unused_exclusions(stated, observed))
    if refusals:
        return Resolution(None, decisions, tuple(visits.warnings), notes, tuple(refusals))
    try:
        inferred = [
            f"{d.question.capitalize()}: {d.answer}. {d.reason}"
            for d in decisions
            if d.source != "stated"
        ]
        design = _design(stated, visits, roles, (*inferred, *notes))
        assigned = _assigned(design, observed)
        _refuse_random_assignment_to_one_arm(design, assigned)
        notes = (*notes, *_assignment(design, assigned))
    except DesignError as error:
        what, _, fix = str(error).rpartition("; ")
        refused = InputProblem("study file", what or fix, fix if what else "correct it")
        return Resolution(None, decisions, tuple(visits.warnings), notes, (refused,))
    known = treatment_first(design, observed.columns, observed.dates, list(observed.sessions))
    of_order, order_notes = order_sentences(design, known, len(observed.sessions))
    notes = (*notes, *order_notes)
    warnings = [*visits.warnings, *of_order, *_without_role(assigned, design, observed)]
    return Resolution(
        design, decisions, tuple(warnings), notes, roles=tuple(sorted(assigned.items()))
    )


def require(resolution: Resolution) -> Design:
    """Return the design of a resolution.

    Parameters
    ----------
    resolution : Resolution

    Returns
    -------
    Design

    Raises
    ------
    InputProblemsError
        If the study could not be resolved; contains all refusals.
    """
    if resolution.design is None:
        raise InputProblemsError("the study cannot be resolved", resolution.refusals)
    return resolution.design


def _design(
    stated: Mapping[str, Any],
    visits: Visits,
    roles: Roles,
    inferred: tuple[str, ...],
) -> Design:
    """Build the design from the decisions."""
    keys = {key: value for key, value in stated.items() if key not in ("criteria", "group_column")}
    keys |= {"baseline": visits.baseline, "followup": visits.followup}
    keys |= {role: roles.groups.get(role, ()) for role in ("treated", "control", "reference")}
    design = Design(
        **keys,
        group_column=roles.column,
        criteria=roles.criteria,
    )
    return replace(
        design,
        reference_dataset=roles.reference_dataset,
        inferred=inferred,
    )


def _assigned(design: Design, observed: Observed) -> dict[str, str]:
    """Assign each participant with data a role."""
    out: dict[str, str] = {}
    for participant in observed.sessions:
        row = {
            column: texts.get(participant, NOT_AVAILABLE)
            for column, texts in observed.columns.items()
        }
        out[participant] = design.role_of(row, label=f"sub-{participant}")
    return out


def _refuse_random_assignment_to_one_arm(design: Design, assigned: Mapping[str, str]) -> None:
    """Refuse a study file that states random assignment if no participant is in a control arm."""
    if not design.randomised or "control" in assigned.values():
        return
    if design.control_baseline:
        raise DesignError(
            "randomised = true concerns two arms, but this study is a crossover; remove it from "
            "[groups], and state the order of the conditions by order and treatment_first under "
            "[sessions]"
        )
    raise DesignError(
        "randomised = true, but no participant with data is in a control arm; name its group by "
        "control under [groups], or remove randomised"
    )


def _assignment(design: Design, assigned: Mapping[str, str]) -> list[str]:
    """Say how arms are compared if the study file does not state how they were assigned."""
    if design.randomised is not None or not {"treated", "control"} <= set(assigned.values()):
        return []
    return [
        "Arms are compared after adjustment for the baseline, which assumes that participants were "
        "assigned to the arms at random. State randomised = true or false under [groups] of the "
        "study file."
    ]


def _unused_exclusions(stated: Mapping[str, Any], observed: Observed) -> list[str]:
    """Report columns that mark participants to leave out, which only criteria can use."""
    used = {column for _, column, _ in stated.get("criteria", ())} | {stated.get("group_column")}
    out = []
    for column in observed.columns:
        groups = list(groups_of(column, observed).values())
        if column not in used and is_exclusion_column(column) and 1 < len(groups) <= MAX_GROUPS:
            out.append(
                f"Column {column} may mark participants to leave out, but is not used: "
                f"{', '.join(map(str, groups))}. Criteria under [groups] can use it."
            )
    return out


def _without_role(assigned: Mapping[str, str], design: Design, observed: Observed) -> list[str]:
    """Warn if many participants with data have no role."""
    without = sorted(p for p, role in assigned.items() if role == "none")
    share = len(without) / max(len(assigned), 1)
    if len(without) <= _MAX_WITHOUT_ROLE and share <= _MAX_SHARE_WITHOUT_ROLE:
        return []
    cells = observed.columns.get(design.group_column)
    missing = sum(cells.get(p, NOT_AVAILABLE) == NOT_AVAILABLE for p in without) if cells else 0
    named = ", ".join(f"sub-{p}" for p in without[:8]) + (" and others" if len(without) > 8 else "")
    more = f"; {missing} of them have no value in column {design.group_column}" if missing else ""
    return [
        f"{len(without)} of {len(assigned)} participants with data have no role in the study and "
        f"are not analysed ({named}{more})."
    ]
