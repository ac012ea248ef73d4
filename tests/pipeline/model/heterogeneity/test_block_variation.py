from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.global_model import Response, global_response
from circuitshift.pipeline.model.heterogeneity.block_variation import BlockVariation
from circuitshift.pipeline.stats.linear_contrast import mean_contrast

N, R = 12, 40
FEATURES = FeatureSpace.of_edges(R)
FIRST, SECOND = FEATURES.ends
NETWORK = np.arange(R) // 8
CIRCUITS = {"c": np.flatnonzero((FIRST < 8) & (SECOND < 8)), "d": np.arange(300, 320)}


def fitted(n_networks: int = 5, *, missing: bool = False) -> Response:
    rng = np.random.default_rng(0)
    baseline = rng.normal(0.2, 0.2, FIRST.size) + rng.normal(0, 0.1, (N, FIRST.size))
    change = rng.normal(0, 0.1, (N, FIRST.size))
    blocks = {
        f"{a}{b}": np.flatnonzero((NETWORK[FIRST] == a) & (NETWORK[SECOND] == b))
        for a in range(n_networks)
        for b in range(a, n_networks)
    }
    if missing:
        change[0, blocks["34"]] = np.nan
    sample = CentredFeatures.from_values(
        change=change, baseline=baseline, circuits=CIRCUITS, features=FEATURES, blocks=blocks
    )
    return global_response(sample, with_deviation=False)


def test_the_global_model_keeps_a_part_of_the_variation_of_blocks():
    response = fitted()
    variation = BlockVariation.of(response)
    reach, k = response.reach, len(CIRCUITS)
    first = len(response.terms) + k
    assert variation.retained == pytest.approx((reach[:, first:] ** 2).sum(axis=0))
    assert 0.8 < variation.retained.mean() < 1
    for at, name in enumerate(CIRCUITS, len(response.terms)):
        assert variation.multiple[name] == pytest.approx(1 + (reach[:, at] ** 2).sum())
        assert variation.multiple[name] > 1
    for at, name in enumerate(response.terms):
        assert variation.multiple[name] == pytest.approx((reach[:, at] ** 2).sum())
        assert variation.multiple[name] > 0
    assert (variation.columns == first + np.arange(len(response.blocks))).all()


def options(response: Response, contrast) -> dict:
    extra = response.excess_variance(contrast.weights)
    terms = len(response.terms)
    return {
        "rng": np.random.default_rng(1),
        "n_permutations": 199,
        "excess_variance": extra[terms : terms + len(CIRCUITS)],
        "sides": None,
    }


def test_circuits_are_tested_with_the_blocks_of_the_available_participants():
    response = fitted(missing=True)
    variation = BlockVariation.of(response)
    everyone = np.ones(N, bool)
    contrast = mean_contrast(N)
    found = variation.test(
        response.specific, tuple(CIRCUITS), contrast, everyone, models=None,
        **options(response, contrast),
    )  # fmt: skip
    assert found.errors.retained.size == len(response.blocks) - 1  # one block is missing
    assert found.circuits.estimate == pytest.approx(response.specific.mean(axis=0))
    others = everyone.copy()
    others[0] = False
    fewer = mean_contrast(N - 1)
    weights = np.r_[0.0, fewer.weights]
    extra = response.excess_variance(weights)
    first = len(response.terms)
    found = variation.test(
        response.specific[others], tuple(CIRCUITS), fewer, others, models=None,
        **(options(response, contrast) | {"excess_variance": extra[first : first + 2]}),
    )  # fmt: skip
    assert found.errors.retained.size == len(response.blocks)


def test_blocks_are_adjusted_for_their_own_baseline():
    response = fitted()
    treated = np.arange(N) < 6
    contrast = mean_contrast(N, treated=treated)
    rng = np.random.default_rng(3)
    levels = rng.normal(size=response.block_values.shape)
    uneven = np.outer(treated, rng.normal(0, 0.2, levels.shape[1]))
    response = replace(response, block_values=response.block_values + uneven)
    own = contrast.with_own_columns(rng.normal(size=(N, len(CIRCUITS))))
    arguments = (response.specific, tuple(CIRCUITS), contrast, np.ones(N, bool))
    plain, adjusted = (
        BlockVariation.of(response, chosen).test(
            *arguments, models=own, **options(response, contrast)
        )
        for chosen in (None, levels)
    )
    assert adjusted.circuits.estimate == pytest.approx(plain.circuits.estimate)
    assert adjusted.tau2 != plain.tau2
    levels[:, 0] = 1.0  # a constant cannot be adjusted for
    constant = BlockVariation.of(response, levels).test(
        *arguments, models=own, **options(response, contrast)
    )
    assert np.isfinite(constant.circuits.se).all()


def test_few_blocks_give_no_variation():
    response = fitted(2)
    assert len(response.blocks) < 6
    assert BlockVariation.of(response) is None
