"""What a raw data set holds: T1-weighted images and functional runs, each checked once.

Everything wrong is found before anything is computed; what concerns many people is also said in
one sentence for all.
"""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from circuitshift.pipeline.bids.filters import nearest, passes_all, plain_label
from circuitshift.pipeline.bids.names import Name, is_junk, parse_name
from circuitshift.pipeline.bids.raw_records import RawAnat, RawBold, RawParticipant
from circuitshift.pipeline.bids.run_metadata import as_problem, metadata_of, repetition_time
from circuitshift.pipeline.bids.select_runs import Query
from circuitshift.pipeline.errors import CircuitshiftError, InputError, InputProblem
from circuitshift.pipeline.io import nifti
from circuitshift.pipeline.records import Run

__all__ = ["RawFound", "find_raw", "is_raw"]

MIN_VOLUMES = 10
_MANY = 3  # people; what concerns more is also said once for all
_SUFFIXES = {"anat": "T1w", "func": "bold"}
_ENDS = (".nii.gz", ".nii")
_DERIVED = ("space", "desc", "res", "label")
_VOXEL_MM = (0.2, 20.0)
_COARSE_MM = 3.0
_HEAD_VOXELS = 16  # along the shortest axis of a whole head
_DIRECTIONS = ("i", "i-", "j", "j-", "k", "k-")


@dataclass(frozen=True, slots=True)
class RawFound:
    """What a raw data set holds.

    Parameters
    ----------
    participants : tuple of RawPerson
        Those who can be preprocessed, sorted by label; whoever is missing has a fault.
    problems : tuple of Fault
        What cannot, and why; `Fault.person` names whom it concerns.
    notes : tuple of str
        One sentence each; what is true of many images or people is said once.
    """

    participants: tuple[RawParticipant, ...]
    problems: tuple[InputProblem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    name: Name
    path: Path

    @property
    def person(self) -> str:
        return self.name.get("sub")

    @property
    def session(self) -> str:
        return self.name.get("ses")

    def identity(self, *without: str) -> tuple[tuple[str, str], ...]:
        """Tell images apart; ``run-1`` is ``run-01``, as in derivatives."""
        return tuple(
            sorted(
                (key, str(int(value)) if key == "run" and value.isdecimal() else value)
                for key, value in self.name.entities
                if key not in without
            )
        )


@dataclass(slots=True)
class _Met:
    """What was met on the way."""

    problems: list[InputProblem] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)  # sentence, file

    def problem(self, file: _File, what: str, fix: str) -> None:
        self.problems.append(InputProblem(str(file.path), what, fix, file.person))

    def note(self, file: _File, text: str) -> None:
        self.notes.append((text, file.path.name))


def is_raw(root: Path) -> bool:
    """Tell whether a folder holds raw functional images.

    Parameters
    ----------
    root : Path

    Returns
    -------
    bool
        At the first one found; False when `root` is no folder.
    """
    met = _Met()  # what cannot be listed holds nothing here
    return any(
        f.name.suffix == "bold"
        for p in _participants_list(Path(root), met)
        for f in _images(p, met)
    )


def _list(path: str | Path, label: str, met: _Met) -> list["os.DirEntry[str]"]:
    """List a folder by name; one that cannot be listed is a fault."""
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        what = f"the folder cannot be listed ({error.strerror})"
        met.problems.append(
            InputProblem(str(path), what, "give yourself the right to read it", label)
        )
        return []


def _is_folder(entry: "os.DirEntry[str]", label: str, met: _Met) -> bool:
    """Tell folders; a link to a folder that is not there is a fault."""
    if entry.is_dir():
        return True
    if entry.is_symlink() and "." not in entry.name:
        problem = ("the link leads nowhere", "fetch or mount its target", label)
        met.problems.append(InputProblem(entry.path, *problem))
    return False


def _participants_list(root: Path, met: _Met) -> Iterator["os.DirEntry[str]"]:
    for entry in _list(root, "", met):
        if entry.name.startswith("sub-") and _is_folder(entry, entry.name[4:], met):
            yield entry


