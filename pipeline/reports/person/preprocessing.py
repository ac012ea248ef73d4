"""Section of the participant report: preprocessing by circuitshift or by other software."""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from circuitshift.pipeline.measure.run_quality import (
    DOUBTFUL_BOUNDARY_COST,
    MAX_BOUNDARY_COST,
    MAX_DISAGREEMENT_MM,
)
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import (
    Block,
    Box,
    Figure,
    Heading,
    Items,
    Link,
    PageTable,
    Prose,
)
from circuitshift.pipeline.reports.page import in_time
from circuitshift.pipeline.reports.person.content import ParticipantReport
from circuitshift.pipeline.reports.person.preprocessing_inputs import Overlay, PreprocView, RunView

__all__ = ["SIMPLER", "preproc_methods", "preproc_warnings", "preprocessing_section"]

#: Statement in every report of raw images, which distinguishes the pipeline from fMRIPrep.
SIMPLER = (
    "This preprocessing is simpler than that of fMRIPrep: it has no cortical surfaces, no "
    "distortion correction, a single template, and brain masks without a neural network. If the "
    "output of fMRIPrep is available, use it instead."
)
#: Explanation of the quality of registrations.
BOUNDARY_COST = (
    "The boundary cost states how well a run is registered to the T1-weighted image: it is 0 if "
    "the run is brighter in grey matter than in white matter everywhere along their boundary, and "
    f".5 if both images are unrelated. Runs above {MAX_BOUNDARY_COST:g} are excluded (code "
    "registration), as are runs whose registration differs by more than "
    f"{MAX_DISAGREEMENT_MM:g} mm from the position that the other runs of the participant imply "
    "(code registration-disagrees). The overlap of the masks is hardly sensitive to errors of "
    "registration and excludes no run."
)
#: Values to check: name in the records, lowest and highest usual value, and warning text.
_USUAL: tuple[tuple[str, float, float, str], ...] = (
    ("brain_litres", 0.9, 2.0, "the brain mask has a volume of {} litres"),
    ("mask_agreement", 0.9, 1.0, "two methods of brain extraction agree with a Dice of only {}"),
    (
        "boundary_cost",
        0.0,
        DOUBTFUL_BOUNDARY_COST,
        "the registration to the T1w image is doubtful or failed, its boundary cost is {}",
    ),
    (
        "disagreement_mm",
        0.0,
        MAX_DISAGREEMENT_MM,
        "the registration to the T1w image differs by {} mm from that of the other runs",
    ),
    ("brain_in_view", 0.9, 1.0, "{} of the brain lies in the run's field of view"),
    ("csf_voxels", 10, np.inf, "confounds of cerebrospinal fluid are based on only {} voxels"),
    ("white_matter_voxels", 10, np.inf, "confounds of white matter are based on only {} voxels"),
)


def preproc_warnings(view: PreprocView) -> list[str]:
    """Describe unusual quality measures of preprocessing.

    Parameters
    ----------
    view : PreprocView
        Preprocessing of the participant.

    Returns
    -------
    list of str
        Warnings; empty if all values are usual.
    """
    out = []
    for label, quality in (
        ("anatomy", view.quality),
        *((run.label, run.quality) for run in view.runs),
    ):
        for name, low, high, words in _USUAL:
            value = quality.get(name)
            if value is not None and not low <= value <= high:
                warning = words.format(wording.show(value, 0 if name.endswith("voxels") else 2))
                out.append(f"{label}: {warning}; check the outlines below.")
    return out


