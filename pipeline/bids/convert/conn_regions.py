"""Match the regions of files that CONN wrote, whose names may be spelt differently.

Names are compared in a normalised form (`normalise_name`), and their centres must agree.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.load import infer_region
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.bids.convert.description import ConnInput
from circuitshift.pipeline.bids.convert.records import ConvertedRegions
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.conn import ConnRegions

__all__ = ["RegionMatch", "match_regions", "network_of", "normalise_name", "select_regions"]

TOLERANCE_MM = 1.0
#: Names of CONN's tissue masks, which are not regions.
_TISSUES = frozenset({"grey matter", "gray matter", "white matter", "csf"})
_NETWORK = re.compile(r"networks?\.(?P<network>[^.]+)\..+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class RegionMatch:
    """The regions that most files of each folder have.

    Parameters
    ----------
    regions : ConvertedRegions
        Labels are the names in the first file.
    columns : dict of Path to ndarray, shape (n_regions,), int
        Position of each region in each file; -1 if the file does not have it.
    notes : tuple of str
        How names were matched, and which regions were left out.
    """

    regions: ConvertedRegions
    columns: Mapping[Path, npt.NDArray[np.intp]]
    notes: tuple[str, ...]


def normalise_name(name: str) -> str:
    """Return the form in which names are compared.

    The part before the first dot names the atlas, which users spell in different ways. Its letters,
    without case and with doubled letters written once, are followed by its digits:
    ``Schaefer1000RSN7``, ``Schaefer10007RSN`` and ``Schaeffer10007RSN`` become
    ``schaefersn 10007``. Of the rest, case, spaces and leading zeros do not count.

    Parameters
    ----------
    name : str
        For example ``Schaefer1000RSN7.cluster001``.

    Returns
    -------
    str
    """
    atlas, dot, rest = name.partition(".")
    letters = re.sub(r"(.)\1", r"\1", "".join(c for c in atlas.lower() if c.isalpha()))
    digits = "".join(c for c in atlas if c.isdigit())
    rest = re.sub(r"(?<![\d.])0+(?=\d)", "", "".join(rest.lower().split()))
    return f"{letters} {digits}{dot}{rest}"


def select_regions(names: Sequence[str], patterns: Sequence[str]) -> list[int]:
    """Find the regions whose complete names match one of the patterns, in any case.

    Parameters
    ----------
    names : sequence of str
        Names of regions.
    patterns : sequence of str
        Regular expressions; if empty, all regions are selected.

    Returns
    -------
    list of int
        Positions. CONN's tissue masks are never among them.
    """
    compiled = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
    return [
        k
        for k, name in enumerate(names)
        if name.lower() not in _TISSUES
        and (not compiled or any(pattern.fullmatch(name) for pattern in compiled))
    ]


def match_regions(files: Sequence[tuple[ConnInput, ConnRegions]]) -> RegionMatch:
    """Match the regions of all files to those of the first one.

    Parameters
    ----------
    files : sequence of (ConnInput, ConnRegions)
        The description of the folder, and the regions, of each file.

    Returns
    -------
    RegionMatch

    Raises
    ------
    InputError
        If regions of one name have different centres, regions of different names have the same
        centre, or fewer than three regions are in most files of each folder.
    """
    first = files[0][1]
    selected = select_regions(first.names, files[0][0].regions)
    if not selected:
        raise InputError(
            f"{first.path}: no region matches regions = {list(files[0][0].regions)}; its names "
            f"start with {', '.join(dict.fromkeys(_atlas_of(name) for name in first.names))}"
        )
    found: dict[Path, dict[int, int]] = {}
    notes: dict[str, None] = {}
    known: dict[tuple[ConnInput, tuple[str, ...]], dict[int, int]] = {}
    for source, regions in files:
        key = (source, regions.names)
        if key not in known:
            known[key] = _pairs(first, selected, source, regions)
            notes |= dict.fromkeys(_spelling_notes(first, regions, known[key], source))
        _check_centres(first, regions, known[key])
        found[regions.path] = known[key]
    common = _in_most_files(selected, files, found)
    notes |= dict.fromkeys(_left_out(first, selected, common, files))
    notes |= dict.fromkeys(_lost(common, found))
    if len(common) < 3:
        raise InputError(
            f"{len(common)} regions are in all folders of [input]; name the same regions in each "
            "folder, and state other spellings of an atlas as rename = {spelling = first spelling}"
        )
    return RegionMatch(
        _regions(first, common),
        {
            path: np.array([pairs.get(k, -1) for k in common], np.intp)
            for path, pairs in found.items()
        },
        tuple(notes),
    )


def _in_most_files(
    selected: Sequence[int],
    files: Sequence[tuple[ConnInput, ConnRegions]],
    found: Mapping[Path, Mapping[int, int]],
) -> list[int]:
    """Return the regions that more than half of the files of each folder have."""
    folders: dict[ConnInput, list[Path]] = {}
    for source, regions in files:
        folders.setdefault(source, []).append(regions.path)
    return [
        k
        for k in selected
        if all(
            2 * sum(k in found[path] for path in paths) > len(paths) for paths in folders.values()
        )
    ]


def _lost(common: Sequence[int], found: Mapping[Path, Mapping[int, int]]) -> list[str]:
    """Return a note for each file that lacks regions which the other files of its folder have."""
    return [
        f"{path.parent.name}/{path.name}: it lacks {n} of {len(common)} regions; they are n/a."
        for path, pairs in found.items()
        if (n := sum(k not in pairs for k in common))
    ]


def _pairs(
    first: ConnRegions, selected: Sequence[int], source: ConnInput, regions: ConnRegions
) -> dict[int, int]:
    """Return the position in a file of each selected region of the first file that it has."""
    if regions.names == first.names and not source.rename:
        return {k: k for k in selected}
    names = [_renamed(name, source) for name in regions.names]
    exact = {name: k for k, name in enumerate(names)}
    forms = _unique_forms(names)
    own_forms = _unique_forms(first.names)
    by_position = {k: form for form, k in own_forms.items()}
    pairs = {}
    for k in selected:
        form = by_position.get(k)
        there = exact.get(first.names[k], forms.get(form) if form is not None else None)
        if there is not None:
            pairs[k] = there
    _refuse_other_names(first, [k for k in selected if k not in pairs], regions, pairs)
    return pairs


def _renamed(name: str, source: ConnInput) -> str:
    atlas, dot, rest = name.partition(".")
    return dict(source.rename).get(atlas, atlas) + dot + rest


def _unique_forms(names: Sequence[str]) -> dict[str, int]:
    """Return the position of each normalised name that occurs once."""
    forms = [normalise_name(name) for name in names]
    count = Counter(forms)
    return {form: k for k, form in enumerate(forms) if count[form] == 1}


def _refuse_other_names(
    first: ConnRegions, missing: Sequence[int], regions: ConnRegions, pairs: Mapping[int, int]
) -> None:
    """Refuse an unmatched region at the centre of an unmatched region of the first file."""
    free = sorted(set(range(len(regions.names))) - set(pairs.values()))
    for k in missing:
        distance = np.linalg.norm(regions.centres_mm[free] - first.centres_mm[k], axis=1)
        near = [free[j] for j in np.flatnonzero(distance < 0.01)]
        if len(near) == 1:
            raise InputError(
                f"{regions.path}: {regions.names[near[0]]!r} has the centre of "
                f"{first.names[k]!r} of {first.path.name}, but another name; if they are one "
                f"region, state in [input] of this folder: rename = "
                f'{{"{_atlas_of(regions.names[near[0]])}" = "{_atlas_of(first.names[k])}"}}'
            )


def _check_centres(first: ConnRegions, regions: ConnRegions, pairs: Mapping[int, int]) -> None:
    own, other = list(pairs), list(pairs.values())
    distance = np.linalg.norm(regions.centres_mm[other] - first.centres_mm[own], axis=1)
    far = np.flatnonzero(distance > TOLERANCE_MM).tolist()
    if far:
        listed = ", ".join(
            f"{regions.names[other[j]]} {_point(regions.centres_mm[other[j]])} and "
            f"{_point(first.centres_mm[own[j]])}"
            for j in far[:3]
        )
        raise InputError(
            f"{regions.path}: the centres of {len(far)} regions differ by more than "
            f"{TOLERANCE_MM:g} mm from those of {first.path} ({listed}), so these are different "
            "regions; analyse files of one set of regions, or select others by regions = [...]"
        )


def _point(centre: Floats) -> str:
    return f"({', '.join(f'{value:.0f}' for value in centre)})"


def _spelling_notes(
    first: ConnRegions, regions: ConnRegions, pairs: Mapping[int, int], source: ConnInput
) -> list[str]:
    spelt = [(k, j) for k, j in pairs.items() if first.names[k] != regions.names[j]]
    if not spelt:
        return []
    by_atlas: dict[tuple[str, str], int] = {}
    for k, j in spelt:
        key = (_atlas_of(regions.names[j]), _atlas_of(first.names[k]))
        by_atlas[key] = by_atlas.get(key, 0) + 1
    apart = np.array(
        [np.linalg.norm(regions.centres_mm[j] - first.centres_mm[k]) for k, j in spelt]
    )
    known = apart[np.isfinite(apart)]
    confirmed = (
        f"the centres of {len(known)} agree within {max(0.01, known.max()):.2f} mm"
        if len(known)
        else "no centres confirm it"
    )
    return [
        f"{source.folder}: {n} regions named {there}.* are taken as {here}.* "
        f"({normalise_name(there).strip()}); {confirmed}."
        for (there, here), n in by_atlas.items()
    ]


def _left_out(
    first: ConnRegions,
    selected: Sequence[int],
    common: Sequence[int],
    files: Sequence[tuple[ConnInput, ConnRegions]],
) -> list[str]:
    notes = []
    missing = [first.names[k] for k in selected if k not in set(common)]
    if missing:
        notes.append(
            f"{len(missing)} regions are not in all folders and are left out: {_few(missing)}."
        )
    for source, names in dict.fromkeys((source, regions.names) for source, regions in files):
        n = len(select_regions(names, source.regions))
        if n > len(selected):
            notes.append(
                f"{source.folder}: {n - len(selected)} more regions match regions = [...] than in "
                f"{first.path.parent.name}; they are left out."
            )
    return notes


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" and others" if len(names) > 5 else "")


def _atlas_of(name: str) -> str:
    return name.partition(".")[0]


def _regions(first: ConnRegions, positions: Sequence[int]) -> ConvertedRegions:
    labels = tuple(first.names[k] for k in positions)
    return ConvertedRegions(
        labels, tuple(map(network_of, labels)), first.centres_mm[np.array(positions, np.intp)]
    )


def network_of(name: str) -> str:
    """Return the network that a name states, as in ``networks.DefaultMode.MPFC (1,55,-3)``."""
    if found := _NETWORK.fullmatch(name):
        return found["network"]
    return infer_region(1, name.partition(".")[2] or name).network
