"""Group the participants by a column, and keep the groups of each role."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from circuitshift.pipeline.errors import InputProblem
from circuitshift.pipeline.io.tables import NOT_AVAILABLE
from circuitshift.pipeline.study.resolution.group_words import (
    Word,
    is_arm_column,
    is_code,
    is_diagnosis_column,
    mentions_role,
    word_of,
)
from circuitshift.pipeline.study.resolution.records import Decision, Observed, normal_form

__all__ = [
    "MAX_GROUPS",
    "ROLES",
    "Group",
    "Roles",
    "count_of",
    "groups_of",
    "groups_table",
    "may_name_arms",
]

#: Roles that groups can have.
ROLES: Final = ("treated", "control", "reference")
#: A column with more values than this does not name arms.
MAX_GROUPS = 12


@dataclass(slots=True)
class Roles:
    """Groups of each role, with the grounds, or the reasons why they cannot be resolved.

    Parameters
    ----------
    column : str
        Column of the groups; empty if there is none.
    groups : dict of str to tuple of str
        For each role, the values of `column`, in all spellings that occur.
    criteria : tuple of (str, str, tuple of str)
        Role, column and values, for roles that the study file states by other columns.
    reference_dataset : str
        Name of the further data set that contains the reference group.
    decisions, notes, refusals : list
        See `circuitshift.pipeline.study.resolution.records.Resolution`.
    """

    column: str = ""
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    criteria: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    reference_dataset: str = ""
    decisions: list[Decision] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refusals: list[InputProblem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Group:
    """Participants with data whose cells in a column have one normal form."""

    spellings: tuple[str, ...]
    participants: tuple[str, ...]
    meaning: str = ""

    @property
    def name(self) -> str:
        """The most frequent spelling, which is the first."""
        return self.spellings[0]

    @property
    def word(self) -> Word:
        """The role that the name or its meaning in participants.json states, if they agree."""
        of_name, of_meaning = word_of(self.name), word_of(self.meaning) if self.meaning else ""
        if of_name and of_meaning and of_name.rstrip("?") != of_meaning.rstrip("?"):
            is_vague = "control?" in (of_name, of_meaning) and "treated" not in (
                of_name,
                of_meaning,
            )
            specific: Word = of_meaning if of_name == "control?" else of_name
            return specific if is_vague else ""
        return of_name or of_meaning

    def __str__(self) -> str:
        n = len(self.participants)
        meaning = f", {self.meaning}" if self.meaning else ""
        return f'"{self.name}" ({n} participant{"" if n == 1 else "s"}{meaning})'


def count_of(participants: Sequence[str]) -> str:
    """Format a number of participants."""
    n = len(participants)
    return f"{n} participant{'' if n == 1 else 's'}"


def groups_of(column: str, observed: Observed) -> dict[str, Group]:
    """Group the participants with data by the normal forms of their cells, sorted by name."""
    texts = observed.columns.get(column, {})
    levels = {normal_form(k): v for k, v in observed.levels.get(column, {}).items()}
    cells: dict[str, list[tuple[str, str]]] = {}
    for participant in sorted(observed.sessions):
        text = texts.get(participant, NOT_AVAILABLE)
        if text != NOT_AVAILABLE:
            cells.setdefault(normal_form(text), []).append((text, participant))
    out = {}
    for form, rows in sorted(cells.items()):
        spellings = Counter(text for text, _ in rows)
        ordered = sorted(spellings, key=lambda text, n=spellings: (-n[text], text))  # type: ignore[misc]
        out[form] = Group(
            tuple(ordered), tuple(participant for _, participant in rows), levels.get(form, "")
        )
    return out


def may_name_arms(column: str, observed: Observed) -> bool:
    """Return whether a column may name the arms, by its name or its values."""
    groups = groups_of(column, observed)
    if not groups or len(groups) > MAX_GROUPS:
        return False
    if len(groups) == 1:
        return is_arm_column(column)
    words = [group.word for group in groups.values()]
    has_mention = any(mentions_role(group.name) for group in groups.values() if not group.word)
    # Codes in a column of diagnoses may separate healthy participants from patients.
    if is_diagnosis_column(column) and any(is_code(group.name) for group in groups.values()):
        return True
    return (
        is_arm_column(column)
        or all(words)
        or has_mention
        or bool({"control", "reference", "control?"} & set(words))
    )


def groups_table(column: str, by_role: Mapping[str, Sequence[str]]) -> str:
    """Format the table [groups] of a study file.

    Parameters
    ----------
    column : str
        Column of participants.tsv.
    by_role : mapping of str to sequence of str
        Groups of each role.

    Returns
    -------
    str
    """
    lines = ["[groups]", f'column = "{column}"']
    for role in ROLES:
        names = ", ".join(f'"{name}"' for name in by_role[role])
        lines.append(f"{role} = [{names}]")
    return "\n".join(lines)
