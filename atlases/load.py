"""Load an atlas: the embedded one, one by its name, one from files, or two combined.

`load_atlas` is the one door. Names are resolved in `remote`, through the libraries that keep
their own caches (templateflow, nilearn); this module reads label images, weight maps and label
tables, and checks that an image and its table agree.
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

from circuitshift.atlases.atomic_files import atomic_binary, atomic_path
from circuitshift.atlases.errors import AtlasError
from circuitshift.atlases.records import Atlas, Region
from circuitshift.atlases.remote import AtlasFiles, find
from circuitshift.atlases.seitzman import load_seitzman

__all__ = ["checksum", "combine", "infer_region", "load_atlas"]

log = logging.getLogger(__name__)

IMAGES = (".nii.gz", ".nii")
# 1024 maps at 2 mm in 32 bits have 3.7 GB; a header can claim anything
MOST_BYTES = 8 * 2**30
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
    # DiFuMo's column of 7 networks carries names of the 17; this one is what it says
    "yeo_networks17": "network",
}
SCHAEFER = re.compile(r"(?:(?:7|17)Networks_)?(?P<side>[LR])H_(?P<network>[A-Za-z]+)(?:_.*)?")
SIDES = (
    (re.compile(r"(?:^|[ _.\-(])(?:L|LH|lh|Left|left)(?:$|[ _.\-)])"), "L"),
    (re.compile(r"(?:^|[ _.\-(])(?:R|RH|rh|Right|right)(?:$|[ _.\-)])"), "R"),
)


def load_atlas(source: str | Path, *, space: str = "MNI152NLin2009cAsym") -> Atlas:
    """Load an atlas by name, from files, or two combined.

    Parameters
    ----------
    source : str or Path
        ``seitzman300`` (embedded, no network); a name such as
        ``Schaefer2018_200Parcels_7Networks``, ``Tian_S1``, ``HarvardOxford``, ``AAL`` or
        ``DiFuMo64``; the path of a label image (3D) or maps (4D) with its table beside it, or of
        a table alone; or two of these joined by ``+``.
    space : str, default="MNI152NLin2009cAsym"
        TemplateFlow name of the space of the images to be measured. Decides which version an
        atlas named has; a file keeps the space that its own name states.

    Returns
    -------
    Atlas
        Regions in the order of the table, with centres (mm) where an image of labels is there.

    Raises
    ------
    AtlasError
        If the name is unknown, files are absent or broken, or an image and its table disagree.
    """
    text = str(source)
    if "+" in text and not Path(text).exists():
        first, second, *more = [part.strip() for part in text.split("+")]
        if more or not first or not second:
            raise AtlasError(f"atlas {text!r}: name two atlases joined by one +, as in A+B")
        return combine(load_atlas(first, space=space), load_atlas(second, space=space))
    if re.sub("[^a-z0-9]", "", text.lower()) in ("seitzman300", "seitzman", "seitzman2018"):
        return load_seitzman(space)
    if isinstance(source, Path) or os.sep in text or _is_file_name(text) or Path(text).is_file():
        return _from_path(Path(text))
    parts = [_from_found(found) for found in find(text, space)]
    if len(parts) == 1:
        return parts[0]
    return replace(combine(parts[0], parts[1]), name="HarvardOxford")


def checksum(path: Path) -> str:
    """SHA-256 of a file, hexadecimal, for sidecars and caches."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


# ---------------------------------------------------------------------------- names of regions


def infer_region(index: int, label: str, hemisphere: str = "", network: str = "") -> Region:
    """Region with hemisphere and network read from its label where they are not given.

    Understands Schaefer (``7Networks_LH_Default_PFC_1``), Tian (``HIP-rh``; network
    ``Subcortex``) and names that carry a side as a word of its own (``Precuneus_L``,
    ``Left Amygdala``).
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


# ------------------------------------------------------------------------------------- tables


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows of a label table and the file they come from."""

    path: Path
    regions: tuple[Region, ...]


