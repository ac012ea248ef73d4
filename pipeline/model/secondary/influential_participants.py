"""Influence of single participants on each result."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
    SecondaryTable,
)
from circuitshift.pipeline.stats.influence import influence

__all__ = ["INFLUENCE", "influence_on_tests"]

_MIN_PARTICIPANTS = 6  # with fewer, too few remain to fit when one is omitted


def influence_on_tests(data: SecondaryData) -> SecondaryResult:
    """Repeat each test of the verdict without each participant in turn.

    Parameters
    ----------
    data : SecondaryData

    Returns
    -------
    SecondaryResult
        One row per global term and circuit that is available in at least six participants.
    """
    response, question = data.analysis.response, data.question
    families: Sequence[tuple[str, Sequence[str], Floats]] = (
        ("global", response.terms, response.coefficients),
        ("specific", response.circuits, response.specific),
    )
    rows = []
    for family, names, values in families:
        for k, name in enumerate(names):
            asked = question.asked & np.isfinite(values[:, k])
            if name == "distance" or asked.sum() < _MIN_PARTICIPANTS:
                continue
            numbers = asdict(influence(values[asked, k], question.contrast(asked)))
            row = int(np.flatnonzero(asked)[numbers.pop("person")])
            participant = data.participants[row]
            about = {"family": family, "term": name, "participant_id": participant}
            rows.append(about | numbers)
    return SecondaryResult(tables={"influence": rows})


INFLUENCE = SecondaryAnalysis(
    name="influence",
    title="Influence of each participant",
    compute=influence_on_tests,
    tables=(
        SecondaryTable(
            name="influence",
            caption="The participant without whom each result changes most",
            columns={
                "family": "Family of the test",
                "term": "Global term or circuit",
                "participant_id": "The participant without whom the estimate changes most",
                "estimate": "Least-squares estimate with all participants",
                "without": "Estimate without that participant",
                "p": "Parametric p with all participants, for comparison",
                "p_without": "Parametric p without that participant",
                "largest_p_without": "Largest parametric p when each participant is left out in "
                "turn",
            },
        ),
    ),
)
