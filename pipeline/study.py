"""From two visits of edges to tests and a verdict: the array-level analysis of one study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.bayes import bayes_factor
from circuitshift.pipeline.displacement import log_displacement
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.inference import (
    Contrast,
    PermutationResult,
    mean_contrast,
    permutation_test,
)
from circuitshift.pipeline.response import (
    Deviation,
    Response,
    global_response,
    identify_deviation,
)
from circuitshift.pipeline.sample import Sample
from circuitshift.pipeline.verdict import Estimate, Verdict, decide

__all__ = ["Analysis", "Rules", "Visits", "analyse"]

Floats = npt.NDArray[np.float64]
Side = Literal["two-sided", "increase", "decrease"]


@dataclass(frozen=True, slots=True)
class Visits:
    """Edges of one study, Fisher z, shape (n, n_edges); NaN where an edge is lost.

    Parameters
    ----------
    baseline, followup : ndarray
        The same people in the same order.
    treated : ndarray of bool, optional
        Who was treated; None when everybody was (one arm).
    reference : ndarray, optional
        Healthy people.
    baseline_only : ndarray, optional
        Patients without follow-up; they sharpen the means.
    distance : ndarray, shape (n_edges,), optional
        Edge length, mm.
    covariates : ndarray, shape (n, n_covariates), optional
        Nuisance; centred by the model. NaN is replaced by the column's mean.
    global_signal_removed : bool
        True for data after global signal regression: the global terms are then meaningless.
    """

    baseline: Floats
    followup: Floats
    treated: npt.NDArray[np.bool_] | None = None
    reference: Floats | None = None
    baseline_only: Floats | None = None
    distance: Floats | None = None
    covariates: Floats | None = None
    global_signal_removed: bool = False

    def __post_init__(self) -> None:
        if self.baseline.shape != self.followup.shape:
            raise DesignError(
                f"baseline has shape {self.baseline.shape}, follow-up {self.followup.shape}; "
                "they must hold the same people and edges in the same order"
            )
        for name in ("reference", "baseline_only"):
            other = getattr(self, name)
            if other is not None and other.shape[1] != self.baseline.shape[1]:
                raise DesignError(
                    f"{name} has {other.shape[1]} edges, baseline {self.baseline.shape[1]}; "
                    "use one atlas for all"
                )


@dataclass(frozen=True, slots=True)
class Rules:
    """How to test and decide.

    Parameters
    ----------
    n_permutations : int
    alpha : float
        Family-wise error rate.
    sesoi_z : float
        Smallest effect of interest, Fisher z: of a typical background edge for global terms, of
        the circuit's mean edge for specific ones.
    sides : mapping of str to {"increase", "decrease"}
        Circuits whose direction was fixed beforehand; the others are tested two-sided.
    """

    n_permutations: int = 5000
    alpha: float = 0.05
    sesoi_z: float = 0.1
    sides: Mapping[str, Side] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything that `analyse` found.

    Parameters
    ----------
    estimates : tuple of Estimate
        One per row of tests.tsv.
    verdict : Verdict
    response : Response
        Per-person coefficients.
    deviation : Deviation
        Whether normalisation could be asked about.
    """

    estimates: tuple[Estimate, ...]
    verdict: Verdict
    response: Response
    deviation: Deviation


def analyse(
    visits: Visits,
    circuits: Mapping[str, npt.NDArray[np.intp]],
    *,
    rng: np.random.Generator,
    rules: Rules | None = None,
) -> Analysis:
    """Test global against circuit-specific change.

    Parameters
    ----------
    visits : Visits
    circuits : mapping of str to ndarray of int
        Hypothesised circuits: positions of their edges in ``numpy.triu_indices(n_regions, 1)``.
        Edges in none of them are the background.
    rng : numpy.random.Generator
        The only source of randomness.
    rules : Rules, optional

    Returns
    -------
    Analysis

    Raises
    ------
    DesignError
        If arms, covariates or circuits do not allow the model.

    Examples
    --------
    >>> import numpy as np
    >>> from circuitshift.pipeline.simulate import TRUTHS, EdgeSpec, simulate_edges
    >>> study = simulate_edges(TRUTHS["specific"], EdgeSpec(n_regions=60), np.random.default_rng(1))
    >>> visits = Visits(study.baseline, study.followup, reference=study.reference)
    >>> rules = Rules(n_permutations=500)
    >>> rng = np.random.default_rng(2)
    >>> analyse(visits, {"dmn": study.circuit}, rng=rng, rules=rules).verdict.verdict
    'circuit-specific'
    """
    rules = rules or Rules()
    arrays: dict[str, Any] = {
        "baseline": visits.baseline,
        "followup": visits.followup,
        "reference": visits.reference,
        "baseline_only": visits.baseline_only,
        "distance": visits.distance,
    }
    sample = Sample.from_visits(circuits=circuits, **arrays)
    deviation = identify_deviation(sample, rng)
    response = global_response(sample, with_deviation=deviation.identified)
    by_node = Sample.from_visits(circuits=circuits, node_adjusted=True, **arrays)
    adjusted = global_response(by_node, with_deviation=deviation.identified)
    tester = _Tester(visits, rules, rng)
    estimates = [
        *_global_estimates(tester, response, gsr=visits.global_signal_removed),
        *_circuit_estimates(tester, response, "specific"),
        *_circuit_estimates(tester, adjusted, "specific, node-adjusted"),
        *_naive_estimates(tester, visits, circuits, sample.background),
        *_size_estimates(tester, visits, circuits, sample.background),
    ]
    verdict = decide(
        estimates,
        alpha=rules.alpha,
        deviation=deviation,
        controlled=visits.treated is not None,
        global_signal_removed=visits.global_signal_removed,
    )
    return Analysis(tuple(estimates), verdict, response, deviation)


