"""Resampling: slice timing, realignment in one interpolation, and the field of view."""

import numpy as np
import pytest
from scipy import ndimage

from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.anatomy import dice
from circuitshift.pipeline.preproc.motion import estimate_motion
from circuitshift.pipeline.preproc.resampling import (
    correct_slice_timing,
    resample_run,
    signal_mask,
    time_shift,
)
from circuitshift.pipeline.validation.simulate.head import Head
from circuitshift.pipeline.validation.simulate.raw_data_set import BoldTruth

GRID = (9, 8, 7)
SHIFTS = ((0, 0, 0), (1, 0, 0), (0, -2, 0), (0, 0, 1))  # of each volume, voxels


def shifted_run() -> tuple[Image, np.ndarray, np.ndarray]:
    """Return a run of shifted volumes, the shifts as matrices, and the volume without shift."""
    still = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=GRID), 1.5) + 10
    volumes = [ndimage.shift(still, shift, order=0, cval=0.0) for shift in SHIFTS]
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    matrices = [transforms.matrix_of([*(3.0 * np.array(shift)), 0, 0, 0]) for shift in SHIFTS]
    return Image(np.stack(volumes, axis=-1), affine), np.array(matrices), still


def sine_run(slice_times_s: np.ndarray, n_volumes: int, t_r_s: float) -> Image:
    """Return a run of a slow sine that is sampled at the acquisition time of each slice."""
    time = np.arange(n_volumes)[:, None] * t_r_s + slice_times_s
    signal = 100 + np.sin(2 * np.pi * 0.08 * time)
    shape = (3, 4, len(slice_times_s), n_volumes)
    return Image(np.broadcast_to(signal.T, shape).astype(np.float32).copy(), np.eye(4))


# ------------------------------------------------------------------------------ slice timing


def test_all_slices_are_interpolated_to_the_middle_of_the_volume() -> None:
    n, t_r = 120, 2.0
    times = np.array([0.0, 0.9, 0.45, 1.35, 1.8])
    corrected = correct_slice_timing(sine_run(times, n, t_r), times.tolist(), t_r).data[1, 1]
    truth = 100 + np.sin(2 * np.pi * 0.08 * (np.arange(n) * t_r + 0.9))
    assert np.abs(corrected[:, 12:-12] - truth[12:-12]).max() < 1e-3


def test_slices_may_follow_each_other_along_any_axis() -> None:
    times = np.array([0.0, 0.9, 0.45, 1.35, 1.8])
    run = sine_run(times, 60, 2.0)
    turned = run.like(np.asarray(run.data).transpose(2, 1, 0, 3))
    expected = correct_slice_timing(run, times.tolist(), 2.0).data.transpose(2, 1, 0, 3)
    corrected = correct_slice_timing(turned, times.tolist(), 2.0, axis=0).data
    np.testing.assert_array_equal(corrected, expected)


def test_volumes_before_the_steady_state_stay_apart() -> None:
    times = np.array([0.0, 0.9, 0.45, 1.35, 1.8])
    run = sine_run(times, 60, 2.0)
    bright = np.array(run.data)
    bright[..., :3] += 1000
    plain, corrected = (
        correct_slice_timing(run.like(data), times.tolist(), 2.0, n_dummy=3).data
        for data in (run.data, bright)
    )
    np.testing.assert_array_equal(corrected[..., :3], bright[..., :3])
    np.testing.assert_array_equal(corrected[..., 3:], plain[..., 3:])


def test_a_shift_by_complete_volumes_moves_the_series() -> None:
    series = np.random.default_rng(0).normal(size=30)
    assert (time_shift(30, 1.0) @ series)[:-1] == pytest.approx(series[1:], abs=1e-9)
    assert time_shift(30, 0.0) == pytest.approx(np.eye(30), abs=1e-9)


# ------------------------------------------------------------------------------ interpolation


def test_volumes_are_sampled_at_the_position_of_the_head() -> None:
    run, matrices, still = shifted_run()
    resampled = resample_run(run, matrices, run.like(np.zeros(GRID, np.float32)), lambda p: p)
    inner = (slice(2, -2),) * 3
    for number in range(len(SHIFTS)):
        assert resampled.image.data[..., number][inner] == pytest.approx(still[inner], abs=0.05)


def test_voxels_outside_the_field_of_view_of_any_volume_are_out_of_view() -> None:
    run, matrices, _ = shifted_run()
    resampled = resample_run(run, matrices, run.like(np.zeros(GRID, np.float32)), lambda p: p)
    expected = np.ones(GRID, bool)
    expected[-1] = expected[:, :2] = expected[:, :, -1] = False
    np.testing.assert_array_equal(resampled.in_view, expected)


def test_the_target_grid_is_mapped_to_the_reference() -> None:
    run, matrices, still = shifted_run()
    target = Image(np.zeros((3, 3, 3), np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
    offset = 3.0 * np.array([3, 3, 2])
    resampled = resample_run(run, matrices, target, lambda points: points + offset)
    assert resampled.image.data[..., 0] == pytest.approx(still[3:6, 3:6, 2:5], abs=0.02)


def test_splines_do_not_produce_negative_intensities() -> None:
    data = np.zeros((*GRID, 1), np.float32)
    data[4:] = 100  # a sharp edge, at which cubic splines overshoot
    run = Image(data, np.eye(4))
    half = transforms.matrix_of([0.5, 0, 0, 0, 0, 0])[None]
    resampled = resample_run(run, half, run.like(np.zeros(GRID, np.float32)), lambda p: p)
    assert resampled.image.data.min() == 0


def test_realignment_removes_motion(moving_run: BoldTruth) -> None:
    run = moving_run.image
    motion = estimate_motion(run, n_dummy=2)
    grid = run.like(np.zeros(run.grid, np.float32))
    realigned = resample_run(run, motion.matrices, grid, lambda p: p)
    before = np.asarray(run.data[..., 2:], float)
    inside = (before.mean(axis=3) > 700) & realigned.in_view
    runs = [v[inside] / v[inside].mean(axis=0) for v in (before, realigned.image.data[..., 2:])]
    jump = [np.abs(v[:, 10:].mean(axis=1) - v[:, :10].mean(axis=1)).mean() for v in runs]
    assert jump[1] < 0.4 * jump[0]  # noise remains


def test_the_brain_of_a_run_is_found_by_its_intensity(head: Head, moving_run: BoldTruth) -> None:
    reference = moving_run.image.like(np.asarray(moving_run.image.data[..., 4], np.float32))
    brain = head.tissues[0].like(sum(np.asarray(t.data) for t in head.tissues[:3]))
    truth = brain.onto(reference).data > 0.5
    assert dice(signal_mask(reference), truth) > 0.85
