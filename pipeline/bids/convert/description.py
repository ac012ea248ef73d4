"""Read the tables ``[input]`` of a study file, which describe files that are not in BIDS.

Nothing about participants, visits or groups is inferred from the names of folders: the tables state
it. `KEYS` lists the keys.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from circuitshift.pipeline.errors import InputProblem, InputProblemsError, TableError
from circuitshift.pipeline.io.tables import read_text

__all__ = ["KEYS", "ConnInput", "Input", "StackInput", "Values", "read_inputs"]

Values = Literal["correlation", "fisher-z", "angle"]
_TEXT, _LIST, _TABLE = (str,), (list,), (dict,)
_COMMON: dict[str, tuple[tuple[type, ...], str]] = {
    "format": (_TEXT, "'conn' or 'stack'"),
    "atlas": (_TEXT, "name of the set of regions, letters and digits"),
    "task": (_TEXT, "BIDS label of the task; rest if not stated"),
    "repetition_time": ((int, float), "repetition time in s"),
    "prefix": (_TEXT, "letters that precede the numbers of participants in their labels"),
}
#: What a table ``[input]`` may state, by its format: key -> (types, meaning).
KEYS: dict[str, dict[str, tuple[tuple[type, ...], str]]] = {
    "conn": _COMMON
    | {
        "folder": (_TEXT, "folder with ROI_SubjectNNN_ConditionMMM.mat, relative to BIDS_DIR"),
        "group": (_TEXT, "group of these participants"),
        "visit": (_TEXT, "visit of all volumes of these files"),
        "sessions": (_TABLE, 'visit of each session number: {1 = "pre", 2 = "post"}'),
        "conditions": (_TABLE, 'visit of each condition number: {1 = "pre", 2 = "post"}'),
        "condition": ((int,), "number of the condition to read"),
        "regions": ((str, list), "patterns of complete names of regions, such as 'atlas.*'"),
        "rename": (_TABLE, "other spellings of atlases: {spelling = first spelling}"),
    },
    "stack": _COMMON
    | {
        "file": (_TEXT, ".npy, .npz or .mat file, relative to BIDS_DIR"),
        "key": (_TEXT, "name of the array; dotted for fields of structs"),
        "content": (_TEXT, "'matrices' or 'series'"),
        "axes": (_LIST, "'participant', 'visit', 'region' and 'volume' in the order of the array"),
        "values": (_TEXT, "'correlation', 'fisher-z' or 'angle' (arc cosine of r, radians)"),
        "participants": ((int, list), "number of participants, or their labels"),
        "regions": (
            (int, str, list, dict),
            "the number of regions, a label table, names, or "
            '{names = "key", centres = "key"} of arrays in the same file',
        ),
        "select": ((str, list), "patterns of complete names of the regions to keep"),
        "visits": (_LIST, "label of each visit; a repeated label is a further run of it"),
        "group": ((str, list), "group of all participants, or of each"),
    },
}
_REQUIRED = {"conn": ("folder", "group"), "stack": ("file", "participants", "visits", "regions")}
_LABEL = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class ConnInput:
    """A folder that CONN wrote.

    Parameters
    ----------
    folder : str
        Folder relative to the input folder.
    group : str
        Group of its participants.
    by : {"folder", "session", "condition"}
        What distinguishes visits.
    visits : tuple of (int, str)
        Label of the visit of each session or condition number; ``((0, label),)`` for a folder that
        holds one visit.
    condition : int, optional
        The condition to read, where conditions are not visits. None if the folder has only one.
    regions : tuple of str
        Patterns of the names of regions to read; all if empty.
    rename : tuple of (str, str)
        Spelling of an atlas in this folder, and the spelling of the first table.
    prefix, atlas, task : str
        Prefix of labels, and the labels of ``atlas-`` and ``task-``.
    t_r_s : float, optional
        Repetition time in s.
    """

    folder: str
    group: str
    by: Literal["folder", "session", "condition"]
    visits: tuple[tuple[int, str], ...]
    condition: int | None = None
    regions: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    atlas: str = "conn"
    task: str = "rest"
    t_r_s: float | None = None


@dataclass(frozen=True, slots=True)
class StackInput:
    """An array of matrices or series.

    Parameters
    ----------
    file, key : str
        File relative to the input folder, and name of the array; may be empty.
    content : {"matrices", "series"}
        Content of the array.
    axes : tuple of str
        Meaning of each axis.
    values : {"correlation", "fisher-z", "angle"}
        Unit of matrices.
    participants : tuple of str
        Labels.
    visits : tuple of str
        Label of each visit; repeated labels are runs of one visit.
    groups : tuple of str
        Group of each participant; empty if not stated.
    regions : int, str or tuple of str
        Number of regions, file with a label table, or names.
    region_keys : tuple of (str, str)
        Arrays of the file with the ``names`` and ``centres`` of regions; `regions` is 0 then.
    select : tuple of str
        Patterns of the names of regions to keep; all if empty.
    atlas, task : str
        Labels of ``atlas-`` and ``task-``.
    t_r_s : float, optional
        Repetition time in s.
    """

    file: str
    key: str
    content: Literal["matrices", "series"]
    axes: tuple[str, ...]
    values: Values
    participants: tuple[str, ...]
    visits: tuple[str, ...]
    groups: tuple[str, ...]
    regions: int | str | tuple[str, ...]
    region_keys: tuple[tuple[str, str], ...] = ()
    select: tuple[str, ...] = ()
    atlas: str = "stack"
    task: str = "rest"
    t_r_s: float | None = None


Input = ConnInput | StackInput


def read_inputs(path: Path) -> tuple[Input, ...]:
    """Read the tables ``[input]`` of a study file.

    Parameters
    ----------
    path : Path
        Study file (TOML). Its other tables are not checked here.

    Returns
    -------
    tuple of ConnInput or StackInput
        In the order of the file; empty if it has no table ``[input]``.

    Raises
    ------
    TableError
        If the file cannot be read or is not TOML.
    InputProblemsError
        If tables, keys or values are wrong; lists all problems.
    """
    try:
        content = tomllib.loads(read_text(path))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise TableError(f"{path}: not valid TOML ({error})") from None
    found = content.get("input", [])
    tables = found if isinstance(found, list) else [found]
    problems: list[InputProblem] = []
    inputs: list[Input] = []
    for number, table in enumerate(tables, start=1):
        reader = _Reader(f"{path}: [input] {number}" if len(tables) > 1 else f"{path}: [input]")
        made = reader.read(table)
        problems += reader.problems
        inputs += [made] if made is not None else []
    if not problems:
        problems += _disagreements(path, inputs)
    if problems:
        raise InputProblemsError(f"{path.name} cannot be used", problems)
    return tuple(inputs)


def _disagreements(path: Path, inputs: Iterable[Input]) -> list[InputProblem]:
    """Return problems of tables that do not describe one study."""
    inputs = list(inputs)
    contents = {type(i).__name__ + getattr(i, "content", "") for i in inputs}
    out = []
    if len({i.atlas for i in inputs}) > 1 or len(contents) > 1:
        out.append(
            InputProblem(
                f"{path}: [input]",
                "the tables differ in format, content or atlas",
                "describe one set of regions, in one format, for each analysis",
            )
        )
    if len({i.task for i in inputs}) > 1:
        out.append(
            InputProblem(
                f"{path}: [input]", "the tables name several tasks", "analyse one task at a time"
            )
        )
    return out


class _Reader:
    """Read one table and collect its problems."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.problems: list[InputProblem] = []

    def read(self, table: object) -> Input | None:
        """Return the input that the table describes; None if there are problems."""
        kind = table.get("format") if isinstance(table, Mapping) else None
        if not isinstance(table, Mapping) or kind not in KEYS:
            self._add(f"format = {kind!r}", "give format = 'conn' or format = 'stack'")
            return None
        self._check_keys(table, str(kind))
        if self.problems:
            return None
        made = self._conn(table) if kind == "conn" else self._stack(table)
        return None if self.problems else made

    def _add(self, what: str, fix: str) -> None:
        self.problems.append(InputProblem(self.where, what, fix))

    def _check_keys(self, table: Mapping[str, Any], kind: str) -> None:
        for key, value in table.items():
            if key not in KEYS[kind]:
                near = difflib.get_close_matches(key, KEYS[kind], 1)
                hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(KEYS[kind])}"
                self._add(f"unknown key {key!r}", hint)
                continue
            types, meaning = KEYS[kind][key]
            if not isinstance(value, types) or isinstance(value, bool):
                self._add(f"{key} = {value!r}", f"give {meaning}")
        for key in _REQUIRED[kind]:
            if key not in table:
                self._add(f"{key} is missing", f"give {KEYS[kind][key][1]}")
        for key in ("atlas", "task", "prefix"):
            if key in table and not _is_label(table[key]):
                self._add(f"{key} = {table[key]!r}", "use letters and digits only")
        t_r_s = table.get("repetition_time", 1)
        if isinstance(t_r_s, int | float) and not 0.2 <= t_r_s <= 10:
            self._add(f"repetition_time = {t_r_s}", "give the repetition time in seconds")

    def _conn(self, table: Mapping[str, Any]) -> ConnInput | None:
        stated = [key for key in ("visit", "sessions", "conditions") if key in table]
        if len(stated) != 1:
            self._add(
                f"{' and '.join(stated) or 'no visits'} stated",
                "state the visits once: visit for a folder of one visit, sessions for files with "
                "several sessions, or conditions for conditions that are visits",
            )
            return None
        if stated[0] == "conditions" and "condition" in table:
            self._add("condition and conditions are stated", "state one of them")
        visits = self._visits(stated[0], table[stated[0]])
        return ConnInput(
            folder=table["folder"],
            group=table["group"],
            by=_BY[stated[0]],
            visits=visits,
            condition=table.get("condition"),
            regions=self._patterns(table.get("regions", [])),
            rename=tuple((str(k), str(v)) for k, v in table.get("rename", {}).items()),
            prefix=table.get("prefix", ""),
            **_shared(table, "conn"),
        )

    def _visits(self, key: str, value: object) -> tuple[tuple[int, str], ...]:
        stated = value if isinstance(value, Mapping) else {"0": value}
        out = []
        for number, label in stated.items():
            if not str(number).isdecimal() or not _is_label(label):
                self._add(
                    f"{key}: {number} = {label!r}",
                    "give numbers and visit labels of letters and digits, as in "
                    '{1 = "pre", 2 = "post"}',
                )
            else:
                out.append((int(number), str(label)))
        if not stated:
            self._add(f"{key} is empty", "name at least one visit")
        return tuple(sorted(out))

    def _patterns(self, stated: Any) -> tuple[str, ...]:  # noqa: ANN401 - text or list
        out = []
        for text in stated if isinstance(stated, list) else [stated]:
            try:
                re.compile(text)
                out.append(str(text))
            except (re.error, TypeError) as error:
                self._add(
                    f"regions: {text!r} is not a pattern ({error})",
                    "give regular expressions of complete names, such as 'atlas.*'",
                )
        return tuple(out)

    def _stack(self, table: Mapping[str, Any]) -> StackInput | None:
        content = table.get("content", "matrices")
        values = table.get("values", "" if content == "matrices" else "correlation")
        if content not in _AXES:
            self._add(f"content = {content!r}", "give 'matrices' or 'series'")
            return None
        if values not in get_args(Values):
            self._add(
                f"values = {values!r}" if values else "values is missing",
                "give values = 'correlation', 'fisher-z' or 'angle'",
            )
        axes = tuple(table.get("axes", _AXES[content]))
        if sorted(axes) not in _allowed_axes(content):
            self._add(
                f"axes = {list(axes)}",
                f"name the axes of the array in their order, as in {list(_AXES[content])}; "
                "'participant' or 'visit' may be left out where there is one of them",
            )
        participants = self._participants(table)
        visits = tuple(table["visits"])
        if not visits or not all(map(_is_label, visits)):
            self._add(f"visits = {list(visits)}", "give labels of letters and digits")
        for axis, labels in (("participant", participants), ("visit", visits)):
            if axis not in axes and len(labels) != 1:
                self._add(f"the axes have no {axis!r}", f"state exactly one {axis}")
        return StackInput(
            file=table["file"],
            key=table.get("key", ""),
            content=content,
            axes=axes,
            values=values,
            participants=participants,
            visits=visits,
            groups=self._groups(table, len(participants)),
            regions=self._region_names(table["regions"]),
            region_keys=self._region_keys(table["regions"]),
            select=self._patterns(table.get("select", [])),
            **_shared(table, "stack"),
        )

    def _participants(self, table: Mapping[str, Any]) -> tuple[str, ...]:
        stated, prefix = table["participants"], table.get("prefix", "")
        if isinstance(stated, int):
            width = max(2, len(str(stated)))
            labels = [f"{prefix}{k:0{width}d}" for k in range(1, stated + 1)]
        else:
            labels = [f"{prefix}{str(name).removeprefix('sub-')}" for name in stated]
        repeated = {label for label in labels if labels.count(label) > 1}
        if not labels or repeated or not all(map(_is_label, labels)):
            self._add(
                f"participants = {stated}",
                "give a number, or different labels of letters and digits",
            )
        return tuple(labels)

    def _groups(self, table: Mapping[str, Any], n: int) -> tuple[str, ...]:
        stated = table.get("group", ())
        groups = (stated,) * n if isinstance(stated, str) else tuple(map(str, stated))
        if groups and len(groups) != n:
            self._add(f"group has {len(groups)} entries", f"give one for each of {n} participants")
        return groups

    def _region_keys(self, stated: object) -> tuple[tuple[str, str], ...]:
        if not isinstance(stated, dict):
            return ()
        if "names" not in stated or set(stated) - {"names", "centres"}:
            self._add(
                f"regions = {stated}", 'give {names = "key"}, with centres = "key" or without'
            )
        return tuple(sorted((str(name), str(key)) for name, key in stated.items()))

    def _region_names(self, stated: object) -> int | str | tuple[str, ...]:
        if isinstance(stated, dict):
            return 0
        if isinstance(stated, list):
            names = tuple(" ".join(str(name).split()) for name in stated)
            if len(set(names)) < len(names) or not all(names):
                self._add("regions has empty or repeated names", "name each region once")
            return names
        if isinstance(stated, int) and stated < 2:
            self._add(f"regions = {stated}", "give at least two regions")
        return stated if isinstance(stated, int) else str(stated)


_BY: dict[str, Literal["folder", "session", "condition"]] = {
    "visit": "folder",
    "sessions": "session",
    "conditions": "condition",
}
_AXES = {
    "matrices": ("participant", "visit", "region", "region"),
    "series": ("participant", "visit", "volume", "region"),
}


def _allowed_axes(content: str) -> list[list[str]]:
    """Return the sorted axes that are possible: one participant or one visit needs no axis."""
    inner = list(_AXES[content][2:])
    outer: tuple[list[str], ...] = ([], ["participant"], ["visit"], ["participant", "visit"])
    return [sorted([*more, *inner]) for more in outer]


def _shared(table: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {
        "atlas": table.get("atlas", kind),
        "task": table.get("task", "rest"),
        "t_r_s": table.get("repetition_time"),
    }


def _is_label(value: object) -> bool:
    return isinstance(value, str) and _LABEL.fullmatch(value) is not None
