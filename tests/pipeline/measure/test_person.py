"""Measurement of a participant: table of runs, repeated measurement, and failed runs."""

import os

import numpy as np
import pytest

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import Digests
from circuitshift.pipeline.measure import person as measure
from circuitshift.pipeline.measure.atlas_files import prepare_atlases
from circuitshift.pipeline.records import AnalysisSettings

LABELS = ("Precuneus_L", "Precuneus_R", "Angular_L", "Angular_R", "Insula_L", "Insula_R")


@pytest.fixture
def series():
    return np.random.default_rng(1).standard_normal((60, 6)).cumsum(axis=0)


def write_run(root, person, values, labels=LABELS, *, suffix="timeseries", session="pre"):
    stat = "mean" if suffix == "timeseries" else "pearsoncorrelation"
    folder = root / f"sub-{person}" / f"ses-{session}" / "func"
    path = folder / f"sub-{person}_ses-{session}_task-rest_atlas-Mine_stat-{stat}_{suffix}.tsv"
    writer = tables.write_series if suffix == "timeseries" else tables.write_matrix
    writer(path, labels, values, sidecar={"RepetitionTime": 2.0})
    return path


def measure_all(root, out, settings=AnalysisSettings()):  # noqa: B008 - frozen
    found = bids.find_runs(root, bids.Query())
    prepare_atlases(found.runs, settings, out)
    rows = {}
    for person in sorted({run.participant for run in found.runs}):
        runs = [run for run in found.runs if run.participant == person]
        made = measure.measure_participant(
            runs, (), participant=person, settings=settings, out_dir=out
        )
        rows[person] = list(tables.read_table(made.runs).rows())
    return rows


@pytest.mark.parametrize("suffix", ["timeseries", "relmat"])
def test_one_fault_costs_one_run(tmp_path, series, suffix):
    good = series if suffix == "timeseries" else np.corrcoef(series.T)
    write_run(tmp_path / "in", "01", good, suffix=suffix)
    bad = good.copy() if suffix == "timeseries" else np.arctanh(good * 0.99)
    labels = ("Elsewhere", *LABELS[1:]) if suffix == "timeseries" else LABELS
    write_run(tmp_path / "in", "02", bad, labels, suffix=suffix)
    write_run(tmp_path / "in", "03", good, suffix=suffix)
    rows = measure_all(tmp_path / "in", tmp_path / "out")
    assert [rows[p][0]["status"] for p in ("01", "02", "03")] == ["included", "failed", "included"]
    sentences = {
        "timeseries": "1 of its columns are not in atlas Mine (Elsewhere)",
        "relmat": "it holds neither correlations nor Fisher z",
    }
    assert sentences[suffix] in rows["02"][0]["reason"]


def test_an_output_is_made_again_when_its_input_or_the_settings_change(tmp_path, series):
    path = write_run(tmp_path / "in", "01", series)
    out = tmp_path / "out"
    relmat = out / measure_all(tmp_path / "in", out)["01"][0]["relmat"]

    def stamp():
        return relmat.stat().st_mtime_ns

    first = stamp()
    measure_all(tmp_path / "in", out)
    assert stamp() == first
    os.utime(path, ns=(1, 1))
    measure_all(tmp_path / "in", out)
    assert stamp() == first
    write_run(tmp_path / "in", "01", series[::-1])
    measure_all(tmp_path / "in", out)
    second = stamp()
    assert second != first
    rows = measure_all(tmp_path / "in", out, AnalysisSettings(min_minutes=3.0))
    assert stamp() != second
    assert rows["01"][0]["code"] == "too-short"


@pytest.mark.parametrize("suffix", ["relmat", "timeseries"])
def test_a_damaged_output_is_made_again(tmp_path, series, suffix):
    """The damaged file has the same size but other content."""
    write_run(tmp_path / "in", "01", series)
    out = tmp_path / "out"
    measure_all(tmp_path / "in", out)
    path = next(out.rglob(f"*_{suffix}.tsv"))
    content = path.read_bytes()
    path.write_bytes(content[:-2] + (b"1" if content[-2:-1] != b"1" else b"2") + content[-1:])
    measure_all(tmp_path / "in", out)
    assert path.read_bytes() == content


def test_a_crash_adds_one_row_to_the_measured_runs(tmp_path, series):
    write_run(tmp_path / "in", "01", series)
    measure_all(tmp_path / "in", tmp_path / "out")
    for _ in range(2):
        made = measure.record_crash("01", "see logs", out_dir=tmp_path / "out")
    assert tables.read_table(made.runs).column("code") == ["n/a", "crash"]


def add_run(root, values, ses="pre", more=""):
    """Write the run of a further session or run of participant 01."""
    name = f"sub-01_ses-{ses}_task-rest{more}_atlas-Mine_stat-mean_timeseries.tsv"
    folder = root / "sub-01" / f"ses-{ses}" / "func"
    tables.write_series(folder / name, LABELS, values, sidecar={"RepetitionTime": 2.0})


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ({"ses": "pre"}, {"ses": "post"}, "sub-01: ses-post and ses-pre have identical data"),
        (
            {"more": "_run-1"},
            {"more": "_run-2"},
            "sub-01, ses-pre: run-1 and run-2 have identical data",
        ),
        ({}, {"more": "_acq-b"}, "sub-01, ses-pre: acq-b and no acq- have identical data"),
    ],
)
def test_runs_with_identical_data_fail_by_name(tmp_path, series, first, second, sentence):
    root = tmp_path / "in"
    add_run(root, series, **first)
    add_run(root, series, **second)
    add_run(root, series[::-1], ses="later")
    found = bids.find_runs(root, bids.Query())
    prepare_atlases(found.runs, AnalysisSettings(), tmp_path / "out")
    runs = list(found.runs)
    given = {"participant": "01", "settings": AnalysisSettings(), "out_dir": tmp_path / "out"}
    rows = list(tables.read_table(measure.measure_participant(runs, (), **given).runs).rows())
    by_session = {}
    for row in rows:
        by_session.setdefault(row["session"], set()).add((row["status"], row["code"]))
    copies = {s: kinds for s, kinds in by_session.items() if s != "later"}
    assert set.union(*copies.values()) == {("failed", "identical-data")}
    assert by_session["later"] == {("included", "n/a")}
    reasons = {row["reason"] for row in rows if row["status"] == "failed"}
    assert [sentence in reason for reason in reasons] == [True], reasons
    assert measure.is_measured(runs, (), **given, digests=Digests("sub-01", tmp_path / "out"))


def test_the_acquisition_is_recorded_and_updated_without_measuring_again(tmp_path, series):
    path = write_run(tmp_path / "in", "01", series)
    out = tmp_path / "out"
    relmat = out / measure_all(tmp_path / "in", out)["01"][0]["relmat"]
    about = tables.read_json(relmat.with_suffix(".json"))
    assert about["Acquisition"]["RepetitionTime"] == 2.0
    assert about["Acquisition"]["Manufacturer"] is None
    assert about["SourceDigest"] == tables.checksum(path)
    before = relmat.stat().st_mtime_ns
    path.with_suffix(".json").write_text('{"RepetitionTime": 2.0, "Manufacturer": "GE"}')
    measure_all(tmp_path / "in", out)
    about = tables.read_json(relmat.with_suffix(".json"))
    assert about["Acquisition"]["Manufacturer"] == "GE"
    assert relmat.stat().st_mtime_ns == before
