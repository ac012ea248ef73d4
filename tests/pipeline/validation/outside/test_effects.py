"""Effects change exactly the connectivity that they name."""

import numpy as np
import pytest

from circuitshift.pipeline.validation.outside import effects
from circuitshift.pipeline.validation.outside.effects import Untreated, matrices, upper
from circuitshift.pipeline.validation.outside.people import mean_deviation
from circuitshift.pipeline.validation.outside.world import invented_world

N = 7


@pytest.fixture
def given():
    rng = np.random.default_rng(3)
    world = invented_world(rng, {"dmn": 0.1, "tpn": 0.2})
    loadings = world.loadings.healthy * (
        1 + rng.normal(0, 0.05, (N, *world.loadings.healthy.shape))
    )
    z = upper(loadings @ np.swapaxes(loadings, 1, 2))
    return Untreated(z, world, np.random.default_rng(4))


def change(effect, given):
    before = given.z.copy()
    after = effect(given)
    np.testing.assert_array_equal(given.z, before)  # the input is left as it was
    return after - before


def test_matrices_and_edges_are_inverse(given):
    r = matrices(given.z, given.world.features.n_regions)
    np.testing.assert_array_equal(r, np.swapaxes(r, 1, 2))
    assert (np.einsum("nuu->nu", r) == 1).all()
    np.testing.assert_allclose(upper(r), given.z, atol=1e-12)


def test_effects_of_the_model(given):
    z, world = given.z, given.world
    assert not change(effects.Nothing(), given).any()
    np.testing.assert_allclose(change(effects.Shift(0.07), given), 0.07)
    np.testing.assert_allclose(change(effects.Gain(0.3), given), 0.3 * z)
    np.testing.assert_allclose(np.tanh(effects.Attenuation(0.6)(given)), 0.6 * np.tanh(z))
    removed = change(effects.Normalisation(0.4), given)
    assert np.ptp(removed, axis=0).max() < 1e-12
    deviation = mean_deviation(world, np.random.default_rng(5))  # error of a mean edge .01
    assert np.corrcoef(removed[0], deviation)[0, 1] > 0.95
    assert np.polyfit(deviation, removed[0], 1)[0] == pytest.approx(0.4, rel=0.1)
    distance = change(effects.Distance(0.002), given)[0]
    np.testing.assert_allclose(np.polyfit(world.length, distance, 1)[0], 0.002)
    assert abs(distance.mean()) < 1e-12


def test_specific_effects_change_their_circuits_only(given):
    circuits = given.world.circuits
    sizes = {"dmn": -0.1, "dlpfc_amygdala": 0.2}
    both = change(effects.Specific(sizes), given)
    for name, size in sizes.items():
        np.testing.assert_allclose(both[:, circuits[name]], size)
    outside = np.setdiff1d(np.arange(both.shape[1]), np.concatenate([circuits[n] for n in sizes]))
    assert not both[:, outside].any()
    d = change(effects.Standardised("tpn", 0.5), given)
    np.testing.assert_allclose(d[:, circuits["tpn"]], 0.5 * 0.2)


def test_a_sum_applies_its_parts_in_order(given):
    total = effects.Sum((effects.Shift(0.1), effects.Gain(1.0)))(given)
    np.testing.assert_allclose(total, 2 * (given.z + 0.1))


def test_responders_are_a_part_of_the_participants(given):
    moved = change(effects.Responders(effects.Shift(0.1), 3 / N), given).any(axis=1)
    assert moved.sum() == 3


def test_personal_gains_are_one_factor_for_each_participant(given):
    factors = effects.PersonalGains(0.2)(given) / given.z
    np.testing.assert_allclose(factors, np.tile(factors[:, :1], factors.shape[1]))
    assert len(np.unique(factors[:, 0].round(9))) == N


def test_curved_effects_grow_with_strength(given):
    saturating = change(effects.Saturating(0.1, 0.2), given)
    np.testing.assert_allclose(saturating, 0.1 * np.tanh(given.z / 0.2))
    step = change(effects.Step(0.1, 0.2), given)
    strong = given.z.mean(axis=0) > 0.2
    np.testing.assert_allclose(step[:, strong], 0.1)
    assert not step[:, ~strong].any()


