"""Fetch what an analysis needs of a published data set, verified, and say where it came from.

Tables and raw images come from OpenNeuro (`openneuro`), preprocessed ones from
OpenNeuroDerivatives (`annex`). ``.fetch.json`` in the folder notes version, commits and verified
files: that is how an interrupted fetch goes on, and how results know their source.
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
from circuitshift.pipeline.validation.opendata.needed_files import EVERYTHING, Wanted, needed_files
from circuitshift.pipeline.validation.opendata.verify import what_is_wrong

__all__ = ["Fetched", "fetch", "is_fetched", "published_sources"]

Notify = Callable[[str], None]

_RECORD = ".fetch.json"
_DATASET = re.compile(r"ds\d{6}")
_DOI = re.compile(r"10\.18112/openneuro\.(ds\d+)\.v([\w.]+)")
_ROUNDS = 3  # of fetching again what proved wrong
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Fetched:
    """What is in the folder now.

    Parameters
    ----------
    folder : Path
    tag, commit : str
        Version of the raw data set, and its commit (empty when the server does not tell).
    derivatives : dict of str to str
        Commit of each derivative.
    n_files, n_bytes : int
        What the analysis needs, fetched now or before; bytes as far as they are known.
    """

    folder: Path
    tag: str
    commit: str
    derivatives: dict[str, str]
    n_files: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Files of one source.

    Parameters
    ----------
    root : Path
        Folder that paths are relative to.
    sizes : dict of str to (int or None)
        Bytes of each needed file.
    get : callable
        Fetches some of them; returns reasons by path, or by the empty path for all.
    drop : callable
        Removes content that proved wrong.
    """

    root: Path
    sizes: dict[str, int | None]
    get: Callable[[Sequence[str]], dict[str, str]]
    drop: Callable[[Sequence[str]], None]


def fetch(
    dataset: str,
    folder: Path,
    wanted: Wanted = EVERYTHING,
    *,
    tag: str = "",
    derivatives: tuple[str, str] | None = None,
    notify: Notify,
    dry_run: bool = False,
    api: str = "",
) -> Fetched:
    """Fetch a published data set, or go on with a fetch that was interrupted.

    Parameters
    ----------
    dataset : str
        Accession number, such as ``ds003007``.
    folder : Path
        New, empty, or filled by an earlier fetch of the same version.
    wanted : Wanted
    tag : str
        Version. Empty: that of the earlier fetch, else the one the derivative was made from, else
        the newest.
    derivatives : tuple of (str, str), optional
        Name, such as ``fmriprep``, and address of the git-annex repository (empty:
        OpenNeuroDerivatives). Its images are then fetched into ``derivatives/NAME``, and of the
        raw data set only the tables.
    notify : callable
        Takes one line.
    dry_run : bool
        Only say what would be fetched. A derivative is cloned for that, without its images.
    api : str
        Address of OpenNeuro's GraphQL service; its own when empty.

    Returns
    -------
    Fetched

    Raises
    ------
    InputError
        If the data set or version does not exist, nothing can be reached, the folder holds
        something else, or the disk is too small.
    FaultsError
        Files that could not be had whole; all others are here.
    """
    if not _DATASET.fullmatch(dataset):
        raise InputError(
            f"{dataset!r} is no accession number of OpenNeuro; write ds and six digits"
        )
    record = _opened(folder, dataset, tag)
    parts: list[_Part] = []
    made_from = ""
    if derivatives:
        part, about = _derivative(dataset, folder, derivatives, wanted, notify=notify)
        made_from = about.pop("made_from")
        record.setdefault("derivatives", {})[derivatives[0]] = about
        parts.append(part)
    snapshot = openneuro.read_snapshot(dataset, tag or record.get("tag") or made_from, api=api)
    if made_from and made_from != snapshot.tag:
        notify(f"note: the derivative was made from version {made_from}, tables are {snapshot.tag}")
    parts.insert(0, _raw(snapshot, folder, wanted, "tables" if derivatives else "raw"))
    record |= {"dataset": dataset, "tag": snapshot.tag, "commit": snapshot.commit}
    missing = [_missing(part, folder, record) for part in parts]
    _announce(snapshot, parts, missing, folder, notify=notify)
    if not dry_run:
        folder.mkdir(parents=True, exist_ok=True)
        _fill(parts, missing, folder, record, notify=notify)
    return _fetched(folder, record, parts)


