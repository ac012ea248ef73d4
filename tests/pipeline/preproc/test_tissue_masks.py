"""Noise masks keep clear of grey matter, and give way where little is left."""

import numpy as np

from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc.anatomy import Brain
from circuitshift.pipeline.preproc.tissue_masks import noise_maps, noise_masks


def brain(thickness: int = 9) -> Brain:
    """Slabs of 1 mm voxels: fluid, then grey matter, then white matter."""
    n = 2 * thickness + 2
    at = np.arange(n)[:, None, None] * np.ones((1, 20, 20))
    csf, grey = at < thickness, (at >= thickness) & (at < thickness + 2)
    white = at >= thickness + 2
    image = Image(np.full(at.shape, 100.0, np.float32), np.eye(4))
    tissues = tuple(image.like(part.astype(np.float32)) for part in (csf, grey, white))
    return Brain(image, np.ones(at.shape, bool), tissues)


def test_noise_keeps_three_millimetres_clear_of_grey_matter() -> None:
    given = brain()
    inside = np.ones(given.t1w.grid, bool)
    masks = noise_masks(noise_maps(given), inside)
    grey = np.flatnonzero(np.asarray(given.tissues[1].data)[:, 0, 0] > 0)
    for mask, tissue in ((masks.csf, 0), (masks.white_matter, 2)):
        assert mask.any()
        assert (np.asarray(given.tissues[tissue].data)[mask] == 1).all()
        distance = np.abs(np.flatnonzero(mask.any(axis=(1, 2)))[:, None] - grey).min(axis=1)
        assert distance.min() == 4  # more than 3 mm between the centres of voxels
    assert masks.rules == ((3.0, 0.99), (3.0, 0.99))


def test_where_little_tissue_is_left_the_distance_gives_way() -> None:
    given = brain(thickness=2)
    masks = noise_masks(noise_maps(given), np.ones(given.t1w.grid, bool))
    assert masks.csf.sum() >= 10
    assert masks.rules[0] == (1.0, 0.99)
