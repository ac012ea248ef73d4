"""Sections on participants: flow, exclusions, data quality, and participants to check."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np

from circuitshift.pipeline.reports.blocks import Link
from circuitshift.pipeline.reports.study import participants as section

NAN = float("nan")


def rows(svg):
    """Return the texts of a figure."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_the_flow_counts_participants_at_each_visit_and_lists_reasons(small_study):
    participants = [
        {"participant_id": f"sub-{k}", "arm": "treated", "session": session, "circuit": circuit}
        for k in range(5)
        for session in ("pre", "post")[: 1 if k == 4 else 2]
        for circuit in ("dmn", "tpn")
    ]
    exclusions = [
        {"participant_id": "sub-4", "arm": "treated", "code": "missing-visit"},
        {"participant_id": "sub-5", "arm": "treated", "code": "motion"},
        {"participant_id": "sub-5", "arm": "treated", "code": "motion"},
        {"participant_id": "sub-9", "arm": "n/a", "code": "no-role"},
    ]
    flow = {
        "treated": {"listed": 7, "measured": 6, "analysed": 4},
        "reference": {"listed": 3, "measured": 3, "analysed": 3},
        "none": {"listed": 1, "measured": 0, "analysed": 0},
    }
    found = section.flow_figure(
        small_study({"flow": flow}, participants=participants, exclusions=exclusions)
    )
    text = rows(found.svg)
    text += [f"{label}: {n}" for label, n in pairwise(text)]  # the number is below its label
    for words in (
        "Enrolled: 7", "Measured at least once: 6", "Usable at ses-pre: 5", "Usable at ses-post: 4",
        "Analysed: 4", "Not analysed: 3", "missing-visit: 1", "motion: 1", "no role", "Enrolled: 1",
    ):  # fmt: skip
        assert words in text, words
    usable = [word for word in rows(found.svg) if word.startswith("Usable")]
    assert len(usable) == 2  # the reference group has one visit


def test_participants_without_a_role_have_a_table_of_their_own(small_study):
    exclusions = [
        {"participant_id": "sub-9", "arm": "n/a", "code": "no-role", "reason": "group 'x'"},
        {"participant_id": "sub-4", "arm": "treated", "code": "missing-visit", "reason": "late"},
    ]
    report = small_study(exclusions=exclusions)
    assert [row[0] for row in section.exclusion_table(report).rows] == ["sub-4"]
    assert [row[:2] for row in section.exclusion_table(report, no_role=True).rows] == [
        ("sub-9", "none")
    ]
    assert section.outliers(report) == ["sub-4: excluded: missing-visit"]


def test_participants_to_check_moved_lack_regions_or_are_influential(small_study):
    quality = [
        {"participant_id": f"sub-{k}", "arm": "treated", "session": "pre", "n_regions_lost": 0,
         "mean_fd_mm": 0.1 + 0.01 * k}
        for k in range(8)
    ]  # fmt: skip
    quality[3]["mean_fd_mm"] = 0.9
    quality[5]["n_regions_lost"] = 2
    quality[6]["mean_fd_mm"] = "n/a"
    influence = [{"participant_id": "sub-1", "term": "dmn", "estimate": 0.2, "without": "0.15"}]
    report = small_study(
        quality=quality, secondary={"influence": influence}, pages={"sub-3": "../sub-3.html"}
    )
    influential, moved, incomplete = section.outliers(report)
    assert influential.startswith("sub-1: ")
    assert "from 0.200 to 0.150" in influential
    assert moved[0] == Link("sub-3", "../sub-3.html")
    assert "0.900 mm at ses-pre, far above the others of arm treated" in moved[1]
    assert incomplete == "sub-5: 2 regions without enough signal at ses-pre"


def test_quality_is_sorted_by_arm_and_time(full_study, write):
    report = full_study(arms=("reference", "control", "treated"))
    page = write(replace(report, quality=report.quality[::-1]))
    rows = re.findall(r'<tr><th scope="row">(\w+)</th><td>(pre|post|only)</td>', page.source)
    assert rows == [
        ("treated", "pre"), ("treated", "post"), ("control", "pre"), ("control", "post"),
        ("reference", "only"),
    ]  # fmt: skip


def test_motion_by_length_requires_motion_and_lengths(small_study, study_of_edges):
    quality = {"qcfc_median_abs_r": 0.2, "qcfc_distance_rho": -0.31, "baseline": {}}
    report = study_of_edges()
    found = section.length_figure(
        small_study({"quality": quality}, change_by_strength=report.change_by_strength)
    )
    assert "median |r| = 0.20, with length rho = \N{MINUS SIGN}0.31" in found.svg
    missing = np.full(15, NAN)
    assert section.length_figure(study_of_edges(distance_mm=missing)) is None
    assert section.length_figure(study_of_edges(qcfc_r=missing, qcfc_change_r=missing)) is None


def test_the_boundary_cost_is_shown_where_circuitshift_registered_runs(small_study):
    def quality(cost):
        return [
            {"participant_id": f"sub-{k}", "arm": "treated", "session": "pre",
             "mean_fd_mm": 0.1, "boundary_cost": cost + 0.01 * k}
            for k in range(3)
        ]  # fmt: skip

    exclusions = [
        {"participant_id": "sub-3", "arm": "treated", "code": "registration"},
        {"participant_id": "sub-2", "arm": "treated", "code": "motion; registration-disagrees"},
        {"participant_id": "sub-1", "arm": "treated", "code": "motion"},
    ]
    report = small_study(quality=quality(0.21), exclusions=exclusions)
    table = section.quality_table(report)
    assert table.head[-1] == "Median boundary cost of the registration"
    assert table.rows[0][-1] == "0.22"
    text = str([getattr(block, "words", "") for block in section.quality_section(report)])
    assert "It ranges from 0.21 to 0.23." in text
    assert "are excluded: 2 runs." in text
    without = small_study(quality=quality(NAN))
    assert "boundary" not in str(section.quality_table(without).head)
    words = str([getattr(block, "words", "") for block in section.quality_section(without)])
    assert "boundary" not in words
