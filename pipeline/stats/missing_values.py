"""NaN-aware means over participants or features, computed in blocks to bound memory."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats

__all__ = ["available_in_all", "blocks", "circuit_means", "column_mean", "nan_mean"]


_BLOCK = 64  # people


def blocks(n_participants: int) -> Iterator[slice]:
    """Cut people into a few at a time.

    Parameters
    ----------
    n_participants : int

    Yields
    ------
    slice
    """
    return (slice(start, start + _BLOCK) for start in range(0, n_participants, _BLOCK))


def available_in_all(*groups: Floats) -> Bools:
    """Find the features that are available in all participants.

    Parameters
    ----------
    *groups : ndarray, shape (n_people, n_features)

    Returns
    -------
    ndarray of bool, shape (n_features,)
    """
    available = np.ones(groups[0].shape[1], bool)
    for participants in groups:
        for few in blocks(len(participants)):
            available &= np.isfinite(participants[few]).all(axis=0)
    return available


def column_mean(parts: Floats | Iterable[Floats], *, unknown: float = np.nan) -> Floats:
    """Average each feature over the participants in whom it is available.

    Parameters
    ----------
    parts : ndarray, shape (n_people, n_features), or iterable of such
        People at once, or some at a time; at least one array.
    unknown : float
        Value of features that no participant has.

    Returns
    -------
    ndarray, shape (n_features,)
    """
    if isinstance(parts, np.ndarray):
        parts = [parts[few] for few in blocks(len(parts))] or [parts]
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
    """Average some features of each participant; NaN when half or more are missing.

    Parameters
    ----------
    values : ndarray, shape (n_people, n_features)
    positions : ndarray of int or of bool

    Returns
    -------
    ndarray, shape (n_people,)
    """
    out = np.full(len(values), np.nan)
    for few in blocks(len(values)):
        part = values[few][:, positions]
        available = np.isfinite(part)
        count = available.sum(axis=1)
        total = np.where(available, part, 0.0).sum(axis=1)
        np.divide(total, count, out=out[few], where=count * 2 > part.shape[1])
    return out


def circuit_means(values: Floats, circuits: Mapping[str, npt.NDArray[np.intp]]) -> Floats:
    """Average the features of each circuit, shape (n_people, n_circuits).

    Parameters
    ----------
    values : ndarray, shape (n_people, n_features)
    circuits : mapping of str to ndarray of int
        Positions of features.

    Returns
    -------
    ndarray
    """
    parts = [nan_mean(values, positions) for positions in circuits.values()]
    return np.array(parts).reshape(len(parts), len(values)).T
