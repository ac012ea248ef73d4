"""Fetch and verify the files of a published data set that an analysis needs.

Tables and raw images are fetched from OpenNeuro (`openneuro`), preprocessed images from
OpenNeuroDerivatives (`annex`). The file ``.fetch.json`` in the folder records the version, the
commits and the verified files. It is used to resume an interrupted download, and to state the
source of the data in the results.
"""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuitshift.pipeline.errors import (
    CircuitshiftError,
    InputError,
    InputProblem,
    InputProblemsError,
)
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation.opendata import annex, openneuro
from circuitshift.pipeline.validation.opendata.needed_files import (
    ALL_FILES,
    FileSelection,
    needed_files,
)
from circuitshift.pipeline.validation.opendata.verify import find_problem

__all__ = ["Fetched", "fetch", "is_fetched", "published_sources"]

Notify = Callable[[str], None]

_RECORD = ".fetch.json"
_DATASET = re.compile(r"ds\d{6}")
_DOI = re.compile(r"10\.18112/openneuro\.(ds\d+)\.v([\w.]+)")
_MAX_ROUNDS = 3  # number of attempts to fetch damaged files
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Fetched:
    """The content of a folder after `fetch`.

    Parameters
    ----------
    folder : Path
        Folder of the data set.
    tag, commit : str
        Version of the raw data set, and its commit (empty if the server does not state it).
    derivatives : dict of str to str
        Commit of each derivative, by name.
    n_files, n_bytes : int
        Number and total size of the needed files, whether fetched now or before. Files of unknown
        size are not included in the size.
    """

    folder: Path
    tag: str
    commit: str
    derivatives: dict[str, str]
    n_files: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Needed files from one source.

    Parameters
    ----------
    root : Path
        Folder to which paths are relative.
    sizes : dict of str to (int or None)
        Size of each needed file in bytes; None where it is unknown.
    get : callable
        Function that fetches files, and returns reasons of failure by path. The key of a reason
        that applies to all files is empty.
    drop : callable
        Function that removes the content of damaged files.
    """

    root: Path
    sizes: dict[str, int | None]
    get: Callable[[Sequence[str]], dict[str, str]]
    drop: Callable[[Sequence[str]], None]


def fetch(
    dataset: str,
    folder: Path,
    selection: FileSelection = ALL_FILES,
    *,
    tag: str = "",
    derivatives: tuple[str, str] | None = None,
    notify: Notify,
    dry_run: bool = False,
    api: str = "",
) -> Fetched:
    """Fetch a published data set, or resume an interrupted download.

    Parameters
    ----------
    dataset : str
        Accession number, for example ``ds003007``.
    folder : Path
        Folder that is new, empty, or was filled by an earlier call for the same version.
    selection : FileSelection, optional
        Selection of files; all by default.
    tag : str, default=""
        Version. If empty, it is the version of the earlier download, else the version from which
        the derivative was computed, else the newest one.
    derivatives : tuple of (str, str), optional
        Name of a derivative, for example ``fmriprep``, and address of its git-annex repository
        (empty for OpenNeuroDerivatives). If given, its images are fetched into
        ``derivatives/NAME``, and only the tables of the raw data set are fetched.
    notify : callable
        Function that is called with lines of text about the progress.
    dry_run : bool, default=False
        Whether only the number and size of the files are reported. A derivative is cloned for
        this purpose, without its images.
    api : str, default=""
        Address of the GraphQL service; if empty, that of OpenNeuro.

    Returns
    -------
    Fetched

    Raises
    ------
    InputError
        If the data set or version does not exist, a server cannot be reached, the folder contains
        other data, or there is not enough disk space.
    InputProblemsError
        If some files could not be fetched completely. All other files have been fetched.
    """
    if not _DATASET.fullmatch(dataset):
        raise InputError(
            f"{dataset!r} is not an accession number of OpenNeuro; write ds and six digits"
        )
    record = _open_record(folder, dataset, tag)
    parts: list[_Part] = []
    source_tag = ""
    if derivatives:
        part, description = _derivative(dataset, folder, derivatives, selection, notify=notify)
        source_tag = description.pop("made_from")
        record.setdefault("derivatives", {})[derivatives[0]] = description
        parts.append(part)
    snapshot = openneuro.read_snapshot(dataset, tag or record.get("tag") or source_tag, api=api)
    if source_tag and source_tag != snapshot.tag:
        notify(
            f"note: the derivative was computed from version {source_tag}, but the tables are of "
            f"version {snapshot.tag}"
        )
    parts.insert(0, _raw(snapshot, folder, selection, "tables" if derivatives else "raw"))
    record |= {"dataset": dataset, "tag": snapshot.tag, "commit": snapshot.commit}
    missing = [_missing(part, folder, record) for part in parts]
    _report_size(snapshot, parts, missing, folder, notify=notify)
    if not dry_run:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch_and_verify(parts, missing, folder, record, notify=notify)
    return _summarise(folder, record, parts)


def is_fetched(folder: Path) -> bool:
    """Return whether a folder contains a complete data set.

    This is the case if an earlier `fetch` was completed, or if the folder contains a data set that
    was not fetched by circuitshift.
    """
    path = folder / _RECORD
    if path.exists():
        return bool(tables.read_json(path).get("complete"))
    return any(any(folder.glob(pattern)) for pattern in ("sub-*", "derivatives/*/sub-*"))


def published_sources(folder: Path) -> tuple[str, ...]:
    """Return the DOI of a fetched data set, and address and commit of git repositories."""
    path = folder / _RECORD
    if not path.exists():
        return ()
    record = tables.read_json(path)
    if "git" in record:
        return (f"{_as_url(record['git'])}#{record['commit']}",)
    doi = f"doi:10.18112/openneuro.{record['dataset']}.v{record['tag']}"
    derivatives = record.get("derivatives", {}).values()
    return (
        doi,
        *(f"{_as_url(description['url'])}#{description['commit']}" for description in derivatives),
    )


def _as_url(url: str) -> str:
    """Convert a path to a URL; URLs are returned unchanged."""
    return url if "://" in url else Path(url).resolve().as_uri()


# ------------------------------------------------------------------------------ parts


def _open_record(folder: Path, dataset: str, tag: str) -> dict[str, Any]:
    """Read the record of an earlier download; refuse a folder with other data."""
    path = folder / _RECORD
    if not path.exists():
        entries = (
            [p for p in folder.iterdir() if p.name != "derivatives"] if folder.exists() else []
        )
        if entries:
            raise InputError(f"{folder} is not empty and was not fetched; choose a new folder")
        return {}
    record = tables.read_json(path)
    content = f"{record['dataset']} {record['tag']}"
    if record["dataset"] != dataset or (tag and record["tag"] != tag):
        raise InputError(
            f"{folder} contains {content}; choose another folder for {dataset} {tag}".rstrip()
        )
    return record


def _derivative(
    dataset: str,
    folder: Path,
    derivative: tuple[str, str],
    selection: FileSelection,
    *,
    notify: Notify,
) -> tuple[_Part, dict[str, str]]:
    """Clone a derivative; return its needed files, and its address, commit and source version."""
    name, url = derivative
    url = url or annex.SOURCE.format(dataset=dataset, name=name)
    root = folder / "derivatives" / name
    notify(f"{url}: reading names and sizes of files")
    annex.clone(url, root)
    sizes = annex.sizes_of(root)
    chosen = {path: sizes[path] for path in needed_files(sizes, selection, "derivatives")}
    description = {
        "url": url,
        "commit": annex.commit_of(root),
        "made_from": _source_tag(root, dataset),
    }

    def get(paths: Sequence[str]) -> dict[str, str]:
        return annex.get(root, paths, notify=notify)

    return _Part(root, chosen, get, lambda paths: annex.drop(root, paths)), description


def _source_tag(root: Path, dataset: str) -> str:
    """Return the version of the raw data set that a derivative states as its source."""
    try:
        sources = tables.read_json(root / "dataset_description.json").get("SourceDatasets")
    except CircuitshiftError:
        return ""
    found = _DOI.search(str(sources))
    return found[2] if found and found[1] == dataset else ""


def _raw(snapshot: openneuro.Snapshot, folder: Path, selection: FileSelection, kind: str) -> _Part:
    """Select the needed files of a raw data set."""
    paths = needed_files(snapshot.sizes, selection, "tables" if kind == "tables" else "raw")

    def get(selected: Sequence[str]) -> dict[str, str]:
        messages = openneuro.download(snapshot, selected, folder)
        return {"": messages} if messages else {}

    def drop(selected: Sequence[str]) -> None:
        for path in selected:
            (folder / path).unlink(missing_ok=True)

    return _Part(folder, {path: snapshot.sizes[path] for path in paths}, get, drop)


def _key(part: _Part, path: str, folder: Path) -> str:
    """Return the key of a file in the record."""
    return (part.root / path).relative_to(folder).as_posix()


def _stamp(path: Path) -> list[int]:
    """Return size and modification time of a file, which change if it is modified."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _missing(part: _Part, folder: Path, record: Mapping[str, Any]) -> list[str]:
    """List files that do not exist or have not been verified."""
    available = record.get("files", {})
    return [
        path
        for path in part.sizes
        if not (part.root / path).exists()
        or available.get(_key(part, path, folder)) != _stamp(part.root / path)
    ]


