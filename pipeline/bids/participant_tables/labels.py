"""Match participants and sessions of tables with the folders of a data set."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from circuitshift.pipeline.bids.participant_tables.rows import Log, table_name
from circuitshift.pipeline.errors import InputProblem

__all__ = [
    "LABEL",
    "SessionMatcher",
    "match_participants",
    "participant_label",
    "session_label",
    "unmet_folders",
]

LABEL = re.compile(r"[a-zA-Z0-9+]+")
_N_NAMED = 3  # labels of each side that a message names


def participant_label(text: str) -> str:
    """Remove white space and the prefix ``sub-`` from a cell."""
    return re.sub(r"^sub-", "", text.strip(), flags=re.IGNORECASE)


def session_label(text: str) -> str:
    """Remove white space and the prefix ``ses-`` from a cell."""
    return re.sub(r"^ses-", "", text.strip(), flags=re.IGNORECASE)


def _without_zeros(label: str) -> str:
    """Remove leading zeros of all numbers, and the ``.0`` that is added to whole numbers."""
    label = re.sub(r"^(\d+)\.0+$", r"\1", label)
    return re.sub(r"\d+", lambda digits: digits[0].lstrip("0") or "0", label)


def _only_characters(label: str) -> str:
    """Remove separators, and convert to lower case.

    Decimal points and minus signs of numbers are kept, as 1.5 is not 15 and -1 is not 1.
    """
    if re.match(r"[-\u2212]\s*\d", label):
        return label
    label = re.sub(r"^(\d+)\.0+$", r"\1", label.casefold())
    return re.sub(r"(?<!\d)\.|\.(?!\d)|[^\w.]+|_", "", label)


_Rule = tuple[Callable[[str], str], str]
#: Rules by which labels of participants are compared, and how they are described.
_PARTICIPANT_RULES: tuple[_Rule, ...] = (
    (str.casefold, "upper and lower case"),
    (lambda label: _without_zeros(label.casefold()), "leading zeros"),
    (_only_characters, "case and separators"),
    (
        lambda label: _without_zeros(re.sub(r"^sub", "", _only_characters(label))),
        "the spelling of sub-, separators and zeros",
    ),
)
_SESSION_RULES: tuple[_Rule, ...] = (
    (_without_zeros, "leading zeros"),
    (_only_characters, "case and separators"),
    (lambda label: _without_zeros(_only_characters(label)), "leading zeros and case"),
    (
        lambda label: _without_zeros(re.sub(r"^(?:session|ses)", "", _only_characters(label))),
        "the spelling of ses-",
    ),
)


def match_participants(
    path: Path, stated: Iterable[str], folders: Sequence[str], log: Log
) -> dict[str, str]:
    """Match the labels of a table with folders.

    Parameters
    ----------
    path : Path
        The table, for messages.
    stated : iterable of str
        Labels of the table without ``sub-``.
    folders : sequence of str
        Labels of the participants that have a folder.
    log : Log
        Receives a note for each match that is not exact, and a problem for ambiguous labels.

    Returns
    -------
    dict of str to str
        Label of the folder for each label of the table. Labels that match no folder, or several,
        are not changed. Labels are compared exactly, then ignoring case, then without leading
        zeros of numbers, then without separators and without variants of ``sub-``.
    """
    labels = list(dict.fromkeys(stated))
    out = {label: label for label in set(labels) & set(folders)}
    for rule, description in _PARTICIPANT_RULES:
        of_table, of_folders = _by_key(labels, rule), _by_key(folders, rule)
        found = []
        for label in labels:
            key = rule(label)
            if label in out or not of_folders[key]:
                continue
            if len(of_table[key]) == len(of_folders[key]) == 1:
                out[label] = of_folders[key][0]
                found.append(f"{label!r} with sub-{out[label]}")
            else:
                out[label] = label
                same = [f"sub-{name}" for name in of_folders[key]]
                rivals = [repr(other) for other in of_table[key] if other != label]
                log.problem(
                    path,
                    f"{label!r} may be {' or '.join(same)}"
                    + (f", as may {', '.join(rivals)}" if rivals else "")
                    + f" (they differ by {description} only), so it was matched with no folder; "
                    "write the names of the folders",
                    label,
                )
        if found:
            log.notes.append(
                f"{path}: participants are matched with folders, from which they differ by "
                f"{description} only: {_few(found)}."
            )
    return {label: out.get(label, label) for label in labels}


def _by_key(labels: Iterable[str], rule: Callable[[str], str]) -> dict[str, list[str]]:
    """Group labels by the key that a rule derives from them."""
    out: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        out[rule(label)].append(label)
    return out


def unmet_folders(
    path: Path,
    strangers: Sequence[str],
    met: Iterable[str],
    folders: Sequence[str],
    *,
    log: Log,
) -> InputProblem | None:
    """Report that fewer than half of the folders have a row.

    Parameters
    ----------
    path : Path
        The table.
    strangers : sequence of str
        Labels of the table that match no folder, as written, without ``sub-``.
    met : iterable of str
        Labels of the rows after matching.
    folders : sequence of str
        Labels of the participants that have a folder.
    log : Log
        Receives the problem.

    Returns
    -------
    InputProblem or None
        None if at least half of the folders have a row.
    """
    with_row = set(met) & set(folders)
    if 2 * len(with_row) >= len(folders):
        return None
    without = [label for label in folders if label not in with_row]
    hint = _common_prefix(strangers, without)
    return log.problem(
        path,
        f"{len(with_row)} of {len(folders)} participants with a folder have a row in this table "
        f"(in the table: {_named(strangers)}; folders: {_named(without)}){hint}; write the names "
        "of the folders into the column participant_id, or give the correct table",
    )


def _few(texts: Sequence[str]) -> str:
    """Format the first texts of a list."""
    more = len(texts) - _N_NAMED
    return ", ".join(texts[:_N_NAMED]) + (f" and {more} others" if more > 0 else "")


def _named(labels: Sequence[str]) -> str:
    """Format a few labels."""
    return _few([f"sub-{label}" for label in labels]) or "none"


def _common_prefix(strangers: Sequence[str], folders: Sequence[str]) -> str:
    """State the text by which all folders differ from labels of the table, if there is one."""
    differences: Counter[str] = Counter()
    for folder in folders:
        ends = {
            label.removesuffix(folder) for label in strangers if label.endswith(folder) and folder
        }
        differences.update(ends)
    common = [text for text, times in differences.items() if text and times == len(folders)]
    return f"; the labels of the table begin with {common[0]!r}" if len(common) == 1 else ""


@dataclass(slots=True)
class SessionMatcher:
    """Match sessions of tables with the sessions of the folders.

    Parameters
    ----------
    folders : mapping of str to sequence of str
        Sessions of each participant that has a folder.
    log : Log
        Receives problems.
    """

    folders: Mapping[str, Sequence[str]]
    log: Log
    _matched: dict[tuple[str, str, str, str], None] = field(default_factory=dict)
    _unmatched: dict[tuple[str, str], None] = field(default_factory=dict)
    _all: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._all = tuple(sorted({name for names in self.folders.values() for name in names}))

    def match(self, participant: str, text: str, path: Path) -> str:
        """Return the session of the folder for a session of a table.

        Parameters
        ----------
        participant : str
            Label of the participant; the sessions of other participants are used only if none of
            this participant's sessions matches.
        text : str
            Session in the table, with or without ``ses-``.
        path : Path
            The table, for messages.

        Returns
        -------
        str
            Label of the session without ``ses-``. Sessions that match no folder are not changed.
            Sessions that match several folders are refused: the label is empty.
        """
        label = session_label(text)
        own = self.folders.get(participant, ())
        if not label or not self._all or label in own:
            return label
        for names in (own, self._all):
            if label in names:
                return label
            found, description = _similar(tuple(names), label)
            if len(found) == 1:
                self._matched[text, found[0], description, table_name(path)] = None
                return found[0]
            if found:
                self.log.problem(
                    path,
                    f"session {text!r} of sub-{participant} may be "
                    f"{' or '.join(f'ses-{name}' for name in found)}, so its values were not "
                    "used; write the name of the folder",
                    participant,
                )
                return ""
        self._unmatched[text, table_name(path)] = None
        return label

    def notes(self) -> list[str]:
        """Return one sentence for each pair of a session in a table and a session of a folder."""
        out = [
            f"{table}: session {text!r} is matched with ses-{name}, from which it differs by "
            f"{description} only."
            for text, name, description, table in self._matched
        ]
        tables: dict[str, list[str]] = defaultdict(list)
        for text, table in self._unmatched:
            tables[table].append(text)
        out += [
            f"{table}: no folder matches session {', '.join(map(repr, texts[:5]))}"
            + (f" and {len(texts) - 5} others" if len(texts) > 5 else "")
            + f"; the folders have the sessions {', '.join(self._all[:10])}."
            for table, texts in tables.items()
        ]
        return out


@lru_cache(maxsize=4096)
def _similar(names: tuple[str, ...], label: str) -> tuple[tuple[str, ...], str]:
    """Return the names that equal a label by the first rule that any name fulfils, and the rule."""
    for rule, description in _SESSION_RULES:
        found = tuple(name for name in names if rule(name) == rule(label))
        if found:
            return found, description
    return (), ""
