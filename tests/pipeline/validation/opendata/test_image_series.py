"""Regional time series of images that the authors preprocessed."""

import nibabel as nib
import numpy as np
import pytest

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation.opendata.image_series import write_image_series

SPACE, ATLAS = "MNI152NLin6Asym", "seitzman300"
AFFINE = np.array([[4.0, 0, 0, -90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])
SHAPE = (46, 55, 46)


def write_image(root, run, *, left_only=False):
    """Write an image whose values equal the volume number, in the left hemisphere only if asked."""
    values = np.ones((*SHAPE, 5), np.float32) * np.arange(1, 6)
    if left_only:
        x = AFFINE[0, 0] * np.arange(SHAPE[0]) + AFFINE[0, 3]
        values[x > 0] = 0
    image = nib.Nifti1Image(values, AFFINE)
    image.header.set_zooms((4, 4, 4, 2.0))
    image.header.set_xyzt_units("mm", "sec")
    path = root / f"sub-01/func/sub-01_task-rest_run-{run}_bold.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def write_series(root, out, **options):
    return write_image_series(root, out, space=SPACE, atlas=ATLAS, **options)


def test_series_are_means_over_the_voxels_of_each_region(tmp_path):
    write_image(tmp_path / "in", "01")
    assert write_series(tmp_path / "in", tmp_path / "out") == (1, [])
    (path,) = (tmp_path / "out").rglob("*_timeseries.tsv")
    assert path.name == (
        f"sub-01_task-rest_run-01_space-{SPACE}_atlas-Seitzman300_stat-mean_timeseries.tsv"
    )
    labels, series = tables.read_series(path)
    assert labels == load_atlas(ATLAS).labels
    np.testing.assert_allclose(series, np.arange(1, 6)[:, None] * np.ones(300), rtol=1e-6)
    assert tables.read_json(path.with_suffix(".json"))["RepetitionTime"] == 2.0


def test_regions_without_signal_are_nan(tmp_path):
    write_image(tmp_path / "in", "01", left_only=True)
    write_series(tmp_path / "in", tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*_timeseries.tsv")
    _, series = tables.read_series(path)
    x = load_atlas(ATLAS).centres_mm()[:, 0]
    missing = np.isnan(series).all(axis=0)
    assert missing[x > 8].all()
    assert not missing[x < -8].any()


def test_runs_are_selected_and_problems_concern_one_run_only(tmp_path):
    for run in ("01", "02", "03"):
        path = write_image(tmp_path / "in", run)
    path.write_bytes(b"<html>")
    n_runs, problems = write_series(tmp_path / "in", tmp_path / "out", runs=("run-01", "03"))
    assert n_runs == 1
    assert [(p.where, p.participant) for p in problems] == [(str(path), "01")]
    assert [p.name.split("_run-")[1][:2] for p in (tmp_path / "out").rglob("*.tsv")] == ["01"]


def test_series_of_an_unchanged_image_are_kept(tmp_path):
    write_image(tmp_path / "in", "01")
    write_series(tmp_path / "in", tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*_timeseries.tsv")
    before = path.stat().st_mtime_ns
    assert write_series(tmp_path / "in", tmp_path / "out") == (1, [])
    assert path.stat().st_mtime_ns == before
    write_image(tmp_path / "in", "01", left_only=True)
    write_series(tmp_path / "in", tmp_path / "out")
    assert path.stat().st_mtime_ns != before


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="contains no image"):
        write_series(tmp_path, tmp_path / "out")
