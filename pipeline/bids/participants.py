"""Read tables about participants: participants.tsv, sessions.tsv and phenotype/*.tsv.

These tables are often edited by hand. A problem in one row therefore concerns that row only: it is
reported as an `InputProblem` of one participant, and all other rows are read.
"""

import csv
import difflib
import io
import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.errors import CircuitshiftError, InputError, InputProblem, TableError
from circuitshift.pipeline.io import tables

__all__ = ["ParticipantTable", "read_participants"]

Visit = tuple[str, str]  # participant and session, labels without sub- and ses-

_NA = tables.NOT_AVAILABLE
_MISSING = frozenset({"", "n/a", "na", "nan"})
_KEYS = ("participant_id", "participant", "subject_id", "subject", "sub")
_SESSION_KEYS = ("session_id", "session", "ses")
_BY_SESSION = re.compile(r"(.+)_ses-([a-zA-Z0-9+]+)")
_LABEL = re.compile(r"[a-zA-Z0-9+]+")
# A column is numeric if at least this proportion, and this number, of its values are numbers.
_NUMERIC_SHARE = 0.7
_MIN_NUMERIC = 3


@dataclass(frozen=True, slots=True)
class ParticipantTable:
    """The participants of a data set, with their characteristics and scores.

    Parameters
    ----------
    labels : tuple of str
        Participant labels without ``sub-``: those with a row in the table, followed by those with
        a folder only.
    columns : dict of str to tuple of str
        The other columns of participants.tsv, in the order of `labels`. Missing values are
        ``n/a``.
    problems : tuple of InputProblem
        Problems of the tables. `InputProblem.participant` is set for problems of one participant.
    notes : tuple of str
        Deviations from BIDS that were tolerated, one sentence each.
    visits : dict of str to dict
        Values of each score as text, by score name and visit (participant, session); see
        `scores`.
    path : Path
        The table, or the folder if there is no table.
    """

    labels: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]
    problems: tuple[InputProblem, ...] = ()
    notes: tuple[str, ...] = ()
    visits: dict[str, dict[Visit, str]] = field(default_factory=dict)
    path: Path = Path()

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Return one column as numbers, shape (n_participants,), with NaN for missing values.

        Raises
        ------
        TableError
            If there is no such column, or it contains text that is not a number.
        """
        if column not in self.columns:
            near = _nearest(column, self.columns)
            raise TableError(f"{self.path}: it has no column {column!r}; correct the name{near}")
        out = np.empty(len(self.labels))
        for row, text in enumerate(self.columns[column]):
            value = _number(text)
            if value is None:
                raise TableError(
                    f"{self.path}, sub-{self.labels[row]}, column {column}: {text!r} is not a "
                    "number; write a number or n/a"
                )
            out[row] = value
        return out

    def scores(self, score: str) -> dict[Visit, float]:
        """Return one score by participant and session.

        Parameters
        ----------
        score : str
            Name of the score: ``BDI`` for the columns ``BDI_ses-pre`` and ``BDI_ses-post`` of
            participants.tsv; a column of a sessions.tsv; or a column of a phenotype table
            (``column``, or ``table_column`` if several tables have the column).

        Returns
        -------
        dict of (str, str) to float
            Values by participant and session. The session is empty if the table has no sessions.
            Missing and contradictory values are omitted.

        Raises
        ------
        TableError
            If there is no such score, or it contains text that is not a number.
        """
        if score not in self.visits:
            near = _nearest(score, self.visits)
            raise TableError(
                f"{self.path}: it has no score {score!r} by session; correct the name{near}"
            )
        out = {}
        for (label, session), text in self.visits[score].items():
            value = _number(text)
            if value is None:
                raise TableError(
                    f"{self.path}, sub-{label}, ses-{session}: {score} is {text!r}, which is not a "
                    "number; write a number or n/a"
                )
            if not math.isnan(value):
                out[label, session] = value
        return out


def read_participants(root: Path) -> ParticipantTable:
    """Read the tables about the participants of a data set.

    Parameters
    ----------
    root : Path
        A raw data set or a derivative. For a derivative without participants.tsv, the tables of
        the raw data set from which it was derived are read, and a note states this.

    Returns
    -------
    ParticipantTable
        If there is no table, the participants are those with a folder. Problems of a table are
        listed in the result and do not raise an error.

    Raises
    ------
    InputError
        If `root` is not a folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: it is not a folder; give the folder of the data set")
    reader = _Reader(_folders(root))
    folder = _table_folder(root, reader)
    path = folder / "participants.tsv"
    labels, columns = reader.participants(path)
    reader.columns_by_session(path, labels, columns)
    reader.session_tables(folder)
    reader.phenotypes(folder)
    visits = reader.visits()  # may add problems
    return ParticipantTable(
        tuple(labels),
        {name: tuple(values) for name, values in columns.items()},
        tuple(sorted(set(reader.problems))),
        tuple(dict.fromkeys(reader.notes)),
        visits,
        path if path.exists() else root,
    )


