"""Sections of the participant report: usable data, problems, and the rating form."""

from collections.abc import Iterator, Sequence

from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import (
    Block,
    Box,
    Code,
    Details,
    Heading,
    Items,
    Log,
    Pairs,
    Prose,
    Widget,
)
from circuitshift.pipeline.reports.page import in_time, visit
from circuitshift.pipeline.reports.person.content import ParticipantReport, RunQuality
from circuitshift.pipeline.reports.person.problems import Problem

__all__ = ["errors_section", "participant_warnings", "rating_section", "summary_section"]


# -- summary --------------------------------------------------------------------------------------


def summary_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show usable data, excluded runs, and warnings.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
    """
    if report.simulated:
        yield Box("warn", (Prose(report.simulated, "strong"),))
    usable = [run for run in report.runs if not run.excluded]
    rated_out = any(rating.rating == "exclude" for rating in report.ratings)
    complete = bool(usable) and len(usable) == len(report.runs) and not report.problems
    head = _usability(report, len(usable))
    if rated_out and usable:
        head += " However, a rater excluded data."
    lines = _data_lines(report, usable)
    yield Box(
        "answer" if complete and not rated_out else "warn",
        (Prose(head, "strong"), *([Items(lines)] if lines else [])),
    )
    warnings = participant_warnings(report)
    yield Box("warn", (Prose("Please check", "strong"), Items(warnings))) if warnings else None
    excluded = [f"{r.label}: {'; '.join(r.excluded)}" for r in report.runs if r.excluded]
    if excluded:
        yield Heading("Measured but excluded from the analysis")
        yield Items(excluded)
    if report.notes:
        yield Heading("Notes")
        yield Items(report.notes)


def _usability(report: ParticipantReport, n_usable: int) -> str:
    if not report.runs:
        return "Nothing could be measured."
    if n_usable == len(report.runs):
        if not report.problems:
            return "All data are usable."
        return "All data that could be measured are usable."
    if n_usable:
        return "Some of the data are usable."
    return "No run is usable; this participant is excluded from the analysis."


def _data_lines(report: ParticipantReport, usable: Sequence[RunQuality]) -> list[str]:
    sessions = [e.session for e in report.edges]
    minutes: dict[str, float] = {}
    for run in usable:
        minutes[run.session] = minutes.get(run.session, 0.0) + run.retained.minutes
    lines = [
        f"{visit(session)}: {wording.show(duration, 1)} minutes of data enter the analysis."
        for session, duration in minutes.items()
    ]
    if len(sessions) == 1:
        lines.append(
            "Only one session is usable, so change cannot be computed. The session still "
            "contributes to the baseline of the group, or to the reference group."
        )
    elif len(sessions) > 1:
        lines.append(f"Change can be computed over {len(sessions)} sessions.")
    missing = sorted({label for run in usable for label in run.below_coverage})
    if missing:
        lines.append(
            f"{wording.count(len(missing), 'region')} of {len(usable[0].coverage_labels)} "
            "carry too little signal in at least one run; their edges are not available."
        )
    partly = _missing_at_some_visits(usable)
    if partly:
        lines.append(
            f"{', '.join(partly[:_MAX_NAMES])}"
            f"{f' and {len(partly) - _MAX_NAMES} more' if len(partly) > _MAX_NAMES else ''}: too "
            "little signal at one visit, but not at all. The analysis of change treats them as "
            "missing at each visit."
        )
    return lines


def _missing_at_some_visits(usable: Sequence[RunQuality]) -> list[str]:
    """Return the regions that are missing in all runs of a visit, but not at all visits."""
    missing: dict[str, set[str]] = {}
    for run in usable:
        own = set(run.below_coverage)
        missing[run.session] = missing.get(run.session, own) & own
    if len(missing) < 2:
        return []
    first, *others = missing.values()
    return sorted(first.union(*others) - first.intersection(*others))


_MAX_NAMES = 5  # of regions in a sentence

# Values that cause a warning.
_MIN_MINUTES = 5.0  # correlations over fewer minutes have low reliability (Birn 2013)
_MIN_DOF = 30.0
_MAX_RATIO = 1.5  # between two visits
_MIN_FD_DIFFERENCE_MM = 0.05  # smaller differences in motion are negligible


def participant_warnings(report: ParticipantReport) -> list[str]:
    """List values that a reader should check, in plain language.

    Parameters
    ----------
    report : ParticipantReport

    Returns
    -------
    list of str
        Warnings; empty if there are none.
    """
    usable = [run for run in report.runs if not run.excluded]
    out = [
        f"This participant was {rating.said()}." for rating in report.ratings if not rating.session
    ]
    out += [f"ses-{r.session} was {r.said()}." for r in report.ratings if r.session]
    for session in dict.fromkeys(run.session for run in usable):
        runs = [run for run in usable if run.session == session]
        minutes = sum(run.retained.minutes for run in runs)
        if minutes < _MIN_MINUTES:
            out.append(
                f"{visit(session)} has {wording.show(minutes, 1)} minutes of data; correlations "
                f"over less than {_MIN_MINUTES:g} minutes have low reliability "
                "(doi:10.1016/j.neuroimage.2013.05.099)."
            )
    out += [
        f"{run.label}: denoising left {wording.show(run.retained.residual_dof, 0)} degrees of "
        f"freedom of {run.retained.n_retained} volumes; its correlations are noisy."
        for run in usable
        if run.retained.n_regressors and run.retained.residual_dof < _MIN_DOF
    ]
    if len(usable) > 1:
        first, last = usable[0], usable[-1]
        moved = sorted([first.retained.mean_fd_mm, last.retained.mean_fd_mm])
        if moved[1] > _MAX_RATIO * moved[0] and moved[1] - moved[0] > _MIN_FD_DIFFERENCE_MM:
            out.append(
                f"Motion differs between visits (mean displacement "
                f"{wording.show(first.retained.mean_fd_mm, 3)} mm in {first.label}, "
                f"{wording.show(last.retained.mean_fd_mm, 3)} mm in {last.label}). Changes in "
                "connectivity may reflect motion."
            )
        clear = sorted([first.median_tsnr, last.median_tsnr])
        if clear[1] > _MAX_RATIO * clear[0]:
            out.append(
                f"The signal-to-noise ratio differs between visits (median "
                f"{wording.show(first.median_tsnr, 0)} in {first.label}, "
                f"{wording.show(last.median_tsnr, 0)} in {last.label}). Check coil, protocol and "
                "field of view."
            )
    return out


# -- errors ---------------------------------------------------------------------------------------


def errors_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show runs that could not be measured or are excluded, with advice.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
        No blocks if all runs are included in the analysis.
    """
    problems = (*report.problems, *report.left_out)
    if problems:
        yield Pairs([(problem.where, _about(problem)) for problem in problems])


