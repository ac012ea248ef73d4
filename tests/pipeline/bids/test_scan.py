"""Scanning folders: which files may be runs, which are ignored, and which are problems."""

import os
import shutil
from pathlib import Path

import pytest

from circuitshift.pipeline.bids.description import write_dataset_description
from circuitshift.pipeline.bids.scan import NO_RUN, scan_all
from circuitshift.pipeline.errors import InputError

VISITS = [(label, session) for label in ("01", "02", "03") for session in ("post", "pre")]


def scan_one(root):
    (scan,) = scan_all(root, [])
    return scan


def visits(scan):
    return sorted({(file.participant, file.name.get("ses")) for file in scan.files})


# --- folders


def test_names_of_folders_above_have_no_effect(tree):
    scan = scan_one(tree)
    assert visits(scan) == VISITS
    assert scan.problems == []
    assert {file.name.get("task") for file in scan.files} == {"rest"}


def test_nothing_is_cached_and_nothing_is_written(tree, files):
    before = sorted(tree.rglob("*"))
    assert len(scan_one(tree).files) == 6
    assert sorted(tree.rglob("*")) == before
    files.run(tree, "sub-04_ses-pre_task-rest")
    assert len(scan_one(tree).files) == 7


def test_files_may_be_at_the_root(tmp_path, files):
    for label in ("01", "02"):
        files.touch(tmp_path / f"sub-{label}_ses-pre_task-rest_seg-AAL_timeseries.tsv")
    files.touch(tmp_path / "sub-01.html")
    scan = scan_one(tmp_path)
    assert visits(scan) == [("01", "pre"), ("02", "pre")]
    assert {file.atlas for file in scan.files} == {"AAL"}
    assert scan.problems == []


@pytest.mark.parametrize("below", ["derivatives/fmriprep-23.1", "derivatives/mine", "fmriprep"])
def test_derivatives_of_a_raw_data_set_are_found(tmp_path, files, below):
    files.touch(tmp_path / "sub-01/func/sub-01_task-rest_bold.nii.gz")
    files.touch(tmp_path / "sub-02/func/sub-02_task-rest_bold.nii.gz")
    files.run(tmp_path / below, "sub-01_task-rest")
    notes: list[str] = []
    (scan,) = scan_all(tmp_path, notes)
    assert visits(scan) == [("01", "")]
    assert scan.tier == (below == "derivatives/mine")
    assert notes == [f"Preprocessed files were found in {below}, below {tmp_path}."]


def test_empty_subdatasets_and_own_output_are_noted(tmp_path, files):
    (tmp_path / "derivatives/fmriprep").mkdir(parents=True)
    own = tmp_path / "derivatives/circuitshift"
    write_dataset_description(own, name="circuitshift")
    files.touch(own / "sub-01/func/sub-01_task-rest_space-S_atlas-A_stat-mean_timeseries.tsv")
    notes: list[str] = []
    (scan,) = scan_all(tmp_path, notes)
    assert (scan.base, scan.files) == (tmp_path, [])
    assert "is output of circuitshift and is not used as input" in notes[0]
    assert "is empty; if it is a DataLad subdataset, run `datalad get -n`" in notes[1]


def test_folders_that_do_not_exist_are_refused(tree):
    with pytest.raises(InputError, match="there is no such folder; give the folder"):
        scan_all(tree / "nowhere", [])
    with pytest.raises(InputError, match="it is a file, not a folder"):
        scan_all(next(tree.rglob("*.tsv")), [])


# --- input types


def test_tables_of_xcpd(tmp_path, files):
    for tail in (
        "space-S_seg-Gordon_stat-mean_timeseries.tsv",
        "space-S_seg-Gordon_stat-pearsoncorrelation_relmat.tsv",
        "space-S_seg-Gordon_stat-alff_timeseries.tsv",
        "space-S_seg-Gordon_stat-coverage_bold.tsv",
        "space-S_desc-denoised_bold.nii.gz",
        "desc-abcd_qc.tsv",
        "motion.tsv",
        "recording-x_timeseries.tsv",
    ):
        files.touch(tmp_path / f"sub-01/func/sub-01_task-rest_{tail}")
    scan = scan_one(tmp_path)
    assert sorted(file.input_type.name for file in scan.files) == ["relmat", "timeseries"]
    assert {file.atlas for file in scan.files} == {"Gordon"}
    assert scan.counts == {"statistic": 1, "no atlas": 1}


