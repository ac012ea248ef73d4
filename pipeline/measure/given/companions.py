"""Find the files that lie beside a time series or matrix, and read what they say about it.

XCP-D writes ``*_outliers.tsv`` (1: volume above the displacement threshold, which was interpolated
or left out), ``*_motion.tsv`` (framewise displacement), ``*_stat-coverage_bold.tsv`` (share of
each region with data) and ``*_design.tsv`` (the regressors). Earlier versions wrote
``*_desc-filtered_motion.tsv``, ``*_desc-framewisedisplacement_bold.tsv`` and ``*_coverage.tsv``.
They belong to a run if they have the same entities, whatever the order, apart from those of the
space, the parcellation and the statistic.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.bids.names import PARCELS, Name, is_junk, parse_name
from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.number_tables import read_number_series
from circuitshift.pipeline.records import Run

__all__ = ["Companions", "companions_of", "read_coverage", "read_displacement", "read_outliers"]

_FD = "framewisedisplacement"
_PLACES = ("space", "cohort", "den")
# Entities of what was made of a run, which the files beside a series have or lack.
_MADE = frozenset({*_PLACES, *PARCELS, "res", "desc", "stat", "meas", "measure"})
#: Suffix and ``desc-`` (or ``stat-``) of the files of each kind, the preferred one first.
_KINDS: dict[str, tuple[tuple[str, str], ...]] = {
    "outliers": (("outliers", ""),),
    "motion": (("motion", ""), ("motion", "filtered"), ("bold", _FD)),
    "coverage": (("bold", "coverage"), ("coverage", "")),
    "design": (("design", ""), ("design", "preproc")),
}


@dataclass(frozen=True, slots=True)
class Companions:
    """Files beside a time series or matrix, each None if there is none.

    Parameters
    ----------
    outliers : Path, optional
        Volumes that are not data.
    motion : Path, optional
        Framewise displacement of each volume.
    coverage : Path, optional
        Share of each region with data.
    design : Path, optional
        Regressors that were removed.
    """

    outliers: Path | None = None
    motion: Path | None = None
    coverage: Path | None = None
    design: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that were found."""
        found = (getattr(self, field.name) for field in fields(self))
        return tuple(path for path in found if path is not None)


def companions_of(run: Run) -> Companions:
    """Find the files that lie beside a time series or matrix.

    Parameters
    ----------
    run : Run
        Run of regional time series or a matrix.

    Returns
    -------
    Companions

    Raises
    ------
    TableError
        If two files of one kind belong to the run.
    OSError
        If the folder cannot be listed.
    """
    beside: list[tuple[Name, Path]] = []
    own = Name(run.entities, "", "")
    with os.scandir(run.path.parent) as entries:
        for entry in entries:
            if not entry.name.endswith(".tsv") or is_junk(entry.name):
                continue
            name = parse_name(entry.name)
            if name is not None and _acquired(name) == _acquired(own) and _fits(name, own):
                beside.append((name, Path(entry.path)))
    return Companions(**{kind: _first(beside, kind, own) for kind in _KINDS})


def _acquired(name: Name) -> frozenset[tuple[str, str]]:
    """Return the entities of the acquired run; ``run-1`` and ``run-01`` are equal."""
    return frozenset(
        (key, str(int(value)) if key == "run" and value.isdecimal() else value)
        for key, value in name.entities
        if key not in _MADE
    )


def _fits(name: Name, own: Name) -> bool:
    """Return whether the space and parcellation of a file, if stated, are those of the run."""
    parcels = {own.get("atlas"), own.get("seg")} - {""}
    stated = {name.get("atlas"), name.get("seg")} - {""}
    places = [name.get(key) in ("", own.get(key)) for key in _PLACES]
    return stated <= parcels and all(places)


