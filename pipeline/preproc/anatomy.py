"""Prepare a participant's anatomy: average T1-weighted images, segment tissues, and normalise.

No session is preferred: the T1-weighted images are sorted by their content, and the participant's
common space lies in the middle of all images. The result is therefore independent of the order in
which sessions are given.
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
_MASK_TOLERANCE_MM = 3.0  # largest accepted distance between own and template brain mask


@dataclass(frozen=True, eq=False)
class Brain:
    """Brain of a participant.

    Parameters
    ----------
    t1w : Image
        Bias-corrected T1-weighted image in the participant's space, RAS axes.
    mask : ndarray of bool
        Brain mask on the grid of `t1w`.
    tissues : tuple of Image
        Probability of cerebrospinal fluid, grey matter and white matter; 0 outside the mask.
    """

    t1w: Image
    mask: Bools
    tissues: tuple[Image, ...]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Brain of a participant, with its transforms and quality measures.

    Parameters
    ----------
    brain : Brain
        Brain in the participant's space.
    warp : Warp
        Transform to and from the template.
    to_inputs : tuple of ndarray, shape (4, 4)
        From the participant's space, mm, to each T1-weighted image, in the order of the images.
    mask_agreement : float
        Dice coefficient of the participant's own brain mask and the template's.
    similarity : float
        Correlation with the template after normalisation, within the template's brain.
    """

    brain: Brain
    warp: register.Warp
    to_inputs: tuple[Floats, ...]
    mask_agreement: float
    similarity: float


def masked(image: Image, mask: Bools) -> Image:
    """Set an image to zero outside a mask.

    Parameters
    ----------
    image : Image
        Image to mask.
    mask : ndarray of bool
        Mask on the grid of the image.

    Returns
    -------
    Image
        Image of float32.
    """
    return image.like(np.where(mask, image.data, 0).astype(np.float32))


def dice(a: Bools, b: Bools) -> float:
    """Compute the overlap of two masks.

    Parameters
    ----------
    a, b : ndarray of bool
        Masks on the same grid.

    Returns
    -------
    float
        Twice the number of shared voxels, divided by the sum of both sizes (Dice 1945,
        doi:10.2307/1932409); NaN if both masks are empty.
    """
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else float("nan")


def prepare_anatomy(t1ws: Sequence[Image], template: Template) -> Anatomy:
    """Prepare the anatomy of a participant.

    T1-weighted images are averaged in a common space, corrected for bias, normalised to the
    template and segmented.

    Parameters
    ----------
    t1ws : sequence of Image
        T1-weighted images of complete heads, of any sessions.
    template : Template
        Template to normalise to.

    Returns
    -------
    Anatomy
        Brain, transforms and quality measures.

    Raises
    ------
    ImageError
        If an image does not show a head.
    """
    t1w, mask, to_inputs = within_participant_template(t1ws)
    t1w = register.bias_corrected(t1w, mask)
    warp = register.normalise(masked(t1w, mask), template.brain)
    template_points = warp.to_template(t1w.points())
    inside = template.brain.like(template.mask.astype(np.float32))
    expected = inside.at(template_points).reshape(t1w.grid) > 0.5
    agreement = dice(mask, expected)
    mask = _reconcile_masks(mask, expected, t1w.zooms)
    priors = tuple(t1w.like(p.at(template_points).reshape(t1w.grid)) for p in template.priors)
    tissues = register.tissues(masked(t1w, mask), mask, priors)
    similarity = _similarity(t1w, warp, template)
    return Anatomy(Brain(t1w, mask, tissues), warp, to_inputs, agreement, similarity)


def _reconcile_masks(mask: Bools, expected: Bools, zooms: Floats) -> Bools:
    """Remove voxels far outside the template's mask, and add voxels deep inside it."""
    outside = ndimage.distance_transform_edt(~expected, sampling=zooms)
    depth = ndimage.distance_transform_edt(expected, sampling=zooms)
    return np.asarray((mask & (outside <= _MASK_TOLERANCE_MM)) | (depth > _MASK_TOLERANCE_MM))


def _similarity(t1w: Image, warp: register.Warp, template: Template) -> float:
    """Correlate the normalised image with the template within the template's brain."""
    grid = grid_over(template.brain, _RIGID_MM)
    points = grid.points()
    template_values = template.brain.at(points)
    inside = template_values > 0
    values = t1w.at(warp.to_participant(points[inside]))
    return float(np.corrcoef(values, template_values[inside])[0, 1])


