"""Tables of the page of one study, and the orders of arms, visits and tests they keep."""

from collections.abc import Iterable, Sequence

import numpy as np

from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.page import PageTable, Row, in_time
from circuitshift.pipeline.reports.study.content import StudyReport

__all__ = [
    "ARMS",
    "NO_ROLE",
    "QUALITY",
    "by_arm",
    "circuit_table",
    "exclusion_table",
    "flow_table",
    "naive",
    "of_family",
    "quality_table",
    "secondary_tables",
    "sensitivity_estimates",
    "sensitivity_table",
    "tests_table",
    "title_of",
    "values_table",
    "visits_of",
]

ARMS = ("treated", "control", "reference")
NO_ROLE = "no-role"  # code of people whose group the study does not ask about
QUALITY = (
    ("mean_fd_mm", "mean displacement, mm", 3),
    ("minutes", "minutes used", 1),
    ("residual_dof", "residual degrees of freedom", 0),
    ("n_regions_lost", "regions lost", 0),
)


def of_family(tests: Iterable[Row], family: str) -> list[Row]:
    """Rows of one family of tests."""
    return [row for row in tests if row.get("family") == family]


def naive(tests: Iterable[Row]) -> list[Row]:
    """Rows of what is usually reported."""
    return [
        row
        for row in tests
        if str(row.get("family")).startswith("naive") or row.get("family") == "circuit change"
    ]


def tests_table(rows: Iterable[Row], caption: str) -> PageTable:
    """One row per estimate, with all its numbers."""
    head = (
        "Test",
        "Family",
        "Estimate",
        "95 % interval",
        "Unit",
        "Statistic (df)",
        "p",
        "p corrected",
        "Smallest effect of interest",
        "p of equivalence",
        "Bayes factor",
        "n (control, reference)",
        "Method",
        "Note",
    )
    body = [
        (
            wording.cell(row.get("test") or row.get("term")),
            wording.cell(row.get("family")),
            wording.show(row.get("estimate"), _digits(row), sign=True),
            _interval(row),
            wording.cell(row.get("unit")),
            f"{wording.show(row.get('statistic'))} ({wording.show(row.get('df'), 1)})",
            wording.p_value(row.get("p")),
            wording.p_value(row.get("p_corrected")),
            wording.show(row.get("bound"), 3),
            wording.p_value(row.get("equivalence_p")),
            wording.bayes_factor(row.get("bf10")),
            f"{row.get('n')} ({row.get('n_control')}, {row.get('n_reference')})",
            wording.cell(row.get("method")),
            "" if wording.cell(row.get("note")) == wording.MISSING else str(row.get("note")),
        )
        for row in rows
    ]
    return PageTable(caption, head, body)


def _digits(row: Row) -> int:
    """Decimals that show an interval: effects per mm are small."""
    half = (wording.number(row.get("ci_high")) - wording.number(row.get("ci_low"))) / 2
    return int(np.clip(2 - np.floor(np.log10(half)), 3, 8)) if half > 0 else 3


def _interval(row: Row) -> str:
    digits = _digits(row)
    low, high = (wording.show(row.get(name), digits) for name in ("ci_low", "ci_high"))
    return (
        low
        if low == high == wording.MISSING
        else f"{low}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{high}"
    )


def circuit_table(report: StudyReport) -> PageTable:
    """One row per circuit: plain change, what is beyond the law, and the usual contrast."""
    families = ("specific", "specific, node-adjusted", "circuit change")
    found = {f: {row.get("term"): row for row in of_family(report.tests, f)} for f in families}
    closed = {row.get("circuit"): row for row in report.beside.get("normalisation") or ()}
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
                wording.p_value(row.get("p_corrected")),
                _share(closed.get(term) or {}),
                _reliability(report, str(term)),
                wording.p_value(row.get("p")),
                wording.p_value(row.get("equivalence_p")),
                wording.bayes_factor(row.get("bf10")),
                wording.show(by_node.get("estimate"), 3, sign=True),
                wording.p_value(by_node.get("p_corrected")),
            )
        )
    head = (
        "Circuit",
        "Plain change",
        "Beyond the global law",
        "95 % interval",
        "p corrected",
        "Share closed",
        "Reliability",
        "p",
        "p of equivalence",
        "Bayes factor",
        "Node-adjusted",
        "p corrected, node-adjusted",
    )
    return PageTable("Circuits, Fisher z", head, rows)


