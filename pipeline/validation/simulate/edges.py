"""Simulate longitudinal edges with a known effect, for tests, calibration and power analysis.

The model is ``z(i, t, e) = mu(e) + dev(e) [patients] + trait(i, e) + state(i, t, e)``, all in
Fisher z. Trait and state each consist of a shift common to all edges of a participant, regional
terms (a region that changes all its edges), terms of pairs of networks, and edge noise. Edges of a
participant are therefore not independent. With the default sizes, a single edge has an intraclass
correlation near 0.4; published values are near 0.3 (Noble 2019,
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
    """Effect of treatment on the edges of treated participants, Fisher z.

    Parameters
    ----------
    shift : float
        Added to every edge.
    gain : float
        Every edge is multiplied by ``1 + gain``.
    attenuation : float
        Every correlation is multiplied by ``1 - attenuation``, as after a loss of signal-to-noise
        ratio; negative values are a recovery.
    normalisation : float
        Share of the deviation from the healthy mean that is removed from every edge.
    specific : float
        Added to the edges of the first circuit only.
    region_loss : float
        Every correlation of region 0 is multiplied by ``1 - region_loss``, as after signal dropout
        in this region.
    artefact_z_per_mm : float
        Slope of the change on edge length, equal in all treated participants.
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
    """Size and noise of a simulated study; standard deviations are in Fisher z.

    Parameters
    ----------
    n_regions, n_circuit : int
        Number of regions in total, and in the circuit, whose edges are those between its regions.
    n_treated, n_control, n_reference : int
        Number of participants in each group.
    circuit_strength, circuit_deviation : float
        Typical strength of the circuit above other edges, and its deviation in patients.
    deviation_sd : float
        SD over edges of the patients' deviation.
    trait_sd, state_sd : tuple of four float
        SD of the shift common to all edges of a participant, of regional terms, of terms of pairs
        of networks, and of edge noise.
    n_circuits : int
        Number of circuits of `n_circuit` regions each; only the first deviates in patients.
    overlapping : bool
        Whether each circuit shares half of its regions with the previous one.
    star : bool
        Whether circuits consist of the edges between their first region and their other regions (as
        between amygdala and DLPFC) instead of all edges between their regions.
    missing : float
        Share of participants without follow-up.
    control_noise : float
        Factor on the state noise of the control arm.
    tails_df : float
        If positive, the state noise of each participant is multiplied by sqrt(df / chi2(df)), which
        gives heavy tails as in Student's t distribution.
    hubs : float
        Share of regions whose regional terms are four times as large.
    motion_mm : tuple of three float
        SD over participants of the change in framewise displacement, and its mean in the treated
        and in the control arm, mm. One millimetre changes an edge by 0.3 minus 0.006 per mm of
        length above the average, Fisher z.
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
    """Edges of a simulated study.

    Parameters
    ----------
    baseline, followup : ndarray, shape (n_treated + n_control, n_edges)
        Fisher z of participants with both visits, treated participants first.
    reference : ndarray, shape (n_reference, n_edges)
        Fisher z of the healthy reference group.
    treated : ndarray of bool, shape (n_treated + n_control,)
        Whether each participant with both visits is treated.
    circuits : dict of str to ndarray of int
        Positions of the edges of each circuit; the first circuit carries the specific effect.
    features : FeatureSpace
        Description of the edges, with their lengths.
    typical, deviation : ndarray, shape (n_edges,)
        True healthy mean, and true healthy mean minus true mean of patients, Fisher z.
    baseline_only : ndarray, shape (n_missing, n_edges)
        Fisher z of participants without follow-up.
    motion_mm : ndarray, shape (n_treated + n_control,)
        Change in mean framewise displacement, mm.
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
        """Positions of the edges of the first circuit."""
        return next(iter(self.circuits.values()))


