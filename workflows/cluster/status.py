"""Who is done, read from outputs alone: not from a queue, and not from what a log says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure import person as measure
from circuitshift.pipeline.measure.outputs import runs_table
from circuitshift.pipeline.preproc.output_names import bold_record
from circuitshift.pipeline.preproc.person import read_record
from circuitshift.pipeline.records import AnalysisSettings, Run
from circuitshift.pipeline.study import ratings
from circuitshift.workflows.plan import ParticipantPlan

__all__ = ["State", "group_state", "states"]


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
    settings : Science
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
            yield _preprocessed(person) if preproc_only else _measured(person, settings)
        except CircuitshiftError as error:  # an output that cannot be read is to be made again
            yield State(person, "missing", str(error))


def _preprocessed(person: ParticipantPlan) -> State:
    for bold in person.bolds:
        record = person.preproc_dir / bold_record(bold)
        if not record.exists():
            return State(person, "missing", f"{record.stem} is not preprocessed")
        problem = read_record(record).get("fault")
        if problem:
            return State(person, "failed", f"{record.stem}: {problem}")
    return State(person, "done")


def _measured(person: ParticipantPlan, settings: AnalysisSettings) -> State:
    table = runs_table(person.participant, person.out_dir)
    if not table.exists():
        return State(person, "missing", f"there is no {table.name}")
    rows = list(tables.read_table(table).rows())
    failed = [f"{row['run']}: {row['reason']}" for row in rows if row["status"] == "failed"]
    if failed:
        return State(person, "failed", failed[0])
    for run in _runs(person, settings):
        if not measure.is_measured(run, settings, person.out_dir):
            return State(person, "missing", f"{run.path.name} is not measured as asked")
    measured = {row["run"] for row in rows}
    for bold in person.bolds:
        stem = bold_record(bold).stem.removesuffix("_bold")
        if stem not in measured:
            return State(person, "missing", f"{stem} is not measured")
    report = person.out_dir / f"sub-{person.participant}.html"
    return State(person, "done") if report.exists() else State(person, "missing", "no report")


def _runs(person: ParticipantPlan, settings: AnalysisSettings) -> Sequence[Run]:
    """Preprocessed runs: the person's own, or those made of raw ones."""
    if person.raw is None or not person.preproc_dir.is_dir():
        return person.runs
    query = bids.Query((person.participant,), spaces=(settings.template,), input_types=("bold",))
    return bids.find_runs(person.preproc_dir, query, dataset=person.data_set).runs


def group_state(out_dir: Path, participants: Sequence[ParticipantPlan]) -> tuple[bool, str]:
    """Read whether the group level is done.

    Parameters
    ----------
    out_dir : Path
        Root of the output data set.
    participants : sequence of PersonPlan
        Whoever may be newer than the verdict.

    Returns
    -------
    is_done : bool
    sentence : str
    """
    verdict = out_dir / "group" / "verdict.json"
    if not verdict.exists():
        return False, "no verdict yet"
    made = verdict.stat().st_mtime_ns
    tables_of = [runs_table(person.participant, person.out_dir) for person in participants]
    newer = sum(path.exists() and path.stat().st_mtime_ns > made for path in tables_of)
    if newer:
        return False, f"the verdict is older than the outputs of {newer} of these people"
    folder = out_dir / ratings.FOLDER
    rated = (folder, *folder.iterdir()) if folder.is_dir() else ()
    if any(path.stat().st_mtime_ns > made for path in rated):
        return False, f"the verdict is older than what is in {folder.name}/"
    return True, f"verdict: {tables.read_json(verdict)['verdict']}"
