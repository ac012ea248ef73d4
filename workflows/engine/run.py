"""Run workflows with Nipype: configuration, plugin, progress, and failed nodes."""

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from configparser import Interpolation
from contextlib import chdir
from pathlib import Path
from typing import Any

# When imported, Nipype asks a server for its newest version. Its crash files need a user name,
# which containers do not always have.
os.environ.setdefault("NO_ET", "1")
os.environ.setdefault("NIPYPE_NO_ET", "1")
os.environ.setdefault("LOGNAME", "circuitshift")

from nipype import config as nipype_config
from nipype import logging as nipype_logging
from nipype.pipeline import engine as pe
from nipype.pipeline import plugins
from nipype.pipeline.plugins.base import GraphPluginBase, SGELikeBatchManagerBase

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.tables import read_json, read_text, write_text
from circuitshift.pipeline.records import ExecutionSettings
from circuitshift.workflows.engine.crashes import Crash
from circuitshift.workflows.engine.process_pool import PoolPlugin
from circuitshift.workflows.engine.progress import Notify, OnStep, Progress, stopping_at_once

__all__ = ["Crash", "only_submits", "resources", "run_workflow"]


def run_workflow(
    build: Callable[[], pe.Workflow],
    execution: ExecutionSettings,
    *,
    log_dir: Path,
    notify: Notify,
    on_step: OnStep | None = None,
) -> tuple[Crash, ...]:
    """Run a workflow, and continue with independent nodes when a node fails.

    Parameters
    ----------
    build : callable
        Function that returns the workflow. It is called after Nipype has been configured, because
        nodes copy the configuration when they are created.
    execution : ExecutionSettings
        Processes, memory, plugin and scratch folder.
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
        Nodes that failed; empty if all nodes were successful.

    Raises
    ------
    InputError
        If the plugin file cannot be used.
    RuntimeError
        If Nipype could not start the workflow.
    """
    plugin, arguments = _plugin(execution)
    _refuse_unquoted(plugin, execution.work_dir)
    _configure(execution, log_dir)
    workflow = build()
    on_step = on_step or (lambda done, total, text: notify(f"[{done}/{total}] {text}"))
    progress = Progress(_count(workflow), on_step, log_dir)
    arguments["status_callback"] = progress
    if execution.write_graph:
        _write_graph(workflow, log_dir, notify)
    before = set(log_dir.glob("crash-*"))
    try:
        # the resource monitor writes temporary files into the current folder
        with chdir(execution.work_dir), stopping_at_once(notify):
            if plugin == "MultiProc":
                workflow.run(plugin=PoolPlugin(arguments | {"notify": notify}))
            else:
                workflow.run(plugin=plugin, plugin_args=arguments)
    except Exception:
        if not progress.failed:
            raise
    files = sorted(set(log_dir.glob("crash-*")) - before)
    return tuple(Crash(node, _file_of(node, files)) for node in progress.failed)


def resources(path: Path) -> str:
    """Summarise the measurements of Nipype's resource monitor.

    Parameters
    ----------
    path : Path
        File ``resources.json`` that Nipype wrote.

    Returns
    -------
    str
        One line for each kind of step, with its peak memory in GiB and its peak number of
        processors.
    """
    content = read_json(path)
    measured: dict[str, list[tuple[float, float]]] = {}
    for name, rss_gib, cpus in zip(
        content["name"], content["rss_GiB"], content["cpus"], strict=True
    ):
        measured.setdefault(name.rpartition(".")[2], []).append((rss_gib, cpus))
    return "\n".join(
        f"resources: {step}: at most {max(row[0] for row in rows):.2f} GiB and "
        f"{max(row[1] for row in rows) / 100:.1f} processors"
        for step, rows in measured.items()
    )


def _count(workflow: pe.Workflow) -> int:
    return sum(
        _count(node) if isinstance(node, pe.Workflow) else 1 for node in workflow._graph.nodes()
    )


def _file_of(node: str, files: list[Path]) -> str:
    """Return the crash file that contains the full name of a node; empty if there is none."""
    for file in files:
        if f"Node: {node}\n" in file.read_text(encoding="utf-8", errors="replace"):
            return str(file)
    return ""


