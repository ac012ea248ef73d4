"""Whether a fetched file is what it should be: size, compression, header, not a web page."""

from collections.abc import Callable
from pathlib import Path

from circuitshift.pipeline.errors import CircuitshiftError, ImageError, TableError
from circuitshift.pipeline.io import nifti, tables

__all__ = ["what_is_wrong"]

_STEP = 1 << 22


def what_is_wrong(path: Path, size: int | None) -> str:
    """Say what is wrong with a fetched file.

    Parameters
    ----------
    path : Path
    size : int or None
        Bytes it should have; None when unknown.

    Returns
    -------
    str
        Empty when it is right. Images are read to their end, since a download that was taken up
        again in the middle has the right size and a right header even when its parts do not fit.
    """
    if not path.exists():
        return "it is not there"
    there = path.stat().st_size
    if there == 0:
        return "it is empty (0 bytes)"
    if size is not None and there != size:
        return f"it has {there} bytes instead of {size}"
    try:
        _checker(path)(path)
    except CircuitshiftError as error:
        return str(error).removeprefix(f"{path}: ").split("; ")[0].split("\n")[0]
    except OSError as error:
        return f"it cannot be read to its end ({error})"
    return ""


def _checker(path: Path) -> Callable[[Path], object]:
    if path.name.endswith((".nii", ".nii.gz")):
        return _check_image
    return _check_json if path.suffix == ".json" else _check_text


def _check_image(path: Path) -> None:
    nifti.read_header(path)
    if path.suffix == ".gz":
        from isal import igzip, isal_zlib  # noqa: PLC0415 - only here

        try:
            with igzip.open(path, "rb") as file:
                while file.read(_STEP):
                    pass
        except (isal_zlib.error, EOFError) as error:  # type: ignore[misc] # its stub is wrong
            raise ImageError(f"{path}: it is damaged ({error})") from None


def _check_json(path: Path) -> None:
    content = tables.read_json(path)
    if list(content) == ["error"]:
        raise TableError(f"{path}: it is an error message of the server")


def _check_text(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(256).lstrip().lower()
    if path.suffix == ".tsv" and head.startswith((b"<!doctype", b"<html", b"{")):
        raise TableError(f"{path}: it is a web page saved under a table's name")
