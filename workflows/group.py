"""Workflow of the group level, which analyses the study and writes its report."""

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
    """Build the workflow of the group level.

    Parameters
    ----------
    data_sets : sequence of DataSet
        Data sets with results of the participant level; the main data set comes first.
    stated : StudyFile
        Contents of the study file.
    settings : AnalysisSettings
        Settings that affect the results.
    execution : ExecutionSettings
        Settings that affect speed only; the workflow uses its scratch folder and number of
        processes.
    out_dir : Path
        Root of the output data set.
    ratings : Path, optional
        Folder with rating files. By default, the folder ``ratings`` in `out_dir` is used.
    reports_only : bool, default: False
        Whether to write the report without repeating the analysis.
    name : str, default: "group_wf"
        Name of the workflow.

    Returns
    -------
    Workflow
        Workflow with the nodes ``analyse`` and ``report``.
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
