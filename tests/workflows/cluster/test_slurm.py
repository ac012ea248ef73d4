"""Scripts of jobs, without Slurm: what they say, what a shell makes of them, who is left out."""

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.io.tables import write_matrix
from circuitshift.workflows.cli import bids_app as commands
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli import parsers
from circuitshift.workflows.cli.exit_status import EXIT_PARTIAL
from circuitshift.workflows.cluster import resources, slurm
from circuitshift.workflows.cluster.batch import flags_of

ROOT = Path(__file__).resolve().parents[3]
TABLE = tomllib.loads((ROOT / "workflows/cluster/resources.toml").read_text())
PYTHON = sys.executable
HOSTILE = 'a study\'s "first", $(touch gone) `x` %u \\ é;&* <y>'


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


def matrices(folder, participants=("01", "02", "03"), n_regions=12):
    """A small data set that enters by its edges."""
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


@pytest.fixture
def hostile(tmp_path):
    root = tmp_path / HOSTILE
    root.mkdir()
    return root


def programs(folder, **texts):
    """Put programs of these names on a PATH of their own, before the usual one."""
    folder.mkdir()
    for name, text in texts.items():
        path = folder / name
        path.write_text(f"#!{PYTHON}\nimport json, os, sys\n{text}\n")
        path.chmod(0o755)
    return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


KEEP = "print(json.dumps([sys.argv[1:], dict(os.environ)]))"


def task(script, env, number, *words):
    """Run the script of a task as Slurm would; return what its last line printed."""
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
    said = capsys.readouterr()
    assert code == 0, said.err
    (folder,) = sorted((hostile / "out/logs/slurm").iterdir())[-1:]
    return folder, said.out


def test_every_word_survives_the_shell(hostile, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(slurm.sys, "executable", str(tmp_path / "bin" / "python"))
    folder, said = written(
        capsys, hostile, "--circuits", hostile / "c.toml", "--min-minutes", 1, "--nprocs", 3
    )
    env = programs(tmp_path / "bin", python=KEEP)
    assert "3 people to do, 0 done" in said
    shown = shlex.split(said.splitlines()[-1].removeprefix("submit with: "))
    assert shown == ["bash", str(folder / "submit.sh")]
    got, _ = task(folder / "participant.sbatch", env, 2)
    assert got == [
        *("-P", "-m", "circuitshift.workflows.cli.main"),
        *(str(hostile / "data"), str(hostile / "out"), "participant", "--skip-bids-validation"),
        *("--nprocs=3", "--circuits", str(hostile / "c.toml"), "--min-minutes=1.0"),
        *("--participant-label=02", f"--work-dir={hostile / 'work'}/sub-02"),
    ]
    options = parsers.app_parser().parse_args(got[3:])  # and the BIDS App takes them
    assert options.participant_label == ["02"]
    assert options.circuits == [hostile / "c.toml"]
    group, _ = task(folder / "group.sbatch", env, 1)
    assert parsers.app_parser().parse_args(group[3:]).analysis_level == "group"
    assert not list(tmp_path.rglob("gone"))


def test_a_line_that_is_not_there_ends_in_a_sentence(hostile, capsys):
    folder, _ = written(capsys, hostile)
    env = os.environ | {"SLURM_ARRAY_TASK_ID": "9", "SLURM_JOB_ID": "7"}
    done = subprocess.run(
        ["bash", folder / "participant.sbatch"], capture_output=True, text=True, env=env
    )
    assert done.returncode == 1
    assert done.stderr == "people.tsv has no line 10\n"


SBATCH = """
with open(os.environ["SAID"], "a") as file:
    file.write(json.dumps([sys.argv[1:], os.getcwd()]) + "\\n")
n = sum(1 for _ in open(os.environ["SAID"]))
if str(n) == os.environ.get("REFUSE"): sys.exit("sbatch: error: no")
print(f"{40 + n};cluster")
"""


def test_arrays_are_throttled_follow_each_other_and_the_group_level_follows_them(
    hostile, capsys, tmp_path
):
    words = ("--array-size", 2, "--array-limit", 5, "--sbatch-args=--account='a b' --qos=$x")
    folder, _ = written(capsys, hostile, *words)
    env = programs(tmp_path / "bin", sbatch=SBATCH) | {"SAID": str(tmp_path / "said")}
    done = subprocess.run(
        ["bash", folder / "submit.sh"], capture_output=True, text=True, env=env, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *("job 41: people 1 to 2", "job 42: people 3 to 3", "job 43: the group level")
    ]
    calls = [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]
    # Slurm expands per cent signs in the folder of a log, unless they are doubled
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


def test_one_job_refused_is_none_submitted(hostile, capsys, tmp_path, monkeypatch):
    said = {"SAID": str(tmp_path / "said"), "REFUSE": "2"}
    cancel = 'open(os.environ["SAID"] + "2", "w").write(" ".join(sys.argv[1:]))'
    env = programs(tmp_path / "bin", sbatch=SBATCH, scancel=cancel) | said
    for name in ("PATH", *said):
        monkeypatch.setenv(name, env[name])
    matrices(hostile / "data")
    assert run("slurm", hostile / "data", hostile / "out", "-w", hostile / "w", "--submit") == 1
    error = capsys.readouterr().err
    assert "nothing is submitted, since sbatch refused: sbatch: error: no" in error
    assert (tmp_path / "said2").read_text() == "41"
    assert not list(hostile.rglob("jobs.txt"))


def test_a_container_sees_what_it_needs_and_no_more(hostile, capsys, tmp_path, monkeypatch):
    (hostile / "image.sif").write_text("")
    (hostile / "study.toml").write_text("[tests]\nn_permutations = 100\n")
    flow = hostile / "flow,er"
    flow.mkdir()
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(flow))
    real = matrices(tmp_path / "elsewhere")
    (hostile / "data").mkdir()
    for person in real.iterdir():
        (hostile / "data" / person.name).symlink_to(person)
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
    # the parent is bound for the study file, read-only; what is written lies in it
    assert mounts.pop(hostile) is True
    assert mounts.pop(hostile / "out") is False
    assert mounts.pop(hostile / "work") is False
    assert set(mounts) == {p.parent for p in real.rglob("*.tsv")}  # where links lead
    assert all(mounts.values())
    assert seen["APPTAINERENV_TEMPLATEFLOW_HOME"] == str(flow)
    assert seen["SINGULARITYENV_TEMPLATEFLOW_HOME"] == str(flow)


