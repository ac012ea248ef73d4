"""Log files, and text that is safe to print on a terminal."""

import time
from contextlib import suppress
from pathlib import Path


def plain(text: str) -> str:
    r"""Escape characters that are not printable.

    File names and labels come from the data set. Printed unchanged, they could contain control
    sequences that move the cursor or hide text.

    Parameters
    ----------
    text : str
        Text to print.

    Returns
    -------
    str
        The text, with each character that is neither printable nor a line feed replaced by its
        escape sequence in Python source.

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
    """Append a line with date and time to a log file.

    A log file that cannot be written is ignored, so that it does not interrupt the analysis.

    Parameters
    ----------
    path : Path
        Log file, in an existing folder.
    text : str
        Text to append; further lines are indented.
    """
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {plain(text)}".replace("\n", "\n  ")
    with suppress(OSError), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
