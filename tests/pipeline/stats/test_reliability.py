"""Test-retest reliability and the reliable change of one participant."""

import numpy as np
import pytest
from scipy import stats

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.stats.reliability import reliability, reliable_change


def test_icc_equals_an_analysis_of_variance():
    rng = np.random.default_rng(0)
    first = rng.normal(size=9)
    second = first + rng.normal(0, 0.5, 9) + 0.3
    found = reliability(first, second)
    y = np.r_[first, second]
    person, visit = np.tile(np.arange(9), 2), np.repeat([0, 1], 9)
    x = np.column_stack([np.eye(9)[person], visit])
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    mse = (residual**2).sum() / 8
    msr = 2 * np.var((first + second) / 2, ddof=1)
    msc = 9 * ((first.mean() - y.mean()) ** 2 + (second.mean() - y.mean()) ** 2)
    assert found.icc_consistency == pytest.approx((msr - mse) / (msr + mse))
    assert found.icc_agreement == pytest.approx((msr - mse) / (msr + mse + 2 * (msc - mse) / 9))
    assert found.sem == pytest.approx(np.std(second - first, ddof=1) / np.sqrt(2))
    assert found.mdc == pytest.approx(1.96 * np.std(second - first, ddof=1), rel=1e-4)
    with pytest.raises(DesignError, match="3 people have both"):
        reliability(first[:4], np.r_[np.nan, second[1:4]])


def test_interval_of_the_icc_covers():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        trait = rng.normal(size=25)
        found = reliability(*(trait + rng.normal(0, 1, 25) for _ in range(2)))
        hits += found.ci_low <= 0.5 <= found.ci_high
    assert 0.92 <= hits / 400 <= 0.98


def test_reliable_change_is_nominal_without_change():
    rng = np.random.default_rng(2)
    index = [reliable_change(rng.normal(0.1, 0.2, 9), rng.normal(0.1, 0.2, 12)) for _ in range(900)]
    bound = stats.t.ppf(0.975, 11)
    assert np.mean(np.abs(index) > bound) == pytest.approx(0.05, abs=0.012)
    assert np.isnan(reliable_change(np.ones(3), np.ones(3))).all()
