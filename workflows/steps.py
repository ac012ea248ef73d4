"""Every step, on one page, in running order."""

from circuitshift.pipeline import collect, collect_group, group, measure
from circuitshift.pipeline.preproc import person
from circuitshift.workflows.step import step

__all__ = [
    "EstimateRunMotion",
    "MeasurePerson",
    "MeasurePreprocessed",
    "PreparePersonAnatomy",
    "PreprocessRun",
    "ReportGroup",
    "ReportPerson",
    "RunGroup",
]

PreparePersonAnatomy = step(person.prepare_person_anatomy)
EstimateRunMotion = step(person.estimate_run_motion)
PreprocessRun = step(person.preprocess_run)
MeasurePreprocessed = step(person.measure_preprocessed)
MeasurePerson = step(measure.measure_person)
ReportPerson = step(collect.report_person)
RunGroup = step(group.run_group)
ReportGroup = step(collect_group.report_group)
