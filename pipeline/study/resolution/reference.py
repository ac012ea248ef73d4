"""Resolve the healthy reference group of a further data set."""

from collections.abc import Mapping
from typing import Any

from circuitshift.pipeline.errors import InputProblem
from circuitshift.pipeline.study.resolution.group_words import is_diagnosis_column
from circuitshift.pipeline.study.resolution.groups import (
    MAX_GROUPS,
    Roles,
    groups_of,
    may_name_arms,
)
from circuitshift.pipeline.study.resolution.records import Decision, Observed

__all__ = ["resolve_reference_dataset"]


def resolve_reference_dataset(stated: Mapping[str, Any], observed: Observed, out: Roles) -> None:
    """Choose the reference group of a further data set, if there is one."""
    named = observed.reference
    if out.reference_dataset and out.reference_dataset not in named:
        available = ", ".join(named) or "none"
        out.refusals.append(
            InputProblem(
                "study file",
                f"reference_dataset {out.reference_dataset!r} is not among the data sets",
                f"give it by --reference-dataset NAME=PATH; given are {available}",
            )
        )
        return
    if not named:
        return
    if not out.reference_dataset and len(named) > 1:
        out.refusals.append(
            InputProblem(
                "study file",
                f"{len(named)} reference data sets are given ({', '.join(named)})",
                'choose one: [groups] reference_dataset = "..."',
            )
        )
        return
    out.reference_dataset = out.reference_dataset or next(iter(named))
    if stated.get("reference") or any(c[0] == "reference" for c in stated.get("criteria", ())):
        return
    _recognise_reference(named[out.reference_dataset], stated, out)


def _recognise_reference(
    columns: Mapping[str, Mapping[str, str]], stated: Mapping[str, Any], out: Roles
) -> None:
    """Find the healthy group of a further data set by its name."""
    seen = Observed(sessions={p: () for texts in columns.values() for p in texts}, columns=columns)
    wanted = str(stated.get("group_column", ""))
    candidates = [wanted] if wanted in columns else [c for c in columns if may_name_arms(c, seen)]
    # Without a column of groups, a column of diagnoses must not name patients.
    candidates = candidates or [c for c in columns if _names_diagnoses(c, seen)]
    name = out.reference_dataset
    if not candidates:
        reason = "Its table names no groups."
        out.decisions.append(Decision("reference", f"all of data set {name}", "counted", reason))
        return
    found = {
        column: [
            group
            for group in groups_of(column, seen).values()
            if group.word in ("reference", "control?")
        ]
        for column in candidates
    }
    healthy = {column: groups for column, groups in found.items() if groups}
    if len(healthy) != 1:
        listed = "; ".join(
            f"{column}: {', '.join(map(str, groups_of(column, seen).values()))}"
            for column in candidates
        )
        out.refusals.append(
            InputProblem(
                f"participants.tsv of data set {name}",
                f"its healthy group is not clear ({listed})",
                'name it in the study file:\n[groups]\nreference = {"..." = "..."}',
            )
        )
        return
    column, groups = next(iter(healthy.items()))
    spellings = tuple(text for group in groups for text in group.spellings)
    out.criteria = (*out.criteria, ("reference", column, spellings))
    reason = f"Names in column {column} of its table."
    answer = f"{', '.join(map(str, groups))} of data set {name}"
    out.decisions.append(Decision("reference", answer, "recognised", reason))


def _names_diagnoses(column: str, seen: Observed) -> bool:
    """Return whether a column contains diagnoses, rather than a label of each participant."""
    groups = groups_of(column, seen).values()
    is_shared = any(len(group.participants) > 1 for group in groups)
    return is_diagnosis_column(column) and is_shared and len(groups) <= MAX_GROUPS
