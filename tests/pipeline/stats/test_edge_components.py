"""Components of edges: small examples, comparison with slow loops, and properties."""

import tempfile
from pathlib import Path

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.extra.numpy import arrays

from circuitshift.pipeline.stats.edge_components import (
    component_labels,
    component_sizes,
    largest_component,
    tfnbs,
)

# outside the checkout, because strict pytest fails on a .hypothesis folder in its root
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis-circuitshift")

# Four regions: edges 01 02 03 12 13 23.
TWO_PAIRS = [1.0, 0.0, 0.0, 0.0, 0.0, 2.0]
PATH = [3.0, 0.0, 0.0, 2.0, 0.0, 1.0]


def pairs(n_regions):
    return list(zip(*np.triu_indices(n_regions, 1), strict=True))


def slow_components(row, n_regions, threshold):
    """Return the positions of the edges of each component, from one edge at a time."""
    ends = pairs(n_regions)
    graph = networkx.Graph()
    for k, value in enumerate(row):
        if value > threshold:
            graph.add_edge(*ends[k], position=k)
    return [
        sorted(k for *_, k in graph.subgraph(nodes).edges(data="position"))
        for nodes in networkx.connected_components(graph)
    ]


def slow_tfnbs(row, n_regions, step, e, h):
    score = np.zeros(len(row))
    count = 1
    while (row > count * step).any():
        threshold = count * step
        for component in slow_components(row, n_regions, threshold):
            for k in component:
                score[k] += len(component) ** e * threshold**h * step
        count += 1
    return score


