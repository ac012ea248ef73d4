"""Blocks in complete analyses: families, summary, and rival explanations."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.analyse import Analysis, analyse
from circuitshift.pipeline.model.contrasts import Rules, Visits
from circuitshift.pipeline.model.heterogeneity.block_variation import BlockVariation

N, R = 20, 50
FEATURES = FeatureSpace.of_edges(R)
FIRST, SECOND = FEATURES.ends
NETWORK = np.arange(R) // 10
NAMES = [f"net {k}" for k in NETWORK]
CIRCUITS = {
    "c": np.flatnonzero((FIRST < 10) & (SECOND < 10)),
    "d": np.flatnonzero((FIRST >= 10) & (FIRST < 14) & (SECOND >= 10) & (SECOND < 14)),
}
RULES = Rules(n_permutations=199)
TYPICAL = np.random.default_rng(9).normal(0.2, 0.2, FIRST.size)


def visits(change: np.ndarray, *, seed: int = 0, **more: object) -> Visits:
    rng = np.random.default_rng(seed)
    own = TYPICAL + rng.normal(0, 0.1, (N, FIRST.size))
    baseline = own + rng.normal(0, 0.1, own.shape)
    followup = own + rng.normal(0, 0.1, own.shape) + change
    return Visits(baseline, followup, FEATURES, **more)


def run(change: np.ndarray, *, networks: object = NAMES, **more: object) -> Analysis:
    rng = np.random.default_rng(1)
    return analyse(visits(change, **more), CIRCUITS, rng=rng, rules=RULES, networks=networks)


def rows(analysis: Analysis, family: str) -> dict:
    return {e.term: e for e in analysis.estimates if e.family == family}


@pytest.fixture(scope="module")
def nothing() -> Analysis:
    return run(np.zeros(FIRST.size))


@pytest.fixture(scope="module")
def uneven() -> Analysis:
    change = np.zeros(FIRST.size)
    change[(NETWORK[FIRST] == 3) & (NETWORK[SECOND] == 3)] = 0.15
    change[(NETWORK[FIRST] == 4) & (NETWORK[SECOND] == 4)] = -0.15
    return run(change)


def test_blocks_are_the_pairs_of_networks_outside_the_circuits(nothing: Analysis) -> None:
    blocks = rows(nothing, "blocks")
    assert len(blocks) == 14  # of 15 pairs, the first network is a circuit
    assert "net 1 \N{EN DASH} net 3" in blocks
    assert nothing.verdict.heterogeneity.n_blocks == 14
    assert nothing.verdict.heterogeneity.source == "pairs of networks of the atlas"


def test_the_omnibus_p_is_the_smallest_corrected_p_of_the_blocks(uneven: Analysis) -> None:
    found = uneven.verdict.heterogeneity
    assert found.p == min(e.p_corrected for e in rows(uneven, "blocks").values())
    assert found.p < 0.05
    assert found.ci_low <= found.tau <= found.ci_high
    assert found.tau == pytest.approx(0.15 * np.sqrt(2 / 14), rel=0.35)
    assert found.tau_reml == pytest.approx(found.tau, rel=0.35)


def test_blocks_of_a_restricted_background_keep_ten_features() -> None:
    """Four regions of the last network share none with the circuit: six edges, no block."""
    circuit = {"c": np.flatnonzero((FIRST >= 40) & (FIRST < 46) & (SECOND < 46))}
    rules = replace(RULES, background="disjoint")
    rng = np.random.default_rng(1)
    found = analyse(visits(0 * TYPICAL), circuit, rng=rng, rules=rules, networks=NAMES)
    assert len(found.sample.blocks) == 14
    assert "net 4" not in found.sample.blocks
    assert len(found.sample.blocks["net 3 \N{EN DASH} net 4"]) == 40


def test_a_participant_without_most_edges_does_not_stop_the_omnibus_test() -> None:
    change = np.where((NETWORK[FIRST] == 3) & (NETWORK[SECOND] == 3), 0.15, 0.0)
    complete = visits(change)
    complete.followup[3, 100:] = np.nan
    rng = np.random.default_rng(1)
    found = analyse(complete, CIRCUITS, rng=rng, rules=RULES, networks=NAMES)
    assert rows(found, "blocks")["net 3"].note == "missing in 1 participant"
    assert found.verdict.heterogeneity.n_blocks == 14
    assert found.verdict.heterogeneity.p < 0.02
    assert found.verdict.verdict == "widespread"
    assert not any("Heterogeneity over networks" in w for w in found.verdict.warnings)


def test_a_circuit_may_have_the_name_of_a_block() -> None:
    """The kind of the circuit is that of its own edges: here, those between two networks."""
    change = np.where((NETWORK[FIRST] == 3) & (NETWORK[SECOND] == 3), 0.3, 0.0)
    between = np.flatnonzero((NETWORK[FIRST] == 0) & (NETWORK[SECOND] == 1))
    change[between] = 0.15
    p = [
        analyse(
            visits(change),
            {name: between},
            rng=np.random.default_rng(1),
            rules=RULES,
            networks=NAMES,
        ).verdict.heterogeneity.p_among_peers[name]
        for name in ("between", "net 3")
    ]
    assert p[0] == p[1]


def test_unnamed_networks_are_widespread_and_named(uneven: Analysis) -> None:
    assert uneven.verdict.verdict == "widespread"
    assert "net 3 +0.1" in uneven.verdict.sentence
    assert "net 4 \N{MINUS SIGN}0.1" in uneven.verdict.sentence
    assert uneven.verdict.reason.startswith("blocks: net")


def test_nothing_is_not_widespread(nothing: Analysis) -> None:
    assert nothing.verdict.verdict in ("undetermined", "neither")
    assert nothing.verdict.heterogeneity.tau < 0.02


def test_circuits_are_tested_against_the_variation_over_blocks(uneven: Analysis) -> None:
    random, fixed = rows(uneven, "specific"), rows(uneven, "specific, from zero")
    for term, e in random.items():
        assert e.estimate == pytest.approx(fixed[term].estimate)
        assert e.se**2 > fixed[term].se ** 2 + 0.8 * uneven.verdict.heterogeneity.tau**2
        assert e.df < fixed[term].df + 1e-9 or e.df > 0
        assert "random effects over blocks" in e.method
        assert "random effects" not in fixed[term].method


def test_a_gain_holds_within_blocks() -> None:
    found = run(0.2 * TYPICAL)
    within = rows(found, "global, within blocks")["gain"]
    assert within.estimate == pytest.approx(0.2, abs=0.08)
    assert within.p < 0.05
    assert found.verdict.verdict == "global"
    assert found.verdict.not_claimed == ()


def test_a_gain_that_blocks_cannot_show_is_not_claimed() -> None:
    """The strength of edges differs between blocks only, like changes of whole networks."""
    amounts = np.random.default_rng(3).normal(0.3, 0.2, (5, 5))
    strength = amounts[NETWORK[FIRST], NETWORK[SECOND]]
    rng = np.random.default_rng(0)
    baseline, followup = strength + rng.normal(0, 0.1, (2, N, FIRST.size))
    study = Visits(baseline, followup + 0.3 * strength, FEATURES)
    found = analyse(study, CIRCUITS, rng=rng, rules=RULES, networks=NAMES)
    assert rows(found, "global")["gain"].p_corrected < 0.05
    within = rows(found, "global, within blocks")["gain"]
    assert np.isnan(within.p)
    assert within.note.startswith("typical values within blocks differ by no more than noise")
    assert "gain" in found.verdict.not_claimed


def test_without_blocks_circuits_are_compared_with_0_and_a_warning_states_it() -> None:
    small = FeatureSpace.of_edges(12)
    i, j = small.ends
    rng = np.random.default_rng(0)
    baseline = rng.normal(0.2, 0.2, i.size) + rng.normal(0, 0.1, (N, i.size))
    study = Visits(baseline, baseline + rng.normal(0, 0.1, baseline.shape), small)
    circuit = {"c": np.flatnonzero((i < 4) & (j < 4))}
    found = analyse(study, circuit, rng=np.random.default_rng(1), rules=RULES)
    assert found.verdict.heterogeneity.n_blocks == 0
    assert not rows(found, "blocks")
    assert not rows(found, "specific, from zero")
    assert any("Heterogeneity over networks was not tested" in w for w in found.verdict.warnings)


def test_a_change_of_a_circuits_regions_is_explained_by_them() -> None:
    change = np.where((FIRST < 10) | (SECOND < 10), -0.15, 0.0)
    change[CIRCUITS["c"]] = -0.3
    found = run(change)
    assert rows(found, "specific, from zero")["c"].p_corrected < 0.05
    part = rows(found, "specific, regional part")["c"]
    rest = rows(found, "specific, node-adjusted")["c"]
    assert part.estimate == pytest.approx(-0.3, abs=0.1)
    assert abs(rest.estimate) < 0.05


def test_measured_signal_quality_is_a_rival_explanation() -> None:
    rng = np.random.default_rng(5)
    quality = rng.normal(0, 0.05, (N, R))
    quality[:, :10] -= 0.2
    study = visits(np.zeros(FIRST.size))
    r = np.tanh(study.followup) * np.exp(quality[:, FIRST] + quality[:, SECOND])
    study = replace(study, followup=np.arctanh(np.clip(r, -0.99, 0.99)), signal_quality=quality)
    found = analyse(study, CIRCUITS, rng=rng, rules=RULES, networks=NAMES)
    total = rows(found, "specific, from zero")["c"].estimate
    rest = rows(found, "specific, quality rest")["c"].estimate
    assert total < -0.02
    assert abs(rest) < 0.4 * abs(total)


def test_quality_that_changed_nothing_predicts_no_change() -> None:
    """The interval contains the error of the common coefficient, here almost all of it."""
    quality = np.random.default_rng(5).normal(0, 0.05, (N, R))
    quality[:, :10] -= 0.2
    study = replace(visits(np.zeros(FIRST.size)), signal_quality=quality)
    rng = np.random.default_rng(1)
    found = analyse(study, CIRCUITS, rng=rng, rules=RULES, networks=NAMES)
    part = rows(found, "specific, quality part")["c"]
    assert part.ci_low <= 0 <= part.ci_high
    assert part.p > 0.05


def test_arms_are_compared_with_blocks_adjusted_for_their_baseline() -> None:
    treated = np.arange(N) < 10
    change = np.zeros((N, FIRST.size))
    change[np.ix_(treated, CIRCUITS["c"])] = 0.3
    found = run(change, treated=treated)
    row = rows(found, "specific")["c"]
    assert row.p_corrected < 0.05
    assert "adjusted for the baseline with random effects over blocks" in row.method
    assert found.verdict.verdict == "circuit-specific"


def test_the_variance_of_global_terms_contains_the_variation_over_blocks(
    uneven: Analysis,
) -> None:
    response = uneven.response
    tested = rows(uneven, "global")
    own = response.coefficients.var(axis=0, ddof=1) / N
    own += response.excess_variance(np.full(N, 1 / N))[: len(response.terms)]
    variation = BlockVariation.of(response)
    tau = uneven.verdict.heterogeneity.tau
    assert tau > 0.02
    for term, variance in zip(response.terms, own, strict=True):
        if term in tested:
            expected = variance + variation.multiple[term] * tau**2
            assert tested[term].se ** 2 == pytest.approx(expected)
            assert expected > 1.02 * variance


def test_circuits_are_compared_with_blocks_of_their_kind(uneven: Analysis) -> None:
    found = uneven.verdict.heterogeneity.p_among_peers
    assert set(found) == set(CIRCUITS)
    assert min(found.values()) > 0.2
    assert uneven.verdict.heterogeneity.level == pytest.approx(0.02)
