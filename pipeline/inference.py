"""Permutation tests, intervals, equivalence and correction for per-person coefficients.

One group: sign flips; two groups: label permutation, both by the Freedman-Lane scheme when there
are covariates (Freedman & Lane 1983, doi:10.2307/1391660; Winkler 2014,
doi:10.1016/j.neuroimage.2014.01.060). Groups may differ in variance: the statistic is Welch's t,
generalised to covariates. Family-wise error by the maximum statistic (Westfall & Young).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.errors import DesignError

__all__ = ["Contrast", "PermutationResult", "mean_contrast", "permutation_test"]

Floats = npt.NDArray[np.float64]
Side = Literal["two-sided", "increase", "decrease"]

_BLOCK = 2_000_000  # numbers per block of permuted residuals: about 16 MB


@dataclass(frozen=True, slots=True)
class Contrast:
    """A linear model with one coefficient of interest.

    Parameters
    ----------
    design : ndarray, shape (n_people, n_columns)
        First column: the constant (one group) or the arm indicator; then nuisance.
    group : ndarray of int, shape (n_people,)
        Variance group of each person.
    flips : bool
        True for sign flips (one group), False for label permutation.
    weights : ndarray, shape (n_people,)
        The estimate is ``weights @ y``.
    """

    design: Floats
    group: npt.NDArray[np.intp]
    flips: bool
    weights: Floats


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


def mean_contrast(
    n_people: int,
    *,
    treated: npt.NDArray[np.bool_] | None = None,
    covariates: Floats | None = None,
) -> Contrast:
    """Contrast for the mean of one group, or for treated minus control.

    Parameters
    ----------
    n_people : int
    treated : ndarray of bool, shape (n_people,), optional
        None tests the mean of all.
    covariates : ndarray, shape (n_people, n_covariates), optional
        Centred here; constant ones are dropped.

    Returns
    -------
    Contrast

    Raises
    ------
    DesignError
        If an arm has fewer than two people, or the covariates leave fewer than two degrees of
        freedom or determine the arm.
    """
    nuisance = np.empty((n_people, 0)) if covariates is None else np.asarray(covariates, float)
    nuisance = nuisance - nuisance.mean(axis=0)
    spread = nuisance.std(axis=0)
    nuisance = nuisance[:, spread > 0] / spread[spread > 0]
    constant = np.ones((n_people, 1))
    if treated is None:
        design = np.hstack([constant, nuisance])
        group = np.zeros(n_people, np.intp)
    else:
        arms = np.array([treated.sum(), (~treated).sum()])
        if arms.min() < 2:
            raise DesignError(
                f"{arms[0]} treated and {arms[1]} control people have both visits; each arm "
                "needs at least two"
            )
        design = np.hstack([treated[:, None].astype(float), constant, nuisance])
        group = treated.astype(np.intp)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise DesignError(
            "the covariates are collinear with each other or with the arm; leave one out under "
            "[covariates] of the study file"
        )
    if n_people - design.shape[1] < 2:
        raise DesignError(
            f"{n_people} people are too few for {design.shape[1]} model columns; use fewer "
            "covariates"
        )
    return Contrast(design, group, treated is None, np.linalg.pinv(design)[0])


def permutation_test(
    y: Floats,
    contrast: Contrast,
    *,
    rng: np.random.Generator,
    n_permutations: int = 5000,
    excess_variance: Floats | None = None,
    sides: Sequence[Side] | None = None,
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

    Returns
    -------
    PermutationResult
    """
    y = np.asarray(y, float)
    extra = np.zeros(y.shape[1]) if excess_variance is None else excess_variance
    sign = {"two-sided": 0.0, "increase": 1.0, "decrease": -1.0}
    direction = np.array([sign[s] for s in sides or ["two-sided"] * y.shape[1]])
    solver = _Solver.of(contrast)
    estimate = contrast.weights @ y
    variance, df = solver.variance(
        (y - contrast.design @ np.linalg.pinv(contrast.design) @ y)[None]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        df_total = df[0] * (1 + extra / variance[0]) ** 2  # the excess is taken as known
    df_total = np.where(np.isfinite(df_total), df_total, df[0])
    se = np.sqrt(variance[0] + extra)
    observed = _ratio(estimate, se)
    relabel, exact = _relabellings(contrast, n_permutations, rng)
    nuisance = contrast.design[:, 1:]
    residual = y - nuisance @ np.linalg.pinv(nuisance) @ y
    above = np.zeros(y.shape[1])
    above_max = np.zeros(y.shape[1])
    reach = _one_sided(observed, direction)
    step = max(1, _BLOCK // max(1, y.size))
    for start in range(0, len(relabel), step):
        null = _one_sided(solver.statistic(residual, relabel[start : start + step]), direction)
        slack = 1e-9 * np.abs(reach)  # ties of equal relabellings must count as reached
        above += (null >= reach - slack).sum(axis=0)
        above_max += (null.max(axis=1)[:, None] >= reach - slack).sum(axis=0)
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
    )


def _ratio(estimate: Floats, se: Floats) -> Floats:
    out = np.zeros_like(estimate)
    np.divide(estimate, se, out=out, where=se > 0)
    return out


def _one_sided(statistic: Floats, direction: Floats) -> Floats:
    return np.where(
        direction == 0, np.abs(statistic), statistic * np.where(direction, direction, 1)
    )


@dataclass(frozen=True, slots=True)
class _Solver:
    """Welch-type variance of the contrast, for many relabelled data sets at once."""

    contrast: Contrast
    residual_maker: Floats
    groups: npt.NDArray[np.bool_]  # (n_groups, n_people)
    share: Floats  # (n_groups,): residual degrees of freedom in each variance group
    squares: Floats  # (n_groups,): summed squared contrast weights in each group

    @classmethod
    def of(cls, contrast: Contrast) -> "_Solver":
        n = len(contrast.design)
        maker = np.eye(n) - contrast.design @ np.linalg.pinv(contrast.design)
        groups = np.array([contrast.group == g for g in np.unique(contrast.group)])
        share = groups.astype(float) @ np.diag(maker)
        squares = groups.astype(float) @ contrast.weights**2
        return cls(contrast, maker, groups, share, squares)

    def variance(self, residuals: Floats) -> tuple[Floats, Floats]:
        """Variance of the estimate and its degrees of freedom; residuals (n_rows, n, n_vars)."""
        parts = np.array(
            [
                w * (residuals[:, g] ** 2).sum(axis=1) / max(df, 1e-12)
                for g, df, w in zip(self.groups, self.share, self.squares, strict=True)
            ]
        )
        total = parts.sum(axis=0)
        spread = (parts**2 / np.maximum(self.share, 1e-12)[:, None, None]).sum(axis=0)
        df = np.full_like(total, float(self.share.sum()))
        np.divide(total**2, spread, out=df, where=spread > 0)
        return total, df

    def statistic(self, residual: Floats, relabel: npt.NDArray[np.int_]) -> Floats:
        """Welch's t of each relabelling, shape (n_relabellings, n_variables)."""
        data = relabel[:, :, None] * residual if self.contrast.flips else residual[relabel]
        estimate = np.einsum("i,rij->rj", self.contrast.weights, data)
        left = np.einsum("hi,rij->rhj", self.residual_maker, data, optimize=True)
        return _ratio(estimate, np.sqrt(self.variance(left)[0]))


def _relabellings(
    contrast: Contrast, n_permutations: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int_], bool]:
    """Sign flips or permutations; all of them when they are few."""
    n = len(contrast.design)
    if contrast.flips:
        if n < 31 and 2**n <= n_permutations + 1:
            bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
            return 1 - 2 * bits, True
        return 1 - 2 * rng.integers(0, 2, (n_permutations, n)), False
    rows = np.tile(np.arange(n), (n_permutations, 1))
    return rng.permuted(rows, axis=1), False
