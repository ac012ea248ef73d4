"""Choose one version of each run, by the same rule for all participants.

Versions of a run are files that differ only in entities that do not keep acquisitions apart, such
as ``space``, ``res``, ``part``, ``proc``, ``rec`` or ``desc`` (`names.version_keys`). One entity is
considered after the other; the order of entities in file names has no effect.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from circuitshift.pipeline.bids.names import Name, version_keys
from circuitshift.pipeline.bids.runs.choices import RunChoice, join_labels

__all__ = ["choose_version", "choose_versions", "most_frequent", "part_is_run", "rank_of"]


class _Versioned(Protocol):
    """A file with a parsed name, and the identity of its acquired run."""

    @property
    def name(self) -> Name: ...

    @property
    def identity(self) -> Hashable: ...


_File = TypeVar("_File", bound=_Versioned)
_Rank = Callable[[str], Any]

# Labels in the order of preference where equally many runs have them; others follow by alphabet.
_PREFERRED = {
    "part": ("mag", ""),
    "echo": ("",),
    "proc": ("optcom", "poptcom", ""),
    "res": ("2", "02", ""),
    "space": ("MNI152NLin2009cAsym", "MNI152NLin6Asym"),  # see also `--space`
}
_FIRST = ("part", "echo", "proc", "rec")
# Spaces and resolutions are chosen before these; descriptions last.
_SEPARATE = frozenset({"space", "cohort", "res", "den", "desc"})
_MIXED = "because no run has all of them, so that processing differs between runs"


def part_is_run(name: Name) -> bool:
    """Return whether an image is a magnitude; phase, real and imaginary parts are not runs."""
    return name.get("part") in ("", "mag")


def rank_of(key: str) -> _Rank:
    """Return a function that ranks the labels of an entity by preference.

    Parameters
    ----------
    key : str
        Key of the entity.

    Returns
    -------
    callable
        Ranks preferred labels first, then the absence of the entity, numbers by size, and other
        labels by alphabet.
    """
    preferred = _PREFERRED.get(key, ("",))

    def rank(label: str) -> tuple[int, int, str]:
        place = preferred.index(label) if label in preferred else len(preferred)
        return place, int(label) if label.isdecimal() else 10**6, label

    return rank


def _order_of(key: str) -> str:
    """Describe the order of preference of the labels of an entity."""
    preferred = [join_labels(key, [label]) for label in _PREFERRED.get(key, ("",))]
    return ", ".join([*dict.fromkeys(preferred), "numbers by size, others by alphabet"])


def choose_versions(
    files: Sequence[_File], choices: list[RunChoice], *, last: Iterable[str] = ("desc",)
) -> list[_File]:
    """Select one version of each run for all entities except space and resolution.

    Parameters
    ----------
    files : sequence of files
        Files of all participants, of one input type.
    choices : list of RunChoice
        List to which the choices are added.
    last : iterable of str
        Keys that are considered after all others.

    Returns
    -------
    list of files
    """
    selected = list(files)
    found = {key for file in selected for key in version_keys(file.name)} - _SEPARATE
    ordered = [key for key in _FIRST if key in found]
    ordered += sorted(found - set(_FIRST))
    for key in (*ordered, *last):
        selected = choose_version(
            selected,
            _getter(key),
            rank=rank_of(key),
            key=key,
            choices=choices,
            states_mixture=key != "part",  # without it, an image is a magnitude, too
        )
    return selected


def _getter(key: str) -> Callable[[_Versioned], str]:
    """Return a function that reads the label of an entity."""
    return lambda file: file.name.get(key)


def choose_version(
    files: list[_File],
    value: Callable[[_File], str],
    *,
    rank: _Rank,
    key: str,
    choices: list[RunChoice],
    by_participant: bool = True,
    states_mixture: bool = True,
) -> list[_File]:
    """Select the version of each run that most runs have, and record the choice.

    Parameters
    ----------
    files : list of files
        Files of all participants.
    value : callable
        Returns the label of a file.
    rank : callable
        Ranks labels by preference, for ties.
    key : str
        Key of the entity, for messages.
    choices : list of RunChoice
        List to which the choice is added. Nothing is added if all files have the same label.
    by_participant : bool, default=True
        Whether participants who lack the chosen version in some runs get another version that all
        of their runs have, so that their visits can be compared.
    states_mixture : bool, default=True
        Whether different labels are recorded although no run has several of them.

    Returns
    -------
    list of files
    """
    groups: dict[Hashable, set[str]] = defaultdict(set)
    participants: dict[Hashable, str] = {}
    for file in files:
        groups[file.identity].add(value(file))
        participants[file.identity] = file.name.get("sub")
    if len(set().union(*groups.values())) < 2:
        return files
    best = most_frequent(files, value, rank)
    fallbacks = _fallbacks(groups, participants) if by_participant else {}
    used: dict[Hashable, str] = {}
    for identity, available in groups.items():
        common = fallbacks.get(participants[identity], {best})
        label = best if best in common else min(common, key=rank)
        used[identity] = label if label in available else _nearest(available, best, rank)
    selected = [file for file in files if value(file) == used[file.identity]]
    n_used = Counter(used.values())
    is_choice = any(len(available) > 1 for available in groups.values())
    if is_choice or states_mixture:
        choices.append(_record(key, best, n_used, _n_ignored(groups, used), is_choice=is_choice))
    return selected


def most_frequent(files: Iterable[_File], value: Callable[[_File], str], rank: _Rank) -> str:
    """Return the label that most runs have, and the first by `rank` among ties."""
    pairs = dict.fromkeys((file.identity, value(file)) for file in files)
    counts = Counter(label for _, label in pairs)
    return min(counts, key=lambda label: (-counts[label], rank(label)))


def _nearest(available: set[str], best: str, rank: _Rank) -> str:
    """Return the best label, or the first by `rank` if a run lacks it."""
    return best if best in available else min(available, key=rank)


def _fallbacks(
    groups: Mapping[Hashable, set[str]], participants: Mapping[Hashable, str]
) -> dict[Hashable, set[str]]:
    """Return, for each participant, the labels that all of their runs have, if there are any."""
    common: dict[Hashable, set[str]] = {}
    for identity, available in groups.items():
        label = participants[identity]
        common[label] = common[label] & available if label in common else set(available)
    return {label: labels for label, labels in common.items() if labels}


def _n_ignored(groups: Mapping[Hashable, set[str]], used: Mapping[Hashable, str]) -> Counter[str]:
    """Count the runs in which each label is not used."""
    return Counter(
        label
        for identity, available in groups.items()
        for label in available
        if label != used[identity]
    )


def _record(
    key: str, best: str, n_used: Counter[str], n_ignored: Counter[str], *, is_choice: bool
) -> RunChoice:
    """Describe a choice of a version."""
    ignored = tuple((join_labels(key, [label]), n_ignored[label]) for label in sorted(n_ignored))
    others = [label for label in sorted(n_used) if label != best]
    if not is_choice:
        labels = ", ".join(f"{join_labels(key, [k])} ({n_used[k]} runs)" for k in [best, *others])
        return RunChoice(key, labels, (), _MIXED)
    rule = f"which most runs have (in a tie, the order is {_order_of(key)})"
    if others:
        rule += (
            f", but {join_labels(key, others)} in {sum(n_used[k] for k in others)} runs of "
            "participants without it"
        )
    return RunChoice(key, join_labels(key, [best]), ignored, rule)
