"""Frozen requests, which describe the commands of the parsed command line.

Only this module, the parsers and `main` use argparse. A request is complete: paths of a study are
absolute, and files that affect the request have been read. All other code uses requests and does
not read the command line.
"""

import argparse
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.measure.denoise import get_strategy, load_strategies
from circuitshift.pipeline.records import AnalysisSettings, ExecutionSettings
from circuitshift.pipeline.study.members import DataSet
from circuitshift.workflows.cli.parsers import app_parser
from circuitshift.workflows.cli.tool_requests import (
    CalibrateRequest,
    DemoRequest,
    FetchRequest,
    InitRequest,
    PoolRequest,
    PowerRequest,
    SimulateRequest,
    ValidateRequest,
)
from circuitshift.workflows.cluster.batch import Flag, JobRequest
from circuitshift.workflows.plan import InputFolder

__all__ = ["AnyRequest", "Request", "SlurmRequest", "app_request", "flags_of", "make_request"]


@dataclass(frozen=True, slots=True)
class Request:
    """Describe one call of the BIDS App.

    Parameters
    ----------
    bids_dir, output_dir : Path
        Input and output folders; absolute paths.
    work_dir : Path
        Scratch folder named on the command line; absolute path. `execution` contains its subfolder
        for the installed version of circuitshift.
    analysis_level : {"participant", "group"}
        Level of the analysis.
    folders : tuple of InputFolder
        Data sets; the main data set comes first.
    query : Query
        Selection of runs.
    given : tuple of (str, value)
        Fields of `AnalysisSettings` that are set on the command line. All other fields keep their
        defaults.
    execution : ExecutionSettings
        Settings that affect speed and the location of temporary files only.
    study_file : Path or None
        Study file; None for defaults.
    ratings : Path or None
        Folder with rating files; None for the folder ``ratings`` in `output_dir`.
    skip_bids_validation, dry_run, reports_only, preproc_only, clean_workdir, freeze_plan : bool
        Flags with the same names on the command line.
    command : str
        The command line, for reports.
    """

    bids_dir: Path
    output_dir: Path
    work_dir: Path
    analysis_level: Literal["participant", "group"]
    folders: tuple[InputFolder, ...]
    query: bids.Query
    given: tuple[tuple[str, Any], ...]
    execution: ExecutionSettings
    study_file: Path | None
    ratings: Path | None
    skip_bids_validation: bool
    dry_run: bool
    reports_only: bool
    preproc_only: bool
    clean_workdir: bool
    freeze_plan: bool
    command: str

    @property
    def settings(self) -> AnalysisSettings:
        """Settings of the command line, with defaults for all others."""
        return replace(AnalysisSettings(), **dict(self.given))

    @property
    def data_sets(self) -> tuple[DataSet, ...]:
        """Input and output folders of each data set."""
        root = self.output_dir
        return tuple(
            DataSet(root / "datasets" / f.name if f.name else root, f.participants, f.name, f.table)
            for f in self.folders
        )


@dataclass(frozen=True, slots=True)
class SlurmRequest:
    """Describe one call of ``circuitshift slurm``.

    Parameters
    ----------
    app : Request
        Analysis that the jobs perform, with the participant level as its level.
    jobs : JobRequest
        Resources and options of the jobs.
    submit : bool
        Whether to submit the jobs.
    status : bool
        Whether to report the state of the participants without writing jobs.
    """

    app: Request
    jobs: JobRequest
    submit: bool
    status: bool


#: Types of requests that `make_request` returns.
AnyRequest = (
    Request
    | SlurmRequest
    | SimulateRequest
    | DemoRequest
    | CalibrateRequest
    | PowerRequest
    | FetchRequest
    | InitRequest
    | ValidateRequest
    | PoolRequest
)
_Simple = TypeVar("_Simple", SimulateRequest, CalibrateRequest, ValidateRequest)


def make_request(
    tool: str, parser: argparse.ArgumentParser, options: argparse.Namespace, *, command: str
) -> AnyRequest:
    """Convert the parsed options of a command to a request.

    Parameters
    ----------
    tool : str
        Name of a tool; empty for the BIDS App.
    parser : ArgumentParser
        Parser that returned `options`.
    options : Namespace
        Parsed command line.
    command : str
        The command line as it was entered.

    Returns
    -------
    AnyRequest
        Request of the BIDS App or of the tool.

    Raises
    ------
    InputError
        If options contradict each other, or if a file that affects the request is missing or
        cannot be read.
    """
    if not tool:
        return _study_request(_absolute(options), options.analysis_level, command)
    if tool == "slurm":
        return _slurm_request(parser, _absolute(options), command)
    return _TOOLS[tool](options)


def app_request(words: Sequence[str]) -> Request:
    """Return the request for a command of the BIDS App that a tool runs.

    Parameters
    ----------
    words : sequence of str
        Arguments of the command ``circuitshift``.

    Returns
    -------
    Request
        The same request as for this command line.
    """
    options = _absolute(app_parser().parse_args(list(words)))
    command = shlex.join(["circuitshift", *words])
    return _study_request(options, options.analysis_level, command)


