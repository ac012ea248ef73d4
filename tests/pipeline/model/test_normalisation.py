"""Shares of the deviation closed: bias, coverage, identification, and split halves."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.global_model import global_response
from circuitshift.pipeline.model.normalisation import circuit_shares, naive_share, split_half_share
from circuitshift.pipeline.stats.permutation import mean_contrast
from circuitshift.pipeline.validation.simulate.edges import EdgeSpec, Truth, simulate_edges


def draw(rng, share, *, n=30, n_reference=30, deviation=-0.15, n_control=0):
    """Simulate circuit means of a study in which a share of the deviation is closed."""
    treated = np.arange(n + n_control) < n
    trait = rng.normal(0.4 - deviation, 0.1, n + n_control)
    before = trait + rng.normal(0, 0.1, len(trait))
    after = trait + share * deviation * treated + rng.normal(0, 0.1, len(trait))
    healthy = rng.normal(0.4, np.sqrt(0.02), n_reference)
    contrast = mean_contrast(len(trait), treated=treated if n_control else None)
    return {"c": after - before}, {"c": before}, {"c": healthy}, contrast


@pytest.mark.parametrize(
    ("share", "n_control", "n_reference"), [(0.0, 0, 30), (0.5, 0, 12), (1.4, 25, 30)]
)
def test_the_share_is_unbiased_and_its_interval_is_nominal(share, n_control, n_reference):
    rng = np.random.default_rng(0)
    found = [
        circuit_shares(*draw(rng, share, n_control=n_control, n_reference=n_reference))[0]
        for _ in range(600)
    ]
    available = [f for f in found if f.identified]
    assert len(available) > 370
    # median, because a ratio has no finite mean
    assert np.median([f.share for f in available]) == pytest.approx(share, abs=0.05)
    covered = np.mean([f.ci_low <= share <= f.ci_high for f in available])
    assert 0.93 <= covered <= 0.98


def test_the_share_is_not_identified_without_a_deviation():
    rng = np.random.default_rng(1)
    found = [circuit_shares(*draw(rng, 0.0, deviation=0.0))[0] for _ in range(300)]
    assert np.mean([f.identified for f in found]) <= 0.03
    withheld = next(f for f in found if not f.identified)
    assert np.isnan(withheld.share)
    assert "do not differ reliably" in withheld.remark


def test_the_fieller_interval_equals_a_grid_search():
    change, pool, healthy, contrast = draw(np.random.default_rng(2), 0.6)
    found = circuit_shares(change, pool, healthy, contrast)[0]
    x, b, r = change["c"], pool["c"], healthy["c"]
    grid = np.linspace(-3, 4, 70001)
    # variance of mean(x) - theta (mean(r) - mean(b)) over participants
    var = np.array([(x + theta * b).var(ddof=1) for theta in grid[::1000]]) / len(b)
    var = np.interp(grid, grid[::1000], var) + grid**2 * r.var(ddof=1) / len(r)
    bound = t.ppf(0.975, len(b) - 1) ** 2 * var
    inside = grid[(x.mean() - grid * (r.mean() - b.mean())) ** 2 <= bound]
    assert found.ci_low == pytest.approx(inside[0], abs=2e-3)
    assert found.ci_high == pytest.approx(inside[-1], abs=2e-3)
    assert found.share == pytest.approx(x.mean() / (r.mean() - b.mean()))


def test_over_normalisation_and_missing_circuits_are_reported():
    rng = np.random.default_rng(3)
    beyond = circuit_shares(*draw(rng, 3.0, n=80, n_reference=80))[0]
    assert "beyond the reference" in beyond.remark
    change, pool, healthy, contrast = draw(rng, 0.5)
    change["c"][2] = np.nan
    missing = circuit_shares(change, pool, healthy, contrast)[0]
    assert not missing.identified
    assert missing.remark == "the circuit is missing in 1 of 30 participants"


def test_split_halves_agree_with_the_closed_form():
    spec = EdgeSpec(n_regions=60, n_circuit=8, n_treated=32, n_reference=24)
    halves, pairs = [], []
    for seed in range(10):
        study = simulate_edges(Truth(normalisation=0.5), spec, np.random.default_rng(seed))
        sample = CentredFeatures.from_values(
            change=study.followup - study.baseline,
            baseline=study.baseline,
            circuits=study.circuits,
            reference=study.reference,
            features=study.features,
        )
        halves.append(split_half_share(sample, np.random.default_rng(0)).mean())
        # split halves have no column of the global signal
        sample = sample.excluding({"global_signal": "compared with split halves"})
        response = global_response(sample, with_deviation=True)
        at = response.terms.index("normalisation")
        pairs.append(response.coefficients[:, at].mean())
    assert np.mean(halves) == pytest.approx(0.5, abs=0.06)
    assert np.mean(pairs) == pytest.approx(0.5, abs=0.04)
    assert np.corrcoef(halves, pairs)[0, 1] > 0.9
    small = simulate_edges(Truth(), replace(spec, n_reference=3), np.random.default_rng(0))
    too_small = CentredFeatures.from_values(
        change=small.followup - small.baseline,
        baseline=small.baseline,
        circuits=small.circuits,
        features=FeatureSpace.of_edges(60),
        reference=small.reference,
    )
    with pytest.raises(DesignError, match="4 reference participants; there are 32 and 3"):
        split_half_share(too_small, np.random.default_rng(0))


def test_the_naive_share_is_the_slope_on_the_observed_deviation():
    rng = np.random.default_rng(4)
    baseline, reference = rng.normal(size=(70, 30)), rng.normal(size=(20, 30))
    change = rng.normal(size=(70, 30))
    change[5, 8] = np.nan
    background = np.arange(30) >= 4
    d = reference.mean(axis=0) - baseline.mean(axis=0)
    d = np.where(background, d - d[background].mean(), np.nan)
    slopes = naive_share(change, baseline, reference, background)
    for row, share in zip(change, slopes, strict=True):
        use = background & np.isfinite(row)
        assert share == pytest.approx(row[use] @ d[use] / (d[use] @ d[use]))
