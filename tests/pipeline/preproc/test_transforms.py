"""Rigid transforms and fields: about which centre, and in which coordinates files are."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms


def test_rotations_leave_the_centre_where_it_is() -> None:
    centre = np.array([10.0, -20.0, 30.0])
    matrix = transforms.matrix_of([0, 0, 0, 0, 0, np.pi / 2], centre)
    assert transforms.apply(matrix, centre[None])[0] == pytest.approx(centre)
    # a quarter turn about z: from beside the centre along x to beside it along y
    beside = transforms.apply(matrix, centre[None] + [5.0, 0, 0])[0]
    assert beside == pytest.approx(centre + np.array([0, 5.0, 0]))
    shifted = transforms.matrix_of([1, 2, 3, 0, 0, np.pi / 2], centre)
    assert transforms.apply(shifted, centre[None])[0] == pytest.approx(centre + np.array([1, 2, 3]))


def test_rotations_are_about_the_turned_axes() -> None:
    """First about x, then about the y axis that this has turned, then about z: Rx Ry Rz."""
    a, b, c = 0.3, -0.2, 0.5
    turn_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    turn_y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    turn_z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    expected = np.array(turn_x) @ turn_y @ turn_z
    assert transforms.matrix_of([0, 0, 0, a, b, c])[:3, :3] == pytest.approx(expected)


def test_affines_are_written_in_the_coordinates_of_itk(tmp_path: Path) -> None:
    """ITK's x runs to the left and its y to the back."""
    matrix = transforms.matrix_of([3.0, 5.0, 7.0, 0, 0, 0])
    turned = transforms.matrix_of([0, 0, 0, 0.1, 0, 0])
    transforms.write_affines(tmp_path / "a.txt", np.array([matrix, turned]))
    lines = (tmp_path / "a.txt").read_text().splitlines()
    first, second = (
        np.array(line.split()[1:], float) for line in lines if line.startswith("Parameters:")
    )
    assert first == pytest.approx([*np.eye(3).ravel(), -3, -5, 7])
    assert second[:9].reshape(3, 3) == pytest.approx(turned[:3, :3].T)


def test_fields_are_written_in_the_coordinates_of_itk(tmp_path: Path) -> None:
    grid = Image(np.zeros((3, 4, 5), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    field = transforms.sampled_field(lambda points: points + np.array([1.0, 2, 3]), grid)
    transforms.write_field(tmp_path / "f.nii.gz", field)
    stored = nib.load(tmp_path / "f.nii.gz")
    assert stored.shape == (3, 4, 5, 1, 3)
    assert np.asarray(stored.dataobj)[1, 1, 1, 0] == pytest.approx([-1, -2, 3])
    there = transforms.read_field(tmp_path / "f.nii.gz")(np.array([[2.0, 3.0, 4.0]]))
    assert there[0] == pytest.approx([3, 5, 7])
