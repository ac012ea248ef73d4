"""Sections of the study report: flow of participants, and data quality."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.measure.run_quality import (
    MAX_BOUNDARY_COST,
    MAX_DISAGREEMENT_MM,
    REGISTRATION_CODES,
)
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import (
    Block,
    Details,
    Figure,
    Heading,
    Items,
    Link,
    PageTable,
    Prose,
    Words,
)
from circuitshift.pipeline.reports.page import Row, in_time
from circuitshift.pipeline.reports.study.content import ARMS, StudyReport

if TYPE_CHECKING:
    from circuitshift.pipeline.reports.figures import FlowArm

__all__ = [
    "exclusion_table",
    "flow_figure",
    "length_figure",
    "outliers",
    "participants_section",
    "quality_section",
    "quality_table",
]

NO_ROLE = "no-role"  # code of participants whose group has no role in the study
QUALITY = (
    ("mean_fd_mm", "mean displacement, mm", 3),
    ("minutes", "minutes used", 1),
    ("residual_dof", "residual degrees of freedom", 0),
    ("n_regions_lost", "missing regions", 0),
    ("boundary_cost", "boundary cost of the registration", 2),
)
_ONLY_IF_AVAILABLE = ("boundary_cost",)  # images that circuitshift did not preprocess lack it


# -- participants ---------------------------------------------------------------------------------


def participants_section(report: StudyReport) -> Iterator[Block | None]:
    """Show the flow of participants, and the excluded participants and runs.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
    """
    yield flow_figure(report)
    yield Details("Numbers", (_flow_table(report),))
    excluded = exclusion_table(report)
    yield excluded if excluded.rows else Prose("No participant and no run was excluded.")
    no_role = exclusion_table(report, no_role=True)
    if no_role.rows:
        title = f"Participants whose group has no role in the study ({len(no_role.rows)})"
        yield Details(title, (no_role,))
    p = wording.p_value((report.verdict.get("exclusion_by_arm") or {}).get("p"))
    if p != wording.MISSING:
        yield Prose(
            f"Difference between the arms in the share of participants who were not analysed "
            f"(Fisher's exact test): p {p}."
        )


def flow_figure(report: StudyReport) -> Figure | None:
    """Draw the numbers of participants who were enrolled, measured and analysed, by arm.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None if the verdict records no flow.
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    flow = report.verdict.get("flow") or {}
    arms = [_flow_arm(report, arm, flow[arm]) for arm in (*ARMS, "none") if arm in flow]
    if not arms:
        return None
    numbers = ". ".join(
        f"{arm.name}: " + ", ".join(f"{label} {n}" for label, n in arm.steps) for arm in arms
    )
    return Figure(
        figures.flow(arms, key="flow", alt=f"Flow of participants. {numbers}."),
        "Participants from enrolment to analysis. A visit is usable if at least one of its runs is "
        "usable. Reasons are taken from exclusions.tsv; a participant may have several reasons.",
    )


def _flow_arm(report: StudyReport, arm: str, counts: Row) -> "FlowArm":
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    steps = [("Enrolled", int(counts.get("listed", 0)))]
    steps.append(("Measured at least once", int(counts.get("measured", 0))))
    for session in report.visits:
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


def _flow_table(report: StudyReport) -> PageTable:
    flow = report.verdict.get("flow") or {}
    rows = [
        (arm, *(str(flow[arm].get(k, 0)) for k in ("listed", "measured", "analysed")))
        for arm in (*ARMS, "none")
        if arm in flow
    ]
    head = ("Arm", "Enrolled", "Measured at least once", "Analysed")
    return PageTable("Participants by arm", head, rows)


def exclusion_table(report: StudyReport, *, no_role: bool = False) -> PageTable:
    """Tabulate excluded participants and runs by arm.

    Parameters
    ----------
    report : StudyReport
    no_role : bool
        Whether to list only participants whose group has no role in the study; otherwise they
        are omitted.

    Returns
    -------
    PageTable
        One row per exclusion.
    """
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
    title = "Participants of groups without a role" if no_role else "Excluded participants and runs"
    return PageTable(title, head, rows, style="text")


def _arm(value: object) -> str:
    text = wording.cell(value)
    return "none" if text == wording.MISSING else text


# -- quality --------------------------------------------------------------------------------------


