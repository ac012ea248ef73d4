"""Additive and multiplicative effects of single regions on all their edges."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.edges import edge_ends
from circuitshift.pipeline.features import FeatureSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_array

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
    inverse : ndarray, shape (2 n_regions, 2 n_regions)
        Inverse of the normal equations.

    Notes
    -----
    The additive terms are the row and column effects of a symmetric two-way layout, as in the
    social relations model (Warner, Kenny & Stoto 1979, doi:10.1037/0022-3514.37.10.1742). The
    multiplicative terms follow from r(u, v)' = k_u k_v r(u, v) to first order.
    """

    strength: Floats
    used: npt.NDArray[np.bool_]
    inverse: Floats

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
        n_regions = features.n_regions
        first, second = (ends[used] for ends in features.ends)
        m = strength[used]

        def normal(weights: Floats) -> Floats:
            matrix = np.zeros((n_regions, n_regions))
            matrix[first, second] = weights
            matrix += matrix.T
            matrix[np.diag_indices(n_regions)] = matrix.sum(axis=0)
            return matrix

        cross = normal(m)
        gram = np.block([[normal(np.ones_like(m)), cross], [cross, normal(m**2)]])
        gram[np.diag_indices(2 * n_regions)] += _RIDGE * np.trace(gram) / len(gram)
        return cls(strength, used, np.linalg.inv(gram))

    def part(self, values: Floats) -> Floats:
        """Return the fitted regional effects on all edges.

        Parameters
        ----------
        values : ndarray, shape (n_rows, n_edges)
            Values of edges, finite on the edges of the fit.

        Returns
        -------
        ndarray, shape (n_rows, n_edges)
            Fitted values; NaN where the strength is missing.
        """
        n_regions = len(self.inverse) // 2
        ends = _ends(n_regions)
        inner, m = values[:, self.used], self.strength[self.used]
        own = ends[self.used]
        terms = np.hstack([inner @ own, (inner * m) @ own]) @ self.inverse
        b, g = terms[:, :n_regions], terms[:, n_regions:]
        return np.asarray((ends @ b.T).T + (ends @ g.T).T * self.strength)


@lru_cache(maxsize=2)
def _ends(n_regions: int) -> "csr_array":
    """Return the incidence matrix of edges and regions, shape (n_edges, n_regions)."""
    from scipy.sparse import csr_array  # noqa: PLC0415 - half a second of import

    ends = np.transpose(edge_ends(n_regions))
    n_edges = len(ends)
    parts = (np.ones(2 * n_edges), ends.ravel(), np.arange(0, 2 * n_edges + 1, 2))
    return csr_array(parts, shape=(n_edges, n_regions))
