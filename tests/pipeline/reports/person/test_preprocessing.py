"""Section on preprocessing: warnings, methods text, and links to other software."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.measure.run_quality import MAX_BOUNDARY_COST
from circuitshift.pipeline.reports.person.preprocessing import (
    SIMPLER,
    preproc_methods,
    preproc_warnings,
)
from circuitshift.pipeline.reports.person.preprocessing_inputs import Overlay, PreprocView, RunView

QUALITY = {
    "n_volumes": 60, "voxel_mm": 3.0, "coregistration_dice": 0.95, "boundary_cost": 0.23,
    "disagreement_mm": 0.31, "brain_in_view": 0.97, "brain_with_signal": 0.93,
    "mean_fd_mm": 0.1, "max_fd_mm": 0.4, "median_tsnr": 55.0, "csf_voxels": 200,
    "white_matter_voxels": 900,
}  # fmt: skip


def overlay():
    data = np.random.default_rng(0).uniform(0, 100, (12, 12, 12))
    mask = np.zeros((12, 12, 12))
    mask[3:9, 3:9, 3:9] = 1
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    return Overlay(Image(data, affine), (("brain mask", Image(mask, affine)),))


def run_view(session, **more):
    values = {"quality": QUALITY, "notes": (), "slice_timing": True, "reference": "SBRef"} | more
    label = f"sub-01_ses-{session}_task-rest"
    return RunView(label=label, overlay=overlay(), native=overlay(), **values)


@pytest.fixture
def view():
    return PreprocView(
        template="MNI152NLin2009cAsym",
        sources=("sub-01_T1w.nii.gz",),
        quality={"brain_litres": 1.4, "mask_agreement": 0.97},
        anatomy=overlay(),
        normalised=overlay(),
        runs=(run_view("post"), run_view("pre", notes=("no slice timing",))),
    )


def test_usual_values_cause_no_warning(view):
    assert preproc_warnings(view) == []


def test_unusual_values_are_named_with_their_run(view):
    unusual = {"boundary_cost": 0.48, "disagreement_mm": 12.3, "csf_voxels": 3}
    bad = run_view("pre", quality=QUALITY | unusual)
    warnings = preproc_warnings(
        replace(view, quality={"brain_litres": 2.3, "mask_agreement": 0.97}, runs=(bad,))
    )
    assert len(warnings) == 4
    assert warnings[0].startswith("anatomy: the brain mask has a volume of 2.30 litres")
    assert warnings[1].startswith(f"{bad.label}: the registration to the T1w image is doubtful")
    assert "differs by 12.30 mm from that of the other runs" in warnings[2]
    assert "only 3 voxels" in warnings[3]


def test_the_overlap_of_masks_is_information_only(view):
    low = run_view("pre", quality=QUALITY | {"coregistration_dice": 0.5})
    assert preproc_warnings(replace(view, runs=(low,))) == []


def test_the_quality_of_the_registration_is_shown(view, participant_report, write):
    alone = {"boundary_cost": 0.24, "disagreement_mm": None}  # a single run
    view = replace(view, runs=(run_view("pre", quality=QUALITY | alone),))
    page = write(replace(participant_report(), preproc=view))
    section = page.source.partition('id="preprocessing"')[2].partition("</section>")[0]
    assert "Boundary cost" in section
    assert "0.24" in section
    assert "as it was registered" in section
    assert "Boundary cost: 0.24." in section
    assert f"Runs above {MAX_BOUNDARY_COST:g} are excluded (code registration)" in page.text


@pytest.mark.parametrize(
    ("timed", "text"),
    [
        ((True, True), "slices were interpolated to the middle of their volume by splines, "),
        ((True, False), "to the middle of their volume by splines in some of the runs, "),
        ((False, False), "by least squares, the reference volume of each run"),
    ],
)
def test_the_methods_text_states_which_runs_were_corrected_for_slice_timing(view, timed, text):
    runs = tuple(
        run_view(name, slice_timing=done) for name, done in zip(("pre", "post"), timed, strict=True)
    )
    methods = preproc_methods(replace(view, runs=runs))
    assert text in methods
    assert methods.endswith(SIMPLER)
    assert "1 T1-weighted image corrected" in methods
    assert "were averaged" not in methods
    two = preproc_methods(replace(view, sources=("a", "b")))
    assert "2 T1-weighted images corrected" in two
    assert "the images were averaged" in two


def test_the_section_shows_runs_in_the_order_of_time(view, participant_report, write):
    page = write(replace(participant_report(), preproc=view))
    section = page.source.partition('id="preprocessing"')[2].partition("</section>")[0]
    assert section.index("ses-pre_task-rest</th>") < section.index("ses-post_task-rest</th>")
    assert page.figures("preprocessing") == 6
    assert "sub-01_ses-pre_task-rest: no slice timing" in page.text


def test_other_software_is_named_with_a_link_to_its_report(participant_report, write):
    report = replace(participant_report(), provenance={"preprocessing": "fMRIPrep 23.2.1"})
    page = write(report)
    assert "preprocessed with fMRIPrep 23.2.1." in page.text
    assert "which was not found in the folder of the images." in page.text
    runs = tuple(replace(run, preprocessing_report="../sub-01.html") for run in report.runs)
    links = [a["href"] for a in write(replace(report, runs=runs)).all("a")]
    assert links.count("../sub-01.html") == 1
