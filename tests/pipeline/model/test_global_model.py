"""The global model: comparison with slow loops, exact recovery without noise, and error rates."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.edges import fisher_z
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.analyse import Rules, Visits, analyse
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.global_model import (
    Response,
    baseline_levels,
    global_response,
    level_response,
    term_unit,
)
from circuitshift.pipeline.validation.simulate.edges import (
    EdgeSpec,
    EdgeStudy,
    Truth,
    simulate_edges,
)

NO_SIGNAL = {"global_signal": "compared with a model of three terms"}
SMALL = EdgeSpec(n_regions=40, n_circuit=8, n_treated=12, n_reference=10)


def sample_of(study: EdgeStudy, **more: object) -> CentredFeatures:
    return CentredFeatures.from_values(
        change=study.followup - study.baseline,
        baseline=study.baseline,
        circuits={"c": study.circuit},
        reference=study.reference,
        features=study.features,
        **more,
    )


def signal_effect(z: np.ndarray) -> np.ndarray:
    """Return the effect of a larger global signal, with loops over regions."""
    n = (1 + int(np.sqrt(1 + 8 * z.size))) // 2
    r = np.eye(n)
    pairs = [(u, v) for u in range(n) for v in range(u + 1, n)]
    for (u, v), value in zip(pairs, z, strict=True):
        r[u, v] = r[v, u] = np.tanh(value)
    total = max(r.sum(), n)  # at least that of independent regions
    rho = [r[u].sum() / np.sqrt(total) for u in range(n)]
    return np.array(
        [
            (2 * rho[u] * rho[v] - r[u, v] * (rho[u] ** 2 + rho[v] ** 2)) / (1 - r[u, v] ** 2)
            for u, v in pairs
        ]
    )


@pytest.fixture(scope="module")
def study() -> EdgeStudy:
    return simulate_edges(Truth(shift=0.1, gain=0.1), SMALL, np.random.default_rng(0))


def test_moments_equal_a_loop_over_pairs_of_different_people() -> None:
    """Slow loop over all pairs j != k."""
    spec = replace(SMALL, n_treated=24)
    study = simulate_edges(Truth(shift=0.1, gain=0.1), spec, np.random.default_rng(0))
    sample = sample_of(study)
    response = global_response(sample, with_deviation=True)
    background = sample.background
    length = study.features.length_mm
    fixed = np.vstack([np.ones(background.size), length - length[background].mean()])

    def clear(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        beta = np.linalg.lstsq(fixed[:, background].T, z[background], rcond=None)[0]
        return z - beta @ fixed, beta

    i = 3
    change, change_fixed = clear(study.followup[i] - study.baseline[i])
    others = [clear(z)[0][background] for k, z in enumerate(study.baseline) if k != i]
    healthy = [clear(z)[0][background] for z in study.reference]
    signals = [
        clear(signal_effect(z))[0][background] for k, z in enumerate(study.baseline) if k != i
    ]
    pairs = [(a, b) for a in range(len(others)) for b in range(len(others)) if a != b]
    mm = np.mean([others[a] @ others[b] for a, b in pairs])
    ww = np.mean([signals[a] @ signals[b] for a, b in pairs])
    mw = np.mean([others[a] @ signals[b] for a, b in pairs])
    rw = np.mean([x @ y for x in signals for y in healthy])
    rr = np.mean([x @ y for a, x in enumerate(healthy) for b, y in enumerate(healthy) if a != b])
    mr = np.mean([x @ y for x in others for y in healthy])
    dm, dd, dw = mr - mm, rr - 2 * mr + mm, rw - mw
    moments = np.array([[mm, dm, mw], [dm, dd, dw], [mw, dw, ww]])
    m, r, w = (np.mean(rows, axis=0) for rows in (others, healthy, signals))
    rhs = np.array([m, r - m, w]) @ change[background]
    gain, share, amplitude = np.linalg.solve(moments, rhs)
    row = dict(zip(response.terms, response.coefficients[i], strict=True))
    assert row["gain"] == pytest.approx(gain, rel=1e-9)
    assert row["normalisation"] == pytest.approx(share, rel=1e-9)
    assert row["global_signal"] == pytest.approx(amplitude, rel=1e-9)
    means = [clear(z)[1] for k, z in enumerate(study.baseline) if k != i]
    away = np.mean([clear(z)[1] for z in study.reference], axis=0) - np.mean(means, axis=0)
    with_signal = np.mean(
        [clear(signal_effect(z))[1] for k, z in enumerate(study.baseline) if k != i], axis=0
    )
    shift = change_fixed[0] - share * away[0] - amplitude * with_signal[0]
    assert row["shift"] == pytest.approx(shift, rel=1e-9)


def test_split_half_instruments_average_to_the_closed_form() -> None:
    """Two-stage least squares over random halves converges to the closed form."""
    strong = replace(SMALL, deviation_sd=0.2)
    study = simulate_edges(Truth(normalisation=0.5), strong, np.random.default_rng(8))
    sample = sample_of(study)
    i, rng = 0, np.random.default_rng(1)
    background = sample.background
    others = np.delete(sample.baseline[:].residual, i, axis=0)[:, background]
    healthy = sample.reference[:].residual[:, background]
    moments, rhs = np.zeros((2, 2)), np.zeros(2)
    for _ in range(4000):
        a, b = np.array_split(rng.permutation(len(others)), 2)
        c, d = np.array_split(rng.permutation(len(healthy)), 2)
        x = np.array([others[a].mean(0), healthy[c].mean(0) - others[a].mean(0)])
        z = np.array([others[b].mean(0), healthy[d].mean(0) - others[b].mean(0)])
        moments += z @ x.T + x @ z.T
        rhs += (z + x) @ sample.change[:].residual[i, background]
    response = global_response(sample.excluding(NO_SIGNAL), with_deviation=True)
    np.testing.assert_allclose(
        np.linalg.solve(moments, rhs), response.coefficients[i, 1:3], rtol=0.03
    )


NOISELESS = EdgeSpec(
    n_regions=40,
    n_circuit=8,
    n_treated=8,
    n_reference=8,
    trait_sd=(0, 0, 0, 0),
    state_sd=(0, 0, 0, 0),
)


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        (Truth(), (0, 0, 0, 0)),
        (Truth(shift=0.1), (0.1, 0, 0, 0)),
        (Truth(gain=0.3), (None, 0.3, 0, 0)),
        (Truth(normalisation=0.4), (0, 0, 0.4, 0)),
        (Truth(specific=0.2), (0, 0, 0, 0.2)),
        (Truth(shift=-0.1, gain=0.2, specific=-0.1), (None, 0.2, 0, -0.1)),
    ],
)
def test_without_noise_the_simulated_truth_is_recovered(truth: Truth, expected: tuple) -> None:
    study = simulate_edges(truth, NOISELESS, np.random.default_rng(2))
    response = global_response(sample_of(study), with_deviation=True)
    found = [*response.coefficients[0, :3], response.specific[0, 0]]
    for value, true_value in zip(found, expected, strict=True):
        if true_value is not None:
            assert value == pytest.approx(true_value, abs=1e-6)


def test_a_loss_of_signal_is_not_specific() -> None:
    """With r' = k r, a strong circuit changes more in Fisher z than a linear gain predicts."""
    study = simulate_edges(Truth(attenuation=0.15), NOISELESS, np.random.default_rng(3))
    response = global_response(sample_of(study), with_deviation=True)
    assert response.curvature
    change = (study.followup - study.baseline)[0, study.circuit].mean()
    assert abs(response.specific[0, 0]) < 0.02 * abs(change)


