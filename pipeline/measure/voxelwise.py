"""Collect voxel statistics for the participant report in the same pass as regional series.

`VoxelPass` receives the volumes of a run from `circuitshift.pipeline.measure.extract`. It collects
mean and temporal signal-to-noise ratio of each voxel, and the mean series of blocks of voxels with
a side of about 4 mm. Denoising is linear. Maps and carpet plots after denoising are therefore
computed from the series of blocks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.arrays import Bools, Floats, Ints
from circuitshift.pipeline.io.nifti import Header
from circuitshift.pipeline.measure import denoise
from circuitshift.pipeline.measure.parcellation import Parcellation
from circuitshift.pipeline.records import Strategy

__all__ = [
    "SEEDS",
    "SEED_RADIUS_MM",
    "Seed",
    "VoxelBlocks",
    "VoxelPass",
    "block_networks",
    "carpet_rows",
    "detrended",
    "seed_atlas",
    "seed_maps",
]


_BLOCK_MM = 4.0
_MAX_VALUES = 12_000_000  # of the series of blocks in float32, which take 48 MB
_CHUNK = 2000  # blocks that are denoised together, to bound memory


@dataclass(frozen=True, slots=True)
class Seed:
    """Seed of a correlation map: spheres whose mean series is correlated with all blocks.

    Parameters
    ----------
    name : str
        Value of ``seed-`` in file names.
    title : str
        Name of the region in the report.
    centres_mm : tuple of tuple of three float
        Centres of the spheres in MNI space, mm.
    source : str
        Reference of the centres.
    """

    name: str
    title: str
    centres_mm: tuple[tuple[float, float, float], ...]
    source: str


#: Radius of the spheres of seeds, mm.
SEED_RADIUS_MM = 5.0

#: Seeds of the correlation maps of participant reports.
SEEDS = (
    Seed(
        "PCC",
        "posterior cingulate cortex",
        ((-8.0, -56.0, 26.0),),
        "Andrews-Hanna 2010, doi:10.1016/j.neuron.2010.02.005",
    ),
    Seed(
        "leftDLPFC",
        "left dorsolateral prefrontal cortex",
        ((-38.0, 44.0, 26.0),),
        "Fox 2012, doi:10.1016/j.biopsych.2012.04.028",
    ),
    Seed(
        "amygdala",
        "amygdala, both sides",
        ((-23.0, -1.0, -17.0), (27.0, 1.0, -18.0)),
        "centres of the AAL regions, doi:10.1006/nimg.2001.0978",
    ),
)


def seed_atlas(space: str) -> Atlas:
    """Return the spheres of `SEEDS` as an atlas.

    Parameters
    ----------
    space : str
        Template space of the run.

    Returns
    -------
    Atlas
        Atlas of spheres, in the order of `SEEDS`.
    """
    spheres = [
        Region(k, f"{seed.name}{k}", xyz_mm=centre, radius_mm=SEED_RADIUS_MM)
        for k, (seed, centre) in enumerate(
            ((seed, centre) for seed in SEEDS for centre in seed.centres_mm), start=1
        )
    ]
    return Atlas("Seeds", tuple(spheres), "spheres", space=space)


@dataclass(frozen=True, slots=True, eq=False)
class VoxelBlocks:
    """Statistics and series of blocks of voxels of one run.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Transformation from indices of blocks to mm.
    shape : tuple of three int
        Numbers of blocks of the grid of blocks.
    index : ndarray, shape (n_blocks,)
        Flat positions in C order, on the grid of blocks, of the blocks with voxels in the mask.
    of_voxel : ndarray, shape (n_voxels,)
        Position in `index` of the block of each voxel of the run, flat in Fortran order; -1 outside
        the mask.
    mean : ndarray, shape (n_blocks,)
        Mean over time and over the voxels of each block.
    tsnr : ndarray, shape (n_blocks,)
        Temporal signal-to-noise ratio, which is mean divided by standard deviation over time,
        averaged over the voxels of each block. It is computed before denoising and without the
        volumes before the steady state; NaN if no voxel of the block varies.
    median_tsnr : float
        Median temporal signal-to-noise ratio of the voxels of the mask.
    series : ndarray of float32, shape (n_volumes, n_blocks)
        Mean of each block in each volume.
    voxel_tsnr : ndarray of float32, shape (n_voxels,)
        Temporal signal-to-noise ratio of each voxel of the run, flat in Fortran order; NaN outside
        the mask.
    """

    affine: Floats
    shape: tuple[int, int, int]
    index: Ints
    of_voxel: npt.NDArray[np.int32]
    mean: Floats
    tsnr: Floats
    median_tsnr: float
    series: npt.NDArray[np.float32]
    voxel_tsnr: npt.NDArray[np.float32]

    def image(self, values: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return values of blocks as an image; 0 outside the mask and for missing values."""
        out = np.zeros(int(np.prod(self.shape)), np.float32)
        out[self.index] = np.nan_to_num(np.asarray(values, np.float32), posinf=0.0, neginf=0.0)
        return out.reshape(self.shape)

    def centres_mm(self) -> Floats:
        """Return the centres of the blocks in mm, shape (n_blocks, 3)."""
        ijk = np.array(np.unravel_index(self.index, self.shape)).T
        return np.asarray(ijk @ self.affine[:3, :3].T + self.affine[:3, 3])


