"""Fetch files of a published study from a git repository, at one commit.

Git verifies the content of each file by its hash. The file ``.fetch.json`` in the folder records
address and commit, and is written last, so that an interrupted download is repeated.
"""

import difflib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation.opendata import annex

__all__ = ["GitSource", "fetch_git", "is_present", "terms"]

Notify = Callable[[str], None]

_RECORD = ".fetch.json"
_LICENCES = ("licence*", "license*", "copying*", "notice*")
_LICENCE_LINES = 4  # of the licence of the repository that are printed
_MAX_PATHS = 400  # paths on one command line
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class GitSource:
    """Files of a git repository.

    Parameters
    ----------
    git : str
        Address or path of the repository.
    commit : str
        Commit, in full or abbreviated.
    paths : tuple of str
        Patterns of the paths of files, relative to `folder`. The wildcard ``*`` also matches
        folder separators.
    licence : str
        Terms of use of the files, which are printed before the repository is contacted.
    folder : str
        Folder of the repository that becomes the data set; empty for its root.
    """

    git: str
    commit: str
    paths: tuple[str, ...]
    licence: str
    folder: str = ""


def terms(source: GitSource) -> str:
    """Return the sentence on origin and terms of use that precedes a download.

    Parameters
    ----------
    source : GitSource
        Repository, commit and licence.

    Returns
    -------
    str
        One line.
    """
    return f"{source.git} at commit {source.commit}. Terms of use: {source.licence}"


def is_present(source: GitSource, folder: Path) -> bool:
    """Return whether a folder contains the files of a source, or a BIDS data set made from them.

    Parameters
    ----------
    source : GitSource
        Repository and patterns of paths.
    folder : Path
        Folder that `fetch_git` or the user filled.

    Returns
    -------
    bool
    """
    if (folder / _RECORD).exists():
        return bool(tables.read_json(folder / _RECORD).get("complete"))
    if any(folder.glob("sub-*")):
        return True
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    return all(any(fnmatchcase(name, pattern) for name in names) for pattern in source.paths)


def fetch_git(source: GitSource, folder: Path, *, notify: Notify) -> int:
    """Fetch the files of a source into a folder.

    The terms of use are reported before the repository is contacted, and the licence in the
    repository before any other file is fetched. Of servers that support it, only the requested
    files are fetched, and not those of other commits.

    Parameters
    ----------
    source : GitSource
        Repository, commit and paths.
    folder : Path
        Target folder, which must not exist or be empty.
    notify : callable
        Function that is called with lines of text.

    Returns
    -------
    int
        Number of files.

    Raises
    ------
    InputError
        If git is not installed, the repository cannot be reached, the commit or a path does not
        exist, or the folder contains other files.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"{folder} is not empty and does not contain the files {', '.join(source.paths)}; "
            "choose a new folder, or add the missing files"
        )
    notify(terms(source))
    annex.require_program("git", "install git")
    annex.check_reachable(source.git, _offline_hint(source, folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        clone, part = Path(temporary) / "clone", Path(temporary) / "part"
        annex.clone_without_files(source.git, clone)
        commit = _full_commit(source, clone)
        listed = annex.run_git(clone, "ls-tree", "-r", "-z", "--name-only", commit).split("\0")
        chosen = _chosen([path for path in listed if path], source)
        licences = _licences([path for path in listed if path])
        for path in licences:
            notify(f"{path} of the repository: {_first_lines(clone, commit, path)}")
        _check_out(clone, commit, [*licences, *chosen])
        for path in chosen:
            target = part / PurePosixPath(path).relative_to(source.folder or ".")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(clone / path, target)
        for path in licences:
            if not (part / path).exists() and (clone / path).exists():
                shutil.move(clone / path, part / path)
        _refuse_pointers(source, part)
        record = {
            "git": source.git,
            "commit": commit,
            "licence": source.licence,
            "paths": chosen,
            "complete": True,
        }
        tables.write_json(part / _RECORD, record)
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    notify(f"{len(chosen)} files of commit {commit}: {folder}")
    return len(chosen)


def _offline_hint(source: GitSource, folder: Path) -> str:
    """Say what to do without access to the repository."""
    return (
        "without network access, fetch it on another machine with 'git clone "
        f"{source.git}' and 'git checkout {source.commit}', copy "
        f"{f'its folder {source.folder}' if source.folder else 'the folder'} to "
        f"DIR/{folder.name}, and run the same command with --data DIR"
    )


def _full_commit(source: GitSource, clone: Path) -> str:
    """Return the commit in full; `InputError` if the repository does not have it."""
    try:
        name = f"{source.commit}^{{commit}}"
        return annex.run_git(clone, "rev-parse", "--verify", "--quiet", name).strip()
    except InputError:
        raise InputError(
            f"{source.git} has no commit {source.commit} on any branch or tag; correct commit in "
            "the recipe"
        ) from None


def _chosen(listed: Sequence[str], source: GitSource) -> list[str]:
    """Return the paths that match the patterns; `InputError` if a pattern matches none."""
    prefix = f"{source.folder}/" if source.folder else ""
    chosen: dict[str, None] = {}
    for pattern in source.paths:
        found = [path for path in listed if fnmatchcase(path, prefix + pattern)]
        if not found:
            nearest = difflib.get_close_matches(prefix + pattern, listed, n=3, cutoff=0.3)
            hint = f" (similar: {', '.join(nearest)})" if nearest else ""
            raise InputError(
                f"{source.git} has no file {prefix}{pattern} at commit {source.commit}{hint}; "
                "correct paths or folder in the recipe"
            )
        chosen |= dict.fromkeys(sorted(found))
    return list(chosen)


def _licences(listed: Sequence[str]) -> list[str]:
    """Return the licence files in the root of a repository."""
    return [
        path
        for path in listed
        if "/" not in path and any(fnmatchcase(path.lower(), pattern) for pattern in _LICENCES)
    ]


def _first_lines(clone: Path, commit: str, path: str) -> str:
    """Return the beginning of a text file as one line."""
    text = annex.run_git(clone, "show", f"{commit}:{path}")
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return " / ".join(lines[:_LICENCE_LINES])[:300]


def _check_out(clone: Path, commit: str, paths: Sequence[str]) -> None:
    """Write files of a commit into the clone; missing content is fetched in one request."""
    for start in range(0, len(paths), _MAX_PATHS):
        chunk = [f":(literal){path}" for path in paths[start : start + _MAX_PATHS]]
        annex.run_git(clone, *annex.SPEED_LIMIT, "checkout", "--quiet", commit, "--", *chunk)


def _refuse_pointers(source: GitSource, part: Path) -> None:
    """Refuse files whose content is stored elsewhere, by Git LFS or git-annex."""
    pointers = [
        path.relative_to(part).as_posix()
        for path in sorted(part.rglob("*"))
        if path.is_symlink() or (path.is_file() and _starts_like_pointer(path))
    ]
    if pointers:
        raise InputError(
            f"{source.git} stores the content of {', '.join(pointers[:5])} outside git (Git LFS or "
            "git-annex), which is not fetched; fetch these files with the program of the "
            "repository, and give their folder by --data"
        )


def _starts_like_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER
