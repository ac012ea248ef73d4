"""The participant level: one small workflow per person, none depends on another."""

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
    EstimateRunMotion,
    MeasureParticipant,
    MeasurePreprocessed,
    PrepareParticipantAnatomy,
    PreprocessRun,
    ReportParticipant,
)

__all__ = ["init_participant_wf", "init_preproc_wf", "init_single_participant_wf"]

#: Resources of a node, GB: streaming keeps one block of volumes; figures need more.
_MEM_GB = {"measure": 0.5, "report": 0.5, "anatomy": 2.5}


def init_participant_wf(
    participants: Sequence[ParticipantPlan],
    settings: AnalysisSettings,
    execution: ExecutionSettings,
    *,
    reports_only: bool = False,
    preproc_only: bool = False,
    name: str = "participant_wf",
) -> pe.Workflow:
    """Build the participant level.

    Parameters
    ----------
    participants : sequence of PersonPlan
    settings : AnalysisSettings
    execution : Machine
    reports_only : bool
        Leave measuring out.
    preproc_only : bool
        Stop after preprocessing; people who need none are left out.
    name : str

    Returns
    -------
    Workflow
        Without edges between people, so that one person's failure stops nobody else.
    """
    workflow = pe.Workflow(name=name, base_dir=str(execution.work_dir))
    if preproc_only:
        made = [
            init_preproc_wf(p, settings, name=p.node_name)
            for p in participants
            if p.raw is not None
        ]
    else:
        made = [
            init_single_participant_wf(person, settings, reports_only=reports_only)
            for person in participants
        ]
    workflow.add_nodes(made)
    return workflow


def init_preproc_wf(
    person: ParticipantPlan, settings: AnalysisSettings, *, name: str = "preproc_wf"
) -> pe.Workflow:
    """Build the preprocessing of one person: anatomy beside head motion, then each run.

    Parameters
    ----------
    person : PersonPlan
        With raw images.
    settings : AnalysisSettings
    name : str

    Returns
    -------
    Workflow
        Its node ``done`` lists the records of all runs.
    """
    workflow = pe.Workflow(name=name)
    raw = person.raw
    assert raw is not None  # noqa: S101 - callers see to it
    out_dir = str(person.preproc_dir)
    anatomy = _node(
        PrepareParticipantAnatomy(
            anats=list(raw.anats),
            participant=person.participant,
            template=settings.template,
            out_dir=out_dir,
        ),
        "anatomy",
        _MEM_GB["anatomy"],
    )
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
        workflow.connect(motion, "record", run, "motion")
        workflow.connect(run, "record", done, f"in{number}")
    return workflow


def _node(interface: SimpleInterface, name: str, mem_gb: float) -> pe.Node:
    return pe.Node(interface, name=name, mem_gb=mem_gb, overwrite=True)


def _run_gb(bold: RawBold) -> float:
    """Memory of a run as floats and as read, GB."""
    return 0.5 + 8e-9 * bold.n_volumes * math.prod(bold.grid)


def init_single_participant_wf(
    person: ParticipantPlan, settings: AnalysisSettings, *, reports_only: bool = False
) -> pe.Workflow:
    """Build the workflow of one person: measure, then report.

    Whether an output is still valid is decided from the output itself (its recorded inputs, code
    and settings), so nodes always run and skip what is done: deleting the work folder loses
    nothing, and deleting an output brings it back.

    Parameters
    ----------
    person : PersonPlan
    settings : AnalysisSettings
    reports_only : bool
        Leave measuring out.

    Returns
    -------
    Workflow
    """
    workflow = pe.Workflow(name=person.node_name)
    report = pe.Node(
        ReportParticipant(
            participant=person.participant,
            settings=settings,
            out_dir=str(person.out_dir),
            again=reports_only,
        ),
        name="report",
        mem_gb=_MEM_GB["report"],
        overwrite=True,
    )
    if reports_only:
        workflow.add_nodes([report])
        return workflow
    if person.raw is not None:
        preproc = init_preproc_wf(person, settings)
        after = _node(
            MeasurePreprocessed(
                problems=list(person.problems),
                participant=person.participant,
                settings=settings,
                preproc_dir=str(person.preproc_dir),
                data_set=person.data_set,
                out_dir=str(person.out_dir),
            ),
            "measure",
            _MEM_GB["measure"],
        )
        workflow.connect(preproc, "done.out", after, "records")
        workflow.connect(after, "runs", report, "runs")
        return workflow
    measure = pe.Node(
        MeasureParticipant(
            runs=list(person.runs),
            problems=list(person.problems),
            participant=person.participant,
            settings=settings,
            out_dir=str(person.out_dir),
        ),
        name="measure",
        mem_gb=_MEM_GB["measure"],
        overwrite=True,
    )
    workflow.connect(measure, "runs", report, "runs")
    return workflow
