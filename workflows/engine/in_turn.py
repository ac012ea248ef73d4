"""Run steps in this process, one after the other, without Nipype.

Nipype plans a graph of nodes, distributes them over processes and watches them. For one participant
after the other, this is not needed, and its import takes longer than measuring a run.
"""

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuitshift.pipeline.records import ExecutionSettings
from circuitshift.workflows.engine.crashes import Crash, write_crash
from circuitshift.workflows.engine.progress import Notify, OnStep, Progress, stopping_at_once

__all__ = ["Step", "run_in_turn"]


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a participant.

    Parameters
    ----------
    fullname : str
        Name in the form of the nodes of Nipype, such as ``participant_wf.sub_01_wf.measure``.
    run : callable
        Function that receives the result of the preceding step of the participant, or None, and
        returns a result.
    """

    fullname: str
    run: Callable[[Any], Any]


def run_in_turn(
    sequences: Sequence[Sequence[Step]],
    execution: ExecutionSettings,
    *,
    log_dir: Path,
    notify: Notify,
    on_step: OnStep | None = None,
) -> tuple[Crash, ...]:
    """Run sequences of steps, and continue with the next sequence when a step fails.

    Parameters
    ----------
    sequences : sequence of sequence of Step
        Steps of each participant.
    execution : ExecutionSettings
        Whether to stop after the first crash.
    log_dir : Path
        Folder for log and crash files.
    notify : callable
        Function that prints one line.
    on_step : callable, optional
        Function that receives the numbers of completed and of all steps, and the name of the last
        step. By default, `notify` prints them.

    Returns
    -------
    tuple of Crash
        Steps that failed; empty if all steps were successful.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    on_step = on_step or (lambda done, total, text: notify(f"[{done}/{total}] {text}"))
    progress = Progress(sum(map(len, sequences)), on_step, log_dir)
    crashes: list[Crash] = []
    with stopping_at_once(notify):
        for steps in sequences:
            result: Any = None
            for step in steps:
                progress(step, "start")
                try:
                    result = step.run(result)
                except Exception:
                    crashes.append(_crash(step, log_dir))
                    progress(step, "exception")
                    break
                progress(step, "end")
            if crashes and execution.stop_on_first_crash:
                break
    return tuple(crashes)


def _crash(step: Step, log_dir: Path) -> Crash:
    """Write the error that is being handled to a crash file."""
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{step.fullname}.txt"
    text = f"Node: {step.fullname}\n\n{traceback.format_exc()}"
    return Crash(step.fullname, write_crash(log_dir / name, text))
