"""Figures of effects and participants: forest plots, individual values, quality by arm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.reports.figures.style import (
    ARM_LOOKS,
    CONTROL,
    INK,
    PAPER,
    REFERENCE,
    SOFT,
    TREATED,
    WIDTH,
    canvas,
    legend_above,
    short_name,
    styled,
    to_svg,
)

__all__ = [
    "ForestRow",
    "Spaghetti",
    "circuit_forest",
    "global_forest",
    "quality_by_arm",
    "spaghetti",
    "symptom_by_change",
]

_MAX_LINES = 2500  # vector lines in a figure; more lines are drawn as pixels


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One estimate of a forest plot.

    Parameters
    ----------
    name : str
        Name of the row.
    estimate, low, high : float
        Estimate and the limits of its 95 % confidence interval; NaN if not tested.
    bound : float
        Smallest effect of interest; NaN if there is none.
    text : str
        Numbers next to the mark.
    unit : str
        Unit of the estimate.
    hit : bool
        Whether its corrected p is below alpha.
    hint : str
        Predicted direction: ``increase``, ``decrease``, or another text for no prediction.
    second : float
        Estimate of the region-adjusted model; NaN if not available.
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
_ZONE = Line2D([], [], color=SOFT, linewidth=7, alpha=0.2, label="equivalence bounds")


@styled
def global_forest(rows: Sequence[ForestRow], *, key: str, alt: str) -> str:
    """Draw global terms, each on an axis of its own unit, with its equivalence bounds.

    Parameters
    ----------
    rows : sequence of ForestRow
        Global terms, at least one.
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
    """Draw the residual change of every circuit on one axis.

    Parameters
    ----------
    rows : sequence of ForestRow
        Circuits, at least one, each with its own equivalence bounds.
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
    ax.axvline(0, color=SOFT, linewidth=0.8)
    across = ax.get_yaxis_transform()
    for y, row in enumerate(rows):
        if np.isfinite(row.bound):
            ax.barh(y, 2 * row.bound, 1.0, -row.bound, color=SOFT, alpha=0.2, linewidth=0)
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
        xlabel="residual change (beyond the global model), Fisher z",
    )
    ax.spines["left"].set_visible(False)
    ax.grid(visible=True, axis="x")
    ax.set_axisbelow(True)
    second = Line2D(
        [], [], color=INK, marker="|", linestyle="", markersize=9, label="region-adjusted"
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


@dataclass(frozen=True, slots=True, eq=False)
class Spaghetti:
    """Values of one circuit in all participants.

    Parameters
    ----------
    name : str
        Name of the circuit.
    arms : mapping of str to ndarray, shape (n_participants, 2)
        Fisher z at baseline and follow-up, by arm; NaN where missing.
    reference : ndarray, shape (n_participants,)
        Fisher z of the reference group; may be empty.
    hit : bool
        Whether the circuit changed beyond the global model.
    """

    name: str
    arms: Mapping[str, Floats]
    reference: Floats
    hit: bool = False


@styled
def spaghetti(
    circuits: Sequence[Spaghetti], sessions: tuple[str, str], *, key: str, alt: str
) -> str:
    """Draw the values of all participants at both visits, one panel per circuit.

    Parameters
    ----------
    circuits : sequence of Spaghetti
        Values of each circuit, at least one.
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
        _draw_participants(ax, circuit, as_pixels=n_lines > _MAX_LINES)
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
            [],
            [],
            color=ARM_LOOKS[a][0],
            marker=ARM_LOOKS[a][1],
            linewidth=2,
            label=f"{a}, mean and 95 % CI",
        )
        for a in shown
    ]
    if any(c.reference.size for c in circuits):
        handles.append(
            Line2D([], [], color=REFERENCE, linewidth=7, alpha=0.25, label="reference, mean ± 1 SD")
        )
    figure.legend(handles=handles, loc="upper left", ncols=3, fontsize=7.5)
    return to_svg(figure, key=key, alt=alt)


def _draw_participants(ax: Axes, circuit: Spaghetti, *, as_pixels: bool) -> None:
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
            half = _half_width(there)
            ax.errorbar(
                [nudge, 1 + nudge], mean, half, marker=marker, color=colour, linewidth=2,
                markersize=4, elinewidth=1.4, capsize=2.5,
            )  # fmt: skip
    ax.autoscale(axis="y")


def _half_width(values: Floats) -> Floats:
    """Return half of the 95 % confidence interval of each column's mean; NaN for one value."""
    from scipy.special import stdtrit  # noqa: PLC0415 - half a second of import

    n = len(values)
    if n < 2:
        return np.full(values.shape[1], np.nan)
    return np.asarray(stdtrit(n - 1, 0.975) * values.std(axis=0, ddof=1) / np.sqrt(n))


