"""Graphs are built, not run: nodes, edges, inputs."""

from pathlib import Path

import pytest
from nipype.interfaces.base import isdefined

from circuitshift.pipeline.bids.raw_records import RawAnat, RawBold, RawParticipant
from circuitshift.pipeline.records import AnalysisSettings, ExecutionSettings, Run
from circuitshift.pipeline.study.group_level import DataSet
from circuitshift.pipeline.study.study_file import StudyFile
from circuitshift.workflows.group import init_group_wf
from circuitshift.workflows.participant import init_participant_wf
from circuitshift.workflows.plan import ParticipantPlan

RUN = Run("01", "pre", "rest", "", "", "", "timeseries", Path("x.tsv"), (("sub", "01"),))


def flat(workflow):
    graph = workflow._create_flat_graph()
    connected = {node: set() for node in graph.nodes()}
    for _, target, data in graph.edges(data=True):
        connected[target] |= {field for _, field in data["connect"]}
    for node, fields in connected.items():
        values = node.inputs.get()
        mandatory = node.inputs.traits(mandatory=True)
        assert not [n for n in mandatory if not isdefined(values[n]) and n not in fields]
    return graph


def names(graph):
    return sorted(node.fullname for node in graph.nodes())


@pytest.mark.parametrize("reports_only", [False, True])
def test_participant_level(tmp_path, reports_only):
    participants = [
        ParticipantPlan("01", "", (RUN,), (), tmp_path),
        ParticipantPlan("01", "ds2", (RUN,), (), tmp_path / "datasets" / "ds2"),
    ]
    workflow = init_participant_wf(
        participants, AnalysisSettings(), ExecutionSettings(tmp_path), reports_only=reports_only
    )
    graph = flat(workflow)
    steps = ["report"] if reports_only else ["measure", "report"]
    assert names(graph) == [
        f"participant_wf.{person}.{step}"
        for person in ("ds2_sub_01_wf", "sub_01_wf")
        for step in steps
    ]
    # nobody waits for anybody else
    assert {(a._hierarchy, b._hierarchy) for a, b in graph.edges()} == {
        (h, h) for h in {node._hierarchy for node in graph.nodes()} if not reports_only
    }


@pytest.mark.parametrize("reports_only", [False, True])
def test_group_level(tmp_path, reports_only):
    workflow = init_group_wf(
        [DataSet(tmp_path, tmp_path)],
        StudyFile(),
        settings=AnalysisSettings(),
        execution=ExecutionSettings(tmp_path),
        out_dir=tmp_path,
        reports_only=reports_only,
    )
    graph = flat(workflow)
    assert names(graph) == [
        f"group_wf.{step}" for step in (["report"] if reports_only else ["analyse", "report"])
    ]
    assert len(graph.edges()) == (0 if reports_only else 1)


def test_raw_person(tmp_path):
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
    person = ParticipantPlan("01", "", (), (), tmp_path, RawParticipant("01", (anat,), bolds))
    graph = flat(
        init_participant_wf([person], AnalysisSettings(dummy_scans=2), ExecutionSettings(tmp_path))
    )
    assert [name.rpartition(".")[2] for name in names(graph)] == [
        "measure",
        "anatomy",
        "done",
        "motion1",
        "motion2",
        "run1",
        "run2",
        "report",
    ]
    by_name = {node.name: node for node in graph.nodes()}
    assert by_name["motion1"].inputs.dummy_scans == 2
    assert by_name["run1"].inputs.voxel_mm == 3.0
    # head motion does not wait for the anatomy
    assert not list(graph.predecessors(by_name["motion1"]))
    only = init_participant_wf(
        [person], AnalysisSettings(), ExecutionSettings(tmp_path), preproc_only=True
    )
    assert "report" not in {node.name for node in flat(only).nodes()}
