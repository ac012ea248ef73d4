"""What people who looked at the pages decided: small files that the group level reads.

The page of a person saves ``sub-X[_ses-Y][_rater-Z]_rating.json``; it goes into the folder
``ratings`` of the outputs. What a rating does is decided in `circuitshift.pipeline.study.quality`.
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

#: Folder of the outputs where ratings are looked for.
FOLDER = "ratings"
Kind = Literal["keep", "doubt", "exclude"]
#: What can be said of a person or a session.
RATINGS: tuple[Kind, ...] = get_args(Kind)
#: Keys of a rating file, and what they mean.
KEYS: dict[str, str] = {
    "participant_id": "sub-X, or NAME:sub-X for a person of another data set",
    "session_id": "ses-Y; n/a for all sessions",
    "rating": "keep, doubt or exclude",
    "note": "Why, in words",
    "rater": "Who rated",
    "rated": "When, ISO 8601",
    "page": "Inputs hash of the page that was looked at",
}
_NEEDED = ("participant_id", "rating")


@dataclass(frozen=True, slots=True)
class Rating:
    """One judgement of one person, or of one session of his.

    Parameters
    ----------
    person : str
        Label without ``sub-``; with the data set's name before a colon when it is another.
    session : str
        Label without ``ses-``; empty for all sessions.
    rating : {"keep", "doubt", "exclude"}
    rater, note : str
        May be empty.
    rated : str
        When, ISO 8601; may be empty.
    """

    person: str
    session: str
    rating: Kind
    rater: str = ""
    note: str = ""
    rated: str = ""

    def said(self) -> str:
        """Say who rated what, when and why, in one sentence."""
        who = self.rater or "an unnamed rater"
        when = f" on {self.rated[:10]}" if self.rated else ""
        why = f": {self.note}" if self.note else ", without a note"
        return f"rated {self.rating} by {who}{when}{why}"


def read_ratings(folder: Path) -> tuple[Rating, ...]:
    """Read every rating file of a folder.

    Of several ratings of the same person and session by the same rater the latest counts, by
    ``rated``.

    Parameters
    ----------
    folder : Path
        Nothing is read when it is not there. Names of files do not matter (browsers change
        them), their end ``.json`` does, in small or large letters.

    Returns
    -------
    tuple of Rating
        Sorted by person and session.

    Raises
    ------
    FaultsError
        If files cannot be understood; names all of them.
    """
    latest: dict[tuple[str, str, str], Rating] = {}
    problems: list[InputProblem] = []
    files = folder.iterdir() if folder.is_dir() else ()
    for path in sorted(path for path in files if path.suffix.lower() == ".json"):
        try:
            rating = _rating(tables.read_json(path))
        except CircuitshiftError as error:
            what = str(error).removeprefix(f"{path}: ")
            problems.append(
                InputProblem(str(path), what, "save it again from the page, or remove it")
            )
            continue
        key = (rating.person, rating.session, rating.rater)
        if key not in latest or _time(latest[key].rated) <= _time(rating.rated):
            latest[key] = rating
    if problems:
        raise InputProblemsError(f"ratings in {folder} cannot be used", problems)
    return tuple(latest[key] for key in sorted(latest))


def of_participant(ratings: tuple[Rating, ...], person: str) -> tuple[Rating, ...]:
    """Return the ratings of one person, all sessions."""
    return tuple(rating for rating in ratings if rating.person == person)


def _rating(content: Mapping[str, Any]) -> Rating:
    text = {key: _text(content, key) for key in KEYS}
    missing = [key for key in _NEEDED if not text[key]]
    if missing:
        raise InputError(f"it lacks {', '.join(missing)}")
    if text["rating"] not in RATINGS:
        raise InputError(f"its rating is {text['rating']!r}, not one of {', '.join(RATINGS)}")
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
        raise InputError(f"its {key} is {value!r}, which is no text")
    text = " ".join(value.split())
    return "" if text == tables.NOT_AVAILABLE else text


def _time(text: str) -> datetime:
    """Moment of a rating; the earliest when it says none that can be read."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