def _first(beside: Sequence[tuple[Name, Path]], kind: str, own: Name) -> Path | None:
    """Return the preferred file of one kind."""
    names = list(_KINDS[kind])
    if kind == "outliers" and own.get("desc"):  # those of the same denoising, before any others
        names.insert(0, ("outliers", own.get("desc")))
    needs_parcels = kind == "coverage"
    for suffix, word in names:
        found = sorted(
            path
            for name, path in beside
            if name.suffix == suffix
            and (name.get("desc") or name.get("stat")) == word
            and (not needs_parcels or name.get("atlas") or name.get("seg"))
        )
        if len(found) > 1:
            raise TableError(
                f"{found[0]}: {' and '.join(path.name for path in found[1:])} in its folder "
                f"belongs to the same run ({kind}); remove one of them"
            )
        if found:
            return found[0]
    return None


def read_outliers(path: Path, n_exact: int | None = None) -> Bools:
    """Read which volumes are not data.

    Parameters
    ----------
    path : Path
        Table with a row for each volume: 1 for volumes that were interpolated or left out, 0 for
        others. The column ``framewise_displacement`` counts; without it, a volume is an outlier
        if any column says so, except ``exact_*``, which XCP-D adds for matrices of equal length.
    n_exact : int, optional
        For such a matrix, the number of volumes: those with 1 in the column ``exact_<n_exact>``
        are not data, too.

    Returns
    -------
    ndarray of bool, shape (n_volumes,)
        True for volumes that are not data.

    Raises
    ------
    TableError
        If the table cannot be read, has other values than 0 and 1, or lacks a requested column.
    """
    table = read_number_series(path)
    labels = table.labels or ("",) * table.values.shape[1]
    used = [k for k, label in enumerate(labels) if _plain(label) == _FD]
    if not used:
        used = [k for k, label in enumerate(labels) if not label.startswith("exact_")]
    values = table.values[:, used]
    if not used or not np.isin(values, (0, 1)).all():
        raise TableError(
            f"{path}: a table of outliers has the values 0 (data) and 1 (not data) only; correct it"
        )
    if n_exact is not None:
        exact = f"exact_{n_exact}"
        if exact not in labels:
            raise TableError(
                f"{path}: it has no column {exact} for the matrix of {n_exact} volumes; give the "
                "table that was written with the matrix"
            )
        values = np.column_stack([values, table.values[:, labels.index(exact)]])
    return np.asarray(values.any(axis=1), bool)


def read_displacement(path: Path) -> Floats | None:
    """Read the framewise displacement of each volume in mm.

    Parameters
    ----------
    path : Path
        Table with a row for each volume and a column ``framewise_displacement`` (or a single
        column without a name). Displacement of filtered parameters
        (``framewise_displacement_filtered``) is used if there is no other.

    Returns
    -------
    ndarray of shape (n_volumes,), or None
        NaN for the first volume, as a rule; None if the table has no such column.

    Raises
    ------
    TableError
        If the table cannot be read.
    """
    table = read_number_series(path)
    if table.labels is None:
        return table.values[:, 0] if table.values.shape[1] == 1 else None
    plain = [_plain(label) for label in table.labels]
    for wanted in (_FD, f"{_FD}filtered"):
        if wanted in plain:
            return table.values[:, plain.index(wanted)]
    return None


def read_coverage(path: Path, labels: Iterable[str]) -> Floats:
    """Read the share of each region with data.

    Parameters
    ----------
    path : Path
        Table with the columns ``Node`` and ``coverage``.
    labels : iterable of str
        Names of the regions.

    Returns
    -------
    ndarray of shape (n_regions,)
        Coverage in the order of `labels`; NaN for regions that the table does not contain.

    Raises
    ------
    TableError
        If the table cannot be read, or none of its regions is among `labels`.
    """
    table = tables.read_table(path)
    names = next(iter(table.columns.values()))
    share = dict(zip(names, table.numbers("coverage"), strict=True))
    out = np.array([share.get(label, np.nan) for label in labels])
    if np.isnan(out).all():
        raise TableError(
            f"{path}: none of its regions is one of the atlas ({', '.join(names[:3])}); give the "
            "coverage of the same atlas, or remove the table"
        )
    return out


def _plain(label: str) -> str:
    """Return a column name in lower case without separators."""
    return "".join(c for c in label.lower() if c.isalnum())
