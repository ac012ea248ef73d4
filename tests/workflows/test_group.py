"""Workflow of the group level: nodes, connections and inputs of the graph, which is not run."""

import pytest

from circuitshift.pipeline.records import AnalysisSettings, ExecutionSettings
from circuitshift.pipeline.study.group_level import DataSet
from circuitshift.pipeline.study.study_file import StudyFile
from circuitshift.workflows.group import init_group_wf


@pytest.mark.parametrize("reports_only", [False, True])
def test_the_report_follows_the_analysis(tmp_path, flat_graph, reports_only):
    workflow = init_group_wf(
        [DataSet(tmp_path, tmp_path)],
        StudyFile(),
        settings=AnalysisSettings(),
        execution=ExecutionSettings(tmp_path),
        out_dir=tmp_path,
        reports_only=reports_only,
    )
    graph = flat_graph(workflow)
    assert sorted(node.fullname for node in graph.nodes()) == [
        f"group_wf.{step}" for step in (["report"] if reports_only else ["analyse", "report"])
    ]
    assert len(graph.edges()) == (0 if reports_only else 1)


def test_the_analysis_uses_all_processes_and_the_named_ratings(tmp_path, flat_graph):
    workflow = init_group_wf(
        [DataSet(tmp_path, tmp_path)],
        StudyFile(),
        settings=AnalysisSettings(),
        execution=ExecutionSettings(tmp_path, n_procs=3),
        out_dir=tmp_path,
        ratings=tmp_path / "own",
    )
    (analyse,) = [node for node in flat_graph(workflow).nodes() if node.name == "analyse"]
    assert analyse.n_procs == 3
    assert analyse.inputs.ratings == str(tmp_path / "own")
