"""Atlases: embedded, by path, by name from stand-ins of the libraries' caches, combined."""

import gzip
import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest

from circuitshift.atlases.errors import AtlasError
from circuitshift.atlases.load import checksum, combine, infer_region, load_atlas
from circuitshift.atlases.remote import known_names

SHARED = Path(__file__).resolve().parents[2].parent / "shared/data"
REAL = SHARED / "atlases"
AFFINE = np.array([[2.0, 0, 0, -10], [0, 2, 0, -20], [0, 0, 2, -30], [0, 0, 0, 1]])


def image(path: Path, values, affine=AFFINE, dtype=np.int16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.asarray(values).astype(dtype), affine).to_filename(path)
    return path


def cube(values, size: int = 6) -> np.ndarray:
    """Label image whose first voxels along x carry the values, one plane each."""
    out = np.zeros((size, size, size), int)
    for k, value in enumerate(values):
        out[k] = value
    return out


def table(path: Path, rows, header: str = "index\tlabel") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join([header, *("\t".join(map(str, row)) for row in rows)])
    path.write_text(text + "\n", encoding="utf-8")
    return path


def pair(folder: Path, stem: str, labels: dict[int, str]) -> Path:
    table(folder / f"{stem}.tsv", labels.items())
    return image(folder / f"{stem}.nii.gz", cube(labels))


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches of this test only, and no network even where there is one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "tf"))
    monkeypatch.setenv("NILEARN_DATA", str(tmp_path / "ni"))
    monkeypatch.delenv("NILEARN_SHARED_DATA", raising=False)

    def offline(*_args, **_options):
        raise ConnectionError("no network in tests")

    monkeypatch.setattr("socket.create_connection", offline)
    monkeypatch.setattr("socket.getaddrinfo", offline)
    return tmp_path


# ----------------------------------------------------------------------------------- embedded


def test_seitzman_is_nilearns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nilearn.datasets import fetch_coords_seitzman_2018

        theirs = fetch_coords_seitzman_2018(ordered_regions=False)
    ours = load_atlas("seitzman300")
    np.testing.assert_allclose(ours.centres_mm(), theirs.rois.to_numpy(float))
    assert [r.radius_mm for r in ours.regions] == list(theirs.radius)
    assert [r.network or "unassigned" for r in ours.regions] == list(theirs.networks)
    assert [r.index for r in ours.regions] == list(range(1, 301))
    assert (ours.kind, ours.name) == ("spheres", "Seitzman300")
    assert ours.reference == "doi:10.1016/j.neuroimage.2019.116290"
    for region, part in zip(ours.regions, theirs.regions, strict=True):
        if part.startswith("cortex"):
            assert region.hemisphere == {"cortexL": "L", "cortexR": "R", "cortexMid": ""}[part]
        else:
            assert region.label.lower().startswith(part.lower())
    assert [label for label in ours.labels if label.startswith(("Amyg", "Hippo"))] == [
        "Hippocampus_L_01", "Hippocampus_R_01", "Hippocampus_L_02", "Hippocampus_R_02",
        "Amygdala_L_01", "Amygdala_R_01",
    ]  # fmt: skip


