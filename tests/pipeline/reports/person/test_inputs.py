"""Conversion of the outputs of a participant: names of files, and the strategy that is shown."""

import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.reports.person import inputs

STEM = "sub-01/ses-pre/func/sub-01_ses-pre_task-rest_space-MNI152NLin2009cAsym"
RELMAT = f"{STEM}_atlas-Mine_stat-pearsoncorrelation_desc-24p_relmat.tsv"


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        ("timeseries", f"{STEM}_atlas-Mine_stat-mean_desc-24p_timeseries.tsv"),
        ("coverage", f"{STEM}_atlas-Mine_stat-coverage_bold.tsv"),
        ("motion", "sub-01/ses-pre/func/sub-01_ses-pre_task-rest_motion.tsv"),
        ("outliers", "sub-01/ses-pre/func/sub-01_ses-pre_task-rest_desc-24p_outliers.tsv"),
    ],
)
def test_outputs_of_the_same_run_follow_from_the_name_of_its_matrix(suffix, name):
    assert inputs._sibling({"relmat": RELMAT}, suffix) == name


def test_the_report_shows_the_primary_strategy_of_the_first_atlas():
    settings = AnalysisSettings()
    primary = settings.strategies[0]
    rows = [{"atlas": "A", "strategy": "none"}, {"atlas": "A", "strategy": primary}]
    assert inputs._first_kind(rows, settings) == ("A", primary)
    assert inputs._first_kind(rows[:1], settings) == ("A", "none")
    assert inputs._first_kind([], settings) == ("", "")


def test_a_participant_without_measured_runs_is_an_error(tmp_path):
    with pytest.raises(InputError, match="run the participant level for sub-01"):
        inputs.report_participant("01", AnalysisSettings(), tmp_path)


def test_a_page_is_up_to_date_only_if_it_contains_the_hash_of_its_inputs(tmp_path):
    page, bib = tmp_path / "sub-01.html", tmp_path / "references.bib"
    page.write_text("inputs hash: abc")
    assert not inputs._is_page_of("abc", page, bib)
    bib.write_text("")
    assert inputs._is_page_of("abc", page, bib)
    assert not inputs._is_page_of("abd", page, bib)


def test_motion_without_files_is_empty(tmp_path):
    fd, keep, dvars = inputs._motion({"relmat": RELMAT}, tmp_path)
    assert (fd.size, keep.size, dvars) == (0, 0, None)
    name = "framewise_displacement"
    motion, outliers = (
        tmp_path / inputs._sibling({"relmat": RELMAT}, k) for k in ("motion", "outliers")
    )
    tables.write_table(motion, {name: ["n/a", 0.1, 0.9]})
    tables.write_table(outliers, {name: [0, 0, 1]})
    fd, keep, dvars = inputs._motion({"relmat": RELMAT}, tmp_path)
    assert fd[1:].tolist() == [0.1, 0.9]
    assert keep.tolist() == [True, True, False]
    assert dvars is None
