"""Noise masks exclude the neighbourhood of grey matter, and relax where little tissue is left."""

import numpy as np

from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc.anatomy import Brain
from circuitshift.pipeline.preproc.tissue_masks import noise_maps, noise_masks


def brain(thickness: int = 9) -> Brain:
    """Return slabs of fluid, grey matter and white matter with voxels of 1 mm."""
    n = 2 * thickness + 2
    position = np.arange(n)[:, None, None] * np.ones((1, 20, 20))
    csf = position < thickness
    grey = (position >= thickness) & (position < thickness + 2)
    white = position >= thickness + 2
    image = Image(np.full(position.shape, 100.0, np.float32), np.eye(4))
    tissues = tuple(image.like(part.astype(np.float32)) for part in (csf, grey, white))
    return Brain(image, np.ones(position.shape, bool), tissues)


def test_noise_lies_more_than_three_millimetres_from_grey_matter() -> None:
    slabs = brain()
    masks = noise_masks(noise_maps(slabs), np.ones(slabs.t1w.grid, bool))
    grey = np.flatnonzero(np.asarray(slabs.tissues[1].data)[:, 0, 0] > 0)
    for mask, tissue in ((masks.csf, 0), (masks.white_matter, 2)):
        assert mask.any()
        assert (np.asarray(slabs.tissues[tissue].data)[mask] == 1).all()
        distance = np.abs(np.flatnonzero(mask.any(axis=(1, 2)))[:, None] - grey).min(axis=1)
        assert distance.min() == 4
    assert masks.rules == ((3.0, 0.99), (3.0, 0.99))


def test_noise_lies_below_the_surface_of_the_brain() -> None:
    slabs = brain(thickness=12)
    inside = np.asarray(slabs.mask).copy()
    inside[:4] = False  # the surface of the brain cuts through fluid
    cut = Brain(slabs.t1w, inside, slabs.tissues)
    three_mm = np.asarray(noise_maps(cut)[0][0].data) > 0
    assert np.flatnonzero(three_mm.any(axis=(1, 2))).min() == 7
    no_distance = np.asarray(noise_maps(cut)[3][0].data) > 0
    assert np.flatnonzero(no_distance.any(axis=(1, 2))).min() == 4


def test_the_distance_decreases_where_little_tissue_is_left() -> None:
    slabs = brain(thickness=2)
    masks = noise_masks(noise_maps(slabs), np.ones(slabs.t1w.grid, bool))
    assert masks.csf.sum() >= 10
    assert masks.rules[0] == (1.0, 0.99)


def test_the_smallest_share_decreases_when_no_distance_suffices() -> None:
    slabs = brain(thickness=3)
    partial = slabs.tissues[0].like(np.asarray(slabs.tissues[0].data) * np.float32(0.8))
    mixed = Brain(slabs.t1w, slabs.mask, (partial, *slabs.tissues[1:]))
    masks = noise_masks(noise_maps(mixed), np.ones(slabs.t1w.grid, bool))
    # 3 mm and 2 mm leave no or one slab of 0.8 fluid; shares above 0.9 do not exist
    assert masks.rules[0] == (2.0, 0.7)
    assert masks.csf.any(axis=(1, 2)).sum() == 1


def test_noise_is_in_view_of_the_run_or_absent() -> None:
    slabs = brain()
    inside = np.zeros(slabs.t1w.grid, bool)
    inside[:, :10] = True
    masks = noise_masks(noise_maps(slabs), inside)
    assert masks.csf.any()
    assert not masks.csf[:, 10:].any()
    nothing = noise_masks(noise_maps(slabs), np.zeros(slabs.t1w.grid, bool))
    assert not nothing.csf.any()
    assert nothing.rules == ((0.0, 0.7), (0.0, 0.7))  # the least strict rule
