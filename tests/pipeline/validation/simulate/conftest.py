"""Atlas, grid and population shared by the tests of the simulation."""

import numpy as np
import pytest

from circuitshift.atlases.load import load_atlas
from circuitshift.atlases.records import Atlas
from circuitshift.pipeline.validation.simulate.bold_run import Grid, make_grid
from circuitshift.pipeline.validation.simulate.head import Head, HeadSpec, draw_head
from circuitshift.pipeline.validation.simulate.truth import (
    Population,
    SimulationSpec,
    draw_population,
    draw_variation,
    participant_correlation,
)


@pytest.fixture(scope="session")
def atlas() -> Atlas:
    return load_atlas("seitzman300")


@pytest.fixture(scope="session")
def grid(atlas: Atlas) -> Grid:
    return make_grid(atlas, 5.0)


@pytest.fixture(scope="session")
def population(atlas: Atlas) -> Population:
    return draw_population(atlas, ("dmn", "dmn_tpn"), np.random.default_rng(1))


@pytest.fixture(scope="session")
def baseline(population: Population) -> np.ndarray:
    """Correlation matrix of a baseline session of a patient."""
    rng = np.random.default_rng(2)
    spec = SimulationSpec()
    own = draw_variation(population.loadings.shape, population, spec.trait_sd, rng)
    state = draw_variation(population.loadings.shape, population, spec.state_sd, rng)
    return participant_correlation(population, own, state, patient=True)


@pytest.fixture(scope="session")
def head() -> Head:
    return draw_head(HeadSpec(bold_mm=(4.0, 4.0, 4.0)), np.random.default_rng(3))
