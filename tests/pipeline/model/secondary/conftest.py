"""A small simulated study, as arrays, for the secondary analyses."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.model.analyse import analyse
from circuitshift.pipeline.model.contrasts import Levels, Rules, Visits
from circuitshift.pipeline.model.secondary.record import SecondaryData, VisitMotion
from circuitshift.pipeline.validation.simulate.edges import EdgeSpec, Truth, simulate_edges

N_REGIONS = 20
SPEC = EdgeSpec(
    n_regions=N_REGIONS,
    n_circuit=6,
    n_treated=9,
    n_control=9,
    n_reference=9,
    deviation_sd=0.2,
    trait_sd=(0.03, 0.02, 0.02, 0.05),
    state_sd=(0.03, 0.02, 0.02, 0.08),
)


def circuits() -> dict[str, np.ndarray]:
    """Return the edges among the first six regions, and among the last six."""
    i, j = np.triu_indices(N_REGIONS, 1)
    return {"dmn": np.flatnonzero((i < 6) & (j < 6)), "tpn": np.flatnonzero(i >= 14)}


def levels_of(visits: Visits) -> Levels:
    """Return both visits of all participants as rows of one table."""
    n = len(visits.baseline)
    return Levels(
        z=np.vstack([visits.baseline, visits.followup]),
        person=np.tile(np.arange(n), 2),
        owner=np.tile(np.arange(n), 2),
        visit=np.repeat([0, 1], n),
        names=("pre", "post"),
        days=(),
        treated=None if visits.treated is None else np.tile(visits.treated, 2),
        motion_mm=None,
        covariates=np.empty((2 * n, 0)),
    )


def motion_of(visits: Visits, seed: int) -> VisitMotion:
    """Return random motion at both visits, and halves of the volumes that differ by noise."""
    rng = np.random.default_rng(seed)
    fd = rng.gamma(4, 0.05, (len(visits.baseline), 2))
    noise = rng.normal(0, 0.1, visits.change.shape)
    return VisitMotion(fd, np.empty(0), visits.change - noise, visits.change + noise)


@pytest.fixture(scope="session")
def study_of() -> Callable[..., SecondaryData]:
    """Return a function that simulates a study with a given truth, size and visits."""

    def make(truth: Truth | None = None, *, seed: int = 1, **more: object) -> SecondaryData:
        spec = {k: more.pop(k) for k in list(more) if k in EdgeSpec.__dataclass_fields__}
        study = simulate_edges(truth or Truth(), replace(SPEC, **spec), np.random.default_rng(seed))
        groups = {
            "treated": None if study.treated.all() else study.treated,
            "reference": study.reference if len(study.reference) else None,
        }
        visits = Visits(study.baseline, study.followup, study.features, **(groups | more))
        rules = Rules(n_permutations=99)
        return SecondaryData(
            analyse(visits, circuits(), rng=np.random.default_rng(seed), rules=rules),
            visits,
            rules,
            participants=[f"sub-{k:02d}" for k in range(len(visits.baseline))],
            networks=[("Default", "Visual")[k % 2] for k in range(N_REGIONS)],
            rng=np.random.default_rng(seed),
            levels=levels_of(visits),
            baseline_halves=(visits.baseline, visits.followup),
            log_sd=np.random.default_rng(seed).normal(0, 0.1, (len(visits.baseline), 2, N_REGIONS)),
            treatment_first=(np.arange(len(visits.baseline)) % 2).astype(float),
            arousal={
                "heart rate": np.random.default_rng(seed).normal(70, 8, (len(visits.baseline), 2))
            },
            motion=motion_of(visits, seed),
            moderators={"dose": np.random.default_rng(seed).normal(20, 5, len(visits.baseline))},
        )

    return make
