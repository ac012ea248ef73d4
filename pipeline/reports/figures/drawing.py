"""Figures written as SVG text: panels with axes, lines, marks, images, legends and colour bars.

The figures of a participant are drawn with this module, and those of the study report with
matplotlib, which has layouts that are needed there only. matplotlib takes about a second to import
and a tenth of a second for each figure. Sizes follow its defaults, so that all figures look alike.
"""

import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.reports.figures.pixels import ColourMap, png
from circuitshift.pipeline.reports.figures.style import (
    GRID,
    INK,
    SOFT,
    clean_text,
    framed,
    variable,
)

__all__ = [
    "Box",
    "Drawing",
    "Entry",
    "Panel",
    "colour_bar",
    "draw_legend",
    "legend_size",
    "nice_ticks",
    "tick_labels",
    "wide_limits",
]

Anchor = Literal["start", "middle", "end"]
Place = Literal["above", "base", "middle", "below"]
_Dash = tuple[float, ...]

_INCH = 72.0  # units of the drawing, which are points
_LINE = 0.8  # width of axes
_TICK = 3.5  # length of ticks, and distance of their labels
#: Offset of the baseline from a position, in font sizes (DejaVu Sans).
_BASELINES: dict[Place, float] = {"above": -0.24, "base": 0.0, "middle": 0.36, "below": 0.76}
# Advance widths of the characters from space to ~ in DejaVu Sans, in hundredths of the font size.
_ADVANCES = (
    32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 34, 34, 84, 84, 84, 53, 100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79,
    60, 79, 69, 63, 61, 73, 68, 99, 69, 61, 69, 39, 34, 39, 84, 50, 50, 61, 63, 55, 63, 62, 35, 63,
    63, 28, 28, 58, 28, 97, 63, 61, 63, 63, 41, 52, 39, 63, 59, 82, 59, 59, 52, 64, 34, 64, 84,
)  # fmt: skip


def _text_width(text: str, size: float) -> float:
    """Return the width of a text in points; other characters count as the widest of a word."""
    known = dict(zip(range(32, 127), _ADVANCES, strict=True))
    return size / 100 * sum(known.get(ord(c), 100) for c in text)


