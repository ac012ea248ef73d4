"""Longitudinal edges with a known truth, for tests, calibration and power.

z(i,t,e) = mu(e) + dev(e) [patients] + trait(i,e) + state(i,t,e), all in Fisher z. Trait and state
each have a person-wide shift, regional terms (a region that moves all its edges), terms of pairs of
networks, and edge noise, so edges of a person are not independent. With the default sizes a single
edge has an intraclass correlation near .4; published ones are near .3 (Noble 2019,
doi:10.1016/j.neuroimage.2019.116157).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.edges import distances, edge_ends, fisher_z
from circuitshift.pipeline.features import FeatureSpace

__all__ = ["TRUTHS", "EdgeSpec", "EdgeStudy", "Truth", "simulate_edges"]


@dataclass(frozen=True, slots=True)
class Truth:
    """What treatment does to the edges of the treated, in Fisher z.

    Parameters
    ----------
    shift : float
        Added to every edge.
    gain : float
        Every edge is multiplied by ``1 + gain``.
    attenuation : float
        Every correlation is multiplied by ``1 - attenuation`` (a loss of signal to noise; negative
        for a recovery).
    normalisation : float
        Share of the deviation from the healthy mean that is closed on every edge.
    specific : float
        Added to the edges of the first circuit only.
    region_loss : float
        Every correlation of region 0 is multiplied by ``1 - region_loss``: a region that drops out.
    artefact_z_per_mm : float
        Slope of change on edge length, the same in everybody.
    """

    shift: float = 0.0
    gain: float = 0.0
    attenuation: float = 0.0
    normalisation: float = 0.0
    specific: float = 0.0
    region_loss: float = 0.0
    artefact_z_per_mm: float = 0.0


TRUTHS: dict[str, Truth] = {
    "nothing": Truth(),
    "shift": Truth(shift=0.08),
    "gain": Truth(gain=0.2),
    "normalisation": Truth(normalisation=0.5),
    "specific": Truth(specific=0.1),
    "shift + specific": Truth(shift=0.08, specific=0.1),
    "gain + specific": Truth(gain=0.2, specific=0.1),
}


@dataclass(frozen=True, slots=True)
class EdgeSpec:
    """Size and noise of a simulated study; standard deviations in Fisher z.

    Parameters
    ----------
    n_regions, n_circuit : int
        Regions in all, and in the circuit (whose edges are those within it).
    n_treated, n_control, n_reference : int
        People.
    circuit_strength, circuit_deviation : float
        Typical strength of the circuit above the others, and its deviation in patients.
    deviation_sd : float
        Spread over edges of the patients' deviation.
    trait_sd, state_sd : tuple of four float
        Person-wide shift, regional terms, terms of pairs of networks, edge noise.
    n_circuits : int
        Circuits of `n_circuit` regions each; only the first deviates in patients.
    overlapping : bool
        Each circuit shares half of its regions with the one before.
    star : bool
        Circuits are the edges of their first region to their others (amygdala to DLPFC), not all
        edges within.
    missing : float
        Share of people without follow-up.
    control_noise : float
        Factor on the state noise of the control arm.
    tails_df : float
        Each person's state noise is scaled by sqrt(df / chi2(df)): Student-like heavy tails.
    hubs : float
        Share of regions whose own noise is four times as large.
    motion_mm : tuple of three float
        Spread over people of the change in framewise displacement, and its mean in the treated and
        in the control arm. One mm changes an edge by .3 z minus .006 z per mm above average length.
    """

    n_regions: int = 120
    n_circuit: int = 14
    n_treated: int = 30
    n_control: int = 0
    n_reference: int = 30
    circuit_strength: float = 0.25
    circuit_deviation: float = 0.12
    deviation_sd: float = 0.06
    trait_sd: tuple[float, float, float, float] = (0.05, 0.03, 0.08, 0.10)
    state_sd: tuple[float, float, float, float] = (0.05, 0.03, 0.11, 0.12)
    n_circuits: int = 1
    overlapping: bool = False
    star: bool = False
    missing: float = 0.0
    control_noise: float = 1.0
    tails_df: float = 0.0
    hubs: float = 0.0
    motion_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class EdgeStudy:
    """A simulated study.

    Parameters
    ----------
    baseline, followup : ndarray, shape (n_treated + n_control, n_edges)
        Fisher z; treated first.
    reference : ndarray, shape (n_reference, n_edges)
    treated : ndarray of bool, shape (n_treated + n_control,)
    circuits : dict of str to ndarray of int
        Positions of each circuit's edges; the first carries the specific effect.
    features : FeatureSpace
        The edges, with their lengths.
    typical, deviation : ndarray, shape (n_edges,)
        The true healthy mean, and healthy minus patients.
    baseline_only : ndarray, shape (n_missing, n_edges)
        People without follow-up.
    motion_mm : ndarray, shape (n_treated + n_control,)
        Change in mean framewise displacement.
    """

    baseline: Floats
    followup: Floats
    reference: Floats
    treated: npt.NDArray[np.bool_]
    circuits: dict[str, npt.NDArray[np.intp]]
    features: FeatureSpace
    typical: Floats
    deviation: Floats
    baseline_only: Floats
    motion_mm: Floats

    @property
    def circuit(self) -> npt.NDArray[np.intp]:
        """Edges of the first circuit."""
        return next(iter(self.circuits.values()))


def simulate_edges(truth: Truth, spec: EdgeSpec, rng: np.random.Generator) -> EdgeStudy:
    """Draw one study.

    Parameters
    ----------
    truth : Truth
    spec : EdgeSpec
    rng : numpy.random.Generator

    Returns
    -------
    EdgeStudy
    """
    n, (i, j) = spec.n_regions, edge_ends(spec.n_regions)
    circuits = _circuits(spec)
    inside = np.zeros(i.size, bool)
    inside[circuits["circuit"]] = True
    network = np.r_[np.zeros(spec.n_circuit, int), 1 + np.arange(n - spec.n_circuit) % 8]
    same = (network[i] == network[j]) & ~inside
    typical = 0.12 + 0.22 * same + rng.normal(0, 0.12, i.size)
    typical[inside] = 0.12 + spec.circuit_strength + rng.normal(0, 0.12, inside.sum())
    blocks = rng.normal(0, spec.deviation_sd, (9, 9))
    deviation = (blocks + blocks.T)[network[i], network[j]] / np.sqrt(2)
    deviation = deviation + rng.normal(0, spec.deviation_sd / 2, i.size)
    deviation[inside] -= spec.circuit_deviation  # patients too strong: hyperconnectivity
    centres = rng.uniform(-60, 60, (n, 3))
    distance = distances(centres)
    hub = np.where(np.arange(n) < round(spec.hubs * n), 4.0, 1.0)[::-1]

    def noise(participants: int, sd: tuple[float, float, float, float]) -> Floats:
        node = rng.normal(0, sd[1], (participants, n)) * hub
        block = rng.normal(0, sd[2], (participants, 9, 9))
        return np.asarray(
            rng.normal(0, sd[0], (participants, 1))
            + node[:, i]
            + node[:, j]
            + block[:, np.minimum(network[i], network[j]), np.maximum(network[i], network[j])]
            + rng.normal(0, sd[3], (participants, i.size))
        )

    participants = spec.n_treated + spec.n_control
    own = typical - deviation + noise(participants, spec.trait_sd)
    after = own.copy()
    treated = np.arange(participants) < spec.n_treated
    after[treated] = _apply(truth, own[treated], deviation, inside)
    after[treated] = _local(truth, after[treated], distance, i == 0)
    scale = np.where(treated, 1.0, spec.control_noise)[:, None]
    if spec.tails_df:
        scale = scale * np.sqrt(spec.tails_df / rng.chisquare(spec.tails_df, participants))[:, None]
    before = own + scale * noise(participants, spec.state_sd)
    after = after + scale * noise(participants, spec.state_sd)
    healthy = (
        typical + noise(spec.n_reference, spec.trait_sd) + noise(spec.n_reference, spec.state_sd)
    )
    motion = _motion(spec, treated, rng)
    after = after + motion[:, None] * (0.3 - 0.006 * (distance - distance.mean()))
    stayed = np.ones(participants, bool)
    if spec.missing:
        stayed[rng.permutation(participants)[: round(spec.missing * participants)]] = False
    return EdgeStudy(
        baseline=before[stayed],
        followup=after[stayed],
        reference=healthy,
        treated=treated[stayed],
        circuits=circuits,
        features=FeatureSpace.of_edges(n, centres_mm=centres, length_mm=distance),
        typical=typical,
        deviation=deviation,
        baseline_only=before[~stayed],
        motion_mm=motion[stayed],
    )


def _circuits(spec: EdgeSpec) -> dict[str, npt.NDArray[np.intp]]:
    """Place the circuits side by side, or each half upon the one before."""
    i, j = edge_ends(spec.n_regions)
    step = spec.n_circuit // 2 if spec.overlapping else spec.n_circuit
    out = {}
    for k in range(spec.n_circuits):
        first, last = k * step, k * step + spec.n_circuit
        edges = (i >= first) & (i < last) & (j >= first) & (j < last)
        if spec.star:
            edges &= i == first
        out["circuit" if k == 0 else f"circuit {k + 1}"] = np.flatnonzero(edges)
    return out


def _motion(spec: EdgeSpec, treated: npt.NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    spread, of_treated, of_control = spec.motion_mm
    if not any(spec.motion_mm):
        return np.zeros(len(treated))
    return np.where(treated, of_treated, of_control) + rng.normal(0, spread, len(treated))


def _apply(truth: Truth, z: Floats, deviation: Floats, inside: npt.NDArray[np.bool_]) -> Floats:
    out = z * (1 + truth.gain) + truth.shift + truth.normalisation * deviation
    if truth.attenuation:
        out = fisher_z(np.tanh(out) * (1 - truth.attenuation))
    return np.asarray(out + truth.specific * inside)


def _local(truth: Truth, z: Floats, distance: Floats, of_region: npt.NDArray[np.bool_]) -> Floats:
    out = z + truth.artefact_z_per_mm * (distance - distance.mean())
    if truth.region_loss:
        out[:, of_region] = fisher_z(np.tanh(out[:, of_region]) * (1 - truth.region_loss))
    return np.asarray(out)