def quality_section(report: StudyReport) -> Iterator[Block | None]:
    """Show motion and data quality by arm and visit, and participants to check.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
    """
    table = quality_table(report)
    if table.rows:
        yield _quality_figure(report)
        yield table
        yield _registration_words(report)
    else:
        yield Prose("The quality of runs is not available.")
    yield Heading("Edges and their change in relation to motion")
    sentences = _confound_sentences(report.verdict)
    if not sentences:
        yield Prose("Motion was unavailable, or available for too few participants.")
    yield from map(Prose, sentences)
    yield length_figure(report)
    to_check = outliers(report)
    if to_check:
        yield Heading("Participants to check")
        yield Items(to_check)


def _by_arm(report: StudyReport) -> dict[tuple[str, str], list[Row]]:
    """Group runs by arm and session; sessions are in the order of time."""
    out: dict[tuple[str, str], list[Row]] = {}
    for row in report.quality:
        arm, session = wording.cell(row.get("arm")), wording.cell(row.get("session"))
        key = (
            "no arm" if arm in (wording.MISSING, "none") else arm,
            "" if session == wording.MISSING else session,
        )
        out.setdefault(key, []).append(row)
    rank = {arm: k for k, arm in enumerate(ARMS)}
    visits = report.visits
    times = [*visits, *in_time({session for _, session in out} - {*visits})]

    def order(key: tuple[str, str]) -> tuple[int, int]:
        return rank.get(key[0], len(rank)), times.index(key[1])

    return {key: out[key] for key in sorted(out, key=order)}


def quality_table(report: StudyReport) -> PageTable:
    """Tabulate the medians of quality measures by arm and session.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    PageTable
        One row per arm and session.
    """
    rows, shown = [], _quality_columns(report)
    for (arm, session), part in _by_arm(report).items():
        row = [arm, session or "only", str(len(part))]
        for column, _, digits in shown:
            values = np.array([wording.number(r.get(column)) for r in part])
            available = values[np.isfinite(values)]
            row.append(wording.show(np.median(available) if available.size else None, digits))
        rows.append(row)
    head = ("Arm", "Session", "Runs", *(f"Median {label}" for _, label, _ in shown))
    return PageTable("Quality by arm and session", head, rows)


def _quality_columns(report: StudyReport) -> list[tuple[str, str, int]]:
    """Return the quality measures that are shown: name, label and number of digits."""
    return [
        (column, label, digits)
        for column, label, digits in QUALITY
        if column not in _ONLY_IF_AVAILABLE
        or any(np.isfinite(wording.number(row.get(column))) for row in report.quality)
    ]


def _registration_words(report: StudyReport) -> Prose | None:
    """State how well runs were registered, and how many were excluded for it."""
    costs = np.array([wording.number(row.get("boundary_cost")) for row in report.quality])
    costs = costs[np.isfinite(costs)]
    if not costs.size:
        return None
    excluded = [
        row
        for row in report.exclusions
        if set(REGISTRATION_CODES) & set(wording.cell(row.get("code")).split("; "))
    ]
    return Prose(
        "The boundary cost states how well a run is registered to the T1-weighted image (0: grey "
        "matter is brighter than white matter everywhere along their boundary; .5: unrelated "
        f"images). It ranges from {wording.show(costs.min(), 2)} to "
        f"{wording.show(costs.max(), 2)}. Runs above {MAX_BOUNDARY_COST:g}, and runs whose "
        f"registration differs by more than {MAX_DISAGREEMENT_MM:g} mm from that of the other runs "
        f"of the participant, are excluded: {wording.count(len(excluded), 'run')}."
    )


def _quality_figure(report: StudyReport) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    groups = _by_arm(report)
    panels = []
    for column, label, _ in _quality_columns(report):
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
    return Figure(svg, "Each mark is a run; horizontal lines are medians.")


def _confound_sentences(verdict: Row) -> list[str]:
    """Describe how edges, and their change, correlate with motion over participants."""
    quality = verdict.get("quality") or {}
    out = []
    for part, words in (
        (
            quality.get("baseline") or {},
            "connectivity of a typical edge at baseline correlates with",
        ),
        (quality, "the change of a typical edge correlates with the change of"),
    ):
        median = wording.show(part.get("qcfc_median_abs_r"))
        if median == wording.MISSING:
            continue
        sentence = (
            f"Over {wording.show(part.get('qcfc_n_participants'), 0)} participants, {words} mean "
            f"framewise displacement (median |r| = {median}; "
            f"{wording.show(part.get('qcfc_null_median_abs_r'))} is expected by chance)."
        )
        rho = wording.show(part.get("qcfc_distance_rho"))
        if rho != wording.MISSING:
            sentence += f" These correlations depend on the length of the edges with rho = {rho}."
        out.append(sentence)
    return out


