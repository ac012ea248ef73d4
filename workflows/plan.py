"""Plan of an analysis: participants, sessions, missing files and outputs, without running it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.bids.input_types import input_type_of, is_image
from circuitshift.pipeline.bids.participants import ParticipantTable, read_participants
from circuitshift.pipeline.bids.raw import RawFound, find_raw, is_raw
from circuitshift.pipeline.bids.raw_records import RawBold, RawParticipant
from circuitshift.pipeline.bids.runs.tasks import compare_tasks
from circuitshift.pipeline.errors import CircuitshiftError, InputError, InputProblem
from circuitshift.pipeline.measure.atlas_files import atlas_for, atlases_of_series
from circuitshift.pipeline.measure.outputs import outputs_of
from circuitshift.pipeline.measure.run import refuse_matrices
from circuitshift.pipeline.preproc.output_names import bold_path, structure_path
from circuitshift.pipeline.records import AnalysisSettings, Run
from circuitshift.pipeline.study.members import DataSet
from circuitshift.pipeline.study.resolution.observe import observe
from circuitshift.pipeline.study.resolution.records import Observed, Resolution
from circuitshift.pipeline.study.resolution.resolve import resolve
from circuitshift.pipeline.study.study_file import StudyFile

__all__ = [
    "InputFolder",
    "ParticipantPlan",
    "StudyPlan",
    "count_participants",
    "describe",
    "make_plan",
]


@dataclass(frozen=True, slots=True)
class InputFolder:
    """Describe an input data set.

    Parameters
    ----------
    participants : Path
        Folder that contains participants.tsv.
    files : Path
        Folder that contains the images, series or matrices: the same folder, or its derivatives.
    name : str, default: ""
        Name of the data set; empty for the main data set.
    table : Path, optional
        Table of participants that replaces participants.tsv.
    """

    participants: Path
    files: Path
    name: str = ""
    table: Path | None = None


@dataclass(frozen=True, slots=True)
class ParticipantPlan:
    """Describe the analysis of one participant.

    Parameters
    ----------
    participant : str
        Participant label without ``sub-``.
    data_set : str
        Name of the data set; empty for the main data set.
    runs : tuple of Run
        Preprocessed images, series or matrices; empty if raw images are preprocessed.
    problems : tuple of InputProblem
        Problems of this participant's files that cannot be used.
    out_dir : Path
        Root of the output data set for this participant.
    raw : RawParticipant, optional
        Raw images to preprocess.
    """

    participant: str
    data_set: str
    runs: tuple[Run, ...]
    problems: tuple[InputProblem, ...]
    out_dir: Path
    raw: RawParticipant | None = None

    @property
    def preproc_dir(self) -> Path:
        """Folder for the preprocessed images."""
        return self.out_dir / "preproc"

    @property
    def bolds(self) -> tuple[RawBold, ...]:
        """Raw runs; empty if no raw images are preprocessed."""
        return self.raw.bolds if self.raw is not None else ()

    @property
    def node_name(self) -> str:
        """Name of this participant's workflow: letters, digits and underscores."""
        prefix = "".join(c if c.isalnum() else "_" for c in self.data_set)
        return f"{prefix}_sub_{self.participant}_wf" if prefix else f"sub_{self.participant}_wf"

    @property
    def sessions(self) -> tuple[str, ...]:
        """Sorted labels of sessions with data; an empty label for a data set without sessions."""
        return tuple(sorted({r.session for r in self.runs} | {b.session for b in self.bolds}))


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """Describe the analysis of a complete study.

    Parameters
    ----------
    participants : tuple of ParticipantPlan
        Plan of each participant with at least one file.
    data_sets : tuple of DataSet
        Input and output folders of each data set, for the group level.
    without_data : tuple of str
        Participants in participants.tsv who have no usable file.
    notes : tuple of str
        Notes to print.
    problems : tuple of InputProblem
        Problems of the data sets and of their participants.tsv files.
    tables : tuple of (str, ParticipantTable)
        Table of participants of each data set, by its name.
    selection : tuple of (str, str)
        Name of the data set and a sentence, for each selection among runs that was made.
    choices : tuple of RunChoice
        Selections among tasks, input types and versions of runs in all data sets. `notes` contains
        their sentences.
    """

    participants: tuple[ParticipantPlan, ...]
    data_sets: tuple[DataSet, ...]
    without_data: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[InputProblem, ...] = field(default=())
    tables: tuple[tuple[str, ParticipantTable], ...] = ()
    selection: tuple[tuple[str, str], ...] = ()
    choices: tuple[bids.RunChoice, ...] = ()

    def resolve(self, stated: StudyFile) -> tuple[Resolution, Observed]:
        """Resolve the design of the study from the files that were found.

        Parameters
        ----------
        stated : StudyFile
            Contents of the study file.

        Returns
        -------
        resolution : Resolution
            The design with the grounds of each decision, or what cannot be resolved.
        observed : Observed
            The facts from which it was resolved.
        """
        sessions = {
            plan.participant: [label for label in plan.sessions if label]
            for plan in self.participants
            if not plan.data_set and (plan.runs or plan.raw)
        }
        observed = observe(sessions, dict(self.tables))
        return resolve(stated, observed), observed


