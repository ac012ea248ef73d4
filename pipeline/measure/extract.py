"""Regional time series of a run, in one streaming pass over its compressed image.

`circuitshift.pipeline.measure.parcellation.parcellate` finds once, for an atlas and a grid, which
voxels make which region; `extract` then reads a run volume by volume and keeps only the regional
means. Any number of atlases share the pass, and memory holds one volume, never the 4D array.
Cleaning is linear, so it is done afterwards on the means (`circuitshift.pipeline.measure.denoise`).

The numbers equal those of nilearn's maskers (labels, maps, spheres) with the same mask, but for
two cases, both counted: a voxel within several spheres goes to the nearest centre alone, and a
voxel that is not finite is left out of its region's mean (nilearn counts it as 0).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io.nifti import Header, open_image, read_image
from circuitshift.pipeline.measure.parcellation import Parcellation, check_grid, parcellate

__all__ = ["Extraction", "Follower", "Parcellation", "extract", "parcellate", "read_mask"]

_Floats: TypeAlias = npt.NDArray[np.float64]
_Ints: TypeAlias = npt.NDArray[np.intp]
_Stored: TypeAlias = npt.NDArray[np.generic]
_Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Extraction:
    """Regional series of one run.

    Parameters
    ----------
    series : tuple of ndarray of shape (n_volumes, R)
        Per parcellation: mean (maps: amplitude) of each region; NaN for a region without a
        voxel in the mask.
    coverage : tuple of ndarray of shape (R,)
        Per parcellation: share of each region's expected voxels that lie in the mask and have
        signal, that is finite values that change over time.
    header : Header
        The image's header.
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
        """Repetition time by the header, s."""
        return self.header.t_r_s


def read_mask(path: Path) -> tuple[_Bools, Header]:
    """Read a brain mask: true where finite and not zero.

    Parameters
    ----------
    path : Path
        A 3D image, or a 4D one of a single volume.

    Returns
    -------
    mask : ndarray of shape (nx, ny, nz), bool
    header : Header

    Raises
    ------
    ImageError
        If it cannot be read, has several volumes or no voxel.
    """
    values, header = read_image(path)
    if header.n_volumes != 1:
        raise ImageError(f"{path}: a mask has one volume, this has {header.n_volumes}")
    mask = (np.isfinite(values) & (values != 0)).reshape(header.grid, order="F")
    if not mask.any():
        raise ImageError(f"{path}: the mask is empty; no voxel is above zero")
    return mask, header


class Follower(Protocol):
    """What shares the pass over a run: it is shown every volume once, in order."""

    def add(self, number: int, volume: _Stored) -> None:
        """Take one volume, flat in Fortran order and as stored; it must not be kept."""


def extract(
    path: Path, parcellations: Sequence[Parcellation], *, followers: Sequence[Follower] = ()
) -> Extraction:
    """Extract the regional series of a run for any number of parcellations in one pass.

    Parameters
    ----------
    path : Path
        4D image, as in `circuitshift.pipeline.io.nifti.open_image`.
    parcellations : sequence of Parcellation
        All on the grid of the image.
    followers : sequence of Follower
        What else is shown the volumes.

    Returns
    -------
    Extraction

    Raises
    ------
    ImageError
        If the image cannot be read to its end, has one volume only, or is on another grid.
    """
    with open_image(path) as image:
        header = image.header
        if header.n_volumes < 2:
            raise ImageError(f"{path}: it has a single volume, so no time series")
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
    """Running reduction of the volumes of one run by one parcellation."""

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
        """Reduce one volume (flat, as stored) to the row `number`."""
        # mode="clip" skips the copy that "raise" makes of `out`; the positions are known good.
        np.take(volume, self._parcels.voxels, out=self._stored, mode="clip")
        self._follow()
        np.copyto(self._values, self._stored, casting="unsafe")
        with np.errstate(invalid="ignore"):  # infinities of both signs; seen to below
            sums = self._weighted(self._values)
        if not np.isfinite(sums).all():
            sums = self._without_broken()
        self._sums[number, self._filled] = sums

    def series(self) -> _Floats:
        """Means or amplitudes of all volumes, shape (n_volumes, R)."""
        totals = self._header.slope * self._sums
        totals[:, self._filled] += self._header.inter * self._weight
        if self._parcels.unmix is None:
            totals[:, self._filled] /= self._weight
            return totals
        return _amplitudes(totals, self._parcels.unmix, self._filled)

    def coverage(self) -> _Floats:
        """Share of each region that is in the mask and has signal, shape (R,)."""
        weights = self._parcels.weights
        live = np.ones(self._broken.size) if weights is None else np.abs(weights)
        live[self._constant] = 0
        live[self._broken] = 0
        covered = np.zeros(self._filled.size)
        covered[self._filled] = self._reduce(live)
        expected = self._parcels.expected
        return np.divide(covered, expected, out=np.zeros_like(covered), where=expected > 0)

    def _follow(self) -> None:
        """Drop from the list of constant voxels those that differ from the first volume.

        The list is short after a few volumes, so this costs next to nothing.
        """
        if self._first is None:
            self._first = self._stored.copy()
            return
        waiting = self._constant
        self._constant = waiting[self._stored[waiting] == self._first[waiting]]

    def _reduce(self, values: _Floats) -> _Floats:
        """Sum over the voxels of each region that has any."""
        if not self._starts.size:
            return np.empty(0)
        sums: _Floats = np.add.reduceat(values, self._starts)
        return sums

    def _weighted(self, values: _Floats) -> _Floats:
        """Sum with the weights of the parcellation."""
        weights = self._parcels.weights
        return self._reduce(values if weights is None else values * weights)

    def _without_broken(self) -> _Floats:
        """Sum over the finite voxels, raised to what all voxels would sum to.

        Amplitudes of maps are not raised: there the missing voxels count as 0.
        """
        broken = ~np.isfinite(self._values)
        self._broken |= broken
        self._values[broken] = 0
        sums = self._weighted(self._values)
        if self._parcels.unmix is not None:
            return sums
        with np.errstate(invalid="ignore"):  # 0 / 0 where no voxel is finite: NaN, as it should
            raised: _Floats = sums * self._weight / self._reduce(np.where(broken, 0.0, 1.0))
        return raised


def _amplitudes(sums: _Floats, unmix: _Floats, filled: _Bools) -> _Floats:
    """Least-squares amplitudes of the maps that have a voxel; NaN for the others."""
    out = np.full_like(sums, np.nan)
    out[:, filled] = sums[:, filled] @ unmix[np.ix_(filled, filled)].T
    return out
