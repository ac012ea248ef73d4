"""Figures of one participant: motion, volumes, carpets, edge matrices, circuit values.

Matrices and carpets are drawn as pixels inside the SVG; text remains text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.reports.figures.style import (
    CONTROL,
    GRID,
    INK,
    MISSING,
    REFERENCE,
    SOFT,
    TREATED,
    WIDTH,
    canvas,
    legend_above,
    legend_columns,
    short_name,
    styled,
    to_svg,
)

__all__ = [
    "Motion",
    "NetworkOrder",
    "block_means",
    "carpet",
    "circuit_values",
    "colours",
    "matrices",
    "motion",
    "retained",
]

_MAX_COLUMNS = 500  # pixels of a carpet along time
_LEVELS = 48  # colours of an image; more would only increase the size of the file


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Motion of one run.

    Parameters
    ----------
    title : str
        Name of the run.
    fd_mm : ndarray, shape (n_volumes,)
        Framewise displacement, mm; NaN where not available (always in the first volume).
    keep : ndarray of bool, shape (n_volumes,)
        Volumes that were used to compute connectivity.
    before : ndarray, shape (n_volumes,), optional
        Standardised DVARS of the preprocessed images.
    after : ndarray, shape (n_volumes,), optional
        Root mean square over regions of the change of denoised series from the previous volume.
    """

    title: str
    fd_mm: Floats
    keep: Bools
    before: Floats | None = None
    after: Floats | None = None


_DVARS_LIMIT = 1.5  # default of fMRIPrep (--dvars-spike-threshold)


@styled
def motion(runs: Sequence[Motion], *, threshold_mm: float | None, key: str, alt: str) -> str:
    """Draw displacement and DVARS of up to two runs, with shading of volumes that were not used.

    Parameters
    ----------
    runs : sequence of Motion
        Motion of each run; each measure has a common scale for all runs.
    threshold_mm : float, optional
        Censoring threshold, mm.
    key, alt : str
        Prefix of ids, and text alternative.

    Returns
    -------
    str
        SVG.
    """
    kinds: list[tuple[str, list[Floats | None], float | None]] = [
        ("displacement, mm", [run.fd_mm for run in runs], threshold_mm)
    ]
    if any(run.before is not None for run in runs):
        kinds.append(("DVARS before", [run.before for run in runs], _DVARS_LIMIT))
    if any(run.after is not None for run in runs):
        kinds.append(("DVARS after", [run.after for run in runs], None))
    height = 0.55 + 0.4 + 1.15 * len(kinds)
    figure = canvas(WIDTH, height, (0.6, 0.12, 0.55, 0.45))
    axes = figure.subplots(
        len(kinds),
        len(runs),
        sharex="col",
        sharey="row",
        squeeze=False,
        gridspec_kw={"hspace": 0.16, "wspace": 0.06},
    )
    for row, (name, values, limit) in enumerate(kinds):
        for column, (run, line) in enumerate(zip(runs, values, strict=True)):
            _trace(axes[row, column], run, line, limit)
        axes[row, 0].set_ylabel(name, fontsize=7.5)
        axes[row, 0].set_ylim(0, _top([v for v in values if v is not None], limit))
    for column, run in enumerate(runs):
        axes[0, column].set_title(short_name(run.title, 42), fontsize=8.5, loc="left", pad=4)
        axes[-1, column].set_xlabel("volume")
    legend = [Line2D([], [], color=CONTROL, linewidth=1, label="value")]
    if threshold_mm is not None:
        label = f"censored above {threshold_mm:g} mm"
        legend.append(Line2D([], [], color=INK, linestyle=(0, (4, 3)), label=label))
    if len(kinds) > 1 and kinds[1][2] is not None:
        label = f"DVARS {_DVARS_LIMIT:g}: marked by fMRIPrep, not censored"
        legend.append(Line2D([], [], color=SOFT, linestyle=(0, (1, 2)), label=label))
    if not all(run.keep.all() for run in runs):
        legend.append(Line2D([], [], color=MISSING, linewidth=6, alpha=0.35, label="not used"))
    legend_above(axes[0, 0], legend, y=1 + 0.24 / 1.15)
    return to_svg(figure, key=key, alt=alt)


