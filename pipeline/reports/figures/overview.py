"""Overview figures of a study: common scale, flow of participants, specification curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from circuitshift.pipeline.reports.figures.effects import ForestRow
from circuitshift.pipeline.reports.figures.style import (
    ARM_LOOKS,
    COMPACT,
    CONTROL,
    INK,
    MISSING,
    PAPER,
    SOFT,
    TREATED,
    WIDTH,
    canvas,
    legend_columns,
    short_name,
    styled,
    to_svg,
)

__all__ = ["FlowArm", "Specified", "flow", "one_scale", "specification_curve", "two_ways"]

_MAX_NAME, _MAX_LINE = 80, 42  # characters of a name, and of each of its lines
_MAX_MULTIPLE = 6.0  # of the smallest effect of interest; longer bars end in an arrow


@styled
def one_scale(groups: Sequence[tuple[str, Sequence[ForestRow]]], *, key: str, alt: str) -> str:
    """Draw global terms and circuits in multiples of the smallest effect of interest.

    Parameters
    ----------
    groups : sequence of (str, sequence of ForestRow)
        Heading and rows with a finite `ForestRow.bound`. At least one row.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    available = [row for _, rows in groups for row in rows if np.isfinite(row.estimate)]
    ends = [abs(v) / r.bound for r in available for v in (r.low, r.high) if np.isfinite(v)]
    reach = min(_MAX_MULTIPLE, 1.08 * max([*ends, 1.3]))
    headings, placed, depth = _positions(groups)
    handles = [
        Line2D([], [], color=TREATED, marker="o", linewidth=2, label="corrected p below alpha"),
        Line2D(
            [], [], color=CONTROL, marker="o", markerfacecolor=PAPER, linewidth=2, label="not below"
        ),
        Line2D([], [], color=SOFT, linewidth=7, alpha=0.2, label="equivalence bounds"),
    ]
    columns, n_rows = legend_columns([str(h.get_label()) for h in handles], COMPACT)
    top = 0.15 + 0.18 * n_rows
    figure = canvas(COMPACT, top + depth + 0.5, (0.15, 0.15, top, 0.5))
    ax = figure.add_subplot()
    across = ax.get_yaxis_transform()
    small: dict[str, Any] = {"transform": across, "va": "top", "fontsize": 7.5}
    for title, y in headings:
        ax.text(0, y, title, transform=across, va="top", fontweight="bold")
    ax.text(1, 0.02, "estimate [95 % CI]  p", ha="right", color=SOFT, **small)
    for row, name, y, y_bar in placed:
        ax.text(0, y, name, linespacing=1.0, **small)
        ax.text(1, y, row.text, ha="right", **small)
        zone = Rectangle((-1, y_bar - 0.09), 2, 0.18, color=SOFT, alpha=0.2, linewidth=0)
        ax.add_patch(zone)
        for x in (-1, 0, 1):
            style = "-" if x == 0 else (0, (3, 2))
            ax.vlines(x, y_bar - 0.09, y_bar + 0.09, color=SOFT, linewidth=0.8, linestyle=style)
        _bar(ax, row, y_bar, reach)
    ax.set(xlim=(-reach, reach), ylim=(depth, 0), yticks=[])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("multiples of the smallest effect of interest")
    figure.legend(handles=handles, loc="upper left", ncols=columns)
    return to_svg(figure, key=key, alt=alt, compact=True)


_Placed = tuple[ForestRow, str, float, float]  # row, name, top of its text, middle of its bar


def _positions(
    groups: Sequence[tuple[str, Sequence[ForestRow]]],
) -> tuple[list[tuple[str, float]], list[_Placed], float]:
    """Place headings and rows below each other, the name of a row above its bar, in inches."""
    headings, placed, y = [], [], 0.0
    for title, rows in groups:
        headings.append((title, y))
        y += 0.24
        for row in rows:
            name = _two_lines(row.name)
            text = 0.135 * (name.count("\n") + 1)
            placed.append((row, name, y, y + text + 0.11))
            y += text + 0.29
    return headings, placed, y


def _two_lines(name: str) -> str:
    return fill(short_name(name, _MAX_NAME), _MAX_LINE)


