"""Arguments that are refused before the model is fitted."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.analyse import analyse
from circuitshift.pipeline.model.contrasts import Rules, Visits
from circuitshift.pipeline.model.input_checks import check_input, check_networks

FEATURES = FeatureSpace.of_edges(12)
CIRCUITS = {"dmn": np.arange(5)}


def visits(**more):
    rng = np.random.default_rng(0)
    baseline = rng.normal(0.3, 0.2, (10, FEATURES.n_features))
    followup = baseline + rng.normal(0, 0.1, baseline.shape)
    return Visits(baseline, followup, FEATURES, **more)


def check(given, circuits=CIRCUITS, rng=None, **rules):
    check_input(given, circuits, Rules(**rules), rng or np.random.default_rng(0))


def test_a_usual_study_is_accepted():
    reference = np.random.default_rng(1).normal(0.3, 0.2, (6, FEATURES.n_features))
    check(visits(reference=reference), sides={"dmn": "decrease"})


def test_a_study_without_circuits_is_refused():
    with pytest.raises(DesignError, match="there is no circuit"):
        check(visits(), {})


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ({"dnm": "decrease"}, r"names dnm, which is not among the circuits \(dmn\)"),
        ({"a": "increase", "b": "increase"}, "names a, b, which are not among the circuits"),
        ({"dmn": "upwards"}, "'upwards'.* unknown direction; use one of 'two-sided', 'increase'"),
    ],
)
def test_directions_belong_to_circuits(sides, message):
    with pytest.raises(DesignError, match=message):
        check(visits(), sides=sides)


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"n_permutations": 0},
        {"n_permutations": 1.5},
        {"sesoi": -1.0},
        {"sesoi_d": 0.0},
        {"sesoi_gain": -1.0},
        {"sesoi_share": float("nan")},
        {"sesoi_tau": 0.0},
        {"background": "some"},
    ],
)
def test_impossible_rules_are_refused(wrong):
    ((name, _),) = wrong.items()
    with pytest.raises(DesignError, match=f"values that are not possible: {name} = "):
        check(visits(), **wrong)


def test_all_impossible_rules_are_listed():
    with pytest.raises(DesignError, match=r"alpha = 2 \(.*\); sesoi_gain = 0 \(above 0\)"):
        check(visits(), alpha=2.0, sesoi_gain=0.0)


def test_each_region_has_a_network():
    check_networks(["Vis"] * 12, FEATURES)
    check_networks(None, FEATURES)
    with pytest.raises(DesignError, match="networks has 3 entries for 12 regions; give the"):
        analyse(
            visits(), CIRCUITS, rng=np.random.default_rng(0), networks=["Vis"] * 3, rules=Rules()
        )


def test_a_copy_of_the_baseline_is_no_follow_up():
    given = visits()
    with pytest.raises(DesignError, match=r"identical in 10 of 10 participants \(row 1, 2, 3"):
        check(replace(given, followup=given.baseline.copy()))
    one = given.followup.copy()
    one[3] = given.baseline[3]
    with pytest.raises(DesignError, match=r"identical in 1 of 10 participants \(row 4\)"):
        check(replace(given, followup=one))
    missing = given.followup.copy(), given.baseline.copy()
    for visit in missing:
        visit[3] = np.nan
    check(replace(given, followup=missing[0], baseline=missing[1]))


def test_visits_of_the_control_condition_are_no_copies():
    given = visits()
    other = given.followup + 0.1
    check(replace(given, control_baseline=given.baseline, control_followup=other))
    with pytest.raises(DesignError, match="follow-up of the control condition are identical in 10"):
        check(replace(given, control_baseline=other, control_followup=other))
    with pytest.raises(DesignError, match="the follow-ups of both conditions are identical in 10"):
        check(replace(given, control_baseline=other, control_followup=given.followup))


def test_patients_are_no_reference():
    given = visits()
    with pytest.raises(DesignError, match="2 of 4 reference participants have the same"):
        check(replace(given, reference=np.vstack([given.baseline[:2], given.followup[:2]])))


def test_randomness_comes_from_a_generator():
    with pytest.raises(DesignError, match=r"rng is int; .*default_rng\(1\)"):
        analyse(visits(), CIRCUITS, rng=1)
