"""From visits to tests and a verdict: the array-level analysis of one study."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace, OptionalPart
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.change_size import log_displacement
from circuitshift.pipeline.model.contrasts import Rules, Visits, questions_of
from circuitshift.pipeline.model.families import FamilyTest, Labels, Shared
from circuitshift.pipeline.model.global_model import (
    Deviation,
    Response,
    global_response,
    identify_deviation,
    term_unit,
)
from circuitshift.pipeline.model.normalisation import naive_share
from circuitshift.pipeline.model.verdict import Estimate, Verdict, decide
from circuitshift.pipeline.stats.missing_values import circuit_means, nan_mean

__all__ = ["Analysis", "Rules", "Visits", "analyse"]

Circuits = Mapping[str, npt.NDArray[np.intp]]


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
    sample : CentredFeatures
        What the model was fitted to.
    omitted : tuple of str
        Sentences on parts of the analysis that the features do not allow, and why.
    """

    estimates: tuple[Estimate, ...]
    verdict: Verdict
    response: Response
    deviation: Deviation
    sample: CentredFeatures
    omitted: tuple[str, ...] = ()


def analyse(
    visits: Visits, circuits: Circuits, *, rng: np.random.Generator, rules: Rules | None = None
) -> Analysis:
    """Test global against circuit-specific change.

    Parameters
    ----------
    visits : Visits
    circuits : mapping of str to ndarray of int
        Hypothesised circuits: positions of their features (`FeatureSpace.positions`). Features in
        none of them are the background.
    rng : numpy.random.Generator
        The only source of randomness.
    rules : Rules, optional

    Returns
    -------
    Analysis

    Raises
    ------
    DesignError
        If arms, covariates, features or circuits do not allow the model.

    Notes
    -----
    Terms that need edges, or Fisher z, are left out for other features; `Analysis.omitted` says
    which, and why.

    Examples
    --------
    >>> import numpy as np
    >>> from circuitshift.pipeline.validation.simulate.edges import TRUTHS, EdgeSpec, simulate_edges
    >>> study = simulate_edges(TRUTHS["specific"], EdgeSpec(n_regions=60), np.random.default_rng(1))
    >>> features = FeatureSpace.of_edges(60)
    >>> visits = Visits(study.baseline, study.followup, features, reference=study.reference)
    >>> rules = Rules(n_permutations=500)
    >>> rng = np.random.default_rng(2)
    >>> analyse(visits, {"dmn": study.circuit}, rng=rng, rules=rules).verdict.verdict
    'circuit-specific'
    """
    rules = rules or Rules()
    _check_reference(visits)
    change = visits.change
    sample = CentredFeatures.from_values(
        change=change,
        baseline=visits.before,
        circuits=circuits,
        features=visits.features,
        reference=visits.reference,
        baseline_only=visits.baseline_only,
        background=rules.background,
    )
    deviation = identify_deviation(sample, rng)
    response = global_response(sample, with_deviation=deviation.identified)
    adjusted = None
    if not visits.features.reason_to_omit("node-adjusted"):
        adjusted = global_response(sample, with_deviation=deviation.identified, node_adjusted=True)
    n_reference = 0 if visits.reference is None else len(visits.reference)
    estimates: list[Estimate] = []
    for question in questions_of(visits):
        tester = FamilyTest(question, rules, rng, n_reference, unit=visits.features.unit)
        estimates += _global(tester, response, visits)
        estimates += _specific(tester, response, "specific", visits.features)
        if adjusted is not None:
            estimates += _specific(tester, adjusted, "specific, node-adjusted", visits.features)
        if question.name:
            continue
        estimates += _naive(tester, visits, change, sample)
        estimates += _size(tester, change, sample)
    verdict = decide(
        estimates,
        alpha=rules.alpha,
        deviation=deviation,
        controlled=visits.controlled,
        global_signal_removed=visits.global_signal_removed,
        kind=visits.features.kind,
    )
    omitted = _omitted(visits.features, rules)
    return Analysis(tuple(estimates), verdict, response, deviation, sample, omitted)


