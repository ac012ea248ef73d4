"""Files are whole or not there: order of writing, what is listed, what a failure leaves."""

import os
from pathlib import Path

import pytest

from circuitshift.atlases.whole import PART, are_complete, atomic_binary, atomic_path


def test_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    """A power failure between the two must not leave an empty file of the final name."""
    done = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor):
        done.append(("synced", os.readlink(f"/proc/self/fd/{descriptor}")))  # noqa: PTH115
        fsync(descriptor)

    def replaced(part, target):
        done.append(("named", str(part)))
        return replace(part, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    with atomic_binary(tmp_path / "deep" / "a.bin") as file:
        file.write(b"whole")
    (first, written), (second, named) = done
    assert (first, second) == ("synced", "named")
    assert written == named
    assert (tmp_path / "deep" / "a.bin").read_bytes() == b"whole"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fails_midway():
        with atomic_path(target) as part:
            part.write_text("new, and only half of it")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_midway()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_partial_files_are_not_listed(tmp_path):
    names = ["b.tsv", f"{PART}77-ab-a.tsv", "a.tsv"]
    assert are_complete(tmp_path / name for name in names) == [
        tmp_path / "a.tsv",
        tmp_path / "b.tsv",
    ]
