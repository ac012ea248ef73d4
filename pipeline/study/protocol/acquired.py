"""Read from the outputs of the participant level how each run was acquired."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure.outputs import is_concatenated

__all__ = ["FACTS", "AcquiredRun", "read_acquired"]

#: Keys of `circuitshift.pipeline.bids.runs.acquisition` and their names in sentences. The grid and
#: the scan length are added to them.
FACTS = {
    "RepetitionTime": "repetition time",
    "EchoTime": "echo time",
    "PhaseEncodingDirection": "phase encoding direction",
    "TaskName": "task",
    "Manufacturer": "manufacturer",
    "ManufacturersModelName": "scanner model",
    "MagneticFieldStrength": "field strength",
    "DeviceSerialNumber": "serial number",
    "StationName": "station",
    "SoftwareVersions": "scanner software",
    "GeneratedBy": "preprocessing software",
}
# A matrix of fewer regions can equal another one by chance.
_MIN_REGIONS = 3


@dataclass(frozen=True, slots=True)
class AcquiredRun:
    """One run of the group level, and what is stated about its acquisition.

    Parameters
    ----------
    person, session, run : str
        Key of the participant, session label (may be empty), and name of the run.
    facts : mapping of str to str
        Stated facts by the names of `FACTS` and ``grid``, as text with unit. Facts that are not
        stated are absent.
    minutes : float
        Length of the complete run, including censored volumes; NaN if it is unknown.
    contents : tuple of str
        Digests of the image, series or matrix that was measured, and of the resulting matrix.
    """

    person: str
    session: str
    run: str
    facts: Mapping[str, str] = field(default_factory=dict)
    minutes: float = float("nan")
    contents: tuple[str, ...] = ()


def read_acquired(rows: Iterable[Mapping[str, str]]) -> tuple[AcquiredRun, ...]:
    """Read the JSON file of the first matrix of each included run.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of `circuitshift.pipeline.study.members.GroupInput`.

    Returns
    -------
    tuple of AcquiredRun
        In the order of the rows. Facts are absent from outputs of versions that did not record
        them.
    """
    found: dict[tuple[str, str], AcquiredRun] = {}
    for row in rows:
        key = row["person"], row["run"]
        is_used = row["status"] in ("included", "combined") and not is_concatenated(row)
        if not is_used or row["relmat"] == tables.NOT_AVAILABLE or key in found:
            continue
        try:
            about = tables.read_json((Path(row["root"]) / row["relmat"]).with_suffix(".json"))
        except TableError:  # reported where the matrix is read
            about = {}
        stated = about.get("Acquisition")
        facts = stated if isinstance(stated, dict) else {}
        found[key] = AcquiredRun(
            row["person"],
            "" if row["session"] == tables.NOT_AVAILABLE else row["session"],
            row["run"],
            _texts(facts),
            _minutes(row, facts),
            _contents(row, about),
        )
    return tuple(found.values())


def _texts(facts: Mapping[str, Any]) -> dict[str, str]:
    """Format the stated facts, rounded so that equal protocols have equal texts."""
    out = {
        name: text
        for key, name in FACTS.items()
        if facts.get(key) is not None and (text := _text(key, facts[key]))
    }
    grid, size = facts.get("Grid"), facts.get("VoxelSize")
    if grid and size:
        voxels = " x ".join(f"{value:g}" for value in size)
        out["grid"] = f"{'x'.join(map(str, grid))} voxels of {voxels} mm"
    return out


def _text(key: str, value: object) -> str:
    """Format one fact; scanners state their field strength with different precision."""
    if not isinstance(value, int | float):
        return str(value)
    if key == "RepetitionTime":
        return f"{round(value, 3):g} s"
    if key == "EchoTime":  # in s by BIDS, but some converters write ms
        return f"{round(value * (1000 if value < 1 else 1), 1):g} ms"
    if key == "MagneticFieldStrength":  # 2.89 and 3; 1.494 and 1.5
        return f"{round(value * 2) / 2:g} T"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _minutes(row: Mapping[str, str], facts: Mapping[str, Any]) -> float:
    """Return the length of the complete run in minutes."""
    t_r_s, n_volumes = facts.get("RepetitionTime"), row.get("n_volumes", tables.NOT_AVAILABLE)
    if not isinstance(t_r_s, int | float) or n_volumes in (tables.NOT_AVAILABLE, "", "0"):
        return float("nan")
    return float(np.round(float(n_volumes) * t_r_s / 60, 6))


def _contents(row: Mapping[str, str], about: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the digests by which copies are found."""
    source = about.get("SourceDigest")
    n_regions, n_missing = row.get("n_regions", "0"), row.get("n_regions_lost", "0")
    is_comparable = tables.NOT_AVAILABLE not in (n_regions, n_missing) and (
        int(n_regions) - int(n_missing) >= _MIN_REGIONS
    )
    matrix = (about.get("Files") or {}).get(row["relmat"]) if is_comparable else None
    return tuple(f"{kind} {d}" for kind, d in (("input", source), ("matrix", matrix)) if d)
