"""The only reader of NIfTI images: a header, a small image at once, or a long one volume by volume.

Reading a run through nibabel holds the whole 4D array and costs an import; here a volume is
inflated by isal, handed on, and forgotten. What the first bytes are decides how a file is read,
not its name. Every fault ends as one `ImageError` that names the file.
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

# NIfTI-1.1 and NIfTI-2 data type codes (nifti1.h, DT_*) that hold one real number a voxel.
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
# Bounds for what a header may claim: half a millimetre in 64 bits has 460 MB a volume, an hour at
# .1 s 36,000 volumes. Without them a small file can ask for all memory.
_MOST_VOLUME_BYTES = 512 * 2**20
_MOST_VOLUMES = 100_000
_INFLATES_AT_MOST = 1032  # deflate cannot do better than 1032:1, so a larger claim is false


def _layout(fields: dict[str, tuple[str, int]], size: int) -> np.dtype[np.void]:
    """Make the structured dtype of a header: name -> (format, byte offset)."""
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
    """What a NIfTI header says of its image.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        Three spatial sizes, and the number of volumes when the image is 4D.
    dtype : numpy.dtype
        As stored, with its byte order.
    slope, inter : float
        Value = slope * stored + inter.
    affine : ndarray of shape (4, 4)
        Voxel indices to mm: sform, else qform, else voxel sizes about the centre (as nibabel).
    t_r_s : float or None
        Fourth voxel size, s, when it is positive.
    data_offset : int
        First byte of the data.
    is_oriented : bool
        Whether qform or sform says where the voxels lie; if not, `affine` is a guess.
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

    @property
    def grid(self) -> tuple[int, int, int]:
        """The three spatial sizes."""
        return self.shape[0], self.shape[1], self.shape[2]

    @property
    def n_volumes(self) -> int:
        """Number of volumes; 1 for a 3D image."""
        return self.shape[3] if len(self.shape) > 3 else 1

    @property
    def is_scaled(self) -> bool:
        """True when stored numbers are not the values."""
        return self.slope != 1.0 or self.inter != 0.0

    @cached_property
    def volume_bytes(self) -> int:
        """Size of one volume, bytes."""
        n_x, n_y, n_z = self.grid
        return n_x * n_y * n_z * self.dtype.itemsize


