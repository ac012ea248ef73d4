"""Images: axes, interpolation and files agree with nibabel."""

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io.images import (
    Image,
    axis_codes,
    grid_over,
    read,
    relative_signal,
    to_ras,
    write,
)


def test_axes_and_reorientation_equal_nibabel() -> None:
    rng = np.random.default_rng(0)
    for order, signs in product(permutations(range(3)), product([1, -1], repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, order] * np.array(signs) * [2, 3, 4]
        affine[:3, :3] += rng.normal(0, 0.2, (3, 3))
        affine[:3, 3] = rng.normal(0, 20, 3)
        data = rng.normal(size=(4, 5, 6)).astype(np.float32)
        reference = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
        image = to_ras(Image(data, affine))
        assert np.allclose(reference.affine, image.affine)
        assert np.array_equal(reference.get_fdata().astype(np.float32), image.data)
        assert axis_codes(affine) == "".join(nib.aff2axcodes(affine))


def test_an_image_is_read_as_it_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    image = Image(rng.normal(0, 100, (4, 5, 6, 37)), np.diag([-3.0, 2.0, 4.0, 1.0]))
    write(tmp_path / "a.nii.gz", image, t_r_s=2.0)
    write(tmp_path / "b.nii.gz", image, t_r_s=2.0)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    found = read(tmp_path / "a.nii.gz")
    assert found.data == pytest.approx(image.data, abs=np.abs(image.data).max() / 30000)
    assert nib.load(tmp_path / "a.nii.gz").header.get_zooms() == pytest.approx((3, 2, 4, 2))
    assert found.affine == pytest.approx(image.affine)


def test_interpolation_at_voxel_centres_returns_the_voxel_values() -> None:
    rng = np.random.default_rng(2)
    image = Image(rng.normal(size=(6, 7, 8)).astype(np.float32), np.diag([-2.0, 2.0, 3.0, 1.0]))
    assert image.at(image.points()) == pytest.approx(image.data.ravel(), abs=1e-5)
    assert image.at(image.points() + 1000) == pytest.approx(np.zeros(image.data.size))
    box = grid_over(image, 1.0)
    assert box.affine[:3, :3] == pytest.approx(np.eye(3))
    assert box.points().mean(axis=0) == pytest.approx(image.points().mean(axis=0))


def test_integers_and_booleans_are_stored_unchanged(tmp_path: Path) -> None:
    values = np.arange(-4, 4, dtype=np.int16).reshape(2, 2, 2) * 4000
    for data, stored in ((values, np.int16), (values > 0, np.uint8)):
        write(tmp_path / "a.nii.gz", Image(data, np.eye(4)), standard=True)
        image = nib.load(tmp_path / "a.nii.gz")
        assert image.get_data_dtype() == stored
        assert image.header["sform_code"] == 4
        np.testing.assert_array_equal(read(tmp_path / "a.nii.gz").data, data)


def test_values_that_are_not_finite_are_read_as_zero(tmp_path: Path) -> None:
    values = np.full((2, 2, 2), np.nan, np.float32)
    nib.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / "a.nii")
    with pytest.raises(ImageError, match="contains no finite value"):
        read(tmp_path / "a.nii")
    values[0, 0] = 3, np.inf
    nib.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / "a.nii")
    assert read(tmp_path / "a.nii").data.ravel().tolist() == [3, 0, 0, 0, 0, 0, 0, 0]


def test_resampling_to_another_grid_equals_nibabel() -> None:
    from nibabel.processing import resample_from_to

    rng = np.random.default_rng(6)
    image = Image(rng.normal(size=(6, 7, 8)).astype(np.float32), np.diag([2.0, 2.0, 3.0, 1.0]))
    grid = Image(np.zeros((5, 5, 5), np.float32), np.diag([1.5, 2.5, 2.0, 1.0]))
    reference = resample_from_to(
        nib.Nifti1Image(image.data, image.affine), (grid.grid, grid.affine), order=1
    )
    np.testing.assert_allclose(image.onto(grid).data, reference.get_fdata(), atol=1e-5)
    assert image.onto(grid).zooms.tolist() == [1.5, 2.5, 2.0]


def test_the_signal_is_relative_to_the_median_of_the_brain() -> None:
    mean = np.array([[10.0, 20.0, 30.0], [0.0, np.nan, 400.0]])
    inside = np.array([[True, True, True], [True, True, False]])
    found = relative_signal(mean, inside)  # zero is outside the field of view
    np.testing.assert_allclose(found, [[0.5, 1, 1.5], [0, np.nan, 20]])
    assert relative_signal(mean, inside & False) is None
    assert relative_signal(-mean, inside) is None
    few = np.r_[-1.0, np.full(19, 2.0)]
    np.testing.assert_allclose(relative_signal(few, few < 3), few / 2)
