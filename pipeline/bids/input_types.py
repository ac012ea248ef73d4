"""Define the input types: the kinds of files that can be a functional run, one record each.

To add an input type, add a record to `INPUT_TYPES`; its place there is its priority. The choices of
``--input-type``, the search for files, the selection of runs, plans and batch jobs follow from the
records. How a run is measured follows from its content; a new kind of content also needs a
function in `circuitshift.pipeline.measure.run`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from circuitshift.pipeline.bids.names import Name
from circuitshift.pipeline.records import Run

if TYPE_CHECKING:  # the command line reads this module before numpy may be imported
    from circuitshift.pipeline.io.number_tables import NumberTable

__all__ = ["FILE_ENDINGS", "INPUT_TYPES", "InputType", "input_type_of", "is_image", "read_table"]


@dataclass(frozen=True, slots=True)
class InputType:
    """One kind of file that can be a functional run.

    Parameters
    ----------
    name : str
        Value of ``--input-type`` and of `Run.input_type`.
    label : str
        Name in messages.
    content : {"image", "series", "matrix"}
        Images have a space, a brain mask and confounds, and circuitshift denoises them and
        extracts regional time series. Series and matrices belong to an atlas and are not denoised.
        Edges are estimated from images and series.
    suffix : str
        Last part of the file name before the extension.
    other_suffixes : tuple of (str, str)
        Suffixes of other programs, each with the value of ``desc-``, ``measure-``, ``meas-`` or
        ``stat-`` that such a file must have.
    extensions : tuple of str
        Extensions of the file name.
    statistics : tuple of str
        For series and matrices, accepted values of ``stat-`` (or ``meas-``) in lower case; an
        empty string accepts files without it.
    """

    name: str
    label: str
    content: Literal["image", "series", "matrix"]
    suffix: str
    extensions: tuple[str, ...]
    statistics: tuple[str, ...] = ()
    other_suffixes: tuple[tuple[str, str], ...] = ()

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of the file names of this type."""
        return (self.suffix, *(suffix for suffix, _ in self.other_suffixes))

    @property
    def endings(self) -> tuple[str, ...]:
        """Endings of the file names of this type."""
        return tuple(
            f"_{suffix}{extension}" for suffix in self.suffixes for extension in self.extensions
        )

    @property
    def sidecar_suffixes(self) -> tuple[str, ...]:
        """Suffixes of the JSON files that may describe a run, its own first."""
        if self.content == "image":
            return (self.suffix,)
        return tuple(dict.fromkeys((*self.suffixes, "timeseries", "bold")))

    def obstacle(self, name: Name) -> str:
        """Return why a file with this suffix is not a run of this type.

        Parameters
        ----------
        name : Name
            Parts of the file name.

        Returns
        -------
        str
            Empty if the file is a run of this type. ``other`` for files of another kind, such as
            confounds; ``echo``, ``no atlas`` or ``statistic`` for files that are counted.
        """
        if self.content == "image":
            if name.get("desc") != "preproc":
                return "other"
            return "echo" if name.get("echo") else ""
        if name.get("desc") == "confounds":
            return "other"
        if not (name.get("atlas") or name.get("seg")):
            return "no atlas"
        if name.suffix != self.suffix:
            words = {name.get(key).lower() for key in ("desc", "measure", "meas", "stat")}
            return "" if dict(self.other_suffixes)[name.suffix] in words else "statistic"
        statistic = (name.get("stat") or name.get("meas")).lower()
        return "" if statistic in self.statistics else "statistic"


_TABLES = (".tsv", ".csv", ".tsv.gz")
_RECORDS = (
    InputType("bold", "preprocessed image", "image", "bold", (".nii.gz", ".nii")),
    InputType("timeseries", "time series", "series", "timeseries", _TABLES, ("", "mean")),
    InputType(
        "relmat",
        "matrix",
        "matrix",
        "relmat",
        _TABLES,
        ("pearsoncorrelation",),
        # HALFpipe; earlier versions of XCP-D
        (("matrix", "correlation"), ("conmat", "pearsoncorrelation")),
    ),
)
#: Input types by name. When a run is available in several, the first one is used.
INPUT_TYPES: Mapping[str, InputType] = MappingProxyType({kind.name: kind for kind in _RECORDS})
#: Endings of the names of files that can be runs.
FILE_ENDINGS = tuple(ending for kind in _RECORDS for ending in kind.endings)


def input_type_of(run: Run) -> InputType:
    """Return the record of the input type of a run."""
    return INPUT_TYPES[run.input_type]


def is_image(run: Run) -> bool:
    """Return whether a run is an image, which circuitshift denoises and parcellates."""
    return input_type_of(run).content == "image"


def read_table(run: Run) -> "NumberTable":
    """Read the series or matrix of a run, as it is in the file.

    Parameters
    ----------
    run : Run
        Run of regional time series or a matrix, not an image.

    Returns
    -------
    NumberTable
        Its labels are None if the file does not name its columns.

    Raises
    ------
    TableError
        If the table is malformed.
    """
    from circuitshift.pipeline.io import number_tables  # noqa: PLC0415 - imports numpy

    is_series = input_type_of(run).content == "series"
    reader = number_tables.read_number_series if is_series else number_tables.read_number_matrix
    return reader(run.path)
