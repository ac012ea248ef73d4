"""From the options of ``circuitshift slurm`` to what its scripts say: calls, requests, binds."""

import argparse
import math
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from circuitshift.pipeline.errors import CircuitshiftError, InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.nifti import Header, read_header
from circuitshift.pipeline.measure.atlas_files import atlas_for
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.workflows.cluster.resources import Kind, Request, request
from circuitshift.workflows.cluster.slurm import Batch, Container, DataSetCall
from circuitshift.workflows.plan import ParticipantPlan, StudyPlan

__all__ = ["flags_of", "make_batch"]

_UNVALIDATED = "--skip-bids-validation"  # it is validated once, not by every task
_MAX_LINKED = 20  # folders to bind one by one

#: What a task is not told: it has one person, a scratch folder and a data set of its own.
_OF_THE_JOB = frozenset(
    (
        *("help", "submit", "status", "container", "array_limit", "array_size", "sbatch_args"),
        *("time", "mem_gb", "nprocs", "group_time", "group_mem_gb", "no_group", "dry_run"),
        *("participant_label", "reference_dataset", "study", "work_dir", "skip_bids_validation"),
    )
)
#: Nor is a person of a reference data set, whose sessions and derivatives are its own.
_OF_THE_MAIN_SET = frozenset({"derivatives", "session_label"})


def make_batch(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    *,
    plan: StudyPlan,
    participants: Sequence[ParticipantPlan],
    settings: AnalysisSettings,
) -> Batch:
    """Turn the options of ``circuitshift slurm`` into what the scripts say.

    Parameters
    ----------
    parser : ArgumentParser
        That of `options`.
    options : Namespace
        With absolute paths.
    plan : StudyPlan
    participants : sequence of PersonPlan
        Who is to be done.
    settings : Science

    Returns
    -------
    Batch
    """
    own = _own_words(options)
    calls = []
    for data_set in plan.data_sets:
        without = _OF_THE_JOB | (_OF_THE_MAIN_SET if data_set.name else set())
        start = (str(data_set.participants), str(data_set.outputs), "participant")
        words = (*start, _UNVALIDATED, *own, *flags_of(parser, options, without=without))
        calls.append(DataSetCall(data_set.name, words))
    group = None
    if not (options.no_group or options.preproc_only):
        kept = _OF_THE_JOB - {"participant_label", "reference_dataset", "study"}
        flags = flags_of(parser, options, without=kept)
        start = (str(options.bids_dir), str(options.output_dir), "group")
        group = (*start, _UNVALIDATED, "--nprocs=1", *flags)
    measured, for_group = _requests(plan, participants, settings)
    return Batch(
        out_dir=options.output_dir,
        work_dir=options.work_dir,
        participants=tuple(participants),
        calls=tuple(calls),
        group=group,
        for_participant=_asked(measured, options.mem_gb, options.time),
        for_group=_asked(for_group, options.group_mem_gb, options.group_time),
        cpus=options.nprocs or 1,
        at_once=options.array_limit,
        array_size=options.array_size,
        sbatch_args=_sbatch_words(options.sbatch_args),
        container=_container(options, plan) if options.container else None,
    )


def _own_words(options: argparse.Namespace) -> list[str]:
    words = [f"--nprocs={options.nprocs or 1}"]
    return words if options.mem_gb is None else [*words, f"--mem-gb={options.mem_gb:g}"]


def _sbatch_words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"--sbatch-args: {text!r} cannot be read ({error})") from None


def _asked(measured: Request, mem_gb: float | None, minutes: int | None) -> Request:
    """Let what the user says replace what was measured; 1 GB is 1000 MB, as for Nipype."""
    mib = measured.mib if mem_gb is None else max(1, round(mem_gb * 1e9 / 2**20))
    return Request(mib, minutes or measured.minutes)


def _requests(
    plan: StudyPlan, participants: Sequence[ParticipantPlan], settings: AnalysisSettings
) -> tuple[Request, Request]:
    """Ask for what the largest person of the array needs, and for the group level."""
    n_regions = _n_regions(plan, settings)
    shared = {"regions": n_regions, "strategies": len(settings.strategies)}
    kinds: list[Kind] = ["raw" if person.raw else "person" for person in participants]
    sizes = [_size(person) | shared for person in participants]
    requests = [request(kind, size) for kind, size in zip(kinds, sizes, strict=True)]
    person = Request(
        max((r.mib for r in requests), default=0), max((r.minutes for r in requests), default=0)
    )
    size = {"one": 1, "people": len(plan.participants), "edges": n_regions * (n_regions - 1) / 2}
    return person, request("group", size)


