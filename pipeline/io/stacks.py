"""Read arrays of many matrices or series from ``.npy``, ``.npz`` and ``.mat`` files."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io.mat import numeric_arrays, read_mat, value_at

__all__ = ["STACK_EXTENSIONS", "read_names", "read_points", "read_stack"]

#: Extensions that `read_stack` reads.
STACK_EXTENSIONS = (".npy", ".npz", ".mat")


def read_stack(path: Path, key: str, n_axes: int) -> tuple[Floats, str]:
    """Read one array of a file.

    Parameters
    ----------
    path : Path
        File with an extension of `STACK_EXTENSIONS`.
    key : str
        Name of the array, dotted for fields of MATLAB structs. Empty for ``.npy``, and for files
        that have exactly one array with `n_axes` axes.
    n_axes : int
        Number of axes. MATLAB drops axes of length 1 at the end; they are added again. The axes of
        a cell array are followed by those of its cells, which must have equal sizes.

    Returns
    -------
    values : ndarray
        Array with `n_axes` axes.
    key : str
        Name of the array that was read.

    Raises
    ------
    TableError
        If the file cannot be read, the array is not numeric, has another number of axes, or is not
        the only candidate.
    """
    if path.suffix == ".npy":
        if key:
            raise TableError(f"{path}: an .npy file has a single array; leave out key = {key!r}")
        value: Any = _load(path)
    elif path.suffix == ".npz":
        archive = _load(path)
        key = key or _only(path, _shapes(archive), n_axes)
        value = _array(path, archive, key)
    elif path.suffix == ".mat":
        content = read_mat(path, (key.split(".")[0],) if key else ())
        if key.split(".")[0] not in content:
            content = read_mat(path)
        key = key or _only(path, numeric_arrays(content), n_axes)
        value = value_at(path, content, key)
    else:
        raise TableError(f"{path}: expected a file {', '.join(STACK_EXTENSIONS)}")
    return _checked(path, key, value, n_axes), key


def read_names(path: Path, key: str) -> tuple[str, ...]:
    """Read names, or whole numbers that serve as names, from an array of a file.

    Parameters
    ----------
    path : Path
        File ``.npz`` or ``.mat``.
    key : str
        Name of the array: texts, a cell of texts, or whole numbers.

    Returns
    -------
    tuple of str

    Raises
    ------
    TableError
        If the file or the array cannot be read as names.
    """
    out = []
    for cell in np.asarray(_value(path, key)).ravel():
        item = cell
        while isinstance(item, np.ndarray) and item.size == 1:
            item = item.ravel()[0]
        if isinstance(item, str):
            out.append(" ".join(item.split()))
        elif isinstance(item, int | float | np.number) and float(item).is_integer():
            out.append(str(int(item)))
        else:
            raise TableError(
                f"{path}: {key} contains {item!r}; names or whole numbers are expected"
            )
    return tuple(out)


def read_points(path: Path, key: str) -> Floats:
    """Read coordinates from an array of a file.

    Parameters
    ----------
    path : Path
        File ``.npz`` or ``.mat``.
    key : str
        Name of the array: one row of x, y, z for each region, or a cell of such rows.

    Returns
    -------
    ndarray, shape (n_points, 3)

    Raises
    ------
    TableError
        If the file or the array cannot be read as coordinates.
    """
    value = _value(path, key)
    try:
        if isinstance(value, np.ndarray) and value.dtype == object:
            value = np.array([np.asarray(cell, float).ravel() for cell in value.ravel()])
        points = np.asarray(value, float)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 3:
        raise TableError(
            f"{path}: {key} is not a list of x, y, z in mm; correct centres in [input]"
        )
    return points


def _value(path: Path, key: str) -> Any:  # noqa: ANN401 - any type
    """Return the array of a key as it is stored."""
    if path.suffix == ".npz":
        return _array(path, _load(path), key)
    return value_at(path, read_mat(path), key)


def _load(path: Path) -> Any:  # noqa: ANN401 - array, or dict of arrays
    try:
        with path.open("rb") as file:  # given a path, np.load leaves damaged files open
            content = np.load(file, allow_pickle=False)
            if path.suffix == ".npy":
                return content
            return {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise TableError(f"{path}: it is not a readable NumPy file ({error})") from None


def _shapes(archive: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in archive.items()}


def _array(path: Path, archive: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - array
    if key not in archive:
        listed = _listed(_shapes(archive))
        raise TableError(f"{path}: it has no {key!r}; give key as one of {listed}")
    return archive[key]


def _only(path: Path, names: Mapping[str, tuple[int, ...]], n_axes: int) -> str:
    """Return the name of the only array with `n_axes` axes."""
    found = [name for name, shape in names.items() if len(shape) == n_axes]
    if len(found) != 1:
        raise TableError(
            f"{path}: {len(found)} of its arrays have {n_axes} axes; state key = one of "
            f"{_listed(names)} in [input]"
        )
    return found[0]


def _listed(names: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in names.items()) or "no numeric array"


def _from_cells(value: Any) -> Any:  # noqa: ANN401 - any type
    """Join a cell array of equally large arrays; its own axes come first. Others are unchanged."""
    if not isinstance(value, np.ndarray) or value.dtype != object or not value.size:
        return value
    cells = [np.asarray(cell) for cell in value.ravel()]
    if any(c.dtype.kind not in "fiu" or c.shape != cells[0].shape for c in cells):
        return value
    return np.stack(cells).reshape(*value.shape, *cells[0].shape)


def _checked(path: Path, key: str, value: Any, n_axes: int) -> Floats:  # noqa: ANN401 - any type
    where = f"{path}: {key}" if key else str(path)
    value = _from_cells(value)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise TableError(f"{where} is not an array of real numbers; name the array by key")
    if path.suffix == ".mat" and value.ndim < n_axes:
        value = value.reshape(*value.shape, *[1] * (n_axes - value.ndim))
    if value.ndim != n_axes:
        raise TableError(
            f"{where} has {value.ndim} axes {value.shape}, and {n_axes} are stated; correct axes "
            "in [input]"
        )
    return np.asarray(value, float)
