"""The tests of the verdict on ranks, which are robust against extreme values."""

from dataclasses import replace

import numpy as np

from circuitshift.pipeline.model.families import Labels
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
)
from circuitshift.pipeline.model.verdict import Estimate

__all__ = ["RANKS", "rank_tests"]


def rank_tests(data: SecondaryData) -> SecondaryResult:
    """Repeat the tests of the verdict on normal scores of ranks.

    Parameters
    ----------
    data : SecondaryData

    Returns
    -------
    SecondaryResult
        Estimates of the families ``ranks: global`` and ``ranks: specific``.
    """
    response = data.analysis.response
    removed = data.visits.global_signal_removed
    tester = replace(data.tester(), ranks=True)
    terms = tuple(name for name in response.terms if name != "distance" and not removed)
    primary = data.rules.split(response.circuits)[0]
    values = np.hstack([response.coefficients, response.specific])
    levels = data.analysis.levels
    out: list[Estimate] = []
    for family, names, start, columns in (
        ("ranks: global", terms, 0, response.terms),
        ("ranks: specific", primary, len(response.terms), response.circuits),
    ):
        if names:
            at = [start + columns.index(name) for name in names]
            k = len(names)
            tests = tuple(f"{name}, by ranks" for name in names)
            labels = Labels(family, names, tests, ("normal scores",) * k, (np.nan,) * k)
            out += tester.family(
                replace(labels, sided="specific" in family),
                values[:, at],
                baseline=None if levels is None else levels[:, at],
            )
    return SecondaryResult(estimates=out)


RANKS = SecondaryAnalysis(
    name="ranks",
    title="Tests of the verdict on ranks",
    compute=rank_tests,
    families=("ranks: global", "ranks: specific"),
)
