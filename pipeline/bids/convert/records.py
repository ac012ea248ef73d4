"""Define what a conversion makes: runs and the table of their regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from circuitshift.pipeline.arrays import Floats

__all__ = ["ConvertedRegions", "ConvertedRun"]


@dataclass(frozen=True, slots=True, eq=False)
class ConvertedRegions:
    """The regions of all runs of a conversion.

    Parameters
    ----------
    labels : tuple of str
        Names.
    networks : tuple of str
        Large-scale network of each region; empty where the name does not state it.
    centres_mm : ndarray, shape (n_regions, 3)
        Centres in MNI space, mm; NaN where unknown.
    """

    labels: tuple[str, ...]
    networks: tuple[str, ...]
    centres_mm: Floats

    def taken(self, positions: Sequence[int]) -> "ConvertedRegions":
        """Return the regions at some positions."""
        return ConvertedRegions(
            tuple(self.labels[k] for k in positions),
            tuple(self.networks[k] for k in positions),
            self.centres_mm[list(positions)],
        )


@dataclass(frozen=True, slots=True, eq=False)
class ConvertedRun:
    """One run.

    Parameters
    ----------
    participant, session, run : str
        Labels; the run is empty if the visit has only one.
    group : str
        Group of the participant; may be empty.
    content : {"series", "matrix"}
        Content of `values`.
    values : ndarray, shape (n_volumes, n_regions) or (n_regions, n_regions)
        Series as given, or correlations; NaN for lost regions.
    t_r_s : float or None
        Repetition time in s.
    source : mapping
        Where the values are from: file, key and index.
    """

    participant: str
    session: str
    run: str
    group: str
    content: Literal["series", "matrix"]
    values: Floats
    t_r_s: float | None
    source: Mapping[str, object]
