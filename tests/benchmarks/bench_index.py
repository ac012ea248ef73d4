"""Compare time and memory of the indexing of a large fMRIPrep output with pybids.

Run it as ``python tests/benchmarks/bench_index.py`` (about two minutes, 40 MB of temporary
files; ``--repeats 1`` is quicker). 200 participants have 2 sessions of 20 files each: 8,000 files.
Each measurement is a process of its own, imports included, and the programs alternate (A B A B);
the time without imports is reported, too. pybids reads a copy at a path without ``perf``, since
version 0.22.0 takes that folder's name for a datatype.

The benchmark fails unless both programs find the same images with the same entities and repetition
times, an added file is found, and the input is unchanged.
"""

import argparse
import gzip
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

N_PARTICIPANTS, SESSIONS, T_R_S = 200, ("pre", "post"), 2.5
SPACE = "space-MNI152NLin2009cAsym_res-2"
# Files that fMRIPrep writes for one run in one standard space.
IMAGES = (
    f"{SPACE}_boldref.nii.gz",
    f"{SPACE}_desc-aparcaseg_dseg.nii.gz",
    f"{SPACE}_desc-aseg_dseg.nii.gz",
    "boldref.nii.gz",
    "desc-hmc_boldref.nii.gz",
    "desc-coreg_boldref.nii.gz",
    "desc-brain_mask.nii.gz",
)
TABLES = (
    "desc-confounds_timeseries.json",
    "desc-confounds_timeseries.tsv",
    "desc-brain_mask.json",
    "desc-hmc_boldref.json",
    "desc-coreg_boldref.json",
    "boldref.json",
    "from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt",
    "from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
    f"{SPACE}_boldref.json",
)
ENTITIES = {
    "sub": "subject",
    "ses": "session",
    "task": "task",
    "space": "space",
    "res": "res",
    "desc": "desc",
}


# Data


def make(root: Path) -> None:
    """Write the data set, with small but valid images."""
    series, volume = _image((3, 3, 3, 4)), _image((3, 3, 3))
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text(
        '{"Name": "fMRIPrep", "BIDSVersion": "1.4.0", "DatasetType": "derivative", '
        '"GeneratedBy": [{"Name": "fMRIPrep", "Version": "23.2.0"}]}'
    )
    for person in range(1, N_PARTICIPANTS + 1):
        for session in SESSIONS:
            add(root, f"{person:03}", session, (series, volume))


def add(root: Path, person: str, session: str, images: tuple[bytes, bytes]) -> None:
    """Write the 20 files of one run."""
    func = root / f"sub-{person}" / f"ses-{session}" / "func"
    func.mkdir(parents=True)
    stem = f"{func}/sub-{person}_ses-{session}_task-rest_"
    series, volume = images
    preproc = Path(f"{stem}{SPACE}_desc-preproc_bold.nii.gz")
    preproc.write_bytes(series)
    sidecar = json.dumps({"RepetitionTime": T_R_S, "TaskName": "rest", "SkullStripped": False})
    Path(f"{stem}{SPACE}_desc-preproc_bold.json").write_text(sidecar)
    Path(f"{stem}{SPACE}_desc-brain_mask.nii.gz").write_bytes(volume)
    Path(f"{stem}{SPACE}_desc-brain_mask.json").write_text('{"Type": "Brain"}')
    for tail in IMAGES:
        Path(stem + tail).write_bytes(volume)
    for tail in TABLES:
        Path(stem + tail).write_text('{"Sources": []}' if tail.endswith("json") else "a\n1\n")


def _image(shape: tuple[int, ...]) -> bytes:
    import nibabel as nib
    import numpy as np

    image = nib.Nifti1Image(np.ones(shape, np.int16), np.eye(4))
    if len(shape) == 4:
        image.header.set_zooms((2, 2, 2, T_R_S))
    return gzip.compress(image.to_bytes())


def state(root: Path) -> list[tuple[str, int, int]]:
    """Return path, size and modification time of a folder and of everything below it."""
    paths = [root, *sorted(root.rglob("*"))]
    return [(str(p), p.lstat().st_size, p.lstat().st_mtime_ns) for p in paths]


# Programs, each as a process of its own