def _about(problem: Problem) -> list[Block]:
    out: list[Block] = [Prose(problem.text)]
    if problem.advice:
        out.append(Prose(f"Likely to help: {problem.advice}", "soft"))
    if problem.log:
        out.append(Details("End of the crash file", (Log(problem.log),)))
    return out


# -- rating ---------------------------------------------------------------------------------------

_RATINGS = (
    ("keep", "Keep", "usable without restriction"),
    ("doubt", "Doubt", "included in the analysis, with a warning in the study report"),
    ("exclude", "Exclude", "excluded from the analysis"),
)


def rating_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show existing ratings, and a form that saves a rating.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
    """
    if report.ratings:
        yield Prose("Existing ratings:")
        yield Items(
            [
                f"{visit(r.session) if r.session else 'all sessions'}: {r.said()}"
                for r in report.ratings
            ]
        )
    yield Prose(
        (
            "Rate the data before you know the results and, if possible, without knowing the arm. "
            "The group level reads the files in the folder ",
            Code("ratings"),
            " of the output folder. The study report lists excluded participants with your note.",
        )
    )
    name = f"{report.data_set}:" if report.data_set else ""
    sessions = in_time(run.session for run in report.runs if run.session)
    yield Widget(
        "rating.html",
        {
            "person": f"{name}sub-{report.participant}",
            "sessions": sessions if len(sessions) > 1 else [],
            "page": report.provenance.get("inputs hash", ""),
            "kinds": _RATINGS,
        },
    )
