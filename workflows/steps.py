"""Every step, on one page, in running order."""

from circuitshift.pipeline import collect, group, measure
from circuitshift.workflows.step import step

__all__ = ["MeasurePerson", "ReportGroup", "ReportPerson", "RunGroup"]

MeasurePerson = step(measure.measure_person)
ReportPerson = step(collect.report_person)
RunGroup = step(group.run_group)
ReportGroup = step(collect.report_group)
