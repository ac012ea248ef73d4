"""What each command does, once its options are parsed."""

import argparse
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuitshift.pipeline import bids, collect, measure, quality, tables
from circuitshift.pipeline.atlas_files import prepare_atlases
from circuitshift.pipeline.denoise import get_strategy, load_strategies
from circuitshift.pipeline.design import StudyFile, read_study_file
from circuitshift.pipeline.errors import InputError, OutputError
from circuitshift.pipeline.group import DataSet, recorded_science
from circuitshift.pipeline.opendata.fetch import published_sources
from circuitshift.pipeline.person_context import command_record
from circuitshift.pipeline.plan_file import freeze_plan, plan_of
from circuitshift.pipeline.preproc.template import load_template
from circuitshift.pipeline.records import Machine, Run, Science
from circuitshift.workflows.claim import claimed, scratch
from circuitshift.workflows.cli import EXIT_OK, EXIT_PARTIAL
from circuitshift.workflows.crashes import explain
from circuitshift.workflows.parsers import tool_parsers
from circuitshift.workflows.plan import InputFolder, PersonPlan, StudyPlan, describe, make_plan
from circuitshift.workflows.voice import Voice, log_line

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

    from circuitshift.workflows.run import Crash
    from circuitshift.workflows.status import State

__all__ = ["app", "say", "slurm"]


say = Voice()


def app(options: argparse.Namespace) -> int:
    """Run the BIDS App at one level; return the exit status."""
    _make_absolute(options)
    given, machine = _science(options), _machine(options)
    science = replace(Science(), **given)
    folders = _folders(options)
    _check_folders(options, folders)
    stated = read_study_file(options.study) if options.study else StudyFile()
    data_sets = _data_sets(options, folders)
    if options.freeze_plan:
        return _freeze(options, stated, data_sets, given)
    if (
        options.analysis_level == "group"
        and not options.dry_run
        and _is_measured(options, data_sets)
    ):
        science = _as_measured(given, data_sets)
        with _at_work(options, None, machine) as machine:
            return _group(data_sets, stated, plan=(science, machine), options=options)
    plan = make_plan(folders, _query(options), science=science, out_dir=options.output_dir)
    if options.dry_run:
        say(describe(plan, science, level=options.analysis_level))
        return EXIT_OK
    if not options.skip_bids_validation:
        _validate(options.bids_dir)
    if options.analysis_level == "participant":
        people = [_key(person, options.output_dir) for person in plan.people]
        with _at_work(options, people, machine) as machine:
            return _participants(plan, science, machine, options)
    if any(p.raw or any(run.door == "bold" for run in p.runs) for p in plan.people):
        raise InputError(
            f"{options.output_dir} holds no measured people; run the participant level first: "
            f"circuitshift {options.bids_dir} {options.output_dir} participant"
        )
    with _at_work(options, None, machine) as machine:
        first = _participants(plan, science, machine, options)
        return max(first, _group(plan.data_sets, stated, plan=(science, machine), options=options))


@contextmanager
def _at_work(
    options: argparse.Namespace, people: Sequence[str] | None, machine: Machine
) -> Iterator[Machine]:
    """Hold people of the output folder, and make scratch space for this run alone."""
    from circuitshift.workflows.run import only_submits  # noqa: PLC0415 - nipype

    bids.refuse_foreign(options.output_dir)
    _check_writable("OUTPUT_DIR", options.output_dir)
    _check_writable("--work-dir", options.work_dir)
    with (
        claimed(options.output_dir, people, say=say),
        scratch(
            machine.work_dir, empty=options.clean_workdir, stays=only_submits(machine)
        ) as folder,
    ):
        yield replace(machine, work_dir=folder)


def _key(person: PersonPlan, out_dir: Path) -> str:
    """Folder of a person below the output folder."""
    return (person.out_dir / f"sub-{person.participant}").relative_to(out_dir).as_posix()