def _read_table(path: Path) -> _Table:
    """Regions of a BIDS-Atlas TSV or of a two-line ``label.txt``."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AtlasError(f"{path}: the label table cannot be read ({error})") from None
    read = _read_two_line if path.suffix == ".txt" else _read_tsv
    regions = read(path, text.splitlines())
    if not regions:
        raise AtlasError(f"{path}: the label table has no rows")
    twice = [str(k) for k, n in Counter(r.index for r in regions).items() if n > 1]
    if twice:
        raise AtlasError(f"{path}: these indices stand in more than one row: {_some(twice)}")
    return _Table(path, regions)


def _read_tsv(path: Path, lines: Sequence[str]) -> tuple[Region, ...]:
    """Rows of ``index, label[, hemisphere, network, x, y, z]``, and of templateflow's tables."""
    if any(len(line) > csv.field_size_limit() for line in lines):
        raise AtlasError(f"{path}: it is no label table, it has lines of thousands of letters")
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    header = [(name or "").strip().lower() for name in rows.fieldnames or ()]
    rows.fieldnames = [n if ALIASES.get(n, n) in header else ALIASES.get(n, n) for n in header]
    missing = {"index", "label"} - set(rows.fieldnames)
    if missing:
        raise AtlasError(
            f"{path}: a label table needs the columns index and label, "
            f"{' and '.join(sorted(missing))} is not there (found: {', '.join(header) or 'none'})"
        )
    regions = []
    for row in rows:
        cell = {k: (v or "").strip() for k, v in row.items() if isinstance(k, str)}
        cell = {k: "" if v in ("n/a", "No network found") else v for k, v in cell.items()}
        where = f"{path}, line {rows.line_num}"
        index = _index(where, cell["index"])
        if not cell["label"]:
            raise AtlasError(f"{where}: the label is empty")
        if index == 0:  # background, which some tables name
            continue
        side = cell.get("hemisphere", "")[:1].upper()
        side = side if side in ("L", "R") else ""
        region = infer_region(index, cell["label"], side, cell.get("network", ""))
        regions.append(replace(region, xyz_mm=_place(where, cell)))
    if "difumo_names" in header:  # its names repeat in the larger versions
        count = Counter(r.label for r in regions)
        return tuple(
            replace(r, label=f"{r.label} {r.index}") if count[r.label] > 1 else r for r in regions
        )
    return tuple(regions)


def _place(where: str, cell: Mapping[str, str]) -> tuple[float, float, float] | None:
    """Centre in mm, where a table has one."""
    texts = [cell.get(axis, "") for axis in "xyz"]
    if not all(texts):
        return None
    try:
        x, y, z = map(float, texts)
    except ValueError:
        raise AtlasError(f"{where}: x, y, z must be numbers (mm), found {texts}") from None
    return (x, y, z) if np.isfinite([x, y, z]).all() else None


def _read_two_line(path: Path, lines: Sequence[str]) -> tuple[Region, ...]:
    """Rows as pairs of lines, ``NAME`` then ``index R G B A``, or names alone, in order."""
    words = [line.strip() for line in lines if line.strip()]
    if not any(line[0].isdigit() for line in words):  # the publishers' other form: names alone
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
    """Return the whole number in a cell."""
    if not re.fullmatch("[0-9]+", text):
        raise AtlasError(f"{where}: index {text!r} is not a whole number of 0 or more")
    return int(text)


# -------------------------------------------------------------------------------------- files


def _is_file_name(text: str) -> bool:
    return text.endswith((*IMAGES, ".tsv", ".txt"))


def _stem(path: Path) -> str:
    return re.sub(r"(\.nii(\.gz)?|\.tsv|\.txt)$", "", path.name)


def _from_path(path: Path) -> Atlas:
    """Atlas of a label image or maps with a table, or of a table alone."""
    if not path.is_file():
        kind = "is a folder; name the image or table in it" if path.is_dir() else "does not exist"
        raise AtlasError(f"atlas {path}: the file {kind}")
    if path.name.endswith(IMAGES):
        return _build(path, _read_table(_table_beside(path)), (_name_of(path), _space_of(path)))
    if path.suffix not in (".tsv", ".txt"):
        raise AtlasError(f"atlas {path}: expected a .nii, .nii.gz, .tsv or label .txt file")
    table = _read_table(path)
    return Atlas(_name_of(path), table.regions, "table", _space_of(path))


