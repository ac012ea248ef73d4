"""Regions at points of the template, and sums over regions."""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.atlases.load import load_atlas
from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import images
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc.structure.volumes import is_deep_grey, region_sums, regions_at


@pytest.mark.parametrize(
    "name",
    [
        "Hippocampus_L",
        "Left Thalamus",
        "Brain-Stem",
        "BasalGanglia_R_02",
        "HIP-rh",
        "aTHA-lh",
        "NAc-rh",
        "GP-lh",
        "Amygdala_L_01",
        "x Subcortex",
    ],
)
def test_deep_grey_matter_is_recognised_by_name(name: str) -> None:
    assert is_deep_grey(name)


@pytest.mark.parametrize(
    "name",
    [
        "ParaHippocampal_L",
        "Parahippocampal Gyrus, anterior division",
        "para hippocampus",
        "7Networks_LH_Vis_1 Vis",
        "17Networks_RH_VisCent_ExStr_2",
        "Frontal_Sup_L",
        "Cerebellum_6_R",
        "Cingulum_Ant_L",
    ],
)
def test_cortex_and_cerebellum_are_not_deep_grey_matter(name: str) -> None:
    assert not is_deep_grey(name)


def test_each_deep_region_of_the_embedded_atlas_is_recognised() -> None:
    names = {r.label.split("_")[0] for r in load_atlas("seitzman300").regions}
    deep = {name for name in names if is_deep_grey(name)}
    assert deep == {"Hippocampus", "Amygdala", "BasalGanglia", "Thalamus"}


def test_labels_are_those_of_the_nearest_voxel(tmp_path: Path) -> None:
    values = np.zeros((4, 4, 4), np.int16)
    values[:2], values[2:] = 7, 3
    path = tmp_path / "halves_dseg.nii.gz"
    images.write(path, Image(values, np.diag([2.0, 2.0, 2.0, 1.0])))
    atlas = Atlas("halves", (Region(3, "right"), Region(7, "left")), "labels", image=path)
    points = np.array([[0.0, 0, 0], [2.9, 2, 2], [3.1, 2, 2], [6, 6, 6], [90, 0, 0]])
    assert regions_at(atlas, points).tolist() == [1, 1, 0, 0, -1]


def test_a_point_in_two_spheres_belongs_to_the_nearer_centre() -> None:
    spheres = (
        Region(1, "a", xyz_mm=(0.0, 0.0, 0.0), radius_mm=5.0),
        Region(2, "b", xyz_mm=(6.0, 0.0, 0.0), radius_mm=4.0),
    )
    points = np.array([[0.0, 0, 0], [2.5, 0, 0], [3.5, 0, 0], [9, 0, 0], [0, 6, 0]])
    assert regions_at(Atlas("two", spheres, "spheres"), points).tolist() == [0, 0, 1, 1, -1]


def test_an_atlas_without_volumes_is_refused() -> None:
    with pytest.raises(InputError, match="atlas names: volumes cannot be measured"):
        regions_at(Atlas("names", (Region(1, "a"),), "table"), np.zeros((1, 3)))
    with pytest.raises(InputError, match="region a has no centre or radius"):
        regions_at(Atlas("names", (Region(1, "a"),), "spheres"), np.zeros((1, 3)))


def test_values_are_summed_by_region() -> None:
    found = region_sums(np.array([1, -1, 0, 1]), 3, np.array([2.0, 50.0, 3.0, 4.0]))
    assert found[:2].tolist() == [3, 6]
    assert np.isnan(found[2])