def slurm(options: argparse.Namespace) -> int:
    """Write the jobs of both levels, or say who is done; return the exit status."""
    from circuitshift.workflows import slurm as jobs  # noqa: PLC0415 - rarely needed
    from circuitshift.workflows.batch import make_batch  # noqa: PLC0415 - rarely needed
    from circuitshift.workflows.status import states  # noqa: PLC0415 - rarely needed

    _refuse_for_jobs(options)
    _make_absolute(options)
    science = replace(Science(), **_science(options))
    folders = _folders(options)
    _check_folders(options, folders)
    if options.study:
        read_study_file(options.study)  # its faults now, not after the people
    plan = make_plan(folders, _query(options), science=science, out_dir=options.output_dir)
    found = list(states(plan.people, science, preproc_only=options.preproc_only))
    if options.status:
        return _say_states(found, plan, options)
    left = tuple(state.person for state in found if state.word != "done")
    if not left and _is_group_done(plan, options):
        say(f"{_count(len(found))}: all is done, nothing to submit")
        return EXIT_OK
    parser = tool_parsers()["slurm"]
    batch = make_batch(parser, options, plan=plan, people=left, science=science)
    if options.dry_run:
        for name, text in jobs.scripts(batch, options.output_dir / "logs/slurm/001").items():
            say(f"--- {name}\n{text.expandtabs(20)}")
        return EXIT_OK
    if queued := jobs.waiting(options.output_dir):
        raise InputError(
            f"jobs {', '.join(queued)} of this study are in the queue still; wait for them, or "
            f"scancel {' '.join(queued)}"
        )
    _check_writable("OUTPUT_DIR", options.output_dir)
    _check_writable("--work-dir", options.work_dir)
    if not options.skip_bids_validation:
        _validate(options.bids_dir)
    if options.container is None:  # here, since nodes may have no network; an image has its own
        _prepare(plan, science, preproc_only=options.preproc_only)
    script = jobs.write_batch(batch)
    say(
        f"{_count(len(left))} to do, {len(found) - len(left)} done; {batch.for_person.mib} MiB and "
        f"{batch.for_person.minutes} min each, {batch.at_once} at a time"
    )
    say(jobs.submit(script) if options.submit else f"submit with: bash {shlex.quote(str(script))}")
    return EXIT_OK


def _is_group_done(plan: StudyPlan, options: argparse.Namespace) -> bool:
    from circuitshift.workflows.status import group_state  # noqa: PLC0415 - rarely needed

    no_group = options.no_group or options.preproc_only
    return no_group or group_state(options.output_dir, plan.people)[0]


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


def _say_states(found: Sequence["State"], plan: StudyPlan, options: argparse.Namespace) -> int:
    """Print who is done; everybody done, and the group level, is 0."""
    from circuitshift.workflows.status import group_state  # noqa: PLC0415 - rarely needed

    n = {word: sum(s.word == word for s in found) for word in ("done", "failed", "missing")}
    say(f"{_count(len(found))}: {n['done']} done, {n['failed']} failed, {n['missing']} missing")
    for state in found:
        if state.word != "done":
            say(f"  {state.label}: {state.word}: {state.reason}")
    is_done = True
    if not (options.no_group or options.preproc_only):
        is_done, sentence = group_state(options.output_dir, plan.people)
        say(f"group: {sentence}")
    return EXIT_OK if is_done and n["done"] == len(found) else EXIT_PARTIAL


def _freeze(
    options: argparse.Namespace,
    stated: StudyFile,
    data_sets: Sequence[DataSet],
    given: dict[str, Any],
) -> int:
    """Write the plan; neither people nor groups are read."""
    _check_writable("OUTPUT_DIR", options.output_dir)
    measured = any(data_set.outputs.glob("sub-*/sub-*_runs.tsv") for data_set in data_sets)
    science = _as_measured(given, data_sets) if measured else replace(Science(), **given)
    path = freeze_plan(options.output_dir / "group", plan_of(stated, science))
    say(f"frozen: {path} (hash {tables.read_json(path)['hash']})")
    return EXIT_OK


def _make_absolute(options: argparse.Namespace) -> None:
    """Nodes run in folders of their own, where a relative path would lead elsewhere."""
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, value.absolute())
        elif isinstance(value, tuple):  # NAME=PATH
            setattr(options, name, (value[0], value[1].absolute()))
        elif isinstance(value, list):
            made = [item.absolute() if isinstance(item, Path) else item for item in value]
            setattr(options, name, made)
    if options.atlas:
        options.atlas = [
            str(Path(source).absolute()) if Path(source).exists() else source
            for source in options.atlas
        ]


