"""Tools for simulation, planning and meta-analysis: demo, simulate, calibrate, power, pool."""

import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from circuitshift.atlases.atomic_files import atomic_text
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.study.resolution.describe import format_resolution
from circuitshift.pipeline.study.resolution.study_toml import study_toml
from circuitshift.pipeline.study.study_file import StudyFile, read_study_file
from circuitshift.workflows.cli.bids_app import app
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK
from circuitshift.workflows.cli.request import app_request
from circuitshift.workflows.cli.terminal import notify
from circuitshift.workflows.cli.tool_requests import (
    CalibrateRequest,
    DemoRequest,
    InitRequest,
    PoolRequest,
    PowerRequest,
    SimulateRequest,
)
from circuitshift.workflows.engine.locks import staged
from circuitshift.workflows.plan import count_participants, make_plan

__all__ = ["calibrate", "demo", "init", "pool", "power", "run_tool", "simulate"]

_GROUP_SIZES = ("n_treated", "n_control", "n_reference")


_Tool = InitRequest | SimulateRequest | DemoRequest | CalibrateRequest | PowerRequest | PoolRequest


def run_tool(request: _Tool) -> int:
    """Run the tool that a request describes.

    Parameters
    ----------
    request : InitRequest or another request of a tool
        Request made from the command line.

    Returns
    -------
    int
        Exit status.
    """
    match request:
        case InitRequest():
            return init(request)
        case SimulateRequest():
            return simulate(request)
        case DemoRequest():
            return demo(request)
        case CalibrateRequest():
            return calibrate(request)
        case PowerRequest():
            return power(request)
        case PoolRequest():
            return pool(request)


def init(request: InitRequest) -> int:
    """Write a study file with everything that the data decide, and print the design.

    Parameters
    ----------
    request : InitRequest
        Data sets, and the file to write.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    InputError
        If the file exists, or the data sets contain no usable run.
    """
    if request.output.exists():
        raise InputError(f"{request.output} exists; name another file by --output, or remove it")
    stated = read_study_file(request.study) if request.study else StudyFile()
    plan = make_plan(
        request.folders, request.query, settings=AnalysisSettings(), out_dir=request.output.parent
    )
    resolution, observed = plan.resolve(stated)
    notify(format_resolution(resolution, observed, [note for _, note in plan.selection]))
    for problem in plan.problems:
        notify(f"problem: {problem}")
    request.output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_text(request.output) as file:
        file.write(study_toml(resolution, observed))
    n = len(resolution.refusals)
    notify(
        f"wrote {request.output}: {n} question{'' if n == 1 else 's'} open, see OPEN in the file"
        if n
        else f"wrote {request.output}: all questions are resolved"
    )
    return EXIT_OK


def simulate(request: SimulateRequest) -> int:
    """Write a simulated data set.

    Parameters
    ----------
    request : SimulateRequest
        Folder, planted effect and numbers of participants.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    InputError
        If the folder is not empty, or if options contradict each other.
    """
    if request.layout:
        _simulate_layout(request, request.layout)
    else:
        expected = _write(request, request.output_dir)
        notify(f"planted effect: {request.truth}; correct verdict: {' or '.join(expected)}")
    return EXIT_OK


def _simulate_layout(request: SimulateRequest, layout: Path) -> None:
    import numpy as np  # noqa: PLC0415 - after the thread limits

    from circuitshift.pipeline.validation.simulate import data_set  # noqa: PLC0415

    if request.raw:
        raise InputError("--layout lists preprocessed files; omit --raw")
    written = data_set.write_layout(
        request.output_dir,
        layout,
        spec=data_set.SimulationSpec(),
        rng=np.random.default_rng(request.seed),
        participants=request.participants,
    )
    notify(
        f"{count_participants(written.n_participants)}, {written.n_runs} runs: {request.output_dir}"
    )


