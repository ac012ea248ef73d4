"""Head motion: the simulated motion of a head is recovered, and heads are separated from air."""

import numpy as np
import pytest
from scipy import ndimage

from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.motion import (
    _otsu,
    align,
    estimate_motion,
    head_mask,
    parameters_in_image,
    relative_to,
)
from circuitshift.pipeline.validation.simulate.raw_data_set import BoldTruth


def ball(centre: tuple[float, float, float], radius_mm: float, *, zoom: float = 3.0) -> Image:
    """Return a ball with a bright core, and a smooth surface, in air."""
    affine = np.diag([zoom, zoom, zoom, 1.0])
    affine[:3, 3] = -60
    image = Image(np.zeros((41, 41, 41), np.float32), affine)
    points = image.points() - np.array(centre)
    distance = np.linalg.norm(points / [1.0, 1.2, 0.9], axis=1)
    values = 600.0 * (distance < radius_mm) + 400.0 * (distance < radius_mm / 2)
    values += 3 * points[:, 0] * (distance < radius_mm)  # not symmetric
    return image.like(ndimage.gaussian_filter(values.reshape(image.grid), 1.0))


def test_motion_is_recovered(moving_run: BoldTruth) -> None:
    run = moving_run
    found = estimate_motion(run.image, n_dummy=2)
    truth = np.array([transforms.matrix_of(row, run.centre_mm) for row in run.motion])
    offset = [np.linalg.inv(a) @ b for a, b in zip(truth, found.matrices, strict=True)]
    # the reference is a mean of volumes, and its position is arbitrary
    middle = np.linalg.inv(transforms.halfway(offset[2:], run.centre_mm))
    error = np.array([transforms.parameters_of(middle @ m, run.centre_mm) for m in offset[2:]])
    assert np.median(np.abs(error[:, :3])) < 0.1
    assert np.degrees(np.median(np.abs(error[:, 3:]))) < 0.1
    assert np.abs(error[:, :3]).max() < 0.3


def test_parameters_and_matrices_describe_the_same_motion(moving_run: BoldTruth) -> None:
    short = moving_run.image.like(moving_run.image.data[..., 8:16])
    found = estimate_motion(short)
    assert found.parameters.shape == (8, 6)
    for row, matrix in zip(found.parameters, found.matrices, strict=True):
        assert transforms.matrix_of(row, found.centre_mm) == pytest.approx(matrix, abs=1e-9)


def test_alignment_recovers_a_rigid_transform() -> None:
    fixed = ball((0.0, 0.0, 0.0), 35.0)
    truth = transforms.matrix_of([2.0, -1.5, 1.0, 0.03, -0.02, 0.04])
    points = transforms.apply(np.linalg.inv(truth), fixed.points())
    moving = fixed.like(fixed.at(points, order=3).reshape(fixed.grid))
    found = align(fixed, moving, np.eye(4), np.zeros(3))
    error = transforms.parameters_of(found @ np.linalg.inv(truth))
    assert np.abs(error[:3]).max() < 0.1
    assert np.degrees(np.abs(error[3:])).max() < 0.2


def test_intensity_does_not_affect_the_alignment() -> None:
    fixed = ball((0.0, 0.0, 0.0), 35.0)
    moving = fixed.like(np.asarray(fixed.data) * 1.3 + 40)
    found = align(fixed, moving, np.eye(4), np.zeros(3))
    assert found == pytest.approx(np.eye(4), abs=0.01)


def test_the_head_is_the_largest_bright_part_without_holes() -> None:
    image = ball((0.0, 0.0, 0.0), 40.0)
    data = np.array(image.data)
    data += np.random.default_rng(0).normal(0, 10, data.shape)
    data[19:22, 19:22, 19:22] = 0  # a dark ventricle
    data[:4, :4, :4] = 900  # a bright artefact in air
    mask = head_mask(image.like(data))
    expected = np.asarray(image.data) > 250
    assert mask[20, 20, 20]
    assert not mask[:4, :4, :4].any()
    assert (mask != expected).mean() < 0.02


def test_otsus_threshold_separates_two_classes() -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(100, 15, 3000), rng.normal(400, 30, 1000)])
    counts, edges = np.histogram(values, 256)
    threshold = _otsu(counts.astype(float), edges)
    assert 150 < threshold < 320
    # the variance within both classes is the smallest of all thresholds

    def within(t: float) -> float:
        low, high = values[values <= t], values[values > t]
        return len(low) * low.var() + len(high) * high.var()

    best = min(within(t) for t in np.linspace(130, 350, 100))
    assert within(threshold) == pytest.approx(best, rel=0.01)


def test_motion_relative_to_another_image(moving_run: BoldTruth) -> None:
    """The reference is a displaced volume with another contrast, as a single-band image has."""
    short = moving_run.image.like(moving_run.image.data[..., 4:12])
    found = estimate_motion(short)
    shift = transforms.matrix_of([3.0, -2.0, 1.5, 0.03, 0.02, -0.04], found.centre_mm)
    mean = found.reference
    displaced = mean.at(transforms.apply(shift, mean.points()), order=3).reshape(mean.grid)
    image = mean.like(np.maximum(displaced, 0) ** 0.8)
    moved, similarity = relative_to(image, found)
    assert moved.reference is image
    assert similarity > 0.95
    for matrix, before in zip(moved.matrices, found.matrices, strict=True):
        # both map a point of the image to its position in the volume
        error = np.linalg.inv(before @ shift) @ matrix
        assert np.abs(error[:3, 3] + error[:3, :3] @ found.centre_mm - found.centre_mm).max() < 0.2
    centre = transforms.apply(shift, moved.centre_mm[None])[0]
    assert centre == pytest.approx(found.centre_mm, abs=0.2)
    noise = image.like(np.random.default_rng(1).permuted(displaced.ravel()).reshape(mean.grid))
    assert relative_to(noise, found)[1] < 0.5


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1)])
def test_displacement_does_not_depend_on_the_rotation_of_the_header(signs) -> None:
    rng = np.random.default_rng(4)
    image = Image(np.zeros((8, 9, 7)), np.diag([*np.multiply(signs, [3.0, 3.0, 4.0]), 1.0]))
    centre = np.array([2.0, -18.0, 8.0])
    rows = rng.normal(0, [0.5] * 3 + [0.01] * 3, (12, 6))
    matrices = np.array([transforms.matrix_of(row, centre) for row in rows])
    found = parameters_in_image(matrices, centre, image)
    np.testing.assert_allclose(found, rows, atol=1e-9)  # these axes are those of the scanner
    turn = transforms.matrix_of([10.0, -5.0, 3.0, 0.3, -0.2, 0.25])
    turned = Image(image.data, turn @ image.affine)
    moved = turn @ matrices @ np.linalg.inv(turn)
    moved_centre = transforms.apply(turn, centre[None])[0]
    again = parameters_in_image(moved, moved_centre, turned)
    np.testing.assert_allclose(again, rows, atol=1e-9)
    world = np.array([transforms.parameters_of(m, moved_centre) for m in moved])
    assert np.abs(world - rows).max() > 0.05
