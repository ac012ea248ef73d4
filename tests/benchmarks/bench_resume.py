"""Measure the time that hashing of inputs takes, and the time of a rerun of a complete study.

Run it as ``python tests/benchmarks/bench_resume.py`` (two hours of processor time, 5 GB of
temporary files; ``--participants 20`` is quicker, ``--participants 0`` omits the study).

- *One run*: two preprocessed images of 2 mm and 240 volumes (those of `bench_extract`: zero outside
  the brain, and noise in every voxel) are measured, from image to matrices, maps and carpet plots
  on disk, and all their inputs are hashed, alternately in one process. The table reports the ratio
  of processor times, without imports.
- *A study*: the participant level of a simulated study (5 mm, 80 volumes, some participants with
  two sessions) is run three times. Times are those of the complete command with its workers.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench_extract
import numpy as np

from circuitshift.pipeline.bids.select_runs import find_runs
from circuitshift.pipeline.io import digests, tables
from circuitshift.pipeline.measure import validity
from circuitshift.pipeline.measure.atlas_files import prepare_atlases
from circuitshift.pipeline.measure.person import measure_participant
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.validation.simulate.data_set import (
    PlantedTruth,
    SimulationSpec,
    write_simulated_data_set,
)


def write_run(folder: Path, image: Path, mask: Path) -> Path:
    """Write a simulated data set of one run with this image and mask; return its root."""
    spec = SimulationSpec(
        n_treated=1, n_control=0, n_reference=0, n_volumes=bench_extract.N_VOLUMES,
        share_missing=0.0, share_out_of_view=0.0,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    write_simulated_data_set(folder, PlantedTruth("nothing"), spec=spec, rng=rng)
    root = folder / "derivatives" / "fmriprep"
    shutil.rmtree(next(root.glob("sub-*/ses-post")))
    shutil.copy(image, next(root.rglob("*_desc-preproc_bold.nii.gz")))
    shutil.copy(mask, next(root.rglob("*_desc-brain_mask.nii.gz")))
    return root


def compare(root: Path, out: Path, times: int) -> tuple[float, float, float]:
    """Return processor times of hashing and measuring a run, s (minimum), and its size, MB."""
    (run,) = find_runs(root).runs
    settings = AnalysisSettings()
    prepare_atlases([run], settings, out)
    hashing, measuring = [], []
    for _ in range(times):
        shutil.rmtree(out / f"sub-{run.participant}", ignore_errors=True)
        shutil.rmtree(out / "logs", ignore_errors=True)
        start = time.process_time()
        validity.run_key(run, settings, out, digests.Digests("sub-none", out))
        hashing.append(time.process_time() - start)
        start = time.process_time()
        outputs = measure_participant(
            [run], [], participant=run.participant, settings=settings, out_dir=out
        )
        measuring.append(time.process_time() - start)
        failed = {row["reason"] for row in tables.read_table(outputs.runs).rows()} - {"n/a"}
        assert not failed, failed
    return min(hashing), min(measuring) - min(hashing), run.path.stat().st_size / 1e6


def bench_run(times: int) -> None:
    """Print the ratio of hashing to measuring one run."""
    import nilearn.interfaces.fmriprep  # noqa: F401 - imported before timing

    print("| image | MB | hashing, s | measuring, s | ratio |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench_extract.make(folder)
        for kind in bench_extract.FILES:
            image = folder / f"{kind}.nii.gz"
            root = write_run(folder / kind, image, folder / "mask.nii.gz")
            hashing, measuring, size = compare(root, folder / f"out-{kind}", times)
            row = (kind, f"{size:.0f}", f"{hashing:.3f}", f"{measuring:.2f}")
            print(f"| {' | '.join(row)} | {hashing / measuring:.1%} |", flush=True)


def bench_study(n_participants: int, n_procs: int, folder: Path | None) -> None:
    """Print the times of three runs of the participant level."""
    third = n_participants // 3
    spec = SimulationSpec(
        n_treated=n_participants - 2 * third, n_control=third, n_reference=third, n_volumes=80
    )
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name)
        rng = np.random.default_rng(1)
        written = write_simulated_data_set(root / "ds", PlantedTruth("shift"), spec=spec, rng=rng)
        print(f"{written.n_participants} participants, {written.n_runs} runs")
        words = [str(written.derivatives), str(root / "out"), "participant"]
        words += ["-w", str(root / "work"), "--nprocs", str(n_procs)]
        command = [sys.executable, "-m", "circuitshift.workflows.cli.main", *words]
        for attempt in ("first run", "second run", "third run"):
            start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, capture_output=True, env=os.environ)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = sum(getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime"))
            print(f"{attempt}: {time.perf_counter() - start:.1f} s wall, {cpu:.1f} s processor")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, default=200)
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--times", type=int, default=3, help="repetitions with one run")
    parser.add_argument("--folder", type=Path, help="folder for temporary files of the study")
    options = parser.parse_args()
    bench_run(options.times)
    if options.participants:
        bench_study(options.participants, options.nprocs, options.folder)
