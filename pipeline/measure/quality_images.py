"""Write images for the quality assessment of a run: maps, carpet plots and confound correlations.

The files are written while a run is measured (`write_views`) and read for the participant report,
so that a report can be created again without the functional images.
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


_N_ROWS = 300  # of a carpet plot
_LIMIT_SD = 3.0  # standard deviations beyond which a carpet plot is black or white
_OUTPUT_ENTITIES = ("atlas", "seg", "stat", "desc")
_SPACE_KEYS = ("space", "res", "cohort", "den")
#: Tissue of each value of a segmentation ``dseg``.
_TISSUES = {1: "other grey matter", 2: "white matter", 3: "cerebrospinal fluid"}
_OUTSIDE = "outside all regions"
#: Columns of a confounds table whose correlations are shown if they are available.
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
    """Collectors of voxel statistics and seed series during the pass over a run.

    Parameters
    ----------
    voxels : VoxelPass
        Collector of voxel statistics and series of blocks of voxels.
    seeds : Parcellation or None
        Spheres of the seeds; None if the run is not in MNI space, in which seeds are defined, or if
        no seed is in the field of view.
    """

    voxels: voxels.VoxelPass
    seeds: Parcellation | None

    @classmethod
    def of(
        cls, run: Run, mask: npt.NDArray[np.bool_] | None, dummy_scans: int | None
    ) -> "VoxelCollector | None":
        """Create the collector of a run.

        Parameters
        ----------
        run : Run
            Functional run.
        mask : ndarray of bool, shape (nx, ny, nz), or None
            Brain mask.
        dummy_scans : int, optional
            Number of volumes to drop at the start, see
            `circuitshift.pipeline.measure.denoise.count_dummy`.

        Returns
        -------
        VoxelCollector or None
            None if the run has no brain mask or no confounds, or if its image is not valid.
        """
        if mask is None or run.confounds is None:
            return None
        header = read_header(run.path)
        if header.grid != mask.shape or header.n_volumes < 2:
            return None  # `extract` reports the problem
        seeds = None
        if run.space.startswith("MNI"):
            atlas = voxels.seed_atlas(run.space)
            try:
                seeds = parcellate(atlas, header.affine, header.grid, mask)
            except CircuitshiftError:  # all seeds are outside the field of view
                seeds = None
        try:
            n_dummy = denoise.count_dummy(run.confounds, dummy_scans)
        except CircuitshiftError:  # `load_regressors` reports the problem
            n_dummy = 0
        return cls(voxels.VoxelPass(header, mask, n_dummy=n_dummy), seeds)


def view_paths(run: Run, atlas: str) -> dict[str, Path]:
    """Return the paths of the quality images of a run, relative to the output folder.

    Parameters
    ----------
    run : Run
        Functional run.
    atlas : str
        Name of the atlas whose networks sort the rows of carpet plots.

    Returns
    -------
    dict of str to Path
        Paths of the maps ``mean`` and ``tsnr``, of the map of each seed, of the carpet plots
        ``before`` and ``after`` denoising, and of the correlations of ``confounds``.
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
    collected: tuple[voxels.VoxelBlocks, Floats | None],
    parcels: Parcellation,
    *,
    regressors: denoise.Regressors,
    strategy: Strategy | None,
    out_dir: Path,
) -> list[str]:
    """Write the quality images of one run.

    Parameters
    ----------
    run : Run
        Functional run with a mask and confounds.
    collected : (VoxelBlocks, ndarray of shape (n_volumes, n_spheres) or None)
        Blocks of voxels, and the series of the spheres of the seeds.
    parcels : Parcellation
        Parcellation of the atlas whose networks sort the rows of carpet plots.
    regressors : Regressors
        Nuisance regressors and retained volumes.
    strategy : Strategy or None
        Primary strategy; None for a run that cannot be denoised, which has no seed maps and no
        carpet plot after denoising.
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    list of str
        Paths of the written files, relative to `out_dir`.

    Raises
    ------
    CircuitshiftError
        If the series cannot be denoised.
    """
    assert run.t_r_s is not None  # noqa: S101 - for the type checker; check_run ensures it
    assert run.confounds is not None  # noqa: S101
    blocks, spheres = collected
    paths = view_paths(run, parcels.atlas.name)
    written: list[str] = []
    maps = {"mean": blocks.mean, "tsnr": blocks.tsnr}
    if spheres is not None and strategy is not None:
        maps |= voxels.seed_maps(blocks, spheres, regressors, strategy, t_r_s=run.t_r_s)
    for name, values in maps.items():
        _write_map(out_dir / paths[name], blocks, values, _about(name, strategy, blocks))
        written.append(paths[name].as_posix())
    rows, kinds = _rows(run, blocks, parcels)
    if rows.size:
        series = np.asarray(blocks.series[:, rows], float)
        before = voxels.detrended(series, regressors.keep)
        before[: regressors.n_dummy] = np.nan
        carpets = {"before": before}
        if strategy is not None:
            cleaned, _ = denoise.clean(series, regressors, strategy, run.t_r_s)
            carpets["after"] = np.full(series.shape, np.nan)
            carpets["after"][regressors.keep] = cleaned
        for name, values in carpets.items():
            _write_carpet(out_dir / paths[name], values, kinds, regressors.keep)
            written.append(paths[name].as_posix())
    labels, matrix = _correlations(run.confounds, regressors.keep)
    if len(labels) > 1:
        about = {"Description": "Correlations of confounds over the retained volumes"}
        tables.write_matrix(out_dir / paths["confounds"], labels, matrix, sidecar=about)
        written.append(paths["confounds"].as_posix())
    return written


