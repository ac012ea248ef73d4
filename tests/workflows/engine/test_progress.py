"""Progress and interruption: counts, labels, and signal handlers that are restored."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from circuitshift.workflows.engine.progress import Progress, stopping_at_once


def test_steps_that_never_started_are_not_counted(tmp_path):
    steps = []
    progress = Progress(3, lambda *words: steps.append(words), tmp_path)
    measure, report = (SimpleNamespace(fullname=f"w.sub_01_wf.{n}") for n in ("measure", "report"))
    progress(measure, "start")
    progress(measure, "exception")
    progress(report, "exception")
    assert steps == [(1, 3, "sub-01 measure FAILED")]
    assert progress.failed == ["w.sub_01_wf.measure"]


def test_steps_of_the_group_have_their_own_log(tmp_path):
    progress = Progress(1, lambda *_: None, tmp_path)
    node = SimpleNamespace(fullname="group_wf.analyse")
    progress(node, "start")
    progress(node, "end")
    assert "analyse done in" in (tmp_path / "group.log").read_text()


def test_signal_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    with stopping_at_once(print):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


INTERRUPTED = """
import os, signal
from circuitshift.workflows.engine.progress import stopping_at_once

def notify(text):
    {body}

with stopping_at_once(notify):
    os.kill(os.getpid(), signal.{signal})
print("not reached")
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "body", ["print(text, flush=True)", "raise RuntimeError('reentrant call')"]
)
def test_an_interruption_is_reported_even_while_a_line_is_printed(number, body):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(body=body, signal=number)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert done.stdout == "interrupted; run the same command again to continue\n"
