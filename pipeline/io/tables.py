"""Read and write tables: TSV and JSON files, regional time series and matrices.

All other modules use these functions. Cells of a table are kept as text until numbers are
requested, so that values such as ``sub-01``, ``1e3`` and ``n/a`` are preserved. Files are written
atomically (`circuitshift.atlases.atomic_files`).
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.atomic_files import atomic_text
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io.cells import MISSING
from circuitshift.pipeline.io.text import read_text

__all__ = [
    "NOT_AVAILABLE",
    "Table",
    "checksum",
    "read_json",
    "read_matrix",
    "read_series",
    "read_table",
    "read_text",
    "table_text",
    "write_json",
    "write_matrix",
    "write_series",
    "write_table",
    "write_text",
]


NOT_AVAILABLE = "n/a"
_MISSING = MISSING | {"none"}
# Upper limit for plausible tables, because a wrong file could otherwise exhaust the memory.
# Confounds tables have 5 million cells.
_MAX_CELLS = 10_000_000
# Values that are not finite, as ``%.9g`` formats them.
_NOT_FINITE = re.compile("nan|-?inf")


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a TSV file, as text.

    Parameters
    ----------
    path : Path
        The file, for error messages.
    columns : dict of str to list of str
        Columns in the order of the file, of equal length. Missing values are kept as ``n/a``.
    """

    path: Path
    columns: dict[str, list[str]]

    @property
    def n_rows(self) -> int:
        """Number of rows, without the header."""
        return len(next(iter(self.columns.values()), []))

    def column(self, name: str) -> list[str]:
        """Return one column as text.

        Raises
        ------
        TableError
            If there is no such column. The message lists the available columns.
        """
        if name not in self.columns:
            raise TableError(
                f"{self.path}: it has no column {name!r}; add it, or use one of "
                f"{', '.join(list(self.columns)[:20])}"
            )
        return self.columns[name]

    def numbers(self, name: str) -> Floats:
        """Return one column as numbers, shape (n_rows,), with NaN for missing values.

        Raises
        ------
        TableError
            If there is no such column, or a cell is neither a number nor a missing value.
        """
        values = self.column(name)
        out = np.empty(len(values))
        for row, text in enumerate(values):
            try:
                out[row] = np.nan if text.strip().lower() in _MISSING else float(text)
            except ValueError:
                raise TableError(
                    f"{self.path}, line {row + 2}, column {name}: {text!r} is not a number; "
                    "write a number or n/a"
                ) from None
        return out

    def rows(self) -> Iterator[dict[str, str]]:
        """Yield each row as a mapping of column names to text."""
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))


def checksum(path: Path) -> str:
    """Return the first 16 hexadecimal digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def read_table(path: Path) -> Table:
    """Read a tab-separated table with a header line.

    Parameters
    ----------
    path : Path
        TSV file.

    Returns
    -------
    Table

    Raises
    ------
    TableError
        If the file is not a valid table. The message states the file, the line and the problem.
    """
    text = read_text(path).rstrip("\n")
    if text.count("\t") + text.count("\n") > _MAX_CELLS:
        raise TableError(
            f"{path}: it has more than {_MAX_CELLS:,} cells; check whether it is the correct file"
        )
    lines = text.split("\n")
    header = [name.strip() for name in lines[0].split("\t")]
    while len(header) > 1 and not header[-1]:  # trailing tabs of spreadsheet exports
        header.pop()
    if lines[0].lstrip().lower().startswith(("<!doctype", "<html")):
        raise TableError(f"{path}: it is a web page saved as a table; fetch it again")
    _refuse_bad_header(path, header)
    columns: dict[str, list[str]] = {name: [] for name in header}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = line.split("\t")
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(header):
            raise TableError(
                f"{path}, line {number}: {len(cells)} cells where the header has {len(header)}; "
                "separate cells by one tab and write n/a for missing values"
            )
        for name, cell in zip(header, cells, strict=True):
            columns[name].append(cell.strip())
    return Table(path, columns)


def _refuse_bad_header(path: Path, header: Sequence[str]) -> None:
    """Raise an error if column names are empty or repeated."""
    if any(not name for name in header):
        raise TableError(f"{path}, line 1: a column has no name; name all columns")
    repeated = sorted(name for name, times in Counter(header).items() if times > 1)
    if repeated:
        raise TableError(
            f"{path}, line 1: column {', '.join(repeated[:5])} occurs more than once; "
            "use each column name once"
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, creating its folder if necessary."""
    with atomic_text(path) as file:
        file.write(text)


