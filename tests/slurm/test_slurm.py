"""Both levels as jobs of a real Slurm (`make slurm-test`)."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation.simulate.data_set import (
    PlantedTruth,
    SimulationSpec,
    write_simulated_data_set,
)

pytestmark = pytest.mark.slurm

SPEC = SimulationSpec(
    n_treated=4, n_control=4, n_reference=0, n_volumes=70, share_missing=0.0, share_out_of_view=0.0
)
STUDY = """\
[groups]
column = "group"
treated = ["treated"]
control = ["control"]
[tests]
n_permutations = 100
"""
CLI = [sys.executable, "-P", "-m", "circuitshift.workflows.cli.main"]


def call(*words, **more):
    env = os.environ | more.pop("env", {})
    command = [*CLI, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=env, **more)


def queue():
    listed = subprocess.run(
        ["squeue", "-h", "-r", "-o", "%T"], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


def wait(seconds=900):
    """Wait until the queue is empty; return the largest number of tasks that ran simultaneously."""
    largest, end = 0, time.monotonic() + seconds
    while states := queue():
        largest = max(largest, states.count("RUNNING"))
        assert time.monotonic() < end, subprocess.run(["squeue"], capture_output=True).stdout
        time.sleep(0.2)
    return largest


def jobs(node):
    """Return name and state of each finished job, by its number."""
    done = {}
    for line in (node / "done.log").read_text().splitlines():
        pairs = dict(word.split("=", 1) for word in line.split() if "=" in word)
        done[int(pairs["JobId"])] = (pairs["Name"], pairs["JobState"])
    return done


def simulate(folder, **changes):
    spec = SimulationSpec(**{n: getattr(SPEC, n) for n in SPEC.__dataclass_fields__} | changes)
    write_simulated_data_set(folder, PlantedTruth("shift"), spec=spec, rng=np.random.default_rng(3))
    study = STUDY if spec.n_control else STUDY.replace('control = ["control"]\n', "")
    (folder.parent / "study.toml").write_text(study)


def contents(out):
    """Return tables and matrices by name, without reports and logs."""
    return {
        path.relative_to(out): path.read_bytes()
        for path in sorted(out.rglob("*.tsv"))
        if "logs" not in path.parts
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    # characters that have a meaning in a shell, for sbatch or in file name patterns of Slurm
    root = tmp_path_factory.mktemp("s") / 'a study\'s "first" %u $HOME `x` é'
    root.mkdir()
    simulate(root / "data")
    return root


def flags(root):
    return [root / "data", root / "out", "-w", root / "work", "--study", root / "study.toml"]


def test_a_study_from_images_to_verdict(node, study):
    before = call("slurm", *flags(study), "--status")
    assert before.returncode == 3
    assert "8 participants: 0 done, 0 failed, 8 missing" in before.stdout
    words = ["--submit", "--array-limit", 2, "--array-size", 5, "--sbatch-args=--comment='a b'"]
    sent = call("slurm", *flags(study), *words)
    assert sent.returncode == 0, sent.stderr
    assert "8 participants to process, 0 done" in sent.stdout
    again = call("slurm", *flags(study), "--submit")
    assert again.returncode == 1
    assert "are still in the queue" in again.stderr
    most = wait()
    assert most <= 2  # the throttle

    done = jobs(node)
    participants = [state for name, state in done.values() if name == "circuitshift"]
    assert participants == ["COMPLETED"] * 8
    assert [s for name, s in done.values() if name == "circuitshift-group"] == ["COMPLETED"]
    assert list(done.values())[-1][0] == "circuitshift-group"
    assert len(list((study / "out/logs/slurm/001").glob("*_*.log"))) == 9

    after = call("slurm", *flags(study), "--status")
    assert after.returncode == 0, after.stdout
    assert "8 participants: 8 done, 0 failed, 0 missing\ngroup: verdict: " in after.stdout

    # results without Slurm are identical
    plain = [study / "data", study / "plain"]
    rest = ["-w", study / "work2", "--study", study / "study.toml", "--nprocs", 2]
    for level in ("participant", "group"):
        assert call(*plain, level, *rest).returncode == 0
    assert contents(study / "plain") == contents(study / "out")


def test_only_failed_and_missing_participants_are_submitted_again(node, tmp_path):
    simulate(tmp_path / "data", n_treated=3, n_control=3)
    base = tmp_path / "data/derivatives/fmriprep"
    cut = next((base / "sub-02").rglob("*ses-pre*_bold.nii.gz"))
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    assert call("slurm", *flags(tmp_path), "--submit").returncode == 0
    wait()
    states = [state for name, state in jobs(node).values() if name == "circuitshift"]
    assert states[-6:].count("FAILED") == 1
    # the group level has run in spite of the failure
    assert json.loads((tmp_path / "out/group/verdict.json").read_text())["verdict"]

    # as if the node of a participant had failed: outputs and messages are missing
    killed = tmp_path / "out/sub-04"
    for path in killed.rglob("*relmat.tsv"):
        path.unlink()
    status = call("slurm", *flags(tmp_path), "--status")
    assert status.returncode == 3
    assert "6 participants: 4 done, 1 failed, 1 missing" in status.stdout
    assert "sub-02: failed: " in status.stdout
    assert "sub-04: missing: " in status.stdout

    cut.write_bytes(content)
    n_before = len(jobs(node))
    assert call("slurm", *flags(tmp_path), "--submit").returncode == 0
    wait()
    listed = tables.read_table(tmp_path / "out/logs/slurm/002/participants.tsv")
    assert listed.column("participant_id") == ["02", "04"]
    assert len(jobs(node)) == n_before + 3  # two participants and the group level
    assert call("slurm", *flags(tmp_path), "--status").returncode == 0


@pytest.mark.usefixtures("node")
def test_a_job_that_is_killed_is_missing_and_then_done(tmp_path):
    simulate(tmp_path / "data", n_treated=2, n_control=0)
    words = ["--submit", "--no-group", "--array-limit", 1]
    assert call("slurm", *flags(tmp_path), *words).returncode == 0
    job = (tmp_path / "out/logs/slurm/001/jobs.txt").read_text().strip()
    while "RUNNING" not in queue():
        time.sleep(0.1)
    subprocess.run(["scancel", "--signal=KILL", "--batch", f"{job}_1"], check=True)
    wait()
    status = call("slurm", *flags(tmp_path), "--status", "--no-group")
    assert "2 participants: 1 done, 0 failed, 1 missing" in status.stdout
    assert call("slurm", *flags(tmp_path), *words).returncode == 0
    wait()
    assert call("slurm", *flags(tmp_path), "--status", "--no-group").returncode == 0


@pytest.mark.usefixtures("node")
def test_a_reference_data_set_has_one_task_per_participant(tmp_path):
    simulate(tmp_path / "data", n_treated=2, n_control=0)
    simulate(tmp_path / "healthy", n_treated=1, n_control=0, n_reference=2)
    words = [*flags(tmp_path), "--reference-dataset", f"healthy={tmp_path / 'healthy'}"]
    assert call("slurm", *words, "--submit", "--no-group").returncode == 0
    wait()
    listed = tables.read_table(tmp_path / "out/logs/slurm/001/participants.tsv")
    assert listed.column("data_set") == ["", ""] + ["healthy"] * 3
    assert call("slurm", *words, "--status", "--no-group").returncode == 0
    before = contents(tmp_path / "out")
    done = call(tmp_path / "data", tmp_path / "out", "participant", *words[2:])
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == before


def plugin_file(folder, name, **more):
    path = folder / f"{name}.json"
    arguments = {"sbatch_args": "--time=5 --mem=1G -c 1", **more}
    path.write_text(json.dumps({"plugin": name, "plugin_args": arguments}))
    return path


@pytest.mark.parametrize("plugin", ["SLURM", "SLURMGraph"])
def test_nipypes_own_plugins(node, tmp_path, plugin):
    simulate(tmp_path / "data", n_treated=2, n_control=0)
    n_before = len(jobs(node)) if (node / "done.log").exists() else 0
    words = [*flags(tmp_path), "--nipype-plugin-file", plugin_file(tmp_path, plugin)]
    without = {k: v for k, v in os.environ.items() if k != "LOGNAME"}
    command = [*CLI, *map(str, [*words[:2], "participant", *words[2:]])]
    done = subprocess.run(command, capture_output=True, text=True, env=without)
    assert done.returncode == 0, done.stdout + done.stderr
    submits = plugin == "SLURMGraph"  # and does not wait
    assert ("jobs submitted; circuitshift does not wait" in done.stdout) == submits
    wait()
    assert len(jobs(node)) == n_before + 4  # measurement and report of two participants
    assert call("slurm", *flags(tmp_path), "--status", "--no-group").returncode == 0
