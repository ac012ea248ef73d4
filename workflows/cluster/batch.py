"""Convert a request for jobs to the contents of their scripts: commands, resources and folders."""

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

_SKIP_VALIDATION = "--skip-bids-validation"  # the data set is validated once, not by each task
_MAX_LINKED_FOLDERS = 20  # above this number, their common parent folder is bound instead

#: Flags not passed to a task, which has its own participant, scratch folder and data set.
_JOB_FLAGS = frozenset(
    (
        *("submit", "status", "container", "array_limit", "array_size", "sbatch_args"),
        *("time", "mem_gb", "nprocs", "group_time", "group_mem_gb", "no_group", "dry_run"),
        *("participant_label", "reference_dataset", "study", "work_dir", "skip_bids_validation"),
    )
)
#: Flags not passed to the tasks of a reference data set either.
_MAIN_DATA_SET_FLAGS = frozenset({"derivatives", "session_label"})
#: Flags passed to the group level but not to the tasks of participants.
_GROUP_FLAGS = frozenset({"participant_label", "reference_dataset", "study"})


@dataclass(frozen=True, slots=True)
class Flag:
    """Describe a flag of the command line that a job may repeat.

    Parameters
    ----------
    name : str
        Name of the option, for example ``mem_gb``.
    words : tuple of str
        The flag and its values, as separate words.
    """

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobRequest:
    """Describe the jobs that are requested for a study.

    Parameters
    ----------
    bids_dir, output_dir, work_dir : Path
        Input, output and scratch folders; absolute paths.
    flags : tuple of Flag
        All flags of the command line. Tasks repeat those of the BIDS App.
    named : tuple of Path
        Folders that contain the files named by `flags` and `bids_dir`, which a container must be
        able to read.
    with_group : bool, default: True
        Whether to run the group level after the participant level.
    nprocs : int, default: 1
        Number of processors of each task.
    mem_gb, group_mem_gb : float, optional
        Memory of each task and of the group level, GB. By default, it is predicted from
        measurements.
    minutes, group_minutes : int, optional
        Time limits of each task and of the group level, minutes. By default, they are predicted
        from measurements.
    array_limit : int, default: 20
        Maximum number of tasks that run at the same time.
    array_size : int, default: 1000
        Maximum number of tasks in each array.
    sbatch_args : tuple of str, default: ()
        Additional arguments for ``sbatch``.
    container : Path, optional
        Apptainer image. By default, the current Python environment is used.
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
    """Determine commands, resources and folders of the jobs.

    Parameters
    ----------
    jobs : JobRequest
        Jobs requested on the command line.
    plan : StudyPlan
        Plan of all data sets.
    participants : sequence of ParticipantPlan
        Participants who still have to be processed.
    settings : AnalysisSettings
        Strategies, atlases and template, which determine the resources.

    Returns
    -------
    Batch
        Contents of the scripts.

    Raises
    ------
    InputError
        If symbolic links in the data set lead to too many folders without a common parent folder.
    """
    own = [f"--nprocs={jobs.nprocs}"]
    own += [] if jobs.mem_gb is None else [f"--mem-gb={jobs.mem_gb:g}"]
    calls = []
    for data_set in plan.data_sets:
        omitted = _JOB_FLAGS | (_MAIN_DATA_SET_FLAGS if data_set.name else set())
        start = (str(data_set.participants), str(data_set.outputs), "participant")
        words = (*start, _SKIP_VALIDATION, *own, *_repeated(jobs.flags, omitted))
        calls.append(DataSetCall(data_set.name, words))
    group = None
    if jobs.with_group:
        start = (str(jobs.bids_dir), str(jobs.output_dir), "group")
        flags = _repeated(jobs.flags, _JOB_FLAGS - _GROUP_FLAGS)
        group = (*start, _SKIP_VALIDATION, "--nprocs=1", *flags)
    for_participant, for_group = _predicted_requests(plan, participants, settings)
    return Batch(
        out_dir=jobs.output_dir,
        work_dir=jobs.work_dir,
        participants=tuple(participants),
        calls=tuple(calls),
        group=group,
        for_participant=_override(for_participant, jobs.mem_gb, jobs.minutes),
        for_group=_override(for_group, jobs.group_mem_gb, jobs.group_minutes),
        cpus=jobs.nprocs,
        array_limit=jobs.array_limit,
        array_size=jobs.array_size,
        sbatch_args=jobs.sbatch_args,
        container=None if jobs.container is None else _container(jobs, jobs.container, plan),
    )


def _repeated(flags: Sequence[Flag], omitted: Collection[str]) -> list[str]:
    """Return the words of all flags except the omitted ones."""
    return [word for flag in flags if flag.name not in omitted for word in flag.words]


def _override(predicted: Request, mem_gb: float | None, minutes: int | None) -> Request:
    """Replace predicted resources by those of the command line; 1 GB is 1000 MB, as in Nipype."""
    mib = predicted.mib if mem_gb is None else max(1, round(mem_gb * 1e9 / 2**20))
    return Request(mib, minutes or predicted.minutes)


def _predicted_requests(
    plan: StudyPlan, participants: Sequence[ParticipantPlan], settings: AnalysisSettings
) -> tuple[Request, Request]:
    """Predict the resources of the largest participant and of the group level."""
    n_regions = _n_regions(plan, settings)
    shared = {"regions": n_regions, "strategies": len(settings.strategies)}
    kinds: list[Kind] = ["raw" if participant.raw else "person" for participant in participants]
    sizes = [_size(participant, settings) | shared for participant in participants]
    requests = [request(kind, size) for kind, size in zip(kinds, sizes, strict=True)]
    largest = Request(
        max((r.mib for r in requests), default=0), max((r.minutes for r in requests), default=0)
    )
    size = {
        "one": 1,
        "participants": len(plan.participants),
        "edges": n_regions * (n_regions - 1) / 2,
    }
    return largest, request("group", size)


def _n_regions(plan: StudyPlan, settings: AnalysisSettings) -> int:
    """Return the number of regions of all atlases together, or of the first series or matrix."""
    spaces = {
        run.space for participant in plan.participants for run in participant.runs if is_image(run)
    }
    if any(participant.raw for participant in plan.participants):
        spaces.add(settings.template)
    if spaces:
        return max(
            sum(len(atlas_for(source, space).regions) for source in settings.atlases)
            for space in spaces
        )
    for run in (run for participant in plan.participants for run in participant.runs):
        try:
            return int(read_table(run).values.shape[1])
        except CircuitshiftError:  # the task of this participant reports it
            continue
    return 0


def _size(participant: ParticipantPlan, settings: AnalysisSettings) -> dict[str, float]:
    """Return the quantities of the resource table for the images of one participant."""
    headers = [_header(run.path) for run in participant.runs if is_image(run)]
    shapes = [(math.prod(bold.grid), bold.n_volumes) for bold in participant.bolds]
    shapes += [(math.prod(h.grid), h.n_volumes) for h in headers if h is not None]
    anats = participant.raw.anats if participant.raw is not None else ()
    anat_voxels = [math.prod(h.grid) for anat in anats if (h := _header(anat.path)) is not None]
    return {
        "one": 1,
        "runs": len(participant.runs) + len(participant.bolds),
        "voxel_volumes": sum(voxels * volumes for voxels, volumes in shapes),
        "largest_run": max((voxels * volumes for voxels, volumes in shapes), default=0),
        "anat_voxels": sum(anat_voxels),
        "largest_anat": max(anat_voxels, default=0),
        "structure_voxels": sum(anat_voxels) if settings.structure else 0,
    }


def _header(path: Path) -> Header | None:
    """Read a header, or return None if the task will report that the image cannot be read."""
    try:
        return read_header(path)
    except CircuitshiftError:
        return None


def _container(jobs: JobRequest, image: Path, plan: StudyPlan) -> Container:
    """Find all folders that the container must be able to read or write."""
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
    """Return folders outside the data sets that symbolic links lead to, as in git-annex."""
    files = [
        f for p in plan.participants for r in p.runs for f in (r.path, r.mask, r.confounds) if f
    ]
    files += [bold.path for p in plan.participants for bold in p.bolds]
    files += [anat.path for p in plan.participants if p.raw for anat in p.raw.anats]
    folders = {Path(os.path.realpath(file)).parent for file in files}
    roots = [data_set.participants.resolve() for data_set in plan.data_sets]
    outside = {f for f in folders if not any(f.is_relative_to(root) for root in roots)}
    if len(outside) <= _MAX_LINKED_FOLDERS:
        return sorted(outside)
    common = Path(os.path.commonpath(outside))
    if len(common.parts) < 3:  # / or /home, which should not be bound
        raise InputError(
            f"symbolic links in the data set lead to {len(outside)} folders, whose only common "
            f"parent folder is {common}; bind these folders with APPTAINER_BIND in the scripts, or "
            "use a data set without links"
        )
    return [common]
