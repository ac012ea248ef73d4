"""Arrays -> figures as text of inline SVG: no files, no global state, same data same bytes.

Colours are written as CSS variables of the page, so that a figure follows light, dark and print.
Categories differ in shape or place as well as in colour (Okabe & Ito's colour-blind safe palette).
Heavy data (matrices, carpets, clouds of edges) are pixels inside the SVG, text stays text.
"""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from html import escape
from io import StringIO
from itertools import pairwise
from typing import ParamSpec

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

__all__ = [
    "ForestRow",
    "Spaghetti",
    "carpet",
    "change_by_strength",
    "circuit_forest",
    "circuit_values",
    "global_forest",
    "matrices",
    "motion",
    "quality_by_arm",
    "retained",
    "spaghetti",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
P = ParamSpec("P")

# Each colour stands for a CSS variable of the page; its value here is the light one.
_INK, _SOFT, _GRID, _PAPER = "#1b1f24", "#5a6470", "#d4d9df", "#fefefe"
_TREATED, _CONTROL, _REFERENCE, _LOST = "#d55e01", "#0072b3", "#018f68", "#cc79a8"
_VARIABLES = {
    _INK: "--ink",
    _SOFT: "--soft",
    _GRID: "--grid",
    _PAPER: "--paper",
    _TREATED: "--treated",
    _CONTROL: "--control",
    _REFERENCE: "--reference",
    _LOST: "--lost",
}
_ARMS = {"treated": (_TREATED, "o"), "control": (_CONTROL, "s"), "reference": (_REFERENCE, "D")}
_RC = {
    "axes.edgecolor": _SOFT,
    "axes.facecolor": "none",
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "image.composite_image": False,  # or images are resampled to the figure's dots per inch
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "circuitshift",
    "text.color": _INK,
    "text.parse_math": False,  # a dollar in somebody's label is a dollar
    "text.usetex": False,
    "xtick.color": _SOFT,
    "xtick.labelcolor": _INK,
    "xtick.labelsize": 8,
    "ytick.color": _SOFT,
    "ytick.labelcolor": _INK,
    "ytick.labelsize": 8,
}
_WIDTH = 7.4  # inches
_MAX_NAME = 34  # characters of a name in a figure; tables hold whole names
_MAX_LINES = 2500  # vector lines in a figure; beyond it they are drawn as pixels
_MAX_COLUMNS = 500  # pixels of a carpet along time
_LEVELS = 48  # colours of an image; more would only cost bytes


def _styled(draw: Callable[P, str]) -> Callable[P, str]:
    """Run a drawing function under the style of the house."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> str:
        with mpl.rc_context(_RC), warnings.catch_warnings():
            # The reader's browser has the glyph, or shows a box; measuring it here does not matter.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            return draw(*args, **kwargs)

    return inner


def _text(figure: Figure, *, key: str, alt: str) -> str:
    """Make a figure into SVG for an HTML page; `key` makes its ids unique there."""
    buffer = StringIO()
    figure.savefig(buffer, format="svg", dpi=150)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Metadata hold the date, the style would reach beyond the figure.
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    used = {name for pair in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg) for name in pair}
    svg = re.sub(r'\sid="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r'(\sid="|href="#|url\(#)', lambda m: f"{m[1]}{key}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    width, height = figure.get_size_inches() * 72
    head = (
        f'<svg class="plot" role="img" aria-label="{escape(_clean(alt))}" '
        f'viewBox="0 0 {width:g} {height:g}">'
    )
    return head + svg[svg.index(">") + 1 :].strip()


def _clean(text: str) -> str:
    """Replace characters that must not stand in XML."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]", " ", text)


def _name(text: str, most: int = _MAX_NAME) -> str:
    text = _clean(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _canvas(width: float, height: float, edges: tuple[float, float, float, float]) -> Figure:
    """Make a figure with margins in inches: left, right, top, bottom."""
    left, right, top, bottom = edges
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        top=1 - top / height,
        bottom=bottom / height,
    )
    return figure


