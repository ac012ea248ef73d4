"""Boundary-based registration: the boundary, its cost, and known displacements."""

import numpy as np
import pytest
from scipy import ndimage

from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.measure.run_quality import MAX_BOUNDARY_COST
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.coregistration.boundary import (
    CHANCE,
    BoundaryCost,
    displacement_mm,
    refine,
    white_matter_boundary,
)

AFFINE = np.array([[-2.0, 0, 0, 62], [0, 2.0, 0, -66], [0, 0, 2.0, -60], [0, 0, 0, 1]])
GRID = Image(np.zeros((62, 66, 60), np.float32), AFFINE)
START = (2.0, -1.5, 1.0, 0.05, -0.03, 0.04)


def depth(radius_mm: float) -> np.ndarray:
    """Return the approximate distance of each voxel from a folded surface, mm; positive inside."""
    x, y, z = GRID.points().T
    folds = 4 * (np.sin(x / 7) * np.cos(y / 8 + 0.4) + np.sin(z / 6 + 1) * np.cos(x / 9))
    away = np.sqrt((x / 0.9) ** 2 + (y / 1.1) ** 2 + z**2)
    return (radius_mm + folds - away).reshape(GRID.grid)


def share(inside: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(inside.astype(np.float32), 0.5)


@pytest.fixture(scope="module")
def white() -> Image:
    return GRID.like(share(depth(36) > 0))


@pytest.fixture(scope="module")
def functional(white: Image) -> Image:
    """White matter within grey matter of 4 mm, within fluid; blurred as by larger voxels."""
    brain = share(depth(40) > 0)
    values = 1300 - 300 * brain - 150 * np.asarray(white.data)
    rng = np.random.default_rng(1)
    noisy = ndimage.gaussian_filter(values, 0.6) + rng.normal(0, 8, values.shape)
    return GRID.like(noisy.astype(np.float32))


def test_the_boundary_of_a_sphere_is_its_surface() -> None:
    distance = np.linalg.norm(GRID.points() - [1.0, 2.0, -3.0], axis=1).reshape(GRID.grid)
    probability = np.clip((30 - distance) / 4 + 0.5, 0, 1)
    probability[2:5, 2:5, 2:5] = 1  # an island, which is no white matter
    found = white_matter_boundary(GRID.like(probability.astype(np.float32)))
    radius = np.linalg.norm(found.points - [1.0, 2.0, -3.0], axis=1)
    assert np.abs(radius - 30).max() < 0.3
    outward = (found.points - [1.0, 2.0, -3.0]) / radius[:, None]
    assert (found.normals * outward).sum(axis=1).min() > 0.98
    assert len(found.points) > 4000
    assert len(found.thinned(100).points) == 100


def test_without_white_matter_there_is_no_boundary() -> None:
    with pytest.raises(ImageError, match="no white matter was found"):
        white_matter_boundary(GRID)


def test_the_cost_is_zero_if_grey_matter_is_brighter_and_chance_if_it_is_not(
    white: Image, functional: Image
) -> None:
    boundary = white_matter_boundary(white)
    assert BoundaryCost(boundary, functional).of(np.eye(4)) < 0.05
    inverted = functional.like(2000 - functional.data)
    assert BoundaryCost(boundary, inverted).of(np.eye(4)) > 0.95
    constant = GRID.like(np.full(GRID.grid, 7, np.float32))
    assert BoundaryCost(boundary, constant).of(np.eye(4)) == CHANCE
    noise = np.random.default_rng(2).uniform(900, 1100, GRID.grid).astype(np.float32)
    assert BoundaryCost(boundary, GRID.like(noise)).of(np.eye(4)) == pytest.approx(CHANCE, abs=0.02)


def test_contrast_is_relative_to_intensity_and_enters_by_a_hyperbolic_tangent(
    white: Image,
) -> None:
    """An intensity that increases by .1 % per mm in all directions has the same cost anywhere."""
    boundary = white_matter_boundary(white)
    along = GRID.points() @ [0.0, 0.0, 1.0]
    cost = BoundaryCost(boundary, GRID.like((1000 + along).reshape(GRID.grid)))
    z = boundary.points[:, 2]
    percent = 100 * 3 * boundary.normals[:, 2] / (1000 + z)
    expected = ((1 - np.tanh(0.5 * percent)) / 2).mean()
    assert cost.of(np.eye(4)) == pytest.approx(expected, abs=1e-4)
    brighter = BoundaryCost(boundary, GRID.like((5000 + 5 * along).reshape(GRID.grid)))
    assert brighter.of(np.eye(4)) == pytest.approx(cost.of(np.eye(4)), abs=1e-4)


def test_only_the_visible_boundary_counts(white: Image, functional: Image) -> None:
    boundary = white_matter_boundary(white)
    half = Image(functional.data[:31], functional.affine)
    cost = BoundaryCost(boundary, half)
    assert 0.3 < cost.visible(np.eye(4)) < 0.6
    assert cost.of(np.eye(4)) < 0.05
    for mm in (90.0, 150.0):  # a sliver is in view, and nothing
        away = transforms.matrix_of([mm, 0, 0, 0, 0, 0])
        assert cost.visible(away) < 0.1
        assert cost.of(away) == 1.0
    assert cost.visible(transforms.matrix_of([90.0, 0, 0, 0, 0, 0])) > 0


def test_a_displacement_is_recovered_from_both_sides(white: Image, functional: Image) -> None:
    boundary = white_matter_boundary(white)
    found = []
    for sign in (1, -1):
        start = transforms.matrix_of(sign * np.array(START))
        assert displacement_mm(boundary, start, np.eye(4)) > 2.5
        matrix, cost = refine(boundary, functional, start)
        assert displacement_mm(boundary, matrix, np.eye(4)) < 0.5
        assert cost == BoundaryCost(boundary, functional).of(matrix)
        assert cost < 0.05 < MAX_BOUNDARY_COST
        found.append(matrix)
    assert displacement_mm(boundary, *found) < 0.1


def test_displacement_is_the_root_mean_square_over_the_boundary(white: Image) -> None:
    boundary = white_matter_boundary(white)
    shift = transforms.matrix_of([3.0, 0, -4.0, 0, 0, 0])
    assert displacement_mm(boundary, np.eye(4), shift) == pytest.approx(5)
