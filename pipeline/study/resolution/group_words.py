"""Recognise the role of a group from its name, in words that have one meaning in the field."""

import re
from typing import Literal

from circuitshift.pipeline.study.resolution.records import normal_form

__all__ = [
    "Word",
    "is_arm_column",
    "is_arm_name",
    "is_code",
    "is_diagnosis_column",
    "is_exclusion_column",
    "is_order_column",
    "may_be_arm_column",
    "mentions_role",
    "word_of",
]

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
# All words must belong to the name of a healthy group: "healthy ketamine" is an arm.
_HEALTHY = re.compile(
    r"(?=.*\bhealthy)(\b(healthy|healthycontrols?|normals?|controls?|comparisons?|reference|groups?|"
    r"hcs?|hv|participants?|volunteers?|subjects?|individuals?|persons?|people|adults?|older|young|"
    r"elderly|men|women|youths?|adolescents?|children|matched|age)\b|[\s(),])+|"
    r"hcs?|hv|nc|normal|normals|norm|reference|normal controls?"
)
_CONTROL = frozenset({"control", "controls", "ctrl", "ctl", "con", "control group"})
# Words that join, deny or compare, so that one role in the name does not settle it: "not healthy",
# "placebo then drug", "MBCT + TAU", "drug (sham-controlled)".
_JOINING = re.compile(
    r"[+&/>→|?*]|\b(and|or|then|to|vs|versus|than|plus|with|after|before|first|second|compared|"
    r"controlled|add on|adjunctive|drug|verum|follow(?:ed|ing)|not|non|never|without|un|"
    r"switch(?:ed)?|received?|relatives?|siblings?|twins?)\b|\bno (?!treatment)"
)
_HEALTHY_WORD = re.compile(r"\b(hc|hcs|hv|healthy)\b")
_ARM = (
    r"arms?|groups?|grp|gruppe|groupe|grupo|gruppo|treatment|treated|treat|trt|tx|intervention|"
    r"therapy|allocation|allocated|assignment|assigned|randomi[sz]ation|randomi[sz]ed|condition|rx|"
    r"drug|placebo|sham|verum|dose"
)
# A word for arms alone, several written as one word, or one with a number: studyarm, armcd, group1.
_ARM_WORDS = re.compile(rf"^(study|trial|exp|rand)?({_ARM})({_ARM})?(cd|code|id|name|no|nr)?\d*$")
_POSSIBLE_ARM_WORDS = re.compile(
    r"^(cohort|medication|meds?|stim|stimulation|r?tms|tdcs|regimen|subgroup|protocol|exposure|"
    r"program|programme|blind|blinding|unblinding)\d*$"
)
_EXCLUSION_WORDS = re.compile(
    r"^(excl|exclude|excluded|exclusion|incl|include|included|inclusion|dropout|withdrawn|withdrawal|"
    r"completer|completed|discontinued)$"
)
_ORDER_WORDS = re.compile(
    r"^(order|sequence|seq|first|second|period|crossover|counterbalanc\w*)\d*$"
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
        and names of diagnoses, and for names that join, deny or compare (``not healthy``,
        ``placebo then drug``, ``healthy placebo``).
    """
    plain = normal_form(text)
    if plain in _TREATED:
        return "treated"
    if _JOINING.search(plain):
        return ""
    if _UNTREATED.search(plain):
        return "" if _HEALTHY_WORD.search(plain) else "control"
    if _HEALTHY.fullmatch(plain):
        return "reference"
    if plain in _CONTROL:
        return "control?"
    return ""


def mentions_role(text: str) -> bool:
    """Return whether a name contains a word for an untreated or healthy group.

    Parameters
    ----------
    text : str
        For example ``HC placebo`` or ``not healthy``, whose roles are not clear.
    """
    plain = normal_form(text)
    return bool(_UNTREATED.search(plain) or _HEALTHY_WORD.search(plain) or word_of(text))


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


def is_arm_name(name: str) -> bool:
    """Return whether all words of a name are words for arms.

    Parameters
    ----------
    name : str
        For example ``group``, ``study_arm`` or ``treatment_group``, but not ``drug_level``.
    """
    words = [word for word in _words(name) if word not in ("study", "trial", "id", "code", "name")]
    return bool(words) and all(_ARM_WORDS.match(word) for word in words)


def may_be_arm_column(name: str) -> bool:
    """Return whether a column may contain arms or something else, such as a cohort.

    Parameters
    ----------
    name : str
        For example ``cohort``, ``medication`` or ``stimulation``.
    """
    return any(_POSSIBLE_ARM_WORDS.match(word) for word in _words(name))


def is_exclusion_column(name: str) -> bool:
    """Return whether the name of a column states that it marks participants to leave out.

    Parameters
    ----------
    name : str
        For example ``exclude``, ``included`` or ``dropout``.
    """
    return any(_EXCLUSION_WORDS.match(word) for word in _words(name))


def is_order_column(name: str) -> bool:
    """Return whether the name of a column states that it contains an order of treatments.

    Parameters
    ----------
    name : str
        For example ``order``, ``treatment_sequence`` or ``first_drug``.
    """
    return any(_ORDER_WORDS.match(word) for word in _words(name))


def _words(name: str) -> list[str]:
    """Split the name of a column into words in lower case."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.split(r"[\W_]+", spaced.lower())
