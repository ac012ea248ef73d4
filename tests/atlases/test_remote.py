"""Named atlases: files from stand-ins of the libraries' caches, and errors without a network."""

import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest

from circuitshift.atlases.errors import AtlasError
from circuitshift.atlases.load import load_atlas
from circuitshift.atlases.remote import find, is_filled, known_names, templateflow_home


@pytest.fixture
def templateflow(tmp_path, files):
    """Provide a function that writes an atlas into the cache of templateflow."""

    def write(space: str, entities: tuple[str, str], values, rows, header: str) -> None:
        name, suffix = entities
        stem = tmp_path / "tf" / f"tpl-{space}" / f"tpl-{space}"
        files.image(Path(f"{stem}_res-02_{name}_{suffix}.nii.gz"), values, dtype="f4")
        files.table(Path(f"{stem}_{name}_{suffix}.tsv"), rows, header)

    return write


def test_schaefer_from_the_cache_of_templateflow(files, templateflow) -> None:
    rows = [
        (1, "17Networks_LH_DefaultA_PFCm_1", "#000000"),
        (2, "17Networks_RH_ContB_PFCld_1", "#1"),
    ]
    entities = ("atlas-Schaefer2018_desc-100Parcels17Networks", "dseg")
    for space in ("MNI152NLin2009cAsym", "MNI152NLin6Asym"):
        templateflow(space, entities, files.cube([1, 2]), rows, "index\tname\tcolor")
        atlas = load_atlas("schaefer2018_100parcels_17networks", space=space)
        assert atlas.space == space
        assert atlas.name == "Schaefer100Parcels17Networks"
        assert [r.network for r in atlas.regions] == ["DefaultA", "ContB"]
        assert atlas.reference == "doi:10.1093/cercor/bhx179"
        assert atlas.image is not None
        assert f"tpl-{space}" in atlas.image.name


def test_tian_and_difumo_from_the_cache_of_templateflow(files, templateflow) -> None:
    space = "MNI152NLin6Asym"
    tian = [(1, "HIP-rh", "#0066cc"), (2, "AMY-rh", "#cc3333")]
    entities = ("atlas-TianSubcortex_desc-S1", "dseg")
    templateflow(space, entities, files.cube([1, 2]), tian, "index\tname\tcolor")
    assert load_atlas("Tian_S1", space=space).labels == ("HIP-rh", "AMY-rh")
    difumo = [
        (1, "Superior frontal sulcus", "DefaultB", "DefaultA", 0.7),
        (2, "Ventricles", "No network found", "No network found", 0.1),
        (3, "Ventricles", "No network found", "No network found", 0.1),
    ]
    header = "Component\tDifumo_names\tYeo_networks7\tYeo_networks17\tGM"
    entities = ("atlas-DiFuMo_desc-64dimensions", "probseg")
    templateflow(space, entities, np.ones((2, 2, 2, 3)), difumo, header)
    atlas = load_atlas("DiFuMo64", space=space)
    assert atlas.kind == "maps"
    assert atlas.labels == ("Superior frontal sulcus", "Ventricles 2", "Ventricles 3")
    assert [r.network for r in atlas.regions] == ["DefaultA", "", ""]


def test_templateflow_fetches_files_that_are_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files, templateflow
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from templateflow.client import TemplateFlowClient
    requests = []
    space, name = "MNI152NLin6Asym", "atlas-Schaefer2018_desc-200Parcels7Networks"

    def get(client, template, **entities):
        requests.append((str(client.cache.config.root), template, entities))
        labels = [(1, "7Networks_LH_Vis_1")]
        templateflow(space, (name, "dseg"), files.cube([1]), labels, "index\tname")

    monkeypatch.setattr(TemplateFlowClient, "get", get)
    # an empty cache of templateflow contains placeholders of size 0
    stem = tmp_path / "tf" / f"tpl-{space}" / f"tpl-{space}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{stem}_res-02_{name}_dseg.nii.gz").touch()
    assert load_atlas("Schaefer2018_200Parcels_7Networks", space=space).labels
    common = {"atlas": "Schaefer2018", "desc": "200Parcels7Networks", "suffix": "dseg"}
    home = str(tmp_path / "tf")
    assert requests == [
        (home, space, common | {"resolution": 2, "extension": ".nii.gz"}),
        (home, space, common | {"extension": ".tsv"}),
    ]


