"""Locks of participants, and files left by runs that were killed."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from circuitshift.atlases.atomic_files import PART_PREFIX
from circuitshift.pipeline.errors import InputError, OutputError
from circuitshift.workflows.engine import locks

#: Locks a participant, starts a worker, prints its process number, and waits.
HOLDER = """
import os, sys, time
from pathlib import Path
from circuitshift.workflows.engine.locks import claimed
with claimed(Path(sys.argv[1]), ["sub-01"], notify=print):
    worker = os.fork()
    if not worker:
        time.sleep(60)
        os._exit(0)
    print(worker, flush=True)
    time.sleep(60)
"""


def take(out, participants):
    """Lock participants and release them."""
    with locks.claimed(out, participants, notify=pytest.fail):
        pass


def is_taken(out, participants):
    try:
        take(out, participants)
    except InputError:
        return True
    return False


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(locks, "_PATIENCE_S", 0.0)


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        (["sub-01"], ["sub-01"], True),
        (["sub-01", "sub-02"], ["sub-02", "sub-03"], True),
        (["sub-01"], ["sub-02"], False),
        (["sub-01"], None, True),
        (None, ["sub-01"], True),
        (None, None, True),
    ],
)
def test_a_participant_is_locked_by_one_run_at_a_time(tmp_path, first, second, refused):
    with locks.claimed(tmp_path, first, notify=pytest.fail):
        assert is_taken(tmp_path, second) is refused
    assert not is_taken(tmp_path, second)
    assert not list((tmp_path / "logs/running").glob("*.json"))


def test_the_message_names_the_other_run_and_what_to_do(tmp_path):
    held = [f"sub-{k:02d}" for k in range(1, 8)]
    with (
        locks.claimed(tmp_path, held, notify=pytest.fail),
        pytest.raises(InputError) as refused,
    ):
        take(tmp_path, ["sub-07"])
    message = str(refused.value)
    assert f"process {os.getpid()} on " in message
    assert "sub-01, sub-02, sub-03, sub-04, sub-05 and 2 more" in message
    assert "--participant-label" in message


def test_the_message_names_a_run_of_all_participants(tmp_path):
    with (
        locks.claimed(tmp_path, None, notify=pytest.fail),
        pytest.raises(InputError, match=r"on all participants\); wait"),
    ):
        take(tmp_path, ["sub-07"])


@pytest.mark.parametrize(
    ("participants", "recorded"), [(["sub-02", "sub-01"], ["sub-01", "sub-02"]), (None, None)]
)
def test_a_note_records_process_and_participants(tmp_path, participants, recorded):
    with locks.claimed(tmp_path, participants, notify=pytest.fail):
        (note,) = (tmp_path / "logs/running").glob("*.json")
        content = json.loads(note.read_text())
    assert set(content) == {"host", "pid", "started", "participants"}
    assert content["pid"] == os.getpid()
    assert content["participants"] == recorded


def test_the_lock_outlives_a_killed_parent_until_its_worker_ends(tmp_path):
    """Workers may still write files; `filelock.FileLock` would be released immediately."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        worker = int(holder.stdout.readline())
        assert is_taken(tmp_path, ["sub-01"])
        holder.kill()
        holder.wait()
        assert is_taken(tmp_path, ["sub-01"])
        os.kill(worker, signal.SIGKILL)
        end = time.monotonic() + 20
        while is_taken(tmp_path, ["sub-01"]) and time.monotonic() < end:
            time.sleep(0.05)
    assert not is_taken(tmp_path, ["sub-01"])


def dead_note(out, participants):
    folder = out / "logs" / "running"
    folder.mkdir(parents=True, exist_ok=True)
    content = {"host": "x", "pid": 1, "started": "2026-01-01 00:00", "participants": participants}
    (folder / "x-1-ab.json").write_text(json.dumps(content))


