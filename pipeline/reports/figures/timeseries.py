"""Figures of one participant: motion, volumes, carpets, edge matrices, circuit values.

Matrices and carpets are drawn as pixels inside the SVG; text remains text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.reports.figures.drawing import (
    Box,
    Drawing,
    Entry,
    Panel,
    colour_bar,
    draw_legend,
    legend_size,
    wide_limits,
)
from circuitshift.pipeline.reports.figures.pixels import ColourMap, colour_map
from circuitshift.pipeline.reports.figures.style import (
    CONTROL,
    GRID,
    INK,
    MISSING,
    REFERENCE,
    SOFT,
    TREATED,
    WIDTH,
    short_name,
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
_ROW_IN = 0.115  # height of the label of a network, inches
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
_DASHED, _DOTTED = (4.0, 3.0), (1.0, 2.0)


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
    drawing = Drawing(WIDTH, height)
    boxes = _grid_of_boxes(len(kinds), len(runs), (WIDTH - 0.72, height - 1.0))
    for row, (name, values, limit) in enumerate(kinds):
        top = _top([v for v in values if v is not None], limit)
        for column, (run, line) in enumerate(zip(runs, values, strict=True)):
            ends = (0.5, len(run.keep) + 0.5)
            panel = Panel(drawing, boxes[row][column], ends, (0.0, top))
            _trace(panel, run, line, limit)
            ticks = panel.nice_y()
            panel.ticks_y(ticks, None if column == 0 else [""] * len(ticks))
            ticks = panel.nice_x()
            panel.ticks_x(ticks, None if row == len(kinds) - 1 else [""] * len(ticks))
            if column == 0:
                panel.label_y(name, offset=30, size=7.5)
            if row == 0:
                panel.title(short_name(run.title, 42), size=8.5, pad=4, left=True)
            if row == len(kinds) - 1:
                panel.label_x("volume")
    has_dvars = len(kinds) > 1 and kinds[1][2] is not None
    draw_legend(drawing, (0.6 * 72, 22.0), _motion_legend(runs, threshold_mm, has_dvars))
    return drawing.svg(key=key, alt=alt)


def _motion_legend(
    runs: Sequence[Motion], threshold_mm: float | None, has_dvars: bool
) -> list[Entry]:
    entries = [Entry("value", CONTROL, 1.0)]
    if threshold_mm is not None:
        label = f"censored above {threshold_mm:g} mm"
        entries.append(Entry(label, INK, dash=_DASHED))
    if has_dvars:
        label = f"DVARS {_DVARS_LIMIT:g}: marked by fMRIPrep, not censored"
        entries.append(Entry(label, SOFT, dash=_DOTTED))
    if not all(run.keep.all() for run in runs):
        entries.append(Entry("not used", MISSING, 6.0, alpha=0.35))
    return entries


def _grid_of_boxes(n_rows: int, n_columns: int, size: tuple[float, float]) -> list[list[Box]]:
    """Return the positions of panels in rows and columns, inches."""
    wide = size[0] / (n_columns + 0.06 * (n_columns - 1))
    high = size[1] / (n_rows + 0.16 * (n_rows - 1))
    return [
        [Box(0.6 + 1.06 * wide * k, 0.55 + 1.16 * high * row, wide, high) for k in range(n_columns)]
        for row in range(n_rows)
    ]


def _trace(panel: Panel, run: Motion, line: Floats | None, limit: float | None) -> None:
    for start, stop in _stretches(~run.keep):
        corners = (panel.x(start + 0.5), panel.bottom, panel.x(stop + 0.5), panel.top)
        panel.drawing.rectangle(corners, colour=MISSING, alpha=0.35)
    if limit is not None:
        is_dvars = limit == _DVARS_LIMIT
        colour, dash = (SOFT, _DOTTED) if is_dvars else (INK, _DASHED)
        panel.horizontal(limit, colour=colour, width=0.9, dash=dash)
    if line is None:
        panel.centred("not available")
    else:
        points = panel.points(np.arange(1, len(line) + 1), line)
        panel.drawing.line(points, colour=CONTROL, width=0.9)
    panel.spines()


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
    high = 0.1 + 0.27 * len(labels)
    drawing = Drawing(WIDTH, 0.75 + high)
    most = max((sum(row) for row in counts), default=0)
    box = Box(2.9, 0.3, WIDTH - 3.1, high)
    panel = Panel(drawing, box, (0.0, 1.05 * max(most, 1)), (len(labels) - 0.5, -0.5))
    parts = (
        ("used", CONTROL, 1.0),
        ("censored for motion", MISSING, 1.0),
        ("discarded at start", SOFT, 0.7),
    )
    for row, values in enumerate(counts):
        left = 0
        for value, (_, colour, alpha) in zip(values, parts, strict=True):
            x, y = (
                (panel.x(left), panel.x(left + value)),
                (panel.y(row - 0.31), panel.y(row + 0.31)),
            )
            if value:
                drawing.rectangle((x[0], y[0], x[1], y[1]), colour=colour, alpha=alpha)
            left += value
    panel.spines()
    panel.ticks_x(panel.nice_x())
    panel.ticks_y(range(len(labels)), [short_name(label, 42) for label in labels], length=0)
    panel.label_x("volumes")
    entries = [Entry(label, colour, 6.0, alpha=alpha) for label, colour, alpha in parts]
    draw_legend(drawing, (panel.left, panel.top - 2), entries)
    return drawing.svg(key=key, alt=alt)


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

    def label(self, panel: Panel) -> None:
        """Label the networks left of a panel whose y counts regions, without overlapping labels."""
        if len(self.names) == 1:
            panel.label_y(f"{len(self.order)} regions", offset=8)
            return
        total, height = float(self.starts[-1]), panel.box.height
        max_labels = max(1, int(height / _ROW_IN))
        large = sorted(np.argsort(-np.diff(self.starts), kind="stable")[:max_labels].tolist())
        middle = np.array([(self.starts[k] + self.starts[k + 1]) / 2 - 0.5 for k in large])
        places = _spread(middle, gap=_ROW_IN / height * total, top=total - 0.5)
        x = panel.left - 0.12 * 72
        for k, at, place in zip(large, middle.tolist(), places.tolist(), strict=True):
            y = panel.y(place)
            panel.drawing.line([(x + 1, y), (panel.left, panel.y(at))], width=0.5)
            name = short_name(self.names[k], 20)
            panel.drawing.text((x, y), name, size=7, anchor="end", place="middle")

    def separate(self, panel: Panel, *, colour: str, width: float, both: bool = False) -> None:
        """Draw lines between networks along y, and along x too for `both`."""
        for start in self.starts[1:-1].tolist():
            panel.horizontal(start - 0.5, colour=colour, width=width)
            if both:
                panel.vertical(start - 0.5, colour=colour, width=width)


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


def colours(name: str) -> ColourMap:
    """Return a colour map with few levels."""
    return colour_map(name, _LEVELS)


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
    drawing = Drawing(WIDTH, height + 0.6)
    box = Box(1.5, 0.15, WIDTH - 2.45, height)
    panel = Panel(drawing, box, (0.5, n_volumes + 0.5), (n_regions - 0.5, -0.5))
    gray = colours("gray")
    panel.image(gray.levels(image, -2.5, 2.5), gray)
    blocks.separate(panel, colour=TREATED, width=0.6)
    panel.spines()
    panel.ticks_x(panel.nice_x())
    panel.label_x("volume")
    blocks.label(panel)
    bar = Box(WIDTH - 0.8, 0.15 + 0.1 * height, 0.12, 0.8 * height)
    colour_bar(drawing, bar, gray, (-2.5, 2.5), label="standard deviations")
    return drawing.svg(key=key, alt=alt)


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
    drawing = Drawing(WIDTH, height)
    limit = _limit([matrix for _, matrix in panels])
    scale, n = colours("RdBu_r"), len(blocks.order)
    for k, (title, matrix) in enumerate(panels):
        row, column = divmod(k, columns)
        box = Box(left + column * (side + gap), row * (side + 0.32) + 0.32, side, side)
        panel = Panel(drawing, box, (-0.5, n - 0.5), (n - 0.5, -0.5))
        image = np.array(matrix, float)[np.ix_(blocks.order, blocks.order)]
        np.fill_diagonal(image, np.nan)
        panel.image(scale.levels(image, -limit, limit), scale)
        blocks.separate(panel, colour=INK, width=0.3, both=True)
        panel.spines()
        label = short_name(title, 60)
        is_long = len(label) > 26
        lines = label.replace(" minus ", "\nminus ").split("\n") if is_long else [label]
        for number, line in enumerate(reversed(lines)):
            panel.title(line, size=7 if is_long else 9, pad=5 + 8 * number)
        if column == 0:
            blocks.label(panel)
    bar = Box(left, height - 0.44, side, 0.08)
    colour_bar(drawing, bar, scale, (-limit, limit), label="Fisher z")
    return drawing.svg(key=key, alt=alt)


def _limit(arrays: Sequence[Floats]) -> float:
    """Return a symmetric colour limit: the 98th percentile of magnitudes, rounded up."""
    values = np.concatenate([np.abs(a[np.isfinite(a)]) for a in map(np.asarray, arrays)])
    return max(0.1, float(np.ceil(10 * np.percentile(values, 98)) / 10)) if values.size else 1.0


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
    columns, lines = legend_size([*labels, *["other participants"] * bool(others)], WIDTH - 2.9)
    head, high = 0.17 + 0.18 * lines, 0.15 + 0.24 * len(names)
    drawing = Drawing(WIDTH, 0.45 + head + high)
    values = np.array([[circuits[n].get(s, np.nan) for s in sessions] for n in names], float)
    values = values.reshape(len(names), len(sessions))
    ranges = {name: others[name] for name in names if name in others} if others else {}
    ends = wide_limits([0.0, *values.ravel().tolist(), *np.ravel(list(ranges.values())).tolist()])
    box = Box(2.7, head, WIDTH - 2.9, high)
    panel = Panel(drawing, box, ends, (len(names) - 0.5, -0.5))
    ticks = panel.nice_x()
    panel.grid_x(ticks)
    for row, name in enumerate(names):
        if name in ranges:
            x, y = tuple(map(panel.x, ranges[name])), (panel.y(row - 0.33), panel.y(row + 0.33))
            drawing.rectangle((x[0], y[0], x[1], y[1]), colour=SOFT, alpha=0.3)
        present = values[row][np.isfinite(values[row])]
        if present.size > 1:
            ends = (float(present.min()), float(present.max()))
            drawing.line(panel.points(ends, [row, row]), colour=GRID, width=3)
    panel.vertical(0, colour=SOFT)
    entries = []
    for k, label in enumerate(labels):
        colour, marker = _LOOKS[k % len(_LOOKS)]
        points = panel.points(values[:, k], np.arange(len(names)))
        drawing.marks(points, marker, colour=colour, size=5)
        entries.append(Entry(label, colour, marker=marker))
    if ranges:
        entries.append(Entry("other participants", SOFT, 6.0, alpha=0.3))
    panel.spines()
    panel.ticks_x(ticks)
    panel.ticks_y(range(len(names)), [short_name(name) for name in names], length=0)
    panel.label_x("mean Fisher z over the circuit's edges")
    draw_legend(drawing, (panel.left, panel.top - 2), entries, columns=columns)
    return drawing.svg(key=key, alt=alt)


#: Colours and markers of sessions, in order.
_LOOKS = ((CONTROL, "o"), (TREATED, "D"), (REFERENCE, "s"), (MISSING, "^"), (SOFT, "v"))
