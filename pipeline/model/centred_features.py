"""Features of all participants, with the fixed columns of the global model regressed out.

The values of all participants are held once, as they were measured. The fixed columns are regressed
out of a block of participants whenever that block is needed, because a second copy of the edges of
two thousand participants would not fit into memory.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.records import Background
from circuitshift.pipeline.stats.missing_values import available_in_all, blocks, column_mean

__all__ = [
    "MIN_AVAILABLE",
    "MIN_FEATURES",
    "MIN_OTHERS",
    "CentredFeatures",
    "ResidualisedFeatures",
    "Residuals",
]


MIN_OTHERS = 3  # people needed for a mean whose pairwise moments exist
MIN_FEATURES = 20  # background features needed for a fit of at most five terms
MIN_AVAILABLE = 0.25  # share of the background that a person must have


class Residuals(NamedTuple):
    """Features after regressing out the fixed columns (1 and, for edges, the length).

    Parameters
    ----------
    residual : ndarray, shape (n_people, n_features)
        Residuals on the background; elsewhere, value minus what the fixed columns predict there.
    fixed : ndarray, shape (n_people, n_fixed)
        Coefficients of the fixed columns that carry a name in `CentredFeatures.fixed`.
    """

    residual: Floats
    fixed: Floats


@dataclass(frozen=True, slots=True)
class ResidualisedFeatures:
    """Features of participants, with the fixed columns regressed out when they are read.

    Taking these out of every person first, rather than out of means, keeps person-wide noise from
    leaking into products of estimates.

    Parameters
    ----------
    values : ndarray, shape (n_people, n_features)
        As measured; not copied.
    fixed : ndarray, shape (n_people, n_fixed)
        Coefficients of the fixed columns.
    basis : ndarray, shape (n_fixed, n_features)
        The fixed columns.
    scale : callable, optional
        Applied to the values first.
    """

    values: Floats
    fixed: Floats
    basis: Floats
    scale: Callable[[Floats], Floats] | None = None

    def __len__(self) -> int:
        """Return the number of people."""
        return len(self.values)

    def __getitem__(self, few: slice) -> Residuals:
        """Return some people without the fixed columns."""
        values = self.values[few]
        values = values if self.scale is None else self.scale(values)
        fixed = self.fixed[few]
        return Residuals(values - fixed @ self.basis, fixed)

    def blocks(self) -> Iterator[Residuals]:
        """Yield a few people at a time."""
        return (self[few] for few in blocks(len(self)))


@dataclass(frozen=True, slots=True)
class CentredFeatures:
    """What the model is fitted to; rows of `change` belong to the first rows of `baseline`.

    Parameters
    ----------
    change : ResidualisedFeatures
        Follow-up minus baseline; NaN where a feature is missing.
    baseline : ResidualisedFeatures
        Baseline of the same people, then of patients without follow-up.
    strong : ResidualisedFeatures
        sinh(2z)/2 of the baseline; 0 for features that are not Fisher z.
    reference : ResidualisedFeatures
        Healthy people; no rows when there is no reference group.
    background : ndarray of bool, shape (n_features,)
        Features in no hypothesised circuit.
    circuits : mapping of str to ndarray of int
        Positions of the features of each circuit.
    features : FeatureSpace
        What the columns are.
    fixed : tuple of str
        Names of the fixed columns: ``shift`` and ``distance``.
    basis : ndarray, shape (n_fixed, n_features)
        The fixed columns.
    remove : callable
        Regresses the fixed columns out of further arrays, shape (n, n_features).
    """

    change: ResidualisedFeatures
    baseline: ResidualisedFeatures
    strong: ResidualisedFeatures
    reference: ResidualisedFeatures
    background: Bools
    circuits: Mapping[str, npt.NDArray[np.intp]]
    features: FeatureSpace
    fixed: tuple[str, ...]
    basis: Floats
    remove: Callable[..., ResidualisedFeatures]

    @classmethod
    def from_values(
        cls,
        *,
        change: Floats,
        baseline: Floats,
        circuits: Mapping[str, npt.NDArray[np.intp]],
        features: FeatureSpace,
        reference: Floats | None = None,
        baseline_only: Floats | None = None,
        background: Background = "all",
    ) -> "CentredFeatures":
        """Build from the values of features.

        Parameters
        ----------
        change, baseline : ndarray, shape (n_people, n_features)
        circuits : mapping of str to ndarray of int
            Their union is kept out of the background.
        features : FeatureSpace
            What the columns are; it gives the length of edges, where all lengths are known.
        reference : ndarray, shape (n_reference, n_features), optional
        baseline_only : ndarray, shape (n_more, n_features), optional
            Patients who did not come back: they sharpen the means.
        background : {"all", "disjoint", "matched"}
            All features in no circuit; those that share no region with a circuit; or those
            whose strength and length are distributed as the circuits'.

        Returns
        -------
        CentredFeatures

        Raises
        ------
        DesignError
            If fewer than four people or 20 background features are there, or arrays or circuits
            do not fit the features.
        """
        n_features = features.n_features
        features.check_shape("baseline", baseline)
        features.check_positions(circuits)
        pool = baseline if baseline_only is None else np.vstack([baseline, baseline_only])
        healthy = np.empty((0, n_features)) if reference is None else reference
        length = None if features.reason_to_omit("distance") else features.length_mm
        rest = _background(background, circuits, (pool, healthy), features)
        if len(baseline) < MIN_OTHERS + 1:
            raise DesignError(
                f"{len(baseline)} {'person has' if len(baseline) == 1 else 'people have'} both "
                f"visits; the model needs at least {MIN_OTHERS + 1}"
            )
        if rest.sum() < MIN_FEATURES:
            raise DesignError(
                f"the circuits leave {rest.sum()} background {features.plural}; name fewer "
                "circuits under [hypotheses] of the study file or take a finer atlas"
            )
        basis = np.ones((1, n_features))
        if length is not None:
            basis = np.array([basis[0], length - length[rest].mean()])
        common = rest & available_in_all(change, pool, healthy)
        remove = partial(
            _without_fixed,
            basis=basis,
            # the same features for all: a participant who lacks strong ones would otherwise
            # have another intercept
            over=common if common.sum() >= max(MIN_FEATURES, MIN_AVAILABLE * rest.sum()) else rest,
        )
        return cls(
            change=remove(change),
            baseline=remove(pool),
            strong=remove(pool, scale=_strong if features.is_fisher_z else np.zeros_like),
            reference=remove(healthy),
            background=rest,
            circuits=dict(circuits),
            features=features,
            fixed=("shift", "distance")[: len(basis)],
            basis=basis,
            remove=remove,
        )


def _background(
    kind: str,
    circuits: Mapping[str, npt.NDArray[np.intp]],
    groups: tuple[Floats, ...],
    features: FeatureSpace,
) -> Bools:
    """Choose the features that define the global law."""
    inside = np.zeros(features.n_features, bool)
    for positions in circuits.values():
        inside[positions] = True
    if kind == "all":
        return ~inside
    if kind == "disjoint":
        return np.asarray(~features.sharing_regions(inside))
    all_participants = (
        participants[few] for participants in groups for few in blocks(len(participants))
    )
    length = None if features.reason_to_omit("distance") else features.length_mm
    return _matched(inside, column_mean(all_participants, unknown=0.0), length)


def _strong(z: Floats) -> Floats:
    """Return how Fisher z moves with signal-to-noise: sinh(2z)/2."""
    return np.asarray(np.sinh(2 * np.clip(z, -3.0, 3.0)) / 2)


def _matched(inside: Bools, strength: Floats, length: Floats | None) -> Bools:
    """Keep background features so that strength and length have the circuits' distribution.

    Within cells of strength (six quantiles of the circuits' features) and length (four), the same
    fraction of features is kept as the circuits have, the largest common multiple. The choice is
    not random: the kept features are spread evenly over their order.
    """
    within = (strength >= strength[inside].min()) & (strength <= strength[inside].max())
    cell = _bins(strength, inside, 6)
    if length is not None:
        cell = cell * 4 + _bins(length, inside, 4)
    n_cells = int(cell.max()) + 1
    wanted = np.bincount(cell[inside], minlength=n_cells)
    outside = within & ~inside
    there = np.bincount(cell[outside], minlength=n_cells)
    asked = (wanted > 0) & (there > 0)
    times = np.median(there[asked] / wanted[asked]) if asked.any() else 0.0
    keep = np.zeros(inside.size, bool)
    for k in np.flatnonzero(asked):
        candidates = np.flatnonzero((cell == k) & outside)
        count = min(len(candidates), max(1, round(float(times * wanted[k]))))
        keep[candidates[np.linspace(0, len(candidates) - 1, count).round().astype(int)]] = True
    return keep


def _bins(values: Floats, inside: Bools, n: int) -> npt.NDArray[np.intp]:
    cuts = np.quantile(values[inside], np.linspace(0, 1, n + 1)[1:-1])
    return np.asarray(np.searchsorted(cuts, values), np.intp)


def _without_fixed(
    values: Floats,
    *,
    basis: Floats,
    over: Bools,
    scale: Callable[[Floats], Floats] | None = None,
) -> ResidualisedFeatures:
    """Fit the fixed columns to the available features of each row among `over`."""
    coefficients = np.zeros((len(values), len(basis)))
    whole = np.linalg.pinv(basis[:, over] @ basis[:, over].T)
    for row, given in enumerate(values):  # one by one: copies of all would be large
        scaled = given if scale is None else scale(given)
        mask = np.isfinite(scaled) & over
        rhs = basis[:, mask] @ scaled[mask]
        complete = mask.sum() == over.sum()
        normal = whole if complete else np.linalg.pinv(basis[:, mask] @ basis[:, mask].T)
        coefficients[row] = normal @ rhs
    return ResidualisedFeatures(values, coefficients, basis, scale)
