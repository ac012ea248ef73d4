"""Facts about the acquisition of a run, from header, sidecars and data set."""

import json
from dataclasses import replace

from circuitshift.pipeline.bids.run_metadata import check_run
from circuitshift.pipeline.bids.runs.acquisition import FACTS, acquisition_of
from circuitshift.pipeline.bids.select_runs import Query, find_runs


def run_of(root, label="02"):
    (run,) = find_runs(root, Query(participants=(label,))).runs
    return check_run(run)[0]


def test_facts_of_an_image(images, files, names):
    stated = {
        "RepetitionTime": 2.5,
        "Manufacturer": " Siemens ",
        "MagneticFieldStrength": 3,
        "EchoTime": 0.03,
        "PhaseEncodingDirection": "j-",
        "SoftwareVersions": ["syngo", "MR E11"],
        "StationName": "n/a",
        "DeviceSerialNumber": None,
        "ManufacturersModelName": True,
    }
    (images / names.sidecar).write_text(json.dumps(stated))
    files.touch(
        images / "dataset_description.json",
        json.dumps({"Name": "x", "GeneratedBy": [{"Name": "fMRIPrep", "Version": "20.2.7"}]}),
    )
    found = acquisition_of(run_of(images))
    assert set(found) == set(FACTS)
    assert {key: value for key, value in found.items() if value is not None} == {
        "RepetitionTime": 2.5,
        "NumberOfVolumes": 4,
        "Grid": [3, 3, 3],
        "VoxelSize": [3.0, 3.0, 3.0],
        "TaskName": "rest",
        "GeneratedBy": "fMRIPrep 20.2.7",
        "Manufacturer": "Siemens",
        "MagneticFieldStrength": 3,
        "EchoTime": 0.03,
        "PhaseEncodingDirection": "j-",
        "SoftwareVersions": "syngo MR E11",
    }
    assert json.loads(json.dumps(found)) == found


def test_sidecars_are_inherited(images, files):
    files.touch(images / "task-rest_bold.json", '{"Manufacturer": "GE", "EchoTime": 0.025}')
    files.touch(images / "sub-02/ses-pre/sub-02_ses-pre_bold.json", '{"EchoTime": 0.03}')
    found = acquisition_of(run_of(images))
    assert (found["Manufacturer"], found["EchoTime"]) == ("GE", 0.03)
    assert acquisition_of(run_of(images, "03"))["EchoTime"] == 0.025


def test_older_descriptions_and_those_without_software(images, files):
    for content, expected in (
        ({"PipelineDescription": {"Name": "fMRIPrep", "Version": "1.5"}}, "fMRIPrep 1.5"),
        ({"GeneratedBy": [{"Name": "XCP-D"}]}, "XCP-D"),
        ({"GeneratedBy": ["text"]}, None),
        ({"Name": "raw"}, None),
    ):
        files.touch(images / "dataset_description.json", json.dumps(content))
        assert acquisition_of(run_of(images))["GeneratedBy"] == expected


def test_time_series_state_what_their_sidecars_state(tmp_path, files):
    series = tmp_path / "sub-02/func/sub-02_task-rest_atlas-A_stat-mean_timeseries.tsv"
    files.touch(series)
    files.touch(series.with_suffix(".json"), '{"RepetitionTime": 0.8, "StationName": "MR1"}')
    found = acquisition_of(run_of(tmp_path))
    assert (found["RepetitionTime"], found["StationName"], found["Grid"]) == (0.8, "MR1", None)


def test_unreadable_files_state_nothing(images, names):
    run = run_of(images)
    (images / names.sidecar).write_text("{")
    (images / names.bold).write_bytes(b"")
    (images / "dataset_description.json").write_text("[]")
    found = acquisition_of(replace(run, task=""))
    assert {key for key, value in found.items() if value is not None} == {"RepetitionTime"}


def test_the_raw_data_set_around_derivatives_states_the_scanner(images, files, names):
    root = images.parent / "study"
    derived = root / "derivatives" / "lab" / "fmriprep"
    derived.parent.mkdir(parents=True)
    images.rename(derived)
    (derived / names.sidecar).write_text('{"RepetitionTime": 2.5, "EchoTime": 0.03}')
    run = run_of(derived)
    assert acquisition_of(run)["Manufacturer"] is None
    func = root / "sub-02/ses-pre/func"
    files.touch(root / "task-rest_bold.json", '{"Manufacturer": "GE", "EchoTime": 0.04}')
    files.touch(root / "task-nback_bold.json", '{"StationName": "MR9"}')
    files.touch(func / "sub-02_ses-pre_task-rest_bold.json", '{"PhaseEncodingDirection": "j"}')
    found = acquisition_of(run)
    assert (found["Manufacturer"], found["PhaseEncodingDirection"]) == ("GE", "j")
    assert found["EchoTime"] == 0.03  # the derivative is nearer
    assert found["StationName"] is None
