"""Measure memory and processor time of batch jobs for workflows/cluster/resources.toml.

Run it as ``python tests/benchmarks/measure_resources.py > rows.toml`` (about twenty minutes and
3 GB of temporary files) and copy the rows into ``workflows/cluster/resources.toml`` when the code
of a level has changed; `tests/workflows/cluster/test_batch.py` compares the rules with the rows.
Each row is one complete process with one worker, as in a task of a job array: the peak resident
memory of the process, and its processor time (user and system), which other programs on the machine
hardly affect. Images contain noise inside a brain-sized mask and zeros outside.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

from circuitshift.pipeline.io.tables import write_matrix
from circuitshift.pipeline.validation.simulate.data_set import write_simulated_data_set
from circuitshift.pipeline.validation.simulate.head import HeadSpec
from circuitshift.pipeline.validation.simulate.raw_data_set import (
    RAW_STUDY,
    write_simulated_raw_data_set,
)
from circuitshift.pipeline.validation.simulate.truth import PlantedTruth, SimulationSpec

GRIDS = {3: (65, 77, 65), 2: (97, 115, 97)}
STRATEGIES = ("24p+acompcor", "36p", "24p", "none")
RAW = (
    (60, 2.0, 4.0, False),
    (180, 2.0, 4.0, False),
    (480, 2.0, 3.0, False),
    (240, 1.0, 3.0, False),
    (60, 2.0, 4.0, True),
    (240, 1.0, 3.0, True),
)  # volumes, mm of T1w, mm of runs, and whether the structure of each session is measured
ONE = SimulationSpec(
    n_treated=1, n_control=0, n_reference=0, share_missing=0.0, share_out_of_view=0.0
)


# The peak memory of a process includes that of the process that forked it, which holds images here.
# Commands are therefore started by a small process.
LAUNCHER = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
code = os.waitstatus_to_exitcode(status)
print(json.dumps([code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
"""


def run(command: list[str]) -> tuple[float, float]:
    """Run a command; return processor time, s, and peak memory, MiB."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    launcher = [sys.executable, "-S", "-c", LAUNCHER, *command]
    done = subprocess.run(launcher, env=env, stdout=subprocess.PIPE, text=True, check=True)
    code, seconds, mib = json.loads(done.stdout)
    if code not in (0, 3):
        raise SystemExit(f"{command} ended with {code}")
    return float(seconds), float(mib)


def app(data: Path, out: Path, level: str, *flags: str) -> tuple[float, float]:
    command = [sys.executable, "-m", "circuitshift.workflows.cli.main", str(data), str(out), level]
    work = str(out.parent / "work")
    return run([*command, "-w", work, "--nprocs", "1", *flags])


def brain(mm: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an ellipsoid of brain size in the middle of the grid, and the affine."""
    grid = GRIDS[mm]
    affine = np.diag([mm, mm, mm, 1.0])
    affine[:3, 3] = [-96, -132, -78]
    points = np.indices(grid).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    inside = (((points - [0, -18, 10]) / [68, 86, 70]) ** 2).sum(1) <= 1
    return inside.reshape(grid), affine


def write(path: Path, data: np.ndarray, affine: np.ndarray, t_r_s: float = 0.0) -> None:
    image = nib.Nifti1Image(data, affine)
    if t_r_s:
        image.header.set_zooms((*image.header.get_zooms()[:3], t_r_s))
    image.header.set_xyzt_units("mm", "sec")
    path.write_bytes(igzip.compress(image.to_bytes(), 1))


