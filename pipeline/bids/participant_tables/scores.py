"""Collect scores by participant and session from all tables of a data set."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from circuitshift.pipeline.bids.participant_tables.columns import (
    Column,
    clean_column,
    comparable,
)
from circuitshift.pipeline.bids.participant_tables.labels import (
    LABEL,
    SessionMatcher,
    match_participants,
    participant_label,
)
from circuitshift.pipeline.bids.participant_tables.rows import (
    Log,
    Rows,
    columns_named,
    find_column,
    read_rows,
)
from circuitshift.pipeline.bids.participant_tables.sidecars import read_sidecar, without_codes
from circuitshift.pipeline.io.cells import listed
from circuitshift.pipeline.io.tables import NOT_AVAILABLE

__all__ = ["LABEL_COLUMNS", "SESSION_COLUMNS", "Scores", "Visit"]

_MAX_LISTED = 5  # lines with an invalid label that are reported one by one

Visit = tuple[str, str]  # participant and session, labels without sub- and ses-

#: Names of the column of participants, and of the column of sessions, in order of preference.
LABEL_COLUMNS = ("participant_id", "participant", "subject_id", "subject", "sub")
SESSION_COLUMNS = (
    *("session_id", "session", "ses", "visit_id", "visit", "timepoint"),
    *("eventname", "event", "redcap_event_name", "wave", "session_label"),
)


class Scores:
    """Scores by participant and session.

    Parameters
    ----------
    sessions : mapping of str to sequence of str
        Sessions of each participant that has a folder.
    log : Log
        Receives problems and notes.
    """

    def __init__(self, sessions: Mapping[str, Sequence[str]], log: Log) -> None:
        self.folders = list(sessions)
        self.log = log
        self.matcher = SessionMatcher(sessions, log)
        self._codes_stated: set[str] = set()
        # values by score and visit, each with the file that states it
        self._values: dict[str, dict[Visit, list[tuple[str, Path]]]] = defaultdict(
            lambda: defaultdict(list)
        )

    @property
    def codes_stated(self) -> set[str]:
        """Columns whose codes of missing values a sidecar lists."""
        return self._codes_stated

    def add(self, score: str, visit: Visit, text: str, path: Path) -> None:
        """Record a value of a score.

        Parameters
        ----------
        score : str
            Name of the score.
        visit : (str, str)
            Label of the participant, and session after matching; the session is empty
            if the table has none.
        text : str
            Value. Missing values only record that the score exists.
        path : Path
            The table.
        """
        values = self._values[score]
        if text != NOT_AVAILABLE:
            values[visit].append((text, path))

    def read_session_tables(self, root: Path) -> None:
        """Read all columns of ``sub-X/sub-X_sessions.tsv`` and of ``sessions.tsv`` at the root."""
        if _exists(root / "sessions.tsv"):
            self._read_session_table(root / "sessions.tsv", "")
        for folder in sorted(root.glob("sub-*")):
            label = folder.name.removeprefix("sub-")
            path = folder / f"{folder.name}_sessions.tsv"
            if LABEL.fullmatch(label) and _exists(path):
                self._read_session_table(path, label)

    def read_phenotypes(self, root: Path) -> None:
        """Read all columns of ``phenotype/*.tsv``.

        A column that occurs in several tables is named ``table_column``.
        """
        folder = root / "phenotype"
        paths = sorted(folder.glob("*.tsv")) if folder.is_dir() else []
        paths = [path for path in paths if not path.name.startswith("._")]
        rows_by_file = {path: self._visits_of(path, "") for path in paths}
        n_tables = Counter(name for rows in rows_by_file.values() if rows for name in rows[0][2])
        for path, rows in rows_by_file.items():
            for participant, session, row in rows:
                for name, text in row.items():
                    score = name if n_tables[name] == 1 else f"{path.stem}_{name}"
                    self.add(score, (participant, session), text, path)

    def _read_session_table(self, path: Path, participant: str) -> None:
        """Read all columns of a table with one row per visit."""
        for label, session, row in self._visits_of(path, participant):
            for name, text in row.items():
                self.add(name, (label, session), text, path)

    def _visits_of(self, path: Path, participant: str) -> list[tuple[str, str, dict[str, str]]]:
        """Read a table with one row per visit: participant, session, other columns by name."""
        rows = read_rows(path, self.log, LABEL_COLUMNS)
        if rows is None:
            return []
        key = "" if participant else find_column(rows, LABEL_COLUMNS, self.log)
        if not participant and not key:
            return []
        session_column = next(iter(columns_named(rows.header, SESSION_COLUMNS)), "")
        if participant and not session_column:
            find_column(rows, SESSION_COLUMNS, self.log)
            return []
        rows = self.without_codes(rows)
        labels = {} if participant else self.labels(rows, key)
        omitted = {key, session_column, *LABEL_COLUMNS}
        out = []
        for line, row in rows.rows:
            label = participant or labels.get(row[key], "")
            session = row[session_column] if session_column else ""
            if session == NOT_AVAILABLE:
                self.log.problem(
                    path,
                    f"line {line} has no session ({session_column} is n/a) and was not used; write "
                    "ses-X",
                    label,
                )
            elif label:
                matched = self.matcher.match(label, session, path)
                if matched or not session:
                    others = {k: v for k, v in row.items() if k not in omitted}
                    out.append((label, matched, others))
        return out

    def without_codes(self, rows: Rows, levels: dict[str, dict[str, str]] | None = None) -> Rows:
        """Replace the codes of missing values that the sidecar of a table states.

        Parameters
        ----------
        rows : Rows
            The table. The sidecar is beside it; that of ``sub-X_sessions.tsv`` may also be
            ``sessions.json`` at the root.
        levels : dict, optional
            Receives the meanings of values, by column.

        Returns
        -------
        Rows
        """
        paths = [rows.path.with_suffix(".json")]
        if rows.path.stem.endswith("_sessions"):
            paths.append(rows.path.parents[1] / "sessions.json")
        for path in paths:
            sidecar = read_sidecar(path, rows.header, self.log)
            self._codes_stated |= sidecar.states_codes
            if levels is not None:
                levels |= sidecar.levels
            rows = without_codes(rows, sidecar, self.log)
        return rows

    def labels(self, rows: Rows, key: str) -> dict[str, str]:
        """Match the labels of a table with folders.

        Parameters
        ----------
        rows : Rows
            The table.
        key : str
            Name of its column of labels.

        Returns
        -------
        dict of str to str
            Label by cell; cells without a valid label are omitted and reported as problems.
        """
        cells = list(dict.fromkeys(row[key] for _, row in rows.rows))
        stated = {cell: participant_label(cell) for cell in cells}
        named = [label for label in stated.values() if label not in ("", NOT_AVAILABLE)]
        matched = match_participants(rows.path, named, self.folders, self.log)
        out = {cell: matched.get(label, label) for cell, label in stated.items()}
        invalid = {cell for cell, label in out.items() if not LABEL.fullmatch(label)}
        _report_invalid(rows, key, invalid, self.log)
        return {cell: label for cell, label in out.items() if cell not in invalid}

    def result(self) -> dict[str, dict[Visit, str]]:
        """Return the values of all scores by visit, without contradictory values.

        Decimal commas are converted, and text in a score that is otherwise numeric is omitted.
        """
        out: dict[str, dict[Visit, str]] = {}
        for score, stated in self._values.items():
            values: dict[Visit, str] = {}
            for visit, given in stated.items():
                if len(given) == 1 or len({comparable(text) for text, _ in given}) == 1:
                    values[visit] = given[0][0]
                else:
                    self._report_conflict(score, visit, given)
            path = next((given[0][1] for given in stated.values() if given), Path())
            column = Column(path, score, score in self._codes_stated, by_session=True)
            labels = [label for label, _ in values]
            texts = clean_column(column, labels, list(values.values()), self.log)
            out[score] = dict(zip(values, texts, strict=True))
        self.log.notes += self.matcher.notes()
        return out

    def _report_conflict(
        self, score: str, visit: Visit, values: Sequence[tuple[str, Path]]
    ) -> None:
        """Report different values of a score at one visit."""
        values_text = " and ".join(dict.fromkeys(f"{text} in {path.name}" for text, path in values))
        when = f" at ses-{visit[1]}" if visit[1] else ""
        self.log.problem(
            values[0][1],
            f"{score} of sub-{visit[0]}{when} is {values_text}, so it is not "
            "used; correct one of them",
            visit[0],
        )


def _report_invalid(rows: Rows, key: str, invalid: Collection[str], log: Log) -> None:
    """Report the lines whose label is invalid; many lines are reported together."""
    lines = [(number, row[key]) for number, row in rows.rows if row[key] in invalid]
    if len(lines) > _MAX_LISTED:
        texts = listed([text for _, text in lines])
        log.problem(rows.path, f"{len(lines)} lines have no valid label ({texts}); write sub-X")
        return
    for number, text in lines:
        log.problem(rows.path, f"line {number} has no valid label ({text!r}); write sub-X")


def _exists(path: Path) -> bool:
    """Return whether there is a file or a broken link."""
    return path.exists() or path.is_symlink()
