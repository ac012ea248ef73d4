"""Exploratory maps: equality with separate tests, error rates, and planted effects."""

import networkx as nx
import numpy as np
import pytest

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.contrasts import Visits, questions_of
from circuitshift.pipeline.model.secondary.edge_maps import change_maps
from circuitshift.pipeline.stats.permutation import mean_contrast, permutation_test

N_REGIONS = 20
NETWORKS = ["a"] * 7 + ["b"] * 8 + [""] * 5
FIRST, SECOND = np.triu_indices(N_REGIONS, 1)
EDGES = FeatureSpace.of_edges(N_REGIONS)


def question(change, **more):
    return questions_of(Visits(np.zeros_like(change), change, EDGES, **more))[0]


def maps(change, seed=0, n=300, **more):
    rng = np.random.default_rng(seed)
    asked = question(change, **more)
    return change_maps(
        change, asked, NETWORKS, features=EDGES, rng=rng, n_permutations=n, threshold=2.5
    )


def test_the_maps_of_one_loop_equal_separate_tests():
    change = np.random.default_rng(0).normal(0.2, 1, (18, FIRST.size))
    found = maps(change)
    region = np.array(
        [change[:, (k == FIRST) | (k == SECOND)].mean(axis=1) for k in range(N_REGIONS)]
    ).T
    member = np.array([{"a": 0, "b": 1, "": 9}[n] for n in NETWORKS])
    pair = np.sort([member[FIRST], member[SECOND]], axis=0)
    blocks = [((pair[0] == a) & (pair[1] == b)) for a, b in ((0, 0), (0, 1), (1, 1))]
    network = np.array([change[:, own].mean(axis=1) for own in blocks]).T
    assert found.network_pairs == (("a", "a"), ("a", "b"), ("b", "b"))
    for ours, y in ((found.edges, change), (found.regions, region), (found.networks, network)):
        alone = permutation_test(
            y, mean_contrast(18), rng=np.random.default_rng(0), n_permutations=300
        )
        np.testing.assert_allclose(ours.statistic, alone.statistic, rtol=1e-9)
        np.testing.assert_array_equal(ours.p, alone.p)
        np.testing.assert_array_equal(ours.p_corrected, alone.p_corrected)


def test_components_equal_networkx_and_their_p_a_loop():
    rng = np.random.default_rng(1)
    change = rng.normal(0, 1, (16, FIRST.size))
    change[:, (FIRST < 5) & (SECOND < 5)] += 1.0
    found = maps(change, n=199)
    flips = 1 - 2 * np.random.default_rng(0).integers(0, 2, (199, 16))

    def t_of(y):
        return y.mean(axis=0) / (y.std(axis=0, ddof=1) / 4)

    def sizes(t):
        graph = nx.Graph([(a, b) for a, b, v in zip(FIRST, SECOND, t, strict=True) if v > 2.5])
        return sorted(
            (graph.subgraph(c).number_of_edges() for c in nx.connected_components(graph)),
            reverse=True,
        )

    null = [
        max([*sizes(t_of(f[:, None] * change)), *sizes(-t_of(f[:, None] * change)), 0])
        for f in flips
    ]
    up = [c for c in found.components if c.direction == "increase"]
    assert sorted((c.extent for c in up), reverse=True) == sizes(t_of(change))
    for c in up:
        assert c.p_extent == pytest.approx((1 + np.sum(np.array(null) >= c.extent)) / 200)
    assert up[0].p_extent < 0.05
    assert set(up[0].edges) >= set(
        np.flatnonzero((FIRST < 5) & (SECOND < 5) & (t_of(change) > 2.5))
    )


def test_error_rates_of_all_maps():
    rng = np.random.default_rng(2)
    hits = np.zeros(5)
    n_studies = 160
    for _ in range(n_studies):
        regional = rng.normal(0, 0.5, (14, N_REGIONS))
        change = rng.normal(0, 1, (14, FIRST.size)) + regional[:, FIRST] + regional[:, SECOND]
        found = maps(change, seed=int(rng.integers(1e6)), n=99, treated=np.arange(14) < 7)
        smallest = [
            np.nanmin(found.edges.p_corrected),
            np.nanmin(found.regions.p_corrected),
            np.nanmin(found.networks.p_corrected),
            np.nanmin(found.tfnbs_p),
            min((c.p_extent for c in found.components), default=1.0),
        ]
        hits += np.array(smallest) <= 0.05
    assert (hits <= 17).all(), hits  # 99.9 % bound of a binomial with p = .05
    assert (hits >= 1).all(), hits


def test_a_missing_edge_is_not_tested_and_other_edges_are_unchanged():
    change = np.random.default_rng(3).normal(0.3, 1, (12, FIRST.size))
    missing = change.copy()
    missing[4, 10] = np.nan
    found, complete = maps(missing), maps(change)
    assert np.isnan(found.edges.p[10])
    assert np.isnan(found.tfnbs_p[10])
    assert found.n_edges_available == FIRST.size - 1
    keep = np.arange(FIRST.size) != 10
    np.testing.assert_allclose(found.edges.statistic[keep], complete.edges.statistic[keep])
    with pytest.raises(DesignError, match="too few for maps"):
        maps(np.full((12, FIRST.size), np.nan))


def test_a_planted_subnetwork_is_found_without_a_threshold():
    rng = np.random.default_rng(4)
    change = rng.normal(0, 1, (20, FIRST.size))
    planted = (FIRST < 6) & (SECOND < 6)
    change[:, planted] += 0.8
    found = maps(change)
    assert np.mean(found.tfnbs_p[planted] < 0.05) > 0.6
    assert np.mean(found.tfnbs_p[~planted] < 0.05) < 0.1
    np.testing.assert_array_equal(found.tfnbs_p, maps(change).tfnbs_p)


def test_maps_of_regions_have_no_graph():
    rng = np.random.default_rng(5)
    change = rng.normal(0, 0.1, (16, N_REGIONS))
    change[:, :7] += 0.15  # network a
    change[3, 18] = np.nan
    regions = FeatureSpace.of_regions(N_REGIONS, unit="mm")
    asked = questions_of(Visits(np.zeros_like(change), change, regions))[0]
    options = {"rng": np.random.default_rng(0), "n_permutations": 300}
    found = change_maps(change, asked, NETWORKS, features=regions, **options)
    assert found.omitted == (regions.reason_to_omit("network-based statistics"),)
    assert found.components == ()
    assert np.isnan(found.tfnbs_p).all()
    assert found.network_pairs == (("a", "a"), ("b", "b"))
    assert found.networks.p_corrected[0] < 0.05 < found.networks.p_corrected[1]
    assert found.regions is found.edges
    assert np.isnan(found.edges.p[18])
    alone = permutation_test(
        change[:, :18], mean_contrast(16), rng=np.random.default_rng(0), n_permutations=300
    )
    np.testing.assert_allclose(found.edges.estimate[:18], alone.estimate)
    np.testing.assert_allclose(found.edges.statistic[:18], alone.statistic)
    assert maps(np.random.default_rng(0).normal(size=(12, FIRST.size))).omitted == ()
    few = FeatureSpace.of_regions(19, unit="mm")
    with pytest.raises(DesignError, match="20 networks are given for 19 regions"):
        change_maps(change[:, :19], asked, NETWORKS, features=few, **options)
