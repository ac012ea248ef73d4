"""Figures of one study: forests, change by strength, everybody's values, quality by arm.

Heavy data (clouds of edges) are pixels inside the SVG, text stays text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from circuitshift.pipeline.figures_base import (
    ARM_LOOKS,
    CONTROL,
    INK,
    PAPER,
    REFERENCE,
    SOFT,
    TREATED,
    WIDTH,
    Bools,
    Floats,
    canvas,
    legend_above,
    short_name,
    styled,
    to_svg,
)

__all__ = [
    "ForestRow",
    "Spaghetti",
    "change_by_strength",
    "circuit_forest",
    "global_forest",
    "quality_by_arm",
    "spaghetti",
]

_MAX_LINES = 2500  # vector lines in a figure; beyond it they are drawn as pixels


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One estimate of a forest plot.

    Parameters
    ----------
    name : str
    estimate, low, high : float
        With its 95 % interval; NaN when not tested.
    bound : float
        Smallest effect of interest; NaN when there is none.
    text : str
        Numbers, written beside the mark.
    unit : str
    hit : bool
        Whether its corrected p is below alpha.
    hint : str
        What the review predicts: ``increase``, ``decrease`` or anything else for none.
    second : float
        The same under the node-adjusted model; NaN when unknown.
    """

    name: str
    estimate: float
    low: float
    high: float
    bound: float
    text: str
    unit: str = "Fisher z"
    hit: bool = False
    hint: str = ""
    second: float = float("nan")


