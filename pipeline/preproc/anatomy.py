"""From T1-weighted images of a person to one brain, its tissues, and its place in the template.

All images of a person have the same part in it, whichever session they are from: they are put in
an order that depends on their content alone, and the person's space lies in the middle of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.io.images import Image, grid_over, to_ras
from circuitshift.pipeline.preproc import registration as register
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.brain_mask import brain_mask
from circuitshift.pipeline.preproc.motion import align, head_mask
from circuitshift.pipeline.preproc.template import Template

__all__ = ["Anatomy", "Brain", "dice", "masked", "prepare_anatomy", "within_participant_template"]


_RIGID_MM = 2.0
_SURE_MM = 3.0  # how far the person's own brain mask may lie from the template's


@dataclass(frozen=True, eq=False)
class Brain:
    """A person's brain.

    Parameters
    ----------
    t1w : Image
        Bias-corrected, RAS axes, in the person's space.
    mask : ndarray of bool
    tissues : tuple of Image
        Probability of cerebrospinal fluid, grey and white matter; 0 outside the mask.
    """

    t1w: Image
    mask: Bools
    tissues: tuple[Image, ...]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A person's brain, and where it lies.

    Parameters
    ----------
    brain : Brain
    warp : Warp
        To and from the template.
    to_inputs : tuple of ndarray of shape (4, 4)
        From the person's space, mm, to each image given, in the order given.
    mask_agreement : float
        Dice coefficient of the person's own mask with the template's.
    similarity : float
        Correlation with the template after normalisation, over the template's brain.
    """

    brain: Brain
    warp: register.Warp
    to_inputs: tuple[Floats, ...]
    mask_agreement: float
    similarity: float


def masked(image: Image, mask: Bools) -> Image:
    """Set an image to zero outside a mask."""
    return image.like(np.where(mask, image.data, 0).astype(np.float32))


