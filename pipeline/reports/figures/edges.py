"""Figures of all edges: change against strength, and motion against length.

The cloud of edges is drawn as pixels inside the SVG; text, lines and circuits are vector graphics.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.reports.figures.style import (
    CONTROL,
    INK,
    PAPER,
    SOFT,
    TREATED,
    WIDTH,
    canvas,
    short_name,
    styled,
    to_svg,
)

__all__ = ["change_by_strength", "motion_by_length"]

_DPI = 100.0  # default of matplotlib before a figure is drawn


@styled
def change_by_strength(
    typical: Floats,
    panels: Sequence[tuple[str, Floats]],
    *,
    members: Mapping[str, Bools],
    key: str,
    alt: str,
    across: str = "typical strength of the edge, Fisher z",
) -> str:
    """Draw the change of every edge against its strength or its deviation.

    Background edges are shown as a cloud of pixels with binned means and a least-squares line (the
    global model). Circuits are marks at the mean of their edges, with a vertical line to the
    least-squares line.

    Parameters
    ----------
    typical : ndarray, shape (n_edges,)
        Typical strength, or deviation from the reference, Fisher z.
    panels : sequence of (str, ndarray of shape (n_edges,))
        Title and mean change (Fisher z) of each panel. At least one panel.
    members : mapping of str to ndarray of bool, shape (n_edges,)
        Edges of each circuit, with the clearest circuit first; edges outside all circuits are
        background. At most three circuits are named, where there is space.
    key, alt : str
        Prefix of ids, and description.
    across : str
        Label of the axis of `typical`.

    Returns
    -------
    str
        SVG.
    """
    height = 3.5 if len(panels) < 3 else 2.9
    figure = canvas(WIDTH, height, (0.65, 0.15, 0.62, 0.45))
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    figure.subplots_adjust(wspace=0.08)
    inside = np.zeros(len(typical), bool)
    for mask in members.values():
        inside |= mask
    box = _box(typical, [change for _, change in panels])
    for ax, (title, change) in zip(axes, panels, strict=True):
        use = np.isfinite(typical) & np.isfinite(change)
        back = use & ~inside
        _cloud(ax, typical[back], change[back], box)
        slope, level = _line(typical[back], change[back])
        ends = np.array(box[:2])
        ax.plot(ends, level + slope * ends, color=CONTROL, linewidth=1.8)
        ax.axhline(0, color=SOFT, linewidth=0.8, zorder=0)
        ax.set(xlim=box[:2], ylim=box[2:])
        _circuit_marks(ax, typical, change, members=members, line=(slope, level))
        ax.set_title(title)
    figure.supxlabel(across, fontsize=9, y=0.02)
    axes[0].set_ylabel("mean change, Fisher z")
    handles = [
        Line2D([], [], color=SOFT, linewidth=7, alpha=0.5, label="background edges"),
        Line2D([], [], color=CONTROL, linewidth=1.8, label="global line"),
        Line2D([], [], color=INK, marker=".", linestyle="", label="background, binned mean"),
        Line2D(
            [], [], color=TREATED, marker="D", linewidth=1, label="circuit, distance to the line"
        ),
    ]
    figure.legend(handles=handles, loc="upper left", ncols=4, columnspacing=1.2, handlelength=1.6)
    return to_svg(figure, key=key, alt=alt)


_Box = tuple[float, float, float, float]


def _box(typical: Floats, changes: Sequence[Floats]) -> _Box:
    """Return axis limits that contain nearly all edges."""

    def ends(values: Floats) -> tuple[float, float]:
        available = values[np.isfinite(values)]
        if not available.size:
            return -1.0, 1.0
        low, high = np.percentile(available, [0.2, 99.8])
        room = 0.08 * (high - low) or 0.1
        return float(low - room), float(high + room)

    low, high = ends(np.concatenate(changes))
    reach = max(abs(low), abs(high))
    return (*ends(typical), -reach, reach)


def _cloud(ax: Axes, x: Floats, y: Floats, box: _Box) -> None:
    counts, _, _ = np.histogram2d(x, y, bins=(110, 90), range=(box[:2], box[2:]))
    shade = np.log1p(counts.T)
    image = np.ones((*shade.shape, 4))
    image[..., :3] = np.array([0x80, 0x88, 0x92]) / 255  # legible on white and on black
    image[..., 3] = np.round(0.9 * np.sqrt(shade / max(1.0, float(shade.max()))) * 12) / 12
    ax.imshow(image, extent=box, origin="lower", aspect="auto", interpolation="none", zorder=0.5)
    edges = np.unique(np.quantile(x, np.linspace(0, 1, 13))) if x.size > 60 else np.empty(0)
    for low, high in pairwise(edges.tolist()):
        part = (x >= low) & (x <= high)
        ax.plot([x[part].mean()], [y[part].mean()], ".", color=INK, markersize=5)


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return the slope and intercept of a least-squares line; a flat line if there is no slope."""
    if x.size < 3 or float(np.ptp(x)) == 0:
        return 0.0, float(y.mean()) if y.size else 0.0
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    return slope, float(y.mean() - slope * x.mean())


