"""Read NIfTI images: a header, a small image at once, or a long run volume by volume.

Reading a run with nibabel keeps the complete 4D array in memory and needs an import that takes
time. Here, each volume is decompressed by isal and passed on, so that only one volume is in memory.
The format of a file is determined from its first bytes, not from its name. All problems raise an
`ImageError` that states the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.errors import ImageError

__all__ = ["Header", "VolumeStream", "open_image", "read_header", "read_image"]

# NIfTI-1.1 and NIfTI-2 data type codes (nifti1.h, DT_*) with one real number per voxel
_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_SKIP_BYTES = 2**20
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}  # time part of xyzt_units
_GZIP = b"\x1f\x8b"
# Upper limits for sizes in a header, because a small damaged file could otherwise exhaust the
# memory. A volume at 0.5 mm in 64 bits has 460 MB; an hour at TR = 0.1 s has 36,000 volumes.
_MAX_VOLUME_BYTES = 512 * 2**20
_MAX_VOLUMES = 100_000
_MAX_INFLATION = 1032  # largest compression ratio of deflate


def _layout(fields: dict[str, tuple[str, int]], size: int) -> np.dtype[np.void]:
    """Make the structured dtype of a header from formats and byte offsets by field name."""
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype(
        {
            "names": list(fields),
            "formats": list(formats),
            "offsets": list(offsets),
            "itemsize": size,
        }
    )


_NIFTI1 = _layout(
    {
        "dim": ("8i2", 40),
        "datatype": ("i2", 70),
        "pixdim": ("8f4", 76),
        "vox_offset": ("f4", 108),
        "slope": ("f4", 112),
        "inter": ("f4", 116),
        "units": ("u1", 123),
        "qform": ("i2", 252),
        "sform": ("i2", 254),
        "quatern": ("3f4", 256),
        "qoffset": ("3f4", 268),
        "srow": ("(3,4)f4", 280),
        "magic": ("S4", 344),
    },
    348,
)
_NIFTI2 = _layout(
    {
        "dim": ("8i8", 16),
        "datatype": ("i2", 12),
        "pixdim": ("8f8", 104),
        "vox_offset": ("i8", 168),
        "slope": ("f8", 176),
        "inter": ("f8", 184),
        "units": ("i4", 500),
        "qform": ("i4", 344),
        "sform": ("i4", 348),
        "quatern": ("3f8", 352),
        "qoffset": ("3f8", 376),
        "srow": ("(3,4)f8", 400),
        "magic": ("S8", 4),
    },
    540,
)


@dataclass(frozen=True, eq=False)
class Header:
    """The content of a NIfTI header.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        Number of voxels along three spatial axes, and number of volumes for 4D images.
    dtype : numpy.dtype
        Data type of the stored numbers, with its byte order.
    slope, inter : float
        Scaling of the stored numbers: value = slope * stored + inter.
    affine : ndarray of shape (4, 4)
        Matrix that maps voxel indices to coordinates in mm. It is the sform if available, else
        the qform, else the voxel sizes with the origin at the centre of the grid, as in nibabel.
    t_r_s : float or None
        Repetition time in s (fourth voxel size); None if it is not positive.
    data_offset : int
        Position of the first byte of the data.
    is_oriented : bool
        Whether the header has a qform or sform. If not, the orientation in `affine` is unknown.
    forms_differ_mm : float
        Largest distance between the positions of a corner of the grid according to qform and sform,
        mm; 0 if the header does not have both.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    slope: float
    inter: float
    affine: npt.NDArray[np.float64]
    t_r_s: float | None
    data_offset: int
    is_oriented: bool = True
    forms_differ_mm: float = 0.0

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of voxels along the three spatial axes."""
        return self.shape[0], self.shape[1], self.shape[2]

    @property
    def n_volumes(self) -> int:
        """Number of volumes; 1 for a 3D image."""
        return self.shape[3] if len(self.shape) > 3 else 1

    @property
    def is_scaled(self) -> bool:
        """Whether the stored numbers must be scaled."""
        return self.slope != 1.0 or self.inter != 0.0

    @cached_property
    def volume_bytes(self) -> int:
        """Size of one volume in bytes."""
        n_x, n_y, n_z = self.grid
        return n_x * n_y * n_z * self.dtype.itemsize


class VolumeStream:
    """An open image, whose volumes can be iterated once; see `open_image`.

    Parameters
    ----------
    path : Path
        The file, for error messages.
    file : binary file
        Decompressed content of the file.
    max_bytes : int
        Largest number of bytes that a file of this size can contain after decompression.
    damage_errors : tuple of exception classes
        Exceptions that reading `file` raises on damaged content.
    """

    def __init__(
        self,
        path: Path,
        file: BinaryIO,
        *,
        max_bytes: int,
        damage_errors: tuple[type[Exception], ...],
    ) -> None:
        self._path, self._file = path, file
        self._damage: tuple[type[Exception], ...] = (OSError, *damage_errors)
        self.header = self._read_header(max_bytes)

    def __iter__(self) -> Iterator[npt.NDArray[np.generic]]:
        """Yield the stored numbers of each volume, flat and in Fortran order.

        After the last volume, the file is read to its end, which verifies the checksum of
        compressed files.

        Raises
        ------
        ImageError
            If the file ends before the last volume, or has content after it.
        """
        header = self.header
        for number in range(header.n_volumes):
            raw = self._read(header.volume_bytes)
            if len(raw) < header.volume_bytes:
                raise ImageError(
                    f"{header.path}: it ends in volume {number + 1} of {header.n_volumes}, so it "
                    "is truncated or its header is wrong; fetch or write it again"
                )
            yield np.frombuffer(raw, header.dtype)
        if self._read(1):
            raise ImageError(
                f"{header.path}: it contains more data than the "
                f"{_format_shape(header.shape)} of its header; fetch or write it again"
            )

    def _read(self, n_bytes: int) -> bytes:
        """Read at most `n_bytes`, converting exceptions of the reader to `ImageError`."""
        try:
            return self._file.read(n_bytes)
        except EOFError as error:
            raise ImageError(
                f"{self._path}: the gzip stream is truncated; fetch or write the file again"
            ) from error
        except self._damage as error:
            raise ImageError(
                f"{self._path}: it is damaged ({error}); fetch or write it again"
            ) from error

    def _read_header(self, max_bytes: int) -> Header:
        """Parse the header and skip to the first volume."""
        raw = self._read(_NIFTI1.itemsize)
        if _header_size(raw) == _NIFTI2.itemsize:
            raw += self._read(_NIFTI2.itemsize - len(raw))
        header = _parse_header(self._path, raw)
        if header.volume_bytes > _MAX_VOLUME_BYTES or header.n_volumes > _MAX_VOLUMES:
            raise ImageError(
                f"{self._path}: its header states {_format_shape(header.shape)} values of "
                f"{header.dtype.itemsize * 8} bits, more than the limit of "
                f"{_MAX_VOLUME_BYTES // 2**20} MB per volume and {_MAX_VOLUMES:,} volumes; "
                "fetch or write it again"
            )
        stated_bytes = header.data_offset + header.volume_bytes * header.n_volumes
        if stated_bytes > max_bytes:
            raise ImageError(
                f"{self._path}: its header states {_format_shape(header.shape)} values of "
                f"{header.dtype.itemsize * 8} bits, more than the file can contain, so it is "
                "truncated or its header is wrong; fetch or write it again"
            )
        for start in range(len(raw), header.data_offset, _SKIP_BYTES):
            self._read(min(_SKIP_BYTES, header.data_offset - start))
        return header


@contextmanager
def open_image(path: Path) -> Iterator[VolumeStream]:
    """Open an image for one pass over its volumes.

    Parameters
    ----------
    path : Path
        Single-file NIfTI-1 or NIfTI-2 image, plain or gzip-compressed, in either byte order.

    Yields
    ------
    VolumeStream
        The header, and an iterator over the volumes.

    Raises
    ------
    ImageError
        If the file cannot be read. The error may also occur during the iteration.
    """
    head = _peek(path)
    size = path.stat().st_size
    if head.startswith(_GZIP):
        from isal import igzip, isal_zlib  # noqa: PLC0415 - not needed for plain files

        with igzip.open(path, "rb") as file:
            max_bytes = size * _MAX_INFLATION
            damage_errors = (isal_zlib.error,)
            yield VolumeStream(path, file, max_bytes=max_bytes, damage_errors=damage_errors)  # type: ignore[arg-type] # the stub of isal is wrong
    else:
        _refuse_other_files(path, head)
        with path.open("rb") as plain:
            yield VolumeStream(path, plain, max_bytes=size, damage_errors=())


def read_header(path: Path) -> Header:
    """Read the header of an image.

    Parameters
    ----------
    path : Path
        Single-file NIfTI image; see `open_image`.

    Returns
    -------
    Header

    Raises
    ------
    ImageError
        If the file is not a readable NIfTI image.
    """
    with open_image(path) as image:
        return image.header


def read_image(path: Path) -> tuple[npt.NDArray[np.generic], Header]:
    """Read all values of an image, for small images such as masks and label images.

    Parameters
    ----------
    path : Path
        Single-file NIfTI image; see `open_image`.

    Returns
    -------
    values : ndarray of shape `Header.shape`, Fortran order
        The stored numbers if the header states no scaling, else scaled values as float64.
    header : Header
        The header.

    Raises
    ------
    ImageError
        If the file cannot be read.
    """
    with open_image(path) as image:
        header = image.header
        size = header.grid[0] * header.grid[1] * header.grid[2]
        values = np.empty(size * header.n_volumes, header.dtype.newbyteorder("="))
        for number, volume in enumerate(image):
            values[number * size : (number + 1) * size] = volume
    values = values.reshape(header.shape, order="F")
    if header.is_scaled:
        values = values.astype(np.float64) * header.slope + header.inter
    return values, header


def _peek(path: Path) -> bytes:
    """Return the first bytes of a file, after checking that it exists and is not empty."""
    if not path.exists():
        if path.is_symlink():
            raise ImageError(
                f"{path}: its content was never fetched (broken link); run `datalad get` or "
                "`git annex get` on it"
            )
        raise ImageError(f"{path}: there is no such file")
    if not path.is_file():
        raise ImageError(f"{path}: it is not a file but a folder, pipe or device; write it again")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise ImageError(
            f"{path}: it cannot be opened ({error.strerror}); check its permissions"
        ) from error
    if not head:
        raise ImageError(f"{path}: it is empty (0 bytes); fetch it again")
    return head


def _refuse_other_files(path: Path, head: bytes) -> None:
    """Raise an error that describes a file which is neither gzip nor NIfTI."""
    if _header_size(head):
        return
    text = head.lstrip().lower()
    if b"annex/objects" in head:
        description = "its content was never fetched (git-annex pointer); run `datalad get` on it"
    elif text.startswith((b"<", b"{")):
        description = "it is a web page or error message saved as an image; fetch it again"
    else:
        description = f"it is not a NIfTI image (first bytes {head[:8]!r}); fetch or write it again"
    raise ImageError(f"{path}: {description}")


def _format_shape(sizes: tuple[int, ...]) -> str:
    """Format sizes as ``10x12x9``."""
    return "x".join(map(str, sizes))


def _parse_header(path: Path, raw: bytes) -> Header:
    """Parse a NIfTI-1 or NIfTI-2 header in either byte order."""
    fields, layout = _fields(path, raw)
    magic = bytes(fields["magic"])
    if not magic.startswith((b"n+1", b"n+2")):
        raise ImageError(
            f"{path}: it is not a single-file NIfTI image (magic {magic!r}); convert it to .nii"
        )
    code = int(fields["datatype"])
    if code not in _DTYPES:
        raise ImageError(
            f"{path}: its data type (code {code}) is not supported; convert it to one real number "
            "per voxel"
        )
    order = fields["dim"].dtype.byteorder
    slope, inter = _scaling(path, float(fields["slope"]), float(fields["inter"]))
    pixdim = np.asarray(fields["pixdim"], np.float64)
    t_r_s = float(pixdim[4]) * _SECONDS.get(int(fields["units"]) & 0x38, 1.0)
    shape = _shape(path, [int(size) for size in fields["dim"]])
    affine = _affine(fields, pixdim, shape)
    if not np.isfinite(affine).all() or not abs(np.linalg.det(affine)) > 0:
        raise ImageError(
            f"{path}: its header does not define the position of the voxels (voxel sizes "
            f"{', '.join(f'{size:g}' for size in pixdim[1:4])} mm); write it again"
        )
    return Header(
        path=path,
        shape=shape,
        dtype=np.dtype(order + _DTYPES[code]),
        slope=slope,
        inter=inter,
        affine=affine,
        t_r_s=t_r_s if np.isfinite(t_r_s) and t_r_s > 0 else None,
        data_offset=_offset(path, float(fields["vox_offset"]), layout.itemsize + 4),
        is_oriented=bool(fields["sform"] > 0 or fields["qform"] > 0),
        forms_differ_mm=_forms_differ(fields, pixdim, shape),
    )


def _header_size(raw: bytes) -> int:
    """Return the header size in the first four bytes, in either byte order; 0 if invalid."""
    for order in ("<", ">"):
        size = int(np.frombuffer(raw[:4].ljust(4, b"\0"), f"{order}i4")[0])
        if size in (_NIFTI1.itemsize, _NIFTI2.itemsize):
            return size
    return 0


def _fields(path: Path, raw: bytes) -> tuple[np.void, np.dtype[np.void]]:
    """Return the header as a structured record, and its layout."""
    size = _header_size(raw)
    if size == 0 or len(raw) < size:
        raise ImageError(
            f"{path}: it is not a NIfTI image, or it ends within the header; fetch it again"
        )
    layout = _NIFTI1 if size == _NIFTI1.itemsize else _NIFTI2
    order: Literal["<", ">"] = "<" if raw[:4] == size.to_bytes(4, "little") else ">"
    record: np.void = np.frombuffer(raw[:size], layout.newbyteorder(order))[0]
    return record, layout


def _shape(path: Path, dim: list[int]) -> tuple[int, ...]:
    """Read the sizes of a 3D or 4D image; further axes must have size 1."""
    n_axes = dim[0]
    sizes = dim[1 : n_axes + 1]
    if not 3 <= n_axes <= 7 or min(sizes) < 1:
        raise ImageError(f"{path}: its header states invalid sizes (dim = {dim}); write it again")
    if any(size != 1 for size in sizes[4:]):
        raise ImageError(
            f"{path}: it has more than four axes ({_format_shape(tuple(sizes))}); write it as 4D"
        )
    return tuple(sizes[:4])


def _offset(path: Path, offset: float, minimum: int) -> int:
    """Return the position of the first byte of the data; 0 means directly after the header."""
    if offset == 0:
        return minimum
    if not minimum <= offset < 2**31:
        raise ImageError(
            f"{path}: its header states an invalid data position, {offset:g}; write it again"
        )
    return int(offset)


def _scaling(path: Path, slope: float, inter: float) -> tuple[float, float]:
    """Return slope and intercept; a slope of 0, NaN or infinity means no scaling."""
    if slope == 0 or not np.isfinite(slope):
        return 1.0, 0.0
    if slope < 0:  # no scanner or program inverts images on purpose
        raise ImageError(
            f"{path}: its header states a negative scaling slope ({slope:g}), which inverts the "
            "image; write it again, or correct scl_slope if the stored values are right"
        )
    if not np.isfinite(inter):
        raise ImageError(
            f"{path}: its header states a scaling intercept of {inter}; write it again"
        )
    return slope, inter


def _affine(
    fields: np.void, pixdim: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Compute the affine by method 3 (sform), 2 (qform) or 1 (voxel sizes) of nifti1.h."""
    affine = np.eye(4)
    if fields["sform"] > 0:
        affine[:3] = fields["srow"]
    elif fields["qform"] > 0:
        affine = _qform(fields, pixdim)
    else:
        # as nibabel's base affine: x increases to the left; the origin is the centre of the grid
        zooms = pixdim[1:4] * [-1.0, 1.0, 1.0]
        affine[:3, :3] = np.diag(zooms)
        affine[:3, 3] = -zooms * (np.array(shape[:3]) - 1) / 2
    return affine


def _qform(fields: np.void, pixdim: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute the affine by method 2 of nifti1.h."""
    affine = np.eye(4)
    handedness = -1.0 if pixdim[0] < 0 else 1.0
    rotation = _rotation(np.asarray(fields["quatern"], np.float64))
    affine[:3, :3] = rotation * (pixdim[1:4] * [1.0, 1.0, handedness])
    affine[:3, 3] = fields["qoffset"]
    return affine


def _forms_differ(
    fields: np.void, pixdim: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> float:
    """Compute the largest distance between corners of the grid under qform and sform, mm."""
    if not (fields["sform"] > 0 and fields["qform"] > 0):
        return 0.0
    sizes = [(0, size - 1) for size in shape[:3]]
    corners = np.array(np.meshgrid(*sizes)).reshape(3, -1)
    difference = np.asarray(fields["srow"], np.float64) - _qform(fields, pixdim)[:3]
    moved = difference[:, :3] @ corners + difference[:, 3:]
    return float(np.sqrt((moved**2).sum(axis=0)).max())


def _rotation(bcd: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute the rotation matrix of a unit quaternion from its last three terms (nifti1.h)."""
    b, c, d = bcd
    a = np.sqrt(max(0.0, 1.0 - float(bcd @ bcd)))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
