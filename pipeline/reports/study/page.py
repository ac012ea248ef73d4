"""The study report: the list of its sections, and the function that writes the page.

To add a section, write a function that turns a `StudyReport` into blocks and add it to `SECTIONS`.
"""

from pathlib import Path

from circuitshift.pipeline.io.tables import write_text
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import Section, shown_sections
from circuitshift.pipeline.reports.page import render
from circuitshift.pipeline.reports.study.brain import evidence_section, whole_brain_section
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.effects import circuits_section, global_section
from circuitshift.pipeline.reports.study.methods import methods_section
from circuitshift.pipeline.reports.study.participants import participants_section, quality_section
from circuitshift.pipeline.reports.study.secondary import (
    detectable_section,
    moderator_section,
    secondary_section,
    symptom_section,
)
from circuitshift.pipeline.reports.study.sensitivity import regression_section, sensitivity_section
from circuitshift.pipeline.reports.study.verdict import verdict_section

__all__ = ["SECTIONS", "write_study_report"]

#: Sections of the report, in the order of the page.
SECTIONS: tuple[Section[StudyReport], ...] = (
    Section("verdict", "Verdict", verdict_section),
    Section("participants", "Participants", participants_section),
    Section("global", "Global change", global_section),
    Section("circuits", "Circuits", circuits_section),
    Section("evidence", "Evidence for the verdict", evidence_section),
    Section("brain", "Whole brain", whole_brain_section),
    Section("regression", "Regression to the mean", regression_section),
    Section("sensitivity", "Sensitivity analyses", sensitivity_section),
    Section("quality", "Data quality", quality_section),
    Section("symptoms", "Symptoms", symptom_section),
    Section("moderators", "Moderators", moderator_section),
    Section("detectable", "Smallest detectable effects", detectable_section),
    Section("secondary", "Secondary analyses", secondary_section),
    Section("methods", "Methods", methods_section),
)


def write_study_report(path: Path, report: StudyReport) -> None:
    """Write the report of one study.

    Parameters
    ----------
    path : Path
        File to write.
    report : StudyReport
        Data of the report.
    """
    page = render(
        shown_sections(SECTIONS, report),
        title=f"Study: {wording.headline(str(report.verdict.get('verdict')))}",
        heading="Is the change of connectivity global or circuit-specific?",
        style="study.css",
    )
    write_text(path, page)
