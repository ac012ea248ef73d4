"""Permutation tests, intervals, equivalence and correction for one coefficient of many variables.

One group: sign flips; several: permutation, both by the Freedman-Lane scheme when there are
covariates (Freedman & Lane 1983, doi:10.2307/1391660; Winkler 2014,
doi:10.1016/j.neuroimage.2014.01.060). Groups may differ in variance: the statistic is Welch's t,
generalised to covariates, compared as normal scores. Family-wise error by the maximum statistic
(Westfall & Young).

The residuals of a relabelled data set are never formed. With Q an orthonormal basis of the design
and r the residuals under the null model, a = Q' P r gives the estimate, and the residual sum of
squares of variance group g is

    sum over g of (P r)^2 - 2 a' (Q_g' P r) + a' (Q_g' Q_g) a,

where Q_g keeps the rows of group g: a few matrix products for a block of relabellings.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats, Reals
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.stats.exchangeability import Exchange

__all__ = [
    "Contrast",
    "PermutationResult",
    "Reals",
    "contrast_of",
    "mean_contrast",
    "permutation_test",
    "t_statistics",
]

Side = Literal["two-sided", "increase", "decrease"]

_BLOCK = 1_000_000  # statistics per block: what the caches hold
_LARGE = 20_000_000  # statistics in all from which single precision is used
_FEW = 4096  # variables whose copies are held at a time


@dataclass(frozen=True, slots=True)
class Contrast:
    """A linear model with one coefficient of interest.

    Parameters
    ----------
    design : ndarray, shape (n_people, n_columns)
        First column: what is of interest (a constant, an arm, a score); then nuisance.
    group : ndarray of int, shape (n_people,)
        Variance group of each person.
    exchange : Exchange
        Relabellings that the null hypothesis allows.
    weights : ndarray, shape (n_people,)
        The estimate is ``weights @ scaled(y)``.
    scale : ndarray, shape (n_people,)
        Root of each person's weight; the design is scaled already.
    """

    design: Floats
    group: npt.NDArray[np.intp]
    exchange: Exchange
    weights: Floats
    scale: Floats

    def scaled(self, y: Floats) -> Floats:
        """Scale the values of people, shape (n_people, ...), as the design is."""
        return np.asarray(y * self.scale.reshape(-1, *[1] * (y.ndim - 1)))


@dataclass(frozen=True, slots=True)
class PermutationResult:
    """Result of `permutation_test`; arrays of shape (n_variables,).

    Parameters
    ----------
    estimate, se, df : ndarray
        Coefficient, its standard error, Welch-Satterthwaite degrees of freedom.
    ci_low, ci_high : ndarray
        95 % t interval.
    statistic : ndarray
        Welch's t.
    p, p_corrected : ndarray
        Permutation p, alone and family-wise (max-T); never 0.
    n_permutations : int
        Relabellings compared with, the observed one included.
    exact : bool
        True when all relabellings were enumerated.
    maxima : tuple of ndarray, shape (n_relabellings,)
        For each family, sorted: the largest statistic of each relabelling.
    """

    estimate: Floats
    se: Floats
    df: Floats
    ci_low: Floats
    ci_high: Floats
    statistic: Floats
    p: Floats
    p_corrected: Floats
    n_permutations: int
    exact: bool
    maxima: tuple[Floats, ...]

    def equivalence_p(self, bound: npt.ArrayLike) -> Floats:
        """Two one-sided t tests of ``|effect| < bound`` (Schuirmann 1987, doi:10.1007/BF01068419).

        Parameters
        ----------
        bound : array_like
            Smallest effect of interest, in the units of each estimate.

        Returns
        -------
        ndarray
            The larger of the two p values; small means that the effect is practically nil.
        """
        from scipy.special import stdtr  # noqa: PLC0415 - half a second of import

        with np.errstate(divide="ignore", invalid="ignore"):
            excess = (np.abs(self.estimate) - np.asarray(bound, float)) / self.se
        return np.asarray(stdtr(self.df, excess), float)

    def p_interval(self) -> tuple[Floats, Floats]:
        """Bounds of p that more relabellings could give (Clopper-Pearson, 95 %).

        Returns
        -------
        low, high : ndarray
            Both equal p when all relabellings were enumerated.
        """
        if self.exact:
            return self.p, self.p
        from scipy.special import betaincinv  # noqa: PLC0415 - half a second of import

        n = self.n_permutations - 1
        k = np.rint(self.p * self.n_permutations) - 1
        low = np.where(k > 0, betaincinv(np.maximum(k, 1), n - k + 1, 0.025), 0.0)
        high = np.where(k < n, betaincinv(k + 1, np.maximum(n - k, 1), 0.975), 1.0)
        return np.asarray(low, float), np.asarray(high, float)


def mean_contrast(
    n_participants: int,
    *,
    treated: npt.NDArray[np.bool_] | None = None,
    covariates: Floats | None = None,
    blocks: npt.NDArray[np.intp] | None = None,
) -> Contrast:
    """Contrast for the mean of one group, or for treated minus control.

    Parameters
    ----------
    n_participants : int
    treated : ndarray of bool, shape (n_people,), optional
        None tests the mean of all.
    covariates : ndarray, shape (n_people, n_covariates), optional
        Centred here; constant ones are dropped.
    blocks : ndarray of int, shape (n_people,), optional
        Labels are exchanged within blocks (sites) only; sign flips need none.

    Returns
    -------
    Contrast

    Raises
    ------
    DesignError
        If an arm has fewer than two people, or the covariates leave fewer than two degrees of
        freedom or determine the arm.
    """
    if treated is None:
        group = np.zeros(n_participants, np.intp)
        return contrast_of(np.ones(n_participants), nuisance=covariates, group=group, flips=True)
    arms = np.array([treated.sum(), (~treated).sum()])
    if arms.min() < 2:
        raise DesignError(
            f"{arms[0]} treated and {arms[1]} control people have both visits; each arm "
            "needs at least two"
        )
    return contrast_of(
        treated.astype(float), nuisance=covariates, group=treated.astype(np.intp), blocks=blocks
    )


def contrast_of(
    interest: Floats,
    *,
    nuisance: Floats | None = None,
    anchored: Floats | None = None,
    group: npt.NDArray[np.intp] | None = None,
    blocks: npt.NDArray[np.intp] | None = None,
    flips: bool = False,
    weights: Floats | None = None,
) -> Contrast:
    """Contrast for any column: a score, an interaction, an arm.

    Parameters
    ----------
    interest : ndarray, shape (n_people,)
        Its coefficient is tested. For sign flips: the column of ones, or weights that all have one
        sign.
    nuisance : ndarray, shape (n_people, n_columns), optional
        Centred here, constant columns dropped; a constant is always part of the model.
    anchored : ndarray, shape (n_people, n_columns), optional
        Nuisance with a meaningful zero, which is not centred: with sign flips the estimate is then
        the mean where these are 0 (change in motion: the change at unchanged motion).
    group : ndarray of int, shape (n_people,), optional
        Variance groups; None: one.
    blocks : ndarray of int, shape (n_people,), optional
        See `Exchange`.
    flips : bool
        Sign flips instead of permutations.
    weights : ndarray, shape (n_people,), optional
        Of people, above 0: weighted least squares. Exact with sign flips; with permutations the
        weighted residuals are taken as exchangeable.

    Returns
    -------
    Contrast

    Raises
    ------
    DesignError
        If the column is constant or collinear with the nuisance, or too few degrees of freedom are
        left.
    """
    n = len(interest)
    more = np.empty((n, 0)) if nuisance is None else np.asarray(nuisance, float)
    zeros = np.zeros(more.shape[1])
    if anchored is not None:
        zeros = np.r_[zeros, np.ones(anchored.shape[1])]
        more = np.hstack([more, anchored])
    spread = more.std(axis=0)
    more = more - np.where(zeros, 0.0, more.mean(axis=0))
    more = more[:, spread > 0] / spread[spread > 0]
    parts = (
        [interest[:, None].astype(float), more]
        if flips
        else [interest[:, None], np.ones((n, 1)), more]
    )
    design = np.hstack(parts).astype(float)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise DesignError(
            "the covariates are collinear with each other or with the arm; leave one out under "
            "[model] covariates of the study file"
        )
    if n - design.shape[1] < 2:
        raise DesignError(
            f"{n} people are too few for {design.shape[1]} model columns; use fewer covariates"
        )
    scale = np.ones(n) if weights is None else np.sqrt(weights / np.mean(weights))
    design = design * scale[:, None]
    kinds = np.unique(design, axis=0, return_inverse=True)[1].reshape(-1)
    groups = np.zeros(n, np.intp) if group is None else group
    exchange = Exchange(kinds, flips, blocks)
    return Contrast(design, groups, exchange, np.linalg.pinv(design)[0], scale)


def permutation_test(
    y: Floats,
    contrast: Contrast,
    *,
    rng: np.random.Generator,
    n_permutations: int = 5000,
    excess_variance: Floats | None = None,
    sides: Sequence[Side] | None = None,
    families: Sequence[npt.NDArray[np.intp]] | None = None,
    watch: Callable[[Reals], None] | None = None,
) -> PermutationResult:
    """Test one coefficient of many variables at once.

    Parameters
    ----------
    y : ndarray, shape (n_people, n_variables)
        No NaN.
    contrast : Contrast
    rng : numpy.random.Generator
    n_permutations : int
        Upper bound; all relabellings are enumerated when there are no more.
    excess_variance : ndarray, shape (n_variables,), optional
        Added to the squared standard error of the observed estimate: noise that all people share
        (`Response.excess_variance`), which relabelling cannot show.
    sides : sequence of {"two-sided", "increase", "decrease"}, optional
        Per variable.
    families : sequence of ndarray of int, optional
        Positions of variables that are corrected together; None: all of them. Every variable
        belongs to one.
    watch : callable, optional
        Is given each block of relabelled statistics, shape (n_rows, n_variables): for statistics
        of several variables, such as components of a network, from the same relabellings. As
        `t_statistics` returns them.

    Returns
    -------
    PermutationResult
    """
    y = contrast.scaled(np.asarray(y, float))
    extra = np.zeros(y.shape[1]) if excess_variance is None else excess_variance
    sign = {"two-sided": 0.0, "increase": 1.0, "decrease": -1.0}
    direction = np.array([sign[s] for s in sides or ["two-sided"] * y.shape[1]])
    groups = families if families is not None else [np.arange(y.shape[1])]
    estimate = contrast.weights @ y
    variance, df = _variance(y, contrast)
    with np.errstate(divide="ignore", invalid="ignore"):
        df_total = df * (1 + extra / variance) ** 2  # the excess is taken as known
    df_total = np.where(np.isfinite(df_total), df_total, df)
    se = np.sqrt(variance + extra)
    observed = _ratio(estimate, se)
    several = np.unique(contrast.group).size > 1
    compared = _normalised(observed, df_total) if several else observed
    reach = np.abs(compared) if not direction.any() else _one_sided(compared, direction)
    relabel, exact = contrast.exchange.draw(n_permutations, rng)
    above = np.zeros(y.shape[1])
    above_max = np.zeros(y.shape[1])
    kernel = _Kernel.of(y, contrast, n_statistics=len(relabel) * y.shape[1])
    if bare := kernel.is_bare and watch is None:
        reach = reach / np.sqrt(kernel.share[0] + reach**2)  # t as a correlation
    # ties of equal relabellings must count as reached
    floor = (reach - kernel.slack * np.abs(reach)).astype(kernel.residual.dtype)
    tops: list[list[Reals]] = [[] for _ in groups]
    for block in kernel.blocks(relabel, bare=bare):
        if watch is not None:
            watch(block)
        null = np.abs(block) if not direction.any() else _one_sided(block, direction)
        above += _column_counts(null >= floor)
        for columns, top in zip(groups, tops, strict=True):
            part = null if len(groups) == 1 else null[:, columns]
            top.append(part.max(axis=1))
    maxima = [np.sort(np.concatenate(top)) for top in tops]
    for columns, found in zip(groups, maxima, strict=True):
        above_max[columns] = len(found) - np.searchsorted(found, floor[columns])
    if bare:  # back from correlations to t
        df_bare = kernel.share[0]
        maxima = [r * np.sqrt(df_bare / np.maximum(1 - r**2, 1e-12)) for r in maxima]
    total = len(relabel) + (not exact)
    from scipy.special import stdtrit  # noqa: PLC0415 - half a second of import

    half = stdtrit(df_total, 0.975) * se
    return PermutationResult(
        estimate=estimate,
        se=se,
        df=df_total,
        ci_low=estimate - half,
        ci_high=estimate + half,
        statistic=observed,
        p=np.maximum(above + (not exact), 1) / total,
        p_corrected=np.maximum(above_max + (not exact), 1) / total,
        n_permutations=total,
        exact=exact,
        maxima=tuple(np.asarray(top, float) for top in maxima),
    )


def t_statistics(y: Floats, contrast: Contrast) -> Floats:
    """Return what relabelled statistics are compared with.

    Parameters
    ----------
    y : ndarray, shape (n_people, n_variables)
        No NaN.
    contrast : Contrast

    Returns
    -------
    ndarray, shape (n_variables,)
        t; with several variance groups, the normal score of Welch's t.
    """
    y = contrast.scaled(y)
    variance, df = _variance(y, contrast)
    t = _ratio(contrast.weights @ y, np.sqrt(variance))
    return t if np.unique(contrast.group).size == 1 else np.asarray(_normalised(t, df))


def _ratio(estimate: Reals, se: Reals) -> Floats:
    out = np.zeros_like(estimate)
    np.divide(estimate, se, out=out, where=se > 0)
    return np.asarray(out)


def _column_counts(hits: npt.NDArray[np.bool_]) -> npt.NDArray[np.integer]:
    kind = np.uint8 if len(hits) < 256 else np.uint32  # eight times as fast where it suffices
    return np.asarray(np.add.reduce(hits.view(np.uint8), axis=0, dtype=kind))


def _normalised(t: Reals, df: Reals) -> Reals:
    """Return the normal score with the p of each t, nearly.

    Wallace 1959 (doi:10.1214/aoms/1177706075). Welch's t of relabelled arms has other degrees of
    freedom than the observed one: exchange mixes their variances. Scores can be compared, and
    maximised over variables, where t cannot.
    """
    scale = (8 * df + 1) / (8 * df + 3)
    return np.asarray(np.sign(t) * scale * np.sqrt(df * np.log1p(t * t / df)))


def _one_sided(statistic: Reals, direction: Floats) -> Reals:
    turned = statistic * np.where(direction, direction, 1).astype(statistic.dtype)
    return np.where(direction == 0, np.abs(statistic), turned)


def _variance(y: Floats, contrast: Contrast) -> tuple[Floats, Floats]:
    """Variance of the observed estimate, and its Welch-Satterthwaite degrees of freedom."""
    design, inverse = contrast.design, np.linalg.pinv(contrast.design)
    share, squares = _shares(contrast)
    numbers = np.unique(contrast.group)
    parts = np.empty((len(numbers), y.shape[1]))
    for few in _few_variables(y):
        residual = y[:, few] - design @ (inverse @ y[:, few])
        for k, (g, df, w) in enumerate(zip(numbers, share, squares, strict=True)):
            own = (residual[contrast.group == g] ** 2).sum(axis=0)
            parts[k, few] = w * own / max(df, 1e-12)
    total = parts.sum(axis=0)
    spread = (parts**2 / np.maximum(share, 1e-12)[:, None]).sum(axis=0)
    df = np.full_like(total, float(share.sum()))
    np.divide(total**2, spread, out=df, where=spread > 0)
    return total, df


def _few_variables(y: Floats) -> Iterator[slice]:
    """Cut variables into few enough that their copies are small beside all edges of a study."""
    return (slice(k, k + _FEW) for k in range(0, y.shape[1], _FEW))


def _shares(contrast: Contrast) -> tuple[Floats, Floats]:
    """Residual degrees of freedom, and summed squared weights, of each variance group."""
    q = np.linalg.qr(contrast.design)[0]
    left = 1 - (q**2).sum(axis=1)
    groups = np.array([contrast.group == g for g in np.unique(contrast.group)], float)
    return groups @ left, groups @ contrast.weights**2


@dataclass(frozen=True, slots=True)
class _Kernel:
    """Welch's t of relabelled residuals, each of unit length, without forming them."""

    residual: Reals  # (n, n_variables)
    basis: Floats  # (n, q) orthonormal, the first along the weights
    length: float  # of the weights: the estimate is length x first inner product
    masks: list[npt.NDArray[np.bool_]]  # all variance groups but the last
    factor: Floats  # (n_groups,): squared weights over residual degrees of freedom
    share: Floats  # (n_groups,): residual degrees of freedom
    flips: bool
    empty: npt.NDArray[np.bool_]  # variables without any variance

    @classmethod
    def of(cls, y: Floats, contrast: Contrast, *, n_statistics: int) -> "_Kernel":
        dtype = np.float32 if n_statistics > _LARGE else np.float64
        nuisance, inverse = contrast.design[:, 1:], np.linalg.pinv(contrast.design[:, 1:])
        residual, empty = np.empty(y.shape, dtype), np.empty(y.shape[1], bool)
        for few in _few_variables(y):
            part = y[:, few]
            left = part - nuisance @ (inverse @ part) if nuisance.size else part
            square = (left**2).sum(axis=0)
            # t does not depend on the scale
            residual[:, few] = _ratio(left, np.broadcast_to(np.sqrt(square), left.shape))
            # a constant leaves rounding errors, not variance
            empty[few] = square <= 1e-24 * (part**2).sum(axis=0)
        # the weights are in the design's span, orthogonal to nuisance: only the first inner
        # product makes the estimate
        length = float(np.linalg.norm(contrast.weights))
        first = contrast.weights[:, None] / length
        basis = np.hstack([first, np.linalg.qr(nuisance)[0]]) if nuisance.size else first
        share, squares = _shares(contrast)
        numbers = np.unique(contrast.group)
        return cls(
            residual=residual,
            basis=basis,
            length=length,
            masks=[contrast.group == g for g in numbers[:-1]],
            factor=squares / np.maximum(share, 1e-12),
            share=share,
            flips=contrast.exchange.flips,
            empty=empty,
        )

    @property
    def is_bare(self) -> bool:
        """Whether t is a monotone function of the first inner product alone."""
        return self.basis.shape[1] == 1 and not self.masks

    @property
    def slack(self) -> float:
        """Relative difference of two statistics that are equal but for rounding."""
        return 1e-9 if self.residual.dtype == np.float64 else 1e-5

    def blocks(self, relabel: npt.NDArray[np.int_], *, bare: bool) -> Iterator[Reals]:
        """Yield statistics of the relabellings; as correlations instead of t when `bare`."""
        step = max(1, _BLOCK // max(1, self.residual.shape[1]))
        for start in range(0, len(relabel), step):
            part = relabel[start : start + step]
            yield self._product(self.basis[:, 0], part, self.residual) if bare else self.t(part)

    def t(self, relabel: npt.NDArray[np.int_]) -> Reals:
        """Statistics of some relabellings; normal scores of Welch's t with several groups."""
        a = self._products(self.basis, relabel, self.residual)
        rest = np.multiply(a[0], a[0])
        square = np.empty_like(rest) if len(a) > 1 else rest
        for part in a[1:]:
            np.multiply(part, part, out=square)
            rest += square
        np.subtract(1, rest, out=rest)  # residual sum of squares of all groups
        variance, df = self._variance(rest, a, relabel)
        variance *= 1 / self.length**2
        np.maximum(variance, np.finfo(variance.dtype).tiny, out=variance)
        np.sqrt(variance, out=variance)
        estimate = a[0]
        estimate /= variance
        if self.empty.any():
            estimate[:, self.empty] = 0.0
        return estimate if df is None else _normalised(estimate, df)

    def _variance(
        self, rest: Reals, a: list[Reals], relabel: npt.NDArray[np.int_]
    ) -> tuple[Reals, Reals | None]:
        """Variance of the estimate; with several groups its degrees of freedom, too."""
        if not self.masks:
            rest *= float(self.factor[0])
            return rest, None
        variance = np.zeros_like(rest)
        spread = np.zeros_like(rest)
        for k, mask in enumerate([*self.masks, None]):
            own = rest if mask is None else self._group_squares(mask, a, relabel)
            if mask is not None:
                rest -= own
            own *= float(self.factor[k])
            variance += own
            own *= own
            spread += own / float(max(self.share[k], 1e-12))
        np.maximum(spread, np.finfo(spread.dtype).tiny, out=spread)
        return variance, variance * variance / spread

    def _group_squares(
        self, mask: npt.NDArray[np.bool_], a: list[Reals], relabel: npt.NDArray[np.int_]
    ) -> Reals:
        r = self.residual
        kept = np.where(mask[:, None], self.basis, 0.0)
        inner = kept.T @ kept
        if self.flips:
            total = np.broadcast_to((r[mask] ** 2).sum(axis=0), a[0].shape).astype(r.dtype)
        else:
            total = self._product(mask.astype(float), relabel, r * r)
        products = self._products(kept, relabel, r)
        for k, part in enumerate(a):
            weight = products[k]
            weight *= -2
            for other, value in zip(a, inner[k].tolist(), strict=True):
                if value:
                    weight += value * other
            weight *= part
            total = total + weight
        return np.maximum(total, 0)

    def _product(self, column: Floats, relabel: npt.NDArray[np.int_], values: Reals) -> Reals:
        """Inner products of a column with relabelled values, one row per relabelling."""
        return self._products(column[:, None], relabel, values)[0]

    def _products(
        self, columns: Floats, relabel: npt.NDArray[np.int_], values: Reals
    ) -> list[Reals]:
        """Inner products of several columns, from one matrix product."""
        shape = (columns.shape[1], *relabel.shape)
        weights = np.empty(shape, values.dtype)
        for k, column in enumerate(columns.T):
            if self.flips:
                np.multiply(relabel, column, out=weights[k], casting="same_kind")
            else:
                spread = np.broadcast_to(column.astype(values.dtype), relabel.shape)
                np.put_along_axis(weights[k], relabel, spread, axis=1)
        made = weights.reshape(-1, shape[2]) @ values
        return list(made.reshape(*shape[:2], -1))
