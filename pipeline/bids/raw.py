"""Find and check the T1-weighted images and functional runs of a raw data set.

All problems are found before anything is computed. A problem of more than three participants is
also reported once for all of them.
"""

import math
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from circuitshift.pipeline.bids.filters import nearest, passes_all, plain_label
from circuitshift.pipeline.bids.names import (
    Name,
    acquired,
    is_junk,
    is_label,
    normal_label,
    parse_name,
)
from circuitshift.pipeline.bids.raw_companions import (
    FieldMap,
    field_map_notes,
    find_field_maps,
    find_reference,
)
from circuitshift.pipeline.bids.raw_records import RawAnat, RawBold, RawParticipant
from circuitshift.pipeline.bids.run_metadata import (
    as_problem,
    form_notes,
    implausible_time,
    metadata_of,
    repetition_time,
)
from circuitshift.pipeline.bids.runs.choices import RunChoice
from circuitshift.pipeline.bids.runs.tasks import choose_tasks, lost_visits, states_task
from circuitshift.pipeline.bids.runs.versions import choose_versions, part_is_run
from circuitshift.pipeline.bids.scan import check_folder, refused_folder
from circuitshift.pipeline.bids.select_runs import Query
from circuitshift.pipeline.errors import CircuitshiftError, InputError, InputProblem
from circuitshift.pipeline.io import nifti
from circuitshift.pipeline.records import Run

__all__ = ["RawFound", "find_raw", "is_raw"]

MIN_VOLUMES = 10
_MANY_PARTICIPANTS = 3  # problems of more participants are also reported once for all
_SUFFIXES = {"anat": "T1w", "func": "bold"}
_ENDS = (".nii.gz", ".nii")
_DERIVED = ("space", "desc", "res", "label")
_VOXEL_MM = (0.2, 20.0)
_COARSE_MM = 3.0
_MIN_GRID = 16  # voxels along the shortest axis of an image of the complete head
_DIRECTIONS = ("i", "i-", "j", "j-", "k", "k-")


@dataclass(frozen=True, slots=True)
class RawFound:
    """The content of a raw data set.

    Parameters
    ----------
    participants : tuple of RawParticipant
        Participants that can be preprocessed, sorted by label. Each of the others has a problem.
    problems : tuple of InputProblem
        Files that cannot be used, and the reasons.
    notes : tuple of str
        One sentence for each note. Notes that apply to several images or participants are
        combined.
    choices : tuple of RunChoice
        Selections among tasks and versions of runs; `notes` contains their sentences.
    """

    participants: tuple[RawParticipant, ...]
    problems: tuple[InputProblem, ...] = ()
    notes: tuple[str, ...] = ()
    choices: tuple[RunChoice, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    """An image with a BIDS name."""

    name: Name
    path: Path

    @property
    def participant(self) -> str:
        return self.name.get("sub")

    @property
    def session(self) -> str:
        return self.name.get("ses")

    @property
    def identity(self) -> tuple[tuple[str, str], ...]:
        """Entities of the acquired run."""
        return acquired(self.name)

    def entities(self, *without: str) -> tuple[tuple[str, str], ...]:
        """Return the entities in a fixed order; ``run-1`` and ``run-01`` are equal."""
        return tuple(
            sorted(
                (key, normal_label(key, value))
                for key, value in self.name.entities
                if key not in without
            )
        )


@dataclass(slots=True)
class _Findings:
    """Problems and notes that are collected while a data set is read."""

    problems: list[InputProblem] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)  # (sentence, file name)

    def problem(self, file: _File, what: str, fix: str) -> None:
        self.problems.append(InputProblem(str(file.path), what, fix, file.participant))

    def note(self, file: _File, text: str) -> None:
        self.notes.append((text, file.path.name))


def is_raw(root: Path) -> bool:
    """Return whether a folder contains raw functional images.

    Parameters
    ----------
    root : Path
        Folder of a data set.

    Returns
    -------
    bool
        True if there is at least one image; False if there is none or `root` is not a folder.
    """
    findings = _Findings()  # folders that cannot be listed are treated as empty
    return any(
        f.name.suffix == "bold"
        for p in _participant_folders(Path(root), findings)
        for f in _images(p, findings)
    )


