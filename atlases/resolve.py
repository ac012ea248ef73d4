"""Find the regions of named circuits on an atlas.

Each circuit is defined in a TOML file (``atlases/circuits/*.toml``; `docs/atlases.md` describes the
format). For each side of a circuit, the file lists alternatives in order of preference: network
labels, patterns of region names, or published coordinates. The first alternative that matches
regions of the atlas is used.
"""

import difflib
import functools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from circuitshift.atlases.errors import CircuitError
from circuitshift.atlases.records import Atlas, Circuit, Direction, Region

__all__ = [
    "CircuitSet",
    "check_circuit_files",
    "circuit_names",
    "describe_located",
    "load_circuits",
    "none_located",
]

#: Data files that this module reads, relative to its folder (`io.provenance.code_hash`).
PACKAGE_DATA = ("circuits/*.toml",)
NOT_CORTEX = re.compile(
    r"amygdal|(?<!para)hippocamp|accumbens|caudat|putamen|pallid|thalam|basal ?ganglia|striat"
    r"|cerebel|vermis|brain[- ]?stem|^[a-z]{0,2}(?:HIP|AMY|THA|CAU|PUT|NAc|GP)-",
    re.IGNORECASE,
)
CIRCUIT_KEYS = {"name", "title", "direction", "why", "reference", "seeds", "targets"}
TEXT_KEYS = ("name", "title", "direction", "why", "reference")
OPTION_KEYS = {
    "networks": list,
    "regions": list,
    "not_regions": list,
    "cortex_only": bool,
    "near_mm": list,
    "mirror": bool,
    "within_mm": float,
    "nearest": int,
    "medial_mm": float,
    "source": str,
    "note": str,
    "same_as": str,
}


@dataclass(frozen=True, slots=True)
class CircuitSet:
    """Circuits that were found on an atlas, and explanations for those that were not.

    Parameters
    ----------
    circuits : tuple of Circuit
        Circuits in the requested order, or in alphabetical order if all were requested.
    skipped : tuple of str
        One sentence for each circuit that the atlas has no regions for.
    """

    circuits: tuple[Circuit, ...]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Option:
    """One alternative to find the regions of one side of a circuit; its keys are OPTION_KEYS."""

    networks: tuple[re.Pattern[str], ...] = ()
    regions: tuple[re.Pattern[str], ...] = ()
    not_regions: tuple[re.Pattern[str], ...] = ()
    cortex_only: bool = False
    near_mm: tuple[tuple[float, float, float], ...] = ()
    mirror: bool = False
    within_mm: float = 0.0
    nearest: int = 1
    medial_mm: float = float("inf")
    source: str = ""
    note: str = ""
    same_as: str = ""


@dataclass(frozen=True, slots=True)
class _Definition:
    """The definition of a circuit in its file, before it is resolved on an atlas."""

    path: Path
    name: str
    title: str
    direction: Direction
    why: str
    reference: str
    seeds: tuple[_Option, ...]
    targets: tuple[_Option, ...]


def load_circuits(
    atlas: Atlas, names: Sequence[str] = (), *, files: Sequence[Path] = ()
) -> CircuitSet:
    """Find circuits on an atlas.

    Parameters
    ----------
    atlas : Atlas
        Atlas whose regions are searched.
    names : sequence of str, optional
        Requested circuits; each of them must be found. If empty, all packaged circuits and those
        of `files` are requested, and circuits that the atlas has no regions for are skipped.
    files : sequence of Path, optional
        TOML files that define further circuits.

    Returns
    -------
    CircuitSet
        The circuits. `Circuit.notes` lists the sides that were found by a pattern or by
        coordinates.

    Raises
    ------
    CircuitError
        If a file is malformed, a name is unknown, or a requested circuit has no regions on the
        atlas.
    """
    available = _definitions(files)
    _refuse_unknown(names, available)
    circuits: list[Circuit] = []
    missing: list[_NotFoundError] = []
    for name in dict.fromkeys(names or sorted(available)):
        try:
            circuits.append(_resolve(available[name], atlas, available))
        except _NotFoundError as error:
            missing.append(error)
    if names and missing:
        # comparing all labels takes longer than finding all circuits, so it is done only here
        found = [f"{error}; {_nearest_labels(error.options, atlas)}" for error in missing]
        raise CircuitError(
            f"{'. Also, '.join(found)}. Name other circuits, or specify an atlas that has "
            f"{'it' if len(missing) == 1 else 'them'}"
        )
    return CircuitSet(tuple(circuits), tuple(f"{error}." for error in missing))