def _configure(execution: ExecutionSettings, log_dir: Path) -> None:
    """Set Nipype's global configuration."""
    log_dir.mkdir(parents=True, exist_ok=True)
    # without this, a percent sign in a path would be read as a reference to another setting
    nipype_config._config._interpolation = Interpolation()
    level = "INFO" if execution.verbosity > 1 else "CRITICAL"
    nipype_config.update_config(
        {
            "logging": {
                "workflow_level": level,
                "interface_level": level,
                "utils_level": level,
                "log_to_file": "false",
            },
            "execution": {
                "crashdump_dir": str(log_dir),
                "crashfile_format": "txt",
                "stop_on_first_crash": str(execution.stop_on_first_crash).lower(),
                "check_version": "false",
                "hash_method": "content",
                "poll_sleep_duration": "0.1",
                "remove_unnecessary_outputs": "false",
            },
        }
    )
    # Nipype appends to this file, and stops with an error if the file is incomplete
    summary = log_dir / "resources.json"
    try:
        read_json(summary)
    except InputError:
        summary.unlink(missing_ok=True)
    nipype_config.set("monitoring", "summary_file", str(summary))
    if execution.resource_monitor:  # `update_config` does not change these settings
        nipype_config.enable_resource_monitor()
    else:
        nipype_config.disable_resource_monitor()
    nipype_logging.update_logging(nipype_config)
    if execution.verbosity < 2:
        logging.getLogger("nipype").setLevel(logging.CRITICAL)


def _plugin(execution: ExecutionSettings) -> tuple[str, dict[str, Any]]:
    """Choose Nipype's plugin: that of the plugin file, Linear for one process, or MultiProc."""
    if execution.plugin_file is not None:
        return _plugin_from(execution.plugin_file)
    if execution.n_procs == 1:
        return "Linear", {}
    arguments: dict[str, Any] = {"n_procs": execution.n_procs, "raise_insufficient": False}
    if execution.mem_gb is not None:
        arguments["memory_gb"] = execution.mem_gb
    return "MultiProc", arguments


def _plugin_from(path: Path) -> tuple[str, dict[str, Any]]:
    """Read ``plugin`` and ``plugin_args`` from a YAML or JSON file in the format of fMRIPrep."""
    import yaml  # noqa: PLC0415 - only with --nipype-plugin-file

    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: the plugin file is not valid YAML or JSON ({reason}); correct it"
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("plugin"), str):
        raise InputError(
            f"{path}: the plugin file must contain `plugin: NAME`, and may contain `plugin_args`"
        )
    name, arguments = content["plugin"], content.get("plugin_args") or {}
    if not hasattr(plugins, f"{name}Plugin"):
        available = sorted(item.removesuffix("Plugin") for item in dir(plugins) if _is_plugin(item))
        raise InputError(
            f"{path}: Nipype has no plugin {name!r}; choose from {', '.join(available)}"
        )
    if not isinstance(arguments, dict):
        raise InputError(f"{path}: plugin_args must be a mapping of names to values")
    return name, dict(arguments)


def only_submits(execution: ExecutionSettings) -> bool:
    """Return whether the plugin submits jobs without waiting for them.

    Parameters
    ----------
    execution : ExecutionSettings
        Settings that may name a plugin file.

    Returns
    -------
    bool
        False without a plugin file.

    Raises
    ------
    InputError
        If the plugin file cannot be used.
    """
    if execution.plugin_file is None:
        return False
    name, _ = _plugin_from(execution.plugin_file)
    return issubclass(getattr(plugins, f"{name}Plugin"), GraphPluginBase)


def _refuse_unquoted(plugin: str, work_dir: Path) -> None:
    """Refuse a scratch folder with special characters, which batch plugins do not quote."""
    plugin_class = getattr(plugins, f"{plugin}Plugin")
    if issubclass(plugin_class, GraphPluginBase | SGELikeBatchManagerBase):
        characters = sorted(set(re.findall(r"[^\w@+=:,./-]", str(work_dir))))
        if characters:
            raise InputError(
                f"--work-dir {work_dir}: Nipype's plugin {plugin} does not support the characters "
                f"{' '.join(characters)!r} in this path; choose another folder, or use "
                "circuitshift slurm"
            )


def _is_plugin(name: str) -> bool:
    return name.endswith("Plugin") and name != "Plugin"


def _write_graph(workflow: pe.Workflow, log_dir: Path, notify: Notify) -> None:
    """Write the graph of a workflow as text, and as an image if Graphviz is installed.

    Nipype's own function is not used because it passes the file name to a shell.
    """
    from networkx.drawing.nx_pydot import to_pydot  # noqa: PLC0415 - with --write-graph

    target = log_dir / f"{workflow.name}.dot"
    write_text(target, to_pydot(_named(workflow._create_flat_graph())).to_string())
    program = shutil.which("dot")
    if program is None:
        notify("Graphviz (dot) is not installed: the graph is written as text only")
    else:
        image = target.with_suffix(".svg")
        command = [program, "-Tsvg", "-o", str(image), str(target)]
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - no shell
        target = image if done.returncode == 0 else target
    notify(f"graph: {target}")


def _named(graph: Any) -> Any:  # noqa: ANN401 - a networkx graph
    import networkx  # noqa: PLC0415 - with --write-graph

    return networkx.DiGraph([(a.fullname, b.fullname) for a, b in graph.edges()])
