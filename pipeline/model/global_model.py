"""The global response model: one law for all features, and what a circuit does beyond it.

For each person, over background features e (in no hypothesised circuit; edges, or regions),

    D(e) = a + g m(e) + q h(e) + n d(e) + c l(e) + residual(e),

D = follow-up minus baseline, m = mean baseline of the *other* patients, h = their mean of
sinh(2z)/2, d = reference mean minus m, l = edge length; all in the unit of the features. a is a
shift, g a gain, n the share of the deviation closed everywhere. A change of signal-to-noise
multiplies correlations, r' = k r, so that dz/dk = sinh(2z)/2 at k = 1: with g m + q h both laws are
covered. h exists for Fisher z and l for edges only (`FeatureSpace.reason_to_omit`). The specific
response of a circuit is the mean over its features of D minus the prediction.

m, h and d are estimates. Used as plain regressors their noise would shrink the coefficients, and
the noise that d shares with D would make n significant when nothing happened (regression to the
mean). Two devices remove both. The person's own scans never enter his m, h and d. And the moments
of the regressors are summed over *pairs of different people*, E[m m] ~ mean over j != k of
z_j z_k, which has no noise term: the limit of an instrumental variable that takes d from one half
of the others and the instrument from the other half, averaged over all splits (two-sample and
jackknife instruments: Angrist, Imbens & Krueger 1999,
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
    "Deviation",
    "Response",
    "global_response",
    "identify_deviation",
    "level_response",
    "term_unit",
]


_TURNS = 3  # of fitting the law and regional terms; the first leaves about a tenth, the last .04


def term_unit(term: str, features: FeatureSpace) -> str:
    """Return the unit of a global term, or of a circuit's response.

    Parameters
    ----------
    term : str
    features : FeatureSpace

    Returns
    -------
    str
    """
    typical = "typical strength" if features.kind == "edge" else "the typical value"
    units = {
        "gain": f"proportion of {typical}",
        "normalisation": "share of the deviation closed",
        "distance": f"{features.unit} per mm",
    }
    return units.get(term, features.unit)


@dataclass(frozen=True, slots=True)
class Deviation:
    """Whether the deviation of patients from the reference is real enough to be a regressor.

    Parameters
    ----------
    identified : bool
        True when it may be used; otherwise no normalisation is ever printed.
    reason : str
        One sentence.
    split_half_r : float
        Expected correlation, over background features, of d from two halves of the people.
    p : float
        Permutation p of "patients and reference differ on the background" (group labels shuffled).
    strength : float
        The unbiased squared deviation in standard deviations of its null: the first-stage strength.
    """

    identified: bool
    reason: str
    split_half_r: float = np.nan
    p: float = np.nan
    strength: float = np.nan


@dataclass(frozen=True, slots=True)
class Response:
    """Per-person coefficients, and how the shared estimates of m, h and d move them.

    Parameters
    ----------
    terms : tuple of str
        Global terms: ``shift``, ``gain`` and, where they exist, ``normalisation``, ``distance``.
    coefficients : ndarray, shape (n_people, n_terms)
        Of the model without curvature; the shift is the change at average background strength.
    circuits : tuple of str
    specific : ndarray, shape (n_people, n_circuits)
        Change beyond the prediction of the full model; NaN when half of the features are missing.
    slopes : ndarray, shape (n_people, 3)
        g, q and n of the full model (0 where a term is absent).
    own, strong, reference : ndarray, shape (n, n_terms + n_circuits)
        What the estimators return for each pool member's deviation from m, from h, and each
        reference member's deviation from the reference mean: the influence functions.
    n_participants : int
        Rows that have a change; the first rows of `own`.
    units : mapping of str to float
        Size in Fisher z of one unit of each term: 1 for the shift, the spread of m for the gain,
        the root mean square of d for the normalisation.
    curvature : bool
        Whether circuits were predicted with h.
    """

    terms: tuple[str, ...]
    coefficients: Floats
    circuits: tuple[str, ...]
    specific: Floats
    slopes: Floats
    own: Floats
    strong: Floats
    reference: Floats
    n_participants: int
    units: Mapping[str, float]
    curvature: bool

    def excess_variance(self, weights: Floats) -> Floats:
        """Variance of a contrast that the spread between people does not show.

        All people share the estimates of m, h and d. To first order their noise moves the contrast
        sum_i w_i y_i by -(G - N) b_j / n_pool - Q h_j / n_pool for pool member j, and by
        -N r_k / n_reference for reference member k, with G, Q, N the same contrast of the slopes.

        Parameters
        ----------
        weights : ndarray, shape (n_people,)
            Of the contrast: ``1/n`` each for a mean.

        Returns
        -------
        ndarray, shape (n_terms + n_circuits,)
            Never negative: where the shared noise would reduce the variance, nothing is claimed.
        """
        gain, curve, share = weights @ self.slopes
        values = np.hstack([self.coefficients, self.specific])
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


# --- sums over people, from which one person can be taken out -----------------------------------


@dataclass(frozen=True, slots=True)
class _ReferenceSums:
    """Sums over the pool: first and second moments of z and h of each feature; fixed terms."""

    count: Floats
    z: Floats
    h: Floats
    zz: Floats
    zh: Floats
    hh: Floats
    fixed: Floats  # mean fixed coefficients of z, shape (n_fixed,)
    participants: int

    @classmethod
    def of(cls, sample: CentredFeatures) -> "_ReferenceSums":
        participants = len(sample.baseline)
        sums = np.zeros((6, sample.background.size))
        for few in blocks(participants):
            z, h = sample.baseline[few].residual, sample.strong[few].residual
            available = np.isfinite(z)
            z, h = np.where(available, z, 0.0), np.where(available, h, 0.0)
            parts = (available, z, h, z * z, z * h, h * h)
            sums += np.array([part.sum(axis=0) for part in parts])
        count, z, h, zz, zh, hh = sums
        return cls(count, z, h, zz, zh, hh, sample.baseline.fixed.sum(axis=0), participants)

    def without(self, sample: CentredFeatures, person: int) -> "_ReferenceSums":
        own = slice(person, person + 1)
        z, h = sample.baseline[own].residual[0], sample.strong[own].residual[0]
        available = np.isfinite(z)
        z, h = np.where(available, z, 0.0), np.where(available, h, 0.0)
        return _ReferenceSums(
            self.count - available,
            self.z - z,
            self.h - h,
            self.zz - z * z,
            self.zh - z * h,
            self.hh - h * h,
            self.fixed - sample.baseline.fixed[person],
            self.participants - 1,
        )


@dataclass(frozen=True, slots=True)
class _Healthy:
    """Mean of the reference on every feature, and its unbiased square."""

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
    """Columns m, h, d on every feature, and their unbiased moment matrix on the background."""

    names: tuple[str, ...]
    columns: Floats  # (n_columns, n_features)
    moments: Floats  # (n_columns, n_columns)
    fixed: Floats  # (n_columns, n_fixed): fixed coefficients of each column
    used: Bools  # background features that entered
    basis: Floats  # fixed columns; orthogonal to `columns` only on the features they were fitted to

    def take(self, names: tuple[str, ...]) -> "_Regressors":
        rows = [self.names.index(name) for name in names]
        block = self.moments[np.ix_(rows, rows)]
        return _Regressors(
            names, self.columns[rows], block, self.fixed[rows], self.used, self.basis
        )

    def solve(self, values: Floats) -> tuple[Floats, Floats]:
        """Coefficients of arrays `values` (..., n_features).

        Returns
        -------
        slopes : ndarray, shape (..., n_columns)
        rest : ndarray, shape (..., n_fixed)
            Coefficients of the fixed columns; 0 on the features used to residualise them.
        """
        columns, basis = self.columns[:, self.used], self.basis[:, self.used]
        # the fixed columns hold no noise: their products with the others are unbiased as they are
        cross = basis @ columns.T
        moments = np.block([[self.moments, cross.T], [cross, basis @ basis.T]])
        scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(moments)), 1e-300))
        inverse = np.linalg.pinv(moments * np.outer(scale, scale), rcond=1e-10)
        rhs = values[..., self.used] @ np.vstack([columns, basis]).T
        found = (rhs * scale) @ inverse * scale
        return found[..., : len(columns)], found[..., len(columns) :]


def _regressors(
    sample: CentredFeatures, sums: _ReferenceSums, healthy: _Healthy | None, valid: Bools
) -> _Regressors:
    """Regressors from the people in `sums`, on the background features in `valid`."""
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
    fixed = [sums.fixed / sums.participants, np.zeros_like(sums.fixed)]  # h only predicts circuits
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
    """Fit the model to each person.

    Parameters
    ----------
    sample : CentredFeatures
    with_deviation : bool
        Whether the deviation is identified (`identify_deviation`) and enters as regressor.
    node_adjusted : bool
        Take regional terms (`RegionalTerms`), fitted to what the law leaves of the background, out
        of circuits too: *specific* then means more than "the circuit's own regions changed
        everywhere".

    Returns
    -------
    Response
    """
    sums = _ReferenceSums.of(sample)
    healthy = _Healthy.of(sample.reference) if with_deviation else None
    everyone = _regressors(sample, sums, healthy, np.ones(sums.count.size, bool))
    curvature = _needs_curvature(everyone, sample)
    fit = _ResponseFit(sample, curvature=curvature, node_adjusted=node_adjusted)
    n_participants = len(sample.change)
    coefficients = np.full((n_participants, len(fit.terms(everyone))), np.nan)
    specific = np.full((n_participants, len(sample.circuits)), np.nan)
    slopes = np.zeros((n_participants, 3))
    least = max(MIN_FEATURES, MIN_AVAILABLE * sample.background.sum())
    for i in range(n_participants):
        change = sample.change[i : i + 1]
        x = _regressors(sample, sums.without(sample, i), healthy, np.isfinite(change.residual[0]))
        if x.used.sum() < least:
            continue
        coefficients[i] = fit.global_terms(x, change)[0]
        slopes[i], specific[i] = (part[0] for part in fit.beyond(x, change))
    return Response(
        terms=fit.terms(everyone),
        coefficients=coefficients,
        circuits=tuple(sample.circuits),
        specific=specific,
        slopes=slopes,
        own=fit.influence(everyone, sample.baseline),
        strong=fit.influence(everyone, sample.strong),
        reference=fit.influence(everyone, sample.reference),
        n_participants=n_participants,
        units=_units(everyone, sample),
        curvature=curvature,
    )


def level_response(
    sample: CentredFeatures,
    levels: ResidualisedFeatures,
    owner: npt.NDArray[np.intp],
    *,
    with_deviation: bool,
) -> tuple[tuple[str, ...], Floats]:
    """Apply the model to single visits instead of changes.

    Its estimators are linear in the features, so the difference between two visits of a person is
    the response of `global_response` to that change (where the same features are available).

    Parameters
    ----------
    sample : CentredFeatures
    levels : ResidualisedFeatures
        Visits, after the fixed columns are out (`CentredFeatures.remove`).
    owner : ndarray of int, shape (n_visits,)
        Row of ``sample.baseline`` that belongs to the same person, who is left out of his
        regressors; -1 when he has no baseline.
    with_deviation : bool

    Returns
    -------
    names : tuple of str
        Global terms, then circuits.
    values : ndarray, shape (n_visits, n_terms + n_circuits)
    """
    sums = _ReferenceSums.of(sample)
    healthy = _Healthy.of(sample.reference) if with_deviation else None
    everyone = _regressors(sample, sums, healthy, np.ones(sums.count.size, bool))
    fit = _ResponseFit(sample, curvature=_needs_curvature(everyone, sample))
    names = (*fit.terms(everyone), *sample.circuits)
    out = np.full((len(owner), len(names)), np.nan)
    for row, person in enumerate(owner.tolist()):
        visit = levels[row : row + 1]
        others = sums if person < 0 else sums.without(sample, person)
        x = _regressors(sample, others, healthy, np.isfinite(visit.residual[0]))
        if x.used.sum() >= max(MIN_FEATURES, MIN_AVAILABLE * sample.background.sum()):
            beyond = fit.beyond(x, visit)[1]
            out[row] = np.hstack([fit.global_terms(x, visit), beyond])[0]
    return names, out


@dataclass(frozen=True, slots=True)
class _ResponseFit:
    """The estimators, as linear functions of one person's features."""

    sample: CentredFeatures
    curvature: bool
    node_adjusted: bool = False

    def terms(self, x: _Regressors) -> tuple[str, ...]:
        slopes = tuple({"m": "gain", "d": "normalisation"}[n] for n in x.names if n != "h")
        return self.sample.fixed[:1] + slopes + self.sample.fixed[1:]

    def global_terms(self, x: _Regressors, values: Residuals) -> Floats:
        """Shift, gain, normalisation, distance; the shift at average background strength."""
        x = x.take(tuple(name for name in x.names if name != "h"))
        beta, rest = x.solve(np.nan_to_num(values.residual))
        # m enters centred, d does not: only d's own mean is taken from the shift.
        offsets = x.fixed.copy()
        offsets[x.names.index("m"), :1] = 0.0
        fixed = values.fixed + rest - beta @ offsets
        return np.hstack([fixed[:, :1], beta, fixed[:, 1:]])

    def beyond(
        self, x: _Regressors, values: Residuals, *, turns: int = _TURNS
    ) -> tuple[Floats, Floats]:
        """Slopes (g, q, n), and mean over each circuit of values minus prediction."""
        names = tuple(name for name in x.names if name != "h" or self.curvature)
        x = x.take(names)
        beta, rest = x.solve(np.nan_to_num(values.residual))
        regional = None
        if self.node_adjusted:
            beta, rest, regional = self._with_regions(x, values, (beta, rest), turns=turns)
        slopes = np.zeros((len(beta), 3))
        slopes[:, [("m", "h", "d").index(name) for name in names]] = beta
        out = np.full((len(beta), len(self.sample.circuits)), np.nan)
        for k, positions in enumerate(self.sample.circuits.values()):
            law = beta @ x.columns[:, positions] + rest @ x.basis[:, positions]
            part = values.residual[:, positions] - law
            if regional is not None:
                part -= regional[:, positions]
            available = np.isfinite(part)
            count = available.sum(axis=1)
            total = np.where(available, part, 0.0).sum(axis=1)
            np.divide(total, count, out=out[:, k], where=count * 2 > len(positions))
        return slopes, out

    def _with_regions(
        self, x: _Regressors, values: Residuals, law: tuple[Floats, Floats], *, turns: int
    ) -> tuple[Floats, Floats, Floats]:
        """Fit the law and regional terms in turns, which converges to fitting them together."""
        terms = RegionalTerms.of(x.columns[0], x.used, self.sample.features)
        edges = np.nan_to_num(values.residual)  # `used` edges are known in the person of a fit
        beta, rest = law
        for _ in range(turns):
            regional = terms.part(edges - beta @ np.nan_to_num(x.columns) - rest @ x.basis)
            beta, rest = x.solve(edges - np.nan_to_num(regional))
        return beta, rest, regional

    def influence(self, x: _Regressors, participants: ResidualisedFeatures) -> Floats:
        """Apply the estimators to each person's deviation from the mean of `participants`."""
        mean = column_mean((few.residual for few in participants.blocks()), unknown=0.0)
        centre = participants.fixed.mean(axis=0) if len(participants) else 0.0
        out = [np.empty((0, len(self.terms(x)) + len(self.sample.circuits)))]
        for values, fixed in participants.blocks():
            part = np.where(np.isfinite(values), values - mean, 0.0)
            deviations = Residuals(part, fixed - centre)
            # one turn: a variance needs no more
            beyond = np.nan_to_num(self.beyond(x, deviations, turns=1)[1])
            out.append(np.hstack([self.global_terms(x, deviations), beyond]))
        return np.vstack(out)


