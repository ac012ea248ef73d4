"""Workflows of participants: nodes, connections and inputs of the graphs, which are not run."""

from pathlib import Path

import pytest

from circuitshift.pipeline.bids.raw_records import RawAnat, RawBold, RawParticipant
from circuitshift.pipeline.records import AnalysisSettings, ExecutionSettings, Run
from circuitshift.workflows.participant import init_participant_wf
from circuitshift.workflows.plan import ParticipantPlan

RUN = Run("01", "pre", "rest", "", "", "", "timeseries", Path("x.tsv"), (("sub", "01"),))


@pytest.mark.parametrize("reports_only", [False, True])
def test_participants_are_independent(tmp_path, flat_graph, reports_only):
    participants = [
        ParticipantPlan("01", "", (RUN,), (), tmp_path),
        ParticipantPlan("01", "ds2", (RUN,), (), tmp_path / "datasets" / "ds2"),
    ]
    workflow = init_participant_wf(
        participants, AnalysisSettings(), ExecutionSettings(tmp_path), reports_only=reports_only
    )
    graph = flat_graph(workflow)
    steps = ["report"] if reports_only else ["measure", "report"]
    assert sorted(node.fullname for node in graph.nodes()) == [
        f"participant_wf.{name}.{step}" for name in ("ds2_sub_01_wf", "sub_01_wf") for step in steps
    ]
    # no connection leads from one participant to another
    assert {(a._hierarchy, b._hierarchy) for a, b in graph.edges()} == {
        (h, h) for h in {node._hierarchy for node in graph.nodes()} if not reports_only
    }


def test_raw_images_are_preprocessed_first(tmp_path, flat_graph):
    bolds = tuple(
        RawBold(
            "01",
            s,
            "rest",
            "",
            Path("b.nii.gz"),
            (("sub", "01"), ("ses", s)),
            2.0,
            (9,) * 3,
            (3.0, 3.0, 3.5),
            100,
        )
        for s in ("pre", "post")
    )
    anat = RawAnat("01", "pre", Path("t.nii.gz"), (("sub", "01"), ("ses", "pre")))
    plan = ParticipantPlan("01", "", (), (), tmp_path, RawParticipant("01", (anat,), bolds))
    graph = flat_graph(
        init_participant_wf([plan], AnalysisSettings(dummy_scans=2), ExecutionSettings(tmp_path))
    )
    assert [
        name.rpartition(".")[2] for name in sorted(node.fullname for node in graph.nodes())
    ] == [
        "measure",
        "anatomy",
        "coregistration",
        "done",
        "motion1",
        "motion2",
        "moved",
        "run1",
        "run2",
        "report",
    ]
    by_name = {node.name: node for node in graph.nodes()}
    assert by_name["motion1"].inputs.dummy_scans == 2
    assert by_name["run1"].inputs.voxel_mm == 3.0
    # runs are registered together, and each waits for this registration
    before = {node.name for node in graph.predecessors(by_name["coregistration"])}
    assert before == {"anatomy", "moved"}
    assert {node.name for node in graph.predecessors(by_name["moved"])} == {"motion1", "motion2"}
    before = {node.name for node in graph.predecessors(by_name["run2"])}
    assert before == {"anatomy", "coregistration", "motion2"}
    # head motion does not depend on the anatomy
    assert not list(graph.predecessors(by_name["motion1"]))
    # the structure follows from the anatomy, and the page shows it
    graph = flat_graph(
        init_participant_wf(
            [plan], AnalysisSettings(structure="volumes"), ExecutionSettings(tmp_path)
        )
    )
    (structure,) = [node for node in graph.nodes() if node.name == "structure"]
    assert [node.name for node in graph.predecessors(structure)] == ["anatomy"]
    assert [node.name for node in graph.successors(structure)] == ["report"]
    only = init_participant_wf(
        [plan], AnalysisSettings(), ExecutionSettings(tmp_path), preproc_only=True
    )
    assert "report" not in {node.name for node in flat_graph(only).nodes()}
