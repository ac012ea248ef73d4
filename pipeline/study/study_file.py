"""Read the study file, and define the design of a study.

What the study file omits is resolved from the data by `circuitshift.pipeline.study.resolution`.
"""

import difflib
import math
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from circuitshift.pipeline.errors import DesignError, InputProblem, InputProblemsError, TableError
from circuitshift.pipeline.io.tables import NOT_AVAILABLE, read_text
from circuitshift.pipeline.records import Background

__all__ = ["DEFAULT_PRIMARY", "STUDY_KEYS", "Design", "Role", "StudyFile", "read_study_file"]

Role = Literal["treated", "control", "reference", "none"]

#: Packaged circuits that determine the verdict if the study file names none.
DEFAULT_PRIMARY = ("dmn", "tpn", "dmn_tpn", "dlpfc_amygdala")

#: Tables of the study file, their keys, and type and meaning of each value.
STUDY_KEYS: dict[str, dict[str, tuple[type | tuple[type, ...], str]]] = {
    "sessions": {
        "baseline": (str, "label of the session before treatment"),
        "followup": (str, "label of the session after treatment"),
        "control_baseline": (str, "crossover: session before the control condition"),
        "control_followup": (str, "crossover: session after the control condition"),
        "order": (str, "crossover: column of participants.tsv with the order of the conditions"),
        "treatment_first": (list, "its values in which the treatment came first"),
        "visits": (list, "all sessions in temporal order, for trajectories"),
        "days": (dict, "days since baseline of each session: {pre = 0, week2 = 14}"),
    },
    "groups": {
        "column": (str, "column of participants.tsv that contains the groups"),
        "treated": (
            (list, dict),
            'treated groups: ["drug"], or values of other columns: {arm = "1"}',
        ),
        "control": ((list, dict), "groups with the same visits and no or sham treatment"),
        "reference": ((list, dict), "healthy groups; one visit is sufficient"),
        "labels": (dict, 'names for display: {treated = "escitalopram", control = "placebo"}'),
        "reference_dataset": (str, "name of the data set that contains the reference group"),
        "randomised": (bool, "whether participants were assigned to the arms at random"),
    },
    "model": {
        "covariates": (list, "columns of participants.tsv to regress out"),
        "site": (str, "column, or score by session, that contains the scanner"),
        "harmonise": (bool, "harmonise edges across sites by ComBat"),
        "factor": (str, "column with a second treatment, crossed with the first"),
        "factor_levels": (list, "its two levels: without, with"),
        "symptom": (str, "score by session whose change is related to that of connectivity"),
        "moderators": (
            list,
            "columns of participants.tsv (dose), or scores by session whose change is taken (BDNF)",
        ),
        "weighted": (bool, "weight participants by the degrees of freedom of their visits"),
        "background": (str, "edges to which the global model is fitted: all, disjoint or matched"),
        "global_signal_removed": (
            bool,
            "whether the global signal was regressed out before circuitshift",
        ),
    },
    "hypotheses": {
        "circuits": (list, "circuits that are analysed"),
        "primary": (list, "circuits that determine the verdict"),
        "directions": (dict, "circuits whose direction is fixed in advance: increase or decrease"),
        "sesoi_z": ((int, float), "smallest effect of interest of shift and circuits, Fisher z"),
        "sesoi_d": (
            (int, float),
            "smallest effect of interest of circuits, standard deviations of change",
        ),
        "sesoi_gain": ((int, float), "smallest gain of interest, proportion"),
        "sesoi_share": ((int, float), "smallest normalisation of interest, share"),
        "sesoi_tau": (
            (int, float),
            "smallest heterogeneity of interest, standard deviation over networks, Fisher z",
        ),
    },
    "tests": {
        "n_permutations": (int, "number of permutations"),
        "seed": (int, "seed of the permutations"),
        "alpha": ((int, float), "family-wise error rate"),
    },
}

_SESOI_D = 0.3