def test_seitzman_imports_nothing_heavy() -> None:
    code = (
        "import sys; from circuitshift.atlases.load import load_atlas; load_atlas('seitzman300'); "
        "print([m for m in ('nilearn', 'nibabel', 'pandas', 'templateflow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["seitzman300", "Seitzman300", "seitzman_2018"])
def test_seitzman_by_any_spelling(name: str) -> None:
    assert load_atlas(name, space="MNI152NLin6Asym").space == "MNI152NLin6Asym"


# ------------------------------------------------------------------------------------ by path


def test_labels_unsorted_sparse_and_large(tmp_path: Path) -> None:
    path = image(tmp_path / "atlas-Mine_space-MNI152NLin6Asym_dseg.nii.gz", cube([2001, 7, 300]))
    rows = [
        (300, "c_R", "n/a", "Vis"),
        (2001, "a_L", "L", "n/a"),
        (7, "b", "right", ""),
        (9, "d_L"),
    ]
    table(tmp_path / "atlas-Mine_dseg.tsv", rows, "index\tlabel\themisphere\tnetwork")
    atlas = load_atlas(path)
    assert (atlas.name, atlas.kind, atlas.space) == ("Mine", "labels", "MNI152NLin6Asym")
    assert [(r.index, r.label, r.hemisphere, r.network) for r in atlas.regions] == [
        (300, "c_R", "R", "Vis"), (2001, "a_L", "L", ""), (7, "b", "R", ""), (9, "d_L", "L", ""),
    ]  # fmt: skip
    # plane k of six voxels each way: x = 2 k - 10, and the middle of the others
    assert atlas.regions[1].xyz_mm == (-10, -15, -25)
    assert atlas.regions[0].xyz_mm == (-6, -15, -25)
    assert atlas.regions[3].xyz_mm is None  # a row without voxels keeps its region


def test_centres_of_an_image_that_is_turned_in_space(tmp_path: Path) -> None:
    """By hand: the mean over voxels of affine @ (i, j, k, 1)."""
    data = np.zeros((4, 5, 6), np.int16)
    data[1, 2, 3] = 1
    data[0, 1:4, 2] = 2
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]) @ np.diag([2.0, 2, 3])
    affine = nibabel.affines.from_matvec(turn, [-20, 5, 7])
    nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / "a.nii.gz")
    table(tmp_path / "a.tsv", [(1, "x"), (2, "y")])
    first, second = (region.xyz_mm for region in load_atlas(tmp_path / "a.nii.gz").regions)
    assert first == pytest.approx(turn @ [1, 2, 3] + [-20, 5, 7], abs=1e-3)
    assert second == pytest.approx(turn @ [0, 2, 2] + [-20, 5, 7], abs=1e-3)


def test_uint8_labels_above_127_and_floats(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.float32):
        path = image(tmp_path / "a.nii.gz", cube([200, 1]), dtype=dtype)
        table(tmp_path / "a.tsv", [(1, "x"), (200, "y")])
        assert load_atlas(path).regions[1].xyz_mm == (-10, -15, -25)


def test_maps(tmp_path: Path) -> None:
    path = image(
        tmp_path / "maps.nii.gz", np.random.default_rng(0).random((3, 3, 3, 2)), dtype="f4"
    )
    table(tmp_path / "maps.tsv", [(1, "a"), (2, "b")])
    atlas = load_atlas(path)
    assert (atlas.kind, atlas.labels, atlas.image) == ("maps", ("a", "b"), path)


def test_table_alone_with_places(tmp_path: Path) -> None:
    rows = [(1, "a", -1.5, 2, 3), (2, "b", "n/a", "n/a", "n/a")]
    atlas = load_atlas(table(tmp_path / "atlas-T_dseg.tsv", rows, "index\tlabel\tx\ty\tz"))
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
    # every centre lies in the hemisphere that its name states
    for region in atlas.regions:
        assert region.xyz_mm is not None
        assert (region.xyz_mm[0] < 0) == (region.hemisphere == "L"), region
    from scipy.ndimage import center_of_mass

    loaded = nibabel.load(path)
    voxels = np.asanyarray(loaded.dataobj)
    middle = np.array(
        center_of_mass(np.ones_like(voxels), voxels, [r.index for r in atlas.regions])
    )
    theirs = nibabel.affines.apply_affine(loaded.affine, middle)
    np.testing.assert_allclose(atlas.centres_mm(), theirs, atol=1e-3)


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
def test_side_and_network_of_a_name(label: str, hemisphere: str, network: str) -> None:
    region = infer_region(1, label)
    assert (region.hemisphere, region.network) == (hemisphere, network)


# ------------------------------------------------------------------------------------ by name


def templateflow(folder: Path, space: str, middle: str, suffix: str, values, rows, header) -> None:
    stem = folder / "tf" / f"tpl-{space}" / f"tpl-{space}"
    image(Path(f"{stem}_res-02_{middle}_{suffix}.nii.gz"), values, dtype="f4")
    table(Path(f"{stem}_{middle}_{suffix}.tsv"), rows, header)


def test_schaefer_from_templateflows_cache(tmp_path: Path) -> None:
    rows = [
        (1, "17Networks_LH_DefaultA_PFCm_1", "#000000"),
        (2, "17Networks_RH_ContB_PFCld_1", "#1"),
    ]
    entities = ("atlas-Schaefer2018_desc-100Parcels17Networks", "dseg")
    for space in ("MNI152NLin2009cAsym", "MNI152NLin6Asym"):
        templateflow(tmp_path, space, *entities, cube([1, 2]), rows, "index\tname\tcolor")
        atlas = load_atlas("schaefer2018_100parcels_17networks", space=space)
        assert atlas.space == space
        assert atlas.name == "Schaefer100Parcels17Networks"
        assert [r.network for r in atlas.regions] == ["DefaultA", "ContB"]
        assert atlas.reference == "doi:10.1093/cercor/bhx179"
        assert atlas.image is not None
        assert f"tpl-{space}" in atlas.image.name


