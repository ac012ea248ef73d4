import numpy as np
import pytest

from circuitshift.pipeline.validation.outside.people import People, mean_deviation
from circuitshift.pipeline.validation.outside.world import invented_world


@pytest.fixture(scope="module")
def world():
    return invented_world(np.random.default_rng(1), {})


def test_the_deviation_is_that_of_the_means_of_participants(world):
    deviation = mean_deviation(world, np.random.default_rng(2))
    assert deviation[world.circuits["dmn"]].mean() < -0.02  # patients are hyperconnected
    assert 0.02 < deviation.std() < 0.15
    rng = np.random.default_rng(3)
    healthy, patients = (
        People.draw(world, 300, rng, patients=group).visit(rng).mean(axis=0)
        for group in (False, True)
    )
    slope, shift = np.polyfit(deviation, healthy - patients, 1)
    assert slope == pytest.approx(1, abs=0.1)
    assert shift == pytest.approx(0, abs=0.02)


def test_heavy_tails_vary_the_spread_between_participants():
    rng = np.random.default_rng(7)
    world = invented_world(rng, {})
    people = People.draw(world, 200, rng, tails_df=3.0)
    assert people.spread.max() > 3 * np.median(people.spread)
