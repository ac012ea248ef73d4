"""The functions of the benchmark that compares circuitshift with other methods."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent / "benchmarks"
N_REGIONS = 12
FIRST, SECOND = np.triu_indices(N_REGIONS, 1)


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def other():
    return load("other_methods")


@pytest.fixture(scope="module")
def bench(other):  # noqa: ARG001 - imported by the benchmark
    return load("bench_methods")


def study(other, rng, *, effect=0.0, n=20, treated=None):
    circuits = {"first": np.flatnonzero(SECOND < 5), "second": np.flatnonzero(FIRST >= 8)}
    own = rng.normal(size=(n, N_REGIONS))
    values = 0.5 * (own[:, FIRST] + own[:, SECOND]) + rng.normal(size=(n, len(FIRST)))
    who = np.ones(n, bool) if treated is None else treated
    values[np.ix_(who, circuits["first"])] += effect
    return other.Changes(values, treated, np.repeat(np.arange(3), 4), circuits)


@pytest.mark.parametrize("arms", [1, 2])
def test_t_is_that_of_scipy(other, arms):
    from scipy import stats

    rng = np.random.default_rng(1)
    treated = None if arms == 1 else np.arange(20) < 8
    drawn = study(other, rng, treated=treated)
    labels = other.relabel(drawn, 5, rng)
    t = other.t_maps(drawn, labels)
    x = drawn.values
    for label, row in zip(labels, t, strict=True):
        if arms == 1:
            expected = stats.ttest_1samp(label[:, None] * x, 0.0).statistic
        else:
            expected = stats.ttest_ind(x[label == 1], x[label == 0], equal_var=False).statistic
        np.testing.assert_allclose(row, expected)
    assert not np.array_equal(labels[0], labels[1])


def test_parts_of_edges_are_orthogonal_and_complete(other):
    values = np.random.default_rng(2).normal(size=(3, len(FIRST)))
    parts = other.decompose(values)
    np.testing.assert_allclose(parts.sum(axis=0), values)
    products = np.einsum("pne,qne->npq", parts, parts)
    off_diagonal = products[:, ~np.eye(3, dtype=bool)]
    np.testing.assert_allclose(off_diagonal, 0, atol=1e-10)
    own = np.arange(N_REGIONS) - 5.5
    regional = own[FIRST] + own[SECOND]
    np.testing.assert_allclose(other.decompose(regional)[1], regional, atol=1e-10)


def test_partial_pooling_is_the_posterior_of_its_covariances(other):
    """The posterior by inversion of complete covariance matrices."""
    rng = np.random.default_rng(3)
    drawn = study(other, rng, effect=1.0)
    own = rng.normal(0, 0.7, N_REGIONS)
    drawn.values[:] += own[FIRST] + own[SECOND] + 0.5
    pooled = other.pool(drawn)
    assert (pooled.kept > 0).all()
    z = np.zeros((len(FIRST), N_REGIONS))
    z[np.arange(len(FIRST)), FIRST] = z[np.arange(len(FIRST)), SECOND] = 1.0
    spaces = other.decompose(np.eye(len(FIRST)))  # projections on the three parts
    noise = np.einsum("p,pef->ef", pooled.noise, spaces)
    ratio = pooled.kept[1:] / (1 - pooled.kept[1:]) * pooled.noise[1:]
    # z z' has the eigenvalue n_regions - 2 on effects of regions, beside the identity
    regional = (ratio[0] - ratio[1]) / (N_REGIONS - 2)
    prior = 1e7 + regional * z @ z.T + ratio[1] * np.eye(len(FIRST))
    gain = prior @ np.linalg.inv(prior + noise)
    mean, sd = pooled.edges()
    np.testing.assert_allclose(mean, gain @ drawn.values.mean(axis=0), rtol=1e-4, atol=1e-5)
    posterior = noise - noise @ np.linalg.inv(prior + noise) @ noise
    np.testing.assert_allclose(np.diag(posterior), sd**2, rtol=1e-4)
    weights = rng.normal(size=len(FIRST))
    estimate, error = pooled.contrast(weights)
    np.testing.assert_allclose(estimate, weights @ mean)
    np.testing.assert_allclose(error**2, weights @ posterior @ weights, rtol=1e-4)


def test_enrichment_is_the_largest_deviation_of_the_running_sum(other):
    t = np.array([4.0, 3.0, 1.0, -1.0, -2.0])
    member = np.array([[True, True, False, False, False], [False, True, False, False, True]])
    by_hand = []
    for row in member:
        inside = outside = 0.0
        steps = []
        for value, is_in in zip(t, row, strict=True):
            inside += abs(value) * is_in / np.abs(t[row]).sum()
            outside += (not is_in) / 3
            steps.append(inside - outside)
        by_hand.append(max(steps, key=abs))
    np.testing.assert_allclose(other.enrichment_score(t, member), by_hand)
    assert by_hand[0] == pytest.approx(1.0)


def test_strong_circuits_are_claimed_by_methods_of_circuits(other):
    rng = np.random.default_rng(4)
    drawn = study(other, rng, effect=0.8, n=60)
    t = other.t_maps(drawn, other.relabel(drawn, 199, rng))
    claims = {
        "participants": other.enrichment_of_participants(drawn, t),
        "labels": other.enrichment_of_labels(drawn, t[0], 199, rng),
        "pooling": other.partial_pooling(drawn)["partial pooling, circuits"],
    }
    for name, claimed in claims.items():
        assert claimed.circuits.get("first") == 1, name
        assert claimed.is_relative
        assert len(claimed.units) == len(claimed.circuits)


def test_edges_of_permuted_ols_and_of_two_arms(other):
    rng = np.random.default_rng(5)
    treated = np.arange(20) < 10
    drawn = study(other, rng, effect=-4.0, treated=treated)
    claimed = other.edges_by_permuted_ols(drawn, 99, rng)
    edges = {int(unit[0]) for unit, sign in claimed.units if sign == -1}
    assert len(edges & set(drawn.circuits["first"].tolist())) >= 8
    pooled = other.partial_pooling(drawn)["partial pooling, edges"]
    assert {sign for unit, sign in pooled.units if unit[0] in edges} == {-1}


def test_network_based_scores_find_the_component(other):
    pytest.importorskip("tfnbs", reason="the extra bench is not installed")
    rng = np.random.default_rng(6)
    drawn = study(other, rng, effect=3.0)
    t = other.t_maps(drawn, other.relabel(drawn, 99, rng))
    claims = other.network_based(drawn, t)
    for name, claimed in claims.items():
        marked = np.unique(np.concatenate([unit for unit, sign in claimed.units if sign == 1]))
        assert np.isin(drawn.circuits["first"], marked).mean() > 0.5, name


def test_components_are_connected_and_pairs_are_named_once(other):
    drawn = study(other, np.random.default_rng(7))
    edges = np.flatnonzero(((FIRST == 0) & (SECOND <= 2)) | ((FIRST == 6) & (SECOND == 7)))
    groups = other._components(drawn, edges)
    assert sorted(len(group) for group in groups) == [1, 2]
    assert len(np.unique(other._pairs(drawn))) == 6


def test_judgement_of_claims(bench, other):
    from circuitshift.pipeline.validation.outside.rows import rows_of

    circuits = {"dmn": np.arange(4), "tpn": np.arange(4, 8)}
    planted = np.zeros(40)
    planted[:4] = -0.1
    row = rows_of(1)["specific, strong circuit"]
    true = bench.judge(other.Claimed(((np.arange(3), -1),)), planted, row, circuits)
    assert true == {"found": 1.0, "false": 0.0, "specific": 0.0, "outside": 0.0}
    spread = bench.judge(other.Claimed(((np.arange(1, 7), -1),)), planted, row, circuits)
    assert spread == {"found": 1.0, "false": 0.0, "specific": 1.0, "outside": 0.5}
    opposite = bench.judge(other.Claimed(((np.arange(4), 1),)), planted, row, circuits)
    assert opposite == {"found": 0.0, "false": 1.0, "specific": 1.0, "outside": 1.0}
    units = ((circuits["tpn"], 1),)
    relative = other.Claimed(units, is_relative=True, circuits={"tpn": 1})
    found = bench.judge(relative, planted, row, circuits)
    assert found == {"found": 0.0, "false": 1.0, "specific": 1.0, "outside": None}
    few = bench.judge(other.Claimed(((np.arange(4, 6), -1),)), planted, row, circuits)
    assert few == {"found": 0.0, "false": 1.0, "specific": 0.0, "outside": 1.0}
    shift = rows_of(1)["shift"]
    whole = bench.judge(other.Claimed(((np.arange(40), 1),)), planted + 0.2, shift, circuits)
    assert whole == {"found": 1.0, "false": 0.0, "specific": 0.0, "outside": 0.0}


def test_the_recorder_keeps_the_planted_change(bench):
    from circuitshift.pipeline.validation.outside.effects import Gain, Untreated

    recorder = bench.Recorder(Gain(0.5))
    z = np.array([[0.2, 0.4], [0.4, 0.0]])
    np.testing.assert_allclose(recorder(Untreated(z, None, None)), 1.5 * z)
    np.testing.assert_allclose(recorder.planted, [0.15, 0.1])


def test_tables_average_over_studies_and_omit_measures_without_values(bench):
    one = {"found": None, "false": 1.0, "specific": 0.0, "outside": None}
    text = bench.tables({"nothing": {"NBS": [one, one | {"false": 0.0, "outside": 0.25}]}})
    assert text.startswith("Studies per truth: 2\n")
    assert text.count("| NBS |") == 3
    assert "| NBS | 0.50 |" in text
    assert "| NBS | 0.25 |" in text
