"""Simulate one preprocessed run: regional series, nuisance signals, confounds table and image.

Voxel noise is centred over the voxels of each region, so that the mean of a region is its series.
Motion and physiology contribute a linear mixture of columns of the confounds table, so that an
appropriate denoising strategy can remove them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.atomic_files import atomic_binary
from circuitshift.atlases.records import Atlas
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.preproc.confounds import (
    HEAD_MM,
    MOTION,
    Voxels,
    compcor,
    cosines,
    expand,
    framewise_displacement,
    one_hot,
    outliers,
)

__all__ = [
    "NOISE_SD",
    "Grid",
    "Nuisance",
    "confounds_table",
    "draw_nuisance",
    "draw_series",
    "make_grid",
    "paint",
    "write_image",
]


#: Baseline intensity, and intensity that corresponds to one SD of the neural signal.
BASELINE, SIGNAL_UNITS = 1000.0, 12.0

#: Standard deviation of the noise of a voxel, in standard deviations of the neural signal.
NOISE_SD = 0.5


@dataclass(frozen=True, slots=True)
class Grid:
    """Position of regions in the simulated image.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Voxel indices to world coordinates, mm.
    shape : tuple of int
        Number of voxels in x, y and z.
    brain : ndarray of bool, shape (z, y, x)
        Brain mask in file order, with the fastest axis last.
    voxels : ndarray of int, shape (n_region_voxels,)
        Positions, in the flattened (z, y, x) volume, of the voxels that belong to a region.
    region : ndarray of int, shape (n_region_voxels,)
        Zero-based region of each of these voxels, ascending.
    z_mm : ndarray, shape (z,)
        World coordinate of each slice, mm.
    centres_mm : ndarray, shape (n_regions, 3)
        Mean coordinate of the voxels of each region, mm.
    """

    affine: Floats
    shape: tuple[int, int, int]
    brain: npt.NDArray[np.bool_]
    voxels: npt.NDArray[np.intp]
    region: npt.NDArray[np.intp]
    z_mm: Floats
    centres_mm: Floats


def make_grid(atlas: Atlas, voxel_mm: float) -> Grid:
    """Place the regions of an atlas on a coarse grid that covers the brain in MNI152NLin2009cAsym.

    Parameters
    ----------
    atlas : Atlas
        Atlas of kind ``spheres`` or ``labels``.
    voxel_mm : float
        Isotropic voxel size, mm.

    Returns
    -------
    Grid
        Grid and the voxels of each region.

    Raises
    ------
    InputError
        If a region has no voxel on this grid, or the atlas defines no positions in the brain.
    """
    low, high = np.array([-76.0, -112.0, -76.0]), np.array([76.0, 80.0, 88.0])
    shape = tuple(int(n) for n in np.ceil((high - low) / voxel_mm))
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    # x is symmetric about the midline; y and z start at the corner
    affine[:3, 3] = [-(shape[0] - 1) / 2 * voxel_mm, low[1], low[2]]
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape[::-1]), indexing="ij")
    xyz: Floats = np.asarray(np.stack([x, y, z], -1) * voxel_mm + affine[:3, 3], np.float64)
    if atlas.kind == "spheres":
        label = _label_spheres(atlas, xyz)
    elif atlas.kind == "labels":
        label = _label_image(atlas, xyz)
    else:
        raise InputError(
            f"atlas {atlas.name}: images cannot be simulated for an atlas of kind {atlas.kind}; "
            "choose an atlas of kind spheres or labels"
        )
    flat = label.ravel()
    voxels = np.flatnonzero(flat >= 0)
    voxels = voxels[np.argsort(flat[voxels], kind="stable")]
    region = flat[voxels]
    count = np.bincount(region, minlength=len(atlas.regions))
    if not count.all():
        missing = [atlas.labels[k] for k in np.flatnonzero(count == 0)]
        raise InputError(
            f"atlas {atlas.name}: {len(missing)} regions have no voxel at {voxel_mm:g} mm "
            f"({', '.join(missing[:5])}); choose smaller voxels"
        )
    inside = ((xyz - [0.0, -17.0, 6.0]) / [72.0, 91.0, 77.0]) ** 2
    where = xyz.reshape(-1, 3)[voxels]
    return Grid(
        affine=affine,
        shape=(shape[0], shape[1], shape[2]),
        brain=(inside.sum(-1) <= 1) | (label >= 0),
        voxels=voxels,
        region=region,
        z_mm=np.asarray(xyz[:, 0, 0, 2]),
        centres_mm=np.stack(
            [np.bincount(region, where[:, axis]) / count for axis in range(3)], axis=1
        ),
    )


def _label_spheres(atlas: Atlas, xyz: Floats) -> npt.NDArray[np.intp]:
    """Assign each voxel to the nearest region centre within its radius, or to -1."""
    label = np.full(xyz.shape[:3], -1, np.intp)
    nearest = np.full(xyz.shape[:3], np.inf)
    axes = (xyz[:, 0, 0, 2], xyz[0, :, 0, 1], xyz[0, 0, :, 0])
    for k, region in enumerate(atlas.regions):
        if region.xyz_mm is None or region.radius_mm is None:
            raise InputError(f"atlas {atlas.name}: region {region.label} has no centre or radius")
        reach = region.radius_mm
        box = tuple(
            slice(*np.searchsorted(axis, [centre - reach, centre + reach + 1e-9]))
            for axis, centre in zip(axes, region.xyz_mm[::-1], strict=True)
        )
        distance = ((xyz[box] - np.array(region.xyz_mm)) ** 2).sum(-1)
        own = (distance <= reach**2) & (distance < nearest[box])
        label[box][own] = k
        nearest[box][own] = distance[own]
    return label


def _label_image(atlas: Atlas, xyz: Floats) -> npt.NDArray[np.intp]:
    """Assign each voxel to the region that the label image contains at its centre, or to -1."""
    import nibabel as nib  # noqa: PLC0415 - .3 s

    image: Any = nib.load(str(atlas.image))
    values = np.rint(np.asarray(image.dataobj)).astype(np.intp)
    ijk = np.rint((xyz - image.affine[:3, 3]) @ np.linalg.inv(image.affine[:3, :3]).T).astype(int)
    within = ((ijk >= 0) & (ijk < values.shape[:3])).all(-1)
    label_values = np.zeros(xyz.shape[:3], np.intp)
    label_values[within] = values[tuple(ijk[within].T)]
    position = np.full(max(int(values.max()), *(r.index for r in atlas.regions)) + 1, -1, np.intp)
    for k, region in enumerate(atlas.regions):
        position[region.index] = k
    return np.asarray(position[np.maximum(label_values, 0)])


# ------------------------------------------------------------------------------ neural signal


def draw_series(
    correlation: Floats, n_volumes: int, t_r_s: float, rng: np.random.Generator
) -> Floats:
    """Draw regional series with a given correlation and the spectrum of resting-state BOLD.

    The power spectrum is flat at low frequencies and falls as ``1 / (1 + (f / 0.08 Hz)**4)`` above
    a floor of 3 %, so that most of the power lies below 0.1 Hz, as in resting-state BOLD.
    Successive volumes are therefore correlated, and a sample correlation has fewer degrees of
    freedom than there are volumes.

    Parameters
    ----------
    correlation : ndarray, shape (n_regions, n_regions)
        Positive definite correlation matrix.
    n_volumes : int
        Length of the series.
    t_r_s : float
        Repetition time, s.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    ndarray, shape (n_volumes, n_regions)
        Series with an expected variance of 1.
    """
    length = n_volumes + 32  # the Fourier transform is periodic; the extra volumes are discarded
    frequency = np.fft.rfftfreq(length, t_r_s)
    power = 0.03 + 1 / (1 + (frequency / 0.08) ** 4)
    # the variance of a filtered series is the mean power over all two-sided frequencies
    weight = np.full(power.size, 2.0)
    weight[0] = 1.0
    weight[-1] -= length % 2 == 0
    power /= (power * weight).sum() / length
    white = np.fft.rfft(rng.standard_normal((length, len(correlation))), axis=0)
    shaped = np.fft.irfft(white * np.sqrt(power)[:, None], length, axis=0)[:n_volumes]
    return np.asarray(shaped @ np.linalg.cholesky(correlation).T)


# ------------------------------------------------------------------------------ nuisance


@dataclass(frozen=True, slots=True)
class Nuisance:
    """Head motion and physiological signals of one run.

    Parameters
    ----------
    motion : ndarray, shape (n_volumes, 6)
        Translations in mm and rotations in radians.
    physiology : ndarray, shape (n_volumes, n_sources)
        Sources of unit variance that are visible in white matter and cerebrospinal fluid.
    csf, white_matter : ndarray, shape (n_volumes, n_voxels)
        Voxels of cerebrospinal fluid and white matter, intensity around zero.
    leak : ndarray, shape (n_volumes, n_regions)
        Contribution of all nuisance signals to each region, in SD of the neural signal.
    """

    motion: Floats
    physiology: Floats
    csf: Floats
    white_matter: Floats
    leak: Floats


def _draw_motion(
    n_volumes: int, fd_mm: float, spikes: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Draw a mean-reverting random walk with sudden jumps.

    Returns
    -------
    motion : ndarray, shape (n_volumes, 6)
        Translations in mm and rotations in radians.
    size : ndarray, shape (n_volumes,)
        Size of the jump in each volume, mm; zero without a jump.
    """
    walk = rng.standard_normal((n_volumes, 6)) * [0.7, 1.0, 1.3, 1.3, 0.8, 0.7]
    for t in range(1, n_volumes):
        walk[t] += 0.97 * walk[t - 1]
    walk -= walk[0]
    walk[:, 3:] /= HEAD_MM
    walk *= fd_mm / np.nanmean(framewise_displacement(walk))
    jump = np.zeros((n_volumes, 6))
    at = rng.random(n_volumes) < spikes
    at[0] = False
    direction = rng.dirichlet(np.ones(6), n_volumes) * rng.choice([-1.0, 1.0], (n_volumes, 6))
    size = np.where(at, rng.uniform(0.6, 1.6, n_volumes), 0.0)
    jump += direction * size[:, None]
    jump[:, 3:] /= HEAD_MM
    # half of each jump remains, since a head does not return exactly to its former position
    return walk + jump + 0.5 * np.cumsum(jump, axis=0), size


