"""What a secondary analysis is: its name, its computation, its tables and their columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.analyse import Analysis
from circuitshift.pipeline.model.contrasts import Levels, Question, Rules, Visits, questions_of
from circuitshift.pipeline.model.families import FamilyTest
from circuitshift.pipeline.model.verdict import Estimate

__all__ = [
    "SecondaryAnalysis",
    "SecondaryData",
    "SecondaryResult",
    "SecondaryRow",
    "SecondaryTable",
]

SecondaryRow = Mapping[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class SecondaryData:
    """Everything that a secondary analysis may use.

    Parameters
    ----------
    analysis : Analysis
        The analysis that gave the verdict.
    visits : Visits
        The features that it was fitted to.
    rules : Rules
        The rules that it was run with.
    participants : sequence of str
        Identifier of each participant with both visits, in the order of the rows of `visits`.
    networks : sequence of str
        Network of each region; an empty text for a region without one.
    rng : numpy.random.Generator
        Source of random numbers. Each analysis receives the data with a stream of its own.
    levels : Levels, optional
        All visits of all participants, when the study has more than two visits.
    baseline_halves : tuple of two ndarray, shape (n_participants, n_features), optional
        Features of the first and the second half of the baseline runs; None when the regional
        series of a participant are not available.
    """

    analysis: Analysis
    visits: Visits
    rules: Rules
    participants: Sequence[str]
    networks: Sequence[str]
    rng: np.random.Generator
    levels: Levels | None = None
    baseline_halves: tuple[Floats, Floats] | None = None

    @property
    def features(self) -> FeatureSpace:
        """What the columns of `visits` are."""
        return self.visits.features

    @property
    def circuits(self) -> Mapping[str, npt.NDArray[np.intp]]:
        """Positions of the features of each circuit, by its name."""
        return self.analysis.sample.circuits

    @property
    def question(self) -> Question:
        """The question of the verdict, with equal weights of all participants."""
        return replace(questions_of(self.visits)[0], weights=None)

    def tester(self) -> FamilyTest:
        """Put this question to families of variables, with the random numbers of the analysis."""
        n_reference = len(self.analysis.sample.reference)
        return FamilyTest(self.question, self.rules, self.rng, n_reference, unit=self.features.unit)


@dataclass(frozen=True, slots=True)
class SecondaryResult:
    """What one secondary analysis found.

    Parameters
    ----------
    tables : mapping of str to sequence of mapping
        Rows of each of its tables, by the name of the table. A table that is left out has no rows.
    estimates : sequence of Estimate
        Rows that it adds to ``tests.tsv``.
    edges : mapping of str to ndarray, shape (n_edges,)
        Columns that it gives to ``edges.tsv``.
    summary : mapping of str to object
        What ``verdict.json`` holds under ``secondary``.
    finding : str
        One sentence for the section of the report; empty for none.
    remarks : sequence of str
        What could not be computed, and why.
    """

    tables: Mapping[str, Sequence[SecondaryRow]] = field(default_factory=dict)
    estimates: Sequence[Estimate] = ()
    edges: Mapping[str, Floats] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    finding: str = ""
    remarks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SecondaryTable:
    """A table that a secondary analysis writes.

    Parameters
    ----------
    name : str
        Name of the files ``group/<name>.tsv`` and ``group/<name>.json``.
    caption : str
        What the table holds: its caption in the report and its line in the documentation.
    columns : mapping of str to str
        Description of each column, in their order.
    circuit_columns : str
        Description of the columns that follow, one for each circuit; empty for none.
    shown : {"table", "figure", "file"}
        As a table of the report's section on secondary analyses, in a figure of another section,
        or in the file only.
    """

    name: str
    caption: str
    columns: Mapping[str, str]
    circuit_columns: str = ""
    shown: Literal["table", "figure", "file"] = "table"

    def described(self, circuits: Sequence[str]) -> dict[str, str]:
        """Return the description of every column.

        Parameters
        ----------
        circuits : sequence of str
            Names of the circuits of the study.

        Returns
        -------
        dict of str to str
        """
        more = circuits if self.circuit_columns else ()
        return {**self.columns, **dict.fromkeys(more, self.circuit_columns)}


@dataclass(frozen=True, slots=True)
class SecondaryAnalysis:
    """A secondary analysis: descriptive, and without influence on the verdict.

    Parameters
    ----------
    name : str
        Unique. It also selects the stream of random numbers of the analysis.
    title : str
        What it is called in remarks and in the documentation.
    compute : callable
        Takes `SecondaryData` and returns a `SecondaryResult`. It may raise `DesignError`, which
        becomes a remark.
    tables : tuple of SecondaryTable
        The tables that it writes.
    families : tuple of str
        Families of the rows that it adds to ``tests.tsv``.
    """

    name: str
    title: str
    compute: Callable[[SecondaryData], SecondaryResult]
    tables: tuple[SecondaryTable, ...] = ()
    families: tuple[str, ...] = ()
