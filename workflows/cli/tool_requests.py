"""Frozen requests of the tools, which are all commands except the BIDS App and slurm."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from circuitshift.pipeline.bids.select_runs import Query
    from circuitshift.pipeline.validation.opendata.needed_files import FileSelection
    from circuitshift.pipeline.validation.power import PowerQuestion
    from circuitshift.workflows.plan import InputFolder

__all__ = [
    "CalibrateRequest",
    "DemoRequest",
    "FetchRequest",
    "InitRequest",
    "PoolRequest",
    "PowerRequest",
    "SimulateRequest",
    "ValidateRequest",
]


@dataclass(frozen=True, slots=True)
class InitRequest:
    """Describe a study file to write.

    Parameters
    ----------
    folders : tuple of InputFolder
        Data sets; the main data set comes first.
    query : Query
        Selection of runs.
    output : Path
        File to write; it must not exist.
    study : Path, optional
        Study file whose statements are kept.
    """

    folders: "tuple[InputFolder, ...]"
    query: "Query"
    output: Path
    study: Path | None = None


@dataclass(frozen=True, slots=True)
class SimulateRequest:
    """Describe a data set to simulate.

    Parameters
    ----------
    output_dir : Path
        Folder for the data set.
    truth : str
        Name of the planted effect.
    seed : int
        Seed of the random number generator.
    raw : bool
        Whether to simulate raw images instead of fMRIPrep derivatives.
    n_treated, n_control, n_reference : int or None
        Number of participants in each group; None for the default of this kind of data.
    layout : Path, optional
        List of file names to write small images under, instead of a simulated study.
    participants : Path, optional
        File participants.tsv to copy into the data set, together with `layout`.
    """

    output_dir: Path
    truth: str
    seed: int
    raw: bool
    n_treated: int | None
    n_control: int | None
    n_reference: int | None
    layout: Path | None = None
    participants: Path | None = None


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """Describe a simulated study to analyse.

    Parameters
    ----------
    simulation : SimulateRequest
        Study to simulate; its folder also receives the results.
    nprocs : int or None
        Number of processes; None for the number of processors.
    """

    simulation: SimulateRequest
    nprocs: int | None


@dataclass(frozen=True, slots=True)
class CalibrateRequest:
    """Describe a calibration with simulated studies or with the data of an analysed study.

    Parameters
    ----------
    bids_dir, output_dir : Path or None
        Input and output folders of the analysed study; None for simulated studies.
    study : Path or None
        Study file of the analysed study.
    table : {"truths", "hard", "large", "outside"}
        Scenarios of the simulated studies.
    studies : int
        Number of studies in each row of the table.
    n_permutations : int
        Number of permutations of each test.
    seed : int
        Seed of the random number generator.
    arms : {1, 2} or None
        With the table ``outside``, number of arms of the studies; None for both.
    rows : sequence of str
        With the table ``outside``, rows to compute; empty for all.
    series : sequence of Path
        With the table ``outside``, measured series in which effects are planted; empty for
        simulated series.
    """

    bids_dir: Path | None
    output_dir: Path | None
    study: Path | None
    table: str
    studies: int
    n_permutations: int
    seed: int
    arms: int | None = None
    rows: Sequence[str] = ()
    series: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class PowerRequest:
    """Describe a simulation of statistical power.

    Parameters
    ----------
    output_dir : Path
        Folder for the table and the figure.
    question : PowerQuestion
        Effects, arms and measurement precision.
    sizes : tuple of int
        Numbers of participants per arm.
    studies : int
        Number of simulated studies for each size.
    seed : int
        Seed of the random number generator.
    """

    output_dir: Path
    question: "PowerQuestion"
    sizes: tuple[int, ...]
    studies: int
    seed: int


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """Describe an OpenNeuro data set to download.

    Parameters
    ----------
    dataset : str
        Accession number, for example ``ds003007``.
    folder : Path
        Target folder; absolute path.
    selection : FileSelection
        Files to download.
    derivatives : tuple of (str, str) or None
        Name and URL of the repository of preprocessed images; an empty URL denotes
        OpenNeuroDerivatives. None downloads raw images.
    tag : str
        Version of the data set; empty for that of the derivative, or for the latest.
    dry_run : bool
        Whether to report the size without downloading.
    """

    dataset: str
    folder: Path
    selection: "FileSelection"
    derivatives: tuple[str, str] | None
    tag: str
    dry_run: bool


@dataclass(frozen=True, slots=True)
class ValidateRequest:
    """Describe a comparison with published results according to a recipe.

    Parameters
    ----------
    recipe : str
        Name or TOML file of the recipe; ``list`` prints the names of all recipes.
    output_dir, data, work_dir : Path or None
        Folders for the results, the data sets and temporary files; None for the defaults.
    replica : bool
        Whether to simulate small images instead of downloading the data sets.
    nprocs : int or None
        Number of processes; None for the number of processors.
    """

    recipe: str
    output_dir: Path | None
    data: Path | None
    work_dir: Path | None
    replica: bool
    nprocs: int | None


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """Describe a meta-analysis of finished analyses.

    Parameters
    ----------
    studies : tuple of (str, Path)
        Name, which may be empty, and output folder of each study.
    output_dir : Path
        Folder for the page and the tables.
    """

    studies: tuple[tuple[str, Path], ...]
    output_dir: Path