def test_region_wide_changes_are_not_specific_after_adjustment() -> None:
    study = simulate_edges(Truth(), NOISELESS, np.random.default_rng(4))
    node = np.zeros(40)
    node[:8] = -0.1
    i, j = np.triu_indices(40, 1)
    moved = EdgeStudy(
        **{name: getattr(study, name) for name in study.__slots__ if name != "followup"},
        followup=study.followup + node[i] + node[j],
    )
    plain = global_response(sample_of(moved), with_deviation=True)
    adjusted = global_response(sample_of(moved), with_deviation=True, node_adjusted=True)
    assert plain.specific[0, 0] < -0.1
    assert abs(adjusted.specific[0, 0]) < 0.05 * abs(plain.specific[0, 0])


def test_missing_edges_of_a_participant_do_not_affect_the_others() -> None:
    study = simulate_edges(Truth(shift=0.05), SMALL, np.random.default_rng(5))
    complete = global_response(sample_of(study), with_deviation=True)
    region = np.zeros(study.features.n_features, bool)
    i, j = np.triu_indices(40, 1)
    region[(i == 20) | (j == 20)] = True
    study.followup[0, region] = np.nan
    missing = global_response(sample_of(study), with_deviation=True)
    assert np.isfinite(missing.coefficients).all()
    # the shift refers to the mean strength of edges available in all participants, which changes
    moved = np.abs(missing.coefficients[1:] - complete.coefficients[1:]).max(axis=0)
    assert (moved < 0.03 * complete.coefficients.std(axis=0)).all()
    assert missing.coefficients[0, 0] == pytest.approx(complete.coefficients[0, 0], abs=0.03)


