"""The invented brain: its networks, circuits and the deviation of patients."""

import numpy as np
import pytest

from circuitshift.pipeline.validation.outside.world import CIRCUITS, NETWORKS, invented_world


@pytest.fixture(scope="module")
def world():
    return invented_world(np.random.default_rng(1), {"dmn": 0.1})


def test_circuits_are_the_edges_of_their_networks(world):
    sizes = {name: len(positions) for name, positions in world.circuits.items()}
    default, positive = NETWORKS["Default"], NETWORKS["DorsAttn"] + NETWORKS["Cont"]
    assert tuple(sizes) == CIRCUITS
    assert sizes["dmn"] == default * (default - 1) // 2
    assert sizes["tpn"] == positive * (positive - 1) // 2
    assert sizes["dmn_tpn"] == default * positive
    assert sizes["dlpfc_amygdala"] == 4 * 2
    i, j = world.ends
    inside = world.circuits["dmn"]
    assert set(i[inside]) | set(j[inside]) == set(world.core)
    assert all(world.features.regions[k].startswith("Default") for k in world.core)


def test_unnamed_networks_are_in_no_circuit(world):
    assert [world.names[k] for k in world.unnamed()[:2]] == ["Visual", "SomMot"]
    taken = np.unique(np.concatenate(list(world.circuits.values())))
    i, j = world.ends
    for network in world.unnamed():
        regions = np.flatnonzero(world.network == network)
        assert not np.isin(i[taken], regions).any()
        assert not np.isin(j[taken], regions).any()


def test_each_pair_of_networks_has_a_number_of_its_own(world):
    i, j = (world.network[end] for end in world.ends)
    pairs = {frozenset(pair) for pair in zip(i.tolist(), j.tolist(), strict=True)}
    assert len(np.unique(world.pairs)) == len(pairs)


def test_patients_deviate_and_noise_is_left_in_every_region(world):
    loadings = world.loadings
    both = np.hstack([loadings.healthy, loadings.patients])
    assert (both**2).sum(axis=1).max() < 0.85
    assert world.hierarchy[world.core].mean() > 0.9


def test_the_same_seed_gives_the_same_brain(world):
    again = invented_world(np.random.default_rng(1), {})
    np.testing.assert_array_equal(again.loadings.healthy, world.loadings.healthy)
    np.testing.assert_array_equal(again.loadings.patients, world.loadings.patients)
