"""Describe the brain in which truths are planted: regions, networks, circuits and connectivity.

A world is either invented (`invented_world`) or taken from measured series
(`circuitshift.pipeline.validation.outside.plasmode`). Truths refer to its networks, circuits and
hierarchy by the same names in both.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats, Ints
from circuitshift.pipeline.edges import edge_ends
from circuitshift.pipeline.features import FeatureSpace

__all__ = ["CIRCUITS", "NETWORKS", "Loadings", "World", "invented_world"]

#: Number of regions of each network of the invented brain; 110 in total.
NETWORKS: dict[str, int] = {
    "Visual": 14,
    "SomMot": 14,
    "Auditory": 8,
    "DorsAttn": 12,
    "SalVentAttn": 10,
    "Limbic": 8,
    "Cont": 14,
    "Default": 18,
    "Subcortical": 12,
}

#: Primary circuits of a study.
CIRCUITS = ("dmn", "tpn", "dmn_tpn", "dlpfc_amygdala")

# Position of each network between unimodal (0) and transmodal (1) cortex. The ends of the scale are
# those of the principal gradient (Margulies 2016, doi:10.1073/pnas.1608282113): sensory and motor
# regions, and the default-mode network. The numbers in between were chosen for the simulation.
_HIERARCHY = {
    "Visual": 0.05,
    "SomMot": 0.0,
    "Auditory": 0.1,
    "DorsAttn": 0.3,
    "SalVentAttn": 0.45,
    "Limbic": 0.65,
    "Cont": 0.75,
    "Default": 1.0,
    "Subcortical": 0.5,
}

_N_LOCAL = 14  # factors that vary smoothly over space
_HIGHEST_COMMON = 0.8  # largest share of a region's variance that factors explain


@dataclass(frozen=True, slots=True)
class Loadings:
    """Loadings of the regions of the invented brain on factors.

    Parameters
    ----------
    healthy : ndarray, shape (n_regions, n_factors)
        Loadings of a typical healthy participant. The first factor is common to all regions, the
        next ones belong to one network each.
    patients : ndarray, shape (n_regions, 2)
        Additional columns in patients.
    n_networks : int
        Number of factors that belong to one network.
    """

    healthy: Floats
    patients: Floats
    n_networks: int


@dataclass(frozen=True, slots=True)
class World:
    """Regions of a brain, and the names by which truths refer to them.

    Parameters
    ----------
    features : FeatureSpace
        Edges between the regions, with lengths where centres are known.
    network : ndarray of int, shape (n_regions,)
        Network of each region, as a position in `names`.
    names : tuple of str
        Names of the networks.
    named : tuple of bool
        Whether a network of `names` has regions that belong to a circuit.
    hierarchy : ndarray, shape (n_regions,)
        Position of each region between unimodal (0) and transmodal (1) cortex.
    circuits : dict of str to ndarray of int
        Positions of the edges of each circuit.
    core : ndarray of int, shape (n_core,)
        Regions of the first circuit, ``dmn``.
    common : ndarray, shape (n_regions,), or None
        Loading of each region on the signal common to all regions. None in measured data, in which
        it is estimated for each run.
    change_sd : dict of str to float
        Standard deviation over participants of the change of a circuit's mean between two visits
        without treatment, Fisher z.
    loadings : Loadings or None
        Loadings of an invented brain.
    """

    features: FeatureSpace
    network: Ints
    names: tuple[str, ...]
    named: tuple[bool, ...]
    hierarchy: Floats
    circuits: dict[str, Ints]
    core: Ints
    common: Floats | None
    change_sd: dict[str, float]
    loadings: Loadings | None = None

    @property
    def ends(self) -> tuple[Ints, Ints]:
        """Regions of each edge, each of shape (n_edges,)."""
        return edge_ends(self.features.n_regions)

    @property
    def length(self) -> Floats:
        """Length of each edge in mm, shape (n_edges,); NaN if unknown."""
        length = self.features.length_mm
        return np.full(self.features.n_features, np.nan) if length is None else length

    @property
    def pairs(self) -> Ints:
        """Pair of networks of each edge, as one number, shape (n_edges,)."""
        i, j = (self.network[end] for end in self.ends)
        n = len(self.names)
        return np.asarray(np.minimum(i, j) * n + np.maximum(i, j), np.intp)

    def unnamed(self) -> tuple[int, ...]:
        """Return the networks without a region in a circuit, the largest first."""
        sizes = np.bincount(self.network, minlength=len(self.names))
        free = [k for k, named in enumerate(self.named) if not named]
        return tuple(sorted(free, key=lambda k: -int(sizes[k])))


def invented_world(rng: np.random.Generator, change_sd: dict[str, float]) -> World:
    """Draw the brain of one simulated study.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of random numbers.
    change_sd : dict of str to float
        Standard deviation of the change of each circuit, Fisher z
        (`circuitshift.pipeline.validation.outside.series.typical_change_sd`).

    Returns
    -------
    World
        110 regions in nine networks, with four circuits.

    Notes
    -----
    The correlation of two regions is the sum over factors of the product of their loadings. There
    is one factor common to all regions, one for each network, one along the hierarchy from
    unimodal to transmodal cortex, one on which default-mode and task-positive regions have
    opposite loadings, and 14 that vary smoothly over space (SD of the kernel 25 mm). All loadings
    vary between regions. Patients have two more factors: a stronger default-mode network, and a
    deviation of all networks.
    """
    names = tuple(NETWORKS)
    network = np.repeat(np.arange(len(names)), list(NETWORKS.values()))
    n = len(network)
    hierarchy = np.clip(
        np.array([_HIERARCHY[names[k]] for k in network]) + rng.normal(0, 0.06, n), 0, 1
    )
    seats = rng.uniform(-55, 55, (len(names), 3))
    centres = seats[network] + rng.normal(0, 28, (n, 3))
    features = FeatureSpace.of_edges(
        [f"{names[k]}_{place + 1}" for place, k in enumerate(network)], centres_mm=centres
    )
    loadings = _draw_loadings(network, hierarchy, centres, rng)
    return World(
        features=features,
        network=network,
        names=names,
        named=tuple(name in ("DorsAttn", "Cont", "Default", "Subcortical") for name in names),
        hierarchy=hierarchy,
        circuits=_circuits(network, names),
        core=np.flatnonzero(network == names.index("Default")),
        common=loadings.healthy[:, 0],
        change_sd=change_sd,
        loadings=loadings,
    )


def _draw_loadings(
    network: Ints,
    hierarchy: Floats,
    centres: Floats,
    rng: np.random.Generator,
) -> Loadings:
    n, names = len(network), tuple(NETWORKS)
    one_hot = (network[:, None] == np.arange(len(names))).astype(float)
    own = one_hot * np.sqrt(rng.uniform(0.12, 0.22, len(names)))
    sides = np.array([{"Default": 1.0, "DorsAttn": -1.0, "Cont": -1.0}.get(m, 0.0) for m in names])
    apart = ((centres[:, None] - centres) ** 2).sum(axis=-1)
    kernel = np.exp(-apart / (2 * 25.0**2)) + 1e-6 * np.eye(n)
    local = np.linalg.cholesky(kernel) @ rng.normal(0, 0.12, (n, _N_LOCAL))
    parts = [
        np.full((n, 1), np.sqrt(0.10)),
        own,
        np.sqrt(0.05) * (2 * hierarchy[:, None] - 1),
        np.sqrt(0.05) * sides[network][:, None],
    ]
    healthy = np.hstack([np.hstack(parts) * np.clip(rng.normal(1, 0.25, (n, 1)), 0.4, 1.6), local])
    healthy *= np.clip(rng.normal(1, 0.1, healthy.shape), 0.6, 1.4)
    pull = one_hot @ rng.choice([-0.2, 0.2], len(names))
    pull[network == names.index("Default")] = 0.25
    second = one_hot @ rng.normal(0, 0.15, len(names))
    patients = np.column_stack([pull, second]) * rng.normal(1, 0.2, (n, 2))
    size = (healthy**2).sum(axis=1) + (patients**2).sum(axis=1)
    shrink = np.sqrt(np.minimum(1.0, _HIGHEST_COMMON / size))[:, None]
    return Loadings(healthy * shrink, patients * shrink, len(names))


def _circuits(network: Ints, names: tuple[str, ...]) -> dict[str, npt.NDArray[np.intp]]:
    """Place the primary circuits in their networks."""
    i, j = edge_ends(len(network))
    default = network == names.index("Default")
    positive = np.isin(network, [names.index("DorsAttn"), names.index("Cont")])
    dlpfc = np.isin(np.arange(len(network)), np.flatnonzero(network == names.index("Cont"))[:4])
    amygdala = np.isin(
        np.arange(len(network)), np.flatnonzero(network == names.index("Subcortical"))[:2]
    )

    def between(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        return np.flatnonzero((a[i] & b[j]) | (b[i] & a[j]))

    sides = ((default, default), (positive, positive), (default, positive), (dlpfc, amygdala))
    return {name: between(*pair) for name, pair in zip(CIRCUITS, sides, strict=True)}
