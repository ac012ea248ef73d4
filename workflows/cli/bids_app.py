"""The BIDS App: both levels, once the command line has become a request."""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.bids.input_types import is_image
from circuitshift.pipeline.errors import InputError, OutputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure import person as measure
from circuitshift.pipeline.measure import run_quality as quality
from circuitshift.pipeline.measure.outputs import command_record, runs_table
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings, ExecutionSettings
from circuitshift.pipeline.reports.person import inputs as collect
from circuitshift.pipeline.study.group_level import DataSet, recorded_settings
from circuitshift.pipeline.study.preregistration import freeze_plan, plan_of
from circuitshift.pipeline.study.study_file import StudyFile, read_study_file
from circuitshift.workflows.cli.exit_status import EXIT_OK, EXIT_PARTIAL
from circuitshift.workflows.cli.preflight import (
    check_folders,
    check_writable,
    prepare_outputs,
    validate_input,
)
from circuitshift.workflows.cli.request import Request
from circuitshift.workflows.cli.terminal import count_participants, notify
from circuitshift.workflows.cluster.status import is_unchanged
from circuitshift.workflows.engine.crashes import explain
from circuitshift.workflows.engine.locks import claimed, scratch
from circuitshift.workflows.engine.log import log_line
from circuitshift.workflows.plan import ParticipantPlan, StudyPlan, describe, make_plan

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

    from circuitshift.workflows.engine.run import Crash

__all__ = ["app"]


def app(request: Request) -> int:
    """Run the BIDS App at one level.

    Parameters
    ----------
    request : Request

    Returns
    -------
    int
        Exit status.
    """
    check_folders(request)
    stated = read_study_file(request.study_file) if request.study_file else StudyFile()
    if request.freeze_plan:
        return _freeze(request, stated)
    is_group = request.analysis_level == "group"
    if is_group and not request.dry_run and _is_measured(request):
        settings = _as_measured(request)
        with _at_work(request, None) as execution:
            plan = (settings, execution)
            return _group(request.data_sets, stated, plan=plan, request=request)
    settings = request.settings
    study = make_plan(request.folders, request.query, settings=settings, out_dir=request.output_dir)
    if request.dry_run:
        notify(describe(study, settings, level=request.analysis_level))
        return EXIT_OK
    if not request.skip_bids_validation:
        validate_input(request.bids_dir)
    if not is_group:
        participants = [_key(person, request.output_dir) for person in study.participants]
        with _at_work(request, participants) as execution:
            return _participants(study, settings, execution, request)
    if any(p.raw or any(map(is_image, p.runs)) for p in study.participants):
        raise InputError(
            f"{request.output_dir} holds no measured people; run the participant level first: "
            f"circuitshift {request.bids_dir} {request.output_dir} participant"
        )
    with _at_work(request, None) as execution:
        first = _participants(study, settings, execution, request)
        plan = (settings, execution)
        return max(first, _group(study.data_sets, stated, plan=plan, request=request))


@contextmanager
def _at_work(request: Request, participants: Sequence[str] | None) -> Iterator[ExecutionSettings]:
    """Hold people of the output folder, and make scratch space for this run alone."""
    execution = request.execution
    bids.refuse_foreign(request.output_dir)
    check_writable("OUTPUT_DIR", request.output_dir)
    check_writable("--work-dir", request.work_dir)
    with (
        claimed(request.output_dir, participants, notify=notify),
        scratch(
            execution.work_dir, empty=request.clean_workdir, stays=_only_submits(execution)
        ) as folder,
    ):
        yield replace(execution, work_dir=folder)


def _only_submits(execution: ExecutionSettings) -> bool:
    """Tell whether the plugin submits jobs and does not wait; Nipype is asked about a file only."""
    if execution.plugin_file is None:
        return False
    from circuitshift.workflows.engine.run import only_submits  # noqa: PLC0415 - two seconds

    return only_submits(execution)


def _key(person: ParticipantPlan, out_dir: Path) -> str:
    """Folder of a person below the output folder."""
    return (person.out_dir / f"sub-{person.participant}").relative_to(out_dir).as_posix()