def _needs_curvature(x: _Regressors, sample: CentredFeatures) -> bool:
    """Whether circuits are predicted with h.

    Where h, beyond the other columns, has more signal than noise on the background; and, however
    noisy it is there, where a circuit is stronger or weaker than 99 % of the background: a straight
    law would miss it, and call a loss of signal-to-noise specific.
    """
    if sample.features.reason_to_omit("curvature"):
        return False
    m = x.columns[0]
    low, high = np.quantile(m[x.used], [0.005, 0.995])
    strengths = [np.nanmean(m[k]) for k in sample.circuits.values() if np.isfinite(m[k]).any()]
    return _curvature_is_known(x) or any(not low <= value <= high for value in strengths)


def _curvature_is_known(x: _Regressors) -> bool:
    """Whether h, beyond the other columns, has more signal than noise on the background."""
    row = x.names.index("h")
    plain = x.columns[:, x.used] @ x.columns[:, x.used].T
    return bool(_left_over(x.moments, row) > 0.5 * _left_over(plain, row) > 0)


def _left_over(moments: Floats, row: int) -> float:
    """Part of the moment of one column that the others do not explain (Schur complement)."""
    rest = [k for k in range(len(moments)) if k != row]
    block, cross = moments[np.ix_(rest, rest)], moments[rest, row]
    return float(moments[row, row] - cross @ np.linalg.pinv(block) @ cross)


