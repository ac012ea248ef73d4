"""Find the runs of a data set, and select one version of each run.

`circuitshift.pipeline.bids.scan` lists the files. The selections that follow are the same for all
participants, and each of them is reported in a note. Headers and sidecars are not read here, but
later for one run at a time by `check_run`.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuitshift.pipeline.bids.description import refuse_foreign, write_dataset_description
from circuitshift.pipeline.bids.filters import (
    ANY,
    NONE,
    Filters,
    load_filters,
    nearest,
    passes_all,
    plain_label,
)
from circuitshift.pipeline.bids.input_types import INPUT_TYPES, InputType
from circuitshift.pipeline.bids.names import VARIANT, Name, build_path, parse_name
from circuitshift.pipeline.bids.run_metadata import check_run
from circuitshift.pipeline.bids.scan import NO_RUN, File, Scan, scan_all
from circuitshift.pipeline.errors import InputError, InputProblem
from circuitshift.pipeline.records import Run

__all__ = [
    "ANY",
    "NONE",
    "FoundRuns",
    "Name",
    "Query",
    "build_path",
    "check_run",
    "find_runs",
    "load_filters",
    "parse_name",
    "refuse_foreign",
    "write_dataset_description",
]

_SPACES = ("MNI152NLin2009cAsym", "MNI152NLin6Asym")
_OWN_SPACES = ("T1w", "T2w", "anat", "individual", "scanner", "boldref", "func", "")


@dataclass(frozen=True, slots=True)
class Query:
    """A selection of runs; an empty tuple selects all.

    Parameters
    ----------
    participants, sessions, tasks : tuple of str
        Labels, with or without the prefixes ``sub-``, ``ses-`` and ``task-``.
    spaces : tuple of str
        Spaces, for example ``MNI152NLin2009cAsym`` or, in the notation of fMRIPrep,
        ``MNI152NLin2009cAsym:res-2``.
    atlases : tuple of str
        Values of ``atlas-`` or ``seg-``, for time series and matrices.
    input_types : tuple of str
        Input types: ``bold``, ``timeseries`` or ``relmat``.
    filters : tuple
        Filters as returned by `load_filters`.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    spaces: tuple[str, ...] = ()
    atlases: tuple[str, ...] = ()
    input_types: tuple[str, ...] = ()
    filters: Filters = ()


@dataclass(frozen=True, slots=True)
class FoundRuns:
    """The runs of a data set.

    Parameters
    ----------
    runs : tuple of Run
        Usable runs, sorted by participant, session, task and run.
    problems : tuple of InputProblem
        Files that cannot be used, and the reasons. `InputProblem.participant` is set for problems
        of one participant.
    notes : tuple of str
        Selections that were made and files that were ignored, one sentence each.
    """

    runs: tuple[Run, ...]
    problems: tuple[InputProblem, ...] = ()
    notes: tuple[str, ...] = ()


def find_runs(root: Path, query: Query = Query(), *, dataset: str = "") -> FoundRuns:
    """Find the functional runs of a data set.

    Parameters
    ----------
    root : Path
        Output of fMRIPrep (20 to 25) or XCP-D, any folder with ``*_timeseries.tsv`` or
        ``*_relmat.tsv``, or a raw data set with such folders in ``derivatives``.
    query : Query, optional
        Selection of runs; all runs by default.
    dataset : str, default=""
        Name of the data set, which is set in each `Run`.

    Returns
    -------
    FoundRuns
        Runs whose files exist and are not empty. If a run is available in several spaces,
        resolutions or input types, one of them is selected, and a note states which one and why.

    Raises
    ------
    InputError
        If `root` is not a folder, or the query contains an unknown input type.
    """
    input_types = _requested_input_types(query)
    notes: list[str] = []
    scans = scan_all(Path(root), notes)
    files = [file for scan in scans for file in scan.files]
    problems = [problem for scan in scans for problem in scan.problems]
    files = [file for file in files if file.input_type in input_types]
    problems += _participants_without_runs(Path(root), scans, files, query)
    problems += _unmatched_labels(files, query)
    requested_participants = {plain_label(label, "sub") for label in query.participants}
    problems = [
        problem
        for problem in problems
        if not requested_participants
        or not problem.participant
        or problem.participant in requested_participants
    ]
    files = [file for file in files if _matches(file, query)]
    files = _select_input_type(files, notes)
    files = _select_versions(files, query, notes, problems)
    files = _select_derivative(files, notes, problems)
    files = _without_concatenated(files, notes)
    runs = [run for file in files if (run := _make_run(file, dataset, problems)) is not None]
    _note_ignored_files(scans, notes)
    runs.sort(key=lambda r: (r.participant, r.session, r.task, r.run, r.atlas, str(r.path)))
    return FoundRuns(tuple(runs), tuple(sorted(set(problems))), tuple(dict.fromkeys(notes)))


