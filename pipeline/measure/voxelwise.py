"""What a person's page shows of voxels, found while the regions are extracted: no second reading.

`VoxelPass` follows the volumes of a run beside the parcellations of
`circuitshift.pipeline.measure.extract` and keeps two things: mean and temporal signal-to-noise
ratio of every voxel, and the series of blocks of voxels about 4 mm wide. Cleaning is linear, so
maps and carpets after denoising come from the blocks, as regional series do from regions.
"""

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
_MOST_VALUES = 12_000_000  # of block series, float32: 48 MB
_CHUNK = 2000  # blocks cleaned at once, so that memory stays small


@dataclass(frozen=True, slots=True)
class Seed:
    """A seed of the maps: spheres whose mean series is one seed.

    Parameters
    ----------
    name : str
        Value of ``seed-`` in file names.
    title : str
    centres_mm : tuple of tuple of three float
        MNI space.
    source : str
        Where the centres come from.
    """

    name: str
    title: str
    centres_mm: tuple[tuple[float, float, float], ...]
    source: str


#: Radius of the spheres.
SEED_RADIUS_MM = 5.0

#: Seeds of every person's page.
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
    """Make the spheres of `SEEDS` as an atlas, for the same pass over the run.

    Parameters
    ----------
    space : str
        Of the run.
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
    """A run as blocks of voxels.

    Parameters
    ----------
    affine : ndarray of shape (4, 4)
        Indices of blocks to mm.
    shape : tuple of three int
        Grid of blocks.
    index : ndarray of shape (n_blocks,)
        Flat C-order positions, on that grid, of the blocks that hold voxels of the mask.
    of_voxel : ndarray of shape of the run's grid, flat in Fortran order
        Which block a voxel belongs to, counted over `index`; -1 outside the mask.
    mean, tsnr : ndarray of shape (n_blocks,)
        Mean over the voxels of each block of their mean over time, and of their mean divided by
        their standard deviation over time (volumes before the steady state left out, nothing
        removed); NaN where no voxel varies.
    median_tsnr : float
        Over all voxels of the mask.
    series : ndarray of shape (n_volumes, n_blocks), float32
        Mean of each block in each volume.
    """

    affine: Floats
    shape: tuple[int, int, int]
    index: Ints
    of_voxel: npt.NDArray[np.int32]
    mean: Floats
    tsnr: Floats
    median_tsnr: float
    series: npt.NDArray[np.float32]

    def image(self, values: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Put one value a block on the grid; 0 elsewhere, and where it is unknown."""
        out = np.zeros(int(np.prod(self.shape)), np.float32)
        out[self.index] = np.nan_to_num(np.asarray(values, np.float32), posinf=0.0, neginf=0.0)
        return out.reshape(self.shape)

    def centres_mm(self) -> Floats:
        """Centres of the blocks, shape (n_blocks, 3)."""
        ijk = np.array(np.unravel_index(self.index, self.shape)).T
        return np.asarray(ijk @ self.affine[:3, :3].T + self.affine[:3, 3])


class VoxelPass:
    """Follows the volumes of a run; see `circuitshift.pipeline.measure.extract.extract`.

    Parameters
    ----------
    header : Header
        Of the run.
    mask : ndarray of shape (nx, ny, nz), bool
        Voxels that are followed.
    n_dummy : int
        Volumes before the steady state: they count for the series, not for the ratio.
    """

    def __init__(self, header: Header, mask: Bools, *, n_dummy: int = 0) -> None:
        self._header, self._n_dummy = header, min(n_dummy, header.n_volumes - 2)
        self._steps = _steps(header, int(mask.sum()))
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
        """Take one volume (flat, as stored)."""
        np.take(volume, self._voxels, out=self._stored, mode="clip")
        np.copyto(self._values, self._stored, casting="unsafe")
        with np.errstate(invalid="ignore"):
            self._series[number] = np.add.reduceat(self._values, self._starts) / self._counts
            if number < self._n_dummy:
                return
            if self._first is None:  # squares of differences: no digits are lost
                self._first = self._values.copy()
            self._values -= self._first
            self._total += self._values
            np.multiply(self._values, self._values, out=self._square)
            self._squares += self._square

    def blocks(self) -> VoxelBlocks:
        """Return what was kept, after the last volume."""
        header, n = self._header, self._header.n_volumes - self._n_dummy
        assert self._first is not None  # noqa: S101 - extract saw to two volumes at least
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = header.slope * (self._first + self._total / n) + header.inter
            variance = (self._squares - self._total**2 / n) / n
            spread = abs(header.slope) * np.sqrt(np.maximum(variance, 0))
            tsnr = np.where(spread > 0, mean / spread, np.nan)
            series = header.slope * self._series + np.float32(header.inter)
        of_voxel = np.full(int(np.prod(header.grid)), -1, np.int32)
        of_voxel[self._voxels] = np.repeat(np.arange(self._index.size), self._counts)
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
        )

    def _nan_mean(self, values: Floats) -> Floats:
        available = np.isfinite(values)
        count = np.add.reduceat(available.astype(float), self._starts)
        total = np.add.reduceat(np.where(available, values, 0.0), self._starts)
        mean: Floats = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
        return mean


