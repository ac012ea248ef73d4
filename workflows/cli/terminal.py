"""Output of the command line: plain lines, and one line of progress on a terminal."""

import sys
import time

from circuitshift.workflows.engine.log import plain

__all__ = ["Terminal", "notify"]


class Terminal:
    """Print lines; on a terminal, print the progress of steps on one line that is overwritten."""

    def __init__(self) -> None:
        self._shown = 0
        self._since = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print a line immediately."""
        self._clear()
        print(plain(text), flush=True)  # noqa: T201 - output of the command line

    def step(self, done: int, total: int, text: str) -> None:
        """Print that a step has ended.

        Parameters
        ----------
        done, total : int
            Number of completed steps, and number of all steps.
        text : str
            Name of the step. If it ends with ``FAILED``, the line is not overwritten.
        """
        line = plain(f"[{done}/{total}] {text}")
        if done <= 1:
            self._since = time.monotonic()
        if not sys.stdout.isatty():
            print(line, flush=True)  # noqa: T201 - output of the command line
            return
        if done > 1 and done < total:
            remaining = (time.monotonic() - self._since) / (done - 1) * (total - done)
            line += f", about {_duration(remaining)} left"
        self._clear()
        print(line, end="", flush=True)  # noqa: T201 - output of the command line
        self._shown = len(line)
        if done == total or text.endswith("FAILED"):
            self._shown = 0
            print(flush=True)  # noqa: T201 - output of the command line

    def _clear(self) -> None:
        """Erase the line of progress."""
        if self._shown:
            print("\r" + " " * self._shown + "\r", end="")  # noqa: T201 - output of the command line
            self._shown = 0


def _duration(seconds: float) -> str:
    """Return a duration as text, in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


notify = Terminal()