def _requested_input_types(query: Query) -> tuple[InputType, ...]:
    """Return the requested input types in the order of preference."""
    unknown = sorted(set(query.input_types) - set(INPUT_TYPES))
    if unknown:
        raise InputError(f"unknown input type {unknown[0]!r}; choose from {', '.join(INPUT_TYPES)}")
    return tuple(
        kind
        for name, kind in INPUT_TYPES.items()
        if not query.input_types or name in query.input_types
    )


def _participants_without_runs(
    root: Path, scans: Sequence[Scan], files: Sequence[File], query: Query
) -> list[InputProblem]:
    """Report participants without runs, or report once that no participant has any."""
    with_runs = {file.participant for file in files}
    participants = {
        label: (scan, reason)
        for scan in scans
        for label, reason in scan.participants.items()
        if reason
    }
    with_problems = {problem.participant for scan in scans for problem in scan.problems}
    available = with_runs | with_problems | set(participants)
    requested = [plain_label(label, "sub") for label in query.participants]
    problems = [
        InputProblem(
            f"sub-{label}",
            f"it was requested, but it is not in {root}",
            f"request an available participant{nearest(label, available)}",
            label,
        )
        for label in requested
        if label not in available
    ]
    if not with_runs and not with_problems:
        kinds = " or ".join(query.input_types) or _all_kinds()
        reasons = Counter(reason for _, reason in participants.values() if reason != NO_RUN)
        reason = f" ({reasons.most_common(1)[0][0]})" if reasons else ""
        hint = "give the folder with the output of fMRIPrep"
        return [*problems, InputProblem(str(root), f"no participant has a {kinds}{reason}", hint)]
    with_other_types = {file.participant for scan in scans for file in scan.files} - with_runs
    for label in sorted(set(participants) - with_runs - with_problems):
        scan, reason = participants[label]
        if label in with_other_types:
            input_types = ", ".join(query.input_types)
            reason = f"it contains no run of the requested input type ({input_types})"
        fix = "preprocess or fetch its runs, or exclude the participant (--participant-label)"
        problems.append(InputProblem(str(scan.base / f"sub-{label}"), reason, fix, label))
    return problems


def _all_kinds() -> str:
    """Format the labels of all input types."""
    *first, last = (kind.label for kind in INPUT_TYPES.values())
    return f"{', '.join(first)} or {last}"


def _unmatched_labels(files: Sequence[File], query: Query) -> list[InputProblem]:
    """Report labels of the query that no file has."""
    problems = []
    for option, requested, key in (
        ("--session-label", query.sessions, "ses"),
        ("--task-id", query.tasks, "task"),
        ("--space", query.spaces, "space"),
        ("--atlas", query.atlases, "atlas"),
    ):
        available = {file.atlas if key == "atlas" else file.name.get(key) for file in files} - {""}
        for label in requested:
            plain = plain_label(label, key).split(":")[0]
            if files and plain not in available:
                problems.append(
                    InputProblem(
                        f"{key}-{plain}",
                        "it was requested, but no run has this label",
                        f"correct {option}{nearest(plain, available)}",
                    )
                )
    return problems


def _matches(file: File, query: Query) -> bool:
    """Return whether a file matches the query, except for spaces; see `_select_versions`."""
    requested: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        ("sub", file.participant, query.participants),
        ("ses", file.name.get("ses"), query.sessions),
        ("task", file.name.get("task"), query.tasks),
    )
    for key, value, labels in requested:
        if labels and value not in {plain_label(label, key) for label in labels}:
            return False
    if not file.is_image and query.atlases and file.atlas not in query.atlases:
        return False
    return passes_all(file.name, query.filters)