def test_tian_and_difumo_from_templateflows_cache(tmp_path: Path) -> None:
    space = "MNI152NLin6Asym"
    tian = [(1, "HIP-rh", "#0066cc"), (2, "AMY-rh", "#cc3333")]
    entities = ("atlas-TianSubcortex_desc-S1", "dseg")
    templateflow(tmp_path, space, *entities, cube([1, 2]), tian, "index\tname\tcolor")
    assert load_atlas("Tian_S1", space=space).labels == ("HIP-rh", "AMY-rh")
    difumo = [
        (1, "Superior frontal sulcus", "DefaultB", "DefaultA", 0.7),
        (2, "Ventricles", "No network found", "No network found", 0.1),
        (3, "Ventricles", "No network found", "No network found", 0.1),
    ]
    header = "Component\tDifumo_names\tYeo_networks7\tYeo_networks17\tGM"
    entities = ("atlas-DiFuMo_desc-64dimensions", "probseg")
    templateflow(tmp_path, space, *entities, np.ones((2, 2, 2, 3)), difumo, header)
    atlas = load_atlas("DiFuMo64", space=space)
    assert atlas.kind == "maps"
    assert atlas.labels == ("Superior frontal sulcus", "Ventricles 2", "Ventricles 3")
    assert [r.network for r in atlas.regions] == ["DefaultA", "", ""]


def test_templateflow_is_asked_for_what_its_cache_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from templateflow.client import TemplateFlowClient
    asked = []
    space, middle = "MNI152NLin6Asym", "atlas-Schaefer2018_desc-200Parcels7Networks"

    def get(client, template, **entities):
        asked.append((str(client.cache.config.root), template, entities))
        labels = [(1, "7Networks_LH_Vis_1")]
        templateflow(tmp_path, space, middle, "dseg", cube([1]), labels, "index\tname")

    monkeypatch.setattr(TemplateFlowClient, "get", get)
    # what an empty cache holds: placeholders of no size
    stem = tmp_path / "tf" / f"tpl-{space}" / f"tpl-{space}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{stem}_res-02_{middle}_dseg.nii.gz").touch()
    assert load_atlas("Schaefer2018_200Parcels_7Networks", space=space).labels
    common = {"atlas": "Schaefer2018", "desc": "200Parcels7Networks", "suffix": "dseg"}
    home = str(tmp_path / "tf")
    assert asked == [
        (home, space, common | {"resolution": 2, "extension": ".nii.gz"}),
        (home, space, common | {"extension": ".tsv"}),
    ]


