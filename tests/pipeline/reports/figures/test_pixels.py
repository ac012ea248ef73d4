"""Pixels of figures: colour maps equal those of matplotlib, and PNG files are read by Pillow."""

from io import BytesIO

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from circuitshift.pipeline.reports.figures import pixels


@pytest.mark.parametrize("n", [48, 64])
@pytest.mark.parametrize("name", ["RdBu_r", "viridis", "gray"])
def test_colour_maps_are_those_of_matplotlib(name, n):
    expected = mpl.colormaps[name].resampled(n)(np.arange(n))[:, :3] * 255
    difference = np.abs(pixels.colour_map(name, n).colours - expected)
    assert difference.max() < 3
    assert difference.mean() < 1


def test_levels_are_those_of_matplotlib_and_missing_values_have_their_own():
    found = pixels.colour_map("RdBu_r", 48)
    values = np.array([[-9.0, -0.6, -0.599], [0.0, 0.3, 0.599], [0.6, 9.0, np.nan]])
    scale = mpl.cm.ScalarMappable(
        mpl.colors.Normalize(-0.6, 0.6),
        mpl.colormaps["RdBu_r"].resampled(48).with_extremes(bad="#9aa0a6"),
    )
    levels = found.levels(values, -0.6, 0.6)
    assert levels.dtype == np.uint8
    assert levels[2, 2] == 48
    np.testing.assert_allclose(found.palette[levels], scale.to_rgba(values)[..., :3] * 255, atol=2)
    np.testing.assert_allclose(found([0.0, 1.0])[:, 3], 1.0)


def test_a_png_file_holds_the_colours_of_its_palette():
    rng = np.random.default_rng(1)
    palette = rng.integers(0, 256, (49, 3), dtype=np.uint8)
    levels = rng.integers(0, 49, (7, 11), dtype=np.uint8)
    data = pixels.png(levels, palette)
    with Image.open(BytesIO(data)) as image:
        image.verify()  # checksums
    with Image.open(BytesIO(data)) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), palette[levels])
    assert pixels.png(levels, palette) == data


def test_a_png_file_of_colours_holds_transparency():
    rng = np.random.default_rng(2)
    colours = rng.integers(0, 256, (20, 4), dtype=np.uint8)[rng.integers(0, 20, (9, 5))]
    with Image.open(BytesIO(pixels.png_of_colours(colours))) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGBA")), colours)


def test_more_colours_than_a_palette_holds_are_refused():
    colours = np.zeros((1, 257, 4), np.uint8)
    colours[0, :, 0], colours[0, :, 1] = np.arange(257) % 256, np.arange(257) // 256
    with pytest.raises(ValueError, match="257 colours"):
        pixels.png_of_colours(colours)
