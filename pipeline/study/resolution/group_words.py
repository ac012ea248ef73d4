"""Recognise the role of a group from its name, in words that have one meaning in the field."""

import re
from typing import Literal

from circuitshift.pipeline.study.resolution.records import normal_form

__all__ = ["Word", "is_arm_column", "is_code", "is_diagnosis_column", "word_of"]

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
    r"^(arm|arms|group|groups|treatment|treated|trt|tx|intervention|therapy|allocation|allocated|"
    r"assignment|assigned|randomi[sz]ation|randomi[sz]ed|condition|rx|drug|placebo|sham|verum|dose)$"
)
_DIAGNOSIS_WORDS = re.compile(
    r"^(diagnosis|dx|diag|patient|patients|case|control|controls|hc|healthy|clinical|status)$"
)
_CODE = re.compile(r"^([a-z]|-?\d+(\.\d+)?|yes|no|true|false)$")


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


def is_code(text: str) -> bool:
    """Return whether a cell is a code: a number, a letter, yes or no, true or false.

    Parameters
    ----------
    text : str
    """
    return _CODE.match(normal_form(text)) is not None


def is_diagnosis_column(name: str) -> bool:
    """Return whether the name of a column states that it separates patients from others.

    Parameters
    ----------
    name : str
        For example ``diagnosis``, ``patient`` or ``dx_status``.
    """
    return any(_DIAGNOSIS_WORDS.match(word) for word in _words(name))


def is_arm_column(name: str) -> bool:
    """Return whether the name of a column states that it contains the arm of a trial.

    Parameters
    ----------
    name : str
        For example ``arm``, ``treatment_group`` or ``RandomisationArm``.
    """
    return any(_ARM_WORDS.match(word) for word in _words(name))


def _words(name: str) -> list[str]:
    """Split the name of a column into words in lower case."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.split(r"[\W_]+", spaced.lower())