def _images(person: "os.DirEntry[str]", met: _Met) -> Iterator[_File]:
    """Yield the T1-weighted and functional images of a person, read from nothing but names."""
    label = person.name[4:]
    here = _list(person.path, label, met)
    yield from _session(here, {"sub": label}, met)
    for entry in here:
        if entry.name.startswith("ses-") and _is_folder(entry, label, met):
            folders = {"sub": label, "ses": entry.name[4:]}
            yield from _session(_list(entry.path, label, met), folders, met)


def _session(
    here: Iterable["os.DirEntry[str]"], folders: Mapping[str, str], met: _Met
) -> Iterator[_File]:
    for below in here:
        suffix = _SUFFIXES.get(below.name)
        if suffix is None or not _is_folder(below, folders["sub"], met):
            continue
        ends = tuple(f"_{suffix}{end}" for end in _ENDS)
        for entry in _list(below.path, folders["sub"], met):
            if entry.name.endswith(ends) and not is_junk(entry.name):
                file = _file(entry, folders, met)
                if file is not None:
                    yield file


def _file(entry: "os.DirEntry[str]", folders: Mapping[str, str], met: _Met) -> _File | None:
    """Take a name apart; None for derivatives and for what is in the wrong place."""
    name = parse_name(entry.name)
    if name is None:
        what = "its name is not built of key-value pairs as BIDS asks, so it is not read"
        fix = "rename it (sub-X[_ses-Y]..., letters and digits, each key once)"
    else:
        wrong = [f"{key}-{value}" for key, value in folders.items() if name.get(key) != value]
        if not wrong:
            derived = any(name.get(key) for key in _DERIVED)
            return None if derived else _File(name, Path(entry.path))
        what = f"its name does not carry {' and '.join(wrong)} of the folder it is in"
        fix = "rename it or move it to its own folder"
    met.problems.append(InputProblem(entry.path, what, fix, folders["sub"]))
    return None


def find_raw(root: Path, query: Query = Query()) -> RawFound:  # noqa: B008 - frozen
    """Find the raw images of a data set and check what their files say of them.

    Parameters
    ----------
    root : Path
        Raw BIDS data set.
    query : Query, optional
        Participants; sessions, tasks and filters choose among functional runs. A person's
        T1-weighted images are taken of all sessions: they make one brain.

    Returns
    -------
    RawFound
        Images whose headers and sidecars say all that preprocessing needs.

    Raises
    ------
    InputError
        If `root` is not a folder.
    """
    root = Path(root)
    if not root.is_dir():
        what = "it is a file, not a folder" if root.exists() else "there is no such folder"
        raise InputError(f"{root}: {what}; give the folder of the data set")
    met = _Met()
    wanted = {plain_label(label, "sub") for label in query.participants}
    available: set[str] = set()
    participants: list[RawParticipant] = []
    carried: list[Name] = []
    for entry in _participants_list(root, met):
        available.add(entry.name[4:])
        if not wanted or entry.name[4:] in wanted:
            files = list(_images(entry, met))
            carried += [file.name for file in files if file.name.suffix == "bold"]
            person = _person(entry, files, query, met)
            participants += [person] if person is not None else []
    # A link that leads nowhere is a fault of its own, also of somebody who is not asked for.
    met.problems = [f for f in met.problems if not wanted or not f.person or f.person in wanted]
    met.problems += _absent(root, wanted, available | {f.person for f in met.problems}, met)
    met.problems += _unmatched(carried, query)
    participants.sort(key=lambda person: person.participant)
    problems = tuple(sorted(set(met.problems)))
    return RawFound(tuple(participants), problems, (*_once(met.notes), *_together(problems)))


def _absent(root: Path, wanted: set[str], available: set[str], met: _Met) -> list[InputProblem]:
    """Name the people who are asked for and not there, or say that nobody is."""
    if not available - {""} and not wanted and not met.problems:
        what = "nobody is in it (no sub-* folder)"
        return [InputProblem(str(root), what, "give the folder of a raw BIDS data set")]
    return [
        InputProblem(
            f"sub-{label}",
            f"it is asked for, but {root} does not hold it",
            f"ask for one that is there{nearest(label, available - {''})}",
            label,
        )
        for label in sorted(wanted - available)
    ]


