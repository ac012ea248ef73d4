"""Find the participants of a data set and their sessions from its folders."""

import re
from pathlib import Path

from circuitshift.pipeline.bids.participant_tables.labels import LABEL

__all__ = ["sessions_of_folders"]

_SESSION = re.compile(r"_ses-([a-zA-Z0-9+]+)_")


def sessions_of_folders(root: Path) -> dict[str, tuple[str, ...]]:
    """Return the sessions of all participants that have a folder.

    Parameters
    ----------
    root : Path
        A raw data set or a derivative.

    Returns
    -------
    dict of str to tuple of str
        Sessions without ``ses-``, by participant, both sorted. They are the names of folders or,
        in a participant without such folders, are taken from the names of files. The tuple is
        empty if there are no sessions. Folders whose name is not a valid label are omitted.
    """
    out = {}
    for folder in sorted(root.glob("sub-*")):
        label = folder.name.removeprefix("sub-")
        if LABEL.fullmatch(label) and folder.is_dir():
            out[label] = _sessions(folder)
    return out


def _sessions(folder: Path) -> tuple[str, ...]:
    """Return the sessions of one participant, sorted."""
    names = _listed(folder)
    found = {name.removeprefix("ses-") for name in names if name.startswith("ses-")}
    found = {name for name in found if LABEL.fullmatch(name)}
    if not found:
        for name in names:
            found |= {m[1] for file in _listed(folder / name) for m in _SESSION.finditer(file)}
    return tuple(sorted(found))


def _listed(folder: Path) -> list[str]:
    """Return the names in a folder; none if it cannot be read, which is reported elsewhere."""
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []
