"""Digests of files: read once for each state, and never trusted on the word of a clock."""

import hashlib
import json
import os
import shutil
import time
import zlib

import numpy as np
import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import digests as module
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import (
    UNREAD,
    Digests,
    content_digest,
    digest_record,
    recorded_digests,
)


@pytest.fixture
def reads(monkeypatch):
    """Names of the files whose content was read."""
    seen = []
    original = module.content_digest

    def counted(path):
        seen.append(path.name)
        return original(path)

    monkeypatch.setattr(module, "content_digest", counted)
    return seen


@pytest.fixture(autouse=True)
def _settled(request, monkeypatch):
    """Files count as settled at once, unless a test is about that."""
    if "just_changed" not in request.node.name:
        monkeypatch.setattr(module, "_SETTLED_NS", -1)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "in" / "image.nii.gz"
    path.parent.mkdir()
    path.write_bytes(b"content")
    return path


def digest(path, out, **more):
    digests = Digests("sub-01", out, **more)
    try:
        return digests.of(path)
    finally:
        digests.save()


def test_digests_are_those_of_zlib_and_of_hashlib(tmp_path):
    content = np.random.default_rng(0).bytes(3_000_001)  # more than one chunk
    for name, expected in (
        ("image.nii.gz", f"{zlib.crc32(content):08x}{zlib.adler32(content):08x}"),
        ("table.tsv", hashlib.sha256(content).hexdigest()[:16]),
    ):
        (tmp_path / name).write_bytes(content)
        assert content_digest(tmp_path / name) == expected


@pytest.mark.parametrize("name", ["image.nii.gz", "image.nii"])
def test_every_changed_byte_changes_the_digest(tmp_path, name):
    path, content = tmp_path / name, bytearray(2000)
    path.write_bytes(content)
    seen = {content_digest(path)}
    for at in (0, 1, 999, 1998, 1999):
        for value in (1, 128, 255):
            changed = bytearray(content)
            changed[at] = value
            path.write_bytes(changed)
            seen.add(content_digest(path))
    path.write_bytes(content[:-1])
    seen.add(content_digest(path))
    assert len(seen) == 17


def test_an_unchanged_file_is_read_once(file, tmp_path, reads):
    first = digest(file, tmp_path / "out")
    assert first == content_digest(file)
    reads.clear()
    assert digest(file, tmp_path / "out") == first
    assert digest(file, tmp_path / "out", read=False) == first
    assert reads == []


def test_a_touched_file_is_read_again_and_is_the_same(file, tmp_path, reads):
    first = digest(file, tmp_path / "out")
    os.utime(file)
    assert digest(file, tmp_path / "out", read=False) == UNREAD
    assert digest(file, tmp_path / "out") == first
    assert len(reads) == 2
    assert digest(file, tmp_path / "out") == first
    assert len(reads) == 2


@pytest.mark.parametrize("how", ["in place", "renamed over"])
def test_a_file_of_equal_size_and_date_is_another_file(file, tmp_path, how):
    first = digest(file, tmp_path / "out")
    about = file.stat()
    time.sleep(0.02)  # a step of the clock of the file system
    if how == "in place":
        file.write_bytes(b"CONTENT")
    else:
        other = file.with_name("other")
        other.write_bytes(b"CONTENT")
        os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
        other.replace(file)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    now = file.stat()
    assert (now.st_size, now.st_mtime_ns) == (about.st_size, about.st_mtime_ns)
    assert digest(file, tmp_path / "out") != first


@pytest.mark.parametrize("part", ["size", "mtime", "ctime", "inode"])
def test_all_parts_of_a_state_must_be_equal(file, tmp_path, reads, part):
    first = digest(file, tmp_path / "out")
    record = digest_record("sub-01", tmp_path / "out")
    content = tables.read_json(record)
    content[str(file)][("size", "mtime", "ctime", "inode").index(part)] += 1
    tables.write_json(record, content)
    assert digest(file, tmp_path / "out", read=False) == UNREAD
    assert digest(file, tmp_path / "out") == first
    assert len(reads) == 2


