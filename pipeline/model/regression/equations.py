"""Normal equations of several participants, with moments that hold no noise of the regressors.

All participants of one set of equations have the same features available. The columns m, h and w of
participant i are means over the other participants: with sums S over all participants and own
values x, column k is (S_k - x_k) / c, where c is the number of others. Products with these columns
are linear in x, and the moments are quadratic, so that they follow from sums over features without
one array of columns for each participant.
"""

from dataclasses import dataclass, replace

import numpy as np

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.model.centred_features import MIN_OTHERS, Residuals
from circuitshift.pipeline.model.regression.sums import Healthy, Own, Parts, PatientSums

__all__ = ["Equations", "Frame", "Group", "solve"]

_SINGULAR = 1e-10  # smallest eigenvalue of scaled moments, relative to the largest


@dataclass(frozen=True, slots=True)
class Frame:
    """Hold what the equations of all participants share.

    Parameters
    ----------
    sums : PatientSums
        Sums over patients.
    healthy : Healthy or None
        Mean of the reference group, if the deviation from it is a column.
    background : ndarray of bool, shape (n_features,)
        Features to which the model is fitted.
    basis : ndarray, shape (n_fixed, n_features)
        Fixed columns.
    parts : Parts
        Circuits and blocks.
    """

    sums: PatientSums
    healthy: Healthy | None
    background: Bools
    basis: Floats
    parts: Parts

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of the equations: ``m``, ``h``, ``w`` and ``d``, those that exist."""
        return self.sums.names + ("d",) * (self.healthy is not None)


@dataclass(frozen=True, slots=True)
class Group:
    """Hold the features that a set of participants has, and the weights that follow.

    Parameters
    ----------
    frame : Frame
        What all participants share.
    used : ndarray of bool, shape (n_features,)
        Background features of the fit.
    available : ndarray of bool, shape (n_features,)
        Features on which values and all columns are available.
    inverse : ndarray, shape (n_features,)
        One divided by the number of other participants; 0 where there are none.
    pairs : ndarray, shape (n_features,)
        One divided by the number of ordered pairs of other participants; 0 for features that are
        not used.
    """

    frame: Frame
    used: Bools
    available: Bools
    inverse: Floats
    pairs: Floats

    @classmethod
    def of(cls, frame: Frame, valid: Bools, own: Bools | None = None) -> "Group":
        """Find the features of a set of participants.

        Parameters
        ----------
        frame : Frame
            What all participants share.
        valid : ndarray of bool, shape (n_features,)
            Features on which the values of the participants are available.
        own : ndarray of bool, shape (n_features,), optional
            Features on which they contribute to the sums over patients, from which they are to be
            removed. Default: none.

        Returns
        -------
        Group
            Features and weights.
        """
        count = frame.sums.count if own is None else frame.sums.count - own
        available = valid & (count > 0)
        if frame.healthy is not None:
            available &= np.isfinite(frame.healthy.mean)
        used = available & frame.background & (count >= MIN_OTHERS)
        inverse, pairs = np.zeros((2, count.size))
        np.divide(1.0, count, out=inverse, where=count > 0)
        np.divide(1.0, count * (count - 1), out=pairs, where=used)
        return cls(frame, used, available, inverse, pairs)

    def columns(self, own: Floats | None = None) -> Floats:
        """Return the columns of the regression on all features.

        Parameters
        ----------
        own : ndarray, shape (n_kinds, n_features), optional
            Values of one participant, which are removed from the sums.

        Returns
        -------
        ndarray, shape (n_columns, n_features)
            Columns in the order of `Frame.names`; 0 where they are not available.
        """
        totals = self.frame.sums.totals
        columns = (totals if own is None else totals - own) * self.inverse
        healthy = self.frame.healthy
        if healthy is None:
            return np.asarray(columns)
        d = np.where(np.isfinite(healthy.mean), healthy.mean - columns[0], 0.0)
        return np.vstack([columns, d])

    def equations(self, values: Residuals, own: Own | None = None) -> "Equations":
        """Set up the equations of participants.

        Parameters
        ----------
        values : Residuals
            Values to be regressed, shape (n_participants, n_features); 0 where missing.
        own : Own, optional
            Contributions of the same participants to the sums over patients, from which they are
            removed. Default: the columns contain all patients.

        Returns
        -------
        Equations
            Equations of each participant.
        """
        return _Builder(self, values, own).equations()


@dataclass(frozen=True, slots=True)
class Equations:
    """Hold normal equations, and means over circuits and blocks, of several participants.

    The number of rows of arrays with regressors is 1 if all participants share them.

    Parameters
    ----------
    names : tuple of str
        Columns.
    moments : ndarray, shape (n_rows, n_columns, n_columns)
        Unbiased sums of products of columns over the used features.
    pooled : ndarray, shape (1, n_columns, n_columns)
        The same sums over pairs of all participants, without exclusion of anyone.
    cross : ndarray, shape (n_rows, n_columns, n_fixed)
        Sums of products of columns and fixed columns, which have no noise.
    gram : ndarray, shape (n_fixed, n_fixed)
        Sums of products of fixed columns.
    rhs : ndarray, shape (n_participants, n_columns)
        Sums of products of values and columns.
    rhs_fixed : ndarray, shape (n_participants, n_fixed)
        Sums of products of values and fixed columns.
    offsets : ndarray, shape (n_rows, n_columns, n_fixed)
        Coefficients of the fixed columns that were regressed out of each column.
    fixed : ndarray, shape (n_participants, n_fixed)
        Coefficients of the fixed columns that were regressed out of the values.
    column_means : ndarray, shape (n_rows, n_columns, n_parts)
        Means of the columns over each circuit and block.
    basis_means : ndarray, shape (n_fixed, n_parts)
        Means of the fixed columns.
    value_means : ndarray, shape (n_participants, n_parts)
        Means of the values; NaN where half or more of the features are missing.
    """

    names: tuple[str, ...]
    moments: Floats
    pooled: Floats
    cross: Floats
    gram: Floats
    rhs: Floats
    rhs_fixed: Floats
    offsets: Floats
    fixed: Floats
    column_means: Floats
    basis_means: Floats
    value_means: Floats

    def take(self, names: tuple[str, ...]) -> "Equations":
        """Return the equations with some of the columns only.

        Parameters
        ----------
        names : tuple of str
            Columns.

        Returns
        -------
        Equations
            Equations with these columns.
        """
        at = [self.names.index(name) for name in names]
        return replace(
            self,
            names=names,
            moments=self.moments[:, at][:, :, at],
            pooled=self.pooled[:, at][:, :, at],
            cross=self.cross[:, at],
            rhs=self.rhs[:, at],
            offsets=self.offsets[:, at],
            column_means=self.column_means[:, at],
        )

    def solve(self) -> tuple[Floats, Floats]:
        """Estimate the coefficients of the columns.

        Returns
        -------
        slopes : ndarray, shape (n_participants, n_columns)
            Coefficients of the columns.
        rest : ndarray, shape (n_participants, n_fixed)
            Coefficients of the fixed columns; zero on the features used to residualise them.

        Notes
        -----
        With few others, the moments of a participant can be nearly singular, or not positive
        definite, by chance. The pooled moments then replace them. They contain the participant's
        own baseline with a weight of 2 / n, which changes a slope by about that share of its
        squared coefficient of variation.
        """
        k = len(self.names)
        beta = solve(
            self._with_fixed(self.moments),
            np.hstack([self.rhs, self.rhs_fixed]),
            self._with_fixed(self.pooled),
        )
        return beta[:, :k], beta[:, k:]

    def inverse(self) -> Floats:
        """Invert the equations of one participant, or of participants with the same columns.

        Returns
        -------
        ndarray, shape (n_columns + n_fixed, n_columns + n_fixed)
            Matrix by which right-hand sides are multiplied to obtain `solve`.
        """
        k = len(self.names) + len(self.gram)
        return solve(self._with_fixed(self.moments), np.eye(k), self._with_fixed(self.pooled))

    def _with_fixed(self, moments: Floats) -> Floats:
        """Join the moments of the columns and of the fixed columns."""
        n_rows = len(self.cross)
        moments = np.broadcast_to(moments, (n_rows, *moments.shape[1:]))
        gram = np.broadcast_to(self.gram, (n_rows, *self.gram.shape))
        upper = np.concatenate([moments, self.cross], axis=2)
        lower = np.concatenate([self.cross.transpose(0, 2, 1), gram], axis=2)
        return np.concatenate([upper, lower], axis=1)

    def beyond(self, slopes: Floats, rest: Floats) -> Floats:
        """Return the mean of each circuit and block beyond the prediction.

        Parameters
        ----------
        slopes : ndarray, shape (n_participants, n_columns)
            Coefficients of the columns.
        rest : ndarray, shape (n_participants, n_fixed)
            Coefficients of the fixed columns.

        Returns
        -------
        ndarray, shape (n_participants, n_parts)
            Means of the values minus the prediction; NaN where half or more features are missing.
        """
        predicted = (slopes[:, None, :] @ self.column_means)[:, 0]
        return np.asarray(self.value_means - predicted - rest @ self.basis_means)


def solve(matrix: Floats, rhs: Floats, fallback: Floats) -> Floats:
    """Solve symmetric systems of equations by Cholesky factors.

    Parameters
    ----------
    matrix : ndarray, shape (n_rows, k, k)
        Symmetric matrices; one row if all systems have the same matrix.
    rhs : ndarray, shape (n_systems, k)
        Right-hand sides.
    fallback : ndarray, shape (n_rows, k, k)
        Matrices to use in place of those that are not positive definite, or in which the part of a
        column that the previous columns do not explain is less than half of that in `fallback`. If
        `fallback` is not positive definite either, its pseudoinverse is used.

    Returns
    -------
    ndarray, shape (n_systems, k)
        Solutions.
    """
    scale = 1 / np.sqrt(np.maximum(np.abs(np.einsum("ikk->ik", fallback)), 1e-300))
    by = scale[:, :, None] * scale[:, None, :]
    scaled, second = matrix * by, fallback * by
    if _is_stable(scaled, second):
        return np.asarray(np.linalg.solve(scaled, (rhs * scale)[..., None])[..., 0] * scale)
    out = np.empty(np.broadcast_shapes(rhs.shape, scale.shape))
    for row in range(len(matrix)):
        at = slice(None) if len(matrix) == 1 else slice(row, row + 1)
        one, other = scaled[row : row + 1], second[row : row + 1]
        chosen = one if _is_stable(one, other) else other
        right = rhs[at] * scale[row]
        if _pivots(chosen) is None:
            out[at] = right @ np.linalg.pinv(chosen[0], rcond=_SINGULAR) * scale[row]
        else:
            out[at] = np.linalg.solve(chosen[0], right.T).T * scale[row]
    return out


def _is_stable(matrix: Floats, reference: Floats) -> bool:
    """Return whether all pivots of matrices are at least half of those of reference matrices."""
    found, expected = _pivots(matrix), _pivots(reference)
    return found is not None and expected is not None and bool((found > 0.5 * expected).all())


def _pivots(matrix: Floats) -> Floats | None:
    """Return the pivots of matrices, or None if one of them is not safely positive definite."""
    try:
        pivots = np.einsum("ikk->ik", np.linalg.cholesky(matrix)) ** 2
    except np.linalg.LinAlgError:
        return None
    return pivots if bool((pivots > _SINGULAR).all()) else None


@dataclass(frozen=True, slots=True)
class _Builder:
    """Sums over features of products of values, columns and fixed columns."""

    group: Group
    values: Residuals
    own: Own | None

    def equations(self) -> Equations:
        group, frame = self.group, self.group.frame
        used, basis = group.used, frame.basis * group.used
        available = group.available.astype(float)
        n_available = frame.parts.sums(available)
        counts = np.maximum(n_available, 1.0)
        means = self.linear_parts(available) / counts
        d = self.values.residual
        value_means = frame.parts.sums(d * available) / counts
        value_means[:, ~(n_available * 2 > frame.parts.sizes)] = np.nan
        moments, cross, rhs = self.moments(), self.linear(basis), self.products(d)
        pooled, offsets = self.pooled(), self.offsets()
        if frame.healthy is not None:
            r = np.where(used, frame.healthy.mean, 0.0)
            moments = self._with_deviation(moments, self.linear(r[None])[..., 0])
            all_columns = frame.sums.totals @ (r / np.maximum(frame.sums.count, 1.0))
            pooled = self._with_deviation(pooled, all_columns[None])
            rhs = np.hstack([rhs, (d @ r)[:, None] - rhs[:, :1]])
            cross = _append(cross, basis @ r)
            r_means = frame.parts.sums(np.where(group.available, frame.healthy.mean, 0.0)) / counts
            means = _append(means, r_means)
            offsets = _append(offsets, frame.healthy.fixed)
        return Equations(
            names=frame.names,
            moments=moments,
            pooled=pooled,
            cross=cross,
            gram=basis @ basis.T,
            rhs=rhs,
            rhs_fixed=d @ basis.T,
            offsets=offsets,
            fixed=self.values.fixed,
            column_means=means,
            basis_means=frame.parts.sums(frame.basis * available) / counts,
            value_means=value_means,
        )

    def linear(self, functionals: Floats) -> Floats:
        """Sum the columns with given weights, shape (n_rows, n_kinds, n_functionals)."""
        weighted = functionals * self.group.inverse
        out = (self.group.frame.sums.totals @ weighted.T)[None]
        return out if self.own is None else out - self.own.columns @ weighted.T

    def linear_parts(self, available: Floats) -> Floats:
        """Sum the columns over each part, shape (n_rows, n_kinds, n_parts)."""
        frame, weights = self.group.frame, self.group.inverse * available
        out = frame.parts.sums(frame.sums.totals * weights)[None]
        return out if self.own is None else out - frame.parts.sums(self.own.columns * weights)

    def products(self, values: Floats) -> Floats:
        """Sum the products of values and columns over the used features."""
        weights = self.group.inverse * self.group.used
        out = values @ (self.group.frame.sums.totals * weights).T
        if self.own is not None:
            out = out - (self.own.columns @ (values * weights)[:, :, None])[:, :, 0]
        return np.asarray(out)

    def moments(self) -> Floats:
        """Sum products of columns over pairs of different participants."""
        sums, pairs = self.group.frame.sums, self.group.pairs
        weighted = sums.totals * pairs
        out = (weighted @ sums.totals.T - sums.squares @ pairs)[None]
        if self.own is None:
            return np.asarray(out)
        x = self.own.columns
        with_totals = x @ weighted.T
        out = out - with_totals - with_totals.transpose(0, 2, 1)
        out = out + 2 * x @ (x * pairs).transpose(0, 2, 1)
        return np.asarray(out)

    def pooled(self) -> Floats:
        """Sum products of columns over pairs of all participants."""
        count = self.group.frame.sums.count
        pairs = np.zeros(count.size)
        np.divide(1.0, count * (count - 1), out=pairs, where=self.group.used)
        sums = self.group.frame.sums
        return np.asarray(((sums.totals * pairs) @ sums.totals.T - sums.squares @ pairs)[None])

    def _with_deviation(self, moments: Floats, with_reference: Floats) -> Floats:
        """Add the products of d = r - m and the other columns, and of d with itself.

        `with_reference` holds the sums of products of the columns with r, shape (n_rows, n_kinds).
        """
        frame = self.group.frame
        if frame.healthy is None:
            return moments
        cross = with_reference - moments[:, :, 0]
        square = frame.healthy.square[self.group.used].sum() - with_reference[:, 0] - cross[:, 0]
        upper = np.concatenate([moments, cross[:, :, None]], axis=2)
        lower = np.concatenate([cross, square[:, None]], axis=1)[:, None]
        return np.concatenate([upper, lower], axis=1)

    def offsets(self) -> Floats:
        """Average the fixed coefficients of the columns over the other participants."""
        sums = self.group.frame.sums
        if self.own is None:
            return sums.fixed[None] / sums.n_participants
        n_own = int(self.own.available.any(axis=1).any())
        return (sums.fixed - self.own.fixed) / (sums.n_participants - n_own)


def _append(columns: Floats, reference: Floats) -> Floats:
    """Append the row of d = r - m, from the row of r."""
    d = reference - columns[:, :1]
    return np.concatenate([columns, d], axis=1)
