"""Extract the brain with a surface that expands from its inside until intensity decreases.

The method and constants are those of BET (Smith 2002, doi:10.1002/hbm.10062), with two differences:
all vertices move simultaneously, and tissue below the head is excluded by its height instead of by
the user.
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


_HEAD_HEIGHT_MM = 150.0  # from the top of the head to below the cerebellum
_MIN_RADIUS_MM, _MAX_RADIUS_MM = 3.33, 10.0  # radii of curvature between which smoothing increases
_DARKEST_WITHIN_MM = 20  # depth below the surface that is searched for the darkest voxel
_BRIGHTEST_WITHIN_MM = 10  # depth below the surface that is searched for the brightest voxel


def brain_mask(image: Image, *, fraction: float = 0.5, steps: int = 1000) -> Bools:
    """Compute a brain mask.

    Parameters
    ----------
    image : Image
        Image of any orientation and any contrast in which the brain is brighter than its surface.
    fraction : float
        Threshold between dark and bright, from 0 to 1; smaller values give larger brains.
    steps : int
        Number of iterations of the surface.

    Returns
    -------
    ndarray of bool, shape of the grid
        Brain mask.

    Raises
    ------
    ImageError
        If the image does not show a head.
    """
    data = np.asarray(image.data, np.float32)
    start = _InitialSphere.from_image(image, data, fraction)
    vertices, faces = _sphere(4)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [0, 2]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    surface = start.centre_mm + vertices * start.radius_mm / 2
    mesh = _Mesh(faces, edges, _neighbours(edges, len(vertices)))
    for _ in range(steps):
        surface = surface + _displacement(image.like(data), surface, mesh, start)
    return _voxelise(image, surface[faces])


@dataclass(frozen=True, eq=False)
class _InitialSphere:
    """Sphere that contains the brain, with the robust range of intensities and the threshold."""

    low: float
    high: float
    threshold: float
    median: float
    centre_mm: Floats
    radius_mm: float
    fraction: float

    @classmethod
    def from_image(
        cls, image: Image, data: npt.NDArray[np.float32], fraction: float
    ) -> "_InitialSphere":
        low, high = (float(v) for v in np.percentile(data, [2, 98]))
        threshold = low + 0.1 * (high - low)
        index = np.argwhere(data > threshold)
        if len(index) < 100:
            raise ImageError(
                "the image does not show a head: fewer than 100 voxels are brighter than the "
                "background; check that it is a T1-weighted image of a complete head"
            )
        points = index @ image.affine[:3, :3].T + image.affine[:3, 3]
        values = data[tuple(index.T)]
        near = points[:, 2] > np.percentile(points[:, 2], 99.9) - _HEAD_HEIGHT_MM
        points, values = points[near], values[near]
        weight = np.minimum(values, high) - low
        centre = (points * weight[:, None]).sum(axis=0) / weight.sum()
        volume = len(points) * abs(np.linalg.det(image.affine[:3, :3]))
        radius = float(np.cbrt(volume * 3 / 4 / np.pi))
        inside = ((points - centre) ** 2).sum(axis=1) < radius**2
        return cls(low, high, threshold, float(np.median(values[inside])), centre, radius, fraction)


@dataclass(frozen=True, eq=False)
class _Mesh:
    """Triangles and edges of the surface, and the mean over neighbours as a matrix."""

    faces: npt.NDArray[np.intp]
    edges: npt.NDArray[np.intp]
    neighbours: "sparse.csr_array"  # each row sums to 1


def _sphere(subdivisions: int) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Create an icosahedron of radius 1, with each triangle divided into four repeatedly.

    The vertices of each face are ordered so that its normal points outward.
    """
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
    """Compute the normal of each face; its length is twice the area of the face."""
    a, b, c = (surface[faces[:, k]] for k in range(3))
    return np.asarray(np.cross(b - a, c - a))


