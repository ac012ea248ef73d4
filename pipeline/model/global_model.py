"""The global response model, and the change of circuits beyond it.

For each participant, the model is fitted over the background features e (edges or regions that
belong to no hypothesised circuit):

    D(e) = a + g m(e) + q h(e) + n d(e) + s w(e) + c l(e) + residual(e).

D is follow-up minus baseline, m the mean baseline of the *other* patients, h their mean of
sinh(2z)/2, d the reference mean minus m, w the mean of the effect that a larger global signal has
on their features (`circuitshift.pipeline.stats.global_signal.global_signal_effect`), and l the edge
length. D, m and d have the unit of the features. a is the shift, g the gain, n the share of the
deviation from the reference that is closed, and s the change of the log amplitude of the global
signal. A change of signal-to-noise multiplies correlations, r' = k r. With z = atanh(r), dz/dk is
r / (1 - r^2) = sinh(2z)/2 at k = 1, so that the two terms g m + q h describe both a gain of Fisher
z and a change of signal-to-noise. h and w exist for Fisher z only and l for edges only
(`FeatureSpace.reason_to_omit`). The specific response of a circuit is the mean over its features of
D minus the prediction.

m, h, d and w are estimates. As ordinary regressors, their noise would attenuate the coefficients,
and the noise that d shares with D would make n significant in the absence of any change (regression
to the mean). The model avoids both in two ways. First, each participant's own scans are excluded
from that participant's m, h, d and w (leave-one-out). Second, the moments of the regressors are
summed over pairs of different participants: E[m m] is estimated by the mean over j != k of z_j z_k,
which has no noise term. This is the limit, over all splits, of an instrumental variable that takes
d from one half of the other participants and the instrument from the other half (two-sample and
jackknife instruments: Angrist, Imbens & Krueger 1999,
doi:10.1002/(SICI)1099-1255(199901/02)14:1<57::AID-JAE501>3.0.CO;2-G).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import (
    MIN_FEATURES,
    CentredFeatures,
    ResidualisedFeatures,
)
from circuitshift.pipeline.model.regression.fit import AVERAGE, PROPORTIONAL, Fit

__all__ = [
    "Response",
    "baseline_levels",
    "global_response",
    "level_response",
    "term_unit",
]


def term_unit(term: str, features: FeatureSpace) -> str:
    """Return the unit of a global term, or of the response of a circuit.

    Parameters
    ----------
    term : str
        Name of the global term or of the circuit.
    features : FeatureSpace
        Feature space of the study.

    Returns
    -------
    str
        Unit for tables and figures.
    """
    typical = "typical strength" if features.kind == "edge" else "the typical value"
    units = {
        "gain": f"proportion of {typical}",
        "proportional_change": f"proportion of {typical}",
        "normalisation": "share of the deviation closed",
        "global_signal": "log amplitude of the global signal",
        "distance": f"{features.unit} per mm",
    }
    return units.get(term, features.unit)


@dataclass(frozen=True, slots=True)
class Response:
    """Hold the coefficients of each participant and their dependence on m, h, d and w.

    Parameters
    ----------
    terms : tuple of str
        Global terms: ``shift`` and, where they exist and are not withheld, ``gain``,
        ``normalisation``, ``global_signal`` and ``distance``. With ``global_signal``, also
        ``average_change`` and ``proportional_change``, the shift and the gain of the model without
        w.
    coefficients : ndarray, shape (n_participants, n_terms)
        Coefficients of the model without h. The shift is the change at average background
        strength that the other terms do not explain. NaN for participants with too few background
        features.
    circuits : tuple of str
        Names of the circuits.
    specific : ndarray, shape (n_participants, n_circuits)
        Change beyond the prediction of the full model, in the unit of the features; NaN when half
        or more of a circuit's features are missing, and in all participants if the circuit is
        withheld.
    slopes : ndarray, shape (n_participants, 4)
        Coefficients g, q, n and s of the full model; 0 where a term is absent.
    blocks : tuple of str
        Names of the blocks of background features.
    block_values : ndarray, shape (n_participants, n_blocks)
        Change of each block beyond the prediction of the full model, computed as for circuits.
    block_gain : ndarray, shape (n_participants,)
        Gain from differences between features of the same block (one fixed effect for each block),
        of the model without w;
        NaN without blocks, and where regional terms are removed. Blocks that change by different
        amounts do not contribute to it.
    own, strong, signal, reference : ndarray, shape (n, n_terms + n_circuits + n_blocks)
        Influence functions: the estimators applied to the deviation of each patient's baseline
        from m (`own`), from h (`strong`) and of its effect of the global signal from w
        (`signal`), and to the deviation of each reference participant from the reference mean
        (`reference`). 0 for columns that the model does not contain.
    reach : ndarray, shape (n_blocks, n_terms + n_circuits + n_blocks)
        Estimate of each column when all features of one block change by 1 and no others change;
        empty where regional terms are removed.
    n_participants : int
        Number of participants with a change; they are the first rows of `own` and `strong`.
    units : mapping of str to float
        Size, in the unit of the features, of one unit of each term: 1 for the shift, the standard
        deviation of m over the background for the gain, and the root mean square of d for the
        normalisation.
    curvature : bool
        Whether the prediction for circuits includes h.
    withheld : mapping of str to str
        Global terms and circuits that the study cannot estimate, with the reason, a clause without
        a full stop.
    """

    terms: tuple[str, ...]
    coefficients: Floats
    circuits: tuple[str, ...]
    specific: Floats
    slopes: Floats
    blocks: tuple[str, ...]
    block_values: Floats
    block_gain: Floats
    own: Floats
    strong: Floats
    signal: Floats
    reference: Floats
    reach: Floats
    n_participants: int
    units: Mapping[str, float]
    curvature: bool
    withheld: Mapping[str, str] = field(default_factory=dict)

    def excess_variance(self, weights: Floats) -> Floats:
        """Estimate the variance of a contrast that is due to the shared regressors.

        All participants share the estimates of m, h, d and w, and the spread between participants
        does not contain the noise of these estimates.

        Parameters
        ----------
        weights : ndarray, shape (n_participants,)
            Weights of the contrast, such as ``1/n`` for the mean of n participants.

        Returns
        -------
        ndarray, shape (n_terms + n_circuits + n_blocks,)
            Variance to add to that of the contrast, in squared units of each column; 0 where the
            shared noise would reduce the variance.

        Notes
        -----
        The delta method of M-estimators gives the first-order effect of the shared noise on the
        contrast sum_i w_i y_i (Newey & McFadden 1994, doi:10.1016/S1573-4412(05)80005-4, section
        6). Patient j contributes -[(G - N) b_j + Q h_j + S w_j] / n_pool, and reference participant
        k contributes -N r_k / n_reference. G, Q, N and S are the same contrast of the slopes g, q,
        n and s; b_j, h_j, w_j and r_k are the rows of `own`, `strong`, `signal` and `reference`.
        The slopes of global terms are those of the model without h, and for terms of the model
        without w, n is taken from the model with w.
        """
        gain, curve, share, amplitude = self._slopes(weights)
        values = np.hstack([self.coefficients, self.specific, self.block_values])
        available = np.isfinite(values)
        mean = np.where(available, values, 0.0).sum(axis=0) / np.maximum(available.sum(axis=0), 1)
        centred = np.where(available, values - mean, 0.0)
        direct = np.zeros_like(self.own)
        direct[: self.n_participants] = weights[:, None] * centred
        shared = (gain - share) * self.own + curve * self.strong + amplitude * self.signal
        shared = -shared / len(self.own)
        extra = ((direct + shared) ** 2 - direct**2).sum(axis=0)
        if len(self.reference):
            extra = extra + share**2 * (self.reference**2).sum(axis=0) / len(self.reference) ** 2
        return np.asarray(np.maximum(extra, 0.0))

    def _slopes(self, weights: Floats) -> Floats:
        """Return the contrasts of the slopes for each column, shape (4, n_columns)."""
        n_parts = len(self.circuits) + len(self.blocks)
        values = dict(zip(self.terms, weights @ np.nan_to_num(self.coefficients), strict=True))
        of_terms = np.array(
            [values.get(k, 0.0) for k in ("gain", "", "normalisation", "global_signal")]
        )
        totals = np.array([values.get(PROPORTIONAL, 0.0), 0.0, of_terms[2], 0.0])
        by_term = [totals if k in (AVERAGE, PROPORTIONAL) else of_terms for k in self.terms]
        of_parts = weights @ self.slopes
        return np.column_stack(by_term + [of_parts] * n_parts)


def global_response(
    sample: CentredFeatures, *, with_deviation: bool, node_adjusted: bool = False
) -> Response:
    """Fit the global model to each participant.

    Parameters
    ----------
    sample : CentredFeatures
        Changes, baselines and reference of the study.
    with_deviation : bool
        Whether the deviation from the reference is a regressor, which requires that it is
        identified (`circuitshift.pipeline.model.deviation.identify_deviation`).
    node_adjusted : bool
        Whether regional terms (`circuitshift.pipeline.model.regional_terms.RegionalTerms`), fitted
        to the background residuals, are also removed from circuits. The specific response then
        excludes changes that the regions of a circuit show in all their connections.

    Returns
    -------
    Response
        Coefficients and specific responses of each participant; NaN for participants with fewer
        than 20 background features or a quarter of them. Terms and circuits that the study cannot
        estimate are withheld (`Response.withheld`), never extrapolated.
    """
    fit = Fit.of(sample, with_deviation=with_deviation, node_adjusted=node_adjusted)
    found = fit.respond(sample.change)
    names = fit.columns.for_parts
    n_circuits = len(sample.circuits)
    _withhold(found.parts, sample, fit)
    return Response(
        terms=fit.terms,
        coefficients=found.terms,
        circuits=tuple(sample.circuits),
        specific=found.parts[:, :n_circuits],
        slopes=found.slopes,
        blocks=tuple(sample.blocks),
        block_values=found.parts[:, n_circuits:],
        block_gain=np.full(len(sample.change), np.nan)
        if node_adjusted  # regional terms are no part of it
        else _gain_within_blocks(sample, with_deviation=with_deviation),
        own=fit.influence(sample.baseline),
        strong=_influence(fit, sample.strong if "h" in names else None, len(sample.baseline)),
        signal=_influence(fit, sample.signal if "w" in names else None, len(sample.baseline)),
        reference=fit.influence(sample.reference),
        reach=np.zeros((0, 0)) if node_adjusted else fit.of_blocks(),
        n_participants=len(sample.change),
        units=_units(fit),
        curvature="h" in names,
        withheld=fit.columns.withheld,
    )


def level_response(
    sample: CentredFeatures,
    levels: ResidualisedFeatures,
    owner: npt.NDArray[np.intp],
    *,
    with_deviation: bool,
    node_adjusted: bool = False,
) -> tuple[tuple[str, ...], Floats]:
    """Apply the estimators of the global model to single visits instead of changes.

    The estimators are linear in the features. The difference between two visits of a participant
    is therefore the response of `global_response` to that change, where the same features are
    available at both visits.

    Parameters
    ----------
    sample : CentredFeatures
        Changes, baselines and reference of the study.
    levels : ResidualisedFeatures
        Features of each visit, with the fixed columns regressed out (`CentredFeatures.remove`).
    owner : ndarray of int, shape (n_visits,)
        Row of ``sample.baseline`` of the same participant, whose baseline is excluded from the
        regressors; -1 for participants without a baseline.
    with_deviation : bool
        Whether the deviation from the reference is a regressor.
    node_adjusted : bool
        Whether regional terms are also removed from circuits, as in `global_response`.

    Returns
    -------
    names : tuple of str
        Names of the global terms, then of the circuits.
    values : ndarray, shape (n_visits, n_terms + n_circuits)
        Response of each visit; NaN for visits with too few background features.
    """
    fit = Fit.of(sample, with_deviation=with_deviation, node_adjusted=node_adjusted)
    found = fit.respond(levels, owner)
    _withhold(found.parts, sample, fit)
    values = np.hstack([found.terms, found.parts[:, : len(sample.circuits)]])
    return (*fit.terms, *sample.circuits), values


def baseline_levels(
    sample: CentredFeatures,
    *,
    with_deviation: bool,
    node_adjusted: bool = False,
    with_blocks: bool = False,
) -> Floats:
    """Compute the level of each global term and circuit at baseline.

    Parameters
    ----------
    sample : CentredFeatures
        Changes, baselines and reference of the study.
    with_deviation : bool
        Whether the deviation from the reference is a regressor, as in `global_response`.
    node_adjusted : bool
        Whether regional terms are also removed from circuits, as in `global_response`.
    with_blocks : bool
        Whether the levels of blocks follow those of circuits.

    Returns
    -------
    ndarray, shape (n_participants, n_terms + n_circuits) or (..., n_blocks more)
        The estimators of `global_response`, applied to the baseline of the participants with a
        change (`level_response`). The columns are those of `Response.coefficients`, followed by
        those of `Response.specific` and `Response.block_values`. They serve as covariates in an
        analysis of covariance.
    """
    fit = Fit.of(sample, with_deviation=with_deviation, node_adjusted=node_adjusted)
    found = fit.respond(sample.baseline.first(len(sample.change)))
    _withhold(found.parts, sample, fit)
    n_parts = len(sample.circuits) + len(sample.blocks) * with_blocks
    return np.hstack([found.terms, found.parts[:, :n_parts]])


def _withhold(parts: Floats, sample: CentredFeatures, fit: Fit) -> None:
    """Set the responses of withheld circuits to NaN."""
    for k, name in enumerate(sample.circuits):
        if name in fit.columns.withheld:
            parts[:, k] = np.nan


def _influence(fit: Fit, participants: ResidualisedFeatures | None, n: int) -> Floats:
    """Return the influence functions of a column; 0 if the model does not contain it."""
    if participants is None:
        return np.zeros((n, len(fit.terms) + len(fit.frame.parts)))
    return fit.influence(participants)


def _gain_within_blocks(sample: CentredFeatures, *, with_deviation: bool) -> Floats:
    """Estimate each participant's gain with one fixed effect for each block.

    It serves as a check of a gain over all features, and w is left out to keep it precise.
    """
    missing = np.full(len(sample.change), np.nan)
    if not sample.blocks:
        return missing
    within = sample.excluding({"global_signal": "it resembles the gain"}).within_blocks()
    if within.background.sum() < MIN_FEATURES:
        return missing
    fit = Fit.of(within, with_deviation=with_deviation)
    if "gain" not in fit.terms:
        return missing
    return fit.respond(within.change).terms[:, fit.terms.index("gain")]


def _units(fit: Fit) -> dict[str, float]:
    """Return the size of one unit of each term, in the unit of the features."""
    pooled, sample, n = fit.pooled, fit.sample, fit.group.used.sum()
    units = {"shift": 1.0}
    if AVERAGE in fit.totals:
        units[AVERAGE] = 1.0
    groups = {"m": (), "w": (sample.signal,), "d": (sample.baseline, sample.reference)}
    for term, name in (("gain", "m"), ("normalisation", "d"), ("global_signal", "w")):
        if term not in fit.terms:
            continue
        at = pooled.names.index(name)
        square = float(pooled.moments[0, at, at]) / n
        if name != "m":
            # the mean square includes the squared mean, of which the noise is subtracted
            noise = sum(
                participants.fixed[:, 0].var(ddof=1) / len(participants)
                for participants in groups[name]
                if participants is not None
            )
            square += max(float(pooled.offsets[0, at, 0]) ** 2 - noise, 0.0)
        units[term] = float(np.sqrt(max(square, 1e-12)))
    if PROPORTIONAL in fit.totals:
        units[PROPORTIONAL] = units["gain"]
    return units
