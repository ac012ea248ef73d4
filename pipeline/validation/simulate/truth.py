"""Plant a known treatment effect in simulated correlation matrices.

The effect is planted on the scale on which the analysis estimates it, the Fisher z of regional
correlations: ``z(i, t, e) = typical(e) + deviation(e) [patients] + trait(i, e) + state(i, t, e)``,
plus the effect at the follow-up visit of treated participants. Correlation matrices are computed
from loadings on common factors, ``R = F F'`` with a unit diagonal, and are therefore valid by
construction. The healthy loadings give `typical`, additional columns give `deviation`, and random
changes of the loadings give trait and state. A matrix to which an effect was added need not be a
valid correlation matrix; it is replaced by the nearest valid one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.atlases import DEFAULT_ATLAS
from circuitshift.atlases.records import Atlas
from circuitshift.atlases.resolve import load_circuits
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import InputError

__all__ = [
    "EXPECTED",
    "PlantedTruth",
    "Population",
    "SimulationSpec",
    "Variation",
    "draw_population",
    "draw_variation",
    "nearest_correlation",
    "participant_correlation",
    "plant",
]

#: Variation of a participant or a session: relative strength of all loadings, and their change.
Variation = tuple[float, Floats]

#: Verdicts that are correct for each planted truth.
EXPECTED: dict[str, tuple[str, ...]] = {
    "nothing": ("neither", "undetermined"),
    "shift": ("global",),
    "gain": ("global",),
    "normalisation": ("global",),
    "specific": ("circuit-specific",),
    "both": ("both",),
}


@dataclass(frozen=True, slots=True)
class PlantedTruth:
    """Effect of treatment on treated participants at follow-up.

    The default sizes produce a clear group difference with 14 treated, 14 control and 14 reference
    participants and 150 volumes at a repetition time of 2 s.

    Parameters
    ----------
    name : {"nothing", "shift", "gain", "normalisation", "specific", "both"}
        Kind of effect; ``"both"`` combines a shift and a circuit-specific effect.
    shift_z : float
        Added to the Fisher z of every edge.
    gain : float
        Factor on every correlation, as when the share of independent noise changes in every region.
    normalisation : float
        Share of the patients' deviation from the healthy mean that is removed from every edge.
    specific_z : float
        Added to the Fisher z of the edges of `circuits`.
    circuits : tuple of str
        Circuits that are changed by `specific_z`.

    Raises
    ------
    InputError
        If the name is unknown.
    """

    name: str
    shift_z: float = 0.08
    gain: float = 1.25
    normalisation: float = 0.6
    specific_z: float = 0.15
    circuits: tuple[str, ...] = ("dmn", "dmn_tpn")

    def __post_init__(self) -> None:
        if self.name not in EXPECTED:
            raise InputError(
                f"unknown planted truth {self.name!r}; choose one of {', '.join(EXPECTED)}"
            )


@dataclass(frozen=True, slots=True)
class SimulationSpec:
    """Size, noise and data loss of a simulated study.

    Parameters
    ----------
    n_treated, n_control, n_reference : int
        Number of participants in each group. Participants of the reference group are healthy and
        attend the first session only.
    n_volumes : int
        Volumes per run.
    t_r_s : float
        Repetition time, s.
    voxel_mm : float
        Isotropic voxel size of the images, mm.
    atlas : str
        Name of the atlas in whose regions the signal is simulated.
    sessions : tuple of two str
        Labels of the baseline and the follow-up session.
    task : str
        Task label of the runs.
    fd_mm : tuple of three float
        Typical mean framewise displacement without sudden jumps, mm: at baseline, at follow-up in
        the treated group, and at follow-up in the control group.
    spikes : float
        Share of volumes with a sudden jump.
    share_missing : float
        Share of each patient group without a follow-up session.
    share_out_of_view : float
        Share of runs whose lowest slices are missing.
    view_z_mm : float
        Height below which slices are missing in those runs, mm.
    n_dummy : int
        Volumes before the steady state in each run.
    trait_sd, state_sd : tuple of three float
        Standard deviations between participants, and between sessions of a participant, of the
        relative strength of all loadings, of the change of loadings shared by a network, and of the
        change of loadings of single regions.
    response_sd : float
        Standard deviation of the response over treated participants; its mean is 1.

    Raises
    ------
    InputError
        If a value is outside its range.
    """

    n_treated: int = 14
    n_control: int = 14
    n_reference: int = 14
    n_volumes: int = 150
    t_r_s: float = 2.0
    voxel_mm: float = 5.0
    atlas: str = DEFAULT_ATLAS
    sessions: tuple[str, str] = ("pre", "post")
    task: str = "rest"
    fd_mm: tuple[float, float, float] = (0.12, 0.18, 0.15)
    spikes: float = 0.01
    share_missing: float = 0.07
    share_out_of_view: float = 0.07
    view_z_mm: float = -36.0
    n_dummy: int = 0
    trait_sd: tuple[float, float, float] = (0.06, 0.03, 0.05)
    state_sd: tuple[float, float, float] = (0.04, 0.02, 0.04)
    response_sd: float = 0.2

    def __post_init__(self) -> None:
        wrong = [
            f"{name} = {getattr(self, name)} must be at least {lowest}"
            for name, lowest in (
                ("n_treated", 1),
                ("n_control", 0),
                ("n_reference", 0),
                ("n_volumes", 20),
                ("t_r_s", 0.1),
                ("voxel_mm", 2.0),
                ("n_dummy", 0),
            )
            if getattr(self, name) < lowest
        ]
        wrong += [
            f"{name} = {getattr(self, name)} must be at least 0 and below 1"
            for name in ("spikes", "share_missing", "share_out_of_view")
            if not 0 <= getattr(self, name) < 1
        ]
        if wrong:
            raise InputError("cannot simulate: " + "; ".join(wrong))


# ------------------------------------------------------------------------------ population


@dataclass(frozen=True, slots=True)
class Population:
    """Features shared by all participants of a simulated study.

    Parameters
    ----------
    loadings : ndarray, shape (n_regions, n_factors)
        Healthy loadings F.
    deviation : ndarray, shape (n_regions, n_patterns)
        Additional columns of F in patients.
    networks : ndarray, shape (n_regions, n_networks)
        One-hot network membership of each region.
    circuits : dict of str to ndarray of int
        Edges of the circuits that the truth changes, in the order of ``numpy.triu_indices``.
    """

    loadings: Floats
    deviation: Floats
    networks: Floats
    circuits: dict[str, npt.NDArray[np.intp]]

    @property
    def edges(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Row and column indices of the upper triangle, in the order of edges."""
        i, j = np.triu_indices(len(self.loadings), 1)
        return i, j

    def typical_z(self) -> Floats:
        """Compute the healthy mean of each edge, shape (n_edges,), Fisher z."""
        return np.asarray(np.arctanh((self.loadings @ self.loadings.T)[self.edges]))

    def deviation_z(self) -> Floats:
        """Compute patients minus healthy for each edge, shape (n_edges,), Fisher z."""
        both = np.concatenate([self.loadings, self.deviation], axis=1)
        return np.asarray(np.arctanh((both @ both.T)[self.edges])) - self.typical_z()


