"""Pixels of figures: colour maps, and PNG images of at most 256 colours.

The colour maps equal those of matplotlib. They are stored as anchors, because the import of
matplotlib takes longer than drawing all figures of a participant.
"""

import struct
import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats

__all__ = ["ColourMap", "Pixels", "colour_map", "png", "png_of_colours"]

Pixels = npt.NDArray[np.uint8]

# RdBu of ColorBrewer (Harrower & Brewer 2003, doi:10.1179/000870403235002042), from blue to red
_RED_BLUE = "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f"
# viridis of matplotlib (released into the public domain), every eighth colour
_VIRIDIS = """
440154 470d60 48186a 482374 472d7b 453781 424086 3e4989 3b528b 375b8d 33638d 2f6b8e 2c728e 297a8e
26828e 23898e 21918c 1f978b 1f9f88 21a685 27ad81 31b57b 3dbc74 4cc26c 5cc863 6ece58 81d34d 95d840
aadc32 c0df25 d5e21a eae51a fde725"""
_ANCHORS = {"RdBu_r": _RED_BLUE, "viridis": _VIRIDIS, "gray": "000000 ffffff"}
_MISSING = (0x9A, 0xA0, 0xA6)


@dataclass(frozen=True, slots=True, eq=False)
class ColourMap:
    """Map of numbers to colours.

    Parameters
    ----------
    colours : ndarray of uint8, shape (n_levels, 3)
        Red, green and blue of each level.
    """

    colours: Pixels

    @property
    def palette(self) -> Pixels:
        """Colours of the levels and, last, grey for missing values; shape (n_levels + 1, 3)."""
        return np.vstack([self.colours, np.array([_MISSING], np.uint8)])

    def levels(self, values: Floats, low: float, high: float) -> Pixels:
        """Return the position in `palette` of each value.

        Parameters
        ----------
        values : ndarray
            Values of any shape; NaN where not available.
        low, high : float
            Limits of the scale; values beyond them have the first or the last colour.

        Returns
        -------
        ndarray of uint8
            Positions, of the shape of `values`.
        """
        n = len(self.colours)
        with np.errstate(invalid="ignore"):
            at = np.floor((np.asarray(values, float) - low) * (n / (high - low)))
        return np.where(np.isnan(at), n, np.clip(at, 0, n - 1)).astype(np.uint8)

    def __call__(self, share: npt.ArrayLike) -> Floats:
        """Return red, green, blue and alpha from 0 to 1 of positions between 0 and 1."""
        found = self.colours[self.levels(np.asarray(share, float), 0.0, 1.0)] / 255
        return np.concatenate([found, np.ones((*found.shape[:-1], 1))], axis=-1)


@cache
def colour_map(name: str, n_levels: int) -> ColourMap:
    """Return a colour map that is legible with colour-vision deficiencies.

    Parameters
    ----------
    name : {"RdBu_r", "viridis", "gray"}
        Name of the colour map in matplotlib.
    n_levels : int
        Number of colours, at most 255; more would only increase the size of the file.

    Returns
    -------
    ColourMap
    """
    anchors = np.array([list(bytes.fromhex(text)) for text in _ANCHORS[name].split()], float)
    at = np.linspace(0, len(anchors) - 1, n_levels)
    channels = [np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T]
    return ColourMap(np.rint(np.column_stack(channels)).astype(np.uint8))


def png(levels: Pixels, palette: Pixels) -> bytes:
    """Write an image of at most 256 colours in PNG format.

    Parameters
    ----------
    levels : ndarray of uint8, shape (height, width)
        Position in `palette` of each pixel, with the upper row first.
    palette : ndarray of uint8, shape (n_colours, 3) or (n_colours, 4)
        Red, green and blue, and optionally alpha, of at most 256 colours.

    Returns
    -------
    bytes
        The file, according to the PNG specification (ISO/IEC 15948, section 11).
    """
    height, width = levels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row starts with its filter, which is none
    rows[:, 1:] = levels
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", np.ascontiguousarray(palette[:, :3]).tobytes()),
    ]
    if palette.shape[1] == 4:
        chunks.append((b"tRNS", np.ascontiguousarray(palette[:, 3]).tobytes()))
    chunks += [(b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def png_of_colours(colours: Pixels) -> bytes:
    """Write an image that is given by the colour of each pixel in PNG format.

    Parameters
    ----------
    colours : ndarray of uint8, shape (height, width, 4)
        Red, green, blue and alpha of each pixel, with the upper row first; at most 256 different
        colours.

    Returns
    -------
    bytes
        The file.

    Raises
    ------
    ValueError
        If there are more than 256 colours.
    """
    codes = np.ascontiguousarray(colours).view(np.uint32)[..., 0]
    found, levels = np.unique(codes, return_inverse=True)
    if found.size > 256:
        raise ValueError(f"an image of {found.size} colours; at most 256 are possible")
    return png(levels.reshape(codes.shape).astype(np.uint8), found.view(np.uint8).reshape(-1, 4))
