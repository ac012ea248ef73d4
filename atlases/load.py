"""Load an atlas by name, from files, or as a combination of two atlases.

`load_atlas` is the entry point. `circuitshift.atlases.remote` finds the files of named atlases in
the caches of templateflow and nilearn. This module reads label images, weight maps and label
tables, and checks that an image agrees with its table.
"""

import csv
import hashlib
import json
import logging
import math
import os
import re
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.atlases import DEFAULT_ATLAS
from circuitshift.atlases.atomic_files import atomic_binary, atomic_path
from circuitshift.atlases.circuit_spheres import load_default
from circuitshift.atlases.errors import AtlasError
from circuitshift.atlases.records import Atlas, Region
from circuitshift.atlases.remote import AtlasFiles, find
from circuitshift.atlases.seitzman import load_seitzman
from circuitshift.atlases.shared_folders import refuse_foreign_cache

__all__ = ["checksum", "combine", "infer_region", "load_atlas"]

log = logging.getLogger(__name__)

IMAGES = (".nii.gz", ".nii")
# 1024 maps at 2 mm in 32 bits have 3.7 GB; headers of damaged files can state any size
MAX_BYTES = 8 * 2**30
SPACES = {
    "MNI152NLin2009cAsym": "MNI152NLin2009cAsym",
    "MNI152NLin6Asym": "MNI152NLin6Asym",
    "2009cAsym": "MNI152NLin2009cAsym",
}
NOT_IN_NAMES = re.compile(
    r"(?:^|_)(?:tpl-[^_]*|space-[^_]*|res-[^_]*|MNI152[A-Za-z0-9]*|2009cAsym|3T|7T|order"
    r"|[0-9.]+mm|dseg|probseg|label)(?=_|$)"
)
TIAN = re.compile(r"[a-z]{0,2}(?:HIP|AMY|THA|CAU|PUT|NAc|GP)(?:-[A-Za-z0-9]+)*-(?P<side>[lr])h")
ALIASES = {
    "name": "label",
    "difumo_names": "label",
    "component": "index",
    "hemi": "hemisphere",
    "network_label": "network",
    # in DiFuMo's tables, the column of 7 networks contains names of the 17 networks as well
    "yeo_networks17": "network",
}
SCHAEFER = re.compile(r"(?:(?:7|17)Networks_)?(?P<side>[LR])H_(?P<network>[A-Za-z]+)(?:_.*)?")
SIDES = (
    (re.compile(r"(?:^|[ _.\-(])(?:L|LH|lh|Left|left)(?:$|[ _.\-)])"), "L"),
    (re.compile(r"(?:^|[ _.\-(])(?:R|RH|rh|Right|right)(?:$|[ _.\-)])"), "R"),
)


def load_atlas(source: str | Path, *, space: str = "MNI152NLin2009cAsym") -> Atlas:
    """Load an atlas by name, from files, or as a combination of two atlases.

    Parameters
    ----------
    source : str or Path
        ``seitzman300circuits`` or ``seitzman300`` (embedded, need no network connection); a name
        such as ``Schaefer2018_200Parcels_7Networks``, ``Tian_S1``, ``HarvardOxford``, ``AAL`` or
        ``DiFuMo64``; the path of a label image (3D) or maps (4D) with a label table in the same
        folder, or of a label table alone; or two of these joined by ``+``.
    space : str, default="MNI152NLin2009cAsym"
        TemplateFlow name of the space of the images to be measured. It selects the version of a
        named atlas. Atlases from files keep the space that their file name states.

    Returns
    -------
    Atlas
        Regions in the order of the table, with centres in mm if the atlas has a label image or
        the table lists coordinates.

    Raises
    ------
    AtlasError
        If the name is unknown, files are missing or damaged, or an image and its table disagree.
    """
    text = str(source)
    if "+" in text and not Path(text).exists():
        first, second, *more = [part.strip() for part in text.split("+")]
        if more or not first or not second:
            raise AtlasError(f"atlas {text!r}: join exactly two atlases by one +, as in A+B")
        return combine(load_atlas(first, space=space), load_atlas(second, space=space))
    key = re.sub("[^a-z0-9]", "", text.lower())
    if key in ("seitzman300", "seitzman", "seitzman2018"):
        return load_seitzman(space)
    if key == DEFAULT_ATLAS:
        return load_default(space)
    if isinstance(source, Path) or os.sep in text or _is_file_name(text) or Path(text).is_file():
        return _from_path(Path(text))
    parts = [_from_files(found) for found in find(text, space)]
    if len(parts) == 1:
        return parts[0]
    return replace(combine(parts[0], parts[1]), name="HarvardOxford")