@dataclass(frozen=True, slots=True)
class Design:
    """The design of a study as the study file specifies it.

    Parameters
    ----------
    baseline, followup : str
        Session labels.
    group_column : str
        Column of ``participants.tsv`` that contains the group.
    treated, control, reference : tuple of str
        Values of the group column: treated participants; controls with the same visits and no or
        sham treatment; and a healthy reference group, for which one visit is sufficient.
    reference_dataset : str
        Name of the data set that contains the reference group; empty for the main data set.
    control_baseline, control_followup : str
        In a crossover, the sessions before and after the control condition; otherwise empty.
    order : str
        In a crossover, column of ``participants.tsv`` with the order of the conditions. If empty,
        the order follows from the dates of acquisition, where these are available.
    treatment_first : tuple of str
        Values of this column in which the treatment came first.
    visits : tuple of str
        All sessions in temporal order, for the analysis of trajectories; may be empty.
    days : tuple of (str, float)
        Days since baseline of these sessions.
    factor : str
        Column of ``participants.tsv`` with a second treatment that is crossed with the first.
    factor_levels : tuple of str
        The two levels of `factor`, without and with the second treatment.
    site : str
        Column, or score by session, that contains the scanner. Sites enter the model as
        indicators, and labels are permuted within sites only.
    harmonise : bool
        Whether edges are harmonised across sites (`circuitshift.pipeline.stats.combat`).
    symptom : str
        Score by session whose change is related to the change of connectivity.
    moderators : tuple of str
        Continuous moderators of the change: columns of ``participants.tsv``, or scores by session,
        of which the change is taken.
    weighted : bool
        Whether participants are weighted by the precision of their change
        (`circuitshift.pipeline.study.pairing.precision_weights`).
    background : {"all", "disjoint", "matched"}
        Selection of the edges to which the global model is fitted; see
        `circuitshift.pipeline.model.contrasts.Rules`.
    covariates : tuple of str
        Columns of ``participants.tsv`` that are centred and regressed out: numbers, or categories
        such as sex, which are coded as indicators. The change in mean framewise displacement is
        added where it is available.
    circuits : tuple of str
        Circuits that are analysed; if empty, all circuits that resolve on the atlas.
    primary : tuple of str
        Circuits that determine the verdict; if empty, see `primary_of`.
    directions : tuple of (str, str)
        Circuits whose direction is fixed in advance, for example ``("dmn", "decrease")``.
    randomised : bool or None
        Whether participants were assigned to the arms at random; None if it is not stated, which
        is treated as random.
    sesoi_z : float or None
        Smallest effect size of interest of shift and circuits, in Fisher z. If it is None, the
        smallest shift of interest is .05, and `sesoi_d` applies to circuits.
    sesoi_d : float
        Smallest effect size of interest of circuits, in standard deviations of change between
        participants of one arm.
    sesoi_gain, sesoi_share : float
        Smallest gain of interest, as a proportion of typical connectivity, and smallest
        normalisation of interest, as a share of the deviation from the reference group.
    sesoi_tau : float
        Smallest heterogeneity of interest: standard deviation over pairs of networks of their
        change beyond the global model, in Fisher z.
    n_permutations, seed : int
        Number of permutations, and seed of their random number generator.
    alpha : float
        Family-wise error rate.
    inferred : tuple of str
        Sentences that describe choices which were inferred from the data, not stated.
    criteria : tuple of (str, str, tuple of str)
        Role, column of ``participants.tsv`` and its values, for roles that are defined by other
        columns than `group_column`. Several criteria of one role must all be met.
    labels : tuple of (str, str)
        Names of roles for display, for example ``("treated", "escitalopram")``.
    global_signal_removed : bool or None
        Whether the global signal was regressed out of series or matrices before they were given to
        circuitshift; None if it is not stated.
    """

    baseline: str
    followup: str
    group_column: str = "group"
    treated: tuple[str, ...] = ()
    control: tuple[str, ...] = ()
    reference: tuple[str, ...] = ()
    reference_dataset: str = ""
    control_baseline: str = ""
    control_followup: str = ""
    order: str = ""
    treatment_first: tuple[str, ...] = ()
    visits: tuple[str, ...] = ()
    days: tuple[tuple[str, float], ...] = ()
    factor: str = ""
    factor_levels: tuple[str, ...] = ()
    site: str = ""
    harmonise: bool = False
    symptom: str = ""
    moderators: tuple[str, ...] = ()
    weighted: bool = False
    background: Background = "all"
    covariates: tuple[str, ...] = ()
    circuits: tuple[str, ...] = ()
    directions: tuple[tuple[str, str], ...] = ()
    primary: tuple[str, ...] = ()
    randomised: bool | None = None
    sesoi_z: float | None = None
    sesoi_d: float = _SESOI_D
    sesoi_gain: float = 0.15
    sesoi_share: float = 0.25
    sesoi_tau: float = 0.02
    n_permutations: int = 5000
    seed: int = 20260101
    alpha: float = 0.05
    inferred: tuple[str, ...] = ()
    criteria: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    global_signal_removed: bool | None = None

    def __post_init__(self) -> None:
        if self.baseline == self.followup:
            raise DesignError(
                f"baseline and follow-up are both session {self.baseline!r}; name two sessions "
                "under [sessions] of the study file"
            )
        if bool(self.control_baseline) != bool(self.control_followup):
            raise DesignError(
                "a crossover needs control_baseline and control_followup under [sessions] of the "
                "study file; one of them is missing"
            )
        if bool(self.order) != bool(self.treatment_first):
            raise DesignError(
                "the order of the conditions needs order, a column of participants.tsv, and "
                "treatment_first, its values in which the treatment came first; give both under "
                "[sessions] of the study file"
            )
        if self.order and not self.control_baseline:
            raise DesignError(
                "order applies to a crossover; remove it from [sessions] of the study file, or "
                "give control_baseline and control_followup"
            )
        if self.control_baseline and self.control:
            raise DesignError(
                "a crossover has no control group, because each participant has both conditions; "
                "remove [groups] control from the study file, or control_baseline and "
                "control_followup"
            )
        if self.visits and (self.visits[0] != self.baseline or self.followup not in self.visits):
            raise DesignError(
                f"visits = {list(self.visits)} must start with the baseline {self.baseline!r} and "
                f"include the follow-up {self.followup!r}; correct [sessions] of the study file"
            )
        labels = [self.baseline, self.followup, self.control_followup]
        if self.control_baseline != self.baseline:  # both conditions may share one baseline
            labels.append(self.control_baseline)
        if len(set(filter(None, labels))) < len(list(filter(None, labels))):
            raise DesignError(
                f"sessions {', '.join(filter(None, labels))} must be different; name each session "
                "once under [sessions] of the study file"
            )
        self._check_groups()
        self._check_numbers()

    def role_of(self, row: Mapping[str, str], *, label: str, data_set: str = "") -> Role:
        """Return the role of a participant.

        Parameters
        ----------
        row : mapping of str to str
            Cells of ``participants.tsv`` by column.
        label : str
            Name of the participant, for the message.
        data_set : str, default=""
            Name of the data set; empty for the main data set.

        Returns
        -------
        {"treated", "control", "reference", "none"}

        Raises
        ------
        DesignError
            If the participant meets the criteria of two roles.
        """
        if data_set:
            if data_set != self.reference_dataset:
                return "none"
            return "reference" if self._is_reference(row) else "none"
        own: tuple[Role, ...] = ("treated", "control")
        own = own if self.reference_dataset else (*own, "reference")
        found = [role for role in own if self._meets(role, row)]
        if len(found) > 1:
            raise DesignError(
                f"{label} is both {found[0]} and {found[1]}; correct [groups] of the study file"
            )
        if found:
            return found[0]
        has_roles = self.treated or any(role == "treated" for role, _, _ in self.criteria)
        return "none" if has_roles else "treated"

    def _is_reference(self, row: Mapping[str, str]) -> bool:
        """Return whether a participant of the reference data set belongs to the reference."""
        is_selected = bool(self.reference) or any(c[0] == "reference" for c in self.criteria)
        return self._meets("reference", row) if is_selected else True

    def _meets(self, role: Role, row: Mapping[str, str]) -> bool:
        """Return whether a participant meets the criteria of a role."""
        criteria = [(column, values) for name, column, values in self.criteria if name == role]
        if criteria:
            return all(row.get(column) in values for column, values in criteria)
        groups = {"treated": self.treated, "control": self.control, "reference": self.reference}
        return row.get(self.group_column) in groups.get(role, ())

    def primary_of(self, circuits: Sequence[str], own: Collection[str] = ()) -> tuple[str, ...]:
        """Return the circuits that determine the verdict.

        Parameters
        ----------
        circuits : sequence of str
            Names of the circuits that the atlas resolves, with those of the user's own files.
        own : collection of str, optional
            Names of the circuits that the user's own files define.

        Returns
        -------
        tuple of str
            The stated primary circuits; otherwise, all circuits that the study file names;
            otherwise, those of `DEFAULT_PRIMARY` that the atlas resolves, or all circuits if it
            resolves none of them, and those of `own`.
        """
        if self.primary:
            return self.primary
        if self.circuits:
            return tuple(circuits)
        chosen = tuple(name for name in DEFAULT_PRIMARY if name in circuits) or tuple(circuits)
        if not own:
            return chosen
        return tuple(name for name in circuits if name in chosen or name in own)

    def group_of(self, row: Mapping[str, str]) -> str:
        """Return the text that names the group of a participant in tables.

        Parameters
        ----------
        row : mapping of str to str
            Cells of ``participants.tsv`` by column.

        Returns
        -------
        str
            The cell of `group_column`; if the roles are defined by other columns, the cells of
            these, for example ``arm = 1``. ``n/a`` if all of them are missing.
        """
        columns = dict.fromkeys(column for _, column, _ in self.criteria)
        if self.group_column and (self.treated or not columns):
            return row.get(self.group_column, NOT_AVAILABLE)
        parts = [
            f"{column} = {row[column]}"
            for column in columns
            if row.get(column, NOT_AVAILABLE) != NOT_AVAILABLE
        ]
        return ", ".join(parts) or NOT_AVAILABLE

    def label_of(self, role: str) -> str:
        """Return the name of a role for display."""
        return dict(self.labels).get(role, role)

    def _check_groups(self) -> None:
        overlap = (
            set(self.treated) & set(self.control)
            | set(self.treated) & set(self.reference)
            | set(self.control) & set(self.reference)
        )
        if overlap and not self.reference_dataset:
            raise DesignError(
                f"group {', '.join(sorted(overlap))} has two roles; list each group under one of "
                "treated, control and reference"
            )

    def _check_numbers(self) -> None:
        if self.harmonise and not self.site:
            raise DesignError("harmonise = true requires [model] site in the study file")
        for name in _RANGES:
            value = getattr(self, name)
            if value is not None and (wrong := _out_of_range(name, value)):
                raise DesignError("; ".join(wrong))
        if self.sesoi_z is not None and self.sesoi_d != _SESOI_D:
            raise DesignError(
                "sesoi_z and sesoi_d both state the smallest effect of interest of circuits; "
                "remove one of them from [hypotheses] of the study file"
            )


