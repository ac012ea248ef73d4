"""Regional series: comparison with nilearn, coverage, memory, and invalid images."""

import gzip
import subprocess
import sys
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.measure.extract import extract, parcellate, read_mask, signal_level

SHAPE = (11, 12, 10)
N_VOLUMES = 14
AFFINE = np.array([[2.0, 0, 0, -10], [0, 2, 0, -12], [0, 0, 2, -8], [0, 0, 0, 1]])
VALUES = (512, 3, 129, 40)  # sparse, unsorted, above what int8 holds


def save(path, values, affine=AFFINE, *, slope=None):
    """Save an image; with a slope, as the nearest numbers that its type can hold."""
    image = nib.Nifti1Image(values, affine)
    if slope:
        image.header.set_slope_inter(*slope)
    image.header.set_zooms((*image.header.get_zooms()[:3], 2.0)[: values.ndim])
    nib.save(image, path)
    return path


def label_image(shape=SHAPE, seed=3):
    """Return labels in slabs, with ragged edges and values of no region."""
    rng = np.random.default_rng(seed)
    slabs = np.array([0, *VALUES, 77], "i2")[np.arange(shape[0]) * 6 // shape[0]]
    labels = np.broadcast_to(slabs[:, None, None], shape).copy()
    labels[rng.random(shape) < 0.2] = 0
    return labels


def series_image(seed=4, dtype="i2"):
    """Return noise about a baseline that differs between voxels."""
    rng = np.random.default_rng(seed)
    base = rng.random((*SHAPE, 1)) * 900
    return (base + rng.standard_normal((*SHAPE, N_VOLUMES)) * 20 + 100).astype(dtype)


def label_atlas(path, values=VALUES):
    return Atlas("Toy", tuple(Region(v, f"r{v}") for v in values), "labels", image=path)


def sphere_atlas(*spheres):
    """Make an atlas of (xyz, radius) pairs."""
    regions = (Region(n, f"s{n}", xyz_mm=xyz, radius_mm=r) for n, (xyz, r) in enumerate(spheres, 1))
    return Atlas("Toy", tuple(regions), "spheres")


@pytest.fixture
def mask(tmp_path):
    """Return a mask that cuts into every region, saved too."""
    inside = np.random.default_rng(5).random(SHAPE) > 0.25
    save(tmp_path / "mask.nii.gz", inside.astype("u1"))
    return inside


def nilearn_labels(run, labels, mask_path):
    """Return nilearn's means, in the order of `VALUES`."""
    from nilearn.maskers import NiftiLabelsMasker

    masker = NiftiLabelsMasker(labels, mask_img=mask_path, standardize=None)
    series = masker.fit_transform(str(run))
    found = [value for key, value in masker.region_ids_.items() if key != "background"]
    return series[:, [found.index(value) for value in VALUES]]


WAYS = {
    "int16 scaled": ("run.nii.gz", "i2", (0.37, -12.0), "<"),
    "float32": ("run.nii.gz", "f4", None, "<"),
    "float64": ("run.nii.gz", "f8", None, "<"),
    "uint8": ("run.nii.gz", "u1", None, "<"),
    "big-endian": ("run.nii.gz", "i2", (2.0, 5.0), ">"),
    "uncompressed": ("run.nii", "i2", None, "<"),
}


@pytest.mark.filterwarnings("ignore")  # nilearn's own
@pytest.mark.parametrize("way", WAYS)
def test_labels_equal_nilearn(tmp_path, mask, way):
    name, dtype, slope, order = WAYS[way]
    values = series_image(dtype="i2") % 250 if dtype == "u1" else series_image()
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(dtype)
    image = nib.Nifti1Image(values.astype(dtype), AFFINE, header)
    if slope:
        image.header.set_slope_inter(*slope)
    nib.save(image, tmp_path / name)
    labels = save(tmp_path / "labels.nii.gz", label_image())
    parcels = parcellate(label_atlas(labels), AFFINE, (*SHAPE, N_VOLUMES), mask)
    found = extract(tmp_path / name, [parcels])
    reference = nilearn_labels(tmp_path / name, str(labels), str(tmp_path / "mask.nii.gz"))
    rtol = 1e-7 if dtype == "f4" else 0  # nilearn hands float32 means of a float32 run back
    np.testing.assert_allclose(found.series[0], reference, rtol=rtol, atol=1e-6)
    if way == "big-endian":
        assert found.header.dtype.byteorder == ">"


GRIDS = {
    "finer": ((22, 24, 20), np.diag([1.0, 1, 1, 1]), (-10.5, -12.5, -8.5)),
    "coarser, cut": ((7, 8, 6), np.diag([3.0, 3, 3, 1]), (-9.0, -11.0, -7.5)),
    "flipped": ((22, 24, 20), np.diag([-1.0, 1, 1, 1]), (11.0, -12.0, -8.0)),
    "oblique": ((22, 24, 20), np.eye(4) + np.eye(4, k=1) * 0.07, (-10.3, -12.2, -8.1)),
}


@pytest.mark.filterwarnings("ignore")  # nilearn's own
@pytest.mark.parametrize("grid", GRIDS)
def test_labels_on_another_grid_equal_nilearn(tmp_path, mask, grid):
    shape, affine, origin = GRIDS[grid]
    affine = affine.copy()
    affine[:3, 3] = origin
    labels = save(tmp_path / "labels.nii.gz", label_image(shape), affine)
    run = save(tmp_path / "run.nii.gz", series_image())
    parcels = parcellate(label_atlas(labels), AFFINE, SHAPE, mask)
    reference = nilearn_labels(run, str(labels), str(tmp_path / "mask.nii.gz"))
    np.testing.assert_allclose(extract(run, [parcels]).series[0], reference, rtol=0, atol=1e-6)


def smooth_maps(shape, n_maps):
    """Return overlapping bumps, zero away from their centres."""
    grid = np.stack(np.indices(shape), -1) / np.array(shape)
    centres = np.random.default_rng(8).random((n_maps, 3)) * 0.6 + 0.2
    apart = np.linalg.norm(grid[..., None, :] - centres, axis=-1)
    return np.maximum(0, 1 - apart / 0.35)


@pytest.mark.filterwarnings("ignore")  # nilearn's own
@pytest.mark.parametrize(
    ("shape", "zoom", "slope"), [(SHAPE, 2, None), ((15, 16, 14), 1.5, (0.5, 3.0))]
)
def test_maps_equal_nilearn(tmp_path, mask, shape, zoom, slope):
    from nilearn.maskers import NiftiMapsMasker

    affine = np.diag([zoom, zoom, zoom, 1.0])
    affine[:3, 3] = AFFINE[:3, 3]
    maps = save(tmp_path / "maps.nii.gz", smooth_maps(shape, 5), affine)
    # nilearn solves an unscaled int16 run in float32, which is not near enough to compare
    run = save(tmp_path / "run.nii.gz", series_image(dtype="i2" if slope else "f8"), slope=slope)
    atlas = Atlas("Maps", tuple(Region(k, f"m{k}") for k in range(1, 6)), "maps", image=maps)
    masker = NiftiMapsMasker(
        str(maps), mask_img=str(tmp_path / "mask.nii.gz"), standardize=None, allow_overlap=True
    )
    found = extract(run, [parcellate(atlas, AFFINE, SHAPE, mask)])
    reference = masker.fit_transform(str(run))
    np.testing.assert_allclose(found.series[0], reference, rtol=0, atol=1e-6)


SPHERES = (((-4.0, -5.0, 1.0), 4.0), ((6.3, 4.1, 2.2), 5.0), ((0.0, 8.0, 8.0), 1.0))


@pytest.mark.filterwarnings("ignore")  # nilearn's own
def test_spheres_equal_nilearn(tmp_path, mask):
    from nilearn.maskers import NiftiSpheresMasker

    mask[5, 10, 8] = True  # the only voxel of the smallest sphere
    save(tmp_path / "mask.nii.gz", mask.astype("u1"))
    run = save(tmp_path / "run.nii.gz", series_image())
    parcels = parcellate(sphere_atlas(*SPHERES), AFFINE, SHAPE, mask)
    assert parcels.n_overlap == 0
    found = extract(run, [parcels]).series[0]
    for column, (xyz, radius) in enumerate(SPHERES):
        masker = NiftiSpheresMasker(
            [xyz],
            radius=radius,
            mask_img=str(tmp_path / "mask.nii.gz"),
            standardize=None,
            dtype="float64",
        )
        reference = masker.fit_transform(str(run))[:, 0]
        np.testing.assert_allclose(found[:, column], reference, rtol=0, atol=1e-6)


def test_region_beyond_the_grid_is_nan_and_uncovered(tmp_path):
    run = save(tmp_path / "run.nii.gz", series_image())
    parcels = parcellate(sphere_atlas(((0.0, 0, 0), 3.0), ((90.0, 0, 0), 3.0)), AFFINE, SHAPE, None)
    found = extract(run, [parcels])
    assert np.isnan(found.series[0][:, 1]).all()
    assert not np.isnan(found.series[0][:, 0]).any()
    np.testing.assert_array_equal(found.coverage[0], [1, 0])


def test_label_image_cut_by_the_grid_lowers_coverage(tmp_path):
    labels = np.zeros((10, 4, 4), "u1")
    labels[1:9] = 1
    image = save(tmp_path / "labels.nii", labels, np.eye(4))
    half = np.eye(4)
    half[0, 3] = 5  # the run begins in the middle of the region
    rng = np.random.default_rng(0)
    run = save(tmp_path / "run.nii", rng.integers(0, 99, (5, 4, 4, 6)).astype("i2"), half)
    parcels = parcellate(label_atlas(image, (1,)), half, (5, 4, 4), None)
    np.testing.assert_array_equal(parcels.n_voxels, [64])
    np.testing.assert_array_equal(parcels.n_out_of_view, [64])
    np.testing.assert_allclose(extract(run, [parcels]).coverage[0], [0.5])


@pytest.mark.parametrize("dtype", ["i2", "f4"])
def test_coverage_counts_mask_and_signal(tmp_path, dtype):
    labels = np.zeros(SHAPE, "i2")
    labels[1, :10, 0], labels[2, :10, 0], labels[3, :10, 0] = VALUES[:3]
    inside = np.ones(SHAPE, bool)
    inside[1, :3, 0] = False  # 7 of 10 in the mask
    values = series_image(dtype=dtype)
    values[2, :4, 0] = 0  # 6 of 10 have signal, 2 of the others are constant
    values[2, 4:6, 0] = 9
    run = save(tmp_path / "run.nii.gz", values)
    atlas = label_atlas(save(tmp_path / "l.nii", labels), VALUES[:3])
    found = extract(run, [parcellate(atlas, AFFINE, SHAPE, inside)])
    np.testing.assert_allclose(found.coverage[0], [0.7, 0.4, 1.0])
    # As in nilearn, a voxel without signal still counts in the mean.
    np.testing.assert_allclose(found.series[0][:, 1], values[2, :10, 0].mean(0), rtol=1e-6)


def test_voxel_that_changes_only_in_the_last_volume_has_signal(tmp_path):
    values = np.full((2, 2, 2, 9), 5, "i2")
    values[0, 0, 0, -1] = 6
    labels = save(tmp_path / "l.nii", np.ones((2, 2, 2), "u1"))
    run = save(tmp_path / "run.nii.gz", values)
    found = extract(run, [parcellate(label_atlas(labels, (1,)), AFFINE, (2, 2, 2), None)])
    np.testing.assert_allclose(found.coverage[0], [1 / 8])


def test_voxels_that_are_not_finite_are_omitted_from_the_mean(tmp_path):
    values = series_image(dtype="f4")
    labels = np.zeros(SHAPE, "i2")
    labels[1, :10, 0], labels[2, :10, 0] = VALUES[:2]
    values[1, 0, 0] = np.nan
    values[1, 1, 0, 3:5] = np.inf
    values[1, 2, 0, 3] = -np.inf
    values[2, :10, 0, 7] = np.nan
    run = save(tmp_path / "run.nii.gz", values)
    atlas = label_atlas(save(tmp_path / "l.nii", labels), VALUES[:2])
    found = extract(run, [parcellate(atlas, AFFINE, SHAPE, None)])
    kept = np.where(np.isfinite(values), values, np.nan).astype("f8")
    np.testing.assert_allclose(found.series[0][:, 0], np.nanmean(kept[1, :10, 0], 0))
    assert np.flatnonzero(np.isnan(found.series[0][:, 1])).tolist() == [7]
    np.testing.assert_allclose(found.coverage[0], [0.7, 0.0])


def test_several_atlases_share_one_pass(tmp_path, mask):
    run = save(tmp_path / "run.nii.gz", series_image(), slope=(0.5, 2.0))
    labels = save(tmp_path / "labels.nii.gz", label_image())
    both = [
        parcellate(label_atlas(labels), AFFINE, SHAPE, mask),
        parcellate(sphere_atlas(*SPHERES), AFFINE, SHAPE, mask),
    ]
    together = extract(run, both)
    for number, parcels in enumerate(both):
        alone = extract(run, [parcels])
        np.testing.assert_array_equal(together.series[number], alone.series[0])
        np.testing.assert_array_equal(together.coverage[number], alone.coverage[0])
    assert (together.n_volumes, together.t_r_s) == (N_VOLUMES, 2.0)


def test_memory_does_not_contain_the_complete_run(tmp_path):
    shape, n_volumes = (40, 40, 40), 60
    rng = np.random.default_rng(1)
    one = rng.integers(0, 99, shape).astype("i2")
    run = tmp_path / "run.nii.gz"
    save(run, np.stack([one + k for k in range(n_volumes)], -1))
    labels = save(tmp_path / "l.nii.gz", np.ones(shape, "u1"))
    parcels = parcellate(label_atlas(labels, (1,)), AFFINE, shape, None)
    tracemalloc.start()
    extract(run, [parcels])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.4 * one.nbytes * n_volumes  # a few arrays of one volume, some in float64


def test_extraction_needs_no_heavy_import(tmp_path):
    run = save(tmp_path / "run.nii.gz", series_image())
    labels = save(tmp_path / "labels.nii.gz", label_image())
    program = f"""
import sys
from pathlib import Path
import numpy as np
from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.measure.extract import extract, parcellate
from circuitshift.pipeline.io.nifti import read_header
header = read_header(Path({str(run)!r}))
atlas = Atlas("T", (Region(512, "a"),), "labels", image=Path({str(labels)!r}))
assert extract(header.path, [parcellate(atlas, header.affine, header.shape, None)]).n_volumes
heavy = {{"nibabel", "nilearn", "pandas", "scipy", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_image_on_another_grid_raises_an_error_with_both_grids(tmp_path):
    run = save(tmp_path / "run.nii.gz", series_image())
    labels = save(tmp_path / "labels.nii.gz", label_image())
    moved = AFFINE.copy()
    moved[0, 3] += 1
    parcels = parcellate(label_atlas(labels), moved, SHAPE, None)
    with pytest.raises(ImageError, match=r"11x12x10 .* from -10, .* Toy \(11x12x10 .* from -9,"):
        extract(run, [parcels])
    parcels = parcellate(label_atlas(labels), AFFINE, (11, 12, 9), None)
    with pytest.raises(ImageError, match=r"11x12x10 .* \(11x12x9 "):
        extract(run, [parcels])


def broken_run(tmp_path, case):
    """Return a path to a run that cannot be extracted."""
    path = tmp_path / "broken_bold.nii.gz"
    good = save(tmp_path / "good.nii.gz", series_image()).read_bytes()
    if case == "one volume":
        return save(path, series_image()[..., 0])
    texts = {
        "truncated": good[: len(good) // 2],
        "cut inside": gzip.compress(gzip.decompress(good)[:-900]),
        "empty": b"",
        "web page": b"<html>not found</html>",
        "annex pointer": b"/annex/objects/MD5E-s1--0.nii.gz\n",
    }
    path.write_bytes(texts[case])
    return path


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("truncated", "truncated"),
        ("cut inside", "ends in volume 14 of 14"),
        ("empty", "empty"),
        ("web page", "web page"),
        ("annex pointer", "never fetched"),
        ("one volume", "has one volume and therefore no time series"),
    ],
)
def test_a_broken_run_raises_an_error_of_one_line(tmp_path, case, message):
    labels = save(tmp_path / "labels.nii.gz", label_image())
    parcels = parcellate(label_atlas(labels), AFFINE, SHAPE, None)
    with pytest.raises(ImageError, match=message) as caught:
        extract(broken_run(tmp_path, case), [parcels])
    assert "\n" not in str(caught.value)


def test_masks_are_read_and_invalid_ones_raise_an_error(tmp_path, mask):
    found, header = read_mask(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(found, mask)
    np.testing.assert_array_equal(header.affine, AFFINE)
    soft = np.array([0, 0.4, np.nan, 1], "f4").reshape(4, 1, 1, 1)
    found, _ = read_mask(save(tmp_path / "soft.nii", soft))
    assert found.ravel().tolist() == [False, True, False, True]
    with pytest.raises(ImageError, match="the mask is empty"):
        read_mask(save(tmp_path / "none.nii", np.zeros(SHAPE, "u1")))
    with pytest.raises(ImageError, match="a mask has one volume, but this image has 14"):
        read_mask(save(tmp_path / "run.nii", series_image()))


def test_a_map_outside_the_mask_is_nan_and_the_others_are_unchanged(tmp_path):
    weights = smooth_maps(SHAPE, 2)
    inside = weights[..., 0] == 0  # the first map has no voxel left
    weights[..., 1] *= weights[..., 0] == 0
    maps = save(tmp_path / "maps.nii.gz", weights)
    run = save(tmp_path / "run.nii.gz", series_image())
    atlas = Atlas("T", (Region(1, "a"), Region(2, "b")), "maps", image=maps)
    found = extract(run, [parcellate(atlas, AFFINE, SHAPE, inside)])
    assert np.isnan(found.series[0][:, 0]).all()
    second = weights[inside][:, 1].astype("f8")
    by_hand = second @ series_image()[inside] / (second @ second)
    np.testing.assert_allclose(found.series[0][:, 1], by_hand)
    np.testing.assert_allclose(found.coverage[0], [0, 1])


@pytest.mark.parametrize("slope", [None, (0.5, 20.0)])
def test_the_signal_is_relative_to_the_median_over_the_brain(tmp_path, mask, slope):
    values = series_image().astype(float)
    values[..., :3] += 5000  # before the steady state
    values[..., 13:] = 0.0  # after the volumes that are used
    run = save(tmp_path / "run.nii.gz", values.astype("i2"), slope=slope)
    stored = np.asarray(nib.load(run).dataobj)[..., 3:13].mean(axis=-1)
    found = signal_level(run, mask, n_dummy=3)
    expected = stored / np.median(stored[mask])
    np.testing.assert_allclose(found, expected.ravel(order="F"), rtol=1e-6)
    assert signal_level(run, mask[1:], n_dummy=3) is None  # `extract` reports the grid


def test_the_signal_is_unknown_without_a_mean(tmp_path, mask):
    values = np.random.default_rng(1).normal(size=(*SHAPE, N_VOLUMES)).astype("f4")
    assert signal_level(save(tmp_path / "run.nii.gz", values), mask) is None
    values += 100
    run = save(tmp_path / "again.nii.gz", values)
    assert np.nanmin(signal_level(run, mask, n_dummy=99)) > 0.9  # all but two are dropped