def checksum(path: Path) -> str:
    """Compute the hexadecimal SHA-256 checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


# ---------------------------------------------------------------------------- names of regions


def infer_region(index: int, label: str, hemisphere: str = "", network: str = "") -> Region:
    """Make a region, deriving a missing hemisphere and network from the label.

    Labels of the Schaefer (``7Networks_LH_Default_PFC_1``) and Tian atlases (``HIP-rh``; network
    ``Subcortex``) are recognised, as are labels that state the hemisphere as a separate word
    (``Precuneus_L``, ``Left Amygdala``).

    Parameters
    ----------
    index : int
        Value of the region in the label image.
    label : str
        Name of the region.
    hemisphere : {"L", "R", ""}, default=""
        Hemisphere; empty to derive it from the label.
    network : str, default=""
        Network; empty to derive it from the label.

    Returns
    -------
    Region
        Hemisphere and network are empty where the label does not state them.
    """
    if found := TIAN.fullmatch(label):
        hemisphere = hemisphere or found["side"].upper()
        network = network or "Subcortex"
    elif found := SCHAEFER.fullmatch(label):
        hemisphere = hemisphere or found["side"]
        network = network or found["network"]
    elif not hemisphere:
        sides = {side for pattern, side in SIDES if pattern.search(label)}
        hemisphere = sides.pop() if len(sides) == 1 else ""
    return Region(index, label, hemisphere, network)


# ------------------------------------------------------------------------------- label tables


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows of a label table and the file from which they were read."""

    path: Path
    regions: tuple[Region, ...]


def _read_table(path: Path) -> _Table:
    """Read the regions of a TSV table in the BIDS atlas format or of a ``label.txt`` file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AtlasError(f"{path}: the label table cannot be read ({error})") from None
    read = _read_two_line if path.suffix == ".txt" else _read_tsv
    regions = read(path, text.splitlines())
    if not regions:
        raise AtlasError(f"{path}: the label table has no rows")
    repeated = [str(k) for k, n in Counter(r.index for r in regions).items() if n > 1]
    if repeated:
        raise AtlasError(
            f"{path}: each index must have one row; repeated are {_first_few(repeated)}"
        )
    return _Table(path, regions)


def _read_tsv(path: Path, lines: Sequence[str]) -> tuple[Region, ...]:
    """Read rows of ``index, label[, hemisphere, network, x, y, z]`` or of templateflow's format."""
    if any(len(line) > csv.field_size_limit() for line in lines):
        raise AtlasError(
            f"{path}: it is not a label table, since lines have more than {csv.field_size_limit()} "
            "characters"
        )
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    header = [(name or "").strip().lower() for name in rows.fieldnames or ()]
    rows.fieldnames = [n if ALIASES.get(n, n) in header else ALIASES.get(n, n) for n in header]
    missing = {"index", "label"} - set(rows.fieldnames)
    if missing:
        raise AtlasError(
            f"{path}: a label table needs the columns index and label; "
            f"{' and '.join(sorted(missing))} missing (found: {', '.join(header) or 'none'})"
        )
    regions = []
    for row in rows:
        cell = {k: (v or "").strip() for k, v in row.items() if isinstance(k, str)}
        cell = {k: "" if v in ("n/a", "No network found") else v for k, v in cell.items()}
        where = f"{path}, line {rows.line_num}"
        index = _index(where, cell["index"])
        if not cell["label"]:
            raise AtlasError(f"{where}: the label is empty")
        if index == 0:  # some tables have a row for the background
            continue
        side = cell.get("hemisphere", "")[:1].upper()
        side = side if side in ("L", "R") else ""
        region = infer_region(index, cell["label"], side, cell.get("network", ""))
        regions.append(replace(region, xyz_mm=_coordinates(where, cell)))
    if "difumo_names" in header:  # names repeat in the versions with many maps
        count = Counter(r.label for r in regions)
        return tuple(
            replace(r, label=f"{r.label} {r.index}") if count[r.label] > 1 else r for r in regions
        )
    return tuple(regions)


