"""Sections on runs of a participant, when images or confounds are missing."""

from dataclasses import replace

import numpy as np

from circuitshift.pipeline.records import RetainedData
from circuitshift.pipeline.reports.person.content import Carpet, RunViews
from circuitshift.pipeline.reports.person.runs import _carpet_figures

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


def test_regions_with_dropout_are_named_with_their_signal(participant_report, write):
    report = participant_report()
    first, last = report.runs
    signal = np.ones(20)
    signal[3], signal[7] = 0.19, 0.6
    tsnr = np.where(np.arange(20) == 3, NAN, 50.0)
    measured = replace(first, signal=signal, tsnr=tsnr)
    complete = replace(last, below_coverage=(), signal=np.ones(20), tsnr=np.full(20, 40.0))
    page = write(replace(report, runs=(measured, complete)))
    assert "region3 (21 %, signal 19 % of the brain's median)" in page.text
    assert "Regions with the lowest signal" in page.text
    assert "below 40 % of the median over the brain were omitted" in page.text
    assert "region3: too little signal at one visit, but not at all." in page.text
    other = write(report)
    assert "Regions with the lowest signal" not in other.text
    assert "too little signal at one visit" not in other.text


def test_a_carpet_without_denoising_is_explained(participant_report):
    run = participant_report(sessions=("pre",)).runs[0]
    carpet = Carpet(np.zeros((8, 30)), ("Network0",) * 8)
    shown = replace(run, views=RunViews(before=carpet))
    (figure,) = _carpet_figures([shown])
    assert "lower part is empty: sub-01_ses-pre_task-rest" in figure.caption
    (figure,) = _carpet_figures([replace(run, views=RunViews(before=carpet, after=carpet))])
    assert "lower part is empty" not in figure.caption
