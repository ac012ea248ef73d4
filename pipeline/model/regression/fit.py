"""The estimators of the global model, as linear functions of the features of participants."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.model.centred_features import (
    MIN_AVAILABLE,
    MIN_FEATURES,
    CentredFeatures,
    ResidualisedFeatures,
    Residuals,
)
from circuitshift.pipeline.model.regional_terms import RegionalTerms
from circuitshift.pipeline.model.regression.columns import Columns, choose_columns
from circuitshift.pipeline.model.regression.equations import Equations, Frame, Group
from circuitshift.pipeline.model.regression.sums import (
    Healthy,
    Own,
    Parts,
    PatientSums,
    Rows,
    chunks,
    own_columns,
)
from circuitshift.pipeline.stats.missing_values import column_mean

__all__ = ["AVERAGE", "PROPORTIONAL", "SLOPES", "Fit", "Responses"]

#: Terms of the model without w: the average change of the background, and its slope on m.
AVERAGE, PROPORTIONAL = "average_change", "proportional_change"

#: Order of the slopes of the full model.
SLOPES = ("m", "h", "d", "w")
_TERM = {"m": "gain", "d": "normalisation", "w": "global_signal"}

# Alternations between the global model and the regional terms: the first leaves about a tenth of
# the difference from their joint fit, the third about .04.
_ALTERNATIONS = 3


@dataclass(frozen=True, slots=True)
class Responses:
    """Hold the estimates of several participants.

    Parameters
    ----------
    terms : ndarray, shape (n_participants, n_terms)
        Global terms.
    slopes : ndarray, shape (n_participants, 4)
        Coefficients of the columns `SLOPES` in the full model; 0 where a column is absent.
    parts : ndarray, shape (n_participants, n_parts)
        Change of each circuit and block beyond the prediction of the full model.
    """

    terms: Floats
    slopes: Floats
    parts: Floats


@dataclass(frozen=True, slots=True)
class Fit:
    """Estimate global terms, and the change of circuits and blocks beyond them.

    Parameters
    ----------
    sample : CentredFeatures
        Features of the study.
    frame : Frame
        Sums over participants and positions of the parts.
    group : Group
        Features that are available in the mean of all participants.
    pooled : Equations
        Equations with the columns of all participants.
    columns : Columns
        Columns of both fits.
    node_adjusted : bool
        Whether regional terms are removed from circuits and blocks.
    """

    sample: CentredFeatures
    frame: Frame
    group: Group
    pooled: Equations
    columns: Columns
    node_adjusted: bool = False

    @classmethod
    def of(
        cls, sample: CentredFeatures, *, with_deviation: bool, node_adjusted: bool = False
    ) -> "Fit":
        """Prepare the fit.

        Parameters
        ----------
        sample : CentredFeatures
            Features of the study.
        with_deviation : bool
            Whether the deviation from the reference group is a column.
        node_adjusted : bool
            Whether regional terms are removed from circuits and blocks.

        Returns
        -------
        Fit
            Estimators of the study.
        """
        frame = Frame(
            sums=PatientSums.of(sample),
            healthy=Healthy.of(sample.reference) if with_deviation else None,
            background=sample.background,
            basis=sample.basis,
            # circuits and blocks can have the same names
            parts=Parts((*sample.circuits.values(), *sample.blocks.values())),
        )
        n_features = sample.background.size
        group = Group.of(frame, np.ones(n_features, bool))
        nothing = Residuals(np.zeros((1, n_features)), np.zeros((1, len(sample.basis))))
        pooled = group.equations(nothing)
        columns = choose_columns(sample, group, pooled)
        return cls(sample, frame, group, pooled, columns, node_adjusted)

    @property
    def has_shift(self) -> bool:
        """Whether a shift is among the fixed columns."""
        return self.sample.fixed[:1] == ("shift",)

    @property
    def terms(self) -> tuple[str, ...]:
        """Global terms, in the order of the coefficients."""
        fixed, n = self.sample.fixed, int(self.has_shift)
        slopes = tuple(_TERM[name] for name in self._ordered)
        return (*fixed[:n], *slopes, *self.totals, *fixed[n:])

    @property
    def totals(self) -> tuple[str, ...]:
        """Terms of the model without w, if w is a column.

        The columns 1, m and w are similar. The average change contains shift and amplitude of the
        global signal, and the proportional change contains gain and amplitude. Both are known more
        precisely than the laws are distinguished.
        """
        if "w" not in self.columns.for_terms:
            return ()
        has_gain = "m" in self.columns.for_terms
        return (AVERAGE,) * self.has_shift + (PROPORTIONAL,) * has_gain

    @property
    def _ordered(self) -> tuple[str, ...]:
        return tuple(name for name in ("m", "d", "w") if name in self.columns.for_terms)

    def respond(
        self, values: ResidualisedFeatures, owner: npt.NDArray[np.intp] | None = None
    ) -> Responses:
        """Estimate the terms of participants, without their own part in the columns.

        Parameters
        ----------
        values : ResidualisedFeatures
            Values of visits or changes.
        owner : ndarray of int, shape (n_rows,), optional
            Row of the baseline of the same participant; -1 for participants without a baseline.
            Default: the rows of `values` are the first rows of the baseline.

        Returns
        -------
        Responses
            Estimates; NaN for rows with fewer than 20 background features or a quarter of them.
        """
        n = len(values)
        owner = np.arange(n) if owner is None else owner
        terms, slopes = np.full((n, len(self.terms)), np.nan), np.zeros((n, len(SLOPES)))
        parts = np.full((n, len(self.frame.parts)), np.nan)
        needed = max(MIN_FEATURES, MIN_AVAILABLE * self.sample.background.sum())
        for rows in chunks(n, self.sample.background.size):
            measured = values[rows]
            valid = np.isfinite(measured.residual)
            own = _of_owners(self.sample, owner[rows])
            for at in _alike(valid, own.available):
                row = 0 if isinstance(at, slice) else int(at[0])
                group = Group.of(self.frame, valid[row], own.available[row])
                if group.used.sum() < needed:
                    continue
                found = self._estimate(group, _filled(measured, at), own.of(at))
                to = np.arange(n)[rows][at]
                terms[to], slopes[to], parts[to] = found.terms, found.slopes, found.parts
        return Responses(terms, slopes, parts)

    def influence(self, participants: ResidualisedFeatures | None) -> Floats:
        """Apply the estimators to each participant's deviation from the mean of the group.

        Parameters
        ----------
        participants : ResidualisedFeatures or None
            Values of the participants.

        Returns
        -------
        ndarray, shape (n_participants, n_terms + n_parts)
            Estimates of the deviations; 0 where a circuit is missing.
        """
        n_columns = len(self.terms) + len(self.frame.parts)
        n = 0 if participants is None else len(participants)
        out = np.zeros((n, n_columns))
        if participants is None or not n:
            return out
        mean = column_mean((block.residual for block in participants.blocks()), unknown=0.0)
        centre = participants.fixed.mean(axis=0)
        for rows in chunks(n, mean.size):
            values, fixed = participants[rows]
            part = np.where(np.isfinite(values), values - mean, 0.0)
            found = self._estimate(self.group, Residuals(part, fixed - centre), None)
            out[rows] = np.hstack([found.terms, np.nan_to_num(found.parts)])
        return out

    def of_blocks(self) -> Floats:
        """Apply the estimators to a change of 1 in all features of one block and 0 elsewhere.

        Returns
        -------
        ndarray, shape (n_blocks, n_terms + n_parts)
            Estimates for a change of each block of the sample.
        """
        blocks = self.sample.blocks
        values = np.zeros((len(blocks), self.sample.background.size))
        for row, positions in enumerate(blocks.values()):
            values[row, positions] = 1.0
        changes = self.sample.remove(values)[slice(None)]
        found = self._estimate(self.group, changes, None)
        return np.hstack([found.terms, np.nan_to_num(found.parts)])

    def _estimate(self, group: Group, values: Residuals, own: Own | None) -> Responses:
        equations = group.equations(values, own)
        beta, rest = equations.take(self.columns.for_parts).solve()
        names = self.columns.for_parts
        if self.node_adjusted:
            adjusted = _Adjusted(self, group, equations.take(names), values)
            beta, parts = adjusted.estimate(own, (beta, rest))
        else:
            parts = equations.take(names).beyond(beta, rest)
        slopes = np.zeros((len(beta), len(SLOPES)))
        slopes[:, [SLOPES.index(name) for name in names]] = beta
        return Responses(self._terms(equations), slopes, parts)

    def _terms(self, equations: Equations) -> Floats:
        """Estimate the global terms."""
        n = int(self.has_shift)
        fixed, beta = self._fixed_and_slopes(equations, self._ordered)
        totals = np.empty((len(fixed), 0))
        if self.totals:
            without_w = tuple(name for name in self._ordered if name != "w")
            other_fixed, other = self._fixed_and_slopes(equations, without_w)
            slope = other[:, : int(PROPORTIONAL in self.totals)]
            totals = np.hstack([other_fixed[:, :n], slope])
        return np.hstack([fixed[:, :n], beta, totals, fixed[:, n:]])

    def _fixed_and_slopes(
        self, equations: Equations, names: tuple[str, ...]
    ) -> tuple[Floats, Floats]:
        """Estimate fixed coefficients and slopes; the shift is that at average strength."""
        chosen = equations.take(names)
        beta, rest = chosen.solve()
        offsets = chosen.offsets
        if "m" in names and self.has_shift:
            # m is centred and the others are not, so that only their means change the shift
            offsets = offsets.copy()
            offsets[:, names.index("m"), 0] = 0.0
        fixed = equations.fixed + rest - (beta[:, None, :] @ offsets)[:, 0]
        return np.asarray(fixed), beta


@dataclass(frozen=True, slots=True)
class _Adjusted:
    """Estimates beyond the global model and regional terms, by alternate fits (backfitting).

    The alternation approaches their joint least-squares fit (Buja, Hastie & Tibshirani 1989,
    doi:10.1214/aos/1176347115).
    """

    fit: Fit
    group: Group
    equations: Equations
    values: Residuals

    def estimate(self, own: Own | None, start: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        """Estimate the slopes, and the change of circuits and blocks."""
        if own is None:  # one alternation is accurate enough for the influence on a variance
            return self._alternate(self.group.columns(), start, times=1)
        rows = [
            self._row(i)._alternate(
                self.group.columns(own.columns[i]),
                (start[0][i : i + 1], start[1][i : i + 1]),
                times=_ALTERNATIONS,
            )
            for i in range(len(start[0]))
        ]
        return np.vstack([beta for beta, _ in rows]), np.vstack([parts for _, parts in rows])

    def _row(self, i: int) -> "_Adjusted":
        """Return the equations and values of one participant."""
        at, e = slice(i, i + 1), self.equations
        equations = replace(
            e,
            moments=e.moments[at],
            cross=e.cross[at],
            column_means=e.column_means[at],
            value_means=e.value_means[at],
        )
        values = Residuals(self.values.residual[at], self.values.fixed[at])
        return _Adjusted(self.fit, self.group, equations, values)

    def _alternate(
        self, columns: Floats, start: tuple[Floats, Floats], *, times: int
    ) -> tuple[Floats, Floats]:
        """Alternate for participants with the same columns."""
        names, used = self.equations.names, self.group.used
        columns = columns[[self.group.frame.names.index(name) for name in names]]
        strength = columns[names.index("m")] if "m" in names else np.zeros(used.size)
        terms = RegionalTerms.of(strength, used, self.fit.sample.features)
        both = np.vstack([columns, self.fit.sample.basis])
        inverse, edges, coefficients = (
            self.equations.inverse(),
            self.values.residual,
            np.hstack(start),
        )
        # Both fits are linear, so that the regional effects of the values and of the columns are
        # computed once, and the alternation takes place among the coefficients alone.
        products = terms.sums(np.vstack([both, edges]))
        of_columns, of_values = np.split(terms.solve(products), [len(both)])
        back = products[: len(both)].T @ inverse
        alone = edges @ (both * used).T @ inverse
        for _ in range(times):
            effects = of_values - coefficients @ of_columns
            coefficients = alone - effects @ back
        regional = terms.on_edges(effects)
        available = self.group.available.astype(float)
        sums = self.group.frame.parts.sums
        removed = sums(regional * available) / np.maximum(sums(available), 1e-300)
        beta, rest = np.split(coefficients, [len(names)], axis=1)
        return beta, self.equations.beyond(beta, rest) - removed


def _of_owners(sample: CentredFeatures, owner: npt.NDArray[np.intp]) -> Own:
    """Read the contributions of participants; none for participants without a baseline."""
    own = own_columns(sample, np.maximum(owner, 0))
    without = owner < 0
    if without.any():
        own.available[without] = False
        own.columns[without] = 0.0
        own.fixed[without] = 0.0
    return own


def _filled(values: Residuals, at: Rows) -> Residuals:
    """Select rows and replace missing values by 0."""
    residual = values.residual[at]
    available = np.isfinite(residual)
    residual = residual if available.all() else np.where(available, residual, 0.0)
    return Residuals(residual, values.fixed[at])


def _alike(*masks: Bools) -> list[Rows]:
    """Divide rows into groups in which all masks are equal."""
    if all(mask.all() for mask in masks):
        return [slice(None)]  # no copies of complete data
    packed = np.hstack([np.packbits(mask, axis=1) for mask in masks])
    groups: dict[bytes, list[int]] = {}
    for row, bits in enumerate(packed):
        groups.setdefault(bits.tobytes(), []).append(row)
    return [np.array(rows) for rows in groups.values()]
