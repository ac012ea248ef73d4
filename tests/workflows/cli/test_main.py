"""The command line: parsing, help at once, messages, exit status."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.records import ExecutionSettings
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli import parsers
from circuitshift.workflows.cli.exit_status import EXIT_FAILED
from circuitshift.workflows.engine.run import run_workflow


def parse(*words):
    return parsers.app_parser().parse_args(["in", "out", "participant", *words])


def test_kebab_and_snake_are_one():
    for words in (["--participant-label", "01", "02"], ["--participant_label", "01", "02"]):
        assert parse(*words).participant_label == ["01", "02"]
    assert parse("--work_dir=a_b").work_dir == Path("a_b")
    assert parse("--session-id", "a").session_label == parse("--session_label", "a").session_label


def test_defaults_are_not_settings():
    options = parse()
    assert options.atlas is None
    assert options.denoise is None
    assert options.min_minutes is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--participant-lable", "01"], "did you mean --participant-label?"),
        (["--nproc", "4"], "did you mean --nprocs?"),
        (["--input-type", "dicom"], "invalid choice"),
        (["--nprocs", "x"], "'x' is not a whole number"),
        (["--nprocs", "0"], "'0' is not a whole number of at least 1"),
        (["--dummy-scans", "1.5"], "'1.5' is not a whole number"),
        (["--min-coverage", "1.5"], "'1.5' is not a number between 0 and 1"),
        (["--min-minutes", "-3"], "'-3' is not a number of at least 0"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_hint(capsys, words, sentence):
    with pytest.raises(SystemExit) as ended:
        parse(*words)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_derivatives_may_have_a_name():
    assert parse("--derivatives", "fmriprep=/x/y").derivatives == ("fmriprep", Path("/x/y"))
    assert parse("-d", "/x/y").derivatives == ("", Path("/x/y"))


@pytest.mark.parametrize("words", [["--help"], ["demo", "--help"], ["calibrate", "--help"]])
def test_help_answers_at_once(words):
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
        ([".", "out", "group", "--reference-dataset", "a-b=."], "use letters and digits"),
        ([".", "out", "participant", "--bids-filter-file", "no.json"], "no.json"),
    ],
)
def test_what_cannot_be_done_ends_with_1_and_one_sentence(
    tmp_path, monkeypatch, capsys, words, sentence
):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == EXIT_FAILED
    said = capsys.readouterr().err
    assert said.startswith("circuitshift: ")
    assert sentence in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_why_no_raw_run_is_usable_is_said(tmp_path, capsys):
    image = tmp_path / "raw/sub-01/func/sub-01_task-rest_bold.nii.gz"
    image.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.zeros((6, 5, 4, 60), np.int16), np.diag([3, 3, 3, 1])), image)
    image.with_name("sub-01_task-rest_bold.json").write_text('{"RepetitionTime": 2.0}')
    words = (tmp_path / "raw", tmp_path / "out", "participant", "--skip-bids-validation")
    assert run(*words, "-w", tmp_path / "work") == EXIT_FAILED
    said = capsys.readouterr().err
    assert "has no usable run" in said
    assert "it has no T1w image" in said


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("plugin: [MultiProc", "it is not YAML or JSON"),
        ("n_procs: 2", "it must say `plugin: NAME`"),
        ("plugin: Nonsense", "Nipype has no plugin 'Nonsense'; it has Condor"),
        ("plugin: Linear\nplugin_args: [1]", "plugin_args must be a table"),
    ],
)
def test_plugin_files_that_cannot_be_used(tmp_path, content, sentence):
    path = tmp_path / "plugin.yml"
    path.write_text(content)
    execution = ExecutionSettings(work_dir=tmp_path, plugin_file=path)
    with pytest.raises(InputError, match=re.escape(sentence)) as caught:
        run_workflow(pytest.fail, execution, log_dir=tmp_path / "logs", notify=print)
    assert "\n" not in str(caught.value)
