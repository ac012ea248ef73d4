"""How time and memory of one run grow with volumes, voxels, parcels and strategies.

Run it as ``python tests/benchmarks/bench_run.py`` (five minutes, 400 MB of temporary files). One
simulated run is measured, from a preprocessed image to matrices, maps and carpets on disk, each
time in a process of its own with one thread: processor time and largest resident memory are the
kernel's, imports included; the line `nothing` is those imports alone. Exponents are between
the two largest sizes, of what is left when `nothing` is taken off.
"""

import argparse
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure_resources import run as run_process

BASE = {"volumes": 300, "voxel_mm": 3.0, "parcels": 300, "strategies": 2}
SIZES = {
    "volumes": (150, 300, 600, 1200),
    "voxel_mm": (4.0, 3.0, 2.4, 2.0),
    "parcels": (100, 300, 1000),
    "strategies": (1, 2, 4),
}
STRATEGIES = ("24p+acompcor", "24p+acompcor+gsr", "24p", "24p+gsr")


@dataclass(frozen=True)
class Spent:
    """What one process took, and the voxels of the image."""

    cpu_s: float
    mib: float
    voxels: int


def write_run(folder: Path, n_volumes: int, voxel_mm: float) -> int:
    """Write a person with two short sessions; return the voxels of a volume."""
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
    """Cut the brain mask into so many slabs of equal size, as a label image with its table."""
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
    """Measure the first run; without an atlas, only import what that needs."""
    import nilearn.interfaces.fmriprep  # noqa: F401 - what reads confounds

    from circuitshift.pipeline.bids.select_runs import find_runs
    from circuitshift.pipeline.measure.atlas_files import prepare_atlases
    from circuitshift.pipeline.measure.person import measure_participant
    from circuitshift.pipeline.records import AnalysisSettings

    if atlas is None:
        return
    runs = list(find_runs(folder / "ds/derivatives/fmriprep").runs)[:1]
    settings = AnalysisSettings(atlases=(str(atlas),), strategies=STRATEGIES[:n_strategies])
    prepare_atlases(runs, settings, folder / "out")
    made = measure_participant(
        runs, [], participant=runs[0].participant, settings=settings, out_dir=folder / "out"
    )
    said = made.runs.read_text()
    if "failed" in said:
        sys.exit(said)


def spend(folder: Path, atlas: Path | None, n_strategies: int) -> tuple[float, float]:
    """Processor time, s, and largest resident memory, MiB, of a process."""
    words = ["--child", str(folder), str(atlas or ""), str(n_strategies)]
    return run_process([sys.executable, "-W", "ignore", __file__, *words])


def measure(volumes: int, voxel_mm: float, parcels: int, strategies: int) -> Spent:
    """Make a run and measure it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        voxels = write_run(folder, volumes, voxel_mm)
        return Spent(*spend(folder, write_parcels(folder, parcels), strategies), voxels)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        nothing = spend(Path(name), None, 1)
    print(f"nothing: {nothing[0]:.1f} s, {nothing[1]:.0f} MiB")
    print("| what grows | size | processor, s | memory, MiB |\n|---|---|---|---|")
    for what, sizes in SIZES.items():
        found = [measure(**(BASE | {what: size})) for size in sizes]
        shown = [one.voxels for one in found] if what == "voxel_mm" else list(sizes)
        for size, one in zip(shown, found, strict=True):
            print(f"| {what} | {size} | {one.cpu_s:.1f} | {one.mib:.0f} |", flush=True)
        growth = math.log(shown[-1] / shown[-2])
        rates = (
            math.log((a - zero) / (b - zero)) / growth
            for a, b, zero in (
                (found[-1].cpu_s, found[-2].cpu_s, nothing[0]),
                (found[-1].mib, found[-2].mib, nothing[1]),
            )
        )
        print(f"| {what} | exponent | {' | '.join(f'{rate:.2f}' for rate in rates)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=3, metavar=("FOLDER", "ATLAS", "N"))
    given = parser.parse_args().child
    if given:
        child(Path(given[0]), Path(given[1]) if given[1] else None, int(given[2]))
    else:
        main()
