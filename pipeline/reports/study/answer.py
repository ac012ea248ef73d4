"""Of a study's page: the answer on one scale, who is in it, what else could have been found."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.page import Figure, PageTable, Row
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.tables import (
    ARMS,
    NO_ROLE,
    by_arm,
    of_family,
    title_of,
    visits_of,
)

if TYPE_CHECKING:
    from circuitshift.pipeline.reports.figures import FlowArm, ForestRow, Specified

__all__ = [
    "flow_figure",
    "forest_row",
    "naive_figure",
    "outlier_table",
    "power_tables",
    "reference_words",
    "scale_figure",
    "short_title",
    "specification_figure",
    "spoken",
    "symptom_part",
]

_LONGEST_TITLE = 80
_PANELS = 4  # of the specification curve: the clearest
_SYMPTOM_PANELS = 6


def forest_row(
    row: Row, name: str, alpha: float, *, hint: str = "", second: object = None
) -> "ForestRow":
    """Make a row of a forest plot from a row of tests.tsv."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

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


def spoken(start: str, rows: Sequence[Row]) -> str:
    """Say a forest plot for those who cannot see it; the table has the rest."""
    said = [f"{row.get('term')} {wording.estimate_text(row)}" for row in rows[:12]]
    more = f"; and {len(rows) - 12} more" if len(rows) > 12 else ""
    return f"{start}: {'; '.join(said)}{more}. The table below has all numbers."


def short_title(verdict: Row, name: str, most: int = _LONGEST_TITLE) -> str:
    """Return the title where it fits into a figure, else the name; the tables have both."""
    title = title_of(verdict, name)
    return title if len(title) <= most else name


def scale_figure(report: StudyReport, alpha: float) -> Figure | None:
    """Draw global terms and circuits on one scale, with the bounds of equivalence."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    groups = []
    spoken_rows: list[Row] = []
    for title, family in (("Global terms", "global"), ("Circuits", "specific")):
        rows = [r for r in of_family(report.tests, family) if wording.number(r.get("bound")) > 0]
        spoken_rows += rows
        if rows:
            drawn = [
                forest_row(row, short_title(report.verdict, str(row.get("term"))), alpha)
                for row in rows
            ]
            groups.append((title, drawn))
    if not groups:
        return None
    units = {
        str(r.get("term")): f"{wording.show(r.get('bound'))} {r.get('unit')}" for r in spoken_rows
    }
    global_terms = [str(r.get("term")) for r in of_family(report.tests, "global")]
    one = [f"{term}: {units[term]}" for term in global_terms if term in units]
    of_circuits = next((units[t] for t in units if t not in global_terms), "")
    one += [f"circuits: {of_circuits}"] if of_circuits else []
    return Figure(
        figures.one_scale(
            groups, key="scale", alt=spoken("Global terms and circuits", spoken_rows)
        ),
        "Every result on one scale: 1 is the smallest effect of interest "
        f"({'; '.join(one)}). Bars: 95 % confidence intervals; an arrow marks one that goes on. "
        "Filled: corrected p below alpha, which decides; a bar is of one test alone and may miss 0 "
        f"where it is not. A relevant effect is ruled out where the {100 - 200 * alpha:g} % "
        "interval, somewhat shorter than the bar, lies inside the shaded zone.",
    )


def reference_words(report: StudyReport, alpha: float) -> list[str]:
    """Say which changed circuits moved toward, or away from, the reference group."""
    changed = {
        r.get("term") for r in of_family(report.tests, "specific") if wording.is_below(r, alpha)
    }
    out = []
    for row in report.beside.get("normalisation") or ():
        low, high = wording.number(row.get("ci_low")), wording.number(row.get("ci_high"))
        if row.get("circuit") in changed and (low > 0 or high < 0):
            side = "toward" if low > 0 else "away from"
            name = title_of(report.verdict, str(row.get("circuit")))
            out.append(
                f"{name}: the treated moved {side} the reference group (share of the deviation "
                f"closed {wording.show(row.get('share'))}, 95 % confidence interval "
                f"{wording.show(low)} to {wording.show(high)})."
            )
    return out


# -- flow of people -------------------------------------------------------------------------------


def flow_figure(report: StudyReport) -> Figure | None:
    """Draw who was enrolled, measured at each visit, and analysed, by arm."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    flow = report.verdict.get("flow") or {}
    arms = [_flow_arm(report, arm, flow[arm]) for arm in (*ARMS, "none") if arm in flow]
    if not arms:
        return None
    said = ". ".join(
        f"{arm.name}: " + ", ".join(f"{label} {n}" for label, n in arm.steps) for arm in arms
    )
    return Figure(
        figures.flow(arms, key="flow", alt=f"Flow of people. {said}."),
        "From the list of participants to the analysis. A visit is usable when at least one of its "
        "runs is. Reasons are of exclusions.tsv; somebody may have several.",
    )


