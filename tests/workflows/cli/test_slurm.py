"""The command ``circuitshift slurm``: options that are refused, and participants who are done."""

import re

import numpy as np
import pytest

from circuitshift.pipeline.io.tables import write_matrix
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_PARTIAL


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


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--container", "no.sif"], "no.sif: there is no such file"),
        (["--freeze-plan"], "slurm does not support --freeze-plan"),
        (["--nipype-plugin-file", "x"], "slurm does not support --nipype-plugin-file"),
        (["--status", "--submit"], "--status submits no jobs"),
        (["--sbatch-args='a"], "cannot be split into words"),
        (["--sbatch-args='a\nb'"], "a line break"),
        (["--study", "no.toml"], "no.toml"),
        (["--participant-label", "99"], "has no usable run"),
    ],
)
def test_errors_are_reported_in_one_sentence(tmp_path, capsys, words, sentence):
    matrices(tmp_path / "data")
    assert run("slurm", tmp_path / "data", tmp_path / "out", "-w", tmp_path / "w", *words) == 1
    output = capsys.readouterr().err
    assert sentence in output
    assert "Traceback" not in output
    assert not list(tmp_path.rglob("submit.sh"))


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    matrices(tmp_path / "data")
    assert run("slurm", tmp_path / "data", tmp_path / "out", "--dry-run") == 0
    output = capsys.readouterr().out
    assert "#SBATCH --mem=" in output
    assert re.search(r"participant_id +data_set\n01", output)
    assert not (tmp_path / "out").exists()


def test_participants_who_are_done_are_omitted_and_each_call_has_a_folder(tmp_path, capsys):
    matrices(tmp_path / "data")
    common = [tmp_path / "data", tmp_path / "out", "-w", tmp_path / "w"]
    assert run("slurm", *common) == 0
    assert run(*common[:2], "participant", *common[2:], "--nprocs", 1) == 0
    (tmp_path / "out/sub-02.html").unlink()
    capsys.readouterr()
    assert run("slurm", *common, "--status") == EXIT_PARTIAL
    assert capsys.readouterr().out.splitlines() == [
        *("3 participants: 2 done, 0 failed, 1 missing", "  sub-02: missing: no report"),
        "group: no verdict yet",
    ]
    assert run("slurm", *common) == 0
    lists = sorted((tmp_path / "out/logs/slurm").glob("*/participants.tsv"))
    assert [path.parent.name for path in lists] == ["001", "002"]
    assert lists[1].read_text() == "participant_id\tdata_set\n02\t\n"
    # with other settings, no participant is done
    assert run("slurm", *common, "--status", "--estimator", "partial") == EXIT_PARTIAL
    assert "3 participants: 0 done" in capsys.readouterr().out.split("submit with")[1]
    assert run(*common[:2], "participant", *common[2:], "--nprocs", 1) == 0
    assert run("slurm", *common, "--no-group") == 0
    assert "3 participants: all outputs are current; nothing to submit" in capsys.readouterr().out
    assert len(list((tmp_path / "out/logs/slurm").iterdir())) == 2