def test_without_apptainer_a_task_says_so(hostile, capsys):
    (hostile / "image.sif").write_text("")
    folder, _ = written(capsys, hostile, "--container", hostile / "image.sif")
    env = {"PATH": "/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "1", "SLURM_JOB_ID": "7"}
    done = subprocess.run(
        ["bash", folder / "group.sbatch"], capture_output=True, text=True, env=env
    )
    assert done.returncode == 1
    assert "neither apptainer nor singularity is on the PATH of" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--container", "no.sif"], "no.sif is not there"),
        (["--freeze-plan"], "slurm takes no --freeze-plan"),
        (["--nipype-plugin-file", "x"], "slurm takes no --nipype-plugin-file"),
        (["--status", "--submit"], "--status submits nothing"),
        (["--sbatch-args='a"], "cannot be read"),
        (["--sbatch-args='a\nb'"], "a line break"),
        (["--study", "no.toml"], "no.toml"),
        (["--participant-label", "99"], "has no usable run"),
    ],
)
def test_what_cannot_be_a_job_is_one_sentence(tmp_path, capsys, words, sentence):
    matrices(tmp_path / "data")
    assert run("slurm", tmp_path / "data", tmp_path / "out", "-w", tmp_path / "w", *words) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("submit.sh"))


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    matrices(tmp_path / "data")
    assert run("slurm", tmp_path / "data", tmp_path / "out", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "#SBATCH --mem=" in said
    assert re.search(r"participant_id +data_set\n01", said)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_who_is_done_is_left_out_and_each_call_has_a_folder(tmp_path, capsys):
    matrices(tmp_path / "data")
    common = [tmp_path / "data", tmp_path / "out", "-w", tmp_path / "w"]
    assert run("slurm", *common) == 0
    assert run(*common[:2], "participant", *common[2:], "--nprocs", 1) == 0
    (tmp_path / "out/sub-02.html").unlink()
    capsys.readouterr()
    assert run("slurm", *common, "--status") == EXIT_PARTIAL
    assert capsys.readouterr().out.splitlines() == [
        *("3 people: 2 done, 0 failed, 1 missing", "  sub-02: missing: no report"),
        "group: no verdict yet",
    ]
    assert run("slurm", *common) == 0
    lists = sorted((tmp_path / "out/logs/slurm").glob("*/people.tsv"))
    assert [path.parent.name for path in lists] == ["001", "002"]
    assert lists[1].read_text() == "participant_id\tdata_set\n02\t\n"
    # other settings: nobody is done
    assert run("slurm", *common, "--status", "--estimator", "partial") == EXIT_PARTIAL
    assert "3 people: 0 done" in capsys.readouterr().out.split("submit with")[1]
    assert run(*common[:2], "participant", *common[2:], "--nprocs", 1) == 0
    assert run("slurm", *common, "--no-group") == 0
    assert "3 people: all is done, nothing to submit" in capsys.readouterr().out
    assert len(list((tmp_path / "out/logs/slurm").iterdir())) == 2


@pytest.mark.parametrize(
    ("plugin", "level", "words", "sentence"),
    [
        ("SLURM", "participant", ["-w", "a b"], "Nipype's plugin SLURM cannot have ' ' in it"),
        ("SLURMGraph", "participant", ["--clean-workdir"], "would take away what"),
        ("SLURMGraph", "group", [], "a plugin that waits for its jobs"),
    ],
)
def test_what_nipypes_plugins_cannot_do_is_refused(
    tmp_path, monkeypatch, capsys, plugin, level, words, sentence
):
    monkeypatch.chdir(tmp_path)
    matrices(tmp_path / "data", participants=("01",))
    (tmp_path / "plugin.json").write_text(json.dumps({"plugin": plugin}))
    if level == "group":  # as after a participant level with images
        runs = tmp_path / "out/sub-01/sub-01_runs.tsv"
        runs.parent.mkdir(parents=True)
        runs.write_text("strategy\n24p\n")
        monkeypatch.setattr(commands, "_as_measured", lambda *_: None)
    assert run("data", "out", level, "--nipype-plugin-file", "plugin.json", *words) == 1
    assert sentence in capsys.readouterr().err


def test_flags_are_read_back_as_they_were():
    parser = parsers.tool_parsers()["slurm"]
    words = ["in", "out", "--participant-label", "01", "02", "--derivatives", "/a=b/c"]
    words += ["--atlas", "x", "y", "--denoise", "24p", "-vv", "--min-coverage", "0.25"]
    words += ["--notrack", "--ignore", "slicetiming"]
    options = parser.parse_args(words)
    again = flags_of(parser, options, without={"bids_dir", "output_dir"})
    assert parser.parse_args(["in", "out", *again]) == options


# ------------------------------------------------------------------------ what jobs ask for


def size_of(kind, row):
    size = {"one": 1, **row}
    if kind == "group":
        size["edges"] = row["regions"] * (row["regions"] - 1) / 2
    if kind != "group":
        size["largest_run"] = row["voxels"] * row["volumes"]
        size["voxel_volumes"] = row["runs"] * size["largest_run"]
    if kind == "raw":
        size["largest_anat"] = row["anat_voxels"]
        size["anat_voxels"] = row["anats"] * row["anat_voxels"]
    return size


@pytest.mark.parametrize(
    ("kind", "row"),
    [(kind, row) for kind in ("person", "raw", "group") for row in TABLE[kind]],
    ids=lambda x: x if isinstance(x, str) else "-".join(map(str, x.values())),
)
def test_the_rule_describes_what_was_measured(kind, row):
    seconds, mib = resources.estimate(kind, size_of(kind, row))
    assert seconds == pytest.approx(row["seconds"], rel=0.35, abs=1)
    assert mib == pytest.approx(row["mib"], rel=0.25)
    asked = resources.request(kind, size_of(kind, row))
    assert asked.mib >= 1.2 * row["mib"]
    assert asked.minutes * 60 >= 3 * row["seconds"]
