"""Is a change of connectivity recovered from raw images without bias? Many heads, truth known.

Run it as ``python tests/benchmarks/validate_raw.py --heads 12`` (some five minutes a head on one
core). Every simulated head is scanned three times, each time at another place of the scanner and
with a T1-weighted image of its own, and goes through ``circuitshift ... participant``: twice with
the same correlations, once with the planted change of two circuits (default mode, and default mode
with task-positive). Series, physiology, motion and
thermal noise are the same in the three, so that what differs between their edges is what was
planted, and what preprocessing made of the positions.

Edges are held against those of a perfect scan: the planted series themselves, denoised with the
regressors that were found. Reported, over heads with 95 % intervals (t):

- *nothing changed*: second minus first session, mean of each circuit and of all edges;
- *change*: found minus planted, the same means, and the slope of found on planted over edges;
- *attenuation*: the slope that the correlation of found with planted series alone would give,
  since noise that two regions do not share shrinks their correlation by the root of the product of
  the shares of variance that are signal (Spearman 1904).
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
    """Scan a head three times; return the runs, and the edges of circuits."""
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
    """Preprocess and measure by the command line; return the folder of results."""
    words = [sys.executable, "-m", "circuitshift.workflows.cli.main", str(root / "raw")]
    words += [str(root / "out"), "participant", "-w", str(root / "work"), "--nprocs", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return root / "out"


def compare(out: Path, session: str, run: BoldTruth, t_r_s: float) -> dict[str, np.ndarray]:
    """Return edges (Fisher z) found, of a perfect scan, and planted; and r of each series."""
    folder = out / "sub-01" / f"ses-{session}" / "func"
    (path,) = (p for p in folder.glob("*_stat-mean_timeseries.tsv") if "desc-" not in p.name)
    strategy = get_strategy(AnalysisSettings().strategies[0], load_strategies())
    (confounds,) = (out / "preproc/sub-01" / f"ses-{session}").rglob("*confounds_timeseries.tsv")
    found = tables.read_series(path)[1]
    perfect = clean(run.carried, load_regressors(confounds, strategy), strategy, t_r_s)[0]
    upper = np.triu_indices(found.shape[1], 1)
    planted = np.corrcoef(run.series[run.n_dummy :].T)[upper]
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(found.T, perfect.T, strict=True)]
    return {
        "found": edges(found),
        "perfect": edges(perfect),
        "planted": np.arctanh(planted),
        "r": np.array(r),
    }


def head(seed: int, spec: HeadSpec, n_volumes: int) -> dict[str, float]:
    """Scan, preprocess and compare one head."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        runs, participants = write(root / "raw", spec, n_volumes, seed)
        out = measure(root)
        seen = {s: compare(out, s, run, spec.t_r_s) for s, run in runs.items()}
    one, again, changed = (seen[s] for s in SESSIONS)
    kinds = ("found", "perfect", "planted")
    null = {kind: again[kind] - one[kind] for kind in kinds}
    change = {kind: changed[kind] - one[kind] for kind in kinds}
    there = np.isfinite(change["found"])
    rows = {"all edges": there, **participants.circuits}
    first, second = np.triu_indices(one["r"].size, 1)
    signal = one["r"][first] * one["r"][second]
    said = {
        "series r": np.nanmedian(one["r"]),
        "series r, 5 %": np.nanpercentile(one["r"], 5),
        "edges r": np.corrcoef(one["found"][there], one["perfect"][there])[0, 1],
        "edges slope": np.polyfit(one["perfect"][there], one["found"][there], 1)[0],
        "edges bias": (one["found"] - one["perfect"])[there].mean(),
        "slope on perfect": np.polyfit(change["perfect"][there], change["found"][there], 1)[0],
        "slope on planted": np.polyfit(change["planted"][there], change["found"][there], 1)[0],
        "attenuation": np.nanmedian(signal),
    }
    for label, where in rows.items():
        for what, part in (("nothing changed", null), ("change", change)):
            means = {kind: np.nanmean(part[kind][where]) for kind in kinds}
            said |= {f"{what}: {label}, {kind}": mean for kind, mean in means.items()}
            for kind in kinds[1:]:
                said[f"{what}: {label}, found minus {kind}"] = means["found"] - means[kind]
        spread = np.nanstd(null["found"][where])
        said[f"nothing changed: {label}, spread over edges"] = spread
    return {key: float(value) for key, value in said.items()}


def main() -> None:
    """Measure heads, and print means with intervals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--noise", type=float, default=SPEC.noise, help="thermal, of the signal")
    parser.add_argument("--voxel-mm", type=float, default=SPEC.bold_mm[0])
    parser.add_argument("--volumes", type=int, default=120)
    parser.add_argument("--json", type=Path, help="where each head's figures go as they come")
    given = parser.parse_args()
    spec = replace(SPEC, noise=given.noise, bold_mm=(given.voxel_mm,) * 3)
    found = []
    for seed in range(given.first_seed, given.first_seed + given.heads):
        found.append(head(seed, spec, given.volumes))
        if given.json:
            given.json.write_text(json.dumps(found, indent=1))
    n = len(found)
    print(f"{n} heads, noise {spec.noise}, voxels {spec.bold_mm} mm, {given.volumes} volumes")
    for key in found[0]:
        values = np.array([row[key] for row in found])
        half = stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
        low, high = values.mean() - half, values.mean() + half
        print(f"{key:55s} {values.mean():8.4f} [{low:.4f}, {high:.4f}]")


if __name__ == "__main__":
    main()