def _share(row: Row) -> str:
    """Share of the deviation from the reference that was closed, with its interval."""
    if wording.show(row.get("share")) == wording.MISSING:
        return "withheld" if row else wording.MISSING
    ends = (wording.show(row.get(end)) for end in ("ci_low", "ci_high"))
    return f"{wording.show(row.get('share'))} [{', '.join(ends)}]"


def _reliability(report: StudyReport, term: str) -> str:
    """ICC(C,1) of two visits without treatment; of halves of one visit when there are none."""
    found = [r for r in report.beside.get("reliability") or () if r.get("circuit") == term]
    found.sort(key=lambda row: str(row.get("source")).startswith("halves"))
    if not found:
        return wording.MISSING
    return f"{wording.show(found[0].get('icc_consistency'))} ({found[0].get('source')})"


def title_of(verdict: Row, name: str) -> str:
    """Title of a circuit; its name when it has none."""
    return str(((verdict.get("circuits") or {}).get(name) or {}).get("title") or name)


def _both(verdict: Row, name: str) -> str:
    title = title_of(verdict, name)
    return title if title == name else f"{title} ({name})"


def flow_table(report: StudyReport) -> PageTable:
    """Who is in, by arm."""
    flow = report.verdict.get("flow") or {}
    rows = [
        (arm, *(str(flow[arm].get(k, 0)) for k in ("known", "measured", "analysed")))
        for arm in (*ARMS, "none")
        if arm in flow
    ]
    head = ("Arm", "Enrolled", "Measured at least once", "Analysed")
    return PageTable("People by arm", head, rows)


def visits_of(report: StudyReport) -> tuple[str, str]:
    """Sessions of the two visits; the first and last seen when the design names none."""
    design = report.verdict.get("design") or {}
    sessions = list(dict.fromkeys(str(r.get("session")) for r in report.participants))
    return (
        str(design.get("baseline") or (sessions[0] if sessions else "baseline")),
        str(design.get("followup") or (sessions[-1] if sessions else "follow-up")),
    )


def values_table(report: StudyReport) -> PageTable:
    """Circuit values, one row per person and session."""
    circuits = list(dict.fromkeys(str(row.get("circuit")) for row in report.participants))
    by: dict[tuple[str, ...], dict[str, object]] = {}
    for row in report.participants:
        key = tuple(wording.cell(row.get(k)) for k in ("participant_id", "group", "arm", "session"))
        by.setdefault(key, {})[str(row.get("circuit"))] = row.get("value_z")
    rank = {session: k for k, session in enumerate(visits_of(report))}

    def order(item: tuple[tuple[str, ...], object]) -> tuple[object, ...]:
        return (*item[0][:3], rank.get(item[0][3], len(rank)), item[0][3])

    rows = [
        (*key, *(wording.show(values.get(c), 3) for c in circuits))
        for key, values in sorted(by.items(), key=order)
    ]
    return PageTable(
        "Mean Fisher z of each circuit", ("Participant", "Group", "Arm", "Session", *circuits), rows
    )


def exclusion_table(report: StudyReport, *, no_role: bool = False) -> PageTable:
    """Who or what is left out, by arm; or only people whose group has no role in the study."""
    arms = {
        row.get("participant_id"): row.get("arm")
        for row in [*report.quality, *report.participants]
        if wording.cell(row.get("arm")) != wording.MISSING
    }
    rows = [
        (
            wording.cell(row.get("participant_id")),
            _arm(row.get("arm") or arms.get(row.get("participant_id"))),
            "all" if wording.cell(row.get("session")) == wording.MISSING else str(row["session"]),
            wording.cell(row.get("stage")),
            wording.cell(row.get("code")),
            wording.cell(row.get("reason")),
        )
        for row in report.exclusions
        if (row.get("code") == NO_ROLE) == no_role
    ]
    rows.sort(key=lambda row: (row[1], row[0], row[2]))
    head = ("Participant", "Arm", "Session", "Stage", "Code", "Reason")
    title = "People of groups without a role" if no_role else "Who or what is not in the analysis"
    return PageTable(title, head, rows)


