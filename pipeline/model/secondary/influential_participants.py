"""Influence of single participants on each result."""

from dataclasses import asdict

import numpy as np

from circuitshift.pipeline.arrays import Bools
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
    SecondaryTable,
)
from circuitshift.pipeline.stats.influence import influence
from circuitshift.pipeline.stats.permutation import Contrast

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
    secondary = data.rules.split(response.circuits)[1]
    names = [*response.terms, *response.circuits]
    values = np.hstack([response.coefficients, response.specific])
    rows = []
    for k, name in enumerate(names):
        asked = question.asked & np.isfinite(values[:, k])
        if name == "distance" or asked.sum() < _MIN_PARTICIPANTS:
            continue
        numbers = asdict(influence(values[asked, k], _contrast(data, asked, k)))
        row = int(np.flatnonzero(asked)[numbers.pop("person")])
        family = "global" if k < len(response.terms) else "specific"
        about = {
            "family": "secondary" if name in secondary else family,
            "term": name,
            "participant_id": data.participants[row],
        }
        rows.append(about | numbers)
    return SecondaryResult(tables={"influence": rows})


def _contrast(data: SecondaryData, asked: Bools, column: int) -> Contrast:
    """Return the contrast of the verdict, adjusted for the baseline if the verdict is."""
    contrast, levels = data.question.contrast(asked), data.analysis.levels
    if levels is None:
        return contrast
    try:
        return contrast.with_own_columns(levels[asked][:, [column]])[0]
    except DesignError:  # too few participants; the verdict compares changes in this case as well
        return contrast


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
