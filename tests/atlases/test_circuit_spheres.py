"""The default atlas: the 300 spheres unchanged, and circuits at their published coordinates."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from circuitshift.atlases import DEFAULT_ATLAS
from circuitshift.atlases.circuit_spheres import SPHERES
from circuitshift.atlases.load import load_atlas
from circuitshift.atlases.records import Atlas
from circuitshift.atlases.resolve import load_circuits

FILES = Path(__file__).resolve().parents[2] / "atlases/circuits"
FARTHEST_MM = 12.0
#: Sides of circuits that the circuit files locate by a published coordinate where names fail.
LOCATED = {
    "dlpfc_amygdala seeds", "dlpfc_sgacc seeds", "dlpfc_sgacc targets", "dmpfc_dmn seeds",
    "hippocampus_mpfc targets", "mpfc_amygdala seeds", "mpfc_nacc seeds", "mpfc_nacc targets",
    "sgacc_dmn seeds",
}  # fmt: skip


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return load_atlas(DEFAULT_ATLAS)


def published(side: str) -> list[tuple[float, float, float]]:
    """Return the coordinates by which the files locate a side, as in ``mpfc_nacc targets``."""
    name, part = side.split()
    content = tomllib.loads((FILES / f"{name}.toml").read_text(encoding="utf-8"))
    points: list[tuple[float, float, float]] = []
    for option in content.get(part, ()):
        if "same_as" in option:
            points += published(option["same_as"].replace(".", " "))
        for x, y, z in option.get("near_mm", ()):
            points += [(x, y, z), (-x, y, z)] if option.get("mirror") else [(x, y, z)]
    return points


def test_the_300_spheres_come_first_and_are_unchanged(atlas: Atlas) -> None:
    spheres = load_atlas("seitzman300")
    assert atlas.regions[:300] == spheres.regions
    assert atlas.labels[300:] == (
        "SubgenualCingulate_L_01", "SubgenualCingulate_R_01", "Accumbens_L_01", "Accumbens_R_01",
        "DLPFC_L_01", "DLPFC_R_01", "DMPFC_M_01",
    )  # fmt: skip
    assert [r.index for r in atlas.regions] == list(range(1, 308))
    assert (atlas.kind, atlas.name, atlas.space) == (
        "spheres", "Seitzman300Circuits", spheres.space,
    )  # fmt: skip
    assert load_atlas("Seitzman300Circuits", space="MNI152NLin6Asym").space == "MNI152NLin6Asym"


def test_each_added_sphere_has_a_source_with_doi(atlas: Atlas) -> None:
    for sphere in SPHERES:
        doi = re.search(r"doi:10\.\d{4,9}/\S+$", sphere.source)
        assert doi is not None, sphere
        assert doi[0] in atlas.reference


def test_added_spheres_overlap_less_than_the_300_spheres(atlas: Atlas) -> None:
    centres = atlas.centres_mm()
    radii = np.array([r.radius_mm for r in atlas.regions])
    distance = np.linalg.norm(centres[:, None] - centres, axis=2)
    gap = distance - radii[:, None] - radii
    np.fill_diagonal(gap, np.inf)
    assert gap[:300, :300].min() == pytest.approx(-1.33, abs=0.01)  # two spheres of the thalamus
    # voxels within two spheres belong to the nearer centre, as in the thalamus
    assert gap[300:].min() > -0.5
    close = {
        tuple(sorted((atlas.labels[a], atlas.labels[b])))
        for a, b in zip(*np.nonzero(gap < 0), strict=True)
        if max(a, b) >= 300
    }
    assert close == {
        ("Accumbens_L_01", "SubgenualCingulate_L_01"),
        ("Accumbens_R_01", "SubgenualCingulate_R_01"),
        ("DLPFC_L_01", "FrontoParietal_L_04"),
        ("DMPFC_M_01", "DefaultMode_L_23"),
    }


def test_circuits_lie_at_their_published_coordinates(atlas: Atlas) -> None:
    """Distances of all regions of the sides for which the circuit files have a coordinate."""
    centres = atlas.centres_mm()
    found = {}
    for circuit in load_circuits(atlas).circuits:
        for part, positions in (("seeds", circuit.seeds), ("targets", circuit.targets)):
            points = published(f"{circuit.name} {part}") if positions else []
            if points:
                distance = np.linalg.norm(centres[list(positions), None] - np.array(points), axis=2)
                found[f"{circuit.name} {part}"] = distance.min(axis=1)
    listed = {side: [round(float(d), 1) for d in at] for side, at in found.items()}
    assert set(found) == LOCATED, listed
    assert max(d.max() for d in found.values()) <= FARTHEST_MM, listed
    for side in LOCATED - {"hippocampus_mpfc targets", "mpfc_amygdala seeds", "mpfc_nacc seeds"}:
        assert found[side].max() == 0, listed
    # the medial prefrontal cortex is among the 300 spheres
    np.testing.assert_allclose(found["mpfc_nacc seeds"], [1.7, 6.5], atol=0.05)


def test_no_circuit_is_located_by_a_substitute(atlas: Atlas) -> None:
    found = load_circuits(atlas)
    assert len(found.circuits) == 11
    assert not any("used instead" in note for c in found.circuits for note in c.notes)
    assert not any("seeds only" in note for c in found.circuits for note in c.notes)


def test_circuits_defined_by_networks_are_those_of_the_300_spheres(atlas: Atlas) -> None:
    here, there = (
        {c.name: c for c in load_circuits(a).circuits} for a in (atlas, load_atlas("seitzman300"))
    )
    for name in ("dmn", "tpn", "dmn_tpn", "salience"):
        assert (here[name].seeds, here[name].targets) == (there[name].seeds, there[name].targets)
    assert {r.network for r in atlas.regions[300:]} == {""}
