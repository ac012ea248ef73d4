"""Compare the acquisition protocol between visits, arms and participants.

A difference between visits that all participants share is part of every change, and a difference
between arms is part of every difference between the arms. Both are warnings of the verdict.
Differences that are unrelated to visit and arm add noise only and are notes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from circuitshift.pipeline.study.protocol.acquired import FACTS, AcquiredRun

__all__ = ["Protocol", "compare_protocol"]

_LENGTH = "scan length"
_NAMES = (next(iter(FACTS.values())), _LENGTH, "grid", *list(FACTS.values())[1:])
# Scan lengths within this ratio are equal: sequences are stopped by hand, and dummies removed.
_SAME_LENGTH = 1.1
# A difference goes with the visit if the net share of participants that change in one direction
# exceeds the first limit, and the net share of those that change at all the second.
_MIN_NET_SHARE = 0.05
_MIN_DIRECTED = 0.5
_N_PERMUTATIONS = 1999
_ALPHA = 0.05
_MAX_VALUES = 4

#: Value of a fact by participant, for one visit or any grouping of participants.
_Values = dict[str, str]


@dataclass(frozen=True, slots=True)
class Protocol:
    """Differences of the protocol, as sentences and as a record.

    Parameters
    ----------
    warnings : tuple of str
        Differences between visits or arms, or between patients and the reference group.
    notes : tuple of str
        Differences that are unrelated to visit and arm.
    record : mapping of str to object
        JSON types: the number of participants by fact, visit and value, and the names of the facts
        that differ, by the kind of difference.
    """

    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Compared:
    """Participants that are compared: values by fact and visit, and the groups of participants."""

    values: Mapping[str, Mapping[str, _Values]]
    visits: tuple[str, str]
    arms: Mapping[str, frozenset[str]]
    sides: Mapping[str, frozenset[str]]


def compare_protocol(
    runs: Sequence[AcquiredRun],
    roles: Mapping[str, str],
    visits: tuple[str, str],
    labels: Mapping[str, str] | None = None,
) -> Protocol:
    """Compare the protocol of all runs between visits, between arms and between participants.

    Parameters
    ----------
    runs : sequence of AcquiredRun
        All included runs.
    roles : mapping of str to str
        Role of each participant: treated, control, reference or none.
    visits : tuple of two str
        Labels of baseline and follow-up.
    labels : mapping of str to str, optional
        Names of the roles for display.

    Returns
    -------
    Protocol
        Facts that are not stated are never a difference.
    """
    names = {"treated": "treated", "control": "control", "reference": "reference"} | {
        role: label for role, label in (labels or {}).items() if label
    }
    used = [run for run in runs if roles.get(run.person, "none") != "none"]
    members = {
        role: frozenset(run.person for run in used if roles[run.person] == role)
        for role in ("treated", "control", "reference")
    }
    patients = members["treated"] | members["control"]
    compared = _Compared(
        _values_by_visit(used, members["reference"], visits),
        visits,
        {f"the {names[role]} arm": members[role] for role in ("treated", "control")},
        {"the patients": patients, "the reference group": members["reference"]},
    )
    return _protocol(compared)


def _protocol(compared: _Compared) -> Protocol:
    """Sort the facts that differ by the kind of their difference, and describe them."""
    kinds: dict[str, dict[str, str]] = {k: {} for k in ("visit", "arm", "reference", "otherwise")}
    for name, by_visit in compared.values.items():
        texts = [text for values in by_visit.values() for text in values.values()]
        if len(set(texts)) < 2:
            continue
        found = {
            "visit": _visit_difference(by_visit, compared.visits),
            "arm": _group_difference(by_visit, compared.visits, compared.arms),
            "reference": _group_difference(by_visit, compared.visits[:1], compared.sides),
        }
        related = {kind: text for kind, text in found.items() if text}
        for kind, text in (related or {"otherwise": _counts(_any_visit(by_visit))}).items():
            kinds[kind][name] = text
    sentences = {kind: _sentence(kind, texts) for kind, texts in kinds.items() if texts}
    return Protocol(
        tuple(text for kind, text in sentences.items() if kind != "otherwise"),
        tuple(text for kind, text in sentences.items() if kind == "otherwise"),
        _record(compared, kinds),
    )


_SENTENCES = {
    "visit": (
        "The protocol differs between visits",
        "Its effect is part of every change between the visits",
    ),
    "arm": (
        "The protocol differs between arms",
        "Its effect is part of every difference between the arms",
    ),
    "reference": (
        "The protocol differs between patients and reference group",
        "Its effect is part of every deviation from the reference group",
    ),
    "otherwise": (
        "The protocol differs between participants, but neither with the visit nor with the arm",
        "This adds variance, but no systematic difference",
    ),
}


def _sentence(kind: str, texts: Mapping[str, str]) -> str:
    begin, end = _SENTENCES[kind]
    return f"{begin}: {'; '.join(f'{name} {text}' for name, text in texts.items())}. {end}."


def _record(compared: _Compared, kinds: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the number of participants by fact, visit and value, and the facts that differ."""
    facts = {
        name: {
            (f"ses-{visit}" if visit else "all"): dict(sorted(Counter(values.values()).items()))
            for visit, values in by_visit.items()
            if values
        }
        for name, by_visit in compared.values.items()
    }
    return {
        "facts": {name: counts for name, counts in facts.items() if counts},
        "not_stated": [name for name, counts in facts.items() if not counts],
        "differs_with": {kind: list(texts) for kind, texts in kinds.items()},
    }


