"""Tests of circuits against the heterogeneity of the background.

The residual change s_k of a circuit is compared with the differences between blocks of background
features: T_k = s_k / sqrt(se_k^2 + c_k tau^2), where tau^2 is the variance of true change over
blocks (`circuitshift.pipeline.model.heterogeneity.variance`) and c_k its multiple for a circuit
that is a further draw: 1, plus the part of the changes of blocks that the global model carries into
the prediction. A circuit stands out only if it changed more than blocks do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypedDict

import numpy as np

from circuitshift.pipeline.arrays import Floats, Reals
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.heterogeneity.variance import BlockErrors, moment_tau
from circuitshift.pipeline.stats.linear_contrast import Contrast, normalised
from circuitshift.pipeline.stats.permutation import PermutationResult, Side, permutation_test

__all__ = [
    "MIN_BLOCKS",
    "Background",
    "RandomEffects",
    "TestOptions",
    "random_effects_test",
    "residuals_of",
]

MIN_BLOCKS = 6  # blocks needed for an estimate of tau^2


class TestOptions(TypedDict):
    """Name the arguments that tests of circuits share with and without random effects.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the relabellings.
    n_permutations : int
        Number of random relabellings.
    excess_variance : ndarray, shape (n_circuits,), or None
        Variance of each circuit's estimate due to shared regressors.
    sides : list of {"two-sided", "increase", "decrease"}, or None
        Direction of the test of each circuit.
    """

    rng: np.random.Generator
    n_permutations: int
    excess_variance: Floats | None
    sides: Sequence[Side] | None


@dataclass(frozen=True, slots=True)
class Background:
    """Hold the values of background blocks, against which circuits are tested.

    Parameters
    ----------
    values : ndarray, shape (n_participants, n_blocks)
        Residual change of each block in each participant, without NaN.
    excess_variance : ndarray, shape (n_blocks,)
        Variance of each block's estimate due to regressors that all participants share.
    retained : ndarray, shape (n_blocks,)
        Share of tau^2 that the global model leaves in each block.
    """

    values: Floats
    excess_variance: Floats
    retained: Floats


class RandomEffects(NamedTuple):
    """Hold the result of `random_effects_test`.

    Parameters
    ----------
    circuits : PermutationResult
        Estimates of the circuits. Standard errors, degrees of freedom, intervals, statistics and
        p values contain tau^2.
    plain_t, plain_df : ndarray, shape (n_circuits,)
        t statistic of each estimate against 0, without tau^2, and its degrees of freedom.
    tau2 : float
        Variance of true change over blocks.
    errors : BlockErrors
        Correlations of the sampling errors of the blocks.
    """

    circuits: PermutationResult
    plain_t: Floats
    plain_df: Floats
    tau2: float
    errors: BlockErrors


def random_effects_test(
    circuits: Floats,
    background: Background,
    contrast: Contrast | Sequence[Contrast],
    *,
    rng: np.random.Generator,
    n_permutations: int = 5000,
    excess_variance: Floats | None = None,
    multiple: Floats | None = None,
    sides: Sequence[Side] | None = None,
) -> RandomEffects:
    """Test whether circuits changed more than blocks of the background do.

    Parameters
    ----------
    circuits : ndarray, shape (n_participants, n_circuits)
        Residual change of each circuit in each participant, without NaN.
    background : Background
        Blocks of the same participants; at least `MIN_BLOCKS`.
    contrast : Contrast or sequence of Contrast
        Linear model and its relabellings; or one model for each block and then for each circuit,
        with the same relabellings.
    rng : numpy.random.Generator
        Source of the relabellings.
    n_permutations : int
        Number of random relabellings; all are enumerated where there are at most one more.
    excess_variance : ndarray, shape (n_circuits,), optional
        Variance of each circuit's estimate due to shared regressors.
    multiple : ndarray, shape (n_circuits,), optional
        Multiple c_k of tau^2 for each circuit; 1 by default.
    sides : sequence of {"two-sided", "increase", "decrease"}, optional
        Direction of the test of each circuit; two-sided by default.

    Returns
    -------
    RandomEffects

    Raises
    ------
    DesignError
        If there are fewer than `MIN_BLOCKS` blocks.

    Notes
    -----
    The degrees of freedom are those of Satterthwaite (1946, doi:10.2307/3002019) for the sum of
    both variances. For p values, tau^2 and T are computed again for each relabelling, from the
    relabelled blocks and circuits, and all T are compared as normal scores, because a T with a
    large tau^2 has few degrees of freedom. The family-wise error is controlled by the maximum over
    circuits.
    """
    n_blocks = background.values.shape[1]
    if n_blocks < MIN_BLOCKS:
        raise DesignError(
            f"the heterogeneity of change needs at least {MIN_BLOCKS} blocks of the background; "
            f"there are {n_blocks}"
        )
    n_circuits = circuits.shape[1]
    y = np.hstack([background.values, circuits])
    extra = np.zeros(n_circuits) if excess_variance is None else excess_variance
    extra = np.r_[background.excess_variance, extra]
    relabelled: list[Reals] = []
    two_sided: list[Side] = ["two-sided"] * (n_blocks + n_circuits)
    plain = permutation_test(
        y,
        contrast,
        rng=rng,
        n_permutations=n_permutations,
        excess_variance=extra,
        sides=[*two_sided[:n_blocks], *(sides or two_sided[n_blocks:])],
        watch=lambda rows: relabelled.append(rows.copy()),
    )
    models = [contrast] if isinstance(contrast, Contrast) else list(contrast)
    is_welch = np.unique(models[0].group).size > 1
    df = float(len(y) - models[0].design.shape[1])
    errors = BlockErrors.of(
        residuals_of(background.values, models),
        float(np.median(plain.df[:n_blocks])),
        retained=background.retained,
    )
    many = np.ones(n_circuits) if multiple is None else multiple
    smallest = _smallest(y)
    variance, own_variance = (np.maximum(v, smallest) for v in (plain.se**2, plain.se**2 - extra))
    found = _Model(errors, n_blocks, many, plain.df[n_blocks:]).test(plain.estimate, variance)
    # the same function of the same kind of statistic for the observed and all other labellings
    compared = _Model(replace(errors, df=df), n_blocks, many, np.full(n_circuits, df))
    statistic, bare = plain.statistic, plain.estimate / np.sqrt(own_variance)
    if is_welch:
        statistic = np.asarray(normalised(statistic, plain.df))
        bare = normalised(bare, plain.df / (1 + extra / own_variance) ** 2)
    score = compared.test(statistic * np.sqrt(variance), variance).score
    scale = _Scale(own_variance, df, np.asarray(bare))
    null = np.vstack([compared.test(*scale.moments(rows)).score for rows in relabelled])
    observed, null = _directed(score, null, sides)
    result = _result(plain, found, slice(n_blocks, None))
    total = len(null) + (not plain.exact)
    floor = observed - 1e-9 * np.abs(observed)
    largest = np.sort(null.max(axis=1))
    reached = len(largest) - np.searchsorted(largest, floor)
    result = replace(
        result,
        p=np.maximum((null >= floor).sum(axis=0) + (not plain.exact), 1) / total,
        p_corrected=np.maximum(reached + (not plain.exact), 1) / total,
        maxima=(largest,),
    )
    own = slice(n_blocks, None)
    return RandomEffects(result, plain.statistic[own], plain.df[own], float(found.tau2), errors)


def _smallest(y: Floats) -> Floats:
    """Return a positive variance for variables that do not vary."""
    return np.asarray(1e-12 * np.maximum((y**2).mean(axis=0), (y**2).mean()) + 1e-300)


def residuals_of(y: Floats, models: Sequence[Contrast]) -> Floats:
    """Return the residuals of variables under the linear model of participants.

    Parameters
    ----------
    y : ndarray, shape (n_participants, n_variables)
        Values without NaN.
    models : sequence of Contrast
        One model for all variables, or one for each (further models are ignored).

    Returns
    -------
    ndarray, shape (n_participants, n_variables)
    """
    y = models[0].scaled(y)
    out = np.empty_like(y)
    for k, model in enumerate(models[: y.shape[1]]):
        columns = slice(None) if len(models) == 1 else slice(k, k + 1)
        design, values = model.design, y[:, columns]
        out[:, columns] = values - design @ (np.linalg.pinv(design) @ values)
    return out


class _Tested(NamedTuple):
    """Statistics of circuits, for one or several labellings."""

    score: Floats  # (..., n_circuits), normal scores
    statistic: Floats
    variance: Floats
    df: Floats
    tau2: Floats  # (...)


@dataclass(frozen=True, slots=True)
class _Model:
    """The test statistic, as a function of estimates and sampling variances."""

    errors: BlockErrors
    n_blocks: int
    multiple: Floats
    df: Floats  # of the sampling variance of the circuits

    def test(self, estimate: Floats, variance: Floats) -> _Tested:
        """Compute the statistics from arrays of shape (..., n_blocks + n_circuits)."""
        tau = moment_tau(
            estimate[..., : self.n_blocks], variance[..., : self.n_blocks], self.errors
        )
        own = np.maximum(variance[..., self.n_blocks :], 1e-100)  # constant values
        total = own + self.multiple * tau.value[..., None]
        # where tau^2 is estimated as 0, T is the t of the circuit alone
        uncertain = np.where(tau.value > 0, tau.variance, 0.0)[..., None]
        df = total**2 / (own**2 / self.df + self.multiple**2 * uncertain / 2)
        statistic = estimate[..., self.n_blocks :] / np.sqrt(total)
        return _Tested(np.asarray(normalised(statistic, df)), statistic, total, df, tau.value)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Recover estimates and sampling variances from relabelled statistics.

    A relabelling keeps the sum of squares under the null model, so that its sampling variance is
    v (df + t^2) / (df + t*^2), with v and t those of the observed labelling and t* the relabelled
    statistic. With several variance groups or covariates this holds to a good approximation, and
    the same function serves all labellings.
    """

    variance: Floats
    df: float
    statistic: Floats

    def moments(self, rows: Reals) -> tuple[Floats, Floats]:
        t = np.asarray(rows, float)
        variance = self.variance * (self.df + self.statistic**2) / (self.df + t**2)
        return t * np.sqrt(variance), variance


def _directed(
    observed: Floats, null: Floats, sides: Sequence[Side] | None
) -> tuple[Floats, Floats]:
    """Return absolute values of two-sided scores, and signed values in the tested direction."""
    sign = {"two-sided": 0.0, "increase": 1.0, "decrease": -1.0}
    direction = np.array([sign[side] for side in sides or ["two-sided"] * len(observed)])

    def directed(score: Floats) -> Floats:
        return np.where(direction == 0, np.abs(score), score * direction)

    return directed(observed), directed(null)


def _result(plain: PermutationResult, found: _Tested, columns: slice) -> PermutationResult:
    """Replace the standard errors of circuits by those that contain tau^2."""
    from scipy.special import stdtrit  # noqa: PLC0415 - half a second of import

    estimate, se = plain.estimate[columns], np.sqrt(found.variance)
    half = stdtrit(found.df, 0.975) * se
    return replace(
        plain,
        estimate=estimate,
        se=se,
        df=found.df,
        ci_low=estimate - half,
        ci_high=estimate + half,
        statistic=found.statistic,
        smallest_p=plain.smallest_p[columns],
    )
