"""Run and summarise the table ``outside``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Protocol

import numpy as np

from circuitshift.pipeline.model.analyse import Rules, analyse
from circuitshift.pipeline.validation.calibration import wilson_interval
from circuitshift.pipeline.validation.outside.claims import (
    Claims,
    Kind,
    Precision,
    claims_of,
    false_claims,
    found,
    naive_claims,
    precision_of,
    se_ratio,
)
from circuitshift.pipeline.validation.outside.first_version import first_version
from circuitshift.pipeline.validation.outside.rows import ROWS, Row, circuit_changes
from circuitshift.pipeline.validation.outside.series import OutsideStudy, simulate_series

__all__ = [
    "HEAD",
    "METHODS",
    "Judgement",
    "MethodSummary",
    "OutsideRow",
    "Source",
    "judge",
    "markdown_row",
    "outside_table",
    "simulated",
    "summarise",
]

#: Methods that are compared, in the order of the table.
METHODS = ("present", "first version", "naive")

_KINDS: tuple[Kind, ...] = ("law", "circuit", "widespread", "absence")


class Source(Protocol):
    """Draw one study with a planted truth."""

    def __call__(self, row: Row, rng: np.random.Generator) -> OutsideStudy:
        """Return a study.

        Parameters
        ----------
        row : Row
            Truth and design.
        rng : numpy.random.Generator
            Source of random numbers.
        """


def simulated(row: Row, rng: np.random.Generator) -> OutsideStudy:
    """Draw a study of simulated series; see `Source`.

    Parameters
    ----------
    row : Row
        Truth and design.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    OutsideStudy
    """
    return simulate_series(row.effect, row.design, rng)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one method claims in one study, and how much of it is true.

    Parameters
    ----------
    verdict : str
        Verdict of the method.
    laws : frozenset of str
        Global terms that the verdict names.
    false : frozenset of str
        Kinds of false claims.
    found : mapping of str to float
        Planted effects that are named.
    circuits, terms : Precision
        Agreement of the estimates of circuits and of global terms with their true values.
    se_ratio : float
        Mean standard error of circuits with adjustment for the baseline divided by that without
        (`circuitshift.pipeline.validation.outside.claims.se_ratio`); NaN if there is none.
    """

    verdict: str
    laws: frozenset[str]
    false: frozenset[Kind]
    found: Mapping[Kind, float]
    circuits: Precision
    terms: Precision
    se_ratio: float = float("nan")


@dataclass(frozen=True, slots=True)
class MethodSummary:
    """Results of one method over all studies of a row.

    Parameters
    ----------
    verdicts, laws : mapping of str to float
        Share of studies with each verdict, and in which each global term is named.
    false : float
        Share of studies with a false claim of any kind.
    kinds : mapping of str to float
        Share of studies with a false claim of each kind.
    found : mapping of str to float
        Mean share of the planted effects of each kind that are named.
    coverage : mapping of str to float
        Coverage of the 95 % intervals of ``circuits`` and of global ``terms``, where their true
        values are defined.
    bias : mapping of str to float
        Mean error of the estimates of circuits and of global terms.
    se_ratio : float
        Mean standard error of circuits with adjustment for the baseline divided by that without;
        NaN with one arm.
    """

    verdicts: Mapping[str, float]
    laws: Mapping[str, float]
    false: float
    kinds: Mapping[Kind, float]
    found: Mapping[Kind, float]
    coverage: Mapping[str, float]
    bias: Mapping[str, float]
    se_ratio: float


@dataclass(frozen=True, slots=True)
class OutsideRow:
    """Results of one row of the table.

    Parameters
    ----------
    name : str
        Name of the row.
    n_studies : int
        Number of studies.
    methods : mapping of str to MethodSummary
        Results by method (`METHODS`).
    """

    name: str
    n_studies: int
    methods: Mapping[str, MethodSummary]


