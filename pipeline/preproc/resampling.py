"""Resample a raw run to the template: correct slice timing, then interpolate each volume once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.io.images import Image

__all__ = [
    "Resampled",
    "correct_slice_timing",
    "resample_run",
    "signal_mask",
    "time_shift",
]

#: Share of negative voxels above which an image has no mean signal.


def time_shift(n_volumes: int, volumes: float) -> Floats:
    """Compute the matrix that evaluates a series at later times with splines of fifth order.

    Parameters
    ----------
    n_volumes : int
        Length of the series.
    volumes : float
        Shift, in repetition times.

    Returns
    -------
    ndarray, shape (n_volumes, n_volumes)
        Matrix to multiply a series with from the left. The series is continued at both ends by its
        first and last value.
    """
    from scipy import ndimage  # noqa: PLC0415 - .2 s

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
    """Interpolate all slices of a volume to the middle of its acquisition.

    Parameters
    ----------
    run : Image
        Four-dimensional image.
    slice_times_s : sequence of float
        Acquisition time of each slice after the start of its volume, s.
    t_r_s : float
        Repetition time, s.
    axis : int
        Axis of the slices.
    n_dummy : int
        Number of volumes before the steady state. They remain unchanged, and do not contribute to
        other volumes.

    Returns
    -------
    Image
        Corrected run, float32.
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
            index: list[slice | int] = [slice(None)] * 3
            index[axis] = int(number)
            selected = (*index, slice(n_dummy, None))
            out[selected] = out[selected] @ operator
    return run.like(out)


@dataclass(frozen=True, eq=False)
class Resampled:
    """A run on the grid of the template.

    Parameters
    ----------
    image : Image
        Four-dimensional image, float32.
    in_view : ndarray of bool, shape of the grid
        Voxels that are within the field of view of all volumes.
    """

    image: Image
    in_view: Bools


def resample_run(
    run: Image,
    matrices: Floats,
    grid: Image,
    to_reference: Callable[[Floats], Floats],
) -> Resampled:
    """Interpolate each volume once, from its acquired position to the target grid.

    Parameters
    ----------
    run : Image
        Four-dimensional image after slice timing correction.
    matrices : ndarray, shape (n_volumes, 4, 4)
        Head motion, from the reference of the run to each volume.
    grid : Image
        Target grid; its values are not used.
    to_reference : callable
        Maps points of the target space, shape (n, 3), mm, to the reference of the run.

    Returns
    -------
    Resampled
        Run interpolated with cubic splines. Voxels outside the field of view are 0, and the splines
        cannot produce negative values unless the run contains some.
    """
    from scipy import ndimage  # noqa: PLC0415 - .2 s

    from circuitshift.pipeline.preproc import transforms  # noqa: PLC0415 - scipy

    points = to_reference(grid.points())
    n_volumes = run.data.shape[3]
    out = np.empty((*grid.grid, n_volumes), np.float32)
    in_view = np.ones(len(points), bool)
    lowest = min(float(run.data.min()), 0.0)
    last_index = np.array(run.grid)[:, None] - 1
    for number in range(n_volumes):
        where = run.indices(transforms.apply(matrices[number], points))
        in_view &= ((where >= 0) & (where <= last_index)).all(axis=0)
        volume = ndimage.spline_filter(
            np.asarray(run.data[..., number], np.float32), order=3, output=np.float32
        )
        values = ndimage.map_coordinates(volume, where, order=3, prefilter=False, mode="constant")
        out[..., number] = np.maximum(values, lowest).reshape(grid.grid)
    return Resampled(grid.like(out), in_view.reshape(grid.grid))


def signal_mask(reference: Image) -> Bools:
    """Compute a brain mask from the intensity of the reference of a run.

    Parameters
    ----------
    reference : Image
        Mean functional image.

    Returns
    -------
    ndarray of bool, shape of the grid
        Brain mask from nilearn's `compute_epi_mask`.
    """
    import nibabel as nib  # noqa: PLC0415 - .3 s
    from nilearn.masking import compute_epi_mask  # noqa: PLC0415 - slow to import

    image = nib.Nifti1Image(np.asarray(reference.data, np.float32), reference.affine)
    return np.asarray(compute_epi_mask(image, opening=2).dataobj).astype(bool)
