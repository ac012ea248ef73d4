"""The group level: analyse, then report."""

from collections.abc import Sequence
from pathlib import Path

from nipype.pipeline import engine as pe

from circuitshift.pipeline.records import AnalysisSettings, ExecutionSettings
from circuitshift.pipeline.study.group_level import DataSet
from circuitshift.pipeline.study.study_file import StudyFile
from circuitshift.workflows.steps import ReportGroup, RunGroup

__all__ = ["init_group_wf"]


def init_group_wf(
    data_sets: Sequence[DataSet],
    stated: StudyFile,
    *,
    settings: AnalysisSettings,
    execution: ExecutionSettings,
    out_dir: Path,
    ratings: Path | None = None,
    reports_only: bool = False,
    name: str = "group_wf",
) -> pe.Workflow:
    """Build the group level.

    Parameters
    ----------
    data_sets : sequence of DataSet
        The main one first.
    stated : StudyFile
    settings : AnalysisSettings
    execution : Machine
    out_dir : Path
        Root of the output data set.
    ratings : Path, optional
        Folder of rating files, when it is not ``ratings`` of `out_dir`.
    reports_only : bool
        Leave the analysis out.
    name : str

    Returns
    -------
    Workflow
    """
    workflow = pe.Workflow(name=name, base_dir=str(execution.work_dir))
    report = pe.Node(
        ReportGroup(out_dir=str(out_dir), again=reports_only),
        name="report",
        mem_gb=1,
        overwrite=True,
    )
    if reports_only:
        workflow.add_nodes([report])
        return workflow
    analyse = pe.Node(
        RunGroup(data_sets=list(data_sets), stated=stated, settings=settings, out_dir=str(out_dir)),
        name="analyse",
        mem_gb=2,
        n_procs=execution.n_procs,
        overwrite=True,
    )
    if ratings is not None:
        analyse.inputs.ratings = str(ratings)
    workflow.connect(analyse, "verdict", report, "verdict")
    return workflow
