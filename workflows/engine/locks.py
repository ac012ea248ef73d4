"""Per-participant locks on the output folder; removes partial files left by killed runs.

The tasks of a job array share an output folder and process different participants. The group level
must not run while any participant is being processed. Each run therefore writes a note that names
its process and its participants, and holds a lock on this note. The kernel releases the lock when
the last process of the run ends, for whatever reason. A note without a lock thus belongs to a run
that was killed: the note and the partial files of that run are removed.

The lock is `filelock.lock_descriptor` (``flock``) on the note itself. `filelock.FileLock` is not
used because its lock is not shared with forked workers, which may outlive a killed parent process,
because it cannot lock a folder (see `staged`), and because it cannot name participants in the
error message. On NFS, the kernel passes these locks to the server, so that they are effective
across nodes. On a file system without locks, a note is printed, and only one run may be started at
a time.
"""

import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from typing import IO

from filelock import lock_descriptor

from circuitshift.atlases.atomic_files import PART_PREFIX
from circuitshift.atlases.shared_folders import foreign_part
from circuitshift.pipeline.errors import InputError, OutputError

__all__ = ["claimed", "scratch", "staged"]

# Time for the workers of a run that was just killed to end.
_PATIENCE_S = 5.0
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class _Note:
    """Process and participants of a run; `participants` is None for all participants."""

    host: str
    pid: int
    started: str
    participants: tuple[str, ...] | None

    def shares(self, participants: Collection[str] | None) -> bool:
        """Return whether this run has at least one participant in common with another run."""
        return (
            self.participants is None
            or participants is None
            or not set(self.participants).isdisjoint(participants)
        )

    def __str__(self) -> str:
        names = (
            "all participants" if self.participants is None else ", ".join(self.participants[:5])
        )
        more = (
            f" and {len(self.participants) - 5} more"
            if self.participants and len(self.participants) > 5
            else ""
        )
        return f"process {self.pid} on {self.host}, since {self.started}, on {names}{more}"


@contextmanager
def claimed(
    out_dir: Path, participants: Collection[str] | None, *, notify: Callable[[str], None]
) -> Iterator[None]:
    """Lock participants of an output folder during one run.

    Parameters
    ----------
    out_dir : Path
        Output folder; notes of runs are kept in its ``logs/running`` folder.
    participants : collection of str or None
        Folders of the participants whose results this run writes, relative to `out_dir`, for
        example ``sub-01``. None locks all participants and the files that they share.
    notify : callable
        Function that prints one line.

    Yields
    ------
    None
        Partial files of runs that were killed have been removed.

    Raises
    ------
    InputError
        If another active run processes one of these participants.
    OutputError
        If the note cannot be written.
    """
    folder = out_dir / "logs" / "running"
    note = folder / f"{gethostname()}-{os.getpid()}-{secrets.token_hex(3)}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _register(note, participants, out_dir=out_dir, notify=notify)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot write into this folder ({error.strerror}); free space there, or "
            "choose another output folder, and run the command again"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            _sweep(out_dir, participants)  # of workers that were killed
            note.unlink(missing_ok=True)
        file.close()


def _register(
    note: Path,
    participants: Collection[str] | None,
    *,
    out_dir: Path,
    notify: Callable[[str], None],
) -> IO[str]:
    """Write the note of this run, unless another run processes one of these participants.

    The notes are read and written under a lock, so that two runs cannot register at the same time.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        with _locked(note.with_name("entry"), wait=True) as can_lock:
            if not can_lock:
                notify(f"note: {note.parent} cannot be locked; start one run at a time")
            dead, alive = _others(note.parent) if can_lock else ([], [])
            taken = [other for other in alive if other.shares(participants)]
            if not taken:
                for path, left in dead:
                    if alive and left.participants is None:
                        continue  # its partial files cannot be distinguished from active ones
                    _sweep(out_dir, left.participants if alive else None)
                    path.unlink(missing_ok=True)
                return _write_note(note, participants)
        if time.monotonic() > deadline:
            raise InputError(
                f"{out_dir} is being written to by another run ({taken[0]}); wait for it to end, "
                "select other participants with --participant-label, or choose another output "
                "folder"
            )
        time.sleep(0.2)


def _write_note(path: Path, participants: Collection[str] | None) -> IO[str]:
    """Write a note and lock it before it receives its final name."""
    part = path.with_name(f"{PART_PREFIX}{path.name}")
    file = part.open("w", encoding="utf-8")
    with suppress(OSError):  # a file system without locks was reported by `_register`
        lock_descriptor(file.fileno(), blocking=False)
    content = {
        "host": gethostname(),
        "pid": os.getpid(),
        "started": time.strftime("%Y-%m-%d %H:%M"),
        "participants": None if participants is None else sorted(participants),
    }
    json.dump(content, file)
    file.flush()
    part.rename(path)
    return file


def _others(folder: Path) -> tuple[list[tuple[Path, _Note]], list[_Note]]:
    """Read the notes of runs that were killed, and those of active runs."""
    dead, alive = [], []
    for path in sorted(folder.glob("*.json")):
        note = _read_note(path)
        with _locked(path, wait=False) as free:
            if free:
                dead.append((path, note))
            else:
                alive.append(note)
    return dead, alive


def _read_note(path: Path) -> _Note:
    """Read a note; an incomplete note or one of an older version counts as all participants."""
    try:
        content = json.loads(path.read_text("utf-8"))
        participants = content["participants"]
        labels = None if participants is None else tuple(map(str, participants))
        return _Note(str(content["host"]), int(content["pid"]), str(content["started"]), labels)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return _Note("an unknown host", 0, "an unknown time", None)


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Lock a file, and yield whether that was possible."""
    with path.open("a") as file:
        try:
            is_ours = lock_descriptor(file.fileno(), blocking=wait)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            is_ours = False
        yield is_ours


