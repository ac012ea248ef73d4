"""Measures of arousal at each visit, from dates, JSON files of series, and recordings."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.bids.participants import ParticipantTable
from circuitshift.pipeline.study.signals.arousal import GLOBAL_SIGNAL_KEY, arousal_of_visits


def test_measures_are_collected_and_those_of_no_participant_are_left_out(
    write_run, study, tmp_path
):
    raw = tmp_path / "raw"
    series = np.random.default_rng(0).normal(size=(30, 2))
    rows = []
    time = np.arange(0, 200, 0.02)
    for person in ("01", "02"):
        for session, rate in (("pre", 60), ("post", 90)):
            stem = f"sub-{person}_ses-{session}_task-rest"
            rows.append(write_run(person, session, series=series, run=stem))
            (about,) = (tmp_path / f"sub-{person}").glob(f"*ses-{session}*timeseries.json")
            percent = {"pre": 0.5, "post": 1.0}[session]
            about.write_text(json.dumps({GLOBAL_SIGNAL_KEY: percent} if person == "01" else {}))
            if person == "02" and session == "post":
                continue
            folder = raw / f"sub-{person}" / f"ses-{session}" / "func"
            folder.mkdir(parents=True)
            pulse = 1 + np.sin(2 * np.pi * rate / 60 * time)
            text = "".join(f"{x:.4f}\n" for x in pulse)
            name = folder / f"{stem}_recording-pulse_physio.tsv.gz"
            name.write_bytes(gzip.compress(text.encode()))
    sidecar = {"Columns": ["cardiac"], "SamplingFrequency": 50}
    (raw / "task-rest_recording-pulse_physio.json").write_text(json.dumps(sidecar))
    dates = {("01", "pre"): "2020-01-01T09:00:00", ("01", "post"): "2020-02-01T23:30:00"}
    table = ParticipantTable(("01", "02"), {}, visits={"acq_time": dates}, folder=raw)
    context, fitted = study(rows)
    context.measurements.participants = {"": table}
    found = arousal_of_visits(context, fitted)
    nan = np.nan
    np.testing.assert_allclose(found["time of day, hours"], [[9, 23.5], [nan, nan]], atol=1e-6)
    amplitude = found["global-signal amplitude before denoising, log percent"]
    np.testing.assert_allclose(amplitude, [[np.log(0.5), 0], [nan, nan]], atol=1e-9)
    np.testing.assert_allclose(found["heart rate"], [[60, 90], [60, nan]], rtol=0.02)
    assert set(found) == {"time of day, hours", "heart rate",
                          "global-signal amplitude before denoising, log percent"}  # fmt: skip
    own = next(raw.glob("sub-01/ses-pre/func/*_physio.tsv.gz"))
    own.with_name(own.name.replace(".tsv.gz", ".json")).write_text("{}")  # damaged, and nearer
    assert "heart rate" not in arousal_of_visits(context, fitted)


@pytest.mark.parametrize("table", [None, ParticipantTable(("01",), {}, folder=Path())])
def test_without_a_table_or_dates_there_is_nothing(study, table):
    context, fitted = study([])
    context.measurements.participants = {} if table is None else {"": table}
    assert arousal_of_visits(context, fitted) == {}


def test_dates_without_a_time_are_no_time_of_day(study):
    dates = {("01", "pre"): "2020-01-01", ("01", "post"): "2020-02-01"}
    context, fitted = study([])
    table = ParticipantTable(("01",), {}, visits={"acq_time": dates})
    context.measurements.participants = {"": table}
    assert arousal_of_visits(context, fitted) == {}