@dataclass(frozen=True, slots=True)
class StudyFile:
    """Content of the study file, without its division into tables.

    Parameters
    ----------
    path : Path or None
        Path of the study file; None if there is none.
    stated : tuple of (str, object)
        Keys of `STUDY_KEYS` with their values; ``column`` is named ``group_column``.
    """

    path: Path | None = None
    stated: tuple[tuple[str, Any], ...] = ()


def read_study_file(path: Path) -> StudyFile:
    """Read and check a study file.

    Parameters
    ----------
    path : Path
        TOML file with the tables and keys of `STUDY_KEYS`.

    Returns
    -------
    StudyFile
        Stated keys and values.

    Raises
    ------
    TableError
        If the file cannot be read or is not TOML.
    InputProblemsError
        If tables, keys or values are invalid; the message lists all of them.
    """
    try:
        content = tomllib.loads(read_text(path))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise TableError(f"{path}: the file is not TOML ({error}); correct its syntax") from None
    problems: list[InputProblem] = []
    stated: list[tuple[str, Any]] = []
    for name, table in content.items():
        if name == "input":  # read by pipeline.bids.convert.description before this file
            continue
        if name not in STUDY_KEYS or not isinstance(table, dict):
            problems.append(_unknown(path, f"table [{name}]", name, STUDY_KEYS))
            continue
        for key, value in table.items():
            wrong = _wrong_value(path, name, key, value)
            if wrong:
                problems.append(wrong)
            else:
                stated += _flat(key, value)
    problems += _contradictions(path, dict(stated))
    if problems:
        raise InputProblemsError(f"{path.name} cannot be used", problems)
    criteria = tuple(item for key, items in stated if key == "criteria" for item in items)
    stated = [(key, value) for key, value in stated if key != "criteria"]
    return StudyFile(path, (*stated, *([("criteria", criteria)] if criteria else ())))


