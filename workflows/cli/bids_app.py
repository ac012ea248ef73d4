"""What each command does, once its options are parsed."""

import argparse
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuitshift.pipeline.bids import select_runs as bids
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
from circuitshift.workflows.cli.preflight import prepare_outputs, validate_input
from circuitshift.workflows.cli.request import (
    check_folders,
    check_writable,
    count_participants,
    data_sets_of,
    execution_settings_of,
    input_folders,
    make_absolute,
    query_of,
    settings_of,
)
from circuitshift.workflows.cli.terminal import notify
from circuitshift.workflows.cluster.status import is_unchanged
from circuitshift.workflows.engine.crashes import explain
from circuitshift.workflows.engine.locks import claimed, scratch
from circuitshift.workflows.engine.log import log_line
from circuitshift.workflows.plan import ParticipantPlan, StudyPlan, describe, make_plan

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

    from circuitshift.workflows.engine.run import Crash

__all__ = ["app"]


def app(options: argparse.Namespace) -> int:
    """Run the BIDS App at one level; return the exit status."""
    make_absolute(options)
    given, execution = settings_of(options), execution_settings_of(options)
    settings = replace(AnalysisSettings(), **given)
    folders = input_folders(options)
    check_folders(options, folders)
    stated = read_study_file(options.study) if options.study else StudyFile()
    data_sets = data_sets_of(options, folders)
    if options.freeze_plan:
        return _freeze(options, stated, data_sets, given)
    if (
        options.analysis_level == "group"
        and not options.dry_run
        and _is_measured(options, data_sets)
    ):
        settings = _as_measured(given, data_sets)
        with _at_work(options, None, execution) as execution:
            return _group(data_sets, stated, plan=(settings, execution), options=options)
    plan = make_plan(folders, query_of(options), settings=settings, out_dir=options.output_dir)
    if options.dry_run:
        notify(describe(plan, settings, level=options.analysis_level))
        return EXIT_OK
    if not options.skip_bids_validation:
        validate_input(options.bids_dir)
    if options.analysis_level == "participant":
        participants = [_key(person, options.output_dir) for person in plan.participants]
        with _at_work(options, participants, execution) as execution:
            return _participants(plan, settings, execution, options)
    if any(p.raw or any(run.input_type == "bold" for run in p.runs) for p in plan.participants):
        raise InputError(
            f"{options.output_dir} holds no measured people; run the participant level first: "
            f"circuitshift {options.bids_dir} {options.output_dir} participant"
        )
    with _at_work(options, None, execution) as execution:
        first = _participants(plan, settings, execution, options)
        return max(
            first, _group(plan.data_sets, stated, plan=(settings, execution), options=options)
        )