def draw_nuisance(
    grid: Grid,
    n_volumes: int,
    t_r_s: float,
    *,
    fd_mm: float,
    spikes: float,
    rng: np.random.Generator,
) -> Nuisance:
    """Draw the motion and physiology of one run, and their contribution to the regions.

    The contribution of motion is proportional to displacement and to its change from volume to
    volume. Its weights vary linearly over the brain, so that near regions share more of it than
    distant ones (doi:10.1016/j.neuroimage.2011.10.018). Physiology enters all regions with mostly
    positive weights, as respiration does.

    Parameters
    ----------
    grid : Grid
        Position of the regions.
    n_volumes : int
        Number of volumes.
    t_r_s : float
        Repetition time, s.
    fd_mm : float
        Mean framewise displacement without sudden jumps, mm.
    spikes : float
        Share of volumes with a sudden jump.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    Nuisance
        Motion, physiology, noise voxels, and the contribution to each region.
    """
    motion, jump = _draw_motion(n_volumes, fd_mm, spikes, rng)
    n_regions, n_sources = len(grid.centres_mm), 4
    place = np.concatenate([np.full((n_regions, 1), 0.8), grid.centres_mm / 60.0], axis=1)
    millimetres = motion * [1, 1, 1, HEAD_MM, HEAD_MM, HEAD_MM]
    change = np.diff(millimetres, axis=0, prepend=millimetres[:1])
    leak = 0.6 * millimetres @ rng.standard_normal((6, 4)) @ place.T
    leak += 3.0 * change @ rng.standard_normal((6, 4)) @ place.T
    leak -= 0.3 * jump[:, None]

    physiology = rng.standard_normal((n_volumes, n_sources))
    smooth = np.array([0.0, 0.3, 0.6, 0.8])
    for t in range(1, n_volumes):
        physiology[t] = smooth * physiology[t - 1] + np.sqrt(1 - smooth**2) * physiology[t]
    weight = 0.22 + 0.06 * (place @ rng.standard_normal((4, n_sources)))
    leak += physiology @ weight.T
    drift = cosines(n_volumes, t_r_s)[:, :2] * np.sqrt(n_volumes / 2)
    leak += drift @ rng.normal(0, 0.3, (drift.shape[1], n_regions))

    tissue = [
        SIGNAL_UNITS
        * (
            physiology @ rng.normal(0.6, 0.8, (n_sources, voxels))
            + millimetres @ rng.normal(0, 0.3, (6, voxels))
            + rng.normal(0, 2.2, (n_volumes, voxels))
        )
        for voxels in (48, 120)
    ]
    return Nuisance(motion, physiology, tissue[0], tissue[1], leak)


