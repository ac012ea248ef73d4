"""The analysis of one study on arrays: from visits to tests and a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.features import FeatureSpace, OptionalPart
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.change_size import log_displacement
from circuitshift.pipeline.model.contrasts import Rules, Visits, questions_of
from circuitshift.pipeline.model.deviation import Deviation, identify_deviation
from circuitshift.pipeline.model.families import FamilyTest, Labels, Shared
from circuitshift.pipeline.model.global_model import (
    Response,
    baseline_levels,
    global_response,
    term_unit,
)
from circuitshift.pipeline.model.heterogeneity.block_families import (
    block_families,
    heterogeneity_of,
    rival_families,
)
from circuitshift.pipeline.model.heterogeneity.block_variation import BlockVariation
from circuitshift.pipeline.model.heterogeneity.network_blocks import (
    MIN_BLOCK_FEATURES,
    NetworkBlocks,
    network_blocks,
)
from circuitshift.pipeline.model.heterogeneity.summary import Heterogeneity
from circuitshift.pipeline.model.input_checks import check_input, check_networks
from circuitshift.pipeline.model.normalisation import naive_share
from circuitshift.pipeline.model.verdict import Estimate, Verdict, decide
from circuitshift.pipeline.stats.missing_values import circuit_means, column_mean, nan_mean

__all__ = ["Analysis", "Rules", "Visits", "analyse"]

Circuits = Mapping[str, npt.NDArray[np.intp]]


@dataclass(frozen=True, slots=True)
class Analysis:
    """Hold the results of `analyse`.

    Parameters
    ----------
    estimates : tuple of Estimate
        Tests, one per row of tests.tsv.
    verdict : Verdict
        Answer of the study.
    response : Response
        Coefficients of each participant.
    deviation : Deviation
        Whether normalisation could be estimated.
    sample : CentredFeatures
        Features to which the model was fitted.
    omitted : tuple of str
        Sentences that name the parts of the analysis that the features do not allow, with reasons.
    levels : ndarray, shape (n_participants, n_terms + n_circuits), optional
        Level of each global term and circuit at baseline, for which arms are adjusted; None if
        changes are compared.
    """

    estimates: tuple[Estimate, ...]
    verdict: Verdict
    response: Response
    deviation: Deviation
    sample: CentredFeatures
    omitted: tuple[str, ...] = ()
    levels: Floats | None = None


def analyse(
    visits: Visits,
    circuits: Circuits,
    *,
    rng: np.random.Generator,
    rules: Rules | None = None,
    networks: Sequence[str] | None = None,
) -> Analysis:
    """Test for global and circuit-specific change.

    Parameters
    ----------
    visits : Visits
        Features and design of the study.
    circuits : mapping of str to ndarray of int
        Hypothesised circuits: positions of their features (`FeatureSpace.positions`). Features in
        none of them are the background.
    rng : numpy.random.Generator
        Only source of randomness.
    rules : Rules, optional
        Settings of the tests and of the decision.
    networks : sequence of str, optional
        Network of each region; an empty string for a region without a network. Pairs of networks
        are the blocks over which the heterogeneity of change is estimated. Without networks,
        clusters of the mean connectivity of all visits replace them.

    Returns
    -------
    Analysis
        Tests, verdict, and coefficients of each participant.

    Raises
    ------
    DesignError
        If the arms, covariates, features or circuits do not allow the model to be fitted.

    Notes
    -----
    Terms that are defined for edges or Fisher z only are omitted for other features;
    `Analysis.omitted` names them, with reasons.

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
    check_input(visits, circuits, rules, rng)
    check_networks(networks, visits.features)
    change = visits.change
    blocks = _blocks(visits, circuits, networks)
    sample = CentredFeatures.from_values(
        change=change,
        baseline=visits.before,
        circuits=circuits,
        features=visits.features,
        reference=visits.reference,
        baseline_only=visits.baseline_only,
        background=rules.background,
        blocks=blocks.positions,
    )
    sample = _without_small_blocks(_excluding(sample, visits, rules))
    deviation = identify_deviation(sample, rng)
    has_deviation = deviation.identified
    response = global_response(sample, with_deviation=has_deviation)
    levels, of_blocks = _levels(visits, sample, response)
    adjusted = adjusted_levels = None
    if not visits.features.reason_to_omit("node-adjusted"):
        adjusted = global_response(sample, with_deviation=has_deviation, node_adjusted=True)
        if levels is not None:
            adjusted_levels = baseline_levels(
                sample, with_deviation=has_deviation, node_adjusted=True
            )
    variation = BlockVariation.of(response, of_blocks)
    n_reference = 0 if visits.reference is None else len(visits.reference)
    estimates: list[Estimate] = []
    for question in questions_of(visits):
        test = FamilyTest(question, rules, rng, n_reference, unit=visits.features.unit)
        estimates += _global(test, response, visits, levels, against=variation)
        estimates += _specific(test, response, visits.features, levels, against=variation)
        if adjusted is not None:
            estimates += _specific(
                test, adjusted, visits.features, adjusted_levels, adjustment=", node-adjusted"
            )
        if question.name:
            continue
        if levels is not None:
            estimates += _change_scores(test, response, visits, variation)
        estimates += _naive(test, visits, change, sample)
        estimates += _size(test, change, sample)
        from_zero = _from_zero(test, response, visits, levels) if variation is not None else []
        rows, heterogeneity = _heterogeneity(
            test, variation, from_zero, blocks=blocks, sample=sample
        )
        estimates += [*rows, *from_zero]
        estimates += rival_families(
            test,
            sample,
            response,
            adjusted=adjusted,
            signal_quality=visits.signal_quality,
            networks=blocks.networks,
        )
    verdict = decide(
        estimates,
        alpha=rules.alpha,
        deviation=deviation,
        controlled=visits.controlled,
        global_signal_removed=visits.global_signal_removed,
        kind=visits.features.kind,
        heterogeneity=heterogeneity,
    )
    omitted = _omitted(visits.features, rules, sample)
    return Analysis(tuple(estimates), verdict, response, deviation, sample, omitted, levels)


