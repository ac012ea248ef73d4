"""Clean the values of one column or score: decimal commas, and text among numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from circuitshift.pipeline.bids.participant_tables.rows import Log
from circuitshift.pipeline.io.cells import numeric_column, parse_number
from circuitshift.pipeline.io.tables import NOT_AVAILABLE

__all__ = ["Column", "clean_column", "comparable"]


@dataclass(frozen=True, slots=True)
class Column:
    """The name and origin of a column or of a score.

    Parameters
    ----------
    path : Path
        The table, or one of the tables of a score.
    name : str
        Name of the column or score.
    codes_stated : bool
        Whether a sidecar lists its codes of missing values.
    by_session : bool
        Whether it is a score by session.
    """

    path: Path
    name: str
    codes_stated: bool = False
    by_session: bool = False


def comparable(text: str) -> object:
    """Convert a value for comparison, so that 14 and 14.0 are equal."""
    value = parse_number(text.replace(",", "."))
    return text if value is None or math.isnan(value) else value


def clean_column(
    column: Column, labels: Sequence[str], values: Sequence[str], log: Log
) -> list[str]:
    """Convert decimal commas, and replace text in a numeric column by ``n/a``.

    Text would make a numeric column categorical. A column of text is not changed.

    Parameters
    ----------
    column : Column
        Name and origin.
    labels : sequence of str, length n_rows
        Participant of each value.
    values : sequence of str, length n_rows
        Values as text.
    log : Log
        Receives a problem for each text in a numeric column, notes on the form of the numbers,
        and the reason if the column must not be used as numbers.

    Returns
    -------
    list of str
        The values, with decimal points.
    """
    found = numeric_column(values, codes_stated=column.codes_stated)
    what = f"{'score' if column.by_session else 'column'} {column.name}"
    log.notes += [f"{column.path}: {what} {note}." for note in found.notes]
    if found.doubt:
        doubtful = log.doubtful_scores if column.by_session else log.doubtful
        doubtful.setdefault(column.name, f"{column.path}: {what} {found.doubt}")
        if found.is_ambiguous:
            log.problem(column.path, f"{what} {found.doubt}")
        else:
            log.notes.append(f"{column.path}: {what} {found.doubt}.")
    if not found.is_numeric:
        return list(values)
    out = [value.replace(",", ".") for value in values]
    for row in found.words:
        log.problem(
            column.path,
            f"{column.name} of sub-{labels[row]} is {values[row]!r} in a numeric column and is "
            "treated as n/a; write a number or n/a",
            labels[row],
        )
        out[row] = NOT_AVAILABLE
    return out