def _circuit_marks(
    ax: Axes,
    typical: Floats,
    change: Floats,
    *,
    members: Mapping[str, Bools],
    line: tuple[float, float],
) -> None:
    use = np.isfinite(typical) & np.isfinite(change)
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    named: list[tuple[float, float, float, float]] = []
    panel = ax.get_window_extent()
    wide, across_y = float(panel.width) / _DPI, float(panel.height) / _DPI  # inches
    for name, mask in members.items():
        part = mask & use
        if not part.any():
            continue
        x, y = float(typical[part].mean()), float(change[part].mean())
        on_line = line[1] + line[0] * x
        ax.plot([x, x], [on_line, y], color=TREATED, linewidth=1)
        ax.plot([x], [y], "D", color=TREATED, markeredgecolor=PAPER, markersize=5.5)
        place = ((x - left) / (right - left), (y - low) / (high - low))
        side: Literal["left", "right", "center"] = (
            "left" if place[0] < 0.3 else "right" if place[0] > 0.6 else "center"
        )
        length = (
            0.068 * min(len(name), 24) / wide
        )  # at most this many inches per letter, as a share of the panel
        start = place[0] - {"left": 0.0, "center": 0.5, "right": 1.0}[side] * length
        level = place[1] + (0.1 if y >= on_line else -0.1) / across_y
        box = (start, start + length, level - 0.07 / across_y, level + 0.07 / across_y)
        if len(named) < 3 and not any(_overlap(box, other) for other in named):
            named.append(box)
            ax.annotate(
                short_name(name, 24),
                (x, y),
                xytext=(0, 6 if y >= on_line else -6),
                textcoords="offset points",
                ha=side,
                va="bottom" if y >= on_line else "top",
                fontsize=7,
            )


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]


@styled
def motion_by_length(
    length_mm: Floats, panels: Sequence[tuple[str, Floats, str]], *, key: str, alt: str
) -> str:
    """Draw the QC-FC of every edge against its length.

    Parameters
    ----------
    length_mm : ndarray, shape (n_edges,)
        Length of each edge, mm.
    panels : sequence of (str, ndarray of shape (n_edges,), str)
        Title, correlation of each edge with motion over participants, and text below the title.
        At least one panel.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    figure = canvas(WIDTH, 2.7, (0.65, 0.15, 0.75, 0.5))
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    figure.subplots_adjust(wspace=0.08)
    for ax, (title, r, words) in zip(axes, panels, strict=True):
        use = np.isfinite(length_mm) & np.isfinite(r)
        box = (0.0, float(np.nanmax(length_mm)) * 1.03, -1.0, 1.0)
        _cloud(ax, length_mm[use], r[use], box)
        ax.axhline(0, color=SOFT, linewidth=0.8, zorder=0)
        ax.set(xlim=box[:2], ylim=box[2:])
        ax.set_title(f"{title}\n{words}", fontsize=8.5)
    figure.supxlabel("length of the edge, mm", fontsize=9, y=0.02)
    axes[0].set_ylabel("correlation with motion")
    handles = [
        Line2D([], [], color=SOFT, linewidth=7, alpha=0.5, label="edges"),
        Line2D([], [], color=INK, marker=".", linestyle="", label="binned mean"),
    ]
    figure.legend(handles=handles, loc="upper left", ncols=2)
    return to_svg(figure, key=key, alt=alt)
