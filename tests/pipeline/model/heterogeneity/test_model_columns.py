import numpy as np
import pytest

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.global_model import Response, global_response
from circuitshift.pipeline.model.heterogeneity.model_columns import (
    block_reach,
    columns_of_others,
    pooled_columns,
    reach_of,
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
    assert pooled_columns(sample, response)[at] == pytest.approx(np.nanmean(z, axis=0))
    has_signal = "global_signal" in response.terms
    assert len(rows[0]) == len(sample.basis) + 2 + response.curvature + has_signal


def test_reach_is_the_residual_of_a_least_squares_fit():
    rng = np.random.default_rng(1)
    columns = np.vstack([np.ones(FIRST.size), rng.normal(size=(2, FIRST.size))])
    background = np.ones(FIRST.size, bool)
    background[CIRCUITS["c"]] = False
    blocks = {k: v for k, v in BLOCKS.items() if len(v)}
    variables = [CIRCUITS["c"], *blocks.values()]
    found = reach_of(columns, background, blocks, variables)
    for row, positions in enumerate(blocks.values()):
        y = np.zeros(FIRST.size)
        y[positions] = 1.0
        beta = np.linalg.lstsq(columns[:, background].T, y[background], rcond=None)[0]
        rest = y - beta @ columns
        assert found[row] == pytest.approx([rest[part].mean() for part in variables])


def test_the_fitted_model_leaves_what_the_reach_says():
    """A change of one block, put through the fit of the model, leaves the computed residuals."""
    sample, response = study()
    reach = block_reach(sample, response)
    assert reach.shape == (len(sample.blocks), 1 + len(sample.blocks))
    baseline, reference = sample.baseline.values, sample.reference.values
    for row, positions in list(enumerate(sample.blocks.values()))[:3]:
        change = np.zeros((N, FIRST.size))
        change[:, positions] = 1.0
        moved = CentredFeatures.from_values(
            change=change,
            baseline=baseline,
            circuits=CIRCUITS,
            features=FEATURES,
            reference=reference,
            blocks=sample.blocks,
        )
        fitted = global_response(moved, with_deviation=True)
        found = np.hstack([fitted.specific, fitted.block_values]).mean(axis=0)
        # the fit uses moments without noise, and the reach those of the averaged columns
        assert found == pytest.approx(reach[row], abs=0.05)


def test_unknown_features_are_left_out():
    columns = np.ones((1, FIRST.size))
    columns[0, :4] = np.nan
    blocks = {"a": np.arange(20), "b": np.arange(20, 40)}
    found = reach_of(columns, np.ones(FIRST.size, bool), blocks, list(blocks.values()))
    assert np.isfinite(found).all()
    assert found[0, 0] > 0.9