def _coordinates(where: str, cell: Mapping[str, str]) -> tuple[float, float, float] | None:
    """Read the centre in mm; None where the table does not state it."""
    texts = [cell.get(axis, "") for axis in "xyz"]
    if not all(texts):
        return None
    try:
        x, y, z = map(float, texts)
    except ValueError:
        raise AtlasError(f"{where}: x, y, z must be numbers (mm), found {texts}") from None
    return (x, y, z) if np.isfinite([x, y, z]).all() else None


def _read_two_line(path: Path, lines: Sequence[str]) -> tuple[Region, ...]:
    """Read pairs of lines, ``NAME`` and ``index R G B A``, or one name a line in index order."""
    words = [line.strip() for line in lines if line.strip()]
    if not any(line[0].isdigit() for line in words):  # names alone
        return tuple(infer_region(k, name) for k, name in enumerate(words, start=1))
    if len(words) % 2:
        raise AtlasError(
            f"{path}: expected pairs of lines, NAME then 'index R G B A', found {len(words)} lines"
        )
    return tuple(
        infer_region(_index(f"{path}, line {2 * k + 2}", numbers.split()[0]), name)
        for k, (name, numbers) in enumerate(zip(words[::2], words[1::2], strict=True))
    )


def _index(where: str, text: str) -> int:
    """Convert the text of a cell to a non-negative integer."""
    if not re.fullmatch("[0-9]+", text):
        raise AtlasError(f"{where}: index {text!r} is not a non-negative integer")
    return int(text)


# -------------------------------------------------------------------------------------- files


def _is_file_name(text: str) -> bool:
    return text.endswith((*IMAGES, ".tsv", ".txt"))


def _stem(path: Path) -> str:
    return re.sub(r"(\.nii(\.gz)?|\.tsv|\.txt)$", "", path.name)


def _from_path(path: Path) -> Atlas:
    """Load a label image or maps with their table, or a table alone."""
    if not path.is_file():
        kind = (
            "is a folder; give the path of the image or table in it"
            if path.is_dir()
            else "does not exist"
        )
        raise AtlasError(f"atlas {path}: the file {kind}")
    if path.name.endswith(IMAGES):
        return _build(path, _read_table(_find_table(path)), (_name_of(path), _space_of(path)))
    if path.suffix not in (".tsv", ".txt"):
        raise AtlasError(f"atlas {path}: expected a .nii, .nii.gz, .tsv or label .txt file")
    table = _read_table(path)
    return Atlas(_name_of(path), table.regions, "table", _space_of(path))


def _from_files(found: AtlasFiles) -> Atlas:
    """Load the files of a named atlas."""
    if found.table is not None:
        table = _read_table(found.table)
    else:
        rows = tuple(infer_region(index, label) for index, label in found.rows)
        table = _Table(found.image.with_suffix(""), rows)
    atlas = _build(found.image, table, (found.name, found.space), partial=found.table is None)
    return replace(atlas, reference=found.reference, licence=found.licence)


