"""Draw the regional series of simulated studies, and the edges that are estimated from them.

The generator shares no code with `circuitshift.pipeline.validation.simulate.edges`, and has another
structure: participants and visits differ in the loadings of regions on factors, series are
autocorrelated, and each edge is a correlation that is estimated from a finite series. Noise is
therefore neither additive nor independent of the strength of an edge.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.edges import fisher_z
from circuitshift.pipeline.model.contrasts import Visits
from circuitshift.pipeline.validation.outside.effects import (
    Effect,
    Nothing,
    SignalLoss,
    Untreated,
    matrices,
)
from circuitshift.pipeline.validation.outside.people import People
from circuitshift.pipeline.validation.outside.world import World, invented_world

__all__ = ["Design", "OutsideStudy", "simulate_series", "typical_change_sd"]

_AUTOCORRELATION = (0.45, 0.08)  # lag 1: mean and SD over runs
_PSD_FLOOR = 0.02  # smallest eigenvalue of a correlation matrix with a planted effect
_PER_MM_MOTION = (0.3, -0.006)  # change of an edge per mm of motion, and per mm of length


@dataclass(frozen=True, slots=True)
class Design:
    """Size and difficulties of a simulated study.

    Parameters
    ----------
    n_treated, n_control, n_reference : int
        Number of participants of each group; reference participants have one visit.
    volumes : tuple of two int
        Volumes of the runs at baseline and at follow-up.
    tails_df : float
        If positive, the changes of loadings between visits are multiplied, for each participant,
        by sqrt(df / chi2(df)), as in Student's t distribution.
    selected : bool
        Whether patients are those with the strongest default-mode network at baseline among twice
        as many candidates, as measured by the baseline run itself.
    crossover : bool
        Whether each participant also has a control condition, always before the treatment.
    day : Effect
        Effect on the second visit of the first day of a crossover.
    motion_reliability : float
        If positive, motion differs between the visits and changes edges, and is measured with this
        reliability.
    quality_error : float
        If positive, the change of the logarithm of each region's signal fraction is measured with
        an error of this standard deviation.
    """

    n_treated: int = 30
    n_control: int = 0
    n_reference: int = 30
    volumes: tuple[int, int] = (200, 200)
    tails_df: float = 0.0
    selected: bool = False
    crossover: bool = False
    day: Effect = field(default_factory=Nothing)
    motion_reliability: float = 0.0
    quality_error: float = 0.0


@dataclass(frozen=True, slots=True)
class OutsideStudy:
    """Edges of a study, and the brain in which its truth was planted.

    Parameters
    ----------
    visits : Visits
        Study in the form in which it is analysed.
    world : World
        Regions, networks and circuits.
    networks : tuple of str or None
        Network of each region, where the atlas of the study has networks.
    """

    visits: Visits
    world: World
    networks: tuple[str, ...] | None = None


def simulate_series(effect: Effect, design: Design, rng: np.random.Generator) -> OutsideStudy:
    """Simulate the regional series of a study, and estimate its edges.

    Parameters
    ----------
    effect : Effect
        Effect on treated participants at follow-up.
    design : Design
        Size and difficulties of the study.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    OutsideStudy
    """
    return _draw(effect, design, invented_world(rng, dict(typical_change_sd())), rng)


def _draw(effect: Effect, design: Design, world: World, rng: np.random.Generator) -> OutsideStudy:
    """Draw the visits of all participants of a study."""
    n = design.n_treated + design.n_control
    people = People.draw(world, 2 * n if design.selected else n, rng, tails_df=design.tails_df)
    treated = np.arange(n) < design.n_treated
    baseline = _measured(people.visit(rng), design.volumes[0], rng)
    if design.selected:
        strength = baseline[:, world.circuits["dmn"]].mean(axis=1)
        chosen = np.sort(np.argsort(-strength)[:n])
        people, baseline = people.take(chosen), baseline[chosen]
    after = people.visit(rng)
    after = np.where(treated[:, None], effect(Untreated(after, world, rng)), after)
    motion, measured = _motion(design, treated, rng)
    intercept, slope = _PER_MM_MOTION
    after = after + motion[:, None] * (intercept + slope * (world.length - world.length.mean()))
    visits = Visits(
        baseline=baseline,
        followup=_measured(after, design.volumes[1], rng),
        features=world.features,
        treated=treated if design.n_control else None,
        reference=_reference(world, design, rng),
        motion_mm=measured if design.motion_reliability else None,
        signal_quality=_quality(effect, design, world, rng) if design.quality_error else None,
    )
    if design.crossover:
        first, second = people.visit(rng), design.day(Untreated(people.visit(rng), world, rng))
        visits = replace(
            visits,
            control_baseline=_measured(first, design.volumes[0], rng),
            control_followup=_measured(second, design.volumes[1], rng),
        )
    return OutsideStudy(visits, world, tuple(world.names[k] for k in world.network))


def _motion(design: Design, treated: Bools, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw the true and the measured change of framewise displacement, mm."""
    n = len(treated)
    if not design.motion_reliability:
        return np.zeros(n), np.zeros(n)
    sd = 0.08
    # without a control arm the mean change is zero: a measured mean with errors cannot remove it
    mean = 0.06 if design.n_control else 0.0
    true = rng.normal(0, sd, n) + mean * treated
    error = sd * np.sqrt(1 / design.motion_reliability - 1)
    return true, true + rng.normal(0, error, n)