@pytest.mark.parametrize("n_missing", [0, 5, 10])
def test_missing_strong_regions_do_not_bias_gain_or_circuits(n_missing: int) -> None:
    """D = .2 m without noise; the strongest regions are missing in half of the participants."""
    rng = np.random.default_rng(0)
    i, j = np.triu_indices(60, 1)
    m = 0.12 + 0.3 * (i // 6 == j // 6) + rng.normal(0, 0.1, i.size) + 0.25 * (j >= 50)
    baseline = np.tile(m, (12, 1))
    baseline[:6, (i >= 60 - n_missing) | (j >= 60 - n_missing)] = np.nan
    circuit = {"c": np.flatnonzero((i < 6) & (j < 6))}
    sample = CentredFeatures.from_values(
        change=0.2 * baseline,
        baseline=baseline,
        circuits=circuit,
        features=FeatureSpace.of_edges(60),
    )
    found = global_response(sample, with_deviation=False)
    np.testing.assert_allclose(found.coefficients[:, 1], 0.2, atol=1e-9)
    np.testing.assert_allclose(found.coefficients[:, 0], found.coefficients[0, 0], atol=1e-9)
    np.testing.assert_allclose(found.specific, 0, atol=1e-9)


def test_a_loss_of_signal_is_not_specific_in_small_samples() -> None:
    """The curvature is used for circuits stronger than most of the background, even if noisy."""
    spec = EdgeSpec(n_treated=12, n_reference=12, n_regions=60, circuit_strength=0.4)
    hits = tested = 0
    for seed in range(60):
        rng = np.random.default_rng([5, seed])
        study = simulate_edges(Truth(attenuation=0.25), spec, rng)
        features = FeatureSpace.of_edges(60)
        visits = Visits(study.baseline, study.followup, features, reference=study.reference)
        found = analyse(visits, study.circuits, rng=rng, rules=Rules(n_permutations=199))
        rows = [e for e in found.estimates if e.family == "specific"]
        hits += any(e.p_corrected < 0.05 for e in rows)
        tested += all(np.isfinite(e.p) for e in rows)  # others are far outside the background
    assert tested > 45
    assert hits <= 7  # P(X > 7 | 60, .05) < .01


def test_a_missing_circuit_is_nan_and_the_participant_is_retained() -> None:
    study = simulate_edges(Truth(), SMALL, np.random.default_rng(6))
    study.followup[2, study.circuit] = np.nan
    response = global_response(sample_of(study), with_deviation=False)
    assert np.isnan(response.specific[2, 0])
    assert np.isfinite(response.coefficients[2]).all()


def test_the_share_closed_is_unbiased_and_the_naive_share_is_biased() -> None:
    spec = EdgeSpec(n_regions=60, n_circuit=8, n_treated=16, n_reference=16)
    ours, naive = [], []
    for seed in range(60):
        study = simulate_edges(Truth(normalisation=0.5), spec, np.random.default_rng(seed))
        sample = sample_of(study)
        response = global_response(sample, with_deviation=True)
        ours.append(response.coefficients[:, 2].mean())
        d = study.reference.mean(0) - study.baseline.mean(0)
        d = d[sample.background] - d[sample.background].mean()
        change = (study.followup - study.baseline)[:, sample.background]
        naive.append((change @ d / (d @ d)).mean())
    assert np.mean(ours) == pytest.approx(0.5, abs=0.03)
    nothing = simulate_edges(Truth(), spec, np.random.default_rng(99))
    d = nothing.reference.mean(0) - nothing.baseline.mean(0)
    change = (nothing.followup - nothing.baseline).mean(0)
    assert np.polyfit(d, change, 1)[0] > 0.1  # regression to the mean


def series_study(
    rng: np.random.Generator, *, amplitude: float, n: int = 12, noise: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return Fisher z of both visits, from covariances of networks and a global signal.

    With `noise`, the correlations are those of sampled series of this many volumes.
    """
    n_regions = 60
    network = np.arange(n_regions) // 10
    loading = rng.uniform(0.3, 1.0, n_regions)
    within = 0.4 * (network[:, None] == network) * np.outer(loading, loading)

    def visit(factor: float, person: np.ndarray) -> np.ndarray:
        common = factor * person
        covariance = np.outer(common, common) + within + np.diag(np.full(n_regions, 0.5))
        if noise:
            series = rng.multivariate_normal(np.zeros(n_regions), covariance, int(noise))
            covariance = np.cov(series, rowvar=False)
        sd = np.sqrt(np.diag(covariance))
        return fisher_z((covariance / np.outer(sd, sd))[np.triu_indices(n_regions, 1)])

    shape = rng.uniform(0.2, 0.9, n_regions)
    people = [np.clip(shape + rng.normal(0, 0.05, n_regions), 0, None) for _ in range(n)]
    return (
        np.array([visit(1.0, person) for person in people]),
        np.array([visit(amplitude, person) for person in people]),
    )


@pytest.mark.parametrize("amplitude", [0.9, 1.1])
def test_the_amplitude_of_the_global_signal_is_recovered(amplitude: float) -> None:
    """Exact covariances: the log amplitude, with shift and gain near 0 and no specific change."""
    before, after = series_study(np.random.default_rng(0), amplitude=amplitude)
    sample = CentredFeatures.from_values(
        change=after - before,
        baseline=before,
        circuits={"strong": np.flatnonzero(block_of(60, 10) == 0)},
        features=FeatureSpace.of_edges(60),
    )
    response = global_response(sample, with_deviation=False)
    assert response.terms == (
        "shift",
        "gain",
        "global_signal",
        "average_change",
        "proportional_change",
    )
    shift, gain, signal, average, proportional = response.coefficients.mean(axis=0)
    assert average == pytest.approx((after - before)[:, sample.background].mean())
    # the global signal of the model also contains the networks, so that its amplitude grows less
    assert 0.6 < signal / np.log(amplitude) < 1.1
    mean_change = abs((after - before).mean())
    assert abs(shift) < 0.25 * mean_change
    assert abs(response.specific.mean()) < 0.25 * mean_change
    without = global_response(sample.excluding(NO_SIGNAL), with_deviation=False)
    assert without.coefficients.mean(axis=0) == pytest.approx([average, proportional])
    assert abs(without.coefficients[:, 0].mean()) > 0.9 * mean_change
    assert abs(gain) < 0.1


def test_the_amplitude_is_not_attenuated_by_noise_of_its_pattern() -> None:
    """The estimate of few volumes and few participants equals that of exact covariances."""
    found = {}
    for volumes in (0, 120):
        one = []
        for seed in range(30):
            rng = np.random.default_rng([volumes, seed])
            before, after = series_study(rng, amplitude=1.2, n=8, noise=volumes)
            sample = CentredFeatures.from_values(
                change=after - before,
                baseline=before,
                circuits={},
                features=FeatureSpace.of_edges(60),
            )
            response = global_response(sample, with_deviation=False)
            one.append(response.coefficients[:, response.terms.index("global_signal")].mean())
        found[volumes] = (np.mean(one), np.std(one, ddof=1) / np.sqrt(len(one)))
    error = np.hypot(found[0][1], found[120][1])
    assert found[120][0] == pytest.approx(found[0][0], abs=3 * error + 0.01)


def block_of(n_regions: int, size: int) -> np.ndarray:
    """Return the network of edges within a network, and -1 for other edges."""
    i, j = np.triu_indices(n_regions, 1)
    return np.where(i // size == j // size, i // size, -1)


def test_shared_noise_is_in_the_standard_error() -> None:
    """With a small reference, the spread between participants underestimates the standard error."""
    spec = EdgeSpec(n_regions=60, n_circuit=8, n_treated=40, n_reference=8)
    means, plain, full = [], [], []
    weights = np.full(40, 1 / 40)
    for seed in range(80):
        study = simulate_edges(Truth(normalisation=0.8), spec, np.random.default_rng(seed))
        response = global_response(sample_of(study), with_deviation=True)
        means.append(response.specific[:, 0].mean())
        plain.append(response.specific[:, 0].var(ddof=1) / 40)
        full.append(plain[-1] + response.excess_variance(weights)[-1])
    spread = np.var(means)
    assert spread > 1.4 * np.mean(plain)
    assert spread == pytest.approx(np.mean(full), rel=0.4)


def test_shared_noise_equals_moving_one_participant_at_a_time() -> None:
    """Numerical derivative: each baseline is changed slightly, as a regressor only.

    Changes follow the global model exactly, except in the circuit. There, participants above the
    mean at baseline decrease, as in regression to the mean, so that the noise of the mean and the
    noise of each participant change the contrast in the same direction.
    """
    rng, n = np.random.default_rng(3), 20
    truth = simulate_edges(Truth(), NOISELESS, rng)
    baseline = truth.typical - truth.deviation + rng.normal(0, 0.05, (n, truth.typical.size))
    reference = truth.typical + rng.normal(0, 0.05, (12, truth.typical.size))
    typical, healthy = baseline.mean(axis=0), reference.mean(axis=0)
    change = np.tile(0.1 + 0.5 * typical + 0.3 * (healthy - typical), (n, 1))
    own = baseline[:, truth.circuit].mean(axis=1)
    change[:, truth.circuit] -= 0.8 * (own - own.mean())[:, None]
    weights = np.full(n, 1 / n)

    def fitted(baseline: np.ndarray, reference: np.ndarray) -> Response:
        sample = CentredFeatures.from_values(
            change=change,
            baseline=baseline,
            circuits={"c": truth.circuit},
            features=FeatureSpace.of_edges(40),
            reference=reference,
        )
        return global_response(sample, with_deviation=True)

    def move(k: int, group: np.ndarray, step: float) -> np.ndarray:
        out = group.copy()
        out[k] += step * (group[k] - group.mean(axis=0))
        return out

    def slope(moved: Callable[[float], Response]) -> float:
        up, down = (weights @ moved(step).specific[:, 0] for step in (1e-3, -1e-3))
        return float(up - down) / 2e-3

    pool = [slope(lambda s, k=k: fitted(move(k, baseline, s), reference)) for k in range(n)]
    others = [slope(lambda s, k=k: fitted(baseline, move(k, reference, s))) for k in range(12)]
    response = fitted(baseline, reference)
    direct = weights * (response.specific[:, 0] - response.specific[:, 0].mean())
    expected = ((direct + pool) ** 2 - direct**2).sum() + np.square(others).sum()
    assert expected > 0
    assert response.excess_variance(weights)[-1] == pytest.approx(expected, rel=0.1)


def blocks_of(study: EdgeStudy, n_networks: int = 5) -> dict[str, np.ndarray]:
    """Return the edges of each pair of networks of equal size."""
    network = np.arange(study.features.n_regions) * n_networks // study.features.n_regions
    i, j = study.features.ends
    pair = network[i] * n_networks + network[j]
    return {str(k): np.flatnonzero(pair == k) for k in np.unique(pair)}


def test_blocks_are_computed_as_circuits_are(study: EdgeStudy) -> None:
    sample = sample_of(study, blocks=blocks_of(study))
    response = global_response(sample, with_deviation=True)
    n_compared = 0
    for k, positions in enumerate(sample.blocks.values()):
        assert not np.isin(positions, study.circuit).any()
        both = replace(sample, circuits={**sample.circuits, "block": positions}, blocks={})
        expected = global_response(both, with_deviation=True)
        if expected.curvature != response.curvature:  # a strong block needs it, as a circuit does
            continue
        n_compared += 1
        np.testing.assert_allclose(response.block_values[:, k], expected.specific[:, 1])
        column = response.own.shape[1] - len(sample.blocks) + k
        np.testing.assert_allclose(response.own[:, column], expected.own[:, -1], atol=1e-12)
    assert n_compared > 10
    without = global_response(sample_of(study), with_deviation=True)
    np.testing.assert_allclose(response.specific, without.specific)
    np.testing.assert_allclose(response.coefficients, without.coefficients)
    assert np.isnan(without.block_gain).all()
    assert len(response.excess_variance(np.full(12, 1 / 12))) == 7 + 1 + len(sample.blocks)


def test_gain_within_blocks_ignores_changes_of_whole_blocks() -> None:
    """Blocks that change in proportion to their mean appear as a gain across blocks only."""
    study = simulate_edges(Truth(gain=0.3), NOISELESS, np.random.default_rng(2))
    blocks = blocks_of(study)
    only_blocks = study.baseline.copy()
    for positions in blocks.values():
        only_blocks[:, positions] += study.baseline[:, positions].mean(axis=1, keepdims=True)
    for followup, expected in ((study.followup, 0.3), (only_blocks, 0.0)):
        sample = CentredFeatures.from_values(
            change=followup - study.baseline,
            baseline=study.baseline,
            circuits={},
            blocks=blocks,
            features=FeatureSpace.of_edges(40),
        )
        response = global_response(sample, with_deviation=False)
        np.testing.assert_allclose(response.block_gain, expected, atol=1e-9)
        assert (response.coefficients[:, response.terms.index("gain")] > 0.05).all()


def test_gain_within_blocks_is_not_attenuated_by_noise() -> None:
    spec = EdgeSpec(n_regions=60, n_circuit=8, n_treated=12)
    found = []
    for seed in range(20):
        study = simulate_edges(Truth(gain=0.3), spec, np.random.default_rng(seed))
        sample = sample_of(study, blocks=blocks_of(study))
        found.append(global_response(sample, with_deviation=False).block_gain.mean())
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert error < 0.03
    assert np.mean(found) == pytest.approx(0.3, abs=3 * error)


def test_baseline_levels_and_changes_sum_to_the_levels_at_follow_up(study: EdgeStudy) -> None:
    sample = sample_of(study)
    response = global_response(sample, with_deviation=True)
    followup = sample.remove(study.followup)
    _, later = level_response(sample, followup, np.arange(12), with_deviation=True)
    change = np.hstack([response.coefficients, response.specific])
    before = baseline_levels(sample, with_deviation=True)
    np.testing.assert_allclose(before + change, later)
    blocks = sample_of(study, blocks=blocks_of(study))
    levels = baseline_levels(blocks, with_deviation=True, with_blocks=True)
    np.testing.assert_allclose(levels[:, : before.shape[1]], before)
    as_change = replace(blocks, change=blocks.baseline)
    response = global_response(as_change, with_deviation=True)
    np.testing.assert_allclose(levels[:, before.shape[1] :], response.block_values)


@pytest.mark.parametrize(
    ("n_missing", "is_tested"), [(0, True), (13, True), (14, False), (27, False)]
)
def test_a_circuit_needs_more_than_half_of_its_edges(n_missing: int, is_tested: bool) -> None:
    """The circuit has 28 edges; the available edges show the simulated change."""
    study = simulate_edges(Truth(specific=0.2), NOISELESS, np.random.default_rng(2))
    assert study.circuit.size == 28
    missing = np.random.default_rng(0).permutation(study.circuit)[:n_missing]
    study.followup[2, missing] = np.nan
    found = global_response(sample_of(study), with_deviation=True).specific[:, 0]
    np.testing.assert_allclose(np.delete(found, 2), 0.2, atol=1e-6)
    assert found[2] == pytest.approx(0.2 if is_tested else np.nan, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("term", "edges", "regions"),
    [
        ("shift", "Fisher z", "mm"),
        ("gain", "proportion of typical strength", "proportion of the typical value"),
        ("normalisation", "share of the deviation closed", "share of the deviation closed"),
        ("distance", "Fisher z per mm", "mm per mm"),
        (
            "global_signal",
            "log amplitude of the global signal",
            "log amplitude of the global signal",
        ),
        ("dmn", "Fisher z", "mm"),
    ],
)
def test_units_of_terms(term: str, edges: str, regions: str) -> None:
    thickness = FeatureSpace.of_regions(40, unit="mm", valid_range=(0, 10))
    assert term_unit(term, FeatureSpace.of_edges(10)) == edges
    assert term_unit(term, thickness) == regions
