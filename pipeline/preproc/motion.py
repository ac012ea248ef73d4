"""Estimate head motion by aligning every volume of a run to the reference of the run.

The sum of squared differences is minimised by Gauss-Newton steps in the inverse compositional form
(Baker & Matthews 2004, doi:10.1023/B:VISI.0000011205.11775.fd). Gradients are those of the
reference, so that the normal matrix is computed once, and each volume requires only a few
interpolations of at most 40,000 voxels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.io.images import Image, to_ras
from circuitshift.pipeline.preproc import transforms

__all__ = [
    "HeadMotion",
    "align",
    "estimate_motion",
    "head_mask",
    "parameters_in_image",
    "relative_to",
]


_MAX_VOXELS = 40_000
_REFERENCE_VOLUMES = 24  # number of volumes averaged into the reference
_MAX_STEPS = 12
_TOLERANCE_MM = 1e-3  # iteration ends when the surface of the head moves by less
_HEAD_RADIUS_MM = 80.0


@dataclass(frozen=True, eq=False)
class HeadMotion:
    """Head motion of a run.

    Parameters
    ----------
    reference : Image
        Mean of realigned volumes that are spread over the run.
    matrices : ndarray, shape (n_volumes, 4, 4)
        Map points of the reference, mm, to their position in each volume.
    centre_mm : ndarray, shape (3,)
        Centre of the head, about which `parameters` rotate, mm.
    """

    reference: Image
    matrices: Floats
    centre_mm: Floats

    @property
    def parameters(self) -> Floats:
        """Translations, mm, and rotations, radians, shape (n_volumes, 6).

        See `transforms.parameters_of`.
        """
        return np.array([transforms.parameters_of(m, self.centre_mm) for m in self.matrices])


def head_mask(image: Image) -> npt.NDArray[np.bool_]:
    """Separate the head from air.

    The mask consists of the largest connected component above Otsu's threshold, with holes filled.

    Parameters
    ----------
    image : Image
        Image in which the head is brighter than air.

    Returns
    -------
    ndarray of bool, shape of the grid
        Mask of the head.
    """
    values = ndimage.gaussian_filter(np.asarray(image.data, np.float32), 1.0)
    top = np.percentile(values, 99.5)
    counts, edges = np.histogram(values[(values > 0) & (values < top)], 256)
    mask = values > _otsu(counts.astype(float), edges)
    labels, n = ndimage.label(mask)
    if n > 1:
        mask = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return np.asarray(ndimage.binary_fill_holes(mask), bool)


def _otsu(counts: Floats, edges: Floats) -> float:
    """Compute the threshold that maximises the variance between two classes.

    See Otsu 1979, doi:10.1109/TSMC.1979.4310076.
    """
    middle = (edges[:-1] + edges[1:]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * middle)
    above = below[-1] - below
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(middle[np.nanargmax(between)])


def estimate_motion(run: Image, *, n_dummy: int = 0) -> HeadMotion:
    """Estimate the head motion of a run.

    Parameters
    ----------
    run : Image
        Four-dimensional image.
    n_dummy : int
        Number of volumes before the steady state, which do not contribute to the reference.

    Returns
    -------
    HeadMotion
        Reference, and the rigid transform to each volume.
    """
    n = run.data.shape[3]
    steady = np.arange(min(n_dummy, n - 1), n)
    chosen = steady[
        np.unique(np.linspace(0, len(steady) - 1, _REFERENCE_VOLUMES).round().astype(int))
    ]
    # no volume is preferred: the reference is a mean of volumes, and realignment sharpens it
    reference = run.like(np.asarray(run.data[..., chosen], np.float32).mean(axis=3))
    centre = _centre(reference)
    for _ in range(2):
        fit = _MotionFit.from_reference(reference, centre)
        reference = run.like(_mean(run, dict(fit.track(run, chosen.tolist()))))
    fit = _MotionFit.from_reference(reference, centre)
    matrices = np.empty((n, 4, 4))
    for number, matrix in fit.track(run, range(n)):
        matrices[number] = matrix
    return HeadMotion(reference, matrices, centre)


def relative_to(image: Image, found: HeadMotion) -> tuple[HeadMotion, float]:
    """Express head motion relative to another image of the run, such as its SBRef.

    Parameters
    ----------
    image : Image
        Image with the distortion and approximately the contrast of the run.
    found : HeadMotion
        Head motion relative to the mean of volumes.

    Returns
    -------
    motion : HeadMotion
        The same motion with `image` as reference.
    similarity : float
        Correlation of `image` with the former reference after alignment, over the head.
    """
    to_mean = align(image, found.reference, np.eye(4), found.centre_mm)
    centre = transforms.apply(np.linalg.inv(to_mean), found.centre_mm[None])[0]
    inside = head_mask(image)
    where = transforms.apply(to_mean, image.points()[inside.ravel()])
    pair = np.asarray(image.data, float)[inside], found.reference.at(where)
    return HeadMotion(image, found.matrices @ to_mean, centre), float(np.corrcoef(pair)[0, 1])


def parameters_in_image(matrices: Floats, centre_mm: Floats, image: Image) -> Floats:
    """Describe head motion along the axes of the image instead of those of the scanner.

    Framewise displacement is a sum over axes and depends on their direction. With the axes of the
    image, it does not depend on the rotation that the header states.

    Parameters
    ----------
    matrices : ndarray, shape (n_volumes, 4, 4)
        Head motion, mm.
    centre_mm : ndarray, shape (3,)
        Centre of rotation, mm.
    image : Image
        Three-dimensional image of the run.

    Returns
    -------
    ndarray, shape (n_volumes, 6)
        Translations, mm, and rotations, radians; see `transforms.parameters_of`. The axes are the
        orthonormal axes nearest to those of the image, in the order right, anterior, superior.
    """
    columns = to_ras(image).affine[:3, :3]
    u, _, vt = np.linalg.svd(columns / np.linalg.norm(columns, axis=0))
    axes = np.eye(4)
    axes[:3, :3] = u @ vt
    centre = axes[:3, :3].T @ centre_mm
    return np.array([transforms.parameters_of(axes.T @ m @ axes, centre) for m in matrices])


def align(fixed: Image, moving: Image, start: Floats, centre_mm: Floats) -> Floats:
    """Refine the rigid transform between two images of the same contrast.

    Parameters
    ----------
    fixed, moving : Image
        Images to align.
    start : ndarray, shape (4, 4)
        Initial transform, which maps points of `fixed`, mm, approximately to `moving`.
    centre_mm : ndarray, shape (3,)
        Centre of rotation in `fixed`, mm.

    Returns
    -------
    ndarray, shape (4, 4)
        Maps points of `fixed`, mm, to `moving`.
    """
    fit = _MotionFit.from_reference(fixed, centre_mm)
    for level in fit.levels:
        start = fit.solve(level, moving, start)
    return start


def _volume(run: Image, number: int) -> Image:
    """Return one volume of a run."""
    return run.like(np.asarray(run.data[..., number], np.float32))


def _centre(image: Image) -> Floats:
    """Compute the centre of the head, mm."""
    mask = head_mask(image)
    index = np.argwhere(mask).mean(axis=0)
    return np.asarray(image.affine[:3, :3] @ index + image.affine[:3, 3])


def _mean(run: Image, motion: dict[int, Floats]) -> npt.NDArray[np.float32]:
    """Average realigned volumes."""
    points = run.points()
    total = np.zeros(run.grid, np.float32)
    for number, matrix in motion.items():
        values = _volume(run, number).at(transforms.apply(matrix, points), order=3)
        total += values.reshape(run.grid)
    return np.asarray(total / len(motion), np.float32)


@dataclass(frozen=True, eq=False)
class _Level:
    """Reference at one level of smoothing, with the solution of the normal equations."""

    sigma: float  # SD of the Gaussian kernel, voxels; 0 without smoothing
    points: Floats  # (n, 3)
    solver: Floats  # (8, n), maps values of a volume to six parameters, scale and offset
    values: Floats

    @classmethod
    def from_image(cls, image: Image, centre: Floats, sigma: float) -> "_Level":
        data = np.asarray(image.data, float)
        if sigma:
            data = ndimage.gaussian_filter(data, sigma)
        gradients = np.stack(np.gradient(data), axis=-1) @ np.linalg.inv(image.affine[:3, :3])
        inside = ndimage.binary_dilation(head_mask(image), iterations=2)
        inside[[0, -1]] = inside[:, [0, -1]] = inside[:, :, [0, -1]] = False
        strength = np.where(inside, (gradients**2).sum(axis=-1), -1.0).ravel()
        n_chosen = min(_MAX_VOXELS, int(inside.sum()))
        chosen = np.sort(np.argpartition(-strength, n_chosen - 1)[:n_chosen])
        points, values = image.points()[chosen], data.ravel()[chosen]
        gradient = gradients.reshape(-1, 3)[chosen]
        columns = np.column_stack(
            [gradient, np.cross(points - centre, gradient), values, np.ones(len(values))]
        )
        scale = np.sqrt((columns**2).mean(axis=0))
        solver = np.linalg.pinv(columns / scale) / scale[:, None]
        return cls(sigma, points, solver, values)


@dataclass(frozen=True, eq=False)
class _MotionFit:
    """Align volumes to one reference, first with smoothing, then without."""

    levels: tuple[_Level, ...]
    centre: Floats

    @classmethod
    def from_reference(cls, reference: Image, centre: Floats) -> "_MotionFit":
        return cls(tuple(_Level.from_image(reference, centre, s) for s in (2.0, 0.0)), centre)

    def track(self, run: Image, numbers: "list[int] | range") -> Iterator[tuple[int, Floats]]:
        """Yield the matrix of each volume; each search starts at the previous position."""
        matrix = np.eye(4)
        for number in numbers:
            volume = _volume(run, number)
            for level in self.levels:
                matrix = self.solve(level, volume, matrix)
            yield number, matrix

    def solve(self, level: _Level, volume: Image, matrix: Floats) -> Floats:
        """Take Gauss-Newton steps from a matrix until they are smaller than the tolerance."""
        data = np.asarray(volume.data, np.float32)
        if level.sigma:
            data = ndimage.gaussian_filter(data, level.sigma)
        else:
            data = ndimage.spline_filter(data, order=3, output=np.float32)
        for _ in range(_MAX_STEPS):
            where = volume.indices(transforms.apply(matrix, level.points))
            order = 1 if level.sigma else 3
            values = ndimage.map_coordinates(
                data, where, order=order, prefilter=False, mode="nearest"
            )
            step = level.solver @ values
            step[:6] /= max(step[6], 0.1)  # correct for the intensity scale of the volume
            # for small angles R_x R_y R_z is I + [r]x, as in the columns of `_Level`
            matrix = matrix @ np.linalg.inv(transforms.matrix_of(step[:6], self.centre))
            if np.abs(step[:3]).max() + _HEAD_RADIUS_MM * np.abs(step[3:6]).max() < _TOLERANCE_MM:
                break
        return matrix
