"""Sections of the study report: regression to the mean, and sensitivity analyses."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import Block, Details, Figure, PageTable, Prose
from circuitshift.pipeline.reports.page import Row
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.estimates import forest_row, tests_table

if TYPE_CHECKING:
    from circuitshift.pipeline.reports.figures import Specified

__all__ = [
    "naive_figure",
    "regression_section",
    "sensitivity_section",
    "specification_figure",
    "specifications",
]

_MAX_PANELS = 4  # of the specification curve, for the clearest results
_MAX_NAMED = 12  # circuits in the text alternative of a figure


# -- regression to the mean -----------------------------------------------------------------------


def regression_section(report: StudyReport) -> Iterator[Block | None]:
    """Compare the usual estimates with estimates that regression to the mean does not bias.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
    """
    yield Prose(
        "Patients who deviate most at baseline are closer to the mean at the next visit by chance "
        "alone. The usual estimates mistake this for an effect of treatment."
    )
    yield naive_figure(report)
    shares = _share_table(report)
    yield (
        shares
        if shares.rows
        else Prose(
            "There is no reference group, so the share of the deviation that was closed cannot be "
            "estimated."
        )
    )
    naive = [
        row
        for row in report.tests
        if str(row.get("family")).startswith("naive") or row.get("family") == "circuit change"
    ]
    if naive:
        yield Details(
            "Contrasts that are usually reported, for comparison",
            (
                Prose(
                    "These contrasts cannot answer the question: a purely global gain or "
                    "normalisation makes circuit minus background significant in about half of the "
                    "simulated studies described in docs/calibration.md. They do not influence the "
                    "verdict."
                ),
                tests_table(naive, "Contrasts that are usually reported"),
            ),
        )


def naive_figure(report: StudyReport) -> Figure | None:
    """Draw the usual contrast of each circuit next to its residual change.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None if no circuit was tested in both ways.
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    alpha = report.alpha
    usual = {row.get("term"): row for row in report.family("naive: circuit minus background")}
    rows = [
        (report.short_title(str(row.get("term"))), usual[row.get("term")], row)
        for row in report.family("specific")
        if row.get("term") in usual
    ]
    if not rows:
        return None
    drawn = [
        (name, forest_row(naive, name, alpha), forest_row(ours, name, alpha))
        for name, naive, ours in rows
    ]
    numbers = "; ".join(
        f"{name}: usual {wording.show(naive.get('estimate'))}, "
        f"residual {wording.show(ours.get('estimate'))}"
        for name, naive, ours in rows[:_MAX_NAMED]
    )
    return Figure(
        figures.two_ways(
            drawn,
            labels=("usual: circuit minus background", "residual change (beyond the global model)"),
            unit="Fisher z",
            key="naive",
            alt=f"Usual contrast and residual change of each circuit. {numbers}.",
        ),
        "If the two differ, the global model explains part of the usual contrast. Filled: "
        "corrected p below alpha.",
    )


def _share_table(report: StudyReport) -> PageTable:
    """Tabulate three estimates of the share of the deviation closed throughout the brain."""
    rows = []
    for family, words in (
        ("naive: normalisation slope", "usual: slope of change on the unadjusted deviation"),
        (
            "normalisation, split-half instrument",
            "split halves: deviation estimated in the other half of the participants",
        ),
        ("global", "global model: deviation estimated from the other participants"),
    ):
        rows += [
            (
                words,
                wording.show(row.get("estimate"), 3, sign=True),
                f"{wording.show(row.get('ci_low'), 3)} to {wording.show(row.get('ci_high'), 3)}",
                wording.p_value(row.get("p")),
            )
            for row in report.family(family)
            if row.get("term") == "normalisation"
        ]
    head = ("Share closed throughout the brain", "Estimate", "95 % interval", "p")
    return PageTable("Regression to the mean: three estimates of the share closed", head, rows)


# -- sensitivity ----------------------------------------------------------------------------------


def sensitivity_section(report: StudyReport) -> Iterator[Block | None]:
    """Show the results under other choices of analysis and denoising, and all estimates.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
    """
    yield specification_figure(report)
    yield _strategy_table(report)
    circuits = _circuits_by_strategy(report)
    yield Details("Circuits under each denoising strategy", (circuits,)) if circuits else None
    if report.tests:
        yield Details("All estimates", (tests_table(report.tests, "All estimates"),))


