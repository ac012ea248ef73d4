"""Read the decisions of raters about the quality of participants and sessions.

A participant report saves a decision as ``sub-X[_ses-Y][_rater-Z]_rating.json``, which the user
moves into the folder ``ratings`` of the outputs. The effect of a rating is defined in
`circuitshift.pipeline.study.quality`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from circuitshift.pipeline.errors import (
    CircuitshiftError,
    InputError,
    InputProblem,
    InputProblemsError,
)
from circuitshift.pipeline.io import tables

__all__ = ["FOLDER", "RATINGS", "Rating", "of_participant", "read_ratings"]

#: Folder of the outputs from which ratings are read by default.
FOLDER = "ratings"
Kind = Literal["keep", "doubt", "exclude"]
#: Possible ratings of a participant or a session.
RATINGS: tuple[Kind, ...] = get_args(Kind)
#: Keys of a rating file and their descriptions.
KEYS: dict[str, str] = {
    "participant_id": "sub-X, or NAME:sub-X for a participant of another data set",
    "session_id": "ses-Y; n/a for all sessions",
    "rating": "keep, doubt or exclude",
    "note": "Reason for the rating",
    "rater": "Name or initials of the rater",
    "rated": "Date and time of the rating, ISO 8601",
    "page": "Inputs hash of the rated report",
}
_REQUIRED = ("participant_id", "rating")


@dataclass(frozen=True, slots=True)
class Rating:
    """One decision of a rater about a participant or a session.

    Parameters
    ----------
    person : str
        Label of the participant without ``sub-``, preceded by ``NAME:`` for a participant of the
        data set NAME that is not the main one.
    session : str
        Session label without ``ses-``; empty for all sessions.
    rating : {"keep", "doubt", "exclude"}
        Decision of the rater.
    rater, note : str
        Name of the rater and reason for the decision; may be empty.
    rated : str
        Date and time of the decision, ISO 8601; may be empty.
    """

    person: str
    session: str
    rating: Kind
    rater: str = ""
    note: str = ""
    rated: str = ""

    def said(self) -> str:
        """Describe the decision with its rater, date and note, as part of a sentence."""
        rater = self.rater or "an unnamed rater"
        date = f" on {self.rated[:10]}" if self.rated else ""
        note = f": {self.note}" if self.note else ", without a note"
        return f"rated {self.rating} by {rater}{date}{note}"


def read_ratings(folder: Path) -> tuple[Rating, ...]:
    """Read all rating files of a folder.

    If a rater rated the same participant and session several times, the rating with the latest
    ``rated`` is used.

    Parameters
    ----------
    folder : Path
        Folder with rating files, which may be absent. All files with the extension ``.json`` in
        lower or upper case are read; other parts of the names are ignored, because browsers change
        them.

    Returns
    -------
    tuple of Rating
        Ratings, sorted by participant, session and rater.

    Raises
    ------
    InputProblemsError
        If files are not valid ratings; the message lists all of them.
    """
    latest: dict[tuple[str, str, str], Rating] = {}
    problems: list[InputProblem] = []
    files = folder.iterdir() if folder.is_dir() else ()
    for path in sorted(path for path in files if path.suffix.lower() == ".json"):
        try:
            rating = _rating(tables.read_json(path))
        except CircuitshiftError as error:
            message = str(error).removeprefix(f"{path}: ")
            remedy = "save the rating again from the participant report, or remove the file"
            problems.append(InputProblem(str(path), message, remedy))
            continue
        key = (rating.person, rating.session, rating.rater)
        if key not in latest or _time(latest[key].rated) <= _time(rating.rated):
            latest[key] = rating
    if problems:
        raise InputProblemsError(f"ratings in {folder} cannot be used", problems)
    return tuple(latest[key] for key in sorted(latest))


def of_participant(ratings: tuple[Rating, ...], person: str) -> tuple[Rating, ...]:
    """Return the ratings of all sessions of one participant."""
    return tuple(rating for rating in ratings if rating.person == person)


def _rating(content: Mapping[str, Any]) -> Rating:
    text = {key: _text(content, key) for key in KEYS}
    missing = [key for key in _REQUIRED if not text[key]]
    if missing:
        raise InputError(f"{', '.join(missing)} is missing")
    if text["rating"] not in RATINGS:
        raise InputError(f"the rating is {text['rating']!r}, not one of {', '.join(RATINGS)}")
    name, _, label = text["participant_id"].rpartition(":")
    label = label.removeprefix("sub-")
    return Rating(
        person=f"{name}:{label}" if name else label,
        session=text["session_id"].removeprefix("ses-"),
        rating=next(kind for kind in RATINGS if kind == text["rating"]),
        rater=text["rater"],
        note=text["note"],
        rated=text["rated"],
    )


def _text(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{key} is {value!r}, which is not text")
    text = " ".join(value.split())
    return "" if text == tables.NOT_AVAILABLE else text


def _time(text: str) -> datetime:
    """Return the time of a rating; the earliest possible time if it is missing or invalid."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