def test_a_copy_is_read_once_more(file, tmp_path, reads):
    first = digest(file, tmp_path / "out")
    shutil.copytree(tmp_path / "in", tmp_path / "elsewhere/in")
    shutil.copytree(tmp_path / "out", tmp_path / "elsewhere/out")
    other = tmp_path / "elsewhere/in/image.nii.gz"
    assert digest(other, tmp_path / "elsewhere/out") == first
    assert len(reads) == 2


def test_an_input_that_has_just_changed_is_not_trusted_yet(file, tmp_path, reads):
    """It could change again within one step of a coarse clock."""
    first = digest(file, tmp_path / "out")
    assert digest(file, tmp_path / "out") == first
    assert len(reads) == 2
    assert digest(file, tmp_path / "out", read=False) == UNREAD


def test_an_input_that_has_just_changed_is_not_trusted_after_a_long_read(
    file, tmp_path, monkeypatch
):
    """It could have changed again while it was read, within one step of a coarse clock."""
    original = module.content_digest

    def slow(path):
        found = original(path)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(module, "_SETTLED_NS", 250_000_000)
    monkeypatch.setattr(module, "content_digest", slow)
    os.utime(file)
    digest(file, tmp_path / "out")
    assert digest(file, tmp_path / "out", read=False) == UNREAD


def test_an_output_is_trusted_at_once(tmp_path, reads):
    path = tmp_path / "out" / "sub-01" / "a.tsv"
    tables.write_text(path, "a\n")
    first = digest(path, tmp_path / "out")
    assert digest(path, tmp_path / "out", read=False) == first
    assert len(reads) == 1


def test_a_file_that_changes_while_it_is_read_is_not_recorded(file, tmp_path, monkeypatch):
    original = module.content_digest

    def changing(path):
        found = original(path)
        path.write_bytes(b"longer content")
        return found

    monkeypatch.setattr(module, "content_digest", changing)
    digest(file, tmp_path / "out")
    assert digest(file, tmp_path / "out", read=False) == UNREAD


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 1}', '{"x": ["a", 1, 1, 1, "b"]}'])
def test_a_damaged_record_is_as_none(file, tmp_path, reads, text):
    first = digest(file, tmp_path / "out")
    record = digest_record("sub-01", tmp_path / "out")
    record.write_text(text)
    assert digest(file, tmp_path / "out") == first
    assert len(reads) == 2
    assert list(json.loads(record.read_text())) == [str(file)]


def test_a_record_that_cannot_be_written_costs_time_only(file, tmp_path):
    tables.write_text(tmp_path / "out/logs/digests", "in the way\n")
    first = digest(file, tmp_path / "out")
    assert digest(file, tmp_path / "out") == first


def test_files_that_are_gone_leave_the_record_and_others_stay(file, tmp_path):
    other = file.with_name("other.tsv")
    other.write_text("a\n")
    digest(other, tmp_path / "out")
    digest(file, tmp_path / "out")
    content = tables.read_json(digest_record("sub-01", tmp_path / "out"))
    assert sorted(content) == sorted(map(str, (file, other)))
    other.unlink()
    os.utime(file)
    digest(file, tmp_path / "out")
    assert list(tables.read_json(digest_record("sub-01", tmp_path / "out"))) == [str(file)]


def test_two_steps_of_a_participant_at_a_time_keep_what_each_found(file, tmp_path):
    other = file.with_name("other.tsv")
    other.write_text("a\n")
    with recorded_digests("sub-01", tmp_path / "out") as one:
        with recorded_digests("sub-01", tmp_path / "out") as two:
            two.of(other)
        one.of(file)
    assert len(tables.read_json(digest_record("sub-01", tmp_path / "out"))) == 2


def test_what_is_no_file_is_refused_and_what_is_missing_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(InputError, match="it is a folder, pipe or device, not a file"):
            digest(path, tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        digest(tmp_path / "gone", tmp_path / "out")
