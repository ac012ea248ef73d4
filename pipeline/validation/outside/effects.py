"""Effects of treatment on the connectivity of each treated participant at follow-up.

An effect is a small record that is called with the connectivity that participants would have
without treatment, and returns their connectivity with treatment. All sizes are in Fisher z unless
stated otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.edges import fisher_z
from circuitshift.pipeline.validation.outside.people import mean_deviation
from circuitshift.pipeline.validation.outside.world import World

__all__ = [
    "AmplitudesOfNetworks",
    "Attenuation",
    "Blocks",
    "Distance",
    "Effect",
    "Gain",
    "GlobalSignal",
    "HierarchyGain",
    "Hub",
    "Normalisation",
    "Nothing",
    "PersonalGains",
    "Regional",
    "Responders",
    "Saturating",
    "Shift",
    "SignalLoss",
    "Specific",
    "Standardised",
    "Step",
    "Sum",
    "Unnamed",
    "Untreated",
    "matrices",
    "upper",
]


class Untreated(NamedTuple):
    """Connectivity that participants would have without treatment.

    Parameters
    ----------
    z : ndarray, shape (n_participants, n_edges)
        Fisher z.
    world : World
        Networks, circuits and hierarchy that effects refer to.
    rng : numpy.random.Generator
        Source of random numbers. A random pattern is drawn once for all participants.
    """

    z: Floats
    world: World
    rng: np.random.Generator


class Effect(Protocol):
    """Change the connectivity of participants."""

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect.

        Parameters
        ----------
        given : Untreated
            Connectivity without the effect.

        Returns
        -------
        ndarray, shape (n_participants, n_edges)
            Fisher z.
        """


def matrices(z: Floats, n_regions: int) -> Floats:
    """Arrange edges as correlation matrices.

    Parameters
    ----------
    z : ndarray, shape (n, n_edges)
        Fisher z.
    n_regions : int
        Number of regions.

    Returns
    -------
    ndarray, shape (n, n_regions, n_regions)
        Correlations, with unit diagonal.
    """
    i, j = np.triu_indices(n_regions, 1)
    out = np.empty((len(z), n_regions, n_regions))
    out[:, range(n_regions), range(n_regions)] = 1.0
    out[:, i, j] = out[:, j, i] = np.tanh(z)
    return out


def upper(r: Floats) -> Floats:
    """Return the edges of correlation matrices.

    Parameters
    ----------
    r : ndarray, shape (n, n_regions, n_regions)
        Correlations.

    Returns
    -------
    ndarray, shape (n, n_edges)
        Fisher z.
    """
    i, j = np.triu_indices(r.shape[-1], 1)
    return fisher_z(r[:, i, j])


# ----------------------------------------------------------------------- effects of the model


@dataclass(frozen=True, slots=True)
class Nothing:
    """Leave connectivity unchanged."""

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        return given.z


@dataclass(frozen=True, slots=True)
class Shift:
    """Add the same amount to every edge.

    Parameters
    ----------
    size : float
        Amount, Fisher z.
    """

    size: float = 0.08

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        return given.z + self.size


@dataclass(frozen=True, slots=True)
class Gain:
    """Multiply every edge, in Fisher z.

    Parameters
    ----------
    size : float
        Change of the factor from 1.
    """

    size: float = 0.2

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        return given.z * (1 + self.size)