def _neighbours(edges: npt.NDArray[np.intp], n: int) -> "sparse.csr_array":
    """Create the matrix that averages over the neighbours of each vertex."""
    both = np.concatenate([edges, edges[:, ::-1]])
    count = np.bincount(both[:, 0], minlength=n)
    return sparse.csr_array((1 / count[both[:, 0]], (both[:, 0], both[:, 1])), shape=(n, n))


def _displacement(image: Image, surface: Floats, mesh: _Mesh, start: _InitialSphere) -> Floats:
    """Compute the displacement of every vertex from spacing, smoothness and intensity."""
    normal = np.zeros_like(surface)
    face_normals = _normals(surface, mesh.faces)
    for axis in range(3):
        for corner in range(3):
            normal[:, axis] += np.bincount(
                mesh.faces[:, corner], face_normals[:, axis], minlength=len(surface)
            )
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    to_mean = mesh.neighbours @ surface - surface
    height = (to_mean * normal).sum(axis=1)
    tangential = to_mean - height[:, None] * normal
    a, b = mesh.edges.T
    spacing = np.linalg.norm(surface[a] - surface[b], axis=1).mean()
    curvature = 2 * np.abs(height) / spacing**2
    middle = (1 / _MIN_RADIUS_MM + 1 / _MAX_RADIUS_MM) / 2
    steepness = 6 / (1 / _MIN_RADIUS_MM - 1 / _MAX_RADIUS_MM)
    smooth = (1 + np.tanh(steepness * (curvature - middle))) / 2
    intensity_force = _intensity_force(image, surface, normal, start)
    return np.asarray(
        tangential / 2
        + (smooth * height)[:, None] * normal
        + 0.05 * spacing * intensity_force[:, None] * normal
    )


def _intensity_force(
    image: Image, surface: Floats, normal: Floats, start: _InitialSphere
) -> Floats:
    """Compute the intensity force: outward if the darkest voxel inside is bright, otherwise inward.

    The darkest voxel is compared with the brightest voxel below the same vertex.
    """
    depth = np.arange(_DARKEST_WITHIN_MM + 1.0)
    points = surface[:, None] - depth[None, :, None] * normal[:, None]
    values = image.at(points.reshape(-1, 3), order=0).reshape(len(surface), -1)
    darkest = np.maximum(start.low, np.minimum(start.median, values.min(axis=1)))
    local_maximum = values[:, : _BRIGHTEST_WITHIN_MM + 1].max(axis=1)
    brightest = np.minimum(start.median, np.maximum(start.threshold, local_maximum))
    level = (brightest - start.low) * start.fraction + start.low
    return np.asarray(2 * (darkest - level) / np.maximum(brightest - start.low, 1e-6))


def _voxelise(image: Image, triangles: Floats) -> Bools:
    """Find the voxels on or inside a closed surface of triangles (n, 3, 3), mm."""
    corners = image.indices(triangles.reshape(-1, 3)).T.reshape(-1, 3, 3)
    longest = np.abs(corners - np.roll(corners, 1, axis=1)).max()
    # at least two points per voxel, so that the shell has no holes
    n = int(np.ceil(longest)) * 2 + 2
    u, v = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n))
    u, v = u[u + v <= 1 + 1e-9], v[u + v <= 1 + 1e-9]
    # padding keeps the surface closed where it extends beyond the field of view
    before = np.maximum(0, 1 - np.floor(corners.min(axis=(0, 1)))).astype(int)
    after = np.maximum(0, np.ceil(corners.max(axis=(0, 1))) + 2 - image.grid).astype(int)
    mask = np.zeros(before + image.grid + after, bool)
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    for s, t in zip(u, v, strict=True):
        index = np.rint(a + s * (b - a) + t * (c - a)).astype(int) + before
        mask[tuple(index.T)] = True
    inner = tuple(slice(b, b + n) for b, n in zip(before, image.grid, strict=True))
    return np.asarray(ndimage.binary_fill_holes(mask)[inner], bool)
