"""Names of preprocessed files: those of fMRIPrep, in the order of entities that BIDS prescribes."""

from pathlib import Path

import pytest

from circuitshift.pipeline.bids.names import parse_name
from circuitshift.pipeline.bids.raw import RawBold
from circuitshift.pipeline.preproc.output_names import (
    anat_path,
    anatomy_record,
    bold_path,
    bold_record,
    func_path,
    warp_path,
)

SPACE = "MNI152NLin2009cAsym"


@pytest.fixture
def bold() -> RawBold:
    return RawBold(
        participant="01",
        session="pre",
        task="rest",
        run="2",
        path=Path("sub-01_ses-pre_task-rest_run-2_bold.nii.gz"),
        entities=(("sub", "01"), ("ses", "pre"), ("task", "rest"), ("run", "2")),
        t_r_s=2.0,
        grid=(64, 64, 40),
        zooms_mm=(3.0, 3.0, 3.0),
    )


def test_anatomical_files_belong_to_the_participant() -> None:
    assert anat_path("01", "T1w", ("desc", "preproc")) == Path(
        "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    )
    assert anat_path("01", "probseg", ("space", SPACE), ("label", "GM")) == Path(
        f"sub-01/anat/sub-01_space-{SPACE}_label-GM_probseg.nii.gz"
    )
    assert warp_path("01", "T1w", SPACE) == Path(
        f"sub-01/anat/sub-01_from-T1w_to-{SPACE}_mode-image_xfm.nii.gz"
    )
    assert anatomy_record("01") == Path("sub-01/log/sub-01_anatomy.json")


def test_functional_files_keep_the_entities_of_the_run(bold: RawBold) -> None:
    stem = "sub-01_ses-pre_task-rest_run-2"
    folder = Path("sub-01/ses-pre/func")
    assert bold_path(bold, SPACE) == folder / f"{stem}_space-{SPACE}_desc-preproc_bold.nii.gz"
    table = func_path(bold, "timeseries", ("desc", "confounds"), end=".tsv")
    assert table == folder / f"{stem}_desc-confounds_timeseries.tsv"
    assert bold_record(bold) == Path(f"sub-01/log/{stem}_bold.json")
    assert bold_record(bold, "motion") == Path(f"sub-01/log/{stem}_motion.json")


def test_names_are_read_back_with_the_same_entities(bold: RawBold) -> None:
    name = parse_name(bold_path(bold, SPACE).name)
    assert name is not None
    assert dict(name.entities) == {
        **dict(bold.entities),
        "space": SPACE,
        "desc": "preproc",
    }
    assert name.suffix == "bold"
