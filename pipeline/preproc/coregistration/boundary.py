"""Register a functional image to the boundary of white matter in a T1-weighted image.

Grey matter is brighter than white matter in functional images. A registration is good if the image
becomes brighter wherever it crosses the boundary from white to grey matter (Greve & Fischl 2009,
doi:10.1016/j.neuroimage.2009.06.060). The boundary is taken from a map of the probability of white
matter instead of a surface mesh.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms

__all__ = [
    "CHANCE",
    "Boundary",
    "BoundaryCost",
    "displacement_mm",
    "refine",
    "white_matter_boundary",
]

#: Cost of a registration without any relation to the boundary.
CHANCE = 0.5

_SMOOTHING_MM = 1.0  # SD of the smoothing of the probability map
_NEWTON_STEPS = 4
_MIN_STEEPNESS = 0.02  # smallest gradient of the probability, 1 / mm
_MAX_POINTS = 12_000
_COARSE_POINTS = 3_000
_STEP_MM = 1.5  # distance from the boundary at which white and grey matter are sampled
_COARSE_STEP_MM = 3.0
_SLOPE = 0.5  # of the hyperbolic tangent, per percent of contrast; the default of FreeSurfer
_SATURATION = 1.2  # slope times median contrast above which the cost is flat at its minimum
_MIN_VISIBLE = 0.1  # smallest share of the boundary that must be in view
_MM_PER_RADIAN = 50.0  # scales rotations like translations


@dataclass(frozen=True, eq=False)
class Boundary:
    """Points on the boundary of white matter.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        Points, mm.
    normals : ndarray, shape (n, 3)
        Unit vectors from white matter to its surroundings.
    """

    points: Floats
    normals: Floats

    def thinned(self, n: int) -> "Boundary":
        """Select at most `n` points that are spread evenly over the boundary."""
        if len(self.points) <= n:
            return self
        chosen = np.linspace(0, len(self.points) - 1, n).round().astype(int)
        return Boundary(self.points[chosen], self.normals[chosen])


def white_matter_boundary(white: Image) -> Boundary:
    """Find the boundary of white matter.

    Parameters
    ----------
    white : Image
        Probability of white matter.

    Returns
    -------
    Boundary
        Points where the smoothed probability is one half, around the largest connected component
        of white matter.

    Raises
    ------
    ImageError
        If the image contains no white matter.

    Notes
    -----
    Each voxel at the boundary is moved along the gradient of the probability to the value of one
    half, by Newton's method. Voxels for which this distance exceeds one voxel are omitted.
    """
    smooth = ndimage.gaussian_filter(
        np.asarray(white.data, np.float32), _SMOOTHING_MM / white.zooms
    )
    labels, n = ndimage.label(smooth > 0.5)
    if n == 0:
        raise ImageError(
            "no white matter was found in the T1-weighted image; check the tissue segmentation"
        )
    inside = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    near = (inside & ndimage.binary_dilation(~inside)) | (~inside & ndimage.binary_dilation(inside))
    start = np.argwhere(near) @ white.affine[:3, :3].T + white.affine[:3, 3]
    probability = white.like(smooth)
    slopes = [white.like(part) for part in np.gradient(smooth)]
    points = np.asarray(start, float)
    for _ in range(_NEWTON_STEPS):
        gradient = _gradient(slopes, points)
        distance = (0.5 - probability.at(points)) / np.maximum((gradient**2).sum(axis=1), 1e-6)
        points = points + distance[:, None] * gradient
    gradient = _gradient(slopes, points)
    steepness = np.linalg.norm(gradient, axis=1)
    kept = np.linalg.norm(points - start, axis=1) < white.zooms.max()
    kept &= (steepness > _MIN_STEEPNESS) & (np.abs(probability.at(points) - 0.5) < 0.05)
    normals = -gradient[kept] / steepness[kept, None]
    return Boundary(points[kept], normals).thinned(_MAX_POINTS)


def _gradient(slopes: Sequence[Image], points: Floats) -> Floats:
    """Interpolate a gradient, given along the voxel axes, in 1 / mm, shape (n, 3)."""
    parts = np.stack([part.at(points) for part in slopes], axis=1)
    return np.asarray(parts @ np.linalg.inv(slopes[0].affine[:3, :3]), float)


@dataclass(frozen=True, eq=False)
class BoundaryCost:
    """Boundary-based cost of rigid transforms between one image and one boundary.

    Parameters
    ----------
    boundary : Boundary
        Boundary of white matter.
    image : Image
        Functional image, in which grey matter is brighter than white matter.
    step_mm : float
        Distance from the boundary at which both tissues are sampled, mm.
    slope : float
        Slope of the hyperbolic tangent, per percent of contrast.
    """

    boundary: Boundary
    image: Image
    step_mm: float = _STEP_MM
    slope: float = _SLOPE

    def of(self, to_image: Floats) -> float:
        """Compute the cost of a transform.

        Parameters
        ----------
        to_image : ndarray, shape (4, 4)
            Maps points of the boundary to the image, mm.

        Returns
        -------
        float
            Mean over the visible boundary of ``(1 - tanh(slope q)) / 2`` with the contrast ``q =
            100 (g - w) / ((g + w) / 2)`` of the intensities g and w on the side of grey and of
            white matter. 0 if grey matter is brighter everywhere, `CHANCE` if the image is
            unrelated to the boundary, and 1 if less than a tenth of the boundary is in view. The
            cost of Greve & Fischl (2009) is twice this value.
        """
        contrast, visible = self._contrast(to_image)
        if visible.mean() < _MIN_VISIBLE:
            return 1.0
        return float((1 - np.tanh(self.slope * contrast[visible])).mean() / 2)

    def unsaturated_slope(self, to_image: Floats) -> float:
        """Return a slope at which the median contrast is not far in the saturated range."""
        contrast, visible = self._contrast(to_image)
        if not visible.any():
            return self.slope
        return min(self.slope, _SATURATION / max(float(np.median(np.abs(contrast[visible]))), 1e-6))

    def visible(self, to_image: Floats) -> float:
        """Return the share of the boundary that is in the field of view of the image."""
        return float(self._contrast(to_image)[1].mean())

    def _contrast(self, to_image: Floats) -> tuple[Floats, Bools]:
        """Return the contrast across each point, in percent, and whether it is visible."""
        to_index = np.linalg.inv(self.image.affine) @ to_image
        middle = to_index[:3, :3] @ self.boundary.points.T + to_index[:3, 3:]
        step = self.step_mm * (to_index[:3, :3] @ self.boundary.normals.T)
        where = np.concatenate([middle + step, middle - step], axis=1)
        last_index = np.array(self.image.grid)[:, None] - 1
        seen = ((where >= 0) & (where <= last_index)).all(axis=0).reshape(2, -1).all(axis=0)
        data = np.asarray(self.image.data, np.float32)
        grey, white = ndimage.map_coordinates(data, where, order=1, mode="nearest").reshape(2, -1)
        mean = np.maximum((grey + white) / 2, 1e-6)
        contrast = 100 * (grey - white) / mean
        return np.asarray(contrast, float), np.asarray(seen, bool)


def refine(boundary: Boundary, image: Image, start: Floats) -> tuple[Floats, float]:
    """Refine a rigid transform with the boundary of white matter.

    Parameters
    ----------
    boundary : Boundary
        Boundary of white matter.
    image : Image
        Functional image.
    start : ndarray, shape (4, 4)
        Initial transform from the boundary to the image, within several mm.

    Returns
    -------
    to_image : ndarray, shape (4, 4)
        Refined transform from the boundary to the image.
    cost : float
        Its cost; see `BoundaryCost.of`.

    Notes
    -----
    A first search uses fewer points at a larger distance from the boundary. Where contrast is high,
    the cost is saturated and hardly changes around its minimum. The second search therefore uses a
    slope of at most 1.2 divided by the median contrast. (With a much smaller slope, the high
    contrast of fluid beyond thin grey matter would move the minimum.)
    """
    centre = boundary.points.mean(axis=0)
    coarse = BoundaryCost(boundary.thinned(_COARSE_POINTS), image, _COARSE_STEP_MM)
    matrix = _minimise(coarse, start, centre, tolerance=1e-2)
    final = BoundaryCost(boundary, image)
    linear = BoundaryCost(boundary, image, slope=final.unsaturated_slope(matrix))
    matrix = _minimise(linear, matrix, centre, tolerance=1e-3)
    return matrix, final.of(matrix)


def _minimise(cost: BoundaryCost, start: Floats, centre: Floats, *, tolerance: float) -> Floats:
    """Minimise the cost by Powell's method, in mm of displacement."""

    def moved(steps: Floats) -> Floats:
        parameters = np.concatenate([steps[:3], steps[3:] / _MM_PER_RADIAN])
        return start @ transforms.matrix_of(parameters, centre)

    found = optimize.minimize(
        lambda steps: cost.of(moved(steps)),
        np.zeros(6),
        method="Powell",
        options={"xtol": tolerance, "ftol": tolerance**2, "maxiter": 20},
    )
    return moved(np.asarray(found.x, float))


def displacement_mm(boundary: Boundary, first: Floats, second: Floats) -> float:
    """Compute how far two transforms of a boundary differ.

    Parameters
    ----------
    boundary : Boundary
        Boundary of white matter.
    first, second : ndarray, shape (4, 4)
        Transforms of its points.

    Returns
    -------
    float
        Root mean square distance between the transformed points, mm.
    """
    apart = transforms.apply(first, boundary.points) - transforms.apply(second, boundary.points)
    return float(np.sqrt((apart**2).sum(axis=1).mean()))
