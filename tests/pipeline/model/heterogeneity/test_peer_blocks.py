"""Circuits among blocks of their own kind: kinds, and the test against its formula."""

import numpy as np
import pytest
from scipy import stats

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.heterogeneity.peer_blocks import is_within_network, p_among_peers
from circuitshift.pipeline.model.heterogeneity.variance import BlockErrors, moment_tau

FEATURES = FeatureSpace.of_edges(6)
FIRST, SECOND = FEATURES.ends
NETWORKS = ["a", "a", "a", "b", "b", ""]


def test_the_kind_of_a_circuit_is_that_of_most_of_its_features() -> None:
    inside = np.flatnonzero((FIRST < 3) & (SECOND < 3))
    between = np.flatnonzero((FIRST < 3) & (SECOND > 2) & (SECOND < 5))
    unnamed = np.flatnonzero(SECOND == 5)
    assert is_within_network(inside, NETWORKS, FEATURES)
    assert is_within_network(np.r_[inside, between[:2]], NETWORKS, FEATURES)
    assert not is_within_network(between, NETWORKS, FEATURES)
    assert not is_within_network(unnamed, NETWORKS, FEATURES)
    assert not is_within_network(unnamed[:0], NETWORKS, FEATURES)
    regions = FeatureSpace.of_regions(list("abcdef"), unit="mm")
    assert is_within_network(np.array([0]), NETWORKS, regions)


def blocks(sd_within: float, n_within: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    within = np.arange(30) < n_within
    rng = np.random.default_rng(4)
    change = rng.normal(0, np.where(within, sd_within, 0.0)) + rng.normal(0, 0.01, 30)
    return change, np.full(30, 1e-4), within


def p_of(sd_within: float, n_within: int = 8) -> dict[str, float]:
    given = blocks(sd_within, n_within)
    errors = BlockErrors(np.eye(30), 29.0, np.ones(30))
    circuits = {"inner": (0.08, 0.01, 29.0), "outer": (0.08, 0.01, 29.0)}
    multiple = {"inner": 1.1, "outer": 1.1}
    within = {"inner": True, "outer": False}
    return p_among_peers(circuits, multiple, within, blocks=given, errors=errors)


def test_only_circuits_of_the_kind_that_varies_are_held_to_it() -> None:
    uneven, even = p_of(0.05), p_of(0.0)
    assert even["inner"] < 0.001
    assert even["outer"] < 0.001
    assert uneven["inner"] > 0.05
    assert uneven["outer"] < 0.001


def test_p_is_that_of_a_t_with_the_degrees_of_freedom_of_satterthwaite() -> None:
    change, variance, within = blocks(0.05)
    errors = BlockErrors(np.eye(8), 29.0, np.ones(8))
    tau = moment_tau(change[within], variance[within], errors)
    total = 1e-4 + 1.1 * tau.value
    df = total**2 / (1e-8 / 29 + 1.1**2 * tau.variance / 2)
    expected = 2 * 2 * stats.t.sf(0.08 / np.sqrt(total), df)
    assert p_of(0.05)["inner"] == pytest.approx(expected)


def test_all_blocks_are_used_if_there_are_few_of_a_kind() -> None:
    few = p_of(0.2, n_within=3)
    change, variance, _ = blocks(0.2, n_within=3)
    tau = moment_tau(change, variance, BlockErrors(np.eye(30), 29.0, np.ones(30)))
    total = 1e-4 + 1.1 * tau.value
    df = total**2 / (1e-8 / 29 + 1.1**2 * tau.variance / 2)
    assert few["inner"] == pytest.approx(2 * 2 * stats.t.sf(0.08 / np.sqrt(total), df))
    assert few["inner"] > few["outer"]


def test_circuits_that_were_not_tested_have_no_p() -> None:
    given = blocks(0.0)
    errors = BlockErrors(np.eye(30), 29.0, np.ones(30))
    found = p_among_peers(
        {"c": (float("nan"),) * 3}, {"c": 1.0}, {"c": True}, blocks=given, errors=errors
    )
    assert np.isnan(found["c"])
