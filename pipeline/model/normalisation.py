"""Shares of the deviation from the reference closed by treatment, per circuit and globally."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.centred_features import MIN_FEATURES, MIN_OTHERS, CentredFeatures
from circuitshift.pipeline.stats.missing_values import available_in_all, blocks, column_mean
from circuitshift.pipeline.stats.permutation import Contrast

__all__ = ["CircuitShare", "circuit_shares", "naive_share", "split_half_share"]


#: A share is estimated only if the deviation differs from 0 at this level of significance.
GUARD = 0.01


@dataclass(frozen=True, slots=True)
class CircuitShare:
    """Hold the share of one circuit's deviation from the reference that treatment closed.

    Parameters
    ----------
    circuit : str
        Name of the circuit.
    change_z : float
        Effect of treatment on the mean of the circuit, in the unit of the features.
    deviation_z, deviation_se : float
        Mean of the reference minus mean of the patients at baseline, and its standard error.
    share, ci_low, ci_high : float
        Estimate and 95 % Fieller interval; NaN when not identified.
    identified : bool
        Whether the deviation differs reliably from 0.
    remark : str
        Reason why the share is not identified, or a remark that the circuit changed beyond the
        reference.
    """

    circuit: str
    change_z: float
    deviation_z: float
    deviation_se: float
    share: float
    ci_low: float
    ci_high: float
    identified: bool
    remark: str


def circuit_shares(
    change: Mapping[str, Floats],
    pool: Mapping[str, Floats],
    reference: Mapping[str, Floats],
    contrast: Contrast,
) -> list[CircuitShare]:
    """Estimate the share of the deviation from the reference that treatment closed, per circuit.

    Parameters
    ----------
    change : mapping of str to ndarray, shape (n_participants,)
        Change of the mean of each circuit; NaN where it is missing.
    pool : mapping of str to ndarray, shape (n_participants + n_baseline_only,)
        Baseline mean of each circuit: the same participants first, then patients without
        follow-up.
    reference : mapping of str to ndarray, shape (n_reference,)
        Mean of each circuit in the reference participants.
    contrast : Contrast
        Contrast of the changes, over all participants.

    Returns
    -------
    list of CircuitShare
        One share per circuit; not identified where the deviation does not differ from 0 at
        p < .01, or where the mean of the circuit is missing in a participant.

    Notes
    -----
    With A the contrast of changes and d the mean of the reference minus the mean baseline of
    patients, the share is A / d. Its interval is that of Fieller (1954,
    doi:10.1111/j.2517-6161.1954.tb00159.x). It includes var(d), the uncertainty of both group
    means, and cov(A, d), because A and d contain the noise of the same baselines. This noise biases
    a slope over many features, but not the median of a ratio of two group means. When the true
    deviation is near 0, however, the few studies in which it is significant overestimate it.
    """
    return [
        _share(name, (values, pool[name], reference[name]), contrast)
        for name, values in change.items()
    ]


def _share(name: str, values: tuple[Floats, Floats, Floats], c: Contrast) -> CircuitShare:
    from scipy.special import stdtrit  # noqa: PLC0415 - half a second of import

    change, pool, healthy = values
    n, nan = len(change), np.nan
    missing = ~(np.isfinite(change) & np.isfinite(pool[:n]))
    base, reference = pool[np.isfinite(pool)], healthy[np.isfinite(healthy)]
    if missing.any() or min(len(base), len(reference)) < MIN_OTHERS + 1:
        text = (
            f"the circuit is missing in {missing.sum()} of {n} participants"
            if missing.any()
            else f"fewer than {MIN_OTHERS + 1} patients or reference participants"
        )
        return CircuitShare(name, nan, nan, nan, nan, nan, nan, identified=False, remark=text)
    a, d = float(c.weights @ change), float(reference.mean() - base.mean())
    var_d = reference.var(ddof=1) / len(reference) + base.var(ddof=1) / len(base)
    design = c.design
    hat = design @ np.linalg.pinv(design)
    var_a = cov = 0.0
    leftover = 1 - np.diag(hat)
    residual, centred = change - hat @ change, pool[:n] - hat @ pool[:n]
    for g in np.unique(c.group):
        own = c.group == g
        df = max(leftover[own].sum(), 1e-12)
        var_a += (c.weights[own] ** 2).sum() * (residual[own] ** 2).sum() / df
        cov -= c.weights[own].sum() / len(base) * (residual[own] @ centred[own]) / df
    df = len(base) + len(reference) - 2
    arms = np.unique(c.group, return_counts=True)[1]
    df_change = n - design.shape[1] if len(arms) == 1 else int(arms.min()) - 1
    reliable = abs(d) > stdtrit(df, 1 - GUARD / 2) * np.sqrt(var_d)
    start = (name, a, d, float(np.sqrt(var_d)))
    if not reliable:
        text = "patients do not differ reliably from the reference in this circuit"
        return CircuitShare(*start, nan, nan, nan, identified=False, remark=text)
    share = a / d
    # the smaller degrees of freedom make the interval conservative
    t2 = stdtrit(max(min(df, df_change), 1), 0.975) ** 2
    square, linear, rest = d**2 - t2 * var_d, a * d - t2 * cov, a**2 - t2 * var_a
    root = np.sqrt(max(linear**2 - square * rest, 0.0))
    low, high = (linear - root) / square, (linear + root) / square
    remark = "changed beyond the reference (over-normalisation)" if low > 1 else ""
    return CircuitShare(
        *start, float(share), float(low), float(high), identified=True, remark=remark
    )


def split_half_share(
    sample: CentredFeatures, rng: np.random.Generator, *, n_splits: int = 20
) -> Floats:
    """Estimate the share of the deviation closed globally, with explicit split-half instruments.

    This is a slower estimator of the normalisation term of
    `circuitshift.pipeline.model.global_model.global_response`.

    Parameters
    ----------
    sample : CentredFeatures
        Features of a study with a reference group.
    rng : numpy.random.Generator
        Source of the random splits.
    n_splits : int
        Number of random splits.

    Returns
    -------
    ndarray, shape (n_participants,)
        Share closed in each participant.

    Raises
    ------
    DesignError
        If there are fewer than 8 patients, 4 reference participants, or 20 background features
        that are available in all participants.

    Notes
    -----
    In each split, patients are divided at random into two sides, and the other side of each
    participant into two halves, as is the reference group. The change of a participant is regressed
    on m and d of the first half, with m and d of the second half as instruments. The moments of
    this split-sample instrumental-variable regression (Angrist & Krueger 1995,
    doi:10.1080/07350015.1995.10524597) are summed over splits.
    """
    groups = (sample.change, sample.baseline, sample.reference)
    n, n_pool, n_healthy = map(len, groups)
    if n_pool < 8 or n_healthy < 4:
        raise DesignError(
            "split halves need at least 8 patients and 4 reference participants; there are "
            f"{n_pool} and {n_healthy}"
        )
    use = sample.background & available_in_all(*(participants.values for participants in groups))
    if use.sum() < MIN_FEATURES:
        raise DesignError(
            f"split halves need at least {MIN_FEATURES} background {sample.features.plural} that "
            f"are available in all participants; there are {use.sum()}"
        )
    change, pool, healthy = (
        np.vstack([block.residual[:, use] for block in participants.blocks()])
        for participants in groups
    )
    left, right = np.zeros((n, 2, 2)), np.zeros((n, 2))
    for _ in range(n_splits):
        order = rng.permutation(n_pool)
        sides = order[: n_pool // 2], order[n_pool // 2 :]
        halves = np.array_split(rng.permutation(n_healthy), 2)
        for own, other in (sides, sides[::-1]):
            quarters = np.array_split(other, 2)
            x, z = (_regressors(pool[q], healthy[h]) for q, h in zip(quarters, halves, strict=True))
            participants = own[own < n]
            left[participants] += z @ x.T
            right[participants] += change[participants] @ z.T
    return np.asarray(np.linalg.solve(left, right[:, :, None])[:, 1, 0])


def _regressors(pool: Floats, healthy: Floats) -> Floats:
    """Return m and d, shape (2, n_features)."""
    m = pool.mean(axis=0)
    return np.array([m, healthy.mean(axis=0) - m])


def naive_share(
    change: Floats, baseline: Floats, reference: Floats, background: npt.NDArray[np.bool_]
) -> Floats:
    """Regress the change of each participant on the observed deviation of the group.

    The observed deviation shares the noise of the baselines with the change. The expected slope is
    therefore positive in the absence of any change (regression to the mean); it is reported for
    comparison only.

    Parameters
    ----------
    change, baseline : ndarray, shape (n_participants, n_features)
        Change and baseline of the same participants.
    reference : ndarray, shape (n_reference, n_features)
        Features of the reference participants.
    background : ndarray of bool, shape (n_features,)
        Features of the regression.

    Returns
    -------
    ndarray, shape (n_participants,)
        Least-squares slope of each participant over the available features; NaN without any.
    """
    d = column_mean(reference) - column_mean(baseline)
    use = background & np.isfinite(d)
    d = d[use] - d[use].mean()
    out = np.empty(len(change))
    for block in blocks(len(change)):
        part = change[block][:, use]
        available = np.isfinite(part)
        square = available @ d**2
        slope = np.full(len(square), np.nan)
        np.divide(np.where(available, part, 0.0) @ d, square, out=slope, where=square > 0)
        out[block] = slope
    return out