def _unmatched(names: Sequence[Name], query: Query) -> list[InputProblem]:
    """Name sessions and tasks of the query that no functional run carries."""
    problems = []
    for option, asked, key in (
        ("--session-label", query.sessions, "ses"),
        ("--task-id", query.tasks, "task"),
    ):
        available = {name.get(key) for name in names} - {""}
        for label in (plain_label(label, key) for label in asked):
            if names and label not in available:
                fix = f"correct {option}{nearest(label, available)}"
                what = "it is asked for, but no run carries it"
                problems.append(InputProblem(f"{key}-{label}", what, fix))
    return problems


def _is_asked(name: Name, query: Query) -> bool:
    for key, labels in (("ses", query.sessions), ("task", query.tasks)):
        if labels and name.get(key) not in {plain_label(label, key) for label in labels}:
            return False
    return passes_all(name, query.filters)


def _once(notes: Iterable[tuple[str, str]]) -> list[str]:
    """Say once, with their number, what is said of several images."""
    files: dict[str, list[str]] = defaultdict(list)
    for text, file in notes:
        files[text].append(file)
    return [
        f"{names[0] if len(names) == 1 else f'{len(names)} images (first {names[0]})'}: {text}"
        for text, names in files.items()
    ]


def _together(problems: Iterable[InputProblem]) -> list[str]:
    """Say once what is wrong with more than three people."""
    groups: dict[tuple[str, str], list[InputProblem]] = defaultdict(list)
    for problem in problems:
        groups[problem.what, problem.fix].append(problem)
    return [
        f"{len(group)} times in {n} people, first {group[0].where}: {what}; {fix}."
        for (what, fix), group in groups.items()
        if (n := len({problem.person for problem in group})) > _MANY
    ]


def _person(
    entry: "os.DirEntry[str]", files: Sequence[_File], query: Query, met: _Met
) -> RawParticipant | None:
    """Check the images of a person; None, and a fault, for one who cannot be preprocessed."""
    label = entry.name[4:]
    files = sorted(files, key=lambda f: (*map(f.name.get, ("ses", "task", "run")), f.path.name))
    anats = [file for file in files if file.name.suffix == "T1w"]
    # Phase, real and imaginary parts carry no contrast of their own.
    bolds = [f for f in files if f.name.suffix == "bold" and f.name.get("part") in ("", "mag")]
    asked = [file for file in bolds if _is_asked(file.name, query)]
    if not asked:
        what = "it has no functional run" + (" that is asked for" if bolds else "")
        fix = "leave the person out" + (", or ask for other runs" if bolds else ", or fetch them")
        met.problems.append(InputProblem(entry.path, what, fix, label))
    if not anats:
        fix = "add its T1-weighted image, or leave the person out"
        met.problems.append(InputProblem(entry.path, "it has no T1w image", fix, label))
    heads = [a for f in _one_file(_one_kind(anats, met), met) if (a := _anat(f, met)) is not None]
    runs = [b for f in _one_file(_single_echo(asked, met), met) if (b := _bold(f, met)) is not None]
    return RawParticipant(label, tuple(heads), tuple(runs)) if heads and runs else None


def _one_kind(files: Sequence[_File], met: _Met) -> list[_File]:
    """In each session take T1-weighted images of one kind (acq, rec, ce), and all its runs."""
    sessions: dict[str, dict[tuple[tuple[str, str], ...], list[_File]]] = {}
    for file in files:
        kind = tuple(pair for pair in file.name.entities if pair[0] not in ("sub", "ses", "run"))
        sessions.setdefault(file.session, {}).setdefault(kind, []).append(file)
    out: list[_File] = []
    for kinds in sessions.values():
        first, *others = sorted(kinds, key=lambda kind: ("acq" in dict(kind), kind))
        out += kinds[first]
        if others:
            passed = ", ".join(map(_kind_words, others))
            met.note(
                kinds[first][0],
                f"T1w images of several kinds are there: {_kind_words(first)} is taken, {passed} "
                "passed over.",
            )
    return out


