"""Comparison of each circuit with random circuits matched in shape, strength and length."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats, Ints
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.contrasts import Question
from circuitshift.pipeline.model.global_model import Response
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
    SecondaryTable,
)
from circuitshift.pipeline.stats.missing_values import blocks, column_mean

__all__ = [
    "RANDOM_CIRCUITS",
    "SpatialTest",
    "compare_with_random",
    "residual_map",
    "spatial_null",
]


@dataclass(frozen=True, slots=True)
class SpatialTest:
    """Comparison of one circuit with random circuits.

    Parameters
    ----------
    circuit : str
        Name of the circuit.
    value : float
        Mean of the map over the edges of the circuit.
    rank : float
        Share of random circuits whose mean is at least as far from 0; never 0. It is not a p value
        of the study, because noise that the regions of a network share affects a circuit but
        hardly a random set.
    n_random : int
        Number of random circuits.
    strength, strength_random, length_mm, length_random_mm : float
        Mean strength and length of the edges of the circuit and of the random circuits, which show
        how well they are matched.
    """

    circuit: str
    value: float
    rank: float
    n_random: int
    strength: float
    strength_random: float
    length_mm: float
    length_random_mm: float


def spatial_null(
    values: Floats,
    circuits: Mapping[str, Ints],
    *,
    n_regions: int,
    strength: Floats,
    length: Floats | None,
    rng: np.random.Generator,
    n_draws: int = 5000,
    n_matched: int = 500,
) -> list[SpatialTest]:
    """Compare each circuit with random circuits of the same shape.

    The regions of the circuit are replaced by random regions, so that a random circuit has the
    same number of edges with the same topology. Of `n_draws` random circuits, the `n_matched`
    nearest in mean strength and length (Mahalanobis distance over the draws) are used.

    Parameters
    ----------
    values : ndarray, shape (n_edges,)
        Group map, for example the mean residual change (beyond the global model), Fisher z; NaN
        where not available.
    circuits : mapping of str to ndarray of int
        Positions of the edges of each circuit, by its name.
    n_regions : int
        Number of regions.
    strength : ndarray, shape (n_edges,)
        Typical strength of each edge, Fisher z.
    length : ndarray, shape (n_edges,), or None
        Length of each edge, mm; None to match in strength only.
    rng : numpy.random.Generator
        Source of the random circuits.
    n_draws, n_matched : int
        Number of random circuits that are drawn, and of those that are used.

    Returns
    -------
    list of SpatialTest
        One for each circuit. Edges of the circuit itself never enter its null distribution.
    """
    first, second = np.triu_indices(n_regions, 1)
    out = []
    for name, positions in circuits.items():
        a, b = first[positions], second[positions]
        regions, place = np.unique(np.r_[a, b], return_inverse=True)
        drawn = np.argsort(rng.random((n_draws, n_regions)), axis=1)[:, : len(regions)]
        u, v = drawn[:, place[: len(a)]], drawn[:, place[len(a) :]]
        low, high = np.minimum(u, v), np.maximum(u, v)
        edges = low * (2 * n_regions - low - 1) // 2 + high - low - 1
        usable = np.isfinite(values)
        usable[positions] = False
        counted = usable[edges]
        enough = counted.sum(axis=1) * 2 > len(positions)
        edges, counted = edges[enough], counted[enough]
        features = [_mean(strength, edges, counted)]
        target = [float(np.nanmean(strength[positions]))]
        if length is not None:
            features.append(_mean(length, edges, counted))
            target.append(float(length[positions].mean()))
        table = np.array(features)
        chosen = np.argsort(_distance(table, np.array(target)), kind="stable")[:n_matched]
        null = _mean(values, edges[chosen], counted[chosen])
        available = positions[np.isfinite(values[positions])]
        value = float(values[available].mean()) if len(available) else float("nan")
        reached = int((np.abs(null) >= abs(value)).sum())
        nan = float("nan")
        out.append(
            SpatialTest(
                circuit=name,
                value=value,
                rank=(1 + reached) / (1 + len(null)) if len(available) and len(null) else nan,
                n_random=len(null),
                strength=target[0],
                strength_random=float(table[0, chosen].mean()) if len(null) else nan,
                length_mm=target[-1] if length is not None else nan,
                length_random_mm=float(table[-1, chosen].mean())
                if length is not None and len(null)
                else nan,
            )
        )
    return out


def _mean(values: Floats, edges: Ints, counted: npt.NDArray[np.bool_]) -> Floats:
    part = np.where(counted, np.nan_to_num(values)[edges], 0.0)
    return np.asarray(part.sum(axis=1) / np.maximum(counted.sum(axis=1), 1))


def _distance(features: Floats, target: Floats) -> Floats:
    gap = features - target[:, None]
    if features.shape[1] < 3:
        return np.asarray((gap**2).sum(axis=0))
    inverse = np.linalg.pinv(np.atleast_2d(np.cov(features)))
    return np.asarray(np.einsum("ik,ij,jk->k", gap, inverse, gap))


def residual_map(sample: CentredFeatures, response: Response, question: Question) -> Floats:
    """Compute the residual change by treatment (beyond the global model) of every edge.

    Parameters
    ----------
    sample : CentredFeatures
        Features of the study.
    response : Response
        Response of each participant. Its slopes predict the edges of that participant from
        regressors that are averaged over all participants.
    question : Question
        Contrast between participants.

    Returns
    -------
    ndarray, shape (n_edges,)
        Fisher z; NaN where an edge is missing in a participant of the question.
    """
    weights = np.zeros(len(question.interest))
    weights[question.asked] = question.contrast(question.asked).weights
    m, h = (
        column_mean(block.residual for block in part.blocks())
        for part in (sample.baseline, sample.strong)
    )
    columns = [m, h, np.zeros_like(m), np.zeros_like(m)]
    if len(sample.reference):
        columns[2] = column_mean(block.residual for block in sample.reference.blocks()) - m
    if sample.signal is not None:
        columns[3] = column_mean(block.residual for block in sample.signal.blocks())
    slopes = weights @ response.slopes
    predicted = np.nansum([s * c for s, c in zip(slopes, columns, strict=True)], axis=0)
    change = np.zeros_like(m)
    for block in blocks(len(weights)):
        asked = question.asked[block]
        change += weights[block][asked] @ sample.change[block].residual[asked]
    return np.asarray(change - predicted)


def compare_with_random(data: SecondaryData) -> SecondaryResult:
    """Compare the residual change of each circuit with that of random circuits.

    Parameters
    ----------
    data : SecondaryData

    Returns
    -------
    SecondaryResult
        One row per circuit.
    """
    sample, features = data.analysis.sample, data.features
    reason = features.reason_to_omit("random circuits")
    if reason:
        return SecondaryResult(remarks=(reason,))
    compared = spatial_null(
        residual_map(sample, data.analysis.response, data.question),
        sample.circuits,
        n_regions=features.n_regions,
        strength=np.nan_to_num(column_mean(data.visits.before)),
        length=features.known_length_mm,
        rng=data.rng,
    )
    return SecondaryResult(
        tables={"spatial": [asdict(row) for row in compared]},
        summary={"spatial_rank": {row.circuit: row.rank for row in compared}},
    )


RANDOM_CIRCUITS = SecondaryAnalysis(
    name="spatial",
    title="Random circuits",
    compute=compare_with_random,
    tables=(
        SecondaryTable(
            name="spatial",
            caption="Each circuit among random sets of edges of the same shape, matched in "
            "strength and length",
            columns={
                "circuit": "Circuit",
                "value": "Mean residual change (beyond the global model) of its edges, Fisher z",
                "rank": "Share of matched random circuits whose mean is at least as far from 0. It "
                "is not a p value of the study, because it does not include noise that the "
                "regions of a network share",
                "n_random": "Number of random circuits",
                "strength": "Mean baseline of its edges, Fisher z",
                "strength_random": "Mean baseline of the edges of the random circuits, Fisher z",
                "length_mm": "Mean length of its edges, mm",
                "length_random_mm": "Mean length of the edges of the random circuits, mm",
            },
        ),
    ),
)
