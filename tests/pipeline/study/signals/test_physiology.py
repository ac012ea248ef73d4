"""Heart rate and breathing, from simulated recordings with known rates."""

import gzip
import json

import numpy as np
import pytest

from circuitshift.pipeline.study.signals.physiology import (
    breathing,
    heart_rate,
    read_physiology,
    summarise_run,
)

HZ = 50.0


def cycles(rate, seconds, rng, *, jitter=0.05, depth=0.0):
    """Simulate cycles of varying length and depth, with noise and drift; return their mean rate."""
    n = int(rate * seconds / 60 * 1.3)
    lengths = 60 / rate * (1 + jitter * rng.standard_normal(n))
    edges = np.cumsum(lengths)
    time = np.arange(0, seconds, 1 / HZ)
    at = np.searchsorted(edges, time)
    phase = 1 - (edges[at] - time) / lengths[at]
    size = np.exp(depth * rng.standard_normal(n))[at]
    signal = size * (1 - np.cos(2 * np.pi * phase)) / 2
    return signal + 0.05 * rng.standard_normal(len(time)) + 0.001 * time


@pytest.mark.parametrize("rate", [48.0, 72.0, 110.0])
@pytest.mark.parametrize("scale", [1.0, -300.0])
def test_the_heart_rate_is_found_at_any_scale(rate, scale):
    signal = cycles(rate, 240, np.random.default_rng(1))
    assert heart_rate(scale * signal + 1000, HZ) == pytest.approx(rate, rel=0.03)


@pytest.mark.parametrize("rate", [9.0, 15.0, 24.0])
def test_the_rate_of_breathing_is_found(rate):
    found, _ = breathing(5 * cycles(rate, 300, np.random.default_rng(2)), HZ)
    assert found == pytest.approx(rate, rel=0.05)


def test_irregular_breathing_is_more_variable_regardless_of_the_scale():
    rng = np.random.default_rng(3)
    regular = cycles(15, 400, rng)
    irregular = cycles(15, 400, rng, jitter=0.15, depth=0.4)
    assert breathing(irregular, HZ)[1] > 1.5 * breathing(regular, HZ)[1]
    assert breathing(77 * irregular, HZ)[1] == pytest.approx(breathing(irregular, HZ)[1])


@pytest.mark.parametrize(
    "signal",
    [np.zeros(10_000), np.full(10_000, np.nan), np.ones(20), np.r_[np.zeros(9000), 1.0]],
)
def test_recordings_that_are_flat_short_or_missing(signal):
    assert np.isnan(heart_rate(signal, HZ))
    assert np.isnan(breathing(signal, HZ)).all()


def test_a_low_sampling_frequency_is_not_used_for_heartbeats():
    signal = cycles(72, 300, np.random.default_rng(4))[::10]
    assert np.isnan(heart_rate(signal, HZ / 10))


def test_recordings_are_read_from_the_first_volume_on(tmp_path):
    rng = np.random.default_rng(5)
    pulse, belt = cycles(72, 120, rng), cycles(15, 120, rng)
    path, sidecar = tmp_path / "x_physio.tsv.gz", tmp_path / "x_physio.json"
    rows = "".join(f"{a:.5f}\t{b:.5f}\n" for a, b in zip(pulse, belt, strict=True))
    path.write_bytes(gzip.compress(rows.encode()))
    about = {"Columns": ["cardiac", "Respiratory"], "SamplingFrequency": HZ, "StartTime": -2.0}
    sidecar.write_text(json.dumps(about))
    columns, hz = read_physiology(path, sidecar)
    np.testing.assert_allclose(columns["cardiac"], pulse[100:], atol=1e-5)
    assert hz == HZ
    found = summarise_run(columns, hz)
    assert set(found) == {"heart rate", "breathing rate", "variability of breathing"}
    assert found["heart rate"] == pytest.approx(72, rel=0.03)
    assert set(summarise_run({"trigger": pulse}, hz)) == set()
    sidecar.write_text(json.dumps(about | {"Columns": ["cardiac"]}))
    with pytest.raises(ValueError, match="2 columns and 1 names"):
        read_physiology(path, sidecar)
    sidecar.write_text("{}")
    with pytest.raises(ValueError, match="cannot be read"):
        read_physiology(path, sidecar)
    path.write_bytes(b"no archive")
    sidecar.write_text(json.dumps(about))
    with pytest.raises(ValueError, match="cannot be read"):
        read_physiology(path, sidecar)
