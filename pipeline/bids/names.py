"""BIDS file names: taken apart, and put together in the order BIDS asks for."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from circuitshift.pipeline.bids.entities import ENTITIES, LABEL
from circuitshift.pipeline.errors import InputError

__all__ = ["ORDER", "PARCELS", "VARIANT", "Name", "build_path", "is_junk", "parse_name"]


def _order() -> tuple[str, ...]:
    """Return the schema's order of entities, but for those that fMRIPrep and XCP-D write elsewhere.

    fMRIPrep writes ``cohort``, ``res`` and ``den`` straight after ``space``; ``stat`` is XCP-D's
    and not in the schema.
    """
    moved = ("cohort", "res", "den")
    keys = [key for key, _, _ in ENTITIES if key not in moved]
    place = keys.index("space") + 1
    keys[place:place] = moved
    keys.insert(keys.index("desc"), "stat")
    return tuple(keys)


#: Keys in the order in which they stand in a file name.
ORDER = _order()
_PLACE = {key: place for place, key in enumerate(ORDER)}
# Entities that tell versions of one acquired run apart, and those that tell its parcels apart.
VARIANT = frozenset({"space", "cohort", "res", "den", "desc", "stat", "meas"})
PARCELS = ("atlas", "seg", "scale", "label")
_NAME = re.compile(
    rf"((?:[a-zA-Z0-9]+-{LABEL}_)+)([a-zA-Z0-9]+)(\.[a-zA-Z0-9]+(?:\.[a-zA-Z0-9]+)*)"
)
_LABEL = re.compile(LABEL)
_JUNK = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class Name:
    """The parts of a BIDS file name.

    Parameters
    ----------
    entities : tuple of (str, str)
        In order of appearance: ``(("sub", "01"), ("task", "rest"))``.
    suffix : str
        Last part before the extension, such as ``bold``.
    extension : str
        From the first dot on, such as ``.nii.gz``.
    """

    entities: tuple[tuple[str, str], ...]
    suffix: str
    extension: str

    def get(self, key: str, default: str = "") -> str:
        """Value of an entity, or `default`."""
        return next((value for name, value in self.entities if name == key), default)


def parse_name(name: str) -> Name | None:
    """Take a BIDS file name apart.

    Parameters
    ----------
    name : str
        File name without folders.

    Returns
    -------
    Name or None
        None when it is not ``key-value_..._suffix.extension`` with distinct keys.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    pairs = tuple(part.split("-", 1) for part in match[1][:-1].split("_"))
    if len({key for key, _ in pairs}) < len(pairs):
        return None
    return Name(tuple((key, value) for key, value in pairs), match[2], match[3])


def build_path(
    entities: Iterable[tuple[str, str]], suffix: str, extension: str, datatype: str = "func"
) -> Path:
    """Make the path of a file below the root of its data set.

    Parameters
    ----------
    entities : iterable of (str, str)
        In any order; those with an empty value are left out; keys that BIDS does not know go
        before ``desc``, in the order given.
    suffix, extension : str
        As in `Name`.
    datatype : str
        Folder; empty for none.

    Returns
    -------
    Path
        ``sub-X[/ses-Y]/func/sub-X[_ses-Y]..._suffix.extension``.

    Raises
    ------
    InputError
        If there is no ``sub``, a key is there twice, or a label holds anything but letters,
        digits and ``+``.
    """
    pairs = [(key, value) for key, value in entities if value]
    available = dict(pairs)
    bad = [f"{key}-{value}" for key, value in pairs if not _LABEL.fullmatch(value)]
    if bad or len(available) < len(pairs) or "sub" not in available:
        raise InputError(
            f"no BIDS name can be made of {', '.join(f'{k}-{v}' for k, v in pairs)}: it needs "
            "sub-, each key once, and labels of letters and digits"
        )
    pairs.sort(key=lambda pair: _PLACE.get(pair[0], _PLACE["desc"] - 0.5))
    name = "_".join([*(f"{key}-{value}" for key, value in pairs), suffix]) + extension
    folders = [f"sub-{available['sub']}"]
    folders += [f"ses-{available['ses']}"] if "ses" in available else []
    return Path(*folders, *([datatype] if datatype else []), name)


def is_junk(name: str) -> bool:
    """Tell what macOS and Windows leave in folders."""
    return name.startswith("._") or name in _JUNK