def _from_found(found: AtlasFiles) -> Atlas:
    """Atlas of files that were found by name."""
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
    """Atlas of an image and its table; labels if the image is 3D, maps if it is 4D.

    With `partial`, values that the table does not name are left out instead of being an error.
    """
    (name, space), regions = name_and_space, table.regions
    loaded = _open_image(image)
    path = image.resolve()
    if len(loaded.shape) == 4 and loaded.shape[3] > 1:
        if loaded.shape[3] != len(regions):
            raise AtlasError(
                f"atlas {name}: {image} holds {loaded.shape[3]} maps but {table.path.name} names "
                f"{len(regions)}; each map needs one row"
            )
        return Atlas(name, regions, "maps", space, path)
    values, centres = _centres(_voxels(image, loaded), loaded.affine)
    unnamed = sorted(set(values) - {r.index for r in regions})
    if unnamed and not partial:
        raise AtlasError(
            f"atlas {name}: {image} holds the values {_some(unnamed)} which {table.path.name} "
            "does not name; add their rows"
        )
    at = dict(zip(values, centres, strict=True))
    empty = [r.label for r in regions if r.index not in at]
    if len(empty) == len(regions):
        raise AtlasError(
            f"atlas {name}: no value of {table.path.name} is in {image}; "
            "they do not belong together"
        )
    if empty:  # legal: their columns will be undefined, not lost
        log.info("atlas %s: no voxels for %s", name, _some(empty))
    placed = tuple(replace(r, xyz_mm=at.get(r.index)) for r in regions)
    return Atlas(name, placed, "labels", space, path)


def _table_beside(image: Path) -> Path:
    """Table that names the values of an image, in the same folder."""
    stem = _stem(image)
    bare = re.sub(r"_(?:res|space|tpl)-[^_]+", "", stem)
    wanted = [f"{s}{e}" for s in dict.fromkeys((stem, bare)) for e in (".tsv", "_dseg.tsv")]
    wanted += [f"{stem}_label.txt", f"{stem}.txt"]
    for name in wanted:
        if (image.parent / name).is_file():
            return image.parent / name
    # the publishers' label.txt serves several images: its name is the beginning of theirs
    shared = [p for p in image.parent.glob("*_label.txt") if stem.startswith(_stem(p)[:-6])]
    if shared:
        return max(shared, key=lambda p: len(p.name))
    raise AtlasError(
        f"atlas {image}: no label table beside it; place {wanted[0]} there "
        "with the columns index and label"
    )


def _name_of(path: Path) -> str:
    """Atlas name from a file name: letters and digits only."""
    stem = _stem(path)
    if found := re.search(r"(?:^|_)(?:atlas|seg)-([A-Za-z0-9]+)", stem):
        described = re.search(r"_desc-([A-Za-z0-9]+)", stem)
        return found[1] + (described[1] if described else "")
    short = NOT_IN_NAMES.sub("", stem).replace("Schaefer2018_", "Schaefer")
    return re.sub("[^A-Za-z0-9]", "", short.replace("Tian_Subcortex_", "Tian")) or "Atlas"


def _space_of(path: Path) -> str:
    """Space that a file name states; empty when it states none."""
    stem = _stem(path)
    if found := re.search(r"(?:^|_)(?:space|tpl)-([A-Za-z0-9]+)", stem):
        return found[1]
    parts = stem.split("_")
    return next((space for part, space in SPACES.items() if part in parts), "")


# ------------------------------------------------------------------------------------- images


