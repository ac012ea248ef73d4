"""What a simulated study plants: who its people are, and what treatment changes in them.

The truth is planted where the analysis estimates it, in the Fisher z of regional correlations:
``z(i, t, e) = typical(e) + deviation(e) [patients] + trait(i, e) + state(i, t, e)``, and at the
follow-up of a treated person the truth on top. Correlation matrices come from loadings on common
factors, ``R = F F'`` with a unit diagonal, so they are valid by construction: the healthy loadings
give `typical`, further columns give `deviation`, and random changes of the loadings give trait and
state. What the truth adds can leave the set of valid matrices; then the nearest one is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Atlas
from circuitshift.atlases.resolve import load_circuits
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import InputError

__all__ = [
    "EXPECTED",
    "PlantedTruth",
    "Population",
    "SimulationSpec",
    "Wander",
    "nearest_correlation",
    "participant_correlation",
    "plant",
    "population",
    "wander",
]

#: How a person or a session differs: relative strength of all loadings, and their change.
Wander = tuple[float, Floats]

#: Verdicts that are right for each truth.
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
    """What treatment does to the treated at follow-up.

    Sizes are chosen so that 14 treated, 14 control and 14 reference people with 150 volumes at
    2 s show the effect clearly in a group test.

    Parameters
    ----------
    name : {"nothing", "shift", "gain", "normalisation", "specific", "both"}
        `both` is shift plus specific.
    shift_z : float
        Added to the Fisher z of every edge.
    gain : float
        Every correlation is multiplied by it, as when the share of independent noise in each
        region changes.
    normalisation : float
        Share of the patients' deviation from the healthy mean that is closed on every edge.
    specific_z : float
        Added to the Fisher z of the circuits' edges.
    circuits : tuple of str
        Circuits that `specific_z` acts on.

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
            raise InputError(f"truth {self.name!r} is unknown; choose one of {', '.join(EXPECTED)}")


@dataclass(frozen=True, slots=True)
class SimulationSpec:
    """Size, noise and misfortunes of a simulated study.

    Parameters
    ----------
    n_treated, n_control, n_reference : int
        People; the reference group is healthy and has the first session only.
    n_volumes : int
    t_r_s : float
        Repetition time, s.
    voxel_mm : float
        Isotropic voxel size of the images.
    atlas : str
        Atlas whose regions are painted.
    sessions : tuple of two str
        Labels of baseline and follow-up.
    task : str
    fd_mm : tuple of three float
        Typical mean framewise displacement apart from jumps: at baseline, and at follow-up of the
        treated and of the control group.
    spikes : float
        Share of volumes with a sudden jump.
    share_missing : float
        Share of each patient group without a follow-up session.
    share_out_of_view : float
        Share of runs whose lowest slices were not scanned.
    view_z_mm : float
        Slices below it are missing in those runs.
    n_dummy : int
        Volumes before the steady state in each run.
    trait_sd, state_sd : tuple of three float
        How people, and sessions of one person, differ: relative strength of all loadings, change
        of loadings that a network shares, and of single regions.
    response_sd : float
        Standard deviation over treated people of their response, whose mean is 1.

    Raises
    ------
    InputError
        If a number is out of its range.
    """

    n_treated: int = 14
    n_control: int = 14
    n_reference: int = 14
    n_volumes: int = 150
    t_r_s: float = 2.0
    voxel_mm: float = 5.0
    atlas: str = "seitzman300"
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
            f"{name} = {getattr(self, name)} must be at least {least}"
            for name, least in (
                ("n_treated", 1),
                ("n_control", 0),
                ("n_reference", 0),
                ("n_volumes", 20),
                ("t_r_s", 0.1),
                ("voxel_mm", 2.0),
                ("n_dummy", 0),
            )
            if getattr(self, name) < least
        ]
        wrong += [
            f"{name} = {getattr(self, name)} must lie between 0 and 1"
            for name in ("spikes", "share_missing", "share_out_of_view")
            if not 0 <= getattr(self, name) < 1
        ]
        if wrong:
            raise InputError("cannot simulate: " + "; ".join(wrong))


# ------------------------------------------------------------------------------ population


