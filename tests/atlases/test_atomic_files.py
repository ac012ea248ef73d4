"""Atomic writing: the target is either the previous or the complete new file."""

import errno
import os
from pathlib import Path

import pytest

from circuitshift.atlases import atomic_files
from circuitshift.atlases.atomic_files import (
    PART_PREFIX,
    atomic_binary,
    atomic_path,
    atomic_text,
    complete_files,
)
from circuitshift.atlases.errors import OutputError


def test_text_is_utf_8_with_unix_line_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.txt"
    with atomic_text(target) as file:
        file.write("µ\nx\udce4\n")
        assert not target.exists()
    assert target.read_bytes() == b"\xc2\xb5\nx\\udce4\n"


def test_binary_content_is_written_unchanged(tmp_path: Path) -> None:
    with atomic_binary(tmp_path / "a.bin") as file:
        file.write(b"\r\n\0\xff")
    assert (tmp_path / "a.bin").read_bytes() == b"\r\n\0\xff"


def test_the_temporary_name_has_the_extension_of_the_target(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.nii.gz") as part:
        assert part.parent == tmp_path
        assert part.name.startswith(PART_PREFIX)
        assert part.name.endswith("a.nii.gz")
        part.write_bytes(b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


def test_an_interrupted_write_keeps_the_previous_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("previous", encoding="utf-8")

    def interrupt() -> None:
        with atomic_text(target) as file:
            file.write("par")
            file.flush()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert target.read_text(encoding="utf-8") == "previous"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_content_reaches_the_disk_before_the_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, calls = tmp_path / "a.txt", []
    monkeypatch.setattr(atomic_files.os, "fsync", lambda _: calls.append(target.exists()))
    with atomic_text(target) as file:
        file.write("x")
    assert calls == [False]
    assert target.exists()


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space and run the command again"),
        (errno.EDQUOT, "free some of your quota"),
        (errno.EFBIG, "raise the limit of file sizes"),
        (errno.EROFS, "choose a folder that can be written to"),
        (errno.EACCES, "choose a folder that you may write to"),
        (errno.ENAMETOOLONG, "choose a folder with a shorter path"),
        (errno.EIO, "run the command again"),
    ],
)
def test_a_refusing_disk_is_reported_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic_files.os, "fsync", refuse)
    target = tmp_path / "a.txt"
    target.write_text("previous", encoding="utf-8")
    with pytest.raises(OutputError) as caught, atomic_text(target) as file:
        file.write("new")
    assert f"{target}: the file cannot be written ({os.strerror(number)}); {remedy}" in str(
        caught.value
    )
    assert target.read_text(encoding="utf-8") == "previous"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"), atomic_text(tmp_path / "file/a"):
        pass


def test_files_still_being_written_are_not_listed(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("b.tsv", f"{PART_PREFIX}1-ab-a.tsv", "a.tsv", ".hidden")]
    assert [path.name for path in complete_files(iter(paths))] == [".hidden", "a.tsv", "b.tsv"]
