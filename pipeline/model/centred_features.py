"""Features of all participants, with the fixed columns of the global model regressed out.

The values of all participants are held once, as they were measured. The fixed columns are regressed
out of a block of participants whenever that block is needed, because a second copy of the edges of
two thousand participants would not fit into memory.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.records import Background
from circuitshift.pipeline.stats.missing_values import available_in_all, column_mean
from circuitshift.pipeline.stats.missing_values import blocks as blocks_of

__all__ = [
    "MIN_AVAILABLE",
    "MIN_FEATURES",
    "MIN_OTHERS",
    "CentredFeatures",
    "ResidualisedFeatures",
    "Residuals",
]


MIN_OTHERS = 3  # participants needed for a mean with pairwise moments
MIN_FEATURES = 20  # background features needed for a fit of at most five terms
MIN_AVAILABLE = 0.25  # share of the background that must be available in a participant


class Residuals(NamedTuple):
    """Hold features from which the fixed columns (1 and, for edges, the length) are removed.

    Parameters
    ----------
    residual : ndarray, shape (n_participants, n_features)
        Values minus the prediction of the fixed columns, which are fitted to background features.
    fixed : ndarray, shape (n_participants, n_fixed)
        Coefficients of the fixed columns, in the order of `CentredFeatures.fixed`.
    """

    residual: Floats
    fixed: Floats


@dataclass(frozen=True, slots=True)
class ResidualisedFeatures:
    """Regress the fixed columns out of the features of participants when they are read.

    The fixed columns are regressed out of each participant rather than out of means, so that noise
    that all features of a participant share does not enter products of estimates.

    Parameters
    ----------
    values : ndarray, shape (n_participants, n_features)
        Measured values; not copied.
    fixed : ndarray, shape (n_participants, n_fixed)
        Coefficients of the fixed columns for each participant.
    basis : ndarray, shape (n_fixed, n_features)
        Fixed columns.
    scale : callable, optional
        Elementwise function that is applied to the values first.
    """

    values: Floats
    fixed: Floats
    basis: Floats
    scale: Callable[[Floats], Floats] | None = None

    def __len__(self) -> int:
        """Return the number of participants."""
        return len(self.values)

    def __getitem__(self, block: slice) -> Residuals:
        """Return the residuals of a block of participants."""
        values = self.values[block]
        values = values if self.scale is None else self.scale(values)
        fixed = self.fixed[block]
        return Residuals(values - fixed @ self.basis, fixed)

    def blocks(self) -> Iterator[Residuals]:
        """Yield the residuals of all participants in blocks that bound memory."""
        return (self[block] for block in blocks_of(len(self)))


@dataclass(frozen=True, slots=True)
class CentredFeatures:
    """Hold the features to which the global model is fitted.

    The rows of `change` are the same participants as the first rows of `baseline`.

    Parameters
    ----------
    change : ResidualisedFeatures
        Follow-up minus baseline; NaN where a feature is missing.
    baseline : ResidualisedFeatures
        Baseline of the same participants, followed by that of patients without follow-up.
    strong : ResidualisedFeatures
        sinh(2z)/2 of the baseline; 0 for features that are not Fisher z.
    reference : ResidualisedFeatures
        Features of the reference participants; no rows when there is no reference group.
    background : ndarray of bool, shape (n_features,)
        Features to which the global model is fitted; none belongs to a hypothesised circuit.
    circuits : mapping of str to ndarray of int
        Positions of the features of each circuit.
    blocks : mapping of str to ndarray of int
        Positions of the background features of each block, such as a pair of networks.
    features : FeatureSpace
        Feature space of the columns.
    fixed : tuple of str
        Names of the fixed columns: ``shift`` and, where edge lengths are available, ``distance``.
    basis : ndarray, shape (n_fixed, n_features)
        Fixed columns.
    remove : callable
        Function that regresses the fixed columns out of an array of shape (n, n_features), and
        returns `ResidualisedFeatures`.
    """

    change: ResidualisedFeatures
    baseline: ResidualisedFeatures
    strong: ResidualisedFeatures
    reference: ResidualisedFeatures
    background: Bools
    circuits: Mapping[str, npt.NDArray[np.intp]]
    blocks: Mapping[str, npt.NDArray[np.intp]]
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
        blocks: Mapping[str, npt.NDArray[np.intp]] | None = None,
    ) -> "CentredFeatures":
        """Build the features of the model from measured values.

        Parameters
        ----------
        change, baseline : ndarray, shape (n_participants, n_features)
            Change and baseline of the same participants; NaN where a feature is missing.
        circuits : mapping of str to ndarray of int
            Positions of the features of each circuit, which are excluded from the background.
        features : FeatureSpace
            Feature space of the columns; it provides edge lengths where they are available.
        reference : ndarray, shape (n_reference, n_features), optional
            Features of the reference participants.
        baseline_only : ndarray, shape (n_baseline_only, n_features), optional
            Baseline of patients without follow-up, which makes the means more precise.
        background : {"all", "disjoint", "matched"}
            Background features: all features that belong to no circuit; only those that also share
            no region with a circuit; or only those whose strength and length have the distribution
            of the circuits.
        blocks : mapping of str to ndarray of int, optional
            Positions of the features of each block. Features outside the background are removed
            from the blocks, and blocks without a background feature are omitted.

        Returns
        -------
        CentredFeatures
            Features with the fixed columns regressed out.

        Raises
        ------
        DesignError
            If there are fewer than four participants or 20 background features, or if arrays or
            circuits do not match the features.
        """
        n_features = features.n_features
        features.check_shape("baseline", baseline)
        features.check_positions(circuits)
        features.check_positions(blocks or {})
        pool = baseline if baseline_only is None else np.vstack([baseline, baseline_only])
        healthy = np.empty((0, n_features)) if reference is None else reference
        length = None if features.reason_to_omit("distance") else features.length_mm
        outside = _background(background, circuits, (pool, healthy), features)
        if len(baseline) < MIN_OTHERS + 1:
            raise DesignError(
                f"{len(baseline)} participant{' has' if len(baseline) == 1 else 's have'} both "
                f"visits; the model needs at least {MIN_OTHERS + 1}"
            )
        if outside.sum() < MIN_FEATURES:
            raise DesignError(
                f"the circuits leave {outside.sum()} background {features.plural}; the model needs "
                f"at least {MIN_FEATURES}. Name fewer circuits under [hypotheses] of the study "
                "file, or use a finer atlas"
            )
        basis = np.ones((1, n_features))
        if length is not None:
            basis = np.array([basis[0], length - length[outside].mean()])
        common = outside & available_in_all(change, pool, healthy)
        n_required = max(MIN_FEATURES, MIN_AVAILABLE * outside.sum())
        remove = partial(
            _without_fixed,
            basis=basis,
            # The same features are used for all participants, because participants in whom strong
            # features are missing would otherwise have another intercept.
            over=common if common.sum() >= n_required else outside,
        )
        return cls(
            change=remove(change),
            baseline=remove(pool),
            strong=remove(pool, scale=_strong if features.is_fisher_z else np.zeros_like),
            reference=remove(healthy),
            background=outside,
            circuits=dict(circuits),
            blocks=_within_background(blocks or {}, outside),
            features=features,
            fixed=("shift", "distance")[: len(basis)],
            basis=basis,
            remove=remove,
        )

    def within_blocks(self) -> "CentredFeatures":
        """Restrict the background to the blocks, with a fixed column for each block.

        Returns
        -------
        CentredFeatures
            The same participants. Slopes that are fitted to these features describe differences
            between features of the same block, so that blocks which change by different amounts
            do not contribute to them. The first fixed columns are those of the blocks.

        Raises
        ------
        DesignError
            If there are no blocks.
        """
        if not self.blocks:
            raise DesignError("slopes within blocks need blocks; give `blocks` to from_values")
        indicators = np.zeros((len(self.blocks), self.features.n_features))
        inside = np.zeros(self.features.n_features, bool)
        for row, positions in zip(indicators, self.blocks.values(), strict=True):
            row[positions] = 1.0
            inside[positions] = True
        groups = (self.change.values, self.baseline.values, self.reference.values)
        common = inside & available_in_all(*groups)
        n_required = max(MIN_FEATURES, MIN_AVAILABLE * inside.sum())
        basis = np.vstack([indicators, self.basis[1:]])
        remove = partial(
            _without_fixed, basis=basis, over=common if common.sum() >= n_required else inside
        )
        return replace(
            self,
            change=remove(self.change.values),
            baseline=remove(self.baseline.values),
            strong=remove(self.strong.values, scale=self.strong.scale),
            reference=remove(self.reference.values),
            background=inside,
            circuits={},
            blocks={},
            fixed=(*self.blocks, *self.fixed[1:]),
            basis=basis,
            remove=remove,
        )


def _within_background(
    blocks: Mapping[str, npt.NDArray[np.intp]], background: Bools
) -> dict[str, npt.NDArray[np.intp]]:
    """Remove features outside the background from blocks, and blocks that become empty."""
    inside = {name: positions[background[positions]] for name, positions in blocks.items()}
    return {name: positions for name, positions in inside.items() if len(positions)}


def _background(
    kind: str,
    circuits: Mapping[str, npt.NDArray[np.intp]],
    groups: tuple[Floats, ...],
    features: FeatureSpace,
) -> Bools:
    """Choose the features to which the global model is fitted."""
    inside = np.zeros(features.n_features, bool)
    for positions in circuits.values():
        inside[positions] = True
    if kind == "all":
        return ~inside
    if kind == "disjoint":
        return np.asarray(~features.sharing_regions(inside))
    all_participants = (
        participants[block] for participants in groups for block in blocks_of(len(participants))
    )
    length = None if features.reason_to_omit("distance") else features.length_mm
    return _matched(inside, column_mean(all_participants, unknown=0.0), length)


def _strong(z: Floats) -> Floats:
    """Compute sinh(2z)/2, the derivative of Fisher z with respect to signal-to-noise.

    For r' = k r and z = atanh(r), dz/dk = r / (1 - r^2) = sinh(2z)/2 at k = 1. Values of z are
    limited to 3 (r = .995), because the derivative grows without bound.
    """
    return np.asarray(np.sinh(2 * np.clip(z, -3.0, 3.0)) / 2)


def _matched(inside: Bools, strength: Floats, length: Floats | None) -> Bools:
    """Select background features with the strength and length of the circuits' features.

    Candidates lie within the range of strength of the circuits' features. They are divided into
    cells by strength (six quantiles of the circuits' features) and length (four quantiles). In each
    cell, the number of selected features is that of the circuits' features times a factor common
    to all cells (the median over cells of available to required features), or all candidates where
    there are fewer. The selection is deterministic: selected features are spread evenly over their
    order.
    """
    within = (strength >= strength[inside].min()) & (strength <= strength[inside].max())
    cell = _bins(strength, inside, 6)
    if length is not None:
        cell = cell * 4 + _bins(length, inside, 4)
    n_cells = int(cell.max()) + 1
    required = np.bincount(cell[inside], minlength=n_cells)
    outside = within & ~inside
    available = np.bincount(cell[outside], minlength=n_cells)
    shared = (required > 0) & (available > 0)
    factor = np.median(available[shared] / required[shared]) if shared.any() else 0.0
    selected = np.zeros(inside.size, bool)
    for k in np.flatnonzero(shared):
        candidates = np.flatnonzero((cell == k) & outside)
        count = min(len(candidates), max(1, round(float(factor * required[k]))))
        selected[candidates[np.linspace(0, len(candidates) - 1, count).round().astype(int)]] = True
    return selected


def _bins(values: Floats, inside: Bools, n: int) -> npt.NDArray[np.intp]:
    """Return the bin of each value among `n` quantiles of the values inside the circuits."""
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
    inverse_of_all = np.linalg.pinv(basis[:, over] @ basis[:, over].T)
    for row, measured in enumerate(values):  # one row at a time, to bound memory
        scaled = measured if scale is None else scale(measured)
        mask = np.isfinite(scaled) & over
        rhs = basis[:, mask] @ scaled[mask]
        complete = mask.sum() == over.sum()
        inverse = inverse_of_all if complete else np.linalg.pinv(basis[:, mask] @ basis[:, mask].T)
        coefficients[row] = inverse @ rhs
    return ResidualisedFeatures(values, coefficients, basis, scale)