def _blocks(visits: Visits, circuits: Circuits, networks: Sequence[str] | None) -> NetworkBlocks:
    """Divide the features outside the circuits into blocks."""
    features = visits.features
    features.check_positions(circuits)
    background = np.ones(features.n_features, bool)
    for positions in circuits.values():
        background[positions] = False
    return network_blocks(networks, background, features, _typical(visits))


def _without_small_blocks(sample: CentredFeatures) -> CentredFeatures:
    """Omit blocks of which a restricted background (`Rules.background`) leaves few features."""
    large = {k: at for k, at in sample.blocks.items() if len(at) >= MIN_BLOCK_FEATURES}
    return replace(sample, blocks=large)


def _typical(visits: Visits) -> Floats:
    """Average each feature over all visits of all participants, NaN where it is missing.

    Clusters of the baseline alone would collect features that are large at baseline by chance,
    which decrease afterwards (regression to the mean). The mean of two visits is not correlated
    with the change between them if both have the same variance (Oldham 1962, Journal of Chronic
    Diseases 15:969-977).
    """
    parts = (visits.baseline, visits.followup, visits.control_baseline, visits.control_followup)
    means = [column_mean(part) for part in parts if part is not None]
    return np.asarray(np.mean(means, axis=0))


def _levels(
    visits: Visits, sample: CentredFeatures, response: Response
) -> tuple[Floats, Floats] | tuple[None, None]:
    """Return the levels of terms and circuits, and of blocks, if arms are adjusted for them."""
    if not visits.adjusts_baseline:
        return None, None
    with_deviation = "normalisation" in response.terms
    both = baseline_levels(sample, with_deviation=with_deviation, with_blocks=True)
    n = both.shape[1] - len(response.blocks)
    return both[:, :n], both[:, n:]


