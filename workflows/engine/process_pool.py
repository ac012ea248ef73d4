"""Process pool for Nipype that recovers when a worker is killed.

Nipype's MultiProc plugin waits forever if a worker is killed, for example by the operating system
because memory ran out: the broken pool raises an error in a callback, where it is not noticed.
Workers also continue to run after their parent process was killed.

In the pool of this module, each task that was running when a worker was killed is repeated once,
alone in its own process, and the remaining tasks use half as many processes. A task whose process
is killed a second time has failed. Workers exit when their parent process ends.
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from nipype.pipeline import engine as pe
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, run_node

__all__ = ["PoolPlugin"]

_POLL_INTERVAL_S = 0.5
# Nipype recognises a failed task by its traceback, so the message is written as one.
_KILLED = (
    "circuitshift.workflows.engine.process_pool.WorkerKilledError: "
    "its process was killed twice, most likely "
    "because memory ran out; run it again with fewer --nprocs, or on a machine with more memory\n"
)


class PoolPlugin(MultiProcPlugin):  # type: ignore[misc] # Nipype has no types
    """Run nodes in a pool of processes that is replaced if a worker is killed.

    Parameters
    ----------
    plugin_args : dict
        Arguments of Nipype's ``MultiProc`` plugin, and ``notify``, a callable that prints one line.
    """

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args=plugin_args)
        self.processors: int
        self._notify: Callable[[str], None] = plugin_args["notify"]
        self._nodes: dict[int, pe.Node] = {}
        self._waiting: list[int] = []  # tasks to repeat alone after their process was killed
        self._alone: dict[int, ProcessPoolExecutor] = {}  # pools of the tasks being repeated
        self.pool: ProcessPoolExecutor = self._new_pool(self.processors)

    def _new_pool(self, n_procs: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=n_procs,
            initializer=_start_worker,
            initargs=(self._cwd, os.getpid()),
            mp_context=get_context(self.plugin_args.get("mp_context")),
        )

    def _submit_job(self, node: pe.Node, updatehash: bool = False) -> int:
        del updatehash  # results of earlier runs are never reused
        self._taskid += 1
        self._nodes[self._taskid] = node
        try:
            future = self.pool.submit(run_node, node, False, 0)
        except BrokenProcessPool:
            self._renew()
            future = self.pool.submit(run_node, node, False, 0)
        self._task_obj[self._taskid] = future
        return int(self._taskid)

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        """Return the result of a task, or None if it is running or waiting to be repeated."""
        if taskid in self._waiting:
            self._run_alone(taskid)
            return None
        future = self._task_obj[taskid]
        if not future.done():
            return None
        if pool := self._alone.pop(taskid, None):
            pool.shutdown(wait=False)
            return self._outcome(future) or {"result": None, "traceback": [_KILLED]}
        result = self._outcome(future)
        if result is None:
            name = self._nodes[taskid].fullname.partition(".")[2]
            self._notify(f"{name}: its process was killed; the step is repeated on its own")
            self._waiting.append(taskid)
            self._renew()
        return result

    @staticmethod
    def _outcome(future: "Future[dict[str, Any]]") -> dict[str, Any] | None:
        """Return the result of a task, or None if a process of its pool was killed."""
        try:
            return future.result()
        except BrokenProcessPool:
            return None

    def _run_alone(self, taskid: int) -> None:
        """Repeat a task in its own pool, unless another task is being repeated."""
        if self._alone:
            return
        self._waiting.remove(taskid)
        self._alone[taskid] = self._new_pool(1)
        future = self._alone[taskid].submit(run_node, self._nodes[taskid], False, 0)
        self._task_obj[taskid] = future

    def _renew(self) -> None:
        """Replace a broken pool by one with half as many processes."""
        if not self.pool._broken:  # the class has no public attribute for this
            return
        self.pool.shutdown(wait=False)
        self.processors = max(1, self.processors // 2)
        self.pool = self._new_pool(self.processors)

    def _clear_task(self, taskid: int) -> None:
        super()._clear_task(taskid)
        del self._nodes[taskid]


def _start_worker(folder: str, parent: int) -> None:
    """Change to the scratch folder, and end this worker when its parent process ends."""
    os.chdir(folder)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_INTERVAL_S)
        os._exit(130)

    threading.Thread(target=watch, daemon=True).start()
