"""Registration of a real run: independence of its header, and recognition of failures.

The participant is the one of `raw-bids-one-subject` (T1-weighted image of 2 mm, 20 volumes of
5 mm). With `-s`, the test prints the numbers of docs/preprocessing.md.
"""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.io import images
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.measure.run_quality import MAX_BOUNDARY_COST
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.anatomy import Brain, prepare_anatomy
from circuitshift.pipeline.preproc.coregistration import search
from circuitshift.pipeline.preproc.coregistration.boundary import (
    Boundary,
    BoundaryCost,
    displacement_mm,
    white_matter_boundary,
)
from circuitshift.pipeline.preproc.motion import estimate_motion
from circuitshift.pipeline.preproc.template import load_template

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "raw-bids-one-subject" / "sub-001"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.exists(), reason="the shared test data are not available"),
]

#: Movements of the header, mm and degrees. The other movements of the documentation are omitted to
#: save time: (1, 0, 0, 0, 0, 0), (1, 2, 2, 0, 0, 0), (4, -3, 5, 3, -3, 2.5), (0, 0, 0, -15, 0, 0)
#: and (25, -25, 25, 9, -8, 9).
MOVES = ((0, 0, 0, 0, 0, 30),)


@pytest.fixture(scope="module")
def brain() -> Brain:
    t1w = images.read(DATA / "anat/sub-001_T1w.nii.gz")
    return prepare_anatomy([t1w], load_template()).brain


@pytest.fixture(scope="module")
def boundary(brain: Brain) -> Boundary:
    return white_matter_boundary(brain.tissues[2])


@pytest.fixture(scope="module")
def reference() -> Image:
    run = images.read(DATA / "func/sub-001_task-rest_bold.nii.gz")
    return estimate_motion(run).reference


@pytest.fixture(scope="module")
def prepared(reference: Image) -> search.Reference:
    return search.prepare_reference(reference)


@pytest.fixture(scope="module")
def undisturbed(
    brain: Brain, boundary: Boundary, prepared: search.Reference
) -> search.Coregistration:
    """Registration of the run with its own header."""
    return search.coregister(prepared, brain, boundary)


def turned(values: tuple[float, ...], centre: np.ndarray) -> np.ndarray:
    matrix: np.ndarray = transforms.matrix_of([*values[:3], *np.radians(values[3:])], centre)
    return matrix


def test_all_movements_of_the_header_lead_to_the_same_place(
    brain: Brain,
    boundary: Boundary,
    reference: Image,
    prepared: search.Reference,
    undisturbed: search.Coregistration,
) -> None:
    assert undisturbed.cost < 0.3
    found = [undisturbed.to_reference]
    for values in MOVES:
        move = turned(values, prepared.centre_mm)
        moved = search.prepare_reference(Image(reference.data, move @ reference.affine))
        one = search.coregister(moved, brain, boundary)
        found.append(np.linalg.inv(move) @ one.to_reference)
        apart = displacement_mm(boundary, found[-1], found[0])
        print(f"{values}: cost {one.cost:.3f}, {apart:.3f} mm from the first")
        assert one.cost < 0.3
    assert max(displacement_mm(boundary, a, b) for a in found for b in found) < 0.5


def test_failures_have_a_cost_above_the_threshold(
    boundary: Boundary,
    reference: Image,
    prepared: search.Reference,
    undisturbed: search.Coregistration,
) -> None:
    right = undisturbed.to_reference
    centre = boundary.points.mean(axis=0)
    cost = BoundaryCost(boundary, prepared.head)
    assert cost.of(right) < 0.3
    first = (reference.grid[2] - 10) // 2
    affine = reference.affine.copy()
    affine[:3, 3] += first * affine[:3, 2]
    slab = Image(reference.data[:, :, first : first + 10], affine)
    thin = BoundaryCost(boundary, search.prepare_reference(slab).head)
    assert thin.of(right) < 0.3
    for axis in range(3):
        for degrees in (-30.0, 30.0):
            values = np.zeros(6)
            values[3 + axis] = degrees
            failed = right @ turned(tuple(values), centre)
            print(f"{values}: {cost.of(failed):.3f}, slab of 50 mm {thin.of(failed):.3f}")
            assert cost.of(failed) > MAX_BOUNDARY_COST
            assert thin.of(failed) > MAX_BOUNDARY_COST