def simulate_edges(truth: Truth, spec: EdgeSpec, rng: np.random.Generator) -> EdgeStudy:
    """Draw the edges of one study.

    Parameters
    ----------
    truth : Truth
        Effect of treatment.
    spec : EdgeSpec
        Size and noise of the study.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    EdgeStudy
        Edges of both visits, with the true values.
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
    deviation[inside] -= spec.circuit_deviation  # hyperconnectivity in patients
    centres = rng.uniform(-60, 60, (n, 3))
    distance = distances(centres)
    hub = np.where(np.arange(n) < round(spec.hubs * n), 4.0, 1.0)[::-1]

    def noise(n_participants: int, sd: tuple[float, float, float, float]) -> Floats:
        node = rng.normal(0, sd[1], (n_participants, n)) * hub
        block = rng.normal(0, sd[2], (n_participants, 9, 9))
        return np.asarray(
            rng.normal(0, sd[0], (n_participants, 1))
            + node[:, i]
            + node[:, j]
            + block[:, np.minimum(network[i], network[j]), np.maximum(network[i], network[j])]
            + rng.normal(0, sd[3], (n_participants, i.size))
        )

    n_participants = spec.n_treated + spec.n_control
    own = typical - deviation + noise(n_participants, spec.trait_sd)
    after = own.copy()
    treated = np.arange(n_participants) < spec.n_treated
    after[treated] = _add_global_and_specific(truth, own[treated], deviation, inside)
    after[treated] = _add_local(truth, after[treated], distance, i == 0)
    scale = np.where(treated, 1.0, spec.control_noise)[:, None]
    if spec.tails_df:
        scale = (
            scale * np.sqrt(spec.tails_df / rng.chisquare(spec.tails_df, n_participants))[:, None]
        )
    before = own + scale * noise(n_participants, spec.state_sd)
    after = after + scale * noise(n_participants, spec.state_sd)
    reference_z = (
        typical + noise(spec.n_reference, spec.trait_sd) + noise(spec.n_reference, spec.state_sd)
    )
    motion = _motion(spec, treated, rng)
    after = after + motion[:, None] * (0.3 - 0.006 * (distance - distance.mean()))
    has_followup = np.ones(n_participants, bool)
    if spec.missing:
        has_followup[rng.permutation(n_participants)[: round(spec.missing * n_participants)]] = (
            False
        )
    features = FeatureSpace.of_edges(n, centres_mm=centres, length_mm=distance)
    # heavy tails can exceed the Fisher z of the largest correlation that is accepted as measured
    low, high = features.valid_range
    return EdgeStudy(
        baseline=before[has_followup].clip(low, high),
        followup=after[has_followup].clip(low, high),
        reference=reference_z,
        treated=treated[has_followup],
        circuits=circuits,
        features=features,
        typical=typical,
        deviation=deviation,
        baseline_only=before[~has_followup],
        motion_mm=motion[has_followup],
    )


def _circuits(spec: EdgeSpec) -> dict[str, npt.NDArray[np.intp]]:
    """Place circuits side by side, or each one half upon the previous one."""
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
    spread, mean_treated, mean_control = spec.motion_mm
    if not any(spec.motion_mm):
        return np.zeros(len(treated))
    return np.where(treated, mean_treated, mean_control) + rng.normal(0, spread, len(treated))


def _add_global_and_specific(
    truth: Truth, z: Floats, deviation: Floats, inside: npt.NDArray[np.bool_]
) -> Floats:
    """Add the effects on all edges and on the first circuit."""
    out = z * (1 + truth.gain) + truth.shift + truth.normalisation * deviation
    if truth.attenuation:
        out = fisher_z(np.tanh(out) * (1 - truth.attenuation))
    return np.asarray(out + truth.specific * inside)


def _add_local(
    truth: Truth, z: Floats, distance: Floats, in_region: npt.NDArray[np.bool_]
) -> Floats:
    """Add the artefact of distance and the signal loss of one region."""
    out = z + truth.artefact_z_per_mm * (distance - distance.mean())
    if truth.region_loss:
        out[:, in_region] = fisher_z(np.tanh(out[:, in_region]) * (1 - truth.region_loss))
    return np.asarray(out)
