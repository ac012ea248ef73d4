"""Select the files of a published data set that an analysis needs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Literal

from circuitshift.pipeline.bids.filters import plain_label
from circuitshift.pipeline.bids.names import Name, is_junk, parse_name
from circuitshift.pipeline.errors import InputError

__all__ = ["ALL_FILES", "FileSelection", "needed_files"]

Kind = Literal["raw", "tables", "derivatives"]

_SPACES = ("MNI152NLin2009cAsym", "MNI152NLin6Asym")
_IMAGES = (".nii.gz", ".nii")
_PREPROCESSED = {
    "brain": ("mask", (*_IMAGES, ".json")),
    "preproc": ("bold", (*_IMAGES, ".json")),
    "confounds": ("", (".tsv", ".json")),
}


@dataclass(frozen=True, slots=True)
class FileSelection:
    """A selection of files of a data set; an empty tuple selects all.

    Parameters
    ----------
    participants, sessions, tasks, runs : tuple of str
        Labels, with or without the prefixes ``sub-``, ``ses-``, ``task-`` and ``run-``.
    spaces : tuple of str
        Template spaces in order of preference; by default, the space that most runs have.
    include : tuple of str
        Patterns of paths that replace the default selection of images. The wildcard ``*`` also
        matches folder separators.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    spaces: tuple[str, ...] = ()
    include: tuple[str, ...] = ()


ALL_FILES = FileSelection()


def needed_files(paths: Iterable[str], selection: FileSelection, kind: Kind) -> list[str]:
    """Select the files that the analysis needs.

    Parameters
    ----------
    paths : iterable of str
        All files of the data set, relative to its root, with forward slashes.
    selection : FileSelection
        Selection of participants, sessions, tasks, runs and spaces.
    kind : {"raw", "tables", "derivatives"}
        ``raw`` selects runs, T1-weighted images and their sidecars, and tables about
        participants. ``tables`` selects tables and sidecars only. ``derivatives`` selects the
        preprocessed image of each run in one space, its mask, its confounds, and their sidecars.

    Returns
    -------
    list of str
        Selected paths, sorted.

    Raises
    ------
    InputError
        If no file matches the selection.
    """
    visible = [path for path in paths if not _is_hidden(path)]
    shared = [path for path in visible if _is_shared(path)]
    if selection.include:
        chosen = [p for p in visible if any(fnmatch(p, pattern) for pattern in selection.include)]
        what = f"--include {' '.join(selection.include)}"
    elif kind == "derivatives":
        chosen, what = _preprocessed(visible, selection), "preprocessed run in a template space"
    else:
        chosen = [path for path in visible if _is_raw(path, selection, images=kind == "raw")]
        what = "run"
        if not any("/func/" in path for path in chosen):
            chosen = []
    if not chosen and kind != "tables":
        raise InputError(
            f"none of the {len(visible)} files of the data set is a {what} that matches; check the "
            "requested labels and --space"
        )
    return sorted({*shared, *chosen})


def _is_hidden(path: str) -> bool:
    """Return whether a file is hidden, in a hidden folder, or created by an operating system."""
    parts = PurePosixPath(path).parts
    return is_junk(parts[-1]) or any(part.startswith(".") for part in parts)


def _is_shared(path: str) -> bool:
    """Return whether a file is a table, sidecar or description that all participants share."""
    parts = PurePosixPath(path).parts
    if len(parts) == 1:
        stem = parts[0].partition(".")[0]
        return parts[0].endswith((".json", ".tsv")) or stem in ("README", "CHANGES", "LICENSE")
    if parts[0] == "phenotype":
        return parts[-1].endswith((".json", ".tsv"))
    return len(parts) == 2 and parts[-1].endswith(("_sessions.tsv", "_sessions.json"))


def _is_requested(name: Name, selection: FileSelection) -> bool:
    """Return whether the entities of a file match the selection."""
    for key, labels in (
        ("sub", selection.participants),
        ("ses", selection.sessions),
        ("task", selection.tasks),
        ("run", selection.runs),
    ):
        if labels and name.get(key) not in {plain_label(label, key) for label in labels}:
            return False
    return True


def _is_raw(path: str, selection: FileSelection, *, images: bool) -> bool:
    """Return whether a file is a run, T1-weighted image or sidecar of the selection.

    T1-weighted images are selected by participant only.
    """
    folder, name = PurePosixPath(path).parent.name, parse_name(PurePosixPath(path).name)
    if name is None or name.extension not in (*_IMAGES, ".json"):
        return False
    if not images and name.extension != ".json":
        return False
    if folder == "anat" and name.suffix == "T1w":
        return _is_requested(name, FileSelection(participants=selection.participants))
    return folder == "func" and name.suffix == "bold" and _is_requested(name, selection)


def _preprocessed(paths: Sequence[str], selection: FileSelection) -> list[str]:
    """Select images in one space, their masks, and confounds."""
    candidates: list[tuple[str, Name]] = []
    for path in paths:
        name = parse_name(PurePosixPath(path).name)
        if (
            name is None
            or PurePosixPath(path).parent.name != "func"
            or not _is_requested(name, selection)
        ):
            continue
        suffix, extensions = _PREPROCESSED.get(name.get("desc"), ("", ()))
        if name.extension in extensions and suffix in ("", name.suffix):
            candidates.append((path, name))
    images = [n for _, n in candidates if n.suffix == "bold" and n.extension in _IMAGES]
    grid = _most_frequent_grid([name for name in images if name.get("space")], selection.spaces)
    if grid is None:
        return []
    return [
        path for path, name in candidates if name.get("desc") == "confounds" or _grid(name) == grid
    ]


def _grid(name: Name) -> tuple[str, str, str]:
    """Return the entities that determine the grid of an image."""
    return name.get("space"), name.get("cohort"), name.get("res")


def _most_frequent_grid(
    images: Sequence[Name], spaces: Sequence[str]
) -> tuple[str, str, str] | None:
    """Select space and resolution by the rules of `circuitshift.pipeline.bids.select_runs`."""
    requested = [plain_label(space, "space").split(":")[0] for space in spaces]
    counts = Counter(_grid(n) for n in images if not requested or n.get("space") in requested)
    counts = Counter({g: n for g, n in counts.items() if g[0] not in ("T1w", "T2w", "anat")})
    order = [*requested, *_SPACES]

    def rank(grid: tuple[str, str, str]) -> tuple[int, int, int, tuple[str, str, str]]:
        space, _, res = grid
        position = order.index(space) if space in order else len(order)
        return -counts[grid], position, {"2": 0, "02": 0, "": 1}.get(res, 2), grid

    return min(counts, key=rank, default=None)
