"""Nipype's pool of processes, for machines on which workers get killed.

Its own waits for ever when a worker is killed, as by the system when memory is out: the broken
pool tells so in a callback whose error nobody sees. And workers of a process that was killed
live on. Here what was in hand when a worker was killed is run once more by itself, the rest with
half as many at a time; what is killed again has failed. Workers end when their parent has.
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

_LOOK_S = 0.5
# As the last line of a traceback, since Nipype knows no other way to fail.
_KILLED = (
    "circuitshift.workflows.engine.process_pool.WorkerKilledError: "
    "its process was killed twice, most likely "
    "since memory was out; run it again with fewer --nprocs, or where there is more memory\n"
)


class PoolPlugin(MultiProcPlugin):  # type: ignore[misc] # Nipype has no types
    """`MultiProc` that outlives its workers.

    Parameters
    ----------
    plugin_args : dict
        As of `MultiProc`; and `notify`, a callable that takes one line.
    """

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args=plugin_args)
        self.processors: int
        self._say: Callable[[str], None] = plugin_args["say"]
        self._nodes: dict[int, pe.Node] = {}
        self._waiting: list[int] = []  # lost once, to be run alone
        self._alone: dict[int, ProcessPoolExecutor] = {}  # what was lost once runs here
        self.pool: ProcessPoolExecutor = self._new_pool(self.processors)

    def _new_pool(self, n_procs: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=n_procs,
            initializer=_start_worker,
            initargs=(self._cwd, os.getpid()),
            mp_context=get_context(self.plugin_args.get("mp_context")),
        )

    def _submit_job(self, node: pe.Node, updatehash: bool = False) -> int:
        del updatehash  # nodes are never taken from a former run
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
        """Return what a task came to; None while it runs, or waits to be run again."""
        if taskid in self._waiting:
            self._run_alone(taskid)
            return None
        future = self._task_obj[taskid]
        if not future.done():
            return None
        if pool := self._alone.pop(taskid, None):
            pool.shutdown(wait=False)
            return self._outcome(future) or {"result": None, "traceback": [_KILLED]}
        found = self._outcome(future)
        if found is None:
            name = self._nodes[taskid].fullname.partition(".")[2]
            self._say(f"{name}: its process was killed; it is run again by itself")
            self._waiting.append(taskid)
            self._renew()
        return found

    @staticmethod
    def _outcome(future: "Future[dict[str, Any]]") -> dict[str, Any] | None:
        """Return the result; None when the pool broke under it."""
        try:
            return future.result()
        except BrokenProcessPool:
            return None

    def _run_alone(self, taskid: int) -> None:
        """Run a task in a pool of its own, unless another is being run so."""
        if self._alone:
            return
        self._waiting.remove(taskid)
        self._alone[taskid] = self._new_pool(1)
        future = self._alone[taskid].submit(run_node, self._nodes[taskid], False, 0)
        self._task_obj[taskid] = future

    def _renew(self) -> None:
        """Replace a pool that broke, and ask less of the machine; once for each break."""
        if not self.pool._broken:  # there is no public way to ask
            return
        self.pool.shutdown(wait=False)
        self.processors = max(1, self.processors // 2)
        self.pool = self._new_pool(self.processors)

    def _clear_task(self, taskid: int) -> None:
        super()._clear_task(taskid)
        del self._nodes[taskid]


def _start_worker(folder: str, parent: int) -> None:
    """Go to the scratch folder, and see to it that no worker is left alone."""
    os.chdir(folder)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os._exit(130)

    threading.Thread(target=watch, daemon=True).start()
