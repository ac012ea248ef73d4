"""Families of tests over blocks, and of rival explanations of circuits' changes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.families import FamilyTest, Labels, Shared, SharedNoise
from circuitshift.pipeline.model.global_model import Response, term_unit
from circuitshift.pipeline.model.heterogeneity.block_variation import BlockVariation
from circuitshift.pipeline.model.heterogeneity.network_blocks import NetworkBlocks
from circuitshift.pipeline.model.heterogeneity.peer_blocks import is_within_network, p_among_peers
from circuitshift.pipeline.model.heterogeneity.random_effects import MIN_BLOCKS, residuals_of
from circuitshift.pipeline.model.heterogeneity.rival_explanations import (
    Explained,
    graded_gain,
    measured_signal_quality,
)
from circuitshift.pipeline.model.heterogeneity.summary import OMNIBUS_SHARE, Heterogeneity
from circuitshift.pipeline.model.heterogeneity.variance import (
    BlockErrors,
    moment_tau,
    tau_interval,
)
from circuitshift.pipeline.model.verdict import Estimate
from circuitshift.pipeline.stats.pooling.reml import reml_tau

__all__ = ["BLOCKS", "WITHIN", "block_families", "heterogeneity_of", "rival_families"]

BLOCKS = "blocks"
FROM_ZERO = "specific, from zero"
WITHIN = "global, within blocks"


def block_families(
    test: FamilyTest, variation: BlockVariation, features: FeatureSpace
) -> list[Estimate]:
    """Test the gain within blocks, and the residual change of each block.

    Parameters
    ----------
    test : FamilyTest
        Question and settings of the tests.
    variation : BlockVariation
        Blocks of the fitted model.
    features : FeatureSpace
        Feature space of the study.

    Returns
    -------
    list of Estimate
        The family ``global, within blocks`` with one row, the gain; and the family ``blocks``,
        whose smallest corrected p value is that of the omnibus test of one global law.
    """
    response = variation.response
    nan = float("nan")
    has_gain = "gain" in response.terms
    one = Labels(
        family=WITHIN,
        terms=("gain",),
        tests=("global gain, from differences within blocks",),
        units=(term_unit("gain", features),),
        bounds=(nan,),
        sided=False,
    )
    k = len(response.blocks)
    each = Labels(
        family=BLOCKS,
        terms=response.blocks,
        tests=tuple(
            f"{name} residual change (beyond the global model)" for name in response.blocks
        ),
        units=(features.unit,) * k,
        bounds=(nan,) * k,
        sided=False,
    )
    shared = Shared(response, variation.columns)
    rows = test.family(each, response.block_values, shared, baseline=variation.levels)
    if has_gain and not np.isfinite(response.block_gain).any():
        reason = "typical values within blocks differ by no more than noise, or are too few"
        rows.append(Estimate.unknown(WITHIN, "gain", reason, unit=one.units[0]))
    elif has_gain:
        column = np.array([response.terms.index("gain")])
        rows += test.family(one, response.block_gain[:, None], Shared(response, column))
    return rows


def heterogeneity_of(
    test: FamilyTest,
    variation: BlockVariation,
    rows: Sequence[Estimate],
    *,
    blocks: NetworkBlocks,
    sample: CentredFeatures,
) -> Heterogeneity:
    """Summarise the variation over blocks.

    Parameters
    ----------
    test : FamilyTest
        Question and settings of the tests.
    variation : BlockVariation
        Blocks of the fitted model.
    rows : sequence of Estimate
        Rows of `block_families`, and of the tests of circuits against 0 (family ``specific, from
        zero``).
    blocks : NetworkBlocks
        Blocks of the study, and where they come from.
    sample : CentredFeatures
        Features of the study.

    Returns
    -------
    Heterogeneity
        Estimates from the blocks that are available in all participants of the question, without
        those who have too few features for a fit.
    """
    tests = [row for row in rows if row.family == BLOCKS]
    # participants with too few features for a fit have no values at all
    has_blocks = np.isfinite(variation.response.block_values).any(axis=1)
    participants = test.question.asked & has_blocks
    values = variation.response.block_values[participants]
    tested = np.isfinite([row.se for row in tests])
    usable = np.flatnonzero(tested & np.isfinite(values).all(axis=0))
    smallest = test.rules.smallest_heterogeneity(test.unit)
    if len(usable) < MIN_BLOCKS:
        reason = f"fewer than {MIN_BLOCKS} blocks are available in all participants"
        return Heterogeneity.unknown(reason, smallest=smallest, source=blocks.source)
    chosen = [tests[k] for k in usable.tolist()]
    estimate, se, df = (np.array([getattr(e, n) for e in chosen]) for n in ("estimate", "se", "df"))
    variance = np.maximum(se**2, 1e-12 * float(np.mean(estimate**2)) + 1e-300)
    contrast = test.question.contrast(participants)
    rest = residuals_of(values[:, usable], [contrast])
    errors = BlockErrors.of(rest, float(np.median(df)), variation.retained[usable])
    low, high = tau_interval(estimate, variance, errors)
    upper = tau_interval(estimate, variance, errors, level=1 - 2 * test.rules.alpha)[1]
    tau2 = float(moment_tau(estimate, variance, errors).value)
    of_circuits, of_blocks = (
        {
            name: is_within_network(at, blocks.networks, sample.features)
            for name, at in positions.items()
        }
        for positions in (sample.circuits, blocks.positions)  # names of both may be equal
    )
    circuits = {
        e.term: (e.estimate, e.se, e.df)
        for e in rows
        if e.family == FROM_ZERO and np.isfinite(e.se)
    }
    return Heterogeneity(
        source=blocks.source,
        n_blocks=len(usable),
        tau=float(np.sqrt(tau2)),
        ci_low=low,
        ci_high=high,
        upper=upper,
        tau_reml=reml_tau(estimate, variance),
        p=min((e.p_corrected for e in tests if np.isfinite(e.p_corrected)), default=float("nan")),
        smallest=smallest,
        level=OMNIBUS_SHARE * test.rules.alpha,
        p_among_peers=p_among_peers(
            circuits,
            variation.multiple,
            of_circuits,
            blocks=(estimate, variance, np.array([of_blocks[e.term] for e in chosen])),
            errors=errors,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Rival:
    """The part of circuits' change that one explanation predicts."""

    name: str
    part: Floats
    found: Explained | None = None  # column from which the part was predicted


