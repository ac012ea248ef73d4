"""The only reader and writer of tables: TSV, JSON, regional series, matrices.

Text is kept as text until a number is asked for, so that nothing (``sub-01``, ``1e3``, ``n/a``)
is changed on the way. Every writer writes beside its target and renames: a killed process leaves
the old file or the new one, never half of one.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.whole import atomic_text
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import TableError

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
_MISSING = frozenset({"", "n/a", "na", "nan", "null", "none"})
# What is larger is no table of a study: series of 1000 regions and 20,000 volumes have 200 MB,
# confounds tables some 5 million cells. Without a bound a wrong file takes all memory.
_MOST_BYTES = 256 * 2**20
_MOST_CELLS = 10_000_000


@dataclass(frozen=True, slots=True)
class Table:
    """A TSV as text, column by column.

    Parameters
    ----------
    path : Path
        Where it came from, for messages.
    columns : dict of str to list of str
        In the order of the file; all of equal length. Missing values stay ``n/a``.
    """

    path: Path
    columns: dict[str, list[str]]

    @property
    def n_rows(self) -> int:
        """Rows below the header."""
        return len(next(iter(self.columns.values()), []))

    def column(self, name: str) -> list[str]:
        """Return one column as text.

        Raises
        ------
        TableError
            If there is no such column; says which there are.
        """
        if name not in self.columns:
            raise TableError(
                f"{self.path}: it has no column {name!r}; its columns are "
                f"{', '.join(list(self.columns)[:20])}"
            )
        return self.columns[name]

    def numbers(self, name: str) -> Floats:
        """Return one column as numbers, shape (n_rows,); missing values become NaN.

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
        """Yield each row as a mapping of column to text."""
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))


def read_text(path: Path) -> str:
    """Read a text file; a byte-order mark and Windows line ends are removed.

    Raises
    ------
    TableError
        If it is missing, a link to content that was never fetched, empty, larger than any table
        (256 MB), or not UTF-8 text.
    """
    try:
        about = path.stat()
        if not S_ISREG(about.st_mode):
            raise TableError(f"{path}: it is no file (a folder, pipe or device); write it again")
        if about.st_size > _MOST_BYTES:
            raise TableError(
                f"{path}: it has {about.st_size / 2**20:.0f} MB, more than a table of a study can "
                f"({_MOST_BYTES // 2**20} MB); see whether it is the right file"
            )
        raw = path.read_bytes()
    except FileNotFoundError:
        what = (
            "its content was never fetched (the link leads nowhere); run `datalad get` on it"
            if path.is_symlink()
            else "there is no such file"
        )
        raise TableError(f"{path}: {what}") from None
    except OSError as error:
        raise TableError(f"{path}: it cannot be read ({error.strerror})") from error
    if not raw.strip():
        raise TableError(f"{path}: it is empty; write or fetch it again")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path}: it is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def checksum(path: Path) -> str:
    """Return the first 16 hexadecimal digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def read_table(path: Path) -> Table:
    """Read a tab-separated table with a header line.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Table

    Raises
    ------
    TableError
        If it is no such table: names the file, the line and the fault.
    """
    text = read_text(path).rstrip("\n")
    if text.count("\t") + text.count("\n") > _MOST_CELLS:
        raise TableError(
            f"{path}: it has more than {_MOST_CELLS:,} cells; see whether it is the right file"
        )
    lines = text.split("\n")
    header = [name.strip() for name in lines[0].split("\t")]
    while len(header) > 1 and not header[-1]:  # trailing tabs of spreadsheet exports
        header.pop()
    if lines[0].lstrip().lower().startswith(("<!doctype", "<html")):
        raise TableError(f"{path}: it is a web page saved under a table's name; fetch it again")
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
    """Raise when column names are empty or repeat."""
    if any(not name for name in header):
        raise TableError(f"{path}, line 1: a column has no name; name every column")
    twice = sorted(name for name, times in Counter(header).items() if times > 1)
    if twice:
        raise TableError(
            f"{path}, line 1: column {', '.join(twice[:5])} is there more than once; "
            "keep one of each name"
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; folders are made."""
    with atomic_text(path) as file:
        file.write(text)


def _cell(value: object) -> str:
    """Write one value: 9 significant digits for floats, n/a for what is undefined."""
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
    """Return a table as the text of a TSV.

    Parameters
    ----------
    columns : mapping of str to sequence
        Of equal length. NaN and None become ``n/a``.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If columns differ in length.
    """
    return "".join(_lines(columns))


def _lines(columns: Mapping[str, Sequence[object] | npt.NDArray[Any]]) -> Iterator[str]:
    yield "\t".join(columns) + "\n"
    for row in zip(*columns.values(), strict=True):
        yield "\t".join(map(_cell, row)) + "\n"


