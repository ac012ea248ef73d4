"""The error tree: everything circuitshift raises on purpose is a `CircuitshiftError`."""

from circuitshift.atlases.errors import (
    AtlasError,
    CircuitError,
    CircuitshiftError,
    InputProblem,
    InputProblemsError,
    OutputError,
)

__all__ = [
    "AtlasError",
    "CircuitError",
    "CircuitshiftError",
    "ConfoundsError",
    "DesignError",
    "ImageError",
    "InputError",
    "InputProblem",
    "InputProblemsError",
    "OutputError",
    "TableError",
    "TooLittleDataError",
]


class InputError(CircuitshiftError):
    """The data set as a whole cannot be used (wrong folder, nothing found, bad option)."""


class ImageError(InputError):
    """An image cannot be read: not fetched, empty, truncated, or not what its header says."""


class TableError(InputError):
    """A TSV, JSON or TOML file cannot be read or lacks what is needed."""


class ConfoundsError(InputError):
    """A confounds table lacks the columns of a strategy, or does not fit its image."""


class TooLittleDataError(CircuitshiftError):
    """A run keeps too few volumes or degrees of freedom to estimate connectivity."""


class DesignError(CircuitshiftError):
    """The study cannot be analysed as stated (groups, sessions, covariates)."""
