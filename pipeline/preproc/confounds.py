"""Confounds of a run under fMRIPrep's names: motion, tissue signals, components, drift, outliers.

One implementation for preprocessed and for simulated runs. Where fMRIPrep calls nipype, the numbers
are nipype's (`nipype.algorithms.confounds`), which the tests compare.
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
_SPHERE_MM = 80.0  # Jenkinson's
_VARIANCE = 0.5  # share that the components kept explain, as in fMRIPrep
_TEMPORAL_SHARE, _TEMPORAL_MOST = 0.02, 5000
_FEW = 5  # steady volumes below which no component is estimated
_BLOCK = 2048  # voxels at a time: a copy of a whole run would not fit the cache, nor small machines


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """Series of the voxels of a run's masks, each of shape (n_volumes, n_voxels).

    Parameters
    ----------
    brain : ndarray
    csf, white_matter : ndarray
        Of masks that keep clear of grey matter; may have no voxel.
    """

    brain: Reals
    csf: Reals
    white_matter: Reals

    @property
    def combined(self) -> Reals:
        """Fluid and white matter, whose masks share no voxel."""
        return np.concatenate([self.csf, self.white_matter], axis=1)


# ------------------------------------------------------------------------------------ motion


def framewise_displacement(motion: Floats) -> Floats:
    """Power's framewise displacement, mm; the first value is NaN.

    ``FD = sum |d trans| + 50 mm * sum |d rot|`` (doi:10.1016/j.neuroimage.2011.10.018).

    Parameters
    ----------
    motion : ndarray, shape (n_volumes, 6)
        Translations, mm, and rotations, radians.

    Returns
    -------
    ndarray, shape (n_volumes,)
    """
    step = np.abs(np.diff(motion, axis=0))
    fd = step[:, :3].sum(1) + HEAD_MM * step[:, 3:].sum(1)
    return np.concatenate([[np.nan], fd])


def relative_rms(motion: Floats, centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Floats:
    """Root mean square of the displacement of a sphere of 80 mm from volume to volume, mm.

    ``sqrt(R^2 / 5 trace(A'A) + |A c + s|^2)``, with A and s the changes of rotation and
    translation and c the centre of the sphere (Jenkinson 1999, FMRIB report TR99MJ1). Points of the
    reference are followed, so a head that lies far from where it was counts no more for it. The
    first value is NaN.

    Parameters
    ----------
    motion : ndarray, shape (n_volumes, 6)
        Translations, mm, and rotations, radians, ``R = R_x(rot_x) R_y(rot_y) R_z(rot_z)``; they
        take points of the reference to the volume (see `circuitshift.pipeline.preproc.transforms`).
    centre_mm : tuple of float
        Centre of the sphere, from the point about which the motion rotates.

    Returns
    -------
    ndarray, shape (n_volumes,)
    """
    turn = np.diff(Rotation.from_euler("XYZ", motion[:, 3:]).as_matrix(), axis=0)
    shift = np.diff(motion[:, :3], axis=0) + turn @ np.array(centre_mm)
    squares = _SPHERE_MM**2 / 5 * (turn**2).sum(axis=(1, 2)) + (shift**2).sum(axis=1)
    return np.concatenate([[np.nan], np.sqrt(squares)])


def non_steady_state(global_signal: Floats) -> int:
    """Count the volumes at the start that are brighter or darker than the run.

    Those of the first 50 volumes, from the first on, whose modified z is above 3.5 (Iglewicz &
    Hoaglin 1993; nipype's ``is_outlier``); none if most of these do not differ at all.

    Parameters
    ----------
    global_signal : ndarray, shape (n_volumes,)
        Mean over the image.

    Returns
    -------
    int
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
    """Tell the volumes that fMRIPrep calls motion outliers.

    Parameters
    ----------
    fd, std_dvars : ndarray, shape (n_volumes,)
        Framewise displacement, mm, and standardised DVARS; NaN is no outlier.
    fd_mm, std_dvars_above : float
        A volume above either is an outlier.

    Returns
    -------
    ndarray of bool, shape (n_volumes,)
    """
    # a comparison with NaN is false
    return (fd > fd_mm) | (std_dvars > std_dvars_above)


# ------------------------------------------------------------------------------------ columns


def expand(name: str, values: Floats) -> Columns:
    """Add to a confound its difference, and the square of both (Friston's 24 parameters).

    Parameters
    ----------
    name : str
    values : ndarray, shape (n_volumes,)

    Returns
    -------
    dict of str to ndarray, shape (n_volumes,)
        fMRIPrep's names; differences start with NaN.
    """
    change = np.concatenate([[np.nan], np.diff(values)])
    return {
        name: values,
        f"{name}_derivative1": change,
        f"{name}_derivative1_power2": change**2,
        f"{name}_power2": values**2,
    }


def one_hot(stem: str, at: npt.NDArray[np.intp], n_volumes: int) -> Columns:
    """Make a column for each of some volumes, 1 there and 0 elsewhere.

    Parameters
    ----------
    stem : str
        Columns are named ``<stem>00`` and so on.
    at : ndarray of int, shape (n_columns,)
        Volumes, from 0.
    n_volumes : int

    Returns
    -------
    dict of str to ndarray, shape (n_volumes,)
    """
    return {f"{stem}{k:02d}": (np.arange(n_volumes) == t) * 1.0 for k, t in enumerate(at)}


def cosines(n_volumes: int, t_r_s: float, *, cutoff_s: float = 128.0) -> Floats:
    """Discrete cosine regressors of slow drift, as fMRIPrep writes them.

    Parameters
    ----------
    n_volumes : int
    t_r_s : float
        Repetition time, s.
    cutoff_s : float
        Slowest period that is kept in the data.

    Returns
    -------
    ndarray, shape (n_volumes, max(floor(2 * n_volumes * t_r_s / cutoff_s), 1) - 1)
        Orthonormal columns without the constant (nipype's ``_cosine_drift``).
    """
    order = max(1, int(np.floor(2 * n_volumes * t_r_s / cutoff_s)))
    t, k = np.arange(n_volumes)[:, None] + 0.5, np.arange(1, order)
    n = max(n_volumes, 1)
    return np.asarray(np.sqrt(2 / n) * np.cos(np.pi / n * t * k))


def dvars(voxels: Reals) -> tuple[Floats, Floats]:
    """Root mean square change of intensity from volume to volume, plain and standardised.

    Voxels that do not vary are left out, as by nipype's ``compute_dvars`` for fMRIPrep.

    Parameters
    ----------
    voxels : ndarray, shape (n_volumes, n_voxels)

    Returns
    -------
    dvars : ndarray, shape (n_volumes,)
        With the median intensity scaled to 1000 (Power 2012,
        doi:10.1016/j.neuroimage.2011.10.018).
    std_dvars : ndarray, shape (n_volumes,)
        Over what noise alone would give: the mean of ``sd sqrt(2 (1 - ar1))``, sd from quartiles
        (Nichols, arXiv:1704.01469).

        The first value of both is NaN, and all of them are if no voxel varies.
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
    none = np.full(n_volumes, np.nan)
    if n_varying == 0:
        return none, none.copy()
    plain = np.concatenate([[np.nan], np.sqrt(squares / n_varying)])
    middle = float(np.median(voxels))
    return plain * 1000 / middle if middle > 0 else none, plain / (expected / n_varying)


def _blocks(voxels: Reals) -> Iterator[Reals]:
    """Yield some voxels at a time."""
    for start in range(0, voxels.shape[1], _BLOCK):
        yield voxels[:, start : start + _BLOCK]


def _quartile_range(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Upper less lower quartile of each row, without interpolation as in FSL."""
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
    least: int = 0,
) -> tuple[Columns, Meta]:
    """Principal components of noise voxels, as many as explain half of their variance.

    Drift and mean removed, voxels standardised, left singular vectors (Behzadi 2007,
    doi:10.1016/j.neuroimage.2007.04.042; nipype's ``compute_noise_components``). A voxel that does
    not vary otherwise, or is not finite throughout, adds nothing. The largest value of a component
    is positive.

    Parameters
    ----------
    voxels : ndarray, shape (n_volumes, n_voxels)
    drift : ndarray, shape (n_volumes, n_drift)
        Orthonormal, without the constant; see `cosines`.
    prefix : str
        Columns are named ``<prefix>_comp_cor_00`` and so on.
    mask, method : str
        For the sidecar: ``CSF``, ``WM``, ``combined``; ``aCompCor`` or ``tCompCor``.
    least : int
        Keep this many where there are, even if fewer explain half.

    Returns
    -------
    columns : dict of str to ndarray, shape (n_volumes,)
        Of unit length; none if no voxel varies.
    meta : dict
        Of these, and of three that were dropped.
    """
    left, singular = _left_vectors(voxels, drift)
    share = singular**2 / max(float((singular**2).sum()), 1e-300)
    total = np.cumsum(share)
    n_kept = min(max(least, int(np.searchsorted(total, _VARIANCE)) + 1), len(share))
    columns: Columns = {}
    meta: Meta = {}
    for k in range(min(n_kept + 3, len(share))):
        kept = k < n_kept
        # fMRIPrep lists what it left out in the sidecar, by another name
        name = f"{prefix}_comp_cor_{k:02d}" if kept else f"dropped_{mask.lower()}_{k - n_kept}"
        if kept:
            columns[name] = left[:, k] * np.sign(left[np.argmax(np.abs(left[:, k])), k])
        meta[name] = {
            "CumulativeVarianceExplained": round(float(total[k]), 10),
            "Mask": mask,
            "Method": method,
            "Retained": kept,
            "SingularValue": round(float(singular[k]), 10),
            "VarianceExplained": round(float(share[k]), 10),
        }
    return columns, meta


def _cleaned(voxels: Reals, drift: Floats) -> tuple[Floats, Floats]:
    """Take mean and drift out; the SD of what is left, 0 if that is rounding alone."""
    # in one order, as the last digits of products depend on it
    data = np.array(voxels, float, order="C")
    data[:, ~np.isfinite(data).all(axis=0)] = 0
    size = np.abs(data).max(axis=0)
    data -= data.mean(axis=0)
    data -= drift @ (drift.T @ data)
    sd = data.std(axis=0)
    return data, np.where(sd > 1e-9 * size, sd, 0.0)


def _standardised(voxels: Reals, drift: Floats) -> Floats:
    data, sd = _cleaned(voxels, drift)
    return np.divide(data, sd, out=np.zeros_like(data), where=sd > 0)


def _left_vectors(voxels: Reals, drift: Floats) -> tuple[Floats, Floats]:
    """Left singular vectors and values other than 0 of standardised voxels, largest first."""
    n_volumes, n_voxels = voxels.shape
    if n_voxels <= n_volumes:
        left, singular, _ = np.linalg.svd(_standardised(voxels, drift), full_matrices=False)
    else:
        # the matrix of volumes by volumes has the same left vectors, and needs no copy of the run
        gram = np.zeros((n_volumes, n_volumes))
        for part in _blocks(voxels):
            data = _standardised(part, drift)
            gram += data @ data.T
        squares, left = np.linalg.eigh(gram)
        left, singular = left[:, ::-1], np.sqrt(np.maximum(squares[::-1], 0.0))
    # what drift and mean took out has vectors too, of no meaning
    there = singular > 1e-6 * singular.max(initial=0.0)
    return left[:, there], singular[there]


# ------------------------------------------------------------------------------------ table


def confounds(
    voxels: Voxels, motion: Floats, t_r_s: float, *, n_dummy: int = 0
) -> tuple[Columns, Meta]:
    """Make the confounds of a run, in fMRIPrep's order.

    Parameters
    ----------
    voxels : Voxels
    motion : ndarray, shape (n_volumes, 6)
        Translations, mm, and rotations, radians; see `relative_rms`.
    t_r_s : float
        Repetition time, s.
    n_dummy : int
        Volumes before the steady state, which components and drift leave out: they are 0 there.

    Returns
    -------
    columns : dict of str to ndarray, shape (n_volumes,)
        NaN where fMRIPrep writes n/a, and for the mean of a mask without voxels.
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
        there = part.shape[1] > 0
        mean = part.mean(axis=1, dtype=float) if there else np.full(n_volumes, np.nan)
        columns |= expand(name, mean)
        meta[name] = {"Method": "Mean"}
        if not there:
            meta[name]["Note"] = "the mask holds no voxel"
    plain, scaled = dvars(voxels.brain)
    fd = framewise_displacement(motion)
    columns |= {"std_dvars": scaled, "dvars": plain}
    columns |= {"framewise_displacement": fd, "rmsd": relative_rms(motion)}
    drift = cosines(n_volumes - n_dummy, t_r_s)
    before = np.zeros(n_dummy)
    for found, notes in _components(voxels, drift, n_dummy):
        columns |= {key: np.concatenate([before, values]) for key, values in found.items()}
        meta |= notes
    columns |= {
        f"cosine{k:02d}": np.concatenate([before, drift[:, k]]) for k in range(drift.shape[1])
    }
    columns |= one_hot("non_steady_state_outlier", np.arange(n_dummy), n_volumes)
    for name, values in zip(MOTION, motion.T, strict=True):
        columns |= expand(name, values)
    columns |= one_hot("motion_outlier", np.flatnonzero(outliers(fd, scaled)), n_volumes)
    return columns, meta


def _components(voxels: Voxels, drift: Floats, n_dummy: int) -> Iterator[tuple[Columns, Meta]]:
    """Temporal and anatomical components, those of an empty mask left out."""
    if len(drift) < _FEW:
        return
    brain = voxels.brain
    sd = np.concatenate(
        [np.zeros(0), *(_cleaned(part[n_dummy:], drift)[1] for part in _blocks(brain))]
    )
    n = min(_TEMPORAL_MOST, int(np.ceil(_TEMPORAL_SHARE * sd.size)))
    loud = np.sort(np.argsort(-sd, kind="stable")[:n])
    for prefix, mask, method, part in (
        ("t", "temporal", "tCompCor", brain[:, loud]),
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
        Ends in ``.tsv``; its folder exists.
    columns : dict of str to ndarray
        NaN is written as n/a.
    meta : dict
        Content of the sidecar.
    """
    # one format string for a whole row is many times faster than a cell at a time, and a
    # simulation writes tens of thousands of cells a run
    values = np.column_stack(list(columns.values()))
    row = "\t".join(["%.9g"] * values.shape[1])
    lines = ["\t".join(columns), *(row % tuple(line) for line in values.tolist())]
    write_text(path, "\n".join(lines).replace("nan", "n/a") + "\n")
    text = json.dumps(meta, indent=2, sort_keys=True)
    write_text(path.with_suffix(".json"), text + "\n")