class VolumeStream:
    """An open image: its header, and its volumes in order, each once.

    Made by `open_image`.

    Parameters
    ----------
    path : Path
        The file, for messages.
    file : binary file
        Its content, inflated.
    most : int
        Bytes that a file of this size can hold at most.
    damage : tuple of exception classes
        What reading `file` raises on damaged content.
    """

    def __init__(
        self, path: Path, file: BinaryIO, *, most: int, damage: tuple[type[Exception], ...]
    ) -> None:
        self._path, self._file = path, file
        self._damage: tuple[type[Exception], ...] = (OSError, *damage)
        self.header = self._read_header(most)

    def __iter__(self) -> Iterator[npt.NDArray[np.generic]]:
        """Yield each volume as stored, flat in Fortran order; then check that the file ends.

        Reading to the end also makes isal compare the checksum.

        Raises
        ------
        ImageError
            If the file ends early or goes on after the last volume.
        """
        header = self.header
        for number in range(header.n_volumes):
            raw = self._read(header.volume_bytes)
            if len(raw) < header.volume_bytes:
                raise ImageError(
                    f"{header.path}: it ends in volume {number + 1} of {header.n_volumes}; it is "
                    "truncated or its header is wrong, fetch or write it again"
                )
            yield np.frombuffer(raw, header.dtype)
        if self._read(1):
            raise ImageError(
                f"{header.path}: it holds more data than the "
                f"{_times(header.shape)} of its header; fetch or write it again"
            )

    def _read(self, n_bytes: int) -> bytes:
        """Read at most `n_bytes`, turning what the reader raises into `ImageError`."""
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

    def _read_header(self, most: int) -> Header:
        """Parse the header and move to the first volume."""
        raw = self._read(_NIFTI1.itemsize)
        if _stated_size(raw) == _NIFTI2.itemsize:
            raw += self._read(_NIFTI2.itemsize - len(raw))
        header = _parse(self._path, raw)
        if header.volume_bytes > _MOST_VOLUME_BYTES or header.n_volumes > _MOST_VOLUMES:
            raise ImageError(
                f"{self._path}: its header claims {_times(header.shape)} values of "
                f"{header.dtype.itemsize * 8} bits, more than any brain image that can be read "
                f"({_MOST_VOLUME_BYTES // 2**20} MB a volume, {_MOST_VOLUMES:,} volumes)"
            )
        claimed = header.data_offset + header.volume_bytes * header.n_volumes
        if claimed > most:
            raise ImageError(
                f"{self._path}: its header claims {_times(header.shape)} values of "
                f"{header.dtype.itemsize * 8} bits, more than the file can hold; it is truncated "
                "or its header is wrong, fetch or write it again"
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
        NIfTI-1 or NIfTI-2 single file, plain or gzip, either byte order.

    Yields
    ------
    VolumeStream

    Raises
    ------
    ImageError
        If the file cannot be read; while its volumes are read, too.
    """
    head = _peek(path)
    size = path.stat().st_size
    if head.startswith(_GZIP):
        from isal import igzip, isal_zlib  # noqa: PLC0415 - not needed for plain files

        with igzip.open(path, "rb") as file:
            most = size * _INFLATES_AT_MOST
            damage = (isal_zlib.error,)
            yield VolumeStream(path, file, most=most, damage=damage)  # type: ignore[arg-type] # the stub takes this class for an instance
    else:
        _refuse_what_is_no_image(path, head)
        with path.open("rb") as plain:
            yield VolumeStream(path, plain, most=size, damage=())


def read_header(path: Path) -> Header:
    """Read the header of an image.

    Parameters
    ----------
    path : Path
        As in `open_image`.

    Returns
    -------
    Header

    Raises
    ------
    ImageError
        If it is no readable NIfTI image.
    """
    with open_image(path) as image:
        return image.header


def read_image(path: Path) -> tuple[npt.NDArray[np.generic], Header]:
    """Read a small image (mask, labels) at once.

    Parameters
    ----------
    path : Path
        As in `open_image`.

    Returns
    -------
    values : ndarray of shape `Header.shape`, Fortran order
        As stored when the header states no scaling, else float64.
    header : Header

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
    """Return the first bytes of a file that exists and is not empty."""
    if not path.exists():
        if path.is_symlink():
            raise ImageError(
                f"{path}: its content was never fetched (the link leads nowhere); run `datalad "
                "get` or `git annex get` on it"
            )
        raise ImageError(f"{path}: there is no such file")
    if not path.is_file():
        raise ImageError(f"{path}: it is no file (a folder, pipe or device); write it again")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise ImageError(f"{path}: it cannot be opened ({error.strerror})") from error
    if not head:
        raise ImageError(f"{path}: it is empty (0 bytes); fetch it again")
    return head


def _refuse_what_is_no_image(path: Path, head: bytes) -> None:
    """Say what a file is that is neither gzip nor NIfTI."""
    if _stated_size(head):
        return
    text = head.lstrip().lower()
    if b"annex/objects" in head:
        what = "its content was never fetched (git-annex pointer); run `datalad get` on it"
    elif text.startswith((b"<", b"{")):
        what = "it is a web page or error message saved under an image's name; fetch it again"
    else:
        what = f"it is no NIfTI image (it begins with {head[:8]!r})"
    raise ImageError(f"{path}: {what}")


def _times(sizes: tuple[int, ...]) -> str:
    """Write sizes as ``10x12x9``."""
    return "x".join(map(str, sizes))


def _parse(path: Path, raw: bytes) -> Header:
    """Read the fields of a NIfTI-1 or NIfTI-2 header of either byte order."""
    fields, layout = _fields(path, raw)
    magic = bytes(fields["magic"])
    if not magic.startswith((b"n+1", b"n+2")):
        raise ImageError(f"{path}: it is not a single-file NIfTI image (magic {magic!r})")
    code = int(fields["datatype"])
    if code not in _DTYPES:
        raise ImageError(f"{path}: its data type (code {code}) is not one real number per voxel")
    order = fields["dim"].dtype.byteorder
    slope, inter = _scaling(path, float(fields["slope"]), float(fields["inter"]))
    pixdim = np.asarray(fields["pixdim"], np.float64)
    t_r_s = float(pixdim[4]) * _SECONDS.get(int(fields["units"]) & 0x38, 1.0)
    shape = _shape(path, [int(size) for size in fields["dim"]])
    affine = _affine(fields, pixdim, shape)
    if not np.isfinite(affine).all() or not abs(np.linalg.det(affine)) > 0:
        raise ImageError(
            f"{path}: its header does not say where its voxels lie (sizes "
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
    )


def _stated_size(raw: bytes) -> int:
    """Return the header size that the first four bytes state in either order; 0 when neither."""
    for order in ("<", ">"):
        size = int(np.frombuffer(raw[:4].ljust(4, b"\0"), f"{order}i4")[0])
        if size in (_NIFTI1.itemsize, _NIFTI2.itemsize):
            return size
    return 0


def _fields(path: Path, raw: bytes) -> tuple[np.void, np.dtype[np.void]]:
    """Return the header as a record, and its layout."""
    size = _stated_size(raw)
    if size == 0 or len(raw) < size:
        raise ImageError(f"{path}: it is no NIfTI image, or it ends within its header")
    layout = _NIFTI1 if size == _NIFTI1.itemsize else _NIFTI2
    order: Literal["<", ">"] = "<" if raw[:4] == size.to_bytes(4, "little") else ">"
    record: np.void = np.frombuffer(raw[:size], layout.newbyteorder(order))[0]
    return record, layout


def _shape(path: Path, dim: list[int]) -> tuple[int, ...]:
    """Sizes from the ``dim`` field, 3D or 4D; further axes may only be of size 1."""
    n_axes = dim[0]
    sizes = dim[1 : n_axes + 1]
    if not 3 <= n_axes <= 7 or min(sizes) < 1:
        raise ImageError(f"{path}: its header states impossible sizes (dim = {dim})")
    if any(size != 1 for size in sizes[4:]):
        raise ImageError(f"{path}: it has more than four axes ({_times(tuple(sizes))})")
    return tuple(sizes[:4])


def _offset(path: Path, stated: float, least: int) -> int:
    """First byte of the data; 0 means straight after the header."""
    if stated == 0:
        return least
    if not least <= stated < 2**31:
        raise ImageError(f"{path}: its header places the data at byte {stated:g}")
    return int(stated)


def _scaling(path: Path, slope: float, inter: float) -> tuple[float, float]:
    """Slope and intercept; a slope of 0, NaN or inf means that there is no scaling."""
    if slope == 0 or not np.isfinite(slope):
        return 1.0, 0.0
    if not np.isfinite(inter):
        raise ImageError(f"{path}: its header states a scaling intercept of {inter}")
    return slope, inter


def _affine(
    fields: np.void, pixdim: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Affine by the rules of nifti1.h: method 3 (sform), 2 (qform), else voxel sizes."""
    affine = np.eye(4)
    if fields["sform"] > 0:
        affine[:3] = fields["srow"]
    elif fields["qform"] > 0:
        handedness = -1.0 if pixdim[0] < 0 else 1.0
        rotation = _rotation(np.asarray(fields["quatern"], np.float64))
        affine[:3, :3] = rotation * (pixdim[1:4] * [1.0, 1.0, handedness])
        affine[:3, 3] = fields["qoffset"]
    else:
        # As nibabel's base affine: x runs to the left, the origin is the centre of the grid.
        zooms = pixdim[1:4] * [-1.0, 1.0, 1.0]
        affine[:3, :3] = np.diag(zooms)
        affine[:3, 3] = -zooms * (np.array(shape[:3]) - 1) / 2
    return affine


def _rotation(bcd: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rotation matrix of a unit quaternion given by its last three terms (nifti1.h)."""
    b, c, d = bcd
    a = np.sqrt(max(0.0, 1.0 - float(bcd @ bcd)))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
