"""The command ``circuitshift slurm``, which writes and submits jobs, or reports their state."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from circuitshift.pipeline.errors import InputError
from circuitshift.workflows.cli.exit_status import EXIT_OK, EXIT_PARTIAL
from circuitshift.workflows.cli.preflight import (
    check_definitions,
    check_design,
    check_folders,
    check_writable,
    converted_input,
    prepare_outputs,
    record_selection,
    validate_input,
)
from circuitshift.workflows.cli.request import SlurmRequest
from circuitshift.workflows.cli.terminal import notify
from circuitshift.workflows.plan import StudyPlan, count_participants, make_plan

if TYPE_CHECKING:
    from circuitshift.workflows.cluster.status import State

__all__ = ["slurm"]


def slurm(request: SlurmRequest) -> int:
    """Write the jobs of both levels, or report which participants are done.

    Parameters
    ----------
    request : SlurmRequest
        Request made from the command line.

    Returns
    -------
    int
        Exit status. With ``--status``, it is `EXIT_PARTIAL` until all participants and the group
        level are done.

    Raises
    ------
    InputError
        If input or options cannot be used, or if earlier jobs of this study are still queued.
    """
    check_folders(request.app)
    with converted_input(request.app) as (app, status):
        return max(status, _slurm(replace(request, app=app)))


def _slurm(request: SlurmRequest) -> int:
    """Write the jobs of a BIDS data set, or report who is done."""
    from circuitshift.workflows.cluster import slurm as jobs  # noqa: PLC0415
    from circuitshift.workflows.cluster.batch import make_batch  # noqa: PLC0415
    from circuitshift.workflows.cluster.status import states  # noqa: PLC0415

    app, settings = request.app, request.app.settings
    stated = check_definitions(app)  # reports errors before the jobs of participants run
    plan = make_plan(app.folders, app.query, settings=settings, out_dir=app.output_dir)
    if not request.status:
        check_design(plan, stated, app)  # reports problems before the jobs of participants run
    current = list(states(plan.participants, settings, preproc_only=app.preproc_only))
    if request.status:
        return _print_states(current, plan, request)
    remaining = tuple(state.plan for state in current if state.word != "done")
    if not remaining and _is_group_done(plan, request):
        notify(f"{count_participants(len(current))}: all outputs are current; nothing to submit")
        return EXIT_OK
    batch = make_batch(request.jobs, plan=plan, participants=remaining, settings=settings)
    if app.dry_run:
        for name, text in jobs.scripts(batch, app.output_dir / "logs/slurm/001").items():
            notify(f"--- {name}\n{text.expandtabs(20)}")
        return EXIT_OK
    if queued := jobs.waiting(app.output_dir):
        raise InputError(
            f"jobs {', '.join(queued)} of this study are still in the queue; wait for them, or run "
            f"scancel {' '.join(queued)}"
        )
    check_writable("OUTPUT_DIR", app.output_dir)
    check_writable("--work-dir", app.work_dir)
    if not app.skip_bids_validation:
        validate_input(app.bids_dir)
    # compute nodes may have no network; a container image includes all atlases and templates
    if batch.container is None:
        prepare_outputs(plan, settings, preproc_only=app.preproc_only, stated=stated)
        record_selection(plan, app)
    script = jobs.write_batch(batch)
    notify(
        f"{count_participants(len(remaining))} to process, {len(current) - len(remaining)} done; "
        f"{batch.for_participant.mib} MiB and {batch.for_participant.minutes} min each, "
        f"{batch.array_limit} at a time"
    )
    notify(
        jobs.submit(script) if request.submit else f"submit with: bash {shlex.quote(str(script))}"
    )
    return EXIT_OK


def _is_group_done(plan: StudyPlan, request: SlurmRequest) -> bool:
    from circuitshift.workflows.cluster.status import group_state  # noqa: PLC0415

    if not request.jobs.with_group:
        return True
    return group_state(request.app.output_dir, plan.data_sets)[0]


def _print_states(current: Sequence["State"], plan: StudyPlan, request: SlurmRequest) -> int:
    """Print the state of each participant and of the group level; return the exit status."""
    from circuitshift.workflows.cluster.status import group_state  # noqa: PLC0415

    n = {
        word: sum(state.word == word for state in current) for word in ("done", "failed", "missing")
    }
    notify(
        f"{count_participants(len(current))}: {n['done']} done, {n['failed']} failed, "
        f"{n['missing']} missing"
    )
    for state in current:
        if state.word != "done":
            notify(f"  {state.label}: {state.word}: {state.reason}")
    is_done = True
    if request.jobs.with_group:
        is_done, sentence = group_state(request.app.output_dir, plan.data_sets)
        notify(f"group: {sentence}")
    return EXIT_OK if is_done and n["done"] == len(current) else EXIT_PARTIAL
