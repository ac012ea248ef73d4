"""Files that are written whole or not at all.

Whatever kills a process, a reader finds the old file or the new one: content goes to a temporary
name beside the target, is brought to the disk, and then takes the target's name.
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

#: How names of files begin that are not whole yet.
PART_PREFIX = ".part-"

_ADVICE = {
    errno.ENOSPC: "free some space and run it again",
    errno.EDQUOT: "free some of your quota and run it again",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f) and run it again",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose a folder that you may write to, or change its permissions",
    errno.EPERM: "choose a folder that you may write to, or change its permissions",
    errno.ENAMETOOLONG: "choose a folder with a shorter path",
}


def complete_files(paths: Iterable[Path]) -> list[Path]:
    """Leave out what a killed process left half written.

    Parameters
    ----------
    paths : iterable of Path
        As a glob gives them, which takes hidden files too.

    Returns
    -------
    list of Path
        In the order of their names.
    """
    return sorted(path for path in paths if not path.name.startswith(PART_PREFIX))


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path, and move what is written there to the target.

    Parameters
    ----------
    target : Path
        Its folder is made. The temporary name ends like it.

    Yields
    ------
    Path
        To be written to by name.

    Raises
    ------
    OutputError
        If the file system refuses; says what to do. The target is as it was.
    """
    part = target.with_name(f"{PART_PREFIX}{os.getpid()}-{secrets.token_hex(4)}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            # without it a crash of the machine could leave the new name with no content
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "run it again")
        raise OutputError(
            f"{target}: it cannot be written ({error.strerror or error}); {advice}; what is whole "
            "is kept"
        ) from error


@contextmanager
def atomic_text(target: Path) -> Iterator[TextIO]:
    r"""Open a text file (UTF-8, Unix line ends) that takes its name when it is whole.

    Parameters
    ----------
    target : Path

    Yields
    ------
    text file
        Bytes of file names that are no UTF-8 are written as ``\udcXX``.

    Raises
    ------
    OutputError
        As `atomic_path`.
    """
    with (
        atomic_path(target) as part,
        part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        yield file


@contextmanager
def atomic_binary(target: Path) -> Iterator[BinaryIO]:
    """Open a binary file that takes its name when it is whole.

    Parameters
    ----------
    target : Path

    Yields
    ------
    binary file

    Raises
    ------
    OutputError
        As `atomic_path`.
    """
    with atomic_path(target) as part, part.open("wb") as file:
        yield file