# ------------------------------------------------------------------------------ download


def _report_size(
    snapshot: openneuro.Snapshot,
    parts: Sequence[_Part],
    missing: Sequence[Sequence[str]],
    folder: Path,
    *,
    notify: Notify,
) -> None:
    """Report the number and size of files; raise an error if there is not enough disk space."""
    n_files = sum(len(part.sizes) for part in parts)
    n_bytes = sum(size or 0 for part in parts for size in part.sizes.values())
    sizes_to_fetch = [
        part.sizes[path] or 0
        for part, selected in zip(parts, missing, strict=True)
        for path in selected
    ]
    unknown = sum(size is None for part in parts for size in part.sizes.values())
    notify(
        f"{snapshot.dataset} {snapshot.tag}: {n_files} files, {n_bytes / _GB:.3g} GB; to fetch: "
        f"{len(sizes_to_fetch)} files, {sum(sizes_to_fetch) / _GB:.3g} GB"
        + (f" (and {unknown} files of unknown size)" if unknown else "")
    )
    existing_folder = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(existing_folder).free
    if sum(sizes_to_fetch) > free:
        raise InputError(
            f"{existing_folder} has {free / _GB:.3g} GB free, but {sum(sizes_to_fetch) / _GB:.3g} "
            "GB are needed; make room, choose a folder on another disk, or request fewer "
            "participants (--participant-label)"
        )