@dataclass(frozen=True, slots=True)
class _RestNoise:
    """Shared noise of what a rival leaves: that of the model, and that of the rival's column."""

    response: Response
    found: Explained

    def excess_variance(self, weights: Floats) -> Floats:
        first = len(self.response.terms)
        columns = slice(first, first + len(self.response.circuits))
        model = self.response.excess_variance(weights)[columns]
        return np.asarray(model + self.found.excess_variance(weights))


def rival_families(
    test: FamilyTest,
    sample: CentredFeatures,
    response: Response,
    *,
    adjusted: Response | None,
    signal_quality: Floats | None,
    networks: Sequence[str],
) -> list[Estimate]:
    """Test what rival explanations predict for circuits, and what they leave.

    Parameters
    ----------
    test : FamilyTest
        Question and settings of the tests.
    sample : CentredFeatures
        Features of the study.
    response : Response
        Fitted global model.
    adjusted : Response, optional
        The same model with regional terms.
    signal_quality : ndarray, shape (n_participants, n_regions), optional
        Change of the logarithm of each region's signal fraction.
    networks : sequence of str
        Network of each region; empty if the atlas has no networks.

    Returns
    -------
    list of Estimate
        For each explanation two families: ``specific, NAME part`` is the change that the
        explanation predicts and ``specific, NAME rest`` the change that is left. Names are
        ``regional``, ``graded`` and ``quality``. The rest of the regional explanation is the
        family ``specific, node-adjusted``, which is not repeated here.
    """
    rivals = []
    if adjusted is not None:
        rivals.append(_Rival("regional", response.specific - adjusted.specific))
    if sample.features.kind == "edge":
        graded = graded_gain(sample, response, networks)
        rivals.append(_Rival("graded", graded.part, graded))
        if signal_quality is not None and sample.features.is_fisher_z:
            found = measured_signal_quality(
                sample, response, signal_quality, test.question.interest
            )
            rivals.append(_Rival("quality", found.part, found))
    names, unit = response.circuits, sample.features.unit
    columns = np.arange(len(names))
    rows = []
    for rival in rivals:
        kinds: list[tuple[str, Floats, SharedNoise | None]] = [("part", rival.part, rival.found)]
        if rival.found is not None:  # the rest of the regional explanation has its own family
            rest = response.specific - rival.part
            kinds.append(("rest", rest, _RestNoise(response, rival.found)))
        for kind, y, noise in kinds:
            labels = Labels(
                family=f"specific, {rival.name} {kind}",
                terms=names,
                tests=tuple(f"{name} residual change, {rival.name} {kind}" for name in names),
                units=(unit,) * len(names),
                bounds=(float("nan"),) * len(names),
            )
            rows += test.family(labels, y, None if noise is None else Shared(noise, columns))
    return rows
