"""Output of the command line: plain lines, and progress that is overwritten on a terminal."""

import re
import time

import pytest

from circuitshift.workflows.cli.terminal import Terminal, _duration


def test_progress_in_a_file_has_one_line_per_step(capsys):
    terminal = Terminal()
    terminal.step(1, 2, "sub-01 \x1b[31mmeasure")
    terminal("a note")
    assert capsys.readouterr().out == "[1/2] sub-01 \\x1b[31mmeasure\na note\n"


def on_terminal(monkeypatch):
    """Print to a terminal instead of a file."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    return Terminal()


def test_progress_on_a_terminal_is_overwritten(capsys, monkeypatch):
    terminal = on_terminal(monkeypatch)
    terminal.step(1, 3, "sub-01 measure")
    terminal.step(2, 3, "sub-02 measure")
    terminal("a note")
    terminal.step(3, 3, "sub-03 measure")
    shown = capsys.readouterr().out
    assert shown.count("\n") == 2  # after the note and after the last step
    assert re.search(r"\r +\r\[2/3\] sub-02 measure, about \d+ s left", shown)


def test_a_failed_step_is_not_overwritten(capsys, monkeypatch):
    terminal = on_terminal(monkeypatch)
    terminal.step(1, 3, "sub-01 measure FAILED")
    terminal.step(2, 3, "sub-02 measure")
    shown = capsys.readouterr().out
    assert "sub-01 measure FAILED\n" in shown
    assert "\r" not in shown


def test_the_remaining_time_is_extrapolated_from_the_first_step(capsys, monkeypatch):
    terminal = on_terminal(monkeypatch)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    terminal.step(1, 11, "a")
    now[0] += 40  # four steps in 40 s; six steps remain
    terminal.step(5, 11, "b")
    assert "about 60 s left" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")],
)
def test_durations_have_a_suitable_unit(seconds, text):
    assert _duration(seconds) == text
