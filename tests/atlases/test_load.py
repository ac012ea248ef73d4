"""Atlases from files: label images, maps, tables, combinations and invalid input."""

import gzip
import json
import logging
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from circuitshift.atlases import load
from circuitshift.atlases.errors import AtlasError
from circuitshift.atlases.load import checksum, combine, infer_region, load_atlas

SHARED = Path(__file__).resolve().parents[2].parent / "shared/data"
REAL = SHARED / "atlases"

# --- from files


def test_labels_may_be_unsorted_sparse_and_large(tmp_path: Path, files) -> None:
    path = files.image(
        tmp_path / "atlas-Mine_space-MNI152NLin6Asym_dseg.nii.gz", files.cube([2001, 7, 300])
    )
    rows = [
        (300, "c_R", "n/a", "Vis"),
        (2001, "a_L", "L", "n/a"),
        (7, "b", "right", ""),
        (9, "d_L"),
    ]
    files.table(tmp_path / "atlas-Mine_dseg.tsv", rows, "index\tlabel\themisphere\tnetwork")
    atlas = load_atlas(path)
    assert (atlas.name, atlas.kind, atlas.space) == ("Mine", "labels", "MNI152NLin6Asym")
    assert [(r.index, r.label, r.hemisphere, r.network) for r in atlas.regions] == [
        (300, "c_R", "R", "Vis"), (2001, "a_L", "L", ""), (7, "b", "R", ""), (9, "d_L", "L", ""),
    ]  # fmt: skip
    # plane k of 6 x 6 voxels: x = 2 k - 10, y and z at the centre of the plane
    assert atlas.regions[1].xyz_mm == (-10, -15, -25)
    assert atlas.regions[0].xyz_mm == (-6, -15, -25)
    assert atlas.regions[3].xyz_mm is None  # a row without voxels remains a region


def test_centres_in_a_rotated_image(tmp_path: Path, files) -> None:
    """Compare with the mean over voxels of affine @ (i, j, k, 1)."""
    data = np.zeros((4, 5, 6), np.int16)
    data[1, 2, 3] = 1
    data[0, 1:4, 2] = 2
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]) @ np.diag([2.0, 2, 3])
    affine = nibabel.affines.from_matvec(turn, [-20, 5, 7])
    nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / "a.nii.gz")
    files.table(tmp_path / "a.tsv", [(1, "x"), (2, "y")])
    first, second = (region.xyz_mm for region in load_atlas(tmp_path / "a.nii.gz").regions)
    assert first == pytest.approx(turn @ [1, 2, 3] + [-20, 5, 7], abs=1e-3)
    assert second == pytest.approx(turn @ [0, 2, 2] + [-20, 5, 7], abs=1e-3)


def test_uint8_labels_above_127_and_floats(tmp_path: Path, files) -> None:
    for dtype in (np.uint8, np.float32):
        path = files.image(tmp_path / "a.nii.gz", files.cube([200, 1]), dtype=dtype)
        files.table(tmp_path / "a.tsv", [(1, "x"), (200, "y")])
        assert load_atlas(path).regions[1].xyz_mm == (-10, -15, -25)


def test_maps_from_a_4d_image(tmp_path: Path, files) -> None:
    path = files.image(
        tmp_path / "maps.nii.gz", np.random.default_rng(0).random((3, 3, 3, 2)), dtype="f4"
    )
    files.table(tmp_path / "maps.tsv", [(1, "a"), (2, "b")])
    atlas = load_atlas(path)
    assert (atlas.kind, atlas.labels, atlas.image) == ("maps", ("a", "b"), path)


def test_a_table_alone_with_coordinates(tmp_path: Path, files) -> None:
    rows = [(1, "a", -1.5, 2, 3), (2, "b", "n/a", "n/a", "n/a")]
    atlas = load_atlas(files.table(tmp_path / "atlas-T_dseg.tsv", rows, "index\tlabel\tx\ty\tz"))
    assert (atlas.kind, atlas.image) == ("table", None)
    assert atlas.regions[0].xyz_mm == (-1.5, 2, 3)
    assert atlas.regions[1].xyz_mm is None