@pytest.mark.parametrize(
    ("tail", "input_type"),
    [
        ("desc-denoiseSimple_timeseries.tsv", "timeseries"),
        ("meas-PearsonCorrelation_desc-denoiseSimple_relmat.tsv", "relmat"),
    ],
)
def test_tables_of_giga_connectome(tmp_path, files, tail, input_type):
    stem = "sub-1_ses-pre_task-rest_run-01_seg-Schaefer2018100Parcels7Networks"
    files.touch(tmp_path / "sub-1/ses-pre/func" / f"{stem}_{tail}")
    (file,) = scan_one(tmp_path).files
    assert (file.input_type.name, file.atlas) == (input_type, "Schaefer2018100Parcels7Networks")


def test_other_files_are_ignored_and_counted(tree, files):
    func = tree / "sub-01/ses-pre/func"
    stem = "sub-01_ses-pre_task-rest"
    files.touch(func / f"{stem}_echo-1_desc-preproc_bold.nii.gz")
    files.touch(func / f"._{stem}_{files.space}_desc-preproc_bold.nii.gz")
    files.touch(func / ".DS_Store")
    files.touch(tree / "._sub-01")
    files.touch(func / f"{stem}_space-fsLR_den-91k_bold.dtseries.nii")
    files.touch(func / f"{stem}_hemi-L_space-fsaverage5_bold.func.gii")
    files.touch(func / f"{stem}_space-MNI152NLin6Asym_desc-smoothAROMAnonaggr_bold.nii.gz")
    scan = scan_one(tree)
    assert visits(scan) == VISITS
    assert len(scan.files) == 6
    assert scan.problems == []
    assert scan.counts == {"junk": 3, "echo": 1}


@pytest.mark.parametrize(
    ("name", "space", "res"),
    [
        ("sub-1_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.nii.gz",
         "MNI152NLin2009cAsym", "2"),
        ("sub-1_space-MNIPediatricAsym_cohort-1_desc-preproc_bold.nii.gz",
         "MNIPediatricAsym:cohort-1", ""),
        ("sub-1_space-fsLR_den-91k_seg-A_timeseries.tsv", "fsLR", "91k"),
    ],
)  # fmt: skip
def test_spaces_and_resolutions(tmp_path, files, name, space, res):
    files.touch(tmp_path / "sub-1/func" / name)
    (file,) = scan_one(tmp_path).files
    assert (file.space, file.res) == (space, res)


def test_identity_ignores_versions_and_leading_zeros_of_runs(tmp_path, files):
    func = tmp_path / "sub-1/func"
    for entities in ("run-1_space-A", "run-01_space-B_res-2", "run-2_space-A"):
        files.touch(func / f"sub-1_{entities}_desc-preproc_bold.nii.gz")
    identities = {file.name.get("run"): file.identity for file in scan_one(tmp_path).files}
    assert identities["1"] == identities["01"] != identities["2"]


# --- problems


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (
            "sub-02_ses_pre_task-rest_desc-preproc_bold.nii.gz",
            "its name does not consist of key-value pairs as BIDS requires, so it is not read; "
            "rename it",
        ),
        (
            "sub-02_ses-pre_task-rest_task-rest_desc-preproc_bold.nii.gz",
            "its name does not consist of key-value pairs",
        ),
        (
            "sub-02_task-rest_space-S_desc-preproc_bold.nii.gz",
            "its name lacks ses-pre of the folder that contains it",
        ),
        (
            "sub-01_ses-pre_task-rest_space-S_desc-preproc_bold.nii.gz",
            "its name lacks sub-02 of the folder that contains it",
        ),
        (
            "../../ses-post/func/sub-02_ses-pre_task-rest_space-S_desc-preproc_bold.nii.gz",
            "its name lacks ses-post of the folder that contains it; rename it or move it",
        ),
    ],
)
def test_invalid_names_are_reported(tree, names, new, message):
    path = tree / names.bold
    path.rename(path.parent / new)
    scan = scan_one(tree)
    (problem,) = scan.problems
    assert problem.participant == "02"
    assert message in str(problem)
    assert visits(scan) == [visit for visit in VISITS if visit != ("02", "pre")]