def _trace(ax: Axes, run: Motion, line: Floats | None, limit: float | None) -> None:
    for start, stop in _stretches(~run.keep):
        ax.axvspan(start + 0.5, stop + 0.5, color=MISSING, alpha=0.35, linewidth=0)
    if line is None:
        ax.text(0.5, 0.5, "not available", transform=ax.transAxes, ha="center", va="center")
    else:
        ax.plot(np.arange(1, len(line) + 1), line, color=CONTROL, linewidth=0.9)
    if limit is not None:
        dvars = limit == _DVARS_LIMIT
        look = (SOFT, (0, (1, 2))) if dvars else (INK, (0, (4, 3)))
        ax.axhline(limit, color=look[0], linewidth=0.9, linestyle=look[1])
    ax.set_xlim(0.5, len(run.keep) + 0.5)


def _top(lines: Sequence[Floats], limit: float | None) -> float:
    available = np.concatenate([line[np.isfinite(line)] for line in lines])
    top = max(0.5, 1.08 * float(available.max())) if available.size else 0.5
    return top if limit is None else max(top, 1.3 * limit)


def _stretches(mask: Bools) -> list[tuple[int, int]]:
    """Return starts and ends (exclusive) of the intervals that are True."""
    steps = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return list(
        zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True)
    )


