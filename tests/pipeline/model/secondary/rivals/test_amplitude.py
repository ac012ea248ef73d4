"""Changes of variance and of coupling are told apart, in series with known covariances."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.analyse import analyse
from circuitshift.pipeline.model.contrasts import Rules, Visits
from circuitshift.pipeline.model.secondary.record import SecondaryData, SecondaryResult
from circuitshift.pipeline.model.secondary.rivals.amplitude import (
    amplitude_and_coupling,
    change_from_variance,
)

N, REGIONS = 20, 24
DMN = np.arange(6)
CIRCUITS = {"dmn": np.flatnonzero(np.isin(connectivity.edge_ends(REGIONS)[0], DMN)
                                  & np.isin(connectivity.edge_ends(REGIONS)[1], DMN))}  # fmt: skip


def series_study(*, noise=0.0, coupling=1.0, seed=0, volumes=300):
    """Simulate series with three factors; at follow-up, noise or coupling of the DMN changes."""
    rng = np.random.default_rng(seed)
    network = np.arange(REGIONS) // 6
    z, log_sd = np.empty((N, 2, REGIONS * (REGIONS - 1) // 2)), np.empty((N, 2, REGIONS))
    for i in range(N):
        own = 0.6 + 0.1 * rng.standard_normal(REGIONS)
        for t in range(2):
            factors = rng.standard_normal((volumes, 4))
            everywhere = rng.standard_normal((volumes, 1))
            loading = np.where(network == 0, own * (coupling if t else 1.0), own)
            series = factors[:, network] * loading + 0.5 * everywhere
            series = series + 0.8 * rng.standard_normal(series.shape)
            if t:
                series[:, DMN] += noise * rng.standard_normal((volumes, len(DMN)))
            z[i, t] = connectivity.edges(series)
            log_sd[i, t] = np.log(series.std(axis=0))
    visits = Visits(z[:, 0], z[:, 1], FeatureSpace.of_edges(REGIONS))
    rules = Rules(n_permutations=299)
    return SecondaryData(
        analyse(visits, CIRCUITS, rng=np.random.default_rng(1), rules=rules),
        visits,
        rules,
        participants=[f"sub-{k}" for k in range(N)],
        networks=[""] * REGIONS,
        rng=np.random.default_rng(2),
        log_sd=log_sd,
    )


def dmn(data):
    (row,) = [r for r in amplitude_and_coupling(data).tables["amplitude"] if r["term"] == "dmn"]
    return row


def test_added_noise_is_explained_by_variance():
    """Only the variance of DMN regions changes, so that covariances stay."""
    row = dmn(series_study(noise=0.5))
    assert row["change"] < -0.05
    assert row["explained"] == pytest.approx(row["change"], rel=0.35)
    assert row["explained_p_corrected"] < 0.05
    assert row["remaining_ci_low"] < 0.01
    assert row["remaining_ci_high"] > -0.01
    assert row["log_sd"] == pytest.approx(0.5 * np.log(1 + 0.25 / (0.37 + 0.25 + 0.64)), abs=0.02)
    assert row["covariance_ci_low"] < 0 < row["covariance_ci_high"]
    assert row["pattern"] == "variance changed, and accounts for a part"


def test_a_change_of_coupling_remains():
    found = amplitude_and_coupling(series_study(coupling=0.6))
    (row,) = [row for row in found.tables["amplitude"] if row["term"] == "dmn"]
    assert row["change"] < -0.05
    assert row["remaining_ci_high"] < 0
    # the variance fell as well, which alone raises correlations
    assert row["remaining"] < row["change"] < 0 < row["explained"]
    assert row["covariance_ci_high"] < 0
    assert row["pattern"] == "coupling changed beyond variance"
    assert "dmn" not in found.finding


def test_the_remaining_change_is_nominal_without_change():
    hits = [
        dmn(series_study(seed=s, volumes=100))["remaining_p_corrected"] <= 0.05 for s in range(25)
    ]
    assert sum(hits) <= 5  # binomial(25, .05): P(more than 5) = .001


def test_the_prediction_is_the_derivative_of_fisher_z():
    rng = np.random.default_rng(3)
    before = np.arctanh(np.tile(rng.uniform(-0.3, 0.8, 3), (4, 1)))
    log_ratio = rng.normal(0, 1e-4, (4, 3))
    i, j = connectivity.edge_ends(3)
    r = np.tanh(before)
    changed = r / np.exp(log_ratio[:, i] + log_ratio[:, j])
    found = change_from_variance(before, log_ratio)
    np.testing.assert_allclose(found, np.arctanh(changed) - before, rtol=2e-3, atol=1e-9)
    own = before.copy()
    own[0] += 0.3  # noise of a participant's baseline is not in the own prediction
    np.testing.assert_allclose(change_from_variance(own, log_ratio)[0], found[0], rtol=1e-9)


def test_a_crossover_subtracts_the_control_condition():
    data = series_study(noise=0.5)
    both = np.concatenate([data.log_sd, data.log_sd], axis=1)
    visits = replace(
        data.visits,
        control_baseline=data.visits.baseline + 0.01,
        control_followup=data.visits.followup + 0.01,
    )
    analysis = analyse(visits, CIRCUITS, rng=np.random.default_rng(1), rules=data.rules)
    row = dmn(replace(data, visits=visits, analysis=analysis, log_sd=both))
    assert row["explained"] == pytest.approx(0, abs=1e-9)
    assert row["log_sd"] == pytest.approx(0, abs=1e-9)
    assert row["covariance"] == pytest.approx(0, abs=0.01)


def test_unknown_amplitudes():
    data = series_study(volumes=60)
    assert amplitude_and_coupling(replace(data, log_sd=None)) == SecondaryResult()
    few = np.where(np.arange(N)[:, None, None] < 3, data.log_sd, np.nan)
    with pytest.raises(DesignError, match="in 3 participants"):
        amplitude_and_coupling(replace(data, log_sd=few))
    some = np.where(np.arange(N)[:, None, None] < 12, data.log_sd, np.nan)
    row = dmn(replace(data, log_sd=some))
    assert row["n"] == 12
    assert row["change"] == pytest.approx(data.analysis.response.specific[:12, 0].mean())
    removed = replace(data, visits=replace(data.visits, global_signal_removed=True))
    rows = amplitude_and_coupling(removed).tables["amplitude"]
    assert [row["term"] for row in rows] == ["dmn"]
