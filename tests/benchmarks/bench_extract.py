"""Compare time and memory of the extraction and denoising of one run with nilearn.

Run it as ``python tests/benchmarks/bench_extract.py`` (about ten minutes, 3 GB of temporary
files; ``--quick`` compares the programs once, with the masked file only). Each measurement is a
process of its own, imports included, and the programs alternate (A B A B); the last table is
measured in one process. Two runs of 99x117x95 voxels (2 mm) and 240 volumes are simulated as
int16 and compressed by zlib at level 1, as nibabel does:

- *masked*: zero outside an ellipsoid of brain size, as in most preprocessed runs;
- *full*: noise in every voxel, which compresses badly.
"""

import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from circuitshift.atlases.records import Atlas

SHAPE, N_VOLUMES, T_R_S = (99, 117, 95), 240, 2.0
ORIGIN = (-98.0, -134.0, -72.0)
LOW_HZ, HIGH_HZ = 0.008, 0.08
CONFOUNDS = (36, 24, 12)  # number of regressors of each strategy
FILES = ("masked", "full")


# Data


def make(folder: Path) -> None:
    """Write both runs, the mask, two label images and the confounds."""
    import nibabel as nib

    rng = np.random.default_rng(2)
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = ORIGIN
    unit = [np.linspace(-1, 1, size) for size in SHAPE]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*unit, indexing="ij")))
    # Two litres, and the neighbourhood of every Seitzman centre: nilearn refuses empty spheres.
    centres = np.round((seitzman().centres_mm() - ORIGIN) / 2).astype(int)
    mask = radius < 0.76
    for x, y, z in centres:
        mask[x - 2 : x + 3, y - 2 : y + 3, z - 2 : z + 3] = True
    nib.save(nib.Nifti1Image(mask.astype("u1"), affine), folder / "mask.nii.gz")
    where = np.argwhere(mask)
    for n_labels in (400, 200):
        seeds = where[rng.choice(len(where), n_labels, replace=False)]
        labels = np.zeros(SHAPE, "i2")
        labels[mask] = _nearest_seed(where, seeds) + 1
        nib.save(nib.Nifti1Image(labels, affine), folder / f"labels{n_labels}.nii.gz")
    np.save(folder / "confounds.npy", rng.standard_normal((N_VOLUMES, max(CONFOUNDS))))
    base = rng.integers(400, 1600, SHAPE)
    header = nib.Nifti1Image(np.zeros((1, 1, 1, 1), "i2"), affine).header
    header.set_data_shape((*SHAPE, N_VOLUMES))
    header.set_zooms((2, 2, 2, T_R_S))
    header.set_xyzt_units("mm", "sec")
    header["vox_offset"] = 352
    for name, spread, inside in (("masked", 25, mask), ("full", 150, np.ones(SHAPE, bool))):
        with gzip.open(folder / f"{name}.nii.gz", "wb", compresslevel=1) as file:
            file.write(header.binaryblock + bytes(4))
            for _ in range(N_VOLUMES):
                noise = rng.standard_normal(SHAPE, "f4") * spread
                file.write(((base + noise) * inside).astype("<i2").tobytes(order="F"))


