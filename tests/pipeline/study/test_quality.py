"""Quality: exclusion by thresholds, arms compared, QC-FC."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from circuitshift.pipeline.measure import run_quality as quality
from circuitshift.pipeline.records import AnalysisSettings, RetainedData
from circuitshift.pipeline.study.quality import (
    compare_exclusion,
    distance_dependence,
    qcfc,
    qcfc_edges,
)

GOOD = RetainedData(150, 0, 0, 150, 5.0, 30, 120.0, 0.2)
ALL = np.ones(10)


def test_a_good_run_may_enter_and_unknown_numbers_exclude_nobody():
    assert quality.exclude_run(GOOD, AnalysisSettings(), ALL) == []
    unknown = replace(GOOD, minutes=np.nan, mean_fd_mm=np.nan)
    assert quality.exclude_run(unknown, AnalysisSettings(), ALL) == []


def test_every_reason_is_said_at_once():
    bad = replace(GOOD, minutes=1.5, mean_fd_mm=0.8)
    coverage = np.r_[np.full(6, 0.2), np.full(3, 1.0), np.nan]
    assert quality.exclude_run(bad, AnalysisSettings(), coverage) == [
        ("too-short", "1.5 minutes are left of it, fewer than 2"),
        ("motion", "mean framewise displacement 0.800 mm is above 0.5"),
        ("coverage", "70% of the regions carry too little signal"),
    ]
    assert quality.exclude_run(bad, AnalysisSettings(min_minutes=1, max_mean_fd_mm=1.0), ALL) == []


@pytest.mark.parametrize(
    "counts", [((13, 1), (13, 1)), ((1, 9), (11, 3)), ((8, 2), (1, 5)), ((5, 0), (5, 0))]
)
def test_arms_are_compared_by_fishers_exact_test(counts):
    from scipy.stats import fisher_exact

    found = compare_exclusion(dict(zip("ab", counts, strict=True)))
    assert found == pytest.approx(fisher_exact(counts).pvalue)


def test_qcfc_equals_correlations_and_knows_its_chance_level():
    rng = np.random.default_rng(1)
    edges, motion = rng.standard_normal((26, 3000)), rng.random(26)
    found = qcfc(edges, motion)
    r = [abs(np.corrcoef(edge, motion)[0, 1]) for edge in edges.T]
    assert found["qcfc_median_abs_r"] == pytest.approx(np.median(r))
    assert found["qcfc_median_abs_r"] == pytest.approx(found["qcfc_null_median_abs_r"], rel=0.05)
    planted = qcfc(edges + 5 * motion[:, None], motion)
    assert planted["qcfc_median_abs_r"] > 2 * planted["qcfc_null_median_abs_r"]
    edges[0, :10] = np.nan
    assert qcfc(edges, motion)["qcfc_n_participants"] == 26
    assert qcfc(edges[:4], motion[:4]) == {}


def test_qcfc_is_told_with_the_length_of_edges():
    rng = np.random.default_rng(4)
    motion = rng.normal(0.2, 0.05, 40)
    length = rng.uniform(10, 150, 3000)
    still = rng.normal(size=(40, 3000))
    assert abs(qcfc(still, motion, length)["qcfc_distance_rho"]) < 0.06
    moved = still + 20 * (motion - motion.mean())[:, None] * (80 - length) / 80
    assert qcfc(moved, motion, length)["qcfc_distance_rho"] < -0.5
    r = qcfc_edges(moved, motion)
    assert distance_dependence(r, length) == pytest.approx(spearmanr(r, length)[0])
    r[7] = np.nan  # an edge that somebody lacks
    assert distance_dependence(r, length) == pytest.approx(
        spearmanr(np.delete(r, 7), np.delete(length, 7))[0]
    )
    assert np.isnan(distance_dependence(r, np.full(3000, np.nan)))
    assert np.isnan(distance_dependence(r, np.ones(3000)))


def test_people_of_unknown_motion_are_left_out_of_qcfc():
    rng = np.random.default_rng(5)
    motion, edges = rng.normal(size=30), rng.normal(size=(30, 50))
    missing = motion.copy()
    missing[:4] = np.nan
    np.testing.assert_allclose(qcfc_edges(edges, missing), qcfc_edges(edges[4:], motion[4:]))
    edges[9, 3] = np.nan
    r = qcfc_edges(edges, missing)
    assert np.isnan(r[3])
    assert np.isfinite(np.delete(r, 3)).all()
    assert qcfc(edges, missing)["qcfc_n_participants"] == 26
    assert qcfc(edges, np.full(30, np.nan)) == {}
