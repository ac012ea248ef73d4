"""Load the default atlas: the 300 spheres of Seitzman and spheres for circuits that they lack.

The 300 spheres have no region within 27 mm of the subgenual cingulate, none in the nucleus
accumbens, and none at the target of prefrontal stimulation for depression. The spheres added here
are centred on published coordinates.
"""

from dataclasses import dataclass, replace

from circuitshift.atlases.records import Atlas, Region
from circuitshift.atlases.seitzman import load_seitzman

__all__ = ["SPHERES", "CircuitSphere", "load_default"]

_FOX = "Fox 2012, doi:10.1016/j.biopsych.2012.04.028"
_RADIUS_MM = 4.0  # the smaller of the two radii of the 300 spheres


@dataclass(frozen=True, slots=True)
class CircuitSphere:
    """A sphere at a published coordinate.

    Parameters
    ----------
    stem : str
        Name of the region without hemisphere and number.
    xyz_mm : tuple of three float
        Published centre in MNI space, in mm.
    mirrored : bool
        Whether a second sphere lies at the mirror image, of which no coordinate was published.
    bilateral : bool
        Whether the coordinate was published for both hemispheres.
    source : str
        Publication of the coordinate, and what it is there.
    """

    stem: str
    xyz_mm: tuple[float, float, float]
    source: str
    mirrored: bool = False
    bilateral: bool = False


#: Added spheres. The target of stimulation and the centres of the subgenual cingulate and the
#: dorsomedial prefrontal cortex are those of the packaged circuits.
SPHERES = (
    CircuitSphere(
        "SubgenualCingulate",
        (6.0, 16.0, -10.0),
        f"seed in the right subgenual cingulate of {_FOX}",
        mirrored=True,
    ),
    CircuitSphere(
        "Accumbens",
        (9.0, 9.0, -8.0),
        "inferior ventral striatum of Di Martino 2008, doi:10.1093/cercor/bhn041",
        bilateral=True,
    ),
    CircuitSphere(
        "DLPFC",
        (-38.0, 44.0, 26.0),
        f"optimised target of left prefrontal stimulation of {_FOX}",
        mirrored=True,
    ),
    CircuitSphere(
        "DMPFC",
        (0.0, 52.0, 26.0),
        "dorsomedial prefrontal cortex of Andrews-Hanna 2010, doi:10.1016/j.neuron.2010.02.005",
    ),
)


def load_default(space: str) -> Atlas:
    """Load the 300 spheres, in their order and with their names, followed by the added spheres.

    Added spheres are named like ``SubgenualCingulate_L_01``. The sphere of the dorsomedial
    prefrontal cortex lies on the midline, where its coordinate was published, and covers both
    hemispheres (``DMPFC_M_01``). Added spheres have no network, because the networks of the 300
    spheres were computed without them. They therefore belong to no block of the model, and the
    circuits that are defined by networks contain the same regions as on the 300 spheres.

    Parameters
    ----------
    space : str
        TemplateFlow name of the MNI space in which the coordinates are used.

    Returns
    -------
    Atlas
        Atlas of kind ``spheres`` with 307 regions.

    Raises
    ------
    AtlasError
        If nilearn's files are missing, or their numbers of rows differ.
    """
    spheres = load_seitzman(space)
    added = [region for sphere in SPHERES for region in _regions(sphere)]
    first = len(spheres.regions) + 1
    numbered = tuple(replace(region, index=first + k) for k, region in enumerate(added))
    sources = dict.fromkeys(sphere.source.rpartition(", ")[2] for sphere in SPHERES)
    return replace(
        spheres,
        name="Seitzman300Circuits",
        regions=(*spheres.regions, *numbered),
        reference="; ".join((spheres.reference, *sources)),
        licence=f"{spheres.licence}, and the publications of the added coordinates",
    )


def _regions(sphere: CircuitSphere) -> list[Region]:
    """Make the regions of a sphere: left and right, or one on the midline."""
    x, y, z = sphere.xyz_mm
    if not (sphere.mirrored or sphere.bilateral):
        return [Region(0, f"{sphere.stem}_M_01", "", "", (x, y, z), _RADIUS_MM)]
    return [
        Region(0, f"{sphere.stem}_{side}_01", side, "", (sign * abs(x), y, z), _RADIUS_MM)
        for side, sign in (("L", -1.0), ("R", 1.0))
    ]
