import numpy as np
import pytest

from circuitshift.pipeline.edges import edge_ends
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.heterogeneity.network_blocks import (
    MIN_BLOCK_FEATURES,
    cluster_regions,
    network_blocks,
)

N = 60
NETWORKS = [f"net {k}" for k in np.arange(N) // 10]
EDGES = FeatureSpace.of_edges(N)


def connectivity(groups: np.ndarray, noise: float = 0.02) -> np.ndarray:
    i, j = edge_ends(N)
    rng = np.random.default_rng(0)
    level = rng.normal(0, 0.2, (groups.max() + 1,) * 2)
    level = level + level.T + np.diag(np.full(len(level), 0.6))
    return level[groups[i], groups[j]] + rng.normal(0, noise, i.size)


def test_blocks_are_the_pairs_of_networks_of_the_background():
    background = np.ones(EDGES.n_features, bool)
    i, j = EDGES.ends
    background[(i < 10) & (j < 10)] = False  # a circuit: all edges within the first network
    found = network_blocks(NETWORKS, background, EDGES, np.zeros(EDGES.n_features))
    assert len(found.positions) == 6 * 7 // 2 - 1
    assert "net 0" not in found.positions
    assert len(found.positions["net 1"]) == 45
    pair = found.positions["net 0 \N{EN DASH} net 3"]
    assert len(pair) == 100
    assert (i[pair] < 10).all()
    assert (j[pair] // 10 == 3).all()
    together = np.concatenate(list(found.positions.values()))
    assert len(np.unique(together)) == len(together) == background.sum()
    assert found.source == "pairs of networks of the atlas"


def test_small_blocks_and_regions_without_a_network_are_omitted():
    networks = list(NETWORKS)
    networks[0] = ""
    networks[1:5] = ["tiny"] * 4  # six edges within, and 5 with the rest of net 0
    background = np.ones(EDGES.n_features, bool)
    found = network_blocks(networks, background, EDGES, np.zeros(EDGES.n_features)).positions
    assert "tiny" not in found
    assert min(map(len, found.values())) >= MIN_BLOCK_FEATURES
    i = EDGES.ends[0]
    assert not any((i[positions] == 0).any() for positions in found.values())


def test_an_atlas_without_networks_is_clustered():
    groups = np.arange(N) % 5
    background = np.ones(EDGES.n_features, bool)
    found = network_blocks(None, background, EDGES, connectivity(groups))
    assert "clusters" in found.source
    again = network_blocks([""] * N, background, EDGES, connectivity(groups))
    assert found.positions.keys() == again.positions.keys()
    assert all((found.positions[k] == again.positions[k]).all() for k in found.positions)


def test_clusters_recover_networks_and_do_not_depend_on_the_order_of_regions():
    groups = np.arange(N) // 12
    z = connectivity(groups)
    z[3] = np.nan
    names = cluster_regions(z, EDGES, n_clusters=5)
    assert len(set(names)) == 5
    for g in range(5):
        assert len({names[k] for k in np.flatnonzero(groups == g)}) == 1


def test_regions_without_edges_belong_to_no_cluster():
    z = connectivity(np.arange(N) // 12)
    i, j = EDGES.ends
    z[(i == 0) | (j == 0)] = np.nan
    names = cluster_regions(z, EDGES)
    assert names[0] == ""
    assert all(names[1:])
    assert cluster_regions(np.full(EDGES.n_features, np.nan), EDGES) == ("",) * N


def test_networks_of_regions_are_blocks():
    features = FeatureSpace.of_regions(70, unit="mm")
    networks = [f"net {k % 7}" for k in range(70)]
    background = np.ones(70, bool)
    found = network_blocks(networks, background, features, np.zeros(70))
    assert len(found.positions) == 7
    assert found.source == "networks of the atlas"
    none = network_blocks(networks[:35] * 2, background & False, features, np.zeros(70))
    assert not none.positions
    assert "fewer than 6" in none.source


@pytest.mark.parametrize("n", [8, 12])
def test_a_small_atlas_has_no_blocks_and_a_reason(n):
    features = FeatureSpace.of_edges(n)
    rng = np.random.default_rng(0)
    background = np.ones(features.n_features, bool)
    found = network_blocks(None, background, features, rng.normal(size=features.n_features))
    assert not found.positions
    assert "fewer than 6 pairs" in found.source