def _build(
    image: Path, table: _Table, name_and_space: tuple[str, str], *, partial: bool = False
) -> Atlas:
    """Make an atlas of kind ``labels`` from a 3D image, or of kind ``maps`` from a 4D image.

    Parameters
    ----------
    image : Path
        Label image or maps.
    table : _Table
        Its label table.
    name_and_space : tuple of (str, str)
        Name and space of the atlas.
    partial : bool, default=False
        Whether values of the image that the table does not list are ignored. If False, they
        raise an error.

    Returns
    -------
    Atlas

    Raises
    ------
    AtlasError
        If the image cannot be read or disagrees with the table.
    """
    (name, space), regions = name_and_space, table.regions
    loaded = _open_image(image)
    path = image.resolve()
    if len(loaded.shape) == 4 and loaded.shape[3] > 1:
        if loaded.shape[3] != len(regions):
            raise AtlasError(
                f"atlas {name}: {image} holds {loaded.shape[3]} maps but {table.path.name} lists "
                f"{len(regions)}; each map needs one row"
            )
        return Atlas(name, regions, "maps", space, path)
    values, centres = _centres(_voxels(image, loaded), loaded.affine)
    unnamed = sorted(set(values) - {r.index for r in regions})
    if unnamed and not partial:
        raise AtlasError(
            f"atlas {name}: {image} holds the values {_first_few(unnamed)} which {table.path.name} "
            "does not list; add their rows"
        )
    centre_of = dict(zip(values, centres, strict=True))
    empty = [r.label for r in regions if r.index not in centre_of]
    if len(empty) == len(regions):
        raise AtlasError(
            f"atlas {name}: {image} contains none of the indices of {table.path.name}; "
            "give the table that belongs to the image"
        )
    if empty:  # allowed: the columns of these regions will be NaN
        log.info("atlas %s: no voxels for %s", name, _first_few(empty))
    with_centres = tuple(replace(r, xyz_mm=centre_of.get(r.index)) for r in regions)
    return Atlas(name, with_centres, "labels", space, path)


def _find_table(image: Path) -> Path:
    """Find the label table of an image in the same folder."""
    stem = _stem(image)
    bare = re.sub(r"_(?:res|space|tpl)-[^_]+", "", stem)
    candidates = [f"{s}{e}" for s in dict.fromkeys((stem, bare)) for e in (".tsv", "_dseg.tsv")]
    candidates += [f"{stem}_label.txt", f"{stem}.txt"]
    for name in candidates:
        if (image.parent / name).is_file():
            return image.parent / name
    # one label.txt may serve several images, whose names start with its stem
    shared = [p for p in image.parent.glob("*_label.txt") if stem.startswith(_stem(p)[:-6])]
    if shared:
        return max(shared, key=lambda p: len(p.name))
    raise AtlasError(
        f"atlas {image}: there is no label table in its folder; add {candidates[0]} "
        "with the columns index and label"
    )


def _name_of(path: Path) -> str:
    """Derive the atlas name from a file name, using letters and digits only."""
    stem = _stem(path)
    if found := re.search(r"(?:^|_)(?:atlas|seg)-([A-Za-z0-9]+)", stem):
        described = re.search(r"_desc-([A-Za-z0-9]+)", stem)
        return found[1] + (described[1] if described else "")
    short = NOT_IN_NAMES.sub("", stem).replace("Schaefer2018_", "Schaefer")
    return re.sub("[^A-Za-z0-9]", "", short.replace("Tian_Subcortex_", "Tian")) or "Atlas"


def _space_of(path: Path) -> str:
    """Return the space that a file name states, or an empty string."""
    stem = _stem(path)
    if found := re.search(r"(?:^|_)(?:space|tpl)-([A-Za-z0-9]+)", stem):
        return found[1]
    parts = stem.split("_")
    return next((space for part, space in SPACES.items() if part in parts), "")


# ------------------------------------------------------------------------------------- images


def _open_image(path: Path) -> Any:  # noqa: ANN401 - nibabel is untyped
    """Open an image with nibabel and check its dimensions."""
    import nibabel  # noqa: PLC0415 - slow, and not needed for the embedded atlas
    from nibabel.filebasedimages import ImageFileError  # noqa: PLC0415 - as above
    from nibabel.spatialimages import HeaderDataError  # noqa: PLC0415 - as above

    broken = (OSError, EOFError, ValueError, OverflowError, zlib.error)
    try:
        image = nibabel.load(path)
    except (*broken, ImageFileError, HeaderDataError) as error:
        raise AtlasError(
            f"atlas {path}: not a readable NIfTI image ({_first_line(error)})"
        ) from None
    if len(image.shape) not in (3, 4):
        raise AtlasError(f"atlas {path}: expected a 3D or 4D image, found {len(image.shape)}D")
    size = math.prod(image.shape) * image.get_data_dtype().itemsize
    if min(image.shape) < 1 or size > MAX_BYTES:
        raise AtlasError(
            f"atlas {path}: its header states {'x'.join(map(str, image.shape))} values, which is "
            "not plausible for an atlas; fetch it again"
        )
    return image


