"""Thickness: the inverse of a displacement, means of regions, and DiReCT on a shell."""

import numpy as np
import pytest

from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc.structure.thickness import (
    mean_thickness,
    session_thickness,
    template_points,
)


def box(n: int = 24, mm: float = 2.0) -> Image:
    affine = np.diag([mm, mm, mm, 1.0])
    affine[:3, 3] = -(n - 1) / 2 * mm
    return Image(np.zeros((n, n, n), np.float32), affine)


def test_the_inverse_undoes_a_displacement() -> None:
    grid = box()
    points = grid.points()
    moved = 1.5 * np.sin(points / 12)
    field = grid.like(moved.reshape(*grid.grid, 3).astype(np.float32))
    near = np.abs(points).max(axis=1) < 15
    found = template_points(field, (points + moved)[near])
    assert np.abs(found - points[near]).max() < 0.02


def test_the_mean_is_taken_over_grey_matter_of_a_region() -> None:
    thickness = Image(np.array([2.0, 3.0, 0.0, 9.0]).reshape(4, 1, 1), np.eye(4))
    regions = np.array([0, 0, 0, -1]).reshape(4, 1, 1)
    found = mean_thickness(thickness, regions, 2)
    assert found[0] == 2.5
    assert np.isnan(found[1])


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1.0, 0.9])
def test_thickness_of_a_shell_follows_the_session(factor: float) -> None:
    """White matter within 14 mm, a cortex of 3 mm; the session is smaller by a factor."""
    grid = box(40, 1.0)
    r = np.linalg.norm(grid.points(), axis=1)
    white, brain = (1 / (1 + np.exp(4 * (r - radius))) for radius in (14.0, 17.0))
    tissues = tuple(
        grid.like(t.reshape(grid.grid).astype(np.float32))
        for t in (1 - brain, brain - white, white)
    )
    moved = (factor - 1) * grid.points()
    field = grid.like(moved.reshape(*grid.grid, 3).astype(np.float32))
    found = session_thickness(tissues, field)
    values = np.asarray(found.data)[np.asarray(found.data) > 0]
    assert np.median(values) == pytest.approx(3 * factor, abs=0.35)
