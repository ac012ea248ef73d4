"""Section on the verdict: findings, common scale, and limitations."""

from dataclasses import replace

import pytest

from circuitshift.pipeline.reports import figures
from circuitshift.pipeline.reports.study import verdict as section
from circuitshift.pipeline.reports.study.verdict import limits

NAN = float("nan")
DESIGN = {"baseline": "pre", "followup": "post", "alpha": 0.05, "sesoi_z": 0.1}


def test_a_changed_circuit_is_said_to_move_toward_or_away_from_the_reference(estimate, small_study):
    tests = [estimate(name, "specific", p=0.001) for name in ("near", "far", "open")]
    tests.append(estimate("still", "specific", p=0.6))
    shares = [
        {"circuit": "near", "share": 0.5, "ci_low": 0.2, "ci_high": 0.8},
        {"circuit": "far", "share": -1.4, "ci_low": -2.0, "ci_high": -0.9},
        {"circuit": "open", "share": 0.1, "ci_low": -0.4, "ci_high": 0.6},
        {"circuit": "still", "share": 0.5, "ci_low": 0.2, "ci_high": 0.8},
        {"circuit": "withheld", "share": None, "ci_low": None, "ci_high": None},
    ]
    sentences = section.reference_words(
        small_study(tests=tests, secondary={"normalisation": shares})
    )
    assert [words.partition(" (")[0] for words in sentences] == [
        "near: treated participants moved toward the reference group",
        "far: treated participants moved away from the reference group",
    ]


def test_the_report_states_first_that_data_are_simulated(full_study, write):
    sentence = "The data are simulated, as their description states (a program)."
    page = write(replace(full_study(), simulated=(sentence,)))
    assert page.text.index(sentence) < page.text.index("The named circuits changed")
    assert "simulated" not in write(full_study()).text.lower().split("regression to the mean")[0]


def test_the_common_scale_is_in_units_of_the_bound_of_each_test(monkeypatch, estimate, small_study):
    seen = {}
    drawn = figures.one_scale

    def keep(groups, **more):
        seen.update(dict(groups))
        return drawn(groups, **more)

    monkeypatch.setattr(figures, "one_scale", keep)
    gain = estimate("gain", "global", 0.3, unit="proportion", bound=0.6)
    tests = [gain, estimate("dmn", "specific", 0.2, 0.001), estimate("x", "specific", bound=NAN)]
    found = section.scale_figure(small_study(tests=tests))
    assert [row.name for row in seen["Circuits"]] == [
        "dmn"
    ]  # a test without a bound is not on the scale
    assert [row.hit for title in seen for row in seen[title]] == [False, True]
    assert "gain: 0.60 proportion; circuits: 0.10 Fisher z" in found.caption
    assert section.scale_figure(small_study()) is None
    tests[1:] = [
        estimate("average_change", "global", bound=0.05),
        *(estimate(f"c{k}", "specific", bound=bound) for k, bound in enumerate((0.1, 0.06, 0.08))),
    ]
    caption = section.scale_figure(small_study(tests=tests)).caption
    assert "; average change: 0.05 Fisher z; circuits: 0.06 to 0.10 Fisher z)" in caption
    assert [row.name for row in seen["Global terms"]] == ["gain", "average change"]
    assert "Filled: corrected p below alpha. The intervals" in caption
    report = small_study(tests=tests)
    report.verdict["not_claimed"] = ["average_change", "c1"]
    caption = section.scale_figure(report).caption
    assert "below alpha (the verdict does not claim: average change, c1). The" in caption


def test_absence_of_an_effect_is_reported_only_after_a_test_of_equivalence(full_study, write):
    report = full_study(hit="")
    page = write(report)
    assert "No circuit-specific change was found, and one as large as" in page.text
    report.verdict["circuits"]["tpn"]["ruled_out"] = False
    page = write(report)
    assert "is not ruled out for Title of tpn." in page.text
    report.verdict["circuits"]["dmn"]["ruled_out"] = False
    page = write(report)
    assert "this is not evidence of absence" in page.text


@pytest.mark.parametrize(
    ("verdict", "included", "omitted"),
    [
        ({"n": {"treated": 9}}, "without a control arm", "at random"),
        ({"n": {"treated": 9, "control": 9}}, "at random", "without a control arm"),
        (
            {"design": DESIGN | {"control_baseline": "a", "control_followup": "b"}},
            "Order and carry-over",
            "without a control arm",
        ),
        ({"n": {"reference": 0}}, "without a reference group", "another data set"),
        (
            {"n": {"reference": 5}, "design": DESIGN | {"reference_dataset": "ds2"}},
            "another data set (ds2)",
            "without a reference group",
        ),
        (
            {"design": DESIGN | {"symptom": "madrs"}},
            "which of them came first",
            "clinical improvement",
        ),
        (
            {"quality": {"qcfc_n_participants": 9.0}},
            "neither direction",
            "Motion: head motion was not available",
        ),
        ({}, "Motion: head motion was not available", "which of them came first"),
        (
            {"global_signal": {"removed": False, "source": "detected"}},
            "it was not regressed out",
            "is unknown",
        ),
        (
            {"global_signal": {"removed": True, "source": "detected"}},
            "it was regressed out",
            "is unknown",
        ),
        ({"global_signal": {"removed": None, "source": "unknown"}}, "is unknown", "Judged by"),
        ({"global_signal": {"removed": False, "source": "strategy"}}, "Motion", "Global signal"),
        ({"plan": {"frozen": True}}, "Mechanism", "no plan was frozen"),
        ({"circuits_not_resolved": ["a", "b"]}, "2 circuits could not be found", "Order"),
    ],
)
def test_limitations_depend_on_the_design(verdict, included, omitted):
    text = " ".join(limits({"design": DESIGN} | verdict))
    assert included in text
    assert omitted not in text


@pytest.mark.parametrize(
    ("randomised", "expected"),
    [
        (True, "states that participants were assigned to the arms at random"),
        (False, "were not assigned to the arms at random"),
        (None, "is not recorded in the files"),
    ],
)
def test_the_limits_depend_on_the_assignment_of_the_arms(randomised, expected):
    verdict = {"n": {"treated": 9, "control": 9}, "design": DESIGN | {"randomised": randomised}}
    (cause,) = [text for text in limits(verdict) if text.startswith("Cause")]
    assert expected in cause
    one_arm = limits(verdict | {"n": {"treated": 9}})
    assert not any(expected in text for text in one_arm)