@contextmanager
def _at_work(
    options: argparse.Namespace, participants: Sequence[str] | None, execution: ExecutionSettings
) -> Iterator[ExecutionSettings]:
    """Hold people of the output folder, and make scratch space for this run alone."""
    bids.refuse_foreign(options.output_dir)
    check_writable("OUTPUT_DIR", options.output_dir)
    check_writable("--work-dir", options.work_dir)
    with (
        claimed(options.output_dir, participants, notify=notify),
        scratch(
            execution.work_dir, empty=options.clean_workdir, stays=_only_submits(execution)
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


def _freeze(
    options: argparse.Namespace,
    stated: StudyFile,
    data_sets: Sequence[DataSet],
    given: dict[str, Any],
) -> int:
    """Write the plan; neither people nor groups are read."""
    check_writable("OUTPUT_DIR", options.output_dir)
    measured = any(data_set.outputs.glob("sub-*/sub-*_runs.tsv") for data_set in data_sets)
    settings = _as_measured(given, data_sets) if measured else replace(AnalysisSettings(), **given)
    path = freeze_plan(options.output_dir / "group", plan_of(stated, settings))
    notify(f"frozen: {path} (hash {tables.read_json(path)['hash']})")
    return EXIT_OK


def _is_measured(options: argparse.Namespace, data_sets: Sequence[DataSet]) -> bool:
    """Tell whether the participant level has been run for every data set.

    Series and matrices count as not measured: looking at them again costs next to nothing, and an
    input that changed is then never missed. Where only reports are made again nothing is measured.
    """
    if options.reports_only:
        return True
    for data_set in data_sets:
        first = next(data_set.outputs.glob("sub-*/sub-*_runs.tsv"), None)
        if first is None or AS_GIVEN in tables.read_table(first).column("strategy"):
            return False
    return True


def _as_measured(given: dict[str, Any], data_sets: Sequence[DataSet]) -> AnalysisSettings:
    """Take the settings of the participant level; refuse flags that contradict them."""
    recorded = recorded_settings(data_sets)
    asked = replace(recorded, **given)
    same = recorded.by_content()
    unlike = [
        f"{name} = {value} (measured with {getattr(recorded, name)})"
        for name, value in given.items()
        if name != "circuits" and getattr(asked.by_content(), name) != getattr(same, name)
    ]
    if unlike:
        raise InputError(
            f"the participant level was run with other settings: {'; '.join(unlike)}; run it again "
            "with these flags, or leave them out here"
        )
    return replace(asked, circuits=given.get("circuits", ()))


def _participants(
    plan: StudyPlan,
    settings: AnalysisSettings,
    execution: ExecutionSettings,
    options: argparse.Namespace,
) -> int:
    """Measure everybody and write a report for each."""
    submits = _only_submits(execution)
    if submits and options.clean_workdir:
        raise InputError("--clean-workdir would take away what the submitted jobs read")
    for note in plan.notes:
        notify(f"note: {note}")
    for problem in plan.problems:
        notify(f"fault: {problem}")
    start = time.monotonic()
    prepare_outputs(plan, settings, preproc_only=options.preproc_only)
    log_dir = options.output_dir.resolve() / "logs"
    left = _left(plan.participants, settings, options)
    if not options.reports_only:
        tables.write_json(command_record(options.output_dir), {"command": options.command})
    crashes = _run_participants(left, settings, execution, options) if left else ()
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
        f"{options.output_dir / 'sub-*.html'}"
    )
    return EXIT_PARTIAL if crashes or failed else EXIT_OK


def _left(
    participants: Sequence[ParticipantPlan], settings: AnalysisSettings, options: argparse.Namespace
) -> list[ParticipantPlan]:
    """Leave out participants for whom nothing would change."""
    if options.reports_only:
        return list(participants)
    left = [
        person
        for person in participants
        if not is_unchanged(person, settings, preproc_only=options.preproc_only)
    ]
    if len(left) < len(participants):
        n_done = len(participants) - len(left)
        notify(f"{count_participants(n_done)}: inputs, settings and code unchanged; nothing to do")
    return left


def _run_participants(
    participants: Sequence[ParticipantPlan],
    settings: AnalysisSettings,
    execution: ExecutionSettings,
    options: argparse.Namespace,
) -> tuple["Crash", ...]:
    """Run the workflows of participants to their end; return what crashed."""
    from circuitshift.workflows.engine.run import run_workflow  # noqa: PLC0415 - two seconds
    from circuitshift.workflows.participant import init_participant_wf  # noqa: PLC0415 - as above

    def build() -> "Workflow":
        return init_participant_wf(
            participants,
            settings,
            execution,
            reports_only=options.reports_only,
            preproc_only=options.preproc_only,
        )

    log_dir = options.output_dir.resolve() / "logs"
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
    options: argparse.Namespace,
) -> int:
    """Analyse the study and print its verdict."""
    settings, execution = plan
    from circuitshift.workflows.engine.run import only_submits, run_workflow  # noqa: PLC0415
    from circuitshift.workflows.group import init_group_wf  # noqa: PLC0415

    if only_submits(execution):
        raise InputError("the group level needs a plugin that waits for its jobs, such as SLURM")
    out_dir = options.output_dir

    def build() -> "Workflow":
        return init_group_wf(
            data_sets,
            stated,
            settings=settings,
            execution=execution,
            out_dir=out_dir,
            ratings=options.ratings,
            reports_only=options.reports_only,
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
