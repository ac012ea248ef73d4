"""Unexpected errors: one sentence for the user, and the traceback in a file."""

from pathlib import Path

import pytest

from circuitshift.workflows.engine import crashes

#: The parts of a crash file of Nipype that are read: the traceback of the step is indented.
CRASH = """Node: participant_wf.sub_01_wf.measure
Working directory: /w

Traceback (most recent call last):
  File "nipype/utils.py", line 67, in run_node
nipype.pipeline.engine.nodes.NodeExecutionError: Exception raised while executing Node measure.

Traceback:
\tTraceback (most recent call last):

\t  File "step.py", line 70, in _run_interface
{error}
"""


@pytest.mark.parametrize(
    ("error", "sentence", "expected"),
    [
        ("\tZeroDivisionError: division by zero", "ZeroDivisionError: division by zero", False),
        ("\tKeyError", "KeyError", False),
        ("\tnumpy.linalg.LinAlgError: singular", "LinAlgError: singular", False),
        (
            "\tMemoryError",
            "out of memory; use fewer --nprocs, or a machine with more memory",
            False,
        ),
        ("\tcircuitshift.atlases.errors.InputError: x: empty", "x: empty", True),
        (
            "\tcircuitshift.atlases.errors.InputError: two problems\n\t  - a\n\t  - b\n\tmore",
            "two problems\n  - a\n  - b\nmore",
            True,
        ),
    ],
)
def test_a_crash_file_is_summarised(tmp_path, error, sentence, expected):
    file = tmp_path / "crash.txt"
    file.write_text(CRASH.format(error=error))
    assert crashes.explain(str(file)) == (sentence, expected)


def test_a_missing_or_empty_crash_file_is_reported(tmp_path):
    (tmp_path / "empty").write_text("")
    for name in ("", str(tmp_path / "missing"), str(tmp_path / "empty")):
        assert crashes.explain(name) == ("no error message was recorded", False)


def raised(error):
    """Return the error with a traceback."""
    try:
        raise error
    except type(error) as caught:
        return caught


def test_the_traceback_is_saved_in_the_logs(tmp_path):
    sentence = crashes.record_unexpected_error(raised(ValueError("first line\nsecond")), tmp_path)
    start = "unexpected error (ValueError: first line); the full traceback is in "
    assert sentence.startswith(start)
    file = Path(sentence.removeprefix(start))
    assert file.parent == tmp_path / "logs"
    assert "second" in file.read_text()
    assert "in raised" in file.read_text()


@pytest.mark.parametrize("place", ["none", "missing", "not writable"])
def test_otherwise_the_traceback_is_saved_in_a_temporary_file(tmp_path, monkeypatch, place):
    monkeypatch.setattr(crashes.tempfile, "tempdir", str(tmp_path))
    if place == "not writable":
        (tmp_path / "logs").write_text("a file")
    out_dir = {"none": None, "missing": tmp_path / "x", "not writable": tmp_path}[place]
    error = PermissionError(13, "Permission denied", "/x/y")
    sentence = crashes.record_unexpected_error(raised(error), out_dir)
    start = "unexpected error (Permission denied: /x/y); the full traceback is in "
    assert sentence.startswith(start)
    file = Path(sentence.removeprefix(start))
    assert file.parent == tmp_path
    assert "PermissionError" in file.read_text()


def test_without_any_file_the_traceback_is_printed(monkeypatch, capsys):
    def fails(*_, **__):
        raise OSError("no space")

    monkeypatch.setattr(crashes.tempfile, "NamedTemporaryFile", fails)
    sentence = crashes.record_unexpected_error(raised(KeyError("x")), None)
    assert sentence == "unexpected error (KeyError: 'x')"
    assert "in raised" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [MemoryError(), ImportError("libx.so: failed to map segment from shared object")]
)
def test_memory_errors_are_reported_without_a_file(tmp_path, error):
    sentence = crashes.record_unexpected_error(raised(error), tmp_path)
    assert sentence == "out of memory; use fewer --nprocs, or allow more memory (ulimit -v)"
    assert list(tmp_path.iterdir()) == []
