"""Raw images of one participant, as preprocessing takes them."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["RawAnat", "RawBold", "RawParticipant"]


@dataclass(frozen=True, slots=True)
class RawAnat:
    """A T1-weighted image.

    Parameters
    ----------
    participant, session : str
        Labels without ``sub-`` and ``ses-``; session is empty when the tree has none.
    path : Path
    entities : tuple of (str, str)
        Of the file name, in order.
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
        Labels without ``sub-`` and ``ses-``; session is empty when the tree has none.
    task, run : str
        Values of ``task-`` and ``run-``; may be empty.
    path : Path
    entities : tuple of (str, str)
        Of the file name, in order.
    t_r_s : float
        Repetition time, s.
    grid : tuple of three int
    zooms_mm : tuple of three float
    n_volumes : int
    slice_times_s : tuple of float
        Time of each slice after the start of a volume, s, in the order of the voxel axis; empty
        when unknown.
    slice_axis : int
        Voxel axis along which slices follow each other.
    phase_encoding : str
        PhaseEncodingDirection as stated (``i``, ``j-``, ...); empty when unknown.
    notes : tuple of str
        What was converted, or will not be done.
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
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RawParticipant:
    """The raw images of a person: T1-weighted of all sessions, and the runs asked for."""

    participant: str
    anats: tuple[RawAnat, ...]
    bolds: tuple[RawBold, ...]
