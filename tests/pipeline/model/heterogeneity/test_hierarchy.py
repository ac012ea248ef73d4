import numpy as np
import pytest

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.heterogeneity.hierarchy import (
    cortical_hierarchy,
    principal_gradient,
)

R = 60
FEATURES = FeatureSpace.of_edges(R)
FIRST, SECOND = FEATURES.ends
HIERARCHY = np.linspace(-1, 1, R)
SCHAEFER = ("Vis", "SomMot", "DorsAttn", "SalVentAttn", "Limbic", "Cont", "Default")
SEITZMAN = (
    "Visual",
    "SomatomotorDorsal",
    "DorsalAttention",
    "VentralAttention",
    "CinguloOpercular",
    "FrontoParietal",
    "DefaultMode",
)


def typical() -> np.ndarray:
    """Connectivity that decreases with distance along one axis."""
    distance = np.abs(HIERARCHY[FIRST] - HIERARCHY[SECOND])
    return 0.8 * np.exp(-2 * distance) + np.random.default_rng(0).normal(0, 0.03, FIRST.size)


def levels(names: tuple[str, ...]) -> list[float]:
    networks = [names[k % len(names)] for k in range(R)]
    position = cortical_hierarchy(typical(), FEATURES, networks)
    assert position.mean() == pytest.approx(0, abs=1e-9)
    assert position.std() == pytest.approx(1)
    return [float(position[names.index(name)]) for name in names]


@pytest.mark.parametrize("names", [SCHAEFER, SEITZMAN])
def test_networks_are_ordered_from_sensory_to_default_mode(names):
    found = levels(names)
    assert found == sorted(found)
    assert found[0] == found[1] < found[2] < found[3] < found[-1]


def test_a_network_without_a_level_has_the_mean_of_the_regions_with_one():
    found = dict(zip((*SCHAEFER, "Subcortical"), levels((*SCHAEFER, "Subcortical")), strict=True))
    assert found["Subcortical"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "networks",
    [
        (),
        ("",) * R,
        [f"cluster {k % 7}" for k in range(R)],
        [("Vis", "Default")[k % 2] for k in range(R)],  # two levels
        [SCHAEFER[k % 7] if k < R * 0.4 else "" for k in range(R)],  # less than half of the regions
    ],
)
def test_without_known_levels_the_principal_gradient_is_used(networks):
    found = cortical_hierarchy(typical(), FEATURES, networks)
    assert (found == principal_gradient(typical(), FEATURES)).all()


def test_the_gradient_follows_the_axis_of_connectivity():
    gradient = principal_gradient(typical(), FEATURES)
    assert gradient.mean() == pytest.approx(0, abs=1e-9)
    assert gradient.std() == pytest.approx(1)
    assert abs(np.corrcoef(gradient, HIERARCHY)[0, 1]) > 0.9


def test_regions_without_edges_have_no_gradient():
    z = typical()
    z[(FIRST == 5) | (SECOND == 5)] = np.nan
    gradient = principal_gradient(z, FEATURES)
    assert gradient[5] == 0
    assert np.isfinite(gradient).all()
    assert (principal_gradient(np.full(FIRST.size, np.nan), FEATURES) == 0).all()
