"""Figures of preprocessing: slices with outlines."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from circuitshift.pipeline.figures_base import (
    CONTROL,
    SOFT,
    TREATED,
    WIDTH,
    Floats,
    short_name,
    styled,
    to_svg,
)
from circuitshift.pipeline.preproc.images import Image

__all__ = ["outlined_slices"]

_LOOKS = ((TREATED, 1.0), (CONTROL, 0.6))  # colour and width of outlines
_PER_ROW = 7
_LEAST_MM = 1.5  # of a pixel; finer ones would only cost bytes
_LEVELS = 64  # greys
_AXES = "xyz"
_ACROSS = ((1, 2), (0, 2), (0, 1))  # world axes of a slice along x, y, z


@styled
def outlined_slices(
    image: Image, outlines: Sequence[tuple[str, Image]], *, key: str, alt: str
) -> str:
    """Three rows of slices, along x, y and z, with outlines in colour.

    Left is left. Slices are spread over the first outline, or over what is brighter than the mean.

    Parameters
    ----------
    image : Image
        RAS axes.
    outlines : sequence of (str, Image)
        At most two: name, and values above .5 inside. They lie in the space of `image`.
    key, alt : str
        Prefix of ids, and description for those who cannot see it.

    Returns
    -------
    str
        SVG.
    """
    low, high = _box(outlines[0][1] if outlines else image)
    wide = high - low
    row_mm = [wide[across[1]] for across in _ACROSS]
    column_mm = max(wide[across[0]] for across in _ACROSS)
    scale = WIDTH / (_PER_ROW * column_mm)
    head, gap = 0.32, 0.16
    heights = [mm * scale + gap for mm in row_mm]
    total = head + sum(heights)
    figure = Figure(figsize=(WIDTH, total))
    grey = _window(image, low, high)
    top = total - head
    for axis, height in enumerate(heights):
        for k in range(_PER_ROW):
            at = low[axis] + wide[axis] * (k + 1) / (_PER_ROW + 1)
            width = wide[_ACROSS[axis][0]] * scale
            left = (k + 0.5) * WIDTH / _PER_ROW - width / 2
            place = (left / WIDTH, (top - height + gap) / total, width / WIDTH)
            ax = figure.add_axes((*place, (height - gap) / total))
            _draw_slice(ax, image, outlines, (axis, at, low, high), grey=grey)
        top -= height
    handles = [
        Line2D([], [], color=colour, linewidth=2 * line, label=short_name(name))
        for (name, _), (colour, line) in zip(outlines, _LOOKS, strict=False)
    ]
    figure.legend(handles=handles, loc="upper left", ncols=2, borderaxespad=0.1)
    figure.text(1, 1 - 0.13 / total, "left is left", ha="right", va="center", fontsize=8)
    return to_svg(figure, key=key, alt=alt)


def _box(image: Image) -> tuple[Floats, Floats]:
    """Lowest and highest coordinates of what is inside, mm, with a margin."""
    data = np.asarray(image.data, float)
    inside = np.argwhere(data > (0.5 if data.max() <= 1 else data.mean()))
    if not len(inside):
        inside = np.array([[0, 0, 0], np.array(image.grid) - 1])
    ends = np.array([inside.min(axis=0), inside.max(axis=0)])
    world = ends @ image.affine[:3, :3].T + image.affine[:3, 3]
    return world.min(axis=0) - 12.0, world.max(axis=0) + 12.0


def _window(image: Image, low: Floats, high: Floats) -> tuple[float, float]:
    """Black and white: of what the slices show, so that one bright voxel does not darken all."""
    ends = np.sort(image.indices(np.array([low, high])).T, axis=0)
    cut = tuple(
        slice(max(0, int(a)), int(np.ceil(b)) + 1) for a, b in zip(ends[0], ends[1], strict=True)
    )
    values = np.asarray(image.data[cut], float)
    if not values.size:
        return 0.0, 1.0
    dark, bright = np.percentile(values, [1, 99.5])
    return float(dark), float(max(bright, dark + 1e-6))


def _draw_slice(
    ax: Axes,
    image: Image,
    outlines: Sequence[tuple[str, Image]],
    where: tuple[int, float, Floats, Floats],
    *,
    grey: tuple[float, float],
) -> None:
    axis, at, low, high = where
    across = _ACROSS[axis]
    mm = max(_LEAST_MM, float(image.zooms.min()))
    sides = [np.arange(low[a], high[a], mm) for a in across]
    points = np.empty((len(sides[0]) * len(sides[1]), 3))
    points[:, axis] = at
    points[:, across[0]], points[:, across[1]] = (
        side.ravel() for side in np.meshgrid(*sides, indexing="ij")
    )
    shape = (len(sides[0]), len(sides[1]))
    (left, right), (bottom, top) = ((side[0] - mm / 2, side[-1] + mm / 2) for side in sides)
    values = image.at(points).reshape(shape).T
    values = np.clip((values - grey[0]) / (grey[1] - grey[0]), 0, 1)
    levels = np.rint(values * (_LEVELS - 1)) / (_LEVELS - 1)
    extent = (left, right, bottom, top)
    ax.imshow(levels, "gray", vmin=0, vmax=1, origin="lower", extent=extent, interpolation="none")
    for (_, outline), (colour, line) in zip(outlines, _LOOKS, strict=False):
        inside = outline.at(points).reshape(shape).T
        if inside.min() < 0.5 < inside.max():
            ax.contour(*sides, inside, levels=[0.5], colors=[colour], linewidths=line)
    ax.set(xlim=(left, right), ylim=(bottom, top))
    ax.set_axis_off()
    ax.text(
        0.5,
        -0.02,
        f"{_AXES[axis]} = {at:.0f}",
        transform=ax.transAxes,
        ha="center",
        va="top",
        fontsize=7,
        color=SOFT,
    )
