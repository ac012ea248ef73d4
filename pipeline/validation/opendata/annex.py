"""Run git, and fetch data sets of OpenNeuroDerivatives, whose images are in git-annex."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from circuitshift.pipeline.errors import InputError

__all__ = [
    "SOURCE",
    "SPEED_LIMIT",
    "check_reachable",
    "clone",
    "clone_without_files",
    "commit_of",
    "drop",
    "get",
    "require_program",
    "run_git",
    "sizes_of",
]

#: Address of a preprocessed data set in OpenNeuroDerivatives.
SOURCE = "https://github.com/OpenNeuroDerivatives/{dataset}-{name}.git"

Notify = Callable[[str], None]
_TIMEOUT_S = 30.0  # for the first answer of the server
_MAX_PATHS = 400  # paths on one command line
#: Options of git that close connections slower than 1 kB/s for 30 s.
SPEED_LIMIT = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=30")
_ANNEX = (
    *("-c", "annex.stalldetection=1KB/30s", "-c", "annex.retry=1", "-c", "annex.retry-delay=1"),
    *("-c", "annex.private=true"),
)
_COMMIT_IDENTITY = {
    **{f"GIT_{who}_NAME": "circuitshift" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "circuitshift@localhost" for who in ("AUTHOR", "COMMITTER")},
}


def clone(url: str, folder: Path) -> None:
    """Clone a data set without its images, unless the folder is already a clone of it.

    Parameters
    ----------
    url : str
        Address or path of a git-annex repository.
    folder : Path
        Folder of the clone.

    Raises
    ------
    InputError
        If git or git-annex is not installed, the repository cannot be reached, or the folder is a
        clone of another repository.
    """
    require_program("git", "install git")
    require_program("git-annex", "pip install 'circuitshift[openneuro]'")
    if (folder / ".git").exists():
        origin = run_git(folder, "config", "remote.origin.url").strip()
        if origin != url:
            raise InputError(
                f"{folder} is a clone of {origin}, not of {url}; choose another folder"
            )
    else:
        check_reachable(
            url,
            "run this again with network access, or run the same command on another machine "
            "and copy the folder",
            missing="there is no such derivative, so preprocess the raw data or choose another "
            "derivative",
        )
        part = folder.with_name(f".{folder.name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        run_git(None, *SPEED_LIMIT, "clone", "--quiet", url, str(part))
        part.rename(folder)
    run_git(folder, *_ANNEX, "annex", "init", "--quiet", "circuitshift")


def commit_of(folder: Path) -> str:
    """Return the commit that is checked out in a clone."""
    return run_git(folder, "rev-parse", "HEAD").strip()


def sizes_of(folder: Path) -> dict[str, int | None]:
    """Return the size of each file of a clone in bytes, by path; None where it is unknown."""
    sizes: dict[str, int | None] = {}
    listed = run_git(folder, "ls-files", "-z").split("\0")
    for path in filter(None, listed):
        link = folder / path
        sizes[path] = None if link.is_symlink() or not link.is_file() else link.stat().st_size
    output = run_git(folder, "annex", "find", "--anything", "--format=${bytesize} ${file}\\000")
    for entry in filter(None, output.split("\0")):
        size, _, path = entry.partition(" ")
        sizes[path] = int(size) if size.isdecimal() else None
    return sizes


def get(folder: Path, paths: Sequence[str], *, notify: Notify) -> dict[str, str]:
    """Fetch the content of files that are not yet present in a clone.

    Parameters
    ----------
    folder : Path
        Folder of the clone.
    paths : sequence of str
        Files to fetch, relative to the folder.
    notify : callable
        Function that is called with one line of text for each fetched file.

    Returns
    -------
    dict of str to str
        Reasons of failure by path, for files that could not be fetched.
    """
    failed: dict[str, str] = {}
    n_done = 0
    for record in _annex_records(folder, "get", "--jobs=4", paths=paths):
        path = str(record.get("file") or "")
        if record.get("success"):
            n_done += 1
            notify(f"[{n_done}] {path}")
        elif path:
            message = (
                " ".join(map(str, record.get("error-messages") or ())) or "no reason was given"
            )
            failed[path] = " ".join(message.split())[:300]
    return failed


def drop(folder: Path, paths: Sequence[str]) -> None:
    """Remove the content of damaged files, so that it is fetched again."""
    for _ in _annex_records(folder, "drop", "--force", paths=paths):
        pass


def _annex_records(folder: Path, *words: str, paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Run git-annex on files and yield its JSON records."""
    options = ["--json", "--json-error-messages"]
    for start in range(0, len(paths), _MAX_PATHS):
        chunk = paths[start : start + _MAX_PATHS]
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


def clone_without_files(url: str, folder: Path) -> None:
    """Clone the history of a repository, without the content of files where the server allows it.

    Parameters
    ----------
    url : str
        Address or path of a repository.
    folder : Path
        New folder.

    Raises
    ------
    InputError
        If the transfer fails.
    """
    words = ("clone", "--quiet", "--no-checkout", "--filter=blob:none", url, str(folder))
    run_git(None, *SPEED_LIMIT, *words)


def check_reachable(url: str, offline: str, *, missing: str = "") -> None:
    """Check within 30 s that a repository can be reached.

    Parameters
    ----------
    url : str
        Address or path of a repository.
    offline : str
        What to do if it cannot be reached, as a clause.
    missing : str, default=""
        What to do if the server has no such repository; if empty, correct the address.

    Raises
    ------
    InputError
        If it does not answer, or does not exist.
    """
    try:
        run_git(None, *SPEED_LIMIT, "ls-remote", "--quiet", url, "HEAD", timeout=_TIMEOUT_S)
    except InputError as error:
        is_missing = any(word in str(error) for word in ("not found", "could not read Username"))
        hint = (
            (missing or "there is no such repository, so correct its address")
            if is_missing
            else offline
        )
        raise InputError(f"{url} cannot be used ({_last_line(error)}); {hint}") from None


def _last_line(error: InputError) -> str:
    """Return the part of an error message after the last semicolon."""
    return str(error).rpartition("; ")[2].strip()


def run_git(folder: Path | None, *words: str, timeout: float | None = None) -> str:
    """Run git and return its output.

    Parameters
    ----------
    folder : Path or None
        Folder of a repository; None for commands that need none.
    *words : str
        Arguments of git.
    timeout : float, optional
        Longest duration in s.

    Returns
    -------
    str
        Standard output.

    Raises
    ------
    InputError
        If git fails or does not end in time.
    """
    try:
        result = subprocess.run(  # noqa: S603 - no shell
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
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()] or ["no reason given"]
        message = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1])
        verb = next(word for word in words if word[0] not in "-" and "=" not in word)
        raise InputError(f"git {verb} failed in {folder or 'no folder'}; {message}")
    return result.stdout


def _environment() -> Mapping[str, str]:
    """Make an environment without prompts, in which git finds the git-annex of this Python."""
    folder_of_python = str(Path(sys.executable).parent)
    path = os.pathsep.join([folder_of_python, os.environ.get("PATH", "")])
    return (
        os.environ
        | _COMMIT_IDENTITY
        | {"PATH": path, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}
    )


def require_program(program: str, remedy: str) -> None:
    """Check that a program is installed.

    Parameters
    ----------
    program : str
        Name of the program.
    remedy : str
        What to do if it is not.

    Raises
    ------
    InputError
        If the program cannot be found.
    """
    if shutil.which(program, path=_environment()["PATH"]) is None:
        raise InputError(f"{program} is not installed; {remedy}")
