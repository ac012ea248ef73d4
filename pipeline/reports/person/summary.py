"""Sections of a participant's report: what is usable, what went wrong, and the rating form."""

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
    """Say what is usable, what is not, and what to check.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
    """
    usable = [run for run in report.runs if not run.excluded]
    rated_out = any(rating.rating == "exclude" for rating in report.ratings)
    complete = bool(usable) and len(usable) == len(report.runs) and not report.problems
    head = _usability(report, len(usable))
    if rated_out and usable:
        head += " A rater excluded data nevertheless."
    lines = _data_lines(report, usable)
    yield Box(
        "answer" if complete and not rated_out else "warn",
        (Prose(head, "strong"), *([Items(lines)] if lines else [])),
    )
    warnings = participant_warnings(report)
    yield Box("warn", (Prose("Please check", "strong"), Items(warnings))) if warnings else None
    excluded = [f"{r.label}: {'; '.join(r.excluded)}" for r in report.runs if r.excluded]
    if excluded:
        yield Heading("Measured, but not in the analysis")
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
    return "No run is usable; this participant does not enter the analysis."


def _data_lines(report: ParticipantReport, usable: Sequence[RunQuality]) -> list[str]:
    sessions = [e.session for e in report.edges]
    minutes: dict[str, float] = {}
    for run in usable:
        minutes[run.session] = minutes.get(run.session, 0.0) + run.kept.minutes
    lines = [
        f"{visit(session)}: {wording.show(found, 1)} minutes of data enter the analysis."
        for session, found in minutes.items()
    ]
    if len(sessions) == 1:
        lines.append(
            "Only one session is usable: change cannot be computed. The session still contributes "
            "to the baseline of the group, or to the reference group."
        )
    elif len(sessions) > 1:
        lines.append(f"Change can be computed over {len(sessions)} sessions.")
    missing = sorted({label for run in usable for label in run.below_coverage})
    if missing:
        lines.append(
            f"{wording.count(len(missing), 'region')} of {len(usable[0].coverage_labels)} "
            "carry too little signal in at least one run; their edges are not available."
        )
    return lines


_FEW_MINUTES = 5.0  # below it correlations are weakly reliable (Birn 2013)
_FEW_DOF = 30.0
_UNLIKE = 1.5  # ratio of two visits that should be checked
_LEAST_FD_MM = 0.05  # smaller differences of motion are of no consequence


def participant_warnings(report: ParticipantReport) -> list[str]:
    """Name in plain words what a reader should check.

    Parameters
    ----------
    report : ParticipantReport

    Returns
    -------
    list of str
        Empty if there is nothing to check.
    """
    usable = [run for run in report.runs if not run.excluded]
    out = [
        f"This participant was {rating.said()}." for rating in report.ratings if not rating.session
    ]
    out += [f"ses-{r.session} was {r.said()}." for r in report.ratings if r.session]
    for session in dict.fromkeys(run.session for run in usable):
        runs = [run for run in usable if run.session == session]
        minutes = sum(run.kept.minutes for run in runs)
        if minutes < _FEW_MINUTES:
            out.append(
                f"{visit(session)} has {wording.show(minutes, 1)} minutes; below "
                f"{_FEW_MINUTES:g} correlations are weakly reliable "
                "(doi:10.1016/j.neuroimage.2013.05.099)."
            )
    out += [
        f"{run.label}: denoising left {wording.show(run.kept.residual_dof, 0)} degrees of freedom "
        f"of {run.kept.n_retained} volumes; its correlations are noisy."
        for run in usable
        if run.kept.n_regressors and run.kept.residual_dof < _FEW_DOF
    ]
    if len(usable) > 1:
        first, last = usable[0], usable[-1]
        moved = sorted([first.kept.mean_fd_mm, last.kept.mean_fd_mm])
        if moved[1] > _UNLIKE * moved[0] and moved[1] - moved[0] > _LEAST_FD_MM:
            out.append(
                f"Motion differs between visits (mean displacement "
                f"{wording.show(first.kept.mean_fd_mm, 3)} mm in {first.label}, "
                f"{wording.show(last.kept.mean_fd_mm, 3)} mm in {last.label}): change of "
                "connectivity may reflect motion."
            )
        clear = sorted([first.median_tsnr, last.median_tsnr])
        if clear[1] > _UNLIKE * clear[0]:
            out.append(
                f"The signal-to-noise ratio differs between visits (median "
                f"{wording.show(first.median_tsnr, 0)} in {first.label}, "
                f"{wording.show(last.median_tsnr, 0)} in {last.label}): check coil, protocol and "
                "field of view."
            )
    return out


# -- errors ---------------------------------------------------------------------------------------


def errors_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show what could not be measured or does not enter the analysis, and what may help.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
        Nothing if all runs enter the analysis.
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
    ("keep", "Keep", "usable as it is"),
    ("doubt", "Doubt", "stays in the analysis; the report of the study warns"),
    ("exclude", "Exclude", "left out of the analysis"),
)


def rating_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show the ratings so far, and a form that saves one.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
    """
    if report.ratings:
        yield Prose("Ratings so far:")
        yield Items(
            [
                f"{visit(r.session) if r.session else 'all sessions'}: {r.said()}"
                for r in report.ratings
            ]
        )
    yield Prose(
        (
            "Rate the data before you know the result and, if possible, the arm. The group level "
            "reads the files in the folder ",
            Code("ratings"),
            " of the outputs; its report lists excluded participants with your note.",
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
