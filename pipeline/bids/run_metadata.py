"""One run at processing time: its header, its sidecars, its repetition time."""

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from circuitshift.pipeline.bids.names import PARCELS, VARIANT, Name, is_junk, parse_name
from circuitshift.pipeline.errors import CircuitshiftError, InputError, InputProblem
from circuitshift.pipeline.io import nifti, tables
from circuitshift.pipeline.records import Run

__all__ = ["as_problem", "check_run", "metadata_of", "repetition_time"]

_MILLISECONDS_FROM = 100.0  # no fMRI has a repetition time of 100 s, nor one of 0.1 s in ms


def check_run(run: Run) -> tuple[Run, tuple[InputProblem, ...], tuple[str, ...]]:
    """Read the header and sidecars of a run: its repetition time, and whether its files fit.

    Parameters
    ----------
    run : Run
        From `find_runs`.

    Returns
    -------
    run : Run
        With `Run.t_r_s`, s, when it is known.
    problems : tuple of Fault
        A damaged image, a mask on another grid, no repetition time.
    notes : tuple of str
        What was converted or in conflict.
    """
    problems: list[InputProblem] = []
    notes: list[str] = []
    header = _check_image(run, problems) if run.input_type == "bold" else None
    try:
        t_r_s = repetition_time(run, header, notes)
    except CircuitshiftError as error:
        problems.append(as_problem(error, run.path, run.participant))
        return run, tuple(problems), ()
    if t_r_s is None and run.input_type == "bold" and not problems:
        problems.append(
            InputProblem(
                str(run.path),
                "its repetition time is neither in a JSON sidecar nor in its header",
                "write RepetitionTime, in seconds, into its JSON",
                run.participant,
            )
        )
    return replace(run, t_r_s=t_r_s), tuple(problems), tuple(notes)


def repetition_time(run: Run, header: float | None, notes: list[str]) -> float | None:
    """Find the repetition time of a run: what its sidecars state, else its header.

    Parameters
    ----------
    run : Run
    header : float or None
        Repetition time of its header, as read.
    notes : list of str
        What was converted or in conflict is added.

    Returns
    -------
    float or None
        In s; None when neither states it.

    Raises
    ------
    TableError
        If a sidecar cannot be read.
    InputError
        If a sidecar states something that is no repetition time.
    """
    stated = _stated_t_r(run, notes)
    if header is not None:
        header = _in_seconds(header, f"{run.path.name}: the header's repetition time", notes)
    if stated is not None and header is not None and abs(stated - header) > 1e-3:
        notes.append(
            f"{run.path.name}: the repetition time is {stated:g} s in its JSON and {header:g} s in "
            "its header; the JSON is followed."
        )
    t_r_s = stated if stated is not None else header
    if stated is None:
        told = f"{t_r_s:g} s is its header's" if t_r_s else "its minutes are unknown"
        notes.append(f"{run.path.name}: no JSON states its repetition time; {told}.")
    return t_r_s


def metadata_of(run: Run) -> dict[str, Any]:
    """Merge the JSON files that apply to a run; what a nearer one says holds.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict

    Raises
    ------
    TableError
        If one of them cannot be read.
    """
    out: dict[str, Any] = {}
    for path in _sidecars(run):
        out = tables.read_json(path) | out
    return out


def as_problem(error: CircuitshiftError, path: Path, participant: str) -> InputProblem:
    """Turn an error that begins with a file name into a fault of a person.

    Parameters
    ----------
    error : CircuitshiftError
    path : Path
        The file it concerns when its text names none.
    participant : str

    Returns
    -------
    Fault
    """
    where, _, what = str(error).partition(": ")
    clause, _, fix = (what or where).rpartition("; ")
    problem = (clause, fix) if clause else (fix, "fetch or write it again")
    return InputProblem(where if what else str(path), *problem, participant)