def _bar(ax: Axes, row: ForestRow, y: float, reach: float) -> None:
    if not np.isfinite(row.estimate):
        ax.text(0, y, "not tested", ha="center", va="center", fontsize=8, color=SOFT)
        return
    colour = TREATED if row.hit else CONTROL
    ends = np.array([row.low, row.high]) / row.bound
    ax.plot(np.clip(ends, -reach, reach), [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    for end in ends[np.abs(ends) > reach]:
        marker, place = ("<", -reach) if end < 0 else (">", reach)
        ax.plot([place], [y], marker, color=colour, markersize=5, clip_on=False)
    place = float(np.clip(row.estimate / row.bound, -reach, reach))
    face = colour if row.hit else PAPER
    ax.plot([place], [y], "o", color=colour, markerfacecolor=face, markersize=6, clip_on=False)


@dataclass(frozen=True, slots=True)
class FlowArm:
    """Numbers of participants of one arm from enrolment to analysis.

    Parameters
    ----------
    name : str
        Name of the arm.
    steps : sequence of (str, int)
        Steps in their order, and the number of participants at each step.
    missing : sequence of str
        Lines of text on participants who are not in the analysis.
    """

    name: str
    steps: Sequence[tuple[str, int]]
    missing: Sequence[str]


@styled
def flow(arms: Sequence[FlowArm], *, key: str, alt: str) -> str:
    """Draw the flow of participants, one column per arm (after CONSORT).

    Parameters
    ----------
    arms : sequence of FlowArm
        Arms of the study, at least one.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    each = COMPACT / max(2, len(arms))
    wide = min(2.3, each - 0.12)
    letters = int(wide * 72 / 4.4)  # of a line of text at the size below
    steps = [[(fill(label, letters), n) for label, n in arm.steps] for arm in arms]
    missing = [[fill(short_name(words, 60), letters) for words in arm.missing] for arm in arms]
    n_lines = max(label.count("\n") + 1 for own in steps for label, _ in own)
    tall, gap, top = 0.24 + 0.13 * n_lines, 0.2, 0.3
    n_steps = max(len(own) for own in steps)
    n_missing = max(sum(words.count("\n") + 1 for words in own) for own in missing)
    foot = 0.3 + 0.14 * n_missing if n_missing else 0.05
    height = top + n_steps * (tall + gap) + foot
    figure = Figure(figsize=(COMPACT, height))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, COMPACT), ylim=(height, 0))
    ax.set_axis_off()
    for k, arm in enumerate(arms):
        middle = (k + 0.5) * each
        colour = ARM_LOOKS.get(arm.name, (SOFT, "o"))[0]
        ax.text(middle, 0.17, arm.name, ha="center", va="center", fontweight="bold")
        y = top
        for number, (label, n) in enumerate(steps[k]):
            box = FancyBboxPatch(
                (middle - wide / 2, y), wide, tall, boxstyle="round,pad=0,rounding_size=0.06",
                facecolor=PAPER, edgecolor=colour, linewidth=1.4,
            )  # fmt: skip
            ax.add_patch(box)
            ax.text(middle, y + 0.07, label, ha="center", va="top", fontsize=7.5, linespacing=1.1)
            ax.text(middle, y + tall - 0.12, str(n), ha="center", va="center", fontweight="bold")
            if number + 1 < len(steps[k]):
                arrow = FancyArrowPatch(
                    (middle, y + tall), (middle, y + tall + gap), arrowstyle="-|>",
                    mutation_scale=8, color=SOFT, linewidth=1, shrinkA=0, shrinkB=0,
                )  # fmt: skip
                ax.add_patch(arrow)
            y += tall + gap
        for line, words in enumerate(missing[k]):
            bold = "bold" if line == 0 else "normal"
            ax.text(
                middle - wide / 2, y, words, va="top", fontsize=7.5, linespacing=1.1,
                fontweight=bold, color=INK if line == 0 else SOFT,
            )  # fmt: skip
            y += 0.14 * (words.count("\n") + 1)
    return to_svg(figure, key=key, alt=alt, compact=True)


@styled
def two_ways(
    rows: Sequence[tuple[str, ForestRow, ForestRow]],
    *,
    labels: tuple[str, str],
    unit: str,
    key: str,
    alt: str,
) -> str:
    """Draw two estimates of each effect, the usual one and that of the model.

    Parameters
    ----------
    rows : sequence of (str, ForestRow, ForestRow)
        Name, usual estimate and estimate of the model. At least one row.
    labels : (str, str)
        Labels of the two estimates.
    unit : str
        Unit of all estimates.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    figure = canvas(WIDTH, 0.95 + 0.3 * len(rows), (2.6, 0.2, 0.4, 0.45))
    ax = figure.add_subplot()
    ends = [abs(v) for _, *pair in rows for r in pair for v in (r.low, r.high) if np.isfinite(v)]
    reach = 1.08 * max([*ends, 1e-9])
    ax.axvline(0, color=SOFT, linewidth=0.8)
    for y, (_, usual, ours) in enumerate(rows):
        for row, nudge, colour, marker in (
            (usual, -0.16, MISSING, "s"),
            (ours, 0.16, CONTROL, "o"),
        ):
            if not np.isfinite(row.estimate):
                continue
            ax.plot([row.low, row.high], [y + nudge] * 2, color=colour, linewidth=1.8)
            face = colour if row.hit else PAPER
            ax.plot(
                [row.estimate],
                [y + nudge],
                marker,
                color=colour,
                markerfacecolor=face,
                markersize=5,
            )
    ax.set_yticks(range(len(rows)), [_two_lines(name) for name, *_ in rows], fontsize=7)
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(-reach, reach), ylim=(len(rows) - 0.5, -0.5), xlabel=unit)
    ax.spines["left"].set_visible(False)
    ax.grid(visible=True, axis="x")
    ax.set_axisbelow(True)
    handles = [
        Line2D([], [], color=MISSING, marker="s", linewidth=1.8, label=labels[0]),
        Line2D([], [], color=CONTROL, marker="o", linewidth=1.8, label=labels[1]),
    ]
    figure.legend(handles=handles, loc="upper left", ncols=2)
    return to_svg(figure, key=key, alt=alt)


@dataclass(frozen=True, slots=True)
class Specified:
    """One estimate under one specification.

    Parameters
    ----------
    estimate : float
        Estimate in the unit of its panel.
    hit : bool
        Whether its corrected p is below alpha.
    choices : mapping of str to str
        The option that was chosen, by the kind of choice. All rows of a panel have the same kinds.
    ours : bool
        Whether this is the primary specification, on which the verdict rests.
    """

    estimate: float
    hit: bool
    choices: Mapping[str, str]
    ours: bool = False


@styled
def specification_curve(
    panels: Sequence[tuple[str, str, Sequence[Specified]]], *, key: str, alt: str
) -> str:
    """Draw the estimates of all specifications by size, above the choices of each.

    Parameters
    ----------
    panels : sequence of (str, str, sequence of Specified)
        Title, unit and estimates of each panel. At least one panel.
    key, alt : str
        Prefix of ids, and text alternative.

    Returns
    -------
    str
        SVG.

    Notes
    -----
    Simonsohn, Simmons & Nelson 2020, doi:10.1038/s41562-020-0912-z.
    """
    options = list(
        dict.fromkeys(
            (kind, chosen)
            for _, _, rows in panels
            for row in rows
            for kind, chosen in row.choices.items()
        )
    )
    options.sort(key=lambda option: option[0])
    low = 0.3 + 0.2 * len(options)
    top, upper, left = 0.62, 1.3, 2.0
    height = top + upper + 0.12 + low
    figure = Figure(figsize=(WIDTH, height))
    each = (WIDTH - left) / len(panels)
    for k, (title, unit, rows) in enumerate(panels):
        place = (left + k * each + 0.12) / WIDTH
        wide = (each - 0.5) / WIDTH
        above = figure.add_axes((place + 0.26 / WIDTH, (low + 0.12) / height, wide, upper / height))
        below = figure.add_axes((place + 0.26 / WIDTH, 0.08 / height, wide, (low - 0.1) / height))
        _curve(above, below, sorted(rows, key=lambda row: row.estimate), options)
        above.set_title(fill(short_name(title, 26), 13), fontsize=8, linespacing=1.0)
        if k == 0:
            above.set_ylabel(unit, fontsize=8)
            names = [short_name(f"{kind}: {chosen}", 34) for kind, chosen in options]
            below.set_yticks(range(len(options)), names, fontsize=7)
            below.tick_params(axis="y", length=0)
    handles = [
        Line2D([], [], color=TREATED, marker="o", linestyle="", label="corrected p below alpha"),
        Line2D(
            [], [], color=CONTROL, marker="o", markerfacecolor=PAPER, linestyle="",
            label="not below",
        ),
        Line2D(
            [], [], color=INK, marker="s", markerfacecolor="none", markersize=9, linestyle="",
            label="this report",
        ),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="upper left", ncols=3)
    return to_svg(figure, key=key, alt=alt)


def _curve(
    above: Axes, below: Axes, rows: Sequence[Specified], options: Sequence[tuple[str, str]]
) -> None:
    above.axhline(0, color=SOFT, linewidth=0.8)
    for x, row in enumerate(rows):
        colour = TREATED if row.hit else CONTROL
        face = colour if row.hit else PAPER
        above.plot([x], [row.estimate], "o", color=colour, markerfacecolor=face, markersize=4.5)
        if row.ours:
            above.plot([x], [row.estimate], "s", color=INK, markerfacecolor="none", markersize=10)
        for y, (kind, chosen) in enumerate(options):
            if row.choices.get(kind) == chosen:
                below.plot([x], [y], "s", color=INK if row.ours else SOFT, markersize=3.5)
    for ax in (above, below):
        ax.set_xlim(-0.7, len(rows) - 0.3)
        ax.set_xticks([])
    above.tick_params(labelsize=7)
    reach = 1.25 * max([abs(row.estimate) for row in rows] + [1e-9])
    above.set_ylim(-reach, reach)
    below.set(ylim=(len(options) - 0.4, -0.6), yticks=[])
    below.spines[["left", "bottom"]].set_visible(False)
