"""What would be done: people, sessions, pairs, missing things and outputs. Runs nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.bids.input_types import is_image
from circuitshift.pipeline.bids.participants import ParticipantTable, read_participants
from circuitshift.pipeline.bids.raw import RawFound, find_raw, is_raw
from circuitshift.pipeline.bids.raw_records import RawBold, RawParticipant
from circuitshift.pipeline.errors import CircuitshiftError, InputError, InputProblem
from circuitshift.pipeline.measure.atlas_files import atlas_for
from circuitshift.pipeline.measure.outputs import outputs_of
from circuitshift.pipeline.preproc.output_names import bold_path
from circuitshift.pipeline.records import AnalysisSettings, Run
from circuitshift.pipeline.study.group_level import DataSet

__all__ = ["InputFolder", "ParticipantPlan", "StudyPlan", "describe", "make_plan"]


@dataclass(frozen=True, slots=True)
class InputFolder:
    """One data set as the user named it.

    Parameters
    ----------
    participants : Path
        Folder with participants.tsv.
    files : Path
        Folder with the preprocessed files; the same, or one of its derivatives.
    name : str
        Empty for the main data set.
    """

    participants: Path
    files: Path
    name: str = ""


@dataclass(frozen=True, slots=True)
class ParticipantPlan:
    """Work for one person.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    data_set : str
        Name of the data set; empty for the main one.
    runs : tuple of Run
    problems : tuple of Fault
        Files of this person that cannot be used.
    out_dir : Path
        Root of the output data set that this person goes to.
    raw : RawPerson, optional
        Raw images to be preprocessed first; there are no `runs` then.
    """

    participant: str
    data_set: str
    runs: tuple[Run, ...]
    problems: tuple[InputProblem, ...]
    out_dir: Path
    raw: RawParticipant | None = None

    @property
    def preproc_dir(self) -> Path:
        """Where preprocessed images of raw ones go."""
        return self.out_dir / "preproc"

    @property
    def bolds(self) -> tuple[RawBold, ...]:
        """Raw runs, if any."""
        return self.raw.bolds if self.raw is not None else ()

    @property
    def node_name(self) -> str:
        """Name of the workflow of this person: letters, digits and underscores."""
        prefix = "".join(c if c.isalnum() else "_" for c in self.data_set)
        return f"{prefix}_sub_{self.participant}_wf" if prefix else f"sub_{self.participant}_wf"

    @property
    def sessions(self) -> tuple[str, ...]:
        """Session labels with data, sorted; an empty label when the tree has no sessions."""
        return tuple(sorted({r.session for r in self.runs} | {b.session for b in self.bolds}))


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """Work for a whole study.

    Parameters
    ----------
    participants : tuple of PersonPlan
    data_sets : tuple of DataSet
        Where the group level finds each data set.
    without_data : tuple of str
        People of participants.tsv who have no usable file.
    notes : tuple of str
    problems : tuple of Fault
        Faults of the data set, and of the tables of people.
    """

    participants: tuple[ParticipantPlan, ...]
    data_sets: tuple[DataSet, ...]
    without_data: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[InputProblem, ...] = field(default=())


def make_plan(
    folders: Sequence[InputFolder], query: bids.Query, *, settings: AnalysisSettings, out_dir: Path
) -> StudyPlan:
    """Index every data set.

    Parameters
    ----------
    folders : sequence of InputFolder
        The main one first.
    query : Query
        Applied to the main data set; to the others only as far as files are concerned, since
        participant and session labels are those of the main one.
    settings : AnalysisSettings
        Its atlases choose among series or matrices of several.
    out_dir : Path
        Outputs of further data sets go to ``datasets/NAME`` in it.

    Returns
    -------
    StudyPlan

    Raises
    ------
    InputError
        If the main data set has no usable run.
    """
    participants: list[ParticipantPlan] = []
    data_sets: list[DataSet] = []
    without: list[str] = []
    notes: list[str] = []
    problems: list[InputProblem] = []
    for folder in folders:
        target = out_dir / "datasets" / folder.name if folder.name else out_dir
        asked = bids.Query(
            query.participants if not folder.name else (),
            query.sessions if not folder.name else (),
            query.tasks,
            query.spaces,
            query.atlases,
            query.input_types,
            query.filters,
        )
        available = read_participants(folder.participants)
        found, chosen, plans = _find(folder, asked, settings, target)
        if not any(plan.runs or plan.raw for plan in plans):
            raise InputError(_nothing(folder, found, plans))
        without += _without(available, plans, asked, folder)
        label = f"{folder.name}: " if folder.name else ""
        notes += [label + note for note in (*found.notes, *available.notes, *chosen)]
        problems += [
            *(problem for problem in found.problems if not problem.participant),
            *available.problems,
        ]
        participants += plans
        data_sets.append(DataSet(target, folder.participants, folder.name))
    return StudyPlan(
        tuple(participants), tuple(data_sets), tuple(without), tuple(notes), tuple(problems)
    )


def _find(
    folder: InputFolder, asked: bids.Query, settings: AnalysisSettings, target: Path
) -> tuple[bids.FoundRuns, list[str], list[ParticipantPlan]]:
    """Find preprocessed runs; in a folder that has none, raw ones."""
    if "raw" not in asked.input_types:
        found = bids.find_runs(folder.files, asked, dataset=folder.name)
        if found.runs or asked.input_types or not is_raw(folder.files):
            runs, chosen = _of_one_atlas(found.runs, settings)
            return (
                found,
                chosen,
                list(_participants_list(runs, found.problems, folder.name, target)),
            )
    raw = find_raw(folder.files, asked)
    note = (
        f"{folder.files} holds no preprocessed run, so its raw images are preprocessed; output of "
        "fMRIPrep is to be preferred where there is one (docs/preprocessing.md)."
    )
    problems = {
        person: [f for f in raw.problems if f.participant == person] for person in _named(raw)
    }
    there = {person.participant: person for person in raw.participants}
    plans = [
        ParticipantPlan(label, folder.name, (), tuple(problems[label]), target, there.get(label))
        for label in sorted(problems)
    ]
    own = tuple(problem for problem in raw.problems if not problem.participant)
    return bids.FoundRuns((), own, (note, *raw.notes)), [], plans


def _named(raw: RawFound) -> set[str]:
    return {p.participant for p in raw.participants} | {
        f.participant for f in raw.problems if f.participant
    }


def _nothing(folder: InputFolder, found: bids.FoundRuns, plans: Sequence[ParticipantPlan]) -> str:
    problems = dict.fromkeys(
        (*found.problems, *(problem for plan in plans for problem in plan.problems))
    )
    lines = [f"{folder.files} has no usable run"]
    lines += [f"  - {problem}" for problem in list(problems)[:20]]
    if len(problems) > 20:
        lines.append(f"  - and {len(problems) - 20} faults more")
    lines += [f"  - {note}" for note in found.notes]
    lines.append(
        "give the folder with fMRIPrep's output, or with *_timeseries.tsv or *_relmat.tsv, as "
        "BIDS_DIR or by --derivatives; check --participant-label, --session-label and --task-id"
    )
    return "\n".join(lines)


def _of_one_atlas(runs: Sequence[Run], settings: AnalysisSettings) -> tuple[list[Run], list[str]]:
    """Choose among the atlases of series and matrices: XCP-D writes a dozen of each run."""
    there = sorted({run.atlas for run in runs if not is_image(run)})
    if len(there) < 2:
        return list(runs), []
    asked = [_label(source) for source in settings.atlases]
    matching = [name for name in there if name.lower() in asked]
    chosen = matching[0] if matching else there[0]
    others = ", ".join(name for name in there if name != chosen)
    note = f"Series or matrices of atlas {chosen} are taken; --atlas can choose among {others}."
    return [run for run in runs if is_image(run) or run.atlas == chosen], [note]


def _label(source: str) -> str:
    """Reduce the name or file of an atlas to what its ``atlas-`` entity may be."""
    name = Path(source).name.removeprefix("atlas-").split("_dseg")[0].split(".")[0]
    return "".join(c for c in name.lower() if c.isalnum())


def _participants_list(
    runs: Sequence[Run], problems: Sequence[InputProblem], name: str, target: Path
) -> Iterable[ParticipantPlan]:
    """Group runs and faults by person."""
    labels = {run.participant for run in runs} | {f.participant for f in problems if f.participant}
    for label in sorted(labels):
        own = tuple(run for run in runs if run.participant == label)
        wrong = tuple(problem for problem in problems if problem.participant == label)
        yield ParticipantPlan(label, name, own, wrong, target)


def _without(
    available: ParticipantTable,
    plans: Sequence[ParticipantPlan],
    query: bids.Query,
    folder: InputFolder,
) -> list[str]:
    """Name people of participants.tsv who have no file at all."""
    there = {plan.participant for plan in plans}
    asked = {label.removeprefix("sub-") for label in query.participants}
    prefix = f"{folder.name}:" if folder.name else ""
    return [
        f"{prefix}sub-{label}"
        for label in available.labels
        if label not in there and (not asked or label in asked)
    ]


def describe(plan: StudyPlan, settings: AnalysisSettings, *, level: str) -> str:
    """Write what would be done, for ``--dry-run``.

    Parameters
    ----------
    plan : StudyPlan
    settings : AnalysisSettings
    level : {"participant", "group"}

    Returns
    -------
    str
    """
    pairs = sum(len(person.sessions) > 1 for person in plan.participants)
    runs = sum(len(person.runs) + len(person.bolds) for person in plan.participants)
    lines = [
        f"{len(plan.participants)} people, {runs} runs, {pairs} people with two or more sessions",
        f"strategies: {', '.join(settings.strategies)}; atlases: {', '.join(settings.atlases)}",
        "",
    ]
    for person in plan.participants:
        lines += _describe_participant(person)
    if plan.without_data:
        lines += ["", f"no usable file: {', '.join(plan.without_data)}"]
    lines += ["", *(f"note: {note}" for note in plan.notes)]
    lines += [f"fault: {problem}" for problem in plan.problems]
    lines += [
        "",
        "would write, for each person: sub-X.html, sub-X/sub-X_runs.tsv, and for each run",
    ]
    first = next((run for person in plan.participants for run in person.runs), None)
    if first is not None:
        lines += [f"  {path}" for path in _example_outputs(first, settings)]
    else:
        bold = next(bold for person in plan.participants for bold in person.bolds)
        lines += [f"  preproc/{bold_path(bold, settings.template)}", "  and what is made of it"]
    if level == "group":
        lines += [
            "and group/verdict.json, tests, circuits, change, edges, exclusions (.tsv), report.html"
        ]
    return "\n".join(lines)


def _describe_participant(person: ParticipantPlan) -> list[str]:
    label = f"{person.data_set}:" if person.data_set else ""
    counts = ", ".join(
        f"{'ses-' + session if session else 'no session'}: "
        f"{_n_runs(person, session)} run(s) "
        f"[{'/'.join(_doors(person, session))}]"
        for session in person.sessions
    )
    lines = [f"{label}sub-{person.participant}  {counts or 'no usable run'}"]
    return lines + [f"    missing: {problem}" for problem in person.problems]


def _n_runs(person: ParticipantPlan, session: str) -> int:
    sessions = [r.session for r in person.runs] + [b.session for b in person.bolds]
    return sessions.count(session)


def _doors(person: ParticipantPlan, session: str) -> list[str]:
    if person.raw is not None:
        return ["raw"]
    return sorted({run.input_type for run in person.runs if run.session == session})


def _example_outputs(run: Run, settings: AnalysisSettings) -> list[Path]:
    try:
        atlas = run.atlas if not is_image(run) else atlas_for(settings.atlases[0], run.space).name
    except CircuitshiftError as error:
        return [Path(f"(the atlas cannot be loaded: {error})")]
    return sorted(outputs_of(run, atlas, estimator=settings.estimator).values())
