"""Compare permutation tests of edges with permuted_ols of nilearn.

Run it as ``python tests/benchmarks/bench_permutation.py`` (several minutes; ``--quick`` runs a
tenth of the permutations). The data are 44,850 edges of 60 participants. Each measurement is a
process of its own; BLAS uses all cores in both programs, and nilearn also runs with n_jobs=2.

1. One-sample max-T with 10,000 sign flips: observed t must agree within 1e-6, the null
   distributions of the maximum must not differ (Kolmogorov-Smirnov), and the speed must be at least
   15 times that of nilearn.
2. Two arms, three covariates and 1,000 Freedman-Lane permutations with pooled variance, as in
   nilearn: at least 4 times the speed. circuitshift is also timed with Welch's variance, which
   nilearn does not offer.
3. The complete group level of 60 participants, 300 regions and 10,000 permutations: the analysis,
   maps with NBS and TFNBS, and the secondary analyses in at most 5 minutes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

N_PARTICIPANTS, N_EDGES, SEED = 60, 44_850, 5


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulate edges with shared variance, arms and covariates."""
    rng = np.random.default_rng(SEED)
    y = (
        rng.normal(size=(N_PARTICIPANTS, N_EDGES))
        + 0.5 * rng.normal(size=(N_PARTICIPANTS, 1))
        + 0.1
    )
    return y, np.arange(N_PARTICIPANTS) < N_PARTICIPANTS // 2, rng.normal(size=(N_PARTICIPANTS, 3))


def ours(kind: str, n: int, target: Path) -> None:
    """Run the test of circuitshift; save observed t and null maxima."""
    from circuitshift.pipeline.stats.permutation import contrast_of, mean_contrast, permutation_test

    y, arm, covariates = data()
    if kind == "one":
        contrast = mean_contrast(N_PARTICIPANTS)
    elif kind == "welch":
        contrast = mean_contrast(N_PARTICIPANTS, treated=arm, covariates=covariates)
    else:
        contrast = contrast_of(arm.astype(float), nuisance=covariates)
    result = permutation_test(
        y,
        contrast,
        rng=np.random.default_rng(1),
        n_permutations=n,
    )
    np.savez(target, t=result.statistic, null=result.maxima[0])


def theirs(kind: str, n: int, n_jobs: int, target: Path) -> None:
    """Run the test of nilearn; save observed t and null maxima."""
    from nilearn.mass_univariate import permuted_ols

    y, arm, covariates = data()
    tested = np.ones((N_PARTICIPANTS, 1)) if kind == "one" else arm[:, None].astype(float)
    result = permuted_ols(
        tested,
        y,
        confounding_vars=None if kind == "one" else covariates,
        model_intercept=kind != "one",
        n_perm=n,
        two_sided_test=True,
        random_state=1,
        n_jobs=n_jobs,
        output_type="dict",
    )
    np.savez(target, t=result["t"][0], null=result["h0_max_t"][0])


def group_level(n: int) -> float:
    """Measure the time, s, of all computations of the group level, from arrays."""
    from circuitshift.pipeline.model.analyse import analyse
    from circuitshift.pipeline.model.contrasts import Rules, Visits
    from circuitshift.pipeline.model.secondary.record import SecondaryData
    from circuitshift.pipeline.model.secondary.secondary import ANALYSES, secondary_analyses
    from circuitshift.pipeline.validation.simulate.edges import TRUTHS, EdgeSpec, simulate_edges

    rng = np.random.default_rng(SEED)
    spec = EdgeSpec(n_regions=300, n_treated=30, n_control=30, n_circuits=5)
    study = simulate_edges(TRUTHS["specific"], spec, rng)
    visits = Visits(
        study.baseline,
        study.followup,
        study.features,
        treated=study.treated,
        reference=study.reference,
        motion_mm=rng.normal(0, 0.05, 60),
    )
    rules = Rules(n_permutations=n)
    start = time.perf_counter()
    analysis = analyse(visits, study.circuits, rng=rng, rules=rules)
    data_of_study = SecondaryData(
        analysis,
        visits,
        rules,
        participants=[f"sub-{k}" for k in range(60)],
        networks=[str(k % 9) for k in range(300)],
        rng=rng,
    )
    secondary_analyses(data_of_study, [one for one in ANALYSES if one.name != "specification"])
    return time.perf_counter() - start


def timed(*words: object) -> float:
    """Measure the time, s, of one run in a process of its own."""
    start = time.perf_counter()
    subprocess.run([sys.executable, __file__, "--run", *map(str, words)], check=True)
    return time.perf_counter() - start


def compare(folder: Path, *, one: int, two: int) -> dict[str, float]:
    """Run both programs in turn; return times, ratios and differences."""
    from scipy.stats import ks_2samp

    out: dict[str, float] = {}
    out["one: ours, s"] = timed("ours", "one", one, folder / "a.npz")
    for n_jobs in (1, 2):
        spent = timed("theirs", "one", one, n_jobs, folder / "b.npz")
        out[f"one: nilearn n_jobs={n_jobs}, s"] = spent
        out[f"one: ratio, n_jobs={n_jobs}"] = spent / out["one: ours, s"]
    a, b = np.load(folder / "a.npz"), np.load(folder / "b.npz")
    out["one: largest difference of t"] = float(np.abs(np.abs(a["t"]) - np.abs(b["t"])).max())
    out["one: KS p of the null maxima"] = float(ks_2samp(a["null"], np.abs(b["null"])).pvalue)
    out["two: ours, s"] = timed("ours", "pooled", two, folder / "a.npz")
    out["two: ours with Welch, s"] = timed("ours", "welch", two, folder / "c.npz")
    out["two: nilearn, s"] = timed("theirs", "two", two, 1, folder / "b.npz")
    out["two: ratio"] = out["two: nilearn, s"] / out["two: ours, s"]
    a, b = np.load(folder / "a.npz"), np.load(folder / "b.npz")
    out["two: largest difference of t"] = float(np.abs(np.abs(a["t"]) - np.abs(b["t"])).max())
    out["two: KS p of the null maxima"] = float(ks_2samp(a["null"], np.abs(b["null"])).pvalue)
    return out


def main() -> None:
    """Print the ratios, and fail if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        side, kind, n, *rest = options.run
        if side == "ours":
            ours(kind, int(n), Path(rest[0]))
        else:
            theirs(kind, int(n), int(rest[0]), Path(rest[1]))
        return
    part = 10 if options.quick else 1
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Path(folder), one=10_000 // part, two=1_000)
    found["group level, s"] = group_level(10_000 // part)
    print(json.dumps(found, indent=1))
    assert found["one: largest difference of t"] < 1e-6
    assert found["two: largest difference of t"] < 1e-6
    assert min(found["one: KS p of the null maxima"], found["two: KS p of the null maxima"]) > 1e-3
    if not options.quick:
        assert found["one: ratio, n_jobs=1"] >= 15
        assert found["two: ratio"] >= 4
        assert found["group level, s"] < 300


if __name__ == "__main__":
    main()