def _heterogeneity(
    test: FamilyTest,
    variation: BlockVariation | None,
    from_zero: Sequence[Estimate],
    *,
    blocks: NetworkBlocks,
    sample: CentredFeatures,
) -> tuple[list[Estimate], Heterogeneity]:
    """Test blocks of the background, and summarise their variation."""
    features = sample.features
    if variation is None:
        reason = blocks.source if not blocks.positions else "the background has too few blocks"
        smallest = test.rules.smallest_heterogeneity(features.unit)
        return [], Heterogeneity.unknown(reason, smallest=smallest)
    rows = block_families(test, variation, features)
    return rows, heterogeneity_of(
        test, variation, [*rows, *from_zero], blocks=blocks, sample=sample
    )


def _from_zero(
    test: FamilyTest, response: Response, visits: Visits, levels: Floats | None
) -> list[Estimate]:
    """Repeat the tests of circuits without the variation over blocks."""
    rows = _specific(test, response, visits.features, levels)
    return [replace(e, family=f"{e.family}, from zero") for e in rows]


def _excluding(sample: CentredFeatures, visits: Visits, rules: Rules) -> CentredFeatures:
    """Exclude the terms that the rules name, and the global signal where it was removed."""
    without = dict(rules.without)
    if visits.global_signal_removed:
        without.setdefault("global_signal", "the global signal was regressed out")
    return sample.excluding(without)


def _omitted(features: FeatureSpace, rules: Rules, sample: CentredFeatures) -> tuple[str, ...]:
    """Name the parts of the analysis that the features do not allow, with reasons."""
    parts: tuple[OptionalPart, ...] = ("distance", "curvature", "global signal", "node-adjusted")
    reasons = [features.reason_to_omit(part) for part in parts]
    reasons.append(features.remark_on_lengths)
    reasons += [
        f"{term.replace('_', ' ').capitalize()}: not part of the global model, because {reason}."
        for term, reason in sample.without.items()
    ]
    if np.isnan(rules.smallest_effect("shift", features)):
        reasons.append(
            "Equivalence of the shift: not tested, because no smallest effect of interest is "
            f"defined in {features.unit} (sesoi of Rules)."
        )
    return tuple(filter(None, reasons))


def _global(
    test: FamilyTest,
    response: Response,
    visits: Visits,
    levels: Floats | None,
    *,
    against: BlockVariation | None,
) -> list[Estimate]:
    """Test the global terms, and distance as a nuisance.

    Shift and gain are compared with the average and the proportional change of the model without w,
    if these are terms. They then form a second stage: whether anything changed globally is tested
    first, and shift and gain are significant only if a term of the first stage is.
    """
    terms = response.terms
    tested = tuple(
        name for name in terms if name != "distance" and not visits.global_signal_removed
    )
    laws = tuple(n for n in tested if n in ("shift", "gain") and "average_change" in tested)
    first = tuple(n for n in tested if n not in laws)
    shared = (test, response, visits.features, levels)
    rows = _terms(*shared, names=first, against=against)
    gate = min((e.p_corrected for e in rows if np.isfinite(e.p_corrected)), default=1.0)
    rows += [
        replace(e, p_corrected=float(np.maximum(e.p_corrected, gate)))
        for e in _terms(*shared, names=laws, against=against)
    ]
    rows.sort(key=lambda e: tested.index(e.term))
    nuisance = tuple(n for n in ("distance",) if n in terms)
    rows += _terms(*shared, names=nuisance, family="nuisance")
    if tested:
        prefix = f"{test.question.name}: " if test.question.name else ""
        rows += [
            Estimate.unknown(f"{prefix}global", term, reason, unit=term_unit(term, visits.features))
            for term, reason in response.withheld.items()
            if term not in response.circuits
        ]
    return rows


def _terms(
    test: FamilyTest,
    response: Response,
    features: FeatureSpace,
    levels: Floats | None,
    *,
    names: tuple[str, ...],
    family: str = "global",
    against: BlockVariation | None = None,
) -> list[Estimate]:
    """Test some terms of the global model together."""
    if not names:
        return []
    columns = np.array([response.terms.index(name) for name in names])
    labels = Labels(
        family=family,
        terms=names,
        tests=tuple(n if family == "nuisance" else f"global {n}" for n in names),
        units=tuple(term_unit(n, features) for n in names),
        bounds=tuple(test.rules.smallest_effect(n, features) for n in names),
        sided=False,
    )
    baseline = None if levels is None else levels[:, columns]
    y = response.coefficients[:, columns]
    return test.family(labels, y, Shared(response, columns), baseline=baseline, against=against)