def _select_versions(
    files: list[File], query: Query, notes: list[str], problems: list[InputProblem]
) -> list[File]:
    """Select one space, resolution and description of each run, the same for all participants."""
    out: list[File] = []
    for name, kind in INPUT_TYPES.items():
        versions = [file for file in files if file.input_type is kind]
        versions = _select_space(versions, query, notes, problems) if versions else []
        versions = _select_version(
            versions, lambda f: f.res, rank=_res_rank, what=(name, "res-"), notes=notes
        )
        versions = _select_version(
            versions, lambda f: f.name.get("desc"), rank=str, what=(name, "desc-"), notes=notes
        )
        out += versions
    return out


def _space_rank(query: Query) -> Callable[[str], tuple[int, str]]:
    """Return a function that ranks spaces by preference."""
    requested = [space.split(":")[0] for space in query.spaces]
    order = [*requested, *(space for space in _SPACES if space not in requested)]

    def rank(space: str) -> tuple[int, str]:
        plain = space.split(":", maxsplit=1)[0]
        return (order.index(plain) if plain in order else len(order), space)

    return rank


def _select_space(
    files: list[File], query: Query, notes: list[str], problems: list[InputProblem]
) -> list[File]:
    """Select the space that most runs have; runs without it are problems."""
    kind = files[0].input_type
    if query.spaces:
        selected = [file for file in files if _is_in_space(file, query.spaces)]
        # If no run has it, `_unmatched_labels` reports this once.
        problems += (
            _missing_in_space(files, selected, " or ".join(query.spaces)) if selected else []
        )
        files = selected
    elif kind.content == "image":
        # Images in native space cannot be compared between participants.
        standard = [file for file in files if file.space not in _OWN_SPACES]
        if standard and len(standard) < len(files):
            problems += _missing_in_space(files, standard, "a standard space")
            notes.append(
                f"{len(files) - len(standard)} images in native space (no space- or space-T1w) are "
                "ignored, because others are in a standard space."
            )
            files = standard
    rank = _space_rank(query)
    selected = _select_version(
        files, lambda f: f.space, rank=rank, what=(kind.name, "space-"), notes=notes
    )
    best = {file.space for file in selected}
    if kind.content == "image" and len(best) > 1:
        chosen = _most_frequent(files, lambda f: f.space, rank)
        in_chosen_space = [file for file in selected if file.space == chosen]
        problems += _missing_in_space(selected, in_chosen_space, chosen)
        return in_chosen_space
    return selected


def _is_in_space(file: File, spaces: Iterable[str]) -> bool:
    """Return whether a file is in one of ``SPACE``, ``SPACE:res-2`` or ``SPACE:cohort-1``."""
    labels = {file.name.get("space"), *(f"{key}-{value}" for key, value in file.name.entities)}
    return any(set(plain_label(space, "space").split(":")) <= labels for space in spaces)


def _missing_in_space(
    files: Iterable[File], selected: Iterable[File], space: str
) -> list[InputProblem]:
    """Report the runs of which no file was selected."""
    available_runs = {file.identity for file in selected}
    missing: dict[tuple[object, ...], list[File]] = defaultdict(list)
    for file in files:
        if file.identity not in available_runs:
            missing[file.identity].append(file)
    return [
        InputProblem(
            group[0].entry.path,
            f"this run is not available in {space}, only in "
            f"{', '.join(sorted({f.space or 'native space' for f in group}))}",
            "add that space (fMRIPrep --output-spaces), or choose another one by --space",
            group[0].participant,
        )
        for group in missing.values()
    ]


def _res_rank(res: str) -> tuple[int, int, str]:
    """Rank resolutions: 2 mm, the grid of the space, then smaller numbers."""
    order = {"2": 0, "02": 0, "": 1}.get(res, 2)
    return order, int(res) if res.isdecimal() else 10**6, res


def _most_frequent(
    files: Iterable[File], value: Callable[[File], str], rank: Callable[[str], Any]
) -> str:
    """Return the value that most runs have, and the first by `rank` among ties."""
    counts = Counter(dict.fromkeys((file.identity, value(file)) for file in files))
    counts_by_value = Counter(label for _, label in counts)
    return min(counts_by_value, key=lambda label: (-counts_by_value[label], rank(label)))


