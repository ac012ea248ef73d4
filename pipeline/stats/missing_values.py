"""NaN-aware means over participants or features, computed in blocks to bound memory."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats

__all__ = ["available_in_all", "blocks", "circuit_means", "column_mean", "nan_mean"]


_BLOCK = 64  # participants per block


def blocks(n_participants: int) -> Iterator[slice]:
    """Divide participants into blocks of consecutive rows.

    Parameters
    ----------
    n_participants : int
        Number of participants.

    Yields
    ------
    slice
        Rows of a block; the last one may extend beyond the number of participants.
    """
    return (slice(start, start + _BLOCK) for start in range(0, n_participants, _BLOCK))


def available_in_all(*groups: Floats) -> Bools:
    """Find the features that are available in all participants.

    Parameters
    ----------
    *groups : ndarray, shape (n_participants, n_features)
        Values of each group; NaN where missing.

    Returns
    -------
    ndarray of bool, shape (n_features,)
        True for features without missing values.
    """
    available = np.ones(groups[0].shape[1], bool)
    for participants in groups:
        for block in blocks(len(participants)):
            available &= np.isfinite(participants[block]).all(axis=0)
    return available


def column_mean(parts: Floats | Iterable[Floats], *, unknown: float = np.nan) -> Floats:
    """Average each feature over the participants in whom it is available.

    Parameters
    ----------
    parts : ndarray, shape (n_participants, n_features), or iterable of ndarray
        Values of all participants, or at least one block of them; NaN where missing.
    unknown : float
        Value to return for features that are missing in all participants.

    Returns
    -------
    ndarray, shape (n_features,)
        Mean of each feature.
    """
    if isinstance(parts, np.ndarray):
        parts = [parts[block] for block in blocks(len(parts))] or [parts]
    count: Floats | float = 0.0
    total: Floats | float = 0.0
    for part in parts:
        available = np.isfinite(part)
        count = count + available.sum(axis=0)
        total = total + np.where(available, part, 0.0).sum(axis=0)
    out = np.full(np.shape(total), unknown)
    np.divide(total, count, out=out, where=np.asarray(count) > 0)
    return out


def nan_mean(values: Floats, positions: npt.NDArray[np.intp] | Bools) -> Floats:
    """Average a set of features of each participant.

    Parameters
    ----------
    values : ndarray, shape (n_participants, n_features)
        Values; NaN where missing.
    positions : ndarray of int or of bool
        Positions of the features, or a mask of shape (n_features,).

    Returns
    -------
    ndarray, shape (n_participants,)
        Mean of the available features; NaN when half or more of them are missing.
    """
    out = np.full(len(values), np.nan)
    for block in blocks(len(values)):
        part = values[block][:, positions]
        available = np.isfinite(part)
        count = available.sum(axis=1)
        total = np.where(available, part, 0.0).sum(axis=1)
        np.divide(total, count, out=out[block], where=count * 2 > part.shape[1])
    return out


def circuit_means(values: Floats, circuits: Mapping[str, npt.NDArray[np.intp]]) -> Floats:
    """Average the features of each circuit.

    Parameters
    ----------
    values : ndarray, shape (n_participants, n_features)
        Values; NaN where missing.
    circuits : mapping of str to ndarray of int
        Positions of the features of each circuit.

    Returns
    -------
    ndarray, shape (n_participants, n_circuits)
        Mean of the available features; NaN when half or more of a circuit's features are missing.
    """
    parts = [nan_mean(values, positions) for positions in circuits.values()]
    return np.array(parts).reshape(len(parts), len(values)).T