def _list(path: str | Path, label: str, findings: _Findings) -> list["os.DirEntry[str]"]:
    """List a folder, sorted by name; a folder that cannot be listed is a problem."""
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        what = f"the folder cannot be listed ({error.strerror})"
        findings.problems.append(
            InputProblem(str(path), what, "grant yourself read permission", label)
        )
        return []


def _is_folder(entry: "os.DirEntry[str]", label: str, findings: _Findings) -> bool:
    """Return whether an entry is a folder; a link that leads nowhere is a problem."""
    is_folder, problem = check_folder(entry, label)
    findings.problems += [problem] if problem is not None else []
    return is_folder


def _has_label(
    entry: "os.DirEntry[str]", participant: str, prefix: str, findings: _Findings
) -> bool:
    """Return whether an entry is the folder of a participant or session; others are problems."""
    if not entry.name.startswith(prefix):
        return False
    label = entry.name.removeprefix(prefix)
    if prefix == "sub-":  # a copy or backup must not become a participant
        participant = label if is_label(label) else ""
    if _is_folder(entry, participant, findings):
        if is_label(label):
            return True
        findings.problems.append(refused_folder(entry.path, participant, prefix))
    elif is_label(label) and not entry.is_symlink():
        problem = ("it is not a folder", "replace it by the folder", participant)
        findings.problems.append(InputProblem(entry.path, *problem))
    return False


def _participant_folders(root: Path, findings: _Findings) -> Iterator["os.DirEntry[str]"]:
    """Yield the folders ``sub-*`` of a data set."""
    for entry in _list(root, "", findings):
        if _has_label(entry, "", "sub-", findings):
            yield entry


def _images(participant: "os.DirEntry[str]", findings: _Findings) -> Iterator[_File]:
    """Yield the T1-weighted and functional images of a participant, identified by their names."""
    label = participant.name[4:]
    entries = _list(participant.path, label, findings)
    yield from _session_images(entries, {"sub": label}, findings)
    for entry in entries:
        if _has_label(entry, label, "ses-", findings):
            folders = {"sub": label, "ses": entry.name[4:]}
            yield from _session_images(_list(entry.path, label, findings), folders, findings)


def _session_images(
    entries: Iterable["os.DirEntry[str]"], folders: Mapping[str, str], findings: _Findings
) -> Iterator[_File]:
    """Yield the images in the folders ``anat`` and ``func`` of a participant or session."""
    for folder in entries:
        suffix = _SUFFIXES.get(folder.name)
        if suffix is None or not _is_folder(folder, folders["sub"], findings):
            continue
        ends = tuple(f"_{suffix}{end}" for end in _ENDS)
        for entry in _list(folder.path, folders["sub"], findings):
            if entry.name.endswith(ends) and not is_junk(entry.name):
                file = _file(entry, folders, findings)
                if file is not None:
                    yield file


def _file(
    entry: "os.DirEntry[str]", folders: Mapping[str, str], findings: _Findings
) -> _File | None:
    """Parse a file name; None for derivatives and for files in the wrong folder."""
    name = parse_name(entry.name)
    if name is None:
        what = "its name does not consist of key-value pairs as BIDS requires, so it is not read"
        fix = "rename it (sub-X[_ses-Y]..., letters and digits, each key once)"
    else:
        mismatched = [f"{key}-{value}" for key, value in folders.items() if name.get(key) != value]
        if not mismatched:
            derived = any(name.get(key) for key in _DERIVED)
            return None if derived else _File(name, Path(entry.path))
        what = f"its name lacks {' and '.join(mismatched)} of the folder that contains it"
        fix = "rename it or move it to the correct folder"
    findings.problems.append(InputProblem(entry.path, what, fix, folders["sub"]))
    return None


