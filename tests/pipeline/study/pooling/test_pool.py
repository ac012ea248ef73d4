"""Pooled terms: which estimates enter, units, missing studies, networks, planted effects."""

import numpy as np
import pytest

from circuitshift.pipeline.errors import InputProblemsError
from circuitshift.pipeline.stats.pooling.holm import holm
from circuitshift.pipeline.stats.pooling.random_effects import pool_effects
from circuitshift.pipeline.study.pooling.pool import pool_folders

DMN = np.array([-0.10, -0.06, -0.14])
SE = np.array([0.02, 0.03, 0.04])
FROM_ZERO = "specific, from zero"


def rows(k, *more):
    """Return the tests of study k; networks vary with a standard deviation of .03."""
    return [
        ("global", "average_change", 0.02 + 0.01 * k, 0.01),
        ("global", "shift", 0.01 * k, 0.02),
        ("global", "global_signal", 0.1, 0.1, {"unit": "log amplitude", "bound": 0.15}),
        ("specific", "dmn", DMN[k], float(np.hypot(SE[k], 0.03))),
        (FROM_ZERO, "dmn", DMN[k], SE[k]),
        *more,
    ]


def pooled(folders):
    analysis = pool_folders([("", folder) for folder in folders])
    return {term.term: term for term in analysis.terms}


@pytest.fixture
def three(finished_study):
    return [finished_study(f"s{k}", rows(k)) for k in range(3)]


def test_circuits_are_pooled_with_their_sampling_errors(three):
    term = pooled(three)["dmn"]
    assert term.effect == pool_effects(DMN, SE)
    assert (term.title, term.family, term.unit) == ("Default mode", "primary", "Fisher z")
    weight = 1 / (SE**2 + term.effect.tau2)
    assert [c.weight for c in term.contributions] == pytest.approx(weight / weight.sum())
    assert [c.network_variance for c in term.contributions] == pytest.approx([0.0009] * 3)
    assert len(term.left_out) == 3


def test_networks_are_treated_as_shared_by_all_studies(three):
    term = pooled(three)["dmn"]
    assert term.networks.sd == pytest.approx(0.03)  # not divided by the number of studies
    own = term.effect.se**2
    assert term.networks.se == pytest.approx(np.sqrt(own + 0.0009))
    assert term.networks.df == pytest.approx((own + 0.0009) ** 2 / (own**2 / 2 + 0.0009**2 / 14))
    assert term.networks.p == term.effect.p  # with 13 instead of 2 df it would be smaller


def test_a_change_that_networks_also_show_is_not_specific(finished_study):
    own = [("specific", "dmn", -0.1, 0.101), (FROM_ZERO, "dmn", -0.1, 0.01)]
    term = pooled([finished_study(f"s{k}", own) for k in range(6)])["dmn"]
    assert term.effect.p < 1e-4
    assert term.networks.p > 0.3


def test_without_blocks_circuits_are_not_compared_with_networks(finished_study):
    own = [("specific", "dmn", -0.1, 0.02)]
    term = pooled([finished_study(name, own) for name in "ab"])["dmn"]
    assert term.effect.k == 2
    assert term.networks is None


def test_effects_in_standard_deviations_contain_the_error_of_the_standard_deviation(three):
    term = pooled(three)["dmn"]
    j = 1 - 3 / (4 * 38 - 1)
    d = j * DMN / 0.1
    se = np.sqrt((j * SE / 0.1) ** 2 + d**2 / 76)
    assert term.standard.estimate == pytest.approx(pool_effects(d / 0.3, se / 0.3).estimate)
    assert [c.standard_se for c in term.contributions] == pytest.approx(se / 0.3)
    assert np.isnan(term.bound)


def test_a_common_bound_in_the_unit_only_changes_the_unit(finished_study):
    design = {"sesoi_z": 0.05, "sesoi_d": 0.3}
    term = pooled([finished_study(f"s{k}", rows(k), design=design) for k in range(3)])["dmn"]
    assert term.bound == 0.05
    assert term.standard.estimate == pytest.approx(term.effect.estimate / 0.05)
    assert term.standard.tau2 == pytest.approx(term.effect.tau2 / 0.05**2, rel=1e-5)


@pytest.mark.parametrize("other", [{"sesoi_z": 0.1}, {"sesoi_d": 0.5}])
def test_different_bounds_have_no_common_unit(finished_study, other):
    base = {"sesoi_z": None, "sesoi_d": 0.3}
    folders = [
        finished_study("a", rows(0), design=base),
        finished_study("b", rows(1), design=base | other),
    ]
    term = pooled(folders)["dmn"]
    assert term.effect is not None
    assert term.standard is None
    assert "different smallest effects" in term.remark


