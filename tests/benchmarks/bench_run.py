"""Measure how time and memory of one run grow with volumes, voxels, parcels and strategies.

Run it as ``python tests/benchmarks/bench_run.py`` (five minutes, 400 MB of temporary files). One
simulated run is measured, from a preprocessed image to matrices, maps and carpet plots on disk, in
a process of its own with one thread. Processor time and largest resident memory are those that the
kernel reports, imports included; the line `imports` is measured with imports alone. Exponents are
computed from the two largest sizes after subtraction of `imports`.
"""

import argparse
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure_resources import run as run_process

BASE: dict[str, Any] = {"volumes": 300, "voxel_mm": 3.0, "parcels": 300, "strategies": 2}
SIZES: dict[str, tuple[float, ...]] = {
    "volumes": (150, 300, 600, 1200),
    "voxel_mm": (4.0, 3.0, 2.4, 2.0),
    "parcels": (100, 300, 1000),
    "strategies": (1, 2, 4),
}
STRATEGIES = ("24p+acompcor", "24p+acompcor+gsr", "24p", "24p+gsr")


@dataclass(frozen=True)
class Spent:
    """Time and memory of one process, and the number of voxels of the image."""

    cpu_s: float
    mib: float
    voxels: int


def write_run(folder: Path, n_volumes: int, voxel_mm: float) -> int:
    """Write a participant with two sessions; return the number of voxels of a volume."""
    import nibabel as nib

    from circuitshift.pipeline.validation.simulate.data_set import (
        PlantedTruth,
        SimulationSpec,
        write_simulated_data_set,
    )

    spec = SimulationSpec(
        n_treated=1, n_control=0, n_reference=0, n_volumes=n_volumes, voxel_mm=voxel_mm,
        share_missing=0.0, share_out_of_view=0.0,
    )  # fmt: skip
    write_simulated_data_set(
        folder / "ds", PlantedTruth("nothing"), spec=spec, rng=np.random.default_rng(1)
    )
    image = next(folder.rglob("*ses-pre*_desc-preproc_bold.nii.gz"))
    return int(np.prod(nib.load(image).shape[:3]))


def write_parcels(folder: Path, n_parcels: int) -> Path:
    """Divide the brain mask into slabs of equal size; write a label image and its table."""
    import nibabel as nib

    mask = nib.load(next(folder.rglob("*ses-pre*_desc-brain_mask.nii.gz")))
    inside = np.asarray(mask.dataobj) > 0
    labels = np.zeros(inside.shape, np.int16)
    labels[inside] = 1 + np.arange(inside.sum()) * n_parcels // inside.sum()
    path = folder / f"tpl-MNI152NLin2009cAsym_atlas-Slabs{n_parcels}_dseg.nii.gz"
    nib.save(nib.Nifti1Image(labels, mask.affine), path)
    rows = [f"{k}\tslab{k}\tnone" for k in range(1, n_parcels + 1)]
    text = "\n".join(["index\tlabel\tnetwork", *rows]) + "\n"
    path.with_name(path.name.removesuffix(".nii.gz") + ".tsv").write_text(text)
    return path


def child(folder: Path, atlas: Path | None, n_strategies: int) -> None:
    """Measure the first run; without an atlas, only import the modules that this needs."""
    from circuitshift.pipeline.bids.select_runs import find_runs
    from circuitshift.pipeline.measure.atlas_files import prepare_atlases
    from circuitshift.pipeline.measure.person import measure_participant
    from circuitshift.pipeline.records import AnalysisSettings

    if atlas is None:
        return
    runs = list(find_runs(folder / "ds/derivatives/fmriprep").runs)[:1]
    settings = AnalysisSettings(atlases=(str(atlas),), strategies=STRATEGIES[:n_strategies])
    prepare_atlases(runs, settings, folder / "out")
    outputs = measure_participant(
        runs, [], participant=runs[0].participant, settings=settings, out_dir=folder / "out"
    )
    table = outputs.runs.read_text()
    if "failed" in table:
        sys.exit(table)


def spend(folder: Path, atlas: Path | None, n_strategies: int) -> tuple[float, float]:
    """Measure processor time, s, and largest resident memory, MiB, of a process."""
    words = ["--child", str(folder), str(atlas or ""), str(n_strategies)]
    return run_process([sys.executable, "-W", "ignore", __file__, *words])


def measure(volumes: int, voxel_mm: float, parcels: int, strategies: int) -> Spent:
    """Simulate a run and measure it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        voxels = write_run(folder, volumes, voxel_mm)
        return Spent(*spend(folder, write_parcels(folder, parcels), strategies), voxels)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        imports = spend(Path(name), None, 1)
    print(f"imports: {imports[0]:.1f} s, {imports[1]:.0f} MiB")
    print("| variable | size | processor, s | memory, MiB |\n|---|---|---|---|")
    for variable, sizes in SIZES.items():
        measured = [measure(**(BASE | {variable: size})) for size in sizes]
        shown = [one.voxels for one in measured] if variable == "voxel_mm" else list(sizes)
        for size, one in zip(shown, measured, strict=True):
            print(f"| {variable} | {size} | {one.cpu_s:.1f} | {one.mib:.0f} |", flush=True)
        growth = math.log(shown[-1] / shown[-2])
        rates = (
            math.log((a - offset) / (b - offset)) / growth
            for a, b, offset in (
                (measured[-1].cpu_s, measured[-2].cpu_s, imports[0]),
                (measured[-1].mib, measured[-2].mib, imports[1]),
            )
        )
        print(
            f"| {variable} | exponent | {' | '.join(f'{rate:.2f}' for rate in rates)} |", flush=True
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=3, metavar=("FOLDER", "ATLAS", "N"))
    options = parser.parse_args()
    if options.child:
        root, atlas_file, n_strategies = options.child
        child(Path(root), Path(atlas_file) if atlas_file else None, int(n_strategies))
    else:
        main()
