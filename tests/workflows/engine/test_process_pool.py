"""Process pool: tasks whose process is killed, and workers whose parent has ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from nipype.pipeline import engine as pe

from circuitshift.pipeline.records import ExecutionSettings
from circuitshift.workflows.engine.crashes import explain
from circuitshift.workflows.engine.run import run_workflow
from circuitshift.workflows.engine.step import step


class Written(NamedTuple):
    """Output of the function."""

    text: Path


def write_or_die(path: Path, n_deaths: int) -> Written:
    """Kill this process the first times, and write a file afterwards."""
    attempts = len(list(path.parent.glob(f"{path.name}-attempt-*")))
    (path.parent / f"{path.name}-attempt-{attempts}").write_text(str(os.getpid()))
    if attempts < n_deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_text("written")
    return Written(path)


WriteOrDie = step(write_or_die)


@pytest.mark.parametrize(("n_deaths", "is_written"), [(0, True), (1, True), (9, False)])
def test_a_task_whose_process_is_killed_is_repeated_once(tmp_path, n_deaths, is_written):
    (tmp_path / "work").mkdir()
    notes = []

    def build():
        workflow = pe.Workflow("participant_wf", base_dir=str(tmp_path / "work"))
        for name, deaths in (("sub_01_wf", n_deaths), ("sub_02_wf", 0)):
            single = pe.Workflow(name)
            interface = WriteOrDie(path=str(tmp_path / name), n_deaths=deaths)
            single.add_nodes([pe.Node(interface, name="measure", mem_gb=0.1)])
            workflow.add_nodes([single])
        return workflow

    crashes = run_workflow(
        build,
        ExecutionSettings(work_dir=tmp_path / "work", n_procs=2),
        log_dir=tmp_path / "logs",
        notify=notes.append,
        on_step=lambda *_: None,
    )
    assert (tmp_path / "sub_02_wf").read_text() == "written"
    assert (tmp_path / "sub_01_wf").exists() is is_written
    attempts = list(tmp_path.glob("sub_01_wf-attempt-*"))
    assert len(attempts) == min(n_deaths, 1) + 1
    assert len({path.read_text() for path in attempts}) == len(attempts)  # other processes
    message = "sub_01_wf.measure: its process was killed; the step is repeated on its own"
    assert (message in notes) is (n_deaths > 0)
    assert [crash.node for crash in crashes] == (
        [] if is_written else ["participant_wf.sub_01_wf.measure"]
    )
    if not is_written:
        sentence, expected = explain(crashes[0].file)
        assert expected
        assert sentence.startswith("its process was killed twice, most likely because memory")


PARENT = """
import os, sys, time
from multiprocessing import get_context
from circuitshift.workflows.engine.process_pool import _start_worker
def work(folder, parent):
    _start_worker(folder, parent)
    print(os.getpid(), flush=True)
    time.sleep(60)
worker = get_context("fork").Process(target=work, args=(sys.argv[1], os.getpid()))
worker.start()
worker.join()
"""


def test_workers_exit_when_their_parent_is_killed(tmp_path):
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        assert Path(f"/proc/{worker}/cwd").resolve() == tmp_path
        parent.kill()
    end = time.monotonic() + 20
    while is_running(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_running(worker)


def is_running(pid):
    """Return whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
