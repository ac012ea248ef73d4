"""The values that the report of a study shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from circuitshift.atlases.records import Region
from circuitshift.pipeline.reports.page import Row


@dataclass(frozen=True, slots=True, eq=False)
class StudyReport:
    """Everything the page of one study shows.

    Parameters
    ----------
    verdict : mapping
        Content of verdict.json.
    tests : sequence of dict
        Rows of tests.tsv.
    participants : sequence of dict
        Rows of circuits.tsv.
    exclusions : sequence of dict
        Rows of exclusions.tsv.
    quality : sequence of dict
        One per run: participant_id, arm, session, mean_fd_mm, minutes, residual_dof.
    change_by_strength : mapping, optional
        ``typical_z``, ``change_treated_z``, ``change_control_z``, ``is_circuit`` of every edge,
        ``circuits``, the names of its circuits with commas between, and the other columns of
        edges.tsv.
    notes : tuple of str
    methods : str
        Text for a methods section.
    beside : mapping of str to sequence of dict
        Rows of the tables beside the verdict, by file name.
    references : sequence of str
        What the methods cite, a line each.
    regions : sequence of Region
        Of the atlas, in the order of its columns.
    pages : mapping of str to str
        Links to the pages of people, by participant_id.
    files : mapping of str to sequence of str
        Files beside the page, and the columns of each.
    """

    verdict: Row
    tests: Sequence[Row]
    participants: Sequence[Row]
    exclusions: Sequence[Row]
    quality: Sequence[Row]
    change_by_strength: Mapping[str, Any] | None
    notes: tuple[str, ...]
    methods: str
    beside: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    references: Sequence[str] = ()
    regions: Sequence[Region] = ()
    pages: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
