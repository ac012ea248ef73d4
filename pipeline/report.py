"""Plain values -> one self-contained HTML page per person and per study.

A page needs nothing else: no script, no font, no image from elsewhere. The same values give the
same bytes. Figures come from `figures`, words from `wording`, the order of sections from
``templates/*.html``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline import wording
from circuitshift.pipeline.records import Kept
from circuitshift.pipeline.tables import write_text

if TYPE_CHECKING:
    from circuitshift.pipeline.figures import ForestRow

__all__ = [
    "GroupReport",
    "PersonReport",
    "RunQuality",
    "SessionEdges",
    "write_group_report",
    "write_person_report",
]

Floats = npt.NDArray[np.float64]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class RunQuality:
    """Quality of one run under one strategy.

    Parameters
    ----------
    label, session : str
        Name of the run, and its session; empty when the tree has none.
    fd_mm : ndarray, shape (n_volumes,)
        Framewise displacement, mm; empty when unknown.
    keep : ndarray of bool, shape (n_volumes,)
        Volumes that entered connectivity; empty when unknown.
    kept : Kept
    coverage : ndarray, shape (n_regions,)
        Share of each region that carries signal.
    coverage_labels : sequence of str
        Region names.
    below_coverage : tuple of str
        Regions below `min_coverage`: their edges are not available.
    min_coverage : float
    excluded : tuple of str
        Why the run does not enter the analysis; empty when it does.
    strategy : str
    series : ndarray, shape (n_volumes or n_retained, n_regions), optional
        For the carpet.
    networks : tuple of str
        One per region.
    fd_threshold_mm : float, optional
        Censoring threshold of the strategy, mm.
    """

    label: str
    session: str
    fd_mm: Floats
    keep: npt.NDArray[np.bool_]
    kept: Kept
    coverage: Floats
    coverage_labels: Sequence[str]
    below_coverage: tuple[str, ...]
    min_coverage: float
    excluded: tuple[str, ...]
    strategy: str
    series: Floats | None
    networks: tuple[str, ...]
    fd_threshold_mm: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SessionEdges:
    """Edges of one session.

    Parameters
    ----------
    session : str
    matrix : ndarray, shape (n_regions, n_regions)
        Fisher z.
    networks : tuple of str
        One per region.
    """

    session: str
    matrix: Floats
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PersonReport:
    """Everything the page of one person shows.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    runs : tuple of RunQuality
    edges : tuple of SessionEdges
        In any order: the page orders sessions as their names tell, and says so.
    circuits : mapping of str to mapping of str to float
        Mean Fisher z by circuit and session.
    notes, faults : tuple of str
        Remarks, and what went wrong.
    provenance : mapping of str to str
        Versions, hashes, atlas, denoising, command.
    """

    participant: str
    runs: tuple[RunQuality, ...]
    edges: tuple[SessionEdges, ...]
    circuits: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    faults: tuple[str, ...]
    provenance: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class GroupReport:
    """Everything the page of one study shows.

    Parameters
    ----------
    verdict : mapping
        Content of verdict.json.
    tests : sequence of dict
        Rows of tests.tsv.
    people : sequence of dict
        Rows of circuits.tsv.
    exclusions : sequence of dict
        Rows of exclusions.tsv.
    quality : sequence of dict
        One per run: participant_id, arm, session, mean_fd_mm, minutes, residual_dof.
    change_by_strength : mapping, optional
        ``typical_z``, ``change_treated_z``, ``change_control_z``, ``is_circuit`` of every edge,
        and ``circuits``, the names of its circuits with commas between.
    notes : tuple of str
    methods : str
        Text for a methods section.
    """

    verdict: Row
    tests: Sequence[Row]
    people: Sequence[Row]
    exclusions: Sequence[Row]
    quality: Sequence[Row]
    change_by_strength: Mapping[str, Any] | None
    notes: tuple[str, ...]
    methods: str


def write_person_report(path: Path, report: PersonReport) -> None:
    """Write the page of one person.

    Parameters
    ----------
    path : Path
    report : PersonReport
    """
    write_text(path, _render("person.html", _person_page(report)))


def write_group_report(path: Path, report: GroupReport) -> None:
    """Write the page of one study.

    Parameters
    ----------
    path : Path
    report : GroupReport
    """
    write_text(path, _render("group.html", _group_page(report)))


# -- page -----------------------------------------------------------------------------------------

_DOI_WORD = r"(?:[\w.:;/-]|\([\w.:;/-]*\))"  # brackets belong to it only in pairs
_DOI = re.compile(rf"doi:(10\.\d{{4,9}}/{_DOI_WORD}*(?:\w|\([\w.:;/-]*\)))", re.ASCII)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


def _render(template: str, page: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - see imports
    from markupsafe import Markup, escape  # noqa: PLC0415 - comes with jinja2

    def with_links(text: object) -> Markup:
        link = r'<a href="https://doi.org/\1">doi:\1</a>'
        return Markup(_DOI.sub(link, str(escape(text))))  # noqa: S704 - escaped just here

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "cell": wording.cell,
        "doi": with_links,
        "number": wording.show,
        "p": wording.p_value,
        "svg": Markup,  # figures escape what they draw
    }
    text = environment.get_template(template).render(page)
    return _CONTROL.sub(" ", text)


@dataclass(frozen=True, slots=True)
class _Figure:
    """SVG and what stands below it."""

    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class _Table:
    """Cells as text; the first column names the row."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def _visit(session: str) -> str:
    return f"ses-{session}" if session else "the only session"


