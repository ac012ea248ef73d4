"""What the tools beside the BIDS App do: demo, simulate, calibrate, power."""

import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.workflows.cli.bids_app import app
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK
from circuitshift.workflows.cli.request import app_request
from circuitshift.workflows.cli.terminal import notify
from circuitshift.workflows.cli.tool_requests import (
    CalibrateRequest,
    DemoRequest,
    PowerRequest,
    SimulateRequest,
)
from circuitshift.workflows.engine.locks import staged

__all__ = ["calibrate", "demo", "power", "run_tool", "simulate"]

_NUMBERS = ("n_treated", "n_control", "n_reference")


def run_tool(request: SimulateRequest | DemoRequest | CalibrateRequest | PowerRequest) -> int:
    """Run the tool that a request is for; return the exit status."""
    match request:
        case SimulateRequest():
            return simulate(request)
        case DemoRequest():
            return demo(request)
        case CalibrateRequest():
            return calibrate(request)
        case PowerRequest():
            return power(request)


def simulate(request: SimulateRequest) -> int:
    """Write a simulated data set; return the exit status."""
    if request.layout:
        _simulate_layout(request, request.layout)
    else:
        expected = _write(request, request.output_dir)
        notify(f"planted: {request.truth}; the right verdict is {' or '.join(expected)}")
    return EXIT_OK


def _simulate_layout(request: SimulateRequest, layout: Path) -> None:
    import numpy as np  # noqa: PLC0415 - after the thread limits

    from circuitshift.pipeline.validation.simulate import data_set  # noqa: PLC0415

    if request.raw:
        raise InputError("--layout lists preprocessed files; leave --raw out")
    written = data_set.write_layout(
        request.output_dir,
        layout,
        spec=data_set.SimulationSpec(),
        rng=np.random.default_rng(request.seed),
        participants=request.participants,
    )
    notify(f"{written.n_participants} people, {written.n_runs} runs: {request.output_dir}")


def _write(request: SimulateRequest, folder: Path) -> tuple[str, ...]:
    """Simulate into a folder; return the verdicts that are right."""
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
    given = {name: stated[name] for name in _NUMBERS if stated[name] is not None}
    spec = replace(RAW_STUDY if request.raw else SimulationSpec(), **given)
    write = write_simulated_raw_data_set if request.raw else write_simulated_data_set
    rng = np.random.default_rng(request.seed)
    truth = (raw_truth if request.raw else PlantedTruth)(request.truth)
    require_empty_folder(folder)
    with staged(folder) as stage:
        written = write(stage, truth, spec=spec, rng=rng)
    notify(f"{written.n_participants} people, {written.n_runs} runs: {folder}")
    return written.expected


def _simulated(request: SimulateRequest, folder: Path) -> tuple[str, ...]:
    """Simulate into a folder, or take what a former demo with the same options left there."""
    from circuitshift.pipeline.validation.simulate.truth import EXPECTED  # noqa: PLC0415

    stated = asdict(request)
    wanted = {name: stated[name] for name in ("truth", "seed", "raw", *_NUMBERS)}
    note = folder.parent / "demo.json"
    if note.exists():
        if tables.read_json(note) != wanted:
            raise InputError(
                f"{folder.parent} holds a demo with other options ({note}); name another folder"
            )
        notify(f"using the study that is simulated in {folder} already")
        return EXPECTED[request.truth]
    notify(f"simulating a study with planted truth {request.truth!r} in {folder}")
    expected = _write(request, folder)
    tables.write_json(note, wanted)
    return expected


def demo(request: DemoRequest) -> int:
    """Simulate, run both levels, and compare the verdict with what was planted."""
    root, truth = request.simulation.output_dir, request.simulation.truth
    start = time.monotonic()
    expected = _simulated(request.simulation, root / "data")
    common = [str(root / "data"), str(root / "results")]
    procs = ["--nprocs", str(request.nprocs)] if request.nprocs else []
    rest = ["-w", str(root / "work"), *procs]
    status = EXIT_OK
    for level in ("participant", "group"):
        words = [*common, level, *rest]
        notify(f"\n$ circuitshift {' '.join(words)}")
        status = max(status, app(app_request(words)))
    found = tables.read_json(root / "results" / "group" / "verdict.json")["verdict"]
    right = found in expected
    notify(
        f"\nplanted: {truth}; right: {' or '.join(expected)}; found: {found} "
        f"-> {'as planted' if right else 'NOT as planted'} ({time.monotonic() - start:.0f} s)"
    )
    notify(f"a person's report: {min((root / 'results').glob('sub-*.html'), default='none')}")
    return status if right else EXIT_FAILED


def calibrate(request: CalibrateRequest) -> int:
    """Print a calibration table: of simulated studies, or of the user's own design and noise."""
    from circuitshift.pipeline.model.analyse import Rules  # noqa: PLC0415
    from circuitshift.pipeline.validation.calibration import (  # noqa: PLC0415
        CalibrationRow,
        calibration_table,
        markdown_table,
    )
    from circuitshift.pipeline.validation.simulate.scenarios import TABLES  # noqa: PLC0415

    rules = Rules(n_permutations=request.n_permutations)
    given: dict[str, Any] = {
        "n_studies": request.studies,
        "seed": request.seed,
        "rules": rules,
        "n_procs": os.cpu_count() or 1,
    }
    rows: list[CalibrationRow] = []
    if request.bids_dir is None:
        found = calibration_table(TABLES[request.table], **given)
    elif request.output_dir is None:
        raise InputError("calibrate BIDS_DIR OUTPUT_DIR: name the folder of results, too")
    else:
        from circuitshift.pipeline.validation.calibration_own_data import own_table  # noqa: PLC0415

        found = own_table(request.bids_dir, request.output_dir, request.study, **given)
    for row in found:
        rows.append(row)
        print(f"{row.name}: done", file=sys.stderr, flush=True)  # noqa: T201 - progress
    notify(markdown_table(rows))
    return EXIT_OK


def power(request: PowerRequest) -> int:
    """Print a power table, and write it with a figure."""
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
    notify(table.read_text(encoding="utf-8"))
    notify(f"{table}\n{figure}")
    return EXIT_OK