# ------------------------------------------------------------------------------ image


def paint(
    grid: Grid,
    series: Floats,
    *,
    n_dummy: int,
    seen: npt.NDArray[np.bool_] | None = None,
    rng: np.random.Generator,
) -> npt.NDArray[np.int16]:
    """Write regional series into the voxels of a small image.

    Only voxels of regions vary over time. The rest of the brain is constant, so that files compress
    well. The SD of voxel noise is half of the signal's, and the noise is centred within each
    region: where a region is completely in view, its mean is the series.

    Parameters
    ----------
    grid : Grid
        Position of the regions.
    series : ndarray, shape (n_volumes, n_regions)
        Regional series, in standard deviations of the neural signal.
    n_dummy : int
        Number of initial volumes before the steady state, which are brighter.
    seen : ndarray of bool, shape (z, y, x), optional
        Voxels in the field of view; all other voxels are zero. By default, all voxels are in view.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    ndarray of int16, shape (n_volumes, z, y, x)
        Image in file order.
    """
    # intensity differs only between slices, since rows of equal voxels compress well
    shade = 60 * np.cos(grid.z_mm / 30)[:, None, None]
    still = np.where(grid.brain if seen is None else grid.brain & seen, BASELINE + shade, 0.0)
    still = still.ravel()
    noise = rng.standard_normal((len(series), grid.voxels.size), dtype=np.float32)
    start = np.flatnonzero(np.diff(grid.region, prepend=-1))
    count = np.diff(np.append(start, grid.region.size))
    noise -= np.repeat(np.add.reduceat(noise, start, axis=1) / count, count, axis=1)
    values = series[:, grid.region] + NOISE_SD * noise
    values *= SIGNAL_UNITS
    values += still[grid.voxels]
    values *= still[grid.voxels] > 0
    image = np.empty((len(series), still.size), np.int16)
    image[:] = np.rint(still)
    image[:, grid.voxels] = np.rint(values)
    for t in range(n_dummy):
        image[t] = np.rint(image[t] * (1 + 0.3 * 0.3**t))
    return image.reshape(len(series), *grid.brain.shape)


