"""Plain values -> one self-contained HTML page per person and per study.

A page needs nothing else: no script, no font, no image from elsewhere. The same values give the
same bytes. Pages are put together in `report_person` and `report_group`; figures come from
`figures`, words from `wording`, the order of sections from ``templates/*.html``.
"""

from pathlib import Path

from circuitshift.pipeline.report_group import group_page
from circuitshift.pipeline.report_parts import (
    GroupReport,
    Others,
    PersonReport,
    Removed,
    RunQuality,
    SessionEdges,
    render,
)
from circuitshift.pipeline.report_person import person_page
from circuitshift.pipeline.tables import write_text

__all__ = [
    "GroupReport",
    "Others",
    "PersonReport",
    "Removed",
    "RunQuality",
    "SessionEdges",
    "write_group_report",
    "write_person_report",
]


def write_person_report(path: Path, report: PersonReport) -> None:
    """Write the page of one person.

    Parameters
    ----------
    path : Path
    report : PersonReport
    """
    write_text(path, render("person.html", person_page(report)))


def write_group_report(path: Path, report: GroupReport) -> None:
    """Write the page of one study.

    Parameters
    ----------
    path : Path
    report : GroupReport
    """
    write_text(path, render("group.html", group_page(report)))
