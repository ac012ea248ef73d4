"""Read tables that were edited by hand: their encoding, separators, header and rows."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from circuitshift.pipeline.errors import CircuitshiftError, InputProblem
from circuitshift.pipeline.io.cells import MISSING
from circuitshift.pipeline.io.tables import NOT_AVAILABLE
from circuitshift.pipeline.io.text import read_encoded_text

__all__ = ["Log", "Rows", "columns_named", "find_column", "read_rows", "table_name"]


# Characters without width, which are copied from web pages and documents.
_INVISIBLE = dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))


@dataclass(slots=True)
class Log:
    """Problems and notes that are collected while tables are read.

    Parameters
    ----------
    problems : list of InputProblem
    notes : list of str
    doubtful : dict of str to str
        Columns that cannot be used as they are, and the reason.
    doubtful_scores : dict of str to str
        Scores that cannot be used as they are, and the reason.
    """

    problems: list[InputProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubtful: dict[str, str] = field(default_factory=dict)
    doubtful_scores: dict[str, str] = field(default_factory=dict)

    def problem(self, path: Path, sentence: str, participant: str = "") -> InputProblem:
        """Record a problem; the text after the last semicolon is the remedy."""
        what, _, fix = sentence.rpartition("; ")
        problem = InputProblem(str(path), what or fix, fix if what else "correct it", participant)
        self.problems.append(problem)
        return problem


@dataclass(frozen=True, slots=True)
class Rows:
    """The header and the valid rows of one table.

    Parameters
    ----------
    path : Path
        The table.
    header : tuple of str
        Names of the columns that were read.
    rows : tuple of (int, dict)
        Line number and cells by column name of each row. Missing values are ``n/a``.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]


def table_name(path: Path) -> str:
    """Return the path of a table, without the label of a participant so that notes are combined."""
    label = path.parent.name
    if not label.startswith("sub-"):
        return str(path)
    return str(path.parent.parent / "sub-X" / path.name.replace(label, "sub-X"))


def read_rows(path: Path, log: Log, keys: Sequence[str] = ()) -> Rows | None:
    """Read a table that was edited by hand.

    Parameters
    ----------
    path : Path
        Table with cells separated by tabs, commas or semicolons.
    log : Log
        Receives problems and notes.
    keys : sequence of str
        Names of the column of labels. If this column is repeated, the first one is read. Other
        repeated columns are omitted, unless their values are equal.

    Returns
    -------
    Rows or None
        None, with a problem, if the table cannot be read. A row that does not match the header is
        omitted, with a problem.
    """
    try:
        text, encoding = read_encoded_text(path, legacy=True)
    except CircuitshiftError as error:
        log.problem(path, str(error).removeprefix(f"{path}: "))
        return None
    if text.lstrip().lower().startswith(("<!doctype", "<html", "<?xml")):
        log.problem(path, "it is a web page saved as a table; fetch it again")
        return None
    if encoding != "UTF-8":
        log.notes.append(_encoding_note(path, encoding))
    lines = _split(path, text, log)
    if lines is None:
        return None
    header = [_unquote(name) for name in lines[0]]
    while header and not header[-1]:
        header.pop()
    body = _without_row_names(path, header, lines[1:], log)
    rows = list(_cells(path, header, body, log))
    columns = _columns(path, header, rows, log=log, keys={_plain(key) for key in keys})
    names = tuple(header[column] for column in columns)
    kept = [
        (number, dict(zip(names, (cells[column] for column in columns), strict=True)))
        for number, cells in rows
    ]
    return Rows(path, names, tuple(kept))


def _encoding_note(path: Path, encoding: str) -> str:
    """State the encoding of a table that is not in UTF-8."""
    certain = "" if encoding.startswith("UTF") else "; check words with accents"
    return (
        f"{table_name(path)} is encoded as {encoding}; it was read as such{certain}. Save it "
        "as UTF-8 to avoid problems with other tools."
    )


def _split(path: Path, text: str, log: Log) -> list[list[str]] | None:
    """Split a text into lines of cells; None, with a problem, if quoted cells are malformed."""
    text = text.lstrip("\n")
    first = text.split("\n", 1)[0]
    separator = max("\t,;", key=first.count)
    if separator == "\t" or separator not in first:
        return [line.split("\t") for line in text.split("\n")]
    log.notes.append(
        f"{table_name(path)}: its cells are separated by {separator!r} instead of tabs."
    )
    try:
        return list(csv.reader(io.StringIO(text), delimiter=separator))
    except csv.Error as error:
        log.problem(path, f"its quoted cells cannot be read ({error}); separate cells by tabs")
        return None


