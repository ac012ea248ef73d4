"""Resolve the order of the visits: which session is before treatment, and which after.

The sources are, in this order, the study file, words and numbers in the session labels, and dates
of acquisition. Alphabetical order is never used.
"""

import re
from collections.abc import Mapping
from typing import Any

from circuitshift.pipeline.errors import InputProblem
from circuitshift.pipeline.study.resolution.group_words import mentions_role, word_of
from circuitshift.pipeline.study.resolution.records import Decision, Observed, Source
from circuitshift.pipeline.study.resolution.visit_labels import LabelTime, read_label

__all__ = ["Visits", "resolve_visits"]

_MAX_LISTED = 12
# Labels of a first visit that are clear only beside one that is after treatment.
_FIRST_LABELS = ("acute", "first", "initial", "intake", "start", "entry", "admission", "inclusion")
# Places between the words of a label: preplacebo, shamPre.
_WORD_BREAK = re.compile(
    r"(?<=[a-z0-9])(?=[A-Z])|(?<=pre)|(?<=post)|(?=pre)|(?=post)|(?<=\d)|(?=\d)"
)


class Visits:
    """The resolved visits, with the grounds, or the reason why they cannot be resolved.

    Parameters
    ----------
    stated : mapping of str to object
        Keys of the study file.
    observed : Observed
    """

    def __init__(self, stated: Mapping[str, Any], observed: Observed) -> None:
        self.baseline = str(stated.get("baseline", ""))
        self.followup = str(stated.get("followup", ""))
        self.decisions: list[Decision] = []
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.refusals: list[InputProblem] = []
        self.stated = stated
        self.observed = observed
        control = {str(stated.get(f"control_{key}", "")) for key in ("baseline", "followup")}
        self.counts = {
            label: n
            for label, n in observed.participants_by_session().items()
            if label not in control or label in (self.baseline, self.followup)
        }
        self.times: dict[str, LabelTime | None] = {
            label: read_label(label) for label in self.counts
        }

    def describe(self, label: str) -> str:
        """Format a session with its number of participants."""
        n = self.counts.get(label, 0)
        return f"ses-{label} ({n} participant{'' if n == 1 else 's'})"

    def decide(self, question: str, label: str, source: Source, reason: str) -> None:
        """Record the answer to a question."""
        if question == "baseline":
            self.baseline = label
        else:
            self.followup = label
        self.decisions.append(Decision(question, self.describe(label), source, reason))

    def refuse(self, what: str, more: str = "") -> None:
        """Refuse to decide, with the lines for the study file and `more` lines."""
        available = ", ".join(self.describe(label) for label in list(self.counts)[:_MAX_LISTED])
        available += ", and others" if len(self.counts) > _MAX_LISTED else ""
        baseline = self.baseline or "..."
        followup = self.followup or "..."
        self.refusals.append(
            InputProblem(
                "sessions",
                f"{what}. Sessions with data: {available or 'none'}",
                f"{self._renaming()}name them in the study file:\n"
                f'[sessions]\nbaseline = "{baseline}"\nfollowup = "{followup}"{more}',
            )
        )

    def _renaming(self) -> str:
        """Say which folders must be renamed, because the study file cannot join sessions."""
        forms: dict[str, list[str]] = {}
        for label in self.counts:
            forms.setdefault(str(int(label)) if label.isdecimal() else label.lower(), []).append(
                label
            )
        alike = [" and ".join(f"ses-{s}" for s in same) for same in forms.values() if same[1:]]
        if alike:
            return f"rename the folders of {'; '.join(alike)}, which may be one session, or "
        own = len(self.counts) > 2 and max(self.counts.values()) == 1 < len(self.observed.sessions)
        if own or len(self.counts) > _MAX_LISTED:
            return (
                "give the same visit the same session label in all participants (dates are not "
                "labels of visits), and "
            )
        return ""