def _format_cell(value: object) -> str:
    """Format a value: floats with 9 significant digits, undefined values as ``n/a``."""
    if value is None:
        return NOT_AVAILABLE
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return f"{float(value):.9g}" if math.isfinite(float(value)) else NOT_AVAILABLE
    text = str(value)
    if "\t" in text or "\n" in text:
        text = " ".join(text.split())
    return text or NOT_AVAILABLE


def table_text(columns: Mapping[str, Sequence[object] | npt.NDArray[Any]]) -> str:
    """Format a table as the text of a TSV file.

    Parameters
    ----------
    columns : mapping of str to sequence
        Columns of equal length. NaN and None are written as ``n/a``.

    Returns
    -------
    str
        The header line and one line per row.

    Raises
    ------
    ValueError
        If columns differ in length.
    """
    return "".join(_lines(columns))


def _lines(columns: Mapping[str, Sequence[object] | npt.NDArray[Any]]) -> Iterator[str]:
    """Yield the header line and one line per row."""
    yield "\t".join(columns) + "\n"
    for row in zip(*columns.values(), strict=True):
        yield "\t".join(map(_format_cell, row)) + "\n"


def write_table(
    path: Path,
    columns: Mapping[str, Sequence[object] | npt.NDArray[Any]],
    *,
    sidecar: Mapping[str, object] | None = None,
) -> None:
    """Write a TSV file, and its JSON sidecar if `sidecar` is given.

    Parameters
    ----------
    path : Path
        File to write, with the extension ``.tsv``.
    columns : mapping of str to sequence
        Columns of equal length. NaN and None are written as ``n/a``.
    sidecar : mapping, optional
        Content of the sidecar, with a description of each column.

    Raises
    ------
    ValueError
        If columns differ in length, or the sidecar does not describe all columns.
    OutputError
        If a file cannot be written.
    """
    if sidecar is not None and not set(columns) <= set(sidecar):
        raise ValueError(
            f"{path.name}: columns without a description: {sorted(set(columns) - set(sidecar))}"
        )
    with atomic_text(path) as file:
        file.writelines(_lines(columns))
    if sidecar is not None:
        write_json(path.with_suffix(".json"), sidecar)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    path : Path
        JSON file.

    Returns
    -------
    dict

    Raises
    ------
    TableError
        If the file cannot be read, is not JSON, or does not contain an object.
    """
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise TableError(
            f"{path}, line {error.lineno}: it is not JSON ({error.msg}); correct it"
        ) from None
    except (ValueError, RecursionError):  # numbers of thousands of digits, or deep nesting
        raise TableError(f"{path}: its JSON content cannot be parsed; write it again") from None
    if not isinstance(content, dict):
        raise TableError(f"{path}: it is not a JSON object; write one object, {{...}}")
    return content


def _to_json_types(value: object) -> object:
    """Convert values recursively to types of JSON, and non-finite numbers to None."""
    if isinstance(value, Mapping):
        return {str(key): _to_json_types(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _to_json_types(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [_to_json_types(item) for item in items]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON object atomically, with null for NaN, which JSON does not have."""
    text = json.dumps(_to_json_types(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _parse_numbers(path: Path, lines: Sequence[str], n_columns: int, *, skip: int) -> Floats:
    """Parse the numeric cells of lines, omitting the first `skip` cells of each line."""
    out = np.empty((len(lines), n_columns))
    for row, line in enumerate(lines):
        cells = line.split("\t")[skip:]
        while len(cells) > n_columns and not cells[-1].strip():
            cells.pop()
        if len(cells) != n_columns:
            raise TableError(
                f"{path}, line {row + 2}: {len(cells)} numbers where the header has {n_columns}; "
                "write n/a for missing values"
            )
        try:
            out[row] = cells
        except ValueError:
            out[row] = [_number(path, row + 2, cell) for cell in cells]
    return out


def _number(path: Path, line: int, text: str) -> float:
    """Parse one cell, with NaN for a missing value."""
    if text.strip().lower() in _MISSING:
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise TableError(
            f"{path}, line {line}: {text.strip()!r} is not a number; write a number or n/a"
        ) from None


def read_series(path: Path) -> tuple[tuple[str, ...], Floats]:
    """Read a table of numbers with a header, such as regional time series.

    Parameters
    ----------
    path : Path
        TSV file.

    Returns
    -------
    labels : tuple of str
        Column names.
    series : ndarray of shape (n_rows, n_columns)
        Values, with NaN for ``n/a``.

    Raises
    ------
    TableError
        If the table is malformed, or a cell is not a number.
    """
    lines = read_text(path).rstrip("\n").split("\n")
    header = [name.strip() for name in lines[0].rstrip("\t").split("\t")]
    _refuse_bad_header(path, header)
    if len(lines) < 2:
        raise TableError(f"{path}: it has a header and no rows; write or fetch it again")
    return tuple(header), _parse_numbers(path, lines[1:], len(header), skip=0)


def write_series(
    path: Path,
    labels: Sequence[str],
    values: Floats,
    *,
    sidecar: Mapping[str, object] | None = None,
) -> None:
    """Write a numeric table with one column per label.

    Parameters
    ----------
    path : Path
        File to write, with the extension ``.tsv``.
    labels : sequence of str, length n_columns
        Column names.
    values : ndarray of shape (n_rows, n_columns)
        Values; those that are not finite are written as ``n/a``.
    sidecar : mapping, optional
        Content of the JSON sidecar.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    _write_numbers(path, labels, values, first=None)
    if sidecar is not None:
        write_json(path.with_suffix(".json"), sidecar)


def _write_numbers(
    path: Path, labels: Sequence[str], values: Floats, *, first: Sequence[str] | None
) -> None:
    """Write a header and rows of numbers, with `first` as the first column if it is given."""
    line = "\t".join(["%.9g"] * values.shape[1])
    with atomic_text(path) as file:
        head = ["Node"] if first is not None else []
        file.write("\t".join([*head, *labels]) + "\n")
        for number, row in enumerate(values):
            text = line % tuple(row.tolist())
            if "n" in text:  # nan, inf or -inf, which are the only texts with this letter
                text = _NOT_FINITE.sub(NOT_AVAILABLE, text)
            file.write((f"{first[number]}\t" if first is not None else "") + text + "\n")


def read_matrix(path: Path) -> tuple[tuple[str, ...], Floats]:
    """Read a square matrix with labels, as written by XCP-D and circuitshift (``*_relmat.tsv``).

    Parameters
    ----------
    path : Path
        TSV file with a header line. It may have a first column of row names (``Node``), in which
        case the rows are reordered to match the columns.

    Returns
    -------
    labels : tuple of str
        Names of the columns.
    matrix : ndarray of shape (n, n)
        Symmetric matrix, with NaN for ``n/a``.

    Raises
    ------
    TableError
        If the matrix is not square or not symmetric, or names of rows and columns differ.
    """
    lines = read_text(path).rstrip("\n").split("\n")
    header = [name.strip() for name in lines[0].split("\t")]
    n_rows = len(lines) - 1
    has_row_names = len(header) == n_rows + 1
    labels = tuple(header[1:] if has_row_names else header)
    _refuse_bad_header(path, labels)
    if len(labels) != n_rows:
        raise TableError(
            f"{path}: it has {n_rows} rows and {len(labels)} columns; write a square matrix"
        )
    matrix = _parse_numbers(path, lines[1:], len(labels), skip=int(has_row_names))
    if has_row_names:
        rows = [line.split("\t", 1)[0].strip() for line in lines[1:]]
        if sorted(rows) != sorted(labels):
            raise TableError(f"{path}: names of rows and columns differ; use the same names")
        order = {name: row for row, name in enumerate(rows)}
        matrix = matrix[[order[name] for name in labels]]
    if not np.allclose(matrix, matrix.T, atol=1e-5, equal_nan=True):
        raise TableError(f"{path}: it is not symmetric; write a connectivity matrix")
    return labels, matrix


def write_matrix(
    path: Path,
    labels: Sequence[str],
    matrix: Floats,
    *,
    sidecar: Mapping[str, object] | None = None,
) -> None:
    """Write a square matrix with a first column ``Node``, in the format of XCP-D.

    Parameters
    ----------
    path : Path
        File to write, with the extension ``.tsv``.
    labels : sequence of str, length n
        Names of rows and columns.
    matrix : ndarray of shape (n, n)
        Values; those that are not finite are written as ``n/a``.
    sidecar : mapping, optional
        Content of the JSON sidecar.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    _write_numbers(path, labels, matrix, first=labels)
    if sidecar is not None:
        write_json(path.with_suffix(".json"), sidecar)
