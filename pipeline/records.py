"""The nouns that travel between rooms: frozen, and valid once made.

Only scalars, paths and tuples of them: they may cross a Nipype edge, where anything else would be
hashed by its truncated text.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "AnalysisSettings",
    "Background",
    "ExecutionSettings",
    "InputType",
    "Plan",
    "RetainedData",
    "Run",
    "Strategy",
]

InputType = Literal["bold", "timeseries", "relmat"]
Background = Literal["all", "disjoint", "matched"]


@dataclass(frozen=True, slots=True)
class Run:
    """One functional run of one person, at one of the three doors.

    Parameters
    ----------
    participant, session : str
        Labels without ``sub-`` and ``ses-``; session is empty when the tree has none.
    task, run : str
        Values of ``task-`` and ``run-``; may be empty.
    space, res : str
        Values of ``space-`` and ``res-``; may be empty.
    input_type : {"bold", "timeseries", "relmat"}
        What `path` is: a preprocessed image, regional series, or an edge matrix.
    path : Path
        The file.
    entities : tuple of (str, str)
        All entities of the file name, in order of appearance.
    dataset : str
        Name of the data set it came from; empty for the main one.
    atlas : str
        Value of ``atlas-`` (or ``seg-``) for series and matrices.
    mask, confounds : Path, optional
        Brain mask on the grid of `path`, and confounds table, for images.
    t_r_s : float, optional
        Repetition time, s.
    """

    participant: str
    session: str
    task: str
    run: str
    space: str
    res: str
    input_type: InputType
    path: Path
    entities: tuple[tuple[str, str], ...]
    dataset: str = ""
    atlas: str = ""
    mask: Path | None = None
    confounds: Path | None = None
    t_r_s: float | None = None

    @property
    def person(self) -> str:
        """Unique key of the person over data sets: ``dataset:label``, or the label alone."""
        return f"{self.dataset}:{self.participant}" if self.dataset else self.participant


@dataclass(frozen=True, slots=True)
class Strategy:
    """A named denoising strategy, one table of ``strategies.toml``.

    Parameters
    ----------
    name : str
        Key, e.g. ``24p+acompcor``.
    load : tuple of (str, scalar or tuple)
        Arguments of `nilearn.interfaces.fmriprep.load_confounds`.
    low_pass_hz, high_pass_hz : float, optional
        Butterworth band applied to series and regressors alike.
    fd_threshold_mm : float, optional
        Volumes with a larger framewise displacement are censored.
    prose : str
        The sentence for the methods text.
    reference : str
        DOI.
    gsr : bool
        True when the global signal is among the regressors.
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
        """The name as a BIDS label: ``24p+acompcor+gsr`` becomes ``24pAcompcorGsr``."""
        first, *rest = self.name.split("+")
        return first + "".join(word.capitalize() for word in rest)


@dataclass(frozen=True, slots=True)
class RetainedData:
    """What denoising left of a run.

    Parameters
    ----------
    n_volumes : int
        Volumes in the run.
    n_dummy : int
        Non-steady-state volumes dropped at its start.
    n_censored : int
        Volumes censored for motion.
    n_retained : int
        Volumes that entered connectivity.
    minutes : float
        ``n_retained`` times the repetition time.
    n_regressors : int
        Rank of the nuisance regressors after filtering.
    residual_dof : float
        Retained volumes times the share of the spectrum kept, minus `n_regressors`.
    mean_fd_mm : float
        Mean framewise displacement over the retained volumes; NaN when unknown.
    variance_removed : float
        Share of the variance of a region's series, after detrending, filtering and censoring,
        that the regressors took: the median over regions; NaN when unknown.
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
class AnalysisSettings:
    """Everything that may change a number. Its hash goes into every sidecar and report.

    Parameters
    ----------
    atlases : tuple of str
        Names or paths, the first is the primary one.
    circuits : tuple of str
        Extra circuit files.
    strategies : tuple of str
        Denoising strategies, the first is the primary one; its ``+gsr`` twin is added as
        sensitivity.
    min_coverage : float
        Share of a region's voxels that must carry signal; below it the column is NaN.
    min_minutes : float
        Runs that retain less are excluded, and named.
    max_mean_fd_mm : float
        Runs with a larger mean framewise displacement are excluded, and named.
    dummy_scans : int, optional
        Volumes to drop at the start; None takes the non-steady-state columns.
    strategy_files : tuple of str
        Files with further denoising strategies.
    estimator : {"pearson", "partial"}
        Of edges, from series; see `circuitshift.pipeline.edges.correlation`.
    template : str
        Template that raw images are normalised to.
    slice_timing : bool
        Whether slices of raw runs are brought to one time.
    """

    atlases: tuple[str, ...] = ("seitzman300",)
    circuits: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ("24p+acompcor", "24p+acompcor+gsr")
    min_coverage: float = 0.5
    min_minutes: float = 2.0
    max_mean_fd_mm: float = 0.5
    dummy_scans: int | None = None
    strategy_files: tuple[str, ...] = ()
    estimator: Literal["pearson", "partial"] = "pearson"
    template: str = "MNI152NLin2009aSym"
    slice_timing: bool = True

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "AnalysisSettings":
        """Build from what ``asdict`` and JSON made of it."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in record.items()
        }
        return cls(**values)

    def measuring(self) -> "AnalysisSettings":
        """Return the part that the participant level depends on: all but circuits."""
        return replace(self, circuits=())

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
        """Hash of all fields, 12 hexadecimal digits."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class ExecutionSettings:
    """Everything that may change speed but no number.

    Parameters
    ----------
    work_dir : Path
        Scratch space; deleting it loses nothing.
    n_procs, omp_nthreads : int
        Parallel processes, and threads inside each.
    mem_gb : float, optional
        Upper bound that the scheduler respects.
    plugin_file : Path, optional
        Nipype plugin settings, YAML or JSON.
    stop_on_first_crash, write_graph, resource_monitor : bool
        As in fMRIPrep.
    verbosity : int
        0 warnings, 1 progress, 2 debug.
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


@dataclass(frozen=True, slots=True)
class Plan:
    """One invocation: what to analyse, how, and where it runs."""

    bids_dir: Path
    output_dir: Path
    settings: AnalysisSettings
    execution: ExecutionSettings


#: Strategy name of series and matrices that were denoised elsewhere.
AS_GIVEN = "as given"
