"""Section of the participant report: structure of the brain in each session."""

from collections.abc import Iterator, Sequence

from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import (
    Block,
    Box,
    Code,
    Details,
    Figure,
    Items,
    PageTable,
    Prose,
)
from circuitshift.pipeline.reports.page import in_time
from circuitshift.pipeline.reports.person.content import ParticipantReport
from circuitshift.pipeline.reports.person.preprocessing_inputs import (
    Overlay,
    SessionView,
    StructureView,
)

__all__ = ["structure_methods", "structure_section", "structure_warnings"]

_LEAST_SIMILARITY = 0.9
_VOLUMES = (0.5, 2.0)  # usual smallest and largest volume of a point relative to the template
_ML = 1000.0  # mm^3


def structure_warnings(view: StructureView) -> list[str]:
    """Describe sessions that may not be aligned with the within-participant template.

    Parameters
    ----------
    view : StructureView
        Structure of each session.

    Returns
    -------
    list of str
        Warnings; empty if all values are usual.
    """
    out = []
    for one in view.sessions:
        if not one.quality:
            continue
        similarity = one.quality["similarity"]
        if similarity < _LEAST_SIMILARITY:
            out.append(
                f"{_name(one)}: its image correlates with the average of all sessions by only "
                f"{wording.show(similarity, 2)}; check the outlines below."
            )
        if one.quality["smallest"] < _VOLUMES[0] or one.quality["largest"] > _VOLUMES[1]:
            out.append(
                f"{_name(one)}: the volume of some points is between "
                f"{wording.show(one.quality['smallest'], 2)} and "
                f"{wording.show(one.quality['largest'], 2)} times that in the average of all "
                "sessions; check for motion artefacts and changed ventricles."
            )
    return out


def structure_methods(view: StructureView) -> str:
    """Write the methods text of the structure per session.

    Parameters
    ----------
    view : StructureView
        Structure of each session.

    Returns
    -------
    str
        Text that cites works as ``doi:...``.
    """
    several = (
        "Each session was compared with the average of all sessions by a regularised least-squares "
        "deformation, so that no session is preferred (after doi:10.3389/fnins.2012.00197), and "
        "volumes are labels of the template, propagated once, times the Jacobian determinants of "
        "the session"
    )
    single = "Volumes are labels of the template in the participant's only T1-weighted session"
    text = several if len(view.sessions) > 1 else single
    return (
        f"The structure of each session was measured with {', '.join(view.atlases)}. {text}; "
        "grey matter is the tissue probability times the volume, except in deep grey matter."
    )


def structure_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show volumes of each session, and how its image was aligned with the others.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
        No blocks if the structure was not measured.
    """
    view = report.structure
    if view is None:
        return
    if view.fault:
        yield Box("warn", (Prose(f"The structure could not be measured: {view.fault}"),))
        return
    warnings = [*structure_warnings(view), *view.notes]
    yield Box("warn", (Items(warnings),)) if warnings else None
    yield Prose(("Values of all regions are in ", Code(f"preproc/{view.table}"), "."))
    order = in_time(one.session for one in view.sessions)
    sessions = sorted(view.sessions, key=lambda one: order.index(one.session))
    yield _volumes(sessions)
    yield _deep(sessions)
    for number, one in enumerate(sessions):
        yield from _figures(one, number)


def _name(one: SessionView) -> str:
    return f"ses-{one.session}" if one.session else "T1-weighted image"


def _volumes(sessions: Sequence[SessionView]) -> PageTable:
    parts = list(sessions[0].head)
    head = ("Session", *(f"{part.capitalize()}, ml" for part in parts), "Correlation", "Shift, mm")
    rows = [
        (
            _name(one),
            *(wording.show(one.head[part] / _ML, 1) for part in parts),
            wording.show(one.quality.get("similarity"), 3),
            wording.show(one.quality.get("rms_mm"), 2),
        )
        for one in sessions
    ]
    caption = (
        "Volumes of each session (intracranial: inside the brain mask, with cerebrospinal fluid), "
        "and the correlation with, and the root mean square displacement from, the average of all "
        "sessions"
    )
    return PageTable(caption, head, rows)


def _deep(sessions: Sequence[SessionView]) -> Details | None:
    names = list(sessions[0].deep)
    if not names:
        return None
    head = ("Region", *(f"{_name(one)}, ml" for one in sessions))
    rows = [
        (name, *(wording.show(one.deep.get(name, float("nan")) / _ML, 3) for one in sessions))
        for name in names
    ]
    table = PageTable("Volumes of deep grey matter", head, rows)
    return Details(f"Deep grey matter ({wording.count(len(names), 'region')})", (table,))


def _figures(one: SessionView, number: int) -> Iterator[Block]:
    if one.aligned is not None:
        caption = (
            f"{_name(one)}: its T1-weighted image in the space half-way between the sessions. The "
            "outlines of the average of all sessions should follow it."
        )
        yield _figure(one.aligned, f"session{number}", caption)
    if one.volume is not None:
        caption = (
            f"{_name(one)}: volume relative to the average of all sessions; dark where the tissue "
            "is smaller. Stripes or a gradient across the brain indicate motion or distortion "
            "rather than a change of the tissue."
        )
        yield _figure(one.volume, f"jacobian{number}", caption)


def _figure(overlay: Overlay, key: str, caption: str) -> Figure:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    svg = figures.outlined_slices(
        overlay.image, overlay.outlines, key=key, alt=f"Slices along three axes. {caption}"
    )
    return Figure(svg, caption)
