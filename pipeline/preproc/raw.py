"""What a raw data set holds: T1-weighted images and functional runs, each checked once.

Everything wrong is found before anything is computed; what concerns many people is also said in
one sentence for all.
"""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from circuitshift.pipeline import nifti
from circuitshift.pipeline.bids import Query, check_run
from circuitshift.pipeline.bids_filters import passes_all, plain_label
from circuitshift.pipeline.bids_names import Name, is_junk, parse_name
from circuitshift.pipeline.bids_run import metadata_of
from circuitshift.pipeline.errors import CircuitshiftError, Fault
from circuitshift.pipeline.records import Run

__all__ = ["RawAnat", "RawBold", "RawFound", "RawPerson", "find_raw", "is_raw"]

MIN_VOLUMES = 10
_ENDS = (".nii.gz", ".nii")
_DERIVED = ("space", "desc", "res", "label")
_VOXEL_MM = (0.2, 20.0)
_AXES = "ijk"


@dataclass(frozen=True, slots=True)
class RawAnat:
    """A T1-weighted image.

    Parameters
    ----------
    participant, session : str
        Labels without ``sub-`` and ``ses-``; session is empty when the tree has none.
    path : Path
    entities : tuple of (str, str)
        Of the file name, in order.
    """

    participant: str
    session: str
    path: Path
    entities: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RawBold:
    """A functional run.

    Parameters
    ----------
    participant, session : str
    path : Path
    entities : tuple of (str, str)
        Of the file name, in order.
    t_r_s : float
        Repetition time, s.
    zooms_mm : tuple of three float
    n_volumes : int
    slice_times_s : tuple of float
        Time of each slice after the start of a volume, s, in the order of the voxel axis; empty
        when unknown.
    slice_axis : int
    notes : tuple of str
        What was converted, or will not be done.
    """

    participant: str
    session: str
    path: Path
    entities: tuple[tuple[str, str], ...]
    t_r_s: float
    zooms_mm: tuple[float, float, float]
    n_volumes: int
    slice_times_s: tuple[float, ...] = ()
    slice_axis: int = 2
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RawPerson:
    """The raw images of a person: T1-weighted of all sessions, and the runs asked for."""

    participant: str
    anats: tuple[RawAnat, ...]
    bolds: tuple[RawBold, ...]


@dataclass(frozen=True, slots=True)
class RawFound:
    """What a raw data set holds.

    Parameters
    ----------
    people : tuple of RawPerson
        Those who can be preprocessed.
    faults : tuple of Fault
        What cannot, and why; `Fault.person` names whom it concerns.
    notes : tuple of str
    """

    people: tuple[RawPerson, ...]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    name: Name
    path: Path

    @property
    def session(self) -> str:
        return self.name.get("ses")


def is_raw(root: Path) -> bool:
    """Tell whether a folder holds raw functional images."""
    return next(_walk(root, "func", "bold"), None) is not None


def _walk(root: Path, datatype: str, suffix: str) -> Iterator[_File]:
    """Yield the raw images of a kind, sorted by path."""
    for person in sorted(root.glob("sub-*/")):
        for folder in sorted([person, *person.glob("ses-*/")]):
            below = folder / datatype
            if not below.is_dir():
                continue
            for entry in sorted(os.scandir(below), key=lambda e: e.name):
                if not entry.name.endswith(_ENDS) or is_junk(entry.name):
                    continue
                name = parse_name(entry.name)
                if name is None or name.suffix != suffix or name.get("sub") != person.name[4:]:
                    continue
                if not any(name.get(key) for key in _DERIVED):
                    yield _File(name, Path(entry.path))


