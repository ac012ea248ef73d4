"""The data of the study report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from circuitshift.atlases.records import Region
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.page import Row
from circuitshift.pipeline.words import GLOBAL_TERMS

__all__ = ["ARMS", "StudyReport"]

ARMS = ("treated", "control", "reference")
_MAX_TITLE = 80  # characters that fit into a figure


@dataclass(frozen=True, slots=True, eq=False)
class StudyReport:
    """Data of the report of one study.

    Parameters
    ----------
    verdict : mapping
        Content of verdict.json.
    tests : sequence of mapping
        Rows of tests.tsv.
    participants : sequence of mapping
        Rows of circuits.tsv.
    exclusions : sequence of mapping
        Rows of exclusions.tsv.
    quality : sequence of mapping
        One row per run: participant_id, arm, session, mean_fd_mm, minutes, residual_dof,
        n_regions_lost, boundary_cost.
    change_by_strength : mapping, optional
        Columns of edges.tsv, with ``typical_z``, ``change_treated_z``, ``change_control_z`` and
        ``is_circuit`` of every edge, and ``circuits``, the names of its circuits separated by
        commas.
    notes : tuple of str
        Notes on the input data.
    methods : str
        Text for the methods section of an article.
    change : sequence of mapping
        Rows of change.tsv.
    secondary : mapping of str to sequence of mapping
        Rows of each table of the secondary analyses, by its name.
    references : sequence of str
        Works that the methods text cites, one line each.
    regions : sequence of Region
        Regions of the atlas, in the order of its table.
    pages : mapping of str to str
        Links to the pages of participants, by participant_id.
    files : mapping of str to sequence of str
        Columns of each file in the folder of the page, by file name.
    simulated : tuple of str
        One sentence for each data set whose description states that its data are simulated.
    """

    verdict: Row
    tests: Sequence[Row]
    participants: Sequence[Row]
    exclusions: Sequence[Row]
    quality: Sequence[Row]
    change_by_strength: Mapping[str, Any] | None
    notes: tuple[str, ...]
    methods: str
    change: Sequence[Row] = ()
    secondary: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    references: Sequence[str] = ()
    regions: Sequence[Region] = ()
    pages: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    simulated: tuple[str, ...] = ()

    @property
    def design(self) -> Row:
        """The design that verdict.json records."""
        design: Row = self.verdict.get("design") or {}
        return design

    @property
    def alpha(self) -> float:
        """Family-wise error rate."""
        return wording.number(self.design.get("alpha", 0.05))

    @property
    def visits(self) -> tuple[str, str]:
        """Sessions of the two visits; the first and the last session if the design names none."""
        sessions = list(dict.fromkeys(str(row.get("session")) for row in self.participants))
        return (
            str(self.design.get("baseline") or (sessions[0] if sessions else "baseline")),
            str(self.design.get("followup") or (sessions[-1] if sessions else "follow-up")),
        )

    def family(self, name: str) -> list[Row]:
        """Return the rows of one family of tests.

        Parameters
        ----------
        name : str
            Name of the family in tests.tsv.
        """
        return [row for row in self.tests if row.get("family") == name]

    def ranked_circuits(self) -> list[Row]:
        """Return the tests of circuits, sorted by significance and size of the statistic."""

        def order(row: Row) -> tuple[bool, float]:
            size = abs(wording.number(row.get("statistic")))
            return (not wording.is_below(row, self.alpha), -size if np.isfinite(size) else 0.0)

        return sorted(self.family("specific"), key=order)

    def title(self, circuit: str) -> str:
        """Return the title of a circuit or global term, or its name if it has none.

        Parameters
        ----------
        circuit : str
            Name of the circuit or global term.
        """
        if circuit in GLOBAL_TERMS:
            return GLOBAL_TERMS[circuit]
        circuits = {
            **(self.verdict.get("secondary_circuits") or {}),
            **(self.verdict.get("circuits") or {}),
        }
        return str((circuits.get(circuit) or {}).get("title") or circuit)

    def short_title(self, circuit: str, max_length: int = _MAX_TITLE) -> str:
        """Return the title of a circuit, or its name if the title does not fit into a figure.

        Global terms always have their title.

        Parameters
        ----------
        circuit : str
            Name of the circuit.
        max_length : int
            Number of characters that fit.
        """
        title = self.title(circuit)
        return title if len(title) <= max_length or circuit in GLOBAL_TERMS else circuit

    def edge_column(self, name: str) -> Floats | None:
        """Return a column of edges.tsv; None if it is missing or has no finite value.

        Parameters
        ----------
        name : str
            Name of the column.
        """
        column = (self.change_by_strength or {}).get(name)
        if column is None:
            return None
        values = np.asarray(column, float)
        return values if np.isfinite(values).any() else None