@styled
def retained(
    labels: Sequence[str], counts: Sequence[tuple[int, int, int]], *, key: str, alt: str
) -> str:
    """Draw the numbers of volumes of each run: used, censored, and discarded at the start.

    Parameters
    ----------
    labels : sequence of str
        Names of the runs.
    counts : sequence of (int, int, int)
        Numbers of retained, censored and dummy volumes of each run.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    figure = canvas(WIDTH, 0.85 + 0.27 * len(labels), (2.9, 0.2, 0.3, 0.45))
    ax = figure.add_subplot()
    rows = np.arange(len(labels))
    parts = (
        ("used", CONTROL, 1.0),
        ("censored for motion", MISSING, 1.0),
        ("discarded at start", SOFT, 0.7),
    )
    left = np.zeros(len(labels))
    for k, (label, colour, alpha) in enumerate(parts):
        width = np.array([c[k] for c in counts], float)
        ax.barh(rows, width, left=left, color=colour, alpha=alpha, height=0.62, label=label)
        left += width
    ax.set_yticks(rows, [short_name(label, 42) for label in labels])
    ax.set(ylim=(len(labels) - 0.5, -0.5), xlabel="volumes")
    ax.tick_params(axis="y", length=0)
    legend_above(ax, ax.get_legend_handles_labels()[0])
    return to_svg(figure, key=key, alt=alt)


@dataclass(frozen=True, slots=True)
class NetworkOrder:
    """Regions sorted by network.

    Parameters
    ----------
    order : ndarray of int, shape (n_regions,)
        Positions of the regions, sorted by network.
    names : tuple of str
        Names of the networks, in the order of `order`.
    starts : ndarray of int, shape (n_networks + 1,)
        Start of each network in `order`, and the number of regions.
    """

    order: npt.NDArray[np.intp]
    names: tuple[str, ...]
    starts: npt.NDArray[np.intp]

    @classmethod
    def of(cls, networks: Sequence[str]) -> "NetworkOrder":
        """Sort regions by the first occurrence of their network, with unnamed networks last."""
        names = list(dict.fromkeys(networks))
        names.sort(key=lambda name: name == "")
        rank = np.array([names.index(name) for name in networks], np.intp)
        order = np.argsort(rank, kind="stable")
        starts = np.searchsorted(rank[order], np.arange(len(names) + 1))
        return cls(order, tuple(name or "no network" for name in names), starts)

    def label(self, ax: Axes, height_in: float) -> None:
        """Label the networks left of an axis whose y counts regions, without overlapping labels."""
        if len(self.names) == 1:
            ax.set_ylabel(f"{len(self.order)} regions")
            return
        total = float(self.starts[-1])
        max_labels = max(1, int(height_in / 0.115))
        large = sorted(np.argsort(-np.diff(self.starts), kind="stable")[:max_labels].tolist())
        middle = np.array([(self.starts[k] + self.starts[k + 1]) / 2 - 0.5 for k in large])
        places = _spread(middle, gap=0.115 / height_in * total, top=total - 0.5)
        width = ax.get_position().width * WIDTH
        for k, at, place in zip(large, middle, places, strict=True):
            ax.annotate(
                short_name(self.names[k], 20),
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
                    "color": SOFT,
                    "lw": 0.5,
                    "shrinkA": 1,
                    "shrinkB": 0,
                },
            )


def _spread(positions: Floats, *, gap: float, top: float) -> Floats:
    """Move sorted positions so that neighbours differ by at least `gap`, up to `top`."""
    out = positions.copy()
    for k in range(1, len(out)):
        out[k] = max(out[k], out[k - 1] + gap)
    if len(out):
        out[-1] = min(out[-1], top)
    for k in range(len(out) - 2, -1, -1):
        out[k] = min(out[k], out[k + 1] - gap)
    return out


def colours(name: str) -> Colormap:
    """Return a colour map of matplotlib with few levels, and grey for missing values."""
    return mpl.colormaps[name].resampled(_LEVELS).with_extremes(bad="#9aa0a6")


@styled
def carpet(series: Floats, keep: Bools, networks: Sequence[str], *, key: str, alt: str) -> str:
    """Draw regional series as rows of grey, sorted by network.

    Volumes that were not used are empty columns.

    Parameters
    ----------
    series : ndarray, shape (n_volumes or n_retained, n_regions)
        Series of all volumes, or of the volumes that `keep` marks.
    keep : ndarray of bool, shape (n_volumes,)
        Volumes that were used; empty if not available.
    networks : sequence of str
        Network of each region.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    complete = _all_volumes(np.asarray(series, float), keep)
    blocks = NetworkOrder.of(networks)
    n_volumes, n_regions = complete.shape
    step = -(-n_volumes // _MAX_COLUMNS)
    image = _standardised(complete)[:, blocks.order]
    image = block_means(image, step).T
    height = min(3.4, max(1.4, n_regions / 90))
    figure = canvas(WIDTH, height + 0.6, (1.5, 0.95, 0.15, 0.45))
    ax = figure.add_subplot()
    extent = (0.5, n_volumes + 0.5, n_regions - 0.5, -0.5)
    drawn = ax.imshow(
        image,
        cmap=colours("gray"),
        vmin=-2.5,
        vmax=2.5,
        aspect="auto",
        interpolation="none",
        extent=extent,
    )
    for start in blocks.starts[1:-1]:
        ax.axhline(start - 0.5, color=TREATED, linewidth=0.6)
    ax.set(yticks=[], xlabel="volume")
    blocks.label(ax, height)
    bar = figure.add_axes((1 - 0.8 / WIDTH, 0.45 / (height + 0.6), 0.12 / WIDTH, 0.62))
    figure.colorbar(drawn, cax=bar).set_label("standard deviations")
    return to_svg(figure, key=key, alt=alt)


def _all_volumes(series: Floats, keep: Bools) -> Floats:
    """Insert retained volumes at their positions; other volumes are NaN."""
    if len(series) == len(keep) or int(keep.sum()) != len(series):
        return series
    out = np.full((len(keep), series.shape[1]), np.nan)
    out[keep] = series
    return out


def _mean_sd(values: Floats, axis: int) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of the finite values, or NaN if there are none."""
    finite = np.isfinite(values)
    count = finite.sum(axis=axis, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(finite, values, 0.0).sum(axis=axis, keepdims=True) / count
        spread = np.sqrt(
            np.where(finite, values - mean, 0.0).__pow__(2).sum(axis, keepdims=True) / count
        )
    return mean, spread


def _standardised(series: Floats) -> Floats:
    mean, spread = _mean_sd(series, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((series - mean) / np.where(spread > 0, spread, np.nan))


def block_means(values: Floats, step: int) -> Floats:
    """Return the mean of every `step` rows."""
    if step == 1:
        return values
    rows = -(-len(values) // step)
    padded = np.full((rows * step, values.shape[1]), np.nan)
    padded[: len(values)] = values
    return _mean_sd(padded.reshape(rows, step, -1), 1)[0][:, 0]


@styled
def matrices(
    panels: Sequence[tuple[str, Floats]], networks: Sequence[str], *, key: str, alt: str
) -> str:
    """Draw edge matrices side by side with a common order of regions and colour scale.

    Parameters
    ----------
    panels : sequence of (str, ndarray of shape (n_regions, n_regions))
        Title and edges (Fisher z) of each panel.
    networks : sequence of str
        Network of each region.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    blocks = NetworkOrder.of(networks)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    side, left, gap, foot = (1.95 if columns == 3 else 2.4), 1.3, 0.1, 0.5
    height = rows * (side + 0.32) + foot
    figure = Figure(figsize=(WIDTH, height))
    limit = _limit([matrix for _, matrix in panels])
    scale = ScalarMappable(Normalize(-limit, limit), colours("RdBu_r"))
    for k, (title, matrix) in enumerate(panels):
        row, column = divmod(k, columns)
        x, y = left + column * (side + gap), height - (row + 1) * (side + 0.32)
        ax = figure.add_axes((x / WIDTH, y / height, side / WIDTH, side / height))
        image = np.array(matrix, float)[np.ix_(blocks.order, blocks.order)]
        np.fill_diagonal(image, np.nan)
        ax.imshow(image, cmap=scale.cmap, vmin=-limit, vmax=limit, interpolation="none")
        for start in blocks.starts[1:-1]:
            ax.axhline(start - 0.5, color=INK, linewidth=0.3)
            ax.axvline(start - 0.5, color=INK, linewidth=0.3)
        ax.set(xticks=[], yticks=[])
        label = short_name(title, 60)
        is_long = len(label) > 26
        label = label.replace(" minus ", "\nminus ") if is_long else label
        ax.set_title(label, fontsize=7 if is_long else 9)
        if column == 0:
            blocks.label(ax, side)
    bar = figure.add_axes((left / WIDTH, 0.36 / height, side / WIDTH, 0.08 / height))
    figure.colorbar(scale, cax=bar, orientation="horizontal")
    bar.text(1.06, 0.5, "Fisher z", transform=bar.transAxes, va="center", fontsize=8)
    return to_svg(figure, key=key, alt=alt)


def _limit(arrays: Sequence[Floats]) -> float:
    """Return a symmetric colour limit: the 98th percentile of magnitudes, rounded up."""
    values = np.concatenate([np.abs(a[np.isfinite(a)]) for a in map(np.asarray, arrays)])
    return max(0.1, float(np.ceil(10 * np.percentile(values, 98)) / 10)) if values.size else 1.0


@styled
def circuit_values(
    circuits: Mapping[str, Mapping[str, float]],
    sessions: Sequence[str],
    *,
    others: Mapping[str, tuple[float, float]] | None = None,
    key: str,
    alt: str,
) -> str:
    """Draw the values of each circuit, with one row per circuit and one mark per session.

    Parameters
    ----------
    circuits : mapping of str to mapping of str to float
        Mean Fisher z by circuit and session.
    sessions : sequence of str
        Sessions in the order of time.
    others : mapping of str to (float, float), optional
        Range of the other participants by circuit, drawn as a grey bar.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    names = list(circuits)
    labels = [short_name(f"ses-{s}" if s else "session") for s in sessions]
    columns, lines = legend_columns([*labels, *["other participants"] * bool(others)], WIDTH - 2.9)
    head = 0.17 + 0.18 * lines
    figure = canvas(WIDTH, 0.6 + head + 0.24 * len(names), (2.7, 0.2, head, 0.45))
    ax = figure.add_subplot()
    rows = np.arange(len(names))
    values = np.array([[circuits[n].get(s, np.nan) for s in sessions] for n in names], float)
    values = values.reshape(len(names), len(sessions))
    ax.axvline(0, color=SOFT, linewidth=0.8)
    for row, name in enumerate(names):
        if others and name in others:
            low, high = others[name]
            label = "other participants" * (
                row == names.index(next(n for n in names if n in others))
            )
            ax.barh(
                row, high - low, left=low, height=0.66, color=SOFT, alpha=0.3, zorder=0, label=label
            )
    available = np.isfinite(values)
    for row in rows[available.sum(axis=1) > 1]:
        present = values[row][available[row]]
        ax.plot([present.min(), present.max()], [row, row], color=GRID, linewidth=3, zorder=1)
    looks = ((CONTROL, "o"), (TREATED, "D"), (REFERENCE, "s"), (MISSING, "^"), (SOFT, "v"))
    for k, label in enumerate(labels):
        colour, marker = looks[k % len(looks)]
        ax.plot(values[:, k], rows, marker, color=colour, markersize=5, label=label, zorder=2)
    ax.set_yticks(rows, [short_name(name) for name in names])
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel="mean Fisher z over the circuit's edges")
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=True, axis="x")
    handles = [h for h in ax.get_legend_handles_labels()[0] if h.get_label()]
    legend_above(ax, handles, columns=columns)
    return to_svg(figure, key=key, alt=alt)
