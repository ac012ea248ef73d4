"""Names of preprocessed files: those of fMRIPrep, in the order of entities that BIDS prescribes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.bids.description import write_dataset_description
from circuitshift.pipeline.bids.names import parse_name
from circuitshift.pipeline.bids.raw import RawBold
from circuitshift.pipeline.io import images, tables
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc.output_names import (
    anat_path,
    anatomy_record,
    bold_path,
    bold_record,
    coregistration_path,
    func_path,
    reference_path,
    warp_path,
)

SPACE = "MNI152NLin2009cAsym"
VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


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
    assert coregistration_path(bold) == (
        folder / f"{stem}_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt"
    )
    assert reference_path(bold, "hmc") == folder / f"{stem}_desc-hmc_boldref.nii.gz"
    assert reference_path(bold, "coreg") == folder / f"{stem}_desc-coreg_boldref.nii.gz"
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


def test_the_derivative_is_valid_bids(bold: RawBold, tmp_path: Path) -> None:
    """All files of preprocessing by name, with small contents."""
    volume = Image(np.ones((4, 4, 4), np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
    desc, space = ("desc", "preproc"), ("space", SPACE)
    brain = ("desc", "brain")
    for pairs in ((), (space,)):
        names = [anat_path("01", "T1w", *pairs, desc), anat_path("01", "mask", *pairs, brain)]
        names += [anat_path("01", "probseg", *pairs, ("label", t)) for t in ("CSF", "GM", "WM")]
        for path in (*names, anat_path("01", "dseg", *pairs)):
            images.write(tmp_path / path, volume)
    for path in (
        warp_path("01", "T1w", SPACE),
        warp_path("01", SPACE, "T1w"),
        reference_path(bold, "hmc"),
        reference_path(bold, "coreg"),
        func_path(bold, "boldref", space),
        func_path(bold, "mask", space, brain),
    ):
        images.write(tmp_path / path, volume)
    run = volume.like(np.ones((4, 4, 4, 5), np.float32))
    images.write(tmp_path / bold_path(bold, SPACE), run, t_r_s=2.0)
    sidecar = func_path(bold, "bold", space, desc, end=".json")
    tables.write_json(tmp_path / sidecar, {"RepetitionTime": 2.0, "SkullStripped": False})
    t1w = anat_path("01", "T1w", desc, end=".json")
    tables.write_json(tmp_path / t1w, {"SkullStripped": False})
    tables.write_text(tmp_path / coregistration_path(bold), "x")
    for end in (".tsv", ".json"):
        tables.write_text(
            tmp_path / func_path(bold, "timeseries", ("desc", "confounds"), end=end), "{}"
        )
    for record in (anatomy_record("01"), bold_record(bold), bold_record(bold, "motion")):
        tables.write_json(tmp_path / record, {})
    write_dataset_description(tmp_path, name="circuitshift: preprocessed images")
    done = subprocess.run([VALIDATOR, "--json", str(tmp_path)], capture_output=True, text=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert not [(i["code"], i["location"]) for i in issues if i["severity"] == "error"]
