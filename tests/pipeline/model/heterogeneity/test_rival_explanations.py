from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.global_model import Response, global_response
from circuitshift.pipeline.model.heterogeneity.hierarchy import principal_gradient
from circuitshift.pipeline.model.heterogeneity.rival_explanations import (
    graded_gain,
    measured_signal_quality,
)

N, R = 16, 60
FEATURES = FeatureSpace.of_edges(R)
FIRST, SECOND = FEATURES.ends
CIRCUITS = {
    "high": np.flatnonzero((FIRST >= 48) & (SECOND >= 48)),
    "low": np.flatnonzero((FIRST < 8) & (SECOND < 8)),
}
ONE_ARM = np.ones(N)
HIERARCHY = np.linspace(-1, 1, R)


def typical() -> np.ndarray:
    """Connectivity that decreases with distance along one axis."""
    distance = np.abs(HIERARCHY[FIRST] - HIERARCHY[SECOND])
    return 0.8 * np.exp(-2 * distance) + np.random.default_rng(0).normal(0, 0.03, FIRST.size)


def fitted(change: np.ndarray, baseline: np.ndarray) -> tuple[CentredFeatures, Response]:
    sample = CentredFeatures.from_values(
        change=change, baseline=baseline, circuits=CIRCUITS, features=FEATURES
    )
    return sample, global_response(sample, with_deviation=False)


def baselines(noise: float = 0.1) -> np.ndarray:
    return typical() + np.random.default_rng(1).normal(0, noise, (N, FIRST.size))


def test_a_graded_gain_explains_the_change_of_circuits():
    baseline = baselines()
    gradient = principal_gradient(baseline.mean(axis=0), FEATURES)
    change = 0.1 * typical() * (gradient[FIRST] + gradient[SECOND])
    change = change + np.random.default_rng(2).normal(0, 0.02, (N, FIRST.size))
    sample, response = fitted(change, baseline)
    found = graded_gain(sample, response)
    assert found.coefficient.mean() == pytest.approx(0.1, rel=0.1)
    before = np.abs(response.specific.mean(axis=0))
    after = np.abs((response.specific - found.part).mean(axis=0))
    assert (before > 0.02).all()
    assert (after < 0.3 * before).all()


def test_a_change_of_one_circuit_is_not_explained_by_a_gradient():
    baseline = baselines()
    change = np.random.default_rng(2).normal(0, 0.05, (N, FIRST.size))
    change[:, CIRCUITS["high"]] -= 0.2
    sample, response = fitted(change, baseline)
    part = graded_gain(sample, response).part.mean(axis=0)
    assert np.abs(part).max() < 0.03


def test_own_noise_does_not_enter_the_graded_column():
    """Without any change, D contains the noise of the own baseline with a negative sign."""
    noise = np.random.default_rng(3).normal(0, 0.3, (400, FIRST.size))
    baseline = typical() + noise
    change = np.random.default_rng(4).normal(0, 0.3, (400, FIRST.size)) - noise
    coefficients = []
    for start in range(0, 400, 16):
        own = slice(start, start + 16)
        sample, response = fitted(change[own], baseline[own])
        coefficients.append(graded_gain(sample, response).coefficient.mean())
    se = np.std(coefficients) / np.sqrt(len(coefficients))
    assert abs(np.mean(coefficients)) < 3 * se


def test_measured_loss_of_signal_explains_the_change_of_circuits():
    z = typical()
    rng = np.random.default_rng(5)
    quality = rng.normal(0, 0.05, (N, R))
    quality[:, 48:] -= 0.15
    r = np.tanh(z) * np.exp(quality[:, FIRST] + quality[:, SECOND])
    change = np.arctanh(np.clip(r, -0.99, 0.99)) - z + rng.normal(0, 0.03, (N, FIRST.size))
    sample, response = fitted(change, baselines())
    found = measured_signal_quality(sample, response, quality, ONE_ARM)
    assert (found.coefficient == found.coefficient[0]).all()
    assert found.coefficient[0] == pytest.approx(1.0, rel=0.2)
    before = response.specific[:, 0].mean()
    assert before < -0.05
    assert abs((response.specific - found.part)[:, 0].mean()) < 0.35 * abs(before)


def test_the_variance_of_the_common_coefficient_is_that_over_studies():
    """Regions change in each participant, so that features of a participant are not independent."""
    rng = np.random.default_rng(8)
    quality = rng.normal(0, 0.05, (N, R))
    sample, response = fitted(np.zeros((N, FIRST.size)), baselines())
    found = []
    for _ in range(200):
        state = rng.normal(0, 0.05, (N, R))
        change = state[:, FIRST] + state[:, SECOND] + rng.normal(0, 0.05, (N, FIRST.size))
        changed = replace(sample, change=sample.remove(change))
        found.append(measured_signal_quality(changed, response, quality, ONE_ARM))
    spread = np.std([one.coefficient[0] for one in found])
    assert np.mean([one.variance for one in found]) == pytest.approx(spread**2, rel=0.3)
    weights = np.full(N, 1 / N)
    expected = found[0].variance * found[0].reach.mean(axis=0) ** 2
    assert found[0].excess_variance(weights) == pytest.approx(expected)


def test_errors_of_single_participants_do_not_attenuate_the_coefficient():
    """With a column for each participant, the coefficient is attenuated by errors."""
    rng = np.random.default_rng(7)
    z = baselines()
    true = np.zeros(R)
    true[48:] = -0.15
    r = np.tanh(z) * np.exp(true[FIRST] + true[SECOND])
    change = np.arctanh(np.clip(r, -0.99, 0.99)) - z + rng.normal(0, 0.03, (N, FIRST.size))
    sample, response = fitted(change, z)
    measured = true + rng.normal(0, 0.1, (N, R))
    found = measured_signal_quality(sample, response, measured, ONE_ARM)
    single = measured_signal_quality(sample, response, measured, np.arange(N, dtype=float))
    assert single.coefficient[0] < 0.25
    assert 0.5 < found.coefficient[0] < 1


def test_each_arm_has_its_own_mean_quality():
    sample, response = fitted(
        np.random.default_rng(2).normal(0, 0.05, (N, FIRST.size)), baselines()
    )
    quality = np.random.default_rng(6).normal(0, 0.1, (N, R))
    arm = (np.arange(N) % 2).astype(float)
    means = np.array([quality[arm == k].mean(axis=0) for k in (0, 1)])[arm.astype(int)]
    found = measured_signal_quality(sample, response, quality, arm)
    assert found.part == pytest.approx(
        measured_signal_quality(sample, response, means, arm).part, abs=1e-12
    )
    pooled = measured_signal_quality(sample, response, quality, ONE_ARM)
    assert np.abs(found.part - pooled.part).max() > 1e-4


def test_unknown_quality_is_the_mean_of_the_arm():
    sample, response = fitted(
        np.random.default_rng(2).normal(0, 0.05, (N, FIRST.size)), baselines()
    )
    quality = np.random.default_rng(6).normal(0, 0.1, (N, R))
    with_gaps, filled = quality.copy(), quality.copy()
    with_gaps[:, 0] = np.nan
    with_gaps[3, 1] = np.nan
    others = np.arange(N) != 3
    filled[3, 1] = quality[others, 1].mean()
    filled[:, 0] = filled[:, 1:].mean()
    a = measured_signal_quality(sample, response, with_gaps, ONE_ARM)
    b = measured_signal_quality(sample, response, filled, ONE_ARM)
    assert a.part == pytest.approx(b.part)
    none = measured_signal_quality(sample, response, np.full((N, R), np.nan), ONE_ARM)
    assert np.isnan(none.part).all()