def _unquote(cell: str) -> str:
    """Remove white space and enclosing quotes, which spreadsheets and R write."""
    if not cell.isascii():
        cell = cell.translate(_INVISIBLE)
    cell = cell.strip()
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        cell = cell[1:-1].replace('""', '"').strip()
    return cell


def _without_row_names(
    path: Path, header: Sequence[str], lines: list[list[str]], log: Log
) -> list[list[str]]:
    """Remove a first column of row numbers that has no name, as R writes."""
    filled = [line for line in lines if any(cell.strip() for cell in line)]
    numbers = [_unquote(line[0]) for line in filled]
    expected = [str(row) for row in range(1, len(filled) + 1)]
    if (
        not filled
        or numbers != expected
        or any(len(line) != len(header) + 1 or not line[-1].strip() for line in filled)
    ):
        return lines
    log.notes.append(f"{path}: its first column has row numbers and no name, and is not read.")
    return [line[1:] for line in lines]


def _cells(
    path: Path, header: Sequence[str], lines: Sequence[Sequence[str]], log: Log
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that match the header; report the others as problems."""
    for number, cells in enumerate(lines, start=2):
        values = [_unquote(cell) for cell in cells]
        while len(values) > len(header) and not values[-1]:
            values.pop()
        if not any(values):
            continue
        if len(values) != len(header):
            log.problem(
                path,
                f"line {number} has {len(values)} cells where the header has {len(header)}; "
                "separate cells by one tab and write n/a for missing values",
                values[0].strip().removeprefix("sub-"),
            )
            continue
        yield number, [NOT_AVAILABLE if value.lower() in MISSING else value for value in values]


def _columns(
    path: Path,
    header: Sequence[str],
    rows: Sequence[tuple[int, list[str]]],
    *,
    log: Log,
    keys: set[str],
) -> list[int]:
    """Choose the columns to read: those with a name that is unambiguous."""
    times = Counter(header)
    out = []
    for column, name in enumerate(header):
        first = header.index(name)
        if not name:
            if any(cells[column] != NOT_AVAILABLE for _, cells in rows):
                log.notes.append(f"{path}: column {column + 1} has no name and is not read.")
        elif times[name] == 1 or (
            column == first
            and _use_first(path, header, name, rows, log=log, is_key=_plain(name) in keys)
        ):
            out.append(column)
    return out


def _use_first(
    path: Path,
    header: Sequence[str],
    name: str,
    rows: Sequence[tuple[int, list[str]]],
    *,
    log: Log,
    is_key: bool,
) -> bool:
    """Decide whether the first of several columns with one name is read, and report it."""
    columns = [column for column, other in enumerate(header) if other == name]
    different = [number for number, cells in rows if len({cells[column] for column in columns}) > 1]
    if is_key and different:
        log.problem(
            path,
            f"column {name} occurs more than once, and the first one was read; rename the others",
        )
        return True
    if not different:
        log.notes.append(f"{path}: column {name} occurs more than once with equal values.")
        return True
    reason = (
        f"occurs more than once with different values (line {different[0]}) and was not read; "
        "rename one of them"
    )
    log.problem(path, f"column {name} {reason}")
    log.doubtful[name] = f"{path}: column {name} {reason}"
    return False


def _plain(name: str) -> str:
    """Remove separators from a column name, and convert it to lower case."""
    return re.sub(r"[\W_]+", "", name.lower())


def columns_named(header: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the columns that have one of several names, ignoring case and separators.

    Parameters
    ----------
    header : sequence of str
        Names of the columns of a table.
    names : sequence of str
        Accepted names, in order of preference.

    Returns
    -------
    list of str
        Columns in the order of `names`.
    """
    by_name: dict[str, str] = {_plain(name): name for name in reversed(header)}
    found = (name if name in header else by_name.get(_plain(name), "") for name in names)
    return list(dict.fromkeys(name for name in found if name))


def find_column(rows: Rows, names: Sequence[str], log: Log) -> str:
    """Find a column of labels, ignoring case and separators; report if there is none.

    Parameters
    ----------
    rows : Rows
        Table to search.
    names : sequence of str
        Accepted names; the first one is that of BIDS.
    log : Log
        Receives a problem, or a note if the name is not that of BIDS.

    Returns
    -------
    str
        Name of the column; empty if there is none.
    """
    found = next(iter(columns_named(rows.header, names)), "")
    if not found:
        available = ", ".join(rows.header[:10]) + (" and others" if len(rows.header) > 10 else "")
        log.problem(
            rows.path,
            f"it has no column {names[0]} (its columns are {available}); "
            + (
                "use this name for the column of labels"
                if len(rows.header) > 1 or " " not in "".join(rows.header)
                else "the first line must have the names of the columns, separated by tabs"
            ),
        )
    elif found != names[0]:
        log.notes.append(f"{rows.path}: its column {found!r} is used as {names[0]}.")
    return found
