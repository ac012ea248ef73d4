"""Selection of files of published data sets."""

import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.validation.opendata.needed_files import FileSelection, needed_files

STEM = "sub-01/func/sub-01_task-rest"
CONFOUNDS = [f"{STEM}_desc-confounds_timeseries.tsv", f"{STEM}_desc-confounds_timeseries.json"]
IN_6_ASYM = [
    f"{STEM}_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz",
    f"{STEM}_space-MNI152NLin6Asym_desc-brain_mask.nii.gz",
]
IN_2009C = [
    f"{STEM}_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.nii.gz",
    f"{STEM}_space-MNI152NLin2009cAsym_res-2_desc-brain_mask.nii.gz",
]
ANATOMY = "sub-01/anat/sub-01_space-MNI152NLin2009cAsym_res-2_desc-brain_mask.nii.gz"
DERIVATIVE = [
    *CONFOUNDS,
    *IN_6_ASYM,
    *IN_2009C,
    f"{STEM}_space-MNI152NLin6Asym_desc-smoothAROMAnonaggr_bold.nii.gz",
    f"{STEM}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz",
    f"{STEM}_space-T1w_desc-preproc_bold.nii.gz",
    f"{STEM}_desc-preproc_bold.nii.gz",
    ANATOMY,
    "sub-01.html",
    "dataset_description.json",
    ".datalad/config",
]
RAW = [
    "dataset_description.json",
    "participants.tsv",
    "README.md",
    "code/x.py",
    "phenotype/mood.tsv",
    "sub-01/sub-01_sessions.tsv",
    "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
    "sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz",
    "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.nii.gz",
    "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.json",
    "sub-01/ses-1/func/sub-01_ses-1_task-rest_sbref.nii.gz",
    "sub-01/ses-2/func/sub-01_ses-2_task-rest_bold.nii.gz",
    "sub-01/ses-2/func/._sub-01_ses-2_task-rest_bold.nii.gz",
    "sub-02/ses-1/func/sub-02_ses-1_task-rest_bold.nii.gz",
]
SHARED = {RAW[0], RAW[1], RAW[2], RAW[4], RAW[5]}


@pytest.mark.parametrize(
    ("selection", "images"),
    [
        (FileSelection(), IN_2009C),  # 2 mm precedes the native grid of a space
        (FileSelection(spaces=("MNI152NLin6Asym",)), IN_6_ASYM),
        (FileSelection(spaces=("MNI152NLin6Asym", "MNI152NLin2009cAsym")), IN_6_ASYM),
    ],
)
def test_preprocessed_images_of_one_space_are_selected(selection, images):
    expected = {*CONFOUNDS, *images, "dataset_description.json"}
    assert needed_files(DERIVATIVE, selection, "derivatives") == sorted(expected)


def test_the_space_of_most_runs_is_selected():
    more = [path.replace("sub-01", "sub-02") for path in (*CONFOUNDS, *IN_6_ASYM)]
    selected = needed_files([*DERIVATIVE, *more], FileSelection(), "derivatives")
    expected = {*CONFOUNDS, *IN_6_ASYM, *more, "dataset_description.json"}
    assert selected == sorted(expected)


def test_raw_images_are_selected_by_labels_and_t1w_images_by_participant():
    selection = FileSelection(participants=("sub-01",), sessions=("ses-2",), tasks=("task-rest",))
    assert set(needed_files(RAW, selection, "raw")) == SHARED | {RAW[6], RAW[11]}
    assert set(needed_files(RAW, FileSelection(), "raw")) == SHARED | {
        RAW[6], RAW[8], RAW[9], RAW[11], RAW[13],
    }  # fmt: skip


def test_tables_are_selected_with_sidecars_but_without_images():
    assert set(needed_files(RAW, FileSelection(), "tables")) == SHARED | {RAW[9]}


def test_patterns_replace_the_selection_of_images():
    selection = FileSelection(include=("sub-01/anat/*",))
    selected = needed_files(DERIVATIVE, selection, "derivatives")
    assert selected == ["dataset_description.json", ANATOMY]


@pytest.mark.parametrize(
    ("paths", "selection", "kind", "message"),
    [
        (
            DERIVATIVE,
            FileSelection(participants=("02",)),
            "derivatives",
            "is a preprocessed run in a",
        ),
        (DERIVATIVE, FileSelection(spaces=("fsLR",)), "derivatives", "is a preprocessed run in a"),
        (
            RAW,
            FileSelection(tasks=("nback",)),
            "raw",
            "none of the 13 files of the data set is a run",
        ),
        (RAW, FileSelection(include=("x*",)), "raw", r"is a --include x\* that matches"),
    ],
)
def test_a_selection_without_files_is_refused(paths, selection, kind, message):
    with pytest.raises(InputError, match=message):
        needed_files(paths, selection, kind)
