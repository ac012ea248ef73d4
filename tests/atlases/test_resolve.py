"""Circuits: each packaged one on each family of atlases, and errors in circuit files."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuitshift.atlases import resolve
from circuitshift.atlases.errors import CircuitError
from circuitshift.atlases.load import infer_region, load_atlas
from circuitshift.atlases.records import Atlas, Circuit
from circuitshift.atlases.resolve import circuit_names, load_circuits

SHARED = Path(__file__).resolve().parents[2].parent / "shared/data"
TOMLS = sorted((Path(__file__).resolve().parents[2] / "atlases/circuits").glob("*.toml"))
ALL = {path.stem for path in TOMLS}
AAL_DMN = [
    f"{part}_{side}"
    for part in ("Frontal_Sup_Medial", "Frontal_Med_Orb", "Cingulum_Post", "Angular", "Precuneus")
    for side in "LR"
]


def named(name: str, *labels: str, **networks: str) -> Atlas:
    """Make an atlas of names only; keyword arguments are labels with their network."""
    pairs = [(label, "") for label in labels] + list(networks.items())
    return Atlas(
        name,
        tuple(infer_region(k, label, "", net) for k, (label, net) in enumerate(pairs, start=1)),
        "table",
    )


def schaefer17() -> Atlas:
    """Make an atlas with labels and coordinates of Schaefer (17 networks) and Tian (scale 2)."""
    parts = [
        ("DefaultA_PFCm_1", (-7, 50, -3)), ("DefaultA_PCC_1", (-6, -52, 28)),
        ("DefaultB_PFCd_1", (-5, 53, 28)), ("DefaultB_Temp_1", (-60, -20, -15)),
        ("DefaultC_Rsp_1", (-12, -54, 9)), ("DefaultC_PHC_1", (-26, -36, -14)),
        ("DefaultA_PFCm_2", (-6, 26, -12)), ("ContA_PFCl_1", (-42, 38, 20)),
        ("ContB_PFClv_1", (-44, 46, -6)), ("ContB_PFCld_1", (-38, 20, 48)),
        ("SalVentAttnA_Ins_1", (-36, 6, 4)), ("SalVentAttnB_PFCl_1", (-30, 44, 28)),
        ("DorsAttnB_FEF_1", (-26, -4, 56)), ("TempPar_1", (-54, -50, 18)),
        ("LimbicB_OFC_1", (-24, 26, -18)),
    ]  # fmt: skip
    deep = [
        ("lAMY", (-28, -4, -22)), ("mAMY", (-20, -6, -18)), ("aHIP", (-24, -14, -20)),
        ("pHIP", (-28, -32, -8)), ("NAc-shell", (-9, 12, -7)), ("NAc-core", (-13, 13, -5)),
        ("aTHA", (-8, -10, 8)),
    ]  # fmt: skip
    rows = [
        (template.format(name, side), (x * flip, y, z))
        for template, group in (("17Networks_{1}H_{0}", parts), ("{0}-{1}h", deep))
        for flip, side in (
            (1, "L" if group is parts else "l"),
            (-1, "R" if group is parts else "r"),
        )
        for name, (x, y, z) in group
    ]
    regions = (
        replace(infer_region(k, label), xyz_mm=xyz_mm) for k, (label, xyz_mm) in enumerate(rows, 1)
    )
    return Atlas("Schaefer17TianS2", tuple(regions), "table")


def real(path: str) -> Atlas:
    """Load an atlas of the shared data, or skip the test."""
    found = sorted(SHARED.glob(path))
    if not found:
        pytest.skip(f"shared/data/{path} is not on this machine")
    return load_atlas(found[0])


FAMILIES = {
    "default": lambda: load_atlas("seitzman300circuits"),
    "seitzman": lambda: load_atlas("seitzman300"),
    "schaefer7-100": lambda: real("atlases/Schaefer2018_100*2009cAsym*.nii.gz"),
    "schaefer7-200": lambda: real("atlases/Schaefer2018_200*NLin6Asym*.nii.gz"),
    "schaefer17": schaefer17,
    "aal": lambda: real("psilocybin-aal90/atlas-AAL90_dseg.tsv"),
}


def documented(circuit: str) -> str:
    """Line of a circuit in the table of docs/atlases.md."""
    text = (TOMLS[0].parents[2] / "docs/atlases.md").read_text(encoding="utf-8")
    (row,) = [r for r in text.splitlines() if r.startswith("| `") and f"`{circuit}`" in r]
    return row


#: Circuits of which the documentation says that they need atlases with particular networks.
OPTIONAL = {name for name in ALL if "only in atlases" in documented(name)}
SUBSYSTEMS = {"dmn_core", "dmn_dorsomedial", "dmn_medialtemporal"}
#: Circuits whose regions are in the short lists of names of some tests.
LISTED = {
    "dmn", "tpn", "dmn_tpn", "dlpfc_amygdala", "salience", "sgacc_dmn", "dmpfc_dmn",
    "dlpfc_sgacc", "mpfc_amygdala", "mpfc_nacc", "hippocampus_mpfc",
}  # fmt: skip


def circuits_on(atlas: Atlas) -> dict[str, Circuit]:
    return {c.name: c for c in load_circuits(atlas).circuits}


def names(atlas: Atlas, positions) -> list[str]:
    return [atlas.labels[k] for k in positions]


# ------------------------------------------------------------------------- on every atlas


@pytest.mark.parametrize("family", FAMILIES)
def test_all_circuits_resolve(family: str) -> None:
    atlas = FAMILIES[family]()
    found = load_circuits(atlas)
    resolved = [c.name for c in found.circuits]
    assert set(resolved) >= ALL - OPTIONAL
    assert resolved == sorted(resolved)
    skipped = ALL - set(resolved)
    assert SUBSYSTEMS & skipped == (set() if family == "schaefer17" else SUBSYSTEMS)
    assert [s.split(":")[0] for s in found.skipped] == [f"circuit {n}" for n in sorted(skipped)]
    assert all(s.endswith(".") and atlas.name in s for s in found.skipped)
    for circuit in found.circuits:
        members = (*circuit.seeds, *circuit.targets)
        assert len(set(members)) == len(members), circuit.name  # no region is repeated
        assert all(0 <= k < len(atlas.regions) for k in members)
        edges = circuit.edges(len(atlas.regions))
        n = len(circuit.seeds)
        assert len(edges) == (n * len(circuit.targets) if circuit.targets else n * (n - 1) // 2)
        hemispheres = {atlas.regions[k].hemisphere for k in members}
        assert {"L", "R"} <= hemispheres, circuit.name
        # sides found by a pattern or by coordinates have a note
        by_network = {atlas.regions[k].network for k in circuit.seeds} - {""}
        if not by_network:
            assert any("found by" in note for note in circuit.notes), circuit.name


@pytest.mark.parametrize("family", FAMILIES)
def test_sides_shared_by_circuits_are_equal(family: str) -> None:
    found = circuits_on(FAMILIES[family]())
    assert found["dmn_tpn"].seeds == found["dmn"].seeds
    assert found["dmn_tpn"].targets == found["tpn"].seeds
    assert found["dlpfc_sgacc"].seeds == found["dlpfc_amygdala"].seeds
    assert found["mpfc_nacc"].seeds == found["mpfc_amygdala"].seeds
    for name in ("sgacc_dmn", "dmpfc_dmn"):
        circuit = found[name]
        assert set(circuit.targets) == set(found["dmn"].seeds) - set(circuit.seeds)
        if set(circuit.seeds) & set(found["dmn"].seeds):
            assert any("used as seeds only" in note for note in circuit.notes)


def test_on_seitzman() -> None:
    atlas = load_atlas("seitzman300")
    found = circuits_on(atlas)
    dmn = names(atlas, found["dmn"].seeds)
    assert len(dmn) == 55  # the network has 67 spheres, of which 12 are outside the cortex
    assert all(label.startswith("DefaultMode_") for label in dmn)
    tpn = {atlas.regions[k].network for k in found["tpn"].seeds}
    assert tpn == {"FrontoParietal", "DorsalAttention"}
    assert len(found["tpn"].seeds) == 41
    assert len(found["salience"].seeds) == 9
    assert names(atlas, found["dlpfc_amygdala"].targets) == ["Amygdala_L_01", "Amygdala_R_01"]
    assert len(found["hippocampus_mpfc"].seeds) == 4
    assert sorted(names(atlas, found["mpfc_nacc"].targets)) == [
        "BasalGanglia_L_01", "BasalGanglia_R_01",
    ]  # fmt: skip
    dlpfc = atlas.centres_mm()[list(found["dlpfc_amygdala"].seeds)]
    near = np.linalg.norm(np.abs(dlpfc) - (38, 44, 26), axis=1)
    assert len(near) == 4
    assert near.max() <= 15
    note = " ".join(found["dlpfc_amygdala"].notes)
    assert "doi:10.1016/j.biopsych.2012.04.028" in note
    assert "(-38, 44, 26), and its mirror image" in note
    # no sphere is at the subgenual cingulate; striatal and lateral spheres must not replace it
    assert any("is used instead, so interpret with caution" in n for n in found["sgacc_dmn"].notes)
    assert all(abs(atlas.regions[k].xyz_mm[0]) < 16 for k in found["sgacc_dmn"].seeds)
    assert not any("BasalGanglia" in atlas.labels[k] for k in found["sgacc_dmn"].seeds)


def test_on_aal() -> None:
    atlas = real("psilocybin-aal90/atlas-AAL90_dseg.tsv")
    found = circuits_on(atlas)
    assert names(atlas, found["dmn"].seeds) == AAL_DMN
    assert names(atlas, found["tpn"].seeds) == [
        f"{p}_{side}" for p in ("Frontal_Mid", "Parietal_Sup", "Parietal_Inf") for side in "LR"
    ]
    assert names(atlas, found["dlpfc_amygdala"].seeds) == ["Frontal_Mid_L", "Frontal_Mid_R"]
    assert names(atlas, found["dlpfc_amygdala"].targets) == ["Amygdala_L", "Amygdala_R"]
    assert names(atlas, found["hippocampus_mpfc"].seeds) == ["Hippocampus_L", "Hippocampus_R"]
    assert names(atlas, found["mpfc_nacc"].targets) == ["Caudate_L", "Caudate_R"]
    assert any("no nucleus accumbens" in note for note in found["mpfc_nacc"].notes)
    assert names(atlas, found["sgacc_dmn"].seeds) == ["Olfactory_L", "Olfactory_R"]
    assert any("used instead" in note for note in found["sgacc_dmn"].notes)


def test_on_schaefer_7() -> None:
    atlas = real("atlases/Schaefer2018_100*2009cAsym*.nii.gz")
    found = circuits_on(atlas)
    assert len(found["dmn"].seeds) == 24
    assert {atlas.regions[k].network for k in found["tpn"].seeds} == {"Cont", "DorsAttn"}
    assert {atlas.regions[k].network for k in found["salience"].seeds} == {"SalVentAttn"}
    assert all("_Cont_PFCl_" in label for label in names(atlas, found["dlpfc_amygdala"].seeds))
    assert sorted(names(atlas, found["mpfc_nacc"].targets)) == ["NAc-lh", "NAc-rh"]
    assert sorted(names(atlas, found["mpfc_nacc"].seeds)) == [
        "7Networks_LH_Default_PFC_3", "7Networks_RH_Default_PFCdPFCm_1",
    ]  # fmt: skip


def test_on_schaefer_17() -> None:
    atlas = schaefer17()
    found = circuits_on(atlas)
    for name, letter in (("core", "A"), ("dorsomedial", "B"), ("medialtemporal", "C")):
        labels = names(atlas, found[f"dmn_{name}"].seeds)
        assert labels
        assert all(f"_Default{letter}_" in label for label in labels)
    assert len(found["dmn"].seeds) == 14  # all three subsystems, without TempPar
    dlpfc = {label.split("_", 2)[2] for label in names(atlas, found["dlpfc_amygdala"].seeds)}
    assert dlpfc == {"ContA_PFCl_1", "ContB_PFCld_1"}  # without the ventrolateral parcel
    assert len(found["dlpfc_amygdala"].targets) == 4
    # a parcel within 15 mm is used as subgenual cingulate without a note of caution
    assert {label[-6:] for label in names(atlas, found["sgacc_dmn"].seeds)} == {"PFCm_2"}
    assert not any("used instead" in note for note in found["sgacc_dmn"].notes)


def test_on_harvard_oxford_and_later_aal() -> None:
    cortex = (
        "Precuneous Cortex", "Angular Gyrus", "Frontal Medial Cortex", "Middle Frontal Gyrus",
        "Superior Parietal Lobule", "Insular Cortex", "Subcallosal Cortex", "Paracingulate Gyrus",
        "Parahippocampal Gyrus, anterior division", "Amygdala", "Accumbens", "Hippocampus",
    )  # fmt: skip
    oxford = named("HO", *(f"{s} {c}" for c in cortex for s in ("Left", "Right")))
    found = circuits_on(oxford)
    assert LISTED <= set(found) <= ALL - SUBSYSTEMS
    assert names(oxford, found["hippocampus_mpfc"].seeds) == [
        "Left Hippocampus",
        "Right Hippocampus",
    ]
    assert names(oxford, found["sgacc_dmn"].seeds)[0] == "Left Subcallosal Cortex"
    parts = (
        "Frontal_Mid_2", "Parietal_Sup", "Insula", "ACC_sub", "ACC_sup", "Cingulate_Post", "N_Acc",
        "Frontal_Sup_Medial", "Frontal_Med_Orb", "Amygdala", "Hippocampus", "Olfactory", "Caudate",
    )  # fmt: skip
    aal3 = named("AAL3", *(f"{p}_{s}" for p in parts for s in "LR"))
    found = circuits_on(aal3)
    assert LISTED <= set(found) <= ALL - SUBSYSTEMS
    assert names(aal3, found["sgacc_dmn"].seeds) == ["ACC_sub_L", "ACC_sub_R"]
    assert names(aal3, found["mpfc_nacc"].targets) == ["N_Acc_L", "N_Acc_R"]
    assert not any("used instead" in n for c in found.values() for n in c.notes)


def test_on_a_users_atlas() -> None:
    atlas = named(
        "Own", "L DLPFC", "R_amygdala", "Amygdala left", one="DMN", two="DMN", three="FPN"
    )
    found = load_circuits(atlas)
    assert {c.name for c in found.circuits} == {"dmn", "dmn_tpn", "dlpfc_amygdala"}
    assert any("tpn: atlas Own has only one region of it, three" in s for s in found.skipped)


def test_named_circuits_keep_their_order() -> None:
    atlas = load_atlas("seitzman300")
    found = load_circuits(atlas, ["tpn", "dmn", "tpn"])
    assert [c.name for c in found.circuits] == ["tpn", "dmn"]
    assert found.skipped == ()


# ------------------------------------------------------------------------- their files


def test_all_packaged_circuits_are_listed() -> None:
    assert set(circuit_names()) == ALL
    assert len(ALL) >= 14
    assert SUBSYSTEMS <= OPTIONAL


@pytest.mark.parametrize("path", TOMLS, ids=lambda path: path.stem)
def test_all_files_state_rationale_and_source(path: Path) -> None:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    assert content["name"] == path.stem
    assert re.fullmatch(r"[\w-]+ (19|20)\d\d, doi:10\.\d{4,}/\S+", content["reference"]), (
        "Name year, doi"
    )
    assert len(content["why"].split()) > 15
    assert "  " not in content["why"]
    for option in (*content["seeds"], *content.get("targets", ())):
        if "near_mm" in option:
            assert "doi:10." in option["source"]


def test_the_documentation_agrees_with_the_circuit_files() -> None:
    for path in TOMLS:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        row = documented(path.stem)
        assert content["reference"].split("doi:")[1] in row
        assert content["direction"] in row


def test_the_example_of_the_documentation_is_valid(tmp_path: Path) -> None:
    text = (TOMLS[0].parents[2] / "docs/atlases.md").read_text(encoding="utf-8")
    example = text.split("```toml")[1].split("```")[0].replace("10.xxxx/...", "10.1000/xyz")
    path = written(tmp_path, example)
    atlas = real("psilocybin-aal90/atlas-AAL90_dseg.tsv")
    (circuit,) = load_circuits(atlas, ["insula_dmn"], files=[path]).circuits
    assert names(atlas, circuit.seeds) == ["Insula_L", "Insula_R"]


def test_labels_are_compared_only_for_an_error(monkeypatch) -> None:
    atlas = load_atlas("seitzman300")
    skipped = load_circuits(atlas).skipped
    assert skipped

    def compare(*_) -> str:
        raise InterruptedError

    monkeypatch.setattr(resolve, "_nearest_labels", compare)
    assert load_circuits(atlas).skipped == skipped
    with pytest.raises(InterruptedError):
        load_circuits(atlas, [skipped[0].removeprefix("circuit ").split(":")[0]])


def test_predicted_directions() -> None:
    found = circuits_on(load_atlas("seitzman300"))
    directions = {name: c.direction for name, c in found.items()}
    assert directions["dmn"] == "decrease"
    assert directions["tpn"] == "increase"
    assert directions["dmn_tpn"] == "decrease"
    assert directions["dlpfc_amygdala"] == "increase"
    assert "10.1038/s41398-021-01754-4" in found["dmn"].why


# ------------------------------------------------------------------------- a user's own

GOOD = """
name = "mine"
title = "My circuit"
direction = "increase"
why = "Because."
reference = "Author 2020, doi:10.1000/xyz"
[[seeds]]
regions = ["Insula_[LR]"]
[[targets]]
same_as = "dlpfc_amygdala.targets"
"""
AAL = ("Insula_L", "Insula_R", "Amygdala_L", "Amygdala_R", "Precentral_L")


def written(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_circuit_file_of_the_user(tmp_path: Path) -> None:
    atlas = named("Aal", *AAL)
    path = written(tmp_path, GOOD)
    (mine,) = load_circuits(atlas, ["mine"], files=[path]).circuits
    assert (mine.seeds, mine.targets) == ((0, 1), (2, 3))
    assert "mine" in {c.name for c in load_circuits(atlas, files=[path]).circuits}


def test_coordinates_select_the_nearest_region_of_each_hemisphere(tmp_path: Path) -> None:
    text = GOOD.replace('regions = ["Insula_[LR]"]', """
