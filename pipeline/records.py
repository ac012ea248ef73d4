"""Records that are shared between packages: runs, strategies, the study design and settings.

All records are immutable and are validated when they are created. Their fields are scalars, paths
and tuples of these, because records are passed between Nipype nodes, and Nipype hashes other
objects by their truncated text.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from circuitshift.atlases import DEFAULT_ATLAS

__all__ = [
    "MIN_SIGNAL",
    "AnalysisSettings",
    "Background",
    "ExecutionSettings",
    "Registration",
    "RetainedData",
    "Run",
    "Strategy",
]

Background = Literal["all", "disjoint", "matched"]

#: Share of the median signal over the brain below which a voxel is not covered.
MIN_SIGNAL = 0.4


@dataclass(frozen=True, slots=True)
class Run:
    """One functional run of one participant, in one of the three input types.

    Parameters
    ----------
    participant, session : str
        Labels without ``sub-`` and ``ses-``; the session is empty in data sets without sessions.
    task, run : str
        Values of ``task-`` and ``run-``; may be empty.
    space, res : str
        Values of ``space-`` and ``res-``; may be empty.
    input_type : {"bold", "timeseries", "relmat"}
        Content of the file: a preprocessed image, regional time series, or a connectivity matrix.
    path : Path
        The file.
    entities : tuple of (str, str)
        All entities of the file name, in order of appearance.
    dataset : str
        Name of the data set; empty for the main data set.
    atlas : str
        Value of ``atlas-`` (or ``seg-``) for time series and matrices.
    mask, confounds : Path, optional
        For images, the brain mask on the grid of `path`, and the confounds table.
    t_r_s : float, optional
        Repetition time in s.
    """

    participant: str
    session: str
    task: str
    run: str
    space: str
    res: str
    input_type: str
    path: Path
    entities: tuple[tuple[str, str], ...]
    dataset: str = ""
    atlas: str = ""
    mask: Path | None = None
    confounds: Path | None = None
    t_r_s: float | None = None


@dataclass(frozen=True, slots=True)
class Strategy:
    """A named denoising strategy, defined by one table of ``strategies.toml``.

    Parameters
    ----------
    name : str
        Name of the strategy, for example ``24p+acompcor``.
    load : tuple of (str, scalar or tuple)
        Arguments of `nilearn.interfaces.fmriprep.load_confounds`.
    low_pass_hz, high_pass_hz : float, optional
        Cut-off frequencies of the Butterworth filter that is applied to both the series and the
        regressors.
    fd_threshold_mm : float, optional
        Volumes with a larger framewise displacement are censored.
    prose : str
        Description of the strategy for the methods text.
    reference : str
        DOI of the publication that describes the strategy.
    gsr : bool
        Whether the global signal is among the regressors.
    """

    name: str
    load: tuple[tuple[str, Any], ...]
    low_pass_hz: float | None
    high_pass_hz: float | None
    fd_threshold_mm: float | None
    prose: str
    reference: str
    gsr: bool

    @property
    def desc(self) -> str:
        """The name as a BIDS label; ``24p+acompcor+gsr`` becomes ``24pAcompcorGsr``."""
        first, *rest = self.name.split("+")
        return first + "".join(word.capitalize() for word in rest)


@dataclass(frozen=True, slots=True)
class RetainedData:
    """The amount of data of a run that remains after denoising.

    Parameters
    ----------
    n_volumes : int
        Number of volumes in the run.
    n_dummy : int
        Number of non-steady-state volumes removed at the start of the run.
    n_censored : int
        Number of volumes censored for motion.
    n_retained : int
        Number of volumes used to estimate connectivity.
    minutes : float
        Retained scan time in minutes: ``n_retained`` times the repetition time.
    n_regressors : int
        Rank of the nuisance regressors after filtering.
    residual_dof : float
        Residual degrees of freedom: retained volumes times the proportion of the spectrum that
        the filter passes, minus `n_regressors`.
    mean_fd_mm : float
        Mean framewise displacement over the retained volumes, in mm; NaN where unavailable.
    variance_removed : float
        Proportion of the variance of a region's series that the regressors explain, after
        detrending, filtering and censoring; median over regions. NaN where unavailable.
    """

    n_volumes: int
    n_dummy: int
    n_censored: int
    n_retained: int
    minutes: float
    n_regressors: int
    residual_dof: float
    mean_fd_mm: float
    variance_removed: float = float("nan")


@dataclass(frozen=True, slots=True)
class Registration:
    """Quality of the registration of a run to the T1-weighted image.

    Parameters
    ----------
    boundary_cost : float
        Boundary cost, from 0 to 1, with .5 for an image that is unrelated to the boundary of white
        matter; NaN where unavailable.
    disagreement_mm : float
        Distance from the position that the other runs of the participant imply, in mm; NaN where
        unavailable.
    """

    boundary_cost: float = float("nan")
    disagreement_mm: float = float("nan")


@dataclass(frozen=True, slots=True)
class AnalysisSettings:
    """All settings that may change a result; their hash is part of each sidecar and report.

    Parameters
    ----------
    atlases : tuple of str
        Names or paths of atlases; the first is the primary atlas.
    circuits : tuple of str
        Files that define further circuits.
    strategies : tuple of str
        Denoising strategies; the first is the primary strategy. Its counterpart with global
        signal regression (``+gsr``) is added as a sensitivity analysis.
    min_coverage : float
        Smallest proportion of a region's voxels with signal; columns of regions below it are NaN.
    min_signal : float
        Smallest mean signal of a voxel, as a share of the median of the run over the brain. Voxels
        below it are not covered. It applies to images with a brain mask.
    min_minutes : float
        Runs with less retained scan time, in minutes, are excluded and listed.
    max_mean_fd_mm : float
        Runs with a larger mean framewise displacement, in mm, are excluded and listed.
    dummy_scans : int, optional
        Number of volumes to remove at the start of each run. None uses the non-steady-state
        columns of the confounds table.
    strategy_files : tuple of str
        Files that define further denoising strategies.
    estimator : {"pearson", "partial"}
        Estimator of edges; see `circuitshift.pipeline.edges.correlation`.
    template : str
        Template to which raw images are normalised.
    slice_timing : bool
        Whether raw runs are corrected for slice timing.
    visit_minutes : float, optional
        Retained minutes of each visit that are used, from its beginning; visits with fewer are
        excluded and listed. None uses all.
    combine_runs : {"average", "concatenate"}
        Whether the runs of a visit are combined as the weighted mean of their Fisher z, or by one
        correlation of their concatenated series.
    structure : {"", "volumes"}
        What is measured in the raw T1-weighted images of each session; empty for nothing.
    """

    atlases: tuple[str, ...] = (DEFAULT_ATLAS,)
    circuits: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ("24p+acompcor", "24p+acompcor+gsr")
    min_coverage: float = 0.5
    min_signal: float = MIN_SIGNAL
    min_minutes: float = 2.0
    max_mean_fd_mm: float = 0.5
    dummy_scans: int | None = None
    strategy_files: tuple[str, ...] = ()
    estimator: Literal["pearson", "partial"] = "pearson"
    template: str = "MNI152NLin2009aSym"
    slice_timing: bool = True
    visit_minutes: float | None = None
    combine_runs: Literal["average", "concatenate"] = "average"
    structure: Literal["", "volumes"] = ""

    @property
    def needs_visits(self) -> bool:
        """Whether a run is measured together with the other runs of its visit."""
        return self.visit_minutes is not None or self.combine_runs != "average"

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "AnalysisSettings":
        """Restore settings from a mapping, as `dataclasses.asdict` and JSON produce it."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in record.items()
        }
        return cls(**values)

    def measuring(self) -> "AnalysisSettings":
        """Return the settings that connectivity depends on: not `circuits` and `structure`."""
        return replace(self, circuits=(), structure="")

    def by_content(self) -> "AnalysisSettings":
        """Return the settings of measuring with files by name, wherever their folder is.

        What is in the files is compared by itself.
        """
        return replace(
            self.measuring(),
            atlases=tuple(Path(source).name for source in self.atlases),
            strategy_files=tuple(Path(file).name for file in self.strategy_files),
        )

    def digest(self) -> str:
        """Compute a hash of all fields, 12 hexadecimal digits."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class ExecutionSettings:
    """Settings of the execution, which do not change results.

    Parameters
    ----------
    work_dir : Path
        Folder for temporary files; it can be deleted at any time between runs.
    n_procs, omp_nthreads : int
        Number of parallel processes, and of threads in each process.
    mem_gb : float, optional
        Upper limit of memory for the scheduler, in GB.
    plugin_file : Path, optional
        Nipype plugin settings, YAML or JSON.
    stop_on_first_crash, write_graph, resource_monitor : bool
        Whether to stop after the first failure, write the workflow graph, and record the memory
        and time of each node, as in fMRIPrep.
    verbosity : int
        0 for warnings, 1 for progress, 2 for debugging.
    """

    work_dir: Path
    n_procs: int = 2
    omp_nthreads: int = 1
    mem_gb: float | None = None
    plugin_file: Path | None = None
    stop_on_first_crash: bool = False
    write_graph: bool = False
    resource_monitor: bool = False
    verbosity: int = 1


#: Strategy name of series and matrices that were denoised by other software.
AS_GIVEN = "as given"