@pytest.mark.skipif(not REAL.is_dir(), reason="shared/data/atlases is not on this machine")
def test_real_schaefer_with_tian() -> None:
    (path,) = REAL.glob("Schaefer2018_100*2009cAsym_2mm.nii.gz")
    atlas = load_atlas(str(path))
    assert atlas.name == "Schaefer100Parcels7NetworksTianS1"
    assert atlas.space == "MNI152NLin2009cAsym"
    assert len(atlas.regions) == 116
    by_label = {r.label: r for r in atlas.regions}
    assert by_label["HIP-rh"].hemisphere == "R"
    assert by_label["HIP-rh"].network == "Subcortex"
    assert by_label["7Networks_LH_Default_PFC_1"].network == "Default"
    # each centre is in the hemisphere that the label states
    for region in atlas.regions:
        assert region.xyz_mm is not None
        assert (region.xyz_mm[0] < 0) == (region.hemisphere == "L"), region
    from scipy.ndimage import center_of_mass

    loaded = nibabel.load(path)
    voxels = np.asanyarray(loaded.dataobj)
    centre = np.array(
        center_of_mass(np.ones_like(voxels), voxels, [r.index for r in atlas.regions])
    )
    expected = nibabel.affines.apply_affine(loaded.affine, centre)
    np.testing.assert_allclose(atlas.centres_mm(), expected, atol=1e-3)


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/data is not on this machine")
def test_real_table() -> None:
    atlas = load_atlas(SHARED / "psilocybin-aal90/atlas-AAL90_dseg.tsv")
    assert (atlas.name, len(atlas.regions), atlas.regions[1].hemisphere) == ("AAL90", 90, "R")


@pytest.mark.parametrize(
    ("label", "hemisphere", "network"),
    [
        ("17Networks_RH_DefaultA_PFCm_3", "R", "DefaultA"),
        ("LH_Cont_Par_1", "L", "Cont"),
        ("NAc-shell-lh", "L", "Subcortex"),
        ("lAMY-rh", "R", "Subcortex"),
        ("THA-VAip-rh", "R", "Subcortex"),
        ("Left Amygdala", "L", ""),
        ("Precuneus_R", "R", ""),
        ("Vermis_6", "", ""),
        ("Lingual gyrus", "", ""),
    ],
)
def test_hemisphere_and_network_from_a_label(label: str, hemisphere: str, network: str) -> None:
    region = infer_region(1, label)
    assert (region.hemisphere, region.network) == (hemisphere, network)


# --- combinations


def test_a_combination_of_two_atlases(
    tmp_path: Path, files, caplog: pytest.LogCaptureFixture
) -> None:
    first = files.pair(tmp_path, "atlas-One_dseg", {5: "a", 9: "b"})
    second = files.image(tmp_path / "atlas-Two_dseg.nii.gz", files.cube([0, 2, 2, 1]))
    files.table(tmp_path / "atlas-Two_dseg.tsv", [(1, "c"), (2, "d")])
    with caplog.at_level(logging.INFO):
        atlas = load_atlas(f"{first}+{second}")
    assert (atlas.name, atlas.kind) == ("OneTwo", "labels")
    assert [(r.index, r.label) for r in atlas.regions] == [(5, "a"), (9, "b"), (10, "c"), (11, "d")]
    assert atlas.image is not None
    voxels = np.asanyarray(nibabel.load(atlas.image).dataobj)
    assert voxels[:, 0, 0].tolist() == [5, 9, 11, 10, 0, 0]
    assert "36 voxels of Two overlap with One" in caplog.text
    record = json.loads(next(atlas.image.parent.glob("*.json")).read_text())
    assert record["overlap_voxels"] == 36
    assert record["sources"][0]["sha256"] == checksum(first)
    before = atlas.image.stat().st_mtime_ns
    assert load_atlas(f"{first}+{second}") == atlas  # from the cache
    assert atlas.image.stat().st_mtime_ns == before
    assert sorted(p.suffix for p in atlas.image.parent.iterdir()) == [".gz", ".json"]


def test_a_changed_image_makes_a_new_combination(tmp_path: Path, files) -> None:
    first = files.pair(tmp_path, "one", {1: "a"})
    second = files.pair(tmp_path, "two", {1: "b", 2: "c"})
    old = load_atlas(f"{first}+{second}").image
    files.image(second, files.cube([2, 2, 1]))
    assert load_atlas(f"{first}+{second}").image != old


