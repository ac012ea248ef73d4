"""Records of the raw images of one participant, the input of preprocessing."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["RawAnat", "RawBold", "RawParticipant"]


@dataclass(frozen=True, slots=True)
class RawAnat:
    """A T1-weighted image.

    Parameters
    ----------
    participant, session : str
        Labels without ``sub-`` and ``ses-``; the session is empty in data sets without sessions.
    path : Path
        The image.
    entities : tuple of (str, str)
        Entities of the file name, in order of appearance.
    """

    participant: str
    session: str
    path: Path
    entities: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RawBold:
    """A functional run.

    Parameters
    ----------
    participant, session : str
        Labels without ``sub-`` and ``ses-``; the session is empty in data sets without sessions.
    task, run : str
        Values of ``task-`` and ``run-``; may be empty.
    path : Path
        The image.
    entities : tuple of (str, str)
        Entities of the file name, in order of appearance.
    t_r_s : float
        Repetition time in s.
    grid : tuple of three int
        Number of voxels along the spatial axes.
    zooms_mm : tuple of three float
        Voxel sizes in mm.
    n_volumes : int
        Number of volumes.
    slice_times_s : tuple of float
        Acquisition time of each slice in s, relative to the start of the volume and in the order
        of the voxel axis; empty where it is unknown.
    slice_axis : int
        Voxel axis along which the slices were acquired.
    phase_encoding : str
        PhaseEncodingDirection of the sidecar (``i``, ``j-``, ...); empty where it is unknown.
    sbref : tuple of Path
        Single-band reference of the run; empty if there is none.
    notes : tuple of str
        Conversions that were made, corrections that are not possible, and images that are not
        used.
    """

    participant: str
    session: str
    task: str
    run: str
    path: Path
    entities: tuple[tuple[str, str], ...]
    t_r_s: float
    grid: tuple[int, int, int]
    zooms_mm: tuple[float, float, float]
    n_volumes: int = 0
    slice_times_s: tuple[float, ...] = ()
    slice_axis: int = 2
    phase_encoding: str = ""
    sbref: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RawParticipant:
    """The raw images of a participant: T1-weighted images of all sessions, and requested runs."""

    participant: str
    anats: tuple[RawAnat, ...]
    bolds: tuple[RawBold, ...]