def _open_image(path: Path) -> Any:  # noqa: ANN401 - nibabel is untyped
    """Open an image with nibabel, or say what is wrong with the file."""
    import nibabel  # noqa: PLC0415 - slow to import, and most runs use the embedded atlas
    from nibabel.filebasedimages import ImageFileError  # noqa: PLC0415 - as above
    from nibabel.spatialimages import HeaderDataError  # noqa: PLC0415 - as above

    broken = (OSError, EOFError, ValueError, OverflowError, zlib.error)
    try:
        image = nibabel.load(path)
    except (*broken, ImageFileError, HeaderDataError) as error:
        raise AtlasError(f"atlas {path}: not a readable NIfTI image ({_first(error)})") from None
    if len(image.shape) not in (3, 4):
        raise AtlasError(f"atlas {path}: expected a 3D or 4D image, found {len(image.shape)}D")
    size = math.prod(image.shape) * image.get_data_dtype().itemsize
    if min(image.shape) < 1 or size > MOST_BYTES:
        raise AtlasError(
            f"atlas {path}: its header claims {'x'.join(map(str, image.shape))} values, which no "
            "atlas has; fetch it again"
        )
    return image


def _voxels(path: Path, image: Any) -> npt.NDArray[np.int64]:  # noqa: ANN401 - nibabel is untyped
    """Label of each voxel, shape (x, y, z), of a file whose own checksum is right."""
    try:
        if path.name.endswith(".gz"):
            _check_gzip(path)
        data = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise AtlasError(
            f"atlas {path}: the image is truncated or damaged ({_first(error)}); fetch it again"
        ) from None
    data = data.reshape(data.shape[:3])
    whole: npt.NDArray[np.int64] = (
        data.astype(np.int64) if data.dtype.kind in "iu" else _complete(path, data)
    )
    if whole.min(initial=0) < 0:
        raise AtlasError(f"atlas {path}: labels must not be negative, found {whole.min()}")
    return whole


def _check_gzip(path: Path) -> None:
    """Read to the end of a gzip file, where its CRC stands; nibabel stops before."""
    from isal import igzip  # noqa: PLC0415 - not needed for the embedded atlas

    with igzip.open(path, "rb") as stream:
        while stream.read(1 << 20):
            pass