def _specific(
    test: FamilyTest,
    response: Response,
    features: FeatureSpace,
    levels: Floats | None,
    *,
    adjustment: str = "",
    against: BlockVariation | None = None,
) -> list[Estimate]:
    """Test the change of primary and of secondary circuits beyond the global model."""
    names = response.circuits
    primary, secondary = test.rules.split(names)
    out = []
    for family, chosen in (("specific", primary), ("secondary", secondary)):
        if not chosen:
            continue
        at = np.array([names.index(name) for name in chosen])
        columns = len(response.terms) + at
        description = (family + adjustment, "residual change (beyond the global model)")
        labels = _circuit_labels(description, chosen, features, test.rules)
        baseline = None if levels is None else levels[:, columns]
        y = response.specific[:, at]
        shared = Shared(response, columns)
        rows = test.family(labels, y, shared, baseline=baseline, against=against)
        out += [
            replace(e, note=response.withheld[e.term]) if e.term in response.withheld else e
            for e in rows
        ]
    return out


def _change_scores(
    test: FamilyTest, response: Response, visits: Visits, against: BlockVariation | None
) -> list[Estimate]:
    """Repeat the tests of the verdict on changes, without adjustment for the baseline."""
    changes = replace(test, question=replace(test.question, adjusts=False))
    rows = _global(changes, response, visits, None, against=against)
    rows += _specific(changes, response, visits.features, None, against=against)
    kept = ("global", "specific")
    return [replace(e, family=f"change scores: {e.family}") for e in rows if e.family in kept]


def _circuit_labels(
    description: tuple[str, str], names: tuple[str, ...], features: FeatureSpace, rules: Rules
) -> Labels:
    """Label the rows of a family of circuits.

    `description` holds the name of the family and the tested quantity.
    """
    family, quantity = description
    k = len(names)
    return Labels(
        family=family,
        terms=names,
        tests=tuple(f"{name} {quantity}" for name in names),
        units=(features.unit,) * k,
        bounds=(np.nan if rules.sesoi is None else rules.sesoi,) * k,
        bound_d=rules.sesoi_d,
    )


def _naive(
    test: FamilyTest, visits: Visits, change: Floats, sample: CentredFeatures
) -> list[Estimate]:
    """Test the change of circuits by the usual contrasts, for comparison with the model."""
    circuits, background = sample.circuits, sample.background
    names = tuple(circuits)
    background_change = nan_mean(change, background)
    circuit_change = circuit_means(change, circuits)
    contrast = circuit_change - background_change[:, None]
    rows = [
        (_circuit_labels(description, names, visits.features, test.rules), y)
        for description, y in (
            (("circuit change", "change"), circuit_change),
            (("naive: circuit minus background", "minus background"), contrast),
        )
    ]
    if visits.reference is not None and len(visits.reference):
        share = naive_share(change, visits.before, visits.reference, background)
        label = "slope of change on the unadjusted deviation"
        one = ("normalisation",), (label,), ("share",), (np.nan,)
        rows.append((Labels("naive: normalisation slope", *one), share[:, None]))
    return [row for labels, y in rows for row in test.family(labels, y)]


def _size(test: FamilyTest, change: Floats, sample: CentredFeatures) -> list[Estimate]:
    """Compare the size of change between the arms, regardless of its direction."""
    if test.question.flips:  # the size contains scan noise: it needs a control arm
        return []
    background = np.flatnonzero(sample.background)
    sizes = log_displacement(change, {"background": background, **sample.circuits})
    names = tuple(sizes)
    labels = Labels(
        family="size of change",
        terms=names,
        tests=tuple(f"size of change, {name}" for name in names),
        units=("log ratio, treated to control",) * len(names),
        bounds=(np.nan,) * len(names),
        sided=False,  # the direction stated for the mean of a circuit does not apply to its size
    )
    return test.family(labels, np.array(list(sizes.values())).T)