def none_located(atlas: Atlas, found: CircuitSet) -> str:
    """Explain that no circuit has regions on an atlas, and what can be done.

    Parameters
    ----------
    atlas : Atlas
        Atlas that was searched.
    found : CircuitSet
        Result of `load_circuits` without circuits.

    Returns
    -------
    str
        Text of an error or a warning, without a full stop at its end.
    """
    n = len(found.skipped)
    more = f" (the same applies to {n - 1} more)" if n > 1 else ""
    return (
        f"none of the {n} circuits can be located on atlas {atlas.name}. For example, "
        f"{found.skipped[0].removesuffix('.')}{more}. Circuits are located by the networks, names "
        "or MNI coordinates of regions: add a column network (such as Default or Frontoparietal) "
        f"or x, y and z to the table of regions (atlas-{atlas.name}_dseg.tsv in the data set; "
        "docs/atlases.md), specify another atlas by --atlas, or define circuits by --circuits"
    )


def describe_located(atlas: Atlas, found: CircuitSet) -> str:
    """Return the line that lists which circuits were located on an atlas.

    Parameters
    ----------
    atlas : Atlas
        Atlas that was searched.
    found : CircuitSet
        Result of `load_circuits` for all circuits.

    Returns
    -------
    str
        One line.
    """
    names = ", ".join(circuit.name for circuit in found.circuits) or "none"
    total = len(found.circuits) + len(found.skipped)
    return f"circuits located on atlas {atlas.name}: {len(found.circuits)} of {total} ({names})"


def circuit_names(files: Sequence[Path] = ()) -> tuple[str, ...]:
    """Return the names of all packaged circuits and of the circuits in `files`, sorted."""
    return tuple(sorted(_definitions(files)))


def check_circuit_files(files: Sequence[Path], names: Sequence[str] = ()) -> None:
    """Check definitions of circuits without an atlas, before hours are spent on measurements.

    Parameters
    ----------
    files : sequence of Path
        TOML files that define circuits.
    names : sequence of str, optional
        Circuits that must be defined, by these files or by the package.

    Raises
    ------
    CircuitError
        If a file is malformed, refers to a circuit that does not exist, or a name is unknown.
    """
    available = _definitions(files)
    _refuse_unknown(names, available)
    for definition in available.values():
        for side in ("seeds", "targets"):
            _options(definition, side, available)


def _refuse_unknown(names: Iterable[str], available: Mapping[str, _Definition]) -> None:
    """Raise an error that lists all names that are not defined, with similar names."""
    unknown = [name for name in dict.fromkeys(names) if name not in available]
    if not unknown:
        return
    hints = {}
    for name in unknown:
        nearest = difflib.get_close_matches(name, available, n=3, cutoff=0.5)
        hints[name] = f"did you mean {' or '.join(nearest)}?" if nearest else ""
    if len(unknown) == 1:
        what = f"circuit {unknown[0]!r}" + (f"; {hints[unknown[0]]}" if hints[unknown[0]] else "")
    else:
        listed = (f"{name!r}" + (f" ({hint})" if hint else "") for name, hint in hints.items())
        what = f"circuits {', '.join(listed)}"
    raise CircuitError(f"unknown {what} (available: {', '.join(sorted(available))})")


# ------------------------------------------------------------------------------------ resolving


class _NotFoundError(Exception):
    """A side of a circuit has no regions on an atlas; `options` holds the alternatives tried."""

    def __init__(self, sentence: str, options: tuple[_Option, ...]) -> None:
        super().__init__(sentence)
        self.options = options