def find_raw(root: Path, query: Query) -> RawFound:
    """Find the raw images of a data set and check what their files say of them.

    Parameters
    ----------
    root : Path
        Raw BIDS data set.
    query : Query
        Participants; sessions, tasks and filters choose among functional runs. A person's
        T1-weighted images are taken of all sessions: they make one brain.

    Returns
    -------
    RawFound
    """
    wanted = {plain_label(label, "sub") for label in query.participants}
    anats: dict[str, list[_File]] = defaultdict(list)
    bolds: dict[str, list[_File]] = defaultdict(list)
    for file in _walk(root, "anat", "T1w"):
        anats[file.name.get("sub")].append(file)
    for file in _walk(root, "func", "bold"):
        if _is_asked(file.name, query):
            bolds[file.name.get("sub")].append(file)
    labels = sorted(path.name[4:] for path in root.glob("sub-*/"))
    people, faults, notes = [], [], list[str]()
    for label in labels:
        if wanted and label not in wanted:
            continue
        person, own, said = _person(root, label, anats[label], bolds[label])
        faults += own
        notes += said
        if person is not None:
            people.append(person)
    faults += [
        Fault(f"sub-{label}", f"it is asked for, but {root} does not hold it", "check it", label)
        for label in sorted(wanted - set(labels))
    ]
    return RawFound(tuple(people), tuple(faults), (*_once(notes), *_together(faults)))


def _is_asked(name: Name, query: Query) -> bool:
    for key, labels in (("ses", query.sessions), ("task", query.tasks)):
        if labels and name.get(key) not in {plain_label(label, key) for label in labels}:
            return False
    return passes_all(name, query.filters)


def _once(notes: Iterable[str]) -> list[str]:
    """Count what is said of several runs."""
    counts = Counter(notes)
    return [f"{note} ({n} runs)" if n > 1 else note for note, n in counts.items()]


def _together(faults: Sequence[Fault]) -> list[str]:
    """Say once what is wrong with more than three people."""
    people = defaultdict(set)
    for fault in faults:
        people[fault.what, fault.fix].add(fault.person)
    return [
        f"{len(who)} people: {what}; {fix}." for (what, fix), who in people.items() if len(who) > 3
    ]


def _person(
    root: Path, label: str, anats: Sequence[_File], bolds: Sequence[_File]
) -> tuple[RawPerson | None, list[Fault], list[str]]:
    where = str(root / f"sub-{label}")
    faults: list[Fault] = []
    notes: list[str] = []
    if not bolds:
        fix = "leave the person out, or check --session-label and --task-id"
        return None, [Fault(where, "it has no functional run that is asked for", fix, label)], notes
    taken = [a for f in _one_kind(anats, notes) if (a := _anat(f, faults)) is not None]
    runs = [b for f in _one_file(bolds, faults) if (b := _bold(f, faults)) is not None]
    for run in runs:
        notes += run.notes
    if not taken:
        why = "it has no T1-weighted image that can be read" if anats else "it has no *_T1w.nii.gz"
        fix = "fetch it, or preprocess with fMRIPrep and give its output"
        faults.append(Fault(where, why, fix, label))
    if not taken or not runs:
        return None, faults, notes
    return RawPerson(label, tuple(taken), tuple(runs)), faults, notes


def _one_kind(files: Sequence[_File], notes: list[str]) -> list[_File]:
    """Of T1-weighted images of several kinds (acq, rec, ce) take one, and all its runs."""
    kinds: dict[tuple[tuple[str, str], ...], list[_File]] = defaultdict(list)
    for file in files:
        kind = tuple(p for p in file.name.entities if p[0] not in ("sub", "ses", "run"))
        kinds[kind].append(file)
    if len(kinds) < 2:
        return list(files)
    chosen = min(kinds, key=lambda kind: (-len({f.session for f in kinds[kind]}), kind))
    words = "_".join("-".join(pair) for pair in chosen) or "without acq-, rec- or ce-"
    notes.append(f"T1-weighted images of several kinds: those {words} are taken.")
    return kinds[chosen]


def _one_file(files: Sequence[_File], faults: list[Fault]) -> list[_File]:
    """Leave single echoes, phase images, and second copies out."""
    out: dict[tuple[tuple[str, str], ...], _File] = {}
    for file in files:
        label = file.name.get("sub")
        if file.name.get("part") == "phase":
            continue
        if file.name.get("echo"):
            what = "it is one echo of several, which are not combined here"
            faults.append(Fault(str(file.path), what, "preprocess it with fMRIPrep", label))
        elif file.name.entities in out:
            what = f"{out[file.name.entities].path.name} is the same run, and is taken"
            faults.append(Fault(str(file.path), what, "delete one of them", label))
        else:
            out[file.name.entities] = file
    return list(out.values())


