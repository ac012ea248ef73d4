"""Head motion: every volume of a run against the run's own reference, by least squares.

Gauss-Newton steps in the inverse compositional form (Baker & Matthews 2004,
doi:10.1023/B:VISI.0000011205.11775.fd): gradients belong to the reference, so their normal matrix
is made once, and a volume costs a few interpolations of some ten thousand voxels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms

__all__ = ["HeadMotion", "align", "estimate_motion", "head_mask"]


_MOST_VOXELS = 40_000
_FOR_REFERENCE = 24  # volumes averaged into the reference
_STEPS = 12
_CLOSE_MM = 1e-3  # a step that moves the head's surface by less is the last
_HEAD_MM = 80.0


@dataclass(frozen=True, eq=False)
class HeadMotion:
    """How the head moved in a run.

    Parameters
    ----------
    reference : Image
        Mean of volumes spread over the run after they were realigned.
    matrices : ndarray of shape (n_volumes, 4, 4)
        Take points of the reference, mm, to where they were in each volume.
    centre_mm : ndarray of shape (3,)
        Centre of the head, about which `parameters` rotate.
    """

    reference: Image
    matrices: Floats
    centre_mm: Floats

    @property
    def parameters(self) -> Floats:
        """Translations, mm, and rotations, radians, shape (n_volumes, 6); see `rigid`."""
        return np.array([transforms.parameters_of(m, self.centre_mm) for m in self.matrices])


def head_mask(image: Image) -> npt.NDArray[np.bool_]:
    """Tell the head from air: Otsu's threshold, the largest part, holes filled.

    Parameters
    ----------
    image : Image

    Returns
    -------
    ndarray of bool, shape of the grid
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
    """Threshold of greatest variance between two classes (Otsu 1979)."""
    middle = (edges[:-1] + edges[1:]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * middle)
    above = below[-1] - below
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(middle[np.nanargmax(between)])


def estimate_motion(run: Image, *, n_dummy: int = 0) -> HeadMotion:
    """Estimate head motion.

    Parameters
    ----------
    run : Image
        Four-dimensional.
    n_dummy : int
        Volumes before the steady state; they do not enter the reference.

    Returns
    -------
    HeadMotion
    """
    n = run.data.shape[3]
    steady = np.arange(min(n_dummy, n - 1), n)
    chosen = steady[np.unique(np.linspace(0, len(steady) - 1, _FOR_REFERENCE).round().astype(int))]
    # no volume is preferred: the reference begins as the mean of many, and is made again sharper
    reference = run.like(np.asarray(run.data[..., chosen], np.float32).mean(axis=3))
    centre = _centre(reference)
    for _ in range(2):
        fit = _MotionFit.of(reference, centre)
        reference = run.like(_mean(run, dict(fit.follow(run, chosen.tolist()))))
    fit = _MotionFit.of(reference, centre)
    matrices = np.empty((n, 4, 4))
    for number, matrix in fit.follow(run, range(n)):
        matrices[number] = matrix
    return HeadMotion(reference, matrices, centre)


def align(fixed: Image, moving: Image, start: Floats, centre_mm: Floats) -> Floats:
    """Refine the rigid motion between two images of one contrast.

    Parameters
    ----------
    fixed, moving : Image
    start : ndarray of shape (4, 4)
        Takes points of `fixed`, mm, about to where they are in `moving`.
    centre_mm : ndarray of shape (3,)

    Returns
    -------
    ndarray of shape (4, 4)
    """
    fit = _MotionFit.of(fixed, centre_mm)
    for level in fit.levels:
        start = fit.solve(level, moving, start)
    return start


def _volume(run: Image, number: int) -> Image:
    return run.like(np.asarray(run.data[..., number], np.float32))


def _centre(image: Image) -> Floats:
    mask = head_mask(image)
    index = np.argwhere(mask).mean(axis=0)
    return np.asarray(image.affine[:3, :3] @ index + image.affine[:3, 3])


def _mean(run: Image, motion: dict[int, Floats]) -> npt.NDArray[np.float32]:
    """Mean of realigned volumes."""
    points = run.points()
    total = np.zeros(run.grid, np.float32)
    for number, matrix in motion.items():
        values = _volume(run, number).at(transforms.apply(matrix, points), order=3)
        total += values.reshape(run.grid)
    return np.asarray(total / len(motion), np.float32)


@dataclass(frozen=True, eq=False)
class _Level:
    """The reference at one smoothness: points, values, and the solution of the normal equations."""

    sigma: float  # voxels; 0: as it is
    points: Floats  # (n, 3)
    solver: Floats  # (8, n): from values of a volume to six parameters, scale and offset
    values: Floats

    @classmethod
    def of(cls, image: Image, centre: Floats, sigma: float) -> "_Level":
        data = np.asarray(image.data, float)
        if sigma:
            data = ndimage.gaussian_filter(data, sigma)
        slopes = np.stack(np.gradient(data), axis=-1) @ np.linalg.inv(image.affine[:3, :3])
        inside = ndimage.binary_dilation(head_mask(image), iterations=2)
        inside[[0, -1]] = inside[:, [0, -1]] = inside[:, :, [0, -1]] = False
        strength = np.where(inside, (slopes**2).sum(axis=-1), -1.0).ravel()
        most = min(_MOST_VOXELS, int(inside.sum()))
        chosen = np.sort(np.argpartition(-strength, most - 1)[:most])
        points, values = image.points()[chosen], data.ravel()[chosen]
        slope = slopes.reshape(-1, 3)[chosen]
        columns = np.column_stack(
            [slope, np.cross(points - centre, slope), values, np.ones(len(values))]
        )
        scale = np.sqrt((columns**2).mean(axis=0))
        solver = np.linalg.pinv(columns / scale) / scale[:, None]
        return cls(sigma, points, solver, values)


@dataclass(frozen=True, eq=False)
class _MotionFit:
    """Fits volumes to one reference, first smoothed, then as they are."""

    levels: tuple[_Level, ...]
    centre: Floats

    @classmethod
    def of(cls, reference: Image, centre: Floats) -> "_MotionFit":
        return cls(tuple(_Level.of(reference, centre, s) for s in (2.0, 0.0)), centre)

    def follow(self, run: Image, numbers: "list[int] | range") -> Iterator[tuple[int, Floats]]:
        """Yield each volume's matrix, beginning the search where the head was last."""
        matrix = np.eye(4)
        for number in numbers:
            volume = _volume(run, number)
            for level in self.levels:
                matrix = self.solve(level, volume, matrix)
            yield number, matrix

    def solve(self, level: _Level, volume: Image, matrix: Floats) -> Floats:
        """Take Gauss-Newton steps from a matrix until they are small."""
        data = np.asarray(volume.data, np.float32)
        if level.sigma:
            data = ndimage.gaussian_filter(data, level.sigma)
        else:
            data = ndimage.spline_filter(data, order=3, output=np.float32)
        for _ in range(_STEPS):
            where = volume.indices(transforms.apply(matrix, level.points))
            order = 1 if level.sigma else 3
            values = ndimage.map_coordinates(
                data, where, order=order, prefilter=False, mode="nearest"
            )
            step = level.solver @ values
            step[:6] /= max(step[6], 0.1)  # of the volume's own intensity
            # R_x R_y R_z of small angles is I + [r]x: the columns above are its derivatives
            matrix = matrix @ np.linalg.inv(transforms.matrix_of(step[:6], self.centre))
            if np.abs(step[:3]).max() + _HEAD_MM * np.abs(step[3:6]).max() < _CLOSE_MM:
                break
        return matrix
