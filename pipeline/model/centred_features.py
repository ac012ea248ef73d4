"""Features of all participants, with the fixed columns of the global model regressed out.

The values of all participants are held once, as they were measured. The fixed columns are regressed
out of a block of participants whenever that block is needed, because a second copy of the edges of
two thousand participants would not fit into memory.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.records import Background
from circuitshift.pipeline.stats.global_signal import global_signal_effect, global_signal_share
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
_HELD = 64  # participants whose scaled values are kept in memory


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
        Function of each participant's values that is applied first.
    held : ndarray, shape (n_participants, n_features), optional
        Result of `scale`, kept where the participants are few.
    """

    values: Floats
    fixed: Floats
    basis: Floats
    scale: Callable[[Floats], Floats] | None = None
    held: Floats | None = None

    def __len__(self) -> int:
        """Return the number of participants."""
        return len(self.values)

    def __getitem__(self, block: slice | npt.NDArray[np.intp]) -> Residuals:
        """Return the residuals of a block of participants."""
        values = self.values[block] if self.held is None else self.held[block]
        if self.scale is not None and self.held is None:
            values = self.scale(values)
        fixed = self.fixed[block]
        predicted = fixed @ self.basis
        return Residuals(np.subtract(values, predicted, out=predicted), fixed)

    def first(self, n: int) -> "ResidualisedFeatures":
        """Return the first participants.

        Parameters
        ----------
        n : int
            Number of participants.

        Returns
        -------
        ResidualisedFeatures
            Features of these participants, not copied.
        """
        held = None if self.held is None else self.held[:n]
        return replace(self, values=self.values[:n], fixed=self.fixed[:n], held=held)

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
    signal : ResidualisedFeatures or None
        Effect of a larger global signal on each feature, from the baseline
        (`circuitshift.pipeline.stats.global_signal.global_signal_effect`); None if it is withheld.
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
    withheld : mapping of str to str
        Global terms that cannot be estimated from the values, with the reason, a clause without a
        full stop.
    without : mapping of str to str
        Global terms that are not part of the model by request (`excluding`), with the reason.
    """

    change: ResidualisedFeatures
    baseline: ResidualisedFeatures
    strong: ResidualisedFeatures
    signal: ResidualisedFeatures | None
    reference: ResidualisedFeatures
    background: Bools
    circuits: Mapping[str, npt.NDArray[np.intp]]
    blocks: Mapping[str, npt.NDArray[np.intp]]
    features: FeatureSpace
    fixed: tuple[str, ...]
    basis: Floats
    remove: Callable[..., ResidualisedFeatures]
    withheld: Mapping[str, str] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)

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
            from the blocks, and blocks without a background feature are omitted. Blocks share no
            features.

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
        length = features.known_length_mm
        basis = np.ones((1, n_features))
        if length is not None and np.ptp(length[outside]) > 0:
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
        withheld = _no_signal(pool, features)
        has_signal = not (withheld or features.reason_to_omit("global signal"))
        return cls(
            change=remove(change),
            baseline=remove(pool),
            strong=remove(pool, scale=_strong if features.is_fisher_z else np.zeros_like),
            signal=remove(pool, scale=global_signal_effect) if has_signal else None,
            reference=remove(healthy),
            background=outside,
            circuits=dict(circuits),
            blocks=_within_background(blocks or {}, outside),
            features=features,
            fixed=("shift", "distance")[: len(basis)],
            basis=basis,
            remove=remove,
            withheld=withheld,
        )

    def excluding(self, terms: Mapping[str, str]) -> "CentredFeatures":
        """Exclude global terms from the model.

        Parameters
        ----------
        terms : mapping of str to str
            Terms, ``gain`` or ``global_signal``, with the reason, a clause without a full stop.

        Returns
        -------
        CentredFeatures
            The same features. An excluded term is not reported as withheld.

        Raises
        ------
        DesignError
            If another term is named.
        """
        unknown = sorted(set(terms) - {"gain", "global_signal"})
        if unknown:
            raise DesignError(
                f"{', '.join(unknown)} cannot be excluded from the global model; the terms that "
                "can be excluded are gain and global_signal"
            )
        return replace(
            self,
            signal=None if "global_signal" in terms else self.signal,
            without={**self.without, **terms},
            withheld={k: reason for k, reason in self.withheld.items() if k not in terms},
        )

    def columns(self) -> dict[str, ResidualisedFeatures]:
        """Return what each patient contributes to the columns of the global model.

        Returns
        -------
        dict of str to ResidualisedFeatures
            ``m``: baseline; ``h``: sinh(2z)/2, for Fisher z only and not within blocks; ``w``:
            effect of a larger global signal, unless it is withheld.
        """
        columns = {"m": self.baseline}
        if not self.features.reason_to_omit("curvature") and "curvature" not in self.without:
            columns["h"] = self.strong
        if self.signal is not None:
            columns["w"] = self.signal
        return columns

    def within_blocks(self) -> "CentredFeatures":
        """Restrict the background to the blocks, and centre each block of each participant.

        Returns
        -------
        CentredFeatures
            The same participants. Slopes that are fitted to these features describe differences
            between features of the same block, so that blocks which change by different amounts
            do not contribute to them. There is no fixed column for the shift, and no curvature.

        Raises
        ------
        DesignError
            If there are no blocks.
        """
        if not self.blocks:
            raise DesignError("slopes within blocks need blocks; give `blocks` to from_values")
        block = np.full(self.features.n_features, -1)
        for k, positions in enumerate(self.blocks.values()):
            block[positions] = k
        inside = block >= 0
        groups = (self.change.values, self.baseline.values, self.reference.values)
        common = inside & available_in_all(*groups)
        if common.sum() >= max(MIN_FEATURES, MIN_AVAILABLE * inside.sum()):
            inside = common
        block = np.where(inside, block, -1)
        basis = _centred_by_block(self.basis[1:], block=block)
        remove = partial(_without_fixed, basis=basis, over=inside)

        def centred(features: ResidualisedFeatures) -> ResidualisedFeatures:
            if features.held is not None:
                return remove(features.held, scale=partial(_centred_by_block, block=block))
            scale = partial(_centred_by_block, block=block, first=features.scale)
            return remove(features.values, scale=scale)

        return replace(
            self,
            change=centred(self.change),
            baseline=centred(self.baseline),
            strong=self.strong,
            signal=None if self.signal is None else centred(self.signal),
            reference=centred(self.reference),
            background=inside,
            circuits={},
            blocks={},
            fixed=self.fixed[1:],
            basis=basis,
            remove=remove,
            without={**self.without, "curvature": "it serves the prediction of circuits only"},
        )


def _centred_by_block(
    values: Floats,
    *,
    block: npt.NDArray[np.intp],
    first: Callable[[Floats], Floats] | None = None,
) -> Floats:
    """Subtract the mean of each row's available features of each block; 0 outside the blocks."""
    values = values if first is None else first(values)
    order = np.argsort(block, kind="stable")
    order = order[block[order] >= 0]
    starts = np.flatnonzero(np.r_[True, np.diff(block[order]) > 0]) if len(order) else order
    sorted_values = values[:, order]
    available = np.isfinite(sorted_values)
    if len(order):
        filled = np.where(available, sorted_values, 0.0)
        count = np.add.reduceat(available, starts, axis=1, dtype=float)
        mean = np.add.reduceat(filled, starts, axis=1) / np.maximum(count, 1.0)
        sorted_values -= np.repeat(mean, np.diff(np.r_[starts, len(order)]), axis=1)
    out = np.zeros_like(values)
    out[:, order] = sorted_values
    return out


