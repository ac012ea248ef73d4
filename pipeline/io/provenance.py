"""What made a result: code, inputs, versions. Decides whether an output is still valid."""

import hashlib
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import circuitshift.atlases
from circuitshift.pipeline import __version__

__all__ = ["code_hash", "inputs_hash", "page_hash", "versions"]

_DIGITS = 12
_CODE = (".py", ".toml", ".tsv")


@cache
def code_hash() -> str:
    """Hash of every source file of `circuitshift.pipeline` and `circuitshift.atlases`.

    Whole packages rather than the called function: a changed helper changes results, too.
    """
    digest = hashlib.sha256()
    for package in (Path(__file__).parents[1], Path(str(circuitshift.atlases.__file__)).parent):
        for path in sorted(p for p in package.rglob("*") if p.suffix in _CODE):
            digest.update(path.relative_to(package).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:_DIGITS]


@cache
def page_hash() -> str:
    """Hash of the code and of the templates and styles of the reports."""
    digest = hashlib.sha256(code_hash().encode())
    for path in sorted((Path(__file__).parents[1] / "reports/templates").iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:_DIGITS]


def inputs_hash(paths: Iterable[Path | None], *more: object) -> str:
    """Hash of names, sizes and modification times of files, and of anything else as text.

    Content is not read: that would cost as much as the extraction it is to spare.

    Parameters
    ----------
    paths : iterable of Path or None
        Links are followed, so that a fetched annex file counts as changed.
    *more : object
        Values whose text matters.
    """
    digest = hashlib.sha256()
    for path in paths:
        if path is None:
            digest.update(b"-\0")
            continue
        stat = path.stat()
        digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    digest.update(repr(more).encode())
    return digest.hexdigest()[:_DIGITS]


def versions() -> dict[str, str]:
    """Versions of circuitshift, Python and the libraries that compute numbers."""
    out = {"circuitshift": __version__, "python": platform.python_version()}
    libraries = ("numpy", "scipy", "scikit-learn", "nilearn", "nipype", "isal", "matplotlib")
    for name in (*libraries, "antspyx"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out
