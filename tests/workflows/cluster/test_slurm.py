"""Scripts of jobs, run by a shell with simulated Slurm commands."""

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.io.tables import write_matrix
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli import parsers
from circuitshift.workflows.cluster import slurm

PYTHON = sys.executable
HOSTILE = 'a study\'s "first", $(touch gone) `x` %u \\ é;&* <y>'


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


def matrices(folder, participants=("01", "02", "03"), n_regions=12):
    """Write a small data set of connectivity matrices."""
    rng = np.random.default_rng(1)
    names = [f"LH_Default_PFC_{k}" for k in range(n_regions)]
    for label in participants:
        for session in ("pre", "post"):
            func = folder / f"sub-{label}" / f"ses-{session}" / "func"
            func.mkdir(parents=True)
            matrix = np.corrcoef(rng.standard_normal((n_regions, 60)))
            stem = f"sub-{label}_ses-{session}_task-rest_atlas-A_stat-pearsoncorrelation"
            write_matrix(func / f"{stem}_relmat.tsv", names, matrix)
    return folder


CIRCUIT = """
name = "own"
title = "Own circuit"
direction = "two-sided"
why = "Test."
reference = "Test."
[[seeds]]
regions = ["LH_Default_PFC_[12]"]
"""


@pytest.fixture
def hostile(tmp_path):
    root = tmp_path / HOSTILE
    root.mkdir()
    return root


def programs(folder, **texts):
    """Write programs with these names into a folder that comes first on the PATH."""
    folder.mkdir()
    for name, text in texts.items():
        path = folder / name
        path.write_text(f"#!{PYTHON}\nimport json, os, sys\n{text}\n")
        path.chmod(0o755)
    return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


KEEP = "print(json.dumps([sys.argv[1:], dict(os.environ)]))"


def task(script, env, number, *words):
    """Run the script of a task like Slurm; return the last line of its output."""
    own = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_JOB_ID": "7"}
    command = ["bash", script, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=env | own)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def written(capsys, hostile, *words):
    data = hostile / "data"
    if not data.exists():
        matrices(data)
    code = run("slurm", data, hostile / "out", "-w", hostile / "work", *words)
    output = capsys.readouterr()
    assert code == 0, output.err
    (folder,) = sorted((hostile / "out/logs/slurm").iterdir())[-1:]
    return folder, output.out


