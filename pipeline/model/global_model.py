"""The global response model, and the change of circuits beyond it.

For each participant, the model is fitted over the background features e (edges or regions that
belong to no hypothesised circuit):

    D(e) = a + g m(e) + q h(e) + n d(e) + c l(e) + residual(e).

D is follow-up minus baseline, m the mean baseline of the *other* patients, h their mean of
sinh(2z)/2, d the reference mean minus m, and l the edge length. D, m and d have the unit of the
features. a is the shift, g the gain, and n the share of the deviation from the reference that is
closed. A change of signal-to-noise multiplies correlations, r' = k r. With z = atanh(r), dz/dk is
r / (1 - r^2) = sinh(2z)/2 at k = 1, so that the two terms g m + q h describe both a gain of Fisher
z and a change of signal-to-noise. h exists for Fisher z only and l for edges only
(`FeatureSpace.reason_to_omit`). The specific response of a circuit is the mean over its features of
D minus the prediction.

m, h and d are estimates. As ordinary regressors, their noise would attenuate the coefficients, and
the noise that d shares with D would make n significant in the absence of any change (regression to
the mean). The model avoids both in two ways. First, each participant's own scans are excluded from
that participant's m, h and d (leave-one-out). Second, the moments of the regressors are summed over
pairs of different participants: E[m m] is estimated by the mean over j != k of z_j z_k, which has
no noise term. This is the limit, over all splits, of an instrumental variable that takes d from one
half of the other participants and the instrument from the other half (two-sample and jackknife
instruments: Angrist, Imbens & Krueger 1999,
doi:10.1002/(SICI)1099-1255(199901/02)14:1<57::AID-JAE501>3.0.CO;2-G).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import (
    MIN_AVAILABLE,
    MIN_FEATURES,
    MIN_OTHERS,
    CentredFeatures,
    ResidualisedFeatures,
    Residuals,
)
from circuitshift.pipeline.model.regional_terms import RegionalTerms
from circuitshift.pipeline.stats.missing_values import blocks, column_mean

__all__ = [
    "Response",
    "baseline_levels",
    "global_response",
    "level_response",
    "term_unit",
]


# Alternations between the global model and the regional terms: the first leaves about a tenth of
# the difference from their joint fit, the third about .04.
_ALTERNATIONS = 3


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
        "normalisation": "share of the deviation closed",
        "distance": f"{features.unit} per mm",
    }
    return units.get(term, features.unit)


@dataclass(frozen=True, slots=True)
class Response:
    """Hold the coefficients of each participant and their dependence on m, h and d.

    Parameters
    ----------
    terms : tuple of str
        Global terms: ``shift``, ``gain`` and, where they exist, ``normalisation`` and ``distance``.
    coefficients : ndarray, shape (n_participants, n_terms)
        Coefficients of the model without h. The shift is the change at average background
        strength. NaN for participants with too few background features.
    circuits : tuple of str
        Names of the circuits.
    specific : ndarray, shape (n_participants, n_circuits)
        Change beyond the prediction of the full model, in the unit of the features; NaN when half
        or more of a circuit's features are missing.
    slopes : ndarray, shape (n_participants, 3)
        Coefficients g, q and n of the full model; 0 where a term is absent.
    blocks : tuple of str
        Names of the blocks of background features.
    block_values : ndarray, shape (n_participants, n_blocks)
        Change of each block beyond the prediction of the full model, computed as for circuits.
    block_gain : ndarray, shape (n_participants,)
        Gain from differences between features of the same block (one fixed effect for each block);
        NaN without blocks. Blocks that change by different amounts do not contribute to it.
    own, strong, reference : ndarray, shape (n, n_terms + n_circuits + n_blocks)
        Influence functions: the estimators applied to the deviation of each patient's baseline
        from m (`own`) and from h (`strong`), and to the deviation of each reference participant
        from the reference mean (`reference`).
    n_participants : int
        Number of participants with a change; they are the first rows of `own` and `strong`.
    units : mapping of str to float
        Size, in the unit of the features, of one unit of each term: 1 for the shift, the standard
        deviation of m over the background for the gain, and the root mean square of d for the
        normalisation.
    curvature : bool
        Whether the prediction for circuits includes h.
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
    reference: Floats
    n_participants: int
    units: Mapping[str, float]
    curvature: bool

    def excess_variance(self, weights: Floats) -> Floats:
        """Estimate the variance of a contrast that is due to the shared regressors.

        All participants share the estimates of m, h and d, and the spread between participants
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
        6). Patient j contributes -(G - N) b_j / n_pool - Q h_j / n_pool, and reference participant
        k contributes -N r_k / n_reference. G, Q and N are the same contrast of the slopes g, q and
        n; b_j, h_j and r_k are the rows of `own`, `strong` and `reference`.
        """
        gain, curve, share = weights @ self.slopes
        values = np.hstack([self.coefficients, self.specific, self.block_values])
        available = np.isfinite(values)
        mean = np.where(available, values, 0.0).sum(axis=0) / np.maximum(available.sum(axis=0), 1)
        centred = np.where(available, values - mean, 0.0)
        direct = np.zeros_like(self.own)
        direct[: self.n_participants] = weights[:, None] * centred
        shared = -((gain - share) * self.own + curve * self.strong) / len(self.own)
        extra = ((direct + shared) ** 2 - direct**2).sum(axis=0)
        if len(self.reference):
            extra = extra + share**2 * (self.reference**2).sum(axis=0) / len(self.reference) ** 2
        return np.asarray(np.maximum(extra, 0.0))


