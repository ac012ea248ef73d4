"""Where in the template a run's tissues are: the masks that confounds are read from."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from circuitshift.pipeline.arrays import Bools
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc.anatomy import Brain

__all__ = ["NoiseMasks", "noise_maps", "noise_masks"]


_GREY = 0.05  # probability from which a voxel may be grey matter
_CLEAR_MM = (3.0, 2.0, 1.0, 0.0)  # how far noise keeps clear of grey matter; less when it must
_PURE = (0.99, 0.9, 0.7)  # share of the tissue in a voxel; less when it must be
_ENOUGH = 10  # voxels


@dataclass(frozen=True, eq=False)
class NoiseMasks:
    """Voxels of noise on the grid of a run.

    Parameters
    ----------
    csf, white_matter : ndarray of bool
    rules : tuple of (float, float)
        How far each keeps clear of grey matter, mm, and the least share of the tissue in a voxel.
    """

    csf: Bools
    white_matter: Bools
    rules: tuple[tuple[float, float], tuple[float, float]]


def noise_maps(brain: Brain) -> tuple[tuple[Image, Image], ...]:
    """Share of fluid and white matter that keeps clear of grey matter, for each distance.

    After fMRIPrep, which takes what is within 3 mm of grey matter away from both.

    Parameters
    ----------
    brain : Brain

    Returns
    -------
    tuple of (Image, Image)
        For 3, 2, 1 and 0 mm.
    """
    csf, grey, white = (np.asarray(t.data) for t in brain.tissues)
    near = ndimage.distance_transform_edt(grey <= _GREY, sampling=brain.t1w.zooms)
    depth = ndimage.distance_transform_edt(brain.mask, sampling=brain.t1w.zooms)
    out = []
    for clear in _CLEAR_MM:
        # fluid on the surface of the brain has the pulse of vessels, and the mask's errors
        inner = (near > clear) & (depth > clear)
        out.append(
            (brain.t1w.like(csf * inner), brain.t1w.like(white * inner)),
        )
    return tuple(out)


def noise_masks(maps: tuple[tuple[Image, Image], ...], inside: Bools) -> NoiseMasks:
    """Choose, for each tissue, the strictest mask that holds enough voxels.

    Parameters
    ----------
    maps : tuple of (Image, Image)
        `noise_maps`, resampled to the grid of a run.
    inside : ndarray of bool
        Voxels that the run sees.

    Returns
    -------
    NoiseMasks
    """
    masks, rules = [], []
    for tissue in range(2):
        for purity, (clear, pair) in product(_PURE, list(zip(_CLEAR_MM, maps, strict=True))):
            rule = clear, purity
            mask = (np.asarray(pair[tissue].data) > purity) & inside
            if mask.sum() >= _ENOUGH:
                break
        masks.append(mask)
        rules.append(rule)
    return NoiseMasks(masks[0], masks[1], (rules[0], rules[1]))