def _flow_arm(report: StudyReport, arm: str, counts: Row) -> "FlowArm":
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    steps = [("Enrolled", int(counts.get("known", 0)))]
    steps.append(("Measured at least once", int(counts.get("measured", 0))))
    for session in visits_of(report):
        participants = {
            row.get("participant_id")
            for row in report.participants
            if row.get("arm") == arm and row.get("session") == session
        }
        if arm in ("treated", "control"):
            steps.append((f"Usable at ses-{session}", len(participants)))
    steps.append(("Analysed", int(counts.get("analysed", 0))))
    missing = steps[0][1] - steps[-1][1]
    codes: dict[str, set[object]] = {}
    for row in report.exclusions:
        if row.get("arm") == arm:
            code = wording.cell(row.get("code"))
            codes.setdefault(code, set()).add(row.get("participant_id"))
    reasons = [f"{code}: {len(participants)}" for code, participants in sorted(codes.items())]
    words = [f"Not analysed: {missing}", *reasons] if missing or reasons else []
    return figures.FlowArm(arm if arm != "none" else "no role", steps, words)


# -- usual and corrected --------------------------------------------------------------------------


def naive_figure(report: StudyReport, alpha: float) -> Figure | None:
    """Draw the usual contrast of each circuit beside what is beyond the global law."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    usual = {
        row.get("term"): row for row in of_family(report.tests, "naive: circuit minus background")
    }
    rows = [
        (short_title(report.verdict, str(row.get("term"))), usual[row.get("term")], row)
        for row in of_family(report.tests, "specific")
        if row.get("term") in usual
    ]
    if not rows:
        return None
    drawn = [
        (name, forest_row(naive, name, alpha), forest_row(ours, name, alpha))
        for name, naive, ours in rows
    ]
    said = "; ".join(
        f"{name}: usual {wording.show(naive.get('estimate'))}, "
        f"here {wording.show(ours.get('estimate'))}"
        for name, naive, ours in rows[:12]
    )
    return Figure(
        figures.two_ways(
            drawn,
            labels=("usual: circuit minus background", "beyond the global law"),
            unit="Fisher z",
            key="naive",
            alt=f"Each circuit the usual way and beyond the global law. {said}.",
        ),
        "Where the two differ, a global law explains a part of what the usual contrast finds. "
        "Filled: corrected p below alpha.",
    )


# -- specification curve --------------------------------------------------------------------------


def specification_figure(report: StudyReport, alpha: float) -> Figure | None:
    """Draw the clearest results under all other choices."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    wanted = sorted(
        [r for f in ("global", "specific") for r in of_family(report.tests, f)],
        key=lambda r: (
            not wording.is_below(r, alpha),
            -abs(wording.number(r.get("statistic")) or 0),
        ),
    )[:_PANELS]
    panels = []
    for row in wanted:
        found = _specified(report, row, alpha)
        if len(found) > 1:
            title = short_title(report.verdict, str(row.get("term")), 18)
            panels.append((title, str(row.get("unit") or ""), found))
    if not panels:
        return None
    said = "; ".join(
        f"{title}: {sum(s.hit for s in found)} of {len(found)} specifications below alpha, "
        f"estimates {wording.show(min(s.estimate for s in found))} to "
        f"{wording.show(max(s.estimate for s in found))}"
        for title, _, found in panels
    )
    return Figure(
        figures.specification_curve(
            panels, key="specification", alt=f"Specification curves. {said}."
        ),
        "The clearest results under every other choice, in order of size; squares below say what "
        "was chosen. A result that holds under one choice only deserves suspicion.",
    )


def _specified(report: StudyReport, row: Row, alpha: float) -> "list[Specified]":
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    family, term = row.get("family"), row.get("term")
    verdict = report.verdict
    design = verdict.get("design") or {}
    primary = str(verdict.get("strategy") or "primary")
    covariates = "with" if verdict.get("covariates") else "none"
    standard = {"background": str(design.get("background") or "all"), "covariates": covariates}
    ours = standard | {"denoising": primary}
    out = [
        figures.Specified(
            wording.number(row.get("estimate")), wording.is_below(row, alpha), ours, ours=True
        )
    ]
    for other in report.beside.get("specification") or ():
        choices = {k: str(other.get(k)) for k in ("background", "covariates")}
        if (other.get("family"), other.get("term")) == (family, term) and choices != standard:
            out.append(
                figures.Specified(
                    wording.number(other.get("estimate")),
                    wording.is_below(other, alpha),
                    choices | {"denoising": primary},
                )
            )
    for gsr_counterpart in verdict.get("sensitivity") or ():
        name = str(gsr_counterpart.get("strategy"))
        out += [
            figures.Specified(
                wording.number(other.get("estimate")),
                wording.is_below(other, alpha),
                standard | {"denoising": name},
            )
            for other in of_family(report.tests, f"sensitivity: {name}: {family}")
            if other.get("term") == term
        ]
    return [one for one in out if math.isfinite(one.estimate)]


# -- symptoms, power, outliers --------------------------------------------------------------------


