"""Derivatives are found in nested folders, the nearest first."""

import os

import pytest

from circuitshift.pipeline.bids.description import write_dataset_description
from circuitshift.pipeline.bids.runs import folders
from circuitshift.pipeline.bids.runs.folders import derivative_levels, has_participants, tier_of


def levels(root):
    notes: list[str] = []
    found = [[str(p.relative_to(root)) for p in level] for level in derivative_levels(root, notes)]
    return [level for level in found if level], notes


@pytest.mark.parametrize(
    "below",
    [
        "derivatives/fmriprep-20.2.7/fmriprep",
        "derivatives/fmriprep/v23",
        "derivatives/project/pipelines/out",
        "X/out/fmriprep",
        "preprocessed",
        "output/fmriprep",
    ],
)
def test_nested_folders_are_found(tmp_path, below):
    (tmp_path / below / "sub-01").mkdir(parents=True)
    assert below in levels(tmp_path)[0][-1]


@pytest.mark.parametrize(
    "below",
    [
        "a/b/c/fmriprep",
        "sourcedata/fmriprep",
        "derivatives/x/.git/fmriprep",
        "sub-01/fmriprep",
        "derivatives/freesurfer/fmriprep",
    ],
)
def test_folders_that_are_not_searched(tmp_path, below):
    (tmp_path / below / "sub-01").mkdir(parents=True)
    assert below not in [path for level in levels(tmp_path)[0] for path in level]


def test_folders_are_yielded_nearest_first_and_once(tmp_path):
    for below in ("derivatives/a/sub-01", "derivatives/b/c/sub-01", "d/sub-01"):
        (tmp_path / below).mkdir(parents=True)
    (tmp_path / "derivatives/b/z").symlink_to(tmp_path / "derivatives/b/c")
    (tmp_path / "derivatives/b/circle").symlink_to(tmp_path)
    (tmp_path / "derivatives/self").symlink_to("self")
    assert levels(tmp_path)[0] == [["derivatives/a", "derivatives/b"], ["derivatives/b/c"], ["d"]]


def test_own_output_is_not_searched(tmp_path):
    (tmp_path / "derivatives/ours/preproc/sub-01").mkdir(parents=True)
    write_dataset_description(tmp_path / "derivatives/ours", name="circuitshift")
    found, notes = levels(tmp_path)
    assert found == []
    assert "is output of circuitshift" in notes[0]


def test_a_folder_that_cannot_be_listed_is_left_to_the_scan(tmp_path, monkeypatch):
    (tmp_path / "derivatives/a/sub-01").mkdir(parents=True)
    (tmp_path / "derivatives/b/sub-01").mkdir(parents=True)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("derivatives/a"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "access", lambda path, _: not str(path).endswith("derivatives/a"))
    assert levels(tmp_path) == ([["derivatives/a", "derivatives/b"]], [])


def test_the_search_ends_in_a_large_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_MAX_FOLDERS", 3)
    for k in range(9):
        (tmp_path / f"{k}/x/sub-01").mkdir(parents=True)
    assert levels(tmp_path)[0] == []


def test_reports_alone_are_not_participants(tmp_path):
    (tmp_path / "sub-01.html").touch()
    assert not has_participants(tmp_path)
    (tmp_path / "sub-01_task-rest_atlas-A_timeseries.tsv").touch()
    assert has_participants(tmp_path)


def test_folders_of_fmriprep_are_preferred(tmp_path):
    for below in ("derivatives/fmriprep/v23", "fMRIPrep-24", "derivatives/x/fmriprep"):
        assert tier_of(tmp_path / below, tmp_path) == 0
    assert tier_of(tmp_path / "derivatives/xcp_d", tmp_path) == 1
    (tmp_path / "y").mkdir()
    (tmp_path / "y/dataset_description.json").write_text('{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    assert tier_of(tmp_path / "y", tmp_path) == 0