def ours(root: Path, *, check: bool) -> dict[str, list[object]]:
    """Find all runs; with `check`, read every header and sidecar, too."""
    from circuitshift.pipeline.bids.select_runs import check_run, find_runs

    found = find_runs(root)
    assert not found.problems, found.problems[:3]
    out: dict[str, list[object]] = {}
    for run in found.runs:
        entities = dict(run.entities)
        t_r_s = check_run(run)[0].t_r_s if check else None
        out[run.path.name] = [*(entities.get(key) for key in ENTITIES), t_r_s]
    return out


def pybids(root: Path) -> dict[str, list[object]]:
    """Index the data set with metadata and list the preprocessed images."""
    from bids import BIDSLayout

    layout = BIDSLayout(root, validate=False, is_derivative=True, config=["bids", "derivatives"])
    out: dict[str, list[object]] = {}
    for file in layout.get(suffix="bold", desc="preproc", extension=".nii.gz"):
        found = file.get_entities()
        keys = [found.get(name) for name in ENTITIES.values()]
        out[file.filename] = [
            *(None if key is None else str(key) for key in keys),
            file.get_metadata().get("RepetitionTime"),
        ]
    return out


def child(side: str, root: Path) -> None:
    """Run one program and print the images that it found, its time and its memory."""
    # The time of imports is reported as a part of the complete process only.
    if side == "pybids":
        import bids  # noqa: F401
    else:
        import circuitshift.pipeline.bids.select_runs  # noqa: F401
    start = time.perf_counter()
    found = pybids(root) if side == "pybids" else ours(root, check=side == "checked")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"inside": seconds, "peak": peak, "found": found}))


def measure(side: str, root: Path) -> dict[str, Any]:
    """Measure the time of a complete process."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-W", "ignore", __file__, "--child", side, str(root)]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr}")
    return {"process": seconds, **json.loads(done.stdout.splitlines()[-1])}


# The comparison


def compare(folder: Path, repeats: int) -> None:
    """Run all programs in turn, check that they agree, and print the table."""
    root, copy = folder / "perf" / "fmriprep", folder / "copy" / "fmriprep"
    make(root)
    shutil.copytree(root, copy)
    before = state(root)
    n_files = sum(path.is_file() for path in root.rglob("*"))
    where = {"indexed": root, "checked": root, "pybids": copy}
    for side in ("indexed", "checked"):  # writes the bytecode
        measure(side, root)
    rounds = [{side: measure(side, path) for side, path in where.items()} for _ in range(repeats)]
    for done in rounds:
        assert len(done["checked"]["found"]) == N_PARTICIPANTS * len(SESSIONS)
        assert done["checked"]["found"] == done["pybids"]["found"], "entities differ"
    assert state(root) == before, "the input was changed"
    add(root, "999", "pre", (_image((3, 3, 3, 4)), _image((3, 3, 3))))
    seen = measure("indexed", root)["found"]
    assert len(seen) == N_PARTICIPANTS * len(SESSIONS) + 1, "an added file is not found"
    report(rounds, n_files)


def report(rounds: list[dict[str, dict[str, Any]]], n_files: int) -> None:
    """Print medians, ranges and ratios."""
    names = {
        "indexed": "find_runs",
        "checked": "find_runs + check_run of every run (header, repetition time)",
        "pybids": "pybids BIDSLayout with metadata",
    }
    print(f"\n{n_files} files, {len(rounds)} rounds; median (range)\n")
    print(
        "| program | process, s | without imports, s | peak MiB "
        "| time of pybids / time: process, without imports |"
    )
    print("|---|---|---|---|---|")
    for side, name in names.items():
        cells = [
            f"{statistics.median(values):.3f} ({min(values):.3f}-{max(values):.3f})"
            for values in ([r[side][part] for r in rounds] for part in ("process", "inside"))
        ]
        peak = statistics.median(r[side]["peak"] for r in rounds)
        ratios = [
            statistics.median(r["pybids"][part] / r[side][part] for r in rounds)
            for part in ("process", "inside")
        ]
        times = ", ".join(f"{ratio:.0f}" for ratio in ratios)
        print(f"| {name} | {cells[0]} | {cells[1]} | {peak:.0f} | {times} |")
    ratio = statistics.median(r["pybids"]["process"] / r["checked"]["process"] for r in rounds)
    assert ratio >= 10, f"the goal of 10 times the speed of pybids is missed: {ratio:.1f}"
    print("\nsame entities and repetition times; an added file is found; the input is unchanged")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("SIDE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            compare(Path(scratch), options.repeats)