def symptom_part(report: StudyReport, alpha: float) -> tuple[str, Figure | None, list[Row]]:
    """Words, figure and tests of the change of symptoms; no words when no score was given."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    score = str((report.verdict.get("design") or {}).get("symptom") or "")
    tests = [
        row
        for kind in ("global", "specific")
        for row in of_family(report.tests, f"symptom: {kind}")
    ]
    if not score:
        return "", None, tests
    participants = [
        r for r in report.beside.get("change") or ()
        if math.isfinite(wording.number(r.get("symptom_change")))
    ]  # fmt: skip
    ranked = sorted(tests, key=lambda r: -abs(wording.number(r.get("statistic")) or 0))
    panels: list[tuple[str, dict[str, tuple[Floats, Floats]]]] = []
    for row in ranked:
        kind = "global" if row.get("family") == "symptom: global" else "specific"
        column = f"{kind}_{row.get('term')}"
        if len(panels) < _SYMPTOM_PANELS and participants and column in participants[0]:
            arms = {
                arm: (_of(participants, arm, "symptom_change"), _of(participants, arm, column))
                for arm in ("treated", "control")
                if any(r.get("arm") == arm for r in participants)
            }
            panels.append((short_title(report.verdict, str(row.get("term")), 30), arms))
    hits = [str(row.get("term")) for row in tests if wording.is_below(row, alpha)]
    found = (
        f"Change of {score} goes with: {', '.join(hits)}."
        if hits
        else (f"No change of connectivity was found to go with change of {score}.")
    )
    have = wording.count(len(participants), "person has", "people have")
    words = f"{found} {have} the score at both visits."
    if not panels:
        return words, None, tests
    return (
        words,
        Figure(
            figures.symptom_by_change(
                panels,
                across=f"change of {score}",
                key="symptom",
                alt=spoken(f"Change of connectivity against change of {score}", ranked),
            ),
            "Each mark is a person; circuits are change beyond the global law, Fisher z. The tests "
            "below are of the slope within arms.",
        ),
        tests,
    )


def _of(participants: Sequence[Row], arm: str, column: str) -> Floats:
    return np.array([wording.number(r.get(column)) for r in participants if r.get("arm") == arm])


def power_tables(report: StudyReport) -> list[PageTable]:
    """List what this study could have seen: detectable effects of each test that decides."""
    out = []
    for family, caption in (("global", "Global terms"), ("specific", "Circuits")):
        rows = [
            (
                title_of(report.verdict, str(row.get("term"))),
                str(row.get("unit") or ""),
                wording.show(row.get("se"), 3),
                wording.show(row.get("detectable"), 3),
                wording.show(row.get("detectable_family"), 3),
                wording.show(row.get("bound"), 3),
                _enough(row),
            )
            for row in of_family(report.tests, family)
            if math.isfinite(wording.number(row.get("detectable")))
        ]
        head = (
            "Test",
            "Unit",
            "Standard error",
            "Detectable, one test",
            "Detectable, whole family",
            "Smallest effect of interest",
            "Would that have been found?",
        )
        if rows:
            out.append(PageTable(caption, head, rows))
    return out


def _enough(row: Row) -> str:
    bound = wording.number(row.get("bound"))
    if not math.isfinite(bound):
        return wording.MISSING
    if wording.number(row.get("detectable_family")) <= bound:
        return "yes"
    return "by one test alone" if wording.number(row.get("detectable")) <= bound else "no"


def outlier_table(report: StudyReport) -> list[tuple[str, str, str]]:
    """Name people to look at: link to the page (empty when there is none), name, and why."""
    why: dict[str, list[str]] = {}
    for (arm, session), rows in by_arm(report.quality, visits_of(report)).items():
        values = np.array([wording.number(row.get("mean_fd_mm")) for row in rows])
        for k in _far(values):
            who = str(rows[k].get("participant_id"))
            told = f"moves {wording.show(values[k], 3)} mm at ses-{session}, far from the others"
            why.setdefault(who, []).append(f"{told} of arm {arm}" if session else told)
        for row in rows:
            missing = wording.number(row.get("n_regions_lost"))
            if missing > 0:
                who = str(row.get("participant_id"))
                at = f" at ses-{session}" if session else ""
                why.setdefault(who, []).append(
                    f"{wording.count(int(missing), 'region')} without enough signal{at}"
                )
    for row in report.beside.get("influence") or ():
        who = str(row.get("participant_id"))
        moved = f"{wording.show(row.get('estimate'), 3)} to {wording.show(row.get('without'), 3)}"
        why.setdefault(who, []).append(
            f"without this person {row.get('term')} changes most, from {moved}"
        )
    for row in report.exclusions:
        if row.get("code") == NO_ROLE:
            continue
        who = str(row.get("participant_id"))
        why.setdefault(who, []).append(f"excluded: {wording.cell(row.get('code'))}")
    return [
        (str(report.pages.get(who, "")), who, "; ".join(dict.fromkeys(reasons)))
        for who, reasons in sorted(why.items())
    ]


def _far(values: Floats) -> Iterable[int]:
    """Positions above the median by more than three scaled median absolute deviations."""
    available = values[np.isfinite(values)]
    if available.size < 5:
        return []
    middle = float(np.median(available))
    spread = 1.4826 * float(np.median(np.abs(available - middle)))
    return np.flatnonzero(values > middle + 3 * spread).tolist() if spread > 0 else []