@dataclass(frozen=True, slots=True)
class _Tester:
    """Runs one family of variables through the permutation test, whoever is missing."""

    visits: Visits
    rules: Rules
    rng: np.random.Generator

    def contrast(self, people: npt.NDArray[np.bool_]) -> Contrast:
        covariates = self.visits.covariates
        if covariates is not None:
            known = np.isfinite(covariates)
            count = np.maximum(known.sum(axis=0), 1)
            mean = np.where(known, covariates, 0.0).sum(axis=0) / count
            covariates = np.where(known, covariates, mean)[people]
        treated = self.visits.treated
        return mean_contrast(
            int(people.sum()),
            treated=None if treated is None else treated[people],
            covariates=covariates,
        )

    def family(
        self, names: Sequence[str], y: Floats, shared: "_Shared | None" = None
    ) -> dict[str, "_Row"]:
        """Test variables `y` as one family.

        Variables known in everybody are corrected by the maximum statistic; one that is unknown
        in somebody is tested on the others and corrected by Bonferroni; the error rate is shared
        in proportion.
        """
        known = np.isfinite(y)
        whole = known.all(axis=0)
        out: dict[str, _Row] = {}
        batches = [np.flatnonzero(whole)] if whole.any() else []
        batches += [np.array([k]) for k in np.flatnonzero(~whole)]
        for columns in batches:
            people = np.asarray(known[:, columns].all(axis=1))
            if people.sum() < 4:
                continue
            contrast = self.contrast(people)
            extra = None
            if shared is not None:
                weights = np.zeros(len(y))
                weights[people] = contrast.weights
                extra = shared.response.excess_variance(weights)[shared.columns[columns]]
            tested = permutation_test(
                y[np.ix_(people, columns)],
                contrast,
                rng=self.rng,
                n_permutations=self.rules.n_permutations,
                excess_variance=extra,
                sides=[self.rules.sides.get(names[k], "two-sided") for k in columns.tolist()],
            )
            correction = len(names) / len(columns)
            for place, k in enumerate(columns.tolist()):
                out[names[k]] = _Row(tested, place, correction, people)
        return out

    def method(self, row: "_Row") -> str:
        kind = "label permutation" if self.visits.treated is not None else "sign flips"
        if self.visits.covariates is not None:
            kind = f"Freedman-Lane {kind}"
        exact = "all" if row.tested.exact else "random"
        return f"Welch t, {kind}, {row.tested.n_permutations} ({exact}), max-T"


@dataclass(frozen=True, slots=True)
class _Shared:
    """Where the variables of a family stand in the influences of a response."""

    response: Response
    columns: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class _Row:
    tested: PermutationResult
    place: int
    correction: float
    people: npt.NDArray[np.bool_]

    def estimate(
        self, tester: _Tester, *, test: str, family: str, term: str, unit: str, bound: float
    ) -> Estimate:
        t, k, treated = self.tested, self.place, tester.visits.treated
        n = int(self.people.sum())
        control = 0 if treated is None else int((~treated & self.people).sum())
        effective = n if not control else (n - control) * control / n
        reference = 0 if tester.visits.reference is None else len(tester.visits.reference)
        return Estimate(
            test=test,
            family=family,
            term=term,
            estimate=float(t.estimate[k]),
            unit=unit,
            ci_low=float(t.ci_low[k]),
            ci_high=float(t.ci_high[k]),
            se=float(t.se[k]),
            df=float(t.df[k]),
            statistic=float(t.statistic[k]),
            p=float(t.p[k]),
            p_corrected=float(min(1.0, t.p_corrected[k] * self.correction)),
            bound=bound,
            equivalence_p=float(t.equivalence_p(np.full(len(t.estimate), bound))[k]),
            bf10=float(bayes_factor(t.statistic[k], t.df[k], effective)),
            n=n - control,
            n_control=control,
            n_reference=reference,
            method=tester.method(self),
            note="" if n == len(self.people) else f"unknown in {len(self.people) - n} people",
        )


