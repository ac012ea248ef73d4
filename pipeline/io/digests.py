"""Compute digests of the content of files, and record them with the state of each file.

Outputs are valid as long as the content of their inputs is unchanged. Reading all images to check
this would take as long as copying the data set. The digest of a file is therefore recorded together
with its size, modification time, change time and inode, and a file is read again only if one of
these differs. Programs can set the modification time of a file, but not its change time, which the
kernel updates whenever content or attributes change. In a copy of the data all inodes differ, so
all files are read once.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from circuitshift.pipeline.errors import InputError, OutputError, TableError
from circuitshift.pipeline.io import tables

__all__ = ["UNREAD", "Digests", "content_digest", "digest_record", "recorded_digests"]

#: Returned instead of a digest for a file that would have to be read; differs from all digests.
UNREAD = "unread"
# File systems store times with a resolution of up to 2 s (FAT; 1 s with NFS 3, 4 ms on ext4). A
# file that has just changed could change again without a new change time, so its digest is not
# recorded until this interval has passed.
_SETTLED_NS = 2_500_000_000
_CHUNK = 1 << 20  # bytes that are read at a time
_State = tuple[int, int, int, int]


def content_digest(path: Path) -> str:
    """Compute a digest that changes with the content of a file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        16 hexadecimal digits: the beginning of the SHA-256 or, for compressed files, the CRC-32
        and the Adler-32 of their bytes. Both detect changes, and for images of several hundred
        megabytes their computation takes a third of the time of the SHA-256.
    """
    if path.suffix != ".gz":
        return tables.checksum(path)
    from isal import isal_zlib  # noqa: PLC0415 - not needed for tables

    crc, adler = 0, 1
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc, adler = isal_zlib.crc32(chunk, crc), isal_zlib.adler32(chunk, adler)
    return f"{crc:08x}{adler:08x}"


class Digests:
    """Digests of files, and the states of the files for which they were computed.

    Parameters
    ----------
    name : str
        ``sub-X`` for a participant, or ``group``.
    out_dir : Path
        Root of the output data set. The record in ``logs/digests`` is read if it exists, and
        ignored if it is damaged.
    read : bool
        Whether to read files without a recorded digest; if false, `of` returns `UNREAD` for them.
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
        """Return the digest of the content of a file.

        Parameters
        ----------
        path : Path
            The file; links are followed.

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
        # Both are determined before reading, so that a change while reading outdates the state.
        # Outputs are written by one process at a time, which holds a lock (workflows.engine.locks).
        is_settled = name.startswith(self._outputs) or time.time_ns() - state[2] > _SETTLED_NS
        digest = content_digest(path)
        if is_settled:
            self._new[name] = state, digest
        return digest

    def save(self) -> None:
        """Write the record if it has changed, without entries of files that no longer exist.

        If the record cannot be written, the files are read again in the next run.
        """
        if not self._new:
            return
        # another step of the same participant may have written it in the meantime
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
    """Return size, modification time, change time and inode of a file.

    The file is opened, because clients of network file systems may return attributes that are up to
    a minute old, but query the server when a file is opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would block
    try:
        about = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not S_ISREG(about.st_mode):
        raise InputError(f"{path}: it is a folder, pipe or device, not a file; replace it")
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def digest_record(name: str, out_dir: Path) -> Path:
    """Return the path of the record of a participant (``sub-X``) or of the group level."""
    return out_dir / "logs" / "digests" / f"{name}.json"


@contextmanager
def recorded_digests(name: str, out_dir: Path) -> Iterator[Digests]:
    """Load the digests of a participant or of the group level, and save them at the end.

    Parameters
    ----------
    name : str
        ``sub-X`` for a participant, or ``group``.
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