def _flat(key: str, value: object) -> list[tuple[str, Any]]:
    """Return a key of the study file, with a value that can be hashed, in the form of `Design`."""
    if key in _ROLES and isinstance(value, dict):
        criteria = [(key, str(column), _texts(item)) for column, item in value.items()]
        return [("criteria", tuple(criteria))]
    if key in _ROLES:
        return [(key, _texts(value))]
    return [("group_column" if key == "column" else key, _frozen(value))]


def _texts(value: object) -> tuple[str, ...]:
    """Return the values of a group as texts: one value, or a list of values."""
    return tuple(map(str, value if isinstance(value, list) else [value]))


def _unknown(path: Path, what: str, name: str, available: Iterable[str]) -> InputProblem:
    near = difflib.get_close_matches(name, list(available), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(available)}"
    return InputProblem(str(path), f"{what} is unknown", hint)


def _wrong_value(path: Path, table: str, key: str, value: object) -> InputProblem | None:
    available = STUDY_KEYS[table]
    if key not in available:
        return _unknown(path, f"key {key!r} of [{table}]", key, available)
    kind, meaning = available[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(_KINDS[k] for k in kinds if k is not int or float not in kinds)
        return InputProblem(str(path), f"[{table}] {key} = {value!r}", f"give {names}: {meaning}")
    if key in _ROLES:
        return _wrong_groups(path, key, value)
    if isinstance(value, list):
        return _wrong_list(path, f"[{table}] {key}", value, may_be_empty=table != "hypotheses")
    return _wrong_content(path, table, key, value)


def _wrong_content(path: Path, table: str, key: str, value: Any) -> InputProblem | None:  # noqa: ANN401 - TOML
    """Check a number, a text or a table of values, whose type is known to be right."""
    if key in _RANGES and (wrong := _out_of_range(key, value)):
        return InputProblem(str(path), f"[{table}] {wrong[0]}", wrong[1])
    if key in _ALLOWED:
        given = dict(value).items() if isinstance(value, dict) else [(key, value)]
        bad = {name: item for name, item in given if not _ALLOWED[key][0](item)}
        if key == "labels":
            bad |= {name: item for name, item in given if name not in _ROLES}
        if bad:
            found = bad if isinstance(value, dict) else repr(value)
            return InputProblem(str(path), f"[{table}] {key} = {found}", f"give {_ALLOWED[key][1]}")
    return None


def _contradictions(path: Path, stated: Mapping[str, Any]) -> list[InputProblem]:
    """Report keys of [hypotheses] that exclude each other."""
    problems = []
    if "sesoi_z" in stated and "sesoi_d" in stated:
        problems.append(
            InputProblem(
                str(path),
                "[hypotheses] sesoi_z and sesoi_d both state the smallest effect of interest of "
                "circuits",
                "remove one of them",
            )
        )
    circuits = stated.get("circuits", ())
    for key in ("primary", "directions"):
        others = [name for name in dict.fromkeys(_names(stated.get(key))) if name not in circuits]
        if circuits and others:
            problems.append(
                InputProblem(
                    str(path),
                    f"[hypotheses] {key} names {', '.join(others)}, which circuits does not name",
                    f"add {'it' if len(others) == 1 else 'them'} to circuits, or remove circuits "
                    "so that all circuits are analysed",
                )
            )
    return problems


def _names(value: object) -> tuple[str, ...]:
    """Return the names of circuits in a list of names or in pairs of names and directions."""
    items = value if isinstance(value, tuple) else ()
    return tuple(item if isinstance(item, str) else item[0] for item in items)


def _wrong_list(
    path: Path, key: str, value: list[object], *, may_be_empty: bool
) -> InputProblem | None:
    """Check a list of names, each of which may occur once."""
    if not value and not may_be_empty:
        return InputProblem(str(path), f"{key} is empty", "name at least one, or remove the key")
    if not all(isinstance(item, str) for item in value):
        return InputProblem(str(path), f"{key} = {value!r}", "specify a list of names in quotes")
    twice = sorted({str(item) for item in value if value.count(item) > 1})
    if twice:
        return InputProblem(str(path), f"{key} names {', '.join(twice)} twice", "name each once")
    return None


def _wrong_groups(path: Path, key: str, value: object) -> InputProblem | None:
    """Check the groups of a role: a list of names, or a table of columns and values."""
    items = list(value.values()) if isinstance(value, dict) else value
    items = items if isinstance(items, list) else []
    cells = [cell for item in items for cell in (item if isinstance(item, list) else [item])]
    if cells and all(isinstance(c, str | int | float) and not isinstance(c, bool) for c in cells):
        return None
    if value == []:
        return None
    return InputProblem(
        str(path),
        f"[groups] {key} = {value!r}",
        f'give names in quotes ({key} = ["..."]) or values of columns ({key} = {{arm = "..."}})',
    )


#: Keys of [groups] that define roles.
_ROLES = ("treated", "control", "reference")

#: Numbers that may not have every value: smallest and largest value, whether these are excluded,
#: and what to do.
_RANGES: dict[str, tuple[float, float, bool, str]] = {
    **{
        name: (
            0.0,
            math.inf,
            True,
            f"a smallest effect of interest is above 0; for example {usual}",
        )
        for name, usual in (
            ("sesoi_z", 0.05),
            ("sesoi_d", _SESOI_D),
            ("sesoi_gain", 0.15),
            ("sesoi_share", 0.25),
            ("sesoi_tau", 0.02),
        )
    },
    "alpha": (0, 0.5, True, "an error rate is above 0 and below 0.5; use for example 0.05"),
    "n_permutations": (
        20,
        1_000_000,
        False,
        "fewer than 20 cannot reach p = .05, and more than 1000000 add no precision; use for "
        "example 5000",
    ),
    "seed": (0, math.inf, False, "a seed is not negative; use for example 20260101"),
}


def _out_of_range(name: str, value: Any) -> tuple[str, str] | None:  # noqa: ANN401 - any number
    """Return what is wrong with a number of the study file, and what to do; None if it is valid."""
    low, high, excluded, fix = _RANGES[name]
    is_valid = low < value < high if excluded else low <= value <= high
    shown = value if isinstance(value, int) else f"{value:g}"
    return None if is_valid else (f"{name} = {shown}", fix)


#: What the values of some keys must be, and how to say it.
_ALLOWED: dict[str, tuple[Callable[[object], bool], str]] = {
    "directions": (lambda v: v in ("increase", "decrease"), "'increase' or 'decrease'"),
    "background": (lambda v: v in get_args(Background), "'all', 'disjoint' or 'matched'"),
    "days": (lambda v: isinstance(v, int | float), "numbers of days"),
    "labels": (
        lambda v: isinstance(v, str) and bool(v.strip()),
        "names in quotes, for treated, control or reference",
    ),
}

_KINDS: dict[type, str] = {
    bool: "true or false",
    str: "text in quotes",
    int: "an integer",
    float: "a number",
    list: "a list",
    dict: "a table",
}


def _frozen(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    return value