def test_combination_on_another_grid(tmp_path: Path, files) -> None:
    first = files.pair(tmp_path, "one", {1: "a"})
    finer = files.affine.copy()
    finer[:3, :3] /= 2
    values = np.zeros((12, 12, 12), int)
    values[4:6] = 1  # x = -6 and -5 mm, the third plane of the coarse grid
    second = files.image(tmp_path / "two.nii.gz", values, finer)
    files.table(tmp_path / "two.tsv", [(1, "b")])
    merged = combine(load_atlas(first), load_atlas(second), folder=tmp_path)
    assert merged.image is not None
    voxels = np.asanyarray(nibabel.load(merged.image).dataobj)
    assert voxels[:, 0, 0].tolist() == [1, 0, 2, 0, 0, 0]
    assert merged.regions[1].xyz_mm is not None
    assert merged.regions[1].xyz_mm[0] == -6
    # independent computation by nibabel
    from nibabel.processing import resample_from_to

    expected = resample_from_to(nibabel.load(second), nibabel.load(first), order=0)
    np.testing.assert_array_equal(voxels == 2, (expected.get_fdata() == 1) & (voxels != 1))


def test_a_cache_that_cannot_be_written_is_replaced_by_a_temporary_folder(
    tmp_path: Path, files, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be", encoding="utf-8")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    atlas = load_atlas(
        f"{files.pair(tmp_path, 'one', {1: 'a'})}+{files.pair(tmp_path, 'two', {2: 'b'})}"
    )
    assert atlas.image is not None
    assert atlas.image.parents[1] == tmp_path / "temporary"


# --- invalid input


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a+b+c", "join exactly two atlases by one"),
        ("+AAL", "join exactly two atlases by one"),
        (
            "seitzman300+seitzman300",
            "only label images can be combined, but it is of kind spheres",
        ),
        ("nowhere/atlas.nii.gz", "does not exist"),
        ("/", "is a folder"),
    ],
)
def test_invalid_sources_are_refused(name: str, message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        load_atlas(name)


def bad_table(text: str):
    def make(_files, folder: Path) -> Path:
        (folder / "bad.tsv").write_text(text, encoding="utf-8")
        return folder / "bad.tsv"

    return make


def bad_image(values, rows=((1, "a"),), **options):
    """Make a writer of an image; `values` is an array, or label values for a cube."""

    def make(files, folder: Path) -> Path:
        files.table(folder / "bad.tsv", rows)
        array = files.cube(values) if isinstance(values, tuple) else values
        return files.image(folder / "bad.nii.gz", array, **options)

    return make


def no_table(files, folder: Path) -> Path:
    return files.image(folder / "lone.nii.gz", files.cube([1]))


def truncated(files, folder: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 2, (20, 20, 20))
    path = bad_image(values)(files, folder)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def flipped(files, folder: Path) -> Path:
    """Change a voxel but keep the checksum at the end of the gzip file."""
    path = bad_image(files.cube([1], 40))(files, folder)
    content = bytearray(gzip.decompress(path.read_bytes()))
    original = gzip.compress(bytes(content), 0)
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content), 0)[:-8] + original[-8:])
    return path


def no_image(files, folder: Path) -> Path:
    files.table(folder / "bad.tsv", [(1, "a")])
    with gzip.open(folder / "bad.nii.gz", "wb") as stream:
        stream.write(b"not an image")
    return folder / "bad.nii.gz"


def not_finite(files, folder: Path) -> Path:
    values = files.cube([1]).astype(float)
    values[3, 3, 3] = np.nan
    return bad_image(values, dtype="f4")(files, folder)


def fractions(files, folder: Path) -> Path:
    return bad_image(files.cube([1]) * 0.5, dtype="f4")(files, folder)


