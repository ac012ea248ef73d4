"""Describe a resolution as text for the terminal and as a record for group/design.json."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from circuitshift.pipeline.stats.detectable import EXPECTED_CORRELATION, power_beforehand
from circuitshift.pipeline.study.resolution.records import Observed, Resolution
from circuitshift.pipeline.study.study_file import DEFAULT_PRIMARY, Design

__all__ = [
    "DESIGN_FILE",
    "SCHEMA",
    "Located",
    "design_record",
    "format_resolution",
    "power_sentence",
]

#: File of the folder group/ that contains the resolution.
DESIGN_FILE = "design.json"
#: Version of the content of group/design.json.
SCHEMA = 1
_MAX_LISTED = 12
_EFFECTS = (0.3, 0.4, 0.5)  # standard deviations of change, for the power of the study


@dataclass(frozen=True, slots=True)
class Located:
    """Circuits that the atlas of a study has.

    Parameters
    ----------
    circuits : tuple of str
        Names of all circuits that were located.
    own : tuple of str
        Those of them that the user's own files define.
    """

    circuits: tuple[str, ...]
    own: tuple[str, ...] = ()


def format_resolution(
    resolution: Resolution,
    observed: Observed,
    choices: Sequence[str] = (),
    located: Located | None = None,
) -> str:
    """Format a resolution for the terminal.

    Parameters
    ----------
    resolution : Resolution
    observed : Observed
        The facts from which it was resolved.
    choices : sequence of str, optional
        Sentences on the selection of runs.
    located : Located, optional
        Circuits that the atlas has, for the power of the study; None if no atlas was loaded.

    Returns
    -------
    str
        One line for each decision with its source, the participants of each role and visit, the
        participants that lack a visit, the scores that are available, and warnings.
    """
    lines = ["design of the study:"]
    width = max((len(d.question) for d in resolution.decisions), default=0)
    for decision in resolution.decisions:
        lines.append(f"  {decision.question:<{width}}  {decision.answer}")
        lines.append(f"  {'':<{width}}  [{decision.source}] {decision.reason}")
    if resolution.design is not None:
        lines += _counts(resolution, observed, located)
    if observed.scores:
        lines.append(f"  scores by session: {_scores(observed)}")
    lines += [f"  {sentence}" for sentence in choices]
    lines += [f"  note: {note}" for note in resolution.notes]
    lines += [f"  warning: {warning}" for warning in resolution.warnings]
    if resolution.refusals:
        lines.append("the study cannot be resolved yet:")
        lines += [f"  - {problem}" for problem in resolution.refusals]
    return "\n".join(lines)


def _counts(resolution: Resolution, observed: Observed, located: Located | None) -> list[str]:
    """Format the participants of each role, those that lack a visit, and the power."""
    design = resolution.design
    if design is None:
        return []
    roles = dict(resolution.roles)
    pair = {design.baseline, design.followup}
    complete = {p for p, labels in observed.sessions.items() if pair <= set(labels)}
    lines, complete_of = [], {}
    for role in ("treated", "control", "reference", "none"):
        members = [p for p in roles if roles[p] == role]
        if not members:
            continue
        name = "no role" if role == "none" else design.label_of(role)
        both = complete_of[role] = sum(p in complete for p in members)
        enough = " (one visit is sufficient)" if role == "reference" else ""
        lines.append(f"  {name}: {len(members)} with data, {both} with both visits{enough}")
    incomplete = [
        f"sub-{p} (no {' and no '.join(f'ses-{s}' for s in sorted(pair - set(labels)))})"
        for p, labels in observed.sessions.items()
        if roles.get(p) in ("treated", "control") and p not in complete
    ]
    if incomplete:
        more = f" and {len(incomplete) - _MAX_LISTED} more" if len(incomplete) > _MAX_LISTED else ""
        lines.append(f"  without both visits: {', '.join(incomplete[:_MAX_LISTED])}{more}")
    sizes = (complete_of.get("treated", 0), complete_of.get("control", 0))
    power = power_sentence(design, *sizes, located)
    return [*lines, *([f"  {power}"] if power else [])]


def power_sentence(
    design: Design, n_treated: int, n_control: int, located: Located | None = None
) -> str:
    """State the power of a study for effects of .3, .4 and .5 standard deviations.

    Parameters
    ----------
    design : Design
        Design of the study.
    n_treated, n_control : int
        Participants with both visits; `n_control` is 0 without a control arm.
    located : Located, optional
        Circuits that the atlas has; by default, it is assumed to have all primary circuits.

    Returns
    -------
    str
        One sentence; empty if an arm has fewer than two participants.

    Notes
    -----
    The power is that of `power_beforehand` for one primary circuit, corrected for the number of
    primary circuits, or of one global term. With randomised arms, the correlation of baseline and
    follow-up is assumed to be `EXPECTED_CORRELATION`.
    """
    n_tests = len(design.primary or design.circuits or DEFAULT_PRIMARY)
    if located is not None:
        analysed = [c for c in located.circuits if not design.circuits or c in design.circuits]
        n_tests = len(design.primary_of(analysed, located.own)) or n_tests
    adjusts = bool(n_control) and design.randomised is not False
    power = power_beforehand(
        _EFFECTS,
        n_treated,
        n_control,
        alpha=design.alpha,
        n_tests=n_tests,
        correlation=EXPECTED_CORRELATION if adjusts else None,
    )
    if not power.size or power[0] != power[0]:
        return ""
    listed = ", ".join(f"d = {d:g}: {p:.0%}" for d, p in zip(_EFFECTS, power, strict=True))
    corrected = f", corrected for {n_tests} primary circuits" if n_tests > 1 else ""
    assumed = (
        f"; assumes that baseline and follow-up correlate by {EXPECTED_CORRELATION:g}"
        if adjusts
        else ""
    )
    return (
        f"power for a change of one circuit by d standard deviations of change{corrected}: "
        f"{listed}{assumed}"
    )


def _scores(observed: Observed) -> str:
    """Format the scores by session with the number of visits that have a value."""
    total = sum(len(labels) for labels in observed.sessions.values())
    visits = {(p, s) for p, labels in observed.sessions.items() for s in labels}
    listed = [
        f"{name} ({len(visits & set(available))} of {total} visits)"
        for name, available in sorted(observed.scores.items())
    ]
    more = f" and {len(listed) - _MAX_LISTED} more" if len(listed) > _MAX_LISTED else ""
    return ", ".join(listed[:_MAX_LISTED]) + more


def design_record(
    resolution: Resolution, observed: Observed, choices: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the content of group/design.json.

    Parameters
    ----------
    resolution : Resolution
        A resolution without refusals.
    observed : Observed
    choices : sequence of str, optional
        Sentences on the selection of runs.

    Returns
    -------
    dict
        JSON types: the version of the schema, the decisions with their sources, the number of
        participants by role and by session, warnings, notes and the design itself.
    """
    design = asdict(resolution.design) if resolution.design is not None else None
    return {
        "schema": SCHEMA,
        "decisions": [asdict(decision) for decision in resolution.decisions],
        "participants_by_role": dict(sorted(Counter(r for _, r in resolution.roles).items())),
        "participants_by_session": observed.participants_by_session(),
        "roles": dict(resolution.roles),
        "runs": list(choices),
        "warnings": list(resolution.warnings),
        "notes": list(resolution.notes),
        "protocol": dict(resolution.protocol),
        "design": design,
    }
