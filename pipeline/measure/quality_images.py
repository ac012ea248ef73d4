"""What a person's page shows of one run beside its tables: maps, carpets, correlations, as files.

Written while the run is measured (`write_views`), read back for the page (`read_views`), so that a
page can be made again without the images that were measured.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.atomic_files import atomic_binary
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.bids.names import build_path
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.nifti import read_header, read_image
from circuitshift.pipeline.measure import denoise
from circuitshift.pipeline.measure import voxelwise as voxels
from circuitshift.pipeline.measure.parcellation import Parcellation, parcellate
from circuitshift.pipeline.records import Run, Strategy

__all__ = [
    "VoxelCollector",
    "fmriprep_report",
    "preprocessed_by",
    "segmentation_of",
    "view_paths",
    "write_views",
]


_ROWS = 300  # of a carpet
_LIMIT_SD = 3.0  # beyond it a carpet is black or white
_OUTPUT_ENTITIES = ("atlas", "seg", "stat", "desc")
_SPACE_KEYS = ("space", "res", "cohort", "den")
#: Values of ``dseg``, and what they are.
_TISSUES = {1: "other grey matter", 2: "white matter", 3: "cerebrospinal fluid"}
_ELSEWHERE = "outside all regions"
#: Columns of a confounds table whose correlations are shown, when they are there.
_CONFOUNDS = (
    "framewise_displacement",
    "std_dvars",
    "global_signal",
    "white_matter",
    "csf",
    *(f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"),
    *(f"a_comp_cor_{k:02d}" for k in range(3)),
)


@dataclass(frozen=True, slots=True, eq=False)
class VoxelCollector:
    """What is followed during the pass over a run.

    Parameters
    ----------
    voxels : VoxelPass
    seeds : Parcellation or None
        None when the run is not in MNI space, where seeds are defined.
    """

    voxels: voxels.VoxelPass
    seeds: Parcellation | None

    @classmethod
    def of(
        cls, run: Run, mask: npt.NDArray[np.bool_] | None, dummy_scans: int | None
    ) -> "VoxelCollector | None":
        """Make one for a run; None when it has no brain mask."""
        if mask is None or run.confounds is None:
            return None
        header = read_header(run.path)
        if header.grid != mask.shape or header.n_volumes < 2:
            return None  # extraction says so in its own words
        seeds = None
        if run.space.startswith("MNI"):
            atlas = voxels.seed_atlas(run.space)
            try:
                seeds = parcellate(atlas, header.affine, header.grid, mask)
            except CircuitshiftError:  # all seeds are out of view
                seeds = None
        try:
            n_dummy = denoise.count_dummy(run.confounds, dummy_scans)
        except CircuitshiftError:  # every strategy will say so
            n_dummy = 0
        return cls(voxels.VoxelPass(header, mask, n_dummy=n_dummy), seeds)


def view_paths(run: Run, atlas: str) -> dict[str, Path]:
    """Paths of the views of a run, relative to the output folder.

    Parameters
    ----------
    run : Run
    atlas : str
        The atlas whose networks order the carpets.
    """
    source = [(k, v) for k, v in run.entities if k not in (*_SPACE_KEYS, *_OUTPUT_ENTITIES)]
    spaced = [(k, v) for k, v in run.entities if k not in _OUTPUT_ENTITIES]
    out = {
        name: build_path([*spaced, ("stat", name)], "boldmap", ".nii.gz")
        for name in ("mean", "tsnr")
    }
    out |= {
        seed.name: build_path(
            [*spaced, ("seed", seed.name), ("stat", "pearsoncorrelation")], "boldmap", ".nii.gz"
        )
        for seed in voxels.SEEDS
    }
    out |= {
        name: build_path([*spaced, ("atlas", atlas), ("desc", name)], "carpet", ".png", "figures")
        for name in ("before", "after")
    }
    out["confounds"] = build_path(
        [*source, ("desc", "confounds")], "correlations", ".tsv", "figures"
    )
    return out


def write_views(
    run: Run,
    watched: tuple[voxels.VoxelBlocks, Floats | None],
    parcels: Parcellation,
    *,
    regressors: denoise.Regressors,
    strategy: Strategy,
    out_dir: Path,
) -> list[str]:
    """Write what the page shows of one run.

    Parameters
    ----------
    run : Run
        With a mask and confounds.
    watched : (Blocks, ndarray of shape (n_volumes, n_spheres) or None)
        What the pass kept, and the series of the spheres of the seeds.
    parcels : Parcellation
        Of the atlas whose networks order the carpets.
    regressors : Regressors
    strategy : Strategy
        The primary one.
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    list of str
        Paths of what was written, relative to `out_dir`.
    """
    assert run.t_r_s is not None  # noqa: S101 - for the type checker; check_run saw to it
    assert run.confounds is not None  # noqa: S101
    blocks, spheres = watched
    paths = view_paths(run, parcels.atlas.name)
    made: list[str] = []
    maps = {"mean": blocks.mean, "tsnr": blocks.tsnr}
    if spheres is not None:
        maps |= voxels.seed_maps(blocks, spheres, regressors, strategy, t_r_s=run.t_r_s)
    for name, values in maps.items():
        _write_map(out_dir / paths[name], blocks, values, _about(name, strategy, blocks))
        made.append(paths[name].as_posix())
    rows, kinds = _rows(run, blocks, parcels)
    if rows.size:
        series = np.asarray(blocks.series[:, rows], float)
        cleaned, _ = denoise.clean(series, regressors, strategy, run.t_r_s)
        after = np.full(series.shape, np.nan)
        after[regressors.keep] = cleaned
        before = voxels.detrended(series, regressors.keep)
        before[: regressors.n_dummy] = np.nan
        for name, values in (("before", before), ("after", after)):
            _write_carpet(out_dir / paths[name], values, kinds, regressors.keep)
            made.append(paths[name].as_posix())
    labels, matrix = _correlations(run.confounds, regressors.keep)
    if len(labels) > 1:
        about = {"Description": "Correlations of confounds over the volumes that were used"}
        tables.write_matrix(out_dir / paths["confounds"], labels, matrix, sidecar=about)
        made.append(paths["confounds"].as_posix())
    return made


def _about(name: str, strategy: Strategy, blocks: voxels.VoxelBlocks) -> dict[str, object]:
    if name == "mean":
        return {"Description": "Mean over time, in blocks of voxels"}
    if name == "tsnr":
        return {
            "Description": "Mean divided by standard deviation over time, in blocks of voxels; "
            "volumes before the steady state are left out, nothing is removed",
            "MedianOverVoxels": blocks.median_tsnr,
        }
    seed = next(seed for seed in voxels.SEEDS if seed.name == name)
    return {
        "Description": f"Correlation with the {seed.title}, in blocks of voxels",
        "DenoisingStrategy": strategy.name,
        "SeedCentres": [list(centre) for centre in seed.centres_mm],
        "SeedReference": seed.source,
    }


def _write_map(
    path: Path, blocks: voxels.VoxelBlocks, values: Floats, about: Mapping[str, object]
) -> None:
    from circuitshift.pipeline.io import images  # noqa: PLC0415

    image = images.Image(blocks.image(values), blocks.affine)
    images.write(path, image, standard=True)
    sidecar = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
    tables.write_json(sidecar, about)


def _rows(
    run: Run, blocks: voxels.VoxelBlocks, parcels: Parcellation
) -> tuple[npt.NDArray[np.intp], tuple[str, ...]]:
    """Choose the rows of the carpets: networks as in the atlas, then tissues."""
    kinds = voxels.block_networks(blocks, parcels)
    tissue = _tissues(run, blocks)
    kinds = [kind or other for kind, other in zip(kinds, tissue, strict=True)]
    networks = dict.fromkeys(region.network or "no network" for region in parcels.atlas.regions)
    ordered = sorted(networks, key=lambda name: name == "no network")  # the unnamed come last
    lives = np.ptp(blocks.series, axis=0) > 0
    kinds = [kind if alive else "" for kind, alive in zip(kinds, lives, strict=True)]
    return voxels.carpet_rows(kinds, ordered, [*_TISSUES.values(), _ELSEWHERE], most=_ROWS)


def _tissues(run: Run, blocks: voxels.VoxelBlocks) -> list[str]:
    """Tissue of every block by the person's segmentation in this space, when there is one."""
    unknown = [_ELSEWHERE] * blocks.index.size
    path = segmentation_of(run)
    if path is None:
        return unknown
    try:
        labels, header = read_image(path)
    except CircuitshiftError:  # a picture is not worth a run
        return unknown
    inverse = np.linalg.inv(header.affine)
    at = np.rint(blocks.centres_mm() @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.intp)
    inside = ((at >= 0) & (at < header.grid)).all(axis=1)
    at[~inside] = 0
    values = np.where(inside, labels[tuple(at.T)], 0)
    return [_TISSUES.get(int(value), _ELSEWHERE) for value in values]


