"""What would be done: people, sessions, pairs, missing things and outputs. Runs nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.bids.participants import People, read_people
from circuitshift.pipeline.bids.raw import RawBold, RawFound, RawPerson, find_raw, is_raw
from circuitshift.pipeline.errors import CircuitshiftError, Fault, InputError
from circuitshift.pipeline.measure.atlas_files import atlas_for
from circuitshift.pipeline.measure.outputs import outputs_of
from circuitshift.pipeline.preproc.output_names import bold_path
from circuitshift.pipeline.records import Run, Science
from circuitshift.pipeline.study.group_level import DataSet

__all__ = ["InputFolder", "PersonPlan", "StudyPlan", "describe", "make_plan"]


@dataclass(frozen=True, slots=True)
class InputFolder:
    """One data set as the user named it.

    Parameters
    ----------
    people : Path
        Folder with participants.tsv.
    files : Path
        Folder with the preprocessed files; the same, or one of its derivatives.
    name : str
        Empty for the main data set.
    """

    people: Path
    files: Path
    name: str = ""


@dataclass(frozen=True, slots=True)
class PersonPlan:
    """Work for one person.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    data_set : str
        Name of the data set; empty for the main one.
    runs : tuple of Run
    faults : tuple of Fault
        Files of this person that cannot be used.
    out_dir : Path
        Root of the output data set that this person goes to.
    raw : RawPerson, optional
        Raw images to be preprocessed first; there are no `runs` then.
    """

    participant: str
    data_set: str
    runs: tuple[Run, ...]
    faults: tuple[Fault, ...]
    out_dir: Path
    raw: RawPerson | None = None

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
    people : tuple of PersonPlan
    data_sets : tuple of DataSet
        Where the group level finds each data set.
    without_data : tuple of str
        People of participants.tsv who have no usable file.
    notes : tuple of str
    faults : tuple of Fault
        Faults of the data set, and of the tables of people.
    """

    people: tuple[PersonPlan, ...]
    data_sets: tuple[DataSet, ...]
    without_data: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = field(default=())


