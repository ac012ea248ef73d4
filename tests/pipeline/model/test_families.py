"""Properties that all families of tests must have.

Families come from `analyse` and from the secondary analyses that add rows to tests.tsv, so that a
new one is under the contract without being named here.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.analyse import Analysis, analyse
from circuitshift.pipeline.model.contrasts import Rules, Visits, questions_of
from circuitshift.pipeline.model.families import FamilyTest, Labels, Shared
from circuitshift.pipeline.model.secondary.record import SecondaryData
from circuitshift.pipeline.model.secondary.secondary import ANALYSES, secondary_analyses
from circuitshift.pipeline.model.verdict import Estimate
from circuitshift.pipeline.validation.simulate.edges import (
    EdgeSpec,
    EdgeStudy,
    Truth,
    simulate_edges,
)

N = 20  # regions
SPEC = EdgeSpec(
    n_regions=N,
    n_circuit=6,
    n_treated=9,
    n_control=9,
    n_reference=9,
    deviation_sd=0.2,
    trait_sd=(0.03, 0.02, 0.02, 0.05),
    state_sd=(0.03, 0.02, 0.02, 0.08),
)
RULES = Rules(n_permutations=199)
CIRCUITS = {"c": np.flatnonzero((np.triu_indices(N, 1)[0] < 6) & (np.triu_indices(N, 1)[1] < 6))}
NETWORKS = [f"net {k}" for k in np.arange(N) // 4]
CIRCUITS["d"] = np.flatnonzero(np.triu_indices(N, 1)[0] >= 14)


def draw(seed: int, truth: Truth | None = None, **spec: object) -> EdgeStudy:
    return simulate_edges(truth or Truth(), replace(SPEC, **spec), np.random.default_rng(seed))


def visits_of(study: EdgeStudy, **more: object) -> Visits:
    rng = np.random.default_rng(0)
    n = len(study.baseline)
    arguments = {
        "treated": None if study.treated.all() else study.treated,
        "reference": study.reference,
        "factor": np.arange(n) % 2 == 0,
        "symptom": rng.normal(size=n),
    }
    return Visits(study.baseline, study.followup, study.features, **(arguments | more))


def by_term(
    visits: Visits,
    *,
    circuits: dict | None = None,
    seed: int = 1,
    networks: Sequence[str] = NETWORKS,
) -> dict:
    found = everything(visits, circuits=circuits, seed=seed, networks=networks)[1]
    return {(e.family, e.term): e for e in found}


def everything(
    visits: Visits,
    *,
    circuits: dict | None = None,
    seed: int = 1,
    rules: Rules = RULES,
    networks: Sequence[str] = NETWORKS,
) -> tuple[Analysis, list[Estimate]]:
    rng = np.random.default_rng(seed)
    analysis = analyse(visits, circuits or CIRCUITS, rng=rng, rules=rules, networks=networks)
    data = SecondaryData(
        analysis,
        visits,
        rules,
        participants=[f"sub-{k}" for k in range(len(visits.baseline))],
        networks=networks,
        rng=np.random.default_rng(seed),
    )
    tests = [one for one in ANALYSES if one.families]
    return analysis, [*analysis.estimates, *secondary_analyses(data, tests).estimates]


@pytest.fixture(scope="module")
def rows() -> dict:
    return by_term(visits_of(draw(1)))


def families(found: dict) -> set[str]:
    return {family for family, _ in found}


def test_the_families_are_those_of_the_documentation(rows: dict) -> None:
    base = {"global", "nuisance", "specific", "specific, node-adjusted"}
    asked = {f"{q}: {f}" for q in ("factor", "interaction", "symptom") for f in base}
    others = {
        "circuit change",
        "naive: circuit minus background",
        "naive: normalisation slope",
        "size of change",
        "ranks: global",
        "ranks: specific",
        "change scores: global",
        "change scores: specific",
        "blocks",
        "global, within blocks",
        "specific, from zero",
        "specific, graded part",
        "specific, graded rest",
        "specific, regional part",
        "normalisation, split-half instrument",
    }
    assert families(rows) == base | asked | others


def test_all_rows_are_complete(rows: dict) -> None:
    for e in rows.values():
        assert 0 < e.p <= 1
        assert e.p <= e.p_corrected + 1e-12
        assert e.p_low <= e.p <= e.p_high
        assert e.ci_low < e.estimate < e.ci_high
        assert e.se > 0
        assert e.df > 1
        assert e.bf10 > 0
        assert e.n + e.n_control <= 18
        assert "permutation" in e.method


class ConstantNoise:
    """Shared noise that adds the same variance to each estimate."""

    def __init__(self, variance: float) -> None:
        self.variance = variance

    def excess_variance(self, weights: np.ndarray) -> np.ndarray:
        return np.full(2, self.variance * (np.abs(weights).sum() > 0))


@pytest.mark.parametrize(("variance", "has_note"), [(0.0, False), (0.02, False), (1.0, True)])
def test_more_degrees_of_freedom_than_participants_have_a_note(
    variance: float, has_note: bool
) -> None:
    visits = visits_of(draw(1, n_treated=4, n_control=4), factor=None, symptom=None)
    y = np.random.default_rng(2).normal(0, 1, (8, 2))
    labels = Labels("f", ("a", "b"), ("a", "b"), ("", ""), (np.nan, np.nan))
    (question,) = questions_of(visits)
    question = replace(question, adjusts=False)
    test = FamilyTest(question, RULES, np.random.default_rng(0))
    plain = test.family(labels, y)
    rows = test.family(labels, y, Shared(ConstantNoise(variance), np.arange(2)))
    for row, without in zip(rows, plain, strict=True):
        assert row.df == pytest.approx(without.df * (1 + variance / without.se**2) ** 2)
        assert (row.df > 16) == has_note
        assert ("df exceeds the number of participants" in row.note) == has_note


def test_the_seed_determines_p_values(rows: dict) -> None:
    again, other = by_term(visits_of(draw(1))), by_term(visits_of(draw(1)), seed=2)
    for key, e in rows.items():
        for name in Estimate.__slots__:
            one, two = getattr(e, name), getattr(again[key], name)
            assert one == two or (np.isnan(one) and np.isnan(two)), (key, name)
        if "split-half" not in key[0]:  # its splits are also random
            assert other[key].estimate == e.estimate
        assert abs(other[key].p - e.p) < 0.25
    assert any(other[key].p != e.p for key, e in rows.items())


def test_the_order_of_participants_has_no_effect(rows: dict) -> None:
    study, order = draw(1), np.random.default_rng(3).permutation(18)
    plain = visits_of(study)
    reordered = replace(
        plain,
        **{k: getattr(plain, k)[order] for k in ("baseline", "followup", "treated", "factor")},
        symptom=plain.symptom[order],
    )
    for key, e in by_term(reordered).items():
        if "split-half" in key[0]:
            continue
        assert e.estimate == pytest.approx(rows[key].estimate, abs=1e-9), key
        assert e.statistic == pytest.approx(rows[key].statistic, abs=1e-6), key
        assert abs(e.p - rows[key].p) < 0.25, key


def test_exchanging_the_arms_reverses_all_signs(rows: dict) -> None:
    plain = visits_of(draw(1))
    for (family, term), e in by_term(replace(plain, treated=~plain.treated)).items():
        if family.startswith(("symptom", "factor")):
            continue  # not a comparison of arms
        if "split-half" in family:
            continue
        assert e.estimate == pytest.approx(-rows[family, term].estimate, abs=1e-9), (family, term)


def test_the_order_of_regions_has_no_effect(rows: dict) -> None:
    study, order = draw(1), np.random.default_rng(4).permutation(N)
    i, j = np.triu_indices(N, 1)
    matrix = np.zeros((N, N), int)
    matrix[i, j] = matrix[j, i] = np.arange(i.size)
    move = matrix[order][:, order][i, j]  # new edge -> old edge
    back = np.argsort(move)
    plain = visits_of(study)
    reordered = replace(
        plain,
        **{k: getattr(plain, k)[:, move] for k in ("baseline", "followup", "reference")},
        features=FeatureSpace.of_edges(N, length_mm=plain.features.length_mm[move]),
    )
    networks = [NETWORKS[k] for k in order]
    circuits = {name: np.sort(back[edges]) for name, edges in CIRCUITS.items()}
    for key, e in by_term(reordered, circuits=circuits, networks=networks).items():
        assert e.estimate == pytest.approx(rows[key].estimate, abs=1e-7), key
        assert e.p == pytest.approx(rows[key].p, abs=0.011), key


def test_a_region_missing_in_one_participant_removes_no_row(rows: dict) -> None:
    study = draw(1)
    i, j = np.triu_indices(N, 1)
    study.followup[3, (i == 2) | (j == 2)] = np.nan
    missing = by_term(visits_of(study))
    assert set(missing) == set(rows) or set(rows) - set(missing) == {
        key for key in rows if "split-half" in key[0]
    }
    for key, e in missing.items():
        assert np.isfinite(e.estimate), key
        assert abs(e.estimate - rows[key].estimate) < 4 * e.se, key


@pytest.mark.parametrize("n", [4, 5])
def test_small_samples_give_complete_rows_or_rows_with_a_reason(n: int) -> None:
    study = draw(5, n_treated=n, n_control=0, n_reference=n)
    found = everything(visits_of(study, factor=None, symptom=None))[1]
    assert {e.family for e in found} >= {"global", "specific"}
    for e in found:
        assert np.isfinite(e.p) or e.note
        if np.isfinite(e.p):
            assert e.p >= 2.0**-n


def test_p_equals_a_slow_loop() -> None:
    """Max-T of the family *global*, from the normal scores of scipy's Welch t of each labelling.

    Shift and gain form a second stage, whose p is at least that of the first stage.
    """
    study = draw(6)
    rules = Rules(n_permutations=100_000)
    arm = np.arange(10) < 4
    edges = FeatureSpace.of_edges(N)
    plain = Visits(study.baseline[:10], study.followup[:10], edges, treated=arm, randomised=False)
    analysis = analyse(plain, CIRCUITS, rng=np.random.default_rng(0), rules=rules)
    terms = [name for name in analysis.response.terms if name != "distance"]
    y = analysis.response.coefficients[:, [analysis.response.terms.index(t) for t in terms]]

    def score(who: np.ndarray) -> np.ndarray:
        found = stats.ttest_ind(y[who], y[~who], equal_var=False)
        return np.abs(stats.norm.isf(stats.t.sf(np.abs(found.statistic), found.df)))

    null = np.array(
        [score(np.isin(np.arange(10), chosen)) for chosen in combinations(range(10), 4)]
    )
    rows = {e.term: e for e in analysis.estimates if e.family == "global"}
    extra = analysis.response.excess_variance(np.where(arm, 1 / 4, -1 / 6))
    for k, term in enumerate(terms):
        if extra[analysis.response.terms.index(term)] > 0:
            continue  # the noise of shared regressors reduces the observed statistic
        own = score(arm)[k]
        assert rows[term].p == pytest.approx(np.mean(null[:, k] >= own - 1e-3), abs=0.01)
        second = [j for j, name in enumerate(terms) if name in ("shift", "gain")]
        stages = [second, [j for j in range(len(terms)) if j not in second]]
        stage = next(stage for stage in stages if k in stage)
        expected = np.mean(null[:, stage].max(axis=1) >= own - 1e-3)
        if stage is second:
            gate = min(rows[terms[j]].p_corrected for j in stages[1])
            expected = max(expected, gate)
        assert rows[term].p_corrected == pytest.approx(expected, abs=0.01)
        assert rows[term].method.endswith("210 (all), max-T")


@pytest.mark.slow
def test_false_positive_rates_of_all_families_are_nominal() -> None:
    n_studies = 250
    hits: dict[str, int] = {}
    for seed in range(n_studies):
        found = everything(visits_of(draw(1000 + seed)), seed=seed, rules=Rules(n_permutations=99))[
            1
        ]
        smallest: dict[str, float] = {}
        for e in found:
            smallest[e.family] = min(smallest.get(e.family, 1.0), e.p_corrected)
        for family, p in smallest.items():
            hits[family] = hits.get(family, 0) + (p <= 0.05)
    bound = stats.binom.isf(0.0005, n_studies, 0.05)  # one of 25 families in a hundred runs
    too_many = {f: h for f, h in hits.items() if h > bound}
    assert not too_many, too_many


SIMULATED = {
    "global": Truth(shift=0.25),
    "specific": Truth(specific=0.3),
    "specific, node-adjusted": Truth(specific=0.5),
    "circuit change": Truth(specific=0.3),
    "naive: circuit minus background": Truth(specific=0.3),
    "ranks: global": Truth(shift=0.25),
    "ranks: specific": Truth(specific=0.3),
    "naive: normalisation slope": Truth(normalisation=0.8),
    "normalisation, split-half instrument": Truth(normalisation=0.8),
    "nuisance": Truth(artefact_z_per_mm=0.004),
}


@pytest.mark.parametrize("family", list(SIMULATED))
def test_each_family_detects_the_effect_simulated_for_it(family: str) -> None:
    study = draw(7, SIMULATED[family])
    found = everything(visits_of(study, factor=None, symptom=None))[1]
    own = [e for e in found if e.family == family]
    assert min(e.p_corrected for e in own) < 0.05, own
    best = min(own, key=lambda e: e.p_corrected)
    assert best.estimate > 0


def test_the_size_of_change_is_detected() -> None:
    study = draw(8)
    rng = np.random.default_rng(0)
    study.followup[study.treated] += rng.normal(0, 0.25, study.followup[study.treated].shape)
    found = everything(visits_of(study, factor=None, symptom=None))[1]
    own = [e for e in found if e.family == "size of change"]
    assert min(e.p_corrected for e in own) < 0.05


def test_variables_that_the_same_participant_lacks_are_corrected_together() -> None:
    """The maximum statistic of the other participants serves all of them."""
    rng = np.random.default_rng(4)
    features = FeatureSpace.of_edges(5)
    y = rng.normal(0.4, 1, (9, 3))
    labels = Labels("f", ("a", "b", "c"), ("a", "b", "c"), ("z",) * 3, (np.nan,) * 3)

    def corrected(values: np.ndarray) -> list[float]:
        study = Visits(*rng.normal(size=(2, len(values), features.n_features)), features)
        test = FamilyTest(questions_of(study)[0], Rules(n_permutations=600), rng)
        return [e.p_corrected for e in test.family(labels, values)]

    expected = corrected(y[1:])
    y[0] = np.nan
    assert corrected(y) == expected
