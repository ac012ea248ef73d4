"""Figures of images: orientation, position of slices, background, and matched carpets."""

import re

import numpy as np

from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.reports import figures
from circuitshift.pipeline.reports.figures import images as figures_images
from circuitshift.pipeline.reports.person.content import Carpet

AFFINE = np.array([[3.0, 0, 0, -30], [0, 3, 0, -36], [0, 0, 3, -15], [0, 0, 0, 1]])
SHAPE = (21, 25, 11)


def test_the_box_is_that_of_all_voxels_that_are_not_zero():
    data = np.zeros(SHAPE)
    data[2, 3, 4] = data[10, 12, 6] = 1.0
    low, high = figures_images._box([Image(data, AFFINE), None])
    np.testing.assert_allclose(low, AFFINE[:3, 3] + 3 * (np.array([2, 3, 4]) - 0.5))
    np.testing.assert_allclose(high, AFFINE[:3, 3] + 3 * (np.array([10, 12, 6]) + 0.5))


def test_left_is_left_front_is_up_and_the_outside_is_transparent():
    x, y = (np.arange(n) * 3 + start for n, start in ((21, -30), (25, -36)))
    values = np.zeros(SHAPE)
    values[:, :, :] = 0.2
    values[(x < 0)[:, None] & (y > 0)[None]] = 1.0  # left and anterior
    values[-3:] = 0.0  # outside
    image = Image(values, AFFINE)
    box = (np.array([-30.0, -36.0, -15.0]), np.array([31.5, 37.5, 16.5]), np.array([0.0]))
    tile = figures_images._mosaic(None, image, box, figures.Scale("value", 0.0, 1.0))
    top = np.array(figures.Scale("value", 0.0, 1.0).colours()(1.0)) * 255
    np.testing.assert_allclose(tile[2, 2], top, atol=1)
    assert np.abs(tile[-3, 2].astype(float) - top).max() > 50
    assert np.abs(tile[2, 12].astype(float) - top).max() > 50
    assert (tile[:, -2] == 0).all()


def test_weak_values_show_the_background_in_grey():
    rng = np.random.default_rng(0)
    below = Image(rng.uniform(1, 2, SHAPE), AFFINE)
    values = Image(np.full(SHAPE, -0.1), AFFINE)
    box = (np.array([-30.0, -36.0, -15.0]), np.array([31.5, 37.5, 16.5]), np.array([0.0]))
    hidden = figures.Scale("r", -0.8, 0.8, hide_below=0.15, diverging=True)
    tile = figures_images._mosaic(below, values, box, hidden)
    assert (tile[..., 0] == tile[..., 1]).all()
    assert (tile[..., 1] == tile[..., 2]).all()
    shown = figures.Scale("r", -0.8, 0.8, hide_below=0.05, diverging=True)
    tile = figures_images._mosaic(below, values, box, shown)
    assert (tile[..., 2] > tile[..., 0]).all()  # blue, since values are negative


def test_maps_are_interpolated_as_images_are():
    rng = np.random.default_rng(5)
    affine = AFFINE.copy()
    affine[0, 1] = 0.4  # oblique
    image = Image(rng.normal(size=SHAPE), affine)
    points = rng.uniform(-60, 60, (5000, 3))  # also beyond the image
    inside = image.at(points, order=0) != 0
    assert 100 < inside.sum() < 4000
    nearest = figures_images._nearest(image, points)
    np.testing.assert_allclose(nearest, image.at(points, order=0), atol=1e-6)
    np.testing.assert_allclose(figures_images._linear(image, points), image.at(points), atol=1e-5)


def test_rows_of_carpets_are_matched_within_each_network():
    values = np.arange(12.0).reshape(2, 6)
    carpet = Carpet(values, ("a", "a", "a", "b", "b", "c"))
    aligned = figures_images._aligned(carpet, ("b", "a", "a", "a", "a", "a", "d"))
    np.testing.assert_array_equal(aligned[0], [3, 0, 0, 1, 2, 2, np.nan])
    assert figures_images._aligned(carpet, carpet.kinds) is values


def test_slices_cover_the_first_outline_with_a_margin():
    mask = np.zeros(SHAPE)
    mask[5:9, 6:11, 2:7] = 1.0
    low, high = figures_images._slice_box(Image(mask, AFFINE))
    np.testing.assert_allclose(low, AFFINE[:3, 3] + 3 * np.array([5, 6, 2]) - 12)
    np.testing.assert_allclose(high, AFFINE[:3, 3] + 3 * np.array([8, 10, 6]) + 12)


def test_slices_show_each_outline_and_their_positions():
    mask = np.zeros(SHAPE)
    mask[5:15, 6:20, 2:9] = 1.0
    image, inner = Image(100 * mask + 1, AFFINE), np.roll(mask, 2, axis=0)
    outlines = [("mask of the anatomy", Image(mask, AFFINE)), ("reference", Image(inner, AFFINE))]
    svg = figures.outlined_slices(image, outlines, key="k", alt="Slices with two outlines.")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"mask of the anatomy", "reference", "left is left"} <= set(texts)
    assert svg.count("<image") == 3 * figures_images._PER_ROW
    positions = [text for text in texts if re.fullmatch(r"[xyz] = -?\d+", text)]
    assert len(positions) == 3 * figures_images._PER_ROW
    first = svg.count('stroke="var(--treated)" stroke-width="1"')
    second = svg.count('stroke="var(--control)" stroke-width="0.6"')
    assert first > 10  # slices through the mask
    assert second > 10


def test_grey_levels_do_not_depend_on_one_bright_voxel():
    data = np.random.default_rng(1).uniform(100, 200, SHAPE)
    ends = np.array([-30.0, -36.0, -15.0]), np.array([30.0, 36.0, 15.0])
    plain = figures_images._window(Image(data, AFFINE), *ends)
    data[3, 3, 3] = 1e6
    np.testing.assert_allclose(figures_images._window(Image(data, AFFINE), *ends), plain, rtol=0.01)
