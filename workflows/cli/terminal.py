"""What the command line says: plain lines, and on a terminal one line of progress."""

import sys
import time

from circuitshift.workflows.engine.log import plain

__all__ = ["Terminal", "count_participants", "notify"]


class Terminal:
    """Prints lines; on a terminal steps share one line that is written over."""

    def __init__(self) -> None:
        self._shown = 0
        self._since = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print a line at once."""
        self._clear()
        print(plain(text), flush=True)  # noqa: T201 - the command line speaks

    def step(self, done: int, total: int, text: str) -> None:
        """Say that one of many steps has ended.

        Parameters
        ----------
        done, total : int
            Steps that have ended, and all.
        text : str
            Which step; one that failed is kept on a terminal, too.
        """
        line = plain(f"[{done}/{total}] {text}")
        if done <= 1:
            self._since = time.monotonic()
        if not sys.stdout.isatty():
            print(line, flush=True)  # noqa: T201 - the command line speaks
            return
        if done > 1 and done < total:
            left = (time.monotonic() - self._since) / (done - 1) * (total - done)
            line += f", about {_duration(left)} left"
        self._clear()
        print(line, end="", flush=True)  # noqa: T201 - the command line speaks
        self._shown = len(line)
        if done == total or text.endswith("FAILED"):
            self._shown = 0
            print(flush=True)  # noqa: T201 - the command line speaks

    def _clear(self) -> None:
        """Wipe the line of progress."""
        if self._shown:
            print("\r" + " " * self._shown + "\r", end="")  # noqa: T201 - the command line speaks
            self._shown = 0


def _duration(seconds: float) -> str:
    """Write a time to be waited for."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count_participants(n: int) -> str:
    """Write a number of participants."""
    return f"{n} {'person' if n == 1 else 'people'}"


notify = Terminal()
