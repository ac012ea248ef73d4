"""Forest plots of a meta-analysis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

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

__all__ = ["PooledRow", "StudyRow", "pooled_overview", "study_forest"]


@dataclass(frozen=True, slots=True)
class StudyRow:
    """The estimate of one study in a forest plot.

    Parameters
    ----------
    name : str
        Name of the study.
    estimate, low, high : float
        Estimate and 95 % interval; NaN if the study has none.
    weight : float
        Share in the pooled estimate, 0 to 1.
    text : str
        Numbers next to the mark, or the reason why there is no estimate.
    """

    name: str
    estimate: float
    low: float
    high: float
    weight: float
    text: str


@dataclass(frozen=True, slots=True)
class PooledRow:
    """A pooled estimate.

    Parameters
    ----------
    name : str
        Name of the row.
    estimate, low, high : float
        Mean effect and 95 % confidence interval; NaN if it was not pooled.
    new_low, new_high : float
        95 % prediction interval of a new study.
    text : str
        Numbers next to the mark.
    hit : bool
        Whether its corrected p is below .05.
    """

    name: str
    estimate: float
    low: float
    high: float
    new_low: float
    new_high: float
    text: str
    hit: bool = False


def _diamond(ax: Axes, row: PooledRow, y: float) -> None:
    """Draw the prediction interval as a line, and the confidence interval as a diamond."""
    if not np.isfinite(row.estimate):
        ax.text(0, y, "not pooled", ha="center", va="center", fontsize=8, color=SOFT)
        return
    colour = TREATED if row.hit else CONTROL
    ax.plot([row.new_low, row.new_high], [y, y], color=colour, linewidth=1.2, linestyle=":")
    corners = [(row.low, y), (row.estimate, y - 0.3), (row.high, y), (row.estimate, y + 0.3)]
    ax.fill(*zip(*corners, strict=True), facecolor=colour if row.hit else PAPER, edgecolor=colour)


def _reach(ends: Sequence[float], core: Sequence[float]) -> tuple[float, float]:
    """Return the limits of the axis: all marks, but intervals at most three times their spread."""
    inner = [value for value in core if np.isfinite(value)] or [0.0]
    low, high = min(0.0, *inner), max(0.0, *inner)
    width = (high - low) or 1.0
    outer = [value for value in ends if np.isfinite(value)] or [0.0]
    low = max(min(low, *outer), low - 1.0 * width)
    high = min(max(high, *outer), high + 1.0 * width)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _finish(ax: Axes, texts: Sequence[str], unit: str) -> None:
    across = ax.get_yaxis_transform()
    for y, text in enumerate(texts):
        ax.text(1.03, y, text, transform=across, va="center", fontsize=7.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(unit)
    ax.spines["left"].set_visible(False)
    ax.grid(visible=True, axis="x")
    ax.set_axisbelow(True)


_ZONE = Line2D([], [], color=SOFT, linewidth=7, alpha=0.2, label="smallest effect of interest")
_NEW = Line2D([], [], color=SOFT, linewidth=1.2, linestyle=":", label="95 % prediction interval")


def _mean_handle() -> Line2D:
    return Line2D(
        [], [], color=CONTROL, marker="D", markerfacecolor=PAPER, linestyle="",
        label="mean, 95 % CI",
    )  # fmt: skip


@styled
def study_forest(
    rows: Sequence[StudyRow], mean: PooledRow, *, bound: float, unit: str, key: str, alt: str
) -> str:
    """Draw the estimates of all studies for one term, and their mean.

    Parameters
    ----------
    rows : sequence of StudyRow
        Studies, at least one; studies without an estimate are shown with the reason.
    mean : PooledRow
        Mean effect.
    bound : float
        Smallest effect of interest; NaN if there is no common one.
    unit : str
        Unit of the axis.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    n = len(rows)
    figure = canvas(WIDTH, 1.2 + 0.26 * (n + 1), (1.9, 2.35, 0.55, 0.5))
    ax = figure.add_subplot()
    if np.isfinite(bound):
        ax.axvspan(-bound, bound, color=SOFT, alpha=0.2, linewidth=0)
    ax.axvline(0, color=SOFT, linewidth=0.8)
    ax.axhline(n - 0.5, color=SOFT, linewidth=0.6)
    largest = max([row.weight for row in rows if np.isfinite(row.weight)] or [1.0])
    for y, row in enumerate(rows):
        if np.isfinite(row.estimate):
            ax.plot([row.low, row.high], [y, y], color=INK, linewidth=1.2, solid_capstyle="butt")
            size = 3 + 5 * np.sqrt(max(row.weight, 0.0) / largest) if row.weight > 0 else 4
            ax.plot([row.estimate], [y], "s", color=INK, markersize=size)
    _diamond(ax, mean, n)
    ends = [end for row in rows for end in (row.low, row.high)]
    core = [*(row.estimate for row in rows), mean.low, mean.high, mean.estimate]
    names = [*(row.name for row in rows), mean.name]
    ax.set_yticks(range(n + 1), [short_name(name, 24) for name in names])
    _finish(ax, [*(row.text for row in rows), mean.text], unit)
    ax.set(
        xlim=_reach([*ends, mean.new_low, mean.new_high, -bound, bound], core),
        ylim=(n + 0.6, -0.6),
    )
    study = Line2D([], [], color=INK, marker="s", linewidth=1.2, label="study, 95 % CI")
    handles = [study, _mean_handle(), _NEW, *([_ZONE] if np.isfinite(bound) else [])]
    figure.legend(handles=handles, loc="upper left", ncols=4, handlelength=1.8, columnspacing=1.2)
    return to_svg(figure, key=key, alt=alt)


@styled
def pooled_overview(rows: Sequence[PooledRow], *, key: str, alt: str) -> str:
    """Draw the mean effects of all terms in units of the smallest effect of interest.

    Parameters
    ----------
    rows : sequence of PooledRow
        Terms, at least one.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    n = len(rows)
    figure = canvas(WIDTH, 1.15 + 0.27 * n, (2.5, 1.9, 0.5, 0.5))
    ax = figure.add_subplot()
    ax.axvspan(-1, 1, color=SOFT, alpha=0.2, linewidth=0)
    ax.axvline(0, color=SOFT, linewidth=0.8)
    for y, row in enumerate(rows):
        _diamond(ax, row, y)
    ends = [end for row in rows for end in (row.new_low, row.new_high)]
    core = [v for row in rows for v in (row.estimate, row.low, row.high)]
    ax.set_yticks(range(n), [short_name(row.name) for row in rows])
    _finish(ax, [row.text for row in rows], "units of the smallest effect of interest")
    ax.set(xlim=_reach([*ends, -1.2, 1.2], [*core, -1.2, 1.2]), ylim=(n - 0.4, -0.6))
    handles = [
        Line2D(
            [], [], color=TREATED, marker="D", linestyle="", label="mean, corrected p below .05"
        ),
        _mean_handle(), _NEW, _ZONE,
    ]  # fmt: skip
    figure.legend(handles=handles, loc="upper left", ncols=4, handlelength=1.6, columnspacing=1.0)
    return to_svg(figure, key=key, alt=alt)
