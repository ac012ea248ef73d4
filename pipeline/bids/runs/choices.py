"""Record the choices that were made among the runs of a data set."""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["RunChoice", "join_labels"]


@dataclass(frozen=True, slots=True)
class RunChoice:
    """A choice among the runs that a data set offers.

    Parameters
    ----------
    question : str
        What was chosen: ``folder``, ``task``, ``input type``, or the key of an entity that
        distinguishes versions of a run, such as ``space``, ``proc`` or ``rec``.
    chosen : str
        What is used, for example ``task-rest``.
    ignored : tuple of (str, int)
        What is not used, and the number of runs that it concerns.
    rule : str
        The rule that was applied, in words that complete "... is used, ".
    dataset : str
        Name of the data set; empty for the main data set.
    """

    question: str
    chosen: str
    ignored: tuple[tuple[str, int], ...]
    rule: str
    dataset: str = ""

    @property
    def sentence(self) -> str:
        """The choice as a sentence, for notes and reports."""
        ignored = ", ".join(
            f"{what} ({n} {'run' if n == 1 else 'runs'})" for what, n in self.ignored
        )
        return f"{self.chosen} is used, {self.rule}{f'; ignored: {ignored}' if ignored else ''}."


def join_labels(key: str, values: Iterable[str]) -> str:
    """Format labels with their key, for example ``rec-a and no rec-``."""
    *first, last = (f"{key}-{value}" if value else f"no {key}-" for value in values)
    return f"{', '.join(first)} and {last}" if first else last
