"""Resampling: each volume from where the head was, and what left the field of view."""

import numpy as np
import pytest
from scipy import ndimage

from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.resampling import resample_run

GRID = (9, 8, 7)
STEPS = ((0, 0, 0), (1, 0, 0), (0, -2, 0), (0, 0, 1))  # voxels, of each volume


def moved_run() -> tuple[Image, np.ndarray, np.ndarray]:
    """One picture that stands elsewhere in each volume, and where it stood."""
    still = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=GRID), 1.5) + 10
    volumes = [ndimage.shift(still, step, order=0, cval=0.0) for step in STEPS]
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    matrices = [transforms.matrix_of([*(3.0 * np.array(step)), 0, 0, 0]) for step in STEPS]
    return Image(np.stack(volumes, axis=-1), affine), np.array(matrices), still


def test_volumes_are_taken_from_where_the_head_was() -> None:
    run, matrices, still = moved_run()
    found = resample_run(run, matrices, run.like(np.zeros(GRID, np.float32)), lambda p: p)
    inner = (slice(2, -2),) * 3
    for number in range(len(STEPS)):
        assert found.image.data[..., number][inner] == pytest.approx(still[inner], abs=0.05)


def test_what_any_volume_does_not_hold_is_out_of_view() -> None:
    run, matrices, _ = moved_run()
    found = resample_run(run, matrices, run.like(np.zeros(GRID, np.float32)), lambda p: p)
    expected = np.ones(GRID, bool)
    expected[-1] = expected[:, :2] = expected[:, :, -1] = False
    np.testing.assert_array_equal(found.in_view, expected)
