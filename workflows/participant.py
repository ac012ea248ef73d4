"""Workflows of the participant level: one independent workflow for each participant."""

import math
from collections.abc import Sequence

from nipype.interfaces.base import SimpleInterface
from nipype.interfaces.utility import Merge
from nipype.pipeline import engine as pe

from circuitshift.pipeline.bids.raw_records import RawBold
from circuitshift.pipeline.preproc.person import voxel_size
from circuitshift.pipeline.records import AnalysisSettings, ExecutionSettings
from circuitshift.workflows.plan import ParticipantPlan
from circuitshift.workflows.steps import (
    CoregisterRuns,
    EstimateRunMotion,
    MeasureParticipant,
    MeasureParticipantStructure,
    MeasurePreprocessed,
    PrepareParticipantAnatomy,
    PreprocessRun,
    ReportParticipant,
)

__all__ = ["init_participant_wf", "init_preproc_wf", "init_single_participant_wf"]

#: Memory of each kind of node, GB. Images are read in blocks of volumes, so measuring needs little.
_MEM_GB = {
    "measure": 0.5,
    "report": 0.5,
    "anatomy": 2.5,
    "coregistration": 1.5,
    "structure": 2.5,
}


def init_participant_wf(
    participants: Sequence[ParticipantPlan],
    settings: AnalysisSettings,
    execution: ExecutionSettings,
    *,
    reports_only: bool = False,
    preproc_only: bool = False,
    name: str = "participant_wf",
) -> pe.Workflow:
    """Build the workflow of the participant level.

    Parameters
    ----------
    participants : sequence of ParticipantPlan
        Participants to process.
    settings : AnalysisSettings
        Settings that affect the results.
    execution : ExecutionSettings
        Settings that affect speed only; the workflow uses its scratch folder.
    reports_only : bool, default: False
        Whether to write reports without measuring.
    preproc_only : bool, default: False
        Whether to stop after preprocessing. Participants without raw images are then omitted.
    name : str, default: "participant_wf"
        Name of the workflow.

    Returns
    -------
    Workflow
        Workflow without connections between participants, so that the failure of one participant
        does not affect the others.
    """
    workflow = pe.Workflow(name=name, base_dir=str(execution.work_dir))
    if preproc_only:
        workflows = [
            init_preproc_wf(plan, settings, name=plan.node_name)
            for plan in participants
            if plan.raw is not None
        ]
    else:
        workflows = [
            init_single_participant_wf(plan, settings, reports_only=reports_only)
            for plan in participants
        ]
    workflow.add_nodes(workflows)
    return workflow


