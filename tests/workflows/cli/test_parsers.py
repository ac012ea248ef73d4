"""Parser of the BIDS App: names and values of flags, and hints for wrong usage."""

import argparse
from pathlib import Path

import pytest

from circuitshift.workflows.cli import parsers


def parse(*words):
    return parsers.app_parser().parse_args(["in", "out", "participant", *words])


def test_flags_in_kebab_case_and_snake_case_are_equivalent():
    for words in (["--participant-label", "01", "02"], ["--participant_label", "01", "02"]):
        assert parse(*words).participant_label == ["01", "02"]
    assert parse("--work_dir=a_b").work_dir == Path("a_b")
    assert parse("--session-id", "a").session_label == parse("--session_label", "a").session_label


def test_settings_have_no_defaults_in_the_parser():
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
def test_wrong_usage_ends_with_status_2_and_a_hint(capsys, words, sentence):
    with pytest.raises(SystemExit) as ended:
        parse(*words)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_derivatives_may_have_a_name():
    assert parse("--derivatives", "fmriprep=/x/y").derivatives == ("fmriprep", Path("/x/y"))
    assert parse("-d", "/x/y").derivatives == ("", Path("/x/y"))


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (parsers.count, "0", 0),
        (parsers.positive_number, "12", 12),
        (parsers.amount, "0", 0.0),
        (parsers.amount, "2.5", 2.5),
        (parsers.share, "0", 0.0),
        (parsers.share, "1", 1.0),
    ],
)
def test_values_are_converted(convert, text, value):
    assert convert(text) == value


@pytest.mark.parametrize(
    ("convert", "text"),
    [
        (parsers.count, "-1"),
        (parsers.count, "1.5"),
        (parsers.positive_number, "0"),
        (parsers.amount, "-0.1"),
        (parsers.amount, "nan"),
        (parsers.count, "inf"),
        (parsers.share, "1.01"),
        (parsers.share, "nan"),
        (parsers.share, "half"),
    ],
)
def test_values_out_of_range_are_refused(convert, text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is not a"):
        convert(text)