# --- sums over participants, from which one participant can be removed --------------------------


@dataclass(frozen=True, slots=True)
class _PatientSums:
    """Sums over patients of the first and second moments of z and h, and of fixed coefficients."""

    count: Floats
    z: Floats
    h: Floats
    zz: Floats
    zh: Floats
    hh: Floats
    fixed: Floats  # sum of the fixed coefficients of z, shape (n_fixed,)
    participants: int

    @classmethod
    def of(cls, sample: CentredFeatures) -> "_PatientSums":
        participants = len(sample.baseline)
        sums = np.zeros((6, sample.background.size))
        for block in blocks(participants):
            z, h = sample.baseline[block].residual, sample.strong[block].residual
            available = np.isfinite(z)
            z, h = np.where(available, z, 0.0), np.where(available, h, 0.0)
            parts = (available, z, h, z * z, z * h, h * h)
            sums += np.array([part.sum(axis=0) for part in parts])
        count, z, h, zz, zh, hh = sums
        return cls(count, z, h, zz, zh, hh, sample.baseline.fixed.sum(axis=0), participants)

    def without(self, sample: CentredFeatures, participant: int) -> "_PatientSums":
        own = slice(participant, participant + 1)
        z, h = sample.baseline[own].residual[0], sample.strong[own].residual[0]
        available = np.isfinite(z)
        z, h = np.where(available, z, 0.0), np.where(available, h, 0.0)
        return _PatientSums(
            self.count - available,
            self.z - z,
            self.h - h,
            self.zz - z * z,
            self.zh - z * h,
            self.hh - h * h,
            self.fixed - sample.baseline.fixed[participant],
            self.participants - 1,
        )


@dataclass(frozen=True, slots=True)
class _Healthy:
    """Mean of the reference participants on each feature, and an unbiased estimate of its square.

    The square is the mean over pairs of different participants, so that it holds no noise term.
    """

    mean: Floats
    square: Floats
    fixed: Floats

    @classmethod
    def of(cls, reference: ResidualisedFeatures) -> "_Healthy":
        count, total, squares = np.zeros((3, reference.basis.shape[1]))
        for values, _ in reference.blocks():
            available = np.isfinite(values)
            filled = np.where(available, values, 0.0)
            count += available.sum(axis=0)
            total += filled.sum(axis=0)
            squares += (filled**2).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(count >= MIN_OTHERS, total / count, np.nan)
            square = (total**2 - squares) / (count * (count - 1))
        return cls(mean, square, reference.fixed.mean(axis=0))


