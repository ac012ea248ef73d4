"""Extract regional time series of a run in one pass over its compressed image.

`circuitshift.pipeline.measure.parcellation.parcellate` assigns voxels to regions, once per atlas
and grid. `extract` reads a run volume by volume and retains only the regional means. All atlases
share one pass, and memory contains one volume at a time, never the 4D array. Denoising is linear
and is therefore applied to the means afterwards (`circuitshift.pipeline.measure.denoise`).

The values equal those of nilearn's maskers for labels, maps and spheres with the same mask, with
two exceptions: a voxel within several spheres is assigned to the nearest centre only, and a voxel
that is not finite is omitted from the mean of its region, whereas nilearn replaces it by 0. Such
voxels are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io.images import relative_signal
from circuitshift.pipeline.io.nifti import Header, open_image, read_image
from circuitshift.pipeline.measure.parcellation import Parcellation, check_grid, parcellate

__all__ = [
    "Extraction",
    "Follower",
    "Parcellation",
    "extract",
    "parcellate",
    "read_mask",
    "signal_level",
]

_Floats: TypeAlias = npt.NDArray[np.float64]
_Ints: TypeAlias = npt.NDArray[np.intp]
_Stored: TypeAlias = npt.NDArray[np.generic]
_Bools: TypeAlias = npt.NDArray[np.bool_]

_SIGNAL_VOLUMES = 10  # from which the signal of voxels is computed


@dataclass(frozen=True, eq=False)
class Extraction:
    """Regional series of one run.

    Parameters
    ----------
    series : tuple of ndarray, shape (n_volumes, n_regions)
        For each parcellation, the mean of each region, or the amplitude of each map; NaN for a
        region without a voxel in the mask.
    coverage : tuple of ndarray, shape (n_regions,)
        For each parcellation, the share of the expected voxels of each region that are among its
        voxels and have signal, which means finite values that change over time.
    header : Header
        Header of the image.
    """

    series: tuple[_Floats, ...]
    coverage: tuple[_Floats, ...]
    header: Header

    @property
    def n_volumes(self) -> int:
        """Number of volumes."""
        return self.header.n_volumes

    @property
    def t_r_s(self) -> float | None:
        """Repetition time according to the header, s."""
        return self.header.t_r_s


def read_mask(path: Path) -> tuple[_Bools, Header]:
    """Read a brain mask, which contains the voxels with finite values other than zero.

    Parameters
    ----------
    path : Path
        Image with three dimensions, or with four dimensions and one volume.

    Returns
    -------
    mask : ndarray of bool, shape (nx, ny, nz)
        True for voxels in the mask.
    header : Header
        Header of the image.

    Raises
    ------
    ImageError
        If the image cannot be read, has several volumes, or is zero everywhere.
    """
    values, header = read_image(path)
    if header.n_volumes != 1:
        raise ImageError(
            f"{path}: a mask has one volume, but this image has {header.n_volumes}; replace it by "
            "the brain mask of the run"
        )
    mask = (np.isfinite(values) & (values != 0)).reshape(header.grid, order="F")
    if not mask.any():
        raise ImageError(
            f"{path}: the mask is empty, because no voxel is above zero; replace it by the brain "
            "mask of the run"
        )
    return mask, header


def signal_level(path: Path, mask: _Bools, *, n_dummy: int = 0) -> npt.NDArray[np.float64] | None:
    """Compute the mean signal of each voxel relative to the brain, from the first steady volumes.

    The level decides which voxels are averaged, so that it must be known before the pass over the
    run. The first ten volumes of the steady state are sufficient: with a temporal signal-to-noise
    ratio of 10, their mean has a standard error of 3 %.

    Parameters
    ----------
    path : Path
        Image with four dimensions.
    mask : ndarray of bool, shape (nx, ny, nz)
        Brain mask.
    n_dummy : int
        Number of volumes before the steady state.

    Returns
    -------
    ndarray, shape (n_voxels_of_the_grid,), or None
        See `circuitshift.pipeline.io.images.relative_signal`; flat in Fortran order. None
        also if the image is on another grid or has no time series, which `extract` reports.

    Raises
    ------
    ImageError
        If the image cannot be read.
    """
    total, n_used = np.zeros(mask.size), 0
    with open_image(path) as image:
        header = image.header
        if header.grid != mask.shape or header.n_volumes < 2:
            return None
        first = min(n_dummy, header.n_volumes - 2)
        for volume in islice(image, first, first + _SIGNAL_VOLUMES):
            total += volume.astype(np.float64)
            n_used += 1
    mean = header.slope * (total / n_used) + header.inter
    return relative_signal(mean, mask.ravel(order="F"))


class Follower(Protocol):
    """Object that receives each volume of a run once, in temporal order."""

    def add(self, number: int, volume: _Stored) -> None:
        """Receive one volume.

        Parameters
        ----------
        number : int
            Index of the volume.
        volume : ndarray, shape (n_voxels,)
            Stored values, flat in Fortran order, without scaling. The array is reused for the next
            volume and must be copied if it is retained.
        """


def extract(
    path: Path, parcellations: Sequence[Parcellation], *, followers: Sequence[Follower] = ()
) -> Extraction:
    """Extract the regional series of a run for any number of parcellations in one pass.

    Parameters
    ----------
    path : Path
        Image with four dimensions, see `circuitshift.pipeline.io.nifti.open_image`.
    parcellations : sequence of Parcellation
        Parcellations on the grid of the image.
    followers : sequence of Follower
        Further objects that receive each volume.

    Returns
    -------
    Extraction
        Series and coverage of each parcellation.

    Raises
    ------
    ImageError
        If the image cannot be read completely, has one volume only, or is on another grid.
    """
    with open_image(path) as image:
        header = image.header
        if header.n_volumes < 2:
            raise ImageError(
                f"{path}: the image has one volume and therefore no time series; check that it is "
                "the complete functional run"
            )
        for parcellation in parcellations:
            check_grid(header, parcellation)
        sums = [_RegionSums(parcellation, header) for parcellation in parcellations]
        for number, volume in enumerate(image):
            for each in (*sums, *followers):
                each.add(number, volume)
    return Extraction(
        series=tuple(each.series() for each in sums),
        coverage=tuple(each.coverage() for each in sums),
        header=header,
    )


class _RegionSums:
    """Regional sums of the volumes of one run for one parcellation."""

    def __init__(self, parcellation: Parcellation, header: Header) -> None:
        self._parcels, self._header = parcellation, header
        n_voxels, n_regions = parcellation.voxels.size, len(parcellation.atlas.regions)
        self._filled = parcellation.n_in_mask > 0
        self._starts = parcellation.bounds[:-1][self._filled]
        ones = np.ones(n_voxels)
        self._weight = self._reduce(ones if parcellation.weights is None else parcellation.weights)
        self._sums = np.full((header.n_volumes, n_regions), np.nan)
        self._stored = np.empty(n_voxels, header.dtype)
        self._values = np.empty(n_voxels)
        self._first: _Stored | None = None
        self._constant: _Ints = np.arange(n_voxels)
        self._broken = np.zeros(n_voxels, bool)

    def add(self, number: int, volume: _Stored) -> None:
        """Add the regional sums of one volume, which is flat and without scaling."""
        # mode="clip" avoids the copy of `out` that "raise" makes; all positions are valid
        np.take(volume, self._parcels.voxels, out=self._stored, mode="clip")
        self._update_constant()
        np.copyto(self._values, self._stored, casting="unsafe")
        with np.errstate(invalid="ignore"):  # infinities of both signs are handled below
            sums = self._weighted(self._values)
        if not np.isfinite(sums).all():
            sums = self._without_broken()
        self._sums[number, self._filled] = sums

    def series(self) -> _Floats:
        """Return means of regions or amplitudes of maps, shape (n_volumes, n_regions)."""
        totals = self._header.slope * self._sums
        totals[:, self._filled] += self._header.inter * self._weight
        if self._parcels.unmix is None:
            totals[:, self._filled] /= self._weight
            return totals
        return _amplitudes(totals, self._parcels.unmix, self._filled)

    def coverage(self) -> _Floats:
        """Return the share of each region that is in the mask and has signal, (n_regions,)."""
        weights = self._parcels.weights
        live = np.ones(self._broken.size) if weights is None else np.abs(weights)
        live[self._constant] = 0
        live[self._broken] = 0
        covered = np.zeros(self._filled.size)
        covered[self._filled] = self._reduce(live)
        expected = self._parcels.expected
        return np.divide(covered, expected, out=np.zeros_like(covered), where=expected > 0)

    def _update_constant(self) -> None:
        """Remove voxels that differ from the first volume from the list of constant voxels.

        The list is short after a few volumes, so that the cost is negligible.
        """
        if self._first is None:
            self._first = self._stored.copy()
            return
        candidates = self._constant
        self._constant = candidates[self._stored[candidates] == self._first[candidates]]

    def _reduce(self, values: _Floats) -> _Floats:
        """Sum over the voxels of each region that has voxels in the mask."""
        if not self._starts.size:
            return np.empty(0)
        sums: _Floats = np.add.reduceat(values, self._starts)
        return sums

    def _weighted(self, values: _Floats) -> _Floats:
        """Sum with the weights of the parcellation."""
        weights = self._parcels.weights
        return self._reduce(values if weights is None else values * weights)

    def _without_broken(self) -> _Floats:
        """Sum over the finite voxels and rescale to the number of voxels of the region.

        Sums of maps are not rescaled, so that voxels that are not finite count as 0.
        """
        broken = ~np.isfinite(self._values)
        self._broken |= broken
        self._values[broken] = 0
        sums = self._weighted(self._values)
        if self._parcels.unmix is not None:
            return sums
        with np.errstate(invalid="ignore"):  # 0 / 0 gives NaN where no voxel is finite
            rescaled: _Floats = sums * self._weight / self._reduce(np.where(broken, 0.0, 1.0))
        return rescaled


def _amplitudes(sums: _Floats, unmix: _Floats, filled: _Bools) -> _Floats:
    """Return least-squares amplitudes of the maps; NaN for maps without a voxel."""
    out = np.full_like(sums, np.nan)
    out[:, filled] = sums[:, filled] @ unmix[np.ix_(filled, filled)].T
    return out
