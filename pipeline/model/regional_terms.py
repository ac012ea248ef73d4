"""What single regions do to their edges: additive and multiplicative regional terms."""

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


_RIDGE = 1e-8  # relative; regions without a usable edge get 0 instead of an error


@dataclass(frozen=True, slots=True)
class RegionalTerms:
    """Least-squares fit of b(u) + b(v) + (g(u) + g(v)) m(u, v) to edges.

    b: a region whose signal changes moves all its edges. g: one that loses signal (an amygdala that
    drops out) moves its strong edges more, since r' = k r.

    Parameters
    ----------
    strength : ndarray, shape (n_edges,)
        m.
    used : ndarray of bool, shape (n_edges,)
        Edges to fit; values and strength are known there.
    inverse : ndarray, shape (2 n_regions, 2 n_regions)
        Of the normal equations.
    """

    strength: Floats
    used: npt.NDArray[np.bool_]
    inverse: Floats

    @classmethod
    def of(
        cls, strength: Floats, used: npt.NDArray[np.bool_], features: FeatureSpace
    ) -> "RegionalTerms":
        """Prepare the fit; `features` are edges."""
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
        """Return the fit on every edge, NaN where the strength is unknown.

        Parameters
        ----------
        values : ndarray, shape (n_rows, n_edges)

        Returns
        -------
        ndarray, shape (n_rows, n_edges)
        """
        n_regions = len(self.inverse) // 2
        ends = _ends(n_regions)
        inner, m = values[:, self.used], self.strength[self.used]
        own = ends[self.used]
        found = np.hstack([inner @ own, (inner * m) @ own]) @ self.inverse
        b, g = found[:, :n_regions], found[:, n_regions:]
        return np.asarray((ends @ b.T).T + (ends @ g.T).T * self.strength)


@lru_cache(maxsize=2)
def _ends(n_regions: int) -> "csr_array":
    """Incidence of edges and regions, shape (n_edges, n_regions)."""
    from scipy.sparse import csr_array  # noqa: PLC0415 - half a second of import

    ends = np.transpose(edge_ends(n_regions))
    n_edges = len(ends)
    parts = (np.ones(2 * n_edges), ends.ravel(), np.arange(0, 2 * n_edges + 1, 2))
    return csr_array(parts, shape=(n_edges, n_regions))
