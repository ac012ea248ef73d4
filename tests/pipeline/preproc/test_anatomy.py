"""Anatomy: masks, and the common space of the T1-weighted images of a participant."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.io.images import Image, axis_codes
from circuitshift.pipeline.preproc import anatomy, registration, transforms
from circuitshift.pipeline.preproc.anatomy import (
    _common_grid,
    _reconcile_masks,
    dice,
    masked,
    within_participant_template,
)
from circuitshift.pipeline.validation.simulate.head import Head, HeadSpec, draw_t1w


def test_dice_is_the_share_of_common_voxels() -> None:
    a, b = np.zeros(10, bool), np.zeros(10, bool)
    a[:6], b[4:8] = True, True
    assert dice(a, b) == pytest.approx(2 * 2 / (6 + 4))
    assert dice(a, a) == 1
    assert dice(a, ~a) == 0
    assert np.isnan(dice(np.zeros(3, bool), np.zeros(3, bool)))


def test_voxels_outside_a_mask_are_zero() -> None:
    image = Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    mask = np.asarray(image.data) > 4
    found = masked(image, mask)
    assert found.data.dtype == np.float32
    assert found.data.ravel().tolist() == [0, 0, 0, 0, 0, 5, 6, 7]


def test_the_own_mask_counts_near_the_surface_of_the_template() -> None:
    """Voxels of 1 mm on a line: the template's brain ends at 20, the tolerance is 3 mm."""
    position = np.arange(41)[:, None, None] * np.ones((1, 3, 3))
    expected = position < 20
    cases = {
        "too large": (position < 30, 23),  # cut 3 mm beyond the template's brain
        "too small": (position < 5, 17),  # filled up to 3 mm below its surface
        "slightly larger": (position < 22, 22),
        "slightly smaller": (position < 18, 18),
    }
    for name, (mask, end) in cases.items():
        found = _reconcile_masks(mask, expected, np.ones(3))
        assert found.sum() // 9 == end, name


def test_the_common_grid_covers_all_fields_of_view() -> None:
    fine = Image(np.zeros((10, 10, 10), np.float32), np.diag([1.0, 1.0, 1.0, 1.0]))
    coarse = Image(np.zeros((5, 5, 5), np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
    shift = transforms.matrix_of([4.0, 0, 0, 0, 0, 0])  # the second image lies 4 mm further left
    grid = _common_grid([fine, coarse], [np.eye(4), shift])
    assert grid.zooms.tolist() == [1, 1, 1]
    points = grid.points()
    assert points.min(axis=0) == pytest.approx([-4, 0, 0])
    assert points.max(axis=0) == pytest.approx([9, 12, 12])


@pytest.mark.slow
def test_sessions_meet_in_the_middle_whatever_their_order(
    head: Head,
    spec: HeadSpec,
    remembered: Callable[[Callable], Callable],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module, name in (
        (registration, "bias_corrected"),
        (registration, "rigid_to"),
        (anatomy, "brain_mask"),
    ):
        monkeypatch.setattr(module, name, remembered(getattr(module, name)))
    rng = np.random.default_rng(8)
    coarse = replace(spec, t1w_mm=3.0)
    centre = np.array([0.0, -18.0, 8.0])
    poses = [
        transforms.matrix_of(six, centre)
        for six in ([4.0, 2.0, -3.0, 0.05, 0.0, 0.03], [-3.0, 1.0, 2.0, -0.02, 0.04, 0.0])
    ]
    t1ws = [draw_t1w(head, pose, coarse, rng) for pose in poses]
    image, mask, to_inputs = within_participant_template(t1ws)
    assert axis_codes(image.affine) == "RAS"
    # from the common space to the head, by way of each session
    to_head = [np.linalg.inv(p) @ m for p, m in zip(poses, to_inputs, strict=True)]
    error = transforms.parameters_of(np.linalg.inv(to_head[0]) @ to_head[1], centre)
    assert np.abs(error[:3]).max() < 0.4
    assert np.degrees(np.abs(error[3:])).max() < 0.4
    # the common space is half-way between both sessions
    middle = transforms.halfway(to_inputs, centre)
    assert np.abs(transforms.parameters_of(middle, centre)).max() < 0.5
    brain = head.tissues[0].like(sum(np.asarray(t.data) for t in head.tissues[:3]))
    inside = brain.at(transforms.apply(to_head[0], image.points())).reshape(image.grid) > 0.5
    assert dice(mask, inside) > 0.9
    other, other_mask, other_inputs = within_participant_template(t1ws[::-1])
    np.testing.assert_array_equal(other.data, image.data)
    np.testing.assert_array_equal(other_mask, mask)
    for one, two in zip(other_inputs[::-1], to_inputs, strict=True):
        np.testing.assert_array_equal(one, two)
