"""Regions of CONN files are matched by normalised names, and confirmed by their centres."""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.bids.convert.conn_regions import (
    match_regions,
    normalise_name,
    select_regions,
)
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.conn import ConnRegions

CLUSTERS = tuple(f"Schaefer1000RSN7.cluster{k:03d}" for k in range(1, 6))
CENTRES = np.arange(15.0).reshape(5, 3) * 10


def regions(names=CLUSTERS, centres=CENTRES, path="b.mat"):
    return ConnRegions(Path(path), tuple(names), np.array(centres, float))


@pytest.mark.parametrize("spelling", ["Schaefer1000RSN7", "Schaefer10007RSN", "Schaeffer10007RSN"])
def test_spellings_of_an_atlas_have_one_normalised_form(spelling):
    assert normalise_name(f"{spelling}.cluster001") == "schaefersn 10007.cluster1"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Schaefer1000RSN7.cluster001", "Schaefer1007RSN.cluster001"),  # 1000 and 100 regions
        ("Schaefer1000RSN7.cluster001", "Schaefer1000RSN17.cluster001"),
        ("atlas.FP r (Frontal Pole Right)", "atlas.FP l (Frontal Pole Left)"),
        ("networks.DMN.LP (1,5,3)", "networks.DMN.LP (1,50,3)"),
    ],
)
def test_different_regions_have_different_forms(one, other):
    assert normalise_name(one) != normalise_name(other)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ((), [3, 4, 5]),
        (("atlas.*",), [4]),
        (("ATLAS.*", r"networks\.DefaultMode\..*"), [3, 4]),
        (("atlas",), []),
        ((".*Matter",), []),
    ],
)
def test_regions_are_selected_by_complete_names_without_tissues(patterns, expected):
    names = ["Grey Matter", "White Matter", "CSF", "networks.DefaultMode.MPFC", "atlas.A", "S.1"]
    assert select_regions(names, patterns) == expected


def test_other_spellings_and_orders_are_matched_and_reported(source):
    names = [name.replace("Schaefer1000RSN7", "Schaeffer10007RSN") for name in CLUSTERS]
    other = regions(names[::-1], CENTRES[::-1] + 0.3)
    match = match_regions([(source(), regions(path="a.mat")), (source("controls"), other)])
    assert match.regions.labels == CLUSTERS
    assert match.columns[Path("b.mat")].tolist() == [4, 3, 2, 1, 0]
    assert len(match.notes) == 1
    assert "controls: 5 regions named Schaeffer10007RSN.* are taken as" in match.notes[0]
    assert "agree within 0.52 mm" in match.notes[0]


def test_centres_further_than_a_millimetre_are_refused_by_name(source):
    centres = CENTRES.copy()
    centres[2, 0] += 1.1
    with pytest.raises(InputError, match=r"b\.mat: the centres of 1 regions .*cluster003"):
        match_regions([(source(), regions(path="a.mat")), (source(), regions(centres=centres))])


def test_one_centre_under_two_names_is_refused_with_the_line_to_paste(source):
    names = ["Yeo" + name for name in CLUSTERS]
    with pytest.raises(
        InputError, match=r'rename = \{"YeoSchaefer1000RSN7" = "Schaefer1000RSN7"\}'
    ):
        match_regions([(source(), regions(path="a.mat")), (source(), regions(names))])
    renamed = source("b", rename=(("YeoSchaefer1000RSN7", "Schaefer1000RSN7"),))
    match = match_regions([(source(), regions(path="a.mat")), (renamed, regions(names))])
    assert match.regions.labels == CLUSTERS


def test_regions_of_some_files_only_are_left_out_and_reported(source):
    match = match_regions(
        [
            (source("one"), regions((*CLUSTERS, "atlas.A"), [*CENTRES, [0, 0, 1]], "a.mat")),
            (source("two"), regions((*CLUSTERS, "B.x", "B.y"), [*CENTRES, [0, 0, 2], [0, 0, 3]])),
        ]
    )
    assert match.regions.labels == CLUSTERS
    assert any("1 regions are not in all folders" in note and "atlas.A" in note
               for note in match.notes)  # fmt: skip
    assert any("two: 1 more regions match" in note for note in match.notes)


def test_files_without_common_regions_are_refused(source):
    other = regions([f"x.{k}" for k in range(5)], CENTRES + 50)
    with pytest.raises(InputError, match="0 regions are in all folders"):
        match_regions([(source(), regions(path="a.mat")), (source(), other)])


def test_a_pattern_without_regions_lists_the_atlases(source):
    with pytest.raises(InputError, match=r"no region matches.*start with Schaefer1000RSN7"):
        match_regions([(source(regions=("atlas.*",)), regions())])


def test_networks_are_those_that_names_state(source):
    names = ("networks.DefaultMode.MPFC (1,55,-3)", "atlas.AC (Cingulate Gyrus)",
             "S.7Networks_LH_Vis_1")  # fmt: skip
    match = match_regions([(source(), regions(names, CENTRES[:3]))])
    assert match.regions.networks == ("DefaultMode", "", "Vis")
