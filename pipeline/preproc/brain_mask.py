"""Brain extraction: a balloon that grows from inside the brain until intensity falls.

After BET (Smith 2002, doi:10.1002/hbm.10062), whose published forces and constants are kept; all
vertices move at once, and the part below the head is ignored by height instead of by the user.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.spatial import ConvexHull

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io.images import Image

__all__ = ["brain_mask"]


_HEAD_MM = 150.0  # from the top of the head to below the cerebellum
_ROUNDEST_MM, _FLATTEST_MM = 3.33, 10.0  # radii of curvature that smoothing tells apart
_INWARD_MM = 20
_PEAK_MM = 10


def brain_mask(image: Image, *, fraction: float = 0.5, steps: int = 1000) -> Bools:
    """Find the brain.

    Parameters
    ----------
    image : Image
        Any contrast in which the brain is brighter than its surface; RAS axes or any other.
    fraction : float
        Threshold between dark and bright: smaller gives larger brains.
    steps : int
        Of the balloon.

    Returns
    -------
    ndarray of bool, shape of the grid

    Raises
    ------
    ImageError
        If there is no head in the image.
    """
    data = np.asarray(image.data, np.float32)
    start = _Start.of(image, data, fraction)
    vertices, faces = _sphere(4)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [0, 2]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    surface = start.centre_mm + vertices * start.radius_mm / 2
    mesh = _Mesh(faces, edges, _neighbours(edges, len(vertices)))
    for _ in range(steps):
        surface = surface + _force(image.like(data), surface, mesh, start)
    return _fill(image, surface[faces])


@dataclass(frozen=True, eq=False)
class _Start:
    """Robust range of intensities, the sphere that holds the brain, and the threshold asked for."""

    low: float
    high: float
    threshold: float
    median: float
    centre_mm: Floats
    radius_mm: float
    fraction: float

    @classmethod
    def of(cls, image: Image, data: npt.NDArray[np.float32], fraction: float) -> "_Start":
        low, high = (float(v) for v in np.percentile(data, [2, 98]))
        threshold = low + 0.1 * (high - low)
        index = np.argwhere(data > threshold)
        if len(index) < 100:
            raise ImageError("no head was found: fewer than 100 voxels are above the background")
        points = index @ image.affine[:3, :3].T + image.affine[:3, 3]
        values = data[tuple(index.T)]
        near = points[:, 2] > np.percentile(points[:, 2], 99.9) - _HEAD_MM
        points, values = points[near], values[near]
        weight = np.minimum(values, high) - low
        centre = (points * weight[:, None]).sum(axis=0) / weight.sum()
        volume = len(points) * abs(np.linalg.det(image.affine[:3, :3]))
        radius = float(np.cbrt(volume * 3 / 4 / np.pi))
        inside = ((points - centre) ** 2).sum(axis=1) < radius**2
        return cls(low, high, threshold, float(np.median(values[inside])), centre, radius, fraction)


@dataclass(frozen=True, eq=False)
class _Mesh:
    faces: npt.NDArray[np.intp]
    edges: npt.NDArray[np.intp]
    neighbours: "sparse.csr_array"  # rows sum to 1


def _sphere(subdivisions: int) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Icosahedron of radius 1, each triangle cut into four again and again; faces turn outward."""
    golden = (1 + np.sqrt(5)) / 2
    corners = [(a, b * golden, 0.0) for a in (-1, 1) for b in (-1, 1)]
    vertices = np.array([np.roll(corner, k) for corner in corners for k in range(3)])
    vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    faces = ConvexHull(vertices).simplices.astype(np.intp)
    for _ in range(subdivisions):
        sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [0, 2]]])
        unique, place = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True)
        middle = vertices[unique].mean(axis=1)
        a, b, c = len(vertices) + place.reshape(3, -1)
        p, q, r = faces.T
        parts = ((p, a, c), (q, a, b), (r, b, c), (a, b, c))
        faces = np.concatenate([np.column_stack(part) for part in parts])
        middle /= np.linalg.norm(middle, axis=1, keepdims=True)
        vertices = np.concatenate([vertices, middle])
    inward = (_normals(vertices, faces) * vertices[faces].mean(axis=1)).sum(axis=1) < 0
    faces[inward] = faces[inward][:, ::-1]
    return vertices, faces