def is_fetched(folder: Path) -> bool:
    """Tell whether a folder holds a data set that needs no network any more.

    Its fetch ended, or there is a data set that somebody put there by other means.
    """
    path = folder / _RECORD
    if path.exists():
        return bool(tables.read_json(path).get("complete"))
    return any(any(folder.glob(pattern)) for pattern in ("sub-*", "derivatives/*/sub-*"))


def published_sources(folder: Path) -> tuple[str, ...]:
    """DOI of the version in a folder that `fetch` filled, and address and commit of derivatives."""
    path = folder / _RECORD
    if not path.exists():
        return ()
    record = tables.read_json(path)
    doi = f"doi:10.18112/openneuro.{record['dataset']}.v{record['tag']}"
    made = record.get("derivatives", {}).values()
    return (doi, *(f"{_as_url(about['url'])}#{about['commit']}" for about in made))


def _as_url(url: str) -> str:
    return url if "://" in url else Path(url).resolve().as_uri()


# ------------------------------------------------------------------------------ parts


def _opened(folder: Path, dataset: str, tag: str) -> dict[str, Any]:
    """Read the record of an earlier fetch; refuse a folder that holds something else."""
    path = folder / _RECORD
    if not path.exists():
        there = [p for p in folder.iterdir() if p.name != "derivatives"] if folder.exists() else []
        if there:
            raise InputError(f"{folder} is not empty and was not fetched; name a new folder")
        return {}
    record = tables.read_json(path)
    held = f"{record['dataset']} {record['tag']}"
    if record["dataset"] != dataset or (tag and record["tag"] != tag):
        raise InputError(f"{folder} holds {held}; name another folder for {dataset} {tag}".rstrip())
    return record


def _derivative(
    dataset: str, folder: Path, named: tuple[str, str], wanted: Wanted, *, notify: Notify
) -> tuple[_Part, dict[str, str]]:
    name, url = named
    url = url or annex.SOURCE.format(dataset=dataset, name=name)
    root = folder / "derivatives" / name
    notify(f"{url}: names and sizes")
    annex.clone(url, root)
    sizes = annex.sizes_of(root)
    chosen = {path: sizes[path] for path in needed_files(sizes, wanted, "derivatives")}
    about = {"url": url, "commit": annex.commit_of(root), "made_from": _made_from(root, dataset)}

    def get(paths: Sequence[str]) -> dict[str, str]:
        return annex.get(root, paths, notify=notify)

    return _Part(root, chosen, get, lambda paths: annex.drop(root, paths)), about


def _made_from(root: Path, dataset: str) -> str:
    """Version of the raw data set that a derivative names as its source."""
    try:
        sources = tables.read_json(root / "dataset_description.json").get("SourceDatasets")
    except CircuitshiftError:
        return ""
    found = _DOI.search(str(sources))
    return found[2] if found and found[1] == dataset else ""


def _raw(snapshot: openneuro.Snapshot, folder: Path, wanted: Wanted, kind: str) -> _Part:
    paths = needed_files(snapshot.sizes, wanted, "tables" if kind == "tables" else "raw")

    def get(some: Sequence[str]) -> dict[str, str]:
        said = openneuro.download(snapshot, some, folder)
        return {"": said} if said else {}

    def drop(some: Sequence[str]) -> None:
        for path in some:
            (folder / path).unlink(missing_ok=True)

    return _Part(folder, {path: snapshot.sizes[path] for path in paths}, get, drop)