class VoxelPass:
    """Collector of voxel statistics, which receives each volume of a run once.

    Pass it to `circuitshift.pipeline.measure.extract.extract` as a follower.

    Parameters
    ----------
    header : Header
        Header of the run.
    mask : ndarray of bool, shape (nx, ny, nz)
        Brain mask.
    n_dummy : int
        Number of volumes before the steady state, which enter the series of blocks but not mean
        and temporal signal-to-noise ratio.
    """

    def __init__(self, header: Header, mask: Bools, *, n_dummy: int = 0) -> None:
        self._header, self._n_dummy = header, min(n_dummy, header.n_volumes - 2)
        self._steps = _steps(header, mask)
        sizes = [-(-n // step) for n, step in zip(header.grid, self._steps, strict=True)]
        self._shape = (sizes[0], sizes[1], sizes[2])
        voxels = np.flatnonzero(mask.ravel(order="F"))
        ijk = np.unravel_index(voxels, header.grid, order="F")
        where = tuple(axis // step for axis, step in zip(ijk, self._steps, strict=True))
        block = np.ravel_multi_index(where, self._shape)
        order = np.argsort(block, kind="stable")
        self._voxels = voxels[order]
        self._index, self._starts, self._counts = np.unique(
            block[order], return_index=True, return_counts=True
        )
        n = self._voxels.size
        self._stored = np.empty(n, header.dtype)
        self._values, self._square = np.empty(n), np.empty(n)
        self._total, self._squares = np.zeros(n), np.zeros(n)
        self._first: Floats | None = None
        self._series = np.empty((header.n_volumes, self._index.size), np.float32)

    def add(self, number: int, volume: npt.NDArray[np.generic]) -> None:
        """Receive one volume, which is flat in Fortran order and without scaling.

        Parameters
        ----------
        number : int
            Index of the volume.
        volume : ndarray, shape (n_voxels,)
            Stored values.
        """
        np.take(volume, self._voxels, out=self._stored, mode="clip")
        np.copyto(self._values, self._stored, casting="unsafe")
        with np.errstate(invalid="ignore"):
            self._series[number] = np.add.reduceat(self._values, self._starts) / self._counts
            if number < self._n_dummy:
                return
            if self._first is None:  # squares of differences avoid a loss of precision
                self._first = self._values.copy()
            self._values -= self._first
            self._total += self._values
            np.multiply(self._values, self._values, out=self._square)
            self._squares += self._square

    def blocks(self) -> VoxelBlocks:
        """Return statistics and series after the last volume was received."""
        header, n = self._header, self._header.n_volumes - self._n_dummy
        assert self._first is not None  # noqa: S101 - extract requires at least two volumes
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = header.slope * (self._first + self._total / n) + header.inter
            variance = (self._squares - self._total**2 / n) / n
            spread = abs(header.slope) * np.sqrt(np.maximum(variance, 0))
            tsnr = np.where(spread > 0, mean / spread, np.nan)
            series = header.slope * self._series + np.float32(header.inter)
        of_voxel = np.full(int(np.prod(header.grid)), -1, np.int32)
        of_voxel[self._voxels] = np.repeat(np.arange(self._index.size), self._counts)
        voxel_tsnr = np.full(of_voxel.size, np.nan, np.float32)
        voxel_tsnr[self._voxels] = tsnr
        available = tsnr[np.isfinite(tsnr)]
        step = np.diag([*self._steps, 1.0])
        step[:3, 3] = (np.array(self._steps) - 1) / 2
        return VoxelBlocks(
            affine=np.asarray(header.affine @ step),
            shape=self._shape,
            index=self._index,
            of_voxel=of_voxel,
            mean=self._nan_mean(mean),
            tsnr=self._nan_mean(tsnr),
            median_tsnr=float(np.median(available)) if available.size else float("nan"),
            series=series.astype(np.float32),
            voxel_tsnr=voxel_tsnr,
        )

    def _nan_mean(self, values: Floats) -> Floats:
        available = np.isfinite(values)
        count = np.add.reduceat(available.astype(float), self._starts)
        total = np.add.reduceat(np.where(available, values, 0.0), self._starts)
        mean: Floats = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
        return mean


def _steps(header: Header, mask: Bools) -> tuple[int, int, int]:
    """Return the number of voxels along each side of a block.

    Blocks have a side of about 4 mm, or are larger if the series would exceed `_MAX_VALUES`.
    """
    zooms = np.sqrt((header.affine[:3, :3] ** 2).sum(axis=0)).tolist()
    n_values = int(mask.sum()) * header.n_volumes
    i, j, k = (max(1, round(_BLOCK_MM / zoom)) for zoom in zooms)
    if n_values <= _MAX_VALUES:
        return i, j, k
    side_mm = float(n_values * np.prod(zooms) / _MAX_VALUES) ** (1 / 3)
    while True:
        n, m, o = (math.ceil(side_mm / zoom) for zoom in zooms)
        i, j, k = max(i, n), max(j, m), max(k, o)
        n_blocks = _n_blocks(mask, (i, j, k))
        if n_blocks <= max(1, _MAX_VALUES // header.n_volumes):
            return i, j, k
        side_mm *= 1.05  # blocks at the surface of the brain contain few voxels


def _n_blocks(mask: Bools, steps: tuple[int, int, int]) -> int:
    """Return the number of blocks that contain voxels of a mask."""
    inside = mask
    for axis, step in enumerate(steps):
        inside = np.logical_or.reduceat(inside, np.arange(0, mask.shape[axis], step), axis=axis)
    return int(inside.sum())


def detrended(series: npt.ArrayLike, keep: Bools) -> Floats:
    """Subtract the linear trend that is fitted to the retained volumes.

    Parameters
    ----------
    series : array_like, shape (n_volumes, n_series)
        Time series, one per column.
    keep : ndarray of bool, shape (n_volumes,)
        Whether each volume is retained.

    Returns
    -------
    ndarray, shape (n_volumes, n_series)
        Residuals of all volumes.
    """
    values = np.asarray(series, float)
    line = np.column_stack([np.ones(len(values)), np.linspace(-1, 1, len(values))])
    fit = np.linalg.lstsq(line[keep], values[keep], rcond=None)[0]
    return np.asarray(values - line @ fit)


def seed_maps(
    blocks: VoxelBlocks,
    seeds: Floats,
    regressors: denoise.Regressors,
    strategy: Strategy,
    *,
    t_r_s: float,
) -> dict[str, Floats]:
    """Correlate the denoised series of blocks with the denoised series of each seed.

    Parameters
    ----------
    blocks : VoxelBlocks
        Series of blocks of voxels.
    seeds : ndarray, shape (n_volumes, n_spheres)
        Series of the spheres of `seed_atlas`; NaN for spheres outside the mask.
    regressors : Regressors
        Nuisance regressors and retained volumes.
    strategy : Strategy
        Denoising strategy.
    t_r_s : float
        Repetition time, s.

    Returns
    -------
    dict of str to ndarray, shape (n_blocks,)
        Pearson correlations by name of the seed, without seeds that have no signal.
    """
    means: dict[str, Floats] = {}
    start = 0
    for seed in SEEDS:
        own = seeds[:, start : start + len(seed.centres_mm)]
        start += len(seed.centres_mm)
        varying = own[:, np.isfinite(own).all(axis=0) & (np.ptp(own, axis=0) > 0)]
        if varying.shape[1]:
            means[seed.name] = varying.mean(axis=1)
    if not means:
        return {}
    of_seeds, _ = denoise.clean(np.column_stack(list(means.values())), regressors, strategy, t_r_s)
    parts = []
    for first in range(0, blocks.index.size, _CHUNK):
        part = np.asarray(blocks.series[:, first : first + _CHUNK], float)
        of_blocks, _ = denoise.clean(part, regressors, strategy, t_r_s)
        parts.append(of_seeds.T @ of_blocks / max(len(of_seeds) - 1, 1))
    return dict(zip(means, np.clip(np.hstack(parts), -1.0, 1.0), strict=True))


def block_networks(blocks: VoxelBlocks, parcels: Parcellation) -> list[str]:
    """Return the network of each block.

    Parameters
    ----------
    blocks : VoxelBlocks
        Blocks of voxels of a run.
    parcels : Parcellation
        Parcellation on the grid of the run. The network of a region without a network is
        ``no network``.

    Returns
    -------
    list of str
        Most frequent network of the voxels of each block; empty for blocks outside all regions.
    """
    regions = np.repeat(np.arange(len(parcels.atlas.regions)), parcels.n_in_mask)
    names = sorted({region.network or "no network" for region in parcels.atlas.regions})
    of_region = np.array([names.index(r.network or "no network") for r in parcels.atlas.regions])
    block = blocks.of_voxel[parcels.voxels]
    inside = block >= 0
    cell = block[inside].astype(np.intp) * len(names) + of_region[regions[inside]]
    counts = np.bincount(cell, minlength=blocks.index.size * len(names))
    counts = counts.reshape(blocks.index.size, len(names))
    most_frequent = counts.argmax(axis=1)
    in_regions = counts.max(axis=1) > 0
    return [
        names[k] if has_region else ""
        for k, has_region in zip(most_frequent, in_regions, strict=True)
    ]


def carpet_rows(
    kinds: Sequence[str], networks: Sequence[str], tissues: Sequence[str], *, most: int
) -> tuple[Ints, tuple[str, ...]]:
    """Choose the rows of a carpet plot, evenly spaced within each network and tissue.

    Networks have two thirds of the rows and tissues one third, independently of the number of
    voxels in regions of the atlas. If there are too few blocks in one of them, the other has more
    rows. Within networks, and within tissues, the number of rows is proportional to the number of
    blocks.

    Parameters
    ----------
    kinds : sequence of str
        Network or tissue of each block.
    networks, tissues : sequence of str
        Networks and tissues from top to bottom; blocks of other kinds are omitted.
    most : int
        Approximate number of rows.

    Returns
    -------
    rows : ndarray of int, shape (n_rows,)
        Positions of the chosen blocks.
    kinds : tuple of str
        Network or tissue of each row.
    """
    all_kinds = np.array(kinds, object)
    where = {kind: np.flatnonzero(all_kinds == kind) for kind in (*networks, *tissues)}
    n_network = sum(where[kind].size for kind in networks)
    n_tissue = sum(where[kind].size for kind in tissues)
    for_tissue = min(n_tissue, max(round(most / 3), most - n_network))
    rows: list[Ints] = []
    names: list[str] = []
    for group, n_blocks, n_rows in (
        (networks, n_network, most - for_tissue),
        (tissues, n_tissue, for_tissue),
    ):
        for kind in group:
            own = where[kind]
            if not own.size:
                continue
            n = min(own.size, max(4, round(n_rows * own.size / n_blocks)))
            rows.append(own[np.rint(np.linspace(0, own.size - 1, n)).astype(np.intp)])
            names += [kind] * n
    return (np.concatenate(rows) if rows else np.empty(0, np.intp)), tuple(names)
