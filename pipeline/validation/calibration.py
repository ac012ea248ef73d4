"""Estimate error rates and power of the tests in simulated studies with a known truth."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np

from circuitshift.pipeline.model.analyse import Analysis, Rules, Visits, analyse
from circuitshift.pipeline.validation.simulate.edges import TRUTHS, EdgeStudy, simulate_edges
from circuitshift.pipeline.validation.simulate.scenarios import SCENARIOS, Scenario

__all__ = [
    "CalibrationRow",
    "Outcome",
    "calibration_table",
    "markdown_table",
    "outcome_of",
    "summary",
    "wilson_interval",
]


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """Results of the analysis of many simulated studies of one scenario.

    Parameters
    ----------
    name : str
        Name of the scenario.
    scenario : Scenario
        Scenario that was simulated.
    n_studies : int
        Number of simulated studies.
    rejected : mapping of str to float
        Share of studies in which a family of tests rejects, that is, in which at least one of its
        terms has a corrected p value below alpha.
    tested : mapping of str to int
        Number of studies in which the family was tested.
    means : mapping of str to float
        Mean estimates over studies: ``share`` is the share closed that the model estimates (in
        studies where it can be identified), ``naive share`` is the estimate of the naive contrast.
    withheld : float
        Share of studies in which normalisation was not tested.
    verdicts : mapping of str to float
        Share of studies with each verdict.
    """

    name: str
    scenario: Scenario
    n_studies: int
    rejected: Mapping[str, float]
    tested: Mapping[str, int]
    means: Mapping[str, float]
    withheld: float
    verdicts: Mapping[str, float]

    @property
    def wrong_kind(self) -> float:
        """Share of verdicts that report a global effect as circuit-specific, or the reverse."""
        s = self.scenario
        if s.is_global == s.is_specific:
            return 0.0
        return self.verdicts.get("circuit-specific" if s.is_global else "global", 0.0)

    @property
    def overclaimed(self) -> float:
        """Share of verdicts that claim an effect which was not planted."""
        s = self.scenario
        claims = {"global": (True, False), "circuit-specific": (False, True), "both": (True, True)}
        return sum(
            self.verdicts.get(name, 0.0)
            for name, (claims_global, claims_specific) in claims.items()
            if (claims_global and not s.is_global) or (claims_specific and not s.is_specific)
        )


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Compute Wilson's 95 % confidence interval of a proportion.

    Parameters
    ----------
    share : float
        Observed proportion.
    n : int
        Number of observations.

    Returns
    -------
    low, high : float
        Bounds of the interval.

    References
    ----------
    Wilson 1927, doi:10.1080/01621459.1927.10502953

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
    names: Sequence[str],
    *,
    n_studies: int = 200,
    seed: int = 20260101,
    scenarios: Mapping[str, Scenario] = SCENARIOS,
    rules: Rules | None = None,
    n_procs: int = 1,
) -> Iterator[CalibrationRow]:
    """Simulate studies of each scenario and analyse them with the code that analyses real studies.

    Parameters
    ----------
    names : sequence of str
        Scenarios to simulate, keys of `scenarios`.
    n_studies : int
        Number of studies per scenario.
    seed : int
        Random seed. Each study has its own stream of random numbers, so that results depend neither
        on `n_procs` nor on other scenarios.
    scenarios : mapping of str to Scenario
        All available scenarios by name.
    rules : Rules, optional
        Rules of the analysis; by default, those of a real study with 500 permutations.
    n_procs : int
        Number of processes.

    Yields
    ------
    CalibrationRow
        Results of one scenario, as soon as they are available.
    """
    rules = rules or Rules(n_permutations=500)
    with ProcessPoolExecutor(max(1, n_procs), mp_context=get_context("forkserver")) as pool:
        for name in names:
            one = partial(_one_study, scenario=scenarios[name], rules=rules)
            seeds = _stream(seed, name).spawn(n_studies)
            outcomes = list(pool.map(one, seeds, chunksize=max(1, n_studies // 40)))
            yield summary(name, scenarios[name], outcomes, rules.alpha)


def _stream(seed: int, name: str) -> np.random.SeedSequence:
    """Return the seed sequence of a scenario.

    The plain truths keep the random numbers of the first published table.
    """
    if name in TRUTHS:
        return np.random.SeedSequence(seed, spawn_key=(list(TRUTHS).index(name),))
    return np.random.SeedSequence([seed, *name.encode()])


@dataclass(frozen=True, slots=True)
class Outcome:
    """Results of one study that calibration counts.

    Parameters
    ----------
    p : dict of str to float
        Smallest corrected p value of each family of tests.
    shares : dict of str to float
        Estimated ``share`` and ``naive share`` closed, where available.
    verdict : str
        Verdict of the study.
    """

    p: dict[str, float]
    shares: dict[str, float]
    verdict: str


def _one_study(seed: np.random.SeedSequence, *, scenario: Scenario, rules: Rules) -> Outcome:
    rng = np.random.default_rng(seed)
    study = simulate_edges(scenario.truth, scenario.spec, rng)
    return outcome_of(analyse(_visits(study), study.circuits, rng=rng, rules=rules))


def _visits(study: EdgeStudy) -> Visits:
    return Visits(
        baseline=study.baseline,
        followup=study.followup,
        features=study.features,
        treated=None if study.treated.all() else study.treated,
        reference=study.reference if len(study.reference) else None,
        baseline_only=study.baseline_only if len(study.baseline_only) else None,
        motion_mm=study.motion_mm if study.motion_mm.any() else None,
    )


def outcome_of(analysis: Analysis) -> Outcome:
    """Extract the results that calibration counts from an analysis.

    Parameters
    ----------
    analysis : Analysis
        Complete analysis of one study.

    Returns
    -------
    Outcome
        Smallest corrected p values, shares closed, and the verdict.
    """
    p: dict[str, float] = {}
    shares: dict[str, float] = {}
    for e in analysis.estimates:
        if np.isfinite(e.p_corrected):
            p[e.family] = min(p.get(e.family, 1.0), e.p_corrected)
        if e.term == "normalisation":
            shares["share" if e.family == "global" else "naive share"] = e.estimate
    return Outcome(p, shares, analysis.verdict.verdict)


def summary(
    name: str, scenario: Scenario, outcomes: Sequence[Outcome], alpha: float
) -> CalibrationRow:
    """Summarise the outcomes of many studies of one scenario.

    Parameters
    ----------
    name : str
        Name of the scenario.
    scenario : Scenario
        Scenario that the studies belong to.
    outcomes : sequence of Outcome
        One for each study.
    alpha : float
        Significance level of corrected p values.

    Returns
    -------
    CalibrationRow
        Rejection rates, mean estimates and frequencies of verdicts.
    """
    n = len(outcomes)
    families = sorted({family for o in outcomes for family in o.p})
    values = {f: [o.p[f] for o in outcomes if f in o.p] for f in families}
    shares = {
        key: [o.shares[key] for o in outcomes if key in o.shares]
        for key in ("share", "naive share")
    }
    verdicts = [o.verdict for o in outcomes]
    return CalibrationRow(
        name=name,
        scenario=scenario,
        n_studies=n,
        rejected={f: float(np.mean(np.array(p) < alpha)) for f, p in values.items()},
        tested={f: len(p) for f, p in values.items()},
        means={key: float(np.mean(estimates)) for key, estimates in shares.items() if estimates},
        withheld=1 - len(shares["share"]) / n,
        verdicts={v: verdicts.count(v) / n for v in sorted(set(verdicts))},
    )


def markdown_table(rows: Sequence[CalibrationRow]) -> str:
    """Render calibration results as a Markdown table.

    A rejection rate that should equal the nominal level is shown with its 95 % interval.

    Parameters
    ----------
    rows : sequence of CalibrationRow
        Results of all scenarios of the table.

    Returns
    -------
    str
        Markdown table that ends with a line break.
    """
    head = (
        "| truth | any global term | specific | specific, node-adjusted | naive: circuit minus "
        "background | naive share closed | share closed | withheld | wrong kind | overclaimed "
        "| verdicts |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(map(_line, rows)) + "\n"


def _line(row: CalibrationRow) -> str:
    s = row.scenario
    verdicts = ", ".join(f"{name} {share:.2f}" for name, share in row.verdicts.items())
    naive = _rate(row, "naive: normalisation slope", planted=True)
    cells = [
        row.name,
        _rate(row, "global", planted=s.is_global),
        _rate(row, "specific", planted=s.is_specific),
        _rate(row, "specific, node-adjusted", planted=s.is_specific),
        _rate(row, "naive: circuit minus background", planted=True),
        f"{_mean(row, 'naive share')} ({naive})",
        _mean(row, "share"),
        f"{row.withheld:.2f}",
        f"{row.wrong_kind:.2f}",
        f"{row.overclaimed:.2f}",
        verdicts,
    ]
    return f"| {' | '.join(cells)} |"


def _rate(row: CalibrationRow, family: str, *, planted: bool) -> str:
    if family not in row.rejected:
        return "-"
    share = row.rejected[family]
    if planted:
        return f"{share:.2f}"
    low, high = wilson_interval(share, row.tested[family])
    return f"{share:.3f} ({low:.3f}-{high:.3f})"


def _mean(row: CalibrationRow, key: str) -> str:
    return f"{row.means[key]:.2f}" if key in row.means else "-"
