"""The mixed model for all edges at once, side by side with a loop of statsmodels MixedLM.

Run it as ``python tests/benchmarks/bench_mixed.py`` (about ten seconds). 60 people x 3 visits, a
quarter of the visits missing, 20,000 variables, arm x time; statsmodels fits 30 of them with its
default optimiser, in turn A B A B. Times are per variable, imports left out. Statsmodels is also
run once with a tight tolerance, to compare the numbers rather than the optimisers.

It fails unless estimates and standard errors agree and the goal of 100 times its speed is met.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
from statsmodels.regression.mixed_linear_model import MixedLM

from circuitshift.pipeline.stats.mixed_model import MixedResult, fit_mixed

N_PEOPLE, N_VISITS, MISSING, N_VARIABLES, N_PEER = 60, 3, 0.25, 20_000, 30


def make() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, design (constant, time, arm, arm x time), people."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(N_PEOPLE), N_VISITS)
    visit = np.tile(np.arange(float(N_VISITS)), N_PEOPLE)
    keep = rng.random(len(person)) >= MISSING
    person, visit = person[keep], visit[keep]
    arm = (person % 2).astype(float)
    design = np.column_stack([np.ones(len(person)), visit, arm, arm * visit])
    y = 0.2 * rng.normal(size=(N_PEOPLE, N_VARIABLES))[person]
    return y + 0.2 * rng.normal(size=(len(person), N_VARIABLES)), design, person


def peer(y: np.ndarray, design: np.ndarray, person: np.ndarray, **how: object) -> list[object]:
    """Fit one variable after the other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [MixedLM(column, design, groups=person).fit(reml=True, **how) for column in y.T]


def least_squares_se(fit: object, design: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Standard errors of generalised least squares at the variances of statsmodels.

    Its own `bse_fe` comes from the observed information, in which coefficients and variances
    covary by chance.
    """
    between = float(np.asarray(fit.cov_re).item())
    covariance = fit.scale * np.eye(len(person)) + between * (person[:, None] == person)
    return np.sqrt(np.diag(np.linalg.inv(design.T @ np.linalg.solve(covariance, design))))


def differences(ours: MixedResult, fits: list[object], design, person) -> tuple[float, ...]:
    """Largest differences of estimates and errors, in standard errors."""
    gaps = []
    for j, fit in enumerate(fits):
        se = ours.se[:, j]
        gaps.append(
            [
                np.abs((fit.fe_params - ours.estimate[:, j]) / se).max(),
                np.abs(least_squares_se(fit, design, person) / se - 1).max(),
                np.abs(fit.bse_fe / se - 1).max(),
            ]
        )
    return tuple(np.max(gaps, axis=0).tolist())


def compare(repeats: int) -> None:
    """Run both sides in turn, check that they agree, and print the table."""
    y, design, person = make()
    fit_mixed(y[:, :10], design, person)  # imports
    peer(y[:, :1], design, person)
    rounds = []
    for _ in range(repeats):
        start = time.perf_counter()
        ours = fit_mixed(y, design, person)
        middle = time.perf_counter()
        default = peer(y[:, :N_PEER], design, person)
        end = time.perf_counter()
        rounds.append(((middle - start) / N_VARIABLES, (end - middle) / N_PEER))
    inner = [j for j in range(N_PEER) if not ours.trouble[j]]
    careful = peer(y[:, :N_PEER], design, person, method="bfgs", gtol=1e-9)
    gaps = [
        differences(_only(ours, inner), [fits[j] for j in inner], design, person)
        for fits in (default, careful)
    ]
    print(f"\n{len(y)} rows of {N_PEOPLE} people, {repeats} rounds; median (range), per variable\n")
    print("| what | variables | microseconds |")
    print("|---|---|---|")
    for k, (name, count) in enumerate((("fit_mixed", N_VARIABLES), ("MixedLM", N_PEER))):
        values = [1e6 * r[k] for r in rounds]
        print(
            f"| {name} | {count} | {statistics.median(values):.1f} "
            f"({min(values):.1f}-{max(values):.1f}) |"
        )
    ratio = statistics.median(b / a for a, b in rounds)
    print(f"\nstatsmodels is slower: {ratio:.0f}x\n")
    print("largest differences | estimate / se | se | its own bse_fe")
    for name, gap in zip(("its defaults", "tight tolerance"), gaps, strict=True):
        print(f"{name} | " + " | ".join(f"{value:.1e}" for value in gap))
    boundary = sum(text != "" for text in ours.trouble)
    print(f"\n{boundary} of {N_VARIABLES} variables in trouble, {N_PEER - len(inner)} of {N_PEER}")
    assert max(gaps[1][:2]) < 1e-4, "the numbers differ"
    assert ratio >= 100, f"the goal of 100 times its speed is missed: {ratio:.0f}"


def _only(result: MixedResult, which: list[int]) -> MixedResult:
    arrays = {
        name: getattr(result, name)[..., which]
        for name in MixedResult.__dataclass_fields__
        if name != "trouble"
    }
    return MixedResult(**arrays, trouble=tuple(result.trouble[j] for j in which))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    compare(parser.parse_args().repeats)