@styled
def symptom_by_change(
    panels: Sequence[tuple[str, Mapping[str, tuple[Floats, Floats]]]],
    *,
    across: str,
    key: str,
    alt: str,
    lines: bool = False,
) -> str:
    """Draw the change of connectivity against a symptom or a moderator, one panel per term.

    Parameters
    ----------
    panels : sequence of (str, mapping of str to (ndarray, ndarray))
        Title, and by arm the change of the symptom and of connectivity of each participant. At
        least one panel.
    across : str
        Label of the axis of the symptom.
    key, alt : str
        Prefix of ids, and description.
    lines : bool
        Whether the least-squares line of each arm is drawn with its 95 % confidence band.

    Returns
    -------
    str
        SVG.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = canvas(WIDTH, 0.6 + 2.1 * rows, (0.65, 0.1, 0.6, 0.5))
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True)
    figure.subplots_adjust(wspace=0.32, hspace=0.28)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, (title, arms) in zip(axes.flat, panels, strict=False):
        ax.axhline(0, color=SOFT, linewidth=0.8)
        for arm, (symptom, change) in arms.items():
            colour, marker = ARM_LOOKS.get(arm, (SOFT, "o"))
            ax.plot(symptom, change, marker, color=colour, markersize=4, alpha=0.8)
            band = confidence_band(symptom, change) if lines else None
            if band is not None:
                at, fitted, half = band
                ax.plot(at, fitted, color=colour, linewidth=1.4)
                ax.fill_between(at, fitted - half, fitted + half, color=colour, alpha=0.15, lw=0)
        ax.set_title(short_name(title, 30), fontsize=8.5)
        ax.tick_params(labelsize=7)
    for ax in axes[:, 0]:
        ax.set_ylabel("change", fontsize=8)
    figure.supxlabel(across, fontsize=9, y=0.02)
    shown = dict.fromkeys(arm for _, arms in panels for arm in arms)
    handles = [
        Line2D([], [], color=ARM_LOOKS[a][0], marker=ARM_LOOKS[a][1], linestyle="", label=a)
        for a in shown
        if a in ARM_LOOKS
    ]
    figure.legend(handles=handles, loc="upper left", ncols=2)
    return to_svg(figure, key=key, alt=alt)


def confidence_band(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats] | None:
    """Fit a line, and compute the confidence band of its height within the range of the data.

    Parameters
    ----------
    x, y : ndarray, shape (n_participants,)
        Values of participants; participants with missing values are omitted.

    Returns
    -------
    tuple of three ndarray, shape (50,), or None
        Positions, height of the line, and half of the 95 % interval (t distribution). None with
        fewer than three participants or constant `x`.
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - half a second of import

    available = np.isfinite(x) & np.isfinite(y)
    x, y = x[available], y[available]
    if len(x) < 3 or np.ptp(x) == 0:
        return None
    centred = x - x.mean()
    square = centred @ centred
    slope = centred @ y / square
    residual = y - y.mean() - slope * centred
    sigma = np.sqrt(residual @ residual / (len(x) - 2))
    at = np.linspace(x.min(), x.max(), 50)
    half = stdtrit(len(x) - 2, 0.975) * sigma * np.sqrt(1 / len(x) + (at - x.mean()) ** 2 / square)
    return at, y.mean() + slope * (at - x.mean()), half


@styled
def quality_by_arm(
    panels: Sequence[tuple[str, Sequence[tuple[str, str, Floats]]]], *, key: str, alt: str
) -> str:
    """Draw the quality of every run by arm and session, with medians.

    Parameters
    ----------
    panels : sequence of (str, sequence of (str, str, ndarray))
        Axis label, and arm, session and values of each column. At least one panel with one column.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    n_columns = max(len(columns) for _, columns in panels)
    figure = canvas(WIDTH, 3.1, (0.6, 0.1, 0.2, 1.2))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(wspace=0.42)
    for ax, (label, columns) in zip(axes, panels, strict=True):
        for k, (arm, _, values) in enumerate(columns):
            colour, marker = ARM_LOOKS.get(arm, (SOFT, "o"))
            available = np.sort(values[np.isfinite(values)])
            spread = (np.arange(len(available)) * 0.618 % 1 - 0.5) * 0.5
            ax.plot(k + spread, available, marker, color=colour, markersize=3, alpha=0.6)
            if available.size:
                ax.plot([k - 0.36, k + 0.36], [np.median(available)] * 2, color=INK, linewidth=1.6)
        names = [short_name(f"{arm} {session}".strip(), 19) for arm, session, _ in columns]
        ax.set_xticks(range(len(columns)), names, rotation=58, ha="right", rotation_mode="anchor")
        ax.set(xlim=(-0.6, n_columns - 0.4), ylabel=label)
        is_empty = not any((values > 0).any() for *_, values in columns)
        ax.set_ylim(0, 1 if is_empty else None)
    return to_svg(figure, key=key, alt=alt)
