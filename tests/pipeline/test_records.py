"""Shared records: validation of the study design, and hashes of settings."""

import json
from dataclasses import asdict, fields, replace

import pytest

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.records import AnalysisSettings, Strategy
from circuitshift.pipeline.study.study_file import Design


@pytest.mark.parametrize(
    ("name", "label"),
    [("24p", "24p"), ("24p+acompcor", "24pAcompcor"), ("24p+acompcor+gsr", "24pAcompcorGsr")],
)
def test_names_of_strategies_become_bids_labels(name: str, label: str) -> None:
    assert Strategy(name, (), None, None, None, "", "", gsr=False).desc == label


@pytest.mark.parametrize(
    "arguments",
    [
        {"baseline": "pre", "followup": "post"},
        {"baseline": "pre", "followup": "post", "visits": ("pre", "mid", "post")},
        # a crossover with separate baselines, and one with a shared baseline
        {"baseline": "a", "followup": "b", "control_baseline": "c", "control_followup": "d"},
        {"baseline": "a", "followup": "b", "control_baseline": "a", "control_followup": "d"},
        # the reference group of another data set may have the name of a group of this one
        {"baseline": "a", "followup": "b", "treated": ("x",), "reference": ("x",),
         "reference_dataset": "other"},
    ],
)  # fmt: skip
def test_valid_designs(arguments) -> None:
    assert Design(**arguments).baseline == arguments["baseline"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"followup": "pre"}, "both session 'pre'"),
        ({"control_baseline": "c"}, "needs control_baseline and control_followup"),
        ({"control_followup": "c"}, "needs control_baseline and control_followup"),
        (
            {"control_baseline": "c", "control_followup": "d", "control": ("x",)},
            "a crossover has no control group",
        ),
        ({"visits": ("post", "pre")}, "must start with the baseline 'pre'"),
        ({"visits": ("pre", "mid")}, "include the follow-up 'post'"),
        ({"control_baseline": "c", "control_followup": "post"}, "must be different"),
        ({"control_baseline": "post", "control_followup": "d"}, "must be different"),
        ({"treated": ("x",), "control": ("x", "y")}, "group x has two roles"),
        ({"treated": ("x",), "reference": ("x",)}, "group x has two roles"),
        ({"control": ("x",), "reference": ("x",)}, "group x has two roles"),
        ({"harmonise": True}, "requires .model. site"),
        ({"alpha": 0.0}, "alpha = 0; an error rate is above 0"),
        ({"alpha": 0.5}, "alpha = 0.5; an error rate is above 0"),
        ({"sesoi_z": 0.0}, "a smallest effect of interest is above 0"),
        ({"sesoi_z": float("nan")}, "sesoi_z = nan; a smallest effect"),
        ({"n_permutations": 19}, "cannot reach p = .05"),
    ],
)
def test_invalid_designs_are_refused(arguments, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        Design(**({"baseline": "pre", "followup": "post"} | arguments))


def test_settings_survive_json() -> None:
    settings = AnalysisSettings(atlases=("a", "b"), dummy_scans=3, strategy_files=("x.toml",))
    record = json.loads(json.dumps(asdict(settings)))
    assert AnalysisSettings.from_record(record) == settings


def test_the_hash_depends_on_each_setting() -> None:
    changed = {
        "atlases": ("other",), "circuits": ("c.toml",), "strategies": ("24p",),
        "min_coverage": 0.4, "min_signal": 0.2, "min_minutes": 3.0, "max_mean_fd_mm": 0.4,
        "dummy_scans": 0,
        "strategy_files": ("s.toml",), "estimator": "partial", "template": "other",
        "slice_timing": False, "visit_minutes": 5.0, "combine_runs": "concatenate",
        "structure": "volumes",
    }  # fmt: skip
    settings = AnalysisSettings()
    assert {field.name for field in fields(settings)} <= set(changed)
    hashes = {replace(settings, **{name: value}).digest() for name, value in changed.items()}
    assert len(hashes | {settings.digest()}) == len(changed) + 1
    assert settings.digest() == AnalysisSettings().digest()


def test_circuits_and_structure_do_not_affect_connectivity() -> None:
    settings = AnalysisSettings(circuits=("mine.toml",), structure="volumes")
    assert settings.measuring() == AnalysisSettings()
    other = replace(settings, min_minutes=4.0)
    assert other.measuring().digest() != settings.measuring().digest()