def _steps(header: Header, n_voxels: int) -> tuple[int, int, int]:
    """Voxels along each side of a block."""
    zooms = np.sqrt((header.affine[:3, :3] ** 2).sum(axis=0))
    volume = float(np.prod(zooms))
    least = (n_voxels * volume * header.n_volumes / _MOST_VALUES) ** (1 / 3)
    i, j, k = (max(1, round(max(_BLOCK_MM, least) / zoom)) for zoom in zooms.tolist())
    return i, j, k


def detrended(series: npt.ArrayLike, keep: Bools) -> Floats:
    """Take mean and line out of series, as fitted to the kept volumes.

    Parameters
    ----------
    series : array_like of shape (n_volumes, n)
    keep : ndarray of bool, shape (n_volumes,)

    Returns
    -------
    ndarray of shape (n_volumes, n)
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
    """Correlate every block with every seed, both denoised.

    Parameters
    ----------
    blocks : Blocks
    seeds : ndarray of shape (n_volumes, n_spheres)
        Series of the spheres of `seed_atlas`; NaN for one outside the mask.
    regressors : Regressors
    strategy : Strategy
    t_r_s : float
        Repetition time, s.

    Returns
    -------
    dict of str to ndarray of shape (n_blocks,)
        Pearson correlation by name of the seed; seeds without signal are left out.
    """
    means: dict[str, Floats] = {}
    at = 0
    for seed in SEEDS:
        own = seeds[:, at : at + len(seed.centres_mm)]
        at += len(seed.centres_mm)
        seen = own[:, np.isfinite(own).all(axis=0) & (np.ptp(own, axis=0) > 0)]
        if seen.shape[1]:
            means[seed.name] = seen.mean(axis=1)
    if not means:
        return {}
    given = np.column_stack(list(means.values()))
    clean, _ = denoise.clean(given, regressors, strategy, t_r_s)
    parts = []
    for first in range(0, blocks.index.size, _CHUNK):
        part = np.asarray(blocks.series[:, first : first + _CHUNK], float)
        cleaned, _ = denoise.clean(part, regressors, strategy, t_r_s)
        parts.append(clean.T @ cleaned / max(len(clean) - 1, 1))
    return dict(zip(means, np.clip(np.hstack(parts), -1.0, 1.0), strict=True))


def block_networks(blocks: VoxelBlocks, parcels: Parcellation) -> list[str]:
    """Name the network that the voxels of each block belong to; empty outside all regions.

    Parameters
    ----------
    blocks : Blocks
    parcels : Parcellation
        On the grid of the run. A region without a network counts as ``no network``.

    Returns
    -------
    list of str
        One per block: that of most of its voxels.
    """
    regions = np.repeat(np.arange(len(parcels.atlas.regions)), parcels.n_in_mask)
    names = sorted({region.network or "no network" for region in parcels.atlas.regions})
    of_region = np.array([names.index(r.network or "no network") for r in parcels.atlas.regions])
    block = blocks.of_voxel[parcels.voxels]
    inside = block >= 0
    cell = block[inside].astype(np.intp) * len(names) + of_region[regions[inside]]
    counts = np.bincount(cell, minlength=blocks.index.size * len(names))
    counts = counts.reshape(blocks.index.size, len(names))
    most = counts.argmax(axis=1)
    available = counts.max(axis=1) > 0
    return [names[k] if there else "" for k, there in zip(most, available, strict=True)]


def carpet_rows(
    kinds: Sequence[str], networks: Sequence[str], tissues: Sequence[str], *, most: int
) -> tuple[Ints, tuple[str, ...]]:
    """Choose the rows of a carpet: spread evenly over each kind, in proportion to its size.

    Networks share two thirds of the rows and tissues the others, however few voxels the regions of
    an atlas hold; what one side cannot fill goes to the other.

    Parameters
    ----------
    kinds : sequence of str
        Network or tissue of every block.
    networks, tissues : sequence of str
        Kinds from top to bottom, networks before tissues; others are left out.
    most : int
        Rows, about.

    Returns
    -------
    rows : ndarray of int
        Positions of the chosen blocks.
    kinds : tuple of str
        One per row.
    """
    all_kinds = np.array(kinds, object)
    where = {kind: np.flatnonzero(all_kinds == kind) for kind in (*networks, *tissues)}
    n_network = sum(where[kind].size for kind in networks)
    n_tissue = sum(where[kind].size for kind in tissues)
    for_tissue = min(n_tissue, max(round(most / 3), most - n_network))
    rows: list[Ints] = []
    names: list[str] = []
    for group, there, wanted in (
        (networks, n_network, most - for_tissue),
        (tissues, n_tissue, for_tissue),
    ):
        for kind in group:
            at = where[kind]
            if not at.size:
                continue
            n = min(at.size, max(4, round(wanted * at.size / there)))
            rows.append(at[np.rint(np.linspace(0, at.size - 1, n)).astype(np.intp)])
            names += [kind] * n
    return (np.concatenate(rows) if rows else np.empty(0, np.intp)), tuple(names)
