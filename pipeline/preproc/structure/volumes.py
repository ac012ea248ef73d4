"""Volumes of regions in each session: labels of the template, propagated once, times Jacobians."""

import re

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.images import read

__all__ = ["check_atlas", "is_deep_grey", "region_sums", "regions_at"]

_Ints = npt.NDArray[np.intp]

#: Names of nuclei whose T1-weighted contrast is too close to that of white matter.
_DEEP = re.compile(
    r"thalam|caudate|putamen|pallid|accumbens|striatum|basal.?ganglia|brain.?stem|nigra|amygdal|"
    r"(?<!para)(?<!para[ _-])hippocamp|subcort|"
    r"(?<![a-z])(?:[ap]?tha|nac|gp|put|cau|hip|amy)(?![a-z])",  # of the atlas of Tian
    re.IGNORECASE,
)


def is_deep_grey(name: str) -> bool:
    """Return whether a region is deep grey matter, of which only the volume is measured.

    Tissue segmentation from T1-weighted intensity assigns most of the pallidum, and much of
    thalamus and brainstem, to white matter.

    Parameters
    ----------
    name : str
        Name of the region, which may be followed by that of its network.

    Returns
    -------
    bool
        Whether the name is that of a subcortical nucleus, hippocampus, amygdala or brainstem.
    """
    return _DEEP.search(name) is not None


def check_atlas(atlas: Atlas) -> None:
    """Raise an error if the volumes of an atlas cannot be measured.

    Parameters
    ----------
    atlas : Atlas
        Atlas in the space of the template.

    Raises
    ------
    InputError
        If the atlas has neither a label image nor spheres, or if a sphere has no centre or radius.
    """
    if atlas.kind not in ("labels", "spheres"):
        raise InputError(
            f"atlas {atlas.name}: volumes cannot be measured with an atlas of kind {atlas.kind}; "
            "name an atlas of labels or spheres with --atlas, or omit --structure"
        )
    if atlas.kind == "spheres":
        for region in atlas.regions:
            if region.xyz_mm is None or region.radius_mm is None:
                raise InputError(
                    f"atlas {atlas.name}: region {region.label} has no centre or radius; add both "
                    "to the table of the atlas"
                )


def regions_at(atlas: Atlas, points: Floats) -> _Ints:
    """Find the region of each point of the template.

    Parameters
    ----------
    atlas : Atlas
        Atlas of kind ``labels`` or ``spheres`` in the space of the template.
    points : ndarray, shape (n, 3)
        Points of the template, mm.

    Returns
    -------
    ndarray of int, shape (n,)
        Position in ``atlas.regions``; -1 outside all regions. A point in several spheres belongs to
        the nearest centre.

    Raises
    ------
    InputError
        If the atlas is of another kind, or if a sphere has no centre or radius.
    """
    check_atlas(atlas)
    if atlas.image is None:
        return _spheres_at(atlas, points)
    values = np.rint(read(atlas.image).at(points, order=0)).astype(np.intp)
    out = np.full(len(points), -1, np.intp)
    for position, region in enumerate(atlas.regions):
        out[values == region.index] = position
    return out


def _spheres_at(atlas: Atlas, points: Floats) -> _Ints:
    out = np.full(len(points), -1, np.intp)
    nearest = np.full(len(points), np.inf)
    tree = cKDTree(points)
    for position, region in enumerate(atlas.regions):
        assert region.xyz_mm is not None and region.radius_mm is not None  # noqa: S101, PT018 - check_atlas
        own = np.array(tree.query_ball_point(region.xyz_mm, region.radius_mm), np.intp)
        distance = ((points[own] - region.xyz_mm) ** 2).sum(axis=1)
        closer = distance < nearest[own]
        out[own[closer]], nearest[own[closer]] = position, distance[closer]
    return out


def region_sums(regions: _Ints, n_regions: int, values: Floats) -> Floats:
    """Sum a value over the points of each region.

    Parameters
    ----------
    regions : ndarray of int, shape (n,)
        Region of each point; see `regions_at`.
    n_regions : int
        Number of regions.
    values : ndarray, shape (n,)
        Value of each point, such as its volume in a session, mm^3.

    Returns
    -------
    ndarray, shape (n_regions,)
        Sums; NaN for regions without points.
    """
    inside = regions >= 0
    sums = np.bincount(regions[inside], weights=values[inside], minlength=n_regions)
    count = np.bincount(regions[inside], minlength=n_regions)
    return np.where(count > 0, sums, np.nan)