def _folders(root: Path) -> list[str]:
    """Return the labels of participants that have a folder, sorted."""
    return sorted(path.name[4:] for path in root.glob("sub-*") if path.is_dir())


def _table_folder(root: Path, reader: "_Reader") -> Path:
    """Find the data set whose tables describe these participants."""
    if _exists(root / "participants.tsv"):
        return root
    for folder in _source_folders(root):
        path = folder / "participants.tsv"
        if path.is_file() and _is_table_of(path, reader.folders):
            reader.notes.append(f"participants.tsv is taken from {folder}, the source of {root}.")
            return folder
    reader.notes.append(
        f"{root} has no participants.tsv; the participants are those with a folder."
    )
    return root


def _is_table_of(path: Path, folders: Collection[str]) -> bool:
    """Return whether a table lists participants of these folders, not those of another study."""
    try:
        lines = tables.read_text(path).split("\n")[1:]
    except CircuitshiftError:
        lines = []
    labels = {_remove_prefix(re.split(r"[\t,;]", line, maxsplit=1)[0], "sub-") for line in lines}
    return not folders or bool(set(folders) & {*labels, *_folders(path.parent)})


def _exists(path: Path) -> bool:
    """Return whether there is a file or a broken link."""
    return path.exists() or path.is_symlink()


def _source_folders(root: Path) -> Iterator[Path]:
    """Yield folders of data sets from which a derivative may have been computed."""
    yield root / "sourcedata" / "raw"
    yield root / "sourcedata"
    try:
        description = tables.read_json(root / "dataset_description.json")
    except CircuitshiftError:
        description = {}
    sources, links = description.get("SourceDatasets"), description.get("DatasetLinks")
    addresses = list(links.values()) if isinstance(links, dict) else []
    if isinstance(sources, list):
        urls = [source.get("URL") for source in sources if isinstance(source, dict)]
        addresses = urls + addresses
    for text in addresses:
        url = urlparse(text) if isinstance(text, str) and text else None
        if url is not None and url.scheme in ("", "file"):
            yield root / unquote(url.path)
    if root.resolve().parent.name == "derivatives":
        yield root.resolve().parent.parent
    elif description.get("DatasetType") == "derivative":
        yield root.resolve().parent


def _number(text: str) -> float | None:
    """Convert a cell to a number: NaN for missing values, None for other text."""
    if text.strip().lower() in (*_MISSING, "null", "none"):
        return math.nan
    try:
        return float(text)
    except ValueError:
        return None


def _nearest(word: str, available: Iterable[str]) -> str:
    """Format the names that are most similar to a word, or all names if none is similar."""
    names = list(available)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    listed = ", ".join(near or names[:20])
    return f" ({'nearest' if near else 'available'}: {listed})" if listed else " (there are none)"


def _remove_prefix(label: str, prefix: str) -> str:
    """Remove white space and a prefix such as ``sub-`` from a label."""
    return label.strip().removeprefix(prefix)


