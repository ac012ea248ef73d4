"""Protocol and copies of a study, from files to verdict and group/design.json."""

import json
import shutil

import numpy as np
import pytest

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.errors import InputProblemsError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure.atlas_files import prepare_atlases
from circuitshift.pipeline.measure.person import measure_participant
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.study.group_level import DataSet, run_group
from circuitshift.pipeline.study.ratings import Rating
from circuitshift.pipeline.study.study_file import StudyFile

REGIONS = tuple(
    f"7Networks_{side}H_{network}_{k}"
    for network in ("Default", "DorsAttn", "Cont", "Vis", "SomMot")
    for side in "LR"
    for k in (1, 2)
)
PERSONS = tuple(f"{k:02d}" for k in range(1, 11))  # the first five are treated
SETTINGS = AnalysisSettings(min_minutes=1.0)
STATED = {"baseline": "pre", "followup": "post", "treated": ("drug",), "control": ("placebo",)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Write series of ten participants: TR 2.5 s at baseline, 0.8 s at follow-up, 4 minutes."""
    root = tmp_path_factory.mktemp("study") / "data"
    rng = np.random.default_rng(4)
    for person in PERSONS:
        for session, t_r_s, n in (("pre", 2.5, 96), ("post", 0.8, 300)):
            series = rng.normal(size=(n, 3)) @ rng.normal(size=(3, len(REGIONS)))
            series += rng.normal(size=(n, len(REGIONS)))
            about = {"RepetitionTime": t_r_s, "Manufacturer": "GE"}
            tables.write_series(path_of(root, person, session), REGIONS, series, sidecar=about)
    rows = [f"sub-{p}\t{'drug' if k < 5 else 'placebo'}" for k, p in enumerate(PERSONS)]
    (root / "participants.tsv").write_text("\n".join(["participant_id\tgroup", *rows]) + "\n")
    return root


def path_of(root, person, session):
    folder = root / f"sub-{person}" / f"ses-{session}" / "func"
    return folder / f"sub-{person}_ses-{session}_task-rest_atlas-Tiny_timeseries.tsv"


@pytest.fixture
def study(written, tmp_path):
    shutil.copytree(written, tmp_path / "data")
    return DataSet(tmp_path / "out", tmp_path / "data")


def analyse(study):
    found = bids.find_runs(study.participants, bids.Query())
    prepare_atlases(found.runs, SETTINGS, study.outputs)
    for person in PERSONS:
        runs = [run for run in found.runs if run.participant == person]
        measure_participant(runs, (), participant=person, settings=SETTINGS, out_dir=study.outputs)
    stated = StudyFile(None, tuple((STATED | {"n_permutations": 49}).items()))
    files = run_group([study], stated, settings=SETTINGS, out_dir=study.outputs)
    group = study.outputs / "group"
    return json.loads(files.verdict.read_text()), json.loads((group / "design.json").read_text())


def test_a_repetition_time_that_goes_with_the_visit_is_a_warning_of_the_verdict(study):
    verdict, design = analyse(study)
    (warning,) = [text for text in verdict["warnings"] if "protocol" in text]
    assert warning == (
        "The protocol differs between visits: repetition time 2.5 s at ses-pre (10 participants), "
        "0.8 s at ses-post (10). Its effect is part of every change between the visits."
    )
    assert warning in design["warnings"]
    protocol = design["protocol"]
    assert protocol["warnings"] == [warning]
    assert protocol["facts"]["manufacturer"] == {"ses-pre": {"GE": 10}, "ses-post": {"GE": 10}}
    assert protocol["facts"]["scan length"] == {"ses-pre": {"4 min": 10}, "ses-post": {"4 min": 10}}
    assert protocol["differs_with"]["visit"] == ["repetition time"]


def test_a_difference_of_one_participant_is_a_note_of_the_verdict(study):
    for person in PERSONS:
        path_of(study.participants, person, "pre").with_suffix(".json").write_text(
            json.dumps({"RepetitionTime": 2.5, "StationName": "B" if person == "03" else "A"})
        )
    verdict, design = analyse(study)
    (note,) = [text for text in verdict["notes"] if "protocol" in text]
    assert "station A (9 participants), B (1)" in note
    assert design["protocol"]["notes"] == [note]


@pytest.mark.parametrize(
    ("source", "target", "named"),
    [
        (("01", "pre"), ("02", "pre"), "sub-01 ses-pre and sub-02 ses-pre"),
        (("01", "post"), ("07", "post"), "sub-01 ses-post and sub-07 ses-post"),
        (("08", "pre"), ("09", "post"), "sub-08 ses-pre and sub-09 ses-post"),
    ],
)
def test_the_data_of_another_participant_are_refused(study, source, target, named):
    shutil.copy(path_of(study.participants, *source), path_of(study.participants, *target))
    with pytest.raises(InputProblemsError, match=f"{named} have identical data"):
        analyse(study)
    assert not (study.outputs / "group" / "verdict.json").exists()


def test_equal_matrices_of_different_files_are_refused(study):
    """An image that was compressed again; here, series with more digits."""
    text = path_of(study.participants, "01", "pre").read_text().splitlines()
    changed = [text[0], *("\t".join(f"{c}0" for c in line.split("\t")) for line in text[1:])]
    assert "." in text[1].split("\t")[0]
    path_of(study.participants, "02", "pre").write_text("\n".join(changed) + "\n")
    with pytest.raises(InputProblemsError, match="sub-01 ses-pre and sub-02 ses-pre have"):
        analyse(study)


def test_former_results_are_kept_and_rated_copies_are_not_refused(study, monkeypatch):
    verdict, _ = analyse(study)
    shutil.copy(path_of(study.participants, "01", "pre"), path_of(study.participants, "02", "pre"))
    with pytest.raises(InputProblemsError, match="have identical data"):
        analyse(study)
    assert json.loads((study.outputs / "group/verdict.json").read_text()) == verdict
    rated = (Rating("02", "pre", "exclude", "me", "a copy"),)
    monkeypatch.setattr("circuitshift.pipeline.study.group_level.read_ratings", lambda _: rated)
    again, _ = analyse(study)
    assert again["n"]["treated"] == 4
