"""Read regional time series and matrices as other programs write them.

The files are text tables of numbers (``.tsv``, ``.csv``, ``.tsv.gz``). Programs differ in whether
the first line holds the names of the regions, whether row numbers come first, and in separators
and quotes. What a table itself proves is resolved here and stated in `NumberTable.notes`; names
that a table does not contain are left to the caller, who knows the atlas.
"""

import csv
import gzip
import itertools
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io import tables

__all__ = ["NumberTable", "read_number_matrix", "read_number_series"]

_MISSING = frozenset({"", "n/a", "na", "nan", "-nan", "null", "none"})
_MAX_BYTES = 512 * 2**20  # of the text of a compressed table
_WHOLE = re.compile(r"[0-9]{1,9}")
# Names that pandas and spreadsheets give to a column of row numbers.
_INDEX_NAME = re.compile(r"|Unnamed: 0(\.\d+)*")
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(e[-+]?\d+)?", re.IGNORECASE)
# ``0,123`` and ``12,5`` can only be decimals; ``1,234`` might be a thousand.
_SURE_COMMA = re.compile(r"[-+]?(0?,\d+|\d+,(\d{1,2}|\d{4,}))(e[-+]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NumberTable:
    """A table of numbers with the names of its columns, if it has them.

    Parameters
    ----------
    path : Path
        The file.
    labels : tuple of str or None
        Names of the columns. None if the file has no line of names, or if these are only the
        numbers from 0 or 1 on.
    values : ndarray of shape (n_rows, n_columns)
        Values, with NaN for missing ones.
    notes : tuple of str
        What was resolved while reading, one sentence each.
    """

    path: Path
    labels: tuple[str, ...] | None
    values: Floats
    notes: tuple[str, ...] = ()


def read_number_series(path: Path) -> NumberTable:
    """Read regional time series, one row per volume.

    A first column of row numbers is removed: one whose values are consecutive whole numbers, or
    a column without a name whose values increase or are no numbers.

    Parameters
    ----------
    path : Path
        Text table, compressed or not.

    Returns
    -------
    NumberTable

    Raises
    ------
    TableError
        If the table is malformed, a cell is not a number, or a column has no name.
    """
    found = _cells(path)
    first = found.first_column()
    if found.first_is_index or (len(first) > 2 and _are_row_numbers(first)):
        if found.first_is_index and not _increase(first):
            raise TableError(f"{path}, line 1: a column has no name; name all columns")
        found.remove_first("row numbers")
    return found.table()


def read_number_matrix(path: Path) -> NumberTable:
    """Read a square, symmetric matrix of one value for each pair of regions.

    Parameters
    ----------
    path : Path
        Text table, compressed or not. A first column of names of the rows puts the rows in the
        order of the columns; one of row numbers is removed.

    Returns
    -------
    NumberTable

    Raises
    ------
    TableError
        If the matrix is not square or not symmetric, or names of rows and columns differ.
    """
    found = _cells(path)
    names: list[str] | None = None
    is_wide = found.n_columns == found.n_rows + 1
    first = found.first_column()
    is_numbered = _are_row_numbers(first)
    if found.first_is_index or (is_wide and (found.header is not None or is_numbered)):
        names = first
        found.remove_first("row numbers" if is_numbered else "")
        names = None if is_numbered else names
    table = found.table()
    n_rows, n_columns = table.values.shape
    if n_rows != n_columns:
        raise TableError(
            f"{path}: it has {n_rows} rows and {n_columns} columns; write a square matrix"
        )
    values = table.values
    if names is not None and table.labels is not None:
        if sorted(names) != sorted(table.labels):
            raise TableError(f"{path}: names of rows and columns differ; use the same names")
        order = {name: row for row, name in enumerate(names)}
        values = values[[order[name] for name in table.labels]]
    if not np.allclose(values, values.T, atol=1e-5, equal_nan=True):
        raise TableError(f"{path}: it is not symmetric; write a connectivity matrix")
    labels = table.labels if table.labels is not None or names is None else tuple(names)
    return NumberTable(path, labels, values, table.notes)


class _Cells:
    """The cells of a table as text; lines are split when they are needed, to save memory."""

    def __init__(
        self, path: Path, header: list[str] | None, lines: list[str], separator: str | None
    ) -> None:
        self.path, self.header, self.notes = path, header, list[str]()
        self.first_is_index = False
        self._lines, self._separator, self._skipped = lines, separator, 0

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self._lines)

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self.header if self.header is not None else self._row(0))

    def _row(self, number: int) -> list[str]:
        return _split(self.path, self._lines[number], self._separator)[self._skipped :]

    def first_column(self) -> list[str]:
        """Return the first column as text; cells of empty rows are empty."""
        at = self._skipped
        rows = (_split(self.path, line, self._separator, at + 1) for line in self._lines)
        return [row[at].strip() if at < len(row) else "" for row in rows]

    def remove_first(self, what: str) -> None:
        """Remove the first column, with a note if `what` it holds is not plain."""
        name = self.header[0] if self.header is not None else ""
        if what:
            called = f"the first column ({name})" if name else "a first column without a name"
            self.notes.append(f"{self.path.name}: {called} holds {what} and is left out.")
        self._skipped += 1
        self.header = None if self.header is None else self.header[1:]
        self.first_is_index = False

    def table(self) -> NumberTable:
        """Convert all cells to numbers and check the names of the columns."""
        labels = None if self.header is None else tuple(self.header)
        n_columns = self.n_columns
        if labels is not None and _are_row_numbers(labels):
            labels = None
        elif labels is not None:
            _check_names(self.path, labels)
        first_line = 1 if self.header is None else 2
        values = np.empty((self.n_rows, n_columns))
        commas = _Commas(self.path)
        for place in range(self.n_rows):
            values[place] = _row_of_numbers(
                self.path,
                place + first_line,
                self._row(place),
                n_columns=n_columns,
                first="the first line" if self.header is None else "the header",
                number=commas.number,
            )
        notes = [*self.notes, *commas.notes()]
        return NumberTable(self.path, labels, values, tuple(notes))


