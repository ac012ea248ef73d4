"""Compute hashes of the code and of the values that a result was computed from.

A result is valid as long as its inputs, its settings, and the code that can change its bytes are
unchanged. This module hashes code and values; `circuitshift.pipeline.io.digests` hashes files.
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
# A regular expression finds the import statements of all files in 20 ms; parsing the files takes
# half a second. tests/pipeline/io/test_provenance.py compares the result with the graph of grimp.
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<package>circuitshift[\w.]*)[ \t]+import[ \t]+"
    r"(?:\((?P<block>[^)]*)\)|(?P<line>[^\n(]+))|import[ \t]+(?P<module>circuitshift[\w.]*))",
    re.MULTILINE,
)
_DATA = re.compile(r"^PACKAGE_DATA(?:: [^=\n]+)? = \((?P<names>[^)]*)\)", re.MULTILINE)
# The version number does not influence results; it is recorded separately.
_RELEASE = re.compile(rb"^__version__ = .*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Source:
    """A source file: its hash, the names that it imports, and the data files that it reads."""

    path: Path
    digest: bytes
    imports: tuple[str, ...]
    data: tuple[str, ...]


@cache
def code_hash(root: str, *, data: bool = True) -> str:
    """Hash the source files that a module can reach through its imports.

    Import statements are read from the source, including those inside functions; no module is
    imported. The ``__init__.py`` of each package is included. Other libraries are not included.

    Parameters
    ----------
    root : str
        Full name of the module that computes a result.
    data : bool
        Whether to include the data files that these modules list in ``PACKAGE_DATA``; false if
        their content is hashed in another way.

    Returns
    -------
    str
        12 hexadecimal digits.

    Raises
    ------
    ValueError
        If the module or one of the data files does not exist.
    """
    digest = hashlib.sha256()
    for name, source in _reachable(root).items():
        digest.update(name.encode() + b"\0" + source.digest)
    for path in data_files(root) if data else ():
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:_DIGITS]


def source_files(root: str) -> dict[str, Path]:
    """Find the modules that a module can reach through its imports, including itself.

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
        If the module does not exist.
    """
    return {name: source.path for name, source in _reachable(root).items()}


def data_files(root: str) -> list[Path]:
    """Find the data files that are listed in ``PACKAGE_DATA`` of all modules that a module reaches.

    Parameters
    ----------
    root : str
        Full name of a module.

    Returns
    -------
    list of Path
        Sorted by module, then in the order of the list.

    Raises
    ------
    ValueError
        If the module or one of the data files does not exist.
    """
    out: list[Path] = []
    for name, source in _reachable(root).items():
        for pattern in source.data:
            files = sorted(source.path.parent.glob(pattern))
            if not files:
                raise ValueError(f"{name}: PACKAGE_DATA lists {pattern}, which does not exist")
            out += files
    return out


def _reachable(root: str) -> dict[str, _Source]:
    """Return the modules that a module reaches through its imports, sorted by name."""
    start = _module(root) or _read(Path(getattr(sys.modules.get(root), "__file__", None) or "/"))
    if start is None:
        raise ValueError(f"module {root} does not exist")
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
    """Read a module or package; None if a name is neither, or belongs to another project."""
    for package, folder in _PACKAGES.items():
        if name == package or name.startswith(f"{package}."):
            path = folder.joinpath(*name.removeprefix(package).split(".")[1:])
            return _read(path / "__init__.py") or _read(path.with_suffix(".py"))
    return None


def _read(path: Path) -> _Source | None:
    """Read a source file; None if it does not exist."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    text = content.decode()
    data = [name for found in _DATA.finditer(text) for name in re.findall(_QUOTED, found["names"])]
    digest = hashlib.sha256(_RELEASE.sub(b"", content)).digest()
    return _Source(path, digest, tuple(dict.fromkeys(_imports(text))), tuple(data))


def _parents(name: str) -> list[str]:
    """Return the packages that Python imports before a module."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _imports(text: str) -> Iterator[str]:
    """Yield the names that import statements may refer to: for ``from a import b``, a and a.b."""
    for found in _IMPORT.finditer(text):
        yield found["package"] or found["module"]
        names = re.sub("#[^\n]*", "", found["block"] or found["line"] or "")
        for name in names.split(",") if found["package"] else ():
            if name.strip():
                yield f"{found['package']}.{name.split()[0]}"


def hash_of(*values: object) -> str:
    """Hash values by their ``repr``.

    Parameters
    ----------
    *values : object
        Text, numbers, frozen records, and tuples, lists or dicts of these, whose ``repr`` is
        complete.

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
