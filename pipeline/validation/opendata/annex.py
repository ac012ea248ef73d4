"""OpenNeuroDerivatives: git repositories whose images git-annex fetches."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from circuitshift.pipeline.errors import InputError

__all__ = ["SOURCE", "clone", "commit_of", "drop", "get", "sizes_of"]

#: Where preprocessed data sets of OpenNeuro are.
SOURCE = "https://github.com/OpenNeuroDerivatives/{dataset}-{name}.git"

Notify = Callable[[str], None]
_REACH_S = 30.0  # for the first answer of the server
_AT_ONCE = 400  # paths on one command line
# A connection slower than 1 kB/s for 30 s is broken off and tried again.
_SLOW = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=30")
_ANNEX = (
    *("-c", "annex.stalldetection=1KB/30s", "-c", "annex.retry=1", "-c", "annex.retry-delay=1"),
    *("-c", "annex.private=true"),
)
_NOBODY = {
    **{f"GIT_{who}_NAME": "circuitshift" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "circuitshift@localhost" for who in ("AUTHOR", "COMMITTER")},
}


def clone(url: str, folder: Path) -> None:
    """Clone a data set without its images; nothing is done when it is here already.

    Parameters
    ----------
    url : str
        Address or path of a git-annex repository.
    folder : Path

    Raises
    ------
    InputError
        If git or git-annex is not installed, the repository cannot be reached, or there is
        another one in the folder.
    """
    _need("git", "install git")
    _need("git-annex", "pip install 'circuitshift[openneuro]'")
    if (folder / ".git").exists():
        origin = _git(folder, "config", "remote.origin.url").strip()
        if origin != url:
            raise InputError(f"{folder} is a clone of {origin}, not of {url}; name another folder")
    else:
        _reach(url)
        part = folder.with_name(f".{folder.name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        _git(None, *_SLOW, "clone", "--quiet", url, str(part))
        part.rename(folder)
    _git(folder, *_ANNEX, "annex", "init", "--quiet", "circuitshift")


def commit_of(folder: Path) -> str:
    """Commit that a clone is at."""
    return _git(folder, "rev-parse", "HEAD").strip()


def sizes_of(folder: Path) -> dict[str, int | None]:
    """Bytes of every file of a clone, by path; None when the annex does not know them."""
    out: dict[str, int | None] = {}
    listed = _git(folder, "ls-files", "-z").split("\0")
    for path in filter(None, listed):
        link = folder / path
        out[path] = None if link.is_symlink() or not link.is_file() else link.stat().st_size
    told = _git(folder, "annex", "find", "--anything", "--format=${bytesize} ${file}\\000")
    for entry in filter(None, told.split("\0")):
        size, _, path = entry.partition(" ")
        out[path] = int(size) if size.isdecimal() else None
    return out


def get(folder: Path, paths: Sequence[str], *, notify: Notify) -> dict[str, str]:
    """Fetch the content of files; what is here already is left as it is.

    Parameters
    ----------
    folder : Path
        Clone.
    paths : sequence of str
    notify : callable
        Takes one line of progress.

    Returns
    -------
    dict of str to str
        Why each file that could not be fetched could not.
    """
    failed: dict[str, str] = {}
    done = 0
    for record in _annex_records(folder, "get", "--jobs=4", paths=paths):
        path = str(record.get("file") or "")
        if record.get("success"):
            done += 1
            notify(f"[{done}] {path}")
        elif path:
            said = " ".join(map(str, record.get("error-messages") or ())) or "no reason was given"
            failed[path] = " ".join(said.split())[:300]
    return failed


def drop(folder: Path, paths: Sequence[str]) -> None:
    """Throw content away that proved wrong, so that it is fetched again."""
    for _ in _annex_records(folder, "drop", "--force", paths=paths):
        pass


def _annex_records(folder: Path, *words: str, paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Run git-annex on files and yield what it reports of each."""
    options = ["--json", "--json-error-messages"]
    for start in range(0, len(paths), _AT_ONCE):
        chunk = paths[start : start + _AT_ONCE]
        command = ["git", *_ANNEX, "annex", words[0], *options, *words[1:], "--", *chunk]
        with subprocess.Popen(  # noqa: S603 - no shell
            command,
            cwd=folder,
            env=_environment(),
            stdout=subprocess.PIPE,
            text=True,
            stderr=subprocess.DEVNULL,
        ) as process:
            for line in process.stdout or ():
                if line.startswith("{"):
                    yield json.loads(line)


def _reach(url: str) -> None:
    """See in half a minute whether a repository answers."""
    try:
        _git(None, *_SLOW, "ls-remote", "--quiet", url, "HEAD", timeout=_REACH_S)
    except InputError as error:
        missing = any(word in str(error) for word in ("not found", "could not read Username"))
        hint = (
            "there is no such derivative, so preprocess the raw data or name another"
            if missing
            else "run this again where there is a network, or fetch on another machine with the "
            "same command and copy the folder"
        )
        raise InputError(f"{url} cannot be used ({_last_line(error)}): {hint}") from None


def _last_line(error: InputError) -> str:
    return str(error).rpartition("; ")[2].strip()


def _git(folder: Path | None, *words: str, timeout: float | None = None) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            ["git", *words],  # noqa: S607 - the user's git
            cwd=folder,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"git {words[0]}; no answer within {timeout:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        said = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1])
        verb = next(word for word in words if word[0] not in "-" and "=" not in word)
        raise InputError(f"git {verb} failed in {folder or 'no folder'}; {said}")
    return done.stdout


def _environment() -> Mapping[str, str]:
    """Environment of git: never asks, and finds the git-annex of this Python."""
    own = str(Path(sys.executable).parent)
    path = os.pathsep.join([own, os.environ.get("PATH", "")])
    return os.environ | _NOBODY | {"PATH": path, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}


def _need(program: str, how: str) -> None:
    if shutil.which(program, path=_environment()["PATH"]) is None:
        raise InputError(f"{program} is not installed; {how}")