def _is_measured(options: argparse.Namespace, data_sets: Sequence[DataSet]) -> bool:
    """Tell whether the participant level has been run for every data set.

    Series and matrices count as not measured: looking at them again costs next to nothing, and an
    input that changed is then never missed. Where only reports are made again nothing is measured.
    """
    if options.reports_only:
        return True
    for data_set in data_sets:
        first = next(data_set.outputs.glob("sub-*/sub-*_runs.tsv"), None)
        if first is None or measure.AS_GIVEN in tables.read_table(first).column("strategy"):
            return False
    return True


def _folders(options: argparse.Namespace) -> list[InputFolder]:
    files = options.derivatives[1] if options.derivatives else options.bids_dir
    folders = [InputFolder(options.bids_dir, files)]
    if options.reference_dataset:
        name, path = options.reference_dataset
        folders.append(InputFolder(path, path, name or path.resolve().name))
    return folders


def _check_folders(options: argparse.Namespace, folders: Sequence[InputFolder]) -> None:
    if options.ratings is not None and not options.ratings.is_dir():
        raise InputError(f"--ratings {options.ratings}: there is no such folder")
    for folder in folders:
        for path in {folder.people, folder.files}:
            if not path.is_dir():
                raise InputError(f"{path}: there is no such folder")
        if folder.name and not folder.name.isalnum():
            raise InputError(
                f"data set name {folder.name!r}: use letters and digits, --reference-dataset "
                "NAME=PATH"
            )
    if options.output_dir.resolve() == options.bids_dir.resolve():
        raise InputError("OUTPUT_DIR must not be BIDS_DIR: nothing is ever written into the input")