def find_raw(root: Path, query: Query = Query()) -> RawFound:  # noqa: B008 - frozen
    """Find the raw images of a data set and check their headers and sidecars.

    Parameters
    ----------
    root : Path
        Raw BIDS data set.
    query : Query, optional
        Requested participants. Sessions, tasks and filters select functional runs only, because
        the T1-weighted images of all sessions are combined into one template.

    Returns
    -------
    RawFound
        Images whose headers and sidecars contain all information that preprocessing needs.

    Raises
    ------
    InputError
        If `root` is not a folder.
    """
    root = Path(root)
    if not root.is_dir():
        what = "it is a file, not a folder" if root.exists() else "there is no such folder"
        raise InputError(f"{root}: {what}; give the folder of the data set")
    findings = _Findings()
    requested_labels = {plain_label(label, "sub") for label in query.participants}
    folders = {
        entry.name[4:]: (entry, list(_images(entry, findings)))
        for entry in _participant_folders(root, findings)
    }
    # Runs are chosen among those of all participants, so that jobs for single ones agree.
    bolds = [f for _, files in folders.values() for f in files if f.name.suffix == "bold"]
    chosen, choices = _choose_runs(bolds, query, str(root), findings)
    participants = [
        participant
        for label, (entry, files) in folders.items()
        if not requested_labels or label in requested_labels
        if (participant := _check_participant(entry, files, chosen, findings)) is not None
    ]
    findings.problems = [
        f
        for f in findings.problems
        if not requested_labels or not f.participant or f.participant in requested_labels
    ]
    findings.problems += _missing_participants(
        root, requested_labels, {*folders, *(f.participant for f in findings.problems)}, findings
    )
    findings.problems += _unmatched_labels([file.name for file in bolds], query)
    participants.sort(key=lambda participant: participant.participant)
    problems = tuple(sorted(set(findings.problems)))
    notes = [choice.sentence for choice in choices]
    notes += [*_group_notes(findings.notes), *_summarise_problems(problems)]
    return RawFound(tuple(participants), problems, tuple(notes), tuple(choices))


def _choose_runs(
    bolds: Sequence[_File], query: Query, where: str, findings: _Findings
) -> tuple[frozenset[_File], list[RunChoice]]:
    """Select the requested runs: one task, and one version of each run."""
    # Phase, real and imaginary images are parts of an acquisition, not separate runs.
    runs = [f for f in bolds if part_is_run(f.name) and _is_requested(f.name, query)]
    is_stated = bool(query.tasks) or states_task(query.filters)
    selected, choice = choose_tasks(runs, where=where, is_stated=is_stated)
    choices = [choice] if choice is not None else []
    for problem in lost_visits(runs, selected, choice) if choice is not None else ():
        if "/" in problem.where:  # participants without any run are reported by their folder
            findings.problems.append(problem)
    selected = _without_echoes(selected, findings)
    return frozenset(choose_versions(selected, choices, last=())), choices


def _missing_participants(
    root: Path, requested_labels: set[str], available: set[str], findings: _Findings
) -> list[InputProblem]:
    """Report requested participants that are missing, or that the data set has no participants."""
    if not available - {""} and not requested_labels and not findings.problems:
        what = "it contains no participants (no sub-* folder)"
        return [InputProblem(str(root), what, "give the folder of a raw BIDS data set")]
    return [
        InputProblem(
            f"sub-{label}",
            f"it was requested, but it is not in {root}",
            f"request an available participant{nearest(label, available - {''})}",
            label,
        )
        for label in sorted(requested_labels - available)
    ]


def _unmatched_labels(names: Sequence[Name], query: Query) -> list[InputProblem]:
    """Report sessions and tasks of the query that no functional run has."""
    problems = []
    for option, requested, key in (
        ("--session-label", query.sessions, "ses"),
        ("--task-id", query.tasks, "task"),
    ):
        available = {name.get(key) for name in names} - {""}
        for label in (plain_label(label, key) for label in requested):
            if names and label not in available:
                fix = f"correct {option}{nearest(label, available)}"
                what = "it was requested, but no run has this label"
                problems.append(InputProblem(f"{key}-{label}", what, fix))
    return problems


def _is_requested(name: Name, query: Query) -> bool:
    """Return whether a functional run matches the query."""
    for key, labels in (("ses", query.sessions), ("task", query.tasks)):
        if labels and name.get(key) not in {plain_label(label, key) for label in labels}:
            return False
    return passes_all(name, query.filters)