# ------------------------------------------------------------------------------- paths


def _absolute(options: argparse.Namespace) -> argparse.Namespace:
    """Make all paths absolute, because nodes run in other folders."""
    values: dict[str, Any] = {name: _absolute_value(value) for name, value in vars(options).items()}
    if values["atlas"]:
        values["atlas"] = [
            str(Path(source).absolute()) if Path(source).exists() else source
            for source in values["atlas"]
        ]
    return argparse.Namespace(**values)


def _absolute_value(value: object) -> object:
    if isinstance(value, Path):
        return value.absolute()
    if isinstance(value, tuple):  # NAME=PATH
        return (value[0], value[1].absolute())
    if isinstance(value, list):
        return [item.absolute() if isinstance(item, Path) else item for item in value]
    return value


# ------------------------------------------------------------------ BIDS App and Slurm


def _study_request(
    options: argparse.Namespace, level: Literal["participant", "group"], command: str
) -> Request:
    return Request(
        bids_dir=options.bids_dir,
        output_dir=options.output_dir,
        work_dir=options.work_dir,
        analysis_level=level,
        folders=_folders(options),
        query=_query(options),
        given=_given_settings(options),
        execution=_execution(options),
        study_file=options.study,
        ratings=options.ratings,
        skip_bids_validation=options.skip_bids_validation,
        dry_run=options.dry_run,
        reports_only=options.reports_only,
        preproc_only=options.preproc_only,
        clean_workdir=options.clean_workdir,
        freeze_plan=options.freeze_plan,
        command=command,
    )


def _folders(options: argparse.Namespace) -> tuple[InputFolder, ...]:
    """Return the main data set and the reference data set."""
    files = options.derivatives[1] if options.derivatives else options.bids_dir
    main = InputFolder(options.bids_dir, files, table=options.participants)
    if not options.reference_dataset:
        return (main,)
    name, path = options.reference_dataset
    return (main, InputFolder(path, path, name or path.resolve().name))


def _query(options: argparse.Namespace) -> bids.Query:
    """Build the selection of runs."""
    filters = bids.load_filters(options.bids_filter_file) if options.bids_filter_file else ()
    return bids.Query(
        participants=tuple(options.participant_label),
        sessions=tuple(options.session_label),
        tasks=tuple(options.task_id),
        spaces=tuple(options.space),
        input_types=tuple(options.input_type),
        filters=filters,
    )


def _given_settings(options: argparse.Namespace) -> tuple[tuple[str, Any], ...]:
    """Return the settings that are set on the command line; the others keep their defaults."""
    values = {
        "atlases": tuple(options.atlas) if options.atlas else None,
        "circuits": tuple(map(str, options.circuits)) or None,
        "strategy_files": tuple(map(str, options.denoise_file)) or None,
        "dummy_scans": options.dummy_scans,
        "estimator": options.estimator,
        "min_coverage": options.min_coverage,
        "min_signal": options.min_signal,
        "min_minutes": options.min_minutes,
        "max_mean_fd_mm": options.max_mean_fd,
        "visit_minutes": options.visit_minutes,
        "combine_runs": options.combine_runs,
        "strategies": _with_gsr_counterpart(options.denoise, options.denoise_file),
        "template": options.output_space,
        "slice_timing": False if "slicetiming" in options.ignore else None,
        "structure": options.structure,
    }
    return tuple((name, value) for name, value in values.items() if value is not None)


def _with_gsr_counterpart(
    names: Sequence[str] | None, files: Sequence[Path]
) -> tuple[str, ...] | None:
    """Add the GSR counterpart of the first strategy."""
    if not names:
        return None
    available = load_strategies(tuple(files))
    first = get_strategy(names[0], available)
    for name in names[1:]:
        get_strategy(name, available)
    gsr_counterpart = f"{first.name}+gsr"
    added = (gsr_counterpart,) if not first.gsr and gsr_counterpart in available else ()
    return tuple(dict.fromkeys((*names, *added)))


def _execution(options: argparse.Namespace) -> ExecutionSettings:
    """Collect settings that affect speed and folders but no results."""
    from circuitshift.pipeline import __version__  # noqa: PLC0415

    version = f"circuitshift_{__version__}".replace(".", "_")
    return ExecutionSettings(
        work_dir=options.work_dir.resolve() / version,
        n_procs=options.nprocs or os.cpu_count() or 1,
        omp_nthreads=options.omp_nthreads or 1,
        mem_gb=options.mem_gb,
        plugin_file=options.nipype_plugin_file,
        stop_on_first_crash=options.stop_on_first_crash,
        write_graph=options.write_graph,
        resource_monitor=options.resource_monitor,
        verbosity=options.verbose,
    )


def _slurm_request(
    parser: argparse.ArgumentParser, options: argparse.Namespace, command: str
) -> SlurmRequest:
    app = _study_request(options, "participant", command)
    _refuse_for_jobs(options)
    jobs = JobRequest(
        bids_dir=options.bids_dir,
        output_dir=options.output_dir,
        work_dir=options.work_dir,
        flags=flags_of(parser, options),
        named=tuple(_named_folders(options)),
        with_group=not (options.no_group or options.preproc_only),
        nprocs=options.nprocs or 1,
        mem_gb=options.mem_gb,
        minutes=options.time,
        group_mem_gb=options.group_mem_gb,
        group_minutes=options.group_time,
        array_limit=options.array_limit,
        array_size=options.array_size,
        sbatch_args=_sbatch_words(options.sbatch_args),
        container=options.container,
    )
    return SlurmRequest(app, jobs, submit=options.submit, status=options.status)