def _arm(value: object) -> str:
    text = wording.cell(value)
    return "none" if text == wording.MISSING else text


def by_arm(quality: Sequence[Row], visits: tuple[str, str]) -> dict[tuple[str, str], list[Row]]:
    """Rows by arm and session; arms in order of interest, sessions in order of time."""
    out: dict[tuple[str, str], list[Row]] = {}
    for row in quality:
        arm, session = wording.cell(row.get("arm")), wording.cell(row.get("session"))
        key = (
            "no arm" if arm in (wording.MISSING, "none") else arm,
            "" if session == wording.MISSING else session,
        )
        out.setdefault(key, []).append(row)
    rank = {arm: k for k, arm in enumerate(ARMS)}
    times = [*visits, *in_time({session for _, session in out} - {*visits})]

    def order(key: tuple[str, str]) -> tuple[int, int]:
        return rank.get(key[0], len(rank)), times.index(key[1])

    return {key: out[key] for key in sorted(out, key=order)}


def quality_table(report: StudyReport) -> PageTable:
    """Medians of quality by arm and session."""
    rows = []
    for (arm, session), part in by_arm(report.quality, visits_of(report)).items():
        row = [arm, session or "only", str(len(part))]
        for column, _, digits in QUALITY:
            values = np.array([wording.number(r.get(column)) for r in part])
            available = values[np.isfinite(values)]
            row.append(wording.show(np.median(available) if available.size else None, digits))
        rows.append(row)
    head = ("Arm", "Session", "Runs", *(f"Median {label}" for _, label, _ in QUALITY))
    return PageTable("Quality by arm and session", head, rows)


_BESIDE = {
    "normalisation": "Share of each circuit's deviation from the reference that was closed",
    "models": "Which model predicts people it has not seen (leave one person out)",
    "reliability": "Test-retest reliability, and what one person's change must exceed",
    "influence": "The person without whom each result moves most",
    "spatial": "Each circuit among random sets of edges of its shape, the nearest in strength and "
    "length",
    "specification": "The same question with other backgrounds, and without covariates",
}


def secondary_tables(report: StudyReport) -> list[PageTable]:
    """Tables of what informs and decides nothing, as they are in their files."""
    out = []
    for name, caption in _BESIDE.items():
        rows = report.beside.get(name) or ()
        if rows:
            head = tuple(rows[0])
            body = [tuple(_plain(row.get(column)) for column in head) for row in rows]
            words = tuple(column.replace("_", " ") for column in head)
            out.append(PageTable(f"{caption} ({name}.tsv)", words, body))
    return out


def _plain(value: object) -> str:
    text = wording.cell(value)
    return "\N{EN DASH}" if text == wording.MISSING else text


def sensitivity_table(report: StudyReport) -> PageTable:
    """Verdicts under the other denoising strategies."""
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
    return PageTable(
        "The same question, denoised differently", ("Denoising", "Verdict", "Reason"), rows
    )


def sensitivity_estimates(report: StudyReport) -> PageTable | None:
    """Specific response of each circuit under each twin, beside the primary one."""
    names = [str(row.get("strategy")) for row in report.verdict.get("sensitivity") or ()]
    twins = {
        name: {r.get("term"): r for r in of_family(report.tests, f"sensitivity: {name}: specific")}
        for name in names
    }
    twins = {name: rows for name, rows in twins.items() if rows}
    if not twins:
        return None
    rows = []
    for row in of_family(report.tests, "specific"):
        cells = [title_of(report.verdict, str(row.get("term"))), wording.estimate_text(row)]
        cells += [
            wording.estimate_text(gsr_counterpart.get(row.get("term")) or {})
            for gsr_counterpart in twins.values()
        ]
        rows.append(cells)
    head = ("Circuit", str(report.verdict.get("strategy") or "primary"), *twins)
    return PageTable(
        "Change beyond the global law, Fisher z [95 % interval], corrected p", head, rows
    )