def _check_image(run: Run, problems: list[InputProblem]) -> float | None:
    """Check that image and mask can be read and fit; return the header's repetition time."""
    try:
        header = nifti.read_header(run.path)
        mask = nifti.read_header(run.mask) if run.mask is not None else None
    except CircuitshiftError as error:
        problems.append(as_problem(error, run.path, run.participant))
        return None
    if header.n_volumes < 2:
        what = "it holds one volume, not a series"
        problems.append(
            InputProblem(str(run.path), what, "preprocess the run again", run.participant)
        )
    if mask is not None and mask.grid != header.grid:
        sizes = ["x".join(map(str, grid)) for grid in (mask.grid, header.grid)]
        what = f"its grid is {sizes[0]}, that of its image {sizes[1]}"
        problems.append(
            InputProblem(str(run.mask), what, "preprocess the run again", run.participant)
        )
    return header.t_r_s


def _in_seconds(value: float, what: str, notes: list[str]) -> float:
    """Convert a repetition time that can only be milliseconds."""
    if value < _MILLISECONDS_FROM:
        return value
    notes.append(f"{what} is {value:g}, taken for milliseconds: {value / 1000:g} s.")
    return value / 1000


def _stated_t_r(run: Run, notes: list[str]) -> float | None:
    """Repetition time from the nearest sidecar that applies, s; None when none states it."""
    for path in _sidecars(run):
        content = tables.read_json(path)
        value = content.get("RepetitionTime")
        if value is not None:
            return _in_seconds(
                _positive(path, "RepetitionTime", value), f"{path.name}: RepetitionTime", notes
            )
        rate = content.get("SamplingFrequency")
        if rate is not None and run.input_type == "timeseries":
            return 1 / _positive(path, "SamplingFrequency", rate)
    return None


def _positive(path: Path, key: str, value: object) -> float:
    """Check a number of a sidecar."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{path}: {key} is {value!r}; write it as a positive number")
    return float(value)


def _sidecars(run: Run) -> Iterator[Path]:
    """Yield the JSON files that apply to a run by BIDS inheritance, nearest first.

    In each folder from the file's own up to the root of its data set: those of its suffix whose
    entities it all carries, most specific first; for series and matrices then those of the image
    they were made from.
    """
    suffixes = (
        [run.input_type] if run.input_type == "bold" else [run.input_type, "timeseries", "bold"]
    )
    levels = list(_levels(run))
    listed = [_json_names(folder) for folder in levels]
    carried = set(run.entities)
    source = {pair for pair in carried if pair[0] not in VARIANT and pair[0] not in PARCELS}
    for suffix in dict.fromkeys(suffixes):
        for folder, names in zip(levels, listed, strict=True):
            fitting = []
            for name in names:
                # What an image's sidecar adds (space, desc) does not bear on the timing.
                kept = {
                    pair
                    for pair in name.entities
                    if suffix == run.input_type or pair[0] not in VARIANT
                }
                if name.suffix == suffix and kept <= (
                    carried if suffix == run.input_type else source
                ):
                    fitting.append(name)
            fitting.sort(key=lambda name: (-len(name.entities), name.entities))
            for name in fitting:
                stem = "_".join(f"{key}-{value}" for key, value in name.entities)
                yield folder / f"{stem}{'_' if stem else ''}{name.suffix}.json"


def _levels(run: Run) -> Iterator[Path]:
    """Yield the folder of a file and those above it, up to the root of its data set."""
    folder = run.path.parent
    yield folder
    for expected in ("func", f"ses-{run.session}", f"sub-{run.participant}"):
        if folder.name == expected:
            folder = folder.parent
            yield folder


def _json_names(folder: Path) -> list[Name]:
    """Names of the sidecars in a folder; ``bold.json`` at a root has no entities."""
    out = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".json") and not is_junk(entry.name):
                stem = entry.name.removesuffix(".json")
                name = Name((), stem, ".json") if stem.isalnum() else parse_name(entry.name)
                if name is not None:
                    out.append(name)
    return out
