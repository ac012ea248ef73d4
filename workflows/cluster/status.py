"""State of each participant and of the group level, determined from the outputs alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from circuitshift.pipeline.errors import CircuitshiftError, InputProblem
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import Digests
from circuitshift.pipeline.measure import person as measure
from circuitshift.pipeline.measure.outputs import runs_table
from circuitshift.pipeline.measure.person import preprocessed_runs
from circuitshift.pipeline.preproc.output_names import bold_record
from circuitshift.pipeline.records import AnalysisSettings, Run
from circuitshift.pipeline.reports.person.inputs import is_reported
from circuitshift.pipeline.study.members import DataSet
from circuitshift.pipeline.study.ratings import FOLDER, read_ratings
from circuitshift.pipeline.study.validity import ratings_hash, results_hash
from circuitshift.workflows.plan import ParticipantPlan

__all__ = ["State", "group_state", "is_unchanged", "states"]


@dataclass(frozen=True, slots=True)
class State:
    """Describe the state of one participant.

    Parameters
    ----------
    plan : ParticipantPlan
        Plan of the participant.
    word : {"done", "failed", "missing"}
        ``"done"`` if all outputs exist and are valid; ``"failed"`` if a run could not be measured;
        ``"missing"`` if an output does not exist or was made from other inputs, settings or code.
    reason : str, default: ""
        One sentence; empty if the participant is done.
    """

    plan: ParticipantPlan
    word: Literal["done", "failed", "missing"]
    reason: str = ""

    @property
    def label(self) -> str:
        """``sub-X``, preceded by the name of the data set unless it is the main one."""
        name = f"sub-{self.plan.participant}"
        return f"{self.plan.data_set}:{name}" if self.plan.data_set else name


def states(
    participants: Sequence[ParticipantPlan],
    settings: AnalysisSettings,
    *,
    preproc_only: bool = False,
) -> Iterator[State]:
    """Determine the state of each participant.

    Parameters
    ----------
    participants : sequence of ParticipantPlan
        Participants to check.
    settings : AnalysisSettings
        Current settings. Outputs made with other settings count as missing.
    preproc_only : bool, default: False
        Whether to check preprocessed images only.

    Yields
    ------
    State
        State of each participant, in the order of `participants`.
    """
    for plan in participants:
        try:
            yield _preprocessed(plan, settings) if preproc_only else _measured(plan, settings)
        except CircuitshiftError as error:  # an output that cannot be read must be made again
            yield State(plan, "missing", str(error))


def is_unchanged(
    plan: ParticipantPlan, settings: AnalysisSettings, *, preproc_only: bool = False
) -> bool:
    """Return whether a new run would leave all outputs of a participant unchanged.

    Input files are not read; their recorded digests must be current.

    Parameters
    ----------
    plan : ParticipantPlan
        Participant to check.
    settings : AnalysisSettings
        Current settings.
    preproc_only : bool, default: False
        Whether to check preprocessed images only.

    Returns
    -------
    bool
        False also if this cannot be determined.
    """
    try:
        if not _is_preprocessed(plan, settings, read=False):
            return False
        return preproc_only or _is_measured_and_reported(plan, settings)
    except Exception:  # the workflow of this participant will report the error
        return False


def _is_preprocessed(
    plan: ParticipantPlan, settings: AnalysisSettings, *, read: bool = True
) -> bool:
    """Return whether all preprocessing outputs are valid; True without raw images."""
    if plan.raw is None:
        return True
    from circuitshift.pipeline.preproc.person import is_preprocessed  # noqa: PLC0415 - scipy

    digests = Digests(_name(plan), plan.preproc_dir, read=read)
    is_valid = is_preprocessed(plan.raw, settings, plan.preproc_dir, digests)
    digests.save()
    return is_valid


def _is_measured_and_reported(plan: ParticipantPlan, settings: AnalysisSettings) -> bool:
    runs, problems = list(plan.runs), list(plan.problems)
    if plan.raw is not None:
        runs, failures = _preprocessed_runs(plan, settings)
        problems += failures
    digests = Digests(_name(plan), plan.out_dir, read=False)
    return measure.is_measured(
        runs,
        problems,
        participant=plan.participant,
        settings=settings,
        out_dir=plan.out_dir,
        digests=digests,
    ) and is_reported(plan.participant, settings, plan.out_dir, digests)


def _name(plan: ParticipantPlan) -> str:
    return f"sub-{plan.participant}"


def _preprocessed(plan: ParticipantPlan, settings: AnalysisSettings) -> State:
    from circuitshift.pipeline.preproc.person import read_record  # noqa: PLC0415 - scipy

    for bold in plan.bolds:
        record = plan.preproc_dir / bold_record(bold)
        if not record.exists():
            return State(plan, "missing", f"{record.stem} is not preprocessed")
        problem = read_record(record).get("fault")
        if problem:
            return State(plan, "failed", f"{record.stem}: {problem}")
    return State(plan, "done") if _is_preprocessed(plan, settings) else _stale(plan)


def _stale(plan: ParticipantPlan) -> State:
    return State(plan, "missing", "inputs, settings or code of the preprocessing have changed")


def _measured(plan: ParticipantPlan, settings: AnalysisSettings) -> State:
    table = runs_table(plan.participant, plan.out_dir)
    if not table.exists():
        return State(plan, "missing", f"there is no {table.name}")
    rows = list(tables.read_table(table).rows())
    failed = [f"{row['run']}: {row['reason']}" for row in rows if row["status"] == "failed"]
    if failed:
        return State(plan, "failed", failed[0])
    if not _is_preprocessed(plan, settings):
        return _stale(plan)
    digests = Digests(_name(plan), plan.out_dir)
    try:
        return _measured_rows(plan, settings, rows, digests)
    finally:
        digests.save()


def _measured_rows(
    plan: ParticipantPlan,
    settings: AnalysisSettings,
    rows: Sequence[Mapping[str, str]],
    digests: Digests,
) -> State:
    """Compare the measured runs and the report with the plan."""
    for together in measure.measured_together(_runs(plan, settings), settings):
        if not measure.are_measured(together, settings, plan.out_dir, digests):
            name = together[0].path.name
            return State(plan, "missing", f"{name} is not measured with these settings")
    measured = {row["run"] for row in rows}
    for bold in plan.bolds:
        stem = bold_record(bold).stem.removesuffix("_bold")
        if stem not in measured:
            return State(plan, "missing", f"{stem} is not measured")
    if not is_reported(plan.participant, settings, plan.out_dir, digests):
        page = plan.out_dir / f"{_name(plan)}.html"
        reason = "the report shows other results" if page.exists() else "no report"
        return State(plan, "missing", reason)
    return State(plan, "done")


def _runs(plan: ParticipantPlan, settings: AnalysisSettings) -> Sequence[Run]:
    """Return preprocessed runs: those of the input, or those made from raw images."""
    if plan.raw is None or not plan.preproc_dir.is_dir():
        return plan.runs
    return _preprocessed_runs(plan, settings)[0]


def _preprocessed_runs(
    plan: ParticipantPlan, settings: AnalysisSettings
) -> tuple[list[Run], list[InputProblem]]:
    """Find the runs that preprocessing wrote, and those that failed."""
    return preprocessed_runs(
        [
            record
            for bold in plan.bolds
            if (record := plan.preproc_dir / bold_record(bold)).exists()
        ],
        participant=plan.participant,
        settings=settings,
        preproc_dir=plan.preproc_dir,
        data_set=plan.data_set,
    )


def group_state(
    out_dir: Path, data_sets: Sequence[DataSet], ratings: Path | None = None
) -> tuple[bool, str]:
    """Return whether the verdict belongs to the current results of the participant level.

    Parameters
    ----------
    out_dir : Path
        Root of the output data set.
    data_sets : sequence of DataSet
        Data sets of the study; the main data set comes first.
    ratings : Path, optional
        Folder with rating files. By default, the folder ``ratings`` in `out_dir` is used.

    Returns
    -------
    is_done : bool
        Whether the group level is complete and current.
    sentence : str
        The verdict, or the reason why the group level is not done.
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
