"""Page of one study: its sections, its figures, and what is said in words."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline import wording
from circuitshift.pipeline.report_parts import (
    Figure,
    Floats,
    GroupReport,
    Row,
    mean_of_known,
)
from circuitshift.pipeline.report_tables import (
    ARMS,
    QUALITY,
    beside_tables,
    by_arm,
    circuit_table,
    exclusion_table,
    flow_table,
    naive,
    of_family,
    quality_table,
    sensitivity_estimates,
    sensitivity_table,
    tests_table,
    title_of,
    values_table,
    visits_of,
)

if TYPE_CHECKING:
    from circuitshift.pipeline.figures import ForestRow

__all__ = ["group_page"]

_LONGEST_TITLE = 24
_MOST_PANELS = 24  # of the figure of people; the table holds all


def group_page(report: GroupReport) -> dict[str, Any]:
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
        "global_table": tests_table(of_family(report.tests, "global"), "Global terms"),
        "deviation": _deviation_words(verdict),
        "circuit_figure": _forest_figure(report, alpha),
        "circuit_table": circuit_table(report),
        "predictions": _predictions(verdict),
        "skipped": verdict.get("circuits_not_resolved") or (),
        "strength": _strength_figure(report, alpha),
        "flow": flow_table(report),
        "lost_p": wording.p_value((verdict.get("exclusion_by_arm") or {}).get("p")),
        "spaghetti": _spaghetti_figure(report, alpha),
        "values": values_table(report),
        "exclusions": exclusion_table(report),
        "quality_figure": _quality_figure(report),
        "quality": quality_table(report),
        "confound": _confound_words(verdict),
        "sensitivity": sensitivity_table(report),
        "sensitivity_tests": sensitivity_estimates(report),
        "beside": beside_tables(report),
        "best_model": str((verdict.get("beside") or {}).get("best_predicting_model") or ""),
        "naive": tests_table(naive(report.tests), "What is usually reported"),
        "all_tests": tests_table(report.tests, "Every estimate"),
        "notes": report.notes,
        "plan": str((verdict.get("plan") or {}).get("sentence") or ""),
        "inferred": design.get("inferred") or (),
        "methods": report.methods,
        "provenance": _group_provenance(verdict),
    }


def _global_figure(report: GroupReport, alpha: float) -> Figure | None:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    tests = of_family(report.tests, "global")
    if not tests:
        return None
    svg = figures.global_forest(
        [_forest_row(row, str(row.get("term")), alpha) for row in tests],
        key="global",
        alt=_spoken("Global terms with 95 % intervals", tests),
    )
    return Figure(
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


def _short(verdict: Row, name: str) -> str:
    """Return the title where it fits into a figure, else the name; the tables have both."""
    title = title_of(verdict, name)
    return title if len(title) <= _LONGEST_TITLE else name


def _forest_figure(report: GroupReport, alpha: float) -> Figure | None:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    tests = of_family(report.tests, "specific")
    if not tests:
        return None
    adjusted = {
        row.get("term"): row.get("estimate")
        for row in of_family(report.tests, "specific, node-adjusted")
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
    return Figure(
        svg,
        "Change of each circuit beyond what the global law predicts for edges of its strength, "
        "with 95 % confidence interval and corrected p. Triangles: direction predicted beforehand. "
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


def _strength_figure(report: GroupReport, alpha: float) -> Figure | None:
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
    return Figure(
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

    return sorted(of_family(report.tests, "specific"), key=order)


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


def _spaghetti_figure(report: GroupReport, alpha: float) -> Figure | None:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

    visits = visits_of(report)
    ranked = _ranked(report, alpha)
    hits = {str(row.get("term")) for row in ranked if wording.is_below(row, alpha)}
    values: dict[str, dict[str, dict[str, Floats]]] = {str(row.get("term")): {} for row in ranked}
    healthy: dict[str, dict[str, list[float]]] = {}
    for row in report.people:
        circuit, arm = str(row.get("circuit")), str(row.get("arm"))
        person, z = str(row.get("participant_id")), wording.number(row.get("value_z"))
        if arm == "reference":
            healthy.setdefault(circuit, {}).setdefault(person, []).append(z)
        elif row.get("session") in visits and arm in ARMS:
            people = values.setdefault(circuit, {}).setdefault(arm, {})
            pair = people.setdefault(person, np.full(2, np.nan))
            pair[visits.index(str(row.get("session")))] = z
    shown = {name: arms for name, arms in values.items() if arms}
    if not shown:
        return None
    drawn = [
        figures.Spaghetti(
            _short(report.verdict, name),
            {arm: np.array(list(arms[arm].values())) for arm in ARMS if arm in arms},
            np.array([mean_of_known(np.array(z)) for z in healthy.get(name, {}).values()], float),
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
        "Each thin line is a person with both visits; short strokes are people with one. "
        "A star marks circuits that changed beyond the global law. These are plain values: a "
        f"global change moves them too.{rest}",
    )


def _quality_figure(report: GroupReport) -> Figure | None:
    from circuitshift.pipeline import figures  # noqa: PLC0415 - matplotlib takes a second

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


def _group_provenance(verdict: Row) -> dict[str, str]:
    out = {f"version of {k}": str(v) for k, v in (verdict.get("versions") or {}).items()}
    for key in ("science_hash", "code_hash", "seed", "atlas", "n_regions", "strategy"):
        if key in verdict:
            out[key.replace("_", " ")] = wording.cell(verdict[key])
    for part in ("design", "science"):
        for name, value in (verdict.get(part) or {}).items():
            words = "all that the atlas can tell" if (part, name) == ("design", "circuits") else ""
            out[f"{part}: {name}"] = words if words and not value else wording.cell(value)
    return out