def _group_notes(notes: Iterable[tuple[str, str]]) -> list[str]:
    """Combine equal notes of several images into one, with their number."""
    files: dict[str, list[str]] = defaultdict(list)
    for text, file in notes:
        files[text].append(file)
    return [
        f"{names[0] if len(names) == 1 else f'{len(names)} images (first {names[0]})'}: {text}"
        for text, names in files.items()
    ]


def _summarise_problems(problems: Iterable[InputProblem]) -> list[str]:
    """Combine equal problems of more than three participants into one note."""
    groups: dict[tuple[str, str], list[InputProblem]] = defaultdict(list)
    for problem in problems:
        groups[problem.what, problem.fix].append(problem)
    return [
        f"{len(group)} times in {n} participants, first {group[0].where}: {what}; {fix}."
        for (what, fix), group in groups.items()
        if (n := len({problem.participant for problem in group})) > _MANY_PARTICIPANTS
    ]


def _check_participant(
    entry: "os.DirEntry[str]",
    files: Sequence[_File],
    chosen: Collection[_File],
    findings: _Findings,
) -> RawParticipant | None:
    """Check the images of a participant; None, and a problem, if preprocessing is impossible."""
    label = entry.name[4:]
    files = sorted(files, key=lambda f: (*map(f.name.get, ("ses", "task", "run")), f.path.name))
    anat_files = [file for file in files if file.name.suffix == "T1w"]
    bold_files = [f for f in files if f.name.suffix == "bold" and part_is_run(f.name)]
    requested = [file for file in bold_files if file in chosen]
    if not requested and not any(f.name.get("echo") for f in bold_files):  # a problem by itself
        what = "it has no functional run" + (" that was requested" if bold_files else "")
        fix = "request other runs" if bold_files else "fetch its functional runs"
        fix += ", or exclude the participant (--participant-label)"
        findings.problems.append(InputProblem(entry.path, what, fix, label))
    if not anat_files:
        fix = "add its T1-weighted image, or exclude the participant (--participant-label)"
        findings.problems.append(InputProblem(entry.path, "it has no T1w image", fix, label))
    anats = [
        a
        for f in _without_copies(_select_kind(anat_files, findings), findings)
        if (a := _check_anat(f, findings)) is not None
    ]
    maps = find_field_maps(Path(entry.path))
    bolds = [
        b
        for f in _without_copies(requested, findings)
        if (b := _check_bold(f, maps, findings)) is not None
    ]
    return RawParticipant(label, tuple(anats), tuple(bolds)) if anats and bolds else None


def _select_kind(files: Sequence[_File], findings: _Findings) -> list[_File]:
    """Select the T1-weighted images of one kind (acq, rec, ce) in each session, with all runs."""
    sessions: dict[str, dict[tuple[tuple[str, str], ...], list[_File]]] = {}
    for file in files:
        kind = tuple(pair for pair in file.name.entities if pair[0] not in ("sub", "ses", "run"))
        sessions.setdefault(file.session, {}).setdefault(kind, []).append(file)
    out: list[_File] = []
    for kinds in sessions.values():
        first, *others = sorted(kinds, key=lambda kind: ("acq" in dict(kind), kind))
        out += kinds[first]
        if others:
            skipped = ", ".join(map(_format_kind, others))
            findings.note(
                kinds[first][0],
                f"There are several kinds of T1w images: {_format_kind(first)} is used, and "
                f"{skipped} is not.",
            )
    return out


def _format_kind(kind: Iterable[tuple[str, str]]) -> str:
    """Format the entities that distinguish kinds of images."""
    return "_".join("-".join(pair) for pair in kind) or "the one without acq-, rec- or ce-"


def _without_echoes(files: Sequence[_File], findings: _Findings) -> list[_File]:
    """Exclude single echoes, with one problem for all echoes of a run."""
    echoes: dict[tuple[tuple[str, str], ...], list[_File]] = defaultdict(list)
    for file in files:
        if file.name.get("echo"):
            echoes[file.entities("echo")].append(file)
    for group in echoes.values():
        what = f"multi-echo data ({len(group)} echoes) are not supported"
        findings.problem(group[0], what, "preprocess them with fMRIPrep and use its output")
    return [file for file in files if not file.name.get("echo")]