def _freeze(request: Request, stated: StudyFile) -> int:
    """Write the plan; neither people nor groups are read."""
    check_writable("OUTPUT_DIR", request.output_dir)
    measured = any(d.outputs.glob("sub-*/sub-*_runs.tsv") for d in request.data_sets)
    settings = _as_measured(request) if measured else request.settings
    path = freeze_plan(request.output_dir / "group", plan_of(stated, settings))
    notify(f"frozen: {path} (hash {tables.read_json(path)['hash']})")
    return EXIT_OK


def _is_measured(request: Request) -> bool:
    """Tell whether the participant level has been run for every data set.

    Series and matrices count as not measured: looking at them again costs next to nothing, and an
    input that changed is then never missed. Where only reports are made again nothing is measured.
    """
    if request.reports_only:
        return True
    for data_set in request.data_sets:
        first = next(data_set.outputs.glob("sub-*/sub-*_runs.tsv"), None)
        if first is None or AS_GIVEN in tables.read_table(first).column("strategy"):
            return False
    return True


def _as_measured(request: Request) -> AnalysisSettings:
    """Take the settings of the participant level; refuse flags that contradict them."""
    recorded = recorded_settings(request.data_sets)
    asked = replace(recorded, **dict(request.given))
    same = recorded.by_content()
    unlike = [
        f"{name} = {value} (measured with {getattr(recorded, name)})"
        for name, value in request.given
        if name != "circuits" and getattr(asked.by_content(), name) != getattr(same, name)
    ]
    if unlike:
        raise InputError(
            f"the participant level was run with other settings: {'; '.join(unlike)}; run it again "
            "with these flags, or leave them out here"
        )
    return replace(asked, circuits=request.settings.circuits)


def _participants(
    plan: StudyPlan,
    settings: AnalysisSettings,
    execution: ExecutionSettings,
    request: Request,
) -> int:
    """Measure everybody and write a report for each."""
    submits = _only_submits(execution)
    if submits and request.clean_workdir:
        raise InputError("--clean-workdir would take away what the submitted jobs read")
    for note in plan.notes:
        notify(f"note: {note}")
    for problem in plan.problems:
        notify(f"fault: {problem}")
    start = time.monotonic()
    prepare_outputs(plan, settings, preproc_only=request.preproc_only)
    log_dir = request.output_dir.resolve() / "logs"
    left = _left(plan.participants, settings, request)
    if not request.reports_only:
        tables.write_json(command_record(request.output_dir), {"command": request.command})
    crashes = _run_participants(left, settings, execution, request) if left else ()
    if submits:
        notify(
            f"{count_participants(len(left))}: submitted and not waited for; "
            "who is done: "
            "circuitshift slurm BIDS_DIR OUTPUT_DIR --status"
        )
        return EXIT_OK
    _record_crashes(crashes, left, settings)
    failed = _failed(plan, log_dir, changed={person.node_name for person in left})
    for line in failed:
        notify(line)
    if execution.resource_monitor and left:
        from circuitshift.workflows.engine.run import resources  # noqa: PLC0415 - two seconds

        notify(resources(log_dir / "resources.json"))
    notify(
        f"{count_participants(len(plan.participants))} in {time.monotonic() - start:.0f} s; "
        f"reports: "
        f"{request.output_dir / 'sub-*.html'}"
    )
    return EXIT_PARTIAL if crashes or failed else EXIT_OK


def _left(
    participants: Sequence[ParticipantPlan], settings: AnalysisSettings, request: Request
) -> list[ParticipantPlan]:
    """Leave out participants for whom nothing would change."""
    if request.reports_only:
        return list(participants)
    left = [
        person
        for person in participants
        if not is_unchanged(person, settings, preproc_only=request.preproc_only)
    ]
    if len(left) < len(participants):
        n_done = len(participants) - len(left)
        notify(f"{count_participants(n_done)}: inputs, settings and code unchanged; nothing to do")
    return left


def _run_participants(
    participants: Sequence[ParticipantPlan],
    settings: AnalysisSettings,
    execution: ExecutionSettings,
    request: Request,
) -> tuple["Crash", ...]:
    """Run the workflows of participants to their end; return what crashed."""
    from circuitshift.workflows.engine.run import run_workflow  # noqa: PLC0415 - two seconds
    from circuitshift.workflows.participant import init_participant_wf  # noqa: PLC0415 - as above

    def build() -> "Workflow":
        return init_participant_wf(
            participants,
            settings,
            execution,
            reports_only=request.reports_only,
            preproc_only=request.preproc_only,
        )

    log_dir = request.output_dir.resolve() / "logs"
    return run_workflow(build, execution, log_dir=log_dir, notify=notify, on_step=notify.step)


