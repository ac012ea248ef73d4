"""The planted model predicts best, and the predictive density equals that of a simple loop."""

import numpy as np
import pytest
from scipy import stats

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.secondary.model_comparison import compare_models


@pytest.mark.parametrize("arms", [False, True])
@pytest.mark.parametrize("truth", ["nothing", "global", "specific", "both"])
def test_the_best_predicting_model_is_the_planted_one(truth, arms):
    rng = np.random.default_rng(3)
    n = 60
    treated = np.arange(n) < 30 if arms else np.ones(n, bool)
    effect = 0.9 * treated[:, None]
    coefficients = rng.normal(0, 1, (n, 2)) + effect * (truth in ("global", "both"))
    specific = rng.normal(0, 1, (n, 3)) + effect * (truth in ("specific", "both"))
    found = compare_models(coefficients, specific, treated=treated if arms else None)
    best = max(found, key=lambda row: row.elpd)
    assert best.model == truth
    assert best.difference == 0
    assert all(row.difference <= 0 for row in found)


def test_elpd_equals_a_loop():
    rng = np.random.default_rng(4)
    y = rng.normal(0.5, 1, (9, 2))
    found = {row.model: row for row in compare_models(y[:, :1], y[:, 1:])}
    from sklearn.covariance import ledoit_wolf

    scaled = y / y.std(axis=0)
    total = 0.0
    for k in range(9):
        rest = np.delete(scaled, k, axis=0)
        centre = rest.mean(axis=0)
        sigma = ledoit_wolf(rest - centre, assume_centered=True)[0]
        total += stats.multivariate_normal([centre[0], 0.0], sigma).logpdf(scaled[k])
    assert found["global"].elpd == pytest.approx(total)
    with pytest.raises(DesignError, match="needs at least six"):
        compare_models(y[:5, :1], y[:5, 1:])
