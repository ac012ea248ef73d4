"""Register all runs of a participant, and compare the results of different runs.

The references of two runs have the same contrast, so that they can be aligned with each other more
safely than with a T1-weighted image. If this alignment contradicts the registration of both runs to
the T1-weighted image, at least one of the two registrations is wrong.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.anatomy import Brain
from circuitshift.pipeline.preproc.coregistration.boundary import (
    Boundary,
    displacement_mm,
    white_matter_boundary,
)
from circuitshift.pipeline.preproc.coregistration.search import (
    Coregistration,
    Reference,
    coregister,
    mask_overlap,
    prepare_reference,
    refined,
    visible_share,
)
from circuitshift.pipeline.preproc.motion import align

__all__ = ["RunRegistration", "disagreements", "register_runs"]

_SAME_MM = 0.5  # registrations that differ by less need no further initial position


@dataclass(frozen=True, eq=False)
class RunRegistration:
    """Registration of a run to the T1-weighted brain of its participant.

    Parameters
    ----------
    matrix : ndarray, shape (4, 4)
        From the reference of the run to the T1-weighted image, mm.
    cost : float
        Boundary cost; see `circuitshift.pipeline.preproc.coregistration.boundary.BoundaryCost.of`.
    disagreement_mm : float
        Distance from the position that the other runs imply, mm (see `disagreements`); NaN for a
        single run.
    overlap : float
        Dice coefficient of the masks of the run and of the visible T1-weighted brain.
    visible : float
        Share of the boundary of white matter that is in the field of view.
    """

    matrix: Floats
    cost: float
    disagreement_mm: float
    overlap: float
    visible: float


def register_runs(references: Sequence[Image], brain: Brain) -> list[RunRegistration]:
    """Register the references of all runs of a participant to the T1-weighted brain.

    Parameters
    ----------
    references : sequence of Image
        Mean functional image of each run, of any sessions.
    brain : Brain
        Brain of the participant, in the space half-way between all T1-weighted images.

    Returns
    -------
    list of RunRegistration
        Registration of each run, in the order of `references`.

    Raises
    ------
    ImageError
        If no white matter or, in a reference, no signal was found.

    Notes
    -----
    Each run is registered by itself. The registration of every other run, combined with the direct
    alignment of both references, is then a further initial position, which is used if its boundary
    cost is lower. The runs are processed in an order that depends on their content only, so that no
    session is favoured.
    """
    order = sorted(range(len(references)), key=lambda k: _content_digest(references[k]))
    boundary = white_matter_boundary(brain.tissues[2])
    prepared = [prepare_reference(references[k]) for k in order]
    found = [coregister(reference, brain, boundary) for reference in prepared]
    between = {
        (j, k): _between(prepared[j], prepared[k], found[k].to_reference @ found[j].matrix)
        for j, k in combinations(range(len(found)), 2)
    }
    found = _shared(prepared, found, between, boundary)
    apart = disagreements(_distances(found, between, boundary), [one.cost for one in found])
    results = {
        k: RunRegistration(
            one.matrix,
            one.cost,
            distance,
            mask_overlap(reference, brain, one),
            visible_share(reference, boundary, one),
        )
        for k, one, distance, reference in zip(order, found, apart, prepared, strict=True)
    }
    return [results[k] for k in range(len(references))]


def disagreements(distances_mm: Floats, costs: Sequence[float]) -> list[float]:
    """Measure how far each run is from the position that the other runs imply.

    Parameters
    ----------
    distances_mm : ndarray, shape (n_runs, n_runs)
        Distance between the registrations of each pair of runs, mm.
    costs : sequence of float
        Boundary cost of each run.

    Returns
    -------
    list of float
        Distance of each run from the central run, mm; NaN for a single run. The central run is the
        one with the smallest median distance from the others (the lower median of an even number),
        and among equals, such as two runs, the one with the lowest cost.
    """
    n = len(costs)
    if n == 1:
        return [float("nan")]
    others = [np.sort(np.delete(distances_mm[k], k))[(n - 2) // 2] for k in range(n)]
    central = min(range(n), key=lambda k: (others[k], costs[k]))
    return [float(distance) for distance in distances_mm[central]]


def _between(first: Reference, second: Reference, implied: Floats) -> Floats:
    """Align two references directly, from three initial positions; keep the most similar one."""
    centred = np.eye(4)
    centred[:3, 3] = second.centre_mm - first.centre_mm
    points = first.image.points()[np.asarray(first.image.data).ravel() > 0]
    values = first.image.at(points)

    def similarity(matrix: Floats) -> float:
        moved = second.image.at(transforms.apply(matrix, points))
        return float(np.corrcoef(values, moved)[0, 1]) if moved.any() else -1.0

    starts = (implied, np.eye(4), centred)
    found = [align(first.head, second.head, start, first.centre_mm) for start in starts]
    return max(found, key=similarity)


def _shared(
    references: Sequence[Reference],
    found: Sequence[Coregistration],
    between: dict[tuple[int, int], Floats],
    boundary: Boundary,
) -> list[Coregistration]:
    """Start each registration again where another run implies another position."""
    distances = _distances(found, between, boundary)
    out = []
    for k, own in enumerate(found):
        results = [own]
        for j in range(len(found)):
            if distances[j, k] > _SAME_MM:
                to_other = np.linalg.inv(between[j, k]) if j < k else between[k, j]
                start = found[j].matrix @ to_other
                results.append(refined(references[k], boundary, start))
        out.append(min(results, key=lambda result: result.cost))
    return out


def _distances(
    found: Sequence[Coregistration], between: dict[tuple[int, int], Floats], boundary: Boundary
) -> Floats:
    """Compare the registrations of each pair of runs with their direct alignment, mm."""
    out = np.zeros((len(found), len(found)))
    for (j, k), matrix in between.items():
        implied = matrix @ found[j].to_reference
        out[j, k] = out[k, j] = displacement_mm(boundary, implied, found[k].to_reference)
    return out


def _content_digest(image: Image) -> bytes:
    """Hash the values and the affine of an image."""
    digest = hashlib.sha256(np.ascontiguousarray(image.data).tobytes())
    digest.update(np.ascontiguousarray(image.affine).tobytes())
    return digest.digest()
