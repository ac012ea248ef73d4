"""Tests on ranks repeat those of the verdict and are robust against one extreme value."""

from dataclasses import replace

import pytest

from circuitshift.pipeline.model.secondary.ranks import rank_tests
from circuitshift.pipeline.validation.simulate.edges import Truth


def test_the_tests_of_the_verdict_are_repeated(study_of):
    data = study_of(Truth(specific=0.4))
    estimates = rank_tests(data).estimates
    of_verdict = {
        (e.family, e.term): e for e in data.analysis.estimates if e.family in ("global", "specific")
    }
    assert {(e.family.removeprefix("ranks: "), e.term) for e in estimates} == set(of_verdict)
    (dmn,) = [e for e in estimates if e.term == "dmn"]
    assert dmn.p_corrected < 0.05
    assert dmn.estimate > 0
    assert dmn.unit == "normal scores"
    assert "normal scores" in dmn.method


def test_an_extreme_participant_reverses_the_mean_but_not_the_test_on_ranks(study_of):
    data = study_of(Truth(specific=0.4))
    response = data.analysis.response
    specific = response.specific.copy()
    specific[0] = -40.0  # the first participant is treated
    extreme = replace(data.analysis, response=replace(response, specific=specific))
    (dmn,) = [e for e in rank_tests(replace(data, analysis=extreme)).estimates if e.term == "dmn"]
    assert specific[:9, 0].mean() < 0
    assert dmn.estimate > 0


@pytest.mark.parametrize("removed", [False, True])
def test_global_terms_are_withheld_after_global_signal_regression(study_of, removed):
    found = rank_tests(study_of(global_signal_removed=removed)).estimates
    assert ("ranks: global" in {e.family for e in found}) == (not removed)
    assert "ranks: specific" in {e.family for e in found}