def _units(x: _Regressors, sample: CentredFeatures) -> dict[str, float]:
    n, row = x.used.sum(), x.names.index("m")
    units = {"shift": 1.0, "gain": float(np.sqrt(max(x.moments[row, row] / n, 1e-12)))}
    if "d" in x.names:
        row = x.names.index("d")
        # and the mean of d, without the noise of its square
        noise = sum(
            participants.fixed[:, 0].var(ddof=1) / len(participants)
            for participants in (sample.baseline, sample.reference)
        )
        mean = max(x.fixed[row, 0] ** 2 - noise, 0.0)
        units["normalisation"] = float(np.sqrt(max(x.moments[row, row] / n + mean, 1e-12)))
    return units


# --- is the deviation real? -----------------------------------------------------------------------


def identify_deviation(
    sample: CentredFeatures, rng: np.random.Generator, *, n_permutations: int = 999
) -> Deviation:
    """Ask whether d is real on the background, beyond what a shift, m and distance explain.

    The unbiased squared norm of the deviation (sums over pairs of different people) is compared
    with its distribution under shuffled group labels.

    Parameters
    ----------
    sample : CentredFeatures
    rng : numpy.random.Generator
    n_permutations : int

    Returns
    -------
    Deviation
    """
    n_reference, n_pool = len(sample.reference), len(sample.baseline)
    if n_reference < MIN_OTHERS + 1:
        text = "there is no reference group" if n_reference == 0 else "the reference is too small"
        return Deviation(False, f"{text}, so no deviation to be normalised is known")
    gram = _residual_gram(sample)
    labels = np.zeros((n_permutations + 1, n_pool + n_reference))
    labels[:, n_pool:] = 1.0
    labels[1:] = rng.permuted(labels[1:], axis=1)
    signal, noise = _squared_deviation(gram, labels)
    p = float((1 + (signal[1:] >= signal[0]).sum()) / (n_permutations + 1))
    spread = float(signal[1:].std())
    strength = float(signal[0] / spread) if spread > 0 else np.inf
    half = float(np.clip(signal[0] / max(signal[0] + 2 * noise[0], 1e-300), 0.0, 1.0))
    if p > 0.01 or half < 0.2:
        reason = (
            f"two halves of the people do not agree on the deviation (expected r = {half:.2f}, "
            f"p = {p:.3f}), so its closing cannot be told from regression to the mean"
        )
        return Deviation(False, reason, half, p, strength)
    reason = f"two halves of the people agree on the deviation (expected r = {half:.2f})"
    return Deviation(True, reason, half, p, strength)


