"""Assign the voxels of a grid to the regions of an atlas of spheres, labels or maps.

`parcellate` does this once for an atlas and a grid; `circuitshift.pipeline.measure.extract` uses
the result for each run. A voxel within several spheres is assigned to the nearest centre only,
whereas nilearn includes it in each sphere. Such voxels are counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.errors import AtlasError, ImageError
from circuitshift.pipeline.io.nifti import Header, open_image, read_header, read_image

__all__ = ["Parcellation", "check_grid", "parcellate", "region_means", "restrict"]

_Floats: TypeAlias = npt.NDArray[np.float64]
_Ints: TypeAlias = npt.NDArray[np.intp]
_Stored: TypeAlias = npt.NDArray[np.generic]
_Bools: TypeAlias = npt.NDArray[np.bool_]
_Grid: TypeAlias = tuple[int, int, int]

# Affines are stored as float32, so that equal grids may differ by less than this tolerance.
_GRID_TOLERANCE_MM = 0.05


@dataclass(frozen=True, eq=False)
class Parcellation:
    """Voxels of each region of an atlas on a grid, from `parcellate`.

    Parameters
    ----------
    atlas : Atlas
        Atlas with n_regions regions.
    affine : ndarray, shape (4, 4)
        Transformation from voxel indices of the grid to mm.
    shape : tuple of three int
        Numbers of voxels of the grid.
    voxels : ndarray, shape (n_voxels,)
        Flat positions in Fortran order of the voxels in the mask, sorted by region.
    bounds : ndarray, shape (n_regions + 1,)
        Bounds of the regions: region r contains ``voxels[bounds[r]:bounds[r + 1]]``.
    weights : ndarray, shape (n_voxels,), or None
        Weight of each of `voxels` in its region; None if all weights are 1.
    unmix : ndarray, shape (n_regions, n_regions), or None
        For maps, matrix that transforms weighted sums into least-squares amplitudes. If None, sums
        are divided by the numbers of voxels.
    expected : ndarray, shape (n_regions,)
        Number of voxels of each complete region, including those beyond the grid; for maps, the sum
        of absolute weights.
    n_voxels : ndarray, shape (n_regions,)
        Number of voxels of each region on the grid, before masking.
    n_out_of_view : ndarray, shape (n_regions,)
        Number of voxels of each region beyond the edges of the grid.
    n_overlap : int
        Number of voxels within several spheres, which were assigned to the nearest centre.
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
        """Number of voxels of each region in the mask, shape (n_regions,)."""
        return np.diff(self.bounds)


def parcellate(
    atlas: Atlas,
    affine: npt.ArrayLike,
    shape: Sequence[int],
    mask: _Bools | None,
) -> Parcellation:
    """Find the voxels of each region on the grid of a run.

    Label images and maps on another grid are resampled as by nilearn with
    ``resampling_target="data"``: labels by nearest neighbour, maps by linear interpolation. A
    sphere contains the voxels whose centre is within the radius, and the voxel nearest to the
    centre of the sphere.

    Parameters
    ----------
    atlas : Atlas
        Atlas of spheres, labels or maps.
    affine : array_like, shape (4, 4)
        Transformation from voxel indices to mm, in the space of the atlas.
    shape : sequence of three int
        Numbers of voxels of the grid.
    mask : ndarray of bool, shape `shape`, or None
        Brain mask; None for all voxels.

    Returns
    -------
    Parcellation
        Voxels of each region.

    Raises
    ------
    AtlasError
        If the atlas contains only names, does not match its image, or has no voxel on the grid.
    ImageError
        If the atlas image cannot be read, or the mask is on another grid.
    """
    grid = _Target(atlas, np.asarray(affine, np.float64), _three(shape))
    if mask is not None and mask.shape != grid.shape:
        raise ImageError(
            f"the mask has {_times(mask.shape)} voxels, but the image has {_times(grid.shape)}; "
            "specify the mask that belongs to this run"
        )
    if atlas.kind == "table":
        raise AtlasError(
            f"atlas {atlas.name}: it contains only names of regions, so that series cannot be "
            "extracted from images; specify a label image, maps or coordinates"
        )
    inside = np.ones(grid.shape, bool) if mask is None else mask
    by_kind = {"spheres": _spheres, "labels": _labels, "maps": _maps}
    parcellation = by_kind[atlas.kind](grid, inside.ravel(order="F"))
    if not parcellation.n_voxels.any():
        raise AtlasError(
            f"atlas {atlas.name}: none of its {len(atlas.regions)} regions is within the grid of "
            f"{_times(grid.shape)} voxels; check that atlas and image are in the same space"
        )
    return parcellation


