"""Permutation tests of one coefficient of a linear model, for many variables at once.

The mean of one group is tested by sign flips and other coefficients by permutations. With
covariates, both follow the scheme of Freedman and Lane (1983, doi:10.2307/1391660; Winkler 2014,
doi:10.1016/j.neuroimage.2014.01.060). Groups may differ in variance: the statistic is the
least-squares estimate over a standard error from the residual variance of each group, which is
Welch's t (1947, doi:10.1093/biomet/34.1-2.28) when there are no covariates. Statistics of several
groups are compared as normal scores. The family-wise error is controlled by the maximum statistic
(Westfall & Young 1993; Nichols & Holmes 2002, doi:10.1002/hbm.1058).

The residuals of relabelled data are not computed explicitly. With Q an orthonormal basis of the
design, r the residuals under the null model and P a relabelling, the estimate follows from
a = Q' P r, and the residual sum of squares of variance group g is, by expanding the square of
P r - Q a over the rows of the group,

    sum over g of (P r)^2 - 2 a' (Q_g' P r) + a' (Q_g' Q_g) a,

where Q_g holds the rows of group g. A block of relabellings thus needs a few matrix products.

If each variable has a covariate of its own, as in an analysis of covariance with the baseline of
each variable, each variable has its own design. The relabelled data of one variable are then
fitted at a time. All variables use the same relabellings, so that the maximum statistic is that of
one permutation of participants.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats, Reals
from circuitshift.pipeline.stats.linear_contrast import (
    Contrast,
    contrast_of,
    group_shares,
    mean_contrast,
    normalised,
    ratio,
    t_statistics,
    variable_blocks,
    variance_of_estimate,
)

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

_BLOCK = 1_000_000  # statistics per block, so that a block fits into the processor caches
_OWN_BLOCK = 32_000  # values per block if each variable has a design of its own
_LARGE = 20_000_000  # total number of statistics above which single precision is used


@dataclass(frozen=True, slots=True)
class PermutationResult:
    """Hold the result of `permutation_test`.

    Parameters
    ----------
    estimate : ndarray, shape (n_variables,)
        Coefficient of interest.
    se : ndarray, shape (n_variables,)
        Standard error of the estimate.
    df : ndarray, shape (n_variables,)
        Welch-Satterthwaite degrees of freedom.
    ci_low, ci_high : ndarray, shape (n_variables,)
        Limits of the 95 % confidence interval (t distribution).
    statistic : ndarray, shape (n_variables,)
        Welch's t.
    p : ndarray, shape (n_variables,)
        Permutation p value; never 0.
    p_corrected : ndarray, shape (n_variables,)
        Permutation p value corrected for the family-wise error by the maximum statistic; never 0.
    n_permutations : int
        Number of relabellings, including the observed one.
    exact : bool
        Whether all relabellings were enumerated.
    maxima : tuple of ndarray, shape (n_relabellings,)
        Sorted maximum statistics of the relabellings, for each family.
    smallest_p : ndarray, shape (n_variables,)
        Smallest p value that the relabellings allow, however large the effect.
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
    smallest_p: Floats

    def equivalence_p(self, bound: npt.ArrayLike) -> Floats:
        """Test whether the absolute effect is smaller than a bound.

        Parameters
        ----------
        bound : array_like, shape (n_variables,)
            Smallest effect of interest, in the unit of each estimate.

        Returns
        -------
        ndarray, shape (n_variables,)
            p value of the equivalence test; NaN where the bound is NaN. A small value is evidence
            that the absolute effect is smaller than the bound.

        Notes
        -----
        The p value is the larger one of two one-sided t tests (Schuirmann 1987,
        doi:10.1007/BF01068419).
        """
        from scipy.special import stdtr  # noqa: PLC0415 - half a second of import

        with np.errstate(divide="ignore", invalid="ignore"):
            excess = (np.abs(self.estimate) - np.asarray(bound, float)) / self.se
        return np.asarray(stdtr(self.df, excess), float)

    def p_interval(self) -> tuple[Floats, Floats]:
        """Compute the uncertainty of p values due to the random choice of relabellings.

        Returns
        -------
        low, high : ndarray, shape (n_variables,)
            95 % limits (Clopper & Pearson 1934, doi:10.1093/biomet/26.4.404). Both equal p when
            all relabellings were enumerated.
        """
        if self.exact:
            return self.p, self.p
        from scipy.special import betaincinv  # noqa: PLC0415 - half a second of import

        n = self.n_permutations - 1
        k = np.rint(self.p * self.n_permutations) - 1
        low = np.where(k > 0, betaincinv(np.maximum(k, 1), n - k + 1, 0.025), 0.0)
        high = np.where(k < n, betaincinv(k + 1, np.maximum(n - k, 1), 0.975), 1.0)
        return np.asarray(low, float), np.asarray(high, float)