BAD_FILES = {
    "no table": (no_table, "no label table in its folder; add lone.tsv"),
    "empty table": (bad_table(""), "index and label missing"),
    "header only": (bad_table("index\tlabel\n"), "has no rows"),
    "no label column": (
        bad_table("index\tcolour\n1\tred\n"),
        "label missing .found: index, colour",
    ),
    "index in words": (
        bad_table("index\tlabel\none\ta\n"),
        "line 2: index 'one' is not a non-negative integer",
    ),
    "negative index": (bad_table("index\tlabel\n-1\ta\n"), "index '-1' is not a non-negative"),
    "empty label": (bad_table("index\tlabel\n1\t\n"), "line 2: the label is empty"),
    "label n/a": (bad_table("index\tlabel\n1\tn/a\n"), "line 2: the label is empty"),
    "index twice": (bad_table("index\tlabel\n1\ta\n1\tb\n"), "one row; repeated are 1$"),
    "label twice": (bad_table("index\tlabel\n1\ta\n2\ta\n"), "repeated labels a$"),
    "very long line": (bad_table("index\tlabel\n1\t" + "a" * 200_000), "not a label table"),
    "coordinate in words": (
        bad_table("index\tlabel\tx\ty\tz\n1\ta\t1\t2\tup\n"),
        "x, y, z must be numbers",
    ),
    "value not listed": (bad_image((1, 3, 4)), "holds the values 3, 4 which bad.tsv does not list"),
    "no value listed": (bad_image(()), "contains none of the indices of bad.tsv"),
    "fractions": (fractions, "must contain integers only"),
    "not finite": (not_finite, "must contain integers only"),
    "negative values": (bad_image((-2,)), "must not be negative, found -2"),
    "maps without rows": (bad_image(np.ones((2, 2, 2, 3))), "holds 3 maps but bad.tsv lists 1"),
    "5D": (bad_image(np.ones((2, 2, 2, 2, 2))), "3D or 4D image, found 5D"),
    "truncated": (truncated, "truncated or damaged"),
    "checksum": (flipped, "truncated or damaged"),
    "no NIfTI": (no_image, "not a readable NIfTI image"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_invalid_files_are_refused(case: str, tmp_path: Path, files) -> None:
    make, message = BAD_FILES[case]
    with pytest.raises(AtlasError, match=message) as caught:
        load_atlas(make(files, tmp_path))
    assert "\n" not in str(caught.value)


def test_a_header_that_states_an_implausible_size_is_refused(
    tmp_path: Path, files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "MAX_BYTES", 6**3 * 2 - 1)
    path = files.pair(tmp_path, "one", {1: "a"})
    with pytest.raises(AtlasError, match="states 6x6x6 values, which is not plausible"):
        load_atlas(path)


def test_a_two_line_table_with_an_odd_number_of_lines_is_refused(tmp_path: Path, files) -> None:
    files.image(tmp_path / "two.nii.gz", files.cube([1]))
    (tmp_path / "two_label.txt").write_text("A\n1 0 0 0 255\nB\n", encoding="utf-8")
    with pytest.raises(AtlasError, match="expected pairs of lines"):
        load_atlas(tmp_path / "two.nii.gz")


def test_a_table_of_names_alone(tmp_path: Path, files) -> None:
    files.image(tmp_path / "Tian_Subcortex_S1_3T.nii.gz", files.cube([1, 2]))
    (tmp_path / "Tian_Subcortex_S1_3T_label.txt").write_text("HIP-rh\nAMY-rh\n", encoding="utf-8")
    atlas = load_atlas(tmp_path / "Tian_Subcortex_S1_3T.nii.gz")
    assert (atlas.name, atlas.labels) == ("TianS1", ("HIP-rh", "AMY-rh"))


def test_atlases_in_different_spaces_are_not_combined(tmp_path: Path, files) -> None:
    for name, label in (("A_space-MNI152NLin6Asym", "a"), ("B_space-MNI152NLin2009cAsym", "b")):
        files.pair(tmp_path, f"atlas-{name}", {1: label})
    parts = [str(p) for p in sorted(tmp_path.glob("atlas-*.nii.gz"))]
    with pytest.raises(AtlasError, match="different spaces"):
        load_atlas("+".join(parts))


def test_atlases_with_the_same_labels_are_not_combined(tmp_path: Path, files) -> None:
    path = files.pair(tmp_path, "one", {1: "a"})
    with pytest.raises(AtlasError, match="rename the repeated labels a"):
        load_atlas(f"{path}+{path}")


# --- caches of other users


@pytest.mark.skipif(os.getuid() != 0, reason="only root can create folders of other users")
def test_a_temporary_cache_of_another_user_is_refused(
    tmp_path: Path, files, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be", encoding="utf-8")
    shared = tmp_path / "temporary"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / f"circuitshift-{os.getuid()}").mkdir()
    os.chown(shared / f"circuitshift-{os.getuid()}", 4242, 4242)
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    with pytest.raises(AtlasError, match="it belongs to another user"):
        load_atlas(
            f"{files.pair(tmp_path, 'one', {1: 'a'})}+{files.pair(tmp_path, 'two', {2: 'b'})}"
        )