def resolve_visits(stated: Mapping[str, Any], observed: Observed) -> Visits:
    """Decide which session is the baseline and which the follow-up.

    Parameters
    ----------
    stated : mapping of str to object
        Keys of the study file; ``baseline`` and ``followup`` are used if they are stated.
    observed : Observed

    Returns
    -------
    Visits
        `Visits.refusals` is not empty if the labels and dates do not decide.
    """
    visits = Visits(stated, observed)
    for question, label in (("baseline", visits.baseline), ("follow-up", visits.followup)):
        if label:
            reason = "The study file states it."
            visits.decisions.append(Decision(question, visits.describe(label), "stated", reason))
    if visits.baseline and visits.followup:
        _compare_with_dates(visits, is_stated=True)
        _note_unused(visits)
        return visits
    if len(visits.counts) < 2:
        visits.refuse(
            f"a change needs two sessions, and the data have {len(visits.counts)}; check that "
            "sessions are named ses-<label> and that --session-label does not exclude one"
        )
        return visits
    _by_labels(visits)
    if not (visits.baseline and visits.followup) and not visits.refusals:
        _by_dates(visits)
    if not (visits.baseline and visits.followup) and not visits.refusals:
        visits.refuse(
            "the session labels do not state which session is before treatment and which after, "
            "and alphabetical order is not used"
        )
    if not visits.refusals:
        _compare_with_dates(visits, is_stated=False)
        _note_unused(visits)
    return visits


def _by_labels(visits: Visits) -> None:
    """Decide by words and numbers in the labels."""
    if not visits.baseline:
        found = _earliest(visits)
        if found is None:
            return
        visits.decide("baseline", found[0], "recognised", found[1])
    rest = [label for label in visits.counts if label != visits.baseline]
    if visits.followup:
        return
    after = [label for label in rest if _phase(visits, label) == "after"]
    timed = [label for label in rest if _states_other_time(visits, label)]
    placebo = [label for label in rest if _names_control(label)]
    if placebo and len(rest) > 1:
        listed = ", ".join(f"ses-{label}" for label in placebo)
        visits.refuse(
            f"{listed} may be the control condition of a crossover, which the study file must "
            "state (control_baseline and control_followup under [sessions])",
            '\ncontrol_baseline = "..."\ncontrol_followup = "..."',
        )
    elif len(rest) == 1 and _phase(visits, rest[0]) == "before":
        visits.refuse(
            f"ses-{visits.baseline} and ses-{rest[0]} are both before treatment by their labels"
        )
    elif len(rest) == 1 and _phase(visits, rest[0]) == "after":
        reason = f"Its label has a word for a visit after treatment ({rest[0]})."
        visits.decide("follow-up", rest[0], "recognised", reason)
    elif len(rest) == 1:
        reason = f"It is the only session other than the baseline, ses-{visits.baseline}."
        visits.decide("follow-up", rest[0], "counted", reason)
    elif len(after) == 1 and not timed:
        reason = f"It is the only label with a word for a visit after treatment ({after[0]})."
        visits.decide("follow-up", after[0], "recognised", reason)
    else:
        visits.refuse(
            f"the baseline is ses-{visits.baseline}, but {len(rest)} other sessions could be the "
            "follow-up"
        )


def _phase(visits: Visits, label: str) -> str:
    time = visits.times[label]
    return time.phase if time is not None else ""


def _names_control(label: str) -> bool:
    """Return whether a label has a word for a control condition, such as ``preplacebo``."""
    words = _WORD_BREAK.sub(" ", label)
    return mentions_role(words) and word_of(words) != "treated"


def _states_other_time(visits: Visits, label: str) -> bool:
    """Return whether a label states a time that is not described as before or after treatment."""
    time = visits.times[label]
    return time is not None and not time.phase


def _earliest(visits: Visits) -> tuple[str, str] | None:
    """Find the session before treatment, with the reason; None if the labels do not decide."""
    labels = list(visits.counts)
    times = visits.times
    before = [label for label in labels if _phase(visits, label) == "before"]
    unscreened = [label for label in before if "screen" not in label.lower()]
    before = unscreened or before
    if len(before) == 1:
        return before[0], f"Its label has a word for a visit before treatment ({before[0]})."
    if before:
        return None
    ordered = _first_of_ordered(visits)
    if ordered is not None:
        return ordered
    zero = [label for label, time in times.items() if time is not None and time.days == 0]
    if len(zero) == 1:
        return zero[0], "Its label states time 0."
    others = [label for label in labels if _phase(visits, label) != "after"]
    if len(labels) == 2 and len(others) == 1 and _may_be_first(visits, others[0]):
        return others[0], "The label of the other session has a word for a visit after treatment."
    return None


def _may_be_first(visits: Visits, label: str) -> bool:
    """Return whether a label beside a follow-up is a start: a number, day 0 or 1, or ``acute``."""
    time = visits.times[label]
    if time is None:
        return label.lower() in _FIRST_LABELS
    return time.number is not None or (time.days is not None and time.days <= 1)


