"""Read measured regional series of participants with two or more visits.

Two layouts are read: a BIDS derivative with ``*_timeseries.tsv`` files, and folders of files that
the CONN toolbox wrote, in which a file holds all visits of a participant, or folders that end in
``_tp1``, ``_tp2`` and so on hold one visit each of the same participants.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.bids.select_runs import Query, find_runs
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.conn import CONN_FILE, read_conn

__all__ = ["MeasuredPool", "read_pool"]

_VISIT = re.compile(r"(?P<group>.+)_tp(?P<visit>\d+)")
_ATLAS_OF_CONN = "atlas."  # regions of CONN's anatomical atlas, 132 in its default


@dataclass(frozen=True, slots=True)
class MeasuredPool:
    """Edges of measured visits.

    Parameters
    ----------
    labels : tuple of str
        Names of the regions.
    centres_mm : ndarray, shape (n_regions, 3), or None
        Centres of the regions, where the files state them.
    visits : tuple of ndarray, each of shape (n_visits, n_edges)
        Fisher z of all visits of each participant, two or more.
    """

    labels: tuple[str, ...]
    centres_mm: Floats | None
    visits: tuple[Floats, ...]

    @property
    def mean(self) -> Floats:
        """Mean over participants of each edge, shape (n_edges,), Fisher z."""
        return np.asarray(np.mean([z.mean(axis=0) for z in self.visits], axis=0))

    def retest_sd(self, values: Sequence[Floats]) -> float:
        """Compute the standard deviation of the change of a value between two visits.

        Parameters
        ----------
        values : sequence of ndarray, each of shape (n_visits,)
            Value at each visit of each participant.

        Returns
        -------
        float
            Root of twice the mean variance within participants.
        """
        return float(np.sqrt(2 * np.mean([v.var(ddof=1) for v in values])))


def read_pool(folders: Sequence[Path]) -> MeasuredPool:
    """Read the series of all participants with two or more visits.

    Parameters
    ----------
    folders : sequence of Path
        One BIDS derivative, or folders that contain folders of CONN's files.

    Returns
    -------
    MeasuredPool
        Edges between the regions that are available at all visits.

    Raises
    ------
    InputError
        If there are fewer than eight participants with two visits, or files have other regions.
    """
    if any(CONN_FILE.fullmatch(path.name) for folder in folders for path in folder.rglob("*.mat")):
        labels, centres, series = _conn_series(folders)
    else:
        labels, series = _bids_series(folders)
        centres = None
    repeated = [runs for _, runs in sorted(series.items()) if len(runs) > 1]
    where = ", ".join(str(folder) for folder in folders)
    if len(repeated) < 8:
        raise InputError(
            f"{where}: {len(repeated)} participants have regional series of two visits; truths can "
            "be planted in the series of at least 8"
        )
    available = np.all([_has_signal(run) for runs in repeated for run in runs], axis=0)
    kept = np.flatnonzero(available)
    return MeasuredPool(
        tuple(labels[k] for k in kept),
        None if centres is None else centres[kept],
        tuple(np.array([connectivity.edges(run[:, kept]) for run in runs]) for runs in repeated),
    )


def _has_signal(run: Floats) -> Bools:
    return np.asarray(np.isfinite(run).all(axis=0) & (np.ptp(run, axis=0) > 0))


def _bids_series(folders: Sequence[Path]) -> tuple[tuple[str, ...], dict[str, list[Floats]]]:
    """Read the series of one BIDS derivative."""
    labels: tuple[str, ...] = ()
    series: dict[str, list[Floats]] = {}
    for folder in folders:
        for run in find_runs(folder, Query(input_types=("timeseries",))).runs:
            names, values = tables.read_series(run.path)
            labels = labels or names
            _refuse_other_regions(run.path, names, labels)
            series.setdefault(f"{folder}/{run.participant}", []).append(values)
    return labels, series


def _conn_series(
    folders: Sequence[Path],
) -> tuple[tuple[str, ...], Floats, dict[str, list[Floats]]]:
    """Read the series of CONN's anatomical atlas from all files."""
    labels: tuple[str, ...] = ()
    centres = np.empty((0, 3))
    series: dict[str, list[Floats]] = {}
    for path in sorted(p for folder in folders for p in folder.rglob("*.mat")):
        if not CONN_FILE.fullmatch(path.name):
            continue
        content = read_conn(path)
        names = content.regions.names
        used = [k for k, name in enumerate(names) if name.startswith(_ATLAS_OF_CONN)]
        own = tuple(names[k] for k in used)
        if not labels:
            labels, centres = own, content.regions.centres_mm[used]
        _refuse_other_regions(path, own, labels)
        group = _VISIT.fullmatch(path.parent.name)
        folder = path.parent.with_name(group["group"]) if group else path.parent
        for visit in np.unique(content.sessions):
            run = content.series[content.sessions == visit][:, used]
            series.setdefault(f"{folder}/{path.stem}", []).append(run)
    return labels, centres, series


def _refuse_other_regions(path: Path, names: Sequence[str], expected: Sequence[str]) -> None:
    """Refuse a file whose regions differ from those of the first file."""
    if tuple(names) != tuple(expected):
        raise InputError(
            f"{path}: it has other regions than the first file; give series of one atlas"
        )
