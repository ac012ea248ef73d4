"""How much of each circuit's deviation was closed, and the share closed everywhere, another way."""

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


#: A deviation must differ from 0 at this level before a share of it is printed.
GUARD = 0.01


@dataclass(frozen=True, slots=True)
class CircuitShare:
    """Share of one circuit's deviation that treatment closed.

    Parameters
    ----------
    circuit : str
    change_z, deviation_z, deviation_se : float
        Change by treatment; reference minus patients at baseline, and its standard error.
    share, ci_low, ci_high : float
        Estimate and 95 % Fieller interval; NaN when withheld.
    identified : bool
    remark : str
        Why it is withheld, or that the circuit went beyond the reference.
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
    """Estimate the share closed for each circuit.

    With A the contrast of changes and d = mean of the reference minus mean of the patients'
    baseline, the share is A / d. The interval is Fieller's (1954,
    doi:10.1111/j.2517-6161.1954.tb00159.x) with var(d), which holds the uncertainty of the
    reference group, and cov(A, d), since both hold the noise of the same baselines. (That noise
    biases a slope over many features, not the median of a ratio of two group means. Where the true
    deviation is near 0, though, the few studies that pass the guard overestimate it.)

    Parameters
    ----------
    change, pool, reference : mapping of str to ndarray, shape (n,), (n + n_lone,), (n_reference,)
        Mean of each circuit: change, baseline (the same people first, then patients without
        follow-up), healthy people. NaN where it is lost.
    contrast : Contrast
        Of the changes, over all n people.

    Returns
    -------
    list of CircuitShare
        Withheld where the deviation does not differ from 0 at p < .01.
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
            f"the circuit is lost in {missing.sum()} people" if missing.any() else "too few people"
        )
        return CircuitShare(name, nan, nan, nan, nan, nan, nan, identified=False, remark=text)
    a, d = float(c.weights @ change), float(reference.mean() - base.mean())
    var_d = reference.var(ddof=1) / len(reference) + base.var(ddof=1) / len(base)
    design = c.design
    hat = design @ np.linalg.pinv(design)
    var_a = cov = 0.0
    left = 1 - np.diag(hat)
    residual, centred = change - hat @ change, pool[:n] - hat @ pool[:n]
    for g in np.unique(c.group):
        own = c.group == g
        df = max(left[own].sum(), 1e-12)
        var_a += (c.weights[own] ** 2).sum() * (residual[own] ** 2).sum() / df
        cov -= c.weights[own].sum() / len(base) * (residual[own] @ centred[own]) / df
    df = len(base) + len(reference) - 2
    arms = np.unique(c.group, return_counts=True)[1]
    df_change = n - design.shape[1] if len(arms) == 1 else int(arms.min()) - 1
    available = abs(d) > stdtrit(df, 1 - GUARD / 2) * np.sqrt(var_d)
    given = (name, a, d, float(np.sqrt(var_d)))
    if not available:
        text = "patients do not differ reliably from the reference on this circuit"
        return CircuitShare(*given, nan, nan, nan, identified=False, remark=text)
    share = a / d
    t2 = stdtrit(max(min(df, df_change), 1), 0.975) ** 2  # the smaller: never too narrow
    square, linear, rest = d**2 - t2 * var_d, a * d - t2 * cov, a**2 - t2 * var_a
    root = np.sqrt(max(linear**2 - square * rest, 0.0))
    low, high = (linear - root) / square, (linear + root) / square
    remark = "went beyond the reference (over-normalisation)" if low > 1 else ""
    return CircuitShare(
        *given, float(share), float(low), float(high), identified=True, remark=remark
    )


def split_half_share(
    sample: CentredFeatures, rng: np.random.Generator, *, n_splits: int = 20
) -> Floats:
    """Share closed everywhere, by explicit split halves: the slow way to the same estimand.

    People are split at random in two; a person's change is regressed on m and d of one half of the
    *other* side, with m and d of its other half (and the other half of the reference) as
    instruments: two-stage least squares, its moments summed over splits.

    Parameters
    ----------
    sample : CentredFeatures
        With a reference group.
    rng : numpy.random.Generator
    n_splits : int

    Returns
    -------
    ndarray, shape (n_people,)

    Raises
    ------
    DesignError
        If a quarter of the patients or half of the reference is fewer than 2 people.
    """
    groups = (sample.change, sample.baseline, sample.reference)
    n, n_pool, n_healthy = map(len, groups)
    if n_pool < 8 or n_healthy < 4:
        raise DesignError("split halves need at least 8 patients and 4 reference people")
    use = sample.background & available_in_all(*(participants.values for participants in groups))
    if use.sum() < MIN_FEATURES:
        raise DesignError(
            f"too few background {sample.features.plural} are known in everybody for split halves"
        )
    change, pool, healthy = (
        np.vstack([few.residual[:, use] for few in participants.blocks()])
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
    m = pool.mean(axis=0)
    return np.array([m, healthy.mean(axis=0) - m])


def naive_share(
    change: Floats, baseline: Floats, reference: Floats, background: npt.NDArray[np.bool_]
) -> Floats:
    """Slope of each person's change on the plain deviation of the group.

    It shares the baseline's noise with the change, so it is positive when nothing happened.

    Parameters
    ----------
    change, baseline : ndarray, shape (n_people, n_features)
    reference : ndarray, shape (n_reference, n_features)
    background : ndarray of bool, shape (n_features,)

    Returns
    -------
    ndarray, shape (n_people,)
    """
    d = column_mean(reference) - column_mean(baseline)
    use = background & np.isfinite(d)
    d = d[use] - d[use].mean()
    out = np.empty(len(change))
    for few in blocks(len(change)):
        part = change[few][:, use]
        available = np.isfinite(part)
        out[few] = (np.where(available, part, 0.0) @ d) / (available @ d**2)
    return out