def _refuse_for_jobs(options: argparse.Namespace) -> None:
    """Refuse options that cannot be used for jobs."""
    for name, reason in (
        (
            "nipype_plugin_file",
            "each task processes one participant; use this flag with the BIDS App instead",
        ),
        ("freeze_plan", "freeze the plan with the BIDS App before submitting jobs"),
    ):
        if getattr(options, name):
            flag = name.replace("_", "-")
            raise InputError(f"circuitshift slurm does not support --{flag}: {reason}")
    if options.status and options.submit:
        raise InputError("circuitshift slurm --status submits no jobs; omit --submit")
    if options.container is not None and not options.container.exists():
        raise InputError(f"--container {options.container}: there is no such file; check the path")


def _sbatch_words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(
            f"--sbatch-args: {text!r} cannot be split into words ({error}); check the quotes"
        ) from None


def _named_folders(options: argparse.Namespace) -> Iterator[Path]:
    """Yield the folders of all files named on the command line, which a container must read."""
    written = ("output_dir", "work_dir", "container")
    for name, value in vars(options).items():
        if name in written:
            continue
        for item in value if isinstance(value, list | tuple) else (value,):
            path = Path(item) if name == "atlas" and item is not None else item
            if isinstance(path, Path) and path.is_absolute():
                # a folder instead of the file, because the table of an atlas is next to its image
                yield path if path.is_dir() else path.parent


def flags_of(parser: argparse.ArgumentParser, options: argparse.Namespace) -> tuple[Flag, ...]:
    """Convert options that differ from their defaults back to flags.

    Parameters
    ----------
    parser : ArgumentParser
        Parser that returned `options`.
    options : Namespace
        Parsed command line, whose paths may have been made absolute.

    Returns
    -------
    tuple of Flag
        Flags in the order of the parser.
    """
    flags = []
    for action in parser._actions:
        value = getattr(options, action.dest, None)
        if not action.option_strings or action.dest == "help" or value == action.default:
            continue
        flag = max(action.option_strings, key=len)
        flags.append(Flag(action.dest, tuple(_words(flag, action, value))))
    return tuple(flags)


def _words(flag: str, action: argparse.Action, value: object) -> list[str]:
    """Return the words of one flag and its value."""
    if isinstance(action, argparse._CountAction):
        return [flag] * int(str(value))
    if value is True:
        return [flag]
    if isinstance(value, list):
        return [flag, *map(str, value)]
    if isinstance(value, tuple):
        return [f"{flag}={value[0]}={value[1]}"]  # NAME=PATH; the name may be empty
    return [f"{flag}={value}"]


# ------------------------------------------------------------------------------- tools


def _simple(cls: type[_Simple], options: argparse.Namespace) -> _Simple:
    """Create a request whose fields have the same names as the options."""
    values = vars(options)
    return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})


def _demo_request(options: argparse.Namespace) -> DemoRequest:
    return DemoRequest(_simple(SimulateRequest, options), options.nprocs)


def _power_request(options: argparse.Namespace) -> PowerRequest:
    from circuitshift.pipeline.validation.power import PowerQuestion  # noqa: PLC0415 - this tool only

    question = PowerQuestion(
        specific=options.specific,
        shift=options.shift,
        gain=options.gain,
        arms=options.arms,
        reliability=options.reliability,
        minutes=options.minutes,
    )
    sizes = tuple(options.n)
    return PowerRequest(options.output_dir, question, sizes, options.studies, options.seed)


def _fetch_request(options: argparse.Namespace) -> FetchRequest:
    from circuitshift.pipeline.validation.opendata.needed_files import FileSelection  # noqa: PLC0415 - this tool only

    selection = FileSelection(
        participants=tuple(options.participant_label),
        sessions=tuple(options.session_label),
        tasks=tuple(options.task_id),
        spaces=tuple(options.space),
        include=tuple(options.include),
    )
    return FetchRequest(
        options.dataset,
        options.folder.absolute(),
        selection,
        options.derivatives,
        options.tag,
        options.dry_run,
    )


def _init_request(options: argparse.Namespace) -> InitRequest:
    options = _absolute(options)
    return InitRequest(_folders(options), _query(options), options.output, options.study)


_TOOLS: dict[str, Callable[[argparse.Namespace], AnyRequest]] = {
    "init": _init_request,
    "demo": _demo_request,
    "simulate": lambda options: _simple(SimulateRequest, options),
    "calibrate": lambda options: _simple(CalibrateRequest, options),
    "power": _power_request,
    "fetch": _fetch_request,
    "validate": lambda options: _simple(ValidateRequest, options),
    "pool": lambda options: PoolRequest(tuple(options.studies), options.output_dir),
}
