"""Displacements between sessions: planted changes of volume are recovered, and no others."""

import numpy as np
import pytest

from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc.structure.deformation import (
    jacobian,
    no_displacement,
    session_displacement,
)
from circuitshift.pipeline.preproc.structure.volumes import region_sums


def volumes(sessions, atlas):
    """Volume of each region in both sessions, mm^3, shape (2, n_regions)."""
    out = []
    for image in sessions.images:
        found = jacobian(session_displacement(sessions.brain.t1w, image, sessions.brain.mask))
        inside = sessions.brain.mask
        values = found.at(sessions.brain.t1w.points()[inside.ravel()])
        mm3 = float(np.prod(sessions.brain.t1w.zooms))
        out.append(region_sums(sessions.regions[inside], len(atlas.regions), values * mm3))
    return np.array(out)


def test_the_jacobian_is_the_volume_of_a_linear_displacement():
    grid = Image(np.zeros((6, 7, 8), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    linear = np.array([[0.1, 0.02, 0.0], [0.0, -0.05, 0.0], [0.03, 0.0, 0.0]])
    moved = (grid.points() @ linear.T).reshape(*grid.grid, 3).astype(np.float32)
    found = jacobian(grid.like(moved))
    assert found.data == pytest.approx(np.linalg.det(np.eye(3) + linear), abs=1e-5)


def test_without_a_difference_there_is_no_displacement(draw):
    sessions = draw({}, mm=4.0)
    brain = sessions.brain
    found = session_displacement(brain.t1w, brain.t1w, brain.mask)
    assert np.abs(found.data).max() < 1e-4  # rounding of the splines
    still = no_displacement(brain.t1w, brain.mask)
    assert still.data.shape == found.data.shape
    assert np.array_equal(still.affine, found.affine)
    assert (jacobian(still).data == 1).all()


def test_sign_and_place_of_a_large_change_are_found(draw, atlas):
    """A coarse version of the next test: a hippocampus that loses 20 % of its volume."""
    before, after = volumes(draw({"Hippocampus_R": 0.8}, mm=3.0), atlas)
    change = dict(zip(atlas.labels, 100 * (after / before - 1), strict=True))
    assert change.pop("Hippocampus_R") == pytest.approx(-20, abs=5)
    assert max(map(abs, change.values())) < 5


@pytest.mark.slow
def test_a_shrinkage_of_three_percent_is_recovered_and_nothing_else(draw, atlas):
    before, after = volumes(draw({"Hippocampus_R": 0.97}, mm=1.5), atlas)
    change = dict(zip(atlas.labels, 100 * (after / before - 1), strict=True))
    assert change.pop("Hippocampus_R") == pytest.approx(-3, abs=1)
    assert max(map(abs, change.values())) < 1


def test_exchanged_sessions_have_exchanged_volumes(draw, atlas):
    sessions = draw({"Hippocampus_R": 0.9}, mm=4.0)
    before, after = volumes(sessions, atlas)
    sessions.images = sessions.images[::-1]
    first, second = volumes(sessions, atlas)
    assert np.array_equal(first, after)
    assert np.array_equal(second, before)
