"""Steps that run one after the other: results, progress, logs and failed steps."""

import re
from pathlib import Path

import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.records import ExecutionSettings
from circuitshift.workflows.engine.crashes import explain
from circuitshift.workflows.engine.in_turn import Step, run_in_turn


def fails(_):
    raise InputError("sub-01: the file is empty; fetch it again")


def sequence(label, *functions):
    names = ("measure", "report")[: len(functions)]
    steps = zip(names, functions, strict=True)
    return [Step(f"participant_wf.sub_{label}_wf.{name}", run) for name, run in steps]


def run(tmp_path, sequences, **settings):
    steps = []
    crashes = run_in_turn(
        sequences,
        ExecutionSettings(work_dir=tmp_path, n_procs=1, **settings),
        log_dir=tmp_path / "logs",
        notify=pytest.fail,
        on_step=lambda *words: steps.append(words),
    )
    return crashes, steps


def test_each_step_receives_the_result_of_the_one_before(tmp_path):
    received = []
    steps = sequence("01", lambda before: [before, 1], received.append)
    crashes, _ = run(tmp_path, [steps, sequence("02", received.append)])
    assert crashes == ()
    assert received == [[None, 1], None]


def test_a_failed_step_does_not_affect_other_participants(tmp_path):
    done = []
    sequences = [sequence("01", fails, done.append), sequence("02", lambda _: "02", done.append)]
    crashes, steps = run(tmp_path, sequences)
    assert done == ["02"]
    assert [crash.node for crash in crashes] == ["participant_wf.sub_01_wf.measure"]
    # the report of the first participant is never started
    assert steps == [
        (1, 4, "sub-01 measure FAILED"),
        (2, 4, "sub-02 measure"),
        (3, 4, "sub-02 report"),
    ]
    assert re.search(r"measure failed in \d+\.\d s", (tmp_path / "logs/sub-01.log").read_text())
    log = (tmp_path / "logs/sub-02.log").read_text()
    assert [line.split()[2:4] for line in log.splitlines()] == [
        ["measure", "done"],
        ["report", "done"],
    ]


def test_a_crash_file_names_the_step_and_explains_the_error(tmp_path):
    (crash,), _ = run(tmp_path, [sequence("01", fails)])
    assert Path(crash.file).parent == tmp_path / "logs"
    assert re.fullmatch(r"crash-[\w.-]+\.txt", Path(crash.file).name)
    text = Path(crash.file).read_text()
    assert text.startswith("Node: participant_wf.sub_01_wf.measure\n")
    assert "in fails" in text
    assert explain(crash.file) == ("sub-01: the file is empty; fetch it again", True)


def test_unexpected_errors_are_explained_by_type_and_message(tmp_path):
    (crash,), _ = run(tmp_path, [sequence("01", lambda _: 1 / 0)])
    assert explain(crash.file) == ("ZeroDivisionError: division by zero", False)


def test_the_first_crash_ends_the_run_if_requested(tmp_path):
    done = []
    sequences = [sequence("01", fails), sequence("02", done.append)]
    crashes, steps = run(tmp_path, sequences, stop_on_first_crash=True)
    assert (len(crashes), len(steps), done) == (1, 1, [])


def test_by_default_progress_is_printed_as_lines(tmp_path):
    lines = []
    run_in_turn(
        [sequence("01", str, str)],
        ExecutionSettings(work_dir=tmp_path, n_procs=1),
        log_dir=tmp_path / "logs",
        notify=lines.append,
    )
    assert lines == ["[1/2] sub-01 measure", "[2/2] sub-01 report"]
