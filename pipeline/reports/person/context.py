"""What the report of a participant takes from the study: range of others, ratings, command."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.reports.person.content import Others
from circuitshift.pipeline.study.ratings import FOLDER, Rating, of_participant, read_ratings

__all__ = ["others_of", "ratings_of", "seed_of", "study_root"]

_MIN_PARTICIPANTS = 5  # for a range


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
        Label; empty when there is none.

    Returns
    -------
    Others or None
        None before the group level was run, or with fewer than five others.
    """
    root, name = study_root(out_dir)
    path = root / "group" / "circuits.tsv"
    if not path.exists():
        return None
    own = f"{name}:sub-{participant}" if name else f"sub-{participant}"
    wanted = session or tables.NOT_AVAILABLE
    values: dict[str, list[float]] = {}
    participants: set[str] = set()
    for row in tables.read_table(path).rows():
        available = row["value_z"] != tables.NOT_AVAILABLE
        if row["participant_id"] != own and row["session"] == wanted and available:
            values.setdefault(row["circuit"], []).append(float(row["value_z"]))
            participants.add(row["participant_id"])
    if len(participants) < _MIN_PARTICIPANTS:
        return None
    ranges = {}
    for circuit, seen in values.items():
        if len(seen) >= _MIN_PARTICIPANTS:
            low, high = np.percentile(seen, [5, 95])
            ranges[circuit] = (float(low), float(high))
    return Others(session, len(participants), ranges)


def ratings_of(participant: str, out_dir: Path) -> tuple[tuple[Rating, ...], tuple[str, ...]]:
    """Return the ratings of one participant, and what could not be read."""
    root, name = study_root(out_dir)
    try:
        found = _ratings(root / FOLDER, _states(root / FOLDER))
    except CircuitshiftError as error:  # the group level refuses; a page only says so
        return (), (f"Ratings are not shown: {' '.join(str(error).split())}",)
    return of_participant(found, f"{name}:{participant}" if name else participant), ()


def _states(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return name, size and change time of each file in a folder, to detect changes."""
    if not folder.is_dir():
        return ()
    files = sorted(folder.iterdir())
    found = [path.stat() if path.exists() else path.lstat() for path in files]
    return tuple(
        (path.name, about.st_size, about.st_ctime_ns)
        for path, about in zip(files, found, strict=True)
    )


@lru_cache(maxsize=1)
def _ratings(folder: Path, states: tuple[tuple[str, int, int], ...]) -> tuple[Rating, ...]:
    """Read the ratings of all participants; they are read once for all reports."""
    del states
    return read_ratings(folder)


def seed_of(out_dir: Path) -> str:
    """Say which random numbers this page depends on, and the seed of the group level."""
    path = study_root(out_dir)[0] / "group" / "verdict.json"
    seed = tables.read_json(path).get("seed") if path.exists() else None
    here = "nothing on this page is random"
    return here if seed is None else f"{here}; seed of the group level: {seed}"