def _without_copies(files: Sequence[_File], findings: _Findings) -> list[_File]:
    """Exclude copies of an image, such as ``.nii`` in addition to ``.nii.gz``."""
    out: dict[tuple[tuple[str, str], ...], _File] = {}
    for file in files:
        first = out.setdefault(file.entities(), file)
        if first is not file:
            what = f"{first.path.name} has the same entities and is used instead"
            findings.problem(file, what, "delete one of them")
    return list(out.values())


def _read_header(file: _File, findings: _Findings) -> nifti.Header | None:
    """Read a header and check its geometry; None if the image cannot be read."""
    try:
        header = nifti.read_header(file.path)
    except CircuitshiftError as error:
        findings.problems.append(as_problem(error, file.path, file.participant))
        return None
    if not header.is_oriented:
        what = "its header does not state the orientation (qform and sform codes are 0)"
        findings.problem(file, what, "convert it again, for example with dcm2niix")
    zooms = _zooms(header)
    if not all(_VOXEL_MM[0] <= size <= _VOXEL_MM[1] for size in zooms):
        sizes = " x ".join(f"{size:g}" for size in zooms)
        what = f"its voxel sizes are {sizes} mm, so the unit is probably wrong"
        findings.problem(file, what, "correct the affine and voxel sizes in its header")
    return header


def _zooms(header: nifti.Header) -> tuple[float, float, float]:
    """Compute the voxel sizes in mm."""
    x, y, z = (header.affine[:3, :3] ** 2).sum(axis=0) ** 0.5
    # the precision of float32: 3.2 rather than 3.2000000476837
    return float(f"{x:.6g}"), float(f"{y:.6g}"), float(f"{z:.6g}")


def _check_anat(file: _File, findings: _Findings) -> RawAnat | None:
    """Check a T1-weighted image; None, and a problem, if it cannot be used."""
    n_before = len(findings.problems)
    header = _read_header(file, findings)
    if header is None:
        return None
    if header.n_volumes > 1:
        what = f"it contains {header.n_volumes} volumes, but a T1w image must have one"
        findings.problem(file, what, "provide one three-dimensional image")
    elif min(header.grid) < _MIN_GRID:
        what = f"it has only {'x'.join(map(str, header.grid))} voxels, less than a complete head"
        findings.problem(file, what, "provide an image of the complete head")
    if len(findings.problems) > n_before:
        return None
    for text in form_notes(header):
        findings.note(file, text)
    if max(_zooms(header)) > _COARSE_MM:
        findings.note(
            file, f"The T1w image has voxels above {_COARSE_MM:g} mm, which limits accuracy."
        )
    return RawAnat(file.participant, file.session, file.path, file.name.entities)


def _check_bold(file: _File, maps: Sequence[FieldMap], findings: _Findings) -> RawBold | None:
    """Check a functional run and report all of its problems; None if it cannot be used."""
    n_before = len(findings.problems)
    notes: list[str] = []
    header = _read_header(file, findings)
    if header is not None and header.n_volumes < 2:
        findings.problem(file, "it has only one volume", "fetch or convert it again")
    elif header is not None and header.n_volumes < MIN_VOLUMES:
        what = f"it has {header.n_volumes} volumes, fewer than the minimum of {MIN_VOLUMES}"
        findings.problem(file, what, "exclude it (--bids-filter-file)")
    content, t_r_s = _timing(file, header, notes, findings)
    if header is None or t_r_s is None or len(findings.problems) > n_before:
        return None
    axis, times = _slice_times(content, header, t_r_s, notes)
    phase = _phase_encoding(file, content, notes, findings)
    notes += form_notes(header)
    notes += field_map_notes(maps, file.path.name, content)
    reference, reasons = find_reference(file.path, header)
    notes += reasons
    if reference:
        findings.note(file, "Its single-band reference (SBRef) is the reference of the run.")
    for text in notes:
        findings.note(file, text)
    name = file.name
    return RawBold(
        participant=file.participant,
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
        sbref=reference,
        notes=tuple(notes),
    )