def _n_regions(plan: StudyPlan, settings: AnalysisSettings) -> int:
    """Regions of all atlases together, or of the widest series or matrix."""
    spaces = {run.space for p in plan.participants for run in p.runs if run.input_type == "bold"}
    if any(person.raw for person in plan.participants):
        spaces.add(settings.template)
    if spaces:
        return max(
            sum(len(atlas_for(source, space).regions) for source in settings.atlases)
            for space in spaces
        )
    first = next(run for person in plan.participants for run in person.runs)
    read = tables.read_series if first.input_type == "timeseries" else tables.read_matrix
    return len(read(first.path)[0])


def _size(person: ParticipantPlan) -> dict[str, float]:
    """Add up a person's images: voxels of all volumes, and of anatomies."""
    images = [_header(run.path) for run in person.runs if run.input_type == "bold"]
    shapes = [(math.prod(b.grid), b.n_volumes) for b in person.bolds]
    shapes += [(math.prod(h.grid), h.n_volumes) for h in images if h is not None]
    anats = person.raw.anats if person.raw is not None else ()
    heads = [math.prod(h.grid) for anat in anats if (h := _header(anat.path)) is not None]
    return {
        "one": 1,
        "runs": len(person.runs) + len(person.bolds),
        "voxel_volumes": sum(voxels * volumes for voxels, volumes in shapes),
        "largest_run": max((voxels * volumes for voxels, volumes in shapes), default=0),
        "anat_voxels": sum(heads),
        "largest_anat": max(heads, default=0),
    }


def _header(path: Path) -> Header | None:
    """Read a header; an image that has none is the task's to complain about."""
    try:
        return read_header(path)
    except CircuitshiftError:
        return None


def _container(options: argparse.Namespace, plan: StudyPlan) -> Container:
    """Find every folder that the options and the links of images lead to."""
    named = [options.bids_dir]
    named += [d.participants for d in plan.data_sets]
    named += [options.derivatives[1]] if options.derivatives else []
    files = [options.study, options.bids_filter_file, *options.circuits, *options.denoise_file]
    files += [Path(s) for s in options.atlas or () if Path(s).is_absolute()]
    named += [path.parent for path in files if path is not None]  # an atlas's table lies beside it
    home = os.environ.get("TEMPLATEFLOW_HOME")
    flow = Path(home).absolute() if home and Path(home).is_dir() else None
    return Container(
        image=options.container,
        read_only=tuple(folder for folder in (*named, *_linked(plan)) if folder.is_dir()),
        writable=(options.output_dir, options.work_dir),
        templateflow_home=flow,
    )


def _linked(plan: StudyPlan) -> list[Path]:
    """Folders that links inside a data set lead to, as those of an annex may."""
    files = [
        f for p in plan.participants for r in p.runs for f in (r.path, r.mask, r.confounds) if f
    ]
    files += [bold.path for p in plan.participants for bold in p.bolds]
    files += [anat.path for p in plan.participants if p.raw for anat in p.raw.anats]
    folders = {Path(os.path.realpath(file)).parent for file in files}
    roots = [data_set.participants.resolve() for data_set in plan.data_sets]
    outside = {f for f in folders if not any(f.is_relative_to(root) for root in roots)}
    if len(outside) <= _MAX_LINKED:
        return sorted(outside)
    common = Path(os.path.commonpath(outside))
    if len(common.parts) < 3:  # / or /home: more than anybody wants to bind
        raise InputError(
            f"links of the data set lead to {len(outside)} folders, which have only {common} in "
            "common; bind them by APPTAINER_BIND in the scripts, or use a data set without links"
        )
    return [common]


def flags_of(
    parser: argparse.ArgumentParser, options: argparse.Namespace, *, without: Iterable[str]
) -> list[str]:
    """Turn parsed options back into words.

    Parameters
    ----------
    parser : ArgumentParser
    options : Namespace
        Of `parser`; paths may have been made absolute.
    without : iterable of str
        Destinations that are left out.

    Returns
    -------
    list of str
        What is unlike its default.
    """
    words: list[str] = []
    for action in parser._actions:
        value = getattr(options, action.dest, None)
        available = action.option_strings and action.dest not in (*without, "help")
        if not available or value == action.default:
            continue
        flag = max(action.option_strings, key=len)
        if isinstance(action, argparse._CountAction):
            words += [flag] * int(value or 0)
        elif value is True:
            words.append(flag)
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        elif isinstance(value, tuple):
            words.append(f"{flag}={value[0]}={value[1]}")  # NAME=PATH; the name may be empty
        else:
            words.append(f"{flag}={value}")
    return words
