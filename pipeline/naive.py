"""What is usually reported, for comparison: none of it can answer the question."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

__all__ = ["circuit_means", "column_mean", "known_mean", "naive_share"]

Floats = npt.NDArray[np.float64]
Circuits = Mapping[str, npt.NDArray[np.intp]]


def known_mean(values: Floats) -> Floats:
    """Mean of each row over what is known; NaN when half of it or more is lost.

    Parameters
    ----------
    values : ndarray, shape (n_people, n_edges)

    Returns
    -------
    ndarray, shape (n_people,)
    """
    known = np.isfinite(values)
    out = np.full(len(values), np.nan)
    total = np.where(known, values, 0.0).sum(axis=1)
    np.divide(total, known.sum(axis=1), out=out, where=known.sum(axis=1) * 2 > values.shape[1])
    return out


def circuit_means(values: Floats, circuits: Circuits) -> Floats:
    """Mean edge of each circuit, shape (n_people, n_circuits).

    Parameters
    ----------
    values : ndarray, shape (n_people, n_edges)
    circuits : mapping of str to ndarray of int
        Edge positions.

    Returns
    -------
    ndarray
    """
    parts = [known_mean(values[:, positions]) for positions in circuits.values()]
    return np.array(parts).reshape(len(parts), len(values)).T


def naive_share(
    change: Floats, baseline: Floats, reference: Floats, background: npt.NDArray[np.bool_]
) -> Floats:
    """Slope of each person's change on the plain deviation of the group.

    It shares the baseline's noise with the change, so it is positive when nothing happened.

    Parameters
    ----------
    change, baseline : ndarray, shape (n_people, n_edges)
    reference : ndarray, shape (n_reference, n_edges)
    background : ndarray of bool, shape (n_edges,)

    Returns
    -------
    ndarray, shape (n_people,)
    """
    d = column_mean(reference) - column_mean(baseline)
    use = background & np.isfinite(d)
    d = d[use] - d[use].mean()
    part = change[:, use]
    known = np.isfinite(part)
    return np.asarray((np.where(known, part, 0.0) @ d) / (known @ d**2))


def column_mean(values: Floats) -> Floats:
    """Mean of each edge over whoever is known; NaN where nobody is."""
    known = np.isfinite(values)
    out = np.full(values.shape[1], np.nan)
    total = np.where(known, values, 0.0).sum(axis=0)
    np.divide(total, known.sum(axis=0), out=out, where=known.any(axis=0))
    return out