@dataclass(frozen=True, slots=True)
class Attenuation:
    """Multiply every correlation, r' = k r, as a change of signal-to-noise does.

    Parameters
    ----------
    factor : float
        k.
    """

    factor: float = 0.8

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        return fisher_z(np.tanh(given.z) * self.factor)


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Remove a share of the patients' deviation from the healthy mean from every edge.

    Parameters
    ----------
    share : float
        Share of the deviation that is removed.
    """

    share: float = 0.5

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        return given.z + self.share * mean_deviation(given.world, given.rng)


@dataclass(frozen=True, slots=True)
class Distance:
    """Change edges in proportion to their length, which motion and filters do.

    Parameters
    ----------
    per_mm : float
        Slope, Fisher z per mm from the mean length. With .001, hardly any matrix is a possible
        correlation matrix, and its nearest possible matrix contains a gain of -.03.
    """

    per_mm: float = 0.0005

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        length = given.world.length
        return np.asarray(given.z + self.per_mm * (length - length.mean()))


@dataclass(frozen=True, slots=True)
class Specific:
    """Add an amount to the edges of circuits.

    Parameters
    ----------
    sizes : mapping of str to float
        Amount for each circuit, Fisher z.
    """

    sizes: Mapping[str, float] = field(default_factory=lambda: {"dmn": -0.1})

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        out = given.z.copy()
        for name, size in self.sizes.items():
            out[:, given.world.circuits[name]] += size
        return out


@dataclass(frozen=True, slots=True)
class Standardised:
    """Change one circuit by a multiple of the spread of its change between participants.

    Parameters
    ----------
    circuit : str
        Circuit that changes.
    d : float
        Size in standard deviations over participants of the change of the circuit's mean.
    """

    circuit: str = "dmn"
    d: float = -0.4

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        size = self.d * given.world.change_sd[self.circuit]
        return Specific({self.circuit: size})(given)


@dataclass(frozen=True, slots=True)
class Sum:
    """Apply several effects, one after the other.

    Parameters
    ----------
    parts : tuple of Effect
        Effects in the order in which they are applied.
    """

    parts: tuple[Effect, ...]

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        for part in self.parts:
            given = given._replace(z=part(given))
        return given.z


# ----------------------------------------- effects of the model in some participants, or curved


@dataclass(frozen=True, slots=True)
class Responders:
    """Apply an effect to a random part of the participants.

    Parameters
    ----------
    effect : Effect
        Effect in those who respond.
    share : float
        Share of participants who respond.
    """

    effect: Effect
    share: float = 0.5

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        respond = given.rng.permutation(len(given.z)) < round(self.share * len(given.z))
        return np.where(respond[:, None], self.effect(given), given.z)


@dataclass(frozen=True, slots=True)
class PersonalGains:
    """Multiply all edges of each participant by a factor of their own, with mean 1.

    Parameters
    ----------
    sd : float
        Standard deviation of the factors over participants.
    """

    sd: float = 0.2

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        return given.z * (1 + given.rng.normal(0, self.sd, (len(given.z), 1)))


@dataclass(frozen=True, slots=True)
class Saturating:
    """Add an amount that grows with strength and then levels off: a tanh(z / scale).

    Parameters
    ----------
    size : float
        Largest change, Fisher z.
    scale : float
        Strength at which three quarters of it are reached, Fisher z.
    """

    size: float = 0.1
    scale: float = 0.2

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        return given.z + self.size * np.tanh(given.z / self.scale)


@dataclass(frozen=True, slots=True)
class Step:
    """Add an amount to edges whose mean strength is above a threshold.

    Parameters
    ----------
    size : float
        Amount, Fisher z.
    threshold : float
        Mean strength over participants above which an edge changes, Fisher z.
    """

    size: float = 0.08
    threshold: float = 0.2

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        strong = given.z.mean(axis=0) > self.threshold
        return np.asarray(given.z + self.size * strong)


# ------------------------------------------------------------ effects that the model cannot express


@dataclass(frozen=True, slots=True)
class Unnamed:
    """Change connectivity within networks that are in no circuit.

    Parameters
    ----------
    sizes : tuple of float
        Amount within the largest of these networks, within the second, and so on, Fisher z.
    """

    sizes: tuple[float, ...] = (0.12, 0.12)

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        out = given.z.copy()
        i, j = (given.world.network[end] for end in given.world.ends)
        for network, size in zip(given.world.unnamed(), self.sizes, strict=False):
            out[:, (i == network) & (j == network)] += size
        return out


@dataclass(frozen=True, slots=True)
class Blocks:
    """Change each pair of networks by an amount of its own.

    Parameters
    ----------
    sd : float
        Standard deviation of the amounts over pairs of networks, Fisher z.
    """

    sd: float = 0.05

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        return (
            given.z + given.rng.normal(0, self.sd, len(given.world.names) ** 2)[given.world.pairs]
        )


@dataclass(frozen=True, slots=True)
class Regional:
    """Change all edges of each region by an amount of its own.

    Parameters
    ----------
    sd : float
        Standard deviation of the amounts over regions, Fisher z.
    """

    sd: float = 0.03

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        own = given.rng.normal(0, self.sd, given.world.features.n_regions)
        i, j = given.world.ends
        return given.z + own[i] + own[j]


@dataclass(frozen=True, slots=True)
class Hub:
    """Add an amount to all edges of three regions, one of which is in the default-mode network.

    Parameters
    ----------
    size : float
        Amount, Fisher z.
    """

    size: float = 0.12

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        others = np.setdiff1d(np.arange(given.world.features.n_regions), given.world.core)
        hubs = [
            given.rng.choice(given.world.core),
            *given.rng.choice(others, 2, replace=False),
        ]
        i, j = given.world.ends
        return given.z + self.size * (np.isin(i, hubs) | np.isin(j, hubs))


@dataclass(frozen=True, slots=True)
class SignalLoss:
    """Reduce the signal-to-noise ratio of the first four regions of the default-mode network.

    Parameters
    ----------
    factor : float
        Factor on the correlations of each of these regions; its square between two of them.
    """

    factor: float = 0.75

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        k = np.exp(self.log_change(given.world))
        i, j = given.world.ends
        return fisher_z(np.tanh(given.z) * k[i] * k[j])

    def log_change(self, world: World) -> Floats:
        """Return the change of the logarithm of each region's signal fraction.

        Parameters
        ----------
        world : World
            Regions of the study.

        Returns
        -------
        ndarray, shape (n_regions,)
        """
        out = np.zeros(world.features.n_regions)
        out[world.core[:4]] = np.log(self.factor)
        return out


@dataclass(frozen=True, slots=True)
class HierarchyGain:
    """Multiply edges by a factor that grows from unimodal to transmodal cortex.

    Parameters
    ----------
    size : float
        Change of the factor from 1 between two transmodal regions; 0 between unimodal ones.
    """

    size: float = 0.25

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        i, j = given.world.ends
        return given.z * (1 + self.size * (given.world.hierarchy[i] + given.world.hierarchy[j]) / 2)


@dataclass(frozen=True, slots=True)
class GlobalSignal:
    """Change the amplitude of the signal that all regions share.

    Vigilance, breathing, caffeine and sedation do this. The covariance becomes
    C + (k^2 - 1) b b', with the loadings b of the regions on the shared signal, and is scaled to
    unit variance. In measured series, b is the correlation of each region with the mean of all
    standardised series.

    Parameters
    ----------
    factor : float
        k.
    """

    factor: float = 1.35

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        r = matrices(given.z, given.world.features.n_regions)
        if given.world.common is None:
            total = np.sqrt(r.sum(axis=(1, 2)))
            loading = r.sum(axis=2) / total[:, None]
        else:
            loading = np.broadcast_to(given.world.common, r.shape[:2])
        return _amplified(r, loading[:, None], np.array([self.factor]))


@dataclass(frozen=True, slots=True)
class AmplitudesOfNetworks:
    """Change the amplitude of the signal of each network by a factor of its own.

    Parameters
    ----------
    sd : float
        Standard deviation of the logarithms of the factors over networks.
    """

    sd: float = 0.3

    def __call__(self, given: Untreated) -> Floats:
        """Return connectivity with the effect; see `Effect`."""
        world = given.world
        r = matrices(given.z, world.features.n_regions)
        if world.loadings is None:
            members = (world.network == np.arange(len(world.names))[:, None]).astype(float)
            sums = r @ members.T  # of each region with the regions of each network
            total = np.sqrt(np.einsum("ku,nuk->nk", members, sums))
            loading = members * np.swapaxes(sums, 1, 2) / total[:, :, None]
        else:
            own = world.loadings.healthy[:, 1 : 1 + world.loadings.n_networks]
            loading = np.broadcast_to(own.T, (len(r), *own.T.shape))
        return _amplified(r, loading, np.exp(given.rng.normal(0, self.sd, len(world.names))))


def _amplified(r: Floats, loading: Floats, factors: Floats) -> Floats:
    """Return the edges after a change of the amplitude of signals.

    Parameters
    ----------
    r : ndarray, shape (n, n_regions, n_regions)
        Correlations.
    loading : ndarray, shape (n, n_signals, n_regions)
        Loadings of the regions on each signal.
    factors : ndarray, shape (n_signals,)
        Factor on the amplitude of each signal.

    Returns
    -------
    ndarray, shape (n, n_edges)
        Fisher z.
    """
    weighted = loading * (factors**2 - 1)[:, None]
    covariance = r + np.swapaxes(weighted, 1, 2) @ loading
    size = np.sqrt(np.einsum("nuu->nu", covariance))
    return upper(covariance / (size[:, :, None] * size[:, None, :]))
