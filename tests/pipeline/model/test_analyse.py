"""The analysis of one study: verdicts of simulated truths, missing data, and regional features."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.analyse import Analysis, Rules, Visits, analyse
from circuitshift.pipeline.stats.bayes_factor import bayes_factor
from circuitshift.pipeline.validation.simulate.edges import (
    EdgeSpec,
    EdgeStudy,
    Truth,
    simulate_edges,
)

QUIET = EdgeSpec(
    n_regions=60,
    n_circuit=10,
    n_treated=16,
    n_reference=16,
    trait_sd=(0.03, 0.02, 0.02, 0.06),
    state_sd=(0.03, 0.02, 0.02, 0.08),
)
RULES = Rules(n_permutations=300)


def visits_of(study: EdgeStudy, **more: object) -> Visits:
    arguments = {
        "treated": None if study.treated.all() else study.treated,
        "reference": study.reference,
    }
    return Visits(study.baseline, study.followup, study.features, **(arguments | more))


def run(study: EdgeStudy, **more: object) -> Analysis:
    return analyse(
        visits_of(study, **more), {"dmn": study.circuit}, rng=np.random.default_rng(0), rules=RULES
    )


@pytest.mark.parametrize("n_control", [0, 16])
@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        (Truth(), {"neither", "undetermined"}),
        (Truth(shift=0.15), {"global"}),
        (Truth(gain=0.4), {"global"}),
        (Truth(attenuation=0.3), {"global"}),
        (Truth(normalisation=0.6), {"global"}),
        (Truth(specific=0.2), {"circuit-specific"}),
        (Truth(shift=0.15, specific=0.2), {"both"}),
    ],
)
def test_the_verdict_is_that_of_the_simulated_truth(
    truth: Truth, expected: set, n_control: int
) -> None:
    spec = replace(QUIET, n_control=n_control)
    analysis = run(simulate_edges(truth, spec, np.random.default_rng(5)))
    assert analysis.verdict.verdict in expected, analysis.verdict.reason
    warnings = " ".join(analysis.verdict.warnings)
    assert ("no control arm" in warnings) == (n_control == 0)


def test_the_seed_determines_the_result_and_exchanged_arms_reverse_its_sign() -> None:
    study = simulate_edges(
        Truth(specific=0.2), replace(QUIET, n_control=16), np.random.default_rng(1)
    )
    first, again = run(study), run(study)
    assert repr(first.estimates) == repr(again.estimates)  # repr, because NaN differs from NaN
    reversed_arms = run(study, treated=~study.treated)
    for a, b in zip(first.estimates, reversed_arms.estimates, strict=True):
        assert a.term == b.term
        assert b.estimate == pytest.approx(-a.estimate)


def test_the_sign_of_change_is_follow_up_minus_baseline() -> None:
    study = simulate_edges(Truth(shift=0.15, specific=0.3), QUIET, np.random.default_rng(2))
    analysis = run(study)
    rows = {(e.family, e.term): e.estimate for e in analysis.estimates}
    assert rows["global", "shift"] == pytest.approx(0.15, abs=0.05)
    assert rows["specific", "dmn"] == pytest.approx(0.3, abs=0.06)
    mean_change = (study.followup - study.baseline)[:, study.circuit].mean()
    assert rows["circuit change", "dmn"] == pytest.approx(mean_change)


def test_exchanged_visits_reverse_the_sign_of_change() -> None:
    study = simulate_edges(Truth(shift=0.1), QUIET, np.random.default_rng(2))
    back = run(replace(study, baseline=study.followup, followup=study.baseline))
    there = run(study)
    pick = lambda a: next(e for e in a.estimates if e.family == "circuit change")  # noqa: E731
    assert pick(back).estimate == pytest.approx(-pick(there).estimate)


def test_without_a_reference_normalisation_is_not_estimated() -> None:
    study = simulate_edges(Truth(normalisation=0.5), QUIET, np.random.default_rng(3))
    analysis = run(study, reference=None)
    assert all("normalisation" not in e.term for e in analysis.estimates)
    assert any("no reference group" in w for w in analysis.verdict.warnings)


def test_after_global_signal_regression_global_terms_are_not_tested() -> None:
    study = simulate_edges(Truth(shift=0.2), QUIET, np.random.default_rng(4))
    analysis = run(study, global_signal_removed=True)
    assert not [e for e in analysis.estimates if e.family == "global"]
    assert analysis.verdict.verdict not in ("global", "both", "neither")
    assert any("global signal" in w for w in analysis.verdict.warnings)


def test_a_motion_covariate_removes_the_variance_that_it_explains() -> None:
    study = simulate_edges(Truth(), QUIET, np.random.default_rng(6))
    motion = np.random.default_rng(7).normal(size=16)
    moved = replace(study, followup=study.followup + 0.5 * motion[:, None])
    loose, tight = run(moved), run(moved, covariates=motion[:, None])
    shift = lambda a: next(e for e in a.estimates if e.term == "shift")  # noqa: E731
    assert shift(tight).se < shift(loose).se / 3
    assert "Freedman-Lane" in shift(tight).method


def test_a_circuit_missing_in_some_participants_is_tested_in_the_others() -> None:
    study = simulate_edges(Truth(specific=0.3), QUIET, np.random.default_rng(8))
    study.followup[:2, study.circuit] = np.nan
    circuits = {"dmn": study.circuit, "other": np.arange(700, 720)}
    analysis = analyse(visits_of(study), circuits, rng=np.random.default_rng(0), rules=RULES)
    row = next(e for e in analysis.estimates if e.family == "specific" and e.term == "dmn")
    assert row.n == 14
    assert row.note == "missing in 2 participants"
    assert row.p_corrected == pytest.approx(min(1, 2 * row.p))


def test_a_circuit_missing_in_all_participants_stays_in_the_table() -> None:
    study = simulate_edges(Truth(), QUIET, np.random.default_rng(9))
    study.followup[:, study.circuit] = np.nan
    circuits = {"dmn": study.circuit, "other": np.arange(700, 720)}
    analysis = analyse(visits_of(study), circuits, rng=np.random.default_rng(0), rules=RULES)
    row = next(e for e in analysis.estimates if e.family == "specific" and e.term == "dmn")
    assert np.isnan(row.p)
    assert "fewer than 4" in row.note
    assert any("Not tested: dmn" in text for text in analysis.verdict.warnings)


def test_arrays_that_do_not_match_are_refused() -> None:
    study = simulate_edges(Truth(), QUIET, np.random.default_rng(10))
    with pytest.raises(DesignError, match="same participants and edges"):
        Visits(study.baseline, study.followup[:-1], study.features)
    with pytest.raises(DesignError, match="use the same atlas"):
        Visits(study.baseline, study.followup, study.features, reference=study.reference[:, :-1])


def test_a_circuit_missing_in_one_arm_does_not_affect_other_circuits() -> None:
    spec = replace(QUIET, n_control=10, n_treated=10)
    study = simulate_edges(Truth(), spec, np.random.default_rng(9))
    other = np.arange(700, 720)
    study.followup[np.ix_(np.flatnonzero(~study.treated)[1:], other)] = np.nan
    features = FeatureSpace.of_edges(spec.n_regions)
    visits = Visits(study.baseline, study.followup, features, treated=study.treated)
    circuits = {"dmn": study.circuit, "other": other}
    found = analyse(visits, circuits, rng=np.random.default_rng(0), rules=RULES)
    rows = {e.term: e for e in found.estimates if e.family == "specific"}
    assert np.isfinite(rows["dmn"].p)
    assert np.isnan(rows["other"].p)
    assert "at least two" in rows["other"].note


def test_the_bayes_factor_uses_the_effective_sample_size_of_the_contrast() -> None:
    """Motion that is not centred leaves little information on the intercept."""
    study = simulate_edges(Truth(), QUIET, np.random.default_rng(3))
    n = len(study.baseline)
    motion = np.random.default_rng(0).normal(0.3, 0.1, n)
    visits = replace(visits_of(study), motion_mm=motion)
    found = analyse(visits, study.circuits, rng=np.random.default_rng(0), rules=RULES)
    row = next(e for e in found.estimates if e.family == "circuit change")
    weights = np.linalg.pinv(np.column_stack([np.ones(n), motion]))[0]
    effective = 1 / (weights @ weights)
    assert effective < n / 2
    assert row.bf10 == pytest.approx(bayes_factor(row.statistic, row.df, effective), rel=1e-9)


def test_bayes_factors_compare_with_0_where_tests_compare_with_blocks() -> None:
    """The variation over blocks makes t smaller, which must not appear as evidence of absence."""
    study = simulate_edges(Truth(), QUIET, np.random.default_rng(3))
    visits = visits_of(study)
    networks = np.array([f"n{k % 4}" for k in range(QUIET.n_regions)])
    pairs = np.sort(networks[np.array(np.triu_indices(QUIET.n_regions, 1))], axis=0)
    blocks = np.unique(np.char.add(*pairs), return_inverse=True)[1]
    visits.followup[:] += np.random.default_rng(4).normal(0, 0.1, blocks.max() + 1)[blocks]
    rng = np.random.default_rng(0)
    found = analyse(visits, study.circuits, rng=rng, rules=RULES, networks=list(networks))
    tests = {(e.family, e.term): e for e in found.estimates}
    assert found.verdict.heterogeneity.tau > 0.05
    for term in study.circuits:
        row, plain = tests["specific", term], tests["specific, from zero", term]
        assert abs(row.statistic) < abs(plain.statistic)
        assert row.bf10 == pytest.approx(plain.bf10, rel=1e-9)


# --- features other than edges -----------------------------------------------------------------

THICKNESS = FeatureSpace.of_regions(400, unit="mm", valid_range=(0, 10))
SET = {"frontal": np.arange(30, 55)}


def thickness_study(seed: int = 0, **truth: float) -> Visits:
    """Simulate cortical thickness of 400 regions, 20 treated and 20 control participants."""
    rng = np.random.default_rng(seed)
    typical = rng.normal(2.6, 0.35, 400)
    deviation = rng.normal(-0.05, 0.08, 400)
    trait = typical + deviation + rng.normal(0, 0.1, (40, 1)) + rng.normal(0, 0.15, (40, 400))
    treated = np.arange(40) < 20
    before, after = (
        trait + rng.normal(0, 0.02, (40, 1)) + rng.normal(0, 0.06, (40, 400)) for _ in range(2)
    )
    after[treated] += truth.get("shift", 0.0) + truth.get("gain", 0.0) * trait[treated]
    after[treated] -= truth.get("normalisation", 0.0) * deviation
    after[np.ix_(treated, SET["frontal"])] += truth.get("set", 0.0)
    reference = typical + rng.normal(0, 0.1, (24, 1)) + rng.normal(0, 0.16, (24, 400))
    return Visits(before, after, THICKNESS, treated=treated, reference=reference)


def run_thickness(visits: Visits, **rules: object) -> tuple[Analysis, dict]:
    found = analyse(visits, SET, rng=np.random.default_rng(1), rules=replace(RULES, **rules))
    return found, {(e.family, e.term): e for e in found.estimates}


def test_cortical_thickness_can_change_globally_and_specifically() -> None:
    found, rows = run_thickness(thickness_study(shift=0.08, set=-0.12))
    assert found.verdict.verdict == "both"
    shift, frontal = rows["global", "shift"], rows["specific", "frontal"]
    assert shift.p_corrected < 0.05
    assert shift.estimate == pytest.approx(0.08, abs=0.02)
    assert frontal.p_corrected < 0.05
    assert frontal.estimate == pytest.approx(-0.12, abs=0.02)
    assert (shift.unit, frontal.unit) == ("mm", "mm")
    assert rows["global", "gain"].unit == "proportion of the typical value"
    assert ("global", "distance") not in rows
    assert not any("node-adjusted" in family for family, _ in rows)
    texts = [
        *(e.unit + e.test + e.family + e.note for e in found.estimates),
        *found.verdict.warnings,
    ]
    texts += [found.verdict.sentence, found.verdict.reason]
    for text in texts:
        assert not any(word in text for word in ("edge", "Fisher", "connection")), text


@pytest.mark.parametrize(
    ("truth", "term", "verdict"),
    [
        ({"shift": 0.08}, "shift", "global"),
        ({"gain": 0.08}, "gain", "global"),
        ({"normalisation": 0.6}, "normalisation", "global"),
        ({"set": 0.12}, "", "circuit-specific"),
        ({}, "", "undetermined"),
    ],
)
def test_each_change_of_thickness_is_identified(
    truth: dict[str, float], term: str, verdict: str
) -> None:
    found, rows = run_thickness(thickness_study(3, **truth))
    assert found.deviation.identified
    assert found.verdict.verdict == verdict
    if term:
        row = rows["global", term]
        assert row.p_corrected < 0.05
        assert row.ci_low < truth[term] < row.ci_high
    if verdict == "global":
        assert "The regions outside the predefined circuits" in found.verdict.sentence


def test_parts_of_the_analysis_that_need_edges_are_named() -> None:
    visits = thickness_study(3)
    found, rows = run_thickness(visits)
    for word in ("Distance term", "Curvature", "Region-adjusted", "Equivalence"):
        assert sum(text.startswith(word) for text in found.omitted) == 1
    assert "defined in mm" in found.omitted[-1]
    assert not found.response.curvature
    assert np.isnan(rows["global", "shift"].bound)
    assert rows["global", "gain"].bound == 0.15
    assert rows["specific", "frontal"].bound == 0.3 * rows["specific", "frontal"].sd
    assert "shift" in found.verdict.reason
    stated, rows = run_thickness(visits, sesoi=0.3, sesoi_gain=0.5, sesoi_share=0.9)
    assert stated.verdict.verdict == "neither", stated.verdict.reason
    assert rows["specific", "frontal"].bound == 0.3
    assert not any(text.startswith("Equivalence") for text in stated.omitted)
    edges = run(simulate_edges(Truth(), QUIET, np.random.default_rng(1)))
    assert edges.omitted == ()


def test_the_global_model_of_regions_does_not_depend_on_their_order() -> None:
    visits = thickness_study(5, shift=0.05, set=-0.1)
    order = np.random.default_rng(0).permutation(400)
    reordered = replace(
        visits,
        **{k: getattr(visits, k)[:, order] for k in ("baseline", "followup", "reference")},
    )
    circuits = {"frontal": np.flatnonzero(np.isin(order, SET["frontal"]))}
    other = analyse(reordered, circuits, rng=np.random.default_rng(1), rules=RULES)
    same = run_thickness(visits)[0]
    np.testing.assert_allclose(other.response.coefficients, same.response.coefficients)
    np.testing.assert_allclose(other.response.specific, same.response.specific)


@pytest.mark.parametrize("background", ["disjoint", "matched"])
def test_other_backgrounds_of_regions_give_the_same_answer(background: str) -> None:
    found, rows = run_thickness(thickness_study(6, set=-0.12), background=background)
    assert rows["specific", "frontal"].p_corrected < 0.05
    inside = np.isin(np.arange(400), SET["frontal"])
    assert not found.sample.background[inside].any()
    if background == "disjoint":
        np.testing.assert_array_equal(found.sample.background, ~inside)


def test_positions_of_edges_are_refused_for_regions() -> None:
    circuits = {"dmn": np.array([3, 40_000])}
    with pytest.raises(DesignError, match="feature space has 400 regions"):
        analyse(thickness_study(), circuits, rng=np.random.default_rng(0), rules=RULES)


README = Path(__file__).resolve().parents[3] / "README.md"


def _readme_example() -> str:
    return next(
        part
        for part in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
        if "load_atlas" in part
    )


def _run_example(code: str) -> Analysis:
    names: dict[str, object] = {}
    exec(code, names)
    found = names["analysis"]
    assert isinstance(found, Analysis)
    estimates = [e for e in found.estimates if np.isfinite(e.estimate)]
    assert max(abs(e.estimate) for e in estimates if e.unit == "Fisher z") < 0.3
    return found


def test_the_example_of_the_readme_finds_nothing(capsys):
    found = _run_example(_readme_example())
    assert found.verdict.verdict == "undetermined"
    assert "gain" not in found.response.withheld
    assert "undetermined" in capsys.readouterr().out


def test_independent_noise_withholds_what_it_cannot_show():
    """The first version printed a gain of 73,482,165.997 Fisher z for independent noise."""
    code, count = re.subn(r"\n    series\[.*", "\n    pass", _readme_example())
    assert count == 1
    found = _run_example(code)
    rows = {(e.family, e.term): e for e in found.estimates}
    for term in ("gain", "global_signal"):
        assert np.isnan(rows["global", term].estimate)
        assert rows["global", term].note == found.response.withheld[term]
    assert found.verdict.verdict == "undetermined"
    assert "Not tested: gain" in " ".join(found.verdict.warnings)


FEW = Rules(n_permutations=99)
SMALL = EdgeSpec(n_regions=60, n_treated=12, n_reference=0)


def _analyse(
    study: EdgeStudy, *, baseline: np.ndarray | None = None, followup: np.ndarray | None = None
) -> Analysis:
    visits = Visits(
        study.baseline if baseline is None else baseline,
        study.followup if followup is None else followup,
        study.features,
    )
    return analyse(visits, study.circuits, rng=np.random.default_rng(0), rules=FEW)


@pytest.mark.parametrize("n", [4, 5, 6])
def test_few_participants_give_no_extreme_estimates(n: int) -> None:
    for seed in range(6):
        study = simulate_edges(Truth(), replace(SMALL, n_treated=n), np.random.default_rng(seed))
        found = _analyse(study)
        assert found.verdict.verdict != "neither"
        for e in found.estimates:
            if e.family in ("global", "specific") and e.unit == "Fisher z":
                assert not abs(e.estimate) > 0.6, e
    with pytest.raises(DesignError, match="3 participants have both visits"):
        _analyse(simulate_edges(Truth(), replace(SMALL, n_treated=3), np.random.default_rng(0)))


def test_a_circuit_outside_the_background_is_withheld_with_a_reason() -> None:
    """The first version reported a standard error of 1.7 Fisher z for such a circuit."""
    study = simulate_edges(Truth(), replace(SMALL, circuit_strength=1.4), np.random.default_rng(1))
    found = _analyse(study)
    row = next(e for e in found.estimates if e.family == "specific")
    assert np.isnan(row.estimate)
    assert "far outside the range of the background" in row.note
    assert any(text.startswith("Not tested: circuit") for text in found.verdict.warnings)
    assert found.verdict.verdict == "undetermined"


def test_constant_columns_do_not_stop_the_analysis() -> None:
    study = simulate_edges(Truth(), SMALL, np.random.default_rng(1))
    baseline, followup = study.baseline.copy(), study.followup.copy()
    baseline[:, 700:760] = followup[:, 700:760] = 0.0
    constant = _analyse(study, baseline=baseline, followup=followup)
    assert constant.response.withheld == {}
    assert np.isfinite(constant.response.coefficients).all()
    assert np.isfinite(constant.response.specific).all()
    moved = _analyse(study, followup=study.baseline + 0.1)
    rows = {e.term: e.estimate for e in moved.estimates if e.family == "global"}
    assert rows["shift"] == pytest.approx(0.1)
    assert rows["gain"] == pytest.approx(0, abs=1e-9)
    flat = _analyse(study, baseline=np.full_like(baseline, 0.2))
    assert set(flat.response.withheld) == {"gain", "global_signal"}
    baseline[0] = np.nan
    assert np.isfinite(_analyse(study, baseline=baseline).response.specific[1:]).all()


def test_regions_without_coordinates_keep_the_distance_term_of_the_others() -> None:
    study = simulate_edges(Truth(), SMALL, np.random.default_rng(1))
    centres = np.random.default_rng(0).normal(0, 40, (60, 3))
    centres[[3, 9]] = np.nan
    features = FeatureSpace.of_edges(60, centres_mm=centres)
    visits = Visits(study.baseline, study.followup, features)
    found = analyse(visits, study.circuits, rng=np.random.default_rng(0), rules=FEW)
    assert "distance" in found.response.terms
    assert "Distance term: not applied to 117 of 1770 edges" in " ".join(found.omitted)


def test_terms_can_be_left_out_with_a_reason() -> None:
    study = simulate_edges(Truth(), SMALL, np.random.default_rng(1))
    visits = Visits(study.baseline, study.followup, study.features)
    rules = Rules(n_permutations=99, without={"global_signal": "edges are partial correlations"})
    found = analyse(visits, study.circuits, rng=np.random.default_rng(0), rules=rules)
    assert found.response.terms == ("shift", "gain", "distance")
    assert found.omitted[-1] == (
        "Global signal: not part of the global model, because edges are partial correlations."
    )
    assert not any(e.term == "global_signal" for e in found.estimates)


def test_blocks_without_networks_do_not_change_in_noise() -> None:
    """Clusters of the baseline alone decrease afterwards (regression to the mean)."""
    rng = np.random.default_rng(0)
    n_rejected = 0
    for _ in range(20):
        z = rng.normal(0, 0.1, (2, 12, 1770))
        visits = Visits(z[0], z[1], FeatureSpace.of_edges(60))
        circuit = {"c": np.arange(30)}
        found = analyse(visits, circuit, rng=rng, rules=FEW)
        n_rejected += any(e.p_corrected < 0.05 for e in found.estimates if e.family == "blocks")
    assert n_rejected <= 4  # P(X > 4 | 20, .05) < .003


def test_change_scores_are_the_tests_of_the_verdict_without_adjustment() -> None:
    study = simulate_edges(
        Truth(specific=0.2), replace(QUIET, n_control=14), np.random.default_rng(5)
    )
    visits = Visits(study.baseline, study.followup, study.features, treated=study.treated)
    found = {}
    for randomised in (True, False):
        analysis = analyse(
            replace(visits, randomised=randomised),
            {"dmn": study.circuit},
            rng=np.random.default_rng(1),
            rules=RULES,
        )
        found[randomised] = {(e.family, e.term): e for e in analysis.estimates}
        assert (analysis.levels is not None) == randomised
    assert not any(family.startswith("change scores") for family, _ in found[False])
    for family in ("global", "specific"):
        terms = [term for name, term in found[True] if name == family]
        assert terms
        for term in terms:
            changes = found[True][f"change scores: {family}", term]
            same = found[False][family, term]
            assert changes.method == same.method
            for name in ("estimate", "se", "df", "statistic", "bound", "sd"):
                assert getattr(changes, name) == pytest.approx(getattr(same, name), nan_ok=True)
            assert "adjusted for the baseline" in found[True][family, term].method


def test_shift_and_gain_count_only_if_a_change_is_found_at_all() -> None:
    first = ("global_signal", "average_change", "proportional_change")
    for truth in (Truth(), Truth(shift=0.05), Truth(gain=0.2)):
        found = _analyse(simulate_edges(truth, SMALL, np.random.default_rng(5)))
        rows = {e.term: e for e in found.estimates if e.family == "global"}
        assert tuple(rows) == ("shift", "gain", *first)
        gate = min(rows[term].p_corrected for term in first)
        for term in ("shift", "gain"):
            assert rows[term].p_corrected >= max(gate, rows[term].p)
    assert rows["proportional_change"].p_corrected < 0.05
    assert rows["gain"].p_corrected < 0.05
