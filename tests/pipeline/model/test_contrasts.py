"""Designs: crossover, factor, symptom score, motion, weights, and designs that are refused."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.analyse import Analysis, analyse
from circuitshift.pipeline.model.contrasts import Rules, Visits, questions_of
from circuitshift.pipeline.model.families import FamilyTest, Labels
from circuitshift.pipeline.stats.permutation import contrast_of, permutation_test
from circuitshift.pipeline.validation.simulate.edges import EdgeSpec, Truth, simulate_edges

SPEC = EdgeSpec(
    n_regions=50,
    n_circuit=10,
    n_treated=24,
    n_control=24,
    n_reference=16,
    trait_sd=(0.03, 0.02, 0.02, 0.06),
    state_sd=(0.03, 0.02, 0.02, 0.08),
)
RULES = Rules(n_permutations=200)
EDGES = FeatureSpace.of_edges(50)
THREE = FeatureSpace.of_edges(3)


def rows(analysis: Analysis, family: str) -> dict:
    return {e.term: e for e in analysis.estimates if e.family == family}


def run(visits: Visits, circuit: np.ndarray, **rules: object) -> Analysis:
    return analyse(
        visits, {"dmn": circuit}, rng=np.random.default_rng(0), rules=replace(RULES, **rules)
    )


def test_a_crossover_removes_changes_that_both_conditions_share() -> None:
    """Both conditions shift all edges; only the treatment changes the circuit."""
    treated = simulate_edges(
        Truth(shift=0.15, specific=0.2), replace(SPEC, n_control=0), np.random.default_rng(1)
    )
    rng = np.random.default_rng(2)
    n, edges = treated.baseline.shape
    own = treated.baseline + rng.normal(0, 0.08, (n, edges))
    control = own + 0.15 + rng.normal(0, 0.08, (n, edges))
    visits = Visits(
        treated.baseline, treated.followup, EDGES, control_baseline=own, control_followup=control
    )
    analysis = run(visits, treated.circuit)
    assert analysis.verdict.verdict == "circuit-specific"
    assert not any("no control arm" in text for text in analysis.verdict.warnings)
    alone = run(Visits(treated.baseline, treated.followup, EDGES), treated.circuit)
    assert alone.verdict.verdict == "both"
    np.testing.assert_allclose(visits.before, (treated.baseline + own) / 2)


def test_the_baseline_of_a_crossover_uses_edges_that_one_condition_has() -> None:
    z = np.zeros((2, 3))
    missing = z.copy()
    missing[0, 1] = np.nan
    visits = Visits(missing, z, THREE, control_baseline=z + 2, control_followup=z)
    assert visits.before[0, 1] == 2
    assert np.isnan(visits.change[0, 1])


def test_an_interaction_of_drug_and_therapy_is_found() -> None:
    """The drug has an effect only in combination with therapy."""
    study = simulate_edges(Truth(), SPEC, np.random.default_rng(3))
    factor = np.arange(48) % 2 == 0
    combined = study.treated & factor
    followup = study.followup.copy()
    followup[combined] += 0.2
    analysis = run(
        Visits(study.baseline, followup, EDGES, treated=study.treated, factor=factor), study.circuit
    )
    interaction = rows(analysis, "interaction: global")["shift"]
    assert interaction.p_corrected < 0.05
    assert interaction.estimate == pytest.approx(0.2, abs=0.05)
    assert (interaction.n, interaction.n_control) == (12, 36)
    # averaged over therapy, half of the interaction is an effect of the drug
    assert rows(analysis, "global")["shift"].estimate == pytest.approx(0.1, abs=0.04)
    assert rows(analysis, "factor: global")["shift"].estimate == pytest.approx(0.1, abs=0.04)
    assert rows(analysis, "interaction: specific")["dmn"].p > 0.05


@pytest.mark.parametrize("randomised", [False, True])
def test_effects_of_a_factor_equal_least_squares(randomised: bool) -> None:
    study = simulate_edges(Truth(shift=0.1), SPEC, np.random.default_rng(4))
    factor = np.random.default_rng(0).random(48) < 0.4
    analysis = run(
        Visits(
            study.baseline,
            study.followup,
            EDGES,
            treated=study.treated,
            factor=factor,
            randomised=randomised,
        ),
        study.circuit,
    )
    y = analysis.response.coefficients[:, 0]
    t, f = study.treated - 0.5, factor - 0.5
    columns = [np.ones(48), t, f, t * f]
    if randomised:
        columns.append(analysis.levels[:, 0])
    beta = np.linalg.lstsq(np.column_stack(columns), y, rcond=None)[0]
    for name, expected in zip(("", "factor: ", "interaction: "), beta[1:4], strict=True):
        assert rows(analysis, f"{name}global")["shift"].estimate == pytest.approx(expected)


def test_symptom_change_within_arms() -> None:
    study = simulate_edges(Truth(), SPEC, np.random.default_rng(5))
    rng = np.random.default_rng(6)
    symptom = rng.normal(-8, 4, 48) - 4 * study.treated
    followup = study.followup.copy()
    followup[:, study.circuit] += 0.04 * (symptom - symptom.mean())[:, None]
    symptom[3] = np.nan
    analysis = run(
        Visits(study.baseline, followup, EDGES, treated=study.treated, symptom=symptom),
        study.circuit,
    )
    row = rows(analysis, "symptom: specific")["dmn"]
    assert row.p_corrected < 0.05
    assert row.estimate == pytest.approx(0.04, abs=0.01)
    assert row.unit == "Fisher z per point"
    assert (row.n, row.n_control) == (47, 0)
    assert np.isnan(row.equivalence_p)
    available = np.isfinite(symptom)
    x = np.column_stack([symptom, np.ones(48), study.treated])[available]
    y = analysis.response.specific[available, 0]
    assert row.estimate == pytest.approx(np.linalg.lstsq(x, y, rcond=None)[0][0])


@pytest.mark.parametrize("background", ["disjoint", "matched"])
def test_other_backgrounds_give_the_same_answer(background: str) -> None:
    study = simulate_edges(
        Truth(specific=0.2), replace(SPEC, n_control=0), np.random.default_rng(7)
    )
    visits = Visits(study.baseline, study.followup, study.features)
    analysis = run(visits, study.circuit, background=background)
    assert analysis.verdict.verdict == "circuit-specific"


def test_questions_of_each_design() -> None:
    z, arm = np.zeros((8, 3)), np.arange(8) < 4
    names = lambda **more: [q.name for q in questions_of(Visits(z, z, THREE, **more))]  # noqa: E731
    assert names() == [""]
    assert names(factor=arm) == ["", "factor"]
    assert names(treated=arm, factor=arm[::-1], symptom=np.ones(8)) == [
        "",
        "factor",
        "interaction",
        "symptom",
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"control_baseline": np.zeros((8, 3))}, "needs both visits of the control condition"),
        (
            {
                "control_baseline": np.zeros((8, 3)),
                "control_followup": np.zeros((8, 3)),
                "treated": np.arange(8) < 4,
            },
            "in a crossover all participants are treated",
        ),
        (
            {"control_baseline": np.zeros((7, 3)), "control_followup": np.zeros((7, 3))},
            "the control condition has shape",
        ),
        ({"symptom": np.zeros(7)}, "symptom has 7 rows for 8 participants"),
        ({"factor": np.zeros(9, bool)}, "factor has 9 rows for 8 participants"),
        ({"motion_mm": np.r_[np.nan, np.arange(7.0)]}, "motion_mm is unknown for some"),
        (
            {"covariates": np.column_stack([np.arange(8.0), np.full(8, np.nan)])},
            "covariates: column 2 is missing for all participants; give its values, or omit it",
        ),
        ({"signal_quality": np.zeros((8, 4))}, r"one column per region, shape \(8, 3\)"),
    ],
)
def test_arrays_that_do_not_match_are_refused(more: dict, message: str) -> None:
    z = np.zeros((8, 3))
    with pytest.raises(DesignError, match=message):
        Visits(z, z, THREE, **more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"treated": np.arange(8) < 1},
            r"only 1 participant of the treated arm \(row 1\) has both visits; each arm needs",
        ),
        ({"treated": np.arange(8) != 5}, r"of the control arm \(row 6\)"),
        ({"symptom": np.r_[np.full(7, -3.0), 2]}, r"of the group with the value 2 \(row 8\)"),
        ({"treated": np.arange(8) < 4, "factor": np.arange(8) < 4}, "collinear"),
        ({"symptom": np.full(8, -3.0)}, "all participants have the same value"),
        ({"covariates": np.arange(16.0).reshape(8, 2)}, "collinear"),
    ],
)
def test_designs_that_are_not_identified_are_refused(more: dict, message: str) -> None:
    z = np.zeros((8, 3))
    questions = questions_of(Visits(z, z, THREE, **more))
    with pytest.raises(DesignError, match=message):
        [question.contrast(question.asked) for question in questions]


@pytest.mark.parametrize(
    ("factor", "name", "message"),
    [
        (np.arange(8) != 2, "factor", r"of the group without the factor \(row 3\)"),
        (np.arange(8) == 5, "factor", r"of the group with the factor \(row 6\)"),
        (np.arange(8) > 2, "interaction", r"with treatment and factor \(row 4\)"),
    ],
)
def test_a_group_of_one_participant_is_named(factor, name: str, message: str) -> None:
    z = np.zeros((8, 3))
    questions = questions_of(Visits(z, z, THREE, treated=np.arange(8) < 4, factor=factor))
    (question,) = (one for one in questions if one.name == name)
    with pytest.raises(DesignError, match=message):
        question.contrast(question.asked)


def test_estimates_are_changes_at_unchanged_motion() -> None:
    """With one arm, a centred covariate would attribute the effect of motion to the shift."""
    spec = replace(SPEC, n_control=0, motion_mm=(0.05, 0.15, 0.0))
    study = simulate_edges(Truth(), spec, np.random.default_rng(9))
    visits = Visits(study.baseline, study.followup, study.features)
    naive = run(replace(visits, covariates=study.motion_mm[:, None]), study.circuit)
    ours = run(replace(visits, motion_mm=study.motion_mm), study.circuit)
    assert rows(naive, "global")["shift"].p < 0.05
    assert rows(ours, "global")["shift"].p > 0.05
    y = ours.response.coefficients[:, 0]
    x = np.column_stack([np.ones(24), study.motion_mm])
    expected = np.linalg.lstsq(x, y, rcond=None)[0][0]
    assert rows(ours, "global")["shift"].estimate == pytest.approx(expected)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"n": 1}, "1 participant has both visits; the model needs at least 4"),
        ({"n": 3}, "3 participants have both visits"),
        ({"covariates": lambda n: np.ones((n, 2)) * np.arange(n)[:, None]}, "collinear"),
        ({"covariates": lambda n: np.eye(n)[:, : n - 2]}, "too few for"),
        ({"reference": "patients"}, "2 of 10 reference participants have the same edges"),
        ({"reference": "other atlas"}, "use the same atlas for all"),
        ({"treated": lambda n: np.arange(n) < 1}, "each arm needs at least two"),
        ({"treated": lambda n: [1] * 5 + [0] * (n - 5)}, "must be a boolean array"),
        ({"blocks": lambda n: np.arange(n - 1)}, "blocks has 23 rows for 24 participants"),
        ({"circuits": "all"}, "0 background edges"),
    ],
)
def test_invalid_studies_are_refused(more: dict, message: str) -> None:
    study = simulate_edges(
        Truth(), replace(SPEC, n_control=0, n_reference=10), np.random.default_rng(10)
    )
    n = more.get("n", 24)
    arguments = {k: v(n) for k, v in more.items() if callable(v)}
    reference = study.reference
    if more.get("reference") == "patients":
        reference = np.vstack([reference[:8], study.baseline[:2]])
    elif more.get("reference"):
        reference = reference[:, :-1]
    circuit = np.arange(EDGES.n_features) if more.get("circuits") else study.circuit
    with pytest.raises(DesignError, match=message):
        run(
            Visits(study.baseline[:n], study.followup[:n], EDGES, reference=reference, **arguments),
            circuit,
        )


def test_a_constant_covariate_has_no_effect() -> None:
    study = simulate_edges(Truth(), SPEC, np.random.default_rng(11))
    plain = Visits(study.baseline, study.followup, EDGES, treated=study.treated)
    constant = run(replace(plain, covariates=np.ones((48, 1))), study.circuit)
    expected = run(plain, study.circuit)
    assert rows(constant, "global")["shift"].p == rows(expected, "global")["shift"].p


@pytest.mark.parametrize("n_control", [0, 24])
def test_weights_give_weighted_least_squares(n_control: int) -> None:
    study = simulate_edges(
        Truth(shift=0.1), replace(SPEC, n_control=n_control), np.random.default_rng(12)
    )
    n = len(study.baseline)
    rng = np.random.default_rng(13)
    weights, age = rng.uniform(0.5, 2, n), rng.normal(40, 9, n)
    arguments = {"treated": study.treated} if n_control else {}
    visits = Visits(
        study.baseline, study.followup, EDGES, covariates=age[:, None], weights=weights, **arguments
    )
    analysis = run(visits, study.circuit)
    row = rows(analysis, "global")["shift"]
    columns = [np.ones(n), age - age.mean()]
    if n_control:
        columns = [study.treated.astype(float), *columns, analysis.levels[:, 0]]
    fit = sm.WLS(analysis.response.coefficients[:, 0], np.column_stack(columns), weights).fit()
    assert row.estimate == pytest.approx(fit.params[0])
    if not n_control:  # with two arms, the variance is that of Welch
        assert row.df == pytest.approx(fit.df_resid, rel=0.2)
        assert row.se**2 == pytest.approx(fit.bse[0] ** 2, rel=0.2)  # plus shared noise
    assert ", weighted Freedman-Lane " in row.method
    plain = run(replace(visits, weights=None), study.circuit)
    same = run(replace(visits, weights=np.full(n, 3.0)), study.circuit)
    assert rows(same, "global")["shift"].p == rows(plain, "global")["shift"].p
    with pytest.raises(DesignError, match="above 0"):
        replace(visits, weights=np.zeros(n))


def test_weights_keep_the_error_rate_and_increase_power() -> None:
    """Participants with noisier changes have smaller weights."""
    rng = np.random.default_rng(14)
    noise = np.where(np.arange(30) < 15, 1.0, 3.0)
    hits = np.zeros((2, 2))
    for _ in range(200):
        for effect in (0, 1):
            y = rng.normal(0.45 * effect, noise)[:, None]
            for k, weights in enumerate((None, 1 / noise**2)):
                contrast = contrast_of(np.ones(30), flips=True, weights=weights)
                hits[effect, k] += (
                    permutation_test(y, contrast, rng=rng, n_permutations=99).p[0] <= 0.05
                )
    assert (hits[0] <= 21).all()  # 99.9 % bound
    assert hits[1, 1] > hits[1, 0] + 20


# --- adjustment for the baseline -----------------------------------------------------------------


def _labels(n: int, **more: object) -> Labels:
    names = tuple(f"v{k}" for k in range(n))
    return Labels("f", names, names, ("z",) * n, (np.nan,) * n, **more)


def _random_trial(n: int = 28, **more: object) -> tuple[Visits, np.ndarray, np.ndarray]:
    """Return visits with a design, and random baselines and changes of two variables."""
    rng = np.random.default_rng(21)
    treated = np.arange(n) % 2 == 0
    z = np.zeros((n, 3))
    before = rng.normal(size=(n, 2))
    change = -0.5 * before + 0.6 * treated[:, None] + rng.normal(size=(n, 2))
    return Visits(z, z + 0.1, THREE, treated=treated, **more), before, change


COLUMNS = {
    "covariates": np.random.default_rng(22).normal(size=(28, 2)),
    "motion_mm": np.random.default_rng(23).normal(0.1, 1, 28),
    "factor": np.random.default_rng(24).random(28) < 0.5,
    "weights": np.random.default_rng(25).uniform(0.5, 2, 28),
    "symptom": np.random.default_rng(26).normal(size=28),
}


@pytest.mark.parametrize(
    "given",
    [
        (),
        ("covariates",),
        ("motion_mm",),
        ("covariates", "motion_mm"),
        ("factor",),
        ("factor", "covariates"),
        ("weights",),
        ("weights", "factor", "motion_mm"),
        ("symptom", "covariates"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("randomised", [True, False])
def test_t_and_df_of_each_design_equal_statsmodels(given: tuple, randomised: bool) -> None:
    design = {name: COLUMNS[name] for name in given}
    visits, before, change = _random_trial(randomised=randomised, **design)
    n = len(change)
    arm = visits.treated - 0.5
    factor = COLUMNS["factor"] - 0.5
    of_interest = {"": arm}
    if "factor" in given:
        of_interest |= {"factor": factor, "interaction": arm * factor}
    if "symptom" in given:
        of_interest["symptom"] = COLUMNS["symptom"]
    more = [np.ones(n), *(COLUMNS[k] for k in ("covariates", "motion_mm") if k in given)]
    for question in questions_of(visits):
        # one variance group, as statsmodels assumes
        pooled = replace(question, group=np.zeros(n, np.intp))
        tests = FamilyTest(pooled, RULES, np.random.default_rng(0)).family(
            _labels(2), change, baseline=before
        )
        for k, e in enumerate(tests):
            others = [c for name, c in of_interest.items() if name != question.name]
            if question.name != "symptom":  # it is a covariate of no other question
                others = others[: len(others) - ("symptom" in given)]
            x = [of_interest[question.name], *others, *more]
            if randomised and question.name != "symptom":
                x.append(before[:, k])
            weights = COLUMNS["weights"] if "weights" in given else np.ones(n)
            fit = sm.WLS(change[:, k], np.column_stack(x), weights=weights).fit()
            assert e.estimate == pytest.approx(fit.params[0])
            assert e.statistic == pytest.approx(fit.tvalues[0])
            assert e.se == pytest.approx(fit.bse[0])
            assert e.df == pytest.approx(fit.df_resid)
            assert e.ci_low == pytest.approx(fit.conf_int()[0][0])
            assert ("adjusted for the baseline" in e.method) == (
                randomised and question.name != "symptom"
            )


def test_p_of_two_adjusted_arms_with_sites_equals_a_slow_loop() -> None:
    sites = np.arange(28) // 14
    visits, before, change = _random_trial(blocks=sites, covariates=sites[:, None].astype(float))
    (question,) = questions_of(visits)
    rules = Rules(n_permutations=199)
    tests = FamilyTest(question, rules, np.random.default_rng(3)).family(
        _labels(2), change, baseline=before
    )
    rng = np.random.default_rng(3)
    orders = np.tile(np.arange(28), (199, 1))
    for site in (0, 1):
        orders[:, sites == site] = rng.permuted(orders[:, sites == site], axis=1)
    arms = visits.treated
    null, observed = np.zeros((199, 2)), np.zeros(2)
    for k in range(2):
        z = np.column_stack([np.ones(28), sites, before[:, k]])
        fitted = z @ np.linalg.lstsq(z, change[:, k], rcond=None)[0]
        x = np.column_stack([arms, z])
        observed[k] = _welch_score(change[:, k], x, arms)
        null[:, k] = [
            _welch_score(fitted + (change[:, k] - fitted)[order], x, arms) for order in orders
        ]
    for k, e in enumerate(tests):
        assert e.p == pytest.approx((1 + (null[:, k] >= observed[k] - 1e-9).sum()) / 200)
        largest = null.max(axis=1)
        assert e.p_corrected == pytest.approx((1 + (largest >= observed[k] - 1e-9).sum()) / 200)


def _welch_score(y: np.ndarray, x: np.ndarray, arms: np.ndarray) -> float:
    """Return the absolute normal score (Wallace) of a generalised Welch t."""
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ y
    left, free = y - x @ beta, 1 - np.einsum("ij,jk,ik->i", x, inverse, x)
    weight = (inverse @ x.T)[0] ** 2
    parts = [(weight[g].sum() * (left[g] ** 2).sum() / free[g].sum()) for g in (arms, ~arms)]
    spread = sum(v**2 / free[g].sum() for v, g in zip(parts, (arms, ~arms), strict=True))
    t, df = beta[0] / np.sqrt(sum(parts)), sum(parts) ** 2 / spread
    return float((8 * df + 1) / (8 * df + 3) * np.sqrt(df * np.log1p(t * t / df)))


def test_a_variable_without_baseline_is_tested_in_the_other_participants() -> None:
    visits, before, change = _random_trial()
    before[3, 1] = np.nan
    (question,) = questions_of(visits)
    first, second = FamilyTest(question, RULES, np.random.default_rng(0)).family(
        _labels(2), change, baseline=before
    )
    assert (first.n + first.n_control, second.n + second.n_control) == (28, 27)
    rest = np.arange(28) != 3
    x = np.column_stack([visits.treated, np.ones(28), before[:, 1]])[rest]
    expected = np.linalg.lstsq(x, change[rest, 1], rcond=None)[0][0]
    assert second.estimate == pytest.approx(expected)


def test_too_few_participants_are_compared_by_their_changes() -> None:
    visits, before, change = _random_trial(n=4)
    (question,) = questions_of(visits)
    tests = FamilyTest(question, RULES, np.random.default_rng(0)).family(
        _labels(2), change, baseline=before
    )
    for k, e in enumerate(tests):
        assert e.estimate == pytest.approx(change[::2, k].mean() - change[1::2, k].mean())
        assert "changes are compared instead" in e.note
        assert "adjusted" not in e.method
        assert e.smallest_p == pytest.approx(2 / 6)


def test_arms_that_differ_at_baseline_need_change_scores() -> None:
    """Nothing happens in arms that differ at baseline (Lord's paradox)."""
    rng = np.random.default_rng(31)
    n = 400
    treated = np.arange(n) < n // 2
    trait = 1.5 * treated + rng.normal(size=n)
    before, after = (trait + rng.normal(size=n) for _ in range(2))
    z = np.zeros((n, 3))
    estimates = {}
    for randomised in (True, False):
        visits = Visits(z, z, THREE, treated=treated, randomised=randomised)
        test = FamilyTest(questions_of(visits)[0], RULES, np.random.default_rng(0))
        (e,) = test.family(_labels(1), (after - before)[:, None], baseline=before[:, None])
        estimates[randomised] = e
    assert estimates[False].p > 0.05
    assert estimates[True].p < 0.01
    assert estimates[True].estimate == pytest.approx(0.75, abs=0.3)


def test_bounds_in_standard_deviations_and_power() -> None:
    visits, before, change = _random_trial()
    (question,) = questions_of(visits)
    tests = FamilyTest(question, RULES, np.random.default_rng(0)).family(
        _labels(2, bound_d=0.3), change, baseline=before
    )
    for k, e in enumerate(tests):
        groups = change[::2, k], change[1::2, k]
        sd = np.sqrt(np.mean([g.var(ddof=1) for g in groups]))  # arms of equal size
        assert e.sd == pytest.approx(sd)
        assert e.bound == pytest.approx(0.3 * sd)
        limit = stats.t.isf(0.05 / 2 / 2, e.df)
        expected = stats.nct.sf(limit, e.df, e.bound / e.se) + stats.nct.cdf(
            -limit, e.df, e.bound / e.se
        )
        assert e.power == pytest.approx(expected, abs=1e-6)


def test_primary_circuits_determine_the_verdict_and_are_corrected_alone() -> None:
    study = simulate_edges(Truth(specific=0.2), SPEC, np.random.default_rng(7))
    visits = Visits(study.baseline, study.followup, EDGES, treated=study.treated)
    i, j = EDGES.ends
    circuits = {"dmn": study.circuit} | {
        f"c{k}": np.flatnonzero((i >= 10 + 5 * k) & (i < 15 + 5 * k) & (j < 15 + 5 * k))
        for k in range(3)
    }
    found = {}
    for primary in ((), ("dmn",), ("c1", "c0")):
        rules = Rules(n_permutations=200, primary=primary)
        found[primary] = analyse(visits, circuits, rng=np.random.default_rng(0), rules=rules)
    families = {
        key: [e.term for e in a.estimates if e.family == "specific"] for key, a in found.items()
    }
    assert families == {
        (): ["dmn", "c0", "c1", "c2"],
        ("dmn",): ["dmn"],
        ("c1", "c0"): ["c0", "c1"],
    }
    assert set(rows(found["dmn",], "secondary")) == {"c0", "c1", "c2"}
    assert set(rows(found["dmn",], "secondary, node-adjusted")) == {"c0", "c1", "c2"}
    assert not rows(found[()], "secondary")
    assert found["dmn",].verdict.verdict == "circuit-specific"
    assert found["c1", "c0"].verdict.verdict != "circuit-specific"
    alone = rows(found["dmn",], "specific")["dmn"]
    assert alone.p_corrected == alone.p
    with pytest.raises(DesignError, match=r"\[hypotheses\] primary"):
        analyse(visits, circuits, rng=np.random.default_rng(0), rules=Rules(primary=("dnm",)))


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("shift", 0.05),
        ("gain", 0.15),
        ("global_signal", np.log(1.15)),
        ("normalisation", 0.25),
        ("distance", np.nan),
    ],
)
def test_smallest_effects_of_interest_of_global_terms(term: str, expected: float) -> None:
    assert Rules().smallest_effect(term, THREE) == pytest.approx(expected, nan_ok=True)
    stated = Rules(sesoi=0.08).smallest_effect(term, THREE)
    assert stated == (0.08 if term == "shift" else pytest.approx(expected, nan_ok=True))