# -- one person -----------------------------------------------------------------------------------


_BEFORE = re.compile(r"^(pre|base|bl$|before)|pre$", re.IGNORECASE)
_AFTER = re.compile(r"^(post|follow|fu\d*$|after)|post$", re.IGNORECASE)


def _in_time(sessions: Iterable[str]) -> list[str]:
    """Order sessions as their names tell: before, after, then the others by number and name."""
    labels = set(sessions)
    told = any(_BEFORE.search(label) for label in labels)

    def order(label: str) -> tuple[int, list[tuple[int, str]]]:
        kind = 0 if _BEFORE.search(label) else 1 if _AFTER.search(label) else 2 if told else 0
        parts = re.findall(r"\d+|\D+", label.lower())
        return kind, [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]

    return sorted(labels, key=order)


def _sorted_in_time(report: PersonReport) -> PersonReport:
    times = _in_time([*(r.session for r in report.runs), *(e.session for e in report.edges)])
    return replace(
        report,
        runs=tuple(sorted(report.runs, key=lambda run: times.index(run.session))),
        edges=tuple(sorted(report.edges, key=lambda edges: times.index(edges.session))),
    )


def _person_page(report: PersonReport) -> dict[str, Any]:
    report = _sorted_in_time(report)
    return {
        "title": f"sub-{report.participant}: quality and connectivity",
        "participant": report.participant,
        "summary": _person_summary(report),
        "faults": report.faults,
        "notes": report.notes,
        "runs": report.runs,
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
        f"{_visit(session)}: {wording.show(found, 1)} minutes of data enter the analysis."
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


def _motion_figures(runs: Sequence[RunQuality]) -> list[_Figure]:
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
        out.append(_Figure(svg, f"{run.label}: {said}."))
    return out


def _retained_figure(runs: Sequence[RunQuality]) -> _Figure | None:
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
    return _Figure(svg, "Volumes of each run: used, censored for motion, dropped at the start.")


def _kept_table(runs: Sequence[RunQuality]) -> _Table:
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
    return _Table("What denoising left of each run", head, rows)


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


def _carpet_figures(runs: Sequence[RunQuality]) -> list[_Figure]:
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
        out.append(_Figure(svg, f"{run.label}, after {run.strategy}."))
    return out


def _networks(names: Sequence[str], n_regions: int) -> Sequence[str]:
    return names if len(names) == n_regions else [""] * n_regions


def _matrix_figure(edges: Sequence[SessionEdges]) -> _Figure | None:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    if not edges:
        return None
    first = edges[0]
    panels = [(_visit(e.session), e.matrix) for e in edges]
    panels += [
        (f"{_visit(e.session)} minus {_visit(first.session)}", e.matrix - first.matrix)
        for e in edges[1:]
    ]
    known = ~np.eye(len(first.matrix), dtype=bool)
    means = [f"{title}: mean {wording.show(_mean(matrix[known]), 3)}" for title, matrix in panels]
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
    return _Figure(svg, caption)


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _sessions_of(report: PersonReport) -> list[str]:
    seen = [e.session for e in report.edges]
    return _in_time([*seen, *(s for values in report.circuits.values() for s in values)])


def _circuit_figure(report: PersonReport) -> _Figure | None:
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
    return _Figure(svg, caption)


def _circuit_table(report: PersonReport) -> _Table:
    sessions = _sessions_of(report)
    pair = sessions if len(sessions) > 1 else []
    head = ["Circuit", *map(_visit, sessions), *(["Change, first to last"] if pair else [])]
    rows = []
    for name, values in report.circuits.items():
        row = [name, *(wording.show(values.get(s), 3) for s in sessions)]
        if pair:
            first, last = (wording.number(values.get(s)) for s in (pair[0], pair[-1]))
            row.append(wording.show(last - first, 3, sign=True))
        rows.append(row)
    return _Table("Mean Fisher z over each circuit's edges", head, rows)


def _person_methods(report: PersonReport) -> list[str]:
    """Text for a methods section, with what was really done."""
    version = report.provenance.get("version of circuitshift", "")
    out = [f"Data were processed with circuitshift{' ' + version if version else ''}."]
    denoising = report.provenance.get("denoising")
    if denoising:
        out.append(str(denoising))
    if report.runs:
        run = report.runs[0]
        out.append(
            f"Series were averaged within {len(run.coverage_labels)} regions; a region with "
            f"signal in less than {100 * run.min_coverage:g} % of it was set to not available, "
            "never dropped. Edges are Pearson correlations, Fisher-z transformed; runs of one "
            "session were averaged with their residual degrees of freedom as weights."
        )
    return out


# -- one study ------------------------------------------------------------------------------------


def _group_page(report: GroupReport) -> dict[str, Any]:
    verdict = report.verdict
    design = verdict.get("design") or {}
    alpha = wording.number(design.get("alpha", 0.05))
    return {
        "title": f"Study: {wording.headline(str(verdict.get('verdict')))}",
        "headline": wording.headline(str(verdict.get("verdict"))),
        "sentence": str(verdict.get("sentence") or ""),
        "reason": str(verdict.get("reason") or ""),
        "warnings": verdict.get("warnings") or (),
        "answer": wording.answer(verdict, alpha=alpha),
        "who": wording.who(verdict.get("n") or {}),
        "sesoi": wording.show(design.get("sesoi_z")),
        "alpha": f"{alpha:g}",
        "visits": (
            str(design.get("baseline", "baseline")),
            str(design.get("followup", "follow-up")),
        ),
        "global_figure": _global_figure(report, alpha),
        "global_table": _tests_table(_family(report.tests, "global"), "Global terms"),
        "deviation": _deviation_words(verdict),
        "circuit_figure": _forest_figure(report, alpha),
        "circuit_table": _circuit_tests(report),
        "predictions": _predictions(verdict),
        "skipped": verdict.get("circuits_not_resolved") or (),
        "strength": _strength_figure(report, alpha),
        "flow": _flow_table(report),
        "lost_p": wording.p_value((verdict.get("exclusion_by_arm") or {}).get("p")),
        "spaghetti": _spaghetti_figure(report, alpha),
        "values": _values_table(report.people),
        "exclusions": _exclusion_table(report),
        "quality_figure": _quality_figure(report),
        "quality": _quality_table(report),
        "confound": _confound_words(verdict),
        "sensitivity": _sensitivity_table(report),
        "sensitivity_tests": _sensitivity_estimates(report),
        "naive": _tests_table(_naive(report.tests), "What is usually reported"),
        "all_tests": _tests_table(report.tests, "Every estimate"),
        "notes": report.notes,
        "inferred": design.get("inferred") or (),
        "methods": report.methods,
        "provenance": _group_provenance(verdict),
    }


def _family(tests: Iterable[Row], family: str) -> list[Row]:
    return [row for row in tests if row.get("family") == family]


def _naive(tests: Iterable[Row]) -> list[Row]:
    return [
        row
        for row in tests
        if str(row.get("family")).startswith("naive") or row.get("family") == "circuit change"
    ]


def _tests_table(rows: Iterable[Row], caption: str) -> _Table:
    head = (
        "Test",
        "Estimate",
        "95 % interval",
        "Unit",
        "Statistic (df)",
        "p",
        "p corrected",
        "Smallest effect of interest",
        "p of equivalence",
        "n (control, reference)",
        "Method",
        "Note",
    )
    body = [
        (
            wording.cell(row.get("test") or row.get("term")),
            wording.show(row.get("estimate"), 3, sign=True),
            _interval(row),
            wording.cell(row.get("unit")),
            f"{wording.show(row.get('statistic'))} ({wording.show(row.get('df'), 1)})",
            wording.p_value(row.get("p")),
            wording.p_value(row.get("p_corrected")),
            wording.show(row.get("bound"), 3),
            wording.p_value(row.get("equivalence_p")),
            f"{row.get('n')} ({row.get('n_control')}, {row.get('n_reference')})",
            wording.cell(row.get("method")),
            "" if wording.cell(row.get("note")) == wording.MISSING else str(row.get("note")),
        )
        for row in rows
    ]
    return _Table(caption, head, body)


def _interval(row: Row) -> str:
    low, high = wording.show(row.get("ci_low"), 3), wording.show(row.get("ci_high"), 3)
    return (
        low
        if low == high == wording.MISSING
        else f"{low}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{high}"
    )


def _global_figure(report: GroupReport, alpha: float) -> _Figure | None:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    tests = _family(report.tests, "global")
    if not tests:
        return None
    svg = figures.global_forest(
        [_forest_row(row, str(row.get("term")), alpha) for row in tests],
        key="global",
        alt=_spoken("Global terms with 95 % intervals", tests),
    )
    return _Figure(
        svg,
        "Bar: 95 % confidence interval. Filled: corrected p below alpha. Shaded: effects smaller "
        "than the smallest of interest; an interval inside it rules a relevant effect out.",
    )


def _forest_row(
    row: Row, name: str, alpha: float, *, hint: str = "", second: object = None
) -> "ForestRow":
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    return figures.ForestRow(
        name=name,
        estimate=wording.number(row.get("estimate")),
        low=wording.number(row.get("ci_low")),
        high=wording.number(row.get("ci_high")),
        bound=wording.number(row.get("bound")),
        text=wording.estimate_text(row),
        unit=str(row.get("unit") or ""),
        hit=wording.is_below(row, alpha),
        hint=hint,
        second=wording.number(second),
    )


def _spoken(start: str, rows: Sequence[Row]) -> str:
    """Say a forest plot for those who cannot see it; the table has the rest."""
    said = [f"{row.get('term')} {wording.estimate_text(row)}" for row in rows[:12]]
    more = f"; and {len(rows) - 12} more" if len(rows) > 12 else ""
    return f"{start}: {'; '.join(said)}{more}. The table below has all numbers."


def _title(verdict: Row, name: str) -> str:
    return str(((verdict.get("circuits") or {}).get(name) or {}).get("title") or name)


def _short(verdict: Row, name: str) -> str:
    """Return the title where it fits into a figure, else the name; the tables have both."""
    title = _title(verdict, name)
    return title if len(title) <= _LONGEST_TITLE else name


def _both(verdict: Row, name: str) -> str:
    title = _title(verdict, name)
    return title if title == name else f"{title} ({name})"


def _forest_figure(report: GroupReport, alpha: float) -> _Figure | None:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    tests = _family(report.tests, "specific")
    if not tests:
        return None
    adjusted = {
        row.get("term"): row.get("estimate")
        for row in _family(report.tests, "specific, node-adjusted")
    }
    about = report.verdict.get("circuits") or {}
    rows = [
        _forest_row(
            row,
            _short(report.verdict, str(row.get("term"))),
            alpha,
            hint=str((about.get(row.get("term")) or {}).get("predicted") or ""),
            second=adjusted.get(row.get("term")),
        )
        for row in tests
    ]
    svg = figures.circuit_forest(
        rows, key="forest", alt=_spoken("Specific response of each circuit", tests)
    )
    return _Figure(
        svg,
        "Change of each circuit beyond what the global law predicts for edges of its strength, "
        "with 95 % confidence interval and corrected p. Triangles: direction predicted beforehand. "
        "Upright stroke: the same after changes of the circuit's own regions everywhere are taken "
        "out.",
    )


def _circuit_tests(report: GroupReport) -> _Table:
    """One row per circuit: plain change, what is beyond the law, and the usual contrast."""
    families = ("specific", "specific, node-adjusted", "circuit change")
    found = {f: {row.get("term"): row for row in _family(report.tests, f)} for f in families}
    rows = []
    for term, row in found["specific"].items():
        plain = found["circuit change"].get(term) or {}
        by_node = found["specific, node-adjusted"].get(term) or {}
        rows.append(
            (
                _both(report.verdict, str(term)),
                wording.show(plain.get("estimate"), 3, sign=True),
                wording.show(row.get("estimate"), 3, sign=True),
                _interval(row),
                wording.p_value(row.get("p")),
                wording.p_value(row.get("p_corrected")),
                wording.p_value(row.get("equivalence_p")),
                wording.show(by_node.get("estimate"), 3, sign=True),
                wording.p_value(by_node.get("p_corrected")),
            )
        )
    head = (
        "Circuit",
        "Plain change",
        "Beyond the global law",
        "95 % interval",
        "p",
        "p corrected",
        "p of equivalence",
        "Node-adjusted",
        "p corrected, node-adjusted",
    )
    return _Table("Circuits, Fisher z", head, rows)


def _predictions(verdict: Row) -> list[dict[str, str]]:
    return [
        {
            "title": str(row.get("title") or name),
            "predicted": str(row.get("predicted") or wording.MISSING),
            "why": str(row.get("why") or ""),
            "reference": str(row.get("reference") or ""),
        }
        for name, row in (verdict.get("circuits") or {}).items()
        if row.get("why") or row.get("reference") or row.get("predicted")
    ]


def _deviation_words(verdict: Row) -> str:
    found = verdict.get("deviation") or {}
    if not found or not (verdict.get("n") or {}).get("reference"):
        return ""
    start = (
        "Normalisation could be tested"
        if found.get("identified")
        else "Normalisation was not tested"
    )
    p = wording.p_value(found.get("p"))
    return f"{start}: {found.get('reason')}" + ("." if p == wording.MISSING else f"; p {p}.")


def _confound_words(verdict: Row) -> str:
    """Say whether change of edges goes with change of motion over people."""
    found = verdict.get("quality") or {}
    median = wording.show(found.get("qcfc_median_abs_r"))
    if median == wording.MISSING:
        return ""
    return (
        f"Over {wording.show(found.get('qcfc_n_people'), 0)} people, the change of a typical edge "
        f"correlates with the change of mean framewise displacement by |r| = {median} (median); "
        f"chance alone gives {wording.show(found.get('qcfc_null_median_abs_r'))}."
    )


def _strength_figure(report: GroupReport, alpha: float) -> _Figure | None:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    given = report.change_by_strength or {}
    if "typical_z" not in given:
        return None
    typical = np.asarray(given["typical_z"], float)
    treated = np.asarray(given["change_treated_z"], float)
    control = given.get("change_control_z")
    panels = [("treated", treated)]
    if control is not None and np.isfinite(np.asarray(control, float)).any():
        other = np.asarray(control, float)
        panels += [("control", other), ("treated minus control", treated - other)]
    members = _members(given, [str(r.get("term")) for r in _ranked(report, alpha)])
    svg = figures.change_by_strength(
        typical,
        panels,
        members={_short(report.verdict, name): mask for name, mask in members.items()},
        key="strength",
        alt="Mean change of every edge against its typical strength, with the line fitted to "
        "background edges and the mean of each circuit; the table of circuits has the numbers.",
    )
    return _Figure(
        svg,
        "Each edge of the brain: how strong it typically is, and how much it changed. A global "
        "law moves all edges along one line: a raised line is a shift, a tilted one a gain. A "
        "circuit far from the line changed beyond the law. The line is a plain least-squares fit "
        "to the group means, to look at; the tests use the model of the methods section. "
        "Circuits with the largest statistics are named where there is room.",
    )


def _ranked(report: GroupReport, alpha: float) -> list[Row]:
    """Circuits, the clearest first."""

    def order(row: Row) -> tuple[bool, float]:
        size = abs(wording.number(row.get("statistic")))
        return (not wording.is_below(row, alpha), -size if np.isfinite(size) else 0.0)

    return sorted(_family(report.tests, "specific"), key=order)


def _members(given: Mapping[str, Any], order: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """Edges of each circuit, in the order given; of all together when they are not named."""
    names = given.get("circuits")
    if names is None:
        return {"circuits": np.asarray(given["is_circuit"], bool)}
    of: dict[str, list[int]] = {name: [] for name in order}
    for k, text in enumerate(names):
        if text and str(text).lower() not in ("n/a", "none", "nan"):
            for name in str(text).split(","):
                of.setdefault(name, []).append(k)
    out = {}
    for name, positions in of.items():
        if positions:
            out[name] = np.zeros(len(names), bool)
            out[name][positions] = True
    return out


_LONGEST_TITLE = 24
_ARMS = ("treated", "control", "reference")
_MOST_PANELS = 24  # of the figure of people; the table holds all


def _flow_table(report: GroupReport) -> _Table:
    """Who is in, by arm."""
    n = report.verdict.get("n") or {}
    lost = (report.verdict.get("exclusion_by_arm") or {}).get("analysed_and_lost") or {}
    rows = []
    for arm in _ARMS:
        measured = {r.get("participant_id") for r in report.people if r.get("arm") == arm}
        known = "" if arm not in lost else str(sum(int(v) for v in lost[arm]))
        analysed = int(n.get(arm) or 0)
        if measured or analysed or known:
            rows.append((arm, known or str(len(measured)), str(len(measured)), str(analysed)))
    head = ("Arm", "Known", "Measured at least once", "Analysed")
    return _Table("People by arm", head, rows)


def _visits_of(report: GroupReport) -> tuple[str, str]:
    design = report.verdict.get("design") or {}
    sessions = list(dict.fromkeys(str(r.get("session")) for r in report.people))
    return (
        str(design.get("baseline") or (sessions[0] if sessions else "baseline")),
        str(design.get("followup") or (sessions[-1] if sessions else "follow-up")),
    )


def _spaghetti_figure(report: GroupReport, alpha: float) -> _Figure | None:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    visits = _visits_of(report)
    ranked = _ranked(report, alpha)
    hits = {str(row.get("term")) for row in ranked if wording.is_below(row, alpha)}
    values: dict[str, dict[str, dict[str, Floats]]] = {str(row.get("term")): {} for row in ranked}
    healthy: dict[str, dict[str, list[float]]] = {}
    for row in report.people:
        circuit, arm = str(row.get("circuit")), str(row.get("arm"))
        person, z = str(row.get("participant_id")), wording.number(row.get("value_z"))
        if arm == "reference":
            healthy.setdefault(circuit, {}).setdefault(person, []).append(z)
        elif row.get("session") in visits and arm in _ARMS:
            people = values.setdefault(circuit, {}).setdefault(arm, {})
            pair = people.setdefault(person, np.full(2, np.nan))
            pair[visits.index(str(row.get("session")))] = z
    shown = {name: arms for name, arms in values.items() if arms}
    if not shown:
        return None
    drawn = [
        figures.Spaghetti(
            _short(report.verdict, name),
            {arm: np.array(list(arms[arm].values())) for arm in _ARMS if arm in arms},
            np.array([_mean(np.array(z)) for z in healthy.get(name, {}).values()], float),
            hit=name in hits,
        )
        for name, arms in list(shown.items())[:_MOST_PANELS]
    ]
    more = len(shown) - len(drawn)
    rest = f" The {len(drawn)} clearest circuits of {len(shown)} are drawn." if more else ""
    svg = figures.spaghetti(
        drawn,
        visits,
        key="people",
        alt=f"Mean Fisher z of each circuit in every person at {visits[0]} and {visits[1]}, with "
        "the mean of each arm; the table below has all values.",
    )
    return _Figure(
        svg,
        "Each thin line is a person with both visits; short strokes are people with one. "
        "A star marks circuits that changed beyond the global law. These are plain values: a "
        f"global change moves them too.{rest}",
    )


def _values_table(people: Sequence[Row]) -> _Table:
    """Circuit values, one row per person and session."""
    circuits = list(dict.fromkeys(str(row.get("circuit")) for row in people))
    by: dict[tuple[str, ...], dict[str, object]] = {}
    for row in people:
        key = tuple(wording.cell(row.get(k)) for k in ("participant_id", "group", "arm", "session"))
        by.setdefault(key, {})[str(row.get("circuit"))] = row.get("value_z")
    rows = [
        (*key, *(wording.show(values.get(c), 3) for c in circuits)) for key, values in by.items()
    ]
    return _Table(
        "Mean Fisher z of each circuit", ("Participant", "Group", "Arm", "Session", *circuits), rows
    )


def _exclusion_table(report: GroupReport) -> _Table:
    arms = {
        row.get("participant_id"): row.get("arm")
        for row in [*report.quality, *report.people]
        if wording.cell(row.get("arm")) != wording.MISSING
    }
    rows = [
        (
            wording.cell(row.get("participant_id")),
            wording.cell(row.get("arm") or arms.get(row.get("participant_id"))),
            "all" if wording.cell(row.get("session")) == wording.MISSING else str(row["session"]),
            wording.cell(row.get("stage")),
            wording.cell(row.get("code")),
            wording.cell(row.get("reason")),
        )
        for row in report.exclusions
    ]
    rows.sort(key=lambda row: (row[1], row[0], row[2]))
    head = ("Participant", "Arm", "Session", "Stage", "Code", "Reason")
    return _Table("Who or what is not in the analysis, and why", head, rows)


_QUALITY = (
    ("mean_fd_mm", "mean displacement, mm", 3),
    ("minutes", "minutes used", 1),
    ("residual_dof", "residual degrees of freedom", 0),
)


def _by_arm(quality: Sequence[Row], visits: tuple[str, str]) -> dict[tuple[str, str], list[Row]]:
    """Rows by arm and session; arms in order of interest, sessions in order of time."""
    out: dict[tuple[str, str], list[Row]] = {}
    for row in quality:
        arm, session = wording.cell(row.get("arm")), wording.cell(row.get("session"))
        key = (
            "no arm" if arm in (wording.MISSING, "none") else arm,
            "" if session == wording.MISSING else session,
        )
        out.setdefault(key, []).append(row)
    rank = {arm: k for k, arm in enumerate(_ARMS)}

    def order(key: tuple[str, str]) -> tuple[int, int]:
        when = visits.index(key[1]) if key[1] in visits else len(visits)
        return rank.get(key[0], len(rank)), when

    return {key: out[key] for key in sorted(out, key=order)}


def _quality_figure(report: GroupReport) -> _Figure | None:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    groups = _by_arm(report.quality, _visits_of(report))
    panels = []
    for column, label, _ in _QUALITY:
        parts = [
            (arm, session, np.array([wording.number(row.get(column)) for row in rows]))
            for (arm, session), rows in groups.items()
        ]
        if any(np.isfinite(values).any() for _, _, values in parts):
            panels.append((label, parts))
    if not panels:
        return None
    svg = figures.quality_by_arm(
        panels,
        key="quality",
        alt="Motion, minutes and residual degrees of freedom of every run by arm and session; "
        "the table below has the medians.",
    )
    return _Figure(svg, "Each mark is a run; strokes are medians.")


def _quality_table(report: GroupReport) -> _Table:
    rows = []
    for (arm, session), part in _by_arm(report.quality, _visits_of(report)).items():
        row = [arm, session or "only", str(len(part))]
        for column, _, digits in _QUALITY:
            values = np.array([wording.number(r.get(column)) for r in part])
            known = values[np.isfinite(values)]
            row.append(wording.show(np.median(known) if known.size else None, digits))
        rows.append(row)
    head = ("Arm", "Session", "Runs", *(f"Median {label}" for _, label, _ in _QUALITY))
    return _Table("Quality by arm and session", head, rows)


def _sensitivity_table(report: GroupReport) -> _Table:
    verdict = report.verdict
    rows = [
        (
            f"{verdict.get('strategy') or 'primary'} (this report)",
            str(verdict.get("verdict")),
            str(verdict.get("reason") or ""),
        )
    ]
    rows += [
        (
            wording.cell(row.get("strategy"))
            + (" (global signal removed)" if row.get("global_signal_removed") else ""),
            str(row.get("verdict") or "could not be analysed"),
            str(row.get("reason") or ""),
        )
        for row in verdict.get("sensitivity") or ()
    ]
    return _Table(
        "The same question, denoised differently", ("Denoising", "Verdict", "Reason"), rows
    )


def _sensitivity_estimates(report: GroupReport) -> _Table | None:
    """Specific response of each circuit under each twin, beside the primary one."""
    names = [str(row.get("strategy")) for row in report.verdict.get("sensitivity") or ()]
    twins = {
        name: {r.get("term"): r for r in _family(report.tests, f"sensitivity: {name}: specific")}
        for name in names
    }
    twins = {name: rows for name, rows in twins.items() if rows}
    if not twins:
        return None
    rows = []
    for row in _family(report.tests, "specific"):
        cells = [_title(report.verdict, str(row.get("term"))), wording.estimate_text(row)]
        cells += [wording.estimate_text(twin.get(row.get("term")) or {}) for twin in twins.values()]
        rows.append(cells)
    head = ("Circuit", str(report.verdict.get("strategy") or "primary"), *twins)
    return _Table("Change beyond the global law, Fisher z [95 % interval], corrected p", head, rows)


def _group_provenance(verdict: Row) -> dict[str, str]:
    out = {f"version of {k}": str(v) for k, v in (verdict.get("versions") or {}).items()}
    for key in ("science_hash", "code_hash", "seed", "atlas", "n_regions", "strategy"):
        if key in verdict:
            out[key.replace("_", " ")] = wording.cell(verdict[key])
    for part in ("design", "science"):
        for name, value in (verdict.get(part) or {}).items():
            out[f"{part}: {name}"] = wording.cell(value)
    return out
