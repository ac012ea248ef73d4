"""The text and the record of a resolution."""

import json

import pytest

from circuitshift.pipeline.stats.detectable import power_beforehand
from circuitshift.pipeline.study.resolution.describe import (
    Located,
    design_record,
    format_resolution,
    power_sentence,
)
from circuitshift.pipeline.study.resolution.resolve import resolve
from circuitshift.pipeline.study.study_file import Design


def test_text_names_counts_and_missing_visits(observed, stated):
    seen = observed({"arm": ["drug", "drug", "placebo", "placebo"]})
    seen.sessions["03"] = ("pre",)
    labels = (("treated", "escitalopram"),)
    text = format_resolution(resolve(stated(labels=labels), seen), seen, ["Task rest is used."])
    assert "baseline   ses-pre (4 participants)" in text
    assert "[recognised] The names in column arm" in text
    assert "escitalopram: 2 with data, 2 with both visits" in text
    assert "control: 2 with data, 1 with both visits" in text
    assert "without both visits: sub-03 (no ses-post)" in text
    assert "Task rest is used." in text


def test_text_states_the_power_beforehand(observed, stated):
    seen = observed({"arm": ["drug"] * 25 + ["placebo"] * 20})
    text = format_resolution(resolve(stated(), seen), seen)
    expected = power_beforehand([0.3, 0.4, 0.5], 25, 20, n_tests=4, correlation=0.5)
    assert f"d = 0.3: {expected[0]:.0%}, d = 0.4: {expected[1]:.0%}" in text
    assert "corrected for 4 primary circuits" in text
    few = observed({"arm": ["drug", "placebo"]})
    assert "power" not in format_resolution(resolve(stated(), few), few)


@pytest.mark.parametrize(
    ("more", "n_tests", "adjusts"),
    [
        ({}, 4, True),
        ({"primary": ("dmn",)}, 1, True),
        ({"circuits": ("dmn", "tpn")}, 2, True),
        ({"randomised": False}, 4, False),
    ],
)
def test_power_is_that_of_the_primary_circuits(more, n_tests, adjusts):
    design = Design("pre", "post", **more)
    sentence = power_sentence(design, 30, 28)
    expected = power_beforehand(0.5, 30, 28, n_tests=n_tests, correlation=0.5 if adjusts else None)
    assert f"d = 0.5: {expected:.0%}" in sentence
    assert ("corrected for" in sentence) == (n_tests > 1)
    assert ("correlate by 0.5" in sentence) == adjusts
    one_arm = power_sentence(design, 30, 0)
    assert f"d = 0.5: {power_beforehand(0.5, 30, n_tests=n_tests):.0%}" in one_arm
    assert "correlate" not in one_arm


@pytest.mark.parametrize(
    ("more", "located", "n_tests"),
    [
        ({}, Located(("dmn", "dmn_tpn", "salience", "tpn")), 3),
        ({}, Located(("dmn", "mine", "tpn"), own=("mine",)), 3),
        ({}, Located(("hippocampus_mpfc", "salience")), 2),
        ({}, Located(()), 4),  # the analysis is refused for another reason
        ({"primary": ("salience",)}, Located(("dmn", "salience", "tpn")), 1),
        ({"circuits": ("dmn", "salience")}, Located(("dmn", "salience", "tpn")), 2),
    ],
)
def test_power_is_that_of_the_circuits_that_the_atlas_has(observed, stated, more, located, n_tests):
    seen = observed({"group": ["drug"] * 30})
    text = format_resolution(resolve(stated(**more), seen), seen, located=located)
    assert f"d = 0.5: {power_beforehand(0.5, 30, n_tests=n_tests):.0%}" in text
    assert (f"corrected for {n_tests} primary circuits" in text) == (n_tests > 1)


def test_text_of_a_refusal_has_the_lines_to_paste(observed, stated):
    seen = observed({"arm": ["0", "1", "0", "1"]})
    text = format_resolution(resolve(stated(), seen), seen)
    assert "the study cannot be resolved yet" in text
    assert '\n[groups]\ncolumn = "arm"\n' in text


def test_record_is_json_and_counts_roles(observed, stated):
    seen = observed({"arm": ["drug", "drug", "placebo", "placebo"]})
    record = json.loads(json.dumps(design_record(resolve(stated(), seen), seen)))
    assert record["participants_by_role"] == {"control": 2, "treated": 2}
    assert record["participants_by_session"] == {"post": 4, "pre": 4}
    assert record["design"]["treated"] == ["drug"]
    assert record["decisions"][0]["source"] == "recognised"
