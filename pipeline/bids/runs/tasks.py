"""Choose the task that makes a visit: rest if some runs are rest, never several tasks by chance."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from circuitshift.pipeline.bids.filters import Filters
from circuitshift.pipeline.bids.names import Name, acquired
from circuitshift.pipeline.bids.runs.choices import RunChoice, join_labels
from circuitshift.pipeline.errors import InputError, InputProblem

__all__ = ["choose_tasks", "compare_tasks", "is_rest", "lost_visits", "states_task"]

# English words that contain "rest" and are tasks, not rest: task-restaurant, task-prestress.
_NOT_REST = re.compile(
    r"restaur|restor|restrain|restrict|restart|restud|forest|interest|everest|"
    r"\b(?:arrest|unrest|crest|wrest|prest(?=[a-z]))"
)
# Labels of rest that do not contain the word, with the direction or number that may follow.
_REST_WORDS = re.compile(
    r"(rs|rsfc|rsfmri|rsbold|rfmri|eyesopen|eyesclosed|openeyes|closedeyes)(ap|pa|lr|rl|run)?\d*"
)


class _Named(Protocol):
    """A file with a parsed name."""

    @property
    def name(self) -> Name: ...


_File = TypeVar("_File", bound=_Named)
# For each task, the number of runs by session.
_Counts = dict[str, Counter[str]]


def is_rest(task: str) -> bool:
    """Return whether the label of a task says that the participant rested.

    Parameters
    ----------
    task : str
        Value of ``task-``.

    Returns
    -------
    bool
        True for labels that contain ``rest`` (``rest``, ``RestingState``, ``restEyesOpen``,
        ``rest1``, ``restAP``), except for other words that contain these letters, such as
        ``restaurant``, ``forest`` or ``interest``; and for ``rs``, ``rsfc``, ``rsfmri``,
        ``rsbold``, ``rfmri``, ``eyesopen``, ``eyesclosed``, ``openeyes`` and ``closedeyes``, which
        a number or a direction may follow. The case of letters has no effect.
    """
    label = task.lower()
    # "preRest" and "restPre" are rest, "prestress" is not: capitals begin a word
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", task).lower()
    return bool(_REST_WORDS.fullmatch(label)) or "rest" in _NOT_REST.sub("", words)


def states_task(filters: Filters) -> bool:
    """Return whether a filter file states the task."""
    return any(key == "task" for query, pairs in filters if query == "bold" for key, _ in pairs)


def choose_tasks(
    files: Sequence[_File], *, where: str, is_stated: bool = False
) -> tuple[list[_File], RunChoice | None]:
    """Select the runs of the task that makes a visit.

    Parameters
    ----------
    files : sequence of files with a name
        Files of all participants that match the query.
    where : str
        The data set, for messages.
    is_stated : bool, default=False
        Whether ``--task-id`` or a filter file states the tasks.

    Returns
    -------
    selected : list of files
        Files of one task, or of several labels of rest whose runs are averaged.
    choice : RunChoice or None
        The choice; None if the files have one label only.

    Raises
    ------
    InputError
        If there are several tasks and none is rest, if several tasks were requested that are not
        all rest, or if several labels of rest are not the same at every visit. The message
        contains the options to add.
    """
    counts = _count(files)
    if len(counts) < 2:
        return list(files), None
    rest = [task for task in counts if is_rest(task)]
    if is_stated:
        if len(rest) < len(counts) and not _is_one(counts):
            raise InputError(_refusal(where, "several tasks were requested", counts, counts))
        rule = "whose runs are averaged, as requested"
        return list(files), RunChoice("task", join_labels("task", counts), (), rule)
    if not rest and not _is_one(counts):
        what = "the runs have several tasks, and no label says which of them is rest"
        raise InputError(_refusal(where, what, counts, counts))
    used = rest or list(counts)
    if not _is_one(used) and not _is_same_everywhere(files, used):
        raise InputError(_different_rest(where, {task: counts[task] for task in used}))
    ignored = tuple(
        (f"{join_labels('task', [task])}{f' in ses-{session}' if session else ''}", n)
        for task in counts
        if task not in used
        for session, n in sorted(counts[task].items())
    )
    selected = [file for file in files if file.name.get("task") in used]
    return selected, RunChoice("task", join_labels("task", used), ignored, _rule(used))


def lost_visits(
    files: Sequence[_Named], selected: Sequence[_Named], choice: RunChoice
) -> list[InputProblem]:
    """Report the visits that have runs of other tasks only.

    Parameters
    ----------
    files : sequence of files with a name
        All files that match the query.
    selected : sequence of files with a name
        Those of the chosen task.
    choice : RunChoice
        The choice of the task.

    Returns
    -------
    list of InputProblem
        One problem for each participant without any run of the task, and for each visit without
        one in a session in which other participants have one. Sessions in which no participant
        has a run of the task are listed in `choice` only.
    """
    visits = {(f.name.get("sub"), f.name.get("ses")) for f in files}
    kept = {(f.name.get("sub"), f.name.get("ses")) for f in selected}
    participants = {label for label, _ in kept}
    sessions = {session for _, session in kept}
    lost = [
        (label, session)
        for label, session in visits - kept
        if label in participants and session in sessions
    ]
    places = {f"sub-{label}{f'/ses-{s}' if s else ''}": label for label, s in lost}
    places |= {f"sub-{label}": label for label in {label for label, _ in visits} - participants}
    what = f"it has no run of {choice.chosen}, which is used for all participants"
    fix = "fetch its run, or exclude the participant (--participant-label)"
    return [InputProblem(where, what, fix, label) for where, label in sorted(places.items())]


def compare_tasks(tasks: Sequence[tuple[str, Iterable[str]]]) -> RunChoice | None:
    """Check that the data sets of a study have the same task.

    Parameters
    ----------
    tasks : sequence of (str, iterable of str)
        Name of each data set, empty for the main one, and the tasks of its runs.

    Returns
    -------
    RunChoice or None
        The labels, if they differ but are all rest; None if they are equal.

    Raises
    ------
    InputError
        If the data sets have different tasks.
    """
    labels = [(name or "the main data set", sorted(set(found))) for name, found in tasks]
    labels = [(name, found) for name, found in labels if any(found)]
    if len({tuple(task.lower() for task in found) for _, found in labels}) < 2:
        return None
    text = "; ".join(f"{name}: {join_labels('task', found)}" for name, found in labels)
    if not all(is_rest(task) for _, found in labels for task in found if task):
        raise InputError(
            f"the data sets have different tasks ({text}), which are not compared; state one that "
            "all of them have by --task-id"
        )
    used = sorted({task for _, found in labels for task in found})
    return RunChoice(
        "task", join_labels("task", used), (), f"which are rest in all data sets ({text})"
    )


def _count(files: Iterable[_Named]) -> _Counts:
    """Count the acquired runs of each task by session."""
    runs: dict[str, set[tuple[str, tuple[tuple[str, str], ...]]]] = defaultdict(set)
    for file in files:
        runs[file.name.get("task")].add((file.name.get("ses"), acquired(file.name)))
    return {task: Counter(session for session, _ in runs[task]) for task in sorted(runs)}


def _is_one(tasks: Iterable[str]) -> bool:
    """Return whether labels differ in the case of letters only."""
    return len({task.lower() for task in tasks}) == 1


def _is_same_everywhere(files: Iterable[_Named], tasks: Iterable[str]) -> bool:
    """Return whether all visits with any of several tasks have the same of them."""
    visits: dict[tuple[str, str], set[str]] = defaultdict(set)
    for file in files:
        if file.name.get("task") in tasks:
            visits[file.name.get("sub"), file.name.get("ses")].add(file.name.get("task").lower())
    return len({frozenset(found) for found in visits.values()}) == 1


def _rule(used: Sequence[str]) -> str:
    """State why tasks are used."""
    if len(used) > 1:
        same = "differ in the case of letters only" if _is_one(used) else "are rest at every visit"
        return f"which {same}, so that their runs are averaged (--task-id selects one)"
    return (
        "because runs at rest are not mixed with those of other tasks (--task-id selects another)"
    )


def _describe(counts: _Counts) -> str:
    """List tasks with their numbers of runs by session, one line each."""
    lines = []
    for task, sessions in counts.items():
        numbers = ", ".join(
            f"{n} runs{f' in ses-{session}' if session else ''}"
            for session, n in sorted(sessions.items())
        )
        lines.append(f"  {join_labels('task', [task])}: {numbers}")
    return "\n".join(lines)


def _refusal(where: str, what: str, counts: _Counts, options: Iterable[str]) -> str:
    """Say that one task must be chosen, with the options to add."""
    lines = "\n".join(f"  --task-id {task}" for task in options if task)
    return (
        f"{where}: {what}; runs of different tasks are not averaged:\n{_describe(counts)}\n"
        f"add one of these options:\n{lines}"
    )


def _different_rest(where: str, counts: _Counts) -> str:
    """Say that labels of rest differ between visits, with the options to add."""
    labels = [task for task in counts if task]
    lines = "\n".join(f"  --task-id {task}" for task in labels)
    return (
        f"{where}: several labels are rest, and not every visit has all of them, so that averages "
        f"would differ between visits:\n{_describe(counts)}\nadd one of these options; the last "
        f"one averages what each visit has:\n{lines}\n  --task-id {' '.join(labels)}"
    )