def _values_by_visit(
    runs: Sequence[AcquiredRun], reference: frozenset[str], visits: tuple[str, str]
) -> dict[str, dict[str, _Values]]:
    """Return the value of each fact by visit and participant.

    Several values of one visit are joined. Participants of the reference group without the baseline
    session, such as those of another data set, are represented by their first session.
    """
    sessions: dict[str, set[str]] = {}
    for run in runs:
        sessions.setdefault(run.person, set()).add(run.session)
    visit_of = {
        (person, min(labels)): visits[0]
        for person, labels in sessions.items()
        if person in reference and visits[0] not in labels
    }
    by_name: dict[str, dict[tuple[str, str], set[str]]] = {name: {} for name in _NAMES}
    minutes: dict[tuple[str, str], float] = {}
    for run in runs:
        visit = visit_of.get((run.person, run.session), run.session)
        if visit not in visits:
            continue
        minutes[visit, run.person] = minutes.get((visit, run.person), 0.0) + run.minutes
        for name, text in run.facts.items():
            by_name[name].setdefault((visit, run.person), set()).add(text)
    by_name[_LENGTH] = {key: {text} for key, text in _lengths(minutes).items()}
    spelling = _spellings(by_name)
    out: dict[str, dict[str, _Values]] = {}
    for name, values in by_name.items():
        out[name] = {visit: {} for visit in visits}
        for (visit, person), texts in sorted(values.items()):
            one = sorted({spelling[name, _plain(text)] for text in texts})
            out[name][visit][person] = " and ".join(one)
    return out


