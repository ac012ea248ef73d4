"""Locate the fluid and white matter of a run in the template, from which confounds are computed."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from circuitshift.pipeline.arrays import Bools
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc.anatomy import Brain

__all__ = ["NoiseMasks", "noise_maps", "noise_masks"]


_GREY_PROBABILITY = 0.05  # a voxel above this probability may contain grey matter
_DISTANCES_MM = (3.0, 2.0, 1.0, 0.0)  # distance from grey matter, in order of preference
_MIN_SHARES = (0.99, 0.9, 0.7)  # smallest share of the tissue in a voxel, in order of preference
_MIN_VOXELS = 10


@dataclass(frozen=True, eq=False)
class NoiseMasks:
    """Masks of noise voxels on the grid of a run.

    Parameters
    ----------
    csf, white_matter : ndarray of bool
        Masks of cerebrospinal fluid and white matter.
    rules : tuple of (float, float)
        For each mask, its distance from grey matter, mm, and the smallest share of the tissue in a
        voxel.
    """

    csf: Bools
    white_matter: Bools
    rules: tuple[tuple[float, float], tuple[float, float]]


def noise_maps(brain: Brain) -> tuple[tuple[Image, Image], ...]:
    """Compute the share of fluid and white matter that lies away from grey matter.

    Several distances are prepared, since a small ventricle may have no voxel at the largest
    distance. fMRIPrep removes voxels within 3 mm of grey matter from both masks.

    Parameters
    ----------
    brain : Brain
        Tissues of the participant.

    Returns
    -------
    tuple of (Image, Image)
        Share of fluid and of white matter for distances of 3, 2, 1 and 0 mm.
    """
    csf, grey, white = (np.asarray(t.data) for t in brain.tissues)
    from_grey = ndimage.distance_transform_edt(grey <= _GREY_PROBABILITY, sampling=brain.t1w.zooms)
    from_surface = ndimage.distance_transform_edt(brain.mask, sampling=brain.t1w.zooms)
    out = []
    for distance_mm in _DISTANCES_MM:
        # fluid on the surface of the brain contains vessel pulsation and errors of the mask
        inner = (from_grey > distance_mm) & (from_surface > distance_mm)
        out.append(
            (brain.t1w.like(csf * inner), brain.t1w.like(white * inner)),
        )
    return tuple(out)


def noise_masks(maps: tuple[tuple[Image, Image], ...], inside: Bools) -> NoiseMasks:
    """Select for each tissue the strictest mask that contains at least 10 voxels.

    If no mask contains as many, the least strict one is used.

    Parameters
    ----------
    maps : tuple of (Image, Image)
        Output of `noise_maps`, resampled to the grid of the run.
    inside : ndarray of bool
        Brain voxels in the field of view of the run.

    Returns
    -------
    NoiseMasks
        Masks, and the rule that was applied to each.
    """
    masks, rules = [], []
    for tissue in range(2):
        for min_share, (distance_mm, pair) in product(
            _MIN_SHARES, list(zip(_DISTANCES_MM, maps, strict=True))
        ):
            rule = distance_mm, min_share
            mask = (np.asarray(pair[tissue].data) > min_share) & inside
            if mask.sum() >= _MIN_VOXELS:
                break
        masks.append(mask)
        rules.append(rule)
    return NoiseMasks(masks[0], masks[1], (rules[0], rules[1]))
