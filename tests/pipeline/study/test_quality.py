"""Exclusion by ratings, comparison of exclusions between arms, and QC-FC."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from circuitshift.pipeline.measure.run_quality import CODES
from circuitshift.pipeline.study.quality import (
    compare_exclusion,
    distance_dependence,
    exclude_rated,
    qcfc,
    qcfc_edges,
)
from circuitshift.pipeline.study.ratings import Rating


def test_one_exclusion_is_sufficient_and_sessions_are_distinguished():
    ratings = (
        Rating("01", "post", "exclude", "AB", "stripes"),
        Rating("01", "", "keep", "CD"),
        Rating("01", "", "doubt", "EF", "odd"),
        Rating("ds2:01", "", "exclude", "GH"),
    )
    reasons, doubts = exclude_rated("01", "post", ratings)
    assert reasons == [("rated", "rated exclude by AB: stripes")]
    assert doubts == ["rated doubt by EF: odd"]
    assert exclude_rated("01", "pre", ratings)[0] == []
    assert exclude_rated("02", "post", ratings) == ([], [])
    assert [code for code, _ in exclude_rated("ds2:01", "", ratings)[0]] == ["rated"]
    assert "rated" in CODES


@pytest.mark.parametrize(
    "counts", [((13, 1), (13, 1)), ((1, 9), (11, 3)), ((8, 2), (1, 5)), ((5, 0), (5, 0))]
)
def test_arms_are_compared_by_fishers_exact_test(counts):
    from scipy.stats import fisher_exact

    found = compare_exclusion(dict(zip("ab", counts, strict=True)))
    assert found == pytest.approx(fisher_exact(counts).pvalue)


def test_qcfc_equals_correlations_and_its_expected_value_without_association():
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


def test_qcfc_is_correlated_with_the_length_of_edges():
    rng = np.random.default_rng(4)
    motion = rng.normal(0.2, 0.05, 40)
    length = rng.uniform(10, 150, 3000)
    still = rng.normal(size=(40, 3000))
    assert abs(qcfc(still, motion, length)["qcfc_distance_rho"]) < 0.06
    moved = still + 20 * (motion - motion.mean())[:, None] * (80 - length) / 80
    assert qcfc(moved, motion, length)["qcfc_distance_rho"] < -0.5
    r = qcfc_edges(moved, motion)
    assert distance_dependence(r, length) == pytest.approx(spearmanr(r, length)[0])
    r[7] = np.nan  # an edge that is missing in a participant
    assert distance_dependence(r, length) == pytest.approx(
        spearmanr(np.delete(r, 7), np.delete(length, 7))[0]
    )
    assert np.isnan(distance_dependence(r, np.full(3000, np.nan)))
    assert np.isnan(distance_dependence(r, np.ones(3000)))


def test_participants_with_missing_motion_are_omitted_from_qcfc():
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
