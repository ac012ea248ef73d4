"""Write files atomically: a file is either complete or absent.

Content is first written to a temporary file in the same folder, flushed to disk, and then renamed
to the target. If the process is killed at any point, readers find the previous file or the new
file, never a partial one.
"""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from circuitshift.atlases.errors import OutputError

__all__ = ["PART_PREFIX", "atomic_binary", "atomic_path", "atomic_text", "complete_files"]

#: Prefix of the names of files that are still being written.
PART_PREFIX = ".part-"

_ADVICE = {
    errno.ENOSPC: "free some space and run the command again",
    errno.EDQUOT: "free some of your quota and run the command again",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f) and run the command again",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose a folder that you may write to, or change its permissions",
    errno.EPERM: "choose a folder that you may write to, or change its permissions",
    errno.ENAMETOOLONG: "choose a folder with a shorter path",
}


def complete_files(paths: Iterable[Path]) -> list[Path]:
    """Return the paths without files that are still, or were never completely, written.

    Parameters
    ----------
    paths : iterable of Path
        Paths such as a glob returns, which include hidden files.

    Returns
    -------
    list of Path
        Paths whose names do not start with `PART_PREFIX`, sorted.
    """
    return sorted(path for path in paths if not path.name.startswith(PART_PREFIX))


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Provide a temporary path that is renamed to the target when the block ends.

    Parameters
    ----------
    target : Path
        File to write. Its folder is created if necessary.

    Yields
    ------
    Path
        Temporary file in the same folder. Its name ends with the name of the target, so that
        writers which select a format by extension work.

    Raises
    ------
    OutputError
        If the file cannot be written. The target is unchanged, and the message states a remedy.
    """
    part = target.with_name(f"{PART_PREFIX}{os.getpid()}-{secrets.token_hex(4)}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            # without fsync, a crash of the machine could leave an empty file under the new name
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "run the command again")
        raise OutputError(
            f"{target}: the file cannot be written ({error.strerror or error}); {advice}; "
            "files that are complete are kept"
        ) from error


@contextmanager
def atomic_text(target: Path) -> Iterator[TextIO]:
    r"""Open a text file for atomic writing, with UTF-8 encoding and Unix line ends.

    Parameters
    ----------
    target : Path
        File to write. Its folder is created if necessary.

    Yields
    ------
    text file
        File open for writing. Surrogates, which stand for bytes of file names that are not valid
        UTF-8, are written as ``\udcXX``.

    Raises
    ------
    OutputError
        If the file cannot be written; see `atomic_path`.
    """
    with (
        atomic_path(target) as part,
        part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        yield file


@contextmanager
def atomic_binary(target: Path) -> Iterator[BinaryIO]:
    """Open a binary file for atomic writing.

    Parameters
    ----------
    target : Path
        File to write. Its folder is created if necessary.

    Yields
    ------
    binary file
        File open for writing.

    Raises
    ------
    OutputError
        If the file cannot be written; see `atomic_path`.
    """
    with atomic_path(target) as part, part.open("wb") as file:
        yield file
