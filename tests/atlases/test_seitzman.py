"""The embedded Seitzman atlas: values of nilearn, and no heavy imports."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from circuitshift.atlases import seitzman
from circuitshift.atlases.errors import AtlasError
from circuitshift.atlases.load import load_atlas


def test_values_equal_those_of_nilearn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nilearn.datasets import fetch_coords_seitzman_2018

        reference = fetch_coords_seitzman_2018(ordered_regions=False)
    atlas = load_atlas("seitzman300")
    np.testing.assert_allclose(atlas.centres_mm(), reference.rois.to_numpy(float))
    assert [r.radius_mm for r in atlas.regions] == list(reference.radius)
    assert [r.network or "unassigned" for r in atlas.regions] == list(reference.networks)
    assert [r.index for r in atlas.regions] == list(range(1, 301))
    assert (atlas.kind, atlas.name) == ("spheres", "Seitzman300")
    assert atlas.reference == "doi:10.1016/j.neuroimage.2019.116290"
    for region, part in zip(atlas.regions, reference.regions, strict=True):
        if part.startswith("cortex"):
            assert region.hemisphere == {"cortexL": "L", "cortexR": "R", "cortexMid": ""}[part]
        else:
            assert region.label.lower().startswith(part.lower())
    assert [label for label in atlas.labels if label.startswith(("Amyg", "Hippo"))] == [
        "Hippocampus_L_01", "Hippocampus_R_01", "Hippocampus_L_02", "Hippocampus_R_02",
        "Amygdala_L_01", "Amygdala_R_01",
    ]  # fmt: skip


def test_no_heavy_library_is_imported() -> None:
    code = (
        "import sys; from circuitshift.atlases.load import load_atlas; load_atlas('seitzman300'); "
        "print([m for m in ('nilearn', 'nibabel', 'pandas', 'templateflow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["seitzman300", "Seitzman300", "seitzman_2018"])
def test_the_name_may_be_spelt_in_several_ways(name: str) -> None:
    assert load_atlas(name, space="MNI152NLin6Asym").space == "MNI152NLin6Asym"


def test_cerebellar_spheres_across_the_midline_have_no_hemisphere() -> None:
    cerebellum = [r for r in load_atlas("seitzman300").regions if r.label.startswith("Cerebellum")]
    assert {r.hemisphere for r in cerebellum} == {"L", "R", ""}
    for region in cerebellum:
        crosses = abs(region.xyz_mm[0]) < region.radius_mm
        assert (region.hemisphere == "") == crosses, region


def test_missing_files_of_nilearn_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seitzman, "SPHERES", "none.txt")
    with pytest.raises(AtlasError, match=r"none\.txt is not installed; install nilearn"):
        load_atlas("seitzman300")


def test_files_of_different_length_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    read = seitzman._lines

    def one_code_only(name: str) -> list[str]:
        return read(name)[: 2 if name == seitzman.ANATOMY else None]

    monkeypatch.setattr(seitzman, "_lines", one_code_only)
    with pytest.raises(AtlasError, match=r"has 300 rows but \S+ has 1; reinstall nilearn"):
        load_atlas("seitzman300")
