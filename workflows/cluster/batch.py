"""From a request of jobs to what their scripts say: calls, resources, folders to bind."""

import math
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from circuitshift.pipeline.bids.input_types import is_image, read_table
from circuitshift.pipeline.errors import CircuitshiftError, InputError
from circuitshift.pipeline.io.nifti import Header, read_header
from circuitshift.pipeline.measure.atlas_files import atlas_for
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.workflows.cluster.resources import Kind, Request, request
from circuitshift.workflows.cluster.slurm import Batch, Container, DataSetCall
from circuitshift.workflows.plan import ParticipantPlan, StudyPlan

__all__ = ["Flag", "JobRequest", "make_batch"]

_UNVALIDATED = "--skip-bids-validation"  # it is validated once, not by every task
_MAX_LINKED = 20  # folders to bind one by one

#: Flags that a task does not repeat: it has one participant, scratch folder and data set.
_OF_THE_JOB = frozenset(
    (
        *("submit", "status", "container", "array_limit", "array_size", "sbatch_args"),
        *("time", "mem_gb", "nprocs", "group_time", "group_mem_gb", "no_group", "dry_run"),
        *("participant_label", "reference_dataset", "study", "work_dir", "skip_bids_validation"),
    )
)
#: Nor does a participant of a reference data set, whose sessions and derivatives are its own.
_OF_THE_MAIN_SET = frozenset({"derivatives", "session_label"})
#: Flags that the group level repeats although a task does not.
_OF_THE_GROUP = frozenset({"participant_label", "reference_dataset", "study"})


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of the command line, as words that say the same again.

    Parameters
    ----------
    name : str
        Name of its option, such as ``mem_gb``.
    words : tuple of str
        The flag and its values.
    """

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What the jobs of a study are asked to be.

    Parameters
    ----------
    bids_dir, output_dir, work_dir : Path
        Absolute.
    flags : tuple of Flag
        All that the command line states; tasks repeat those of the BIDS App.
    named : tuple of Path
        Folders that hold what `flags` and `bids_dir` name, for a container to see.
    with_group : bool
        Whether the group level follows.
    nprocs : int
        Processors of a task.
    mem_gb, group_mem_gb : float, optional
        Memory of a task and of the group level; None for what measurements predict.
    minutes, group_minutes : int, optional
        Their time limits; None for what measurements predict.
    array_limit, array_size : int
        Tasks at the same time, and tasks per array.
    sbatch_args : tuple of str
        Further words for ``sbatch``.
    container : Path, optional
        Apptainer image; None for this Python.
    """

    bids_dir: Path
    output_dir: Path
    work_dir: Path
    flags: tuple[Flag, ...] = ()
    named: tuple[Path, ...] = ()
    with_group: bool = True
    nprocs: int = 1
    mem_gb: float | None = None
    minutes: int | None = None
    group_mem_gb: float | None = None
    group_minutes: int | None = None
    array_limit: int = 20
    array_size: int = 1000
    sbatch_args: tuple[str, ...] = ()
    container: Path | None = None


def make_batch(
    jobs: JobRequest,
    *,
    plan: StudyPlan,
    participants: Sequence[ParticipantPlan],
    settings: AnalysisSettings,
) -> Batch:
    """Turn a request into what the scripts say.

    Parameters
    ----------
    jobs : JobRequest
    plan : StudyPlan
    participants : sequence of ParticipantPlan
        Participants who are left to be processed.
    settings : AnalysisSettings

    Returns
    -------
    Batch

    Raises
    ------
    InputError
        If links of the data set lead to places that cannot be bound together.
    """
    own = [f"--nprocs={jobs.nprocs}"]
    own += [] if jobs.mem_gb is None else [f"--mem-gb={jobs.mem_gb:g}"]
    calls = []
    for data_set in plan.data_sets:
        without = _OF_THE_JOB | (_OF_THE_MAIN_SET if data_set.name else set())
        start = (str(data_set.participants), str(data_set.outputs), "participant")
        words = (*start, _UNVALIDATED, *own, *_repeated(jobs.flags, without))
        calls.append(DataSetCall(data_set.name, words))
    group = None
    if jobs.with_group:
        start = (str(jobs.bids_dir), str(jobs.output_dir), "group")
        flags = _repeated(jobs.flags, _OF_THE_JOB - _OF_THE_GROUP)
        group = (*start, _UNVALIDATED, "--nprocs=1", *flags)
    measured, for_group = _requests(plan, participants, settings)
    return Batch(
        out_dir=jobs.output_dir,
        work_dir=jobs.work_dir,
        participants=tuple(participants),
        calls=tuple(calls),
        group=group,
        for_participant=_asked(measured, jobs.mem_gb, jobs.minutes),
        for_group=_asked(for_group, jobs.group_mem_gb, jobs.group_minutes),
        cpus=jobs.nprocs,
        at_once=jobs.array_limit,
        array_size=jobs.array_size,
        sbatch_args=jobs.sbatch_args,
        container=None if jobs.container is None else _container(jobs, jobs.container, plan),
    )


def _repeated(flags: Sequence[Flag], without: Collection[str]) -> list[str]:
    """Write the flags that a job repeats."""
    return [word for flag in flags if flag.name not in without for word in flag.words]


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
    spaces = {run.space for p in plan.participants for run in p.runs if is_image(run)}
    if any(person.raw for person in plan.participants):
        spaces.add(settings.template)
    if spaces:
        return max(
            sum(len(atlas_for(source, space).regions) for source in settings.atlases)
            for space in spaces
        )
    first = next(run for person in plan.participants for run in person.runs)
    return len(read_table(first)[0])


def _size(person: ParticipantPlan) -> dict[str, float]:
    """Add up a person's images: voxels of all volumes, and of anatomies."""
    images = [_header(run.path) for run in person.runs if is_image(run)]
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


def _container(jobs: JobRequest, image: Path, plan: StudyPlan) -> Container:
    """Find every folder that the request and the links of images lead to."""
    folders = (*jobs.named, *(d.participants for d in plan.data_sets), *_linked(plan))
    home = os.environ.get("TEMPLATEFLOW_HOME")
    flow = Path(home).absolute() if home and Path(home).is_dir() else None
    return Container(
        image=image,
        read_only=tuple(folder for folder in folders if folder.is_dir()),
        writable=(jobs.output_dir, jobs.work_dir),
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
