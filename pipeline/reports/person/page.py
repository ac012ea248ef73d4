"""Page of one person: what is usable, motion, coverage, carpets, connectivity, circuits."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from circuitshift.pipeline.io.tables import write_text
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.page import Figure, PageTable, in_time, nan_mean, render, visit
from circuitshift.pipeline.reports.person.content import ParticipantReport, RunQuality, SessionEdges
from circuitshift.pipeline.reports.person.methods import methods_section
from circuitshift.pipeline.reports.person.preprocessing import preproc_section
from circuitshift.pipeline.reports.person.runs import (
    carpet_figures,
    confound_figures,
    coverage_figure,
    motion_figures,
    removed_table,
    seed_figures,
    tsnr_figure,
)

__all__ = ["participant_page", "participant_warnings", "write_participant_report"]


def participant_page(report: ParticipantReport) -> dict[str, Any]:
    """Content of the page of one person, for ``templates/person.html``.

    Parameters
    ----------
    report : PersonReport

    Returns
    -------
    dict
        Names of the template and their values.
    """
    report = _sorted_in_time(report)
    return {
        "title": f"sub-{report.participant}: quality and connectivity",
        "participant": report.participant,
        "summary": _participant_summary(report),
        "faults": report.problems,
        "left_out": report.left_out,
        "notes": report.notes,
        "runs": report.runs,
        "rating": _rating_form(report),
        "preproc": preproc_section(report.preproc) if report.preproc is not None else None,
        "preprocessed": _preprocessed_elsewhere(report),
        "motion": motion_figures(report.runs),
        "retained": _retained_figure(report.runs),
        "kept": _kept_table(report.runs),
        "removed": removed_table(report.removed),
        "confounds": confound_figures(report.runs),
        "coverage_figure": coverage_figure(report.runs),
        "coverage": [_coverage_words(run) for run in report.runs],
        "tsnr": tsnr_figure(report.runs),
        "carpets": carpet_figures(report.runs),
        "connectivity": _matrix_figure(report.edges),
        "circuits": _circuit_figure(report),
        "circuit_table": _circuit_table(report),
        "seeds": seed_figures(report.runs),
        **methods_section(report),
        "provenance": report.provenance,
    }


def _rating_form(report: ParticipantReport) -> dict[str, Any]:
    """Make what the form of the page starts from."""
    name = f"{report.data_set}:" if report.data_set else ""
    sessions = in_time(run.session for run in report.runs if run.session)
    return {
        "person": f"{name}sub-{report.participant}",
        "sessions": sessions if len(sessions) > 1 else [],
        "page": report.provenance.get("inputs hash", ""),
        "kinds": [
            ("keep", "Keep", "usable as it is"),
            ("doubt", "Doubt", "stays in, and the study's report warns"),
            ("exclude", "Exclude", "left out of the analysis"),
        ],
        "given": [
            f"{visit(r.session) if r.session else 'all sessions'}: {r.said()}"
            for r in report.ratings
        ],
    }


def _preprocessed_elsewhere(report: ParticipantReport) -> dict[str, Any] | None:
    """Name the program that preprocessed the images, and its own reports of this person."""
    if report.preproc is not None:
        return None
    links = dict.fromkeys(r.preprocessing_report for r in report.runs if r.preprocessing_report)
    made = report.provenance.get("preprocessing", "")
    return {"by": made, "links": list(links)} if made or links else None


def _sorted_in_time(report: ParticipantReport) -> ParticipantReport:
    times = in_time([*(r.session for r in report.runs), *(e.session for e in report.edges)])
    runs = sorted(report.runs, key=lambda run: times.index(run.session))
    order = {run.label: k for k, run in enumerate(runs)}
    return replace(
        report,
        runs=tuple(runs),
        edges=tuple(sorted(report.edges, key=lambda edges: times.index(edges.session))),
        removed=tuple(sorted(report.removed, key=lambda found: order.get(found.run, len(order)))),
    )


def _participant_summary(report: ParticipantReport) -> dict[str, Any]:
    """Say what is usable, what is not, and why."""
    usable = [run for run in report.runs if not run.excluded]
    out_by_rating = [rating for rating in report.ratings if rating.rating == "exclude"]
    if not report.runs:
        head = "Nothing could be measured."
    elif len(usable) == len(report.runs):
        head = (
            "All data are usable." if not report.problems else "What could be measured is usable."
        )
    elif usable:
        head = "Part of the data is usable."
    else:
        head = "No run is usable; this person does not enter the analysis."
    if out_by_rating and usable:
        head += " A rater excluded data nevertheless."
    whole = bool(usable) and len(usable) == len(report.runs) and not report.problems
    return {
        "head": head,
        "good": whole and not out_by_rating,
        "lines": _data_lines(report, usable),
        "warnings": participant_warnings(report),
        "excluded": [(run.label, run.excluded) for run in report.runs if run.excluded],
    }


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
            "Only one session is usable: change cannot be computed. The session still sharpens "
            "the group's baseline, or serves as reference."
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
_UNLIKE = 1.5  # ratio of two visits that makes somebody look
_LEAST_FD_MM = 0.05  # smaller differences of motion are of no consequence


def participant_warnings(report: ParticipantReport) -> list[str]:
    """Name in plain words what should make a reader look twice.

    Parameters
    ----------
    report : PersonReport

    Returns
    -------
    list of str
        Empty when nothing does.
    """
    usable = [run for run in report.runs if not run.excluded]
    out = [f"This person was {rating.said()}." for rating in report.ratings if not rating.session]
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
                "connectivity may be motion."
            )
        clear = sorted([first.median_tsnr, last.median_tsnr])
        if clear[1] > _UNLIKE * clear[0]:
            out.append(
                f"The signal-to-noise ratio differs between visits (median "
                f"{wording.show(first.median_tsnr, 0)} in {first.label}, "
                f"{wording.show(last.median_tsnr, 0)} in {last.label}): look at coil, protocol and "
                "field of view."
            )
    return out


def _retained_figure(runs: Sequence[RunQuality]) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    measured = [run for run in runs if run.kept.n_volumes > 0]
    if not measured:
        return None
    counts = [(r.kept.n_retained, r.kept.n_censored, r.kept.n_dummy) for r in measured]
    said = "; ".join(f"{r.label}: {c[0]} used" for r, c in zip(measured, counts, strict=True))
    svg = figures.retained(
        [run.label for run in measured],
        counts,
        key="retained",
        alt=f"Bars of volumes used, censored and dropped at the start. {said}.",
    )
    return Figure(svg, "Volumes of each run: used, censored for motion, dropped at the start.")


def _kept_table(runs: Sequence[RunQuality]) -> PageTable:
    head = (
        "Run",
        "Volumes",
        "Start dropped",
        "Censored",
        "Used",
        "Minutes used",
        "Regressors",
        "Residual degrees of freedom",
        "Mean displacement, mm",
        "In the analysis",
    )
    rows = [
        (
            run.label,
            str(run.kept.n_volumes),
            str(run.kept.n_dummy),
            str(run.kept.n_censored),
            str(run.kept.n_retained),
            wording.show(run.kept.minutes, 1),
            str(run.kept.n_regressors),
            wording.show(run.kept.residual_dof, 0),
            wording.show(run.kept.mean_fd_mm, 3),
            "no" if run.excluded else "yes",
        )
        for run in runs
    ]
    return PageTable("What denoising left of each run", head, rows)


def _coverage_words(run: RunQuality) -> dict[str, Any]:
    """Name the regions below threshold."""
    share = dict(zip(run.coverage_labels, np.asarray(run.coverage, float).tolist(), strict=False))
    named = [
        f"{label} ({wording.show(100 * share[label], 0)} %)" if label in share else label
        for label in run.below_coverage
    ]
    total, missing = len(run.coverage_labels), len(named)
    if not missing:
        text = (
            f"all {total} regions carry signal in at least {100 * run.min_coverage:g} % of their "
            "voxels."
        )
    else:
        text = (
            f"{missing} of {total} regions carry signal in less than {100 * run.min_coverage:g} % "
            "of their voxels; their edges are not available:"
        )
    return {"label": run.label, "text": text, "named": named}


def _networks(names: Sequence[str], n_regions: int) -> Sequence[str]:
    return names if len(names) == n_regions else [""] * n_regions


def _matrix_figure(edges: Sequence[SessionEdges]) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    if not edges:
        return None
    first = edges[0]
    panels = [(visit(e.session), e.matrix) for e in edges]
    panels += [
        (f"{visit(e.session)} minus {visit(first.session)}", e.matrix - first.matrix)
        for e in edges[1:]
    ]
    available = ~np.eye(len(first.matrix), dtype=bool)
    means = [
        f"{title}: mean {wording.show(nan_mean(matrix[available]), 3)}" for title, matrix in panels
    ]
    svg = figures.matrices(
        panels,
        _networks(first.networks, len(first.matrix)),
        key="matrices",
        alt=f"Edge matrices in Fisher z. {'; '.join(means)}.",
    )
    caption = (
        f"Fisher z, regions sorted by network, one colour scale for all. {'; '.join(means)}. "
        "Grey: not available."
    )
    if len(edges) > 1:
        caption += " Sessions are in the order that their names tell."
    return Figure(svg, caption)


def _sessions_of(report: ParticipantReport) -> list[str]:
    seen = [e.session for e in report.edges]
    return in_time([*seen, *(s for values in report.circuits.values() for s in values)])


def _circuit_figure(report: ParticipantReport) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    if not report.circuits:
        return None
    svg = figures.circuit_values(
        report.circuits,
        _sessions_of(report),
        others=report.others.ranges if report.others else None,
        key="circuits",
        alt="Mean Fisher z of each circuit in each session; the table below has the numbers.",
    )
    caption = (
        "One person's values, for checking. They are no diagnosis: circuit means of single people "
        "are weakly reliable over months."
    )
    if report.others:
        caption += (
            f" Grey: 5th to 95th percentile of {report.others.n_participants} other "
            "participants of the study "
            f"in {visit(report.others.session)}."
        )
    else:
        caption += " The range of other people is added by --reports-only after the group level."
    return Figure(svg, caption)


def _circuit_table(report: ParticipantReport) -> PageTable:
    sessions = _sessions_of(report)
    pair = sessions if len(sessions) > 1 else []
    head = ["Circuit", *map(visit, sessions), *(["Change, first to last"] if pair else [])]
    others = report.others
    if others:
        head += ["Others, 5th percentile", "Others, 95th percentile"]
    rows = []
    for name, values in report.circuits.items():
        row = [name, *(wording.show(values.get(s), 3) for s in sessions)]
        if pair:
            first, last = (wording.number(values.get(s)) for s in (pair[0], pair[-1]))
            row.append(wording.show(last - first, 3, sign=True))
        if others:
            row += [wording.show(v, 3) for v in others.ranges.get(name, (np.nan, np.nan))]
        rows.append(row)
    return PageTable("Mean Fisher z over each circuit's edges", head, rows)


def write_participant_report(path: Path, report: ParticipantReport) -> None:
    """Write the page of one person.

    Parameters
    ----------
    path : Path
    report : PersonReport
    """
    write_text(path, render("person.html", participant_page(report)))
