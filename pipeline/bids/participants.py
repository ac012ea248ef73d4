"""Read tables about participants: participants.tsv, sessions.tsv and phenotype/*.tsv.

These tables are often edited by hand. A problem in one row therefore concerns that row only: it is
reported as an `InputProblem` of one participant, and all other rows are read.
"""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.bids.participant_tables.folders import sessions_of_folders
from circuitshift.pipeline.bids.participant_tables.labels import (
    match_participants,
    participant_label,
)
from circuitshift.pipeline.bids.participant_tables.main_table import MainTable, read_main_table
from circuitshift.pipeline.bids.participant_tables.rows import Log, find_column, read_rows
from circuitshift.pipeline.bids.participant_tables.scores import LABEL_COLUMNS, Scores, Visit
from circuitshift.pipeline.errors import (
    CircuitshiftError,
    DesignError,
    InputError,
    InputProblem,
    TableError,
)
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.cells import parse_number

__all__ = ["ParticipantTable", "read_participants"]

# Extensions of tables that are not read, but show that a table exists.
_OTHER_TABLES = (".csv", ".txt", ".xlsx", ".xls", ".ods", ".tsv.gz", ".tsv.txt", ".tab")


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
        ``n/a``, and numbers have decimal points. In a table with one row per visit, these are the
        columns that are equal in all rows of a participant.
    problems : tuple of InputProblem
        Problems of the tables. `InputProblem.participant` is set for problems of one participant.
    notes : tuple of str
        Deviations from BIDS that were tolerated, one sentence each.
    visits : dict of str to dict
        Values of each score as text, by score name and visit (participant, session); see
        `scores`.
    path : Path
        The table, or the folder if there is no table.
    refusals : tuple of InputProblem
        Problems that must stop the group level, because participants cannot be assigned to
        groups: the table is present but cannot be read, or fewer than half of the participants
        with a folder have a row. They are among `problems` as well.
    levels : dict of str to dict
        Meanings of the values of columns, from the sidecar participants.json.
    doubtful : dict of str to str
        Columns that must not be used as numbers, or, if they are not among `columns`, must not be
        used at all, with the reason and what to do: repeated columns, columns that mix numbers and
        text, numbers of unclear meaning, and columns that vary between visits.
    doubtful_scores : dict of str to str
        Scores that must not be used as numbers, with the reason and what to do.
    with_data : frozenset of (str, str)
        Participants and sessions that have a folder. The session is empty in data sets without
        sessions.
    folder : Path
        The data set whose sessions.tsv and phenotype tables were read.
    """

    labels: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]
    problems: tuple[InputProblem, ...] = ()
    notes: tuple[str, ...] = ()
    visits: dict[str, dict[Visit, str]] = field(default_factory=dict)
    path: Path = Path()
    refusals: tuple[InputProblem, ...] = ()
    levels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    doubtful: Mapping[str, str] = field(default_factory=dict)
    doubtful_scores: Mapping[str, str] = field(default_factory=dict)
    with_data: frozenset[Visit] = frozenset()
    folder: Path = Path()

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Return one column as numbers, shape (n_participants,), with NaN for missing values.

        Raises
        ------
        TableError
            If there is no such column, or it contains text that is not a number.
        DesignError
            If the column contains numbers that must not be used as they are; see `doubtful`.
        """
        if column in self.doubtful:
            raise DesignError(self.doubtful[column])
        if column not in self.columns:
            near = _nearest(column, self.columns)
            raise TableError(f"{self.path}: it has no column {column!r}; correct the name{near}")
        out = np.empty(len(self.labels))
        for row, text in enumerate(self.columns[column]):
            value = parse_number(text)
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
        DesignError
            If the score contains numbers that must not be used as they are.
        """
        if score in self.doubtful_scores:
            raise DesignError(self.doubtful_scores[score])
        if score not in self.visits:
            near = _nearest(score, self.visits)
            raise TableError(
                f"{self.path}: it has no score {score!r} by session; correct the name{near}"
            )
        out = {}
        for (label, session), text in self.visits[score].items():
            value = parse_number(text)
            if value is None:
                raise TableError(
                    f"{self.path}, sub-{label}, ses-{session}: {score} is {text!r}, which is not a "
                    "number; write a number or n/a"
                )
            if not math.isnan(value):
                out[label, session] = value
        return out

    def meets(self, name: str) -> int:
        """Count the visits, or the participants, with data that have a value.

        Parameters
        ----------
        name : str
            Name of a score, or of a column of participants.tsv.

        Returns
        -------
        int
            For a score, the number of visits with a folder at which it has a value, or the number
            of participants with a folder if the score has no sessions. For a column, the number
            of participants with a folder that have a value. If no participant has a folder, all
            values are counted.

        Raises
        ------
        TableError
            If there is no such score or column.
        """
        participants = {label for label, _ in self.with_data}
        if name in self.visits:
            return sum(
                not self.with_data
                or (label, session) in self.with_data
                or (not session and label in participants)
                for label, session in self.visits[name]
            )
        if name not in self.columns:
            near = _nearest(name, [*self.visits, *self.columns])
            raise TableError(
                f"{self.path}: it has no score or column {name!r}; correct the name{near}"
            )
        return sum(
            text != tables.NOT_AVAILABLE and (not participants or label in participants)
            for label, text in zip(self.labels, self.columns[name], strict=True)
        )


def read_participants(
    root: Path,
    table: Path | None = None,
    *,
    sessions: Mapping[str, Sequence[str]] | None = None,
) -> ParticipantTable:
    """Read the tables about the participants of a data set.

    Parameters
    ----------
    root : Path
        A raw data set or a derivative. For a derivative without participants.tsv, the tables of
        the raw data set from which it was derived are read, and a note states this.
    table : Path, optional
        Table to read instead of participants.tsv, for data sets that cannot be changed. Its
        sidecar is beside it. Other tables are read from the data set.
    sessions : mapping of str to sequence of str, optional
        Participants with data and their sessions, by which the labels of the tables are matched.
        The default are the folders of `root`.

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
    with_data = sessions_of_folders(root) if sessions is None else sessions
    log = Log()
    scores = Scores(with_data, log)
    refusals: list[InputProblem] = []
    folder, path = _find_table(root, list(with_data), refusals, log)
    if table is not None:
        path, refusals = Path(table), []
    main = MainTable(list(with_data)) if path is None else read_main_table(path, scores, log)
    scores.read_session_tables(folder)
    scores.read_phenotypes(folder)
    visits = scores.result()  # may add problems
    refusals += main.refusals
    return ParticipantTable(
        tuple(main.labels),
        {name: tuple(values) for name, values in main.columns.items()},
        tuple(sorted({*log.problems, *refusals})),
        tuple(dict.fromkeys(log.notes)),
        visits,
        path if path is not None and path.exists() else root,
        tuple(refusals),
        main.levels,
        log.doubtful,
        log.doubtful_scores,
        frozenset(
            (label, session) for label, names in with_data.items() for session in names or ("",)
        ),
        folder,
    )


