"""Facts of measured runs, read from the JSON files of their matrices."""

import json
import math

import pytest

from circuitshift.pipeline.study.protocol.acquired import read_acquired


def row_of(root, run="sub-01_ses-pre", about=None, **more):
    relmat = f"sub-01/{run}_relmat.tsv"
    path = root / relmat
    path.parent.mkdir(parents=True, exist_ok=True)
    if about is not None:
        path.with_suffix(".json").write_text(json.dumps(about))
    row = {
        "person": "01",
        "session": "pre",
        "run": run,
        "status": "included",
        "n_volumes": "150",
        "n_regions": "40",
        "n_regions_lost": "2",
        "relmat": relmat,
        "root": str(root),
    }
    return row | more


def facts_of(root, **stated):
    (run,) = read_acquired([row_of(root, about={"Acquisition": stated})])
    return run.facts


def test_facts_have_units(tmp_path):
    assert facts_of(
        tmp_path,
        RepetitionTime=2.5,
        EchoTime=0.0301,
        MagneticFieldStrength=2.89,
        Grid=[64, 64, 36],
        VoxelSize=[3.0, 3.0, 3.3],
        PhaseEncodingDirection="j-",
        DeviceSerialNumber=66042,
        GeneratedBy="fMRIPrep 20.2.7",
        StationName=None,
    ) == {
        "repetition time": "2.5 s",
        "echo time": "30.1 ms",
        "field strength": "3 T",
        "grid": "64x64x36 voxels of 3 x 3 x 3.3 mm",
        "phase encoding direction": "j-",
        "serial number": "66042",
        "preprocessing software": "fMRIPrep 20.2.7",
    }


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("RepetitionTime", 0.8, 0.8000001),
        ("MagneticFieldStrength", 1.494, 1.5),
        ("MagneticFieldStrength", 3, 2.8936),
        ("EchoTime", 0.03, 30),
    ],
)
def test_equal_protocols_have_equal_texts(tmp_path, key, one, other):
    assert facts_of(tmp_path, **{key: one}) == facts_of(tmp_path, **{key: other})


def test_length_and_contents(tmp_path):
    about = {
        "Acquisition": {"RepetitionTime": 2.0},
        "SourceDigest": "aa",
        "Files": {"sub-01/sub-01_ses-pre_relmat.tsv": "bb"},
    }
    (run,) = read_acquired([row_of(tmp_path, about=about)])
    assert (run.minutes, run.contents) == (5.0, ("input aa", "matrix bb"))
    (run,) = read_acquired([row_of(tmp_path, about=about, n_regions="2", n_volumes="0")])
    assert math.isnan(run.minutes)
    assert run.contents == ("input aa",)
    (run,) = read_acquired([row_of(tmp_path, about=about, n_regions_lost="38")])
    assert run.contents == ("input aa",)


def test_runs_that_are_not_included_and_further_strategies_are_skipped(tmp_path):
    about = {"Acquisition": {"RepetitionTime": 2.0}}
    rows = [
        row_of(tmp_path, about=about),
        row_of(tmp_path, strategy="24p+gsr", relmat="missing.tsv"),
        row_of(tmp_path, "excluded", status="excluded"),
        row_of(tmp_path, "failed", status="failed", relmat="n/a"),
    ]
    assert [run.run for run in read_acquired(rows)] == ["sub-01_ses-pre"]


def test_runs_of_concatenated_series_have_facts_and_the_series_have_none(tmp_path):
    about = {"Acquisition": {"RepetitionTime": 2.0}}
    rows = [
        row_of(tmp_path, "first", about=about, status="combined"),
        row_of(tmp_path, "second", about=about, status="combined"),
        row_of(tmp_path, "both", about=about, code="concatenated"),
    ]
    assert [run.run for run in read_acquired(rows)] == ["first", "second"]


@pytest.mark.parametrize("about", [None, {}, {"Acquisition": "text", "Files": None}])
def test_outputs_without_facts(tmp_path, about):
    (run,) = read_acquired([row_of(tmp_path, about=about, session="n/a")])
    assert (run.session, run.facts, run.contents) == ("", {}, ())
