"""The values that the report of one participant shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.nifti import read_image
from circuitshift.pipeline.measure import voxelwise as voxels
from circuitshift.pipeline.measure.quality_images import _LIMIT_SD
from circuitshift.pipeline.records import RetainedData
from circuitshift.pipeline.reports.person.preprocessing_inputs import PreprocView
from circuitshift.pipeline.reports.person.problems import Problem
from circuitshift.pipeline.study.ratings import Rating


@dataclass(frozen=True, slots=True, eq=False)
class VoxelMap:
    """Values on a grid of blocks of voxels; 0 outside the brain.

    Parameters
    ----------
    data : ndarray of shape (nx, ny, nz)
    affine : ndarray of shape (4, 4)
        Indices to mm.
    """

    data: Floats
    affine: Floats

    @property
    def block_mm(self) -> float:
        """Mean width of a block, mm."""
        return float(np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)).mean())


@dataclass(frozen=True, slots=True, eq=False)
class Carpet:
    """Series of many places, one row each.

    Parameters
    ----------
    values : ndarray of shape (n_volumes, n_rows)
        Standard deviations of each row; NaN for volumes that were not used.
    kinds : tuple of str
        Network or tissue of each row.
    """

    values: Floats
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RunViews:
    """What was written for one run; empty where nothing was written.

    Parameters
    ----------
    mean, tsnr : VoxelMap or None
        Mean over time; temporal signal-to-noise ratio.
    seeds : mapping of str to VoxelMap
        Correlation with each seed of `voxels.SEEDS`, by its name.
    before, after : Carpet or None
        Without mean and line; denoised by the primary strategy.
    confounds : (tuple of str, ndarray) or None
        Names, and their correlations over the volumes that were used.
    """

    mean: VoxelMap | None = None
    tsnr: VoxelMap | None = None
    seeds: Mapping[str, VoxelMap] = field(default_factory=dict)
    before: Carpet | None = None
    after: Carpet | None = None
    confounds: tuple[tuple[str, ...], Floats] | None = None


def read_views(names: Sequence[str], out_dir: Path) -> RunViews:
    """Read what `write_views` wrote; files that are missing are left out.

    Parameters
    ----------
    names : sequence of str
        What `write_views` returned.
    out_dir : Path
    """
    there = [out_dir / name for name in names if (out_dir / name).exists()]
    maps = {path: _read_map(path) for path in there if path.name.endswith("boldmap.nii.gz")}

    def one(ending: str) -> Path | None:
        return next((path for path in there if path.name.endswith(ending)), None)

    mean, tsnr = one("_stat-mean_boldmap.nii.gz"), one("_stat-tsnr_boldmap.nii.gz")
    before, after = one("_desc-before_carpet.png"), one("_desc-after_carpet.png")
    confounds = one("_correlations.tsv")
    return RunViews(
        mean=maps[mean] if mean else None,
        tsnr=maps[tsnr] if tsnr else None,
        seeds={
            seed.name: values
            for seed in voxels.SEEDS
            for path, values in maps.items()
            if f"_seed-{seed.name}_" in path.name
        },
        before=_read_carpet(before) if before else None,
        after=_read_carpet(after) if after else None,
        confounds=tables.read_matrix(confounds) if confounds else None,
    )


def _read_map(path: Path) -> VoxelMap:
    values, header = read_image(path)
    return VoxelMap(np.asarray(values, float), header.affine)


def _read_carpet(path: Path) -> Carpet:
    from PIL import Image  # noqa: PLC0415 - comes with matplotlib

    with Image.open(path) as image:
        grey = np.asarray(image, float).T
    values = np.where(grey > 0, (grey - 128) / 127 * _LIMIT_SD, np.nan)
    return Carpet(values, tuple(tables.read_json(path.with_suffix(".json"))["Rows"]))


@dataclass(frozen=True, slots=True, eq=False)
class RunQuality:
    """Quality of one run under one strategy.

    Parameters
    ----------
    label, session : str
        Name of the run, and its session; empty when the tree has none.
    fd_mm : ndarray, shape (n_volumes,)
        Framewise displacement, mm; empty when unknown.
    keep : ndarray of bool, shape (n_volumes,)
        Volumes that entered connectivity; empty when unknown.
    kept : RetainedData
    coverage : ndarray, shape (n_regions,)
        Share of each region that carries signal.
    coverage_labels : sequence of str
        Region names.
    below_coverage : tuple of str
        Regions below `min_coverage`: their edges are not available.
    min_coverage : float
    excluded : tuple of str
        Why the run does not enter the analysis; empty when it does.
    strategy : str
    series : ndarray, shape (n_volumes or n_retained, n_regions), optional
        For the carpet.
    networks : tuple of str
        One per region.
    fd_threshold_mm : float, optional
        Censoring threshold of the strategy, mm.
    std_dvars : ndarray, shape (n_volumes,), optional
        Standardised DVARS before denoising.
    median_tsnr : float
        Over the voxels of the mask; NaN when unknown.
    views : RunViews
        Maps and carpets.
    preprocessing_report : str
        Path of fMRIPrep's report of this participant, relative to the page; may be empty.
    """

    label: str
    session: str
    fd_mm: Floats
    keep: npt.NDArray[np.bool_]
    kept: RetainedData
    coverage: Floats
    coverage_labels: Sequence[str]
    below_coverage: tuple[str, ...]
    min_coverage: float
    excluded: tuple[str, ...]
    strategy: str
    series: Floats | None
    networks: tuple[str, ...]
    fd_threshold_mm: float | None = None
    std_dvars: Floats | None = None
    median_tsnr: float = float("nan")
    views: RunViews = field(default_factory=RunViews)
    preprocessing_report: str = ""


@dataclass(frozen=True, slots=True)
class Removed:
    """What one denoising strategy removed from one run.

    Parameters
    ----------
    run, strategy : str
    kept : RetainedData
    usable : bool
        Whether the run enters the analysis under this strategy.
    """

    run: str
    strategy: str
    kept: RetainedData
    usable: bool


@dataclass(frozen=True, slots=True)
class Others:
    """Circuit values of the other participants of the study.

    Parameters
    ----------
    session : str
        In which session.
    n_participants : int
    ranges : mapping of str to (float, float)
        5th and 95th percentile of mean Fisher z, by circuit.
    """

    session: str
    n_participants: int
    ranges: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, eq=False)
class SessionEdges:
    """Edges of one session.

    Parameters
    ----------
    session : str
    matrix : ndarray, shape (n_regions, n_regions)
        Fisher z.
    networks : tuple of str
        One per region.
    """

    session: str
    matrix: Floats
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ParticipantReport:
    """Everything that the page of one participant shows.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    runs : tuple of RunQuality
    edges : tuple of SessionEdges
        In any order; the page orders sessions by their names, and says so.
    circuits : mapping of str to mapping of str to float
        Mean Fisher z by circuit and session.
    notes : tuple of str
        Remarks.
    problems : tuple of Problem
        What could not be measured.
    left_out : tuple of Problem
        What was measured and does not enter the analysis.
    provenance : mapping of str to str
        Versions, hashes, atlas, denoising, command.
    preproc : PreprocView, optional
        When raw images were preprocessed here.
    removed : tuple of Removed
        Every run under every strategy.
    others : Others, optional
        When the group level has been run.
    ratings : tuple of Rating
        Decisions of the raters of this page.
    data_set : str
        Name of the data set; empty for the main one.
    """

    participant: str
    runs: tuple[RunQuality, ...]
    edges: tuple[SessionEdges, ...]
    circuits: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]
    provenance: Mapping[str, str]
    preproc: PreprocView | None = None
    left_out: tuple[Problem, ...] = ()
    removed: tuple[Removed, ...] = ()
    others: Others | None = None
    ratings: tuple[Rating, ...] = ()
    data_set: str = ""
