"""Root of the error tree, and the errors of atlases and circuits.

All errors that circuitshift raises on purpose derive from `CircuitshiftError`. The root is defined
in `circuitshift.atlases` because imports run in one direction, ``workflows -> pipeline ->
atlases``. `circuitshift.pipeline.errors` re-exports these classes and adds the other branches.
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
    """One problem with an input, and its remedy.

    Parameters
    ----------
    where : str
        File, participant or session that is affected.
    what : str
        Description of the problem, as a clause.
    fix : str
        What the user can do about it, as a clause.
    participant : str, optional
        Label without ``sub-`` if the problem concerns one participant only; otherwise empty.
    """

    where: str
    what: str
    fix: str
    participant: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.fix}"


class CircuitshiftError(Exception):
    """Base class of all errors that circuitshift raises on purpose.

    The text is shown to the user without a traceback.
    """


class InputProblemsError(CircuitshiftError):
    """Report several input problems in one error.

    Parameters
    ----------
    heading : str
        The operation that failed, used as the first line of the message.
    problems : iterable of InputProblem
        All problems that were found; available as the attribute `problems`.
    """

    def __init__(self, heading: str, problems: Iterable[InputProblem]) -> None:
        self.heading = heading
        self.problems = tuple(problems)
        lines = [f"{heading} ({len(self.problems)} problem{'s' * (len(self.problems) != 1)}):"]
        lines += [f"  - {problem}" for problem in self.problems]
        super().__init__("\n".join(lines))


class AtlasError(CircuitshiftError):
    """An atlas cannot be found, read or used."""


class CircuitError(CircuitshiftError):
    """A circuit definition is malformed or does not resolve on an atlas."""


class OutputError(CircuitshiftError):
    """A file cannot be written, for example because the disk is full or permission is missing.

    The input data are not the cause, so other participants would fail in the same way.
    """
