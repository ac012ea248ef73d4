"""Exclusion of runs by thresholds of duration, motion and coverage."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.measure.run_quality import (
    CODES,
    MAX_BOUNDARY_COST,
    MAX_DISAGREEMENT_MM,
    exclude_run,
)
from circuitshift.pipeline.records import AnalysisSettings, Registration, RetainedData

GOOD = RetainedData(150, 0, 0, 150, 5.0, 30, 120.0, 0.2)
ALL = np.ones(10)


def test_runs_within_the_thresholds_or_with_missing_values_are_included():
    assert exclude_run(GOOD, AnalysisSettings(), ALL) == []
    unknown = replace(GOOD, minutes=np.nan, mean_fd_mm=np.nan)
    assert exclude_run(unknown, AnalysisSettings(), ALL) == []


def test_all_reasons_are_reported():
    bad = replace(GOOD, minutes=1.5, mean_fd_mm=0.8)
    coverage = np.r_[np.full(6, 0.2), np.full(3, 1.0), np.nan]
    reasons = exclude_run(bad, AnalysisSettings(), coverage)
    assert reasons == [
        ("too-short", "1.5 minutes were retained, fewer than 2"),
        ("motion", "mean framewise displacement 0.800 mm is above 0.5 mm"),
        ("coverage", "70% of the regions have too little signal"),
    ]
    assert {code for code, _ in reasons} < set(CODES)
    assert exclude_run(bad, AnalysisSettings(min_minutes=1, max_mean_fd_mm=1.0), ALL) == []


@pytest.mark.parametrize(("n_missing", "is_excluded"), [(5, False), (6, True)])
def test_a_run_is_excluded_if_more_than_half_of_the_regions_are_missing(n_missing, is_excluded):
    coverage = np.r_[np.full(n_missing, 0.49), np.full(10 - n_missing, 0.5)]
    assert bool(exclude_run(GOOD, AnalysisSettings(min_coverage=0.5), coverage)) is is_excluded


def test_values_at_the_thresholds_are_included():
    settings = AnalysisSettings(min_minutes=5.0, max_mean_fd_mm=0.2)
    assert exclude_run(GOOD, settings, ALL) == []


def test_a_failed_registration_excludes_a_run():
    settings = AnalysisSettings()
    assert exclude_run(GOOD, settings, ALL, Registration(0.46, 21.6)) == [
        (
            "registration",
            "the registration to the T1-weighted image failed, its boundary cost of 0.46 is above "
            f"{MAX_BOUNDARY_COST:g}",
        ),
        (
            "registration-disagrees",
            "the registration to the T1-weighted image differs by 21.6 mm from that of the other "
            f"runs, more than {MAX_DISAGREEMENT_MM:g} mm",
        ),
    ]
    at = Registration(MAX_BOUNDARY_COST, MAX_DISAGREEMENT_MM)
    assert exclude_run(GOOD, settings, ALL, at) == []
    assert {"registration", "registration-disagrees"} < set(CODES)