def _quality(effect: Effect, design: Design, world: World, rng: np.random.Generator) -> Floats:
    """Measure the change of each region's signal fraction, shape (n_participants, n_regions)."""
    n = design.n_treated + design.n_control
    true = np.zeros((n, world.features.n_regions))
    if isinstance(effect, SignalLoss):
        true[: design.n_treated] = effect.log_change(world)
    return true + rng.normal(0, design.quality_error, true.shape)


def _reference(world: World, design: Design, rng: np.random.Generator) -> Floats | None:
    if not design.n_reference:
        return None
    healthy = People.draw(world, design.n_reference, rng, patients=False)
    return _measured(healthy.visit(rng), design.volumes[0], rng)


def _measured(z: Floats, n_volumes: int, rng: np.random.Generator) -> Floats:
    """Draw series with the correlations of edges, and return the edges of the series.

    Parameters
    ----------
    z : ndarray, shape (n, n_edges)
        True edges of each run, Fisher z.
    n_volumes : int
        Number of volumes of each run.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    ndarray, shape (n, n_edges)
        Estimated edges, Fisher z.
    """
    n_regions = (1 + int(np.sqrt(1 + 8 * z.shape[1]))) // 2
    roots = _roots(matrices(z, n_regions)).astype(np.float32)
    phi = np.clip(rng.normal(*_AUTOCORRELATION, (len(z), 1)), 0.0, 0.9).astype(np.float32)
    rest = np.sqrt(1 - phi**2)
    # volumes first, so that each step of the recursion is contiguous in memory
    noise = rng.standard_normal((n_volumes, len(z), n_regions), dtype=np.float32)
    for k in range(1, n_volumes):
        noise[k] *= rest
        noise[k] += phi * noise[k - 1]
    series = np.swapaxes(noise, 0, 1) @ np.swapaxes(roots, 1, 2)
    series -= series.mean(axis=1, keepdims=True)
    series /= np.sqrt((series**2).sum(axis=1, keepdims=True))
    i, j = np.triu_indices(n_regions, 1)
    return fisher_z((np.swapaxes(series, 1, 2) @ series)[:, i, j])


def _roots(r: Floats) -> Floats:
    """Return the Cholesky factors of the nearest valid correlation matrices."""
    floor = _PSD_FLOOR * np.eye(r.shape[-1])
    try:
        np.linalg.cholesky(r - floor)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(r)
        wrong = values[:, 0] < _PSD_FLOOR
        kept = np.maximum(values[wrong], _PSD_FLOOR)
        fixed = (vectors[wrong] * kept[:, None, :]) @ np.swapaxes(vectors[wrong], 1, 2)
        size = np.sqrt(np.einsum("nuu->nu", fixed))
        r = r.copy()
        r[wrong] = fixed / (size[:, :, None] * size[:, None, :])
    return np.asarray(np.linalg.cholesky(r))


@lru_cache(maxsize=1)
def typical_change_sd() -> tuple[tuple[str, float], ...]:
    """Estimate how much the mean of each circuit changes without treatment.

    Returns
    -------
    tuple of (str, float)
        Standard deviation over participants of the change of each circuit, Fisher z: the root of
        the mean variance in six untreated groups of 40 participants, with a fixed seed.
    """
    rng = np.random.default_rng(17)
    variances: dict[str, list[float]] = {}
    for _ in range(6):
        world = invented_world(rng, {})
        study = _draw(Nothing(), Design(n_treated=40, n_reference=0), world, rng)
        for name, positions in world.circuits.items():
            change = study.visits.change[:, positions].mean(axis=1)
            variances.setdefault(name, []).append(float(change.var(ddof=1)))
    return tuple((name, float(np.sqrt(np.mean(v)))) for name, v in variances.items())
