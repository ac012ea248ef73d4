"""Size of change without direction, its error rate, and identifiability of participants."""

import numpy as np
import pytest

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.analyse import Rules, Visits, analyse
from circuitshift.pipeline.model.change_size import identifiability, log_displacement

FEATURES = FeatureSpace.of_edges(40)
N_EDGES = FEATURES.n_features
CIRCUIT = {"dmn": np.arange(30)}
RULES = Rules(n_permutations=200)


def study(rng, *, effect_sd=0.0, n=24):
    """Simulate two arms; each edge of each treated participant has a change of random sign."""
    trait = rng.standard_normal((n, N_EDGES)) * 0.2 + 0.2
    noise = rng.standard_normal((2, n, N_EDGES)) * 0.15
    treated = np.arange(n) < n // 2
    followup = trait + noise[1]
    followup[treated] += effect_sd * rng.standard_normal((treated.sum(), N_EDGES))
    return Visits(trait + noise[0], followup, FEATURES, treated=treated)


def sizes(visits, rng):
    found = analyse(visits, CIRCUIT, rng=rng, rules=RULES)
    return {e.term: e for e in found.estimates if e.family == "size of change"}, found


def test_log_displacement_equals_its_definition():
    rng = np.random.default_rng(1)
    change = rng.standard_normal((5, 12))
    change[0, :4] = np.nan
    change[1, :7] = np.nan
    change[2] = 0
    found = log_displacement(change, {"a": np.arange(12), "b": np.array([9, 11])})
    for row in (0, 3, 4):
        available = change[row][np.isfinite(change[row])]
        assert found["a"][row] == pytest.approx(np.log(np.sqrt(np.mean(available**2))))
    assert np.isnan(found["a"][[1, 2]]).all()
    assert found["b"][1] == pytest.approx(np.log(np.sqrt(np.mean(change[1, [9, 11]] ** 2))))


def test_change_without_direction_does_not_influence_the_verdict():
    rng = np.random.default_rng(2)
    rows, found = sizes(study(rng, effect_sd=0.15), rng)
    assert rows["background"].p_corrected < 0.05
    # standard deviation of change: sqrt(2) * .15 in control, sqrt(3) * .15 in treated participants
    assert rows["background"].estimate == pytest.approx(np.log(np.sqrt(3 / 2)), abs=0.03)
    assert found.verdict.verdict in ("neither", "undetermined")


def test_false_positive_rate_is_nominal():
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(1000 + seed)
        rows, _ = sizes(study(rng, n=14), rng)
        hits += rows["background"].p < 0.05
    assert hits <= 11  # 99 % binomial limit of .05


def test_one_arm_is_not_tested():
    rng = np.random.default_rng(3)
    visits = study(rng)
    rows, _ = sizes(Visits(visits.baseline, visits.followup, FEATURES), rng)
    assert rows == {}


def test_the_direction_stated_for_a_circuit_does_not_apply_to_its_size():
    rng = np.random.default_rng(4)
    rules = Rules(n_permutations=200, sides={"dmn": "decrease"})
    found = analyse(study(rng, effect_sd=0.3), CIRCUIT, rng=rng, rules=rules)
    row = next(e for e in found.estimates if e.family == "size of change" and e.term == "dmn")
    assert row.estimate > 0
    assert row.p < 0.05


def test_participants_are_identified_by_their_traits():
    rng = np.random.default_rng(5)
    trait = rng.standard_normal((10, 500))
    found = identifiability(
        trait + 0.3 * rng.standard_normal((10, 500)), trait + 0.3 * rng.standard_normal((10, 500))
    )
    assert found["recognised"] == 1
    assert found["self_r"] == pytest.approx(1 / 1.09, abs=0.02)
    assert found["others_r"] == pytest.approx(0, abs=0.03)
    assert found["idiff"] == pytest.approx(found["self_r"] - found["others_r"])
    unrelated = identifiability(rng.standard_normal((40, 500)), rng.standard_normal((40, 500)))
    assert unrelated["recognised"] < 0.2
    assert identifiability(trait[:1], trait[:1]) == {}
