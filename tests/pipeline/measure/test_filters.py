"""Temporal filters: comparison with nilearn, retained band, and invalid arguments."""

import warnings

import numpy as np
import pytest

from circuitshift.pipeline.measure import filters

BANDS = [(0.1, None), (None, 0.01), (0.08, 0.008), (0.15, 0.009), (0.09, 0.07), (0.1, 0.001)]


def series(n=150):
    return np.random.default_rng(0).standard_normal((n, 5)).cumsum(axis=0)


def by_nilearn(x, t_r_s, low, high):
    from nilearn.signal import butterworth

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cut-offs above the Nyquist frequency
        return butterworth(x.copy(), 1 / t_r_s, low_pass=low, high_pass=high)


@pytest.mark.parametrize("t_r_s", [0.8, 2.0, 2.5])
@pytest.mark.parametrize("band", BANDS)
def test_filter_equals_nilearn(t_r_s, band):
    low, high = band
    found = filters.butterworth(series(), t_r_s, low_pass_hz=low, high_pass_hz=high)
    np.testing.assert_array_equal(found, by_nilearn(series(), t_r_s, low, high))


@pytest.mark.parametrize("band", [(0.1, None), (0.1, 0.01), (0.25, 0.01)])
def test_a_cut_off_at_or_above_nyquist_is_lowered_as_in_nilearn(band):
    low, high = band
    t_r_s = 5.0 if low == 0.1 else 2.0  # Nyquist is .1 and .25 Hz
    found = filters.butterworth(series(), t_r_s, low_pass_hz=low, high_pass_hz=high)
    expected = by_nilearn(series(), t_r_s, low, high)  # whose cut-off has single precision
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_the_band_is_kept_without_delay_and_the_rest_is_removed():
    time = np.arange(600) * 2.0
    slow, inside, fast = (np.sin(2 * np.pi * hz * time) for hz in (0.002, 0.04, 0.2))
    mixed = (slow + inside + fast)[:, None]
    found = filters.butterworth(mixed, 2.0, low_pass_hz=0.1, high_pass_hz=0.01)[:, 0]
    middle = slice(200, -200)
    np.testing.assert_allclose(found[middle], inside[middle], atol=0.01)


def test_without_a_band_the_series_is_unchanged():
    x = series()
    assert filters.butterworth(x, 2.0, low_pass_hz=None, high_pass_hz=None) is x


def test_a_missing_region_affects_its_own_column_only():
    x = series()
    x[:, 2] = np.nan
    found = filters.butterworth(x, 2.0, low_pass_hz=0.1, high_pass_hz=0.01)
    expected = filters.butterworth(series(), 2.0, low_pass_hz=0.1, high_pass_hz=0.01)
    assert np.isnan(found[:, 2]).all()
    others = [0, 1, 3, 4]
    np.testing.assert_array_equal(found[:, others], expected[:, others])


@pytest.mark.parametrize(("band", "needed"), [((0.1, None), 18), ((None, 0.01), 18),
                                              ((0.1, 0.01), 33)])  # fmt: skip
def test_too_few_volumes_raise_an_error_with_the_needed_number(band, needed):
    low, high = band
    assert len(filters.butterworth(series(needed + 1), 2.0, low_pass_hz=low, high_pass_hz=high))
    with pytest.raises(ValueError, match=f"{needed} volumes are too few .* more than {needed}"):
        filters.butterworth(series(needed), 2.0, low_pass_hz=low, high_pass_hz=high)


def test_a_band_above_the_nyquist_frequency_raises_an_error():
    with pytest.raises(ValueError, match=r"20 s contains no frequency between 0\.03 and 0\.1 Hz"):
        filters.butterworth(series(), 20.0, low_pass_hz=0.1, high_pass_hz=0.03)


@pytest.mark.parametrize(
    ("band", "share"),
    [((None, None), 1), ((0.1, None), 0.4), ((None, 0.01), 0.96), ((0.1, 0.01), 0.36),
     ((0.5, 0.05), 0.8), ((0.5, 0.3), 0)],
)  # fmt: skip
def test_the_share_of_the_spectrum_in_the_band(band, share):
    low, high = band
    assert filters.share_kept(2.0, low_pass_hz=low, high_pass_hz=high) == pytest.approx(share)
