"""Cortical thickness of a session: tissues of the template, moved to the session, and DiReCT."""

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.io.images import Image, grid_over
from circuitshift.pipeline.preproc import registration as register

__all__ = ["mean_thickness", "session_thickness", "template_points"]

_GRID_MM = 1.0
_ITERATIONS = 10  # of the inverse; displacements within a participant are small


def template_points(displacement: Image, points: Floats) -> Floats:
    """Map points of a session to the within-participant template.

    Parameters
    ----------
    displacement : Image
        Displacement from the template to the session; see `session_displacement`.
    points : ndarray, shape (n, 3)
        Points of the session, mm.

    Returns
    -------
    ndarray, shape (n, 3)
        Points p of the template, mm, with ``p + displacement(p)`` equal to `points`, by fixed-point
        iteration (Christensen 2001, doi:10.1109/42.932742).
    """
    parts = [Image(displacement.data[..., k], displacement.affine) for k in range(3)]
    out = np.asarray(points, float)
    for _ in range(_ITERATIONS):
        out = points - np.stack([part.at(out) for part in parts], axis=1)
    return out


def session_thickness(tissues: tuple[Image, ...], displacement: Image) -> Image:
    """Measure the cortical thickness of a session.

    Parameters
    ----------
    tissues : tuple of Image
        Probability of cerebrospinal fluid, grey matter and white matter in the template.
    displacement : Image
        Displacement from the template to the session; see `session_displacement`.

    Returns
    -------
    Image
        Thickness, mm, on a grid of 1 mm in the space of the session; 0 outside grey matter.
    """
    grid = grid_over(Image(displacement.data[..., 0], displacement.affine), _GRID_MM)
    where = template_points(displacement, grid.points())
    grey, white = (grid.like(tissue.at(where).reshape(grid.grid)) for tissue in tissues[1:])
    return register.cortical_thickness(grey, white)


def mean_thickness(thickness: Image, regions: npt.NDArray[np.intp], n_regions: int) -> Floats:
    """Average the thickness of each region.

    Parameters
    ----------
    thickness : Image
        Thickness, mm; see `session_thickness`.
    regions : ndarray of int, shape of the grid
        Region of each voxel; -1 outside all regions.
    n_regions : int
        Number of regions.

    Returns
    -------
    ndarray, shape (n_regions,)
        Mean over voxels of grey matter, mm; NaN for regions without any.
    """
    values = np.asarray(thickness.data, float)
    inside = (regions >= 0) & (values > 0)
    sums = np.bincount(regions[inside], weights=values[inside], minlength=n_regions)
    count = np.bincount(regions[inside], minlength=n_regions)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)
