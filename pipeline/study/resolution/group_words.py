"""Recognise the role of a group from its name, in words that have one meaning in the field."""

import re
from typing import Literal

from circuitshift.pipeline.study.resolution.records import normal_form

__all__ = ["Word", "is_arm_column", "word_of"]

#: Role that a name states; ``control?`` may be an untreated arm or a healthy group.
Word = Literal["treated", "control", "reference", "control?", ""]

_TREATED = frozenset(
    {
        "active",
        "active drug",
        "active medication",
        "active treatment",
        "drug",
        "experimental",
        "intervention",
        "treated",
        "treatment",
        "verum",
    }
)
_UNTREATED = re.compile(
    r"\b(placebo|sham|wait ?list|waiting ?list|waitlisted|untreated|no ?treatment|not treated|"
    r"treatment as usual|tau)\b"
)
_HEALTHY = re.compile(
    r"\bhealthy\b|^(hc|hcs|hv|nc|healthycontrols?|normal|normals|norm|reference|normal controls?)$"
)
_CONTROL = frozenset({"control", "controls", "ctrl", "ctl", "con", "control group"})
_ARM_WORDS = re.compile(
    r"^(arm|arms|group|groups|treatment|intervention|allocation|allocated|randomi[sz]ation|"
    r"randomi[sz]ed|condition|rx|drug)$"
)


def word_of(text: str) -> Word:
    """Return the role that the name of a group states.

    Parameters
    ----------
    text : str
        Name of a group, in any case and with spaces, hyphens or underscores.

    Returns
    -------
    {"treated", "control", "reference", "control?", ""}
        Empty for names that are not recognised, in particular numbers, letters, names of drugs
        and names of diagnoses.
    """
    plain = normal_form(text)
    if _UNTREATED.search(plain):
        return "control"
    if _HEALTHY.search(plain):
        return "reference"
    if plain in _TREATED:
        return "treated"
    if plain in _CONTROL:
        return "control?"
    return ""


def is_arm_column(name: str) -> bool:
    """Return whether the name of a column states that it contains the arm of a trial.

    Parameters
    ----------
    name : str
        For example ``arm``, ``treatment_group`` or ``RandomisationArm``.
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return any(_ARM_WORDS.match(word) for word in re.split(r"[\W_]+", spaced.lower()))