def _resolve(
    definition: _Definition, atlas: Atlas, available: Mapping[str, _Definition]
) -> Circuit:
    """Resolve the definition of a circuit on an atlas."""
    seeds, notes = _side(definition, "seeds", atlas, available)
    targets: tuple[int, ...] = ()
    if definition.targets:
        targets, target_notes = _side(definition, "targets", atlas, available)
        shared = [atlas.labels[k] for k in targets if k in seeds]
        targets = tuple(k for k in targets if k not in seeds)
        notes += target_notes
        if shared:
            notes += (f"regions on both sides are used as seeds only: {', '.join(shared)}",)
        if not targets:
            raise _NotFoundError(
                f"circuit {definition.name}: on atlas {atlas.name} seeds and targets are the same "
                f"regions ({', '.join(shared)}), so it has no edges",
                definition.targets,
            )
    elif len(seeds) < 2:
        raise _NotFoundError(
            f"circuit {definition.name}: atlas {atlas.name} has only one region of it, "
            f"{atlas.labels[seeds[0]]}, and a circuit within one set of regions needs two",
            definition.seeds,
        )
    return Circuit(
        name=definition.name,
        title=definition.title,
        seeds=seeds,
        targets=targets,
        direction=definition.direction,
        why=definition.why,
        reference=definition.reference,
        notes=notes,
    )


