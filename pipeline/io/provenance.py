"""Versions of the code that made a result, and hashes of what it was made from.

A result is valid as long as three things are unchanged: its inputs, its settings, and the code
that can change its bytes. This module hashes the code and values; `digests` hashes files.
"""

import hashlib
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import circuitshift.atlases
from circuitshift.pipeline import __version__

__all__ = ["code_hash", "data_files", "hash_of", "source_files", "versions"]

_DIGITS = 12
_QUOTED = r'"([^"]+)"'
#: Folder of each package whose imports are followed.
_PACKAGES = {
    "circuitshift.pipeline": Path(__file__).parents[1],
    "circuitshift.atlases": Path(str(circuitshift.atlases.__file__)).parent,
}
# A pattern finds the import statements of all files in 20 ms; parsing them takes half a second.
# tests/pipeline/io/test_provenance.py compares what is found with the graph of grimp.
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<package>circuitshift[\w.]*)[ \t]+import[ \t]+"
    r"(?:\((?P<block>[^)]*)\)|(?P<line>[^\n(]+))|import[ \t]+(?P<module>circuitshift[\w.]*))",
    re.MULTILINE,
)
_DATA = re.compile(r"^PACKAGE_DATA(?:: [^=\n]+)? = \((?P<names>[^)]*)\)", re.MULTILINE)
# The number of a release changes no result; it is written down beside the hash.
_RELEASE = re.compile(rb"^__version__ = .*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Source:
    """A source file: its hash, the names it imports, and the data files it says it reads."""

    path: Path
    digest: bytes
    imports: tuple[str, ...]
    data: tuple[str, ...]


@cache
def code_hash(root: str, *, data: bool = True) -> str:
    """Hash the source files that a module can reach by its imports.

    Imports are read from the source, those inside functions too; no module is imported. Packages
    count with their ``__init__.py``. Other libraries do not count.

    Parameters
    ----------
    root : str
        Full name of the module that makes a result.
    data : bool
        Whether the data files that these modules name in ``PACKAGE_DATA`` count; False where their
        content is hashed otherwise.

    Returns
    -------
    str
        12 hexadecimal digits.

    Raises
    ------
    ValueError
        If there is no such module, or no data file of a name.
    """
    digest = hashlib.sha256()
    for name, source in _reachable(root).items():
        digest.update(name.encode() + b"\0" + source.digest)
    for path in data_files(root) if data else ():
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:_DIGITS]


def source_files(root: str) -> dict[str, Path]:
    """Find the modules that a module can reach by its imports, itself included.

    Parameters
    ----------
    root : str
        Full name of a module.

    Returns
    -------
    dict of str to Path
        Source file of each module of this project, sorted by name.

    Raises
    ------
    ValueError
        If there is no such module.
    """
    return {name: source.path for name, source in _reachable(root).items()}


def data_files(root: str) -> list[Path]:
    """Find the data files that the modules within reach of a module name in ``PACKAGE_DATA``.

    Parameters
    ----------
    root : str
        Full name of a module.

    Returns
    -------
    list of Path
        In the order of modules and names.

    Raises
    ------
    ValueError
        If there is no such module, or no data file of a name.
    """
    out: list[Path] = []
    for name, source in _reachable(root).items():
        for pattern in source.data:
            files = sorted(source.path.parent.glob(pattern))
            if not files:
                raise ValueError(f"{name}: PACKAGE_DATA names {pattern}, which is not there")
            out += files
    return out


def _reachable(root: str) -> dict[str, _Source]:
    """Follow the imports of a module; sorted by name."""
    start = _module(root) or _read(Path(getattr(sys.modules.get(root), "__file__", None) or "/"))
    if start is None:
        raise ValueError(f"there is no module {root}")
    found = {root: start}
    seen = {root}
    left = [*_parents(root), *start.imports]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            source = _module(name)
            if source is not None:
                found[name] = source
                left += [*_parents(name), *source.imports]
    return dict(sorted(found.items()))


@cache
def _module(name: str) -> _Source | None:
    """Read a module or package; None when a name is neither, or of another project."""
    for package, folder in _PACKAGES.items():
        if name == package or name.startswith(f"{package}."):
            path = folder.joinpath(*name.removeprefix(package).split(".")[1:])
            return _read(path / "__init__.py") or _read(path.with_suffix(".py"))
    return None


def _read(path: Path) -> _Source | None:
    """Read a source file; None when it is not there."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    text = content.decode()
    data = [name for found in _DATA.finditer(text) for name in re.findall(_QUOTED, found["names"])]
    digest = hashlib.sha256(_RELEASE.sub(b"", content)).digest()
    return _Source(path, digest, tuple(dict.fromkeys(_imports(text))), tuple(data))


def _parents(name: str) -> list[str]:
    """Name the packages that are imported before a module is."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _imports(text: str) -> Iterator[str]:
    """Yield the modules that import statements can mean: ``from a import b`` a and a.b."""
    for found in _IMPORT.finditer(text):
        yield found["package"] or found["module"]
        names = re.sub("#[^\n]*", "", found["block"] or found["line"] or "")
        for name in names.split(",") if found["package"] else ():
            if name.strip():
                yield f"{found['package']}.{name.split()[0]}"


def hash_of(*values: object) -> str:
    """Hash values by their text.

    Parameters
    ----------
    *values : object
        Whose ``repr`` says all: text, numbers, frozen records, and tuples, lists or dicts of them.

    Returns
    -------
    str
        12 hexadecimal digits.
    """
    return hashlib.sha256(repr(values).encode()).hexdigest()[:_DIGITS]


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
