"""Page of one study: its sections, its figures, and what is said in words."""

from pathlib import Path
from typing import Any

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.io.tables import write_text
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.page import Figure, PageTable, Row, nan_mean, render
from circuitshift.pipeline.reports.study.answer import (
    flow_figure,
    forest_row,
    naive_figure,
    outlier_table,
    power_tables,
    reference_words,
    scale_figure,
    short_title,
    specification_figure,
    spoken,
    symptom_part,
)
from circuitshift.pipeline.reports.study.brain import (
    connectome_data,
    connectome_figure,
    deviation_figure,
    length_figure,
    network_figure,
    network_table,
    ranked,
    strength_figure,
)
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.methods import checklist, limits
from circuitshift.pipeline.reports.study.tables import (
    ARMS,
    QUALITY,
    by_arm,
    circuit_table,
    exclusion_table,
    flow_table,
    naive,
    of_family,
    quality_table,
    secondary_tables,
    sensitivity_estimates,
    sensitivity_table,
    tests_table,
    values_table,
    visits_of,
)

__all__ = ["study_page", "write_study_report"]

_MOST_PANELS = 24  # of the figure of people; the table holds all


def study_page(report: StudyReport) -> dict[str, Any]:
    """Content of the page of one study, for ``templates/group.html``.

    Parameters
    ----------
    report : GroupReport

    Returns
    -------
    dict
        Names of the template and their values.
    """
    verdict = report.verdict
    design = verdict.get("design") or {}
    alpha = wording.number(design.get("alpha", 0.05))
    symptom = symptom_part(report, alpha)
    return {
        "title": f"Study: {wording.headline(str(verdict.get('verdict')))}",
        "headline": wording.headline(str(verdict.get("verdict"))),
        "sentence": str(verdict.get("sentence") or ""),
        "reason": str(verdict.get("reason") or ""),
        "warnings": verdict.get("warnings") or (),
        "answer": [*wording.answer(verdict, alpha=alpha), *reference_words(report, alpha)],
        "who": " ".join([wording.who(verdict.get("n") or {}), *_crossover_words(design)]),
        "sesoi": wording.show(design.get("sesoi_z")),
        "alpha": f"{alpha:g}",
        "visits": (
            str(design.get("baseline", "baseline")),
            str(design.get("followup", "follow-up")),
        ),
        "scale": scale_figure(report, alpha),
        "limits": limits(verdict),
        "global_figure": _global_figure(report, alpha),
        "global_table": tests_table(of_family(report.tests, "global"), "Global terms"),
        "deviation": _deviation_words(verdict),
        "circuit_figure": _forest_figure(report, alpha),
        "circuit_table": circuit_table(report),
        "predictions": _predictions(verdict),
        "skipped": verdict.get("circuits_not_resolved") or (),
        "strength": strength_figure(report, alpha),
        "deviation_figure": deviation_figure(report, alpha),
        "networks": network_figure(report, alpha),
        "network_table": network_table(report),
        "connectome": connectome_figure(report),
        "connectome_data": connectome_data(report, alpha),
        "flow_figure": flow_figure(report),
        "flow": flow_table(report),
        "lost_p": wording.p_value((verdict.get("exclusion_by_arm") or {}).get("p")),
        "spaghetti": _spaghetti_figure(report, alpha),
        "values": values_table(report),
        "exclusions": exclusion_table(report),
        "no_role": exclusion_table(report, no_role=True),
        "quality_figure": _quality_figure(report),
        "quality": quality_table(report),
        "confound": _confound_words(verdict),
        "length": length_figure(report),
        "outliers": outlier_table(report),
        "sensitivity": sensitivity_table(report),
        "sensitivity_tests": sensitivity_estimates(report),
        "beside": secondary_tables(report),
        "best_model": str((verdict.get("beside") or {}).get("best_predicting_model") or ""),
        "naive_figure": naive_figure(report, alpha),
        "naive": tests_table(naive(report.tests), "What is usually reported"),
        "shares": _share_table(report),
        "specification": specification_figure(report, alpha),
        "symptom": symptom[0],
        "symptom_figure": symptom[1],
        "symptom_tests": tests_table(symptom[2], "Change with symptoms"),
        "power": power_tables(report),
        "all_tests": tests_table(report.tests, "Every estimate"),
        "notes": report.notes,
        "plan": str((verdict.get("plan") or {}).get("sentence") or ""),
        "inferred": design.get("inferred") or (),
        "methods": report.methods,
        "references": report.references,
        "checklist": checklist(verdict, report.tests),
        "files": report.files,
        "provenance": _group_provenance(verdict),
    }


def _global_figure(report: StudyReport, alpha: float) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    tests = of_family(report.tests, "global")
    if not tests:
        return None
    svg = figures.global_forest(
        [forest_row(row, str(row.get("term")), alpha) for row in tests],
        key="global",
        alt=spoken("Global terms with 95 % intervals", tests),
    )
    return Figure(
        svg,
        "Bar: 95 % confidence interval. Filled: corrected p below alpha. Shaded: effects smaller "
        "than the smallest of interest; an interval inside it rules a relevant effect out.",
    )


