"""Compare matrices, time and memory with an nilearn script that reads fMRIPrep output.

Run it as ``make bench-peers`` or ``python tests/benchmarks/bench_peers.py`` (about three minutes,
300 MB of temporary files; ``--rounds 1`` is quicker). A simulated study of 4 participants with 2
sessions each (200 volumes of 3 mm, three of them before the steady state; 300 regions as a label
image) is measured by three programs. Each measurement is a process of its own, imports included,
and the programs alternate (A B C A B C):

- *by hand*: a script with ``load_confounds``, ``NiftiLabelsMasker`` and ``ConnectivityMeasure`` of
  nilearn;
- *arrays*: only the same steps, with functions of circuitshift;
- *app*: ``circuitshift ... participant --nprocs 1``, which also checks its inputs, repeats the
  analysis with global signal regression, computes seed maps, carpet plots and maps of the temporal
  signal-to-noise ratio, and writes a report.

The benchmark fails unless the correlations of all three agree within 1e-5.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure_resources import run as run_process

N_PARTICIPANTS, N_VOLUMES, VOXEL_MM, N_DUMMY = 4, 200, 3.0, 3
TOLERANCE = 1e-5
SIDES = ("by hand", "arrays", "app")
ATLAS = "tpl-MNI152NLin2009cAsym_atlas-Peers300_dseg"


def make(folder: Path) -> None:
    """Write the study, and its regions as a label image with a table."""
    import nibabel as nib

    from circuitshift.atlases.load import load_atlas
    from circuitshift.pipeline.validation.simulate.bold_run import make_grid
    from circuitshift.pipeline.validation.simulate.data_set import (
        PlantedTruth,
        SimulationSpec,
        write_simulated_data_set,
    )

    spec = SimulationSpec(
        n_treated=N_PARTICIPANTS // 2,
        n_control=N_PARTICIPANTS // 2,
        n_reference=0,
        n_volumes=N_VOLUMES,
        voxel_mm=VOXEL_MM,
        share_missing=0.0,
        share_out_of_view=0.0,
        n_dummy=N_DUMMY,
    )
    write_simulated_data_set(
        folder / "ds", PlantedTruth("specific"), spec=spec, rng=np.random.default_rng(20260101)
    )
    atlas = load_atlas(spec.atlas)
    grid = make_grid(atlas, VOXEL_MM)
    labels = np.zeros(grid.brain.size, np.int16)
    labels[grid.voxels] = grid.region + 1
    image = nib.Nifti1Image(labels.reshape(grid.brain.shape).T, grid.affine)
    nib.save(image, folder / f"{ATLAS}.nii.gz")
    rows = [f"{k}\t{r.label}\t{r.network}" for k, r in enumerate(atlas.regions, start=1)]
    (folder / f"{ATLAS}.tsv").write_text("\n".join(["index\tlabel\tnetwork", *rows]) + "\n")


def images(folder: Path) -> list[Path]:
    return sorted(
        folder.glob("ds/derivatives/fmriprep/sub-*/ses-*/func/*_desc-preproc_bold.nii.gz")
    )


def save(folder: Path, side: str, image: Path, matrix: np.ndarray) -> None:
    np.save(folder / f"{side}_{image.name.split('_space-')[0]}.npy", matrix)


def by_hand(folder: Path) -> None:
    """Compute the matrices with nilearn and the options of the default strategy."""
    from nilearn.connectome import ConnectivityMeasure
    from nilearn.interfaces.fmriprep import load_confounds
    from nilearn.maskers import NiftiLabelsMasker
    from sklearn.covariance import EmpiricalCovariance

    for image in images(folder):
        confounds, sample_mask = load_confounds(
            str(image),
            strategy=("motion", "high_pass", "compcor"),
            motion="full",
            compcor="anat_separated",
            n_compcor=5,
        )
        masker = NiftiLabelsMasker(
            folder / f"{ATLAS}.nii.gz",
            mask_img=str(image).replace("_desc-preproc_bold", "_desc-brain_mask"),
            detrend=True,
            standardize="zscore_sample",
            reports=False,
        )
        series = masker.fit_transform(str(image), confounds=confounds, sample_mask=sample_mask)
        # nilearn's default is Ledoit-Wolf shrinkage; the precision would take most of the time
        covariance = EmpiricalCovariance(store_precision=False)
        measure = ConnectivityMeasure(covariance, kind="correlation", standardize=None)
        save(folder, "by hand", image, measure.fit_transform([series])[0])


def arrays(folder: Path) -> None:
    """Compute the matrices with functions of circuitshift."""
    from circuitshift.atlases.load import load_atlas
    from circuitshift.pipeline import edges as connectivity
    from circuitshift.pipeline.bids import select_runs as bids
    from circuitshift.pipeline.measure import denoise, extract

    atlas = load_atlas(folder / f"{ATLAS}.nii.gz")
    strategy = denoise.load_strategies()["24p+acompcor"]
    for found_run in bids.find_runs(folder / "ds/derivatives/fmriprep").runs:
        run = bids.check_run(found_run)[0]
        assert run.mask is not None
        assert run.confounds is not None
        assert run.t_r_s is not None
        mask, header = extract.read_mask(run.mask)
        parcels = extract.parcellate(atlas, header.affine, header.shape, mask)
        extraction = extract.extract(run.path, [parcels])
        regressors = denoise.load_regressors(
            run.confounds, strategy, n_volumes=extraction.n_volumes
        )
        series, _ = denoise.clean(extraction.series[0], regressors, strategy, run.t_r_s)
        save(folder, "arrays", run.path, connectivity.correlation(series))


CHILDREN = {"make": make, "by hand": by_hand, "arrays": arrays}


def command(side: str, folder: Path) -> list[str]:
    if side != "app":
        return [sys.executable, "-W", "ignore", __file__, "--child", side, str(folder)]
    words = ("participant", "-w", folder / "work", "--atlas", folder / f"{ATLAS}.nii.gz")
    program = (
        sys.executable,
        "-m",
        "circuitshift.workflows.cli.main",
        folder / "ds",
        folder / "out",
    )
    return [str(word) for word in (*program, *words, "--nprocs", 1)]


def measure(side: str, folder: Path) -> tuple[float, float, float]:
    """Measure wall and processor time, s, and peak memory, MiB, of a process."""
    for name in ("out", "work"):  # otherwise the second round would have nothing to do
        shutil.rmtree(folder / name, ignore_errors=True)
    start = time.perf_counter()
    seconds, mib = run_process(command(side, folder))
    return time.perf_counter() - start, seconds, mib


def collect(folder: Path) -> None:
    """Read the matrices that the app wrote."""
    from circuitshift.pipeline.io.tables import read_matrix

    for image in images(folder):
        func = folder / "out" / image.relative_to(folder / "ds/derivatives/fmriprep").parent
        (path,) = func.glob("*_stat-pearsoncorrelation_relmat.tsv")
        save(folder, "app", image, read_matrix(path)[1])


def largest_difference(folder: Path, one: str, two: str) -> float:
    """Return the largest difference between the correlations of two programs, over all runs."""
    upper = np.triu_indices(300, 1)
    largest = 0.0
    files = sorted(folder.glob(f"{one}_*.npy"))
    assert len(files) == 2 * N_PARTICIPANTS, files
    for path in files:
        a, b = (np.load(folder / path.name.replace(one, name, 1)) for name in (one, two))
        assert a.shape == b.shape == (300, 300), path.name
        largest = max(largest, float(np.abs(a - b)[upper].max()))
    return largest


def compare(folder: Path, rounds: int) -> None:
    """Run all programs in turn, print the table, and fail if correlations differ."""
    measure("make", folder)
    for side in SIDES[1:]:  # writes the bytecode
        measure(side, folder)
    taken: dict[str, list[tuple[float, float, float]]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side, found in taken.items():
            found.append(measure(side, folder))
    collect(folder)
    print(f"{2 * N_PARTICIPANTS} runs, {N_VOLUMES} volumes, 300 regions; median of {rounds}\n")
    print("| program | processor s | wall s | peak MiB | by hand / program: processor, wall, MiB |")
    print("|---|---|---|---|---|")
    for side, found in taken.items():
        wall, seconds, mib = (statistics.median(column) for column in zip(*found, strict=True))
        ratios = [
            statistics.median(b[k] / a[k] for a, b in zip(found, taken["by hand"], strict=True))
            for k in (1, 0, 2)
        ]
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {side} | {seconds:.1f} | {wall:.1f} | {mib:.0f} | {shown} |")
    print()
    for side in SIDES[1:]:
        largest = largest_difference(folder, "by hand", side)
        print(f"by hand against {side}: largest difference of a correlation {largest:.1e}")
        assert largest <= TOLERANCE, f"more than {TOLERANCE}"


def main() -> None:
    """Compare the programs in a temporary folder, or run one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("TASK", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        CHILDREN[options.child[0]](Path(options.child[1]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        compare(Path(scratch), options.rounds)


if __name__ == "__main__":
    main()
