"""Designs: crossover, factor, symptom score, motion, weights, and designs that are refused."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.analyse import Analysis, analyse
from circuitshift.pipeline.model.contrasts import Rules, Visits, questions_of
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
    ],
)
def test_arrays_that_do_not_match_are_refused(more: dict, message: str) -> None:
    z = np.zeros((8, 3))
    with pytest.raises(DesignError, match=message):
        Visits(z, z, THREE, **more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"treated": np.arange(8) < 1}, "each arm needs at least two"),
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
