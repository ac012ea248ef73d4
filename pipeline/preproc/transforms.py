"""Represent rigid transforms and deformations, and store them in the formats that ANTs reads.

Affine transforms are stored as text, and deformations as images. As in fMRIPrep, a file
``from-A_to-B_mode-image_xfm`` resamples images from A to B and therefore maps points of B to A.
Coordinates are RAS inside circuitshift and LPS in files, as in ITK.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from circuitshift.atlases.atomic_files import atomic_binary
from circuitshift.pipeline.arrays import Floats, Reals
from circuitshift.pipeline.errors import ImageError, TableError
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.io.tables import read_text, write_text

__all__ = [
    "Field",
    "apply",
    "halfway",
    "matrix_of",
    "parameters_of",
    "read_affines",
    "read_field",
    "sampled_field",
    "write_affines",
    "write_field",
]

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HEADER = "#Insight Transform File V1.0"
_TRANSFORM_TYPE = "MatrixOffsetTransformBase_double_3_3"


@dataclass(frozen=True, eq=False)
class Field:
    """Deformation that maps a point p to ``p + displacement(p)``.

    Parameters
    ----------
    displacement : Image
        Displacement, shape (x, y, z, 3), mm, RAS coordinates.
    """

    displacement: Image

    def __call__(self, points: Floats) -> Floats:
        """Map points.

        Parameters
        ----------
        points : ndarray, shape (n, 3)
            Points, mm. Outside the field, the nearest displacement is used.

        Returns
        -------
        ndarray, shape (n, 3)
            Mapped points, mm.
        """
        grid = self.displacement
        last_index = np.array(grid.grid)[:, None] - 1
        index = np.clip(grid.indices(points), 0, last_index)
        inside = index.T @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        components = [Image(grid.data[..., k], grid.affine).at(inside) for k in range(3)]
        return points + np.stack(components, axis=1)


def sampled_field(transform: Callable[[Floats], Floats], grid: Image) -> Field:
    """Sample a transform on a grid.

    Parameters
    ----------
    transform : callable
        Maps points, shape (n, 3), mm.
    grid : Image
        Grid of the displacement field; its values are not used.

    Returns
    -------
    Field
        Displacement field of float32.
    """
    points = grid.points()
    moved = (transform(points) - points).astype(np.float32)
    return Field(grid.like(moved.reshape(*grid.grid, 3)))


def write_field(path: Path, field: Field) -> None:
    """Write a deformation as a displacement field of ITK.

    Parameters
    ----------
    path : Path
        File to write; its name ends in ``.nii.gz``, and its folder is created if necessary.
    field : Field
        Deformation.
    """
    import nibabel as nib  # noqa: PLC0415 - .3 s
    from isal import igzip  # noqa: PLC0415

    image = field.displacement
    data = (np.asarray(image.data) * np.array([-1, -1, 1], np.float32)).astype(np.float32)[
        :, :, :, None
    ]
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape(data.shape)
    header.set_zooms((*image.zooms, 1.0, 1.0))
    header.set_xyzt_units("mm", "sec")
    header.set_intent("vector")
    header.set_sform(image.affine, code=1)
    header.set_qform(image.affine, code=1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    raw = header.binaryblock + b"\0\0\0\0" + data.tobytes(order="F")
    with atomic_binary(path) as file:
        file.write(igzip.compress(raw, 2, mtime=0))


def read_field(path: Path) -> Field:
    """Read a deformation written by `write_field`.

    Parameters
    ----------
    path : Path
        Displacement field.

    Returns
    -------
    Field
        Deformation in RAS coordinates.

    Raises
    ------
    ImageError
        If the file cannot be read.
    """
    import nibabel as nib  # noqa: PLC0415 - .3 s

    try:
        image: Any = nib.load(path)
        data = np.asarray(image.dataobj, np.float32)
    except (OSError, nib.filebasedimages.ImageFileError, EOFError) as error:
        raise ImageError(
            f"{path}: the file cannot be read ({error}); delete it and run again"
        ) from None
    data = data[:, :, :, 0] * np.array([-1, -1, 1], np.float32)
    return Field(Image(data, np.asarray(image.affine, float)))


def write_affines(path: Path, matrices: npt.NDArray[np.floating[Any]]) -> None:
    """Write affine transforms as an ITK text file.

    Parameters
    ----------
    path : Path
        File to write.
    matrices : ndarray, shape (n, 4, 4)
        Affine transforms in RAS coordinates, mm.
    """
    lines = [_HEADER]
    for number, matrix in enumerate(matrices):
        itk = _LPS @ matrix @ _LPS
        values = [*itk[:3, :3].ravel(), *itk[:3, 3]]
        lines += [
            f"#Transform {number}",
            f"Transform: {_TRANSFORM_TYPE}",
            "Parameters: " + " ".join(f"{value:.17g}" for value in values),
            "FixedParameters: 0 0 0",
        ]
    write_text(path, "\n".join(lines) + "\n")


def read_affines(path: Path) -> Floats:
    """Read affine transforms written by `write_affines`.

    Parameters
    ----------
    path : Path
        ITK text file.

    Returns
    -------
    ndarray, shape (n, 4, 4)
        Affine transforms in RAS coordinates, mm.

    Raises
    ------
    TableError
        If the file contains no transform.
    """
    out = []
    for line in read_text(path).splitlines():
        if line.startswith("Parameters:"):
            values = np.array([float(word) for word in line.split()[1:]])
            matrix = np.eye(4)
            matrix[:3, :3], matrix[:3, 3] = values[:9].reshape(3, 3), values[9:]
            out.append(_LPS @ matrix @ _LPS)
    if not out:
        raise TableError(f"{path}: the file contains no transform; delete it and run again")
    return np.array(out)


def matrix_of(parameters: npt.ArrayLike, centre_mm: npt.ArrayLike = (0.0, 0.0, 0.0)) -> Floats:
    """Compute the rigid 4 x 4 matrix of six parameters.

    Parameters
    ----------
    parameters : array_like, shape (6,)
        Translations, mm, and rotations, radians, with ``R = R_x R_y R_z``.
    centre_mm : array_like, shape (3,)
        Centre of rotation, mm.

    Returns
    -------
    ndarray, shape (4, 4)
        Rigid transform.
    """
    values, centre = np.asarray(parameters, float), np.asarray(centre_mm, float)
    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler("XYZ", values[3:]).as_matrix()
    out[:3, 3] = centre + values[:3] - out[:3, :3] @ centre
    return out


def parameters_of(matrix: Floats, centre_mm: npt.ArrayLike = (0.0, 0.0, 0.0)) -> Floats:
    """Compute the six parameters of a rigid 4 x 4 matrix; the inverse of `matrix_of`.

    Parameters
    ----------
    matrix : ndarray, shape (4, 4)
        Rigid transform.
    centre_mm : array_like, shape (3,)
        Centre of rotation, mm.

    Returns
    -------
    ndarray, shape (6,)
        Translations, mm, and rotations, radians.
    """
    centre = np.asarray(centre_mm, float)
    angles = Rotation.from_matrix(matrix[:3, :3]).as_euler("XYZ")
    shift = matrix[:3, 3] - centre + matrix[:3, :3] @ centre
    return np.concatenate([shift, angles])


def apply(matrix: Reals, points: Reals) -> Floats:
    """Apply an affine transform to points.

    Parameters
    ----------
    matrix : ndarray, shape (4, 4)
        Affine transform.
    points : ndarray, shape (n, 3)
        Points, mm.

    Returns
    -------
    ndarray, shape (n, 3)
        Transformed points, mm.
    """
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def halfway(matrices: Sequence[Floats], centre_mm: npt.ArrayLike) -> Floats:
    """Compute the mean of rigid transforms about a centre.

    Parameters
    ----------
    matrices : sequence of ndarray, shape (4, 4)
        Rigid transforms.
    centre_mm : array_like, shape (3,)
        Centre, mm.

    Returns
    -------
    ndarray, shape (4, 4)
        Mean transform.

    Notes
    -----
    The mean rotation minimises the sum of squared chordal distances (Markley 2007,
    doi:10.2514/1.28949). The mean translation is that of the centre.
    """
    centre = np.asarray(centre_mm, float)
    out = np.eye(4)
    out[:3, :3] = Rotation.from_matrix([m[:3, :3] for m in matrices]).mean().as_matrix()
    moved = np.mean([apply(m, centre[None])[0] for m in matrices], axis=0)
    out[:3, 3] = moved - out[:3, :3] @ centre
    return out
