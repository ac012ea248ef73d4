"""Find the mask and the confounds of an image by the set of its entities, in any order."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from circuitshift.pipeline.bids.names import Name, acquired, is_junk, normal_label, parse_name

__all__ = ["CONFOUNDS", "MASK", "Companion", "find_companion"]

_Entry = TypeVar("_Entry")
# The grid of an image: a companion in another space is not its companion.
_SPACE = ("space", "cohort")


class Companion(NamedTuple):
    """A kind of file that belongs to an image.

    Attributes
    ----------
    label : str
        Name in messages.
    desc : str
        Value of ``desc-``.
    tails : tuple of str
        Suffix and extension, in the order of preference.
    is_in_space : bool
        Whether it lies on the grid of the image.
    """

    label: str
    desc: str
    tails: tuple[str, ...]
    is_in_space: bool


MASK = Companion("its brain mask", "brain", ("mask.nii.gz", "mask.nii"), True)
CONFOUNDS = Companion(
    "its confounds table", "confounds", ("timeseries.tsv", "regressors.tsv"), False
)


def find_companion(
    image: Name, kind: Companion, siblings: Mapping[str, _Entry]
) -> tuple[list[_Entry], str]:
    """Find the files of a kind that belong to an image.

    Parameters
    ----------
    image : Name
        Parsed name of the image.
    kind : Companion
        `MASK` or `CONFOUNDS`.
    siblings : mapping of str to entries
        All files in the folder of the image, by name.

    Returns
    -------
    found : list of entries
        The companion: the file of the same acquired run (``run-1`` and ``run-01`` are equal) that
        shares most entities with the image and contradicts none. Entities that distinguish
        versions, such as ``res``, ``proc`` or ``part``, may be missing in its name; a mask must
        have the space of the image. Several files if the names do not decide; empty if there is
        none.
    expected : str
        The usual name of the file, for messages.
    """
    own = _entities(image)
    same_run = acquired(image)
    candidates: dict[tuple[int, int, int], list[_Entry]] = defaultdict(list)
    for text in sorted(siblings):
        name = _parse_companion(text, kind)
        if name is None or acquired(name) != same_run:
            continue
        entities = _entities(name)
        if not entities <= own or (kind.is_in_space and not _is_on_grid(name, image)):
            continue
        tail = kind.tails.index(f"{name.suffix}{name.extension}")
        verbatim = len(set(name.entities) & set(image.entities))
        candidates[-len(entities), tail, -verbatim].append(siblings[text])
    found = candidates[min(candidates)] if candidates else []
    return found, _expected(image, kind)


def _parse_companion(text: str, kind: Companion) -> Name | None:
    """Parse a file name; None if it is not of this kind."""
    if not text.endswith(kind.tails) or is_junk(text):
        return None
    name = parse_name(text)
    if name is None or f"{name.suffix}{name.extension}" not in kind.tails:
        return None
    return name if name.get("desc") == kind.desc else None


def _entities(name: Name) -> set[tuple[str, str]]:
    """Return the entities that must agree: without ``desc``, and without ``part-mag``."""
    return {
        (key, normal_label(key, value))
        for key, value in name.entities
        if key != "desc" and (key, value) != ("part", "mag")
    }


def _is_on_grid(name: Name, image: Name) -> bool:
    """Return whether a file has the space of an image."""
    return all(name.get(key) == image.get(key) for key in _SPACE)


def _expected(image: Name, kind: Companion) -> str:
    """Build the name that fMRIPrep writes."""
    grid = ("space", "cohort", "res", "den")
    keys: Iterable[str] = () if kind.is_in_space else grid
    pairs = [f"{key}-{value}" for key, value in image.entities if key not in (*keys, "desc")]
    return "_".join([*pairs, f"desc-{kind.desc}", kind.tails[0]])