def test_effects_of_networks_and_regions(given):
    world = given.world
    i, j = (world.network[end] for end in world.ends)
    two = change(effects.Unnamed((0.1, 0.2)), given)[0]
    visual, motor = (world.names.index(name) for name in ("Visual", "SomMot"))
    np.testing.assert_allclose(two[(i == visual) & (j == visual)], 0.1)
    np.testing.assert_allclose(two[(i == motor) & (j == motor)], 0.2)
    assert not two[i != j].any()

    blocks = change(effects.Blocks(0.05), given)
    assert np.allclose(blocks, blocks[0])
    for pair in np.unique(world.pairs):
        assert np.ptp(blocks[0, world.pairs == pair]) < 1e-12
    assert 0.02 < blocks[0].std() < 0.1

    first, second = world.ends
    regional = change(effects.Regional(0.03), given)[0]
    design = np.zeros((len(regional), world.features.n_regions))
    design[np.arange(len(regional)), first] = design[np.arange(len(regional)), second] = 1
    assert np.linalg.lstsq(design, regional)[1] == pytest.approx(0, abs=1e-12)

    hubs = change(effects.Hub(0.1), given)[0]
    degree = np.bincount(first[hubs > 0], minlength=110) + np.bincount(
        second[hubs > 0], minlength=110
    )
    chosen = np.flatnonzero(degree == 109)
    assert len(chosen) == 3
    assert np.isin(chosen, world.core).sum() == 1


def test_a_loss_of_signal_is_a_factor_on_correlations(given):
    ratio = np.tanh(effects.SignalLoss(0.5)(given)) / np.tanh(given.z)
    assert set(np.unique(ratio.round(6))) == {0.25, 0.5, 1.0}
    first, second = given.world.ends
    lost = np.unique(np.r_[first, second][np.tile(ratio[0] < 0.3, 2)])
    assert len(lost) == 4
    assert np.isin(lost, given.world.core).all()


def test_a_gain_along_the_hierarchy_is_largest_between_transmodal_regions(given):
    factor = (effects.HierarchyGain(0.4)(given) / given.z)[0]
    first, second = given.world.ends
    mean = (given.world.hierarchy[first] + given.world.hierarchy[second]) / 2
    np.testing.assert_allclose(factor, 1 + 0.4 * mean)


@pytest.mark.parametrize("measured", [False, True])
def test_the_derivative_of_a_global_signal_is_the_column_of_the_design(given, measured):
    """d z / d ln k = [b_u b_v - r (b_u^2 + b_v^2) / 2] * 2 / (1 - r^2), design section 4.2."""
    world = given.world
    r = np.tanh(given.z)
    if measured:
        given = given._replace(world=_measured(world))
        full = matrices(given.z, 110)
        loading = full.sum(axis=2) / np.sqrt(full.sum(axis=(1, 2)))[:, None]
    else:
        loading = np.tile(world.common, (N, 1))
    u, v = (loading[:, end] for end in world.ends)
    expected = (2 * u * v - r * (u**2 + v**2)) / (1 - r**2)
    small = 1e-5
    np.testing.assert_allclose(
        change(effects.GlobalSignal(1 + small), given) / small, expected, atol=1e-3
    )


def _measured(world):
    fields = {name: getattr(world, name) for name in world.__slots__}
    return type(world)(**fields | {"common": None, "loadings": None})


@pytest.mark.parametrize("measured", [False, True])
def test_amplitudes_of_networks_change_edges_within_them(given, measured):
    if measured:
        given = given._replace(world=_measured(given.world))
    world = given.world
    moved = np.abs(change(effects.AmplitudesOfNetworks(0.3), given)).mean(axis=0)
    i, j = (world.network[end] for end in world.ends)
    assert moved[i == j].mean() > 2 * moved[i != j].mean() > 0


def test_a_larger_signal_of_one_network_is_that_of_series(given):
    """The covariance of series in which a mean signal is amplified has the same correlations."""
    rng = np.random.default_rng(5)
    series = rng.standard_normal((400, 110)) @ np.linalg.cholesky(matrices(given.z, 110)[0]).T
    series = (series - series.mean(axis=0)) / series.std(axis=0)
    z = upper(np.corrcoef(series.T)[None])
    mean = series.mean(axis=1)
    loading = series.T @ mean / (mean @ mean)
    louder = series + (1.35 - 1) * np.outer(mean, loading)
    expected = upper(np.corrcoef(louder.T)[None])
    found = effects.GlobalSignal(1.35)(given._replace(z=z, world=_measured(given.world)))
    np.testing.assert_allclose(found, expected, atol=1e-9)
