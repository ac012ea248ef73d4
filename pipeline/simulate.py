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

from circuitshift.pipeline.connectivity import fisher_z

__all__ = ["TRUTHS", "EdgeSpec", "EdgeStudy", "Truth", "simulate_edges"]

Floats = npt.NDArray[np.float64]


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
        Added to the edges of the circuit only.
    """

    shift: float = 0.0
    gain: float = 0.0
    attenuation: float = 0.0
    normalisation: float = 0.0
    specific: float = 0.0


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


@dataclass(frozen=True, slots=True)
class EdgeStudy:
    """A simulated study.

    Parameters
    ----------
    baseline, followup : ndarray, shape (n_treated + n_control, n_edges)
        Fisher z; treated first.
    reference : ndarray, shape (n_reference, n_edges)
    treated : ndarray of bool, shape (n_treated + n_control,)
    circuit : ndarray of int
        Positions of the circuit's edges.
    distance : ndarray, shape (n_edges,)
        Length of each edge, mm.
    typical, deviation : ndarray, shape (n_edges,)
        The true healthy mean, and healthy minus patients.
    """

    baseline: Floats
    followup: Floats
    reference: Floats
    treated: npt.NDArray[np.bool_]
    circuit: npt.NDArray[np.intp]
    distance: Floats
    typical: Floats
    deviation: Floats


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
    n, (i, j) = spec.n_regions, np.triu_indices(spec.n_regions, 1)
    inside = (i < spec.n_circuit) & (j < spec.n_circuit)
    network = np.r_[np.zeros(spec.n_circuit, int), 1 + np.arange(n - spec.n_circuit) % 8]
    same = (network[i] == network[j]) & ~inside
    typical = 0.12 + 0.22 * same + rng.normal(0, 0.12, i.size)
    typical[inside] = 0.12 + spec.circuit_strength + rng.normal(0, 0.12, inside.sum())
    blocks = rng.normal(0, spec.deviation_sd, (9, 9))
    deviation = (blocks + blocks.T)[network[i], network[j]] / np.sqrt(2)
    deviation = deviation + rng.normal(0, spec.deviation_sd / 2, i.size)
    deviation[inside] -= spec.circuit_deviation  # patients too strong: hyperconnectivity
    centres = rng.uniform(-60, 60, (n, 3))
    distance = np.linalg.norm(centres[i] - centres[j], axis=1)

    def noise(people: int, sd: tuple[float, float, float, float]) -> Floats:
        node = rng.normal(0, sd[1], (people, n))
        block = rng.normal(0, sd[2], (people, 9, 9))
        return np.asarray(
            rng.normal(0, sd[0], (people, 1))
            + node[:, i]
            + node[:, j]
            + block[:, np.minimum(network[i], network[j]), np.maximum(network[i], network[j])]
            + rng.normal(0, sd[3], (people, i.size))
        )

    people = spec.n_treated + spec.n_control
    own = typical - deviation + noise(people, spec.trait_sd)
    after = own.copy()
    treated = np.arange(people) < spec.n_treated
    after[treated] = _apply(truth, own[treated], deviation, inside)
    return EdgeStudy(
        baseline=own + noise(people, spec.state_sd),
        followup=after + noise(people, spec.state_sd),
        reference=typical
        + noise(spec.n_reference, spec.trait_sd)
        + noise(spec.n_reference, spec.state_sd),
        treated=treated,
        circuit=np.flatnonzero(inside),
        distance=distance,
        typical=typical,
        deviation=deviation,
    )


def _apply(truth: Truth, z: Floats, deviation: Floats, inside: npt.NDArray[np.bool_]) -> Floats:
    out = z * (1 + truth.gain) + truth.shift + truth.normalisation * deviation
    if truth.attenuation:
        out = fisher_z(np.tanh(out) * (1 - truth.attenuation))
    return np.asarray(out + truth.specific * inside)
