"""Figures of the images of one participant: brain maps, carpets, coverage, confounds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.io.images import Image, to_ras
from circuitshift.pipeline.reports.figures.drawing import (
    Box,
    Drawing,
    Entry,
    Panel,
    colour_bar,
    draw_legend,
    legend_size,
)
from circuitshift.pipeline.reports.figures.pixels import (
    ColourMap,
    colour_map,
    png_of_colours,
)
from circuitshift.pipeline.reports.figures.style import (
    CONTROL,
    INK,
    MISSING,
    PAPER,
    REFERENCE,
    SOFT,
    TREATED,
    WIDTH,
    short_name,
)
from circuitshift.pipeline.reports.figures.timeseries import NetworkOrder, block_means, colours
from circuitshift.pipeline.reports.person.content import Carpet, VoxelMap

__all__ = ["Scale", "brain_maps", "carpets", "confound_matrices", "coverage", "outlined_slices"]

_SLICES = 8
_PIXEL_MM = 3.0
#: Colours and markers of runs, in order.
_LOOKS = ((CONTROL, "o"), (TREATED, "D"), (REFERENCE, "s"), (MISSING, "^"), (SOFT, "v"))


@dataclass(frozen=True, slots=True)
class Scale:
    """Colour scale of a map.

    Parameters
    ----------
    label : str
        Label of the colour bar.
    low, high : float
        Limits of the scale.
    hide_below : float
        The background image is shown where the absolute value is smaller.
    diverging : bool
        Whether the colours diverge from the middle of the scale.
    """

    label: str
    low: float
    high: float
    hide_below: float = 0.0
    diverging: bool = False

    def colours(self) -> ColourMap:
        """Return a colour map that is legible with any colour vision."""
        return colour_map("RdBu_r" if self.diverging else "viridis", 64)


def brain_maps(
    rows: Sequence[tuple[str, VoxelMap | None, VoxelMap]], scale: Scale, *, key: str, alt: str
) -> str:
    """Draw axial slices of each map over the mean image in grey; left is left.

    Parameters
    ----------
    rows : sequence of (str, VoxelMap or None, VoxelMap)
        Title, background image and values of each row; 0 is outside the brain.
    scale : Scale
        Colour scale of the values.
    key, alt : str
        Prefix of ids, and text alternative.

    Returns
    -------
    str
        SVG.
    """
    shown = [(title, _ras(below), _ras(values)) for title, below, values in rows]
    low, high = _box([values for _, _, values in shown])
    heights = low[2] + (high[2] - low[2]) * np.linspace(0.08, 0.9, _SLICES)
    left, foot, head = 0.05, 0.62, 0.24
    wide = WIDTH - 2 * left
    aspect = float((high[1] - low[1]) / (high[0] - low[0]) / _SLICES)
    tall = wide * aspect + head
    total = len(shown) * tall + foot
    drawing = Drawing(WIDTH, total)
    edge = (left * 72, (WIDTH - left) * 72)
    for k, (title, below, values) in enumerate(shown):
        mosaic = _mosaic(below, values, (low, high, heights), scale)
        box = Box(left, k * tall + head, wide, wide * aspect)
        drawing.image(box, png_of_colours(mosaic))
        drawing.text((edge[0], (k * tall + 0.07) * 72), short_name(title, 70), place="below")
    drawing.text((edge[1], 0.07 * 72), "left is left", size=8, anchor="end", place="below")
    for k, z in enumerate(heights.tolist()):
        at = ((left + (k + 0.5) * wide / _SLICES) * 72, (total - foot + 0.06) * 72)
        words = f"z = {z:.0f}"
        drawing.text(at, words, size=7, colour=SOFT, anchor="middle", place="below")
    bar = Box(0.3 * WIDTH, total - 0.39, 0.25 * WIDTH, 0.09)
    colour_bar(drawing, bar, scale.colours(), (scale.low, scale.high), label=scale.label)
    return drawing.svg(key=key, alt=alt)


def _ras(values: VoxelMap | None) -> Image | None:
    return None if values is None else to_ras(Image(values.data, values.affine))


def _box(shown: Sequence[Image | None]) -> tuple[Floats, Floats]:
    """Return the corners of the box in which any image is not zero, mm."""
    corners = []
    for image in shown:
        inside = np.zeros((0, 3)) if image is None else np.argwhere(np.asarray(image.data) != 0)
        if image is not None and len(inside):
            ends = np.array([inside.min(axis=0) - 0.5, inside.max(axis=0) + 0.5])
            corners.append(ends @ image.affine[:3, :3].T + image.affine[:3, 3])
    if not corners:
        return np.array([-70.0, -105.0, -45.0]), np.array([70.0, 75.0, 80.0])
    world = np.array(corners)
    return world.min(axis=(0, 1)), world.max(axis=(0, 1))


def _mosaic(
    below: Image | None,
    values: Image | None,
    where: tuple[Floats, Floats, Floats],
    scale: Scale,
) -> npt.NDArray[np.uint8]:
    """Return slices side by side as RGBA, transparent outside the brain."""
    low, high, heights = where
    x, y = (np.arange(low[k], high[k], _PIXEL_MM) for k in (0, 1))
    # slices from below, and within each slice rows from the front
    z_y_x = np.meshgrid(heights, y[::-1], x, indexing="ij")
    points = np.stack([z_y_x[2], z_y_x[1], z_y_x[0]], axis=-1).reshape(-1, 3)
    assert values is not None  # noqa: S101 - rows always hold a map
    inside = _nearest(values if below is None else below, points) != 0
    shade = np.full(len(points), 0.5)
    if below is not None:
        bright = np.asarray(below.data)[np.asarray(below.data) > 0]
        top = float(np.percentile(bright, 98)) if bright.size else 1.0
        shade = np.clip(_linear(below, points) / max(top, 1e-9), 0, 1) * 0.8
    value = _linear(values, points)
    level = np.clip((value - scale.low) / (scale.high - scale.low), 0, 1)
    colour = scale.colours()(level)
    hidden = np.abs(value) <= scale.hide_below
    grey = np.rint(shade * 40) / 40
    colour[hidden] = np.column_stack([grey, grey, grey, np.ones(len(grey))])[hidden]
    colour[~inside] = 0
    tiles = (colour * 255).astype(np.uint8).reshape(len(heights), len(y), len(x), 4)
    return np.hstack(list(tiles))


def _nearest(image: Image, points: Floats) -> Floats:
    """Return the values at points like `Image.at` with order 0, without importing scipy."""
    padded = np.pad(np.asarray(image.data, float), 1)
    i, j, k = (
        np.clip(np.floor(axis + 1.5), 0, n + 1).astype(np.intp)
        for axis, n in zip(image.indices(points), image.grid, strict=True)
    )
    return np.asarray(padded[i, j, k])


def _linear(image: Image, points: Floats) -> Floats:
    """Interpolate at points linearly like `Image.at`, without importing scipy."""
    padded = np.pad(np.asarray(image.data, float), 1)
    values = padded.ravel()
    first, shares = np.zeros(len(points), np.intp), []
    for axis, n in zip(image.indices(points), image.grid, strict=True):
        at = np.clip(axis, -1, n) + 1  # beyond the margin of zeros, values are 0
        base = np.minimum(np.floor(at), n).astype(np.intp)
        first = first * (n + 2) + base
        shares.append(at - base)
    x, y, z = shares
    step_x, step_y = padded.shape[1] * padded.shape[2], padded.shape[2]

    def along_z(start: int) -> Floats:
        low = values.take(first + start)
        return np.asarray(low + z * (values.take(first + start + 1) - low))

    def along_y(start: int) -> Floats:
        low = along_z(start)
        return np.asarray(low + y * (along_z(start + step_y) - low))

    low = along_y(0)
    return np.asarray(low + x * (along_y(step_x) - low))


def carpets(
    columns: Sequence[tuple[str, Carpet | None, Carpet | None]], *, key: str, alt: str
) -> str:
    """Draw carpets of up to two runs side by side, before and after denoising.

    Parameters
    ----------
    columns : sequence of (str, Carpet or None, Carpet or None)
        Title, carpet before and carpet after denoising of each run. The rows of all carpets are
        matched to the networks and tissues of the first.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    first = next(c for _, before, after in columns for c in (before, after) if c is not None)
    blocks = NetworkOrder.of(first.kinds)
    high, left, gap, head, foot, right = 1.75, 1.35, 0.22, 0.28, 0.45, 0.7
    wide = (WIDTH - left - right - gap * (len(columns) - 1)) / len(columns)
    drawing = Drawing(WIDTH, 2 * (high + head) + foot)
    for k, (title, *pair) in enumerate(columns):
        for row, (name, carpet) in enumerate(zip(("before", "after"), pair, strict=True)):
            box = Box(left + k * (wide + gap), row * (high + head) + head, wide, high)
            panel = _carpet_panel(drawing, box, carpet, (first.kinds, blocks))
            panel.title(f"{short_name(title, 32)}, {name}", size=8, pad=3, left=True)
            if carpet is None:
                continue
            ticks = panel.nice_x()
            panel.ticks_x(ticks, None if row == 1 else [""] * len(ticks))
            if k == 0:
                blocks.label(panel)
            if row == 1:
                panel.label_x("volume")
    bar = Box(WIDTH - 0.55, high + 2 * head, 0.1, high)
    colour_bar(drawing, bar, colours("gray"), (-2.5, 2.5), label="standard deviations")
    return drawing.svg(key=key, alt=alt)


