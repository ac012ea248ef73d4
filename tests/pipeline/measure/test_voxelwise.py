"""Voxel statistics, seed maps and carpet rows that are collected during the pass over a run."""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.io import images
from circuitshift.pipeline.io.nifti import Header, read_header
from circuitshift.pipeline.measure import denoise, extract
from circuitshift.pipeline.measure import voxelwise as voxels

AFFINE = np.array([[-2.0, 0, 0, 19], [0, 2, 0, -20], [0, 0, 2.5, -18], [0, 0, 0, 1]])
T_R_S = 2.0


@pytest.fixture
def run(tmp_path):
    """Write a small image with scaling and its mask; return folder, stored values and mask."""
    rng = np.random.default_rng(3)
    values = 500 + 20 * rng.standard_normal((9, 8, 7, 80)) + 30 * rng.random((9, 8, 7, 1))
    values[:, :, 3] += 8 * np.sin(np.arange(80) / 3)
    values[..., :4] += 300  # before the steady state
    values[0, 0, 0] = 77.0  # constant
    mask = np.ones((9, 8, 7), bool)
    mask[-1] = False
    images.write(tmp_path / "bold.nii.gz", images.Image(values, AFFINE), t_r_s=T_R_S)
    images.write(tmp_path / "mask.nii.gz", images.Image(mask, AFFINE))
    stored = np.asarray(images.read(tmp_path / "bold.nii.gz").data, float)
    return tmp_path, stored, mask


def collected(folder, mask, *, n_dummy=0):
    path = folder / "bold.nii.gz"
    collector = voxels.VoxelPass(read_header(path), mask, n_dummy=n_dummy)
    extract.extract(path, [], followers=[collector])
    return collector.blocks()


def test_collected_statistics_equal_those_of_the_complete_array(run):
    folder, values, mask = run
    blocks = collected(folder, mask, n_dummy=4)
    steady = values[..., 4:]
    with np.errstate(divide="ignore"):
        tsnr = steady.mean(axis=-1) / steady.std(axis=-1)
    tsnr[~np.isfinite(tsnr)] = np.nan
    assert blocks.median_tsnr == pytest.approx(np.nanmedian(tsnr[mask]), rel=1e-4)
    assert blocks.shape == (5, 4, 4)  # 2 x 2 x 2 voxels
    for number in (0, 7, blocks.index.size - 1):
        i, j, k = np.unravel_index(blocks.index[number], blocks.shape)
        box = np.s_[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 2 * k : 2 * k + 2]
        own = mask[box]
        np.testing.assert_allclose(
            blocks.series[:, number], values[box][own].mean(axis=0), rtol=1e-6
        )
        assert blocks.mean[number] == pytest.approx(steady[box][own].mean(), rel=1e-6)
        assert blocks.tsnr[number] == pytest.approx(np.nanmean(tsnr[box][own]), rel=1e-5)
        centre = AFFINE[:3, :3] @ (2 * np.array([i, j, k]) + 0.5) + AFFINE[:3, 3]
        np.testing.assert_allclose(blocks.centres_mm()[number], centre)
    assert set(np.flatnonzero(blocks.of_voxel < 0)) == set(np.flatnonzero(~mask.ravel(order="F")))


def test_long_runs_have_wider_blocks(run, monkeypatch):
    folder, _, mask = run
    monkeypatch.setattr(voxels, "_MAX_VALUES", 80 * 12)
    assert collected(folder, mask).index.size <= 12


def header_of(grid, zoom_mm, n_volumes):
    affine = np.diag([zoom_mm, zoom_mm, zoom_mm, 1.0])
    return Header(Path("b.nii"), (*grid, n_volumes), np.dtype("i2"), 1.0, 0.0, affine, 2.0, 352)


@pytest.mark.parametrize(("zoom_mm", "radius", "n_volumes"), [(3, 25, 240), (2, 37, 900)])
def test_the_series_of_blocks_do_not_exceed_their_limit(zoom_mm, radius, n_volumes):
    ijk = np.indices((2 * radius + 1,) * 3) - radius
    mask = (ijk**2).sum(axis=0) <= radius**2
    header = header_of(mask.shape, zoom_mm, n_volumes)
    steps = voxels._steps(header, mask)
    n_blocks = voxels.VoxelPass(header, mask)._index.size
    assert n_blocks * n_volumes <= voxels._MAX_VALUES
    assert n_blocks == voxels._n_blocks(mask, steps)
    assert max(steps) == min(steps) <= 6  # blocks of at most 12 mm


