"""Entry point of the command line: fast help, error messages, exit status."""

import os
import resource
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_FAILED


@pytest.mark.parametrize("words", [["--help"], ["demo", "--help"], ["calibrate", "--help"]])
def test_help_is_fast(words):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "circuitshift.workflows.cli.main", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "usage: circuitshift" in done.stdout
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 1.5


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("circuitshift 0.")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere", "out", "participant"], "nowhere: there is no such folder"),
        ([".", ".", "participant"], "OUTPUT_DIR must not be BIDS_DIR"),
        ([".", "out", "participant"], "has no usable run"),
        ([".", "out", "group"], "has no usable run"),
        ([".", "out", "participant", "--denoise", "24q"], "24p"),
        ([".", "out", "group", "--study", "no.toml"], "no.toml: there is no such file"),
        ([".", "out", "group", "--reference-dataset", "a-b=."], "use only letters and digits"),
        ([".", "out", "participant", "--bids-filter-file", "no.json"], "no.json"),
    ],
)
def test_errors_end_with_status_1_and_one_sentence(tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == EXIT_FAILED
    error = capsys.readouterr().err
    assert error.startswith("circuitshift: ")
    assert sentence in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_the_message_explains_why_no_raw_run_is_usable(tmp_path, capsys):
    image = tmp_path / "raw/sub-01/func/sub-01_task-rest_bold.nii.gz"
    image.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.zeros((6, 5, 4, 60), np.int16), np.diag([3, 3, 3, 1])), image)
    image.with_name("sub-01_task-rest_bold.json").write_text('{"RepetitionTime": 2.0}')
    words = (tmp_path / "raw", tmp_path / "out", "participant", "--skip-bids-validation")
    assert run(*words, "-w", tmp_path / "work") == EXIT_FAILED
    error = capsys.readouterr().err
    assert "has no usable run" in error
    assert "it has no T1w image" in error


def test_an_expected_error_is_printed_as_it_is(tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise InputError("the file x\x1b[31m is missing; restore it")

    monkeypatch.setattr(cli, "_run", fails)
    assert run(tmp_path, tmp_path / "out", "participant") == EXIT_FAILED
    assert capsys.readouterr().err == "circuitshift: the file x\\x1b[31m is missing; restore it\n"


def test_the_traceback_of_an_unexpected_error_is_saved(tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(cli, "_run", fails)
    (tmp_path / "out").mkdir()
    assert run(tmp_path, tmp_path / "out", "participant") == EXIT_FAILED
    error = capsys.readouterr().err
    assert error.startswith("circuitshift: unexpected error (ZeroDivisionError: a defect);")
    (file,) = (tmp_path / "out/logs").glob("crash-*-circuitshift.txt")
    assert str(file) in error
    assert "in fails" in file.read_text()


def test_an_interruption_ends_with_status_130(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    assert run(tmp_path, tmp_path / "out", "participant") == 130
    assert "run the same command again to continue" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("limit", "is_refused"), [(2**29, True), (2**31, False), (resource.RLIM_INFINITY, False)]
)
def test_a_memory_limit_that_is_too_low_is_refused(
    tmp_path, monkeypatch, capsys, limit, is_refused
):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    monkeypatch.setattr(cli, "_run", lambda *_: 0)
    assert run(tmp_path, tmp_path / "out", "participant") == (EXIT_FAILED if is_refused else 0)
    assert ("512 MB (ulimit -v); allow at least 1024 MB" in capsys.readouterr().err) is is_refused


def test_thread_limits_are_set_before_libraries_are_loaded(monkeypatch):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    for name in names:
        monkeypatch.setenv(name, "0")  # restored after the test
        monkeypatch.delenv(name)
    seen = []
    monkeypatch.setattr(cli, "_run", lambda *_: seen.append([os.environ[x] for x in names]) or 0)
    assert run("in", "out", "participant") == 0
    assert run("in", "out", "participant", "--omp-nthreads", 3) == 0
    assert run("in", "out", "participant") == 0  # a value in the environment is kept
    assert seen == [["1"] * 3, ["3"] * 3, ["3"] * 3]