def _side(
    definition: _Definition, side: str, atlas: Atlas, available: Mapping[str, _Definition]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Find the positions of one side, and notes on how they were found."""
    options = _options(definition, side, available)
    for option in options:
        positions, note = (
            _by_coordinates(option, atlas) if option.near_mm else _by_pattern(option, atlas)
        )
        if positions:
            notes = [f"{side} {note}"] if note else []
            notes += [f"{side}: {option.note}"] if option.note else []
            return positions, tuple(notes)
    raise _NotFoundError(
        f"circuit {definition.name}: atlas {atlas.name} has no regions for its {side}", options
    )


def _options(
    definition: _Definition,
    side: str,
    available: Mapping[str, _Definition],
    chain: tuple[str, ...] = (),
) -> tuple[_Option, ...]:
    """List the alternatives of a side, following references to sides of other circuits."""
    side_name = f"{definition.name}.{side}"
    if side_name in chain:
        raise CircuitError(
            f"{definition.path}: same_as refers to itself: {' -> '.join((*chain, side_name))}; "
            "list regions in one of these sides"
        )
    found: list[_Option] = []
    options: tuple[_Option, ...] = getattr(definition, side)
    for option in options:
        if not option.same_as:
            found.append(option)
            continue
        name, _, part = option.same_as.partition(".")
        if name not in available or part not in ("seeds", "targets"):
            raise CircuitError(
                f"{definition.path}: {side}: same_as = {option.same_as!r} is not a side of an "
                "available circuit; write it as in dmn.seeds"
            )
        found += _options(available[name], part, available, (*chain, side_name))
    return tuple(found)


def _by_pattern(option: _Option, atlas: Atlas) -> tuple[tuple[int, ...], str]:
    """Find the positions whose network and label match, and a note if labels were matched."""
    positions = tuple(
        k
        for k, region in enumerate(atlas.regions)
        if _eligible(option, region)
        and (not option.networks or _matches_any(option.networks, region.network))
        and (not option.regions or _matches_any(option.regions, region.label))
    )
    note = (
        f"found by region name: {', '.join(p.pattern for p in option.regions)}"
        if option.regions
        else ""
    )
    return positions, note


def _by_coordinates(option: _Option, atlas: Atlas) -> tuple[tuple[int, ...], str]:
    """Find the positions nearest to the coordinates, and a note that lists the distances."""
    centres = atlas.centres_mm()
    found: dict[int, float] = {}
    for point, side in _points(option):
        distance = np.linalg.norm(centres - point, axis=1)
        nearest = [
            k
            for k in np.argsort(distance, kind="stable").tolist()
            if distance[k] <= option.within_mm
            and atlas.regions[k].hemisphere in ("", side)
            and abs(centres[k, 0]) <= option.medial_mm
            and _eligible(option, atlas.regions[k])
        ]
        for k in nearest[: option.nearest]:
            found[k] = min(found.get(k, np.inf), float(distance[k]))
    listed = ", ".join(f"{atlas.labels[k]} at {found[k]:.0f} mm" for k in sorted(found))
    at = " and ".join(f"({x:g}, {y:g}, {z:g})" for x, y, z in option.near_mm)
    note = (
        f"found by coordinates, nearest to MNI {at}{', and its mirror image' * option.mirror} "
        f"({option.source}): {listed}"
    )
    return tuple(sorted(found)), note


def _points(option: _Option) -> Iterable[tuple[tuple[float, float, float], str]]:
    """Yield coordinates and the hemisphere to search; midline points are searched in both."""
    for x, y, z in option.near_mm:
        for signed in (x, -x) if option.mirror else (x,):
            if x == 0:
                yield from (((0.0, y, z), side) for side in "LR")
                break
            yield (signed, y, z), "L" if signed < 0 else "R"


def _eligible(option: _Option, region: Region) -> bool:
    """Return whether an alternative may select a region (cortex only, labels to exclude)."""
    cortex = region.network != "Subcortex" and not NOT_CORTEX.search(region.label)
    return (cortex or not option.cortex_only) and not _matches_any(option.not_regions, region.label)


def _matches_any(patterns: Iterable[re.Pattern[str]], text: str) -> bool:
    """Return whether one of the patterns matches the complete text."""
    return any(pattern.fullmatch(text) for pattern in patterns)


def _nearest_labels(options: Iterable[_Option], atlas: Atlas) -> str:
    """Describe the labels of an atlas that are most similar to the patterns, and its networks."""
    stems = {
        word.lower()
        for option in options
        for pattern in (*option.networks, *option.regions)
        for word in re.findall(r"[A-Za-z]{3,}", pattern.pattern)
    }

    def closeness(text: str) -> float:
        parts = [text.lower(), *re.findall("[a-z]{3,}", text.lower())]
        return max(
            (difflib.SequenceMatcher(None, w, p).ratio() for w in stems for p in parts), default=0
        )

    labels = sorted(atlas.labels, key=closeness, reverse=True)[:5]
    networks = sorted({r.network for r in atlas.regions if r.network})
    return (
        f"nearest labels: {', '.join(labels)}; "
        f"networks: {', '.join(networks[:20]) if networks else 'none in the label table'}"
    )


# -------------------------------------------------------------------------------------- reading


def _definitions(files: Sequence[Path]) -> dict[str, _Definition]:
    """Read all definitions by name: the packaged ones and those of the user's files."""
    available = dict(_packaged())
    for path in files:
        definition = _read(Path(path))
        if definition.name in available:
            raise CircuitError(
                f"{path}: name: {definition.name!r} is already defined in "
                f"{available[definition.name].path.name}; choose another name"
            )
        available[definition.name] = definition
    return available


@functools.cache
def _packaged() -> dict[str, _Definition]:
    """Read the packaged definitions, once per process."""
    folder = Path(__file__).parent
    found = [_read(path) for path in sorted(folder.glob(PACKAGE_DATA[0]))]
    if not found:
        raise CircuitError(f"{folder}: the packaged circuits are missing; reinstall circuitshift")
    return {definition.name: definition for definition in found}


def _read(path: Path) -> _Definition:
    """Read a definition from a TOML file and check each key."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CircuitError(f"{path}: the circuit file cannot be read ({error})") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise CircuitError(f"{path}: not valid TOML: {error}") from None
    _check_keys(path, content, CIRCUIT_KEYS, "circuit")
    text = {key: content.get(key) for key in TEXT_KEYS}
    for key, value in text.items():
        if not isinstance(value, str) or not value.strip():
            raise CircuitError(f"{path}: {key}: must be a non-empty text")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(text["name"])):
        raise CircuitError(
            f"{path}: name: {text['name']!r} must be lower-case letters, digits and _ only"
        )
    if text["direction"] not in get_args(Direction):
        raise CircuitError(
            f"{path}: direction: {text['direction']!r} is not one of "
            f"{', '.join(get_args(Direction))}"
        )
    if "seeds" not in content:
        raise CircuitError(f"{path}: seeds: add at least one [[seeds]] table")
    return _Definition(
        path=path,
        seeds=_read_side(path, content, "seeds"),
        targets=_read_side(path, content, "targets") if "targets" in content else (),
        **{key: str(value).strip() for key, value in text.items()},  # type: ignore[arg-type]
    )


def _read_side(path: Path, content: Mapping[str, Any], side: str) -> tuple[_Option, ...]:
    """Read the alternatives of one side."""
    tables = content[side]
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise CircuitError(f"{path}: {side}: write each alternative as a table under [[{side}]]")
    return tuple(_read_option(path, f"{side}[{k}]", t) for k, t in enumerate(tables, start=1))


def _read_option(path: Path, where: str, table: Mapping[str, Any]) -> _Option:
    """Read one alternative and check the type of each key."""
    _check_keys(path, table, set(OPTION_KEYS), where)
    values: dict[str, Any] = {}
    for key, value in table.items():
        kind = OPTION_KEYS[key]
        is_valid = isinstance(value, (int, float) if kind is float else kind)
        if not is_valid or (isinstance(value, bool) and kind is not bool):
            raise CircuitError(f"{path}: {where}.{key}: {value!r} is not of type {kind.__name__}")
        values[key] = value
    for key in ("networks", "regions", "not_regions"):
        if key in values:
            values[key] = _patterns(path, f"{where}.{key}", values[key])
    if "near_mm" in values:
        values["near_mm"] = _coordinates(path, f"{where}.near_mm", values["near_mm"])
        if not values.get("source") or not values.get("within_mm", 0) > 0:
            raise CircuitError(f"{path}: {where}: near_mm needs source (a DOI) and within_mm > 0")
        if values.get("nearest", 1) < 1:
            raise CircuitError(f"{path}: {where}.nearest: must be 1 or more")
    methods = [k for k in ("networks", "regions", "near_mm", "same_as") if k in values]
    if not methods or ("same_as" in methods and len(values) > 1):
        raise CircuitError(
            f"{path}: {where}: state how regions are found, by networks, regions or near_mm, "
            "or by same_as alone"
        )
    return _Option(**values)


def _patterns(path: Path, where: str, texts: Sequence[Any]) -> tuple[re.Pattern[str], ...]:
    """Compile a list of patterns, which ignore case."""
    if not texts or not all(isinstance(text, str) for text in texts):
        raise CircuitError(f"{path}: {where}: must be a list of texts")
    try:
        return tuple(re.compile(text, re.IGNORECASE) for text in texts)
    except re.error as error:
        raise CircuitError(f"{path}: {where}: not a valid pattern: {error}") from None


def _coordinates(
    path: Path, where: str, points: Sequence[Any]
) -> tuple[tuple[float, float, float], ...]:
    """Check a list of coordinates in mm."""
    array = [p for p in points if isinstance(p, list) and len(p) == 3]
    numbers = all(isinstance(v, int | float) and abs(v) < 200 for p in array for v in p)
    if not points or len(array) != len(points) or not numbers:
        raise CircuitError(f"{path}: {where}: must be a list of [x, y, z] in mm")
    return tuple((float(x), float(y), float(z)) for x, y, z in array)


def _check_keys(path: Path, table: Mapping[str, Any], keys: set[str], where: str) -> None:
    """Raise an error if a table has a key that is not in `keys`."""
    unknown = sorted(set(table) - keys)
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], keys, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else f"; use {', '.join(sorted(keys))}"
        raise CircuitError(f"{path}: {where}: unknown key {unknown[0]!r}{hint}")
