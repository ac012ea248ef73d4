"""Compare what the study file states with the data, and refuse what the data do not contain."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from circuitshift.pipeline.errors import InputProblem
from circuitshift.pipeline.io.cells import parse_number
from circuitshift.pipeline.io.tables import NOT_AVAILABLE
from circuitshift.pipeline.study.resolution.records import Decision, Observed

__all__ = ["check_sessions", "check_variables", "describe_variables"]

_FILE = "study file"


def check_sessions(stated: Mapping[str, Any], observed: Observed) -> list[InputProblem]:
    """Report stated sessions, visits and days that the data do not contain.

    Parameters
    ----------
    stated : mapping of str to object
        Keys of the study file.
    observed : Observed

    Returns
    -------
    list of InputProblem
    """
    labels = list(observed.participants_by_session())
    problems = [
        _absent(f"{key} session", stated[key], labels)
        for key in ("baseline", "followup", "control_baseline", "control_followup")
        if stated.get(key) and stated[key] not in labels
    ]
    days = dict(stated.get("days", ()))
    visits = tuple(stated.get("visits", ()))
    problems += [
        _absent("visit", label, labels)
        for label in dict.fromkeys((*visits, *days))
        if label not in labels
    ]
    without = sorted(set(visits) - set(days))
    ordered = [days[label] for label in visits if label in days]
    pair = [days[stated[k]] for k in ("baseline", "followup") if stated.get(k) in days]
    if any(first >= second for values in (ordered, pair) for first, second in pairwise(values)):
        listed = ", ".join(f"{label} = {day:g}" for label, day in days.items())
        problems.append(
            InputProblem(
                _FILE,
                f"the days ({listed}) contradict the order of the visits",
                "give each visit a later day than the visit before it",
            )
        )
    if days and without:
        listed = ", ".join(without)
        problems.append(
            InputProblem(_FILE, f"days of {listed} are missing", "give the days of all visits")
        )
    return problems


def check_variables(
    stated: Mapping[str, Any], observed: Observed, visits: tuple[str, str]
) -> list[InputProblem]:
    """Report stated covariates, scores, sites and factors that no participant with data has.

    Parameters
    ----------
    stated : mapping of str to object
        Keys of the study file.
    observed : Observed
    visits : tuple of str
        Baseline and follow-up.

    Returns
    -------
    list of InputProblem
    """
    problems = []
    for name in stated.get("covariates", ()):
        if name in observed.doubtful:
            problems.append(_doubtful("covariate", name, observed.doubtful[name]))
        elif name not in observed.columns:
            problems.append(_absent("covariate", name, observed.columns))
        elif not _n_values(observed.columns[name], observed):
            problems.append(_meets_none("covariate", name, "participant with data"))
    site = str(stated.get("site", ""))
    if site and site not in (*observed.columns, *observed.scores):
        problems.append(_absent("site", site, (*observed.columns, *observed.scores)))
    elif site and not (
        _n_values(observed.columns.get(site, {}), observed) or _n_pairs(site, observed, visits)
    ):
        problems.append(_meets_none("site", site, "participant with data"))
    symptom = str(stated.get("symptom", ""))
    if symptom and symptom in observed.doubtful_scores:
        problems.append(_doubtful("symptom", symptom, observed.doubtful_scores[symptom]))
    elif symptom and symptom not in observed.scores:
        problems.append(_absent_symptom(symptom, observed, visits))
    elif symptom and not _n_pairs(symptom, observed, visits):
        sessions = sorted({session for _, session in observed.scores[symptom]})
        listed = ", ".join(f"ses-{s}" if s else "no session" for s in sessions[:8]) or "no value"
        problems.append(
            InputProblem(
                _FILE,
                f"symptom {symptom!r} has values for {listed}, and no participant with data has "
                f"values at both ses-{visits[0]} and ses-{visits[1]}",
                "use the session labels of the folders in the table of the score",
            )
        )
    problems += _check_moderators(stated, observed, visits)
    problems += _check_order(stated, observed)
    return problems + _check_factor(stated, observed)


def _check_order(stated: Mapping[str, Any], observed: Observed) -> list[InputProblem]:
    """Report an order of conditions whose column or values are not in the data."""
    order = str(stated.get("order", ""))
    if not order:
        return []
    if order not in observed.columns:
        return [_absent("order", order, observed.columns)]
    available = {text for text in observed.columns[order].values() if text != NOT_AVAILABLE}
    unknown = [value for value in stated.get("treatment_first", ()) if value not in available]
    if not unknown:
        return []
    return [
        InputProblem(
            _FILE,
            f"treatment_first = {unknown} is not a value of column {order!r}",
            f"choose from {', '.join(sorted(available)) or 'none'}",
        )
    ]


def _check_moderators(
    stated: Mapping[str, Any], observed: Observed, visits: tuple[str, str]
) -> list[InputProblem]:
    """Report stated moderators that are neither a column nor a score with values."""
    problems = []
    for name in stated.get("moderators", ()):
        doubts = observed.doubtful if name in observed.columns else observed.doubtful_scores
        if name in doubts:
            problems.append(_doubtful("moderator", name, doubts[name]))
        elif name in observed.columns:
            column = observed.columns[name]
            texts = [p for p in observed.sessions if parse_number(column.get(p, "")) is None]
            if not _n_values(column, observed):
                problems.append(_meets_none("moderator", name, "participant with data"))
            elif texts:
                problems.append(_not_a_number("moderator", name, column, texts))
        elif name not in observed.scores:
            available = (*observed.columns, *observed.scores)
            problems.append(_absent("moderator", name, available))
        elif not _n_pairs(name, observed, visits):
            problems.append(_meets_none("moderator", name, "participant with data at both visits"))
    return problems


def _absent_symptom(symptom: str, observed: Observed, visits: tuple[str, str]) -> InputProblem:
    """Report a score that is absent, and columns of participants.tsv that may be this score."""
    problem = _absent("symptom", symptom, observed.scores)
    wide = [c for c in observed.columns if c.lower().startswith(symptom.lower())]
    if not wide:
        return problem
    return InputProblem(
        _FILE,
        f"{problem.what}; participants.tsv has the columns {', '.join(wide[:8])}",
        f"rename the columns {symptom}_ses-<session>, for example {symptom}_ses-{visits[0]}",
    )


def _check_factor(stated: Mapping[str, Any], observed: Observed) -> list[InputProblem]:
    factor = str(stated.get("factor", ""))
    if not factor:
        return []
    if factor not in observed.columns:
        return [_absent("factor", factor, observed.columns)]
    available = sorted(set(observed.columns[factor].values()) - {NOT_AVAILABLE})
    levels = stated.get("factor_levels", ())
    if len(set(levels)) == len(levels) == 2 and set(levels) <= set(available):
        return []
    return [
        InputProblem(
            _FILE,
            f"factor {factor!r} has the levels {', '.join(available) or 'none'}",
            "state which two are compared: factor_levels = [without, with]",
        )
    ]


def describe_variables(
    stated: Mapping[str, Any], observed: Observed, visits: tuple[str, str]
) -> list[Decision]:
    """Describe the stated variables with the number of participants that have values.

    Parameters
    ----------
    stated : mapping of str to object
        Keys of the study file.
    observed : Observed
    visits : tuple of str
        Baseline and follow-up.

    Returns
    -------
    list of Decision
    """
    out = []
    total = len(observed.sessions)
    for name in stated.get("covariates", ()):
        n = _n_values(observed.columns.get(name, {}), observed)
        answer = f"{name} (values for {n} of {total} participants)"
        out.append(Decision("covariate", answer, "stated", "The study file states it."))
    symptom = str(stated.get("symptom", ""))
    if symptom:
        n = _n_pairs(symptom, observed, visits)
        answer = f"{symptom} (both visits of {n} of {total} participants)"
        out.append(Decision("symptom", answer, "stated", "The study file states it."))
    for name in stated.get("moderators", ()):
        column = observed.columns.get(name)
        if column is None:
            n = _n_pairs(name, observed, visits)
            answer = f"change of {name} (both visits of {n} of {total} participants)"
        else:
            answer = f"{name} (values for {_n_values(column, observed)} of {total} participants)"
        out.append(Decision("moderator", answer, "stated", "The study file states it."))
    return out


def _n_values(column: Mapping[str, str], observed: Observed) -> int:
    return sum(column.get(p, NOT_AVAILABLE) != NOT_AVAILABLE for p in observed.sessions)


def _n_pairs(score: str, observed: Observed, visits: tuple[str, str]) -> int:
    """Count the participants with data that have a score at both visits."""
    available = set(observed.scores.get(score, ()))
    return sum(all((p, session) in available for session in visits) for p in observed.sessions)


def _doubtful(what: str, name: str, sentence: str) -> InputProblem:
    reason, _, fix = sentence.rpartition("; ")
    return InputProblem(_FILE, f"{what} {name!r} cannot be used: {reason or fix}", fix)


def _absent(what: str, name: str, available: Iterable[str]) -> InputProblem:
    listed = ", ".join(sorted(available)) or "none"
    return InputProblem(_FILE, f"{what} {name!r} is not in the data", f"available are {listed}")


def _not_a_number(
    what: str, name: str, column: Mapping[str, str], participants: list[str]
) -> InputProblem:
    listed = ", ".join(f"{column[p]!r} (sub-{p})" for p in participants[:3])
    more = f" and {len(participants) - 3} more" if len(participants) > 3 else ""
    return InputProblem(
        _FILE,
        f"{what} {name!r} contains values that are not numbers: {listed}{more}",
        "write numbers or n/a, or remove it",
    )


def _meets_none(what: str, name: str, whom: str) -> InputProblem:
    return InputProblem(
        _FILE,
        f"{what} {name!r} is n/a for every {whom}",
        "check that the labels of its table are those of the folders, or remove it",
    )
