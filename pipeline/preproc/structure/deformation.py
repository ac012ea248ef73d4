"""Find the small deformation between a session and the within-participant template.

Changes within a participant are often smaller than a tenth of a voxel. The displacement is
therefore the solution of a least-squares problem: squared differences of intensity in units of the
noise, plus squared derivatives of the displacement in units of their expected size. As in Ashburner
& Ridgway 2013 (doi:10.3389/fnins.2012.00197), each session is compared with the average of all
sessions, so that no session is preferred.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from circuitshift.pipeline.arrays import Bools
from circuitshift.pipeline.io.images import Image

__all__ = ["jacobian", "no_displacement", "session_displacement"]


_Singles = npt.NDArray[np.float32]

_GRID_MM = 1.5  # finest grid on which displacements are estimated
_MARGIN_MM = 6.0  # tissue around the brain that is compared, and margin of the grid
_BIAS_MM = 20.0  # width of the smoothing that removes the remaining difference of bias
_STRAIN_SD = 0.3  # expected size of a derivative of the displacement
_SMOOTH_MM = 2.0  # shortest distance over which derivatives are expected to change
_LEAST_NOISE = 1e-3  # smallest noise, as a share of the median intensity
_MAX_STEPS = 4
_MAX_ITERATIONS = 40  # with 200, volumes of regions differ by .01 %
_TOLERANCE_MM = 0.005  # root mean square change that ends the Gauss-Newton steps
_RESIDUAL = 1e-2  # ends the conjugate gradients


def session_displacement(template: Image, session: Image, mask: Bools) -> Image:
    """Find the displacement from the within-participant template to a session.

    Parameters
    ----------
    template, session : Image
        Bias-corrected T1-weighted images with skull on one grid with axes R, A and S: the average
        of all sessions, and the session after rigid registration to it.
    mask : ndarray of bool
        Brain mask on this grid.

    Returns
    -------
    Image
        Displacement, mm, shape (x, y, z, 3), on a grid around the brain: the tissue at point p of
        the template is at ``p + displacement(p)`` in the session.

    Notes
    -----
    Each Gauss-Newton step minimises the sum over voxels of w (S - T + g . d)^2 / s^2 +
    (|D(u + d)|^2 + l^2 |L(u + d)|^2) / e^2, where S is the session at the current displacement u, T
    the template, g the mean of both gradients, w the mask, s the noise, estimated from the median
    absolute difference of both images, D the first derivatives, L the Laplacian, l 2 mm, and e the
    expected size of derivatives. The normal equations are solved by conjugate gradients.
    """
    grid = _grid_around(template, mask)
    mm = float(grid.zooms[0])
    fixed, moving = (_on_grid(image, grid) for image in (template, session))
    inside = template.like(mask.astype(np.float32)).onto(grid).data > 0.5
    near = ndimage.distance_transform_edt(~inside, sampling=mm) <= _MARGIN_MM
    weight = near.astype(np.float32)
    moving = _matched(moving, fixed, weight, _BIAS_MM / mm)
    noise = _noise(moving - fixed, fixed, inside)
    weight = (weight / noise**2).astype(np.float32)
    coefficients = ndimage.spline_filter(moving, order=3, output=np.float32)
    index = np.indices(grid.grid, np.float32)
    out = np.zeros((3, *grid.grid), np.float32)
    for _ in range(_MAX_STEPS):
        warped = ndimage.map_coordinates(
            coefficients, index + out / mm, order=3, prefilter=False, mode="nearest"
        )
        gradient = np.stack(np.gradient((warped + fixed) / 2, mm)).astype(np.float32)
        step = _solve(gradient, weight, warped - fixed, current=out, mm=mm)
        out += step
        if _dot(step, step) < _TOLERANCE_MM**2 * step.size:
            break
    return grid.like(np.moveaxis(out, 0, -1))


def jacobian(displacement: Image) -> Image:
    """Compute the volume of each point in the session relative to the template.

    Parameters
    ----------
    displacement : Image
        Displacement, mm; see `session_displacement`.

    Returns
    -------
    Image
        Determinant of the Jacobian matrix of ``p + displacement(p)``, by central differences;
        below 1 where the tissue is smaller in the session.
    """
    sizes = [float(size) for size in displacement.zooms]
    matrix = np.empty((*displacement.grid, 3, 3))
    for row in range(3):
        for column, part in enumerate(np.gradient(displacement.data[..., row], *sizes)):
            matrix[..., row, column] = part + (row == column)
    return displacement.like(np.linalg.det(matrix).astype(np.float32))


def no_displacement(template: Image, mask: Bools) -> Image:
    """Return the displacement of the only session of a participant, which is the template.

    Parameters
    ----------
    template : Image
        T1-weighted image.
    mask : ndarray of bool
        Brain mask on its grid.

    Returns
    -------
    Image
        Zeros; see `session_displacement`.
    """
    grid = _grid_around(template, mask)
    return grid.like(np.zeros((*grid.grid, 3), np.float32))


def _grid_around(image: Image, mask: Bools) -> Image:
    """Make an isotropic grid around the brain, at most as fine as the image."""
    index = np.argwhere(mask)
    ends = zip(index.min(axis=0), index.max(axis=0), strict=True)
    box = np.array(np.meshgrid(*ends), float).reshape(3, -1).T
    corners = box @ image.affine[:3, :3].T + image.affine[:3, 3]
    low, high = corners.min(axis=0) - _MARGIN_MM, corners.max(axis=0) + _MARGIN_MM
    size = max(_GRID_MM, float(image.zooms.min()))
    shape = tuple(int(n) for n in np.ceil((high - low) / size) + 1)
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = low
    return Image(np.zeros(shape, np.float32), affine)


def _on_grid(image: Image, grid: Image) -> _Singles:
    """Resample an image, after smoothing if the grid is coarser."""
    data = np.asarray(image.data, np.float32)
    ratio = grid.zooms[0] / image.zooms
    if (ratio > 1.01).any():
        data = ndimage.gaussian_filter(data, 0.4 * ratio)
    return np.asarray(image.like(data).onto(grid, order=3).data, np.float32)


def _matched(moving: _Singles, fixed: _Singles, weight: _Singles, width: float) -> _Singles:
    """Scale an image so that its smoothed intensity equals that of another image."""
    ours, theirs = (ndimage.gaussian_filter(image * weight, width) for image in (moving, fixed))
    ratio = np.divide(theirs, ours, out=np.ones_like(ours), where=ours > 1e-3 * ours.max())
    return np.asarray(moving * ratio, np.float32)


def _noise(difference: _Singles, fixed: _Singles, inside: Bools) -> float:
    """Estimate the standard deviation of a difference from its median absolute deviation."""
    values = difference[inside]
    spread = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return max(spread, _LEAST_NOISE * float(np.median(fixed[inside])))


def _solve(
    gradient: _Singles, weight: _Singles, residual: _Singles, *, current: _Singles, mm: float
) -> _Singles:
    """Solve the normal equations of one Gauss-Newton step for the change of the displacement."""
    stiffness = np.float32(1 / (mm * _STRAIN_SD) ** 2)
    bending = stiffness * np.float32((_SMOOTH_MM / mm) ** 2)
    diagonal = 6 * stiffness + 42 * bending
    steep = weight / (diagonal * (diagonal + weight * (gradient**2).sum(axis=0)))

    def smooth(field: _Singles) -> _Singles:
        first = _laplace(field)
        return np.asarray(stiffness * first + bending * _laplace(first), np.float32)

    def applied(field: _Singles) -> _Singles:
        along = (gradient * field).sum(axis=0)
        return np.asarray(gradient * (weight * along) + smooth(field), np.float32)

    def preconditioned(field: _Singles) -> _Singles:
        along = (gradient * field).sum(axis=0)
        return np.asarray(field / diagonal - gradient * (steep * along), np.float32)

    remaining = -gradient * (weight * residual) - smooth(current)
    out = np.zeros_like(current)
    direction = scaled = preconditioned(remaining)
    energy = first = _dot(remaining, scaled)
    for _ in range(_MAX_ITERATIONS):
        if energy <= _RESIDUAL**2 * first or energy == 0:
            break
        moved = applied(direction)
        length = np.float32(energy / _dot(direction, moved))
        out += length * direction
        remaining -= length * moved
        scaled = preconditioned(remaining)
        previous, energy = energy, _dot(remaining, scaled)
        direction = scaled + np.float32(energy / previous) * direction
    return out


def _laplace(field: _Singles) -> _Singles:
    """Apply the negative Laplacian without flow through the borders, in units of one voxel."""
    out = np.zeros_like(field)
    for axis in (1, 2, 3):
        change = np.diff(field, axis=axis)
        lower = [slice(None)] * 4
        upper = [slice(None)] * 4
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        out[tuple(lower)] -= change
        out[tuple(upper)] += change
    return out


def _dot(a: _Singles, b: _Singles) -> float:
    """Sum products in a fixed order; a dot product of BLAS depends on the number of threads."""
    return float((a * b).sum(dtype=np.float64))