@dataclass(frozen=True, slots=True)
class _Regressors:
    """Columns m, h and d on all features, and their unbiased moment matrix on the background."""

    names: tuple[str, ...]
    columns: Floats  # (n_columns, n_features)
    moments: Floats  # (n_columns, n_columns)
    fixed: Floats  # (n_columns, n_fixed): fixed coefficients of each column
    used: Bools  # background features of the moments
    basis: Floats  # fixed columns; orthogonal to `columns` on the features used to residualise them

    def take(self, names: tuple[str, ...]) -> "_Regressors":
        rows = [self.names.index(name) for name in names]
        block = self.moments[np.ix_(rows, rows)]
        return _Regressors(
            names, self.columns[rows], block, self.fixed[rows], self.used, self.basis
        )

    def solve(self, values: Floats) -> tuple[Floats, Floats]:
        """Regress values on the columns, with unbiased moments.

        Parameters
        ----------
        values : ndarray, shape (..., n_features)
            Finite on the features in `used`.

        Returns
        -------
        slopes : ndarray, shape (..., n_columns)
            Coefficients of the columns.
        fixed : ndarray, shape (..., n_fixed)
            Coefficients of the fixed columns; zero on the features used to residualise them.
        """
        columns, basis = self.columns[:, self.used], self.basis[:, self.used]
        # the fixed columns have no noise, so that their products with the others are unbiased
        cross = basis @ columns.T
        moments = np.block([[self.moments, cross.T], [cross, basis @ basis.T]])
        scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(moments)), 1e-300))
        inverse = np.linalg.pinv(moments * np.outer(scale, scale), rcond=1e-10)
        rhs = values[..., self.used] @ np.vstack([columns, basis]).T
        beta = (rhs * scale) @ inverse * scale
        return beta[..., : len(columns)], beta[..., len(columns) :]


def _regressors(
    sample: CentredFeatures, sums: _PatientSums, healthy: _Healthy | None, valid: Bools
) -> _Regressors:
    """Compute the regressors from the participants in `sums`, on the features in `valid`."""
    count = sums.count
    used = valid & sample.background & (count >= MIN_OTHERS)
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = count * (count - 1)
        m, h = sums.z / count, sums.h / count
        mm, hh = (sums.z**2 - sums.zz) / pairs, (sums.h**2 - sums.hh) / pairs
        mh = (sums.z * sums.h - sums.zh) / pairs
    names: tuple[str, ...] = ("m", "h")
    columns = [m, h]
    products = [[mm, mh], [mh, hh]]
    # h is used for the prediction of circuits only, which needs no fixed coefficients of h
    fixed = [sums.fixed / sums.participants, np.zeros_like(sums.fixed)]
    if healthy is not None:
        r = healthy.mean
        used = used & np.isfinite(r)
        md, hd = r * m - mm, r * h - mh
        products = [[mm, mh, md], [mh, hh, hd], [md, hd, healthy.square - 2 * r * m + mm]]
        names, columns = ("m", "h", "d"), [m, h, r - m]
        fixed.append(healthy.fixed - fixed[0])
    moments = np.array([[product[used].sum() for product in row] for row in products])
    return _Regressors(names, np.array(columns), moments, np.array(fixed), used, sample.basis)


# --- the fit -------------------------------------------------------------------------------------


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
        Whether regional terms (`RegionalTerms`), fitted to the background residuals, are also
        removed from circuits. The specific response then excludes changes that the regions of a
        circuit show in all their connections.

    Returns
    -------
    Response
        Coefficients and specific responses of each participant; NaN for participants with fewer
        than 20 background features or a quarter of them.
    """
    sums = _PatientSums.of(sample)
    healthy = _Healthy.of(sample.reference) if with_deviation else None
    pooled = _regressors(sample, sums, healthy, np.ones(sums.count.size, bool))
    curvature = _needs_curvature(pooled, sample)
    fit = _ResponseFit(sample, curvature=curvature, node_adjusted=node_adjusted)
    n_participants = len(sample.change)
    coefficients = np.full((n_participants, len(fit.terms(pooled))), np.nan)
    n_circuits = len(sample.circuits)
    beyond = np.full((n_participants, n_circuits + len(sample.blocks)), np.nan)
    slopes = np.zeros((n_participants, 3))
    n_required = max(MIN_FEATURES, MIN_AVAILABLE * sample.background.sum())
    for i in range(n_participants):
        change = sample.change[i : i + 1]
        x = _regressors(sample, sums.without(sample, i), healthy, np.isfinite(change.residual[0]))
        if x.used.sum() < n_required:
            continue
        coefficients[i] = fit.global_terms(x, change)[0]
        slopes[i], beyond[i] = (part[0] for part in fit.beyond(x, change))
    return Response(
        terms=fit.terms(pooled),
        coefficients=coefficients,
        circuits=tuple(sample.circuits),
        specific=beyond[:, :n_circuits],
        slopes=slopes,
        blocks=tuple(sample.blocks),
        block_values=beyond[:, n_circuits:],
        block_gain=_gain_within_blocks(sample, with_deviation=with_deviation),
        own=fit.influence(pooled, sample.baseline),
        strong=fit.influence(pooled, sample.strong),
        reference=fit.influence(pooled, sample.reference),
        n_participants=n_participants,
        units=_units(pooled, sample),
        curvature=curvature,
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
    sums = _PatientSums.of(sample)
    healthy = _Healthy.of(sample.reference) if with_deviation else None
    pooled = _regressors(sample, sums, healthy, np.ones(sums.count.size, bool))
    curvature = _needs_curvature(pooled, sample)
    fit = _ResponseFit(sample, curvature=curvature, node_adjusted=node_adjusted)
    names = (*fit.terms(pooled), *sample.circuits)
    out = np.full((len(owner), len(names)), np.nan)
    for row, participant in enumerate(owner.tolist()):
        visit = levels[row : row + 1]
        others = sums if participant < 0 else sums.without(sample, participant)
        x = _regressors(sample, others, healthy, np.isfinite(visit.residual[0]))
        if x.used.sum() >= max(MIN_FEATURES, MIN_AVAILABLE * sample.background.sum()):
            beyond = fit.beyond(x, visit)[1][:, : len(sample.circuits)]
            out[row] = np.hstack([fit.global_terms(x, visit), beyond])[0]
    return names, out


def baseline_levels(
    sample: CentredFeatures, *, with_deviation: bool, node_adjusted: bool = False
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

    Returns
    -------
    ndarray, shape (n_participants, n_terms + n_circuits)
        The estimators of `global_response`, applied to the baseline of the participants with a
        change (`level_response`). The columns are those of `Response.coefficients`, followed by
        those of `Response.specific`. They serve as covariates in an analysis of covariance.
    """
    owner = np.arange(len(sample.change))
    return level_response(
        sample, sample.baseline, owner, with_deviation=with_deviation, node_adjusted=node_adjusted
    )[1]