def _first_of_ordered(visits: Visits) -> tuple[str, str] | None:
    """Find the first session if all labels state a time, or all a number after one word."""
    if all(_phase(visits, label) == "after" for label in visits.counts):
        return None
    times = [time for time in visits.times.values() if time is not None]
    if len(times) < len(visits.times):
        return None
    days = {k: t.days for k, t in zip(visits.times, times, strict=True) if t.days is not None}
    if len(days) == len(times):
        return _smallest(days, "time")
    numbers = {
        k: t.number for k, t in zip(visits.times, times, strict=True) if t.number is not None
    }
    if len(numbers) == len(times) and len({time.prefix for time in times}) == 1:
        return _smallest(numbers, "number")
    return None


def _smallest(values: Mapping[str, float], what: str) -> tuple[str, str] | None:
    """Return the label with the smallest value, if it is unique."""
    order = sorted(values, key=lambda label: values[label])
    if values[order[0]] == values[order[1]]:
        return None
    listed = ", ".join(f"ses-{label}" for label in order)
    return order[0], f"Its label has the smallest {what} of {listed}."


def _by_dates(visits: Visits) -> None:
    """Decide by dates of acquisition, if all participants have the sessions in one order."""
    dates, labels = visits.observed.dates, list(visits.counts)
    orders: dict[tuple[str, ...], list[str]] = {}
    for participant in visits.observed.sessions:
        dated = [label for label in labels if (participant, label) in dates]
        if len({dates[participant, label] for label in dated}) == len(labels):
            order = tuple(sorted(dated, key=lambda label: dates[participant, label]))
            orders.setdefault(order, []).append(participant)
    if not orders:
        return
    if len(orders) > 1:
        listed = "; ".join(
            f"{', '.join(f'ses-{label}' for label in order)} in {len(participants)} participants"
            for order, participants in orders.items()
        )
        visits.refuse(
            f"the dates of acquisition have the sessions in different orders ({listed}), as in a "
            "crossover, whose control condition is named by control_baseline and control_followup"
        )
        return
    order = next(iter(orders))
    n = len(orders[order])
    complete = [p for p, own in visits.observed.sessions.items() if {*labels} <= {*own}]
    if 2 * n < len(complete):
        visits.refuse(
            f"only {n} of {len(complete)} participants have different dates of acquisition for "
            "all sessions, which is too few to order them"
        )
        return
    if len(order) > 2:
        listed = ", ".join(f"ses-{label}" for label in order)
        visits.refuse(f"by the dates of acquisition the sessions are, in order, {listed}")
        return
    reason = (
        f"By the dates of acquisition it is the {{}} session of all {n} participants with dates."
    )
    visits.decide("baseline", order[0], "recognised", reason.format("first"))
    visits.decide("follow-up", order[1], "recognised", reason.format("second"))


def _compare_with_dates(visits: Visits, *, is_stated: bool) -> None:
    """Compare the order of the visits with the dates of acquisition, where there are dates."""
    dates = visits.observed.dates
    dated = [
        (p, dates[p, visits.baseline], dates[p, visits.followup])
        for p in visits.observed.sessions
        if (p, visits.baseline) in dates and (p, visits.followup) in dates
    ]
    reversed_ = [p for p, first, second in dated if second < first]
    if not reversed_:
        return
    named = ", ".join(f"sub-{p}" for p in reversed_[:10])
    named += f" and {len(reversed_) - 10} more" if len(reversed_) > 10 else ""
    sentence = (
        f"by the dates of acquisition, ses-{visits.followup} precedes ses-{visits.baseline} in "
        f"{len(reversed_)} of {len(dated)} participants ({named})"
    )
    if is_stated or 2 * len(reversed_) <= len(dated):
        visits.warnings.append(f"{sentence[0].upper()}{sentence[1:]}.")
    else:
        visits.refuse(f"{sentence}, which contradicts the labels")


def _note_unused(visits: Visits) -> None:
    """Report sessions with data that are neither the baseline nor the follow-up."""
    stated = visits.stated
    used = {visits.baseline, visits.followup, *stated.get("visits", ())}
    unused = [visits.describe(label) for label in visits.counts if label not in used]
    if unused:
        visits.notes.append(f"Sessions that are not part of the change: {', '.join(unused)}.")