def make_plan(
    folders: Sequence[InputFolder], query: bids.Query, *, settings: AnalysisSettings, out_dir: Path
) -> StudyPlan:
    """Index all data sets and plan their analysis.

    Parameters
    ----------
    folders : sequence of InputFolder
        Data sets; the main data set comes first.
    query : Query
        Selection of runs. Its participant and session labels apply to the main data set only; all
        other criteria apply to every data set.
    settings : AnalysisSettings
        Settings whose atlases determine which series or matrices are used if a data set contains
        several atlases.
    out_dir : Path
        Root of the output data set. Results of further data sets are written to ``datasets/NAME``
        in this folder.

    Returns
    -------
    StudyPlan
        Participants, data sets, notes and problems.

    Raises
    ------
    InputError
        If a data set has no usable run, if the task of its runs must be stated, or if the data
        sets have different tasks.
    """
    participants: list[ParticipantPlan] = []
    data_sets: list[DataSet] = []
    without_data: list[str] = []
    notes: list[str] = []
    problems: list[InputProblem] = []
    selection_notes: list[tuple[str, str]] = []
    participant_tables: list[tuple[str, ParticipantTable]] = []
    choices: list[bids.RunChoice] = []
    for folder in folders:
        target = out_dir / "datasets" / folder.name if folder.name else out_dir
        selection = bids.Query(
            query.participants if not folder.name else (),
            query.sessions if not folder.name else (),
            query.tasks,
            query.spaces,
            query.atlases,
            query.input_types,
            query.filters,
        )
        available = read_participants(folder.participants, folder.table)
        participant_tables.append((folder.name, available))
        found, atlas_notes, plans = _find_participants(folder, selection, settings, target)
        if not any(plan.runs or plan.raw for plan in plans):
            raise InputError(_no_usable_run(folder, found, plans))
        without_data += _without_data(available, plans, selection, folder)
        label = f"{folder.name}: " if folder.name else ""
        notes += [label + note for note in (*found.notes, *available.notes, *atlas_notes)]
        selection_notes += [
            (folder.name, _without_location(note, folder)) for note in (*found.notes, *atlas_notes)
        ]
        problems += [
            *(problem for problem in found.problems if not problem.participant),
            *available.problems,
        ]
        refuse_matrices((run for plan in plans for run in plan.runs), settings)
        participants += plans
        choices += found.choices
        data_sets.append(DataSet(target, folder.participants, folder.name, folder.table))
    choice = compare_tasks([(folder.name, _tasks(participants, folder.name)) for folder in folders])
    if choice is not None:
        choices.append(choice)
        notes.append(choice.sentence)
        selection_notes.append(("", choice.sentence))
    return StudyPlan(
        tuple(participants),
        tuple(data_sets),
        tuple(without_data),
        tuple(notes),
        tuple(problems),
        tuple(participant_tables),
        tuple(selection_notes),
        tuple(choices),
    )


def _tasks(plans: Sequence[ParticipantPlan], data_set: str) -> set[str]:
    """Return the tasks of the runs of a data set."""
    own = [plan for plan in plans if plan.data_set == data_set]
    return {run.task for plan in own for run in plan.runs} | {
        bold.task for plan in own for bold in plan.bolds
    }


