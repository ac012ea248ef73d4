"""The BIDS App: runs the participant or group level that a request describes."""

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
from circuitshift.pipeline.study.members import DataSet
from circuitshift.pipeline.study.preregistration import freeze_plan, plan_of
from circuitshift.pipeline.study.resolution.describe import format_resolution
from circuitshift.pipeline.study.study_file import StudyFile
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL
from circuitshift.workflows.cli.preflight import (
    check_definitions,
    check_design,
    check_folders,
    check_structure,
    check_writable,
    converted_input,
    describe_atlases,
    prepare_outputs,
    record_selection,
    validate_input,
)
from circuitshift.workflows.cli.request import Request
from circuitshift.workflows.cli.terminal import notify
from circuitshift.workflows.cluster.status import is_unchanged
from circuitshift.workflows.engine.crashes import Crash, explain
from circuitshift.workflows.engine.in_turn import run_in_turn
from circuitshift.workflows.engine.locks import claimed, scratch
from circuitshift.workflows.engine.log import log_line
from circuitshift.workflows.in_turn import are_in_turn, participant_steps
from circuitshift.workflows.plan import (
    ParticipantPlan,
    StudyPlan,
    count_participants,
    describe,
    make_plan,
)

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow


__all__ = ["app"]


def app(request: Request) -> int:
    """Run one level of the BIDS App.

    Parameters
    ----------
    request : Request
        Request made from the command line.

    Returns
    -------
    int
        Exit status: `EXIT_OK`, or `EXIT_PARTIAL` if participants or runs failed.

    Raises
    ------
    InputError
        If input or options cannot be used.
    OutputError
        If an output cannot be written.
    """
    check_folders(request)
    with converted_input(request) as (converted, status):
        return max(status, _app(converted))


def _app(request: Request) -> int:
    """Run the BIDS App on a BIDS data set."""
    stated = check_definitions(request)
    if request.freeze_plan:
        return _freeze(request, stated)
    is_group = request.analysis_level == "group"
    if is_group and not request.dry_run and _is_measured(request):
        settings = _as_measured(request)
        with _locked_outputs(request, None) as execution:
            return _run_group(request.data_sets, stated, how=(settings, execution), request=request)
    settings = request.settings
    study = make_plan(request.folders, request.query, settings=settings, out_dir=request.output_dir)
    if request.dry_run:
        return _print_plan(study, stated, request)
    check_design(study, stated, request)
    if not request.skip_bids_validation:
        validate_input(request.bids_dir)
    if not is_group:
        folders = [_relative_folder(plan, request.output_dir) for plan in study.participants]
        with _locked_outputs(request, folders) as execution:
            return _run_participant_level(study, stated, how=(settings, execution), request=request)
    if any(plan.raw or any(map(is_image, plan.runs)) for plan in study.participants):
        raise InputError(
            f"{request.output_dir} contains no measured participants; run the participant level "
            f"first: circuitshift {request.bids_dir} {request.output_dir} participant"
        )
    with _locked_outputs(request, None) as execution:
        status = _run_participant_level(study, stated, how=(settings, execution), request=request)
        how = (settings, execution)
        return max(status, _run_group(study.data_sets, stated, how=how, request=request))


def _print_plan(plan: StudyPlan, stated: StudyFile, request: Request) -> int:
    """Print the design and the plan; fail if the design is needed and cannot be resolved."""
    resolution, observed = plan.resolve(stated)
    sentences = [note for _, note in plan.selection]
    lines: list[str] = []
    located = None
    check_structure(plan, request.settings)
    try:
        if not request.preproc_only:  # preprocessing needs no atlas
            lines, located = describe_atlases(plan, request.settings, stated)
    finally:  # the design helps to understand a circuit that is not located
        notify(format_resolution(resolution, observed, sentences, located) + "\n")
    if lines:
        notify("\n".join(lines))
    notify(describe(plan, request.settings, level=request.analysis_level))
    is_needed = request.analysis_level == "group" or request.study_file is not None
    return EXIT_FAILED if is_needed and resolution.refusals else EXIT_OK


@contextmanager
def _locked_outputs(
    request: Request, participants: Sequence[str] | None
) -> Iterator[ExecutionSettings]:
    """Lock participants of the output folder, and create a scratch folder for this run."""
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
    """Return whether the plugin submits jobs without waiting; imports Nipype only if necessary."""
    if execution.plugin_file is None:
        return False
    from circuitshift.workflows.engine.run import only_submits  # noqa: PLC0415 - takes 2 s

    return only_submits(execution)