class _Commas:
    """Numbers with a decimal comma, and whether the table proves that it is one."""

    def __init__(self, path: Path) -> None:
        self._path, self._unsure = path, ""
        self._seen = self._sure = False

    def number(self, line: int, text: str) -> float:
        """Parse one cell, with NaN for a missing value."""
        text = text.strip()
        if text.lower() in _MISSING:
            return math.nan
        try:
            return float(text)
        except ValueError:
            pass
        if not _DECIMAL_COMMA.fullmatch(text):
            raise TableError(
                f"{self._path}, line {line}: {text!r} is not a number; write a number or n/a"
            )
        self._seen = True
        if _SURE_COMMA.fullmatch(text):
            self._sure = True
        elif not self._unsure:
            self._unsure = f"{self._path}, line {line}: {text!r}"
        return float(text.replace(",", "."))

    def notes(self) -> list[str]:
        """Return a note if there were decimal commas; refuse those that may be thousands."""
        if self._seen and not self._sure:
            raise TableError(
                f"{self._unsure} may be a decimal or a thousand; write numbers with a decimal point"
            )
        return [f"{self._path.name}: decimal commas are read as points."] if self._seen else []


def _row_of_numbers(
    path: Path,
    line: int,
    cells: list[str],
    *,
    n_columns: int,
    first: str,
    number: Callable[[int, str], float],
) -> "list[str] | list[float]":
    """Return the cells of a row as numbers, or as text that numpy converts at once."""
    while len(cells) > n_columns and not cells[-1].strip():
        cells.pop()
    if len(cells) != n_columns:
        raise TableError(
            f"{path}, line {line}: {len(cells)} numbers where {first} has {n_columns}; "
            "write n/a for missing values"
        )
    try:
        return list(map(float, cells))
    except ValueError:
        return [number(line, cell) for cell in cells]