@_styled
def motion(fd_mm: Floats, keep: Bools, *, threshold_mm: float | None, key: str, alt: str) -> str:
    """Framewise displacement over volumes, with what was not used shaded.

    Parameters
    ----------
    fd_mm : ndarray, shape (n_volumes,)
        Framewise displacement, mm; NaN where unknown (always the first).
    keep : ndarray of bool, shape (n_volumes,)
        Volumes that entered connectivity.
    threshold_mm : float, optional
        Censoring threshold, mm.
    key, alt : str
        Prefix of ids, and description for those who cannot see it.

    Returns
    -------
    str
        SVG.
    """
    figure = _canvas(_WIDTH, 1.9, (0.6, 0.15, 0.3, 0.45))
    ax = figure.add_subplot()
    volumes = np.arange(1, len(fd_mm) + 1)
    for start, stop in _stretches(~keep):
        ax.axvspan(start + 0.5, stop + 0.5, color=_LOST, alpha=0.35, linewidth=0)
    ax.plot(volumes, fd_mm, color=_CONTROL, linewidth=1)
    legend = [Line2D([], [], color=_CONTROL, linewidth=1, label="framewise displacement")]
    if not keep.all():
        legend.append(Line2D([], [], color=_LOST, linewidth=6, alpha=0.35, label="not used"))
    known = fd_mm[np.isfinite(fd_mm)]
    top = max(0.5, 1.08 * float(known.max())) if known.size else 0.5
    if threshold_mm is not None:
        ax.axhline(threshold_mm, color=_INK, linewidth=0.9, linestyle=(0, (4, 3)))
        label = f"threshold {threshold_mm:g} mm"
        legend.append(Line2D([], [], color=_INK, linestyle=(0, (4, 3)), label=label))
        top = max(top, 1.3 * threshold_mm)
    ax.set(xlim=(0.5, len(fd_mm) + 0.5), ylim=(0, top), xlabel="volume", ylabel="mm")
    _legend_above(ax, legend)
    return _text(figure, key=key, alt=alt)


def _legend_above(ax: Axes, handles: Sequence[Artist], *, y: float = 1.0) -> None:
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, y),
        ncols=max(1, len(handles)),
        borderaxespad=0.2,
        handlelength=2.2,
        columnspacing=1.4,
    )


def _stretches(mask: Bools) -> list[tuple[int, int]]:
    """Find starts and ends (exclusive) of the runs of True."""
    steps = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return list(
        zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True)
    )


@_styled
def retained(
    labels: Sequence[str], counts: Sequence[tuple[int, int, int]], *, key: str, alt: str
) -> str:
    """Volumes of each run: used, censored, dropped at its start.

    Parameters
    ----------
    labels : sequence of str
        One per run.
    counts : sequence of (int, int, int)
        Retained, censored and dummy volumes.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    figure = _canvas(_WIDTH, 0.85 + 0.27 * len(labels), (2.9, 0.2, 0.3, 0.45))
    ax = figure.add_subplot()
    rows = np.arange(len(labels))
    parts = (("used", _CONTROL, 1.0), ("censored for motion", _LOST, 1.0), ("start", _SOFT, 0.7))
    left = np.zeros(len(labels))
    for k, (label, colour, alpha) in enumerate(parts):
        width = np.array([c[k] for c in counts], float)
        ax.barh(rows, width, left=left, color=colour, alpha=alpha, height=0.62, label=label)
        left += width
    ax.set_yticks(rows, [_name(label, 42) for label in labels])
    ax.set(ylim=(len(labels) - 0.5, -0.5), xlabel="volumes")
    ax.tick_params(axis="y", length=0)
    _legend_above(ax, ax.get_legend_handles_labels()[0])
    return _text(figure, key=key, alt=alt)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Regions sorted by network."""

    order: npt.NDArray[np.intp]
    names: tuple[str, ...]
    starts: npt.NDArray[np.intp]  # (n_blocks + 1,)

    @classmethod
    def of(cls, networks: Sequence[str]) -> "_Blocks":
        names = list(dict.fromkeys(networks))
        names.sort(
            key=lambda name: name == ""
        )  # the unnamed come last, the others keep their order
        rank = np.array([names.index(name) for name in networks], np.intp)
        order = np.argsort(rank, kind="stable")
        starts = np.searchsorted(rank[order], np.arange(len(names) + 1))
        return cls(order, tuple(name or "no network" for name in names), starts)

    def label(self, ax: Axes, height_in: float) -> None:
        """Name the blocks left of an axis whose y counts regions; keep names apart."""
        if len(self.names) == 1:
            ax.set_ylabel(f"{len(self.order)} regions")
            return
        total = float(self.starts[-1])
        most = max(1, int(height_in / 0.115))
        large = sorted(np.argsort(-np.diff(self.starts), kind="stable")[:most].tolist())
        middle = np.array([(self.starts[k] + self.starts[k + 1]) / 2 - 0.5 for k in large])
        places = _apart(middle, gap=0.115 / height_in * total, top=total - 0.5)
        width = ax.get_position().width * _WIDTH
        for k, at, place in zip(large, middle, places, strict=True):
            ax.annotate(
                _name(self.names[k], 20),
                xy=(0, at),
                xycoords=("axes fraction", "data"),
                xytext=(-0.12 / width, place),
                textcoords=("axes fraction", "data"),
                ha="right",
                va="center",
                fontsize=7,
                annotation_clip=False,
                arrowprops={
                    "arrowstyle": "-",
                    "color": _SOFT,
                    "lw": 0.5,
                    "shrinkA": 1,
                    "shrinkB": 0,
                },
            )