def _kind_words(kind: Iterable[tuple[str, str]]) -> str:
    return "_".join("-".join(pair) for pair in kind) or "the one without acq-, rec- or ce-"


def _single_echo(files: Sequence[_File], met: _Met) -> list[_File]:
    """Leave single echoes out: one fault for all echoes of a run."""
    echoes: dict[tuple[tuple[str, str], ...], list[_File]] = defaultdict(list)
    for file in files:
        if file.name.get("echo"):
            echoes[file.identity("echo")].append(file)
    for group in echoes.values():
        what = f"multi-echo data ({len(group)} echoes) is not preprocessed here"
        met.problem(group[0], what, "run fMRIPrep and give its output")
    return [file for file in files if not file.name.get("echo")]


def _one_file(files: Sequence[_File], met: _Met) -> list[_File]:
    """Leave second copies of an image out, such as ``.nii`` beside ``.nii.gz``."""
    out: dict[tuple[tuple[str, str], ...], _File] = {}
    for file in files:
        first = out.setdefault(file.identity(), file)
        if first is not file:
            what = f"{first.path.name} has the same entities, and is taken"
            met.problem(file, what, "delete one of the two")
    return list(out.values())


def _header(file: _File, met: _Met) -> nifti.Header | None:
    """Read a header and check its geometry; None when the image cannot be read."""
    try:
        header = nifti.read_header(file.path)
    except CircuitshiftError as error:
        met.problems.append(as_problem(error, file.path, file.person))
        return None
    if not header.is_oriented:
        what = "its header does not say how it is oriented (qform and sform codes are 0)"
        met.problem(file, what, "convert it again, e.g. with dcm2niix")
    zooms = _zooms(header)
    if not all(_VOXEL_MM[0] <= size <= _VOXEL_MM[1] for size in zooms):
        sizes = " x ".join(f"{size:g}" for size in zooms)
        what = f"its voxels are {sizes} mm, so its units are not mm"
        met.problem(file, what, "correct the affine and voxel sizes of its header")
    return header


def _zooms(header: nifti.Header) -> tuple[float, float, float]:
    x, y, z = (header.affine[:3, :3] ** 2).sum(axis=0) ** 0.5
    # as float32 keeps it: 3.2 rather than 3.2000000476837
    return float(f"{x:.6g}"), float(f"{y:.6g}"), float(f"{z:.6g}")


def _anat(file: _File, met: _Met) -> RawAnat | None:
    n_before = len(met.problems)
    header = _header(file, met)
    if header is None:
        return None
    if header.n_volumes > 1:
        what = f"it holds {header.n_volumes} volumes, a T1w image one"
        met.problem(file, what, "give one three-dimensional image")
    elif min(header.grid) < _HEAD_VOXELS:
        what = f"it is {'x'.join(map(str, header.grid))} voxels, not a whole head"
        met.problem(file, what, "give an image of the whole head")
    if len(met.problems) > n_before:
        return None
    if max(_zooms(header)) > _COARSE_MM:
        met.note(file, f"The T1w image has voxels above {_COARSE_MM:g} mm, too coarse to be exact.")
    return RawAnat(file.person, file.session, file.path, file.name.entities)


def _bold(file: _File, met: _Met) -> RawBold | None:
    """Check a functional run; all that is wrong with it at once."""
    n_before = len(met.problems)
    notes: list[str] = []
    header = _header(file, met)
    if header is not None and header.n_volumes < 2:
        met.problem(file, "it holds one volume, not a series", "fetch or convert it again")
    elif header is not None and header.n_volumes < MIN_VOLUMES:
        what = f"it holds {header.n_volumes} volumes; {MIN_VOLUMES} are the least"
        met.problem(file, what, "leave it out")
    content, t_r_s = _timing(file, header, notes, met)
    if header is None or t_r_s is None or len(met.problems) > n_before:
        return None
    axis, times = _slice_times(content, header, t_r_s, notes)
    phase = _phase_encoding(file, content, notes, met)
    for text in notes:
        met.note(file, text)
    name = file.name
    return RawBold(
        participant=file.person,
        session=file.session,
        task=name.get("task"),
        run=name.get("run"),
        path=file.path,
        entities=name.entities,
        t_r_s=t_r_s,
        grid=header.grid,
        zooms_mm=_zooms(header),
        n_volumes=header.n_volumes,
        slice_times_s=times,
        slice_axis=axis,
        phase_encoding=phase,
        notes=tuple(notes),
    )


