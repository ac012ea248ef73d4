"""Read MATLAB files: versions 4 to 7 with scipy, version 7.3 (HDF5) with h5py if installed."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from circuitshift.pipeline.errors import TableError

__all__ = ["numeric_arrays", "read_mat", "value_at"]

_SIGNATURE_7_3 = b"MATLAB 7.3 MAT-file"


def read_mat(path: Path, names: Sequence[str] = ()) -> dict[str, Any]:
    """Read the variables of a MATLAB file.

    Parameters
    ----------
    path : Path
        File of version 4 to 7.3.
    names : sequence of str, optional
        Variables to read; all if empty. Variables that do not exist are not part of the result.

    Returns
    -------
    dict
        Arrays with the axes of MATLAB, at least two-dimensional; structs are structured arrays
        (version 7.3: nested dicts).

    Raises
    ------
    TableError
        If the file cannot be read, or is of version 7.3 and h5py is not installed.
    """
    from scipy.io import loadmat  # noqa: PLC0415 - needed for this input only

    try:
        with path.open("rb") as file:
            is_hdf5 = file.read(len(_SIGNATURE_7_3)) == _SIGNATURE_7_3
    except OSError as error:
        raise TableError(f"{path}: it cannot be read ({error.strerror})") from None
    if is_hdf5:
        return _read_hdf5(path, names)
    try:
        content = loadmat(str(path), variable_names=list(names) or None)
    except MemoryError:
        raise
    except Exception as error:  # scipy raises many kinds of errors on damaged files
        raise TableError(f"{path}: it is not a readable MATLAB file ({error})") from None
    return {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and not key.startswith("__")  # objects of classes have the key None
    }


def _read_hdf5(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read a file of version 7.3; HDF5 stores the axes of MATLAB in reverse order."""
    if importlib.util.find_spec("h5py") is None:
        raise TableError(
            f"{path}: it is a MATLAB file of version 7.3, for which the package h5py is needed; "
            "pip install h5py, or save it in MATLAB with save(..., '-v7')"
        )
    import h5py  # noqa: PLC0415 - not part of the installation

    def content(node: Any) -> Any:  # noqa: ANN401 - h5py is untyped
        if isinstance(node, h5py.Dataset):
            return np.asarray(node[()]).T
        return {key: content(node[key]) for key in node if not key.startswith("#")}

    try:
        with h5py.File(path, "r") as file:
            wanted = [key for key in file if not key.startswith("#")]
            return {key: content(file[key]) for key in wanted if not names or key in names}
    except OSError as error:
        raise TableError(f"{path}: it is not a readable MATLAB file ({error})") from None


def value_at(path: Path, content: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - any type
    """Return the value of a key, which is dotted for fields of structs.

    Parameters
    ----------
    path : Path
        The file, for messages.
    content : mapping
        Result of `read_mat`.
    key : str
        For example ``fcs`` or ``results.matrices``.

    Returns
    -------
    object

    Raises
    ------
    TableError
        If there is no such key; the message lists the numeric arrays of the file.
    """
    value: Any = content
    for part in key.split("."):
        value = _unwrapped(value)
        fields = value if isinstance(value, Mapping) else (_fields(value) or {})
        if part not in fields:
            there = ", ".join(f"{name} {shape}" for name, shape in numeric_arrays(content).items())
            raise TableError(
                f"{path}: it has no {key!r}; give key as one of its arrays: {there or 'none'}"
            )
        value = value[part]
    return _unwrapped(value)


def numeric_arrays(content: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each numeric array by its key, fields of structs included."""
    return dict(_walk(content, ""))


def _walk(node: Any, prefix: str) -> Iterator[tuple[str, tuple[int, ...]]]:  # noqa: ANN401
    node = _unwrapped(node)
    fields = tuple(node) if isinstance(node, Mapping) else _fields(node)
    if fields is not None:
        for name in fields:
            yield from _walk(node[name], f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(node, np.ndarray) and node.dtype.kind in "fiu":
        yield prefix, node.shape


def _fields(value: Any) -> tuple[str, ...] | None:  # noqa: ANN401 - any type
    """Return the names of the fields of a struct; None for other values."""
    return value.dtype.names if isinstance(value, np.ndarray | np.void) else None


def _unwrapped(value: Any) -> Any:  # noqa: ANN401 - any type
    """Take the only element of a struct or cell of size one, as scipy returns it."""
    while isinstance(value, np.ndarray) and value.size == 1:
        if value.dtype == object or (value.dtype.names and value.shape):
            value = value.reshape(-1)[0]
        else:
            break
    return value
