"""Participants in turn: when Nipype is not needed, and what is not imported."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.bids.raw_records import RawParticipant
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.records import AnalysisSettings, ExecutionSettings, Run
from circuitshift.workflows import in_turn
from circuitshift.workflows.participant import init_participant_wf
from circuitshift.workflows.plan import ParticipantPlan

RUN = Run("01", "pre", "rest", "", "", "", "timeseries", Path("x.tsv"), (("sub", "01"),))
PLAN = ParticipantPlan("01", "", (RUN,), (), Path("out"))


def test_one_process_or_one_participant_needs_no_graph():
    one, two = ExecutionSettings(Path(), n_procs=1), ExecutionSettings(Path(), n_procs=2)
    assert in_turn.are_in_turn([PLAN, PLAN], one)
    assert in_turn.are_in_turn([PLAN], two)
    assert not in_turn.are_in_turn([PLAN, PLAN], two)


@pytest.mark.parametrize(
    "setting",
    [
        {"plugin_file": Path("plugin.yml")},
        {"write_graph": True},
        {"resource_monitor": True},
        {"verbosity": 2},
    ],
)
def test_features_of_nipype_are_run_by_nipype(setting):
    execution = ExecutionSettings(Path(), n_procs=1)
    assert in_turn.are_in_turn([PLAN], execution)
    assert not in_turn.are_in_turn([PLAN], replace(execution, **setting))


def test_raw_images_are_preprocessed_by_nipype():
    raw = replace(PLAN, runs=(), raw=RawParticipant("01", (), ()))
    assert not in_turn.are_in_turn([PLAN, raw], ExecutionSettings(Path(), n_procs=1))


@pytest.mark.parametrize("reports_only", [False, True])
def test_steps_are_those_of_the_graph(tmp_path, flat_graph, reports_only):
    plan = replace(PLAN, out_dir=tmp_path)
    execution = ExecutionSettings(tmp_path)
    workflow = init_participant_wf([plan], AnalysisSettings(), execution, reports_only=reports_only)
    steps = in_turn.participant_steps(plan, AnalysisSettings(), reports_only=reports_only)
    names = [node.fullname for node in flat_graph(workflow).nodes()]
    assert sorted(step.fullname for step in steps) == sorted(names)


def test_one_participant_is_measured_and_reported_without_heavy_imports(tmp_path):
    """A cluster starts one process per participant, most of whose time would be imports."""
    rng = np.random.default_rng(3)
    labels = [f"LH_Default_PFC_{k}" for k in range(12)]
    for session in ("pre", "post"):
        folder = tmp_path / f"data/sub-01/ses-{session}/func"
        folder.mkdir(parents=True)
        name = f"sub-01_ses-{session}_task-rest_atlas-A_timeseries.tsv"
        tables.write_series(folder / name, labels, rng.standard_normal((90, 12)))
        tables.write_json((folder / name).with_suffix(".json"), {"RepetitionTime": 2.0})
    words = ["data", "out", "participant", "-w", "work", "--nprocs", "1", "--skip-bids-validation"]
    code = (
        "import sys; from circuitshift.workflows.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as ended:\n    print('status', ended.code)\n"
        "print([m for m in ('nilearn', 'nipype', 'networkx', 'matplotlib', 'pandas', 'sklearn', "
        "'scipy', 'multiprocessing', 'concurrent.futures.process', 'PIL', 'psutil', "
        "'circuitshift.pipeline.model.analyse', 'circuitshift.pipeline.preproc.person') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["status 0", "[]"], done.stdout + done.stderr
    assert (tmp_path / "out/sub-01.html").exists()
