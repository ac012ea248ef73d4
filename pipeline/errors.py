"""The error tree: all errors raised on purpose derive from `CircuitshiftError`."""

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
    """A data set cannot be used, for example because its folder or an option is wrong."""


class ImageError(InputError):
    """An image cannot be read: not fetched, empty, truncated, or inconsistent with its header."""


class TableError(InputError):
    """A TSV, JSON or TOML file cannot be read, or required content is missing."""


class ConfoundsError(InputError):
    """A confounds table lacks columns of a denoising strategy, or does not match its image."""


class TooLittleDataError(CircuitshiftError):
    """Too few volumes or degrees of freedom remain in a run to estimate connectivity."""


class DesignError(CircuitshiftError):
    """The study cannot be analysed as specified by its groups, sessions or covariates."""