def segmentation_of(run: Run) -> Path | None:
    """Find ``*_space-<S>*_dseg.nii.gz`` of the person beside the run."""
    if not run.space:
        return None
    for folder in list(run.path.parents)[:3]:
        found = sorted((folder / "anat").glob(f"sub-*_space-{run.space}_*dseg.nii.gz"))
        plain = [path for path in found if "desc-" not in path.name]
        if plain and plain[0].exists():
            return plain[0]
    return None


def _write_carpet(
    path: Path, values: Floats, kinds: Sequence[str], keep: npt.NDArray[np.bool_]
) -> None:
    """Write 8-bit grey: 0 for what is not known, 1 to 255 for -3 to 3 standard deviations."""
    from PIL import Image  # noqa: PLC0415 - comes with matplotlib

    used = values[keep]
    spread = used.std(axis=0)
    spread[~(spread > 0)] = np.inf
    with np.errstate(invalid="ignore"):
        level = np.clip(values / spread, -_LIMIT_SD, _LIMIT_SD) / _LIMIT_SD * 127 + 128
    grey = np.where(np.isfinite(level), np.rint(np.nan_to_num(level)), 0).astype(np.uint8)
    with atomic_binary(path) as file:
        Image.fromarray(np.ascontiguousarray(grey.T)).save(file, format="png", optimize=True)
    about = {
        "Description": "Rows are blocks of voxels, columns volumes; 0 is not used, 1 to 255 are -3 "
        "to 3 standard deviations of the row",
        "Rows": list(kinds),
    }
    tables.write_json(path.with_suffix(".json"), about)


