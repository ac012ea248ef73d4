"""Log files, and text that is safe to print on a terminal."""

import time
from contextlib import suppress
from pathlib import Path


def plain(text: str) -> str:
    r"""Replace what would move a cursor, hide text or cannot be encoded.

    Names of files and labels are other people's text: printed as they are, they could write to
    the terminal what they want.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        Every character but line ends that is not printable is written as in Python source.

    Examples
    --------
    >>> plain("sub-01\x1b[2J")
    'sub-01\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def log_line(path: Path, text: str) -> None:
    """Add a dated line to a log; a log that cannot be written stops nobody.

    Parameters
    ----------
    path : Path
        Its folder exists.
    text : str
    """
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {plain(text)}".replace("\n", "\n  ")
    with suppress(OSError), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
