"""Detection of regression of the global signal from edges alone, on simulated series."""

import numpy as np
import pytest

from circuitshift.pipeline.edges import edges
from circuitshift.pipeline.stats.global_signal import (
    GlobalSignalDetection,
    global_signal_effect,
    global_signal_share,
    global_signal_status,
    global_signal_was_removed,
)

N_REGIONS, N_VOLUMES = 60, 200


def series(rng, amplitude):
    """Draw eight networks and a global signal, whose strength differs between participants.

    An amplitude of .2 to .3 gives the mean edge of real series without any denoising.
    """
    networks = rng.standard_normal((N_VOLUMES, 8))[:, np.arange(N_REGIONS) % 8]
    own = rng.standard_normal((N_VOLUMES, N_REGIONS))
    common = rng.standard_normal((N_VOLUMES, 1)) * amplitude * rng.uniform(0.6, 1.4)
    return own + 0.7 * networks + common


def regressed(values, signal):
    values = values - values.mean(axis=0)
    signal = signal - signal.mean()
    return values - np.outer(signal, signal @ values / (signal @ signal))


def whole_brain(values, rng, noise):
    """Mean of regions of unequal size, with signal of other tissue."""
    weights = rng.uniform(0.2, 2, values.shape[1])
    mean = values @ weights / weights.sum()
    return mean + noise * mean.std() * rng.standard_normal(len(mean))


def detected(amplitude, noise=None, n=12, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        values = series(rng, amplitude)
        if noise is not None:
            values = regressed(values, whole_brain(values, rng, noise))
        rows.append(edges(values))
    return global_signal_was_removed(np.array(rows))


@pytest.mark.parametrize("amplitude", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_series_with_a_global_signal_are_recognised(amplitude, seed):
    assert detected(amplitude, seed=seed).removed is False


@pytest.mark.parametrize("amplitude", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_its_regression_is_recognised(amplitude, noise, seed):
    found = detected(amplitude, noise, seed=seed)
    assert found.removed is True, found
    assert "was regressed out" in found.reason


def test_missing_edges_change_nothing():
    rng = np.random.default_rng(1)
    z = 0.25 + 0.3 * rng.standard_normal((10, 500)) + 0.05 * rng.standard_normal((10, 1))
    whole = global_signal_was_removed(z)
    z[:, :50] = np.nan
    z[3, 60:90] = np.inf
    holed = global_signal_was_removed(z)
    assert whole.removed is False
    assert holed.removed is False
    assert holed.mean == pytest.approx(whole.mean, rel=0.05)


def test_units_are_standard_deviations_of_edges():
    rng = np.random.default_rng(2)
    means = np.array([0.1, 0.2, 0.3, 0.2, 0.1, 0.3])
    base = rng.standard_normal(2000)
    base = 0.5 * (base - base.mean()) / base.std()
    found = global_signal_was_removed(means[:, None] + base)
    assert found.mean == pytest.approx(0.2 / 0.5)
    assert found.spread == pytest.approx(means.std(ddof=1) / 0.5)


@pytest.mark.parametrize(
    ("mean", "spread", "removed"),
    [(0.13, 0.0, True), (0.13, 0.1, None), (0.17, 0.0, None), (0.21, 0.0, False)],
)
def test_what_lies_between_is_not_decided(mean, spread, removed):
    base = np.random.default_rng(3).standard_normal(1000)
    base = (base - base.mean()) / base.std()
    shifts = np.linspace(-1, 1, 8)
    shifts *= spread / shifts.std(ddof=1)
    found = global_signal_was_removed(mean + shifts[:, None] + base)
    assert found.removed is removed


def test_few_participants_and_equal_edges_are_not_decided():
    z = np.random.default_rng(4).standard_normal((4, 100))
    assert global_signal_was_removed(z).removed is None
    assert "4 participants" in global_signal_was_removed(z).reason
    assert global_signal_was_removed(np.full((6, 10), 0.3)).removed is None
    assert global_signal_was_removed(np.full((6, 10), np.nan)).removed is None


@pytest.mark.parametrize(
    ("declared", "seen", "removed", "source", "n_warnings"),
    [
        ([True, None, True], True, True, "declared", 0),
        ([False, False], None, False, "declared", 0),
        ([False, None], True, False, "declared", 1),
        ([True], False, True, "declared", 1),
        ([True, False, None], True, None, "differs", 1),
        ([None, None], True, True, "detected", 0),
        ([], False, False, "detected", 0),
        ([None], None, None, "unknown", 0),
    ],
)
def test_declarations_come_before_detection(declared, seen, removed, source, n_warnings):
    found = global_signal_status(declared, GlobalSignalDetection(seen, 0.1, 0.1, "As seen."))
    assert (found.removed, found.source) == (removed, source)
    assert len(found.warnings) == n_warnings
    if source == "differs":
        assert "of 1 runs and not of 1" in found.warnings[0]


def _correlated(rng: np.random.Generator, n_regions: int = 20) -> np.ndarray:
    series = rng.normal(size=(300, n_regions)) + rng.uniform(0.2, 1.5, n_regions) * rng.normal(
        size=(300, 1)
    )
    return (series - series.mean(axis=0)) / series.std(axis=0)


def test_the_effect_is_the_derivative_by_the_amplitude_of_the_mean_series() -> None:
    """Numerical derivative: the projection of each series on the global signal is enlarged."""
    x = _correlated(np.random.default_rng(0))
    mean = x.mean(axis=1)
    mean = mean / mean.std()
    loading = x.T @ mean / len(mean)
    step = 1e-5
    up, down = (edges(x + s * np.outer(mean, loading)) for s in (step, -step))
    found = global_signal_effect(edges(x))
    np.testing.assert_allclose(found, (up - down) / (2 * step), rtol=1e-6, atol=1e-8)


def test_the_share_is_the_variance_of_the_mean_series() -> None:
    x = _correlated(np.random.default_rng(1))
    expected = x.mean(axis=1).var() * x.shape[1]
    assert global_signal_share(edges(x)[None])[0] == pytest.approx(expected, rel=1e-4)
    independent = np.zeros((1, 190))
    assert global_signal_share(independent)[0] == pytest.approx(1.0)
    assert np.isnan(global_signal_share(np.full((1, 190), np.nan))[0])


def test_missing_regions_leave_the_effect_of_the_others() -> None:
    """Without a region, the effect is that of the matrix of the other regions."""
    z = edges(_correlated(np.random.default_rng(2)))
    of_last = np.triu_indices(20, 1)[1] == 19
    found = global_signal_effect(np.where(of_last, np.nan, z))
    assert np.isnan(found[of_last]).all()
    np.testing.assert_allclose(found[~of_last], global_signal_effect(z[~of_last]))
    # a single missing edge is taken to be the mean of the others of its region
    one = z.copy()
    one[0] = np.nan
    other = global_signal_effect(one)
    assert np.isnan(other[0])
    assert np.abs(other[1:] - global_signal_effect(z)[1:]).max() < 0.02
    assert np.isnan(global_signal_effect(np.full((2, 190), np.nan))).all()


def test_the_effect_is_bounded_after_regression_of_the_global_signal() -> None:
    x = _correlated(np.random.default_rng(3))
    mean = x.mean(axis=1, keepdims=True)
    regressed = x - mean * (x * mean).sum(axis=0) / (mean**2).sum()
    z = edges(regressed)
    assert global_signal_share(z[None])[0] < 0.1
    assert np.abs(global_signal_effect(z)).max() < 0.5
    assert np.isfinite(global_signal_effect(np.full(190, 9.0))).all()