def xml(path: Path, rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<atlas><data>{rows}</data></atlas>", encoding="utf-8")


def test_aal_from_nilearns_cache(tmp_path: Path) -> None:
    rows = "".join(
        f"<label><index>{i}</index><name>{n}</name></label>"
        for i, n in [(2001, "Precentral_L"), (2002, "Precentral_R")]
    )
    xml(tmp_path / "ni/aal_SPM12/aal/atlas/AAL.xml", rows)
    image(tmp_path / "ni/aal_SPM12/aal/atlas/AAL.nii", cube([2002, 2001]))
    atlas = load_atlas("AAL")
    assert (atlas.name, atlas.space) == ("AAL", "MNIColin27")
    assert [(r.index, r.label, r.hemisphere) for r in atlas.regions] == [
        (2001, "Precentral_L", "L"), (2002, "Precentral_R", "R"),
    ]  # fmt: skip
    assert atlas.regions[1].xyz_mm == (-10, -15, -25)


def test_harvard_oxford_from_nilearns_cache(tmp_path: Path) -> None:
    folder = tmp_path / "ni/fsl/data/atlases"
    sides = ("Left", "Right")
    cortex = [f"{side} Frontal Pole" for side in sides]
    deep = [f"{side} {part}" for side in sides for part in ("Cerebral White Matter", "Amygdala")]
    for labels, file, part in (
        (cortex, "Cortical-Lateralized", "cortl-maxprob-thr25-2mm"),
        (deep, "Subcortical", "sub-maxprob-thr25-2mm"),
    ):
        rows = "".join(f'<label index="{k}">{name}</label>' for k, name in enumerate(labels))
        xml(folder / f"HarvardOxford-{file}.xml", rows)
        values = [1, 2] if labels is cortex else [1, 1, 2, 3, 4]
        image(folder / f"HarvardOxford/HarvardOxford-{part}.nii.gz", cube(values))
    atlas = load_atlas("HarvardOxford")
    assert atlas.labels == (*cortex, "Left Amygdala", "Right Amygdala")
    assert atlas.name == "HarvardOxford"
    assert [r.hemisphere for r in atlas.regions] == ["L", "R", "L", "R"]
    assert atlas.image is not None
    written = np.asanyarray(nibabel.load(atlas.image).dataobj)
    # the white matter of the second image is no region
    assert set(np.unique(written)) == {0, *(r.index for r in atlas.regions)}
    assert written[:, 0, 0].tolist() == [1, 2, 4, 0, 6, 0]


def test_schaefer_700_comes_from_nilearn(tmp_path: Path) -> None:
    folder = tmp_path / "ni/schaefer_2018"
    stem = "Schaefer2018_700Parcels_7Networks_order"
    image(folder / f"{stem}_FSLMNI152_2mm.nii.gz", cube([1, 2]))
    text = "1\t7Networks_LH_Vis_1\t1\t2\t3\t0\n2\t7Networks_RH_Default_PFCv_1\t1\t2\t4\t0\n"
    (folder / f"{stem}.txt").write_text(text, encoding="utf-8")
    atlas = load_atlas("Schaefer2018_700Parcels_7Networks")
    assert [(r.index, r.network) for r in atlas.regions] == [(1, "Vis"), (2, "Default")]
    assert atlas.space == "MNI152NLin6Asym"


@pytest.mark.parametrize(
    ("name", "placed"),
    [
        (
            "Schaefer2018_400Parcels_7Networks",
            "tpl-MNI152NLin2009cAsym_res-02_atlas-Schaefer2018_desc-400Parcels7Networks_dseg.nii.gz",
        ),
        ("Tian_S2", "tpl-MNI152NLin2009cAsym_res-02_atlas-TianSubcortex_desc-S2_dseg.nii.gz and"),
        ("DiFuMo128", "atlas-DiFuMo_desc-128dimensions_probseg.nii.gz"),
        ("AAL", "aal_SPM12/aal/atlas/AAL.nii and"),
        ("AAL3", "aal_3v2/AAL3/AAL3v1.nii and"),
        ("HarvardOxford", "HarvardOxford-cortl-maxprob-thr25-2mm.nii.gz and"),
        ("Schaefer2018_900Parcels_17Networks", "Schaefer2018_900Parcels_17Networks_order.txt and"),
    ],
)
def test_offline_says_what_to_place_where(
    name: str, placed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not name.startswith("Schaefer2018_400"):  # one through the real client, which takes seconds
        no_templateflow(monkeypatch)
    with pytest.raises(AtlasError) as caught:
        load_atlas(name)
    said = str(caught.value)
    assert placed in said
    assert str(tmp_path) in said  # the folder
    assert "pass the path" in said
    assert "\n" not in said
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def no_templateflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make templateflow's client fail as it does without a network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from templateflow.client import TemplateFlowClient

    def get(*_args, **_entities):
        raise ConnectionError("HTTPSConnectionPool: Max retries exceeded")

    monkeypatch.setattr(TemplateFlowClient, "get", get)


def test_every_known_name_has_a_finder(monkeypatch: pytest.MonkeyPatch) -> None:
    no_templateflow(monkeypatch)
    for name in known_names()[1:]:
        with pytest.raises(AtlasError, match="could not be fetched: place"):
            load_atlas(name)


# ------------------------------------------------------------------------------------ combined


def test_combination(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = pair(tmp_path, "atlas-One_dseg", {5: "a", 9: "b"})
    second = image(tmp_path / "atlas-Two_dseg.nii.gz", cube([0, 2, 2, 1]))
    table(tmp_path / "atlas-Two_dseg.tsv", [(1, "c"), (2, "d")])
    with caplog.at_level(logging.INFO):
        atlas = load_atlas(f"{first}+{second}")
    assert (atlas.name, atlas.kind) == ("OneTwo", "labels")
    assert [(r.index, r.label) for r in atlas.regions] == [(5, "a"), (9, "b"), (10, "c"), (11, "d")]
    assert atlas.image is not None
    voxels = np.asanyarray(nibabel.load(atlas.image).dataobj)
    assert voxels[:, 0, 0].tolist() == [5, 9, 11, 10, 0, 0]
    assert "36 voxels of Two lie in One" in caplog.text
    told = json.loads(next(atlas.image.parent.glob("*.json")).read_text())
    assert told["overlap_voxels"] == 36
    assert told["sources"][0]["sha256"] == checksum(first)
    before = atlas.image.stat().st_mtime_ns
    assert load_atlas(f"{first}+{second}") == atlas  # from the cache, not written again
    assert atlas.image.stat().st_mtime_ns == before
    assert sorted(p.suffix for p in atlas.image.parent.iterdir()) == [".gz", ".json"]


def test_combination_follows_the_content(tmp_path: Path) -> None:
    first = pair(tmp_path, "one", {1: "a"})
    second = pair(tmp_path, "two", {1: "b", 2: "c"})
    old = load_atlas(f"{first}+{second}").image
    image(second, cube([2, 2, 1]))
    assert load_atlas(f"{first}+{second}").image != old


def test_combination_on_another_grid(tmp_path: Path) -> None:
    first = pair(tmp_path, "one", {1: "a"})
    finer = AFFINE.copy()
    finer[:3, :3] /= 2
    values = np.zeros((12, 12, 12), int)
    values[4:6] = 1  # x = -6 and -5 mm: third plane of the coarse grid
    second = image(tmp_path / "two.nii.gz", values, finer)
    table(tmp_path / "two.tsv", [(1, "b")])
    merged = combine(load_atlas(first), load_atlas(second), folder=tmp_path)
    assert merged.image is not None
    voxels = np.asanyarray(nibabel.load(merged.image).dataobj)
    assert voxels[:, 0, 0].tolist() == [1, 0, 2, 0, 0, 0]
    assert merged.regions[1].xyz_mm is not None
    assert merged.regions[1].xyz_mm[0] == -6
    # the same by nibabel's own resampling
    from nibabel.processing import resample_from_to

    theirs = resample_from_to(nibabel.load(second), nibabel.load(first), order=0)
    np.testing.assert_array_equal(voxels == 2, (theirs.get_fdata() == 1) & (voxels != 1))


def test_unusable_cache_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be", encoding="utf-8")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    atlas = load_atlas(f"{pair(tmp_path, 'one', {1: 'a'})}+{pair(tmp_path, 'two', {2: 'b'})}")
    assert atlas.image is not None
    assert atlas.image.parents[1] == tmp_path / "temporary"


# ----------------------------------------------------------------------------------- bad input


def test_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(AtlasError) as caught:
        load_atlas("Schaefer2018_200Parcel_7Network")
    assert "Schaefer2018_200Parcels_7Networks" in str(caught.value)
    assert "HarvardOxford" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Schaefer2018_250Parcels_7Networks", "100, 200, 300"),
        ("Schaefer2018_200Parcels_9Networks", "7 or 17 networks"),
        ("Tian_S5", "S1, S2, S3 and S4"),
        ("DiFuMo100", "64, 128, 256"),
        ("a+b+c", "two atlases joined by one"),
        ("+AAL", "two atlases joined by one"),
        (
            "seitzman300+seitzman300",
            "only label images can be combined, this one is of kind spheres",
        ),
        ("nowhere/atlas.nii.gz", "does not exist"),
        ("/", "is a folder"),
        ("", "no atlas ''"),
    ],
)
def test_bad_names(name: str, said: str) -> None:
    with pytest.raises(AtlasError, match=said):
        load_atlas(name)


def bad_table(text: str):
    def make(folder: Path) -> Path:
        (folder / "bad.tsv").write_text(text, encoding="utf-8")
        return folder / "bad.tsv"

    return make


def bad_image(values, rows=((1, "a"),), **options):
    def make(folder: Path) -> Path:
        table(folder / "bad.tsv", rows)
        return image(folder / "bad.nii.gz", values, **options)

    return make


def truncated(folder: Path) -> Path:
    path = bad_image(np.random.default_rng(0).integers(0, 2, (20, 20, 20)))(folder)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def flipped(folder: Path) -> Path:
    """One voxel changed after compression: only the checksum at the end of the file tells."""
    path = bad_image(cube([1], 40))(folder)
    content = bytearray(gzip.decompress(path.read_bytes()))
    whole = gzip.compress(bytes(content), 0)
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content), 0)[:-8] + whole[-8:])
    return path


