"""The command ``circuitshift slurm``: writes and submits jobs, or shows their state."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.study.study_file import read_study_file
from circuitshift.workflows.cli.exit_status import EXIT_OK, EXIT_PARTIAL
from circuitshift.workflows.cli.parsers import tool_parsers
from circuitshift.workflows.cli.terminal import notify
from circuitshift.workflows.plan import StudyPlan, make_plan

if TYPE_CHECKING:
    from circuitshift.workflows.cluster.status import State
from circuitshift.workflows.cli.preflight import prepare_outputs, validate_input
from circuitshift.workflows.cli.request import (
    check_folders,
    check_writable,
    count_participants,
    input_folders,
    make_absolute,
    query_of,
    settings_of,
)

__all__ = ["slurm"]


def slurm(options: argparse.Namespace) -> int:
    """Write the jobs of both levels, or say who is done; return the exit status."""
    from circuitshift.workflows.cluster import slurm as jobs  # noqa: PLC0415
    from circuitshift.workflows.cluster.batch import make_batch  # noqa: PLC0415
    from circuitshift.workflows.cluster.status import states  # noqa: PLC0415

    _refuse_for_jobs(options)
    make_absolute(options)
    settings = replace(AnalysisSettings(), **settings_of(options))
    folders = input_folders(options)
    check_folders(options, folders)
    if options.study:
        read_study_file(options.study)  # its faults now, not after the people
    plan = make_plan(folders, query_of(options), settings=settings, out_dir=options.output_dir)
    found = list(states(plan.participants, settings, preproc_only=options.preproc_only))
    if options.status:
        return _print_states(found, plan, options)
    left = tuple(state.person for state in found if state.word != "done")
    if not left and _is_group_done(plan, options):
        notify(f"{count_participants(len(found))}: all is done, nothing to submit")
        return EXIT_OK
    parser = tool_parsers()["slurm"]
    batch = make_batch(parser, options, plan=plan, participants=left, settings=settings)
    if options.dry_run:
        for name, text in jobs.scripts(batch, options.output_dir / "logs/slurm/001").items():
            notify(f"--- {name}\n{text.expandtabs(20)}")
        return EXIT_OK
    if queued := jobs.waiting(options.output_dir):
        raise InputError(
            f"jobs {', '.join(queued)} of this study are in the queue still; wait for them, or "
            f"scancel {' '.join(queued)}"
        )
    check_writable("OUTPUT_DIR", options.output_dir)
    check_writable("--work-dir", options.work_dir)
    if not options.skip_bids_validation:
        validate_input(options.bids_dir)
    if options.container is None:  # here, since nodes may have no network; an image has its own
        prepare_outputs(plan, settings, preproc_only=options.preproc_only)
    script = jobs.write_batch(batch)
    notify(
        f"{count_participants(len(left))} to do, {len(found) - len(left)} done; "
        f"{batch.for_participant.mib} MiB and {batch.for_participant.minutes} min each, "
        f"{batch.at_once} at a time"
    )
    notify(
        jobs.submit(script) if options.submit else f"submit with: bash {shlex.quote(str(script))}"
    )
    return EXIT_OK


def _is_group_done(plan: StudyPlan, options: argparse.Namespace) -> bool:
    from circuitshift.workflows.cluster.status import group_state  # noqa: PLC0415

    no_group = options.no_group or options.preproc_only
    return no_group or group_state(options.output_dir, plan.data_sets)[0]


def _refuse_for_jobs(options: argparse.Namespace) -> None:
    """Refuse what has no meaning for jobs."""
    for name, why in (
        ("nipype_plugin_file", "each task is one person; give the plugin to the BIDS App instead"),
        ("freeze_plan", "freeze the plan with the BIDS App, before the jobs"),
    ):
        if getattr(options, name):
            raise InputError(f"circuitshift slurm takes no --{name.replace('_', '-')}: {why}")
    if options.status and options.submit:
        raise InputError("circuitshift slurm --status submits nothing; leave out --submit")
    if options.container is not None and not options.container.exists():
        raise InputError(f"--container: {options.container} is not there")


def _print_states(found: Sequence["State"], plan: StudyPlan, options: argparse.Namespace) -> int:
    """Print who is done; everybody done, and the group level, is 0."""
    from circuitshift.workflows.cluster.status import group_state  # noqa: PLC0415

    n = {word: sum(s.word == word for s in found) for word in ("done", "failed", "missing")}
    notify(
        f"{count_participants(len(found))}: {n['done']} done, {n['failed']} failed, "
        f"{n['missing']} missing"
    )
    for state in found:
        if state.word != "done":
            notify(f"  {state.label}: {state.word}: {state.reason}")
    is_done = True
    if not (options.no_group or options.preproc_only):
        is_done, sentence = group_state(options.output_dir, plan.data_sets)
        notify(f"group: {sentence}")
    return EXIT_OK if is_done and n["done"] == len(found) else EXIT_PARTIAL
