"""Nipype interfaces of all processing steps, in the order in which they run."""

from circuitshift.pipeline.measure import person as measure
from circuitshift.pipeline.measure.person import measure_preprocessed
from circuitshift.pipeline.preproc import person
from circuitshift.pipeline.reports.person import inputs as collect
from circuitshift.pipeline.reports.study import inputs as collect_group
from circuitshift.pipeline.study import group_level as group
from circuitshift.workflows.engine.step import step

__all__ = [
    "CoregisterRuns",
    "EstimateRunMotion",
    "MeasureParticipant",
    "MeasureParticipantStructure",
    "MeasurePreprocessed",
    "PrepareParticipantAnatomy",
    "PreprocessRun",
    "ReportGroup",
    "ReportParticipant",
    "RunGroup",
]

PrepareParticipantAnatomy = step(person.prepare_participant_anatomy)
EstimateRunMotion = step(person.estimate_run_motion)
CoregisterRuns = step(person.coregister_runs)
PreprocessRun = step(person.preprocess_run)
MeasureParticipantStructure = step(person.measure_participant_structure)
MeasurePreprocessed = step(measure_preprocessed)
MeasureParticipant = step(measure.measure_participant)
ReportParticipant = step(collect.report_participant)
RunGroup = step(group.run_group)
ReportGroup = step(collect_group.report_group)
