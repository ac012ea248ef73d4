"""What is known about the people: participants.tsv, sessions.tsv, phenotype/*.tsv.

These tables are written by hand more than any other file, so what is wrong in one row costs that
row only: it becomes a `InputProblem` of one person, and everybody else is read.
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

Visit = tuple[str, str]  # (participant, session), labels without sub- and ses-

_NA = tables.NOT_AVAILABLE
_MISSING = frozenset({"", "n/a", "na", "nan"})
_KEYS = ("participant_id", "participant", "subject_id", "subject", "sub")
_SESSION_KEYS = ("session_id", "session", "ses")
_BY_SESSION = re.compile(r"(.+)_ses-([a-zA-Z0-9+]+)")
_LABEL = re.compile(r"[a-zA-Z0-9+]+")
# A column is one of numbers when at least this share of its known values are.
_NUMERIC_SHARE = 0.7
_NUMERIC_LEAST = 3


@dataclass(frozen=True, slots=True)
class ParticipantTable:
    """The people of a data set.

    Parameters
    ----------
    labels : tuple of str
        Participant labels without ``sub-``: rows of the table, then people who only have a folder.
    columns : dict of str to tuple of str
        Other columns of participants.tsv, in the order of `labels`; missing values are ``n/a``.
    problems : tuple of Fault
        What is wrong with the tables; `Fault.participant` is set when it concerns one person.
    notes : tuple of str
        What was understood in spite of its form, one sentence each.
    visits : dict of str to dict
        Score name -> (participant, session) -> value as text; see `scores`.
    path : Path
        The table, or the folder when there is none.
    """

    labels: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]
    problems: tuple[InputProblem, ...] = ()
    notes: tuple[str, ...] = ()
    visits: dict[str, dict[Visit, str]] = field(default_factory=dict)
    path: Path = Path()

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Return one column as numbers, shape (n_people,); missing values become NaN.

        Raises
        ------
        TableError
            If there is no such column, or it holds words.
        """
        if column not in self.columns:
            near = _nearest(column, self.columns)
            raise TableError(f"{self.path}: it has no column {column!r}; correct it{near}")
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
            ``BDI`` for columns ``BDI_ses-pre``, ``BDI_ses-post`` of participants.tsv, a column of
            a sessions.tsv, or a column of a phenotype table (``column``, or ``table_column``
            where several tables have it).

        Returns
        -------
        dict of (str, str) to float
            Keyed by (participant, session); the session is empty when the table names none.
            Missing and conflicting values are left out.

        Raises
        ------
        TableError
            If there is no such score, or it holds words.
        """
        if score not in self.visits:
            near = _nearest(score, self.visits)
            raise TableError(
                f"{self.path}: there is no score {score!r} by session; correct it{near}"
            )
        out = {}
        for (label, session), text in self.visits[score].items():
            value = _number(text)
            if value is None:
                raise TableError(
                    f"{self.path}, sub-{label}, ses-{session}: {score} is {text!r}, not a number; "
                    "write a number or n/a"
                )
            if not math.isnan(value):
                out[label, session] = value
        return out


def read_participants(root: Path) -> ParticipantTable:
    """Read what a data set says of its people.

    Parameters
    ----------
    root : Path
        A raw data set, or a derivative; for a derivative without participants.tsv the raw data
        set it came from is looked at, and a note says so.

    Returns
    -------
    People
        People come from the folders when there is no table. Never fails for what is in a table.

    Raises
    ------
    InputError
        If `root` is not a folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: it is no folder; give the folder of the data set")
    reader = _Reader(_folders(root))
    home = _home(root, reader)
    path = home / "participants.tsv"
    labels, columns = reader.participants(path)
    reader.columns_by_session(path, labels, columns)
    reader.session_tables(home)
    reader.phenotypes(home)
    visits = reader.visits()  # may add faults
    return ParticipantTable(
        tuple(labels),
        {name: tuple(values) for name, values in columns.items()},
        tuple(sorted(set(reader.problems))),
        tuple(dict.fromkeys(reader.notes)),
        visits,
        path if path.exists() else root,
    )


def _folders(root: Path) -> list[str]:
    """Labels of the people who have a folder."""
    return sorted(path.name[4:] for path in root.glob("sub-*") if path.is_dir())