def _n(value: float) -> str:
    """Format a coordinate with hundredths of a point."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _path(points: Floats, *, closed: bool = False) -> str:
    """Return the path through points, shape (n, 2), which is interrupted where they are NaN."""
    finite = np.asarray(np.isfinite(points).all(axis=1))
    out = []
    for run in np.split(np.arange(len(points)), np.flatnonzero(np.diff(finite)) + 1):
        if run.size and finite[int(run[0])]:
            own = points[run]
            if run.size == 1:  # a value between two missing ones is drawn as a short line
                own = np.vstack([own - 0.25, own + 0.25])
            out.append("M" + "L".join(["%.2f %.2f"] * len(own)) % tuple(own.ravel().tolist()))
    return "".join(out) + "Z" * closed


@dataclass(frozen=True, slots=True)
class Box:
    """Rectangle within a drawing.

    Parameters
    ----------
    left, top, width, height : float
        Position and size from the upper left corner of the drawing, inches.
    """

    left: float
    top: float
    width: float
    height: float


class Drawing:
    """Drawing of a fixed size, to which elements are added from back to front.

    Parameters
    ----------
    width, height : float
        Size, inches.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width * _INCH, height * _INCH
        self._parts: list[str] = []

    def svg(self, *, key: str, alt: str) -> str:
        """Return the drawing as SVG for an HTML page.

        Parameters
        ----------
        key : str
            Prefix of ids, unique in the page.
        alt : str
            Text alternative for screen readers.

        Returns
        -------
        str
            One ``<svg>`` element, whose group has an id by which the figure can be linked.
        """
        head = f'<g id="{key}-figure" font-family="\'DejaVu Sans\', sans-serif" fill="none">'
        return framed(head + "".join(self._parts) + "</g></svg>", (self.width, self.height), alt)

    def text(
        self,
        at: tuple[float, float],
        words: str,
        *,
        size: float = 9.0,
        colour: str = INK,
        anchor: Anchor = "start",
        place: Place = "base",
        turned: bool = False,
    ) -> None:
        """Write one line of text.

        Parameters
        ----------
        at : (float, float)
            Position, points.
        words : str
            The text.
        size : float
            Size of the font, points.
        colour : str
            Colour of `style`.
        anchor : {"start", "middle", "end"}
            Part of the text at the position, along the line.
        place : {"above", "base", "middle", "below"}
            Part of the text at the position, across the line; ``"below"`` is text below it.
        turned : bool
            Whether the line leads upwards.
        """
        shift = _BASELINES[place] * size
        x, y = (at[0] + shift, at[1]) if turned else (at[0], at[1] + shift)
        where = f'x="{_n(x)}" y="{_n(y)}"'
        if turned:
            where += f' transform="rotate(-90 {_n(x)} {_n(y)})"'
        if anchor != "start":
            where += f' text-anchor="{anchor}"'
        content = escape(clean_text(words))
        self._parts.append(
            f'<text {where} font-size="{_n(size)}" fill="{variable(colour)}">{content}</text>'
        )

    def line(
        self,
        points: npt.ArrayLike,
        *,
        colour: str = SOFT,
        width: float = _LINE,
        dash: _Dash = (),
        alpha: float = 1.0,
    ) -> None:
        """Draw a line through points, shape (n, 2), points; NaN interrupts it."""
        path = _path(np.asarray(points, float).reshape(-1, 2))
        more = f' stroke-dasharray="{" ".join(_n(part * width) for part in dash)}"' if dash else ""
        more += f' stroke-opacity="{_n(alpha)}"' if alpha < 1 else ""
        self._parts.append(
            f'<path d="{path}" stroke="{variable(colour)}" stroke-width="{_n(width)}"{more}/>'
        )

    def rectangle(
        self, corners: tuple[float, float, float, float], *, colour: str, alpha: float = 1.0
    ) -> None:
        """Fill a rectangle between two opposite corners (x, y, x, y), points."""
        x, y = sorted((corners[0], corners[2])), sorted((corners[1], corners[3]))
        more = f' fill-opacity="{_n(alpha)}"' if alpha < 1 else ""
        self._parts.append(
            f'<rect x="{_n(x[0])}" y="{_n(y[0])}" width="{_n(x[1] - x[0])}" '
            f'height="{_n(y[1] - y[0])}" fill="{variable(colour)}"{more}/>'
        )

    def marks(
        self,
        points: Floats,
        marker: str,
        *,
        colour: str,
        size: float,
        edge: tuple[str, float] | None = None,
    ) -> None:
        """Draw equal marks at points, shape (n, 2); NaN are omitted.

        Parameters
        ----------
        points : ndarray, shape (n, 2)
            Centres, points.
        marker : {"o", "D", "s", "^", "v"}
            Shape: circle, diamond, square, or triangle with its tip above or below.
        colour : str
            Colour of `style`.
        size : float
            Width, points.
        edge : (str, float), optional
            Colour and width of the edge; by default the edge has the same colour, and width 1.
        """
        line, width = edge or (colour, 1.0)
        available = points[np.isfinite(points).all(axis=1)]
        shapes = [_mark(x, y, marker, size / 2) for x, y in available.tolist()]
        self._parts.append(
            f'<g fill="{variable(colour)}" stroke="{variable(line)}" stroke-width="{_n(width)}">'
            f"{''.join(shapes)}</g>"
        )

    def image(self, box: Box, data: bytes) -> None:
        """Draw the pixels of a PNG image in a box, without smoothing."""
        left, top, wide, high = (_n(v * _INCH) for v in (box.left, box.top, box.width, box.height))
        self._parts.append(
            f'<image x="{left}" y="{top}" width="{wide}" height="{high}" '
            'preserveAspectRatio="none" style="image-rendering: pixelated" '
            f'href="data:image/png;base64,{b64encode(data).decode()}"/>'
        )


