"""Sections on runs of a participant, when images or confounds are missing."""

from dataclasses import replace

import numpy as np

from circuitshift.pipeline.records import RetainedData

NAN = float("nan")


def test_matrices_of_other_software_have_no_motion_coverage_or_networks(participant_report, write):
    report = participant_report(sessions=("",))
    nothing = RetainedData(0, 0, 0, 0, NAN, 0, NAN, NAN)
    run = replace(
        report.runs[0],
        fd_mm=np.empty(0),
        keep=np.empty(0, bool),
        retained=nothing,
        series=None,
        networks=(),
        below_coverage=(),
    )
    edges = replace(report.edges[0], networks=())
    page = write(replace(report, runs=(run,), edges=(edges,)))
    assert "Motion is not available" in page.text
    assert "Regional series are not available" in page.text
    assert "20 regions" in page.text  # the axis, as there are no networks to name
