"""Verify fetched files: size, compression, header, and content that is not a web page."""

from collections.abc import Callable
from pathlib import Path

from circuitshift.pipeline.errors import CircuitshiftError, ImageError, TableError
from circuitshift.pipeline.io import nifti, tables

__all__ = ["find_problem"]

_CHUNK_BYTES = 1 << 22


def find_problem(path: Path, size: int | None) -> str:
    """Find the problem of a fetched file.

    Images are read to their end, because the parts of a resumed download may be inconsistent even
    if size and header are correct.

    Parameters
    ----------
    path : Path
        The file.
    size : int or None
        Expected size in bytes; None if it is unknown.

    Returns
    -------
    str
        Description of the problem; empty if there is none.
    """
    if not path.exists():
        return "it does not exist"
    n_bytes = path.stat().st_size
    if n_bytes == 0:
        return "it is empty (0 bytes)"
    if size is not None and n_bytes != size:
        return f"it has {n_bytes} bytes instead of {size}"
    try:
        _checker(path)(path)
    except CircuitshiftError as error:
        return str(error).removeprefix(f"{path}: ").split("; ")[0].split("\n")[0]
    except OSError as error:
        return f"it cannot be read to its end ({error})"
    return ""


def _checker(path: Path) -> Callable[[Path], object]:
    """Return the function that checks files of this extension."""
    if path.name.endswith((".nii", ".nii.gz")):
        return _check_image
    return _check_json if path.suffix == ".json" else _check_text


def _check_image(path: Path) -> None:
    """Check the header of an image and, if it is compressed, the checksum."""
    nifti.read_header(path)
    if path.suffix == ".gz":
        from isal import igzip, isal_zlib  # noqa: PLC0415 - only here

        try:
            with igzip.open(path, "rb") as file:
                while file.read(_CHUNK_BYTES):
                    pass
        except (isal_zlib.error, EOFError) as error:  # type: ignore[misc] # the stub of isal is wrong
            raise ImageError(f"{path}: it is damaged ({error})") from None


def _check_json(path: Path) -> None:
    """Check that a file is JSON and not an error message of the server."""
    content = tables.read_json(path)
    if list(content) == ["error"]:
        raise TableError(f"{path}: it is an error message of the server")


def _check_text(path: Path) -> None:
    """Check that a table is not a web page."""
    with path.open("rb") as file:
        head = file.read(256).lstrip().lower()
    if path.suffix == ".tsv" and head.startswith((b"<!doctype", b"<html", b"{")):
        raise TableError(f"{path}: it is a web page saved as a table")
