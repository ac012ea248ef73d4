"""Predictive comparison, spatial null, and secondary analyses of regions."""

import numpy as np
import pytest
from scipy import stats

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.analyse import Rules, Visits, analyse
from circuitshift.pipeline.model.secondary.model_comparison import compare_models
from circuitshift.pipeline.model.secondary.random_circuits import spatial_null
from circuitshift.pipeline.model.secondary.secondary import secondary_analyses
from circuitshift.pipeline.model.secondary.trajectories import Levels


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
    with pytest.raises(DesignError, match="needs six"):
        compare_models(y[:5, :1], y[:5, 1:])


def square(n, n_regions=60):
    i, j = np.triu_indices(n_regions, 1)
    return np.flatnonzero((i < n) & (j < n)), i, j


def test_a_planted_circuit_is_special_and_a_random_one_is_not():
    rng = np.random.default_rng(5)
    circuit, i, _ = square(8)
    strength = rng.normal(size=i.size)
    strength[circuit] += 0.5
    length = rng.uniform(10, 100, i.size)
    p = []
    for seed in range(120):
        values = np.random.default_rng(seed).normal(size=i.size)
        found = spatial_null(
            values,
            {"c": circuit},
            n_regions=60,
            strength=strength,
            length=length,
            rng=np.random.default_rng(seed),
            n_draws=600,
            n_kept=100,
        )[0]
        p.append(found.rank)
    assert 0.005 <= np.mean(np.array(p) <= 0.05) <= 0.11
    assert abs(found.strength_random - found.strength) < 0.4
    assert abs(found.length_random_mm - found.length_mm) < 6
    values[circuit] += 1.0
    planted = spatial_null(
        values, {"c": circuit}, n_regions=60, strength=strength, length=None, rng=rng
    )[0]
    assert planted.rank == pytest.approx(1 / 501)
    assert planted.n_random == 500


def test_random_circuits_keep_the_shape():
    """On a map of region numbers, a star stays a star: its mean is tied to one region."""
    i, j = np.triu_indices(20, 1)
    star = np.flatnonzero((i == 0) & (j < 6))
    values = np.where((i == 7) | (j == 7), 1.0, 0.0)
    found = spatial_null(
        values,
        {"star": star},
        n_regions=20,
        strength=np.zeros(i.size),
        length=None,
        rng=np.random.default_rng(0),
        n_draws=2000,
        n_kept=2000,
    )[0]
    assert found.value == 0
    assert found.rank == 1


def test_secondary_analyses_of_a_table_of_regions():
    """All of them but random circuits, which are sets of edges; in the unit of the features."""
    rng = np.random.default_rng(9)
    regions = FeatureSpace.of_regions(120, unit="mm", valid_range=(0, 10))
    typical, deviation = rng.normal(2.6, 0.3, 120), rng.normal(-0.1, 0.1, 120)
    own = typical + deviation + rng.normal(0, 0.1, (24, 120))
    before, after = (own + rng.normal(0, 0.05, (24, 120)) for _ in range(2))
    treated = np.arange(24) < 12
    after[treated] += 0.1
    healthy = typical + rng.normal(0, 0.1, (16, 120))
    visits = Visits(before, after, regions, treated=treated, reference=healthy)
    circuits, rules = {"frontal": np.arange(12)}, Rules(n_permutations=199)
    found = analyse(visits, circuits, rng=rng, rules=rules)
    levels = Levels(
        z=np.vstack([before, after]),
        person=np.tile(np.arange(24), 2),
        owner=np.tile(np.arange(24), 2),
        visit=np.repeat([0, 1], 24),
        names=("pre", "post"),
        days=(0.0, 30.0),
        treated=np.tile(treated, 2),
        motion_mm=None,
        covariates=np.empty((48, 0)),
    )
    more = secondary_analyses(found, visits, rng=rng, rules=rules, levels=levels)
    assert more.spatial == ()
    assert more.remarks == (regions.reason_to_omit("random circuits"),)
    rows = {(e.family, e.term): e for e in more.estimates}
    course = rows["trajectory: global", "shift at ses-post"]
    assert course.unit == "mm"
    assert course.p_corrected < 0.05
    assert course.estimate == pytest.approx(0.1, abs=0.03)
    assert rows["trajectory: global", "shift per 30 days"].unit == "mm per 30 days"
    assert rows["ranks: global", "shift"].p_corrected < 0.05
    assert not any("Fisher" in e.unit for e in more.estimates)
    assert [row.circuit for row in more.shares] == ["frontal"]
    assert [row.circuit for row in more.reliabilities] == ["frontal"]
    assert {row.family for row in more.influences} == {"global", "specific"}
    assert max(more.predictions, key=lambda row: row.elpd).model in ("global", "both")