def _home(root: Path, reader: "_Reader") -> Path:
    """Find the data set whose tables speak of these people."""
    if _lies_at(root / "participants.tsv"):
        return root
    for folder in _origins(root):
        path = folder / "participants.tsv"
        if path.is_file() and _speaks_of(path, reader.folders):
            reader.notes.append(f"participants.tsv is that of {folder}, which {root} came from.")
            return folder
    reader.notes.append(f"{root} has no participants.tsv; people are those with a folder.")
    return root


def _speaks_of(path: Path, folders: Collection[str]) -> bool:
    """Tell a table of these people from that of a data set that happens to lie above."""
    try:
        lines = tables.read_text(path).split("\n")[1:]
    except CircuitshiftError:
        lines = []
    named = {_strip(re.split(r"[\t,;]", line, maxsplit=1)[0], "sub-") for line in lines}
    return not folders or bool(set(folders) & {*named, *_folders(path.parent)})


def _lies_at(path: Path) -> bool:
    """Tell whether there is such a file, even as a link that leads nowhere."""
    return path.exists() or path.is_symlink()


def _origins(root: Path) -> Iterator[Path]:
    """Yield the folders a derivative may have come from."""
    yield root / "sourcedata" / "raw"
    yield root / "sourcedata"
    try:
        about = tables.read_json(root / "dataset_description.json")
    except CircuitshiftError:
        about = {}
    sources, links = about.get("SourceDatasets"), about.get("DatasetLinks")
    named = list(links.values()) if isinstance(links, dict) else []
    if isinstance(sources, list):
        named = [source.get("URL") for source in sources if isinstance(source, dict)] + named
    for text in named:
        url = urlparse(text) if isinstance(text, str) and text else None
        if url is not None and url.scheme in ("", "file"):
            yield root / unquote(url.path)
    if root.resolve().parent.name == "derivatives":
        yield root.resolve().parent.parent
    elif about.get("DatasetType") == "derivative":
        yield root.resolve().parent


def _number(text: str) -> float | None:
    """Read a cell: NaN when it is missing, None when it is a word."""
    if text.strip().lower() in (*_MISSING, "null", "none"):
        return math.nan
    try:
        return float(text)
    except ValueError:
        return None


def _nearest(word: str, available: Iterable[str]) -> str:
    names = list(available)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    listed = ", ".join(near or names[:20])
    return f" ({'nearest' if near else 'there'}: {listed})" if listed else " (there is none)"


def _strip(label: str, prefix: str) -> str:
    return label.strip().removeprefix(prefix)


