"""Assignment of voxels to regions: spheres, labels and maps on the grid of a run."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.errors import AtlasError, ImageError
from circuitshift.pipeline.io.nifti import read_header
from circuitshift.pipeline.measure.parcellation import (
    check_grid,
    parcellate,
    region_means,
    restrict,
)

SHAPE = (11, 12, 10)
AFFINE = np.array([[2.0, 0, 0, -10], [0, 2, 0, -12], [0, 0, 2, -8], [0, 0, 0, 1]])
VALUES = (512, 3, 129, 40)  # sparse, unsorted, and beyond the range of int8


def save(path, values, affine=AFFINE):
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def label_image():
    """Return a label image with one slab per region, background, and a value of no region."""
    slabs = np.array([0, *VALUES, 77], "i2")[np.arange(SHAPE[0]) * 6 // SHAPE[0]]
    return np.broadcast_to(slabs[:, None, None], SHAPE).copy()


def label_atlas(path, values=VALUES):
    return Atlas("Toy", tuple(Region(v, f"r{v}") for v in values), "labels", image=path)


def sphere_atlas(*spheres):
    """Return an atlas of spheres from pairs of centre and radius."""
    regions = (Region(n, f"s{n}", xyz_mm=xyz, radius_mm=r) for n, (xyz, r) in enumerate(spheres, 1))
    return Atlas("Toy", tuple(regions), "spheres")


def test_voxels_of_several_spheres_belong_to_the_nearest_centre():
    line = np.eye(4)
    parcels = parcellate(
        sphere_atlas(((3.0, 0, 0), 2.0), ((6.0, 0, 0), 2.0)), line, (10, 1, 1), None
    )
    # The spheres contain voxels 1-5 and 4-8; 4 is nearer to 3, and 5 is nearer to 6. Each complete
    # sphere contains 33 voxels, of which 5 are on the grid.
    assert parcels.n_overlap == 2
    np.testing.assert_array_equal(parcels.voxels, [1, 2, 3, 4, 5, 6, 7, 8])
    np.testing.assert_array_equal(parcels.n_voxels, [4, 4])
    np.testing.assert_array_equal(parcels.n_out_of_view, [28, 28])
    tie = parcellate(sphere_atlas(((3.0, 0, 0), 1.0), ((5.0, 0, 0), 1.0)), line, (10, 1, 1), None)
    np.testing.assert_array_equal(tie.n_voxels, [3, 2])


def test_a_sphere_without_voxel_centres_contains_the_nearest_voxel():
    parcels = parcellate(sphere_atlas(((-9.2, -11.3, -7.4), 0.1)), AFFINE, SHAPE, None)
    np.testing.assert_array_equal(parcels.voxels, [0])


def test_unusable_atlases_raise_an_error(tmp_path):
    labels = save(tmp_path / "labels.nii.gz", label_image())
    maps = save(tmp_path / "maps.nii.gz", np.ones((*SHAPE, 2)))
    one = Region(1, "a")
    cases = [
        (Atlas("T", (one,), "table"), "only names"),
        (Atlas("T", (one,), "spheres"), "region a has no coordinates"),
        (label_atlas(labels, (1, 2)), "none of its 2 regions"),
        (label_atlas(labels, (0, 3)), "must be unique and not 0"),
        (Atlas("T", (Region(3, "a"), Region(3, "b")), "labels", image=labels), "must be unique"),
        (label_atlas(maps), "a label image has one volume"),
        (Atlas("T", (one,), "maps", image=maps), "lists 1 regions but .* has 2 maps"),
        (sphere_atlas(((500.0, 0, 0), 3.0)), "none of its 1 regions"),
    ]
    for atlas, message in cases:
        with pytest.raises(AtlasError, match=message):
            parcellate(atlas, AFFINE, SHAPE, None)
    with pytest.raises(ImageError, match="no such file"):
        parcellate(label_atlas(Path("/none/labels.nii")), AFFINE, SHAPE, None)


def test_voxels_in_the_mask_are_sorted_by_region(tmp_path):
    labels = label_image()
    mask = np.random.default_rng(1).random(SHAPE) > 0.3
    atlas = label_atlas(save(tmp_path / "labels.nii.gz", labels))
    parcels = parcellate(atlas, AFFINE, SHAPE, mask)
    flat, inside = labels.ravel(order="F"), mask.ravel(order="F")
    for k, value in enumerate(VALUES):
        own = parcels.voxels[parcels.bounds[k] : parcels.bounds[k + 1]]
        np.testing.assert_array_equal(np.sort(own), np.flatnonzero((flat == value) & inside))
    np.testing.assert_array_equal(parcels.n_voxels, [(flat == value).sum() for value in VALUES])
    np.testing.assert_array_equal(parcels.expected, parcels.n_voxels)
    assert parcels.weights is None
    assert parcels.unmix is None


def test_labels_that_are_not_finite_are_background(tmp_path):
    labels = np.ones((3, 2, 1), "f4")
    labels[0, 0, 0], labels[1, 0, 0], labels[2, 1, 0] = np.nan, np.inf, 1.4
    atlas = label_atlas(save(tmp_path / "labels.nii", labels), (1,))
    parcels = parcellate(atlas, AFFINE, (3, 2, 1), None)
    np.testing.assert_array_equal(parcels.voxels, [2, 3, 4, 5])


def test_sums_of_maps_become_least_squares_amplitudes(tmp_path):
    """Overlapping maps are fitted together; the amplitudes of their mixture are recovered."""
    maps = np.random.default_rng(2).random((4, 5, 3, 2))
    image = save(tmp_path / "maps.nii", maps)
    atlas = Atlas("Maps", (Region(1, "a"), Region(2, "b")), "maps", image=image)
    parcels = parcellate(atlas, AFFINE, (4, 5, 3), None)
    volume = (maps @ [3.0, -1.0]).ravel(order="F")
    weighted = np.add.reduceat(volume[parcels.voxels] * parcels.weights, parcels.bounds[:-1])
    np.testing.assert_allclose(parcels.unmix @ weighted, [3, -1])
    np.testing.assert_allclose(parcels.expected, maps.sum(axis=(0, 1, 2)))


def test_a_mask_on_another_grid_raises_an_error():
    mask = np.ones((11, 12, 9), bool)
    with pytest.raises(ImageError, match="the mask has 11x12x9 voxels, but the image has 11x12x10"):
        parcellate(sphere_atlas(((0.0, 0, 0), 4.0)), AFFINE, SHAPE, mask)


@pytest.mark.parametrize(("shift_mm", "is_valid"), [(0.0, True), (0.04, True), (0.06, False)])
def test_grids_may_differ_by_rounding_errors(tmp_path, shift_mm, is_valid):
    moved = AFFINE.copy()
    moved[1, 3] += shift_mm
    header = read_header(save(tmp_path / "run.nii", np.zeros((*SHAPE, 2), "i2"), moved))
    parcels = parcellate(sphere_atlas(((0.0, 0, 0), 4.0)), AFFINE, SHAPE, None)
    if is_valid:
        check_grid(header, parcels)
    else:
        with pytest.raises(ImageError, match="is not that of the parcellation Toy"):
            check_grid(header, parcels)


def map_atlas(path):
    rng = np.random.default_rng(8)
    maps = np.where(rng.random((*SHAPE, 3)) > 0.6, rng.normal(size=(*SHAPE, 3)), 0.0)
    regions = tuple(Region(n, f"m{n}") for n in range(1, 4))
    return Atlas("Maps", regions, "maps", image=save(path, maps))


@pytest.mark.parametrize("kind", ["labels", "spheres", "maps"])
def test_restricting_equals_parcellating_with_the_intersection(tmp_path, kind):
    atlas = {
        "labels": lambda: label_atlas(save(tmp_path / "labels.nii", label_image())),
        "spheres": lambda: sphere_atlas(((0.0, 0, 0), 6.0), ((5.0, 0, 0), 5.0)),
        "maps": lambda: map_atlas(tmp_path / "maps.nii"),
    }[kind]()
    rng = np.random.default_rng(1)
    first, second = rng.random(SHAPE) > 0.3, rng.random(SHAPE) > 0.3
    found = restrict(parcellate(atlas, AFFINE, SHAPE, first), second)
    expected = parcellate(atlas, AFFINE, SHAPE, first & second)
    for name in ("voxels", "bounds", "weights", "unmix", "expected", "n_voxels", "n_in_mask"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    assert restrict(expected, first) is expected  # nothing is removed


def test_means_of_an_image_over_regions(tmp_path):
    labels = label_image()
    atlas = label_atlas(save(tmp_path / "labels.nii", labels), (*VALUES, 5))
    image = np.random.default_rng(2).normal(size=SHAPE)
    image[labels == 3] = np.nan
    image[2, 0, 0] = np.nan
    found = region_means(parcellate(atlas, AFFINE, SHAPE, None), image.ravel(order="F"))
    expected = [np.nanmean(image[labels == v]) if v not in (3, 5) else np.nan for v in (*VALUES, 5)]
    np.testing.assert_allclose(found, expected)
    maps = parcellate(map_atlas(tmp_path / "maps.nii"), AFFINE, SHAPE, None)
    constant = region_means(maps, np.full(np.prod(SHAPE), 2.5, np.float32))
    np.testing.assert_allclose(constant, 2.5)