def _apart(wanted: Floats, *, gap: float, top: float) -> Floats:
    """Move sorted places so that neighbours are at least `gap` apart, not beyond `top`."""
    out = wanted.copy()
    for k in range(1, len(out)):
        out[k] = max(out[k], out[k - 1] + gap)
    if len(out):
        out[-1] = min(out[-1], top)
    for k in range(len(out) - 2, -1, -1):
        out[k] = min(out[k], out[k + 1] - gap)
    return out


def _colours(name: str) -> Colormap:
    return mpl.colormaps[name].resampled(_LEVELS).with_extremes(bad="#9aa0a6")


@_styled
def carpet(series: Floats, keep: Bools, networks: Sequence[str], *, key: str, alt: str) -> str:
    """Regional series as rows of grey, sorted by network; what was not used stays empty.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_regions)
        Of all volumes, or of those that `keep` marks.
    keep : ndarray of bool, shape (n_volumes,)
        May be empty when unknown.
    networks : sequence of str
        One per region.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    whole = _all_volumes(np.asarray(series, float), keep)
    blocks = _Blocks.of(networks)
    n_volumes, n_regions = whole.shape
    step = -(-n_volumes // _MAX_COLUMNS)
    image = _standardised(whole)[:, blocks.order]
    image = _block_means(image, step).T
    height = min(3.4, max(1.4, n_regions / 90))
    figure = _canvas(_WIDTH, height + 0.6, (1.5, 0.95, 0.15, 0.45))
    ax = figure.add_subplot()
    extent = (0.5, n_volumes + 0.5, n_regions - 0.5, -0.5)
    drawn = ax.imshow(
        image,
        cmap=_colours("gray"),
        vmin=-2.5,
        vmax=2.5,
        aspect="auto",
        interpolation="none",
        extent=extent,
    )
    for start in blocks.starts[1:-1]:
        ax.axhline(start - 0.5, color=_TREATED, linewidth=0.6)
    ax.set(yticks=[], xlabel="volume")
    blocks.label(ax, height)
    bar = figure.add_axes((1 - 0.8 / _WIDTH, 0.45 / (height + 0.6), 0.12 / _WIDTH, 0.62))
    figure.colorbar(drawn, cax=bar).set_label("standard deviations")
    return _text(figure, key=key, alt=alt)


def _all_volumes(series: Floats, keep: Bools) -> Floats:
    """Put retained volumes back at their place; the others are NaN."""
    if len(series) == len(keep) or int(keep.sum()) != len(series):
        return series
    out = np.full((len(keep), series.shape[1]), np.nan)
    out[keep] = series
    return out


def _known(values: Floats, axis: int) -> tuple[Floats, Floats]:
    """Mean and standard deviation over what is known, NaN (without a warning) where nothing is."""
    there = np.isfinite(values)
    count = there.sum(axis=axis, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(there, values, 0.0).sum(axis=axis, keepdims=True) / count
        spread = np.sqrt(
            np.where(there, values - mean, 0.0).__pow__(2).sum(axis, keepdims=True) / count
        )
    return mean, spread


def _standardised(series: Floats) -> Floats:
    mean, spread = _known(series, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((series - mean) / np.where(spread > 0, spread, np.nan))


def _block_means(values: Floats, step: int) -> Floats:
    """Mean of every `step` rows."""
    if step == 1:
        return values
    rows = -(-len(values) // step)
    padded = np.full((rows * step, values.shape[1]), np.nan)
    padded[: len(values)] = values
    return _known(padded.reshape(rows, step, -1), 1)[0][:, 0]


@_styled
def matrices(
    panels: Sequence[tuple[str, Floats]], networks: Sequence[str], *, key: str, alt: str
) -> str:
    """Edge matrices side by side, one order of regions, one colour scale.

    Parameters
    ----------
    panels : sequence of (str, ndarray of shape (n_regions, n_regions))
        Title and Fisher z.
    networks : sequence of str
        One per region.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    blocks = _Blocks.of(networks)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    side, left, gap, foot = (1.95 if columns == 3 else 2.4), 1.3, 0.1, 0.5
    height = rows * (side + 0.3) + foot
    figure = Figure(figsize=(_WIDTH, height))
    limit = _limit([matrix for _, matrix in panels])
    scale = ScalarMappable(Normalize(-limit, limit), _colours("RdBu_r"))
    for k, (title, matrix) in enumerate(panels):
        row, column = divmod(k, columns)
        x, y = left + column * (side + gap), height - (row + 1) * (side + 0.3)
        ax = figure.add_axes((x / _WIDTH, y / height, side / _WIDTH, side / height))
        image = np.array(matrix, float)[np.ix_(blocks.order, blocks.order)]
        np.fill_diagonal(image, np.nan)
        ax.imshow(image, cmap=scale.cmap, vmin=-limit, vmax=limit, interpolation="none")
        for start in blocks.starts[1:-1]:
            ax.axhline(start - 0.5, color=_INK, linewidth=0.3)
            ax.axvline(start - 0.5, color=_INK, linewidth=0.3)
        ax.set(xticks=[], yticks=[])
        ax.set_title(_name(title, 30), fontsize=9)
        if column == 0:
            blocks.label(ax, side)
    bar = figure.add_axes((left / _WIDTH, 0.36 / height, side / _WIDTH, 0.08 / height))
    figure.colorbar(scale, cax=bar, orientation="horizontal")
    bar.text(1.06, 0.5, "Fisher z", transform=bar.transAxes, va="center", fontsize=8)
    return _text(figure, key=key, alt=alt)


