"""Random circuits have the shape of the circuit and match its strength and length."""

import numpy as np
import pytest

from circuitshift.pipeline.model.secondary.random_circuits import spatial_null


def square(n, n_regions=60):
    i, j = np.triu_indices(n_regions, 1)
    return np.flatnonzero((i < n) & (j < n)), i, j


def test_a_planted_circuit_has_a_small_rank_and_a_random_one_has_not():
    rng = np.random.default_rng(5)
    circuit, i, _ = square(8)
    strength = rng.normal(size=i.size)
    strength[circuit] += 0.5
    length = rng.uniform(10, 100, i.size)
    p = []
    for seed in range(120):
        values = np.random.default_rng(seed).normal(size=i.size)
        found = spatial_null(
            values,
            {"c": circuit},
            n_regions=60,
            strength=strength,
            length=length,
            rng=np.random.default_rng(seed),
            n_draws=600,
            n_matched=100,
        )[0]
        p.append(found.rank)
    assert 0.005 <= np.mean(np.array(p) <= 0.05) <= 0.11
    assert abs(found.strength_random - found.strength) < 0.4
    assert abs(found.length_random_mm - found.length_mm) < 6
    values[circuit] += 1.0
    planted = spatial_null(
        values, {"c": circuit}, n_regions=60, strength=strength, length=None, rng=rng
    )[0]
    assert planted.rank == pytest.approx(1 / 501)
    assert planted.n_random == 500


def test_random_circuits_have_the_shape_of_the_circuit():
    """A star is compared with stars only, whose mean depends on their central region."""
    i, j = np.triu_indices(20, 1)
    star = np.flatnonzero((i == 0) & (j < 6))
    values = np.where((i == 7) | (j == 7), 1.0, 0.0)
    found = spatial_null(
        values,
        {"star": star},
        n_regions=20,
        strength=np.zeros(i.size),
        length=None,
        rng=np.random.default_rng(0),
        n_draws=2000,
        n_matched=2000,
    )[0]
    assert found.value == 0
    assert found.rank == 1


def test_random_circuits_contain_no_edge_of_the_circuit() -> None:
    """All change lies in the circuit, so the mean of other edges is zero."""
    n = 9
    i, j = np.triu_indices(n, 1)
    circuit = np.flatnonzero(j < 5)
    values = np.zeros(i.size)
    values[circuit] = 1.0
    found = spatial_null(
        values,
        {"c": circuit},
        n_regions=n,
        strength=np.zeros(i.size),
        length=None,
        rng=np.random.default_rng(0),
        n_draws=3000,
        n_matched=200,
    )[0]
    assert found.value == 1
    assert found.n_random == 200
    # sets that shared most regions with the circuit would reach a part of its mean
    assert found.rank == pytest.approx(1 / 201)
    half = spatial_null(
        values / 2 + 0.5,
        {"c": circuit},
        n_regions=n,
        strength=values,
        length=None,
        rng=np.random.default_rng(0),
        n_draws=3000,
        n_matched=200,
    )[0]
    assert half.strength == 1
    assert half.strength_random == 0
