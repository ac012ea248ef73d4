"""Which files of a published data set an analysis needs: no others are fetched."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Literal

from circuitshift.pipeline.bids.filters import plain_label
from circuitshift.pipeline.bids.names import Name, is_junk, parse_name
from circuitshift.pipeline.errors import InputError

__all__ = ["EVERYTHING", "Wanted", "needed_files"]

Kind = Literal["raw", "tables", "derivatives"]

_SPACES = ("MNI152NLin2009cAsym", "MNI152NLin6Asym")
_IMAGES = (".nii.gz", ".nii")
_SIDES = {
    "brain": ("mask", (*_IMAGES, ".json")),
    "preproc": ("bold", (*_IMAGES, ".json")),
    "confounds": ("", (".tsv", ".json")),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a data set; an empty tuple asks for all.

    Parameters
    ----------
    participants, sessions, tasks, runs : tuple of str
        Labels, with or without ``sub-``, ``ses-``, ``task-``, ``run-``.
    spaces : tuple of str
        Template spaces, the first that is there is taken; by default the one most runs have.
    include : tuple of str
        Patterns of paths (``*`` also crosses folders) to take instead of the images and tables
        that the analysis needs.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    spaces: tuple[str, ...] = ()
    include: tuple[str, ...] = ()


EVERYTHING = Wanted()


def needed_files(paths: Iterable[str], wanted: Wanted, kind: Kind) -> list[str]:
    """Choose the files that the analysis needs.

    Parameters
    ----------
    paths : iterable of str
        Every file of the data set, relative to its root, with forward slashes.
    wanted : Wanted
    kind : {"raw", "tables", "derivatives"}
        ``raw``: runs, T1-weighted images and their sidecars, tables of people; ``tables``: tables
        and sidecars only; ``derivatives``: of each run the preprocessed image in one space, its
        mask, its confounds, and their sidecars.

    Returns
    -------
    list of str
        Sorted.

    Raises
    ------
    InputError
        If nothing fits what is asked.
    """
    clean = [path for path in paths if not _is_hidden(path)]
    shared = [path for path in clean if _is_shared(path)]
    if wanted.include:
        chosen = [p for p in clean if any(fnmatch(p, pattern) for pattern in wanted.include)]
        what = f"--include {' '.join(wanted.include)}"
    elif kind == "derivatives":
        chosen, what = _preprocessed(clean, wanted), "preprocessed run in a template space"
    else:
        chosen = [path for path in clean if _is_raw(path, wanted, images=kind == "raw")]
        what = "run"
        if not any("/func/" in path for path in chosen):
            chosen = []
    if not chosen and kind != "tables":
        raise InputError(
            f"the data set has no {what} that fits ({len(clean)} files were looked at); check the "
            "labels asked for, and --space"
        )
    return sorted({*shared, *chosen})


def _is_hidden(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return is_junk(parts[-1]) or any(part.startswith(".") for part in parts)


def _is_shared(path: str) -> bool:
    """Tell what all people share: tables, sidecars and descriptions, and scores by session."""
    parts = PurePosixPath(path).parts
    if len(parts) == 1:
        stem = parts[0].partition(".")[0]
        return parts[0].endswith((".json", ".tsv")) or stem in ("README", "CHANGES", "LICENSE")
    if parts[0] == "phenotype":
        return parts[-1].endswith((".json", ".tsv"))
    return len(parts) == 2 and parts[-1].endswith(("_sessions.tsv", "_sessions.json"))


def _is_asked(name: Name, wanted: Wanted) -> bool:
    for key, labels in (
        ("sub", wanted.participants),
        ("ses", wanted.sessions),
        ("task", wanted.tasks),
        ("run", wanted.runs),
    ):
        if labels and name.get(key) not in {plain_label(label, key) for label in labels}:
            return False
    return True


def _is_raw(path: str, wanted: Wanted, *, images: bool) -> bool:
    """Tell runs, T1-weighted images and their sidecars; anatomy is asked for by person only."""
    folder, name = PurePosixPath(path).parent.name, parse_name(PurePosixPath(path).name)
    if name is None or name.extension not in (*_IMAGES, ".json"):
        return False
    if not images and name.extension != ".json":
        return False
    if folder == "anat" and name.suffix == "T1w":
        return _is_asked(name, Wanted(participants=wanted.participants))
    return folder == "func" and name.suffix == "bold" and _is_asked(name, wanted)


def _preprocessed(paths: Sequence[str], wanted: Wanted) -> list[str]:
    """Choose images in one space, their masks, and confounds."""
    named: list[tuple[str, Name]] = []
    for path in paths:
        name = parse_name(PurePosixPath(path).name)
        if name is None or PurePosixPath(path).parent.name != "func" or not _is_asked(name, wanted):
            continue
        suffix, extensions = _SIDES.get(name.get("desc"), ("", ()))
        if name.extension in extensions and suffix in ("", name.suffix):
            named.append((path, name))
    images = [n for _, n in named if n.suffix == "bold" and n.extension in _IMAGES]
    grid = _grid_of_most([name for name in images if name.get("space")], wanted.spaces)
    if grid is None:
        return []
    return [path for path, name in named if name.get("desc") == "confounds" or _grid(name) == grid]


def _grid(name: Name) -> tuple[str, str, str]:
    return name.get("space"), name.get("cohort"), name.get("res")


def _grid_of_most(images: Sequence[Name], spaces: Sequence[str]) -> tuple[str, str, str] | None:
    """Choose space and resolution as `circuitshift.pipeline.bids.select_runs` does."""
    asked = [plain_label(space, "space").split(":")[0] for space in spaces]
    counts = Counter(_grid(n) for n in images if not asked or n.get("space") in asked)
    counts = Counter({g: n for g, n in counts.items() if g[0] not in ("T1w", "T2w", "anat")})
    order = [*asked, *_SPACES]

    def rank(grid: tuple[str, str, str]) -> tuple[int, int, int, tuple[str, str, str]]:
        space, _, res = grid
        place = order.index(space) if space in order else len(order)
        return -counts[grid], place, {"2": 0, "02": 0, "": 1}.get(res, 2), grid

    return min(counts, key=rank, default=None)
