"""State of participants and of the group level, which is current for the same inputs and code."""

from dataclasses import replace
from pathlib import Path

import pytest

from circuitshift.pipeline.bids.raw_records import RawBold, RawParticipant
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import Digests
from circuitshift.pipeline.measure.outputs import runs_table
from circuitshift.pipeline.preproc import person as preproc
from circuitshift.pipeline.preproc.output_names import bold_record
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.study.members import DataSet
from circuitshift.pipeline.study.validity import ratings_hash, results_hash
from circuitshift.workflows.cluster import status
from circuitshift.workflows.cluster.status import group_state, is_unchanged, states
from circuitshift.workflows.plan import ParticipantPlan


def test_a_verdict_of_other_results_is_not_current(tmp_path):
    for label in ("01", "02"):
        tables.write_text(runs_table(label, tmp_path), "run\trelmat\n")
    data_sets = [DataSet(tmp_path, tmp_path)]
    assert group_state(tmp_path, data_sets) == (False, "no verdict yet")
    made_from = {
        "results": results_hash(data_sets, Digests("group", tmp_path)),
        "ratings": ratings_hash(()),
    }
    tables.write_json(
        tmp_path / "group/verdict.json", {"verdict": "global", "made_from": made_from}
    )
    assert group_state(tmp_path, data_sets) == (True, "verdict: global")
    tables.write_text(runs_table("02", tmp_path), "run\trelmat\nsub-02_task-rest\tn/a\n")
    is_current, sentence = group_state(tmp_path, data_sets)
    assert not is_current
    assert "other results of the participant level" in sentence


@pytest.fixture
def participant(tmp_path):
    """Plan a participant with one raw run that was preprocessed."""
    entities = (("sub", "01"), ("task", "rest"))
    bold = RawBold(
        "01", "", "rest", "", Path("x.nii.gz"), entities, 2.0, (9, 9, 9), (3.0, 3.0, 3.0)
    )
    plan = ParticipantPlan("01", "", (), (), tmp_path, RawParticipant("01", (), (bold,)))
    tables.write_json(plan.preproc_dir / bold_record(bold), {"files": []})
    return plan


@pytest.mark.parametrize("is_valid", [True, False])
def test_outdated_preprocessing_is_missing(participant, monkeypatch, is_valid):
    monkeypatch.setattr(preproc, "is_preprocessed", lambda *_: is_valid)
    (state,) = states([participant], AnalysisSettings(), preproc_only=True)
    assert state.word == ("done" if is_valid else "missing")
    assert is_unchanged(participant, AnalysisSettings(), preproc_only=True) is is_valid


def test_a_participant_is_unchanged_with_valid_results_and_report(participant, monkeypatch):
    valid = dict.fromkeys(("is_preprocessed", "is_measured", "is_reported"), True)
    monkeypatch.setattr(preproc, "is_preprocessed", lambda *_: valid["is_preprocessed"])
    monkeypatch.setattr(status.measure, "is_measured", lambda *_, **__: valid["is_measured"])
    monkeypatch.setattr(status, "is_reported", lambda *_: valid["is_reported"])
    assert is_unchanged(participant, AnalysisSettings())
    for name in valid:
        valid[name] = False
        assert not is_unchanged(participant, AnalysisSettings()), name
        valid[name] = True


def test_an_unexpected_error_of_one_participant_is_left_to_its_workflow(participant, monkeypatch):
    def fails(*_, **__):
        raise KeyError("Row")

    monkeypatch.setattr(status.measure, "is_measured", fails)
    assert not is_unchanged(replace(participant, raw=None), AnalysisSettings())