def _about(name: str, strategy: Strategy | None, blocks: voxels.VoxelBlocks) -> dict[str, object]:
    if name == "mean":
        return {"Description": "Mean over time, in blocks of voxels"}
    if name == "tsnr":
        return {
            "Description": "Mean divided by standard deviation over time, in blocks of voxels, "
            "before denoising and without the volumes before the steady state",
            "MedianOverVoxels": blocks.median_tsnr,
        }
    seed = next(seed for seed in voxels.SEEDS if seed.name == name)
    return {
        "Description": f"Correlation with the {seed.title}, in blocks of voxels",
        "DenoisingStrategy": None if strategy is None else strategy.name,
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
    """Choose the rows of the carpet plots: networks in the order of the atlas, then tissues."""
    kinds = voxels.block_networks(blocks, parcels)
    tissue = _tissues(run, blocks)
    kinds = [kind or other for kind, other in zip(kinds, tissue, strict=True)]
    networks = dict.fromkeys(region.network or "no network" for region in parcels.atlas.regions)
    ordered = sorted(networks, key=lambda name: name == "no network")  # "no network" is last
    varies = np.ptp(blocks.series, axis=0) > 0
    kinds = [kind if is_varying else "" for kind, is_varying in zip(kinds, varies, strict=True)]
    return voxels.carpet_rows(kinds, ordered, [*_TISSUES.values(), _OUTSIDE], most=_N_ROWS)


def _tissues(run: Run, blocks: voxels.VoxelBlocks) -> list[str]:
    """Return the tissue of each block according to the segmentation of the participant."""
    unknown = [_OUTSIDE] * blocks.index.size
    path = segmentation_of(run)
    if path is None:
        return unknown
    try:
        labels, header = read_image(path)
    except CircuitshiftError:  # an invalid segmentation affects the figure only, not the run
        return unknown
    inverse = np.linalg.inv(header.affine)
    ijk = np.rint(blocks.centres_mm() @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.intp)
    inside = ((ijk >= 0) & (ijk < header.grid)).all(axis=1)
    ijk[~inside] = 0
    values = np.where(inside, labels[tuple(ijk.T)], 0)
    return [_TISSUES.get(int(value), _OUTSIDE) for value in values]


def segmentation_of(run: Run) -> Path | None:
    """Find the segmentation ``*_space-<S>*_dseg.nii.gz`` of the participant of a run.

    Parameters
    ----------
    run : Run
        Functional run.

    Returns
    -------
    Path or None
        Segmentation in the space of the run, from the folder ``anat`` of the session or of the
        participant; None if there is none.
    """
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
    """Write a carpet plot: grey levels 1 to 255 are -3 to 3 standard deviations, 0 is missing."""
    from PIL import Image  # noqa: PLC0415 - installed with matplotlib

    used = values[keep]
    spread = used.std(axis=0)
    spread[~(spread > 0)] = np.inf
    with np.errstate(invalid="ignore"):
        level = np.clip(values / spread, -_LIMIT_SD, _LIMIT_SD) / _LIMIT_SD * 127 + 128
    grey = np.where(np.isfinite(level), np.rint(np.nan_to_num(level)), 0).astype(np.uint8)
    with atomic_binary(path) as file:
        Image.fromarray(np.ascontiguousarray(grey.T)).save(file, format="png", optimize=True)
    about = {
        "Description": "Rows are blocks of voxels, columns are volumes; values 1 to 255 are -3 to "
        "3 standard deviations of the row, and 0 is missing",
        "Rows": list(kinds),
    }
    tables.write_json(path.with_suffix(".json"), about)


def _correlations(confounds: Path, keep: npt.NDArray[np.bool_]) -> tuple[tuple[str, ...], Floats]:
    table = tables.read_table(confounds)
    columns = {n: table.numbers(n)[keep] for n in _CONFOUNDS if n in table.columns}
    if not columns:
        return (), np.empty((0, 0))
    # the first volume has no framewise displacement
    available = np.isfinite(list(columns.values())).all(axis=0)
    varying = {
        n: values[available]
        for n, values in columns.items()
        if available.any() and np.ptp(values[available]) > 0
    }
    if len(varying) < 2:
        return (), np.empty((0, 0))
    return tuple(varying), np.corrcoef(np.array(list(varying.values())))


def preprocessed_by(run: Run) -> str:
    """Return name and version of the software that preprocessed a run.

    Parameters
    ----------
    run : Run
        Functional run.

    Returns
    -------
    str
        First entry of ``GeneratedBy`` in ``dataset_description.json``; empty if it is missing.
    """
    for folder in list(run.path.parents)[:5]:
        path = folder / "dataset_description.json"
        if path.exists():
            try:
                entries = tables.read_json(path).get("GeneratedBy")
            except CircuitshiftError:
                return ""
            first = entries[0] if isinstance(entries, list) and entries else {}
            values = (first.get("Name"), first.get("Version")) if isinstance(first, dict) else ()
            return " ".join(str(value) for value in values if value)
    return ""


def fmriprep_report(run: Run, out_dir: Path) -> str:
    """Return the path of the fMRIPrep report of the participant of a run.

    Parameters
    ----------
    run : Run
        Functional run.
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    str
        Path relative to `out_dir`; empty if there is no report.
    """
    participant, session = f"sub-{run.participant}", f"sub-{run.participant}_ses-{run.session}"
    names = [f"{participant}.html"]
    if run.session:
        names += [f"{session}.html", f"{session}_func.html"]
    for folder in list(run.path.parents)[:5]:
        for name in names:
            found = folder / name
            if found.exists() and found.parent.resolve() != out_dir.resolve():
                return Path(os.path.relpath(found.resolve(), out_dir.resolve())).as_posix()
    return ""