def restrict(parcellation: Parcellation, mask: _Bools) -> Parcellation:
    """Remove voxels from the regions of a parcellation without changing what is expected of them.

    Parameters
    ----------
    parcellation : Parcellation
        Parcellation from `parcellate`.
    mask : ndarray of bool, shape of the grid
        Voxels that are kept.

    Returns
    -------
    Parcellation
        The same as `parcellate` returns with the intersection of its mask and `mask`.
    """
    kept = mask.ravel(order="F")[parcellation.voxels]
    if kept.all():
        return parcellation
    n_regions = len(parcellation.atlas.regions)
    regions = np.repeat(np.arange(n_regions), parcellation.n_in_mask)
    n_kept = np.bincount(regions[kept], minlength=n_regions)
    bounds = np.concatenate([[0], np.cumsum(n_kept)])
    voxels = parcellation.voxels[kept]
    weights = None if parcellation.weights is None else parcellation.weights[kept]
    unmix = None
    if weights is not None:
        members = _Members(voxels, bounds, parcellation.n_voxels, np.flatnonzero(kept))
        unmix = _unmix(members, weights, mask.size)
    return replace(parcellation, voxels=voxels, bounds=bounds, weights=weights, unmix=unmix)


def region_means(parcellation: Parcellation, values: npt.NDArray[np.floating]) -> _Floats:
    """Average an image over the voxels of each region.

    Parameters
    ----------
    parcellation : Parcellation
        Parcellation from `parcellate`.
    values : ndarray, shape (n_voxels_of_the_grid,)
        Value of each voxel, flat in Fortran order; NaN where missing.

    Returns
    -------
    ndarray, shape (n_regions,)
        Mean of the available voxels, weighted by the absolute weights of maps; NaN for regions
        without any.
    """
    n_regions = len(parcellation.atlas.regions)
    regions = np.repeat(np.arange(n_regions), parcellation.n_in_mask)
    own = np.asarray(values[parcellation.voxels], np.float64)
    weights = parcellation.weights
    weight = np.isfinite(own) * (1.0 if weights is None else np.abs(weights))
    total = np.bincount(regions, np.nan_to_num(own) * weight, minlength=n_regions)
    count = np.bincount(regions, weight, minlength=n_regions)
    mean: _Floats = np.divide(total, count, out=np.full(n_regions, np.nan), where=count > 0)
    return mean


def check_grid(header: Header, parcellation: Parcellation) -> None:
    """Raise an error if an image is not on the grid of a parcellation.

    Parameters
    ----------
    header : Header
        Header of the image.
    parcellation : Parcellation
        Parcellation from `parcellate`.

    Raises
    ------
    ImageError
        If the grids differ by more than rounding errors.
    """
    grid = _Target(parcellation.atlas, parcellation.affine, parcellation.shape)
    if not _is_same(header, grid):
        raise ImageError(
            f"{header.path}: its grid ({_describe(header.grid, header.affine)}) is not that of "
            f"the parcellation {grid.atlas.name} ({_describe(grid.shape, grid.affine)}); check "
            "that image and mask belong to the same run"
        )


@dataclass(frozen=True, eq=False)
class _Target:
    """Atlas and grid on which its regions are placed."""

    atlas: Atlas
    affine: _Floats
    shape: _Grid

    def members(self, voxels: _Ints, regions: _Ints, inside: _Bools) -> "_Members":
        """Sort the voxels of all regions by region, and drop those outside the mask."""
        n_regions = len(self.atlas.regions)
        n_voxels = np.bincount(regions, minlength=n_regions)
        in_mask = inside[voxels]
        order = np.flatnonzero(in_mask)[np.argsort(regions[in_mask], kind="stable")]
        n_in_mask = np.bincount(regions[in_mask], minlength=n_regions)
        bounds = np.concatenate([[0], np.cumsum(n_in_mask)])
        return _Members(voxels[order], bounds, n_voxels, order)


@dataclass(frozen=True, eq=False)
class _Members:
    """Voxels of all regions in the mask, sorted by region."""

    voxels: _Ints
    bounds: _Ints
    n_voxels: _Ints
    order: _Ints