def _spellings(
    by_name: Mapping[str, Mapping[tuple[str, str], set[str]]],
) -> dict[tuple[str, str], str]:
    """Return the most frequent spelling of each value, such as Siemens and SIEMENS."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for name, values in by_name.items():
        for texts in values.values():
            for text in texts:
                counts.setdefault((name, _plain(text)), Counter())[text] += 1
    return {key: min(c, key=lambda text: (-c[text], text)) for key, c in counts.items()}


def _plain(text: str) -> str:
    """Return a form in which spellings of one value are equal; ``j`` and ``j-`` are not."""
    return " ".join(text.casefold().split())


def _lengths(minutes: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], str]:
    """Sort scan lengths into classes of equal length, each named by its median."""
    known = sorted((value, key) for key, value in minutes.items() if np.isfinite(value))
    out: dict[tuple[str, str], str] = {}
    start = 0
    for k in range(len(known) + 1):
        if k == len(known) or known[k][0] > _SAME_LENGTH * known[start][0]:
            group = known[start:k]
            middle = float(np.median([value for value, _ in group])) if group else 0.0
            out |= {key: f"{round(middle, 1):g} min" for _, key in group}
            start = k
    return out


def _visit_difference(by_visit: Mapping[str, _Values], visits: tuple[str, str]) -> str:
    """Describe a difference that goes with the visit; empty if there is none."""
    before, after = (by_visit[visit] for visit in visits)
    both = sorted(set(before) & set(after))
    changes = Counter((before[p], after[p]) for p in both if before[p] != after[p])
    n_changed = changes.total()
    pairs = {tuple(sorted(pair)) for pair in changes}
    net = sum(abs(changes[a, b] - changes[b, a]) for a, b in pairs)
    is_common = net / max(len(both), 1) > _MIN_NET_SHARE and (net > 1 or net * 2 >= len(both))
    if not (is_common and net / n_changed >= _MIN_DIRECTED):
        return ""
    return _counts_of_groups({f"ses-{visit}": by_visit[visit] for visit in visits})


def _group_difference(
    by_visit: Mapping[str, _Values],
    visits: Iterable[str],
    groups: Mapping[str, frozenset[str]],
) -> str:
    """Describe a difference between groups of participants at one visit; empty if there is none."""
    for visit in visits:
        values = {
            name: {p: text for p, text in by_visit[visit].items() if p in members}
            for name, members in groups.items()
        }
        if all(values.values()) and _is_associated(list(values.values())):
            at = f" at ses-{visit}" if visit else ""
            return _counts_of_groups({f"in {name}": found for name, found in values.items()}) + at
    return ""


def _is_associated(groups: Sequence[_Values]) -> bool:
    """Return whether the values of a fact depend on the group.

    They do if no value occurs in both groups, and values are shared by participants, or if a
    permutation test of the chi-squared statistic is significant.
    """
    texts = [text for values in groups for text in values.values()]
    names, codes = np.unique(texts, return_inverse=True)
    if len(names) < 2:
        return False
    is_first = np.arange(len(texts)) < len(groups[0])
    shared = set(groups[0].values()) & set(groups[1].values())
    if not shared and 2 * len(names) <= len(texts):
        return True
    totals = np.bincount(codes)

    def statistic(selected: np.ndarray[Any, Any]) -> float:
        counts = np.bincount(codes[selected], minlength=len(names))
        expected = totals * selected.sum() / len(texts)
        return float(((counts - expected) ** 2 / totals).sum())

    observed = statistic(is_first)
    rng = np.random.default_rng(0)  # the same study has the same warnings
    as_large = sum(
        statistic(rng.permutation(is_first)) >= observed - 1e-9 for _ in range(_N_PERMUTATIONS)
    )
    return (as_large + 1) / (_N_PERMUTATIONS + 1) < _ALPHA


def _any_visit(by_visit: Mapping[str, _Values]) -> dict[str, set[str]]:
    """Return all values of each participant."""
    out: dict[str, set[str]] = {}
    for values in by_visit.values():
        for person, text in values.items():
            out.setdefault(person, set()).add(text)
    return out


def _counts(values: Mapping[str, set[str]]) -> str:
    """Format values with the number of their participants, most frequent first."""
    counts = Counter(text for texts in values.values() for text in texts)
    return ", ".join(_listed(counts, ""))


def _counts_of_groups(groups: Mapping[str, _Values]) -> str:
    """Format values with the number of their participants, group by group."""
    out: list[str] = []
    for name, values in groups.items():
        at = f" at {name}" if name.startswith("ses-") else f" {name}"
        out += _listed(Counter(values.values()), at, is_first=not out)
    return ", ".join(out)


def _listed(counts: Counter[str], at: str, *, is_first: bool = True) -> list[str]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    out: list[str] = []
    for text, n in ranked[:_MAX_VALUES]:
        unit = f" participant{'s' * (n > 1)}" if is_first and not out else ""
        out.append(f"{text}{at} ({n}{unit})")
    more = len(ranked) - _MAX_VALUES
    return [*out, f"{more} other value{'s' * (more > 1)}{at}"] if more > 0 else out