def dice(a: Bools, b: Bools) -> float:
    """Overlap of two masks: twice what they share, over what they hold (Dice 1945)."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else float("nan")


def prepare_anatomy(t1ws: Sequence[Image], template: Template) -> Anatomy:
    """Prepare the anatomy of a person.

    Parameters
    ----------
    t1ws : sequence of Image
        T1-weighted, whole heads, of any sessions.
    template : Template

    Returns
    -------
    Anatomy

    Raises
    ------
    ImageError
        If there is no head in an image.
    """
    person, mask, to_inputs = within_participant_template(t1ws)
    person = register.bias_corrected(person, mask)
    warp = register.normalise(masked(person, mask), template.brain)
    where = warp.to_template(person.points())
    inside = template.brain.like(template.mask.astype(np.float32))
    expected = inside.at(where).reshape(person.grid) > 0.5
    agreement = dice(mask, expected)
    mask = _reconciled(mask, expected, person.zooms)
    priors = tuple(person.like(p.at(where).reshape(person.grid)) for p in template.priors)
    tissues = register.tissues(masked(person, mask), mask, priors)
    similarity = _similarity(person, warp, template)
    return Anatomy(Brain(person, mask, tissues), warp, to_inputs, agreement, similarity)


def _reconciled(mask: Bools, expected: Bools, zooms: Floats) -> Bools:
    """Keep the person's own mask where the template's agrees to within some millimetres."""
    outside = ndimage.distance_transform_edt(~expected, sampling=zooms)
    depth = ndimage.distance_transform_edt(expected, sampling=zooms)
    return np.asarray((mask & (outside <= _SURE_MM)) | (depth > _SURE_MM))


def _similarity(person: Image, warp: register.Warp, template: Template) -> float:
    grid = grid_over(template.brain, _RIGID_MM)
    points = grid.points()
    there = template.brain.at(points)
    inside = there > 0
    own = person.at(warp.to_participant(points[inside]))
    return float(np.corrcoef(own, there[inside])[0, 1])


def within_participant_template(t1ws: Sequence[Image]) -> tuple[Image, Bools, tuple[Floats, ...]]:
    """Average the T1-weighted images of a person in the space half-way between them.

    Parameters
    ----------
    t1ws : sequence of Image

    Returns
    -------
    image : Image
        RAS axes; a single image stays on its own grid.
    mask : ndarray of bool
        Brain.
    to_inputs : tuple of ndarray of shape (4, 4)
        From the common space, mm, to each image, in the order given.

    Notes
    -----
    After the robust template of Reuter 2012 (doi:10.1016/j.neuroimage.2012.02.084): no image is
    the target of the others, each is interpolated once.
    """
    order = sorted(range(len(t1ws)), key=lambda k: _content(t1ws[k]))
    heads, masks = [], []
    for k in order:
        image = to_ras(t1ws[k].like(np.asarray(t1ws[k].data, np.float32)))
        head = register.bias_corrected(image, head_mask(image))
        masks.append(brain_mask(head))
        heads.append(head)
    if len(heads) == 1:
        return heads[0], masks[0], (np.eye(4),)
    levels = [float(np.median(h.data[m])) for h, m in zip(heads, masks, strict=True)]
    heads = [h.like(h.data * (1000 / v)) for h, v in zip(heads, levels, strict=True)]
    brains = [_coarse(masked(h, m)) for h, m in zip(heads, masks, strict=True)]
    centre = _centre(brains[0])
    found = [np.eye(4), *(register.rigid_to(brains[0], b) for b in brains[1:])]
    inner = [masked(h, m) for h, m in zip(heads, masks, strict=True)]
    for _ in range(3):
        found = _centred(found, centre)
        target = _coarse(_average(_union(heads, found), inner, found))
        found = [align(target, b, m, centre) for b, m in zip(brains, found, strict=True)]
    found = _centred(found, centre)
    grid = _union(heads, found)
    share = [h.like(m.astype(np.float32)) for h, m in zip(heads, masks, strict=True)]
    mask = np.asarray(_average(grid, share, found, order=1).data) >= 0.5
    to_inputs = dict(zip(order, found, strict=True))
    return (
        _average(grid, heads, found),
        mask,
        tuple(to_inputs[k] for k in range(len(t1ws))),
    )


def _centred(to_images: Sequence[Floats], centre: Floats) -> list[Floats]:
    """Move the common space so that it lies in the middle of the images."""
    middle = np.linalg.inv(transforms.halfway(to_images, centre))
    return [matrix @ middle for matrix in to_images]


def _content(image: Image) -> bytes:
    digest = hashlib.sha256(np.ascontiguousarray(image.data).tobytes())
    digest.update(np.ascontiguousarray(image.affine).tobytes())
    return digest.digest()


def _coarse(image: Image) -> Image:
    """Thin an image for rigid registration, which needs no more."""
    if image.zooms.max() >= _RIGID_MM:
        return image
    smooth = image.like(ndimage.gaussian_filter(image.data, 0.4 * _RIGID_MM / image.zooms))
    return smooth.onto(grid_over(image, _RIGID_MM))


def _centre(brain: Image) -> Floats:
    index = np.argwhere(np.asarray(brain.data) > 0).mean(axis=0)
    return np.asarray(brain.affine[:3, :3] @ index + brain.affine[:3, 3])


def _union(images: Sequence[Image], to_images: Sequence[Floats]) -> Image:
    """Make a grid, as fine as the finest image, that holds all fields of view."""
    corners = []
    for image, matrix in zip(images, to_images, strict=True):
        box = np.array(np.meshgrid(*[(0, n - 1) for n in image.grid])).reshape(3, -1).T
        corners.append(transforms.apply(np.linalg.inv(matrix) @ image.affine, box.astype(float)))
    world = np.concatenate(corners)
    size = float(min(image.zooms.min() for image in images))
    low = world.min(axis=0)
    shape = tuple(int(n) for n in np.ceil((world.max(axis=0) - low) / size) + 1)
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = low
    return Image(np.zeros(shape, np.float32), affine)


def _average(
    grid: Image, images: Sequence[Image], to_images: Sequence[Floats], *, order: int = 3
) -> Image:
    points = grid.points()
    total = np.zeros(len(points), np.float32)
    for image, matrix in zip(images, to_images, strict=True):
        total += np.maximum(image.at(transforms.apply(matrix, points), order=order), 0)
    return grid.like((total / len(images)).reshape(grid.grid))