def _fetch_and_verify(
    parts: Sequence[_Part],
    missing: Sequence[Sequence[str]],
    folder: Path,
    record: dict[str, Any],
    *,
    notify: Notify,
) -> None:
    """Fetch and verify files, repeat this for damaged files, and report remaining problems."""
    files: dict[str, list[int]] = record.setdefault("files", {})
    tables.write_json(folder / _RECORD, record | {"complete": False})
    problems: list[InputProblem] = []
    for part, selected in zip(parts, missing, strict=True):
        problems_by_path, messages = _fetch_until_complete(
            part, selected, folder, files, notify=notify
        )
        tables.write_json(folder / _RECORD, record | {"complete": False})
        for path, problem in problems_by_path.items():
            reason = messages.get(path) or messages.get("", "")
            description = f"{problem} ({reason})" if reason else problem
            problems.append(
                InputProblem(str(part.root / path), description, "run the same command again")
            )
    tables.write_json(folder / _RECORD, record | {"complete": not problems})
    if problems:
        raise InputProblemsError(
            f"{len(problems)} files of {folder} could not be fetched completely", problems
        )


def _fetch_until_complete(
    part: _Part,
    paths: Sequence[str],
    folder: Path,
    files: dict[str, list[int]],
    *,
    notify: Notify,
) -> tuple[dict[str, str], dict[str, str]]:
    """Fetch files of one source; return problems of files and reasons of failure by path."""
    problems_by_path = _verify(part, paths, folder, files)
    messages: dict[str, str] = {}
    for number in range(_MAX_ROUNDS):
        if not problems_by_path:
            break
        if number:
            first = [f"{path}: {text}" for path, text in list(problems_by_path.items())[:5]]
            notify(f"fetching again: {'; '.join(first)}")
        part.drop(
            [
                path
                for path in problems_by_path
                if not _can_resume(part.root / path, part.sizes[path])
            ]
        )
        messages = part.get(list(problems_by_path))
        problems_by_path = _verify(part, list(problems_by_path), folder, files)
    return problems_by_path, messages


def _can_resume(path: Path, size: int | None) -> bool:
    """Return whether a file is the beginning of a download, which can be resumed."""
    if not path.is_file():
        return True  # there is nothing to remove
    n_bytes = path.stat().st_size
    if size is None or not 0 < n_bytes < size:
        return False
    with path.open("rb") as file:
        head = file.read(64).lstrip().lower()
    return path.suffix == ".gz" and not head.startswith((b"<", b"{"))


def _verify(
    part: _Part, paths: Sequence[str], folder: Path, files: dict[str, list[int]]
) -> dict[str, str]:
    """Verify files, record those that are complete, and return the problems of the others."""
    problems_by_path = {}
    for path in paths:
        problem = find_problem(part.root / path, part.sizes[path])
        if problem:
            problems_by_path[path] = problem
        else:
            files[_key(part, path, folder)] = _stamp(part.root / path)
    return problems_by_path


def _summarise(folder: Path, record: Mapping[str, Any], parts: Sequence[_Part]) -> Fetched:
    """Make the result of `fetch` from the record."""
    sizes = [size for part in parts for size in part.sizes.values()]
    derivatives = record.get("derivatives", {})
    return Fetched(
        folder=folder,
        tag=record["tag"],
        commit=record["commit"],
        derivatives={name: description["commit"] for name, description in derivatives.items()},
        n_files=len(sizes),
        n_bytes=sum(size or 0 for size in sizes),
    )