def _check_writable(name: str, folder: Path) -> None:
    """Refuse at the door a folder that cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{name}: cannot write into {folder} ({reason})") from None


def _data_sets(options: argparse.Namespace, folders: Sequence[InputFolder]) -> list[DataSet]:
    root = options.output_dir
    return [
        DataSet(root / "datasets" / f.name if f.name else root, f.people, f.name) for f in folders
    ]


def _query(options: argparse.Namespace) -> bids.Query:
    filters = bids.load_filters(options.bids_filter_file) if options.bids_filter_file else ()
    return bids.Query(
        participants=tuple(options.participant_label),
        sessions=tuple(options.session_label),
        tasks=tuple(options.task_id),
        spaces=tuple(options.space),
        doors=tuple(options.input_type),
        filters=filters,
    )


def _as_measured(given: dict[str, Any], data_sets: Sequence[DataSet]) -> Science:
    """Take the settings of the participant level; refuse flags that contradict them."""
    recorded = recorded_science(data_sets)
    unlike = [
        f"{name} = {value} (measured with {getattr(recorded, name)})"
        for name, value in given.items()
        if name != "circuits" and value != getattr(recorded, name)
    ]
    if unlike:
        raise InputError(
            f"the participant level was run with other settings: {'; '.join(unlike)}; run it again "
            "with these flags, or leave them out here"
        )
    return replace(recorded, circuits=given.get("circuits", ()))


def _science(options: argparse.Namespace) -> dict[str, Any]:
    """Take the settings that were given; what was not given keeps its default."""
    given = {
        "atlases": tuple(options.atlas) if options.atlas else None,
        "circuits": tuple(map(str, options.circuits)) or None,
        "strategy_files": tuple(map(str, options.denoise_file)) or None,
        "dummy_scans": options.dummy_scans,
        "estimator": options.estimator,
        "min_coverage": options.min_coverage,
        "min_minutes": options.min_minutes,
        "max_mean_fd_mm": options.max_mean_fd,
        "strategies": _with_twin(options.denoise, options.denoise_file),
        "template": options.output_space,
        "slice_timing": False if "slicetiming" in options.ignore else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _with_twin(names: Sequence[str] | None, files: Sequence[Path]) -> tuple[str, ...] | None:
    """Add the twin with global signal regression of the first strategy, or without it."""
    if not names:
        return None
    known = load_strategies(tuple(files))
    first = get_strategy(names[0], known)
    for name in names[1:]:
        get_strategy(name, known)
    twin = f"{first.name}+gsr"
    added = (twin,) if not first.gsr and twin in known else ()
    return tuple(dict.fromkeys((*names, *added)))


def _machine(options: argparse.Namespace) -> Machine:
    return Machine(
        work_dir=options.work_dir.resolve() / _work_name(),
        n_procs=options.nprocs or os.cpu_count() or 1,
        omp_nthreads=options.omp_nthreads or 1,
        mem_gb=options.mem_gb,
        plugin_file=options.nipype_plugin_file,
        stop_on_first_crash=options.stop_on_first_crash,
        write_graph=options.write_graph,
        resource_monitor=options.resource_monitor,
        verbosity=options.verbose,
    )


def _work_name() -> str:
    from circuitshift.pipeline import __version__  # noqa: PLC0415 - one use

    return f"circuitshift_{__version__}".replace(".", "_")


def _validate(bids_dir: Path) -> None:
    """Run the BIDS validator on a raw data set when it is installed; its errors are warnings."""
    program = shutil.which("bids-validator-deno")
    description = bids_dir / "dataset_description.json"
    if program is None or not description.exists():
        return
    if tables.read_json(description).get("DatasetType", "raw") != "raw":
        return
    command = [program, "--json", "--ignoreNiftiHeaders", str(bids_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    try:
        issues = json.loads(done.stdout)["issues"]["issues"]
    except (json.JSONDecodeError, KeyError, TypeError):
        say("bids-validator-deno did not answer as expected; its result is not used")
        return
    errors = sorted({i["code"] for i in issues if i.get("severity") == "error"})
    if errors:
        say(
            f"warning: {bids_dir} is not valid BIDS ({', '.join(errors[:6])}); go on, since what "
            "is read is checked by itself (--skip-bids-validation leaves this out)"
        )


def _participants(
    plan: StudyPlan, science: Science, machine: Machine, options: argparse.Namespace
) -> int:
    """Measure everybody and write a report for each."""
    from circuitshift.workflows.participant import init_participant_wf  # noqa: PLC0415 - nipype
    from circuitshift.workflows.run import (  # noqa: PLC0415 - nipype
        only_submits,
        resources,
        run_workflow,
    )

    submits = only_submits(machine)
    if submits and options.clean_workdir:
        raise InputError("--clean-workdir would take away what the submitted jobs read")
    for note in plan.notes:
        say(f"note: {note}")
    for fault in plan.faults:
        say(f"fault: {fault}")
    start = time.monotonic()
    _prepare(plan, science, preproc_only=options.preproc_only)
    log_dir = options.output_dir.resolve() / "logs"

    def build() -> "Workflow":
        return init_participant_wf(
            plan.people,
            science,
            machine,
            reports_only=options.reports_only,
            preproc_only=options.preproc_only,
        )

    if not options.reports_only:
        tables.write_json(command_record(options.output_dir), {"command": options.command})
    crashes = run_workflow(build, machine, log_dir=log_dir, say=say, tell=say.step)
    if submits:
        say(
            f"{_count(len(plan.people))}: submitted and not waited for; who is done: "
            "circuitshift slurm BIDS_DIR OUTPUT_DIR --status"
        )
        return EXIT_OK
    _record_crashes(crashes, plan, science)
    failed = _failed(plan, log_dir)
    for line in failed:
        say(line)
    if machine.resource_monitor:
        say(resources(log_dir / "resources.json"))
    say(
        f"{_count(len(plan.people))} in {time.monotonic() - start:.0f} s; reports: "
        f"{options.output_dir / 'sub-*.html'}"
    )
    return EXIT_PARTIAL if crashes or failed else EXIT_OK


def _prepare(plan: StudyPlan, science: Science, *, preproc_only: bool) -> None:
    """Write what all people of a data set share."""
    for data_set in plan.data_sets:
        people = [p for p in plan.people if p.data_set == data_set.name]
        runs = [*(r for p in people for r in p.runs), *_future_runs(people, science)]
        if not preproc_only:
            prepare_atlases(runs, science, data_set.outputs)
        if any(person.raw for person in people):
            _prepare_raw(science, data_set)
        bids.write_dataset_description(
            data_set.outputs,
            name="circuitshift",
            sources=(str(data_set.people), *published_sources(data_set.people)),
        )


def _record_crashes(crashes: Sequence["Crash"], plan: StudyPlan, science: Science) -> None:
    """Give everybody whose step crashed a row, and a page, that say so."""
    by_node = {person.node_name: person for person in plan.people}
    unsaid: list[OutputError] = []
    for crash in crashes:
        person = next(by_node[part] for part in crash.node.split(".") if part in by_node)
        step = crash.node.rpartition(".")[2]
        sentence, foreseen = explain(crash.file)
        seen = f"; see {crash.file}" if crash.file else ""
        reason = sentence if foreseen else f"unforeseen error in {step} ({sentence}){seen}"
        say(f"sub-{person.participant}: {reason}")
        if step == "report":
            continue
        try:
            measure.record_crash(person.participant, reason, out_dir=person.out_dir)
            collect.report_person(person.participant, science, person.out_dir)
        except OutputError as error:  # a full disk, which is no fault of this person
            unsaid.append(error)
        except Exception as error:
            say(f"sub-{person.participant}: its page could not be written ({error})")
    if unsaid:
        raise unsaid[0]


def _future_runs(people: Sequence[PersonPlan], science: Science) -> list[Run]:
    """Make the records of runs that preprocessing will write, for their space."""
    return [
        Run(p.participant, b.session, "", "", science.template, "", "bold", b.path, b.entities)
        for p in people
        for b in p.bolds[:1]
    ]


def _prepare_raw(science: Science, data_set: DataSet) -> None:
    """See that the template is there before anybody's hours are spent; describe the derivative."""
    if importlib.util.find_spec("ants") is None:
        raise InputError(
            "raw images are preprocessed with ANTs, which is not installed; pip install "
            "'circuitshift[preproc]', or give output of fMRIPrep"
        )
    load_template(science.template)
    bids.write_dataset_description(
        data_set.outputs / "preproc",
        name="circuitshift: preprocessed images",
        sources=(str(data_set.people),),
    )