def within_participant_template(t1ws: Sequence[Image]) -> tuple[Image, Bools, tuple[Floats, ...]]:
    """Average the T1-weighted images of a participant in the space half-way between them.

    Parameters
    ----------
    t1ws : sequence of Image
        T1-weighted images of complete heads, of any sessions.

    Returns
    -------
    image : Image
        Average with RAS axes; a single image stays on its own grid.
    mask : ndarray of bool
        Brain mask on the grid of `image`.
    to_inputs : tuple of ndarray, shape (4, 4)
        From the common space, mm, to each image, in the order of `t1ws`.

    Raises
    ------
    ImageError
        If an image does not show a head.

    Notes
    -----
    As in the robust template of Reuter 2012 (doi:10.1016/j.neuroimage.2012.02.084), no image is the
    target of the others, and each image is interpolated once.
    """
    order = sorted(range(len(t1ws)), key=lambda k: _content_digest(t1ws[k]))
    heads, masks = [], []
    for k in order:
        image = to_ras(t1ws[k].like(np.asarray(t1ws[k].data, np.float32)))
        head = register.bias_corrected(image, head_mask(image))
        masks.append(brain_mask(head))
        heads.append(head)
    if len(heads) == 1:
        return heads[0], masks[0], (np.eye(4),)
    medians = [float(np.median(h.data[m])) for h, m in zip(heads, masks, strict=True)]
    heads = [h.like(h.data * (1000 / v)) for h, v in zip(heads, medians, strict=True)]
    brains = [_downsample(masked(h, m)) for h, m in zip(heads, masks, strict=True)]
    centre = _centre(brains[0])
    to_images = [np.eye(4), *(register.rigid_to(brains[0], b) for b in brains[1:])]
    skull_stripped = [masked(h, m) for h, m in zip(heads, masks, strict=True)]
    for _ in range(3):
        to_images = _recentre(to_images, centre)
        target = _downsample(_average(_common_grid(heads, to_images), skull_stripped, to_images))
        to_images = [align(target, b, m, centre) for b, m in zip(brains, to_images, strict=True)]
    to_images = _recentre(to_images, centre)
    grid = _common_grid(heads, to_images)
    mask_images = [h.like(m.astype(np.float32)) for h, m in zip(heads, masks, strict=True)]
    mask = np.asarray(_average(grid, mask_images, to_images, order=1).data) >= 0.5
    to_inputs = dict(zip(order, to_images, strict=True))
    return (
        _average(grid, heads, to_images),
        mask,
        tuple(to_inputs[k] for k in range(len(t1ws))),
    )


def _recentre(to_images: Sequence[Floats], centre: Floats) -> list[Floats]:
    """Move the common space to the middle of the images."""
    middle = np.linalg.inv(transforms.halfway(to_images, centre))
    return [matrix @ middle for matrix in to_images]


def _content_digest(image: Image) -> bytes:
    """Hash the values and the affine of an image."""
    digest = hashlib.sha256(np.ascontiguousarray(image.data).tobytes())
    digest.update(np.ascontiguousarray(image.affine).tobytes())
    return digest.digest()


def _downsample(image: Image) -> Image:
    """Smooth and downsample an image to the resolution used for rigid registration."""
    if image.zooms.max() >= _RIGID_MM:
        return image
    smooth = image.like(ndimage.gaussian_filter(image.data, 0.4 * _RIGID_MM / image.zooms))
    return smooth.onto(grid_over(image, _RIGID_MM))


def _centre(brain: Image) -> Floats:
    """Compute the centre of a brain, mm."""
    index = np.argwhere(np.asarray(brain.data) > 0).mean(axis=0)
    return np.asarray(brain.affine[:3, :3] @ index + brain.affine[:3, 3])


def _common_grid(images: Sequence[Image], to_images: Sequence[Floats]) -> Image:
    """Create a grid that covers all fields of view at the resolution of the finest image."""
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
    """Average images on a grid, after interpolating each of them once."""
    points = grid.points()
    total = np.zeros(len(points), np.float32)
    for image, matrix in zip(images, to_images, strict=True):
        total += np.maximum(image.at(transforms.apply(matrix, points), order=order), 0)
    return grid.like((total / len(images)).reshape(grid.grid))
