"""Measure how time and memory grow with the number of participants of a study of matrices.

Run it as ``python tests/benchmarks/bench_scale.py --participants 250 500 1000 2000`` (300 regions,
two sessions; 4 MB of temporary files per participant). Each stage is a process of its own, imports
included. Wall time, processor time and largest resident memory are those that the kernel reports
(as ``/usr/bin/time -v`` does). They include child processes; memory is that of the largest process.

The benchmark fails if processor time grows faster than the number of participants (exponent above
1.15 between the two largest sizes), if memory exceeds 6 GiB, or if indexing the largest study takes
more than 60 s.
"""

import argparse
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from circuitshift.atlases.load import load_atlas

SESSIONS = ("pre", "post")
ATLAS = "seitzman300"
STUDY = "[tests]\nn_permutations = 1000\n"
GIB = 2.0**30


def write_study(root: Path, n_participants: int, *, seed: int = 1) -> None:
    """Write matrices of two sessions; a third of the participants is in each group."""
    rng = np.random.default_rng(seed)
    labels = load_atlas(ATLAS).labels
    n = len(labels)
    i, j = np.triu_indices(n, 1)
    loadings = rng.normal(size=(n, 12)) * 0.6
    typical = np.arctanh(np.clip((loadings @ loadings.T / 12)[i, j], -0.8, 0.8))
    groups = ("treatment", "control", "healthy")
    rows = ["participant_id\tgroup\tage\tsex"]
    matrix = np.eye(n)
    line = "\t".join(["%.5f"] * n)
    for k in range(n_participants):
        trait = typical + rng.normal(0, 0.1, len(i)) + rng.normal(0, 0.05)
        rows.append(f"sub-{k:04d}\t{groups[k % 3]}\t{20 + k % 50}\t{'FM'[k // 3 % 2]}")
        for session in SESSIONS:
            z = trait + rng.normal(0, 0.12, len(i)) + rng.normal(0, 0.05)
            matrix[i, j] = matrix[j, i] = np.tanh(z)
            folder = root / f"sub-{k:04d}" / f"ses-{session}" / "func"
            folder.mkdir(parents=True)
            stem = f"sub-{k:04d}_ses-{session}_task-rest_seg-Seitzman300"
            text = "\t".join(labels) + "\n"
            text += "".join(line % tuple(row) + "\n" for row in matrix.tolist())
            (folder / f"{stem}_stat-pearsoncorrelation_relmat.tsv").write_text(text)
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")


@dataclass(frozen=True)
class Spent:
    """Time and memory of one process."""

    wall_s: float
    cpu_s: float
    peak_gib: float


def spend(words: list[str], log: Path) -> Spent:
    """Run a command; return its time and memory."""
    start = time.perf_counter()
    with log.open("w") as file:
        # one thread, as the circuitshift command sets it
        env = os.environ | {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=env)
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(words)} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
    return Spent(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / GIB)


# The stages leave out the participant reports, which take most of the time of a complete run and
# whose time for one participant does not depend on the number of participants.


def index(data: Path, out: Path, study: Path) -> None:  # noqa: ARG001
    """Find all runs and participants."""
    from circuitshift.pipeline.bids.participants import read_participants
    from circuitshift.pipeline.bids.select_runs import find_runs

    print(len(find_runs(data).runs), len(read_participants(data).labels))


def measure(data: Path, out: Path, study: Path) -> None:  # noqa: ARG001
    """Measure all participants."""
    from circuitshift.pipeline.bids.select_runs import find_runs
    from circuitshift.pipeline.measure.atlas_files import prepare_atlases
    from circuitshift.pipeline.measure.person import measure_participant
    from circuitshift.pipeline.records import AnalysisSettings

    runs, settings = find_runs(data).runs, AnalysisSettings()
    prepare_atlases(runs, settings, out)
    for label, own in groupby(runs, lambda run: run.participant):
        measure_participant(list(own), [], participant=label, settings=settings, out_dir=out)


