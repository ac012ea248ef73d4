"""Masks and confounds are found by sets of entities; two candidates are not chosen between."""

import pytest

from circuitshift.pipeline.bids.names import parse_name
from circuitshift.pipeline.bids.runs.companions import CONFOUNDS, MASK, find_companion

SPACE = "space-MNI152NLin6Asym"


def found(kind, image, *siblings):
    name = parse_name(f"sub-1_{image}_bold.nii.gz")
    entries, expected = find_companion(name, kind, {text: text for text in siblings})
    return entries, expected


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (f"task-rest_{SPACE}_desc-preproc", f"sub-1_task-rest_{SPACE}_desc-brain_mask.nii.gz"),
        (f"task-rest_{SPACE}_desc-preproc", f"sub-1_task-rest_desc-brain_{SPACE}_mask.nii.gz"),
        (
            f"task-rest_{SPACE}_desc-preproc_part-mag",
            f"sub-1_task-rest_{SPACE}_desc-brain_part-mag_mask.nii.gz",
        ),
        (
            f"task-rest_part-mag_{SPACE}_desc-preproc",
            f"sub-1_task-rest_{SPACE}_desc-brain_mask.nii.gz",
        ),
        (
            f"task-rest_run-01_{SPACE}_res-2_desc-preproc",
            f"sub-1_run-1_task-rest_{SPACE}_desc-brain_mask.nii",
        ),
        (
            f"task-rest_rec-norm_proc-optcom_{SPACE}_desc-preproc",
            f"sub-1_task-rest_{SPACE}_rec-norm_desc-brain_mask.nii.gz",
        ),
        ("task-rest_desc-preproc", "sub-1_task-rest_desc-brain_mask.nii.gz"),
    ],
)
def test_the_mask_of_an_image(image, mask):
    assert found(MASK, image, mask)[0] == [mask]


@pytest.mark.parametrize(
    "mask",
    [
        "sub-1_task-rest_run-1_desc-brain_mask.nii.gz",  # native space
        f"sub-1_task-rest_run-1_{SPACE}_cohort-1_desc-brain_mask.nii.gz",
        f"sub-1_task-rest_run-2_{SPACE}_desc-brain_mask.nii.gz",
        f"sub-1_task-rest_{SPACE}_desc-brain_mask.nii.gz",
        f"sub-1_task-rest_acq-x_run-1_{SPACE}_desc-brain_mask.nii.gz",
        f"sub-1_task-rest_run-1_{SPACE}_rec-b_desc-brain_mask.nii.gz",
        f"sub-1_task-rest_run-1_{SPACE}_desc-aparcaseg_mask.nii.gz",
        f"._sub-1_task-rest_run-1_{SPACE}_desc-brain_mask.nii.gz",
    ],
)
def test_masks_of_other_images(mask):
    entries, expected = found(MASK, f"task-rest_rec-a_run-1_{SPACE}_desc-preproc", mask)
    assert entries == []
    assert expected == f"sub-1_task-rest_rec-a_run-1_{SPACE}_desc-brain_mask.nii.gz"


@pytest.mark.parametrize(
    ("image", "table"),
    [
        ("task-rest_desc-preproc", "sub-1_task-rest_desc-confounds_timeseries.tsv"),
        ("task-rest_desc-preproc", "sub-1_desc-confounds_task-rest_regressors.tsv"),
        (
            f"task-rest_{SPACE}_desc-preproc_part-mag",
            "sub-1_task-rest_desc-confounds_part-mag_timeseries.tsv",
        ),
        ("task-rest_desc-preproc", "sub-1_task-rest_part-mag_desc-confounds_timeseries.tsv"),
        ("task-rest_run-1_desc-preproc", "sub-1_task-rest_run-001_desc-confounds_timeseries.tsv"),
        ("task-rest_proc-optcom_desc-preproc", "sub-1_task-rest_desc-confounds_timeseries.tsv"),
    ],
)
def test_the_confounds_of_an_image(image, table):
    assert found(CONFOUNDS, image, table)[0] == [table]


def test_the_companion_of_the_same_version_precedes_a_common_one():
    same = "sub-1_task-rest_rec-a_desc-confounds_timeseries.tsv"
    common = "sub-1_task-rest_desc-confounds_timeseries.tsv"
    other = "sub-1_task-rest_rec-b_desc-confounds_timeseries.tsv"
    assert found(CONFOUNDS, "task-rest_rec-a_desc-preproc", other, common, same)[0] == [same]
    assert found(CONFOUNDS, "task-rest_desc-preproc", other, common, same)[0] == [common]


def test_two_companions_are_both_returned():
    pair = (
        "sub-1_task-rest_desc-brain_run-1_mask.nii.gz",
        "sub-1_task-rest_run-1_desc-brain_mask.nii.gz",
    )
    assert found(MASK, "task-rest_run-1_desc-preproc", *pair)[0] == list(pair)
