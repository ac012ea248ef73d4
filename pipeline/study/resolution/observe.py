"""Collect the facts about data sets from which a design is resolved."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from circuitshift.pipeline.bids.participants import ParticipantTable
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.study.resolution.group_words import is_arm_name
from circuitshift.pipeline.study.resolution.records import Columns, Observed, normal_form

__all__ = ["acquisition_days", "observe"]

_SECONDS_PER_DAY = 86400.0


def observe(
    sessions: Mapping[str, Sequence[str]], participants: Mapping[str, ParticipantTable]
) -> Observed:
    """Collect the facts about the data sets of a study.

    Parameters
    ----------
    sessions : mapping of str to sequence of str
        Labels of the sessions with data, by participant of the main data set.
    participants : mapping of str to ParticipantTable
        Tables of each data set, by its name; the main data set has the empty name.

    Returns
    -------
    Observed
    """
    main = participants[""]
    scores = {name: frozenset(values) for name, values in main.visits.items()}
    return Observed(
        sessions={p: tuple(sorted(set(labels))) for p, labels in sorted(sessions.items())},
        columns=_columns(main),
        reference={name: _columns(table) for name, table in participants.items() if name},
        scores=scores,
        levels=main.levels,
        doubtful=main.doubtful,
        doubtful_scores=main.doubtful_scores,
        dates=acquisition_days(main, sessions),
        arms_elsewhere=tuple(
            name for name, values in main.visits.items() if is_arm_name(name) and _divides(values)
        ),
        refusals=tuple(problem for table in participants.values() for problem in table.refusals),
    )


def _divides(values: Mapping[tuple[str, str], str]) -> bool:
    """Return whether the values of a score by session divide the participants."""
    visits: dict[str, set[str]] = {}
    for (_, session), text in values.items():
        visits.setdefault(session, set()).add(normal_form(text))
    return any(len(texts) > 1 for texts in visits.values())


def _columns(table: ParticipantTable) -> Columns:
    return {
        name: dict(zip(table.labels, values, strict=True)) for name, values in table.columns.items()
    }


def acquisition_days(
    participants: ParticipantTable, sessions: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], float]:
    """Return the day of acquisition of each visit, from ``acq_time``.

    Dates are read from sessions.tsv and, for visits without one, from scans.tsv, in which the
    earliest functional image counts (the earliest file if none is functional). Shifted dates, as
    BIDS recommends for privacy, keep the order of the visits of a participant.

    Parameters
    ----------
    participants : ParticipantTable
        Table of the data set; scans.tsv files are searched below its folder.
    sessions : mapping of str to sequence of str
        Labels of the sessions with data, by participant.

    Returns
    -------
    dict of (str, str) to float
        Days by participant and session. Visits without a valid date are omitted.
    """
    root = participants.folder
    stated = participants.visits.get("acq_time", {})
    out = {}
    for participant, labels in sessions.items():
        for session in labels:
            day = _day(stated.get((participant, session), ""))
            if day is None:
                day = _day_of_scans(root, participant, session)
            if day is not None:
                out[participant, session] = day
    return out


def _day_of_scans(root: Path, participant: str, session: str) -> float | None:
    """Return the earliest day of a scans.tsv; None if there is no valid date."""
    folder = root / f"sub-{participant}"
    stem = f"sub-{participant}"
    if session:
        folder, stem = folder / f"ses-{session}", f"{stem}_ses-{session}"
    path = folder / f"{stem}_scans.tsv"
    if not path.is_file():
        return None
    try:
        rows = list(_rows(path))
    except CircuitshiftError:
        return None  # dates are optional, and a damaged table must not stop the study
    days = {name: _day(text) for name, text in rows}
    functional = [day for name, day in days.items() if day is not None and "func/" in name]
    available = functional or [day for day in days.values() if day is not None]
    return min(available, default=None)


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """Yield file name and date of each row of a scans.tsv."""
    lines = [line.split("\t") for line in tables.read_text(path).splitlines() if line.strip()]
    if not lines or "filename" not in lines[0] or "acq_time" not in lines[0]:
        return
    name, date = lines[0].index("filename"), lines[0].index("acq_time")
    for cells in lines[1:]:
        if len(cells) > max(name, date):
            yield cells[name], cells[date]


def _day(text: str) -> float | None:
    """Convert a date of BIDS to days; None if it is missing or invalid."""
    plain = text.strip().removesuffix("Z")
    try:
        moment = datetime.fromisoformat(plain).replace(tzinfo=None)
    except ValueError:
        return None
    return (moment - datetime(1800, 1, 1)).total_seconds() / _SECONDS_PER_DAY
