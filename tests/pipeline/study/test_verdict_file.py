"""What stands beside the verdict: dependence on global signal regression, and its flag."""

import pytest

from circuitshift.pipeline.model.analyse import Analysis
from circuitshift.pipeline.model.verdict import Verdict
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings
from circuitshift.pipeline.study.verdict_file import _gsr_warning, is_gsr


def analysis(name):
    """An analysis of which only the verdict matters."""
    return Analysis((), Verdict(name, "", "", ()), None, None, None)


def test_strategies_say_whether_the_global_signal_was_removed():
    settings = AnalysisSettings()
    assert not is_gsr("24p+acompcor", settings)
    assert is_gsr("24p+acompcor+gsr", settings)
    assert is_gsr("36p", settings)
    assert not is_gsr(AS_GIVEN, settings)


@pytest.mark.parametrize(
    ("ours", "theirs", "strategy", "is_warned"),
    [
        ("undetermined", "circuit-specific", "24p+gsr", True),
        ("circuit-specific", "undetermined", "24p+gsr", True),
        ("circuit-specific", "circuit-specific", "24p+gsr", False),
        ("global", "undetermined", "24p+gsr", False),  # global terms are not tested there
        ("undetermined", "circuit-specific", "24p", False),
    ],
)
def test_a_verdict_that_depends_on_global_signal_regression_is_warned_of(
    ours, theirs, strategy, is_warned
):
    found = _gsr_warning(
        analysis(ours), [(strategy, analysis(theirs), ""), ("36p", None, "it failed")],
        AnalysisSettings(),
    )  # fmt: skip
    assert len(found) == is_warned
    assert all(ours in text and theirs in text and strategy in text for text in found)