def echoes_only(root, files):
    for echo in (1, 2):
        files.touch(root / f"sub-02/func/sub-02_task-rest_echo-{echo}_desc-preproc_bold.nii.gz")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda root, _: (root / "sub-02").mkdir(), "it is empty"),
        (
            lambda root, files: files.touch(root / "sub-02/anat/sub-02_desc-preproc_T1w.nii.gz"),
            NO_RUN,
        ),
        (
            lambda root, files: files.touch(
                root / "sub-02/func/sub-02_space-fsLR_den-91k_bold.dtseries.nii"
            ),
            "it contains surface or CIFTI images only",
        ),
        (echoes_only, "it contains single echoes only, not their optimal combination"),
    ],
    ids=["empty", "anatomy", "surfaces", "echoes"],
)
def test_the_reason_for_a_participant_without_runs(tree, files, change, reason):
    shutil.rmtree(tree / "sub-02")
    change(tree, files)
    scan = scan_one(tree)
    assert scan.participants["02"] == reason
    assert visits(scan) == [visit for visit in VISITS if visit[0] != "02"]


@pytest.mark.parametrize("folder", ["sub-02", "sub-02/ses-pre", "sub-02/ses-pre/func"])
def test_broken_links_to_folders_are_reported(tree, folder):
    shutil.rmtree(tree / folder)
    (tree / folder).symlink_to("nowhere")
    scan = scan_one(tree)
    (problem,) = scan.problems
    assert problem.participant == "02"
    assert f"{Path(folder).name}: it is a broken link; fetch or mount its target" in str(problem)
    assert {label for label, _ in visits(scan)} >= {"01", "03"}


def test_a_folder_without_permission_is_reported(tree, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sub-02/ses-pre/func"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    scan = scan_one(tree)
    (problem,) = scan.problems
    assert problem.participant == "02"
    assert "the folder cannot be listed (Permission denied)" in str(problem)
    assert visits(scan) == [visit for visit in VISITS if visit != ("02", "pre")]


# --- folders whose names are not labels


@pytest.mark.parametrize(
    "name", ["sub-01 copy", "sub-01.bak", "sub-$(x)", "sub-", "sub-01_old", "sub-01-2", "Sub-04"]
)
def test_copies_and_backups_do_not_become_participants(tree, name):
    shutil.copytree(tree / "sub-01", tree / name)
    scan = scan_one(tree)
    (problem,) = scan.problems
    assert problem.where == str(tree / name)
    assert problem.participant == ""
    assert "its name is not sub- followed by letters and digits, so it is not read" in str(problem)
    assert set(scan.participants) == {"01", "02", "03"}
    assert visits(scan) == VISITS


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo])
@pytest.mark.parametrize("name", ["sub-04", "sub-02/ses-more", "sub-02/func"])
def test_a_file_with_the_name_of_a_folder_is_reported(tree, make, name):
    make(tree / name)
    scan = scan_one(tree)
    (problem,) = scan.problems
    assert problem.participant == name[4:6]
    assert str(problem) == f"{tree / name}: it is not a folder; replace it by the folder"
    assert visits(scan) == VISITS


@pytest.mark.parametrize("name", ["sub-04", "sub-02/ses-more", "sub-02/func"])
def test_links_in_circles_are_reported(tree, name):
    (tree / name).symlink_to(Path(name).name)
    scan = scan_one(tree)
    (problem,) = scan.problems
    assert problem.participant == name[4:6]
    assert "it is a link that leads to itself" in str(problem)
    assert visits(scan) == VISITS


def test_a_link_to_a_folder_above_ends(tree):
    (tree / "sub-02/ses-loop").symlink_to("..")
    (tree / "sub-02/ses-pre/func/loop").symlink_to("../../..")
    scan = scan_one(tree)
    assert scan.problems == []
    assert visits(scan) == VISITS


@pytest.mark.parametrize("name", ["ses-pre copy", "ses-pre.bak", "ses-"])
def test_copies_of_sessions_are_problems_of_their_participant(tree, name):
    shutil.copytree(tree / "sub-02/ses-pre", tree / "sub-02" / name)
    scan = scan_one(tree)
    (problem,) = scan.problems
    assert problem.participant == "02"
    assert "its name is not ses- followed by letters and digits" in str(problem)
    assert visits(scan) == VISITS
