"""Read the metadata of one run: its header, its sidecars and its repetition time."""

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from circuitshift.pipeline.bids.input_types import input_type_of, is_image
from circuitshift.pipeline.bids.names import PARCELS, VARIANT, Name, is_junk, parse_name
from circuitshift.pipeline.errors import CircuitshiftError, InputError, InputProblem
from circuitshift.pipeline.io import nifti, tables
from circuitshift.pipeline.records import Run

__all__ = [
    "as_problem",
    "check_run",
    "form_notes",
    "implausible_time",
    "metadata_of",
    "repetition_time",
]

# Smaller distances between the positions under qform and sform are rounding.
_MAX_FORMS_MM = 0.5

# Repetition times from here on are in milliseconds: no fMRI is acquired at 100 s or at 0.1 ms.
_MILLISECONDS_FROM = 100.0
# No functional image of a complete brain is acquired faster or slower than this, in s.
_PLAUSIBLE_S = (0.2, 6.0)


def check_run(run: Run) -> tuple[Run, tuple[InputProblem, ...], tuple[str, ...]]:
    """Read the header and sidecars of a run, and check that its files are consistent.

    Parameters
    ----------
    run : Run
        Run as returned by `find_runs`.

    Returns
    -------
    run : Run
        The run with its repetition time `Run.t_r_s`, where it is available.
    problems : tuple of InputProblem
        Problems such as a damaged image, a mask on another grid, or a repetition time that is
        missing or implausible (below 0.2 s or above 6 s).
    notes : tuple of str
        Conversions and contradictions of the repetition time.
    """
    problems: list[InputProblem] = []
    notes: list[str] = []
    header = _check_image(run, problems) if is_image(run) else None
    try:
        t_r_s = repetition_time(run, header, notes)
    except CircuitshiftError as error:
        problems.append(as_problem(error, run.path, run.participant))
        return run, tuple(problems), ()
    if t_r_s is None and is_image(run) and not problems:
        problems.append(
            InputProblem(
                str(run.path),
                "its repetition time is neither in a JSON sidecar nor in its header",
                "add RepetitionTime, in seconds, to its JSON",
                run.participant,
            )
        )
    implausible = implausible_time(t_r_s)
    if implausible:
        problems.append(InputProblem(str(run.path), *implausible, run.participant))
    return replace(run, t_r_s=t_r_s), tuple(problems), tuple(notes)


def repetition_time(run: Run, header: float | None, notes: list[str]) -> float | None:
    """Find the repetition time of a run in its sidecars or, if they do not state it, its header.

    Parameters
    ----------
    run : Run
        The run.
    header : float or None
        Repetition time in the header.
    notes : list of str
        List to which conversions and contradictions are added.

    Returns
    -------
    float or None
        Repetition time in s; None if it is in neither of them.

    Raises
    ------
    TableError
        If a sidecar cannot be read.
    InputError
        If a sidecar contains an invalid repetition time.
    """
    from_sidecar = _t_r_of_sidecars(run, notes)
    if header is not None:
        header = _to_seconds(header, f"{run.path.name}: the header's repetition time", notes)
    if from_sidecar is not None and header is not None and abs(from_sidecar - header) > 1e-3:
        notes.append(
            f"{run.path.name}: the repetition time is {from_sidecar:g} s in its JSON and "
            f"{header:g} s in its header; the JSON is used."
        )
    t_r_s = from_sidecar if from_sidecar is not None else header
    if from_sidecar is None:
        consequence = (
            f"{t_r_s:g} s is taken from its header" if t_r_s else "its duration is unknown"
        )
        notes.append(f"{run.path.name}: no JSON states its repetition time; {consequence}.")
    return t_r_s


def implausible_time(t_r_s: float | None) -> tuple[str, str] | None:
    """Return problem and remedy if a repetition time cannot be that of a functional image.

    Parameters
    ----------
    t_r_s : float or None
        Repetition time in s; None if it is unknown.

    Returns
    -------
    tuple of two str, or None
        None if the repetition time is unknown or between 0.2 and 6 s.
    """
    low, high = _PLAUSIBLE_S
    if t_r_s is None or low <= t_r_s <= high:
        return None
    return (
        f"its repetition time is {t_r_s:g} s, which is not between {low:g} and {high:g} s",
        "write the correct RepetitionTime, in seconds, in its JSON",
    )


def form_notes(header: nifti.Header) -> tuple[str, ...]:
    """State that the qform and the sform of an image contradict each other.

    Parameters
    ----------
    header : Header
        Header of the image.

    Returns
    -------
    tuple of str
        One sentence, or none if they agree to half a millimetre or one of them is missing.
    """
    if header.forms_differ_mm <= _MAX_FORMS_MM:
        return ()
    return (
        f"Its qform and sform place voxels up to {header.forms_differ_mm:.1f} mm apart; the sform "
        "is used.",
    )


def metadata_of(run: Run) -> dict[str, Any]:
    """Merge the JSON files that apply to a run by the BIDS inheritance principle.

    Parameters
    ----------
    run : Run
        The run.

    Returns
    -------
    dict
        Metadata, in which values of nearer files replace those of files in folders above.

    Raises
    ------
    TableError
        If a file cannot be read.
    """
    out: dict[str, Any] = {}
    for path in _sidecars(run):
        out = tables.read_json(path) | out
    return out


