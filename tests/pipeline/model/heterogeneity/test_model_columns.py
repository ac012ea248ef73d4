import numpy as np
import pytest

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.global_model import Response, global_response
from circuitshift.pipeline.model.heterogeneity.model_columns import (
    columns_of_others,
)

N, R = 10, 30
FEATURES = FeatureSpace.of_edges(R, centres_mm=np.random.default_rng(9).uniform(-60, 60, (R, 3)))
FIRST, SECOND = FEATURES.ends
CIRCUITS = {"c": np.flatnonzero((FIRST < 8) & (SECOND < 8))}
NETWORK = np.arange(R) // 6
BLOCKS = {
    f"{a}-{b}": np.flatnonzero(
        (NETWORK[FIRST] == a) & (NETWORK[SECOND] == b) & ~((FIRST < 8) & (SECOND < 8))
    )
    for a in range(5)
    for b in range(a, 5)
}


def study(*, missing: bool = False) -> tuple[CentredFeatures, Response]:
    rng = np.random.default_rng(0)
    typical = rng.normal(0.2, 0.2, FIRST.size)
    baseline = typical + rng.normal(0, 0.1, (N, FIRST.size))
    reference = typical + rng.normal(0, 0.05, FIRST.size) + rng.normal(0, 0.1, (N, FIRST.size))
    change = rng.normal(0, 0.1, (N, FIRST.size))
    if missing:
        baseline[2, 5], change[2, 5] = np.nan, np.nan
    sample = CentredFeatures.from_values(
        change=change,
        baseline=baseline,
        circuits=CIRCUITS,
        features=FEATURES,
        reference=reference,
        blocks={k: v for k, v in BLOCKS.items() if len(v)},
    )
    return sample, global_response(sample, with_deviation=True)


def test_the_columns_of_a_participant_exclude_that_participant():
    sample, response = study(missing=True)
    z = sample.baseline[slice(None)].residual
    rows = {i: columns for columns, i in columns_of_others(sample, response)}
    assert sorted(rows) == list(range(N))
    at = len(sample.fixed)
    for i in (0, 2):
        assert rows[i][at] == pytest.approx(np.nanmean(np.delete(z, i, axis=0), axis=0))
        healthy = sample.reference[slice(None)].residual.mean(axis=0)
        assert rows[i][-1] == pytest.approx(healthy - rows[i][at])
    has_signal = "global_signal" in response.terms
    assert len(rows[0]) == len(sample.basis) + 2 + response.curvature + has_signal