def _spheres(grid: _Target, inside: _Bools) -> Parcellation:
    """Find the voxels within the radius of each centre; assign overlaps to the nearest centre."""
    lattices = [_sphere(grid, region) for region in grid.atlas.regions]
    sizes = [len(distance) for _, distance in lattices]
    regions = np.repeat(np.arange(len(lattices)), sizes)
    ijk = np.concatenate([ijk for ijk, _ in lattices])
    distance = np.concatenate([distance for _, distance in lattices])
    seen = ((ijk >= 0) & (ijk < grid.shape)).all(1)
    beyond = np.bincount(regions[~seen], minlength=len(lattices))
    flat = np.ravel_multi_index(tuple(ijk[seen].T), grid.shape, order="F")
    # Sorted by voxel, distance and region: the first entry of each voxel is its region.
    order = np.lexsort((regions[seen], distance[seen], flat))
    voxels, owner, claims = np.unique(flat[order], return_index=True, return_counts=True)
    members = grid.members(voxels, regions[seen][order][owner], inside)
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
    """Return the voxels of a sphere, also beyond the grid, and their squared distances, mm^2."""
    if region.xyz_mm is None:
        raise AtlasError(
            f"atlas {grid.atlas.name}: region {region.label} has no coordinates; add x, y and z "
            "to the table of the atlas"
        )
    radius = region.radius_mm or 0.0
    inverse = np.linalg.inv(grid.affine)
    centre = inverse[:3, :3] @ region.xyz_mm + inverse[:3, 3]
    nearest = np.round(centre).astype(np.intp)
    # The extent along a voxel axis is the radius times the norm of this row of the inverse.
    reach = np.ceil(radius * np.linalg.norm(inverse[:3, :3], axis=1)).astype(int) + 1
    steps = np.indices(2 * reach + 1).reshape(3, -1).T
    ijk = nearest - reach + steps
    offset = ijk @ grid.affine[:3, :3].T + grid.affine[:3, 3] - region.xyz_mm
    squared = (offset**2).sum(1)
    in_sphere = (squared <= radius**2) | (ijk == nearest).all(1)
    return ijk[in_sphere], squared[in_sphere]


def _labels(grid: _Target, inside: _Bools) -> Parcellation:
    """Find the voxels of each value of the label image."""
    stored, header = read_image(_image(grid.atlas))
    if header.n_volumes != 1:
        raise AtlasError(
            f"atlas {grid.atlas.name}: a label image has one volume, but {header.path} has "
            f"{header.n_volumes}; specify the atlas as maps"
        )
    source = _integer_labels(stored).reshape(header.grid, order="F")
    outside, ratio = _out_of_view(header, grid)
    beyond = _positions(grid.atlas, source[outside])
    n_beyond = np.bincount(beyond[beyond >= 0], minlength=len(grid.atlas.regions)) * ratio
    labels = source if _is_same(header, grid) else _nearest(source, header, grid)
    flat = labels.ravel(order="F")
    voxels = np.flatnonzero(flat)
    regions = _positions(grid.atlas, flat[voxels])
    members = grid.members(voxels[regions >= 0], regions[regions >= 0], inside)
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


def _integer_labels(stored: _Stored) -> _Stored:
    """Round labels to integers; values that are not finite become background."""
    if stored.dtype.kind != "f":
        return stored
    rounded: _Stored = np.rint(np.nan_to_num(stored, posinf=0, neginf=0)).astype(np.int64)
    return rounded


def _positions(atlas: Atlas, values: _Stored) -> _Ints:
    """Return the position in ``atlas.regions`` of each label value; -1 for other values."""
    indices = np.array([region.index for region in atlas.regions])
    order = np.argsort(indices)
    ranked = indices[order]
    if (np.diff(ranked) == 0).any() or (ranked == 0).any():
        raise AtlasError(
            f"atlas {atlas.name}: the indices of its label table must be unique and not 0, which "
            "is the background; correct the table"
        )
    place = np.minimum(np.searchsorted(ranked, values), ranked.size - 1)
    positions: _Ints = np.where(ranked[place] == values, order[place], -1)
    return positions


