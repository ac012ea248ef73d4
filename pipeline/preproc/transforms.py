"""Transforms in files, in the forms that ANTs reads: affine as text, deformations as images.

As in fMRIPrep a file ``from-A_to-B_mode-image_xfm`` resamples images from A to B: it takes points
of B to A. Inside circuitshift all is RAS; the files are LPS, as ITK has it.
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
_HEAD = "#Insight Transform File V1.0"
_KIND = "MatrixOffsetTransformBase_double_3_3"


@dataclass(frozen=True, eq=False)
class Field:
    """A deformation: a point p lies at ``p + displacement(p)``.

    Parameters
    ----------
    displacement : Image
        Shape (x, y, z, 3), mm, RAS.
    """

    displacement: Image

    def __call__(self, points: Floats) -> Floats:
        """Take points (n, 3), mm; outside the field the nearest displacement holds."""
        grid = self.displacement
        last = np.array(grid.grid)[:, None] - 1
        where = np.clip(grid.indices(points), 0, last)
        inside = where.T @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        parts = [Image(grid.data[..., k], grid.affine).at(inside) for k in range(3)]
        return points + np.stack(parts, axis=1)


def sampled_field(transform: Callable[[Floats], Floats], grid: Image) -> Field:
    """Sample a transform on a grid.

    Parameters
    ----------
    transform : callable
        Takes points (n, 3), mm.
    grid : Image

    Returns
    -------
    Field
    """
    points = grid.points()
    moved = (transform(points) - points).astype(np.float32)
    return Field(grid.like(moved.reshape(*grid.grid, 3)))


def write_field(path: Path, field: Field) -> None:
    """Write a deformation as ITK's displacement field.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz``; its folder is made.
    field : Field
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
    """Read what `write_field` wrote.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    import nibabel as nib  # noqa: PLC0415 - .3 s

    try:
        image: Any = nib.load(path)
        data = np.asarray(image.dataobj, np.float32)
    except (OSError, nib.filebasedimages.ImageFileError, EOFError) as error:
        raise ImageError(f"{path}: it cannot be read ({error}); delete it and run again") from None
    data = data[:, :, :, 0] * np.array([-1, -1, 1], np.float32)
    return Field(Image(data, np.asarray(image.affine, float)))


def write_affines(path: Path, matrices: npt.NDArray[np.floating[Any]]) -> None:
    """Write affine transforms as ITK's text.

    Parameters
    ----------
    path : Path
    matrices : ndarray of shape (n, 4, 4)
        RAS, mm.
    """
    lines = [_HEAD]
    for number, matrix in enumerate(matrices):
        itk = _LPS @ matrix @ _LPS
        values = [*itk[:3, :3].ravel(), *itk[:3, 3]]
        lines += [
            f"#Transform {number}",
            f"Transform: {_KIND}",
            "Parameters: " + " ".join(f"{value:.17g}" for value in values),
            "FixedParameters: 0 0 0",
        ]
    write_text(path, "\n".join(lines) + "\n")


def read_affines(path: Path) -> Floats:
    """Read what `write_affines` wrote.

    Returns
    -------
    ndarray of shape (n, 4, 4)

    Raises
    ------
    TableError
        If it is no text of ITK.
    """
    out = []
    for line in read_text(path).splitlines():
        if line.startswith("Parameters:"):
            values = np.array([float(word) for word in line.split()[1:]])
            matrix = np.eye(4)
            matrix[:3, :3], matrix[:3, 3] = values[:9].reshape(3, 3), values[9:]
            out.append(_LPS @ matrix @ _LPS)
    if not out:
        raise TableError(f"{path}: it holds no transform; delete it and run again")
    return np.array(out)


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
