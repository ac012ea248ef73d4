"""Bayes factors: comparison with integration over the effect, and limits."""

import numpy as np
import pytest

from circuitshift.pipeline.stats.bayes_factor import bayes_factor


@pytest.mark.parametrize(
    ("t", "df", "n"), [(0.0, 9, 10), (2.24, 79, 80), (-3.1, 25, 6.5), (6.0, 30, 8), (1.0, 3, 2)]
)
def test_equals_integration_over_the_effect(t, df, n):
    """The noncentral t density averaged over a Cauchy prior, divided by the central density."""
    from scipy.integrate import quad
    from scipy.stats import cauchy, nct
    from scipy.stats import t as student

    r = np.sqrt(2) / 2

    def weighted_density(effect):
        return nct.pdf(t, df, effect * np.sqrt(n)) * cauchy.pdf(effect, scale=r)

    peak = t / np.sqrt(n)
    parts = [quad(weighted_density, a, b, limit=400)[0] for a, b in ((-30, peak), (peak, 30))]
    assert bayes_factor(t, df, n) == pytest.approx(sum(parts) / student.pdf(t, df), rel=5e-3)


def test_the_sign_has_no_effect_and_larger_samples_give_stronger_evidence():
    assert bayes_factor(2.0, 20, 21) == pytest.approx(bayes_factor(-2.0, 20, 21))
    small, large = bayes_factor(0.0, [9, 999], [10, 1000])
    assert large < small < 1
    assert bayes_factor(8.0, 29, 30) > 1e5


def test_missing_statistics_give_nan():
    found = bayes_factor([1.0, np.nan], 10, 11)
    assert np.isfinite(found[0])
    assert np.isnan(found[1])
