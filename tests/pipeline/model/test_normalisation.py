"""Share closed per circuit: unbiased, covered, withheld; split halves agree with pairs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.global_model import global_response
from circuitshift.pipeline.model.normalisation import circuit_shares, split_half_share
from circuitshift.pipeline.stats.permutation import mean_contrast
from circuitshift.pipeline.validation.simulate.edges import EdgeSpec, Truth, simulate_edges


def draw(rng, share, *, n=30, n_reference=30, deviation=-0.15, n_control=0):
    """Circuit means of one study: trait and state noise, a share of the deviation closed."""
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
def test_estimate_is_unbiased_and_covered(share, n_control, n_reference):
    rng = np.random.default_rng(0)
    found = [
        circuit_shares(*draw(rng, share, n_control=n_control, n_reference=n_reference))[0]
        for _ in range(600)
    ]
    available = [f for f in found if f.identified]
    assert len(available) > 370
    # the median: a ratio has no finite mean
    assert np.median([f.share for f in available]) == pytest.approx(share, abs=0.05)
    covered = np.mean([f.ci_low <= share <= f.ci_high for f in available])
    assert 0.93 <= covered <= 0.98


def test_it_is_withheld_without_a_deviation():
    rng = np.random.default_rng(1)
    found = [circuit_shares(*draw(rng, 0.0, deviation=0.0))[0] for _ in range(300)]
    assert np.mean([f.identified for f in found]) <= 0.03
    held = next(f for f in found if not f.identified)
    assert np.isnan(held.share)
    assert "do not differ reliably" in held.remark


def test_fieller_equals_a_search():
    change, pool, healthy, contrast = draw(np.random.default_rng(2), 0.6)
    found = circuit_shares(change, pool, healthy, contrast)[0]
    x, b, r = change["c"], pool["c"], healthy["c"]
    grid = np.linspace(-3, 4, 70001)
    # variance of mean(x) - theta (mean(r) - mean(b)), person by person
    var = np.array([(x + theta * b).var(ddof=1) for theta in grid[::1000]]) / len(b)
    var = np.interp(grid, grid[::1000], var) + grid**2 * r.var(ddof=1) / len(r)
    bound = t.ppf(0.975, len(b) - 1) ** 2 * var
    inside = grid[(x.mean() - grid * (r.mean() - b.mean())) ** 2 <= bound]
    assert found.ci_low == pytest.approx(inside[0], abs=2e-3)
    assert found.ci_high == pytest.approx(inside[-1], abs=2e-3)
    assert found.share == pytest.approx(x.mean() / (r.mean() - b.mean()))


def test_over_normalisation_and_loss_are_said():
    rng = np.random.default_rng(3)
    beyond = circuit_shares(*draw(rng, 3.0, n=80, n_reference=80))[0]
    assert "beyond the reference" in beyond.remark
    change, pool, healthy, contrast = draw(rng, 0.5)
    change["c"][2] = np.nan
    missing = circuit_shares(change, pool, healthy, contrast)[0]
    assert not missing.identified
    assert missing.remark == "the circuit is lost in 1 people"


def test_split_halves_agree_with_pairs():
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
        response = global_response(sample, with_deviation=True)
        at = response.terms.index("normalisation")
        pairs.append(response.coefficients[:, at].mean())
    assert np.mean(halves) == pytest.approx(0.5, abs=0.06)
    assert np.mean(pairs) == pytest.approx(0.5, abs=0.04)
    assert np.corrcoef(halves, pairs)[0, 1] > 0.9
    small = simulate_edges(Truth(), replace(spec, n_reference=3), np.random.default_rng(0))
    few = CentredFeatures.from_values(
        change=small.followup - small.baseline,
        baseline=small.baseline,
        circuits=small.circuits,
        features=FeatureSpace.of_edges(60),
        reference=small.reference,
    )
    with pytest.raises(DesignError, match="split halves need"):
        split_half_share(few, np.random.default_rng(0))
