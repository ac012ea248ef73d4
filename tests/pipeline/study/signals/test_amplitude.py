"""Amplitude of the series at each visit, from the JSON files of runs."""

import json
from types import SimpleNamespace

import numpy as np

from circuitshift.pipeline.study.signals.amplitude import (
    AMPLITUDE_KEY,
    TSNR_KEY,
    log_amplitude,
    signal_quality,
)


def test_amplitudes_are_averaged_over_runs_on_the_log_scale(write_run, study, tmp_path):
    series = np.random.default_rng(0).normal(size=(30, 2))
    rows = []
    stated = {
        ("01", "pre"): [{"a": 1.0, "b": 2.0}],
        ("01", "post"): [{"a": 4.0, "b": None}],
        ("02", "pre"): [{"a": 1.0}],
    }
    for (person, session), values in stated.items():
        rows.append(write_run(person, session, series=series))
        (path,) = tmp_path.glob(f"sub-{person}/*ses-{session}*timeseries.json")
        path.write_text(json.dumps({AMPLITUDE_KEY: values[0]}))
    context, fitted = study(rows)
    primary = fitted.cohort, fitted.strategy
    context.atlas = SimpleNamespace(name="A", labels=("a", "b"))
    nan = np.nan
    expected = [[[0, np.log(2)], [np.log(4), nan]], [[0, nan], [nan, nan]]]
    np.testing.assert_allclose(log_amplitude(context, *primary), expected)
    quality = [[-np.log(4), nan], [nan, nan]]
    np.testing.assert_allclose(signal_quality(context, *primary), quality)
    twice, _ = study([*rows, rows[1] | {"run": "again"}, rows[0]])
    twice.atlas = context.atlas
    np.testing.assert_allclose(log_amplitude(twice, *primary), expected)  # the mean of equal runs
    path.write_text("{}")
    only, _ = study(rows[2:])
    only.atlas = context.atlas
    assert log_amplitude(only, *primary) is None
    assert signal_quality(only, *primary) is None


def test_the_signal_quality_of_a_crossover_subtracts_the_control_condition(
    write_run, study, tmp_path
):
    series = np.random.default_rng(0).normal(size=(30, 2))
    visits = {"pre": 1.0, "post": 2.0, "pre2": 3.0, "post2": 4.0}
    rows = []
    for session, percent in visits.items():
        rows.append(write_run("01", session, series=series))
        (path,) = tmp_path.glob(f"sub-01/*ses-{session}_*timeseries.json")
        path.write_text(json.dumps({AMPLITUDE_KEY: {"a": percent, "b": 1.0}}))
    context, fitted = study(rows, ("01",), control_baseline="pre2", control_followup="post2")
    context.atlas = SimpleNamespace(name="A", labels=("a", "b"))
    found = signal_quality(context, fitted.cohort, fitted.strategy)
    np.testing.assert_allclose(found, [[np.log(1 / 2) - np.log(3 / 4), 0.0]])


def test_the_ratio_before_denoising_is_used_where_the_amplitude_is_unknown(
    write_run, study, tmp_path
):
    series = np.random.default_rng(0).normal(size=(30, 2))
    rows = []
    for session, ratio in {"pre": 80.0, "post": 40.0}.items():
        rows.append(write_run("01", session, series=series))
        (path,) = tmp_path.glob(f"sub-01/*ses-{session}*timeseries.json")
        path.write_text(json.dumps({TSNR_KEY: {"a": ratio, "b": None}}))
    context, fitted = study(rows, ("01",))
    context.atlas = SimpleNamespace(name="A", labels=("a", "b"))
    assert log_amplitude(context, fitted.cohort, fitted.strategy) is None
    found = signal_quality(context, fitted.cohort, fitted.strategy)
    np.testing.assert_allclose(found, [[-np.log(2), np.nan]])
