"""Brain extraction: masks agree with simulated brains, and with simple bodies of known size."""

import numpy as np
import pytest

from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc.anatomy import dice
from circuitshift.pipeline.preproc.brain_mask import _sphere, _voxelise, brain_mask
from circuitshift.pipeline.validation.simulate.head import Head, HeadSpec, draw_t1w


def ball(radius_mm: float, affine: np.ndarray, shape: tuple[int, int, int]) -> Image:
    """Return a bright ball about the origin with a dark shell around it, in air."""
    image = Image(np.zeros(shape, np.float32), affine)
    distance = np.linalg.norm(image.points(), axis=1)
    values = np.where(distance < radius_mm, 800.0, 0.0)
    values[(distance >= radius_mm) & (distance < radius_mm + 6)] = 150.0
    return image.like(values.reshape(shape).astype(np.float32))


@pytest.fixture(scope="module")
def affine() -> np.ndarray:
    out = np.diag([3.0, 3.0, 3.0, 1.0])
    out[:3, 3] = -96
    return out


def test_the_mask_of_a_simulated_head_is_its_brain(head: Head, spec: HeadSpec) -> None:
    image = draw_t1w(head, np.eye(4), spec, np.random.default_rng(7))
    brain = head.tissues[0].like(sum(np.asarray(t.data) for t in head.tissues[:3]))
    truth = brain.onto(image).data > 0.5
    assert dice(brain_mask(image), truth) > 0.93


@pytest.fixture(scope="module")
def found(affine: np.ndarray) -> tuple[Image, np.ndarray]:
    """Return a ball and its mask, which takes five seconds."""
    image = ball(60.0, affine, (65, 65, 65))
    return image, brain_mask(image)


def test_the_mask_of_a_ball_has_its_size(found: tuple[Image, np.ndarray]) -> None:
    image, mask = found
    truth = np.asarray(image.data) > 500
    assert dice(mask, truth) > 0.93
    # a lower threshold gives a larger brain
    assert brain_mask(image, fraction=0.2).sum() >= mask.sum()


def test_the_orientation_of_the_grid_does_not_matter(found: tuple[Image, np.ndarray]) -> None:
    image, mask = found
    mirrored = image.affine.copy()
    mirrored[0, [0, 3]] *= -1  # x runs from 96 to -96 mm
    other = Image(np.asarray(image.data)[::-1], mirrored)
    assert dice(brain_mask(other), mask[::-1]) > 0.98


def test_an_image_without_a_head_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(ImageError, match="does not show a head"):
        brain_mask(Image(np.zeros((20, 20, 20), np.float32), affine))


def test_the_initial_surface_is_a_closed_sphere_with_outward_normals() -> None:
    vertices, faces = _sphere(4)
    assert (len(vertices), len(faces)) == (10 * 4**4 + 2, 20 * 4**4)
    assert np.linalg.norm(vertices, axis=1) == pytest.approx(1)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    assert ((normals * a).sum(axis=1) > 0).all()
    # the divergence theorem: signed tetrahedra add up to the volume of the sphere
    volume = (np.cross(a, b) * c).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi, rel=0.01)
    # each edge belongs to two faces
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [0, 2]]]), axis=1)
    assert (np.unique(sides, axis=0, return_counts=True)[1] == 2).all()


@pytest.mark.parametrize("height_mm", [0.0, 70.0])
def test_a_surface_is_filled_also_where_the_field_of_view_ends(
    affine: np.ndarray, height_mm: float
) -> None:
    image = Image(np.zeros((65, 65, 65), np.float32), affine)
    vertices, faces = _sphere(4)
    centre = np.array([0.0, 0.0, height_mm])
    mask = _voxelise(image, (40.0 * vertices + centre)[faces])
    inside = np.linalg.norm(image.points() - centre, axis=1).reshape(image.grid)
    assert mask[inside < 38].all()
    assert not mask[inside > 43].any()
