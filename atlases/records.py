"""The nouns of atlases: Region, Atlas, Circuit. Valid once made."""

from dataclasses import dataclass, field
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
        Name, unique in its atlas; columns are matched by it.
    hemisphere : {"L", "R", ""}
        Side; empty when midline or unknown.
    network : str
        Name of its large-scale network; empty when unknown.
    xyz_mm : tuple of three float, optional
        Centre in MNI space, mm.
    radius_mm : float, optional
        Radius of a sphere, mm.
    """

    index: int
    label: str
    hemisphere: str = ""
    network: str = ""
    xyz_mm: tuple[float, float, float] | None = None
    radius_mm: float | None = None


@dataclass(frozen=True, slots=True)
class Atlas:
    """Regions, and how to find them in an image.

    Parameters
    ----------
    name : str
        Value of the BIDS entity ``atlas-``: letters and digits only.
    regions : tuple of Region
        In the order of every table's columns.
    kind : {"spheres", "labels", "maps", "table"}
        Spheres around `Region.xyz_mm`; a 3D label image; 4D weight maps; or only names
        (the atlas of somebody's time series).
    space : str
        TemplateFlow name of the space; empty when unknown.
    image : Path, optional
        Label image or maps; required for these kinds.
    reference, licence : str
        How to cite it, and its terms.

    Raises
    ------
    AtlasError
        If names repeat, the name is no BIDS label, or the image is not given.
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
        seen: set[str] = set()
        again = sorted({r.label for r in self.regions if r.label in seen or seen.add(r.label)})  # type: ignore[func-returns-value]
        if again:
            raise AtlasError(
                f"atlas {self.name}: labels must be unique, these repeat: {', '.join(again[:10])}"
            )
        if self.kind in ("labels", "maps") and self.image is None:
            raise AtlasError(f"atlas {self.name}: a {self.kind} atlas needs an image")

    @property
    def labels(self) -> tuple[str, ...]:
        """Region names, in column order."""
        return tuple(region.label for region in self.regions)

    def centres_mm(self) -> npt.NDArray[np.float64]:
        """Region centres, shape (n_regions, 3), mm; NaN where unknown."""
        nan = (np.nan, np.nan, np.nan)
        return np.array([r.xyz_mm if r.xyz_mm is not None else nan for r in self.regions], float)


@dataclass(frozen=True, slots=True)
class Circuit:
    """A named circuit on one atlas: a set of edges stated beforehand.

    Parameters
    ----------
    name : str
        Key in tables, e.g. ``dlpfc_amygdala``.
    title : str
        Name for people.
    seeds : tuple of int
        Positions (not indices) of its regions in ``Atlas.regions``.
    targets : tuple of int
        Positions of the other side of a *between* circuit; empty means all pairs within `seeds`.
    direction : {"increase", "decrease", "two-sided"}
        The review's prediction of the edge change under treatment, for the report; tests are
        two-sided unless the study file fixes a direction.
    why, reference : str
        The reasoning and its DOI.
    """

    name: str
    title: str
    seeds: tuple[int, ...]
    targets: tuple[int, ...] = ()
    direction: Direction = "two-sided"
    why: str = ""
    reference: str = ""
    notes: tuple[str, ...] = field(default=())

    def edges(self, n_regions: int) -> npt.NDArray[np.intp]:
        """Positions of the circuit's edges in ``numpy.triu_indices(n_regions, 1)``, sorted."""
        if self.targets:
            pairs = {(min(a, b), max(a, b)) for a in self.seeds for b in self.targets if a != b}
        else:
            pairs = {(min(a, b), max(a, b)) for a in self.seeds for b in self.seeds if a != b}
        i, j = np.array(sorted(pairs), dtype=np.intp).reshape(-1, 2).T
        position: npt.NDArray[np.intp] = i * n_regions - i * (i + 1) // 2 + (j - i - 1)
        return position
