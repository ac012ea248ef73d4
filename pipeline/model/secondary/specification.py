"""Specification curve: the tests of the verdict with other backgrounds and without covariates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.analyse import analyse
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
    SecondaryRow,
    SecondaryTable,
)
from circuitshift.pipeline.records import Background

__all__ = ["SPECIFICATION", "specification_curve"]

_N_PERMUTATIONS = 1000  # sufficient for p near .05; tests.tsv holds the p values of the verdict


def specification_curve(data: SecondaryData) -> SecondaryResult:
    """Repeat the analysis with each background, with and without covariates.

    Results under other denoising strategies are rows of ``tests.tsv``, with all permutations.

    Parameters
    ----------
    data : SecondaryData

    Returns
    -------
    SecondaryResult
        One row per specification and term of the verdict.

    Notes
    -----
    Simonsohn, Simmons & Nelson 2020, doi:10.1038/s41562-020-0912-z.
    """
    out: list[dict[str, object]] = []
    visits = data.visits
    has_nuisance = visits.covariates is not None or visits.motion_mm is not None
    bare = replace(visits, covariates=None, motion_mm=None)
    covariate_choices = [("with", visits), ("without", bare)] if has_nuisance else [("none", bare)]
    n_permutations = min(data.rules.n_permutations, _N_PERMUTATIONS)
    for background in get_args(Background):
        for covariates, chosen in covariate_choices:
            rules = replace(data.rules, background=background, n_permutations=n_permutations)
            choice = {"background": background, "covariates": covariates}
            try:
                analysis = analyse(
                    chosen, data.circuits, rng=data.rng, rules=rules, networks=data.networks
                )
            except DesignError as error:
                empty = {"family": None, "term": None, "estimate": None, "p_corrected": None}
                out.append({**choice, **empty, "verdict": f"could not be analysed: {error}"})
                continue
            out += [
                {
                    **choice,
                    "family": e.family,
                    "term": e.term,
                    "estimate": e.estimate,
                    "p_corrected": e.p_corrected,
                    "verdict": analysis.verdict.verdict,
                }
                for e in analysis.estimates
                if e.family in ("global", "specific")
            ]
    return SecondaryResult(
        tables={"specification": out}, summary={"specification": _verdict_counts(out)}
    )


def _verdict_counts(rows: Sequence[SecondaryRow]) -> dict[str, int]:
    by_choice = {(row["background"], row["covariates"]): str(row["verdict"]) for row in rows}
    verdicts = list(by_choice.values())
    return {name: verdicts.count(name) for name in sorted(set(verdicts))}


SPECIFICATION = SecondaryAnalysis(
    name="specification",
    title="Specification curve",
    compute=specification_curve,
    tables=(
        SecondaryTable(
            name="specification",
            caption="The question of the verdict with other backgrounds, and without covariates",
            columns={
                "background": "Edges to which the global model is fitted",
                "covariates": "Whether covariates of the study file and motion were regressed out",
                "family": "global or specific",
                "term": "Global term or circuit",
                "estimate": "Estimate",
                "p_corrected": "Permutation p, family-wise",
                "verdict": "Verdict of this specification",
            },
        ),
    ),
)
