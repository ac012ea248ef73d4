"""Convert arrays of matrices or series to runs."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.bids.convert.conn_regions import network_of
from circuitshift.pipeline.bids.convert.description import StackInput, Values
from circuitshift.pipeline.bids.convert.records import ConvertedRegions, ConvertedRun
from circuitshift.pipeline.errors import InputError, TableError
from circuitshift.pipeline.io.stacks import read_names, read_points

__all__ = ["stack_regions", "stack_runs", "to_correlations"]

# matrices of single precision agree with their transposes to about this
_ASYMMETRY = 1e-5
_RANGE = 1e-6


def stack_regions(root: Path, source: StackInput) -> ConvertedRegions:
    """Make the table of regions of an array.

    Parameters
    ----------
    root : Path
        Input folder, in which a label table may lie.
    source : StackInput
        Description of the array. Regions that the file names by numbers are called ``region7``.

    Returns
    -------
    ConvertedRegions

    Raises
    ------
    AtlasError, InputError
        If the label table, names or centres cannot be read, or names are repeated.
    """
    if source.region_keys:
        return _regions_of_file(root / source.file, dict(source.region_keys))
    stated = source.regions
    if isinstance(stated, str):
        regions = load_atlas(root / stated).regions
        centres = [(np.nan,) * 3 if r.xyz_mm is None else r.xyz_mm for r in regions]
        return ConvertedRegions(
            tuple(r.label for r in regions), tuple(r.network for r in regions), np.array(centres)
        )
    if isinstance(stated, int):
        width = len(str(stated))
        stated = tuple(f"region{k:0{width}d}" for k in range(1, stated + 1))
    return ConvertedRegions(
        stated, tuple(map(network_of, stated)), np.full((len(stated), 3), np.nan)
    )


def _regions_of_file(path: Path, keys: Mapping[str, str]) -> ConvertedRegions:
    """Read names, and centres if there are any, from the file of the array."""
    names = tuple(
        f"region{name}" if name.isdecimal() else name for name in read_names(path, keys["names"])
    )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not all(names):
        raise InputError(
            f"{path}: {keys['names']} has empty or repeated names ({', '.join(repeated[:5])}); "
            "name each region once, or state regions as a list"
        )
    centres = np.full((len(names), 3), np.nan)
    if "centres" in keys:
        centres = read_points(path, keys["centres"])
        if len(centres) != len(names):
            raise InputError(
                f"{path}: {keys['centres']} has {len(centres)} rows; give x, y, z in mm for each "
                f"of {len(names)} regions"
            )
    return ConvertedRegions(names, tuple(map(network_of, names)), centres)


def stack_runs(
    values: Floats, source: StackInput, labels: tuple[str, ...], *, key: str
) -> tuple[list[ConvertedRun], list[str]]:
    """Convert an array.

    Parameters
    ----------
    values : ndarray
        Array with the axes of `source`.
    source : StackInput
        Description of the array.
    labels : tuple of str
        Names of the regions.
    key : str
        Name of the array in its file.

    Returns
    -------
    runs : list of ConvertedRun
        Visits with one label are runs of one visit. Visits without any value are left out.
    notes : list of str
        What was checked, and what was left out.

    Raises
    ------
    InputError
        If sizes, range, diagonal or symmetry contradict the description.
    """
    ordered = _in_order(values, source, len(labels))
    notes: list[str] = []
    if source.content == "matrices":
        ordered, notes = to_correlations(ordered, source)
    visits = source.visits
    runs, absent = [], []
    for p, participant in enumerate(source.participants):
        for v, visit in enumerate(visits):
            one = ordered[p, v]
            if not np.isfinite(one).any():
                absent.append(f"{participant} {visit}")
                continue
            repeated = visits.count(visit) > 1
            runs.append(
                ConvertedRun(
                    participant=participant,
                    session=visit,
                    run=str(visits[: v + 1].count(visit)) if repeated else "",
                    group=source.groups[p] if source.groups else "",
                    content="matrix" if source.content == "matrices" else "series",
                    values=one,
                    t_r_s=source.t_r_s,
                    source={
                        "File": source.file,
                        "Key": key,
                        "Index": {"participant": p + 1, "visit": v + 1},
                        "Values": source.values,
                    },
                )
            )
    if absent:
        notes.append(f"{source.file}: no values, left out: {', '.join(absent)}.")
    again = [visit for visit in dict.fromkeys(visits) if visits.count(visit) > 1]
    if again:
        notes.append(f"{source.file}: repeated visits are runs of one visit: {', '.join(again)}.")
    return runs, notes


def _in_order(values: Floats, source: StackInput, n_regions: int) -> Floats:
    """Put the axes in the order participant, visit, then region or volume, and region."""
    axes = list(source.axes)
    expected = {
        "participant": len(source.participants),
        "visit": len(source.visits),
        "region": n_regions,
    }
    wrong = [
        f"axis {k} ({axis}) has length {size}, and {expected[axis]} are stated"
        for k, (axis, size) in enumerate(zip(axes, values.shape, strict=True), start=1)
        if size != expected.get(axis, size)
    ]
    if wrong:
        raise InputError(
            f"{source.file}: {'; '.join(wrong)}; the array has the shape {values.shape}: correct "
            "axes, participants, visits or regions in [input]"
        )
    for axis in ("visit", "participant"):
        if axis not in axes:
            values, axes = values[np.newaxis], [axis, *axes]
    inner = [k for k, axis in enumerate(axes) if axis == "volume"]
    inner += [k for k, axis in enumerate(axes) if axis == "region"]
    return values.transpose(axes.index("participant"), axes.index("visit"), *inner)


def to_correlations(values: Floats, source: StackInput) -> tuple[Floats, list[str]]:
    """Check matrices against the unit that is stated for them, and convert them to correlations.

    Parameters
    ----------
    values : ndarray, shape (..., n_regions, n_regions)
        Matrices; NaN for missing values.
    source : StackInput
        Description of the array.

    Returns
    -------
    correlations : ndarray, shape (..., n_regions, n_regions)
        Exactly symmetric, with 1 on the diagonal. Regions whose other entries are all 0 or missing
        are lost: NaN, the diagonal included.
    notes : list of str
        Range, symmetry and diagonal of the matrices.

    Raises
    ------
    InputError
        If the matrices contradict the description.
    """
    n = values.shape[-1]
    off = ~np.eye(n, dtype=bool)
    outside = values[..., off]
    finite = outside[np.isfinite(outside)]
    if not finite.size:
        raise InputError(f"{source.file}: it has no finite value; write it again")
    low, high = float(finite.min()), float(finite.max())
    with np.errstate(invalid="ignore"):  # the diagonal of Fisher z may be infinite
        apart = values - values.swapaxes(-1, -2)
    asymmetry = float(np.nanmax(np.abs(apart[..., off]), initial=0.0))
    diagonal = values[..., np.arange(n), np.arange(n)]
    stated = _describe_diagonal(diagonal)
    where = (
        f"{source.file}: values {low:.3g} to {high:.3g}, diagonal {stated}, largest asymmetry "
        f"{asymmetry:.2g}"
    )
    if asymmetry > _ASYMMETRY:
        raise InputError(
            f"{where}; connectivity matrices are symmetric: state the axes of the array in their "
            "order, or make its matrices symmetric"
        )
    _refuse_contradiction(where, source, (low, high), diagonal)
    out = _CONVERT[source.values](values)
    out = (out + out.swapaxes(-1, -2)) / 2
    lost = _lost_regions(values, off)
    out[..., np.arange(n), np.arange(n)] = 1.0
    out[lost] = np.nan
    out.swapaxes(-1, -2)[lost] = np.nan
    notes = [f"{where}; read as {_NAMES[source.values]}, as stated."]
    if source.values == "correlation" and stated == "0":
        notes.append(
            f"{source.file}: nothing in the matrices distinguishes correlations with a diagonal "
            "of 0 from Fisher z below 1; check values in [input]."
        )
    if lost.any():
        notes.append(f"{source.file}: {int(lost.sum())} regions of a visit have no values.")
    return out, notes


_CONVERT: dict[Values, Callable[[Floats], Floats]] = {
    "correlation": lambda values: np.clip(values, -1.0, 1.0),
    "fisher-z": np.tanh,
    "angle": np.cos,
}
_NAMES = {"correlation": "correlations", "fisher-z": "Fisher z", "angle": "arc cosines of r"}


def _lost_regions(values: Floats, off: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Find regions whose entries outside the diagonal are all 0 or missing."""
    filled = np.isfinite(values) & (values != 0) & off
    return np.asarray(~filled.any(axis=-1))