def _select_version(
    files: list[File],
    value: Callable[[File], str],
    *,
    rank: Callable[[str], Any],
    what: tuple[str, str],
    notes: list[str],
) -> list[File]:
    """Select the variant that most runs have, and add a note if there were several."""
    groups: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for file in files:
        groups[file.identity].add(value(file))
    if all(len(values) == 1 for values in groups.values()):
        return files
    best = _most_frequent(files, value, rank)
    chosen_value = {
        identity: best if best in values else min(values, key=rank)
        for identity, values in groups.items()
    }
    input_type, key = what
    others = sorted({value(file) for file in files} - {best})
    notes.append(
        f"Runs of input type {input_type} are available with "
        f"{_format_labels(key, [best, *others])}; {_format_labels(key, [best])} is used, which "
        "most runs have (in a tie, the first of a fixed order)."
    )
    return [file for file in files if value(file) == chosen_value[file.identity]]


def _format_labels(key: str, values: Sequence[str]) -> str:
    """Format labels with their key."""
    return " and ".join(f"{key}{value}" if value else f"no {key}" for value in values)


def _select_input_type(files: list[File], notes: list[str]) -> list[File]:
    """Select one input type of each run: image before time series before matrix."""
    acquired: dict[InputType, set[tuple[object, ...]]] = defaultdict(set)
    for file in files:
        acquired[file.input_type].add(file.acquired if file.is_image else file.identity[1:])
    selected: list[File] = []
    n_ignored: Counter[str] = Counter()
    for file in files:
        preferred = _preferred_type(file, acquired)
        if preferred is None:
            selected.append(file)
        else:
            n_ignored[
                f"{file.input_type.name} file(s) are ignored in favour of the {preferred.label}"
            ] += 1
    notes += [f"{n} {what} of the same run." for what, n in sorted(n_ignored.items())]
    input_types = [
        name
        for name, kind in INPUT_TYPES.items()
        if any(file.input_type is kind for file in selected)
    ]
    if len(input_types) > 1:
        notes.append(
            f"Some runs are available as {' only, others as '.join(input_types)} only, so that "
            "their denoising differs; --input-type selects one input type."
        )
    return selected


def _preferred_type(
    file: File, acquired: Mapping[InputType, set[tuple[object, ...]]]
) -> InputType | None:
    """Return the first input type before that of a file in which the same run is available."""
    for kind in INPUT_TYPES.values():
        if kind is file.input_type:
            return None
        run = file.acquired if kind.content == "image" else file.identity[1:]
        if run in acquired.get(kind, ()):
            return kind
    return None


def _select_derivative(
    files: list[File], notes: list[str], problems: list[InputProblem]
) -> list[File]:
    """Refuse runs with several files, after selecting fMRIPrep before other derivatives."""
    groups: dict[tuple[object, ...], list[File]] = defaultdict(list)
    for file in files:
        groups[file.identity].append(file)
    selected: list[File] = []
    for group in groups.values():
        first = [file for file in group if file.tier == min(f.tier for f in group)]
        if len(first) < len(group):
            notes.append(f"For runs in several derivatives, {first[0].base} is used.")
        if len(first) == 1:
            selected += first
        else:
            problems.append(_duplicate_problem(sorted(first, key=lambda f: f.entry.path)))
    return selected


def _duplicate_problem(files: Sequence[File]) -> InputProblem:
    """Report several files of one run, once for all runs that two folders share."""
    bases = list(dict.fromkeys(str(file.base) for file in files))
    if len(bases) > 1:
        return InputProblem(
            " and ".join(bases), "they contain the same runs", "select one by --derivatives"
        )
    return InputProblem(
        files[0].entry.path,
        f"{' and '.join(f.entry.name for f in files[1:])} has the same entities",
        "remove or rename one of them",
        files[0].participant,
    )