def _omitted(features: FeatureSpace, rules: Rules) -> tuple[str, ...]:
    """Say which parts of the analysis the features do not allow."""
    parts: tuple[OptionalPart, ...] = ("distance", "curvature", "node-adjusted")
    reasons = [features.reason_to_omit(part) for part in parts]
    if np.isnan(rules.smallest_effect(features)):
        reasons.append(
            "Equivalence: not tested, because no smallest effect of interest is stated in "
            f"{features.unit} (sesoi of Rules)."
        )
    return tuple(filter(None, reasons))


def _check_reference(visits: Visits) -> None:
    """Refuse a reference that holds the patients themselves: their noise would be shared."""
    if visits.reference is None:
        return
    patients = {row.tobytes(): k for k, row in enumerate(visits.baseline)}
    both = [k for k, row in enumerate(visits.reference) if row.tobytes() in patients]
    if both:
        raise DesignError(
            f"{len(both)} of {len(visits.reference)} reference people have exactly the "
            f"{visits.features.plural} of a patient's baseline (the first is reference person "
            f"{both[0] + 1}): the reference must be other people; check [groups] reference and "
            "--reference-dataset"
        )


def _global(tester: FamilyTest, response: Response, visits: Visits) -> list[Estimate]:
    terms = response.terms
    tested = tuple(
        name for name in terms if name != "distance" and not visits.global_signal_removed
    )
    bound = tester.rules.smallest_effect(visits.features)
    out = []
    for family, names in (("global", tested), ("nuisance", ("distance",))):
        if not names or names[0] not in terms:
            continue
        columns = np.array([terms.index(name) for name in names])
        labels = Labels(
            family=family,
            terms=names,
            tests=tuple(n if family == "nuisance" else f"global {n}" for n in names),
            units=tuple(term_unit(n, visits.features) for n in names),
            bounds=tuple(bound / response.units.get(n, np.nan) for n in names),
            sided=False,
        )
        y = response.coefficients[:, columns]
        out += tester.family(labels, y, Shared(response, columns))
    return out


def _specific(
    tester: FamilyTest, response: Response, family: str, features: FeatureSpace
) -> list[Estimate]:
    columns = len(response.terms) + np.arange(len(response.circuits))
    words = (family, "beyond the global law")
    labels = _circuit_labels(words, response.circuits, features, tester.rules)
    return tester.family(labels, response.specific, Shared(response, columns))


def _circuit_labels(
    words: tuple[str, str], names: tuple[str, ...], features: FeatureSpace, rules: Rules
) -> Labels:
    """Label the rows of a family of circuits; `words` are its name and what is tested."""
    family, what = words
    k = len(names)
    return Labels(
        family=family,
        terms=names,
        tests=tuple(f"{name} {what}" for name in names),
        units=(features.unit,) * k,
        bounds=(rules.smallest_effect(features),) * k,
    )


def _naive(
    tester: FamilyTest, visits: Visits, change: Floats, sample: CentredFeatures
) -> list[Estimate]:
    circuits, background = sample.circuits, sample.background
    names = tuple(circuits)
    rest = nan_mean(change, background)
    plain = circuit_means(change, circuits)
    rows = [
        (_circuit_labels(words, names, visits.features, tester.rules), y)
        for words, y in (
            (("circuit change", "change"), plain),
            (("naive: circuit minus background", "minus background"), plain - rest[:, None]),
        )
    ]
    if visits.reference is not None and len(visits.reference):
        share = naive_share(change, visits.before, visits.reference, background)
        label = "slope of change on the plain deviation"
        one = ("normalisation",), (label,), ("share",), (np.nan,)
        rows.append((Labels("naive: normalisation slope", *one), share[:, None]))
    return [row for labels, y in rows for row in tester.family(labels, y)]


def _size(tester: FamilyTest, change: Floats, sample: CentredFeatures) -> list[Estimate]:
    """Compare how far the arms moved, whatever the direction; it needs a control arm."""
    if tester.question.flips:
        return []
    background = np.flatnonzero(sample.background)
    moved = log_displacement(change, {"background": background, **sample.circuits})
    names = tuple(moved)
    labels = Labels(
        family="size of change",
        terms=names,
        tests=tuple(f"size of change, {name}" for name in names),
        units=("log ratio, treated to control",) * len(names),
        bounds=(np.nan,) * len(names),
        sided=False,  # a direction stated for a circuit's mean says nothing of its size
    )
    return tester.family(labels, np.array(list(moved.values())).T)