def group(data: Path, out: Path, study: Path) -> None:
    """Analyse the study."""
    from circuitshift.pipeline.records import AnalysisSettings
    from circuitshift.pipeline.study.group_level import run_group
    from circuitshift.pipeline.study.members import DataSet
    from circuitshift.pipeline.study.study_file import read_study_file

    settings = AnalysisSettings()
    run_group([DataSet(out, data)], read_study_file(study), settings=settings, out_dir=out)


def group_report(data: Path, out: Path, study: Path) -> None:  # noqa: ARG001
    """Write the study report."""
    from circuitshift.pipeline.reports.study.inputs import report_group

    report_group(out)


STAGES: dict[str, Callable[[Path, Path, Path], None]] = {
    "index": index,
    "measure": measure,
    "group": group,
    "group report": group_report,
}


def stages(root: Path, n_procs: int, *, complete: bool) -> dict[str, Spent]:
    """Run all stages on one study; with `complete`, first run the participant level twice."""
    words = [str(root / name) for name in ("data", "out", "study.toml")]
    (root / "study.toml").write_text(STUDY)
    spent = {}
    if complete:
        app = [
            sys.executable,
            "-m",
            "circuitshift.workflows.cli.main",
            words[0],
            str(root / "complete"),
        ]
        execution = ["-w", str(root / "work"), "--nprocs", str(n_procs), "--skip-bids-validation"]
        for name in ("participant level", "participant level again"):
            spent[name] = spend([*app, "participant", *execution], root / "log.txt")
            print(f"  {name}: {spent[name]}", flush=True)
    for name in STAGES:
        command = [sys.executable, __file__, "--stage", name, *words]
        spent[name] = spend(command, root / "log.txt")
        print(f"  {name}: {spent[name]}", flush=True)
    return spent


def exponent(sizes: list[int], values: list[float]) -> float:
    """Slope of log value on log size between the two largest sizes."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def compare(sizes: list[int], n_procs: int, folder: Path | None, *, complete: bool) -> None:
    """Measure every size, print the table, and fail if a goal is missed."""
    found = []
    for n_participants in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            root = Path(name)
            print(f"{n_participants} participants", flush=True)
            write_study(root / "data", n_participants)
            found.append(stages(root, n_procs, complete=complete))
            page = (root / "out/group/report.html").stat().st_size / 2**20
            print(f"  report.html: {page:.1f} MiB", flush=True)
            shutil.rmtree(root / "out")
    print("\n| stage | " + " | ".join(f"{n} participants" for n in sizes) + " | exponent |")
    print("|---" * (len(sizes) + 2) + "|")
    missed = []
    for name in found[0]:
        cells = [f"{f[name].wall_s:.1f} s, {f[name].peak_gib:.2f} GiB" for f in found]
        grows = exponent(sizes, [f[name].cpu_s for f in found]) if len(sizes) > 1 else math.nan
        print(f"| {name} | {' | '.join(cells)} | {grows:.2f} |")
        if grows > 1.15:
            missed.append(f"{name} grows with exponent {grows:.2f}")
        if max(f[name].peak_gib for f in found) > 6:
            missed.append(f"{name} takes more than 6 GiB")
    if found[-1]["index"].wall_s > 60:
        missed.append("indexing takes more than 60 s")
    assert not missed, "; ".join(missed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, nargs="+", default=[60, 120])
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument(
        "--complete", action="store_true", help="run the participant level with its reports, too"
    )
    parser.add_argument("--folder", type=Path, help="folder for temporary files")
    parser.add_argument(
        "--stage", nargs=4, metavar=("NAME", "DATA", "OUT", "STUDY"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.stage:
        name, data, out, study = options.stage
        STAGES[name](Path(data), Path(out), Path(study))
    else:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        compare(options.participants, options.nprocs, options.folder, complete=options.complete)
