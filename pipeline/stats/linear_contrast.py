"""Linear models of participants with one coefficient of interest, and its estimate.

Groups of participants may differ in variance. The standard error is computed from the residual
variance of each group. Without covariates, this gives Welch's t (1947,
doi:10.1093/biomet/34.1-2.28).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats, Reals
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.stats.exchangeability import Exchange

__all__ = [
    "Contrast",
    "contrast_of",
    "group_shares",
    "mean_contrast",
    "normalised",
    "ratio",
    "t_statistics",
    "variable_blocks",
    "variance_of_estimate",
]

_VARIABLE_BLOCK = 4096  # variables that are copied at a time


_SMALLEST_DF = 3  # of a model that is adjusted for the baseline


@dataclass(frozen=True, slots=True)
class Contrast:
    """Define a linear model with one coefficient of interest.

    Parameters
    ----------
    design : ndarray, shape (n_participants, n_columns)
        Design matrix. The first column is the column of interest (a constant, an arm or a score);
        the other columns are nuisance.
    group : ndarray of int, shape (n_participants,)
        Variance group of each participant.
    exchange : Exchange
        Relabellings that the null hypothesis allows.
    weights : ndarray, shape (n_participants,)
        Weights of the estimate, which is ``weights @ scaled(y)``.
    scale : ndarray, shape (n_participants,)
        Square root of the weight of each participant, by which `design` is already multiplied.
    """

    design: Floats
    group: npt.NDArray[np.intp]
    exchange: Exchange
    weights: Floats
    scale: Floats

    def scaled(self, y: Floats) -> Floats:
        """Scale values like the design.

        Parameters
        ----------
        y : ndarray, shape (n_participants, ...)
            Values of participants.

        Returns
        -------
        ndarray, shape (n_participants, ...)
            Values times the square root of the weight of each participant.
        """
        return np.asarray(y * self.scale.reshape(-1, *[1] * (y.ndim - 1)))

    def with_own_columns(self, columns: Floats) -> "tuple[Contrast, ...]":
        """Add one nuisance column for each variable, such as its value at baseline.

        Parameters
        ----------
        columns : ndarray, shape (n_participants, n_variables)
            Nuisance column of each variable, without NaN. A column that is constant is omitted.

        Returns
        -------
        tuple of Contrast
            One model for each variable. All of them have the same relabellings, of participants
            whose columns are all equal.

        Raises
        ------
        DesignError
            If a column is collinear with the model, or if fewer than three degrees of freedom are
            left. With two, permuted residuals are so dependent that small p values are too
            frequent.

        Notes
        -----
        The least-squares estimate for a change, follow-up minus baseline, with the baseline as
        nuisance column equals that for the follow-up with the same column (analysis of
        covariance; Laird 1983, doi:10.1080/00031305.1983.10483133).
        """
        n, k = self.design.shape
        if n - k - 1 < _SMALLEST_DF:
            raise DesignError(
                f"{n} participants are too few to adjust {k} model columns for the baseline"
            )
        kinds = np.unique(np.hstack([self.design, columns]), axis=0, return_inverse=True)[1]
        exchange = replace(self.exchange, kinds=kinds.reshape(-1))
        out = []
        for column in columns.T:
            spread = column.std()
            # the spread of a constant column is a rounding error
            if spread <= 1e-12 * np.abs(column).max():
                out.append(replace(self, exchange=exchange))
                continue
            own = (column - column.mean()) / spread * self.scale
            design = np.hstack([self.design, own[:, None]])
            if np.linalg.matrix_rank(design) < k + 1:
                raise DesignError("the baseline is collinear with the arm or the covariates")
            weights = np.linalg.pinv(design)[0]
            out.append(replace(self, design=design, weights=weights, exchange=exchange))
        return tuple(out)


def mean_contrast(
    n_participants: int,
    *,
    treated: npt.NDArray[np.bool_] | None = None,
    covariates: Floats | None = None,
    blocks: npt.NDArray[np.intp] | None = None,
) -> Contrast:
    """Build the contrast of the mean of one group, or of treated minus control.

    Parameters
    ----------
    n_participants : int
        Number of participants.
    treated : ndarray of bool, shape (n_participants,), optional
        Whether each participant was treated; None for the mean of all participants.
    covariates : ndarray, shape (n_participants, n_covariates), optional
        Nuisance covariates. They are centred, and constant covariates are dropped.
    blocks : ndarray of int, shape (n_participants,), optional
        Blocks (sites) within which labels are exchanged; not used by sign flips.

    Returns
    -------
    Contrast
        Linear model and its relabellings.

    Raises
    ------
    DesignError
        If an arm has fewer than two participants, or if the covariates determine the arm or leave
        fewer than two degrees of freedom.
    """
    if treated is None:
        group = np.zeros(n_participants, np.intp)
        return contrast_of(np.ones(n_participants), nuisance=covariates, group=group, flips=True)
    arms = np.array([treated.sum(), (~treated).sum()])
    if arms.min() < 2:
        raise DesignError(
            f"{arms[0]} treated and {arms[1]} control participants have both visits; each arm "
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
    """Build the contrast of any column: a score, an interaction or an arm.

    Parameters
    ----------
    interest : ndarray, shape (n_participants,)
        Column whose coefficient is tested. With sign flips, a column of ones, or weights with a
        common sign.
    nuisance : ndarray, shape (n_participants, n_columns), optional
        Nuisance columns. They are centred, and constant columns are dropped. The model always
        contains a constant.
    anchored : ndarray, shape (n_participants, n_columns), optional
        Nuisance columns with a meaningful zero, which are not centred. With sign flips, the
        estimate is the mean where these columns are 0; for change in motion, that is the change at
        unchanged motion.
    group : ndarray of int, shape (n_participants,), optional
        Variance group of each participant; by default, all participants form one group.
    blocks : ndarray of int, shape (n_participants,), optional
        Blocks within which labels are exchanged (`Exchange`).
    flips : bool
        Whether signs are flipped instead of permuting participants.
    weights : ndarray, shape (n_participants,), optional
        Weights above 0 for weighted least squares. The test is exact with sign flips; permutations
        assume that weighted residuals are exchangeable.

    Returns
    -------
    Contrast
        Linear model and its relabellings.

    Raises
    ------
    DesignError
        If the column is constant or collinear with the nuisance columns, if fewer than two degrees
        of freedom are left, or if signs are flipped and an anchored column is constant, but not 0.
    """
    n = len(interest)
    more = np.empty((n, 0)) if nuisance is None else np.asarray(nuisance, float)
    zeros = np.zeros(more.shape[1])
    if anchored is not None:
        if flips and ((np.ptp(anchored, axis=0) == 0) & (anchored[0] != 0)).any():
            raise DesignError(
                "a covariate with a meaningful zero, such as the change in motion, has the same "
                "value in all participants, so that the change where it is 0 cannot be estimated"
            )
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
            "the covariates are collinear with each other or with the arm; remove one of them from "
            "[model] covariates of the study file"
        )
    if n - design.shape[1] < 2:
        raise DesignError(
            f"{n} participants are too few for {design.shape[1]} model columns; remove covariates "
            "from [model] covariates of the study file"
        )
    scale = np.ones(n) if weights is None else np.sqrt(weights / np.mean(weights))
    design = design * scale[:, None]
    kinds = np.unique(design, axis=0, return_inverse=True)[1].reshape(-1)
    groups = np.zeros(n, np.intp) if group is None else group
    exchange = Exchange(kinds, flips, blocks)
    return Contrast(design, groups, exchange, np.linalg.pinv(design)[0], scale)


def t_statistics(y: Floats, contrast: Contrast) -> Floats:
    """Compute the observed statistics on the scale of the relabelled statistics.

    Parameters
    ----------
    y : ndarray, shape (n_participants, n_variables)
        Values without NaN.
    contrast : Contrast
        Linear model and its coefficient of interest.

    Returns
    -------
    ndarray, shape (n_variables,)
        t with one variance group, and the normal score of Welch's t with several.
    """
    y = contrast.scaled(y)
    variance, df = variance_of_estimate(y, contrast)
    t = ratio(contrast.weights @ y, np.sqrt(variance))
    return t if np.unique(contrast.group).size == 1 else np.asarray(normalised(t, df))


def ratio(estimate: Reals, se: Reals) -> Floats:
    """Divide, with 0 where the divisor is 0."""
    out = np.zeros_like(estimate)
    np.divide(estimate, se, out=out, where=se > 0)
    return np.asarray(out)


def normalised(t: Reals, df: Reals) -> Reals:
    """Transform each t to the normal score with approximately the same p value.

    The transformation is that of Wallace (1959, Annals of Mathematical Statistics 30:1121-1130).
    Relabelling mixes the variances of the groups, so that Welch's t of relabelled data has other
    degrees of freedom than that of the observed data. Normal scores can nevertheless be compared,
    and maximised over variables.
    """
    scale = (8 * df + 1) / (8 * df + 3)
    return np.asarray(np.sign(t) * scale * np.sqrt(df * np.log1p(t * t / df)))


def variance_of_estimate(y: Floats, contrast: Contrast) -> tuple[Floats, Floats]:
    """Estimate the variance of the observed estimate and its degrees of freedom.

    The degrees of freedom are those of Welch and Satterthwaite (Satterthwaite 1946,
    doi:10.2307/3002019).
    """
    design, inverse = contrast.design, np.linalg.pinv(contrast.design)
    share, squares = group_shares(contrast)
    numbers = np.unique(contrast.group)
    parts = np.empty((len(numbers), y.shape[1]))
    for block in variable_blocks(y):
        residual = y[:, block] - design @ (inverse @ y[:, block])
        for k, (g, df, w) in enumerate(zip(numbers, share, squares, strict=True)):
            own = (residual[contrast.group == g] ** 2).sum(axis=0)
            parts[k, block] = w * own / max(df, 1e-12)
    total = parts.sum(axis=0)
    spread = (parts**2 / np.maximum(share, 1e-12)[:, None]).sum(axis=0)
    df = np.full_like(total, float(share.sum()))
    np.divide(total**2, spread, out=df, where=spread > 0)
    return total, df


def variable_blocks(y: Floats) -> Iterator[slice]:
    """Divide variables into blocks whose copies are small relative to all edges of a study."""
    return (slice(k, k + _VARIABLE_BLOCK) for k in range(0, y.shape[1], _VARIABLE_BLOCK))


def group_shares(contrast: Contrast) -> tuple[Floats, Floats]:
    """Return residual degrees of freedom and summed squared weights of each variance group."""
    q = np.linalg.qr(contrast.design)[0]
    one_minus_leverage = 1 - (q**2).sum(axis=1)
    groups = np.array([contrast.group == g for g in np.unique(contrast.group)], float)
    return groups @ one_minus_leverage, groups @ contrast.weights**2
