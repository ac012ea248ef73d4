"""Write a resolution as a commented study file, for ``circuitshift init``."""

from collections.abc import Sequence

from circuitshift.pipeline.study.resolution.records import Observed, Resolution
from circuitshift.pipeline.study.study_file import Design

__all__ = ["study_toml"]

_HEADER = """\
# Study file of circuitshift, written by `circuitshift init`.
# Each choice below was resolved from the data, for the reason in its comment. Correct what is
# wrong, and replace what is marked OPEN; docs/study-file.md describes all keys.
"""


def study_toml(resolution: Resolution, observed: Observed) -> str:
    """Format a study file that states everything that was resolved.

    Parameters
    ----------
    resolution : Resolution
    observed : Observed
        The facts from which it was resolved.

    Returns
    -------
    str
        TOML. Read again, it leads to the same design; questions that are open are comments.
    """
    lines = [_HEADER]
    for problem in resolution.refusals:
        advice = problem.fix.split("\n", 1)[0].rstrip(":")
        lines.append(f"# OPEN: {_comment(f'{problem.where}: {problem.what}; {advice}')}")
    lines += ["", *_sessions(resolution, observed), "", *_groups(resolution)]
    lines += ["", *_model(resolution, observed)]
    for title, sentences in (("note", resolution.notes), ("warning", resolution.warnings)):
        lines += [f"# {title}: {_comment(sentence)}" for sentence in sentences]
    return "\n".join(lines).rstrip() + "\n"


def _comment(text: str) -> str:
    """Continue a comment over several lines."""
    return text.replace("\n", "\n#   ")


def _quoted(text: str) -> str:
    """Format a TOML string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _list(values: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, values))}]"


def _reason(resolution: Resolution, question: str) -> str:
    """Format answer and reason of a decision as a comment."""
    found = [d for d in resolution.decisions if d.question == question]
    return "; ".join(f"{d.answer}. {d.reason}" for d in found)


def _sessions(resolution: Resolution, observed: Observed) -> list[str]:
    counts = ", ".join(f"ses-{s} ({n})" for s, n in observed.participants_by_session().items())
    lines = ["[sessions]", f"# participants with data: {counts}"]
    for key, question in (("baseline", "baseline"), ("followup", "follow-up")):
        label = getattr(resolution.design, key, "") if resolution.design else ""
        label = label or _decided(resolution, question)
        if label:
            lines.append(f"# {_reason(resolution, question)}")
            lines.append(f"{key} = {_quoted(label)}")
        else:
            lines.append(f'# {key} = "..."  # OPEN')
    lines += [
        line for line in _open_lines(resolution, "[sessions]") if line.startswith("# control_")
    ]
    design = resolution.design
    if design is not None and design.control_baseline:
        lines.append(f"control_baseline = {_quoted(design.control_baseline)}")
        lines.append(f"control_followup = {_quoted(design.control_followup)}")
    if design is not None and design.order:
        lines.append(f"order = {_quoted(design.order)}")
        lines.append(f"treatment_first = {_list(design.treatment_first)}")
    return lines


def _open_lines(resolution: Resolution, table: str) -> list[str]:
    """Return the suggested lines of a table, from the refusals, as comments."""
    lines = []
    for problem in resolution.refusals:
        _, _, suggested = problem.fix.partition(f"{table}\n")
        lines += [f"# {line}  # OPEN" for line in suggested.splitlines()]
    return lines


def _decided(resolution: Resolution, question: str) -> str:
    """Return the session that was decided although the study is not resolved."""
    for decision in resolution.decisions:
        if decision.question == question:
            return decision.answer.removeprefix("ses-").split(" (")[0]
    return ""


def _groups(resolution: Resolution) -> list[str]:
    lines = ["[groups]"]
    design = resolution.design
    if design is None:
        return lines + _open_lines(resolution, "[groups]")
    if design.group_column:
        lines.append(f"column = {_quoted(design.group_column)}")
    for role in ("treated", "control", "reference"):
        lines += _role(design, role, _reason(resolution, role))
    if design.reference_dataset:
        lines.append(f"reference_dataset = {_quoted(design.reference_dataset)}")
    if design.randomised is not None:
        lines.append(f"randomised = {str(design.randomised).lower()}")
    elif "control" in dict(resolution.roles).values():
        lines.append("# randomised = true  # whether participants were assigned to arms at random")
    if design.labels:
        pairs = ", ".join(f"{role} = {_quoted(name)}" for role, name in design.labels)
        lines.append(f"labels = {{{pairs}}}")
    else:
        lines.append('# labels = {treated = "...", control = "..."}  # names for reports')
    return lines


def _role(design: Design, role: str, reason: str) -> list[str]:
    """Format the groups of one role with the grounds."""
    criteria = [(column, values) for name, column, values in design.criteria if name == role]
    values = {"treated": design.treated, "control": design.control, "reference": design.reference}
    lines = [f"# {reason}"] if reason else []
    if criteria:
        pairs = ", ".join(f"{_quoted(column)} = {_list(items)}" for column, items in criteria)
        return [*lines, f"{role} = {{{pairs}}}"]
    if values[role]:
        return [*lines, f"{role} = {_list(values[role])}"]
    return lines


def _model(resolution: Resolution, observed: Observed) -> list[str]:
    lines = ["[model]"]
    design = resolution.design
    covariates = design.covariates if design is not None else ()
    if covariates:
        lines.append(f"covariates = {_list(covariates)}")
    else:
        lines.append(f"# columns of participants.tsv: {', '.join(observed.columns) or 'none'}")
        lines.append("# covariates = []")
    if design is not None and design.symptom:
        lines.append(f"symptom = {_quoted(design.symptom)}")
    elif observed.scores:
        lines.append(f"# scores by session: {', '.join(sorted(observed.scores)[:12])}")
        lines.append('# symptom = "..."')
    if design is not None and design.moderators:
        lines.append(f"moderators = {_list(design.moderators)}")
    return lines
