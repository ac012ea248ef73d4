"""How often the tests are right when the truth is known: the calibration table."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.simulate import TRUTHS, EdgeSpec, EdgeStudy, simulate_edges
from circuitshift.pipeline.study import Analysis, Rules, Visits, analyse

__all__ = ["CalibrationRow", "calibration_table", "markdown_table", "wilson_interval"]

_CIRCUIT = "circuit"


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """Shares of simulated studies with p < alpha, and mean estimates, for one truth.

    Parameters
    ----------
    truth : str
    n_studies : int
    naive : float
        Circuit minus background change is significant.
    specific, node_adjusted : float
        The model's specific test is significant: as it stands, and after regional terms.
    any_global : float
        A global term is significant, family-wise.
    naive_share, naive_share_rejected : float
        Slope of change on the plain deviation: mean, and share significant.
    share, share_rejected, share_withheld : float
        The model's share of the deviation closed: mean and share significant where it was
        identified; how often it was withheld.
    verdicts : tuple of (str, float)
        Share of studies with each verdict.
    """

    truth: str
    n_studies: int
    naive: float
    specific: float
    node_adjusted: float
    any_global: float
    naive_share: float
    naive_share_rejected: float
    share: float
    share_rejected: float
    share_withheld: float
    verdicts: tuple[tuple[str, float], ...]


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    Examples
    --------
    >>> [round(x, 3) for x in wilson_interval(0.05, 200)]
    [0.027, 0.09]
    """
    z2 = 1.959963984540054**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return float(centre - half), float(centre + half)


def calibration_table(
    truths: Sequence[str] = tuple(TRUTHS),
    *,
    n_studies: int = 200,
    seed: int = 20260101,
    spec: EdgeSpec | None = None,
    rules: Rules | None = None,
    n_procs: int = 1,
) -> Iterator[CalibrationRow]:
    """Simulate studies and analyse each with the same code as real ones.

    Parameters
    ----------
    truths : sequence of str
        Keys of `TRUTHS`.
    n_studies : int
        Per truth.
    seed : int
        Each study has its own stream: results do not depend on `n_procs`.
    spec : EdgeSpec, optional
    rules : Rules, optional
        The default takes 500 permutations.
    n_procs : int

    Yields
    ------
    CalibrationRow
        As soon as each truth is done.
    """
    spec, rules = spec or EdgeSpec(), rules or Rules(n_permutations=500)
    with ProcessPoolExecutor(max(1, n_procs), mp_context=get_context("forkserver")) as pool:
        for truth, root in zip(
            truths, np.random.SeedSequence(seed).spawn(len(truths)), strict=True
        ):
            one = partial(_one_study, truth=truth, spec=spec, rules=rules)
            seeds = root.spawn(n_studies)
            rows = np.array(list(pool.map(one, seeds, chunksize=max(1, n_studies // 40))), object)
            yield _summary(truth, rows, rules.alpha)


def _one_study(
    seed: np.random.SeedSequence, *, truth: str, spec: EdgeSpec, rules: Rules
) -> list[object]:
    rng = np.random.default_rng(seed)
    study = simulate_edges(TRUTHS[truth], spec, rng)
    return _numbers(analyse(_visits(study), {_CIRCUIT: study.circuit}, rng=rng, rules=rules))


def _visits(study: EdgeStudy) -> Visits:
    return Visits(
        baseline=study.baseline,
        followup=study.followup,
        treated=None if study.treated.all() else study.treated,
        reference=study.reference if len(study.reference) else None,
        distance=study.distance,
    )


def _numbers(analysis: Analysis) -> list[object]:
    nan = float("nan")
    p = {(e.family, e.term): e.p for e in analysis.estimates}
    value = {(e.family, e.term): e.estimate for e in analysis.estimates}
    slope = ("naive: normalisation slope", "normalisation")
    return [
        p["naive: circuit minus background", _CIRCUIT],
        p["specific", _CIRCUIT],
        p["specific, node-adjusted", _CIRCUIT],
        min(e.p_corrected for e in analysis.estimates if e.family == "global"),
        value.get(slope, nan),
        p.get(slope, nan),
        value.get(("global", "normalisation"), nan),
        p.get(("global", "normalisation"), nan),
        analysis.verdict.verdict,
    ]


def _summary(truth: str, rows: npt.NDArray[np.object_], alpha: float) -> CalibrationRow:
    numbers = rows[:, :-1].astype(float)
    known = np.isfinite(numbers)
    counts = np.maximum(known.sum(axis=0), 1)
    hits = (np.where(known, numbers, 1.0) < alpha).sum(axis=0) / counts
    means = np.where(known, numbers, 0.0).sum(axis=0) / counts
    share_known = bool(known[:, 6].any())
    names, n = np.unique(rows[:, -1].astype(str), return_counts=True)
    return CalibrationRow(
        truth=truth,
        n_studies=len(rows),
        naive=float(hits[0]),
        specific=float(hits[1]),
        node_adjusted=float(hits[2]),
        any_global=float(hits[3]),
        naive_share=float(means[4]),
        naive_share_rejected=float(hits[5]),
        share=float(means[6]) if share_known else float("nan"),
        share_rejected=float(hits[7]) if share_known else float("nan"),
        share_withheld=float(1 - known[:, 6].mean()),
        verdicts=tuple(zip(names.tolist(), (n / len(rows)).tolist(), strict=True)),
    )


def markdown_table(rows: Sequence[CalibrationRow]) -> str:
    """Render the rows as a Markdown table."""
    head = (
        "| truth | naive: circuit minus background | specific | specific, node-adjusted "
        "| any global term | naive share closed | share closed | withheld | verdicts |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    lines = []
    for r in rows:
        low, high = wilson_interval(r.specific, r.n_studies)
        verdicts = ", ".join(f"{name} {share:.2f}" for name, share in r.verdicts)
        lines.append(
            f"| {r.truth} | {r.naive:.2f} | {r.specific:.2f} ({low:.2f}-{high:.2f}) "
            f"| {r.node_adjusted:.2f} | {r.any_global:.2f} "
            f"| {r.naive_share:.2f} ({r.naive_share_rejected:.2f}) "
            f"| {r.share:.2f} ({r.share_rejected:.2f}) | {r.share_withheld:.2f} | {verdicts} |"
        )
    return head + "\n".join(lines) + "\n"
