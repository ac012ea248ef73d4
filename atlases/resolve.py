"""Find the regions of named circuits on an atlas.

A circuit is one TOML file (``atlases/circuits/*.toml``; `docs/atlases.md` says how to write one).
Each of its sides lists alternatives in order of preference, and the first that finds regions on
the atlas is taken: by network label, by a pattern of region names, or by published coordinates.
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

__all__ = ["CircuitSet", "circuit_names", "load_circuits"]

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
    """Circuits found on an atlas, and sentences on those that were not.

    Parameters
    ----------
    circuits : tuple of Circuit
        In the order asked for; in alphabetical order when all were.
    skipped : tuple of str
        One sentence for each circuit that the atlas cannot tell apart.
    """

    circuits: tuple[Circuit, ...]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Option:
    """One way to find one side of a circuit; see OPTION_KEYS."""

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
    """A circuit as its file states it, not yet on any atlas."""

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
    names : sequence of str, optional
        Circuits wanted, which must then be found. Empty means every packaged circuit and every
        one of `files` that the atlas has regions for.
    files : sequence of Path, optional
        TOML files of further circuits.

    Returns
    -------
    CircuitSet
        `Circuit.notes` say which side was found through a pattern or coordinates.

    Raises
    ------
    CircuitError
        If a file is malformed, a name is unknown, or a named circuit has no regions on the atlas.
    """
    available = _definitions(files)
    unknown = [name for name in names if name not in available]
    if unknown:
        near = difflib.get_close_matches(unknown[0], available, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise CircuitError(
            f"no circuit {unknown[0]!r}{hint} (known: {', '.join(sorted(available))})"
        )
    circuits, skipped = [], []
    for name in dict.fromkeys(names or sorted(available)):
        try:
            circuits.append(_resolve(available[name], atlas, available))
        except _NotFoundError as lacking:
            if names:
                raise CircuitError(f"{lacking}; {_nearest(lacking.options, atlas)}") from None
            skipped.append(f"{lacking}.")
    return CircuitSet(tuple(circuits), tuple(skipped))


def circuit_names(files: Sequence[Path] = ()) -> tuple[str, ...]:
    """Names of all packaged circuits and those of `files`, sorted."""
    return tuple(sorted(_definitions(files)))


# ------------------------------------------------------------------------------------ resolving


class _NotFoundError(Exception):
    """A side of a circuit has no regions on an atlas; carries what was looked for."""

    def __init__(self, sentence: str, options: tuple[_Option, ...]) -> None:
        super().__init__(sentence)
        self.options = options


def _resolve(
    definition: _Definition, atlas: Atlas, available: Mapping[str, _Definition]
) -> Circuit:
    """Circuit of a definition on an atlas."""
    seeds, notes = _side(definition, "seeds", atlas, available)
    targets: tuple[int, ...] = ()
    if definition.targets:
        targets, more = _side(definition, "targets", atlas, available)
        both = [atlas.labels[k] for k in targets if k in seeds]
        targets = tuple(k for k in targets if k not in seeds)
        notes += more
        if both:
            notes += (f"kept in seeds only, as they are in both sides: {', '.join(both)}",)
        if not targets:
            raise _NotFoundError(
                f"circuit {definition.name}: on atlas {atlas.name} its targets are its seeds "
                f"({', '.join(both)}), so no edge is left",
                definition.targets,
            )
    elif len(seeds) < 2:
        raise _NotFoundError(
            f"circuit {definition.name}: atlas {atlas.name} has only {atlas.labels[seeds[0]]} "
            "of it, and a circuit within one set needs two regions",
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
    """Positions of one side, and how they were found."""
    options = _options(definition, side, available)
    for option in options:
        positions, how = _by_place(option, atlas) if option.near_mm else _by_name(option, atlas)
        if positions:
            told = [f"{side} {how}"] if how else []
            told += [f"{side}: {option.note}"] if option.note else []
            return positions, tuple(told)
    raise _NotFoundError(
        f"circuit {definition.name}: atlas {atlas.name} has no regions for its {side}", options
    )


def _options(
    definition: _Definition,
    side: str,
    available: Mapping[str, _Definition],
    via: tuple[str, ...] = (),
) -> tuple[_Option, ...]:
    """Alternatives of a side, with those borrowed from other circuits put in place."""
    here = f"{definition.name}.{side}"
    if here in via:
        raise CircuitError(f"{definition.path}: same_as runs in a circle: {' -> '.join(via)}")
    found: list[_Option] = []
    own: tuple[_Option, ...] = getattr(definition, side)
    for option in own:
        if not option.same_as:
            found.append(option)
            continue
        name, _, part = option.same_as.partition(".")
        if name not in available or part not in ("seeds", "targets"):
            raise CircuitError(
                f"{definition.path}: {side}: same_as = {option.same_as!r} names no side of a known "
                "circuit; write it as dmn.seeds"
            )
        found += _options(available[name], part, available, (*via, here))
    return tuple(found)


def _by_name(option: _Option, atlas: Atlas) -> tuple[tuple[int, ...], str]:
    """Positions whose network and label match, and a note when a pattern found them."""
    positions = tuple(
        k
        for k, region in enumerate(atlas.regions)
        if _eligible(option, region)
        and (not option.networks or _any(option.networks, region.network))
        and (not option.regions or _any(option.regions, region.label))
    )
    how = f"found by name: {', '.join(p.pattern for p in option.regions)}" if option.regions else ""
    return positions, how


def _by_place(option: _Option, atlas: Atlas) -> tuple[tuple[int, ...], str]:
    """Positions nearest to the coordinates, in each hemisphere, and a note that lists them."""
    centres = atlas.centres_mm()
    found: dict[int, float] = {}
    for point, side in _points(option):
        distance = np.linalg.norm(centres - point, axis=1)
        near = [
            k
            for k in np.argsort(distance, kind="stable").tolist()
            if distance[k] <= option.within_mm
            and atlas.regions[k].hemisphere in ("", side)
            and abs(centres[k, 0]) <= option.medial_mm
            and _eligible(option, atlas.regions[k])
        ]
        for k in near[: option.nearest]:
            found[k] = min(found.get(k, np.inf), float(distance[k]))
    listed = ", ".join(f"{atlas.labels[k]} at {found[k]:.0f} mm" for k in sorted(found))
    at = " and ".join(f"({x:g}, {y:g}, {z:g})" for x, y, z in option.near_mm)
    how = (
        f"found by place, nearest to MNI {at}{', and its mirror image' * option.mirror} "
        f"({option.source}): {listed}"
    )
    return tuple(sorted(found)), how


def _points(option: _Option) -> Iterable[tuple[tuple[float, float, float], str]]:
    """Coordinates with the hemisphere to search; a midline point is searched in both."""
    for x, y, z in option.near_mm:
        for signed in (x, -x) if option.mirror else (x,):
            if x == 0:
                yield from (((0.0, y, z), side) for side in "LR")
                break
            yield (signed, y, z), "L" if signed < 0 else "R"


def _eligible(option: _Option, region: Region) -> bool:
    cortex = region.network != "Subcortex" and not NOT_CORTEX.search(region.label)
    return (cortex or not option.cortex_only) and not _any(option.not_regions, region.label)


def _any(patterns: Iterable[re.Pattern[str]], text: str) -> bool:
    """Whether one of the patterns is the whole text."""
    return any(pattern.fullmatch(text) for pattern in patterns)


def _nearest(options: Iterable[_Option], atlas: Atlas) -> str:
    """Name the labels of an atlas closest to what was looked for, and its networks."""
    words = {
        word.lower()
        for option in options
        for pattern in (*option.networks, *option.regions)
        for word in re.findall(r"[A-Za-z]{3,}", pattern.pattern)
    }

    def closeness(text: str) -> float:
        parts = [text.lower(), *re.findall("[a-z]{3,}", text.lower())]
        return max(
            (difflib.SequenceMatcher(None, w, p).ratio() for w in words for p in parts), default=0
        )

    labels = sorted(atlas.labels, key=closeness, reverse=True)[:5]
    networks = sorted({r.network for r in atlas.regions if r.network})
    return (
        f"nearest labels: {', '.join(labels)}; "
        f"networks: {', '.join(networks[:20]) if networks else 'none named'}"
    )


# -------------------------------------------------------------------------------------- reading


def _definitions(files: Sequence[Path]) -> dict[str, _Definition]:
    """All circuits by name: the packaged ones and those of the user's files."""
    available = dict(_packaged())
    for path in files:
        definition = _read(Path(path))
        if definition.name in available:
            raise CircuitError(
                f"{path}: name: {definition.name!r} is already that of "
                f"{available[definition.name].path.name}; choose another"
            )
        available[definition.name] = definition
    return available


@functools.cache
def _packaged() -> dict[str, _Definition]:
    folder = Path(__file__).parent
    found = [_read(path) for path in sorted(folder.glob(PACKAGE_DATA[0]))]
    if not found:
        raise CircuitError(f"{folder}: the packaged circuits are not there; reinstall circuitshift")
    return {definition.name: definition for definition in found}


def _read(path: Path) -> _Definition:
    """Definition in a TOML file, checked key by key."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CircuitError(f"{path}: the circuit file cannot be read ({error})") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise CircuitError(f"{path}: not valid TOML: {error}") from None
    _only(path, content, CIRCUIT_KEYS, "circuit")
    text = {key: content.get(key) for key in TEXT_KEYS}
    for key, value in text.items():
        if not isinstance(value, str) or not value.strip():
            raise CircuitError(f"{path}: {key}: a non-empty text is needed")
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
        raise CircuitError(f"{path}: seeds: at least one [[seeds]] table is needed")
    return _Definition(
        path=path,
        seeds=_read_side(path, content, "seeds"),
        targets=_read_side(path, content, "targets") if "targets" in content else (),
        **{key: str(value).strip() for key, value in text.items()},  # type: ignore[arg-type]
    )


def _read_side(path: Path, content: Mapping[str, Any], side: str) -> tuple[_Option, ...]:
    tables = content[side]
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise CircuitError(f"{path}: {side}: write each alternative as a table under [[{side}]]")
    return tuple(_read_option(path, f"{side}[{k}]", t) for k, t in enumerate(tables, start=1))


def _read_option(path: Path, where: str, table: Mapping[str, Any]) -> _Option:
    """One alternative, every key of its right type."""
    _only(path, table, set(OPTION_KEYS), where)
    values: dict[str, Any] = {}
    for key, value in table.items():
        kind = OPTION_KEYS[key]
        fits = isinstance(value, (int, float) if kind is float else kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
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
    ways = [k for k in ("networks", "regions", "near_mm", "same_as") if k in values]
    if not ways or ("same_as" in ways and len(values) > 1):
        raise CircuitError(
            f"{path}: {where}: say how regions are found: networks, regions or near_mm; "
            "or same_as alone"
        )
    return _Option(**values)


def _patterns(path: Path, where: str, texts: Sequence[Any]) -> tuple[re.Pattern[str], ...]:
    if not texts or not all(isinstance(text, str) for text in texts):
        raise CircuitError(f"{path}: {where}: a list of texts is needed")
    try:
        return tuple(re.compile(text, re.IGNORECASE) for text in texts)
    except re.error as error:
        raise CircuitError(f"{path}: {where}: not a valid pattern: {error}") from None


def _coordinates(
    path: Path, where: str, points: Sequence[Any]
) -> tuple[tuple[float, float, float], ...]:
    array = [p for p in points if isinstance(p, list) and len(p) == 3]
    numbers = all(isinstance(v, int | float) and abs(v) < 200 for p in array for v in p)
    if not points or len(array) != len(points) or not numbers:
        raise CircuitError(f"{path}: {where}: a list of [x, y, z] in mm is needed")
    return tuple((float(x), float(y), float(z)) for x, y, z in array)


def _only(path: Path, table: Mapping[str, Any], keys: set[str], where: str) -> None:
    extra = sorted(set(table) - keys)
    if extra:
        near = difflib.get_close_matches(extra[0], keys, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(keys))}"
        raise CircuitError(f"{path}: {where}: unknown key {extra[0]!r}{hint}")
