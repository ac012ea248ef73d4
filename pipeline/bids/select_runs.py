"""Find the runs of a data set, and select one version of each run.

`circuitshift.pipeline.bids.scan` lists the files. The selections that follow are the same for all
participants, and each of them is reported in a note. Headers and sidecars are not read here, but
later for one run at a time by `check_run`.
"""

import errno
import os
import shlex
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

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
from circuitshift.pipeline.bids.names import Name, build_path, parse_name
from circuitshift.pipeline.bids.run_metadata import check_run
from circuitshift.pipeline.bids.runs.choices import RunChoice
from circuitshift.pipeline.bids.runs.companions import (
    CONFOUNDS,
    MASK,
    Companion,
    find_companion,
)
from circuitshift.pipeline.bids.runs.tasks import choose_tasks, lost_visits, states_task
from circuitshift.pipeline.bids.runs.versions import (
    choose_version,
    choose_versions,
    most_frequent,
    rank_of,
)
from circuitshift.pipeline.bids.scan import NO_RUN, File, Scan, scan_all
from circuitshift.pipeline.errors import InputError, InputProblem
from circuitshift.pipeline.records import Run

__all__ = [
    "ANY",
    "NONE",
    "FoundRuns",
    "Name",
    "Query",
    "RunChoice",
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
    choices : tuple of RunChoice
        The selections among tasks, input types and versions, for records; `notes` contains their
        sentences.
    atlases : tuple of str
        Sorted atlases of the time series and matrices of all participants, whichever are
        requested.
    """

    runs: tuple[Run, ...]
    problems: tuple[InputProblem, ...] = ()
    notes: tuple[str, ...] = ()
    choices: tuple[RunChoice, ...] = ()
    atlases: tuple[str, ...] = ()


@dataclass(slots=True)
class _Findings:
    """Problems, notes and choices that are collected while runs are selected."""

    problems: list[InputProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    choices: list[RunChoice] = field(default_factory=list)


def find_runs(
    root: Path,
    query: Query = Query(),
    *,
    dataset: str = "",
    only: Collection[str] | None = None,
) -> FoundRuns:
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
    only : collection of str, optional
        Paths relative to `root` of the files that may be runs; by default, all.

    Returns
    -------
    FoundRuns
        Runs whose files exist and are not empty. They are of one task, or of several labels of
        rest. If a run is available in several spaces, resolutions, other versions or input types,
        one of them is selected, and a note states which one and why. All selections are made among
        the files of all participants, whichever are requested, so that jobs for single
        participants agree.

    Raises
    ------
    InputError
        If `root` is not a folder, the query contains an unknown input type, or the task of the
        runs must be stated.
    """
    input_types = _requested_input_types(query)
    findings = _Findings()
    scans = scan_all(Path(root), findings.notes)
    files = [file for scan in scans for file in scan.files]
    findings.problems += [problem for scan in scans for problem in scan.problems]
    files = [file for file in files if file.input_type in input_types]
    if only is not None:
        files = [f for f in files if Path(f.entry.path).relative_to(root).as_posix() in only]
    findings.problems += _participants_without_runs(Path(root), scans, files, query)
    findings.problems += _unmatched_labels(files, query)
    files = [file for file in files if _matches(file, query)]
    files = _choose(files, query, str(root), findings)
    atlases = {file.atlas for file in files if not file.is_image}
    requested = {plain_label(label, "sub") for label in query.participants}
    files = [file for file in files if not requested or file.participant in requested]
    runs = [
        run for file in files if (run := _make_run(file, dataset, findings.problems)) is not None
    ]
    _note_ignored_files(scans, findings.notes)
    runs.sort(key=lambda r: (r.participant, r.session, r.task, r.run, r.atlas, str(r.path)))
    problems = [
        problem
        for problem in findings.problems
        if not requested or not problem.participant or problem.participant in requested
    ]
    return FoundRuns(
        tuple(runs),
        tuple(sorted(set(problems))),
        tuple(dict.fromkeys(findings.notes)),
        tuple(replace(choice, dataset=dataset) for choice in findings.choices),
        tuple(sorted(atlases)),
    )


def _choose(files: list[File], query: Query, where: str, findings: _Findings) -> list[File]:
    """Select one task, input type and version of each run, for all participants."""
    is_stated = bool(query.tasks) or states_task(query.filters)
    selected, choice = choose_tasks(files, where=where, is_stated=is_stated)
    if choice is not None:
        findings.choices.append(choice)
        findings.problems += lost_visits(files, selected, choice)
    selected = _select_input_type(selected, findings)
    selected = _select_versions(selected, query, findings)
    findings.notes += [c.sentence for c in findings.choices if c.question != "input type"]
    selected = _select_derivative(selected, findings)
    return _without_concatenated(selected, findings.notes)


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
    with_problems = {p.participant for scan in scans for p in scan.problems} - {""}
    available = (with_runs | with_problems | set(participants)) - {""}
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
        if any(
            any(root.glob(f"{level}ROI_Subject*_Condition*.mat")) for level in ("", "*/", "*/*/")
        ):
            hint = (
                "it contains files of CONN, which a table [input] of the study file must describe "
                "(docs/tutorial-conn.md); give the study file with --study"
            )
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
    """Return whether a file matches the query, except for participants and spaces.

    Participants are selected last, so that choices do not depend on the requested participants;
    for spaces, see `_select_space`.
    """
    requested: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        ("ses", file.name.get("ses"), query.sessions),
        ("task", file.name.get("task"), query.tasks),
    )
    for key, value, labels in requested:
        if labels and value not in {plain_label(label, key) for label in labels}:
            return False
    if not file.is_image and query.atlases and file.atlas not in query.atlases:
        return False
    return passes_all(file.name, query.filters)