def preprocessing_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show preprocessing by circuitshift, or link to the report of other software.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
        No blocks if preprocessing was not recorded.
    """
    if report.preproc is not None:
        yield from _own_preprocessing(report.preproc)
        return
    hrefs = dict.fromkeys(r.preprocessing_report for r in report.runs if r.preprocessing_report)
    software = report.provenance.get("preprocessing", "")
    if not software and not hrefs:
        return
    start = f"The images were preprocessed with {software}. " if software else ""
    start += "Anatomy, registration and masks are shown in the report of that software"
    if not hrefs:
        yield Prose(f"{start}, which was not found in the folder of the images.")
        return
    parts: list[str | Link] = [f"{start}: "]
    for href in hrefs:
        parts += [Link(href, href), ", "]
    yield Prose((*parts[:-1], "."))


def _own_preprocessing(view: PreprocView) -> Iterator[Block | None]:
    runs = _in_time(view.runs)
    yield Prose(SIMPLER)
    warnings = preproc_warnings(view)
    yield Box("warn", (Items(warnings),)) if warnings else None
    yield Heading("Anatomy")
    yield _overlay(
        view.anatomy,
        "anatomy",
        f"T1-weighted image made from {', '.join(view.sources)}. The outlines should follow the "
        "surfaces of the brain and of the white matter.",
    )
    yield _overlay(
        view.normalised,
        "normalised",
        f"The same image in the space {view.template}. The outlines of the template should follow "
        "the brain of this participant.",
    )
    yield Heading("Runs")
    yield _table(runs) if runs else Prose("No run could be preprocessed.")
    yield Prose(BOUNDARY_COST) if runs else None
    for number, run in enumerate(runs):
        yield _native_figure(run, number)
        yield _run_figure(run, number)
    notes = list(dict.fromkeys(f"{run.label}: {note}" for run in runs for note in run.notes))
    if notes:
        yield Heading("Omitted steps")
        yield Items(notes)


def _in_time(runs: Sequence[RunView]) -> tuple[RunView, ...]:
    """Sort runs in the order of the other figures of the page."""
    session = {run.label: "".join(re.findall(r"_ses-([^_]+)", run.label)) for run in runs}
    order = in_time(session.values())
    return tuple(sorted(runs, key=lambda run: (order.index(session[run.label]), run.label)))


def preproc_methods(view: PreprocView) -> str:
    """Write the methods text of the preprocessing of one participant.

    Parameters
    ----------
    view : PreprocView
        Preprocessing of the participant.

    Returns
    -------
    str
        Text that cites works as ``doi:...``.
    """
    n = len(view.sources)
    several = "; the images were averaged in the space half-way between them" if n > 1 else ""
    timed = [run.slice_timing for run in view.runs]
    slices = "slices were interpolated to the middle of their volume by splines, "
    if not all(timed):
        slices = slices.replace(", ", " in some of the runs, ") if any(timed) else ""
    images = wording.count(n, "T1-weighted image")
    return (
        f"Raw images were preprocessed with the following steps: {images} corrected for bias (N4, "
        f"doi:10.1109/TMI.2010.2046908){several}; the brain was extracted with a deformable "
        "surface (after BET, doi:10.1002/hbm.10062) that was corrected with the template; tissues "
        "were segmented with Atropos (doi:10.1007/s12021-011-9109-y); normalisation to "
        f"{view.template} was diffeomorphic (SyN, doi:10.1016/j.media.2007.06.004). Head motion "
        f"of runs was estimated by least squares, {slices}the reference volume of each run was "
        "registered rigidly to the T1-weighted brain by mutual information from several initial "
        "positions, each result was refined with the boundary of white matter "
        "(doi:10.1016/j.neuroimage.2009.06.060), and the one with the lowest boundary cost was "
        "used; each volume was interpolated once, into the space of the template. "
        f"{SIMPLER}"
    )


def _overlay(overlay: Overlay, key: str, caption: str) -> Figure:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    names = " and ".join(name for name, _ in overlay.outlines)
    svg = figures.outlined_slices(
        overlay.image,
        overlay.outlines,
        key=key,
        alt=f"Slices along three axes{f' with outlines: {names}' if names else ''}. {caption}",
    )
    return Figure(svg, caption)


def _native_figure(run: RunView, number: int) -> Figure:
    cost = wording.show(run.quality.get("boundary_cost"), 2)
    return _overlay(
        run.native,
        f"native{number}",
        f"{run.label}: reference of the run ({run.reference}) in the space of the T1-weighted "
        "image, as it was registered. The outlines of the T1-weighted image should follow the "
        f"brain and the edge of white matter. Boundary cost: {cost}.",
    )


def _run_figure(run: RunView, number: int) -> Figure:
    tsnr = wording.show(run.quality.get("median_tsnr"), 0)
    return _overlay(
        run.overlay,
        f"coreg{number}",
        f"{run.label}: mean volume in the space of the template. The outlines of the T1w image "
        f"should match it. Median temporal signal-to-noise ratio: {tsnr}.",
    )


def _table(runs: Sequence[RunView]) -> PageTable:
    head = (
        "Run",
        "Volumes",
        "Slice timing corrected",
        "Reference",
        "Voxel, mm",
        "Boundary cost",
        "Distance from other runs, mm",
        "Overlap with T1w, Dice",
        "Brain in view, %",
        "Brain with signal, %",
        "Mean displacement, mm",
        "Largest displacement, mm",
        "Median tSNR",
        "Voxels of cerebrospinal fluid",
        "Voxels of white matter",
    )
    rows = [(run.label, *_cells(run, run.quality)) for run in runs]
    return PageTable("Preprocessing of each run", head, rows)


def _cells(run: RunView, quality: Mapping[str, float]) -> tuple[str, ...]:
    return (
        wording.show(quality["n_volumes"], 0),
        "yes" if run.slice_timing else "no",
        run.reference,
        wording.show(quality["voxel_mm"], 1),
        wording.show(quality.get("boundary_cost"), 2),
        wording.show(quality.get("disagreement_mm"), 2),
        wording.show(quality["coregistration_dice"], 2),
        wording.show(100 * quality["brain_in_view"], 0),
        wording.show(100 * quality["brain_with_signal"], 0),
        wording.show(quality["mean_fd_mm"], 3),
        wording.show(quality["max_fd_mm"], 2),
        wording.show(quality["median_tsnr"], 0),
        wording.show(quality["csf_voxels"], 0),
        wording.show(quality["white_matter_voxels"], 0),
    )
