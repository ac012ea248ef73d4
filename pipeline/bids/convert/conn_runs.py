"""Convert files that CONN wrote to runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.bids.convert.description import ConnInput
from circuitshift.pipeline.bids.convert.records import ConvertedRun
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.conn import CONN_FILE, ConnFile

__all__ = ["conn_runs", "find_conn_files"]


def find_conn_files(root: Path, source: ConnInput) -> dict[str, tuple[tuple[int, Path], ...]]:
    """Find the files of each participant of a folder.

    Parameters
    ----------
    root : Path
        Input folder.
    source : ConnInput
        Description of the folder.

    Returns
    -------
    dict
        Number of the participant, as written in the names of files -> condition and path of each
        file.

    Raises
    ------
    InputError
        If the folder, or a condition, is not there, or a condition must be chosen.
    """
    folder = root / source.folder
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{folder}: [input] folder cannot be read ({error.strerror}); give a folder relative "
            f"to {root}"
        ) from None
    matches = [match for name in names if (match := CONN_FILE.fullmatch(name))]
    if not matches:
        raise InputError(
            f"{folder}: it has no file ROI_SubjectNNN_ConditionMMM.mat; CONN writes them in "
            "results/preprocessing"
        )
    there = sorted({int(match["condition"]) for match in matches})
    wanted = _conditions(folder, source, there)
    found: dict[str, list[tuple[int, Path]]] = {}
    for match in matches:
        if int(match["condition"]) in wanted:
            path = folder / match.string
            found.setdefault(match["subject"], []).append((int(match["condition"]), path))
    return {subject: tuple(sorted(files)) for subject, files in sorted(found.items())}


def _conditions(folder: Path, source: ConnInput, there: Sequence[int]) -> set[int]:
    listed = ", ".join(map(str, there))
    if source.by == "condition":
        wanted = {number for number, _ in source.visits}
        if missing := sorted(wanted - set(there)):
            raise InputError(
                f"{folder}: there is no condition {', '.join(map(str, missing))}; its conditions "
                f"are {listed}"
            )
        return wanted
    if source.condition is None and len(there) > 1:
        raise InputError(
            f"{folder}: it has the conditions {listed}; state condition = {there[0]} or another "
            'in its [input], or conditions = {1 = "...", 2 = "..."} if conditions are visits'
        )
    number = there[0] if source.condition is None else source.condition
    if number not in there:
        raise InputError(f"{folder}: there is no condition {number}; its conditions are {listed}")
    return {number}


def conn_runs(
    subject: str,
    files: Mapping[int, ConnFile],
    source: ConnInput,
    columns: Mapping[Path, npt.NDArray[np.intp]],
) -> tuple[list[ConvertedRun], list[str]]:
    """Convert the files of one participant.

    Parameters
    ----------
    subject : str
        Number of the participant, as written in the names of files.
    files : mapping of int to ConnFile
        Content of the file of each condition.
    source : ConnInput
        Description of the folder.
    columns : mapping of Path to ndarray of int
        Columns of each file that are kept (`RegionMatch.columns`).

    Returns
    -------
    runs : list of ConvertedRun
        Sessions or conditions of one visit are runs of this visit.
    notes : list of str
        What was left out.
    """
    notes: list[str] = []
    parts: dict[str, list[ConvertedRun]] = {}
    label = f"{source.prefix}{subject}"
    for condition, file in sorted(files.items()):
        order = columns[file.regions.path]
        where = f"{source.folder}/{file.regions.path.name}"
        n_outside = int((~file.in_condition).sum())
        if n_outside:
            notes.append(
                f"{where}: {n_outside} of {len(file.sessions)} volumes lie outside the condition "
                f"{file.condition!r} and are left out."
            )
        for number, visit, keep in _visits(file, condition, source, where=where, notes=notes):
            given = np.where(order < 0, np.nan, file.series[np.ix_(keep, order)])
            values, n_lost = _without_constant(given)
            if n_lost:
                notes.append(f"{where}: {n_lost} regions have no signal in session {number}.")
            parts.setdefault(visit, []).append(
                ConvertedRun(
                    participant=label,
                    session=visit,
                    run="",
                    group=source.group,
                    content="series",
                    values=values,
                    t_r_s=source.t_r_s,
                    source={
                        "File": where,
                        "Key": "data",
                        "Session": number,
                        "Condition": file.condition,
                        "Volumes": [int(keep[0]) + 1, int(keep[-1]) + 1],
                    },
                )
            )
    return list(_numbered(parts)), notes


def _visits(
    file: ConnFile, condition: int, source: ConnInput, *, where: str, notes: list[str]
) -> Iterator[tuple[int, str, npt.NDArray[np.intp]]]:
    """Yield the number, visit and volumes of each session."""
    visits = dict(source.visits)
    for number in sorted(set(file.sessions.tolist())):
        keep = np.flatnonzero((file.sessions == number) & file.in_condition)
        if not keep.size:
            continue
        if source.by == "session":
            if number not in visits:
                notes.append(f"{where}: session {number} is no visit of [input] and is left out.")
                continue
            yield number, visits[number], keep
        else:
            yield number, visits[condition if source.by == "condition" else 0], keep


def _without_constant(
    values: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], int]:
    """Replace series that do not change, or are not finite, by NaN; return their number."""
    with np.errstate(invalid="ignore"):
        lost = ~(np.ptp(values, axis=0) > 0)
    return np.where(lost, np.nan, values), int(lost.sum())


def _numbered(parts: Mapping[str, Sequence[ConvertedRun]]) -> Iterator[ConvertedRun]:
    """Yield all runs, numbered where a visit has several."""
    for runs in parts.values():
        for number, run in enumerate(runs, start=1):
            yield replace(run, run=str(number)) if len(runs) > 1 else run