def _nearest_seed(points: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Return the index of the nearest seed of each point."""
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(seeds).query(points)[1])


def seitzman() -> "Atlas":
    """Load the 300 Seitzman spheres, all of 5 mm, since nilearn uses one radius for all."""
    from circuitshift.atlases.load import load_atlas

    atlas = load_atlas("seitzman300")
    return replace(atlas, regions=tuple(replace(r, radius_mm=5.0) for r in atlas.regions))


# Programs: each returns the denoised series


def ours(
    folder: Path, name: str, atlases: list["Atlas"], n_confounds: tuple[int, ...]
) -> list[np.ndarray]:
    """Average all atlases in one pass over the volumes, then denoise the means."""
    from circuitshift.pipeline.measure import denoise, extract
    from circuitshift.pipeline.records import Strategy

    confounds = np.load(folder / "confounds.npy")
    mask, header = extract.read_mask(folder / "mask.nii.gz")
    parcels = [extract.parcellate(atlas, header.affine, header.shape, mask) for atlas in atlases]
    extraction = extract.extract(folder / f"{name}.nii.gz", parcels)
    band = Strategy("bench", (), HIGH_HZ, LOW_HZ, None, "", "", gsr=False)
    out = []
    for series in extraction.series:
        for count in n_confounds:
            regressors = denoise.Regressors(
                values=confounds[:, :count],
                names=tuple(f"c{k}" for k in range(count)),
                keep=np.ones(N_VOLUMES, bool),
                fd_mm=np.zeros(N_VOLUMES),
                n_dummy=0,
            )
            cleaned, _ = denoise.clean(series, regressors, band, T_R_S)
            out.append((cleaned - cleaned.mean(0)) / cleaned.std(0, ddof=1))
    return out


def label_atlas(folder: Path, n_labels: int) -> "Atlas":
    """Return the atlas of one of the label images."""
    from circuitshift.atlases.records import Atlas, Region

    regions = tuple(Region(n, f"r{n}") for n in range(1, n_labels + 1))
    return Atlas(f"L{n_labels}", regions, "labels", image=folder / f"labels{n_labels}.nii.gz")


def ours_one(folder: Path, name: str) -> list[np.ndarray]:
    return ours(folder, name, [label_atlas(folder, 400)], CONFOUNDS[:1])


def ours_six(folder: Path, name: str) -> list[np.ndarray]:
    return ours(folder, name, [label_atlas(folder, n) for n in (400, 200)], CONFOUNDS)


def ours_spheres(folder: Path, name: str) -> list[np.ndarray]:
    return ours(folder, name, [seitzman()], CONFOUNDS[:1])


def _options() -> dict[str, Any]:
    return {
        "detrend": True,
        "low_pass": HIGH_HZ,
        "high_pass": LOW_HZ,
        "t_r": T_R_S,
        "standardize": "zscore_sample",
    }


def theirs_one(folder: Path, name: str) -> list[np.ndarray]:
    from nilearn.maskers import NiftiLabelsMasker

    masker = NiftiLabelsMasker(
        str(folder / "labels400.nii.gz"), mask_img=str(folder / "mask.nii.gz"), **_options()
    )
    run, confounds = str(folder / f"{name}.nii.gz"), np.load(folder / "confounds.npy")
    return [masker.fit_transform(run, confounds=confounds)]


def theirs_six(folder: Path, name: str) -> list[np.ndarray]:
    """Extract two atlases and denoise each with three strategies."""
    from nilearn.maskers import NiftiLabelsMasker
    from nilearn.signal import clean

    confounds, out = np.load(folder / "confounds.npy"), []
    for n_labels in (400, 200):
        masker = NiftiLabelsMasker(
            str(folder / f"labels{n_labels}.nii.gz"),
            mask_img=str(folder / "mask.nii.gz"),
            standardize=None,
        )
        series = masker.fit_transform(str(folder / f"{name}.nii.gz"))
        out += [clean(series, confounds=confounds[:, :k], **_options()) for k in CONFOUNDS]
    return out


def theirs_spheres(folder: Path, name: str) -> list[np.ndarray]:
    """Extract as float64, since nilearn would round the means of this integer run otherwise."""
    from nilearn.maskers import NiftiSpheresMasker

    masker = NiftiSpheresMasker(
        seitzman().centres_mm().tolist(),
        radius=5.0,
        mask_img=str(folder / "mask.nii.gz"),
        allow_overlap=True,
        dtype="float64",
        **_options(),
    )
    run, confounds = str(folder / f"{name}.nii.gz"), np.load(folder / "confounds.npy")
    return [masker.fit_transform(run, confounds=confounds)]


PROGRAMS: dict[str, Callable[[Path, str], list[np.ndarray]]] = {
    program.__name__: program
    for program in (ours_one, ours_six, ours_spheres, theirs_one, theirs_six, theirs_spheres)
}


# Measurement


def child(task: str, folder: Path, name: str) -> None:
    """Run one task in this process; save the series in `folder` and print the peak memory."""
    if task == "make":
        make(folder)
        return
    if task == "added":
        print(json.dumps(added(folder, name)))
        return
    for number, series in enumerate(PROGRAMS[task](folder, name)):
        np.save(folder / f"{task}_{number}.npy", series)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def start(task: str, folder: Path, name: str = "") -> tuple[float, str]:
    """Run `child` in a new process; return its wall time, s, and its standard output."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-W", "ignore", __file__, "--child", task, str(folder), name]
    begin = time.perf_counter()
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - begin, done.stdout.strip()