def _count(n: int) -> str:
    return f"{n} {'person' if n == 1 else 'people'}"


def _failed(plan: StudyPlan, log_dir: Path) -> list[str]:
    """Name runs that could not be measured; what came of each run goes to the log of its person."""
    lines = []
    for person in plan.people:
        path = measure.runs_table(person.participant, person.out_dir)
        if not path.exists():
            continue
        rows = list(tables.read_table(path).rows())
        name = person.node_name.removesuffix("_wf").replace("sub_", "sub-")
        for row in rows:
            outcome = f"{row['run']}, {row['atlas']}, {row['strategy']}: {row['status']}"
            log_line(log_dir / f"{name}.log", f"{outcome} ({row['reason']})")
        rows = [row for row in rows if row["status"] == "failed"]
        lines += [f"sub-{person.participant}: {row['run']}: {row['reason']}" for row in rows]
    return list(dict.fromkeys(lines))  # strategies fail alike


def _group(
    data_sets: Sequence[DataSet],
    stated: StudyFile,
    *,
    plan: tuple[Science, Machine],
    options: argparse.Namespace,
) -> int:
    """Analyse the study and print its verdict."""
    science, machine = plan
    from circuitshift.workflows.group import init_group_wf  # noqa: PLC0415 - nipype
    from circuitshift.workflows.run import only_submits, run_workflow  # noqa: PLC0415 - nipype

    if only_submits(machine):
        raise InputError("the group level needs a plugin that waits for its jobs, such as SLURM")
    out_dir = options.output_dir

    def build() -> "Workflow":
        return init_group_wf(
            data_sets,
            stated,
            science=science,
            machine=machine,
            out_dir=out_dir,
            ratings=options.ratings,
            reports_only=options.reports_only,
        )

    # two nodes, one after the other: no pool of processes is needed
    alone = replace(machine, n_procs=1)
    crashes = run_workflow(build, alone, log_dir=out_dir.resolve() / "logs", say=say, tell=say.step)
    if crashes:
        sentence, foreseen = explain(crashes[0].file)
        if foreseen:
            Path(crashes[0].file).unlink()  # nothing crashed: the sentence says it all
            raise InputError(sentence)
        seen = f"; see {crashes[0].file}" if crashes[0].file else ""
        raise InputError(f"the group level failed unforeseen ({sentence}){seen}")
    content = tables.read_json(out_dir / "group" / "verdict.json")
    for sentence in content["design"]["inferred"]:
        say(f"inferred: {sentence}")
    say(f"\nverdict: {content['verdict']}\n  {content['sentence']}\n  {content['reason']}")
    for warning in content["warnings"]:
        say(f"  warning: {warning}")
    say(f"report: {out_dir / 'group' / 'report.html'}")
    failed = [
        row
        for row in tables.read_table(out_dir / "group" / "exclusions.tsv").rows()
        if row["stage"] == "participant" and not set(row["code"].split("; ")) <= set(quality.CODES)
    ]
    for row in failed:
        say(f"left out after a failure: {row['participant_id']}: {row['reason']}")
    return EXIT_PARTIAL if failed else EXIT_OK
