"""Section of the study report: the verdict, all results on one scale, and limitations."""

from collections.abc import Iterator

from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import Block, Box, Details, Figure, Heading, Items, Prose
from circuitshift.pipeline.reports.page import Row
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.estimates import alt_text, forest_row

__all__ = ["limits", "reference_words", "scale_figure", "verdict_section"]


def verdict_section(report: StudyReport) -> Iterator[Block | None]:
    """Show the verdict, the main results on one scale, and limitations.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
    """
    verdict = report.verdict
    if report.simulated:
        yield Box("warn", tuple(Prose(sentence, "strong") for sentence in report.simulated))
    yield Box("answer", tuple(_answer(report)))
    yield scale_figure(report)
    yield Prose(
        "Fisher z is a correlation on an unbounded scale: a change of 0.1 is a change in "
        "correlation of about 0.1 for weak and 0.08 for strong connections. Smallest effects of "
        f"interest: {wording.smallest_effects(report.design)}. Family-wise error rate: "
        f"{report.alpha:g}.",
        "soft",
    )
    warnings = verdict.get("warnings") or ()
    yield Box("warn", (Prose("Warnings", "strong"), Items(warnings))) if warnings else None
    yield Heading("Limitations")
    yield Items(limits(verdict))
    reason = verdict.get("reason")
    yield Prose(f"Tests on which the verdict rests: {reason}.", "soft") if reason else None
    plan = (verdict.get("plan") or {}).get("sentence")
    yield Prose(str(plan)) if plan else None
    decisions = verdict.get("decisions") or ()
    if decisions:
        yield Heading("Design of the study")
        yield Items([_decision(decision) for decision in decisions])
    selection = verdict.get("selection") or ()
    if selection:
        yield Details(f"Selection of runs ({len(selection)})", (Items(selection),))
    if report.notes:
        title = f"Notes on the input ({len(report.notes)})"
        yield Details(title, (Items(report.notes),))


def _decision(decision: Row) -> str:
    """Format one decision about the design, with its grounds."""
    question = str(decision.get("question", "")).capitalize()
    grounds = f"{decision.get('reason')} ({decision.get('source')})"
    return f"{question}: {decision.get('answer')}. {grounds}"


def _answer(report: StudyReport) -> Iterator[Block]:
    verdict, visits = report.verdict, report.visits
    yield Prose(wording.headline(str(verdict.get("verdict"))), "strong")
    yield Prose(str(verdict.get("sentence") or ""))
    who = [wording.who(verdict.get("n") or {}, dict(report.design.get("labels") or ()))]
    if report.design.get("control_baseline"):
        before, after = (report.design[f"control_{visit}"] for visit in ("baseline", "followup"))
        who.append(
            f"In all tests, each participant's change from ses-{before} to ses-{after}, the "
            "control condition, is subtracted."
        )
    yield Prose(f"From ses-{visits[0]} to ses-{visits[1]}: {' '.join(who)}")
    findings = [*wording.answer(verdict, alpha=report.alpha), *reference_words(report)]
    if findings:
        yield Items(findings)


def reference_words(report: StudyReport) -> list[str]:
    """Describe whether changed circuits moved toward or away from the reference group.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    list of str
        One sentence per circuit whose interval excludes 0.
    """
    changed = {
        r.get("term") for r in report.family("specific") if wording.is_below(r, report.alpha)
    }
    out = []
    for row in report.secondary.get("normalisation") or ():
        low, high = wording.number(row.get("ci_low")), wording.number(row.get("ci_high"))
        if row.get("circuit") in changed and (low > 0 or high < 0):
            side = "toward" if low > 0 else "away from"
            out.append(
                f"{report.title(str(row.get('circuit')))}: treated participants moved {side} the "
                f"reference group (share of the deviation closed {wording.show(row.get('share'))}, "
                f"95 % confidence interval {wording.show(low)} to {wording.show(high)})."
            )
    return out