def as_problem(error: CircuitshiftError, path: Path, participant: str) -> InputProblem:
    """Convert an error, whose text begins with a file name, to a problem of a participant.

    Parameters
    ----------
    error : CircuitshiftError
        The error. The text after its last semicolon is the remedy.
    path : Path
        The affected file if the text contains no file name.
    participant : str
        Label without ``sub-``.

    Returns
    -------
    InputProblem
    """
    where, _, what = str(error).partition(": ")
    clause, _, fix = (what or where).rpartition("; ")
    problem = (clause, fix) if clause else (fix, "fetch or write it again")
    return InputProblem(where if what else str(path), *problem, participant)


def _check_image(run: Run, problems: list[InputProblem]) -> float | None:
    """Check image and mask, and return the repetition time of the header."""
    try:
        header = nifti.read_header(run.path)
        mask = nifti.read_header(run.mask) if run.mask is not None else None
    except CircuitshiftError as error:
        problems.append(as_problem(error, run.path, run.participant))
        return None
    if header.n_volumes < 2:
        what = "it has only one volume"
        problems.append(
            InputProblem(str(run.path), what, "preprocess the run again", run.participant)
        )
    if mask is not None and mask.grid != header.grid:
        sizes = ["x".join(map(str, grid)) for grid in (mask.grid, header.grid)]
        what = f"its grid is {sizes[0]}, but the grid of its image is {sizes[1]}"
        problems.append(
            InputProblem(str(run.mask), what, "preprocess the run again", run.participant)
        )
    return header.t_r_s


def _to_seconds(value: float, what: str, notes: list[str]) -> float:
    """Convert a repetition time to seconds if its size implies milliseconds."""
    if value < _MILLISECONDS_FROM:
        return value
    notes.append(f"{what} is {value:g}; it is interpreted as milliseconds, {value / 1000:g} s.")
    return value / 1000


def _t_r_of_sidecars(run: Run, notes: list[str]) -> float | None:
    """Read the repetition time in s from the nearest sidecar that states it; None if none does."""
    for path in _sidecars(run):
        content = tables.read_json(path)
        value = content.get("RepetitionTime")
        if value is not None:
            return _to_seconds(
                _positive(path, "RepetitionTime", value), f"{path.name}: RepetitionTime", notes
            )
        rate = content.get("SamplingFrequency")
        # Some versions of XCP-D write the text "TR" there, and the time in that of the image.
        if rate is not None and rate != "TR" and not is_image(run):
            return 1 / _positive(path, "SamplingFrequency", rate)
    return None


def _positive(path: Path, key: str, value: object) -> float:
    """Check that a value of a sidecar is a positive number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{path}: {key} is {value!r}; write it as a positive number")
    return float(value)


def _sidecars(run: Run) -> Iterator[Path]:
    """Yield the JSON files that apply to a run by the BIDS inheritance principle, nearest first.

    These are the files of the same suffix whose entities are a subset of those of the run, in the
    folders from that of the run to the root of its data set, most specific first. For series and
    matrices, the files of the series and of the image from which they were computed follow.
    """
    kind = input_type_of(run)
    levels = list(_levels(run))
    names_by_level = [_json_names(folder) for folder in levels]
    entities = set(run.entities)
    image_entities = {
        pair for pair in entities if pair[0] not in VARIANT and pair[0] not in PARCELS
    }
    table_entities = {pair for pair in entities if pair[0] not in VARIANT}
    for suffix in kind.sidecar_suffixes:
        other = image_entities if suffix == "bold" else table_entities
        allowed = entities if suffix == kind.suffix else other
        for folder, names in zip(levels, names_by_level, strict=True):
            matching = []
            for name in names:
                # Entities such as space and desc of the image do not affect the timing.
                relevant = {
                    pair
                    for pair in name.entities
                    if suffix == kind.suffix or pair[0] not in VARIANT
                }
                if name.suffix == suffix and relevant <= allowed:
                    matching.append(name)
            matching.sort(key=lambda name: (-len(name.entities), name.entities))
            for name in matching:
                stem = "_".join(f"{key}-{value}" for key, value in name.entities)
                yield folder / f"{stem}{'_' if stem else ''}{name.suffix}.json"


def _levels(run: Run) -> Iterator[Path]:
    """Yield the folder of a file and the folders above, up to the root of the data set."""
    folder = run.path.parent
    yield folder
    if folder.name.startswith("task-"):  # HALFpipe
        folder = folder.parent
        yield folder
    for expected in ("func", f"ses-{run.session}", f"sub-{run.participant}"):
        if folder.name == expected:
            folder = folder.parent
            yield folder


def _json_names(folder: Path) -> list[Name]:
    """Parse the names of JSON files in a folder; ``bold.json`` has no entities."""
    out = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".json") and not is_junk(entry.name):
                stem = entry.name.removesuffix(".json")
                name = Name((), stem, ".json") if stem.isalnum() else parse_name(entry.name)
                if name is not None:
                    out.append(name)
    return out
