"""Register the reference of a run to the T1-weighted brain from several initial positions."""

from dataclasses import dataclass

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import registration as register
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.anatomy import Brain, dice, masked
from circuitshift.pipeline.preproc.coregistration.boundary import (
    Boundary,
    BoundaryCost,
    displacement_mm,
    refine,
)
from circuitshift.pipeline.preproc.resampling import signal_mask

__all__ = [
    "Coregistration",
    "Reference",
    "coregister",
    "mask_overlap",
    "prepare_reference",
    "refined",
    "visible_share",
]

_WORKING_MM = 2.5  # voxel size at which references are registered
_TURN = np.radians(20.0)
_SAME_MM = 0.5  # results within this distance of each other are the same
_SURE_COST = 0.3  # the search ends if both first results agree with at most this cost


@dataclass(frozen=True, eq=False)
class Reference:
    """Reference of a run, prepared for registration.

    Parameters
    ----------
    image : Image
        Bias-corrected reference with voxels of 2.5 mm, zero outside the mask.
    head : Image
        The same image without a mask.
    mask : Image
        Mask of the signal on the reference's own grid, 0 or 1.
    """

    image: Image
    head: Image
    mask: Image

    @property
    def centre_mm(self) -> Floats:
        """Centre of the mask, mm, shape (3,)."""
        return _centre(self.mask)


@dataclass(frozen=True, eq=False)
class Coregistration:
    """Rigid transform of a run's reference to the T1-weighted brain, and its quality.

    Parameters
    ----------
    matrix : ndarray, shape (4, 4)
        From the reference to the T1-weighted image, mm.
    cost : float
        Boundary cost; see `BoundaryCost.of`.
    """

    matrix: Floats
    cost: float

    @property
    def to_reference(self) -> Floats:
        """Transform from the T1-weighted image to the reference, mm, shape (4, 4)."""
        return np.asarray(np.linalg.inv(self.matrix))


def prepare_reference(reference: Image) -> Reference:
    """Correct a reference for bias, mask it, and resample it to voxels of 2.5 mm.

    Large voxels leave the coarse levels of a registration with too few voxels, so that its result
    depends on the initial position.

    Parameters
    ----------
    reference : Image
        Mean functional image.

    Returns
    -------
    Reference
        The prepared reference. Its axes are those of the image, so that a change of the header
        alone does not change its values.

    Raises
    ------
    ImageError
        If the image contains no signal.
    """
    seen = signal_mask(reference)
    if not seen.any():
        raise ImageError("the reference of the run contains no brain; check the raw images")
    flat = register.bias_corrected(reference, seen)
    grid = _working_grid(reference)
    head = flat.onto(grid, order=3)
    inside = reference.like(seen.astype(np.float32))
    within = np.asarray(inside.onto(grid).data) > 0.5
    head = head.like(np.maximum(head.data, 0).astype(np.float32))
    return Reference(masked(head, within), head, inside)


def _working_grid(image: Image) -> Image:
    """Create a grid of 2.5 mm along the same axes, from the first to at most the last voxel."""
    factor = _WORKING_MM / image.zooms
    shape = tuple(int((n - 1) / f + 1e-6) + 1 for n, f in zip(image.grid, factor, strict=True))
    affine = image.affine.copy()
    affine[:3, :3] *= factor
    return Image(np.zeros(shape, np.float32), affine)


def coregister(reference: Reference, brain: Brain, boundary: Boundary) -> Coregistration:
    """Register a reference to the T1-weighted brain.

    Parameters
    ----------
    reference : Reference
        Reference of a run, from `prepare_reference`.
    brain : Brain
        Brain of the participant.
    boundary : Boundary
        Boundary of its white matter.

    Returns
    -------
    Coregistration
        Result with the lowest boundary cost.

    Notes
    -----
    Mutual information is maximised from each initial position, and each result is refined with the
    boundary. The first two initial positions are that of the headers and the alignment of both
    centres. Rotations by 20 degrees about each axis are added if these two do not lead to the same
    result, or if its cost is not low.
    """
    target = masked(brain.t1w, brain.mask)
    centred = np.eye(4)
    centred[:3, 3] = _centre(brain.t1w.like(brain.mask)) - reference.centre_mm

    def attempt(start: Floats) -> Coregistration:
        found = register.rigid_to(reference.image, target, start=start)
        return refined(reference, boundary, found)

    results = [attempt(np.eye(4)), attempt(centred)]
    first, second = (result.to_reference for result in results)
    is_same = displacement_mm(boundary, first, second) <= _SAME_MM
    if not is_same or min(result.cost for result in results) > _SURE_COST:
        results += [attempt(centred @ turn) for turn in _turns(reference.centre_mm)]
    return min(results, key=lambda result: result.cost)


def _turns(centre: Floats) -> list[Floats]:
    """Return rotations about each axis in both directions."""
    steps = _TURN * np.concatenate([np.eye(3), -np.eye(3)])
    return [transforms.matrix_of([0.0, 0.0, 0.0, *angles], centre) for angles in steps]


def refined(reference: Reference, boundary: Boundary, start: Floats) -> Coregistration:
    """Refine a transform with the boundary of white matter.

    Parameters
    ----------
    reference : Reference
        Reference of a run.
    boundary : Boundary
        Boundary of white matter.
    start : ndarray, shape (4, 4)
        From the reference to the T1-weighted image, mm.

    Returns
    -------
    Coregistration
        Refined transform with its cost.
    """
    inverse = np.asarray(np.linalg.inv(start), float)
    to_reference, cost = refine(boundary, reference.head, inverse)
    return Coregistration(np.asarray(np.linalg.inv(to_reference)), cost)


def mask_overlap(reference: Reference, brain: Brain, found: Coregistration) -> float:
    """Compute the overlap of the masks of a reference and of the visible T1-weighted brain.

    Parameters
    ----------
    reference : Reference
        Reference of a run.
    brain : Brain
        Brain of the participant.
    found : Coregistration
        Its registration.

    Returns
    -------
    float
        Dice coefficient. It is hardly sensitive to rotations, and is therefore no criterion.
    """
    where = transforms.apply(found.to_reference, brain.t1w.points())
    own = reference.mask.at(where).reshape(brain.t1w.grid) > 0.5
    everywhere = reference.mask.like(np.ones(reference.mask.grid, np.float32))
    view = everywhere.at(where).reshape(own.shape) > 0.5
    return dice(own, brain.mask & view)


def visible_share(reference: Reference, boundary: Boundary, found: Coregistration) -> float:
    """Return the share of the boundary of white matter in the field of view of a run."""
    return BoundaryCost(boundary, reference.head).visible(found.to_reference)


def _centre(mask: Image) -> Floats:
    """Compute the centre of a mask, mm."""
    index = np.argwhere(np.asarray(mask.data) > 0.5).mean(axis=0)
    return np.asarray(mask.affine[:3, :3] @ index + mask.affine[:3, 3])
