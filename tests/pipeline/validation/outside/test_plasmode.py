"""Truths that are planted in measured series."""

import numpy as np
import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.validation.outside.effects import matrices
from circuitshift.pipeline.validation.outside.measured import MeasuredPool
from circuitshift.pipeline.validation.outside.plasmode import N_NETWORKS, Plasmode, measured_world
from circuitshift.pipeline.validation.outside.rows import ROWS

DMN = ("Precuneus", "Cingulum_Post", "Angular", "Frontal_Sup_Medial", "Frontal_Med_Orb")
OTHERS = (
    "Frontal_Mid",
    "Parietal_Sup",
    "Parietal_Inf",
    "Amygdala",
    *(f"Area{k}" for k in range(31)),
)
LABELS = tuple(f"{name}_{side}" for name in (*DMN, *OTHERS) for side in "LR")
N = 10


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(1)
    n = len(LABELS)
    group = np.r_[np.zeros(10, int), 1 + np.arange(n - 10) // 8]  # one factor for each group
    loading = 0.6 * (group[:, None] == np.arange(group.max() + 1)) + 0.2
    covariance = loading @ loading.T + np.eye(n) * 0.4
    i, j = np.triu_indices(n, 1)
    visits = []
    for _ in range(N):
        runs = rng.multivariate_normal(np.zeros(n), covariance, size=(3, 120))
        visits.append(np.array([np.arctanh(np.corrcoef(run.T)[i, j]) for run in runs]))
    return Plasmode.of(MeasuredPool(LABELS, None, tuple(visits)))


def test_the_world_is_that_of_the_series(source):
    world = source.world
    assert set(world.circuits) == {"dmn", "tpn", "dmn_tpn", "dlpfc_amygdala"}
    assert {LABELS[k].rsplit("_", 1)[0] for k in world.core} == set(DMN)
    assert np.unique(world.network).size == N_NETWORKS
    assert len(set(world.network[world.core])) == 1  # they share a factor
    unnamed = np.isin(world.network, world.unnamed())
    i, j = world.ends
    for positions in world.circuits.values():
        assert not (unnamed[i[positions]] | unnamed[j[positions]]).any()
    assert world.hierarchy.min() == 0
    assert world.hierarchy.max() == 1
    assert world.hierarchy[world.core].mean() > 0.5
    assert world.common is None
    assert 0 < world.change_sd["dmn"] < 0.3


@pytest.mark.parametrize("arms", ["", ", two arms"])
def test_studies_are_visits_of_the_pool_in_random_order(source, arms):
    study = source(ROWS[f"nothing{arms}"], np.random.default_rng(4))
    visits = study.visits
    known = np.vstack(source.pool.visits)
    for z in (visits.baseline, visits.followup):
        assert all((known == row).all(axis=1).any() for row in z)
    assert not (visits.baseline == visits.followup).all(axis=1).any()
    assert (visits.treated is None) == (arms == "")
    if arms:
        assert visits.treated.sum() == N // 2
    again = source(ROWS[f"nothing{arms}"], np.random.default_rng(4)).visits
    np.testing.assert_array_equal(again.followup, visits.followup)


def test_the_order_of_visits_is_exchanged(source):
    first = {z[0].tobytes() for z in source.pool.visits}
    shares = [
        np.mean([row.tobytes() in first for row in source(ROWS["nothing"], rng).visits.followup])
        for rng in map(np.random.default_rng, range(30))
    ]
    assert np.mean(shares) == pytest.approx(1 / 3, abs=0.08)  # one of three visits


def test_effects_are_planted_in_the_second_visit_of_treated_participants(source):
    name = "specific, strong circuit, two arms"
    null, planted = (
        source(ROWS[row], np.random.default_rng(8)).visits for row in ("nothing, two arms", name)
    )
    difference = planted.followup - null.followup
    np.testing.assert_array_equal(planted.baseline, null.baseline)
    assert not difference[~planted.treated].any()
    np.testing.assert_allclose(difference[planted.treated][:, source.world.circuits["dmn"]], -0.1)


@pytest.mark.parametrize("row", ["global signal +35 %", "amplitudes of networks", "hubs"])
def test_effects_outside_the_model_can_be_planted(source, row):
    visits = source(ROWS[row], np.random.default_rng(9)).visits
    assert np.isfinite(visits.followup).all()
    assert np.abs(np.tanh(visits.followup)).max() < 1
    assert matrices(visits.followup, len(LABELS)).shape == (N, len(LABELS), len(LABELS))


def test_series_without_a_default_mode_network_are_refused():
    labels = tuple(f"Area{k}" for k in range(20))
    pool = MeasuredPool(labels, None, tuple(np.zeros((2, 190)) for _ in range(8)))
    with pytest.raises(InputError, match="default-mode network, in which truths are planted"):
        measured_world(pool)
