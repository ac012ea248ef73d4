"""What the tools beside the BIDS App are asked for, as frozen records."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from circuitshift.pipeline.validation.opendata.needed_files import FileSelection
    from circuitshift.pipeline.validation.power import PowerQuestion

__all__ = [
    "CalibrateRequest",
    "DemoRequest",
    "FetchRequest",
    "PowerRequest",
    "SimulateRequest",
    "ValidateRequest",
]


@dataclass(frozen=True, slots=True)
class SimulateRequest:
    """A data set to be simulated.

    Parameters
    ----------
    output_dir : Path
    truth : str
        Name of the planted truth.
    seed : int
    raw : bool
        Whether raw images are simulated.
    n_treated, n_control, n_reference : int, optional
        Participants; None for the default of the kind of data.
    layout, participants : Path, optional
        List of files to be written instead, and a participants.tsv beside them.
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
    """A simulated study to be analysed.

    Parameters
    ----------
    simulation : SimulateRequest
        Its folder receives the data and the results.
    nprocs : int, optional
        Processes; None for all processors.
    """

    simulation: SimulateRequest
    nprocs: int | None


@dataclass(frozen=True, slots=True)
class CalibrateRequest:
    """Studies to be simulated with known truths, or labels of an own study to be exchanged.

    Parameters
    ----------
    bids_dir, output_dir, study : Path, optional
        An analysed study and its study file; None for simulated studies.
    table : {"truths", "hard", "large"}
        Scenarios.
    studies, n_permutations, seed : int
        Studies per row, permutations of each test, and seed.
    """

    bids_dir: Path | None
    output_dir: Path | None
    study: Path | None
    table: str
    studies: int
    n_permutations: int
    seed: int


@dataclass(frozen=True, slots=True)
class PowerRequest:
    """Sizes of studies whose power is to be simulated.

    Parameters
    ----------
    output_dir : Path
    question : PowerQuestion
        Effects, arms and precision.
    sizes : tuple of int
        Participants per arm.
    studies, seed : int
        Studies per size, and seed.
    """

    output_dir: Path
    question: "PowerQuestion"
    sizes: tuple[int, ...]
    studies: int
    seed: int


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """A data set of OpenNeuro to be fetched.

    Parameters
    ----------
    dataset : str
        Accession number.
    folder : Path
        Where it goes, absolute.
    selection : FileSelection
        Which files.
    derivatives : tuple of (str, str), optional
        Name and address of preprocessed images; the address may be empty.
    tag : str
        Version; may be empty.
    dry_run : bool
    """

    dataset: str
    folder: Path
    selection: "FileSelection"
    derivatives: tuple[str, str] | None
    tag: str
    dry_run: bool


@dataclass(frozen=True, slots=True)
class ValidateRequest:
    """A recipe to be repeated on published data.

    Parameters
    ----------
    recipe : str
        Name or file; ``list`` lists all.
    output_dir, data, work_dir : Path, optional
        None for the folders of the recipe.
    replica : bool
        Whether small images are simulated instead.
    nprocs : int, optional
        Processes; None for all processors.
    """

    recipe: str
    output_dir: Path | None
    data: Path | None
    work_dir: Path | None
    replica: bool
    nprocs: int | None
