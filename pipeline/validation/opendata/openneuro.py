"""List the files of an OpenNeuro data set (GraphQL API), and download them (openneuro-py)."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuitshift.pipeline.errors import InputError

__all__ = ["API", "Snapshot", "download", "read_snapshot"]

API = "https://openneuro.org/crn/graphql"

_TAGS = "query ($d: ID!) { dataset(id: $d) { snapshots { tag } } }"
_FILES = (
    "query ($d: ID!, $t: String!) { snapshot(datasetId: $d, tag: $t) "
    "{ files(recursive: true) { filename size } } }"
)
_COMMIT = "query ($d: ID!, $t: String!) { snapshot(datasetId: $d, tag: $t) { hexsha } }"
# three attempts of 12 s and the pauses between them take less than a minute
_ATTEMPTS = 3
_TIMEOUT_S = 12.0
_PAUSE_S = 1.0
_RETRIES = 5  # for each file, by openneuro-py


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of a data set.

    Parameters
    ----------
    dataset : str
        Accession number, for example ``ds003007``.
    tag : str
        Version, for example ``1.0.1``.
    commit : str
        Commit of its git repository; empty if the server does not state it.
    sizes : dict of str to (int or None)
        Size of each file in bytes, by path; None where it is unknown.
    """

    dataset: str
    tag: str
    commit: str
    sizes: dict[str, int | None]


def read_snapshot(dataset: str, tag: str = "", *, api: str = "") -> Snapshot:
    """List the files of one version of a data set on OpenNeuro.

    Parameters
    ----------
    dataset : str
        Accession number.
    tag : str, default=""
        Version; if empty, the newest one.
    api : str, default=""
        Address of the GraphQL service; if empty, `API`.

    Returns
    -------
    Snapshot

    Raises
    ------
    InputError
        If the server cannot be reached within a minute, or has no such data set or version.
    """
    api = api or API
    answer = _ask(api, _TAGS, {"d": dataset}).get("dataset")
    if not answer or not answer.get("snapshots"):
        raise InputError(f"OpenNeuro has no public data set {dataset}; correct its number")
    tags = [str(snapshot["tag"]) for snapshot in answer["snapshots"]]
    if tag and tag not in tags:
        raise InputError(f"{dataset} has no version {tag}; use one of {', '.join(tags)} for --tag")
    chosen = tag or max(tags, key=_version)
    which = {"d": dataset, "t": chosen}
    files = (_ask(api, _FILES, which).get("snapshot") or {}).get("files") or []
    sizes = {str(file["filename"]): file.get("size") for file in files}
    try:
        commit = (_ask(api, _COMMIT, which).get("snapshot") or {}).get("hexsha") or ""
    except InputError:  # some versions of the service do not state it
        commit = ""
    return Snapshot(dataset, chosen, commit, sizes)


def _version(tag: str) -> list[tuple[int, str]]:
    """Make a sort key in which 1.0.2 precedes 1.0.10."""
    return [(int(part) if part.isdecimal() else 0, part) for part in tag.split(".")]


def _ask(api: str, query: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Send a query, repeat it if it fails, and return the content of ``data``."""
    body = json.dumps({"query": query, "variables": dict(variables)}).encode()
    head = {"Content-Type": "application/json", "User-Agent": "circuitshift"}
    request = urllib.request.Request(api, body, head)  # noqa: S310 - a fixed or stated address
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                content = json.load(answer)
        except urllib.error.HTTPError as error:
            reason = f"it answered HTTP {error.code}"
        except (OSError, ValueError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        else:
            if isinstance(content, dict) and isinstance(content.get("data"), dict):
                return dict(content["data"])
            reason = f"it answered {str(content)[:200]}"
    raise InputError(
        f"OpenNeuro ({api}) cannot be used ({reason}); run this again with network access, or run "
        "the same command on another machine and copy the folder"
    )


def download(snapshot: Snapshot, paths: Sequence[str], folder: Path) -> str:
    """Download files with openneuro-py, which resumes interrupted downloads.

    Parameters
    ----------
    snapshot : Snapshot
        Version of a data set.
    paths : sequence of str
        Files of `snapshot`.
    folder : Path
        Root of the downloaded data set.

    Returns
    -------
    str
        Error message of openneuro-py; empty if there was no error. The downloaded files are
        checked separately by `circuitshift.pipeline.validation.opendata.verify`.

    Raises
    ------
    InputError
        If openneuro-py is not installed.
    """
    try:
        import openneuro  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(
            "openneuro-py is not installed; pip install 'circuitshift[openneuro]'"
        ) from None
    except OSError as error:  # it creates a folder for settings at import
        raise InputError(
            f"openneuro-py cannot create its settings folder ({error}); set XDG_CONFIG_HOME to a "
            "folder that can be written to"
        ) from None
    # openneuro-py refuses folders whose description states another version, and descriptions on
    # OpenNeuro often state an older one. The version is recorded in .fetch.json instead.
    (folder / "dataset_description.json").unlink(missing_ok=True)
    try:
        openneuro.download(
            dataset=snapshot.dataset,
            tag=snapshot.tag,
            target_dir=folder,
            include=[f"/{path}" for path in paths],
            verify_hash=True,
            max_retries=_RETRIES,
        )
    except Exception as error:  # openneuro-py passes on exceptions of its HTTP library
        return str(error).split("\n")[0]
    return ""
