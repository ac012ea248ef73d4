"""The raw phantom: what it says of its images is so, and the study is valid raw BIDS."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from circuitshift.atlases.load import load_atlas
from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.images import Image, axis_codes
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.confounds import framewise_displacement
from circuitshift.pipeline.preproc.template import load_template
from circuitshift.pipeline.validation.simulate.bold_run import draw_series
from circuitshift.pipeline.validation.simulate.head import (
    Head,
    HeadSpec,
    draw_head,
    draw_pose,
    draw_t1w,
)
from circuitshift.pipeline.validation.simulate.raw_data_set import (
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


@pytest.fixture(scope="module")
def head() -> Head:
    return draw_head(SPEC, np.random.default_rng(3))


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return load_atlas("seitzman300")


def still(n_volumes: int) -> np.ndarray:
    return np.zeros((n_volumes, 6))


def run_of(head, atlas, spec, series, **more):
    more = {"pose": np.eye(4), "rng": np.random.default_rng(5), **more}
    return draw_bold(head, spec, series, atlas, **more)


# ------------------------------------------------------------------------------ the head


def test_the_mapping_and_its_inverse_agree(head):
    points = head.tissues[0].points()[np.asarray(head.tissues[1].data).ravel() > 0.5][::20]
    again = head.from_template(head.to_template(points))
    apart = np.linalg.norm(again - points, axis=1)
    assert np.median(apart) < 0.2
    assert np.percentile(apart, 99) < 0.5
    assert np.linalg.norm(head.to_template(points) - points, axis=1).mean() > 2


def test_the_brain_has_a_brains_size_and_lies_in_a_head(head):
    size = np.prod(head.tissues[0].zooms) / 1e6
    litres = [float(np.asarray(t.data).sum() * size) for t in head.tissues]
    # the template's brain is 1.89 l, larger than most, and heads are up to 1.05**3 larger
    template = load_template().mask.sum() / 1e6
    assert 1.1 < sum(litres[:3]) < 2.2
    expected = template / np.linalg.det(head.affine[:3, :3])
    assert sum(litres[:3]) == pytest.approx(expected, rel=0.05)
    assert min(litres[3:]) > 0.1


def test_grey_matter_lies_where_the_template_has_it(head):
    prior = load_template().priors[1]
    grey = np.asarray(head.tissues[1].data).ravel() > 0.8
    where = head.to_template(head.tissues[0].points()[grey])
    assert prior.at(where).min() > 0.6


@pytest.mark.parametrize("k", [0, 120, 240])
def test_regions_lie_where_the_template_has_them(head, atlas, k):
    regions = region_map(head, atlas)
    own = regions.points()[np.asarray(regions.data).ravel() == k]
    region = atlas.regions[k]
    apart = np.linalg.norm(head.to_template(own) - region.xyz_mm, axis=1)
    assert len(own)
    assert apart.max() <= region.radius_mm


def test_regions_of_a_label_image(head, tmp_path):
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


def test_an_atlas_without_places_is_refused(head):
    with pytest.raises(InputError, match="cannot be planted in an atlas of kind table"):
        region_map(head, Atlas("names", (Region(1, "a"),), "table"))


def test_a_t1w_image_shows_a_head(head):
    image = draw_t1w(head, np.eye(4), SPEC, np.random.default_rng(0))
    assert image.data.dtype == np.int16
    assert axis_codes(image.affine) == "RAS"
    means = [
        np.asarray(image.data)[
            (tissue.onto(image).data > 0.95) & (image.points()[:, 2] > 0).reshape(image.grid)
        ].mean()
        for tissue in head.tissues[:4]
    ]
    csf, grey, white, skull = means
    assert skull < csf < grey < white


# ------------------------------------------------------------------------------ runs


def test_the_grid_runs_to_left_anterior_superior(head, atlas):
    run = run_of(head, atlas, SPEC, np.zeros((2, 300)), motion=still(2))
    assert axis_codes(run.image.affine) == "LAS"
    assert run.image.data.dtype == np.int16
    assert np.allclose(run.image.zooms, 4)


@pytest.mark.parametrize("axis", range(3))
def test_the_head_moves_as_the_motion_says(head, atlas, axis):
    motion = still(2)
    motion[1, axis] = 6.0
    run = run_of(head, atlas, QUIET, np.zeros((2, 300)), motion=motion)
    # the top of the head: nothing that the field of view cuts
    top = run.image.points()[:, 2] > run.centre_mm[2]
    data = run.image.data.reshape(-1, 2).astype(float)
    if axis == 2:  # the half space would not move along
        first, second = (edge_above(run.image, v) for v in range(2))
        assert second - first == pytest.approx(6, abs=0.5)
        return
    weighted = [
        (run.image.points()[top, axis] * data[top, v]).sum() / data[top, v].sum() for v in range(2)
    ]
    assert weighted[1] - weighted[0] == pytest.approx(6, abs=0.5)


def edge_above(image: Image, volume: int) -> float:
    """Height at which the mean intensity falls to half its most, above the middle, mm."""
    profile = image.data[..., volume].mean(axis=(0, 1))
    heights = image.affine[2, 3] + image.affine[2, 2] * np.arange(image.grid[2])
    upper = np.argmax(profile)
    falling = profile[upper:]
    return float(np.interp(-falling[0] / 2, -falling, heights[upper:]))


def test_rotations_turn_the_head_as_the_motion_says(head, atlas):
    motion = still(2)
    motion[1, 3:] = [0.1, -0.05, 0.15]
    motion[1, :3] = [3, -2, 1]
    run = run_of(head, atlas, QUIET, np.zeros((2, 300)), motion=motion)
    first, second = (run.image.like(run.image.data[..., v].astype(np.float32)) for v in range(2))
    points = run.image.points()
    near = np.linalg.norm(points - run.centre_mm, axis=1) < 60
    points = points[near]
    right = transforms.matrix_of(motion[1], run.centre_mm)
    wrong = np.linalg.inv(right)

    def likeness(matrix):
        return np.corrcoef(second.at(transforms.apply(matrix, points)), first.at(points))[0, 1]

    assert likeness(right) > 0.85
    assert likeness(right) > likeness(np.eye(4)) + 0.2
    assert likeness(right) > likeness(wrong) + 0.2


def test_a_session_moves_the_head_by_its_pose(head, atlas):
    pose = transforms.matrix_of([8, -6, 5, 0, 0, 0])
    run = run_of(head, atlas, QUIET, np.zeros((2, 300)), motion=still(2), pose=pose)
    assert np.allclose(run.centre_mm - brain_centre(head), [8, -6, 5])
    share = np.asarray(sum(t.data for t in head.tissues[:3]), np.float32)
    blurred = ndimage.gaussian_filter(share, 1.5)  # of 2 mm: a voxel sees its neighbours
    brain = head.tissues[0].like(np.minimum(share, blurred))
    points = run.image.points()
    inside = brain.at(transforms.apply(np.linalg.inv(pose), points)) > 0.95
    assert inside.sum() > 10_000
    # skull and scalp are darker than any brain
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
    # the same seed: physiology and drift fall out of the difference
    change = run.image.data.astype(float) - first.image.data
    basis = np.exp(-2j * np.pi * hertz * seconds[5:-5])
    found = []
    for k in range(run.image.grid[2]):
        voxels = change[:, :, k, 5:-5].reshape(-1, n_volumes - 10)
        voxels = voxels[voxels.std(axis=1) > 5]
        if len(voxels) > 20:
            phase = np.angle((voxels.mean(axis=0) * basis).sum()) + np.pi / 2
            found.append((run.slice_times_s[k], phase / (2 * np.pi * hertz)))
    said, seen = np.array(found).T
    assert len(said) > 20
    # no region lies in the lowest and highest slices
    assert np.ptp(said) > 0.75 * np.ptp(run.slice_times_s)
    assert np.abs(seen - said).max() < 0.15


def test_the_first_volumes_are_brighter(head, atlas):
    spec = replace(SPEC, n_dummy=2)
    run = run_of(head, atlas, spec, np.zeros((6, 300)), motion=still(6))
    means = run.image.data.mean(axis=(0, 1, 2)) / run.image.data[..., 2:].mean()
    assert means[0] > 1.2
    assert 1.05 < means[1] < means[0]
    assert np.abs(means[2:] - 1).max() < 0.02
    assert run.n_dummy == 2


def test_regions_carry_their_series(head, atlas):
    series = draw_series(np.eye(300), 80, SPEC.t_r_s, np.random.default_rng(1))
    series[:, 1:] = 0  # one region alone
    run, nothing = (run_of(head, atlas, SPEC, s, motion=still(80)) for s in (series, 0 * series))
    # the same seed: all else falls out of the difference
    change = run.image.data.astype(float) - nothing.image.data
    found = region_map(head, atlas).at(run.image.points(), order=0)
    own, other = (change.reshape(-1, 80)[found == k, 4:].mean(axis=0) for k in (0, 9))
    assert np.corrcoef(own, series[4:, 0])[0, 1] > 0.9
    assert own.std() / 1000 / SPEC.amplitude == pytest.approx(series[4:, 0].std(), rel=0.3)
    assert np.abs(other).max() == 0


def test_fluid_and_white_matter_show_the_physiology_of_grey_matter(head, atlas):
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


def test_the_wrong_number_of_series_is_refused(head, atlas):
    with pytest.raises(InputError, match="give one for each region"):
        run_of(head, atlas, SPEC, np.zeros((5, 7)))


def test_motion_is_as_large_as_asked():
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
        person = draw_head(SPEC, rng)
        pose = draw_pose(SPEC, rng)
        image = draw_t1w(person, pose, SPEC, rng)
        run = draw_bold(person, SPEC, rng.standard_normal((4, 300)), atlas, pose=pose, rng=rng)
        return image.data, run.image.data, run.motion

    assert all(np.array_equal(a, b) for a, b in zip(draw(), draw(), strict=True))


@pytest.mark.slow
def test_a_long_run_is_quick(head, atlas, capsys):
    spec = HeadSpec()
    series = np.random.default_rng(0).standard_normal((120, 300))
    start = time.perf_counter()
    run = run_of(head, atlas, spec, series)
    with capsys.disabled():
        print(f"\n120 volumes of {run.image.grid}: {time.perf_counter() - start:.1f} s")


# ------------------------------------------------------------------------------ the study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw") / "study"
    return write_simulated_raw_data_set(
        folder, PlantedTruth("shift"), rng=np.random.default_rng(7), spec=SMALL, head=SPEC
    )


@pytest.mark.slow
def test_files_of_the_study(study):
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


@pytest.mark.slow  # as it may be the first to make the study
def test_a_study_is_not_written_over_another(study):
    with pytest.raises(InputError, match="not empty"):
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
