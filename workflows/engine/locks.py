"""Per-participant locks on the output folder; removes partial files left by killed runs.

Tasks of a job array share an output folder and work on different participants; a group level needs
all of them at rest. Each run writes a note that states who works on whom, and holds a lock on it.
The kernel releases the lock when the last process of the run ends, however it ends, so a note
without a lock belongs to a run that was killed: it is removed, and with it files that were not
complete yet.

The lock is `filelock.lock_descriptor` (``flock``) on a file of our own, because `filelock.FileLock`
lacks three things: its lock is not shared with forked workers, which may outlive a parent that was
killed; it cannot lock a folder (`staged`); and it cannot name the participants in the message. On
NFS the kernel passes these locks to the server, so that they hold between nodes; a file system
that knows no locks gives a note, and runs must then be started one at a time.
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
from circuitshift.pipeline.errors import InputError, OutputError

__all__ = ["claimed", "scratch", "staged"]

# How long a run that was just killed may take until its workers have ended, too.
_PATIENCE_S = 5.0
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class _Note:
    """Who works on whom; `participants` is None for everybody."""

    host: str
    pid: int
    started: str
    participants: tuple[str, ...] | None

    def shares(self, participants: Collection[str] | None) -> bool:
        """Tell whether two runs want the same person."""
        return (
            self.participants is None
            or participants is None
            or not set(self.participants).isdisjoint(participants)
        )

    def __str__(self) -> str:
        names = "everybody" if self.participants is None else ", ".join(self.participants[:5])
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
    """Hold people of an output folder for one run.

    Parameters
    ----------
    out_dir : Path
        Notes are in its ``logs/running``.
    participants : collection of str or None
        Folders of the people this run writes, relative to `out_dir`: ``sub-X``; None for all, and
        what they share.
    notify : callable
        Takes one line.

    Yields
    ------
    None
        Left-overs of runs that were killed are gone.

    Raises
    ------
    InputError
        If another run that is alive has one of these people.
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
            f"{folder}: it cannot be written ({error.strerror}); free space there, or choose "
            "another output folder, and run it again"
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
    """Write the note while nobody else does, unless somebody has one of these people."""
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        with _locked(note.with_name("door"), wait=True) as can_lock:
            if not can_lock:
                notify(f"note: {note.parent} cannot be locked; start one run at a time")
            dead, alive = _others(note.parent) if can_lock else ([], [])
            taken = [other for other in alive if other.shares(participants)]
            if not taken:
                for path, left in dead:
                    _sweep(out_dir, left.participants if alive else None)
                    path.unlink(missing_ok=True)
                return _write_note(note, participants)
        if time.monotonic() > give_up:
            raise InputError(
                f"{out_dir} is being written to by another run ({taken[0]}); wait for it to end, "
                "name other people by --participant-label, or choose another output folder"
            )
        time.sleep(0.2)


def _write_note(path: Path, participants: Collection[str] | None) -> IO[str]:
    """Write a note and keep it locked; the lock is there before the name is."""
    part = path.with_name(f"{PART_PREFIX}{path.name}")
    file = part.open("w", encoding="utf-8")
    with suppress(OSError):  # where nothing can be locked that was reported
        lock_descriptor(file.fileno(), blocking=False)
    content = {
        "host": gethostname(),
        "pid": os.getpid(),
        "started": time.strftime("%Y-%m-%d %H:%M"),
        "people": None if participants is None else sorted(participants),
    }
    json.dump(content, file)
    file.flush()
    part.rename(path)
    return file


def _others(folder: Path) -> tuple[list[tuple[Path, _Note]], list[_Note]]:
    """Read the notes of runs that died, and of those that live."""
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
    """Read a note; one that is not whole stands for a run on everybody."""
    try:
        content = json.loads(path.read_text("utf-8"))
        participants = content["people"]
        named = None if participants is None else tuple(map(str, participants))
        return _Note(str(content["host"]), int(content["pid"]), str(content["started"]), named)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return _Note("an unknown host", 0, "an unknown time", None)


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Lock a file; yields whether that was possible."""
    with path.open("a") as file:
        try:
            is_ours = lock_descriptor(file.fileno(), blocking=wait)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            is_ours = False
        yield is_ours


def _sweep(out_dir: Path, participants: Collection[str] | None) -> None:
    """Remove what killed runs had not finished to write: of some people, or all of it."""
    if participants is None:
        left = list(out_dir.rglob(f"{PART_PREFIX}*"))
    else:
        left = []
        for person in map(out_dir.joinpath, participants):
            for root in (person.parent, person.parent / "preproc"):
                left += root.glob(f"{PART_PREFIX}*-{person.name}.html")
                left += (root / "logs" / "digests").glob(f"{PART_PREFIX}*-{person.name}.json")
                left += (root / person.name).rglob(f"{PART_PREFIX}*")
    for part in left:
        part.unlink(missing_ok=True)


@contextmanager
def scratch(work_dir: Path, *, empty: bool, stays: bool = False) -> Iterator[Path]:
    """Make a private folder for the engine's own files, and remove it in the end.

    Nipype passes results between nodes as pickles, and whoever can put a pickle where it is read
    can run code. So no folder of a former run is ever read: this one is new, can be entered by
    nobody else, and has a name that cannot be guessed.

    Parameters
    ----------
    work_dir : Path
        Made when it is not there; folders of runs that were killed are removed from it.
    empty : bool
        Whether the folder goes even after an error.
    stays : bool
        Whether it is left, for jobs that were submitted and are not waited for.

    Yields
    ------
    Path

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        for old in work_dir.glob("run-*"):
            with suppress(OSError), _locked(old / ".lock", wait=False) as free:
                if free:
                    shutil.rmtree(old, ignore_errors=True)
        folder = work_dir / f"{'jobs' if stays else 'run'}-{secrets.token_hex(8)}"
        new = folder.with_name(f"new-{folder.name}")  # locked before another run can see it
        new.mkdir(mode=0o700)
        file = (new / ".lock").open("w")
        with suppress(OSError):
            lock_descriptor(file.fileno(), blocking=False)
        new.rename(folder)
    except OSError as error:
        raise OutputError(f"{work_dir}: it cannot be written ({error.strerror})") from error
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
    """Make a folder that takes its name when it is whole.

    Parameters
    ----------
    folder : Path
        Is not there, or empty.

    Yields
    ------
    Path
        Empty folder beside it, to be filled.

    Raises
    ------
    InputError
        If another process is filling it.
    OutputError
        If it cannot be made.
    """
    stage = folder.with_name(f"{PART_PREFIX}{folder.name}")
    try:
        stage.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(stage, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"{folder}: it cannot be made ({error.strerror})") from error
    try:
        try:
            is_ours = lock_descriptor(descriptor, blocking=False)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            is_ours = True
        if not is_ours:
            raise InputError(f"{folder} is being written to by another run; wait for it")
        for left in stage.iterdir():  # of a run that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield stage
        stage.replace(folder)
    finally:
        os.close(descriptor)
