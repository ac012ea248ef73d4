"""Runs of a participant share information, and a run that disagrees is recognised."""

import numpy as np
import pytest

from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.measure.run_quality import MAX_DISAGREEMENT_MM
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.anatomy import Brain
from circuitshift.pipeline.preproc.coregistration import agreement
from circuitshift.pipeline.preproc.coregistration.agreement import disagreements, register_runs
from circuitshift.pipeline.preproc.coregistration.boundary import (
    BoundaryCost,
    displacement_mm,
    white_matter_boundary,
)
from circuitshift.pipeline.preproc.coregistration.search import Coregistration, Reference
from circuitshift.pipeline.validation.simulate.head import Head, HeadSpec


def test_a_single_run_has_no_disagreement() -> None:
    assert np.isnan(disagreements(np.zeros((1, 1)), [0.2])).all()


@pytest.mark.parametrize(
    ("distances", "costs", "expected"),
    [
        (
            [[0, 5], [5, 0]],
            [0.2, 0.3],
            [0, 5],
        ),  # two runs: the lower cost is right
        ([[0, 5], [5, 0]], [0.3, 0.2], [5, 0]),
        ([[0, 9, 1], [9, 0, 9], [1, 9, 0]], [0.3, 0.1, 0.3], [0, 9, 1]),  # the majority is right
        (
            [[0, 1, 1, 8], [1, 0, 1, 8], [1, 1, 0, 8], [8, 8, 8, 0]],
            [0.2, 0.2, 0.1, 0.05],
            [1, 1, 0, 8],
        ),
    ],
)
def test_runs_are_compared_with_the_central_run(distances, costs, expected) -> None:
    assert disagreements(np.array(distances, float), costs) == expected


@pytest.fixture(scope="module")
def poses(centre_mm: np.ndarray, pose: np.ndarray) -> list[np.ndarray]:
    other = transforms.matrix_of([-3.0, 5.0, -4.0, -0.06, 0.05, 0.04], centre_mm)
    return [pose, other]


@pytest.fixture(scope="module")
def references(
    head: Head, spec: HeadSpec, reference: Image, poses: list[np.ndarray], scanner
) -> list[Image]:
    return [reference, scanner.draw_reference(head, spec, pose=poses[1], seed=8)]


def searched(monkeypatch: pytest.MonkeyPatch, brain: Brain, positions: list[np.ndarray]) -> None:
    """Replace the search by results at given positions, in the order of processing."""
    boundary = white_matter_boundary(brain.tissues[2])
    left = iter(positions)

    def coregister(reference: Reference, *_: object) -> Coregistration:
        to_reference = next(left)
        cost = BoundaryCost(boundary, reference.head).of(to_reference)
        return Coregistration(np.linalg.inv(to_reference), cost)

    monkeypatch.setattr(agreement, "coregister", coregister)


def in_order(references: list[Image]) -> list[int]:
    return sorted(range(2), key=lambda k: agreement._content_digest(references[k]))


def wrong(pose: np.ndarray, centre_mm: np.ndarray) -> np.ndarray:
    return pose @ transforms.matrix_of([6.0, -8.0, 7.0, 0.25, 0.1, -0.3], centre_mm)


@pytest.mark.slow
def test_a_wrong_run_is_corrected_by_the_other_run(
    monkeypatch, brain, references, poses, centre_mm
) -> None:
    order = in_order(references)
    boundary = white_matter_boundary(brain.tissues[2])
    searched(monkeypatch, brain, [poses[order[0]], wrong(poses[order[1]], centre_mm)])
    found = register_runs(references, brain)
    for one, pose in zip(found, poses, strict=True):
        assert displacement_mm(boundary, np.linalg.inv(one.matrix), pose) < 0.5
        assert one.cost < 0.3
        assert one.disagreement_mm < 0.5
        assert one.visible > 0.95
        assert one.overlap > 0.9


def test_a_run_that_remains_wrong_disagrees(
    monkeypatch, brain, references, poses, centre_mm
) -> None:
    order = in_order(references)
    bad = order[1]
    searched(monkeypatch, brain, [poses[order[0]], wrong(poses[bad], centre_mm)])
    monkeypatch.setattr(
        agreement, "refined", lambda *_: Coregistration(np.eye(4), 1.0)
    )  # the other run does not help
    found = register_runs(references, brain)
    assert found[bad].disagreement_mm > 10 > MAX_DISAGREEMENT_MM
    assert found[order[0]].disagreement_mm == 0
    assert found[bad].cost > found[order[0]].cost


@pytest.mark.slow
def test_the_order_of_runs_does_not_matter(
    monkeypatch, brain, references, poses, centre_mm
) -> None:
    """Both runs are compared in the same direction; one of them starts from a wrong position."""
    order = in_order(references)
    boundary = white_matter_boundary(brain.tissues[2])
    found = []
    for given in (references, references[::-1]):
        searched(monkeypatch, brain, [poses[order[0]], wrong(poses[order[1]], centre_mm)])
        found.append(register_runs(given, brain))
    for one, two, pose in zip(found[0], found[1][::-1], poses, strict=True):
        np.testing.assert_array_equal(one.matrix, two.matrix)
        assert (one.cost, one.disagreement_mm) == (two.cost, two.disagreement_mm)
        assert displacement_mm(boundary, np.linalg.inv(one.matrix), pose) < 0.5
