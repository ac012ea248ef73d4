"""Search a data set for the folders of preprocessed derivatives, also nested ones."""

import os
from collections.abc import Iterator
from pathlib import Path

from circuitshift.pipeline.bids.description import generator

__all__ = ["SEARCH_DEPTH", "derivative_levels", "has_participants", "list_folder", "tier_of"]

#: Number of folders between a data set, or its ``derivatives``, and the deepest derivative found.
SEARCH_DEPTH = 3
_MAX_FOLDERS = 2000  # listed at most, so that a search in a home folder ends
# Folders that hold something else by the BIDS specification, or outputs of other programs.
_OTHER = frozenset(
    {
        *("sourcedata", "code", "stimuli", "phenotype", "logs", "log", "work", "rawdata"),
        *("freesurfer", "figures", "group", "anat", "func", "fmap", "dwi", "xfm"),
    }
)


def list_folder(path: Path) -> list["os.DirEntry[str]"]:
    """List a folder, sorted by name; empty if it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry is a folder; False for links in circles and unreadable targets."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def has_participants(path: Path) -> bool:
    """Return whether a folder contains entries of participants, ``sub-*``."""
    return any(_is_of_participant(entry.name) for entry in list_folder(path))


def _is_of_participant(name: str) -> bool:
    """Return whether an entry is a folder or table of a participant, not a report."""
    return name.startswith("sub-") and not name.endswith((".html", ".svg"))


def tier_of(folder: Path, root: Path) -> int:
    """Return 0 for folders of fMRIPrep, which are preferred, and 1 for others."""
    names = folder.relative_to(root).parts
    is_named = any(name.lower().startswith("fmriprep") for name in names)
    return int(not is_named and generator(folder).lower() != "fmriprep")


def derivative_levels(root: Path, notes: list[str]) -> Iterator[list[Path]]:
    """Yield groups of folders that may be derivatives of a data set, nearest first.

    The first group are the folders in ``derivatives`` and those named ``fmriprep*`` beside it
    (fMRIPrep before version 21 wrote ``OUTPUT/fmriprep``). The next groups are folders deeper in
    ``derivatives``, such as ``derivatives/fmriprep/v23``; the last groups are folders anywhere
    below the data set, such as ``X/out/fmriprep``. `SEARCH_DEPTH` levels are searched, and only
    folders that contain participants are yielded after the first group. Output of circuitshift is
    not searched, and a folder that several links name is yielded once.

    Parameters
    ----------
    root : Path
        Folder of a data set.
    notes : list of str
        List to which notes on empty folders and own output are added.

    Yields
    ------
    list of Path
        Folders of one level.
    """
    seen = {os.path.realpath(root)}
    derivatives = [Path(e.path) for e in list_folder(root / "derivatives") if is_folder(e)]
    others = [Path(e.path) for e in list_folder(root) if is_folder(e)]
    beside = [path for path in others if path.name.startswith("fmriprep")]
    first = _usable([*derivatives, *beside], seen, notes)
    yield first
    yield from _deeper([path for path in first if _may_contain(path)], seen)
    rest = [path for path in others if path.name != "derivatives" and _may_contain(path)]
    rest = _usable(rest, seen, [])
    yield [path for path in rest if has_participants(path)]
    yield from _deeper(rest, seen)


def _deeper(folders: list[Path], seen: set[str]) -> Iterator[list[Path]]:
    """Yield the folders with participants in each of the next levels."""
    n_listed = 0
    for _ in range(SEARCH_DEPTH - 1):
        below: list[Path] = []
        for folder in folders:
            n_listed += 1
            if n_listed > _MAX_FOLDERS:
                return
            entries = list_folder(folder)
            if not any(_is_of_participant(entry.name) for entry in entries):
                below += [Path(e.path) for e in entries if is_folder(e)]
        folders = _usable([path for path in below if _may_contain(path)], seen, [])
        yield [path for path in folders if has_participants(path)]


def _may_contain(path: Path) -> bool:
    """Return whether a folder may contain derivatives."""
    name = path.name
    return name.lower() not in _OTHER and not name.startswith((".", "sub-", "ses-"))


def _usable(folders: list[Path], seen: set[str], notes: list[str]) -> list[Path]:
    """Exclude hidden and empty folders, own output, and folders that were found before."""
    out = []
    for folder in folders:
        real = os.path.realpath(folder)
        if folder.name.startswith(".") or real in seen:
            continue
        seen.add(real)
        if not list_folder(folder) and os.access(folder, os.R_OK | os.X_OK):
            notes.append(
                f"{folder} is empty; if it is a DataLad subdataset, run `datalad get -n` on it."
            )
        elif generator(folder) == "circuitshift":
            notes.append(f"{folder} is output of circuitshift and is not used as input.")
        else:
            out.append(folder)
    return out
