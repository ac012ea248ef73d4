"""Sections of the study report: global change, and change of each circuit."""

from collections.abc import Iterator

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import (
    Block,
    Details,
    Figure,
    Heading,
    Items,
    PageTable,
    Pairs,
    Prose,
)
from circuitshift.pipeline.reports.page import Row, nan_mean
from circuitshift.pipeline.reports.study.content import ARMS, StudyReport
from circuitshift.pipeline.reports.study.estimates import (
    alt_text,
    forest_row,
    interval,
    tests_table,
)

__all__ = ["circuit_table", "circuits_section", "global_section", "values_table"]

_MAX_PANELS = 24  # in the figure of individual values; the table has all circuits


# -- global change --------------------------------------------------------------------------------


def global_section(report: StudyReport) -> Iterator[Block | None]:
    """Show the tests of the global model.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
    """
    yield Prose(
        "Does one global model describe the change of all connections outside the predefined "
        "circuits? A shift changes all of them by the same amount, a gain changes them in "
        "proportion to their strength, and normalisation moves them toward the reference group, "
        "throughout the brain."
    )
    tests = report.family("global")
    if tests:
        yield _global_figure(report, tests)
        yield Details("Numbers", (tests_table(tests, "Global terms"),))
    else:
        yield Prose("Global terms were not tested.")
    sentence = _deviation_sentence(report.verdict)
    yield Prose(sentence) if sentence else None


def _global_figure(report: StudyReport, tests: list[Row]) -> Figure:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    svg = figures.global_forest(
        [forest_row(row, report.title(str(row.get("term"))), report.alpha) for row in tests],
        key="global",
        alt=alt_text("Global terms with 95 % intervals", tests, report.title),
    )
    return Figure(
        svg,
        "Bars: 95 % confidence intervals. Filled: corrected p below alpha. Shaded: effects smaller "
        "than the smallest effect of interest (equivalence bounds).",
    )


def _deviation_sentence(verdict: Row) -> str:
    deviation = verdict.get("deviation") or {}
    if not deviation or not (verdict.get("n") or {}).get("reference"):
        return ""
    start = (
        "Normalisation could be tested"
        if deviation.get("identified")
        else "Normalisation was not tested"
    )
    p = wording.p_value(deviation.get("p"))
    return f"{start}: {deviation.get('reason')}" + ("." if p == wording.MISSING else f"; p {p}.")


# -- circuits -------------------------------------------------------------------------------------


def circuits_section(report: StudyReport) -> Iterator[Block | None]:
    """Show the change of each circuit, and the values of each participant.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
    """
    yield Prose("Did the predefined circuits change more than the global model predicts?")
    if report.family("specific"):
        yield _forest_figure(report)
        yield circuit_table(report)
        yield Prose(
            "Share closed: change divided by the deviation from the reference group; withheld if "
            "patients do not differ reliably from that group. Reliability: ICC(C,1) of the circuit "
            "over two measurements without treatment.",
            "soft",
        )
    else:
        yield Prose("No circuit was tested.")
    secondary = circuit_table(report, "secondary")
    if secondary.rows:
        yield Details(
            f"Secondary circuits ({len(secondary.rows)})",
            (
                Prose(
                    "These circuits do not influence the verdict. Their p values are corrected "
                    "within this table."
                ),
                secondary,
            ),
        )
    yield Heading("Individual values before and after treatment")
    yield _individual_figure(report)
    values = values_table(report)
    if values.rows:
        yield Details("All values", (values,))
    else:
        yield Prose("Circuit values of individual participants are not available.")
    predictions = _predictions(report.verdict)
    yield (
        Details("Predicted directions and their rationale", (Pairs(predictions),))
        if predictions
        else None
    )
    skipped = report.verdict.get("circuits_not_resolved") or ()
    if skipped:
        yield Heading("Circuits that this atlas cannot resolve")
        yield Items(skipped)


def _forest_figure(report: StudyReport) -> Figure:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    tests = report.family("specific")
    adjusted = {
        row.get("term"): row.get("estimate") for row in report.family("specific, node-adjusted")
    }
    about = report.verdict.get("circuits") or {}
    rows = [
        forest_row(
            row,
            report.short_title(str(row.get("term")), 24),
            report.alpha,
            hint=str((about.get(row.get("term")) or {}).get("predicted") or ""),
            second=adjusted.get(row.get("term")),
        )
        for row in tests
    ]
    svg = figures.circuit_forest(
        rows,
        key="forest",
        alt=alt_text("Residual change of each circuit", tests, report.title),
    )
    return Figure(
        svg,
        "Residual change of each circuit (beyond the change that the global model predicts for "
        "edges of its strength), with 95 % confidence interval and corrected p. Both include the "
        "variation of change over networks, if it was tested. Triangles: "
        "direction predicted by the definition of the circuit. Vertical lines: residual change "
        "after adjusting for region-wide changes of the regions of the circuit.",
    )


