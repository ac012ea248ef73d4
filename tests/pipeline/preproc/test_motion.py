"""Head motion, slice timing, resampling and brain extraction on heads whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.anatomy import dice
from circuitshift.pipeline.preproc.brain_mask import brain_mask
from circuitshift.pipeline.preproc.motion import align, estimate_motion
from circuitshift.pipeline.preproc.resampling import correct_slice_timing, resample_run, time_shift
from circuitshift.pipeline.validation.simulate.head import Head, HeadSpec, draw_head, draw_t1w
from circuitshift.pipeline.validation.simulate.raw_data_set import BoldTruth, draw_bold

SPEC = HeadSpec(bold_mm=(4.0, 4.0, 4.0))


@pytest.fixture(scope="module")
def head() -> Head:
    return draw_head(SPEC, np.random.default_rng(5))


@pytest.fixture(scope="module")
def run(head: Head) -> BoldTruth:
    rng = np.random.default_rng(6)
    motion = np.cumsum(rng.normal(0, 1, (24, 6)) * ([0.1] * 3 + [0.002] * 3), axis=0)
    motion[12:] += [1.5, -1.0, 0.5, 0.02, -0.01, 0.03]  # a sudden jump that stays
    atlas = load_atlas("seitzman300")
    still = replace(SPEC, amplitude=0.0)  # what changes is motion, drift or noise
    series = np.zeros((24, len(atlas.regions)))
    return draw_bold(head, still, series, atlas, pose=np.eye(4), motion=motion, rng=rng)


def test_alignment_finds_where_a_head_went() -> None:
    """A matrix leads from points of the fixed image to those of the moving one."""
    rng = np.random.default_rng(1)
    blob = ndimage.gaussian_filter(rng.normal(size=(22, 22, 22)), 2.0)
    blob *= np.hypot.reduce(np.indices(blob.shape) - 10.5) < 9
    affine = transforms.matrix_of([-30.0, -30, -30, 0, 0, 0]) @ np.diag([3.0, 3, 3, 1])
    fixed = Image((1000 * (blob - blob.min())).astype(np.float32), affine)
    centre = np.zeros(3)
    truth = transforms.matrix_of([1.5, -2.0, 1.0, 0.03, -0.02, 0.05], centre)
    there = transforms.apply(np.linalg.inv(truth), fixed.points())
    moving = fixed.like(fixed.at(there, order=3).reshape(fixed.grid))
    found = align(fixed, moving, np.eye(4), centre)
    error = transforms.parameters_of(np.linalg.inv(truth) @ found, centre)
    assert np.abs(error[:3]).max() < 0.1
    assert np.degrees(np.abs(error[3:])).max() < 0.2


def test_motion_is_recovered(run: BoldTruth) -> None:
    found = estimate_motion(run.image, n_dummy=2)
    truth = np.array([transforms.matrix_of(row, run.centre_mm) for row in run.motion])
    offset = [np.linalg.inv(a) @ b for a, b in zip(truth, found.matrices, strict=True)]
    # the reference is a mean of volumes: where it lies is free
    middle = np.linalg.inv(transforms.halfway(offset[2:], run.centre_mm))
    error = np.array([transforms.parameters_of(middle @ m, run.centre_mm) for m in offset[2:]])
    assert np.median(np.abs(error[:, :3])) < 0.1
    assert np.degrees(np.median(np.abs(error[:, 3:]))) < 0.1
    assert np.abs(error[:, :3]).max() < 0.3


def test_one_interpolation_takes_motion_out(run: BoldTruth) -> None:
    found = estimate_motion(run.image, n_dummy=2)
    grid = run.image.like(np.zeros(run.image.grid, np.float32))
    still = resample_run(run.image, found.matrices, grid, lambda p: p)
    before = np.asarray(run.image.data[..., 2:], float)
    inside = (before.mean(axis=3) > 700) & still.in_view
    runs = [v[inside] / v[inside].mean(axis=0) for v in (before, still.image.data[..., 2:])]
    jump = [np.abs(v[:, 10:].mean(axis=1) - v[:, :10].mean(axis=1)).mean() for v in runs]
    assert jump[1] < 0.4 * jump[0]  # noise stays


def test_slices_come_to_one_time() -> None:
    n, t_r = 120, 2.0
    times = np.array([0.0, 0.9, 0.45, 1.35, 1.8])
    at = np.arange(n)[:, None] * t_r + times
    signal = 100 + np.sin(2 * np.pi * 0.08 * at)
    run = Image(np.broadcast_to(signal.T, (3, 4, 5, n)).astype(np.float32).copy(), np.eye(4))
    found = correct_slice_timing(run, times.tolist(), t_r).data[1, 1]
    truth = 100 + np.sin(2 * np.pi * 0.08 * (np.arange(n) * t_r + 0.9))
    assert np.abs(found[:, 12:-12] - truth[12:-12]).max() < 1e-3
    kept = correct_slice_timing(run, times.tolist(), t_r, n_dummy=3).data
    assert np.array_equal(kept[..., :3], run.data[..., :3])


def test_a_shift_in_time_of_whole_volumes_moves_them() -> None:
    series = np.random.default_rng(0).normal(size=30)
    assert (time_shift(30, 1.0) @ series)[:-1] == pytest.approx(series[1:], abs=1e-9)
    assert time_shift(30, 0.0) == pytest.approx(np.eye(30), abs=1e-9)


def test_the_brain_is_found(head: Head) -> None:
    image = draw_t1w(head, np.eye(4), SPEC, np.random.default_rng(7))
    brain = head.tissues[0].like(sum(np.asarray(t.data) for t in head.tissues[:3]))
    truth = brain.onto(image).data > 0.5
    assert dice(brain_mask(image), truth) > 0.93
