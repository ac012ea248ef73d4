"""Influence of one participant on a test, and tests on ranks."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from circuitshift.pipeline.stats.influence import influence, normal_scores
from circuitshift.pipeline.stats.permutation import mean_contrast, permutation_test


@pytest.mark.parametrize("arms", [False, True])
def test_influence_equals_refitting(arms):
    rng = np.random.default_rng(6)
    n = 15
    covariates = rng.normal(size=(n, 2))
    treated = np.arange(n) < 6 if arms else None
    contrast = mean_contrast(n, treated=treated, covariates=covariates)
    y = rng.normal(0.3, 1, n)
    y[4] = 6.0
    found = influence(y, contrast)
    assert found.person == 4
    fits = [sm.OLS(np.delete(y, k), np.delete(contrast.design, k, axis=0)).fit() for k in range(n)]
    assert found.without == pytest.approx(fits[4].params[0])
    assert found.p_without == pytest.approx(fits[4].pvalues[0])
    assert found.largest_p_without == pytest.approx(max(f.pvalues[0] for f in fits))
    assert found.p == pytest.approx(sm.OLS(y, contrast.design).fit().pvalues[0])


def rank_test(y, contrast, *, rng, n_permutations):
    scores = normal_scores(y, contrast)
    return permutation_test(scores, contrast, rng=rng, n_permutations=n_permutations)


def test_ranks_agree_with_wilcoxon_and_resist_one_person():
    rng = np.random.default_rng(7)
    y = rng.normal(1.2, 1, (20, 1))
    y[0] = -60.0
    contrast = mean_contrast(20)
    plain = permutation_test(y, contrast, rng=np.random.default_rng(0), n_permutations=2000)
    ranks = rank_test(y, contrast, rng=np.random.default_rng(0), n_permutations=2000)
    assert plain.p[0] > 0.3
    assert ranks.p[0] < 0.06
    assert ranks.p[0] == pytest.approx(stats.wilcoxon(y[:, 0]).pvalue, abs=0.05)
    treated = np.arange(20) < 9
    two = mean_contrast(20, treated=treated)
    found = rank_test(y, two, rng=np.random.default_rng(0), n_permutations=4000)
    expected = stats.mannwhitneyu(y[treated, 0], y[~treated, 0]).pvalue
    assert found.p[0] == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize("arms", [False, True])
def test_ranks_hold_their_level_with_heavy_tails(arms):
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(300):
        y = rng.standard_t(1.5, (18, 1))
        contrast = mean_contrast(
            18, treated=np.arange(18) < 9 if arms else None, covariates=rng.normal(size=(18, 1))
        )
        hits += rank_test(y, contrast, rng=rng, n_permutations=99).p[0] <= 0.05
    assert hits <= 26  # 99.8 % bound