def added(folder: Path, name: str, repeats: int = 5) -> dict[str, float]:
    """Measure the median time, s, of decompressing the run alone and of all of `ours_one`."""
    from isal import igzip

    def inflate() -> None:
        with igzip.open(folder / f"{name}.nii.gz", "rb") as file:
            while file.read(2 * int(np.prod(SHAPE))):
                pass

    ours_one(folder, name)  # imports take time once per process, not per run
    times: dict[str, list[float]] = {"inflate": [], "all": []}
    for _ in range(repeats):
        for key, taken in times.items():
            begin = time.perf_counter()
            if key == "inflate":
                inflate()
            else:
                ours_one(folder, name)
            taken.append(time.perf_counter() - begin)
    return {key: statistics.median(values) for key, values in times.items()}


def largest_difference(folder: Path, one: str, two: str) -> tuple[float, int]:
    """Return the largest difference between two programs, and the number of excluded columns.

    Overlapping spheres are excluded, since circuitshift assigns each voxel to one sphere only.
    """
    largest, n_left = 0.0, 0
    for path in sorted(folder.glob(f"{one}_*.npy")):
        a, b = np.load(path), np.load(folder / path.name.replace(one, two))
        same = ~overlapping() if "spheres" in one else np.ones(a.shape[1], bool)
        n_left += int((~same).sum())
        largest = max(largest, float(np.abs(a - b)[:, same].max()))
    return largest, n_left


def overlapping() -> np.ndarray:
    """Return which Seitzman spheres overlap with another one at a radius of 5 mm."""
    centres = seitzman().centres_mm()
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    return np.asarray(distance.min(1) <= 10.0)


def compare(folder: Path, case: str, name: str, n_pairs: int) -> None:
    """Run both programs in turn and print a row of medians over pairs."""
    wall: dict[str, list[float]] = {"ours": [], "theirs": []}
    peak: dict[str, float] = {}
    for _ in range(n_pairs):
        for program, taken in wall.items():
            seconds, printed = start(f"{program}_{case}", folder, name)
            taken.append(seconds)
            peak[program] = max(peak.get(program, 0.0), float(printed))
    ratios = [b / a for a, b in zip(wall["ours"], wall["theirs"], strict=True)]
    largest, n_left = largest_difference(folder, f"ours_{case}", f"theirs_{case}")
    print(
        f"{case:8} {name:7} {statistics.median(wall['ours']):6.2f} "
        f"{statistics.median(wall['theirs']):7.2f} {statistics.median(ratios):6.1f} "
        f"({min(ratios):.1f}-{max(ratios):.1f}) {peak['ours']:6.0f} {peak['theirs']:6.0f} "
        f"{peak['theirs'] / peak['ours']:6.1f}   {largest:.1e}"
        + (f" ({n_left} overlapping spheres excluded)" if n_left else ""),
        flush=True,
    )


def main() -> None:
    """Simulate the data, compare the programs and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", nargs=3, metavar=("TASK", "FOLDER", "NAME"))
    options = parser.parse_args()
    if options.child:
        task, folder, name = options.child
        child(task, Path(folder), name)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        start("make", folder)
        for name in FILES:
            size = (folder / f"{name}.nii.gz").stat().st_size / 1e6
            print(f"{name}: 99x117x95x240 int16, {size:.0f} MB compressed")
        print("\ncase     file    ours s  theirs  ratio (range)   MiB    MiB  ratio   max |diff|")
        start("ours_one", folder, "masked")  # writes the bytecode and fills the page cache
        start("theirs_one", folder, "masked")
        for case in ("one", "six", "spheres"):
            for name in FILES[:1] if options.quick else FILES:
                compare(folder, case, name, 1 if options.quick or case == "spheres" else 3)
        print("\nin one process, s: decompression by isal, complete run (400 labels), ratio")
        for name in FILES:
            times = json.loads(start("added", folder, name)[1])
            ratio = times["all"] / times["inflate"]
            print(f"{name:7} {times['inflate']:.3f} {times['all']:.3f} {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
