"""Parse BIDS file names, and build them with entities in the order that BIDS requires."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from circuitshift.pipeline.bids.entities import ENTITIES, LABEL
from circuitshift.pipeline.errors import InputError

__all__ = [
    "ORDER",
    "PARCELS",
    "VARIANT",
    "Name",
    "acquired",
    "build_path",
    "is_junk",
    "is_label",
    "normal_label",
    "parse_name",
    "version_keys",
]


def _order() -> tuple[str, ...]:
    """Return the entities in the order of fMRIPrep and XCP-D, which is nearly that of the schema.

    In contrast to the schema, fMRIPrep writes ``cohort``, ``res`` and ``den`` directly after
    ``space``, and XCP-D uses ``stat``, which is not part of the schema.
    """
    moved = ("cohort", "res", "den")
    keys = [key for key, _, _ in ENTITIES if key not in moved]
    place = keys.index("space") + 1
    keys[place:place] = moved
    keys.insert(keys.index("desc"), "stat")
    return tuple(keys)


#: Keys of entities in the order of file names.
ORDER = _order()
_PLACE = {key: place for place, key in enumerate(ORDER)}
# Entities that distinguish versions of one acquired run, and entities of its parcellation.
VARIANT = frozenset({"space", "cohort", "res", "den", "desc", "stat", "meas", "measure"})
PARCELS = ("atlas", "seg", "scale", "label")
# Entities that keep acquired runs apart. All others, such as rec, echo, part, proc, space or desc,
# and keys that are not part of BIDS, distinguish versions of one acquired run.
_ACQUISITION = frozenset(
    {
        *("sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain"),
        *("dir", "run", "mod", "flip", "inv", "mt", "hemi", "split", "recording", "chunk"),
    }
)
_INDICES = frozenset(key for key, _, form in ENTITIES if form == "index")
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
        Entities in order of appearance, for example ``(("sub", "01"), ("task", "rest"))``.
    suffix : str
        Last part before the extension, for example ``bold``.
    extension : str
        Everything from the first dot on, for example ``.nii.gz``.
    """

    entities: tuple[tuple[str, str], ...]
    suffix: str
    extension: str

    def get(self, key: str, default: str = "") -> str:
        """Return the value of an entity, or `default` if there is none."""
        return next((value for name, value in self.entities if name == key), default)


def parse_name(name: str) -> Name | None:
    """Parse a BIDS file name.

    Parameters
    ----------
    name : str
        File name without folders.

    Returns
    -------
    Name or None
        The parts of the name; None if it is not of the form
        ``key-value_..._suffix.extension`` with distinct keys.
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
    """Build the path of a file, relative to the root of its data set.

    Parameters
    ----------
    entities : iterable of (str, str)
        Entities in any order. Those with an empty value are omitted. Keys that are not part of
        BIDS precede ``desc``, in the given order.
    suffix, extension : str
        Suffix and extension; see `Name`.
    datatype : str, default="func"
        Name of the folder; empty for none.

    Returns
    -------
    Path
        ``sub-X[/ses-Y]/func/sub-X[_ses-Y]..._suffix.extension``.

    Raises
    ------
    InputError
        If ``sub`` is missing, a key is repeated, or a label contains characters other than
        letters, digits and ``+``.
    """
    pairs = [(key, value) for key, value in entities if value]
    available = dict(pairs)
    bad = [f"{key}-{value}" for key, value in pairs if not _LABEL.fullmatch(value)]
    if bad or len(available) < len(pairs) or "sub" not in available:
        raise InputError(
            f"{', '.join(f'{k}-{v}' for k, v in pairs)}: no BIDS name can be built from these "
            "entities; use sub-, each key once, and labels of letters and digits"
        )
    pairs.sort(key=lambda pair: _PLACE.get(pair[0], _PLACE["desc"] - 0.5))
    name = "_".join([*(f"{key}-{value}" for key, value in pairs), suffix]) + extension
    folders = [f"sub-{available['sub']}"]
    folders += [f"ses-{available['ses']}"] if "ses" in available else []
    return Path(*folders, *([datatype] if datatype else []), name)


def is_junk(name: str) -> bool:
    """Return whether a file is one that macOS or Windows creates automatically."""
    return name.startswith("._") or name in _JUNK


def is_label(text: str) -> bool:
    """Return whether a text can be a label: letters, digits and ``+``, at least one."""
    return _LABEL.fullmatch(text) is not None


def normal_label(key: str, value: str) -> str:
    """Return a label without leading zeros if its entity is a number, such as ``run-01``."""
    return str(int(value)) if key in _INDICES and value.isdecimal() else value


def acquired(name: Name) -> tuple[tuple[str, str], ...]:
    """Return the entities that identify the acquired run of a file, in a fixed order.

    Parameters
    ----------
    name : Name
        Parts of a file name.

    Returns
    -------
    tuple of (str, str)
        Entities such as ``sub``, ``ses``, ``task``, ``acq``, ``ce``, ``dir`` and ``run``, sorted,
        so that their order in the name has no effect. ``run-1`` and ``run-01`` are equal.
    """
    return tuple(
        sorted(
            (key, normal_label(key, value)) for key, value in name.entities if key in _ACQUISITION
        )
    )


def version_keys(name: Name) -> tuple[str, ...]:
    """Return the keys of a name that distinguish versions of one run, in order of appearance."""
    return tuple(key for key, _ in name.entities if key not in _ACQUISITION and key not in PARCELS)