def _sweep(out_dir: Path, participants: Collection[str] | None) -> None:
    """Remove partial files left by killed runs; None removes those of all participants."""
    if participants is None:
        parts = list(out_dir.rglob(f"{PART_PREFIX}*"))
    else:
        parts = []
        for folder in map(out_dir.joinpath, participants):
            for root in (folder.parent, folder.parent / "preproc"):
                parts += root.glob(f"{PART_PREFIX}*-{folder.name}.html")
                parts += (root / "logs" / "digests").glob(f"{PART_PREFIX}*-{folder.name}.json")
                parts += (root / folder.name).rglob(f"{PART_PREFIX}*")
    for part in parts:
        part.unlink(missing_ok=True)


@contextmanager
def scratch(work_dir: Path, *, empty: bool, stays: bool = False) -> Iterator[Path]:
    """Create a private scratch folder for Nipype, and remove it afterwards.

    Nipype passes results between nodes as pickle files. A user who can place a pickle file where
    Nipype reads it can execute code. Folders of earlier runs are therefore never read: the folder
    is new, accessible to the current user only, and has a random name.

    Parameters
    ----------
    work_dir : Path
        Parent folder, which is created if necessary. Scratch folders of runs that were killed are
        removed from it.
    empty : bool
        Whether to remove the folder even if an error occurs.
    stays : bool, default: False
        Whether to keep the folder after the run, because submitted jobs still need it.

    Yields
    ------
    Path
        The scratch folder.

    Raises
    ------
    OutputError
        If the folder cannot be created, or belongs to another user in a folder that all users may
        write to.
    """
    part = foreign_part(work_dir)
    if part is not None:
        raise OutputError(
            f"{part}: it belongs to another user, in a folder that all users may write to, so that "
            "files in it cannot be trusted; give a folder of your own by --work-dir"
        )
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        for old in work_dir.glob("run-*"):
            with suppress(OSError), _locked(old / ".lock", wait=False) as free:
                if free:
                    shutil.rmtree(old, ignore_errors=True)
        folder = work_dir / f"{'jobs' if stays else 'run'}-{secrets.token_hex(8)}"
        # other runs look for run-* only, so the folder is locked before it has this name
        new = folder.with_name(f"new-{folder.name}")
        new.mkdir(mode=0o700)
        file = (new / ".lock").open("w")
        with suppress(OSError):
            lock_descriptor(file.fileno(), blocking=False)
        new.rename(folder)
    except OSError as error:
        raise OutputError(
            f"{work_dir}: cannot write into this folder ({error.strerror}); choose another one "
            "with --work-dir"
        ) from error
    try:
        yield folder
    except BaseException:
        if empty:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    else:
        if not stays:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        file.close()


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Create a folder that receives its final name once it is complete.

    Parameters
    ----------
    folder : Path
        Folder that does not exist yet, or is empty.

    Yields
    ------
    Path
        Empty folder in the same parent folder, to be filled by the caller.

    Raises
    ------
    InputError
        If another process is writing the same folder.
    OutputError
        If the folder cannot be created.
    """
    stage = folder.with_name(f"{PART_PREFIX}{folder.name}")
    try:
        stage.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(stage, os.O_RDONLY)
    except OSError as error:
        raise OutputError(
            f"{folder}: this folder cannot be created ({error.strerror}); choose another one"
        ) from error
    try:
        try:
            is_ours = lock_descriptor(descriptor, blocking=False)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            is_ours = True
        if not is_ours:
            raise InputError(
                f"{folder} is being written to by another run; wait for it to end, or choose "
                "another folder"
            )
        for left in stage.iterdir():  # files of a run that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield stage
        stage.replace(folder)
    finally:
        os.close(descriptor)
