"""Execution of workflows: plugins, progress, logs and failed nodes."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from nipype.pipeline import engine as pe

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.records import ExecutionSettings
from circuitshift.workflows.engine import run
from circuitshift.workflows.engine.step import step


class Copied(NamedTuple):
    """Output of the function."""

    text: Path


def copy_text(source: Path, target: Path) -> Copied:
    """Copy a file."""
    target.write_text(source.read_text())
    return Copied(target)


CopyText = step(copy_text)


def study(root, labels):
    """Return a function that builds a workflow of two steps for each participant."""

    def build():
        workflow = pe.Workflow("participant_wf", base_dir=str(root / "work"))
        for label in labels:
            single = pe.Workflow(f"sub_{label}_wf")
            source, target = str(root / label), str(root / f"{label}-1")
            first = pe.Node(CopyText(source=source, target=target), name="measure")
            second = pe.Node(CopyText(target=str(root / f"{label}-2")), name="report")
            single.connect(first, "text", second, "source")
            workflow.add_nodes([single])
        return workflow

    return build


@pytest.fixture
def execution(tmp_path):
    """Run in this process."""
    (tmp_path / "work").mkdir()
    return ExecutionSettings(work_dir=tmp_path / "work", n_procs=1)


def test_a_failed_node_does_not_affect_other_participants(tmp_path, execution):
    (tmp_path / "02").write_text("text")
    steps = []
    crashes = run.run_workflow(
        study(tmp_path, ("01", "02")),
        execution,
        log_dir=tmp_path / "logs",
        notify=pytest.fail,
        on_step=lambda *words: steps.append(words),
    )
    assert [crash.node for crash in crashes] == ["participant_wf.sub_01_wf.measure"]
    assert "FileNotFoundError" in Path(crashes[0].file).read_text()
    assert (tmp_path / "02-2").read_text() == "text"
    # the report of the first participant is never started
    assert [(done, total) for done, total, _ in steps] == [(1, 4), (2, 4), (3, 4)]
    assert {text for _, _, text in steps} == {
        "sub-01 measure FAILED",
        "sub-02 measure",
        "sub-02 report",
    }
    assert re.search(r"measure failed in \d+\.\d s", (tmp_path / "logs/sub-01.log").read_text())
    log = (tmp_path / "logs/sub-02.log").read_text()
    assert [line.split()[2:4] for line in log.splitlines()] == [
        ["measure", "done"],
        ["report", "done"],
    ]


def test_by_default_progress_is_printed_as_lines(tmp_path, execution):
    (tmp_path / "01").write_text("text")
    lines = []
    build = study(tmp_path, ("01",))
    assert run.run_workflow(build, execution, log_dir=tmp_path / "l", notify=lines.append) == ()
    assert lines == ["[1/2] sub-01 measure", "[2/2] sub-01 report"]


def test_results_of_earlier_runs_are_not_reused(tmp_path, execution):
    for text in ("first", "second"):
        (tmp_path / "01").write_text(text)
        run.run_workflow(
            study(tmp_path, ("01",)), execution, log_dir=tmp_path / "logs", notify=lambda _: None
        )
        assert (tmp_path / "01-2").read_text() == text


def with_plugin(tmp_path, content):
    path = tmp_path / "plugin.yml"
    path.write_text(content)
    return ExecutionSettings(work_dir=tmp_path, plugin_file=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("plugin: [MultiProc", "the plugin file is not valid YAML or JSON"),
        ("n_procs: 2", "the plugin file must contain `plugin: NAME`"),
        ("plugin: Nonsense", "Nipype has no plugin 'Nonsense'; choose from Condor"),
        ("plugin: Linear\nplugin_args: [1]", "plugin_args must be a mapping"),
    ],
)
def test_plugin_files_that_cannot_be_used_are_refused(tmp_path, content, message):
    execution = with_plugin(tmp_path, content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        run.run_workflow(pytest.fail, execution, log_dir=tmp_path / "logs", notify=print)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "plugin.yml") in str(caught.value)


def test_the_plugin_depends_on_file_and_processes(tmp_path):
    execution = with_plugin(tmp_path, "plugin: SLURM\nplugin_args: {sbatch_args: -p x}")
    assert run._plugin(execution) == ("SLURM", {"sbatch_args": "-p x"})
    assert run._plugin(ExecutionSettings(tmp_path, n_procs=1)) == ("Linear", {})
    name, arguments = run._plugin(ExecutionSettings(tmp_path, n_procs=3, mem_gb=4.0))
    assert name == "MultiProc"
    assert (arguments["n_procs"], arguments["memory_gb"]) == (3, 4.0)
    assert "memory_gb" not in run._plugin(ExecutionSettings(tmp_path, n_procs=3))[1]


@pytest.mark.parametrize(
    ("plugin", "submits"), [("SLURMGraph", True), ("SLURM", False), ("MultiProc", False)]
)
def test_some_plugins_do_not_wait_for_their_jobs(tmp_path, plugin, submits):
    assert run.only_submits(with_plugin(tmp_path, f"plugin: {plugin}")) is submits
    assert run.only_submits(ExecutionSettings(tmp_path)) is False


@pytest.mark.parametrize("plugin", ["SLURM", "SLURMGraph"])
def test_batch_plugins_need_a_folder_without_special_characters(plugin):
    run._refuse_unquoted(plugin, Path("/scratch/user_1/work-2.0"))
    with pytest.raises(InputError, match=re.escape("does not support the characters '$ ;'")):
        run._refuse_unquoted(plugin, Path("/scratch/$user;x"))
    run._refuse_unquoted("MultiProc", Path("/scratch/$user;x"))


def test_the_resource_monitor_is_summarised_by_kind_of_step(tmp_path):
    content = {
        "name": [
            "participant_wf.sub_01_wf.measure",
            "participant_wf.sub_02_wf.measure",
            "a.report",
        ],
        "rss_GiB": [0.5, 1.25, 0.25],
        "cpus": [150.0, 90.0, 100.0],
    }
    path = tmp_path / "resources.json"
    path.write_text(json.dumps(content))
    assert run.resources(path).splitlines() == [
        "resources: measure: at most 1.25 GiB and 1.5 processors",
        "resources: report: at most 0.25 GiB and 1.0 processors",
    ]


def test_without_graphviz_the_graph_is_written_as_text(tmp_path, monkeypatch):
    monkeypatch.setattr(run.shutil, "which", lambda _: None)
    notes = []
    run._write_graph(study(tmp_path, ("01",))(), tmp_path, notes.append)
    text = (tmp_path / "participant_wf.dot").read_text()
    assert "participant_wf.sub_01_wf.measure" in text
    assert "->" in text
    assert "Graphviz (dot) is not installed" in notes[0]
    assert notes[1] == f"graph: {tmp_path / 'participant_wf.dot'}"
