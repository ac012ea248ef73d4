"""Sections of the study report: symptoms, moderators, detectable effects, secondary analyses."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.model.secondary.record import SecondaryTable
from circuitshift.pipeline.model.secondary.rivals.moderators import SLOPE_DIFFERENCE
from circuitshift.pipeline.model.secondary.secondary import secondary_tables
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import Block, Details, Figure, PageTable, Prose
from circuitshift.pipeline.reports.page import Row
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.estimates import alt_text, tests_table
from circuitshift.pipeline.stats.detectable import power_of_t

__all__ = [
    "detectable_section",
    "detectable_tables",
    "moderator_figure",
    "moderator_section",
    "power_table",
    "secondary_section",
    "symptom_figure",
    "symptom_section",
]

_MAX_SYMPTOM_PANELS = 6
_EFFECTS = (0.3, 0.4, 0.5)  # standard deviations of change


# -- symptoms -------------------------------------------------------------------------------------


def symptom_section(report: StudyReport) -> Iterator[Block | None]:
    """Show the relation between the change of connectivity and the change of symptoms.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
        Nothing if the study file names no score.
    """
    score = str(report.design.get("symptom") or "")
    if not score:
        return
    tests = _symptom_tests(report)
    hits = [
        report.title(str(row.get("term"))) for row in tests if wording.is_below(row, report.alpha)
    ]
    result = (
        f"Change of {score} is associated with change of: {', '.join(hits)}."
        if hits
        else f"No association between change of connectivity and change of {score} was found."
    )
    n = len(_with_score(report))
    subject = wording.count(n, "participant has", "participants have")
    yield Prose(f"{result} {subject} the score at both visits.")
    yield symptom_figure(report)
    if tests:
        yield Details(
            "Numbers",
            (
                tests_table(
                    tests, "Association of the change of connectivity with the change of symptoms"
                ),
            ),
        )


def _symptom_tests(report: StudyReport) -> list[Row]:
    return [row for kind in ("global", "specific") for row in report.family(f"symptom: {kind}")]


def _with_score(report: StudyReport) -> list[Row]:
    return [
        row for row in report.change if math.isfinite(wording.number(row.get("symptom_change")))
    ]


def symptom_figure(report: StudyReport) -> Figure | None:
    """Draw the change of connectivity against the change of symptoms, strongest terms first.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None if no participant has the score at both visits.
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    score = report.design.get("symptom")
    participants = _with_score(report)
    ranked = sorted(
        _symptom_tests(report), key=lambda r: -abs(wording.number(r.get("statistic")) or 0)
    )
    panels: list[tuple[str, dict[str, tuple[Floats, Floats]]]] = []
    for row in ranked:
        kind = "global" if row.get("family") == "symptom: global" else "specific"
        column = f"{kind}_{row.get('term')}"
        if len(panels) < _MAX_SYMPTOM_PANELS and participants and column in participants[0]:
            arms = {
                arm: (
                    _values(participants, arm, "symptom_change"),
                    _values(participants, arm, column),
                )
                for arm in ("treated", "control")
                if any(r.get("arm") == arm for r in participants)
            }
            panels.append((report.short_title(str(row.get("term")), 30), arms))
    if not panels:
        return None
    return Figure(
        figures.symptom_by_change(
            panels,
            across=f"change of {score}",
            key="symptom",
            alt=alt_text(f"Change of connectivity against change of {score}", ranked, report.title),
        ),
        "Each mark is a participant. For circuits, the residual change (beyond the global model) "
        "is shown, Fisher z. The tests below concern the slope within arms.",
    )


def _values(participants: Sequence[Row], arm: str, column: str) -> Floats:
    return np.array([wording.number(r.get(column)) for r in participants if r.get("arm") == arm])


# -- moderators -----------------------------------------------------------------------------------