def _find_participants(
    folder: InputFolder, selection: bids.Query, settings: AnalysisSettings, target: Path
) -> tuple[bids.FoundRuns, list[str], list[ParticipantPlan]]:
    """Find preprocessed runs, or raw runs in a folder without preprocessed runs."""
    found = bids.FoundRuns(())
    if "raw" not in selection.input_types:
        found = bids.find_runs(folder.files, selection, dataset=folder.name)
        if found.runs or selection.input_types or not is_raw(folder.files):
            runs, atlas_notes, own_problems = _select_atlas(found, settings)
            plans = list(_participant_plans(runs, own_problems, folder.name, target))
            return found, atlas_notes, plans
    raw = find_raw(folder.files, selection)
    note = (
        f"{folder.files} contains no preprocessed run, so its raw images are preprocessed; if "
        "output of fMRIPrep is available, use it instead (docs/preprocessing.md)."
    )
    problems = {
        label: tuple(problem for problem in raw.problems if problem.participant == label)
        for label in _raw_labels(raw)
    }
    available = {participant.participant: participant for participant in raw.participants}
    plans = [
        ParticipantPlan(label, folder.name, (), problems[label], target, available.get(label))
        for label in sorted(problems)
    ]
    own = tuple(problem for problem in raw.problems if not problem.participant)
    choices = tuple(replace(choice, dataset=folder.name) for choice in raw.choices)
    notes = (note, *_search_notes(found), *raw.notes)
    return bids.FoundRuns((), own, notes, choices), [], plans


def _search_notes(found: bids.FoundRuns) -> list[str]:
    """Return the note on the folders in which preprocessed files were searched."""
    return [note for note in found.notes if note.startswith("No preprocessed file was found")]


def _without_location(note: str, folder: InputFolder) -> str:
    """Replace the location of a data set in a note, so that records do not depend on it."""
    for path in sorted({str(folder.files), str(folder.participants)}, key=len, reverse=True):
        note = note.replace(path, "BIDS_DIR")
    return note


def _raw_labels(raw: RawFound) -> set[str]:
    """Return the labels of participants with raw images or with problems."""
    return {participant.participant for participant in raw.participants} | {
        problem.participant for problem in raw.problems if problem.participant
    }


def _no_usable_run(
    folder: InputFolder, found: bids.FoundRuns, plans: Sequence[ParticipantPlan]
) -> str:
    """Write the error message for a data set without any usable run."""
    problems = dict.fromkeys(
        (*found.problems, *(problem for plan in plans for problem in plan.problems))
    )
    lines = [f"{folder.files} has no usable run"]
    lines += [f"  - {problem}" for problem in list(problems)[:20]]
    if len(problems) > 20:
        lines.append(f"  - and {len(problems) - 20} more problems")
    lines += [f"  - {note}" for note in found.notes]
    lines.append(
        "pass the folder with fMRIPrep output, or with *_timeseries.tsv or *_relmat.tsv files, as "
        "BIDS_DIR or with --derivatives; check --participant-label, --session-label and --task-id"
    )
    return "\n".join(lines)


def _select_atlas(
    found: bids.FoundRuns, settings: AnalysisSettings
) -> tuple[list[Run], list[str], list[InputProblem]]:
    """Select series and matrices of one atlas, because XCP-D writes several atlases per run.

    The atlas is the same whichever participants are requested; those without it are problems.
    """
    available = found.atlases
    if len(available) < 2:
        return list(found.runs), [], list(found.problems)
    requested = [_atlas_label(source) for source in atlases_of_series(settings)]
    matching = [name for label in requested for name in available if name.lower() == label]
    selected = matching[0] if matching else available[0]
    others = ", ".join(name for name in available if name != selected)
    note = f"Series or matrices of atlas {selected} are used; --atlas can select {others} instead."
    runs = [run for run in found.runs if is_image(run) or run.atlas == selected]
    without = {run.participant for run in found.runs} - {run.participant for run in runs}
    what = f"it has no series or matrix of atlas {selected}, which is used for all participants"
    fix = "compute it, choose another atlas by --atlas, or exclude the participant"
    problems = [InputProblem(f"sub-{label}", what, fix, label) for label in sorted(without)]
    return runs, [note], [*found.problems, *problems]


def _atlas_label(source: str) -> str:
    """Convert the name or file of an atlas to the form of its ``atlas-`` entity."""
    name = Path(source).name.removeprefix("atlas-").split("_dseg")[0].split(".")[0]
    return "".join(c for c in name.lower() if c.isalnum())


def _participant_plans(
    runs: Sequence[Run], problems: Sequence[InputProblem], name: str, target: Path
) -> Iterable[ParticipantPlan]:
    """Group runs and problems by participant."""
    labels = {run.participant for run in runs} | {
        problem.participant for problem in problems if problem.participant
    }
    for label in sorted(labels):
        own = tuple(run for run in runs if run.participant == label)
        own_problems = tuple(problem for problem in problems if problem.participant == label)
        yield ParticipantPlan(label, name, own, own_problems, target)