def _write(request: SimulateRequest, folder: Path) -> tuple[str, ...]:
    """Write a simulated data set into a folder, and return the correct verdicts."""
    import numpy as np  # noqa: PLC0415 - after the thread limits

    from circuitshift.pipeline.validation.simulate.cohort import require_empty_folder  # noqa: PLC0415
    from circuitshift.pipeline.validation.simulate.data_set import write_simulated_data_set  # noqa: PLC0415
    from circuitshift.pipeline.validation.simulate.raw_data_set import (  # noqa: PLC0415
        RAW_STUDY,
        raw_truth,
        write_simulated_raw_data_set,
    )
    from circuitshift.pipeline.validation.simulate.truth import PlantedTruth, SimulationSpec  # noqa: PLC0415

    stated = asdict(request)
    sizes = {name: stated[name] for name in _GROUP_SIZES if stated[name] is not None}
    spec = replace(RAW_STUDY if request.raw else SimulationSpec(), **sizes)
    write = write_simulated_raw_data_set if request.raw else write_simulated_data_set
    rng = np.random.default_rng(request.seed)
    truth = (raw_truth if request.raw else PlantedTruth)(request.truth)
    require_empty_folder(folder)
    with staged(folder) as stage:
        written = write(stage, truth, spec=spec, rng=rng)
    notify(f"{count_participants(written.n_participants)}, {written.n_runs} runs: {folder}")
    return written.expected


def _simulated(request: SimulateRequest, folder: Path) -> tuple[str, ...]:
    """Simulate a study, or reuse that of an earlier demo with the same options."""
    from circuitshift.pipeline.validation.simulate.truth import EXPECTED  # noqa: PLC0415

    stated = asdict(request)
    options = {name: stated[name] for name in ("truth", "seed", "raw", *_GROUP_SIZES)}
    record = folder.parent / "demo.json"
    if record.exists():
        if tables.read_json(record) != options:
            raise InputError(
                f"{folder.parent} contains a demo with other options ({record}); choose another "
                "folder"
            )
        notify(f"using the study that was already simulated in {folder}")
        return EXPECTED[request.truth]
    notify(f"simulating a study with the planted effect {request.truth!r} in {folder}")
    expected = _write(request, folder)
    tables.write_json(record, options)
    return expected


def demo(request: DemoRequest) -> int:
    """Simulate a study, run both levels, and compare the verdict with the planted effect.

    Parameters
    ----------
    request : DemoRequest
        Study to simulate, and number of processes.

    Returns
    -------
    int
        Exit status; `EXIT_FAILED` if the verdict is not correct.

    Raises
    ------
    InputError
        If the folder contains a demo with other options.
    """
    root, truth = request.simulation.output_dir, request.simulation.truth
    start = time.monotonic()
    expected = _simulated(request.simulation, root / "data")
    common = [str(root / "data"), str(root / "results")]
    n_procs = ["--nprocs", str(request.nprocs)] if request.nprocs else []
    flags = ["-w", str(root / "work"), *n_procs]
    status = EXIT_OK
    for level in ("participant", "group"):
        words = [*common, level, *flags]
        notify(f"\n$ circuitshift {' '.join(words)}")
        status = max(status, app(app_request(words)))
    verdict = tables.read_json(root / "results" / "group" / "verdict.json")["verdict"]
    is_correct = verdict in expected
    notify(
        f"\nplanted effect: {truth}; correct verdict: {' or '.join(expected)}; verdict: {verdict} "
        f"-> {'correct' if is_correct else 'NOT correct'} ({time.monotonic() - start:.0f} s)"
    )
    if not is_correct and verdict == "undetermined":
        notify(
            "The planted effect was not found, as in many small studies: this line compares one "
            "simulated study with its planted effect, and is no error of the program. Larger "
            "groups (--n-treated, --n-control, --n-reference) have more power."
        )
    example = min((root / "results").glob("sub-*.html"), default="none")
    notify(f"report of one participant: {example}")
    return status if is_correct else EXIT_FAILED


def calibrate(request: CalibrateRequest) -> int:
    """Print a calibration table for simulated studies, or for the data of an analysed study.

    Parameters
    ----------
    request : CalibrateRequest
        Scenarios, or folders of the analysed study.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    InputError
        If an input folder is named without an output folder, an option belongs to another table, or
        measured series cannot be used.
    """
    from circuitshift.pipeline.model.analyse import Rules  # noqa: PLC0415
    from circuitshift.pipeline.validation.calibration import (  # noqa: PLC0415
        CalibrationRow,
        calibration_table,
        markdown_table,
    )
    from circuitshift.pipeline.validation.simulate.scenarios import TABLES  # noqa: PLC0415

    _refuse_options_of_other_tables(request)
    rules = Rules(n_permutations=request.n_permutations)
    options: dict[str, Any] = {
        "n_studies": request.studies,
        "seed": request.seed,
        "rules": rules,
        "n_procs": os.cpu_count() or 1,
    }
    if request.table == "outside" and request.bids_dir is None:
        return _calibrate_outside(request, options)
    rows: list[CalibrationRow] = []
    if request.bids_dir is None:
        new_rows = calibration_table(TABLES[request.table], **options)
    elif request.output_dir is None:
        raise InputError(
            "circuitshift calibrate BIDS_DIR OUTPUT_DIR: OUTPUT_DIR is missing; add the output "
            "folder of the analysed study"
        )
    else:
        from circuitshift.pipeline.validation.calibration_own_data import own_table  # noqa: PLC0415

        new_rows = own_table(request.bids_dir, request.output_dir, request.study, **options)
    for row in new_rows:
        rows.append(row)
        print(f"{row.name}: done", file=sys.stderr, flush=True)  # noqa: T201 - progress
    notify(markdown_table(rows))
    return EXIT_OK


