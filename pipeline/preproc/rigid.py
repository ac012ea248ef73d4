"""Rigid motions: six parameters, matrices, and the mean of several.

A motion with parameters ``(t_x, t_y, t_z, r_x, r_y, r_z)``, mm and radians, about a centre c takes
a point p to ``R (p - c) + c + t`` with ``R = R_x(r_x) R_y(r_y) R_z(r_z)``, all in RAS, mm.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

__all__ = ["apply", "halfway", "matrix_of", "parameters_of"]

Floats = npt.NDArray[np.float64]
Reals = npt.NDArray[np.floating[Any]]


def matrix_of(parameters: npt.ArrayLike, centre_mm: npt.ArrayLike = (0.0, 0.0, 0.0)) -> Floats:
    """Return the 4 x 4 matrix of six parameters.

    Parameters
    ----------
    parameters : array_like of shape (6,)
        Translations, mm, and rotations, radians.
    centre_mm : array_like of shape (3,)

    Returns
    -------
    ndarray of shape (4, 4)
    """
    values, centre = np.asarray(parameters, float), np.asarray(centre_mm, float)
    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler("XYZ", values[3:]).as_matrix()
    out[:3, 3] = centre + values[:3] - out[:3, :3] @ centre
    return out


def parameters_of(matrix: Floats, centre_mm: npt.ArrayLike = (0.0, 0.0, 0.0)) -> Floats:
    """Return the six parameters of a rigid 4 x 4 matrix; the inverse of `matrix_of`.

    Parameters
    ----------
    matrix : ndarray of shape (4, 4)
    centre_mm : array_like of shape (3,)

    Returns
    -------
    ndarray of shape (6,)
    """
    centre = np.asarray(centre_mm, float)
    angles = Rotation.from_matrix(matrix[:3, :3]).as_euler("XYZ")
    shift = matrix[:3, 3] - centre + matrix[:3, :3] @ centre
    return np.concatenate([shift, angles])


def apply(matrix: Reals, points: Reals) -> Floats:
    """Move points.

    Parameters
    ----------
    matrix : ndarray of shape (4, 4)
    points : ndarray of shape (n, 3)

    Returns
    -------
    ndarray of shape (n, 3)
    """
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def halfway(matrices: Sequence[Floats], centre_mm: npt.ArrayLike) -> Floats:
    """Return the mean of rigid motions about a centre.

    The mean rotation minimises the sum of squared chordal distances (Markley 2007,
    doi:10.2514/1.28949); the mean translation is that of the centre.

    Parameters
    ----------
    matrices : sequence of ndarray of shape (4, 4)
    centre_mm : array_like of shape (3,)

    Returns
    -------
    ndarray of shape (4, 4)
    """
    centre = np.asarray(centre_mm, float)
    out = np.eye(4)
    out[:3, :3] = Rotation.from_matrix([m[:3, :3] for m in matrices]).mean().as_matrix()
    moved = np.mean([apply(m, centre[None])[0] for m in matrices], axis=0)
    out[:3, 3] = moved - out[:3, :3] @ centre
    return out