def test_all_words_are_quoted_for_the_shell(hostile, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(slurm.sys, "executable", str(tmp_path / "bin" / "python"))
    (hostile / "c.toml").write_text(CIRCUIT)
    folder, output = written(
        capsys, hostile, "--circuits", hostile / "c.toml", "--min-minutes", 1, "--nprocs", 3
    )
    env = programs(tmp_path / "bin", python=KEEP)
    assert "3 participants to process, 0 done" in output
    shown = shlex.split(output.splitlines()[-1].removeprefix("submit with: "))
    assert shown == ["bash", str(folder / "submit.sh")]
    got, _ = task(folder / "participant.sbatch", env, 2)
    assert got == [
        *("-P", "-m", "circuitshift.workflows.cli.main"),
        *(str(hostile / "data"), str(hostile / "out"), "participant", "--skip-bids-validation"),
        *("--nprocs=3", "--circuits", str(hostile / "c.toml"), "--min-minutes=1.0"),
        *("--participant-label=02", f"--work-dir={hostile / 'work'}/sub-02"),
    ]
    options = parsers.app_parser().parse_args(got[3:])  # the BIDS App accepts them
    assert options.participant_label == ["02"]
    assert options.circuits == [hostile / "c.toml"]
    group, _ = task(folder / "group.sbatch", env, 1)
    assert parsers.app_parser().parse_args(group[3:]).analysis_level == "group"
    assert not list(tmp_path.rglob("gone"))


def test_a_missing_line_of_the_table_is_reported(hostile, capsys):
    folder, _ = written(capsys, hostile)
    env = os.environ | {"SLURM_ARRAY_TASK_ID": "9", "SLURM_JOB_ID": "7"}
    done = subprocess.run(
        ["bash", folder / "participant.sbatch"], capture_output=True, text=True, env=env
    )
    assert done.returncode == 1
    assert done.stderr == "participants.tsv has no line 10\n"


SBATCH = """
with open(os.environ["LOG"], "a") as file:
    file.write(json.dumps([sys.argv[1:], os.getcwd()]) + "\\n")
n = sum(1 for _ in open(os.environ["LOG"]))
if str(n) == os.environ.get("REFUSE"): sys.exit("sbatch: error: no")
print(f"{40 + n};cluster")
"""


def test_arrays_run_in_turn_and_the_group_level_runs_last(hostile, capsys, tmp_path):
    words = ("--array-size", 2, "--array-limit", 5, "--sbatch-args=--account='a b' --qos=$x")
    folder, _ = written(capsys, hostile, *words)
    env = programs(tmp_path / "bin", sbatch=SBATCH) | {"LOG": str(tmp_path / "sbatch_log")}
    done = subprocess.run(
        ["bash", folder / "submit.sh"], capture_output=True, text=True, env=env, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *("job 41: participants 1 to 2", "job 42: participants 3 to 3", "job 43: the group level")
    ]
    calls = [json.loads(line) for line in (tmp_path / "sbatch_log").read_text().splitlines()]
    # Slurm expands per cent signs in the folder of a log file unless they are doubled
    log = str(folder).replace("\\", "\\\\").replace("%", "%%")
    start = ["--parsable", f"--output={log}/%A_%a.log", "--account=a b", "--qos=$x"]
    last = ["--parsable", f"--output={log}/group_%j.log", *start[2:]]
    assert [words for words, _ in calls] == [
        [*start, "--array=1-2%5", "participant.sbatch", "0"],
        [*start, "--dependency=afterany:41", "--array=1-1%5", "participant.sbatch", "2"],
        [*last, "--dependency=afterany:42", "group.sbatch"],
    ]
    assert {where for _, where in calls} == {str(folder)}
    assert (folder / "jobs.txt").read_text().split() == ["41", "42", "43"]
    twice = subprocess.run(["bash", folder / "submit.sh"], capture_output=True, text=True, env=env)
    assert twice.returncode == 1
    assert "submitted already" in twice.stderr


def test_no_job_remains_if_one_is_rejected(hostile, capsys, tmp_path, monkeypatch):
    output = {"LOG": str(tmp_path / "sbatch_log"), "REFUSE": "2"}
    cancel = 'open(os.environ["LOG"] + "2", "w").write(" ".join(sys.argv[1:]))'
    env = programs(tmp_path / "bin", sbatch=SBATCH, scancel=cancel) | output
    for name in ("PATH", *output):
        monkeypatch.setenv(name, env[name])
    matrices(hostile / "data")
    assert run("slurm", hostile / "data", hostile / "out", "-w", hostile / "w", "--submit") == 1
    error = capsys.readouterr().err
    assert "no job was submitted, because sbatch rejected it: sbatch: error: no" in error
    assert (tmp_path / "sbatch_log2").read_text() == "41"
    assert not list(hostile.rglob("jobs.txt"))


def test_a_container_can_access_the_required_folders_only(hostile, capsys, tmp_path, monkeypatch):
    (hostile / "image.sif").write_text("")
    (hostile / "study.toml").write_text("[tests]\nn_permutations = 100\n")
    flow = hostile / "flow,er"
    flow.mkdir()
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(flow))
    real = matrices(tmp_path / "elsewhere")
    (hostile / "data").mkdir()
    for folder in real.iterdir():
        (hostile / "data" / folder.name).symlink_to(folder)
    words = ["--container", hostile / "image.sif", "--study", hostile / "study.toml"]
    folder, _ = written(capsys, hostile, *words)
    env = programs(tmp_path / "bin", apptainer=KEEP)
    got, seen = task(folder / "participant.sbatch", env, 3)
    assert got[:5] == ["run", "--cleanenv", "--no-home", "--pwd", "/tmp"]
    at = got.index(str(hostile / "image.sif"))
    assert got[at + 1 : at + 4] == [*map(str, (hostile / "data", hostile / "out")), "participant"]
    assert got[at + 4 :][-2:] == [
        "--participant-label=03",
        f"--work-dir={hostile / 'work'}/sub-03",
    ]
    assert set(got[5:at:2]) == {"--mount"}
    mounts = {}
    for text in got[6:at:2]:
        (fields,) = csv.reader(io.StringIO(text))
        pairs = dict(field.partition("=")[::2] for field in fields)
        assert pairs["type"] == "bind"
        assert pairs["source"] == pairs["destination"]
        mounts[Path(pairs["source"])] = "ro" in pairs
    # the parent folder of the study file is read-only; folders in it are writable
    assert mounts.pop(hostile) is True
    assert mounts.pop(hostile / "out") is False
    assert mounts.pop(hostile / "work") is False
    assert set(mounts) == {p.parent for p in real.rglob("*.tsv")}  # targets of the links
    assert all(mounts.values())
    assert seen["APPTAINERENV_TEMPLATEFLOW_HOME"] == str(flow)
    assert seen["SINGULARITYENV_TEMPLATEFLOW_HOME"] == str(flow)


def test_a_task_reports_that_apptainer_is_missing(hostile, capsys):
    (hostile / "image.sif").write_text("")
    folder, _ = written(capsys, hostile, "--container", hostile / "image.sif")
    env = {"PATH": "/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "1", "SLURM_JOB_ID": "7"}
    done = subprocess.run(
        ["bash", folder / "group.sbatch"], capture_output=True, text=True, env=env
    )
    assert done.returncode == 1
    assert "neither apptainer nor singularity is on the PATH of" in done.stderr
