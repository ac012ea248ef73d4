"""Read the study file and infer the parts of the design that it does not state.

Confusing the arms of a study would invert its verdict. Therefore, roles and sessions are inferred
only from names that have one meaning in the field. Each inference is stated in the report. All
other names raise an error that states what to add to the study file.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from circuitshift.pipeline.errors import DesignError, InputProblem, InputProblemsError, TableError
from circuitshift.pipeline.io.tables import NOT_AVAILABLE, read_text
from circuitshift.pipeline.records import Background

__all__ = ["STUDY_KEYS", "Design", "Observed", "StudyFile", "infer_design", "read_study_file"]

#: Tables of the study file, their keys, and type and meaning of each value.
STUDY_KEYS: dict[str, dict[str, tuple[type | tuple[type, ...], str]]] = {
    "sessions": {
        "baseline": (str, "label of the session before treatment"),
        "followup": (str, "label of the session after treatment"),
        "control_baseline": (str, "crossover: session before the control condition"),
        "control_followup": (str, "crossover: session after the control condition"),
        "visits": (list, "all sessions in temporal order, for trajectories"),
        "days": (dict, "days since baseline of each session: {pre = 0, week2 = 14}"),
    },
    "groups": {
        "column": (str, "column of participants.tsv that names the group"),
        "treated": (list, "groups that were treated"),
        "control": (list, "groups with the same visits and no or sham treatment"),
        "reference": (list, "healthy groups; one visit is sufficient"),
        "reference_dataset": (str, "name of the data set that contains the reference group"),
    },
    "model": {
        "covariates": (list, "columns of participants.tsv to regress out"),
        "site": (str, "column, or score by session, that contains the scanner"),
        "harmonise": (bool, "harmonise edges across sites by ComBat"),
        "factor": (str, "column with a second treatment, crossed with the first"),
        "factor_levels": (list, "its two levels: without, with"),
        "symptom": (str, "score by session whose change is related to that of connectivity"),
        "weighted": (bool, "weight participants by the degrees of freedom of their visits"),
        "background": (str, "edges to which the global model is fitted: all, disjoint or matched"),
    },
    "hypotheses": {
        "circuits": (list, "circuits that are hypotheses"),
        "directions": (dict, "circuits whose direction is fixed in advance: increase or decrease"),
        "sesoi_z": ((int, float), "smallest effect of interest, Fisher z"),
    },
    "tests": {
        "n_permutations": (int, "number of permutations"),
        "seed": (int, "seed of the permutations"),
        "alpha": ((int, float), "family-wise error rate"),
    },
}

_GROUP_COLUMNS = ("group", "arm", "treatment", "treatment_group", "intervention")
_BEFORE = re.compile(r"^(pre|baseline|base|bl|before|predrug|pretreatment)\d*$|pre$")
_AFTER = re.compile(r"^(post|followup|fu|after|postdrug|posttreatment)\d*$|post$")
_UNTREATED = re.compile(r"placebo|sham|wait|no.?treat|untreated|\btau\b", re.IGNORECASE)
_HEALTHY = re.compile(r"healthy|^hc$|^hv$|^norm(al|als)?$|reference", re.IGNORECASE)
_AMBIGUOUS = re.compile(r"^(control|controls|ctrl|con)$", re.IGNORECASE)


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
        Circuits that are hypotheses; if empty, all circuits that resolve on the atlas.
    directions : tuple of (str, str)
        Circuits whose direction is fixed in advance, for example ``("dmn", "decrease")``.
    sesoi_z : float
        Smallest effect size of interest, in Fisher z.
    n_permutations, seed : int
        Number of permutations, and seed of their random number generator.
    alpha : float
        Family-wise error rate.
    inferred : tuple of str
        Sentences that describe choices which were inferred from the data, not stated.
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
    visits: tuple[str, ...] = ()
    days: tuple[tuple[str, float], ...] = ()
    factor: str = ""
    factor_levels: tuple[str, ...] = ()
    site: str = ""
    harmonise: bool = False
    symptom: str = ""
    weighted: bool = False
    background: Background = "all"
    covariates: tuple[str, ...] = ()
    circuits: tuple[str, ...] = ()
    directions: tuple[tuple[str, str], ...] = ()
    sesoi_z: float = 0.1
    n_permutations: int = 5000
    seed: int = 20260101
    alpha: float = 0.05
    inferred: tuple[str, ...] = ()

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
        if not 0 < self.alpha < 0.5:
            raise DesignError(
                f"alpha = {self.alpha:g} is not a valid error rate; use for example 0.05"
            )
        if not self.sesoi_z > 0:
            raise DesignError(
                f"sesoi_z = {self.sesoi_z:g}: the smallest effect size of interest must be above 0"
            )
        if self.n_permutations < 20:
            raise DesignError(
                f"n_permutations = {self.n_permutations} cannot reach p = .05; use 1000 or more"
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


@dataclass(frozen=True, slots=True)
class Observed:
    """Sessions, groups and scores that the data sets contain.

    Parameters
    ----------
    sessions : mapping of str to sequence of str
        Labels of the sessions with data, by participant of the main data set.
    columns : mapping of str to mapping of str to str
        Columns of ``participants.tsv`` by name; each maps participants to values.
    reference_groups : mapping of str to sequence of str
        Groups of each additional data set, by its name; empty for a data set without groups.
    scores : sequence of str
        Names of the variables that are available by session.
    """

    sessions: Mapping[str, Sequence[str]]
    columns: Mapping[str, Mapping[str, str]]
    reference_groups: Mapping[str, Sequence[str]]
    scores: Sequence[str] = ()


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
                stated.append(("group_column" if key == "column" else key, _frozen(value)))
    if problems:
        raise InputProblemsError(f"{path.name} cannot be used", problems)
    return StudyFile(path, tuple(stated))


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
        names = " or ".join(_KINDS[k] for k in kinds)
        return InputProblem(
            str(path), f"[{table}] {key} = {value!r}", f"specify {names}: {meaning}"
        )
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        return InputProblem(
            str(path), f"[{table}] {key} = {value!r}", "specify a list of names in quotes"
        )
    if key in _ALLOWED:
        items = dict(value).items() if isinstance(value, dict) else [(key, value)]
        invalid = {name: item for name, item in items if not _ALLOWED[key][0](item)}
        if invalid:
            return InputProblem(str(path), f"{key} = {invalid}", f"specify {_ALLOWED[key][1]}")
    return None


#: Test of the values of some keys, and description of the valid values.
_ALLOWED: dict[str, tuple[Callable[[object], bool], str]] = {
    "directions": (lambda v: v in ("increase", "decrease"), "'increase' or 'decrease'"),
    "background": (lambda v: v in get_args(Background), "'all', 'disjoint' or 'matched'"),
    "days": (lambda v: isinstance(v, int | float), "numbers of days"),
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


def infer_design(study: StudyFile, observed: Observed) -> Design:
    """Complete the design of the study file from the data.

    Parameters
    ----------
    study : StudyFile
        Content of the study file.
    observed : Observed
        Sessions, groups and scores in the data.

    Returns
    -------
    Design
        Complete design; its attribute `inferred` lists all choices that were not stated.

    Raises
    ------
    DesignError, InputProblemsError
        If the study file names something that the data do not contain, or if a role or a session
        cannot be inferred without ambiguity.
    """
    stated = dict(study.stated)
    inferred: list[str] = []
    stated |= _sessions(stated, observed, inferred)
    column = stated.setdefault("group_column", _group_column(observed))
    if column and column not in observed.columns:
        raise DesignError(
            f"participants.tsv has no column {column!r}; choose from "
            f"{', '.join(observed.columns) or 'none'} for [groups] column of the study file"
        )
    stated |= _reference_dataset(stated, observed, inferred)
    problems = _problems(stated, observed)
    if problems:
        raise InputProblemsError("the study file does not match the data", problems)
    own = () if stated.get("reference_dataset") else stated.get("reference", ())
    if not any((stated.get("treated"), stated.get("control"), own)):
        stated |= _roles(stated, observed, inferred)
    elif not stated.get("treated"):
        stated["treated"] = _treated_by_exclusion(stated, observed, inferred)
    stated |= _remaining_groups(stated, observed, inferred)
    design = Design(**stated)
    return replace(design, inferred=tuple(inferred))


def _sessions(stated: Mapping[str, Any], observed: Observed, inferred: list[str]) -> dict[str, str]:
    """Infer baseline and follow-up from the session labels."""
    labels = sorted({s for sessions in observed.sessions.values() for s in sessions}, key=_natural)
    labels = [label for label in labels if label not in _control_sessions(stated)]
    if "baseline" in stated and "followup" in stated:
        return {}
    if len(labels) < 2:
        raise DesignError(
            f"an analysis of change needs two sessions, but the data contain {len(labels)} "
            f"({', '.join(labels) or 'none'}); check that sessions are named ses-<label> and that "
            "--session-label selects both"
        )
    before = [label for label in labels if _BEFORE.search(label.lower())]
    after = [label for label in labels if _AFTER.search(label.lower())]
    if len(labels) == 2 and not before and not after:
        before, after = [labels[0]], [labels[1]]
    elif len(labels) == 2 and bool(before) != bool(after):  # one name suffices: pre and 3months
        before = before or [label for label in labels if label not in after]
        after = after or [label for label in labels if label not in before]
    baseline = stated.get("baseline", before[0] if len(before) == 1 else "")
    followup = stated.get("followup", after[0] if len(after) == 1 else "")
    if not baseline or not followup:
        raise DesignError(
            f"cannot determine from the labels {', '.join(labels)} which session is before and "
            'which is after treatment; add to the study file: [sessions] baseline = "...", '
            'followup = "..."'
        )
    inferred.append(
        f"Baseline ses-{baseline} and follow-up ses-{followup} were inferred from session labels."
    )
    return {"baseline": baseline, "followup": followup}


def _control_sessions(stated: Mapping[str, Any]) -> set[str]:
    return {str(stated.get("control_baseline", "")), str(stated.get("control_followup", ""))}


def _natural(label: str) -> list[tuple[int, int | str]]:
    """Return a sort key that orders numbers by value: 2 before 10."""
    parts = re.findall(r"\d+|\D+", label.lower())
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


def _group_column(observed: Observed) -> str:
    lower = {name.lower(): name for name in observed.columns}
    return next((lower[name] for name in _GROUP_COLUMNS if name in lower), "")


def _groups(stated: Mapping[str, Any], observed: Observed) -> dict[str, list[str]]:
    """Return the participants with data by group, sorted by the names of the groups."""
    column = observed.columns.get(str(stated["group_column"]), {})
    out: dict[str, list[str]] = {}
    for person in sorted(observed.sessions):
        group = column.get(person, NOT_AVAILABLE)
        if group != NOT_AVAILABLE:
            out.setdefault(group, []).append(person)
    return dict(sorted(out.items()))


def _reference_dataset(
    stated: Mapping[str, Any], observed: Observed, inferred: list[str]
) -> dict[str, Any]:
    """Choose the reference group of an additional data set, if there is one."""
    named = observed.reference_groups
    if not named or stated.get("reference_dataset", "") not in ("", *named):
        return {}  # `_problems` reports a data set that does not exist
    if not stated.get("reference_dataset") and len(named) > 1:
        raise DesignError(
            f"there are {len(named)} reference data sets ({', '.join(named)}); choose one under "
            "[groups] reference_dataset of the study file"
        )
    name = stated.get("reference_dataset") or next(iter(named))
    chosen = {"reference_dataset": name}
    groups = named[name]
    if stated.get("reference") or not groups:
        return chosen
    healthy = tuple(g for g in groups if _HEALTHY.search(g) or _AMBIGUOUS.search(g))
    if not healthy:
        raise DesignError(
            f"no group of data set {name} ({', '.join(groups)}) is a healthy group by its name; "
            "add to the study file: [groups] reference = [...]"
        )
    inferred.append(
        f"Reference group {', '.join(healthy)} of data set {name} was inferred from its name."
    )
    return chosen | {"reference": healthy}


def _problems(stated: Mapping[str, Any], observed: Observed) -> list[InputProblem]:
    """List everything that the study file names and the data do not contain."""
    problems = []
    labels = {s for sessions in observed.sessions.values() for s in sessions}
    for key in ("baseline", "followup", "control_baseline", "control_followup"):
        if stated.get(key) and stated[key] not in labels:
            problems.append(_not_in_data("study file", f"{key} session", stated[key], labels))
    problems += [
        _not_in_data("study file", "visit", label, labels)
        for label in (*stated.get("visits", ()), *dict(stated.get("days", ())))
        if label not in labels
    ]
    without = set(stated.get("visits", ())) - set(dict(stated.get("days", ())))
    if stated.get("days") and without:
        labels_without = ", ".join(sorted(without))
        problems.append(
            InputProblem(
                "study file",
                f"days of {labels_without} are missing",
                "add the days of all visits to [sessions] days",
            )
        )
    problems += _model_problems(stated, observed)
    column = observed.columns.get(str(stated["group_column"]), {})
    groups = set(column.values()) - {NOT_AVAILABLE}
    other = str(stated.get("reference_dataset", ""))
    if other and other not in observed.reference_groups:
        names = observed.reference_groups
        problems.append(_not_in_data("study file", "reference_dataset", other, names))
    for role in ("treated", "control", "reference"):
        existing = (
            set(observed.reference_groups.get(other, groups))
            if role == "reference" and other
            else groups
        )
        problems += [
            _not_in_data("study file", f"{role} group", group, existing)
            for group in stated.get(role, ())
            if group not in existing
        ]
    problems += [
        _not_in_data("study file", "covariate", name, observed.columns)
        for name in stated.get("covariates", ())
        if name not in observed.columns
    ]
    return problems


def _model_problems(stated: Mapping[str, Any], observed: Observed) -> list[InputProblem]:
    problems = []
    site, factor, symptom = (str(stated.get(key, "")) for key in ("site", "factor", "symptom"))
    if site and site not in (*observed.columns, *observed.scores):
        problems.append(
            _not_in_data("study file", "site", site, (*observed.columns, *observed.scores))
        )
    if symptom and symptom not in observed.scores:
        problems.append(_not_in_data("study file", "symptom", symptom, observed.scores))
    if factor and factor not in observed.columns:
        problems.append(_not_in_data("study file", "factor", factor, observed.columns))
    elif factor:
        existing = sorted(set(observed.columns[factor].values()) - {NOT_AVAILABLE})
        levels = stated.get("factor_levels", ())
        if len(levels) != 2 or not set(levels) <= set(existing):
            problems.append(
                InputProblem(
                    "study file",
                    f"factor {factor!r} has the levels {', '.join(existing) or 'none'}",
                    "specify the two levels to compare: factor_levels = [without, with]",
                )
            )
    return problems


def _not_in_data(where: str, what: str, name: str, available: Iterable[str]) -> InputProblem:
    existing = ", ".join(sorted(available)) or "none"
    return InputProblem(where, f"{what} {name!r} is not in the data", f"choose from {existing}")


def _roles(
    stated: Mapping[str, Any], observed: Observed, inferred: list[str]
) -> dict[str, tuple[str, ...]]:
    """Infer roles from group names that have one meaning."""
    groups = _groups(stated, observed)
    if not groups:
        inferred.append(
            "participants.tsv has no group column: all participants are analysed as treated."
        )
        return {}
    if len(groups) == 1:
        inferred.append(
            f"There is one group ({next(iter(groups))}): all participants are analysed as treated."
        )
        return {}
    healthy = tuple(g for g in groups if _HEALTHY.search(g))
    unclear = [group for group in groups if _AMBIGUOUS.search(group)]
    named = observed.columns[str(stated["group_column"])].values()
    has_healthy = any(_HEALTHY.search(group) for group in named)
    if unclear and not has_healthy and not stated.get("reference_dataset"):
        raise DesignError(
            f"group {unclear[0]!r} may be healthy participants or untreated patients; add to the "
            f'study file: [groups] column = "{stated["group_column"]}", treated = [...], '
            f"control = [...], reference = [...]; the groups are {', '.join(groups)}"
        )
    # if there is also a healthy group, a group named control consists of untreated patients
    roles = {
        "control": tuple(g for g in groups if _UNTREATED.search(g) or g in unclear),
    }
    if stated.get("reference_dataset"):
        inferred += [
            f"Group {g} has no role, because the reference group is in another data set."
            for g in healthy
        ]
    else:
        roles["reference"] = healthy
    assigned = {*roles["control"], *healthy}
    roles["treated"] = tuple(g for g in groups if g not in assigned)
    if not roles["treated"]:
        raise DesignError(
            f"none of the groups {', '.join(groups)} is a treated group by its name; add to the "
            "study file: [groups] treated = [...]"
        )
    listed = "; ".join(f"{role}: {', '.join(names)}" for role, names in roles.items() if names)
    inferred.append(
        f"Roles were inferred from the group names in column {stated['group_column']}: {listed}."
    )
    return roles


def _remaining_groups(
    stated: Mapping[str, Any], observed: Observed, inferred: list[str]
) -> dict[str, tuple[str, ...]]:
    """Infer the roles of groups that the study file does not mention, and list those without."""
    roles = {role: tuple(stated.get(role, ())) for role in ("treated", "control", "reference")}
    if not roles["treated"]:
        return {}  # no groups
    own = () if stated.get("reference_dataset") else roles["reference"]
    named = {*roles["treated"], *roles["control"], *own}
    rest = [group for group in _groups(stated, observed) if group not in named]
    out = {}
    for role, pattern, is_open in (
        ("reference", _HEALTHY, not stated.get("reference_dataset")),
        ("control", _UNTREATED, not stated.get("control_baseline")),
    ):
        found = tuple(g for g in rest if pattern.search(g))
        if is_open and found and not roles[role]:
            out[role] = found
            rest = [g for g in rest if g not in found]
            inferred.append(f"Role {role} of {', '.join(found)} was inferred from group names.")
    if rest:
        inferred.append(f"Groups without a role, which are not analysed: {', '.join(rest)}.")
    return out


def _treated_by_exclusion(
    stated: Mapping[str, Any], observed: Observed, inferred: list[str]
) -> tuple[str, ...]:
    """Infer that groups without another role are treated."""
    assigned = {*stated.get("control", ())}
    if not stated.get("reference_dataset"):
        assigned |= {*stated.get("reference", ())}
    treated = tuple(group for group in _groups(stated, observed) if group not in assigned)
    if not treated:
        raise DesignError(
            "all groups are control or reference groups; add treated = [...] to [groups] of the "
            "study file"
        )
    inferred.append(f"Groups without another role are analysed as treated: {', '.join(treated)}.")
    return treated