def _record_crashes(
    crashes: Sequence["Crash"],
    participants: Sequence[ParticipantPlan],
    settings: AnalysisSettings,
) -> None:
    """Give everybody whose step crashed a row, and a page, that say so."""
    by_node = {person.node_name: person for person in participants}
    unsaid: list[OutputError] = []
    for crash in crashes:
        person = next(by_node[part] for part in crash.node.split(".") if part in by_node)
        step = crash.node.rpartition(".")[2]
        sentence, expected = explain(crash.file)
        seen = f"; see {crash.file}" if crash.file else ""
        reason = sentence if expected else f"unforeseen error in {step} ({sentence}){seen}"
        notify(f"sub-{person.participant}: {reason}")
        if step == "report":
            continue
        try:
            measure.record_crash(person.participant, reason, out_dir=person.out_dir)
            collect.report_participant(person.participant, settings, person.out_dir)
        except OutputError as error:  # a full disk, which is no fault of this person
            unsaid.append(error)
        except Exception as error:
            notify(f"sub-{person.participant}: its page could not be written ({error})")
    if unsaid:
        raise unsaid[0]


def _failed(plan: StudyPlan, log_dir: Path, *, changed: Collection[str]) -> list[str]:
    """Name runs that could not be measured; what came of new ones goes to each person's log."""
    lines = []
    for person in plan.participants:
        path = runs_table(person.participant, person.out_dir)
        if not path.exists():
            continue
        rows = list(tables.read_table(path).rows())
        name = person.node_name.removesuffix("_wf").replace("sub_", "sub-")
        for row in rows if person.node_name in changed else ():
            outcome = f"{row['run']}, {row['atlas']}, {row['strategy']}: {row['status']}"
            log_line(log_dir / f"{name}.log", f"{outcome} ({row['reason']})")
        rows = [row for row in rows if row["status"] == "failed"]
        lines += [f"sub-{person.participant}: {row['run']}: {row['reason']}" for row in rows]
    return list(dict.fromkeys(lines))  # strategies fail alike


def _group(
    data_sets: Sequence[DataSet],
    stated: StudyFile,
    *,
    plan: tuple[AnalysisSettings, ExecutionSettings],
    request: Request,
) -> int:
    """Analyse the study and print its verdict."""
    settings, execution = plan
    from circuitshift.workflows.engine.run import only_submits, run_workflow  # noqa: PLC0415
    from circuitshift.workflows.group import init_group_wf  # noqa: PLC0415

    if only_submits(execution):
        raise InputError("the group level needs a plugin that waits for its jobs, such as SLURM")
    out_dir = request.output_dir

    def build() -> "Workflow":
        return init_group_wf(
            data_sets,
            stated,
            settings=settings,
            execution=execution,
            out_dir=out_dir,
            ratings=request.ratings,
            reports_only=request.reports_only,
        )

    # two nodes, one after the other: no pool of processes is needed
    alone = replace(execution, n_procs=1)
    crashes = run_workflow(
        build, alone, log_dir=out_dir.resolve() / "logs", notify=notify, on_step=notify.step
    )
    if crashes:
        sentence, expected = explain(crashes[0].file)
        if expected:
            Path(crashes[0].file).unlink()  # nothing crashed: the sentence says it all
            raise InputError(sentence)
        seen = f"; see {crashes[0].file}" if crashes[0].file else ""
        raise InputError(f"the group level failed unforeseen ({sentence}){seen}")
    content = tables.read_json(out_dir / "group" / "verdict.json")
    for sentence in content["design"]["inferred"]:
        notify(f"inferred: {sentence}")
    notify(f"\nverdict: {content['verdict']}\n  {content['sentence']}\n  {content['reason']}")
    for warning in content["warnings"]:
        notify(f"  warning: {warning}")
    notify(f"report: {out_dir / 'group' / 'report.html'}")
    failed = [
        row
        for row in tables.read_table(out_dir / "group" / "exclusions.tsv").rows()
        if row["stage"] == "participant" and not set(row["code"].split("; ")) <= set(quality.CODES)
    ]
    for row in failed:
        notify(f"left out after a failure: {row['participant_id']}: {row['reason']}")
    return EXIT_PARTIAL if failed else EXIT_OK