def length_figure(report: StudyReport) -> Figure | None:
    """Draw QC-FC of every edge against its length, for connectivity and for its change.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    Figure or None
        None if the lengths of edges or motion are not available.
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    length = report.edge_column("distance_mm")
    quality = report.verdict.get("quality") or {}
    panels = []
    for column, title, found in (
        ("qcfc_r", "connectivity at baseline", quality.get("baseline") or {}),
        ("qcfc_change_r", "change of connectivity", quality),
    ):
        r = report.edge_column(column)
        if length is None or r is None or not np.isfinite(r + length).any():
            continue
        rho = wording.show(found.get("qcfc_distance_rho"))
        median = wording.show(found.get("qcfc_median_abs_r"))
        panels.append((title, r, f"median |r| = {median}, with length rho = {rho}"))
    if not panels or length is None:
        return None
    numbers = "; ".join(f"{title}: {words}" for title, _, words in panels)
    return Figure(
        figures.motion_by_length(
            length,
            panels,
            key="length",
            alt=f"Correlation of edges with motion against length. {numbers}.",
        ),
        "Each edge: correlation over participants of its connectivity with mean framewise "
        "displacement, or of its change with the change of displacement. Motion causes a downward "
        "slope (rho below 0), because it increases short edges and decreases long edges.",
    )


def outliers(report: StudyReport) -> list[Words]:
    """List participants to check, with the reasons.

    Parameters
    ----------
    report : StudyReport

    Returns
    -------
    list of Words
        One line per participant, with a link to the page of the participant if it exists.
    """
    out: list[Words] = []
    for participant, reasons in sorted(_reasons_to_check(report).items()):
        text = f": {'; '.join(dict.fromkeys(reasons))}"
        href = str(report.pages.get(participant, ""))
        out.append((Link(participant, href), text) if href else f"{participant}{text}")
    return out


def _reasons_to_check(report: StudyReport) -> Mapping[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for (arm, session), rows in _by_arm(report).items():
        _add_reasons_of_runs(reasons, arm, session, rows)
    for row in report.secondary.get("influence") or ():
        participant = str(row.get("participant_id"))
        estimates = (
            f"{wording.show(row.get('estimate'), 3)} to {wording.show(row.get('without'), 3)}"
        )
        reasons.setdefault(participant, []).append(
            f"without this participant {report.title(str(row.get('term')))} changes most, from "
            f"{estimates}"
        )
    for row in report.exclusions:
        if row.get("code") != NO_ROLE:
            reason = f"excluded: {wording.cell(row.get('code'))}"
            reasons.setdefault(str(row.get("participant_id")), []).append(reason)
    return reasons


def _add_reasons_of_runs(
    reasons: dict[str, list[str]], arm: str, session: str, rows: Sequence[Row]
) -> None:
    """Add unusual motion, and regions without signal, of the runs of one arm and session."""
    at = f" at ses-{session}" if session else ""
    values = np.array([wording.number(row.get("mean_fd_mm")) for row in rows])
    for k in _outlying(values):
        words = f"mean displacement of {wording.show(values[k], 3)} mm{at}, far above the others"
        reason = f"{words} of arm {arm}" if session else words
        reasons.setdefault(str(rows[k].get("participant_id")), []).append(reason)
    for row in rows:
        missing = wording.number(row.get("n_regions_lost"))
        if missing > 0:
            regions = wording.count(int(missing), "region")
            reason = f"{regions} without enough signal{at}"
            reasons.setdefault(str(row.get("participant_id")), []).append(reason)


def _outlying(values: Floats) -> Iterable[int]:
    """Return positions more than three scaled median absolute deviations above the median."""
    available = values[np.isfinite(values)]
    if available.size < 5:
        return []
    middle = float(np.median(available))
    spread = 1.4826 * float(np.median(np.abs(available - middle)))
    return np.flatnonzero(values > middle + 3 * spread).tolist() if spread > 0 else []