@pytest.mark.parametrize(
    "given",
    [(), ("covariates",), ("motion_mm",), ("factor",), ("weights", "covariates", "motion_mm")],
    ids=" ".join,
)
@pytest.mark.parametrize("crossover", [False, True])
def test_t_and_df_of_one_arm_equal_statsmodels(given: tuple, crossover: bool) -> None:
    _, before, change = _random_trial()
    z = np.zeros((28, 3))
    more = {"control_baseline": z, "control_followup": z} if crossover else {}
    visits = Visits(z, z, THREE, **{name: COLUMNS[name] for name in given}, **more)
    question = questions_of(visits)[0]
    tests = FamilyTest(question, RULES, np.random.default_rng(0)).family(
        _labels(2), change, baseline=before
    )
    x = [np.ones(28)]
    if "covariates" in given:
        x += list((COLUMNS["covariates"] - COLUMNS["covariates"].mean(axis=0)).T)
    if "motion_mm" in given:  # the mean change at unchanged motion
        x.append(COLUMNS["motion_mm"])
    if "factor" in given:
        x.append(COLUMNS["factor"] - 0.5)
    weights = COLUMNS["weights"] if "weights" in given else np.ones(28)
    for k, e in enumerate(tests):
        fit = sm.WLS(change[:, k], np.column_stack(x), weights=weights).fit()
        assert e.estimate == pytest.approx(fit.params[0])
        assert e.statistic == pytest.approx(fit.tvalues[0])
        assert e.df == pytest.approx(fit.df_resid)
        assert "adjusted for the baseline" not in e.method


def test_values_that_are_no_fisher_z_are_refused() -> None:
    values = np.random.default_rng(0).normal(0.3, 0.2, (6, 10))
    features = FeatureSpace.of_edges(5)
    for value in (50.0, np.inf, -np.inf):
        wrong = values.copy()
        wrong[2, 3] = value
        with pytest.raises(DesignError, match="followup: 1 values are outside -8 to 8 Fisher z"):
            Visits(values, wrong, features)
    in_percent = FeatureSpace.of_edges(5, unit="percent")
    Visits(100 * values, 100 * values + 1, in_percent)
    with pytest.raises(DesignError, match="1 values are outside -inf to inf percent"):
        Visits(values, wrong, in_percent)


def test_arrays_have_their_dimensions() -> None:
    values = np.random.default_rng(0).normal(0.3, 0.2, (6, 10))
    features = FeatureSpace.of_edges(5)
    with pytest.raises(DesignError, match="baseline is list; it must be a numpy array"):
        Visits(values.tolist(), values, features)  # type: ignore[arg-type]
    with pytest.raises(DesignError, match="covariates has 1 dimensions"):
        Visits(values, values + 1, features, covariates=np.arange(6.0))
