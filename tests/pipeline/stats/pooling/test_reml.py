"""Restricted maximum likelihood: agreement with statsmodels, and the maximum itself."""

import numpy as np
import pytest

from circuitshift.pipeline.stats.pooling.reml import reml_tau

B = 20

# statsmodels 0.15.0 on the data of `balanced`: MixedLM(y, ones, groups=block).fit(reml=True);
# sqrt of cov_re
STATSMODELS_TAU = 0.04319814113284675


def balanced() -> np.ndarray:
    """Return values of 12 participants in 20 blocks (columns)."""
    k = np.arange(12 * B, dtype=float)
    noise = (np.sin(12.9898 * k) * 43758.5453) % 1.0 - 0.5
    return 0.1 * noise.reshape(12, B) + 0.06 * np.sin(1.7 * np.arange(B))


def test_reml_matches_the_mixed_model_of_statsmodels():
    y = balanced()
    n = len(y)
    pooled = ((y - y.mean(axis=0)) ** 2).sum() / (B * (n - 1)) / n
    tau = reml_tau(y.mean(axis=0), np.full(B, pooled), np.ones((B, 1)))
    assert tau == pytest.approx(STATSMODELS_TAU, rel=1e-4)


def test_reml_maximises_the_restricted_likelihood():
    rng = np.random.default_rng(5)
    v = rng.uniform(0.001, 0.004, B)
    s = rng.normal(0, np.sqrt(v + 0.05**2))

    def likelihood(tau2):
        u = v + tau2
        w = 1 / u
        mean = (w * s).sum() / w.sum()
        return -0.5 * (np.log(u).sum() + np.log(w.sum()) + (w * (s - mean) ** 2).sum())

    grid = np.linspace(0, 0.02, 20001)
    best = grid[np.argmax([likelihood(t) for t in grid])]
    assert reml_tau(s, v, np.ones((B, 1))) == pytest.approx(np.sqrt(best), abs=1e-4)


def test_equal_estimates_have_no_heterogeneity():
    assert reml_tau(np.zeros(5), np.ones(5)) == 0.0
    assert reml_tau(np.full(5, 3.0), np.ones(5), np.ones((5, 1))) == 0.0
