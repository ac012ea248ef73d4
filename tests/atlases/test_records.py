"""Records of atlases and circuits: validation, and positions of edges."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from circuitshift.atlases.errors import AtlasError
from circuitshift.atlases.records import Atlas, Circuit, Region

REGIONS = (Region(1, "a", xyz_mm=(1, 2, 3)), Region(2, "b"))


def test_labels_and_centres() -> None:
    atlas = Atlas("Two", REGIONS, "table")
    assert atlas.labels == ("a", "b")
    np.testing.assert_array_equal(atlas.centres_mm(), [[1, 2, 3], [np.nan] * 3])
    assert atlas.centres_mm().dtype == float


def test_records_are_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        REGIONS[0].label = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("With-Dash", REGIONS, "table"), "use letters and digits only"),
        (("", REGIONS, "table"), "use letters and digits only"),
        (("Empty", (), "table"), "it has no regions"),
        (("Twice", (Region(1, "b"), Region(2, "a"), Region(3, "b")), "table"), "labels b$"),
        (("NoImage", REGIONS, "labels"), "kind labels needs an image"),
        (("NoImage", REGIONS, "maps"), "kind maps needs an image"),
    ],
)
def test_invalid_atlases_are_refused(arguments, message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        Atlas(*arguments)


@pytest.mark.parametrize("n", [2, 3, 17, 300])
def test_edges_within_a_set_match_triu_indices(n: int) -> None:
    i, j = np.triu_indices(n, 1)
    seeds = tuple(range(0, n, 3))
    expected = np.flatnonzero(np.isin(i, seeds) & np.isin(j, seeds))
    np.testing.assert_array_equal(Circuit("x", "x", seeds).edges(n), expected)


def test_edges_between_two_sets_match_triu_indices() -> None:
    i, j = np.triu_indices(9, 1)
    seeds, targets = (8, 1, 4), (0, 5)
    expected = np.flatnonzero(
        (np.isin(i, seeds) & np.isin(j, targets)) | (np.isin(i, targets) & np.isin(j, seeds))
    )
    np.testing.assert_array_equal(Circuit("x", "x", seeds, targets).edges(9), expected)
    assert len(expected) == 6


def test_a_region_on_both_sides_makes_no_edge_with_itself() -> None:
    i, j = np.triu_indices(4, 1)
    positions = Circuit("x", "x", seeds=(0, 1), targets=(1, 2)).edges(4)
    assert sorted(zip(i[positions], j[positions], strict=True)) == [(0, 1), (0, 2), (1, 2)]


def test_a_single_region_has_no_edges() -> None:
    assert Circuit("x", "x", seeds=(2,)).edges(4).tolist() == []
