"""The result of a registration does not depend on the header, and failures are recognised.

`tests/benchmarks/bench_coregistration.py` repeats the first test for ten heads and more movements.
"""

import numpy as np
import pytest

from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.measure.run_quality import MAX_BOUNDARY_COST
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.anatomy import Brain
from circuitshift.pipeline.preproc.coregistration import search
from circuitshift.pipeline.preproc.coregistration.boundary import (
    BoundaryCost,
    displacement_mm,
    white_matter_boundary,
)

SAME_MM = 0.5


def registered(brain: Brain, reference: Image, moves: list[np.ndarray]) -> np.ndarray:
    """Register a reference after movements of its header; return all transforms from the T1w.

    The movements are undone in the result.
    """
    boundary = white_matter_boundary(brain.tissues[2])
    out = []
    for move in moves:
        moved = Image(reference.data, move @ reference.affine)
        prepared = search.prepare_reference(moved)
        found = search.coregister(prepared, brain, boundary)
        assert found.cost < 0.3
        out.append(np.linalg.inv(move) @ found.to_reference)
    return np.array(out)


@pytest.fixture(scope="module")
def prepared(reference: Image) -> search.Reference:
    return search.prepare_reference(reference)


@pytest.mark.slow
def test_a_run_is_found_after_a_large_movement_of_its_header(
    brain: Brain, reference: Image, centre_mm: np.ndarray, pose: np.ndarray
) -> None:
    """The header is moved by 43 mm and 15 degrees."""
    boundary = white_matter_boundary(brain.tissues[2])
    angles = np.radians([9.0, -8.0, 9.0])
    move = transforms.matrix_of([25.0, -25.0, 25.0, *angles], centre_mm)
    found = registered(brain, reference, [np.eye(4), move])
    for matrix in found:
        assert displacement_mm(boundary, matrix, found[0]) < SAME_MM
        assert displacement_mm(boundary, matrix, pose) < 0.8


def test_a_failed_registration_has_a_cost_above_the_threshold(
    brain: Brain, reference: Image, pose: np.ndarray, centre_mm: np.ndarray, slab
) -> None:
    boundary = white_matter_boundary(brain.tissues[2])
    cost = BoundaryCost(boundary, slab(reference, 50.0))
    assert 0.2 < cost.visible(pose) < 0.6
    assert cost.of(pose) < 0.3
    for axis in range(3):
        for degrees in (30.0, -30.0):
            turn = np.zeros(6)
            turn[3 + axis] = np.radians(degrees)
            failed = pose @ transforms.matrix_of(turn, centre_mm)
            assert cost.of(failed) > MAX_BOUNDARY_COST


def test_the_overlap_of_masks_hardly_notices_a_rotation(
    brain: Brain, prepared: search.Reference, pose: np.ndarray, centre_mm: np.ndarray
) -> None:
    turn = transforms.matrix_of([0, 0, 0, 0, 0, np.radians(10)], centre_mm)
    right, wrong = (
        search.mask_overlap(prepared, brain, search.Coregistration(np.linalg.inv(m), 0.0))
        for m in (pose, pose @ turn)
    )
    assert right > 0.9
    assert right - wrong < 0.1


def test_the_working_grid_keeps_the_axes_of_the_image_and_lies_within_it() -> None:
    affine = transforms.matrix_of([5, 6, 7, 0.2, 0.1, 0.3]) @ np.diag([-3.0, 2.0, 5.0, 1.0])
    image = Image(np.zeros((6, 6, 7), np.float32), affine)
    grid = search._working_grid(image)
    assert grid.grid == (7, 5, 13)
    assert grid.zooms == pytest.approx([2.5] * 3)
    corners = transforms.apply(grid.affine, np.array([[0.0, 0, 0], [6, 4, 12]]))
    assert corners == pytest.approx(transforms.apply(affine, np.array([[0.0, 0, 0], [5, 5, 6]])))


def test_more_initial_positions_are_used_only_if_the_first_two_disagree(
    monkeypatch: pytest.MonkeyPatch, brain: Brain, prepared: search.Reference
) -> None:
    boundary = white_matter_boundary(brain.tissues[2])
    starts: list[np.ndarray] = []

    def rigid_to(fixed: Image, moving: Image, *, start: np.ndarray) -> np.ndarray:
        del fixed, moving
        starts.append(start)
        return start

    def results(*found: tuple[float, float]) -> None:
        starts.clear()
        left = iter([*found, *[(0.0, 0.25)] * 6])

        def refined(*_: object) -> search.Coregistration:
            shift, cost = next(left)
            return search.Coregistration(transforms.matrix_of([shift, 0, 0, 0, 0, 0]), cost)

        monkeypatch.setattr(search, "refined", refined)

    monkeypatch.setattr(search.register, "rigid_to", rigid_to)
    results((0.0, 0.21), (0.1, 0.2))
    assert search.coregister(prepared, brain, boundary).cost == 0.2
    assert len(starts) == 2
    assert (starts[0] == np.eye(4)).all()
    results((0.0, 0.21), (3.0, 0.2))  # far apart
    assert search.coregister(prepared, brain, boundary).cost == 0.2
    assert len(starts) == 8
    results((0.0, 0.41), (0.1, 0.4))  # agree, but not well
    assert search.coregister(prepared, brain, boundary).cost == 0.25
    assert len(starts) == 8
    angles = [np.degrees(np.arccos((np.trace(s[:3, :3]) - 1) / 2)) for s in starts[2:]]
    assert angles == pytest.approx([20] * 6)


def test_a_reference_without_signal_is_an_error(
    monkeypatch: pytest.MonkeyPatch, reference: Image
) -> None:
    monkeypatch.setattr(search, "signal_mask", lambda image: np.zeros(image.grid, bool))
    with pytest.raises(ImageError, match="contains no brain"):
        search.prepare_reference(reference)
