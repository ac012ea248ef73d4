"""Meta-analysis: agreement with metafor, units, coverage in simulated studies."""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.io.tables import read_table
from circuitshift.pipeline.stats.pooling.random_effects import (
    cochran_q,
    pool_effects,
    q_profile,
    without_each,
)

METAFOR = Path(__file__).parent / "metafor"  # written by fit_metafor.R
FITS = list(read_table(METAFOR / "estimates.tsv").rows())


def studies(name):
    table = read_table(METAFOR / "studies.tsv")
    rows = [row for row in table.rows() if row["data"] == name]
    y, v = (np.array([float(row[column]) for row in rows]) for column in ("yi", "vi"))
    return y, np.sqrt(v)


@pytest.mark.parametrize("fit", FITS, ids=[f"{fit['data']} {fit['test']}" for fit in FITS])
def test_published_examples_of_metafor_are_reproduced(fit):
    ours = pool_effects(*studies(fit["data"]), safeguard=fit["test"] == "adhoc")
    assert ours.k == int(fit["k"])
    for name in (
        "estimate", "se", "statistic", "p", "ci_low", "ci_high", "pi_low", "pi_high", "tau2",
        "se_tau2", "tau2_low", "tau2_high", "h2", "q", "q_p",
    ):  # fmt: skip
        assert getattr(ours, name) == pytest.approx(float(fit[name]), rel=1e-4, abs=1e-6), name
    for name in ("i2", "i2_low", "i2_high"):
        assert 100 * getattr(ours, name) == pytest.approx(float(fit[name]), abs=1e-4), name


def test_values_printed_in_the_documentation_of_metafor():
    # Viechtbauer 2010, doi:10.18637/jss.v036.i03, page 15: tau^2 .3132 (SE .1664), I^2 92.22 %,
    # H^2 12.86, mean -.7145; confint: tau^2 .1197 to 1.1115, I^2 81.92 to 97.68 %
    found = pool_effects(*studies("bcg"))
    shown = (found.tau2, found.se_tau2, found.tau2_low, found.tau2_high, found.estimate)
    assert [round(value, 4) for value in shown] == [0.3132, 0.1664, 0.1197, 1.1115, -0.7145]
    shown = (100 * found.i2, 100 * found.i2_low, 100 * found.i2_high, found.h2)
    assert [round(value, 2) for value in shown] == [92.22, 81.92, 97.68, 12.86]


def test_the_safeguard_is_used_only_where_estimates_agree_by_chance():
    y, se = studies("bcg_first_3")
    guarded, bare = (pool_effects(y, se, safeguard=on) for on in (True, False))
    assert guarded.safeguarded
    assert not bare.safeguarded
    assert guarded.scale == bare.scale < 1
    assert guarded.se == pytest.approx(bare.se / np.sqrt(bare.scale))
    assert not pool_effects(*studies("normand1999")).safeguarded


@pytest.mark.parametrize("factor", [1e-5, 0.3, 2e4])
def test_the_unit_does_not_matter(factor):
    for name in ("bcg", "hackshaw1998", "bcg_first_3"):
        y, se = studies(name)
        ours, other = pool_effects(y, se).times(factor), pool_effects(y * factor, se * factor)
        for field in ours.__slots__:
            if field != "se_tau2":
                assert getattr(other, field) == pytest.approx(getattr(ours, field), rel=1e-5), field


def test_equivalence_is_tested_in_both_directions():
    found = pool_effects(*studies("raudenbush1985"))
    # t = (.0837 - .2) / .0616 with 18 degrees of freedom, in R
    assert found.equivalence_p(0.2) == pytest.approx(0.0376, abs=1e-3)
    opposite = pool_effects(-studies("raudenbush1985")[0], studies("raudenbush1985")[1])
    assert opposite.equivalence_p(0.2) == pytest.approx(found.equivalence_p(0.2))
    assert found.equivalence_p(0.01) > 0.5
    assert np.isnan(found.equivalence_p(np.nan))


def test_agreement_beyond_chance_has_an_interval_of_zero():
    limits = q_profile(np.full(8, 0.2), np.full(8, 0.01))
    assert (limits.low, limits.high) == (0.0, 0.0)
    found = pool_effects(np.full(8, 0.2), np.full(8, 0.1))
    assert (found.tau2, found.i2, found.i2_high, found.h2) == (0.0, 0.0, 0.0, 1.0)
    assert found.se == pytest.approx(0.1 / np.sqrt(8))


def test_the_generalised_q_is_a_quantile_at_the_limits():
    y, se = studies("bcg")
    limits = q_profile(y, se**2)
    # quantiles of chi-squared with 12 degrees of freedom, in R
    assert cochran_q(y, se**2, limits.low) == pytest.approx(23.33666, abs=1e-4)
    assert cochran_q(y, se**2, limits.high) == pytest.approx(4.403789, abs=1e-4)


def test_each_study_is_left_out_once():
    y, se = studies("bcg")
    found = without_each(y, se)
    assert len(found) == 13
    assert found[3] == pool_effects(np.delete(y, 3), np.delete(se, 3))
    assert without_each(y[:2], se[:2]) == []


@pytest.mark.parametrize(
    ("y", "se"), [([1.0], [1.0]), ([1.0, 2.0], [1.0, 0.0]), ([1.0, np.nan], [1.0, 1.0])]
)
def test_data_that_cannot_be_pooled_are_refused(y, se):
    with pytest.raises(DesignError):
        pool_effects(np.array(y), np.array(se))


def rates(k, tau, n_sets, *, seed):
    """Return how often the intervals of mean, tau^2 and a new study contain the truth."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_sets):
        n = rng.integers(15, 60, k)  # participants of each study
        se = 0.15 / np.sqrt(n)
        truth = rng.normal(-0.05, tau, k + 1)
        own = se * np.sqrt(rng.chisquare(n - 1) / (n - 1))  # standard errors are estimated
        fit = pool_effects(rng.normal(truth[:k], se), own)
        found.append(
            (
                fit.ci_low <= -0.05 <= fit.ci_high,
                fit.tau2_low <= tau**2 <= fit.tau2_high,
                fit.pi_low <= truth[k] <= fit.pi_high,
                fit.tau,
            )
        )
    return np.array(found, float).mean(axis=0)


def is_rate(share, expected, n):
    """Return whether a share of n trials is compatible with a rate (99.9 % interval)."""
    return abs(share - expected) < 3.29 * np.sqrt(expected * (1 - expected) / n)


def test_intervals_cover_the_truth_as_often_as_they_state():
    mean, spread, new, tau = rates(8, 0.04, 150, seed=1)
    for share in (mean, spread, new):
        assert is_rate(share, 0.95, 150)
    assert tau == pytest.approx(0.04, abs=0.005)


def test_without_heterogeneity_the_safeguarded_interval_is_conservative():
    mean, spread, *_ = rates(4, 0.0, 100, seed=2)
    assert mean > 0.95
    assert spread > 0.9