class _Reader:
    """Reads the tables of one data set, and keeps what it met on the way.

    Parameters
    ----------
    folders : list of str
        Labels of people who have a folder.
    """

    def __init__(self, folders: list[str]) -> None:
        self.folders = folders
        self.problems: list[InputProblem] = []
        self.notes: list[str] = []
        # score -> visit -> [(text, file)]
        self._stated: dict[str, dict[Visit, list[tuple[str, Path]]]] = defaultdict(
            lambda: defaultdict(list)
        )

    # --- participants.tsv

    def participants(self, path: Path) -> tuple[list[str], dict[str, list[str]]]:
        """Return labels and columns: one row each, people without a row last."""
        header, rows = self._rows(path) if _lies_at(path) else ([], [])
        key = self._key(path, header, _KEYS) if header else ""
        if not key:
            return list(self.folders), {}
        participants: dict[str, dict[str, str]] = {}
        for line, row in rows:
            label = self._label(path, line, row[key])
            if label and label in participants:
                self._merge(
                    path, label, participants[label], {**row, key: participants[label][key]}
                )
            elif label:
                participants[label] = row
        extra = [label for label in self.folders if label not in participants]
        if extra:
            self.notes.append(
                f"{', '.join(f'sub-{label}' for label in extra)}: a folder but no row in {path}; "
                "every column is n/a."
            )
        labels = [*participants, *extra]
        names = [name for name in header if name != key]
        columns = {
            name: [participants[label][name] if label in participants else _NA for label in labels]
            for name in names
        }
        for name, values in columns.items():
            self._words_among_numbers(path, name, labels, values)
        return labels, columns

    def _rows(self, path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
        """Read header and rows; a table that cannot be read is a fault and has none."""
        try:
            text = tables.read_text(path)
        except CircuitshiftError as error:
            self._problem(path, str(error).removeprefix(f"{path}: "))
            return [], []
        if text.lstrip().lower().startswith(("<!doctype", "<html")):
            self._problem(path, "it is a web page saved under a table's name; fetch it again")
            return [], []
        first = text.split("\n", 1)[0]
        mark = max("\t,;", key=first.count)
        if mark != "\t" and mark in first:
            self.notes.append(f"{path}: its cells are separated by {mark!r}, read as such.")
            try:
                lines = list(csv.reader(io.StringIO(text), delimiter=mark))
            except csv.Error as error:
                self._problem(
                    path, f"its quoted cells cannot be read ({error}); write it with tabs"
                )
                return [], []
        else:
            lines = [line.split("\t") for line in text.split("\n")]
        header = [name.strip() for name in lines[0]] if lines else []
        while header and not header[-1]:
            header.pop()
        if len(set(header)) < len(header):
            twice = sorted(name for name, times in Counter(header).items() if times > 1)
            self._problem(
                path, f"column {', '.join(twice[:5])} is there more than once; rename one"
            )
            return [], []
        return header, list(self._cells(path, header, lines))

    def _cells(
        self, path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]
    ) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield rows that fit the header; the others are faults."""
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
                    _strip(values[0], "sub-"),
                )
                continue
            plain = [_NA if value.lower() in _MISSING else value for value in values]
            yield number, dict(zip(header, plain, strict=True))

    def _key(self, path: Path, header: Sequence[str], names: Sequence[str]) -> str:
        """Find the column of labels, whatever its case."""
        lower = {name.lower(): name for name in reversed(header)}
        found = next((lower[name] for name in names if name in lower), "")
        if not found:
            self._problem(path, f"it has no column {names[0]}; name the column of labels so")
        elif found != names[0]:
            self.notes.append(f"{path}: its column {found!r} is taken for {names[0]}.")
        return found

    def _label(self, path: Path, line: int, text: str) -> str:
        """Bring a participant label into the form of the folders; empty when it is none."""
        label = _strip(text, "sub-")
        if not _LABEL.fullmatch(label):
            self._problem(path, f"line {line} has no usable label ({text!r}); write sub-X")
            return ""
        if label in self.folders or not label.isdecimal():
            return label
        same = [name for name in self.folders if name.isdecimal() and int(name) == int(label)]
        if len(same) == 1:
            self.notes.append(
                f"{path}: {text!r} is taken for sub-{same[0]}, the folder that differs by leading "
                "zeros only."
            )
            return same[0]
        return label

    def _merge(self, path: Path, label: str, kept: dict[str, str], row: Mapping[str, str]) -> None:
        """Note a repeated row; where rows differ nobody can tell which is true."""
        differ = [name for name in kept if kept[name] != row[name]]
        if not differ:
            self.notes.append(f"{path}: sub-{label} is there twice with equal rows; one is used.")
            return
        listed = ", ".join(f"{name} {kept[name]} and {row[name]}" for name in differ)
        self._problem(path, f"sub-{label} has rows that differ ({listed}); keep one of them", label)
        for name in differ:
            kept[name] = _NA

    def _words_among_numbers(
        self, path: Path, name: str, labels: Sequence[str], values: list[str]
    ) -> None:
        """Refuse a word in a column of numbers, which would make it one of categories."""
        read = [_number(value) for value in values]
        available = [n for n in read if n is None or not math.isnan(n)]
        words = [k for k, n in enumerate(read) if n is None]
        numbers = len(available) - len(words)
        if not words or numbers < max(_NUMERIC_LEAST, _NUMERIC_SHARE * len(available)):
            return
        for k in words:
            self._problem(
                path,
                f"{name} of sub-{labels[k]} is {values[k]!r} where others have numbers, taken as "
                "n/a; write a number or n/a",
                labels[k],
            )
            values[k] = _NA

    # --- scores by session

    def columns_by_session(
        self, path: Path, labels: Sequence[str], columns: Mapping[str, Sequence[str]]
    ) -> None:
        """Take ``<score>_ses-<label>`` columns."""
        for name, values in columns.items():
            match = _BY_SESSION.fullmatch(name)
            if match:
                for label, text in zip(labels, values, strict=True):
                    self._state(match[1], (label, match[2]), text, path)

    def session_tables(self, home: Path) -> None:
        """Take every column of ``sub-X/sub-X_sessions.tsv`` and of a root ``sessions.tsv``."""
        if _lies_at(home / "sessions.tsv"):
            self._table(home / "sessions.tsv", "")
        for folder in _folders(home):
            path = home / f"sub-{folder}" / f"sub-{folder}_sessions.tsv"
            if _lies_at(path):
                self._table(path, folder)

    def phenotypes(self, home: Path) -> None:
        """Take every column of ``phenotype/*.tsv``, by its own name when no other table has it."""
        folder = home / "phenotype"
        paths = sorted(folder.glob("*.tsv")) if folder.is_dir() else []
        paths = [path for path in paths if not path.name.startswith("._")]
        read = {path: self._visits_of(path, "") for path in paths}
        held = Counter(name for found in read.values() if found for name in found[0][1])
        for path, found in read.items():
            for visit, row in found:
                for name, text in row.items():
                    score = name if held[name] == 1 else f"{path.stem}_{name}"
                    self._state(score, visit, text, path)

    def _table(self, path: Path, participant: str) -> None:
        for visit, row in self._visits_of(path, participant):
            for name, text in row.items():
                self._state(name, visit, text, path)

    def _visits_of(self, path: Path, participant: str) -> list[tuple[Visit, dict[str, str]]]:
        """Read a table with a row a visit: whose, when, and the other columns."""
        header, rows = self._rows(path)
        if not header:
            return []
        key = "" if participant else self._key(path, header, _KEYS)
        if not participant and not key:
            return []
        lower = {name.lower(): name for name in reversed(header)}
        when = next((lower[name] for name in _SESSION_KEYS if name in lower), "")
        if participant and not when:
            self._key(path, header, _SESSION_KEYS)
            return []
        out = []
        for line, row in rows:
            label = participant or self._label(path, line, row[key])
            session = _strip(row[when], "ses-") if when else ""
            if label:
                others = {k: v for k, v in row.items() if k not in (key, when, *_KEYS)}
                out.append(((label, session), others))
        return out

    def _state(self, score: str, visit: Visit, text: str, path: Path) -> None:
        if text != _NA:
            self._stated[score][visit].append((text, path))
        else:
            self._stated[score]

    def visits(self) -> dict[str, dict[Visit, str]]:
        """Return the scores, without values that contradict each other."""
        out: dict[str, dict[Visit, str]] = {}
        for score, stated in self._stated.items():
            out[score] = {}
            for visit, values in stated.items():
                distinct = dict.fromkeys(_canonical(text) for text, _ in values)
                if len(distinct) == 1:
                    out[score][visit] = values[0][0]
                else:
                    self._conflict(score, visit, values)
            self._words_among_scores(score, out[score])
        return out

    def _conflict(self, score: str, visit: Visit, values: Sequence[tuple[str, Path]]) -> None:
        told = " and ".join(dict.fromkeys(f"{text} in {path.name}" for text, path in values))
        when = f" at ses-{visit[1]}" if visit[1] else ""
        self._problem(
            values[0][1],
            f"{score} of sub-{visit[0]}{when} is {told}, so it is not used; correct one of them",
            visit[0],
        )

    def _words_among_scores(self, score: str, values: dict[Visit, str]) -> None:
        visits = list(values)
        texts = list(values.values())
        path = next((stated[0][1] for stated in self._stated[score].values() if stated), Path())
        self._words_among_numbers(path, score, [label for label, _ in visits], texts)
        values.update(zip(visits, texts, strict=True))

    def _problem(self, path: Path, sentence: str, person: str = "") -> None:
        """Keep a fault; what can be done is what follows the last semicolon."""
        what, _, fix = sentence.rpartition("; ")
        self.problems.append(
            InputProblem(str(path), what or fix, fix if what else "correct it", person)
        )


def _canonical(text: str) -> object:
    """Compare numbers as numbers: 14 and 14.0 are no conflict."""
    value = _number(text)
    return text if value is None else value