def draw_population(
    atlas: Atlas, circuits: Sequence[str], rng: np.random.Generator, *, n_factors: int = 30
) -> Population:
    """Draw the features that the participants of a simulated study share.

    The healthy correlation is a sum of four valid parts: one common to all regions, one within each
    network, one that decreases with distance (Gaussian kernel, SD 25 mm), and one that makes the
    default-mode and task-positive networks anticorrelated. Patients deviate across the complete
    brain: their default-mode network is hyperconnected and its correlation with every other network
    is raised or lowered, and a second pattern covers all networks. Without deviation outside the
    circuits, global normalisation would not be distinguishable from a circuit-specific effect.

    Parameters
    ----------
    atlas : Atlas
        Atlas with region centres, and with networks where available.
    circuits : sequence of str
        Circuits whose edges are returned.
    rng : numpy.random.Generator
        Source of random numbers.
    n_factors : int
        Number of leading factors that are retained.

    Returns
    -------
    Population
        Loadings, deviation, networks and circuits on the atlas.

    Raises
    ------
    CircuitError
        If a circuit, or the default-mode and task-positive networks, cannot be resolved on the
        atlas.
    """
    n = len(atlas.regions)
    names = [region.network for region in atlas.regions]
    networks = np.array([[name == other for other in sorted(set(names))] for name in names], float)
    resolved = {c.name: c for c in load_circuits(atlas, list({*circuits, "dmn_tpn"})).circuits}
    dmn, tpn = list(resolved["dmn_tpn"].seeds), list(resolved["dmn_tpn"].targets)

    centres = atlas.centres_mm()
    apart = ((centres[:, None] - centres[None]) ** 2).sum(-1)
    common = np.sqrt(0.09) * np.clip(rng.normal(1, 0.25, n), 0.4, 1.6)
    within = networks * np.sqrt(rng.uniform(0.10, 0.20, networks.shape[1]))
    against = np.zeros(n)
    against[dmn], against[tpn] = np.sqrt(0.08), -np.sqrt(0.08)
    healthy = np.outer(common, common) + within @ within.T + np.outer(against, against)
    healthy += 0.12 * np.exp(-apart / (2 * 25.0**2))
    values, vectors = np.linalg.eigh(healthy)
    loadings = vectors[:, -n_factors:] * np.sqrt(values[-n_factors:])

    pull = networks @ rng.choice([-0.25, 0.25], networks.shape[1])
    pull[dmn] = 0.30
    second = networks @ (0.25 * np.where(np.arange(networks.shape[1]) % 2, 1.0, -1.0))
    second[dmn] *= 0.5  # keeps the default-mode network within the range of the other networks
    jitter = rng.normal(1, 0.2, (n, 2))
    return Population(
        loadings=_limit_common_variance(loadings),
        deviation=np.column_stack([pull, second]) * jitter,
        networks=networks,
        circuits={name: resolved[name].edges(n) for name in circuits},
    )


