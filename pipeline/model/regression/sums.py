"""Sums over participants from which one participant can be removed, and the parts of features."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.model.centred_features import (
    MIN_OTHERS,
    CentredFeatures,
    ResidualisedFeatures,
)

__all__ = ["Healthy", "Own", "Parts", "PatientSums", "Rows", "chunks", "own_columns"]

Rows = slice | npt.NDArray[np.intp]

_NUMBERS_PER_CHUNK = 1_000_000  # values of one array, to bound memory
_ROWS_PER_CHUNK = 32


def chunks(n_rows: int, n_features: int) -> Iterator[slice]:
    """Divide participants into chunks for which arrays of several columns fit into memory.

    Parameters
    ----------
    n_rows : int
        Number of participants.
    n_features : int
        Number of features.

    Yields
    ------
    slice
        Rows of a chunk.
    """
    step = min(_ROWS_PER_CHUNK, max(1, _NUMBERS_PER_CHUNK // max(n_features, 1)))
    return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


@dataclass(frozen=True, slots=True)
class Own:
    """Hold what a few participants contribute to the sums over patients.

    Parameters
    ----------
    available : ndarray of bool, shape (n_participants, n_features)
        Where their baseline is available.
    columns : ndarray, shape (n_participants, n_kinds, n_features)
        Their values of the columns of `PatientSums.names`; 0 where missing.
    fixed : ndarray, shape (n_participants, n_kinds, n_fixed)
        Coefficients of the fixed columns of these values.
    """

    available: Bools
    columns: Floats
    fixed: Floats

    def of(self, rows: Rows) -> "Own":
        """Select participants.

        Parameters
        ----------
        rows : slice or ndarray of int
            Positions of the participants.

        Returns
        -------
        Own
            Contributions of these participants.
        """
        return Own(self.available[rows], self.columns[rows], self.fixed[rows])


def own_columns(sample: CentredFeatures, rows: Rows) -> Own:
    """Read the columns that patients contribute to the sums.

    Parameters
    ----------
    sample : CentredFeatures
        Features of the study.
    rows : slice or ndarray of int
        Rows of ``sample.baseline``.

    Returns
    -------
    Own
        Contributions of these participants.
    """
    sources = list(sample.columns().values())
    available = np.isfinite(sources[0].values[rows])
    complete = bool(available.all())
    columns = np.empty((len(available), len(sources), available.shape[1]))
    fixed = np.empty((len(available), len(sources), len(sample.basis)))
    for k, source in enumerate(sources):
        residual, fixed[:, k] = source[rows]
        columns[:, k] = residual if complete else np.where(available, residual, 0.0)
    return Own(available, columns, fixed)


@dataclass(frozen=True, slots=True)
class PatientSums:
    """Hold sums over patients of the columns m, h and w and of their products.

    Parameters
    ----------
    names : tuple of str
        Columns: ``m`` and, where they exist, ``h`` and ``w``.
    count : ndarray, shape (n_features,)
        Number of patients in whom each feature is available.
    totals : ndarray, shape (n_kinds, n_features)
        Sum of each column.
    squares : ndarray, shape (n_kinds, n_kinds, n_features)
        Sum of the products of two columns of the same patient.
    fixed : ndarray, shape (n_kinds, n_fixed)
        Sum of the coefficients of the fixed columns.
    n_participants : int
        Number of patients.
    """

    names: tuple[str, ...]
    count: Floats
    totals: Floats
    squares: Floats
    fixed: Floats
    n_participants: int

    @classmethod
    def of(cls, sample: CentredFeatures) -> "PatientSums":
        """Sum over all patients of a study, in blocks that bound memory.

        Parameters
        ----------
        sample : CentredFeatures
            Features of the study.

        Returns
        -------
        PatientSums
            Sums over ``sample.baseline``.
        """
        names = tuple(sample.columns())
        n, k, n_features = len(sample.baseline), len(names), sample.background.size
        count, totals = np.zeros(n_features), np.zeros((k, n_features))
        squares, fixed = np.zeros((k, k, n_features)), np.zeros((k, len(sample.basis)))
        for rows in chunks(n, n_features):
            own = own_columns(sample, rows)
            count += own.available.sum(axis=0)
            totals += own.columns.sum(axis=0)
            fixed += own.fixed.sum(axis=0)
            for a in range(k):
                for b in range(a, k):
                    squares[a, b] += np.einsum("ie,ie->e", own.columns[:, a], own.columns[:, b])
        for a in range(k):
            for b in range(a):
                squares[a, b] = squares[b, a]
        return cls(names, count, totals, squares, fixed, n)


@dataclass(frozen=True, slots=True)
class Healthy:
    """Hold the mean of the reference participants, and an unbiased estimate of its square.

    Parameters
    ----------
    mean : ndarray, shape (n_features,)
        Mean of each feature; NaN where fewer than `MIN_OTHERS` participants have it.
    square : ndarray, shape (n_features,)
        Mean of the products over pairs of different participants, which holds no noise term.
    fixed : ndarray, shape (n_fixed,)
        Mean of the coefficients of the fixed columns.
    """

    mean: Floats
    square: Floats
    fixed: Floats

    @classmethod
    def of(cls, reference: ResidualisedFeatures) -> "Healthy":
        """Average the reference participants.

        Parameters
        ----------
        reference : ResidualisedFeatures
            Features of the reference participants.

        Returns
        -------
        Healthy
            Their mean.
        """
        count, total, squares = np.zeros((3, reference.basis.shape[1]))
        for values, _ in reference.blocks():
            available = np.isfinite(values)
            filled = np.where(available, values, 0.0)
            count += available.sum(axis=0)
            total += filled.sum(axis=0)
            squares += (filled**2).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(count >= MIN_OTHERS, total / count, np.nan)
            square = (total**2 - squares) / (count * (count - 1))
        return cls(mean, square, reference.fixed.mean(axis=0))


@dataclass(frozen=True, slots=True)
class Parts:
    """Average features over circuits and blocks.

    Parameters
    ----------
    positions : tuple of ndarray of int
        Positions of the features of each part.
    """

    positions: tuple[npt.NDArray[np.intp], ...]

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self.positions)

    @property
    def sizes(self) -> Floats:
        """Number of features of each part."""
        return np.array([len(p) for p in self.positions], float)

    def sums(self, values: Floats) -> Floats:
        """Sum values over the features of each part.

        Parameters
        ----------
        values : ndarray, shape (..., n_features)
            Finite values.

        Returns
        -------
        ndarray, shape (..., n_parts)
            Sums; 0 for parts without features.
        """
        sizes = self.sizes.astype(int)
        out = np.zeros((*values.shape[:-1], len(sizes)))
        filled = np.flatnonzero(sizes)
        if len(filled):
            index = np.concatenate(self.positions).astype(np.intp)
            starts = np.r_[0, np.cumsum(sizes[filled])[:-1]]
            out[..., filled] = np.add.reduceat(values.take(index, axis=-1), starts, axis=-1)
        return out