def write_xml(path: Path, rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<atlas><data>{rows}</data></atlas>", encoding="utf-8")


def test_aal_from_the_cache_of_nilearn(tmp_path: Path, files) -> None:
    rows = "".join(
        f"<label><index>{i}</index><name>{n}</name></label>"
        for i, n in [(2001, "Precentral_L"), (2002, "Precentral_R")]
    )
    write_xml(tmp_path / "ni/aal_SPM12/aal/atlas/AAL.xml", rows)
    files.image(tmp_path / "ni/aal_SPM12/aal/atlas/AAL.nii", files.cube([2002, 2001]))
    atlas = load_atlas("AAL")
    assert (atlas.name, atlas.space) == ("AAL", "MNIColin27")
    assert [(r.index, r.label, r.hemisphere) for r in atlas.regions] == [
        (2001, "Precentral_L", "L"), (2002, "Precentral_R", "R"),
    ]  # fmt: skip
    assert atlas.regions[1].xyz_mm == (-10, -15, -25)


def test_harvard_oxford_from_the_cache_of_nilearn(tmp_path: Path, files) -> None:
    folder = tmp_path / "ni/fsl/data/atlases"
    sides = ("Left", "Right")
    cortex = [f"{side} Frontal Pole" for side in sides]
    deep = [f"{side} {part}" for side in sides for part in ("Cerebral White Matter", "Amygdala")]
    for labels, file, part in (
        (cortex, "Cortical-Lateralized", "cortl-maxprob-thr25-2mm"),
        (deep, "Subcortical", "sub-maxprob-thr25-2mm"),
    ):
        rows = "".join(f'<label index="{k}">{name}</label>' for k, name in enumerate(labels))
        write_xml(folder / f"HarvardOxford-{file}.xml", rows)
        values = [1, 2] if labels is cortex else [1, 1, 2, 3, 4]
        files.image(folder / f"HarvardOxford/HarvardOxford-{part}.nii.gz", files.cube(values))
    atlas = load_atlas("HarvardOxford")
    assert atlas.labels == (*cortex, "Left Amygdala", "Right Amygdala")
    assert atlas.name == "HarvardOxford"
    assert [r.hemisphere for r in atlas.regions] == ["L", "R", "L", "R"]
    assert atlas.image is not None
    voxels = np.asanyarray(nibabel.load(atlas.image).dataobj)
    # white matter in the second image is not a region
    assert set(np.unique(voxels)) == {0, *(r.index for r in atlas.regions)}
    assert voxels[:, 0, 0].tolist() == [1, 2, 4, 0, 6, 0]


def test_schaefer_700_comes_from_nilearn(tmp_path: Path, files) -> None:
    folder = tmp_path / "ni/schaefer_2018"
    stem = "Schaefer2018_700Parcels_7Networks_order"
    files.image(folder / f"{stem}_FSLMNI152_2mm.nii.gz", files.cube([1, 2]))
    text = "1\t7Networks_LH_Vis_1\t1\t2\t3\t0\n2\t7Networks_RH_Default_PFCv_1\t1\t2\t4\t0\n"
    (folder / f"{stem}.txt").write_text(text, encoding="utf-8")
    atlas = load_atlas("Schaefer2018_700Parcels_7Networks")
    assert [(r.index, r.network) for r in atlas.regions] == [(1, "Vis"), (2, "Default")]
    assert atlas.space == "MNI152NLin6Asym"


@pytest.mark.parametrize(
    ("name", "file"),
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
def test_without_a_network_the_error_names_file_and_folder(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not name.startswith(
        "Schaefer2018_400"
    ):  # one case uses the real client, which takes seconds
        no_templateflow(monkeypatch)
    with pytest.raises(AtlasError) as caught:
        load_atlas(name)
    message = str(caught.value)
    assert file in message
    assert str(tmp_path) in message  # the folder
    assert "pass the path" in message
    assert "\n" not in message
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
    for name in known_names()[2:]:  # after the embedded atlases
        with pytest.raises(AtlasError, match="could not be fetched; place"):
            load_atlas(name)


def test_an_unknown_name_is_answered_by_the_nearest_names() -> None:
    with pytest.raises(AtlasError) as caught:
        load_atlas("Schaefer2018_200Parcel_7Network")
    assert "Schaefer2018_200Parcels_7Networks" in str(caught.value)
    assert "HarvardOxford" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Schaefer2018_250Parcels_7Networks", "100, 200, 300"),
        ("Schaefer2018_200Parcels_9Networks", "7 or 17 networks"),
        ("Tian_S5", "S1 to S4"),
        ("DiFuMo100", "64, 128, 256"),
        ("", "unknown atlas ''"),
    ],
)
def test_names_that_do_not_exist_are_refused(name: str, message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        find(name, "MNI152NLin2009cAsym")


def test_a_cached_file_that_cannot_be_read_is_reported(tmp_path: Path, files) -> None:
    folder = tmp_path / "ni/aal_SPM12/aal/atlas"
    write_xml(folder / "AAL.xml", "<label>")
    files.image(folder / "AAL.nii", files.cube([1]))
    with pytest.raises(AtlasError, match=r"is cached but cannot be read \(ParseError\); fetch it"):
        find("AAL", "")


def test_the_cache_of_templateflow_follows_its_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert templateflow_home() == tmp_path / "tf"
    monkeypatch.delenv("TEMPLATEFLOW_HOME")
    assert templateflow_home() == tmp_path / "cache/templateflow"


def test_placeholders_are_not_files(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_text("x", encoding="utf-8")
    assert [is_filled(tmp_path / name) for name in ("empty", "full", "none")] == [
        False,
        True,
        False,
    ]
