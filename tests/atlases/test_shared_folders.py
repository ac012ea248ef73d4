"""Caches and work folders of other users are refused in folders that all users may write to."""

import os
from pathlib import Path

import pytest

from circuitshift.atlases.errors import AtlasError
from circuitshift.atlases.shared_folders import foreign_part, refuse_foreign_cache

OTHER_USER = 4242


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Make a folder like ``/tmp``."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@pytest.fixture
def of_another_user(monkeypatch: pytest.MonkeyPatch):
    """Provide a function that makes a path look like that of another user."""
    lstat = Path.lstat
    foreign: set[Path] = set()

    def about(self: Path):
        found = lstat(self)
        if self not in foreign:
            return found
        fields = list(found)
        fields[4] = OTHER_USER
        return os.stat_result(fields)

    monkeypatch.setattr(Path, "lstat", about)
    return foreign.add


def test_own_and_missing_folders_are_accepted(shared: Path) -> None:
    (shared / "mine").mkdir()
    assert foreign_part(shared / "mine") is None
    assert foreign_part(shared / "new/cache") is None


@pytest.mark.parametrize("below", ["", "cache", "a/b/c"])
def test_a_folder_of_another_user_is_found(shared: Path, of_another_user, below: str) -> None:
    (shared / "theirs" / below).mkdir(parents=True)
    of_another_user(shared / "theirs")
    assert foreign_part(shared / "theirs" / below) == shared / "theirs"
    with pytest.raises(AtlasError, match=r"belongs to another user.*; set XDG_CACHE_HOME"):
        refuse_foreign_cache(shared / "theirs" / below, "set XDG_CACHE_HOME")


def test_a_link_of_another_user_is_found(shared: Path, of_another_user, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (shared / "link").symlink_to(tmp_path / "mine")
    of_another_user(shared / "link")
    assert foreign_part(shared / "link") == shared / "link"


def test_a_shared_folder_that_not_everybody_may_write_to_is_accepted(
    tmp_path: Path, of_another_user
) -> None:
    (tmp_path / "laboratory").mkdir()
    of_another_user(tmp_path / "laboratory")
    assert foreign_part(tmp_path / "laboratory") is None
