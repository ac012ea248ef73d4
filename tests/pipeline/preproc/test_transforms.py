"""Rigid transforms and deformations: their conventions, and their files in ITK's coordinates."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.errors import ImageError, TableError
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms


def test_rotations_do_not_move_their_centre() -> None:
    centre = np.array([10.0, -20.0, 30.0])
    matrix = transforms.matrix_of([0, 0, 0, 0, 0, np.pi / 2], centre)
    assert transforms.apply(matrix, centre[None])[0] == pytest.approx(centre)
    # a quarter turn about z moves a point from the x direction to the y direction
    turned = transforms.apply(matrix, centre[None] + [5.0, 0, 0])[0]
    assert turned == pytest.approx(centre + np.array([0, 5.0, 0]))
    shifted = transforms.matrix_of([1, 2, 3, 0, 0, np.pi / 2], centre)
    assert transforms.apply(shifted, centre[None])[0] == pytest.approx(centre + np.array([1, 2, 3]))


def test_rotations_are_multiplied_in_the_order_x_y_z() -> None:
    a, b, c = 0.3, -0.2, 0.5
    about_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    about_y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    about_z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    expected = np.array(about_x) @ about_y @ about_z
    assert transforms.matrix_of([0, 0, 0, a, b, c])[:3, :3] == pytest.approx(expected)


def test_parameters_and_matrices_are_inverse() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        six, centre = rng.normal(0, 0.3, 6), rng.normal(0, 30, 3)
        assert transforms.parameters_of(transforms.matrix_of(six, centre), centre) == pytest.approx(
            six
        )


def test_the_mean_of_two_transforms_lies_half_way() -> None:
    centre = np.array([1.0, 2.0, 3.0])
    turn = transforms.matrix_of([2.0, -4.0, 6.0, 0.2, 0.0, 0.0], centre)
    middle = transforms.halfway([np.eye(4), turn], centre)
    assert transforms.parameters_of(middle, centre) == pytest.approx([1, -2, 3, 0.1, 0, 0])
    assert transforms.halfway([turn, np.eye(4)], centre) == pytest.approx(middle)


def test_affines_and_fields_are_read_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    matrices = np.array([transforms.matrix_of(rng.normal(0, 0.3, 6)) for _ in range(3)])
    transforms.write_affines(tmp_path / "a.txt", matrices)
    assert transforms.read_affines(tmp_path / "a.txt") == pytest.approx(matrices)
    grid = Image(np.zeros((9, 9, 9), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    field = transforms.sampled_field(lambda p: transforms.apply(matrices[0], p), grid)
    transforms.write_field(tmp_path / "f.nii.gz", field)
    points = rng.uniform(1, 15, (50, 3))
    mapped = transforms.read_field(tmp_path / "f.nii.gz")(points)
    assert mapped == pytest.approx(transforms.apply(matrices[0], points), abs=1e-4)


def test_affines_are_written_in_the_coordinates_of_itk(tmp_path: Path) -> None:
    """In ITK, x increases to the left and y to the back."""
    shift = transforms.matrix_of([3.0, 5.0, 7.0, 0, 0, 0])
    turn = transforms.matrix_of([0, 0, 0, 0.1, 0, 0])
    transforms.write_affines(tmp_path / "a.txt", np.array([shift, turn]))
    lines = (tmp_path / "a.txt").read_text().splitlines()
    first, second = (
        np.array(line.split()[1:], float) for line in lines if line.startswith("Parameters:")
    )
    assert first == pytest.approx([*np.eye(3).ravel(), -3, -5, 7])
    assert second[:9].reshape(3, 3) == pytest.approx(turn[:3, :3].T)


def test_fields_are_written_in_the_coordinates_of_itk(tmp_path: Path) -> None:
    grid = Image(np.zeros((3, 4, 5), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    field = transforms.sampled_field(lambda points: points + np.array([1.0, 2, 3]), grid)
    transforms.write_field(tmp_path / "f.nii.gz", field)
    stored = nib.load(tmp_path / "f.nii.gz")
    assert stored.shape == (3, 4, 5, 1, 3)
    assert np.asarray(stored.dataobj)[1, 1, 1, 0] == pytest.approx([-1, -2, 3])
    mapped = transforms.read_field(tmp_path / "f.nii.gz")(np.array([[2.0, 3.0, 4.0]]))
    assert mapped[0] == pytest.approx([3, 5, 7])


def test_points_outside_a_field_use_its_nearest_displacement() -> None:
    grid = Image(np.zeros((3, 3, 3), np.float32), np.eye(4))
    field = transforms.sampled_field(lambda points: points * [2.0, 1.0, 1.0], grid)
    mapped = field(np.array([[-5.0, 1.0, 1.0], [10.0, 1.0, 1.0], [1.5, 1.0, 1.0]]))
    assert mapped == pytest.approx(np.array([[-5.0, 1, 1], [12.0, 1, 1], [3.0, 1, 1]]))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "f.nii.gz").write_bytes(b"not an image")
    with pytest.raises(ImageError, match=r"f\.nii\.gz: the file cannot be read .*delete it"):
        transforms.read_field(tmp_path / "f.nii.gz")
    (tmp_path / "a.txt").write_text("#Insight Transform File V1.0\n")
    with pytest.raises(TableError, match=r"a\.txt: the file contains no transform; delete it"):
        transforms.read_affines(tmp_path / "a.txt")
