"""Parsers of the tools: defaults, values and the flags that jobs share with the BIDS App."""

from pathlib import Path

import pytest

from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.parsers import app_parser
from circuitshift.workflows.cli.tool_parsers import tool_parsers


def parse(tool, *words):
    return tool_parsers()[tool].parse_args([str(word) for word in words])


def flags_of(parser):
    return {flag for action in parser._actions for flag in action.option_strings}


def test_each_tool_of_the_command_line_has_a_parser():
    parsers = tool_parsers()
    assert set(parsers) == set(cli._TOOLS)
    for name, parser in parsers.items():
        assert parser.prog == f"circuitshift {name}"
        assert name in app_parser().format_help()


def test_slurm_accepts_all_flags_of_the_bids_app():
    assert flags_of(app_parser()) - flags_of(tool_parsers()["slurm"]) == {"--version"}


def test_flags_may_be_written_in_snake_case():
    assert parse("slurm", "in", "out", "--array_limit", 3).array_limit == 3
    assert parse("simulate", "out", "--n_treated", 0).n_treated == 0


def test_derivatives_have_a_name_and_an_optional_url():
    options = parse("fetch", "ds1", "to", "--derivatives", "fmriprep")
    assert options.derivatives == ("fmriprep", "")
    options = parse("fetch", "ds1", "to", "--derivatives", "fmriprep=https://x/y?a=b")
    assert options.derivatives == ("fmriprep", "https://x/y?a=b")


def test_studies_of_a_meta_analysis_may_have_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    options = parse("pool", "x/out", "site 2=y/out", "a=b", "x/p=1/out")
    assert options.studies == [
        ("", Path("x/out")),
        ("site 2", Path("y/out")),
        ("", Path("a=b")),
        ("", Path("x/p=1/out")),
    ]
    assert options.output_dir == Path("pool")


def test_folders_of_a_calibration_are_optional():
    options = parse("calibrate")
    assert (options.bids_dir, options.output_dir) == (None, None)
    options = parse("calibrate", "in", "out")
    assert (options.bids_dir, options.output_dir) == (Path("in"), Path("out"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["simulate", "out", "--truth", "x"], "invalid choice: 'x'"),
        (["simulate", "out", "--n-treated", "-1"], "'-1' is not a whole number of at least 0"),
        (["power", "out", "--arms", "3"], "invalid choice: 3"),
        (["power", "out", "--reliability", "1.2"], "'1.2' is not a number between 0 and 1"),
        (["slurm", "in", "out", "--array-limits", "3"], "did you mean --array-limit?"),
        (["slurm", "in", "out", "--time", "0"], "'0' is not a whole number of at least 1"),
        (["calibrate", "--table", "easy"], "invalid choice: 'easy'"),
        (["fetch", "ds1"], "required: folder"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_a_hint(capsys, words, message):
    with pytest.raises(SystemExit) as ended:
        parse(*words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