def circuit_table(report: StudyReport, family: str = "specific") -> PageTable:
    """Tabulate the unadjusted and the residual change of each circuit.

    Parameters
    ----------
    report : StudyReport
    family : {"specific", "secondary"}
        Primary or secondary circuits.

    Returns
    -------
    PageTable
        One row per circuit.
    """
    families = (family, f"{family}, node-adjusted", "circuit change")
    tests = {f: {row.get("term"): row for row in report.family(f)} for f in families}
    closed = {row.get("circuit"): row for row in report.secondary.get("normalisation") or ()}
    rows = []
    for term, row in tests[family].items():
        unadjusted = tests["circuit change"].get(term) or {}
        by_region = tests[f"{family}, node-adjusted"].get(term) or {}
        title = report.title(str(term))
        rows.append(
            (
                title if title == term else f"{title} ({term})",
                wording.show(unadjusted.get("estimate"), 3, sign=True),
                wording.show(row.get("estimate"), 3, sign=True),
                interval(row),
                wording.p_value(row.get("p_corrected")),
                _share(closed.get(term) or {}),
                _reliability(report, str(term)),
                wording.p_value(row.get("p")),
                wording.p_value(row.get("equivalence_p")),
                wording.bayes_factor(row.get("bf10")),
                wording.show(by_region.get("estimate"), 3, sign=True),
                wording.p_value(by_region.get("p_corrected")),
            )
        )
    head = (
        "Circuit",
        "Unadjusted change",
        "Residual change",
        "95 % interval",
        "p corrected",
        "Share closed",
        "Reliability",
        "p",
        "p of equivalence",
        "Bayes factor, against 0",
        "Region-adjusted",
        "p corrected, region-adjusted",
    )
    caption = "Circuits, Fisher z" if family == "specific" else "Secondary circuits, Fisher z"
    return PageTable(caption, head, rows)


def _share(row: Row) -> str:
    """Return the share of the deviation that was closed, with its interval."""
    if wording.show(row.get("share")) == wording.MISSING:
        return "withheld" if row else wording.MISSING
    ends = (wording.show(row.get(end)) for end in ("ci_low", "ci_high"))
    return f"{wording.show(row.get('share'))} [{', '.join(ends)}]"


def _reliability(report: StudyReport, term: str) -> str:
    """Return ICC(C,1) over two visits without treatment, or else over the halves of a visit."""
    rows = [r for r in report.secondary.get("reliability") or () if r.get("circuit") == term]
    rows.sort(key=lambda row: str(row.get("source")).startswith("halves"))
    if not rows:
        return wording.MISSING
    return f"{wording.show(rows[0].get('icc_consistency'))} ({rows[0].get('source')})"


def _individual_figure(report: StudyReport) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    visits = report.visits
    order = report.ranked_circuits()
    hits = {str(row.get("term")) for row in order if wording.is_below(row, report.alpha)}
    values: dict[str, dict[str, dict[str, Floats]]] = {str(row.get("term")): {} for row in order}
    healthy: dict[str, dict[str, list[float]]] = {}
    for row in report.participants:
        circuit, arm = str(row.get("circuit")), str(row.get("arm"))
        participant, z = str(row.get("participant_id")), wording.number(row.get("value_z"))
        if arm == "reference":
            healthy.setdefault(circuit, {}).setdefault(participant, []).append(z)
        elif row.get("session") in visits and arm in ARMS:
            pairs = values.setdefault(circuit, {}).setdefault(arm, {})
            pair = pairs.setdefault(participant, np.full(2, np.nan))
            pair[visits.index(str(row.get("session")))] = z
    shown = {name: arms for name, arms in values.items() if arms}
    if not shown:
        return None
    drawn = [
        figures.Spaghetti(
            report.short_title(name, 24),
            {arm: np.array(list(arms[arm].values())) for arm in ARMS if arm in arms},
            np.array([nan_mean(np.array(z)) for z in healthy.get(name, {}).values()], float),
            hit=name in hits,
        )
        for name, arms in list(shown.items())[:_MAX_PANELS]
    ]
    n_omitted = len(shown) - len(drawn)
    rest = f" The {len(drawn)} clearest circuits of {len(shown)} are drawn." if n_omitted else ""
    svg = figures.spaghetti(
        drawn,
        visits,
        key="individuals",
        alt=f"Mean Fisher z of each circuit in each participant at {visits[0]} and {visits[1]}, "
        "with the mean of each arm; the table below has all values.",
    )
    return Figure(
        svg,
        "Thin lines: participants with both visits; short lines: participants with one visit. In a "
        "crossover, the visits under treatment are shown. Star: circuits that changed beyond the "
        f"global model. The values are unadjusted and also reflect a global change.{rest}",
    )


def values_table(report: StudyReport) -> PageTable:
    """Tabulate the value of each circuit in each participant and session.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    PageTable
        One row per participant and session.
    """
    circuits = list(dict.fromkeys(str(row.get("circuit")) for row in report.participants))
    by_visit: dict[tuple[str, ...], dict[str, object]] = {}
    for row in report.participants:
        key = tuple(wording.cell(row.get(k)) for k in ("participant_id", "group", "arm", "session"))
        by_visit.setdefault(key, {})[str(row.get("circuit"))] = row.get("value_z")
    rank = {session: k for k, session in enumerate(report.visits)}

    def order(item: tuple[tuple[str, ...], object]) -> tuple[object, ...]:
        return (*item[0][:3], rank.get(item[0][3], len(rank)), item[0][3])

    rows = [
        (*key, *(wording.show(values.get(c), 3) for c in circuits))
        for key, values in sorted(by_visit.items(), key=order)
    ]
    return PageTable(
        "Mean Fisher z of each circuit", ("Participant", "Group", "Arm", "Session", *circuits), rows
    )


def _predictions(verdict: Row) -> list[tuple[str, str]]:
    return [
        (
            f"{row.get('title') or name}: {row.get('predicted') or wording.MISSING}",
            f"{row.get('why') or ''} {row.get('reference') or ''}",
        )
        for name, row in (verdict.get("circuits") or {}).items()
        if row.get("why") or row.get("reference") or row.get("predicted")
    ]
