"""The participant report: the list of its sections, and the function that writes the page.

To add a section, write a function that turns a `ParticipantReport` into blocks and add it to
`SECTIONS`.
"""

from dataclasses import replace
from pathlib import Path

from circuitshift.pipeline.io.tables import write_text
from circuitshift.pipeline.reports.blocks import Section, shown_sections
from circuitshift.pipeline.reports.page import in_time, render
from circuitshift.pipeline.reports.person.connectivity import circuits_section, connectivity_section
from circuitshift.pipeline.reports.person.content import ParticipantReport
from circuitshift.pipeline.reports.person.methods import methods_section
from circuitshift.pipeline.reports.person.preprocessing import preprocessing_section
from circuitshift.pipeline.reports.person.runs import (
    carpet_section,
    coverage_section,
    motion_section,
    retained_section,
    seed_section,
)
from circuitshift.pipeline.reports.person.structure import structure_section
from circuitshift.pipeline.reports.person.summary import (
    errors_section,
    rating_section,
    summary_section,
)

__all__ = ["SECTIONS", "write_participant_report"]

#: Sections of the report, in the order of the page.
SECTIONS: tuple[Section[ParticipantReport], ...] = (
    Section("summary", "Summary", summary_section),
    Section("errors", "Errors and exclusions", errors_section),
    Section("rating", "Rating", rating_section),
    Section("preprocessing", "Preprocessing", preprocessing_section),
    Section("structure", "Structure of each session", structure_section),
    Section("motion", "Motion", motion_section),
    Section("retained-data", "Retained data", retained_section),
    Section("coverage", "Coverage and signal", coverage_section),
    Section("carpets", "Carpet plots", carpet_section),
    Section("connectivity", "Connectivity", connectivity_section),
    Section("circuits", "Circuits", circuits_section),
    Section("seeds", "Seed maps", seed_section),
    Section("methods", "Methods", methods_section),
)


def write_participant_report(path: Path, report: ParticipantReport) -> None:
    """Write the report of one participant.

    Parameters
    ----------
    path : Path
        File to write.
    report : ParticipantReport
        Data of the report, with runs and sessions in any order; the page shows them in the order
        of time.
    """
    title = f"sub-{report.participant}: quality and connectivity"
    page = render(shown_sections(SECTIONS, _sorted_in_time(report)), title=title)
    write_text(path, page)


def _sorted_in_time(report: ParticipantReport) -> ParticipantReport:
    times = in_time([*(r.session for r in report.runs), *(e.session for e in report.edges)])
    runs = sorted(report.runs, key=lambda run: times.index(run.session))
    order = {run.label: k for k, run in enumerate(runs)}
    return replace(
        report,
        runs=tuple(runs),
        edges=tuple(sorted(report.edges, key=lambda edges: times.index(edges.session))),
        removed=tuple(sorted(report.removed, key=lambda found: order.get(found.run, len(order)))),
    )