def _timing(
    file: _File, header: nifti.Header | None, notes: list[str], findings: _Findings
) -> tuple[dict[str, Any], float | None]:
    """Merge sidecars and find the repetition time; None, and a problem, if it is unknown."""
    name = file.name
    run = Run(
        participant=file.participant,
        session=file.session,
        task=name.get("task"),
        run=name.get("run"),
        space="",
        res="",
        input_type="bold",
        path=file.path,
        entities=name.entities,
    )
    timing_notes: list[str] = []
    try:
        content = metadata_of(run)
        if content.get("VolumeTiming") or content.get("DelayTime"):
            what = "its acquisition is sparse (VolumeTiming or DelayTime), which is not supported"
            findings.problem(file, what, "exclude it (--bids-filter-file)")
            return content, None
        t_r_s = repetition_time(run, header.t_r_s if header is not None else None, timing_notes)
    except CircuitshiftError as error:
        findings.problems.append(as_problem(error, file.path, file.participant))
        return {}, None
    if t_r_s is None and header is not None:
        what = "its repetition time is neither in a JSON sidecar nor in its header"
        findings.problem(file, what, "add RepetitionTime, in seconds, to its JSON")
    if implausible := implausible_time(t_r_s):
        findings.problem(file, *implausible)
        t_r_s = None
    for text in timing_notes:
        plain = text.removeprefix(f"{file.path.name}: ")  # so that equal notes are combined
        notes.append(text if plain == text else plain[:1].upper() + plain[1:])
    return content, t_r_s


def _phase_encoding(
    file: _File, content: Mapping[str, Any], notes: list[str], findings: _Findings
) -> str:
    """Read the phase-encoding direction; empty, and a note, if it cannot be used."""
    value = content.get("PhaseEncodingDirection")
    if value is None or value == "":
        text = "PhaseEncodingDirection is not stated. It would be needed for distortion "
        findings.note(file, text + "correction only, which is not done.")
        return ""
    if value not in _DIRECTIONS:
        notes.append(f"PhaseEncodingDirection is {value!r}, not one of {', '.join(_DIRECTIONS)}.")
        return ""
    return str(value)


def _slice_times(
    content: Mapping[str, Any], header: nifti.Header, t_r_s: float, notes: list[str]
) -> tuple[int, tuple[float, ...]]:
    """Read the slice axis and slice times; no times, and a note, if they cannot be used."""
    value = content.get("SliceTiming")
    direction = content.get("SliceEncodingDirection") or "k"
    if value is None:
        notes.append("Slice timing is unknown (no SliceTiming), so it is not corrected.")
    if direction not in _DIRECTIONS:
        if value is not None:
            notes.append(
                f"SliceEncodingDirection is {direction!r}, not one of {', '.join(_DIRECTIONS)}, so "
                "slice timing is not corrected."
            )
        return 2, ()
    axis = "ijk".index(direction[0])
    if value is None:
        return axis, ()
    times, reason = _check_slice_times(value, header.grid[axis], t_r_s, notes)
    if reason:
        notes.append(f"SliceTiming {reason}, so slice timing is not corrected.")
    # BIDS: with a minus sign, the first time is that of the slice with the largest index.
    return axis, tuple(times[::-1] if direction.endswith("-") else times)


def _check_slice_times(
    value: object, n_slices: int, t_r_s: float, notes: list[str]
) -> tuple[list[float], str]:
    """Return slice times in s, or the reason why they cannot be used."""
    if not isinstance(value, list) or not all(
        isinstance(time, int | float) and not isinstance(time, bool) and math.isfinite(time)
        for time in value
    ):
        return [], "is not a list of numbers"
    if len(value) != n_slices:
        return [], f"contains {len(value)} times for {n_slices} slices"
    times = [float(time) for time in value]
    if min(times) < 0:
        return [], "contains negative times"
    if max(times) > 10 * t_r_s:
        times = [time / 1000 for time in times]
        notes.append("SliceTiming is interpreted as milliseconds.")
    if max(times) > t_r_s + 1e-3:
        return [], f"contains {max(times):g} s, which exceeds the repetition time of {t_r_s:g} s"
    return times, ""
