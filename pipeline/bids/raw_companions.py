"""Find images that accompany raw functional runs: field maps and single-band references."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from circuitshift.pipeline.bids.names import Name, is_junk, normal_label, parse_name
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.io import nifti, tables

__all__ = ["FieldMap", "field_map_notes", "find_field_maps", "find_reference"]

#: Kind of field map by suffix; magnitude images belong to one of the others.
_KINDS = {
    "phasediff": "phase difference",
    "phase1": "two phases",
    "phase2": "two phases",
    "fieldmap": "measured field",
    "epi": "opposite phase encoding",
}
_ENDS = (".nii.gz", ".nii")
_Listing: TypeAlias = Callable[[Path], list[Path]]
_NOT_USED = "Distortion is not corrected."


@dataclass(frozen=True, slots=True)
class FieldMap:
    """A field map, which can consist of several images.

    Parameters
    ----------
    kind : str
        How the field was measured.
    images : tuple of str
        Names of the images without magnitudes.
    intended_for : tuple of str
        Names of the images for which it is intended (``IntendedFor``).
    identifiers : tuple of str
        Values of ``B0FieldIdentifier``.
    """

    kind: str
    images: tuple[str, ...]
    intended_for: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()


def find_field_maps(participant: Path) -> tuple[FieldMap, ...]:
    """Find the field maps of a participant in the folders ``fmap``.

    Parameters
    ----------
    participant : Path
        Folder ``sub-X`` of a raw data set.

    Returns
    -------
    tuple of FieldMap
        Images that differ in ``dir-`` only, and the two phases of an acquisition, are one field
        map. Folders that cannot be listed, and files without a BIDS name, are ignored, because
        field maps are not used.
    """
    groups: dict[tuple[object, ...], list[tuple[Name, Path]]] = {}
    folders = [participant / "fmap", *sorted(participant.glob("ses-*/fmap"))]
    for path in (path for folder in folders for path in _files(folder)):
        name = parse_name(path.name)
        if name is None or is_junk(path.name) or name.suffix not in _KINDS:
            continue
        if name.extension not in _ENDS:
            continue
        same = [(k, normal_label(k, v)) for k, v in name.entities if k != "dir"]
        key = (str(path.parent), _KINDS[name.suffix], tuple(sorted(same)))
        groups.setdefault(key, []).append((name, path))
    listing = cache(_files)  # upper folders contain the sidecars of several images
    return tuple(
        _field_map(str(key[1]), images, participant.parent, listing)
        for key, images in groups.items()
    )


def _files(folder: Path) -> list[Path]:
    """List a folder; empty if it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _field_map(
    kind: str, images: Sequence[tuple[Name, Path]], root: Path, listing: _Listing
) -> FieldMap:
    contents = [_metadata(name, path, root, listing) for name, path in images]
    targets = [t for content in contents for t in _texts(content.get("IntendedFor"))]
    # a path relative to the participant, or a BIDS URI (bids::sub-01/func/...)
    intended = {target.replace(":", "/").rpartition("/")[2] for target in targets}
    identifiers = {i for content in contents for i in _texts(content.get("B0FieldIdentifier"))}
    names = tuple(path.name for _, path in images)
    return FieldMap(kind, names, tuple(sorted(intended)), tuple(sorted(identifiers)))


def _texts(value: object) -> list[str]:
    """Return a text, or the texts of a list; empty for other values."""
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def _metadata(name: Name, path: Path, root: Path, listing: _Listing) -> dict[str, Any]:
    """Merge the JSON files of an image by the BIDS inheritance principle.

    Files that cannot be read are ignored, because field maps are not used.
    """
    entities = {f"{key}-{value}" for key, value in name.entities}
    out: dict[str, Any] = {}
    for folder in path.parents:
        matching = []
        for sidecar in listing(folder):
            *pairs, suffix = sidecar.name.removesuffix(".json").split("_")
            applies = suffix == name.suffix and set(pairs) <= entities
            if sidecar.name.endswith(".json") and applies:
                matching.append((len(pairs), sidecar))
        for _, sidecar in sorted(matching, reverse=True):
            try:
                out = tables.read_json(sidecar) | out
            except CircuitshiftError:
                continue
        if folder == root:
            break
    return out


def field_map_notes(
    maps: Sequence[FieldMap], image: str, content: Mapping[str, Any]
) -> tuple[str, ...]:
    """State which field maps belong to a run, and that they are not used.

    Parameters
    ----------
    maps : sequence of FieldMap
        Field maps of the participant.
    image : str
        Name of the functional image.
    content : mapping of str to object
        Metadata of the functional image.

    Returns
    -------
    tuple of str
        One sentence without names of files, so that equal notes of several runs can be combined;
        empty if the participant has no field maps.
    """
    if not maps:
        return ()
    stem = _stem(image)
    sources = set(_texts(content.get("B0FieldSource")))
    intended = [m for m in maps if any(_stem(target) == stem for target in m.intended_for)]
    identified = [m for m in maps if sources.intersection(m.identifiers)]
    own = [m for m in maps if m in intended or m in identified]
    keys = [key for key, found in (("IntendedFor", intended), ("B0Field", identified)) if found]
    if own:
        by = " and ".join(keys).replace("B0Field", "B0FieldIdentifier")
        return (f"{_count(own)} found by {by}, not used. {_NOT_USED}",)
    return (
        f"{_count(maps)} found, but none is assigned to this run by IntendedFor or "
        f"B0FieldIdentifier; not used. {_NOT_USED}",
    )


def _stem(image: str) -> str:
    return image.removesuffix(".gz").removesuffix(".nii")


def _count(maps: Iterable[FieldMap]) -> str:
    """Count field maps by their kinds: ``2 field maps (phase difference, measured field)``."""
    kinds = Counter(each.kind for each in maps)
    n = kinds.total()
    return f"{n} field map{'s' if n > 1 else ''} ({', '.join(sorted(kinds))})"


def find_reference(bold: Path, header: nifti.Header) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Find the single-band reference (SBRef) of a run.

    Parameters
    ----------
    bold : Path
        Functional image.
    header : Header
        Its header.

    Returns
    -------
    reference : tuple of Path
        The image; empty if there is none that can be used.
    notes : tuple of str
        Reason why an existing image is not used.
    """
    stem = _stem(bold.name).removesuffix("_bold")
    found = [path for end in _ENDS if (path := bold.with_name(f"{stem}_sbref{end}")).exists()]
    if not found:
        return (), ()
    try:
        own = nifti.read_header(found[0])
    except CircuitshiftError:
        return (), ("Its single-band reference (SBRef) cannot be read and is not used.",)
    if own.n_volumes != 1 or own.grid != header.grid:
        what = f"{own.n_volumes} volumes" if own.n_volumes != 1 else "another grid"
        return (), (f"Its single-band reference (SBRef) has {what} and is not used.",)
    return (found[0],), ()