near_mm = [[0, 10, 0]]
within_mm = 8
source = "doi:10.1000/xyz"
not_regions = ["no.*"]
""")  # fmt: skip
    centres = {"a_L": (-3, 10, 0), "b_L": (-2, 10, 0), "c_R": (4, 10, 0), "no_R": (1, 10, 0),
              "far_R": (5, 30, 0), "Amygdala": None}  # fmt: skip
    regions = tuple(
        replace(infer_region(k, label), xyz_mm=xyz_mm)
        for k, (label, xyz_mm) in enumerate(centres.items(), start=1)
    )
    atlas = Atlas("Places", regions, "table")
    (mine,) = load_circuits(atlas, ["mine"], files=[written(tmp_path, text)]).circuits
    assert names(atlas, mine.seeds) == ["b_L", "c_R"]  # nearest of each hemisphere
    assert "b_L at 2 mm, c_R at 4 mm" in mine.notes[0]


def test_regions_beyond_the_distance_limit_are_not_used(tmp_path: Path) -> None:
    text = GOOD.replace('regions = ["Insula_[LR]"]', """
near_mm = [[-10, 0, 0], [40, 0, 0]]
within_mm = 8
nearest = 5
source = "doi:10.1000/xyz"
""")  # fmt: skip
    centres = {"a_L": (-10, 7.9, 0), "b_L": (-10, 0, 8), "c_L": (-10, 0, 8.1), "d_R": (40, 9, 0),
              "Amygdala": None}  # fmt: skip
    regions = tuple(
        replace(infer_region(k, label), xyz_mm=xyz_mm)
        for k, (label, xyz_mm) in enumerate(centres.items(), start=1)
    )
    atlas = Atlas("Places", regions, "table")
    (mine,) = load_circuits(atlas, ["mine"], files=[written(tmp_path, text)]).circuits
    assert names(atlas, mine.seeds) == ["a_L", "b_L"]


SEEDS = 'regions = ["Insula_[LR]"]'
ELSEWHERE = "dlpfc_amygdala.targets"
# text to replace, its replacement, and the expected message
BAD = {
    "no TOML": ("[[seeds]]", "seeds = [", "not valid TOML"),
    "key misspelt": ("direction", "directon", "unknown key 'directon'; did you mean direction?"),
    "no why": ('why = "Because."', "", "why: must be a non-empty text"),
    "empty title": ("My circuit", " ", "title: must be a non-empty text"),
    "direction": ('"increase"', '"up"', "direction: 'up' is not one of increase, decrease"),
    "name": ('"mine"', '"My circuit!"', "name: 'My circuit!' must be lower-case"),
    "name taken": ('"mine"', '"dmn"', "name: 'dmn' is already defined in dmn.toml"),
    "no seeds": ("[[seeds]]\n" + SEEDS, "", "seeds: add at least one"),
    "seeds a text": ("[[seeds]]\n" + SEEDS, 'seeds = "x"', "write each alternative as a table"),
    "regions a text": ('["Insula_[LR]"]', '"x"', r"seeds\[1\].regions: 'x' is not of type list"),
    "regions of numbers": (
        '["Insula_[LR]"]',
        "[1]",
        r"seeds\[1\].regions: must be a list of texts",
    ),
    "no pattern": ("Insula_[LR]", "Insula_[", "not a valid pattern"),
    "nothing to find": (SEEDS, "cortex_only = true", "state how regions are found"),
    "same_as and more": (SEEDS, SEEDS + '\nsame_as = "dmn.seeds"', "same_as alone"),
    "same_as unknown": (ELSEWHERE, "amygdala", "is not a side of an available circuit"),
    "circle": (ELSEWHERE, "mine.targets", "refers to itself: mine.targets -> mine.targets"),
    "no source": (SEEDS, "near_mm = [[1, 2, 3]]", "near_mm needs source"),
    "not in mm": (SEEDS, "near_mm = [1, 2, 3]", r"a list of \[x, y, z\]"),
    "bool for number": (SEEDS, SEEDS + "\nnearest = true", "nearest: True is not of type int"),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_files_are_refused(case: str, tmp_path: Path) -> None:
    old, new, message = BAD[case]
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    path = written(tmp_path, text)
    with pytest.raises(CircuitError, match=message) as caught:
        load_circuits(named("Aal", *AAL), ["mine"], files=[path])
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value).replace(str(path), "") or case == "no TOML"


def test_a_missing_circuit_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CircuitError, match="cannot be read"):
        load_circuits(named("Aal", *AAL), files=[tmp_path / "none.toml"])


def test_an_unknown_circuit_is_answered_by_the_nearest_names() -> None:
    with pytest.raises(CircuitError, match="'dlpfc_amigdala'; did you mean dlpfc_amygdala"):
        load_circuits(named("Aal", *AAL), ["dlpfc_amigdala"])


def test_a_circuit_that_does_not_resolve_is_answered_by_the_nearest_labels() -> None:
    atlas = named("Aal", "Insula_L", "Precunius_L", "Amigdala_L", a="Visual")
    with pytest.raises(CircuitError) as caught:
        load_circuits(atlas, ["hippocampus_mpfc"])
    assert "circuit hippocampus_mpfc: atlas Aal has no regions for its seeds" in str(caught.value)
    assert "networks: Visual" in str(caught.value)
    assert str(caught.value).endswith("Name other circuits, or specify an atlas that has it")
    with pytest.raises(CircuitError, match="nearest labels: Precunius_L"):
        load_circuits(atlas, ["dmn"])
    with pytest.raises(
        CircuitError, match=r"dmn: .*\. Also, circuit tpn: .*an atlas that has them"
    ):
        load_circuits(atlas, ["dmn", "tpn"])


def test_a_circuit_between_identical_sides_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace("dlpfc_amygdala.targets", "mine.seeds")
    with pytest.raises(CircuitError, match="seeds and targets are the same regions"):
        load_circuits(named("Aal", *AAL), ["mine"], files=[written(tmp_path, text)])


# -------------------------------------------------------------------------------- CONN

CONN = (
    "networks.DefaultMode.MPFC (1,55,-3)",
    "networks.DefaultMode.PCC (1,-61,38)",
    "networks.FrontoParietal.LPFC (L) (-43,33,28)",
    "networks.DorsalAttention.FEF (L) (-27,-9,64)",
    "networks.Salience.ACC (0,22,35)",
    "networks.Salience.AInsula (L) (-44,13,1)",
    "atlas.MidFG r (Middle Frontal Gyrus Right)",
    "atlas.Amygdala l",
    "atlas.Hippocampus r",
    "atlas.aPaHC r (Parahippocampal Gyrus, anterior division Right)",
    "atlas.MedFC (Frontal Medial Cortex)",
    "atlas.PC (Cingulate Gyrus, posterior division)",
    "atlas.AC (Cingulate Gyrus, anterior division)",
    "atlas.AG l (Angular Gyrus Left)",
    "atlas.IC l (Insular Cortex Left)",
    "atlas.SPL l (Superior Parietal Lobule Left)",
    "atlas.SubCalC (Subcallosal Cortex)",
    "atlas.PaCiG r (Paracingulate Gyrus Right)",
    "atlas.Accumbens l",
    "atlas.Cereb1 l (Cerebelum Crus1 Left)",
)


def conn(prefix: str) -> Atlas:
    """Atlas of CONN's regions, with the networks that their names state."""
    labels = [label for label in CONN if label.startswith(prefix)]
    networks = [label.split(".")[1] if label.startswith("networks") else "" for label in labels]
    return Atlas(
        "conn",
        tuple(
            infer_region(k, label, network=network)
            for k, (label, network) in enumerate(zip(labels, networks, strict=True), 1)
        ),
        "table",
    )


def test_circuits_resolve_on_the_networks_and_the_atlas_of_conn() -> None:
    atlas = conn("")
    found = circuits_on(atlas)
    assert set(found) == LISTED
    assert names(atlas, found["dmn"].seeds) == list(CONN[:2])
    assert names(atlas, found["tpn"].seeds) == list(CONN[2:4])
    assert names(atlas, found["salience"].seeds) == list(CONN[4:6])
    assert names(atlas, found["dlpfc_amygdala"].seeds) == [CONN[6]]
    assert names(atlas, found["dlpfc_amygdala"].targets) == [CONN[7]]


def test_circuits_resolve_on_the_atlas_of_conn_alone() -> None:
    atlas = conn("atlas")
    found = circuits_on(atlas)
    assert set(found) == LISTED
    assert names(atlas, found["dmn"].seeds) == [CONN[10], CONN[11], CONN[13]]
    assert names(atlas, found["tpn"].seeds) == [CONN[6], CONN[15]]
    assert names(atlas, found["salience"].seeds) == [CONN[12], CONN[14]]
    assert names(atlas, found["hippocampus_mpfc"].seeds) == [CONN[8]]
    assert names(atlas, found["mpfc_amygdala"].seeds) == [CONN[10]]