def write_table(
    path: Path,
    columns: Mapping[str, Sequence[object] | npt.NDArray[Any]],
    *,
    sidecar: Mapping[str, object] | None = None,
) -> None:
    """Write a TSV, and its JSON when `sidecar` is given.

    Parameters
    ----------
    path : Path
        Ends in ``.tsv``.
    columns : mapping of str to sequence
        Of equal length. NaN and None become ``n/a``.
    sidecar : mapping, optional
        Description of every column, and any other key.

    Raises
    ------
    ValueError
        If columns differ in length, or the sidecar leaves a column undescribed.
    """
    if sidecar is not None and not set(columns) <= set(sidecar):
        raise ValueError(f"{path.name}: undescribed columns {sorted(set(columns) - set(sidecar))}")
    with atomic_text(path) as file:
        file.writelines(_lines(columns))
    if sidecar is not None:
        write_json(path.with_suffix(".json"), sidecar)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    TableError
        If it cannot be read, is not JSON, or is not an object.
    """
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise TableError(f"{path}, line {error.lineno}: it is not JSON ({error.msg})") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise TableError(f"{path}: it is not JSON that can be read; write it again") from None
    if not isinstance(content, dict):
        raise TableError(f"{path}: it must hold one JSON object, {{...}}")
    return content


def _plain(value: object) -> object:
    """Turn numpy values and non-finite numbers into what JSON knows; records into objects."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [_plain(item) for item in items]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON object; NaN becomes null, since JSON has no NaN."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _parse_numbers(path: Path, lines: Sequence[str], n_columns: int, *, skip: int) -> Floats:
    """Parse the numeric cells of lines, after the first `skip` cells of each."""
    out = np.empty((len(lines), n_columns))
    for row, line in enumerate(lines):
        cells = line.split("\t")[skip:]
        while len(cells) > n_columns and not cells[-1].strip():
            cells.pop()
        if len(cells) != n_columns:
            raise TableError(
                f"{path}, line {row + 2}: {len(cells)} numbers where the header has {n_columns}"
            )
        try:
            out[row] = cells
        except ValueError:
            out[row] = [_number(path, row + 2, cell) for cell in cells]
    return out


def _number(path: Path, line: int, text: str) -> float:
    """Parse one cell that may be missing."""
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

    Returns
    -------
    labels : tuple of str
        Column names.
    series : ndarray of shape (n_rows, n_columns)
        NaN where the table says ``n/a``.

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
    labels : sequence of str, length n_columns
    values : ndarray of shape (n_rows, n_columns)
    sidecar : mapping, optional
        Content of the JSON beside it.
    """
    _write_numbers(path, labels, values, first=None)
    if sidecar is not None:
        write_json(path.with_suffix(".json"), sidecar)


def _write_numbers(
    path: Path, labels: Sequence[str], values: Floats, *, first: Sequence[str] | None
) -> None:
    """Write numbers under a header, with a first column of names when given."""
    line = "\t".join(["%.9g"] * values.shape[1])
    with atomic_text(path) as file:
        head = ["Node"] if first is not None else []
        file.write("\t".join([*head, *labels]) + "\n")
        for number, row in enumerate(values):
            text = line % tuple(row)
            if "n" in text:  # nan or inf
                text = "\t".join(map(_cell, row))
            file.write((f"{first[number]}\t" if first is not None else "") + text + "\n")


def read_matrix(path: Path) -> tuple[tuple[str, ...], Floats]:
    """Read a square matrix with names, as XCP-D and circuitshift write (``*_relmat.tsv``).

    A first column of names (``Node``) may be there or not; with it, rows are put in the order of
    the columns.

    Parameters
    ----------
    path : Path

    Returns
    -------
    labels : tuple of str
    matrix : ndarray of shape (n, n)
        Symmetric; NaN where the table says ``n/a``.

    Raises
    ------
    TableError
        If it is not square, its names do not match, or it is not symmetric.
    """
    lines = read_text(path).rstrip("\n").split("\n")
    header = [name.strip() for name in lines[0].split("\t")]
    n_rows = len(lines) - 1
    named = len(header) == n_rows + 1
    labels = tuple(header[1:] if named else header)
    _refuse_bad_header(path, labels)
    if len(labels) != n_rows:
        raise TableError(
            f"{path}: it has {n_rows} rows and {len(labels)} columns; a matrix must be square"
        )
    matrix = _parse_numbers(path, lines[1:], len(labels), skip=int(named))
    if named:
        rows = [line.split("\t", 1)[0].strip() for line in lines[1:]]
        if sorted(rows) != sorted(labels):
            raise TableError(f"{path}: names of rows and columns differ")
        order = {name: row for row, name in enumerate(rows)}
        matrix = matrix[[order[name] for name in labels]]
    if not np.allclose(matrix, matrix.T, atol=1e-5, equal_nan=True):
        raise TableError(f"{path}: it is not symmetric, so it is no connectivity matrix")
    return labels, matrix


def write_matrix(
    path: Path,
    labels: Sequence[str],
    matrix: Floats,
    *,
    sidecar: Mapping[str, object] | None = None,
) -> None:
    """Write a square matrix with a first column ``Node``, as XCP-D does.

    Parameters
    ----------
    path : Path
    labels : sequence of str, length n
    matrix : ndarray of shape (n, n)
    sidecar : mapping, optional
        Content of the JSON beside it.
    """
    _write_numbers(path, labels, matrix, first=labels)
    if sidecar is not None:
        write_json(path.with_suffix(".json"), sidecar)