def moderator_section(report: StudyReport) -> Iterator[Block | None]:
    """Show how the change of connectivity depends on each moderator.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
        Nothing if the study file names no moderator.
    """
    rows = report.secondary.get("moderators") or ()
    if not rows:
        return
    has_arms = any(row.get("effect") == SLOPE_DIFFERENCE for row in rows)
    yield Prose(
        "Slopes within arms are associations: participants with a larger value of the moderator "
        "may differ in other ways, such as severity at baseline, and a value that was measured "
        "after treatment may be a result of the change."
        + " The difference between the slopes of the arms tests whether the effect of treatment "
        "depends on the moderator." * has_arms
    )
    for number, name in enumerate(dict.fromkeys(str(row.get("moderator")) for row in rows)):
        hits = [
            str(row.get("term"))
            for row in rows
            if row.get("moderator") == name and wording.is_below(row, report.alpha)
        ]
        listed = ", ".join(dict.fromkeys(map(report.title, hits)))
        yield Prose(
            f"The change of {listed} is associated with {name}."
            if hits
            else f"No association between the change of connectivity and {name} was found."
        )
        yield moderator_figure(report, name, key=f"moderator{number}")


def moderator_figure(report: StudyReport, name: str, *, key: str) -> Figure | None:
    """Draw the change of connectivity against a moderator, strongest terms first.

    Parameters
    ----------
    report : StudyReport
    name : str
        Name of the moderator.
    key : str
        Prefix of ids of the figure.

    Returns
    -------
    Figure or None
        None if no participant has a value.
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    own = [row for row in report.secondary.get("moderators", ()) if row.get("moderator") == name]
    ranked = sorted(own, key=lambda row: -abs(wording.number(row.get("statistic")) or 0))
    values = {
        row.get("participant_id"): wording.number(row.get("value"))
        for row in report.secondary.get("moderator_values", ())
        if row.get("moderator") == name
    }
    shown = [p for p in report.change if math.isfinite(values.get(p.get("participant_id"), np.nan))]
    panels: dict[str, dict[str, tuple[Floats, Floats]]] = {}
    for row in ranked:
        term = str(row.get("term"))
        column = f"{'global' if row.get('kind') == 'global' else 'specific'}_{term}"
        if len(panels) < _MAX_SYMPTOM_PANELS and shown and column in shown[0]:
            panels.setdefault(
                report.short_title(term, 30),
                {
                    arm: (
                        np.array([values[p.get("participant_id")] for p in own_arm]),
                        _values(own_arm, arm, column),
                    )
                    for arm in ("treated", "control")
                    if (own_arm := [p for p in shown if p.get("arm") == arm])
                },
            )
    if not panels:
        return None
    return Figure(
        figures.symptom_by_change(
            list(panels.items()),
            across=name,
            key=key,
            alt=alt_text(f"Change of connectivity against {name}", ranked, report.title),
            lines=True,
        ),
        f"Change of connectivity against {name}. Each mark is a participant. Lines are "
        "least-squares fits to each arm with 95 % confidence bands, without covariates. For "
        "circuits, the residual change (beyond the global model) is shown, Fisher z.",
    )


# -- detectable effects ---------------------------------------------------------------------------


def detectable_section(report: StudyReport) -> Iterator[Block | None]:
    """Show the smallest effects that the study could detect.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
    """
    tables = detectable_tables(report)
    if not tables:
        yield Prose("Detectable effects are not available because no test has a standard error.")
        return
    yield Prose(
        "The smallest true effect that a study with these standard errors detects with 80 % "
        "power is (t(1 \N{MINUS SIGN} \N{GREEK SMALL LETTER ALPHA}/2, df) + t(0.8, df)) "
        "\N{MULTIPLICATION SIGN} standard error (Bloom 1995, doi:10.1177/0193841X9501900504), for "
        f"a single test at \N{GREEK SMALL LETTER ALPHA} = {report.alpha:g}, and for all tests of "
        "the family together (\N{GREEK SMALL LETTER ALPHA} divided by their number, which is "
        "stricter than the correction in use). Smaller effects would probably have been missed."
    )
    yield from tables
    power = power_table(report)
    if power.rows:
        yield Prose(
            "The power below is the probability that this study finds a true effect of d standard "
            "deviations of change between participants (of one arm), with the standard errors of "
            "this study and corrected for all tests of the family. The last column is the power at "
            "the smallest effect of interest. An effect of this size is ruled out only if this "
            "power is at least 80 %."
        )
        yield power


def detectable_tables(report: StudyReport) -> list[PageTable]:
    """Tabulate the smallest detectable effect of each test on which the verdict rests.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    list of PageTable
        One for global terms and one for circuits, if they were tested.
    """
    out = []
    for family, caption in (("global", "global terms"), ("specific", "circuits")):
        rows = [
            (
                report.title(str(row.get("term"))),
                str(row.get("unit") or ""),
                wording.show(row.get("se"), 3),
                wording.show(row.get("detectable"), 3),
                wording.show(row.get("detectable_family"), 3),
                wording.show(row.get("bound"), 3),
                _would_detect(row),
            )
            for row in report.family(family)
            if math.isfinite(wording.number(row.get("detectable")))
        ]
        head = (
            "Test",
            "Unit",
            "Standard error",
            "Detectable, single test",
            "Detectable, complete family",
            "Smallest effect of interest",
            "Is the effect of interest detectable?",
        )
        if rows:
            out.append(PageTable(f"Smallest detectable effects of {caption}", head, rows))
    return out


def power_table(report: StudyReport) -> PageTable:
    """Tabulate the power of each test on which the verdict rests, for effects of several sizes.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    PageTable
        One row per global term and primary circuit with a standard error.
    """
    rows = []
    for family in ("global", "specific"):
        tests = [
            row
            for row in report.family(family)
            if wording.number(row.get("se")) > 0 and wording.number(row.get("sd")) > 0
        ]
        for row in tests:
            sd, se, df = (wording.number(row.get(name)) for name in ("sd", "se", "df"))
            power = power_of_t(np.array(_EFFECTS) * sd, se, df, report.alpha / len(tests))
            rows.append(
                (
                    report.title(str(row.get("term"))),
                    str(row.get("unit") or ""),
                    wording.show(sd, 3),
                    *(_percent(value) for value in power.tolist()),
                    wording.show(row.get("bound"), 3),
                    _percent(wording.number(row.get("power"))),
                )
            )
    head = (
        "Test",
        "Unit",
        "Standard deviation of change",
        *(f"Power at d = {d:g}" for d in _EFFECTS),
        "Smallest effect of interest",
        "Power at the smallest effect of interest",
    )
    return PageTable("Power of this study", head, rows)


def _percent(share: float) -> str:
    return f"{share:.0%}" if math.isfinite(share) else wording.MISSING


def _would_detect(row: Row) -> str:
    bound = wording.number(row.get("bound"))
    if not math.isfinite(bound):
        return wording.MISSING
    if wording.number(row.get("detectable_family")) <= bound:
        return "yes"
    return "by a single test" if wording.number(row.get("detectable")) <= bound else "no"


# -- secondary analyses ---------------------------------------------------------------------------


def secondary_section(report: StudyReport) -> Iterator[Block | None]:
    """Show the findings and tables of the secondary analyses.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
    """
    findings = (report.verdict.get("secondary") or {}).get("findings") or ()
    start = "These analyses are descriptive and do not influence the verdict."
    yield Prose(" ".join([start, *findings]))
    shown = [
        (table, rows)
        for table in secondary_tables()
        if table.shown == "table" and (rows := report.secondary.get(table.name))
    ]
    if not shown:
        yield Prose("No secondary analysis produced a table.")
    for table, rows in shown:
        page_table = _page_table(table, rows)
        yield Details(page_table.caption, (page_table,))


def _page_table(table: SecondaryTable, rows: Sequence[Row]) -> PageTable:
    head = tuple(rows[0])
    body = [tuple(_cell(row.get(column)) for column in head) for row in rows]
    titles = tuple(column.replace("_", " ") for column in head)
    return PageTable(f"{table.caption} ({table.name}.tsv)", titles, body)


def _cell(value: object) -> str:
    text = wording.cell(value)
    return "\N{EN DASH}" if text == wording.MISSING else text
