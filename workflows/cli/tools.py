"""What the tools beside the BIDS App do: demo, simulate, calibrate, power."""

import argparse
import os
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.workflows.cli.bids_app import app
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK
from circuitshift.workflows.cli.parsers import app_parser
from circuitshift.workflows.cli.terminal import notify
from circuitshift.workflows.engine.locks import staged

__all__ = ["calibrate", "demo", "power", "simulate"]


def simulate(options: argparse.Namespace) -> int:
    """Write a simulated data set."""
    if options.layout:
        _simulate_layout(options)
    else:
        expected = _write(options, options.output_dir)
        notify(f"planted: {options.truth}; the right verdict is {' or '.join(expected)}")
    return EXIT_OK


def _simulate_layout(options: argparse.Namespace) -> None:
    import numpy as np  # noqa: PLC0415 - after the thread limits

    from circuitshift.pipeline.validation.simulate import data_set as phantom  # noqa: PLC0415

    if options.raw:
        raise InputError("--layout lists preprocessed files; leave --raw out")
    written = phantom.write_layout(
        options.output_dir,
        options.layout,
        spec=phantom.SimulationSpec(),
        rng=np.random.default_rng(options.seed),
        participants=options.participants,
    )
    notify(f"{written.n_participants} people, {written.n_runs} runs: {options.output_dir}")


def _write(options: argparse.Namespace, folder: Path) -> tuple[str, ...]:
    """Simulate into a folder; return the verdicts that are right."""
    import numpy as np  # noqa: PLC0415 - after the thread limits

    from circuitshift.pipeline.validation.simulate.cohort import refuse_full  # noqa: PLC0415
    from circuitshift.pipeline.validation.simulate.data_set import write_simulated_data_set  # noqa: PLC0415
    from circuitshift.pipeline.validation.simulate.raw_data_set import (  # noqa: PLC0415
        RAW_STUDY,
        raw_truth,
        write_simulated_raw_data_set,
    )
    from circuitshift.pipeline.validation.simulate.truth import PlantedTruth, SimulationSpec  # noqa: PLC0415

    given = {
        name: number
        for name in ("n_treated", "n_control", "n_reference")
        if (number := getattr(options, name)) is not None
    }
    spec = replace(RAW_STUDY if options.raw else SimulationSpec(), **given)
    write = write_simulated_raw_data_set if options.raw else write_simulated_data_set
    rng = np.random.default_rng(options.seed)
    truth = (raw_truth if options.raw else PlantedTruth)(options.truth)
    refuse_full(folder)
    with staged(folder) as stage:
        written = write(stage, truth, spec=spec, rng=rng)
    notify(f"{written.n_participants} people, {written.n_runs} runs: {folder}")
    return written.expected


def _simulated(options: argparse.Namespace, folder: Path) -> tuple[str, ...]:
    """Simulate into a folder, or take what a former demo with the same options left there."""
    from circuitshift.pipeline.validation.simulate.truth import EXPECTED  # noqa: PLC0415

    names = ("truth", "seed", "raw", "n_treated", "n_control", "n_reference")
    wanted = {name: getattr(options, name) for name in names}
    note = folder.parent / "demo.json"
    if note.exists():
        if tables.read_json(note) != wanted:
            raise InputError(
                f"{folder.parent} holds a demo with other options ({note}); name another folder"
            )
        notify(f"using the study that is simulated in {folder} already")
        return EXPECTED[options.truth]
    notify(f"simulating a study with planted truth {options.truth!r} in {folder}")
    expected = _write(options, folder)
    tables.write_json(note, wanted)
    return expected


def demo(options: argparse.Namespace) -> int:
    """Simulate, run both levels, and compare the verdict with what was planted."""
    root: Path = options.output_dir
    start = time.monotonic()
    expected = _simulated(options, root / "data")
    common = [str(root / "data"), str(root / "results")]
    procs = ["--nprocs", str(options.nprocs)] if options.nprocs else []
    rest = ["-w", str(root / "work"), *procs]
    status = EXIT_OK
    for level in ("participant", "group"):
        words = [*common, level, *rest]
        notify(f"\n$ circuitshift {' '.join(words)}")
        stated = app_parser().parse_args(words)
        stated.command = shlex.join(["circuitshift", *words])
        status = max(status, app(stated))
    found = tables.read_json(root / "results" / "group" / "verdict.json")["verdict"]
    right = found in expected
    notify(
        f"\nplanted: {options.truth}; right: {' or '.join(expected)}; found: {found} "
        f"-> {'as planted' if right else 'NOT as planted'} ({time.monotonic() - start:.0f} s)"
    )
    notify(f"a person's report: {min((root / 'results').glob('sub-*.html'), default='none')}")
    return status if right else EXIT_FAILED


def calibrate(options: argparse.Namespace) -> int:
    """Print a calibration table: of simulated studies, or of the user's own design and noise."""
    from circuitshift.pipeline.model.analyse import Rules  # noqa: PLC0415
    from circuitshift.pipeline.validation.calibration import (  # noqa: PLC0415
        CalibrationRow,
        calibration_table,
        markdown_table,
    )
    from circuitshift.pipeline.validation.simulate.scenarios import TABLES  # noqa: PLC0415

    rules = Rules(n_permutations=options.n_permutations)
    given = {
        "n_studies": options.studies,
        "seed": options.seed,
        "rules": rules,
        "n_procs": os.cpu_count() or 1,
    }
    rows: list[CalibrationRow] = []
    if options.bids_dir is None:
        found = calibration_table(TABLES[options.table], **given)
    elif options.output_dir is None:
        raise InputError("calibrate BIDS_DIR OUTPUT_DIR: name the folder of results, too")
    else:
        from circuitshift.pipeline.validation.calibration_own_data import own_table  # noqa: PLC0415

        found = own_table(options.bids_dir, options.output_dir, options.study, **given)
    for row in found:
        rows.append(row)
        print(f"{row.name}: done", file=sys.stderr, flush=True)  # noqa: T201 - progress
    notify(markdown_table(rows))
    return EXIT_OK


def power(options: argparse.Namespace) -> int:
    """Print a power table, and write it with a figure."""
    from circuitshift.pipeline.validation.power import PowerQuestion, power_table, write_power  # noqa: PLC0415

    question = PowerQuestion(
        specific=options.specific,
        shift=options.shift,
        gain=options.gain,
        arms=options.arms,
        reliability=options.reliability,
        minutes=options.minutes,
    )
    rows = []
    for row in power_table(
        question,
        options.n,
        n_studies=options.studies,
        seed=options.seed,
        n_procs=os.cpu_count() or 1,
    ):
        rows.append(row)
        print(f"n = {row.n}: done", file=sys.stderr, flush=True)  # noqa: T201 - progress
    table, figure = write_power(options.output_dir, question, rows)
    notify(table.read_text(encoding="utf-8"))
    notify(f"{table}\n{figure}")
    return EXIT_OK
