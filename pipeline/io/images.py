"""Images in memory: an array with its affine. All coordinates are RAS, in mm."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.atomic_files import atomic_binary
from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io import nifti

__all__ = ["Image", "axis_codes", "grid_over", "read", "relative_signal", "to_ras", "write"]

_Singles = npt.NDArray[np.float32]
_MAX_NEGATIVE = 0.1  # share of the brain
_CODES = ("LR", "PA", "IS")


@dataclass(frozen=True, eq=False)
class Image:
    """An image and the position of its voxels.

    Parameters
    ----------
    data : ndarray of shape (x, y, z) or (x, y, z, n_volumes)
        Voxel values.
    affine : ndarray of shape (4, 4)
        Matrix that maps voxel indices to RAS coordinates in mm.
    """

    data: npt.NDArray[Any]
    affine: Floats

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of voxels along the three spatial axes."""
        n_x, n_y, n_z = self.data.shape[:3]
        return n_x, n_y, n_z

    @property
    def zooms(self) -> Floats:
        """Voxel sizes in mm."""
        return np.asarray(np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))

    def like(self, data: npt.NDArray[Any]) -> "Image":
        """Make an image of other values on the same grid."""
        return Image(data, self.affine)

    def points(self) -> Floats:
        """Return the coordinates of all voxels in mm, shape (n_voxels, 3), in C order."""
        index = np.indices(self.grid).reshape(3, -1).T
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])

    def indices(self, points: Floats) -> Floats:
        """Convert points in mm, shape (n, 3), to fractional voxel indices, shape (3, n)."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray((points @ inverse[:3, :3].T + inverse[:3, 3]).T)

    def at(self, points: Floats, *, order: int = 1) -> _Singles:
        """Interpolate the image at points; values outside the image are 0.

        Parameters
        ----------
        points : ndarray of shape (n, 3)
            Coordinates in mm.
        order : int, default=1
            Order of the spline: 0 for nearest neighbour, 1 for linear, 3 for cubic.

        Returns
        -------
        ndarray of shape (n,)
            Interpolated values.
        """
        from scipy import ndimage  # noqa: PLC0415 - .2 s

        where = self.indices(points)
        values = np.asarray(self.data, np.float32)
        out = ndimage.map_coordinates(values, where, order=order, mode="grid-constant", cval=0.0)
        return np.asarray(out, np.float32)

    def onto(self, other: "Image", *, order: int = 1) -> "Image":
        """Resample to the grid of another image in the same space, with a spline of given order."""
        return other.like(self.at(other.points(), order=order).reshape(other.grid))


def read(path: Path) -> Image:
    """Read an image, replacing values that are not finite by 0.

    Parameters
    ----------
    path : Path
        NIfTI image.

    Returns
    -------
    Image

    Raises
    ------
    ImageError
        If the file cannot be read, or contains no finite value.
    """
    values, header = nifti.read_image(path)
    if values.dtype.kind == "f" and not np.isfinite(values).any():
        raise ImageError(f"{path}: it contains no finite value; write it again")
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return Image(values, header.affine)


def axis_codes(affine: Floats) -> str:
    """Return the directions of the voxel axes, for example ``RAS`` or ``LAS``.

    Parameters
    ----------
    affine : ndarray of shape (4, 4)
        Matrix that maps voxel indices to RAS coordinates.

    Returns
    -------
    str
        The nearest of the 48 orientations, equal to `nibabel.aff2axcodes`.
    """
    return "".join(_CODES[axis][int(sign > 0)] for axis, sign in _axes(affine))


def _axes(affine: Floats) -> list[tuple[int, float]]:
    """Find the nearest world axis and its direction for each voxel axis."""
    share = affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    axes: dict[int, tuple[int, float]] = {}
    remaining = np.abs(share)
    for _ in range(3):
        world, voxel = (int(k) for k in np.unravel_index(np.argmax(remaining), remaining.shape))
        axes[voxel] = world, float(np.sign(share[world, voxel]))
        remaining[world], remaining[:, voxel] = -1.0, -1.0
    return [axes[voxel] for voxel in range(3)]


def to_ras(image: Image) -> Image:
    """Flip and permute the axes to the orientation RAS, without resampling.

    Parameters
    ----------
    image : Image
        Image in any orientation.

    Returns
    -------
    Image
        The reoriented image, equal to `nibabel.as_closest_canonical`.
    """
    axes = _axes(image.affine)
    order = [next(v for v, (w, _) in enumerate(axes) if w == world) for world in range(3)]
    data = np.transpose(image.data, [*order, *range(3, image.data.ndim)])
    affine = image.affine.copy()
    affine[:3, :3] = image.affine[:3, :3][:, order]
    for world, voxel in enumerate(order):
        if axes[voxel][1] < 0:
            data = np.flip(data, world)
            affine[:3, 3] += affine[:3, world] * (data.shape[world] - 1)
            affine[:3, world] *= -1
    return Image(np.ascontiguousarray(data), affine)


def grid_over(image: Image, voxel_mm: float) -> Image:
    """Make an empty RAS grid of isotropic voxels that covers the field of view of an image.

    Parameters
    ----------
    image : Image
        Image whose field of view is covered.
    voxel_mm : float
        Voxel size in mm.

    Returns
    -------
    Image
        Image of zeros, whose field of view has the same centre as that of `image`.
    """
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in image.grid])).reshape(3, -1).T
    world = corners @ image.affine[:3, :3].T + image.affine[:3, 3]
    low, high = world.min(axis=0), world.max(axis=0)
    shape = tuple(int(n) for n in np.ceil((high - low) / voxel_mm - 1e-3))
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = (low + high) / 2 - (np.array(shape) - 1) / 2 * voxel_mm
    return Image(np.zeros(shape, np.float32), affine)


def write(path: Path, image: Image, *, t_r_s: float | None = None, standard: bool = False) -> None:
    """Write a compressed NIfTI-1 image; equal values are written as equal bytes.

    Parameters
    ----------
    path : Path
        File to write, with the extension ``.nii.gz``. Its folder is created if necessary.
    image : Image
        Image to write. Booleans and integers of at most 16 bits are stored unchanged. Other
        values are stored as 16-bit integers with a scaling factor, at a resolution of 1/30,000 of
        the largest absolute value.
    t_r_s : float, optional
        Repetition time in s, for 4D images.
    standard : bool, default=False
        Whether the coordinates are those of a template (sform code 4) or of a scanner (code 1).

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import nibabel as nib  # noqa: PLC0415 - .3 s
    from isal import igzip  # noqa: PLC0415

    data, slope = _quantise(image.data)
    header = nib.Nifti1Header()
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header.set_zooms((*image.zooms, *((t_r_s or 1.0,) if data.ndim > 3 else ())))
    header.set_xyzt_units("mm", "sec")
    code = 4 if standard else 1  # MNI space, scanner
    header.set_sform(image.affine, code=code)
    header.set_qform(image.affine, code=code)
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = slope, 0
    with atomic_binary(path) as raw, igzip.IGzipFile("", "wb", 2, raw, 0.0) as file:
        file.write(header.binaryblock + b"\0\0\0\0")
        for first, last in pairwise(_blocks(data)):
            file.write(data[..., first:last].tobytes(order="F"))


