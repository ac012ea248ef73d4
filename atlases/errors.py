"""The one error tree of circuitshift: its root and the errors of atlases and circuits.

It stands in `atlases` because imports go one way, `workflows -> pipeline -> atlases`;
`circuitshift.pipeline.errors` re-exports it and adds the other branches.
"""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "AtlasError",
    "CircuitError",
    "CircuitshiftError",
    "InputProblem",
    "InputProblemsError",
    "OutputError",
]


@dataclass(frozen=True, slots=True, order=True)
class InputProblem:
    """One thing that is wrong with an input.

    Parameters
    ----------
    where : str
        File, person or session that is affected.
    what : str
        What is wrong, as a clause.
    fix : str
        What the user can do about it, as a clause.
    participant : str, optional
        Label without ``sub-`` of the only participant concerned; empty when the problem is not
        confined to one participant.
    """

    where: str
    what: str
    fix: str
    participant: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.fix}"


class CircuitshiftError(Exception):
    """Root of every error that circuitshift raises on purpose; its text is shown to the user."""


class InputProblemsError(CircuitshiftError):
    """Several faults, said all at once.

    Parameters
    ----------
    heading : str
        What was being done.
    problems : iterable of Fault
        Every fault found; kept in `problems`.
    """

    def __init__(self, heading: str, problems: Iterable[InputProblem]) -> None:
        self.heading = heading
        self.problems = tuple(problems)
        lines = [f"{heading} ({len(self.problems)} fault{'s' * (len(self.problems) != 1)}):"]
        lines += [f"  - {problem}" for problem in self.problems]
        super().__init__("\n".join(lines))


class AtlasError(CircuitshiftError):
    """An atlas cannot be found, read or used."""


class CircuitError(CircuitshiftError):
    """A circuit definition is malformed or does not resolve on an atlas."""


class OutputError(CircuitshiftError):
    """A file cannot be written (full disk, no permission): nobody's data are at fault."""