def _timing(
    file: _File, header: nifti.Header | None, notes: list[str], met: _Met
) -> tuple[dict[str, Any], float | None]:
    """Merge sidecars and find the repetition time; None, and a fault, when it is unknown."""
    name = file.name
    run = Run(
        participant=file.person,
        session=file.session,
        task=name.get("task"),
        run=name.get("run"),
        space="",
        res="",
        input_type="bold",
        path=file.path,
        entities=name.entities,
    )
    said: list[str] = []
    try:
        content = metadata_of(run)
        if content.get("VolumeTiming") or content.get("DelayTime"):
            what = "its acquisition is sparse (VolumeTiming or DelayTime), which is not handled"
            met.problem(file, what, "leave it out")
            return content, None
        t_r_s = repetition_time(run, header.t_r_s if header is not None else None, said)
    except CircuitshiftError as error:
        met.problems.append(as_problem(error, file.path, file.person))
        return {}, None
    if t_r_s is None and header is not None:
        what = "its repetition time is neither in a JSON sidecar nor in its header"
        met.problem(file, what, "write RepetitionTime, in seconds, into its JSON")
    for text in said:
        plain = text.removeprefix(f"{file.path.name}: ")  # so that it is said once for many runs
        notes.append(text if plain == text else plain[:1].upper() + plain[1:])
    return content, t_r_s


def _phase_encoding(file: _File, content: Mapping[str, Any], notes: list[str], met: _Met) -> str:
    given = content.get("PhaseEncodingDirection")
    if given is None or given == "":
        text = "PhaseEncodingDirection is not stated; only distortion correction, which is not "
        met.note(file, text + "done, would need it.")
        return ""
    if given not in _DIRECTIONS:
        notes.append(f"PhaseEncodingDirection is {given!r}, none of {', '.join(_DIRECTIONS)}.")
        return ""
    return str(given)


def _slice_times(
    content: Mapping[str, Any], header: nifti.Header, t_r_s: float, notes: list[str]
) -> tuple[int, tuple[float, ...]]:
    """Slice axis, and times along it; no times, and a note, when they cannot be used."""
    given = content.get("SliceTiming")
    direction = content.get("SliceEncodingDirection") or "k"
    if given is None:
        notes.append("Slice timing is unknown (no SliceTiming), so it is not corrected.")
    if direction not in _DIRECTIONS:
        if given is not None:
            notes.append(
                f"SliceEncodingDirection is {direction!r}, none of {', '.join(_DIRECTIONS)}, so "
                "slice timing is not corrected."
            )
        return 2, ()
    axis = "ijk".index(direction[0])
    if given is None:
        return axis, ()
    times, why = _usable_times(given, header.grid[axis], t_r_s, notes)
    if why:
        notes.append(f"SliceTiming {why}, so slice timing is not corrected.")
    # BIDS: with a minus the first time is that of the slice with the largest index.
    return axis, tuple(times[::-1] if direction.endswith("-") else times)


def _usable_times(
    given: object, n_slices: int, t_r_s: float, notes: list[str]
) -> tuple[list[float], str]:
    """Return times of slices, s, or why they cannot be used."""
    if not isinstance(given, list) or not all(
        isinstance(time, int | float) and not isinstance(time, bool) and math.isfinite(time)
        for time in given
    ):
        return [], "is no list of numbers"
    if len(given) != n_slices:
        return [], f"holds {len(given)} times for {n_slices} slices"
    times = [float(time) for time in given]
    if min(times) < 0:
        return [], "holds negative times"
    if max(times) > 10 * t_r_s:
        times = [time / 1000 for time in times]
        notes.append("SliceTiming is taken for milliseconds.")
    if max(times) > t_r_s + 1e-3:
        return [], f"goes on to {max(times):g} s, beyond the repetition time of {t_r_s:g} s"
    return times, ""