def init_preproc_wf(
    plan: ParticipantPlan, settings: AnalysisSettings, *, name: str = "preproc_wf"
) -> pe.Workflow:
    """Build the preprocessing workflow of one participant.

    The anatomical images and the head motion of each run are processed independently. All runs are
    then registered to the anatomy together, and the remaining steps of each run follow, as does the
    structure of each session if it is requested.

    Parameters
    ----------
    plan : ParticipantPlan
        Participant with raw images.
    settings : AnalysisSettings
        Template, slice timing correction, dummy scans and structure.
    name : str, default: "preproc_wf"
        Name of the workflow.

    Returns
    -------
    Workflow
        Workflow whose node ``done`` collects the records of all runs. If the structure is
        requested, the node ``structure`` writes its record.
    """
    workflow = pe.Workflow(name=name)
    raw = plan.raw
    assert raw is not None  # noqa: S101 - callers check it
    out_dir = str(plan.preproc_dir)
    anatomy = _node(
        PrepareParticipantAnatomy(
            anats=list(raw.anats),
            participant=plan.participant,
            template=settings.template,
            out_dir=out_dir,
        ),
        "anatomy",
        _MEM_GB["anatomy"],
    )
    moved = pe.Node(Merge(len(raw.bolds)), name="moved")
    registered = _node(
        CoregisterRuns(bolds=list(raw.bolds), participant=plan.participant, out_dir=out_dir),
        "coregistration",
        _MEM_GB["coregistration"],
    )
    workflow.connect(anatomy, "record", registered, "anatomy")
    workflow.connect(moved, "out", registered, "motions")
    done = pe.Node(Merge(len(raw.bolds)), name="done")
    for number, bold in enumerate(raw.bolds, 1):
        motion = _node(
            EstimateRunMotion(bold=bold, out_dir=out_dir), f"motion{number}", _run_gb(bold)
        )
        if settings.dummy_scans is not None:
            motion.inputs.dummy_scans = settings.dummy_scans
        run = _node(
            PreprocessRun(
                bold=bold,
                template=settings.template,
                voxel_mm=voxel_size(raw.bolds),
                slice_timing=settings.slice_timing,
                out_dir=out_dir,
            ),
            f"run{number}",
            2 * _run_gb(bold),
        )
        workflow.connect(anatomy, "record", run, "anatomy")
        workflow.connect(motion, "record", moved, f"in{number}")
        workflow.connect(motion, "record", run, "motion")
        workflow.connect(registered, "record", run, "coregistration")
        workflow.connect(run, "record", done, f"in{number}")
    if settings.structure:
        structure = _node(
            MeasureParticipantStructure(
                anats=list(raw.anats),
                participant=plan.participant,
                settings=settings,
                out_dir=out_dir,
            ),
            "structure",
            _MEM_GB["structure"],
        )
        workflow.connect(anatomy, "record", structure, "anatomy")
    return workflow


def _node(interface: SimpleInterface, name: str, mem_gb: float) -> pe.Node:
    return pe.Node(interface, name=name, mem_gb=mem_gb, overwrite=True)


def _run_gb(bold: RawBold) -> float:
    """Estimate the memory in GB for a run as single-precision and as stored values."""
    return 0.5 + 8e-9 * bold.n_volumes * math.prod(bold.grid)


def init_single_participant_wf(
    plan: ParticipantPlan, settings: AnalysisSettings, *, reports_only: bool = False
) -> pe.Workflow:
    """Build the workflow of one participant, which measures all runs and writes a report.

    All nodes run each time, and each node skips outputs that are valid according to the inputs,
    code and settings recorded with them. The scratch folder can therefore be deleted at any time,
    and an output that was deleted is computed again.

    Parameters
    ----------
    plan : ParticipantPlan
        Participant to process.
    settings : AnalysisSettings
        Settings that affect the results.
    reports_only : bool, default: False
        Whether to write the report without measuring.

    Returns
    -------
    Workflow
        Workflow named after the participant.
    """
    workflow = pe.Workflow(name=plan.node_name)
    report = pe.Node(
        ReportParticipant(
            participant=plan.participant,
            settings=settings,
            out_dir=str(plan.out_dir),
            again=reports_only,
        ),
        name="report",
        mem_gb=_MEM_GB["report"],
        overwrite=True,
    )
    if reports_only:
        workflow.add_nodes([report])
        return workflow
    if plan.raw is not None:
        preproc = init_preproc_wf(plan, settings)
        measure = _node(
            MeasurePreprocessed(
                problems=list(plan.problems),
                participant=plan.participant,
                settings=settings,
                preproc_dir=str(plan.preproc_dir),
                data_set=plan.data_set,
                out_dir=str(plan.out_dir),
            ),
            "measure",
            _MEM_GB["measure"],
        )
        workflow.connect(preproc, "done.out", measure, "records")
        workflow.connect(measure, "runs", report, "runs")
        if settings.structure:
            workflow.connect(preproc, "structure.record", report, "structure")
        return workflow
    measure = pe.Node(
        MeasureParticipant(
            runs=list(plan.runs),
            problems=list(plan.problems),
            participant=plan.participant,
            settings=settings,
            out_dir=str(plan.out_dir),
        ),
        name="measure",
        mem_gb=_MEM_GB["measure"],
        overwrite=True,
    )
    workflow.connect(measure, "runs", report, "runs")
    return workflow
