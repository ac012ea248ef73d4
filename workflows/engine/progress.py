"""Progress of the steps of a workflow, and interruption of a run."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from circuitshift.workflows.engine.log import log_line

__all__ = ["Notify", "OnStep", "Progress", "stopping_at_once"]

Notify = Callable[[str], None]
#: Receives the number of completed steps, the number of all steps, and the name of the last step.
OnStep = Callable[[int, int, str], None]


class _Named(Protocol):
    @property
    def fullname(self) -> str: ...


class Progress:
    """Count completed steps; it is called when a step, or a node of Nipype, changes its state.

    Parameters
    ----------
    n_nodes : int
        Number of all steps.
    on_step : callable
        Function that receives the numbers of completed and of all steps, and the name of the step.
    log_dir : Path
        Folder of the log files.
    """

    def __init__(self, n_nodes: int, on_step: OnStep, log_dir: Path) -> None:
        self.n_nodes, self.on_step, self.log_dir, self.done = n_nodes, on_step, log_dir, 0
        self.started: dict[str, float] = {}
        self.failed: list[str] = []

    def __call__(self, node: _Named, status: str) -> None:
        """Record that a step has started, ended or failed."""
        name = node.fullname.split(".", 1)[1] if "." in node.fullname else node.fullname
        label = name.replace("_wf.", " ").replace("sub_", "sub-")
        if status == "start":
            self.started[node.fullname] = time.monotonic()
            return
        if node.fullname not in self.started:
            return  # steps that depend on a failed step are never started
        self.done += 1
        if status == "exception":
            self.failed.append(node.fullname)
        self.on_step(self.done, self.n_nodes, label + " FAILED" * (status == "exception"))
        seconds = time.monotonic() - self.started[node.fullname]
        participant, _, step = label.partition(" ")
        outcome = "failed" if status == "exception" else "done"
        if step:
            log_line(self.log_dir / f"{participant}.log", f"{step} {outcome} in {seconds:.1f} s")
        else:
            log_line(self.log_dir / "group.log", f"{label} {outcome} in {seconds:.1f} s")


@contextmanager
def stopping_at_once(notify: Notify) -> Iterator[None]:
    """End the process on Ctrl-C, which Nipype would treat as the failure of one node.

    All complete outputs are kept, because each output file is written completely or not at all.

    Parameters
    ----------
    notify : callable
        Function that prints one line.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    own = os.getpid()

    def stop(*_: object) -> None:
        import multiprocessing  # noqa: PLC0415 - without a pool, it is not imported

        if os.getpid() != own:  # a worker, which inherits the signal handler
            os._exit(130)
        text = "interrupted; run the same command again to continue"
        with suppress(OSError):  # the reader of the output may have ended
            try:
                notify(text)
            except RuntimeError:  # the signal arrived while a line was being printed
                os.write(1, f"{text}\n".encode())
        for child in multiprocessing.active_children():
            child.terminate()
        os._exit(130)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