def test_a_missing_circuit_is_shown_with_its_reason(finished_study):
    untested = ("secondary", "tpn", float("nan"), float("nan"), {"note": "too few edges"})
    tpn = [("secondary", "tpn", 0.1, 0.05), ("secondary, from zero", "tpn", 0.1, 0.04)]
    reason = ["circuit tpn: atlas Tiny has no regions for its seeds."]
    folders = [
        finished_study("a", rows(0, *tpn)),
        finished_study("b", rows(1, *tpn)),
        finished_study("c", rows(2, untested)),
        finished_study("d", rows(2), circuits_not_resolved=reason),
        finished_study("e", rows(2)),
    ]
    term = pooled(folders)["tpn"]
    assert [c.missing for c in term.contributions] == [
        "",
        "",
        "not tested: too few edges",
        "atlas Tiny has no regions for its seeds",
        "not a circuit of this analysis",
    ]
    assert (term.effect.k, term.family, len(term.present)) == (2, "secondary", 2)


def test_a_term_of_one_study_is_listed_and_not_pooled(finished_study):
    extra = ("global", "normalisation", 0.2, 0.1, {"unit": "share"})
    folders = [finished_study("a", rows(0, extra)), finished_study("b", rows(1))]
    term = pooled(folders)["normalisation"]
    assert term.effect is term.standard is None
    assert term.remark == "1 study has an estimate, and two are needed"
    assert term.contributions[0].estimate == 0.2
    assert "not a term" in term.contributions[1].missing


def test_the_shift_of_a_model_without_the_amplitude_is_an_average_change(finished_study):
    without = [("global", "shift", 0.05, 0.01), ("specific", "dmn", -0.1, 0.02)]
    folders = [*(finished_study(f"s{k}", rows(k)) for k in range(2)), finished_study("w", without)]
    terms = pooled(folders)
    assert [c.estimate for c in terms["average_change"].contributions] == [0.02, 0.03, 0.05]
    assert terms["shift"].effect.k == 2
    assert "pooled as average change" in terms["shift"].contributions[2].missing
    assert list(terms)[:2] == ["average_change", "shift"]


def test_shifts_keep_their_name_if_no_model_has_the_amplitude(finished_study):
    without = [("global", "shift", 0.05, 0.01), ("global", "gain", 0.1, 0.1, {"unit": "share"})]
    terms = pooled([finished_study(name, without) for name in "ab"])
    assert list(terms) == ["shift", "gain"]
    assert terms["shift"].effect.k == 2


def test_p_values_are_corrected_within_families(three):
    terms = pooled(three)
    own = [term for term in terms.values() if term.family == "global"]
    expected = holm(np.array([term.effect.p for term in own]))
    assert [term.p_corrected for term in own] == pytest.approx(expected)
    assert terms["dmn"].p_corrected == terms["dmn"].effect.p  # the only primary circuit


def test_a_circuit_that_is_primary_in_some_studies_only_is_secondary(finished_study):
    other = [("secondary", "dmn", -0.1, 0.02)]
    folders = [finished_study("a", rows(0)), finished_study("b", other)]
    assert pooled(folders)["dmn"].family == "secondary"


def test_faults_of_reading_and_comparison_are_reported_together(finished_study, tmp_path):
    folders = [
        finished_study("a", rows(0)),
        finished_study("b", rows(1), settings={"estimator": "partial"}),
        tmp_path / "missing",
    ]
    with pytest.raises(InputProblemsError) as caught:
        pooled(folders)
    assert len(caught.value.problems) == 2
    assert "missing" in str(caught.value)
    assert "estimator differs" in str(caught.value)


def test_planted_mean_and_heterogeneity_are_recovered_over_many_studies(finished_study):
    rng = np.random.default_rng(4)
    k, mean, tau = 60, -0.08, 0.05
    se = rng.uniform(0.01, 0.03, k)
    y = rng.normal(rng.normal(mean, tau, k), se)
    folders = [finished_study(f"s{i}", [("specific", "dmn", y[i], se[i])]) for i in range(k)]
    effect = pooled(folders)["dmn"].effect
    assert effect.ci_low < mean < effect.ci_high
    assert effect.tau2_low < tau**2 < effect.tau2_high
    assert effect.estimate == pytest.approx(mean, abs=0.025)
    assert effect.tau == pytest.approx(tau, abs=0.015)