_UNITS = {
    "shift": "Fisher z",
    "gain": "proportion of typical strength",
    "normalisation": "share of the deviation closed",
    "distance": "Fisher z per mm",
}


def _global_estimates(tester: _Tester, response: Response, *, gsr: bool) -> list[Estimate]:
    terms = list(response.terms)
    tested = [name for name in terms if name != "distance" and not gsr]
    out = []
    for family, names in (("global", tested), ("nuisance", [n for n in terms if n == "distance"])):
        if not names:
            continue
        columns = np.array([terms.index(name) for name in names])
        shared = _Shared(response, columns)
        for name, row in tester.family(names, response.coefficients[:, columns], shared).items():
            out.append(
                row.estimate(
                    tester,
                    test=name if family == "nuisance" else f"global {name}",
                    family=family,
                    term=name,
                    unit=_UNITS[name],
                    bound=tester.rules.sesoi_z / response.units.get(name, np.nan),
                )
            )
    return out


def _circuit_estimates(tester: _Tester, response: Response, family: str) -> list[Estimate]:
    columns = len(response.terms) + np.arange(len(response.circuits))
    rows = tester.family(response.circuits, response.specific, _Shared(response, columns))
    missing = [name for name in response.circuits if name not in rows]
    found = [
        row.estimate(
            tester,
            test=f"{name} beyond the global law",
            family=family,
            term=name,
            unit="Fisher z",
            bound=tester.rules.sesoi_z,
        )
        for name, row in rows.items()
    ]
    return found + [Estimate.unknown(family, name) for name in missing]


def _naive_estimates(
    tester: _Tester,
    visits: Visits,
    circuits: Mapping[str, npt.NDArray[np.intp]],
    background: npt.NDArray[np.bool_],
) -> list[Estimate]:
    """Test what is usually reported, for comparison: none of it can answer the question.

    The circuit's change, circuit minus background change, and the slope of change on the plain
    deviation, which shares the baseline's noise with the change.
    """
    change = visits.followup - visits.baseline
    rest = _known_mean(change[:, background])
    plain = np.array([_known_mean(change[:, positions]) for positions in circuits.values()]).T
    names = list(circuits)
    families = {
        "circuit change": (names, plain, "Fisher z"),
        "naive: circuit minus background": (names, plain - rest[:, None], "Fisher z"),
    }
    if visits.reference is not None and len(visits.reference):
        share = _naive_share(visits, change, background)
        families["naive: normalisation slope"] = (["normalisation"], share[:, None], "share")
    return [
        row.estimate(
            tester,
            test=f"{name}, {family}",
            family=family,
            term=name,
            unit=unit,
            bound=tester.rules.sesoi_z if unit == "Fisher z" else np.nan,
        )
        for family, (terms, y, unit) in families.items()
        for name, row in tester.family(terms, y).items()
    ]


def _size_estimates(
    tester: _Tester,
    visits: Visits,
    circuits: Mapping[str, npt.NDArray[np.intp]],
    background: npt.NDArray[np.bool_],
) -> list[Estimate]:
    """Compare how far the arms moved, whatever the direction; it needs a control arm."""
    if visits.treated is None:
        return []
    sets = {"background": np.flatnonzero(background), **circuits}
    moved = log_displacement(visits.followup - visits.baseline, sets)
    # keys of their own: a direction stated for a circuit's mean says nothing of its size
    names = {f"size of change, {name}": name for name in moved}
    y = np.array(list(moved.values())).T
    return [
        row.estimate(
            tester,
            test=key,
            family="size of change",
            term=names[key],
            unit="log ratio, treated to control",
            bound=np.nan,
        )
        for key, row in tester.family(list(names), y).items()
    ]


def _known_mean(values: Floats) -> Floats:
    known = np.isfinite(values)
    out = np.full(len(values), np.nan)
    total = np.where(known, values, 0.0).sum(axis=1)
    np.divide(total, known.sum(axis=1), out=out, where=known.sum(axis=1) * 2 > values.shape[1])
    return out


def _naive_share(visits: Visits, change: Floats, background: npt.NDArray[np.bool_]) -> Floats:
    assert visits.reference is not None  # noqa: S101 - for the type checker; the caller asked
    d = _column_mean(visits.reference) - _column_mean(visits.baseline)
    use = background & np.isfinite(d)
    d = d[use] - d[use].mean()
    part = change[:, use]
    known = np.isfinite(part)
    centred = np.where(known, part, 0.0) @ d
    return np.asarray(centred / (known @ d**2))


def _column_mean(values: Floats) -> Floats:
    known = np.isfinite(values)
    out = np.full(values.shape[1], np.nan)
    total = np.where(known, values, 0.0).sum(axis=0)
    np.divide(total, known.sum(axis=0), out=out, where=known.any(axis=0))
    return out
