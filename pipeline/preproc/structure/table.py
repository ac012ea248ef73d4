"""Tables of the structure of each session, and their values as features of the model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError, TableError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.preproc.output_names import structure_path

__all__ = [
    "COLUMNS",
    "MEASURES",
    "WHOLE",
    "RegionValues",
    "StructureValues",
    "read_structure",
    "write_structure_table",
]

#: Measures of a region: column of the table, with its unit.
MEASURES = {"volume": "mm^3", "grey_matter": "mm^3"}
#: Rows that belong to the whole head instead of to an atlas.
WHOLE = "head"
COLUMNS: dict[str, str] = {
    "participant_id": "Participant",
    "session": "Session of the T1-weighted images",
    "atlas": f"Atlas of the region; '{WHOLE}' for volumes of the whole head",
    "region": "Name of the region",
    "volume": "Volume of the region in the session: labels of the template, propagated once to the "
    "within-participant template, times the Jacobian determinant of the session",
    "grey_matter": "Modulated grey matter: tissue probability in the within-participant template "
    "times the Jacobian determinant of the session; n/a for deep grey matter",
}


@dataclass(frozen=True, slots=True, eq=False)
class RegionValues:
    """Measures of all regions of one atlas in one session.

    Parameters
    ----------
    session : str
        Label of the session; may be empty.
    atlas : str
        Name of the atlas, or `WHOLE`.
    regions : tuple of str
        Names of the regions.
    values : mapping of str to ndarray, shape (n_regions,)
        Values of each measure in `MEASURES`; NaN if not available.
    """

    session: str
    atlas: str
    regions: tuple[str, ...]
    values: Mapping[str, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class StructureValues:
    """A measure of structure for the model.

    Parameters
    ----------
    rows : tuple of (str, str)
        Participant and session of each row, both without prefix.
    values : ndarray, shape (n_rows, n_regions)
        Values; NaN if not available.
    features : FeatureSpace
        Regions with their unit.
    """

    rows: tuple[tuple[str, str], ...]
    values: Floats
    features: FeatureSpace


def write_structure_table(
    out_dir: Path, participant: str, measured: Iterable[RegionValues]
) -> Path:
    """Write the structure of all sessions of a participant, with a description of the columns.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    participant : str
        Label without ``sub-``.
    measured : iterable of RegionValues
        Values of each session and atlas.

    Returns
    -------
    Path
        The table, relative to `out_dir`.
    """
    columns: dict[str, list[object]] = {name: [] for name in COLUMNS}
    for one in measured:
        for position, region in enumerate(one.regions):
            row = (f"sub-{participant}", one.session or None, one.atlas, region)
            for name, cell in zip(COLUMNS, row, strict=False):
                columns[name].append(cell)
            for name in MEASURES:
                value = float(one.values[name][position]) if name in one.values else np.nan
                columns[name].append(round(value, 3))
    path = structure_path(participant)
    about = {
        name: {"Description": text} | ({"Units": MEASURES[name]} if name in MEASURES else {})
        for name, text in COLUMNS.items()
    }
    tables.write_table(out_dir / path, columns, sidecar=about)
    return path


def read_structure(paths: Sequence[Path], *, atlas: str, measure: str) -> StructureValues:
    """Read one measure of all participants as values of regions.

    Parameters
    ----------
    paths : sequence of Path
        Tables of `write_structure_table`.
    atlas : str
        Name of the atlas.
    measure : {"volume", "grey_matter"}
        Measure.

    Returns
    -------
    StructureValues
        One row per participant and session, in the order of the tables. Regions without any value
        are omitted.

    Raises
    ------
    DesignError
        If the measure is unknown.
    TableError
        If a table has no region of the atlas, or if the regions of two sessions differ.
    """
    if measure not in MEASURES:
        raise DesignError(f"there is no measure {measure!r}; choose one of {', '.join(MEASURES)}")
    found: dict[tuple[str, str], dict[str, float]] = {}
    for path in paths:
        table = tables.read_table(path)
        values = table.numbers(measure)
        own = [(row, v) for row, v in zip(table.rows(), values, strict=True)]
        own = [(row, v) for row, v in own if row["atlas"] == atlas]
        if not own:
            raise TableError(f"{path}: it has no region of atlas {atlas}; measure with --atlas")
        for row, value in own:
            session = "" if row["session"] == tables.NOT_AVAILABLE else row["session"]
            key = row["participant_id"].removeprefix("sub-"), session
            found.setdefault(key, {})[row["region"]] = float(value)
    regions = tuple(next(iter(found.values()))) if found else ()
    for (participant, session), by_region in found.items():
        if tuple(by_region) != regions:
            raise TableError(
                f"sub-{participant} {session}: its regions of atlas {atlas} differ from those of "
                "the first participant; measure all participants with the same version"
            )
    values = np.array([list(by_region.values()) for by_region in found.values()])
    kept = np.array([bool(np.isfinite(column).any()) for column in values.T], bool)
    names = [name for name, keep in zip(regions, kept, strict=True) if keep]
    features = FeatureSpace.of_regions(names, unit=MEASURES[measure], valid_range=(0.0, np.inf))
    return StructureValues(tuple(found), values[:, kept], features)
