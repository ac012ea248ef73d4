"""Compute the confounds of a run under fMRIPrep's names.

Confounds comprise head motion, tissue signals, components, slow drift and outliers. Preprocessed
and simulated runs use the same implementation. Where fMRIPrep calls nipype, the numbers equal those
of `nipype.algorithms.confounds`; the tests compare both.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from circuitshift.pipeline.arrays import Floats, Reals
from circuitshift.pipeline.io.tables import write_text

__all__ = [
    "HEAD_MM",
    "MOTION",
    "Voxels",
    "compcor",
    "confounds",
    "cosines",
    "dvars",
    "expand",
    "framewise_displacement",
    "non_steady_state",
    "one_hot",
    "outliers",
    "relative_rms",
    "write_confounds",
]

Columns = dict[str, Floats]
Meta = dict[str, dict[str, object]]

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
#: Head radius of Power's framewise displacement, mm (doi:10.1016/j.neuroimage.2011.10.018).
HEAD_MM = 50.0
_SPHERE_MM = 80.0  # radius of Jenkinson's sphere
_VARIANCE_SHARE = 0.5  # share that the retained components explain, as in fMRIPrep
_TEMPORAL_SHARE, _TEMPORAL_MAX_VOXELS = 0.02, 5000
_MIN_STEADY_VOLUMES = 5  # no component is estimated from fewer volumes
_BLOCK_VOXELS = 2048  # voxels per block; copies of a complete run would exceed cache and memory


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """Series of the voxels in the masks of a run.

    Parameters
    ----------
    brain : ndarray, shape (n_volumes, n_voxels)
        Voxels of the brain mask.
    csf, white_matter : ndarray, shape (n_volumes, n_voxels)
        Voxels of masks that exclude the neighbourhood of grey matter; may have no voxels.
    """

    brain: Reals
    csf: Reals
    white_matter: Reals

    @property
    def combined(self) -> Reals:
        """Voxels of fluid and white matter, whose masks are disjoint."""
        return np.concatenate([self.csf, self.white_matter], axis=1)


# ------------------------------------------------------------------------------------ motion


def framewise_displacement(motion: Floats) -> Floats:
    """Compute Power's framewise displacement.

    Parameters
    ----------
    motion : ndarray, shape (n_volumes, 6)
        Translations, mm, and rotations, radians.

    Returns
    -------
    ndarray, shape (n_volumes,)
        Framewise displacement, mm; the first value is NaN.

    Notes
    -----
    ``FD = sum |d trans| + 50 mm * sum |d rot|`` (Power 2012, doi:10.1016/j.neuroimage.2011.10.018).
    """
    step = np.abs(np.diff(motion, axis=0))
    fd = step[:, :3].sum(1) + HEAD_MM * step[:, 3:].sum(1)
    return np.concatenate([[np.nan], fd])


def relative_rms(motion: Floats, centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Floats:
    """Compute the root mean square displacement of a sphere of 80 mm from volume to volume.

    Parameters
    ----------
    motion : ndarray, shape (n_volumes, 6)
        Translations, mm, and rotations, radians, ``R = R_x(rot_x) R_y(rot_y) R_z(rot_z)``, which
        map points of the reference to the volume (see `circuitshift.pipeline.preproc.transforms`).
    centre_mm : tuple of float
        Centre of the sphere relative to the point about which the motion rotates, mm.

    Returns
    -------
    ndarray, shape (n_volumes,)
        Root mean square displacement, mm; the first value is NaN.

    Notes
    -----
    ``sqrt(R^2 / 5 trace(A'A) + |A c + s|^2)``, with A and s the changes of rotation and translation
    and c the centre of the sphere (Jenkinson 1999, FMRIB report TR99MJ1). The displacement is that
    of points of the reference and therefore does not increase with the distance of the head from
    its initial position.
    """
    turn = np.diff(Rotation.from_euler("XYZ", motion[:, 3:]).as_matrix(), axis=0)
    shift = np.diff(motion[:, :3], axis=0) + turn @ np.array(centre_mm)
    squares = _SPHERE_MM**2 / 5 * (turn**2).sum(axis=(1, 2)) + (shift**2).sum(axis=1)
    return np.concatenate([[np.nan], np.sqrt(squares)])


def non_steady_state(global_signal: Floats) -> int:
    """Count the initial volumes whose intensity differs from the rest of the run.

    Parameters
    ----------
    global_signal : ndarray, shape (n_volumes,)
        Mean over the image in each volume.

    Returns
    -------
    int
        Number of consecutive outliers from the first volume on, among the first 50 volumes; 0 if
        the median absolute deviation is 0.

    Notes
    -----
    A volume is an outlier if its modified z score exceeds 3.5 (Iglewicz & Hoaglin 1993, as in
    nipype's ``is_outlier``).
    """
    first = np.asarray(global_signal, float)[:50]
    distance = np.abs(first - np.median(first))
    spread = float(np.median(distance))
    if spread == 0:
        return 0
    steady = np.flatnonzero(0.6745 * distance / spread <= 3.5)
    return int(steady[0])


def outliers(
    fd: Floats, std_dvars: Floats, *, fd_mm: float = 0.5, std_dvars_above: float = 1.5
) -> npt.NDArray[np.bool_]:
    """Mark the volumes that fMRIPrep calls motion outliers.

    Parameters
    ----------
    fd, std_dvars : ndarray, shape (n_volumes,)
        Framewise displacement, mm, and standardised DVARS. NaN is not an outlier.
    fd_mm, std_dvars_above : float
        A volume is an outlier if either measure exceeds its threshold.

    Returns
    -------
    ndarray of bool, shape (n_volumes,)
        True for outliers.
    """
    # comparisons with NaN are False
    return (fd > fd_mm) | (std_dvars > std_dvars_above)


# ------------------------------------------------------------------------------------ columns


def expand(name: str, values: Floats) -> Columns:
    """Expand a confound by its temporal difference and the squares of both.

    Expanding the six motion parameters gives Friston's 24 parameters (Friston 1996,
    doi:10.1002/mrm.1910350312).

    Parameters
    ----------
    name : str
        Name of the confound.
    values : ndarray, shape (n_volumes,)
        Confound.

    Returns
    -------
    dict of str to ndarray, shape (n_volumes,)
        Columns under fMRIPrep's names. Differences start with NaN.
    """
    change = np.concatenate([[np.nan], np.diff(values)])
    return {
        name: values,
        f"{name}_derivative1": change,
        f"{name}_derivative1_power2": change**2,
        f"{name}_power2": values**2,
    }


def one_hot(stem: str, at: npt.NDArray[np.intp], n_volumes: int) -> Columns:
    """Create one column per selected volume, with 1 in that volume and 0 elsewhere.

    Parameters
    ----------
    stem : str
        Columns are named ``<stem>00``, ``<stem>01`` and so on.
    at : ndarray of int, shape (n_columns,)
        Zero-based positions of the selected volumes.
    n_volumes : int
        Length of the columns.

    Returns
    -------
    dict of str to ndarray, shape (n_volumes,)
        Columns by name.
    """
    return {f"{stem}{k:02d}": (np.arange(n_volumes) == t) * 1.0 for k, t in enumerate(at)}


def cosines(n_volumes: int, t_r_s: float, *, cutoff_s: float = 128.0) -> Floats:
    """Compute discrete cosine regressors of slow drift, as fMRIPrep writes them.

    Parameters
    ----------
    n_volumes : int
        Number of volumes.
    t_r_s : float
        Repetition time, s.
    cutoff_s : float
        Longest period that remains in the data, s.

    Returns
    -------
    ndarray, shape (n_volumes, max(floor(2 * n_volumes * t_r_s / cutoff_s), 1) - 1)
        Orthonormal columns without the constant, as in nipype's ``_cosine_drift``.
    """
    order = max(1, int(np.floor(2 * n_volumes * t_r_s / cutoff_s)))
    t, k = np.arange(n_volumes)[:, None] + 0.5, np.arange(1, order)
    n = max(n_volumes, 1)
    return np.asarray(np.sqrt(2 / n) * np.cos(np.pi / n * t * k))


def dvars(voxels: Reals) -> tuple[Floats, Floats]:
    """Compute the root mean square change of intensity from volume to volume.

    Voxels without variation are excluded, as in nipype's ``compute_dvars`` when called by fMRIPrep.

    Parameters
    ----------
    voxels : ndarray, shape (n_volumes, n_voxels)
        Voxels of the brain.

    Returns
    -------
    dvars : ndarray, shape (n_volumes,)
        DVARS with the median intensity scaled to 1000 (Power 2012,
        doi:10.1016/j.neuroimage.2011.10.018).
    std_dvars : ndarray, shape (n_volumes,)
        DVARS divided by its expectation under noise, the mean of ``sd sqrt(2 (1 - ar1))``, with sd
        from quartiles (Nichols 2017, arXiv:1704.01469).

        The first value of both is NaN; all values are NaN if no voxel varies.
    """
    n_volumes = len(voxels)
    squares, expected, n_varying = np.zeros(max(n_volumes - 1, 0)), 0.0, 0
    for part in _blocks(voxels):
        values = np.ascontiguousarray(part.T, np.float32)
        spread = _quartile_range(values) / 1.349
        values, spread = values[spread > 0], spread[spread > 0]
        values -= values.mean(axis=1, keepdims=True)
        power = np.einsum("vn,vn->v", values, values)
        ar1 = np.einsum("vn,vn->v", values[:, 1:], values[:, :-1]) / power
        expected += float((np.sqrt(2 * (1 - ar1)) * spread).sum(dtype=float))
        step = np.diff(values, axis=1)
        squares += np.einsum("vn,vn->n", step, step)
        n_varying += len(values)
    all_missing = np.full(n_volumes, np.nan)
    if n_varying == 0:
        return all_missing, all_missing.copy()
    plain = np.concatenate([[np.nan], np.sqrt(squares / n_varying)])
    middle = float(np.median(voxels))
    return plain * 1000 / middle if middle > 0 else all_missing, plain / (expected / n_varying)


def _blocks(voxels: Reals) -> Iterator[Reals]:
    """Yield blocks of voxels."""
    for start in range(0, voxels.shape[1], _BLOCK_VOXELS):
        yield voxels[:, start : start + _BLOCK_VOXELS]


def _quartile_range(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute the interquartile range of each row without interpolation, as in FSL."""
    last = values.shape[1] - 1
    low, high = last // 4, 3 * last // 4
    ordered = np.partition(values, (low, high), axis=1)
    return np.asarray(ordered[:, high] - ordered[:, low])


def compcor(
    voxels: Reals,
    drift: Floats,
    *,
    prefix: str,
    mask: str,
    method: str = "aCompCor",
    min_components: int = 0,
) -> tuple[Columns, Meta]:
    """Compute principal components of noise voxels that explain half of their variance.

    Mean and drift are removed, voxels are standardised, and the components are the left singular
    vectors (Behzadi 2007, doi:10.1016/j.neuroimage.2007.04.042), as in nipype's
    ``compute_noise_components``. A voxel without remaining variation, or with values that are not
    finite, contributes nothing. The value of largest magnitude in each component is positive.

    Parameters
    ----------
    voxels : ndarray, shape (n_volumes, n_voxels)
        Noise voxels.
    drift : ndarray, shape (n_volumes, n_drift)
        Orthonormal drift regressors; see `cosines`.
    prefix : str
        First letter of the column names, as in ``a_comp_cor_00``.
    mask : str
        Name of the mask in the sidecar.
    method : str
        Name of the method in the sidecar.
    min_components : int
        Smallest number of components to retain, if the data have as many.

    Returns
    -------
    columns : dict of str to ndarray, shape (n_volumes,)
        Components of unit length; empty if no voxel varies.
    meta : dict
        Properties of these components and of the next three, which were dropped.
    """
    left, singular = _left_vectors(voxels, drift)
    share = singular**2 / max(float((singular**2).sum()), 1e-300)
    total = np.cumsum(share)
    n_retained = min(
        max(min_components, int(np.searchsorted(total, _VARIANCE_SHARE)) + 1), len(share)
    )
    columns: Columns = {}
    meta: Meta = {}
    for k in range(min(n_retained + 3, len(share))):
        retained = k < n_retained
        # fMRIPrep lists dropped components in the sidecar under another name
        name = (
            f"{prefix}_comp_cor_{k:02d}" if retained else f"dropped_{mask.lower()}_{k - n_retained}"
        )
        if retained:
            columns[name] = left[:, k] * np.sign(left[np.argmax(np.abs(left[:, k])), k])
        meta[name] = {
            "CumulativeVarianceExplained": round(float(total[k]), 10),
            "Mask": mask,
            "Method": method,
            "Retained": retained,
            "SingularValue": round(float(singular[k]), 10),
            "VarianceExplained": round(float(share[k]), 10),
        }
    return columns, meta


def _detrended(voxels: Reals, drift: Floats) -> tuple[Floats, Floats]:
    """Remove mean and drift.

    Returns
    -------
    data : ndarray, shape (n_volumes, n_voxels)
        Residuals; 0 for voxels with values that are not finite.
    sd : ndarray, shape (n_voxels,)
        SD of the residuals; 0 if they are only rounding errors.
    """
    # a fixed memory order, since the last digits of products depend on it
    data = np.array(voxels, float, order="C")
    data[:, ~np.isfinite(data).all(axis=0)] = 0
    size = np.abs(data).max(axis=0)
    data -= data.mean(axis=0)
    data -= drift @ (drift.T @ data)
    sd = data.std(axis=0)
    return data, np.where(sd > 1e-9 * size, sd, 0.0)


def _standardised(voxels: Reals, drift: Floats) -> Floats:
    """Remove mean and drift, and scale each voxel to unit variance."""
    data, sd = _detrended(voxels, drift)
    return np.divide(data, sd, out=np.zeros_like(data), where=sd > 0)


def _left_vectors(voxels: Reals, drift: Floats) -> tuple[Floats, Floats]:
    """Compute left singular vectors and non-zero singular values, in descending order."""
    n_volumes, n_voxels = voxels.shape
    if n_voxels <= n_volumes:
        left, singular, _ = np.linalg.svd(_standardised(voxels, drift), full_matrices=False)
    else:
        # the volumes-by-volumes matrix has the same left vectors and needs no copy of the run
        gram = np.zeros((n_volumes, n_volumes))
        for part in _blocks(voxels):
            data = _standardised(part, drift)
            gram += data @ data.T
        squares, left = np.linalg.eigh(gram)
        left, singular = left[:, ::-1], np.sqrt(np.maximum(squares[::-1], 0.0))
    # directions that were removed with mean and drift have singular vectors without meaning
    nonzero = singular > 1e-6 * singular.max(initial=0.0)
    return left[:, nonzero], singular[nonzero]


# ------------------------------------------------------------------------------------ table


def confounds(
    voxels: Voxels, motion: Floats, t_r_s: float, *, n_dummy: int = 0
) -> tuple[Columns, Meta]:
    """Compute the confounds of a run in fMRIPrep's order.

    Parameters
    ----------
    voxels : Voxels
        Series of brain, fluid and white matter.
    motion : ndarray, shape (n_volumes, 6)
        Translations, mm, and rotations, radians; see `relative_rms`.
    t_r_s : float
        Repetition time, s.
    n_dummy : int
        Number of volumes before the steady state. Components and drift are computed without these
        volumes and are 0 there.

    Returns
    -------
    columns : dict of str to ndarray, shape (n_volumes,)
        Confounds by name. Values are NaN where fMRIPrep writes n/a, and for the mean of an empty
        mask.
    meta : dict
        Content of the JSON sidecar.
    """
    n_volumes = len(motion)
    columns: Columns = {}
    meta: Meta = {}
    for name, part in (
        ("csf", voxels.csf),
        ("white_matter", voxels.white_matter),
        ("global_signal", voxels.brain),
    ):
        has_voxels = part.shape[1] > 0
        mean = part.mean(axis=1, dtype=float) if has_voxels else np.full(n_volumes, np.nan)
        columns |= expand(name, mean)
        meta[name] = {"Method": "Mean"}
        if not has_voxels:
            meta[name]["Note"] = "the mask contains no voxels"
    plain, scaled = dvars(voxels.brain)
    fd = framewise_displacement(motion)
    columns |= {"std_dvars": scaled, "dvars": plain}
    columns |= {"framewise_displacement": fd, "rmsd": relative_rms(motion)}
    drift = cosines(n_volumes - n_dummy, t_r_s)
    before = np.zeros(n_dummy)
    for components, component_meta in _components(voxels, drift, n_dummy):
        columns |= {key: np.concatenate([before, values]) for key, values in components.items()}
        meta |= component_meta
    columns |= {
        f"cosine{k:02d}": np.concatenate([before, drift[:, k]]) for k in range(drift.shape[1])
    }
    columns |= one_hot("non_steady_state_outlier", np.arange(n_dummy), n_volumes)
    for name, values in zip(MOTION, motion.T, strict=True):
        columns |= expand(name, values)
    columns |= one_hot("motion_outlier", np.flatnonzero(outliers(fd, scaled)), n_volumes)
    return columns, meta


def _components(voxels: Voxels, drift: Floats, n_dummy: int) -> Iterator[tuple[Columns, Meta]]:
    """Yield temporal and anatomical components, without those of an empty mask."""
    if len(drift) < _MIN_STEADY_VOLUMES:
        return
    brain = voxels.brain
    sd = np.concatenate(
        [np.zeros(0), *(_detrended(part[n_dummy:], drift)[1] for part in _blocks(brain))]
    )
    n = min(_TEMPORAL_MAX_VOXELS, int(np.ceil(_TEMPORAL_SHARE * sd.size)))
    most_variable = np.sort(np.argsort(-sd, kind="stable")[:n])
    for prefix, mask, method, part in (
        ("t", "temporal", "tCompCor", brain[:, most_variable]),
        ("a", "combined", "aCompCor", voxels.combined),
        ("c", "CSF", "aCompCor", voxels.csf),
        ("w", "WM", "aCompCor", voxels.white_matter),
    ):
        yield compcor(part[n_dummy:], drift, prefix=prefix, mask=mask, method=method)


def write_confounds(path: Path, columns: Columns, meta: Meta) -> None:
    """Write a confounds table and its JSON sidecar.

    Parameters
    ----------
    path : Path
        Table to write; its name ends in ``.tsv`` and its folder exists.
    columns : dict of str to ndarray, shape (n_volumes,)
        Confounds by name; NaN is written as n/a.
    meta : dict
        Content of the sidecar.
    """
    # one format string per row is many times faster than formatting single cells
    values = np.column_stack(list(columns.values()))
    row = "\t".join(["%.9g"] * values.shape[1])
    lines = ["\t".join(columns), *(row % tuple(line) for line in values.tolist())]
    write_text(path, "\n".join(lines).replace("nan", "n/a") + "\n")
    text = json.dumps(meta, indent=2, sort_keys=True)
    write_text(path.with_suffix(".json"), text + "\n")
