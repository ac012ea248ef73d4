"""Records of secondary analyses: name, computation, tables and their columns."""

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
    "VisitMotion",
]

SecondaryRow = Mapping[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class VisitMotion:
    """Head motion at each visit, and edges of the volumes with less and with more motion.

    Parameters
    ----------
    mean_fd_mm : ndarray, shape (n_participants, n_visits)
        Mean framewise displacement of baseline and follow-up and, in a crossover, of baseline and
        follow-up of the control condition, mm; NaN where unavailable.
    lone_fd_mm : ndarray, shape (n_baseline_only,)
        Mean framewise displacement of the participants with a baseline only, mm.
    low_change, high_change : ndarray, shape (n_participants, n_features), optional
        Change of the features, estimated at each visit from the half of the retained volumes with
        less, and with more motion; NaN for participants without series. None if no series are at
        hand.
    """

    mean_fd_mm: Floats
    lone_fd_mm: Floats
    low_change: Floats | None = None
    high_change: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SecondaryData:
    """Input data of the secondary analyses.

    Parameters
    ----------
    analysis : Analysis
        Analysis on which the verdict rests.
    visits : Visits
        Features at each visit, to which the analysis was fitted.
    rules : Rules
        Rules of the analysis, such as its number of permutations.
    participants : sequence of str
        Identifier of each participant with both visits, in the order of the rows of `visits`.
    networks : sequence of str
        Network of each region; an empty string for a region without a network.
    rng : numpy.random.Generator
        Source of random numbers; each analysis receives its own stream.
    levels : Levels, optional
        All visits of all participants, if the study has more than two visits.
    baseline_halves : tuple of two ndarray, shape (n_participants, n_features), optional
        Features of the first and the second half of the baseline runs; None if the regional
        series of a participant are not available.
    moderators : mapping of str to ndarray, shape (n_participants,)
        Moderators of the change that the study file names; NaN for participants without a value.
    motion : VisitMotion, optional
        Head motion at each visit.
    log_sd : ndarray, shape (n_participants, n_visits, n_regions), optional
        Natural logarithm of the standard deviation of each region's denoised series, at the visits
        of `VisitMotion.mean_fd_mm`; NaN where unavailable.
    treatment_first : ndarray, shape (n_participants,), optional
        In a crossover, 1 if the treatment came before the control condition, 0 if after it, and NaN
        if this is unknown.
    arousal : mapping of str to ndarray, shape (n_participants, n_visits)
        Measures of arousal at the visits of `VisitMotion.mean_fd_mm`; NaN where unavailable.
    """

    analysis: Analysis
    visits: Visits
    rules: Rules
    participants: Sequence[str]
    networks: Sequence[str]
    rng: np.random.Generator
    levels: Levels | None = None
    baseline_halves: tuple[Floats, Floats] | None = None
    moderators: Mapping[str, Floats] = field(default_factory=dict)
    motion: VisitMotion | None = None
    log_sd: Floats | None = None
    treatment_first: Floats | None = None
    arousal: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def features(self) -> FeatureSpace:
        """Feature space of the columns of `visits`."""
        return self.visits.features

    @property
    def circuits(self) -> Mapping[str, npt.NDArray[np.intp]]:
        """Positions of the features of each circuit, by its name."""
        return self.analysis.sample.circuits

    @property
    def with_deviation(self) -> bool:
        """Whether the deviation from the reference group is a regressor of the global model."""
        return "normalisation" in self.analysis.response.terms

    def baseline_of(self, columns: npt.ArrayLike) -> Floats | None:
        """Return the baseline of variables, for questions that adjust for it.

        Parameters
        ----------
        columns : array_like of int
            Positions among the global terms, followed by the circuits.

        Returns
        -------
        ndarray, shape (n_participants, n_variables), or None
            None if the verdict is not adjusted for the baseline.
        """
        levels = self.analysis.levels
        return None if levels is None else levels[:, np.asarray(columns, np.intp)]

    @property
    def question(self) -> Question:
        """The question of the verdict, with equal weights for all participants."""
        return replace(questions_of(self.visits)[0], weights=None)

    def tester(self) -> FamilyTest:
        """Return a test of families of variables that uses `question`, `rules` and `rng`."""
        n_reference = len(self.analysis.sample.reference)
        return FamilyTest(self.question, self.rules, self.rng, n_reference, unit=self.features.unit)


@dataclass(frozen=True, slots=True)
class SecondaryResult:
    """Results of one secondary analysis.

    Parameters
    ----------
    tables : mapping of str to sequence of mapping
        Rows of each of its tables, by the name of the table; tables that are not listed have no
        rows.
    estimates : sequence of Estimate
        Rows for ``tests.tsv``.
    edges : mapping of str to ndarray, shape (n_edges,)
        Columns for ``edges.tsv``.
    summary : mapping of str to object
        Entries for ``secondary`` in ``verdict.json``.
    finding : str
        One sentence for the report; empty if there is none.
    remarks : sequence of str
        Results that could not be computed, with the reason.
    """

    tables: Mapping[str, Sequence[SecondaryRow]] = field(default_factory=dict)
    estimates: Sequence[Estimate] = ()
    edges: Mapping[str, Floats] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    finding: str = ""
    remarks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SecondaryTable:
    """Description of a table that a secondary analysis writes.

    Parameters
    ----------
    name : str
        Name of the files ``group/<name>.tsv`` and ``group/<name>.json``.
    caption : str
        Content of the table, for its caption in the report and for the documentation.
    columns : mapping of str to str
        Description of each column, in the order of the table.
    circuit_columns : str
        Description of the further columns, one for each circuit; empty if there are none.
    shown : {"table", "figure", "file"}
        Whether the report shows it as a table among the secondary analyses, as a figure of another
        section, or not at all.
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
            Descriptions by the name of the column.
        """
        further = circuits if self.circuit_columns else ()
        return {**self.columns, **dict.fromkeys(further, self.circuit_columns)}


@dataclass(frozen=True, slots=True)
class SecondaryAnalysis:
    """A secondary analysis, which is descriptive and does not influence the verdict.

    Parameters
    ----------
    name : str
        Unique name, which also selects the stream of random numbers of the analysis.
    title : str
        Name in remarks and in the documentation.
    compute : callable
        Function that takes `SecondaryData` and returns a `SecondaryResult`. If it raises a
        `DesignError`, the message becomes a remark.
    tables : tuple of SecondaryTable
        Tables that it writes.
    families : tuple of str
        Families of the rows that it adds to ``tests.tsv``.
    """

    name: str
    title: str
    compute: Callable[[SecondaryData], SecondaryResult]
    tables: tuple[SecondaryTable, ...] = ()
    families: tuple[str, ...] = ()