def _without_concatenated(files: list[File], notes: list[str]) -> list[File]:
    """Exclude time series that XCP-D concatenated from runs that are available separately."""

    def identity_of_concatenated(file: File) -> tuple[object, ...]:
        pairs = tuple(pair for pair in file.acquired if pair[0] not in ("run", "dir"))
        return (file.input_type, pairs, *file.identity[2:])

    parts = {identity_of_concatenated(file) for file in files if file.name.get("run")}
    selected = [
        f
        for f in files
        if f.is_image or f.name.get("run") or identity_of_concatenated(f) not in parts
    ]
    if len(selected) < len(files):
        notes.append(
            f"{len(files) - len(selected)} file(s) without run- are ignored as concatenated runs, "
            "because there are files with run-."
        )
    return selected


def _make_run(file: File, dataset: str, problems: list[InputProblem]) -> Run | None:
    """Make the record of a run; None, and problems, if one of its files cannot be used."""
    file_problems = [_content_problem(file.entry, file.participant)]
    mask = confounds = None
    if file.is_image:
        keys = [pair for pair in file.name.entities if pair[0] != "desc"]
        masks = [_file_name(keys, "desc-brain_mask") + tail for tail in (".nii.gz", ".nii")]
        mask = _companion_file(file, masks, "its brain mask", file_problems)
        keys = [pair for pair in keys if pair[0] not in VARIANT]
        names = [
            _file_name(keys, f"desc-confounds_{suffix}.tsv")
            for suffix in ("timeseries", "regressors")
        ]
        confounds = _companion_file(file, names, "its confounds table", file_problems)
    found = [problem for problem in file_problems if problem is not None]
    problems += found
    if found:
        return None
    name = file.name
    return Run(
        participant=file.participant,
        session=name.get("ses"),
        task=name.get("task"),
        run=name.get("run"),
        space=name.get("space"),
        res=name.get("res"),
        input_type=file.input_type.name,
        path=Path(file.entry.path),
        entities=name.entities,
        dataset=dataset,
        atlas="" if file.is_image else file.atlas,
        mask=mask,
        confounds=confounds,
    )


def _file_name(pairs: Iterable[tuple[str, str]], tail: str) -> str:
    """Join entities and the rest of a file name."""
    return "_".join([*(f"{key}-{value}" for key, value in pairs), tail])


def _companion_file(
    file: File, names: Sequence[str], what: str, file_problems: list[InputProblem | None]
) -> Path | None:
    """Find a file that belongs to an image: the first of `names` that exists."""
    entry = next((file.siblings[name] for name in names if name in file.siblings), None)
    if entry is None:
        file_problems.append(
            InputProblem(
                file.entry.path,
                f"{what} {names[0]} is missing in its folder",
                "fetch it or run fMRIPrep again",
                file.participant,
            )
        )
        return None
    file_problems.append(_content_problem(entry, file.participant))
    return Path(entry.path)


def _content_problem(entry: "os.DirEntry[str]", participant: str) -> InputProblem | None:
    """Check from its metadata that a file can be read."""
    try:
        if entry.is_dir():
            return InputProblem(entry.path, "it is a folder, not a file", "replace it", participant)
        size = entry.stat().st_size
    except OSError as error:
        if entry.is_symlink():
            what = "its content was never fetched (broken link)"
            return InputProblem(
                entry.path, what, "run `datalad get` or `git annex get` on it", participant
            )
        return InputProblem(
            entry.path, f"it cannot be read ({error.strerror})", "fetch it again", participant
        )
    return (
        None
        if size
        else InputProblem(entry.path, "it is empty (0 bytes)", "fetch it again", participant)
    )


def _note_ignored_files(scans: Sequence[Scan], notes: list[str]) -> None:
    """Add notes on the number of ignored files by reason."""
    counts = sum((scan.counts for scan in scans), Counter[str]())
    reasons = {
        "junk": "{} file(s) of macOS or Windows (._*, .DS_Store, Thumbs.db) are ignored.",
        "echo": "{} image(s) of single echoes are ignored in favour of their combination.",
        "no atlas": "{} table(s) without atlas- or seg- in their name are ignored.",
        "statistic": "{} table(s) are ignored, because they are neither regional means nor Pearson "
        "correlations (stat-mean_timeseries, stat-pearsoncorrelation_relmat).",
    }
    notes += [text.format(counts[key]) for key, text in reasons.items() if counts[key]]
