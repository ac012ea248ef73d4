"""Add the comparison of the protocol, and copies of data, to the resolution of a study."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from circuitshift.pipeline.study.protocol.acquired import read_acquired
from circuitshift.pipeline.study.protocol.compare import compare_protocol
from circuitshift.pipeline.study.protocol.copies import copied_runs
from circuitshift.pipeline.study.resolution.records import Columns, Observed, Resolution
from circuitshift.pipeline.study.study_file import Design

__all__ = ["add_protocol"]


def add_protocol(
    resolution: Resolution, observed: Observed, rows: Iterable[Mapping[str, str]]
) -> Resolution:
    """Compare the protocol of the measured runs, and refuse a study that contains copies.

    Parameters
    ----------
    resolution : Resolution
        Resolution of the study from its tables.
    observed : Observed
        The facts from which it was resolved.
    rows : iterable of mapping
        Rows of `circuitshift.pipeline.study.members.GroupInput`.

    Returns
    -------
    Resolution
        With warnings and notes about the protocol and their record. If data of participants with a
        role occur twice, the study is refused.
    """
    runs, design = read_acquired(rows), resolution.design
    if design is None:
        return replace(resolution, refusals=(*resolution.refusals, *copied_runs(runs)))
    persons = {run.person for run in runs}
    own = dict(resolution.roles)
    roles = {person: _role(person, own, observed, design) for person in persons}
    copies = copied_runs(runs, [person for person, role in roles.items() if role == "none"])
    if copies:
        return replace(resolution, design=None, refusals=copies)
    found = compare_protocol(runs, roles, (design.baseline, design.followup), dict(design.labels))
    return replace(
        resolution,
        warnings=(*resolution.warnings, *found.warnings),
        notes=(*resolution.notes, *found.notes),
        protocol={
            **found.record,
            "warnings": list(found.warnings),
            "notes": list(found.notes),
        },
    )


def _role(person: str, own: Mapping[str, str], observed: Observed, design: Design) -> str:
    """Return the role of a participant of any data set."""
    data_set, _, label = person.rpartition(":")
    if not data_set:
        return own.get(person, "none")
    columns: Columns = observed.reference.get(data_set, {})
    row = {name: texts[label] for name, texts in columns.items() if label in texts}
    return design.role_of(row, label=f"sub-{label}", data_set=data_set)
