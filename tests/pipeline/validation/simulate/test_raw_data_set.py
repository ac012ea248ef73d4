"""Simulated raw data sets: images agree with the recorded truth, and the study is valid BIDS."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.images import Image, axis_codes
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.confounds import framewise_displacement
from circuitshift.pipeline.preproc.template import load_template
from circuitshift.pipeline.validation.simulate.bold_run import draw_series
from circuitshift.pipeline.validation.simulate.head import (
    HeadSpec,
    draw_head,
    draw_pose,
    draw_t1w,
)
from circuitshift.pipeline.validation.simulate.raw_data_set import (
    Dropout,
    brain_centre,
    draw_bold,
    draw_motion,
    region_map,
    write_simulated_raw_data_set,
)
from circuitshift.pipeline.validation.simulate.truth import PlantedTruth, SimulationSpec

SPEC = HeadSpec(bold_mm=(4.0, 4.0, 4.0))
QUIET = replace(SPEC, noise=0.0, amplitude=0.0, n_dummy=0)
SMALL = SimulationSpec(
    n_treated=1,
    n_control=0,
    n_reference=1,
    n_volumes=20,
    n_dummy=2,
    share_missing=0.0,
    share_out_of_view=0.0,
)
VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


def still(n_volumes: int) -> np.ndarray:
    return np.zeros((n_volumes, 6))


def run_of(head, atlas, spec, series, **more):
    more = {"pose": np.eye(4), "rng": np.random.default_rng(5), **more}
    return draw_bold(head, spec, series, atlas, **more)


# ------------------------------------------------------------------------------ regions


@pytest.mark.parametrize("k", [0, 120, 240])
def test_regions_lie_at_their_positions_in_the_template(head, atlas, k):
    regions = region_map(head, atlas)
    own = regions.points()[np.asarray(regions.data).ravel() == k]
    region = atlas.regions[k]
    distance = np.linalg.norm(head.to_template(own) - region.xyz_mm, axis=1)
    assert len(own)
    assert distance.max() <= region.radius_mm


def test_regions_of_a_label_image_lie_where_the_image_has_them(head, tmp_path):
    template = load_template()
    left = (template.brain.points()[:, 0] < 0).reshape(template.brain.grid)
    path = tmp_path / "sides_dseg.nii.gz"
    values = (np.where(left, 7, 9) * template.mask).astype(np.int16)
    nib.save(nib.Nifti1Image(values, template.brain.affine), path)
    sides = Atlas("sides", (Region(7, "left"), Region(9, "right")), "labels", image=path)
    regions = region_map(head, sides)
    x = head.to_template(regions.points())[:, 0]
    found = np.asarray(regions.data).ravel()
    # a voxel's centre within half a voxel of the midline may fall on either side
    assert x[found == 0].max() < 0.6
    assert x[found == 1].min() > -0.6


def test_an_atlas_without_positions_is_refused(head):
    with pytest.raises(InputError, match="cannot be planted in an atlas of kind table"):
        region_map(head, Atlas("names", (Region(1, "a"),), "table"))


# ------------------------------------------------------------------------------ runs


def test_the_grid_runs_to_left_anterior_superior(head, atlas):
    run = run_of(head, atlas, SPEC, np.zeros((2, 300)), motion=still(2))
    assert axis_codes(run.image.affine) == "LAS"
    assert run.image.data.dtype == np.int16
    assert np.allclose(run.image.zooms, 4)


def test_dropout_reduces_the_signal_at_its_place_only(head, atlas):
    lost = Dropout((-20.0, -2.0, -22.0), 12.0, 0.25)
    zeros = np.zeros((2, 300))
    run = run_of(head, atlas, QUIET, zeros, motion=still(2))
    other = run_of(head, atlas, QUIET, zeros, motion=still(2), dropout=(lost,))
    before, after = (np.asarray(r.image.data[..., 0], float).ravel() for r in (run, other))
    distance = np.linalg.norm(head.to_template(run.image.points()) - lost.xyz_mm, axis=1)
    inner, outer = (distance < 6) & (before > 400), (distance > 20) & (before > 400)
    assert inner.sum() >= 8
    np.testing.assert_allclose(after[inner] / before[inner], 0.25, atol=0.01)
    np.testing.assert_array_equal(after[outer], before[outer])


@pytest.mark.parametrize("axis", range(3))
def test_translations_move_the_head(head, atlas, axis):
    motion = still(2)
    motion[1, axis] = 6.0
    run = run_of(head, atlas, QUIET, np.zeros((2, 300)), motion=motion)
    # only the top of the head, which the field of view contains completely
    top = run.image.points()[:, 2] > run.centre_mm[2]
    data = run.image.data.reshape(-1, 2).astype(float)
    if axis == 2:  # the selected half does not move with the head
        first, second = (edge_above(run.image, v) for v in range(2))
        assert second - first == pytest.approx(6, abs=0.5)
        return
    weighted = [
        (run.image.points()[top, axis] * data[top, v]).sum() / data[top, v].sum() for v in range(2)
    ]
    assert weighted[1] - weighted[0] == pytest.approx(6, abs=0.5)


def edge_above(image: Image, volume: int) -> float:
    """Return the height above the middle at which the mean intensity is half of its maximum, mm."""
    profile = image.data[..., volume].mean(axis=(0, 1))
    heights = image.affine[2, 3] + image.affine[2, 2] * np.arange(image.grid[2])
    upper = np.argmax(profile)
    falling = profile[upper:]
    return float(np.interp(-falling[0] / 2, -falling, heights[upper:]))


def test_rotations_turn_the_head(head, atlas):
    motion = still(2)
    motion[1, 3:] = [0.1, -0.05, 0.15]
    motion[1, :3] = [3, -2, 1]
    run = run_of(head, atlas, QUIET, np.zeros((2, 300)), motion=motion)
    first, second = (run.image.like(run.image.data[..., v].astype(np.float32)) for v in range(2))
    points = run.image.points()
    near = np.linalg.norm(points - run.centre_mm, axis=1) < 60
    points = points[near]
    correct = transforms.matrix_of(motion[1], run.centre_mm)
    inverse = np.linalg.inv(correct)

    def similarity(matrix):
        return np.corrcoef(second.at(transforms.apply(matrix, points)), first.at(points))[0, 1]

    assert similarity(correct) > 0.85
    assert similarity(correct) > similarity(np.eye(4)) + 0.2
    assert similarity(correct) > similarity(inverse) + 0.2


def test_the_pose_of_a_session_moves_the_head(head, atlas):
    pose = transforms.matrix_of([8, -6, 5, 0, 0, 0])
    run = run_of(head, atlas, QUIET, np.zeros((2, 300)), motion=still(2), pose=pose)
    assert np.allclose(run.centre_mm - brain_centre(head), [8, -6, 5])
    share = np.asarray(sum(t.data for t in head.tissues[:3]), np.float32)
    # blurred to the voxel size of the run, SD in voxels of 2 mm
    blurred = ndimage.gaussian_filter(share, 1.5)
    brain = head.tissues[0].like(np.minimum(share, blurred))
    points = run.image.points()
    inside = brain.at(transforms.apply(np.linalg.inv(pose), points)) > 0.95
    assert inside.sum() > 10_000
    # skull and scalp are darker than the brain
    assert run.image.data[..., 0].reshape(-1)[inside].min() > 700


def test_slices_are_acquired_at_their_own_times(head, atlas):
    spec = replace(SPEC, noise=0.0, n_dummy=0)
    n_volumes, t_r_s = 60, spec.t_r_s
    hertz = 0.05
    seconds = np.arange(n_volumes) * t_r_s
    first = run_of(head, atlas, spec, np.zeros((n_volumes, 300)), motion=still(n_volumes))
    wave = np.sin(2 * np.pi * hertz * (seconds + first.middle_s))
    series = np.repeat(wave[:, None], 300, axis=1)
    run = run_of(head, atlas, spec, series, motion=still(n_volumes))
    # with the same seed, physiology and drift cancel in the difference
    change = run.image.data.astype(float) - first.image.data
    basis = np.exp(-2j * np.pi * hertz * seconds[5:-5])
    found = []
    for k in range(run.image.grid[2]):
        voxels = change[:, :, k, 5:-5].reshape(-1, n_volumes - 10)
        voxels = voxels[voxels.std(axis=1) > 5]
        if len(voxels) > 20:
            phase = np.angle((voxels.mean(axis=0) * basis).sum()) + np.pi / 2
            found.append((run.slice_times_s[k], phase / (2 * np.pi * hertz)))
    stated, measured = np.array(found).T
    assert len(stated) > 20
    # the lowest and highest slices contain no region
    assert np.ptp(stated) > 0.75 * np.ptp(run.slice_times_s)
    assert np.abs(measured - stated).max() < 0.15


def test_volumes_before_the_steady_state_are_brighter(head, atlas):
    spec = replace(SPEC, n_dummy=2)
    run = run_of(head, atlas, spec, np.zeros((6, 300)), motion=still(6))
    means = run.image.data.mean(axis=(0, 1, 2)) / run.image.data[..., 2:].mean()
    assert means[0] > 1.2
    assert 1.05 < means[1] < means[0]
    assert np.abs(means[2:] - 1).max() < 0.02
    assert run.n_dummy == 2


def test_regions_carry_their_series(head, atlas):
    series = draw_series(np.eye(300), 80, SPEC.t_r_s, np.random.default_rng(1))
    series[:, 1:] = 0  # a signal in one region only
    run, nothing = (run_of(head, atlas, SPEC, s, motion=still(80)) for s in (series, 0 * series))
    # with the same seed, everything else cancels in the difference
    change = run.image.data.astype(float) - nothing.image.data
    found = region_map(head, atlas).at(run.image.points(), order=0)
    own, other = (change.reshape(-1, 80)[found == k, 4:].mean(axis=0) for k in (0, 9))
    assert np.corrcoef(own, series[4:, 0])[0, 1] > 0.9
    assert own.std() / 1000 / SPEC.amplitude == pytest.approx(series[4:, 0].std(), rel=0.3)
    assert np.abs(other).max() == 0


def test_fluid_and_white_matter_explain_the_physiology_of_grey_matter(head, atlas):
    run = run_of(head, atlas, SPEC, np.zeros((80, 300)), motion=still(80))
    points = run.image.points()
    data = run.image.data.reshape(-1, 80)[:, 3:].astype(float)
    shares = [t.at(points) for t in head.tissues[:3]]
    csf, grey, white = (data[share > 0.9].mean(axis=0) for share in shares)
    x = np.column_stack(
        [csf, white, np.ones(77), np.linspace(-1, 1, 77), np.linspace(-1, 1, 77) ** 2]
    )
    rest = grey - x @ np.linalg.lstsq(x, grey, rcond=None)[0]
    assert rest.var() < 0.3 * grey.var()


def test_a_wrong_number_of_series_is_refused(head, atlas):
    with pytest.raises(InputError, match="give one for each region"):
        run_of(head, atlas, SPEC, np.zeros((5, 7)))


def test_motion_has_the_given_framewise_displacement():
    rng = np.random.default_rng(2)
    calm = draw_motion(100, replace(SPEC, fd_mm=0.15, spikes=0.0), rng)
    assert np.nanmean(framewise_displacement(calm)) == pytest.approx(0.15)
    assert not calm[0].any()
    jumpy = draw_motion(400, replace(SPEC, spikes=0.05), rng)
    assert 5 < (framewise_displacement(jumpy)[1:] > 0.5).sum() < 80


@pytest.mark.slow
def test_the_same_seed_gives_the_same_images(atlas):
    def draw():
        rng = np.random.default_rng(11)
        drawn = draw_head(SPEC, rng)
        pose = draw_pose(SPEC, rng)
        image = draw_t1w(drawn, pose, SPEC, rng)
        run = draw_bold(drawn, SPEC, rng.standard_normal((4, 300)), atlas, pose=pose, rng=rng)
        return image.data, run.image.data, run.motion

    assert all(np.array_equal(a, b) for a, b in zip(draw(), draw(), strict=True))


# ------------------------------------------------------------------------------ complete study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw") / "study"
    return write_simulated_raw_data_set(
        folder, PlantedTruth("shift"), rng=np.random.default_rng(7), spec=SMALL, head=SPEC
    )


@pytest.mark.slow
def test_files_and_sidecars_are_consistent(study):
    assert (study.n_participants, study.n_runs, study.expected) == (2, 3, ("global",))
    images = sorted(p.name for p in study.root.rglob("*.nii.gz"))
    assert len([n for n in images if n.endswith("_T1w.nii.gz")]) == 3
    assert len([n for n in images if n.endswith("_task-rest_bold.nii.gz")]) == 3
    truth = json.loads((study.root / "truth.json").read_text())
    assert set(truth["runs"]) == {n[: -len("_bold.nii.gz")] for n in images if "_bold" in n}
    assert truth["realised"]["n_treated"] == 1
    for path in study.root.rglob("*_bold.nii.gz"):
        image = nib.load(path)
        sidecar = json.loads(path.with_name(path.name[:-7] + ".json").read_text())
        assert image.shape[3] == 20
        assert image.header.get_zooms()[3] == sidecar["RepetitionTime"] == 2.0
        assert len(sidecar["SliceTiming"]) == image.shape[2]
        assert max(sidecar["SliceTiming"]) < 2.0
        motion = np.array(truth["runs"][path.name[: -len("_bold.nii.gz")]]["motion"])
        assert motion.shape == (20, 6)


@pytest.mark.slow  # since this test may be the first to create the study
def test_an_existing_study_is_not_overwritten(study):
    with pytest.raises(InputError, match="is not empty"):
        write_simulated_raw_data_set(
            study.root, PlantedTruth("shift"), rng=np.random.default_rng(7)
        )


@pytest.mark.slow
def test_the_same_seed_gives_the_same_study(study, tmp_path):
    again = write_simulated_raw_data_set(
        tmp_path / "b", PlantedTruth("shift"), rng=np.random.default_rng(7), spec=SMALL, head=SPEC
    )
    for path in sorted(p for p in study.root.rglob("*") if p.is_file()):
        assert (again.root / path.relative_to(study.root)).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_the_study_is_valid_bids(study):
    done = subprocess.run([VALIDATOR, str(study.root)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[ERROR]" not in done.stdout
