"""Share of the deviation from the reference group that treatment closed, by circuit."""

from dataclasses import asdict

import numpy as np

from circuitshift.pipeline.model.families import Labels
from circuitshift.pipeline.model.normalisation import circuit_shares, split_half_share
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
    SecondaryTable,
)
from circuitshift.pipeline.stats.missing_values import circuit_means

__all__ = ["CIRCUIT_SHARES", "SPLIT_HALVES", "shares_of_circuits", "split_half_test"]

_SPLIT_HALVES = "normalisation, split-half instrument"


def split_half_test(data: SecondaryData) -> SecondaryResult:
    """Test the share of the deviation closed throughout the brain with split halves.

    Parameters
    ----------
    data : SecondaryData

    Returns
    -------
    SecondaryResult
        One estimate; none if the deviation from the reference group is not identified.

    Raises
    ------
    DesignError
        If there are too few participants for halves.
    """
    analysis = data.analysis
    if not analysis.deviation.identified:
        return SecondaryResult()
    share = split_half_share(analysis.sample, data.rng)
    labels = Labels(
        _SPLIT_HALVES,
        ("normalisation",),
        (_SPLIT_HALVES,),
        ("share of the deviation closed",),
        (np.nan,),
        sided=False,
    )
    return SecondaryResult(estimates=data.tester().family(labels, share[:, None]))


def shares_of_circuits(data: SecondaryData) -> SecondaryResult:
    """Estimate the share of each circuit's deviation that treatment closed.

    Parameters
    ----------
    data : SecondaryData

    Returns
    -------
    SecondaryResult
        One row per circuit; no rows without a reference group.
    """
    visits = data.visits
    if visits.reference is None or not len(visits.reference):
        return SecondaryResult()
    before = visits.before
    if visits.baseline_only is not None:
        before = np.vstack([before, visits.baseline_only])
    change, pool, healthy = (
        dict(zip(data.circuits, circuit_means(z, data.circuits).T, strict=True))
        for z in (visits.change, before, visits.reference)
    )
    question = data.question
    shares = circuit_shares(change, pool, healthy, question.contrast(question.asked))
    rows = [asdict(row) for row in shares]
    summarised = ("share", "ci_low", "ci_high", "identified", "remark")
    summary = {row["circuit"]: {name: row[name] for name in summarised} for row in rows}
    return SecondaryResult(
        tables={"normalisation": rows}, summary={"normalisation_by_circuit": summary}
    )


SPLIT_HALVES = SecondaryAnalysis(
    name="split_halves",
    title="Share closed throughout the brain, by split halves",
    compute=split_half_test,
    families=(_SPLIT_HALVES,),
)
CIRCUIT_SHARES = SecondaryAnalysis(
    name="normalisation",
    title="Share closed by each circuit",
    compute=shares_of_circuits,
    tables=(
        SecondaryTable(
            name="normalisation",
            caption="Share of each circuit's deviation from the reference group that was closed",
            columns={
                "circuit": "Circuit",
                "change_z": "Change by treatment of its mean edge, Fisher z",
                "deviation_z": "Reference minus patients at baseline, Fisher z",
                "deviation_se": "Standard error of the deviation",
                "share": "Share of the deviation closed; n/a when withheld",
                "ci_low": "Lower end of the 95 % Fieller interval, with the uncertainty of the "
                "reference group",
                "ci_high": "Upper end of the 95 % Fieller interval",
                "identified": "Whether the deviation is reliable (p < .01)",
                "remark": "Why the share is withheld, or that the circuit changed beyond the "
                "reference group",
            },
        ),
    ),
)