def _complete(path: Path, data: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Labels kept as decimals, as whole numbers."""
    if not np.isfinite(data).all() or np.any(data != np.rint(data)):
        raise AtlasError(
            f"atlas {path}: a label image holds whole numbers, this one does not; "
            "weight maps must be 4D, one map a volume"
        )
    whole: npt.NDArray[np.int64] = np.rint(data).astype(np.int64)
    return whole


def _centres(
    voxels: npt.NDArray[np.int64], affine: npt.NDArray[np.float64]
) -> tuple[list[int], list[tuple[float, float, float]]]:
    """Values of a label image and their centroids, mm."""
    where = np.nonzero(voxels)
    values, inverse, size = np.unique(voxels[where], return_inverse=True, return_counts=True)
    mean = np.stack([np.bincount(inverse, axis, len(values)) / size for axis in where], axis=1)
    xyz = mean @ affine[:3, :3].T + affine[:3, 3]
    return values.tolist(), [(float(x), float(y), float(z)) for x, y, z in np.round(xyz, 3)]


# -------------------------------------------------------------------------------- combination


def combine(first: Atlas, second: Atlas, *, folder: Path | None = None) -> Atlas:
    """Two label atlases as one: `second` where `first` has no label.

    The new image lies on the grid of `first`; `second` is brought there by nearest neighbour if
    its grid differs. Its values follow those of `first`. The image is written once, under a name
    made of both images' checksums, with a JSON beside it that counts the overlap.

    Parameters
    ----------
    first, second : Atlas
        Label atlases in the same space.
    folder : Path, optional
        Where to write; by default ``$XDG_CACHE_HOME/circuitshift``.

    Returns
    -------
    Atlas
        Named by both names.

    Raises
    ------
    AtlasError
        If either is no label atlas, the spaces differ, or a label is in both.
    """
    for part in (first, second):
        _label_image(part)
    if first.space and second.space and first.space != second.space:
        raise AtlasError(
            f"atlases {first.name} ({first.space}) and {second.name} ({second.space}) "
            "are in different spaces; give both in one"
        )
    offset = max(r.index for r in first.regions)
    moved = tuple(replace(r, index=r.index + offset) for r in second.regions)
    name = first.name + second.name
    target = (folder or _cache()) / f"atlas-{name}_{_content(first, second)}_dseg.nii.gz"
    if not target.is_file():
        _write_combined((first, second), offset, target)
    told = json.loads(_beside(target).read_text(encoding="utf-8"))
    if told["overlap_voxels"]:
        log.info(
            "atlas %s: %d voxels of %s lie in %s and stay there",
            name, told["overlap_voxels"], second.name, first.name,
        )  # fmt: skip
    values, centres = _centres(_voxels(target, image := _open_image(target)), image.affine)
    at = dict(zip(values, centres, strict=True))
    return Atlas(
        name=name,
        regions=tuple(replace(r, xyz_mm=at.get(r.index)) for r in (*first.regions, *moved)),
        kind="labels",
        space=first.space or second.space,
        image=target,
        reference="; ".join(filter(None, (first.reference, second.reference))),
        licence="; ".join(dict.fromkeys(filter(None, (first.licence, second.licence)))),
    )


def _label_image(atlas: Atlas) -> Path:
    if atlas.kind != "labels" or atlas.image is None:
        raise AtlasError(
            f"atlas {atlas.name}: only label images can be combined, this one is of kind "
            f"{atlas.kind}; give both as separate atlases"
        )
    return atlas.image


def _content(*atlases: Atlas) -> str:
    """Key of a combination: both images and the values that count as regions."""
    parts = [checksum(_label_image(a)) + str([r.index for r in a.regions]) for a in atlases]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def _beside(image: Path) -> Path:
    return image.with_name(f"{_stem(image)}.json")


def _cache() -> Path:
    """Folder of resolved atlases; $XDG_CACHE_HOME or ~/.cache, and a temporary one if not ours."""
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
    return folder


def _write_combined(atlases: tuple[Atlas, Atlas], offset: int, target: Path) -> None:
    """Write the combined image and its JSON, each whole or not at all."""
    import nibabel  # noqa: PLC0415 - slow to import, needed here only

    images = [_label_image(atlas) for atlas in atlases]
    first, second = (_open_image(path) for path in images)
    base, added = (
        # values that an atlas does not name (white matter) are not regions
        np.where(np.isin(voxels, [r.index for r in atlas.regions]), voxels, 0)
        for atlas, voxels in zip(
            atlases, (_voxels(images[0], first), _voxels(images[1], second)), strict=True
        )
    )
    same = added.shape == base.shape and np.allclose(first.affine, second.affine, atol=1e-4)
    if not same:
        added = _nearest(added, np.linalg.inv(second.affine) @ first.affine, base.shape)
    overlap = int(np.count_nonzero((base > 0) & (added > 0)))
    merged = np.where(base > 0, base, np.where(added > 0, added + offset, 0)).astype(np.int32)
    image = nibabel.Nifti1Image(merged, first.affine)
    told = {
        "sources": [{"file": p.name, "sha256": checksum(p)} for p in images],
        "index_offset_of_second": offset,
        "overlap_voxels": overlap,
        "second_resampled": not same,
    }
    content = json.dumps(told, indent=2).encode()
    # the JSON first: whoever finds the image finds its JSON too
    with atomic_binary(_beside(target)) as file:
        file.write(content)
    with atomic_path(target) as part:
        image.to_filename(part)


def _nearest(
    labels: npt.NDArray[np.int64], voxel_to_voxel: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Labels at the nearest voxel of another grid; 0 outside of the image."""
    out = np.zeros(shape, dtype=np.int64)
    rows = np.indices(shape[1:]).reshape(2, -1)
    for i in range(shape[0]):  # slab by slab, to keep memory small
        here = np.vstack([np.full(rows.shape[1], i), rows])
        there = np.rint(voxel_to_voxel[:3, :3] @ here + voxel_to_voxel[:3, 3:]).astype(np.intp)
        inside = ((there >= 0) & (there < np.array(labels.shape)[:, None])).all(axis=0)
        out[i].reshape(-1)[inside] = labels[tuple(there[:, inside])]
    return out


# -------------------------------------------------------------------------------------- words


def _first(error: BaseException) -> str:
    """First line of another library's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _some(items: Iterable[object], most: int = 10) -> str:
    """Name the first few."""
    words = [str(item) for item in items]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