def _header(file: _File, faults: list[Fault]) -> nifti.Header | None:
    """Read a header; None when the image cannot be used."""
    label = file.name.get("sub")
    try:
        header = nifti.read_header(file.path)
    except CircuitshiftError as error:
        what, _, fix = str(error).removeprefix(f"{file.path}: ").rpartition("; ")
        what, fix = (what, fix) if what else (fix, "fetch or write it again")
        faults.append(Fault(str(file.path), what, fix, label))
        return None
    zooms = (header.affine[:3, :3] ** 2).sum(axis=0) ** 0.5
    wrong = None
    if not header.is_oriented:
        what = "its header does not say how it is oriented (qform and sform codes are 0)"
        wrong = what, "convert it again, e.g. with dcm2niix"
    elif not ((zooms > _VOXEL_MM[0]) & (zooms < _VOXEL_MM[1])).all():
        sizes = " x ".join(f"{size:g}" for size in zooms)
        wrong = f"its voxels are {sizes} mm", "correct the header; NIfTI's unit is mm"
    if wrong is not None:
        faults.append(Fault(str(file.path), *wrong, label))
        return None
    return header


def _anat(file: _File, faults: list[Fault]) -> RawAnat | None:
    header = _header(file, faults)
    if header is None:
        return None
    label = file.name.get("sub")
    if header.n_volumes > 1 or min(header.grid) < 16:
        what = f"it is {'x'.join(map(str, header.shape))} voxels, not a whole head"
        faults.append(Fault(str(file.path), what, "give one three-dimensional image", label))
        return None
    return RawAnat(label, file.session, file.path, file.name.entities)


def _bold(file: _File, faults: list[Fault]) -> RawBold | None:
    header = _header(file, faults)
    if header is None:
        return None
    name = file.name
    label = name.get("sub")
    run = Run(
        label,
        file.session,
        name.get("task"),
        name.get("run"),
        "",
        "",
        "bold",
        file.path,
        name.entities,
    )
    run, found, _ = check_run(run)
    faults += found
    if found:
        return None
    content = metadata_of(run)
    if header.n_volumes < MIN_VOLUMES:
        what = f"it holds {header.n_volumes} volumes; {MIN_VOLUMES} are the least"
        faults.append(Fault(str(file.path), what, "leave it out", label))
        return None
    if "VolumeTiming" in content or content.get("DelayTime"):
        what = "its volumes are not equally spaced in time (VolumeTiming or DelayTime)"
        faults.append(Fault(str(file.path), what, "leave it out", label))
        return None
    assert run.t_r_s is not None  # noqa: S101 - `check_run` saw to it
    notes: list[str] = []
    axis, times = _slice_times(content, header, run.t_r_s, notes)
    zooms = (header.affine[:3, :3] ** 2).sum(axis=0) ** 0.5
    return RawBold(
        label,
        file.session,
        file.path,
        name.entities,
        run.t_r_s,
        (float(zooms[0]), float(zooms[1]), float(zooms[2])),
        header.n_volumes,
        times,
        axis,
        tuple(notes),
    )


def _slice_times(
    content: dict[str, object], header: nifti.Header, t_r_s: float, notes: list[str]
) -> tuple[int, tuple[float, ...]]:
    """Slice axis, and times along it; no times, and a note, when they cannot be used."""
    direction = str(content.get("SliceEncodingDirection") or "k")
    given = content.get("SliceTiming")
    if direction.rstrip("-") not in _AXES:
        notes.append(f"SliceEncodingDirection {direction!r} is none; slices are not corrected.")
        return 2, ()
    axis = _AXES.index(direction[0])
    if given is None:
        notes.append("Slice timing is unknown (no SliceTiming), so it is not corrected.")
        return axis, ()
    numbers = isinstance(given, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in given
    )
    if not numbers or not isinstance(given, list) or len(given) != header.grid[axis]:
        count = len(given) if isinstance(given, list) else "no list of"
        notes.append(
            f"SliceTiming holds {count} times for {header.grid[axis]} slices, so slice timing is "
            "not corrected."
        )
        return axis, ()
    times = [float(v) for v in given]
    if max(times) > 10 * t_r_s:
        times = [v / 1000 for v in times]
        notes.append("SliceTiming is taken for milliseconds.")
    if min(times) < 0 or max(times) > t_r_s + 1e-3:
        notes.append("SliceTiming goes beyond the repetition time, so it is not corrected.")
        return axis, ()
    return axis, tuple(times[::-1] if direction.endswith("-") else times)