def _describe_diagonal(diagonal: Floats) -> str:
    kinds = list(_kinds(diagonal))
    return " or ".join(kinds)


def _kinds(diagonal: Floats) -> Iterator[str]:
    infinite = np.isinf(diagonal)
    missing = np.isnan(diagonal)
    one = np.isclose(diagonal, 1, atol=_RANGE)
    zero = diagonal == 0
    for name, found in (("1", one), ("0", zero), ("missing", missing), ("infinite", infinite)):
        if found.any():
            yield name
    rest = diagonal[~(infinite | missing | one | zero)]
    if rest.size:
        yield f"{rest.min():.3g} to {rest.max():.3g}"


def _refuse_contradiction(
    where: str, source: StackInput, limits: tuple[float, float], diagonal: Floats
) -> None:
    """Refuse matrices that cannot have the unit that is stated."""
    low, high = limits
    kinds = set(_kinds(diagonal))
    beyond = max(-low, high) > 1 + _RANGE
    wrong = ""
    if source.values == "correlation":
        if beyond or "infinite" in kinds:
            wrong = "these are not correlations; they may be Fisher z: values = 'fisher-z'"
        elif kinds - {"0", "1", "missing"}:
            wrong = "the diagonal of correlations is 1, 0 or missing"
    elif source.values == "fisher-z":
        if "1" in kinds and not beyond:
            wrong = "Fisher z of 1 is infinite, so these are correlations: values = 'correlation'"
        elif max(-low, high) > _LARGEST_Z:
            wrong = f"a Fisher z above {_LARGEST_Z} is no connectivity of two regions"
    elif low < -_RANGE or high > np.pi + _RANGE:
        wrong = "angles lie between 0 and pi"
    elif kinds - {"0", "missing"}:
        wrong = "the angle of a region with itself is 0"
    if wrong:
        raise InputError(f"{where}, stated as values = {source.values!r}; {wrong}")


_LARGEST_Z = 10  # r = 1 - 4e-9


def check_regions_agree(first: ConvertedRegions, other: ConvertedRegions, file: str) -> None:
    """Refuse arrays with different regions.

    Parameters
    ----------
    first, other : ConvertedRegions
        Regions of two arrays.
    file : str
        File of the second one.

    Raises
    ------
    TableError
        If their names differ.
    """
    if first.labels != other.labels:
        raise TableError(
            f"{file}: its regions are not those of the first [input]; name the same regions in "
            "the same order"
        )