@pytest.mark.parametrize(
    ("zoom_mm", "expected"), [(2.0, 2), (2.5, 2), (3.0, 1), (4.0, 1), (6.0, 1)]
)
def test_blocks_of_short_runs_are_about_4_mm_wide(zoom_mm, expected):
    mask = np.ones((20, 20, 20), bool)
    assert voxels._steps(header_of(mask.shape, zoom_mm, 200), mask) == (expected,) * 3


def test_a_run_with_more_volumes_than_the_limit_has_one_block(monkeypatch):
    mask = np.ones((4, 4, 4), bool)
    monkeypatch.setattr(voxels, "_MAX_VALUES", 90)
    assert voxels._n_blocks(mask, voxels._steps(header_of(mask.shape, 2.0, 100), mask)) == 1


def test_seed_maps_are_correlations_of_denoised_series(run, monkeypatch):
    folder, values, mask = run
    blocks = collected(folder, mask)
    rng = np.random.default_rng(1)
    keep = np.ones(80, bool)
    keep[[0, 1, 2, 3, 40]] = False
    noise = rng.standard_normal((80, 3))
    regressors = denoise.Regressors(noise, ("a", "b", "c"), keep, np.full(80, 0.1), 4)
    strategy = denoise.load_strategies()["24p"]
    spheres = values[3:7, 2, 3].T.copy()  # PCC, left DLPFC, both amygdalae
    spheres[:, 1] = np.nan
    monkeypatch.setattr(voxels, "_CHUNK", 7)
    maps = voxels.seed_maps(blocks, spheres, regressors, strategy, t_r_s=T_R_S)
    assert list(maps) == ["PCC", "amygdala"]
    series = np.column_stack([spheres[:, 2:].mean(axis=1), blocks.series])
    base = np.column_stack([np.ones(75), np.linspace(-1, 1, 75)])
    flat = series[keep] - base @ np.linalg.lstsq(base, series[keep], rcond=None)[0]
    out = noise[keep] - base @ np.linalg.lstsq(base, noise[keep], rcond=None)[0]
    rest = flat - out @ np.linalg.lstsq(out, flat, rcond=None)[0]
    alive = rest.std(axis=0) > 1e-9
    expected = np.corrcoef(rest[:, alive].T)[0]
    np.testing.assert_allclose(maps["amygdala"][alive[1:]], expected[1:], atol=1e-5)
    assert np.abs(maps["PCC"]).max() <= 1


def test_blocks_have_the_most_frequent_network_and_networks_share_the_rows(run):
    folder, _, mask = run
    blocks = collected(folder, mask)
    at = AFFINE[:3, :3] @ [2.0, 2.0, 2.0] + AFFINE[:3, 3]
    regions = (
        Region(1, "a", network="Deep", xyz_mm=tuple(at), radius_mm=3.0),
        Region(2, "b", network="", xyz_mm=tuple(np.add(at, [-8, 8, 5])), radius_mm=3.0),
    )
    parcels = extract.parcellate(Atlas("Two", regions, "spheres"), AFFINE, mask.shape, mask)
    names = voxels.block_networks(blocks, parcels)
    centre = int(np.flatnonzero(blocks.index == np.ravel_multi_index((1, 1, 1), blocks.shape))[0])
    assert names[centre] == "Deep"
    assert set(names) == {"Deep", "no network", ""}
    kinds = ["x"] * 90 + ["y"] * 10 + [""] * 50
    rows, shown = voxels.carpet_rows(kinds, ["y", "x"], [], most=50)
    assert shown == ("y",) * 5 + ("x",) * 45
    assert len(set(rows.tolist())) == 50
    assert voxels.carpet_rows(["x"], ["y"], [], most=5)[0].size == 0
    # networks have two thirds of the rows, also if most blocks are white matter; if there are too
    # few blocks in networks or tissues, the other has more rows
    kinds = ["a"] * 60 + ["white"] * 9000
    assert voxels.carpet_rows(kinds, ["a"], ["white"], most=60)[1].count("a") == 40
    assert voxels.carpet_rows(kinds, ["a"], ["white"], most=300)[1].count("a") == 60
    assert voxels.carpet_rows(kinds[:80], ["a"], ["white"], most=60)[1].count("white") == 20
    assert len(voxels.carpet_rows(kinds[:65], ["a"], ["white"], most=60)[1]) == 60
