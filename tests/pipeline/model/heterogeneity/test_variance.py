import numpy as np
import pytest

from circuitshift.pipeline.model.heterogeneity.variance import (
    BlockErrors,
    moment_tau,
    retained_variance,
    tau_interval,
)
from circuitshift.pipeline.stats.pooling.reml import reml_tau

B = 20


def independent(n_blocks: int = B, df: float = 1e6) -> BlockErrors:
    return BlockErrors(np.eye(n_blocks), df, np.ones(n_blocks))


def draw(rng, tau, *, n=30, n_blocks=B, n_studies=400, shared=0.5):
    """Return estimates and variances of studies whose errors are correlated across blocks."""
    out = []
    for _ in range(n_studies):
        common = rng.normal(size=(n, 3)) @ rng.normal(size=(3, n_blocks)) * shared
        y = (common + rng.normal(size=(n, n_blocks))) * rng.uniform(0.1, 0.3, n_blocks)
        y += rng.normal(0, tau, n_blocks)
        rest = y - y.mean(axis=0)
        out.append((y.mean(axis=0), y.var(axis=0, ddof=1) / n, BlockErrors.of(rest, n - 1)))
    return out


def test_equal_variances_give_the_mean_excess():
    estimate = np.random.default_rng(0).normal(0, 0.2, B)
    tau = moment_tau(estimate, np.full(B, 0.01), independent())
    assert tau.value == pytest.approx(np.mean(estimate**2 - 0.01), rel=1e-4)


def test_moments_match_a_plain_loop():
    rng = np.random.default_rng(1)
    s, v, k = rng.normal(0, 0.1, 8), rng.uniform(0.001, 0.004, 8), rng.uniform(0.6, 0.9, 8)
    df, tau2 = 29.0, 0.0
    for _ in range(2):
        top = bottom = 0.0
        for b in range(8):
            w = 1 / (v[b] + k[b] * tau2)
            top += w * (s[b] ** 2 - v[b]) - 2 * (w * v[b]) ** 2 / (df - 2)
            bottom += w * k[b]
        tau2 = max(top / bottom, 0.0)
    found = moment_tau(s, v, BlockErrors(np.eye(8), df, k))
    assert found.value == pytest.approx(tau2, rel=1e-12)
    assert moment_tau(np.array([s, 2 * s]), np.array([v, v]), BlockErrors(np.eye(8), df, k)).value[
        0
    ] == pytest.approx(tau2, rel=1e-12)


@pytest.mark.parametrize("tau", [0.0, 0.05])
def test_the_estimate_is_nearly_unbiased_and_its_variance_is_right(tau):
    studies = draw(np.random.default_rng(2), tau)
    untruncated = [moment_tau(s, v, e) for s, v, e in studies]
    values = np.array([t.value for t in untruncated])
    if tau:
        assert values.mean() == pytest.approx(tau**2, rel=0.08)
        expected = np.mean([t.variance for t in untruncated])
        assert values.var() == pytest.approx(expected, rel=0.35)
    else:
        assert (values == 0).mean() > 0.4
        assert values.mean() < 0.025**2


@pytest.mark.parametrize("tau", [0.0, 0.03, 0.1])
def test_intervals_cover_tau(tau):
    studies = draw(np.random.default_rng(3), tau, n_studies=300)
    limits = [tau_interval(s, v, e) for s, v, e in studies]
    assert np.mean([low <= tau <= high for low, high in limits]) > 0.91


def test_intervals_are_those_of_the_q_profile_when_errors_are_independent():
    from scipy.stats import chi2

    rng = np.random.default_rng(4)
    v = rng.uniform(0.001, 0.004, B)
    s = rng.normal(0, np.sqrt(v + 0.05**2))
    low, high = tau_interval(s, v, independent())
    for limit, p in ((low, 0.975), (high, 0.025)):
        q = (s**2 / (v + limit**2)).sum()
        assert chi2.cdf(q, B) == pytest.approx(p, abs=1e-4)


def test_the_interval_of_a_homogeneous_background_starts_at_zero():
    v = np.full(B, 0.01)
    assert tau_interval(np.full(B, 0.05), v, independent()) == (0.0, 0.0)
    assert tau_interval(np.zeros(B), v, independent()) == (0.0, 0.0)


def test_reml_and_moments_agree():
    rng = np.random.default_rng(6)
    v = rng.uniform(0.0005, 0.001, 200)
    s = rng.normal(0, np.sqrt(v + 0.05**2))
    moments = np.sqrt(moment_tau(s, v, independent(200)).value)
    assert reml_tau(s, v) == pytest.approx(float(moments), rel=0.02)


def test_squared_correlations_are_corrected_for_their_degrees_of_freedom():
    rng = np.random.default_rng(7)
    found = [BlockErrors.of(rng.normal(size=(12, 2)), 12).squared_correlation for _ in range(2000)]
    assert np.mean(found, axis=0)[0, 1] == pytest.approx(0.0, abs=0.01)
    assert (np.array(found)[:, 0, 0] == 1).all()


def test_retained_variance_sums_over_blocks():
    reach = np.array([[0.8, -0.1], [-0.2, 0.9]])
    assert retained_variance(reach) == pytest.approx([0.68, 0.82])