def _limit_common_variance(loadings: Floats, highest: float = 0.8) -> Floats:
    """Scale down loadings of regions whose common variance exceeds `highest`.

    The remaining variance of a region is noise of its own.
    """
    size = (loadings**2).sum(1, keepdims=True)
    return np.asarray(loadings * np.sqrt(np.minimum(1, highest / size)))


def draw_variation(
    shape: tuple[int, int],
    population: Population,
    sd: tuple[float, float, float],
    rng: np.random.Generator,
) -> Variation:
    """Draw how the loadings of one participant or session differ from the population.

    Parameters
    ----------
    shape : tuple of two int
        Shape of the loadings, (n_regions, n_factors).
    population : Population
        Provides the network membership of regions.
    sd : tuple of three float
        Standard deviations of the relative strength, of the change shared by a network, and of the
        change of single regions.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    strength : float
        Relative strength of all loadings; 0 means unchanged.
    change : ndarray, shape (n_regions, n_factors)
        Added to the loadings.
    """
    shared = population.networks @ rng.normal(0, sd[1], (population.networks.shape[1], shape[1]))
    return float(rng.normal(0, sd[0])), shared + rng.normal(0, sd[2], shape)


def participant_correlation(
    population: Population, own: Variation, state: Variation, *, patient: bool
) -> Floats:
    """Compute the correlation matrix of one session without treatment.

    Parameters
    ----------
    population : Population
        Loadings shared by all participants.
    own, state : tuple of (float, ndarray)
        Relative strength and change of the loadings of the participant and of the session; see
        `draw_variation`.
    patient : bool
        Whether the deviation of patients is added.

    Returns
    -------
    ndarray, shape (n_regions, n_regions)
        Positive definite, with unit diagonal.
    """
    loadings = (population.loadings + own[1] + state[1]) * (1 + own[0] + state[0])
    if patient:
        loadings = np.concatenate([loadings, population.deviation], axis=1)
    loadings = _limit_common_variance(loadings)
    correlation = np.asarray(loadings @ loadings.T)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def nearest_correlation(correlation: Floats, *, min_eigenvalue: float = 0.02) -> Floats:
    """Return the nearest valid correlation matrix.

    Eigenvalues are clipped at `min_eigenvalue`, and the unit diagonal is restored.

    Parameters
    ----------
    correlation : ndarray, shape (n_regions, n_regions)
        Symmetric matrix with unit diagonal.
    min_eigenvalue : float
        Smallest eigenvalue before the diagonal is restored.

    Returns
    -------
    ndarray, shape (n_regions, n_regions)
        The input array itself if its smallest eigenvalue is at least `min_eigenvalue`.
    """
    try:
        np.linalg.cholesky(correlation - min_eigenvalue * np.eye(len(correlation)))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(correlation)
        fixed = (vectors * np.maximum(values, min_eigenvalue)) @ vectors.T
        size = np.sqrt(np.diag(fixed))
        fixed /= size[:, None] * size
        np.fill_diagonal(fixed, 1.0)
        return np.asarray(fixed)
    return correlation


def plant(
    correlation: Floats, truth: PlantedTruth, population: Population, *, response: float = 1.0
) -> Floats:
    """Compute the correlation matrix of a follow-up session after treatment.

    Parameters
    ----------
    correlation : ndarray, shape (n_regions, n_regions)
        Correlation matrix of the same session without treatment.
    truth : PlantedTruth
        Effect to plant.
    population : Population
        Provides the edges of circuits and the deviation of patients.
    response : float
        Factor on the size of the effect.

    Returns
    -------
    ndarray, shape (n_regions, n_regions)
        Nearest valid correlation matrix to the one with the planted effect.
    """
    z = np.arctanh(correlation[population.edges])
    if truth.name in ("shift", "both"):
        z += response * truth.shift_z
    if truth.name in ("specific", "both"):
        hit = np.unique(np.concatenate([population.circuits[name] for name in truth.circuits]))
        z[hit] += response * truth.specific_z
    if truth.name == "normalisation":
        z -= response * truth.normalisation * population.deviation_z()
    r = np.tanh(z)
    if truth.name == "gain":
        r *= 1 + response * (truth.gain - 1)
    out = np.eye(len(correlation)) / 2
    out[population.edges] = r
    return nearest_correlation(out + out.T)
