"""Options of a command -> what the pipeline takes: folders, selection, settings."""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.measure.denoise import get_strategy, load_strategies
from circuitshift.pipeline.records import ExecutionSettings
from circuitshift.pipeline.study.group_level import DataSet
from circuitshift.workflows.plan import InputFolder

__all__ = [
    "check_folders",
    "check_writable",
    "count_participants",
    "data_sets_of",
    "execution_settings_of",
    "input_folders",
    "make_absolute",
    "query_of",
    "settings_of",
]


def make_absolute(options: argparse.Namespace) -> None:
    """Nodes run in folders of their own, where a relative path would lead elsewhere."""
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, value.absolute())
        elif isinstance(value, tuple):  # NAME=PATH
            setattr(options, name, (value[0], value[1].absolute()))
        elif isinstance(value, list):
            made = [item.absolute() if isinstance(item, Path) else item for item in value]
            setattr(options, name, made)
    if options.atlas:
        options.atlas = [
            str(Path(source).absolute()) if Path(source).exists() else source
            for source in options.atlas
        ]


def input_folders(options: argparse.Namespace) -> list[InputFolder]:
    """Find the folders that the positional arguments and flags name."""
    files = options.derivatives[1] if options.derivatives else options.bids_dir
    folders = [InputFolder(options.bids_dir, files)]
    if options.reference_dataset:
        name, path = options.reference_dataset
        folders.append(InputFolder(path, path, name or path.resolve().name))
    return folders


def check_folders(options: argparse.Namespace, folders: Sequence[InputFolder]) -> None:
    """Refuse folders that are missing, or an output folder that is the input."""
    if options.ratings is not None and not options.ratings.is_dir():
        raise InputError(f"--ratings {options.ratings}: there is no such folder")
    for folder in folders:
        for path in {folder.participants, folder.files}:
            if not path.is_dir():
                raise InputError(f"{path}: there is no such folder")
        if folder.name and not folder.name.isalnum():
            raise InputError(
                f"data set name {folder.name!r}: use letters and digits, --reference-dataset "
                "NAME=PATH"
            )
    if options.output_dir.resolve() == options.bids_dir.resolve():
        raise InputError("OUTPUT_DIR must not be BIDS_DIR: nothing is ever written into the input")


def check_writable(name: str, folder: Path) -> None:
    """Refuse at the door a folder that cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{name}: cannot write into {folder} ({reason})") from None


def data_sets_of(options: argparse.Namespace, folders: Sequence[InputFolder]) -> list[DataSet]:
    """Pair each input folder with its output folder."""
    root = options.output_dir
    return [
        DataSet(root / "datasets" / f.name if f.name else root, f.participants, f.name)
        for f in folders
    ]


def query_of(options: argparse.Namespace) -> bids.Query:
    """Build the selection of runs from the flags."""
    filters = bids.load_filters(options.bids_filter_file) if options.bids_filter_file else ()
    return bids.Query(
        participants=tuple(options.participant_label),
        sessions=tuple(options.session_label),
        tasks=tuple(options.task_id),
        spaces=tuple(options.space),
        input_types=tuple(options.input_type),
        filters=filters,
    )


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Take the settings that were given; what was not given keeps its default."""
    given = {
        "atlases": tuple(options.atlas) if options.atlas else None,
        "circuits": tuple(map(str, options.circuits)) or None,
        "strategy_files": tuple(map(str, options.denoise_file)) or None,
        "dummy_scans": options.dummy_scans,
        "estimator": options.estimator,
        "min_coverage": options.min_coverage,
        "min_minutes": options.min_minutes,
        "max_mean_fd_mm": options.max_mean_fd,
        "strategies": _with_gsr_counterpart(options.denoise, options.denoise_file),
        "template": options.output_space,
        "slice_timing": False if "slicetiming" in options.ignore else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _with_gsr_counterpart(
    names: Sequence[str] | None, files: Sequence[Path]
) -> tuple[str, ...] | None:
    """Add the twin with global signal regression of the first strategy, or without it."""
    if not names:
        return None
    available = load_strategies(tuple(files))
    first = get_strategy(names[0], available)
    for name in names[1:]:
        get_strategy(name, available)
    gsr_counterpart = f"{first.name}+gsr"
    added = (gsr_counterpart,) if not first.gsr and gsr_counterpart in available else ()
    return tuple(dict.fromkeys((*names, *added)))


def execution_settings_of(options: argparse.Namespace) -> ExecutionSettings:
    """Collect what changes speed and place, never numbers."""
    return ExecutionSettings(
        work_dir=options.work_dir.resolve() / _work_name(),
        n_procs=options.nprocs or os.cpu_count() or 1,
        omp_nthreads=options.omp_nthreads or 1,
        mem_gb=options.mem_gb,
        plugin_file=options.nipype_plugin_file,
        stop_on_first_crash=options.stop_on_first_crash,
        write_graph=options.write_graph,
        resource_monitor=options.resource_monitor,
        verbosity=options.verbose,
    )


def _work_name() -> str:
    from circuitshift.pipeline import __version__  # noqa: PLC0415

    return f"circuitshift_{__version__}".replace(".", "_")


def count_participants(n: int) -> str:
    """Write a number of participants."""
    return f"{n} {'person' if n == 1 else 'people'}"