def _key(part: _Part, path: str, folder: Path) -> str:
    return (part.root / path).relative_to(folder).as_posix()


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _missing(part: _Part, folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Files that are not here, or were not found whole yet."""
    available = record.get("files", {})
    return [
        path
        for path in part.sizes
        if not (part.root / path).exists()
        or available.get(_key(part, path, folder)) != _stamp(part.root / path)
    ]


# ------------------------------------------------------------------------------ doing it


def _announce(
    snapshot: openneuro.Snapshot,
    parts: Sequence[_Part],
    missing: Sequence[Sequence[str]],
    folder: Path,
    *,
    notify: Notify,
) -> None:
    """Say how much there is before anything starts; refuse when the disk cannot hold it."""
    n_files = sum(len(part.sizes) for part in parts)
    n_bytes = sum(size or 0 for part in parts for size in part.sizes.values())
    to_do = [
        part.sizes[path] or 0 for part, some in zip(parts, missing, strict=True) for path in some
    ]
    unknown = sum(size is None for part in parts for size in part.sizes.values())
    notify(
        f"{snapshot.dataset} {snapshot.tag}: {n_files} files, {n_bytes / _GB:.3g} GB; to fetch: "
        f"{len(to_do)} files, {sum(to_do) / _GB:.3g} GB"
        + (f" (and {unknown} files whose size is not known)" if unknown else "")
    )
    home = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(home).free
    if sum(to_do) > free:
        raise InputError(
            f"{home} has {free / _GB:.3g} GB free, {sum(to_do) / _GB:.3g} GB are needed; make "
            "room, name a folder on another disk, or ask for fewer people by --participant-label"
        )


def _fill(
    parts: Sequence[_Part],
    missing: Sequence[Sequence[str]],
    folder: Path,
    record: dict[str, Any],
    *,
    notify: Notify,
) -> None:
    """Fetch and verify, again what proved wrong; name what remains."""
    files: dict[str, list[int]] = record.setdefault("files", {})
    tables.write_json(folder / _RECORD, record | {"complete": False})
    problems: list[InputProblem] = []
    for part, some in zip(parts, missing, strict=True):
        wrong, said = _until_complete(part, some, folder, files, notify=notify)
        tables.write_json(folder / _RECORD, record | {"complete": False})
        for path, what in wrong.items():
            reason = said.get(path) or said.get("", "")
            told = f"{what} ({reason})" if reason else what
            problems.append(InputProblem(str(part.root / path), told, "run the same command again"))
    tables.write_json(folder / _RECORD, record | {"complete": not problems})
    if problems:
        raise InputProblemsError(
            f"{len(problems)} files of {folder} could not be fetched whole", problems
        )


def _until_complete(
    part: _Part,
    paths: Sequence[str],
    folder: Path,
    files: dict[str, list[int]],
    *,
    notify: Notify,
) -> tuple[dict[str, str], dict[str, str]]:
    """Fetch some files of one source; return what is wrong with those that remain, and why."""
    wrong = _look(part, paths, folder, files)
    said: dict[str, str] = {}
    for number in range(_ROUNDS):
        if not wrong:
            break
        if number:
            notify(f"fetching again: {'; '.join(f'{p}: {w}' for p, w in list(wrong.items())[:5])}")
        part.drop([path for path in wrong if not _may_go_on(part.root / path, part.sizes[path])])
        said = part.get(list(wrong))
        wrong = _look(part, list(wrong), folder, files)
    return wrong, said


def _may_go_on(path: Path, size: int | None) -> bool:
    """Tell the beginning of a download from something that is no part of the file."""
    if not path.is_file():
        return True  # nothing to drop
    there = path.stat().st_size
    if size is None or not 0 < there < size:
        return False
    with path.open("rb") as file:
        head = file.read(64).lstrip().lower()
    return path.suffix == ".gz" and not head.startswith((b"<", b"{"))


def _look(
    part: _Part, paths: Sequence[str], folder: Path, files: dict[str, list[int]]
) -> dict[str, str]:
    """Verify files; note those that are whole."""
    wrong = {}
    for path in paths:
        what = what_is_wrong(part.root / path, part.sizes[path])
        if what:
            wrong[path] = what
        else:
            files[_key(part, path, folder)] = _stamp(part.root / path)
    return wrong


def _fetched(folder: Path, record: Mapping[str, Any], parts: Sequence[_Part]) -> Fetched:
    sizes = [size for part in parts for size in part.sizes.values()]
    made = record.get("derivatives", {})
    return Fetched(
        folder=folder,
        tag=record["tag"],
        commit=record["commit"],
        derivatives={name: about["commit"] for name, about in made.items()},
        n_files=len(sizes),
        n_bytes=sum(size or 0 for size in sizes),
    )