def scale_figure(report: StudyReport) -> Figure | None:
    """Draw global terms and circuits on one scale, with the bounds of equivalence.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None if no test has a smallest effect of interest.
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    alpha = report.alpha
    groups = []
    rows_drawn: list[Row] = []
    for title, family in (("Global terms", "global"), ("Circuits", "specific")):
        rows = [r for r in report.family(family) if wording.number(r.get("bound")) > 0]
        rows_drawn += rows
        if rows:
            drawn = [
                forest_row(row, report.short_title(str(row.get("term"))), alpha) for row in rows
            ]
            groups.append((title, drawn))
    if not groups:
        return None
    bounds = [
        f"{report.title(str(r.get('term')))}: {wording.show(r.get('bound'))} {r.get('unit')}"
        for r in rows_drawn
        if r.get("family") == "global"
    ]
    of_circuits = [r for r in rows_drawn if r.get("family") != "global"]
    if of_circuits:
        sizes = sorted(wording.number(r.get("bound")) for r in of_circuits)
        ends = dict.fromkeys(wording.show(size) for size in (sizes[0], sizes[-1]))
        bounds.append(f"circuits: {' to '.join(ends)} {of_circuits[0].get('unit')}")
    not_claimed = {str(name) for name in report.verdict.get("not_claimed") or ()}
    others = [report.title(str(r.get("term"))) for r in rows_drawn if r.get("term") in not_claimed]
    unclaimed = f" (the verdict does not claim: {', '.join(others)})" if others else ""
    return Figure(
        figures.one_scale(
            groups, key="scale", alt=alt_text("Global terms and circuits", rows_drawn, report.title)
        ),
        f"All results on one scale, in units of the smallest effect of interest "
        f"({'; '.join(bounds)}). Bars: 95 % confidence intervals; an arrow marks an interval that "
        f"extends beyond the axis. Filled: corrected p below alpha{unclaimed}. The "
        "intervals are not corrected for multiple tests and may exclude 0 although the corrected p "
        "is not significant. A relevant effect is ruled out if the "
        f"{100 - 200 * alpha:g} % interval, which is somewhat shorter than the bar, lies within "
        "the shaded zone, if the bar contains 0, and if the study had a power of at least 80 % to "
        "find an effect of this size.",
    )


def _global_signal_limit(status: Row) -> list[str]:
    """State how it is known whether the global signal was regressed out of given data."""
    if status.get("source") == "unknown":
        return [
            "Global signal: whether it was regressed out of the series or matrices is unknown. If "
            "it was, global terms have no meaning."
        ]
    if status.get("source") == "detected":
        removed = "" if status.get("removed") else "not "
        return [
            "Global signal: the files do not state whether it was regressed out. Judged by mean "
            f"connectivity, it was {removed}regressed out. If this is wrong, state "
            "global_signal_removed in the study file."
        ]
    return []


def limits(verdict: Row) -> list[str]:
    """List the limitations of a study with this design.

    Parameters
    ----------
    verdict : mapping
        Content of verdict.json.

    Returns
    -------
    list of str
        Sentences.
    """
    n, design = verdict.get("n") or {}, verdict.get("design") or {}
    out = []
    if design.get("control_baseline"):
        out.append(
            "Order and carry-over: effects of day, practice and time, and effects of the first "
            "condition that last into the second, can be part of the difference between the "
            "conditions. The warnings state if the order is unknown or the same in all "
            "participants; otherwise order.tsv contains the effect at balanced order."
        )
    elif not n.get("control"):
        out.append(
            "Cause: without a control arm, change cannot be attributed to the treatment. Time, "
            "expectation and repeated scanning change connectivity as well."
        )
    else:
        out.append(_assignment((verdict.get("design") or {}).get("randomised")))
    if not n.get("reference"):
        out.append(
            "Normalisation: without a reference group it cannot be determined whether connectivity "
            "moved toward or away from that of healthy participants."
        )
    elif design.get("reference_dataset"):
        out.append(
            f"Normalisation: the reference group comes from another data set "
            f"({design['reference_dataset']}), so the deviation includes differences between "
            "scanners."
        )
    if not design.get("symptom"):
        out.append(
            "Benefit: no symptom score was analysed, so change cannot be interpreted as clinical "
            "improvement."
        )
    else:
        out.append(
            "Benefit: an association of symptoms with change does not show which of them came "
            "first."
        )
    out += _global_signal_limit(verdict.get("global_signal") or {})
    if not (verdict.get("quality") or {}).get("qcfc_n_participants"):
        out.append(
            "Motion: head motion was not available, so it cannot be excluded as a cause of change."
        )
    if not (verdict.get("plan") or {}).get("frozen"):
        out.append(
            "Preregistration: no plan was frozen, so choices may have been made after inspecting "
            "the data."
        )
    if verdict.get("circuits_not_resolved"):
        skipped = wording.count(len(verdict["circuits_not_resolved"]), "circuit")
        out.append(f"Coverage: {skipped} could not be found on this atlas and were not tested.")
    if not design.get("visits"):
        out.append(
            "Time course: two visits do not show how the change developed or how long it lasts."
        )
    out.append(
        "Mechanism: connectivity is the correlation of BOLD signals. It shows neither direction "
        "nor cause, and group results do not apply to individual patients."
    )
    return out


def _assignment(randomised: object) -> str:
    """Say what the assignment of participants to the arms allows to conclude."""
    if randomised is True:
        return (
            "Cause: the study file states that participants were assigned to the arms at random; "
            "who was blinded is not recorded in the files."
        )
    if randomised is False:
        return (
            "Cause: participants were not assigned to the arms at random, so that the arms may "
            "differ in other respects than treatment. Their changes were compared, without "
            "adjustment for the baseline."
        )
    return (
        "Cause: whether participants were assigned to the arms at random, and who was blinded, "
        "is not recorded in the files. Without random assignment the arms may differ in other "
        "respects, and adjustment for the baseline may be wrong."
    )
