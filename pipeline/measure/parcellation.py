"""Which voxels of a grid make which region: spheres, labels and maps laid on the grid of a run.

`parcellate` finds this once for an atlas and a grid; `circuitshift.pipeline.measure.extract` then
uses it for every run. A voxel within several spheres goes to the nearest centre alone (nilearn
counts it in each); such voxels are counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.errors import AtlasError, ImageError
from circuitshift.pipeline.io.nifti import Header, open_image, read_header, read_image

__all__ = ["Parcellation", "check_grid", "parcellate"]

_Floats: TypeAlias = npt.NDArray[np.float64]
_Ints: TypeAlias = npt.NDArray[np.intp]
_Stored: TypeAlias = npt.NDArray[np.generic]
_Bools: TypeAlias = npt.NDArray[np.bool_]
_Grid: TypeAlias = tuple[int, int, int]

_SAME_GRID_MM = 0.05  # affines are stored as float32, so equal grids may differ a little


@dataclass(frozen=True, eq=False)
class Parcellation:
    """Which voxels of a grid make which region.

    Made by `parcellate`.

    Parameters
    ----------
    atlas : Atlas
        The atlas; R regions.
    affine : ndarray of shape (4, 4)
        The grid: voxel indices to mm.
    shape : tuple of three int
        The grid: its sizes.
    voxels : ndarray of shape (N,)
        Flat Fortran-order positions of the voxels in the mask, region after region.
    bounds : ndarray of shape (R + 1,)
        Region r owns ``voxels[bounds[r]:bounds[r + 1]]``.
    weights : ndarray of shape (N,) or None
        Weight of each of `voxels` in its region; None when all are 1.
    unmix : ndarray of shape (R, R) or None
        For maps: weighted sums to least-squares amplitudes. None: sums become means.
    expected : ndarray of shape (R,)
        Voxels (maps: summed absolute weights) of each whole region, in view or not.
    n_voxels : ndarray of shape (R,)
        Voxels of each region on the grid, before masking.
    n_out_of_view : ndarray of shape (R,)
        Voxels that each region would have beyond the edges of the grid.
    n_overlap : int
        Voxels that several spheres claimed; each was given to the nearest centre.
    """

    atlas: Atlas
    affine: _Floats
    shape: _Grid
    voxels: _Ints
    bounds: _Ints
    weights: _Floats | None
    unmix: _Floats | None
    expected: _Floats
    n_voxels: _Ints
    n_out_of_view: _Ints
    n_overlap: int

    @property
    def n_in_mask(self) -> _Ints:
        """Voxels of each region in the mask, shape (R,)."""
        return np.diff(self.bounds)


def parcellate(
    atlas: Atlas,
    affine: npt.ArrayLike,
    shape: Sequence[int],
    mask: _Bools | None,
) -> Parcellation:
    """Find the voxels of each region on the grid of a run.

    A label image or maps on another grid are resampled to this one as nilearn does with
    ``resampling_target="data"``: labels by nearest neighbour, maps linearly. A voxel
    belongs to a sphere if its centre is within the radius, or is the voxel nearest to the
    sphere's centre.

    Parameters
    ----------
    atlas : Atlas
        Spheres, labels or maps.
    affine : array_like of shape (4, 4)
        Voxel indices to mm, in the space of the atlas.
    shape : sequence of three int
        Sizes of the grid.
    mask : ndarray of shape `shape`, bool, or None
        Voxels that may be used; None for all.

    Returns
    -------
    Parcellation

    Raises
    ------
    AtlasError
        If the atlas holds only names, or does not fit its image, or has no voxel here.
    ImageError
        If the atlas image cannot be read, or the mask is on another grid.
    """
    grid = _Target(atlas, np.asarray(affine, np.float64), _three(shape))
    if mask is not None and mask.shape != grid.shape:
        raise ImageError(
            f"the mask has {_times(mask.shape)} voxels but the image {_times(grid.shape)}; "
            "give the mask that belongs to this run"
        )
    if atlas.kind == "table":
        raise AtlasError(
            f"atlas {atlas.name}: it has only names, so it cannot be extracted from images; give "
            "a label image, maps or coordinates"
        )
    inside = np.ones(grid.shape, bool) if mask is None else mask
    finders = {"spheres": _spheres, "labels": _labels, "maps": _maps}
    found = finders[atlas.kind](grid, inside.ravel(order="F"))
    if not found.n_voxels.any():
        raise AtlasError(
            f"atlas {atlas.name}: none of its {len(atlas.regions)} regions is within the grid of "
            f"{_times(grid.shape)} voxels; check that both are in the same space"
        )
    return found


def check_grid(header: Header, parcellation: Parcellation) -> None:
    """Refuse an image that is not on the grid of the parcellation.

    Parameters
    ----------
    header : Header
        Of the image.
    parcellation : Parcellation

    Raises
    ------
    ImageError
        If the grids differ by more than rounding.
    """
    grid = _Target(parcellation.atlas, parcellation.affine, parcellation.shape)
    if not _is_same(header, grid):
        raise ImageError(
            f"{header.path}: its grid ({_describe(header.grid, header.affine)}) is not that of "
            f"the parcellation {grid.atlas.name} ({_describe(grid.shape, grid.affine)})"
        )


@dataclass(frozen=True, eq=False)
class _Target:
    """An atlas and the grid that it is laid on."""

    atlas: Atlas
    affine: _Floats
    shape: _Grid

    def made_of(self, voxels: _Ints, regions: _Ints, inside: _Bools) -> "_Members":
        """Sort the members of all regions by region, and drop those out of the mask."""
        n_regions = len(self.atlas.regions)
        n_voxels = np.bincount(regions, minlength=n_regions)
        kept = inside[voxels]
        order = np.flatnonzero(kept)[np.argsort(regions[kept], kind="stable")]
        n_in_mask = np.bincount(regions[kept], minlength=n_regions)
        bounds = np.concatenate([[0], np.cumsum(n_in_mask)])
        return _Members(voxels[order], bounds, n_voxels, order)


@dataclass(frozen=True, eq=False)
class _Members:
    """Voxels of all regions in the mask, in the order of the regions."""

    voxels: _Ints
    bounds: _Ints
    n_voxels: _Ints
    order: _Ints


def _spheres(grid: _Target, inside: _Bools) -> Parcellation:
    """Voxels within the radius of each centre; contested ones go to the nearest centre."""
    lattices = [_sphere(grid, region) for region in grid.atlas.regions]
    sizes = [len(distance) for _, distance in lattices]
    regions = np.repeat(np.arange(len(lattices)), sizes)
    ijk = np.concatenate([ijk for ijk, _ in lattices])
    distance = np.concatenate([distance for _, distance in lattices])
    seen = ((ijk >= 0) & (ijk < grid.shape)).all(1)
    beyond = np.bincount(regions[~seen], minlength=len(lattices))
    flat = np.ravel_multi_index(tuple(ijk[seen].T), grid.shape, order="F")
    # By voxel, then distance, then region: the first of each voxel is its owner.
    order = np.lexsort((regions[seen], distance[seen], flat))
    voxels, owner, claims = np.unique(flat[order], return_index=True, return_counts=True)
    members = grid.made_of(voxels, regions[seen][order][owner], inside)
    return Parcellation(
        atlas=grid.atlas,
        affine=grid.affine,
        shape=grid.shape,
        voxels=members.voxels,
        bounds=members.bounds,
        weights=None,
        unmix=None,
        expected=(members.n_voxels + beyond).astype(np.float64),
        n_voxels=members.n_voxels,
        n_out_of_view=beyond,
        n_overlap=int((claims > 1).sum()),
    )


def _sphere(grid: _Target, region: Region) -> tuple[_Ints, _Floats]:
    """Voxels of one sphere, on the grid or beyond, and their squared distances, mm^2."""
    if region.xyz_mm is None:
        raise AtlasError(
            f"atlas {grid.atlas.name}: region {region.label} has no coordinates; give x, y, z"
        )
    radius = region.radius_mm or 0.0
    inverse = np.linalg.inv(grid.affine)
    centre = inverse[:3, :3] @ region.xyz_mm + inverse[:3, 3]
    nearest = np.round(centre).astype(np.intp)
    # A sphere's extent along a voxel axis is the radius times the norm of that row of the inverse.
    reach = np.ceil(radius * np.linalg.norm(inverse[:3, :3], axis=1)).astype(int) + 1
    steps = np.indices(2 * reach + 1).reshape(3, -1).T
    ijk = nearest - reach + steps
    apart = ijk @ grid.affine[:3, :3].T + grid.affine[:3, 3] - region.xyz_mm
    squared = (apart**2).sum(1)
    kept = (squared <= radius**2) | (ijk == nearest).all(1)
    return ijk[kept], squared[kept]


def _labels(grid: _Target, inside: _Bools) -> Parcellation:
    """Voxels of each value of the label image."""
    stored, header = read_image(_image(grid.atlas))
    if header.n_volumes != 1:
        raise AtlasError(
            f"atlas {grid.atlas.name}: a label image has one volume, {header.path} has "
            f"{header.n_volumes}; give it as maps"
        )
    source = _complete(stored).reshape(header.grid, order="F")
    outside, ratio = _out_of_view(header, grid)
    beyond = _positions(grid.atlas, source[outside])
    n_beyond = np.bincount(beyond[beyond >= 0], minlength=len(grid.atlas.regions)) * ratio
    here = source if _is_same(header, grid) else _nearest(source, header, grid)
    flat = here.ravel(order="F")
    voxels = np.flatnonzero(flat)
    regions = _positions(grid.atlas, flat[voxels])
    members = grid.made_of(voxels[regions >= 0], regions[regions >= 0], inside)
    return Parcellation(
        atlas=grid.atlas,
        affine=grid.affine,
        shape=grid.shape,
        voxels=members.voxels,
        bounds=members.bounds,
        weights=None,
        unmix=None,
        expected=members.n_voxels + np.rint(n_beyond),
        n_voxels=members.n_voxels,
        n_out_of_view=np.rint(n_beyond).astype(np.intp),
        n_overlap=0,
    )


def _complete(stored: _Stored) -> _Stored:
    """Labels as whole numbers; what is not finite is background."""
    if stored.dtype.kind != "f":
        return stored
    whole: _Stored = np.rint(np.nan_to_num(stored, posinf=0, neginf=0)).astype(np.int64)
    return whole


def _positions(atlas: Atlas, values: _Stored) -> _Ints:
    """Position in ``atlas.regions`` of each label value; -1 for values that it does not list."""
    indices = np.array([region.index for region in atlas.regions])
    order = np.argsort(indices)
    ranked = indices[order]
    if (np.diff(ranked) == 0).any() or (ranked == 0).any():
        raise AtlasError(
            f"atlas {atlas.name}: the indices of its label table must differ from each other and "
            "from 0, the background"
        )
    place = np.minimum(np.searchsorted(ranked, values), ranked.size - 1)
    positions: _Ints = np.where(ranked[place] == values, order[place], -1)
    return positions


def _nearest(source: _Stored, header: Header, grid: _Target) -> _Stored:
    """Resample by nearest neighbour, slice by slice; 0 out of the source.

    The rule is that of ``scipy.ndimage`` at order 0, which nilearn uses: halves are rounded up,
    and a point beyond the centres of the outermost voxels is outside.
    """
    between = np.linalg.inv(header.affine) @ grid.affine
    i, j = np.ogrid[: grid.shape[0], : grid.shape[1]]
    last = np.array(header.grid) - 1
    out = np.zeros(grid.shape, source.dtype, order="F")
    for k in range(grid.shape[2]):
        points = [b[3] + b[0] * i + b[1] * j + b[2] * k for b in between[:3]]
        within = np.logical_and.reduce(
            [(p >= -1e-6) & (p <= end + 1e-6) for p, end in zip(points, last, strict=True)]
        )
        nearest = tuple(np.floor(p[within] + 0.5).astype(np.intp) for p in points)
        out[:, :, k][within] = source[nearest]
    return out


def _maps(grid: _Target, inside: _Bools) -> Parcellation:
    """Weights of each map, and the matrix that turns weighted sums into least squares."""
    n_regions = len(grid.atlas.regions)
    header = read_header(_image(grid.atlas))
    if header.n_volumes != n_regions:
        raise AtlasError(
            f"atlas {grid.atlas.name}: it lists {n_regions} regions but {header.path} has "
            f"{header.n_volumes} maps"
        )
    outside, ratio = _out_of_view(header, grid)
    out = outside.ravel(order="F")
    voxels: list[_Ints] = []
    weights: list[_Floats] = []
    missed = np.zeros((n_regions, 2))
    for number, (whole, here) in enumerate(_maps_here(header, grid)):
        missed[number] = np.abs(whole[out]).sum() * ratio, np.count_nonzero(whole[out]) * ratio
        voxels.append(np.flatnonzero(here))
        weights.append(here[voxels[-1]])
    regions = np.repeat(np.arange(n_regions), [each.size for each in voxels])
    members = grid.made_of(np.concatenate(voxels), regions, inside)
    weight = np.concatenate(weights)
    kept = weight[members.order]
    return Parcellation(
        atlas=grid.atlas,
        affine=grid.affine,
        shape=grid.shape,
        voxels=members.voxels,
        bounds=members.bounds,
        weights=kept,
        unmix=_unmix(members, kept, inside.size),
        expected=np.bincount(regions, np.abs(weight), minlength=n_regions) + missed[:, 0],
        n_voxels=members.n_voxels,
        n_out_of_view=np.rint(missed[:, 1]).astype(np.intp),
        n_overlap=0,
    )


def _maps_here(header: Header, grid: _Target) -> Iterator[tuple[_Floats, _Floats]]:
    """Yield each map on its own grid and on ours, flat in Fortran order."""
    same = _is_same(header, grid)
    for whole in _values(header):
        yield whole, whole if same else _linear(whole.reshape(header.grid, order="F"), header, grid)


def _values(header: Header) -> Iterator[_Floats]:
    """Yield the scaled volumes of an image, flat; what is not finite is 0."""
    with open_image(header.path) as image:
        for volume in image:
            values: _Floats = volume.astype(np.float64) * header.slope + header.inter
            values[~np.isfinite(values)] = 0
            yield values


def _unmix(members: _Members, weights: _Floats, n_grid: int) -> _Floats:
    """Pseudo-inverse of the inner products of the maps, shape (R, R).

    With weights W (voxels x R), least squares is (W'W)^+ W'y; W'y are the weighted sums.
    """
    n_regions = members.n_voxels.size
    gram = np.empty((n_regions, n_regions))
    row = np.zeros(n_grid)
    filled = np.diff(members.bounds) > 0
    for region in range(n_regions):
        mine = slice(members.bounds[region], members.bounds[region + 1])
        row[members.voxels[mine]] = weights[mine]
        products = row[members.voxels] * weights
        gram[region] = 0
        if products.size:
            gram[region, filled] = np.add.reduceat(products, members.bounds[:-1][filled])
        row[members.voxels[mine]] = 0
    return np.asarray(np.linalg.pinv(gram, rcond=1e-13, hermitian=True), np.float64)


def _linear(source: _Floats, header: Header, grid: _Target) -> _Floats:
    """Resample a map linearly; flat, 0 out of the source."""
    from scipy.ndimage import affine_transform  # noqa: PLC0415 - only for maps on other grids

    between = np.linalg.inv(header.affine) @ grid.affine
    here: _Floats = affine_transform(
        source, between[:3, :3], between[:3, 3], output_shape=grid.shape, order=1
    )
    return here.ravel(order="F")


def _out_of_view(header: Header, grid: _Target) -> tuple[_Bools, float]:
    """Which voxels of an atlas image lie beyond the grid, and how many voxels there each makes."""
    outside = np.zeros(header.grid, bool, order="F")
    if _is_same(header, grid):
        return outside, 1.0
    between = np.linalg.inv(grid.affine) @ header.affine
    i, j = np.ogrid[: header.grid[0], : header.grid[1]]
    for k in range(header.grid[2]):
        for b, size in zip(between[:3], grid.shape, strict=True):
            point = b[3] + b[0] * i + b[1] * j + b[2] * k
            outside[:, :, k] |= (point < -0.5) | (point > size - 0.5)
    return outside, float(abs(np.linalg.det(between[:3, :3])))


def _is_same(header: Header, grid: _Target) -> bool:
    """Tell whether an image is on the grid, to within `_SAME_GRID_MM` at every corner."""
    apart = np.abs(header.affine - grid.affine)[:3] @ [*grid.shape, 1]
    return header.grid == grid.shape and float(apart.max()) < _SAME_GRID_MM


def _describe(shape: _Grid, affine: _Floats) -> str:
    """Say sizes, voxel sizes and origin of a grid."""
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    origin = ", ".join(f"{value:g}" for value in affine[:3, 3])
    return f"{_times(shape)} voxels of {' x '.join(f'{z:g}' for z in zooms)} mm from {origin}"


def _image(atlas: Atlas) -> Path:
    """Path of the atlas image."""
    if atlas.image is None:  # Atlas refuses this when made
        raise AtlasError(f"atlas {atlas.name}: it has no image")
    return atlas.image


def _three(shape: Sequence[int]) -> _Grid:
    """Spatial sizes of an image's shape."""
    n_x, n_y, n_z = (int(size) for size in shape[:3])
    return n_x, n_y, n_z


def _times(sizes: Sequence[int]) -> str:
    """Write sizes as ``10x12x9``."""
    return "x".join(map(str, sizes))