def permutation_test(
    y: Floats,
    contrast: Contrast | Sequence[Contrast],
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
    y : ndarray, shape (n_participants, n_variables)
        Values without NaN.
    contrast : Contrast or sequence of Contrast
        Linear model and its relabellings; or one model for each variable, with the same
        relabellings (`Contrast.with_own_columns`).
    rng : numpy.random.Generator
        Source of the relabellings.
    n_permutations : int
        Number of random relabellings. All relabellings are enumerated instead when there are at
        most ``n_permutations + 1``.
    excess_variance : ndarray, shape (n_variables,), optional
        Variance to add to the squared standard error of the observed estimate, due to noise that
        all participants share (`Response.excess_variance`) and that relabelling cannot reproduce.
    sides : sequence of {"two-sided", "increase", "decrease"}, optional
        Direction of the test of each variable; two-sided by default.
    families : sequence of ndarray of int, optional
        Positions of the variables of each family that is corrected together; by default, all
        variables form one family. Each variable must belong to one family.
    watch : callable, optional
        Function that is called with each block of relabelled statistics, shape (n_rows,
        n_variables), scaled as by `t_statistics`. It serves statistics of several variables, such
        as network components, that are computed from the same relabellings.

    Returns
    -------
    PermutationResult
        Estimates and p values of all variables.

    Notes
    -----
    With b relabelled statistics at least as large as the observed one among m random relabellings,
    p = (b + 1) / (m + 1) (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585).
    """
    models = [contrast] if isinstance(contrast, Contrast) else list(contrast)
    shared = models[0]
    y = shared.scaled(np.asarray(y, float))
    extra = np.zeros(y.shape[1]) if excess_variance is None else excess_variance
    sign = {"two-sided": 0.0, "increase": 1.0, "decrease": -1.0}
    direction = np.array([sign[s] for s in sides or ["two-sided"] * y.shape[1]])
    groups = families if families is not None else [np.arange(y.shape[1])]
    estimate, variance, df = _observed(y, models)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Welch-Satterthwaite formula, with the excess variance as a constant
        df_total = df * (1 + extra / variance) ** 2
    df_total = np.where(np.isfinite(df_total), df_total, df)
    se = np.sqrt(variance + extra)
    observed = ratio(estimate, se)
    several = np.unique(shared.group).size > 1
    compared = normalised(observed, df_total) if several else observed
    target = np.abs(compared) if not direction.any() else _one_sided(compared, direction)
    relabel, exact = shared.exchange.draw(n_permutations, rng)
    above = np.zeros(y.shape[1])
    above_max = np.zeros(y.shape[1])
    kernel = _kernel(y, models, n_statistics=len(relabel) * y.shape[1])
    if bare := kernel.is_bare and watch is None:
        target = target / np.sqrt(kernel.share[0] + target**2)  # t as a correlation
    # statistics of equivalent relabellings may differ by rounding, and must count as reaching it
    floor = (target - kernel.slack * np.abs(target)).astype(kernel.residual.dtype)
    block_maxima: list[list[Reals]] = [[] for _ in groups]
    for block in kernel.blocks(relabel, bare=bare):
        if watch is not None:
            watch(block)
        null = np.abs(block) if not direction.any() else _one_sided(block, direction)
        above += _column_counts(null >= floor)
        for columns, family_maxima in zip(groups, block_maxima, strict=True):
            part = null if len(groups) == 1 else null[:, columns]
            family_maxima.append(part.max(axis=1))
    maxima = [np.sort(np.concatenate(family_maxima)) for family_maxima in block_maxima]
    for columns, largest in zip(groups, maxima, strict=True):
        above_max[columns] = len(largest) - np.searchsorted(largest, floor[columns])
    if bare:  # convert correlations back to t
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
        maxima=tuple(np.asarray(largest, float) for largest in maxima),
        smallest_p=_smallest_p(shared, direction, total, exact=exact),
    )


def _observed(y: Floats, models: Sequence[Contrast]) -> tuple[Floats, Floats, Floats]:
    """Return estimate, variance and degrees of freedom of each variable, with y scaled."""
    if len(models) == 1:
        return np.asarray(models[0].weights @ y), *variance_of_estimate(y, models[0])
    columns = list(zip(models, y.T, strict=True))
    estimate = np.array([own.weights @ values for own, values in columns])
    found = [variance_of_estimate(values[:, None], own) for own, values in columns]
    variance, df = np.array(found)[:, :, 0].T
    return estimate, variance, df


def _smallest_p(contrast: Contrast, direction: Floats, total: int, *, exact: bool) -> Floats:
    """Return the smallest p value that the relabellings allow, for each variable.

    If all relabellings are enumerated, a two-sided statistic is reached by the observed
    relabelling, and also by the opposite one if it exists: all signs flipped, or two groups of
    equal size exchanged.
    """
    has_opposite = exact and contrast.exchange.has_opposite()
    return np.asarray(np.where(has_opposite & (direction == 0), 2.0, 1.0) / total)


def _column_counts(hits: npt.NDArray[np.bool_]) -> npt.NDArray[np.integer]:
    kind = np.uint8 if len(hits) < 256 else np.uint32  # 8 bits are eight times as fast
    return np.asarray(np.add.reduce(hits.view(np.uint8), axis=0, dtype=kind))


def _one_sided(statistic: Reals, direction: Floats) -> Reals:
    """Return absolute values of two-sided statistics, and signed values in the tested direction."""
    signed = statistic * np.where(direction, direction, 1).astype(statistic.dtype)
    return np.where(direction == 0, np.abs(statistic), signed)


def _kernel(y: Floats, models: Sequence[Contrast], *, n_statistics: int) -> "_Kernel | _OwnKernel":
    if len(models) == 1:
        return _Kernel.of(y, models[0], n_statistics=n_statistics)
    return _OwnKernel.of(y, models)


@dataclass(frozen=True, slots=True)
class _Kernel:
    """Compute Welch's t of relabelled data from inner products."""

    residual: Reals  # (n, n_variables), residuals under the null model, of unit length
    basis: Floats  # (n, q), orthonormal, with the first column along the weights
    length: float  # length of the weights; the estimate is length x first inner product
    masks: list[npt.NDArray[np.bool_]]  # all variance groups except the last
    factor: Floats  # (n_groups,), squared weights over residual degrees of freedom
    share: Floats  # (n_groups,), residual degrees of freedom
    flips: bool
    empty: npt.NDArray[np.bool_]  # variables without variance

    @classmethod
    def of(cls, y: Floats, contrast: Contrast, *, n_statistics: int) -> "_Kernel":
        dtype = np.float32 if n_statistics > _LARGE else np.float64
        nuisance, inverse = contrast.design[:, 1:], np.linalg.pinv(contrast.design[:, 1:])
        residual, empty = np.empty(y.shape, dtype), np.empty(y.shape[1], bool)
        for block in variable_blocks(y):
            part = y[:, block]
            left = part - nuisance @ (inverse @ part) if nuisance.size else part
            square = (left**2).sum(axis=0)
            # t does not depend on the scale
            residual[:, block] = ratio(left, np.broadcast_to(np.sqrt(square), left.shape))
            # residuals of a constant variable are rounding errors
            empty[block] = square <= 1e-24 * (part**2).sum(axis=0)
        # The weights lie in the span of the design and are orthogonal to nuisance, so that the
        # estimate depends on the first inner product only.
        length = float(np.linalg.norm(contrast.weights))
        first = contrast.weights[:, None] / length
        basis = np.hstack([first, np.linalg.qr(nuisance)[0]]) if nuisance.size else first
        share, squares = group_shares(contrast)
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
        """Relative difference between equal statistics that rounding may cause."""
        return 1e-9 if self.residual.dtype == np.float64 else 1e-5

    def blocks(self, relabel: npt.NDArray[np.int_], *, bare: bool) -> Iterator[Reals]:
        """Yield blocks of relabelled statistics, as correlations instead of t if `bare`."""
        step = max(1, _BLOCK // max(1, self.residual.shape[1]))
        for start in range(0, len(relabel), step):
            part = relabel[start : start + step]
            yield self._product(self.basis[:, 0], part, self.residual) if bare else self.t(part)

    def t(self, relabel: npt.NDArray[np.int_]) -> Reals:
        """Compute the statistics of relabellings: t, or normal scores with several groups."""
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
        return estimate if df is None else normalised(estimate, df)

    def _variance(
        self, rest: Reals, a: list[Reals], relabel: npt.NDArray[np.int_]
    ) -> tuple[Reals, Reals | None]:
        """Estimate the variance of the estimate and, with several groups, its degrees of freedom.

        The residual sum of squares of the last group is that of all groups, `rest`, minus those of
        the others.
        """
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
        """Return the residual sum of squares of one variance group (formula in the module)."""
        r = self.residual
        own_basis = np.where(mask[:, None], self.basis, 0.0)
        inner = own_basis.T @ own_basis
        if self.flips:
            total = np.broadcast_to((r[mask] ** 2).sum(axis=0), a[0].shape).astype(r.dtype)
        else:
            total = self._product(mask.astype(float), relabel, r * r)
        products = self._products(own_basis, relabel, r)
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
        """Return inner products of a column with relabelled values, one row per relabelling."""
        return self._products(column[:, None], relabel, values)[0]

    def _products(
        self, columns: Floats, relabel: npt.NDArray[np.int_], values: Reals
    ) -> list[Reals]:
        """Return inner products of several columns, computed by one matrix product."""
        shape = (columns.shape[1], *relabel.shape)
        weights = np.empty(shape, values.dtype)
        for k, column in enumerate(columns.T):
            if self.flips:
                np.multiply(relabel, column, out=weights[k], casting="same_kind")
            else:
                spread = np.broadcast_to(column.astype(values.dtype), relabel.shape)
                np.put_along_axis(weights[k], relabel, spread, axis=1)
        products = weights.reshape(-1, shape[2]) @ values
        return list(products.reshape(*shape[:2], -1))


@dataclass(frozen=True, slots=True)
class _OwnKernel:
    """Compute Welch's t of relabelled data, for variables with a design of their own."""

    residual: Floats  # (n, n_variables), residuals under the null model of each variable
    designs: list[Contrast]
    empty: npt.NDArray[np.bool_]  # variables without variance
    share: Floats  # (n_groups,), residual degrees of freedom of the first design
    is_bare = False
    slack = 1e-9

    @classmethod
    def of(cls, y: Floats, designs: Sequence[Contrast]) -> "_OwnKernel":
        kernels = [
            _Kernel.of(y[:, k : k + 1], own, n_statistics=1) for k, own in enumerate(designs)
        ]
        residual = np.hstack([np.asarray(kernel.residual, float) for kernel in kernels])
        empty = np.array([kernel.empty[0] for kernel in kernels])
        return cls(residual, list(designs), empty, kernels[0].share)

    def blocks(self, relabel: npt.NDArray[np.int_], *, bare: bool) -> Iterator[Reals]:
        """Yield blocks of relabelled statistics; they are t also if `bare`."""
        del bare
        step = max(1, _OWN_BLOCK // len(self.residual))
        parts = [relabel[start : start + step] for start in range(0, len(relabel), step)]
        columns = [self._t(parts, k) for k in range(len(self.designs))]
        yield np.array(columns).T

    def _t(self, parts: Sequence[npt.NDArray[np.int_]], k: int) -> Reals:
        """Compute the statistics of one variable: t, or normal scores with several groups."""
        if self.empty[k]:
            return np.zeros(sum(map(len, parts)))
        own, r = self.designs[k], self.residual[:, k]
        basis = np.linalg.qr(own.design)[0]
        numbers = np.unique(own.group)
        groups = np.array([own.group == g for g in numbers], float).T
        share, squares = group_shares(own)
        inner, within = [], []
        for part in parts:
            moved = part * r if own.exchange.flips else r[part]
            inner.append(moved @ own.weights)
            moved -= (moved @ basis) @ basis.T
            moved *= moved
            within.append(moved @ groups)
        variances = np.concatenate(within) * (squares / np.maximum(share, 1e-12))
        variance = np.maximum(variances.sum(axis=1), np.finfo(float).tiny)
        t = np.concatenate(inner) / np.sqrt(variance)
        if len(numbers) == 1:
            return np.asarray(t)
        spread = (variances**2 / np.maximum(share, 1e-12)).sum(axis=1)
        df = variance**2 / np.maximum(spread, np.finfo(float).tiny)
        return normalised(t, df)