def outside_table(
    names: Sequence[str],
    *,
    n_studies: int = 300,
    seed: int = 20260101,
    rules: Rules | None = None,
    n_procs: int = 1,
    source: Source = simulated,
    rows: Mapping[str, Row] = ROWS,
) -> Iterator[OutsideRow]:
    """Draw studies with each truth and analyse them with the code that analyses real studies.

    Parameters
    ----------
    names : sequence of str
        Keys of `rows`.
    n_studies : int
        Number of studies per row.
    seed : int
        Random seed. Each study has its own stream of random numbers, so that results depend neither
        on `n_procs` nor on other rows.
    rules : Rules, optional
        Rules of the analysis; by default, those of a real study with 500 permutations.
    n_procs : int
        Number of processes.
    source : Source
        Function that draws a study: simulated or measured series.
    rows : mapping of str to Row
        All available rows by name.

    Yields
    ------
    OutsideRow
        Results of one row, as soon as they are available.
    """
    rules = rules or Rules(n_permutations=500)
    with ProcessPoolExecutor(max(1, n_procs), mp_context=get_context("forkserver")) as pool:
        for name in names:
            one = partial(judge, row=rows[name], rules=rules, source=source)
            seeds = np.random.SeedSequence([seed, *name.encode()]).spawn(n_studies)
            judged = list(pool.map(one, seeds, chunksize=max(1, n_studies // 40)))
            yield summarise(name, judged)


def judge(
    seed: np.random.SeedSequence, *, row: Row, rules: Rules, source: Source = simulated
) -> dict[str, Judgement]:
    """Draw and analyse one study, and compare the claims of each method with the truth.

    Parameters
    ----------
    seed : numpy.random.SeedSequence
        Seed of the study.
    row : Row
        Truth and design.
    rules : Rules
        Rules of the analysis.
    source : Source
        Function that draws the study.

    Returns
    -------
    dict of str to Judgement
        By method (`METHODS`).
    """
    rng = np.random.default_rng(seed)
    study = source(row, rng)
    true = circuit_changes(row.effect, study.world) if row.is_exact else {}
    circuits = study.world.circuits
    present = analyse(study.visits, circuits, rng=rng, rules=rules, networks=study.networks)
    first = first_version(study.visits, circuits, rng, rules)

    def judged(
        claims: Claims, circuit: Precision, terms: Precision, ratio: float = float("nan")
    ) -> Judgement:
        return Judgement(
            claims.verdict,
            claims.laws,
            false_claims(claims, row),
            found(claims, row),
            circuit,
            terms,
            ratio,
        )

    estimates = present.estimates
    return {
        "present": judged(
            claims_of(
                present.verdict.verdict,
                estimates,
                rules.alpha,
                present.verdict.explanations,
                not_claimed=present.verdict.not_claimed,
            ),
            precision_of(estimates, "specific", true),
            precision_of(estimates, "global", row.values),
            se_ratio(estimates),
        ),
        "first version": judged(
            claims_of(first.verdict, first.estimates, rules.alpha),
            precision_of(first.estimates, "specific", true),
            precision_of(first.estimates, "global", row.values),
        ),
        "naive": judged(naive_claims(estimates, rules.alpha), Precision(), Precision()),
    }


def summarise(name: str, judged: Sequence[Mapping[str, Judgement]]) -> OutsideRow:
    """Summarise the studies of one row.

    Parameters
    ----------
    name : str
        Name of the row.
    judged : sequence of mapping of str to Judgement
        One for each study.

    Returns
    -------
    OutsideRow
    """
    methods = {method: _summary([study[method] for study in judged]) for method in METHODS}
    return OutsideRow(name, len(judged), methods)


def _summary(studies: Sequence[Judgement]) -> MethodSummary:
    n = len(studies)
    verdicts = [s.verdict for s in studies]
    laws = sorted({law for s in studies for law in s.laws})
    planted = [kind for kind in _KINDS if kind in studies[0].found]
    precision = {
        part: [getattr(s, part) for s in studies if getattr(s, part).covered]
        for part in ("circuits", "terms")
    }
    return MethodSummary(
        verdicts={v: verdicts.count(v) / n for v in sorted(set(verdicts))},
        laws={law: sum(law in s.laws for s in studies) / n for law in laws},
        false=sum(bool(s.false) for s in studies) / n,
        kinds={kind: sum(kind in s.false for s in studies) / n for kind in _KINDS},
        found={kind: float(np.mean([s.found[kind] for s in studies])) for kind in planted},
        coverage={k: _mean(c for p in v for c in p.covered) for k, v in precision.items() if v},
        bias={k: _mean(e for p in v for e in p.errors) for k, v in precision.items() if v},
        se_ratio=_mean(s.se_ratio for s in studies if np.isfinite(s.se_ratio)),
    )


def _mean(values: Iterable[float]) -> float:
    """Return the mean; NaN of nothing."""
    kept = list(values)
    return float(np.mean(kept)) if kept else float("nan")


#: First two lines of the table.
HEAD = (
    "| truth | verdicts | global terms named | false claims (95 % interval) | of which | found "
    "| coverage: circuits, global terms | bias: circuits | SE: adjusted / change scores "
    "| first version: false; found | naive: false; found |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|\n"
)


def markdown_row(row: OutsideRow) -> str:
    """Render the results of one row as a line of a Markdown table (`HEAD`).

    Parameters
    ----------
    row : OutsideRow
        Results of the row.

    Returns
    -------
    str
        Line that ends with a line break.
    """
    present, first, naive = (row.methods[method] for method in METHODS)
    low, high = wilson_interval(present.false, row.n_studies)
    coverage = [
        f"{present.coverage[part]:.2f}" if part in present.coverage else "-"
        for part in ("circuits", "terms")
    ]
    cells = [
        row.name,
        _shares(present.verdicts),
        _shares(present.laws),
        f"{present.false:.2f} ({max(low, 0.0):.2f}-{high:.2f})",
        _shares({kind: share for kind, share in present.kinds.items() if share}),
        _shares(present.found),
        ", ".join(coverage),
        f"{present.bias['circuits']:+.3f}" if "circuits" in present.bias else "-",
        f"{present.se_ratio:.2f}" if np.isfinite(present.se_ratio) else "-",
        f"{first.false:.2f}; {_shares(first.found)}",
        f"{naive.false:.2f}; {_shares(_of_circuits(naive.found))}",
    ]
    return f"| {' | '.join(cells)} |\n"


def _shares(shares: Mapping[str, float] | Mapping[Kind, float]) -> str:
    return ", ".join(f"{name} {share:.2f}" for name, share in shares.items()) or "-"


def _of_circuits(shares: Mapping[Kind, float]) -> dict[Kind, float]:
    """Keep the share of circuits, the only claims that the usual contrast can make."""
    return {kind: share for kind, share in shares.items() if kind == "circuit"}