def _relative_folder(plan: ParticipantPlan, out_dir: Path) -> str:
    """Return the folder of a participant, relative to the output folder."""
    return (plan.out_dir / f"sub-{plan.participant}").relative_to(out_dir).as_posix()


def _freeze(request: Request, stated: StudyFile) -> int:
    """Write the analysis plan without reading participants or groups."""
    check_writable("OUTPUT_DIR", request.output_dir)
    measured = any(d.outputs.glob("sub-*/sub-*_runs.tsv") for d in request.data_sets)
    settings = _as_measured(request) if measured else request.settings
    path = freeze_plan(request.output_dir / "group", plan_of(stated, settings))
    notify(f"frozen: {path} (hash {tables.read_json(path)['hash']})")
    return EXIT_OK


def _is_measured(request: Request) -> bool:
    """Return whether the participant level has been run for every data set.

    Data sets of series and matrices count as not measured. Measuring them again takes little time,
    and ensures that changes of the input are noticed. With ``--reports-only``, nothing is measured,
    so that every data set counts as measured.
    """
    if request.reports_only:
        return True
    for data_set in request.data_sets:
        first = next(data_set.outputs.glob("sub-*/sub-*_runs.tsv"), None)
        if first is None or AS_GIVEN in tables.read_table(first).column("strategy"):
            return False
    return True


def _as_measured(request: Request) -> AnalysisSettings:
    """Return the settings of the participant level; refuse flags that contradict them."""
    from circuitshift.pipeline.study.group_level import recorded_settings  # noqa: PLC0415 - .2 s

    recorded = recorded_settings(request.data_sets)
    requested = replace(recorded, **dict(request.given))
    recorded_content = recorded.by_content()
    different = [
        f"{name} = {value} (measured with {getattr(recorded, name)})"
        for name, value in request.given
        if name != "circuits"
        and getattr(requested.by_content(), name) != getattr(recorded_content, name)
    ]
    if different:
        raise InputError(
            f"the participant level was run with other settings: {'; '.join(different)}; run the "
            "participant level again with these flags, or omit them at the group level"
        )
    return replace(requested, circuits=request.settings.circuits)


def _run_participant_level(
    plan: StudyPlan,
    stated: StudyFile,
    *,
    how: tuple[AnalysisSettings, ExecutionSettings],
    request: Request,
) -> int:
    """Measure all participants and write a report for each of them."""
    settings, execution = how
    submits = _only_submits(execution)
    if submits and request.clean_workdir:
        raise InputError(
            "--clean-workdir would remove files that the submitted jobs need; omit this flag"
        )
    for note in plan.notes:
        notify(f"note: {note}")
    for problem in plan.problems:
        notify(f"problem: {problem}")
    start = time.monotonic()
    prepare_outputs(plan, settings, preproc_only=request.preproc_only, stated=stated)
    record_selection(plan, request)
    log_dir = request.output_dir.resolve() / "logs"
    remaining = _remaining(plan.participants, settings, request)
    if not request.reports_only:
        tables.write_json(command_record(request.output_dir), {"command": request.command})
    crashes = _run_workflows(remaining, settings, execution, request) if remaining else ()
    if submits:
        notify(
            f"{count_participants(len(remaining))}: jobs submitted; circuitshift does not wait for "
            "them. To see which participants are done, run circuitshift slurm BIDS_DIR OUTPUT_DIR "
            "--status"
        )
        return EXIT_OK
    _record_crashes(crashes, remaining, settings)
    failed = _failed_runs(plan, log_dir, changed={item.node_name for item in remaining})
    for line in failed:
        notify(line)
    if execution.resource_monitor and remaining:
        from circuitshift.workflows.engine.run import resources  # noqa: PLC0415 - takes 2 s

        notify(resources(log_dir / "resources.json"))
    notify(
        f"{count_participants(len(plan.participants))} in {time.monotonic() - start:.0f} s; "
        f"reports: "
        f"{request.output_dir / 'sub-*.html'}"
    )
    return EXIT_PARTIAL if crashes or failed else EXIT_OK


def _remaining(
    participants: Sequence[ParticipantPlan], settings: AnalysisSettings, request: Request
) -> list[ParticipantPlan]:
    """Return the participants whose outputs are not current."""
    if request.reports_only:
        return list(participants)
    remaining = [
        plan
        for plan in participants
        if not is_unchanged(plan, settings, preproc_only=request.preproc_only)
    ]
    if len(remaining) < len(participants):
        n_done = len(participants) - len(remaining)
        notify(f"{count_participants(n_done)}: inputs, settings and code unchanged; nothing to do")
    return remaining


