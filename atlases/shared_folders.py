"""Refuse caches and work folders that other users of a machine could have prepared.

In a folder that all users may write to, such as ``/tmp``, another user can create a folder before
circuitshift does, fill it, and replace what circuitshift writes there.
"""

import os
import stat
from pathlib import Path

from circuitshift.atlases.errors import AtlasError

__all__ = ["foreign_part", "refuse_foreign_cache"]

_ROOT = 0


def foreign_part(folder: Path) -> Path | None:
    """Find the part of a path that belongs to another user inside a folder open to all users.

    Parameters
    ----------
    folder : Path
        A folder, which may not exist.

    Returns
    -------
    Path or None
        The first folder or link of the path that lies in a folder with write permission for all
        users, such as ``/tmp``, and belongs neither to this user nor to root; None if there is
        none.
    """
    folder = folder.absolute()
    for path in (*reversed(folder.parents), folder):
        try:
            about, above = path.lstat(), path.parent.stat()
        except OSError:  # it does not exist yet, so it is not another user's
            return None
        if above.st_mode & stat.S_IWOTH and about.st_uid not in (os.getuid(), _ROOT):
            return path
    return None


def refuse_foreign_cache(folder: Path, fix: str) -> None:
    """Refuse a cache that another user could have filled.

    Parameters
    ----------
    folder : Path
        The cache.
    fix : str
        What the user can do about it, for the message.

    Raises
    ------
    AtlasError
        If `foreign_part` finds a folder or link of another user.
    """
    part = foreign_part(folder)
    if part is not None:
        where = "" if part == folder else f" of the cache {folder}"
        raise AtlasError(
            f"{part}{where}: it belongs to another user, in a folder that all users may write to, "
            f"so that its content cannot be trusted; {fix}"
        )