def _correlations(confounds: Path, keep: npt.NDArray[np.bool_]) -> tuple[tuple[str, ...], Floats]:
    table = tables.read_table(confounds)
    columns = {n: table.numbers(n)[keep] for n in _CONFOUNDS if n in table.columns}
    if not columns:
        return (), np.empty((0, 0))
    available = np.isfinite(list(columns.values())).all(
        axis=0
    )  # the first volume has no displacement
    varying = {
        n: values[available]
        for n, values in columns.items()
        if available.any() and np.ptp(values[available]) > 0
    }
    if len(varying) < 2:
        return (), np.empty((0, 0))
    return tuple(varying), np.corrcoef(np.array(list(varying.values())))


def preprocessed_by(run: Run) -> str:
    """Name and version of the program that made the run, as its data set says; or empty."""
    for folder in list(run.path.parents)[:5]:
        path = folder / "dataset_description.json"
        if path.exists():
            try:
                makers = tables.read_json(path).get("GeneratedBy")
            except CircuitshiftError:
                return ""
            made = makers[0] if isinstance(makers, list) and makers else {}
            words = (made.get("Name"), made.get("Version")) if isinstance(made, dict) else ()
            return " ".join(str(word) for word in words if word)
    return ""


def fmriprep_report(run: Run, out_dir: Path) -> str:
    """Path of the report that fMRIPrep wrote of this person, relative to `out_dir`; or empty.

    Parameters
    ----------
    run : Run
    out_dir : Path
    """
    whole, visit = f"sub-{run.participant}", f"sub-{run.participant}_ses-{run.session}"
    names = [f"{whole}.html"]
    if run.session:
        names += [f"{visit}.html", f"{visit}_func.html"]
    for folder in list(run.path.parents)[:5]:
        for name in names:
            found = folder / name
            if found.exists() and found.parent.resolve() != out_dir.resolve():
                return Path(os.path.relpath(found.resolve(), out_dir.resolve())).as_posix()
    return ""
