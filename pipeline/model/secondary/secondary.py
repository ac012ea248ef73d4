"""The list of secondary analyses, and the function that runs them.

To add an analysis, write its record in a file of this folder and add it to `ANALYSES`. Its tables,
its position in the report and its line in the documentation follow from the record.
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
from circuitshift.pipeline.model.secondary.rivals.amplitude import AMPLITUDE
from circuitshift.pipeline.model.secondary.rivals.arousal import AROUSAL
from circuitshift.pipeline.model.secondary.rivals.baseline_selection import BASELINE_SELECTION
from circuitshift.pipeline.model.secondary.rivals.moderators import MODERATORS
from circuitshift.pipeline.model.secondary.rivals.motion import MOTION
from circuitshift.pipeline.model.secondary.rivals.order import ORDER
from circuitshift.pipeline.model.secondary.specification import SPECIFICATION
from circuitshift.pipeline.model.secondary.trajectories import TRAJECTORIES
from circuitshift.pipeline.model.verdict import Estimate
from circuitshift.pipeline.words import in_words

__all__ = ["ANALYSES", "SecondaryResults", "secondary_analyses", "secondary_tables"]

#: All secondary analyses, in the order of the report.
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
    MODERATORS,
    MOTION,
    AMPLITUDE,
    ORDER,
    BASELINE_SELECTION,
    AROUSAL,
)
#: Streams of random numbers of the earliest analyses, whose results must not change. Analyses with
#: the same number draw from one stream in turn. Each other analysis has its own stream.
_STREAMS = {"ranks": 0, "split_halves": 0, "spatial": 0, "maps": 1, "specification": 2}


@dataclass(frozen=True, slots=True)
class SecondaryResults:
    """Results of all secondary analyses of a study.

    Parameters
    ----------
    by_analysis : mapping of str to SecondaryResult
        Result of each analysis, by its name, in the order in which they were run.
    """

    by_analysis: Mapping[str, SecondaryResult]

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """Rows for ``tests.tsv``."""
        return tuple(e for result in self.by_analysis.values() for e in result.estimates)

    @property
    def edges(self) -> dict[str, Floats]:
        """Columns for ``edges.tsv``."""
        return {k: v for result in self.by_analysis.values() for k, v in result.edges.items()}

    @property
    def summary(self) -> dict[str, Any]:
        """Entries for ``verdict.json``, with the findings of all analyses in one list."""
        out = {k: v for result in self.by_analysis.values() for k, v in result.summary.items()}
        return out | {"findings": [f.finding for f in self.by_analysis.values() if f.finding]}

    @property
    def remarks(self) -> tuple[str, ...]:
        """Results that could not be computed, with the reasons."""
        return tuple(text for result in self.by_analysis.values() for text in result.remarks)


def secondary_analyses(
    data: SecondaryData, analyses: Sequence[SecondaryAnalysis] = ANALYSES
) -> SecondaryResults:
    """Run the secondary analyses, which are descriptive and do not influence the verdict.

    Parameters
    ----------
    data : SecondaryData
        Data of the study. The random streams of the analyses depend on the seed of its generator,
        not on its state.
    analyses : sequence of SecondaryAnalysis
        Analyses to run.

    Returns
    -------
    SecondaryResults
        Results by analysis. An analysis that the design does not allow has a remark only.
    """
    streams: dict[int, np.random.Generator] = {}
    out = {}
    for analysis in analyses:
        # the number depends on the name only, so adding an analysis does not change the others
        number = _STREAMS.get(analysis.name, 3 + zlib.crc32(analysis.name.encode()))
        if number not in streams:
            streams[number] = _stream(data.rng, number)
        try:
            found = analysis.compute(replace(data, rng=streams[number]))
        except DesignError as error:
            found = SecondaryResult(remarks=(f"{analysis.title}: {error}.",))
        remarks = tuple(map(in_words, found.remarks))
        out[analysis.name] = replace(found, finding=in_words(found.finding), remarks=remarks)
    return SecondaryResults(out)


def _stream(rng: np.random.Generator, number: int) -> np.random.Generator:
    """Return the stream ``rng.spawn(number + 1)[number]`` of an unused generator."""
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
        Analyses whose tables are returned.

    Returns
    -------
    tuple of SecondaryTable
        Descriptions of the tables.
    """
    return tuple(table for analysis in analyses for table in analysis.tables)
