"""Feature spaces: what a vector holds, where circuits lie in it, and what is refused."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from circuitshift.atlases.records import Circuit
from circuitshift.pipeline.edges import distances
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.analyse import Visits

LABELS = ("V1", "A1", "M1", "PCC")
CENTRES = np.array([[0, 0, 0], [3, 4, 0], [0, 0, 10], [6, 8, 0.0]])
WITHIN = Circuit("within", "within", seeds=(0, 1, 2))
BETWEEN = Circuit("between", "between", seeds=(0,), targets=(2, 3))


def test_edges_are_named_joined_and_measured_in_the_order_of_triu_indices() -> None:
    space = FeatureSpace.of_edges(LABELS, centres_mm=CENTRES)
    assert (space.kind, space.unit, space.n_regions, space.n_features) == ("edge", "Fisher z", 4, 6)
    assert [name.split(" \N{EN DASH} ") for name in space.names] == [
        ["V1", "A1"], ["V1", "M1"], ["V1", "PCC"], ["A1", "M1"], ["A1", "PCC"], ["M1", "PCC"],
    ]  # fmt: skip
    np.testing.assert_array_equal(space.ends, np.triu_indices(4, 1))
    np.testing.assert_array_equal(space.length_mm, distances(CENTRES))
    assert space.length_mm[:3].tolist() == [5, 10, 10]
    assert not space.ends[0].flags.writeable
    with pytest.raises(FrozenInstanceError):
        space.kind = "region"


def test_regions_are_their_own_features() -> None:
    space = FeatureSpace.of_regions(LABELS, unit="mm", valid_range=(0, 10), centres_mm=CENTRES)
    assert (space.kind, space.unit, space.n_features) == ("region", "mm", 4)
    assert space.names == LABELS
    assert space.length_mm is None
    with pytest.raises(DesignError, match="values of regions and therefore have no ends"):
        _ = space.ends


def test_a_number_of_regions_names_them() -> None:
    assert FeatureSpace.of_regions(2, unit="mm").names == ("region 1", "region 2")
    assert FeatureSpace.of_edges(300).n_features == 44850


def test_circuits_lie_at_edges_or_at_regions() -> None:
    edges, regions = FeatureSpace.of_edges(LABELS), FeatureSpace.of_regions(LABELS, unit="mm")
    assert edges.positions(WITHIN).tolist() == [0, 1, 3]
    assert edges.positions(BETWEEN).tolist() == [1, 2]
    assert regions.positions(WITHIN).tolist() == [0, 1, 2]
    assert regions.positions(BETWEEN).tolist() == [0, 2, 3]
    small = FeatureSpace.of_regions(3, unit="mm")
    assert small.positions(WITHIN).tolist() == [0, 1, 2]
    with pytest.raises(DesignError, match=r"circuit between names region 4 .* has 3 regions"):
        small.positions(BETWEEN)


def test_circuit_values_average_what_is_available() -> None:
    z = np.array([0.1, 0.2, np.nan, 0.4, 0.5, 0.6])  # edges 01 02 03 12 13 23
    missing = Circuit("l", "l", seeds=(0,), targets=(3,))
    values = FeatureSpace.of_edges(4).circuit_values(np.array([z, z]), [WITHIN, BETWEEN, missing])
    np.testing.assert_allclose(values[1, :2], [(0.1 + 0.2 + 0.4) / 3, 0.2])
    assert np.isnan(values[0, 2])
    thickness = np.array([2.0, 3.0, np.nan, 2.5])
    found = FeatureSpace.of_regions(4, unit="mm").circuit_values(thickness, [WITHIN, BETWEEN])
    np.testing.assert_allclose(found, [2.5, 2.25])


def test_what_shares_a_region() -> None:
    inside = np.zeros(6, bool)
    inside[0] = True  # edge 01 of four regions: only edge 23 shares none
    found = FeatureSpace.of_edges(4).sharing_regions(inside)
    assert found.tolist() == [True, True, True, True, True, False]
    alone = FeatureSpace.of_regions(6, unit="mm").sharing_regions(inside)
    np.testing.assert_array_equal(alone, inside)


def test_a_feature_space_says_what_it_has_no_meaning_for() -> None:
    edges = FeatureSpace.of_edges(LABELS, centres_mm=CENTRES)
    regions = FeatureSpace.of_regions(LABELS, unit="mm", centres_mm=CENTRES)
    for part, reason in (
        ("distance", "a region has no length"),
        ("node-adjusted", "all other edges of its regions"),
        ("network-based statistics", "edges that share a region"),
        ("random circuits", "spatial autocorrelation"),
        ("curvature", "known for Fisher z only"),
        ("global signal", "correlations between all regions"),
    ):
        assert edges.reason_to_omit(part) == ""
        assert reason in regions.reason_to_omit(part)
    unknown = CENTRES.copy()
    unknown[1] = np.nan
    partly = FeatureSpace.of_edges(LABELS, centres_mm=unknown)
    assert partly.reason_to_omit("distance") == ""
    assert "not applied to 3 of 6 edges" in partly.remark_on_lengths
    assert edges.remark_on_lengths == ""
    assert FeatureSpace.of_edges(4).known_length_mm is None
    unknown[:] = np.nan
    nothing = FeatureSpace.of_edges(LABELS, centres_mm=unknown)
    assert "regions are unknown" in nothing.reason_to_omit("distance")
    assert nothing.remark_on_lengths == ""
    assert "regions are unknown" in FeatureSpace.of_edges(4).reason_to_omit("distance")
    for part in ("curvature", "global signal"):
        assert FeatureSpace.of_edges(4, unit="log ratio").reason_to_omit(part)


def test_unknown_lengths_are_replaced_by_the_mean_of_the_others() -> None:
    lengths = np.array([10.0, np.nan, 30.0, 20.0, 20.0, 20.0])
    space = FeatureSpace.of_edges(4, length_mm=lengths)
    np.testing.assert_array_equal(space.known_length_mm, [10, 20, 30, 20, 20, 20])


@pytest.mark.parametrize(
    ("space", "n_values", "sentences"),
    [
        (
            FeatureSpace.of_edges(30),
            400,
            ("435 (edges of 30 regions", "values of 400 regions, but not edges: 28 regions have "
             "378 edges and 29 regions 406"),
        ),
        (
            FeatureSpace.of_regions(400, unit="mm"),
            435,
            ("400 (values of 400 regions, mm)", "the edges of 30 regions, or values of 435"),
        ),
        (FeatureSpace.of_edges(435), 435, ("94395 (edges of 435 regions", "edges of 30 regions")),
        (FeatureSpace.of_edges(3), 2, ("2 regions have 1 edges and 3 regions 3",)),
    ],
)  # fmt: skip
def test_a_wrong_length_names_both_readings(space, n_values, sentences) -> None:
    z = np.zeros((8, n_values))
    with pytest.raises(DesignError) as found:
        Visits(z, z, space)
    for sentence in (*sentences, f"baseline has {n_values} features", "FeatureSpace.of_regions"):
        assert sentence in str(found.value)
    with pytest.raises(DesignError, match="state whether the values are edges"):
        space.circuit_values(z, [])


def test_the_kind_is_never_guessed() -> None:
    """435 numbers are edges of 30 regions only where the caller says so."""
    z = np.zeros((8, 435))
    with pytest.raises(TypeError, match="features"):
        Visits(z, z)
    assert Visits(z, z, FeatureSpace.of_edges(30)).features.kind == "edge"
    assert Visits(z, z, FeatureSpace.of_regions(435, unit="mm")).features.kind == "region"
    with pytest.raises(TypeError, match="unit"):
        FeatureSpace.of_regions(435)
    with pytest.raises(DesignError, match="one row per participant"):
        Visits(z[0], z[0], FeatureSpace.of_edges(30))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: FeatureSpace("voxel", LABELS, "mm"), "kind 'voxel' is not edge or region"),
        (lambda: FeatureSpace.of_edges(0), "there are no regions"),
        (lambda: FeatureSpace.of_edges(["a", "b", "a"]), "names repeat: a"),
        (lambda: FeatureSpace.of_regions(4, unit=" "), "the unit is missing"),
        (lambda: FeatureSpace.of_regions(4, unit="mm", valid_range=(5, 5)), "range from 5 to 5"),
        (lambda: FeatureSpace.of_edges(3, centres_mm=CENTRES), "each region needs one centre"),
        (lambda: FeatureSpace.of_edges(4, length_mm=np.ones(4)), "each edge needs one length"),
        (
            lambda: FeatureSpace("region", LABELS, "mm", length_mm=np.ones(4)),
            "a region has no length",
        ),
    ],
)
def test_contradictions_are_refused(make, sentence) -> None:
    with pytest.raises(DesignError, match=sentence):
        make()


def test_values_outside_the_range_are_named() -> None:
    space = FeatureSpace.of_regions(LABELS, unit="mm", valid_range=(0, 10))
    z = np.full((5, 4), 2.5)
    wrong = z.copy()
    wrong[2, 3] = 2500.0
    wrong[4, 0] = np.nan
    with pytest.raises(DesignError, match=r"followup: 1 values .* is 2500 in row 3, PCC"):
        Visits(z, wrong, space)
    with pytest.raises(DesignError, match="the control condition: 1 values"):
        Visits(z, z, space, control_baseline=wrong, control_followup=z)
    Visits(z, np.where(wrong > 10, np.nan, wrong), space)
    Visits(z, wrong, FeatureSpace.of_regions(LABELS, unit="mm"))


def test_circuits_outside_the_features_are_refused() -> None:
    regions = FeatureSpace.of_regions(10, unit="mm")
    regions.check_positions({"empty": np.empty(0, int), "all": np.arange(10)})
    with pytest.raises(DesignError, match=r"circuit dmn has positions from 3 to 44.*10 regions"):
        regions.check_positions({"dmn": np.array([44, 3])})
    with pytest.raises(DesignError, match="positions from -1"):
        regions.check_positions({"dmn": np.array([-1, 3])})