def _cells(path: Path) -> _Cells:
    """Find the cells of a table, and whether its first line holds names."""
    lines = _text(path).rstrip("\n").split("\n")
    if lines[0].lstrip().lower().startswith(("<!doctype", "<html")):
        raise TableError(f"{path}: it is a web page saved as a table; fetch it again")
    separator = _separator(lines)
    first, *others = (_split(path, line, separator) for line in lines[:6])
    first = [cell.strip() for cell in first]
    while len(first) > 1 and not first[-1]:  # trailing separators of spreadsheets
        first.pop()
    if not _is_header(first, others):
        return _Cells(path, None, lines, separator)
    if not others:
        raise TableError(f"{path}: it has a header and no rows; write or fetch it again")
    # The function write.table of R names the columns and not the column of row names.
    if all(len(row) == len(first) + 1 and row[-1].strip() for row in others):
        first.insert(0, "")
    found = _Cells(path, first, lines[1:], separator)
    n_indexes = sum(1 for _ in itertools.takewhile(_INDEX_NAME.fullmatch, first))
    for _ in range(n_indexes - 1):  # written and read twice by pandas
        found.remove_first("row numbers")
    found.first_is_index = n_indexes > 0
    return found


def _is_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first line, above `rows`, names columns by words or whole numbers."""
    if not all(map(_is_number, first)):
        return True
    plain = list(itertools.dropwhile(_INDEX_NAME.fullmatch, first))
    if len(plain) < 2 or not rows or not all(map(_WHOLE.fullmatch, plain)):
        return False
    if _are_row_numbers(plain):
        return True
    # Values of a label image, such as 2001, 2002, 2101, above values that are not whole.
    others = [cell.strip() for row in rows for cell in row[1:]]
    return len(set(plain)) == len(plain) and not all(map(_WHOLE.fullmatch, others))


def _text(path: Path) -> str:
    """Read a table as text, and decompress it if it is compressed."""
    if path.suffix != ".gz":
        return tables.read_text(path)
    try:
        with gzip.open(path) as file:
            raw = file.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise TableError(f"{path}: it cannot be decompressed ({error}); fetch it again") from None
    if len(raw) > _MAX_BYTES:
        raise TableError(
            f"{path}: its text has more than {_MAX_BYTES // 2**20} MB; check whether it is the "
            "correct file"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path}: it is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    if not text.strip():
        raise TableError(f"{path}: it is empty; write or fetch it again")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _separator(lines: Sequence[str]) -> str | None:
    """Find the character that separates cells; None for blanks."""
    sample = lines[:5]
    for mark in ("\t", ";", ","):
        if mark in lines[0] and 2 * sum(mark in line for line in sample) >= len(sample):
            return mark
    return None if all(len(line.split()) > 1 for line in sample) else "\t"


def _split(path: Path, line: str, separator: str | None, limit: int = -1) -> list[str]:
    """Split a line into cells, minding quotes; after `limit` cells the rest is one cell."""
    if separator is None:
        return [cell.strip('"') for cell in line.split(None, limit)]
    if '"' not in line:
        return line.split(separator, limit)
    try:
        return [cell for row in csv.reader([line], delimiter=separator) for cell in row]
    except csv.Error as error:
        raise TableError(
            f"{path}: it cannot be split into cells ({error}); write it again"
        ) from None


def _is_number(text: str) -> bool:
    """Return whether a cell of the first line is a number or a missing value."""
    if text.lower() in _MISSING or _DECIMAL_COMMA.fullmatch(text):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _are_row_numbers(cells: Sequence[str]) -> bool:
    """Return whether cells are the whole numbers from 0 or 1 on, in this order."""
    if len(cells) < 2 or not _WHOLE.fullmatch(cells[0]) or int(cells[0]) > 1:
        return False
    start = int(cells[0])
    return all(
        _WHOLE.fullmatch(cell) and int(cell) == start + place for place, cell in enumerate(cells)
    )


def _increase(cells: Sequence[str]) -> bool:
    """Return whether cells are increasing numbers, or names of rows."""
    if not all(map(_is_number, cells)):
        return True
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        return False
    return all(a < b for a, b in itertools.pairwise(numbers))


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Raise an error if column names are empty or repeated."""
    if any(not name for name in names):
        raise TableError(f"{path}, line 1: a column has no name; name all columns")
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        raise TableError(
            f"{path}, line 1: column {', '.join(repeated[:5])} occurs more than once; "
            "use each column name once"
        )