def no_image(folder: Path) -> Path:
    table(folder / "bad.tsv", [(1, "a")])
    with gzip.open(folder / "bad.nii.gz", "wb") as stream:
        stream.write(b"not an image")
    return folder / "bad.nii.gz"


def not_finite(folder: Path) -> Path:
    values = cube([1]).astype(float)
    values[3, 3, 3] = np.nan
    return bad_image(values, dtype="f4")(folder)


BAD_FILES = {
    "no table": (
        lambda d: image(d / "lone.nii.gz", cube([1])),
        "no label table beside it; place lone.tsv",
    ),
    "empty table": (bad_table(""), "index and label is not there"),
    "header only": (bad_table("index\tlabel\n"), "has no rows"),
    "no label column": (
        bad_table("index\tcolour\n1\tred\n"),
        "label is not there .found: index, colour",
    ),
    "index in words": (
        bad_table("index\tlabel\none\ta\n"),
        "line 2: index 'one' is not a whole number",
    ),
    "negative index": (bad_table("index\tlabel\n-1\ta\n"), "index '-1' is not a whole number"),
    "empty label": (bad_table("index\tlabel\n1\t\n"), "line 2: the label is empty"),
    "label n/a": (bad_table("index\tlabel\n1\tn/a\n"), "line 2: the label is empty"),
    "index twice": (bad_table("index\tlabel\n1\ta\n1\tb\n"), "in more than one row: 1"),
    "label twice": (bad_table("index\tlabel\n1\ta\n2\ta\n"), "these repeat: a"),
    "place in words": (
        bad_table("index\tlabel\tx\ty\tz\n1\ta\t1\t2\tup\n"),
        "x, y, z must be numbers",
    ),
    "value unnamed": (
        bad_image(cube([1, 3, 4])),
        "holds the values 3, 4 which bad.tsv does not name",
    ),
    "no value named": (bad_image(cube([]), [(1, "a")]), "they do not belong together"),
    "fractions": (bad_image(cube([1]) * 0.5, dtype="f4"), "holds whole numbers, this one does not"),
    "not finite": (not_finite, "holds whole numbers"),
    "negative values": (bad_image(cube([-2])), "must not be negative, found -2"),
    "maps without rows": (bad_image(np.ones((2, 2, 2, 3))), "holds 3 maps but bad.tsv names 1"),
    "5D": (bad_image(np.ones((2, 2, 2, 2, 2))), "3D or 4D image, found 5D"),
    "truncated": (truncated, "truncated or damaged"),
    "checksum": (flipped, "truncated or damaged"),
    "no NIfTI": (no_image, "not a readable NIfTI image"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(case: str, tmp_path: Path) -> None:
    make, said = BAD_FILES[case]
    with pytest.raises(AtlasError, match=said) as caught:
        load_atlas(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_bad_two_line_table(tmp_path: Path) -> None:
    image(tmp_path / "two.nii.gz", cube([1]))
    (tmp_path / "two_label.txt").write_text("A\n1 0 0 0 255\nB\n", encoding="utf-8")
    with pytest.raises(AtlasError, match="expected pairs of lines"):
        load_atlas(tmp_path / "two.nii.gz")


def test_names_alone_table(tmp_path: Path) -> None:
    image(tmp_path / "Tian_Subcortex_S1_3T.nii.gz", cube([1, 2]))
    (tmp_path / "Tian_Subcortex_S1_3T_label.txt").write_text("HIP-rh\nAMY-rh\n", encoding="utf-8")
    atlas = load_atlas(tmp_path / "Tian_Subcortex_S1_3T.nii.gz")
    assert (atlas.name, atlas.labels) == ("TianS1", ("HIP-rh", "AMY-rh"))


def test_combination_of_spaces_that_differ(tmp_path: Path) -> None:
    for name, label in (("A_space-MNI152NLin6Asym", "a"), ("B_space-MNI152NLin2009cAsym", "b")):
        pair(tmp_path, f"atlas-{name}", {1: label})
    parts = [str(p) for p in sorted(tmp_path.glob("atlas-*.nii.gz"))]
    with pytest.raises(AtlasError, match="different spaces"):
        load_atlas("+".join(parts))


def test_combination_that_repeats_labels(tmp_path: Path) -> None:
    path = pair(tmp_path, "one", {1: "a"})
    with pytest.raises(AtlasError, match="these repeat: a"):
        load_atlas(f"{path}+{path}")
