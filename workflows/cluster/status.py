"""Who is done, read from outputs alone: not from a queue, and not from what a log says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import Digests
from circuitshift.pipeline.measure import person as measure
from circuitshift.pipeline.measure.outputs import runs_table
from circuitshift.pipeline.measure.person import preprocessed_runs
from circuitshift.pipeline.preproc.output_names import bold_record
from circuitshift.pipeline.preproc.person import is_preprocessed, read_record
from circuitshift.pipeline.records import AnalysisSettings, Run
from circuitshift.pipeline.reports.person.inputs import is_reported
from circuitshift.pipeline.study.members import DataSet
from circuitshift.pipeline.study.ratings import FOLDER, read_ratings
from circuitshift.pipeline.study.validity import ratings_hash, results_hash
from circuitshift.workflows.plan import ParticipantPlan

__all__ = ["State", "group_state", "is_unchanged", "states"]


@dataclass(frozen=True, slots=True)
class State:
    """How far one person is.

    Parameters
    ----------
    person : PersonPlan
    word : {"done", "failed", "missing"}
        All outputs are there and valid; a run could not be measured; something is not there, or
        was made from other inputs, settings or code.
    reason : str
        One sentence; empty when done.
    """

    person: ParticipantPlan
    word: Literal["done", "failed", "missing"]
    reason: str = ""

    @property
    def label(self) -> str:
        """``sub-X``, after the name of its data set if that has one."""
        name = f"sub-{self.person.participant}"
        return f"{self.person.data_set}:{name}" if self.person.data_set else name


def states(
    participants: Sequence[ParticipantPlan],
    settings: AnalysisSettings,
    *,
    preproc_only: bool = False,
) -> Iterator[State]:
    """Read how far everybody is.

    Parameters
    ----------
    participants : sequence of PersonPlan
    settings : AnalysisSettings
        Outputs made with other settings do not count.
    preproc_only : bool
        Whether preprocessed images are all that is wanted.

    Yields
    ------
    State
        In the order of `participants`.
    """
    for person in participants:
        try:
            yield _preprocessed(person, settings) if preproc_only else _measured(person, settings)
        except CircuitshiftError as error:  # an output that cannot be read is to be made again
            yield State(person, "missing", str(error))


def is_unchanged(
    person: ParticipantPlan, settings: AnalysisSettings, *, preproc_only: bool = False
) -> bool:
    """Return whether all outputs of a participant would be left as they are.

    Inputs are not read; their recorded digests must be current.

    Parameters
    ----------
    person : ParticipantPlan
    settings : AnalysisSettings
    preproc_only : bool
        Whether preprocessed images are all that is wanted.

    Returns
    -------
    bool
        False also if this is unknown.
    """
    try:
        if not _is_preprocessed(person, settings, read=False):
            return False
        return preproc_only or _is_measured_and_reported(person, settings)
    except Exception:  # the workflow of this participant will report it
        return False


def _is_preprocessed(
    person: ParticipantPlan, settings: AnalysisSettings, *, read: bool = True
) -> bool:
    """Return whether all preprocessing steps are valid; True without raw images."""
    if person.raw is None:
        return True
    digests = Digests(_name(person), person.preproc_dir, read=read)
    is_valid = is_preprocessed(person.raw, settings, person.preproc_dir, digests)
    digests.save()
    return is_valid


def _is_measured_and_reported(person: ParticipantPlan, settings: AnalysisSettings) -> bool:
    runs, problems = list(person.runs), list(person.problems)
    if person.raw is not None:
        runs, failures = preprocessed_runs(
            [person.preproc_dir / bold_record(bold) for bold in person.bolds],
            participant=person.participant,
            settings=settings,
            preproc_dir=person.preproc_dir,
            data_set=person.data_set,
        )
        problems += failures
    digests = Digests(_name(person), person.out_dir, read=False)
    return measure.is_measured(
        runs,
        problems,
        participant=person.participant,
        settings=settings,
        out_dir=person.out_dir,
        digests=digests,
    ) and is_reported(person.participant, settings, person.out_dir, digests)


def _name(person: ParticipantPlan) -> str:
    return f"sub-{person.participant}"


def _preprocessed(person: ParticipantPlan, settings: AnalysisSettings) -> State:
    for bold in person.bolds:
        record = person.preproc_dir / bold_record(bold)
        if not record.exists():
            return State(person, "missing", f"{record.stem} is not preprocessed")
        problem = read_record(record).get("fault")
        if problem:
            return State(person, "failed", f"{record.stem}: {problem}")
    return State(person, "done") if _is_preprocessed(person, settings) else _stale(person)


def _stale(person: ParticipantPlan) -> State:
    return State(person, "missing", "inputs, settings or code of its preprocessing have changed")


def _measured(person: ParticipantPlan, settings: AnalysisSettings) -> State:
    table = runs_table(person.participant, person.out_dir)
    if not table.exists():
        return State(person, "missing", f"there is no {table.name}")
    rows = list(tables.read_table(table).rows())
    failed = [f"{row['run']}: {row['reason']}" for row in rows if row["status"] == "failed"]
    if failed:
        return State(person, "failed", failed[0])
    if not _is_preprocessed(person, settings):
        return _stale(person)
    digests = Digests(_name(person), person.out_dir)
    try:
        return _measured_rows(person, settings, rows, digests)
    finally:
        digests.save()


def _measured_rows(
    person: ParticipantPlan,
    settings: AnalysisSettings,
    rows: Sequence[Mapping[str, str]],
    digests: Digests,
) -> State:
    """Compare what was measured with what is asked for."""
    for run in _runs(person, settings):
        if not measure.is_run_measured(run, settings, person.out_dir, digests):
            return State(person, "missing", f"{run.path.name} is not measured as asked")
    measured = {row["run"] for row in rows}
    for bold in person.bolds:
        stem = bold_record(bold).stem.removesuffix("_bold")
        if stem not in measured:
            return State(person, "missing", f"{stem} is not measured")
    if not is_reported(person.participant, settings, person.out_dir, digests):
        page = person.out_dir / f"{_name(person)}.html"
        why = "its report is of other results" if page.exists() else "no report"
        return State(person, "missing", why)
    return State(person, "done")


def _runs(person: ParticipantPlan, settings: AnalysisSettings) -> Sequence[Run]:
    """Preprocessed runs: the person's own, or those made of raw ones."""
    if person.raw is None or not person.preproc_dir.is_dir():
        return person.runs
    query = bids.Query((person.participant,), spaces=(settings.template,), input_types=("bold",))
    return bids.find_runs(person.preproc_dir, query, dataset=person.data_set).runs


def group_state(
    out_dir: Path, data_sets: Sequence[DataSet], ratings: Path | None = None
) -> tuple[bool, str]:
    """Read whether the group level is done, for what the participant level has left.

    Parameters
    ----------
    out_dir : Path
        Root of the output data set.
    data_sets : sequence of DataSet
        The main one first.
    ratings : Path, optional
        Folder of rating files, when it is not ``ratings`` of `out_dir`.

    Returns
    -------
    is_done : bool
    sentence : str
    """
    path = out_dir / "group" / "verdict.json"
    if not path.exists():
        return False, "no verdict yet"
    verdict = tables.read_json(path)
    made_from = verdict.get("made_from") or {}
    digests = Digests("group", out_dir)
    results = results_hash(data_sets, digests)
    digests.save()
    if made_from.get("results") != results:
        return False, "the verdict was made from other results of the participant level"
    if made_from.get("ratings") != ratings_hash(read_ratings(ratings or out_dir / FOLDER)):
        return False, f"the verdict was made from other ratings than those in {FOLDER}/"
    return True, f"verdict: {verdict['verdict']}"