def _residual_gram(sample: CentredFeatures) -> Floats:
    """Inner products between people on the background, after shift, m and distance are out."""
    groups = (sample.baseline, sample.reference)
    n_pool, n = len(groups[0]), sum(map(len, groups))
    centred = np.empty((n, int(sample.background.sum())))
    for start, participants in zip((0, n_pool), groups, strict=True):
        for few in blocks(len(participants)):
            own = slice(start + few.start, min(start + few.stop, start + len(participants)))
            centred[own] = participants[few].residual[:, sample.background]
    mean = column_mean(centred, unknown=0.0)
    length = max(float(mean @ mean), 1e-300)
    for few in blocks(n):
        part = np.where(np.isfinite(centred[few]), centred[few] - mean, 0.0)
        centred[few] = part - np.outer(part @ mean / length, mean)
    return np.asarray(centred @ centred.T)


def _squared_deviation(gram: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Unbiased squared distance of the group means, and the noise in the plain one, per label row.

    Parameters
    ----------
    gram : ndarray, shape (n, n)
    labels : ndarray, shape (n_rows, n)
        1 for the reference, 0 for patients.
    """
    others = 1.0 - labels
    n1, n0 = labels.sum(axis=1), others.sum(axis=1)
    diagonal = np.diag(gram)
    own1, own0 = labels @ diagonal, others @ diagonal
    all1 = np.einsum("ij,ij->i", labels @ gram, labels)
    all0 = np.einsum("ij,ij->i", others @ gram, others)
    cross = np.einsum("ij,ij->i", labels @ gram, others)
    unbiased = (
        (all1 - own1) / (n1 * (n1 - 1)) + (all0 - own0) / (n0 * (n0 - 1)) - 2 * cross / (n1 * n0)
    )
    plain = all1 / n1**2 + all0 / n0**2 - 2 * cross / (n1 * n0)
    return unbiased, plain - unbiased
