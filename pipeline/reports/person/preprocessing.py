"""What a person's page says of preprocessing that was done here."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.page import Figure, PageTable, in_time
from circuitshift.pipeline.reports.person.preprocessing_inputs import Overlay, PreprocView, RunView

__all__ = ["SIMPLER", "preproc_methods", "preproc_section", "preproc_warnings"]

#: Said in every report of raw images, so that nobody takes one pipeline for the other.
SIMPLER = (
    "This preprocessing is simpler than fMRIPrep's: no cortical surfaces, no correction of "
    "distortion, one template, and head masks without neural weights. Where you have fMRIPrep's "
    "output, give that."
)
#: What makes somebody look: name in the records, lowest and highest value that is usual, words.
_USUAL: tuple[tuple[str, float, float, str], ...] = (
    ("brain_litres", 0.9, 2.0, "the brain mask holds {} litres"),
    ("mask_agreement", 0.9, 1.0, "two ways to find the brain agree with a Dice of only {}"),
    ("coregistration_dice", 0.85, 1.0, "brain of the run and of the T1w overlap with a Dice of {}"),
    ("brain_in_view", 0.9, 1.0, "{} of the brain lies in the run's field of view"),
    ("csf_voxels", 10, np.inf, "only {} voxels of fluid give confounds"),
    ("white_matter_voxels", 10, np.inf, "only {} voxels of white matter give confounds"),
)


def preproc_warnings(view: PreprocView) -> list[str]:
    """Name what is unusual, in words.

    Parameters
    ----------
    view : PreprocView

    Returns
    -------
    list of str
        Empty when nothing is.
    """
    out = []
    for label, quality in (
        ("anatomy", view.quality),
        *((run.label, run.quality) for run in view.runs),
    ):
        for name, low, high, words in _USUAL:
            value = quality.get(name)
            if value is not None and not low <= value <= high:
                said = words.format(wording.show(value, 0 if name.endswith("voxels") else 2))
                out.append(f"{label}: {said}; look at the outlines below.")
    return out


def preproc_section(view: PreprocView) -> dict[str, Any]:
    """Make the content of the section.

    Parameters
    ----------
    view : PreprocView

    Returns
    -------
    dict
        Names that ``templates/person.html`` uses.
    """
    sources = ", ".join(view.sources)
    view = replace(view, runs=_in_time(view.runs))
    return {
        "simpler": SIMPLER,
        "warnings": preproc_warnings(view),
        "anatomy": [
            _overlay(
                view.anatomy,
                "anatomy",
                f"T1-weighted image made of {sources}. The outlines should follow the surface of "
                "the brain and of its white matter.",
            ),
            _overlay(
                view.normalised,
                "normalised",
                f"The same in the space {view.template}. The outlines are the template's: they "
                "should follow this person's brain.",
            ),
        ],
        "runs": [_run_figure(run, k) for k, run in enumerate(view.runs)],
        "table": _table(view),
        "notes": list(
            dict.fromkeys(f"{run.label}: {note}" for run in view.runs for note in run.notes)
        ),
    }


def _in_time(runs: Sequence[RunView]) -> tuple[RunView, ...]:
    """Put runs in the order of the other figures of the page."""
    session = {run.label: "".join(re.findall(r"_ses-([^_]+)", run.label)) for run in runs}
    order = in_time(session.values())
    return tuple(sorted(runs, key=lambda run: (order.index(session[run.label]), run.label)))


def preproc_methods(view: PreprocView) -> str:
    """Make a text for a methods section, with what was done to this person.

    Parameters
    ----------
    view : PreprocView

    Returns
    -------
    str
    """
    n = len(view.sources)
    several = "; the images were averaged in the space half-way between them" if n > 1 else ""
    timed = [run.slice_timing for run in view.runs]
    slices = "slices were brought to the middle of their volume by splines, "
    if not all(timed):
        slices = slices.replace(", ", " in part of the runs, ") if any(timed) else ""
    images = wording.count(n, "T1-weighted image")
    return (
        f"Raw images were preprocessed: {images} corrected for bias (N4, "
        f"doi:10.1109/TMI.2010.2046908){several}; the brain was found by a deformable surface "
        "(after BET, doi:10.1002/hbm.10062) that the template corrected; tissues were told apart "
        "by Atropos (doi:10.1007/s12021-011-9109-y); normalisation to "
        f"{view.template} was diffeomorphic (SyN, doi:10.1016/j.media.2007.06.004). Head motion "
        f"of runs was estimated by least squares, {slices}each run's reference was registered "
        "rigidly to the T1-weighted brain by mutual information, and each volume was interpolated "
        f"once, into the template. {SIMPLER}"
    )


def _overlay(overlay: Overlay, key: str, said: str) -> Figure:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    names = " and ".join(name for name, _ in overlay.outlines)
    svg = figures.outlined_slices(
        overlay.image,
        overlay.outlines,
        key=key,
        alt=f"Slices along three axes{f' with outlines: {names}' if names else ''}. {said}",
    )
    return Figure(svg, said)


def _run_figure(run: RunView, number: int) -> Figure:
    tsnr = wording.show(run.quality.get("median_tsnr"), 0)
    return _overlay(
        run.overlay,
        f"coreg{number}",
        f"{run.label}, mean volume in the template. The outlines come from the T1w image and "
        f"should fit. Median temporal signal-to-noise ratio: {tsnr}.",
    )


def _table(view: PreprocView) -> PageTable:
    head = (
        "Run",
        "Volumes",
        "Slice timing corrected",
        "Voxel, mm",
        "Overlap with T1w, Dice",
        "Brain in view, %",
        "Mean displacement, mm",
        "Largest, mm",
        "Median tSNR",
        "Voxels of fluid",
        "Voxels of white matter",
    )
    rows = [(run.label, *_cells(run, run.quality)) for run in view.runs]
    return PageTable("What preprocessing made of each run", head, rows)


def _cells(run: RunView, quality: Mapping[str, float]) -> tuple[str, ...]:
    return (
        wording.show(quality["n_volumes"], 0),
        "yes" if run.slice_timing else "no",
        wording.show(quality["voxel_mm"], 1),
        wording.show(quality["coregistration_dice"], 2),
        wording.show(100 * quality["brain_in_view"], 0),
        wording.show(quality["mean_fd_mm"], 3),
        wording.show(quality["max_fd_mm"], 2),
        wording.show(quality["median_tsnr"], 0),
        wording.show(quality["csf_voxels"], 0),
        wording.show(quality["white_matter_voxels"], 0),
    )
