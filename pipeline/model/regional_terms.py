"""Additive and multiplicative effects of single regions on all their edges."""

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats, Ints
from circuitshift.pipeline.edges import edge_ends
from circuitshift.pipeline.features import FeatureSpace

__all__ = ["RegionalTerms"]


_RIDGE = 1e-8  # relative to the mean diagonal; terms of regions without a usable edge become 0


@dataclass(frozen=True, slots=True)
class RegionalTerms:
    """Fit b(u) + b(v) + (g(u) + g(v)) m(u, v) to edges by least squares.

    The terms b describe regions whose change affects all their edges by the same amount. The terms
    g describe regions that lose signal, such as an amygdala with signal dropout: since r' = k r,
    strong edges change more than weak ones.

    Parameters
    ----------
    strength : ndarray, shape (n_edges,)
        Typical strength m of each edge.
    used : ndarray of bool, shape (n_edges,)
        Edges of the fit, on which values and strength must be available.
    factor : ndarray, shape (2 n_regions, 2 n_regions)
        Cholesky factor of the normal equations, in the lower triangle.

    Notes
    -----
    The additive terms are the row and column effects of a symmetric two-way layout, as in the
    social relations model (Warner, Kenny & Stoto 1979, doi:10.1037/0022-3514.37.10.1742). The
    multiplicative terms follow from r(u, v)' = k_u k_v r(u, v) to first order.
    """

    strength: Floats
    used: npt.NDArray[np.bool_]
    factor: Floats

    @classmethod
    def of(
        cls, strength: Floats, used: npt.NDArray[np.bool_], features: FeatureSpace
    ) -> "RegionalTerms":
        """Prepare the fit.

        Parameters
        ----------
        strength : ndarray, shape (n_edges,)
            Typical strength of each edge.
        used : ndarray of bool, shape (n_edges,)
            Edges of the fit.
        features : FeatureSpace
            Feature space of the edges.

        Returns
        -------
        RegionalTerms
            The prepared fit, for any number of rows of values.
        """
        from scipy.linalg import cho_factor  # noqa: PLC0415 - half a second of import

        n_regions = features.n_regions
        place = _place(n_regions)
        m = np.where(used, strength, 0.0)

        def normal(weights: Floats) -> Floats:
            matrix = np.zeros(n_regions * n_regions)
            matrix[place] = weights
            square = matrix.reshape(n_regions, n_regions)
            square += square.T
            square[np.diag_indices(n_regions)] = square.sum(axis=0)
            return square

        # the lower triangle alone is read
        gram = np.empty((2 * n_regions, 2 * n_regions))
        gram[:n_regions, :n_regions] = normal(used.astype(float))
        gram[n_regions:, :n_regions] = normal(m)
        gram[n_regions:, n_regions:] = normal(m**2)
        gram[np.diag_indices(2 * n_regions)] += _RIDGE * np.trace(gram) / len(gram)
        factor, _ = cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
        return cls(strength, used, factor)

    def sums(self, values: Floats) -> Floats:
        """Sum values over the edges of each region.

        Parameters
        ----------
        values : ndarray, shape (n_rows, n_edges)
            Values of edges, finite on the edges of the fit.

        Returns
        -------
        ndarray, shape (n_rows, 2 n_regions)
            Sums over the edges of the fit, and sums weighted with the strength: the right-hand
            sides of the normal equations.
        """
        inner = np.where(self.used, values, 0.0)
        sums = _by_region(np.vstack([inner, inner * np.where(self.used, self.strength, 0.0)]))
        return np.hstack(np.split(sums, 2))

    def solve(self, sums: Floats) -> Floats:
        """Estimate the regional terms.

        Parameters
        ----------
        sums : ndarray, shape (n_rows, 2 n_regions)
            Right-hand sides (`sums`).

        Returns
        -------
        ndarray, shape (n_rows, 2 n_regions)
            b, then g, of each region.
        """
        from scipy.linalg import cho_solve  # noqa: PLC0415 - half a second of import

        return np.asarray(cho_solve((self.factor, True), sums.T, check_finite=False).T)

    def on_edges(self, terms: Floats) -> Floats:
        """Return the effects of regional terms on all edges.

        Parameters
        ----------
        terms : ndarray, shape (n_rows, 2 n_regions)
            Regional terms (`solve`).

        Returns
        -------
        ndarray, shape (n_rows, n_edges)
            Fitted values; NaN where the strength is missing.
        """
        n_regions = len(self.factor) // 2
        i, j = edge_ends(n_regions)
        b, g = terms[:, :n_regions], terms[:, n_regions:]
        fitted = g.take(i, axis=1)
        fitted += g.take(j, axis=1)
        fitted *= self.strength
        fitted += b.take(i, axis=1)
        fitted += b.take(j, axis=1)
        return np.asarray(fitted)


def _by_region(values: Floats) -> Floats:
    """Sum edges over the edges of each region, shape (n_rows, n_regions)."""
    n_regions = (1 + isqrt(1 + 8 * values.shape[1])) // 2
    order, first, second = _runs(n_regions)
    out = np.zeros((len(values), n_regions))
    out[:, :-1] = np.add.reduceat(values, first, axis=1)
    out[:, 1:] += np.add.reduceat(values.take(order, axis=1), second, axis=1)
    return out


@lru_cache(maxsize=2)
def _runs(n_regions: int) -> tuple[Ints, Ints, Ints]:
    """Sort edges by their second region, and return where each region starts.

    Returns
    -------
    order : ndarray, shape (n_edges,)
        Edges in the order of their second region.
    first, second : ndarray, shape (n_regions - 1,)
        Start of the edges of each region, as the first region in the order of the edges, and as the
        second region in the sorted order.
    """
    i, j = edge_ends(n_regions)
    order = np.argsort(j, kind="stable")
    regions = np.arange(n_regions)
    return order, np.searchsorted(i, regions[:-1]), np.searchsorted(j[order], regions[1:])


@lru_cache(maxsize=2)
def _place(n_regions: int) -> Ints:
    """Return the position of each edge in a flattened matrix, shape (n_edges,)."""
    i, j = edge_ends(n_regions)
    return np.asarray(i * n_regions + j)