def _quantise(data: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], float]:
    """Convert values to integers of at most 16 bits and a scaling factor."""
    if data.dtype == bool:
        return data.astype(np.uint8), 1.0
    if data.dtype.kind in "iu" and data.dtype.itemsize <= 2:
        return data, 1.0
    largest = float(max(data.max(initial=0), -data.min(initial=0)))
    # the header stores the factor as float32
    slope = float(np.float32(largest / 30000)) or 1.0
    out = np.empty(data.shape, np.int16)
    for first, last in pairwise(_blocks(data)):
        out[..., first:last] = np.rint(data[..., first:last] / slope)
    return out, slope


def _blocks(data: npt.NDArray[Any]) -> Sequence[int]:
    """Divide the last axis into blocks, to avoid a second copy of a long run in memory."""
    return [*range(0, data.shape[-1], 16), data.shape[-1]]


def relative_signal(mean: Floats, inside: Bools) -> Floats | None:
    """Divide the mean signal of each voxel by its median over the brain.

    Parameters
    ----------
    mean : ndarray
        Mean of each voxel over time.
    inside : ndarray of bool, shape of `mean`
        Brain mask.

    Returns
    -------
    ndarray, shape of `mean`, or None
        Relative signal; NaN for voxels that are not finite. The median is that of the voxels of the
        brain with positive values, because voxels outside the field of view are 0. None if there
        are none, or if more than a tenth of the brain is negative, as in images whose mean was
        removed.
    """
    values = mean[inside]
    values = values[np.isfinite(values)]
    positive = values[values > 0]
    if not positive.size or (values < 0).mean() > _MAX_NEGATIVE:
        return None
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(mean), mean / np.median(positive), np.nan)
