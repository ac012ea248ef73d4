"""Offline replicas: layout, participants and reproducibility."""

import hashlib
from dataclasses import replace

from circuitshift.pipeline.bids.participants import read_participants
from circuitshift.pipeline.bids.select_runs import find_runs
from circuitshift.pipeline.io import nifti, tables
from circuitshift.pipeline.validation.opendata.recipe import load_recipe
from circuitshift.pipeline.validation.opendata.replica import write_replica


def small(name, **changes):
    """Load a recipe with its first data set only, and change its replica."""
    recipe = load_recipe(name)
    data_set = recipe.data_sets[0]
    return replace(
        recipe, data_sets=(replace(data_set, replica=replace(data_set.replica, **changes)),)
    )


def test_a_replica_has_the_layout_of_the_data_set(tmp_path):
    recipe = small("ds003007", groups={"depr_cbt": 2, "depr_no_treatment": 1})
    write_replica(recipe, tmp_path)
    root = tmp_path / "ds003007"
    found = find_runs(root)
    assert found.problems == ()
    assert sorted((run.participant, run.session) for run in found.runs) == [
        (label, session) for label in ("01", "02", "03") for session in ("post", "pre")
    ]
    assert {(run.space, run.res) for run in found.runs} == {("MNI152NLin2009cAsym", "2")}
    header = nifti.read_header(found.runs[0].path)
    assert (header.t_r_s, header.n_volumes) == (2.5, 64)
    participants = read_participants(root)
    assert participants.columns["group"] == ("depr_cbt", "depr_cbt", "depr_no_treatment")
    assert len(participants.scores("BDI")) == 6
    description = tables.read_json(root / "derivatives/fmriprep/dataset_description.json")
    assert description["DatasetType"] == "derivative"


def test_equal_seeds_give_equal_bytes(tmp_path):
    recipe = small("ds003007", groups={"depr_cbt": 1}, sessions={"pre": 1.0})

    def digests(folder, seed):
        write_replica(recipe, tmp_path / folder, seed=seed)
        return {
            path.relative_to(tmp_path / folder): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (tmp_path / folder).rglob("*")
            if path.is_file()
        }

    first = digests("a", 1)
    assert digests("b", 1) == first
    assert digests("c", 2) != first
    assert digests("a", 2) == first  # an existing replica is kept


def test_a_replica_of_images_whose_names_state_no_processing(tmp_path):
    recipe = small("ds003059", groups={"healthy": 1}, sessions={"PLCB": 1.0})
    write_replica(recipe, tmp_path)
    root = tmp_path / "ds003059"
    names = sorted(path.name for path in root.rglob("*_bold.nii.gz"))
    assert names == [
        "._sub-001_ses-PLCB_task-rest_run-01_bold.nii.gz",
        "._sub-001_ses-PLCB_task-rest_run-03_bold.nii.gz",
        "sub-001_ses-PLCB_task-rest_run-01_bold.nii.gz",
        "sub-001_ses-PLCB_task-rest_run-03_bold.nii.gz",
    ]
    assert not (root / "participants.tsv").exists()
    assert not (root / "derivatives").exists()