def write_image(path: Path, data: npt.NDArray[Any], grid: Grid, t_r_s: float | None = None) -> None:
    """Write a compressed NIfTI-1 image; the same data give the same bytes.

    Parameters
    ----------
    path : Path
        File to write; its name ends in ``.nii.gz`` and its folder exists.
    data : ndarray of int16 or uint8, shape (n_volumes, z, y, x) or (z, y, x)
        Image in file order.
    grid : Grid
        Provides the affine.
    t_r_s : float, optional
        Repetition time of a four-dimensional image, s.
    """
    import nibabel as nib  # noqa: PLC0415 - .3 s
    from isal import igzip  # noqa: PLC0415

    header = nib.Nifti1Header()
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape[::-1])
    size = float(grid.affine[0, 0])
    header.set_zooms((size, size, size) + ((t_r_s,) if t_r_s is not None else ()))
    header.set_xyzt_units("mm", "sec")
    header.set_sform(grid.affine, code=4)  # code 4 is MNI space
    header.set_qform(grid.affine, code=4)
    header["descrip"] = b"circuitshift simulate"
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = 1, 0
    raw = b"".join([header.binaryblock, b"\0\0\0\0", np.ascontiguousarray(data).data])
    with atomic_binary(path) as file:
        file.write(igzip.compress(raw, 2, mtime=0))


