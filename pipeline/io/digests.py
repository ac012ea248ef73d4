"""Digests of the content of files, read once for each state of a file.

Outputs are valid as long as the content of their inputs is unchanged. Reading every image again to
see that would take as long as copying the data set, so the digest of a file is kept in a small
record together with what the file system says of it: size, modification time, change time and
inode. When all four are equal the file is not read. The modification time can be set by programs;
the change time is set by the kernel whenever content, name or attributes change. In a copy of the
data all inodes are new, so everything is read once more.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from circuitshift.pipeline.errors import InputError, OutputError, TableError
from circuitshift.pipeline.io import tables

__all__ = ["UNREAD", "Digests", "digest_record", "recorded_digests"]

#: Digest of a file that would have to be read; equal to no digest.
UNREAD = "unread"
# File systems count time in steps of up to 2 s (FAT; 1 s over NFS 3, 4 ms on ext4). A file that
# changed within the last step could change again under the same time, so it is not trusted yet.
_SETTLED_NS = 2_500_000_000
_State = tuple[int, int, int, int]


class Digests:
    """Digests of files, and the states of the files that they were computed from.

    Parameters
    ----------
    name : str
        ``sub-X``, or ``group``.
    out_dir : Path
        Root of the output data set. A record in ``logs/digests`` is read when it is there, and
        ignored when it is damaged.
    read : bool
        Whether files are read whose digest is not recorded; otherwise `of` returns `UNREAD`.
    """

    def __init__(self, name: str, out_dir: Path, *, read: bool = True) -> None:
        self._record, self._read = digest_record(name, out_dir), read
        self._outputs = f"{out_dir}{os.sep}"
        self._known = self._recorded()
        self._new: dict[str, tuple[_State, str]] = {}

    def _recorded(self) -> dict[str, tuple[_State, str]]:
        found: dict[str, tuple[_State, str]] = {}
        with suppress(TableError, TypeError, ValueError):
            for path, (*state, digest) in tables.read_json(self._record).items():
                size, modified, changed, inode = map(int, state)
                found[path] = (size, modified, changed, inode), str(digest)
        return found

    def of(self, path: Path) -> str:
        """Return the digest of a file's content.

        Parameters
        ----------
        path : Path
            Links are followed.

        Returns
        -------
        str
            16 hexadecimal digits, or `UNREAD`.

        Raises
        ------
        OSError
            If the file cannot be read.
        InputError
            If it is a folder, pipe or device.
        """
        name = str(path)
        state = _state(path)
        state_then, digest = self._new.get(name) or self._known.get(name) or (None, "")
        if state_then == state:
            return digest
        if not self._read:
            return UNREAD
        digest = tables.checksum(path)
        # outputs are written by one process at a time, which holds a lock (workflows.engine.locks)
        is_settled = name.startswith(self._outputs) or time.time_ns() - state[2] > _SETTLED_NS
        if is_settled and _state(path) == state:
            self._new[name] = state, digest
        return digest

    def save(self) -> None:
        """Write the record if it has changed; entries of files that are gone are dropped.

        A record that cannot be written is left out: files are then read again the next time.
        """
        if not self._new:
            return
        # another step of the same participant may have written it since
        self._known = self._recorded() | self._new
        self._new = {}
        content = {
            path: (*state, digest)
            for path, (state, digest) in sorted(self._known.items())
            if os.path.lexists(path)
        }
        with suppress(OutputError):
            tables.write_json(self._record, content)


def _state(path: Path) -> _State:
    """Ask the file system for the state of a file.

    The file is opened: clients of network file systems answer `os.stat` from a cache of up to a
    minute, and ask the server when a file is opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer
    try:
        about = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not S_ISREG(about.st_mode):
        raise InputError(f"{path}: it is no file (a folder, pipe or device); replace it")
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def digest_record(name: str, out_dir: Path) -> Path:
    """Return the path of the record of a participant (``sub-X``) or of the group level."""
    return out_dir / "logs" / "digests" / f"{name}.json"


@contextmanager
def recorded_digests(name: str, out_dir: Path) -> Iterator[Digests]:
    """Open the digests of a participant or of the group level, and save them in the end.

    Parameters
    ----------
    name : str
        ``sub-X``, or ``group``.
    out_dir : Path
        Root of the output data set.

    Yields
    ------
    Digests
    """
    digests = Digests(name, out_dir)
    try:
        yield digests
    finally:
        digests.save()