class _Reader:
    """Reader of the tables of one data set, which collects problems and notes.

    Parameters
    ----------
    folders : list of str
        Labels of participants that have a folder.
    """

    def __init__(self, folders: list[str]) -> None:
        self.folders = folders
        self.problems: list[InputProblem] = []
        self.notes: list[str] = []
        # values by score and visit, each with the file that states it
        self._values: dict[str, dict[Visit, list[tuple[str, Path]]]] = defaultdict(
            lambda: defaultdict(list)
        )

    # --- participants.tsv

    def participants(self, path: Path) -> tuple[list[str], dict[str, list[str]]]:
        """Read participants.tsv; participants that have a folder but no row are last."""
        header, rows = self._rows(path) if _exists(path) else ([], [])
        key = self._label_column(path, header, _KEYS) if header else ""
        if not key:
            return list(self.folders), {}
        participants: dict[str, dict[str, str]] = {}
        for line, row in rows:
            label = self._label(path, line, row[key])
            if label and label in participants:
                self._merge_row(
                    path, label, participants[label], {**row, key: participants[label][key]}
                )
            elif label:
                participants[label] = row
        extra = [label for label in self.folders if label not in participants]
        if extra:
            self.notes.append(
                f"{', '.join(f'sub-{label}' for label in extra)}: no row in {path}; all columns "
                "are n/a."
            )
        labels = [*participants, *extra]
        names = [name for name in header if name != key]
        columns = {
            name: [participants[label][name] if label in participants else _NA for label in labels]
            for name in names
        }
        for name, values in columns.items():
            self._remove_words(path, name, labels, values)
        return labels, columns

    def _rows(self, path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
        """Read header and rows; both are empty, with a problem, if the table cannot be read."""
        try:
            text = tables.read_text(path)
        except CircuitshiftError as error:
            self._problem(path, str(error).removeprefix(f"{path}: "))
            return [], []
        if text.lstrip().lower().startswith(("<!doctype", "<html")):
            self._problem(path, "it is a web page saved as a table; fetch it again")
            return [], []
        first = text.split("\n", 1)[0]
        separator = max("\t,;", key=first.count)
        if separator != "\t" and separator in first:
            self.notes.append(f"{path}: its cells are separated by {separator!r} instead of tabs.")
            try:
                lines = list(csv.reader(io.StringIO(text), delimiter=separator))
            except csv.Error as error:
                self._problem(
                    path, f"its quoted cells cannot be read ({error}); separate cells by tabs"
                )
                return [], []
        else:
            lines = [line.split("\t") for line in text.split("\n")]
        header = [name.strip() for name in lines[0]] if lines else []
        while header and not header[-1]:
            header.pop()
        if len(set(header)) < len(header):
            repeated = sorted(name for name, times in Counter(header).items() if times > 1)
            self._problem(
                path, f"column {', '.join(repeated[:5])} occurs more than once; rename one"
            )
            return [], []
        return header, list(self._cells(path, header, lines))

    def _cells(
        self, path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]
    ) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the rows that match the header; report the others as problems."""
        for number, cells in enumerate(lines[1:], start=2):
            values = [cell.strip() for cell in cells]
            while len(values) > len(header) and not values[-1]:
                values.pop()
            if not any(values):
                continue
            if len(values) != len(header):
                self._problem(
                    path,
                    f"line {number} has {len(values)} cells where the header has {len(header)}; "
                    "separate cells by one tab and write n/a for missing values",
                    _remove_prefix(values[0], "sub-"),
                )
                continue
            values_or_na = [_NA if value.lower() in _MISSING else value for value in values]
            yield number, dict(zip(header, values_or_na, strict=True))

    def _label_column(self, path: Path, header: Sequence[str], names: Sequence[str]) -> str:
        """Find the column of labels, ignoring case; empty, with a problem, if there is none."""
        lower = {name.lower(): name for name in reversed(header)}
        found = next((lower[name] for name in names if name in lower), "")
        if not found:
            self._problem(
                path, f"it has no column {names[0]}; use this name for the column of labels"
            )
        elif found != names[0]:
            self.notes.append(f"{path}: its column {found!r} is used as {names[0]}.")
        return found

    def _label(self, path: Path, line: int, text: str) -> str:
        """Convert a participant label to the form of the folder names; empty if it is invalid."""
        label = _remove_prefix(text, "sub-")
        if not _LABEL.fullmatch(label):
            self._problem(path, f"line {line} has no valid label ({text!r}); write sub-X")
            return ""
        if label in self.folders or not label.isdecimal():
            return label
        candidates = [name for name in self.folders if name.isdecimal() and int(name) == int(label)]
        if len(candidates) == 1:
            self.notes.append(
                f"{path}: {text!r} is matched with the folder sub-{candidates[0]}, from which it "
                "differs by leading zeros only."
            )
            return candidates[0]
        return label

    def _merge_row(
        self, path: Path, label: str, first_row: dict[str, str], row: Mapping[str, str]
    ) -> None:
        """Merge a repeated row with the first one; contradictory values become ``n/a``."""
        different = [name for name in first_row if first_row[name] != row[name]]
        if not different:
            self.notes.append(f"{path}: sub-{label} has two equal rows; one is used.")
            return
        listed = ", ".join(f"{name} {first_row[name]} and {row[name]}" for name in different)
        self._problem(path, f"sub-{label} has different rows ({listed}); keep one of them", label)
        for name in different:
            first_row[name] = _NA

    def _remove_words(
        self, path: Path, name: str, labels: Sequence[str], values: list[str]
    ) -> None:
        """Replace text in a numeric column by ``n/a``, as it would make the column categorical."""
        numbers_or_none = [_number(value) for value in values]
        available = [n for n in numbers_or_none if n is None or not math.isnan(n)]
        words = [k for k, n in enumerate(numbers_or_none) if n is None]
        numbers = len(available) - len(words)
        if not words or numbers < max(_MIN_NUMERIC, _NUMERIC_SHARE * len(available)):
            return
        for k in words:
            self._problem(
                path,
                f"{name} of sub-{labels[k]} is {values[k]!r} in a numeric column and is treated as "
                "n/a; write a number or n/a",
                labels[k],
            )
            values[k] = _NA

    # --- scores by session

    def columns_by_session(
        self, path: Path, labels: Sequence[str], columns: Mapping[str, Sequence[str]]
    ) -> None:
        """Read scores from columns named ``<score>_ses-<label>``."""
        for name, values in columns.items():
            match = _BY_SESSION.fullmatch(name)
            if match:
                for label, text in zip(labels, values, strict=True):
                    self._add_value(match[1], (label, match[2]), text, path)

    def session_tables(self, root: Path) -> None:
        """Read all columns of ``sub-X/sub-X_sessions.tsv`` and of ``sessions.tsv`` at the root."""
        if _exists(root / "sessions.tsv"):
            self._session_table(root / "sessions.tsv", "")
        for label in _folders(root):
            path = root / f"sub-{label}" / f"sub-{label}_sessions.tsv"
            if _exists(path):
                self._session_table(path, label)

    def phenotypes(self, root: Path) -> None:
        """Read all columns of ``phenotype/*.tsv``.

        A column that occurs in several tables is named ``table_column``.
        """
        folder = root / "phenotype"
        paths = sorted(folder.glob("*.tsv")) if folder.is_dir() else []
        paths = [path for path in paths if not path.name.startswith("._")]
        rows_by_file = {path: self._visits_of(path, "") for path in paths}
        n_tables = Counter(name for rows in rows_by_file.values() if rows for name in rows[0][1])
        for path, rows in rows_by_file.items():
            for visit, row in rows:
                for name, text in row.items():
                    score = name if n_tables[name] == 1 else f"{path.stem}_{name}"
                    self._add_value(score, visit, text, path)

    def _session_table(self, path: Path, participant: str) -> None:
        """Read all columns of a table with one row per visit."""
        for visit, row in self._visits_of(path, participant):
            for name, text in row.items():
                self._add_value(name, visit, text, path)

    def _visits_of(self, path: Path, participant: str) -> list[tuple[Visit, dict[str, str]]]:
        """Read a table with one row per visit: the visit, and the other columns by name."""
        header, rows = self._rows(path)
        if not header:
            return []
        key = "" if participant else self._label_column(path, header, _KEYS)
        if not participant and not key:
            return []
        lower = {name.lower(): name for name in reversed(header)}
        session_column = next((lower[name] for name in _SESSION_KEYS if name in lower), "")
        if participant and not session_column:
            self._label_column(path, header, _SESSION_KEYS)
            return []
        out = []
        for line, row in rows:
            label = participant or self._label(path, line, row[key])
            session = _remove_prefix(row[session_column], "ses-") if session_column else ""
            if label:
                other_columns = {
                    k: v for k, v in row.items() if k not in (key, session_column, *_KEYS)
                }
                out.append(((label, session), other_columns))
        return out

    def _add_value(self, score: str, visit: Visit, text: str, path: Path) -> None:
        """Record a value of a score; missing values only record that the score exists."""
        if text != _NA:
            self._values[score][visit].append((text, path))
        else:
            self._values[score]

    def visits(self) -> dict[str, dict[Visit, str]]:
        """Return the values of all scores, without contradictory values."""
        out: dict[str, dict[Visit, str]] = {}
        for score, stated in self._values.items():
            out[score] = {}
            for visit, values in stated.items():
                distinct = dict.fromkeys(_comparable(text) for text, _ in values)
                if len(distinct) == 1:
                    out[score][visit] = values[0][0]
                else:
                    self._report_conflict(score, visit, values)
            self._remove_words_of_score(score, out[score])
        return out

    def _report_conflict(
        self, score: str, visit: Visit, values: Sequence[tuple[str, Path]]
    ) -> None:
        """Report different values of a score at one visit."""
        listed = " and ".join(dict.fromkeys(f"{text} in {path.name}" for text, path in values))
        when = f" at ses-{visit[1]}" if visit[1] else ""
        self._problem(
            values[0][1],
            f"{score} of sub-{visit[0]}{when} is {listed}, so it is not used; correct one of them",
            visit[0],
        )

    def _remove_words_of_score(self, score: str, values: dict[Visit, str]) -> None:
        """Apply `_remove_words` to the values of a score."""
        visits = list(values)
        texts = list(values.values())
        path = next((stated[0][1] for stated in self._values[score].values() if stated), Path())
        self._remove_words(path, score, [label for label, _ in visits], texts)
        values.update(zip(visits, texts, strict=True))

    def _problem(self, path: Path, sentence: str, participant: str = "") -> None:
        """Record a problem; the text after the last semicolon is the remedy."""
        what, _, fix = sentence.rpartition("; ")
        self.problems.append(
            InputProblem(str(path), what or fix, fix if what else "correct it", participant)
        )


def _comparable(text: str) -> object:
    """Convert a value for comparison, so that 14 and 14.0 are equal."""
    value = _number(text)
    return text if value is None else value