# ------------------------------------------------------------------------------ confounds


def confounds_table(
    nuisance: Nuisance, image: npt.NDArray[np.int16], grid: Grid, t_r_s: float, *, n_dummy: int = 0
) -> tuple[dict[str, Floats], dict[str, dict[str, object]]]:
    """Compute the confounds table of a simulated run in fMRIPrep's format.

    Parameters
    ----------
    nuisance : Nuisance
        Motion and noise voxels of the run.
    image : ndarray of int16, shape (n_volumes, z, y, x)
        Image as written.
    grid : Grid
        Position of the regions.
    t_r_s : float
        Repetition time, s.
    n_dummy : int
        Number of volumes before the steady state.

    Returns
    -------
    columns : dict of str to ndarray, shape (n_volumes,)
        Columns of the table, with NaN where fMRIPrep writes n/a.
    meta : dict
        Content of the JSON sidecar.
    """
    n_volumes = len(image)
    flat = image.reshape(n_volumes, -1)
    painted = flat[:, grid.voxels[flat[-1, grid.voxels] > 0]].astype(float)
    n_still = int(grid.brain.sum()) - painted.shape[1]
    brain_mean = (painted.sum(1) + n_still * BASELINE) / (painted.shape[1] + n_still)
    tissue = {
        "csf": 1.4 * BASELINE + nuisance.csf.mean(1),
        "white_matter": 0.9 * BASELINE + nuisance.white_matter.mean(1),
        "global_signal": brain_mean,
    }
    columns: dict[str, Floats] = {}
    for name, values in tissue.items():
        columns |= expand(name, values)
    dvars = np.sqrt((np.diff(painted, axis=0) ** 2).mean(1))
    fd = framewise_displacement(nuisance.motion)
    columns["std_dvars"] = np.concatenate([[np.nan], dvars / np.median(dvars)])
    columns["dvars"] = np.concatenate([[np.nan], dvars])
    columns["framewise_displacement"] = fd

    meta: dict[str, dict[str, object]] = {name: {"Method": "Mean"} for name in tissue}
    steady = cosines(n_volumes - n_dummy, t_r_s)
    drift = np.concatenate([np.zeros((n_dummy, steady.shape[1])), steady])
    noise = Voxels(painted, nuisance.csf, nuisance.white_matter)
    for prefix, mask, voxels in (
        ("c", "CSF", noise.csf),
        ("w", "WM", noise.white_matter),
        ("a", "combined", noise.combined),
    ):
        part, notes = compcor(voxels[n_dummy:], steady, prefix=prefix, mask=mask, min_components=6)
        for name, values in part.items():
            columns[name] = np.concatenate([np.zeros(n_dummy), values])
        meta |= notes
    columns |= {f"cosine{k:02d}": drift[:, k] for k in range(drift.shape[1])}
    columns |= one_hot("non_steady_state_outlier", np.arange(n_dummy), n_volumes)
    for name, values in zip(MOTION, nuisance.motion.T, strict=True):
        columns |= expand(name, values)
    moved = outliers(fd, columns["std_dvars"])
    columns |= one_hot("motion_outlier", np.flatnonzero(moved), n_volumes)
    return columns, meta