def _gain_within_blocks(sample: CentredFeatures, *, with_deviation: bool) -> Floats:
    """Estimate each participant's gain with one fixed effect for each block."""
    if not sample.blocks:
        return np.full(len(sample.change), np.nan)
    within = sample.within_blocks()
    response = global_response(within, with_deviation=with_deviation)
    return response.coefficients[:, response.terms.index("gain")]


@dataclass(frozen=True, slots=True)
class _ResponseFit:
    """The estimators, as linear functions of the features of one participant."""

    sample: CentredFeatures
    curvature: bool
    node_adjusted: bool = False

    def terms(self, x: _Regressors) -> tuple[str, ...]:
        slopes = tuple({"m": "gain", "d": "normalisation"}[n] for n in x.names if n != "h")
        n_intercepts = len(self.sample.fixed) - ("distance" in self.sample.fixed)
        return self.sample.fixed[:n_intercepts] + slopes + self.sample.fixed[n_intercepts:]

    def global_terms(self, x: _Regressors, values: Residuals) -> Floats:
        """Estimate the global terms; the shift is that at average background strength."""
        x = x.take(tuple(name for name in x.names if name != "h"))
        beta, rest = x.solve(np.nan_to_num(values.residual))
        # m is centred and d is not, so that only the mean of d is subtracted from the shift
        offsets = x.fixed.copy()
        offsets[x.names.index("m"), :1] = 0.0
        fixed = values.fixed + rest - beta @ offsets
        n_intercepts = len(self.sample.fixed) - ("distance" in self.sample.fixed)
        return np.hstack([fixed[:, :n_intercepts], beta, fixed[:, n_intercepts:]])

    def beyond(
        self, x: _Regressors, values: Residuals, *, alternations: int = _ALTERNATIONS
    ) -> tuple[Floats, Floats]:
        """Estimate the slopes (g, q, n), and the mean residual change of circuits and blocks."""
        names = tuple(name for name in x.names if name != "h" or self.curvature)
        x = x.take(names)
        beta, rest = x.solve(np.nan_to_num(values.residual))
        regional = None
        if self.node_adjusted:
            beta, rest, regional = self._with_regions(
                x, values, (beta, rest), alternations=alternations
            )
        slopes = np.zeros((len(beta), 3))
        slopes[:, [("m", "h", "d").index(name) for name in names]] = beta
        parts = [*self.sample.circuits.values(), *self.sample.blocks.values()]
        out = np.full((len(beta), len(parts)), np.nan)
        for k, positions in enumerate(parts):
            predicted = beta @ x.columns[:, positions] + rest @ x.basis[:, positions]
            part = values.residual[:, positions] - predicted
            if regional is not None:
                part -= regional[:, positions]
            available = np.isfinite(part)
            count = available.sum(axis=1)
            total = np.where(available, part, 0.0).sum(axis=1)
            np.divide(total, count, out=out[:, k], where=count * 2 > len(positions))
        return slopes, out

    def _with_regions(
        self,
        x: _Regressors,
        values: Residuals,
        start: tuple[Floats, Floats],
        *,
        alternations: int,
    ) -> tuple[Floats, Floats, Floats]:
        """Fit the global model and the regional terms alternately (backfitting).

        The alternation converges to their joint least-squares fit (Buja, Hastie & Tibshirani 1989,
        doi:10.1214/aos/1176347115).
        """
        terms = RegionalTerms.of(x.columns[0], x.used, self.sample.features)
        # the edges in `used` are available in the participant that is fitted
        edges = np.nan_to_num(values.residual)
        beta, rest = start
        for _ in range(alternations):
            regional = terms.part(edges - beta @ np.nan_to_num(x.columns) - rest @ x.basis)
            beta, rest = x.solve(edges - np.nan_to_num(regional))
        return beta, rest, regional

    def influence(self, x: _Regressors, participants: ResidualisedFeatures) -> Floats:
        """Apply the estimators to each participant's deviation from the mean of the group."""
        mean = column_mean((block.residual for block in participants.blocks()), unknown=0.0)
        centre = participants.fixed.mean(axis=0) if len(participants) else 0.0
        n_parts = len(self.sample.circuits) + len(self.sample.blocks)
        out = [np.empty((0, len(self.terms(x)) + n_parts))]
        for values, fixed in participants.blocks():
            part = np.where(np.isfinite(values), values - mean, 0.0)
            deviations = Residuals(part, fixed - centre)
            # one alternation is accurate enough for a variance
            beyond = np.nan_to_num(self.beyond(x, deviations, alternations=1)[1])
            out.append(np.hstack([self.global_terms(x, deviations), beyond]))
        return np.vstack(out)