def _mark(ax: Axes, row: ForestRow, y: float) -> None:
    if not np.isfinite(row.estimate):
        ax.text(0, y, "not tested", ha="center", va="center", fontsize=8, color=SOFT)
        return
    colour = TREATED if row.hit else CONTROL
    ax.plot([row.low, row.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    face = colour if row.hit else PAPER
    ax.plot([row.estimate], [y], "o", color=colour, markerfacecolor=face, markersize=6)


_TESTED = (
    Line2D([], [], color=TREATED, marker="o", linewidth=2, label="corrected p below alpha"),
    Line2D(
        [], [], color=CONTROL, marker="o", markerfacecolor=PAPER, linewidth=2, label="not below"
    ),
)
_ZONE = Line2D([], [], color=SOFT, linewidth=7, alpha=0.2, label="smaller than of interest")


@styled
def global_forest(rows: Sequence[ForestRow], *, key: str, alt: str) -> str:
    """Global terms, each on an axis of its own unit, with its equivalence zone.

    Parameters
    ----------
    rows : sequence of ForestRow
        At least one.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    each, top = 0.92, 0.35
    height = top + each * len(rows)
    figure = Figure(figsize=(WIDTH, height))
    for k, row in enumerate(rows):
        bottom = height - top - (k + 1) * each + 0.5
        ax = figure.add_axes((1.5 / WIDTH, bottom / height, 3.3 / WIDTH, 0.4 / height))
        ends = [v for v in (row.low, row.high, row.bound, -row.bound) if np.isfinite(v)]
        reach = 1.15 * max([abs(v) for v in ends] or [1.0]) or 1.0
        if np.isfinite(row.bound):
            ax.axvspan(-row.bound, row.bound, color=SOFT, alpha=0.2, linewidth=0)
        ax.axvline(0, color=SOFT, linewidth=0.8)
        _mark(ax, row, 0)
        ax.set(xlim=(-reach, reach), ylim=(-1, 1), yticks=[])
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(row.unit, fontsize=8, labelpad=1)
        ax.text(
            -0.03, 0.5, short_name(row.name, 20), transform=ax.transAxes, ha="right", va="center"
        )
        ax.text(1.03, 0.5, row.text, transform=ax.transAxes, va="center", fontsize=8)
        if k == 0:
            legend_above(ax, [*_TESTED, _ZONE], y=1.05)
    return to_svg(figure, key=key, alt=alt)


_HINTS = {"increase": "▲", "decrease": "▼"}


@styled
def circuit_forest(rows: Sequence[ForestRow], *, key: str, alt: str) -> str:
    """Specific response of every circuit on one axis.

    Parameters
    ----------
    rows : sequence of ForestRow
        At least one; `ForestRow.bound` of the first is drawn.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    figure = canvas(WIDTH, 1.15 + 0.24 * len(rows), (2.75, 1.95, 0.65, 0.45))
    ax = figure.add_subplot()
    ends = [v for r in rows for v in (r.low, r.high, r.second, r.bound) if np.isfinite(v)]
    reach = 1.1 * max([abs(v) for v in ends] or [1.0]) or 1.0
    if np.isfinite(rows[0].bound):
        ax.axvspan(-rows[0].bound, rows[0].bound, color=SOFT, alpha=0.2, linewidth=0)
    ax.axvline(0, color=SOFT, linewidth=0.8)
    across = ax.get_yaxis_transform()
    for y, row in enumerate(rows):
        if np.isfinite(row.second):
            ax.plot([row.second], [y + 0.02], "|", color=INK, markersize=9, markeredgewidth=1.4)
        _mark(ax, row, y)
        ax.text(1.03, y, row.text, transform=across, va="center", fontsize=7.5)
        ax.text(
            -0.03, y, _HINTS.get(row.hint, ""), transform=across, ha="center", va="center",
            fontsize=8, color=SOFT,
        )  # fmt: skip
    ax.set_yticks(range(len(rows)), [short_name(row.name) for row in rows])
    ax.tick_params(axis="y", length=0, pad=12)
    ax.set(
        xlim=(-reach, reach),
        ylim=(len(rows) - 0.5, -0.5),
        xlabel="change beyond the global law, Fisher z",
    )
    ax.spines["left"].set_visible(False)
    ax.grid(visible=True, axis="x")
    ax.set_axisbelow(True)
    second = Line2D(
        [], [], color=INK, marker="|", linestyle="", markersize=9, label="node-adjusted"
    )
    handles = [*_TESTED, _ZONE]
    if any(np.isfinite(row.second) for row in rows):
        handles.append(second)
    figure.legend(handles=handles, loc="upper left", ncols=4, handlelength=1.6, columnspacing=1.2)
    ax.text(
        1.03, -0.95, "estimate [95 % CI]  p", transform=across, fontsize=7.5, color=SOFT,
        va="center",
    )  # fmt: skip
    return to_svg(figure, key=key, alt=alt)


@styled
def change_by_strength(
    typical: Floats,
    panels: Sequence[tuple[str, Floats]],
    *,
    members: Mapping[str, Bools],
    key: str,
    alt: str,
) -> str:
    """Change of every edge against its typical strength: a law, or circuits that leave it.

    Background edges are a cloud of pixels with their binned means and least-squares line; circuits
    are marks at the mean of their edges, with a stem to the line at the same strength.

    Parameters
    ----------
    typical : ndarray, shape (n_edges,)
        Typical strength, Fisher z.
    panels : sequence of (str, ndarray of shape (n_edges,))
        Title, and mean change, Fisher z. At least one.
    members : mapping of str to ndarray of bool, shape (n_edges,)
        Edges of each circuit, the clearest first; edges in none are background. At most three
        names are drawn, where there is room.
    key, alt : str
        Prefix of ids, and description.

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
    figure.supxlabel("typical strength of the edge, Fisher z", fontsize=9, y=0.02)
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
    """Limits that hold nearly all edges."""

    def ends(values: Floats) -> tuple[float, float]:
        known = values[np.isfinite(values)]
        if not known.size:
            return -1.0, 1.0
        low, high = np.percentile(known, [0.2, 99.8])
        room = 0.08 * (high - low) or 0.1
        return float(low - room), float(high + room)

    low, high = ends(np.concatenate(changes))
    reach = max(abs(low), abs(high))
    return (*ends(typical), -reach, reach)


def _cloud(ax: Axes, x: Floats, y: Floats, box: _Box) -> None:
    counts, _, _ = np.histogram2d(x, y, bins=(110, 90), range=(box[:2], box[2:]))
    shade = np.log1p(counts.T)
    image = np.ones((*shade.shape, 4))
    image[..., :3] = np.array([0x80, 0x88, 0x92]) / 255  # readable on white and on black
    image[..., 3] = np.round(0.9 * np.sqrt(shade / max(1.0, float(shade.max()))) * 12) / 12
    ax.imshow(image, extent=box, origin="lower", aspect="auto", interpolation="none", zorder=0.5)
    edges = np.unique(np.quantile(x, np.linspace(0, 1, 13))) if x.size > 60 else np.empty(0)
    for low, high in pairwise(edges.tolist()):
        part = (x >= low) & (x <= high)
        ax.plot([x[part].mean()], [y[part].mean()], ".", color=INK, markersize=5)


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Least-squares slope and level; a flat line at zero when there is nothing to fit."""
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
    named: list[tuple[float, float]] = []
    for name, mask in members.items():
        part = mask & use
        if not part.any():
            continue
        x, y = float(typical[part].mean()), float(change[part].mean())
        on_line = line[1] + line[0] * x
        ax.plot([x, x], [on_line, y], color=TREATED, linewidth=1)
        ax.plot([x], [y], "D", color=TREATED, markeredgecolor=PAPER, markersize=5.5)
        place = ((x - left) / (right - left), (y - low) / (high - low))
        crowded = any(
            abs(place[0] - other[0]) < 0.45 and abs(place[1] - other[1]) < 0.09 for other in named
        )
        if len(named) < 3 and not crowded:
            named.append(place)
            ax.annotate(
                short_name(name, 24),
                (x, y),
                xytext=(0, 6 if y >= on_line else -6),
                textcoords="offset points",
                ha="left" if place[0] < 0.3 else "right" if place[0] > 0.6 else "center",
                va="bottom" if y >= on_line else "top",
                fontsize=7,
            )


@dataclass(frozen=True, slots=True, eq=False)
class Spaghetti:
    """Values of one circuit in everybody.

    Parameters
    ----------
    name : str
    arms : mapping of str to ndarray, shape (n_people, 2)
        Fisher z at baseline and follow-up, NaN when missing.
    reference : ndarray, shape (n_people,)
        Fisher z of healthy people; may be empty.
    hit : bool
        Whether it changed beyond the global law.
    """

    name: str
    arms: Mapping[str, Floats]
    reference: Floats
    hit: bool = False


@styled
def spaghetti(
    circuits: Sequence[Spaghetti], sessions: tuple[str, str], *, key: str, alt: str
) -> str:
    """Every person before and after, one panel per circuit.

    Parameters
    ----------
    circuits : sequence of Spaghetti
        At least one.
    sessions : (str, str)
        Names of the two visits.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    columns = min(4, len(circuits))
    rows = -(-len(circuits) // columns)
    height = 0.45 + rows * 1.75 + 0.1
    figure = Figure(figsize=(WIDTH, height))
    n_lines = sum(len(values) for c in circuits for values in c.arms.values())
    left, each = 0.5, (WIDTH - 0.6) / 4
    for k, circuit in enumerate(circuits):
        row, column = divmod(k, columns)
        bottom = height - 0.45 - (row + 1) * 1.75 + 0.3
        ax = figure.add_axes(
            ((left + column * each) / WIDTH, bottom / height, (each - 0.42) / WIDTH, 1.2 / height)
        )
        _people(ax, circuit, as_pixels=n_lines > _MAX_LINES)
        ax.set(xlim=(-0.3, 1.3))
        ax.set_xticks([0, 1], [short_name(s, 9) for s in sessions])
        ax.tick_params(labelsize=7)
        title = short_name(circuit.name, 24) + (" *" if circuit.hit else "")
        ax.set_title(title, fontsize=8, pad=3)
        if column == 0:
            ax.set_ylabel("Fisher z", fontsize=8, labelpad=1)
    shown = [arm for arm in ARM_LOOKS if any(arm in c.arms for c in circuits)]
    handles = [
        Line2D(
            [], [], color=ARM_LOOKS[a][0], marker=ARM_LOOKS[a][1], linewidth=2, label=f"{a}, mean"
        )
        for a in shown
    ]
    if any(c.reference.size for c in circuits):
        handles.append(
            Line2D([], [], color=REFERENCE, linewidth=7, alpha=0.25, label="reference, mean ± 1 SD")
        )
    figure.legend(handles=handles, loc="upper left", ncols=3)
    return to_svg(figure, key=key, alt=alt)


def _people(ax: Axes, circuit: Spaghetti, *, as_pixels: bool) -> None:
    healthy = circuit.reference[np.isfinite(circuit.reference)]
    if healthy.size > 1:
        mean, spread = float(healthy.mean()), float(healthy.std(ddof=1))
        ax.axhspan(mean - spread, mean + spread, color=REFERENCE, alpha=0.18, linewidth=0)
        ax.axhline(mean, color=REFERENCE, linewidth=1)
    for number, (arm, values) in enumerate(circuit.arms.items()):
        colour, marker = ARM_LOOKS.get(arm, (SOFT, "o"))
        there = values[np.isfinite(values).all(axis=1)]
        nudge = 0.05 * number
        lines = [np.column_stack([[nudge, 1 + nudge], pair]) for pair in there]
        drawn = LineCollection(lines, colors=colour, linewidths=0.6, alpha=0.35)
        drawn.set_rasterized(as_pixels)
        ax.add_collection(drawn)
        lone = values[np.isfinite(values).sum(axis=1) == 1]
        for visit in (0, 1):
            y = lone[np.isfinite(lone[:, visit]), visit]
            ax.plot(np.full(len(y), visit + nudge), y, "_", color=colour, markersize=4, alpha=0.6)
        if len(there):
            mean = there.mean(axis=0)
            ax.plot(
                [nudge, 1 + nudge], mean, marker=marker, color=colour, linewidth=2, markersize=4
            )
    ax.autoscale(axis="y")


@styled
def quality_by_arm(
    panels: Sequence[tuple[str, Sequence[tuple[str, str, Floats]]]], *, key: str, alt: str
) -> str:
    """Every run as a dot, by arm and session, with medians.

    Parameters
    ----------
    panels : sequence of (str, sequence of (str, str, ndarray))
        Axis label; then arm, session and values of each column. At least one panel and column.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    n_columns = max(len(columns) for _, columns in panels)
    figure = canvas(WIDTH, 3.0, (0.6, 0.1, 0.2, 1.05))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(wspace=0.42)
    for ax, (label, columns) in zip(axes, panels, strict=True):
        for k, (arm, _, values) in enumerate(columns):
            colour, marker = ARM_LOOKS.get(arm, (SOFT, "o"))
            known = np.sort(values[np.isfinite(values)])
            spread = (np.arange(len(known)) * 0.618 % 1 - 0.5) * 0.5
            ax.plot(k + spread, known, marker, color=colour, markersize=3, alpha=0.6)
            if known.size:
                ax.plot([k - 0.36, k + 0.36], [np.median(known)] * 2, color=INK, linewidth=1.6)
        names = [short_name(f"{arm} {session}".strip(), 20) for arm, session, _ in columns]
        ax.set_xticks(range(len(columns)), names, rotation=40, ha="right", rotation_mode="anchor")
        ax.set(xlim=(-0.6, n_columns - 0.4), ylabel=label)
        ax.set_ylim(bottom=0)
    return to_svg(figure, key=key, alt=alt)
