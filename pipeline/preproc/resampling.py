"""From a raw run to the template in one interpolation: slice timing, then every volume once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms

__all__ = ["Resampled", "correct_slice_timing", "resample_run", "signal_mask", "time_shift"]


def time_shift(n_volumes: int, volumes: float) -> Floats:
    """Operator that evaluates a series later in time, by splines of fifth order.

    Parameters
    ----------
    n_volumes : int
    volumes : float
        How much later, in repetition times.

    Returns
    -------
    ndarray of shape (n_volumes, n_volumes)
        Multiplies a series from the left; ends are continued by their last value.
    """
    unit = np.eye(n_volumes)
    return np.asarray(ndimage.shift(unit, (-volumes, 0.0), order=5, mode="nearest"))


def correct_slice_timing(
    run: Image,
    slice_times_s: Sequence[float],
    t_r_s: float,
    *,
    axis: int = 2,
    n_dummy: int = 0,
) -> Image:
    """Bring all slices of each volume to one time, that of the middle of its acquisition.

    Parameters
    ----------
    run : Image
        Four-dimensional.
    slice_times_s : sequence of float
        Time of each slice after the start of its volume, s.
    t_r_s : float
        Repetition time, s.
    axis : int
        Axis of the slices.
    n_dummy : int
        Volumes before the steady state: they are left as they are, and do not enter the others.

    Returns
    -------
    Image
        Of float32.
    """
    out = np.asarray(run.data, np.float32, order="C").copy()
    times = np.asarray(slice_times_s, float)
    middle = (times.min() + times.max()) / 2
    n = out.shape[3] - n_dummy
    for time in np.unique(times):
        shift = (middle - time) / t_r_s
        if abs(shift) < 1e-6 or n < 2:
            continue
        operator = time_shift(n, shift).T.astype(np.float32)
        for number in np.flatnonzero(times == time):
            part: list[slice | int] = [slice(None)] * 3
            part[axis] = int(number)
            where = (*part, slice(n_dummy, None))
            out[where] = out[where] @ operator
    return run.like(out)


@dataclass(frozen=True, eq=False)
class Resampled:
    """A run on the template's grid.

    Parameters
    ----------
    image : Image
        Four-dimensional, float32.
    in_view : ndarray of bool, shape of the grid
        Voxels that no volume's field of view leaves out.
    """

    image: Image
    in_view: Bools


def resample_run(
    run: Image,
    matrices: Floats,
    grid: Image,
    to_reference: Callable[[Floats], Floats],
) -> Resampled:
    """Interpolate every volume once, from where it was acquired to the target grid.

    Parameters
    ----------
    run : Image
        Four-dimensional; after slice timing correction.
    matrices : ndarray of shape (n_volumes, 4, 4)
        Head motion: from the run's reference to each volume.
    grid : Image
        Target; its values are not used.
    to_reference : callable
        Takes points of the target space (n, 3), mm, to the run's reference.

    Returns
    -------
    Resampled
        Cubic splines; 0 outside the field of view; never below 0 where the run is not.
    """
    points = to_reference(grid.points())
    n_volumes = run.data.shape[3]
    out = np.empty((*grid.grid, n_volumes), np.float32)
    in_view = np.ones(len(points), bool)
    least = min(float(run.data.min()), 0.0)
    last = np.array(run.grid)[:, None] - 1
    for number in range(n_volumes):
        where = run.indices(transforms.apply(matrices[number], points))
        in_view &= ((where >= 0) & (where <= last)).all(axis=0)
        volume = ndimage.spline_filter(
            np.asarray(run.data[..., number], np.float32), order=3, output=np.float32
        )
        values = ndimage.map_coordinates(volume, where, order=3, prefilter=False, mode="constant")
        out[..., number] = np.maximum(values, least).reshape(grid.grid)
    return Resampled(grid.like(out), in_view.reshape(grid.grid))


def signal_mask(reference: Image) -> Bools:
    """Tell the brain in the reference of a run by its intensity (nilearn's `compute_epi_mask`).

    Parameters
    ----------
    reference : Image

    Returns
    -------
    ndarray of bool, shape of the grid
    """
    import nibabel as nib  # noqa: PLC0415 - .3 s
    from nilearn.masking import compute_epi_mask  # noqa: PLC0415 - slow to import

    image = nib.Nifti1Image(np.asarray(reference.data, np.float32), reference.affine)
    return np.asarray(compute_epi_mask(image, opening=2).dataobj).astype(bool)
