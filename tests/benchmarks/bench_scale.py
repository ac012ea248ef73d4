"""How time and memory grow with people: a simulated study at the door of matrices.

Run it as ``python tests/benchmarks/bench_scale.py --people 250 500 1000 2000`` (300 regions, two
sessions; 2 MB of temporary files a person, twice). Each stage is a whole process, imports included:
its wall time, processor time and largest resident memory are those the kernel counts (as
``/usr/bin/time -v`` tells them), children included where memory is the largest of one process.

It fails when a stage grows faster than people do (an exponent above 1.15 between the two largest
sizes), when memory passes 6 GiB, or when indexing the largest study takes more than 60 s.
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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from circuitshift.atlases.load import load_atlas

SESSIONS = ("pre", "post")
ATLAS = "seitzman300"
STUDY = "[tests]\nn_permutations = 1000\n"
GIB = 2.0**30

# --------------------------------------------------------------------------------------- data


def write_study(root: Path, n_participants: int, *, seed: int = 1) -> None:
    """Write matrices of people, a third each treated, control and reference, two sessions each."""
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


# ------------------------------------------------------------------------------------ measuring


@dataclass(frozen=True)
class Spent:
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_gib: float


def spend(words: list[str], log: Path) -> Spent:
    """Run a process to its end."""
    start = time.perf_counter()
    with log.open("w") as file:
        # one thread, as the command sets it
        env = os.environ | {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=env)
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(words)} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
    return Spent(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / GIB)


# What the two levels do, without the pages of people, which take most of the time and have
# nothing to do with how many there are.
_STAGES = {
    "index": """
from circuitshift.pipeline.bids.select_runs import find_runs
from circuitshift.pipeline.bids.participants import read_people
print(len(find_runs(data).runs), len(read_people(data).labels))
""",
    "measure": """
from itertools import groupby
from circuitshift.pipeline.measure.atlas_files import prepare_atlases
from circuitshift.pipeline.bids.select_runs import find_runs
from circuitshift.pipeline.measure.person import measure_person
from circuitshift.pipeline.records import Science
runs = find_runs(data).runs
prepare_atlases(runs, Science(), out)
for label, own in groupby(runs, lambda run: run.participant):
    measure_person(list(own), [], participant=label, science=Science(), out_dir=out)
""",
    "group": """
from circuitshift.pipeline.study.study_file import read_study_file
from circuitshift.pipeline.study.group_level import DataSet, run_group
from circuitshift.pipeline.records import Science
run_group([DataSet(out, data)], read_study_file(study), science=Science(), out_dir=out)
""",
    "group report": """
from circuitshift.pipeline.reports.study.inputs import report_group
report_group(out)
""",
}
_HEAD = "import sys; from pathlib import Path; data, out, study = map(Path, sys.argv[1:])\n"


def stages(root: Path, n_procs: int, *, whole: bool) -> dict[str, Spent]:
    """Index, measure, analyse and report one study; `whole`: with the command, pages and all."""
    words = [str(root / name) for name in ("data", "out", "study.toml")]
    (root / "study.toml").write_text(STUDY)
    spent = {}
    if whole:
        app = [
            sys.executable,
            "-m",
            "circuitshift.workflows.cli.main",
            words[0],
            str(root / "whole"),
        ]
        execution = ["-w", str(root / "work"), "--nprocs", str(n_procs), "--skip-bids-validation"]
        for name in ("participant level", "participant level again"):
            spent[name] = spend([*app, "participant", *execution], root / "log.txt")
            print(f"  {name}: {spent[name]}", flush=True)
    for name, code in _STAGES.items():
        spent[name] = spend([sys.executable, "-c", _HEAD + code, *words], root / "log.txt")
        print(f"  {name}: {spent[name]}", flush=True)
    return spent


def exponent(sizes: list[int], values: list[float]) -> float:
    """Slope of log value on log size between the two largest sizes."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def compare(sizes: list[int], n_procs: int, folder: Path | None, *, whole: bool) -> None:
    """Measure every size, print the table, and fail when a goal is missed."""
    found = []
    for n_participants in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            root = Path(name)
            print(f"{n_participants} people", flush=True)
            write_study(root / "data", n_participants)
            found.append(stages(root, n_procs, whole=whole))
            page = (root / "out/group/report.html").stat().st_size / 2**20
            print(f"  report.html: {page:.1f} MiB", flush=True)
            shutil.rmtree(root / "out")
    print("\n| stage | " + " | ".join(f"{n} people" for n in sizes) + " | exponent |")
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
    parser.add_argument("--people", type=int, nargs="+", default=[60, 120])
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--whole", action="store_true", help="the participant level, too")
    parser.add_argument("--folder", type=Path, help="where the temporary files go")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    compare(options.participants, options.nprocs, options.folder, whole=options.whole)
