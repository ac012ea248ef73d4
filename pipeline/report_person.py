"""Page of one person: what is usable, motion, coverage, carpets, connectivity, circuits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from circuitshift.pipeline import wording
from circuitshift.pipeline.report_parts import (
    Figure,
    PersonReport,
    RunQuality,
    SessionEdges,
    Table,
    in_time,
    mean_of_known,
    visit,
)
from circuitshift.pipeline.report_preproc import preproc_methods, preproc_section

__all__ = ["person_page"]


def person_page(report: PersonReport) -> dict[str, Any]:
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
        "summary": _person_summary(report),
        "faults": report.faults,
        "notes": report.notes,
        "runs": report.runs,
        "preproc": preproc_section(report.preproc) if report.preproc is not None else None,
        "motion": _motion_figures(report.runs),
        "retained": _retained_figure(report.runs),
        "kept": _kept_table(report.runs),
        "coverage": [_coverage_words(run) for run in report.runs],
        "carpets": _carpet_figures(report.runs),
        "connectivity": _matrix_figure(report.edges),
        "circuits": _circuit_figure(report),
        "circuit_table": _circuit_table(report),
        "methods": _person_methods(report),
        "provenance": report.provenance,
    }


def _sorted_in_time(report: PersonReport) -> PersonReport:
    times = in_time([*(r.session for r in report.runs), *(e.session for e in report.edges)])
    return replace(
        report,
        runs=tuple(sorted(report.runs, key=lambda run: times.index(run.session))),
        edges=tuple(sorted(report.edges, key=lambda edges: times.index(edges.session))),
    )


def _person_summary(report: PersonReport) -> dict[str, Any]:
    """Say what is usable, what is not, and why."""
    usable = [run for run in report.runs if not run.excluded]
    sessions = [e.session for e in report.edges]
    if not report.runs:
        head = "Nothing could be measured."
    elif len(usable) == len(report.runs):
        head = "All data are usable." if not report.faults else "What could be measured is usable."
    elif usable:
        head = "Part of the data is usable."
    else:
        head = "No run is usable; this person does not enter the analysis."
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
    lost = sorted({label for run in usable for label in run.below_coverage})
    if lost:
        lines.append(
            f"{wording.count(len(lost), 'region')} of {len(usable[0].coverage_labels)} "
            "carry too little signal in at least one run; their edges are not available."
        )
    return {
        "head": head,
        "good": bool(usable) and len(usable) == len(report.runs) and not report.faults,
        "lines": lines,
        "excluded": [(run.label, run.excluded) for run in report.runs if run.excluded],
    }


def _motion_figures(runs: Sequence[RunQuality]) -> list[Figure]:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    out = []
    for k, run in enumerate(runs):
        if not np.isfinite(run.fd_mm).any():
            continue
        keep = run.keep if len(run.keep) == len(run.fd_mm) else np.ones(len(run.fd_mm), bool)
        mean, top = wording.show(np.nanmean(run.fd_mm)), wording.show(np.nanmax(run.fd_mm))
        lost = int((~keep).sum())
        said = f"mean {mean} mm, largest {top} mm; {lost} of {len(keep)} volumes not used"
        svg = figures.motion(
            run.fd_mm,
            keep,
            threshold_mm=run.fd_threshold_mm,
            key=f"motion{k}",
            alt=f"Framewise displacement of {run.label} over volumes: {said}.",
        )
        out.append(Figure(svg, f"{run.label}: {said}."))
    return out


def _retained_figure(runs: Sequence[RunQuality]) -> Figure | None:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

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


def _kept_table(runs: Sequence[RunQuality]) -> Table:
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
    return Table("What denoising left of each run", head, rows)


def _coverage_words(run: RunQuality) -> dict[str, Any]:
    """Name the regions below threshold."""
    share = dict(zip(run.coverage_labels, np.asarray(run.coverage, float).tolist(), strict=False))
    named = [
        f"{label} ({wording.show(100 * share[label], 0)} %)" if label in share else label
        for label in run.below_coverage
    ]
    total, lost = len(run.coverage_labels), len(named)
    if not lost:
        text = (
            f"all {total} regions carry signal in at least {100 * run.min_coverage:g} % of their "
            "voxels."
        )
    else:
        text = (
            f"{lost} of {total} regions carry signal in less than {100 * run.min_coverage:g} % "
            "of their voxels; their edges are not available:"
        )
    return {"label": run.label, "text": text, "named": named}


def _carpet_figures(runs: Sequence[RunQuality]) -> list[Figure]:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    out = []
    for k, run in enumerate(runs):
        if run.series is None or run.series.size == 0:
            continue
        networks = _networks(run.networks, run.series.shape[1])
        svg = figures.carpet(
            run.series,
            run.keep,
            networks,
            key=f"carpet{k}",
            alt=f"Denoised series of {run.series.shape[1]} regions of {run.label} over time, "
            "as rows of grey sorted by network.",
        )
        out.append(Figure(svg, f"{run.label}, after {run.strategy}."))
    return out


def _networks(names: Sequence[str], n_regions: int) -> Sequence[str]:
    return names if len(names) == n_regions else [""] * n_regions


def _matrix_figure(edges: Sequence[SessionEdges]) -> Figure | None:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    if not edges:
        return None
    first = edges[0]
    panels = [(visit(e.session), e.matrix) for e in edges]
    panels += [
        (f"{visit(e.session)} minus {visit(first.session)}", e.matrix - first.matrix)
        for e in edges[1:]
    ]
    known = ~np.eye(len(first.matrix), dtype=bool)
    means = [
        f"{title}: mean {wording.show(mean_of_known(matrix[known]), 3)}" for title, matrix in panels
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


def _sessions_of(report: PersonReport) -> list[str]:
    seen = [e.session for e in report.edges]
    return in_time([*seen, *(s for values in report.circuits.values() for s in values)])


def _circuit_figure(report: PersonReport) -> Figure | None:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    if not report.circuits:
        return None
    svg = figures.circuit_values(
        report.circuits,
        _sessions_of(report),
        key="circuits",
        alt="Mean Fisher z of each circuit in each session; the table below has the numbers.",
    )
    caption = (
        "One person's values, for checking. They are no diagnosis: circuit means of single people "
        "are weakly reliable over months."
    )
    return Figure(svg, caption)


def _circuit_table(report: PersonReport) -> Table:
    sessions = _sessions_of(report)
    pair = sessions if len(sessions) > 1 else []
    head = ["Circuit", *map(visit, sessions), *(["Change, first to last"] if pair else [])]
    rows = []
    for name, values in report.circuits.items():
        row = [name, *(wording.show(values.get(s), 3) for s in sessions)]
        if pair:
            first, last = (wording.number(values.get(s)) for s in (pair[0], pair[-1]))
            row.append(wording.show(last - first, 3, sign=True))
        rows.append(row)
    return Table("Mean Fisher z over each circuit's edges", head, rows)


def _person_methods(report: PersonReport) -> list[str]:
    """Text for a methods section, with what was really done."""
    version = report.provenance.get("version of circuitshift", "")
    out = [f"Data were processed with circuitshift{' ' + version if version else ''}."]
    if report.preproc is not None:
        out.append(preproc_methods(report.preproc))
    denoising = report.provenance.get("denoising")
    if denoising:
        out.append(str(denoising))
    if report.runs:
        run = report.runs[0]
        out.append(
            f"Series were averaged within {len(run.coverage_labels)} regions; a region with "
            f"signal in less than {100 * run.min_coverage:g} % of it was set to not available, "
            f"never dropped. Edges are {report.provenance.get('edges', 'correlations')}, Fisher-z "
            "transformed; runs of one session were averaged with their residual degrees of "
            "freedom as weights."
        )
    return out