def _voxels(path: Path, image: Any) -> npt.NDArray[np.int64]:  # noqa: ANN401 - nibabel is untyped
    """Read the label of each voxel, shape (x, y, z), and verify the checksum of gzip files."""
    try:
        if path.name.endswith(".gz"):
            _check_gzip(path)
        data = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise AtlasError(
            f"atlas {path}: the image is truncated or damaged ({_first_line(error)}); "
            "fetch it again"
        ) from None
    data = data.reshape(data.shape[:3])
    labels: npt.NDArray[np.int64] = (
        data.astype(np.int64) if data.dtype.kind in "iu" else _to_integers(path, data)
    )
    if labels.min(initial=0) < 0:
        raise AtlasError(f"atlas {path}: labels must not be negative, found {labels.min()}")
    return labels


def _check_gzip(path: Path) -> None:
    """Read a gzip file to its end, which verifies its CRC; nibabel stops before the end."""
    from isal import igzip  # noqa: PLC0415 - not needed for the embedded atlas

    with igzip.open(path, "rb") as stream:
        while stream.read(1 << 20):
            pass


def _to_integers(path: Path, data: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Convert labels that are stored as floating-point numbers to integers."""
    if not np.isfinite(data).all() or np.any(data != np.rint(data)):
        raise AtlasError(
            f"atlas {path}: a 3D label image must contain integers only; "
            "weight maps must be 4D, with one map per volume"
        )
    labels: npt.NDArray[np.int64] = np.rint(data).astype(np.int64)
    return labels


def _centres(
    voxels: npt.NDArray[np.int64], affine: npt.NDArray[np.float64]
) -> tuple[list[int], list[tuple[float, float, float]]]:
    """Compute the values of a label image and their centroids in mm."""
    where = np.nonzero(voxels)
    values, inverse, size = np.unique(voxels[where], return_inverse=True, return_counts=True)
    mean = np.stack([np.bincount(inverse, axis, len(values)) / size for axis in where], axis=1)
    xyz = mean @ affine[:3, :3].T + affine[:3, 3]
    return values.tolist(), [(float(x), float(y), float(z)) for x, y, z in np.round(xyz, 3)]


# -------------------------------------------------------------------------------- combination


def combine(first: Atlas, second: Atlas, *, folder: Path | None = None) -> Atlas:
    """Combine two label atlases, using `second` where `first` has no label.

    The combined image is on the grid of `first`; if the grids differ, `second` is resampled by
    nearest-neighbour interpolation. The values of `second` are increased by the largest value of
    `first`. The image is written once, under a name derived from the checksums of both images,
    with a JSON sidecar that states the number of overlapping voxels.

    Parameters
    ----------
    first, second : Atlas
        Label atlases in the same space.
    folder : Path, optional
        Output folder; ``$XDG_CACHE_HOME/circuitshift`` by default.

    Returns
    -------
    Atlas
        Atlas with the concatenated names and the regions of both atlases.

    Raises
    ------
    AtlasError
        If one of them is not a label atlas, the spaces differ, or both contain the same label.
    """
    for part in (first, second):
        _label_image(part)
    if first.space and second.space and first.space != second.space:
        raise AtlasError(
            f"atlases {first.name} ({first.space}) and {second.name} ({second.space}) "
            "are in different spaces; use versions in one space"
        )
    offset = max(r.index for r in first.regions)
    moved = tuple(replace(r, index=r.index + offset) for r in second.regions)
    name = first.name + second.name
    target = (folder or _cache()) / f"atlas-{name}_{_combination_key(first, second)}_dseg.nii.gz"
    if not target.is_file():
        _write_combined((first, second), offset, target)
    record = json.loads(_sidecar_of(target).read_text(encoding="utf-8"))
    if record["overlap_voxels"]:
        log.info(
            "atlas %s: %d voxels of %s overlap with %s and keep the label of the latter",
            name, record["overlap_voxels"], second.name, first.name,
        )  # fmt: skip
    values, centres = _centres(_voxels(target, image := _open_image(target)), image.affine)
    centre_of = dict(zip(values, centres, strict=True))
    return Atlas(
        name=name,
        regions=tuple(replace(r, xyz_mm=centre_of.get(r.index)) for r in (*first.regions, *moved)),
        kind="labels",
        space=first.space or second.space,
        image=target,
        reference="; ".join(filter(None, (first.reference, second.reference))),
        licence="; ".join(dict.fromkeys(filter(None, (first.licence, second.licence)))),
    )


def _label_image(atlas: Atlas) -> Path:
    """Return the label image of an atlas that can be combined."""
    if atlas.kind != "labels" or atlas.image is None:
        raise AtlasError(
            f"atlas {atlas.name}: only label images can be combined, but it is of kind "
            f"{atlas.kind}; use the two atlases separately"
        )
    return atlas.image


def _combination_key(*atlases: Atlas) -> str:
    """Compute a key from the checksums of both images and the values of their regions."""
    parts = [checksum(_label_image(a)) + str([r.index for r in a.regions]) for a in atlases]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def _sidecar_of(image: Path) -> Path:
    return image.with_name(f"{_stem(image)}.json")


def _cache() -> Path:
    """Return the cache folder, or a folder for temporary files if it is not writable."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "circuitshift"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        folder = Path(tempfile.gettempdir()) / f"circuitshift-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
    refuse_foreign_cache(folder, "set XDG_CACHE_HOME to a folder of your own")
    return folder


def _write_combined(atlases: tuple[Atlas, Atlas], offset: int, target: Path) -> None:
    """Write the combined image and its JSON sidecar atomically."""
    import nibabel  # noqa: PLC0415 - slow, and needed here only

    images = [_label_image(atlas) for atlas in atlases]
    first, second = (_open_image(path) for path in images)
    base, added = (
        # values that are not in the label table, such as white matter, are not regions
        np.where(np.isin(voxels, [r.index for r in atlas.regions]), voxels, 0)
        for atlas, voxels in zip(
            atlases, (_voxels(images[0], first), _voxels(images[1], second)), strict=True
        )
    )
    is_same_grid = added.shape == base.shape and np.allclose(first.affine, second.affine, atol=1e-4)
    if not is_same_grid:
        added = _resample_nearest(added, np.linalg.inv(second.affine) @ first.affine, base.shape)
    overlap = int(np.count_nonzero((base > 0) & (added > 0)))
    merged = np.where(base > 0, base, np.where(added > 0, added + offset, 0)).astype(np.int32)
    image = nibabel.Nifti1Image(merged, first.affine)
    record = {
        "sources": [{"file": p.name, "sha256": checksum(p)} for p in images],
        "index_offset_of_second": offset,
        "overlap_voxels": overlap,
        "second_resampled": not is_same_grid,
    }
    content = json.dumps(record, indent=2).encode()
    # the JSON is written first, so that an existing image always has its sidecar
    with atomic_binary(_sidecar_of(target)) as file:
        file.write(content)
    with atomic_path(target) as part:
        image.to_filename(part)


def _resample_nearest(
    labels: npt.NDArray[np.int64], voxel_to_voxel: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Resample labels to another grid by nearest neighbour, with 0 outside the image."""
    out = np.zeros(shape, dtype=np.int64)
    rows = np.indices(shape[1:]).reshape(2, -1)
    for i in range(shape[0]):  # in slabs, to limit memory use
        grid_voxels = np.vstack([np.full(rows.shape[1], i), rows])
        source_voxels = np.rint(
            voxel_to_voxel[:3, :3] @ grid_voxels + voxel_to_voxel[:3, 3:]
        ).astype(np.intp)
        inside = ((source_voxels >= 0) & (source_voxels < np.array(labels.shape)[:, None])).all(
            axis=0
        )
        out[i].reshape(-1)[inside] = labels[tuple(source_voxels[:, inside])]
    return out


# ----------------------------------------------------------------------------------- messages


def _first_line(error: BaseException) -> str:
    """Return the first line of an error message of another library."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _first_few(items: Iterable[object], limit: int = 10) -> str:
    """List the first items, and the number of the others."""
    words = [str(item) for item in items]
    return ", ".join(words[:limit]) + (
        f" and {len(words) - limit} more" if len(words) > limit else ""
    )