def _normals(surface: Floats, faces: npt.NDArray[np.intp]) -> Floats:
    """Return the normal of each face, as long as twice its area."""
    a, b, c = (surface[faces[:, k]] for k in range(3))
    return np.asarray(np.cross(b - a, c - a))


def _neighbours(edges: npt.NDArray[np.intp], n: int) -> "sparse.csr_array":
    both = np.concatenate([edges, edges[:, ::-1]])
    count = np.bincount(both[:, 0], minlength=n)
    return sparse.csr_array((1 / count[both[:, 0]], (both[:, 0], both[:, 1])), shape=(n, n))


def _force(image: Image, surface: Floats, mesh: _Mesh, start: _Start) -> Floats:
    """One step of every vertex: even spacing, smoothness, and intensity."""
    normal = np.zeros_like(surface)
    of_faces = _normals(surface, mesh.faces)
    for axis in range(3):
        for corner in range(3):
            normal[:, axis] += np.bincount(
                mesh.faces[:, corner], of_faces[:, axis], minlength=len(surface)
            )
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    toward = mesh.neighbours @ surface - surface
    height = (toward * normal).sum(axis=1)
    tangential = toward - height[:, None] * normal
    a, b = mesh.edges.T
    spacing = np.linalg.norm(surface[a] - surface[b], axis=1).mean()
    curvature = 2 * np.abs(height) / spacing**2
    middle = (1 / _ROUNDEST_MM + 1 / _FLATTEST_MM) / 2
    steepness = 6 / (1 / _ROUNDEST_MM - 1 / _FLATTEST_MM)
    smooth = (1 + np.tanh(steepness * (curvature - middle))) / 2
    push = _push(image, surface, normal, start)
    return np.asarray(
        tangential / 2
        + (smooth * height)[:, None] * normal
        + 0.05 * spacing * push[:, None] * normal
    )


def _push(image: Image, surface: Floats, normal: Floats, start: _Start) -> Floats:
    """Outward where the darkest voxel inside is bright against the brightest, else inward."""
    depth = np.arange(_INWARD_MM + 1.0)
    points = surface[:, None] - depth[None, :, None] * normal[:, None]
    values = image.at(points.reshape(-1, 3), order=0).reshape(len(surface), -1)
    darkest = np.maximum(start.low, np.minimum(start.median, values.min(axis=1)))
    near = values[:, : _PEAK_MM + 1].max(axis=1)
    brightest = np.minimum(start.median, np.maximum(start.threshold, near))
    level = (brightest - start.low) * start.fraction + start.low
    return np.asarray(2 * (darkest - level) / np.maximum(brightest - start.low, 1e-6))


def _fill(image: Image, triangles: Floats) -> Bools:
    """Voxels on or inside a closed surface of triangles (n, 3, 3), mm."""
    corners = image.indices(triangles.reshape(-1, 3)).T.reshape(-1, 3, 3)
    longest = np.abs(corners - np.roll(corners, 1, axis=1)).max()
    n = int(np.ceil(longest)) * 2 + 2  # at least two points a voxel: no holes in the shell
    u, v = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n))
    u, v = u[u + v <= 1 + 1e-9], v[u + v <= 1 + 1e-9]
    # the surface is closed also where the field of view cuts it off
    before = np.maximum(0, 1 - np.floor(corners.min(axis=(0, 1)))).astype(int)
    after = np.maximum(0, np.ceil(corners.max(axis=(0, 1))) + 2 - image.grid).astype(int)
    mask = np.zeros(before + image.grid + after, bool)
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    for s, t in zip(u, v, strict=True):
        index = np.rint(a + s * (b - a) + t * (c - a)).astype(int) + before
        mask[tuple(index.T)] = True
    inner = tuple(slice(b, b + n) for b, n in zip(before, image.grid, strict=True))
    return np.asarray(ndimage.binary_fill_holes(mask)[inner], bool)
