"""Resolve the arms of a study: which participants are treated, controls or healthy reference.

The sources are, in this order, the study file and names of groups that have one meaning in the
field. Numbers, letters, names of drugs and diagnoses do not decide: they are listed with their
counts, and the study file must state their roles.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from circuitshift.pipeline.errors import InputProblem
from circuitshift.pipeline.io.tables import NOT_AVAILABLE
from circuitshift.pipeline.study.resolution.group_words import (
    is_arm_column,
    is_order_column,
    may_be_arm_column,
    word_of,
)
from circuitshift.pipeline.study.resolution.groups import (
    MAX_GROUPS,
    ROLES,
    Group,
    Roles,
    count_of,
    groups_of,
    groups_table,
    may_name_arms,
)
from circuitshift.pipeline.study.resolution.records import (
    Decision,
    Observed,
    Source,
    normal_form,
)
from circuitshift.pipeline.study.resolution.reference import resolve_reference_dataset

__all__ = ["resolve_roles"]


def resolve_roles(stated: Mapping[str, Any], observed: Observed) -> Roles:
    """Decide which groups are treated, controls and reference.

    Parameters
    ----------
    stated : mapping of str to object
        Keys of the study file: ``group_column``, ``treated``, ``control``, ``reference``,
        ``criteria`` and ``reference_dataset``.
    observed : Observed

    Returns
    -------
    Roles
    """
    out = Roles(reference_dataset=str(stated.get("reference_dataset", "")))
    resolve_reference_dataset(stated, observed, out)
    spelled = tuple(_spelled_criteria(stated, observed, out))
    out.criteria = (*spelled, *out.criteria)
    for role, column, values in spelled:
        listed = " or ".join(values)
        answer = f"{column} = {listed} ({count_of(_with_values(observed, column, values))})"
        out.decisions.append(Decision(role, answer, "stated", "The study file states it."))
    lists = {role: tuple(map(str, stated.get(role, ()))) for role in ROLES}
    if stated.get("group_column") and stated["group_column"] not in observed.columns:
        available = ", ".join(observed.columns) or "none"
        out.refusals.append(
            InputProblem(
                "study file",
                f"participants.tsv has no column {stated['group_column']!r}",
                f"name one of its columns under [groups] column: {available}",
            )
        )
        return out
    own_lists = any(
        lists[role] for role in ROLES if not (role == "reference" and out.reference_dataset)
    )
    if own_lists:
        _resolve_stated(stated, lists, observed, out)
    elif not _has_own_criteria(out):
        _resolve_unstated(stated, observed, out)
    else:
        _complete_criteria(observed, out)
    return out


def _has_own_criteria(out: Roles) -> bool:
    return any(role != "reference" or not out.reference_dataset for role, _, _ in out.criteria)


def _complete_criteria(observed: Observed, out: Roles) -> None:
    """Find the treated group if the study file states only other roles, by criteria."""
    if out.refusals or any(role == "treated" for role, _, _ in out.criteria):
        return
    own = [c for c in out.criteria if c[0] != "reference" or not out.reference_dataset]
    columns = list(dict.fromkeys(column for _, column, _ in own))
    rest: list[Group] = []
    if len(columns) == 1:
        values = {normal_form(v) for _, _, items in own for v in items}
        groups = groups_of(columns[0], observed)
        rest = [group for form, group in groups.items() if form not in values]
        n_missing = len(observed.sessions) - sum(len(g.participants) for g in groups.values())
        if len(rest) == 1 and not n_missing and rest[0].word in ("", "treated"):
            out.criteria = (*out.criteria, ("treated", columns[0], rest[0].spellings))
            reason = f"It is the only group in column {columns[0]} without another role."
            out.decisions.append(Decision("treated", str(rest[0]), "counted", reason))
            return
    listed = f", and column {columns[0]} leaves {', '.join(map(str, rest))}" if rest else ""
    out.refusals.append(
        InputProblem(
            "study file",
            f"the treated group is not stated{listed}",
            "name it in the study file:\n[groups]\n"
            f'treated = {{{_key(columns[0] if columns else "...")} = ["..."]}}',
        )
    )


def _with_values(observed: Observed, column: str, values: Iterable[str]) -> list[str]:
    forms = {normal_form(value) for value in values}
    texts = observed.columns.get(column, {})
    return [
        p for p in sorted(observed.sessions) if normal_form(texts.get(p, NOT_AVAILABLE)) in forms
    ]


# ------------------------------------------------------------------ roles in the study file


def _spelled_criteria(
    stated: Mapping[str, Any], observed: Observed, out: Roles
) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    """Replace the stated values of criteria by all spellings that occur; refuse absent ones."""
    for role, column, values in stated.get("criteria", ()):
        is_other = role == "reference" and bool(out.reference_dataset)
        columns = (
            observed.reference.get(out.reference_dataset, {}) if is_other else observed.columns
        )
        if column not in columns:
            available = ", ".join(columns) or "none"
            out.refusals.append(
                InputProblem(
                    "study file",
                    f"{role} names column {column!r}, which participants.tsv does not have",
                    f"name one of its columns: {available}",
                )
            )
            continue
        cells = columns[column].values()
        yield role, column, _spellings(role, values, cells, column=column, out=out)


def _spellings(
    role: str, values: Sequence[str], cells: Iterable[str], *, column: str, out: Roles
) -> tuple[str, ...]:
    """Return all spellings of the stated values; refuse values that do not occur."""
    available = sorted(set(cells) - {NOT_AVAILABLE})
    found: list[str] = []
    for value in values:
        same = [text for text in available if normal_form(text) == normal_form(value)]
        if not same:
            listed = ", ".join(f'"{text}"' for text in available[:MAX_GROUPS]) or "none"
            out.refusals.append(
                InputProblem(
                    "study file",
                    f"{role} group {value!r} is not in column {column!r} of participants.tsv",
                    f"the column contains {listed}",
                )
            )
        found += same
        if len(same) > 1:
            listed = ", ".join(same)
            out.notes.append(f"Column {column}: {listed} are spellings of one group, {value}.")
    return tuple(dict.fromkeys(found))


def _resolve_stated(
    stated: Mapping[str, Any],
    lists: Mapping[str, tuple[str, ...]],
    observed: Observed,
    out: Roles,
) -> None:
    """Use the stated groups, and recognised names for roles that the study file omits."""
    out.column = str(stated.get("group_column", "")) or _column_of_values(lists, observed, out)
    if not out.column:
        return
    other = out.reference_dataset
    groups = groups_of(out.column, observed)
    used: set[str] = set()
    for role in ROLES:
        if not lists[role]:
            continue
        is_other = role == "reference" and bool(other)
        cells = (
            observed.reference.get(other, {}).get(out.column, {}).values()
            if is_other
            else observed.columns[out.column].values()
        )
        out.groups[role] = _spellings(role, lists[role], cells, column=out.column, out=out)
        forms = {normal_form(value) for value in out.groups[role]}
        if not is_other:
            used |= forms
        listed = ", ".join(
            str(group) for form, group in groups.items() if form in forms and not is_other
        )
        answer = listed or ", ".join(lists[role]) + (f" of data set {other}" if is_other else "")
        out.decisions.append(Decision(role, answer, "stated", "The study file states it."))
    rest = {form: group for form, group in groups.items() if form not in used}
    _complete(stated, rest, out)


def _column_of_values(lists: Mapping[str, tuple[str, ...]], observed: Observed, out: Roles) -> str:
    """Find the only column that contains all stated groups."""
    wanted = {
        normal_form(value)
        for role in ROLES
        for value in lists[role]
        if not (role == "reference" and out.reference_dataset)
    }
    containing = [
        column
        for column in observed.columns
        if wanted <= {normal_form(text) for text in observed.columns[column].values()}
    ]
    named = [column for column in containing if is_arm_column(column)]
    candidates = containing if len(containing) == 1 else named
    if len(candidates) == 1:
        return candidates[0]
    arm_columns = [column for column in observed.columns if is_arm_column(column)]
    if not containing and len(arm_columns) == 1:
        return arm_columns[0]  # the absent groups are reported with the content of this column
    what = (
        f"the groups under [groups] occur in several columns ({', '.join(containing)})"
        if containing
        else "no column of participants.tsv contains all groups that are named under [groups]"
    )
    available = ", ".join(observed.columns) or "none"
    out.refusals.append(
        InputProblem(
            "study file", what, f'add column = "..." under [groups]; the columns are {available}'
        )
    )
    return ""


def _complete(stated: Mapping[str, Any], rest: dict[str, Group], out: Roles) -> None:
    """Give groups that the study file does not name the role of their name, or none."""
    with_criteria = {role for role, _, _ in out.criteria}
    empty = [role for role in ROLES if role not in out.groups and role not in with_criteria]
    for role in ("reference", "control"):
        is_possible = not (
            stated.get("control_baseline") if role == "control" else out.reference_dataset
        )
        found = {form: group for form, group in rest.items() if group.word == role}
        if role in empty and is_possible and found:
            _assign(role, found.values(), "recognised", out)
            rest = {form: group for form, group in rest.items() if form not in found}
    if "treated" in empty:
        found = {form: group for form, group in rest.items() if group.word == "treated"}
        if len(rest) == 1 and not next(iter(rest.values())).word:
            _assign("treated", rest.values(), "counted", out)
        elif found and len(found) == len(rest):
            _assign("treated", found.values(), "recognised", out)
        else:
            listed = ", ".join(map(str, rest.values())) or "none"
            out.refusals.append(
                InputProblem(
                    "study file",
                    f"the treated group is not stated, and the groups without a role are {listed}",
                    "name the treated groups in the study file:\n[groups]\ntreated = [...]",
                )
            )
        rest = {}
    if rest:
        listed = ", ".join(map(str, rest.values()))
        out.notes.append(f"Groups without a role, which are not analysed: {listed}.")


def _assign(role: str, groups: Iterable[Group], source: Source, out: Roles) -> None:
    """Give groups a role and record the grounds."""
    groups = tuple(groups)
    out.groups[role] = tuple(text for group in groups for text in group.spellings)
    reasons = {
        "recognised": f"The names in column {out.column} have one meaning in the field.",
        "counted": f"It is the only group in column {out.column} without another role.",
    }
    answer = ", ".join(map(str, groups))
    out.decisions.append(Decision(role, answer, source, reasons[source]))
    for group in groups:
        if len(group.spellings) > 1:
            listed = ", ".join(group.spellings)
            out.notes.append(f"Column {out.column}: {listed} are spellings of one group.")


# -------------------------------------------------------------- roles by recognised names


def _resolve_unstated(stated: Mapping[str, Any], observed: Observed, out: Roles) -> None:
    """Decide by the names of groups, if one column names the arms and all names are recognised."""
    modelled = {*stated.get("covariates", ()), stated.get("site", ""), stated.get("factor", "")}
    if stated.get("group_column"):
        candidates = [str(stated["group_column"])]
    else:
        candidates = [
            c for c in observed.columns if c not in modelled and may_name_arms(c, observed)
        ]
    is_crossover = bool(stated.get("control_baseline"))
    if not stated.get("group_column"):
        problem = _problem_of_columns(candidates, stated, observed)
        if problem is not None:
            out.refusals.append(problem)
            return
        candidates = [column for column in candidates if not is_order_column(column)]
    divided = [column for column in candidates if len(groups_of(column, observed)) > 1]
    candidates = divided or candidates
    if not candidates:
        _one_arm(observed, out, modelled, is_crossover=is_crossover)
        return
    if not _are_equivalent(candidates, observed):
        out.refusals.append(_refusal_of_columns(candidates, observed))
        return
    recognised = [c for c in candidates if all(g.word for g in groups_of(c, observed).values())]
    out.column = (recognised or candidates)[0]
    groups = groups_of(out.column, observed)
    if len(groups) == 1 and next(iter(groups.values())).word in ("", "treated", "reference"):
        group = next(iter(groups.values()))
        if len(group.participants) < len(observed.sessions):
            out.refusals.append(_refusal_of_missing(out.column, group, observed))
            return
        reason = f"Column {out.column} has one group, so the study has one arm."
        out.decisions.append(Decision("treated", str(group), "counted", reason))
        return
    _recognise(groups, stated, out)


def _problem_of_columns(
    candidates: Sequence[str], stated: Mapping[str, Any], observed: Observed
) -> InputProblem | None:
    """Return why columns that may name arms must not be used; None if there is no reason."""
    if varying := _varying(candidates, observed):
        return InputProblem(
            "participants.tsv",
            f"columns {', '.join(varying)} may name the arms and differ between the visits",
            "write one column with the arm of each participant, and name it under [groups]",
        )
    if stated.get("control_baseline"):  # each participant has both conditions, in some order
        return None
    orders = [column for column in candidates if is_order_column(column)]
    if orders:
        return _refusal_of_order(orders[0], observed)
    return None if candidates else _problem_of_covariates(stated, observed)


def _problem_of_covariates(stated: Mapping[str, Any], observed: Observed) -> InputProblem | None:
    """Refuse a covariate that names the arms, which no other column does."""
    for column in stated.get("covariates", ()):
        groups = groups_of(column, observed)
        if len(groups) > 1 and is_arm_column(column) and may_name_arms(column, observed):
            listed = ", ".join(map(str, groups.values()))
            by_role = {r: [g.name for g in groups.values() if g.word == r] for r in ROLES}
            return InputProblem(
                "study file",
                f"covariate {column!r} may name the arms ({listed}), and no other column does, so "
                "that all participants would be treated",
                "remove it from [model] covariates, or state the roles under [groups] (in a study "
                "with one arm, all groups are treated):\n" + groups_table(column, by_role),
            )
    return None


def _varying(candidates: Sequence[str], observed: Observed) -> list[str]:
    """Return columns of one name for several visits (group_ses-pre) whose cells differ."""
    by_name: dict[str, list[str]] = {}
    for column in candidates:
        name, separator, _ = column.partition("_ses-")
        if separator:
            by_name.setdefault(name, []).append(column)
    for columns in by_name.values():
        cells = {
            tuple(normal_form(observed.columns[c].get(p, "")) for p in observed.sessions)
            for c in columns
        }
        if len(cells) > 1:
            return columns
    return []


def _labels_name_groups(observed: Observed) -> list[str]:
    """Return the first letters of the labels of participants, if they name several groups."""
    starts = sorted({re.match(r"[A-Za-z]*", p)[0] for p in observed.sessions})  # type: ignore[index]
    is_group = any(word_of(start) for start in starts)
    return starts if 1 < len(starts) <= MAX_GROUPS and is_group else []


def _one_arm(
    observed: Observed, out: Roles, modelled: Iterable[str], *, is_crossover: bool
) -> None:
    """Take the study as one arm, unless a column may name arms.

    In a crossover the sessions state the treatment, which varies between the visits of a row.
    """
    doubtful = [c for c in observed.doubtful if is_arm_column(c) and c not in observed.columns]
    if doubtful and not is_crossover:
        what, _, fix = observed.doubtful[doubtful[0]].rpartition("; ")
        problem = InputProblem(
            "participants.tsv",
            f"column {doubtful[0]!r} may name the arms, but cannot be used ({what or fix})",
            fix if what else "correct the column, or name another one under [groups] column",
        )
        out.refusals.append(problem)
        return
    empty = [c for c in observed.columns if is_arm_column(c) and not groups_of(c, observed)]
    if empty:
        out.refusals.append(
            InputProblem(
                "participants.tsv",
                f"column {empty[0]!r} is n/a for every participant with data, so that the arms are "
                "not available",
                "add the arms to the column, or remove the column if the study has one arm",
            )
        )
        return
    columns = {c: groups_of(c, observed) for c in observed.columns if c not in {*modelled}}
    unclear = [] if is_crossover else [c for c in columns if _may_hide_arms(c, columns[c])]
    if unclear:
        column, groups = unclear[0], columns[unclear[0]]
        listed = ", ".join(map(str, list(groups.values())[:MAX_GROUPS]))
        more = " and more" if len(groups) > MAX_GROUPS else ""
        out.refusals.append(
            InputProblem(
                "participants.tsv",
                f"column {column!r} may name the arms or something else: {listed}{more}",
                "give each group its role in the study file (in a study with one arm, all groups "
                "are treated):\n" + groups_table(column, {role: [] for role in ROLES}),
            )
        )
        return
    elsewhere = () if is_crossover else tuple(observed.arms_elsewhere)
    if elsewhere:
        out.refusals.append(
            InputProblem(
                "participants.tsv",
                f"no column names arms, but {elsewhere[0]!r} of sessions.tsv or a phenotype table "
                "does, with different values in different participants",
                "write the arm of each participant into a column of participants.tsv, or of a "
                "table given by --participants; for a crossover, state control_baseline and "
                "control_followup under [sessions]",
            )
        )
        return
    starts = [] if is_crossover else _labels_name_groups(observed)
    if starts:
        listed = ", ".join(f"sub-{start}..." for start in starts)
        out.refusals.append(
            InputProblem(
                "participants.tsv",
                f"no column names arms, but the labels of participants name groups ({listed})",
                "add a column group with the group of each participant, and state the roles:\n"
                + groups_table("group", {role: [] for role in ROLES}),
            )
        )
        return
    total = count_of(tuple(observed.sessions))
    reason = "No column of participants.tsv names arms, so the study has one arm."
    divided = [c for c in columns if 1 < len(columns[c]) <= MAX_GROUPS]
    if divided:
        reason += f" Columns with several groups that are not taken for arms: {', '.join(divided)}."
    out.decisions.append(Decision("treated", f"all {total}", "counted", reason))


def _may_hide_arms(column: str, groups: Mapping[str, Group]) -> bool:
    """Return whether a column may contain arms although neither name nor values state it."""
    if len(groups) > MAX_GROUPS:  # names of groups that occur once are comments or labels
        is_text = not all(_is_number(form) for form in groups)
        return is_arm_column(column) and is_text
    return len(groups) > 1 and may_be_arm_column(column)


def _is_number(form: str) -> bool:
    try:
        float(form)
    except ValueError:
        return False
    return True


def _are_equivalent(columns: Sequence[str], observed: Observed) -> bool:
    """Return whether columns divide the participants in the same way."""
    partitions = {
        frozenset(group.participants for group in groups_of(column, observed).values())
        for column in columns
    }
    return len(partitions) == 1


def _recognise(groups: Mapping[str, Group], stated: Mapping[str, Any], out: Roles) -> None:
    """Assign roles if every group is recognised; otherwise refuse with the lines to paste."""
    words = {group.word for group in groups.values()}
    # Beside a treated or a healthy group, a group called control has no or sham treatment.
    control_is_clear = bool({"treated", "reference"} & words) or bool(out.reference_dataset)
    by_role: dict[str, list[Group]] = {role: [] for role in ROLES}
    unclear: list[Group] = []
    for group in groups.values():
        word = group.word
        if word == "control?" and control_is_clear:
            word = "control"
        if word in ROLES:
            by_role[word].append(group)
        else:
            unclear.append(group)
    if unclear or not by_role["treated"]:
        out.refusals.append(_refusal_of_groups(out.column, groups, by_role, unclear))
        return
    if out.reference_dataset and by_role["reference"]:
        listed = ", ".join(map(str, by_role["reference"]))
        out.notes.append(
            f"Groups without a role, because the reference is data set {out.reference_dataset}: "
            f"{listed}."
        )
        by_role["reference"] = []
    if stated.get("control_baseline") and by_role["control"]:
        out.refusals.append(
            InputProblem(
                "participants.tsv",
                f"column {out.column!r} has control groups "
                f"({', '.join(map(str, by_role['control']))}), but the study file states a "
                "crossover, in which each participant has both conditions",
                "remove control_baseline and control_followup, or name all groups as treated:\n"
                + groups_table(
                    out.column,
                    {
                        "treated": [g.name for g in (*by_role["treated"], *by_role["control"])],
                        "control": [],
                        "reference": [g.name for g in by_role["reference"]],
                    },
                ),
            )
        )
        return
    for role in ROLES:
        if by_role[role]:
            _assign(role, by_role[role], "recognised", out)


def _refusal_of_groups(
    column: str,
    groups: Mapping[str, Group],
    by_role: Mapping[str, Sequence[Group]],
    unclear: Sequence[Group],
) -> InputProblem:
    """Refuse to assign roles, with a [groups] table to paste."""
    listed = ", ".join(map(str, groups.values()))
    what = (
        f"the role of {', '.join(repr(g.name) for g in unclear)} is not clear from the name"
        if unclear
        else "no group is named as treated"
    )
    return InputProblem(
        "participants.tsv",
        f"column {column!r} has the groups {listed}; {what}",
        "give each group its role in the study file (in a study with one arm, all groups are "
        "treated):\n" + groups_table(column, {r: [g.name for g in by_role[r]] for r in ROLES}),
    )


def _refusal_of_missing(column: str, group: Group, observed: Observed) -> InputProblem:
    """Refuse to call all participants treated if only some of them have a value."""
    n = len(observed.sessions) - len(group.participants)
    return InputProblem(
        "participants.tsv",
        f"column {column!r} has the group {group} only, and {n} of {len(observed.sessions)} "
        "participants with data have no value, who may be untreated",
        "fill the column for all participants, or state the role of this group in the study file, "
        "which leaves participants without a value out:\n"
        + groups_table(column, {r: [group.name] if r == "treated" else [] for r in ROLES}),
    )


def _refusal_of_order(column: str, observed: Observed) -> InputProblem:
    """Refuse to take an order of treatments for arms."""
    listed = ", ".join(map(str, groups_of(column, observed).values()))
    return InputProblem(
        "participants.tsv",
        f"column {column!r} states by its name an order of treatments, as in a crossover, and not "
        f"arms: {listed}",
        "for a crossover, rename the sessions by condition and name all four in the study file:\n"
        '[sessions]\nbaseline = "..."\nfollowup = "..."\ncontrol_baseline = "..."\n'
        'control_followup = "..."\nIf the column does name the arms:\n[groups]\n'
        f'column = "{column}"',
    )


def _key(column: str) -> str:
    """Format the name of a column as a key of TOML, quoted if necessary."""
    is_bare = column.replace("_", "").replace("-", "").isalnum() and column.isascii()
    return column if is_bare else f'"{column}"'


def _refusal_of_columns(columns: Sequence[str], observed: Observed) -> InputProblem:
    """Refuse to choose between columns, with their groups and the lines to paste."""
    listed = "; ".join(
        f"{column}: {', '.join(map(str, groups_of(column, observed).values()))}"
        for column in columns
    )
    named = next((column for column in columns if is_arm_column(column)), "...")
    lines = []
    for role in ROLES:
        found = [
            (column, group.name)
            for column in columns
            for group in groups_of(column, observed).values()
            if group.word == role
        ]
        column, name = found[0] if len(found) == 1 else (named, "...")
        lines.append(f'{role} = {{{_key(column)} = "{name}"}}')
    return InputProblem(
        "participants.tsv",
        f"{len(columns)} columns may name the arms ({listed})",
        "state the roles in the study file, and delete the lines that do not apply:\n[groups]\n"
        + "\n".join(lines),
    )