def _select_versions(files: list[File], query: Query, findings: _Findings) -> list[File]:
    """Select one version of each run, by the same rules for all participants."""
    out: list[File] = []
    for kind in INPUT_TYPES.values():
        versions = [file for file in files if file.input_type is kind]
        if not versions:
            continue
        versions = _select_space(versions, query, findings)
        versions = choose_version(
            versions,
            lambda f: f.res,
            rank=rank_of("res"),
            key="res",
            choices=findings.choices,
            # tables of several atlases may have been computed from several resolutions
            states_mixture=kind.content == "image",
        )
        out += choose_versions(versions, findings.choices)
    return out


def _space_rank(query: Query) -> Callable[[str], tuple[int, str]]:
    """Return a function that ranks spaces by preference."""
    requested = [space.split(":")[0] for space in query.spaces]
    order = [*requested, *(space for space in _SPACES if space not in requested)]

    def rank(space: str) -> tuple[int, str]:
        plain = space.split(":", maxsplit=1)[0]
        return (order.index(plain) if plain in order else len(order), space)

    return rank


def _select_space(files: list[File], query: Query, findings: _Findings) -> list[File]:
    """Select the space that most runs have; runs without it are problems."""
    kind = files[0].input_type
    if query.spaces:
        selected = [file for file in files if _is_in_space(file, query.spaces)]
        # If no run has it, `_unmatched_labels` reports this once.
        findings.problems += (
            _missing_in_space(files, selected, " or ".join(query.spaces)) if selected else []
        )
        files = selected
    elif kind.content == "image":
        # Images in native space cannot be compared between participants.
        standard = [file for file in files if file.space not in _OWN_SPACES]
        if standard and len(standard) < len(files):
            findings.problems += _missing_in_space(files, standard, "a standard space")
            findings.notes.append(
                f"{len(files) - len(standard)} images in native space (no space- or space-T1w) are "
                "ignored, because others are in a standard space."
            )
            files = standard
    rank = _space_rank(query)
    selected = choose_version(
        files,
        lambda f: f.space,
        rank=rank,
        key="space",
        choices=findings.choices,
        # images in another space are problems, below
        by_participant=kind.content != "image",
        states_mixture=False,
    )
    best = {file.space for file in selected}
    if kind.content == "image" and len(best) > 1:
        chosen = most_frequent(files, lambda f: f.space, rank)
        in_chosen_space = [file for file in selected if file.space == chosen]
        findings.problems += _missing_in_space(selected, in_chosen_space, chosen)
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


