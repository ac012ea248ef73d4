"""Simulated runs: regions carry their series, and denoising removes motion and physiology."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.preproc.confounds import framewise_displacement
from circuitshift.pipeline.validation.simulate.bold_run import (
    SIGNAL_UNITS,
    Grid,
    confounds_table,
    draw_nuisance,
    draw_series,
    make_grid,
    paint,
    write_image,
)
from circuitshift.pipeline.validation.simulate.truth import Population, participant_correlation


def edges_z(series: np.ndarray) -> np.ndarray:
    return np.arctanh(np.corrcoef(series.T)[np.triu_indices(series.shape[1], 1)])


def region_means(image: np.ndarray, grid: Grid) -> np.ndarray:
    values = image.reshape(len(image), -1)[:, grid.voxels].astype(float)
    count = np.bincount(grid.region)
    return np.stack([np.bincount(grid.region, row) / count for row in values])


# ------------------------------------------------------------------------------ grid


@pytest.mark.parametrize("voxel_mm", [5.0, 4.0])
def test_every_region_has_voxels_near_its_centre(atlas: Atlas, voxel_mm: float) -> None:
    grid = make_grid(atlas, voxel_mm)
    count = np.bincount(grid.region, minlength=len(atlas.regions))
    assert count.min() >= 1
    assert len(set(grid.voxels.tolist())) == grid.voxels.size
    away = np.linalg.norm(grid.centres_mm - atlas.centres_mm(), axis=1)
    assert away.max() <= 5
    assert grid.brain.ravel()[grid.voxels].all()


def test_a_grid_that_is_too_coarse_is_refused(atlas: Atlas) -> None:
    with pytest.raises(InputError, match=r"regions have no voxel at 12 mm \(.*smaller voxels"):
        make_grid(atlas, 12.0)


def test_regions_of_a_label_image_lie_where_the_image_has_them(tmp_path: Path) -> None:
    values = np.zeros((40, 48, 42), np.int16)
    affine = np.diag([-4.0, 4.0, 4.0, 1.0])  # x runs to the left, in contrast to the grid
    affine[:3, 3] = [78, -110, -74]
    values[10:13, 20:23, 20:23], values[25:28, 20:23, 20:23] = 900, 7
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "dseg.nii.gz")
    regions = (
        Region(900, "right", xyz_mm=(34.0, -26.0, 10.0)),
        Region(7, "left", xyz_mm=(-26.0, -26.0, 10.0)),
    )
    atlas = Atlas("Two", regions, "labels", image=tmp_path / "dseg.nii.gz")
    grid = make_grid(atlas, 4.0)
    assert grid.centres_mm == pytest.approx(atlas.centres_mm(), abs=4)


def test_an_atlas_without_positions_is_refused() -> None:
    atlas = Atlas("Names", (Region(1, "a"),), "table")
    with pytest.raises(InputError, match="for an atlas of kind table"):
        make_grid(atlas, 5.0)


# ------------------------------------------------------------------------------ signal and noise


def test_series_have_the_given_correlation_and_a_slow_spectrum(baseline: np.ndarray) -> None:
    correlation = baseline[:40, :40]
    series = draw_series(correlation, 6000, 2.0, np.random.default_rng(0))
    assert series.shape == (6000, 40)
    # 780 edges, about 2500 independent samples
    assert np.abs(np.corrcoef(series.T) - correlation).max() < 0.12
    assert edges_z(series).mean() == pytest.approx(
        np.arctanh(correlation[np.triu_indices(40, 1)]).mean(), abs=0.02
    )
    assert series.var(0).mean() == pytest.approx(1, abs=0.05)
    power = (np.abs(np.fft.rfft(series, axis=0)) ** 2).mean(axis=1)
    frequency = np.fft.rfftfreq(6000, 2.0)
    expected = 0.03 + 1 / (1 + (frequency / 0.08) ** 4)
    low, high = (frequency > 0.01) & (frequency < 0.06), frequency > 0.2
    ratio = power[high].mean() / power[low].mean()
    assert ratio == pytest.approx(expected[high].mean() / expected[low].mean(), rel=0.05)


def test_motion_has_the_given_framewise_displacement(grid: Grid) -> None:
    rng = np.random.default_rng(1)
    calm = draw_nuisance(grid, 100, 2.0, fd_mm=0.2, spikes=0.0, rng=rng)
    assert np.nanmean(framewise_displacement(calm.motion)) == pytest.approx(0.2)
    assert not calm.motion[0].any()
    assert calm.leak.shape == (100, 300)
    jumps = draw_nuisance(grid, 400, 2.0, fd_mm=0.1, spikes=0.05, rng=rng)
    # jumps have a size of 0.6 to 1.6 mm in 5 % of the volumes, and the return counts as well
    assert 10 < (framewise_displacement(jumps.motion)[1:] > 0.5).sum() < 80


# ------------------------------------------------------------------------------ image


def test_the_mean_of_a_regions_voxels_is_its_series(grid: Grid, baseline: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    series = draw_series(baseline, 60, 2.0, rng)
    image = paint(grid, series, n_dummy=0, rng=rng)
    means = region_means(image, grid)
    scaled = (means - means.mean(0)) / SIGNAL_UNITS
    assert image.dtype == np.int16
    assert np.abs(scaled - (series - series.mean(0))).max() < 0.06  # rounding to integers
    assert edges_z(scaled) == pytest.approx(edges_z(series), abs=0.06)
    assert abs((edges_z(scaled) - edges_z(series)).mean()) < 0.001
    noise = image.reshape(60, -1)[:, grid.voxels].astype(float) - means[:, grid.region]
    assert noise.std() > 2  # voxels of a region differ


def test_voxels_out_of_view_are_zero_and_initial_volumes_are_brighter(
    grid: Grid, baseline: np.ndarray
) -> None:
    rng = np.random.default_rng(0)
    seen = np.ones(grid.brain.shape, bool)
    seen[grid.z_mm < -36] = False
    series = draw_series(baseline, 20, 2.0, rng)
    image = paint(grid, series, n_dummy=2, seen=seen, rng=rng)
    assert not image[:, grid.z_mm < -36].any()
    level = image[:, grid.brain & seen].mean(1)
    assert level[0] > level[1] > 1.05 * level[2:].mean()


def test_an_image_is_written_with_its_position_and_repetition_time(
    tmp_path: Path, grid: Grid
) -> None:
    data = np.random.default_rng(0).integers(0, 900, (3, *grid.brain.shape)).astype(np.int16)
    for name in ("a.nii.gz", "b.nii.gz"):
        write_image(tmp_path / name, data, grid, 2.5)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    image = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, data)
    np.testing.assert_allclose(image.affine, grid.affine)
    assert image.header.get_zooms() == pytest.approx((5, 5, 5, 2.5))
    write_image(tmp_path / "mask.nii.gz", grid.brain.astype(np.uint8), grid)
    mask = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj).T > 0, grid.brain)


# ------------------------------------------------------------------------------ confounds


def test_motion_raises_edges_until_denoising_removes_it(grid: Grid, population: Population) -> None:
    none = (0.0, np.zeros_like(population.loadings))
    truth = participant_correlation(population, none, none, patient=True)
    means: dict[float, list[tuple[float, float]]] = {0.1: [], 0.4: []}
    for fd_mm, runs in means.items():
        for seed in range(8):
            rng = np.random.default_rng(seed)
            nuisance = draw_nuisance(grid, 150, 2.0, fd_mm=fd_mm, spikes=0.01, rng=rng)
            neural = draw_series(truth, 150, 2.0, np.random.default_rng(100 + seed))
            image = paint(grid, neural + nuisance.leak, n_dummy=0, rng=rng)
            columns, _ = confounds_table(nuisance, image, grid, 2.0)
            prefixes = ("trans", "rot", "a_comp_cor", "cosine")
            picked = [np.nan_to_num(v) for k, v in columns.items() if k.startswith(prefixes)]
            design = np.column_stack([np.ones(150), *picked])
            raw = region_means(image, grid)
            clean = raw - design @ np.linalg.lstsq(design, raw, rcond=None)[0]
            runs.append((edges_z(raw).mean(), edges_z(clean).mean()))
    little, much = np.mean(means[0.1], axis=0), np.mean(means[0.4], axis=0)
    assert much[0] > little[0] + 0.03
    assert abs(much[1] - little[1]) < 0.005
    assert much[1] == pytest.approx(np.arctanh(truth[population.edges]).mean(), abs=0.02)


def test_confounds_describe_the_image_and_the_motion(grid: Grid) -> None:
    rng = np.random.default_rng(6)
    nuisance = draw_nuisance(grid, 60, 2.0, fd_mm=0.2, spikes=0.05, rng=rng)
    image = paint(grid, nuisance.leak, n_dummy=2, rng=rng)
    columns, meta = confounds_table(nuisance, image, grid, 2.0, n_dummy=2)
    np.testing.assert_array_equal(columns["trans_x"], nuisance.motion[:, 0])
    np.testing.assert_array_equal(columns["rot_z"], nuisance.motion[:, 5])
    fd = framewise_displacement(nuisance.motion)
    np.testing.assert_array_equal(columns["framewise_displacement"], fd)
    assert columns["non_steady_state_outlier01"].tolist() == [0, 1, *[0] * 58]
    assert (columns["a_comp_cor_00"][:2] == 0).all()
    brain = image.reshape(60, -1)[2:, grid.brain.ravel()].mean(axis=1)
    assert np.corrcoef(columns["global_signal"][2:], brain)[0, 1] > 0.999
    marked = sum(v for k, v in columns.items() if k.startswith("motion_outlier"))
    assert (marked[1:][fd[1:] > 0.5] == 1).all()
    assert {m["Mask"] for m in meta.values() if m["Method"] == "aCompCor"} == {
        "CSF",
        "WM",
        "combined",
    }
