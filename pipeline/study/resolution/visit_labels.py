"""Read the time of a visit from its session label.

A label is understood only if all of it consists of words of a fixed vocabulary and numbers. Labels
that contain any other word are not understood, so that for example ``postpartum`` is not taken for
a visit after treatment.
"""

import re
from dataclasses import dataclass

__all__ = ["LabelTime", "read_label"]

_BEFORE = ("pretreatment", "pre", "baseline", "base", "bl", "before", "screening", "screen")
_AFTER = (
    "posttreatment",
    "post",
    "followup",
    "follow",
    "fup",
    "fu",
    "after",
    "endpoint",
)
_UNITS = {
    "day": 1.0,
    "d": 1.0,
    "week": 7.0,
    "wk": 7.0,
    "w": 7.0,
    "month": 30.4375,
    "mon": 30.4375,
    "mo": 30.4375,
    "m": 30.4375,
    "year": 365.25,
    "yr": 365.25,
    "y": 365.25,
}
_ORDINALS = (
    "session",
    "ses",
    "visit",
    "timepoint",
    "time",
    "wave",
    "scan",
    "mri",
    "fmri",
    "tp",
    "t",
    "v",
    "s",
)
_NEUTRAL = ("treatment", "drug", "tx", "rx", "up", "arm", "of")
_WORDS = {
    **dict.fromkeys(_BEFORE, "before"),
    **dict.fromkeys(_AFTER, "after"),
    **dict.fromkeys(_UNITS, "unit"),
    **{f"{unit}s": "unit" for unit in _UNITS if len(unit) > 1},
    **dict.fromkeys(_ORDINALS, "ordinal"),
    **dict.fromkeys(_NEUTRAL, "neutral"),
}
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class LabelTime:
    """The time that a session label states.

    Parameters
    ----------
    phase : {"before", "after", ""}
        Relation to treatment, if the label states it.
    days : float or None
        Days since the start, if the label states a number of days, weeks, months or years.
    number : int or None
        Number of the visit, if the label has a number without a unit.
    prefix : str
        Words before `number`, for example ``visit``; numbers are compared within a prefix.
    words : str
        The recognised words, for messages.
    """

    phase: str
    days: float | None
    number: int | None
    prefix: str
    words: str


def read_label(label: str) -> LabelTime | None:
    """Read the time of a visit from its session label.

    Parameters
    ----------
    label : str
        Label without ``ses-``, for example ``pre``, ``week4``, ``3months``, ``02`` or
        ``2YearFollowUpYArm1``.

    Returns
    -------
    LabelTime or None
        None if the label contains anything other than words of the vocabulary and numbers, if it
        states both a time before and after treatment, or if it contains words only that state no
        time.
    """
    tokens = _tokens(label.lower())
    if tokens is None:
        return None
    kinds = [_WORDS.get(token, "number") for token in tokens]
    phases = {kind for kind in kinds if kind in ("before", "after")}
    if len(phases) > 1:
        return None
    days, used = _days(tokens, kinds)
    numbers = [
        int(token)
        for k, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind == "number" and k not in used and not (k and tokens[k - 1] == "arm")
    ]
    # A number orders visits only beside a word for visits: drug1 and drug2 are two treatments.
    is_ordinal = bool(phases) or set(kinds) <= {"number"} or "ordinal" in kinds
    number = numbers[0] if len(numbers) == 1 and days is None and is_ordinal else None
    if not phases and days is None and number is None:
        return None
    words = [t for t, kind in zip(tokens, kinds, strict=True) if kind not in ("number", "neutral")]
    prefix = "".join(t for t, kind in zip(tokens, kinds, strict=True) if kind != "number")
    return LabelTime("".join(phases), days, number, prefix, " ".join(words))


def _tokens(text: str) -> list[str] | None:
    """Split a label into words of the vocabulary and numbers; None if that is impossible."""
    if not text:
        return []
    number = _NUMBER.match(text)
    if number:
        rest = _tokens(text[number.end() :])
        return None if rest is None else [number[0], *rest]
    for word in sorted(_WORDS, key=len, reverse=True):
        if text.startswith(word):
            rest = _tokens(text[len(word) :])
            if rest is not None:
                return [word, *rest]
    return None


def _days(tokens: list[str], kinds: list[str]) -> tuple[float | None, set[int]]:
    """Find the number that belongs to a unit of time, before it (2 years) or after it (week 4)."""
    for k, kind in enumerate(kinds):
        if kind != "unit":
            continue
        unit = tokens[k].rstrip("s") if tokens[k] not in _UNITS else tokens[k]
        # In V2W8 and arm1week4, the number before the unit belongs to the word before it.
        is_taken = k >= 2 and (kinds[k - 2] == "ordinal" or tokens[k - 2] == "arm")
        for place in (k + 1, k - 1) if is_taken else (k - 1, k + 1):
            if 0 <= place < len(tokens) and kinds[place] == "number":
                return int(tokens[place]) * _UNITS[unit], {place}
    return None, set()