@dataclass(frozen=True, slots=True)
class Population:
    """What is common to the people of a simulated study.

    Parameters
    ----------
    loadings : ndarray, shape (n_regions, n_factors)
        Healthy loadings F.
    deviation : ndarray, shape (n_regions, n_patterns)
        Further columns of F in patients.
    networks : ndarray, shape (n_regions, n_networks)
        One-hot membership.
    circuits : dict of str to ndarray of int
        Edges of the circuits of the truth, in the order of ``numpy.triu_indices``.
    """

    loadings: Floats
    deviation: Floats
    networks: Floats
    circuits: dict[str, npt.NDArray[np.intp]]

    @property
    def edges(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Rows and columns of the upper triangle."""
        i, j = np.triu_indices(len(self.loadings), 1)
        return i, j

    def typical_z(self) -> Floats:
        """Healthy mean, shape (n_edges,), Fisher z."""
        return np.asarray(np.arctanh((self.loadings @ self.loadings.T)[self.edges]))

    def deviation_z(self) -> Floats:
        """Patients minus healthy, shape (n_edges,), Fisher z."""
        both = np.concatenate([self.loadings, self.deviation], axis=1)
        return np.asarray(np.arctanh((both @ both.T)[self.edges])) - self.typical_z()


def population(
    atlas: Atlas, circuits: Sequence[str], rng: np.random.Generator, *, n_factors: int = 30
) -> Population:
    """Draw a population on an atlas.

    Healthy correlation is a sum of valid parts: one common to the whole brain, one within each
    network, one that falls with distance (a Gaussian kernel of 25 mm), and one that sets the
    default-mode network against the task-positive network. Patients deviate over the whole brain:
    a hyperconnected default-mode network that also pulls or pushes every other network, and a
    second pattern over all networks; without deviation outside the circuits, global normalisation
    could not be told from anything else.

    Parameters
    ----------
    atlas : Atlas
        With centres; networks where known.
    circuits : sequence of str
        Circuits whose edges are wanted.
    rng : numpy.random.Generator
    n_factors : int
        Leading factors that are kept.

    Returns
    -------
    Population

    Raises
    ------
    CircuitError
        If a circuit, or the default-mode and task-positive networks, do not resolve on the atlas.
    """
    n = len(atlas.regions)
    names = [region.network for region in atlas.regions]
    networks = np.array([[name == other for other in sorted(set(names))] for name in names], float)
    found = {c.name: c for c in load_circuits(atlas, list({*circuits, "dmn_tpn"})).circuits}
    dmn, tpn = list(found["dmn_tpn"].seeds), list(found["dmn_tpn"].targets)

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
    second[dmn] *= 0.5  # so that the default-mode network is not beyond all others in patients
    jitter = rng.normal(1, 0.2, (n, 2))
    return Population(
        loadings=_cap(loadings),
        deviation=np.column_stack([pull, second]) * jitter,
        networks=networks,
        circuits={name: found[name].edges(n) for name in circuits},
    )


def _cap(loadings: Floats, most: float = 0.8) -> Floats:
    """Shrink regions whose common variance would exceed `most`; the rest is their own noise."""
    size = (loadings**2).sum(1, keepdims=True)
    return np.asarray(loadings * np.sqrt(np.minimum(1, most / size)))


def wander(
    shape: tuple[int, int],
    participants: Population,
    sd: tuple[float, float, float],
    rng: np.random.Generator,
) -> Wander:
    """Relative strength and change of loadings of one person or session."""
    shared = participants.networks @ rng.normal(
        0, sd[1], (participants.networks.shape[1], shape[1])
    )
    return float(rng.normal(0, sd[0])), shared + rng.normal(0, sd[2], shape)


def participant_correlation(
    participants: Population, own: Wander, state: Wander, *, patient: bool
) -> Floats:
    """Correlation matrix of one session, before any treatment.

    Parameters
    ----------
    participants : Population
    own, state : tuple of (float, ndarray)
        Relative strength, and change of the loadings, of the person and of the session.
    patient : bool

    Returns
    -------
    ndarray, shape (n_regions, n_regions)
        Positive definite, unit diagonal.
    """
    loadings = (participants.loadings + own[1] + state[1]) * (1 + own[0] + state[0])
    if patient:
        loadings = np.concatenate([loadings, participants.deviation], axis=1)
    loadings = _cap(loadings)
    correlation = np.asarray(loadings @ loadings.T)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def nearest_correlation(correlation: Floats, *, least: float = 0.02) -> Floats:
    """Nearest valid correlation matrix, by clipping eigenvalues and restoring the diagonal.

    Parameters
    ----------
    correlation : ndarray, shape (n_regions, n_regions)
        Symmetric, unit diagonal.
    least : float
        Smallest eigenvalue before the diagonal is restored.

    Returns
    -------
    ndarray
        The input itself when it is positive definite with that margin.
    """
    try:
        np.linalg.cholesky(correlation - least * np.eye(len(correlation)))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(correlation)
        fixed = (vectors * np.maximum(values, least)) @ vectors.T
        size = np.sqrt(np.diag(fixed))
        fixed /= size[:, None] * size
        np.fill_diagonal(fixed, 1.0)
        return np.asarray(fixed)
    return correlation


def plant(
    correlation: Floats, truth: PlantedTruth, participants: Population, *, response: float = 1.0
) -> Floats:
    """Correlation matrix after treatment.

    Parameters
    ----------
    correlation : ndarray, shape (n_regions, n_regions)
        What the follow-up would be without treatment.
    truth : PlantedTruth
    participants : Population
    response : float
        Multiplies every size.

    Returns
    -------
    ndarray
        Nearest valid correlation matrix to the one planted.
    """
    z = np.arctanh(correlation[participants.edges])
    if truth.name in ("shift", "both"):
        z += response * truth.shift_z
    if truth.name in ("specific", "both"):
        hit = np.unique(np.concatenate([participants.circuits[name] for name in truth.circuits]))
        z[hit] += response * truth.specific_z
    if truth.name == "normalisation":
        z -= response * truth.normalisation * participants.deviation_z()
    r = np.tanh(z)
    if truth.name == "gain":
        r *= 1 + response * (truth.gain - 1)
    out = np.eye(len(correlation)) / 2
    out[participants.edges] = r
    return nearest_correlation(out + out.T)
