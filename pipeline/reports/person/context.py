"""Study-level content of a participant report: range of other participants, ratings, seed."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.reports.person.content import Others
from circuitshift.pipeline.study.ratings import FOLDER, Rating, of_participant, read_ratings

__all__ = ["others_of", "ratings_of", "seed_of", "study_root"]

_MIN_PARTICIPANTS = 5  # to show the range of their values


def study_root(out_dir: Path) -> tuple[Path, str]:
    """Return the root of the study and the name of the data set that `out_dir` holds.

    Examples
    --------
    >>> study_root(Path("out/datasets/healthy"))[1]
    'healthy'
    """
    if out_dir.parent.name == "datasets":
        return out_dir.parent.parent, out_dir.name
    return out_dir, ""


def others_of(participant: str, out_dir: Path, session: str) -> Others | None:
    """Return the range of the circuit values of the other participants.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    out_dir : Path
        Folder with the outputs of this participant.
    session : str
        Label without ``ses-``; empty if the data set has no sessions.

    Returns
    -------
    Others or None
        None if the group level has not been run, or if fewer than five others have values.
    """
    root, name = study_root(out_dir)
    path = root / "group" / "circuits.tsv"
    if not path.exists():
        return None
    this_id = f"{name}:sub-{participant}" if name else f"sub-{participant}"
    session_cell = session or tables.NOT_AVAILABLE
    values: dict[str, list[float]] = {}
    participants: set[str] = set()
    for row in tables.read_table(path).rows():
        available = row["value_z"] != tables.NOT_AVAILABLE
        if row["participant_id"] != this_id and row["session"] == session_cell and available:
            values.setdefault(row["circuit"], []).append(float(row["value_z"]))
            participants.add(row["participant_id"])
    if len(participants) < _MIN_PARTICIPANTS:
        return None
    ranges = {}
    for circuit, others in values.items():
        if len(others) >= _MIN_PARTICIPANTS:
            low, high = np.percentile(others, [5, 95])
            ranges[circuit] = (float(low), float(high))
    return Others(session, len(participants), ranges)


def ratings_of(participant: str, out_dir: Path) -> tuple[tuple[Rating, ...], tuple[str, ...]]:
    """Return the ratings of one participant, and notes on ratings that could not be read."""
    root, name = study_root(out_dir)
    try:
        ratings = _ratings(root / FOLDER, _states(root / FOLDER))
    except CircuitshiftError as error:  # an error at the group level, a note on this page
        return (), (f"Ratings are not shown: {' '.join(str(error).split())}",)
    return of_participant(ratings, f"{name}:{participant}" if name else participant), ()


def _states(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return name, size and change time of each file in a folder, to detect changes."""
    if not folder.is_dir():
        return ()
    files = sorted(folder.iterdir())
    states = [path.stat() if path.exists() else path.lstat() for path in files]
    return tuple(
        (path.name, state.st_size, state.st_ctime_ns)
        for path, state in zip(files, states, strict=True)
    )


@lru_cache(maxsize=1)
def _ratings(folder: Path, states: tuple[tuple[str, int, int], ...]) -> tuple[Rating, ...]:
    """Read the ratings of all participants, once for all reports."""
    del states
    return read_ratings(folder)


def seed_of(out_dir: Path) -> str:
    """Describe the random numbers on which the page depends, and the seed of the group level."""
    path = study_root(out_dir)[0] / "group" / "verdict.json"
    seed = tables.read_json(path).get("seed") if path.exists() else None
    text = "this page contains no random numbers"
    return text if seed is None else f"{text}; seed of the group level: {seed}"
