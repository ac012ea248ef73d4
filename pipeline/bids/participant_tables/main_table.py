"""Read participants.tsv, with one row per participant or one row per visit."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from circuitshift.pipeline.bids.participant_tables.columns import (
    Column,
    clean_column,
    comparable,
)
from circuitshift.pipeline.bids.participant_tables.labels import participant_label, unmet_folders
from circuitshift.pipeline.bids.participant_tables.rows import (
    Log,
    Rows,
    columns_named,
    find_column,
    read_rows,
)
from circuitshift.pipeline.bids.participant_tables.scores import (
    LABEL_COLUMNS,
    SESSION_COLUMNS,
    Scores,
)
from circuitshift.pipeline.bids.participant_tables.sidecars import (
    levels_of_values,
    unused_levels,
)
from circuitshift.pipeline.errors import InputProblem
from circuitshift.pipeline.io.cells import listed, numeric_column
from circuitshift.pipeline.io.tables import NOT_AVAILABLE

__all__ = ["MainTable", "read_main_table"]

_BY_SESSION = re.compile(r"(.+)_ses-([a-zA-Z0-9+]+)")
_N_NAMED = 10  # participants without a row that a note names
_RowsOf = dict[str, list[dict[str, str]]]  # rows by label of the participant


@dataclass(slots=True)
class MainTable:
    """The content of participants.tsv.

    Parameters
    ----------
    labels : list of str
        Participants with a row, followed by those with a folder only.
    columns : dict of str to list of str
        Characteristics of participants, in the order of `labels`.
    levels : dict of str to dict
        Meanings of values by column, from participants.json.
    refusals : list of InputProblem
        Why the table cannot be used to assign participants to groups.
    """

    labels: list[str]
    columns: dict[str, list[str]] = field(default_factory=dict)
    levels: dict[str, dict[str, str]] = field(default_factory=dict)
    refusals: list[InputProblem] = field(default_factory=list)


def read_main_table(path: Path, scores: Scores, log: Log) -> MainTable:
    """Read participants.tsv.

    Parameters
    ----------
    path : Path
        The table.
    scores : Scores
        Receives columns named ``<score>_ses-<label>``, and columns that vary between the rows of
        a participant in a table with one row per visit.
    log : Log
        Receives problems and notes.

    Returns
    -------
    MainTable
        If the table cannot be read, its participants are those with a folder.
    """
    folders = scores.folders
    rows = read_rows(path, log, LABEL_COLUMNS)
    if rows is None:
        return MainTable(list(folders), refusals=log.problems[-1:])
    key = find_column(rows, LABEL_COLUMNS, log)
    if not key:
        return MainTable(list(folders), refusals=log.problems[-1:])
    if not rows.rows:
        problem = log.problem(
            path, "it has a header and no valid rows; write one row for each participant"
        )
        return MainTable(list(folders), refusals=[problem])
    levels: dict[str, dict[str, str]] = {}
    rows = scores.without_codes(rows, levels)
    label_of = scores.labels(rows, key)
    rows_of: _RowsOf = {}
    for _, row in rows.rows:
        if row[key] in label_of:
            rows_of.setdefault(label_of[row[key]], []).append(row)
    cells = dict.fromkeys(row[key] for _, row in rows.rows)
    known = set(folders)
    strangers = [participant_label(cell) for cell in cells if label_of.get(cell) not in known]
    unmet = unmet_folders(path, strangers, rows_of, folders, log=log)
    columns = _columns(rows, key, rows_of, scores=scores, log=log)
    table = _complete(path, columns, list(rows_of), scores=scores, log=log)
    table.levels = {
        name: levels_of_values(meanings, table.columns.get(name, ()))
        for name, meanings in levels.items()
    }
    table.refusals = [unmet] if unmet else []
    for name, values in unused_levels(table.columns, table.levels):
        log.notes.append(
            f"{path}: column {name} contains {listed(values)}, of which the sidecar describes none."
        )
    return table


def _complete(
    path: Path, columns: Mapping[str, list[str]], labels: list[str], *, scores: Scores, log: Log
) -> MainTable:
    """Add participants without a row; clean all columns, and record those by session."""
    with_row = set(labels)
    extra = [label for label in scores.folders if label not in with_row]
    if extra:
        more = f" and {len(extra) - _N_NAMED} others" if len(extra) > _N_NAMED else ""
        log.notes.append(
            f"{', '.join(f'sub-{label}' for label in extra[:_N_NAMED])}{more}: no row in {path}; "
            "all columns are n/a."
        )
    labels = [*labels, *extra]
    out = {}
    for name, given in columns.items():
        values = [*given, *[NOT_AVAILABLE] * len(extra)]
        column = Column(path, name, name in scores.codes_stated)
        out[name] = clean_column(column, labels, values, log)
        match = _BY_SESSION.fullmatch(name)
        if match:
            for label, text in zip(labels, out[name], strict=True):
                session = scores.matcher.match(label, match[2], path)
                if session:
                    scores.add(match[1], (label, session), text, path)
    return MainTable(labels, out)


def _columns(
    rows: Rows, key: str, rows_of: _RowsOf, *, scores: Scores, log: Log
) -> dict[str, list[str]]:
    """Return one value per participant for each column."""
    names = [name for name in rows.header if name != key]
    session_column = _session_column(rows.header, rows_of)
    if session_column:
        log.notes.append(
            f"{rows.path} has one row per visit ({session_column}): columns that are equal in all "
            "rows of a participant describe participants, and the others are scores by session."
        )
        names.remove(session_column)
        return {
            name: values
            for name in names
            if (
                values := _by_visit(
                    rows.path, name, session_column, rows_of, scores=scores, log=log
                )
            )
        }
    for label, own in rows_of.items():
        for row in own[1:]:
            _merge(rows.path, label, own[0], {**row, key: own[0][key]}, log=log)
    return {name: [own[0][name] for own in rows_of.values()] for name in names}


def _session_column(header: Sequence[str], rows_of: _RowsOf) -> str:
    """Find the column that distinguishes the rows of each participant; empty if there is none."""
    if all(len(own) == 1 for own in rows_of.values()):
        return ""
    best = ("", 0)
    for name in columns_named(header, SESSION_COLUMNS):
        repeated = [own for own in rows_of.values() if len(own) > 1]
        distinct = sum(len({row[name] for row in own}) == len(own) for own in repeated)
        if distinct > best[1]:
            best = (name, distinct)
    return best[0]


def _by_visit(
    path: Path, name: str, session_column: str, rows_of: _RowsOf, *, scores: Scores, log: Log
) -> list[str]:
    """Return one value per participant if a column is constant; otherwise, record a score.

    A column that varies in a minority of participants is both. It is missing for these
    participants, because a group that was misspelled once must not be lost for all of them.
    """
    values: list[str] = []
    varying: list[str] = []
    n_repeated = 0
    for label, own in rows_of.items():
        given = [row[name] for row in own if row[name] != NOT_AVAILABLE]
        n_repeated += len(given) > 1
        if len({comparable(text) for text in given}) > 1:
            varying.append(label)
        values.append(given[0] if given and label not in varying else NOT_AVAILABLE)
    if not varying:
        return values
    for label, own in rows_of.items():
        for row in own:
            if row[session_column] != NOT_AVAILABLE:
                session = scores.matcher.match(label, row[session_column], path)
                if session:
                    scores.add(name, (label, session), row[name], path)
            elif row[name] != NOT_AVAILABLE:
                log.problem(
                    path,
                    f"sub-{label} has a row without a session ({session_column} is n/a); write "
                    "ses-X",
                    label,
                )
    if 2 * len(varying) >= n_repeated:
        log.doubtful[name] = (
            f"{path}: column {name} varies between the visits of {len(varying)} participants and "
            "is therefore a score by session; use a column that is equal in all rows of a "
            "participant"
        )
        return []
    _report_varying(path, name, varying, rows_of, log=log)
    return values


def _report_varying(
    path: Path, name: str, varying: Sequence[str], rows_of: _RowsOf, *, log: Log
) -> None:
    """Report participants in whom a column varies, although it is constant in most of them."""
    given = {label: list(dict.fromkeys(row[name] for row in rows_of[label])) for label in varying}
    available = [text for own in rows_of.values() for text in (row[name] for row in own)]
    if numeric_column(available).is_numeric:
        named = ", ".join(f"sub-{label}" for label in varying[:5])
        log.notes.append(
            f"{path}: column {name} varies between visits in {len(varying)} participants ({named}"
            f"{' and others' if len(varying) > 5 else ''}), where it is n/a; it is also a score by "
            "session."
        )
        return
    for label, texts in given.items():
        log.problem(
            path,
            f"sub-{label} has different values of {name} in its rows ({', '.join(texts)}), so it "
            "is treated as n/a; correct one of them",
            label,
        )


def _merge(
    path: Path, label: str, first_row: dict[str, str], row: Mapping[str, str], *, log: Log
) -> None:
    """Merge a repeated row with the first one; contradictory values become ``n/a``."""
    different = [name for name in first_row if comparable(first_row[name]) != comparable(row[name])]
    if not different:
        log.notes.append(f"{path}: sub-{label} has two equal rows; one is used.")
        return
    texts = ", ".join(f"{name} {first_row[name]} and {row[name]}" for name in different)
    log.problem(
        path,
        f"sub-{label} has different rows ({texts}); keep one of them, or add a column session_id "
        "if each row is a visit",
        label,
    )
    for name in different:
        first_row[name] = NOT_AVAILABLE