def make_plan(
    folders: Sequence[InputFolder], query: bids.Query, *, science: Science, out_dir: Path
) -> StudyPlan:
    """Index every data set.

    Parameters
    ----------
    folders : sequence of InputFolder
        The main one first.
    query : Query
        Applied to the main data set; to the others only as far as files are concerned, since
        participant and session labels are those of the main one.
    science : Science
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
    people: list[PersonPlan] = []
    data_sets: list[DataSet] = []
    without: list[str] = []
    notes: list[str] = []
    faults: list[Fault] = []
    for folder in folders:
        target = out_dir / "datasets" / folder.name if folder.name else out_dir
        asked = bids.Query(
            query.participants if not folder.name else (),
            query.sessions if not folder.name else (),
            query.tasks,
            query.spaces,
            query.atlases,
            query.doors,
            query.filters,
        )
        known = read_people(folder.people)
        found, chosen, plans = _find(folder, asked, science, target)
        if not any(plan.runs or plan.raw for plan in plans):
            raise InputError(_nothing(folder, found, plans))
        without += _without(known, plans, asked, folder)
        label = f"{folder.name}: " if folder.name else ""
        notes += [label + note for note in (*found.notes, *known.notes, *chosen)]
        faults += [*(fault for fault in found.faults if not fault.person), *known.faults]
        people += plans
        data_sets.append(DataSet(target, folder.people, folder.name))
    return StudyPlan(tuple(people), tuple(data_sets), tuple(without), tuple(notes), tuple(faults))


def _find(
    folder: InputFolder, asked: bids.Query, science: Science, target: Path
) -> tuple[bids.Found, list[str], list[PersonPlan]]:
    """Find preprocessed runs; in a folder that has none, raw ones."""
    if "raw" not in asked.doors:
        found = bids.find_runs(folder.files, asked, dataset=folder.name)
        if found.runs or asked.doors or not is_raw(folder.files):
            runs, chosen = _of_one_atlas(found.runs, science)
            return found, chosen, list(_people(runs, found.faults, folder.name, target))
    raw = find_raw(folder.files, asked)
    note = (
        f"{folder.files} holds no preprocessed run, so its raw images are preprocessed; output of "
        "fMRIPrep is to be preferred where there is one (docs/preprocessing.md)."
    )
    faults = {person: [f for f in raw.faults if f.person == person] for person in _named(raw)}
    there = {person.participant: person for person in raw.people}
    plans = [
        PersonPlan(label, folder.name, (), tuple(faults[label]), target, there.get(label))
        for label in sorted(faults)
    ]
    own = tuple(fault for fault in raw.faults if not fault.person)
    return bids.Found((), own, (note, *raw.notes)), [], plans


def _named(raw: RawFound) -> set[str]:
    return {p.participant for p in raw.people} | {f.person for f in raw.faults if f.person}


def _nothing(folder: InputFolder, found: bids.Found, plans: Sequence[PersonPlan]) -> str:
    faults = dict.fromkeys((*found.faults, *(fault for plan in plans for fault in plan.faults)))
    lines = [f"{folder.files} has no usable run"]
    lines += [f"  - {fault}" for fault in list(faults)[:20]]
    if len(faults) > 20:
        lines.append(f"  - and {len(faults) - 20} faults more")
    lines += [f"  - {note}" for note in found.notes]
    lines.append(
        "give the folder with fMRIPrep's output, or with *_timeseries.tsv or *_relmat.tsv, as "
        "BIDS_DIR or by --derivatives; check --participant-label, --session-label and --task-id"
    )
    return "\n".join(lines)


def _of_one_atlas(runs: Sequence[Run], science: Science) -> tuple[list[Run], list[str]]:
    """Choose among the atlases of series and matrices: XCP-D writes a dozen of each run."""
    there = sorted({run.atlas for run in runs if run.door != "bold"})
    if len(there) < 2:
        return list(runs), []
    asked = [_label(source) for source in science.atlases]
    matching = [name for name in there if name.lower() in asked]
    chosen = matching[0] if matching else there[0]
    others = ", ".join(name for name in there if name != chosen)
    note = f"Series or matrices of atlas {chosen} are taken; --atlas can choose among {others}."
    return [run for run in runs if run.door == "bold" or run.atlas == chosen], [note]


def _label(source: str) -> str:
    """Reduce the name or file of an atlas to what its ``atlas-`` entity may be."""
    name = Path(source).name.removeprefix("atlas-").split("_dseg")[0].split(".")[0]
    return "".join(c for c in name.lower() if c.isalnum())


def _people(
    runs: Sequence[Run], faults: Sequence[Fault], name: str, target: Path
) -> Iterable[PersonPlan]:
    """Group runs and faults by person."""
    labels = {run.participant for run in runs} | {f.person for f in faults if f.person}
    for label in sorted(labels):
        own = tuple(run for run in runs if run.participant == label)
        wrong = tuple(fault for fault in faults if fault.person == label)
        yield PersonPlan(label, name, own, wrong, target)


def _without(
    known: People, plans: Sequence[PersonPlan], query: bids.Query, folder: InputFolder
) -> list[str]:
    """Name people of participants.tsv who have no file at all."""
    there = {plan.participant for plan in plans}
    asked = {label.removeprefix("sub-") for label in query.participants}
    prefix = f"{folder.name}:" if folder.name else ""
    return [
        f"{prefix}sub-{label}"
        for label in known.labels
        if label not in there and (not asked or label in asked)
    ]


def describe(plan: StudyPlan, science: Science, *, level: str) -> str:
    """Write what would be done, for ``--dry-run``.

    Parameters
    ----------
    plan : StudyPlan
    science : Science
    level : {"participant", "group"}

    Returns
    -------
    str
    """
    pairs = sum(len(person.sessions) > 1 for person in plan.people)
    runs = sum(len(person.runs) + len(person.bolds) for person in plan.people)
    lines = [
        f"{len(plan.people)} people, {runs} runs, {pairs} people with two or more sessions",
        f"strategies: {', '.join(science.strategies)}; atlases: {', '.join(science.atlases)}",
        "",
    ]
    for person in plan.people:
        lines += _describe_person(person)
    if plan.without_data:
        lines += ["", f"no usable file: {', '.join(plan.without_data)}"]
    lines += ["", *(f"note: {note}" for note in plan.notes)]
    lines += [f"fault: {fault}" for fault in plan.faults]
    lines += [
        "",
        "would write, for each person: sub-X.html, sub-X/sub-X_runs.tsv, and for each run",
    ]
    first = next((run for person in plan.people for run in person.runs), None)
    if first is not None:
        lines += [f"  {path}" for path in _example_outputs(first, science)]
    else:
        bold = next(bold for person in plan.people for bold in person.bolds)
        lines += [f"  preproc/{bold_path(bold, science.template)}", "  and what is made of it"]
    if level == "group":
        lines += [
            "and group/verdict.json, tests, circuits, change, edges, exclusions (.tsv), report.html"
        ]
    return "\n".join(lines)


def _describe_person(person: PersonPlan) -> list[str]:
    label = f"{person.data_set}:" if person.data_set else ""
    counts = ", ".join(
        f"{'ses-' + session if session else 'no session'}: "
        f"{_n_runs(person, session)} run(s) "
        f"[{'/'.join(_doors(person, session))}]"
        for session in person.sessions
    )
    lines = [f"{label}sub-{person.participant}  {counts or 'no usable run'}"]
    return lines + [f"    missing: {fault}" for fault in person.faults]


def _n_runs(person: PersonPlan, session: str) -> int:
    sessions = [r.session for r in person.runs] + [b.session for b in person.bolds]
    return sessions.count(session)


def _doors(person: PersonPlan, session: str) -> list[str]:
    if person.raw is not None:
        return ["raw"]
    return sorted({run.door for run in person.runs if run.session == session})


def _example_outputs(run: Run, science: Science) -> list[Path]:
    try:
        atlas = run.atlas if run.door != "bold" else atlas_for(science.atlases[0], run.space).name
    except CircuitshiftError as error:
        return [Path(f"(the atlas cannot be loaded: {error})")]
    return sorted(outputs_of(run, atlas, estimator=science.estimator).values())
