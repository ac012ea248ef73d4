"""What is looked at beside the verdict: it informs, and decides nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.analyse import Analysis
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.contrasts import Question, Rules, Visits, questions_of
from circuitshift.pipeline.model.families import FamilyTest, Labels
from circuitshift.pipeline.model.global_model import Response
from circuitshift.pipeline.model.normalisation import CircuitShare, circuit_shares, split_half_share
from circuitshift.pipeline.model.secondary.model_comparison import Prediction, compare_models
from circuitshift.pipeline.model.secondary.random_circuits import SpatialTest, spatial_null
from circuitshift.pipeline.model.secondary.trajectories import Levels, trajectories
from circuitshift.pipeline.model.verdict import Estimate
from circuitshift.pipeline.stats.influence import Influence, influence
from circuitshift.pipeline.stats.missing_values import blocks, circuit_means, column_mean
from circuitshift.pipeline.stats.reliability import Reliability, reliability, reliable_change

__all__ = ["CircuitReliability", "SecondaryResults", "TermInfluence", "secondary_analyses"]

#: Share of the variance of change that must be reliable before an effect is disattenuated.
MIN_RELIABLE = 0.2

Circuits = Mapping[str, npt.NDArray[np.intp]]


@dataclass(frozen=True, slots=True)
class CircuitReliability:
    """Reliability of one circuit's mean edge, and what it does to the standardised effect.

    Parameters
    ----------
    circuit, source : str
        Where the two measurements without treatment are from.
    found : Reliability
    effect_d : float
        Change by treatment divided by its standard deviation between people.
    reliability_of_change : float
        1 - 2 SEM^2 / variance of the change between people (4 SEM^2 in a crossover, whose change
        holds four measurements).
    effect_d_disattenuated : float
        `effect_d` divided by its root: what a measurement without noise would give (Spearman
        1904). An extrapolation; NaN where less than .2 of the variance is reliable.
    """

    circuit: str
    source: str
    found: Reliability
    effect_d: float
    reliability_of_change: float
    effect_d_disattenuated: float


@dataclass(frozen=True, slots=True)
class TermInfluence:
    """Influence on one test of the verdict.

    Parameters
    ----------
    family, term : str
    person : int
        Row in the visits.
    found : Influence
    """

    family: str
    term: str
    person: int
    found: Influence


@dataclass(frozen=True, slots=True)
class SecondaryResults:
    """Everything beside the verdict.

    Parameters
    ----------
    shares : tuple of CircuitShare
        Empty without a reference group.
    reliabilities : tuple of CircuitReliability
        Empty when nobody was scanned twice without treatment.
    circuits : tuple of str
    reliable : ndarray, shape (n_people, n_circuits)
        Each person's change in units of untreated change; NaN when unknown.
    predictions : tuple of Prediction
    spatial : tuple of SpatialTest
    influences : tuple of TermInfluence
    estimates : tuple of Estimate
        Rows for tests.tsv: ranks, split-half share closed, trajectories.
    remarks : tuple of str
        What could not be looked at, and why.
    """

    shares: tuple[CircuitShare, ...]
    reliabilities: tuple[CircuitReliability, ...]
    circuits: tuple[str, ...]
    reliable: Floats
    predictions: tuple[Prediction, ...]
    spatial: tuple[SpatialTest, ...]
    influences: tuple[TermInfluence, ...]
    estimates: tuple[Estimate, ...]
    remarks: tuple[str, ...]


def secondary_analyses(
    analysis: Analysis,
    visits: Visits,
    *,
    rng: np.random.Generator,
    rules: Rules | None = None,
    levels: Levels | None = None,
) -> SecondaryResults:
    """Look at everything that informs a reader but does not decide.

    Parameters
    ----------
    analysis : Analysis
        Of `visits`.
    visits : Visits
    rng : numpy.random.Generator
    rules : Rules, optional
    levels : Levels, optional
        All visits, when there are more than two.

    Returns
    -------
    Beside
    """
    rules = rules or Rules()
    circuits = analysis.sample.circuits
    question = replace(questions_of(visits)[0], weights=None)  # each person counts once here
    features = visits.features
    tester = FamilyTest(question, rules, rng, len(analysis.sample.reference), unit=features.unit)
    remarks = [reason for reason in (features.reason_to_omit("random circuits"),) if reason]
    estimates = _rank_rows(tester, analysis.response, visits.global_signal_removed)
    if analysis.deviation.identified:
        try:
            share = split_half_share(analysis.sample, rng)
            labels = _one("normalisation, split-half instrument", "share of the deviation closed")
            estimates += tester.family(labels, share[:, None])
        except DesignError as error:
            remarks.append(f"Share closed by split halves: {error}.")
    if levels is not None:
        try:
            identified = analysis.deviation.identified
            estimates += trajectories(levels, analysis.sample, with_deviation=identified)
        except DesignError as error:
            remarks.append(f"Trajectories: {error}.")
    predictions: list[Prediction] = []
    terms = [k for k, name in enumerate(analysis.response.terms) if name != "distance"]
    try:
        predictions = compare_models(
            analysis.response.coefficients[:, terms],
            analysis.response.specific,
            treated=visits.treated,
        )
    except DesignError as error:
        remarks.append(f"Predictive comparison: {error}.")
    reliabilities, reliable = _reliabilities(visits, circuits, question)
    if not reliabilities:
        remarks.append(
            "Reliability: nobody was scanned twice without treatment (control arm, control "
            "condition, or second visits of the reference)."
        )
    return SecondaryResults(
        shares=tuple(_shares(visits, circuits, question)),
        reliabilities=tuple(reliabilities),
        circuits=tuple(circuits),
        reliable=reliable,
        predictions=tuple(predictions),
        spatial=tuple(_spatial(analysis, visits, question, rng)),
        influences=tuple(_influences(analysis, question)),
        estimates=tuple(estimates),
        remarks=tuple(remarks),
    )


def _one(family: str, unit: str) -> Labels:
    return Labels(family, ("normalisation",), (family,), (unit,), (np.nan,), sided=False)


def _rank_rows(tester: FamilyTest, response: Response, gsr: bool) -> list[Estimate]:
    """Repeat the tests of the verdict on ranks."""
    by_rank = replace(tester, ranks=True)
    terms = [name for name in response.terms if name != "distance" and not gsr]
    at = [response.terms.index(name) for name in terms]
    out = []
    for family, names, y in (
        ("ranks: global", tuple(terms), response.coefficients[:, at]),
        ("ranks: specific", response.circuits, response.specific),
    ):
        if names:
            k = len(names)
            tests = tuple(f"{name}, by ranks" for name in names)
            labels = Labels(family, names, tests, ("normal scores",) * k, (np.nan,) * k)
            out += by_rank.family(replace(labels, sided="specific" in family), y)
    return out


def _shares(visits: Visits, circuits: Circuits, question: Question) -> list[CircuitShare]:
    if visits.reference is None or not len(visits.reference):
        return []
    before = visits.before
    if visits.baseline_only is not None:
        before = np.vstack([before, visits.baseline_only])
    change, pool, healthy = (
        dict(zip(circuits, circuit_means(z, circuits).T, strict=True))
        for z in (visits.change, before, visits.reference)
    )
    return circuit_shares(change, pool, healthy, question.contrast(question.asked))


def _reliabilities(
    visits: Visits, circuits: Circuits, question: Question
) -> tuple[list[CircuitReliability], Floats]:
    source, first, second = _untreated(visits)
    change = circuit_means(visits.change, circuits)
    reliable = np.full(change.shape, np.nan)
    if first is None or second is None:
        return [], reliable
    one, two = (circuit_means(z, circuits) for z in (first, second))
    out = []
    for k, name in enumerate(circuits):
        try:
            found = reliability(one[:, k], two[:, k])
        except DesignError:
            continue
        if not visits.is_crossover:  # there, the change is already one against the control
            reliable[:, k] = reliable_change(change[:, k], two[:, k] - one[:, k])
        d, spread = _effect_d(change[:, k], question)
        measured = 4 if visits.is_crossover and not _share_baseline(visits) else 2
        share = 1 - measured * found.sem**2 / spread**2 if spread > 0 else np.nan
        clear = d / np.sqrt(share) if share >= MIN_RELIABLE else np.nan
        out.append(CircuitReliability(name, source, found, d, share, clear))
    return out, reliable


def _share_baseline(visits: Visits) -> bool:
    """Tell whether one baseline serves both conditions, and so cancels in the change."""
    other = visits.control_baseline
    return other is not None and np.array_equal(visits.baseline, other, equal_nan=True)


def _untreated(visits: Visits) -> tuple[str, Floats | None, Floats | None]:
    """Find two measurements without treatment."""
    if visits.is_crossover:
        return "control condition", visits.control_baseline, visits.control_followup
    if visits.treated is not None:
        control = ~visits.treated
        return "control arm", visits.baseline[control], visits.followup[control]
    return "reference group", visits.reference, visits.reference_again


def _effect_d(y: Floats, question: Question) -> tuple[float, float]:
    """Return the standardised effect, and the standard deviation it is standardised by."""
    participants = question.asked & np.isfinite(y)
    if participants.sum() < 4:
        return float("nan"), float("nan")
    contrast = question.contrast(participants)
    values = y[participants]
    fitted = contrast.design @ (np.linalg.pinv(contrast.design) @ values)
    df = len(values) - contrast.design.shape[1]
    spread = float(np.sqrt(((values - fitted) ** 2).sum() / df))
    effect = float(contrast.weights @ values)
    return effect / spread if spread > 0 else float("nan"), spread


def _spatial(
    analysis: Analysis, visits: Visits, question: Question, rng: np.random.Generator
) -> list[SpatialTest]:
    features, sample = visits.features, analysis.sample
    if features.reason_to_omit("random circuits"):
        return []
    beyond = residual_map(sample, analysis.response, question)
    strength = np.nan_to_num(column_mean(visits.before))
    length = None if features.reason_to_omit("distance") else features.length_mm
    return spatial_null(
        beyond,
        sample.circuits,
        n_regions=features.n_regions,
        strength=strength,
        length=length,
        rng=rng,
    )


def residual_map(sample: CentredFeatures, response: Response, question: Question) -> Floats:
    """Change by treatment beyond the global law, on every edge.

    Parameters
    ----------
    sample : Sample
    response : Response
        Its slopes predict each person's edges; the regressors are those of all people.
    question : Question

    Returns
    -------
    ndarray, shape (n_edges,)
        Fisher z; NaN where an edge is lost in anybody asked.
    """
    weights = np.zeros(len(question.interest))
    weights[question.asked] = question.contrast(question.asked).weights
    m, h = (
        column_mean(few.residual for few in p.blocks()) for p in (sample.baseline, sample.strong)
    )
    columns = [m, h, np.zeros_like(m)]
    if len(sample.reference):
        columns[2] = column_mean(few.residual for few in sample.reference.blocks()) - m
    slopes = weights @ response.slopes
    predicted = np.nansum([s * c for s, c in zip(slopes, columns, strict=True)], axis=0)
    change = np.zeros_like(m)
    for few in blocks(len(weights)):
        asked = question.asked[few]
        change += weights[few][asked] @ sample.change[few].residual[asked]
    return np.asarray(change - predicted)


def _influences(analysis: Analysis, question: Question) -> list[TermInfluence]:
    response = analysis.response
    out = []
    families: Sequence[tuple[str, Sequence[str], Floats]] = (
        ("global", response.terms, response.coefficients),
        ("specific", response.circuits, response.specific),
    )
    for family, names, values in families:
        for k, name in enumerate(names):
            participants = question.asked & np.isfinite(values[:, k])
            if name == "distance" or participants.sum() < 6:
                continue
            found = influence(values[participants, k], question.contrast(participants))
            row = int(np.flatnonzero(participants)[found.person])
            out.append(TermInfluence(family, name, row, found))
    return out