def _forest_figure(report: StudyReport, alpha: float) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    tests = of_family(report.tests, "specific")
    if not tests:
        return None
    adjusted = {
        row.get("term"): row.get("estimate")
        for row in of_family(report.tests, "specific, node-adjusted")
    }
    about = report.verdict.get("circuits") or {}
    rows = [
        forest_row(
            row,
            short_title(report.verdict, str(row.get("term")), 24),
            alpha,
            hint=str((about.get(row.get("term")) or {}).get("predicted") or ""),
            second=adjusted.get(row.get("term")),
        )
        for row in tests
    ]
    svg = figures.circuit_forest(
        rows, key="forest", alt=spoken("Specific response of each circuit", tests)
    )
    return Figure(
        svg,
        "Change of each circuit beyond what the global law predicts for edges of its strength, "
        "with 95 % confidence interval and corrected p. Triangles: direction that the circuit's "
        "definition predicts. "
        "Upright stroke: the same after changes of the circuit's own regions everywhere are taken "
        "out.",
    )


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


def _crossover_words(design: Row) -> list[str]:
    if not design.get("control_baseline"):
        return []
    return [
        f"Everybody's change from ses-{design['control_baseline']} to "
        f"ses-{design['control_followup']}, the control condition, is taken from it in all tests."
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


def _spaghetti_figure(report: StudyReport, alpha: float) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    visits = visits_of(report)
    order = ranked(report, alpha)
    hits = {str(row.get("term")) for row in order if wording.is_below(row, alpha)}
    values: dict[str, dict[str, dict[str, Floats]]] = {str(row.get("term")): {} for row in order}
    healthy: dict[str, dict[str, list[float]]] = {}
    for row in report.participants:
        circuit, arm = str(row.get("circuit")), str(row.get("arm"))
        person, z = str(row.get("participant_id")), wording.number(row.get("value_z"))
        if arm == "reference":
            healthy.setdefault(circuit, {}).setdefault(person, []).append(z)
        elif row.get("session") in visits and arm in ARMS:
            participants = values.setdefault(circuit, {}).setdefault(arm, {})
            pair = participants.setdefault(person, np.full(2, np.nan))
            pair[visits.index(str(row.get("session")))] = z
    shown = {name: arms for name, arms in values.items() if arms}
    if not shown:
        return None
    drawn = [
        figures.Spaghetti(
            short_title(report.verdict, name, 24),
            {arm: np.array(list(arms[arm].values())) for arm in ARMS if arm in arms},
            np.array([nan_mean(np.array(z)) for z in healthy.get(name, {}).values()], float),
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
    return Figure(
        svg,
        "Each thin line is a person with both visits; short strokes are people with one. Of a "
        "crossover, the treated visits are shown. A star marks circuits that changed beyond the "
        "global law. These are plain values: a "
        f"global change moves them too.{rest}",
    )


def _quality_figure(report: StudyReport) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    groups = by_arm(report.quality, visits_of(report))
    panels = []
    for column, label, _ in QUALITY:
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
    return Figure(svg, "Each mark is a run; strokes are medians.")


def _confound_words(verdict: Row) -> list[str]:
    """Say whether edges, and their change, go with motion over people."""
    found = verdict.get("quality") or {}
    out = []
    for part, words in (
        (found.get("baseline") or {}, "connectivity of a typical edge at baseline correlates with"),
        (found, "the change of a typical edge correlates with the change of"),
    ):
        median = wording.show(part.get("qcfc_median_abs_r"))
        if median == wording.MISSING:
            continue
        sentence = (
            f"Over {wording.show(part.get('qcfc_n_people'), 0)} people, {words} mean framewise "
            f"displacement by |r| = {median} (median); chance alone gives "
            f"{wording.show(part.get('qcfc_null_median_abs_r'))}."
        )
        rho = wording.show(part.get("qcfc_distance_rho"))
        if rho != wording.MISSING:
            sentence += f" With the length of edges this correlates by rho = {rho}."
        out.append(sentence)
    return out


def _share_table(report: StudyReport) -> PageTable:
    """Share of the deviation closed everywhere, the usual way and corrected."""
    rows = []
    for family, words in (
        ("naive: normalisation slope", "usual: slope of change on the plain deviation"),
        ("normalisation, split-half instrument", "instrument: other half of the people"),
        ("global", "in the model: deviation from other people, instrument"),
    ):
        rows += [
            (
                words,
                wording.show(row.get("estimate"), 3, sign=True),
                f"{wording.show(row.get('ci_low'), 3)} to {wording.show(row.get('ci_high'), 3)}",
                wording.p_value(row.get("p")),
            )
            for row in of_family(report.tests, family)
            if row.get("term") == "normalisation"
        ]
    head = ("Share closed everywhere", "Estimate", "95 % interval", "p")
    return PageTable("Regression to the mean: one question, three ways", head, rows)


#: What is meant by parts of the design that the study file leaves out.
_UNSTATED = {
    "circuits": "all that the atlas can tell",
    "covariates": "none stated; those that were used are in the methods",
    "directions": "none stated, so all tests are two-sided",
}


def _group_provenance(verdict: Row) -> dict[str, str]:
    out = {f"version of {k}": str(v) for k, v in (verdict.get("versions") or {}).items()}
    for key in (
        "inputs_hash",
        "science_hash",
        "code_hash",
        "seed",
        "atlas",
        "n_regions",
        "strategy",
    ):
        if key in verdict:
            out[key.replace("_", " ")] = wording.cell(verdict[key])
    for part in ("design", "science"):
        for name, value in (verdict.get(part) or {}).items():
            words = _UNSTATED.get(name, "") if part == "design" and not value else ""
            out[f"{part}: {name}"] = words or wording.cell(value)
    return out


def write_study_report(path: Path, report: StudyReport) -> None:
    """Write the page of one study.

    Parameters
    ----------
    path : Path
    report : GroupReport
    """
    write_text(path, render("group.html", study_page(report)))
