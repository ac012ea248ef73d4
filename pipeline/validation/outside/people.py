"""Participants of simulated studies, who differ in the loadings of their regions on factors."""

from dataclasses import dataclass

import numpy as np

from circuitshift.pipeline.arrays import Floats, Ints
from circuitshift.pipeline.edges import fisher_z
from circuitshift.pipeline.validation.outside.world import Loadings, World

__all__ = ["People", "mean_deviation"]

# Standard deviations of what differs between participants, and between visits of a participant:
# logarithm of the amplitude of the common factor, of the amplitudes of the other factors, of the
# signal of each region, and the loadings themselves. Chosen so that the intraclass correlation of a
# single edge (.37), the standard deviation of the change of the mean edge (.05) and of the
# default-mode network (.11) are near those of the series in tests/real.
_TRAIT = (0.25, 0.20, 0.08, 0.075)
_STATE = (0.20, 0.14, 0.06, 0.045)

_N_FOR_MEANS = 400  # participants of each group, for the error of a mean edge to be .01
_N_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class People:
    """Participants of one group, who differ in their loadings.

    Parameters
    ----------
    loadings : ndarray, shape (n_participants, n_regions, n_factors)
        Loadings of each participant.
    spread : ndarray, shape (n_participants,)
        Factor on the changes between visits.
    """

    loadings: Floats
    spread: Floats

    @classmethod
    def draw(
        cls,
        world: World,
        n: int,
        rng: np.random.Generator,
        *,
        patients: bool = True,
        tails_df: float = 0.0,
    ) -> "People":
        """Draw participants.

        Parameters
        ----------
        world : World
            Invented brain.
        n : int
            Number of participants.
        rng : numpy.random.Generator
            Source of random numbers.
        patients : bool
            Whether they are patients, not healthy participants.
        tails_df : float
            Degrees of freedom of the changes between visits, as in Student's t distribution; 0 for
            a normal distribution.

        Returns
        -------
        People
        """
        typical = _columns(world.loadings, patients=patients)
        loadings = _varied(typical, np.ones(n), _TRAIT, rng)
        spread = np.sqrt(tails_df / rng.chisquare(tails_df, n)) if tails_df else np.ones(n)
        return cls(loadings, spread)

    def take(self, chosen: Ints) -> "People":
        """Return some of the participants.

        Parameters
        ----------
        chosen : ndarray of int
            Their rows.

        Returns
        -------
        People
        """
        return People(self.loadings[chosen], self.spread[chosen])

    def visit(self, rng: np.random.Generator) -> Floats:
        """Draw the true edges of one visit of each participant.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of random numbers.

        Returns
        -------
        ndarray, shape (n_participants, n_edges)
            Fisher z.
        """
        return _edges_of(_varied(self.loadings, self.spread, _STATE, rng))


def _columns(loadings: Loadings | None, *, patients: bool) -> Floats:
    if loadings is None:  # pragma: no cover - measured worlds have no loadings
        raise TypeError("series are simulated from an invented world only")
    return np.hstack([loadings.healthy, loadings.patients]) if patients else loadings.healthy


def _varied(
    loadings: Floats,
    spread: Floats,
    sd: tuple[float, float, float, float],
    rng: np.random.Generator,
) -> Floats:
    """Vary loadings independently for each participant.

    Parameters
    ----------
    loadings : ndarray, shape (..., n_regions, n_factors)
        Loadings of all participants, or of each of them.
    spread : ndarray, shape (n_participants,)
        Factor on all standard deviations.
    sd : tuple of four float
        Standard deviations of the logarithms of the amplitude of the first factor, of the other
        factors and of regions, and of single loadings.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    ndarray, shape (n_participants, n_regions, n_factors)
    """
    n, (n_regions, n_factors) = len(spread), loadings.shape[-2:]
    scale = spread[:, None, None]
    amplitude = rng.normal(0, sd[1], (n, 1, n_factors))
    amplitude[:, :, 0] *= sd[0] / sd[1]
    log_factor = scale * (amplitude + rng.normal(0, sd[2], (n, n_regions, 1)))
    change = scale * rng.normal(0, sd[3], (n, n_regions, n_factors))
    varied = loadings * np.exp(np.clip(log_factor, -1, 1)) + np.clip(change, -0.3, 0.3)
    size = (varied**2).sum(axis=2, keepdims=True)
    return np.asarray(varied * np.sqrt(np.minimum(1.0, 0.85 / size)))


def _edges_of(loadings: Floats) -> Floats:
    """Return the edges that loadings imply; the rest of each region's variance is its own."""
    i, j = np.triu_indices(loadings.shape[1], 1)
    return fisher_z((loadings @ np.swapaxes(loadings, 1, 2))[:, i, j])


def mean_deviation(world: World, rng: np.random.Generator) -> Floats:
    """Estimate how far the mean of patients is from the healthy mean.

    The mean of participants is not the connectivity of typical loadings, because edges are not a
    linear function of loadings.

    Parameters
    ----------
    world : World
        Invented brain.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    ndarray, shape (n_edges,)
        Healthy mean minus mean of patients, Fisher z.
    """
    healthy, patients = (
        sum(
            People.draw(world, _N_AT_ONCE, rng, patients=are_patients).visit(rng).mean(axis=0)
            for _ in range(_N_FOR_MEANS // _N_AT_ONCE)
        )
        for are_patients in (False, True)
    )
    return np.asarray((healthy - patients) * _N_AT_ONCE / _N_FOR_MEANS)