def _nearest(source: _Stored, header: Header, grid: _Target) -> _Stored:
    """Resample by nearest neighbour, slice by slice; 0 outside the source.

    The rule equals that of ``scipy.ndimage`` with order 0, which nilearn uses: halves are rounded
    up, and points beyond the centres of the outermost voxels are outside.
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
    """Find the weights of each map, and the matrix from weighted sums to amplitudes."""
    n_regions = len(grid.atlas.regions)
    header = read_header(_image(grid.atlas))
    if header.n_volumes != n_regions:
        raise AtlasError(
            f"atlas {grid.atlas.name}: it lists {n_regions} regions but {header.path} has "
            f"{header.n_volumes} maps; correct the table of the atlas"
        )
    outside, ratio = _out_of_view(header, grid)
    out = outside.ravel(order="F")
    voxels: list[_Ints] = []
    weights: list[_Floats] = []
    missed = np.zeros((n_regions, 2))
    for number, (source, resampled) in enumerate(_maps_on_grid(header, grid)):
        missed[number] = np.abs(source[out]).sum() * ratio, np.count_nonzero(source[out]) * ratio
        voxels.append(np.flatnonzero(resampled))
        weights.append(resampled[voxels[-1]])
    regions = np.repeat(np.arange(n_regions), [each.size for each in voxels])
    members = grid.members(np.concatenate(voxels), regions, inside)
    weight = np.concatenate(weights)
    in_mask = weight[members.order]
    return Parcellation(
        atlas=grid.atlas,
        affine=grid.affine,
        shape=grid.shape,
        voxels=members.voxels,
        bounds=members.bounds,
        weights=in_mask,
        unmix=_unmix(members, in_mask, inside.size),
        expected=np.bincount(regions, np.abs(weight), minlength=n_regions) + missed[:, 0],
        n_voxels=members.n_voxels,
        n_out_of_view=np.rint(missed[:, 1]).astype(np.intp),
        n_overlap=0,
    )


def _maps_on_grid(header: Header, grid: _Target) -> Iterator[tuple[_Floats, _Floats]]:
    """Yield each map on its own grid and on the target grid, flat in Fortran order."""
    same = _is_same(header, grid)
    for source in _values(header):
        map_ = source.reshape(header.grid, order="F")
        yield source, source if same else _linear(map_, header, grid)


def _values(header: Header) -> Iterator[_Floats]:
    """Yield the scaled volumes of an image, flat; values that are not finite become 0."""
    with open_image(header.path) as image:
        for volume in image:
            values: _Floats = volume.astype(np.float64) * header.slope + header.inter
            values[~np.isfinite(values)] = 0
            yield values


def _unmix(members: _Members, weights: _Floats, n_grid: int) -> _Floats:
    """Return the pseudo-inverse of the inner products of maps, shape (n_regions, n_regions).

    With weights W of shape (n_voxels, n_regions) and a volume y, the least-squares amplitudes are
    (W'W)^+ W'y, and W'y are the weighted sums.
    """
    n_regions = members.n_voxels.size
    gram = np.empty((n_regions, n_regions))
    row = np.zeros(n_grid)
    filled = np.diff(members.bounds) > 0
    for region in range(n_regions):
        own = slice(members.bounds[region], members.bounds[region + 1])
        row[members.voxels[own]] = weights[own]
        products = row[members.voxels] * weights
        gram[region] = 0
        if products.size:
            gram[region, filled] = np.add.reduceat(products, members.bounds[:-1][filled])
        row[members.voxels[own]] = 0
    return np.asarray(np.linalg.pinv(gram, rcond=1e-13, hermitian=True), np.float64)


def _linear(source: _Floats, header: Header, grid: _Target) -> _Floats:
    """Resample a map by linear interpolation; flat, 0 outside the source."""
    from scipy.ndimage import affine_transform  # noqa: PLC0415 - only for maps on other grids

    between = np.linalg.inv(header.affine) @ grid.affine
    resampled: _Floats = affine_transform(
        source, between[:3, :3], between[:3, 3], output_shape=grid.shape, order=1
    )
    return resampled.ravel(order="F")


def _out_of_view(header: Header, grid: _Target) -> tuple[_Bools, float]:
    """Find the voxels of an atlas image beyond the grid, and the ratio of voxel volumes."""
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
    """Return whether an image is on the grid within `_GRID_TOLERANCE_MM` at each corner."""
    difference = np.abs(header.affine - grid.affine)[:3] @ [*grid.shape, 1]
    return header.grid == grid.shape and float(difference.max()) < _GRID_TOLERANCE_MM


def _describe(shape: _Grid, affine: _Floats) -> str:
    """Describe number of voxels, voxel size and origin of a grid."""
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    origin = ", ".join(f"{value:g}" for value in affine[:3, 3])
    return f"{_times(shape)} voxels of {' x '.join(f'{z:g}' for z in zooms)} mm from {origin}"


def _image(atlas: Atlas) -> Path:
    """Return the path of the atlas image."""
    if atlas.image is None:  # prevented by the checks of Atlas
        raise AtlasError(f"atlas {atlas.name}: it has no image; specify a label image or maps")
    return atlas.image


def _three(shape: Sequence[int]) -> _Grid:
    """Return the three spatial sizes of a shape."""
    n_x, n_y, n_z = (int(size) for size in shape[:3])
    return n_x, n_y, n_z


def _times(sizes: Sequence[int]) -> str:
    """Write sizes as ``10x12x9``."""
    return "x".join(map(str, sizes))