def block(rng, n_rows, n_regions, weak=0):
    """Draw statistics; the edges of the first `weak` regions are small."""
    statistic = rng.normal(size=(n_rows, n_regions * (n_regions - 1) // 2))
    a, _ = np.triu_indices(n_regions, 1)
    statistic[:, a < weak] *= 0.2
    return statistic


def rows_of(n_regions, elements):
    n_edges = n_regions * (n_regions - 1) // 2
    return arrays(float, st.tuples(st.integers(1, 4), st.just(n_edges)), elements=elements)


# With eighths, all thresholds with a step of a quarter are exact, and ties are common.
EIGHTHS = st.one_of(st.just(float("nan")), st.integers(-8, 24).map(lambda k: k / 8))
BLOCKS = st.integers(2, 8).flatmap(lambda n: st.tuples(st.just(n), rows_of(n, EIGHTHS)))


# Small examples


def test_labels_by_hand():
    above = np.array([TWO_PAIRS, PATH, [0] * 6, [0, 0, 1, 0, 0, 0]]) > 0
    assert component_labels(above, 4).tolist() == [
        [0, -1, -1, -1, -1, 1],
        [0, -1, -1, 0, -1, 0],
        [-1] * 6,
        [-1, -1, 0, -1, -1, -1],
    ]


def test_labels_are_ordered_by_size_then_first_edge():
    ends = pairs(9)
    above = np.zeros((1, len(ends)), bool)
    for edge in [(0, 1), (2, 3), (4, 5), (5, 6), (4, 6), (7, 8)]:
        above[0, ends.index(edge)] = True
    labels = component_labels(above, 9)[0]
    assert {
        edge: labels[ends.index(edge)] for edge in [(4, 5), (5, 6), (0, 1), (2, 3), (7, 8)]
    } == {
        (4, 5): 0,
        (5, 6): 0,
        (0, 1): 1,
        (2, 3): 2,
        (7, 8): 3,
    }


def test_largest_component_by_hand():
    statistic = np.array([TWO_PAIRS, PATH, [0.0] * 6, [np.nan] * 6])
    assert largest_component(statistic, 4, threshold=0.5).tolist() == [1, 3, 0, 0]
    intensity = largest_component(statistic, 4, threshold=0.5, by="intensity")
    assert intensity.tolist() == [1.5, 4.5, 0, 0]
    # values equal to the threshold are not above it
    assert largest_component(statistic, 4, threshold=1.0).tolist() == [1, 2, 0, 0]


def test_the_largest_component_by_intensity_may_have_fewer_edges():
    ends = pairs(5)
    statistic = np.zeros((1, len(ends)))
    for edge, value in {(0, 1): 1.5, (1, 2): 1.5, (3, 4): 5.0}.items():
        statistic[0, ends.index(edge)] = value
    assert largest_component(statistic, 5, threshold=1.0).tolist() == [2]
    assert largest_component(statistic, 5, threshold=1.0, by="intensity").tolist() == [4]
    labels = component_labels(statistic > 1, 5)[0]
    assert component_sizes(labels, statistic[0], threshold=1.0).tolist() == [2, 1]
    sizes = component_sizes(labels, statistic[0], threshold=1.0, by="intensity")
    assert sizes.tolist() == [1, 4]


def test_tfnbs_by_hand():
    # path 0-1-2-3 of 3, 2, 1: at h = 0.5 three edges, at 1 and 1.5 two, at 2 and 2.5 one
    score = tfnbs(np.array([PATH]), 4, step=0.5, extent_power=1, height_power=2)[0]
    low, middle = 3 * 0.25, 2 * (1 + 2.25)
    expected = np.array([low + middle + 4 + 6.25, 0, 0, low + middle, 0, low]) * 0.5
    np.testing.assert_allclose(score, expected, rtol=1e-14)


def test_tfnbs_without_powers_counts_thresholds():
    score = tfnbs(np.array([PATH]), 4, step=0.5, extent_power=0, height_power=0)
    np.testing.assert_allclose(score, [[2.5, 0, 0, 1.5, 0, 0.5]])


def test_defaults_of_tfnbs():
    statistic = block(np.random.default_rng(0), 2, 6)
    explicit = tfnbs(statistic, 6, step=0.2, extent_power=0.4, height_power=3.0)
    np.testing.assert_array_equal(tfnbs(statistic, 6, step=0.2), explicit)


# Comparison with slow, independent computations


@settings(database=None, deadline=None)
@given(BLOCKS, st.sampled_from([-0.5, 0.0, 0.75, 2.0]))
def test_components_equal_networkx(example, threshold):
    n_regions, statistic = example
    labels = component_labels(statistic > threshold, n_regions)
    extent = largest_component(statistic, n_regions, threshold=threshold)
    intensity = largest_component(statistic, n_regions, threshold=threshold, by="intensity")
    for r, row in enumerate(statistic):
        slow = slow_components(row, n_regions, threshold)
        slow.sort(key=lambda edges: (-len(edges), edges[0]))
        expected = np.full(len(row), -1)
        for k, edges in enumerate(slow):
            expected[edges] = k
        assert labels[r].tolist() == expected.tolist()
        sums = [sum(row[k] - threshold for k in edges) for edges in slow]
        assert extent[r] == max(map(len, slow), default=0)
        assert intensity[r] == max(sums, default=0)
        sizes = component_sizes(labels[r], row, threshold=threshold)
        assert sizes.tolist() == [len(edges) for edges in slow]
        sizes = component_sizes(labels[r], row, threshold=threshold, by="intensity")
        assert sizes.tolist() == sums


@settings(database=None, deadline=None)
@given(BLOCKS, st.sampled_from([(0.4, 3.0), (1.0, 0.0), (0.5, 2.0)]))
def test_tfnbs_equals_one_threshold_at_a_time(example, powers):
    n_regions, statistic = example
    e, h = powers
    score = tfnbs(statistic, n_regions, step=0.25, extent_power=e, height_power=h)
    slow = [slow_tfnbs(row, n_regions, 0.25, e, h) for row in statistic]
    np.testing.assert_allclose(score, slow, rtol=1e-12)


@pytest.mark.parametrize("weak", [0, 1, 5, 24])
def test_tfnbs_of_larger_graphs(weak):
    """Weak regions are connected only by edges far below the highest ones."""
    statistic = np.abs(block(np.random.default_rng(weak), 5, 24, weak=weak))
    statistic[1, 30:60] = np.nan
    statistic[2, :200] = 0
    statistic[3] = 0
    slow = [slow_tfnbs(row, 24, 0.11, 0.4, 3.0) for row in statistic]
    np.testing.assert_allclose(tfnbs(statistic, 24, step=0.11), slow, rtol=1e-12)


@pytest.mark.parametrize("by", ["extent", "intensity"])
def test_larger_graphs_equal_networkx(by):
    statistic = block(np.random.default_rng(3), 40, 40)
    found = largest_component(statistic, 40, threshold=2.0, by=by)
    for row, size in zip(statistic, found, strict=True):
        parts = slow_components(row, 40, 2.0)
        sizes = [len(p) if by == "extent" else (row[p] - 2.0).sum() for p in parts]
        assert size == pytest.approx(max(sizes))


# Properties


@settings(database=None, deadline=None)
@given(BLOCKS, st.data(), st.sampled_from(["extent", "intensity"]))
def test_an_additional_edge_never_reduces_the_largest_component(example, data, by):
    n_regions, statistic = example
    before = largest_component(statistic, n_regions, threshold=0.5, by=by)
    edge = data.draw(st.integers(0, statistic.shape[1] - 1))
    statistic[:, edge] = np.fmax(statistic[:, edge], 0.625)
    assert (largest_component(statistic, n_regions, threshold=0.5, by=by) >= before).all()


@settings(database=None, deadline=None)
@given(BLOCKS, st.data())
def test_a_larger_statistic_never_lowers_a_score(example, data):
    n_regions, statistic = example
    before = tfnbs(statistic, n_regions, step=0.25)
    edge = data.draw(st.integers(0, statistic.shape[1] - 1))
    statistic[:, edge] = np.fmax(statistic[:, edge], 2.0)
    assert (tfnbs(statistic, n_regions, step=0.25) >= before * (1 - 1e-12)).all()


@settings(database=None, deadline=None)
@given(BLOCKS, st.randoms(use_true_random=False))
def test_the_order_of_regions_has_no_effect(example, random):
    n_regions, statistic = example
    new = list(range(n_regions))
    random.shuffle(new)
    position = {pair: k for k, pair in enumerate(pairs(n_regions))}
    moved = [position[tuple(sorted((new[a], new[b])))] for a, b in pairs(n_regions)]
    other = np.empty_like(statistic)
    other[:, moved] = statistic
    score = tfnbs(statistic, n_regions, step=0.25)
    np.testing.assert_allclose(tfnbs(other, n_regions, step=0.25)[:, moved], score, rtol=1e-12)
    for by in ("extent", "intensity"):
        np.testing.assert_array_equal(
            largest_component(other, n_regions, threshold=0.5, by=by),
            largest_component(statistic, n_regions, threshold=0.5, by=by),
        )


@settings(database=None, deadline=None)
@given(BLOCKS)
def test_nan_is_below_all_thresholds(example):
    n_regions, statistic = example
    filled = np.nan_to_num(statistic, nan=-1.0)
    np.testing.assert_array_equal(
        tfnbs(statistic, n_regions, step=0.25), tfnbs(filled, n_regions, step=0.25)
    )
    np.testing.assert_array_equal(
        largest_component(statistic, n_regions, threshold=0.0),
        largest_component(filled, n_regions, threshold=0.0),
    )


def test_rows_are_independent():
    statistic = block(np.random.default_rng(5), 6, 15, weak=3)
    statistic[4] *= 3  # more thresholds than in the other rows
    together = tfnbs(statistic, 15, step=0.1)
    alone = np.vstack([tfnbs(row[None], 15, step=0.1) for row in statistic])
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    labels = component_labels(statistic > 1, 15)
    alone = np.vstack([component_labels(row[None] > 1, 15) for row in statistic])
    np.testing.assert_array_equal(labels, alone)


def test_single_precision_is_enough():
    statistic = block(np.random.default_rng(6), 3, 12)
    single = statistic.astype(np.float32)
    np.testing.assert_allclose(
        tfnbs(single, 12, step=0.1), tfnbs(statistic, 12, step=0.1), rtol=1e-6
    )
    found = largest_component(single, 12, threshold=1.0, by="intensity")
    assert found.dtype == np.float64
    expected = largest_component(statistic, 12, threshold=1.0, by="intensity")
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_input_is_not_modified():
    statistic = block(np.random.default_rng(7), 3, 12)
    before = statistic.copy()
    tfnbs(statistic, 12, step=0.1)
    largest_component(statistic, 12, threshold=1.0, by="intensity")
    np.testing.assert_array_equal(statistic, before)


# Empty and invalid input


@pytest.mark.parametrize(("n_rows", "n_regions"), [(3, 5), (0, 5), (2, 1), (2, 2)])
def test_an_empty_graph(n_rows, n_regions):
    statistic = np.zeros((n_rows, n_regions * (n_regions - 1) // 2))
    for by in ("extent", "intensity"):
        sizes = largest_component(statistic, n_regions, threshold=0.0, by=by)
        assert sizes.tolist() == [0] * n_rows
    assert (component_labels(statistic > 0, n_regions) == -1).all()
    score = tfnbs(statistic, n_regions, step=0.1)
    assert score.shape == statistic.shape
    assert not score.any()
    labels = np.full(statistic.shape[1], -1)
    assert component_sizes(labels, np.zeros(len(labels)), threshold=0.0).tolist() == []


def test_a_wrong_number_of_edges_is_refused():
    with pytest.raises(ValueError, match="5 regions need rows of 10 edges"):
        largest_component(np.zeros((2, 9)), 5, threshold=1.0)
    with pytest.raises(ValueError, match="5 regions need rows of 10 edges"):
        component_labels(np.zeros(10, bool), 5)


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan")])
def test_a_step_must_be_positive(step):
    with pytest.raises(ValueError, match="above 0"):
        tfnbs(np.ones((1, 10)), 5, step=step)


@pytest.mark.parametrize(("top", "step"), [(float("inf"), 0.1), (1.0, 1e-12)])
def test_too_many_thresholds_are_refused(top, step):
    with pytest.raises(ValueError, match="too many thresholds"):
        tfnbs(np.full((1, 10), top), 5, step=step)