def _select_input_type(files: list[File], findings: _Findings) -> list[File]:
    """Select one input type of each run: image before time series before matrix."""
    acquired: dict[InputType, set[tuple[object, ...]]] = defaultdict(set)
    for file in files:
        acquired[file.input_type].add(file.acquired if file.is_image else file.identity[1:])
    selected: list[File] = []
    n_ignored: Counter[tuple[str, str, str]] = Counter()
    for file in files:
        preferred = _preferred_type(file, acquired)
        if preferred is None:
            selected.append(file)
        else:
            n_ignored[file.input_type.name, preferred.name, preferred.label] += 1
    for (ignored, used, label), n in sorted(n_ignored.items()):
        findings.notes.append(
            f"{n} {ignored} file(s) are ignored in favour of the {label} of the same run."
        )
        rule = "because the other files were computed from it"
        findings.choices.append(RunChoice("input type", used, ((ignored, n),), rule))
    input_types = [
        name
        for name, kind in INPUT_TYPES.items()
        if any(file.input_type is kind for file in selected)
    ]
    if len(input_types) > 1:
        findings.notes.append(
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


def _select_derivative(files: list[File], findings: _Findings) -> list[File]:
    """Refuse runs with several files, after selecting fMRIPrep before other derivatives."""
    groups: dict[tuple[object, ...], list[File]] = defaultdict(list)
    for file in files:
        groups[file.identity].append(file)
    selected: list[File] = []
    for group in groups.values():
        first = [file for file in group if file.tier == min(f.tier for f in group)]
        if len(first) < len(group):
            findings.notes.append(f"For runs in several derivatives, {first[0].base} is used.")
        if len(first) == 1:
            selected += first
        else:
            findings.problems.append(_duplicate_problem(sorted(first, key=lambda f: f.entry.path)))
    return selected


def _duplicate_problem(files: Sequence[File]) -> InputProblem:
    """Report several files of one run, once for all runs that two folders share."""
    bases = list(dict.fromkeys(str(file.base) for file in files))
    if len(bases) > 1:
        options = " or ".join(f"--derivatives {shlex.quote(base)}" for base in bases)
        return InputProblem(
            " and ".join(bases),
            "they contain the same runs",
            f"select one by --derivatives: {options}",
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
        mask = _companion_file(file, MASK, file_problems)
        confounds = _companion_file(file, CONFOUNDS, file_problems)
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


def _companion_file(
    file: File, kind: Companion, file_problems: list[InputProblem | None]
) -> Path | None:
    """Find a file that belongs to an image; None, and a problem, if it is not exactly one."""
    found, expected = find_companion(file.name, kind, file.siblings)
    if len(found) == 1:
        file_problems.append(_content_problem(found[0], file.participant))
        return Path(found[0].path)
    if found:
        what = f"{kind.label} may be any of {', '.join(entry.name for entry in found)}"
        fix = "remove or rename all but one"
    else:
        what, fix = (
            f"{kind.label} {expected} is missing in its folder",
            "fetch it or run fMRIPrep again",
        )
    file_problems.append(InputProblem(file.entry.path, what, fix, file.participant))
    return None


def _content_problem(entry: "os.DirEntry[str]", participant: str) -> InputProblem | None:
    """Check from its metadata that a file can be read; it is not opened."""
    problem: tuple[str, str] | None = None
    try:
        about = entry.stat()
        if stat.S_ISDIR(about.st_mode):
            problem = "it is a folder, not a file", "replace it"
        elif not stat.S_ISREG(about.st_mode):  # to open a pipe could last for ever
            problem = "it is a pipe, socket or device, not a file", "replace it"
        elif not about.st_size:
            problem = "it is empty (0 bytes)", "fetch it again"
    except OSError as error:
        if error.errno == errno.ELOOP:
            problem = "it is a link that leads to itself", "replace it by the file"
        elif entry.is_symlink():
            what = "its content was never fetched (broken link)"
            problem = what, "run `datalad get` or `git annex get` on it"
        else:
            problem = f"it cannot be read ({error.strerror})", "fetch it again"
    return InputProblem(entry.path, *problem, participant) if problem is not None else None


def _note_ignored_files(scans: Sequence[Scan], notes: list[str]) -> None:
    """Add notes on the number of ignored files by reason."""
    counts = sum((scan.counts for scan in scans), Counter[str]())
    reasons = {
        "junk": "{} file(s) of macOS or Windows (._*, .DS_Store, Thumbs.db) are ignored.",
        "echo": "{} image(s) of single echoes are ignored in favour of their combination.",
        "part": "{} image(s) of phase, real or imaginary parts are ignored; they are not runs.",
        "no atlas": "{} table(s) without atlas- or seg- in their name are ignored.",
        "statistic": "{} table(s) are ignored, because they are neither regional means nor Pearson "
        "correlations (stat-mean_timeseries, stat-pearsoncorrelation_relmat).",
    }
    notes += [text.format(counts[key]) for key, text in reasons.items() if counts[key]]
