"""Count the volumes of a series or matrix that are data, and their motion."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.bids.runs.confound_values import check_displacement
from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.measure.given.companions import (
    Companions,
    read_displacement,
    read_outliers,
)
from circuitshift.pipeline.records import RetainedData

__all__ = ["RetainedVolumes", "retained_volumes"]


@dataclass(frozen=True, slots=True, eq=False)
class RetainedVolumes:
    """Volumes of a run that entered, or are to enter, the estimate.

    Parameters
    ----------
    rows : ndarray of bool, shape (n_rows,), or None
        Rows of the series that are data. None for a matrix.
    n_volumes, n_censored : int
        Number of volumes of the run, and of those that are not data; 0 if unknown.
    mean_fd_mm : float
        Mean framewise displacement of the retained volumes, in mm; NaN if unknown.
    notes : tuple of str
        What was resolved, one sentence each.
    """

    rows: Bools | None
    n_volumes: int
    n_censored: int
    mean_fd_mm: float
    notes: tuple[str, ...] = ()

    def record(self, t_r_s: float | None) -> RetainedData:
        """Return the record of the retained data.

        Parameters
        ----------
        t_r_s : float or None
            Repetition time in s.

        Returns
        -------
        RetainedData
            The weight of a matrix within its session is 1.
        """
        n = self.n_volumes - self.n_censored
        is_known = t_r_s is not None and self.n_volumes > 0
        minutes = n * float(t_r_s or 0) / 60 if is_known else float("nan")
        dof = 1.0 if self.rows is None else float(n)
        return RetainedData(self.n_volumes, 0, self.n_censored, n, minutes, 0, dof, self.mean_fd_mm)


def retained_volumes(
    path: Path,
    n_rows: int | None,
    beside: Companions,
    stated_fd_mm: float | None = None,
    *,
    n_exact: int | None = None,
) -> RetainedVolumes:
    """Find the volumes that are data from the tables beside a series or matrix.

    Parameters
    ----------
    path : Path
        The series or matrix, for messages.
    n_rows : int or None
        Number of rows of the series; None for a matrix.
    beside : Companions
        Files beside it.
    stated_fd_mm : float, optional
        Mean framewise displacement by the sidecar, used if there is no table of motion.
    n_exact : int, optional
        Number of volumes of a matrix that XCP-D computed from a random selection of them.

    Returns
    -------
    RetainedVolumes

    Raises
    ------
    TableError
        If a table cannot be read, or numbers of volumes contradict each other.
    ConfoundsError
        If framewise displacement is negative or constant.
    """
    notes: list[str] = []
    if beside.outliers is None:
        rows = None if n_rows is None else np.ones(n_rows, bool)
        data = rows
    else:
        data = ~read_outliers(beside.outliers, n_exact)
        rows = (
            None
            if n_rows is None
            else _rows(path, n_rows, data, outliers=beside.outliers, notes=notes)
        )
    fd = None if beside.motion is None else read_displacement(beside.motion)
    if fd is not None and beside.motion is not None:
        check_displacement(beside.motion, fd)
        mean = _mean_displacement(path, fd, data, motion=beside.motion, notes=notes)
    elif stated_fd_mm is not None:
        mean = stated_fd_mm
        notes.append(f"{path.name}: its mean framewise displacement is that of its JSON.")
    else:
        mean = float("nan")
    n_volumes = 0 if data is None else len(data)
    n_censored = 0 if data is None else int((~data).sum())
    return RetainedVolumes(rows, n_volumes, n_censored, mean, tuple(notes))


def _rows(path: Path, n_rows: int, data: Bools, *, outliers: Path, notes: list[str]) -> Bools:
    """Return the rows of a series that are data."""
    n_data = int(data.sum())
    if n_rows == len(data):
        if n_data < n_rows:
            notes.append(
                f"{path.name}: {n_rows - n_data} of {n_rows} volumes are not data by "
                f"{outliers.name} (interpolated or censored) and are left out."
            )
        return data
    if n_rows == n_data:
        notes.append(
            f"{path.name}: the {len(data) - n_data} outliers of {outliers.name} are already left "
            f"out of its {n_rows} volumes."
        )
        return np.ones(n_rows, bool)
    raise TableError(
        f"{path}: it has {n_rows} volumes, but {outliers.name} has {len(data)} rows, of which "
        f"{n_data} are data; give the table of this run, or remove it"
    )


def _mean_displacement(
    path: Path, fd: Floats, data: Bools | None, *, motion: Path, notes: list[str]
) -> float:
    """Average the displacement of the retained volumes."""
    if data is None or len(fd) == int(data.sum()):
        used = fd
    elif len(fd) == len(data):
        used = fd[data]
    elif data.all() and len(fd) > len(data):
        notes.append(
            f"{path.name}: {motion.name} has {len(fd)} rows and the series {len(data)}; which "
            "volumes were left out is unknown, and so is their motion."
        )
        return float("nan")
    else:
        raise TableError(
            f"{path}: its run has {len(data)} volumes, {int(data.sum())} of them data, but "
            f"{motion.name} has {len(fd)} rows; give the table of this run, or remove it"
        )
    return float(np.nanmean(used)) if np.isfinite(used).any() else float("nan")
