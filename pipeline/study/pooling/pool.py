"""Pool the global terms and the circuits of finished analyses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import InputProblemsError
from circuitshift.pipeline.stats.pooling.holm import holm
from circuitshift.pipeline.stats.pooling.random_effects import (
    MeanEffect,
    pool_effects,
    without_each,
)
from circuitshift.pipeline.study.pooling.comparable import Comparison, compare, has_amplitude
from circuitshift.pipeline.study.pooling.finished import (
    FinishedStudy,
    StudyEstimate,
    read_finished,
)

__all__ = [
    "Contribution",
    "Networks",
    "PooledAnalysis",
    "PooledTerm",
    "pool_folders",
    "pool_studies",
]

Family = Literal["global", "primary", "secondary"]

#: Terms of the model without w that the shift and the gain of such a model estimate.
_TOTALS = {"average_change": "shift", "proportional_change": "gain"}
_LAWS = ("shift", "gain")
_ORDER = ("average_change", "proportional_change", *_LAWS, "global_signal", "normalisation")


@dataclass(frozen=True, slots=True)
class Contribution:
    """The estimate of one study for one term.

    Parameters
    ----------
    study : str
        Name of the study.
    estimate, se : float
        Estimate and standard error, in the unit of the term; NaN if missing.
    ci_low, ci_high : float
        95 % confidence interval of the study.
    network_variance : float
        Variance of the estimate that is due to the variation of change over pairs of networks in
        this study, in squared units; NaN if the study has none, or for global terms.
    standard, standard_se : float
        Estimate and standard error in units of the smallest effect of interest.
    weight : float
        Share of this study in the pooled estimate, 0 to 1; NaN if missing.
    n, n_control : int
        Numbers of participants.
    missing : str
        Why there is no estimate; empty if there is one.
    """

    study: str
    estimate: float = math.nan
    se: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    network_variance: float = math.nan
    standard: float = math.nan
    standard_se: float = math.nan
    weight: float = math.nan
    n: int = 0
    n_control: int = 0
    missing: str = ""


class Networks(NamedTuple):
    """Hold the comparison of a pooled circuit with the variation over pairs of networks.

    Parameters
    ----------
    sd : float
        Standard deviation of the change of networks that the studies share, in the unit.
    se, df : float
        Standard error that includes it, and degrees of freedom (Satterthwaite).
    p : float
        Two-sided p value.
    """

    sd: float
    se: float
    df: float
    p: float


@dataclass(frozen=True, slots=True)
class PooledTerm:
    """The meta-analysis of one global term or circuit.

    Parameters
    ----------
    term : str
        Name of the term.
    title : str
        Name for figures.
    family : {"global", "primary", "secondary"}
        Tests that are corrected together. A circuit is primary if it is in every study that has it.
    unit : str
        Unit of the feature.
    contributions : tuple of Contribution
        One entry for each study of the meta-analysis, also if it is missing.
    effect : MeanEffect or None
        Result in `unit`; None if fewer than two studies have an estimate.
    standard : MeanEffect or None
        Result in units of the smallest effect of interest.
    bound : float
        Smallest effect of interest in `unit`, if the studies have the same; otherwise NaN.
    p_corrected : float
        p value of `effect`, corrected within the family (Holm).
    networks : Networks or None
        For circuits, whether the change is larger than that of networks.
    left_out : tuple of MeanEffect
        Results in `unit` without each contributing study, in their order.
    remark : str
        Why a result is missing; empty otherwise.
    """

    term: str
    title: str
    family: Family
    unit: str
    contributions: tuple[Contribution, ...]
    effect: MeanEffect | None = None
    standard: MeanEffect | None = None
    bound: float = math.nan
    p_corrected: float = math.nan
    networks: Networks | None = None
    left_out: tuple[MeanEffect, ...] = ()
    remark: str = ""

    @property
    def present(self) -> tuple[Contribution, ...]:
        """Contributions of the studies that have an estimate."""
        return tuple(each for each in self.contributions if not each.missing)

    @property
    def equivalence_p(self) -> float:
        """Return p of the test that the effect is below the smallest effect of interest."""
        return self.standard.equivalence_p(1.0) if self.standard else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class PooledAnalysis:
    """A complete meta-analysis.

    Parameters
    ----------
    studies : tuple of FinishedStudy
        Studies in the order of the command line.
    comparison : Comparison
        What differs between them.
    terms : tuple of PooledTerm
        Global terms, then primary and secondary circuits.
    """

    studies: tuple[FinishedStudy, ...]
    comparison: Comparison
    terms: tuple[PooledTerm, ...]


def pool_folders(stated: Sequence[tuple[str, Path]]) -> PooledAnalysis:
    """Read finished analyses, compare them, and pool their results.

    Parameters
    ----------
    stated : sequence of (str, Path)
        Name, which may be empty, and output folder of each study.

    Returns
    -------
    PooledAnalysis

    Raises
    ------
    InputProblemsError
        If the analyses cannot be read or cannot be pooled; all reasons are reported together.
    """
    studies, problems = read_finished(stated)
    comparison = compare(studies)
    problems += comparison.problems
    if problems:
        raise InputProblemsError("The analyses cannot be pooled", problems)
    return PooledAnalysis(studies, comparison, pool_studies(studies))


def pool_studies(studies: Sequence[FinishedStudy]) -> tuple[PooledTerm, ...]:
    """Pool all global terms and circuits of comparable studies.

    Parameters
    ----------
    studies : sequence of FinishedStudy
        Studies without the differences that `compare` refuses.

    Returns
    -------
    tuple of PooledTerm

    Notes
    -----
    Circuits are pooled with the standard errors of the tests from zero, which are those of
    sampling. The variation of change over networks is no sampling error: the same treatment may
    change the same networks in all studies, so that averaging over studies does not reduce it. It
    enters the comparison with networks in full (`Networks`).
    """
    with_w = any(has_amplitude(study) for study in studies)
    having = [name for study in studies for name in _own_names(study, with_w=with_w)]
    names = [name for name in dict.fromkeys((*_ORDER, *having)) if name in having]
    terms = [_global_term(name, studies, with_w=with_w) for name in names]
    circuits = dict.fromkeys(
        name for family in ("specific", "secondary") for s in studies for name in s.family(family)
    )
    found = [_circuit(name, studies) for name in circuits]
    found.sort(key=lambda term: term.family)
    return tuple(_corrected([*terms, *found]))


def _own_names(study: FinishedStudy, *, with_w: bool) -> dict[str, str]:
    """Return the name of each global term in the study, by the name under which it is pooled.

    The shift of a model without w is the average change, and its gain the proportional change. They
    keep their names if no study of the meta-analysis has w in its model.
    """
    names = {name: name for name in study.family("global")}
    if with_w and not has_amplitude(study):
        names |= {total: law for total, law in _TOTALS.items() if law in names}
        for law in _LAWS:
            names.pop(law, None)
    return names


def _global_row(term: str, study: FinishedStudy, *, with_w: bool) -> StudyEstimate | str:
    """Return the estimate of a global term, or the reason why there is none."""
    rows = study.family("global")
    if not rows:
        return "no global terms, because the global signal was regressed out"
    name = _own_names(study, with_w=with_w).get(term)
    if name is None and term in rows:
        return (
            "the model of this study has no term for the amplitude of the global signal, so that "
            f"its {term} is pooled as {_total_of(term)}"
        )
    if name is None:
        return "not a term of the global model of this study"
    row = rows[name]
    return row if row.is_tested else f"not tested: {row.note or 'no estimate'}"


def _total_of(law: str) -> str:
    return next(total for total, own in _TOTALS.items() if own == law).replace("_", " ")


def _global_term(term: str, studies: Sequence[FinishedStudy], *, with_w: bool) -> PooledTerm:
    rows = [_global_row(term, study, with_w=with_w) for study in studies]
    bounds = {row.bound for row in rows if not isinstance(row, str)}
    bound = bounds.pop() if len(bounds) == 1 else math.nan
    contributions = []
    for study, row in zip(studies, rows, strict=True):
        if isinstance(row, str):
            contributions.append(Contribution(study.name, missing=row))
        else:
            standard = row.estimate / bound, row.se / bound
            contributions.append(_contribution(study.name, row, math.nan, standard))
    unit = next((row.unit for row in rows if not isinstance(row, str)), "")
    return _pooled(
        PooledTerm(term, _global_title(term), "global", unit, tuple(contributions), bound=bound)
    )


def _global_title(term: str) -> str:
    return {"global_signal": "global-signal amplitude"}.get(term, term.replace("_", " "))


def _circuit_rows(name: str, study: FinishedStudy) -> tuple[StudyEstimate, float] | str:
    """Return the test of a circuit from zero, and the variance due to networks.

    Without blocks, the test of the study is the test from zero.
    """
    for family in ("specific", "secondary"):
        row = study.family(family).get(name)
        if row is not None:
            if not row.is_tested:
                return f"not tested: {row.note or 'no estimate'}"
            own = study.family(f"{family}, from zero").get(name)
            if own is None:
                return row, math.nan
            return own, max(row.se**2 - own.se**2, 0.0)
    for sentence in study.verdict.get("circuits_not_resolved") or ():
        if str(sentence).startswith(f"circuit {name}:"):
            return str(sentence).removeprefix(f"circuit {name}:").strip().rstrip(".")
    return "not a circuit of this analysis"


def _circuit(name: str, studies: Sequence[FinishedStudy]) -> PooledTerm:
    found = [_circuit_rows(name, study) for study in studies]
    rows = [row for row in found if not isinstance(row, str)]
    having = [s for s, row in zip(studies, found, strict=True) if not isinstance(row, str)]
    design = [study.verdict.get("design") or {} for study in having]
    fixed = {own.get("sesoi_z") for own in design}
    shares = {own.get("sesoi_d", 0.3) for own in design}
    bound = fixed.pop() if len(fixed) == 1 else None
    # in standard deviations only if no study states a bound in the unit
    share = shares.pop() if bound is None and not fixed and len(shares) == 1 else math.nan
    contributions = []
    for study, row in zip(studies, found, strict=True):
        if isinstance(row, str):
            contributions.append(Contribution(study.name, missing=row))
        else:
            standard = _standard(row[0], bound, share)
            contributions.append(_contribution(study.name, *row, standard))
    verdicts = [
        s.verdict for s, row in zip(studies, found, strict=True) if not isinstance(row, str)
    ]
    is_primary = bool(verdicts) and all(name in v.get("circuits", {}) for v in verdicts)
    remark = ""
    if bound is None and math.isnan(share):
        remark = "the studies state different smallest effects of interest for circuits"
    term = PooledTerm(
        name,
        _title(name, studies),
        "primary" if is_primary else "secondary",
        next((row.unit for row, _ in rows), ""),
        tuple(contributions),
        bound=math.nan if bound is None else float(bound),
        remark=remark,
    )
    return _against_networks(_pooled(term), studies)


def _title(name: str, studies: Sequence[FinishedStudy]) -> str:
    for study in studies:
        for key in ("circuits", "secondary_circuits"):
            row = (study.verdict.get(key) or {}).get(name)
            if row:
                return str(row.get("title") or name)
    return name


def _contribution(
    name: str, row: StudyEstimate, network_variance: float, standard: tuple[float, float]
) -> Contribution:
    return Contribution(
        study=name,
        estimate=row.estimate,
        se=row.se,
        ci_low=row.ci_low,
        ci_high=row.ci_high,
        network_variance=network_variance,
        standard=standard[0],
        standard_se=standard[1],
        n=row.n,
        n_control=row.n_control,
    )


def _standard(row: StudyEstimate, bound: float | None, share: float) -> tuple[float, float]:
    """Express an estimate and its standard error in units of the smallest effect of interest."""
    if bound is not None:
        return row.estimate / bound, row.se / bound
    value, error = _in_standard_deviations(row)
    return value / share, error / share


def _in_standard_deviations(row: StudyEstimate) -> tuple[float, float]:
    """Express an estimate in standard deviations of change, with its standard error.

    With nu degrees of freedom of the standard deviation, the ratio is multiplied by
    J = 1 - 3 / (4 nu - 1), because a small sample underestimates the standard deviation, and its
    variance contains g^2 / (2 nu) for the error of the standard deviation (Hedges 1981,
    doi:10.3102/10769986006002107).
    """
    nu = row.n + row.n_control - (2 if row.n_control else 1)
    if nu < 2 or not row.sd > 0:
        return math.nan, math.nan
    correction = 1 - 3 / (4 * nu - 1)
    ratio = correction * row.estimate / row.sd
    return ratio, math.sqrt((correction * row.se / row.sd) ** 2 + ratio**2 / (2 * nu))


def _values(term: PooledTerm, name: str) -> Floats:
    return np.array([getattr(each, name) for each in term.present], float)


def _pooled(term: PooledTerm) -> PooledTerm:
    """Add the results of the meta-analysis, and the weights of the studies."""
    if len(term.present) < 2:
        n = len(term.present)
        remark = f"{n} {'study has' if n == 1 else 'studies have'} an estimate, and two are needed"
        return replace(term, remark=remark)
    estimate, se = _values(term, "estimate"), _values(term, "se")
    effect = pool_effects(estimate, se)
    weight = 1 / (se**2 + effect.tau2)
    weights = iter((weight / weight.sum()).tolist())
    standard, standard_se = _values(term, "standard"), _values(term, "standard_se")
    has_standard = bool(np.isfinite(standard).all() and np.isfinite(standard_se).all())
    remark = term.remark
    if not has_standard and not remark:
        remark = "the studies state different smallest effects of interest, or none"
    return replace(
        term,
        contributions=tuple(
            each if each.missing else replace(each, weight=next(weights))
            for each in term.contributions
        ),
        effect=effect,
        standard=pool_effects(standard, standard_se) if has_standard else None,
        left_out=tuple(without_each(estimate, se)),
        remark=remark,
    )


def _against_networks(term: PooledTerm, studies: Sequence[FinishedStudy]) -> PooledTerm:
    """Compare the change of a pooled circuit with the variation of change over networks.

    The deviation of a circuit as one network among others may be the same in all studies. It is
    therefore treated as shared, which is the largest contribution that it can make: its variance
    in the pooled estimate is (sum W_i s_i)^2, with the weights W_i and the standard deviations
    s_i of the studies. Degrees of freedom follow Satterthwaite (1946, doi:10.2307/3002019), with
    the number of networks minus 1 for this part. Since they can be many more than those of the
    mean, the p value is at least that of the test from zero.
    """
    from scipy.special import stdtr  # noqa: PLC0415 - half a second of import

    present = {each.study for each in term.present}
    n_blocks = [
        (study.verdict.get("heterogeneity") or {}).get("n_blocks") or 0
        for study in studies
        if study.name in present
    ]
    variance = _values(term, "network_variance")
    if term.effect is None or not np.isfinite(variance).all() or min(n_blocks) < 2:
        return term
    sd = float(_values(term, "weight") @ np.sqrt(variance))
    own, shared = term.effect.se**2, sd**2
    df = (own + shared) ** 2 / (own**2 / term.effect.df + shared**2 / (min(n_blocks) - 1))
    error = math.sqrt(own + shared)
    p = float(2 * stdtr(df, -abs(term.effect.estimate) / error))
    return replace(term, networks=Networks(sd, error, df, max(p, term.effect.p)))


def _corrected(terms: Sequence[PooledTerm]) -> list[PooledTerm]:
    """Correct the p values within each family."""
    p = np.array([term.effect.p if term.effect else math.nan for term in terms])
    corrected = np.full(len(terms), math.nan)
    families: Mapping[str, list[int]] = {
        family: [k for k, term in enumerate(terms) if term.family == family]
        for family in dict.fromkeys(term.family for term in terms)
    }
    for rows in families.values():
        corrected[rows] = holm(p[rows])
    return [
        replace(term, p_corrected=float(value))
        for term, value in zip(terms, corrected, strict=True)
    ]
