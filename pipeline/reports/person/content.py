"""The data of the participant report."""

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
from circuitshift.pipeline.records import MIN_SIGNAL, RetainedData
from circuitshift.pipeline.reports.person.preprocessing_inputs import PreprocView, StructureView
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
    """Time series of voxels or regions, one row each.

    Parameters
    ----------
    values : ndarray of shape (n_volumes, n_rows)
        Values in standard deviations of each row; NaN for volumes that were not used.
    kinds : tuple of str
        Network or tissue of each row.
    """

    values: Floats
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RunViews:
    """Maps and carpets of one run; None or empty if they were not written.

    Parameters
    ----------
    mean, tsnr : VoxelMap or None
        Mean over time; temporal signal-to-noise ratio.
    seeds : mapping of str to VoxelMap
        Correlation with each seed of `voxels.SEEDS`, by its name.
    before, after : Carpet or None
        Carpets before denoising (without mean and linear trend) and after denoising by the primary
        strategy.
    confounds : (tuple of str, ndarray) or None
        Names of confounds, and their correlations over the volumes that were used.
    """

    mean: VoxelMap | None = None
    tsnr: VoxelMap | None = None
    seeds: Mapping[str, VoxelMap] = field(default_factory=dict)
    before: Carpet | None = None
    after: Carpet | None = None
    confounds: tuple[tuple[str, ...], Floats] | None = None


def read_views(names: Sequence[str], out_dir: Path) -> RunViews:
    """Read the maps and carpets of a run that `write_views` wrote.

    Parameters
    ----------
    names : sequence of str
        File names returned by `write_views`; missing files are omitted.
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    RunViews
    """
    paths = [out_dir / name for name in names if (out_dir / name).exists()]
    maps = {path: _read_map(path) for path in paths if path.name.endswith("boldmap.nii.gz")}

    def ending_with(ending: str) -> Path | None:
        return next((path for path in paths if path.name.endswith(ending)), None)

    mean, tsnr = ending_with("_stat-mean_boldmap.nii.gz"), ending_with("_stat-tsnr_boldmap.nii.gz")
    before, after = ending_with("_desc-before_carpet.png"), ending_with("_desc-after_carpet.png")
    confounds = ending_with("_correlations.tsv")
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
        Name of the run, and its session; the session is empty if the data set has no sessions.
    fd_mm : ndarray, shape (n_volumes,)
        Framewise displacement, mm; empty if not available.
    keep : ndarray of bool, shape (n_volumes,)
        Volumes that were used to compute connectivity; empty if not available.
    retained : RetainedData
        Volumes, minutes and degrees of freedom after denoising.
    coverage : ndarray, shape (n_regions,)
        Share of each region that carries signal.
    coverage_labels : sequence of str
        Region names.
    below_coverage : tuple of str
        Regions with a coverage below `min_coverage`, whose edges are not available.
    min_coverage : float
        Threshold of coverage.
    excluded : tuple of str
        Reasons why the run is excluded from the analysis; empty if it is included.
    strategy : str
        Name of the denoising strategy.
    series : ndarray, shape (n_volumes or n_retained, n_regions), optional
        Regional series for the carpet plot.
    networks : tuple of str
        Network of each region.
    fd_threshold_mm : float, optional
        Censoring threshold of the strategy, mm.
    std_dvars : ndarray, shape (n_volumes,), optional
        Standardised DVARS before denoising.
    median_tsnr : float
        Median temporal signal-to-noise ratio over the voxels of the mask; NaN if not available.
    views : RunViews
        Maps and carpets.
    preprocessing_report : str
        Path of the fMRIPrep report of this participant, relative to the page; empty if there is
        none.
    signal, tsnr : ndarray, shape (n_regions,), optional
        Mean signal of each region as a share of the median over the brain, and its temporal
        signal-to-noise ratio; None if not available.
    min_signal : float
        Share of the median below which voxels are not covered.
    """

    label: str
    session: str
    fd_mm: Floats
    keep: npt.NDArray[np.bool_]
    retained: RetainedData
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
    signal: Floats | None = None
    tsnr: Floats | None = None
    min_signal: float = MIN_SIGNAL


@dataclass(frozen=True, slots=True)
class Removed:
    """Data that one denoising strategy removed from one run.

    Parameters
    ----------
    run, strategy : str
        Names of the run and of the strategy.
    retained : RetainedData
        Volumes, minutes and degrees of freedom after denoising.
    usable : bool
        Whether the run is included in the analysis under this strategy.
    """

    run: str
    strategy: str
    retained: RetainedData
    usable: bool


@dataclass(frozen=True, slots=True)
class Others:
    """Circuit values of the other participants of the study.

    Parameters
    ----------
    session : str
        Session of the values.
    n_participants : int
        Number of other participants.
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
        Label without ``ses-``.
    matrix : ndarray, shape (n_regions, n_regions)
        Edges, Fisher z; NaN where not available.
    networks : tuple of str
        Network of each region.
    """

    session: str
    matrix: Floats
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ParticipantReport:
    """Data of the report of one participant.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    runs : tuple of RunQuality
        Quality of each run under the primary strategy.
    edges : tuple of SessionEdges
        Edges of each session, in any order; the page sorts sessions by their names.
    circuits : mapping of str to mapping of str to float
        Mean Fisher z by circuit and session.
    notes : tuple of str
        Notes on the input data.
    problems : tuple of Problem
        Runs that could not be measured.
    left_out : tuple of Problem
        Runs that were measured but excluded from the analysis.
    provenance : mapping of str to str
        Versions, hashes, atlas, denoising, command.
    preproc : PreprocView, optional
        Preprocessing of raw images by circuitshift; None for images of other software.
    structure : StructureView, optional
        Structure of each session; None if it was not measured.
    removed : tuple of Removed
        Data removed from each run by each strategy.
    others : Others, optional
        Values of the other participants; None before the group level has been run.
    ratings : tuple of Rating
        Ratings of this participant.
    data_set : str
        Name of the data set; empty for the main one.
    simulated : str
        Sentence for a data set whose description states that its data are simulated; else empty.
    """

    participant: str
    runs: tuple[RunQuality, ...]
    edges: tuple[SessionEdges, ...]
    circuits: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]
    provenance: Mapping[str, str]
    preproc: PreprocView | None = None
    structure: StructureView | None = None
    left_out: tuple[Problem, ...] = ()
    removed: tuple[Removed, ...] = ()
    others: Others | None = None
    ratings: tuple[Rating, ...] = ()
    data_set: str = ""
    simulated: str = ""