def _without_data(
    available: ParticipantTable,
    plans: Sequence[ParticipantPlan],
    query: bids.Query,
    folder: InputFolder,
) -> list[str]:
    """Return the participants in participants.tsv who have no file at all."""
    with_data = {plan.participant for plan in plans}
    requested = {label.removeprefix("sub-") for label in query.participants}
    prefix = f"{folder.name}:" if folder.name else ""
    return [
        f"{prefix}sub-{label}"
        for label in available.labels
        if label not in with_data and (not requested or label in requested)
    ]


def describe(plan: StudyPlan, settings: AnalysisSettings, *, level: str) -> str:
    """Describe the planned analysis for ``--dry-run``.

    Parameters
    ----------
    plan : StudyPlan
        Plan of all data sets.
    settings : AnalysisSettings
        Atlases and estimator.
    level : {"participant", "group"}
        Level of the analysis; ``"group"`` adds the outputs of the group level.

    Returns
    -------
    str
        Several lines: participants with their sessions, problems, and files to be written.
    """
    pairs = sum(len(participant.sessions) > 1 for participant in plan.participants)
    runs = sum(len(participant.runs) + len(participant.bolds) for participant in plan.participants)
    lines = [
        f"{count_participants(len(plan.participants))}, {runs} {'run' if runs == 1 else 'runs'}, "
        f"{count_participants(pairs)} with two or more sessions",
        "",
    ]
    for participant in plan.participants:
        lines += _describe_participant(participant)
    if plan.without_data:
        lines += ["", f"no usable file: {', '.join(plan.without_data)}"]
    lines += ["", *(f"note: {note}" for note in plan.notes)]
    lines += [f"problem: {problem}" for problem in plan.problems]
    lines += [
        "",
        "would write sub-X.html and sub-X/sub-X_runs.tsv for each participant, and for each run",
    ]
    first = next((run for participant in plan.participants for run in participant.runs), None)
    if first is not None:
        lines += [f"  {path}" for path in _example_outputs(first, settings)]
    else:
        bold = next(bold for participant in plan.participants for bold in participant.bolds)
        lines += [
            f"  preproc/{bold_path(bold, settings.template)}",
            "  and the series and matrices computed from it",
        ]
        if settings.structure:
            lines.append(_structure_line(bold.participant, settings))
    if level == "group":
        lines += [
            "and group/verdict.json, tests, circuits, change, edges, exclusions (.tsv), report.html"
        ]
    return "\n".join(lines)


def _structure_line(participant: str, settings: AnalysisSettings) -> str:
    """Describe what is written about the structure of each session."""
    return (
        f"  preproc/{structure_path(participant)}: volumes and grey matter of each "
        f"session and region of {', '.join(settings.atlases)}, and the T1-weighted image and "
        "Jacobian of each session"
    )


def count_participants(n: int) -> str:
    """Return a number of participants as text.

    Parameters
    ----------
    n : int
        Number of participants.

    Returns
    -------
    str
        For example ``"1 participant"`` or ``"12 participants"``.
    """
    return f"{n} {'participant' if n == 1 else 'participants'}"


def _describe_participant(plan: ParticipantPlan) -> list[str]:
    prefix = f"{plan.data_set}:" if plan.data_set else ""
    counts = ", ".join(
        f"{'ses-' + session if session else 'no session'}: "
        f"{_n_runs(plan, session)} run(s) "
        f"[{'/'.join(_input_types(plan, session))}]"
        for session in plan.sessions
    )
    lines = [f"{prefix}sub-{plan.participant}  {counts or 'no usable run'}"]
    return lines + [f"    not usable: {problem}" for problem in plan.problems]


def _n_runs(plan: ParticipantPlan, session: str) -> int:
    sessions = [run.session for run in plan.runs] + [bold.session for bold in plan.bolds]
    return sessions.count(session)


def _input_types(plan: ParticipantPlan, session: str) -> list[str]:
    if plan.raw is not None:
        return ["raw"]
    return sorted({run.input_type for run in plan.runs if run.session == session})


def _example_outputs(run: Run, settings: AnalysisSettings) -> list[Path]:
    try:
        atlas = run.atlas if not is_image(run) else atlas_for(settings.atlases[0], run.space).name
    except CircuitshiftError as error:
        return [Path(f"(the atlas cannot be loaded: {error})")]
    outputs = outputs_of(run, atlas, estimator=settings.estimator)
    if is_image(run):
        return sorted(outputs.values())
    # other tables are written only if the input contains their values
    kept = ("relmat",) if input_type_of(run).content == "matrix" else ("relmat", "timeseries")
    return sorted(outputs[name] for name in kept)
