"""The secondary analyses of a study: the list of them, and how they are run.

To add one, write its record in a file of this folder and name it in `ANALYSES`. Its tables, its
place in the report and its line in the documentation follow from the record.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.secondary.circuit_reliability import CIRCUIT_RELIABILITY
from circuitshift.pipeline.model.secondary.closed_share import CIRCUIT_SHARES, SPLIT_HALVES
from circuitshift.pipeline.model.secondary.edge_maps import CHANGE_MAPS
from circuitshift.pipeline.model.secondary.influential_participants import INFLUENCE
from circuitshift.pipeline.model.secondary.model_comparison import MODEL_COMPARISON
from circuitshift.pipeline.model.secondary.random_circuits import RANDOM_CIRCUITS
from circuitshift.pipeline.model.secondary.ranks import RANKS
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
    SecondaryTable,
)
from circuitshift.pipeline.model.secondary.specification import SPECIFICATION
from circuitshift.pipeline.model.secondary.trajectories import TRAJECTORIES
from circuitshift.pipeline.model.verdict import Estimate

__all__ = ["ANALYSES", "SecondaryResults", "secondary_analyses", "secondary_tables"]

#: Every secondary analysis, in the order of the report.
ANALYSES: tuple[SecondaryAnalysis, ...] = (
    RANKS,
    SPLIT_HALVES,
    TRAJECTORIES,
    CIRCUIT_SHARES,
    MODEL_COMPARISON,
    CIRCUIT_RELIABILITY,
    INFLUENCE,
    RANDOM_CIRCUITS,
    CHANGE_MAPS,
    SPECIFICATION,
)
#: Streams of random numbers of the first analyses, whose results must not change. Analyses with
#: the same number draw from one stream in turn. All others have a stream of their own.
_STREAMS = {"ranks": 0, "split_halves": 0, "spatial": 0, "maps": 1, "specification": 2}


@dataclass(frozen=True, slots=True)
class SecondaryResults:
    """What all secondary analyses of a study found.

    Parameters
    ----------
    by_analysis : mapping of str to SecondaryResult
        The result of each analysis, by its name, in the order in which they ran.
    """

    by_analysis: Mapping[str, SecondaryResult]

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """Rows for ``tests.tsv``."""
        return tuple(e for found in self.by_analysis.values() for e in found.estimates)

    @property
    def edges(self) -> dict[str, Floats]:
        """Columns for ``edges.tsv``."""
        return {k: v for found in self.by_analysis.values() for k, v in found.edges.items()}

    @property
    def summary(self) -> dict[str, Any]:
        """What ``verdict.json`` holds of them, with their findings in one list."""
        out = {k: v for found in self.by_analysis.values() for k, v in found.summary.items()}
        return out | {"findings": [f.finding for f in self.by_analysis.values() if f.finding]}

    @property
    def remarks(self) -> tuple[str, ...]:
        """What could not be computed, and why."""
        return tuple(text for found in self.by_analysis.values() for text in found.remarks)


def secondary_analyses(
    data: SecondaryData, analyses: Sequence[SecondaryAnalysis] = ANALYSES
) -> SecondaryResults:
    """Run secondary analyses, which describe the data and do not influence the verdict.

    Parameters
    ----------
    data : SecondaryData
        The streams of the analyses follow from the seed of its generator, not from its state.
    analyses : sequence of SecondaryAnalysis
        Those to run.

    Returns
    -------
    SecondaryResults
        An analysis that the design does not allow leaves a remark.
    """
    streams: dict[int, np.random.Generator] = {}
    out = {}
    for analysis in analyses:
        # numbered after the names: an analysis that is added or removed changes no other
        number = _STREAMS.get(analysis.name, 3 + zlib.crc32(analysis.name.encode()))
        if number not in streams:
            streams[number] = _stream(data.rng, number)
        try:
            out[analysis.name] = analysis.compute(replace(data, rng=streams[number]))
        except DesignError as error:
            out[analysis.name] = SecondaryResult(remarks=(f"{analysis.title}: {error}.",))
    return SecondaryResults(out)


def _stream(rng: np.random.Generator, number: int) -> np.random.Generator:
    """Spawn the stream of a number; the same as ``rng.spawn(number + 1)[number]`` at first use."""
    parent = cast("np.random.SeedSequence", rng.bit_generator.seed_seq)
    child = np.random.SeedSequence(parent.entropy, spawn_key=(*parent.spawn_key, number))
    return np.random.default_rng(child)


def secondary_tables(
    analyses: Sequence[SecondaryAnalysis] = ANALYSES,
) -> tuple[SecondaryTable, ...]:
    """Return the tables of secondary analyses, in the order of the report.

    Parameters
    ----------
    analyses : sequence of SecondaryAnalysis

    Returns
    -------
    tuple of SecondaryTable
    """
    return tuple(table for analysis in analyses for table in analysis.tables)
