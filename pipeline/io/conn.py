"""Read the regional time series that the CONN toolbox writes (``ROI_SubjectNNN_ConditionMMM.mat``).

Of CONN's variables this module uses ``names``, ``xyz`` (centres, MNI space), ``data`` (a cell of
volumes x dimensions for each region), ``data_sessions`` (the session of each volume),
``conditionsnames`` and ``conditionsweights``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io.mat import read_mat

__all__ = ["CONN_FILE", "ConnFile", "ConnRegions", "read_conn", "read_conn_regions"]

#: Name of a file: number of the participant, number of the condition.
CONN_FILE = re.compile(r"ROI_Subject(?P<subject>\d+)_Condition(?P<condition>\d+)\.mat")
_LISTING = ("names", "xyz")
_SERIES = (*_LISTING, "data", "data_sessions", "conditionsnames", "conditionsweights")


@dataclass(frozen=True, slots=True, eq=False)
class ConnRegions:
    """The regions of a file.

    Parameters
    ----------
    path : Path
        The file.
    names : tuple of str
        Names of the regions, in the order of the file.
    centres_mm : ndarray, shape (n_regions, 3)
        Centres in MNI space, mm; NaN where the file does not state them.
    """

    path: Path
    names: tuple[str, ...]
    centres_mm: Floats


@dataclass(frozen=True, slots=True, eq=False)
class ConnFile:
    """The content of a file.

    Parameters
    ----------
    regions : ConnRegions
        Its regions.
    series : ndarray, shape (n_volumes, n_regions)
        Time series; NaN for regions with several dimensions, such as the principal components of
        white matter, since no single series represents them.
    sessions : ndarray, shape (n_volumes,), int
        Session of each volume.
    condition : str
        Name of the condition.
    in_condition : ndarray, shape (n_volumes,), bool
        Whether the weight of the condition is above zero at a volume. The weights themselves, which
        rise at the onset of a condition with the haemodynamic response, are not used.
    """

    regions: ConnRegions
    series: Floats
    sessions: npt.NDArray[np.intp]
    condition: str
    in_condition: npt.NDArray[np.bool_]


def read_conn_regions(path: Path) -> ConnRegions:
    """Read the names and centres of the regions of a file, without the series.

    Parameters
    ----------
    path : Path
        File that CONN wrote.

    Returns
    -------
    ConnRegions

    Raises
    ------
    TableError
        If the file cannot be read, or a variable is missing or malformed.
    """
    return _regions(path, read_mat(path, _LISTING))


def read_conn(path: Path) -> ConnFile:
    """Read a file.

    Parameters
    ----------
    path : Path
        File that CONN wrote.

    Returns
    -------
    ConnFile

    Raises
    ------
    TableError
        If the file cannot be read, or a variable is missing or malformed.
    """
    content = read_mat(path, _SERIES)
    regions = _regions(path, content)
    cells = _cells(path, content, "data")
    if len(cells) != len(regions.names):
        raise TableError(
            f"{path}: it has {len(regions.names)} names and {len(cells)} series; export it from "
            "CONN again"
        )
    columns = [np.asarray(cell, float) for cell in cells]
    lengths = {len(column) for column in columns if column.ndim == 2}
    if len(lengths) != 1 or any(column.ndim != 2 for column in columns):
        raise TableError(f"{path}: its series differ in length; export it from CONN again")
    n_volumes = lengths.pop()
    series = np.full((n_volumes, len(columns)), np.nan)
    for k, column in enumerate(columns):
        if column.shape[1] == 1:
            series[:, k] = column[:, 0]
    sessions = np.asarray(content.get("data_sessions", np.ones(n_volumes))).ravel()
    if sessions.shape != (n_volumes,) or sessions.dtype.kind not in "fiu":
        raise TableError(
            f"{path}: data_sessions has {sessions.size} values for {n_volumes} volumes; export it "
            "from CONN again"
        )
    return ConnFile(
        regions,
        series,
        sessions.astype(np.intp),
        _condition_name(content.get("conditionsnames")),
        _in_condition(content.get("conditionsweights"), n_volumes),
    )


def _regions(path: Path, content: dict[str, Any]) -> ConnRegions:
    names = tuple(" ".join(_text(cell).split()) for cell in _cells(path, content, "names"))
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not all(names) or repeated:
        raise TableError(
            f"{path}: names of regions are empty or repeated ({', '.join(repeated[:5])}); rename "
            "the regions in CONN and export them again"
        )
    centres = np.full((len(names), 3), np.nan)
    if "xyz" in content:
        cells = _cells(path, content, "xyz")
        if len(cells) != len(names):
            raise TableError(
                f"{path}: it has {len(names)} names and {len(cells)} centres (xyz); export it from "
                "CONN again"
            )
        for k, cell in enumerate(cells):
            point = np.asarray(cell, float).ravel()
            if point.shape == (3,):
                centres[k] = point
    return ConnRegions(path, names, centres)


def _cells(path: Path, content: dict[str, Any], key: str) -> list[Any]:
    """Return the elements of a cell array."""
    if key not in content:
        raise TableError(
            f"{path}: it has no variable {key!r}; give files ROI_SubjectNNN_ConditionMMM.mat as "
            "CONN writes them in results/preprocessing"
        )
    value = content[key]
    if not isinstance(value, np.ndarray) or value.dtype != object:
        raise TableError(f"{path}: {key} is not a cell array; export it from CONN again")
    return list(value.ravel())


def _text(cell: object) -> str:
    values = np.asarray(cell).ravel()
    return str(values[0]) if values.size else ""


def _condition_name(value: object) -> str:
    while isinstance(value, np.ndarray) and value.size:
        value = value.ravel()[0]
    return str(value) if isinstance(value, str) else ""


def _in_condition(value: object, n_volumes: int) -> npt.NDArray[np.bool_]:
    """Read the first weighting of the condition, the one that CONN uses by default."""
    while isinstance(value, np.ndarray) and value.dtype == object and value.size:
        value = value.ravel()[0]
    weights = np.asarray(value if value is not None else np.ones(n_volumes)).ravel()
    if weights.shape != (n_volumes,) or weights.dtype.kind not in "fiu":
        return np.ones(n_volumes, bool)
    return np.asarray(weights > 0)