def atlas(folder: Path, n_regions: int) -> Path:
    """Write a label image of equal blocks inside the brain, with its table."""
    inside, affine = brain(2)
    labels = np.zeros(inside.shape, np.int32)
    voxels = np.argwhere(inside)
    order = np.lexsort((voxels[:, 1] // 8, voxels[:, 0] // 8, voxels[:, 2] // 8))
    labels[tuple(voxels[order].T)] = 1 + np.arange(len(voxels)) * n_regions // len(voxels)
    image = folder / f"atlas-Blocks{n_regions}_dseg.nii.gz"
    write(image, labels, affine)
    rows = [f"{k}\tLH_Default_PFC_{k}" for k in range(1, n_regions + 1)]
    (folder / f"atlas-Blocks{n_regions}_dseg.tsv").write_text("\n".join(["index\tname", *rows]))
    return image


def fill(data: Path, mm: int, n_volumes: int, rng: np.random.Generator) -> int:
    """Replace the simulated images by noise of this size; return its number of voxels."""
    inside, affine = brain(mm)
    series = np.zeros((*inside.shape, n_volumes), np.int16, order="F")
    for volume in range(n_volumes):
        series[inside, volume] = rng.normal(1000, 20, int(inside.sum())).astype(np.int16)
    first: Path | None = None
    for path in sorted(data.rglob("*_bold.nii.gz")):
        if first is None:
            write(path, series, affine, 2.0)
            first = path
        else:
            shutil.copy(first, path)
        mask = Path(str(path).replace("desc-preproc_bold", "desc-brain_mask"))
        write(mask, inside.astype(np.uint8), affine)
    return math.prod(inside.shape)


def preprocessed(folder: Path, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Measure participants with preprocessed images: two runs each."""
    blocks = {n: atlas(folder, n) for n in (100, 400, 1000)}
    for mm, n_volumes, cases in (
        (3, 120, [(400, 2)]),
        (3, 480, [(400, 2)]),
        (2, 120, [(100, 2), (400, 2), (1000, 2), (400, 5)]),
        (2, 480, [(100, 2), (400, 2), (1000, 2), (1000, 5)]),
    ):
        data = folder / f"data{mm}-{n_volumes}"
        spec = replace(ONE, n_volumes=n_volumes)
        write_simulated_data_set(data, PlantedTruth("nothing"), spec=spec, rng=rng)
        voxels = fill(data, mm, n_volumes, rng)
        for n_regions, n_strategies in cases:
            out = folder / "out"
            names = STRATEGIES[: n_strategies - 1]  # and the GSR counterpart of the first
            flags = ("--atlas", str(blocks[n_regions]), "--denoise", *names)
            seconds, mib = app(data, out, "participant", *flags)
            failed = [p for p in out.rglob("*_runs.tsv") if "\tfailed\t" in p.read_text()]
            if failed:
                raise SystemExit(failed[0].read_text())
            shutil.rmtree(out)
            yield {
                "runs": 2,
                "volumes": n_volumes,
                "voxels": voxels,
                "regions": n_regions,
                "strategies": n_strategies,
                "seconds": round(seconds, 1),
                "mib": round(mib),
            }
        shutil.rmtree(data)


def raw(folder: Path, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Measure participants with raw images: two sessions of a T1-weighted image and a run each."""
    for n_volumes, t1w_mm, bold_mm, structure in RAW:
        data, out = folder / f"raw{n_volumes}", folder / "out"
        spec = replace(RAW_STUDY, n_treated=1, n_control=0, n_reference=0, n_volumes=n_volumes)
        head = HeadSpec(t1w_mm=t1w_mm, bold_mm=(bold_mm, bold_mm, bold_mm))
        write_simulated_raw_data_set(data, PlantedTruth("nothing"), spec=spec, head=head, rng=rng)
        bold = nib.load(next(data.rglob("*_bold.nii.gz")))
        anat = nib.load(next(data.rglob("*_T1w.nii.gz")))
        flags = ("--structure", "volumes") if structure else ()
        seconds, mib = app(data, out, "participant", "--skip-bids-validation", *flags)
        yield {
            "runs": 2,
            "volumes": n_volumes,
            "voxels": math.prod(bold.shape[:3]),
            "anats": len(list(data.rglob("*_T1w.nii.gz"))),
            "anat_voxels": math.prod(anat.shape),
            "structure": structure,
            "seconds": round(seconds, 1),
            "mib": round(mib),
        }
        shutil.rmtree(out)
        shutil.rmtree(data)


def groups(folder: Path, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Measure the group level of studies of matrices with two visits."""
    for n_participants, n_regions in ((40, 100), (40, 300), (160, 100), (160, 300)):
        data, out = folder / "edges", folder / "out"
        write_edges(data, n_participants, n_regions, rng)
        app(data, out, "participant")
        seconds, mib = app(data, out, "group")
        yield {
            "participants": n_participants,
            "regions": n_regions,
            "seconds": round(seconds, 1),
            "mib": round(mib),
        }
        shutil.rmtree(out)
        shutil.rmtree(data)


def write_edges(
    folder: Path, n_participants: int, n_regions: int, rng: np.random.Generator
) -> None:
    """Write correlations of noise with a shared part; half of the participants are controls."""
    folder.mkdir()
    networks = ("Default", "DorsAttn", "Cont", "Vis")
    names = [
        f"{'LR'[k % 2]}H_{networks[k % 4]}_{'PFC' if k % 8 < 4 else 'Par'}_{k}"
        for k in range(n_regions)
    ]
    rows = ["participant_id\tgroup"]
    for person in range(n_participants):
        rows.append(f"sub-{person:04d}\t{('drug', 'placebo')[person % 2]}")
        for session in ("pre", "post"):
            series = rng.standard_normal((200, n_regions)) + rng.standard_normal((200, 1))
            path = folder / f"sub-{person:04d}" / f"ses-{session}" / "func"
            path.mkdir(parents=True)
            write_matrix(
                path / f"sub-{person:04d}_ses-{session}_task-rest_atlas-Noise_stat-"
                "pearsoncorrelation_relmat.tsv",
                names,
                np.asarray(np.corrcoef(series.T), np.float64),
            )
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")


def main() -> None:
    """Measure all kinds of jobs and print the rows as TOML."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("person", "raw", "group"))
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    makers = {"person": preprocessed, "raw": raw, "group": groups}
    with tempfile.TemporaryDirectory() as name:
        for kind, maker in makers.items():
            if options.only in (None, kind):
                for row in maker(Path(name), rng):
                    print(f"[[{kind}]]", flush=True)
                    for key, value in row.items():
                        print(f"{key} = {json.dumps(value)}", flush=True)
                    print(flush=True)


if __name__ == "__main__":
    main()
