"""A simulated brain with ellipsoids of known volume, in two sessions."""

from dataclasses import dataclass

import numpy as np
import pytest

from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.anatomy import Brain

#: Centre and radii of each structure, mm, and its intensity; later ones replace earlier ones.
STRUCTURES = {
    "brain": ((0, 0, 0), (34, 40, 32), 65),
    "white": ((0, 0, 0), (29, 35, 27), 100),
    "Hippocampus_L": ((-15, -8, -8), (6, 13, 6), 65),
    "Hippocampus_R": ((15, -8, -8), (6, 13, 6), 65),
    "ventricle": ((0, 4, 6), (4, 14, 5), 30),
    "Caudate_L": ((-12, 12, 6), (5, 9, 6), 68),
    "Caudate_R": ((12, 12, 6), (5, 9, 6), 68),
}
NOISE = 1.5
ATLAS = Atlas(
    "nuclei",
    tuple(
        Region(k, name, name[-1]) for k, name in enumerate((n for n in STRUCTURES if "_" in n), 1)
    ),
    "table",
)


def inside(name, points, share=1.0, mm=0.6):
    """Share of each point's neighbourhood within a structure whose volume is scaled."""
    centre, radii, _ = STRUCTURES[name]
    scaled = (points - np.array(centre)) / (np.array(radii) * share ** (1 / 3))
    r = np.linalg.norm(scaled, axis=1)
    # approximate distance from the surface, mm
    steep = np.linalg.norm(scaled / (np.array(radii) * share ** (1 / 3)), axis=1)
    distance = (1 - r) * r / np.maximum(steep, 1e-9)
    return 1 / (1 + np.exp(-np.clip(distance / mm, -40, 40) * 2))


def intensity(points, shares):
    # the surface is uneven, so that its displacement can be seen in any direction
    uneven = points * (1 + 0.03 * np.sin(points[:, [1, 2, 0]] / 4))
    values = np.full(len(points), 20.0)
    for name, (_, _, value) in STRUCTURES.items():
        where = uneven if name in ("brain", "white") else points
        part = inside(name, where, shares.get(name, 1.0))
        values += part * (value - values)
    return values


@dataclass
class Sessions:
    brain: Brain
    images: tuple[Image, Image]
    regions: np.ndarray


def draw_sessions(shares, mm=2.0, seed=0):
    """Draw two sessions at different positions; structures change in the second."""
    rng = np.random.default_rng(seed)
    n = np.ceil(np.array([84, 96, 80]) / mm).astype(int)
    affine = np.diag([mm, mm, mm, 1.0])
    affine[:3, 3] = -(n - 1) / 2 * mm
    grid = Image(np.zeros(n, np.float32), affine)
    points = grid.points()
    images = []
    for session in range(2):
        pose = transforms.matrix_of([*rng.normal(0, 0.7, 3), *rng.normal(0, 0.02, 3)])
        head = transforms.apply(np.linalg.inv(pose), points)
        values = intensity(head, shares if session else {}) + rng.normal(0, NOISE, len(points))
        scan = grid.like(values.reshape(grid.grid).astype(np.float32))
        moved = scan.at(transforms.apply(pose, points), order=3)
        images.append(grid.like(moved.reshape(grid.grid)))
    average = grid.like((images[0].data + images[1].data) / 2)
    mask = (inside("brain", points) > 0.5).reshape(grid.grid)
    white = inside("white", points).reshape(grid.grid)
    tissues = (0 * white, 1 - white, white)
    brain = Brain(average, mask, tuple(grid.like((t * mask).astype(np.float32)) for t in tissues))
    regions = np.full(len(points), -1, np.intp)
    for k, region in enumerate(ATLAS.regions):
        regions[inside(region.label, points) > 0.5] = k
    return Sessions(brain, (images[0], images[1]), regions.reshape(grid.grid))


@pytest.fixture(scope="session")
def atlas():
    return ATLAS


@pytest.fixture(scope="session")
def draw():
    return draw_sessions
