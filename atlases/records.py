"""Records of atlases and circuits: Region, Atlas and Circuit.

The records are immutable and are validated when they are created.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.errors import AtlasError

__all__ = ["Atlas", "AtlasKind", "Circuit", "Direction", "Region"]

AtlasKind = Literal["spheres", "labels", "maps", "table"]
Direction = Literal["increase", "decrease", "two-sided"]


@dataclass(frozen=True, slots=True)
class Region:
    """One region of an atlas.

    Parameters
    ----------
    index : int
        Value in the label image, or 1-based row for spheres, maps and tables.
    label : str
        Name, unique within the atlas. Columns of time series are matched by it.
    hemisphere : {"L", "R", ""}
        Hemisphere; empty for midline regions and where it is unknown.
    network : str
        Name of the large-scale network; empty where it is unknown.
    xyz_mm : tuple of three float, optional
        Centre in MNI space, in mm.
    radius_mm : float, optional
        Radius in mm, for spheres only.
    """

    index: int
    label: str
    hemisphere: str = ""
    network: str = ""
    xyz_mm: tuple[float, float, float] | None = None
    radius_mm: float | None = None


@dataclass(frozen=True, slots=True)
class Atlas:
    """A set of regions and how they are located in an image.

    Parameters
    ----------
    name : str
        Value of the BIDS entity ``atlas-``, which may contain letters and digits only.
    regions : tuple of Region
        Regions in the column order of all tables.
    kind : {"spheres", "labels", "maps", "table"}
        ``spheres`` around `Region.xyz_mm`, a 3D ``labels`` image, 4D weight ``maps``, or a
        ``table`` of names only, for time series that other software extracted.
    space : str
        TemplateFlow name of the space; empty where it is unknown.
    image : Path, optional
        Label image or maps; required for these two kinds.
    reference, licence : str
        How to cite the atlas, and its terms of use.

    Raises
    ------
    AtlasError
        If labels repeat, the name is not a BIDS label, or a required image is missing.
    """

    name: str
    regions: tuple[Region, ...]
    kind: AtlasKind
    space: str = ""
    image: Path | None = None
    reference: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if not self.name.isalnum():
            raise AtlasError(f"atlas name {self.name!r}: use letters and digits only")
        if not self.regions:
            raise AtlasError(f"atlas {self.name}: it has no regions; check its label table")
        counts = Counter(region.label for region in self.regions)
        repeated = sorted(label for label, count in counts.items() if count > 1)
        if repeated:
            raise AtlasError(
                f"atlas {self.name}: labels must be unique; rename the repeated labels "
                f"{', '.join(repeated[:10])}"
            )
        if self.kind in ("labels", "maps") and self.image is None:
            raise AtlasError(f"atlas {self.name}: an atlas of kind {self.kind} needs an image")

    @property
    def labels(self) -> tuple[str, ...]:
        """Region names in column order."""
        return tuple(region.label for region in self.regions)

    def centres_mm(self) -> npt.NDArray[np.float64]:
        """Return the region centres in mm, shape (n_regions, 3), with NaN where unknown."""
        nan = (np.nan, np.nan, np.nan)
        return np.array([r.xyz_mm if r.xyz_mm is not None else nan for r in self.regions], float)


@dataclass(frozen=True, slots=True)
class Circuit:
    """A named circuit on one atlas: a set of edges defined before the analysis.

    Parameters
    ----------
    name : str
        Key in tables, for example ``dlpfc_amygdala``.
    title : str
        Name shown in reports.
    seeds : tuple of int
        Positions in `Atlas.regions` (not label values) of the first side.
    targets : tuple of int
        Positions of the second side, for a circuit *between* two sets of regions. If empty, the
        circuit contains all pairs *within* `seeds`.
    direction : {"increase", "decrease", "two-sided"}
        Change of the edges under treatment that the literature predicts. It is shown in reports;
        tests are two-sided unless the study file fixes a direction.
    why, reference : str
        Rationale of the prediction, and its citation with DOI.
    notes : tuple of str
        How the regions were found where this was not by network label, for example by
        coordinates or as a substitute for a structure that the atlas lacks.
    """

    name: str
    title: str
    seeds: tuple[int, ...]
    targets: tuple[int, ...] = ()
    direction: Direction = "two-sided"
    why: str = ""
    reference: str = ""
    notes: tuple[str, ...] = ()

    def edges(self, n_regions: int) -> npt.NDArray[np.intp]:
        """Return the positions of the circuit's edges in the upper triangle, sorted.

        Parameters
        ----------
        n_regions : int
            Number of regions of the atlas.

        Returns
        -------
        ndarray of int, shape (n_circuit_edges,)
            Positions within ``numpy.triu_indices(n_regions, 1)``.
        """
        if self.targets:
            pairs = {(min(a, b), max(a, b)) for a in self.seeds for b in self.targets if a != b}
        else:
            pairs = {(min(a, b), max(a, b)) for a in self.seeds for b in self.seeds if a != b}
        i, j = np.array(sorted(pairs), dtype=np.intp).reshape(-1, 2).T
        position: npt.NDArray[np.intp] = i * n_regions - i * (i + 1) // 2 + (j - i - 1)
        return position
