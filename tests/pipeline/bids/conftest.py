"""Fixtures of the BIDS tests: writers of files, and a small data set like output of fMRIPrep."""

import shutil
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

DATA = Path(__file__).resolve().parents[3].parent / "shared/data"
SPACE = "space-MNI152NLin2009cAsym_res-2"
T_R_S = 2.5
PARTICIPANTS = ("01", "02", "03")
# files of one run of the data set `tree`, relative to its root
Names = namedtuple("Names", "stem bold mask confounds sidecar")


def touch(path: Path, content: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def write_image(path: Path, shape: tuple[int, ...], t_r_s: float = T_R_S) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.ones(shape, np.int16), np.diag([3.0, 3, 3, 1]))
    if len(shape) == 4:
        image.header.set_zooms((3, 3, 3, t_r_s))
        image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def write_run(root: Path, entities: str, *, space: str = SPACE, images: bool = False) -> Path:
    """Write the files that fMRIPrep writes for a run; return the path of its image."""
    pairs = dict(part.split("-") for part in entities.split("_"))
    folders = [f"sub-{pairs['sub']}", *([f"ses-{pairs['ses']}"] if "ses" in pairs else []), "func"]
    stem = root.joinpath(*folders, entities)
    image = stem.with_name(f"{stem.name}_{space}_desc-preproc_bold.nii.gz")
    mask = stem.with_name(f"{stem.name}_{space}_desc-brain_mask.nii.gz")
    if images:
        write_image(image, (3, 3, 3, 4))
        write_image(mask, (3, 3, 3))
    else:
        touch(image)
        touch(mask)
    touch(image.with_name(image.name.replace(".nii.gz", ".json")), f'{{"RepetitionTime": {T_R_S}}}')
    touch(stem.with_name(f"{stem.name}_desc-confounds_timeseries.tsv"))
    touch(stem.with_name(f"{stem.name}_desc-confounds_timeseries.json"), "{}")
    return image


@pytest.fixture
def files():
    """Provide writers of files, and the constants of the data set `tree`."""
    return SimpleNamespace(touch=touch, image=write_image, run=write_run, space=SPACE, t_r_s=T_R_S)


@pytest.fixture
def shared_data():
    """Provide a function that returns a path of the shared test data, or skips the test."""

    def find(*parts: str) -> Path:
        path = DATA.joinpath(*parts)
        if not path.exists():
            pytest.skip(f"the shared test data are not available: {path}")
        return path

    return find


@pytest.fixture
def tree(tmp_path):
    """Make a data set of three participants with two sessions each.

    The names of folders above it look like entities, which must not have an effect.
    """
    root = tmp_path / "perf" / "sub-x" / "ses-y" / "fmriprep"
    for label in PARTICIPANTS:
        for session in ("pre", "post"):
            write_run(root, f"sub-{label}_ses-{session}_task-rest")
    return root


@pytest.fixture
def names():
    """Provide the file names of the baseline run of participant 02 in `tree` and `images`."""
    stem = "sub-02_ses-pre_task-rest"
    bold = f"sub-02/ses-pre/func/{stem}_{SPACE}_desc-preproc_bold.nii.gz"
    return Names(
        stem,
        bold,
        f"sub-02/ses-pre/func/{stem}_{SPACE}_desc-brain_mask.nii.gz",
        f"sub-02/ses-pre/func/{stem}_desc-confounds_timeseries.tsv",
        bold.replace(".nii.gz", ".json"),
    )


@pytest.fixture(scope="session")
def readable_tree(tmp_path_factory):
    """Make a data set of three participants whose images can be read."""
    root = tmp_path_factory.mktemp("readable")
    for label in PARTICIPANTS:
        write_run(root, f"sub-{label}_ses-pre_task-rest", images=True)
    return root


@pytest.fixture
def images(readable_tree, tmp_path):
    """Copy the data set with readable images, so that a test can change it."""
    return Path(shutil.copytree(readable_tree, tmp_path / "copy"))