def _no_signal(pool: Floats, features: FeatureSpace) -> dict[str, str]:
    """Return why the amplitude of the global signal cannot be estimated from the baselines."""
    if features.reason_to_omit("global signal"):
        return {}
    shares = np.concatenate([global_signal_share(pool[block]) for block in blocks_of(len(pool))])
    shares = shares[np.isfinite(shares)]
    if len(shares) and np.median(shares) > 1:
        return {}
    return {
        "global_signal": "the mean of all regions varies no more than that of independent regions, "
        "as after regression of the global signal"
    }


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
    strength = column_mean(all_participants, unknown=0.0)
    return _matched(inside, strength, features.known_length_mm)


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
    # few participants: values are kept, because the effect of the global signal is slow to compute
    held = None if scale is None or len(values) > _HELD else np.empty(values.shape)
    inside = basis * over
    products = (inside[:, None] * basis[None]).reshape(-1, basis.shape[1])
    for block in blocks_of(len(values)):
        scaled = values[block] if scale is None else scale(values[block])
        if held is not None:
            held[block] = scaled
        available = np.isfinite(scaled)
        filled = scaled if available.all() else np.where(available, scaled, 0.0)
        rhs = filled @ inside.T
        complete = available[:, over].all(axis=1)
        if complete.any():
            coefficients[block][complete] = rhs[complete] @ np.linalg.pinv(inside @ basis.T)
        if not complete.all():
            incomplete = available[~complete].astype(float)
            gram = (incomplete @ products.T).reshape(len(incomplete), len(basis), len(basis))
            solved = np.linalg.pinv(gram, hermitian=True) @ rhs[~complete][..., None]
            coefficients[block][~complete] = solved[..., 0]
    return ResidualisedFeatures(values, coefficients, basis, scale, held)
