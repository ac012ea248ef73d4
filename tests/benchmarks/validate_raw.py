"""Estimate the bias of a change of connectivity that is measured from simulated raw images.

Run it as ``python tests/benchmarks/validate_raw.py --heads 12`` (about five minutes per head on one
core). Each simulated head is scanned in three sessions, at a different position in the scanner and
with a T1-weighted image in each, and is processed by ``circuitshift ... participant``. The true
correlations are equal in the first two sessions; in the third, two circuits have changed (default
mode, and default mode with task-positive). Neural series, physiology, motion and thermal noise are
equal in all sessions. Differences between the edges of sessions are therefore due to the simulated
change and to the effects of position on preprocessing.

Edges are compared with those of a perfect scan: the simulated series, denoised with the regressors
that were estimated. The following are reported over heads, with 95 % intervals (t):

- *no change*: second minus first session, mean of each circuit and of all edges;
- *change*: measured minus simulated, the same means, and the slope over edges of the measured on
  the simulated change;
- *attenuation*: the slope expected from the correlation of measured with simulated series alone.
  Noise that two regions do not share multiplies their correlation by the square root of the product
  of their proportions of signal variance (Spearman 1904).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.edges import edges
from circuitshift.pipeline.io import images, tables
from circuitshift.pipeline.measure.denoise import (
    clean,
    get_strategy,
    load_regressors,
    load_strategies,
)
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.validation.simulate.bold_run import draw_series
from circuitshift.pipeline.validation.simulate.cohort import (
    SimulatedParticipant,
    draw_correlations,
    draw_study,
)
from circuitshift.pipeline.validation.simulate.head import HeadSpec, draw_head, draw_pose, draw_t1w
from circuitshift.pipeline.validation.simulate.raw_data_set import BoldTruth, draw_bold
from circuitshift.pipeline.validation.simulate.truth import (
    PlantedTruth,
    Population,
    SimulationSpec,
    plant,
)

SESSIONS = ("one", "again", "changed")
SPEC = HeadSpec(t1w_mm=2.0, bold_mm=(3.5, 3.5, 3.5), fd_mm=0.15)


def write(
    root: Path, spec: HeadSpec, n_volumes: int, seed: int
) -> tuple[dict[str, BoldTruth], Population]:
    """Write three sessions of one head; return the runs and the population with its circuits."""
    rng = np.random.default_rng(seed)
    atlas = load_atlas("seitzman300")
    study = draw_study(SimulationSpec(t_r_s=spec.t_r_s), PlantedTruth("specific"), atlas, rng)
    before = next(draw_correlations(study, SimulatedParticipant("01", "treated"), [False], rng))
    after = plant(before, study.truth, study.population, response=1.0)
    head, runs = draw_head(spec, rng), {}
    for session, correlation in zip(SESSIONS, (before, before, after), strict=True):
        series = draw_series(correlation, n_volumes, spec.t_r_s, np.random.default_rng([seed, 1]))
        pose = draw_pose(spec, rng)
        t1w = draw_t1w(head, pose, spec, rng)
        moved = transforms.matrix_of([*rng.normal(0, 0.7, 3), *rng.normal(0, 0.01, 3)]) @ pose
        noise = np.random.default_rng([seed, 2])
        run = draw_bold(head, spec, series, atlas, pose=moved, rng=noise)
        stem = root / "sub-01" / f"ses-{session}"
        images.write(stem / "anat" / f"sub-01_ses-{session}_T1w.nii.gz", t1w)
        path = stem / "func" / f"sub-01_ses-{session}_task-rest_bold.nii.gz"
        images.write(path, run.image, t_r_s=spec.t_r_s)
        sidecar = {
            "RepetitionTime": spec.t_r_s,
            "SliceTiming": run.slice_times_s.tolist(),
            "TaskName": "rest",
        }
        tables.write_json(path.with_name(path.name.replace(".nii.gz", ".json")), sidecar)
        runs[session] = run
    return runs, study.population


def measure(root: Path) -> Path:
    """Preprocess and measure with the command line; return the output folder."""
    command = [sys.executable, "-m", "circuitshift.workflows.cli.main", str(root / "raw")]
    command += [str(root / "out"), "participant", "-w", str(root / "work"), "--nprocs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return root / "out"


def compare(out: Path, session: str, run: BoldTruth, t_r_s: float) -> dict[str, np.ndarray]:
    """Return measured, perfect and true edges (Fisher z), and the correlation of each series.

    The correlation is that of the measured series with the series of a perfect scan.
    """
    folder = out / "sub-01" / f"ses-{session}" / "func"
    (path,) = (p for p in folder.glob("*_stat-mean_timeseries.tsv") if "desc-" not in p.name)
    strategy = get_strategy(AnalysisSettings().strategies[0], load_strategies())
    (confounds,) = (out / "preproc/sub-01" / f"ses-{session}").rglob("*confounds_timeseries.tsv")
    measured = tables.read_series(path)[1]
    perfect = clean(run.carried, load_regressors(confounds, strategy), strategy, t_r_s)[0]
    upper = np.triu_indices(measured.shape[1], 1)
    true = np.corrcoef(run.series[run.n_dummy :].T)[upper]
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(measured.T, perfect.T, strict=True)]
    return {
        "measured": edges(measured),
        "perfect": edges(perfect),
        "true": np.arctanh(true),
        "r": np.array(r),
    }


def head(seed: int, spec: HeadSpec, n_volumes: int) -> dict[str, float]:
    """Simulate, preprocess and compare one head."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        runs, population = write(root / "raw", spec, n_volumes, seed)
        out = measure(root)
        sessions = {s: compare(out, s, run, spec.t_r_s) for s, run in runs.items()}
    one, again, changed = (sessions[s] for s in SESSIONS)
    kinds = ("measured", "perfect", "true")
    null = {kind: again[kind] - one[kind] for kind in kinds}
    change = {kind: changed[kind] - one[kind] for kind in kinds}
    available = np.isfinite(change["measured"])
    rows = {"all edges": available, **population.circuits}
    first, second = np.triu_indices(one["r"].size, 1)
    signal = one["r"][first] * one["r"][second]
    results = {
        "series r": np.nanmedian(one["r"]),
        "series r, 5 %": np.nanpercentile(one["r"], 5),
        "edges r": np.corrcoef(one["measured"][available], one["perfect"][available])[0, 1],
        "edges slope": np.polyfit(one["perfect"][available], one["measured"][available], 1)[0],
        "edges bias": (one["measured"] - one["perfect"])[available].mean(),
        "slope on perfect": np.polyfit(
            change["perfect"][available], change["measured"][available], 1
        )[0],
        "slope on true": np.polyfit(change["true"][available], change["measured"][available], 1)[0],
        "attenuation": np.nanmedian(signal),
    }
    for label, where in rows.items():
        for comparison, part in (("no change", null), ("change", change)):
            means = {kind: np.nanmean(part[kind][where]) for kind in kinds}
            results |= {f"{comparison}: {label}, {kind}": mean for kind, mean in means.items()}
            for kind in kinds[1:]:
                results[f"{comparison}: {label}, measured minus {kind}"] = (
                    means["measured"] - means[kind]
                )
        spread = np.nanstd(null["measured"][where])
        results[f"no change: {label}, spread over edges"] = spread
    return {key: float(value) for key, value in results.items()}


def main() -> None:
    """Simulate all heads and print means with intervals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument(
        "--noise", type=float, default=SPEC.noise, help="thermal noise relative to the signal"
    )
    parser.add_argument("--voxel-mm", type=float, default=SPEC.bold_mm[0])
    parser.add_argument("--volumes", type=int, default=120)
    parser.add_argument(
        "--json", type=Path, help="file for the results of each head, updated after each head"
    )
    options = parser.parse_args()
    spec = replace(SPEC, noise=options.noise, bold_mm=(options.voxel_mm,) * 3)
    results = []
    for seed in range(options.first_seed, options.first_seed + options.heads):
        results.append(head(seed, spec, options.volumes))
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))
    n = len(results)
    print(f"{n} heads, noise {spec.noise}, voxels {spec.bold_mm} mm, {options.volumes} volumes")
    for key in results[0]:
        values = np.array([row[key] for row in results])
        half = stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
        low, high = values.mean() - half, values.mean() + half
        print(f"{key:55s} {values.mean():8.4f} [{low:.4f}, {high:.4f}]")


if __name__ == "__main__":
    main()