def _limit(arrays: Sequence[Floats]) -> float:
    """Symmetric colour limit that the strongest edges reach: 98th percentile, rounded up."""
    values = np.concatenate([np.abs(a[np.isfinite(a)]) for a in map(np.asarray, arrays)])
    return max(0.1, float(np.ceil(10 * np.percentile(values, 98)) / 10)) if values.size else 1.0


@_styled
def circuit_values(
    circuits: Mapping[str, Mapping[str, float]], sessions: Sequence[str], *, key: str, alt: str
) -> str:
    """One row per circuit, one mark per session.

    Parameters
    ----------
    circuits : mapping of str to mapping of str to float
        Mean Fisher z by circuit and session.
    sessions : sequence of str
        In order of time.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    names = list(circuits)
    figure = _canvas(_WIDTH, 0.95 + 0.24 * len(names), (2.7, 0.2, 0.35, 0.45))
    ax = figure.add_subplot()
    rows = np.arange(len(names))
    values = np.array([[circuits[n].get(s, np.nan) for s in sessions] for n in names], float)
    values = values.reshape(len(names), len(sessions))
    ax.axvline(0, color=_SOFT, linewidth=0.8)
    known = np.isfinite(values)
    for row in rows[known.sum(axis=1) > 1]:
        there = values[row][known[row]]
        ax.plot([there.min(), there.max()], [row, row], color=_GRID, linewidth=3, zorder=1)
    looks = ((_CONTROL, "o"), (_TREATED, "D"), (_REFERENCE, "s"), (_LOST, "^"), (_SOFT, "v"))
    for k, session in enumerate(sessions):
        colour, marker = looks[k % len(looks)]
        label = _name(f"ses-{session}" if session else "session")
        ax.plot(values[:, k], rows, marker, color=colour, markersize=5, label=label, zorder=2)
    ax.set_yticks(rows, [_name(name) for name in names])
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel="mean Fisher z over the circuit's edges")
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=True, axis="x")
    _legend_above(ax, ax.get_legend_handles_labels()[0][:5])
    return _text(figure, key=key, alt=alt)


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
        ax.text(0, y, "not tested", ha="center", va="center", fontsize=8, color=_SOFT)
        return
    colour = _TREATED if row.hit else _CONTROL
    ax.plot([row.low, row.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    face = colour if row.hit else _PAPER
    ax.plot([row.estimate], [y], "o", color=colour, markerfacecolor=face, markersize=6)


_TESTED = (
    Line2D([], [], color=_TREATED, marker="o", linewidth=2, label="corrected p below alpha"),
    Line2D(
        [], [], color=_CONTROL, marker="o", markerfacecolor=_PAPER, linewidth=2, label="not below"
    ),
)
_ZONE = Line2D([], [], color=_SOFT, linewidth=7, alpha=0.2, label="smaller than of interest")


@_styled
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
    figure = Figure(figsize=(_WIDTH, height))
    for k, row in enumerate(rows):
        bottom = height - top - (k + 1) * each + 0.5
        ax = figure.add_axes((1.5 / _WIDTH, bottom / height, 3.3 / _WIDTH, 0.4 / height))
        ends = [v for v in (row.low, row.high, row.bound, -row.bound) if np.isfinite(v)]
        reach = 1.15 * max([abs(v) for v in ends] or [1.0]) or 1.0
        if np.isfinite(row.bound):
            ax.axvspan(-row.bound, row.bound, color=_SOFT, alpha=0.2, linewidth=0)
        ax.axvline(0, color=_SOFT, linewidth=0.8)
        _mark(ax, row, 0)
        ax.set(xlim=(-reach, reach), ylim=(-1, 1), yticks=[])
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(row.unit, fontsize=8, labelpad=1)
        ax.text(-0.03, 0.5, _name(row.name, 20), transform=ax.transAxes, ha="right", va="center")
        ax.text(1.03, 0.5, row.text, transform=ax.transAxes, va="center", fontsize=8)
        if k == 0:
            _legend_above(ax, [*_TESTED, _ZONE], y=1.05)
    return _text(figure, key=key, alt=alt)


_HINTS = {"increase": "▲", "decrease": "▼"}


@_styled
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
    figure = _canvas(_WIDTH, 1.15 + 0.24 * len(rows), (2.75, 1.95, 0.65, 0.45))
    ax = figure.add_subplot()
    ends = [v for r in rows for v in (r.low, r.high, r.second, r.bound) if np.isfinite(v)]
    reach = 1.1 * max([abs(v) for v in ends] or [1.0]) or 1.0
    if np.isfinite(rows[0].bound):
        ax.axvspan(-rows[0].bound, rows[0].bound, color=_SOFT, alpha=0.2, linewidth=0)
    ax.axvline(0, color=_SOFT, linewidth=0.8)
    across = ax.get_yaxis_transform()
    for y, row in enumerate(rows):
        if np.isfinite(row.second):
            ax.plot([row.second], [y + 0.02], "|", color=_INK, markersize=9, markeredgewidth=1.4)
        _mark(ax, row, y)
        ax.text(1.03, y, row.text, transform=across, va="center", fontsize=7.5)
        ax.text(
            -0.03, y, _HINTS.get(row.hint, ""), transform=across, ha="center", va="center",
            fontsize=8, color=_SOFT,
        )  # fmt: skip
    ax.set_yticks(range(len(rows)), [_name(row.name) for row in rows])
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
        [], [], color=_INK, marker="|", linestyle="", markersize=9, label="node-adjusted"
    )
    handles = [*_TESTED, _ZONE]
    if any(np.isfinite(row.second) for row in rows):
        handles.append(second)
    figure.legend(handles=handles, loc="upper left", ncols=4, handlelength=1.6, columnspacing=1.2)
    ax.text(
        1.03, -0.95, "estimate [95 % CI]  p", transform=across, fontsize=7.5, color=_SOFT,
        va="center",
    )  # fmt: skip
    return _text(figure, key=key, alt=alt)


@_styled
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
    figure = _canvas(_WIDTH, height, (0.65, 0.15, 0.62, 0.45))
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
        ax.plot(ends, level + slope * ends, color=_CONTROL, linewidth=1.8)
        ax.axhline(0, color=_SOFT, linewidth=0.8, zorder=0)
        ax.set(xlim=box[:2], ylim=box[2:])
        _circuit_marks(ax, typical, change, members=members, line=(slope, level))
        ax.set_title(title)
    figure.supxlabel("typical strength of the edge, Fisher z", fontsize=9, y=0.02)
    axes[0].set_ylabel("mean change, Fisher z")
    handles = [
        Line2D([], [], color=_SOFT, linewidth=7, alpha=0.5, label="background edges"),
        Line2D([], [], color=_CONTROL, linewidth=1.8, label="global line"),
        Line2D([], [], color=_INK, marker=".", linestyle="", label="background, binned mean"),
        Line2D(
            [], [], color=_TREATED, marker="D", linewidth=1, label="circuit, distance to the line"
        ),
    ]
    figure.legend(handles=handles, loc="upper left", ncols=4, columnspacing=1.2, handlelength=1.6)
    return _text(figure, key=key, alt=alt)


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
        ax.plot([x[part].mean()], [y[part].mean()], ".", color=_INK, markersize=5)


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
        ax.plot([x, x], [on_line, y], color=_TREATED, linewidth=1)
        ax.plot([x], [y], "D", color=_TREATED, markeredgecolor=_PAPER, markersize=5.5)
        place = ((x - left) / (right - left), (y - low) / (high - low))
        crowded = any(
            abs(place[0] - other[0]) < 0.45 and abs(place[1] - other[1]) < 0.09 for other in named
        )
        if len(named) < 3 and not crowded:
            named.append(place)
            ax.annotate(
                _name(name, 24),
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


@_styled
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
    figure = Figure(figsize=(_WIDTH, height))
    n_lines = sum(len(values) for c in circuits for values in c.arms.values())
    left, each = 0.5, (_WIDTH - 0.6) / 4
    for k, circuit in enumerate(circuits):
        row, column = divmod(k, columns)
        bottom = height - 0.45 - (row + 1) * 1.75 + 0.3
        ax = figure.add_axes(
            ((left + column * each) / _WIDTH, bottom / height, (each - 0.42) / _WIDTH, 1.2 / height)
        )
        _people(ax, circuit, as_pixels=n_lines > _MAX_LINES)
        ax.set(xlim=(-0.3, 1.3))
        ax.set_xticks([0, 1], [_name(s, 9) for s in sessions])
        ax.tick_params(labelsize=7)
        title = _name(circuit.name, 24) + (" *" if circuit.hit else "")
        ax.set_title(title, fontsize=8, pad=3)
        if column == 0:
            ax.set_ylabel("Fisher z", fontsize=8, labelpad=1)
    shown = [arm for arm in _ARMS if any(arm in c.arms for c in circuits)]
    handles = [
        Line2D([], [], color=_ARMS[a][0], marker=_ARMS[a][1], linewidth=2, label=f"{a}, mean")
        for a in shown
    ]
    if any(c.reference.size for c in circuits):
        handles.append(
            Line2D(
                [], [], color=_REFERENCE, linewidth=7, alpha=0.25, label="reference, mean ± 1 SD"
            )
        )
    figure.legend(handles=handles, loc="upper left", ncols=3)
    return _text(figure, key=key, alt=alt)


def _people(ax: Axes, circuit: Spaghetti, *, as_pixels: bool) -> None:
    healthy = circuit.reference[np.isfinite(circuit.reference)]
    if healthy.size > 1:
        mean, spread = float(healthy.mean()), float(healthy.std(ddof=1))
        ax.axhspan(mean - spread, mean + spread, color=_REFERENCE, alpha=0.18, linewidth=0)
        ax.axhline(mean, color=_REFERENCE, linewidth=1)
    for number, (arm, values) in enumerate(circuit.arms.items()):
        colour, marker = _ARMS.get(arm, (_SOFT, "o"))
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


@_styled
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
    figure = _canvas(_WIDTH, 3.0, (0.6, 0.1, 0.2, 1.05))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(wspace=0.42)
    for ax, (label, columns) in zip(axes, panels, strict=True):
        for k, (arm, _, values) in enumerate(columns):
            colour, marker = _ARMS.get(arm, (_SOFT, "o"))
            known = np.sort(values[np.isfinite(values)])
            spread = (np.arange(len(known)) * 0.618 % 1 - 0.5) * 0.5
            ax.plot(k + spread, known, marker, color=colour, markersize=3, alpha=0.6)
            if known.size:
                ax.plot([k - 0.36, k + 0.36], [np.median(known)] * 2, color=_INK, linewidth=1.6)
        names = [_name(f"{arm} {session}".strip(), 20) for arm, session, _ in columns]
        ax.set_xticks(range(len(columns)), names, rotation=40, ha="right", rotation_mode="anchor")
        ax.set(xlim=(-0.6, n_columns - 0.4), ylabel=label)
        ax.set_ylim(bottom=0)
    return _text(figure, key=key, alt=alt)