def test_partial_files_of_a_killed_run_are_removed(tmp_path):
    parts = [tmp_path / f"sub-{k}" / "func" / f"{PART_PREFIX}1-ab-x.tsv" for k in ("01", "02")]
    for part in parts:
        part.parent.mkdir(parents=True)
        part.write_text("partial")
    complete = parts[0].with_name("x.tsv")
    complete.write_text("complete")
    dead_note(tmp_path, ["sub-01"])
    with locks.claimed(tmp_path, ["sub-02"], notify=pytest.fail):
        # while another run is active, only partial files of the killed run are removed
        dead_note(tmp_path, ["sub-01"])
        parts[0].write_text("partial")
        parts[1].write_text("being written")
        take(tmp_path, ["sub-03"])
        assert not parts[0].exists()
        assert parts[1].exists()
    assert complete.read_text() == "complete"
    assert not list(tmp_path.rglob(f"{PART_PREFIX}*"))


#: Notes that are incomplete, are not notes, or were written by an older version.
UNREADABLE = ["", "{", "[]", "3", '{"participants": 3}', '{"host": 1}', "\x00" * 9,
              '{"host": "x", "pid": 1, "started": "then", "people": ["sub-01"]}']  # fmt: skip


@pytest.mark.parametrize("content", UNREADABLE)
def test_an_unreadable_note_of_a_killed_run_is_removed(tmp_path, content):
    dead_note(tmp_path, None)
    note = tmp_path / "logs/running/x-1-ab.json"
    note.write_text(content)
    part = tmp_path / "sub-01" / f"{PART_PREFIX}1-ab-x.tsv"
    part.parent.mkdir()
    with locks.claimed(tmp_path, ["sub-02"], notify=pytest.fail):
        assert not note.exists()
        # its partial files cannot be distinguished from those of the active run
        note.write_text(content)
        part.write_text("being written")
        take(tmp_path, ["sub-03"])
        assert part.exists()
    take(tmp_path, ["sub-03"])
    assert not part.exists()
    assert not note.exists()


@pytest.mark.parametrize("content", UNREADABLE)
def test_an_unreadable_note_of_an_active_run_locks_all_participants(tmp_path, content):
    with locks.claimed(tmp_path, ["sub-01"], notify=pytest.fail):
        (note,) = (tmp_path / "logs/running").glob("*.json")
        note.write_text(content)
        assert is_taken(tmp_path, ["sub-02"])
    assert not is_taken(tmp_path, ["sub-02"])


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_gives_a_note(tmp_path, monkeypatch, code):
    def refuses(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuses)
    notes = []
    with locks.claimed(tmp_path, ["sub-01"], notify=notes.append):
        pass
    assert len(notes) == 1
    assert "cannot be locked; start one run at a time" in notes[0]
    with locks.staged(tmp_path / "x") as stage:
        (stage / "file").write_text("")
    with locks.scratch(tmp_path / "work", empty=False) as folder:
        assert folder.is_dir()
    assert (tmp_path / "x" / "file").exists()


def test_another_error_of_the_lock_is_reported(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(OutputError, match="Input/output error"):
        take(tmp_path, ["sub-01"])


def test_a_staged_folder_is_locked_emptied_and_renamed(tmp_path):
    left = tmp_path / f"{PART_PREFIX}x" / "sub-01"
    left.mkdir(parents=True)
    with locks.staged(tmp_path / "x") as stage:
        assert not left.exists()
        (stage / "file").write_text("")
        with pytest.raises(InputError, match="being written to by another run"):
            locks.staged(tmp_path / "x").__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["file"]


@pytest.mark.parametrize("empty", [False, True])
def test_the_scratch_folder_is_kept_after_an_error_unless_requested(tmp_path, empty):
    with (
        pytest.raises(ZeroDivisionError),
        locks.scratch(tmp_path, empty=empty) as folder,
    ):
        raise ZeroDivisionError
    assert folder.exists() is not empty


@pytest.mark.skipif(os.getuid() != 0, reason="only root can create folders of other users")
def test_a_work_folder_of_another_user_in_a_shared_folder_is_refused(tmp_path):
    shared = tmp_path / "shared"
    (shared / "theirs").mkdir(parents=True)
    shared.chmod(0o1777)
    os.chown(shared / "theirs", 4242, 4242)
    with pytest.raises(OutputError, match=r"belongs to another user.*--work-dir"):
        locks.scratch(shared / "theirs" / "work", empty=False).__enter__()
    assert list((shared / "theirs").iterdir()) == []
