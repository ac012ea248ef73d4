"""Random circuits: what they may hold, and the rank among them."""

import numpy as np
import pytest

from circuitshift.pipeline.model.secondary.random_circuits import spatial_null


def test_random_circuits_hold_no_edge_of_the_circuit() -> None:
    """All change lies in the circuit: no set of other edges has any."""
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
        n_kept=200,
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
        n_kept=200,
    )[0]
    assert half.strength == 1
    assert half.strength_random == 0