def _mark(x: float, y: float, marker: str, r: float) -> str:
    """Return the element of a mark with half width `r`."""
    if marker == "o":
        return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(r)}"/>'
    d = r * math.sqrt(2)
    corners = {
        "s": ((-r, -r), (r, -r), (r, r), (-r, r)),
        "D": ((0, -d), (d, 0), (0, d), (-d, 0)),
        "^": ((-r, r), (0, -r), (r, r)),
        "v": ((-r, -r), (0, r), (r, -r)),
    }[marker]
    return f'<path d="{_path(np.add(corners, (x, y)), closed=True)}"/>'


class Panel:
    """Rectangle of a drawing with a scale along each side.

    Parameters
    ----------
    drawing : Drawing
        The drawing.
    box : Box
        Position of the panel.
    x_ends : (float, float)
        Values at the left and the right.
    y_ends : (float, float)
        Values at the bottom and the top.
    """

    def __init__(
        self,
        drawing: Drawing,
        box: Box,
        x_ends: tuple[float, float] = (0.0, 1.0),
        y_ends: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.drawing, self.box, self.x_ends, self.y_ends = drawing, box, x_ends, y_ends
        self.left, self.top = box.left * _INCH, box.top * _INCH
        self.right, self.bottom = self.left + box.width * _INCH, self.top + box.height * _INCH

    def x(self, value: float) -> float:
        """Return the position of a value along x, points."""
        low, high = self.x_ends
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return the position of a value along y, points."""
        low, high = self.y_ends
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def points(self, x: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
        """Return positions of values, shape (n, 2), points."""
        (left, right), (low, high) = self.x_ends, self.y_ends
        across = (np.asarray(x, float) - left) / (right - left)
        up = (np.asarray(y, float) - low) / (high - low)
        return np.column_stack(
            [
                self.left + across * (self.right - self.left),
                self.bottom - up * (self.bottom - self.top),
            ]
        )

    def vertical(
        self, value: float, *, colour: str = SOFT, width: float = _LINE, dash: _Dash = ()
    ) -> None:
        """Draw a vertical line at a value of x."""
        x = self.x(value)
        ends = [(x, self.bottom), (x, self.top)]
        self.drawing.line(ends, colour=colour, width=width, dash=dash)

    def horizontal(
        self, value: float, *, colour: str = SOFT, width: float = _LINE, dash: _Dash = ()
    ) -> None:
        """Draw a horizontal line at a value of y."""
        y = self.y(value)
        ends = [(self.left, y), (self.right, y)]
        self.drawing.line(ends, colour=colour, width=width, dash=dash)

    def image(self, levels: npt.NDArray[np.uint8], colours: ColourMap) -> None:
        """Fill the panel with pixels, which are positions in the palette of a colour map."""
        self.drawing.image(self.box, png(levels, colours.palette))

    def spines(self) -> None:
        """Draw the left and the lower axis."""
        corner = (self.left, self.bottom)
        self.drawing.line([(self.left, self.top), corner, (self.right, self.bottom)])

    def nice_x(self) -> list[float]:
        """Return round values along x that are far enough apart for their labels."""
        return nice_ticks(*self.x_ends, min(9, int((self.right - self.left) / 24)))

    def nice_y(self) -> list[float]:
        """Return round values along y that are far enough apart for their labels."""
        return nice_ticks(*self.y_ends, min(9, int((self.bottom - self.top) / 16)))

    def ticks_x(
        self,
        values: Sequence[float],
        labels: Sequence[str] | None = None,
        *,
        size: float = 8.0,
        length: float = _TICK,
    ) -> None:
        """Draw ticks below the panel, with their values or labels; empty labels are omitted."""
        for value, label in zip(values, labels or tick_labels(values), strict=True):
            x = self.x(value)
            if length:
                self.drawing.line([(x, self.bottom), (x, self.bottom + length)])
            if label:
                at = (x, self.bottom + length + _TICK)
                self.drawing.text(at, label, size=size, anchor="middle", place="below")

    def ticks_y(
        self,
        values: Sequence[float],
        labels: Sequence[str] | None = None,
        *,
        size: float = 8.0,
        length: float = _TICK,
    ) -> None:
        """Draw ticks at the left, with their values or labels; empty labels are omitted."""
        for value, label in zip(values, labels or tick_labels(values), strict=True):
            y = self.y(value)
            if length:
                self.drawing.line([(self.left, y), (self.left - length, y)])
            if label:
                at = (self.left - length - _TICK, y)
                self.drawing.text(at, label, size=size, anchor="end", place="middle")

    def grid_x(self, values: Sequence[float]) -> None:
        """Draw a grid of vertical lines."""
        for value in values:
            self.vertical(value, colour=GRID, width=0.7)

    def label_x(self, words: str) -> None:
        """Write the name of the scale below the labels of ticks."""
        at = ((self.left + self.right) / 2, self.bottom + 19.0)
        self.drawing.text(at, words, anchor="middle", place="below")

    def label_y(self, words: str, *, offset: float, size: float = 9.0) -> None:
        """Write the name of the scale at the left, `offset` points from the panel."""
        at = (self.left - offset, (self.top + self.bottom) / 2)
        self.drawing.text(at, words, size=size, anchor="middle", turned=True)

    def title(self, words: str, *, size: float = 9.0, pad: float = 6.0, left: bool = False) -> None:
        """Write a title above the panel, at the left or in the centre."""
        x = self.left if left else (self.left + self.right) / 2
        at = (x, self.top - pad)
        self.drawing.text(at, words, size=size, anchor="start" if left else "middle")

    def centred(self, words: str) -> None:
        """Write a text in the centre of the panel."""
        at = ((self.left + self.right) / 2, (self.top + self.bottom) / 2)
        self.drawing.text(at, words, anchor="middle", place="middle")


def nice_ticks(low: float, high: float, n_steps: int) -> list[float]:
    """Return round values within the ends of a scale.

    Parameters
    ----------
    low, high : float
        Ends of the scale.
    n_steps : int
        Largest number of intervals; there are more only if there would be less than two values.

    Returns
    -------
    list of float
        Multiples of 1, 2, 2.5 or 5 times a power of ten.

    Examples
    --------
    >>> nice_ticks(0, 150, 9)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 140.0]
    >>> nice_ticks(-0.6, 0.6, 4)
    [-0.5, 0.0, 0.5]
    """
    rough = (high - low) / max(1, n_steps)
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [k * power for k in (10, 5, 2.5, 2, 1, 0.5, 0.25)]
    fine = [k for k, step in enumerate(steps) if step >= rough * (1 - 1e-9)]
    ticks: list[float] = []
    for step in steps[fine[-1] :]:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        ticks = [float(f"{k * step:.12g}") for k in range(first, last + 1)]
        if len(ticks) > 1:  # one value would not show the scale
            break
    return ticks


def tick_labels(values: Sequence[float]) -> list[str]:
    """Return the texts of ticks, with as many decimals as the one that needs most.

    Parameters
    ----------
    values : sequence of float
        Values of the ticks.

    Returns
    -------
    list of str

    Examples
    --------
    >>> tick_labels([0.0, 0.25, 0.5])
    ['0.00', '0.25', '0.50']
    """
    n = max((len(f"{value:.9g}".partition(".")[2]) for value in values), default=0)
    return [f"{value:.{n}f}".replace("-", "\N{MINUS SIGN}") for value in values]


def wide_limits(values: npt.ArrayLike) -> tuple[float, float]:
    """Return the limits of a scale that contain all finite values with a margin of 5 %.

    Parameters
    ----------
    values : array_like
        Values; those that are not finite are ignored.

    Returns
    -------
    low, high : float
    """
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return -1.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    room = 0.05 * (high - low) or 0.05
    return low - room, high + room


@dataclass(frozen=True, slots=True)
class Entry:
    """Entry of a legend: a line or a mark, and a label.

    Parameters
    ----------
    label : str
        Text of the entry.
    colour : str
        Colour of `style`.
    width : float
        Width of the line, points.
    marker : str
        Marker that is drawn instead of a line, see `Drawing.marks`; empty for a line.
    dash : tuple of float
        Lengths of dashes and gaps, in widths of the line.
    alpha : float
        Opacity.
    """

    label: str
    colour: str
    width: float = 1.5
    marker: str = ""
    dash: _Dash = ()
    alpha: float = 1.0


_HANDLE, _GAP, _BETWEEN, _ROW, _SIZE = 17.6, 6.4, 11.2, 13.0, 8.0  # points


def legend_size(labels: Sequence[str], width: float) -> tuple[int, int]:
    """Return the number of columns of a legend that fit, and the number of rows.

    Parameters
    ----------
    labels : sequence of str
        Labels of the legend.
    width : float
        Available width, inches.

    Returns
    -------
    n_columns, n_rows : int
    """
    widest = max((_HANDLE + _GAP + _BETWEEN + _text_width(t, _SIZE) for t in labels), default=1.0)
    columns = max(1, min(len(labels), int((width * _INCH + _BETWEEN) / widest)))
    return columns, max(1, -(-len(labels) // columns))


def draw_legend(
    drawing: Drawing, corner: tuple[float, float], entries: Sequence[Entry], *, columns: int = 0
) -> None:
    """Draw a legend.

    Parameters
    ----------
    drawing : Drawing
        The drawing.
    corner : (float, float)
        Lower left corner of the legend, points.
    entries : sequence of Entry
        Entries from left to right, then from top to bottom.
    columns : int
        Number of columns; by default all entries are on one line.
    """
    columns = columns or max(1, len(entries))
    rows = -(-len(entries) // columns)
    x = corner[0]
    for column in range(columns):
        own = entries[column::columns]
        for row, entry in enumerate(own):
            y = corner[1] - 6.5 - (rows - 1 - row) * _ROW
            middle = np.array([[x + _HANDLE / 2, y]])
            if entry.marker:
                drawing.marks(middle, entry.marker, colour=entry.colour, size=5)
            else:
                ends = [(x, y), (x + _HANDLE, y)]
                look = {"width": entry.width, "alpha": entry.alpha}
                drawing.line(ends, colour=entry.colour, dash=entry.dash, **look)
            drawing.text((x + _HANDLE + _GAP, y), entry.label, size=_SIZE, place="middle")
        widest = max((_text_width(entry.label, _SIZE) for entry in own), default=0.0)
        x += _HANDLE + _GAP + widest + _BETWEEN


def colour_bar(
    drawing: Drawing,
    box: Box,
    colours: ColourMap,
    ends: tuple[float, float],
    *,
    label: str,
    above: bool = False,
) -> None:
    """Draw the colours of a scale with its values, and its label.

    Parameters
    ----------
    drawing : Drawing
        The drawing.
    box : Box
        Position of the colours. A wide box has its values below, and its label at the right; a
        high box has its values at the right, and its label beside them.
    colours : ColourMap
        Colours of the scale.
    ends : (float, float)
        First and last value of the scale.
    label : str
        Name of the scale.
    above : bool
        Whether the label of a high box is above it.
    """
    is_wide = box.width > box.height
    panel = Panel(drawing, box, ends if is_wide else (0.0, 1.0), (0.0, 1.0) if is_wide else ends)
    steps = np.arange(len(colours.colours), dtype=np.uint8)
    panel.image(steps[None, :] if is_wide else steps[::-1, None], colours)
    x, y = (panel.left, panel.right), (panel.top, panel.bottom)
    frame = [(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1]), (x[0], y[0])]
    drawing.line(frame)
    if is_wide:
        panel.ticks_x(panel.nice_x())
        at = (panel.right + 0.06 * (panel.right - panel.left), (panel.top + panel.bottom) / 2)
        drawing.text(at, label, size=8, place="middle")
        return
    values = panel.nice_y()
    labels = tick_labels(values)
    for value, text in zip(values, labels, strict=True):
        at = (panel.right + _TICK, panel.y(value))
        drawing.line([(panel.right, at[1]), at])
        drawing.text((at[0] + _TICK, at[1]), text, size=8, place="middle")
    if above:
        panel.title(label, size=8)
        return
    widest = max((_text_width(text, 8) for text in labels), default=0.0)
    at = (panel.right + 2 * _TICK + widest + 4, (panel.top + panel.bottom) / 2)
    drawing.text(at, label, anchor="middle", place="below", turned=True)