def _carpet_panel(
    drawing: Drawing,
    box: Box,
    carpet: Carpet | None,
    rows: tuple[Sequence[str], NetworkOrder],
) -> Panel:
    """Draw one carpet, with the rows of the first carpet of the figure and their order."""
    kinds, blocks = rows
    if carpet is None:
        panel = Panel(drawing, box)
        panel.centred("not available")
    else:
        image = _aligned(carpet, kinds)[:, blocks.order]
        ends = (0.5, len(image) + 0.5)
        panel = Panel(drawing, box, ends, (len(kinds) - 0.5, -0.5))
        pixels = block_means(image, -(-len(image) // 300)).T
        gray = colours("gray")
        panel.image(gray.levels(pixels, -2.5, 2.5), gray)
        blocks.separate(panel, colour=TREATED, width=0.6)
    panel.spines()
    return panel


def _aligned(carpet: Carpet, kinds: Sequence[str]) -> Floats:
    """Resample the rows of each network or tissue so that all carpets have the same rows."""
    if carpet.kinds == tuple(kinds):
        return carpet.values
    out = np.full((len(carpet.values), len(kinds)), np.nan)
    present, target = np.array(carpet.kinds, object), np.array(kinds, object)
    for kind in dict.fromkeys(kinds):
        source, places = np.flatnonzero(present == kind), np.flatnonzero(target == kind)
        if source.size:
            at = np.rint(np.linspace(0, source.size - 1, places.size)).astype(np.intp)
            out[:, places] = carpet.values[:, source[at]]
    return out


def coverage(
    shares: Sequence[tuple[str, Floats]],
    networks: Sequence[str],
    *,
    min_coverage: float,
    key: str,
    alt: str,
) -> str:
    """Draw the coverage of each region, with one row per network.

    Parameters
    ----------
    shares : sequence of (str, ndarray of shape (n_regions,))
        Name and coverage of each run; at most five runs are drawn.
    networks : sequence of str
        Network of each region.
    min_coverage : float
        Threshold below which regions are not available.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    blocks = NetworkOrder.of(networks)
    n = len(blocks.names)
    shown = [(short_name(title, 40), values) for title, values in shares[: len(_LOOKS)]]
    columns, lines = legend_size([title for title, _ in shown], WIDTH - 1.9)
    head = 0.17 + 0.18 * lines
    high = 0.15 + (0.24 if n > 1 else 0.4) * n
    drawing = Drawing(WIDTH, 0.45 + head + high)
    panel = Panel(drawing, Box(1.7, head, WIDTH - 1.9, high), (-4, 104), (n - 0.4, -0.6))
    limit = panel.x(100 * min_coverage)
    corners = (panel.left, panel.bottom, limit, panel.top)
    drawing.rectangle(corners, colour=MISSING, alpha=0.18)
    panel.vertical(100 * min_coverage, colour=INK, width=0.9, dash=(4, 3))
    entries = []
    for k, (title, values) in enumerate(shown):
        colour, marker = _LOOKS[k]
        ordered = 100 * np.nan_to_num(np.asarray(values, float))[blocks.order]
        rows = np.repeat(np.arange(n), np.diff(blocks.starts)).astype(float)
        rows += (k - (len(shown) - 1) / 2) * 0.6 / max(len(shown), 1)
        # identical marks are drawn once, which keeps the page small
        places = np.unique(np.column_stack([np.rint(ordered), rows]), axis=0)
        points = panel.points(places[:, 0], places[:, 1])
        drawing.marks(points, marker, colour=colour, size=3.6, edge=(PAPER, 0.3))
        entries.append(Entry(title, colour, marker=marker))
    panel.spines()
    panel.ticks_x(panel.nice_x())
    panel.ticks_y(range(n), [short_name(name, 22) for name in blocks.names], length=0)
    panel.label_x("voxels of the region with signal, %")
    draw_legend(drawing, (panel.left, panel.top - 2), entries, columns=columns)
    return drawing.svg(key=key, alt=alt)


def confound_matrices(
    panels: Sequence[tuple[str, tuple[tuple[str, ...], Floats]]], *, key: str, alt: str
) -> str:
    """Draw the correlations between confounds of up to two runs.

    Parameters
    ----------
    panels : sequence of (str, (tuple of str, ndarray of shape (n, n)))
        Title, names of confounds and their correlations.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    left, gap, foot, head, side = 1.65, 0.25, 1.3, 0.3, 2.35
    common = [n for n in panels[0][1][0] if all(n in names for _, (names, _) in panels)]
    total = head + side + foot
    drawing = Drawing(WIDTH, total)
    scale, n = colours("RdBu_r"), len(common)
    labels = [short_name(name.replace("_", " "), 24) for name in common]
    for k, (title, (names, correlations)) in enumerate(panels[:2]):
        at = [names.index(name) for name in common]
        matrix = np.asarray(correlations, float)[np.ix_(at, at)]
        box = Box(left + k * (side + gap), head, side, side)
        panel = Panel(drawing, box, (-0.5, n - 0.5), (n - 0.5, -0.5))
        panel.image(scale.levels(matrix, -1, 1), scale)
        panel.spines()
        panel.title(short_name(title, 34), size=8, pad=4, left=True)
        if k == 0:
            panel.ticks_y(range(n), labels, size=6.5, length=0)
        for place, label in enumerate(labels):
            below = (panel.x(place), panel.bottom + 3.5)
            drawing.text(below, label, size=6.5, anchor="end", place="middle", turned=True)
    bar = Box(WIDTH - 0.55, head, 0.1, side)
    # a label beside the bar would be clipped
    colour_bar(drawing, bar, scale, (-1, 1), label="correlation", above=True)
    return drawing.svg(key=key, alt=alt)


_OUTLINE_STYLES = ((TREATED, 1.0), (CONTROL, 0.6))  # colour and width of outlines
_PER_ROW = 7
_MIN_PIXEL_MM = 1.5  # smaller pixels would only increase the size of the file
_LEVELS = 64  # grey levels
_AXES = "xyz"
_ACROSS = ((1, 2), (0, 2), (0, 1))  # world axes of a slice along x, y, z


def outlined_slices(
    image: Image, outlines: Sequence[tuple[str, Image]], *, key: str, alt: str
) -> str:
    """Draw three rows of slices, along x, y and z, with coloured outlines; left is left.

    The slices cover the first outline, or the part of the image that is brighter than its mean.

    Parameters
    ----------
    image : Image
        Image with RAS axes.
    outlines : sequence of (str, Image)
        Name and image of at most two outlines in the space of `image`. Values above .5 are inside
        the outline.
    key, alt : str
        Prefix of ids, and text alternative.

    Returns
    -------
    str
        SVG.
    """
    low, high = _slice_box(outlines[0][1] if outlines else image)
    wide = high - low
    row_mm = [wide[across[1]] for across in _ACROSS]
    column_mm = max(wide[across[0]] for across in _ACROSS)
    scale = WIDTH / (_PER_ROW * column_mm)
    head, gap = 0.32, 0.16
    heights = [mm * scale + gap for mm in row_mm]
    total = head + sum(heights)
    drawing = Drawing(WIDTH, total)
    grey = _window(image, low, high)
    top = head
    for axis, height in enumerate(heights):
        for k in range(_PER_ROW):
            at = low[axis] + wide[axis] * (k + 1) / (_PER_ROW + 1)
            width = wide[_ACROSS[axis][0]] * scale
            left = (k + 0.5) * WIDTH / _PER_ROW - width / 2
            box = Box(left, top, width, height - gap)
            _draw_slice((drawing, box), image, outlines, (axis, at, low, high), grey=grey)
        top += height
    entries = [
        Entry(short_name(name), colour, 2 * line)
        for (name, _), (colour, line) in zip(outlines, _OUTLINE_STYLES, strict=False)
    ]
    draw_legend(drawing, (1.0, 16.0), entries)
    right = (WIDTH * 72 - 1, 0.13 * 72)
    drawing.text(right, "left is left", size=8, anchor="end", place="middle")
    return drawing.svg(key=key, alt=alt)


def _slice_box(image: Image) -> tuple[Floats, Floats]:
    """Return the lowest and highest coordinates of the content of an image with a margin, mm."""
    data = np.asarray(image.data, float)
    inside = np.argwhere(data > (0.5 if data.max() <= 1 else data.mean()))
    if not len(inside):
        inside = np.array([[0, 0, 0], np.array(image.grid) - 1])
    ends = np.array([inside.min(axis=0), inside.max(axis=0)])
    world = ends @ image.affine[:3, :3].T + image.affine[:3, 3]
    return world.min(axis=0) - 12.0, world.max(axis=0) + 12.0


def _window(image: Image, low: Floats, high: Floats) -> tuple[float, float]:
    """Return the values of black and white, as percentiles within the box of the slices."""
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
    where: tuple[Drawing, Box],
    image: Image,
    outlines: Sequence[tuple[str, Image]],
    cut: tuple[int, float, Floats, Floats],
    *,
    grey: tuple[float, float],
) -> None:
    from contourpy import contour_generator  # noqa: PLC0415 - only for images of preprocessing

    axis, at, low, high = cut
    across = _ACROSS[axis]
    mm = max(_MIN_PIXEL_MM, float(image.zooms.min()))
    sides = [np.arange(low[a], high[a], mm) for a in across]
    points = np.empty((len(sides[0]) * len(sides[1]), 3))
    points[:, axis] = at
    points[:, across[0]], points[:, across[1]] = (
        side.ravel() for side in np.meshgrid(*sides, indexing="ij")
    )
    shape = (len(sides[0]), len(sides[1]))
    x_ends, y_ends = ((float(side[0]) - mm / 2, float(side[-1]) + mm / 2) for side in sides)
    values = np.asarray(image.at(points), float).reshape(shape).T
    drawing, box = where
    panel = Panel(drawing, box, x_ends, y_ends)
    gray = colour_map("gray", _LEVELS)
    panel.image(gray.levels(values[::-1], *grey), gray)  # the first row of pixels is the upper one
    for (_, outline), (colour, line) in zip(outlines, _OUTLINE_STYLES, strict=False):
        inside = outline.at(points).reshape(shape).T
        if inside.min() < 0.5 < inside.max():
            for path in contour_generator(x=sides[0], y=sides[1], z=inside).lines(0.5):
                way = np.asarray(path)
                drawing.line(panel.points(way[:, 0], way[:, 1]), colour=colour, width=line)
    words, place = f"{_AXES[axis]} = {at:.0f}", ((panel.left + panel.right) / 2, panel.bottom + 1)
    drawing.text(place, words, size=7, colour=SOFT, anchor="middle", place="below")