def _run_workflows(
    participants: Sequence[ParticipantPlan],
    settings: AnalysisSettings,
    execution: ExecutionSettings,
    request: Request,
) -> tuple[Crash, ...]:
    """Run the steps of participants, and return the steps that crashed."""
    log_dir = request.output_dir.resolve() / "logs"
    if are_in_turn(participants, execution):
        sequences = [
            participant_steps(plan, settings, reports_only=request.reports_only)
            for plan in participants
        ]
        return run_in_turn(
            sequences, execution, log_dir=log_dir, notify=notify, on_step=notify.step
        )
    from circuitshift.workflows.engine.run import run_workflow  # noqa: PLC0415 - takes 2 s
    from circuitshift.workflows.participant import init_participant_wf  # noqa: PLC0415 - same

    def build() -> "Workflow":
        return init_participant_wf(
            participants,
            settings,
            execution,
            reports_only=request.reports_only,
            preproc_only=request.preproc_only,
        )

    return run_workflow(build, execution, log_dir=log_dir, notify=notify, on_step=notify.step)


def _record_crashes(
    crashes: Sequence[Crash],
    participants: Sequence[ParticipantPlan],
    settings: AnalysisSettings,
) -> None:
    """Write the crash of each participant into their table of runs and their report."""
    by_node = {plan.node_name: plan for plan in participants}
    write_errors: list[OutputError] = []
    for crash in crashes:
        plan = next(by_node[part] for part in crash.node.split(".") if part in by_node)
        step = crash.node.rpartition(".")[2]
        sentence, expected = explain(crash.file)
        reference = f"; see {crash.file}" if crash.file else ""
        reason = sentence if expected else f"unexpected error in {step} ({sentence}){reference}"
        notify(f"sub-{plan.participant}: {reason}")
        if step == "report":
            continue
        try:
            measure.record_crash(plan.participant, reason, out_dir=plan.out_dir)
            collect.report_participant(plan.participant, settings, plan.out_dir)
        except OutputError as error:  # such as a full disk, which concerns all participants
            write_errors.append(error)
        except Exception as error:
            notify(f"sub-{plan.participant}: the report could not be written ({error})")
    if write_errors:
        raise write_errors[0]


def _failed_runs(plan: StudyPlan, log_dir: Path, *, changed: Collection[str]) -> list[str]:
    """Describe runs that could not be measured, and write the outcome of new runs to the logs."""
    lines = []
    for participant in plan.participants:
        path = runs_table(participant.participant, participant.out_dir)
        if not path.exists():
            continue
        rows = list(tables.read_table(path).rows())
        name = participant.node_name.removesuffix("_wf").replace("sub_", "sub-")
        for row in rows if participant.node_name in changed else ():
            outcome = f"{row['run']}, {row['atlas']}, {row['strategy']}: {row['status']}"
            log_line(log_dir / f"{name}.log", f"{outcome} ({row['reason']})")
        rows = [row for row in rows if row["status"] == "failed"]
        lines += [f"sub-{participant.participant}: {row['run']}: {row['reason']}" for row in rows]
    return list(dict.fromkeys(lines))  # all strategies of a run fail for the same reason


def _run_group(
    data_sets: Sequence[DataSet],
    stated: StudyFile,
    *,
    how: tuple[AnalysisSettings, ExecutionSettings],
    request: Request,
) -> int:
    """Analyse the study and print its verdict."""
    settings, execution = how
    from circuitshift.workflows.engine.run import only_submits, run_workflow  # noqa: PLC0415
    from circuitshift.workflows.group import init_group_wf  # noqa: PLC0415

    if only_submits(execution):
        raise InputError(
            f"{execution.plugin_file}: the group level needs a plugin that waits for its jobs, "
            "such as SLURM; choose another plugin"
        )
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

    # the two nodes run one after the other, so that no pool of processes is needed
    single_process = replace(execution, n_procs=1)
    crashes = run_workflow(
        build,
        single_process,
        log_dir=out_dir.resolve() / "logs",
        notify=notify,
        on_step=notify.step,
    )
    if crashes:
        sentence, expected = explain(crashes[0].file)
        if expected:
            Path(crashes[0].file).unlink()  # the message is sufficient for an expected error
            raise InputError(sentence)
        reference = f"; see {crashes[0].file}" if crashes[0].file else ""
        raise InputError(f"unexpected error at the group level ({sentence}){reference}")
    content = tables.read_json(out_dir / "group" / "verdict.json")
    for sentence in content["design"]["inferred"]:
        notify(f"design: {sentence}")
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
        notify(f"excluded after a failure: {row['participant_id']}: {row['reason']}")
    return EXIT_PARTIAL if failed else EXIT_OK