def specification_figure(report: StudyReport) -> Figure | None:
    """Draw specification curves of the clearest results.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None if there are no other specifications.
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    clearest = sorted(
        [r for f in ("global", "specific") for r in report.family(f)],
        key=lambda r: (
            not wording.is_below(r, report.alpha),
            -abs(wording.number(r.get("statistic")) or 0),
        ),
    )[:_MAX_PANELS]
    panels, titles = [], []
    for row in clearest:
        found = specifications(report, row)
        if len(found) > 1:
            titles.append(report.title(str(row.get("term"))))
            short = report.short_title(str(row.get("term")), 18)
            panels.append((short, str(row.get("unit") or ""), found))
    if not panels:
        return None
    numbers = "; ".join(
        f"{title}: {sum(s.hit for s in found)} of {len(found)} specifications below alpha, "
        f"estimates {wording.show(min(s.estimate for s in found))} to "
        f"{wording.show(max(s.estimate for s in found))}"
        for title, (_, _, found) in zip(titles, panels, strict=True)
    )
    return Figure(
        figures.specification_curve(
            panels, key="specification", alt=f"Specification curves. {numbers}."
        ),
        "The clearest results under all specifications, ordered by size. The squares below show "
        "the choices of each specification. Interpret a result that holds under a single "
        "specification with caution.",
    )


def specifications(report: StudyReport, row: Row) -> "list[Specified]":
    """Collect one result under all specifications of background, covariates and denoising.

    Parameters
    ----------
    report : StudyReport
    row : mapping
        Row of tests.tsv of the primary analysis.

    Returns
    -------
    list of Specified
        The primary specification first; specifications without an estimate are omitted.
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    alpha, verdict = report.alpha, report.verdict
    family, term = row.get("family"), row.get("term")
    primary = str(verdict.get("strategy") or "primary")
    covariates = "with" if verdict.get("covariates") else "none"
    background = str(report.design.get("background") or "all")
    standard = {"background": background, "covariates": covariates}

    def specified(test: Row, choices: dict[str, str], *, ours: bool = False) -> "Specified":
        estimate = wording.number(test.get("estimate"))
        return figures.Specified(estimate, wording.is_below(test, alpha), choices, ours=ours)

    out = [specified(row, standard | {"denoising": primary}, ours=True)]
    for other in report.secondary.get("specification") or ():
        choices = {k: str(other.get(k)) for k in ("background", "covariates")}
        if (other.get("family"), other.get("term")) == (family, term) and choices != standard:
            out.append(specified(other, choices | {"denoising": primary}))
    for strategy in verdict.get("sensitivity") or ():
        name = str(strategy.get("strategy"))
        out += [
            specified(other, standard | {"denoising": name})
            for other in report.family(f"sensitivity: {name}: {family}")
            if other.get("term") == term
        ]
    return [one for one in out if math.isfinite(one.estimate)]


def _strategy_table(report: StudyReport) -> PageTable:
    """Tabulate the verdicts under the other denoising strategies."""
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
    head = ("Denoising", "Verdict", "Reason")
    return PageTable("Verdict under other denoising strategies", head, rows, style="text")


def _circuits_by_strategy(report: StudyReport) -> PageTable | None:
    """Tabulate the residual change of each circuit under each denoising strategy."""
    names = [str(row.get("strategy")) for row in report.verdict.get("sensitivity") or ()]
    others = {
        name: {r.get("term"): r for r in report.family(f"sensitivity: {name}: specific")}
        for name in names
    }
    others = {name: rows for name, rows in others.items() if rows}
    if not others:
        return None
    rows = []
    for row in report.family("specific"):
        cells = [report.title(str(row.get("term"))), wording.estimate_text(row)]
        cells += [
            wording.estimate_text(found.get(row.get("term")) or {}) for found in others.values()
        ]
        rows.append(cells)
    head = ("Circuit", str(report.verdict.get("strategy") or "primary"), *others)
    return PageTable("Residual change, Fisher z [95 % interval], corrected p", head, rows)
