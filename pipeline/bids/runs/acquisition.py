"""Describe how a run was acquired and processed, as far as its header and sidecars state it."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from circuitshift.pipeline.bids.input_types import is_image
from circuitshift.pipeline.bids.names import PARCELS, VARIANT
from circuitshift.pipeline.bids.run_metadata import metadata_of
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.io import nifti, tables
from circuitshift.pipeline.records import Run

__all__ = ["FACTS", "acquisition_of", "scanner_facts"]

#: Keys of sidecars that are recorded as they are, in addition to those that are computed here.
_KEYS = (
    "Manufacturer",
    "ManufacturersModelName",
    "MagneticFieldStrength",
    "DeviceSerialNumber",
    "StationName",
    "SoftwareVersions",
    "PhaseEncodingDirection",
    "EchoTime",
)
#: Keys of the record of a run; each has the value None if it is not stated.
FACTS = (
    "RepetitionTime",
    "NumberOfVolumes",
    "Grid",
    "VoxelSize",
    "TaskName",
    "GeneratedBy",
    *_KEYS,
)


def acquisition_of(run: Run) -> dict[str, object]:
    """Return the facts about the acquisition of a run that a study compares.

    Parameters
    ----------
    run : Run
        Run with its repetition time, from `circuitshift.pipeline.bids.run_metadata.check_run`.

    Returns
    -------
    dict of str to object
        JSON types by the keys of `FACTS`: repetition time and echo time in s, number of volumes,
        grid in voxels, voxel size in mm, label of the task, name and version of the software that
        wrote the run, and keys of its sidecars under the names of BIDS. Facts that are not stated,
        or whose file cannot be read, are None.

    Notes
    -----
    Sidecars of preprocessed images do not repeat the facts about the scanner. For data sets in a
    folder ``derivatives``, these are read from the raw data set that contains this folder.
    """
    raw = _raw_run(run)
    found: dict[str, object] = dict.fromkeys(FACTS)
    found |= ({} if raw is None else scanner_facts(raw)) | scanner_facts(run)
    found |= {"TaskName": run.task or None, "RepetitionTime": run.t_r_s}
    found |= {"GeneratedBy": _generated_by(run)}
    return found | (_of_image(run) if is_image(run) else {})


def scanner_facts(run: Run) -> dict[str, object]:
    """Return the facts about scanner and sequence that the sidecars of a run state.

    Parameters
    ----------
    run : Run
        A run, whose image need not exist.

    Returns
    -------
    dict of str to object
        Numbers and texts under the keys of BIDS; facts that are not stated are absent.
    """
    stated = _stated(run)
    found = {key: _plain(stated.get(key)) for key in _KEYS}
    return {key: value for key, value in found.items() if value is not None}


def _raw_run(run: Run) -> Run | None:
    """Return the raw run of a derivative below its raw data set; None if there is no folder."""
    above = [folder.parent for folder in run.path.parents if folder.name == "derivatives"]
    if not above:
        return None
    entities = tuple(
        (key, value) for key, value in run.entities if key not in VARIANT and key not in PARCELS
    )
    stem = "_".join(f"{key}-{value}" for key, value in entities)
    session = [f"ses-{run.session}"] if run.session else []
    folder = above[0].joinpath(f"sub-{run.participant}", *session, "func")
    if not folder.is_dir():
        return None
    path = folder / f"{stem}_bold.nii.gz"
    return replace(run, path=path, entities=entities, input_type="bold", atlas="")


def _stated(run: Run) -> Mapping[str, object]:
    try:
        return metadata_of(run)
    except CircuitshiftError:  # reported where the repetition time is read
        return {}


def _of_image(run: Run) -> dict[str, object]:
    """Return number of volumes, grid and voxel size of an image."""
    try:
        header = nifti.read_header(run.path)
    except CircuitshiftError:  # reported where the image is read
        return {}
    size = np.linalg.norm(header.affine[:3, :3], axis=0)
    return {
        "NumberOfVolumes": header.n_volumes,
        "Grid": list(header.grid),
        "VoxelSize": [round(float(value), 2) for value in size],
    }


def _plain(value: object) -> object:
    """Return a number or text of a sidecar; None for missing values and other types."""
    if isinstance(value, str):
        return value.strip() if value.strip().casefold() not in ("", "n/a", "nan") else None
    if isinstance(value, list):  # SoftwareVersions of some converters
        return " ".join(str(item) for item in value) or None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _generated_by(run: Run) -> str | None:
    """Return name and version of the software that wrote a run, from its data set."""
    for folder in list(run.path.parents)[:5]:
        path = folder / "dataset_description.json"
        if not path.exists():
            continue
        try:
            content = tables.read_json(path)
        except CircuitshiftError:
            return None
        entries = content.get("GeneratedBy") or content.get("PipelineDescription")
        first = entries[0] if isinstance(entries, list) and entries else entries
        if not isinstance(first, dict):
            return None
        words = [str(first[key]) for key in ("Name", "Version") if first.get(key)]
        return " ".join(words) or None
    return None