def _refuse_options_of_other_tables(request: CalibrateRequest) -> None:
    """Refuse options that would have no effect."""
    given = {"--arms": request.arms, "--rows": request.rows, "--series": request.series}
    unused = [name for name, value in given.items() if value]
    if unused and (request.table != "outside" or request.bids_dir is not None):
        raise InputError(
            f"{' and '.join(unused)} can only be used with --table outside; add --table outside, "
            "or omit the option"
        )
    if request.table == "outside" and request.bids_dir is not None:
        raise InputError(
            "--table outside cannot be combined with BIDS_DIR, whose study has a table of its own; "
            "to plant effects in measured series, name them with --series"
        )


def _calibrate_outside(request: CalibrateRequest, options: dict[str, Any]) -> int:
    """Print the table of effects outside the model, one row as soon as it is available."""
    from circuitshift.pipeline.validation.outside import table  # noqa: PLC0415 - this tool only
    from circuitshift.pipeline.validation.outside.rows import select_rows  # noqa: PLC0415

    source: table.Source = table.simulated
    if request.series:
        from circuitshift.pipeline.validation.outside.measured import read_pool  # noqa: PLC0415
        from circuitshift.pipeline.validation.outside.plasmode import Plasmode  # noqa: PLC0415

        source = Plasmode.of(read_pool(request.series))
    names = select_rows(request.rows, arms=request.arms, measured=bool(request.series))
    notify(table.HEAD.rstrip())
    for row in table.outside_table(names, source=source, **options):
        notify(table.markdown_row(row).rstrip())
    return EXIT_OK


def power(request: PowerRequest) -> int:
    """Print a power table, and write it together with a figure.

    Parameters
    ----------
    request : PowerRequest
        Effects, sample sizes and number of simulated studies.

    Returns
    -------
    int
        Exit status.
    """
    from circuitshift.pipeline.validation.power import power_table, write_power  # noqa: PLC0415

    rows = []
    for row in power_table(
        request.question,
        request.sizes,
        n_studies=request.studies,
        seed=request.seed,
        n_procs=os.cpu_count() or 1,
    ):
        rows.append(row)
        print(f"n = {row.n}: done", file=sys.stderr, flush=True)  # noqa: T201 - progress
    table, figure = write_power(request.output_dir, request.question, rows)
    notify(table.read_text(encoding="utf-8").expandtabs(16))  # tabs would be escaped
    notify(f"{table}\n{figure}")
    return EXIT_OK


def pool(request: PoolRequest) -> int:
    """Write the meta-analysis of finished analyses, and print its result.

    Parameters
    ----------
    request : PoolRequest
        Folders of the analyses, and the folder to write to.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    InputProblemsError
        If the analyses cannot be read, or cannot be pooled. Nothing is written in this case.
    """
    from circuitshift.pipeline.reports.pool.page import write_pool_report  # noqa: PLC0415
    from circuitshift.pipeline.reports.pool.results import answer  # noqa: PLC0415
    from circuitshift.pipeline.study.pooling.pool import pool_folders  # noqa: PLC0415
    from circuitshift.pipeline.study.pooling.pool_tables import write_pool  # noqa: PLC0415

    analysis = pool_folders(request.studies)
    page = request.output_dir / "pool.html"
    content = write_pool(request.output_dir, analysis)
    write_pool_report(page, analysis)
    for warning in analysis.comparison.warnings:
        notify(f"warning: {warning}")
    notify("\n".join(answer(analysis.terms)))
    notify(f"{content}\n{page}")
    return EXIT_OK