def _needs_curvature(x: _Regressors, sample: CentredFeatures) -> bool:
    """Return whether the prediction for circuits includes h.

    h is included when, beyond the other columns, it has more signal than noise on the background.
    It is also included, however noisy it is there, when the strength of a circuit lies outside the
    central 99 % of the background: a linear prediction would be wrong for such a circuit, and a
    loss of signal-to-noise would appear as a specific change.
    """
    if sample.features.reason_to_omit("curvature"):
        return False
    m = x.columns[0]
    low, high = np.quantile(m[x.used], [0.005, 0.995])
    strengths = [np.nanmean(m[k]) for k in sample.circuits.values() if np.isfinite(m[k]).any()]
    return _is_curvature_reliable(x) or any(not low <= value <= high for value in strengths)


def _is_curvature_reliable(x: _Regressors) -> bool:
    """Return whether h, beyond the other columns, has more signal than noise."""
    row = x.names.index("h")
    with_noise = x.columns[:, x.used] @ x.columns[:, x.used].T
    signal = _unexplained_moment(x.moments, row)
    return bool(signal > 0.5 * _unexplained_moment(with_noise, row) > 0)


def _unexplained_moment(moments: Floats, row: int) -> float:
    """Return the part of one column's moment that the others do not explain.

    This is the Schur complement of the other columns in the moment matrix.
    """
    rest = [k for k in range(len(moments)) if k != row]
    block, cross = moments[np.ix_(rest, rest)], moments[rest, row]
    return float(moments[row, row] - cross @ np.linalg.pinv(block) @ cross)


def _units(x: _Regressors, sample: CentredFeatures) -> dict[str, float]:
    """Return the size of one unit of each term, in the unit of the features."""
    n, row = x.used.sum(), x.names.index("m")
    units = {"shift": 1.0, "gain": float(np.sqrt(max(x.moments[row, row] / n, 1e-12)))}
    if "d" in x.names:
        row = x.names.index("d")
        # the mean square of d includes its squared mean, of which the noise is subtracted
        noise = sum(
            participants.fixed[:, 0].var(ddof=1) / len(participants)
            for participants in (sample.baseline, sample.reference)
        )
        mean = max(x.fixed[row, 0] ** 2 - noise, 0.0)
        units["normalisation"] = float(np.sqrt(max(x.moments[row, row] / n + mean, 1e-12)))
    return units