def _find_table(
    root: Path, folders: Sequence[str], refusals: list[InputProblem], log: Log
) -> tuple[Path, Path | None]:
    """Find the data set whose tables describe these participants, and its participants.tsv.

    Without a participants.tsv that describes them, the data set is `root`, and there is no table.
    """
    if _exists(root / "participants.tsv"):
        return root, root / "participants.tsv"
    similar = _similar_names(root)
    if len(similar) == 1 and similar[0].name.lower() == "participants.tsv":
        log.notes.append(f"{similar[0]} is read as participants.tsv.")
        return root, similar[0]
    if similar:
        text = "it is not read, because its name is not participants.tsv"
        fix = "save it as participants.tsv with tabs"
        refusals.append(InputProblem(str(similar[0]), text, fix))
    of_others: list[Path] = []
    for folder in _source_folders(root):
        path = folder / "participants.tsv"
        if path.is_file() and _is_table_of(path, folders):
            log.notes.append(f"participants.tsv is taken from {folder}, the source of {root}.")
            return folder, path
        if path.is_file():
            of_others.append(path)
    if of_others and not refusals:
        text = f"it lists none of the participants with a folder in {root}"
        fix = f"correct its column participant_id, or save the correct table in {root}"
        refusals.append(InputProblem(str(of_others[0]), text, fix))
    log.notes.append(f"{root} has no participants.tsv; the participants are those with a folder.")
    return root, None


def _similar_names(root: Path) -> list[Path]:
    """Return files that hold a table of participants under a name that is not that of BIDS."""
    return sorted(
        path
        for path in root.iterdir()
        if (path.name.lower() == "participants.tsv" and path.is_file())
        or path.name.lower().removeprefix("participants") in _OTHER_TABLES
    )


def _is_table_of(path: Path, folders: Sequence[str]) -> bool:
    """Return whether a table lists participants of these folders, not those of another study."""
    if not folders or set(folders) & set(sessions_of_folders(path.parent)):
        return True
    unused = Log()
    rows = read_rows(path, unused, LABEL_COLUMNS)
    key = find_column(rows, LABEL_COLUMNS, unused) if rows else ""
    if rows is None or not key:
        return False
    stated = [participant_label(row[key]) for _, row in rows.rows]
    return bool(set(match_participants(path, stated, folders, unused).values()) & set(folders))


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


def _nearest(word: str, available: Iterable[str]) -> str:
    """Format the names that are most similar to a word, or all names if none is similar."""
    names = list(available)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    listed = ", ".join(near or names[:20])
    return f" ({'nearest' if near else 'available'}: {listed})" if listed else " (there are none)"
